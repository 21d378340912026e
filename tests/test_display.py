"""The drawing shows the certified numbers, never more, and stays readable."""

import itertools
import pickle
import subprocess
import sys
import warnings

import matplotlib
import matplotlib.cbook
import matplotlib.path
import matplotlib.pyplot as plt
import matplotlib.text
import numpy as np
import pytest
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.datasets import load_digits
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import Normalizer, StandardScaler

from certified_ensembles._certificate import Certificate, CertificateWarning
from certified_ensembles.display import CertifiedAccuracyDisplay
from certified_ensembles.dpa import DeepPartitionAggregation
from certified_ensembles.metrics import certified_accuracy_curve

matplotlib.use("Agg")

Y_TRUE = np.array([0, 1, 1, 0, 1])
Y_PRED = np.array([0, 1, 1, 1, 1])
RADIUS = np.array([2, 5, 5, 7, -1])


@pytest.fixture(autouse=True)
def _close_figures():
    yield
    plt.close("all")


class Oracle(ClassifierMixin, BaseEstimator):
    """Predicts the first column with the second one as radius."""

    def fit(self, X, y):
        self.classes_ = np.unique(y)
        return self

    def certify(self, X, threat=None):
        self.asked_ = threat
        return Certificate(X[:, 0].astype(int), X[:, 1].astype(np.int64))


def draw(threat="label_flip", name="ours", **kwargs):
    return CertifiedAccuracyDisplay.from_predictions(
        Y_TRUE, Y_PRED, RADIUS, threat=threat, name=name, **kwargs
    )


def falling(n_rows, mean, spread, seed):
    radius = np.random.default_rng(seed).normal(mean, spread, n_rows).astype(int).clip(-1)
    return np.zeros(n_rows, dtype=int), np.zeros(n_rows, dtype=int), radius


def drawn_height(line, x):
    """Return the range of heights that the drawn steps have at `x`."""
    assert line.get_drawstyle() == "steps-pre"
    across, heights = matplotlib.cbook.pts_to_prestep(line.get_xdata(), line.get_ydata())
    here = [
        height
        for left, right, pair in zip(
            across[:-1], across[1:], itertools.pairwise(heights), strict=True
        )
        if left <= x <= right
        for height in pair
    ]
    return min(here), max(here)


def texts(ax):
    return [text.get_text() for text in ax.texts]


def boxes(ax):
    ax.figure.canvas.draw()
    return [matplotlib.text.Text.get_window_extent(text) for text in ax.texts]


def test_display_stores_the_curve_of_metrics():
    display = draw()
    budgets, accuracies = certified_accuracy_curve(Y_TRUE, Y_PRED, RADIUS)
    np.testing.assert_array_equal(display.budgets, budgets)
    np.testing.assert_array_equal(display.accuracies, accuracies)
    assert (display.clean_accuracy, display.name, display.unit) == (0.8, "ours", "label flips")


def test_curve_reaches_every_certified_accuracy_at_its_budget():
    display = draw()
    for budget, accuracy in zip(display.budgets[:-1], display.accuracies[:-1], strict=True):
        assert drawn_height(display.line_, budget)[1] == accuracy


@pytest.mark.parametrize("seed", range(3))
def test_curve_never_promises_more_between_two_budgets_than_at_the_higher_one(seed):
    display = CertifiedAccuracyDisplay.from_predictions(*falling(40, 9, 5, seed))
    for budget in display.budgets[:-1]:
        for between in (0.01, 0.5, 0.99):
            _, highest = drawn_height(display.line_, budget + between)
            assert highest == display.accuracies[budget + 1]


def test_curve_ends_at_its_last_drop():
    display = draw()
    assert display.line_.get_xdata()[-1] == 6
    assert display.line_.get_ydata()[-1] == 0


def test_plateaus_are_drawn_with_few_points():
    n = 100
    display = CertifiedAccuracyDisplay.from_predictions([0] * n, [0] * n, [50_000] * n)
    assert len(display.budgets) == 50_002
    assert len(display.line_.get_xdata()) == 3
    assert drawn_height(display.line_, 49_999.5)[0] == 1


