"""What abstention buys: accuracy among the rows that are answered, against how many are."""

from typing import NamedTuple

import numpy as np

from .._extras import import_pyplot
from .._units import round_budgets
from ._accuracy import certified_accuracy_curve


class CoverageAccuracyCurve(NamedTuple):
    """What abstention buys: one entry for each threshold.

    Attributes
    ----------
    min_radius : ndarray of shape (n_thresholds,), int64
        0, 1, ..., the largest radius.
    coverage : ndarray of shape (n_thresholds,), float64
        Share of rows that are answered, between 0 and 1, never rising.
    accuracy : ndarray of shape (n_thresholds,), float64
        Share of the answered rows that are right, between 0 and 1.
    """

    min_radius: np.ndarray
    coverage: np.ndarray
    accuracy: np.ndarray

    def plot(self, ax=None, *, name=None, marks=None, curve_kwargs=None):
        """Draw accuracy against coverage, with the least radius written beside some points.

        Parameters
        ----------
        ax : matplotlib Axes or None, default=None
            Where to draw; None makes a figure.
        name : str or None, default=None
            The label of the curve, for a legend.
        marks : sequence of int or None, default=None
            The least radii to mark; None: 0, 1, 2, 5, 10, ..., those apart from each other.
        curve_kwargs : dict or None, default=None
            Keywords of the curve's ``Line2D``, such as ``color``.

        Returns
        -------
        ax : matplotlib Axes

        Raises
        ------
        ImportError
            If matplotlib is not installed.

        Examples
        --------
        >>> from certified_ensembles.abstention import coverage_accuracy_curve
        >>> curve = coverage_accuracy_curve([0, 1, 1, 0], [0, 1, 1, 1], [2, 2, 1, 0])
        >>> ax = curve.plot()
        >>> ax.get_xlabel(), [text.get_text() for text in ax.texts]
        ('Coverage: share of rows that are answered', ['0', '1', '2'])
        """
        plt = import_pyplot("CoverageAccuracyCurve.plot")
        if ax is None:
            _, ax = plt.subplots()
        style = {"linewidth": 2.0, **(curve_kwargs or {})}
        (line,) = ax.plot(self.coverage, self.accuracy, label=name, **style)
        places = _marked_places(self, marks)
        how = {"color": line.get_color(), "textcoords": "offset points", "fontsize": 9}
        for r in places:
            point = self.coverage[r], self.accuracy[r]
            ax.plot(*point, "o", color=line.get_color(), markersize=5)
            ax.annotate(f"{r:,}", point, (-4, -5), ha="right", va="top", **how)
        ax.set_xlabel("Coverage: share of rows that are answered")
        ax.set_ylabel("Accuracy of the answers\n(marks: the least radius asked for)")
        ax.set_xlim(0, 1.04)
        for axis in (ax.xaxis, ax.yaxis):
            axis.set_major_formatter(lambda share, _: f"{100 * share:g} %")
        ax.spines[["top", "right"]].set_visible(False)
        return ax


def _marked_places(curve, marks):
    """Return the thresholds whose points are marked."""
    if marks is not None:
        return [int(r) for r in marks if 0 <= r < len(curve.coverage)]
    kept = []
    for r in round_budgets(len(curve.coverage) - 1, len(curve.coverage)):
        if r < len(curve.coverage) and all(
            abs(curve.coverage[r] - curve.coverage[other]) > 0.04 for other in kept
        ):
            kept.append(r)
    return kept


def coverage_accuracy_curve(y_true, y_pred, radius, *, sample_weight=None):
    """Return coverage, and accuracy among the answers, for every least radius asked for.

    Parameters
    ----------
    y_true : array-like of shape (n_samples,)
        True labels.
    y_pred : array-like of shape (n_samples,)
        Predicted labels, as from ``certify``.
    radius : array-like of shape (n_samples,), int
        Certified radii, as from ``certify``; -1 where the ensemble abstains.
    sample_weight : array-like of shape (n_samples,), default=None
        Non-negative weights of the rows.

    Returns
    -------
    curve : CoverageAccuracyCurve
        ``min_radius, coverage, accuracy``, up to the last threshold at which a row is
        answered. Coverage times accuracy is the certified accuracy.

    Raises
    ------
    TypeError
        If `radius` is not integer.
    ValueError
        If the lengths differ or a radius is below -1.

    Notes
    -----
    A threshold chosen by looking at rows that an attacker can touch is not covered by the
    certificate: choose it beforehand, or on trusted rows.

    Examples
    --------
    >>> from certified_ensembles.abstention import coverage_accuracy_curve
    >>> coverage_accuracy_curve([0, 1, 1, 0], [0, 1, 1, 1], [2, 2, 1, 0]).coverage.tolist()
    [1.0, 0.75, 0.5]
    >>> coverage_accuracy_curve([0, 1, 1, 0], [0, 1, 1, 1], [2, 2, 1, 0]).accuracy.tolist()
    [0.75, 1.0, 1.0]
    """
    _, right = certified_accuracy_curve(y_true, y_pred, radius, sample_weight=sample_weight)
    _, coverage = certified_accuracy_curve(y_pred, y_pred, radius, sample_weight=sample_weight)
    coverage = coverage[coverage > 0]
    right = np.concatenate([right, np.zeros(len(coverage))])[: len(coverage)]
    # Both are rounded sums of weights.
    return CoverageAccuracyCurve(
        np.arange(len(coverage)), coverage, np.minimum(right / coverage, 1.0)
    )
