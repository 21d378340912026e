"""How far some training targets, each within known bounds, can move a linear smoother.

A linear smoother predicts ``sum_j a_j y_j`` with weights a_j that do not depend on the targets.
Whoever writes target j anew, anywhere within bounds, moves the prediction by a number that is
known beforehand, and such numbers add up: the r largest say how far r targets can move it.
"""

import numpy as np

from ._bounds import check_bound
from ._exact_sums import UNIT_ROUNDOFF
from ._group_selection import check_groups
from ._inputs import check_count, check_weights, float_block, row_blocks


def linear_smoother_interval(weights, y, n_changed, bounds, *, groups=None):
    """Return the bounds that a linear smoother keeps to, wherever some of its targets move.

    Parameters
    ----------
    weights : array-like of shape (n_samples, n_train)
        Weight of every training target at every test point. It must not depend on the targets.
    y : array-like of shape (n_train,)
        Training targets, finite numbers.
    n_changed : int
        How many targets may change; with `groups`, of how many groups.
    bounds : tuple of two numbers
        The smallest and the largest value that a changed target can take.
    groups : array-like of shape (n_train,), default=None
        Who wrote each target: integers or names. The owner of a group may change all of its
        targets. None: each target is a group of its own.

    Returns
    -------
    lower, upper : ndarrays of shape (n_samples,), float64
        Between them is ``weights @ y`` after any such change. Both are reached, up to rounding.

    Raises
    ------
    TypeError
        If `n_changed` is no integer.
    ValueError
        If `weights` is no real matrix with one column per target, if numbers are not finite, or
        too large to be added up, if the bounds are no two numbers in order, or if `groups` does
        not hold one group for each target.

    See Also
    --------
    linear_smoother_interval_radius : How many changes an interval allows.

    Notes
    -----
    *Theorem.* A change of target j to a value in ``[lo, hi]`` raises the prediction by at most
    ``max(a_j (hi - y_j), a_j (lo - y_j), 0)``, and can do so. Changes of different targets add up,
    so r of them raise it by at most the sum of the r largest, and can. A group raises it by the
    sum over its targets. The same holds downwards.

    *Rounding.* The bounds are rounded outwards, by less than ``16 (n + 8) u`` times the largest
    prediction that the weights allow, with n = n_train and u = 2**-53: they hold for the exact
    sum and for the sum as doubles give it, in whatever order. Where weights, targets and bounds
    are integers and sums stay below 2**53, nothing is rounded.

    References
    ----------
    .. [1] Meyer, Albarghouthi and D'Antoni, "The Dataset Multiplicity Problem: How Unreliable
       Data Impacts Predictions", FAccT 2023.

    Examples
    --------
    The mean of four targets, of which two may lie anywhere between 0 and 10:

    >>> from certified_ensembles.certificates import linear_smoother_interval
    >>> lower, upper = linear_smoother_interval([[0.25] * 4], [4, 4, 6, 6], 2, bounds=(0, 10))
    >>> lower.round(6).tolist(), upper.round(6).tolist()
    ([2.0], [8.0])
    """
    r = check_count(n_changed, "n_changed", "changed targets, or hostile groups of them")
    smoother = _MovableTargets(weights, y, bounds, groups)
    lower, upper = np.empty((2, len(smoother)))
    for rows, value, slack, gains, losses in smoother.blocks():
        slack = slack if r else 0.0  # nothing is changed: the very same sum
        lower[rows] = value - _largest(losses, r) - slack
        upper[rows] = value + _largest(gains, r) + slack
    return lower, upper


def linear_smoother_interval_radius(weights, y, lower, upper, bounds, *, groups=None):
    """Return how many targets may move until a linear smoother can leave given bounds.

    Parameters
    ----------
    weights, y, bounds, groups
        As in :func:`linear_smoother_interval`.
    lower, upper : float or array-like of shape (n_samples,)
        What the prediction shall not leave, both ends included; infinite where there is no bound.

    Returns
    -------
    radius : ndarray of shape (n_samples,), int64
        The largest number of targets (of groups) that may change without taking the prediction
        out; -1 where it is outside as it is. One more can, up to rounding, which lowers the
        radius and never raises it. At most the number of targets, or of groups.

    Raises
    ------
    ValueError
        As :func:`linear_smoother_interval`, or if a bound is NaN or has another shape.

    Examples
    --------
    >>> from certified_ensembles.certificates import linear_smoother_interval_radius
    >>> y, mean = [4, 4, 6, 6], [[0.25] * 4]
    >>> linear_smoother_interval_radius(mean, y, 2, 7, bounds=(0, 10)).tolist()
    [1]
    """
    smoother = _MovableTargets(weights, y, bounds, groups)
    lower = check_bound(lower, "lower", len(smoother))
    upper = check_bound(upper, "upper", len(smoother))
    radius = np.empty(len(smoother), dtype=np.int64)
    for rows, value, slack, gains, losses in smoother.blocks():
        low, high = lower[rows], upper[rows]
        up = value[:, None] + _sums_of_largest(gains) + slack[:, None] <= high[:, None]
        down = value[:, None] - _sums_of_largest(losses) - slack[:, None] >= low[:, None]
        most = np.minimum(up.sum(axis=1), down.sum(axis=1))
        radius[rows] = np.where((low <= value) & (value <= high), most, -1)
    return radius


