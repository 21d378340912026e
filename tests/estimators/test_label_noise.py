"""Targets that move within bounds: what linear smoothers predict, and attacks on what they say."""

import numpy as np
import pytest
from sklearn.datasets import load_diabetes
from sklearn.decomposition import PCA
from sklearn.kernel_ridge import KernelRidge
from sklearn.linear_model import Lasso, LinearRegression, Ridge, RidgeCV
from sklearn.neighbors import KNeighborsRegressor, RadiusNeighborsRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from certified_ensembles import LabelNoiseRegressor

X, Y = load_diabetes(return_X_y=True)
X, Y, TESTS = X[:120], Y[:120], X[120:150]
BOUNDS = (20, 350)
SMOOTHERS = {
    "ridge": Ridge(0.1),
    "ridge without intercept": Ridge(fit_intercept=False),
    "least squares": LinearRegression(),
    "kernel ridge": KernelRidge(kernel="rbf", gamma=5.0, alpha=0.5),
    "neighbours": KNeighborsRegressor(7),
    "weighed neighbours": KNeighborsRegressor(7, weights="distance"),
    "scaled ridge": make_pipeline(StandardScaler(), Ridge(5.0)),
}
RNG = np.random.default_rng(0)


def fit(estimator, y=Y, **how):
    return LabelNoiseRegressor(estimator, bounds=BOUNDS).fit(X, y, **how)


@pytest.mark.parametrize("estimator", SMOOTHERS.values(), ids=SMOOTHERS)
def test_predictions_are_those_of_scikit_learn(estimator):
    expected = estimator.fit(X, Y).predict(TESTS)
    np.testing.assert_allclose(fit(estimator).predict(TESTS), expected, rtol=1e-7)


@pytest.mark.parametrize("groups", [None, np.arange(120) % 30], ids=["targets", "annotators"])
@pytest.mark.parametrize("estimator", SMOOTHERS.values(), ids=SMOOTHERS)
def test_no_attack_takes_a_prediction_out_and_the_best_one_reaches_the_end(estimator, groups):
    reg = fit(estimator, groups=groups)
    owner = np.arange(120) if groups is None else groups
    y_pred, lower, upper = reg.certify_interval(TESTS, 3)
    radius = reg.certify(TESTS, 10.0).radius
    ((_, weights),) = reg.smoother_.iter_weights(TESTS)
    if reg.smoother_.casts_votes:
        weights = weights / weights.sum(axis=1, keepdims=True)
    for i in range(0, 30, 7):
        worst = np.where(weights[i] > 0, BOUNDS[1], BOUNDS[0])
        gains = np.bincount(owner, np.maximum(weights[i] * (worst - Y), 0))
        attacked = np.where(np.isin(owner, np.argsort(gains)[-3:]), worst, Y)
        reached = fit(estimator, attacked).predict(TESTS)
        assert ((lower <= reached) & (reached <= upper)).all()
        np.testing.assert_allclose(reached[i], upper[i], rtol=1e-9)
        assert (np.abs(reached - y_pred)[radius >= 3] <= 10).all()
    within = reg.certify(TESTS, lower=lower - 1e-6, upper=upper + 1e-6).radius
    assert (within >= 3).all()
    assert (reg.certify(TESTS, lower=lower + 1e-6).radius < 3).all()


@pytest.mark.parametrize("estimator", [Ridge(), KNeighborsRegressor(5)], ids=str)
def test_order_copies_and_company_change_no_bit(estimator):
    rows, y = np.vstack([X, X[:30]]), np.append(Y, Y[30:60])
    order, groups = RNG.permutation(150), np.arange(150) % 20
    ask = lambda reg, T: reg.certify_interval(T, 2)  # noqa: E731
    one = LabelNoiseRegressor(estimator, bounds=BOUNDS).fit(rows, y, groups)
    other = LabelNoiseRegressor(estimator, bounds=BOUNDS, n_jobs=2)
    other.fit(rows[order], y[order], groups[order])
    for a, b in zip(ask(one, TESTS), ask(other, TESTS), strict=True):
        np.testing.assert_array_equal(a, b)
    np.testing.assert_array_equal(ask(one, TESTS[3:4])[1], ask(one, TESTS)[1][3:4])


def test_representations_are_learned_without_targets():
    reg = LabelNoiseRegressor(Ridge(0.1), bounds=BOUNDS, representation=PCA(4)).fit(X, Y)
    expected = make_pipeline(PCA(4), Ridge(0.1)).fit(X, Y).predict(TESTS)
    np.testing.assert_allclose(reg.predict(TESTS), expected)


def test_where_nobody_is_near_nothing_is_promised():
    reg = fit(RadiusNeighborsRegressor(0.05))
    far = TESTS + 10
    assert np.isnan(reg.predict(far)).all()
    assert (reg.certify(far, 1e9).radius == -1).all()
    assert np.isposinf(reg.certify_interval(far, 0).upper).all()


def test_bounds_of_rows_may_differ_also_in_many_blocks():
    reg = fit(Ridge(0.1))
    rows = np.tile(TESTS, (20, 1))
    low = np.linspace(50, 200, len(rows))
    radius = reg.certify(rows, lower=low).radius
    for i in range(0, 600, 97):
        assert reg.certify(rows[[i]], lower=low[i]).radius == radius[i]


@pytest.mark.parametrize(
    ("how", "y", "words"),
    [
        ({"bounds": (100, 120)}, Y, "not within"),
        ({"bounds": (5, 1)}, Y, "two finite numbers"),
        ({"estimator": RidgeCV()}, Y, "cross-validation|not known"),
        ({"estimator": Lasso()}, Y, "not known"),
        ({"random_state": None}, Y, "random_state=None"),
        ({}, np.append(Y[1:], np.nan), "at index 119"),
    ],
)
def test_what_cannot_be_certified_is_refused(how, y, words):
    with pytest.raises(ValueError, match=words):
        LabelNoiseRegressor(**({"bounds": BOUNDS} | how)).fit(X, y)


def test_odd_questions_are_refused():
    with pytest.raises(ValueError, match="bounds=None"):
        LabelNoiseRegressor().fit(X, Y).certify_interval(TESTS, 1)
    with pytest.raises(ValueError, match="threat='replacement' is not covered"):
        fit(Ridge()).certify(TESTS, 1, threat="replacement")
    with pytest.raises(TypeError, match=r"budget=1\.5"):
        fit(Ridge()).certify_interval(TESTS, 1.5)
