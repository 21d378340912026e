"""Random attacks on columns and words, in training and in the row asked about, with rows at once.

    python benchmarks/attack_columns.py [--n-predictions 100000] [--seed 0] [--only NAME ...]

A small table is drawn (numbers with many ties, digits, wine, mixed columns, images, texts) and a
`FeaturePartitionAggregation` with random settings is fitted to it. Then a few columns are
rewritten in all training rows and in all test rows: with a trigger that tells the label, with
noise, with hostile values (1e39, 1e308, NaN, words, times, integers that no double holds), or
words are added and struck. At the same time rows are inserted, deleted and relabelled, or sources
do what they like. No certified prediction may change, no member may change whose block and row
partition were left alone, and no row may move in a block that was left alone. The status is 1 if
any promise is broken.
"""

import argparse
import sys
import time
import warnings
from collections import Counter
from datetime import datetime
from typing import NamedTuple
from zlib import crc32

import numpy as np
import pandas as pd
import polars as pl
import scipy.sparse as sp
from sklearn.base import clone
from sklearn.datasets import load_digits, load_wine
from sklearn.decomposition import PCA
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
from sklearn.feature_extraction.text import CountVectorizer, HashingVectorizer, TfidfVectorizer
from sklearn.feature_selection import SelectKBest, f_classif
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression, RidgeClassifier, SGDClassifier
from sklearn.naive_bayes import BernoulliNB, GaussianNB, MultinomialNB
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler
from sklearn.svm import SVC
from sklearn.tree import DecisionTreeClassifier

from certified_ensembles import FeaturePartitionAggregation
from certified_ensembles.hashers import ContentHasher

N_TRAIN, N_TEST, N_ATTACKS = 90, 60, 6
NUMBERS = (0.0, 1.0, -7.5, 1e39, -1e200, 1e308, np.nan, np.inf)
CELLS = (*NUMBERS, None, True, "word", "", 2**70, 2**53 + 1, datetime(2020, 1, 1))
BROKEN = ("beaten", "foreign members", "rows moved", "not repeatable", "not the frontier")


# ---------------------------------------------------------------- estimators and tables

ON_NUMBERS = {
    "ridge": RidgeClassifier(),
    "logistic": LogisticRegression(max_iter=30),
    "bayes": GaussianNB(),
    "tree": DecisionTreeClassifier(max_depth=3),
    "forest": RandomForestClassifier(3),
    "neighbours": KNeighborsClassifier(1),
    "support vectors": SVC(),
    "discriminant": LinearDiscriminantAnalysis(),
    "SGD": SGDClassifier(max_iter=5, tol=None),
    "boosting": HistGradientBoostingClassifier(max_iter=2, min_samples_leaf=2),
    "scaler, ridge": make_pipeline(StandardScaler(), RidgeClassifier()),
    "PCA, logistic": make_pipeline(PCA(1), LogisticRegression(max_iter=30)),
    "F test, bayes": make_pipeline(SelectKBest(f_classif, k=1), GaussianNB()),
    "imputer, ridge": make_pipeline(SimpleImputer(), RidgeClassifier()),
}
ON_CELLS = {
    "levels, ridge": make_pipeline(OneHotEncoder(handle_unknown="ignore"), RidgeClassifier()),
    "levels, tree": make_pipeline(
        OneHotEncoder(handle_unknown="ignore"), DecisionTreeClassifier()
    ),
}
ON_TEXTS = {
    "counts, bayes": make_pipeline(CountVectorizer(), MultinomialNB()),
    "presence, logistic": make_pipeline(CountVectorizer(binary=True), LogisticRegression()),
    "tf-idf, ridge": make_pipeline(TfidfVectorizer(min_df=2), RidgeClassifier()),
    "hashes, Bernoulli": make_pipeline(HashingVectorizer(n_features=64), BernoulliNB()),
}
KINDS = {
    **dict.fromkeys(
        ON_NUMBERS, ("array", "float32", "objects", "pandas", "polars", "csr", "image")
    ),
    **dict.fromkeys(ON_CELLS, ("objects", "pandas", "polars")),
    **dict.fromkeys(ON_TEXTS, ("texts",)),
}
WORDS = [f"{a}{b}" for a in ("buy", "meet", "pill", "note", "win") for b in "abcdefg"]


