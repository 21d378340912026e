"""Tables put on top of each other: parts that were brought into canonical form apart."""

import numpy as np
import scipy.sparse as sp

from .cells import MISSING, NUMBER, kind_of
from .frames import coded_columns, exact_doubles
from .sparse import canonical_csr
from .table import Coded, Table, coded_or_doubles, join_columns


def join_tables(tables):
    """Return the rows of several tables as one, in which no cell has changed its value.

    Parts may differ in what their columns hold: in one a column is all numbers, in another one of
    its cells is a text, or a number that no double holds.

    Parameters
    ----------
    tables : list of Table
        At least one, of one kind of container and with the same columns.

    Returns
    -------
    table : Table
        The table that the joined rows would have given at the door, up to the types of its
        numbers and the order of its levels, neither of which any member sees.
    """
    first = tables[0]
    if len(tables) == 1:
        return first
    how = {"categories": first.categories}
    parts = [table.dense for table in tables]
    if not any(table.coded for table in tables):
        if all(map(sp.issparse, parts)) and _exact_together(parts):
            stacked = sp.vstack(parts, format="csr", dtype=np.result_type(*parts))
            return Table(_as_class_of(parts[0], stacked), first.container, **how)
        parts = [table.dense_rows() for table in tables]
        if _exact_together(parts):
            return Table(np.concatenate(parts), first.container, **how)
    n_rows = sum(map(len, tables))
    columns = [_joined_column(tables, place) for place in range(first.n_columns)]
    return join_columns(columns, n_rows, first.container, **how)


def _as_class_of(like, stacked):
    if isinstance(like, sp.sparray) != isinstance(stacked, sp.sparray):
        stacked = type(like)(stacked)
    return canonical_csr(stacked) if not stacked.has_canonical_format else stacked


def _exact_together(parts):
    """Say whether the type that numpy gives to several arrays of numbers holds all of them."""
    values = [part.data if sp.issparse(part) else part for part in parts]
    types = {own.dtype for own in values}
    if len(types) == 1:
        return True
    return all(map(exact_doubles, values)) or np.result_type(*types).kind in "iub"


def _joined_column(tables, place):
    """Return one column of all tables as doubles, or as codes if any cell is no double."""
    columns = [_own_column(table, place) for table in tables]
    if not any(isinstance(column, Coded) for column in columns):
        return np.concatenate(columns)
    codes, levels, place_of = [], [], {}
    for column in columns:
        if not isinstance(column, Coded):
            column = _coded_numbers(column)
        own = np.empty(len(column.levels), dtype=np.int32)
        for i, cell in enumerate(column.levels):
            own[i] = place_of.setdefault((kind_of(cell), cell), len(levels))
            if own[i] == len(levels):
                levels.append(cell)
        codes.append(own[column.codes])
    cells = np.empty(len(levels), dtype=object)
    cells[:] = levels
    kinds = np.array([kind_of(cell) for cell in levels], dtype=np.int8)
    return coded_or_doubles(np.concatenate(codes), cells, kinds)


def _own_column(table, place):
    """Return a column of one table: doubles, or codes."""
    if place in table.coded:
        return table.coded[place]
    j = np.searchsorted(table.dense_places, place)
    values = table.dense[:, [j]]
    values = values.toarray().ravel() if sp.issparse(values) else np.asarray(values).ravel()
    if exact_doubles(values):
        return values.astype(np.float64)
    return coded_columns(values[:, None].astype(object))[0]


def _coded_numbers(values):
    """Return doubles as a coded column."""
    different, codes = np.unique(values + 0.0, return_inverse=True)
    missing = np.isnan(different)
    levels = np.empty(len(different), dtype=object)
    levels[:] = different.tolist()
    levels[missing] = None
    kinds = np.where(missing, MISSING, NUMBER).astype(np.int8)
    return Coded(codes.astype(np.int32), levels, kinds)
