"""Nothing that one row does to memory, types, lengths or generators reaches another member."""

import functools
import warnings

import joblib
import numpy as np
import pandas as pd
import polars as pl
import pytest
from sklearn.base import BaseEstimator, ClassifierMixin, clone
from sklearn.compose import make_column_selector, make_column_transformer
from sklearn.datasets import load_digits
from sklearn.ensemble import ExtraTreesClassifier
from sklearn.linear_model import RidgeClassifier, SGDClassifier
from sklearn.model_selection import GridSearchCV
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import FunctionTransformer, MinMaxScaler, OneHotEncoder, StandardScaler
from sklearn.semi_supervised import LabelSpreading
from sklearn.tree import DecisionTreeClassifier

from certified_ensembles import DeepPartitionAggregation, SemiSupervisedDPA
from certified_ensembles.hashers import ContentHasher

X, Y = load_digits(return_X_y=True)
X, X_TEST, Y = X[:300], X[300:400], Y[:300]


def dpa(estimator, n_partitions=10, **kwargs):
    return DeepPartitionAggregation(estimator, n_partitions, classes=range(10), **kwargs)


def changed_members(clf, rows, labels, row, label, tests=X_TEST, join=np.concatenate):
    """Return which members answer otherwise after one insertion, and that row's partition."""
    before = clone(clf).fit(rows, labels)
    after = clone(clf).fit(join([rows, row]), np.append(labels, label))
    np.testing.assert_array_equal(after.partition_[:-1], before.partition_)
    other = (before.ballots(tests) != after.ballots(tests)).any(axis=0)
    return set(np.flatnonzero(other)), {after.partition_[-1]}


@pytest.mark.parametrize("step", [MinMaxScaler(copy=False), StandardScaler(copy=False)])
def test_a_step_that_overwrites_its_input_spoils_it_for_nobody_else(step):
    clf = dpa(make_pipeline(step, DecisionTreeClassifier(max_depth=8)), 12)
    changed, touched = changed_members(clf, X, Y, np.full((1, 64), 4e5), 0)
    assert changed <= touched
    one, two = clone(clf).fit(X, Y), clone(clf).set_params(n_jobs=2).fit(X, Y)
    np.testing.assert_array_equal(one.ballots(X_TEST), two.ballots(X_TEST))
    members = np.stack([member.predict(X_TEST.copy()) for member in one.estimators_], axis=1)
    np.testing.assert_array_equal(one.classes_[one.ballots(X_TEST)], members)


def test_masked_members_do_not_overwrite_the_rows_that_they_share():
    base = make_pipeline(StandardScaler(copy=False), LabelSpreading(kernel="knn"))
    clf = SemiSupervisedDPA(base, 4, unlabeled="mask", classes=range(10)).fit(X, Y)
    means = [member.estimator_[0].mean_ for member in clf.estimators_]
    for mean in means[1:]:
        np.testing.assert_array_equal(mean, means[0])


def test_fit_parameters_without_an_entry_a_row_are_refused_if_they_are_sequences():
    start = np.zeros((10, 64))
    with pytest.raises(ValueError, match="one entry a row"):
        dpa(SGDClassifier()).fit(X, Y, coef_init=start)


class Collects(ClassifierMixin, BaseEstimator):
    """Appends to an object that it is given."""

    def fit(self, X, y, notes=None):
        notes["rows"] = notes.get("rows", 0) + len(y)
        self.rows_, self.classes_ = notes["rows"], np.unique(y)
        return self

    def predict(self, X):
        return np.full(len(X), self.classes_[self.rows_ % len(self.classes_)])


def test_members_get_a_copy_each_of_what_is_not_per_row():
    notes = {}
    clf = dpa(Collects()).fit(X, Y, notes=notes)
    assert notes == {}
    sizes = np.bincount(clf.partition_, minlength=10)
    assert [member.rows_ for member in clf.estimators_] == sizes.tolist()


def _draw(X, scale=1.0):
    return X + scale * np.random.standard_normal(X.shape)  # noqa: NPY002


class Jitter:
    """A callable object that draws from the global generator."""

    def __call__(self, X):
        return _draw(X)


class Careless(ClassifierMixin, BaseEstimator):
    """Has a random_state and draws from the global generator all the same."""

    def __init__(self, random_state=None):
        self.random_state = random_state

    def fit(self, X, y):
        self.tree_ = DecisionTreeClassifier(random_state=0).fit(_draw(X, 5.0), y)
        self.classes_ = self.tree_.classes_
        return self

    def predict(self, X):
        return self.tree_.predict(X)


class NoisyTree(DecisionTreeClassifier):
    """Jitters its training rows by whatever callable it is given."""

    def __init__(self, jitter=None, random_state=None):
        super().__init__(random_state=random_state)
        self.jitter = jitter

    def fit(self, X, y):
        return super().fit(self.jitter(X), y)


