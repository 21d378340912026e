"""Rows as somebody else would hand them in: cut, joined, varied, and written in other types.

Nothing here brings rows into a canonical form, on purpose: the audit needs tables as users
slice and concatenate them, types of columns included, to see that these carry no weight.
"""

import itertools
import numbers
import sys

import numpy as np
import scipy.sparse as sp

from .containers import is_frame, is_text

# From here on a double no longer tells neighbouring integers apart.
EXACT = 2**53


def as_cuttable(X):
    """Return X in a form that can be cut and joined; sequences stay lists, cell by cell."""
    if is_text(X) or is_frame(X) or isinstance(X, np.ndarray | list) or hasattr(X, "iloc"):
        return X
    if sp.issparse(X):
        return X if X.format == "csr" else X.tocsr()
    return list(X) if isinstance(X, tuple) else np.asarray(X)


def as_array(X):
    """Return rows as a callable of the user wants them: lists of numbers as an array."""
    listed = isinstance(X, list | tuple) and not is_text(X)
    return np.asarray(X) if listed else X


# ---------------------------------------------------------------- cut and join


def rows_at(X, index):
    """Return rows by plain indexing, so that types and levels of the whole table stay."""
    if sp.issparse(X):
        return X.tocsr()[index]
    if hasattr(X, "iloc"):
        return X.iloc[index]
    if is_frame(X):
        return X[list(map(int, index))]
    if isinstance(X, list | tuple):
        return [X[i] for i in index]
    return np.asarray(X)[index]


def stack_rows(A, B):
    """Join rows as their container does, types and all, unless that changes a value.

    Where a container turned numbers into text, or rounded them, columns of objects are joined.
    """
    if sp.issparse(A):
        return sp.vstack([A, B], format="csr")
    if hasattr(A, "iloc"):
        return _concat_pandas(A, B)
    if is_frame(A):
        return _concat_polars(A, B)
    if isinstance(A, list | tuple):
        return [*A, *B]
    A, B = np.asarray(A), np.asarray(B)
    plain = {A.dtype.kind, B.dtype.kind} <= set("biuf")
    if A.dtype.kind == B.dtype.kind or (plain and not (_holds_long(A) or _holds_long(B))):
        return np.concatenate([A, B])
    return np.concatenate([as_objects(A), as_objects(B)])


def as_objects(array):
    """Return an array of Python objects; times stay times of their unit."""
    out = np.empty(array.shape, dtype=object)
    flat = array.ravel()
    out.ravel()[:] = list(flat) if array.dtype.kind in "mM" else flat.tolist()
    return out


def _holds_long(values):
    """Say whether integers are among the values that a double would round."""
    kind = getattr(values.dtype, "kind", "O")
    if kind not in "iu" or not len(values):
        return False
    return bool(int(values.max()) > EXACT or int(values.min()) < -EXACT)


def _concat_pandas(A, B):
    pd = sys.modules["pandas"]
    if A.ndim == 1:
        return pd.concat([A, B], ignore_index=True)
    A, B = A.copy(), B.copy()
    levels = {}
    for j, (a, b) in enumerate(zip(A.dtypes, B.dtypes, strict=True)):
        own, new = A.iloc[:, j], B.iloc[:, j]
        if hasattr(a, "categories") and hasattr(b, "categories") and a != b:
            if a.categories.dtype == b.categories.dtype:
                # The container would drop the category; whoever declares the level keeps it.
                levels[j] = pd.api.types.union_categoricals(
                    [own, new], sort_categories=True, ignore_order=True
                )
        elif a != b and (_holds_long(own.dropna()) or _holds_long(new.dropna())):
            A.isetitem(j, own.astype(object))
            B.isetitem(j, new.astype(object))
    both = pd.concat([A, B], ignore_index=True)
    for j, values in levels.items():
        both.isetitem(j, pd.Series(values))
    return both


def _cells(series):
    """Return the cells of a polars series; Python's own times would lose their nanoseconds."""
    if series.dtype.is_temporal() and str(series.dtype) != "Time":
        return [None if np.isnat(value) else value for value in series.to_numpy()]
    return series.to_list()


