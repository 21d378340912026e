"""Certified accuracy: how many predictions are right and provably stay so under an attack."""

import numpy as np
from sklearn.utils.validation import column_or_1d

from .._data.labels import check_same_kind
from ..certificates._inputs import check_budget

# A curve holds one number per budget. Radii beyond any training set (nothing can change the
# answer) would fill the memory with equal numbers.
_MAX_BUDGETS = 10_000_000


def certified_accuracy_score(y_true, y_pred, radius, budget, *, sample_weight=None):
    """Fraction of rows predicted right and certified against `budget` operations.

    Parameters
    ----------
    y_true : array-like of shape (n_samples,)
        True labels.
    y_pred : array-like of shape (n_samples,)
        Predicted labels, as from ``certify``.
    radius : array-like of shape (n_samples,), int
        Certified radii, as from ``certify``: operations of the threat, or -1 where the ensemble
        abstains. An abstention never counts.
    budget : int
        Number of operations that the attacker may spend, at least 0.
    sample_weight : array-like of shape (n_samples,), default=None
        Non-negative weights of the rows.

    Returns
    -------
    score : float
        Between 0 and 1: the share of rows with ``y_pred == y_true`` and ``radius >= budget``.

    Raises
    ------
    TypeError
        If `radius` or `budget` is not integer.
    ValueError
        If the lengths differ, `budget` is negative, or a radius is below -1.

    Notes
    -----
    The attacker may spend the whole budget on each row anew, with another attack for every row.
    So the accuracy after any one attack within the budget is at least this score.

    References
    ----------
    .. [1] A. Levine and S. Feizi. Deep Partition Aggregation: Provable Defenses against General
       Poisoning Attacks. ICLR 2021, section 4.

    Examples
    --------
    >>> from certified_ensembles.metrics import certified_accuracy_score
    >>> certified_accuracy_score([0, 1, 1, 0], [0, 1, 1, 1], [3, 2, -1, 5], budget=2)
    0.5
    >>> certified_accuracy_score([0, 1, 1, 0], [0, 1, 1, 1], [3, 2, -1, 5], budget=3)
    0.25
    """
    budget = check_budget(budget)
    survives = _proven_budgets(y_true, y_pred, radius) >= budget
    if sample_weight is None:
        return int(np.count_nonzero(survives)) / len(survives)
    weight = _check_weight(sample_weight, len(survives))
    return float(weight[survives].sum() / weight.sum())


def certified_accuracy_curve(y_true, y_pred, radius, *, sample_weight=None):
    """Certified accuracy at every budget, from 0 to where it is 0.

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
    budgets : ndarray of shape (n_budgets,), int64
        0, 1, ..., one more than the largest radius of a correct row. So ``budgets[b] == b``.
    accuracies : ndarray of shape (n_budgets,), float64
        `certified_accuracy_score` at each budget, between 0 and 1, never rising; the last is 0.

    Raises
    ------
    TypeError
        If `radius` is not integer.
    ValueError
        If the lengths differ, a radius is below -1, or one is too large for a curve with one
        number per budget.

    Examples
    --------
    >>> from certified_ensembles.metrics import certified_accuracy_curve
    >>> budgets, accuracies = certified_accuracy_curve([0, 1, 1, 0], [0, 1, 1, 1], [3, 1, -1, 5])
    >>> budgets
    array([0, 1, 2, 3, 4])
    >>> accuracies
    array([0.5 , 0.5 , 0.25, 0.25, 0.  ])
    """
    proven = _proven_budgets(y_true, y_pred, radius)
    largest = int(proven.max())
    if largest >= _MAX_BUDGETS:
        raise ValueError(
            f"radius goes up to {largest}: a curve with one number per budget ends at "
            f"{_MAX_BUDGETS}. Clip the radii to the largest budget of interest, for instance "
            "np.minimum(radius, n_train)."
        )
    # Index 0 of the histogram holds the rows that count nowhere (-1).
    if sample_weight is None:
        per_radius = np.bincount(proven + 1, minlength=largest + 3)
        total = len(proven)
    else:
        weight = _check_weight(sample_weight, len(proven))
        per_radius = np.bincount(proven + 1, weights=weight, minlength=largest + 3)
        total = weight.sum()
    still_certified = np.cumsum(per_radius[:0:-1])[::-1]
    accuracies = np.minimum(still_certified / total, 1.0)  # sums of weights round
    return np.arange(largest + 2, dtype=np.int64), accuracies


