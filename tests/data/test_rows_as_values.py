"""Rows count as values: not their container, not the rows beside them, not a hostile cell."""

import importlib.util
import warnings
from operator import eq
from pathlib import Path
from zlib import crc32

import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from sklearn.base import BaseEstimator, ClassifierMixin, clone
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression, RidgeClassifier
from sklearn.neighbors import KNeighborsClassifier, NearestNeighbors
from sklearn.semi_supervised import LabelSpreading
from sklearn.tree import DecisionTreeClassifier

from certified_ensembles import (
    DeepPartitionAggregation,
    LabelFlipSmoothingClassifier,
    SemiSupervisedDPA,
)
from certified_ensembles._data.forms import is_missing, rows_at, stack_rows
from certified_ensembles._data.hostile import hostile_rows
from certified_ensembles.abstention import CertifiedAbstention
from certified_ensembles.neighbors import CertifiedKNeighborsClassifier

# Fits are compared here, and "monte_carlo" repeats one with a fixed seed alone.
pytestmark = pytest.mark.filterwarnings("ignore:The certificate is void against who knew")

pd = pytest.importorskip("pandas")
pl = pytest.importorskip("polars")
pytest.importorskip("pyarrow")

SCRIPT = Path(__file__).resolve().parents[2] / "benchmarks" / "attack_tables.py"


def _attack_tables():
    spec = importlib.util.spec_from_file_location("attack_tables", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


tables = _attack_tables()
BROKEN = tables.BROKEN
# Examples are small as drawn, and members take too long to be fitted hundreds of times.
DRAWN = settings(
    max_examples=15,
    phases=[Phase.explicit, Phase.generate],
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow],
)


@pytest.fixture(autouse=True)
def _quiet():
    """Containers warn about the types that hostile cells give to their columns."""
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        yield


# ---------------------------------------------------------------- one hostile row


@given(setting=st.sampled_from(tables.SETTINGS), seed=st.integers(0, 2**16), data=st.data())
@DRAWN
def test_one_hostile_row_changes_one_member_and_beats_no_radius(setting, seed, data):
    kind, _, _ = setting
    rng = np.random.default_rng(seed)
    table = tables.make_table(*setting, rng)
    clean = table.clf.fit(table.X, table.y)
    before = clean.ballots(table.X_test), clean.partition_, *clean.certify(table.X_test)
    words, row = data.draw(st.sampled_from(list(tables.hostile(table, kind, rng))))
    in_front, n = bool(rng.integers(2)), len(table.y)
    pair = (row, table.X) if in_front else (table.X, row)
    y = np.insert(table.y, 0 if in_front else n, rng.integers(2))
    try:
        attacked = clone(clean).fit(stack_rows(*pair), y)
    except (TypeError, ValueError):
        return  # A row that is refused changes nothing.
    kept = np.arange(n) + in_front
    found = tables.compare(table, attacked, before, np.arange(n), kept, 1)
    assert not any(found[what] for what in BROKEN), (words, found)


@given(setting=st.sampled_from(tables.SETTINGS), seed=st.integers(0, 2**16), data=st.data())
@DRAWN
def test_a_test_row_is_answered_alike_alone_in_another_order_and_beside_a_hostile_row(
    setting, seed, data
):
    rng = np.random.default_rng(seed)
    table = tables.make_table(*setting, rng)
    clean = table.clf.fit(table.X, table.y)
    ballots = clean.ballots(table.X_test)
    assert tables.ask_alone(table, clean, ballots, rng) == 0
    words, row = data.draw(st.sampled_from(list(tables.hostile(table, setting[0], rng))))
    found = tables.ask_together(table, clean, ballots, row)
    assert not any(found[what] for what in BROKEN), (words, found)


# ---------------------------------------------------------------- every estimator, numbers

N, N_TEST = 60, 12


def _numbers():
    """Return columns of bools, integers and quarters: sums of them are exact in any order."""
    rng = np.random.default_rng(0)
    n = N + N_TEST
    columns = {
        "yes": (rng.random(n) < 0.5).tolist(),
        "count": rng.integers(0, 5, n).tolist(),
        "part": (rng.integers(0, 9, n) / 4).tolist(),
        "id": (rng.permutation(n) + 0.5).tolist(),
    }
    return columns, (rng.random(n) + columns["yes"] > 0.9).astype(int)


