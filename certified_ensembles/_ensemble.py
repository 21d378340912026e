"""What partition ensembles share: validation, training of members, votes and certificates."""

import warnings
from numbers import Integral

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin, MetaEstimatorMixin, is_regressor
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import RidgeClassifier
from sklearn.utils._param_validation import HasMethods, Interval, StrOptions
from sklearn.utils.metadata_routing import (
    MetadataRouter,
    MethodMapping,
    _raise_for_params,
    _routing_enabled,
    process_routing,
)
from sklearn.utils.validation import (
    check_consistent_length,
    check_is_fitted,
    validate_data,
)

from ._certificate import Certificate, CertificateWarning
from ._data.array_api import is_finite_table, is_on_device, on_host
from ._data.validation import ValidatesInput, input_tags_of
from ._deterministic import is_net, parts_of
from ._members.training import fit_members
from ._members.voting import (
    count_votes,
    first_choices,
    iter_ballots,
    iter_scores,
    iter_votes,
    stateless_steps,
    take_device_rows,
)
from .certificates import (
    collective_survivors,
    finite_aggregation_radius,
    finite_run_off_radius,
    plurality_radius,
    run_off_radius,
)

_MAX_SEED = 2**32 - 1


class BasePartitionEnsemble(ValidatesInput, MetaEstimatorMixin, ClassifierMixin, BaseEstimator):
    """Members trained on disjoint partitions, asked for one ballot each.

    A subclass partitions the rows and says which threats its certificate covers.
    """

    _parameter_constraints: dict = {
        "estimator": [HasMethods(["fit", "predict"]), None],
        "n_partitions": [Interval(Integral, 1, None, closed="left")],
        "aggregation": [StrOptions({"plurality", "run_off"})],
        "n_seeds": [Interval(Integral, 1, None, closed="left")],
        "classes": ["array-like", None],
        "random_state": [Interval(Integral, 0, _MAX_SEED, closed="both"), None],
        "distinct_seeds": ["boolean"],
        "n_jobs": [Integral, None],
        "memory": [str, HasMethods(["cache"]), None],
        "verbose": ["verbose"],
    }

    # ------------------------------------------------------------ validation

    def _member_estimator(self):
        """Return what is cloned for each member."""
        return RidgeClassifier() if self.estimator is None else self.estimator

    def _base_estimator(self):
        """Return what sees X first: it decides which containers are taken."""
        return self._member_estimator()

    def _validate_seeds(self, n_members):
        """Return the seeds of all members, `n_seeds` of them for each partition."""
        if self.random_state is None:
            raise ValueError(
                "random_state=None is refused: a member that is trained with another seed each "
                "time has no certificate. Pass an integer, such as random_state=0."
            )
        n_distinct = self.n_seeds * (n_members if self.distinct_seeds else 1)
        if self.random_state + n_distinct - 1 > _MAX_SEED:
            raise ValueError(
                f"random_state={self.random_state} leaves no room for {n_distinct} distinct "
                f"seeds up to {_MAX_SEED}; pass a smaller one."
            )
        return np.resize(self.random_state + np.arange(n_distinct), n_members * self.n_seeds)

    def _validate_estimator(self):
        estimator = self._member_estimator()
        if is_regressor(estimator):
            raise ValueError(
                f"estimator={estimator!r} is a regressor; members cast ballots for classes, so "
                "pass a classifier."
            )
        if any(isinstance(part, FrozenEstimator) for part in parts_of(estimator)):
            warnings.warn(
                "The certificate holds only if the FrozenEstimator inside the estimator was "
                "fitted on rows that an attacker does not touch: it is the same in all members. "
                "If it has seen training rows, put the unfitted estimator in its place.",
                CertificateWarning,
                stacklevel=4,
            )
        return estimator

    _score_methods = ("decision_function", "predict_proba")

    def _validate_scores(self, estimator):
        """Refuse members whose scores cannot be summed, before any of them is trained."""
        if self.n_seeds > 1 and not any(hasattr(estimator, m) for m in self._score_methods):
            raise ValueError(
                f"n_seeds={self.n_seeds} sums the scores of the members of a partition, but "
                f"estimator={estimator!r} has no {' or '.join(self._score_methods)}. Use "
                "n_seeds=1, or an estimator that scores classes."
            )

    # ------------------------------------------------------------ training

    def _rows_of_member(self):
        """Return the indices of the rows of every partition."""
        order = np.argsort(self.partition_, kind="stable")
        sizes = np.bincount(self.partition_, minlength=self.n_partitions)
        return np.split(order, np.cumsum(sizes)[:-1])

    def _once_a_seed(self, rows_of_member):
        """Return the rows of every member to train: those of a partition once for each seed."""
        self._n_seeds = self.n_seeds
        return [rows for rows in rows_of_member for _ in range(self.n_seeds)]

    def _member_params(self, params):
        """Return what goes to the members' fit, by routing where that is enabled."""
        params = {name: on_host(value) for name, value in params.items()}
        if _routing_enabled():
            return dict(process_routing(self, "fit", **params).estimator.fit)
        return {name: value for name, value in params.items() if value is not None}

    def _fit_members(self, X, y, rows_of_member, params):
        """Train the members; set everything that prediction needs."""
        estimator = self._validate_estimator()
        self._validate_scores(estimator)
        seeds = self._validate_seeds(len(rows_of_member))
        self.estimators_ = fit_members(
            estimator, X, y, self._once_a_seed(rows_of_member), [int(seed) for seed in seeds],
            params, n_jobs=self.n_jobs, memory=self.memory, verbose=self.verbose,
        )  # fmt: skip
        self._single = is_net(estimator)
        self._shared_steps = stateless_steps(estimator)
        self._seen = np.ones((len(rows_of_member), len(self.classes_)), dtype=bool)
        if self._open_set:
            # In an open set a member may vote only for labels of its own rows: else a label
            # that it makes up would begin to count when some other partition gets it.
            codes = np.searchsorted(self.classes_, y)
            for seen, rows in zip(self._seen, rows_of_member, strict=True):
                seen[:] = False
                seen[codes[rows]] = True

    # ------------------------------------------------------------ votes

    def _features_of(self, X):
        """Return what the members see of test rows."""
        if is_on_device(X) and self._take_device_rows() and is_finite_table(X):
            return validate_data(self, X, reset=False, skip_check_array=True)
        return self._validate_rows(X, reset=False)

    def _take_device_rows(self):
        """Say whether test rows on a GPU stay there."""
        return take_device_rows(self.estimators_, self._shared_steps)

    def _voters(self):
        """Return the members to ask, and the sorted labels that they answer with."""
        return self.estimators_, self.classes_

    def _iter_answers(self, X):
        """Yield the partitions' scores where they are needed, else their ballots."""
        boosted = self._n_seeds > 1
        ask = iter_scores if boosted or self.aggregation == "run_off" else iter_ballots
        for answers in self._ask(ask, X):
            yield sum_over_seeds(answers, self._n_seeds) if boosted else answers

    def _ask(self, ask, X):
        voters, labels = self._voters()
        seen = np.repeat(self._seen, self._n_seeds, axis=0)
        for _, answers in ask(
            voters, seen, labels, self._features_of(X),
            steps=self._shared_steps, single=self._single,
            n_jobs=self.n_jobs, verbose=max(self.verbose - 1, 0),
        ):  # fmt: skip
            yield answers

    def _iter_ballots(self, X):
        for answers in self._iter_answers(X):
            yield answers if answers.ndim == 2 else first_choices(answers)

    def _iter_votes(self, X):
        if self._n_seeds == 1 and self.aggregation == "plurality":
            yield from self._ask(iter_votes, X)
            return
        for ballots in self._iter_ballots(X):
            yield count_votes(ballots, len(self.classes_))

    def ballots(self, X):
        """Return the ballot of every member on every row.

        Parameters
        ----------
        X : array-like, sparse matrix, dataframe or sequence of str
            Rows as in :meth:`fit`, n_samples of them.

        Returns
        -------
        ballots : ndarray of shape (n_samples, n_members), int
            Index into ``classes_``; -1 where a member abstains (its partition is empty).
        """
        check_is_fitted(self)
        return np.concatenate(list(self._iter_ballots(X)))

    def vote_counts(self, X):
        """Return the number of votes for every class.

        Parameters
        ----------
        X : array-like, sparse matrix, dataframe or sequence of str
            Rows as in :meth:`fit`, n_samples of them.

        Returns
        -------
        vote_counts : ndarray of shape (n_samples, n_classes), int64
            Votes, in the order of ``classes_``; abstentions are not counted.
        """
        check_is_fitted(self)
        return np.concatenate(list(self._iter_votes(X)))

    def predict_proba(self, X):
        """Return the share of votes for every class.

        Parameters
        ----------
        X : array-like, sparse matrix, dataframe or sequence of str
            Rows as in :meth:`fit`, n_samples of them.

        Returns
        -------
        proba : ndarray of shape (n_samples, n_classes)
            Votes for the class over votes cast; rows sum to one. They say how the members
            agree, they are not calibrated.
        """
        votes = self.vote_counts(X)
        cast = votes.sum(axis=1, keepdims=True)
        shares = np.full(votes.shape, 1.0 / votes.shape[1])
        return np.divide(votes, cast, out=shares, where=cast > 0)

    def _winner_and_radius(self, X):
        """Return class indices, and radii that count changed partitions."""
        n_classes, open_set = len(self.classes_), self._open_set
        spread = getattr(self, "spread_", None)
        run_off = self.aggregation == "run_off"
        parts = []
        plain = not run_off and spread is None
        ask = self._iter_answers if run_off else self._iter_votes if plain else self._iter_ballots
        for answers in ask(X):
            if run_off:
                part = (
                    run_off_radius(answers, open_set=open_set)
                    if spread is None
                    else finite_run_off_radius(answers, spread, open_set=open_set)
                )
            elif spread is not None:
                part = finite_aggregation_radius(answers, spread, n_classes, open_set=open_set)
            else:
                part = plurality_radius(answers, open_set=open_set)
            parts.append(part)
        winners, radii = zip(*parts, strict=True)
        return np.concatenate(winners), np.concatenate(radii)

    def predict(self, X):
        """Return the label that wins the vote; ties go to the smaller label.

        Parameters
        ----------
        X : array-like, sparse matrix, dataframe or sequence of str
            Rows as in :meth:`fit`, n_samples of them.

        Returns
        -------
        y_pred : ndarray of shape (n_samples,)
            Predicted labels.
        """
        check_is_fitted(self)
        return self.classes_[self._winner_and_radius(X)[0]]

    def _certify(self, X, cost):
        winner, radius = self._winner_and_radius(X)
        return Certificate(self.classes_[winner], radius // cost)

    def collective_certify(self, X, budget, *, y=None, threat=None, time_limit=60.0):
        """Bound how many predictions survive one attacker who has one budget for all rows.

        A radius lets the attacker begin anew for every test row. One poisoned training set
        changes the same members for all of them, so more predictions survive.

        Parameters
        ----------
        X : array-like, sparse matrix, dataframe or sequence of str
            Rows as in :meth:`fit`, n_samples of them.
        budget : int
            Number of operations of the threat, on the whole training set.
        y : array-like of shape (n_samples,), default=None
            True labels. If given, only correct predictions are counted.
        threat : str, default=None
            As in :meth:`certify`.
        time_limit : float, default=60.0
            Seconds for the integer program. The answer is sound at any limit.

        Returns
        -------
        certificate : CollectiveCertificate
            ``certified`` predictions survive any attack within the budget, never fewer than
            the ``pointwise`` ones whose own radius covers it; the fields are those of
            :class:`~certified_ensembles.certificates.CollectiveCertificate`.

        Raises
        ------
        ValueError
            If the aggregation is not a plurality, or a parameter is unusable.

        Notes
        -----
        All ballots are held at once: n_samples x n_members small integers.

        Examples
        --------
        >>> from sklearn.datasets import load_iris
        >>> from certified_ensembles import DeepPartitionAggregation
        >>> X, y = load_iris(return_X_y=True)
        >>> clf = DeepPartitionAggregation(n_partitions=9, classes=[0, 1, 2]).fit(X, y)
        >>> result = clf.collective_certify(X, budget=2, y=y)
        >>> result.pointwise <= result.certified <= result.upper
        True
        """
        check_is_fitted(self)
        if self.aggregation != "plurality":
            raise ValueError(
                "collective_certify counts plurality votes, got "
                f"aggregation={self.aggregation!r}; use certify, row by row."
            )
        y_true = None
        if y is not None:
            check_consistent_length(X, y)
            y = np.asarray(on_host(y))
            y_true = np.minimum(np.searchsorted(self.classes_, y), len(self.classes_) - 1)
            # A label that no member knows is never predicted: such a row does not count.
            known = self.classes_[y_true] == y
        ballots = self.ballots(X)
        if y is not None and not known.all():
            ballots, y_true = ballots[known], y_true[known]
        return collective_survivors(
            ballots, len(self.classes_), budget * self._operation_cost(threat),
            spread=getattr(self, "spread_", None), y_true=y_true, open_set=self._open_set,
            time_limit=time_limit,
        )  # fmt: skip

    # ------------------------------------------------------------ scikit-learn

    def get_metadata_routing(self):
        """Return how metadata such as ``groups`` and ``sample_weight`` are routed.

        Returns
        -------
        routing : MetadataRouter
            ``groups`` is for the ensemble; the members' fit gets what it requests.
        """
        return (
            MetadataRouter(owner=self)
            .add_self_request(self)
            .add(
                estimator=self._member_estimator(),
                method_mapping=MethodMapping().add(caller="fit", callee="fit"),
            )
        )

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags = input_tags_of(self._base_estimator())
        return tags


def sum_over_seeds(scores, n_seeds):
    """Return the scores of partitions: the sums over the members of each of them.

    Parameters
    ----------
    scores : ndarray of shape (n_samples, n_partitions * n_seeds, n_classes), float
        Scores of members, those of one partition side by side; -inf for a class that a member
        has not seen.
    n_seeds : int

    Returns
    -------
    sums : ndarray of shape (n_samples, n_partitions, n_classes), float64
        In double precision, in the order of the seeds: a sum depends on its own terms alone.
        -inf for a class that any of the members has not seen, or that has no sum.
    """
    scores = scores.reshape(len(scores), -1, n_seeds, scores.shape[2])
    sums = scores[:, :, 0].astype(np.float64)
    with np.errstate(invalid="ignore", over="ignore"):
        for j in range(1, n_seeds):  # a reduction of numpy's may take another order
            sums += scores[:, :, j]
    sums[np.isnan(sums)] = -np.inf
    return sums


def raise_without_routing(params, owner):
    """Refuse metadata when routing is enabled but nobody has requested it."""
    if _routing_enabled():
        _raise_for_params(params, owner, "fit")
