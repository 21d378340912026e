"""What comes before members or weights and must not see labels: its steps, and what they say."""

import warnings

from sklearn.base import BaseEstimator
from sklearn.compose import ColumnTransformer
from sklearn.feature_selection import SelectorMixin, VarianceThreshold
from sklearn.frozen import FrozenEstimator
from sklearn.pipeline import FeatureUnion, Pipeline
from sklearn.utils import get_tags

from ._certificate import CertificateWarning
from ._deterministic import parts_of


def _nested_steps(step):
    """Yield what is nested in pipelines, unions and column transformers, without placeholders."""
    if isinstance(step, Pipeline):
        parts = step.steps
    elif isinstance(step, FeatureUnion):
        parts = step.transformer_list
    elif isinstance(step, ColumnTransformer):
        parts = step.transformers
    else:
        if step is not None and not isinstance(step, str):
            yield step
        return
    for part in parts:
        yield from _nested_steps(part[1])


def check_label_free(representation, refuse):
    """Refuse steps that learn from labels, and warn of frozen ones that may have seen them.

    Parameters
    ----------
    representation : transformer
    refuse : callable
        ``refuse(step)`` returns the message for a step that needs labels.

    Raises
    ------
    ValueError
        If a step says that it needs labels, or cannot transform.

    Warns
    -----
    CertificateWarning
        If a frozen step is one that learns from labels, or holds one.
    """
    for step in _nested_steps(representation):
        if not hasattr(step, "transform"):
            raise ValueError(
                f"representation={step!r} has no transform: pass an unsupervised transformer, "
                "such as PCA or LaplacianEigenmap."
            )
        if not isinstance(step, FrozenEstimator):
            if get_tags(step).target_tags.required:
                raise ValueError(refuse(step))
        elif any(map(_may_have_seen_labels, parts_of(step.estimator))):
            warnings.warn(
                f"The certificate holds only if {step!r}, frozen in the representation, was "
                "fitted on labels that an attacker does not touch. If it has seen the training "
                "labels, use an unsupervised representation.",
                CertificateWarning,
                stacklevel=5,
            )


def _may_have_seen_labels(part):
    """Say whether something inside a frozen step is of a kind that is fitted with labels."""
    # A selector only says that it can do without them: by its variances, none other does.
    if isinstance(part, SelectorMixin):
        return not isinstance(part, VarianceThreshold)
    return isinstance(part, BaseEstimator) and get_tags(part).target_tags.required
