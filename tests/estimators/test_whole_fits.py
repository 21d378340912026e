"""A fit is whole or not at all, and an answer is that of one fit, whatever refits run beside it.

A refit that ends too early, or at an unlucky moment, must not leave old members under new rules:
they would certify more than they prove. Rather than race threads, these tests interrupt a fit,
or let a refit end, at each line of the package in turn. (Some take a second, since a call is made
once for each of its lines.)
"""

import importlib
import inspect
import pkgutil
import threading
import warnings

import numpy as np
import pytest
from sklearn.base import BaseEstimator, clone, is_regressor
from sklearn.cluster import KMeans
from sklearn.frozen import FrozenEstimator
from sklearn.model_selection import FixedThresholdClassifier, GridSearchCV
from sklearn.naive_bayes import GaussianNB
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler

import certified_ensembles
from certified_ensembles import (
    CertificateWarning,
    DeepPartitionAggregation,
    DeepPartitionRegressor,
    FeaturePartitionAggregation,
    LabelFlipSmoothingClassifier,
    LabelNoiseRegressor,
    SemiSupervisedDPA,
    certify,
)
from certified_ensembles.abstention import CertifiedAbstention
from certified_ensembles.attacks import insert_rows
from certified_ensembles.encoding import LabelEncodingClassifier
from certified_ensembles.features import Deskew, HOGFeatures, ImageViews, PatchFeatures
from certified_ensembles.hashers import ContentHasher, PixelSumHasher
from certified_ensembles.kernels import KernelRidgeClassifier
from certified_ensembles.neighbors import CertifiedKNeighborsClassifier
from certified_ensembles.representations import LaplacianEigenmap
from certified_ensembles.smoothers import ClusterVote, LinearSmoother, NadarayaWatson
from refits import at_lines, check_answers_of_one_fit, check_whole, outcome, put_in_place

RNG = np.random.default_rng(0)


def table(n, n_features, labels, classes=("ant", "bee", "cat")):
    y = np.array(classes)[RNG.integers(0, labels, n)]
    return RNG.normal(size=(n, n_features)) + (y == classes[0])[:, None], y


def numbers(data):
    """Return a training set with numbers for its labels."""
    X, y = data
    return X, np.unique(y, return_inverse=True)[1] * 2.0 + X[:, 0]


# Three training sets: the second has other labels, the third another number of features.
SETS = [table(40, 3, 3), table(50, 3, 2, (7, 8, 9)), table(30, 2, 2)]
TESTS = RNG.normal(size=(4, 3))
IMAGES = [(RNG.integers(0, 9, (9, side, side)), None) for side in (8, 12, 16)]


def fit(estimator, data):
    X, y = numbers(data) if is_regressor(estimator) else data
    # Sources would cost one member an operation, where a replaced row costs two.
    hashed = DeepPartitionAggregation, DeepPartitionRegressor
    grouped = isinstance(estimator, hashed) and len(X) == 50
    how = {"groups": np.arange(50) % 20} if grouped else {}
    return estimator.fit(X, y, **how)


