"""Rows as values: canonical bytes and canonical order, whatever container they come in.

A certificate needs the partition of a row, and the member trained on it, to depend on the
row's values and on nothing that merely carries them. So everything here is decided row by
row: two rows with equal values get equal bytes whatever their dtype, memory layout or
container, and whatever other rows stand beside them.
"""

import numpy as np
import scipy.sparse as sp

from .blocks import _TABLE_BYTES, row_blocks
from .cells import number_pairs, ordered, plain_floats
from .containers import as_table, native
from .mixed import mixed_bytes, mixed_ranks
from .out_of_core import forget_pages

# A row with at most one nonzero value in eight is encoded by its nonzeros, so that
# a wide sparse matrix is never filled in; the rule looks at the row alone.
_SPARSE_SHARE = 8

# Columns that are tried first to tell rows apart: one does for fractions, but images begin alike.
_LEADING = (1, 64)
# Rows of mixed tables that are encoded at once.
_MIXED_ROWS = 4096


# ---------------------------------------------------------------- bytes of a row, for hashing


def canonical_bytes(X):
    """Yield one bytes object a row; equal rows give equal bytes, in whatever container.

    Parameters
    ----------
    X : array-like, sparse matrix, dataframe or sequence of str
        Rows. An n-dimensional array counts as its flattened rows.

    Yields
    ------
    row : bytes
        Tag and values: bytes if all values are integers in 0..255, else float32 if that is
        exact, else float64, else exact pairs of float64; by nonzeros where these are few;
        rows that hold anything but numbers cell by cell.
    """
    for tag, rows in canonical_parts(X):
        yield from _joined(tag, rows)


def canonical_parts(X):
    """Yield ``(tag, rows)`` of some rows at a time: their canonical bytes are ``tag + row``.

    The rows of plain tables are views, good until the next part.
    """
    table = as_table(X)
    if sp.issparse(table.dense):
        for rows in row_blocks(table.dense, _TABLE_BYTES):
            yield b"", _sparse_bytes(table.dense[rows])
        return
    if table.coded:
        for start in range(0, len(table), _MIXED_ROWS):
            rows = np.arange(start, min(start + _MIXED_ROWS, len(table)))
            yield b"", mixed_bytes(table.take(rows), _numeric_bytes)
        return
    for rows in row_blocks(table.dense, _TABLE_BYTES):
        part = native(table.dense[rows])
        width = int(np.prod(part.shape[1:]))
        yield _dense_parts(part.reshape(len(part), width))
        forget_pages(table.dense)


def _numeric_bytes(values, long_rows):
    """Return the bytes of rows that are all numbers, in tables that hold other rows too.

    Parameters
    ----------
    values : ndarray of shape (n_rows, n_columns), float64
    long_rows : dict of int to list
        The cells of the rows that hold a number that is no double.
    """
    out = np.empty(len(values), dtype=object)
    if len(values):
        out[:] = list(_joined(*_dense_parts(values)))
    for i, cells in long_rows.items():
        index = [j for j, cell in enumerate(cells) if cell != 0]
        if len(index) * _SPARSE_SHARE > len(cells):
            head, index = b"", range(len(cells))
        else:
            head = _sparse_head(len(cells)) + np.array(index, dtype="<i8").tobytes()
        values = number_pairs([cells[j] for j in index])
        out[i] = head + _TAGS[3] + values.astype("<f8").tobytes()
    return out


def _sparse_head(n_features):
    return b"s" + int(n_features).to_bytes(8, "little")


def _joined(tag, rows):
    return [tag + row for row in rows] if tag else rows


def _dense_parts(A):
    # A quarter of the columns rules out almost every row that has many nonzeros.
    few = np.count_nonzero(A[:, ::4], axis=1) * _SPARSE_SHARE <= A.shape[1]
    if few.any():
        few[few] = np.count_nonzero(A[few], axis=1) * _SPARSE_SHARE <= A.shape[1]
    if few.all():
        return b"", _sparse_bytes(sp.csr_array(A))
    if not few.any():
        return _value_parts(A)
    out = np.empty(len(A), dtype=object)
    out[few] = list(_sparse_bytes(sp.csr_array(A[few])))
    out[~few] = _joined(*_value_parts(A[~few]))
    return b"", out


