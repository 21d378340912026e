"""Certified robustness to flipped labels: exact for linear smoothers, by smoothing for any."""

import secrets
import warnings
from numbers import Integral, Real

import numpy as np
from sklearn.base import (
    BaseEstimator,
    ClassifierMixin,
    MetaEstimatorMixin,
    _fit_context,
    is_classifier,
)
from sklearn.linear_model import RidgeClassifier
from sklearn.utils._param_validation import HasMethods, Interval, StrOptions
from sklearn.utils.validation import check_is_fitted

from ._certificate import CertificateWarning
from ._data.labels import number_groups, validate_groups
from ._data.validation import (
    COMMON_CONSTRAINTS,
    MAX_SEED,
    check_seed,
    input_tags_of,
    validate_labels,
    validate_rows,
)
from ._fits import OneFitMixin, built_aside
from ._members import NoisyMembers, WeighedLabels
from ._results import certificate_of
from ._spec import cache_report
from .certificates._inputs import check_noise
from .certificates.flips import groups_within_flips
from .representations._label_free import LabelFreeFeatures
from .smoothers import LinearSmoother


class LabelFlipSmoothingClassifier(
    OneFitMixin, MetaEstimatorMixin, ClassifierMixin, BaseEstimator
):
    """One classifier for all labels, whose predictions provably survive flipped labels.

    The features of the training rows are trusted, their labels are not: crowds, vendors and users
    write labels. Where a score is a sum of label-free weights over the rows of a class (ridge,
    neighbours, kernels, votes of clusters) the number of flips that a prediction survives is
    computed exactly. For any other classifier it is bounded by training on many noisy copies of
    the labels.

    Parameters
    ----------
    estimator : estimator, default=None
        For every certificate but "monte_carlo" a linear smoother with fixed parameters, as
        listed in :class:`~certified_ensembles.smoothers.LinearSmoother`, alone or at the end of
        a pipeline of unsupervised steps; for "monte_carlo" any classifier. None means
        `RidgeClassifier`.
    noise : float, default=0.1
        Probability q with which smoothing replaces a label by one of the other K - 1, between 0
        and (K - 1) / K, both excluded. More noise certifies more flips of fewer predictions.
        "exact" does not use it: its radius holds for every noise.
    certificate : {"exact", "tight", "kl", "monte_carlo"}, default="exact"
        How the radius is found, see Notes.
    representation : transformer, default=None
        An unsupervised step before the estimator, fitted once, without labels, on the rows in
        canonical order.
    n_draws : int, default=1000
        Number of noisy label vectors, and of classifiers trained, for "monte_carlo".
    confidence : float, default=0.999
        Probability with which a radius of "monte_carlo" holds, for each test row.
    classes : array-like or set of shape (n_classes,), default=None
        The closed set of labels, in any order; a row with another label is refused by
        :meth:`fit`. None means the labels seen, an open set: an attacker may then bring a new
        label, and the radius accounts for it. Whoever knows the labels should pass them: it
        costs nothing, and the open set costs much where weights are small or negative.
    random_state : int, default=0
        Every nested `random_state` is set to it. None is refused: a fit that cannot be repeated
        has no certificate. "monte_carlo" is another matter, see Notes: 0 and None mean a seed
        drawn by :meth:`fit` from the operating system, ``seed_``, and any other number is a
        fixed seed, with a warning. Draw i uses ``seed_ + i``.
    n_jobs : int, default=None
        Threads for blocks of test rows; members trained in parallel for "monte_carlo". It never
        changes a result.
    memory : str or object with the joblib.Memory interface, default=None
        Where to keep fitted unsupervised steps, and the members of "monte_carlo" (which are
        found again by a fixed seed alone).
    verbose : int, default=0
        1 shows progress bars.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
        Sorted labels.
    smoother_ : LinearSmoother
        The label-free weights; ``smoother_.iter_weights(X)`` yields them. Not set by
        "monte_carlo".
    estimators_ : list of length n_draws
        The members trained on noisy labels. Set only by "monte_carlo".
    seed_ : int
        The seed of "monte_carlo", from 1 on. Set only by it; ``set_params(random_state=seed_)``
        repeats the fit.
    n_features_in_ : int
        Number of features seen in :meth:`fit`. Not set for sequences of strings.
    feature_names_in_ : ndarray of shape (n_features_in_,)
        Names of features seen in :meth:`fit`. Set only where all are strings.

    See Also
    --------
    certified_ensembles.certificates.linear_smoother_radius : The exact radius, on arrays.
    certified_ensembles.certificates.flips_from_margin : The radius of a smoothed classifier.
    certified_ensembles.smoothers.ClusterVote : The smoother with the largest radii.

    Notes
    -----
    - "exact": the largest number of flips that cannot change the prediction, and one more can.
      The prediction is also that of the classifier whose scores are averaged over label noise,
      at every noise, because noise shrinks all margins by one factor.
    - "tight" and "kl": the classifier of [1]_, smoothed over label noise, its margin bounded by
      Chernoff's inequality, turned into flips by the Neyman-Pearson bound for discrete noise
      (eq. 2) or by the Kullback-Leibler divergence (B.3), which gives about half. Within the
      radius the smoothed classifier keeps its prediction over the known labels, and
      :meth:`predict` keeps its own, which is the same: the radius is never above the exact one.
      Where the margin does not exclude an error of 1/2, the radius is -1.
    - "monte_carlo": Algorithm 2 of [1]_ for any classifier, right with probability
      `confidence`. That probability is over label noise drawn *after* the labels were fixed. Who
      knows the draws beforehand can choose labels on which all of them agree by his design, and
      have a radius certified that is not true: of 201 labels with 101 ones, arranged for 100
      known draws at noise 0.3, a radius of 3 for the label one, though one flip turns the
      smoothed classifier. So the seed is drawn when fit is called. A fixed seed is sound only if
      it was drawn after the labels were final (to repeat a fit on the same labels), or was
      secret until then.

    *Annotators.* After ``fit(X, y, groups=annotators)`` a radius counts annotators, each of whom
    may rewrite all of his labels. "exact" finds the largest number of annotators that cannot
    change the prediction; one more can. The others bound a number of labels, and their radius is
    the largest number of annotators of whom even the busiest wrote no more labels than that. Who
    labelled what must be fixed before the labels are. A person with two names counts as two.

    All of them assume that features are out of the attacker's reach and that nothing was
    chosen by looking at the labels: no step that needs them (such steps are refused), and no
    parameter found by a search on the same labels.

    The result is a function of the set of training rows: their order changes nothing. A test
    row gets the same answer whatever rows come with it.

    References
    ----------
    .. [1] E. Rosenfeld, E. Winston, P. Ravikumar and J. Z. Kolter, "Certified Robustness to
       Label-Flipping Attacks via Randomized Smoothing", ICML 2020.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from sklearn.model_selection import train_test_split
    >>> from sklearn.neighbors import KNeighborsClassifier
    >>> from certified_ensembles import LabelFlipSmoothingClassifier
    >>> X, y = load_digits(return_X_y=True)
    >>> X_train, X_test, y_train, y_test = train_test_split(X, y, random_state=0)
    >>> clf = LabelFlipSmoothingClassifier(KNeighborsClassifier(50), classes=range(10))
    >>> y_pred, radius = clf.fit(X_train, y_train).certify(X_test)
    >>> bool(((y_pred == y_test) & (radius >= 10)).mean() > 0.8)
    True
    """

    _parameter_constraints: dict = {
        "estimator": [HasMethods("fit"), None],
        "noise": [Interval(Real, 0, 1, closed="neither")],
        "certificate": [StrOptions({"exact", "tight", "kl", "monte_carlo"})],
        "representation": [HasMethods(["fit", "transform"]), None],
        "n_draws": [Interval(Integral, 1, None, closed="left")],
        "confidence": [Interval(Real, 0, 1, closed="neither")],
        **COMMON_CONSTRAINTS,
    }

    _default_threat = "label_flip"

    def __init__(
        self,
        estimator=None,
        *,
        noise=0.1,
        certificate="exact",
        representation=None,
        n_draws=1000,
        confidence=0.999,
        classes=None,
        random_state=0,
        n_jobs=None,
        memory=None,
        verbose=0,
    ):
        self.estimator = estimator
        self.noise = noise
        self.certificate = certificate
        self.representation = representation
        self.n_draws = n_draws
        self.confidence = confidence
        self.classes = classes
        self.random_state = random_state
        self.n_jobs = n_jobs
        self.memory = memory
        self.verbose = verbose

    def _base_estimator(self):
        """Return what sees X first: it decides which containers are taken."""
        return self._last_estimator() if self.representation is None else self.representation

    def _last_estimator(self):
        return RidgeClassifier() if self.estimator is None else self.estimator

    @_fit_context(prefer_skip_nested_validation=False)
    def fit(self, X, y, groups=None):
        """Find the label-free weights; for "monte_carlo", train a member on each noisy draw.

        Parameters
        ----------
        X : array-like, sparse matrix, dataframe or sequence of str
            Training rows, n_train of them, as the representation or the estimator takes them.
        y : array-like of shape (n_train,)
            Labels: strings, integers or booleans.
        groups : array-like of shape (n_train,) or (n_train, n_keys), default=None
            Who wrote each label, if that can be trusted. A radius then counts annotators, each
            of whom may rewrite all of his labels.

        Returns
        -------
        self : LabelFlipSmoothingClassifier
            The fitted classifier.

        Raises
        ------
        ValueError
            If X, y, groups or a parameter is unusable, or if the weights of the estimator would
            depend on labels; the message says why and what to do instead.

        Warns
        -----
        CertificateWarning
            If a fixed seed gives the noise of "monte_carlo" away.
        """
        with built_aside(self) as new, cache_report():
            noisy = new.certificate == "monte_carlo"
            if noisy:
                check_seed(new.random_state or 0, new.n_draws, "n_draws={}")
            else:
                check_seed(new.random_state)
            X = validate_rows(new, X, reset=True)
            y, new.classes_, new._open_set = validate_labels(new, X, y)
            new._groups = None if groups is None else number_groups(validate_groups(X, groups))
            new._validate_noise()
            for name in ("estimators_", "seed_", "smoother_"):
                vars(new).pop(name, None)
            fit = new._fit_noisy_members if noisy else new._fit_weights
            fit(X, np.searchsorted(new.classes_, y))
        return self

    def _fit_weights(self, X, codes):
        self.smoother_ = LinearSmoother(
            self.estimator,
            representation=self.representation,
            random_state=self.random_state,
            n_jobs=self.n_jobs,
            memory=self.memory,
            verbose=self.verbose,
        ).fit(X)
        members = WeighedLabels(self.smoother_, self.classes_, open_set=self._open_set)
        self._members = members.fit(codes, self._groups)

    def _validate_noise(self):
        if self.certificate == "exact":
            return
        if len(self.classes_) < 2:
            raise ValueError(
                f"certificate={self.certificate!r} replaces labels by others, and y holds 1 class "
                'only. Pass all labels as classes, or use certificate="exact".'
            )
        check_noise(self.noise, len(self.classes_))

    def _choose_seed(self):
        """Return the seed of all draws: one that nobody knew when the labels were written."""
        if not self.random_state:
            # From 1 on, so that it can be passed as a random_state that is not the default.
            return 1 + secrets.randbelow(MAX_SEED - self.n_draws + 1)
        warnings.warn(
            f"The certificate is void against who knew random_state={self.random_state} when the "
            'labels were written: it fixes the noise of certificate="monte_carlo", and labels can '
            "be chosen for known noise. Leave it out: the seed is then drawn at fit and kept in "
            "seed_. A fixed one is right to repeat such a fit on the same labels.",
            CertificateWarning,
            stacklevel=5,
        )
        return self.random_state

    def _fit_noisy_members(self, X, codes):
        estimator = self._last_estimator()
        if not is_classifier(estimator):
            raise ValueError(
                f'certificate="monte_carlo" counts the votes of classifiers, and estimator='
                f"{estimator!r} is none; pass a classifier."
            )
        self.seed_ = self._choose_seed()
        features = LabelFreeFeatures(
            [] if self.representation is None else [self.representation],
            random_state=self.seed_,
            n_jobs=self.n_jobs,
            memory=self.memory,
        )
        members = NoisyMembers(features, estimator, self.classes_, memory=self.memory)
        seeds = list(range(self.seed_, self.seed_ + self.n_draws))
        self._members = members.fit(
            X, codes, self.noise, seeds, n_jobs=self.n_jobs, verbose=self.verbose
        )
        self.estimators_ = self._members.estimators

    def _ask(self, ask, X, **how):
        """Return what one of the members' methods answers about test rows."""
        X = validate_rows(self, X, reset=False)
        return ask(X, n_jobs=self.n_jobs, verbose=max(self.verbose - 1, 0), **how)

    def predict(self, X):
        """Return the label with the largest score; ties go to the smaller label.

        Parameters
        ----------
        X : array-like, sparse matrix, dataframe or sequence of str
            Rows as in :meth:`fit`, n_samples of them.

        Returns
        -------
        y_pred : ndarray of shape (n_samples,)
            Predicted labels, the ones that :meth:`certify` is about.
        """
        check_is_fitted(self)
        return self.classes_[self._ask(self._members.winners, X)]

    def predict_proba(self, X):
        """Return shares of the score for every class.

        Parameters
        ----------
        X : array-like, sparse matrix, dataframe or sequence of str
            Rows as in :meth:`fit`, n_samples of them.

        Returns
        -------
        proba : ndarray of shape (n_samples, n_classes)
            Non-negative, rows sum to one, largest for the predicted label: the shares of the
            votes where all are votes for a class, else the nearest point to the scores on the
            probability simplex. Not calibrated.
        """
        check_is_fitted(self)
        return self._ask(self._members.shares, X)

    def certify(self, X, threat=None):
        """Return predictions and the number of flipped labels that each provably survives.

        Parameters
        ----------
        X : array-like, sparse matrix, dataframe or sequence of str
            Rows as in :meth:`fit`, n_samples of them.
        threat : {"label_flip"}, default=None
            The only threat covered, and the default.

        Returns
        -------
        certificate : Certificate
            ``y_pred, radius``: the labels that :meth:`predict` returns, and for each the largest
            certified number of training labels, int64 of shape (n_samples,), that may be
            changed without changing it; -1 where nothing is certified. After
            ``fit(..., groups=...)`` the number of annotators who may change all of theirs.

        Raises
        ------
        ValueError
            If another threat is asked for, or the noise is too large for the number of classes.

        Notes
        -----
        Without groups every label counts, also those of copies of one row. Budgets are not shared:
        an attacker may spend the radius of a row on that row alone.
        """
        check_is_fitted(self)
        if threat not in (None, self._default_threat):
            raise ValueError(
                f"threat={threat!r} is not covered: features are trusted here, only labels may "
                'change. Pass threat="label_flip" or None; for inserted, deleted or replaced rows '
                "use DeepPartitionAggregation."
            )
        winner, radius = self._ask(
            self._members.certify,
            X,
            noise=self.noise,
            certificate=self.certificate,
            confidence=self.confidence,
        )
        if self._groups is not None and self.certificate != "exact":
            radius = groups_within_flips(radius, self._groups)
        return certificate_of(self, self.classes_[winner], radius)

    @property
    def _counts_annotators(self):
        """Whether a radius counts annotators, and not labels."""
        return self._groups is not None

    @property
    def _radius_falls_by_one(self):
        """Whether one operation is known to lower a radius by one at most."""
        return self.certificate == "exact" and hasattr(self, "smoother_")

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags = input_tags_of(self._base_estimator())
        tags.non_deterministic = self.certificate == "monte_carlo"
        if self.certificate != "monte_carlo" or self.representation is not None:
            tags.input_tags.allow_nan = False  # what comes after the first step decides
        return tags
