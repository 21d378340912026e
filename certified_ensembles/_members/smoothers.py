"""Members whose every label has a known weight, and what an attacker pays to turn them."""

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin, is_clusterer
from sklearn.dummy import DummyClassifier
from sklearn.utils.parallel import Parallel, delayed
from tqdm.auto import tqdm

from .._data.blocks import BLOCK_ROWS
from .._data.containers import n_rows, own_copy, take
from .._deterministic import one_thread, plain_floats
from ..certificates.knapsack import NEVER, priced_plurality_radius, turning_prices
from ..certificates.linear import linear_smoother_winner
from ..smoothers._linear_smoother import LinearSmoother, _split
from ..smoothers._weights import known_smoothers, weights_rule


def check_smoother(estimator):
    """Refuse an estimator that is no label-free linear smoother.

    Parameters
    ----------
    estimator : estimator

    Raises
    ------
    ValueError
        With the reason and the remedy.
    """
    last = _split(estimator)[1]
    rule = weights_rule(last)
    if rule is None:
        names = ", ".join(known_smoothers(ClassifierMixin))
        reason = "its weights on the labels are not known to depend on features alone"
        if is_clusterer(last):
            reason = "a clusterer casts no ballots"
        remedy = f"Use one of {names}"
    else:
        reason = rule.refusal(last)
        if reason is None:
            return
        remedy = "Change that"
    raise ValueError(
        f'certificate="members" needs members that are label-free linear smoothers, got '
        f'estimator={estimator!r}: {reason}. {remedy}, or set certificate="ballots", which '
        "takes any classifier."
    )


class SmootherMember(ClassifierMixin, BaseEstimator):
    """A linear smoother on the rows of one partition, evaluated in exact arithmetic.

    Parameters
    ----------
    estimator : estimator
        A label-free linear smoother.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
        Labels of its own rows; it never answers with another.
    """

    def __init__(self, estimator):
        self.estimator = estimator

    def fit(self, X, y, operations):
        """Compute the label-free part of the weights, and keep the labels.

        Parameters
        ----------
        X : rows
        y : array-like of shape (n_train,)
            Labels.
        operations : array-like of shape (n_train,), int
            Rows with one number are copies, whose labels one operation changes together.

        Returns
        -------
        self : SmootherMember
        """
        self.classes_, self._codes = np.unique(y, return_inverse=True)
        self._operations = np.asarray(operations)
        self._smoother = LinearSmoother(self.estimator).fit(X)
        return self

    def _weights(self, X):
        return np.concatenate([weights for _, weights in self._smoother.iter_weights(X)])

    def predict(self, X):
        """Return labels: the largest score in exact arithmetic, ties to the smaller label."""
        winner = linear_smoother_winner(self._weights(X), self._codes, len(self.classes_))
        return self.classes_[winner]

    def prices(self, X, classes, open_set):
        """Return ballots as indices into `classes`, and the price of every other answer."""
        codes = np.searchsorted(classes, self.classes_)[self._codes]
        return turning_prices(
            self._weights(X), codes, len(classes), groups=self._operations, open_set=open_set
        )


def certify_members(members, classes, X, *, open_set, single, n_jobs, verbose=0):
    """Return winners, and the operations that they survive given the members' prices.

    Parameters
    ----------
    members : list
        :class:`SmootherMember`, a constant classifier, or None where a partition is empty.
    classes : ndarray of shape (n_classes,)
        Sorted labels of the ensemble.
    X : features of the test rows
    open_set : bool
        Whether labels may come that nobody has seen.
    single, n_jobs, verbose
        As in `iter_ballots`.

    Returns
    -------
    winner, radius : ndarrays of shape (n_samples,), int64
    """
    n, n_classes = n_rows(X), len(classes)

    def certify(start):
        rows = take(X, np.minimum(np.arange(start, start + BLOCK_ROWS), n - 1))
        rows = plain_floats(rows, single)
        ballots = np.full((BLOCK_ROWS, len(members)), -1, dtype=np.int64)
        # A constant member has one label throughout: any flip may change what it is.
        prices = np.ones((*ballots.shape, n_classes + open_set), dtype=np.int64)
        with one_thread:
            for j, member in enumerate(members):
                if member is None:
                    prices[:, j] = NEVER
                elif type(member) is DummyClassifier:
                    ballots[:, j] = np.searchsorted(classes, member.classes_)[0]
                else:
                    ballots[:, j], prices[:, j] = member.prices(own_copy(rows), classes, open_set)
        winner, radius = priced_plurality_radius(ballots, prices, n_classes, open_set=open_set)
        return winner[: n - start], radius[: n - start]

    starts = range(0, n, BLOCK_ROWS)
    results = Parallel(n_jobs=n_jobs, require="sharedmem", return_as="generator")(
        delayed(certify)(start) for start in starts
    )
    bar = tqdm(results, total=len(starts), desc="certify", unit="block", disable=not verbose)
    winners, radii = zip(*bar, strict=True)
    return np.concatenate(winners), np.concatenate(radii)
