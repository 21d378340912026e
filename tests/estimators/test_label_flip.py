"""No change of labels within the radius changes a prediction, and for "exact" one more does."""

import itertools
import pickle

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.cluster import KMeans
from sklearn.datasets import load_digits, load_iris
from sklearn.decomposition import PCA
from sklearn.exceptions import FitFailedWarning, NotFittedError
from sklearn.kernel_ridge import KernelRidge
from sklearn.linear_model import LogisticRegression, Ridge, RidgeClassifier
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.neighbors import KNeighborsClassifier, RadiusNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler
from sklearn.tree import DecisionTreeClassifier

from certified_ensembles import Certificate
from certified_ensembles._members import weighed_labels
from certified_ensembles.attacks import smallest_flip_attack
from certified_ensembles.certificates.flips import flips_from_margin
from certified_ensembles.certificates.linear import linear_smoother_radius
from certified_ensembles.certificates.smoothing import chernoff_log_error
from certified_ensembles.datasets import fetch_dogfish
from certified_ensembles.label_flip import LabelFlipSmoothingClassifier
from certified_ensembles.representations import LaplacianEigenmap
from certified_ensembles.smoothers import ClusterVote, NadarayaWatson

# Fits are compared here, and "monte_carlo" repeats one with a fixed seed alone.
pytestmark = pytest.mark.filterwarnings("ignore:The certificate is void against who knew")

SMOOTHERS = [
    RidgeClassifier(0.5),
    Ridge(3.0, fit_intercept=False),
    KernelRidge(0.5, kernel="rbf", gamma=0.3),
    KNeighborsClassifier(3),
    KNeighborsClassifier(4, weights="distance"),
    RadiusNeighborsClassifier(1.5),
    NadarayaWatson(gamma=0.4),
    ClusterVote(KMeans(2, n_init=2)),
    ClusterVote(KMeans(2, n_init=2), votes="swap"),
    make_pipeline(StandardScaler(), PCA(1), Ridge(1.0)),
]


def _small(n, n_classes, seed, copies=0):
    rng = np.random.default_rng(seed)
    X = np.round(rng.normal(size=(n, 2)), 1)
    X[n - copies :] = X[0]
    return X, rng.integers(0, n_classes, n), np.round(rng.normal(size=(4, 2)), 1)


def _distances_to_change(clf, X, y, T, labels):
    """Refit on every label vector; return the fewest changes that change each prediction."""
    before = clf.fit(X, y).predict(T)
    fewest = np.full(len(T), len(y) + 1)
    for other in itertools.product(labels, repeat=len(y)):
        changes = int(np.sum(np.array(other) != y))
        if changes and changes < fewest.max():
            changed = clf.fit(X, np.array(other)).predict(T) != before
            fewest[changed] = np.minimum(fewest[changed], changes)
    return fewest


@pytest.mark.parametrize("estimator", SMOOTHERS, ids=str)
@pytest.mark.parametrize(
    ("n", "n_classes", "copies"), [(7, 2, 0), (7, 2, 2), (5, 3, 0), (5, 3, 1)]
)
def test_exact_radius_is_the_largest_that_no_relabelling_beats(estimator, n, n_classes, copies):
    X, y, T = _small(n, n_classes, seed=n_classes, copies=copies)
    clf = LabelFlipSmoothingClassifier(estimator, classes=range(n_classes))
    _, radius = clf.fit(X, y).certify(T)
    fewest = _distances_to_change(clf, X, y, T, range(n_classes))
    np.testing.assert_array_equal(radius, fewest - 1)


@pytest.mark.parametrize("estimator", SMOOTHERS, ids=str)
def test_exact_radius_counts_on_labels_never_seen(estimator):
    X, y, T = _small(5, 2, seed=4)
    y[:2] = 0, 1
    clf = LabelFlipSmoothingClassifier(estimator)
    _, radius = clf.fit(X, y).certify(T)
    # -1 sorts before all labels, 9 after.
    fewest = _distances_to_change(clf, X, y, T, [-1, 0, 1, 9])
    np.testing.assert_array_equal(radius, np.maximum(fewest - 1, 0))


@pytest.mark.parametrize("certificate", ["tight", "kl"])
@pytest.mark.parametrize("estimator", SMOOTHERS[:7], ids=str)
def test_smoothed_radius_holds_for_what_predict_returns(estimator, certificate):
    for seed in range(2):
        X, y, T = _small(6, 2, seed)
        clf = LabelFlipSmoothingClassifier(
            estimator, certificate=certificate, noise=0.05, classes=[0, 1]
        )
        _, radius = clf.fit(X, y).certify(T)
        assert (radius < _distances_to_change(clf, X, y, T, [0, 1])).all()


