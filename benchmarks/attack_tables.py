"""Random attacks on tables: one appended row whose cell changes what its column is.

    python benchmarks/attack_tables.py [--n-attacks 10000] [--seed 0] [--examples 20]

An attack is drawn from (kind of column) x (container) x (estimator) x (hostile cell) x (place of
the row). A row is put behind or before a small training table as the container does it, types of
columns included. Then no other row may change its partition, no member of another partition a
ballot, and no certified prediction may be beaten. Test rows must be answered alike alone, in
another order and beside the hostile row. Rows that are refused with an error are counted apart:
they break no promise. The status is 1 if any promise is broken.
"""

import argparse
import inspect
import sys
import time
import warnings
from collections import Counter, defaultdict
from typing import NamedTuple
from zlib import crc32

import numpy as np
import pandas as pd
import polars as pl
import scipy.sparse as sp
from sklearn import config_context
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.compose import make_column_selector, make_column_transformer
from sklearn.naive_bayes import BernoulliNB
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, OneHotEncoder
from sklearn.tree import DecisionTreeClassifier

from certified_ensembles import DeepPartitionAggregation
from certified_ensembles._data.forms import rows_at, stack_rows
from certified_ensembles._data.hostile import HOSTILE_CELLS, hostile_rows, with_cell

COLUMNS = ["c", "amount", "count"]
PARAMETERS = inspect.signature(DeepPartitionAggregation).parameters


# ---------------------------------------------------------------- kinds of columns


def _missing_at(rng, values):
    return [None if rng.random() < 0.2 else value for value in values]


KINDS = {
    "bool": lambda rng, n: (rng.random(n) < 0.5).tolist(),
    "int": lambda rng, n: rng.integers(0, 4, n).tolist(),
    "float": lambda rng, n: (rng.integers(0, 8, n) / 4 + 0.1).tolist(),
    "long int": lambda rng, n: (rng.integers(2**53, 2**62, n) | 1).tolist(),
    "int, missing": lambda rng, n: _missing_at(rng, rng.integers(0, 4, n).tolist()),
    "text": lambda rng, n: rng.choice(["p", "q", "r", "see me"], n).tolist(),
    "text, missing": lambda rng, n: _missing_at(rng, rng.choice(list("pqrs"), n).tolist()),
    "time": lambda rng, n: list(
        np.datetime64("2024-01-01", "ns")
        + rng.integers(0, 40, n) * np.timedelta64(3600, "s")
        + rng.integers(0, 5, n)
    ),
    "span": lambda rng, n: list(rng.integers(0, 20, n) * np.timedelta64(1_000_000_007, "ns")),
    "sparse": None,
}
NUMBERS = ("bool", "int", "float", "long int")
# The cells that are tried are those of the plain kind.
PLAIN_KIND = {"long int": "int", "int, missing": "int", "text, missing": "text"}
NULLABLE = {
    "bool": "boolean",
    "int": "Int64",
    "float": "Float64",
    "long int": "Int64",
    "int, missing": "Int64",
    "text": "string",
    "text, missing": "string",
}
ARROW = {
    "bool": "bool[pyarrow]",
    "int": "int64[pyarrow]",
    "float": "double[pyarrow]",
    "long int": "int64[pyarrow]",
    "int, missing": "int64[pyarrow]",
    "text": "string[pyarrow]",
    "text, missing": "string[pyarrow]",
    "time": "timestamp[ns][pyarrow]",
    "span": "duration[ns][pyarrow]",
}


# ---------------------------------------------------------------- containers


def as_list(columns, kind, rng):
    return [list(row) for row in zip(*columns.values(), strict=True)]


def as_object_array(columns, kind, rng):
    rows = np.empty((len(columns["c"]), len(columns)), dtype=object)
    for j, values in enumerate(columns.values()):
        rows[:, j] = values
    return rows


