"""Radii in annotators against every rewriting of their labels, and against rational arithmetic."""

import itertools
import tracemalloc
from fractions import Fraction

import numpy as np
import pytest

from certified_ensembles.certificates import _group_selection, linear_smoother_radius
from certified_ensembles.certificates.flips import groups_within_flips
from weight_families import FAMILIES

# Of every weight here 2**56 times is an integer, and sums of ten of these fit into 64 bits.
DRAWS = {
    "votes": lambda rng, n: rng.integers(0, 2, n).astype(float),
    "signed votes and zeros": lambda rng, n: rng.integers(-1, 2, n).astype(float),
    "equal weights": lambda rng, n: np.ones(n),
    "tenths": lambda rng, n: rng.choice([0.1, 0.2, 0.3, -0.1], n),
    "gaussian": lambda rng, n: np.round(np.clip(rng.normal(size=n), -3, 3) * 2**40) / 2**40,
    "kernel": lambda rng, n: np.round(rng.random(n) * 2**40) / 2**40,
}


def fewest_groups_that_change(weights, y, groups, labels, winner):
    """Try every label vector; one more than there are groups where none changes the winner.

    A label never seen, -1, takes part where it is written; then labels without a row do not.
    """
    units = np.array([int(Fraction(float(a)) * 2**56) for a in weights], dtype=np.int64)
    vectors = np.array(list(itertools.product(labels, repeat=len(y))))
    scores = np.stack([(vectors == c) @ units for c in labels], axis=1)
    if -1 in labels:
        absent = np.stack([(vectors != c).all(axis=1) for c in labels], axis=1)
        scores[absent] = np.iinfo(np.int64).min
    now = np.array(labels)[scores.argmax(axis=1)]
    changed = vectors != y
    cost = sum(changed[:, groups == g].any(axis=1).astype(int) for g in np.unique(groups))
    return cost[now != winner].min(initial=len(np.unique(groups)) + 1)


