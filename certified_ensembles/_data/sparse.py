"""Sparse matrices in their one canonical form."""

import numpy as np
import scipy.sparse as sp


def canonical_csr(X):
    """Return a sparse matrix as CSR in its one canonical form: sorted, summed, without zeros.

    Entries that name one cell are added up in the order of their values, so that the sum
    depends neither on the order in which they are stored nor on the rows beside them.
    """
    coo = X.format == "coo"
    if not coo:
        X = X.tocsr()
        lengths = np.diff(X.indptr)
        rows, columns, data = np.repeat(np.arange(X.shape[0]), lengths), X.indices, X.data
    else:
        rows, columns, data = X.row, X.col, X.data
    half = data.dtype.kind == "f" and data.dtype.itemsize == 2  # scipy has no such matrices
    data = data.astype(np.float32 if half else data.dtype.newbyteorder("="), copy=False)
    same = (rows[1:] == rows[:-1]) & (columns[1:] <= columns[:-1]) if not coo else [True]
    if np.any(same) or (data == 0).any():
        order = np.lexsort((data, columns, rows))
        rows, columns, data = rows[order], columns[order], data[order]
        new = np.ones(len(data), dtype=bool)
        new[1:] = (rows[1:] != rows[:-1]) | (columns[1:] != columns[:-1])
        if not new.all():
            data = _add_up(data, new)
            rows, columns = rows[new], columns[new]
        kept = data != 0  # NaN is kept
        rows, columns, data = rows[kept], columns[kept], data[kept]
    index = sp.get_index_dtype(maxval=max(len(data), X.shape[1]))
    start = np.append(0, np.cumsum(np.bincount(rows, minlength=X.shape[0])))
    cls = sp.csr_array if isinstance(X, sp.sparray) else sp.csr_matrix
    out = cls((data, columns.astype(index), start.astype(index)), shape=X.shape, copy=True)
    out.has_canonical_format = True
    return out


def _add_up(data, new):
    """Add runs of entries from left to right; a reduction of numpy's may take another order."""
    start = np.flatnonzero(new)
    lengths = np.diff(np.append(start, len(data)))
    total = data[start].copy()
    for j in range(1, lengths.max()):
        longer = np.flatnonzero(lengths > j)
        total[longer] += data[start[longer] + j]
    return total