def _concat_polars(A, B):
    pl = sys.modules["polars"]
    columns = []
    for name in A.columns:
        a, b = A[name], B[name]
        numeric = all(s.dtype.is_numeric() or s.dtype == pl.Boolean for s in (a, b))
        if a.dtype == b.dtype or pl.Null in (a.dtype, b.dtype):
            easy = True
        elif numeric:
            easy = not any(_holds_long(s.drop_nulls().to_numpy()) for s in (a, b))
        else:
            easy = a.dtype.is_temporal() and b.dtype.is_temporal()
        if easy and pl.Object not in (a.dtype, b.dtype):
            frames = [pl.DataFrame([a]), pl.DataFrame([b])]
            try:
                columns.append(pl.concat(frames, how="vertical_relaxed")[name])
                continue
            except pl.exceptions.PolarsError:
                pass  # no common type: as objects
        columns.append(pl.Series(name, _cells(a) + _cells(b), dtype=pl.Object))
    return pl.DataFrame(columns)


# ---------------------------------------------------------------- numbers varied


def change_numbers(rows, change):
    """Return rows with their numbers changed; None where there are none to change."""
    if sp.issparse(rows):
        rows = rows.copy()
        rows.data = change(rows.data)
        return rows
    if hasattr(rows, "iloc") and rows.ndim == 2:
        return _change_pandas(rows.copy(), change)
    if hasattr(rows, "get_column"):
        pl = sys.modules["polars"]
        own = [s for s in rows if s.dtype.is_numeric()]
        return rows.with_columns([pl.Series(s.name, change(s.to_numpy())) for s in own] or None)
    if isinstance(rows, list) and not is_text(rows):
        array = np.asarray(rows)
        return change(array).tolist() if array.dtype.kind in "iuf" else None
    if isinstance(rows, np.ndarray) and rows.dtype.kind in "iuf":
        return change(rows)
    return None


def _change_pandas(frame, change):
    is_numeric = sys.modules["pandas"].api.types.is_numeric_dtype
    places = [
        j for j, t in enumerate(frame.dtypes) if is_numeric(t) and not str(t).startswith("bool")
    ]
    for j in places:
        values = frame.iloc[:, j]
        plain = isinstance(values.dtype, np.dtype)
        values = values.to_numpy() if plain else values.to_numpy(dtype=float, na_value=np.nan)
        frame.isetitem(j, change(values))
    return frame if places else None


def blank_rows(rows):
    """Return rows of empty texts or of zeros; None where there is no such row."""
    return [""] * len(rows) if is_text(rows) else change_numbers(rows, lambda v: v * 0)


# ---------------------------------------------------------------- the same data in other forms


def other_forms(X, rng):
    """Yield (words, X with the same values and types, otherwise stored)."""
    if sp.issparse(X):
        yield "as CSR with unsorted indices and explicit zeros", untidy_csr(X.tocsr(), rng)
        yield "as CSC", X.tocsc()
        for words, data in _other_dtypes(X.tocsr().data):
            other = X.tocsr().copy()
            other.data = data
            yield words, other
    elif hasattr(X, "iloc"):
        other = X.copy()
        other.index = rng.permutation(len(X))
        yield "with a shuffled index", other
    elif is_text(X):
        yield "as an array of objects", np.array(list(X), dtype=object)
    elif isinstance(X, np.ndarray):
        yield "in Fortran order", np.asfortranarray(X)
        gaps = np.zeros((2 * X.shape[0], *X.shape[1:-1], 2 * X.shape[-1]), dtype=X.dtype)
        gaps[::2, ..., ::2] = X
        yield "as a view with gaps", gaps[::2, ..., ::2]
        if X.dtype.kind in "iuf":
            yield "in swapped byte order", X.astype(X.dtype.newbyteorder())
            yield from _other_dtypes(X)


def _other_dtypes(X):
    """Yield X in other dtypes that hold all its values exactly."""
    if X.dtype.kind not in "iuf" or not np.isfinite(X).all():
        return
    for dtype in ("float64", "float32", "int64"):
        if X.dtype != dtype and not (dtype == "int64" and X.dtype.kind == "f"):
            with np.errstate(all="ignore"):
                other = X.astype(dtype)
            if np.array_equal(other.astype(X.dtype), X):
                yield f"as {dtype}", other