def certified_accuracy_frontier(y_true, y_pred, frontier, *, sample_weight=None):
    """Certified accuracy at every number of poisoned rows and of columns.

    Parameters
    ----------
    y_true : array-like of shape (n_samples,)
        True labels.
    y_pred : array-like of shape (n_samples,)
        Predicted labels.
    frontier : array-like of shape (n_samples, n_budgets), int
        The columns that each prediction survives beside 0, 1, 2, ... poisoned rows, as from
        ``frontier`` of an ensemble; -1 where none.
    sample_weight : array-like of shape (n_samples,), default=None
        Non-negative weights of the rows.

    Returns
    -------
    accuracies : ndarray of shape (n_row_budgets, n_column_budgets), float64
        Entry ``[r, s]`` is the share of rows that are predicted right and stay so under r
        poisoned rows and s columns at once, between 0 and 1. It rises along neither axis. It ends
        with the first s at which nothing is certified, and with the first such r, or with the last
        budget of the frontier.

    Raises
    ------
    TypeError
        If `frontier` is not integer.
    ValueError
        If the shapes differ, or an entry is below -1.

    See Also
    --------
    certified_accuracy_curve : The same for one kind of operation.

    Examples
    --------
    >>> from certified_ensembles.metrics import certified_accuracy_frontier
    >>> frontier = [[2, 0, -1], [1, 1, -1], [0, -1, -1], [3, 2, 1]]
    >>> certified_accuracy_frontier([0, 1, 1, 0], [0, 1, 1, 1], frontier)
    array([[0.75, 0.5 , 0.25, 0.  ],
           [0.5 , 0.25, 0.  , 0.  ],
           [0.  , 0.  , 0.  , 0.  ]])
    """
    frontier = np.asarray(frontier)
    if frontier.ndim != 2 or frontier.shape[1] == 0:
        raise ValueError(
            "frontier must have the shape (n_samples, n_budgets) with at least one budget, got "
            f"{frontier.shape}. Pass what the ensemble's method frontier returned."
        )
    curves = [
        certified_accuracy_curve(y_true, y_pred, columns, sample_weight=sample_weight)[1]
        for columns in frontier.T
    ]
    accuracies = np.zeros((len(curves), max(map(len, curves))))
    for row, curve in zip(accuracies, curves, strict=True):
        row[: len(curve)] = curve
    n_certified = int(np.count_nonzero(accuracies[:, 0]))
    return accuracies[: n_certified + 1]


def median_certified_radius(y_true, y_pred, radius):
    """Largest budget at which at least half of the rows are right and certified.

    Parameters
    ----------
    y_true : array-like of shape (n_samples,)
        True labels.
    y_pred : array-like of shape (n_samples,)
        Predicted labels, as from ``certify``.
    radius : array-like of shape (n_samples,), int
        Certified radii, as from ``certify``; -1 where the ensemble abstains.

    Returns
    -------
    median : int
        Operations of the threat; -1 where certified accuracy is below 50 % even at budget 0.

    Raises
    ------
    TypeError
        If `radius` is not integer.
    ValueError
        If the lengths differ or a radius is below -1.

    Notes
    -----
    The papers call this median certified robustness. Rows are counted, so exactly half of them
    is enough, and no rounding takes part.

    References
    ----------
    .. [1] A. Levine and S. Feizi. Deep Partition Aggregation: Provable Defenses against General
       Poisoning Attacks. ICLR 2021, Table 1.

    Examples
    --------
    >>> from certified_ensembles.metrics import median_certified_radius
    >>> median_certified_radius([0, 1, 1, 0], [0, 1, 1, 1], [3, 1, 7, 5])
    3
    >>> median_certified_radius([0, 1, 1, 0], [1, 0, 1, 1], [3, 1, 7, 5])
    -1
    """
    proven = _proven_budgets(y_true, y_pred, radius)
    # The ceil(n / 2)-th largest: the least number of rows with 2 * count >= n have it or more.
    needed = (len(proven) + 1) // 2
    return int(np.partition(proven, len(proven) - needed)[len(proven) - needed])


def _proven_budgets(y_true, y_pred, radius):
    """Validate; return the largest budget at which each row counts, -1 where it never does."""
    y_true, y_pred = column_or_1d(y_true), column_or_1d(y_pred)
    radius = _check_radius(radius)
    lengths = {"y_true": len(y_true), "y_pred": len(y_pred), "radius": len(radius)}
    if len(set(lengths.values())) > 1:
        found = ", ".join(f"{name} has {length}" for name, length in lengths.items())
        raise ValueError(
            f"y_true, y_pred and radius must have one entry per test row: {found}. Pass the "
            "labels of the rows that were certified, in the same order."
        )
    if len(radius) == 0:
        raise ValueError("y_true, y_pred and radius are empty: pass at least one test row.")
    check_same_kind(y_true, y_pred, "y_true", "y_pred")
    return np.where(y_true == y_pred, radius, -1)


def _check_radius(radius):
    radius = column_or_1d(radius)
    if radius.dtype.kind not in "iu" and len(radius):
        raise TypeError(
            f"radius has dtype {radius.dtype} and must be integer: it counts poisoning "
            "operations. Pass the radius that certify returned, not rounded and not scaled."
        )
    if len(radius) and radius.min() < -1:
        raise ValueError(
            f"radius has the value {radius.min()} and must be -1 (abstains) or more. "
            "Pass the radius that certify returned."
        )
    if radius.dtype == np.uint64:  # a value beyond int64 would wrap to a negative one
        radius = np.minimum(radius, np.uint64(np.iinfo(np.int64).max))
    return radius.astype(np.int64)


def _check_weight(sample_weight, n_samples):
    weight = column_or_1d(sample_weight, dtype=np.float64)
    if len(weight) != n_samples:
        raise ValueError(
            f"sample_weight has {len(weight)} entries for {n_samples} test rows. Pass one weight "
            "per row."
        )
    if not np.all(np.isfinite(weight)) or weight.min() < 0 or weight.sum() == 0:
        raise ValueError(
            "sample_weight must be finite, non-negative and not all zero. Drop the rows that "
            "must not count, or give them weight 0."
        )
    return weight
