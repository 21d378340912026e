"""The audit catches estimators that let a container's types, levels or blocks decide."""

import numpy as np
import pytest
import scipy.sparse as sp
from sklearn.base import BaseEstimator, ClassifierMixin, clone
from sklearn.tree import DecisionTreeClassifier

from certified_ensembles import DeepPartitionAggregation
from certified_ensembles._data.forms import (
    is_missing,
    other_types,
    rows_at,
    stack_rows,
)
from certified_ensembles._data.hostile import hostile_rows
from certified_ensembles.audit import BrokenCertificateError, check_certificate

pd = pytest.importorskip("pandas")
pl = pytest.importorskip("polars")

N = 70


def mixed_frame(n=N):
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(
        {
            "yes": rng.random(n) < 0.5,
            "count": rng.integers(0, 4, n),
            "part": rng.integers(0, 8, n) / 4,
            "word": rng.choice(["p", "q", "r"], n),
            "level": pd.Categorical(rng.choice(["a", "b", "c"], n)),
            "when": pd.Timestamp("2024-01-01") + pd.to_timedelta(rng.integers(0, 9, n), "h"),
        }
    )
    return frame, (frame["yes"] ^ (frame["count"] > 1)).to_numpy().astype(int)


FRAME, Y = mixed_frame()
NUMBERS = FRAME[["yes", "count", "part"]]


def check(estimator, X=FRAME, y=Y, **options):
    split = np.arange(N - 10), np.arange(N - 10, N)
    return check_certificate(
        estimator, rows_at(X, split[0]), y[: N - 10], rows_at(X, split[1]), **options
    )


# ---------------------------------------------------------------- rows as others hand them in


def as_polars(frame):
    return pl.DataFrame({name: frame[name].tolist() for name in frame.columns})


CONTAINERS = {
    "pandas": FRAME,
    "polars": as_polars(FRAME),
    "list": FRAME.to_numpy(dtype=object).tolist(),
    "objects": FRAME.to_numpy(dtype=object),
    "nullable": FRAME.convert_dtypes(),
}


def cells(X):
    if isinstance(X, pl.DataFrame):
        return [cell for row in X.rows() for cell in row]
    X = X.to_numpy(dtype=object) if hasattr(X, "iloc") else np.asarray(X, dtype=object)
    return X.ravel().tolist()


@pytest.mark.parametrize("X", CONTAINERS.values(), ids=CONTAINERS.keys())
def test_joining_a_hostile_row_keeps_the_values_of_all_others(X):
    before, found = cells(X), 0
    for words, row in hostile_rows(X, np.random.default_rng(0)):
        after = cells(stack_rows(X, row))
        assert len(after) == len(before) + FRAME.shape[1]
        assert after[: len(before)] == before, words
        found += 1
    assert found > 15


def test_joining_does_not_round_long_integers():
    long = 2**60 + 1
    for X in (
        pd.DataFrame({"a": [long]}),
        pl.DataFrame({"a": [long]}),
        np.array([[long]]),
        [[long]],
    ):
        half = rows_at(X, [0])
        half = [[0.5]] if isinstance(X, list) else half * 0 + 0.5
        assert cells(stack_rows(X, half))[0] == long
        assert cells(stack_rows(half, X))[1] == long


@pytest.mark.parametrize("X", CONTAINERS.values(), ids=CONTAINERS.keys())
def test_other_types_hold_the_same_cells(X):
    words = []
    for name, other in other_types(X, np.random.default_rng(0)):
        assert all(a == b or is_missing(a) for a, b in zip(cells(X), cells(other), strict=True))
        words.append(name)
    assert len(words) >= 2


def test_types_that_change_a_value_are_left_out():
    X = pd.DataFrame({"a": [2**53 + 1, 2**53 + 3], "b": [0.1, 0.2]})
    forms = dict(other_types(X, np.random.default_rng(0)))
    assert set(map(str, forms["with columns as objects"].dtypes)) == {"object"}
    assert all(other["a"].tolist() == X["a"].tolist() for other in forms.values())
    assert all(other["b"].tolist() == X["b"].tolist() for other in forms.values())


def test_sparse_duplicates_add_up_to_the_same_rows():
    X = sp.csr_array(np.random.default_rng(0).integers(0, 3, (20, 8)))
    forms = dict(other_types(X, np.random.default_rng(0)))
    assert len(forms) == 2
    for other in forms.values():
        assert other.nnz > X.nnz
        assert (other.toarray() == X.toarray()).all()


# ---------------------------------------------------------------- villains


def number(cell):
    known = isinstance(cell, bool | int | float | np.bool_ | np.number) and not is_missing(cell)
    return float(cell) if known else 0.0


def numbers(X):
    return X.map(number).to_numpy(dtype=float)


