"""Weights agree with scikit-learn's predictions and depend on features alone."""

import os
import re
from types import SimpleNamespace

import numpy as np
import pytest
import scipy.sparse as sp
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.cluster import DBSCAN, Birch, KMeans, MiniBatchKMeans
from sklearn.compose import ColumnTransformer
from sklearn.cross_decomposition import PLSRegression
from sklearn.decomposition import PCA, FastICA, MiniBatchDictionaryLearning
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.feature_selection import SelectFromModel, SelectKBest
from sklearn.frozen import FrozenEstimator
from sklearn.kernel_ridge import KernelRidge
from sklearn.linear_model import (
    LinearRegression,
    LogisticRegression,
    Ridge,
    RidgeClassifier,
    RidgeClassifierCV,
    RidgeCV,
)
from sklearn.metrics.pairwise import rbf_kernel
from sklearn.mixture import GaussianMixture
from sklearn.model_selection import GridSearchCV
from sklearn.neighbors import (
    KNeighborsClassifier,
    KNeighborsRegressor,
    NearestCentroid,
    NeighborhoodComponentsAnalysis,
    RadiusNeighborsClassifier,
    RadiusNeighborsRegressor,
)
from sklearn.pipeline import FeatureUnion, make_pipeline
from sklearn.preprocessing import StandardScaler, TargetEncoder

from certified_ensembles import CertificateWarning
from certified_ensembles.smoothers import (
    ClusterVote,
    LinearSmoother,
    NadarayaWatson,
    label_free_weights,
)
from certified_ensembles.smoothers._classifiers import class_scores


def named(estimator):
    """Name an estimator alike in every process: functions without their address."""
    return re.sub(r"<function (\S+) at \w+>", r"\1", str(estimator))


def _data(n=40, d=5, n_classes=3, seed=0, n_test=60):
    rng = np.random.default_rng(seed)
    y = rng.integers(0, n_classes, n)
    return rng.normal(size=(n, d)) + y[:, None], y, rng.normal(size=(n_test, d)) + 1


def _weights(estimator, X, T, **params):
    blocks = label_free_weights(estimator, X, T, **params)
    return np.concatenate([weights for _, weights in blocks])


REGRESSORS = [
    Ridge(0.3),
    Ridge(2.0, fit_intercept=False),
    LinearRegression(),
    LinearRegression(fit_intercept=False),
    KernelRidge(0.1),
    KernelRidge(0.2, kernel="rbf", gamma=0.3),
    KernelRidge(0.2, kernel="poly", degree=2, coef0=0.5),
    KernelRidge(0.2, kernel=lambda a, b, s: np.exp(-s * abs(a - b).sum()), kernel_params={"s": 1}),
    KNeighborsRegressor(7),
    KNeighborsRegressor(7, weights="distance"),
    KNeighborsRegressor(7, weights=lambda d: np.exp(-d)),
    KNeighborsRegressor(4, metric="manhattan"),
    KNeighborsRegressor(4, p=3),
    KNeighborsRegressor(4, metric="mahalanobis", metric_params={"VI": np.diag([1.0, 2, 3, 4, 5])}),
    RadiusNeighborsRegressor(50.0),
    RadiusNeighborsRegressor(50.0, weights="distance"),
]


@pytest.mark.parametrize("shape", [(40, 5), (40, 60)], ids=["tall", "wide"])
@pytest.mark.parametrize("estimator", REGRESSORS, ids=named)
def test_scores_are_those_of_the_regression_on_indicators(estimator, shape):
    X, y, T = _data(*shape)
    if isinstance(estimator, KNeighborsRegressor) and estimator.metric == "mahalanobis":
        X, T = X[:, :5], T[:, :5]
    Y = np.eye(3)[y]
    weights = _weights(estimator, X, T)
    scores = weights @ Y
    if "Neighbors" in type(estimator).__name__:  # votes: their size does not matter
        scores /= weights.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(scores, estimator.fit(X, Y).predict(T), atol=1e-7)


def test_kernel_ridge_without_penalty_is_the_smallest_solution():
    X, y, T = _data()
    expected = LinearRegression(fit_intercept=False).fit(X, np.eye(3)[y]).predict(T)
    scores = _weights(KernelRidge(0.0), X, T) @ np.eye(3)[y]
    np.testing.assert_allclose(scores, expected, atol=1e-7)


