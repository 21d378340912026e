"""Members that see a block of columns of one partition of the rows, and vote for classes."""

import numpy as np

from .partition import PartitionMembers
from .voting import count_votes

# Bytes of answers that are in memory at once.
_SPAN_BYTES = 1 << 27


class ColumnMembers(PartitionMembers):
    """Members on a grid: that of row partition i and block j stands at ``i * n_blocks + j``.

    Each block is a table of its own, and a member is trained and asked as one of that table is:
    it knows neither what stands in other blocks nor how many columns they have. Rows come as
    lists of tables, one for each block.

    Parameters
    ----------
    n_blocks : int
    *args, **how
        As in `PartitionMembers`.
    """

    def __init__(self, *args, n_blocks, **how):
        super().__init__(*args, **how)
        self.n_blocks = n_blocks

    def take_device_rows(self):
        """Say that test rows on a GPU are copied: their columns are cut on the host."""
        return False

    def _of_block(self, j):
        """Return the members of one block as members of its table."""
        own, places = object.__new__(PartitionMembers), range(j, len(self.seen), self.n_blocks)
        vars(own).update(vars(self))
        own.estimators = [self.estimators[i] for i in places]
        own.views = [self.views[i] for i in places]
        own.seeds = [self.seeds[i] for i in places]
        own.seen = self.seen[j :: self.n_blocks]
        return own

    def _side_by_side(self, method, tables, row_bytes, missing, shape, how):
        """Yield what the members of all blocks answer, in the order of the grid."""
        n = len(tables[0])
        span = max(256, _SPAN_BYTES // row_bytes)
        blocks = [self._of_block(j) for j in range(self.n_blocks)]
        for start in range(0, n, span):
            rows = np.arange(start, min(start + span, n))
            parts = []
            for block, table in zip(blocks, tables, strict=True):
                if all(view is None for view in block.views):  # no member is there
                    parts.append(np.full((len(rows), len(block.seen), *shape), missing))
                    continue
                own = table if len(rows) == n else table.take(rows)
                parts.append(np.concatenate(list(getattr(block, method)(own, **how))))
            grid = np.stack(parts, axis=2)
            yield grid.reshape(len(rows), -1, *shape)

    def ballots(self, X, **how):
        """Yield the ballots of the grid, of shape (n_rows, n_members)."""
        yield from self._side_by_side("ballots", X, 4 * len(self.seen), np.int16(-1), (), how)

    def votes(self, X, **how):
        """Yield the votes for every class, of shape (n_rows, n_classes)."""
        for ballots in self.ballots(X, **how):
            yield count_votes(ballots, len(self.classes))

    def scores(self, X, **how):
        """Yield the scores of the grid, of shape (n_rows, n_members, n_classes)."""
        shape = (len(self.classes),)
        size = 8 * self.seen.size
        yield from self._side_by_side("scores", X, size, -np.inf, shape, how)
