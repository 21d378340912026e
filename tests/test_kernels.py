"""Kernel ridge members follow their definition, and neither hostile rows nor company move them."""

import numpy as np
import pytest
from joblib import parallel_config
from sklearn.base import clone
from sklearn.datasets import load_digits, load_iris
from sklearn.kernel_ridge import KernelRidge
from sklearn.preprocessing import StandardScaler

from certified_ensembles import DeepPartitionAggregation
from certified_ensembles import kernels as kernels_module
from certified_ensembles.audit import check_certificate
from certified_ensembles.kernels import KernelRidgeClassifier


@pytest.fixture(scope="module")
def digits():
    X, y = load_digits(return_X_y=True)
    return X[:200], y[:200], X[200:500], y[200:500]


def _reference(X, y, X_test, alpha, widths, blocks):
    """Scores by scikit-learn's KernelRidge on a precomputed kernel."""
    scaler = StandardScaler().fit(X)
    Z, Z_test = scaler.transform(X), scaler.transform(X_test)
    varies = scaler.var_ > 0
    Z_test = np.where(varies, Z_test, 0)
    K, K_test = np.zeros((len(X), len(X))), np.zeros((len(X_test), len(X)))
    bounds = np.cumsum([0, *blocks])
    for a, b, width in zip(bounds[:-1], bounds[1:], widths, strict=True):
        squares = ((Z[:, None, a:b] - Z[None, :, a:b]) ** 2).sum(axis=2)
        squares_test = ((Z_test[:, None, a:b] - Z[None, :, a:b]) ** 2).sum(axis=2)
        K += np.exp(-width * squares / squares.mean()) / len(blocks)
        K_test += np.exp(-width * squares_test / squares.mean()) / len(blocks)
    Y = (y[:, None] == np.unique(y)).astype(float)
    ridge = KernelRidge(alpha=alpha, kernel="precomputed").fit(K, Y - Y.mean(axis=0))
    return ridge.predict(K_test) + Y.mean(axis=0)


@pytest.mark.parametrize(
    ("blocks", "width"), [(None, 0.7), ([64], [0.7]), ([24, 40], [0.3, 2.0]), ([32, 32], 1.0)]
)
@pytest.mark.parametrize("alpha", [0.01, 1.0])
def test_scores_are_those_of_kernel_ridge(digits, blocks, width, alpha):
    X, y, X_test, _ = digits
    X_test = X_test[:50]
    clf = KernelRidgeClassifier(alpha, width=width, blocks=blocks).fit(X, y)
    sizes = blocks or [64]
    widths = width if isinstance(width, list) else [width] * len(sizes)
    expected = _reference(X, y, X_test, alpha, widths, sizes)
    np.testing.assert_allclose(clf.decision_function(X_test), expected, atol=2e-4)
    np.testing.assert_array_equal(clf.predict(X_test), expected.argmax(axis=1))


def test_it_learns_digits_from_two_hundred(digits):
    X, y, X_test, y_test = digits
    assert KernelRidgeClassifier(alpha=0.01).fit(X, y).score(X_test, y_test) > 0.83


def test_views_train_as_rows_and_their_scores_are_averaged(digits):
    X, y, X_test, _ = digits
    both = np.stack([X, X[:, ::-1]], axis=1)
    clf = KernelRidgeClassifier().fit(both, y)
    flat = KernelRidgeClassifier().fit(np.concatenate([X, X[:, ::-1]]), np.tile(y, 2))
    np.testing.assert_array_equal(clf.decision_function(X_test), flat.decision_function(X_test))
    asked = clf.decision_function(np.stack([X_test, X_test[:, ::-1]], axis=1))
    mean = (flat.decision_function(X_test) + flat.decision_function(X_test[:, ::-1])) / 2
    np.testing.assert_allclose(asked, mean, atol=1e-6)


