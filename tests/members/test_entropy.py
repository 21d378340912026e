"""Members, answers and representations draw from nothing that nobody seeded."""

# ruff: noqa: NPY002 - the legacy generator is global, so it is the one that members may draw from

import functools
import importlib
import itertools
import random
import subprocess
import sys
import threading

import joblib
import numpy as np
import pytest
from numpy.random import bit_generator
from sklearn.base import BaseEstimator, ClassifierMixin, ClusterMixin, TransformerMixin, clone
from sklearn.cluster import KMeans
from sklearn.datasets import load_digits
from sklearn.decomposition import PCA, TruncatedSVD
from sklearn.ensemble import RandomForestClassifier
from sklearn.feature_selection import SelectKBest, chi2, mutual_info_classif
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import RidgeClassifier
from sklearn.model_selection import GridSearchCV
from sklearn.naive_bayes import GaussianNB
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import FeatureUnion, Pipeline, make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler
from sklearn.tree import DecisionTreeClassifier

from certified_ensembles import (
    CertificateWarning,
    DeepPartitionAggregation,
    LabelFlipSmoothingClassifier,
    SemiSupervisedDPA,
)
from certified_ensembles._deterministic import draws_globally, global_seed, seeded_clones, seeding
from certified_ensembles.representations import LaplacianEigenmap
from certified_ensembles.smoothers import ClusterVote

X, Y = load_digits(return_X_y=True)
X, Y, X_TEST = X[:400], Y[:400], X[400:500]


# ---------------------------------------------------------------- the positive list


def outcome(function, seed):
    """Return a digest of what a function returns if all generators begin elsewhere.

    A generator without a seed is no draw in itself: numpy makes and forgets one for every
    `RandomState`. So the entropy that numpy takes differs with the seed, and outcomes may not.
    """
    entropy = bit_generator.randbits
    bit_generator.randbits = random.Random(seed).getrandbits
    try:
        random.seed(seed)
        np.random.seed(seed)
        digest = joblib.hash(function())
        python, state = random.getstate(), np.random.get_state()
        random.seed(seed)
        np.random.seed(seed)
        assert python == random.getstate()
        for one, other in zip(state, np.random.get_state(), strict=True):
            np.testing.assert_array_equal(one, other)
        return digest
    finally:
        bit_generator.randbits = entropy


def tables():
    """Yield rows that are non-negative, of many kinds: digits, few values, constant, alike."""
    rng = np.random.default_rng(0)
    y = np.arange(120) % 3
    yield X[:120], Y[:120]
    yield rng.integers(0, 2, (120, 5)).astype(float), y
    yield np.hstack([np.ones((120, 2)), np.repeat(rng.random((3, 4)), 40, axis=0)]), y
    yield np.array(list(itertools.product([0.0, 1], repeat=7))), np.arange(128) // 64


TEXTS = ["a red fox", "the old dog", "a blue bird", "no dog, no fox"] * 5
VARIANTS = {
    "LogisticRegression": [{}, {"solver": "saga"}, {"solver": "liblinear"}, {"solver": "sag"}],
    "Ridge": [{}, {"solver": "sag"}],
    "RidgeClassifier": [{}, {"solver": "sag"}],
    "SVC": [{"probability": False}, {"kernel": "linear"}],
    "PCA": [{"n_components": 2, "svd_solver": s} for s in ("full", "randomized", "auto")],
    "TruncatedSVD": [{}],
    "DecisionTreeClassifier": [{}, {"splitter": "random", "max_features": 1}],
    "DummyClassifier": [{"strategy": s} for s in ("prior", "uniform", "stratified")],
    "LinearDiscriminantAnalysis": [{}, {"solver": "lsqr", "shrinkage": "auto"}],
    "KNeighborsClassifier": [{}, {"algorithm": "brute"}],
    "QuantileTransformer": [{"subsample": 50, "n_quantiles": 20}],
    "KBinsDiscretizer": [{}, {"strategy": "kmeans", "subsample": 50}],
    "LaplacianEigenmap": [{"n_components": 2}, {"n_components": 3, "n_neighbors": 4}],
    "RadiusNeighborsClassifier": [{"radius": 1e6}],
    "OneHotEncoder": [{"handle_unknown": "ignore"}],
    "OrdinalEncoder": [{"handle_unknown": "use_encoded_value", "unknown_value": -1}],
    "CategoricalNB": [{"min_categories": 20}],
    "Nystroem": [{"n_components": 10}],
    "ColumnTransformer": [{"transformers": [("a", StandardScaler(), [0, 1])]}],
    "FeatureUnion": [{"transformer_list": [("a", StandardScaler()), ("b", PCA(2))]}],
    "Pipeline": [{"steps": [("a", StandardScaler()), ("b", DecisionTreeClassifier())]}],
    "FrozenEstimator": [{"estimator": StandardScaler().fit(X[:5])}],
    "PatchFeatures": [{"n_filters": 8, "patch_size": 3, "image_shape": (8, 8)}],
    "HOGFeatures": [{"cell_sizes": (4,), "image_shape": (8, 8)}],
    "Deskew": [{"image_shape": (8, 8)}],
}


