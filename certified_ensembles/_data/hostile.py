"""Rows with one cell that changes its column's type, as an attacker would append them."""

import datetime
import numbers
import sys

import numpy as np
import scipy.sparse as sp

from .containers import is_frame, is_text
from .forms import EXACT, as_objects, change_numbers, is_missing, rows_at, untidy_csr

# A moment between two microseconds, and one in another time zone.
_MOMENT = np.datetime64("2024-05-05T06:07:08.000000009", "ns")
_ABROAD = datetime.datetime(2024, 5, 5, tzinfo=datetime.timezone(datetime.timedelta(hours=9)))

# Cells that change the type of a column of a kind when one row with them is appended.
HOSTILE_CELLS = {
    "bool": (1, 2, 0.5, "a word", None),
    "int": (0.5, True, EXACT + 1, "a word", None, _MOMENT),
    "float": ("a word", None, True, EXACT + 1, _MOMENT),
    "category": (" a new level", "~ a new level", 7, None),
    "text": (None, 7, 0.5, True, " "),
    "time": ("never", None, 7, _MOMENT, _ABROAD),
    "span": ("never", None, 7),
    "mixed": (None, "a word", 1, 0.5),
}

# Beyond single precision, with a square beyond double, beside the largest double, and no number.
HOSTILE_MAGNITUDES = (1e39, 1e200, 1e308, np.nan)


def hostile_rows(X, rng):
    """Yield (words, one row): rows of X with a cell that changes its column's type.

    One column of each kind is drawn, and gets each of the kind's hostile cells in turn.
    """
    n = X.shape[0] if hasattr(X, "shape") else len(X)
    if sp.issparse(X):
        yield from _hostile_sparse_rows(X, rng)
        return
    columns = {}
    for j in rng.permutation(_n_columns(X)):
        columns.setdefault(kind_of_column(X, j), int(j))
    for kind, j in sorted(columns.items()):
        for value in HOSTILE_CELLS[kind]:
            i = int(rng.integers(n))
            words = f"row {i} with {value!r} in {kind} column {j}"
            yield words, with_cell(X, i, j, value)
            if kind == "category" and hasattr(X, "iloc"):
                yield f"{words}, as an object", with_cell(X, i, j, value, declared=False)


def huge_rows(X, rng):
    """Yield (words, one row): a row of X, all of its numbers of one hostile magnitude."""
    n = X.shape[0] if hasattr(X, "shape") else len(X)
    for value in HOSTILE_MAGNITUDES:
        i = int(rng.integers(n))
        row = change_numbers(rows_at(X, [i]), lambda v, value=value: np.full(v.shape, value))
        if row is not None:
            yield f"row {i} with {value!r} in place of its numbers", row


def with_cell(X, i, j, value, declared=True):
    """Return row i of X, as a table of one row, with another value in column j.

    ``declared=False`` leaves a new value of a categorical column without a level.
    """
    if hasattr(X, "iloc"):
        pd = sys.modules["pandas"]
        row = X.iloc[[i]].copy()
        level = hasattr((X if X.ndim == 1 else X.iloc[:, j]).dtype, "categories")
        if level and declared:
            cell = pd.Series(pd.Categorical([value]), index=row.index)
        else:
            cell = pd.Series([value], index=row.index, dtype=object if level else None)
        if X.ndim == 1:
            return cell
        row.isetitem(j, cell)
        return row
    if is_frame(X):
        pl = sys.modules["polars"]
        value = value.item() if isinstance(value, np.datetime64) else value
        return X[[i]].with_columns(pl.Series(X.columns[j], [value]))
    if isinstance(X, list | tuple):
        if is_text(X):
            return [value]
        row = list(X[i])
        row[j] = value
        return [row]
    row = np.array(X)[[i]]
    number = isinstance(value, bool | int | float)
    if number and row.dtype.kind in "biuf":
        row = row.astype(np.result_type(row.dtype, np.asarray(value).dtype))
    else:
        row = as_objects(row)
    row.reshape(-1)[j] = value
    return row


def _hostile_sparse_rows(X, rng):
    X = X.tocsr()
    for i in rng.integers(X.shape[0], size=2):
        row = X[[i]]
        yield f"row {i} with unsorted indices, entries twice, zeros", untidy_csr(row, rng, True)
    for value in (0.5, np.nan, float(EXACT + 2)):
        i = int(rng.integers(X.shape[0]))
        row = X[[i]].astype(np.result_type(X.dtype, np.float64))
        row.data[:1] = value
        yield f"row {i} with {value!r} as its first entry", row


def _n_columns(X):
    if is_frame(X):
        return X.shape[1]
    if isinstance(X, list):
        return 1 if is_text(X) else len(X[0])
    return int(np.prod(X.shape[1:]))


def kind_of_column(X, j):
    """Return the kind of a column, a key of HOSTILE_CELLS, by its cells."""
    column = X.iloc[:, j] if hasattr(X, "iloc") and X.ndim == 2 else X
    if is_frame(X) and not hasattr(X, "iloc"):
        column = X[X.columns[j]]
    if hasattr(column, "dtype") and str(column.dtype).lower().startswith(("categor", "enum")):
        return "category"
    if isinstance(X, np.ndarray) and X.dtype.kind in "biuf":
        return {"b": "bool", "f": "float"}.get(X.dtype.kind, "int")
    return _kind_of_cells(list(column) if column is not X else _cells(X, j))


def _cells(X, j):
    if isinstance(X, list) and not is_text(X):
        return [row[j] for row in X]
    return np.asarray(X).reshape(len(X), -1)[:, j].tolist() if getattr(X, "ndim", 1) > 1 else X


_KINDS = {
    "bool": (bool, np.bool_),
    "int": numbers.Integral,
    "float": numbers.Real,
    "text": (str, bytes),
    "time": (datetime.date, np.datetime64),
    "span": (datetime.timedelta, np.timedelta64),
}


def _kind_of_cells(cells):
    cells = [cell for cell in cells if not is_missing(cell)]
    for kind, types in _KINDS.items():
        if cells and all(isinstance(cell, types) for cell in cells):
            return kind
    return "mixed"
