"""The containers that rows come in: as one table, in blocks, and in slices.

What a slice holds, types included, depends on its own rows, not on what merely carried them.
Rows that do not fit in memory stay in a file: a `numpy.memmap` where it is, a Dask array in a
scratch file that one pass over its blocks writes. Both are read block by block.
"""

import mmap
import numbers
import tempfile

import numpy as np
import scipy.sparse as sp
from sklearn.utils.validation import _num_samples

from .blocks import _TABLE_BYTES, row_blocks

_GATHERED = 256


def n_rows(X):
    """Return the number of rows of any supported container."""
    return _num_samples(X)


def is_frame(X):
    """Say whether X is a dataframe (pandas, polars, or anything with named columns)."""
    return hasattr(X, "columns") and hasattr(X, "__getitem__") and not sp.issparse(X)


def is_text(X):
    """Say whether X is a flat sequence whose first element is a string or bytes."""
    if isinstance(X, str | bytes) or sp.issparse(X) or is_frame(X):
        return False
    if getattr(X, "ndim", 1) != 1 or not hasattr(X, "__len__") or len(X) == 0:
        return False
    if getattr(getattr(X, "dtype", None), "kind", "O") not in "OUST":
        return False
    return any(isinstance(value, str | bytes) for value in X)  # the first may be missing


def as_table(X):
    """Return X as a CSR matrix, a 2-D numeric array, or a 2-D array of objects."""
    if sp.issparse(X):
        return X.tocsr()
    if is_frame(X):
        return _frame_table(X)
    array = X if isinstance(X, np.ndarray) else exact_array(X)
    if array.dtype.kind not in "biufO" and array.dtype.kind != "V":
        # str(1) and 1 are different cells: never let numpy turn a list of both into text.
        array = np.asarray(X, dtype=object) if not isinstance(X, np.ndarray) else array
        array = _objects(array)
    if array.dtype.kind not in "biufO":
        raise TypeError(
            f"Rows of dtype {array.dtype} have no canonical bytes: pass real numbers, strings, "
            "or a hasher of your own."
        )
    if array.ndim == 0:
        raise ValueError(f"Expected a sequence of rows, got the scalar {X!r}.")
    return array.reshape(len(array), -1 if array.size else int(np.prod(array.shape[1:])))


def exact_array(X):
    """Return a sequence as an array in which no cell has changed another's value."""
    if is_text(X):  # as objects: in an array of text one long string sets the width of all
        out = np.empty(len(X), dtype=object)
        out[:] = list(X)
        return out
    array = np.asarray(X)
    if (
        isinstance(X, list | tuple)
        and array.dtype.kind == "f"
        and array.size
        and (np.nanmax(np.abs(array), initial=0.0) >= 2.0**53)
    ):  # one fraction, or one missing value, has rounded large integers
        array = np.array(X, dtype=object)
    return array


def _objects(array):
    """Return text and times as objects; times all in one unit."""
    if array.dtype.kind not in "USMm":
        return array
    out = np.empty(array.shape, dtype=object)
    out[...] = array if array.dtype.kind in "US" else 0
    if array.dtype.kind in "Mm":
        out.ravel()[:] = list(array.astype(f"{array.dtype.kind}8[ns]").ravel())
    return out


def _frame_table(X):
    """Return a dataframe as one array; numeric columns stay numeric where that is exact."""
    columns = [_column(X[:, j] if hasattr(X, "get_column") else X.iloc[:, j])
               for j in range(X.shape[1])]  # fmt: skip
    kinds = {column.dtype.kind for column in columns}
    wide = [c for c in columns if c.dtype.kind in "iu" and c.dtype.itemsize == 8 and len(c)]
    exact = all(max(-int(c.min()), int(c.max())) <= 2**53 for c in wide)
    if columns and kinds <= set("biuf") and exact:
        dtype = np.result_type(*columns)
        if dtype.kind in "biuf":
            return np.column_stack([column.astype(dtype, copy=False) for column in columns])
    table = np.empty((n_rows(X), len(columns)), dtype=object)
    for j, column in enumerate(columns):
        table[:, j] = _objects(column)
    return table


