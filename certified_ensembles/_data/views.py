"""What a member sees of rows: types and levels that follow from its own rows alone.

A view is made from the rows that a member is trained on. It says in which form the member gets
them, and in the same form it gets the rows that it is asked about, whatever stands beside them.
A test row that the view has no place for (a text in a column of numbers) is handed out with that
cell as an object, in a block of its own kind: it changes the type of no other row.
"""

from dataclasses import dataclass, field, replace

import numpy as np
import scipy.sparse as sp

from .cells import BYTES, LONG, MISSING, NUMBER, SPAN, TEXT, TIME, cell_key, kind_of
from .frames import category_codes, doubles, hand_out_frame, objects, times
from .table import Container

# Which kinds of cells a column of a view has room for, by its letter; others have room for all.
_ROOM = {
    "n": (MISSING, NUMBER, LONG),
    "M": (MISSING, TIME),
    "m": (MISSING, SPAN),
    "s": (MISSING, TEXT),
    "b": (MISSING, BYTES),
}
# What a column of words is called shows in frames of polars alone.
_WORDS = "sb"


@dataclass(frozen=True)
class View:
    """The form in which a member gets rows.

    Attributes
    ----------
    container : Container
    dtype : dtype
        Of numbers.
    kinds : str or None
        One letter a column: "n" for numbers, "M" and "m" for times and spans in nanoseconds, "c"
        for a category, "s" for texts, "b" for bytes, "O" for a mixture. None: all columns are
        numbers, however many.
    levels : tuple of (int, tuple of canonical cells)
        The place and the categories, in canonical order, of every column of kind "c".
    bare : bool
        Whether a frame of numbers is handed out as an array.
    """

    container: Container = field(compare=False)
    dtype: np.dtype
    kinds: str | None = None
    levels: tuple = ()
    bare: bool = False

    def hand_out(self, table):
        """Return rows, all of which the view has room for, as the member gets them."""
        kind = self.container.kind
        if self.container.kind != table.container.kind:
            table = _moved(table, self.container)
        frame = kind in ("pandas", "polars")
        if frame and self.bare and set(self.kinds or "n") == {"n"}:
            # An array also where columns are sparse: one row of words turns them all into objects.
            frame, kind = False, "array"
        if frame:
            kinds = "n" * table.n_columns if self.kinds is None else self.kinds
            return hand_out_frame(table, kinds, dict(self.levels), self.dtype)
        if kind in ("text", "series"):
            return _texts(table, self.container)
        if kind == "csr":
            return _csr(table, self.container, self.dtype)
        if self.kinds is None or set(self.kinds) <= {"n"}:
            values = table.numbers()
            if self.dtype.kind == "f":
                return doubles(values, self.dtype)
            return np.array(values, dtype=self.dtype, order="C")
        return self._array(table)

    def _array(self, table):
        """Return an array of columns of which some are not numbers."""
        levels, letters = dict(self.levels), set(self.kinds)
        type_ = self.dtype if letters <= {"n", "c"} else object
        if len(letters) == 1 and letters <= {"M", "m"}:
            type_ = np.dtype(f"{self.kinds[0]}8[ns]")
        out = np.empty((len(table), len(self.kinds)), dtype=type_)
        for place, letter in enumerate(self.kinds):
            if letter == "c":  # numpy has no categories: their places stand for them
                codes = category_codes(table, place, levels[place]).astype(np.float64)
                out[:, place] = np.where(codes < 0, np.nan, codes)
            elif type_ is object:
                out[:, place] = objects(table, place)
            elif letter in "Mm":
                out[:, place] = times(table, place, letter)
            else:
                out[:, place] = doubles(table.column(place)[0], self.dtype)
        return out

    def shaped(self, table):
        """Yield ``(index, rows)``: the rows of a block as the member gets them.

        Parameters
        ----------
        table : Table
            A block of test rows.

        Yields
        ------
        index : ndarray of int or None
            Which rows of the block come; None: all.
        rows : container
            As many rows as the block has, filled up with copies where fewer come: no row may
            change the shape in which another is asked about.
        """
        for index, view in self.groups(table):
            if index is None:
                yield None, view.hand_out(table)
            else:
                yield index, view.hand_out(table.take(np.resize(index, len(table))))

    def answers(self, function, table):
        """Return what a function answers about the rows of a block, handed out in this view.

        Parameters
        ----------
        function : callable
            Takes rows as the member gets them; returns an array with one entry a row, or a tuple
            of such arrays.
        table : Table
        """
        parts = [(index, function(rows)) for index, rows in self.shaped(table)]
        if parts[0][0] is None:
            return parts[0][1]
        if isinstance(parts[0][1], tuple):
            columns = zip(*(part for _, part in parts), strict=True)
            return tuple(_joined([i for i, _ in parts], column) for column in columns)
        return _joined([index for index, _ in parts], [part for _, part in parts])

    def groups(self, table):
        """Yield ``(index, view)``: the rows of a table, by the view that has room for them.

        The index is None where one view has room for all rows.
        """
        misfit = self._misfits(table)
        if misfit is None:
            yield None, self
            return
        patterns, which = np.unique(misfit, axis=0, return_inverse=True)
        which = which.ravel()
        for i, pattern in enumerate(patterns):
            yield np.flatnonzero(which == i), self._with_room_for(pattern, table)

    def _misfits(self, table):
        """Return which cells the view has no room for, as an array of bool; None if it has."""
        if table.is_text or (not table.coded and self.dtype.kind == "f"):
            return None
        if not table.coded:
            values = table.numbers()
            if values.dtype == self.dtype:
                return None
            with np.errstate(all="ignore"):
                same = values == values.astype(self.dtype)
            same = same.reshape(len(same), -1).all(axis=1, keepdims=True)
            return None if same.all() else ~same
        misfit = np.zeros((len(table), table.n_columns), dtype=bool)
        for place, column in table.coded.items():
            letter = "n" if self.kinds is None else self.kinds[place]
            room = _ROOM.get(letter)
            if room is not None and (letter not in _WORDS or self.container.kind == "polars"):
                misfit[:, place] = ~np.isin(column.kinds, room)[column.codes]
        return misfit if misfit.any() else None

    def _with_room_for(self, pattern, table):
        if not pattern.any():
            return self
        if not table.coded:  # integers that this type does not hold
            return replace(self, dtype=np.dtype(np.float64))
        if self.container.kind == "csr":
            raise ValueError(
                "X holds cells that are no numbers, and the ensemble was trained on a sparse "
                "matrix: encode these columns first."
            )
        kinds = self.kinds or "n" * table.n_columns
        kinds = "".join("O" if bad else k for bad, k in zip(pattern, kinds, strict=True))
        return replace(self, kinds=kinds)


