"""The most that rows and columns of a grid cover: bounds from above, attacks, and a search.

A grid holds what each member can take from a gap. An attacker who picks r rows and s columns takes
the sum of what they cover, what lies in both counted once.
"""

from math import comb

import numpy as np

# What is known of an attacker with r rows and s columns of one grid.
OPEN, SAFE, BROKEN = 0, 1, 2
# Sets of lines that are searched for one grid, at most: three of 50, five of 20.
_MOST_SETS = 20_000
# The number of entries of what sets of lines leave over that are in memory at once.
_BLOCK_ENTRIES = 1 << 20
# How often an attack picks the best columns beside its rows, and the best rows beside those.
_ATTACK_ROUNDS = 3


def cover_bounds(grids, n_budgets):
    """Bound what r rows and s columns cover, for all r < n_budgets and all s.

    Parameters
    ----------
    grids : ndarray of shape (n_grids, n_rows, n_columns), int8
        Entries that are not negative.
    n_budgets : int

    Returns
    -------
    bounds : ndarray of shape (n_grids, n_budgets, n_columns + 1), int32
        It is exact where r or s is 0.

    Notes
    -----
    A row shares at least its s smallest entries with s columns, so that r rows and s columns
    cover no more than the s largest sums of columns and the r largest sums of a row's other
    entries. The same holds with rows and columns exchanged, and the smaller bound counts.
    """
    of_rows = _one_sided_bounds(grids)[:, :n_budgets]
    of_columns = _one_sided_bounds(grids.transpose(0, 2, 1)).transpose(0, 2, 1)[:, :n_budgets]
    return np.minimum(of_rows, of_columns)


def verdicts(grids, gaps, r, s):
    """Say whether r rows and s columns of each grid cover more than its gap.

    Parameters
    ----------
    grids : ndarray of shape (n_grids, n_rows, n_columns), int8
    gaps : ndarray of shape (n_grids,), int64
    r, s : int
        Both at least 1, and at most the numbers of rows and of columns.

    Returns
    -------
    verdicts : ndarray of shape (n_grids,), int8
        ``SAFE``, ``BROKEN``, or ``OPEN`` where bounds do not settle it and there are too many
        sets of rows, and of columns, to search them.
    """
    said = np.full(len(grids), OPEN, dtype=np.int8)
    said[strong_lines(grids, r, s)[0] > gaps] = BROKEN
    for flipped in (False, True):
        rest = np.flatnonzero(said == OPEN)
        lines, counts = (grids.transpose(0, 2, 1), (s, r)) if flipped else (grids, (r, s))
        said[rest[_raised_bounds(lines[rest], *counts) <= gaps[rest]]] = SAFE
    n_sets = comb(grids.shape[1], r), comb(grids.shape[2], s)
    rest = np.flatnonzero(said == OPEN)
    if len(rest) and min(n_sets) <= _MOST_SETS:
        flipped = n_sets[1] < n_sets[0]
        lines, counts = (grids.transpose(0, 2, 1), (s, r)) if flipped else (grids, (r, s))
        broken = _Search(lines[rest], gaps[rest], *counts).run()
        said[rest] = np.where(broken, BROKEN, SAFE)
    return said


def sums_of_largest(numbers, axis):
    """Return the sums of the 0, 1, 2, ... largest numbers along an axis, as int32."""
    ordered = np.flip(np.sort(numbers, axis=axis), axis=axis)
    return _running_sums(ordered, axis)


def _running_sums(numbers, axis):
    first = [(0, 0)] * numbers.ndim
    first[axis] = (1, 0)
    return np.cumsum(np.pad(numbers, first), axis=axis, dtype=np.int32)


def _one_sided_bounds(grids):
    shared = _running_sums(np.sort(grids, axis=2), 2)  # the least that a row shares with columns
    own = sums_of_largest(shared[:, :, -1:] - shared, 1)
    return own + sums_of_largest(grids.sum(axis=1, dtype=np.int32), 1)[:, None, :]


def _raised_bounds(grids, r, s):
    """Bound what r rows and s columns of each grid cover, closer than `cover_bounds`.

    Adding a number p_j to all entries of column j adds at most r p_j to what the s columns hold,
    and what r rows share with them grows by exactly the sum of r p_j. Columns whose sums are not
    among the s largest are raised until they are: this costs nothing, and what a row shares with
    s columns at least is then found among the columns that an attacker would take.
    """
    of_columns = grids.sum(axis=1, dtype=np.int64)
    of_rows = grids.sum(axis=2, dtype=np.int64)
    largest = -np.partition(-of_columns, s - 1, axis=1)[:, :s]
    raised = np.maximum(largest.min(axis=1, keepdims=True) - of_columns, 0)
    # All in units of 1 / r, in which it is integers.
    entries = r * grids.astype(np.int64) + raised[:, None, :]
    shared = np.partition(entries, s - 1, axis=2)[:, :, :s].sum(axis=2)
    own = -np.partition(shared - r * of_rows, r - 1, axis=1)[:, :r].sum(axis=1)
    return largest.sum(axis=1) + own // r


