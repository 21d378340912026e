"""Finite aggregation: a partition reaches several members, and is weighed by what they can do."""

import numpy as np

from ._inputs import count_votes
from .runoff import (
    check_scores,
    class_major,
    first_places,
    prefers_first,
    radius_from_tally,
    run_off_tally,
)

# The number of powers (small integers, one a partition and test row) that are in memory at once.
_BLOCK_POWERS = 2**20
# The number of scores of the run-off in memory at once; its temporaries take 20 bytes for each.
_BLOCK_SCORES = 2**23


def finite_aggregation_radius(ballots, spread, n_classes, *, open_set=False):
    """Elect by plurality where a poisoned partition changes several members, and certify.

    Parameters
    ----------
    ballots : array-like of shape (n_samples, n_members), int
        Class index of every member's vote, -1 where it abstains.
    spread : array-like of shape (n_partitions, degree), int
        ``spread[p]`` are the members that partition ``p`` reaches. In finite aggregation both
        numbers are ``k * d`` and ``degree`` is ``d``, but any reach is allowed.
    n_classes : int
        Number of known classes.
    open_set : bool, default=False
        Whether the attacker may bring a label that nobody has seen. A rival without votes,
        smaller than every known class, then takes part.

    Returns
    -------
    winner : ndarray of shape (n_samples,), int64
        The class with most votes, the smallest among equals.
    radius : ndarray of shape (n_samples,), int64
        A number of partitions, between 0 and ``n_partitions``, whose members may all change
        their votes, or abstain, without another winner.

    Raises
    ------
    ValueError
        If an array has the wrong shape, or an entry outside its range.
    TypeError
        If an array is not of integers.

    Notes
    -----
    A partition takes from the gap between the winner `c` and a rival `b` at most its power, the
    sum of ``1 + [f_j = c] - [f_j = b]`` over the members `j` that it reaches [1]_. The radius
    is the largest number of strongest partitions whose powers stay within the gap, for the
    worst rival. A member that two of them reach is counted twice, so the radius is a lower
    bound; it is exact where the ``radius + 1`` strongest partitions against the worst rival
    reach no member in common, and in particular where each member has one partition of its
    own.

    The result holds for members that are functions of the rows of the partitions that reach
    them, with `spread` chosen before the data are seen.

    References
    ----------
    .. [1] W. Wang, A. Levine and S. Feizi, "Improved certified defenses against data poisoning
       with (deterministic) finite aggregation", ICML 2022.

    Examples
    --------
    Three members, each trained on two of three partitions, all for class 1.

    >>> from certified_ensembles.certificates.finite import finite_aggregation_radius
    >>> winner, radius = finite_aggregation_radius([[1, 1, 1]], [[0, 1], [1, 2], [2, 0]], 2)
    >>> winner.tolist(), radius.tolist()
    ([1], [0])
    """
    ballots = check_ballots(ballots, n_classes)
    spread = check_spread(spread, ballots.shape[1])
    n_samples, n_partitions = len(ballots), spread.shape[1]
    votes = count_votes(ballots, n_classes)
    winner = votes.argmax(axis=1)
    classes = np.arange(n_classes)
    most = np.take_along_axis(votes, winner[:, None], axis=1)
    gap = most - votes - (classes < winner[:, None])
    powers = _Powers(spread)

    def against(rows, rival):
        """Return the partitions survived against one rival per test row."""
        kept = np.empty(len(rows), dtype=np.int64)
        for part in powers.blocks(len(rows)):
            f, c, b = ballots[rows[part]], winner[rows[part], None], rival[part, None]
            power = 1 + (f == c) - (f == b).astype(np.int8)
            kept[part] = powers.survived(power, 2, gap[rows[part], rival[part]])
        return kept

    radius = np.full(n_samples, n_partitions, dtype=np.int64)
    floor = np.empty((n_samples, n_classes), dtype=np.int64)
    # A rival that nobody votes for is the strongest of all: it bounds each from below, and
    # only rivals that the bound leaves open are looked at one by one.
    for part in powers.blocks(n_samples):
        power = 1 + (ballots[part] == winner[part, None]).astype(np.int8)
        gaps = np.hstack([gap[part], most[part] - 1])
        survived = powers.survived(power, 2, gaps)
        floor[part] = survived[:, :-1]
        if open_set:
            radius[part] = survived[:, -1]
    floor[np.arange(n_samples), winner] = n_partitions
    radius = _least(radius, floor, against)
    # Where all abstain a new label would win at once, but no new label has come yet.
    return winner.astype(np.int64), np.maximum(radius, 0)