class TypesOfAll(DeepPartitionAggregation):
    """Adds to numbers what follows from the types that the whole table has."""

    def fit(self, X, y, **params):
        self.types_ = [str(t) for t in X.dtypes]
        return super().fit(self.encode(X), y, **params)

    def encode(self, X):
        codes = [float(sum(map(ord, name)) % 97) for name in self.types_]
        return numbers(X) + codes

    def ballots(self, X):
        return super().ballots(self.encode(X))

    def certify(self, X, threat=None):
        return super().certify(self.encode(X), threat)

    def predict(self, X):
        return super().predict(self.encode(X))


class TypesOfTheBlock(TypesOfAll):
    """Looks at the types of the table that it is asked about."""

    def fit(self, X, y, **params):
        self.types_ = ["float64"] * X.shape[1]
        return DeepPartitionAggregation.fit(self, numbers(X), y, **params)

    def encode(self, X):
        return numbers(X) + list(map(str, X.dtypes)).count("object")


class RefusesAlone(TypesOfTheBlock):
    """Answers many rows and fails for one."""

    def encode(self, X):
        if len(X) == 1:
            raise IndexError("one row")
        return numbers(X)


class RefusesObjects(TypesOfTheBlock):
    """Takes a table, and refuses the same cells as objects."""

    def fit(self, X, y, **params):
        if "object" in map(str, X.dtypes):
            raise TypeError("objects")
        return super().fit(X, y, **params)

    def encode(self, X):
        return numbers(X)


class Remembers(TypesOfTheBlock):
    """Counts how often the object has been fitted."""

    def fit(self, X, y, **params):
        self.n_fits_ = getattr(self, "n_fits_", 0) + 1
        return super().fit(X, y, **params)

    def encode(self, X):
        return numbers(X) + 3 * (self.n_fits_ - 1)


VILLAINS = {
    "types of all rows": (TypesOfAll, "other types|a column's type changed"),
    "types of the block": (TypesOfTheBlock, "test rows in other company"),
    "one row refused": (RefusesAlone, "fail to answer test rows.*IndexError: one row"),
    "objects refused": (RefusesObjects, "fail to fit the data that it took.*TypeError: objects"),
    "state of a first fit": (Remembers, "same object fitted again"),
}


@pytest.mark.parametrize(("villain", "reason"), VILLAINS.values(), ids=VILLAINS.keys())
def test_villain_is_caught(villain, reason):
    model = villain(DecisionTreeClassifier(), 4, classes=[0, 1])
    with pytest.raises(BrokenCertificateError, match=f"(?s)is void.*({reason})") as caught:
        check(model, NUMBERS, n_attacks=1)
    assert isinstance(caught.value.__cause__, Exception) == ("Error: " in reason)


def test_a_hostile_cell_alone_gives_types_of_the_table_away(monkeypatch):
    monkeypatch.setitem(check_certificate.__globals__, "SAME_DATA", {})
    model = TypesOfAll(DecisionTreeClassifier(), 7, classes=[0, 1])
    with pytest.raises(BrokenCertificateError, match="a column's type changed") as caught:
        check(model, NUMBERS, n_attacks=0)
    attack = caught.value.attack
    assert attack.n_operations["insertion_deletion"] == 1
    before = clone(model).fit(NUMBERS[: N - 10], Y[: N - 10])
    after = clone(model).fit(attack.X, attack.y)
    moved = before.partition_[attack.origin] != after.partition_[attack.kept]
    changed = before.ballots(NUMBERS[N - 10 :]) != after.ballots(NUMBERS[N - 10 :])
    assert moved.any() or changed.any(axis=0).sum() > 1


def test_an_exception_can_be_replayed():
    model = RefusesAlone(DecisionTreeClassifier(), 7, classes=[0, 1])
    with pytest.raises(BrokenCertificateError) as caught:
        check(model, NUMBERS, n_attacks=1)
    attack = caught.value.attack
    fitted = clone(model).fit(attack.X, attack.y)
    with pytest.raises(IndexError, match="one row"):
        fitted.ballots(attack.X_test)


class TypeBlind(ClassifierMixin, BaseEstimator):
    """Votes by its labels alone, so that no type and no cell can change it."""

    def fit(self, X, y):
        self.classes_, counts = np.unique(y, return_counts=True)
        self.winner_ = self.classes_[counts.argmax()]
        return self

    def predict(self, X):
        return np.repeat(self.winner_, len(X))


def test_hostile_cells_are_tried_on_honest_numbers():
    model = DeepPartitionAggregation(DecisionTreeClassifier(), 7, classes=[0, 1])
    report = check(model, NUMBERS.to_numpy(dtype=float), n_attacks=1)
    tried = report.n_attacks.get("a column's type changed", 0)
    assert tried >= 1
    # A word among numbers stops a tree, by name: this is no finding.
    assert "a word" in report.refused["a column's type changed"]
    assert "hostile test rows" in report.refused


def test_mixed_frame_of_a_blind_member_passes():
    report = check(DeepPartitionAggregation(TypeBlind(), 3, classes=[0, 1]), n_attacks=1)
    assert report.n_attacks["a column's type changed"] > 15
    assert report.n_attacks["other types"] > 5