def listed():
    for module, names in seeding._DRAWS_NOTHING.items():
        for name in names:
            yield pytest.param(getattr(importlib.import_module(module), name), id=name)


def answers(estimator, X, y):
    """Fit an estimator, and return all that it answers."""
    methods = ("predict", "predict_proba", "decision_function", "transform", "kneighbors")
    try:
        estimator.fit(X, y)
        return [getattr(estimator, m)(X) for m in methods if hasattr(estimator, m)]
    except (NotImplementedError, ValueError):  # not for these rows, or not by this solver
        return None


def inputs_of(cls):
    text = cls.__module__ == "sklearn.feature_extraction.text"
    if text and cls.__name__ != "TfidfTransformer":
        return [(TEXTS, np.arange(20) % 2)]
    if cls.__name__ == "DictVectorizer":
        return [([{"a": 1.0}, {"b": 2.0}], None)]
    if cls.__name__ == "FeatureHasher":
        return [([{"a": 1.0}, {"b": 2.0}], [0, 1])]
    return list(tables())


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("cls", list(listed()))
def test_what_is_listed_draws_nothing(cls):
    if not isinstance(cls, type):  # a function that scores features
        runs = [functools.partial(cls, rows, y) for rows, y in tables()]
    elif cls.__name__ == "make_column_selector":
        frame = pytest.importorskip("pandas").DataFrame({"a": [1]})
        runs = [functools.partial(cls(pattern="a"), frame)]
    else:
        runs = []
        for params in VARIANTS.get(cls.__name__, [{}]):
            (estimator,) = seeded_clones(cls(**params), [3])
            assert not draws_globally(estimator)
            for rows, y in inputs_of(cls):
                runs.append(lambda e=estimator, rows=rows, y=y: answers(clone(e), rows, y))
    outcomes = [(outcome(run, 7), outcome(run, 8)) for run in runs]
    assert all(one == other for one, other in outcomes)
    assert any(one != joblib.hash(None) for one, _ in outcomes)


def test_the_watch_sees_a_draw():
    for source in ("no seed", "numpy", "python"):
        with pytest.raises(AssertionError):  # by its outcome, or by the state it leaves
            assert outcome(lambda: draw(source, 3), 7) == outcome(lambda: draw(source, 3), 8)  # noqa: B023


OUTSIDE = [
    SelectKBest(mutual_info_classif),
    TruncatedSVD(algorithm="arpack"),
    PCA(2, svd_solver="arpack"),
    GridSearchCV(GaussianNB(), {"var_smoothing": [1e-9, 1e-3]}),
    FunctionTransformer(np.sort),
    FunctionTransformer(lambda X: X),
    KNeighborsClassifier(metric=lambda a, b: abs(a - b).sum()),
    make_pipeline(StandardScaler(), SelectKBest(mutual_info_classif), RidgeClassifier()),
    FeatureUnion([("a", SelectKBest(mutual_info_classif))]),
    FrozenEstimator(RandomForestClassifier()),
]


@pytest.mark.parametrize("estimator", OUTSIDE, ids=range(len(OUTSIDE)))
def test_what_is_not_known_in_all_its_parts_is_seeded(estimator):
    assert draws_globally(estimator)


