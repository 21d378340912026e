"""Medians of members' answers: between what bounds they stay, and how many changes that takes.

One changed member moves the median by one place among the sorted answers, whatever it answers.
Members that abstain leave the list: one that begins to answer, or stops, moves it by half a place.
"""

import numpy as np

from ._bounds import check_bound
from ._inputs import check_count, row_blocks


def lower_median(answers):
    """Return the lower median of the members that answer.

    Parameters
    ----------
    answers : array-like of shape (n_samples, n_members)
        Numbers, also infinite ones; NaN where a member abstains.

    Returns
    -------
    median : ndarray of shape (n_samples,), float64
        Of an even number of answers the smaller of the two in the middle: always an answer. NaN
        where nobody answers.

    Raises
    ------
    ValueError
        If `answers` is no matrix of real numbers.

    Examples
    --------
    >>> from certified_ensembles.certificates import lower_median
    >>> lower_median([[3.0, 1.0, 2.0], [4.0, float("nan"), 1.0]]).tolist()
    [2.0, 1.0]
    """
    answers = check_answers(answers)
    median = np.empty(len(answers))
    for rows in row_blocks(*answers.shape):
        median[rows] = _medians(answers[rows], n_answering(answers[rows]))
    return median


def median_interval(answers, n_changed):
    """Return the bounds that the median keeps to, whatever some members change to.

    Parameters
    ----------
    answers : array-like of shape (n_samples, n_members)
        Numbers, also infinite ones; NaN where a member abstains.
    n_changed : int
        How many members may change, each to any answer or to an abstention; those that abstain
        may begin to answer.

    Returns
    -------
    lower, upper : ndarrays of shape (n_samples,), float64
        The smallest and the largest value that :func:`lower_median` can take; infinite where
        there is no bound. Both are reached.

    Raises
    ------
    TypeError
        If `n_changed` is no integer.
    ValueError
        If it is negative, or `answers` is no matrix of real numbers.

    Notes
    -----
    With the n answers of a row in order, ``f_0 <= ... <= f_(n - 1)``, and ``m = (n - 1) // 2``,
    the median is f_m, and r changes keep it in ``[f_(m - r), f_(m + r)]``, where f is infinite
    beyond its ends [1]_. An answer that crosses the median moves it by one place. A member that
    stops to answer, or begins, moves it by half a place, rounded up at the first: never by more
    than one that crosses. So abstentions need no other rule: n is the number of answers as they
    are.

    References
    ----------
    .. [1] Hammoudeh and Lowd, "Reducing Certified Regression to Certified Classification for
       General Poisoning Attacks", SaTML 2023.

    Examples
    --------
    >>> from certified_ensembles.certificates import median_interval
    >>> lower, upper = median_interval([[5.0, 1.0, 3.0, 2.0, 4.0]], 1)
    >>> lower.tolist(), upper.tolist()
    ([2.0], [4.0])
    >>> median_interval([[5.0, 1.0, 3.0, 2.0, 4.0]], 3)[1].tolist()
    [inf]
    """
    answers, r = check_answers(answers), check_count(n_changed, "n_changed", "changed members")
    lower, upper = np.empty((2, len(answers)))
    for rows in row_blocks(*answers.shape):
        n = n_answering(answers[rows])
        places = [_middle(n) - r, _middle(n) + r]
        low, high = _sorted_at(answers[rows], n, places)
        lower[rows], upper[rows] = np.where(n > 0, low, -np.inf), np.where(n > 0, high, np.inf)
    return lower, upper


def median_radius(answers, lower, upper):
    """Return how many members may change until the median can leave given bounds.

    Parameters
    ----------
    answers : array-like of shape (n_samples, n_members)
        Numbers, also infinite ones; NaN where a member abstains.
    lower, upper : float or array-like of shape (n_samples,)
        The bounds, which belong to the interval; infinite where there is none.

    Returns
    -------
    radius : ndarray of shape (n_samples,), int64
        The largest number of members whose changes, as in :func:`median_interval`, keep the
        median in ``[lower, upper]``: -1 where it is outside as it is, or nobody answers. It is
        exact: one more can move it out. (With two infinite bounds, one more can silence all.)

    Raises
    ------
    ValueError
        If a bound is NaN, has another shape, or `answers` is no matrix of real numbers.

    See Also
    --------
    median_interval : The bounds for a number of changes.

    Notes
    -----
    Of n answers, with m = (n - 1) // 2 below the median, the median stays at most u for
    ``#{f <= u} - (m + 1)`` changes, and at least l for ``m - #{f < l}``. The radius is the smaller
    of both; a bound that is infinite asks for an answer alone, which n - 1 changes leave.

    Examples
    --------
    >>> from certified_ensembles.certificates import median_radius
    >>> answers = [[5.0, 1.0, 3.0, 2.0, 4.0]]
    >>> median_radius(answers, 2, 4).tolist(), median_radius(answers, -float("inf"), 5).tolist()
    ([1], [2])
    >>> median_radius(answers, 3.5, 9).tolist()
    [-1]
    """
    answers = check_answers(answers)
    lower = check_bound(lower, "lower", len(answers))
    upper = check_bound(upper, "upper", len(answers))
    radius = np.empty(len(answers), dtype=np.int64)
    for rows in row_blocks(*answers.shape):
        n = n_answering(answers[rows])
        radius[rows] = _radii(answers[rows], n, lower[rows], upper[rows])
    return radius