def _sparse_bytes(A):
    """Encode the rows of a canonical CSR matrix; rows with many nonzeros as dense ones."""
    n_features = A.shape[1]
    counts = np.diff(A.indptr)
    few = counts * _SPARSE_SHARE <= n_features
    out = np.empty(len(counts), dtype=object)
    if not few.all():
        out[~few] = _joined(*_value_parts(A[~few].toarray()))
    head = _sparse_head(n_features)
    index = memoryview(A.indices.astype("<i8").tobytes())
    # One level more, so that the last of all rows may be empty.
    level = np.maximum.reduceat(np.append(_levels(A.data), np.int8(0)), A.indptr[:-1])
    level[counts == 0] = 0
    for one in np.unique(level[few]):
        own = few & (level == one)
        rows = np.flatnonzero(own)
        tag, values = _encode_runs(A.data[np.repeat(own, counts)], counts[rows], one)
        starts, stops = (8 * A.indptr[i].astype(np.int64) for i in (rows, rows + 1))
        out[rows] = [
            b"".join((head, index[start:stop], tag, value))
            for start, stop, value in zip(starts.tolist(), stops.tolist(), values, strict=True)
        ]
    return out


# Levels of exactness: the smallest of these types that holds every value of a row.
_TAGS = (b"1", b"4", b"8", b"p")
_DTYPES = ("u1", "<f4", "<f8")


def _levels(A):
    """Say elementwise which type holds a value exactly: 0 uint8, 1 float32, 2 float64, 3 none."""
    if A.dtype == np.uint8 or A.dtype.kind == "b":
        return np.zeros(A.shape, dtype=np.int8)
    level = np.full(A.shape, 3, dtype=np.int8)
    with np.errstate(invalid="ignore", over="ignore"):
        if A.dtype.kind == "f":
            level[(A == A.astype(np.float64)) | np.isnan(A)] = 2
            level[(A == A.astype(np.float32)) | np.isnan(A)] = 1
        else:
            for one, dtype in ((2, np.float64), (1, np.float32)):
                rounded = A.astype(dtype).astype(np.float64)
                # Rounded up to the first number beyond the type it cannot be cast back.
                inside = rounded < 2.0 ** (8 * A.dtype.itemsize - (A.dtype.kind == "i"))
                level[inside & (np.where(inside, rounded, 0).astype(A.dtype) == A)] = one
        level[A == A.astype(np.uint8)] = 0
    return level


