"""What ensembles of classifiers share: ballots, votes and the certificates of an election."""

from functools import partial

import numpy as np
from sklearn.base import ClassifierMixin, is_regressor
from sklearn.linear_model import RidgeClassifier
from sklearn.utils._param_validation import StrOptions
from sklearn.utils.validation import check_consistent_length, check_is_fitted

from .._data.array_api import on_host
from .._data.labels import check_same_kind
from .._data.validation import COMMON_CONSTRAINTS
from .._jobs import progress
from .._members import count_votes, first_choices, question_of
from .._results import certificate_of
from ..engines import asked_where_rows_are
from .base import BasePartitionEnsemble


def _tell(bar, n_done, n_programs, certified):
    """Move a bar on by one program."""
    bar.total = n_programs
    bar.set_postfix_str(f"{certified} certified", refresh=False)
    bar.update(1)


class BaseVotingEnsemble(ClassifierMixin, BasePartitionEnsemble):
    """Members trained on disjoint partitions, asked for one ballot each.

    A subclass partitions the rows and says which threats its certificate covers.
    """

    _parameter_constraints: dict = {
        **BasePartitionEnsemble._parameter_constraints,
        "aggregation": [StrOptions({"plurality", "run_off"})],
        "classes": COMMON_CONSTRAINTS["classes"],
    }

    _default_estimator = RidgeClassifier

    @staticmethod
    def _refuse_kind(estimator):
        if is_regressor(estimator):
            raise ValueError(
                f"estimator={estimator!r} is a regressor; members cast ballots for classes, so "
                "pass a classifier, or use DeepPartitionRegressor."
            )

    # ------------------------------------------------------------ votes

    def _form_of(self, method, threat=None, **asked):
        """Return the tuple in which answers come, or None; their type; their shape for a row."""
        label, n_classes = self.classes_.dtype, len(self.classes_)
        if method == "certify":
            asked = {"target": None, "top_k": None, **asked}
            kind = partial(certificate_of, self, threat=threat, **asked)
            return kind, np.dtype([("y_pred", label), ("radius", np.int64)]), ()
        shapes = {"predict": (label, ()), "vote_counts": (np.dtype(np.int64), (n_classes,))}
        return None, *shapes.get(method, (np.dtype(np.float64), (n_classes,)))

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

    @asked_where_rows_are
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

    @asked_where_rows_are
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

    @asked_where_rows_are
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
        base, own = BaseVotingEnsemble, type(self)
        inherited = (own.predict, own.predict_proba) == (base.predict, base.predict_proba)
        return inherited and self.aggregation == "plurality"

    def _certify(self, X, threat, *, target=None, top_k=None):
        cost = self._operation_cost(threat)
        question = question_of(X, self.classes_, self._open_set, target=target, top_k=top_k)
        winner, radius = self._elect(partial(self._members.certify, question=question), X)
        label, asked = self.classes_[winner], {"target": target, "top_k": top_k}
        return certificate_of(self, label, radius // cost, threat, **asked)

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
