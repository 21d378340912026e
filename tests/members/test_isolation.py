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
from sklearn.feature_extraction.text import HashingVectorizer
from sklearn.linear_model import LogisticRegression, RidgeClassifier, SGDClassifier
from sklearn.model_selection import GridSearchCV
from sklearn.naive_bayes import GaussianNB
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import (
    FunctionTransformer,
    MinMaxScaler,
    OneHotEncoder,
    StandardScaler,
)
from sklearn.semi_supervised import LabelSpreading
from sklearn.tree import DecisionTreeClassifier

from certified_ensembles import DeepPartitionAggregation, SemiSupervisedDPA
from certified_ensembles._data.containers import as_table
from certified_ensembles._data.views import view_of
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


@pytest.mark.parametrize(
    ("name", "rows", "row", "join"), list(_frames()), ids=lambda v: v if isinstance(v, str) else ""
)
def test_a_missing_or_fractional_cell_does_not_round_the_integers_of_other_rows(
    name, rows, row, join
):
    joined = join([rows, row])
    np.testing.assert_array_equal(ContentHasher()(joined)[:-1], ContentHasher()(rows))
    assert len(np.unique(ContentHasher()(rows))) == len(rows)


def test_a_group_that_is_a_fraction_does_not_move_the_others():
    sources = BIG.tolist()
    clf = dpa(KNeighborsClassifier(1)).fit(X, Y, groups=sources)
    again = dpa(KNeighborsClassifier(1)).fit(
        np.concatenate([X, X[:1]]), np.append(Y, 0), groups=[*sources, 0.5]
    )
    np.testing.assert_array_equal(again.partition_[:-1], clf.partition_)


def _spell(X):
    return np.array([[str(v) for v in row] for row in np.asarray(X)], dtype=object)


DTYPE_SENSITIVE = {
    "differences": make_pipeline(
        FunctionTransformer(lambda X: np.diff(X, axis=1)), KNeighborsClassifier(1)
    ),
    "roots": make_pipeline(FunctionTransformer(np.sqrt), KNeighborsClassifier(1)),
    "spelling": make_pipeline(
        FunctionTransformer(_spell),
        OneHotEncoder(handle_unknown="ignore", sparse_output=False),
        KNeighborsClassifier(1),
    ),
}


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
        return pd.DataFrame(
            {"n": values[:, 20].astype(int), "m": values[:, 36].astype(int), "t": days}
        )

    base = make_pipeline(
        make_column_transformer(
            (
                FunctionTransformer(lambda f: np.nan_to_num(f.to_numpy(dtype=float))),
                make_column_selector(dtype_include="number"),
            ),
            (FunctionTransformer(lambda f: f.astype("int64").to_numpy() % 1_000_003), ["t"]),
        ),
        KNeighborsClassifier(1),
    )
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
    clf = dpa(base, 3, categorical_features=["c"])
    before, after = clone(clf).fit(one, Y), clone(clf).fit(other, np.append(Y, 0))
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


# ---------------------------------------------------------------- where the set of labels is open

DIGITS, NAMES = load_digits(return_X_y=True)
ROWS, LABELS = DIGITS[:400], NAMES[:400]
TESTS = DIGITS[400:500]


def open_dpa(estimator=None, n_partitions=10, **kwargs):
    return DeepPartitionAggregation(estimator, n_partitions, **kwargs)


TEXTS = np.array(
    [f"{'buy cheap' if i % 3 else 'see you'} number {i % 17} {i}" for i in range(120)]
)
SPAM = np.array(["ham", "spam", "spam"] * 40)


def test_a_text_cell_does_not_change_the_numbers_of_other_members():
    hostile = [["poison", *ROWS[0, 1:]]]
    objects = np.concatenate([ROWS.astype(object), np.array(hostile, dtype=object)])
    columns = pd.DataFrame(ROWS).convert_dtypes(dtype_backend="numpy_nullable").astype(object)
    for carried in (objects, ROWS.astype(object), columns):
        part = carried.iloc[:9] if isinstance(carried, pd.DataFrame) else carried[:9]
        own = as_table(carried).take(np.arange(9))
        assert np.asarray(view_of(own).hand_out(own)).dtype == np.float64
        np.testing.assert_array_equal(ContentHasher()(part), ContentHasher()(ROWS[:9]))


def test_a_list_with_one_text_keeps_the_partitions_of_the_others():
    rows, labels = ROWS[:60].tolist(), LABELS[:60]
    base = make_pipeline(
        FunctionTransformer(lambda X: np.array([[str(v) for v in row] for row in X])),
        OneHotEncoder(handle_unknown="ignore"),
        LogisticRegression(),
    )
    clf = open_dpa(base, 4).fit(rows, labels)
    hostile = open_dpa(base, 4).fit([*rows, ["x", *rows[0][1:]]], [*labels, 3])
    np.testing.assert_array_equal(hostile.partition_[:-1], clf.partition_)


def test_labels_of_mixed_types_are_refused():
    with pytest.raises(ValueError, match="mixes strings"):
        open_dpa().fit(ROWS[:3], [1, 2, "x"])


