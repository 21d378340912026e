"""What every certifying estimator returns, and how it says that a promise is void.

One function certifies through what scikit-learn puts around an ensemble (a pipeline, a search, a
freeze). It serves the scorer and the display, so that both warn in the same words where a
wrapper voids the guarantee: a step or a parameter learned from all training rows lets one
poisoned row reach every member.
"""

import warnings
from typing import NamedTuple

import numpy as np
from sklearn.compose import ColumnTransformer
from sklearn.feature_selection import VarianceThreshold
from sklearn.frozen import FrozenEstimator
from sklearn.pipeline import FeatureUnion, Pipeline
from sklearn.utils import get_tags
from sklearn.utils.validation import check_is_fitted


class CertificateWarning(UserWarning):
    """A guarantee is void, or weaker than it looks; the message says which one and the remedy."""


class Certificate(NamedTuple):
    """Predictions and the number of poisoning operations that each one provably survives.

    Unpacks as ``y_pred, radius = estimator.certify(X)``.

    Attributes
    ----------
    y_pred : ndarray of shape (n_samples,)
        Predicted labels, the same as ``predict`` returns.
    radius : ndarray of shape (n_samples,), int64
        The certified number of operations of the threat (for instance insertions plus
        deletions of training rows) that cannot change ``y_pred``; -1 where the estimator
        abstains and nothing is promised.
    """

    y_pred: np.ndarray
    radius: np.ndarray


# ---------------------------------------------------------------- through wrappers

DEFAULT_THREAT = "insertion_deletion"


def certify_through(estimator, X, threat=None):
    """Certify ``X`` with an ensemble, also where it ends a pipeline or sits inside a search.

    Parameters
    ----------
    estimator : fitted estimator
        Has a method ``certify``; or is a `Pipeline` whose last step has one, a search with a
        ``best_estimator_`` that has one, or a `FrozenEstimator` around any of these, to any
        depth.
    X : array-like of shape (n_samples, ...)
        Test rows, as the outermost estimator takes them.
    threat : str or None, default=None
        Passed to ``certify``; None is the ensemble's own default.

    Returns
    -------
    certificate : Certificate
        ``y_pred, radius`` as the ensemble returned them.

    Raises
    ------
    TypeError
        If no method ``certify`` is found, or a search has no ``best_estimator_`` to ask.
    sklearn.exceptions.NotFittedError
        If a search was not fitted.

    Warns
    -----
    CertificateWarning
        If a pipeline step before the ensemble learned from all training rows (for label flips:
        from their labels), or a search chose a parameter on them. The radii then promise
        nothing, and the message says what to do instead.

    Notes
    -----
    A `FrozenEstimator` step raises no warning, since fitting the pipeline leaves it alone:
    whoever freezes a step vouches that it was fitted on rows out of the attacker's reach.
    """
    estimator = _thaw(estimator)
    if not isinstance(estimator, Pipeline) and hasattr(estimator, "certify"):
        y_pred, radius = estimator.certify(X, threat=threat)
        return Certificate(y_pred, radius)

    inner = _inner_estimator(estimator)
    effective = effective_threat(inner, threat)
    if isinstance(estimator, Pipeline):
        _warn_of_fitted_steps(estimator, effective)
        for _, step in _steps_before_last(estimator):
            X = step.transform(X)
    else:
        _warn_of_search(estimator, effective)
    return certify_through(inner, X, threat)


def find_ensemble(estimator):
    """Return the certifying ensemble inside pipelines, searches and freezes.

    Parameters
    ----------
    estimator : fitted estimator
        As in `certify_through`.

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
    if not isinstance(estimator, Pipeline) and hasattr(estimator, "certify"):
        return estimator
    return find_ensemble(_inner_estimator(estimator))


def effective_threat(estimator, threat=None):
    """Return the threat that ``certify(X, threat=threat)`` answers.

    Parameters
    ----------
    estimator : fitted estimator
        As in `certify_through`.
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


def _thaw(estimator):
    while isinstance(estimator, FrozenEstimator):
        estimator = estimator.estimator
    return estimator


def _inner_estimator(estimator):
    if isinstance(estimator, Pipeline):
        last = estimator.steps[-1][1]
        if last is not None and not isinstance(last, str):
            return last
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
        f"DeepPartitionAggregation({name}(...)), or make the ensemble the last step of the "
        "pipeline."
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


def _warn_of_fitted_steps(pipeline, threat):
    flips_only = threat == "label_flip"
    names = [
        f"{name!r} ({type(part).__name__})"
        for step_name, step in _steps_before_last(pipeline)
        for name, part in _leaves(step_name, step)
        if _learns_from_rows(part) and (not flips_only or _learns_from_labels(part))
    ]
    if not names:
        return
    learned = "the labels of all training rows" if flips_only else "all training rows"
    warnings.warn(
        f"The certificate for threat={threat!r} is void: the pipeline fits {', '.join(names)} on "
        f"{learned} before the ensemble, so one poisoned row can change every member. Put the "
        "step inside the base estimator, DeepPartitionAggregation(make_pipeline(step, clf)); or "
        "fit it on rows the attacker cannot touch and pass FrozenEstimator(step).",
        CertificateWarning,
        stacklevel=4,
    )


def _warn_of_search(search, threat):
    n_candidates = len(getattr(search, "cv_results_", {}).get("params", ()))
    if n_candidates == 1:
        return  # nothing was chosen
    warnings.warn(
        f"The certificate for threat={threat!r} is void: {type(search).__name__} chose the "
        f"parameters among {n_candidates or 'several'} settings by their scores on the training "
        "rows, so one poisoned row can change the choice and with it every member. Choose the "
        "parameters on rows the attacker cannot touch, then fit the ensemble with them; or put "
        "the search inside the base estimator.",
        CertificateWarning,
        stacklevel=4,
    )
