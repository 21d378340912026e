"""Regression by the median of members, which some changed training rows move by known places."""

from functools import partial

import numpy as np
from sklearn.base import RegressorMixin, is_classifier
from sklearn.linear_model import Ridge
from sklearn.utils.validation import check_is_fitted

from ._certificate import CertifiedInterval
from ._data.array_api import on_host
from ._data.containers import n_rows, rows_with_form, take
from ._data.targets import as_targets, refuse_odd_targets
from ._ensemble import BaseRowPartitionEnsemble
from ._members import MedianMembers, MedianPeriodMembers, names_by_row
from ._results import certificate_of
from .certificates._bounds import AllowedRange
from .certificates._inputs import check_budget
from .certificates.threats import TIME_THREATS
from .engines import asked_where_rows_are


class DeepPartitionRegressor(RegressorMixin, BaseRowPartitionEnsemble):
    """Regressor whose predictions provably stay within bounds, whatever some rows contain.

    A hash of each training row decides its partition; a clone of `estimator` is trained on each
    partition; the prediction is the median of their answers. Whoever inserts or deletes one row
    changes one partition, hence one answer, and moves the median by one place among the sorted
    answers: these say how far any number of such operations can move a prediction.

    Parameters
    ----------
    estimator : regressor, default=None
        Any scikit-learn regressor or pipeline, cloned for each partition. None means
        :class:`~sklearn.linear_model.Ridge`. Everything that learns from rows (a scaler, a
        search, what transforms targets) belongs inside it.
    n_partitions : int, default=50
        Number of partitions. More of them raise the largest possible radius,
        ``n_partitions // 2``, and leave each member fewer rows. With ``fit(..., periods=...)`` it
        is not looked at, and neither is `hasher`: there is one partition a period.
    hasher : {"content", "pixel_sum"} or callable, default="content"
        What decides the partition of a row, as in
        :class:`~certified_ensembles.DeepPartitionAggregation`. One that looks at labels is given
        the targets, as doubles.
    n_seeds : int, default=1
        d > 1 trains d members on the rows of each partition, with different seeds, and the
        partition answers with their mean. It steadies members that depend on their seed
        (networks, trees, random features), costs d times the training, and the radius keeps its
        form.
    categorical_features : array-like of names, places or bool, or "from_dtype", default=None
        Columns of a table that reach members as categories, as in
        :class:`~certified_ensembles.DeepPartitionAggregation`.
    on_error : {"raise", "abstain"}, default="raise"
        What happens where a member cannot be trained, or cannot answer for a row. "raise" stops
        with the error. "abstain": the member abstains, as one without rows does, at that row or
        throughout; `errors_` says why. So no single row can stop the fit: rows that have no
        canonical form, or a target that is no finite number, are left out.
    random_state : int, default=0
        Member i is trained with ``random_state + i`` in every nested `random_state`; after
        ``fit(..., periods=...)`` i is its period. None is refused: an unseeded member has no
        certificate.
    distinct_seeds : bool, default=True
        If False, all partitions use the same seeds.
    n_jobs : int, default=None
        Members trained, and asked, in parallel, by the active joblib backend. It never
        changes a result.
    memory : str or object with the joblib.Memory interface, default=None
        Where to keep trained members, by estimator, rows and seed: a fit that was killed
        resumes, and after a change of data only the partitions that changed are trained.
    verbose : int, default=0
        1 shows a progress bar in :meth:`fit`, 2 also when members are asked.

    Attributes
    ----------
    estimators_ : list of length n_partitions * n_seeds, or n_periods * n_seeds
        Fitted members, in partition order, the `n_seeds` members of a partition side by side;
        None where a partition is empty or the member could not be trained.
    errors_ : dict of int to Exception
        Why members could not be trained, by their place in `estimators_`; without any but for
        ``on_error="abstain"``.
    partition_ : ndarray of shape (n_train,), int64, or None
        The partition of every training row, in the order given to :meth:`fit`; -1 for a row that
        was left out (see `on_error`). None where rows stayed with an engine, as in
        :class:`~certified_ensembles.DeepPartitionAggregation`.
    partition_sizes_ : ndarray of shape (n_partitions,), int64
        The number of training rows of every partition, or period.
    periods_ : ndarray of shape (n_periods,), int64, or None
        After ``fit(..., periods=...)`` the period of each member, rising, as in
        :class:`~certified_ensembles.DeepPartitionAggregation`.
    partitioned_by_ : {"features", "features and label", "source", "period"}
        What decided the partitions, and with it what each operation costs.
    n_features_in_ : int
        Number of features seen in :meth:`fit`. Not set for sequences of strings.
    feature_names_in_ : ndarray of shape (n_features_in_,)
        Names of features seen in :meth:`fit`. Set only where all are strings.

    See Also
    --------
    DeepPartitionAggregation : Its sibling for classes.
    certified_ensembles.certificates.median_interval : The theorem, on arrays.
    certified_ensembles.audit.check_certificate : Attacks a base estimator of yours.

    Notes
    -----
    With the answers of a row in order, ``f_0 <= ... <= f_(n - 1)``, the prediction is the lower
    median f_m, ``m = (n - 1) // 2``, and r changed members keep it in ``[f_(m - r), f_(m + r)]``,
    infinite beyond the ends [1]_. Members that abstain are not among the n; a radius accounts for
    those that begin to answer, and those that stop. It assumes what
    :class:`~certified_ensembles.DeepPartitionAggregation` does: that the partition of a row is a
    function of that row alone, a member a function of the set of its rows and of its seed, and
    that nothing outside was fitted on the training rows.

    A target is the double that its cell means, whatever the array or the frame it comes in:
    ``True``, ``1`` and ``1.0`` are one target, and each is checked by itself. There is one target
    a row; for several, fit one ensemble for each.

    Answers that are not numbers (NaN) abstain. Infinite ones count. Where nobody answers, the
    prediction is NaN and nothing is promised.

    References
    ----------
    .. [1] Hammoudeh and Lowd, "Reducing Certified Regression to Certified Classification for
       General Poisoning Attacks", SaTML 2023.

    Examples
    --------
    >>> from sklearn.datasets import load_diabetes
    >>> from certified_ensembles import DeepPartitionRegressor
    >>> X, y = load_diabetes(return_X_y=True)
    >>> reg = DeepPartitionRegressor(n_partitions=25).fit(X[:400], y[:400])
    >>> y_pred, radius = reg.certify(X[400:], tolerance=25)
    >>> bool((radius >= 5).mean() > 0.7)
    True
    >>> y_pred, lower, upper = reg.certify_interval(X[400:], budget=5)
    >>> bool(((upper - y_pred <= 25) & (y_pred - lower <= 25))[radius >= 5].all())
    True
    """

    _parameter_constraints: dict = {**BaseRowPartitionEnsemble._parameter_constraints}

    _kind, _kind_in_time = MedianMembers, MedianPeriodMembers
    _default_estimator = Ridge

    def __init__(
        self,
        estimator=None,
        n_partitions=50,
        *,
        hasher="content",
        n_seeds=1,
        categorical_features=None,
        on_error="raise",
        random_state=0,
        distinct_seeds=True,
        n_jobs=None,
        memory=None,
        verbose=0,
    ):
        self.estimator = estimator
        self.n_partitions = n_partitions
        self.hasher = hasher
        self.n_seeds = n_seeds
        self.categorical_features = categorical_features
        self.on_error = on_error
        self.random_state = random_state
        self.distinct_seeds = distinct_seeds
        self.n_jobs = n_jobs
        self.memory = memory
        self.verbose = verbose

    @staticmethod
    def _refuse_kind(estimator):
        if is_classifier(estimator):
            raise ValueError(
                f"estimator={estimator!r} is a classifier; a median is taken of numbers, so pass "
                "a regressor, or use DeepPartitionAggregation."
            )

    def _rows_to_fit(self, X, y, params, groups=None):
        """Return what :meth:`fit` was given, targets as doubles, without what is left out."""
        given, by_row = y, sorted(names_by_row(params, n_rows(X)))
        y = as_targets(self, X, y)
        X, y, params, groups, known = super()._rows_to_fit(X, y, params, groups)
        finite = np.isfinite(y)
        if self.on_error == "raise" or not finite.any():
            refuse_odd_targets(given, y)
        if finite.all():
            return X, y, params, groups, known
        kept = np.flatnonzero(finite)
        params = params | {name: take(params[name], kept) for name in by_row}
        groups = groups if groups is None else take(on_host(groups), kept)
        if known is None:
            known = finite
        else:
            known[known] = finite
        return X.take(kept), y[kept], params, groups, known

    def _takes_any(self, X, y):
        known = rows_with_form(X)
        finite = np.isfinite(as_targets(self, X, y))
        return bool((finite if known is None else finite & known).any())

    def _take_targets(self, X, y):
        return y

    def _members_know(self):
        return {}

    def _form_of(self, method, *args, threat=None, **asked):
        """Return the tuple in which answers come, or None; their type; their shape for a row."""
        asked = {"tolerance": None, "lower": None, "upper": None, **asked}
        if args and method == "certify":
            asked["tolerance"] = args[0]
        certificate = partial(certificate_of, self, threat=threat, **asked)
        fields = {
            "certify": (certificate, [("y_pred", float), ("radius", np.int64)]),
            "certify_interval": (
                CertifiedInterval,
                [("y_pred", float), ("lower", float), ("upper", float)],
            ),
        }
        kind, types = fields.get(method, (None, np.float64))
        return kind, np.dtype(types), ()

    def answers(self, X):
        """Return the answer of every member to every row.

        Parameters
        ----------
        X : array-like, sparse matrix, dataframe or sequence of str
            Rows as in :meth:`fit`, n_samples of them.

        Returns
        -------
        answers : ndarray of shape (n_samples, n_members), float64
            Of each partition, with ``n_seeds > 1`` the mean of its members. NaN where it
            abstains: it is empty, its answer is no number, or, with ``on_error="abstain"``, it
            could not be trained or cannot answer for the row.
        """
        check_is_fitted(self)
        return np.concatenate(list(self._ask(self._members.answers, X)))

    @asked_where_rows_are
    def predict(self, X):
        """Return the lower median of the members' answers.

        Parameters
        ----------
        X : array-like, sparse matrix, dataframe or sequence of str
            Rows as in :meth:`fit`, n_samples of them.

        Returns
        -------
        y_pred : ndarray of shape (n_samples,), float64
            Predictions; NaN where no member answers.
        """
        check_is_fitted(self)
        return np.concatenate(list(self._ask(self._members.medians, X)))

    @asked_where_rows_are
    def certify(self, X, tolerance=None, *, lower=None, upper=None, threat=None):
        """Return predictions and the poisoning within which each provably stays inside bounds.

        Parameters
        ----------
        X : array-like, sparse matrix, dataframe or sequence of str
            Rows as in :meth:`fit`, n_samples of them.
        tolerance : float or array-like of shape (n_samples,), default=None
            How far the prediction may move, up or down. None, without other bounds: not at all.
        lower, upper : float or array-like of shape (n_samples,), default=None
            Asks another question: until the prediction is below `lower` or above `upper`. None
            means no bound on that side. With a true target y, ``lower=y - t, upper=y + t`` asks
            until the error exceeds t.
        threat : {"insertion_deletion", "label_flip", "replacement", "duration", "earliness"}, \
                default=None
            What the radius counts: inserted plus deleted training rows (the default); rows whose
            target was changed, to any number; rows replaced by others. After
            ``fit(..., groups=...)`` it counts sources, each of which may do any of this to any
            number of its rows; after ``fit(..., periods=...)`` it counts periods likewise.
            "duration" and "earliness" (with periods only) count consecutive periods, as in
            :class:`~certified_ensembles.DeepPartitionAggregation`.

        Returns
        -------
        certificate : Certificate
            ``y_pred, radius``: the numbers that :meth:`predict` returns, and for each the largest
            certified number of operations, int64 of shape (n_samples,), that cannot take it out
            of the bounds, both ends included; -1 where it is outside as it is.

        Raises
        ------
        ValueError
            If the threat is unknown, or counts consecutive periods and the ensemble was fitted
            without periods; if a bound is NaN, a tolerance negative, or a tolerance is given
            together with another bound.

        Notes
        -----
        An operation costs one changed member, or two where it moves a row: a replacement, or a
        new target under a hasher that looks at targets. The radius is exact in changed members.
        Budgets are not shared: an attacker may spend the radius of a row on that row alone.

        Examples
        --------
        >>> from sklearn.datasets import load_diabetes
        >>> from certified_ensembles import DeepPartitionRegressor
        >>> X, y = load_diabetes(return_X_y=True)
        >>> reg = DeepPartitionRegressor(n_partitions=25).fit(X[:400], y[:400])
        >>> within_80 = reg.certify(X[400:], lower=y[400:] - 80, upper=y[400:] + 80).radius
        >>> bool((within_80 >= 5).mean() > 0.5)
        True
        """
        check_is_fitted(self)
        cost = self._cost_in_members(threat)
        bounds = AllowedRange(n_rows(X), tolerance, lower, upper)
        parts = self._ask(self._members.certify, X, bounds=bounds, threat=threat)
        y_pred, radius = map(np.concatenate, zip(*parts, strict=True))
        asked = {"tolerance": tolerance, "lower": lower, "upper": upper}
        return certificate_of(self, y_pred, radius // cost, threat, **asked)

    @asked_where_rows_are
    def certify_interval(self, X, budget, *, threat=None):
        """Return predictions and the bounds that each provably keeps within a budget.

        Parameters
        ----------
        X : array-like, sparse matrix, dataframe or sequence of str
            Rows as in :meth:`fit`, n_samples of them.
        budget : int
            Number of operations of the threat.
        threat : str, default=None
            As in :meth:`certify`.

        Returns
        -------
        interval : CertifiedInterval
            ``y_pred, lower, upper``: no attack within the budget takes the prediction below
            `lower` or above `upper`, which are infinite where nothing is promised.

        Raises
        ------
        TypeError
            If the budget is no integer.
        ValueError
            If it is negative, or the threat is unknown.

        Examples
        --------
        >>> from sklearn.datasets import load_diabetes
        >>> from certified_ensembles import DeepPartitionRegressor
        >>> X, y = load_diabetes(return_X_y=True)
        >>> reg = DeepPartitionRegressor(n_partitions=25).fit(X[:400], y[:400])
        >>> y_pred, lower, upper = reg.certify_interval(X[400:], budget=3)
        >>> bool(((lower <= y_pred) & (y_pred <= upper)).all())
        True
        """
        check_is_fitted(self)
        n_changed = check_budget(budget) * self._cost_in_members(threat)
        parts = self._ask(self._members.intervals, X, n_changed=n_changed, threat=threat)
        return CertifiedInterval(*map(np.concatenate, zip(*parts, strict=True)))

    def _cost_in_members(self, threat):
        """Return what an operation costs; of threats in time, 1: they count periods."""
        if threat in TIME_THREATS and self.periods_ is not None:
            return 1
        return self._operation_cost(threat)

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        # Of a small table each of 50 members sees a handful of rows, and fits them poorly.
        tags.regressor_tags.poor_score = True
        return tags
