"""Exact label-flip radii against every change of labels, and against rational arithmetic."""

import itertools
import tracemalloc
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from certified_ensembles.certificates import linear_smoother_radius, linear_smoother_winner
from certified_ensembles.certificates._exact_sums import sum_error_bound
from certified_ensembles.certificates._scored_blocks import LabelSortedWeights
from weight_families import FAMILIES, gaussian

UNSEEN = -1


def rational_winner(weights, y, candidates):
    """Argmax of the exact scores over the candidates, ties to the smaller one."""
    scores = dict.fromkeys(candidates, Fraction(0))
    for a, label in zip(weights, y, strict=True):
        scores[label] += a
    return max(sorted(scores), key=lambda c: scores[c])


def rational_radius(weights, y, n_classes, open_set):
    """Winner and radius by the definition: a full sort of exact drops for every rival."""
    weights = [Fraction(float(a)) for a in weights]
    score = [Fraction(0)] * n_classes + [Fraction(0)] * open_set
    for a, label in zip(weights, y, strict=True):
        score[label] += a
    c = max(range(n_classes), key=lambda k: (score[k], -k))
    radius = len(y)
    for b in range(len(score)):
        if b == c:
            continue
        toward = [a if label == c else -a for a, label in zip(weights, y, strict=True)]
        drops = [
            2 * max(t, 0) if label in (c, b) else abs(t)
            for t, label in zip(toward, y, strict=True)
        ]
        total, wins_ties = Fraction(0), b < c or b == n_classes
        for r, drop in enumerate(sorted(drops, reverse=True)):
            total += drop
            lead = score[c] - score[b]
            if total > lead or (wins_ties and total == lead):
                radius = min(radius, r)
                break
    return c, radius


def fewest_flips_that_change(weights, y, labels, winner, candidates_of):
    """Try every label vector; n + 1 where none changes the winner."""
    fewest = len(y) + 1
    for changed in itertools.product(labels, repeat=len(y)):
        distance = sum(a != b for a, b in zip(changed, y, strict=True))
        if 0 < distance < fewest:
            now = rational_winner(weights, changed, candidates_of(changed))
            fewest = distance if now != winner else fewest
    return fewest


@pytest.mark.parametrize("n_classes", [2, 3])
@pytest.mark.parametrize("seed", range(12))
def test_radius_is_exact_over_all_label_vectors(seed, n_classes):
    rng = np.random.default_rng(seed)
    n_train = int(rng.integers(1, 8 if n_classes == 2 else 7))
    y = rng.integers(0, n_classes, n_train)
    draw = [gaussian, FAMILIES["votes"], FAMILIES["signed votes, int"], FAMILIES["tenths"]]
    weights = draw[seed % 4](rng, 1, n_train)
    (winner,), (radius,) = linear_smoother_radius(weights, y, n_classes)
    exact = [Fraction(float(a)) for a in weights[0]]
    classes = range(n_classes)
    assert winner == rational_winner(exact, y, classes)
    assert radius + 1 == fewest_flips_that_change(exact, y, classes, winner, lambda _: classes)


@pytest.mark.parametrize("n_classes", [1, 2, 3])
@pytest.mark.parametrize("seed", range(10))
def test_open_set_radius_holds_against_a_label_never_seen(seed, n_classes):
    rng = np.random.default_rng(seed)
    n_train = int(rng.integers(n_classes, 7 if n_classes < 3 else 6))
    y = rng.permutation(np.arange(n_train) % n_classes)  # every class has been seen
    weights = (gaussian, FAMILIES["votes"], FAMILIES["tenths"])[seed % 3](rng, 1, n_train)
    (winner,), (radius,) = linear_smoother_radius(weights, y, n_classes, open_set=True)
    exact = [Fraction(float(a)) for a in weights[0]]
    labels = [UNSEEN, *range(n_classes)]
    # The refitted smoother knows the labels present, and no others.
    fewest = fewest_flips_that_change(exact, y, labels, winner, set)
    assert radius < fewest
    if sum(a for a, label in zip(exact, y, strict=True) if label == winner) > 0:
        assert fewest == radius + 1 or (fewest == radius + 2 and weights.min() < 0)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("open_set", [False, True])
