"""How many predictions survive how much: radii as a histogram."""

import numpy as np

from .._certificate import find_ensemble, seen_once
from .._extras import import_pyplot
from .._units import NO_UNIT, UNITS
from ..certificates._inputs import check_count
from ..metrics._accuracy import _check_radius
from ._asking import are_right, ask

_RIGHT, _WRONG = "#2a7ab9", "#e4572e"
_MOST_BINS = 20


class RadiusHistogramDisplay:
    """Numbers of test rows by certified radius, right predictions below and others on top.

    Make one by `from_estimator` or `from_predictions`; `plot` draws it again.

    Parameters
    ----------
    edges : ndarray of shape (n_bins + 1,), int
        Bin i holds the radii from ``edges[i]`` to ``edges[i + 1] - 1``. A bin from -1 to -1 holds
        rows of which nothing is certified.
    right, wrong : ndarrays of shape (n_bins,), int
        Numbers of rows that are predicted right, and of those that are not.
    name : str or None, default=None
        Written above the picture.
    unit : str or None, default=None
        What one operation is, for the label of the x axis; None writes "poisoning operations".
    question : str or None, default=None
        What the radii promise, such as "never becomes spam"; None: that the prediction stays.

    Attributes
    ----------
    right_bars_, wrong_bars_ : matplotlib BarContainer
        The bars.
    ax_ : matplotlib Axes
        Where it was drawn.
    figure_ : matplotlib Figure
        The figure of ``ax_``.

    See Also
    --------
    CertifiedAccuracyDisplay : The share of rows right of each radius, as a curve.

    Notes
    -----
    A wrong prediction has a radius as well: within it no attack makes it right, or wrong in
    another way.

    Examples
    --------
    >>> from certified_ensembles.display import RadiusHistogramDisplay
    >>> display = RadiusHistogramDisplay.from_predictions(
    ...     [0, 1, 1, 0], [0, 1, 1, 1], [3, 1, -1, 0], threat="label_flip"
    ... )
    >>> display.edges.tolist(), display.right.tolist(), display.wrong.tolist()
    ([-1, 0, 1, 2, 3, 4], [1, 0, 1, 0, 1], [0, 1, 0, 0, 0])
    >>> display.ax_.get_xlabel()
    'Certified radius (label flips)'
    """

    def __init__(self, *, edges, right, wrong, name=None, unit=None, question=None):
        self.edges = edges
        self.right = right
        self.wrong = wrong
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
        n_bins=_MOST_BINS,
        name=None,
        unit=None,
        ax=None,
        bar_kwargs=None,
    ):
        """Certify test rows and draw their radii.

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
        target, top_k
            Another question, as in :meth:`CertifiedAccuracyDisplay.from_estimator`.
        tolerance : float, default=None
            For regressors: the largest error that counts as right.
        n_bins : int, default=20
            The largest number of bins; they are 1, 2, 5, 10, 20, ... radii wide.
        name : str or None, default=None
            Written above the picture; None is the class name of the ensemble.
        unit : str or None, default=None
            What one operation is; None takes the words of the certificate.
        ax : matplotlib Axes or None, default=None
            Where to draw; None makes a figure.
        bar_kwargs : dict or None, default=None
            Keywords of all bars, such as ``linewidth``.

        Returns
        -------
        display : RadiusHistogramDisplay

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
        return cls._of(
            right,
            certificate.radius,
            n_bins,
            name=type(find_ensemble(estimator)).__name__ if name is None else name,
            unit=certificate.unit if unit is None else unit,
            question=certificate.question,
        ).plot(ax=ax, bar_kwargs=bar_kwargs)

    @classmethod
    def from_predictions(
        cls,
        y_true,
        y_pred,
        radius,
        *,
        threat=None,
        n_bins=_MOST_BINS,
        name=None,
        unit=None,
        question=None,
        ax=None,
        bar_kwargs=None,
    ):
        """Draw predictions and radii at hand.

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
        n_bins : int, default=20
            The largest number of bins.
        name : str or None, default=None
            Written above the picture.
        unit : str or None, default=None
            What one operation is, in your words, such as "hostile senders".
        question : str or None, default=None
            What the radii promise; None: that the prediction stays.
        ax : matplotlib Axes or None, default=None
            Where to draw; None makes a figure.
        bar_kwargs : dict or None, default=None
            Keywords of all bars.

        Returns
        -------
        display : RadiusHistogramDisplay
        """
        right, radius = are_right(y_true, y_pred), _check_radius(radius)
        unit = UNITS.get(threat) if unit is None else unit
        display = cls._of(right, radius, n_bins, name=name, unit=unit, question=question)
        return display.plot(ax=ax, bar_kwargs=bar_kwargs)

    @classmethod
    def _of(cls, right, radius, n_bins, **words):
        edges, (right, wrong) = histograms(radius, [right, ~right], n_bins)
        return cls(edges=edges, right=right, wrong=wrong, **words)

    def plot(self, ax=None, *, name=None, bar_kwargs=None):
        """Draw the bars.

        Parameters
        ----------
        ax : matplotlib Axes or None, default=None
            Where to draw; None makes a figure.
        name : str or None, default=None
            Written above the picture; None is ``self.name``.
        bar_kwargs : dict or None, default=None
            Keywords of all bars.

        Returns
        -------
        display : RadiusHistogramDisplay
            Itself, with ``ax_``, ``figure_``, ``right_bars_`` and ``wrong_bars_``.

        Raises
        ------
        ImportError
            If matplotlib is not installed.
        """
        plt = import_pyplot("RadiusHistogramDisplay.plot")
        if ax is None:
            _, ax = plt.subplots()
        edges = np.asarray(self.edges, dtype=float)
        bare = edges[0] == -1
        width = edges[-1] - edges[-2] if len(edges) > 2 or not bare else 1.0
        if bare:  # as wide as the others, and apart from them
            edges[0] = -width
        left, wide = edges[:-1] - 0.5, np.diff(edges)
        if bare:
            left[0], wide = left[0] - 0.5 * width, np.full(len(wide), width)
        style = {"align": "edge", "linewidth": 0.8, "edgecolor": "white", **(bar_kwargs or {})}
        colors = {"color": _RIGHT, "label": "right"}, {"color": _WRONG, "label": "not right"}
        self.right_bars_ = ax.bar(left, self.right, wide, **colors[0], **style)
        self.wrong_bars_ = ax.bar(left, self.wrong, wide, bottom=self.right, **colors[1], **style)
        self._dress(ax, left[0] + width / 2 if bare else None)
        name = self.name if name is None else name
        if name is not None:
            ax.set_title(name)
        self.ax_, self.figure_ = ax, ax.figure
        return self

    def _dress(self, ax, place_of_bare):
        from matplotlib.ticker import MaxNLocator

        promise = "" if self.question is None else f": {self.question}\n"
        ax.set_xlabel(f"Certified radius{promise or ' '}({self.unit or NO_UNIT})")
        ax.set_ylabel("Test rows")
        ticks = MaxNLocator(8, steps=[1, 2, 5, 10], integer=True)
        ticks = [t for t in ticks.tick_values(0, max(self.edges[-1] - 1, 1)) if t >= 0]
        ticks = [t for t in ticks if t <= self.edges[-1]]
        labels = [f"{t:,.0f}" for t in ticks]
        if place_of_bare is not None:
            ticks, labels = [place_of_bare, *ticks], ["none", *labels]
        ax.set_xticks(ticks, labels)
        ax.spines[["top", "right"]].set_visible(False)
        if np.any(self.wrong):
            ax.legend(frameon=False, title="Prediction")


def histograms(radius, masks, n_bins=_MOST_BINS):
    """Count radii in bins of one width, of several sets of rows.

    Parameters
    ----------
    radius : ndarray of shape (n_samples,), int64
    masks : list of ndarrays of shape (n_samples,), bool
    n_bins : int, default=20
        At most so many bins of one width, beside that of -1.

    Returns
    -------
    edges : ndarray of shape (n_bins + 1,), int64
    counts : list of ndarrays of shape (n_bins,), int64
    """
    most = max(check_count(n_bins, "n_bins", "bins"), 1)
    largest = int(radius.max(initial=-1))
    width = next(w for w in _widths() if w * most > largest)
    n_bins = largest // width + 1
    # The last edge of radii without end would not fit.
    ends = [min(width * i, np.iinfo(np.int64).max) for i in range(n_bins + 1)]
    bare = [-1] if (radius < 0).any() else []
    place = np.where(radius < 0, 0, radius // width + len(bare))
    n_bins += len(bare)
    counts = [np.bincount(place[mask], minlength=n_bins) for mask in masks]
    return np.array(bare + ends, dtype=np.int64), counts


def _widths():
    scale = 1
    while True:
        yield from (scale, 2 * scale, 5 * scale)
        scale *= 10
