"""How many groups of labels may be rewritten before a rival catches up with a linear smoother.

One change of label j lowers S_c - S_b by a drop that `_flip_selection` states, and the owner of a
group g lowers it by the sum of the drops of his labels. In terms of the weights a_j that is

    A_g + S_gc - S_gb

with A_g the sum of abs(a_j) over all labels of g, and S_gk that of a_j over a *cell*: the labels k
of g. So one pass over the weights, which sums up groups and cells, serves every rival.
"""

import itertools
import math
from functools import partial

import numpy as np

from ._flip_selection import count_fitting, last_that_stands
from ._inputs import check_n_classes
from ._scored_blocks import AddedByClass, WeightBlocks

# Columns of a bin that are added as parts of long vectors.
_MAX_SLOTS = 24
# Cells form a table, with room for those without labels, where this leaves it no larger than so
# many times the weights: long vectors then take the place of look-ups.
_MAX_TABLE = 1.5


def check_groups(groups, n_train) -> np.ndarray:
    """Return the groups of labels as int64 codes in 0..n_groups - 1, in the order of their values.

    Parameters
    ----------
    groups : array-like of shape (n_train,)
    n_train : int

    Raises
    ------
    ValueError
        If there is not one group a label, or one is NaN.
    """
    groups = np.asarray(groups)
    if groups.shape != (n_train,):
        raise ValueError(
            f"groups must have shape ({n_train},), one group for each label in y, got shape "
            f"{groups.shape}; number the groups of labels first."
        )
    if groups.dtype.kind in "fc" and np.isnan(groups).any():
        raise ValueError(
            f"groups holds nan at index {np.isnan(groups).argmax()}: labels of nobody would count "
            "as one group. Give each of them a group of its own."
        )
    return np.unique(groups, return_inverse=True)[1].reshape(-1).astype(np.int64)


class _AddedByBin:
    """Adds up columns that lie in many bins, by long vectors instead of many short ones.

    The bins with most columns go ahead. Columns are arranged so that the first of every bin come
    first, then the second of every bin that has two, and so on. What a bin holds beyond
    `_MAX_SLOTS` comes last, bin by bin.

    Parameters
    ----------
    bins : ndarray of shape (n_columns >= 1,), int
        The bin of every column.
    n_bins : int

    Attributes
    ----------
    order : ndarray of shape (n_columns,), int
        The arrangement.
    place : ndarray of shape (n_bins,), int
        The place of every bin among the sums. Empty bins share the last one.
    """

    def __init__(self, bins, n_bins):
        sizes = np.bincount(bins, minlength=n_bins)
        by_size = np.argsort(-sizes, kind="stable")
        self.place = np.minimum(np.argsort(by_size), np.count_nonzero(sizes))
        by_bin, sizes = np.argsort(self.place[bins], kind="stable"), sizes[by_size]
        starts = np.cumsum(sizes) - sizes
        slot = np.minimum(np.arange(len(bins)) - np.repeat(starts, sizes), _MAX_SLOTS)
        self.order = by_bin[np.argsort(slot, kind="stable")]
        self._widths = [int((sizes > k).sum()) for k in range(min(_MAX_SLOTS, sizes[0]))]
        tails = sizes[sizes > _MAX_SLOTS] - _MAX_SLOTS
        self._tails = np.cumsum(tails) - tails

    def __call__(self, columns) -> tuple[np.ndarray, np.ndarray]:
        """Return the sums of all bins, the largest bins first, and the sums of magnitudes.

        The columns come in `order`. Both are one array where no column is negative. A zero, for
        empty bins, comes last.
        """
        signed = columns.min(initial=0.0) < 0
        start = self._widths[0]
        sums = np.zeros((len(columns), start + 1))
        sums[:, :start] = columns[:, :start]
        magnitudes = np.abs(sums) if signed else sums
        buffer = np.empty_like(sums)
        for width in self._widths[1:]:
            terms = columns[:, start : start + width]
            sums[:, :width] += terms
            if signed:  # at once, while the terms are in the cache
                magnitudes[:, :width] += np.abs(terms, out=buffer[:, :width])
            start += width
        if self._tails.size:
            tails, n_long = columns[:, start:], self._tails.size
            sums[:, :n_long] += np.add.reduceat(tails, self._tails, axis=1)
            if signed:
                magnitudes[:, :n_long] += np.add.reduceat(np.abs(tails), self._tails, axis=1)
        return sums, magnitudes


