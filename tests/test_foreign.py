"""Estimators of other libraries are members like any other: own fit, own labels, own answers."""

import importlib.util
import secrets
import sys
from pathlib import Path

import numpy as np
import pytest
from sklearn.base import BaseEstimator, ClassifierMixin, clone
from sklearn.datasets import load_iris, load_wine, make_classification
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.linear_model import RidgeClassifier
from sklearn.naive_bayes import GaussianNB
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler

from certified_ensembles import (
    DeepPartitionAggregation,
    LabelFlipSmoothingClassifier,
    SemiSupervisedDPA,
)
from certified_ensembles.encoding import LabelEncodingClassifier

X, Y = load_iris(return_X_y=True)
NAMES = np.array(["setosa", "versicolor", "virginica"])


def loop_ballots(clf, base, X, y, T):
    """Train and ask the members one by one, as one would without the package."""
    ballots = []
    for j in range(clf.n_partitions):
        own = np.flatnonzero(clf.partition_ == j)
        own = own[np.lexsort([y[own], *X[own].T[::-1]])]
        ballots.append(clone(base).fit(X[own], y[own]).predict(T))
    return np.column_stack(ballots)


def attack(clf, X, y, rows, labels, T):
    """Insert rows; nobody else's ballots change, and no radius is beaten."""
    clf = clone(clf).fit(X, y)
    before, partition = clf.ballots(T), clf.partition_
    y_pred, radius = clf.certify(T)
    clf.fit(np.vstack([X, rows]), np.append(y, labels))
    np.testing.assert_array_equal(clf.partition_[: len(y)], partition)
    changed = np.flatnonzero((clf.ballots(T) != before).any(axis=0))
    assert set(changed) <= set(clf.partition_[len(y) :])
    assert not ((clf.predict(T) != y_pred) & (radius >= len(labels))).any()


# ---------------------------------------------------------------- a fit of one's own


class Balanced(Pipeline):
    """Changes the rows in a fit of its own, as pipelines of resamplers do."""

    def fit(self, X, y=None, **params):
        labels, counts = np.unique(y, return_counts=True)
        keep = [np.flatnonzero(y == c)[: counts.min()] for c in labels]
        return super().fit(*(part[np.concatenate(keep)] for part in (X, y)), **params)


class Turned(Pipeline):
    """Remembers something of its own, and transforms test rows in its own way."""

    def fit(self, X, y=None, **params):
        self.sign_ = -1
        return super().fit(X, y, **params)

    def predict(self, X):
        return super().predict(self.sign_ * X)


SKEWED = make_classification(400, 6, weights=[0.8], class_sep=0.5, random_state=0)


@pytest.mark.parametrize("memory", [False, True])
def test_pipeline_with_its_own_fit_runs_it(memory, tmp_path):
    base = Balanced([("scale", StandardScaler()), ("ridge", RidgeClassifier())])
    memory = str(tmp_path) if memory else None
    clf = DeepPartitionAggregation(base, 5, classes=[0, 1], memory=memory).fit(*SKEWED)
    want = loop_ballots(clf, base, *SKEWED, SKEWED[0])
    plain = loop_ballots(clf, Pipeline(base.steps), *SKEWED, SKEWED[0])
    np.testing.assert_array_equal(clf.ballots(SKEWED[0]), want)
    assert (want != plain).any()
    assert all(type(member) is Balanced for member in clf.estimators_)


def test_pipeline_with_its_own_answers_is_asked_as_a_whole():
    half = FunctionTransformer(lambda X: X / 2)
    base = Turned([("half", half), ("bayes", GaussianNB())])
    clf = DeepPartitionAggregation(base, 5, classes=[0, 1]).fit(*SKEWED)
    want = loop_ballots(clf, base, *SKEWED, SKEWED[0])
    np.testing.assert_array_equal(clf.ballots(SKEWED[0]), want)
    assert (want != loop_ballots(clf, Pipeline(base.steps), *SKEWED, SKEWED[0])).any()


