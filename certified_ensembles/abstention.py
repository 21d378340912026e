"""Answer only where enough poisoning is survived: a reject option with a guarantee."""

import math
import warnings
from numbers import Integral, Real

import numpy as np
from sklearn.base import (
    BaseEstimator,
    ClassifierMixin,
    MetaEstimatorMixin,
    _fit_context,
    clone,
    is_regressor,
)
from sklearn.frozen import FrozenEstimator
from sklearn.utils import get_tags
from sklearn.utils._param_validation import HasMethods, Interval
from sklearn.utils.metadata_routing import (
    MetadataRouter,
    MethodMapping,
    _routing_enabled,
    process_routing,
)
from sklearn.utils.validation import _is_fitted, check_is_fitted

from ._certificate import (
    CertificateWarning,
    certify,
    effective_threat,
    find_ensemble,
    question_arguments,
    seen_once,
)
from ._fits import OneFitMixin, as_of_now, built_aside
from ._units import question_in_words
from .metrics._coverage import CoverageAccuracyCurve, coverage_accuracy_curve

# Attributes that :meth:`CertifiedAbstention.fit` sets.
_SET_BY_FIT = (
    *("estimator_", "classes_", "question_", "abstain_label_"),
    *("n_features_in_", "feature_names_in_"),
)

__all__ = ["CertifiedAbstention", "CoverageAccuracyCurve", "coverage_accuracy_curve"]


