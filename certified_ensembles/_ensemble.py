"""What partition ensembles share: validation, training of members, votes and certificates."""

import warnings
from functools import partial
from numbers import Integral

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin, MetaEstimatorMixin, is_regressor
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import RidgeClassifier
from sklearn.utils._param_validation import HasMethods, Interval, StrOptions
from sklearn.utils.metadata_routing import (
    MetadataRouter,
    MethodMapping,
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
from ._data.containers import n_rows
from ._data.labels import check_same_kind
from ._data.validation import (
    COMMON_CONSTRAINTS,
    check_seed,
    input_tags_of,
    rows_to_fit,
    validate_rows,
)
from ._deterministic import parts_of
from ._fits import OneFitMixin
from ._jobs import progress
from ._member_warnings import summed_up
from ._members import count_votes, failures_in_words, first_choices, names_by_row, question_of


def _tell(bar, n_done, n_programs, certified):
    """Move a bar on by one program."""
    bar.total = n_programs
    bar.set_postfix_str(f"{certified} certified", refresh=False)
    bar.update(1)


class BasePartitionEnsemble(OneFitMixin, MetaEstimatorMixin, ClassifierMixin, BaseEstimator):
    """Members trained on disjoint partitions, asked for one ballot each.

    A subclass partitions the rows and says which threats its certificate covers.
    """

    _parameter_constraints: dict = {
        "estimator": [HasMethods(["fit", "predict"]), None],
        "n_partitions": [Interval(Integral, 1, None, closed="left")],
        "aggregation": [StrOptions({"plurality", "run_off"})],
        "categorical_features": ["array-like", StrOptions({"from_dtype"}), None],
        "on_error": [StrOptions({"raise", "abstain"})],
        "n_seeds": [Interval(Integral, 1, None, closed="left")],
        "distinct_seeds": ["boolean"],
        **COMMON_CONSTRAINTS,
    }

    # Which members each partition takes part in; None: one each.
    spread_ = None
    _empty_remedy = "Use fewer partitions."

    # ------------------------------------------------------------ validation

    def _member_estimator(self):
        """Return what is cloned for each member."""
        return RidgeClassifier() if self.estimator is None else self.estimator

    def _base_estimator(self):
        """Return what sees X first: it decides which containers are taken."""
        return self._member_estimator()

    def _validate_seeds(self, n_partitions):
        """Return the seeds of all members, `n_seeds` of them for each partition."""
        n_distinct = self.n_seeds * (n_partitions if self.distinct_seeds else 1)
        check_seed(self.random_state, n_distinct)
        seeds = range(self.random_state, self.random_state + n_distinct)
        return list(seeds) * (1 if self.distinct_seeds else n_partitions)

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

    @property
    def _members_judge_values(self):
        """Whether a value that the estimator refuses passes the door, to be a member's failure."""
        return self.on_error == "abstain"

    # ------------------------------------------------------------ training

    def _rows_to_fit(self, X, y, params, groups=None):
        """Return what :meth:`fit` was given, without rows that have no canonical form.

        Returns
        -------
        X, y, params, groups : the same, X as a Table
        known : ndarray of shape (n_train,), bool, or None
            Which of the rows given these are; None: all.
        """
        if self.on_error == "raise":
            return validate_rows(self, X, reset=True), y, params, groups, None
        by_row = sorted(names_by_row(params, n_rows(X)))
        own = [params[name] for name in by_row]
        X, known, (y, groups, *own) = rows_to_fit(self, X, y, groups, *own)
        return X, y, params | dict(zip(by_row, own, strict=True)), groups, known

    @property
    def _size_in_words(self):
        return f"n_partitions={self.n_partitions} suggests"

    def _sum_up(self, known):
        """Say once what members warned of, which of them failed, and what was left out."""
        for text, category in summed_up(self._members.notes, len(self.estimators_)):
            warnings.warn(text, category, stacklevel=4)
        words = []
        if self.errors_:
            words.append(
                f"The certificate is weaker than {self._size_in_words}: "
                f"{failures_in_words(self.errors_, len(self.estimators_))}"
            )
        if known is not None:
            partition, self.partition_ = self.partition_, np.full(len(known), -1)
            self.partition_[known] = partition
            words.append(
                f"{np.count_nonzero(~known)} of {len(known)} rows of X have no canonical form "
                f"and were left out, the first of them row {known.argmin()}; their partition_ "
                "is -1."
            )
        if words:
            category = CertificateWarning if self.errors_ else UserWarning
            warnings.warn(" ".join(words), category, stacklevel=4)

    def _rows_of_member(self):
        """Return the indices of the rows of every member, before it is cloned for its seeds."""
        order = np.argsort(self.partition_, kind="stable")
        sizes = np.bincount(self.partition_, minlength=self._n_partitions)
        rows = np.split(order, np.cumsum(sizes)[:-1])
        if self.spread_ is None:
            return rows
        degree = self.spread_.shape[1]
        partitions = np.argsort(self.spread_.ravel(), kind="stable") // degree
        return [np.concatenate([rows[p] for p in own]) for own in partitions.reshape(-1, degree)]

    def _warn_if_empty(self):
        n_empty = self._n_partitions - len(np.unique(self.partition_))
        if n_empty > self._n_partitions / 4:
            warnings.warn(
                f"The certificate is weaker than n_partitions={self.n_partitions} suggests: "
                f"{n_empty} of {self._n_partitions} partitions have no rows, and members without "
                f"rows abstain. {self._empty_remedy}",
                CertificateWarning,
                stacklevel=4,
            )

    def _member_params(self, params):
        """Return what goes to the members' fit, by routing where that is enabled."""
        params = {name: on_host(value) for name, value in params.items()}
        if _routing_enabled():
            return dict(process_routing(self, "fit", **params).estimator.fit)
        return {name: value for name, value in params.items() if value is not None}

    def _fit_members(self, members, rows, y, seeds, params):
        """Train the members, of whatever kind; set what prediction needs."""
        partitions = self._rows_of_member()
        self._members = members.fit(
            rows, y, partitions, seeds, params, n_jobs=self.n_jobs, verbose=self.verbose
        )
        self.estimators_ = self._members.estimators
        self.errors_ = dict(self._members.errors)

    # ------------------------------------------------------------ votes

    def _features_of(self, X):
        """Return what the members see of test rows."""
        if is_on_device(X) and self._take_device_rows() and is_finite_table(X):
            return validate_data(self, X, reset=False, skip_check_array=True)
        return validate_rows(self, X, reset=False)

    def _take_device_rows(self):
        """Say whether test rows on a GPU stay there."""
        return self._members.take_device_rows()

    def _ask(self, ask, X, **how):
        """Return what one of the members' methods answers about test rows."""
        verbose = max(self.verbose - 1, 0)
        return ask(self._features_of(X), n_jobs=self.n_jobs, verbose=verbose, **how)

    def _iter_ballots(self, X):
        if self.aggregation == "run_off":
            return map(first_choices, self._ask(self._members.scores, X))
        return self._ask(self._members.ballots, X)

    def _iter_votes(self, X):
        if self.aggregation == "run_off":
            return (count_votes(own, len(self.classes_)) for own in self._iter_ballots(X))
        return self._ask(self._members.votes, X)

    def ballots(self, X):
        """Return the ballot of every member on every row.

        Parameters
        ----------
        X : array-like, sparse matrix, dataframe or sequence of str
            Rows as in :meth:`fit`, n_samples of them.

        Returns
        -------
        ballots : ndarray of shape (n_samples, n_members), int
            Index into ``classes_``; -1 where a member abstains: its partition is empty, or,
            with ``on_error="abstain"``, it could not be trained or cannot answer for the row.
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

    def _elect(self, elect, X):
        """Return class indices, and radii that count what the members' method counts."""
        return self._ask(elect, X, aggregation=self.aggregation, spread=self.spread_)

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
        return self.classes_[self._elect(self._members.elect, X)[0]]

    @property
    def _winner_has_half(self):
        """Whether, of two labels, the predicted one always has half of `predict_proba` or more."""
        base, own = BasePartitionEnsemble, type(self)
        inherited = (own.predict, own.predict_proba) == (base.predict, base.predict_proba)
        return inherited and self.aggregation == "plurality"

    def _certify(self, X, cost, *, target=None, top_k=None):
        question = question_of(X, self.classes_, self._open_set, target=target, top_k=top_k)
        winner, radius = self._elect(partial(self._members.certify, question=question), X)
        return Certificate(self.classes_[winner], radius // cost)

    def collective_certify(self, X, budget, *, y=None, threat=None, time_limit=60.0):
        """Bound how many predictions survive one attacker who has one budget for all rows.

        A radius lets the attacker begin anew for every test row. One poisoned training set
        changes the same members for all of them, so more predictions survive.

        It answers for every aggregation, for several seeds (a partition has one ballot), and for
        members with prices (``certificate="members"``: the flips that the budget allows are
        shared out among members once for all test rows).

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
            If a parameter is unusable; so are true labels that are missing, or texts where the
            ensemble has numbers, or the other way round.

        Notes
        -----
        All ballots are held at once: n_samples x n_members small integers; in a run-off, or with
        prices, as many numbers for every class. With ``verbose`` a bar counts the programs that
        are solved, and says how many predictions are certified by then.

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
        if getattr(self, "periods_", None) is not None:
            raise ValueError(
                "collective_certify does not count periods: whoever owns one may bring a member "
                "that is not there today. Use certify, row by row."
            )
        y_true = None
        if y is not None:
            check_consistent_length(X, y)
            y = np.asarray(on_host(y))
            check_same_kind(y, self.classes_, "y", "classes_")
            code = np.minimum(np.searchsorted(self.classes_, y), len(self.classes_) - 1)
            # A label that no member knows is never predicted: such a row does not count.
            y_true = np.where(self.classes_[code] == y, code, -1)
        cost = self._operation_cost(threat)
        with progress(None, None, "collective", self.verbose, unit="program") as bar:
            return self._ask(
                self._members.survivors,
                X,
                budget=budget * cost,
                aggregation=self.aggregation,
                spread=self.spread_,
                y_true=y_true,
                time_limit=time_limit,
                progress=partial(_tell, bar),
            )

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