def test_as_many_components_as_the_rows_span_change_nothing(digits):
    X, y, X_test, _ = digits
    rng = np.random.default_rng(0)
    mix = rng.normal(size=(6, 30))
    few = [19, 20, 26, 28, 34, 36]
    low, low_test = X[:, few] @ mix, X_test[:, few] @ mix
    whole = KernelRidgeClassifier().fit(low, y).decision_function(low_test)
    few = KernelRidgeClassifier(n_components=6).fit(low, y)
    assert few._maps[0].rows.shape == (200, 6)
    np.testing.assert_allclose(few.decision_function(low_test), whole, atol=1e-3)
    fewer = KernelRidgeClassifier(n_components=2).fit(low, y).decision_function(low_test)
    assert np.abs(fewer - whole).max() > 0.05


@pytest.mark.parametrize("n", [40, 200])  # fewer rows than features, and more
def test_whitening_gives_components_equal_say(digits, n):
    X, y, _, _ = digits
    rows = KernelRidgeClassifier(n_components=5, whitening=1.0).fit(X[:n], y[:n])._maps[0].rows
    spread = rows.std(axis=0)
    np.testing.assert_allclose(spread, spread.mean(), rtol=1e-3)
    rows = KernelRidgeClassifier(n_components=5, whitening=0.0).fit(X[:n], y[:n])._maps[0].rows
    assert rows.std(axis=0).max() > 1.2 * rows.std(axis=0).min()


@pytest.mark.parametrize("n_components", [None, 20])
def test_score_of_a_row_ignores_the_rows_beside_it(digits, n_components):
    X, y, X_test, _ = digits
    clf = KernelRidgeClassifier(n_components=n_components).fit(X, y)
    whole = clf.decision_function(X_test)
    for i in (0, 5, 255, 256, 299):
        np.testing.assert_array_equal(clf.decision_function(X_test[[i]])[0], whole[i])
    np.testing.assert_array_equal(clf.decision_function(X_test[::-1]), whole[::-1])


def test_memory_layout_does_not_change_a_bit(digits):
    X, y, X_test, _ = digits
    expected = KernelRidgeClassifier().fit(X, y).decision_function(X_test)
    clf = KernelRidgeClassifier().fit(np.asfortranarray(X), y)
    np.testing.assert_array_equal(clf.decision_function(np.asfortranarray(X_test)), expected)
    wide = np.repeat(X_test, 2, axis=1)[:, ::2]
    np.testing.assert_array_equal(clf.decision_function(wide), expected)


def test_scale_and_offset_of_features_hardly_matter(digits):
    X, y, X_test, _ = digits
    scale = 10.0 ** np.random.default_rng(0).integers(-200, 200, size=64)
    one = KernelRidgeClassifier().fit(X, y).decision_function(X_test)
    other = KernelRidgeClassifier().fit(X * scale, y).decision_function(X_test * scale)
    np.testing.assert_allclose(one, other, atol=1e-4)


@pytest.mark.parametrize("n_components", [None, 2])
def test_hostile_rows_leave_training_and_scores_finite(n_components):
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(30, 6)), np.arange(30) % 3
    big = np.finfo(np.float64).max
    attacks = {
        "huge": [big, -big, 1e300, -1e-300, 5e-324, 0],
        "equal": [1.0] * 6,
        "tiny": [5e-324] * 6,
    }
    for attack in attacks.values():
        for n in (1, 29):
            bad = X.copy()
            bad[:n] = attack
            clf = KernelRidgeClassifier(1e-10, n_components=n_components).fit(bad, y)
            scores = clf.decision_function(np.vstack([bad, X, -bad, np.full((1, 6), big)]))
            assert np.isfinite(scores).all()


def test_equal_rows_with_unlike_labels_raise_alpha_until_it_is_solved():
    X, y = np.repeat([[0.0, 1.0], [1.0, 0.0]], 20, axis=0), np.arange(40) % 2
    clf = KernelRidgeClassifier(1e-10).fit(X, y)
    assert np.abs(clf.decision_function(X)).max() < 1e-3
    indefinite = np.array([[1.0, 1.1], [1.1, 1.0]])
    weights = kernels_module._solve(indefinite, np.eye(2), 1e-3)
    np.testing.assert_allclose((indefinite + np.eye(2)) @ weights, np.eye(2), atol=1e-12)