def test_a_subclass_or_a_namesake_is_not_what_is_listed():
    subclass = type("GaussianNB", (GaussianNB,), {"__module__": GaussianNB.__module__})
    assert draws_globally(subclass())
    assert not draws_globally(make_pipeline(FunctionTransformer(np.log1p), SelectKBest(chi2)))


# ---------------------------------------------------------------- members


class Drawn(ClassifierMixin, BaseEstimator):
    """Weighs features by chance, drawn when it is trained, or answers by chance."""

    def __init__(self, source="numpy", when="fit"):
        self.source, self.when = source, when

    def fit(self, X, y):
        self.classes_, self.shape_ = np.unique(y), X.shape[1]
        self.weights_ = draw(self.source, X.shape[1])
        return self

    def decision_function(self, X):
        weights = self.weights_ if self.when == "fit" else draw(self.source, self.shape_)
        chosen = (X @ weights * 1e3).astype(int) % len(self.classes_)
        return np.eye(len(self.classes_))[chosen]

    def predict(self, X):
        return self.classes_[self.decision_function(X).argmax(axis=1)]


def draw(source, n):
    """Return n numbers from a generator that nobody passed in."""
    if source == "python":
        return np.array([random.random() for _ in range(n)])
    if source == "numpy":
        return np.random.rand(n)
    if source == "torch":
        torch = pytest.importorskip("torch", reason="needs the extra [torch]")
        return torch.rand(n).numpy().astype(float)
    return np.random.default_rng().random(n)


SOURCES = ["python", "numpy", "torch", "no seed"]


@pytest.mark.parametrize("when", ["fit", "answer"])
@pytest.mark.parametrize("source", SOURCES)
def test_members_are_the_same_whatever_they_draw_from(source, when):
    clf = DeepPartitionAggregation(Drawn(source, when), 6, classes=range(10))
    first = clf.fit(X, Y).ballots(X_TEST)
    draw(source, 3)
    np.testing.assert_array_equal(clf.ballots(X_TEST), first)
    np.testing.assert_array_equal(clf.fit(X, Y).ballots(X_TEST), first)
    assert len({tuple(own) for own in first.T}) == 6  # each member has draws of its own
    alone = [clf.ballots(X_TEST[i : i + 1])[0] for i in range(5)]
    np.testing.assert_array_equal(alone, first[:5])


@pytest.mark.parametrize("source", ["python", "numpy", "no seed"])
def test_answers_of_a_run_off_are_seeded(source):
    base = Drawn(source, "answer")
    clf = DeepPartitionAggregation(base, 6, aggregation="run_off", classes=range(10)).fit(X, Y)
    one, two = clf.certify(X_TEST), clf.certify(X_TEST)
    np.testing.assert_array_equal(one.y_pred, two.y_pred)
    np.testing.assert_array_equal(one.radius, two.radius)


def noisy(X):
    return X + np.random.rand(*X.shape) * 9


def test_shared_first_steps_are_seeded():
    base = make_pipeline(FunctionTransformer(noisy), GaussianNB())
    clf = DeepPartitionAggregation(base, 6, classes=range(10)).fit(X, Y)
    np.testing.assert_array_equal(clf.ballots(X_TEST), clf.ballots(X_TEST))


@pytest.mark.parametrize(
    "estimator",
    [
        make_pipeline(SelectKBest(mutual_info_classif, k=3), RidgeClassifier()),
        make_pipeline(TruncatedSVD(3, algorithm="arpack"), RidgeClassifier()),
        make_pipeline(PCA(3, svd_solver="arpack"), GaussianNB()),
        GridSearchCV(
            make_pipeline(SelectKBest(mutual_info_classif), GaussianNB()),
            {"selectkbest__k": [2, 4]},
            cv=2,
        ),
    ],
    ids=["scores", "svds", "eigsh", "search"],
)
def test_one_label_changes_one_member_of_those_that_draw_inside(estimator):
    rows = np.array(list(itertools.product([0.0, 1, 2], repeat=5)))[::2]
    y = (rows.sum(axis=1) + np.arange(len(rows)) % 2 > 5).astype(int)
    clf = DeepPartitionAggregation(estimator, 7, classes=[0, 1])
    before = clf.fit(rows, y).ballots(rows)
    y_pred, radius = clf.certify(rows)
    flipped = y.copy()
    flipped[5] ^= 1
    after = clf.fit(rows, flipped).ballots(rows)
    assert (before != after).any(axis=0).sum() <= 1
    assert not ((clf.predict(rows) != y_pred) & (radius >= 2)).any()


