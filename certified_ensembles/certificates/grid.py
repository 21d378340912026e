"""Rows and columns at once: what an attacker on a grid of members needs."""

import numpy as np

from ._grid_search import BROKEN, SAFE, cover_bounds, sums_of_largest, verdicts
from ._inputs import check_count, count_votes, row_blocks
from ._rivals import PHANTOM, nearest_rivals, powers
from .finite import check_ballots

# The number of members of all test rows whose powers are in memory at once.
_BLOCK_POWERS = 1 << 20


def grid_frontier(
    ballots, n_rows, n_blocks, n_classes, *, open_set=False, max_rows=None, return_exact=False
):
    """Return how many columns of a grid the winner survives beside 0, 1, 2, ... of its rows.

    Parameters
    ----------
    ballots : array-like of shape (n_samples, n_rows * n_blocks), int
        Class index of every member's vote, -1 where it abstains. The member that saw block j of
        row partition i stands at ``i * n_blocks + j``.
    n_rows : int
        Number of row partitions, at least 1.
    n_blocks : int
        Number of blocks of columns, at least 1.
    n_classes : int
        Number of known classes.
    open_set : bool, default=False
        Whether the attacker may bring a label that nobody has seen. A rival without votes,
        smaller than every known class, then takes part.
    max_rows : int, default=None
        The largest number of row partitions asked about; `n_rows` if None.
    return_exact : bool, default=False
        Whether to return as well where the frontier is known to be exact.

    Returns
    -------
    frontier : ndarray of shape (n_samples, max_rows + 1), int64
        Entry r is the largest s such that the class with most votes (the smallest among equals)
        wins whatever the members of any r row partitions and any s blocks do; -1 where r row
        partitions alone can turn it. It does not grow with r. With more than one class its last
        entry for ``r = n_rows`` is -1, and no entry exceeds ``n_blocks - 1``.
    exact : ndarray of shape (n_samples, max_rows + 1), bool
        Whether one block more does turn the winner. Elsewhere it may or may not. Only with
        ``return_exact=True``.

    Raises
    ------
    ValueError
        If `ballots` has the wrong shape or an entry outside its range, or a number is too small.
    TypeError
        If `ballots` is not of integers, or a number is none.

    See Also
    --------
    block_frontier : Where the attacker's rows are others in each block.
    survives_members : Where the attacker's members are known.

    Notes
    -----
    Whoever poisons r row partitions and s blocks owns the members in r rows and s columns of the
    grid, ``r n_blocks + s n_rows - r s`` of them. The winner c survives these if and only if,
    for every other class b, their powers ``D_ij = 1 + [f_ij = c] - [f_ij = b]`` sum to no more
    than ``n_c - n_b - [b < c]``. So one looks for the r rows and s columns that cover most.

    That is hard in general, and done in three steps. A bound from above shows that an attacker
    cannot succeed: the s largest sums of columns, and the r largest sums of rows, from which
    the least is taken that each row shares with s columns. An attack that takes turns
    between rows and columns shows that it can. Where neither settles it, all sets of the axis
    with fewer sets are searched, the best lines of the other axis beside each, as long as there
    are at most 20,000 sets: a grid of 20 x 20 is always searched. Beyond that the bound
    counts, and ``exact`` is False.

    Rows alone (``s = 0``) and columns alone (``r = 0``) are always exact, as everything is where
    the smaller of both numbers is one or two. With one row partition, entry 0 is
    :func:`plurality_radius`: the blocks that feature partition aggregation [1]_ survives.

    It assumes that a member is a function of the cells of its own rows and columns, and that an
    operation on a row reaches one row partition, the same in all blocks. An operation that
    reaches two (a row replaced) counts as two.

    References
    ----------
    .. [1] Z. Hammoudeh and D. Lowd, "Provable robustness against a union of l0 adversarial
       attacks", AAAI 2024.

    Examples
    --------
    A grid of five row partitions and four blocks, in which all members agree, but for one block.

    >>> import numpy as np
    >>> from certified_ensembles.certificates import grid_frontier
    >>> ballots = np.ones((5, 4), dtype=int)
    >>> ballots[:, 3] = 0
    >>> grid_frontier(ballots.reshape(1, 20), 5, 4, 2).tolist()
    [[0, 0, -1, -1, -1, -1]]
    >>> ballots[1:, 3] = 1
    >>> grid_frontier(ballots.reshape(1, 20), 5, 4, 2).tolist()
    [[1, 1, 0, -1, -1, -1]]
    """
    ballots, n_budgets = _checked(ballots, n_rows, n_blocks, n_classes, max_rows)
    frontier = np.empty((len(ballots), n_budgets), dtype=np.int64)
    exact = np.empty(frontier.shape, dtype=bool)
    for rows in row_blocks(len(ballots), 4 * n_rows * n_blocks, _BLOCK_POWERS):
        votes = _Votes(ballots[rows], (n_rows, n_blocks), n_classes, open_set)
        frontier[rows], exact[rows] = _grid_block(votes, n_budgets)
    frontier[:, 0] = np.maximum(frontier[:, 0], 0)  # nothing done, nothing changed
    return (frontier, exact) if return_exact else frontier