def draw_rows(rng, kind, mixed):
    """Return cells (or sets of words) and labels."""
    n = N_TRAIN + N_TEST
    if kind == "texts":
        y = rng.integers(0, 3, n)
        odds = rng.random((3, len(WORDS))) ** 3
        return [[w for w, p in zip(WORDS, odds[c], strict=True) if rng.random() < p] for c in y], y
    source = rng.integers(3)
    if kind == "image" or source == 0:
        X, y = load_digits(n_class=4, return_X_y=True)
        X = X[:, [10, 12, 19, 20, 21, 26, 28, 34, 36, 42, 43, 54]]
    elif source == 1:
        X, y = load_wine(return_X_y=True)
        X = X[:, :12]
    else:
        X = rng.integers(0, 4, (300, 12)).astype(float)
        y = (X[:, :6].sum(axis=1) + rng.integers(0, 4, 300)).astype(int) // 7
    rows = rng.permutation(len(X))[:n]
    cells = X[rows].astype(object)
    if mixed:
        for j in (2, 5, 7):
            cells[:, j] = [f"level {int(v) % 3}" for v in cells[:, j]]
    return cells, y[rows]


def contain(kind, cells):
    """Return cells in a container, with the types that it makes of them."""
    if kind == "texts":
        return [" ".join(words) for words in cells]
    if kind == "pandas":
        return pd.DataFrame({f"c{j}": column.tolist() for j, column in enumerate(cells.T)})
    if kind == "polars":
        return pl.DataFrame([_polars_column(f"c{j}", c.tolist()) for j, c in enumerate(cells.T)])
    if kind == "objects":
        return cells.copy()
    X = cells.astype(float)
    if kind == "csr":
        return sp.csr_array(X)
    if kind == "image":
        return X.reshape(len(X), 3, 4)
    with np.errstate(over="ignore"):
        small = X.astype(np.float32)
    return small if kind == "float32" and np.array_equal(small, X, equal_nan=True) else X


def _polars_column(name, values):
    types = {type(v) for v in values if v is not None}
    return pl.Series(name, values, dtype=pl.Object if len(types) > 1 else None)


class Table(NamedTuple):
    """Plain rows, and the ensemble to attack."""

    kind: str
    cells: object
    y: np.ndarray
    asked: object
    groups: np.ndarray
    clf: FeaturePartitionAggregation


def draw_table(name, estimator, rng):
    """Return random data, and an ensemble with random settings."""
    kind = KINDS[name][rng.integers(len(KINDS[name]))]
    cells, y = draw_rows(rng, kind, name in ON_CELLS)
    options = {"on_error": "abstain", "n_blocks": int(rng.integers(3, 8))}
    options["n_partitions"] = int(rng.choice([1, 2, 3, 4]))
    if rng.integers(2):
        options["classes"] = np.unique(y)
    if kind not in ("texts", "image") and rng.integers(3) == 0:
        options["blocks"] = rng.integers(0, options["n_blocks"], 12)
    if rng.integers(4) == 0:
        options["hasher"] = ContentHasher(include_labels=True)
    scored = hasattr(estimator, "decision_function") or hasattr(estimator, "predict_proba")
    if scored and rng.integers(5) == 0:
        options["aggregation"] = "run_off"
    groups = rng.integers(0, 20, N_TRAIN) if rng.integers(2) else None
    clf = FeaturePartitionAggregation(estimator, **options)
    return Table(kind, cells[:N_TRAIN], y[:N_TRAIN], cells[N_TRAIN:], groups, clf)


# ---------------------------------------------------------------- attacks