def untidy_csr(X, rng, twice=False):
    """Return a CSR matrix in a form as far from canonical as allowed.

    With ``twice`` entries are split in halves, whose sum is exact in whatever order.
    """
    indptr, indices, data = [0], [], []
    for start, stop in itertools.pairwise(X.indptr):
        own, values = X.indices[start:stop], X.data[start:stop]
        absent = np.setdiff1d(np.arange(X.shape[1]), own)[:1]
        if twice and X.dtype.kind in "iuf":
            half = values // 2 if X.dtype.kind in "iu" else values / 2
            own, values = np.concatenate([own, own]), np.concatenate([half, values - half])
        own = np.concatenate([own, absent])
        values = np.concatenate([values, np.zeros(len(absent), dtype=X.dtype)])
        order = rng.permutation(len(own))
        indices.append(own[order])
        data.append(values[order].astype(X.dtype, copy=False))
        indptr.append(indptr[-1] + len(own))
    return type(X)((np.concatenate(data), np.concatenate(indices), indptr), shape=X.shape)


def other_types(X, rng, categories_are_values=True):
    """Yield (words, X with the same cells in columns of other types).

    Parameters
    ----------
    X : array, list of rows, sparse matrix or dataframe
        Rows; texts in a flat sequence have no other type.
    rng : numpy.random.Generator
        Of what is drawn, such as which missing value stands for which.
    categories_are_values : bool, default=True
        Whether a category may be written as plain values, and the reverse.

    Yields
    ------
    words, other
        In words, and a table whose cells are all equal to those of X, or missing as they are.
    """
    if sp.issparse(X):
        if X.dtype.kind in "iuf" and np.isfinite(X.data).all():
            yield "as CSR with entries twice", untidy_csr(X.tocsr(), rng, True)
            yield "as COO with entries twice", _untidy_coo(X, rng)
        return
    if hasattr(X, "iloc"):
        tried = _pandas_types(X, rng) if X.ndim == 2 else ()
    elif is_frame(X):
        tried = _polars_types(X)
    elif isinstance(X, list | np.ndarray):
        tried = () if is_text(X) else _array_types(X, rng)
    else:
        tried = ()
    for words, is_category, other in tried:
        if (categories_are_values or not is_category) and _same_cells(X, other):
            yield words, other


def _untidy_coo(X, rng):
    X = untidy_csr(X.tocsr(), rng, True)
    rows = np.repeat(np.arange(X.shape[0]), np.diff(X.indptr))
    order = rng.permutation(len(rows))
    return sp.coo_array((X.data[order], (rows[order], X.indices[order])), shape=X.shape)


def _array_types(X, rng):
    """Yield (words, False, table): an array stays one, a list of rows also becomes one."""
    objects = as_objects(X) if isinstance(X, np.ndarray) else _table_of_objects(X)
    yield "as an array of objects", False, objects
    if isinstance(X, list):
        yield "as tuples", False, [tuple(row) for row in X]
    elif X.dtype.kind != "O":
        return
    floats, missing = objects.copy(), objects.copy()
    for place in np.ndindex(objects.shape):
        floats[place] = _as_float(objects[place])
        if is_missing(objects[place]):
            missing[place] = (None, float("nan"))[rng.integers(2)]
    for words, other in (
        ("with whole numbers as floats", floats),
        ("with None and NaN in each other's place", missing),
    ):
        yield words, False, other.tolist() if isinstance(X, list) else other


def _table_of_objects(rows):
    table = np.empty((len(rows), len(rows[0])), dtype=object)
    for i, row in enumerate(rows):
        table[i] = list(row)
    return table


def _as_float(value):
    exact = isinstance(value, numbers.Integral) and abs(int(value)) <= EXACT
    return float(value) if exact else value


