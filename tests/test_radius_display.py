"""Radii as bars, and what plans and coverage draw: the numbers, each once, in their units."""

import matplotlib
import matplotlib.pyplot as plt
import numpy as np
import pytest
from sklearn.datasets import load_diabetes, load_iris
from sklearn.linear_model import Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import Normalizer

from certified_ensembles import DeepPartitionAggregation, DeepPartitionRegressor
from certified_ensembles.abstention import coverage_accuracy_curve
from certified_ensembles.display import RadiusHistogramDisplay
from certified_ensembles.display._histogram import histograms
from certified_ensembles.planning import plan_partitions

matplotlib.use("Agg")
X, Y = load_iris(return_X_y=True)


@pytest.fixture(autouse=True)
def _close_figures():
    yield
    plt.close("all")


def from_predictions(*args, **how):
    return RadiusHistogramDisplay.from_predictions(*args, **how)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("n_bins", [1, 3, 20])
def test_every_row_is_in_the_bin_of_its_radius(seed, n_bins):
    rng = np.random.default_rng(seed)
    radius = rng.integers(-1 if seed % 2 else 0, [1, 2, 37, 900][seed], 200)
    right = rng.random(200) < 0.7
    edges, (inside, outside) = histograms(radius, [right, ~right], n_bins)
    expected, _ = np.histogram(radius[right], edges)
    # numpy counts the last edge as well, at which no radius is.
    assert radius.max() < edges[-1]
    np.testing.assert_array_equal(inside, expected)
    np.testing.assert_array_equal(outside, np.histogram(radius[~right], edges)[0])
    assert len(np.unique(np.diff(edges[edges >= 0]))) <= 1
    assert (edges >= 0).sum() - 1 <= n_bins
    assert (edges[0] == -1) == (radius < 0).any()


def test_radii_without_end_have_bins():
    huge = np.array([0, np.iinfo(np.int64).max])
    edges, (counts,) = histograms(huge, [np.array([True, True])])
    assert edges[-1] == np.iinfo(np.int64).max
    assert counts.sum() == 2
    edges, (counts,) = histograms(np.array([-1, -1]), [np.array([True, False])])
    assert (edges.tolist(), counts.tolist()) == ([-1, 0], [1])


def test_bars_are_as_high_as_there_are_rows():
    display = from_predictions([0, 1, 1, 0, 1], [0, 1, 1, 1, 0], [7, 3, 3, 3, -1])
    heights = [bar.get_height() for bar in display.right_bars_]
    assert heights == display.right.tolist() == [0, 0, 0, 0, 2, 0, 0, 0, 1]
    tops = [bar.get_y() + bar.get_height() for bar in display.wrong_bars_]
    assert tops == [1, 0, 0, 0, 3, 0, 0, 0, 1]
    # The bar of a radius stands over its number, and that of none apart from all others.
    edges = [(bar.get_x(), bar.get_x() + bar.get_width()) for bar in display.right_bars_]
    assert edges[4] == (2.5, 3.5)
    assert edges[0][1] < edges[1][0]
    labels = [label.get_text() for label in display.ax_.get_xticklabels()]
    assert labels[0] == "none"


def test_axis_names_unit_and_question():
    display = from_predictions([0, 1], [0, 1], [2, 3], unit="hostile senders", question="stays x")
    assert display.ax_.get_xlabel() == "Certified radius: stays x\n(hostile senders)"
    display = from_predictions([0, 1], [0, 1], [2, 3], threat="label_flip", name="ours")
    assert display.ax_.get_xlabel() == "Certified radius (label flips)"
    assert display.ax_.get_title() == "ours"
    assert display.ax_.get_legend() is None  # nothing is predicted wrong


def test_from_estimator_looks_through_wrappers_and_draws_where_it_is_told():
    _, ax = plt.subplots()
    fitted = make_pipeline(Normalizer(), DeepPartitionAggregation(n_partitions=9)).fit(X, Y)
    how = {"threat": "replacement", "ax": ax, "bar_kwargs": {"edgecolor": "black"}}
    display = RadiusHistogramDisplay.from_estimator(fitted, X, Y, **how)
    assert (display.ax_, display.figure_) == (ax, ax.figure)
    assert ax.get_xlabel() == "Certified radius (replaced training rows)"
    assert ax.get_title() == "DeepPartitionAggregation"
    own = fitted[-1].certify(Normalizer().transform(X), "replacement")
    assert display.right.sum() == (own.y_pred == Y).sum()
    assert display.right_bars_[0].get_edgecolor()[:3] == (0, 0, 0)


def test_from_estimator_counts_until_an_error_exceeds_its_tolerance():
    D, t = load_diabetes(return_X_y=True)
    reg = DeepPartitionRegressor(n_partitions=9).fit(D, t)
    display = RadiusHistogramDisplay.from_estimator(reg, D[:50], t[:50], tolerance=40)
    radius = reg.certify(D[:50], lower=t[:50] - 40, upper=t[:50] + 40).radius
    assert display.wrong[0] == display.wrong.sum() == (radius < 0).sum()
    assert "within 40 of the truth" in display.ax_.get_xlabel()


def test_bins_that_are_no_number_are_refused():
    with pytest.raises(TypeError, match=r"n_bins=2.5 must be an integer"):
        from_predictions([0], [0], [1], n_bins=2.5)
    with pytest.raises(TypeError, match="radius has dtype float64"):
        from_predictions([0], [0], [1.5])


# ---------------------------------------------------------------- plans and coverage


@pytest.mark.parametrize("estimator", [None, Ridge()], ids=["votes", "medians"])
def test_plan_draws_a_curve_for_each_number_of_partitions(estimator):
    X_plan, y = (X, Y) if estimator is None else load_diabetes(return_X_y=True)
    plan = plan_partitions(estimator, X_plan, y, [6, 9], budgets=[0, 1, 2])
    ax = plan.plot(unit="hostile farms")
    shares = plan.certified_accuracy if estimator is None else plan.certified_within
    for line, k, share in zip(ax.lines, [6, 9], shares, strict=True):
        assert line.get_label() == f"{k} partitions"
        np.testing.assert_array_equal(line.get_xdata(), [0, 1, 2])
        np.testing.assert_array_equal(line.get_ydata(), share)
    assert "an estimate, no certificate" in ax.get_ylabel()
    assert ax.get_xlabel() == "Attacker's budget (hostile farms)"
    _, other = plt.subplots()
    assert plan.plot(other) is other


def test_coverage_draws_its_curve_and_marks_thresholds_on_it():
    rng = np.random.default_rng(0)
    curve = coverage_accuracy_curve(*rng.integers(0, 2, (2, 300)), rng.integers(-1, 40, 300))
    ax = curve.plot(name="ours", curve_kwargs={"color": "green"})
    np.testing.assert_array_equal(ax.lines[0].get_xdata(), curve.coverage)
    np.testing.assert_array_equal(ax.lines[0].get_ydata(), curve.accuracy)
    assert {line.get_color() for line in ax.lines} == {"green"}
    marks = [int(text.get_text()) for text in ax.texts]
    assert marks[0] == 0
    for r, text in zip(marks, ax.texts, strict=True):
        assert text.xy == (curve.coverage[r], curve.accuracy[r])
    chosen = curve.plot(marks=[3, 7, 5000])
    assert [text.get_text() for text in chosen.texts] == ["3", "7"]


def test_coverage_of_nothing_draws_nothing():
    ax = coverage_accuracy_curve([0, 1], [0, 1], [-1, -1]).plot()
    assert len(ax.lines[0].get_xdata()) == 0
    assert len(ax.texts) == 0