def test_smoother_refuses_a_pipeline_that_trains_in_its_own_way():
    base = Balanced([("scale", StandardScaler()), ("ridge", RidgeClassifier())])
    with pytest.raises(ValueError, match="Balanced is not known to have weights"):
        LabelFlipSmoothingClassifier(base).fit(*SKEWED)


def test_one_label_members_refuse_neighbours_with_their_own_fit():
    class Own(KNeighborsClassifier):
        pass

    with pytest.raises(ValueError, match="gives each member one label"):
        SemiSupervisedDPA(Own(), "n_samples").fit(X, Y)


# ---------------------------------------------------------------- odd answers


class Answering(GaussianNB):
    """Answers in the shape that it is told to."""

    def __init__(self, shape="column"):
        super().__init__()
        self.shape = shape

    def predict(self, X):
        labels = super().predict(X)
        return {
            "column": labels[:, None],
            "row": labels[None],
            "short": labels[:-1],
            "single": labels[:1],
            "one": labels[0],
            "two columns": np.column_stack([labels, labels]),
            "floats": labels.astype(float),
            "objects": labels.astype(object),
            "list": labels.tolist(),
        }[self.shape]


@pytest.mark.parametrize("shape", ["column", "floats", "objects", "list"])
def test_labels_are_taken_in_any_form_that_means_them(shape):
    plain = DeepPartitionAggregation(GaussianNB(), 5).fit(X, Y)
    other = DeepPartitionAggregation(Answering(shape), 5).fit(X, Y)
    np.testing.assert_array_equal(other.ballots(X), plain.ballots(X))
    np.testing.assert_array_equal(other.vote_counts(X), plain.vote_counts(X))


@pytest.mark.parametrize("shape", ["row", "short", "single", "one", "two columns"])
def test_other_answers_are_refused_by_estimator_and_shape(shape):
    clf = DeepPartitionAggregation(Answering(shape), 5).fit(X, Y)
    with pytest.raises(ValueError, match=r"Answering.predict answered 256 rows .* shape \("):
        clf.ballots(X)


def test_scores_of_too_few_rows_are_refused():
    class Single(GaussianNB):
        def predict_proba(self, X):
            return super().predict_proba(X)[:1]

    clf = DeepPartitionAggregation(Single(), 5, aggregation="run_off").fit(X, Y)
    with pytest.raises(ValueError, match=r"Single.predict_proba answered 256 rows .* \(1, 3\)"):
        clf.predict(X)


# ---------------------------------------------------------------- labels 0 to k - 1


class Strict(GaussianNB):
    """Takes no other labels than 0 to k - 1, as XGBoost does."""

    def fit(self, X, y, sample_weight=None):
        if not np.array_equal(np.unique(y), np.arange(len(np.unique(y)))):
            raise ValueError("Invalid classes")
        self.weighted_ = sample_weight is not None
        return super().fit(X, y, sample_weight)


@pytest.mark.parametrize("aggregation", ["plurality", "run_off"])
def test_members_number_their_own_labels(aggregation):
    # Wine's first column, in tens: many members lack a class.
    rows, y = load_wine(return_X_y=True)
    y = NAMES[y]
    make = {"aggregation": aggregation, "n_partitions": 40}
    want = DeepPartitionAggregation(GaussianNB(), **make).fit(rows, y)
    with pytest.raises(ValueError, match="Invalid classes"):
        DeepPartitionAggregation(Strict(), **make).fit(rows, np.searchsorted(NAMES, y))
    clf = DeepPartitionAggregation(LabelEncodingClassifier(Strict()), **make).fit(rows, y)
    np.testing.assert_array_equal(clf.ballots(rows), want.ballots(rows))
    for one, other in zip(clf.certify(rows), want.certify(rows), strict=True):
        np.testing.assert_array_equal(one, other)
    assert {len(member.classes_) for member in clf.estimators_} >= {2, 3}


def test_wrapper_hands_on_parameters_seeds_and_weights():
    base = LabelEncodingClassifier(Strict())
    assert clone(base).set_params(estimator__var_smoothing=0.1).estimator.var_smoothing == 0.1
    clf = DeepPartitionAggregation(base, 3).fit(X, Y, sample_weight=np.ones(len(Y)))
    assert all(member.estimator_.weighted_ for member in clf.estimators_)