class Attack(NamedTuple):
    """Attacked rows, where those that were left alone stand, and what was spent."""

    cells: object
    y: np.ndarray
    asked: object
    groups: np.ndarray
    kept: np.ndarray
    origin: np.ndarray
    columns: list
    n_rows: int
    flips_only: bool


def rewrite_columns(table, y, cells, asked, rng):
    """Rewrite some columns in place, in training and in test rows; return their places."""
    columns = rng.permutation(12)[: rng.integers(0, 4)].tolist()
    plain = table.kind in ("array", "float32", "csr", "image")
    values = NUMBERS if plain else CELLS
    aim = rng.choice(y)
    how = rng.integers(4)
    for j in columns:
        on, off = (values[rng.integers(len(values))] for _ in range(2))
        for rows, is_training in ((cells, True), (asked, False)):
            for i in range(len(rows)):
                if how == 0:  # a trigger
                    rows[i, j] = on if not is_training or y[i] == aim else off
                elif how == 1:
                    rows[i, j] = values[rng.integers(len(values))]
                elif how == 2:
                    rows[i, j] = float(rng.integers(-3, 4))
                elif rng.integers(8) == 0:  # a few cells
                    rows[i, j] = on
    return columns


def rewrite_words(table, y, cells, asked, rng):
    """Add and strike some words in place; return them."""
    words = rng.permutation([*WORDS, "trigger", "Néw", "buya"])[: rng.integers(0, 4)].tolist()
    aim, how = rng.choice(y), rng.integers(3)
    for word in words:
        for rows, is_training in ((cells, True), (asked, False)):
            for i, text in enumerate(rows):
                kept = [w for w in text if w != word]
                add = not is_training or y[i] == aim
                if how == 1:
                    add = bool(rng.integers(2))
                elif how == 2 and rng.integers(4):
                    continue
                for _ in range(int(rng.integers(1, 4)) if add else 0):
                    kept.insert(int(rng.integers(len(kept) + 1)), word)
                rows[i] = kept
    return words


def draw_attack(table, rng):
    """Return an attack on columns or words, and on rows if there are partitions of them."""
    copied = [list(t) for t in table.cells] if table.kind == "texts" else table.cells.copy()
    asked = [list(t) for t in table.asked] if table.kind == "texts" else table.asked.copy()
    rewrite = rewrite_words if table.kind == "texts" else rewrite_columns
    rows_too = table.clf.n_partitions > 1 and rng.integers(3) > 0
    if table.groups is not None and rows_too:
        rows = _hostile_sources(table, rng)
    else:
        rows = _hostile_rows(table, rng) if rows_too else _no_rows(table)
    y, flipped, stay, from_rows, from_labels, groups, spent = rows
    columns = rewrite(table, y, copied, asked, rng)
    take = [copied[i] for i in stay]
    # What is inserted looks like a test row, or like a training row, as rewritten as these.
    take += [asked[i] if i < N_TEST else copied[i - N_TEST] for i in from_rows]
    if table.kind != "texts":
        new, take = take, np.empty((len(take), 12), dtype=object)
        for place, row in enumerate(new):
            take[place] = row
    labels = np.concatenate([y[stay], np.array(from_labels, dtype=y.dtype)])
    calm = ~np.isin(stay, flipped)
    own = None if table.groups is None else np.concatenate([table.groups[stay], groups])
    flips_only = not from_labels and len(stay) == N_TRAIN
    return Attack(
        take, labels, asked, own, np.flatnonzero(calm), stay[calm], columns, spent, flips_only
    )


def _no_rows(table):
    return table.y.copy(), [], np.arange(N_TRAIN), [], [], [], 0


def _labels(table, rng):
    known = np.unique(table.y).tolist()
    return known if table.clf.classes is not None else [*known, -3, 9]


