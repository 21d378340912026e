"""Medians of members in the order of time, of which an attacker owns consecutive ones."""

import numpy as np

from ._bounds import check_bound
from ._inputs import check_count
from .medians import check_answers, lower_median, n_answering
from .windows import window_radius


def median_window_radius(answers, lower, upper, *, width=1, newest=False, open_ends=False):
    """Return the longest window of time that an attacker may own without moving the median out.

    Parameters
    ----------
    answers : array-like of shape (n_samples, n_members)
        Numbers, NaN where a member abstains; members stand in the order of time.
    lower, upper : float or array-like of shape (n_samples,)
        The bounds, which belong to the interval; infinite where there is none.
    width, newest, open_ends
        As in :func:`window_radius`.

    Returns
    -------
    radius : ndarray of shape (n_samples,), int64
        The largest number of consecutive periods whose owner cannot move the median out of
        ``[lower, upper]``: -1 where it is outside as it is, or nobody answers. It is exact.

    Notes
    -----
    The lower median is at most u exactly if, in a vote between "at most u" and "above u", the
    first wins, ties for it; and at least l if "at least l" beats "below l", ties against it. So
    each side is a vote between two classes, in which every member casts the ballot that its
    answer means, and :func:`window_radius` certifies it [1]_.

    References
    ----------
    .. [1] Hammoudeh and Lowd, "Reducing Certified Regression to Certified Classification for
       General Poisoning Attacks", SaTML 2023.

    Examples
    --------
    The newest two of nine days say 9, the others 1.

    >>> from certified_ensembles.certificates import median_window_radius
    >>> answers = [[1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 9.0, 9.0]]
    >>> median_window_radius(answers, 0, 5).tolist()
    [2]
    >>> median_window_radius(answers, 0, 5, newest=True).tolist()
    [4]
    """
    answers = check_answers(answers)
    lower = check_bound(lower, "lower", len(answers))
    upper = check_bound(upper, "upper", len(answers))
    median = lower_median(answers)
    radius = _until_silent(answers, width, newest)
    how = {"width": width, "newest": newest, "open_ends": open_ends}
    for bounded, above in ((lower > -np.inf, False), (upper < np.inf, True)):
        rows = np.flatnonzero(bounded)
        bound = upper if above else lower
        high = answers[rows] > bound[rows, None] if above else answers[rows] >= bound[rows, None]
        ballots = np.where(np.isnan(answers[rows]), -1, high.astype(np.int8))
        radius[rows] = np.minimum(radius[rows], window_radius(ballots, 2, **how))
    return np.where((lower <= median) & (median <= upper), radius, -1)


def median_window_interval(answers, n_periods, *, width=1, newest=False, open_ends=False):
    """Return the bounds that the median keeps to, whatever the owner of a window of time does.

    Parameters
    ----------
    answers : array-like of shape (n_samples, n_members)
        As in :func:`median_window_radius`.
    n_periods : int
        The number of consecutive periods that the attacker owns.
    width, newest, open_ends
        As in :func:`window_radius`.

    Returns
    -------
    lower, upper : ndarrays of shape (n_samples,), float64
        The smallest and the largest value of the median; infinite where there is no bound.

    Examples
    --------
    >>> from certified_ensembles.certificates import median_window_interval
    >>> lower, upper = median_window_interval([[1.0, 2.0, 3.0, 4.0, 5.0]], 1, newest=True)
    >>> lower.tolist(), upper.tolist()
    ([2.0], [3.0])
    """
    answers = check_answers(answers)
    n_periods = check_count(n_periods, "n_periods", "consecutive hostile periods")
    how = {"width": width, "newest": newest, "open_ends": open_ends}

    def stays_below(bound):
        return median_window_radius(answers, -np.inf, bound, **how) >= n_periods

    def stays_above(bound):
        return median_window_radius(answers, bound, np.inf, **how) >= n_periods

    in_order, n = np.sort(answers, axis=1), n_answering(answers)
    upper = _first_that_holds(in_order, n, stays_below)
    in_order = -np.sort(-answers, axis=1)
    lower = _first_that_holds(in_order, n, stays_above)
    return np.where(np.isnan(lower), -np.inf, lower), np.where(np.isnan(upper), np.inf, upper)


def _first_that_holds(in_order, n, holds):
    """Return the first of each row's n answers, in order, that is a bound; NaN if none is.

    All answers after one that is a bound are bounds as well.
    """
    rows = np.arange(len(in_order))
    low, high = np.zeros(len(rows), dtype=np.int64), n.astype(np.int64)  # the first is among them
    while (low < high).any():
        middle = (low + high) // 2
        inside = np.minimum(middle, max(in_order.shape[1] - 1, 0))
        bound = np.where(low < high, in_order[rows, inside], 0.0)
        good = holds(bound) & (low < high)
        high = np.where(good, middle, high)
        low = np.where(~good & (low < high), middle + 1, low)
    found = np.append(in_order, np.full((len(rows), 1), np.nan), axis=1)[rows, low]
    return np.where(low < n, found, np.nan)


def _until_silent(answers, width, newest):
    """Return the longest window whose owner leaves somebody who answers."""
    answering, n_members = ~np.isnan(answers), answers.shape[1]
    if not answering.size:
        return np.full(len(answers), -1, dtype=np.int64)
    first, last = answering.argmax(axis=1), n_members - 1 - answering[:, ::-1].argmax(axis=1)
    needed = n_members - first if newest else last - first + 2 - width
    return np.where(answering.any(axis=1), np.maximum(needed - 1, 0), -1).astype(np.int64)
