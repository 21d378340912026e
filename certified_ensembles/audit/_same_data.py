"""The same training data in other forms, and what the audit says about values."""

import sys

import numpy as np
import scipy.sparse as sp

from .._data.containers import is_frame, is_text, n_rows, take


def plain(value):
    return value.item() if isinstance(value, np.generic) else value


def as_change(old, new):
    return f"{plain(old)!r} to {plain(new)!r}"


def as_list(values):
    values = [str(plain(value)) for value in values]
    return "[" + ", ".join(values[:12]) + (f", ... {len(values)} in all]" if values[12:] else "]")


def stack_rows(A, B):
    if sp.issparse(A):
        return sp.vstack([A, B], format="csr")
    if hasattr(A, "iloc"):
        return sys.modules["pandas"].concat([A, B], ignore_index=True)
    if is_frame(A):
        return sys.modules["polars"].concat([A, B], how="vertical_relaxed")
    if isinstance(A, list | tuple):
        return [*A, *B]
    return np.concatenate([A, B])


# ---------------------------------------------------------------- the same data in other forms


def other_forms(X, rng):
    """Yield (words, X with the same values otherwise stored)."""
    if sp.issparse(X):
        yield "as CSR with unsorted indices and explicit zeros", _untidy(X.tocsr(), rng)
        yield "as CSC", X.tocsc()
        for words, data in _other_dtypes(X.tocsr().data):
            other = X.tocsr().copy()
            other.data = data
            yield words, other
    elif hasattr(X, "iloc"):
        other = X.copy()
        other.index = rng.permutation(len(X))
        yield "with a shuffled index", other
    elif is_text(X):
        yield "as an array of objects", np.array(list(X), dtype=object)
    elif isinstance(X, np.ndarray):
        yield "in Fortran order", np.asfortranarray(X)
        gaps = np.zeros((2 * X.shape[0], *X.shape[1:-1], 2 * X.shape[-1]), dtype=X.dtype)
        gaps[::2, ..., ::2] = X
        yield "as a view with gaps", gaps[::2, ..., ::2]
        if X.dtype.kind in "iuf":
            yield "in swapped byte order", X.astype(X.dtype.newbyteorder())
            yield from _other_dtypes(X)


def _other_dtypes(X):
    """Yield X in other dtypes that hold all its values exactly."""
    if X.dtype.kind not in "iuf" or not np.isfinite(X).all():
        return
    for dtype in ("float64", "float32", "int64"):
        if X.dtype != dtype and not (dtype == "int64" and X.dtype.kind == "f"):
            with np.errstate(all="ignore"):
                other = X.astype(dtype)
            if np.array_equal(other.astype(X.dtype), X):
                yield f"as {dtype}", other


def _untidy(X, rng):
    """Return a CSR matrix in a form as far from canonical as allowed."""
    indptr, indices, data = [0], [], []
    for start, stop in zip(X.indptr[:-1], X.indptr[1:], strict=True):
        own, values = X.indices[start:stop], X.data[start:stop]
        absent = np.setdiff1d(np.arange(X.shape[1]), own)[:1]
        own = np.concatenate([own, absent])
        values = np.concatenate([values, np.zeros(len(absent), dtype=X.dtype)])
        order = rng.permutation(len(own))
        indices.append(own[order])
        data.append(values[order])
        indptr.append(indptr[-1] + len(own))
    return type(X)((np.concatenate(data), np.concatenate(indices), indptr), shape=X.shape)


def _as_is(a):
    yield "fit again on the same data", (a.X, a.y, a.groups, None)


def _reordered(a):
    order = a.rng.permutation(n_rows(a.X))
    groups = None if a.groups is None else a.groups[order]
    yield f"rows in the order {as_list(order)}", (take(a.X, order), a.y[order], groups, order)


def _other_storage(a):
    for words, X in other_forms(a.X, a.rng):
        yield f"X {words}", (X, a.y, a.groups, None)


def _other_labels(a):
    if a.y.dtype.kind == "U":
        yield "y in a wider string type", (a.X, a.y.astype("U50"), a.groups, None)
    if a.y.dtype.kind in "iu":
        other = np.int32 if a.y.dtype == np.int64 else np.int64
        yield f"y as {other.__name__}", (a.X, a.y.astype(other), a.groups, None)


def _other_n_jobs(a):
    estimator = a.with_params(a.estimator, n_jobs=2)
    if estimator.get_params().get(a.prefix + "n_jobs") == 2:
        yield "n_jobs=2", (a.X, a.y, a.groups, None, estimator)


# Forms of the same data: a function yields (words, (X, y, groups, order, estimator or none)).
SAME_DATA = {
    "refit as is": _as_is,
    "rows reordered": _reordered,
    "other storage": _other_storage,
    "other storage of labels": _other_labels,
    "other n_jobs": _other_n_jobs,
}