def _value_parts(A):
    """Return dense numeric rows as `canonical_parts` does, each at its own level of exactness."""
    if A.dtype == np.uint8 or A.dtype.kind == "b":
        return _encode(A, 0)
    with np.errstate(invalid="ignore", over="ignore"):
        # A few columns rule out almost every row that holds more than bytes.
        some = A[:, :: max(1, A.shape[1] // 32)]
        level = np.where((some == some.astype(np.uint8)).all(axis=1), 0, 1)
        maybe = np.flatnonzero(level == 0)
        level[maybe] = np.where((A[maybe] == A[maybe].astype(np.uint8)).all(axis=1), 0, 1)
        rest = np.flatnonzero(level)
        if A.dtype == np.float64:
            B = A if len(rest) == len(A) else A[rest]
            single = B == B.astype(np.float32)
            if not single.all():
                level[rest] = np.where((single | np.isnan(B)).all(axis=1), 1, 2)
        elif A.dtype != np.float32:
            level[rest] = _levels(A[rest]).max(axis=1, initial=0)
    present = np.unique(level)
    if len(present) == 1:
        return _encode(A, present[0])
    out = np.empty(len(A), dtype=object)
    for one in present:
        out[level == one] = _joined(*_encode(A[level == one], one))
    return b"", out


def _encode(A, level):
    """Encode rows that are all of one level."""
    tag = _TAGS[level]
    if level == 3:
        return tag, [number_pairs(row).astype("<f8").tobytes() for row in A]
    A = A.astype(_DTYPES[level], copy=False)
    A = plain_floats(A) if level else np.ascontiguousarray(A)
    raw, width = memoryview(A.reshape(-1).view(np.uint8)), A.shape[1] * A.dtype.itemsize
    return tag, [raw[i * width : (i + 1) * width] for i in range(len(A))]


def _encode_runs(values, lengths, level):
    """Encode rows of several lengths, end to end in one array, that are all of one level."""
    ends = np.cumsum(lengths)
    if level == 3:
        runs = np.split(values, ends[:-1])
        return _TAGS[level], [number_pairs(run).astype("<f8").tobytes() for run in runs]
    tag, (raw,) = _encode(values[None, :], level)
    size = np.dtype(_DTYPES[level]).itemsize
    ends, lengths = (size * ends).tolist(), (size * lengths).tolist()
    return tag, [raw[stop - length : stop] for stop, length in zip(ends, lengths, strict=True)]


# ---------------------------------------------------------------- order of rows


def _sort_keys(X):
    """Return one bytes object a row that sorts like the row and ends itself."""
    table = as_table(X)
    if sp.issparse(table.dense):
        return _sparse_keys(table.dense)
    if table.coded:
        return mixed_ranks(table).tolist()
    table = native(table.dense).reshape(len(table), -1)
    if _is_long(table):
        return [ordered(number_pairs(row).T).tobytes() for row in table]
    keys = ordered(table)
    raw, width = memoryview(keys.tobytes()), table.shape[1] * keys.dtype.itemsize
    return [bytes(raw[i * width : (i + 1) * width]) for i in range(len(keys))]


def _is_long(A):
    return A.dtype.kind == "f" and A.dtype.itemsize > 8


def _sparse_keys(A):
    """Return keys that order sparse rows as their dense rows would be ordered.

    Where one row has its next nonzero before the other, that value is compared with zero:
    positive values come after the end of a row (early columns last), negative ones before
    it (early columns first).
    """
    positive = ~(A.data < 0)  # NaN sorts last, so it counts as positive
    place = np.where(positive, A.shape[1] - A.indices.astype(np.int64), A.indices)
    high, low = A.data.astype(np.float64), 0
    if A.data.dtype.kind in "iu" and A.data.dtype.itemsize == 8 and (np.abs(high) >= 2**53).any():
        high, low = ordered(number_pairs(A.data))  # doubles alone do not tell such integers apart
    else:
        high = ordered(high)
    entry = np.empty(
        A.nnz, dtype=[("side", "u1"), ("place", ">u8"), ("high", ">u8"), ("low", ">u8")]
    )
    entry["side"], entry["place"] = np.where(positive, 2, 0), place
    entry["high"], entry["low"] = high, low
    raw, size = memoryview(entry.tobytes()), entry.dtype.itemsize
    return [
        bytes(raw[size * start : size * stop]) + b"\x01"
        for start, stop in zip(A.indptr[:-1].tolist(), A.indptr[1:].tolist(), strict=True)
    ]


def canonical_order(X, y=None, *others):
    """Return the permutation that puts rows in their one canonical order.

    The order is lexicographic by features (missing values last, numbers before rows that
    hold text), then by label, then by whatever else is given: a function of the set of
    rows, not of the order in which they came.

    Parameters
    ----------
    X : array-like, sparse matrix, dataframe or sequence of str
        Rows; an n-dimensional array counts as its flattened rows.
    y : array-like of shape (n_samples,), default=None
        Labels that order rows with equal features.
    *others : array-like of length n_samples
        Further values of each row, such as weights, compared last.

    Returns
    -------
    order : ndarray of shape (n_samples,), int64
        ``X[order]`` is in canonical order; rows that are equal in everything keep
        their relative order, which nothing can see.

    Examples
    --------
    >>> from certified_ensembles.hashers import canonical_order
    >>> canonical_order([[2, 1], [1, 9], [2, 0]]).tolist()
    [1, 2, 0]
    """
    return order_rows(X, y, *others)[0]


def order_rows(X, y=None, *others):
    """Return what :func:`canonical_order` does, and whether rows are known to differ in X."""
    X = as_table(X)
    for n_columns in _LEADING:
        start = _leading_columns(X, n_columns)
        if start is None:
            break
        order = start.argsort(kind="stable")
        start = start[order]
        if (start[1:] != start[:-1]).all():
            return order, True
    columns = [_sort_keys(values) for values in (X, y, *others) if values is not None]
    keys = columns[0] if len(columns) == 1 else list(zip(*columns, strict=True))
    return _argsort(keys), False


def _argsort(keys):
    return np.array(sorted(range(len(keys)), key=keys.__getitem__), dtype=np.int64)


def _leading_columns(X, n_columns):
    """Return the first columns of a numeric array as keys that sort like them, one a row.

    Where all differ they decide alone.
    """
    if not X.is_plain or not X.dense.size:
        return None
    table = native(X.dense.reshape(len(X), -1)[:, :n_columns])
    if _is_long(table):
        return None
    keys = np.ascontiguousarray(ordered(table))
    if keys.shape[1] == 1:
        return keys[:, 0].astype(keys.dtype.newbyteorder("="))
    return keys.view(f"S{keys.shape[1] * keys.dtype.itemsize}")[:, 0]