class GroupedWeights(WeightBlocks):
    """The checked arguments of a certificate that counts groups, read in blocks.

    *Cells* are the labels of one class in one group, in ascending order of class, then group.
    They form a table of classes and groups if that is not much larger than the weights;
    otherwise there are none without labels. Columns come in an order that suits the sums of cells.

    Parameters
    ----------
    weights, y, n_classes
        As in `linear_smoother_radius`.
    groups : ndarray of shape (n_train >= 1,), int
        Codes of the groups, each of 0..n_groups - 1 at least once.

    Attributes
    ----------
    n_groups : int
        Number of groups.
    group : ndarray of shape (n_train,), int
        The group of every column.
    cell_group : ndarray of shape (n_cells,), int
        The group of every cell.
    add_by_class : AddedByClass
        Adds up cells.
    """

    def __init__(self, weights, y, n_classes, groups):
        self.n_groups, self._groups = int(groups.max()) + 1, groups
        self._tabular = self.n_groups * check_n_classes(n_classes) <= _MAX_TABLE * len(groups)
        super().__init__(weights, y, n_classes)

    def _arrange(self, y):
        found, cell = np.arange(self.n_classes * self.n_groups), y * self.n_groups + self._groups
        if not self._tabular:
            found, cell = np.unique(cell, return_inverse=True)
        cell_class, self.cell_group = np.divmod(found, self.n_groups)
        self.add_by_class = AddedByClass(cell_class, self.n_classes)
        self._add_to_cells = _AddedByBin(cell, len(found))
        if not self._tabular:
            self._add_to_groups = _AddedByBin(self.cell_group, self.n_groups)
            self._cells_by_group = self._add_to_cells.place[self._add_to_groups.order]
        order = self._add_to_cells.order
        self.group, label = self._groups[order], y[order]
        self._columns = [np.flatnonzero(label == c) for c in range(self.n_classes)]
        return order

    def table(self, cells):
        """Return cells as a table of shape (n, n_classes, n_groups), or None if they form none."""
        return cells.reshape(len(cells), self.n_classes, -1) if self._tabular else None

    def _score(self, block):
        sums, magnitudes = self._add_to_cells(block)
        cells = sums.take(self._add_to_cells.place, axis=1)
        if self._tabular:
            if magnitudes is sums:
                magnitudes = cells
            else:
                magnitudes = magnitudes.take(self._add_to_cells.place, axis=1)
            magnitudes = self.table(magnitudes).sum(axis=1)
        else:
            magnitudes, _ = self._add_to_groups(magnitudes.take(self._cells_by_group, axis=1))
            magnitudes = magnitudes.take(self._add_to_groups.place, axis=1)
        return self.add_by_class(cells), (cells, magnitudes)

    def add_cells(self, drops, cells, of_class, sign):
        """Add to the drops of all groups, row by row, the cells of the row's class, in place."""
        table = self.table(cells)
        for i, c in enumerate(of_class.tolist()):
            if c < self.n_classes:  # a label never seen has no cells
                own = self.add_by_class.slices[c]
                if table is None:
                    drops[i, self.cell_group[own]] += sign * cells[i, own]
                else:
                    drops[i] += sign * table[i, c]


