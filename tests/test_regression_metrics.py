"""What is certified of numbers: scores, curves, scorers and drawings."""

import pickle

import matplotlib
import matplotlib.pyplot as plt
import numpy as np
import pytest
from sklearn import config_context
from sklearn.datasets import load_diabetes
from sklearn.linear_model import Ridge
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline

from certified_ensembles import DeepPartitionRegressor, LabelNoiseRegressor
from certified_ensembles.display import CertifiedAccuracyDisplay, CertifiedIntervalDisplay
from certified_ensembles.metrics import (
    certified_tolerance_curve,
    certified_tolerance_score,
    interval_width_curve,
    make_certified_tolerance_scorer,
)

matplotlib.use("Agg")
X, Y = load_diabetes(return_X_y=True)
TESTS, TRUTH = X[300:], Y[300:]


@pytest.fixture(scope="module")
def fitted():
    return DeepPartitionRegressor(Ridge(0.1), n_partitions=11).fit(X[:300], Y[:300])


@pytest.fixture(autouse=True)
def _close_figures():
    yield
    plt.close("all")


def test_score_and_curve_count_rows_that_stay_within_bounds(fitted):
    radius = fitted.certify(TESTS, lower=TRUTH - 50, upper=TRUTH + 50).radius
    budgets, shares = certified_tolerance_curve(radius)
    for budget, share in zip(budgets, shares, strict=True):
        assert share == certified_tolerance_score(radius, budget) == (radius >= budget).mean()
    weights = np.arange(1.0, len(radius) + 1)
    expected = weights[radius >= 2].sum() / weights.sum()
    assert certified_tolerance_score(radius, 2, sample_weight=weights) == pytest.approx(expected)


def test_widths_are_those_of_the_intervals(fitted):
    budgets, widths = interval_width_curve(fitted, TESTS, [0, 2, 5, 6])
    assert budgets.tolist() == [0, 2, 5, 6]
    assert widths[0] == 0
    assert np.isposinf(widths[3])
    _, lower, upper = fitted.certify_interval(TESTS, 2)
    narrow, wide = (interval_width_curve(fitted, TESTS, [2], quantile=q)[1][0] for q in (0.0, 1.0))
    assert narrow == (upper - lower).min() <= widths[1] <= wide == (upper - lower).max()


def test_scorer_scores_at_its_budget_also_through_pipelines_and_in_searches(fitted):
    scorer = make_certified_tolerance_scorer(2, 60)
    radius = fitted.certify(TESTS, lower=TRUTH - 60, upper=TRUTH + 60).radius
    assert scorer(fitted, TESTS, TRUTH) == (radius >= 2).mean()
    piped = make_pipeline("passthrough", fitted)
    assert pickle.loads(pickle.dumps(scorer))(piped, TESTS, TRUTH) == (radius >= 2).mean()
    reg = DeepPartitionRegressor(n_partitions=5)
    assert len(cross_val_score(reg, X[:90], Y[:90], scoring=scorer, cv=3)) == 3
    search = GridSearchCV(reg, {"estimator__alpha": [0.1, 100.0]}, scoring=scorer, cv=2)
    search.set_params(estimator__estimator=Ridge()).fit(X[:200], Y[:200])
    assert search.best_params_ == {"estimator__alpha": 0.1}
    assert repr(scorer) == "make_certified_tolerance_scorer(budget=2, tolerance=60.0)"
    with config_context(enable_metadata_routing=True):
        assert scorer.set_score_request(sample_weight=True).get_metadata_routing()


def test_threat_reaches_the_regressor(fitted):
    one, other = (
        make_certified_tolerance_scorer(budget, 60, threat=threat)(fitted, TESTS, TRUTH)
        for budget, threat in ((2, "replacement"), (4, "insertion_deletion"))
    )
    assert one == other


def test_accuracy_display_draws_what_stays_within_a_tolerance(fitted):
    display = CertifiedAccuracyDisplay.from_estimator(fitted, TESTS, TRUTH, tolerance=60)
    radius = fitted.certify(TESTS, lower=TRUTH - 60, upper=TRUTH + 60).radius
    np.testing.assert_array_equal(display.accuracies, certified_tolerance_curve(radius)[1])
    assert display.clean_accuracy == (radius >= 0).mean()
    assert "within 60 of the truth" in display.ax_.get_ylabel()
    assert "insertions + deletions" in display.ax_.get_xlabel()


def test_interval_display_draws_finite_widths_with_their_unit(fitted):
    display = CertifiedIntervalDisplay.from_estimator(fitted, TESTS, range(8), name="eleven")
    assert display.line_.get_xdata().tolist() == [0, 1, 2, 3, 4, 5]
    np.testing.assert_array_equal(display.line_.get_ydata(), display.widths[:6])
    assert "insertions + deletions" in display.ax_.get_xlabel()
    noise = LabelNoiseRegressor(bounds=(25, 346)).fit(X[:300], Y[:300], np.arange(300) % 50)
    display = CertifiedIntervalDisplay.from_estimator(noise, TESTS, [0, 1], ax=display.ax_)
    assert "hostile annotators" in display.ax_.get_xlabel()


@pytest.mark.parametrize(
    ("ask", "error", "words"),
    [
        (lambda: make_certified_tolerance_scorer(-1, 3), ValueError, "budget=-1"),
        (lambda: make_certified_tolerance_scorer(1, -3), ValueError, "tolerance=-3"),
        (lambda: make_certified_tolerance_scorer(1, 3, threat=7), TypeError, "threat=7"),
        (lambda: interval_width_curve(Ridge(), TESTS, [1]), TypeError, "certify_interval"),
        (lambda: certified_tolerance_score([0.5], 1), TypeError, "integer"),
    ],
)
def test_odd_arguments_are_refused(ask, error, words):
    with pytest.raises(error, match=words):
        ask()


def test_odd_quantiles_and_missing_truth_are_refused(fitted):
    with pytest.raises(ValueError, match="quantile=2"):
        interval_width_curve(fitted, TESTS, [1], quantile=2)
    with pytest.raises(ValueError, match="missing at index 1"):
        make_certified_tolerance_scorer(1, 3)(fitted, TESTS[:2], [1.0, np.nan])
