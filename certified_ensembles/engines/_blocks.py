"""What all blocks of rows must agree on, since nobody sees them side by side."""

import contextlib

import numpy as np

from .._data.containers import is_frame

# What dask calls the one level of a category whose levels it does not know.
_UNKNOWN = "__UNKNOWN_CATEGORIES__"
# From here on a double no longer tells neighbouring integers apart.
_EXACT = 2.0**53


def join_labels(parts):
    """Return the labels of several blocks as one array, or raise if their types differ."""
    types = {part.dtype.kind if part.dtype.kind in "US" else part.dtype.str for part in parts}
    if len(types) > 1:
        words = ", ".join(sorted({str(part.dtype) for part in parts}))
        raise TypeError(
            f"y holds labels of different types in different blocks ({words}): they have no order "
            "among each other. Convert the column to one type before."
        )
    return np.concatenate(parts)


def check_block(declared, dtypes, rows):
    """Refuse a block that is not what was declared: other columns, or other types of them.

    Parameters
    ----------
    declared : Table
        Without rows.
    dtypes : dict of str to list of dtype
        Of the columns of "X", of "groups" and of the arguments of ``fit``, where these are columns
        of frames.
    rows : Rows
    """
    X = rows.X
    if declared.container.kind == "pandas":
        _check_columns(list(declared.container.names), X)
    for name, values in {"X": X, "groups": rows.groups, **rows.params}.items():
        check_types(dtypes.get(name, ()), values)
    if declared.container.kind == "array":
        dtype, shape = declared.dense.dtype, declared.dense.shape[1:]
        own = (getattr(X, "dtype", None), getattr(X, "shape", ())[1:])
        if own != (dtype, shape):
            raise TypeError(
                f"it came out with dtype {own[0]} and rows of shape {own[1]}, and {dtype} and "
                f"{shape} were declared: give map_blocks and its like what they return."
            )


def check_types(declared, values):
    """Refuse columns of a frame, or a series, of types in which one cell has changed others.

    Parameters
    ----------
    declared : sequence of dtype
        One a column; of anything but a frame and a series none.
    values : rows, or what has an entry a row
    """
    for place, (dtype, own) in enumerate(zip(declared, types_of(values), strict=False)):
        if dtype != own:
            _check_type(dtype, values if values.ndim == 1 else values.iloc[:, place])


def types_of(values):
    """Return the types of the columns of a frame or a series; none of anything else."""
    if not hasattr(values, "divisions") and not hasattr(values, "iloc"):
        return []
    return [values.dtype] if values.ndim == 1 else list(values.dtypes)


def _check_columns(names, X):
    if not is_frame(X):
        raise TypeError(f"a {type(X).__name__} came where a dataframe was declared.")
    own = list(X.columns)
    if names == own:
        return
    lacking = [name for name in names if name not in own]
    besides = [name for name in own if name not in names]
    words = f"it lacks {lacking[:5]}" if lacking else ""
    words += " and " if lacking and besides else ""
    words += f"it has {besides[:5]} besides" if besides else ""
    raise ValueError(
        "its columns are not those that were declared: "
        f"{words or f'they come in another order, {own[:5]}, ...'}. Give every block the "
        f"{len(names)} columns {names[:5]}, ... in one order, or leave it out."
    )


def _check_type(declared, column):
    """Refuse a type in which one cell has changed the values of the rows beside it.

    Engines spell numbers out where one cell of a block is a text, and round large integers where
    one is missing. So whoever brings one hostile cell would choose other values, and with them
    other partitions, for the rows beside it. Objects are looked at cell by cell.
    """
    own = _kind_of(column.dtype)
    if {_kind_of(declared), own} == {"text", "other"} and not column.isna().all():
        raise TypeError(
            f"column {column.name!r} has the type {column.dtype}, and {declared} was declared: "
            "where a block spells its numbers out as texts, these are other values. Write it in "
            "one type. (Dask makes texts of a column in which one cell is one, unless its "
            'configuration has "dataframe.convert-string": False; then such a row is a matter of '
            "its member.)"
        )
    if getattr(declared, "kind", "O") in "iu" and getattr(column.dtype, "kind", "O") == "f":
        largest = np.nanmax(np.abs(column.to_numpy(np.float64, na_value=np.nan)), initial=0.0)
        if largest >= _EXACT:
            raise TypeError(
                f"column {column.name!r} has the type {column.dtype}, and {declared} was "
                f"declared: its integers, up to {largest:.3g}, are rounded, because one of its "
                "cells is missing. Read it in a type that knows missing integers, such as by "
                'dtype_backend="pyarrow", or as text.'
            )


def _kind_of(dtype):
    if hasattr(dtype, "categories"):
        levels = dtype.categories
        known = levels is not None and _UNKNOWN not in levels
        return _kind_of(levels.dtype) if known else "other"
    if isinstance(dtype, np.dtype):
        return "open" if dtype.kind == "O" else "other"
    return "text" if "str" in str(dtype).lower() else "other"


@contextlib.contextmanager
def named_block(block):
    """Name the block in which an error was raised, in a form that any engine brings back."""
    try:
        yield
    except (TypeError, ValueError) as error:
        kind = TypeError if isinstance(error, TypeError) else ValueError
        words = str(error)
        raise kind(f"{block[0].upper()}{block[1:]}: {words}") from error