def test_parameters_changed_after_fit_do_not_change_the_promise():
    clf = open_dpa(n_partitions=40).fit(ROWS, LABELS)
    before = clf.certify(TESTS).radius
    clf.set_params(classes=range(10), estimator=GaussianNB())
    np.testing.assert_array_equal(clf.certify(TESTS).radius, before)


class Forgetful(FunctionTransformer):
    """Says that it needs no fit, and learns a mean all the same."""

    def fit(self, X, y=None):
        self.mean_ = X.mean(axis=0)
        return self

    def transform(self, X):
        return X - getattr(self, "mean_", 0)


def test_a_step_that_lies_about_learning_cannot_carry_rows_from_member_to_member():
    clf = open_dpa(make_pipeline(Forgetful(), RidgeClassifier()), 10).fit(ROWS, LABELS)
    far = np.full((1, ROWS.shape[1]), 1e6)
    row = next(i for i in range(99) if ContentHasher()(far + i)[0] % 10 == 0)
    hostile = clone(clf).fit(np.concatenate([ROWS, far + row]), np.append(LABELS, 0))
    changed = (hostile.ballots(TESTS) != clf.ballots(TESTS)).any(axis=0)
    assert changed.tolist() == [True] + [False] * 9


def test_members_of_wide_sparse_text_are_stacked_in_small_groups():
    head = make_pipeline(HashingVectorizer(n_features=2**15), LogisticRegression())
    clf = open_dpa(head, 20).fit(TEXTS, SPAM)
    members = np.stack([member.predict(TEXTS) for member in clf.estimators_], axis=1)
    np.testing.assert_array_equal(clf.classes_[clf.ballots(TEXTS)], members)


def test_negative_zero_trains_the_member_of_zero():
    class Sign(GaussianNB):
        def fit(self, X, y):
            self.sign_ = np.signbit(X).any()
            return super().fit(X, y)

    clf = open_dpa(Sign()).fit(np.where(ROWS == 0, -0.0, ROWS), LABELS)
    assert not any(member.sign_ for member in clf.estimators_)


@pytest.mark.parametrize("aggregation", ["plurality", "run_off"])
def test_nets_train_in_single_precision_and_reproduce(aggregation):
    torch = pytest.importorskip("torch", reason="needs the extra [torch]")
    skorch = pytest.importorskip("skorch", reason="needs the extra [torch]")
    net = skorch.NeuralNetClassifier(
        torch.nn.Linear,
        module__in_features=64,
        module__out_features=10,
        max_epochs=3,
        lr=0.1,
        criterion=torch.nn.CrossEntropyLoss,
        train_split=None,
        verbose=0,
        classes=list(range(10)),
    )
    scaled = ROWS / 16
    clf = open_dpa(net, 4, classes=range(10), aggregation=aggregation).fit(scaled, LABELS)
    again = open_dpa(net, 4, classes=range(10), aggregation=aggregation, n_jobs=2)
    with joblib.parallel_config("threading"):
        again.fit(scaled[::-1].astype(np.float32), LABELS[::-1])
    for one, other in zip(clf.estimators_, again.estimators_, strict=True):
        assert one.module_.weight.dtype == torch.float32
        assert torch.equal(one.module_.weight, other.module_.weight)
    assert not torch.equal(clf.estimators_[0].module_.weight, clf.estimators_[1].module_.weight)
    np.testing.assert_array_equal(clf.ballots(TESTS / 16), again.ballots(TESTS / 16))


@pytest.mark.parametrize("aggregation", ["plurality", "run_off"])
@pytest.mark.parametrize("size", [1e10, 1e150, 1e300])
def test_one_huge_row_spoils_one_member_and_no_more(size, aggregation):
    estimator = RidgeClassifier()
    clf = open_dpa(estimator, 10, aggregation=aggregation).fit(ROWS, LABELS)
    row = np.full((1, ROWS.shape[1]), size)
    hostile = clone(clf).fit(np.concatenate([ROWS, row]), np.append(LABELS, 0))
    for dtype in (np.float64, np.float32):
        rows = TESTS.astype(dtype)
        changed = (hostile.ballots(rows) != clf.ballots(rows)).any(axis=0)
        assert set(np.flatnonzero(changed)) <= {hostile.partition_[-1]}
        kept = clf.certify(rows).radius >= 1
        np.testing.assert_array_equal(hostile.predict(rows)[kept], clf.predict(rows)[kept])


def test_a_fraction_in_one_row_does_not_change_the_members_of_integers():
    integers = (ROWS > 7).astype(int)[:, 18:40]
    clf = open_dpa(RidgeClassifier(), 12, classes=range(10)).fit(integers, LABELS)
    floats = clone(clf).fit(
        np.concatenate([integers, np.full((1, 22), 0.5)]), np.append(LABELS, 0)
    )
    tests = (TESTS > 7).astype(int)[:, 18:40]
    changed = (floats.ballots(tests) != clf.ballots(tests)).any(axis=0)
    assert set(np.flatnonzero(changed)) <= {floats.partition_[-1]}