def block_frontier(ballots, n_rows, n_blocks, n_classes, *, open_set=False, max_rows=None):
    """Return how many blocks the winner survives beside 0, 1, 2, ... members in each other one.

    Parameters
    ----------
    ballots : array-like of shape (n_samples, n_rows * n_blocks), int
        Class index of every member's vote, -1 where it abstains. The member that saw row
        partition i of block j stands at ``i * n_blocks + j``.
    n_rows : int
        Number of row partitions of each block, at least 1.
    n_blocks : int
        Number of blocks of columns, at least 1.
    n_classes : int
        Number of known classes.
    open_set : bool, default=False
        Whether the attacker may bring a label that nobody has seen. A rival without votes,
        smaller than every known class, then takes part.
    max_rows : int, default=None
        The largest number of members in each block asked about; `n_rows` if None.

    Returns
    -------
    frontier : ndarray of shape (n_samples, max_rows + 1), int64
        Entry r is the largest s such that the class with most votes (the smallest among equals)
        wins whatever all members of any s blocks do, and any r members in each of the other
        blocks; -1 where the r members of each block alone can turn it. It is exact, and it
        does not grow with r.

    Raises
    ------
    ValueError
        If `ballots` has the wrong shape or an entry outside its range, or a number is too small.
    TypeError
        If `ballots` is not of integers, or a number is none.

    See Also
    --------
    grid_frontier : Where a row belongs to the same partition in all blocks.

    Notes
    -----
    This is the attacker on rows whose partition is decided for each block by their cells in that
    block. A poisoned row then reaches one member of each block, and which ones is up to the
    attacker. With powers ``D_ij = 1 + [f_ij = c] - [f_ij = b]`` he takes the r largest of every
    column of the grid, and all of the s columns that have most besides: a sum, with nothing to
    search for. An attacker on a grid whose rows are the same in all blocks is a special case, so
    no entry exceeds that of :func:`grid_frontier`.

    Examples
    --------
    Five row partitions and four blocks, in which all members agree.

    >>> import numpy as np
    >>> from certified_ensembles.certificates import block_frontier
    >>> block_frontier(np.ones((1, 20), dtype=int), 5, 4, 2).tolist()
    [[1, 1, 0, -1, -1, -1]]
    """
    ballots, n_budgets = _checked(ballots, n_rows, n_blocks, n_classes, max_rows)
    frontier = np.empty((len(ballots), n_budgets), dtype=np.int64)
    for rows in row_blocks(len(ballots), 4 * n_rows * n_blocks, _BLOCK_POWERS):
        votes = _Votes(ballots[rows], (n_rows, n_blocks), n_classes, open_set)
        frontier[rows] = n_blocks
        for rival in range(votes.n_rivals):
            every, grids, gaps = votes.against(rival)
            taken = sums_of_largest(grids, 1)
            rest = sums_of_largest(taken[:, -1:] - taken[:, :n_budgets], 2)
            covered = taken[:, :n_budgets].sum(axis=2)[:, :, None] + rest
            survived = _most_within(covered, gaps)
            frontier[rows.start + every] = np.minimum(frontier[rows.start + every], survived)
    frontier[:, 0] = np.maximum(frontier[:, 0], 0)  # nothing done, nothing changed
    return frontier


def _checked(ballots, n_rows, n_blocks, n_classes, max_rows):
    """Return the ballots, and how many numbers of rows are asked about."""
    n_rows = check_count(n_rows, "n_rows", "row partitions")
    n_blocks = check_count(n_blocks, "n_blocks", "blocks of columns")
    ballots = check_ballots(ballots, n_classes)
    if ballots.shape[1] != n_rows * n_blocks:
        raise ValueError(
            f"ballots must have one column for each of the n_rows * n_blocks = {n_rows} * "
            f"{n_blocks} = {n_rows * n_blocks} members, got {ballots.shape[1]} columns."
        )
    if max_rows is None:
        return ballots, n_rows + 1
    max_rows = check_count(max_rows, "max_rows", "row partitions")
    if max_rows > n_rows:
        raise ValueError(
            f"max_rows={max_rows} must be at most n_rows={n_rows}: there are no more row "
            "partitions to poison."
        )
    return ballots, max_rows + 1