def test_wrapper_has_the_methods_of_its_estimator():
    bayes = LabelEncodingClassifier(GaussianNB())
    ridge = LabelEncodingClassifier(RidgeClassifier())
    assert hasattr(bayes, "predict_proba")
    assert not hasattr(bayes, "decision_function")
    assert hasattr(ridge, "decision_function")
    assert not hasattr(ridge, "predict_proba")
    two = NAMES[Y[50:]]
    scores = ridge.fit(X[50:], two).decision_function(X)
    np.testing.assert_array_equal(ridge.predict(X), NAMES[1:][(scores > 0).astype(int)])


def test_wrapper_refuses_numbers_of_no_label():
    class Beyond(GaussianNB):
        def predict(self, X):
            return np.full(len(X), 3)

    clf = LabelEncodingClassifier(Beyond()).fit(X, Y)
    with pytest.raises(ValueError, match=r"Beyond.predict .*holds \[3\].* below 3"):
        clf.predict(X)


# ---------------------------------------------------------------- other libraries


def undersampled():
    imblearn = pytest.importorskip("imblearn.pipeline", reason="imbalanced-learn is missing")
    sampling = pytest.importorskip("imblearn.under_sampling")
    return imblearn.make_pipeline(sampling.RandomUnderSampler(), StandardScaler(), GaussianNB())


def oversampled():
    imblearn = pytest.importorskip("imblearn.pipeline", reason="imbalanced-learn is missing")
    sampling = pytest.importorskip("imblearn.over_sampling")
    return imblearn.make_pipeline(
        StandardScaler(), sampling.RandomOverSampler(shrinkage=0.1), RidgeClassifier()
    )


def balanced_forest():
    ensemble = pytest.importorskip("imblearn.ensemble", reason="imbalanced-learn is missing")
    return ensemble.BalancedRandomForestClassifier(3)


def light(**params):
    lightgbm = pytest.importorskip("lightgbm", reason="LightGBM is missing")
    # Without these two it chooses by a stopwatch in which order to add up.
    exact = {"deterministic": True, "force_row_wise": True, "n_jobs": 1, "verbose": -1}
    small = {"n_estimators": 3, "learning_rate": 1, "min_child_samples": 2, "min_data_in_bin": 1}
    small |= {"cat_smooth": 0, "min_data_per_group": 1}
    return lightgbm.LGBMClassifier(**exact, **small, **params)


def extreme():
    xgboost = pytest.importorskip("xgboost", reason="XGBoost is missing")
    return LabelEncodingClassifier(xgboost.XGBClassifier(n_estimators=3, n_jobs=1))


def cat():
    catboost = pytest.importorskip("catboost", reason="CatBoost is missing")
    return catboost.CatBoostClassifier(
        iterations=3, depth=2, thread_count=1, verbose=0, allow_writing_files=False
    )


FOREIGN = [undersampled, oversampled, balanced_forest, light, extreme, cat]
HOSTILE = np.array([[1e6, -1e6, 1e6, -1e6], [5.0, 3.0, 4.0, 1.0]])


@pytest.mark.filterwarnings("ignore::UserWarning", "ignore::FutureWarning")
@pytest.mark.parametrize("make", FOREIGN)
def test_foreign_members_keep_the_promise(make):
    clf = DeepPartitionAggregation(make(), 7, classes=[0, 1, 2])
    attack(clf, X, Y, HOSTILE, [0, 2], X[::5])
    ballots = clf.fit(X, Y).ballots(X[::5])
    assert (ballots.max(axis=0) > ballots.min(axis=0)).all()
    np.testing.assert_array_equal(clf.fit(X, Y).ballots(X[::5]), ballots)
    for i in range(5):
        np.testing.assert_array_equal(clf.ballots(X[5 * i : 5 * i + 1])[0], ballots[i])


