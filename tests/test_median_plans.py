"""Plans of regressors foresee what ensembles of that size then do."""

import numpy as np
import pytest
from sklearn.linear_model import Ridge
from sklearn.tree import DecisionTreeRegressor

from certified_ensembles import DeepPartitionRegressor
from certified_ensembles.planning import MedianPlan, plan_partitions

RNG = np.random.default_rng(0)
X = RNG.normal(size=(2000, 6))
Y = X @ RNG.normal(size=6) * 2 + np.sin(3 * X[:, 0]) * 3 + RNG.normal(size=2000)
X, Y, TESTS, TRUTH = X[:1500], Y[:1500], X[1500:], Y[1500:]


def plan(estimator, sizes, **how):
    return plan_partitions(estimator, X, Y, sizes, X_val=TESTS, y_val=TRUTH, **how)


@pytest.mark.parametrize("estimator", [Ridge(), DecisionTreeRegressor(max_depth=4)], ids=str)
@pytest.mark.parametrize("cost", [1, 2])
def test_error_width_and_certified_share_are_foreseen(estimator, cost):
    how = {"tolerance": 4.0, "n_sampled": 40, "cost": cost}
    foreseen = plan(estimator, [20, 60], budgets=[0, 2, 5, 11], **how)
    assert isinstance(foreseen, MedianPlan)
    assert foreseen.n_sampled.tolist() == [20, 40]
    for i, k in enumerate((20, 60)):
        reg = DeepPartitionRegressor(estimator, k).fit(X, Y)
        y_pred, radius = reg.certify(TESTS, lower=TRUTH - 4, upper=TRUTH + 4)
        assert foreseen.error[i] == pytest.approx(np.abs(y_pred - TRUTH).mean(), rel=0.1)
        members = np.abs(reg.answers(TESTS) - TRUTH[:, None]).mean()
        assert foreseen.member_error[i] == pytest.approx(members, rel=0.1)
        for j, budget in enumerate((0, 2, 5, 11)):
            share = (radius // cost >= budget).mean()
            assert foreseen.certified_within[i, j] == pytest.approx(share, abs=0.07)
            _, lower, upper = reg.certify_interval(TESTS, budget * cost)
            width = np.median(upper - lower)
            assert np.isinf(width) == np.isinf(foreseen.interval_width[i, j])
            if budget == 2 and np.isfinite(width):
                assert foreseen.interval_width[i, j] == pytest.approx(width, rel=0.3)
    assert (foreseen.fit_seconds > 0).all()
    assert (foreseen.ask_seconds > 0).all()


def test_the_best_number_is_that_with_most_rows_within_the_tolerance():
    foreseen = plan(DecisionTreeRegressor(max_depth=4), [10, 300], budgets=[0, 40])
    assert foreseen.best(0) == 10
    assert foreseen.best(40) == 300
    with pytest.raises(ValueError, match="budget=7"):
        foreseen.best(7)


def test_held_out_rows_and_odd_targets():
    foreseen = plan_partitions(Ridge(), X, Y, [10], budgets=[0, 3], random_state=1)
    assert foreseen.certified_within.shape == (1, 2)
    with pytest.raises(ValueError, match="no finite numbers"):
        plan_partitions(Ridge(), X, np.where(np.arange(1500) == 3, np.inf, Y), [10])
