"""Frames of pandas, polars and Arrow: their columns as cells, and cells as their columns."""

import importlib

import numpy as np
import scipy.sparse as sp

from .blocks import _TABLE_BYTES, row_blocks, row_major
from .cells import (
    MISSING,
    NUMBER,
    PLAIN_NUMBERS,
    SPAN,
    TIME,
    CellError,
    as_doubles,
    factorize,
    kind_of,
)
from .sparse import canonical_csr
from .table import (
    Coded,
    Container,
    Table,
    coded_or_doubles,
    join_columns,
)

# Integers up to here are doubles.
_EXACT = 2**53


def frame_table(X):
    """Return a dataframe as a table, its names kept for the frames that members get.

    Parameters
    ----------
    X : dataframe of pandas or polars, or a table of Arrow

    Returns
    -------
    table : Table

    Raises
    ------
    TypeError
        If a cell has no canonical form; the message names its column and row.
    """
    if hasattr(X, "get_column"):
        return _polars_table(X)
    if hasattr(X, "to_pandas") and not hasattr(X, "iloc"):
        pandas = importlib.import_module("pandas")
        X = X.to_pandas(types_mapper=pandas.ArrowDtype)
    if not hasattr(X, "iloc"):
        raise TypeError(
            f"X is a {type(X).__name__}, which is no dataframe that is known here: pass one of "
            "pandas or polars, or an array."
        )
    return _pandas_table(X)


def coded(values, where=""):
    """Return cells as a column: doubles if all are, else codes.

    Parameters
    ----------
    values : sequence of objects
    where : str
        What an error calls the column.
    """
    doubles = as_doubles(values) if set(map(type, values)) <= PLAIN_NUMBERS else None
    if doubles is not None:
        return doubles
    try:
        codes, cells = factorize(values)
    except CellError as error:
        place = getattr(error, "place", "?")
        raise TypeError(f"{error} It stands in {where}row {place} of X.") from error
    return _column_of(codes, cells)


def coded_columns(cells):
    """Return the columns of an array of objects with two axes, each as :func:`coded` does.

    Types and numbers are looked at row by row, as cells lie in memory; one column after the other
    takes twice as long.
    """
    types = [set() for _ in range(cells.shape[1])]
    for rows in row_blocks(cells, _TABLE_BYTES):
        for own, column in zip(types, cells[rows].T.tolist(), strict=True):
            own.update(map(type, column))
    plain = [j for j, own in enumerate(types) if own <= PLAIN_NUMBERS]
    doubles = as_doubles(cells.take(plain, axis=1))
    known = {} if doubles is None else dict(zip(plain, doubles.T, strict=True))
    return [
        known[j] if j in known else coded(cells[:, j].tolist(), f"column {j}, ")
        for j in range(len(types))
    ]


def exact_times(values, other):
    """Say whether times are the same in another unit: out of range they wrap around."""
    kind, unit = values.dtype.kind, np.datetime_data(values.dtype)[0]
    zero = np.array(0, f"{kind}8[{unit}]"), np.array(0, other.dtype)
    same = other.astype(values.dtype) == values
    return bool((same & ((values > zero[0]) == (other > zero[1]))).all())


def _column_of(codes, cells):
    levels = np.empty(len(cells), dtype=object)
    levels[:] = cells
    return coded_or_doubles(codes, levels, np.array([kind_of(c) for c in cells], dtype=np.int8))


def exact_doubles(values):
    """Say whether doubles hold all of these numbers."""
    if values.dtype.kind in "iu" and values.dtype.itemsize == 8 and values.size:
        return max(-int(values.min()), int(values.max())) <= _EXACT
    return values.dtype.kind in "biuf" and values.dtype.itemsize <= 8


def times_column(values):
    """Return datetime64 or timedelta64 values as a column."""
    whole, codes = np.unique(values, return_inverse=True)
    codes, known = codes.ravel().astype(np.int32), ~np.isnat(whole)
    nanoseconds = whole.astype(f"{whole.dtype.kind}8[ns]")
    if not exact_times(whole[known], nanoseconds[known]):
        merged, cells = factorize(list(whole))
        return _column_of(merged[codes], cells)
    levels = np.empty(len(whole), dtype=object)
    levels[:] = list(nanoseconds)
    levels[~known] = None
    kinds = np.where(known, TIME if whole.dtype.kind == "M" else SPAN, MISSING).astype(np.int8)
    return coded_or_doubles(codes, levels, kinds)