UNSEEDED = {
    "estimators in a grid": GridSearchCV(
        Pipeline([("clf", DecisionTreeClassifier())]), {"clf": [ExtraTreesClassifier(3)]}, cv=2
    ),
    "seeds in a grid": GridSearchCV(
        ExtraTreesClassifier(3), {"random_state": [None], "max_depth": [3]}, cv=2
    ),
    "partial": NoisyTree(functools.partial(_draw, scale=5.0)),
    "callable object": NoisyTree(Jitter()),
    "careless": Careless(),
}


@pytest.mark.filterwarnings("ignore:The least populated class:UserWarning")
@pytest.mark.parametrize("name", UNSEEDED)
def test_randomness_is_seeded_wherever_it_hides(name):
    one, two = (dpa(UNSEEDED[name], 6).fit(X, Y) for _ in range(2))
    with joblib.parallel_config("threading", n_jobs=2):
        three = dpa(UNSEEDED[name], 6).fit(X, Y)
    for other in (two, three):
        np.testing.assert_array_equal(one.ballots(X_TEST), other.ballots(X_TEST))


def test_a_class_is_scored_for_all_members_or_for_none():
    clf = dpa(RidgeClassifier(), 8).fit(X, Y)
    for member in clf.estimators_[1:]:
        if 3 in member.classes_:
            member.intercept_[list(member.classes_).index(3)] = 1e300  # inf in single precision
    rows = X_TEST.astype(np.float32)
    before = clf.ballots(rows)
    first = clf.estimators_[0]
    first.intercept_ = first.intercept_ * 1e300
    assert not (before != clf.ballots(rows)).any(axis=0)[1:].any()


BIG = 2**53 + np.arange(1, 2 * len(X), 2)


def _frames():
    columns = {"id": BIG, "a": X[:, 20], "b": X[:, 36]}
    yield (
        "pandas",
        pd.DataFrame(columns).astype({"id": "Int64"}),
        pd.DataFrame({"id": pd.array([pd.NA], dtype="Int64"), "a": [1.0], "b": [2.0]}),
        pd.concat,
    )
    yield (
        "polars",
        pl.DataFrame(columns),
        pl.DataFrame({"id": [None], "a": [1.0], "b": [2.0]}, schema_overrides={"id": pl.Int64}),
        pl.concat,
    )
    rows = [list(row) for row in zip(BIG.tolist(), X[:, 20], strict=True)]
    yield "lists", rows, [[0.5, 1.0]], lambda parts: parts[0] + parts[1]


@pytest.mark.parametrize(("name", "rows", "row", "join"), list(_frames()), ids=lambda v: v if
                         isinstance(v, str) else "")  # fmt: skip
def test_a_missing_or_fractional_cell_does_not_round_the_integers_of_other_rows(
    name, rows, row, join
):
    joined = join([rows, row])
    np.testing.assert_array_equal(ContentHasher()(joined)[:-1], ContentHasher()(rows))
    assert len(np.unique(ContentHasher()(rows))) == len(rows)


def test_a_missing_group_does_not_move_the_others():
    sources = BIG.tolist()
    clf = dpa(KNeighborsClassifier(1)).fit(X, Y, groups=sources)
    again = dpa(KNeighborsClassifier(1)).fit(
        np.concatenate([X, X[:1]]), np.append(Y, 0), groups=[*sources, np.nan]
    )
    np.testing.assert_array_equal(again.partition_[:-1], clf.partition_)


def _spell(X):
    return np.array([[str(v) for v in row] for row in np.asarray(X)], dtype=object)


DTYPE_SENSITIVE = {
    "differences": make_pipeline(FunctionTransformer(lambda X: np.diff(X, axis=1)),
                                 KNeighborsClassifier(1)),
    "roots": make_pipeline(FunctionTransformer(np.sqrt), KNeighborsClassifier(1)),
    "spelling": make_pipeline(FunctionTransformer(_spell),
                              OneHotEncoder(handle_unknown="ignore", sparse_output=False),
                              KNeighborsClassifier(1)),
}  # fmt: skip


@pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning")
@pytest.mark.parametrize("name", DTYPE_SENSITIVE)
@pytest.mark.parametrize("dtype", [np.uint8, np.int64, bool, np.float32])
def test_a_fraction_does_not_change_what_other_members_see(name, dtype):
    rows, tests = X.astype(np.uint8).astype(dtype), X_TEST.astype(np.uint8).astype(dtype)
    clf = dpa(DTYPE_SENSITIVE[name], 8)
    changed, touched = changed_members(clf, rows, Y, np.full((1, 64), 0.5), 0, tests)
    assert changed <= touched