def test_radius_equals_rational_arithmetic(family, open_set):
    rng = np.random.default_rng(sum(map(ord, family)))
    for n_train in (0, 1, 2, 5, 40, 255, 256, 700, 2100):
        n_classes = int(rng.integers(1, 6))
        y = rng.integers(0, n_classes, n_train)
        weights = FAMILIES[family](rng, 3, n_train)
        winner, radius = linear_smoother_radius(weights, y, n_classes, open_set=open_set)
        expected = [rational_radius(a, y, n_classes, open_set) for a in weights]
        assert list(zip(winner.tolist(), radius.tolist(), strict=True)) == expected


@given(
    data=st.data(),
    n_classes=st.integers(1, 5),
    n_train=st.integers(0, 30),
    n_samples=st.integers(0, 4),
    open_set=st.booleans(),
)
@settings(max_examples=150, deadline=None)
def test_ties_and_shapes_agree_with_rational_arithmetic(
    data, n_classes, n_train, n_samples, open_set
):
    y = data.draw(st.lists(st.integers(0, n_classes - 1), min_size=n_train, max_size=n_train))
    number = st.sampled_from([-1.0, -0.1, 0.0, 0.1, 0.2, 0.3, 0.7, 1.0, 1 / 3])
    weights = [
        data.draw(st.lists(number, min_size=n_train, max_size=n_train)) for _ in range(n_samples)
    ]
    weights = np.array(weights).reshape(n_samples, n_train)
    y = np.array(y, dtype=int)
    winner, radius = linear_smoother_radius(weights, y, n_classes, open_set=open_set)
    assert winner.shape == radius.shape == (n_samples,)
    assert winner.dtype == radius.dtype == np.int64
    expected = [rational_radius(a, y, n_classes, open_set) for a in weights]
    assert list(zip(winner.tolist(), radius.tolist(), strict=True)) == expected


def test_a_rival_further_behind_can_decide_the_radius():
    # Large weights of both signs lie in class 2: each moves twice its size against class 2, and
    # once its size against class 1, which is nearer.
    rng = np.random.default_rng(0)
    decided_elsewhere = 0
    y = np.repeat([0, 1, 2], [300, 20, 40])
    for _ in range(50):
        large = rng.uniform(2, 3, 20)
        weights = np.concatenate(
            [rng.uniform(0, 0.2, 300), rng.uniform(0, 0.1, 20), large, -large]
        )
        (winner,), (radius,) = linear_smoother_radius([weights], y, 3)
        assert (winner, radius) == rational_radius(weights, y, 3, False)
        scores = np.bincount(y, weights)
        assert scores.argsort().tolist() == [2, 1, 0]
        toward = np.where(y == 0, weights, -weights)
        drops = np.sort(np.abs(toward) + np.where(y < 2, toward, 0))[::-1]
        decided_elsewhere += radius < np.count_nonzero(np.cumsum(drops) <= scores[0] - scores[1])
    assert decided_elsewhere > 40


def test_labels_of_a_third_class_can_decide_the_radius():
    # Class 1 is nearest, but holds large positive weights: flipped to class 2 they lift it past
    # the winner at once, while only small weights can be moved against class 1 itself.
    y = np.repeat([0, 1, 2], [3000, 20, 1000])
    rng = np.random.default_rng(1)
    weights = np.concatenate([np.full(3000, 0.02), np.full(20, 2.8), np.full(1000, 0.01)])
    weights *= rng.uniform(0.99, 1, len(y))
    expected = rational_radius(weights, y, 3, False)
    assert expected[1] < 20
    (winner,), (radius,) = linear_smoother_radius([weights], y, 3)
    assert (winner, radius) == expected


def test_a_sample_that_misleads_costs_nothing_but_time():
    # Every fifth weight is large: the sample of every fifth column expects those to be enough.
    weights = np.ones(1601)
    weights[::5] = 3
    weights *= np.random.default_rng(2).uniform(0.99, 1, 1601)
    weights[1600] = 0
    y = np.repeat([0, 1], [1600, 1])
    (winner,), (radius,) = linear_smoother_radius([weights], y, 2)
    assert (winner, radius) == rational_radius(weights, y, 2, False)
    assert radius > 200