def as_numpy(columns, kind, rng):
    n = len(columns["c"])
    return np.column_stack([columns["c"], KINDS[kind](rng, n), KINDS[kind](rng, n)])


def _frame(columns, series):
    frame = pd.DataFrame({name: columns[name] for name in COLUMNS[1:]})
    frame.insert(0, "c", series)
    return frame


def as_pandas(columns, kind, rng):
    values = columns["c"]
    if kind in ("text", "text, missing"):
        return _frame(columns, pd.Series(values, dtype=object))
    if kind == "int, missing":
        return _frame(columns, pd.Series(values, dtype=float))
    return _frame(columns, pd.Series(values if kind in NUMBERS else np.array(values)))


def as_pandas_str(columns, kind, rng):
    return _frame(columns, pd.Series(columns["c"], dtype="str"))


def as_pandas_nullable(columns, kind, rng):
    return _frame(columns, pd.Series(columns["c"], dtype=NULLABLE[kind]))


def as_pandas_arrow(columns, kind, rng):
    values = columns["c"] if kind not in ("time", "span") else np.array(columns["c"])
    return _frame(columns, pd.Series(values).astype(ARROW[kind]))


def as_pandas_category(columns, kind, rng):
    values = pd.Categorical(columns["c"])
    ordered = bool(rng.integers(2))
    return _frame(columns, pd.Series(values.as_ordered() if ordered else values))


def as_polars(columns, kind, rng):
    values = np.array(columns["c"]) if kind in ("time", "span") else columns["c"]
    return pl.DataFrame({**columns, "c": values})


def as_polars_category(columns, kind, rng):
    return pl.DataFrame(columns).with_columns(pl.col("c").cast(pl.Categorical))


def _sparse(rng, n, entries=24, n_features=30):
    """Return rows with indices that are there twice, and sorted or not."""
    places = rng.integers(0, n_features, (n, entries))
    places = np.sort(places, axis=1) if rng.integers(2) else places
    data = rng.choice([0.1, 0.2, 0.3, 1.7, 2**-30], n * entries)
    shape = (n, n_features)
    return sp.csr_array((data, places.ravel(), np.arange(n + 1) * entries), shape=shape)


def as_csr(columns, kind, rng):
    X = _sparse(rng, len(columns["c"]))
    X.sum_duplicates()
    return X


def as_csr_twice(columns, kind, rng):
    return _sparse(rng, len(columns["c"]))


def as_coo_twice(columns, kind, rng):
    return _sparse(rng, len(columns["c"])).tocoo()


DENSE = tuple(kind for kind in KINDS if kind != "sparse")
TEXTS = ("text", "text, missing")
CONTAINERS = {
    as_list: DENSE,
    as_object_array: DENSE,
    as_numpy: NUMBERS,
    as_pandas: DENSE,
    as_pandas_str: TEXTS,
    as_pandas_nullable: tuple(NULLABLE),
    as_pandas_arrow: tuple(ARROW),
    as_pandas_category: ("bool", "int", *TEXTS),
    as_polars: DENSE,
    as_polars_category: TEXTS,
    as_csr: ("sparse",),
    as_csr_twice: ("sparse",),
    as_coo_twice: ("sparse",),
}


# ---------------------------------------------------------------- estimators that look closely


class Telltale(ClassifierMixin, BaseEstimator):
    """Answers by a digest of all that it is shown: rows, their types, levels, and order."""

    def fit(self, X, y):
        self.classes_ = np.unique(y)
        self.seen_ = repr((_types(X), _rows(X), np.asarray(y).tolist()))
        return self

    def predict(self, X):
        start = crc32((self.seen_ + repr(_types(X))).encode("utf-8", "replace"))
        codes = [crc32(row.encode("utf-8", "replace"), start) >> 7 for row in _rows(X)]
        return self.classes_[np.array(codes) % len(self.classes_)]


