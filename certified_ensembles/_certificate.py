"""What every certifying estimator returns, and how it says that a promise is void.

One function, `certify`, looks through what scikit-learn puts around an ensemble (a pipeline, a
search, a threshold, a freeze). It is public, and serves the scorer, the display, the abstention
and the audit, so that all warn in the same words where a wrapper voids the guarantee: a step or a
parameter learned from all training rows lets one poisoned row reach every member.
"""

import inspect
import sys
import warnings
from copy import copy

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.compose import ColumnTransformer
from sklearn.feature_selection import VarianceThreshold
from sklearn.frozen import FrozenEstimator
from sklearn.model_selection import FixedThresholdClassifier, TunedThresholdClassifierCV
from sklearn.pipeline import FeatureUnion, Pipeline
from sklearn.utils import get_tags
from sklearn.utils.validation import check_is_fitted

from ._fits import OneFitMixin, as_of_now
from ._results import Certificate, CertifiedInterval
from ._units import question_in_words, unit_of
from .certificates.targets import check_k

__all__ = [
    "Certificate",
    "CertificateWarning",
    "CertifiedInterval",
    "certify",
    "effective_threat",
    "find_ensemble",
    "question_arguments",
    "seen_once",
]


class CertificateWarning(UserWarning):
    """A guarantee is void, or weaker than it looks; the message says which one and the remedy."""


# ---------------------------------------------------------------- through wrappers

DEFAULT_THREAT = "insertion_deletion"

# Classifiers that compare a share of the ensemble inside with a threshold.
_THRESHOLDS = (FixedThresholdClassifier, TunedThresholdClassifierCV)


def certify(estimator, X, threat=None, **how):
    """Certify with an ensemble, also where it sits inside pipelines, searches and the like.

    An ensemble cannot see what stands around it: ``pipeline[-1].certify(...)`` returns radii
    and no warning, whatever the steps before it have learned. This function looks from the
    outside in, and says what voids the radii.

    Parameters
    ----------
    estimator : fitted estimator
        Has a method ``certify``; or is, to any depth, a `Pipeline` whose last step has one, a
        search with a ``best_estimator_`` that has one, a `FixedThresholdClassifier`, a
        `TunedThresholdClassifierCV` or a `FrozenEstimator`.
    X : array-like of shape (n_samples, ...)
        Test rows, as the outermost estimator takes them.
    threat : str or None, default=None
        Passed to ``certify``; None is the ensemble's own default.
    **how : dict
        Further arguments of the ensemble's ``certify``, such as `target` or `top_k`.

    Returns
    -------
    certificate : Certificate
        ``y_pred, radius``: what ``estimator.predict(X)`` returns, and the radii, int64 of shape
        (n_samples,).

    Raises
    ------
    TypeError
        If no method ``certify`` is found, or it takes no such argument, a search has no
        ``best_estimator_`` to ask, or X is one string.
    ValueError
        If `how` is not empty and a threshold decides: it would certify another question.
    sklearn.exceptions.NotFittedError
        If a search was not fitted.

    Warns
    -----
    CertificateWarning
        If a pipeline step before the ensemble learned from all training rows (for label flips:
        from their labels), or a search or a tuned threshold chose a parameter on them, or a
        subclass of `Pipeline` runs code of its own: then the radii promise nothing. And if a
        threshold decides against the vote, or could after few operations: such rows have
        radius -1. Each message says what to do instead.

    Notes
    -----
    *Frozen steps.* A `FrozenEstimator` step raises no warning, since fitting the pipeline leaves
    it alone: whoever freezes a step vouches that it was fitted on rows out of the attacker's
    reach.

    *Thresholds.* A threshold t turns the share of votes p of the positive label into a
    prediction, and the vote is not asked: with t = 0.9 and 95 of 100 votes the vote survives 44
    changed ballots and the prediction 5. What the radius R of the vote still proves: within R
    operations its winner c keeps half of the votes or more. So the prediction stays c if the
    threshold gives c at p = 1/2, and hence at any larger share of c: the positive label with
    t <= 1/2, the negative one with t > 1/2. The radius is kept where the prediction is that
    label and the vote agrees; it is -1 elsewhere, also where both agree today.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from sklearn.pipeline import make_pipeline
    >>> from sklearn.preprocessing import Normalizer
    >>> from certified_ensembles import DeepPartitionAggregation, certify
    >>> X, y = load_iris(return_X_y=True)
    >>> ensemble = DeepPartitionAggregation(n_partitions=9, classes=[0, 1, 2])
    >>> pipeline = make_pipeline(Normalizer(), ensemble).fit(X, y)
    >>> y_pred, radius = certify(pipeline, X)
    >>> bool((y_pred == pipeline.predict(X)).all())
    True
    """
    if isinstance(X, str | bytes):
        raise TypeError(f"X={X[:40]!r} is one text, not a sequence of rows. Pass a list, [X].")
    reasons = []
    certificate = _certify(seen_once(estimator), X, threat, how, reasons)
    for reason in reasons:
        warnings.warn(reason, CertificateWarning, stacklevel=_callers_level())
    return certificate


