"""Regression by the median of members: what it answers, and what it makes of what it is given."""

import decimal
import fractions
import warnings
from functools import partial

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from sklearn.base import BaseEstimator
from sklearn.compose import TransformedTargetRegressor
from sklearn.datasets import load_diabetes
from sklearn.ensemble import HistGradientBoostingRegressor, RandomForestRegressor
from sklearn.exceptions import DataConversionWarning
from sklearn.linear_model import Lasso, LinearRegression, Ridge, RidgeClassifier
from sklearn.neighbors import KNeighborsRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import LinearSVR
from sklearn.tree import DecisionTreeRegressor

from certified_ensembles import (
    CertifiedInterval,
    DeepPartitionAggregation,
    DeepPartitionRegressor,
    certify,
)
from certified_ensembles.abstention import CertifiedAbstention
from certified_ensembles.certificates import median_interval, median_radius
from certified_ensembles.hashers import ContentHasher

X, Y = load_diabetes(return_X_y=True)
X, Y, TESTS, Y_TEST = X[:300], Y[:300], X[300:340], Y[300:340]
TREE = DecisionTreeRegressor(max_depth=3)


@pytest.fixture(scope="module")
def fitted():
    return DeepPartitionRegressor(n_partitions=15).fit(X, Y)


# ---------------------------------------------------------------- members and medians


@pytest.mark.parametrize(
    "estimator",
    [
        Ridge(),
        Ridge(alpha=3.0, fit_intercept=False),
        LinearRegression(),
        Lasso(alpha=0.1),
        LinearSVR(random_state=0),
        make_pipeline(StandardScaler(), Ridge()),
        TREE,
        RandomForestRegressor(3),
        KNeighborsRegressor(2),
        HistGradientBoostingRegressor(max_iter=3, min_samples_leaf=3),
        TransformedTargetRegressor(Ridge(), func=np.log, inverse_func=np.exp),
    ],
    ids=lambda estimator: type(estimator).__name__,
)
def test_members_are_those_of_a_loop_of_clones(estimator):
    reg = DeepPartitionRegressor(estimator, 5).fit(X, Y)
    answers = reg.answers(TESTS)
    for i, member in enumerate(reg.estimators_):
        assert type(member) is type(estimator)
        own = reg.partition_ == i
        if "random_state" in estimator.get_params():
            estimator.set_params(random_state=i)
        # Rows in canonical order: trees break ties by it.
        order = np.lexsort(X[own].T[::-1])
        reference = estimator.fit(X[own][order], Y[own][order]).predict(TESTS)
        np.testing.assert_allclose(answers[:, i], reference, rtol=1e-8)


def test_prediction_radius_and_interval_are_those_of_the_answers(fitted):
    answers = fitted.answers(TESTS)
    assert answers.shape == (40, 15)
    y_pred = fitted.predict(TESTS)
    np.testing.assert_array_equal(y_pred, np.median(answers, axis=1))
    for low, high in ((Y_TEST - 60, Y_TEST + 60), (100.0, np.inf), (-np.inf, 180.0)):
        certificate = fitted.certify(TESTS, lower=low, upper=high)
        np.testing.assert_array_equal(certificate.y_pred, y_pred)
        np.testing.assert_array_equal(certificate.radius, median_radius(answers, low, high))
    interval = fitted.certify_interval(TESTS, 3)
    assert isinstance(interval, CertifiedInterval)
    for one, other in zip(interval[1:], median_interval(answers, 3), strict=True):
        np.testing.assert_array_equal(one, other)
    moves = np.maximum(interval.upper - y_pred, y_pred - interval.lower)
    radius = fitted.certify(TESTS, moves * (1 + 1e-12)).radius
    assert (radius >= 3).all()
    assert (fitted.certify(TESTS, moves * (1 - 1e-12)).radius < 3).all()
    assert np.isposinf(fitted.certify_interval(TESTS, 8).upper).all()


def test_nothing_but_the_prediction_itself_is_certified_without_bounds(fitted):
    assert (fitted.certify(TESTS).radius == fitted.certify(TESTS, tolerance=0).radius).all()
    constant = DeepPartitionRegressor(n_partitions=9).fit(X, np.full(len(X), 4.0))
    y_pred, radius = constant.certify(TESTS)
    assert set(y_pred) == {4.0}
    assert set(radius) == {4}


def test_a_tolerance_is_kept_to_the_last_bit():
    # 0.1 + 0.2 rounds up: an answer at the sum is farther away than the tolerance.
    reg = DeepPartitionRegressor(n_partitions=3)
    reg.fit(X, np.full(len(X), 0.1))
    parts = iter([np.array([[0.1, 0.1, 0.1 + 0.2]])])
    reg._members.answers = lambda X, **how: parts
    assert reg.certify(TESTS[:1], tolerance=0.2).radius.tolist() == [0]


