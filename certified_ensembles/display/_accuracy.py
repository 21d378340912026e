"""Certified accuracy against the attacker's budget, drawn in scikit-learn's display style.

The display stores arrays; matplotlib is imported when something is drawn. Curves carry their
names beside them, in their own colour, so that several models on one axes need no legend.
"""

import numpy as np

from .._certificate import find_ensemble, seen_once
from .._extras import import_pyplot
from .._units import NO_UNIT, UNITS
from ..metrics import certified_accuracy_curve, certified_accuracy_score
from ._asking import ask

_YLABEL, _DASHED = "Certified accuracy", "(dashed: clean accuracy)"
_HEIGHTS = np.linspace(0.04, 0.96, 47)  # where a name may stand beside its curve


class CertifiedAccuracyDisplay:
    """Certified accuracy against budget, with clean accuracy dashed in the same colour.

    Make one by `from_estimator` or `from_predictions`; `plot` draws it again. Several displays
    drawn on one axes share it: limits and names are arranged anew with each.

    Parameters
    ----------
    budgets : ndarray of shape (n_budgets,), int
        Numbers of operations, rising.
    accuracies : ndarray of shape (n_budgets,), float
        Certified accuracy at each budget, between 0 and 1.
    clean_accuracy : float
        Accuracy without an attack, between 0 and 1: the dashed line.
    name : str or None, default=None
        Written beside the curve.
    unit : str or None, default=None
        What one operation is, for the label of the x axis; None writes "poisoning operations".
    question : str or None, default=None
        What the radii promise, such as "never becomes spam", for the label of the y axis, or
        beside the name where curves differ in it; None: that the prediction stays.

    Attributes
    ----------
    line_ : matplotlib Line2D
        The curve.
    clean_line_ : matplotlib Line2D
        Clean accuracy.
    ax_ : matplotlib Axes
        Where it was drawn.
    figure_ : matplotlib Figure
        The figure of ``ax_``.

    See Also
    --------
    certified_ensembles.metrics.certified_accuracy_curve : The numbers of the curve.

    Notes
    -----
    Only whole operations exist. Between two budgets the curve shows the lower value, so no point
    of it promises more than the certificates do.

    Each test row faces its own worst attack. The accuracy after any one attack within the budget
    is at least the curve.

    References
    ----------
    .. [1] A. Levine and S. Feizi. Deep Partition Aggregation: Provable Defenses against General
       Poisoning Attacks. ICLR 2021, Figures 1 to 4.

    Examples
    --------
    >>> from certified_ensembles.display import CertifiedAccuracyDisplay
    >>> display = CertifiedAccuracyDisplay(
    ...     budgets=[0, 1, 2], accuracies=[0.9, 0.5, 0.0], clean_accuracy=0.95, name="k = 4"
    ... )
    >>> display.plot().ax_.get_xlabel()
    "Attacker's budget (poisoning operations)"
    """

    def __init__(
        self, *, budgets, accuracies, clean_accuracy, name=None, unit=None, question=None
    ):
        self.budgets = budgets
        self.accuracies = accuracies
        self.clean_accuracy = clean_accuracy
        self.name = name
        self.unit = unit
        self.question = question

    @classmethod
    def from_estimator(
        cls,
        estimator,
        X,
        y,
        *,
        threat=None,
        target=None,
        top_k=None,
        tolerance=None,
        sample_weight=None,
        name=None,
        unit=None,
        ax=None,
        curve_kwargs=None,
    ):
        """Certify test rows and draw the curve.

        Parameters
        ----------
        estimator : fitted estimator
            An ensemble with ``certify``, also as the last step of a pipeline or inside a search.
        X : array-like of shape (n_samples, ...)
            Test rows.
        y : array-like of shape (n_samples,)
            True labels.
        threat : str or None, default=None
            What the attacker does; None is the ensemble's default.
        target : label, array-like of shape (n_samples,), or list or set of labels, default=None
            Draws right predictions that never become the target. A row that is predicted to be
            the target never counts: leave out the rows whose label it is.
        top_k : int, default=None
            Draws right predictions that stay among the k labels with most votes.
        tolerance : float, default=None
            For regressors: the largest error that counts as right.
        sample_weight : array-like of shape (n_samples,), default=None
            Weights of the rows.
        name : str or None, default=None
            Written beside the curve; None is the class name of the ensemble.
        unit : str or None, default=None
            What one operation is; None takes the words of the threat, or those of who owns rows:
            hostile sources, periods or annotators after a fit with ``groups`` or ``periods``.
        ax : matplotlib Axes or None, default=None
            Where to draw; None makes a figure.
        curve_kwargs : dict or None, default=None
            Keywords of the curve's ``Line2D``, such as ``color``.

        Returns
        -------
        display : CertifiedAccuracyDisplay

        Raises
        ------
        TypeError
            If there is no ensemble with ``certify``.

        Warns
        -----
        CertificateWarning
            Where a pipeline step or a search around the ensemble voids the guarantee.
        """
        estimator = seen_once(estimator)
        how = {"tolerance": tolerance, "target": target, "top_k": top_k}
        right, certificate = ask(estimator, X, y, threat=threat, **how)
        return cls.from_predictions(
            np.ones(len(right)),
            right.astype(float),
            certificate.radius,
            threat=certificate.threat,
            sample_weight=sample_weight,
            name=type(find_ensemble(estimator)).__name__ if name is None else name,
            unit=certificate.unit if unit is None else unit,
            question=certificate.question,
            ax=ax,
            curve_kwargs=curve_kwargs,
        )

    @classmethod
    def from_predictions(
        cls,
        y_true,
        y_pred,
        radius,
        *,
        threat=None,
        sample_weight=None,
        name=None,
        unit=None,
        question=None,
        ax=None,
        curve_kwargs=None,
    ):
        """Draw the curve of predictions and radii at hand.

        Parameters
        ----------
        y_true : array-like of shape (n_samples,)
            True labels.
        y_pred : array-like of shape (n_samples,)
            Predicted labels, as from ``certify``.
        radius : array-like of shape (n_samples,), int
            Certified radii, as from ``certify``.
        threat : str or None, default=None
            The threat that the radii are for: it names the unit of the x axis.
        sample_weight : array-like of shape (n_samples,), default=None
            Weights of the rows.
        name : str or None, default=None
            Written beside the curve.
        unit : str or None, default=None
            What one operation is, in your words, such as "hostile senders".
        question : str or None, default=None
            What the radii promise, such as "never becomes spam"; None: that the prediction stays.
        ax : matplotlib Axes or None, default=None
            Where to draw; None makes a figure.
        curve_kwargs : dict or None, default=None
            Keywords of the curve's ``Line2D``, such as ``color``.

        Returns
        -------
        display : CertifiedAccuracyDisplay
        """
        budgets, accuracies = certified_accuracy_curve(
            y_true, y_pred, radius, sample_weight=sample_weight
        )
        # A radius of 0 for every row leaves what is right without an attack.
        clean = certified_accuracy_score(
            y_true, y_pred, np.zeros_like(radius), 0, sample_weight=sample_weight
        )
        unit = UNITS.get(threat) if unit is None else unit
        display = cls(
            budgets=budgets,
            accuracies=accuracies,
            clean_accuracy=clean,
            name=name,
            unit=unit,
            question=question,
        )
        return display.plot(ax=ax, curve_kwargs=curve_kwargs)

    def plot(self, ax=None, *, name=None, curve_kwargs=None):
        """Draw the curve.

        Parameters
        ----------
        ax : matplotlib Axes or None, default=None
            Where to draw; None makes a figure. An axes that holds other displays shows them all.
        name : str or None, default=None
            Written beside the curve; None is ``self.name``.
        curve_kwargs : dict or None, default=None
            Keywords of the curve's ``Line2D``, such as ``color``.

        Returns
        -------
        display : CertifiedAccuracyDisplay
            Itself, with ``ax_``, ``figure_``, ``line_`` and ``clean_line_``.

        Raises
        ------
        ImportError
            If matplotlib is not installed.
        """
        plt = import_pyplot("CertifiedAccuracyDisplay.plot")
        if ax is None:
            _, ax = plt.subplots()
        first = not _marked(ax.lines)
        name = self.name if name is None else name
        unit = self.unit or NO_UNIT

        budgets, accuracies = _corners(np.asarray(self.budgets), np.asarray(self.accuracies))
        style = {"linewidth": 2.0, "zorder": 2.5, **(curve_kwargs or {})}
        if len(budgets) == 1:  # nothing is certified: a line of one point would be invisible
            style = {"marker": "o", "clip_on": False, **style}
        # "steps-pre" holds the value of the next budget on the way to it: the lower one.
        (self.line_,) = ax.plot(budgets, accuracies, drawstyle="steps-pre", **style)
        if name is not None:
            self.line_.set_label(name)
        self.clean_line_ = ax.axhline(
            self.clean_accuracy, color=self.line_.get_color(), linestyle=(0, (5, 3)), linewidth=1.2
        )
        self.line_._certified = (name, unit, self.clean_accuracy, self.question)
        self.ax_, self.figure_ = ax, ax.figure
        if first:
            _dress(ax)
        for panel in _fit_axes(ax):
            _write_names(panel)
        return self