def small_instances(seed, how_many, most):
    rng = np.random.default_rng(seed)
    for i in range(how_many):
        n_classes = int(rng.integers(2, 4))
        n_train = int(rng.integers(most // 3, most - n_classes))
        y = np.where(rng.random(n_train) < 0.7, 0, rng.integers(0, n_classes, n_train))
        groups = rng.integers(0, int(rng.integers(2, 2 * n_train)), n_train)
        name = list(DRAWS)[i % len(DRAWS)]
        yield DRAWS[name](rng, n_train), y, groups, n_classes


@pytest.mark.parametrize("seed", range(6))
def test_radius_is_exact_over_everything_that_annotators_can_write(seed):
    radii = []
    for weights, y, groups, n_classes in small_instances(seed, 100, 11):
        (winner,), (radius,) = linear_smoother_radius([weights], y, n_classes, groups=groups)
        fewest = fewest_groups_that_change(weights, y, groups, list(range(n_classes)), winner)
        assert radius + 1 == fewest, (weights, y, groups)
        radii.append(radius)
    assert np.mean(radii) > 0.1


@pytest.mark.parametrize("seed", range(3))
def test_open_set_radius_holds_against_annotators_who_invent_a_label(seed):
    loose = 0
    for weights, y, groups, n_classes in small_instances(10 + seed, 60, 8):
        y[: min(n_classes, len(y))] = np.arange(min(n_classes, len(y)))
        if len(np.unique(y)) < n_classes:
            continue
        (winner,), (radius,) = linear_smoother_radius(
            [weights], y, n_classes, groups=groups, open_set=True
        )
        labels = [-1, *range(n_classes)]
        fewest = fewest_groups_that_change(weights, y, groups, labels, winner)
        assert radius < fewest, (weights, y, groups)
        loose += fewest > radius + 1
    assert loose < 20


def rational_radius(weights, y, groups, n_classes, open_set):
    """Winner and radius by the definition: exact sums of every group, sorted for every rival."""
    weights = [Fraction(float(a)) for a in weights]
    score = [Fraction(0)] * (n_classes + open_set)
    for a, label in zip(weights, y, strict=True):
        score[label] += a
    c = max(range(n_classes), key=lambda k: (score[k], -k))
    radius = len(set(groups))
    for b in range(len(score)):
        if b == c:
            continue
        drop = dict.fromkeys(groups, Fraction(0))
        for a, label, g in zip(weights, y, groups, strict=True):
            toward = a if label == c else -a
            drop[g] += 2 * max(toward, 0) if label in (c, b) else abs(toward)
        left, wins_ties = score[c] - score[b], b < c or b == n_classes
        for r, lost in enumerate(sorted(drop.values(), reverse=True)):
            left -= lost
            if left < 0 or (wins_ties and left == 0):
                radius = min(radius, r)
                break
    return c, radius


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("open_set", [False, True])
def test_radius_equals_rational_arithmetic(family, open_set):
    rng = np.random.default_rng(sum(map(ord, family)))
    for n_train, n_groups in ((1, 1), (5, 2), (40, 7), (300, 3), (300, 90), (700, 699), (900, 40)):
        n_classes = int(rng.integers(1, 6))
        y = rng.integers(0, n_classes, n_train)
        # Some annotators have written a few labels, some very many.
        groups = np.minimum(rng.geometric(2 / (n_groups + 1), n_train), n_groups)
        weights = FAMILIES[family](rng, 3, n_train)
        answer = linear_smoother_radius(weights, y, n_classes, groups=groups, open_set=open_set)
        expected = [rational_radius(a, y, groups, n_classes, open_set) for a in weights]
        assert list(zip(*(part.tolist() for part in answer), strict=True)) == expected


@pytest.fixture(params=[0, np.inf], ids=["cells apart", "table of cells"])
def layout(request, monkeypatch):
    monkeypatch.setattr(_group_selection, "_MAX_TABLE", request.param)


@pytest.mark.usefixtures("layout")
def test_rival_that_binds_may_be_another_than_the_nearest():
    # Thirty annotators wrote 0 five times and 1 three times, others wrote 2 once. So 1 is the
    # nearest rival, but what the thirty wrote of it they can give to 2 alone.
    y = np.array([0, 0, 0, 0, 0, 1, 1, 1] * 30 + [2] * 86)
    groups = np.append(np.repeat(np.arange(30), 8), np.arange(30, 116))
    weights = np.random.default_rng(4).integers(95, 106, (30, len(y))) / 100
    answer = linear_smoother_radius(weights, y, 3, groups=groups)
    expected = [rational_radius(a, y, groups, 3, False) for a in weights]
    assert list(zip(*(part.tolist() for part in answer), strict=True)) == expected
    nearest = linear_smoother_radius(weights[:, y < 2], y[y < 2], 2, groups=groups[y < 2])
    assert (nearest[1] > answer[1]).all()


@pytest.mark.usefixtures("layout")
def test_rivals_are_passed_over_exactly_where_a_threshold_says_so():
    rng = np.random.default_rng(5)
    y, groups = rng.integers(0, 4, 90), np.append(np.arange(20), rng.integers(0, 20, 70))
    weights = rng.integers(-3, 9, (40, 90)).astype(float)
    weights[:, :2] = 1, 8
    smoother = _group_selection.GroupedWeights(weights, y, 5, groups)
    (block,) = smoother.blocks()
    cells, base = block.parts
    smoother.add_cells(base, cells, block.winner, 1.0)
    radius, z = rng.integers(1, 6, 40), rng.integers(5, 40, 40).astype(float)
    limit = rng.integers(100, 400, (40, 6)).astype(float)
    fits = _group_selection._surely_fits(
        smoother, cells, base, radius, z, limit, np.zeros(len(weights))
    )
    for i, (a, c) in enumerate(zip(weights, block.winner, strict=True)):
        for b in set(range(6)) - {c}:
            drop = np.abs(a) + np.where(y == c, a, 0.0) - np.where(y == b, a, 0.0)
            beyond = np.maximum(np.bincount(groups, drop) - z[i], 0.0).sum()
            assert fits[i, b] == (radius[i] * z[i] + beyond <= limit[i, b])
    assert 20 < fits.sum() < 220


@pytest.mark.parametrize(("tiny", "survives"), [(2.0**-60, 0), (0.0, 1), (-(2.0**-60), 1)])
def test_rounding_hides_no_annotator_who_can_turn_the_vote(tiny, survives):
    # The first annotator moves the lead 2 + tiny by 2 + 2 tiny, or by 2 where tiny is not more.
    weights, y, groups = [[1.0, tiny, 1.0, 0.0]], [0, 0, 0, 1], [0, 0, 1, 1]
    _, radius = linear_smoother_radius(weights, y, 2, groups=groups)
    assert radius == rational_radius(weights[0], y, groups, 2, False)[1]
    assert radius == (survives if tiny >= 0 else 0)


def test_close_sums_of_annotators_are_put_in_their_true_order(monkeypatch):
    settled = []
    exact = _group_selection._exact_radius
    monkeypatch.setattr(
        _group_selection, "_exact_radius", lambda *args: settled.append(1) or exact(*args)
    )
    rng = np.random.default_rng(0)
    for _ in range(300):
        # Annotators whose sums differ in what rounding takes away or adds, or not at all.
        weights = np.ones(8)
        weights[1::2] = rng.integers(0, 5, 4) * 2.0**-54
        y, groups = rng.integers(0, 2, 8), np.arange(8) // 2
        (winner,), (radius,) = linear_smoother_radius([weights], y, 2, groups=groups)
        assert (winner, radius) == rational_radius(weights, y, groups, 2, False)
    assert len(settled) > 10


def test_expansion_holds_every_digit_of_a_sum():
    rng = np.random.default_rng(1)
    for _ in range(50):
        numbers = rng.normal(size=30) * 10.0 ** rng.integers(-200, 200, 30)
        parts = _group_selection._expansion(numbers)
        assert sum(map(Fraction, parts)) == sum(map(Fraction, numbers.tolist()))
    assert _group_selection._expansion(np.array([1.0, -1.0])) == [0.0]


@pytest.mark.parametrize("family", ["gaussian", "votes", "hundreds of scales"])
def test_annotators_of_one_label_each_are_labels(family):
    rng = np.random.default_rng(2)
    weights, y = FAMILIES[family](rng, 5, 400), rng.integers(0, 4, 400)
    expected = linear_smoother_radius(weights, y, 4)
    names = rng.permutation(400)
    np.testing.assert_array_equal(linear_smoother_radius(weights, y, 4, groups=names), expected)
    # One annotator has two labels of weight 0: almost the same sums, by the other way.
    padded, labels = np.pad(weights, ((0, 0), (0, 2))), np.append(y, [0, 1])
    groups = np.append(names, [400, 400])
    np.testing.assert_array_equal(
        linear_smoother_radius(padded, labels, 4, groups=groups), expected
    )


def test_neither_names_nor_order_nor_company_of_annotators_count():
    rng = np.random.default_rng(3)
    weights, y, groups = (
        rng.normal(size=(600, 300)),
        rng.integers(0, 3, 300),
        rng.integers(0, 40, 300),
    )
    weights[:, y == 1] += 0.2
    expected = linear_smoother_radius(weights, y, 3, groups=groups)
    order = rng.permutation(300)
    for names in (groups * 7 - 100, np.array([f"ann {g}" for g in groups]), groups.astype(float)):
        part = linear_smoother_radius(weights[:9, order], y[order], 3, groups=names[order])
        np.testing.assert_array_equal(part, (expected[0][:9], expected[1][:9]))
    assert expected[1].max() > 2
    assert (expected[1] <= linear_smoother_radius(weights, y, 3)[1]).all()


def test_nothing_turns_a_single_class_or_weights_of_zero():
    for weights, y, n_classes in (
        (np.ones((1, 4)), [0] * 4, 1),
        (np.zeros((1, 4)), [1, 0, 1, 0], 2),
    ):
        _, radius = linear_smoother_radius(weights, y, n_classes, groups=[0, 0, 1, 2])
        assert radius.tolist() == [3]


def test_memory_stays_within_blocks_of_annotators():
    rng = np.random.default_rng(4)
    y, weights = rng.integers(0, 10, 20_000), rng.normal(size=(200, 20_000))  # 32 MB
    for size in (2, 50):
        groups = rng.integers(0, 20_000 // size, 20_000)
        tracemalloc.start()
        linear_smoother_radius(weights, y, 10, groups=groups)
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert peak < 24e6


def test_flips_are_shared_out_to_the_busiest_annotators():
    groups = [7, 7, 7, 1, 1, 2]
    radius = groups_within_flips([-1, 0, 2, 3, 4, 5, 6, 9], groups)
    assert radius.tolist() == [-1, 0, 0, 1, 1, 2, 3, 3]


@pytest.mark.parametrize(
    ("groups", "message"),
    [
        (
            [0, 1],
            r"groups must have shape \(3,\), one group for each label in y, got shape \(2,\)",
        ),
        ([[0, 1, 1]], "groups must have shape"),
        ([0.0, np.nan, 1.0], "groups holds nan at index 1"),
    ],
)
def test_wrong_groups_are_named(groups, message):
    with pytest.raises(ValueError, match=message):
        linear_smoother_radius(np.ones((1, 3)), [0, 1, 0], 2, groups=groups)