@pytest.mark.parametrize("container", [sp.csr_matrix, sp.csr_array])
@pytest.mark.parametrize("shape", [(40, 5), (40, 60)], ids=["tall", "wide"])
@pytest.mark.parametrize(
    "estimator",
    [
        Ridge(0.3),
        Ridge(2.0, fit_intercept=False),
        KernelRidge(0.1),
        KNeighborsRegressor(7),
        KNeighborsRegressor(7, weights="distance"),
        RadiusNeighborsRegressor(8.0),
        NadarayaWatson(),
        LinearRegression(),
        ClusterVote(KMeans(3, n_init=2, random_state=0)),
    ],
    ids=named,
)
def test_sparse_rows_have_the_weights_of_dense_ones(estimator, shape, container):
    X, _, T = _data(*shape)
    X[np.abs(X) < 0.5], T[np.abs(T) < 0.5] = 0, 0
    sparse = _weights(estimator, container(X), container(T))
    np.testing.assert_allclose(sparse, _weights(estimator, X, T), atol=1e-7)


CLASSIFIERS = [
    RidgeClassifier(0.5),
    RidgeClassifier(0.5, fit_intercept=False),
    KNeighborsClassifier(5),
    KNeighborsClassifier(6, weights="distance"),
    RadiusNeighborsClassifier(50.0, weights="distance"),
]


@pytest.mark.parametrize("n_classes", [2, 3, 5])
@pytest.mark.parametrize("estimator", CLASSIFIERS, ids=named)
def test_ballots_are_those_of_the_classifier(estimator, n_classes):
    for seed in range(5):
        X, y, T = _data(n_classes=n_classes, seed=seed, n_test=200)
        scores = _weights(estimator, X, T) @ np.eye(n_classes)[y]
        margin = np.diff(np.sort(scores, axis=1), axis=1)[:, -1]
        clear = margin > 1e-9  # exact ties of neighbours may go either way
        assert clear.mean() > 0.5
        predicted = estimator.fit(X, y).predict(T)
        np.testing.assert_array_equal(scores.argmax(axis=1)[clear], predicted[clear])


SMOOTHERS = [
    *CLASSIFIERS,
    KernelRidge(0.2, kernel="rbf"),
    LinearRegression(),
    NadarayaWatson(gamma=0.2),
    ClusterVote(KMeans(3, n_init=2, random_state=0)),
    ClusterVote(KMeans(3, n_init=2, random_state=0), votes="swap"),
    ClusterVote(),
    GaussianMixture(2, random_state=0),
    Birch(n_clusters=3),
    make_pipeline(StandardScaler(), PCA(3), Ridge(1.0)),
]
SMOOTHERS = [e if not isinstance(e, GaussianMixture) else ClusterVote(e) for e in SMOOTHERS]


@pytest.mark.parametrize("estimator", SMOOTHERS, ids=named)
def test_permuted_training_rows_have_permuted_weights(estimator):
    X, _, T = _data()
    X[7:12] = X[0]  # copies
    order = np.random.default_rng(1).permutation(len(X))
    np.testing.assert_array_equal(
        _weights(estimator, X[order], T), _weights(estimator, X, T)[:, order]
    )


@pytest.mark.parametrize("estimator", SMOOTHERS, ids=named)
def test_copies_of_a_row_have_equal_weights(estimator):
    X, _, T = _data()
    X[7:12] = X[0]
    weights = _weights(estimator, X, T)
    assert (weights[:, 7:12] == weights[:, [0]]).all()
    assert (weights[:, 0] != 0).any()


@pytest.mark.parametrize(
    "estimator",
    [
        Ridge(0.3),
        Ridge(0.0),
        KernelRidge(0.2, kernel="rbf"),
        KNeighborsRegressor(9),
        LinearRegression(),
        NadarayaWatson(),
    ],
    ids=named,
)
@pytest.mark.parametrize("d", [3, 60])
def test_copies_count_as_often_as_they_occur(estimator, d):
    X, y, T = _data(d=d)
    X[7:12], y[7:12] = X[0], y[0]
    T[0] = X[0]
    weights = _weights(estimator, X, T)
    scores = weights @ np.eye(3)[y]
    if isinstance(estimator, NadarayaWatson):
        expected = rbf_kernel(T, X) @ np.eye(3)[y]
    elif isinstance(estimator, Ridge) and estimator.alpha == 0:
        expected = LinearRegression().fit(X, np.eye(3)[y]).predict(T)
    else:
        expected = estimator.fit(X, np.eye(3)[y]).predict(T)
    if isinstance(estimator, KNeighborsRegressor):
        scores /= weights.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(scores, expected, atol=1e-7)