@pytest.mark.parametrize("threat", ["insertion_deletion", "label_flip", "replacement"])
@pytest.mark.parametrize("by", ["features", "features and label", "source", "period"])
def test_operations_cost_what_they_cost_for_classes(threat, by):
    how, hasher = {}, ContentHasher(include_labels=by == "features and label")
    if by == "source":
        how["groups"] = np.arange(len(X)) % 60
    if by == "period":
        how["periods"] = np.arange(len(X)) % 15
    reg = DeepPartitionRegressor(n_partitions=15, hasher=hasher).fit(X, Y, **how)
    assert reg.partitioned_by_ == by
    members = reg.certify(TESTS, 30).radius
    costs = {"features": (1, 1, 2), "features and label": (1, 2, 2)}.get(by, (1, 1, 1))
    cost = costs[["insertion_deletion", "label_flip", "replacement"].index(threat)]
    np.testing.assert_array_equal(reg.certify(TESTS, 30, threat=threat).radius, members // cost)
    one, other = (
        reg.certify_interval(TESTS, 2, threat=threat),
        reg.certify_interval(TESTS, 2 * cost, threat="insertion_deletion"),
    )
    np.testing.assert_array_equal(one.upper, other.upper)


def test_seeds_of_a_partition_answer_with_their_mean():
    forest = RandomForestRegressor(2)
    one = DeepPartitionRegressor(forest, 6, n_seeds=3).fit(X, Y)
    each = np.column_stack([member.predict(TESTS) for member in one.estimators_])
    means = (each[:, ::3] + each[:, 1::3] + each[:, 2::3]) / 3
    np.testing.assert_array_equal(one.answers(TESTS), means)
    assert one.answers(TESTS).shape[1] == 6


def test_empty_partitions_abstain_and_nobody_at_all_answers_nan():
    with pytest.warns(match="members without rows abstain"):
        reg = DeepPartitionRegressor(n_partitions=200).fit(X[:20], Y[:20])
    answers = reg.answers(TESTS)
    assert np.isnan(answers).any(axis=0).sum() == sum(m is None for m in reg.estimators_) > 150
    assert np.isfinite(reg.predict(TESTS)).all()
    reg._members.estimators = [None] * 200
    assert np.isnan(reg.predict(TESTS)).all()
    assert (reg.certify(TESTS, 1e9).radius == -1).all()
    assert np.isposinf(reg.certify_interval(TESTS, 0).upper).all()


@pytest.mark.parametrize("n_jobs", [2, -1])
def test_jobs_blocks_and_order_change_nothing(fitted, n_jobs):
    order = np.random.default_rng(0).permutation(len(X))
    again = DeepPartitionRegressor(n_partitions=15, n_jobs=n_jobs).fit(X[order], Y[order])
    answers = fitted.answers(X)
    np.testing.assert_array_equal(again.answers(X), answers)
    np.testing.assert_array_equal(again.answers(X[7:8]), answers[7:8])


@pytest.mark.parametrize(
    "estimator", [Ridge(), LinearRegression(), TREE, KNeighborsRegressor(2)], ids=str
)
def test_containers_of_rows_and_targets_change_nothing(estimator):
    rows, targets = np.round(X * 1000), np.round(Y)
    reg = DeepPartitionRegressor(estimator, 6).fit(rows, targets)
    expected = reg.answers(rows[:9])
    frame = pd.DataFrame(rows).set_axis(list("abcdefghij"), axis=1)
    for X_, y_ in (
        (rows.astype(np.int64), targets.astype(np.int32)),
        (np.asfortranarray(rows), list(targets)),
        (frame, pd.Series(targets.astype(int))),
        (frame.astype("Int64"), pd.Series(targets, dtype="Int64")),
        (rows, targets.astype(np.float32)),
        (rows, [decimal.Decimal(int(t)) for t in targets]),
    ):
        again = DeepPartitionRegressor(estimator, 6).fit(X_, y_)
        np.testing.assert_array_equal(again.partition_, reg.partition_)
        np.testing.assert_array_equal(again.answers(rows[:9] if X_ is rows else X_[:9]), expected)


def test_sparse_rows_are_taken():
    rows = sp.csr_matrix(np.where(np.abs(X) > 0.05, X, 0))
    for estimator in (Ridge(), LinearRegression(), TREE):
        reg = DeepPartitionRegressor(estimator, 5).fit(rows, Y)
        answers = reg.answers(rows[:30])
        np.testing.assert_array_equal(reg.answers(rows[4:5]), answers[4:5])


def test_weights_go_with_their_rows():
    weights = np.random.default_rng(0).integers(1, 4, len(X)).astype(float)
    reg = DeepPartitionRegressor(Ridge(), 4).fit(X, Y, sample_weight=weights)
    own = reg.partition_ == 2
    reference = Ridge().fit(X[own], Y[own], sample_weight=weights[own])
    np.testing.assert_allclose(reg.answers(TESTS)[:, 2], reference.predict(TESTS))


def test_periods_are_certified_as_windows_of_time():
    days = np.arange(len(X)) // 20
    reg = DeepPartitionRegressor(n_partitions=1).fit(X, Y, periods=days)
    assert reg.periods_.tolist() == list(range(15))
    longest = reg.certify(TESTS, 20, threat="duration").radius
    newest = reg.certify(TESTS, 20, threat="earliness").radius
    anywhere = reg.certify(TESTS, 20).radius
    assert (anywhere <= longest).all()
    assert (longest <= newest).all()
    assert {2, 3, 4} < set(longest.tolist())
    for budget in (1, 3):
        _, low, high = reg.certify_interval(TESTS, budget, threat="duration")
        within = reg.certify(TESTS, lower=low, upper=high, threat="duration").radius
        assert (within >= budget).all()
        tighter = reg.certify(TESTS, upper=np.nextafter(high, -np.inf), threat="duration").radius
        assert (tighter < budget).all()
    with pytest.raises(ValueError, match="consecutive periods"):
        DeepPartitionRegressor(n_partitions=3).fit(X, Y).certify(TESTS, 1, threat="duration")


class Mean(BaseEstimator):
    """Neither a classifier nor a regressor by its tags: predicts the mean."""

    def fit(self, X, y):
        self.mean_, self.classes_ = np.mean(y), np.unique(y)
        return self

    def predict(self, X):
        return np.full(len(X), self.mean_)


def test_a_cache_recalls_members_and_not_those_of_classes(tmp_path):
    how = {"n_partitions": 4, "memory": str(tmp_path)}
    ones = np.ones(len(X))  # a vote of one class needs no training
    clf = DeepPartitionAggregation(Mean(), **how).fit(X, ones)
    assert not any(isinstance(member, Mean) for member in clf.estimators_)
    for _ in range(2):
        reg = DeepPartitionRegressor(Mean(), **how).fit(X, ones)
        assert all(isinstance(member, Mean) for member in reg.estimators_)
    one, two = (DeepPartitionRegressor(TREE, **how).fit(X, Y) for _ in range(2))
    np.testing.assert_array_equal(one.answers(TESTS), two.answers(TESTS))


def test_generic_certify_looks_through_wrappers(fitted):
    piped = make_pipeline("passthrough", DeepPartitionRegressor(n_partitions=15)).fit(X, Y)
    one, other = certify(piped, TESTS, tolerance=30), fitted.certify(TESTS, 30)
    np.testing.assert_array_equal(one.radius, other.radius)


# ---------------------------------------------------------------- targets at the door


@pytest.mark.parametrize(
    "value",
    [np.nan, None, np.inf, -np.inf, pd.NA, "1.5", b"1", 1j, 10**400, np.datetime64("2020-01-01")],
    ids=repr,
)
def test_an_odd_target_is_refused_by_name_or_left_out_alone(value):
    targets = Y.astype(object)
    targets[7] = value
    with pytest.raises(ValueError, match="at index 7"):
        DeepPartitionRegressor(n_partitions=5).fit(X, targets)
    for y in (targets, list(targets), pd.Series(targets, dtype=object)):
        with pytest.warns(UserWarning, match="1 of 300 rows"):
            reg = DeepPartitionRegressor(n_partitions=5, on_error="abstain").fit(X, y)
        clean = DeepPartitionRegressor(n_partitions=5).fit(
            np.delete(X, 7, axis=0), np.delete(Y, 7)
        )
        assert reg.partition_[7] == -1
        np.testing.assert_array_equal(np.delete(reg.partition_, 7), clean.partition_)
        np.testing.assert_array_equal(reg.answers(TESTS), clean.answers(TESTS))


@pytest.mark.parametrize(
    "value", [True, 3, -0.0, np.float32(0.1), 2**70 + 1, fractions.Fraction(1, 3), 1e300], ids=repr
)
def test_a_target_is_the_double_that_its_cell_means(value):
    hasher = ContentHasher(include_labels=True)
    mixed, plain = Y.astype(object), Y.copy()
    mixed[3], plain[3] = value, float(value)
    how = {"n_partitions": 5, "hasher": hasher, "on_error": "abstain"}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        one = DeepPartitionRegressor(**how).fit(X, mixed)
        other = DeepPartitionRegressor(**how).fit(X, plain)
    np.testing.assert_array_equal(one.partition_, other.partition_)
    np.testing.assert_array_equal(one.answers(TESTS), other.answers(TESTS))
    zero = np.where(np.arange(len(Y)) == 3, 0.0, Y)
    negative = np.where(np.arange(len(Y)) == 3, -0.0, Y)
    same = [DeepPartitionRegressor(**how).fit(X, y).partition_ for y in (zero, negative)]
    np.testing.assert_array_equal(*same)


def test_no_member_can_tell_a_negative_zero():
    signs = TransformedTargetRegressor(
        Ridge(), func=partial(np.copysign, 1.0), inverse_func=np.abs, check_inverse=False
    )
    answers = [
        DeepPartitionRegressor(signs, 3).fit(X, np.where(Y > 150, Y, zero)).answers(TESTS)
        for zero in (0.0, -0.0)
    ]
    np.testing.assert_array_equal(*answers)


def test_rows_and_targets_are_left_out_together_with_what_belongs_to_them():
    rows, targets = X.astype(object), Y.copy()
    rows[4, 2], targets[9] = object(), np.inf
    groups, weights = np.arange(len(X)) % 50, np.linspace(1, 2, len(X))
    with pytest.warns(UserWarning, match="2 of 300 rows"):
        reg = DeepPartitionRegressor(n_partitions=5, on_error="abstain").fit(
            rows, targets, groups=groups, sample_weight=weights
        )
    kept = np.delete(np.arange(len(X)), [4, 9])
    assert np.flatnonzero(reg.partition_ == -1).tolist() == [4, 9]
    clean = DeepPartitionRegressor(n_partitions=5).fit(
        X[kept], Y[kept], groups=groups[kept], sample_weight=weights[kept]
    )
    np.testing.assert_array_equal(reg.answers(TESTS), clean.answers(TESTS))


def test_targets_of_several_columns_are_refused_and_one_column_is_taken():
    with pytest.raises(ValueError, match="Fit one for each column"):
        DeepPartitionRegressor().fit(X, np.column_stack([Y, Y]))
    with pytest.warns(DataConversionWarning):
        reg = DeepPartitionRegressor(n_partitions=5).fit(X, Y[:, None])
    assert reg.predict(TESTS).shape == (40,)


def test_a_member_that_fails_by_its_targets_names_them_or_abstains():
    class Picky(Ridge):
        def fit(self, X, y):
            if y.max() > 1e100:
                raise ValueError("too much")
            return super().fit(X, y)

    targets = Y.copy()
    targets[5] = 1e200
    with pytest.raises(ValueError, match="too much") as caught:
        DeepPartitionRegressor(Picky(), 5).fit(X, targets)
    assert "targets from" in caught.value.__notes__[0]
    with pytest.warns(match="1 of 5 members could not be trained"):
        reg = DeepPartitionRegressor(Picky(), 5, on_error="abstain").fit(X, targets)
    assert list(reg.errors_) == [reg.partition_[5]]
    assert np.isnan(reg.answers(TESTS)[:, reg.partition_[5]]).all()


# ---------------------------------------------------------------- refusals


@pytest.mark.parametrize(
    ("how", "words"),
    [
        ({"tolerance": -1}, "at least 0"),
        ({"tolerance": np.nan}, "tolerance holds NaN"),
        ({"tolerance": 1, "upper": 3}, "together with lower or upper"),
        ({"lower": [1.0, 2.0]}, "lower must be one number"),
        ({"tolerance": 1, "threat": "theft"}, "threat='theft' is unknown"),
    ],
)
def test_odd_questions_are_refused(fitted, how, words):
    with pytest.raises(ValueError, match=words):
        fitted.certify(TESTS, **how)


def test_budgets_are_whole_and_not_negative(fitted):
    with pytest.raises(ValueError, match="budget=-1"):
        fitted.certify_interval(TESTS, -1)
    with pytest.raises(TypeError, match=r"budget=2\.0"):
        fitted.certify_interval(TESTS, 2.0)


def test_an_abstention_is_not_taken_for_a_number():
    with pytest.raises(ValueError, match="Ask its certify_interval"):
        CertifiedAbstention(DeepPartitionRegressor(), 1).fit(X, Y)


def test_classifiers_are_refused_and_so_are_answers_that_are_no_numbers():
    with pytest.raises(ValueError, match="is a classifier"):
        DeepPartitionRegressor(RidgeClassifier()).fit(X, Y)

    class Talks(Ridge):
        def predict(self, X):
            return np.full(len(X), "much")

    with pytest.raises(ValueError, match="median is taken of real numbers"):
        DeepPartitionRegressor(Talks(), 3).fit(X, Y).predict(TESTS)