def _pandas_types(X, rng):
    """Yield (words, whether categories come or go, frame); some may not hold the same cells."""
    pd = sys.modules["pandas"]
    texts = [j for j in range(X.shape[1]) if _holds_texts(X.iloc[:, j])]
    levels = [j for j, dtype in enumerate(X.dtypes) if hasattr(dtype, "categories")]
    times = [j for j, dtype in enumerate(X.dtypes) if getattr(dtype, "kind", "") == "M"]
    everywhere = range(X.shape[1])
    plain = [j for j in everywhere if j not in levels]
    for name in ("float64", "float32", "int64"):
        yield f"with numbers as {name}", False, _recast(X, plain, _number_caster(name))
    for words, options in (
        ("as nullable types", {}),
        ("as arrow types", {"dtype_backend": "pyarrow"}),
    ):
        if "pyarrow" in sys.modules or not options:
            converted = [X.iloc[:, j].convert_dtypes(**options) for j in plain]
            yield f"with columns {words}", False, _replaced(X, plain, converted)
    yield "with columns as objects", False, _recast(X, plain, lambda s: s.astype(object))

    def other_missing(series):
        values = [(None, np.nan, pd.NA)[rng.integers(3)] if is_missing(v) else v for v in series]
        return pd.Series(values, index=series.index, dtype=object)

    yield "with other missing values, as objects", False, _recast(X, plain, other_missing)
    if levels:
        yield "with levels as values", True, _recast(X, levels, lambda s: s.astype(object))
        yield "with levels in another order", False, _recast(X, levels, _shuffled_levels)
    if texts:
        yield "with texts as categories", True, _recast(X, texts, lambda s: s.astype("category"))
    for unit in ("us", "ns"):
        if times:
            yield (
                f"with times in {unit}",
                False,
                _recast(X, times, lambda s, u=unit: s.dt.as_unit(u)),
            )


def _number_caster(name):
    def cast(series):
        missing = series.isna().any()
        return series if missing and name == "int64" else series.astype(name)

    return cast


def _shuffled_levels(series):
    if series.cat.ordered:
        return series
    return series.cat.set_categories(list(series.cat.categories)[::-1])


def _replaced(X, places, columns):
    X = X.copy()
    for j, column in zip(places, columns, strict=True):
        X.isetitem(j, column)
    return X


def _recast(X, places, change):
    """Return X with some columns changed; those that do not take the change stay."""
    X = X.copy()
    for j in places:
        try:
            other = change(X.iloc[:, j])
        except (TypeError, ValueError, OverflowError):
            continue
        if _same_column(X.iloc[:, j], other):
            X.isetitem(j, other)
    return X


def _polars_types(X):
    pl = sys.modules["polars"]
    number = (*pl.datatypes.group.INTEGER_DTYPES, pl.Boolean, pl.Float32, pl.Float64)
    casts = [
        ("numbers as Float64", number, pl.Float64, False),
        ("numbers as Float32", number, pl.Float32, False),
        ("numbers as Int64", number, pl.Int64, False),
        ("texts as categories", (pl.String,), pl.Categorical, True),
        ("categories as texts", (pl.Categorical, pl.Enum), pl.String, True),
        ("times in nanoseconds", (pl.Datetime,), pl.Datetime("ns"), False),
    ]
    for words, sources, target, is_category in casts:
        columns = []
        for series in X:
            if series.dtype.base_type() in sources:
                other = series.cast(target, strict=False)
                series = other if _same_column(series, other) else series
            columns.append(series)
        other = pl.DataFrame(columns)
        if other.schema != X.schema:
            yield f"with {words}", is_category, other


def _same_column(a, b):
    return all(
        is_missing(u) == is_missing(v) and (is_missing(u) or u == v)
        for u, v in zip(a, b, strict=True)
    )


def _same_cells(A, B):
    """Say whether two tables hold the same cells; one of another length does not."""
    if is_frame(A):
        return all(_same_column(a, b) for a, b in zip(_columns(A), _columns(B), strict=True))
    A, B = (np.asarray(X, dtype=object).ravel() for X in (A, B))
    return _same_column(A, B)


def _columns(X):
    return [X.iloc[:, j] for j in range(X.shape[1])] if hasattr(X, "iloc") else list(X)


def is_missing(cell):
    """Say whether a cell is None, NaN, NA or NaT."""
    if cell is None or type(cell).__name__ in ("NAType", "NaTType"):
        return True
    if isinstance(cell, np.datetime64 | np.timedelta64):
        return bool(np.isnat(cell))
    return isinstance(cell, numbers.Real) and cell != cell


def _holds_texts(series):
    cells = [] if hasattr(series.dtype, "categories") else [v for v in series if not is_missing(v)]
    return bool(cells) and all(isinstance(cell, str) for cell in cells)