def _chance_to_win(weights, y, winner, noise):
    """Return P(score of the winner is strictly the largest) over the noise, K = 2, by counting."""
    signs = np.array(list(itertools.product([1, -1], repeat=len(y))))
    chance = np.prod(np.where(signs == 1, 1 - noise, noise), axis=1)
    margin = (signs * np.where(y == winner, 1, -1)) @ weights
    return chance[margin > 1e-12].sum()


@pytest.mark.parametrize("certificate", ["tight", "kl"])
def test_smoothed_classifier_keeps_its_answer_within_the_radius(certificate):
    noise, certified = 0.1, 0
    for seed in range(4):
        X, y, T = _small(12, 2, seed)
        y[:] = np.arange(12) < seed
        clf = LabelFlipSmoothingClassifier(
            KNeighborsClassifier(12), certificate=certificate, noise=noise, classes=[0, 1]
        )
        y_pred, radius = clf.fit(X, y).certify(T)
        _, weights = next(clf.smoother_.iter_weights(T))
        for w, winner, r in zip(weights, y_pred, radius, strict=True):
            if r < 0:
                continue
            certified += r > 0
            for flips in itertools.combinations(range(len(y)), r):
                other = y.copy()
                other[list(flips)] = 1 - other[list(flips)]
                assert _chance_to_win(w, other, winner, noise) > 0.5
    assert certified > 0


def test_exact_radius_is_not_below_tight_and_tight_not_below_kl():
    X, y = load_iris(return_X_y=True)
    radius = {}
    for certificate in ("exact", "tight", "kl"):
        clf = LabelFlipSmoothingClassifier(
            Ridge(10.0), certificate=certificate, noise=0.2, classes=[0, 1, 2]
        )
        y_pred, radius[certificate] = clf.fit(X, y).certify(X)
        np.testing.assert_array_equal(y_pred, clf.predict(X))
    assert (radius["exact"] >= radius["tight"]).all()
    assert (radius["tight"] >= radius["kl"]).all()
    assert radius["kl"].max() > 1
    assert radius["tight"].sum() > 1.5 * radius["kl"].sum()


def test_tight_radius_respects_a_label_never_seen():
    X, y = load_iris(return_X_y=True)
    params = {"estimator": KernelRidge(0.1, kernel="rbf"), "noise": 0.02}
    tight = LabelFlipSmoothingClassifier(certificate="tight", **params).fit(X, y).certify(X).radius
    exact = LabelFlipSmoothingClassifier(**params).fit(X, y).certify(X).radius
    assert (tight <= exact).all()


def test_certificate_is_that_of_the_weights_shown():
    X, y = load_iris(return_X_y=True)
    clf = LabelFlipSmoothingClassifier(KNeighborsClassifier(15), classes=[0, 1, 2]).fit(X, y)
    for rows, weights in clf.smoother_.iter_weights(X):
        winner, radius = linear_smoother_radius(weights, y, 3)
        np.testing.assert_array_equal(clf.certify(X[rows]).y_pred, winner)
        np.testing.assert_array_equal(clf.certify(X[rows]).radius, radius)


@pytest.mark.parametrize("certificate", ["tight", "kl"])
def test_smoothed_radius_comes_from_the_chernoff_margin_of_the_weights(certificate):
    X, y = load_iris(return_X_y=True)
    clf = LabelFlipSmoothingClassifier(
        KernelRidge(1.0, kernel="rbf"), certificate=certificate, noise=0.1, classes=[0, 1, 2]
    ).fit(X, y)
    weights = np.concatenate([block for _, block in clf.smoother_.iter_weights(X)])
    _, log_error = chernoff_log_error(weights, y, 0.1, 3)
    expected = flips_from_margin(log_error, 0.1, 3, certificate)
    assert len(np.unique(expected)) > 5
    np.testing.assert_array_equal(clf.certify(X).radius, expected)


def test_smoothed_radius_is_cut_at_the_exact_one(monkeypatch):
    X, y = load_iris(return_X_y=True)
    clf = LabelFlipSmoothingClassifier(KNeighborsClassifier(15)).fit(X, y)
    exact = clf.certify(X)
    monkeypatch.setattr(weighed_labels, "flips_from_margin", lambda log_error, *_, **__: 10**9)
    _assert_same(clf.set_params(certificate="tight").certify(X), exact)