def groups_within_leads(smoother, block, lead, wins_ties) -> np.ndarray:
    """Return, row by row, the largest number of groups that lets no rival catch up.

    Parameters
    ----------
    smoother : GroupedWeights
    block : ScoredBlock
        One of its blocks.
    lead, wins_ties : ndarrays of shape (n, n_rivals)
        As in `flips_within_leads`.
    """
    row = np.arange(len(lead))
    limit = np.where(wins_ties, np.nextafter(lead, -np.inf), lead)
    nearest = limit.argmin(axis=1)
    cells, base = block.parts
    smoother.add_cells(base, cells, block.winner, 1.0)
    # What a rival has in a group is not his to gain; for one without labels it is the base.
    drops = base if lead.shape[1] == 2 else base.copy()
    smoother.add_cells(drops, cells, nearest, -1.0)
    radius, undecided, _, cutoff = count_fitting(drops, limit[row, nearest], block.slack)

    if lead.shape[1] > 2:
        fits = _surely_fits(smoother, cells, base, radius, cutoff, limit, block.slack)
        fits[row, nearest] = fits[row, block.winner] = True
        i, b = np.nonzero(~fits)
        if i.size:
            drops = base[i]
            smoother.add_cells(drops, cells[i], b, -1.0)
            count, doubtful, _, _ = count_fitting(drops, limit[i, b], block.slack[i])
            undecided[i[doubtful & (count < radius[i])]] = True
            np.minimum.at(radius, i, count)

    for k in np.flatnonzero(undecided):
        radius[k] = _exact_radius(smoother, block, k, lead[k], wins_ties[k])
    return radius


def _surely_fits(smoother, cells, base, radius, cutoff, limit, slack) -> np.ndarray:
    """Say for which rivals `radius` groups are surely not too many.

    For every threshold z the r largest drops sum to at most r z plus what all drops exceed z by.
    Drops differ from the base in the cells of the rival alone.
    """
    z = np.where(np.isfinite(cutoff), cutoff, 0.0)[:, None]
    beyond, table = base - z, smoother.table(cells)
    excess = np.repeat(np.maximum(beyond, 0.0).sum(axis=1)[:, None], limit.shape[1], axis=1)
    if table is not None:
        changed = beyond[:, None] - table
        np.maximum(changed, 0.0, out=changed).sum(axis=2, out=excess[:, : smoother.n_classes])
    else:
        mine = beyond.take(smoother.cell_group, axis=1)
        changed = np.maximum(mine - cells, 0.0)
        changed -= np.maximum(mine, 0.0)
        excess[:, : smoother.n_classes] += smoother.add_by_class(changed)
    bound = (radius * z[:, 0])[:, None] + excess
    fits = bound + slack[:, None] <= limit
    fits[radius == 0] = True
    return fits


def _exact_radius(smoother, block, k, lead, wins_ties) -> int:
    """Return the radius of one row, every close comparison settled by the sign of an exact sum."""
    weights, winner, slack = block.weights[k], block.winner[k], block.slack[k]
    label, radius = smoother.label, smoother.n_groups
    by_group = np.argsort(smoother.group, kind="stable")
    bounds = np.searchsorted(smoother.group[by_group], np.arange(1, smoother.n_groups))
    toward = np.where(label == winner, weights, -weights)
    for b in np.argsort(lead, kind="stable"):
        if b == winner:
            continue
        mine, theirs = label == winner, label == b
        drops = np.abs(toward) + np.where(mine | theirs, toward, 0.0)
        parts = sorted(map(_expansion, np.split(drops[by_group], bounds)), reverse=True)
        sums = np.cumsum([part[0] for part in parts])
        low = min(radius, np.count_nonzero(sums < lead[b] - slack))
        high = min(radius, np.count_nonzero(sums <= lead[b] + slack))
        first = partial(_first_groups, parts)
        radius = last_that_stands(low, high, toward[mine | theirs], first, wins_ties[b])
    return radius


def _first_groups(parts, n):
    return np.array(list(itertools.chain.from_iterable(parts[:n])))


def _expansion(numbers) -> list[float]:
    """Return a few doubles with the same exact sum as the numbers, and a zero at the end.

    Each is the sum of what is left, rounded once. So two lists compare as their sums do: the
    zero meets what is left of the other sum, be it positive or negative.
    """
    terms, parts = numbers.tolist(), []
    while part := math.fsum(itertools.chain(terms, (-known for known in parts))):
        parts.append(part)
    return [*parts, 0.0]
