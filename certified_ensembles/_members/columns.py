"""Members that see a block of columns of one partition of the rows, and vote for classes."""

import numpy as np
from joblib import effective_n_jobs
from sklearn.pipeline import Pipeline

from .._linear import LinearTrainer
from .partition import PartitionMembers
from .stored import stored
from .training import (
    Job,
    batch_trainer,
    chunks,
    fit_chunk,
    names_by_row,
    own_params,
    rows_of_member,
    train_members,
)
from .voting import count_votes

# Bytes of answers, and of the rows of one block, that are in memory at once.
_SPAN_BYTES, _CHUNK_BYTES = 1 << 27, 1 << 26


def fit_on_blocks(
    spec, tables, y, rows, seeds, params, *, n_jobs, verbose, abstain=False, numbers=None
):
    """Train members on a grid: member ``i * n_blocks + j`` on its rows of table j.

    Parameters
    ----------
    tables : list of Table
        The columns of every block.
    spec, y, rows, seeds, params, n_jobs, verbose, abstain, numbers
        As of `fit_members`.

    Returns
    -------
    trained, views
        As of `fit_members`.
    """
    n_blocks, n = len(tables), len(y)
    by_row = names_by_row(params, n)
    views = [spec.common_view(table) for table in tables] * (len(rows) // n_blocks)
    trainer = None if params else batch_trainer(spec.estimator)
    width = 1 if trainer is None else trainer.width
    if trainer is not None:
        width = min(width, -(-len(rows) // (n_blocks * effective_n_jobs(n_jobs))))
    # Members of one block stand side by side: they alone are trained in one batch.
    blocks = [[i for i in range(j, len(rows), n_blocks) if len(rows[i])] for j in range(n_blocks)]
    for own in blocks:
        own.sort(key=lambda i: len(rows[i]))

    def job(i, member):
        table = tables[i % n_blocks]
        own = rows_of_member(table, y, own_params(params, by_row), by_row, rows[i])
        if views[i] is None:
            views[i] = spec.view(own[0])
        names = rows[i] if numbers is None else numbers[rows[i]]
        return Job.of(spec, member, *own, seeds[i]), views[i], names

    filled = [i for own in blocks for i in own]

    def calls():
        clones = spec.clones([seeds[i] for i in filled])
        for own, table in zip(blocks, tables, strict=True):
            sizes = [len(rows[i]) * table.row_bytes for i in own]
            for chunk in chunks(own, sizes, width, _CHUNK_BYTES):
                jobs = [job(i, next(clones)) for i in chunk]
                yield chunk, (jobs, by_row, spec, chunk, abstain)

    bare_heads = isinstance(trainer, LinearTrainer) and type(spec.estimator) is not Pipeline
    prefer = "threads" if bare_heads else None
    trained = train_members(fit_chunk, calls(), filled, len(rows), n_jobs, verbose, prefer)
    trained = trained._replace(members=stored(trained.members, spec.store))
    for i, own in enumerate(rows):  # nobody is asked in the view of a member that is not there
        if len(own) == 0 or i in trained.errors:
            views[i] = None
    return trained, views


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

    _fit_members = staticmethod(fit_on_blocks)

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
