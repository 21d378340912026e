"""How many of the largest moves fit under a lead: the selection behind the exact radius.

In each row let t_j = a_j where label j is the winner c, and -a_j elsewhere. One changed label
lowers S_c - S_b by at most ``2 max(t_j, 0)`` where the label is c or b, and by ``abs(t_j)``
elsewhere; the radius against b is the number of the largest such drops whose sum stays within
the lead.
"""

import math
from functools import partial

import numpy as np

from ._exact_sums import sign_of_sum

# Rows with fewer columns are sorted whole: a sample would save nothing.
_SAMPLE_FROM = 256
# Every positive number is at least this one.
_ANY = np.finfo(np.float64).smallest_subnormal


def flips_within_leads(toward, y, winner, lead, wins_ties, slack, *, sampled=True) -> np.ndarray:
    """Return, row by row, the largest number of flips that lets no rival catch up.

    Parameters
    ----------
    toward : ndarray of shape (n, n_train)
        The numbers t_j.
    y : ndarray of shape (n_train,)
        Label codes.
    winner : ndarray of shape (n,)
        The winner of each row.
    lead : ndarray of shape (n, n_rivals)
        Score of the winner minus the score of each rival; infinite for the winner itself. A
        column past the codes in `y` stands for a label without rows.
    wins_ties : ndarray of shape (n, n_rivals), bool
        Whether the rival wins where the drops sum to the whole lead.
    slack : ndarray of shape (n,)
        Bound on the rounding error of a comparison with a lead; 0 where all sums are exact.
    sampled : bool
        Whether a sample of the columns may tell which drops are too small to matter.
    """
    row = np.arange(len(toward))
    limit = np.where(wins_ties, np.nextafter(lead, -np.inf), lead)
    nearest = limit.argmin(axis=1)
    # With two classes every label is the winner's or the rival's.
    pair_only = limit.shape[1] == 2
    sampled = sampled and len(y) >= _SAMPLE_FROM
    floor = np.full(len(toward), _ANY)
    if sampled:
        # About 8 sqrt(n_train) columns: enough to tell, and few beside the rest of the work.
        stride = max(4, math.isqrt(len(y)) // 8)
        few = slice(None, None, stride)
        sample = _drops(toward[:, few], None if pair_only else y[few], winner, nearest)
        floor = _threshold(sample, limit[row, nearest] / stride)

    kept, label = _survivors(toward, None if pair_only else y, floor)
    drops = _drops(kept, label, winner, nearest, floor)
    count, undecided, all_fit, cutoff = count_fitting(drops, limit[row, nearest], slack)
    radius = np.where(all_fit, len(y), count)
    # Drops below the floor were thrown away: where the others all fit, some of those matter.
    again = all_fit & sampled

    if not pair_only:
        fits = _surely_fits(kept, label, winner, radius, cutoff, limit, slack)
        fits[row, nearest] = True
        i, b = np.nonzero(~fits)
        if i.size:
            drops = _drops(kept[i], label[i], winner[i], b, floor[i])
            count, doubtful, all_fit, _ = count_fitting(drops, limit[i, b], slack[i])
            short = np.count_nonzero(drops, axis=1) < radius[i]
            again[i[all_fit & short & sampled]] = True
            undecided[i[doubtful & (count < radius[i])]] = True
            np.minimum.at(radius, i[~all_fit], count[~all_fit])

    for k in np.flatnonzero(undecided & ~again):
        radius[k] = _exact_radius(toward[k], y, winner[k], lead[k], wins_ties[k], slack[k])
    if again.any():
        k = np.flatnonzero(again)
        radius[k] = flips_within_leads(
            toward[k], y, winner[k], lead[k], wins_ties[k], slack[k], sampled=False
        )
    return radius


def _drops(toward, label, winner, rival, floor=None) -> np.ndarray:
    """Return the largest drop of the lead that one change of each label can cause.

    Without labels, all of them are the winner's or the rival's.
    """
    drops = np.abs(toward)
    if label is None:
        drops += toward
    else:
        drops += toward * ((label == winner[:, None]) | (label == rival[:, None]))
    if floor is not None:
        drops[drops < floor[:, None]] = 0.0
    return drops


def _threshold(sample, limit) -> np.ndarray:
    """Guess, from drops at some columns, a size that the drops that matter exceed.

    A wrong guess costs time and nothing else.
    """
    sample = np.sort(sample, axis=1)[:, ::-1]
    rank = _first_above(np.cumsum(sample, axis=1), limit)
    # Three standard deviations of the rank, so that few rows need a second look.
    rank = rank + 4 + (3 * np.sqrt(rank)).astype(np.int64)
    inside = rank < sample.shape[1]
    guess = sample[np.arange(len(sample)), np.where(inside, rank, 0)]
    return np.where(inside, np.maximum(guess, _ANY), _ANY)


def _survivors(toward, y, floor):
    """Move the columns that can drop a lead by `floor` or more to the front of each row.

    Returns their `toward`, padded with zeros to one width, and their labels (-1 where padded).
    Without labels, as in `_drops`, only positive numbers can.
    """
    n, n_train = toward.shape
    if (floor == _ANY).all():
        return toward, None if y is None else np.broadcast_to(y, toward.shape)
    keep = toward >= np.maximum(floor / 2, _ANY)[:, None]
    if y is not None:
        keep |= toward <= -floor[:, None]
    found = np.flatnonzero(keep)
    count = np.diff(np.searchsorted(found, np.arange(n + 1) * n_train))
    filled = np.arange(count.max(initial=0)) < count[:, None]
    values = np.zeros(filled.shape)
    values[filled] = toward.ravel()[found]
    if y is None:
        return values, None
    label = np.full(filled.shape, -1, dtype=np.int64)
    label[filled] = y[found - np.repeat(np.arange(n) * n_train, count)]
    return values, label


def count_fitting(drops, limit, slack):
    """Count the largest drops whose sum stays within the limit.

    Returns
    -------
    count : ndarray of shape (n,), int64
        The count; too small by any number where it is undecided.
    undecided : ndarray of shape (n,), bool
        Where rounding could hide that one more drop fits.
    all_fit : ndarray of shape (n,), bool
        Where even the sum of all drops surely stays within.
    cutoff : ndarray of shape (n,)
        The smallest drop counted (infinite where none is).
    """
    n, width = drops.shape
    count, cutoff = np.zeros(n, dtype=np.int64), np.full(n, np.inf)
    if not width:
        return count, (limit < slack) & (limit >= -slack) & (slack > 0), limit >= slack, cutoff
    drops = np.sort(drops, axis=1)[:, ::-1]
    sums = np.cumsum(drops, axis=1)
    row = np.arange(n)
    count = _first_above(sums, limit - slack)
    all_fit = count == width
    undecided = ~all_fit & (sums[row, np.minimum(count, width - 1)] <= limit + slack)
    has_any = count > 0
    cutoff[has_any] = drops[row[has_any], count[has_any] - 1]
    return count, undecided, all_fit, cutoff


def _first_above(sums, limit) -> np.ndarray:
    """Return how many numbers of each ascending row are at most the row's limit."""
    above = sums > limit[:, None]
    return np.where(above[:, -1], above.argmax(axis=1), above.shape[1])


def _surely_fits(toward, label, winner, radius, cutoff, limit, slack) -> np.ndarray:
    """Say for which rivals `radius` flips are surely not too many.

    For every threshold z the r largest drops sum to at most r z plus what they exceed z by. With
    the nearest rival's cutoff as z that is almost tight, and costs one pass for all rivals.
    """
    n, n_rivals = limit.shape
    row = np.arange(n)
    z = np.where(np.isfinite(cutoff), cutoff, 0.0)[:, None]
    # Padding has label -1 and goes to a column of its own.
    cell = (row[:, None] * (n_rivals + 1) + label % (n_rivals + 1)).ravel()

    def by_class(excess):
        sums = np.bincount(cell, excess.ravel(), minlength=n * (n_rivals + 1))
        return sums.reshape(n, n_rivals + 1)[:, :n_rivals]

    single = by_class(np.maximum(np.abs(toward) - z, 0.0))
    double = by_class(np.maximum(2.0 * toward - z, 0.0))
    others = single.sum(axis=1) - single[row, winner]
    bound = (radius * z[:, 0] + double[row, winner] + others)[:, None] + double - single
    fits = bound + slack[:, None] <= limit
    fits[row, winner] = True
    fits[radius == 0] = True
    return fits


def _exact_radius(toward, y, winner, lead, wins_ties, slack) -> int:
    """Return the radius of one row, every close comparison settled by the sign of an exact sum."""
    radius = len(y)
    for b in np.argsort(lead, kind="stable"):
        if b == winner:
            continue
        mine, theirs = y == winner, y == b
        drops = np.sort(np.abs(toward) + np.where(mine | theirs, toward, 0.0))[::-1]
        sums = np.cumsum(drops)
        low = min(radius, np.count_nonzero(sums < lead[b] - slack))
        high = min(radius, np.count_nonzero(sums <= lead[b] + slack))
        first = partial(_first_numbers, drops)
        radius = last_that_stands(low, high, toward[mine | theirs], first, wins_ties[b])
    return radius


def _first_numbers(drops, n):
    return drops[:n]


def last_that_stands(low, high, terms, drops_of_first, wins_tie) -> int:
    """Return how many changes, from low to high, the lead survives that some terms add up to.

    ``drops_of_first(n)`` are numbers that add up to what the first n of them take away.
    """
    while low < high:
        middle = (low + high + 1) // 2
        sign = sign_of_sum(terms, -drops_of_first(middle))
        if sign > 0 or (sign == 0 and not wins_tie):
            low = middle
        else:
            high = middle - 1
    return low
