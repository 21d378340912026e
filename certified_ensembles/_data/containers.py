"""The door: every container that rows come in is brought into the one canonical form, once."""

import numpy as np
import scipy.sparse as sp
from sklearn.utils.validation import _num_samples

from .cells import LONG, MISSING, NUMBER, has_form
from .frames import coded, coded_columns, frame_table, times_column
from .out_of_core import rows_at
from .sparse import canonical_csr
from .table import Coded, Container, Table, join_columns

# Types of which every value has a canonical form.
_ALWAYS_CELLS = {str, bytes, float, bool, type(None)}


def n_rows(X):
    """Return the number of rows of any supported container."""
    return len(X) if isinstance(X, Table) else _num_samples(X)


def is_frame(X):
    """Say whether X is a dataframe (pandas, polars, or anything with named columns)."""
    return hasattr(X, "columns") and hasattr(X, "__getitem__") and not sp.issparse(X)


def is_text(X):
    """Say whether X is a flat sequence that holds a string or bytes."""
    if isinstance(X, Table):
        return X.is_text
    return is_flat(X) and any(isinstance(value, str | bytes) for value in X)


def is_flat(X):
    """Say whether X is a flat sequence that may hold texts, some or all of them missing."""
    if isinstance(X, Table | dict | set | str | bytes) or sp.issparse(X) or is_frame(X):
        return False
    if getattr(X, "ndim", 1) != 1 or not hasattr(X, "__len__") or len(X) == 0:
        return False
    dtype = getattr(X, "dtype", None)
    if isinstance(dtype, np.dtype) and dtype.kind not in "OUST":
        return False
    return not any(isinstance(value, list | tuple | np.ndarray) for value in X)


def as_table(X, text=None):
    """Return rows in their canonical form.

    Parameters
    ----------
    X : array-like, sparse matrix, dataframe, sequence of str, or Table
    text : bool, default=None
        Whether a flat sequence is one of texts; None: if it holds one.

    Returns
    -------
    table : Table
        X itself if it is one.

    Raises
    ------
    TypeError
        If rows or cells have no canonical form; the message names row, column, value and remedy.
    """
    if isinstance(X, Table):
        return X
    if isinstance(X, dict | set | frozenset | str | bytes):
        raise TypeError(
            f"X is a {type(X).__name__}: pass rows as an array, a list of rows, a dataframe, a "
            "sparse matrix, or texts as a list of strings (of a single one: [X])."
        )
    if is_frame(X):
        return frame_table(X)
    if sp.issparse(X):
        csr = canonical_csr(X)
        return Table(csr, Container("csr", type(csr)), given=csr)
    if is_text(X) if text is None else text:
        return _text_table(X)
    return _array_table(X)


def _text_table(X):
    series = hasattr(X, "iloc")
    container = Container("series", X.name) if series else Container("text")
    column = coded(list(X))
    if not isinstance(column, Coded):  # a few test rows, all of them missing
        levels = np.array([None], dtype=object)
        column = Coded(np.zeros(len(column), np.int32), levels, np.zeros(1, np.int8))
    return Table(np.empty((len(column.codes), 0)), container, {0: column}, given=X)


def _array_table(X):
    array = X if isinstance(X, np.ndarray) else exact_array(X)
    if array.ndim == 0:
        raise ValueError(f"Expected a sequence of rows, got the scalar {X!r}.")
    container, given = Container("array"), {"given": array}
    if array.dtype.kind in "biuf":
        return Table(
            native(array) if array.ndim > 1 else native(array)[:, None], container, **given
        )
    if array.dtype.kind not in "OUSMmT":
        raise TypeError(
            f"Rows of dtype {array.dtype} have no canonical bytes: pass real numbers, strings, "
            "or a hasher of your own."
        )
    width = int(np.prod(array.shape[1:]))
    flat = array.reshape(len(array), width)
    if array.dtype.kind in "Mm":
        columns = [times_column(flat[:, j]) for j in range(width)]
    else:
        columns = coded_columns(flat.astype(object, copy=False))
    table = join_columns(columns, len(array), container, **given)
    if array.ndim > 2:
        table = Table(_numbers_of_images(table, flat).reshape(array.shape), container, **given)
    return table