def test_clean_accuracy_is_dashed_in_the_colour_of_its_curve():
    _, ax = plt.subplots()
    displays = [draw(name=name, ax=ax) for name in ("a", "b")]
    colours = {display.line_.get_color() for display in displays}
    assert len(colours) == 2
    for display in displays:
        assert display.clean_line_.get_color() == display.line_.get_color()
        assert display.clean_line_.get_linestyle() == "--"
        np.testing.assert_array_equal(display.clean_line_.get_ydata(), 0.8)


@pytest.mark.parametrize(
    ("threat", "words"),
    [
        ("insertion_deletion", "insertions + deletions of training rows"),
        ("label_flip", "label flips"),
        ("replacement", "replaced training rows"),
        (None, "poisoning operations"),
    ],
)
def test_x_axis_names_the_unit_of_the_threat(threat, words):
    assert draw(threat).ax_.get_xlabel() == f"Attacker's budget ({words})"


def test_own_words_for_the_unit_win():
    assert "(hostile senders)" in draw(unit="hostile senders").ax_.get_xlabel()


def test_narrow_panels_break_the_label():
    _, axes = plt.subplots(1, 3)
    assert "budget\n(label flips)" in draw(ax=axes[0]).ax_.get_xlabel()


def test_curves_of_different_threats_say_their_units():
    _, ax = plt.subplots()
    draw("label_flip", name="a", ax=ax)
    draw("replacement", name="b", ax=ax)
    assert "each curve's own unit" in ax.get_xlabel()
    assert {"a\nlabel flips", "b\nreplaced training rows"} == set(texts(ax))


def test_y_axis_is_in_percent():
    ax = draw().ax_
    ax.figure.canvas.draw()
    labels = [tick.get_text() for tick in ax.get_yticklabels()]
    assert {"0 %", "60 %", "100 %"} <= set(labels)


def test_limits_show_every_curve_and_all_of_the_y_axis():
    _, ax = plt.subplots()
    CertifiedAccuracyDisplay.from_predictions(*falling(99, 50, 5, 0), ax=ax)
    draw(ax=ax)
    assert ax.get_xlim()[0] <= 0
    assert ax.get_xlim()[1] > max(line.get_xdata()[-1] for line in ax.lines)
    assert ax.get_ylim()[0] == 0
    assert ax.get_ylim()[1] > 1


CROWDS = {
    "alone": [(50, 10)],
    "overlapping": [(50, 9), (52, 10), (49, 9), (51, 11)],
    "identical": [(50, 10)] * 3,
    "crossing": [(50, 30), (60, 5), (40, 5)],
    "of very different reach": [(9, 3), (20, 8), (120, 20), (900, 200)],
    "all abstain": [(-50, 1), (-50, 1)],
    "flat": [(6000, 0)],
    "huge": [(2_000_000, 300_000)],
}


@pytest.mark.parametrize("crowd", CROWDS.values(), ids=CROWDS)
@pytest.mark.parametrize("size", [(6.4, 4.8), (4, 3)])
def test_names_stand_inside_the_axes_and_cover_no_other_text(crowd, size):
    fig, ax = plt.subplots(figsize=size, layout="constrained")
    fig.canvas.draw()
    for seed, (mean, spread) in enumerate(crowd):
        CertifiedAccuracyDisplay.from_predictions(
            *falling(200, mean, spread, seed), name=f"model {seed}", ax=ax
        )
    written = boxes(ax)
    assert len(written) == len(crowd)
    for one, other in itertools.combinations(written, 2):
        assert not one.overlaps(other)
    for box in written:
        assert ax.bbox.x0 <= box.x0
        assert box.x1 <= ax.bbox.x1
        assert ax.bbox.y0 <= box.y0
        assert box.y1 <= ax.bbox.y1


# Of very different reach, short curves stand closer together than any name is wide.
ROOMY = [name for name in CROWDS if name != "of very different reach"]