@pytest.mark.parametrize("estimator", SMOOTHERS, ids=named)
def test_weights_of_a_row_do_not_depend_on_its_company(estimator):
    X, _, T = _data(n_test=600)
    together = _weights(estimator, X, T)
    order = np.random.default_rng(0).permutation(len(T))
    np.testing.assert_array_equal(_weights(estimator, X, T[order]), together[order])
    for i in (0, 255, 256, 599):
        np.testing.assert_array_equal(_weights(estimator, X, T[[i]]), together[[i]])


def test_ties_of_neighbours_go_to_the_first_in_canonical_order():
    X = np.array([[1.0, 0.0], [-1.0, 0.0], [0.0, 1.0], [0.0, -1.0]])
    weights = _weights(KNeighborsClassifier(2), X, [[0.0, 0.0]])
    np.testing.assert_array_equal(weights, [[0, 1, 0, 1]])  # (-1, 0) and (0, -1)


def test_copies_at_the_border_of_a_neighbourhood_share_its_last_votes():
    X = np.array([[0.0], [1.0], [1.0], [1.0], [2.0]])
    weights = _weights(KNeighborsClassifier(3), X, [[0.0]])
    np.testing.assert_array_equal(weights, [[1, 2 / 3, 2 / 3, 2 / 3, 0]])


def test_rows_at_distance_zero_take_all_votes_by_distance():
    X = np.array([[0.0], [0.0], [1.0], [2.0]])
    estimator = KNeighborsClassifier(3, weights="distance")
    np.testing.assert_array_equal(_weights(estimator, X, [[0.0]]), [[1, 1, 0, 0]])
    np.testing.assert_allclose(_weights(estimator, X, [[0.5]]), [[1, 1, 1, 0]])


def test_no_neighbour_within_the_radius_means_no_votes():
    X, _, _ = _data()
    weights = _weights(RadiusNeighborsClassifier(1.0), X, np.full((1, 5), 100.0))
    np.testing.assert_array_equal(weights, 0)


def test_nadaraya_watson_votes_with_the_kernel():
    X, y, T = _data()
    np.testing.assert_allclose(_weights(NadarayaWatson(gamma=0.4), X, T), rbf_kernel(T, X, 0.4))
    winner = (rbf_kernel(T, X, 0.4) @ np.eye(3)[y]).argmax(axis=1)
    np.testing.assert_array_equal(NadarayaWatson(gamma=0.4).fit(X, y).predict(T), winner)


# ---------------------------------------------------------------- clusters

CLUSTERERS = [
    KMeans(4, n_init=2, random_state=0),
    MiniBatchKMeans(4, n_init=2, random_state=0),
    GaussianMixture(3, random_state=0),
    Birch(n_clusters=3),
    make_pipeline(StandardScaler(), KMeans(3, n_init=2, random_state=0)),
]


@pytest.mark.parametrize("n_classes", [2, 4])
@pytest.mark.parametrize("clusterer", CLUSTERERS, ids=named)
@pytest.mark.parametrize(("votes", "elsewhere"), [("own", 0), ("swap", -1)])
def test_rows_vote_in_their_cluster_and_may_vote_against_elsewhere(
    clusterer, votes, elsewhere, n_classes
):
    X, y, T = _data(n_classes=n_classes, n_test=300)
    order = np.lexsort(X.T[::-1])
    train = clusterer.fit(X[order]).predict(X)
    same = clusterer.predict(T)[:, None] == train
    expected = np.where(same, 1, elsewhere)
    vote = ClusterVote(clusterer, votes=votes)
    np.testing.assert_array_equal(_weights(vote, X, T), expected)
    winner = (expected @ np.eye(n_classes)[y]).argmax(axis=1)
    np.testing.assert_array_equal(vote.fit(X, y).predict(T), winner)
    np.testing.assert_array_equal(vote.predict_proba(T).argmax(axis=1), winner)


def test_swapped_votes_of_two_clusters_are_those_of_the_paper():
    X, y, T = _data(n_classes=2, n_test=100)
    clusterer = KMeans(2, n_init=2, random_state=0)
    predicted = ClusterVote(clusterer, votes="swap").fit(X, y).predict(T)
    order = np.lexsort(X.T[::-1])
    train = clusterer.fit(X[order]).predict(X)
    for cluster, winner in zip(clusterer.predict(T), predicted, strict=True):
        ballots = np.where(train == cluster, y, 1 - y)  # Appendix B, one classifier a row
        assert winner == np.bincount(ballots, minlength=2).argmax()


