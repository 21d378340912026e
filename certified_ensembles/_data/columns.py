"""Blocks of columns: each a table of its own, a function of the cells that stand in it."""

import sys

import numpy as np
import scipy.sparse as sp

from .cells import has_form
from .containers import is_frame
from .frames import coded_columns, exact_doubles
from .sparse import canonical_csr
from .table import Container, Table, join_columns


def n_features(table):
    """Return the shape of what is dealt out to blocks: columns, or the pixels of images."""
    return (table.n_columns,) if table.dense.ndim == 2 else table.dense.shape[1:3]


def column_names(table):
    """Return the names of the columns of a frame; None where they are not texts, as scikit-learn.

    Numbers are what pandas calls columns that have no names.
    """
    names = table.container.names if table.container.kind in ("pandas", "polars") else ()
    return list(names) if len(names) and all(isinstance(name, str) for name in names) else None


def block_table(table, places):
    """Return some columns as a table, as if nothing else had stood beside them.

    Whatever the columns of others hold must not show: neither the type that all numbers have in
    common, nor whether other columns hold words, nor whether a frame is sparse.

    Parameters
    ----------
    table : Table
        Of columns, or of images, whose pixels are columns, each with all of its channels.
    places : ndarray of int
        Rising.

    Returns
    -------
    block : Table
        Of two axes, its numbers in double precision.
    """
    dense, container = table.dense, table.container
    if dense.ndim > 2:
        pixels = dense.reshape(len(dense), int(np.prod(dense.shape[1:3])), -1)
        return _of_numbers(pixels[:, places].reshape(len(dense), -1), container)
    if not table.coded and sp.issparse(dense) and container.kind == "csr":
        return Table(canonical_csr(dense[:, places].astype(np.float64)), container)
    container = Container(container.kind, _names_at(container, places))
    own = np.searchsorted(table.dense_places, places[~np.isin(places, list(table.coded))])
    dense = dense[:, own].toarray() if sp.issparse(dense) else dense[:, own]
    numbers = _of_numbers(dense, container)
    if not table.coded:
        return numbers
    columns, done = [], 0
    for place in places:
        if place in table.coded:
            columns.append(table.coded[place])
            continue
        columns.append(numbers.coded.get(done, None))
        if columns[-1] is None:
            columns[-1] = numbers.column(done)[0]
        done += 1
    return join_columns(columns, len(table), container)


def _names_at(container, places):
    if container.kind == "pandas":
        return container.names[places]
    return [container.names[j] for j in places] if container.kind == "polars" else container.names


def _of_numbers(values, container):
    """Return numbers as doubles; a column of which doubles do not hold all as exact cells."""
    if exact_doubles(values):
        return Table(np.ascontiguousarray(values, dtype=np.float64), container)
    return join_columns(coded_columns(values.astype(object)), len(values), container)


def array_of(block):
    """Return a block as one array, for a hasher of the caller's: of objects if not of doubles."""
    array = block.numbers()
    if block.coded:
        array = array.astype(object)
        for place, column in block.coded.items():
            array[:, place] = column.levels[column.codes]
    return array


def blank_formless(X):
    """Return rows with a missing cell in the place of each that has no canonical form.

    Whoever owns a column may put such a cell into every row of it: to leave out these rows would
    take them from the members of all other columns.

    Parameters
    ----------
    X : array-like or dataframe

    Returns
    -------
    X : container of the same kind; a list of rows becomes an array of objects
    """
    if is_frame(X) and hasattr(X, "iloc"):
        X = X.copy()
        for j, dtype in enumerate(X.dtypes):
            if getattr(dtype, "kind", "O") == "O":
                cells = np.empty(len(X), dtype=object)
                cells[:] = _blanked(X.iloc[:, j])
                X.isetitem(j, cells)
        return X
    if is_frame(X) and hasattr(X, "get_column"):
        polars = sys.modules["polars"]
        mixed = [
            polars.Series(column.name, _blanked(column.to_list()), dtype=polars.Object)
            for column in X
            if not all(map(has_form, column.to_list()))
        ]
        return X.with_columns(mixed)
    if isinstance(X, list | tuple):
        rows = [row if isinstance(row, list | tuple | np.ndarray) else [row] for row in X]
        if len({len(row) for row in rows}) != 1:
            return X
        cells = np.empty((len(rows), len(rows[0])), dtype=object)
        for own, row in zip(cells, rows, strict=True):
            own[:] = _blanked(row)
        return cells
    if isinstance(X, np.ndarray) and X.dtype == object:
        cells = np.empty(X.size, dtype=object)
        cells[:] = _blanked(X.ravel())
        return cells.reshape(X.shape)
    return X


def _blanked(cells):
    return [cell if has_form(cell) else None for cell in cells]