def _types(X):
    if hasattr(X, "iloc"):
        levels = [list(t.categories) for t in X.dtypes if hasattr(t, "categories")]
        return "pandas", [str(t) for t in X.dtypes], levels
    if isinstance(X, pl.DataFrame):
        return "polars", [str(t) for t in X.dtypes]
    return type(X).__name__, str(getattr(X, "dtype", ""))


def _rows(X):
    if sp.issparse(X):
        X = X.tocsr()
        bounds = zip(X.indptr[:-1], X.indptr[1:], strict=True)
        return [repr((X.indices[a:b].tolist(), X.data[a:b].tolist())) for a, b in bounds]
    if hasattr(X, "iloc"):
        X = zip(*(X.iloc[:, j].tolist() for j in range(X.shape[1])), strict=True)
    elif isinstance(X, pl.DataFrame):
        X = X.rows()
    return [repr([(type(cell).__name__, repr(cell)) for cell in row]) for row in X]


class CellTexts(ClassifierMixin, BaseEstimator):
    """Counts labels for each text of a cell, and answers with the label that its cells had."""

    def fit(self, X, y):
        self.classes_, codes = np.unique(y, return_inverse=True)
        self.counts_ = defaultdict(lambda: np.zeros(len(self.classes_)))
        for row, code in zip(_text_cells(X), codes.tolist(), strict=True):
            for cell in row:
                self.counts_[cell][code] += 1
        return self

    def predict(self, X):
        nothing = np.zeros(len(self.classes_))
        counts = self.counts_.get
        sums = [sum(counts(cell, nothing) for cell in row) for row in _text_cells(X)]
        return self.classes_[np.argmax(sums, axis=1)]


def _text_cells(X):
    # Cell by cell: pandas spells the spans of a whole column in one way, by all of its rows.
    if hasattr(X, "iloc"):
        X = X.itertuples(index=False)
    elif isinstance(X, pl.DataFrame):
        X = X.rows()
    return [[(j, str(cell)) for j, cell in enumerate(row)] for row in X]


def codes(frame):
    return frame.assign(c=frame["c"].cat.codes)


ONE_HOT = make_pipeline(OneHotEncoder(handle_unknown="ignore"), BernoulliNB())
SELECTED = make_column_transformer(("passthrough", make_column_selector(dtype_include="number")))
PANDAS = tuple(c for c in CONTAINERS if c.__name__.startswith("as_pandas"))
# An estimator, with the kinds and the containers for which it makes sense.
ESTIMATORS = {
    "all that it sees": (Telltale(), tuple(KINDS), tuple(CONTAINERS)),
    "cells as text": (CellTexts(), DENSE, tuple(CONTAINERS)),
    "columns by type": (
        # A span counts as a number to the selector, and not to the tree.
        make_pipeline(SELECTED, DecisionTreeClassifier(max_depth=3)),
        tuple(kind for kind in DENSE if kind != "span"),
        PANDAS,
    ),
    "category codes": (
        make_pipeline(FunctionTransformer(codes), DecisionTreeClassifier(max_depth=3)),
        ("text", "int"),
        (as_pandas_category,),
    ),
    "one-hot levels": (ONE_HOT, ("text", "text, missing", "int"), tuple(CONTAINERS)),
    "nearest row": (KNeighborsClassifier(1), (*NUMBERS, "sparse"), tuple(CONTAINERS)),
    "tree": (DecisionTreeClassifier(), (*NUMBERS, "int, missing", "sparse"), tuple(CONTAINERS)),
}


def settings():
    """Return all (kind, container, estimator) that make sense together."""
    return [
        (kind, container, name)
        for name, (_, kinds, containers) in ESTIMATORS.items()
        for container, held in CONTAINERS.items()
        for kind in kinds
        if container in containers and kind in held
    ]


SETTINGS = settings()


# ---------------------------------------------------------------- attacks


class Table(NamedTuple):
    X: object
    y: np.ndarray
    X_test: object
    clf: DeepPartitionAggregation


