"""Label flips against models that make no promise: in the order of influence or distance.

Appendix C.1 of Rosenfeld et al., "Certified Robustness to Label-Flipping Attacks via Randomized
Smoothing", ICML 2020. These are heuristics: what they find are upper bounds on robust accuracy.
"""

import numpy as np
from sklearn.utils import check_array
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.parallel import Parallel, delayed
from sklearn.utils.validation import check_consistent_length, column_or_1d
from tqdm.auto import tqdm

from ..certificates._inputs import check_budget
from ._victims import victim_of

_ORDERS = ("influence", "distance")
# The number of test rows in one job: few enough to be spread over workers, enough for one matrix
# product to pay.
_ROWS = 8


def flip_labels_in_order(estimator, X, y, X_test, budget, *, order="influence", reverse=False):
    """Flip the labels that come first in an order, for each test row its own.

    Parameters
    ----------
    estimator : classifier
        As in :func:`smallest_ordered_flip_attack`.
    X : array-like of shape (n_train, n_features)
        Training rows.
    y : array-like of shape (n_train,)
        Training labels.
    X_test : array-like of shape (n_samples, n_features)
        Test rows to attack.
    budget : int
        Number of labels to flip, at least 0.
    order : {"influence", "distance"}, default="influence"
        Which labels come first, see :func:`smallest_ordered_flip_attack`.
    reverse : bool, default=False
        Start from the end of the order.

    Returns
    -------
    y_poisoned : ndarray of shape (n_samples, n_train)
        For each test row the labels after the attack on it; `budget` of them differ from `y`,
        or fewer where the order holds fewer rows.

    Raises
    ------
    ValueError
        If an array or parameter is unusable.
    TypeError
        If `budget` is not an integer.

    Examples
    --------
    >>> from sklearn.linear_model import LogisticRegression
    >>> from certified_ensembles.attacks import flip_labels_in_order
    >>> X, y = [[0.0], [1.0], [2.0], [5.0], [6.0]], [0, 0, 0, 1, 1]
    >>> flip_labels_in_order(LogisticRegression(), X, y, [[1.2]], 1, order="distance")
    array([[0, 1, 0, 1, 1]])
    """
    budget = check_budget(budget)
    X, y, X_test, classes, codes = _check_rows(X, y, X_test)
    victim = victim_of(estimator, X, codes, classes, _check_orders((order,)))
    poisoned = np.tile(y, (len(X_test), 1))
    for rows in _blocks(len(X_test)):
        for i, target in zip(rows, victim.targets(X_test[rows]), strict=True):
            path = target.path(order, reverse)
            poisoned[i] = classes[path.labels(min(budget, len(path)))]
    return poisoned


