"""Attacks on regressors: refits on attacked data, hostile targets and types among them."""

import itertools

import numpy as np
import pytest
from joblib import parallel_config
from sklearn.base import clone
from sklearn.ensemble import ExtraTreesRegressor, GradientBoostingRegressor
from sklearn.linear_model import LinearRegression, Ridge, SGDRegressor
from sklearn.neighbors import KNeighborsRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.tree import DecisionTreeRegressor

from certified_ensembles import DeepPartitionRegressor
from certified_ensembles.hashers import ContentHasher

pytestmark = [
    pytest.mark.filterwarnings("ignore:The certificate is weaker:UserWarning"),
    pytest.mark.filterwarnings("ignore:.*were left out:UserWarning"),
    # Hostile targets overflow in the member that gets them.
    pytest.mark.filterwarnings("ignore::RuntimeWarning"),
]

MEMBERS = {
    "ridge": Ridge(),
    "scaled ridge": make_pipeline(StandardScaler(), Ridge()),
    "least squares": LinearRegression(),
    "gradient descent": SGDRegressor(max_iter=20, tol=None),
    "nearest neighbour": KNeighborsRegressor(1),
    "tree": DecisionTreeRegressor(max_features=1),
    "forest": ExtraTreesRegressor(2),
    "boosting": GradientBoostingRegressor(n_estimators=3),
}
HOSTILE = [0.0, -0.0, 1e300, -1e300, 3.4e38, 5e-324, np.inf, np.nan, True, "7", 2**80, 1j, None]
RNG = np.random.default_rng(0)
GRID = np.array(list(itertools.product([0.0, 0.5, 1.0, 1.5, 2.0], repeat=2)))


def table(n=60):
    """Whole numbers, with copies and many ties."""
    X = RNG.integers(0, 3, (n, 2)).astype(float)
    return X, np.round(X @ [2.0, -1.0] + RNG.integers(-1, 2, n))


def fit(estimator, X, y, **how):
    return DeepPartitionRegressor(estimator, 9, on_error="abstain", **how).fit(X, y)


def check(clean, attacked, n_operations):
    """Within the radius nothing leaves the bounds; no more members change than operations."""
    before, after = clean.answers(GRID), attacked.answers(GRID)
    changed = ~((before == after) | (np.isnan(before) & np.isnan(after))).all(axis=0)
    assert changed.sum() <= n_operations
    now = attacked.predict(GRID)
    for tolerance in (0.0, 0.5, 2.0):
        y_pred, radius = clean.certify(GRID, tolerance)
        safe = radius >= n_operations
        assert (np.abs(now - y_pred)[safe] <= tolerance).all()
    y_pred, low, high = clean.certify_interval(GRID, n_operations)
    known = ~np.isnan(now)
    assert ((low <= now) & (now <= high))[known].all()
    return changed.any(), (now != y_pred).any()


@pytest.mark.parametrize("estimator", MEMBERS.values(), ids=MEMBERS)
def test_inserted_rows_with_any_target_move_no_prediction_too_far(estimator):
    X, y = table()
    clean, found = fit(estimator, X, y), []
    for i, target in enumerate(HOSTILE):
        rows = np.vstack([X, X[[i]], RNG.integers(0, 3, (1, 2))])
        targets = [*y.tolist(), target, HOSTILE[(i * 5 + 2) % len(HOSTILE)]]
        order = RNG.permutation(len(rows))
        attacked = fit(estimator, rows[order], [targets[j] for j in order])
        found.append(check(clean, attacked, 2))
    assert np.any(found, axis=0).all()  # the attacks do bite where nothing is promised


@pytest.mark.parametrize("estimator", MEMBERS.values(), ids=MEMBERS)
def test_deleted_and_changed_rows_move_no_prediction_too_far(estimator):
    X, y = table()
    clean = fit(estimator, X, y)
    for i in range(0, 60, 9):
        check(clean, fit(estimator, np.delete(X, i, axis=0), np.delete(y, i)), 1)
        targets = y.astype(object)
        targets[i] = HOSTILE[i % len(HOSTILE)]
        check(clean, fit(estimator, X, targets), 1)