def _callers_level():
    """Return the stack level, seen from `certify`, of the first frame outside this package."""
    frame, level = sys._getframe(1), 1
    while frame.f_back is not None and _is_own(frame):
        frame, level = frame.f_back, level + 1
    return level


def _is_own(frame):
    return frame.f_globals.get("__name__", "").split(".")[0] == __name__.split(".")[0]


def _certify(estimator, X, threat, how, reasons):
    """Return the certificate, and append to `reasons` what voids it."""
    estimator = _thaw(estimator)
    if _certifies(estimator):
        _check_arguments(estimator, how)
        return _with_words(estimator.certify(X, threat=threat, **how), estimator, threat, how)
    inner = _inner_estimator(estimator)
    effective = effective_threat(inner, threat)
    if isinstance(estimator, _THRESHOLDS):
        return _certify_threshold(estimator, X, threat, how, reasons)
    if not isinstance(estimator, Pipeline):
        reasons += _reasons_of_search(estimator, effective)
        return _certify(inner, X, threat, how, reasons)
    reasons += _reasons_of_steps(estimator, effective, how)
    rows = X
    for _, step in _steps_before_last(estimator):
        # Steps of imbalanced-learn that resample leave test rows alone.
        rows = step.transform(rows) if hasattr(step, "transform") else rows
    certificate = _certify(inner, rows, threat, how, reasons)
    if type(estimator) is Pipeline:
        return certificate
    reasons.append(
        f"The certificate for threat={effective!r} is void: {type(estimator).__name__} is a "
        "subclass of Pipeline and may fit and predict in its own way. Put it inside the ensemble "
        "as base estimator, or use a plain Pipeline of steps that learn nothing."
    )
    y_pred = np.asarray(estimator.predict(X))
    same = y_pred == certificate.y_pred
    return certificate._replace(y_pred=y_pred, radius=np.where(same, certificate.radius, -1))


def _with_words(certificate, estimator, threat, how):
    """Return a certificate that knows its threat, whoever's estimator gave it."""
    if getattr(certificate, "threat", None) is not None:
        return certificate
    threat = effective_threat(estimator, threat)
    words = {"threat": threat, "unit": unit_of(estimator, threat)}
    return Certificate(*certificate, **words, question=question_in_words(how))


def _check_arguments(estimator, how):
    """Refuse arguments that the ensemble's method does not have."""
    taken = inspect.signature(estimator.certify).parameters
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in taken.values()):
        return
    for name, value in how.items():
        if name not in taken:
            kind = type(estimator).__name__
            raise TypeError(
                f"{name}={value!r} is a question that {kind}.certify cannot answer: it takes "
                f"{', '.join(taken)}. Leave {name} out, or pass an ensemble whose certify has it."
            )


def _certify_threshold(estimator, X, threat, how, reasons):
    """Certify what a threshold makes of the shares of a vote: see the Notes of `certify`."""
    name = type(estimator).__name__
    if how:
        raise ValueError(
            f"{', '.join(how)} cannot be certified through {name}: it asks about the vote, and a "
            "threshold decides. Call certify of the ensemble inside."
        )
    inner = _inner_estimator(estimator)
    if not isinstance(estimator, FixedThresholdClassifier):
        effective = effective_threat(inner, threat)
        reasons.append(
            f"The certificate for threat={effective!r} is void: {name} chose its threshold by "
            "scores on the training rows, so one poisoned row can move it for all predictions. "
            "Choose it on rows the attacker cannot touch, and pass it to FixedThresholdClassifier."
        )
    certificate = _certify(inner, X, threat, how, reasons)
    vote, radius = certificate
    y_pred = np.asarray(estimator.predict(X))
    kept = np.zeros(len(y_pred), dtype=bool)
    if type(estimator) in _THRESHOLDS and getattr(find_ensemble(inner), "_winner_has_half", False):
        kept = (y_pred == vote) & (y_pred == _label_at_one_half(estimator))
    n_lost = np.count_nonzero(~kept & (radius >= 0))
    if n_lost:
        reasons.append(
            f"Nothing is certified for {n_lost} of {len(y_pred)} predictions (radius -1): {name} "
            "compares a share of votes with a threshold, which fewer operations can cross than "
            "the vote survives. Use the ensemble's own predict, or a base estimator with the "
            "threshold inside."
        )
    return certificate._replace(y_pred=y_pred, radius=np.where(kept, radius, -1))