def test_global_generators_and_numpys_entropy_are_as_they_were():
    random.seed(1)
    np.random.seed(1)
    np.random.standard_normal()  # the second of the pair is kept in the state
    python, state, entropy = random.getstate(), np.random.get_state(), bit_generator.randbits
    with global_seed(3), global_seed(4):
        random.random()
        np.random.rand()
    assert random.getstate() == python
    assert bit_generator.randbits is entropy
    for one, other in zip(np.random.get_state(), state, strict=True):
        np.testing.assert_array_equal(one, other)


def test_generators_without_a_seed_in_other_threads_keep_their_entropy():
    drawn = []
    for _ in range(2):
        with global_seed(3):
            worker = threading.Thread(
                target=lambda: drawn.append(np.random.default_rng().integers(2**62))
            )
            worker.start()
            worker.join()
            own = np.random.default_rng().integers(2**62)
            assert own == np.random.default_rng(random.Random(3).getrandbits(128)).integers(2**62)
    assert drawn[0] != drawn[1]


TORCH = """
import random, sys
from certified_ensembles._deterministic import global_seed
assert "torch" not in sys.modules
with global_seed(3):
    with global_seed(4):
        import torch
        inner = torch.rand(1).item()
    outer = torch.rand(1).item()
assert torch.initial_seed() not in (3, 4)
torch.manual_seed(4)
assert inner == torch.rand(1).item()
torch.manual_seed(3)
assert outer == torch.rand(1).item()
assert torch.__spec__.loader is torch.__loader__
assert "certified" not in type(torch.__loader__).__module__
assert not any("certified" in type(finder).__module__ for finder in sys.meta_path)
print("seeded")
"""


def test_torch_that_arrives_within_is_seeded():
    pytest.importorskip("torch", reason="needs the extra [torch]")
    done = subprocess.run([sys.executable, "-c", TORCH], capture_output=True, text=True)
    assert done.stdout.strip() == "seeded", done.stderr


# ---------------------------------------------------------------- jobs inside members


def test_members_run_one_job_and_the_users_estimator_keeps_its_own():
    forest = RandomForestClassifier(3, n_jobs=2)
    grid = {"forest__n_jobs": [2, 4], "forest__max_depth": [1]}
    search = GridSearchCV(Pipeline([("forest", forest)]), grid, n_jobs=2, cv=2)
    (member,) = seeded_clones(search, [0])
    assert member.n_jobs == member.estimator["forest"].n_jobs == 1
    assert member.param_grid["forest__n_jobs"] == [1, 1]
    assert (search.n_jobs, forest.n_jobs, grid["forest__n_jobs"]) == (2, 2, [2, 4])
    (eigenmap,) = seeded_clones(LaplacianEigenmap(n_jobs=2), [0])
    assert eigenmap.n_jobs == 2
    (alone,) = seeded_clones(KNeighborsClassifier(n_jobs=2), [0])
    assert alone.n_jobs == 1


class CountsJobs(ClassifierMixin, BaseEstimator):
    def fit(self, X, y):
        self.classes_ = np.array([joblib.effective_n_jobs(None)])
        return self

    def predict(self, X):
        return np.full(len(X), self.classes_[0] * joblib.effective_n_jobs(None))


def test_jobs_that_the_caller_sets_for_all_of_joblib_do_not_reach_members():
    clf = DeepPartitionAggregation(CountsJobs(), 4, n_jobs=1, classes=[1, 2, 4])
    with joblib.parallel_config("threading", n_jobs=2):
        clf.fit(X, 1 + Y % 2)
        assert {int(member.classes_[0]) for member in clf.estimators_} == {1}
        assert (clf.predict(X_TEST) == 1).all()


# ---------------------------------------------------------------- representations, clusters, noise


class DrawnCentres(ClusterMixin, TransformerMixin, BaseEstimator):
    """Takes rows for centres, and may look for the nearest of some of them alone."""

    def __init__(self, when="fit"):
        self.when = when

    def fit(self, X, y=None):
        self.centres_ = X[np.random.permutation(len(X))[:8]]
        return self

    def transform(self, X):
        distance = ((X[:, None] - self.centres_) ** 2).sum(axis=2)
        return distance if self.when == "fit" else distance * np.random.rand(8)

    def predict(self, X):
        return self.transform(X).argmin(axis=1)