def test_a_bare_clusterer_votes_in_its_own_clusters():
    X, _, T = _data()
    clusterer = KMeans(3, n_init=2, random_state=0)
    np.testing.assert_array_equal(
        _weights(clusterer, X, T), _weights(ClusterVote(clusterer), X, T)
    )


def test_shares_of_own_votes_are_their_proportions():
    X, y, T = _data()
    vote = ClusterVote(KMeans(3, n_init=2, random_state=0)).fit(X, y)
    weights = _weights(vote, X, T)
    expected = weights @ np.eye(3)[y] / weights.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(vote.predict_proba(T), expected, atol=1e-12)


def test_shares_put_the_exact_winner_first_where_rounding_does_not():
    weights = np.array([[1e16, 1.0, 1e16], [1e16, -1.0, 1e16], [0.1, 0.2, 0.3]])
    smoother = SimpleNamespace(casts_votes=False, map=lambda function, X: function(weights))
    # Scores 1e16 and 1e16 + 1, which round to a tie; then 1e16 - 1, which does not; then thirds.
    winner, shares = class_scores(smoother, None, np.array([1, 1, 0]), 2)
    assert winner.tolist() == [1, 0, 1]
    np.testing.assert_array_equal(shares.argmax(axis=1), winner)
    np.testing.assert_allclose(shares.sum(axis=1), 1)


# ---------------------------------------------------------------- steps before the smoother


class _CountsRows(TransformerMixin, BaseEstimator):
    """Remember what fit was given."""

    def fit(self, X, y=None):
        self.given_ = (np.asarray(X).copy(), y)
        return self

    def transform(self, X):
        return np.asarray(X)


def test_steps_see_all_rows_in_canonical_order_and_no_labels():
    X, _, _ = _data()
    X[7:12] = X[0]
    smoother = LinearSmoother(make_pipeline(_CountsRows(), Ridge()), representation=_CountsRows())
    smoother.fit(X[::-1])
    assert len(smoother.steps_) == 2
    for step in smoother.steps_:
        rows, labels = step.given_
        assert labels is None
        np.testing.assert_array_equal(rows, X[np.lexsort(X.T[::-1])])


def test_a_pipeline_is_a_representation_and_a_smoother():
    X, y, T = _data()
    pipeline = make_pipeline(StandardScaler(), PCA(2, random_state=0), "passthrough", Ridge(1.0))
    by_parts = _weights(Ridge(1.0), X, T, representation=pipeline[:2])
    np.testing.assert_array_equal(_weights(pipeline, X, T), by_parts)
    scores = pipeline.fit(X, np.eye(3)[y]).predict(T)
    np.testing.assert_allclose(by_parts @ np.eye(3)[y], scores, atol=1e-10)


def test_text_goes_through_an_unsupervised_step():
    texts = ["good film", "bad film", "good good book", "bad book"]
    weights = _weights(make_pipeline(TfidfVectorizer(), Ridge(0.1)), texts, ["good", "bad"])
    scores = weights @ np.array([1, 0, 1, 0])
    assert scores[0] > 0.5 > scores[1]


@pytest.mark.parametrize(
    "step",
    [FastICA(2, random_state=0), MiniBatchDictionaryLearning(6, random_state=0, max_iter=5)],
    ids=named,
)
def test_learned_dictionaries_may_stand_before_a_smoother(step):
    X, _, T = _data()
    assert np.isfinite(_weights(make_pipeline(step, Ridge()), X, T)).all()


def test_seeds_reach_every_nested_step():
    pipeline = make_pipeline(PCA(2), ClusterVote(KMeans(2, n_init=1)))
    smoother = LinearSmoother(pipeline, random_state=5).fit(_data()[0])
    assert smoother.steps_[0].random_state == 5
    assert smoother._rule.clusterer.random_state == 5
    assert pipeline[0].random_state is None


def test_memory_recalls_fitted_steps(tmp_path):
    X, _, T = _data()
    make = lambda: LinearSmoother(Ridge(), representation=_Noisy(), memory=str(tmp_path))  # noqa: E731
    first = make().fit(X).steps_[0]
    assert make().fit(X[::-1]).steps_[0].draw_ == first.draw_
    assert make().fit(X + 1).steps_[0].draw_ != first.draw_
    assert make().fit(X).map(lambda w: (w,), T)[0].shape == (len(T), len(X))


