"""Logistic regressions of many members by Newton's method, in batches."""

import numpy as np
from sklearn.linear_model import LogisticRegression

from .losses import Sigmoid, Softmax
from .newton import Features, Rows, minimise
from .problems import centre_rows, groups_of, slices
from .trainer import batched_fit

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
# The bytes that a stack of members takes at most while Newton's method runs.
_STACK_BYTES = 1 << 23
# Parameters that may have any value; all others must have scikit-learn's default.
_FREE = {"C", "tol", "fit_intercept", "max_iter", "n_jobs", "random_state"}


def supports(estimator):
    """Say whether :func:`fit_logistics` minimises what the estimator's own fit would."""
    given = vars(estimator)
    fixed = {k: v for k, v in vars(LogisticRegression()).items() if k not in _FREE}
    return (
        all(type(given[name]) is type(v) and given[name] == v for name, v in fixed.items())
        and estimator.C < np.inf
        and estimator.tol < np.inf
    )


@batched_fit(LogisticRegression, supports)
def fit_logistics(problems):
    """Fit logistic regressions; scikit-learn takes large ones and those that do not converge."""
    small = [problem for problem in problems if _is_small(problem)]
    for (wide, n, d, k, *_), group in groups_of(small, _shape):
        n_numbers = 2 * n * min(n, d) + 12 * n * k if wide else 3 * n * d + 12 * n * k
        for part in slices(len(group), 8 * n_numbers, _STACK_BYTES):
            _fit_stack(group[part])
    for problem in problems:
        if not hasattr(problem.member, "coef_"):
            problem.fit_alone()


def _is_small(problem):
    if not (problem.sum_of_squares < _LARGEST and problem.X.size <= _MOST_NUMBERS):
        return False
    _, by_rows = _precision(problem)
    return min(problem.X.shape) <= (_MOST_ROWS if by_rows else _MOST_COORDINATES)