def _column(series):
    """Return a column as an array; integers with missing ones among them stay exact."""
    if hasattr(series, "null_count"):  # polars
        whole = series.dtype.is_integer() and series.null_count()
        return np.array(series.to_list(), dtype=object) if whole else np.asarray(series)
    own = getattr(series.dtype, "kind", "O") in "iu" and not isinstance(series.dtype, np.dtype)
    return series.to_numpy(dtype=object) if own and series.isna().any() else np.asarray(series)


def dense_width(X):
    """Return the bytes of one row of an array as members get it; 0 for other containers."""
    if not isinstance(X, np.ndarray):
        return 0
    size = 8 if X.ndim == 2 else X.dtype.itemsize  # numbers of tables become doubles
    return size * int(np.prod(X.shape[1:]))


def table_blocks(X):
    """Yield the rows of X as tables (see :func:`as_table`) of about half a megabyte each.

    An array becomes a table block by block: a memory-mapped one is never held as a whole.
    """
    table = X if isinstance(X, np.ndarray) and X.ndim and X.dtype.kind in "biuf" else as_table(X)
    for rows in row_blocks(table, _TABLE_BYTES):
        yield as_table(table[rows])
        forget_pages(X)


def canonical_csr(X):
    """Return a CSR copy of X in its one canonical form: sorted, summed, without zeros."""
    X = X.tocsr(copy=True)
    X.sum_duplicates()
    X.eliminate_zeros()
    X.sort_indices()
    index = sp.get_index_dtype(maxval=max(X.nnz, X.shape[1]))
    X.indices, X.indptr = X.indices.astype(index), X.indptr.astype(index)
    return X


def native(A):
    """Return numbers in native byte order, half precision as single (scipy has none)."""
    half = A.dtype.kind == "f" and A.dtype.itemsize == 2
    return A.astype(np.float32 if half else A.dtype.newbyteorder("="), copy=False)


# ---------------------------------------------------------------- rows in a file


def is_dask(X):
    """Say whether X is a Dask array, or raise if it is another collection of Dask."""
    if not hasattr(X, "__dask_graph__"):
        return False
    if not hasattr(X, "chunks") or X.ndim < 2 or X.dtype.kind not in "biuf":
        raise TypeError(
            f"X={X!r} is a Dask collection other than an array of numbers with two axes or more: "
            "pass an array, such as frame.to_dask_array(lengths=True), or compute it first."
        )
    if not all(isinstance(length, numbers.Integral) for length in X.shape):
        raise ValueError("X is a Dask array of unknown shape: call X.compute_chunk_sizes().")
    if not isinstance(X._meta, np.ndarray):
        raise TypeError(
            f"X is a Dask array with blocks of type {type(X._meta).__name__}: only blocks of "
            "numpy arrays are taken; compute X to pass it as a sparse matrix."
        )
    return True


def is_stored(X):
    """Say whether the rows of X lie in a file or are yet to be computed, as plain numbers."""
    return is_dask(X) or (isinstance(X, np.memmap) and X.ndim > 1 and X.dtype.kind in "biuf")


class _Scratch(mmap.mmap):
    """The map of a scratch file."""


def scratch_for(X):
    """Return an array like X, filled with zeros, over a file without a name.

    The file goes when the array does, and also when the process is killed. (Not a
    `numpy.memmap`: processes that are given one open its file again, by name.)
    """
    if 0 in X.shape:
        return np.empty(X.shape, X.dtype)  # nothing can be mapped
    with tempfile.TemporaryFile(prefix="certified_ensembles_") as file:
        file.truncate(X.dtype.itemsize * int(np.prod(X.shape)))
        return np.frombuffer(_Scratch(file.fileno(), 0), X.dtype).reshape(X.shape)