def _corners(budgets, accuracies):
    """Keep the last point of every plateau and both ends: the same steps, far fewer points."""
    keep = np.ones(len(budgets), dtype=bool)
    keep[1:-1] = accuracies[1:-1] != accuracies[2:]
    return budgets[keep], accuracies[keep]


def _marked(artists):
    """Return the curves among lines, or their names among texts: what `plot` has drawn."""
    return [artist for artist in artists if hasattr(artist, "_certified")]


def _dress(ax):
    from matplotlib.ticker import (
        MaxNLocator,
        MultipleLocator,
        PercentFormatter,
        StrMethodFormatter,
    )

    ax.set(ylabel=_YLABEL, ylim=(0, 1.03))
    ax.yaxis.set_major_formatter(PercentFormatter(1, decimals=0, symbol=" %"))
    ax.yaxis.set_major_locator(MultipleLocator(0.2))
    ax.xaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
    ax.xaxis.set_major_locator(MaxNLocator(6, steps=[1, 2, 5, 10], integer=True))
    ax.grid(True, color=ax.yaxis.label.get_color(), alpha=0.1, linewidth=0.8)
    ax.set_axisbelow(True)
    ax.spines[["top", "right"]].set_visible(False)


def _fit_axes(ax):
    """Label the axes and make room for all curves; return the panels that share the x axis."""
    units = {line._certified[1] for line in _marked(ax.lines)}
    questions = {line._certified[3] for line in _marked(ax.lines)}
    asked = questions.pop() if len(questions) == 1 else None
    if ax.get_ylabel().startswith(_YLABEL):  # else somebody has written a label of his own
        ax.set_ylabel(f"{_YLABEL}{f', {asked}' if asked else ''}\n{_DASHED}")
    unit = units.pop() if len(units) == 1 else "operations, in each curve's own unit"
    wide = ax.bbox.width > 4 * ax.figure.dpi
    ax.set_xlabel(f"Attacker's budget{' ' if wide else chr(10)}({unit})")
    panels = ax.get_shared_x_axes().get_siblings(ax)
    end = max(line.get_xdata()[-1] for panel in panels for line in _marked(panel.lines))
    ax.set_xlim(-0.01 * max(1, end), 1.04 * max(1, end))
    return panels