COLUMNS, LABELS = _numbers()
FRAME = pd.DataFrame(COLUMNS)
ROWS = [list(row) for row in zip(*COLUMNS.values(), strict=True)]
AS_ARRAY = np.array(ROWS, dtype=float)
NUMBERS = {
    "list": ROWS,
    "objects": np.array(ROWS, dtype=object),
    "Fortran order": np.asfortranarray(AS_ARRAY),
    "float32": AS_ARRAY.astype(np.float32),
    "swapped bytes": AS_ARRAY.astype(">f8"),
    "pandas": FRAME,
    "pandas objects": FRAME.astype(object),
    "pandas nullable": FRAME.convert_dtypes(),
    "pandas arrow": FRAME.convert_dtypes(dtype_backend="pyarrow"),
    "pandas category": FRAME.assign(count=FRAME["count"].astype("category")),
    "polars": pl.DataFrame(COLUMNS),
    "CSR": sp.csr_array(AS_ARRAY),
    "CSR matrix": sp.csr_matrix(AS_ARRAY),
    "COO, entries twice": sp.coo_array(
        (
            np.tile(sp.coo_array(AS_ARRAY).data / 2, 2),
            tuple(np.tile(c, 2) for c in sp.coo_array(AS_ARRAY).coords),
        ),
        shape=AS_ARRAY.shape,
    ),
}

NEAREST = KNeighborsClassifier(1, algorithm="brute")
CLASSES = [0, 1]
# The second entry says whether sparse and dense rows go through the same exact arithmetic.
ESTIMATORS = {
    "DPA": (DeepPartitionAggregation(NEAREST, 5, classes=CLASSES), True),
    "DPA, ridge": (DeepPartitionAggregation(None, 5, classes=CLASSES), False),
    "DPA, tree": (DeepPartitionAggregation(DecisionTreeClassifier(), 5, classes=CLASSES), False),
    "DPA, run-off": (
        DeepPartitionAggregation(LogisticRegression(), 5, aggregation="run_off", classes=CLASSES),
        False,
    ),
    "DPA, spread": (DeepPartitionAggregation(NEAREST, 5, spread_degree=2, classes=CLASSES), True),
    "SS-DPA": (SemiSupervisedDPA(NEAREST, 5, classes=CLASSES), True),
    "SS-DPA, hashed": (
        SemiSupervisedDPA(NEAREST, 5, partitioner="content", classes=CLASSES),
        True,
    ),
    "SS-DPA, representation": (
        SemiSupervisedDPA(NEAREST, 5, representation=PCA(2), classes=CLASSES),
        False,
    ),
    "SS-DPA, mask": (
        SemiSupervisedDPA(
            LabelSpreading("knn", n_neighbors=3), 5, unlabeled="mask", classes=CLASSES
        ),
        False,
    ),
    "SS-DPA, n_samples": (
        SemiSupervisedDPA(NearestNeighbors(n_neighbors=5), "n_samples", classes=CLASSES),
        False,
    ),
    "SS-DPA, members": (
        SemiSupervisedDPA(RidgeClassifier(), 5, certificate="members", classes=CLASSES),
        False,
    ),
    "label flips": (LabelFlipSmoothingClassifier(classes=CLASSES), False),
    "label flips, draws": (
        LabelFlipSmoothingClassifier(
            DecisionTreeClassifier(),
            certificate="monte_carlo",
            n_draws=5,
            classes=CLASSES,
            random_state=1,
        ),
        False,
    ),
    "neighbours": (CertifiedKNeighborsClassifier(3, classes=CLASSES), False),
    "abstention": (
        CertifiedAbstention(DeepPartitionAggregation(NEAREST, 5, classes=CLASSES), min_radius=1),
        True,
    ),
}
# One estimator takes them all; the others take one container of each sort.
SOME = ["list", "objects", "pandas nullable", "pandas arrow", "polars", "CSR"]
CASES = [
    pytest.param(estimator, name, id=f"{words}-{name}")
    for words, (estimator, also_sparse) in ESTIMATORS.items()
    for name in (NUMBERS if words == "DPA" else SOME)
    if also_sparse or name != "CSR"
]