# ---------------------------------------------------------------- pandas


def _pandas_table(X):
    dtypes = list(X.dtypes)
    container = Container("pandas", X.columns)
    categories = np.array([hasattr(dtype, "categories") for dtype in dtypes], dtype=bool)
    how = {"categories": categories, "given": X}
    if dtypes and all(type(dtype).__name__ == "SparseDtype" for dtype in dtypes):
        return _sparse_frame(X, container, **how)
    plain = [isinstance(d, np.dtype) and d.kind in "biuf" and d.itemsize <= 8 for d in dtypes]
    if dtypes and all(plain) and len(set(dtypes)) == 1:
        return Table(row_major(_in_native_order(X.to_numpy())), container, **how)
    columns, run = [], []
    for j, number in enumerate(plain):
        if number:
            run.append(j)
            continue
        columns += _numbers_of_pandas(X, run, dtypes)
        run = []
        columns.append(_pandas_column(X.iloc[:, j], f"column {X.columns[j]!r}, "))
    columns += _numbers_of_pandas(X, run, dtypes)
    return join_columns(columns, len(X), container, **how)


def _in_native_order(A):
    return A.astype(A.dtype.newbyteorder("="), copy=False)


def _numbers_of_pandas(X, places, dtypes):
    """Return adjacent columns of numpy's numbers as one block, or one by one where that rounds."""
    if not places:
        return []
    # To cut a frame takes a step a column, and all of it is wanted most often.
    part = X if len(places) == X.shape[1] else X.iloc[:, places[0] : places[-1] + 1]
    wide = {dtypes[j] for j in places if dtypes[j].kind in "iu" and dtypes[j].itemsize == 8}
    if wide and not exact_doubles(part.select_dtypes(list(wide)).to_numpy()):
        return [_exact_column(part.iloc[:, j].to_numpy()) for j in range(len(places))]
    return [part.to_numpy(np.result_type(*{dtypes[j] for j in places}))]


def _exact_column(values):
    if exact_doubles(values):
        return values.astype(np.float64)
    return coded(values.tolist())


def _sparse_frame(X, container, **how):
    """Return a frame of sparse columns as CSR if all leave out zeros, else as other columns.

    Doubles must hold columns of several types: a row that turns one column into fractions may not
    round the integers of another.
    """
    columns = [column.array for _, column in X.items()]
    alike = len({a.dtype.subtype for a in columns}) == 1
    zeros = all(a.dtype.kind in "biuf" and a.fill_value == 0 for a in columns)
    if not zeros or not (alike or all(exact_doubles(a.sp_values) for a in columns)):
        columns = [_pandas_column(column, f"column {name!r}, ") for name, column in X.items()]
        return join_columns(columns, len(X), container, **how)
    values = np.concatenate([a.sp_values for a in columns], dtype=None if alike else np.float64)
    rows = np.concatenate([a.sp_index.to_int_index().indices for a in columns])
    start = np.cumsum([0, *(a.npoints for a in columns)])
    csc = sp.csc_matrix((_in_native_order(values), rows, start), shape=X.shape)
    return Table(canonical_csr(csc), container, **how)


def _pandas_column(series, where):
    dtype = series.dtype
    if hasattr(dtype, "categories"):
        return _categories_column(series, where)
    if type(dtype).__name__ == "SparseDtype":
        return _pandas_column(series.sparse.to_dense(), where)
    kind = getattr(dtype, "kind", "O")
    if kind in "biuf" and isinstance(dtype, np.dtype):
        return _exact_column(series.to_numpy())
    if kind in "biuf":  # nullable, or Arrow's
        values = series.to_numpy(np.float64, na_value=np.nan)
        if kind not in "iu" or not len(values) or np.nanmax(np.abs(values), initial=0) < _EXACT:
            return values
    if kind == "M" and getattr(dtype, "tz", None) is not None and hasattr(series, "dt"):
        series = series.dt.tz_convert("UTC").dt.tz_localize(None)
        kind = getattr(series.dtype, "kind", "O")
    if kind in "mM" and isinstance(series.dtype, np.dtype):
        return times_column(series.to_numpy())
    return coded(series.to_numpy(dtype=object).tolist() if kind != "O" else list(series), where)