# ---------------------------------------------------------------- a function of the set of rows


FAMILY = [
    pytest.param({"estimator": RidgeClassifier()}, id="ridge"),
    pytest.param({"estimator": KNeighborsClassifier(5)}, id="neighbours"),
    pytest.param({"estimator": ClusterVote(KMeans(3, n_init=2), votes="swap")}, id="clusters"),
    pytest.param({"representation": PCA(2)}, id="pca"),
    pytest.param({"certificate": "tight"}, id="tight"),
    pytest.param(
        {
            "estimator": KMeans(3, n_init=2),
            "representation": LaplacianEigenmap(2, n_neighbors=8),
        },
        id="eigenmap",
    ),
    pytest.param(
        {"certificate": "monte_carlo", "n_draws": 30, "noise": 0.05, "random_state": 1},
        id="monte_carlo",
    ),
    pytest.param(
        {
            "estimator": DecisionTreeClassifier(max_features=1),
            "representation": PCA(3),
            "certificate": "monte_carlo",
            "n_draws": 30,
            "confidence": 0.9,
            "random_state": 1,
        },
        id="trees",
    ),
]


def _answers(clf, T):
    return (clf.predict(T), clf.predict_proba(T), *clf.certify(T))


def _assert_same(left, right):
    for a, b in zip(left, right, strict=True):
        np.testing.assert_array_equal(a, b)


def _iris_with_copies():
    X, y = load_iris(return_X_y=True)
    X[100:104], y[100:104] = X[0], [2, 0, 1, 2]  # copies with different labels
    return X, y


@pytest.mark.parametrize("params", FAMILY)
def test_order_of_training_rows_changes_nothing(params):
    X, y = _iris_with_copies()
    expected = _answers(LabelFlipSmoothingClassifier(**params).fit(X, y), X)
    for seed in range(3):
        order = np.random.default_rng(seed).permutation(len(X))
        clf = LabelFlipSmoothingClassifier(**params).fit(X[order], y[order])
        _assert_same(_answers(clf, X), expected)


@pytest.mark.parametrize("params", FAMILY)
def test_jobs_memory_and_dtype_change_nothing(params, tmp_path):
    X, y = _iris_with_copies()
    X = X.astype(np.float32)
    expected = _answers(LabelFlipSmoothingClassifier(**params).fit(X, y), X)
    for extra in ({"n_jobs": 2}, {"memory": str(tmp_path)}, {"memory": str(tmp_path)}):
        clf = LabelFlipSmoothingClassifier(**params, **extra).fit(X.astype(float), y)
        _assert_same(_answers(clf, X.astype(float)), expected)
    _assert_same(_answers(pickle.loads(pickle.dumps(clf)), X), expected)


@pytest.mark.parametrize("params", FAMILY)
def test_a_row_gets_the_same_answer_in_any_company(params):
    X, y = _iris_with_copies()
    clf = LabelFlipSmoothingClassifier(**params).fit(X, y)
    T = np.vstack([X, X + 0.3, X - 0.2])
    y_pred, radius = clf.certify(T)
    for i in (0, 17, 255, 256, 400):
        alone = clf.certify(T[[i]])
        assert (alone.y_pred[0], alone.radius[0]) == (y_pred[i], radius[i])
    order = np.random.default_rng(0).permutation(len(T))
    _assert_same(clf.certify(T[order]), (y_pred[order], radius[order]))


@pytest.mark.parametrize("params", FAMILY)
def test_probabilities_are_shares_with_the_predicted_label_first(params):
    X, y = _iris_with_copies()
    clf = LabelFlipSmoothingClassifier(**params).fit(X, y)
    T = np.random.default_rng(0).normal(4, 3, size=(200, 4))
    proba = clf.predict_proba(T)
    assert proba.shape == (200, 3)
    assert (proba >= 0).all()
    np.testing.assert_allclose(proba.sum(axis=1), 1)
    np.testing.assert_array_equal(clf.classes_[proba.argmax(axis=1)], clf.predict(T))


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10_000), n_classes=st.integers(1, 4), k=st.integers(1, 6))
def test_probabilities_agree_with_predictions_at_ties(seed, n_classes, k):
    rng = np.random.default_rng(seed)
    X = rng.integers(0, 3, size=(12, 2)).astype(float)
    y = rng.integers(0, n_classes, 12)
    clf = LabelFlipSmoothingClassifier(KNeighborsClassifier(k), classes=range(n_classes))
    T = rng.integers(0, 3, size=(6, 2)).astype(float)
    proba, y_pred = clf.fit(X, y).predict_proba(T), clf.predict(T)
    np.testing.assert_array_equal(proba.argmax(axis=1), y_pred)
    radius = clf.certify(T).radius
    assert ((radius >= 0) & (radius <= 12)).all()


