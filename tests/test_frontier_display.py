"""The picture of a frontier shows the certified numbers, and never more."""

import itertools
import subprocess
import sys

import matplotlib
import matplotlib.pyplot as plt
import numpy as np
import pytest
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import Normalizer

from certified_ensembles._certificate import Certificate
from certified_ensembles.display import CertifiedAccuracyDisplay, FrontierDisplay
from certified_ensembles.metrics import certified_accuracy_frontier, certified_accuracy_score

matplotlib.use("Agg")

Y_TRUE = np.array([0, 1, 1, 0, 1])
Y_PRED = np.array([0, 1, 1, 1, 1])
FRONTIER = np.array([[3, 2, 0, -1], [2, 2, -1, -1], [1, 0, 0, -1], [4, 4, 4, 4], [0, -1, -1, -1]])


@pytest.fixture(autouse=True)
def _close_figures():
    yield
    plt.close("all")


class Oracle(ClassifierMixin, BaseEstimator):
    """Predicts the first column, with the others as frontier."""

    def __init__(self, unit="words"):
        self.unit = unit

    def fit(self, X, y):
        self.classes_, self._column_unit = np.unique(y), self.unit
        return self

    def predict(self, X):
        return X[:, 0].astype(int)

    def certify(self, X, threat=None):
        return Certificate(self.predict(X), X[:, 1].astype(np.int64))

    def frontier(self, X, threat=None):
        return X[:, 1:].astype(np.int64) // (1 + (threat == "replacement"))


X = np.column_stack([Y_PRED, FRONTIER])


def draw(frontier=FRONTIER, **kwargs):
    return FrontierDisplay.from_predictions(Y_TRUE, Y_PRED, frontier, **kwargs)


@pytest.mark.parametrize("weight", [None, np.array([1.0, 2, 0, 1, 3])])
def test_cells_are_certified_accuracies(weight):
    accuracies = certified_accuracy_frontier(Y_TRUE, Y_PRED, FRONTIER, sample_weight=weight)
    for (r, s), share in np.ndenumerate(accuracies):
        assert share == pytest.approx(
            certified_accuracy_score(Y_TRUE, Y_PRED, FRONTIER[:, r], s, sample_weight=weight)
        )
    assert accuracies.shape == (4, 5)
    assert accuracies[:-1, 0].all()
    assert not accuracies[-1].any()
    assert not accuracies[:, -1].any()


def test_the_last_budget_ends_a_frontier_on_which_rows_do_not_matter():
    accuracies = certified_accuracy_frontier([0], [0], [[2, 2]])
    assert accuracies.tolist() == [[1, 1, 1, 0], [1, 1, 1, 0]]


@pytest.mark.parametrize(
    ("frontier", "error", "match"),
    [
        (FRONTIER[:, 0], ValueError, "frontier must have the shape"),
        (FRONTIER[:, :0], ValueError, "at least one budget"),
        (FRONTIER[:3], ValueError, "one entry per test row"),
        (FRONTIER / 2, TypeError, "must be integer"),
        (FRONTIER - 2, ValueError, "must be -1"),
    ],
)
def test_unusable_frontiers_are_refused(frontier, error, match):
    with pytest.raises(error, match=match):
        certified_accuracy_frontier(Y_TRUE, Y_PRED, frontier)


def test_the_picture_holds_the_numbers():
    display = draw()
    drawn = display.mesh_.get_array()
    np.testing.assert_array_equal(drawn.filled(0), display.accuracies)
    assert drawn.mask.sum() == (display.accuracies == 0).sum()
    # Whole operations are the centres of the cells.
    np.testing.assert_array_equal(display.mesh_.get_coordinates()[0, :, 0], np.arange(6) - 0.5)
    np.testing.assert_array_equal(display.mesh_.get_coordinates()[:, 0, 1], np.arange(5) - 0.5)


def test_numbers_in_cells_are_rounded_down():
    frontier = np.repeat([[1, 0], [0, -1]], [2, 1], axis=0)
    display = FrontierDisplay.from_predictions([0, 0, 0], [0, 0, 0], frontier)
    written = {tuple(map(int, text.get_position())): text.get_text() for text in display.texts_}
    assert written == {(0, 0): "100", (1, 0): "66", (0, 1): "66"}


def test_small_cells_hold_no_numbers():
    frontier = np.sort(np.arange(60)[::-1][None] + np.zeros((5, 1), int))[:, ::-1]
    assert draw(frontier).texts_ == []


def test_level_lines_part_what_reaches_a_level_from_what_does_not():
    display = draw(levels=(0.6, 0.4, 0.9))
    assert set(display.level_lines_) == {0.6, 0.4}  # nothing reaches 90 %
    for level, lines in display.level_lines_.items():
        (path,) = lines.get_segments()
        for (r, s), share in np.ndenumerate(display.accuracies):
            # The line passes each row of cells at one place.
            right = [x for (x, y0), (_, y1) in itertools.pairwise(path) if y0 > r >= y1]
            assert (share >= level) == (bool(right) and s < right[0])
    styles = [lines.get_linestyle() for lines in display.level_lines_.values()]
    assert styles[0] != styles[1]


def test_units_come_from_the_ensemble():
    display = FrontierDisplay.from_estimator(Oracle().fit(X, Y_TRUE), X, Y_TRUE)
    assert display.ax_.get_xlabel() == "hostile words"
    assert display.ax_.get_ylabel() == "insertions + deletions of training rows"
    assert display.ax_.get_title() == "Oracle"
    np.testing.assert_array_equal(
        display.accuracies, certified_accuracy_frontier(Y_TRUE, Y_PRED, FRONTIER)
    )
    curve = CertifiedAccuracyDisplay.from_estimator(Oracle("columns").fit(X, Y_TRUE), X, Y_TRUE)
    assert curve.unit == "hostile columns"
    display = FrontierDisplay.from_estimator(
        Oracle().fit(X, Y_TRUE), X, Y_TRUE, row_unit="hostile senders", column_unit="hostile feeds"
    )
    assert (display.ax_.get_xlabel(), display.ax_.get_ylabel()) == (
        "hostile feeds",
        "hostile senders",
    )


def test_the_threat_is_handed_on():
    display = FrontierDisplay.from_estimator(
        Oracle().fit(X, Y_TRUE), X, Y_TRUE, threat="replacement"
    )
    np.testing.assert_array_equal(
        display.accuracies, certified_accuracy_frontier(Y_TRUE, Y_PRED, FRONTIER // 2)
    )
    assert display.row_unit == "replaced training rows"


@pytest.mark.parametrize("inner", [Normalizer(), make_pipeline(Normalizer(), Oracle())])
def test_what_has_no_frontier_is_refused_with_the_remedy(inner):
    with pytest.raises(TypeError, match=r"no method frontier: .* belong into its base estimator"):
        FrontierDisplay.from_estimator(inner.fit(X, Y_TRUE), X, Y_TRUE)


def test_drawing_is_silent_and_goes_where_it_is_told(tmp_path):
    figure, axes = plt.subplots(1, 2)
    display = draw(name="grid", ax=axes[1], mesh_kwargs={"cmap": "Greys"})
    assert display.ax_ is axes[1]
    assert display.figure_ is figure
    assert display.mesh_.get_cmap().name == "Greys"
    figure.savefig(tmp_path / "both.png")
    assert display.plot(name="again").ax_.get_title() == "again"


def test_import_needs_no_matplotlib():
    code = (
        "import sys; sys.modules['matplotlib'] = None; "
        "from certified_ensembles.display import FrontierDisplay"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