@pytest.mark.parametrize(
    ("weights", "y", "expected"),
    [
        ([1, 1, 2.0**-54], [0, 1, 1], 1),  # lost where 1 + 2**-54 rounds to 1
        ([1, 1, 2.0**-54], [0, 1, 0], 0),
        ([1, 1 / 3, 1 / 3, 1 / 3], [1, 0, 0, 0], 1),  # three thirds are less than one
        ([1, 1 / 3, 1 / 3, 1 / 3], [0, 1, 1, 1], 0),
        ([0.1, 0.1, 0.1, 0.3], [1, 1, 1, 0], 1),  # and three tenths more than 0.3
        ([0.1] * 10 + [1.0], [0] * 10 + [1], 0),
        ([1e16, 1.0, 1.0, 1e16], [0, 0, 0, 1], 0),
        ([1e16, 1.0, 1.0, 1e16], [1, 1, 1, 0], 1),
    ],
)
def test_scores_that_floating_point_cannot_tell_apart_are_told_apart(weights, y, expected):
    assert linear_smoother_winner([weights], y, 2).tolist() == [expected]
    winner, radius = linear_smoother_radius([weights], y, 2)
    assert (winner[0], radius[0]) == rational_radius(weights, y, 2, False)
    assert winner[0] == expected


@pytest.mark.parametrize("family", ["gaussian", "tenths", "signed votes, int", "float32"])
def test_the_worst_attack_meets_the_radius(family):
    rng = np.random.default_rng(3)
    y = rng.integers(0, 3, 500)
    weights = FAMILIES[family](rng, 6, 500)
    winner, radius = linear_smoother_radius(weights, y, 3)
    for a, c, r in zip(weights, winner, radius, strict=True):
        changed = []
        for b in set(range(3)) - {c}:
            toward = np.where(y == c, a, -a).astype(float)
            order = np.argsort(-(np.abs(toward) + np.where((y == c) | (y == b), toward, 0)))
            for flips in (r, r + 1):
                attacked = y.copy()
                at = order[:flips]
                attacked[at] = np.where(a[at] > 0, b, c)
                changed.append((flips, linear_smoother_winner([a], attacked, 3)[0] != c))
        assert not any(lost for flips, lost in changed if flips == r)
        assert any(lost for flips, lost in changed if flips == r + 1)


@pytest.mark.parametrize("family", FAMILIES)
def test_results_do_not_depend_on_the_order_of_training_rows(family):
    rng = np.random.default_rng(7)
    y = rng.integers(0, 3, 900)
    weights = FAMILIES[family](rng, 5, 900)
    expected = linear_smoother_radius(weights, y, 3)
    for _ in range(3):
        order = rng.permutation(900)
        np.testing.assert_array_equal(
            linear_smoother_radius(weights[:, order], y[order], 3), expected
        )
    order = np.argsort(y)
    np.testing.assert_array_equal(linear_smoother_radius(weights[:, order], y[order], 3), expected)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_row_does_not_depend_on_the_rows_beside_it(family):
    rng = np.random.default_rng(8)
    y = rng.integers(0, 4, 300)
    weights = np.concatenate([FAMILIES[family](rng, 500, 300), FAMILIES["votes"](rng, 20, 300)])
    winner, radius = linear_smoother_radius(weights, y, 4)
    for rows in (slice(0, 1), slice(3, 10), slice(499, 520), [17, 2, 510]):
        part = linear_smoother_radius(weights[rows], y, 4)
        np.testing.assert_array_equal(part, (winner[rows], radius[rows]))
    np.testing.assert_array_equal(linear_smoother_winner(weights, y, 4), winner)
    fortran = linear_smoother_radius(np.asfortranarray(weights), y, 4)
    np.testing.assert_array_equal(fortran, (winner, radius))


@pytest.mark.parametrize("family", FAMILIES)
def test_scores_stay_within_the_stated_rounding_error(family):
    rng = np.random.default_rng(9)
    y = rng.integers(0, 3, 1500)
    weights = FAMILIES[family](rng, 4, 1500)
    (block,) = LabelSortedWeights(weights, y, 3).blocks()
    label = np.sort(y)
    for a, scores, slack in zip(block.weights, block.scores, block.slack, strict=True):
        for c in range(3):
            exact = sum(map(Fraction, a[label == c].tolist()), Fraction(0))
            assert abs(Fraction(scores[c]) - exact) <= Fraction(slack)


