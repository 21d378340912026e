"""Test rows in blocks of one shape: the one place that cuts them, for members and for weights."""

import numpy as np

from .._deterministic import one_thread
from .._jobs import in_turn, progress
from .blocks import MOST_ROWS, fixed_blocks, whole_blocks
from .containers import n_rows, take


def padded_blocks(table, start, stop, fewest=None):
    """Return some rows in blocks of one size, the last filled up with copies of its last.

    Parameters
    ----------
    table : Table
    start, stop : int
        The rows wanted.
    fewest : int, default=None
        Blocks as large as memory allows, of a multiple of so many rows; None: of `BLOCK_ROWS`.

    Returns
    -------
    blocks : list of Table
    """
    if fewest is not None:
        n_blocks = -(-(stop - start) // MOST_ROWS)
        size = whole_blocks(-(-(stop - start) // n_blocks), fewest)
        starts = range(start, stop, size)
        return [table.take(np.minimum(np.arange(a, a + size), stop - 1)) for a in starts]
    return [table.take(start + index) for _, index in fixed_blocks(stop - start, 1)]


def map_blocks(
    function, X, view=None, *, n_jobs, n_columns=1, then=None, desc=None, verbose=False
):
    """Yield what a function returns for the rows of X, in blocks whose shape no row changes.

    Parameters
    ----------
    function : callable
        Takes a block of rows; returns an array with one entry a row, or a tuple of such arrays.
        It runs on one thread.
    X : Table, or an array
    view : View, default=None
        In which the function gets rows; None: as they are.
    n_jobs : int or None
        Threads, one a block. They change no result.
    n_columns : int, default=1
        The numbers that the function holds for each row: the more, the smaller a block.
    then : callable, default=None
        What is applied to the function's answers once the copies that fill up the last block
        are cut off; it is also told which rows they are, as a slice.
    desc, verbose : str and bool
        The title of a progress bar, and whether it is shown.

    Yields
    ------
    answers : ndarray or tuple of ndarray
        For one block after the other, in order.
    """

    @one_thread()
    def apply(rows, index):
        block = take(X, index)
        answers = function(block) if view is None else view.answers(function, block)
        n = rows.stop - rows.start
        cut = tuple(a[:n] for a in answers) if isinstance(answers, tuple) else answers[:n]
        return cut if then is None else then(cut, rows)

    blocks = list(fixed_blocks(n_rows(X), n_columns))
    results = in_turn(apply, blocks, n_jobs, require="sharedmem")
    yield from progress(results, len(blocks), desc, verbose, unit="block")