def _categories_column(series, where):
    """Return a categorical column by the values of its categories, whatever their order."""
    codes = np.asarray(series.cat.codes, dtype=np.int32)
    own = coded([*series.cat.categories, None], where)  # -1, the last, is missing
    if not isinstance(own, Coded):
        return own[codes]
    return _levels_used(own, own.codes[codes])


def _levels_used(column, codes):
    """Return a column with other codes, and with the levels that occur."""
    column = Coded(codes, column.levels, column.kinds).take(slice(None))
    return coded_or_doubles(column.codes, column.levels, column.kinds)


# ---------------------------------------------------------------- polars


def _polars_table(X):
    polars = importlib.import_module("polars")
    names, dtypes = list(X.columns), list(X.dtypes)
    container = Container("polars", names)
    is_category = {d: d in (polars.Categorical, polars.Enum) for d in set(dtypes)}
    categories = np.array([is_category[d] for d in dtypes], dtype=bool)
    how = {"categories": categories, "given": X}
    numeric = all(d.is_numeric() and not d.is_decimal() for d in is_category)
    if numeric and len(is_category) == 1 and not any(X.null_count().row(0)):
        return Table(row_major(X.to_numpy()), container, **how)
    columns = [_polars_column(X.get_column(name), f"column {name!r}, ", polars) for name in names]
    return join_columns(columns, len(X), container, **how)


def _polars_column(series, where, polars):
    dtype = series.dtype
    if dtype == polars.Boolean or dtype == polars.Null or dtype.is_float():
        return series.cast(polars.Float64).fill_null(np.nan).to_numpy()
    if dtype.is_integer():
        if series.dtype.is_integer() and len(series.drop_nulls()):
            low, high = series.min(), series.max()
            if max(-low, high) > _EXACT:
                return coded(series.to_list(), where)
        return series.cast(polars.Float64).fill_null(np.nan).to_numpy()
    if dtype in (polars.Categorical, polars.Enum):
        return coded(series.cast(polars.String).to_list(), where)
    if dtype == polars.Datetime and dtype.time_zone is not None:
        series = series.dt.convert_time_zone("UTC").dt.replace_time_zone(None)
    if dtype in (polars.Datetime, polars.Date, polars.Duration):
        return times_column(series.to_numpy())
    return coded(series.to_list(), where)


# ---------------------------------------------------------------- what members get


def hand_out_frame(table, kinds, levels, dtype):
    """Return a table as a frame of its container.

    Parameters
    ----------
    table : Table
        Of the container "pandas" or "polars".
    kinds : str
        One letter a column: "n" for doubles, "M" and "m" for times and spans in nanoseconds, "c"
        for a category, "s" for texts, "b" for bytes, "O" for a mixture.
    levels : dict of int to sequence of canonical cells
        The categories of columns of the kind "c", in their order.
    dtype : dtype
        Of numbers.
    """
    if table.container.kind == "polars":
        return _polars_frame(table, kinds, levels)
    pandas, names = importlib.import_module("pandas"), table.container.names
    if set(kinds) <= {"n"}:
        return pandas.DataFrame(doubles(table.numbers(), dtype), columns=names, copy=False)
    groups = {}
    for place, kind in enumerate(kinds):
        groups.setdefault(kind, []).append(place)
    parts, order = [], []
    for kind, places in groups.items():
        order += places
        if kind == "n":
            parts.append(pandas.DataFrame(_some_numbers(table, places, dtype), copy=False))
        elif kind == "c":
            parts += [_pandas_category(pandas, table, place, levels[place]) for place in places]
        else:
            type_ = np.dtype(f"{kind}8[ns]") if kind in "Mm" else object
            values = np.empty((len(table), len(places)), dtype=type_)
            for j, place in enumerate(places):
                values[:, j] = (
                    times(table, place, kind) if kind in "Mm" else objects(table, place, pandas)
                )
            parts.append(pandas.DataFrame(values, dtype=type_, copy=False))
    frame = parts[0] if len(parts) == 1 else pandas.concat(parts, axis=1)
    if order != sorted(order):
        frame = frame.iloc[:, np.argsort(order)]
    frame.columns = names
    return frame