# ---------------------------------------------------------------- what it takes


@pytest.mark.parametrize(
    "labels",
    [["a", "b", "c"], [10, -3, 7], [True, False, True], np.array(["x", "yy", "z"], object)],
)
@pytest.mark.parametrize("certificate", ["exact", "tight", "monte_carlo"])
def test_labels_of_any_type(labels, certificate):
    X, codes = load_iris(return_X_y=True)
    y = np.asarray(labels)[codes]
    clf = LabelFlipSmoothingClassifier(
        classes=labels, certificate=certificate, n_draws=12, noise=0.05
    ).fit(X, y)
    y_pred, radius = clf.certify(X)
    assert isinstance(clf.certify(X), Certificate)
    assert y_pred.dtype == y.dtype
    assert radius.dtype == np.int64
    assert np.mean(y_pred == y) > 0.6
    np.testing.assert_array_equal(clf.classes_, np.unique(y))


def test_containers_agree():
    X, y = load_iris(return_X_y=True)
    expected = _answers(LabelFlipSmoothingClassifier(classes=[0, 1, 2]).fit(X, y), X)
    clf = LabelFlipSmoothingClassifier(classes=[0, 1, 2])
    for convert in (sp.csr_array, pd.DataFrame, np.asfortranarray, list):
        for a, b in zip(_answers(clf.fit(convert(X), y), convert(X)), expected, strict=True):
            np.testing.assert_allclose(a, b, atol=1e-9)


def test_images_reach_the_representation_as_images():
    X, y = load_digits(return_X_y=True)
    images = X.reshape(-1, 8, 8)
    flat = FunctionTransformer(lambda A: A.reshape(len(A), -1))
    clf = LabelFlipSmoothingClassifier(
        KNeighborsClassifier(5), representation=flat, classes=range(10)
    ).fit(images[:500], y[:500])
    expected = LabelFlipSmoothingClassifier(KNeighborsClassifier(5), classes=range(10))
    _assert_same(clf.certify(images[500:]), expected.fit(X[:500], y[:500]).certify(X[500:]))


def test_eigenmap_and_clusters_certify_digits_far_beyond_neighbours():
    X, y = load_digits(return_X_y=True)
    radius = {}
    for name, params in {
        "clusters": {
            "estimator": ClusterVote(KMeans(10, n_init=5), votes="swap"),
            "representation": LaplacianEigenmap(9, n_neighbors=8),
        },
        "neighbours": {"estimator": KNeighborsClassifier(25)},
    }.items():
        clf = LabelFlipSmoothingClassifier(classes=range(10), **params).fit(X[:1200], y[:1200])
        y_pred, r = clf.certify(X[1200:])
        radius[name] = np.median(np.where(y_pred == y[1200:], r, -1))
    assert radius["clusters"] > 60 > 4 * radius["neighbours"]


def test_works_in_pipelines_and_searches():
    X, y = load_iris(return_X_y=True)
    pipeline = make_pipeline(StandardScaler(), LabelFlipSmoothingClassifier())
    assert cross_val_score(pipeline, X, y).mean() > 0.7
    search = GridSearchCV(
        LabelFlipSmoothingClassifier(KNeighborsClassifier()),
        {"estimator__n_neighbors": [3, 150], "certificate": ["exact", "tight"]},
        cv=2,
        error_score=0,
    )
    with pytest.warns(FitFailedWarning, match="n_neighbors=150"):
        search.fit(X, y)
    assert search.best_params_["estimator__n_neighbors"] == 3


def test_another_certificate_can_be_asked_without_a_new_fit():
    X, y = load_iris(return_X_y=True)
    clf = LabelFlipSmoothingClassifier(Ridge(10.0), noise=0.2).fit(X, y)
    expected = LabelFlipSmoothingClassifier(Ridge(10.0), noise=0.2, certificate="kl").fit(X, y)
    _assert_same(clf.set_params(certificate="kl").certify(X), expected.certify(X))


# ---------------------------------------------------------------- what it refuses


