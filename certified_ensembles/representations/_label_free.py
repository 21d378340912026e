"""What comes before members or weights and must not see labels: its steps, and what they say."""

import contextlib
import re
import warnings
from dataclasses import replace
from functools import partial

import numpy as np
import scipy.sparse as sp
from sklearn.base import BaseEstimator, clone
from sklearn.compose import ColumnTransformer
from sklearn.feature_selection import SelectorMixin, VarianceThreshold
from sklearn.frozen import FrozenEstimator
from sklearn.pipeline import FeatureUnion, Pipeline
from sklearn.utils import get_tags

from .._certificate import CertificateWarning
from .._data.block_map import map_blocks
from .._data.canonical import order_rows
from .._data.containers import as_table
from .._data.training_rows import TrainingRows
from .._deterministic import draws_globally, may_draw, one_thread, parts_of, seeded
from .._spec import (
    FixedSteps,
    MemberSpec,
    cache_report,
    content_key,
    maps_rows_apart,
    recipe_of,
    store_of,
)
from ..hashers import ContentHasher


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


def _supervised_message(step):
    return (
        f"The step {step!r} learns from labels, so that a flipped label may change every weight "
        "behind it. Replace it by an unsupervised one (PCA, TruncatedSVD, VarianceThreshold, "
        'LaplacianEigenmap), or use certificate="monte_carlo" with the pipeline as estimator.'
    )


def _learn(step, rows, row_of_copy, seed, n_jobs):
    """Fit one unsupervised step, without labels, and apply it.

    Parameters
    ----------
    step : transformer
        Unfitted.
    rows : Table
        The different training rows, in canonical order.
    row_of_copy : ndarray of shape (n_train,)
        Index into `rows` of every training row.
    seed, n_jobs : int

    Returns
    -------
    step : transformer
        Fitted on all rows.
    view : View
        The form in which it got them.
    features : Table
        Of the different rows.
    """
    spec = replace(MemberSpec.of(step), seeds_global_rng=may_draw(step))
    view = spec.view(rows)
    if isinstance(step, FrozenEstimator) or maps_rows_apart(step):
        return step, view, _apply(step, view, rows, n_jobs)
    copies = view.hand_out(rows.take(row_of_copy))
    try:
        # A net is the one step worth many threads.
        with contextlib.nullcontext() if spec.float32 else one_thread():
            step = spec.fit(step, copies, seed=seed).value
    except (TypeError, ValueError) as error:
        if re.search(r"\by\b", str(error)):
            raise ValueError(_supervised_message(step)) from error
        raise
    del copies
    return step, view, _apply(step, view, rows, n_jobs)


def _learn_or_recall(store, step, rows, row_of_copy, seed, n_jobs):
    """Return what `_learn` does, from the cache if it is there."""
    learn = partial(_learn, step, rows, row_of_copy, seed, n_jobs)
    # What learns nothing is cheaper to run again than to keep.
    if store is None or not get_tags(step).requires_fit:
        return learn()
    recipe, has_own_code = recipe_of(step)
    key = content_key(recipe, rows, row_of_copy, seed)
    with cache_report() as report:
        learned = store.recall(f"_learn/{key}", learn, by_value=has_own_code)
        report.note(learned, "representation step")
    return learned.value


def _apply(step, view, X, n_jobs):
    """Transform rows in blocks of one shape, so that a row's features depend on it alone."""
    if maps_rows_apart(step):  # whatever the rows beside it
        return FixedSteps([("step", step)]).features_of_table(X)
    transform = seeded(step.transform, 0, draws_globally(step))
    parts = list(map_blocks(transform, X, view, n_jobs=n_jobs))
    if sp.issparse(parts[0]):
        return as_table(sp.vstack(parts, format="csr"))
    return as_table(np.concatenate([np.asarray(part) for part in parts]))


class LabelFreeFeatures:
    """Unsupervised steps, fitted once on the rows in canonical order and on nothing else.

    Parameters
    ----------
    steps : list of transformer
        Unfitted.
    random_state : int or None
        If an int, every nested `random_state` is set to it.
    n_jobs, memory
        As in the estimators.

    Attributes
    ----------
    order : ndarray of shape (n_train,)
        Canonical order of the training rows.
    row_of_copy : ndarray of shape (n_train,)
        For every training row in canonical order, the index of its features among the
        different rows.
    """

    def __init__(
        self, steps, *, random_state=None, n_jobs=None, memory=None, refuse=_supervised_message
    ):
        for step in steps:
            check_label_free(step, refuse)
        self.steps = steps
        self.random_state, self.n_jobs, self.memory = random_state, n_jobs, memory

    def fit_transform(self, X):
        """Fit the steps; return the features of the different training rows, in order."""
        X = as_table(X)
        self.order, all_differ = order_rows(X)
        first = np.ones(len(self.order), dtype=bool)
        if not all_differ:
            # Two rows that collide, once in 2**63 pairs, would share features: no label is
            # involved.
            digest = ContentHasher()(X)[self.order]
            first[1:] = digest[1:] != digest[:-1]
        self.row_of_copy = np.cumsum(first) - 1
        rows = X.take(self.order[first])
        store, seed = store_of(self.memory), self.random_state or 0
        self.fitted, self._views = [], []
        with cache_report():
            for step in map(self.clone, self.steps):
                step, view, rows = _learn_or_recall(
                    store, step, rows, self.row_of_copy, seed, self.n_jobs
                )
                self.fitted.append(step)
                self._views.append(view)
        return rows

    def fit_rows(self, X):
        """Fit the steps; return the training rows as members take them, in their features."""
        X = as_table(X)
        different = self.fit_transform(X)
        index = np.empty(len(self.order), dtype=np.int64)
        index[self.order] = self.row_of_copy
        return TrainingRows(None if self.steps else X, different, index)

    def clone(self, estimator):
        """Return a clone with our seeds."""
        if self.random_state is None:
            return clone(estimator)
        return next(iter(MemberSpec.of(estimator).clones([self.random_state])))

    def arrange(self, codes):
        """Put labels in canonical order, those of copies of one row sorted."""
        codes = codes[self.order]
        return codes[np.lexsort((codes, self.row_of_copy))]

    def transform(self, X):
        """Return the features of any rows; those of a row depend on that row alone."""
        if not self.fitted:
            return X
        X = as_table(X)
        for step, view in zip(self.fitted, self._views, strict=True):
            X = _apply(step, view, X, self.n_jobs)
        return X