def test_a_changed_target_costs_two_members_where_it_is_hashed():
    X, y = table()
    how = {"hasher": ContentHasher(include_labels=True)}
    clean, n_two = fit(Ridge(), X, y, **how), 0
    for i in range(len(X)):
        targets = y.copy()
        targets[i] += 0.25
        attacked = fit(Ridge(), X, targets, **how)
        n_two += (clean.answers(GRID) != attacked.answers(GRID)).any(axis=0).sum() == 2
        y_pred, radius = clean.certify(GRID, 0.5, threat="label_flip")
        assert (np.abs(attacked.predict(GRID) - y_pred)[radius >= 1] <= 0.5).all()
    assert n_two > 20


def test_hostile_sources_move_no_prediction_too_far():
    X, y = table()
    groups = np.arange(60) % 20
    how = {"groups": groups}
    clean = DeepPartitionRegressor(Ridge(), 9).fit(X, y, **how)
    y_pred, radius = clean.certify(GRID, 1.0)
    for source in range(20):
        targets = np.where(groups == source, 1e6, y)
        rows = np.vstack([X, np.repeat(GRID, 3, axis=0)])
        targets, owners = np.append(targets, np.full(75, -1e6)), np.append(groups, [source] * 75)
        attacked = DeepPartitionRegressor(Ridge(), 9).fit(rows, targets, groups=owners)
        assert (np.abs(attacked.predict(GRID) - y_pred)[radius >= 1] <= 1.0).all()
    assert (radius >= 1).any()


@pytest.mark.parametrize("estimator", [Ridge(), ExtraTreesRegressor(2)], ids=["ridge", "forest"])
@pytest.mark.parametrize("threat", ["duration", "earliness"])
def test_hostile_days_move_no_prediction_too_far(threat, estimator):
    X, y = table(80)
    days, n_seeds = np.arange(80) // 8, 1 + isinstance(estimator, Ridge)
    clean = DeepPartitionRegressor(estimator, n_seeds=n_seeds).fit(X, y, periods=days)
    y_pred, low, high = clean.certify_interval(GRID, 2, threat=threat)
    radius = clean.certify(GRID, 0.6, threat=threat).radius
    assert (radius >= 2).any()
    for first in range(-2, 11) if threat == "duration" else range(8, 11):
        own = (days >= first) & (days < first + 2)
        targets = np.where(own, RNG.choice([-1e6, 1e6]), y)
        rows = np.vstack([X, GRID, GRID])
        owners = np.concatenate([days, np.full(25, first), np.full(25, first + 1)])
        targets = np.append(targets, np.full(50, 1e6))
        attacked = clone(clean).fit(rows, targets, periods=owners)
        now = attacked.predict(GRID)
        assert ((low <= now) & (now <= high)).all()
        assert (np.abs(now - y_pred)[radius >= 2] <= 0.6).all()


def test_backends_and_threads_give_the_same_bits():
    X, y = table()
    for estimator in (Ridge(), MEMBERS["forest"], LinearRegression()):
        expected = fit(estimator, X, y).answers(GRID)
        with parallel_config("threading", n_jobs=2):
            np.testing.assert_array_equal(fit(estimator, X, y).answers(GRID), expected)


@pytest.mark.parametrize("estimator", [Ridge(), LinearRegression(), Ridge(1e-12)], ids=str)
def test_members_have_the_same_bits_alone_and_in_any_batch(estimator):
    X, y = RNG.normal(size=(200, 7)), RNG.normal(size=200)
    X[3], y[9] = 1e200, 1e250
    for _ in range(3):
        whole = fit(estimator, X, y)
        rest = np.flatnonzero(whole.partition_ != whole.partition_[0])
        part = fit(estimator, X[rest], y[rest])
        others = np.arange(9) != whole.partition_[0]
        rows = RNG.normal(size=(300, 7))
        np.testing.assert_array_equal(
            whole.answers(rows)[:, others], part.answers(rows)[:, others]
        )
        np.testing.assert_array_equal(whole.answers(rows[:1]), whole.answers(rows)[:1])
