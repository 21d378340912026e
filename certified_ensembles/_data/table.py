"""The one form of rows behind the door: numbers in one block, all other cells as codes.

A table of numbers is an array (of two axes or more) or a CSR matrix in its one canonical form. A
column that holds anything but doubles is factorised once, when it enters: a code for every row,
and the different cells once each. Hashing, order, slicing, handing out to members and shaping
test rows all work on this form and on nothing else.
"""

import functools
from typing import Any, NamedTuple

import numpy as np
import scipy.sparse as sp

from .blocks import row_major
from .cells import LONG, MISSING, NUMBER, cell_key
from .out_of_core import rows_at

_N_KINDS = 8


class Container(NamedTuple):
    """What rows came in, and so what members get them in.

    Attributes
    ----------
    kind : {"array", "csr", "pandas", "polars", "text", "series"}
        Texts are a flat sequence, as a series of pandas or as anything else.
    names : object
        The names of the columns of a frame, the name of a series, the class of a CSR matrix;
        None for others.
    """

    kind: str
    names: Any = None


class Coded:
    """A column of cells that are not all doubles.

    Parameters
    ----------
    codes : ndarray of shape (n_rows,), int
        Places in `levels`.
    levels : ndarray of shape (n_levels,), object
        The different canonical cells.
    kinds : ndarray of shape (n_levels,), int8
        The kind of each of them.
    """

    __slots__ = ("_keys", "_ranks", "codes", "kinds", "levels")

    def __init__(self, codes, levels, kinds, keys=None, ranks=None):
        self.codes, self.levels, self.kinds = codes, levels, kinds
        self._keys, self._ranks = keys, ranks

    def __getstate__(self):
        # Nothing that is computed on demand travels, or decides the key of a cache.
        return self.codes, self.levels, self.kinds

    def __setstate__(self, state):
        self.__init__(*state)

    @property
    def keys(self):
        """The bytes of each level in a hash (see `cell_key`)."""
        if self._keys is None:
            self._keys = np.empty(len(self.levels), dtype=object)
            self._keys[:] = [cell_key(cell) for cell in self.levels]
        return self._keys

    @property
    def ranks(self):
        """The place of each level in the canonical order of cells."""
        if self._ranks is None:
            keys = [cell_key(cell, telling=True) for cell in self.levels]
            order = sorted(range(len(keys)), key=keys.__getitem__)
            self._ranks = np.empty(len(keys), dtype=np.int64)
            self._ranks[order] = np.arange(len(keys))
        return self._ranks

    def take(self, index):
        """Return the column of some rows, with the levels of these rows alone."""
        used, codes = np.unique(self.codes[index], return_inverse=True)
        keys = None if self._keys is None else self._keys[used]
        ranks = None if self._ranks is None else self._ranks[used]
        return Coded(codes.astype(np.int32), self.levels[used], self.kinds[used], keys, ranks)

    def present(self):
        """Return which kinds the cells have, as an array of bool."""
        return np.bincount(self.kinds, minlength=_N_KINDS) > 0

    def numbers(self):
        """Return doubles, NaN where a cell is none."""
        known = (self.kinds == NUMBER) | (self.kinds == LONG)
        values = np.full(len(self.levels), np.nan)
        values[known] = [float(cell) for cell in self.levels[known]]
        return values[self.codes]