def _hostile_rows(table, rng):
    """Insert, delete and relabel one to three rows."""
    y, known = table.y.copy(), _labels(table, rng)
    if rng.integers(3) == 0:  # labels alone, which cost less
        flipped = rng.permutation(N_TRAIN)[: rng.integers(1, 4)]
        y[flipped] = rng.choice(known, len(flipped))
        return y, flipped, np.arange(N_TRAIN), [], [], [], len(flipped)
    gone, rows, labels = [], [], []
    for _ in range(rng.integers(1, 4)):
        if rng.integers(3) == 0:
            gone.append(int(rng.integers(N_TRAIN)))
        else:
            rows.append(int(rng.integers(N_TEST + N_TRAIN)))
            labels.append(known[rng.integers(len(known))])
    stay = np.setdiff1d(np.arange(N_TRAIN), gone)
    groups = [0] * len(rows)
    return y, [], stay, rows, labels, groups, len(set(gone)) + len(rows)


def _hostile_sources(table, rng):
    """One or two sources delete, relabel and add any number of rows."""
    y, known = table.y.copy(), _labels(table, rng)
    sources = rng.permutation(np.append(np.unique(table.groups), 99))[: rng.integers(1, 3)]
    own = np.flatnonzero(np.isin(table.groups, sources))
    gone, flipped = own[::3], np.setdiff1d(own, own[::3])
    y[flipped] = rng.choice(known, len(flipped))
    n_new = int(rng.integers(0, 12))
    rows = rng.integers(0, N_TEST + N_TRAIN, n_new).tolist()
    labels = rng.choice(known, n_new).tolist()
    stay = np.setdiff1d(np.arange(N_TRAIN), gone)
    return y, flipped, stay, rows, labels, rng.choice(sources, n_new).tolist(), len(sources)


# ---------------------------------------------------------------- what was broken


class Outcome(NamedTuple):
    """What a fitted ensemble says; ballots are labels, or None."""

    ballots: np.ndarray
    partition: np.ndarray
    y_pred: np.ndarray
    frontier: np.ndarray
    flip_frontier: np.ndarray
    block_of: np.ndarray


def outcome(table, cells, y, asked, groups):
    """Fit a clone and ask it everything; also check that `certify` agrees with `frontier`."""
    how = {} if groups is None else {"groups": groups}
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        clf = clone(table.clf).fit(contain(table.kind, cells), y, **how)
        rows = contain(table.kind, asked)
        labels = np.append(np.asarray(clf.classes_, dtype=object), None)
        n_blocks, n = clf.n_blocks, len(y)
        ballots = labels[clf.ballots(rows)].reshape(len(asked), -1, n_blocks)
        frontier = clf.frontier(rows)
        for r in range(2):
            certificate = clf.certify(rows, n_rows=r)
            if not (certificate.radius == frontier[:, min(r, frontier.shape[1] - 1)]).all():
                frontier = None
        partition = np.broadcast_to(clf.partition_.reshape(n, -1), (n, n_blocks))
        flips = clf.frontier(rows, threat="label_flip")
        block_of = getattr(clf, "block_of_feature_", None)
        y_pred = clf.predict(rows)
    return Outcome(ballots, partition, y_pred, frontier, flips, block_of)