def smallest_ordered_flip_attack(
    estimator,
    X,
    y,
    X_test,
    *,
    orders=("influence", "distance"),
    reverse=True,
    recompute="never",
    max_flips=None,
    return_labels=False,
    n_jobs=None,
    verbose=0,
):
    """Flip labels in the order of influence and of distance until each prediction changes.

    Parameters
    ----------
    estimator : classifier
        Unfitted victim; clones are fitted on the poisoned labels. `RidgeClassifier` and the
        other linear smoothers of :class:`~certified_ensembles.smoothers.LinearSmoother` are
        scored by their weights instead, with no fit at all. One that
        draws random numbers needs an integer `random_state`, else the result is not repeatable.
    X : array-like of shape (n_train, n_features)
        Training rows, dense: the features that the victim's last layer sees.
    y : array-like of shape (n_train,)
        Training labels of at least two classes.
    X_test : array-like of shape (n_samples, n_features)
        Test rows to attack.
    orders : sequence of {"influence", "distance"}, default=("influence", "distance")
        "influence": labels whose flip lowers the margin most come first, by
        :func:`label_flip_influence` for a `LogisticRegression`, by the weights for a linear
        smoother; other estimators have none. "distance": the nearest training rows come first,
        by Euclidean distance, without those that carry the rival's label already.
    reverse : bool, default=True
        Try every order from its end as well.
    recompute : {"never", "schedule"}, default="never"
        "never": influence is that on the clean model. "schedule": it is computed again on the
        poisoned model whenever the number of flips has doubled, for the labels still left.
        Linear smoothers need neither: their influence is exact and stays.
    max_flips : int, default=None
        Largest number of flips to try. None means all labels.
    return_labels : bool, default=False
        Return the poisoned labels as well.
    n_jobs : int, default=None
        Test rows attacked in parallel. It never changes a result.
    verbose : int, default=0
        1 shows a progress bar over test rows.

    Returns
    -------
    n_flips : ndarray of shape (n_samples,), int64
        Number of flips of the smallest attack found, at least 1; ``n_train + 1`` where none was
        found within `max_flips`.
    y_poisoned : ndarray of shape (n_samples, n_train)
        Labels after that attack, those of `y` where none was found. Only with
        ``return_labels=True``.

    Raises
    ------
    ValueError
        If an array or parameter is unusable, or "influence" is asked for a victim that has none.
    TypeError
        If `max_flips` is not an integer.

    See Also
    --------
    smallest_flip_attack : The optimal attack where the victim is a linear smoother.
    empirical_robust_accuracy : From these numbers to a curve.

    Notes
    -----
    A flipped label becomes the rival, the runner-up on the clean model; a label that is the
    rival's already becomes the predicted class. The attack succeeds when the prediction becomes
    any other class.

    Refits are the cost, so flips are not made one by one. The number is first guessed from the
    influence, doubled until the prediction changes, then narrowed down by interpolation between
    a number that does not suffice and one that does; a further order is tried with one flip
    less than the best so far, and dropped if that does not suffice. That takes some ten to
    twenty fits a test row. Where the margin does not fall with every flip, a smaller number may
    be missed: the result stays an upper bound. A `LogisticRegression` starts each fit from
    the last one, and the final number is confirmed by a clone that starts afresh (and raised
    where it does not confirm). So each number returned is that of an attack that works.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from sklearn.linear_model import LogisticRegression
    >>> from certified_ensembles.attacks import smallest_ordered_flip_attack
    >>> X, y = load_iris(return_X_y=True)
    >>> X, y = X[50:], y[50:]
    >>> n_flips = smallest_ordered_flip_attack(LogisticRegression(), X[1:], y[1:], X[:1])
    >>> bool(1 < n_flips[0] < 50)
    True
    """
    X, y, X_test, classes, codes = _check_rows(X, y, X_test)
    max_flips = len(y) if max_flips is None else min(check_budget(max_flips), len(y))
    orders = _check_orders(orders)
    if recompute not in ("never", "schedule"):
        raise ValueError(f'recompute must be "never" or "schedule", got {recompute!r}.')
    victim = victim_of(estimator, X, codes, classes, orders)
    plan = [(order, end) for order in orders for end in ((False, True) if reverse else (False,))]
    blocks = list(_blocks(len(X_test)))
    found = Parallel(n_jobs=n_jobs, return_as="generator")(
        delayed(_attack_block)(victim, X_test[rows], plan, recompute, max_flips) for rows in blocks
    )
    n_flips, poisoned = [], []
    with tqdm(total=len(X_test), desc="attack", unit="row", disable=not verbose) as bar:
        for block in found:
            n_flips += [n for n, _ in block]
            poisoned += [classes[labels] for _, labels in block if return_labels]
            bar.update(len(block))
    n_flips = np.array(n_flips, dtype=np.int64)
    return (n_flips, np.array(poisoned)) if return_labels else n_flips


def _check_rows(X, y, X_test):
    X, X_test = check_array(X, dtype=np.float64), check_array(X_test, dtype=np.float64)
    y = column_or_1d(y)
    check_consistent_length(X, y)
    check_classification_targets(y)
    if X_test.shape[1] != X.shape[1]:
        raise ValueError(
            f"X_test has {X_test.shape[1]} features and X has {X.shape[1]}: pass rows of the "
            "same features."
        )
    classes, codes = np.unique(y, return_inverse=True)
    if len(classes) < 2:
        raise ValueError(
            "y holds 1 class only, and a model of one class has no rival to flip labels to; "
            "pass labels of at least two classes."
        )
    return X, y, X_test, classes, codes


def _check_orders(orders):
    orders = (orders,) if isinstance(orders, str) else tuple(orders)
    unknown = [order for order in orders if order not in _ORDERS]
    if unknown or not orders:
        raise ValueError(f"orders must name some of {list(_ORDERS)}, got {list(orders)}.")
    return orders


def _blocks(n_rows):
    for start in range(0, n_rows, _ROWS):
        yield range(start, min(start + _ROWS, n_rows))


def _attack_block(victim, X_test, plan, recompute, max_flips):
    found = []
    for target in victim.targets(X_test):
        paths = [(kind, target.path(*kind)) for kind in plan]
        found.append(victim.least(target, paths, recompute, max_flips))
    return found