def label_flip(estimator=None, **params):
    return LabelFlipSmoothingClassifier(estimator, classes=range(10), **params)


DRAWING = {
    "cluster votes": label_flip(ClusterVote(DrawnCentres())),
    "cluster votes asked": label_flip(ClusterVote(DrawnCentres("answer"))),
    "cluster votes of no seed": label_flip(ClusterVote(KMeans(8, n_init=1)), random_state=0),
    "representation": label_flip(RidgeClassifier(), representation=DrawnCentres()),
    "representation asked": label_flip(RidgeClassifier(), representation=DrawnCentres("answer")),
    "one label": SemiSupervisedDPA(DrawnCentres(), "n_samples", classes=range(10)),
    "one label asked": SemiSupervisedDPA(DrawnCentres("answer"), "n_samples", classes=range(10)),
    "noise": label_flip(Drawn(), certificate="monte_carlo", n_draws=5, random_state=3),
    "masked": SemiSupervisedDPA(
        make_pipeline(FunctionTransformer(noisy), GaussianNB()), 3, classes=range(10)
    ),
}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("clf", DRAWING.values(), ids=DRAWING)
def test_one_flipped_label_beats_no_radius_where_other_parts_draw(clf):
    y_pred, radius = clf.fit(X, Y).certify(X_TEST)
    again = clf.certify(X_TEST)
    np.testing.assert_array_equal(again.y_pred, y_pred)
    flipped = Y.copy()
    flipped[0] = (Y[0] + 1) % 10
    if clf.get_params().get("certificate") != "monte_carlo":
        assert not ((clf.fit(X, flipped).predict(X_TEST) != y_pred) & (radius >= 1)).any()
    np.testing.assert_array_equal(clf.fit(X, Y).predict(X_TEST), y_pred)


@pytest.mark.parametrize("n_levels", [2, 3])
def test_an_eigenmap_of_few_eigenvalues_is_the_same_every_time(n_levels):
    rows = np.array(list(itertools.product(np.arange(n_levels), repeat=9 - 3 * (n_levels > 2))))
    first = LaplacianEigenmap(3, n_neighbors=9).fit(rows)
    for _ in range(2):
        np.random.default_rng().random()
        again = LaplacianEigenmap(3, n_neighbors=9).fit(rows)
        np.testing.assert_array_equal(again.embedding_, first.embedding_)


# ---------------------------------------------------------------- the host's threads


class DrawsWhileAnotherDraws(GaussianNB):
    """Draws from numpy's global generator, and so does a thread of the host meanwhile."""

    host_draws = True

    def fit(self, X, y):
        if DrawsWhileAnotherDraws.host_draws:
            thread = threading.Thread(target=np.random.rand)
            thread.start()
            thread.join()
        self.drawn_ = np.random.rand()
        return super().fit(X, y)


def test_a_draw_of_another_thread_is_said(monkeypatch):
    def drawn():
        return [m.drawn_ for m in DeepPartitionAggregation(member, 3).fit(X, Y).estimators_]

    member, state = DrawsWhileAnotherDraws(), np.random.get_state()
    with pytest.warns(CertificateWarning, match=r"in 3 of 3 members. Another thread drew"):
        disturbed = drawn()
    monkeypatch.setattr(DrawsWhileAnotherDraws, "host_draws", False)
    assert drawn() == drawn() != disturbed
    for one, other in zip(state, np.random.get_state(), strict=True):
        np.testing.assert_array_equal(one, other)


def test_the_generator_that_the_host_has_chosen_comes_back():
    before, chosen = np.random.get_bit_generator(), np.random.PCG64(3)
    np.random.set_bit_generator(chosen)
    try:
        np.random.normal()  # keeps a second number for the next call
        state = np.random.get_state(legacy=False)
        with global_seed(1), global_seed(2):
            drawn = np.random.normal()
        assert np.random.get_bit_generator() is chosen
        assert np.random.get_state(legacy=False) == state
    finally:
        np.random.set_bit_generator(before)
    with global_seed(2):
        assert np.random.normal() == drawn