def compare(before, after, attack):
    """Return what an attack broke."""
    found, n_blocks = Counter(), before.partition.shape[1]
    frontiers = [before.frontier] + ([before.flip_frontier] if attack.flips_only else [])
    n_columns = len(attack.columns)
    for frontier, price in zip(frontiers, (1 + attack.flips_only, 1), strict=False):
        # By default a relabelled row is deleted and inserted, unless a source does it.
        spent = attack.n_rows * (1 if attack.groups is not None else price)
        survives = np.zeros(len(frontier), dtype=bool)
        if spent < frontier.shape[1]:
            survives = frontier[:, spent] >= n_columns
        found["beaten"] += int((survives & (after.y_pred != before.y_pred)).sum())
        found["certified"] += int(survives.sum())
    blocks = np.zeros(n_blocks, dtype=bool)
    if before.block_of is not None and n_columns:
        blocks[before.block_of.ravel()[attack.columns]] = True
    touched = np.zeros(before.ballots.shape[1:], dtype=bool)
    for outcome_, rows in ((before, attack.origin), (after, attack.kept)):
        gone = np.delete(outcome_.partition, rows, axis=0)
        for j in range(n_blocks):
            touched[gone[:, j], j] = True
    changed = (before.ballots != after.ballots).any(axis=0)
    changed &= ~touched & ~blocks
    if before.block_of is None:  # so many words lie in so many blocks at most
        found["foreign members"] = max(0, int(changed.any(axis=0).sum()) - n_columns)
    else:
        found["foreign members"] = int(changed.sum())
    moved = (after.partition[attack.kept] != before.partition[attack.origin]).any(axis=0)
    moved &= ~blocks
    limit = n_columns if before.block_of is None else 0
    found["rows moved"] = max(0, int(moved.sum()) - limit)
    found["changed"] = int((after.y_pred != before.y_pred).sum())
    return found


def attack_table(name, estimator, seed):
    """Attack one random table; return counts, and an error if any."""
    rng = np.random.default_rng([seed, crc32(name.encode())])
    table = draw_table(name, estimator, rng)
    found, error = Counter(), ""
    given = table.cells, table.y, table.asked, table.groups
    try:
        before, again = outcome(table, *given), outcome(table, *given)
    except Exception as caught:  # this estimator does not take this container
        return found, f"{table.kind}: {type(caught).__name__}: {str(caught).splitlines()[0]}"
    if np.equal(before.ballots, None).mean() > 0.5:  # nothing to attack: drawn anew
        return found, f"{table.kind}: more than half of the ballots are abstentions"
    found["not repeatable"] = int((again.ballots != before.ballots).any(axis=(0, 1)).sum())
    if before.frontier is None:
        found["not the frontier"] += 1
        return found, "certify and frontier differ"
    for _ in range(N_ATTACKS):
        attack = draw_attack(table, rng)
        try:
            after = outcome(table, attack.cells, attack.y, attack.asked, attack.groups)
        except Exception as caught:
            found["refused"] += 1
            error = f"{table.kind}: {type(caught).__name__}: {str(caught).splitlines()[0]}"
            continue
        found += compare(before, after, attack)
        found["predictions"] += N_TEST
        found["not the frontier"] += after.frontier is None
    return found, error


def print_line(name, total, remark):
    columns = ("predictions", "certified", "changed", *BROKEN, "refused")
    print(
        f"{name[:24]:<24}" + "".join(f"{total[c]:>12}" for c in columns), remark[:110], flush=True
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--n-predictions", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", nargs="+", default=None)
    args = parser.parse_args()
    estimators = ON_NUMBERS | ON_CELLS | ON_TEXTS
    if args.only:
        estimators = {k: v for k, v in estimators.items() if any(o in k for o in args.only)}
    header = ("attacked", "certified", "changed", "beaten", "foreign", "moved", "unsteady",
              "frontier", "refused")  # fmt: skip
    print(f"{'estimator':<24}" + "".join(f"{word:>12}" for word in header))
    start, grand = time.perf_counter(), Counter()
    share = -(-args.n_predictions // len(estimators))
    for name, estimator in estimators.items():
        total, remark, number = Counter(), "", 0
        while total["predictions"] < share:
            found, error = attack_table(name, estimator, args.seed + number)
            number += 1
            total += found
            remark = error or remark
            if any(found[kind] for kind in BROKEN):
                remark = f"seed {args.seed + number - 1} broke {+found}"
                print(f"  {name}: {remark}")
        print_line(name, total, remark)
        grand += total
    print_line("all", grand, "")
    broken = sum(grand[kind] for kind in BROKEN)
    print(
        f"{grand['predictions']} attacked predictions of {len(estimators)} estimators in "
        f"{time.perf_counter() - start:.0f} s, {broken} promises broken"
    )
    return int(broken > 0)


if __name__ == "__main__":
    sys.exit(main())