class Table:
    """Rows in their canonical form.

    Parameters
    ----------
    dense : ndarray of shape (n_rows, n_dense, ...) or CSR matrix
        Numbers in native byte order. With coded columns doubles.
    container : Container
    coded : dict of int to Coded, default=None
        The columns that hold anything but doubles, by place.
    categories : ndarray of bool, default=None
        Which columns the container called a category.
    given : object, default=None
        The rows as they came, for hashers of the caller's; not kept by slices.
    """

    def __init__(self, dense, container, coded=None, categories=None, given=None):
        self.dense, self.container, self.coded = dense, container, coded or {}
        self.categories, self.given = categories, given

    def __getstate__(self):
        # Neither the caller's rows nor what is computed on demand travel, or decide a cache's key.
        return self.dense, self.container, self.coded, self.categories

    def __setstate__(self, state):
        self.__init__(*state)

    def __len__(self):
        return self.dense.shape[0]

    @property
    def n_columns(self):
        """Number of columns; of an array with more than two axes the length of the second."""
        return self.dense.shape[1] + len(self.coded)

    @property
    def shape(self):
        """As numpy's."""
        return (len(self), self.n_columns, *self.dense.shape[2:])

    @property
    def is_text(self):
        """Whether the rows are a flat sequence of texts."""
        return self.container.kind in ("text", "series")

    @property
    def is_plain(self):
        """Whether all cells are numbers in one array."""
        return not self.coded and not sp.issparse(self.dense)

    @functools.cached_property
    def dense_places(self):
        """The places of the columns that are not coded."""
        if not self.coded:
            return np.arange(self.dense.shape[1])
        return np.setdiff1d(np.arange(self.n_columns), list(self.coded))

    @property
    def row_bytes(self):
        """Bytes of one row of an array as members get it; 0 for other containers."""
        if not self.is_plain or self.container.kind != "array":
            return 0
        size = 8 if self.dense.ndim == 2 else self.dense.dtype.itemsize
        return size * int(np.prod(self.dense.shape[1:]))

    def take(self, index):
        """Return some rows, in a form that depends on these rows alone."""
        coded = {place: column.take(index) for place, column in self.coded.items()}
        if sp.issparse(self.dense):
            dense = self.dense[index]
        else:
            dense = np.ascontiguousarray(rows_at(self.dense, index))
        return Table(dense, self.container, coded, self.categories)

    def column(self, place):
        """Return one column as doubles (NaN where a cell is none), and as codes if it has any."""
        if place in self.coded:
            return self.coded[place].numbers(), self.coded[place]
        j = np.searchsorted(self.dense_places, place) if self.coded else place
        if sp.issparse(self.dense):
            return self.dense[:, [j]].toarray().ravel().astype(np.float64), None
        return np.asarray(self.dense[:, j], dtype=np.float64), None

    def dense_rows(self):
        """Return the numbers that are not coded as an array."""
        return self.dense.toarray() if sp.issparse(self.dense) else self.dense

    def numbers(self):
        """Return all cells as doubles, NaN where one is missing or no number."""
        dense = self.dense_rows()
        if not self.coded:
            return dense
        out = np.empty((len(self), self.n_columns))
        out[:, self.dense_places] = dense
        for place, column in self.coded.items():
            out[:, place] = column.numbers()
        return out

    def any_kind(self, *kinds):
        """Say which rows hold a cell of one of these kinds in a coded column."""
        found = np.zeros(len(self), dtype=bool)
        for column in self.coded.values():
            wanted = np.isin(column.kinds, kinds)
            if wanted.any():
                found |= wanted[column.codes]
        return found


def coded_or_doubles(codes, levels, kinds):
    """Return a factorised column as doubles if all its cells are, else as codes.

    Parameters
    ----------
    codes, levels, kinds
        As of :class:`Coded`.

    Returns
    -------
    column : ndarray of float64 or Coded
    """
    column = Coded(codes, levels, kinds)
    if np.isin(kinds, (NUMBER, MISSING)).all():
        return column.numbers()
    return column


def join_columns(columns, n_rows, container, **how):
    """Return the table of columns that are each an array of numbers or a :class:`Coded`.

    Parameters
    ----------
    columns : list
        Arrays of numbers that doubles hold, or of shape (n_rows, n) for n of them; or Coded.
    n_rows : int
    container : Container
    **how
        Of :class:`Table`.
    """
    coded, dense, place = {}, [], 0
    for column in columns:
        if isinstance(column, Coded):
            coded[place] = column
            place += 1
        else:
            column = column if column.ndim == 2 else column[:, None]
            dense.append(column)
            place += column.shape[1]
    if not dense:
        return Table(np.empty((n_rows, 0)), container, coded, **how)
    dtype = np.float64 if coded else np.result_type(*dense)
    if len(dense) == 1:
        return Table(row_major(dense[0].astype(dtype, copy=False)), container, coded, **how)
    return Table(np.concatenate(dense, axis=1, dtype=dtype), container, coded, **how)