def cut(X):
    """Return training and test rows as a user slices them."""
    return rows_at(X, np.arange(N)), rows_at(X, np.arange(N, N + N_TEST))


def answers(fitted, X_test):
    """Return all that a fitted estimator says of rows, one row a test row."""
    said = [np.asarray(part, dtype=object).reshape(-1, 1) for part in fitted.certify(X_test)]
    if hasattr(fitted, "ballots"):
        said.append(np.asarray(fitted.ballots(X_test), dtype=object))
    return np.hstack(said)


@pytest.fixture(scope="module")
def expected():
    """Return what an estimator says of a reference table, to which it is fitted once."""
    kept = {}

    def find(estimator, table, labels):
        if id(estimator) not in kept:
            X, X_test = cut(table)
            fitted = clone(estimator).fit(X, labels[:N])
            kept[id(estimator)] = answers(fitted, X_test), getattr(fitted, "partition_", None)
        return kept[id(estimator)]

    return find


@pytest.mark.parametrize(("estimator", "name"), CASES)
def test_containers_agree_and_company_does_not_count(estimator, name, expected):
    X, X_test = cut(NUMBERS[name])
    fitted = clone(estimator).fit(X, LABELS[:N])
    said, partition = expected(estimator, AS_ARRAY, LABELS)
    np.testing.assert_array_equal(answers(fitted, X_test), said)
    if partition is not None:
        np.testing.assert_array_equal(fitted.partition_, partition)
    order = np.array([5, 3])
    np.testing.assert_array_equal(answers(fitted, rows_at(X_test, order)), said[order])
    np.testing.assert_array_equal(answers(fitted, rows_at(X_test, [4])), said[[4]])
    hostile = list(hostile_rows(X_test, np.random.default_rng(0)))
    words, row = hostile[crc32(name.encode()) % len(hostile)]
    try:
        together = answers(fitted, stack_rows(X_test, row))[:N_TEST]
    except (TypeError, ValueError):
        # A row that is refused in company is refused alone too.
        with pytest.raises((TypeError, ValueError)):
            answers(fitted, row)
    else:
        np.testing.assert_array_equal(together, said, err_msg=words)


# ---------------------------------------------------------------- texts, times, missing cells


class Cells(ClassifierMixin, BaseEstimator):
    """Answers with the label of the nearest row by equal cells, whatever container it gets."""

    def fit(self, X, y):
        self.classes_, self.shown_ = np.unique(y), X
        self.rows_, self.y_ = _values(X), np.asarray(y)
        return self

    def predict(self, X):
        found = {}
        for row in _values(X):
            if row not in found:
                found[row] = np.argmax([sum(map(eq, row, own)) for own in self.rows_])
        return self.y_[[found[row] for row in _values(X)]]


def _values(X):
    """Return rows of plain values: doubles, texts, nanoseconds, None where missing."""
    if hasattr(X, "iloc"):
        X = zip(*(X.iloc[:, j].tolist() for j in range(X.shape[1])), strict=True)
    elif isinstance(X, pl.DataFrame):
        X = X.rows()
    return [tuple(map(_value, row)) for row in X]


def _value(cell):
    if is_missing(cell):
        return None
    if isinstance(cell, str | bytes):
        return str(cell)
    if hasattr(cell, "year") or isinstance(cell, np.datetime64):
        return f"at {pd.Timestamp(cell).value}"
    if hasattr(cell, "days") or isinstance(cell, np.timedelta64):
        return f"for {pd.Timedelta(cell).value}"
    return float(cell)


