"""From the sizes of successful attacks to an upper bound on robust accuracy."""

import numpy as np

from ..certificates._inputs import check_budget
from ..metrics import certified_accuracy_score


def empirical_robust_accuracy(y_true, y_pred, n_operations, budgets):
    """Return the share of predictions that are right and survive the attacks found.

    Parameters
    ----------
    y_true : array-like of shape (n_samples,)
        True labels.
    y_pred : array-like of shape (n_samples,)
        Predictions of the clean model.
    n_operations : array-like of shape (n_samples,), int
        Number of operations (label flips, inserted rows) of the smallest attack found on each
        row, at least 1; a number above all budgets where none was found.
    budgets : int or array-like of shape (n_budgets,), int
        Numbers of operations that the attacker may spend on each row, at least 0.

    Returns
    -------
    accuracies : float or ndarray of shape (n_budgets,)
        For each budget the share of rows with ``y_pred == y_true`` and
        ``n_operations > budget``. The robust accuracy is at most this, and at least the certified
        accuracy.

    Raises
    ------
    ValueError
        If lengths differ, a budget is negative or an attack has less than one operation.
    TypeError
        If numbers of operations or budgets are not integers.

    See Also
    --------
    certified_ensembles.metrics.certified_accuracy_curve : The lower bound.

    Examples
    --------
    >>> from certified_ensembles.attacks import empirical_robust_accuracy
    >>> empirical_robust_accuracy([0, 1, 1], [0, 1, 0], [3, 1, 2], budgets=[0, 1, 3])
    array([0.66666667, 0.33333333, 0.        ])
    """
    operations = np.asarray(n_operations)
    if operations.dtype.kind not in "iu":
        raise TypeError(
            f"n_operations has dtype {operations.dtype} and must hold integers: it counts "
            "poisoning operations."
        )
    if operations.size and operations.min() < 1:
        raise ValueError(
            f"n_operations has the value {operations.min()} and must be at least 1: an attack "
            "without an operation changes nothing. Wrong predictions count by y_true."
        )
    # What survives n operations less one is what a certificate of that radius would claim.
    radius = np.minimum(operations, np.iinfo(np.int64).max).astype(np.int64) - 1
    if np.ndim(budgets) == 0:
        return certified_accuracy_score(y_true, y_pred, radius, budgets)
    return np.array(
        [certified_accuracy_score(y_true, y_pred, radius, check_budget(b)) for b in budgets]
    )