@pytest.mark.parametrize("threat", ["insertion_deletion", "replacement", "labels"])
def test_other_threats_are_refused(threat):
    X, y = load_iris(return_X_y=True)
    clf = LabelFlipSmoothingClassifier().fit(X, y)
    with pytest.raises(ValueError, match=rf"threat='{threat}'.*DeepPartitionAggregation"):
        clf.certify(X, threat=threat)
    _assert_same(clf.certify(X, threat="label_flip"), clf.certify(X))


def test_foreign_labels_are_refused():
    X, y = load_iris(return_X_y=True)
    with pytest.raises(ValueError, match=r"not among classes=\[0, 1\]: \[2\]"):
        LabelFlipSmoothingClassifier(classes=[0, 1]).fit(X, y)


def test_unseeded_fits_are_refused():
    X, y = load_iris(return_X_y=True)
    with pytest.raises(ValueError, match="random_state=None is refused"):
        LabelFlipSmoothingClassifier(random_state=None).fit(X, y)


def test_seeds_must_have_room_for_all_draws():
    X, y = load_iris(return_X_y=True)
    clf = LabelFlipSmoothingClassifier(certificate="monte_carlo", random_state=2**32 - 5)
    with pytest.raises(ValueError, match="no room for n_draws=1000"):
        clf.fit(X, y)


@pytest.mark.parametrize("certificate", ["tight", "kl", "monte_carlo"])
def test_noise_that_drowns_the_labels_is_refused(certificate):
    X, y = load_iris(return_X_y=True)
    with pytest.raises(ValueError, match=r"noise.*0\.6666"):
        LabelFlipSmoothingClassifier(certificate=certificate, noise=0.67).fit(X, y)
    with pytest.raises(ValueError, match="1 class only"):
        LabelFlipSmoothingClassifier(certificate=certificate).fit(X[:50], y[:50])


def test_exact_certificate_ignores_noise_and_takes_one_class():
    X, y = load_iris(return_X_y=True)
    clf = LabelFlipSmoothingClassifier(KNeighborsClassifier(9), noise=0.9)
    # Nothing else is known, but a label never seen wins ties: 5 of 9 flips.
    assert (clf.fit(X[:50], y[:50]).certify(X).radius == 4).all()
    clf.set_params(classes=[0])
    assert (clf.fit(X[:50], y[:50]).certify(X).radius == 50).all()


def test_label_dependent_weights_are_refused_at_fit():
    X, y = load_iris(return_X_y=True)
    with pytest.raises(ValueError, match="no label-free linear smoother"):
        LabelFlipSmoothingClassifier(LogisticRegression()).fit(X, y)


def test_unfitted_classifier_says_so():
    X, _ = load_iris(return_X_y=True)
    for method in ("predict", "predict_proba", "certify"):
        with pytest.raises(NotFittedError):
            getattr(LabelFlipSmoothingClassifier(), method)(X)


def test_refitting_with_another_certificate_forgets_the_first():
    X, y = load_iris(return_X_y=True)
    clf = LabelFlipSmoothingClassifier(certificate="monte_carlo", n_draws=5, noise=0.05).fit(X, y)
    assert not hasattr(clf, "smoother_")
    clf.set_params(certificate="exact").fit(X, y)
    assert not hasattr(clf, "estimators_")
    expected = LabelFlipSmoothingClassifier().fit(X, y)
    _assert_same(_answers(clf, X), _answers(expected, X))


def test_dogfish_recipe_runs_on_a_synthetic_stand_in(tmp_path):
    # Two clouds in 2048 dimensions in the files' own format: not the real photographs.
    rng = np.random.default_rng(0)
    for part, n in (("train", 80), ("test", 30)):
        y = np.arange(n) % 2
        X = rng.normal(size=(n, 2048)) + 0.3 * y[:, None]
        name = f"dogfish_900_300_inception_features_{part}.npz"
        np.savez(tmp_path / name, inception_features_val=X.astype(np.float32), labels=y)
    X_train, y_train = fetch_dogfish(tmp_path, return_X_y=True)
    X_test, y_test = fetch_dogfish(tmp_path, subset="test", return_X_y=True)
    clf = LabelFlipSmoothingClassifier(
        RidgeClassifier(alpha=10 * len(X_train), fit_intercept=False),
        representation=PCA(10),
        classes=[0, 1],
    )
    y_pred, radius = clf.fit(X_train, y_train).certify(X_test)
    assert (y_pred == y_test).mean() == 1
    assert radius.min() >= 5
    n_flips = smallest_flip_attack(
        np.concatenate([w for _, w in clf.smoother_.iter_weights(X_test)]), y_train, 2
    )
    np.testing.assert_array_equal(n_flips, radius + 1)
