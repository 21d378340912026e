"""Numbers that provably stay near the truth, and how far attackers can move them."""

import numpy as np

from .._certificate import seen_once
from ..certificates._inputs import check_budget
from ._accuracy import certified_accuracy_curve, certified_accuracy_score


def certified_tolerance_score(radius, budget, *, sample_weight=None):
    """Fraction of numbers that provably stay within their bounds against `budget` operations.

    Parameters
    ----------
    radius : array-like of shape (n_samples,), int
        Certified radii, as from ``certify(X, lower=y - tolerance, upper=y + tolerance)`` of a
        regressor: -1 where the prediction is out of bounds as it is.
    budget : int
        Number of operations that the attacker may spend, at least 0.
    sample_weight : array-like of shape (n_samples,), default=None
        Non-negative weights of the rows.

    Returns
    -------
    score : float
        Between 0 and 1: the share of rows with ``radius >= budget``.

    Raises
    ------
    TypeError
        If `radius` or `budget` is not integer.
    ValueError
        If `budget` is negative, or a radius is below -1.

    Notes
    -----
    With bounds around the truth it is the certified accuracy of [1]_: the share of predictions
    whose error provably stays within the tolerance. The attacker may spend the whole budget on
    each row anew.

    References
    ----------
    .. [1] Hammoudeh and Lowd, "Reducing Certified Regression to Certified Classification for
       General Poisoning Attacks", SaTML 2023.

    Examples
    --------
    >>> from certified_ensembles.metrics import certified_tolerance_score
    >>> certified_tolerance_score([3, 2, -1, 5], budget=3)
    0.5
    """
    inside = np.zeros(np.shape(radius))
    return certified_accuracy_score(inside, inside, radius, budget, sample_weight=sample_weight)


def certified_tolerance_curve(radius, *, sample_weight=None):
    """`certified_tolerance_score` at every budget, from 0 to where it is 0.

    Parameters
    ----------
    radius : array-like of shape (n_samples,), int
        As in :func:`certified_tolerance_score`.
    sample_weight : array-like of shape (n_samples,), default=None
        Non-negative weights of the rows.

    Returns
    -------
    budgets : ndarray of shape (n_budgets,), int64
        0, 1, ..., one more than the largest radius.
    shares : ndarray of shape (n_budgets,), float64
        Between 0 and 1, never rising; the last is 0.

    Examples
    --------
    >>> from certified_ensembles.metrics import certified_tolerance_curve
    >>> certified_tolerance_curve([3, 1, -1, 2])[1].tolist()
    [0.75, 0.75, 0.5, 0.25, 0.0]
    """
    inside = np.zeros(np.shape(radius))
    return certified_accuracy_curve(inside, inside, radius, sample_weight=sample_weight)


def interval_width_curve(estimator, X, budgets, *, threat=None, quantile=0.5):
    """How far attackers can move predictions: the width of certified intervals at each budget.

    Parameters
    ----------
    estimator : fitted estimator with ``certify_interval``
    X : array-like, sparse matrix, dataframe or sequence of str
        Test rows.
    budgets : sequence of int
        Numbers of operations.
    threat : str, default=None
        As in the estimator's ``certify_interval``.
    quantile : float, default=0.5
        Which of the widths of all rows, between 0 and 1: 0.5 is the median.

    Returns
    -------
    budgets : ndarray of shape (n_budgets,), int64
    widths : ndarray of shape (n_budgets,), float64
        Infinite where more rows than that have no bound.

    Examples
    --------
    >>> from sklearn.datasets import load_diabetes
    >>> from certified_ensembles import DeepPartitionRegressor
    >>> from certified_ensembles.metrics import interval_width_curve
    >>> X, y = load_diabetes(return_X_y=True)
    >>> reg = DeepPartitionRegressor(n_partitions=9).fit(X, y)
    >>> budgets, widths = interval_width_curve(reg, X[:20], [0, 2, 5])
    >>> bool(widths[0] == 0 < widths[1] < widths[2] == float("inf"))
    True
    """
    estimator, widths = seen_once(estimator), []
    if not hasattr(estimator, "certify_interval"):
        raise TypeError(
            f"estimator={type(estimator).__name__} has no certify_interval: pass a fitted "
            "DeepPartitionRegressor or LabelNoiseRegressor."
        )
    if not 0 <= quantile <= 1:
        raise ValueError(f"quantile={quantile!r} must be between 0 and 1; 0.5 is the median.")
    budgets = np.array([check_budget(budget) for budget in budgets], dtype=np.int64)
    for budget in budgets.tolist():
        _, lower, upper = estimator.certify_interval(X, budget, threat=threat)
        # The width of a row, and not between two: infinite ones have no mean.
        widths.append(np.quantile(upper - lower, quantile, method="higher"))
    return budgets, np.array(widths)