class _Undecided(ClassifierMixin, BaseEstimator):
    """A classifier that gives each of two labels one half."""

    def __init__(self, classes):
        self.classes = classes
        self.classes_ = classes

    def fit(self, X, y):
        return self

    def predict_proba(self, X):
        return np.full((len(X), 2), 0.5)


def _label_at_one_half(estimator):
    """Return what a threshold classifier predicts where both labels have half of the votes."""
    probe = copy(estimator)
    probe.estimator_ = _Undecided(estimator.classes_)
    return probe.predict(np.zeros((1, 1)))[0]


def seen_once(estimator):
    """Return an estimator around the fit that the ensemble inside has now.

    Whoever asks more than once asks this one, so that no refit in another thread comes between.

    Parameters
    ----------
    estimator : estimator
        As in `certify`, fitted or not.

    Returns
    -------
    seen : estimator
        Copies of the wrappers around a copy of the ensemble, which share all that was fitted. What
        is not of this package is shared itself, but for the wrappers that `certify` looks through.
    """
    if isinstance(estimator, OneFitMixin):
        return as_of_now(estimator)
    if isinstance(estimator, Pipeline):
        seen, (name, last) = as_of_now(estimator), estimator.steps[-1]
        seen.steps = [*seen.steps[:-1], (name, seen_once(last))]
        return seen
    if isinstance(estimator, FrozenEstimator):
        name = "estimator"
    elif isinstance(estimator, _THRESHOLDS):
        name = "estimator_" if hasattr(estimator, "estimator_") else "estimator"
    else:
        name = "best_estimator_"
    if name not in getattr(estimator, "__dict__", ()):
        return estimator
    seen = as_of_now(estimator)
    setattr(seen, name, seen_once(getattr(seen, name)))
    return seen


def find_ensemble(estimator):
    """Return the certifying ensemble inside pipelines, searches, thresholds and freezes.

    Parameters
    ----------
    estimator : fitted estimator
        As in `certify`.

    Returns
    -------
    ensemble : estimator
        The innermost estimator: the one that has ``certify``.

    Raises
    ------
    TypeError
        If there is none.
    """
    estimator = _thaw(estimator)
    if _certifies(estimator):
        return estimator
    return find_ensemble(_inner_estimator(estimator))


def effective_threat(estimator, threat=None):
    """Return the threat that ``certify(X, threat=threat)`` answers.

    Parameters
    ----------
    estimator : fitted estimator
        As in `certify`.
    threat : str or None, default=None
        None asks for the ensemble's default: its attribute ``_default_threat``, or
        "insertion_deletion" where it has none.

    Returns
    -------
    threat : str
    """
    if threat is not None:
        return threat
    return getattr(find_ensemble(estimator), "_default_threat", DEFAULT_THREAT)


def question_arguments(target=None, top_k=None):
    """Return what a question adds to the arguments of ``certify``.

    Parameters
    ----------
    target, top_k
        As in the ensemble's ``certify``; None where they are not asked.

    Returns
    -------
    how : dict
        Empty for the question whether the prediction stays.

    Raises
    ------
    ValueError
        If both are given, or `top_k` is no integer of at least 1.
    """
    if target is not None and top_k is not None:
        raise ValueError(
            f"target={target!r} and top_k={top_k!r} are two questions, and each has its own "
            "radius: ask once for each."
        )
    if top_k is not None:
        return {"top_k": check_k(top_k, "top_k")}
    return {} if target is None else {"target": target}


def _certifies(estimator):
    # A pipeline hands on any method of its last step, and would certify in silence.
    return not isinstance(estimator, Pipeline) and hasattr(estimator, "certify")


def _thaw(estimator):
    while isinstance(estimator, FrozenEstimator):
        estimator = estimator.estimator
    return estimator


