"""The containers that rows come in: as one table, in blocks, and in slices.

What a slice holds, types included, depends on its own rows, not on what merely carried them.
"""

import numbers

import numpy as np
import scipy.sparse as sp
from sklearn.utils import _safe_indexing
from sklearn.utils.validation import _num_samples

_BLOCK_BYTES = 1 << 23


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


def row_blocks(table):
    """Yield slices of rows of about 8 MB each, so that memory-mapped tables are streamed."""
    n = table.shape[0]
    if sp.issparse(table):
        width = 12 * table.nnz // max(n, 1)
    else:
        width = table.dtype.itemsize * table.shape[1]
    step = max(1, _BLOCK_BYTES // max(width, 1))
    for start in range(0, n, step):
        yield slice(start, min(start + step, n))


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
    part = np.ascontiguousarray(_safe_indexing(np.asarray(X), index))
    if part.dtype.kind in "US":
        return np.array(part.tolist(), dtype=part.dtype.kind)
    if part.dtype.kind == "O" and all(isinstance(v, numbers.Real) for v in part.flat):
        return np.array(part.tolist())  # objects only because some other row holds text
    return part.astype(part.dtype.newbyteorder("="), copy=False)


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