@pytest.mark.parametrize("crowd", ROOMY)
def test_names_cover_no_curve_where_there_is_room(crowd):
    _, ax = plt.subplots()
    for seed, (mean, spread) in enumerate(CROWDS[crowd]):
        data = falling(200, mean, spread, seed)
        CertifiedAccuracyDisplay.from_predictions(*data, name=f"model {seed}", ax=ax)
    curves = [line for line in ax.lines if line.get_drawstyle() == "steps-pre"]
    for box in boxes(ax):
        for line in curves:
            corners = np.column_stack(matplotlib.cbook.pts_to_prestep(*line.get_data()))
            path = matplotlib.path.Path(ax.transData.transform(corners))
            assert not path.intersects_bbox(box, filled=False)


def test_names_wear_the_colour_of_their_curve():
    _, ax = plt.subplots()
    displays = [
        CertifiedAccuracyDisplay.from_predictions(
            *falling(99, 30 * (i + 1), 5, i), name=f"model {i}", ax=ax
        )
        for i in range(3)
    ]
    colours = {text.get_text(): text.get_color() for text in ax.texts}
    for display in displays:
        assert colours[display.name] == display.line_.get_color()


def test_y_axis_explains_the_dashed_lines():
    assert draw().ax_.get_ylabel() == "Certified accuracy\n(dashed: clean accuracy)"


@pytest.mark.parametrize(
    ("how", "words"),
    [
        ({"target": 0}, "never becomes 0"),
        ({"target": [0, 2]}, "never becomes 0 or 2"),
        ({"target": {2, 0}}, "never becomes 0 or 2"),
        ({"target": np.zeros(60, int)}, "never becomes its target"),
        ({"top_k": 2}, "stays among the first 2"),
    ],
)
def test_display_of_another_question_says_it_on_the_y_axis(how, words):
    X, y = load_digits(n_class=3, return_X_y=True)
    ensemble = DeepPartitionAggregation(n_partitions=6, classes=range(3)).fit(X[60:], y[60:])
    display = CertifiedAccuracyDisplay.from_estimator(ensemble, X[:60], y[:60], **how)
    certificate = ensemble.certify(X[:60], **how)
    expected = certified_accuracy_curve(y[:60], *certificate)[1]
    np.testing.assert_array_equal(display.accuracies, expected)
    ylabel = f"Certified accuracy, {words}\n(dashed: clean accuracy)"
    assert display.ax_.get_ylabel() == ylabel
    assert "insertions + deletions" in display.ax_.get_xlabel()
    assert texts(display.ax_) == ["DeepPartitionAggregation"]


def test_curves_of_different_questions_say_them_beside_their_names():
    _, ax = plt.subplots()
    draw(name="a", ax=ax)
    draw(name="b", question="never becomes spam", ax=ax)
    assert ax.get_ylabel() == "Certified accuracy\n(dashed: clean accuracy)"
    assert {"a", "b\nnever becomes spam"} == set(texts(ax))


def test_own_label_of_the_y_axis_is_kept():
    ax = draw().ax_
    ax.set_ylabel("right and safe")
    draw(question="never becomes spam", ax=ax)
    assert ax.get_ylabel() == "right and safe"


def test_names_in_panels_that_share_an_axis_make_room_for_a_longer_curve():
    _, axes = plt.subplots(1, 2, sharex=True, figsize=(8, 4))
    draw(name="left", ax=axes[0])
    draw(name="right", ax=axes[0])
    CertifiedAccuracyDisplay.from_predictions(*falling(99, 90, 5, 0), ax=axes[1])
    one, other = boxes(axes[0])
    assert not one.overlaps(other)
    assert min(one.x0, other.x0) >= axes[0].bbox.x0


def test_nothing_certified_is_drawn_and_said():
    display = CertifiedAccuracyDisplay.from_predictions([0, 1], [0, 0], [-1, -1], name="lost")
    assert "lost\nnothing certified" in texts(display.ax_)
    assert display.line_.get_marker() == "o"
    assert display.clean_accuracy == 0.5


def test_plot_again_draws_the_same_and_takes_another_name_and_style():
    display = draw()
    first = display.line_.get_xydata()
    again = display.plot(name="later", curve_kwargs={"color": "red", "linewidth": 1})
    assert again is display
    np.testing.assert_array_equal(display.line_.get_xydata(), first)
    assert (display.line_.get_color(), display.line_.get_linewidth()) == ("red", 1)
    assert display.figure_ is display.ax_.figure
    assert "later" in texts(display.ax_)


