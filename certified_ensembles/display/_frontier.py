"""Certified accuracy against poisoned rows and columns at once."""

import numpy as np

from .._certificate import effective_threat, seen_once
from .._extras import import_pyplot
from .._units import column_unit_of, row_unit_of
from ..metrics import certified_accuracy_frontier

_LEVELS = (0.9, 0.5)
_LINE_COLOR = "#e4572e"  # stands out from all colours of the cells
# Lines of the first, second, ... level.
_STYLES = ("solid", (0, (4, 2)), (0, (1, 1.2)), (0, (6, 2, 1, 2)))
# The size of a cell, in points, below which no number is written into it.
_SMALLEST_CELL = 23


class FrontierDisplay:
    """Certified accuracy as colour: poisoned rows upwards, hostile columns to the right.

    Make one by `from_estimator` or `from_predictions`; `plot` draws it again. The cell at the
    lower left is accuracy without an attack, its row what survives columns alone, and its column
    what survives rows alone. Where nothing is certified the paper stays blank. Lines go round the
    cells in which at least a level is certified; they are marked on the scale.

    Parameters
    ----------
    accuracies : ndarray of shape (n_row_budgets, n_column_budgets), float
        Certified accuracy beside r rows and s columns at ``[r, s]``, between 0 and 1.
    name : str or None, default=None
        Written above the picture.
    row_unit : str or None, default=None
        What one operation on rows is; None writes "poisoned training rows".
    column_unit : str or None, default=None
        What one operation on columns is; None writes "hostile columns".

    Attributes
    ----------
    mesh_ : matplotlib QuadMesh
        The cells.
    colorbar_ : matplotlib Colorbar or None
        The scale of their colours.
    level_lines_ : dict of float to matplotlib LineCollection
        The line of each level that some cell reaches and another does not.
    texts_ : list of matplotlib Text
        Percentages in the cells; empty where these are too small.
    ax_ : matplotlib Axes
        Where it was drawn.
    figure_ : matplotlib Figure
        The figure of ``ax_``.

    See Also
    --------
    certified_ensembles.metrics.certified_accuracy_frontier : The numbers of the cells.
    CertifiedAccuracyDisplay : One of its rows or columns as a curve.

    Notes
    -----
    Each test row faces its own worst attack. The accuracy after any one attack on so many rows
    and columns is at least that of the cell.

    Examples
    --------
    >>> from certified_ensembles.display import FrontierDisplay
    >>> display = FrontierDisplay(accuracies=[[0.9, 0.6, 0.0], [0.7, 0.2, 0.0]])
    >>> display.plot().ax_.get_xlabel()
    'hostile columns'
    """

    def __init__(self, *, accuracies, name=None, row_unit=None, column_unit=None):
        self.accuracies = accuracies
        self.name = name
        self.row_unit = row_unit
        self.column_unit = column_unit

    @classmethod
    def from_estimator(
        cls,
        estimator,
        X,
        y,
        *,
        threat=None,
        sample_weight=None,
        name=None,
        row_unit=None,
        column_unit=None,
        levels=_LEVELS,
        ax=None,
        mesh_kwargs=None,
    ):
        """Ask for the frontier of test rows and draw it.

        Parameters
        ----------
        estimator : fitted estimator with ``frontier``
            Such as `FeaturePartitionAggregation`.
        X : array-like of shape (n_samples, ...)
            Test rows.
        y : array-like of shape (n_samples,)
            True labels.
        threat : str or None, default=None
            What the attacker does to rows; None is the ensemble's default.
        sample_weight : array-like of shape (n_samples,), default=None
            Weights of the rows.
        name : str or None, default=None
            Written above the picture; None is the class name of the ensemble.
        row_unit, column_unit : str or None, default=None
            What one operation is; None takes the words of the threat, or of who owns rows, and
            "columns" or "words".
        levels : sequence of float, default=(0.9, 0.5)
            Accuracies whose lines are drawn, and marked on the scale.
        ax : matplotlib Axes or None, default=None
            Where to draw; None makes a figure.
        mesh_kwargs : dict or None, default=None
            Keywords of ``pcolormesh``, such as ``cmap``.

        Returns
        -------
        display : FrontierDisplay

        Raises
        ------
        TypeError
            If the estimator has no method ``frontier``.
        """
        estimator = seen_once(estimator)
        if not hasattr(estimator, "frontier"):
            raise TypeError(
                f"estimator={type(estimator).__name__} has no method frontier: members must see "
                "rows and columns apart. Pass a fitted FeaturePartitionAggregation itself: steps "
                "before it may mix columns, and belong into its base estimator."
            )
        how = {} if threat is None else {"threat": threat}
        frontier = estimator.frontier(X, **how)
        threat = effective_threat(estimator, threat)
        return cls.from_predictions(
            y,
            estimator.predict(X),
            frontier,
            sample_weight=sample_weight,
            name=type(estimator).__name__ if name is None else name,
            row_unit=row_unit_of(estimator, threat) if row_unit is None else row_unit,
            column_unit=column_unit_of(estimator) if column_unit is None else column_unit,
            levels=levels,
            ax=ax,
            mesh_kwargs=mesh_kwargs,
        )

    @classmethod
    def from_predictions(
        cls,
        y_true,
        y_pred,
        frontier,
        *,
        sample_weight=None,
        name=None,
        row_unit=None,
        column_unit=None,
        levels=_LEVELS,
        ax=None,
        mesh_kwargs=None,
    ):
        """Draw predictions and frontiers at hand.

        Parameters
        ----------
        y_true : array-like of shape (n_samples,)
            True labels.
        y_pred : array-like of shape (n_samples,)
            Predicted labels.
        frontier : array-like of shape (n_samples, n_budgets), int
            The columns that each prediction survives beside 0, 1, 2, ... poisoned rows.
        sample_weight : array-like of shape (n_samples,), default=None
            Weights of the rows.
        name : str or None, default=None
            Written above the picture.
        row_unit, column_unit : str or None, default=None
            What one operation is, in your words, such as "hostile senders".
        levels : sequence of float, default=(0.9, 0.5)
            Accuracies whose lines are drawn, and marked on the scale.
        ax : matplotlib Axes or None, default=None
            Where to draw; None makes a figure.
        mesh_kwargs : dict or None, default=None
            Keywords of ``pcolormesh``, such as ``cmap``.

        Returns
        -------
        display : FrontierDisplay
        """
        display = cls(
            accuracies=certified_accuracy_frontier(
                y_true, y_pred, frontier, sample_weight=sample_weight
            ),
            name=name,
            row_unit=row_unit,
            column_unit=column_unit,
        )
        return display.plot(ax=ax, levels=levels, mesh_kwargs=mesh_kwargs)

    def plot(self, ax=None, *, name=None, levels=_LEVELS, mesh_kwargs=None):
        """Draw the cells, their level lines and, where there is room, their numbers.

        Parameters
        ----------
        ax : matplotlib Axes or None, default=None
            Where to draw; None makes a figure.
        name : str or None, default=None
            Written above the picture; None is ``self.name``.
        levels : sequence of float, default=(0.9, 0.5)
            Accuracies whose lines are drawn, and marked on the scale.
        mesh_kwargs : dict or None, default=None
            Keywords of ``pcolormesh``, such as ``cmap``.

        Returns
        -------
        display : FrontierDisplay
            Itself, with ``ax_``, ``figure_``, ``mesh_``, ``colorbar_``, ``level_lines_`` and
            ``texts_``.

        Raises
        ------
        ImportError
            If matplotlib is not installed.
        """
        plt = import_pyplot("FrontierDisplay.plot")
        if ax is None:
            _, ax = plt.subplots()
        self.ax_, self.figure_ = ax, ax.figure
        accuracies = np.asarray(self.accuracies, dtype=float)
        edges = [np.arange(n + 1) - 0.5 for n in accuracies.shape]
        style = {"cmap": "YlGnBu", "vmin": 0, "vmax": 1, **(mesh_kwargs or {})}
        certified = np.ma.masked_equal(accuracies, 0)
        self.mesh_ = ax.pcolormesh(edges[1], edges[0], certified, **style)
        self._dress()
        self.level_lines_ = {}
        for place, level in enumerate(levels):
            outline = _outline(accuracies >= level)
            if outline is not None:
                self._draw_level(level, outline, _STYLES[place % len(_STYLES)])
        self._write_numbers(accuracies)
        name = self.name if name is None else name
        if name is not None:
            ax.set_title(name)
        return self

    def _dress(self):
        from matplotlib.ticker import MaxNLocator, PercentFormatter

        ax = self.ax_
        percent = PercentFormatter(1, decimals=0, symbol=" %")
        self.colorbar_ = self.figure_.colorbar(
            self.mesh_, ax=ax, label="Certified accuracy", format=percent
        )
        ax.set_xlabel(self.column_unit or "hostile columns")
        ax.set_ylabel(self.row_unit or "poisoned training rows")
        for axis in (ax.xaxis, ax.yaxis):
            axis.set_major_locator(MaxNLocator(10, steps=[1, 2, 5, 10], integer=True))
        ax.spines[["top", "right"]].set_visible(False)

    def _draw_level(self, level, outline, style):
        from matplotlib.collections import LineCollection

        how = {"colors": _LINE_COLOR, "linewidths": 1.8, "linestyles": style}
        lines = LineCollection([outline], clip_on=False, **how)
        self.ax_.add_collection(lines, autolim=False)
        self.level_lines_[level] = lines
        scale = self.colorbar_.ax
        scale.hlines(level, 0, 1, transform=scale.get_yaxis_transform(), **how)

    def _write_numbers(self, accuracies):
        self.texts_ = []
        size = self.ax_.get_window_extent().size * 72 / self.figure_.dpi
        if (size / accuracies.shape[::-1]).min() < _SMALLEST_CELL:
            return
        for r, s in np.ndindex(accuracies.shape):
            share = accuracies[r, s]
            if share == 0:
                continue
            dark = sum(self.mesh_.to_rgba(share)[:3]) < 1.5
            # Rounded down: no cell says more than is certified.
            words = f"{np.floor(100 * share + 1e-9):.0f}"
            color = "white" if dark else "black"
            self.texts_.append(
                self.ax_.text(s, r, words, ha="center", va="center", color=color, fontsize=8.5)
            )


def _outline(reached):
    """Return the corners of the line between cells that reach a level and the others.

    Parameters
    ----------
    reached : ndarray of shape (n_rows, n_columns), bool
        In each row some first cells, in later rows no more of them.

    Returns
    -------
    outline : ndarray of shape (n_corners, 2) or None
        From the left and above to below and the right; None where no line parts the cells.
    """
    if reached.all() or not reached.any():
        return None
    widths = reached.sum(axis=1)
    n_rows = int(np.count_nonzero(widths))
    corners = [(-0.5, n_rows - 0.5)]
    for r in range(n_rows - 1, -1, -1):
        corners += [(widths[r] - 0.5, r + 0.5), (widths[r] - 0.5, r - 0.5)]
    return np.array(corners, dtype=float)