def test_votes_counts_and_shares_are_summed_without_error():
    rng = np.random.default_rng(10)
    y = rng.integers(0, 2, 3000)
    for name in ("votes", "signed votes, int", "neighbours, 1 / k", "multiples of a third"):
        (block,) = LabelSortedWeights(FAMILIES[name](rng, 5, 3000), y, 2).blocks()
        assert (block.slack == 0).all()
    (block,) = LabelSortedWeights(gaussian(rng, 5, 3000), y, 2).blocks()
    assert (block.slack > 0).all()
    assert (block.slack < 1e-6 * np.abs(block.weights).max(axis=1)).all()


def test_error_bound_grows_with_the_square_of_the_number_of_rows():
    largest = np.array([1.0, 0.0])
    bound = sum_error_bound(1000, largest)
    assert bound[1] == 0
    assert 1000**2 * 2.0**-53 < bound[0] < 1e-8


def test_one_over_k_is_as_tight_as_votes():
    # 7 votes to 3: two flips make 5 to 5, a tie that class 0 keeps and class 1 loses.
    for wins, expected in ((0, 2), (1, 1)):
        y = np.array([wins] * 7 + [1 - wins] * 3)
        for weights in (np.ones((1, 10)), np.full((1, 10), 0.1), np.full((1, 10), 1 / 49)):
            (winner,), (radius,) = linear_smoother_radius(weights, y, 2)
            assert (winner, radius) == (wins, expected)


def test_nothing_can_turn_a_single_class_or_weights_of_zero():
    ones = np.ones((2, 4))
    winner, radius = linear_smoother_radius(ones, [0, 0, 0, 0], 1)
    assert winner.tolist() == [0, 0]
    assert radius.tolist() == [4, 4]
    _, radius = linear_smoother_radius(0 * ones, [1, 0, 1, 0], 2)
    assert radius.tolist() == [4, 4]
    _, radius = linear_smoother_radius(0 * ones, [1, 0, 1, 0], 2, open_set=True)
    assert radius.tolist() == [0, 0]


def test_memory_stays_within_blocks():
    rng = np.random.default_rng(11)
    y = rng.integers(0, 10, 20_000)
    weights = rng.normal(size=(200, 20_000))  # 32 MB
    tracemalloc.start()
    linear_smoother_radius(weights, y, 10)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 16e6


@pytest.mark.parametrize(
    ("weights", "y", "n_classes", "message"),
    [
        (np.ones(3), [0, 1, 0], 2, "weights must have shape"),
        (np.ones((2, 4)), [0, 1, 0], 2, r"weights must have shape \(n_samples, 3\)"),
        ([["a", "b", "c"]], [0, 1, 0], 2, "weights must be an array of real numbers"),
        ([[1.0, np.nan, 0.0]], [0, 1, 0], 2, "weights must be finite"),
        ([[1.0, -np.inf, 0.0]], [0, 1, 0], 2, "weights must be finite"),
        ([[1e308, 1e308, 0.0]], [0, 1, 0], 2, "weights must be finite.*rescale"),
        ([[2**60 + 1, 0, 0]], [0, 1, 0], 2, r"stay below 2\*\*53"),
        (np.ones((1, 3)), [0, 1, 2], 2, r"y must hold codes in 0\.\.1"),
        (np.ones((1, 3)), [0, 1, -1], 2, r"y must hold codes"),
        (np.ones((1, 3)), [0.0, 1.0, 1.0], 2, "y must be a 1-d array of integer codes"),
        (np.ones((1, 3)), [[0, 1, 1]], 2, "y must be a 1-d array"),
        (np.ones((1, 3)), [0, 0, 0], 0, "n_classes must be an integer of at least 1"),
        (np.ones((1, 3)), [0, 0, 0], 2.5, "n_classes must be an integer"),
    ],
)
def test_wrong_arguments_are_named(weights, y, n_classes, message):
    with pytest.raises(ValueError, match=message):
        linear_smoother_radius(weights, y, n_classes)
    with pytest.raises(ValueError, match=message):
        linear_smoother_winner(weights, y, n_classes)