def test_a_missing_cell_does_not_change_the_columns_of_other_members():
    def frame(values):
        days = pd.to_datetime(values[:, 50].astype(int), unit="D")
        return pd.DataFrame({"n": values[:, 20].astype(int), "m": values[:, 36].astype(int),
                             "t": days})  # fmt: skip

    base = make_pipeline(
        make_column_transformer(
            (FunctionTransformer(lambda f: np.nan_to_num(f.to_numpy(dtype=float))),
             make_column_selector(dtype_include="number")),
            (FunctionTransformer(lambda f: f.astype("int64").to_numpy() % 1_000_003), ["t"]),
        ),
        KNeighborsClassifier(1),
    )  # fmt: skip
    hostile = pd.DataFrame(
        {"n": [None], "m": [0.5], "t": pd.to_datetime(["2020-01-01"]).as_unit("ns")}
    )
    clf = dpa(base, 8)
    changed, touched = changed_members(
        clf, frame(X), Y, hostile, 0, frame(X_TEST), lambda parts: pd.concat(parts)
    )
    assert changed <= touched


def test_duplicated_column_names_are_columns_of_their_own():
    frame = pd.DataFrame(np.column_stack([X[:, 20], X[:, 36]]), columns=["a", "a"])
    one = ContentHasher()(frame)
    np.testing.assert_array_equal(one, ContentHasher()(frame.to_numpy()))
    dpa(KNeighborsClassifier(1), 4).fit(frame.set_axis(["a", "b"], axis=1), Y)


def test_categories_of_numbers_are_the_same_whatever_other_rows_hold():
    column = pd.Series(X[:, 20].astype(int)).astype("category")
    grown = pd.concat([column.astype(object), pd.Series([0.5])]).astype("category")
    one, other = pd.DataFrame({"c": column}), pd.DataFrame({"c": grown})
    np.testing.assert_array_equal(ContentHasher()(other)[:-1], ContentHasher()(one))
    base = make_pipeline(
        FunctionTransformer(lambda f: f["c"].cat.codes.to_numpy()[:, None]),
        KNeighborsClassifier(1),
    )
    before, after = dpa(base, 3).fit(one, Y), dpa(base, 3).fit(other, np.append(Y, 0))
    fits = [
        [np.asarray(member[-1]._fit_X) for member in clf.estimators_] for clf in (before, after)
    ]
    same = [np.array_equal(a, b) for a, b in zip(*fits, strict=True)]
    assert same.count(False) <= 1


def test_one_long_text_does_not_widen_the_others():
    texts = ["spam", "ham"] * 40 + ["x" * 1_000_000]
    hashes = ContentHasher()(texts)
    np.testing.assert_array_equal(hashes[:-1], ContentHasher()(texts[:-1]))
    assert len(ContentHasher()([*texts, b"\xff", None])) == len(texts) + 2


def test_two_rows_at_the_edge_of_the_range_spoil_one_member():
    edge = np.full((2, 64), 1.7e308)
    home = ContentHasher()(edge)[0] % 10
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        clf = dpa(RidgeClassifier()).fit(X, Y)
        hostile = dpa(RidgeClassifier()).fit(np.concatenate([X, edge]), np.append(Y, [0, 1]))
    other = (clf.ballots(X_TEST) != hostile.ballots(X_TEST)).any(axis=0)
    assert set(np.flatnonzero(other)) <= {home}


def test_a_hasher_of_small_integers_serves_many_partitions():
    def low_byte(X):
        return X.sum(axis=1).astype(np.int64) % 256

    clf = dpa(KNeighborsClassifier(1), 300, hasher=low_byte)
    small = clone(clf).set_params(hasher=lambda X: low_byte(X).astype(np.uint8))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # half of the partitions are empty
        np.testing.assert_array_equal(clf.fit(X, Y).partition_, small.fit(X, Y).partition_)


@pytest.mark.parametrize("estimator", [RidgeClassifier(), KNeighborsClassifier(1)])
def test_copies_whose_labels_differ_cost_one_operation_together(estimator):
    rows = np.array([2.0, 0, 2, 0, 1, 2, 1, 1, 0, 2])[:, None] * [1, 0] + [0, 1]
    labels = np.array([0, 1, 2, 1, 2, 0, 0, 0, 1, 2])
    flipped = np.array([0, 1, 1, 1, 2, 1, 0, 0, 1, 2])  # copies of one row, changed together
    tests = [[0, 0.5], [1.5, 0]]
    clf = SemiSupervisedDPA(estimator, 4, certificate="members", classes=range(3))
    y_pred, radius = clone(clf).fit(rows, labels).certify(tests)
    turned = clone(clf).fit(rows, flipped).predict(tests) != y_pred
    assert not (turned & (radius >= 1)).any()
