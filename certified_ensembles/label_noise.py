"""Regression on targets of which some may lie anywhere within known bounds."""

import numpy as np
from sklearn.base import BaseEstimator, MetaEstimatorMixin, RegressorMixin, _fit_context
from sklearn.linear_model import Ridge
from sklearn.utils._param_validation import HasMethods
from sklearn.utils.validation import check_is_fitted

from ._certificate import CertifiedInterval
from ._data.containers import n_rows
from ._data.labels import number_groups, validate_groups
from ._data.targets import as_targets, refuse_odd_targets
from ._data.validation import ENSEMBLE_CONSTRAINTS, check_seed, input_tags_of, validate_rows
from ._fits import OneFitMixin, built_aside
from ._members import WeighedTargets
from ._results import certificate_of
from ._spec import cache_report
from .certificates._bounds import AllowedRange
from .certificates._inputs import check_budget
from .certificates.linear_interval import check_target_bounds
from .smoothers import LinearSmoother


class LabelNoiseRegressor(OneFitMixin, MetaEstimatorMixin, RegressorMixin, BaseEstimator):
    """Regressor whose predictions provably stay within bounds, wherever some targets move.

    The features of the training rows are trusted, their targets are not: any r of them may lie
    anywhere within known bounds (stars from 1 to 10, a price list, the range of a sensor). Where a
    prediction is a weighted sum of targets, with weights that follow from features alone (ridge,
    kernel ridge, neighbours), it is known exactly how far r targets can move it.

    Parameters
    ----------
    estimator : estimator, default=None
        A linear smoother with fixed parameters, as listed in
        :class:`~certified_ensembles.smoothers.LinearSmoother`, alone or at the end of a pipeline
        of unsupervised steps. None means :class:`~sklearn.linear_model.Ridge`.
    bounds : tuple of two numbers, default=None
        The smallest and the largest target that there can be; :meth:`fit` refuses others. None:
        they are not known, and nothing can be certified.
    representation : transformer, default=None
        An unsupervised step before the estimator, fitted once, without targets, on the rows in
        canonical order.
    random_state : int, default=0
        Every nested `random_state` is set to it. None is refused.
    n_jobs : int, default=None
        Threads for blocks of test rows. It never changes a result.
    memory : str or object with the joblib.Memory interface, default=None
        Where to keep fitted unsupervised steps.
    verbose : int, default=0
        2 shows a progress bar when it is asked.

    Attributes
    ----------
    smoother_ : LinearSmoother
        The label-free weights; ``smoother_.iter_weights(X)`` yields them.
    n_features_in_ : int
        Number of features seen in :meth:`fit`. Not set for sequences of strings.
    feature_names_in_ : ndarray of shape (n_features_in_,)
        Names of features seen in :meth:`fit`. Set only where all are strings.

    See Also
    --------
    LabelFlipSmoothingClassifier : Its sibling for classes.
    DeepPartitionRegressor : Where rows may be inserted and deleted as well.
    certified_ensembles.certificates.linear_smoother_interval : The theorem, on arrays.

    Notes
    -----
    A change of target j to a value within ``[lo, hi]`` raises the prediction ``sum_j a_j y_j`` by
    at most ``max(a_j (hi - y_j), a_j (lo - y_j), 0)``, and changes of different targets add up: r
    of them raise it by at most the r largest, and can [1]_. After ``fit(X, y, groups=annotators)``
    these are sums over all targets of an annotator. Bounds of predictions are rounded outwards.

    It assumes that features are out of the attacker's reach, and that nothing was chosen by
    looking at the targets: no step that needs them (such steps are refused), and no parameter
    found by a search on the same targets. What deviates from scikit-learn's own fit is listed in
    :class:`~certified_ensembles.smoothers.LinearSmoother`. Where no neighbour is within a radius
    the prediction is NaN.

    References
    ----------
    .. [1] Meyer, Albarghouthi and D'Antoni, "The Dataset Multiplicity Problem: How Unreliable
       Data Impacts Predictions", FAccT 2023.

    Examples
    --------
    >>> from sklearn.datasets import load_diabetes
    >>> from sklearn.neighbors import KNeighborsRegressor
    >>> from certified_ensembles import LabelNoiseRegressor
    >>> X, y = load_diabetes(return_X_y=True)
    >>> reg = LabelNoiseRegressor(KNeighborsRegressor(50), bounds=(25, 346)).fit(X[:400], y[:400])
    >>> y_pred, lower, upper = reg.certify_interval(X[400:], budget=5)
    >>> bool((upper - lower < 70).all())
    True
    """

    _parameter_constraints: dict = {
        "estimator": [HasMethods("fit"), None],
        "bounds": ["array-like", None],
        "representation": [HasMethods(["fit", "transform"]), None],
        **ENSEMBLE_CONSTRAINTS,
    }

    _default_threat = "label_flip"

    def __init__(
        self,
        estimator=None,
        *,
        bounds=None,
        representation=None,
        random_state=0,
        n_jobs=None,
        memory=None,
        verbose=0,
    ):
        self.estimator = estimator
        self.bounds = bounds
        self.representation = representation
        self.random_state = random_state
        self.n_jobs = n_jobs
        self.memory = memory
        self.verbose = verbose

    def _last_estimator(self):
        return Ridge() if self.estimator is None else self.estimator

    def _base_estimator(self):
        """Return what sees X first: it decides which containers are taken."""
        return self._last_estimator() if self.representation is None else self.representation

    @_fit_context(prefer_skip_nested_validation=False)
    def fit(self, X, y, groups=None):
        """Find the label-free weights.

        Parameters
        ----------
        X : array-like, sparse matrix, dataframe or sequence of str
            Training rows, n_train of them, as the representation or the estimator takes them.
        y : array-like of shape (n_train,)
            Targets: finite numbers within the bounds.
        groups : array-like of shape (n_train,) or (n_train, n_keys), default=None
            Who wrote each target, if that can be trusted. A radius then counts annotators, each
            of whom may rewrite all of his targets.

        Returns
        -------
        self : LabelNoiseRegressor
            The fitted regressor.

        Raises
        ------
        ValueError
            If X, y, groups or a parameter is unusable, or if the weights of the estimator would
            depend on targets; the message says why and what to do instead.
        """
        with built_aside(self) as new, cache_report():
            check_seed(new.random_state)
            X = validate_rows(new, X, reset=True)
            given, y = y, as_targets(new, X, y)
            refuse_odd_targets(given, y, "Drop such rows or correct them")
            new._bounds = None if new.bounds is None else check_target_bounds(new.bounds)
            new._check_bounds(y)
            groups = None if groups is None else number_groups(validate_groups(X, groups))
            new.smoother_ = LinearSmoother(
                new._last_estimator(),
                representation=new.representation,
                random_state=new.random_state,
                n_jobs=new.n_jobs,
                memory=new.memory,
                verbose=max(new.verbose - 1, 0),
            ).fit(X)
            new._members = WeighedTargets(new.smoother_).fit(y, groups)
        return self

    def _check_bounds(self, y):
        if self._bounds is None:
            return
        low, high = self._bounds
        outside = np.flatnonzero((y < low) | (y > high))
        if len(outside):
            raise ValueError(
                f"y holds {y[outside[0]]} at index {outside[0]}, which is not within "
                f"bounds={self.bounds!r}; so do {len(outside)} of {len(y)} targets. Remove these "
                "rows, or pass wider bounds."
            )

    def predict(self, X):
        """Return the weighted sum of the targets.

        Parameters
        ----------
        X : array-like, sparse matrix, dataframe or sequence of str
            Rows as in :meth:`fit`, n_samples of them.

        Returns
        -------
        y_pred : ndarray of shape (n_samples,), float64
            Predictions; NaN where no training row has any weight.
        """
        check_is_fitted(self)
        return self._members.values(validate_rows(self, X, reset=False))

    def certify(self, X, tolerance=None, *, lower=None, upper=None, threat=None):
        """Return predictions and the number of targets that may move while each stays in bounds.

        Parameters
        ----------
        X : array-like, sparse matrix, dataframe or sequence of str
            Rows as in :meth:`fit`, n_samples of them.
        tolerance, lower, upper : float or array-like of shape (n_samples,), default=None
            What the prediction may not leave, as in :meth:`DeepPartitionRegressor.certify`.
        threat : {"label_flip"}, default=None
            The only threat covered, and the default.

        Returns
        -------
        certificate : Certificate
            ``y_pred, radius``: predictions, and for each the largest certified number of training
            targets (after ``fit(..., groups=...)`` of annotators), int64 of shape (n_samples,),
            that may lie anywhere within the bounds without taking it out; -1 where it is outside
            as it is.

        Raises
        ------
        ValueError
            If `bounds` is None, another threat is asked for, or the question is odd.
        """
        self._check_question(threat)
        allowed = AllowedRange(n_rows(X), tolerance, lower, upper)
        rows = validate_rows(self, X, reset=False)
        asked = {"tolerance": tolerance, "lower": lower, "upper": upper}
        return certificate_of(self, *self._members.certify(rows, self._bounds, allowed), **asked)

    def certify_interval(self, X, budget, *, threat=None):
        """Return predictions and the bounds that each keeps wherever some targets move.

        Parameters
        ----------
        X : array-like, sparse matrix, dataframe or sequence of str
            Rows as in :meth:`fit`, n_samples of them.
        budget : int
            Number of targets that may move; after ``fit(..., groups=...)`` of annotators.
        threat : {"label_flip"}, default=None
            The only threat covered, and the default.

        Returns
        -------
        interval : CertifiedInterval
            ``y_pred, lower, upper``.

        Raises
        ------
        TypeError
            If the budget is no integer.
        ValueError
            If it is negative, `bounds` is None, or another threat is asked for.
        """
        self._check_question(threat)
        budget = check_budget(budget)
        rows = validate_rows(self, X, reset=False)
        return CertifiedInterval(*self._members.intervals(rows, budget, self._bounds))

    def _check_question(self, threat):
        check_is_fitted(self)
        if threat not in (None, self._default_threat):
            raise ValueError(
                f"threat={threat!r} is not covered: features are trusted here, only targets may "
                'change. Pass threat="label_flip" or None; for inserted, deleted or replaced rows '
                "use DeepPartitionRegressor."
            )
        if self._bounds is None:
            raise ValueError(
                "bounds=None: a target that may be any number moves a prediction anywhere. Pass "
                "the smallest and the largest value that a target can take, such as (1, 10)."
            )

    @property
    def _counts_annotators(self):
        """Whether a radius counts annotators, and not targets."""
        return self._members.groups is not None

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags = input_tags_of(self._base_estimator())
        tags.input_tags.allow_nan = self.representation is not None and tags.input_tags.allow_nan
        return tags