def make_table(kind, container, name, rng):
    n, n_test = int(rng.integers(100, 180)), 20
    columns = {
        "c": (KINDS[kind] or KINDS["int"])(rng, n + n_test),
        "amount": KINDS["float"](rng, n + n_test),
        "count": KINDS["int"](rng, n + n_test),
    }
    X = container(columns, kind, rng)
    options = {}
    if name == "category codes" and "categorical_features" in PARAMETERS:
        options["categorical_features"] = ["c"]
    if "on_error" in PARAMETERS:
        options["on_error"] = "abstain"
    estimator = ESTIMATORS[name][0]
    k = int(rng.integers(7, 10))
    clf = DeepPartitionAggregation(estimator, k, classes=[0, 1], **options)
    words = [str(value) for value in columns["c"]]
    y = np.array([crc32(word.encode()) % 2 for word in words]) ^ (rng.random(n + n_test) < 0.1)
    index = np.arange(n + n_test)
    return Table(rows_at(X, index[:n]), y[:n], rows_at(X, index[n:]), clf)


def hostile(table, kind, rng):
    """Yield (words, a row with a hostile cell in the first column)."""
    if kind == "sparse":
        yield from hostile_rows(table.X, rng)
        return
    level = hasattr(table.X, "iloc") and hasattr(table.X.dtypes.iloc[0], "categories")
    cells = set(HOSTILE_CELLS[PLAIN_KIND.get(kind, kind)])
    cells |= set(HOSTILE_CELLS["category"] if level else ())
    for value in sorted(cells, key=repr):
        i = int(rng.integers(len(table.y)))
        yield repr(value), with_cell(table.X, i, 0, value)
        if level:
            yield f"{value!r} as an object", with_cell(table.X, i, 0, value, declared=False)


def compare(table, fitted, before, origin, kept, allowed):
    """Return what broke between the clean outcome and a fit on attacked rows."""
    found = Counter()
    ballots, partition, y_pred, radius = before
    found["rows moved"] = int((partition[origin] != fitted.partition_[kept]).sum())
    members = np.flatnonzero((fitted.ballots(table.X_test) != ballots).any(axis=0))
    touched = np.delete(fitted.partition_, kept)
    found["members changed"] = len(np.setdiff1d(members, touched))
    if len(members):
        changed = fitted.predict(table.X_test) != y_pred
        found["radii beaten"] = int((changed & (radius >= allowed)).sum())
    return found


def ask_alone(table, clean, before, rng):
    """Return how many test rows are answered otherwise alone, or in another order."""
    order = rng.permutation(len(before))
    differ = int((clean.ballots(rows_at(table.X_test, order)) != before[order]).any(axis=1).sum())
    for i in order[:3]:
        differ += int((clean.ballots(rows_at(table.X_test, [i]))[0] != before[i]).any())
    return differ


def attack_table(kind, container, name, rng):
    """Yield (words, what broke) for each attack on one random table."""
    table = make_table(kind, container, name, rng)
    try:
        clean = table.clf.fit(table.X, table.y)
        before = (clean.ballots(table.X_test), clean.partition_, *clean.certify(table.X_test))
        differ = ask_alone(table, clean, before[0], rng)
    except Exception as error:
        yield f"clean data: {_named(error)}", Counter(exceptions=1)
        return
    yield "asked alone", Counter({"alone, together": differ})
    n = len(table.y)
    attacks = [("rows in another order", None), *hostile(table, kind, rng)]
    for words, row in attacks:
        found = Counter()
        in_front = bool(rng.integers(2))
        if row is None:
            origin = rng.permutation(n)
            X, y, kept = rows_at(table.X, origin), table.y[origin], np.arange(n)
        else:
            origin, label = np.arange(n), rng.integers(2)
            pair = (row, table.X) if in_front else (table.X, row)
            X = stack_rows(*pair)
            y = np.insert(table.y, 0 if in_front else n, label)
            kept = origin + in_front
            found += ask_together(table, clean, before[0], row)
        try:
            fitted = type(clean)(**clean.get_params(deep=False)).fit(X, y)
        except Exception as error:
            found["refused" if row is not None else "exceptions"] += 1
            words = f"{words}: {_named(error)}"
        else:
            try:
                found += compare(table, fitted, before, origin, kept, int(row is not None))
            except Exception as error:
                found["exceptions"] += 1
                words = f"{words}: {_named(error)}"
        yield words, found