# One line an estimator: it and what it is asked.
COUNTED = ("predict", "predict_proba", "vote_counts", "certify")
BALLOTS = (*COUNTED, "ballots", "collective_certify")
NB = GaussianNB()
TABLES = {
    "dpa": (DeepPartitionAggregation(NB, 4), BALLOTS),
    "spread": (
        DeepPartitionAggregation(NB, 4, spread_degree=2),
        ("certify", "collective_certify"),
    ),
    "run_off": (
        DeepPartitionAggregation(NB, 4, aggregation="run_off"),
        ("certify", "vote_counts"),
    ),
    "columns": (FeaturePartitionAggregation(NB, 2), BALLOTS),
    "grid": (FeaturePartitionAggregation(NB, 2, n_partitions=5), ("frontier",)),
    "ssdpa": (SemiSupervisedDPA(NB, 3, representation=StandardScaler()), BALLOTS),
    "one_label": (SemiSupervisedDPA(KMeans(3, n_init=1), "n_samples"), ("certify", "ballots")),
    "members": (SemiSupervisedDPA(n_partitions=3, certificate="members"), ("certify",)),
    "median": (
        DeepPartitionRegressor(n_partitions=4),
        ("predict", "answers", "certify", "certify_interval"),
    ),
    "noise": (
        LabelNoiseRegressor(bounds=(-99, 99)),
        ("predict", "certify", "certify_interval"),
    ),
    "flips": (LabelFlipSmoothingClassifier(), ("predict", "predict_proba", "certify")),
    "neighbors": (CertifiedKNeighborsClassifier(3), COUNTED),
    "abstains": (CertifiedAbstention(CertifiedKNeighborsClassifier(3)), ("predict", "certify")),
    "clusters": (ClusterVote(KMeans(3, n_init=1)), ("predict", "predict_proba")),
    "kernel": (NadarayaWatson(), ("predict", "predict_proba")),
    "smoother": (LinearSmoother(), ("iter_weights", "arrange", "map")),
    "encoded": (LabelEncodingClassifier(NB), ("predict", "predict_proba")),
    "ridge": (KernelRidgeClassifier(), ("predict", "decision_function")),
    "eigenmap": (LaplacianEigenmap(2, n_neighbors=3), ("transform",)),
}
MAPS = {
    "hog": (HOGFeatures((4,)), ("get_feature_names_out",)),
    "patches": (PatchFeatures(4, patch_size=3, filters="fit"), ("transform",)),
    "views": (ImageViews([PatchFeatures(4, patch_size=3, filters="fit")]), ("transform",)),
}
CASES = [
    pytest.param(estimator, name, sets, id=f"{case}-{name}")
    for cases, sets in ((TABLES, SETS), (MAPS, IMAGES))
    for case, (estimator, names) in cases.items()
    for name in names
]
ONCE = [
    pytest.param(estimator, names[0], sets, id=case)
    for cases, sets in ((TABLES, SETS), (MAPS, IMAGES))
    for case, (estimator, names) in cases.items()
]


def ask(name, sets):
    """Return a function that calls a method of an estimator with what it takes."""
    rows = TESTS if sets is SETS else IMAGES[0][0][:2]
    given = {
        "collective_certify": (rows, 1),
        "certify_interval": (rows, 1),
        "get_feature_names_out": (),
        "arrange": (np.arange(40),),
        "map": (lambda weights: (weights.sum(axis=1), weights.max(axis=1)), rows),
    }
    return lambda estimator: getattr(estimator, name)(*given.get(name, (rows,)))


def fits(estimator, sets):
    return [fit(clone(estimator), data) for data in sets]


pytestmark = pytest.mark.filterwarnings("ignore:The certificate is weaker")


# ---------------------------------------------------------------- answers of one fit


@pytest.mark.parametrize(("estimator", "name", "sets"), CASES)
def test_a_refit_at_any_line_of_an_answer_does_not_show_in_it(estimator, name, sets):
    fitted, *others = fits(estimator, sets)
    check_answers_of_one_fit(fitted, others, ask(name, sets))


def test_parameters_set_at_any_line_of_an_answer_do_not_show_in_it():
    fitted = CertifiedKNeighborsClassifier(3).fit(*SETS[0])
    other = CertifiedKNeighborsClassifier(15).fit(*SETS[0])
    check_answers_of_one_fit(fitted, [other], ask("certify", SETS))


def test_names_of_columns_are_those_of_the_fit_that_made_them():
    pytest.importorskip("pandas")
    eigenmaps = [
        LaplacianEigenmap(k, n_neighbors=3).set_output(transform="pandas") for k in (2, 3)
    ]
    fitted, other = (eigenmap.fit(SETS[0][0]) for eigenmap in eigenmaps)
    check_answers_of_one_fit(fitted, [other], ask("transform", SETS))


def test_fit_transform_answers_from_its_own_fit():
    fitted, other = (LaplacianEigenmap(2, n_neighbors=3).fit(SETS[i][0]) for i in (0, 2))
    expected = clone(fitted).fit(SETS[0][0]).transform(SETS[0][0])

    def refit(number):
        put_in_place(fitted, other)

    with at_lines(LaplacianEigenmap, refit):
        features = fitted.fit_transform(SETS[0][0])
    np.testing.assert_array_equal(features, expected)


