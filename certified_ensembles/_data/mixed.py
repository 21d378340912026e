"""Bytes and order of the rows of tables that hold more than doubles."""

import numpy as np

from .cells import BYTES, LONG, ODD_TIME, SPAN, TEXT, TIME, ordered, plain_floats

_WORDS = (TEXT, BYTES, TIME, SPAN, ODD_TIME)
# Columns that are tried first to tell rows apart: one does where it holds fractions.
_LEADING = (1, 8)
# A number among words.
_CELL = np.dtype([("tag", "u1"), ("number", ">u8"), ("rest", ">u8")])


def mixed_bytes(table, numeric_bytes):
    """Return the canonical bytes of every row of a mixed table.

    Parameters
    ----------
    table : Table
        With coded columns.
    numeric_bytes : callable
        Encodes the rows that hold no word: those are the rows of a table of numbers, whatever
        stands in others.

    Returns
    -------
    rows : ndarray of shape (n_rows,), object
    """
    out = np.empty(len(table), dtype=object)
    words = table.any_kind(*_WORDS)
    plain = np.flatnonzero(~words)
    if len(plain):
        rows = table.take(plain)
        long_rows = {}
        for i in np.flatnonzero(rows.any_kind(LONG)):
            long_rows[int(i)] = [_exact_cell(rows, place, i) for place in range(rows.n_columns)]
        out[plain] = numeric_bytes(rows.numbers(), long_rows)
    if words.any():
        out[words] = _cells_of(table if words.all() else table.take(np.flatnonzero(words)))
    return out


def _exact_cell(table, place, i):
    column = table.coded.get(place)
    if column is None:
        return table.column(place)[0][i]
    cell = column.levels[column.codes[i]]
    return np.nan if cell is None else cell


def _cells_of(table):
    """Return rows cell by cell: runs of numbers are cut out of one buffer, words looked up."""
    columns, run = [], 0
    places = set(table.coded)
    numbers, start, stop = _number_cells(table.dense_rows())
    for place in range(table.n_columns):
        if place in places:
            column = table.coded[place]
            columns.append(column.keys[column.codes])
        elif place == 0 or place - 1 in places:  # a run begins
            first = run
            while place + (run - first) < table.n_columns and place + (run - first) not in places:
                run += 1
            bounds = zip(start[:, first].tolist(), stop[:, run - 1].tolist(), strict=True)
            columns.append([numbers[a:b] for a, b in bounds])
    join = b"".join
    return [join((b"o", *cells)) for cells in zip(*columns, strict=True)]


def _number_cells(dense):
    """Return the bytes of all cells of numbers, and where each begins and ends.

    A number takes 17 bytes (a tag, the number and the remainder that a double leaves), a
    missing one a tag alone.
    """
    n, m = dense.shape
    if not m:
        return b"", np.zeros((n, 0), np.int64), np.zeros((n, 0), np.int64)
    values = plain_floats(dense)
    cells = np.empty((n, m), dtype=_CELL)
    cells["tag"], cells["number"], cells["rest"] = 1, ordered(values), ordered(np.zeros(1))
    missing = np.isnan(values)
    lengths = np.full((n, m), 17, dtype=np.int64)
    raw = cells.view(np.uint8).reshape(n, m, 17)
    if missing.any():
        cells["tag"][missing] = 4
        lengths[missing] = 1
        raw = raw[np.arange(17) < lengths[:, :, None]]
    stop = np.cumsum(lengths.ravel()).reshape(n, m)
    return memoryview(raw.reshape(-1)), stop - lengths, stop


def mixed_ranks(table):
    """Return integers that sort like the rows of a mixed table; equal rows get equal ones.

    Rows without a word come first; then the first column decides, and so on. In a column numbers
    come before texts, texts before bytes, and missing cells last.
    """
    keys, m = [table.any_kind(*_WORDS)], table.n_columns
    dense = dict(zip(table.dense_places.tolist(), table.dense_rows().T, strict=True))
    for n_columns in dict.fromkeys((*(min(few, m) for few in _LEADING), m)):
        for place in range(len(keys) - 1, n_columns):
            if place in dense:
                keys.append(ordered(dense[place]).astype(np.uint64))
            else:
                column = table.coded[place]
                keys.append(column.ranks[column.codes])
        order = np.lexsort(keys[::-1])
        new = np.zeros(len(table), dtype=bool)
        for key in keys:
            sorted_key = key[order]
            new[1:] |= sorted_key[1:] != sorted_key[:-1]
        if new[1:].all():
            break
    ranks = np.empty(len(table), dtype=np.int64)
    ranks[order] = np.cumsum(new)
    return ranks