def stored_blocks(X):
    """Yield ``(rows, block)`` over a stored X; every chunk of a Dask array is computed once."""
    if not is_dask(X):
        for rows in row_blocks(X):
            yield rows, np.asarray(X[rows])
            forget_pages(X)
        return
    start = 0
    for length in X.chunks[0]:
        chunk = np.asarray(X[start : start + length].compute())
        if chunk.dtype != X.dtype:
            raise TypeError(
                f"X is a Dask array of dtype {X.dtype}, but a block of it came out as "
                f"{chunk.dtype}: give map_blocks and its like the dtype that they return."
            )
        if chunk.shape != (length, *X.shape[1:]):
            raise ValueError(
                f"A block of the Dask array X came out with the shape {chunk.shape} instead of "
                f"{(length, *X.shape[1:])}: give map_blocks and its like the chunks that they "
                "return."
            )
        for rows in row_blocks(chunk):
            yield slice(start + rows.start, start + rows.stop), chunk[rows]
        start += length


def forget_pages(X):
    """Take pages of a file that have been read out of this process's memory.

    They stay in the cache of the operating system as long as that has room. Without this a
    process that has once gone through a file counts as large as the file.
    """
    file_map = _file_map(X)
    if file_map is not None and hasattr(mmap, "MADV_DONTNEED"):
        file_map.madvise(mmap.MADV_DONTNEED)


def _file_map(X):
    """Return the map under an array if all that is in its pages is in the file too, else None.

    Not so under mode "c", where what the user has written is in the pages alone.
    """
    shared = False
    while isinstance(X, np.ndarray):
        shared = X.mode != "c" if isinstance(X, np.memmap) else shared
        X = X.base
    X = X.obj if isinstance(X, memoryview) else X  # what some versions of numpy put in between
    return X if isinstance(X, _Scratch) or (shared and isinstance(X, mmap.mmap)) else None


# ---------------------------------------------------------------- slices of rows


def take(X, index):
    """Return the rows of X at index, in a form that depends on those rows alone.

    Arrays come back contiguous, in native byte order, text no wider than it needs; sparse
    matrices in canonical CSR form; dataframes with a fresh index, consolidated, and with
    the categories that occur.
    """
    if sp.issparse(X):
        return canonical_csr(X.tocsr()[index])
    if isinstance(X, list | tuple):
        return [X[i] for i in index]
    if hasattr(X, "iloc"):
        part = X.iloc[index].reset_index(drop=True)
        return _own_types(part).copy() if part.ndim == 2 else part.copy()
    if is_frame(X):
        return X[list(map(int, index))]
    part = np.ascontiguousarray(_rows_at(X, index))
    if part.dtype.kind in "US":
        return np.array(part.tolist(), dtype=part.dtype.kind)
    if part.dtype.kind == "O" and all(isinstance(v, numbers.Real) for v in part.flat):
        return np.array(part.tolist())  # objects only because some other row holds text
    return part.astype(part.dtype.newbyteorder("="), copy=False)


def _rows_at(X, index):
    """Return rows of an array; from a file a few at a time, as each drags its surroundings in."""
    if _file_map(X) is None:
        return np.asarray(X)[np.asarray(index)]
    index = np.asarray(index)
    part = np.empty((len(index), *X.shape[1:]), X.dtype)
    for start in range(0, len(index), _GATHERED):
        some = slice(start, start + _GATHERED)
        part[some] = np.asarray(X)[index[some]]
        forget_pages(X)
    return part


def own_copy(X):
    """Return rows that may be overwritten without anybody else seeing it."""
    return (
        list(X) if isinstance(X, list | tuple) else X.copy() if hasattr(X, "copy") else X.clone()
    )


def _own_types(frame):
    """Drop what other rows put into column types: objects for numbers, foreign categories."""
    frame = frame.infer_objects()
    for j, dtype in enumerate(frame.dtypes):
        if hasattr(dtype, "categories"):
            own = frame.iloc[:, j]
            if not dtype.ordered:
                own = own.cat.remove_unused_categories()
            values = own.cat.categories
            if values.dtype.kind in "iuf":
                own = own.cat.rename_categories(values.astype(float))
            if not dtype.ordered:
                values = sorted(own.cat.categories, key=lambda v: (type(v).__name__, str(v)))
                own = own.cat.set_categories(values)
            frame.isetitem(j, own)
    return frame
