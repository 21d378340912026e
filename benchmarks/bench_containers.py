"""Fit and certify of the same rows in different containers.

    python benchmarks/bench_containers.py [--fast] [--only text wide mnist columns sparse hash]
        [--repeats 3] [--cpu] [--output docs/_static]

A certificate needs rows to be the same values in every container. This script prints what that
costs. Each line of the table times ``fit`` and ``certify`` of one container beside what its
line names:

- a loop of clones, for rows with a text column: it gets the partitions ready-made, slices the
  container as its library does, fits one clone a partition, asks each clone about all test rows,
  counts votes and certifies. It hashes nothing and puts nothing in order;
- the array (or the CSR matrix) of the same numbers, under the same ensemble;
- for hashing the seconds of a hash, beside that of the numbers alone as an array.

Both take turns on one thread. Printed are medians in seconds (fit + certify), and the median, the
least and the greatest ratio of their sums within a turn; last comes the ratio, or the time, to
stay below. MNIST is read where the environment variable CERTIFIED_ENSEMBLES_DATA names a folder
with it; without it scikit-learn's digits take its place, and their line says so. Containers of
libraries that are not installed are left out.
"""

import argparse
import importlib.util
import os
import time
import warnings
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import scipy.sparse as sp
from _machine import (
    interleaved,
    machine_line,
    median,
    save,
    show_ratio,
    spread_of_ratio,
    table,
    write_table,
)
from sklearn.base import clone
from sklearn.compose import ColumnTransformer
from sklearn.datasets import load_digits
from sklearn.linear_model import RidgeClassifier
from sklearn.naive_bayes import GaussianNB, MultinomialNB
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder
from threadpoolctl import threadpool_limits

from certified_ensembles import DeepPartitionAggregation
from certified_ensembles.certificates import plurality_radius
from certified_ensembles.datasets import fetch_mnist
from certified_ensembles.hashers import ContentHasher

HAS_PANDAS, HAS_POLARS, HAS_ARROW = (
    importlib.util.find_spec(name) is not None for name in ("pandas", "polars", "pyarrow")
)


COUNT_CPU = False  # on a machine that others use, time of the processor is the fairer measure


def now():
    """Return seconds: of the clock, or with ``--cpu`` of the processor."""
    return time.process_time() if COUNT_CPU else time.perf_counter()


@dataclass
class Rows:
    """Training and test rows in one container."""

    X: Any
    X_test: Any = None


@dataclass
class Line:
    """One line of the table: a container, and what it is timed beside."""

    case: str
    title: str
    rows: Rows
    target: str
    estimator: Any = None
    y: np.ndarray = None
    k: int = 0
    beside: Rows | None = None  # None: a loop of clones on the same rows
    shape: tuple = ()


# ---------------------------------------------------------------- contenders


def ensemble(line):
    """Return the unfitted ensemble of a line."""
    return DeepPartitionAggregation(line.estimator, line.k, classes=np.unique(line.y))


def fit_and_certify(line, rows):
    """Return the seconds of both, hash included in the first."""
    clf = ensemble(line)
    start = now()
    clf.fit(rows.X, line.y)
    middle = now()
    clf.certify(rows.X_test)
    return middle - start, now() - middle


def loop_of_clones(line, partition):
    """Return the seconds of training and asking as one would write it, partitions given."""
    X, y, classes = line.rows.X, line.y, np.unique(line.y)
    start = now()
    members = []
    for j in range(line.k):
        own = np.flatnonzero(partition == j)
        if len(own):
            members.append(clone(line.estimator).fit(rows_of(X, own), y[own]))
    middle = now()
    ballots = np.stack([member.predict(line.rows.X_test) for member in members], axis=1)
    votes = np.stack([(ballots == label).sum(axis=1) for label in classes], axis=1)
    plurality_radius(votes)
    return middle - start, now() - middle


def rows_of(X, index):
    """Return rows of a container as its own library takes them."""
    if isinstance(X, list):
        return [X[i] for i in index]
    return X.iloc[index] if hasattr(X, "iloc") else X[index]


def hash_of(X):
    """Return the seconds of one hash."""
    start = now()
    ContentHasher()(X)
    return (now() - start,)


def measure(line, repeats):
    """Return what the table says about one line."""
    if line.case == "hash":
        ours, other, name = partial(hash_of, line.rows.X), partial(hash_of, line.beside.X), "array"
    elif line.beside is not None:
        ours, other = (partial(fit_and_certify, line, rows) for rows in (line.rows, line.beside))
        name = "CSR matrix" if sp.issparse(line.beside.X) else "array"
    else:
        partition = ensemble(line).fit(line.rows.X, line.y).partition_
        ours = partial(fit_and_certify, line, line.rows)
        other = partial(loop_of_clones, line, partition)
        name = "loop of clones"
    runs = interleaved({"ours": ours, "other": other}, repeats)
    return {
        "case": line.case,
        "title": line.title,
        "shape": line.shape,
        "k": line.k,
        "beside": name,
        "target": line.target,
        "seconds": {who: medians(found) for who, found in runs.items()},
        "ratio": spread_of_ratio(*(list(map(sum, runs[who])) for who in ("ours", "other"))),
    }