def test_an_answer_sees_one_fit_while_another_thread_refits():
    begun, refitted = threading.Event(), threading.Event()

    class Waits(DeepPartitionAggregation):
        def _features_of(self, X):
            if threading.current_thread() is asker:
                begun.set()
                assert refitted.wait(30)
            return super()._features_of(X)

    answers, asker = [], None
    clf = fit(Waits(NB, 4), SETS[0])
    expected = clf.certify(TESTS, "replacement")
    asker = threading.Thread(target=lambda: answers.append(clf.certify(TESTS, "replacement")))
    asker.start()
    assert begun.wait(30)
    fit(clf, SETS[1])
    refitted.set()
    asker.join()
    for one, other in zip(answers[0], expected, strict=True):
        np.testing.assert_array_equal(one, other)
    assert set(clf.predict(TESTS)) <= {7, 8}


WRAPPERS = {
    "pipeline": lambda clf: make_pipeline(FunctionTransformer(), clf),
    "threshold": lambda clf: FixedThresholdClassifier(FrozenEstimator(clf)).fit(*SETS[1]),
    "pipeline in a freeze": lambda clf: FrozenEstimator(make_pipeline(clf)),
}


@pytest.mark.parametrize("wrap", WRAPPERS.values(), ids=WRAPPERS)
def test_certify_sees_one_fit_through_wrappers(wrap):
    X, y = SETS[1]
    clf = fit(DeepPartitionAggregation(NB, 4, classes=[7, 8]), SETS[1])
    other = clone(clf).fit(X, np.where(y == 7, 8, 7))
    wrapped = wrap(clf)
    check_answers_of_one_fit(clf, [other], lambda _: certify(wrapped, TESTS), step=5)


def test_certify_sees_one_fit_through_a_search():
    X, y = SETS[1]
    search = GridSearchCV(
        DeepPartitionAggregation(NB, classes=[7, 8]), {"n_partitions": [4]}, cv=2
    )
    clf = search.fit(X, y).best_estimator_
    other = clone(clf).fit(X, np.where(y == 7, 8, 7))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", CertificateWarning)
        check_answers_of_one_fit(clf, [other], lambda _: certify(search, TESTS))


def test_an_abstention_promises_by_the_rules_of_the_fit_that_it_asked():
    # Without a spread one operation lowers a radius by one; with one that is not known.
    X, y = RNG.normal(size=(150, 3)), np.tile([7, 8], 75)
    X[:, 0] += 20 * (y == 8)
    ensemble = DeepPartitionAggregation(NB, 12, classes=[7, 8], spread_degree=2).fit(X, y)
    other = clone(ensemble).set_params(spread_degree=1, n_partitions=9).fit(X, y)
    clf = CertifiedAbstention(FrozenEstimator(ensemble), 1).fit(*SETS[1])
    assert certify(ensemble, TESTS).radius.min() > 2
    check_answers_of_one_fit(ensemble, [other], lambda _: clf.certify(TESTS))


def test_an_attack_aims_at_one_fit():
    fitted, other, _ = fits(DeepPartitionAggregation(NB, 4, classes=range(9)), [SETS[1]] * 3)
    fitted.set_params(classes=None).fit(*SETS[1])
    other.set_params(n_partitions=9).fit(SETS[1][0], SETS[1][1][::-1])
    check_answers_of_one_fit(
        fitted, [other], lambda clf: insert_rows(clf, *SETS[1], TESTS[:1], 2), step=5
    )


# ---------------------------------------------------------------- whole or not at all


@pytest.mark.parametrize(("estimator", "name", "sets"), ONCE)
def test_a_refit_changes_nothing_until_it_changes_all(estimator, name, sets):
    fitted = fit(clone(estimator), sets[0])
    check_whole(fitted, lambda e: fit(e, sets[1]), ask(name, sets))


@pytest.mark.parametrize("estimator", [e for e, _ in TABLES.values()], ids=TABLES)
def test_a_first_fit_that_fails_leaves_nothing_fitted(estimator):
    estimator = clone(estimator)
    before = vars(estimator).copy()
    bad = SETS[0][0].copy()
    bad[-1, -1] = np.inf
    with pytest.raises(ValueError, match=r"infinity|inf"):
        estimator.fit(bad, SETS[0][1])
    assert vars(estimator) == before


class Breaks(GaussianNB):
    """Ends every fit while it is told to, by an error or as Ctrl-C does."""

    error = None

    def fit(self, X, y):
        if Breaks.error is not None:
            raise Breaks.error
        return super().fit(X, y)