def strong_lines(grids, r, s):
    """Look for r rows and s columns of each grid that cover much together.

    Rows are picked first, then columns beside these, then rows beside those, and so on; and the
    same with columns first.

    Returns
    -------
    covered : ndarray of shape (n_grids,), int32
        What is covered: no more than the most that can be.
    rows : ndarray of shape (n_grids, n_rows), bool
    columns : ndarray of shape (n_grids, n_columns), bool
    """
    best = [np.full(len(grids), -1, dtype=np.int32)]
    best += [np.zeros((len(grids), n), dtype=bool) for n in grids.shape[1:]]
    for lines, picks, counts in (
        (grids, best[1:], (r, s)),
        (grids.transpose(0, 2, 1), best[:0:-1], (s, r)),
    ):
        taken = _largest(lines.sum(axis=2, dtype=np.int32), counts[0])
        for _ in range(_ATTACK_ROUNDS):
            covered = np.where(taken[:, :, None], lines, 0).sum(axis=(1, 2), dtype=np.int32)
            left = np.where(taken[:, :, None], 0, lines).sum(axis=1, dtype=np.int32)
            across = _largest(left, counts[1])
            covered += np.where(across, left, 0).sum(axis=1)
            better = covered > best[0]
            for pick, found in zip([best[0], *picks], (covered, taken, across), strict=True):
                pick[better] = found[better]
            left = np.where(across[:, None, :], 0, lines).sum(axis=2, dtype=np.int32)
            taken = _largest(left, counts[0])
    return tuple(best)


def _largest(numbers, count):
    """Mark the largest numbers of each row, so many of them."""
    marked = np.zeros(numbers.shape, dtype=bool)
    if count:
        places = np.argpartition(-numbers, count - 1, axis=1)[:, :count]
        np.put_along_axis(marked, places, True, axis=1)
    return marked


class _Search:
    """All sets of r rows, the best columns beside each; branches that cannot succeed are cut.

    Parameters
    ----------
    grids : ndarray of shape (n_grids, n_rows, n_columns), int8
    gaps : ndarray of shape (n_grids,), int64
    r, s : int
        At least 1.
    """

    def __init__(self, grids, gaps, r, s):
        self.r, self.s, self.gaps = r, s, gaps
        self.n_rows = grids.shape[1]
        # What a row can add beside any s columns: the strongest rows first.
        other = np.partition(grids, s - 1, axis=2)[:, :, s:].sum(axis=2, dtype=np.int32)
        order = np.argsort(-other, axis=1, kind="stable")
        self.other = np.take_along_axis(other, order, axis=1)
        self.grids = np.take_along_axis(grids, order[:, :, None], axis=1)
        self.of_rows = self.grids.sum(axis=2, dtype=np.int32)
        self.runs = _running_sums(self.other, 1)
        self.broken = np.zeros(len(grids), dtype=bool)

    def run(self):
        """Return which grids are covered by more than their gap."""
        left = self.grids.sum(axis=1, dtype=np.int32)
        every = np.arange(len(left))
        nothing = np.zeros(len(left), dtype=np.int64)
        self._extend(0, every, nothing, nothing, left)
        return self.broken

    def _extend(self, size, grid, first, covered, left):
        """Add a row to sets of rows; each may take those from `first` on."""
        if size == self.r:
            self.broken[grid[covered + self._best_columns(left) > self.gaps[grid]]] = True
            return
        n_children = self.n_rows - (self.r - size) + 1 - first
        step = max(1, _BLOCK_ENTRIES // (left.shape[1] * self.n_rows))
        for start in range(0, len(grid), step):
            part = slice(start, start + step)
            parent = np.repeat(np.arange(len(grid))[part], n_children[part])
            ends = np.cumsum(n_children[part])
            place = np.arange(len(parent)) - np.repeat(ends - n_children[part], n_children[part])
            row = first[parent] + place
            self._descend(size, parent, row, grid, covered, left)

    def _descend(self, size, parent, row, grid, covered, left):
        owner = grid[parent]
        rest = self.r - size - 1
        later = self.runs[owner, row + 1 + rest] - self.runs[owner, row + 1]
        most = (covered + self._best_columns(left))[parent] + self.other[owner, row] + later
        keep = (most > self.gaps[owner]) & ~self.broken[owner]
        parent, row, owner, later = parent[keep], row[keep], owner[keep], later[keep]
        left = left[parent] - self.grids[owner, row]
        covered = covered[parent] + self.of_rows[owner, row]
        keep = covered + self._best_columns(left) + later > self.gaps[owner]
        self._extend(size + 1, owner[keep], row[keep] + 1, covered[keep], left[keep])

    def _best_columns(self, left):
        """Return the sum of the s largest numbers of each row."""
        n_small = left.shape[1] - self.s
        if n_small == 0:
            return left.sum(axis=1, dtype=np.int64)
        return np.partition(left, n_small, axis=1)[:, n_small:].sum(axis=1, dtype=np.int64)