def weighted_sums(weights, y):
    """Return ``weights @ y`` row by row: the sum of a row does not depend on those beside it."""
    return np.add.reduce(np.multiply(weights, y, order="C"), axis=1)


class _MovableTargets:
    """The checked arguments, and in blocks of rows what a change of each group can do."""

    def __init__(self, weights, y, bounds, groups):
        self.y = np.asarray(y)
        if self.y.ndim != 1 or self.y.dtype.kind not in "biuf" or not np.isfinite(self.y).all():
            raise ValueError(
                "y must hold one finite number for each column of weights, got shape "
                f"{self.y.shape} and dtype {self.y.dtype}."
            )
        self.y = self.y.astype(np.float64)
        self.bounds = check_target_bounds(bounds)
        self.weights = check_weights(weights, len(self.y))
        self.order = None
        if groups is not None:
            groups = check_groups(groups, len(self.y))
            self.order = np.argsort(groups, kind="stable")
            self.starts = np.searchsorted(
                groups[self.order], np.arange(groups.max(initial=-1) + 1)
            )
        largest = max(map(abs, self.bounds))
        self.largest = max(largest, np.abs(self.y).max(initial=0.0))
        numbers = np.array([*self.y, *self.bounds])
        self.integers = bool((numbers == np.rint(numbers)).all())

    def __len__(self):
        return len(self.weights)

    def blocks(self):
        """Yield rows, their predictions, bounds on all rounding errors, gains and losses."""
        low, high = self.bounds
        for rows in row_blocks(len(self), len(self.y)):
            block, _ = float_block(self.weights, rows)
            slack = self._slack(block)
            value = weighted_sums(block, self.y)
            to_high, to_low = block * (high - self.y), block * (low - self.y)
            gains = np.maximum(np.maximum(to_high, to_low), 0.0)
            losses = np.maximum(-np.minimum(to_high, to_low), 0.0)
            yield rows, value, slack, self._by_group(gains), self._by_group(losses)

    def _slack(self, block):
        """Bound the rounding errors of a prediction, of a changed one, and of what moves it.

        A sum of n products errs by at most ``(n + 1) u`` times the sum of magnitudes, which is
        `size`, and that of the moves by ``(n + 3) u`` times twice as much.
        """
        n = block.shape[1]
        with np.errstate(over="ignore"):
            size = np.abs(block).sum(axis=1) * self.largest
        if not (size < np.finfo(np.float64).max / 16).all():
            raise ValueError(
                "weights, y and bounds must not overflow where they are multiplied and added up; "
                "rescale the targets and their bounds."
            )
        slack = (
            8.0 * UNIT_ROUNDOFF * (n + 8.0) * size + 4.0 * n * np.finfo(float).smallest_subnormal
        )
        if self.integers:
            exact = (block == np.rint(block)).all(axis=1) & (size < 2.0**50)
            slack[exact] = 0.0
        return slack

    def _by_group(self, moves):
        if self.order is None or not moves.shape[1]:
            return moves
        return np.add.reduceat(moves.take(self.order, axis=1), self.starts, axis=1)


def check_target_bounds(bounds):
    """Return the bounds of changed targets as two floats, or say what is wrong with them."""
    values = np.asarray(bounds)
    odd = values.shape != (2,) or values.dtype.kind not in "biuf"
    if odd or not np.isfinite(values).all() or values[0] > values[1]:
        raise ValueError(
            f"bounds={bounds!r} must be two finite numbers, the smallest and the largest value "
            "that a changed target can take, such as (1, 10)."
        )
    return float(values[0]), float(values[1])


def _largest(moves, r):
    """Return the sum of the r largest numbers of each row."""
    n = moves.shape[1]
    if r < n:
        moves = np.partition(moves, n - r, axis=1)[:, n - r :] if r else moves[:, :0]
    return moves.sum(axis=1)


def _sums_of_largest(moves):
    """Return the sums of the 1, 2, ... largest numbers of each row."""
    return np.cumsum(-np.sort(-moves, axis=1), axis=1)
