"""Attackers whose reach has a shape: a known set of members, or a window in time."""

from numbers import Integral

import numpy as np

from ._inputs import count_votes, row_blocks
from ._rivals import nearest_rivals, powers
from .finite import check_ballots


def survives_members(ballots, members, n_classes, *, open_set=False):
    """Say whether the winner of each vote survives an attacker who owns certain members.

    Parameters
    ----------
    ballots : array-like of shape (n_samples, n_members), int
        Class index of every member's vote, -1 where it abstains.
    members : array-like of shape (n_sets, n_members), bool
        Each row marks the members that one attacker owns.
    n_classes : int
        Number of known classes.
    open_set : bool, default=False
        Whether the attacker may bring a label that nobody has seen. A rival without votes,
        smaller than every known class, then takes part.

    Returns
    -------
    survives : ndarray of shape (n_samples, n_sets), bool
        Whether the class with most votes (the smallest among equals) still wins whatever the
        marked members vote for, or whether they vote at all. It is exact. An empty set changes
        nothing, and True is returned for it.

    Raises
    ------
    ValueError
        If an array has the wrong shape, or an entry outside its range.
    TypeError
        If `ballots` is not of integers, or `members` not of booleans.

    Notes
    -----
    The winner c survives the set S if and only if, for every other class b,

    ``n_c - n_b - [b < c] >= sum over j in S of (1 + [f_j = c] - [f_j = b])``:

    the worst that the members of S can do for b is to vote for it. Where any r members may be
    changed, use :func:`plurality_radius`; where they stand side by side in time,
    :func:`window_radius`.

    References
    ----------
    .. [1] W. Wang and S. Feizi, "Temporal robustness against data poisoning", NeurIPS 2023.

    Examples
    --------
    Four members vote 0, 0, 0, 1. The last two may turn, the first two may not.

    >>> from certified_ensembles.certificates import survives_members
    >>> suspects = [[False, False, False, True], [False, False, True, False]]
    >>> survives_members([[0, 0, 0, 1]], suspects, 2).tolist()
    [[True, True]]
    >>> survives_members([[0, 0, 0, 1]], [[True, True, False, False]], 2).tolist()
    [[False]]
    """
    ballots = check_ballots(ballots, n_classes)
    owned = _check_members(members, ballots.shape[1])
    size = owned.sum(axis=1)
    free = (~owned).T.astype(np.float32)  # sums of so many ones are exact
    votes = count_votes(ballots, n_classes)
    winner = votes.argmax(axis=1)
    survives = np.empty((len(ballots), len(owned)), dtype=bool)
    # Products of fewer rows take longer on several threads than on one.
    n_numbers = n_classes * len(owned) + ballots.shape[1]
    for rows in row_blocks(len(ballots), n_numbers, 1 << 22):
        # Votes that the attacker does not touch, of shape (n_classes, n_rows, n_sets).
        left = np.stack([(ballots[rows] == m).astype(np.float32) @ free for m in range(n_classes)])
        c, every = winner[rows], np.arange(rows.stop - rows.start)
        own = left[c, every].copy()
        # Ties go to the smaller index, so a smaller rival needs one vote less.
        left += (np.arange(n_classes)[:, None] < c)[:, :, None]
        left[c, every] = -np.inf
        lead = own - left.max(axis=0)
        if open_set:
            lead = np.minimum(lead, own - 1)
        survives[rows] = (lead >= size) | (size == 0)
    return survives


def window_radius(ballots, n_classes, *, width=1, newest=False, open_set=False, open_ends=False):
    """Return the longest window of time that an attacker may own without another winner.

    Parameters
    ----------
    ballots : array-like of shape (n_samples, n_members), int
        Class index of every member's vote, -1 where it abstains. Members stand in the order of
        time: member j is trained on the periods j, ..., j + `width` - 1, and there are
        ``n_members + width - 1`` periods.
    n_classes : int
        Number of known classes.
    width : int, default=1
        Number of consecutive periods that each member is trained on.
    newest : bool, default=False
        If True, the attacker owns the newest periods (earliness); else any consecutive ones
        (duration).
    open_set : bool, default=False
        Whether the attacker may bring a label that nobody has seen. A rival without votes,
        smaller than every known class, then takes part.
    open_ends : bool, default=False
        Whether the attacker may also own periods after the last one and, with ``newest=False``,
        before the first one, where there is nothing yet. Each of them counts as one of his. The
        member of which it is the last period abstains today, and votes when he owns the period.
        With ``newest=True`` he owns consecutive periods that end with the last one, or later.

    Returns
    -------
    radius : ndarray of shape (n_samples,), int64
        The largest w such that the class with most votes (the smallest among equals) wins
        whatever the members do that are trained on any of w consecutive periods of the attacker.
        It is exact. Where nothing can turn the winner (a single class in a closed set) it is the
        number of periods.

    Raises
    ------
    ValueError
        If `ballots` has the wrong shape or an entry outside its range, or `width` is below 1.
    TypeError
        If `ballots` is not of integers.

    Notes
    -----
    The w consecutive periods from s on reach the members ``s - width + 1, ..., s + w - 1``, at
    most ``w + width - 1`` of them; the newest w periods reach w members. Each window is a known
    set of members (:func:`survives_members`) [1]_. With running sums of a member's power, ``1 +
    [f_j = c] - [f_j = b]``, all windows of a test row are looked at in one pass for each rival.

    It assumes that a member is a function of the rows of its own periods, and that the period of
    a row is not the attacker's choice but where he owns it.

    References
    ----------
    .. [1] W. Wang and S. Feizi, "Temporal robustness against data poisoning", NeurIPS 2023.

    Examples
    --------
    Seven members vote for class 1, the newest two for class 0.

    >>> from certified_ensembles.certificates import window_radius
    >>> ballots = [[1, 1, 1, 1, 1, 1, 1, 0, 0]]
    >>> window_radius(ballots, 2).tolist(), window_radius(ballots, 2, newest=True).tolist()
    ([2], [4])
    >>> window_radius(ballots, 2, width=2).tolist()
    [1]
    """
    ballots = check_ballots(ballots, n_classes)
    if not isinstance(width, Integral) or width < 1:
        raise ValueError(
            f"width={width!r} must be an integer of at least 1: the number of consecutive periods "
            "that a member is trained on."
        )
    n_members = ballots.shape[1]
    votes = count_votes(ballots, n_classes)
    radius = np.full(len(ballots), n_members + width - 1, dtype=np.int64)
    for rows in row_blocks(len(ballots), n_members):
        _lower(radius[rows], ballots[rows], votes[rows], (width, newest, open_ends), open_set)
    return radius