class _Votes:
    """What the rivals of some test rows can take, on a grid of members."""

    def __init__(self, ballots, shape, n_classes, open_set):
        smallest = np.min_scalar_type(-max(n_classes, -PHANTOM) - 1)
        self.ballots, self.shape = ballots.astype(smallest), shape
        votes = count_votes(ballots, n_classes)
        self.winner = votes.argmax(axis=1)
        self.rivals, self.gaps = nearest_rivals(votes, self.winner, open_set)
        self.n_rivals = self.rivals.shape[1]

    def against(self, rival, rows=None):
        """Return test rows, their grids of powers and their gaps, for one rival of each."""
        rows = np.arange(len(self.ballots)) if rows is None else rows
        power = powers(self.ballots[rows], self.winner[rows], self.rivals[rows, rival])
        return rows, power.reshape(len(rows), *self.shape), self.gaps[rows, rival]

    def most(self):
        """Return grids of what nobody can take more than: the powers for the phantom."""
        power = (self.ballots == self.winner[:, None]).view(np.int8) + np.int8(1)
        return power.reshape(len(power), *self.shape)


def _most_within(covered, gaps):
    """Return the largest s of each number of rows whose sum lies within the gap; -1 if none.

    What survives more rows survives fewer, so no entry is below a later one.
    """
    within = covered <= gaps[:, None, None]
    n_columns = covered.shape[2]
    most = n_columns - 1 - np.argmax(within[:, :, ::-1], axis=2)
    most = np.where(within.any(axis=2), most, -1)
    return np.maximum.accumulate(most[:, ::-1], axis=1)[:, ::-1]


def _grid_block(votes, n_budgets):
    """Return the frontiers of some test rows, and whether each entry is exact."""
    n_samples, n_columns = len(votes.ballots), votes.shape[1]
    proven = np.full((n_samples, n_budgets), n_columns, dtype=np.int64)
    broken = proven.copy()  # more columns than these are known to turn the winner
    most = cover_bounds(votes.most(), n_budgets) if votes.n_rivals > 1 else None
    for rival in range(votes.n_rivals):
        rows = None
        if rival:  # those of which this rival could lower an entry
            at_end = np.take_along_axis(most, np.maximum(broken, 0)[:, :, None], axis=2)[:, :, 0]
            beyond = (at_end > votes.gaps[:, rival, None]) & (broken >= 0)
            rows = np.flatnonzero(beyond.any(axis=1))
        rows, grids, gaps = votes.against(rival, rows)
        if len(rows) == 0:
            continue
        ends = _resolve(grids, gaps, broken[rows])
        proven[rows] = np.minimum(proven[rows], ends[0])
        broken[rows] = np.minimum(broken[rows], ends[1])
    return np.minimum(proven, broken), proven >= broken


def _resolve(grids, gaps, known):
    """Return what one rival leaves of each frontier: proven, and more than which is broken.

    Parameters
    ----------
    grids : ndarray of shape (n_samples, n_rows, n_columns), int8
    gaps : ndarray of shape (n_samples,), int64
    known : ndarray of shape (n_samples, n_budgets), int64
        More columns than these turn the winner by other means, and are of no interest.
    """
    bounds = cover_bounds(grids, known.shape[1])
    proven = _most_within(bounds, gaps)
    # Rows alone and columns alone are bounded exactly.
    broken = np.where(proven < 0, -1, known)
    broken[:, 0] = np.minimum(broken[:, 0], proven[:, 0])
    for r in range(1, known.shape[1]):
        broken[:, r] = np.minimum(broken[:, r], broken[:, r - 1])
        rest = np.flatnonzero(proven[:, r] < broken[:, r])
        while len(rest):
            columns = proven[rest, r] + 1
            said = np.empty(len(rest), dtype=np.int8)
            for s in np.unique(columns):
                same = np.flatnonzero(columns == s)
                said[same] = verdicts(grids[rest[same]], gaps[rest[same]], r, int(s))
            broken[rest[said == BROKEN], r] = columns[said == BROKEN] - 1
            proven[rest[said == SAFE], r] += 1
            rest = rest[(said == SAFE) & (proven[rest, r] < broken[rest, r])]
    proven = np.maximum.accumulate(proven[:, ::-1], axis=1)[:, ::-1]
    return np.minimum(proven, known), broken