def doubles(values, dtype):
    """Return fresh numbers of one type, C-contiguous, with one zero."""
    return np.add(values, dtype.type(0), dtype=dtype, casting="unsafe", order="C")


def _some_numbers(table, places, dtype):
    if len(places) == table.dense.shape[1] and not set(places) & set(table.coded):
        return doubles(table.dense_rows(), dtype)
    return doubles(np.column_stack([table.column(place)[0] for place in places]), dtype)


def objects(table, place, pandas=None):
    """Return the cells of a column as objects: floats, texts, times; NaN for missing ones."""
    values, column = table.column(place)
    if column is None:
        return np.array(values.tolist(), dtype=object)
    levels = column.levels.copy()
    for i, kind in enumerate(column.kinds):
        if kind == MISSING:
            levels[i] = np.nan
        elif pandas is not None and kind in (TIME, SPAN):
            levels[i] = (pandas.Timestamp if kind == TIME else pandas.Timedelta)(levels[i])
    return levels[column.codes]


def times(table, place, letter):
    """Return the cells of a column as times in nanoseconds; NaT where a cell is none."""
    column = table.column(place)[1]
    dtype = np.dtype(f"{letter}8[ns]")
    if column is None:
        return np.full(len(table), np.array("NaT", dtype=dtype))
    wanted = TIME if letter == "M" else SPAN
    levels = np.full(len(column.levels), np.array("NaT", dtype=dtype))
    known = column.kinds == wanted
    levels[known] = list(column.levels[known])
    return levels[column.codes]


def category_codes(table, place, levels):
    """Return the place of every cell among given levels, -1 for a missing or unknown one."""
    values, column = table.column(place)
    place_of = {(kind_of(cell), cell): i for i, cell in enumerate(levels)}
    if column is None:
        unique, codes = np.unique(values, return_inverse=True)
        own = [(NUMBER, float(v)) for v in unique]
    else:
        codes, own = column.codes, list(zip(column.kinds.tolist(), column.levels, strict=True))
    lookup = np.array([place_of.get(key, -1) for key in own], dtype=np.int64)
    return lookup[codes] if len(lookup) else np.empty(0, dtype=np.int64)


def _pandas_category(pandas, table, place, levels):
    codes = category_codes(table, place, levels)
    if all(isinstance(cell, float) for cell in levels):
        categories = pandas.Index(np.array(levels, dtype=np.float64))
    else:
        categories = pandas.Index(list(levels), dtype=object)
    return pandas.DataFrame({0: pandas.Categorical.from_codes(codes, categories=categories)})


def _cells(column):
    return column.levels[column.codes].tolist()


def _polars_frame(table, kinds, levels):
    polars = importlib.import_module("polars")
    series = []
    for place, (name, kind) in enumerate(zip(table.container.names, kinds, strict=True)):
        values, column = table.column(place)
        if kind == "n":
            series.append(polars.Series(name, doubles(values, np.dtype(np.float64))))
        elif kind == "c":
            codes = category_codes(table, place, levels[place])
            words = [str(cell) for cell in levels[place]]
            cells = [None if code < 0 else words[code] for code in codes]
            series.append(polars.Series(name, cells, dtype=polars.Enum(words)))
        elif kind in "sb":
            type_ = polars.String if kind == "s" else polars.Binary
            cells = [None] * len(table) if column is None else _cells(column)
            series.append(polars.Series(name, cells, type_))
        elif kind == "O":
            series.append(polars.Series(name, list(objects(table, place)), polars.Object))
        else:
            unit = polars.Datetime("ns") if kind == "M" else polars.Duration("ns")
            series.append(polars.Series(name, times(table, place, kind)).cast(unit))
    return polars.DataFrame(series)
