"""Rows some at a time, in blocks whose shape no other row can change."""

import numpy as np
import scipy.sparse as sp

# Members are asked about test rows in blocks of this many, the last one filled up: a row's
# ballot must not depend on how many rows stand beside it, at exact ties either.
BLOCK_ROWS = 256
# Members that go row by row are asked about so many at once: more would only cost memory.
MOST_ROWS = 1 << 15
# Numbers held at once for the rows of a block; rows that need many of them make it smaller.
_BLOCK_VALUES = 1 << 24


def fixed_blocks(n_rows, n_columns):
    """Yield (slice, index): blocks of rows whose shape depends on ``n_columns`` alone.

    A matrix product may round differently in another shape, so that the value of a row would
    depend on the rows beside it. Therefore the last block is filled up with copies of the
    last row, to be cut off again: ``index`` always has the same length.
    """
    size = int(np.clip(_BLOCK_VALUES // max(n_columns, 1) // 16 * 16, 16, BLOCK_ROWS))
    for start in range(0, n_rows, size):
        yield (
            slice(start, min(start + size, n_rows)),
            np.minimum(np.arange(start, start + size), n_rows - 1),
        )


def whole_blocks(n_rows, size):
    """Return a number of rows that is a multiple of a size, and no smaller than another."""
    return -(-n_rows // size) * size


def row_major(A):
    """Return numbers row by row in memory; those of frames lie column by column.

    They are copied in strips of columns: numpy's own copy walks along whole rows, and what it has
    read of a wide one is out of the core's cache when the next row needs it.
    """
    if A.flags.c_contiguous:
        return A
    out = np.empty(A.shape, A.dtype)
    width = _STRIP_BYTES // A.dtype.itemsize
    for start in range(0, A.shape[1], width):
        out[:, start : start + width] = A[:, start : start + width]
    return out


# Of a row, what is copied at once where columns become rows.
_STRIP_BYTES = 1 << 11
# Rows read from a file at once; and rows encoded at once, few enough to stay in a core's cache.
_BLOCK_BYTES, _TABLE_BYTES = 1 << 23, 1 << 19


def row_blocks(table, most_bytes=_BLOCK_BYTES):
    """Yield slices of rows of about 8 MB each, or of another size."""
    n = table.shape[0]
    if sp.issparse(table):
        width = 12 * table.nnz // max(n, 1)
    else:
        width = table.dtype.itemsize * int(np.prod(table.shape[1:]))
    step = max(1, most_bytes // max(width, 1))
    for start in range(0, n, step):
        yield slice(start, min(start + step, n))
