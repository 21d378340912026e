"""How far attackers can move numbers: the width of certified intervals against budget."""

import numpy as np

from .._certificate import effective_threat, seen_once
from .._extras import import_pyplot
from .._units import NO_UNIT, unit_of
from ..metrics import interval_width_curve


class CertifiedIntervalDisplay:
    """Width of certified intervals against budget, as far as it is finite.

    Make one by `from_estimator`; `plot` draws it again, several of them on one axes.

    Parameters
    ----------
    budgets : ndarray of shape (n_budgets,), int
        Numbers of operations, rising.
    widths : ndarray of shape (n_budgets,), float
        Width of the interval at each budget; infinite where there is no bound.
    name : str or None, default=None
        Written at the end of the curve.
    unit : str or None, default=None
        What one operation is, for the label of the x axis.

    Attributes
    ----------
    line_ : matplotlib Line2D
        The curve.
    ax_ : matplotlib Axes
        Where it was drawn.
    figure_ : matplotlib Figure
        The figure of ``ax_``.

    See Also
    --------
    certified_ensembles.metrics.interval_width_curve : The numbers of the curve.

    Examples
    --------
    >>> from certified_ensembles.display import CertifiedIntervalDisplay
    >>> display = CertifiedIntervalDisplay(budgets=[0, 1, 2], widths=[0.0, 0.5, 2.0])
    >>> display.plot().ax_.get_xlabel()
    "Attacker's budget (poisoning operations)"
    """

    def __init__(self, *, budgets, widths, name=None, unit=None):
        self.budgets = budgets
        self.widths = widths
        self.name = name
        self.unit = unit

    @classmethod
    def from_estimator(
        cls,
        estimator,
        X,
        budgets,
        *,
        threat=None,
        quantile=0.5,
        name=None,
        unit=None,
        ax=None,
        curve_kwargs=None,
    ):
        """Certify test rows at each budget and draw the curve.

        Parameters
        ----------
        estimator : fitted estimator with ``certify_interval``
        X : array-like of shape (n_samples, ...)
            Test rows.
        budgets : sequence of int
            Numbers of operations.
        threat : str or None, default=None
            What the attacker does; None is the ensemble's default.
        quantile : float, default=0.5
            Which of the widths of all rows; 0.5 is the median.
        name : str or None, default=None
            Written at the end of the curve; None is the class name of the estimator.
        unit : str or None, default=None
            What one operation is; None takes the words of the threat, or of who owns rows.
        ax : matplotlib Axes or None, default=None
            Where to draw; None makes a figure.
        curve_kwargs : dict or None, default=None
            Keywords of the curve's ``Line2D``, such as ``color``.

        Returns
        -------
        display : CertifiedIntervalDisplay
        """
        estimator = seen_once(estimator)
        budgets, widths = interval_width_curve(
            estimator, X, budgets, threat=threat, quantile=quantile
        )
        display = cls(
            budgets=budgets,
            widths=widths,
            name=type(estimator).__name__ if name is None else name,
            unit=unit_of(estimator, effective_threat(estimator, threat)) if unit is None else unit,
        )
        return display.plot(ax=ax, curve_kwargs=curve_kwargs)

    def plot(self, ax=None, *, name=None, curve_kwargs=None):
        """Draw the curve.

        Parameters
        ----------
        ax : matplotlib Axes or None, default=None
            Where to draw; None makes a figure.
        name : str or None, default=None
            Written at the end of the curve; None is ``self.name``.
        curve_kwargs : dict or None, default=None
            Keywords of the curve's ``Line2D``, such as ``color``.

        Returns
        -------
        display : CertifiedIntervalDisplay
            Itself, with ``ax_``, ``figure_`` and ``line_``.

        Raises
        ------
        ImportError
            If matplotlib is not installed.
        """
        plt = import_pyplot("CertifiedIntervalDisplay.plot")
        if ax is None:
            _, ax = plt.subplots()
        budgets, widths = np.asarray(self.budgets), np.asarray(self.widths, dtype=float)
        finite = np.isfinite(widths)
        style = {"linewidth": 2.0, **(curve_kwargs or {})}
        # Only whole operations exist: between two budgets the curve shows the wider interval.
        (self.line_,) = ax.plot(budgets[finite], widths[finite], drawstyle="steps-pre", **style)
        name = self.name if name is None else name
        if name is not None and finite.any():
            self.line_.set_label(name)
            place = budgets[finite][-1], widths[finite][-1]
            color = self.line_.get_color()
            ax.annotate(name, place, (4, 0), textcoords="offset points", color=color, va="center")
        ax.set_xlabel(f"Attacker's budget ({self.unit or NO_UNIT})")
        ax.set_ylabel("Width of the certified interval")
        ax.set_ylim(bottom=0)
        ax.spines[["top", "right"]].set_visible(False)
        self.ax_, self.figure_ = ax, ax.figure
        return self
