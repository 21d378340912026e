"""The same training data in other forms, orders and types."""

import numpy as np
from sklearn.base import clone

from .._certificate import find_ensemble
from .._data.containers import n_rows
from .._data.forms import other_forms, other_types, rows_at
from ..hashers import ContentHasher
from ._words import as_list


def _as_is(audit):
    yield "fit again on the same data", (audit.X, audit.y, audit.groups, None)


def _reordered(audit):
    order = audit.rng.permutation(n_rows(audit.X))
    groups = None if audit.groups is None else audit.groups[order]
    data = rows_at(audit.X, order), audit.y[order], groups, order
    yield f"rows in the order {as_list(order)}", data


def _other_storage(audit):
    for words, X in other_forms(audit.X, audit.rng):
        yield f"X {words}", (X, audit.y, audit.groups, None)


def _other_types(audit):
    for words, X in types_of(audit, audit.X):
        yield f"X {words}", (X, audit.y, audit.groups, None)


def types_of(audit, X):
    """Yield (words, X in other types) as far as the estimator promises to see no difference."""
    ensemble = find_ensemble(audit.fitted)
    hasher = getattr(ensemble, "hasher", None)
    if audit.prefix or (callable(hasher) and not isinstance(hasher, ContentHasher)):
        return  # Nobody knows what types a step or a hasher of the user's own takes.
    from_dtype = getattr(ensemble, "categorical_features", None)
    values = not (isinstance(from_dtype, str) and from_dtype == "from_dtype")
    yield from other_types(X, audit.rng, categories_are_values=values)


def _other_labels(audit):
    if audit.y.dtype.kind == "U":
        yield "y in a wider string type", (audit.X, audit.y.astype("U50"), audit.groups, None)
    if audit.y.dtype.kind in "iu":
        other = np.int32 if audit.y.dtype == np.int64 else np.int64
        yield f"y as {other.__name__}", (audit.X, audit.y.astype(other), audit.groups, None)
    if audit.question:  # numbers
        yield "y as objects", (audit.X, audit.y.astype(object), audit.groups, None)


def _other_n_jobs(audit):
    estimator = audit.with_params(audit.estimator, n_jobs=2)
    if estimator.get_params().get(audit.prefix + "n_jobs") == 2:
        yield "n_jobs=2", (audit.X, audit.y, audit.groups, None, estimator)


def _other_threads(audit):
    """Ask estimators inside for two threads, by whatever name they call it."""
    names = [
        name
        for name in audit.estimator.get_params()
        if name.removeprefix(audit.prefix) != "n_jobs"
        and name.rpartition("__")[2] in ("n_jobs", "nthread", "num_threads", "thread_count")
    ]
    if names:
        estimator = clone(audit.estimator).set_params(**dict.fromkeys(names, 2))
        words = f"{', '.join(names)} = 2"
        yield words, (audit.X, audit.y, audit.groups, None, estimator)


# A form of the same data is a function that yields words and (X, y, groups, order, estimator),
# the last two None where they are as before.
SAME_DATA = {
    "refit as is": _as_is,
    "rows reordered": _reordered,
    "other storage": _other_storage,
    "other types": _other_types,
    "other storage of labels": _other_labels,
    "other n_jobs": _other_n_jobs,
    "other threads inside": _other_threads,
}