class _Noisy(TransformerMixin, BaseEstimator):
    """Learn something that no two fits have in common."""

    def fit(self, X, y=None):
        self.draw_ = int.from_bytes(os.urandom(6)) / 2**48
        return self

    def transform(self, X):
        return X * (1 + self.draw_)


# ---------------------------------------------------------------- refusals

SUPERVISED_STEPS = [
    SelectKBest(k=2),
    LinearDiscriminantAnalysis(),
    PLSRegression(2),
    TargetEncoder(),
    NeighborhoodComponentsAnalysis(),
    SelectFromModel(LogisticRegression()),
    make_pipeline(StandardScaler(), SelectKBest(k=2)),
    FeatureUnion([("a", PCA(2)), ("b", LinearDiscriminantAnalysis())]),
    ColumnTransformer([("a", SelectKBest(k=1), [0, 1]), ("b", "passthrough", [2])]),
]


@pytest.mark.parametrize("where", ["representation", "pipeline"])
@pytest.mark.parametrize("step", SUPERVISED_STEPS, ids=lambda s: type(s).__name__)
def test_steps_that_need_labels_are_refused(step, where):
    X, _, _ = _data()
    if where == "pipeline":
        smoother = LinearSmoother(make_pipeline(step, Ridge()))
    else:
        smoother = LinearSmoother(Ridge(), representation=step)
    with pytest.raises(ValueError, match=r"learns from labels.*(unsupervised|monte_carlo)"):
        smoother.fit(X)


def test_errors_that_are_not_about_labels_pass_through():
    with pytest.raises(ValueError, match="n_components=9"):
        LinearSmoother(Ridge(), representation=PCA(9, svd_solver="full")).fit(_data()[0])


def test_a_frozen_step_may_have_learned_from_other_labels():
    X, y, T = _data()
    step = FrozenEstimator(LinearDiscriminantAnalysis().fit(X + 1, y))
    with pytest.warns(CertificateWarning, match="labels that an attacker does not touch"):
        assert _weights(Ridge(), X, T, representation=step).shape == (len(T), len(X))


@pytest.mark.parametrize(
    ("estimator", "reason"),
    [
        (RidgeCV(), "cross-validation"),
        (RidgeClassifierCV(), "cross-validation"),
        (GridSearchCV(Ridge(), {"alpha": [1.0]}), "cross-validation"),
        (RidgeClassifier(class_weight="balanced"), "class_weight='balanced'"),
        (RidgeClassifier(class_weight={0: 2.0}), "class_weight"),
        (Ridge(positive=True), "positive=True"),
        (LinearRegression(positive=True), "positive=True"),
        (Ridge(alpha=np.array([1.0, 2.0])), "alpha is an array"),
        (KernelRidge(alpha=np.array([1.0, 2.0])), "alpha is an array"),
        (KernelRidge(kernel="precomputed"), "precomputed"),
        (KNeighborsClassifier(metric="precomputed"), "precomputed"),
        (KNeighborsClassifier(metric="seuclidean"), "estimated from the test rows"),
        (RadiusNeighborsClassifier(outlier_label="most_frequent"), "outlier_label"),
        (ClusterVote(DBSCAN()), "no predict"),
        (DBSCAN(), "no predict"),
        (ClusterVote(LogisticRegression()), "learns from labels"),
        (LogisticRegression(), "not known to have weights"),
        (NearestCentroid(), "not known to have weights"),
        (make_pipeline(PCA(2), LogisticRegression()), "not known to have weights"),
    ],
    ids=named,
)
def test_what_looks_at_labels_is_refused_with_reason_and_remedy(estimator, reason):
    with pytest.raises(ValueError, match=rf"(?s){reason}.*monte_carlo"):
        LinearSmoother(estimator).fit(_data()[0])


class _OwnRidge(Ridge):
    """May predict in its own way."""


def test_subclasses_are_not_taken_for_their_parents():
    with pytest.raises(ValueError, match="_OwnRidge is not known"):
        LinearSmoother(_OwnRidge()).fit(_data()[0])


def test_more_neighbours_than_rows_are_refused():
    with pytest.raises(ValueError, match="n_neighbors=41"):
        LinearSmoother(KNeighborsClassifier(41)).fit(_data()[0])


def test_representation_without_transform_is_refused():
    with pytest.raises(ValueError, match="no transform"):
        LinearSmoother(Ridge(), representation=DBSCAN()).fit(_data()[0])