def _numbers_of_images(table, flat):
    """Return the cells of rows with more than one axis, which must be numbers, exactly."""
    for place, column in table.coded.items():
        if not np.isin(column.kinds, (MISSING, NUMBER, LONG)).all():
            raise TypeError(
                f"X has more than two axes and holds cells that are no numbers, such as in column "
                f"{place} of its flat rows: pass numbers, or a table of two axes."
            )
    if not table.coded:
        return table.dense
    out = np.empty(flat.shape, dtype=np.longdouble)  # holds integers of 64 bits
    out[:, table.dense_places] = table.dense
    for place, column in table.coded.items():
        cells = [np.nan if cell is None else cell for cell in column.levels]
        wide = np.array(cells, dtype=np.longdouble)
        if any(w != cell for w, cell in zip(wide, cells, strict=True) if cell == cell):
            raise TypeError(
                f"Column {place} of the flat rows of X holds integers beyond 64 bits: round them."
            )
        out[:, place] = wide[column.codes]
    return out


def exact_array(X):
    """Return a sequence as an array in which no cell has changed another's value."""
    if hasattr(X, "__array__") and not isinstance(X, list | tuple):
        return np.asarray(X)
    # numpy turns a table into text if one cell is, large integers into floats if one is a
    # fraction; cells keep their types as objects.
    words = _holds_words(X)
    try:
        array = np.array(X, dtype=object) if words else np.asarray(X)
    except ValueError as error:
        raise ValueError(_ragged(X) or str(error)) from error
    if words and array.ndim < 2:
        raise ValueError(_ragged(X))
    if array.dtype.kind in "US" or not _kept_its_values(X, array):
        array = np.array(X, dtype=object)
    return array


def _holds_words(X):
    """Say whether a list of rows holds a text: numpy would spell out every number first."""
    if not isinstance(X, list | tuple) or not all(isinstance(row, list | tuple) for row in X):
        return False
    words = {str, bytes}
    return not all(words.isdisjoint(map(type, row)) for row in X)


def _kept_its_values(X, array):
    if not isinstance(X, list | tuple) or array.dtype.kind != "f" or not array.size:
        return True
    with np.errstate(invalid="ignore"):
        return not np.nanmax(np.abs(array), initial=0.0) >= 2.0**53


def _ragged(X):
    """Say which row has another length than the first, or None."""
    lengths = [len(row) if hasattr(row, "__len__") else None for row in X]
    for i, length in enumerate(lengths):
        if length != lengths[0]:
            return (
                f"The rows of X have different lengths: row 0 has {lengths[0]} cells, row {i} has "
                f"{length}. Pass rows of one length, or texts as one string each."
            )
    return None


def native(A):
    """Return numbers in native byte order, half precision as single (scipy has none)."""
    half = A.dtype.kind == "f" and A.dtype.itemsize == 2
    return A.astype(np.float32 if half else A.dtype.newbyteorder("="), copy=False)


def rows_with_form(X):
    """Say which rows have a canonical form: all of their cells have one.

    Parameters
    ----------
    X : array-like, dataframe or sequence of str

    Returns
    -------
    known : ndarray of shape (n_rows,), bool, or None
        None where it is not about single rows: they are of different lengths, or the container
        has no form.
    """
    if is_frame(X) and hasattr(X, "get_column"):
        columns = [X.get_column(name).to_list() for name in X.columns]
    elif is_frame(X) and hasattr(X, "iloc"):
        columns = [list(X.iloc[:, j]) for j in range(X.shape[1])]
    elif is_text(X):
        columns = [list(X)]
    elif isinstance(X, np.ndarray) and X.dtype == object and X.ndim > 1:
        columns = X.reshape(len(X), -1).T.tolist()
    elif isinstance(X, list | tuple) and X and all(isinstance(r, list | tuple) for r in X):
        if len(set(map(len, X))) > 1:
            return None
        columns = list(zip(*X, strict=True))
    else:
        return None
    known = np.ones(n_rows(X), dtype=bool)
    for column in columns:
        if not set(map(type, column)) <= _ALWAYS_CELLS:
            known &= np.fromiter(map(has_form, column), dtype=bool, count=len(column))
    return known


# ---------------------------------------------------------------- containers of the caller's


def take(X, index):
    """Return rows of a caller's container, in a container of the same kind.

    Only for what is handed back to a caller, or to an estimator's fit: members get their rows
    from a :class:`Table`.
    """
    if isinstance(X, Table):
        return X.take(index)
    if sp.issparse(X):
        return X.tocsr()[index]
    if isinstance(X, list | tuple):
        return [X[i] for i in index]
    if hasattr(X, "iloc"):
        return X.iloc[index].reset_index(drop=True)
    if is_frame(X):
        return X[list(map(int, index))]
    part = np.ascontiguousarray(rows_at(X, index))
    if part.dtype.kind in "US":
        return np.array(part.tolist(), dtype=part.dtype.kind)
    return native(part) if part.dtype.kind in "biuf" else part


def own_copy(X):
    """Return rows that may be overwritten without anybody else seeing it."""
    return (
        list(X) if isinstance(X, list | tuple) else X.copy() if hasattr(X, "copy") else X.clone()
    )
