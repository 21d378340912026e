"""Logistic regressions of many members by Newton's method, in batches."""

import numpy as np
from sklearn.linear_model import LogisticRegression

from ._head_tasks import groups_of, slices, stack_rows
from ._newton import Sigmoid, Softmax, minimise

# Newton's steps before scikit-learn's own solver takes over: about six are needed.
_MOST_STEPS = 60
# Squares of larger numbers do not add up in double precision.
_LARGEST = 1e30
# With more rows and more features than this, or more numbers, scikit-learn is as quick.
_MOST_COORDINATES, _MOST_NUMBERS = 400, 1 << 22
# Sums of squares below this share of the largest are rounding: rows that repeat each other.
_NONE = 1e-14
_ROUNDING = 1e-12
# Classes are padded to a multiple of this, so that members with a few less share a stack.
_CLASSES = 4
_STACK_BYTES = 1 << 21
_FREE = {"C", "tol", "fit_intercept", "max_iter", "random_state"}


def is_plain_logistic(estimator):
    """Say whether `fit_logistics` minimises what the estimator's own fit would."""
    given, default = vars(estimator), vars(LogisticRegression())
    return (
        all(type(given[name]) is type(value) and given[name] == value
            for name, value in default.items() if name not in _FREE)
        and estimator.C < np.inf and estimator.tol < np.inf
    )  # fmt: skip


def fit_logistics(tasks):
    """Fit logistic regressions; scikit-learn takes large ones and those that do not converge."""
    small = [task for task in tasks if _is_small(task)]
    for (wide, n, d, k), group in groups_of(small, _shape):
        state = 2 * n * min(n, d) + 12 * n * k if wide else 3 * n * d + 12 * n * k
        for part in slices(len(group), 8 * state, _STACK_BYTES):
            _fit_stack(group[part])
    for task in tasks:
        if not hasattr(task.head, "coef_"):
            task.fit_alone()


def _is_small(task):
    small = min(task.X.shape) <= _MOST_COORDINATES and task.X.size <= _MOST_NUMBERS
    return small and task.largest < _LARGEST


def _shape(task):
    n = task.n_outputs
    padded = n if n == 1 else -(-n // _CLASSES) * _CLASSES
    return task.wide, task.n_padded, task.X.shape[1], padded


def _fit_stack(group):
    head = group[0].head
    # Rows are centred twice, slice by slice: quicker than to keep and reread them.
    parts = slices(len(group), 8 * group[0].n_padded * group[0].X.shape[1])
    uncorrelate = _uncorrelate_wide if group[0].wide else _uncorrelate_tall
    X, scatter, back, mean = (
        np.concatenate(arrays)
        for arrays in zip(*(uncorrelate(group[part]) for part in parts), strict=True)
    )
    loss, n_rows = _loss(group), np.array([len(task.X) for task in group], dtype=float)
    weights, bias, error, n_iter, converged = minimise(
        X, scatter, loss, 1 / head.C, n_rows, np.abs(mean).max(axis=1),
        intercept=head.fit_intercept, tol=head.tol, max_iter=min(head.max_iter, _MOST_STEPS),
    )  # fmt: skip
    weights = weights @ back
    for part in parts:
        own = group[part]
        rows, _ = stack_rows(own, head.fit_intercept)
        coef = weights[part] @ rows if own[0].wide else weights[part]
        b = bias[part] - (coef @ mean[part][:, :, None])[:, :, 0]
        # What the dropped coordinates may add to the gradient.
        hidden = np.sqrt(_NONE * scatter[part].max(axis=1) * n_rows[part])
        for i, task in enumerate(own):
            good = converged[part][i] and np.isfinite(coef[i]).all()
            if good and hidden[i] > head.tol * n_rows[part][i]:
                good = _is_minimum(
                    coef[i], error[part][i], rows[i], head.tol * len(task.X), head.C
                )
            if good:
                _note(task, coef[i], b[i], n_iter[part][i])


def _uncorrelate_wide(group):
    """Return rows in coordinates, their sums of squares, the way back to rows, and means."""
    X, mean = stack_rows(group, group[0].head.fit_intercept)
    scatter, U = _eigen(X @ X.transpose(0, 2, 1))
    root = np.sqrt(np.where(scatter > _NONE * scatter[:, -1:], scatter, 0))[:, None, :]
    back = np.divide(U, root, out=np.zeros_like(U), where=root > 0)
    return U * root, root[:, 0] ** 2, back.transpose(0, 2, 1), mean


def _uncorrelate_tall(group):
    """Return the same with the way back to features."""
    X, mean = stack_rows(group, group[0].head.fit_intercept)
    scatter, V = _eigen(X.transpose(0, 2, 1) @ X)
    return X @ V, np.maximum(scatter, 0), V.transpose(0, 2, 1), mean


def _eigen(products):
    try:
        return np.linalg.eigh(products)
    except np.linalg.LinAlgError:  # one of them: find out which
        if len(products) > 1:
            values, vectors = zip(*(_eigen(one[None]) for one in products), strict=True)
            return np.concatenate(values), np.concatenate(vectors)
        return np.full(products.shape[:2], np.nan), np.full_like(products, np.nan)


def _is_minimum(coef, error, rows, most, C):
    """Say whether the gradient by features is as small as it has to be, or can be."""
    gradient = np.abs(error @ rows + coef / C)
    return (gradient <= most + _ROUNDING * (np.abs(error) @ np.abs(rows) + np.abs(coef) / C)).all()


def _loss(group):
    shape = len(group), _shape(group[0])[-1], group[0].n_padded
    Y, classes, rows = np.zeros(shape), np.zeros(shape[:2]), np.zeros((shape[0], shape[2]))
    for i, task in enumerate(group):
        n = len(task.X)
        rows[i, :n] = 1.0
        if shape[1] == 1:
            Y[i, 0, :n] = task.codes
        else:
            Y[i, task.codes, np.arange(n)] = 1.0
            classes[i, : len(task.classes)] = 1.0
    return Sigmoid(Y, rows) if shape[1] == 1 else Softmax(Y, classes, rows)


def _note(task, coef, intercept, n_iter):
    head, n = task.head, task.n_outputs
    head.classes_, head.n_features_in_ = task.classes, task.X.shape[1]
    head.coef_ = coef[:n].copy()
    head.intercept_ = intercept[:n].copy() if head.fit_intercept else np.zeros(n)
    head.n_iter_ = np.array([n_iter], dtype=np.int32)