def finite_run_off_radius(scores, spread, *, open_set=False):
    """Elect by run-off where a poisoned partition changes several members, and certify.

    Parameters
    ----------
    scores : array-like of shape (n_samples, n_members, n_classes), float
        As for `run_off_radius`.
    spread : array-like of shape (n_partitions, degree), int
        ``spread[p]`` are the members that partition ``p`` reaches.
    open_set : bool, default=False
        As for `run_off_radius`.

    Returns
    -------
    winner : ndarray of shape (n_samples,), int64
        The elected class.
    radius : ndarray of shape (n_samples,), int64
        A number of partitions, between 0 and ``n_partitions``, whose members may all be
        replaced by others without another winner.

    Raises
    ------
    ValueError
        If an array has the wrong shape, or an entry outside its range.
    TypeError
        If an array has the wrong kind of numbers.

    Notes
    -----
    An attacker must either push the winner `c` out of the final, by two classes `a` and `b`, or
    let one class `t` beat `s`, the strongest class beside `c` and `t`, in round one, and `c` in
    round two. Each is a set of gaps to close; a partition's power over a gap, or over a sum of
    gaps, is the most that all members it reaches can take from it:

    - first-round gap between `c` and `a`: ``1 + [f_j = c] - [f_j = a]`` per member;
    - the sum of the gaps between `c` and `a` and between `c` and `b`:
      ``1 + 2 [f_j = c] - [f_j = a] - [f_j = b]``;
    - second-round gap between `c` and `t`: 2 if the member prefers `c`, 1 if it abstains;
    - the sum of that and the first-round gap between `s` and `t`.

    No attack succeeds before the strongest partitions close each gap on its own [1]_ [2]_. The
    radius is also at least that of `run_off_radius` divided by the degree, rounded down, which
    makes it exact where each member has one partition of its own. Otherwise it is a lower
    bound, since a member that two partitions reach is counted twice.

    References
    ----------
    .. [1] K. Rezaei, K. Banihashem, A. Chegini and S. Feizi, "Run-off election: improved
       provable defense against data poisoning attacks", ICML 2023.
    .. [2] W. Wang, A. Levine and S. Feizi, "Improved certified defenses against data poisoning
       with (deterministic) finite aggregation", ICML 2022.

    Examples
    --------
    >>> import numpy as np
    >>> from certified_ensembles.certificates.finite import finite_run_off_radius
    >>> scores = np.tile([0.0, 1.0, 0.0], (1, 8, 1))
    >>> spread = (np.arange(8)[:, None] + [0, 3]) % 8
    >>> winner, radius = finite_run_off_radius(scores, spread)
    >>> winner.tolist(), radius.tolist()
    ([1], [1])
    """
    scores = check_scores(scores)
    n_samples, n_members, n_classes = scores.shape
    spread = check_spread(spread, n_members)
    degree, n_partitions = spread.shape
    winner = np.zeros(n_samples, dtype=np.int64)
    radius = np.full(n_samples, n_partitions, dtype=np.int64)
    if n_classes == 1 and not open_set:
        return winner, radius
    n_phantoms = 2 if open_set else 0
    powers = _Powers(spread)
    step = max(1, _BLOCK_SCORES // (n_members * (n_classes + n_phantoms)))
    for start in range(0, n_samples, step):
        rows = slice(start, start + step)
        block = scores[rows]
        tally = run_off_tally(block, open_set=open_set)
        members = radius_from_tally(tally, n_members, n_phantoms=n_phantoms)
        ranking = class_major(block, n_phantoms)
        partitions = _least_run_off(ranking, tally, tally.winner + n_phantoms, powers) - 1
        winner[rows] = tally.winner
        radius[rows] = np.maximum(members // degree, partitions)
    return winner, np.minimum(radius, n_partitions)


def check_spread(spread, n_members):
    """Return `spread` transposed, as indices, after a check."""
    spread = np.asarray(spread)
    if spread.ndim != 2 or 0 in spread.shape:
        raise ValueError(
            "spread must have the shape (n_partitions, degree) with both at least 1, got "
            f"{spread.shape}. Row p lists the members that partition p reaches."
        )
    if spread.dtype.kind not in "iu":
        raise TypeError(f"spread must hold integers, got dtype {spread.dtype}.")
    if spread.min() < 0 or spread.max() >= n_members:
        raise ValueError(
            f"spread must hold member indices between 0 and {n_members - 1}, got values between "
            f"{spread.min()} and {spread.max()}. Members are the columns of the ballots."
        )
    return np.ascontiguousarray(spread.T, dtype=np.intp)


def check_ballots(ballots, n_classes):
    """Return `ballots` as an array, after a check."""
    ballots = np.asarray(ballots)
    if ballots.ndim != 2 or ballots.shape[1] == 0:
        raise ValueError(
            "ballots must have the shape (n_samples, n_members) with at least one member, got "
            f"{ballots.shape}."
        )
    if ballots.dtype.kind not in "iu":
        raise TypeError(f"ballots must hold integers, got dtype {ballots.dtype}.")
    if n_classes < 1:
        raise ValueError(f"n_classes must be at least 1, got {n_classes}.")
    if ballots.size and (ballots.min() < -1 or ballots.max() >= n_classes):
        raise ValueError(
            f"ballots must lie between 0 and n_classes - 1 = {n_classes - 1}, or be -1 for an "
            f"abstention, got values between {ballots.min()} and {ballots.max()}."
        )
    return ballots


class _Powers:
    """Adds members' powers up to partitions' and finds how many strongest fit into a gap."""

    def __init__(self, spread):
        self.spread = spread  # (degree, n_partitions)

    def blocks(self, n_samples):
        """Yield slices of test rows that keep the work within bounded memory."""
        step = max(1, _BLOCK_POWERS // max(self.spread.shape[1], 512))
        for start in range(0, n_samples, step):
            yield slice(start, start + step)

    def survived(self, power, most, gap):
        """Return the largest number of partitions whose powers sum to at most each gap.

        Parameters
        ----------
        power : ndarray of shape (n_samples, n_members), int
            What each member can take from the gap, between 0 and `most`.
        most : int
            The largest power there can be.
        gap : ndarray of shape (n_samples,) or (n_samples, n_gaps), int64
            One gap, or several that share these powers.

        Returns
        -------
        ndarray of the shape of `gap`, int64
            Number of partitions; -1 where the gap is negative.
        """
        degree = len(self.spread)
        n_samples = len(power)
        top = most * degree
        # Powers are few small integers: counted, not sorted. Members come first, so that a
        # look-up moves all test rows of a member at once.
        member = np.ascontiguousarray(power.T, dtype=np.min_scalar_type(top))
        total = member[self.spread[0]]
        one = np.empty_like(total)
        for reached in self.spread[1:]:
            total += np.take(member, reached, axis=0, out=one, mode="clip")
        level = total + np.arange(n_samples) * (top + 1)
        count = np.bincount(level.ravel(), minlength=n_samples * (top + 1))
        count = count.reshape(n_samples, top + 1)[:, ::-1]
        level = np.arange(top, -1, -1)
        used = np.pad(np.cumsum(count * level, axis=1), ((0, 0), (1, 0)))
        taken = np.pad(np.cumsum(count, axis=1), ((0, 0), (1, 0)))
        # Whole levels are taken first, then as many of the next level as still fit.
        gaps = gap.reshape(n_samples, -1)
        whole = np.zeros(gaps.shape, dtype=np.intp)
        for ended in used[:, 1:].T:
            whole += ended[:, None] <= gaps
        rest = gaps - np.take_along_axis(used, whole, axis=1)
        fit = np.take_along_axis(taken, whole, axis=1)
        fit += rest // np.maximum(top - whole, 1) * (whole <= top)
        return np.where(gaps < 0, -1, fit).reshape(gap.shape)

    def needed(self, power, most, gap):
        """Return the least number of partitions whose powers sum to at least each gap."""
        needed = np.empty(gap.shape, dtype=np.int64)
        for part in self.blocks(len(power)):
            needed[part] = self.survived(power[part], most, gap[part] - 1) + 1
        return needed


def _least(start, floor, evaluate):
    """Return the least of `start` and of what `evaluate` says of any candidate, row by row.

    `floor`, of shape (n_samples, n_candidates), bounds what ``evaluate(rows, candidates)``
    returns from below; candidates that it rules out are not evaluated.
    """
    least = start.copy()
    order = np.argsort(floor, axis=1, kind="stable")
    for candidate in order.T:
        rows = np.flatnonzero(floor[np.arange(len(floor)), candidate] < least)
        if len(rows) == 0:
            break
        least[rows] = np.minimum(least[rows], evaluate(rows, candidate[rows]))
    return least


def _least_run_off(ranking, tally, c, powers):
    """Return a number of partitions below which no attack unseats the winners `c`."""
    voters, active = first_places(ranking)
    n_classes, n_samples, _ = ranking.shape
    degree, n_partitions = powers.spread.shape
    every, classes = np.arange(n_samples), np.arange(n_classes)
    votes, smaller = tally.votes, c[:, None] < classes
    gap = np.take_along_axis(votes, c[:, None], axis=1) - votes + smaller
    final = 2 * tally.prefers.sum(axis=1) - votes.sum(axis=1, keepdims=True) + smaller
    beyond = n_partitions + 1
    least = np.full(n_samples, beyond)

    # Any other rival has to overtake the strongest class beside c.
    key = votes * n_classes + classes[::-1]
    key[every, c] = -1
    strong = key.argmax(axis=1)

    def beaten(rows, t):
        """One class beats the strongest other in round one and the winner in round two."""
        w, s = c[rows], strong[rows]
        prefers = prefers_first(ranking[w, rows], ranking[t, rows], w < t) & active[rows]
        power = 2 * prefers + ~active[rows]
        taken = 1 + voters[s, rows] - voters[t, rows].astype(np.int8)
        # There is nothing to overtake where t is the strongest itself.
        ahead = votes[rows, s] - votes[rows, t] + (s < t)
        first = powers.needed(taken, 2, ahead)
        second = powers.needed(power, 2, final[rows, t])
        both = powers.needed(power + taken, 4, final[rows, t] + ahead)
        return np.maximum(np.maximum(first, second), both)

    floor = np.maximum(final + 2 * degree - 1, 0) // (2 * degree)
    floor[every, c] = beyond
    least = _least(least, floor, beaten)
    if n_classes < 3:
        return least

    a, b = np.triu_indices(n_classes, 1)

    def pushed_out(rows, pair):
        """Two classes overtake the winner in round one."""
        from_c = voters[c[rows], rows]
        to_a, to_b = (voters[m[pair], rows].astype(np.int8) for m in (a, b))
        gap_a, gap_b = gap[rows, a[pair]], gap[rows, b[pair]]
        first = powers.needed(1 + from_c - to_a, 2, gap_a)
        second = powers.needed(1 + from_c - to_b, 2, gap_b)
        both = powers.needed(1 + 2 * from_c - to_a - to_b, 3, gap_a + gap_b)
        return np.maximum(np.maximum(first, second), both)

    # Rivals without votes are the strongest, and give a floor for all pairs at once.
    from_c = voters[c, every]
    single = powers.needed(1 + from_c, 2, gap)
    floor = powers.needed(1 + 2 * from_c, 3, gap[:, a] + gap[:, b])
    floor = np.maximum(floor, np.maximum(single[:, a], single[:, b]))
    floor[(c[:, None] == a) | (c[:, None] == b)] = beyond
    return _least(least, floor, pushed_out)