def _write_names(ax):
    """Write each curve's name beside it: clear of other names, and of lines where there is room.

    A curve falls, so a name above and right of one of its points, or below and left of one, stays
    clear of it. Of those places the best is taken, the shortest curve first.
    """
    from matplotlib.patheffects import withStroke

    for text in _marked(ax.texts):
        text.remove()
    curves = sorted(_marked(ax.lines), key=lambda line: line.get_xdata()[-1])
    mixed_units, mixed_questions = (
        len({line._certified[place] for line in curves}) > 1 for place in (1, 3)
    )
    size_of_pixel = np.array([np.ptp(ax.get_xlim()), np.ptp(ax.get_ylim())]) / ax.bbox.size
    taken = []
    for line in curves:
        words = _words(line, mixed_units, mixed_questions)
        if words:
            text = ax.annotate(words, (0, 0), (0, 0), textcoords="offset points", fontsize=9.5)
            text._certified = words
            width, height = (text.get_window_extent().size + ax.figure.dpi / 9) * size_of_pixel
            places = [
                (_faults(ax, curves, taken, box, line), side, box)
                for level in _HEIGHTS
                for side, box in _beside(line, level, width, height)
            ]
            _, side, box = min(places)
            taken.append(box)
            up = side == "left"  # aligned at its left: it stands above and right of its point
            text.xy, text.xyann = (box[:2], (5, 3)) if up else (box[2:], (-5, -4))
            text.set(ha=side, va="bottom" if up else "top", color=line.get_color())
            text.set_path_effects([withStroke(linewidth=3, foreground=ax.get_facecolor())])


def _words(line, mixed_units, mixed_questions):
    name, unit, _, question = line._certified
    lines = [] if name is None else [str(name)]
    if mixed_questions and question is not None:
        lines.append(question)
    if line.get_ydata()[0] == 0:
        lines.append("nothing certified")
    elif mixed_units:
        lines.append(unit)
    return "\n".join(lines)


def _reach(line, level):
    """Return the last budget at which a curve is at `level` or above."""
    budgets, accuracies = line.get_data()
    return budgets[accuracies >= level].max(initial=0)


def _beside(line, level, width, height):
    """Return both places beside a curve at `level`: alignment and (left, bottom, right, top)."""
    x = _reach(line, level)
    above = ("left", (x, level, x + width, level + height))
    return above, ("right", (x - width, level - height, x, level))


def _faults(ax, curves, taken, box, own):
    """Count what a reader would mind about a place, the worst first."""
    left, bottom, right, top = box
    names = sum(
        left < other[2] and other[0] < right and bottom < other[3] and other[1] < top
        for other in taken
    )
    outside = left < ax.get_xlim()[0] or right > ax.get_xlim()[1] or bottom < 0 or top > 1
    lines = sum(bottom < line._certified[2] < top for line in curves)
    lines += sum(
        _reach(line, bottom) >= left and _reach(line, top) <= right
        for line in curves
        if line is not own
    )
    return names, outside, lines, abs(bottom - own.get_ydata()[0] / 2)