def _inner_estimator(estimator):
    if isinstance(estimator, Pipeline):
        last = estimator.steps[-1][1]
        if last is not None and not isinstance(last, str):
            return last
    elif isinstance(estimator, _THRESHOLDS):
        # One with a fitted estimator needs no fit of its own.
        return getattr(estimator, "estimator_", estimator.estimator)
    elif hasattr(estimator, "best_estimator_"):
        return estimator.best_estimator_
    elif hasattr(estimator, "refit") and hasattr(estimator, "cv"):
        if not estimator.refit:
            raise TypeError(
                f"estimator={type(estimator).__name__}(refit={estimator.refit!r}) keeps no "
                "best_estimator_ to certify. Pass refit=True, or certify an ensemble fitted "
                "with the parameters you chose."
            )
        check_is_fitted(estimator, "best_estimator_")
    name = type(estimator).__name__
    raise TypeError(
        f"estimator={name} has no method certify, so it has no radius. Wrap the classifier: "
        f"DeepPartitionAggregation({name}(...)), or a regressor: DeepPartitionRegressor(...), or "
        "make the ensemble the last step of the pipeline."
    )


def _steps_before_last(pipeline):
    for name, step in pipeline.steps[:-1]:
        if step is not None and not isinstance(step, str):
            yield name, step


def _leaves(name, step):
    """Yield the transformers inside nested pipelines, unions and column transformers."""
    if step is None or isinstance(step, str):
        return
    if isinstance(step, Pipeline):
        parts = step.steps
    elif isinstance(step, FeatureUnion):
        parts = step.transformer_list
    elif isinstance(step, ColumnTransformer):
        parts = [part[:2] for part in getattr(step, "transformers_", step.transformers)]
    else:
        yield name, step
        return
    for part_name, part in parts:
        yield from _leaves(f"{name}__{part_name}", part)


def _learns_from_rows(step):
    if isinstance(step, FrozenEstimator):
        return False
    try:
        return get_tags(step).requires_fit
    except AttributeError:  # no tags: nothing says that it is stateless
        return True


def _learns_from_labels(step):
    """Say whether a step that is fitted may look at y; where in doubt, yes."""
    if isinstance(step, VarianceThreshold):
        return False
    # Selectors call y optional in their tags and still score the features against it.
    if type(step).__module__.startswith("sklearn.feature_selection"):
        return True
    try:
        nested = [value for value in step.get_params(deep=True).values() if _is_estimator(value)]
        return any(get_tags(part).target_tags.required for part in [step, *nested])
    except AttributeError:
        return True


def _is_estimator(value):
    return hasattr(value, "__sklearn_tags__") and not isinstance(value, type)


def _reasons_of_steps(pipeline, threat, how):
    """Return what voids a certificate behind these steps: a message, or nothing."""
    steps = [leaf for step in _steps_before_last(pipeline) for leaf in _leaves(*step)]
    ensemble = find_ensemble(pipeline)
    if hasattr(ensemble, "_reasons_of_steps"):  # it knows of more than rows
        return ensemble._reasons_of_steps(steps, **how)
    flips_only = threat == "label_flip"
    names = [
        f"{name!r} ({type(part).__name__})"
        for name, part in steps
        if _learns_from_rows(part) and (not flips_only or _learns_from_labels(part))
    ]
    if not names:
        return []
    learned = "the labels of all training rows" if flips_only else "all training rows"
    return [
        f"The certificate for threat={threat!r} is void: the pipeline fits {', '.join(names)} on "
        f"{learned} before the ensemble, so one poisoned row can change every member. Put the "
        "step inside the base estimator, DeepPartitionAggregation(make_pipeline(step, clf)); or "
        "fit it on rows the attacker cannot touch and pass FrozenEstimator(step)."
    ]


def _reasons_of_search(search, threat):
    """Return what voids a certificate inside a search: a message, or nothing."""
    n_candidates = len(getattr(search, "cv_results_", {}).get("params", ()))
    if n_candidates == 1:
        return []  # nothing was chosen
    return [
        f"The certificate for threat={threat!r} is void: {type(search).__name__} chose the "
        f"parameters among {n_candidates or 'several'} settings by their scores on the training "
        "rows, so one poisoned row can change the choice and with it every member. Choose the "
        "parameters on rows the attacker cannot touch, then fit the ensemble with them; or put "
        "the search inside the base estimator."
    ]