def _check_members(members, n_members):
    owned = np.asarray(members)
    if owned.ndim != 2 or owned.shape[1] != n_members:
        raise ValueError(
            f"members must have the shape (n_sets, {n_members}), one column for each column of "
            f"the ballots, got {owned.shape}."
        )
    if owned.dtype != bool:
        raise TypeError(
            f"members must hold booleans, got dtype {owned.dtype}: mark the members of each set "
            "with True, in place of listing their indices."
        )
    return owned


def _lower(radius, ballots, votes, question, open_set):
    """Lower the radii of some test rows, in place, to what each rival leaves."""
    width, newest, _ = question
    winner = votes.argmax(axis=1)
    if ballots.dtype.kind == "u":  # no phantom is among these
        ballots = ballots.astype(np.int64)
    rivals, gaps = nearest_rivals(votes, winner, open_set)
    reach = 0 if newest else width - 1
    for rival, gap in zip(rivals.T, gaps.T, strict=True):
        # So many members cannot take as much as the gap, whatever they vote for today.
        open_rows = np.flatnonzero(2 * (radius + reach) > gap)
        if len(open_rows) == 0:
            continue
        power = powers(ballots[open_rows], winner[open_rows], rival[open_rows])
        survived = _survived(power, gap[open_rows], *question)
        radius[open_rows] = np.minimum(radius[open_rows], np.maximum(survived, 0))


def _survived(power, gap, width, newest, open_ends):
    """Return the longest window that one rival of each test row leaves, or less than 0.

    Parameters
    ----------
    power : ndarray of shape (n_samples, n_members), int
        What each member can take from the gap: 0, 1 or 2.
    gap : ndarray of shape (n_samples,), int
        What the attacker has to exceed; smaller than the powers of all members together.
    """
    n_samples, n_members = power.shape
    taken = np.zeros((n_samples, n_members + 1), dtype=np.min_scalar_type(-2 * n_members - 1))
    np.cumsum(power, axis=1, out=taken[:, 1:])
    gap = gap[:, None]
    if newest and open_ends:
        return _with_later_periods(taken, gap)
    if newest:
        return np.count_nonzero(taken[:, -1:] - taken[:, :-1] <= gap, axis=1)
    survived = _shortest_break(taken, gap) - width
    if not open_ends:
        return survived
    beyond = _with_earlier_periods(taken, gap, width), _with_later_periods(taken, gap)
    return np.minimum(survived, np.minimum(*beyond))


def _shortest_break(taken, gap):
    """Return the least number of consecutive members whose powers exceed the gap."""
    n_samples, n_ends = taken.shape
    n_sums = 2 * n_ends - 1
    # For every sum, the number of members after which the running sum does not exceed it. All
    # test rows stand in one table: flat places are looked up much faster than pairs of them.
    table = np.arange(n_samples)[:, None] * n_sums
    places = taken + table
    within = np.bincount(places.ravel(), minlength=n_samples * n_sums).reshape(n_samples, n_sums)
    within = np.cumsum(within.astype(taken.dtype), axis=1, dtype=taken.dtype)
    places += np.maximum(gap, 0)
    np.minimum(places, table + n_sums - 1, out=places)
    first = within.ravel().take(places)
    length = first - np.arange(n_ends, dtype=first.dtype)
    length[first == n_ends] = n_ends  # the powers up to the last member do not exceed it
    return length.min(axis=1)


def _with_later_periods(taken, gap):
    """Return the windows left to whoever owns the last periods, and some after them."""
    last = taken[:, -1:] - taken
    n_owned = np.arange(taken.shape[1])[::-1]
    # Each later period adds a member that abstains today, of power 1.
    return (n_owned + np.maximum(gap - last, -1)).min(axis=1)


def _with_earlier_periods(taken, gap, width):
    """Return the windows left to whoever owns periods before the first, and some of the first."""
    n_members = taken.shape[1] - 1
    ends = np.arange(width - 1, max(n_members, width - 1) + 1)  # members reached
    first = taken[:, np.minimum(ends, n_members)]
    # Each earlier period adds a member that abstains today, of power 1.
    n_earlier = np.maximum(gap - first + 1, 0)
    return (ends - width + n_earlier).min(axis=1)