def test_without_a_name_nothing_is_written_beside_the_curve():
    display = draw(name=None)
    assert texts(display.ax_) == []
    assert display.line_.get_label().startswith("_")


def test_a_legend_may_still_be_asked_for():
    _, ax = plt.subplots()
    draw(ax=ax)
    draw(name="b", ax=ax)
    labels = [text.get_text() for text in ax.legend().get_texts()]
    assert labels == ["ours", "b"]


def test_panels_that_share_an_axis_show_the_longest_curve():
    _, axes = plt.subplots(1, 2, sharex=True)
    CertifiedAccuracyDisplay.from_predictions(*falling(99, 50, 5, 0), ax=axes[0])
    draw(ax=axes[1])
    assert axes[0].get_xlim() == axes[1].get_xlim()
    assert axes[1].get_xlim()[1] > 50


def test_figure_and_display_pickle():
    display = pickle.loads(pickle.dumps(draw()))
    assert display.line_.get_xdata()[-1] == 6


def test_weights_reach_the_curve():
    display = draw(sample_weight=[0, 1, 1, 0, 2])
    assert display.accuracies[0] == 0.5
    assert display.clean_accuracy == 1


X_ORACLE = np.column_stack([Y_PRED, RADIUS]).astype(float)


def test_from_estimator_draws_what_certify_returns():
    oracle = Oracle().fit(X_ORACLE, Y_TRUE)
    display = CertifiedAccuracyDisplay.from_estimator(oracle, X_ORACLE, Y_TRUE)
    expected = draw()
    np.testing.assert_array_equal(display.accuracies, expected.accuracies)
    assert display.clean_accuracy == expected.clean_accuracy
    assert display.name == "Oracle"
    assert display.unit == "insertions + deletions of training rows"


def test_from_estimator_asks_for_the_threat_and_names_its_unit():
    oracle = Oracle().fit(X_ORACLE, Y_TRUE)
    display = CertifiedAccuracyDisplay.from_estimator(
        oracle, X_ORACLE, Y_TRUE, threat="replacement", name="mine"
    )
    assert (oracle.asked_, display.unit, display.name) == (
        "replacement",
        "replaced training rows",
        "mine",
    )


def test_from_estimator_takes_a_pipeline_and_warns_where_it_voids_the_guarantee():
    sound = make_pipeline(Normalizer(norm="max"), Oracle()).fit(X_ORACLE, Y_TRUE)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        display = CertifiedAccuracyDisplay.from_estimator(sound, X_ORACLE, Y_TRUE)
    assert display.name == "Oracle"
    void = make_pipeline(StandardScaler(), Oracle()).fit(X_ORACLE, Y_TRUE)
    with pytest.warns(CertificateWarning, match="'standardscaler'"):
        CertifiedAccuracyDisplay.from_estimator(void, X_ORACLE, Y_TRUE)


@pytest.mark.parametrize("threat", [None, "label_flip", "replacement"])
def test_ensemble_partitioned_by_source_counts_hostile_sources(threat):
    X, y = load_digits(n_class=3, return_X_y=True)
    ensemble = DeepPartitionAggregation(n_partitions=6, classes=range(3))
    ensemble.fit(X, y, groups=np.arange(len(X)) // 9)
    display = CertifiedAccuracyDisplay.from_estimator(ensemble, X, y, threat=threat)
    assert display.unit == "hostile sources"
    assert display.name == "DeepPartitionAggregation"
    assert display.budgets[-1] == 4


def test_importing_the_display_does_not_import_matplotlib():
    code = "import sys, certified_ensembles.display; sys.exit('matplotlib' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_missing_matplotlib_names_the_remedy(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.pyplot", None)
    display = CertifiedAccuracyDisplay(budgets=[0, 1], accuracies=[1.0, 0.0], clean_accuracy=1.0)
    with pytest.raises(ImportError, match="pip install matplotlib"):
        display.plot()