def medians(found):
    """Return the median of each part of what was timed."""
    return [median(part) for part in zip(*found, strict=True)]


# ---------------------------------------------------------------- containers


def frames_of(numbers, texts=None):
    """Yield the name and the container of every kind in which the same rows can come.

    Parameters
    ----------
    numbers : ndarray of shape (n_rows, n_columns)
    texts : ndarray of shape (n_rows,), default=None
        A last column of strings.
    """
    names = [f"c{j}" for j in range(numbers.shape[1])]
    if HAS_PANDAS:
        yield from pandas_frames(numbers, names, texts)
    if HAS_POLARS:
        import polars

        frame = polars.DataFrame(numbers, schema=names)
        if texts is not None:
            frame = frame.with_columns(polars.Series("text", texts.tolist()))
        yield "polars", frame
    rows = numbers.tolist()
    if texts is not None:
        rows = [[*row, text] for row, text in zip(rows, texts.tolist(), strict=True)]
        objects = np.empty((len(rows), len(rows[0])), dtype=object)
        objects[:] = rows
        yield "array of objects", objects
    yield "list of lists", rows


def pandas_frames(numbers, names, texts):
    """Yield frames of pandas with columns of each of its kinds of types."""
    import pandas

    frame = pandas.DataFrame(numbers, columns=names)
    if texts is None:
        yield "pandas", frame
        half = len(names) // 2
        types = dict.fromkeys(names[:half], np.float32) | dict.fromkeys(names[half:], np.float64)
        yield "pandas, two types", frame.astype(types)
        yield "pandas, nullable", frame.astype("Float64")
        if HAS_ARROW:
            yield "pandas, Arrow", frame.convert_dtypes(dtype_backend="pyarrow")
        return
    types = {"str": "str", "object": object, "category": "category"}
    if HAS_ARROW:
        types["Arrow strings"] = "string[pyarrow]"
    for name, dtype in types.items():
        yield f"pandas, {name}", frame.assign(text=pandas.Series(texts.tolist(), dtype=dtype))


def split(containers, n_train):
    """Yield names and rows, cut into training and test rows."""
    for name, X in containers:
        if hasattr(X, "iloc"):
            yield name, Rows(X.iloc[:n_train], X.iloc[n_train:].reset_index(drop=True))
        else:
            yield name, Rows(X[:n_train], X[n_train:])


# ---------------------------------------------------------------- cases


def text_lines(fast):
    """Yield rows with one text column, beside a loop of clones."""
    n, n_test, k = (600, 200, 5) if fast else (4000, 1000, 30)
    rng = np.random.default_rng(0)
    numbers = rng.normal(size=(n + n_test, 60))
    texts = rng.choice(["ham", "spam", "eggs", "bacon"], n + n_test)
    y = (numbers[:n, 0] > 0).astype(int)
    encoder = OneHotEncoder(handle_unknown="ignore", sparse_output=False)
    columns = ColumnTransformer([("text", encoder, [60])], remainder="passthrough")
    estimator = make_pipeline(columns, GaussianNB())
    for name, rows in split(frames_of(numbers, texts), n):
        yield Line("text", f"one text column: {name}", rows, "2", estimator, y, k, shape=(n, 61))


def numeric_lines(case, numbers, y, k, *, only=None):
    """Yield containers of numbers, beside their array, under ridge."""
    n = len(y)
    array = Rows(np.ascontiguousarray(numbers[:n]), np.ascontiguousarray(numbers[n:]))
    for name, rows in split(frames_of(numbers), n):
        if only is None or name in only:
            yield Line(
                case,
                f"numbers: {name}",
                rows,
                "1.2",
                RidgeClassifier(),
                y,
                k,
                array,
                array.X.shape,
            )


def wide_lines(fast):
    """Yield frames of few rows and many columns."""
    n, n_features, k = (200, 300, 10) if fast else (1000, 2000, 50)
    numbers = np.random.default_rng(0).normal(size=(n + 200, n_features))
    y = (numbers[:n, 0] > 0).astype(int)
    yield from numeric_lines("wide", numbers, y, k, only=("pandas", "pandas, two types", "polars"))


def mnist_lines(fast):
    """Yield MNIST, or scikit-learn's digits, as frames."""
    name, k, n_test = "MNIST", 1200, 2000
    if "CERTIFIED_ENSEMBLES_DATA" in os.environ and not fast:
        X, y = fetch_mnist(subset="train", return_X_y=True)
        X_test = fetch_mnist(subset="test", return_X_y=True)[0][:n_test]
        numbers = np.concatenate([X, X_test]).reshape(len(X) + n_test, -1)
    else:
        name, k, n_test = "digits in place of MNIST", 60, 297
        numbers, y = load_digits(return_X_y=True)
        numbers, y = numbers.astype(np.uint8), y[:-n_test]
    for line in numeric_lines("mnist", numbers, y, k, only=("pandas", "polars")):
        line.title = f"{name}: {line.title.removeprefix('numbers: ')}"
        yield line


