"""The rows of several members in one stack: what the batched solvers of linear members share.

A batch may not show in its members (an attacker decides who shares it). So every matrix of a
stack goes through BLAS and LAPACK by itself, in a shape that its member's own rows give it, and
sums run along one member's own axes.
"""

import functools

import numpy as np

from .._member_warnings import in_name_of

# Stacks are cut to the size of a core's cache: a larger one is read from memory at every step.
_STACK_BYTES = 1 << 20
# Rows are padded with zeros to a multiple of this, so that members of similar sizes share a
# stack.
_ROWS = 4


class LinearProblem:
    """What one linear member is trained on.

    Parameters
    ----------
    member : estimator
        The unfitted clone, which a solver fits in place.
    X : ndarray of shape (n_rows, n_features)
        Its rows, of which double precision is kept.
    y : ndarray of shape (n_rows,)
    classes : ndarray of shape (n_classes,)
        The sorted labels of these rows.
    codes : ndarray of shape (n_rows,), int
        The labels as indices into `classes`.
    """

    def __init__(self, member, X, y, classes, codes):
        self.member, self.y, self.classes, self.codes = member, y, classes, codes
        self.X = X.astype(np.float64, copy=False)

    @classmethod
    def of(cls, member, X, y):
        """Return the problem, or None for rows that only scikit-learn can take (or refuse)."""
        if not _are_finite_numbers(X):
            return None
        classes, codes = _encode(y)
        return cls(member, X, y, classes, codes) if len(classes) > 1 else None

    @property
    def n_outputs(self):
        """Rows of coefficients: one a class, but one for two classes."""
        return 1 if len(self.classes) == 2 else len(self.classes)

    @property
    def targets(self):
        """What least squares fits, of shape (n_rows, n_outputs): 1 for its class, else -1."""
        codes = np.arange(len(self.classes)) if len(self.classes) > 2 else 1
        return np.where(self.codes[:, None] == codes, 1.0, -1.0)

    @property
    def wide(self):
        """Whether there are fewer rows than features."""
        return self.X.shape[0] < self.X.shape[1]

    @property
    def n_padded(self):
        """The number of rows in a stack: a function of their own number alone."""
        return -(-len(self.X) // _ROWS) * _ROWS

    @functools.cached_property
    def sum_of_squares(self):
        """The sum of the squares of all numbers; NaN or infinite if one of them is."""
        return np.vdot(self.X, self.X)

    @property
    def largest(self):
        """The largest absolute value; NaN if there is one."""
        return max(self.X.max(), -self.X.min())

    def class_means(self):
        """Return the mean of each class, (n_classes, n_features), and the number of its rows."""
        counts = np.bincount(self.codes).astype(np.float64)
        indicator = (self.codes == np.arange(len(counts))[:, None]).astype(np.float64)
        return indicator @ self.X / counts[:, None], counts

    def fit_alone(self):
        """Let scikit-learn fit this member."""
        with in_name_of(id(self.member)):
            self.member.fit(self.X, self.y)


class RegressionProblem(LinearProblem):
    """What one linear regressor is trained on.

    Parameters
    ----------
    member, X : as in `LinearProblem`
    y : ndarray of shape (n_rows,), float
        Targets.
    """

    n_outputs = 1

    def __init__(self, member, X, y):
        super().__init__(member, X, y, None, None)

    @classmethod
    def of(cls, member, X, y):
        """Return the problem, or None for rows that only scikit-learn can take (or refuse)."""
        return cls(member, X, y) if _are_finite_numbers(X) else None

    @property
    def targets(self):
        """What least squares fits, of shape (n_rows, 1)."""
        return self.y.astype(np.float64)[:, None]


def _are_finite_numbers(X):
    is_numeric = isinstance(X, np.ndarray) and X.ndim == 2 and X.dtype.kind in "biuf"
    if not is_numeric or 0 in X.shape:
        return False
    with np.errstate(over="ignore", invalid="ignore"):
        # A sum costs less than a look at each number, and one of squares less than a plain one;
        # finite ones may overflow.
        double = X.dtype == np.float64 and X.flags.c_contiguous
        suspicious = not np.isfinite(np.vdot(X, X) if double else X.sum(dtype=np.float64))
    return not suspicious or bool(np.isfinite(X).all())


def _encode(y):
    """Return what ``np.unique(y, return_inverse=True)`` does, for a few labels sooner."""
    order = y.argsort(kind="stable")
    y = y[order]
    is_first = np.empty(len(y), dtype=bool)
    is_first[0] = True
    np.not_equal(y[1:], y[:-1], out=is_first[1:])
    codes = np.empty(len(y), dtype=np.intp)
    codes[order] = is_first.cumsum() - 1
    return y[is_first], codes


def groups_of(problems, shape):
    """Yield ``shape, problems`` for all problems that have the same ``shape(problem)``."""
    groups = {}
    for problem in problems:
        groups.setdefault(shape(problem), []).append(problem)
    yield from groups.items()


def slices(n_problems, problem_bytes, most_bytes=_STACK_BYTES):
    """Cut a group into slices whose stacks stay small."""
    step = max(1, most_bytes // problem_bytes)
    return [slice(start, start + step) for start in range(0, n_problems, step)]


def row_stacks(group, centre):
    """Yield slices of a group, their rows in one stack, and the means taken from them.

    The memory of a stack is used again for the next: fresh memory costs more than to fill it.

    Parameters
    ----------
    group : list of LinearProblem
        All with the same ``n_padded`` and number of features.
    centre : bool
        Whether to take the mean of every feature away; else the means are zero.

    Yields
    ------
    problems : list of LinearProblem
    X : ndarray of shape (n_problems, n_padded, n_features)
        Padded with zeros. Holds until the next slice.
    mean : ndarray of shape (n_problems, n_features)
    """
    n_padded, n_features = group[0].n_padded, group[0].X.shape[1]
    parts = slices(len(group), 8 * n_padded * n_features)
    stack = np.empty((len(group[parts[0]]), n_padded, n_features))
    for part in parts:
        problems = group[part]
        means = np.zeros((len(problems), n_features))
        for problem, rows, mean in zip(problems, stack, means, strict=False):
            mean[:] = centre_rows(problem.X, rows, centre)
        yield problems, stack[: len(problems)], means


def centre_rows(X, out, centre):
    """Write rows less their mean, and zeros below them, into an array; return the mean."""
    n = len(X)
    out[n:] = 0.0
    if not centre:
        out[:n] = X
        return np.zeros(X.shape[1])
    mean = np.add.reduce(X, axis=0) / n
    np.subtract(X, mean, out=out[:n])
    return mean