def test_failing_linear_algebra_keeps_all_features(digits, monkeypatch):
    X, y, X_test, _ = digits

    def fail(*_, **__):
        raise np.linalg.LinAlgError

    whole = KernelRidgeClassifier().fit(X, y).decision_function(X_test)
    monkeypatch.setattr(kernels_module.scipy.linalg, "eigh", fail)
    clf = KernelRidgeClassifier(n_components=5).fit(X, y)
    np.testing.assert_array_equal(clf.decision_function(X_test), whole)


def test_a_row_far_from_all_others_gets_the_shares_of_the_classes(digits):
    X, y, _, _ = digits
    clf = KernelRidgeClassifier().fit(X, y)
    np.testing.assert_allclose(
        clf.decision_function(np.full((1, 64), 1e200))[0], np.bincount(y) / 200
    )


def test_two_classes_give_one_score_and_ties_go_to_the_smaller_label():
    X, y = load_iris(return_X_y=True)
    X, y = X[50:], np.array(["b", "a"])[y[50:] - 1]
    clf = KernelRidgeClassifier(alpha=0.01).fit(X, y)
    scores = clf.decision_function(X)
    assert scores.shape == (100,)
    np.testing.assert_array_equal(clf.predict(X), np.where(scores > 0, "b", "a"))
    assert clf.score(X, y) > 0.9
    tied = KernelRidgeClassifier().fit([[0.0], [0.0]], ["b", "a"])
    assert tied.predict([[0.0]]) == ["a"]


@pytest.mark.parametrize("aggregation", ["plurality", "run_off"])
@pytest.mark.parametrize("n_views", [1, 2])
def test_certificate_survives_attacks(aggregation, n_views):
    X, y = load_iris(return_X_y=True)
    order = np.random.default_rng(0).permutation(150)
    X, y = X[order], y[order]
    if n_views == 2:
        X = np.stack([X, X + 0.1], axis=1)
    member = KernelRidgeClassifier(n_components=3, whitening=0.5)
    clf = DeepPartitionAggregation(member, 9, aggregation=aggregation, classes=range(3))
    # One case tries another process, which takes seconds to start; members know of no vote.
    with parallel_config("loky" if (aggregation, n_views) == ("plurality", 1) else "threading"):
        check_certificate(clf, X[:90], y[:90], X[90:110], n_attacks=6, random_state=0)


def test_ballots_do_not_depend_on_n_jobs(digits):
    X, y, X_test, _ = digits
    clf = DeepPartitionAggregation(KernelRidgeClassifier(n_components=4), 5, classes=range(10))
    expected = clone(clf).fit(X, y).ballots(X_test)
    np.testing.assert_array_equal(
        clf.set_params(n_jobs=2).fit(X, y).ballots(X_test[::-1])[::-1], expected
    )


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"blocks": [30, 30]}, "add up to the 64 features"),
        ({"blocks": [64, 0]}, "positive integers"),
        ({"width": [1.0, 2.0]}, "one for each of the 1 blocks"),
        ({"width": [-1.0]}, "positive number"),
        ({"alpha": 0}, "alpha"),
        ({"whitening": 2}, "whitening"),
    ],
)
def test_bad_parameters_are_named(digits, parameters, message):
    with pytest.raises(ValueError, match=message):
        KernelRidgeClassifier(**parameters).fit(*digits[:2])


def test_views_of_another_length_are_refused(digits):
    X, y, _, _ = digits
    clf = KernelRidgeClassifier().fit(X, y)
    with pytest.raises(ValueError, match="63 features in a view"):
        clf.decision_function(np.zeros((2, 2, 63)))