def ask_together(table, clean, ballots, row):
    """Return how many test rows are answered otherwise beside a row."""
    try:
        after = clean.ballots(stack_rows(table.X_test, row))[: len(ballots)]
    except Exception:
        try:
            clean.ballots(row)
        except Exception:
            return Counter(refused=1)
        return Counter(exceptions=1)
    return Counter({"alone, together": int((after != ballots).any(axis=1).sum())})


def _named(error):
    return f"{type(error).__name__}: {str(error).splitlines()[0][:90] if str(error) else ''}"


# ---------------------------------------------------------------- the run

BROKEN = ("rows moved", "members changed", "radii beaten", "alone, together", "exceptions")


def run(n_attacks, seed, n_examples=20):
    """Return counts by kind and by container, and one line of words for each broken setting."""
    rng = np.random.default_rng(seed)
    by_kind, by_container, examples = defaultdict(Counter), defaultdict(Counter), {}
    todo, done = [], 0
    while done < n_attacks:
        todo = todo or _one_round(rng)
        kind, container, name = todo.pop()
        table_seed = int(rng.integers(2**31))
        attacks = attack_table(kind, container, name, np.random.default_rng(table_seed))
        for words, found in attacks:
            done += words != "asked alone"
            for table in (by_kind[kind], by_container[container.__name__[3:]]):
                table["attacks"] += words != "asked alone"
                table.update(found)
                table["broken"] += any(found[what] for what in BROKEN)
            if any(found[what] for what in BROKEN):
                broken = {what: found[what] for what in BROKEN if found[what]}
                key = (kind, container.__name__[3:], name)
                examples.setdefault(key, f"{words} -> {broken} (table {table_seed})")
    return by_kind, by_container, examples


def _one_round(rng):
    """Return settings in random order, as many of each kind, and all where a kind has few."""
    shuffled = [SETTINGS[i] for i in rng.permutation(len(SETTINGS))]
    by_kind = [[s for s in shuffled if s[0] == kind][:9] for kind in KINDS]
    chosen = [setting for some in by_kind for setting in some]
    return [chosen[i] for i in rng.permutation(len(chosen))]


def print_table(title, rows):
    names = ("attacks", "broken", *BROKEN, "refused")
    print(f"{title:18}" + "".join(f"{name:>17}" for name in names))
    total = sum(rows.values(), Counter())
    for name, counts in [*sorted(rows.items()), ("all", total)]:
        print(f"{name:18}" + "".join(f"{counts[column]:17d}" for column in names))
    print()
    return total


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--n-attacks", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--examples", type=int, default=20, help="broken settings to name")
    args = parser.parse_args()
    start = time.perf_counter()
    quick = config_context(assume_finite=True, skip_parameter_validation=True)
    with warnings.catch_warnings(), np.errstate(all="ignore"), quick:
        warnings.simplefilter("ignore")
        by_kind, by_container, examples = run(args.n_attacks, args.seed)
    total = print_table("kind of column", by_kind)
    print_table("container", by_container)
    for key, words in list(examples.items())[: args.examples]:
        print(" / ".join(key), ":", words)
    print(
        f"{total['attacks']} attacks in {time.perf_counter() - start:.0f} s, "
        f"{total['broken']} broken, in {len(examples)} of {len(SETTINGS)} settings"
    )
    return int(total["broken"] > 0)


if __name__ == "__main__":
    sys.exit(main())