def _shape(problem):
    n = problem.n_outputs
    padded = n if n == 1 else -(-n // _CLASSES) * _CLASSES
    return problem.wide, problem.n_padded, problem.X.shape[1], padded, *_precision(problem)


def _precision(problem):
    """Return the type in which directions are found, and whether weights are those of rows."""
    C = problem.member.C
    size = problem.sum_of_squares if problem.wide else max(1.0, problem.largest) ** 2
    is_moderate = 1 / _MODERATE < C and C * size < _MODERATE and problem.member.tol >= _LEAST_TOL
    return (np.float32, problem.wide) if is_moderate else (np.float64, False)


def _fit_stack(group):
    """Fit the members of a group that fill one stack; those that do not converge stay unfitted."""
    member = group[0].member
    _, n_padded, _, n_outputs, low_precision, _ = _shape(group[0])
    coordinates = _Coordinates(group)
    n_rows = np.array([len(problem.X) for problem in group], dtype=np.float64)
    weights, bias, error, n_iter, converged = minimise(
        coordinates.space,
        _log_loss(group, n_padded, n_outputs),
        1 / member.C,
        n_rows,
        coordinates.largest_mean,
        intercept=member.fit_intercept,
        tol=member.tol,
        max_iter=min(member.max_iter, _MOST_STEPS),
        low_precision=low_precision,
    )
    # What rounding, and the dropped coordinates, may hide of the gradient.
    hidden = np.sqrt(_NONE * coordinates.scatter.sum(axis=1) * n_rows)
    for i, problem in enumerate(group):
        coef, mean = coordinates.to_features(i, weights[i]), coordinates.means[i]
        is_fitted = converged[i] and np.isfinite(coef).all()
        if is_fitted and hidden[i] > member.tol * n_rows[i]:
            is_fitted = _is_minimum(
                coef,
                error[i, :, : len(problem.X)],
                problem.X - mean,
                member.tol * n_rows[i],
                member.C,
            )
        if is_fitted:
            _set_fitted_attributes(problem, coef, bias[i] - coef @ mean, n_iter[i])


class _Coordinates:
    """The rows of a group in the coordinates that Newton's method works in.

    Parameters
    ----------
    group : list of LinearProblem
        All of one :func:`_shape`.

    Attributes
    ----------
    space : Rows or Features
    scatter : ndarray of shape (n_members, n_coordinates)
        The sum of squares of each coordinate.
    largest_mean : ndarray of shape (n_members,)
        The largest absolute mean of a feature.
    means : list of ndarray of shape (n_features,)
    """

    def __init__(self, group):
        self._group, self._bases, self.means = group, [], []
        self._wide, n_padded, n_features, *_, self._by_rows = _shape(group[0])
        centre = group[0].member.fit_intercept
        size = n_padded if self._wide else n_features
        stack = np.zeros((len(group), n_padded, size))
        self.scatter, self.largest_mean = np.zeros((len(group), size)), np.empty(len(group))
        centred = np.empty((n_padded, n_features))  # fresh memory costs more than to fill it
        for i, problem in enumerate(group):
            basis = None
            if self._by_rows:
                squares, mean = _products(problem.X, centre, stack[i])
            else:
                mean = centre_rows(problem.X, centred, centre)
                rows, squares, basis = _uncorrelate(centred[: len(problem.X)], self._wide)
                stack[i, : len(rows), : rows.shape[1]] = rows
            self.scatter[i, : len(squares)] = squares
            self.largest_mean[i] = np.abs(mean).max()
            self._bases.append(basis)
            self.means.append(mean)
        self.space = Rows(stack) if self._by_rows else Features(stack, self.scatter)

    def to_features(self, i, weights):
        """Return the weights of features of one member from those of its coordinates."""
        X, basis = self._group[i].X, self._bases[i]
        coef = weights[:, : len(X)] if self._by_rows else weights[:, : len(basis)] @ basis
        if self._wide:  # from weights of centred rows to weights of features
            coef = coef @ X - np.outer(coef.sum(axis=1), self.means[i])
        return coef


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
    row_means = K.mean(axis=0)
    K -= row_means
    K -= row_means[:, None]
    K += row_means.mean()
    return squares, np.add.reduce(X, axis=0) / len(X)


def _uncorrelate(X, wide):
    """Return rows in coordinates without correlation.

    Parameters
    ----------
    X : ndarray of shape (n_rows, n_features)
    wide : bool
        Whether there are fewer rows than features.

    Returns
    -------
    rows : ndarray of shape (n_rows, n_coordinates)
        In as many coordinates as there are rows or features, whichever are fewer.
    squares : ndarray of shape (n_coordinates,)
        The sum of squares of each coordinate.
    basis : ndarray of shape (n_coordinates, n_rows or n_features)
        ``weights @ basis`` are the weights of the rows if there are fewer rows than features,
        else of the features.
    """
    try:
        scatter, basis = np.linalg.eigh(X @ X.T if wide else X.T @ X)
    except np.linalg.LinAlgError:
        scatter, basis = np.full(min(X.shape), np.nan), np.full([min(X.shape)] * 2, np.nan)
    if not wide:
        return X @ basis, np.maximum(scatter, 0), basis.T
    scatter = np.where(scatter > _NONE * scatter[-1], scatter, 0)
    root = np.sqrt(scatter)
    to_rows = np.divide(basis, root, out=np.zeros_like(basis), where=root > 0)
    return basis * root, scatter, to_rows.T


def _is_minimum(coef, error, rows, most, C):
    """Say whether the gradient by features is as small as it has to be, or can be."""
    gradient = np.abs(error @ rows + coef / C)
    return (gradient <= most + _ROUNDING * (np.abs(error) @ np.abs(rows) + np.abs(coef) / C)).all()


def _log_loss(group, n_padded, n_outputs):
    shape = len(group), n_outputs, n_padded
    Y, classes, rows = np.zeros(shape), np.zeros(shape[:2]), np.zeros((shape[0], shape[2]))
    for i, problem in enumerate(group):
        n = len(problem.X)
        rows[i, :n] = 1.0
        if shape[1] == 1:
            Y[i, 0, :n] = problem.codes
        else:
            Y[i, problem.codes, np.arange(n)] = 1.0
            classes[i, : len(problem.classes)] = 1.0
    return Sigmoid(Y, rows) if shape[1] == 1 else Softmax(Y, classes, rows)


def _set_fitted_attributes(problem, coef, intercept, n_iter):
    member, n = problem.member, problem.n_outputs
    member.classes_, member.n_features_in_ = problem.classes, problem.X.shape[1]
    member.coef_ = coef[:n].copy()
    member.intercept_ = intercept[:n].copy() if member.fit_intercept else np.zeros(n)
    member.n_iter_ = np.array([n_iter], dtype=np.int32)
