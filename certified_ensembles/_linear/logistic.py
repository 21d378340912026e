"""Logistic regressions of many members by Newton's method, in batches."""

import numpy as np
from sklearn.linear_model import LogisticRegression

from .newton import Features, Rows, Sigmoid, Softmax, minimise
from .problems import centre_rows, groups_of, slices

# Newton's steps before scikit-learn's own solver takes over: about six are needed.
_MOST_STEPS = 60
# Products of rows with larger squares do not add up in double precision.
_LARGEST = 1e60
# Single precision does for the directions of steps where numbers are moderate, the penalty is not
# all but gone beside them, and the end need not be met to many digits.
_MODERATE, _LEAST_TOL = 1e6, 1e-6
# With more rows and more features than this (fewer where all coordinates are to be made
# independent), or more numbers, scikit-learn is as quick.
_MOST_ROWS, _MOST_COORDINATES, _MOST_NUMBERS = 1400, 700, 1 << 22
# Sums of squares below this share of the largest are rounding: rows that repeat each other.
_NONE = 1e-14
_ROUNDING = 1e-12
# Classes are padded to a multiple of this, so that members with a few less share a stack.
_CLASSES = 2
_STACK_BYTES = 1 << 23
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
    for (wide, n, d, k, *_), group in groups_of(small, _shape):
        state = 2 * n * min(n, d) + 12 * n * k if wide else 3 * n * d + 12 * n * k
        for part in slices(len(group), 8 * state, _STACK_BYTES):
            _fit_stack(group[part])
    for task in tasks:
        if not hasattr(task.head, "coef_"):
            task.fit_alone()


def _is_small(task):
    if not (task.squares < _LARGEST and task.X.size <= _MOST_NUMBERS):
        return False
    _, by_rows = _precision(task)
    return min(task.X.shape) <= (_MOST_ROWS if by_rows else _MOST_COORDINATES)


def _shape(task):
    n = task.n_outputs
    padded = n if n == 1 else -(-n // _CLASSES) * _CLASSES
    return task.wide, task.n_padded, task.X.shape[1], padded, *_precision(task)


def _precision(task):
    """Return the type in which directions are found, and whether weights are those of rows."""
    C = task.head.C
    size = task.squares if task.wide else max(1.0, task.largest) ** 2
    moderate = 1 / _MODERATE < C and C * size < _MODERATE and task.head.tol >= _LEAST_TOL
    return (np.float32, task.wide) if moderate else (np.float64, False)


def _fit_stack(group):
    head = group[0].head
    wide, n_padded, n_features, n_outputs, rough, by_rows = _shape(group[0])
    size = n_padded if wide else n_features
    space, scatter = np.zeros((len(group), n_padded, size)), np.zeros((len(group), size))
    n_rows, offset = np.empty(len(group)), np.empty(len(group))
    centred = np.empty((n_padded, n_features))  # fresh memory costs more than to fill it
    ways = []
    for i, task in enumerate(group):
        if by_rows:
            squares, mean, back = *_products(task.X, head.fit_intercept, space[i]), None
        else:
            mean = centre_rows(task.X, centred, head.fit_intercept)
            own, squares, back = _uncorrelate(centred[: len(task.X)], wide)
            space[i, : len(own), : own.shape[1]] = own
        scatter[i, : len(squares)] = squares
        n_rows[i], offset[i] = len(task.X), np.abs(mean).max()
        ways.append((back, mean))
    weights, bias, error, n_iter, converged = minimise(
        Rows(space) if by_rows else Features(space, scatter), _loss(group, n_padded, n_outputs),
        1 / head.C, n_rows, offset, intercept=head.fit_intercept, tol=head.tol,
        max_iter=min(head.max_iter, _MOST_STEPS), rough=rough,
    )  # fmt: skip
    # What rounding, and the dropped coordinates, may hide of the gradient.
    hidden = np.sqrt(_NONE * scatter.sum(axis=1) * n_rows)
    for i, (task, (back, mean)) in enumerate(zip(group, ways, strict=True)):
        coef = weights[i, :, : len(task.X)] if by_rows else weights[i, :, : len(back)] @ back
        if wide:  # from weights of centred rows to weights of features
            coef = coef @ task.X - np.outer(coef.sum(axis=1), mean)
        good = converged[i] and np.isfinite(coef).all()
        if good and hidden[i] > head.tol * n_rows[i]:
            own_error = error[i, :, : len(task.X)]
            good = _is_minimum(coef, own_error, task.X - mean, head.tol * n_rows[i], head.C)
        if good:
            _note(task, coef, bias[i] - coef @ mean, n_iter[i])


def _products(X, centre, out):
    """Write the products of rows less their mean; return their sums of squares, and the mean.

    The mean is taken from the products. Rounding is to the size of those as they were, which
    moderate rows bear; so are the squares.
    """
    K = out[: len(X), : len(X)]
    np.matmul(X, X.T, out=K)
    squares = K.diagonal().copy()
    if not centre:
        return squares, np.zeros(X.shape[1])
    own = K.mean(axis=0)
    K -= own
    K -= own[:, None]
    K += own.mean()
    return squares, np.add.reduce(X, axis=0) / len(X)


def _uncorrelate(X, wide):
    """Return rows in coordinates without correlation, their sums of squares, and the way back.

    The coordinates are at most as many as there are rows or features. The way back leads to
    weights of the rows if there are fewer rows than features, else of features.
    """
    try:
        scatter, basis = np.linalg.eigh(X @ X.T if wide else X.T @ X)
    except np.linalg.LinAlgError:
        scatter, basis = np.full(min(X.shape), np.nan), np.full([min(X.shape)] * 2, np.nan)
    if not wide:
        return X @ basis, np.maximum(scatter, 0), basis.T
    scatter = np.where(scatter > _NONE * scatter[-1], scatter, 0)
    root = np.sqrt(scatter)
    back = np.divide(basis, root, out=np.zeros_like(basis), where=root > 0)
    return basis * root, scatter, back.T


def _is_minimum(coef, error, rows, most, C):
    """Say whether the gradient by features is as small as it has to be, or can be."""
    gradient = np.abs(error @ rows + coef / C)
    return (gradient <= most + _ROUNDING * (np.abs(error) @ np.abs(rows) + np.abs(coef) / C)).all()


def _loss(group, n_padded, n_outputs):
    shape = len(group), n_outputs, n_padded
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