def _joined(indices, parts):
    """Return answers about some rows each in the order of all rows."""
    place = np.argsort(np.concatenate(indices))
    own = [part[: len(index)] for index, part in zip(indices, parts, strict=True)]
    if sp.issparse(own[0]):
        return sp.vstack(own, format="csr")[place]
    return np.concatenate([np.asarray(part) for part in own])[place]


def view_of(table, *, float32=False, categorical=None, bare=False):
    """Return the view of a member that is trained on these rows.

    Parameters
    ----------
    table : Table
        The rows of the member and no others.
    float32 : bool, default=False
        Whether numbers of arrays are wanted in single precision, as nets want them, and integers
        as integers.
    categorical : ndarray of shape (n_columns,), bool, default=None
        The columns that reach the member as categories.
    bare : bool, default=False
        Whether the member looks at no names or types of columns.

    Returns
    -------
    view : View
    """
    dtype = _working_dtype(table, float32)
    categorical = () if categorical is None else np.flatnonzero(categorical).tolist()
    if not table.coded and not categorical:
        return View(table.container, dtype, bare=bare)
    kinds = ["n"] * table.n_columns
    for place, column in table.coded.items():
        kinds[place] = _letter(set(column.kinds.tolist()))
    levels = []
    for place in categorical:
        kinds[place] = "c"
        levels.append((place, _categories(table, place)))
    return View(table.container, dtype, "".join(kinds), tuple(levels), bare)


def _letter(kinds):
    kinds = kinds - {MISSING}
    if kinds <= {NUMBER, LONG}:
        return "n"
    letters = {TIME: "M", SPAN: "m", TEXT: "s", BYTES: "b"}
    return letters.get(next(iter(kinds)), "O") if len(kinds) == 1 else "O"


def _categories(table, place):
    """Return the different cells of a column, in canonical order, without the missing one."""
    values, column = table.column(place)
    if column is None:
        return tuple(np.unique(values[~np.isnan(values)] + 0.0).tolist())
    cells = [cell for cell in column.levels if kind_of(cell) != MISSING]
    return tuple(sorted(cells, key=lambda cell: cell_key(cell, telling=True)))


def _working_dtype(table, float32):
    """Return the type of the numbers that a member gets.

    Of tables doubles, so that one row cannot change the type of all others. Arrays of more axes
    (images) keep their integers, and so do all arrays for nets: there a type says what the
    values mean, and it is declared.
    """
    floats = np.dtype(
        np.float32 if float32 and table.container.kind in ("array", "csr") else float
    )
    own = table.dense.dtype
    declared = table.container.kind == "array" and (table.dense.ndim > 2 or float32)
    if not declared or table.coded or own.kind == "f" or own == np.uint64:
        return floats
    return np.dtype(np.uint8 if own.kind == "b" or own == np.uint8 else np.int64)


# ---------------------------------------------------------------- containers other than frames


def _moved(table, container):
    """Return test rows as if they had come in the container of the training rows."""
    frames = ("pandas", "polars", "array", "csr")
    if table.container.kind in frames and container.kind in frames:
        return type(table)(table.dense, container, table.coded, table.categories)
    if table.is_text and container.kind in ("text", "series"):
        return type(table)(table.dense, container, table.coded)
    raise ValueError(
        f"X came as {_words(table)}, but the ensemble was trained on "
        f"{'texts' if container.kind in ('text', 'series') else 'a table'}: pass rows as in fit."
    )


def _words(table):
    return "a sequence of texts" if table.is_text else "a table"


def _texts(table, container):
    values = objects(table, 0)
    if container.kind == "text":
        return values
    import pandas

    return pandas.Series(values, dtype=object, name=container.names)


def _csr(table, container, dtype):
    dense = table.dense if not table.coded else table.numbers()
    return container.names(dense, dtype=dtype, copy=True)  # the class is what it is named by