def column_lines(fast):
    """Yield numbers in columns of every kind of types, and as lists."""
    n, k = (1000, 10) if fast else (20000, 100)
    numbers = np.random.default_rng(0).normal(size=(n + n // 10, 60))
    yield from numeric_lines("columns", numbers, (numbers[:n, 0] > 0).astype(int), k)


def sparse_lines(fast):
    """Yield a frame of sparse columns, beside its CSR matrix."""
    if not HAS_PANDAS:
        return
    import pandas

    n, n_test, n_features, k = (500, 100, 200, 10) if fast else (5000, 500, 2000, 50)
    matrix = sp.random_array(
        (n + n_test, n_features), density=0.01, format="csr", rng=np.random.default_rng(0)
    )
    y = np.random.default_rng(1).integers(0, 2, n)
    frame = pandas.DataFrame.sparse.from_spmatrix(
        sp.csr_matrix(matrix), columns=[f"c{j}" for j in range(n_features)]
    )
    csr = Rows(matrix[:n], matrix[n:])
    for name, estimator in (("ridge", RidgeClassifier()), ("naive Bayes", MultinomialNB())):
        for _, rows in split([("frame", frame)], n):
            title = f"sparse columns of pandas, {name}"
            yield Line("sparse", title, rows, "1.5", estimator, y, k, csr, (n, n_features))


def hash_lines(fast):
    """Yield rows with one text column, to be hashed."""
    n = 1000 if fast else 20000
    rng = np.random.default_rng(0)
    numbers, texts = rng.normal(size=(n, 50)), rng.choice([f"w{j}" for j in range(1000)], n)
    for name, X in frames_of(numbers, texts):
        yield Line(
            "hash",
            f"hash, one text column: {name}",
            Rows(X),
            "0.25 s",
            beside=Rows(numbers),
            shape=(n, 51),
        )


CASES = {
    "text": text_lines,
    "wide": wide_lines,
    "mnist": mnist_lines,
    "columns": column_lines,
    "sparse": sparse_lines,
    "hash": hash_lines,
}


# ---------------------------------------------------------------- results


def as_table(results):
    """Return all results as one reStructuredText table."""
    header = ["Rows", "Size", "k", "this (s)", "other (s)", "this / other", "the other", "below"]
    return table(header, [cells_of(result) for result in results])


def cells_of(result):
    n, n_features = result["shape"]
    return [
        result["title"],
        f"{n:,} x {n_features}",
        result["k"] or "",
        " + ".join(f"{seconds:.3f}" for seconds in result["seconds"]["ours"]),
        " + ".join(f"{seconds:.3f}" for seconds in result["seconds"]["other"]),
        show_ratio(result["ratio"]),
        result["beside"],
        result["target"],
    ]


def show(result):
    title, size, k, ours, other, ratio, beside, target = cells_of(result)
    missed = is_missed(result)
    print(
        f"{title:42s} {size:>14s} {k or '':>5} {ours:>15s} {other:>15s}  {ratio:26s} {beside:15s}"
        f"{target:>7s}{'  missed' if missed else ''}",
        flush=True,
    )


def is_missed(result):
    """Say whether the median is above the number to stay below."""
    if result["target"].endswith(" s"):
        return result["seconds"]["ours"][0] > float(result["target"].removesuffix(" s"))
    return result["ratio"][0] > float(result["target"])


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--fast", action="store_true", help="few rows and members, seconds")
    parser.add_argument("--only", nargs="+", choices=list(CASES), default=list(CASES))
    parser.add_argument("--repeats", type=int, default=None, help="default 3, with --fast 1")
    parser.add_argument("--output", help="folder for bench_containers.json and .txt")
    parser.add_argument("--cpu", action="store_true", help="count processor time")
    args = parser.parse_args()
    global COUNT_CPU
    COUNT_CPU = args.cpu
    repeats = args.repeats or (1 if args.fast else 3)
    clock = "processor time" if args.cpu else "time of the clock"
    about = machine_line() + (
        f"\n{repeats} interleaved repeats on one thread, medians in seconds, {clock}"
    )
    print(about)
    results = []
    for name in args.only:
        for line in CASES[name](args.fast):
            with threadpool_limits(1), warnings.catch_warnings():
                warnings.simplefilter("ignore")  # a partition without rows in the fast form
                results.append(measure(line, repeats))
            show(results[-1])
            if args.output:  # so that what is done is kept
                save("bench_containers", {"cases": results}, args.output)
                write_table("bench_containers", about, as_table(results), args.output)
    if args.output:
        print("written: bench_containers.json and .txt in", args.output)


if __name__ == "__main__":
    main()
