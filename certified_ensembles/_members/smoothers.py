"""Members whose every label has a known weight, and what an attacker pays to turn them."""

from functools import partial

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin, is_clusterer

from .._data.block_map import map_blocks
from .._data.containers import n_rows
from ..certificates import collective_survivors
from ..certificates.knapsack import NEVER, turning_prices
from ..certificates.linear import linear_smoother_winner
from ..smoothers._linear_smoother import LinearSmoother, _split
from ..smoothers._weights import known_smoothers, weights_rule
from .constant import ConstantMember
from .failures import noting_failures, working_parts
from .partition import LabelMembers
from .questions import WINNER_STAYS


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
            Labels with one number are changed together by one operation: those of copies of a
            row, or those of an annotator.

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


class SmootherMembers(LabelMembers):
    """Label-free linear smoothers on one partition each, of which every turn has a price.

    Parameters
    ----------
    As in `PartitionMembers`, with an estimator that is a label-free linear smoother.

    Raises
    ------
    ValueError
        If the estimator is none, with the reason and the remedy.
    """

    def __init__(self, estimator, classes, **how):
        check_smoother(estimator)
        super().__init__(SmootherMember(estimator), classes, **how)

    def fit(self, rows, y, partitions, seeds, params, **how):
        """Train the members; `params` say which operation changes each label."""
        return super().fit(rows, y, partitions, seeds, params, **how)

    def take_device_rows(self):
        """Say that test rows on a GPU are brought to the host."""
        return False

    def certify(self, X, *, n_jobs, verbose=0, question=WINNER_STAYS, **how):
        """Return winners, and the operations that they survive given the members' prices.

        Parameters
        ----------
        X : features of the test rows
        n_jobs, verbose
            As in the estimators.
        question : WinnerStays
            What the radii are about.
        **how
            Not used: members with prices are elected by plurality.

        Returns
        -------
        winner, radius : ndarrays of shape (n_samples,), int64
        """
        ask = partial(self._certify_block, question)
        return question.of_all_prices(*self._by_blocks(ask, X, n_jobs, verbose))

    def survivors(self, X, budget, *, aggregation, spread=None, n_jobs, verbose=0, **how):
        """Bound how many winners survive one attacker, given the members' prices."""
        ballots, prices = self._by_blocks(self._priced_block, X, n_jobs, verbose)
        how |= {"open_set": self.open_set, "prices": prices}
        return collective_survivors(ballots, len(self.classes), budget, **how)

    def _by_blocks(self, ask, X, n_jobs, verbose):
        """Return both arrays that blocks of test rows give, whole."""
        blocks = map_blocks(ask, X, n_jobs=n_jobs, desc="certify", verbose=verbose)
        return [np.concatenate(part) for part in zip(*blocks, strict=True)]

    def _certify_block(self, question, rows):
        ballots, prices = self._priced_block(rows)
        n_classes = len(self.classes)
        return question.of_prices(ballots, prices, n_classes, open_set=self.open_set)

    def _priced_block(self, rows):
        """Return ballots, and the price of every other answer of every member."""
        classes, n_classes = self.classes, len(self.classes)
        ballots = np.full((len(rows), len(self.estimators)), -1, dtype=np.int64)
        # A constant member has one label throughout: any flip may change what it is.
        prices = np.ones((*ballots.shape, n_classes + self.open_set), dtype=np.int64)
        for j, member in enumerate(self.estimators):
            if member is None:
                # Without labels it stays silent. If it failed, a flip may make it speak.
                prices[:, j] = 1 if j in self.errors else NEVER
            elif isinstance(member, ConstantMember):
                ballots[:, j] = np.searchsorted(classes, member.label)
            else:
                prices_of = partial(self._ballots_and_prices, j)
                ballots[:, j], prices[:, j] = self.views[j].answers(prices_of, rows)
        return ballots, prices

    def _ballots_and_prices(self, j, rows):
        """Return what a member answers, and what other answers cost."""
        member = self.estimators[j]
        ask = partial(member.prices, classes=self.classes, open_set=self.open_set)
        if not self.abstains:
            with noting_failures(j, self.on_error):
                return ask(rows)
        # Whether it answers for a row follows from its features: no flip silences a member.
        parts = working_parts(ask, rows, n_rows(rows))
        if len(parts) == 1 and parts[0][0] is None:
            return parts[0][1]
        ballots = np.full(n_rows(rows), -1, dtype=np.int64)
        prices = np.ones((len(ballots), len(self.classes) + self.open_set), dtype=np.int64)
        for own, (answers, cost) in parts:
            ballots[own], prices[own] = answers[: len(own)], cost[: len(own)]
        return ballots, prices