def medians_and_radii(answers, bounds):
    """Return lower medians, and how many changes keep each within bounds that depend on it.

    Parameters
    ----------
    answers : ndarray of shape (n_samples, n_members), float64
        Those of a row may be put into another order.
    bounds : callable
        ``bounds(medians, rows)`` returns the smallest and the largest value allowed at a slice of
        the rows.

    Returns
    -------
    median, radius : ndarrays of shape (n_samples,)
    """
    median, radius = np.empty(len(answers)), np.empty(len(answers), dtype=np.int64)
    for rows in row_blocks(*answers.shape):
        own = answers[rows]
        n = n_answering(own)
        if n[0] > 0 and (n == n[0]).all():
            median[rows], radius[rows] = _of_as_many(own, int(n[0]), bounds, rows)
        else:
            median[rows] = _medians(own, n)
            radius[rows] = _radii(own, n, *bounds(median[rows], rows))
    return median, radius


def _of_as_many(answers, n, bounds, rows):
    """Return medians and radii where n members answer at every row.

    Once the median is in its place, only the answers on one side of it can be beyond a bound.
    """
    m = _middle(n)
    answers.partition(m, axis=1)
    median = answers[:, m].copy()
    lower, upper = bounds(median, rows)
    above = _count(answers[:, m + 1 :] <= upper[:, None])
    below = m - _count(answers[:, :m] < lower[:, None])
    above = np.where(upper == np.inf, n - 1, above)
    below = np.where(lower == -np.inf, n - 1, below)
    inside = (lower <= median) & (median <= upper)
    return median, np.where(inside, np.minimum(above, below), -1)


def _medians(answers, n):
    (median,) = _sorted_at(answers, n, [_middle(n)])
    return np.where(n > 0, median, np.nan)


def _radii(answers, n, lower, upper):
    above = _count(answers <= upper[:, None]) - _middle(n) - 1
    below = _middle(n) - _count(answers < lower[:, None])
    above = np.where(upper == np.inf, n - 1, above)
    below = np.where(lower == -np.inf, n - 1, below)
    return np.maximum(np.minimum(above, below), -1)


def _count(mask):
    """Count what is true in each row, in a narrow type that is summed fast."""
    dtype = np.int16 if mask.shape[1] < 2**15 else np.int64
    return mask.view(np.uint8).sum(axis=1, dtype=dtype).astype(np.int64)


def check_answers(answers):
    """Return answers as a matrix of doubles, NaN for an abstention, or say what is wrong."""
    answers = np.asarray(answers)
    if answers.ndim != 2 or answers.dtype.kind not in "biuf":
        raise ValueError(
            "answers must be real numbers of shape (n_samples, n_members), NaN for an abstention; "
            f"got dtype {answers.dtype} and shape {answers.shape}."
        )
    return answers.astype(np.float64, copy=False)


def n_answering(answers):
    """Return the number of members that answer at each row."""
    return answers.shape[1] - _count(np.isnan(answers))


def _middle(n):
    """Return the place of the median among n sorted answers."""
    return (n - 1) // 2


def _sorted_at(answers, n, places):
    """Return the sorted answers of each row at some places, infinite beyond the n that there are.

    NaN sorts last: what stands at a place of a row where nobody answers is no answer.
    """
    inside = [np.clip(place, 0, np.maximum(n - 1, 0)) for place in places]
    if answers.size == 0:
        return [np.full(len(n), np.nan) for _ in places]
    if all((place == place[0]).all() for place in inside):  # as many answer: a selection does
        kth, value_at = [int(place[0]) for place in inside], {}
        for k in sorted(set(kth), reverse=True):  # one place at a time, among those below
            answers = np.partition(answers, k, axis=1)
            value_at[k], answers = answers[:, k], answers[:, : k + 1]
        found = [value_at[k] for k in kth]
    else:
        in_order = np.sort(answers, axis=1)
        found = [in_order[np.arange(len(n)), place] for place in inside]
    return [
        np.where(place < 0, -np.inf, np.where(place >= n, np.inf, value))
        for place, value in zip(places, found, strict=True)
    ]