@pytest.mark.parametrize("make", [undersampled, oversampled])
def test_pipelines_of_resamplers_run_their_own_fit(make):
    rows, y = SKEWED
    base = make()
    clf = DeepPartitionAggregation(base, 5, classes=[0, 1]).fit(rows, y)
    for part in base.named_steps.values():
        if "random_state" in part.get_params():
            part.set_params(random_state=0)
    clf.set_params(distinct_seeds=False).fit(rows, y)
    want = loop_ballots(clf, base, rows, y, rows)
    np.testing.assert_array_equal(clf.ballots(rows), want)


# ---------------------------------------------------------------- native categories


def histogram():
    return HistGradientBoostingClassifier(
        max_iter=2, learning_rate=1, min_samples_leaf=2, categorical_features="from_dtype"
    )


class Codes(ClassifierMixin, BaseEstimator):
    """Answers by the codes of its categories, which new levels would renumber."""

    def fit(self, X, y):
        self.classes_, self.levels_ = np.unique(y), list(X["c"].cat.categories)
        return self

    def predict(self, X):
        assert list(X["c"].cat.categories) == self.levels_
        return self.classes_[X["c"].cat.codes.to_numpy() % len(self.classes_)]


@pytest.mark.filterwarnings("ignore::UserWarning", "ignore:.*abstain")
@pytest.mark.parametrize("level", [" before all", "~ behind all", 7, None], ids=repr)
@pytest.mark.parametrize("make", [histogram, light, Codes])
def test_native_categories_are_those_of_the_members_own_rows(make, level):
    pd = pytest.importorskip("pandas")
    rng = np.random.default_rng(0)
    c, amount = rng.choice(list("abcdef"), 700), rng.normal(size=700)
    y = np.isin(c, list("ace")) ^ (rng.random(700) < 0.1)
    frame = pd.DataFrame({"c": pd.Categorical(c), "amount": amount})
    cell = pd.DataFrame({"c": [level], "amount": [0.5]})
    # Numbers among texts stop the member that has them.
    how = {"classes": [False, True], "categorical_features": ["c"], "on_error": "abstain"}
    clf = DeepPartitionAggregation(make(), 7, **how)
    before = clf.fit(frame, y).ballots(frame[:60])
    together, partition = clf.predict(frame[:60]), clf.partition_
    alone = [clf.predict(frame[i : i + 1])[0] for i in range(10)]
    np.testing.assert_array_equal(alone, together[:10])
    if make is not Codes:
        assert (together == np.isin(c[:60], list("ace"))).mean() > 0.9
    hostile = pd.concat([frame, cell], ignore_index=True)
    clf.fit(hostile, np.append(y, True))
    np.testing.assert_array_equal(clf.partition_[:-1], partition)
    changed = np.flatnonzero((clf.ballots(frame[:60]) != before).any(axis=0))
    assert set(changed) <= {clf.partition_[-1]}
    np.testing.assert_array_equal(clf.ballots(hostile[-61:])[:-1], clf.ballots(frame[-60:]))


# ---------------------------------------------------------------- a small version of the benchmark

SCRIPT = Path(__file__).resolve().parents[1] / "benchmarks" / "attack_estimators.py"


def load_script():
    spec = importlib.util.spec_from_file_location("attack_estimators", SCRIPT)
    module = sys.modules["attack_estimators"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


script = load_script()
ATTACKED = script.of_scikit_learn() | script.combined() | script.of_others()[0]


@pytest.mark.parametrize("name", ATTACKED)
def test_random_attacks_break_no_promise(name):
    """Tens of milliseconds for most: one table is fitted twice, and once for each attack."""
    found, _, error = script.attack_table(name, ATTACKED[name], seed=0, n_attacks=2)
    assert not any(found[kind] for kind in script.BROKEN), dict(found)
    assert found["predictions"] or error


def test_random_attacks_find_a_member_that_draws():
    class Drawn(GaussianNB):
        def predict(self, X):
            codes = [secrets.randbelow(len(self.classes_)) for _ in range(len(X))]
            return self.classes_[codes]

    found, _, _ = script.attack_table("drawn", Drawn(), seed=0, n_attacks=2)
    assert found["not repeatable"]
    assert found["foreign members"]