class CertifiedAbstention(OneFitMixin, MetaEstimatorMixin, ClassifierMixin, BaseEstimator):
    """Classifier that answers only where the answer survives at least so much poisoning.

    Parameters
    ----------
    estimator : estimator with ``fit`` and ``certify``
        A certifying classifier of this package, or a pipeline that ends in one. It is cloned and
        fitted; wrap a fitted one in :class:`~sklearn.frozen.FrozenEstimator` to keep it: then
        nothing is left to fit, and the classifier answers as it is.
    min_radius : int, default=1
        Answer where the certified radius is at least this. 0 answers wherever the estimator
        does.
    threat : str, default=None
        The threat whose radius decides, as in the estimator's ``certify``; None is its default.
    target : label, or list or set of labels, default=None
        Answer where the estimator cannot predict this label within `min_radius` operations: the
        radius that decides is that of ``certify(X, target=target)``. The target itself is never
        answered.
    top_k : int, default=None
        Answer where the prediction stays among the k labels with most votes within `min_radius`
        operations: the radius that decides is that of ``certify(X, top_k=top_k)``.
    abstain_label : int, float or str, default=None
        What :meth:`predict` returns instead of an answer: a number or a string, as the labels
        are, but none of them. None means -1, or "abstain" where labels are strings; where that
        is a label, the next number below all labels, or ``"abstain_"``. A label that a row
        brings can move this default; one that is given stays, see Notes.

    Attributes
    ----------
    estimator_ : estimator
        The fitted estimator.
    classes_ : ndarray of shape (n_classes,)
        Its labels.
    question_ : dict
        What decides where to answer: `target` or `top_k`, if given.
    abstain_label_ : int, float or str
        What stands for an abstention; none of the labels.
    n_features_in_ : int
        Number of features seen in :meth:`fit`, if the estimator says so.
    feature_names_in_ : ndarray of shape (n_features_in_,)
        Names of features seen in :meth:`fit`, if the estimator has them.

    See Also
    --------
    coverage_accuracy_curve : What each `min_radius` costs, from one call of ``certify``.

    Notes
    -----
    *Theorem.* Let R be the radius of the estimator at a row and r = `min_radius`, with R >= r.

    - After at most R operations the row gets the same label or an abstention, never another
      label. That needs nothing but the certificate of the estimator.
    - After at most R - r operations it still gets the same label, if one operation lowers a
      radius by one at most. That holds where the radius is a distance, the least number of
      operations to another winner: among ballots (:class:`DeepPartitionAggregation` with
      ``spread_degree=1``; :class:`SemiSupervisedDPA`, but for ``certificate="members"``), among
      labels (:class:`LabelFlipSmoothingClassifier` with ``certificate="exact"``), among
      training sets (:class:`CertifiedKNeighborsClassifier`). For other estimators nothing is known
      of it, and :meth:`certify` promises 0 operations.
    - Of an abstention nothing is promised: an attack may turn it into any answer, but for a label
      that differs from the estimator's own within its radius.

    With `target` or `top_k` the radius R of that question decides where to answer. Within its
    own radius the same label or an abstention is given as above; within R no `target` is answered,
    and the label answered now stays among the `top_k`. A row is still answered by the same label
    after as many operations as both its own radius and R - r allow.

    A row that an attacker can silence is not a row that an attacker can steer. Who needs an
    answer in spite of s operations has to ask for it among rows with R >= r + s.

    *The label of an abstention.* Without `classes` anyone may bring a row with any label. An
    `abstain_label` that is given stays what it is, and does not stop the fit: whoever is predicted
    to have the brought label gets an abstention, with a warning, and no promise above is touched.
    The default looks at the labels: rely on ``abstain_label_`` there, not on -1.

    :meth:`score` counts an abstention as an error, so that it is the certified accuracy at
    `min_radius`.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from certified_ensembles import DeepPartitionAggregation
    >>> from certified_ensembles.abstention import CertifiedAbstention
    >>> X, y = load_iris(return_X_y=True)
    >>> ensemble = DeepPartitionAggregation(n_partitions=15, classes=[0, 1, 2])
    >>> clf = CertifiedAbstention(ensemble, min_radius=3).fit(X[::2], y[::2])
    >>> y_pred = clf.predict(X[1::2])
    >>> answered = y_pred != clf.abstain_label_
    >>> bool(0.5 < answered.mean() < 1)
    True
    >>> bool((y_pred == y[1::2])[answered].mean() > (clf.estimator_.predict(X[1::2])
    ...                                              == y[1::2]).mean())
    True
    """

    _parameter_constraints: dict = {
        "estimator": [HasMethods(["fit"])],
        "min_radius": [Interval(Integral, 0, None, closed="left")],
        "threat": [str, None],
        "target": "no_validation",
        "top_k": [Interval(Integral, 1, None, closed="left"), None],
        "abstain_label": [Real, str, None],
    }

    def __init__(
        self,
        estimator,
        min_radius=1,
        *,
        threat=None,
        target=None,
        top_k=None,
        abstain_label=None,
    ):
        self.estimator = estimator
        self.min_radius = min_radius
        self.threat = threat
        self.target = target
        self.top_k = top_k
        self.abstain_label = abstain_label

    @_fit_context(prefer_skip_nested_validation=False)
    def fit(self, X, y, **fit_params):
        """Fit the estimator.

        Parameters
        ----------
        X : array-like, sparse matrix, dataframe or sequence of str
            Training rows, as the estimator takes them.
        y : array-like of shape (n_train,)
            Labels, among which ``abstain_label_`` is not.
        **fit_params : dict
            Passed on to the estimator's ``fit``, by metadata routing if that is enabled.

        Returns
        -------
        self : CertifiedAbstention
            The fitted classifier.

        Raises
        ------
        TypeError
            If the estimator has no method ``certify``.
        ValueError
            If `abstain_label` is one of the ensemble's `classes`, or of another type than the
            labels, or both `target` and `top_k` are given.

        Warns
        -----
        CertificateWarning
            If `abstain_label` is one of the labels, and the ensemble knows no closed set of them.
        """
        with built_aside(self) as new:
            new.question_ = question_arguments(new.target, new.top_k)
            if _routing_enabled():
                fit_params = process_routing(new, "fit", **fit_params).estimator.fit
            if is_regressor(new.estimator):
                raise ValueError(
                    f"estimator={new.estimator!r} is a regressor, and an abstention takes the "
                    "place of a label. Ask its certify_interval, and leave out rows whose "
                    "interval is too wide."
                )
            new.estimator_ = clone(new.estimator).fit(X, y, **fit_params)
            new.classes_ = np.asarray(find_ensemble(new.estimator_).classes_)
            for name in ("n_features_in_", "feature_names_in_"):
                vars(new).pop(name, None)
                if hasattr(new.estimator_, name):
                    setattr(new, name, getattr(new.estimator_, name))
            new.abstain_label_ = new._resolve_label()
        return self

    def _resolve_label(self):
        label, known = self.abstain_label, self.classes_.tolist()
        text = all(isinstance(one, str) for one in known)
        if label is None:
            return _unused_text(known) if text else _unused_number(known)
        if text != isinstance(label, str) or (not text and not math.isfinite(label)):
            raise ValueError(
                f"abstain_label={label!r} does not go with labels such as {known[0]!r}: pass "
                + ("a string, such as 'abstain'." if text else "a number, such as -1.")
            )
        if label not in known:
            return label
        if not getattr(find_ensemble(self.estimator_), "_open_set", True):
            raise ValueError(
                f"abstain_label={label!r} is one of the labels: an abstention could not be told "
                "from it. Pass another one."
            )
        warnings.warn(
            f"abstain_label={label!r} is one of the labels: what is predicted to be {label!r} "
            "counts as an abstention. Pass another abstain_label; or, if no row should have this "
            "label, pass `classes` to the estimator, which then refuses such rows.",
            CertificateWarning,
            stacklevel=4,
        )
        return label

    # ------------------------------------------------------------ around a fitted estimator

    def __sklearn_is_fitted__(self):
        return "estimator_" in vars(self) or _is_fitted_and_frozen(self.estimator)

    def _as_fitted(self):
        """Return the classifier, or, where a frozen estimator needs no fit, a fitted copy."""
        if "estimator_" in vars(self):
            return self
        # A frozen estimator may be refitted by whoever has it.
        return as_of_now(self).set_params(estimator=seen_once(self.estimator)).fit(None, None)

    def __getattr__(self, name):
        # What a fit sets is known without one where the estimator is frozen.
        if name in _SET_BY_FIT and _is_fitted_and_frozen(vars(self).get("estimator")):
            return getattr(self._as_fitted(), name)
        raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")

    @property
    def _that_certifies(self):
        """What counts the operations."""
        return find_ensemble(self.estimator_)

    @property
    def _default_threat(self):
        return effective_threat(self.estimator_, self.threat)

    def predict(self, X):
        """Return labels where the radius is large enough, ``abstain_label_`` elsewhere.

        Parameters
        ----------
        X : array-like, sparse matrix, dataframe or sequence of str
            Rows as in :meth:`fit`, n_samples of them.

        Returns
        -------
        y_pred : ndarray of shape (n_samples,)
            Labels and ``abstain_label_``.
        """
        return self.certify(X).y_pred

    def certify(self, X, threat=None, *, target=None, top_k=None):
        """Return predictions and the poisoning after which each answer is still given.

        Parameters
        ----------
        X : array-like, sparse matrix, dataframe or sequence of str
            Rows as in :meth:`fit`, n_samples of them.
        threat : str, default=None
            None, or the threat whose radius decides.
        target : label, array-like of shape (n_samples,), or list or set of labels, default=None
            Asks another question, as in the estimator's ``certify``: until a named label is
            answered.
        top_k : int, default=None
            Asks another question: until the label that is answered now is not among the k with
            most votes.

        Returns
        -------
        certificate : Certificate
            ``y_pred, radius``: what :meth:`predict` returns, and the certified number of
            operations that leave the answer as it is: R - `min_radius` for an estimator's
            radius R (0 where that is not known to hold, see the Notes of the class), and -1
            for abstentions. Up to the larger radius R, that of ``estimator_.certify(X)``, no
            *other label* is answered. With `target`: the operations that cannot make the target
            the answer, also for abstentions. With `top_k`: those that leave the label among the
            k, and -1 for abstentions.

        Raises
        ------
        ValueError
            If another threat is asked for, or both `target` and `top_k`.
        """
        check_is_fitted(self)
        return self._as_fitted()._certify(X, threat, target, top_k)

    def _certify(self, X, threat, target, top_k):
        own = self._default_threat
        if threat not in (None, own):
            raise ValueError(
                f"threat={threat!r} is not the one that decides where to answer, {own!r}. Ask "
                f"for that one, or fit with CertifiedAbstention(..., threat={threat!r})."
            )
        # A frozen estimator may be refitted by whoever has it.
        estimator = seen_once(self.estimator_)
        certificate = certify(estimator, X, own, **self.question_)
        y_pred, radius = certificate
        answered = (radius >= self.min_radius) & (y_pred != np.asarray(self.abstain_label_))
        asked = question_arguments(target, top_k)
        if asked:
            left = certify(estimator, X, own, **asked).radius
        elif _falls_by_one(find_ensemble(estimator)):
            left = radius - self.min_radius
            if self.question_:
                left = np.minimum(left, certify(estimator, X, own).radius)
        else:
            left = np.zeros_like(radius)
        return certificate._replace(
            y_pred=np.where(answered, y_pred, np.asarray(self.abstain_label_)),
            radius=left if target is not None else np.where(answered, left, -1),
            question=question_in_words(asked),
        )

    def get_metadata_routing(self):
        """Return how metadata such as ``groups`` and ``sample_weight`` are routed.

        Returns
        -------
        routing : MetadataRouter
            The estimator's fit gets what it requests.
        """
        return MetadataRouter(owner=self).add(
            estimator=self.estimator,
            method_mapping=MethodMapping().add(caller="fit", callee="fit"),
        )

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags = get_tags(self.estimator).input_tags
        return tags


def _is_fitted_and_frozen(estimator):
    return isinstance(estimator, FrozenEstimator) and _is_fitted(estimator)


def _unused_text(known):
    label = "abstain"
    while label in known:
        label += "_"
    return label


def _unused_number(known):
    return -1 if -1 not in known else math.floor(min(known)) - 1


def _falls_by_one(ensemble):
    """Say whether one operation is known to lower its radii by one at most.

    A class says so itself. What is inherited does not count: a subclass may certify in its own
    way, and has to say so anew.
    """
    return "_radius_falls_by_one" in vars(type(ensemble)) and ensemble._radius_falls_by_one