def _mixed():
    """Return the same mixed cells in every container: texts, times, bools, missing cells."""
    rng = np.random.default_rng(1)
    n = N + N_TEST
    moments = np.datetime64("2024-01-01", "us") + rng.integers(0, 9, n) * np.timedelta64(7, "h")
    columns = {
        "word": rng.choice(["p", "q", "r", "see me"], n).tolist(),
        "note": [None if rng.random() < 0.3 else str(v) for v in rng.choice(["u", "v"], n)],
        "yes": (rng.random(n) < 0.5).tolist(),
        "count": [None if rng.random() < 0.2 else int(v) for v in rng.integers(0, 5, n)],
        "part": (rng.integers(0, 9, n) / 4).tolist(),
        "when": moments.tolist(),
    }
    typed = pd.DataFrame(columns)
    objects = pd.DataFrame({k: pd.Series(v, dtype=object) for k, v in columns.items()})
    texts = ["word", "note"]
    rows = [list(row) for row in zip(*columns.values(), strict=True)]
    array = np.empty((n, len(columns)), dtype=object)
    array[:] = rows
    nan = array.copy()
    nan[[[cell is None for cell in row] for row in rows]] = float("nan")
    return {
        "list": rows,
        "objects": array,
        "objects with NaN": nan,
        "pandas": typed,
        "pandas objects": objects,
        "pandas str": typed.astype(dict.fromkeys(texts, "str")),
        "pandas nullable": typed.convert_dtypes(),
        "pandas arrow": typed.convert_dtypes(dtype_backend="pyarrow"),
        "pandas category": typed.astype(dict.fromkeys(texts, "category")),
        "pandas ns": typed.assign(when=typed["when"].dt.as_unit("ns")),
        "polars": pl.DataFrame(columns),
        "polars category": pl.DataFrame(columns).with_columns(
            [pl.col(name).cast(pl.Categorical) for name in texts]
        ),
    }, np.isin(columns["word"], ["p", "q"]).astype(int)


MIXED, MIXED_LABELS = _mixed()
ON_CELLS = {
    "DPA": DeepPartitionAggregation(Cells(), 5, classes=CLASSES),
    "SS-DPA": SemiSupervisedDPA(Cells(), 5, classes=CLASSES),
    "SS-DPA, hashed": SemiSupervisedDPA(Cells(), 5, partitioner="content", classes=CLASSES),
    "label flips": LabelFlipSmoothingClassifier(
        Cells(), certificate="monte_carlo", n_draws=3, classes=CLASSES, random_state=1
    ),
    "abstention": CertifiedAbstention(
        DeepPartitionAggregation(Cells(), 5, classes=CLASSES), min_radius=1
    ),
}


@pytest.mark.parametrize("name", [name for name in MIXED if name != "list"])
@pytest.mark.parametrize("estimator", ON_CELLS.values(), ids=ON_CELLS.keys())
def test_containers_of_mixed_cells_agree(estimator, name, expected):
    said, partition = expected(estimator, MIXED["list"], MIXED_LABELS)
    X, X_test = cut(MIXED[name])
    fitted = clone(estimator).fit(X, MIXED_LABELS[:N])
    if partition is not None:
        np.testing.assert_array_equal(fitted.partition_, partition)
    np.testing.assert_array_equal(answers(fitted, X_test), said)
    np.testing.assert_array_equal(answers(fitted, rows_at(X_test, [3])), said[[3]])


FRAMES = [name for name in MIXED if name.startswith("pandas")]


@pytest.mark.parametrize("name", FRAMES)
def test_a_member_sees_doubles_texts_and_nanoseconds(name):
    X, _ = cut(MIXED[name])
    clf = DeepPartitionAggregation(Cells(), 5, classes=CLASSES).fit(X, MIXED_LABELS[:N])
    for member in clf.estimators_:
        shown = member.shown_
        assert [str(shown[c].dtype) for c in ("yes", "count", "part")] == ["float64"] * 3
        assert str(shown["when"].dtype) == "datetime64[ns]"
        for column in ("word", "note"):
            assert shown[column].dtype == object
            cells = shown[column].tolist()
            assert all(type(c) is str or (type(c) is float and c != c) for c in cells)


@pytest.mark.parametrize("name", ["pandas", "pandas str", "pandas arrow", "pandas category"])
def test_named_categories_reach_a_member_with_the_levels_of_its_own_rows(name):
    X, _ = cut(MIXED[name])
    clf = DeepPartitionAggregation(Cells(), 5, classes=CLASSES, categorical_features=["word"]).fit(
        X, MIXED_LABELS[:N]
    )
    for member in clf.estimators_:
        shown = member.shown_["word"]
        assert list(shown.cat.categories) == sorted(set(shown))