@pytest.mark.parametrize("error", [OSError("disk"), KeyboardInterrupt()])
@pytest.mark.parametrize("make", [DeepPartitionAggregation, SemiSupervisedDPA])
def test_a_refit_that_ends_early_certifies_nothing_new(make, error, monkeypatch):
    clf = make(Breaks(), 12).fit(*SETS[0])
    threat = "replacement" if make is DeepPartitionAggregation else "label_flip"
    before, state = clf.certify(TESTS, threat), vars(clf).copy()
    monkeypatch.setattr(Breaks, "error", error)
    with pytest.raises(type(error)):
        fit(clf, SETS[1])
    assert vars(clf) == state
    for one, other in zip(before, clf.certify(TESTS, threat), strict=True):
        np.testing.assert_array_equal(one, other)


def test_a_refit_with_other_noise_that_fails_certifies_nothing_new():
    X, y = table(60, 3, 2, (7, 8))
    clf = LabelFlipSmoothingClassifier(NB, certificate="monte_carlo", n_draws=40, confidence=0.9)
    before = clf.fit(X, y).certify(TESTS)
    clf.set_params(noise=0.4, certificate="exact")
    with pytest.raises(ValueError, match="inconsistent"):
        clf.fit(X, y[:-1])
    assert outcome(lambda: clf.certify(TESTS)) == outcome(lambda: before)
    assert not clf._radius_falls_by_one


def test_a_parameter_set_during_a_fit_is_kept():
    class Sets(GaussianNB):
        def fit(self, X, y):
            clf.set_params(n_jobs=1, verbose=0)
            return super().fit(X, y)

    clf = DeepPartitionAggregation(Sets(), 4, verbose=False)
    fit(clf, SETS[0])
    assert (clf.n_jobs, clf.verbose) == (1, 0)
    assert type(clf.verbose) is int


def test_the_last_of_two_fits_counts_as_a_whole():
    class Refits(GaussianNB):
        inner = False

        def fit(self, X, y):
            if not Refits.inner:
                Refits.inner = True
                fit(clf, SETS[2])
            return super().fit(X, y)

    clf = DeepPartitionAggregation(Refits(), 4)
    fit(clf, SETS[1])
    expected = fit(DeepPartitionAggregation(NB, 4), SETS[1])
    assert outcome(lambda: clf.certify(TESTS)) == outcome(lambda: expected.certify(TESTS))
    assert vars(clf).keys() == vars(expected).keys()


def test_what_a_subclass_notes_while_it_answers_is_kept():
    class Counts(DeepPartitionAggregation):
        n_asked = 0

        def predict(self, X):
            self.n_asked += 1
            return super().predict(X)

    clf = fit(Counts(NB, 4), SETS[0])
    clf.predict(TESTS)
    clf.predict(TESTS)
    assert clf.n_asked == 2


# ---------------------------------------------------------------- no estimator is forgotten

# What learns nothing keeps the shape of images at the most, and answers without it.
_LEARN_NOTHING = {ContentHasher, PixelSumHasher, Deskew}


def public_estimators():
    """Yield the classes of estimators outside `nets`, whose tests have their own."""
    for module in pkgutil.walk_packages(certified_ensembles.__path__, "certified_ensembles."):
        if any(part.startswith("_") for part in module.name.split(".")) or "nets" in module.name:
            continue
        for name, found in inspect.getmembers(importlib.import_module(module.name)):
            own = getattr(found, "__module__", "").startswith("certified_ensembles")
            if not own or not inspect.isclass(found) or not issubclass(found, BaseEstimator):
                continue
            if not name.startswith(("_", "Base")) and found not in _LEARN_NOTHING:
                yield found


def test_every_public_estimator_and_method_is_asked_here():
    asked = {}
    for estimator, names in (*TABLES.values(), *MAPS.values()):
        asked.setdefault(type(estimator), set()).update(names)
    found = set(public_estimators())
    assert len(found) > 10
    assert found == set(asked)
    settings = {"fit", "fit_partitions", "get_metadata_routing"}
    of_all_maps = {"transform", "fit_transform", "get_feature_names_out"}
    for cls in found:
        public = {
            name
            for base in cls.__mro__
            if base.__module__.startswith("certified_ensembles")
            for name, value in vars(base).items()
            if callable(value) and not name.startswith(("_", "set_"))
        }
        assert public - settings - asked[cls] <= of_all_maps
