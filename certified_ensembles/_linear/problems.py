"""Rows of several members in one stack: what the batched solvers of linear heads share.

A batch may not show in its members (an attacker decides who shares it). So every matrix of a
stack goes through BLAS and LAPACK by itself, in a shape that its member's own rows give it, and
sums run along one member's own axes.
"""

import functools

import numpy as np

# Stacks are cut to the size of a core's cache: a larger one is read from memory at every step.
_STACK_BYTES = 1 << 20
# Rows are padded with zeros to a multiple of this, so that members of similar sizes share a
# stack.
_ROWS = 4


class Task:
    """One head, its rows in double precision, and its labels as indices of its own classes."""

    def __init__(self, head, X, y, classes, codes):
        self.head, self.y, self.classes, self.codes = head, y, classes, codes
        self.X = X.astype(np.float64, copy=False)

    @classmethod
    def of(cls, head, X, y):
        """Return the task, or None for rows that only scikit-learn can take (or refuse)."""
        table = isinstance(X, np.ndarray) and X.ndim == 2 and X.dtype.kind in "biuf"
        if not table or 0 in X.shape:
            return None
        classes, codes = _coded(y)
        return cls(head, X, y, classes, codes) if len(classes) > 1 else None

    @property
    def n_outputs(self):
        """Rows of coefficients: one a class, but one for two classes."""
        return 1 if len(self.classes) == 2 else len(self.classes)

    @property
    def wide(self):
        """Whether there are fewer rows than features."""
        return self.X.shape[0] < self.X.shape[1]

    @property
    def n_padded(self):
        """The number of rows in a stack: a function of their own number alone."""
        return -(-len(self.X) // _ROWS) * _ROWS

    @functools.cached_property
    def squares(self):
        """The sum of the squares of all numbers; NaN or infinite if one of them is."""
        return np.vdot(self.X, self.X)

    @property
    def largest(self):
        """The largest absolute value; NaN if there is one."""
        return max(self.X.max(), -self.X.min())

    def fit_alone(self):
        """Let scikit-learn fit this head."""
        self.head.fit(self.X, self.y)


def _coded(y):
    """Return what ``np.unique(y, return_inverse=True)`` does, for a few labels sooner."""
    order = y.argsort(kind="stable")
    y = y[order]
    first = np.empty(len(y), dtype=bool)
    first[0] = True
    np.not_equal(y[1:], y[:-1], out=first[1:])
    codes = np.empty(len(y), dtype=np.intp)
    codes[order] = first.cumsum() - 1
    return y[first], codes


def groups_of(tasks, shape):
    """Yield ``shape, tasks`` for all tasks that have the same ``shape(task)``."""
    groups = {}
    for task in tasks:
        groups.setdefault(shape(task), []).append(task)
    yield from groups.items()


def slices(n_tasks, task_bytes, most_bytes=_STACK_BYTES):
    """Cut a group into slices whose stacks stay small."""
    step = max(1, most_bytes // task_bytes)
    return [slice(start, start + step) for start in range(0, n_tasks, step)]


def row_stacks(group, centre):
    """Yield slices of a group, their rows in one stack, and the means taken from them.

    The memory of a stack is used again for the next: fresh memory costs more than to fill it.

    Parameters
    ----------
    group : list of Task
        All with the same ``n_padded`` and number of features.
    centre : bool
        Whether to take the mean of every feature away; else the means are zero.

    Yields
    ------
    tasks : list of Task
    X : ndarray of shape (n_tasks, n_padded, n_features)
        Padded with zeros. Holds until the next slice.
    mean : ndarray of shape (n_tasks, n_features)
    """
    n_padded, n_features = group[0].n_padded, group[0].X.shape[1]
    parts = slices(len(group), 8 * n_padded * n_features)
    stack = np.empty((len(group[parts[0]]), n_padded, n_features))
    for part in parts:
        tasks = group[part]
        mean = np.zeros((len(tasks), n_features))
        for task, own, own_mean in zip(tasks, stack, mean, strict=False):
            own_mean[:] = centre_rows(task.X, own, centre)
        yield tasks, stack[: len(tasks)], mean


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
