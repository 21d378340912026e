"""Priced votes against an adversary that tries every answer and every relabelling."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from certified_ensembles.certificates import plurality_radius
from certified_ensembles.certificates.knapsack import (
    NEVER,
    priced_plurality_radius,
    turning_prices,
)
from certified_ensembles.certificates.linear import linear_smoother_radius


def winner_of(votes):
    return int(np.argmax(votes))


def cheapest_attack(ballots, prices, n_classes, open_set):
    """Return the least total price of answers that change the winner, over all answers."""
    shift = int(open_set)  # the class never seen sorts first
    moved = [b + shift if b >= 0 else -1 for b in ballots]
    base = np.bincount([b for b in moved if b >= 0], minlength=n_classes + shift)
    start = shift + winner_of(base[shift:])
    best = NEVER
    for answers in itertools.product(range(-1, n_classes + shift), repeat=len(ballots)):
        cost = 0
        for member, (was, answer) in enumerate(zip(moved, answers, strict=True)):
            if was == answer:
                continue
            if answer == -1:  # nothing makes a member abstain
                cost = NEVER
                break
            column = n_classes if open_set and answer == 0 else answer - shift
            cost += max(1, min(NEVER, int(prices[member, column])))
        if cost < best:
            votes = np.bincount([b for b in answers if b >= 0], minlength=n_classes + shift)
            if winner_of(votes) != start:
                best = cost
    return best


def random_vote(rng, n_members, n_classes, open_set):
    ballots = rng.integers(-1 if rng.random() < 0.3 else 0, n_classes, n_members)
    if rng.random() < 0.5:
        ballots[rng.random(n_members) < 0.6] = rng.integers(n_classes)
    high = rng.choice([2, 4, 12, 40])
    prices = rng.integers(1, high, (n_members, n_classes + open_set))
    prices[rng.random(prices.shape) < rng.choice([0, 0.2])] = NEVER
    return ballots, prices


@pytest.mark.parametrize("open_set", [False, True])
@pytest.mark.parametrize(
    ("n_members", "n_classes"), [(1, 2), (3, 2), (6, 2), (4, 3), (5, 3), (4, 4)]
)
def test_radius_is_the_cheapest_attack_over_all_answers(n_members, n_classes, open_set):
    rng = np.random.default_rng([n_members, n_classes, open_set])
    priced = 0
    for _ in range(40):
        ballots, prices = random_vote(rng, n_members, n_classes, open_set)
        votes = np.bincount(ballots[ballots >= 0], minlength=n_classes)
        winner, radius = priced_plurality_radius(
            ballots[None], prices[None], n_classes, open_set=open_set
        )
        assert winner[0] == votes.argmax()
        attack = cheapest_attack(ballots, prices, n_classes, open_set)
        plain = plurality_radius(votes[None], open_set=open_set)[1][0]
        if attack < NEVER:
            assert radius[0] == max(attack - 1, plain), (ballots, prices)
            priced += radius[0] > plain
        else:
            assert radius[0] == plain
    assert priced > 5 or n_members == 1


@given(st.data())
@settings(max_examples=200, deadline=None)
def test_radius_is_never_below_the_radius_of_the_ballots(data):
    n_members = data.draw(st.integers(1, 30))
    n_classes = data.draw(st.integers(1, 4))
    open_set = data.draw(st.booleans())
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32)))
    ballots, prices = random_vote(rng, n_members, n_classes, open_set)
    votes = np.bincount(ballots[ballots >= 0], minlength=n_classes)[None]
    winner, radius = priced_plurality_radius(
        ballots[None], prices[None], n_classes, open_set=open_set
    )
    expected = plurality_radius(votes, open_set=open_set)
    assert winner[0] == expected[0][0]
    assert radius[0] >= expected[1][0]
    ones = np.ones_like(prices)
    unit = priced_plurality_radius(ballots[None], ones[None], n_classes, open_set=open_set)
    assert unit[1][0] == expected[1][0]


def test_two_votes_of_one_member_may_cost_less_than_one_of_two():
    # Turning member 0 to class 1 closes both votes for 3; any two single votes cost 4 or more.
    ballots = np.array([[0, 0, 0, 1, 1]])
    prices = np.array([[[0, 3, 2], [0, 9, 2], [0, 9, 2], [9, 0, 9], [9, 0, 9]]])
    assert priced_plurality_radius(ballots, prices, 3)[1].tolist() == [2]


def test_rows_do_not_depend_on_each_other():
    rng = np.random.default_rng(0)
    ballots = rng.integers(0, 3, (20, 9))
    prices = rng.integers(1, 9, (20, 9, 3))
    winner, radius = priced_plurality_radius(ballots, prices, 3)
    for i in range(20):
        one = priced_plurality_radius(ballots[[i]], prices[[i]], 3)
        assert (one[0][0], one[1][0]) == (winner[i], radius[i])
    assert priced_plurality_radius(ballots[:0], prices[:0], 3)[1].shape == (0,)


@pytest.mark.parametrize(
    ("ballots", "prices", "match"),
    [
        (np.zeros(3, int), np.zeros((3, 2), int), "ballots must be"),
        (np.zeros((1, 3)), np.zeros((1, 3, 2), int), "ballots must be"),
        (np.full((1, 3), 2), np.zeros((1, 3, 2), int), "raise n_classes"),
        (np.zeros((1, 3), int), np.zeros((1, 3, 3), int), r"shape \(1, 3, 2\)"),
        (np.zeros((1, 3), int), np.zeros((1, 3, 2)), "prices must be"),
    ],
)
def test_errors_name_the_array(ballots, prices, match):
    with pytest.raises(ValueError, match=match):
        priced_plurality_radius(ballots, prices, 2)


# ---------------------------------------------------------------- prices of a linear smoother


def random_smoother(rng, n_train, n_classes):
    """Weights that are multiples of 1/64, so that all sums are exact in any order."""
    kind = rng.integers(3)
    if kind == 0:  # votes, so that ties abound
        weights = rng.integers(-1, 2, (1, n_train)).astype(float)
    elif kind == 1:  # both signs, as of a ridge regression
        weights = rng.integers(-32, 64, (1, n_train)) / 64
    else:
        weights = rng.integers(0, 64, (1, n_train)) / 64
    y = rng.integers(0, n_classes, n_train)
    if rng.random() < 0.6:  # a favourite makes larger prices
        y[rng.random(n_train) < 0.7] = rng.integers(n_classes)
    return weights, y


def own_winners(weights, labellings):
    """The class with the largest score among those that have a row; -1 sorts first."""
    classes = np.arange(-1, labellings.max() + 1)
    has = labellings[:, :, None] == classes
    scores = np.where(has.any(axis=1), (has * weights[0][:, None]).sum(axis=1), -np.inf)
    return classes[scores.argmax(axis=1)]


@pytest.mark.parametrize("open_set", [False, True])
@pytest.mark.parametrize("copies", [False, True])
@pytest.mark.parametrize(("n_train", "n_classes"), [(6, 2), (8, 2), (6, 3)])
def test_no_relabelling_below_the_price_makes_a_class_win(n_train, n_classes, copies, open_set):
    rng = np.random.default_rng([n_train, n_classes, copies, open_set])
    labels = range(-1 if open_set else 0, n_classes)
    labellings = np.array(list(itertools.product(labels, repeat=n_train)))
    met = large = 0
    for _ in range(100):
        weights, y = random_smoother(rng, n_train, n_classes)
        groups = np.arange(n_train)
        if copies:
            groups = np.sort(rng.integers(0, n_train - 1, n_train))
        shuffle = rng.permutation(n_train)  # the order of rows must not matter
        winner, prices = turning_prices(
            weights[:, shuffle], y[shuffle], n_classes, groups=groups[shuffle], open_set=open_set
        )
        assert winner[0] == own_winners(weights, y[None])[0]
        assert prices[0, winner[0]] == 0
        moved = labellings != y
        cost = sum(moved[:, groups == g].any(axis=1) for g in np.unique(groups))
        won = own_winners(weights, labellings)
        # The label never seen is -1, and its price the last.
        true = np.array(
            [cost[won == c].min(initial=NEVER) for c in [*range(n_classes), -1][: prices.shape[1]]]
        )
        assert (prices[0] <= true).all(), (weights, y, groups)
        met += (prices[0] == true).sum()
        large += (prices[0] > 1).sum()
    assert met > 75 * prices.shape[1]
    assert large > 5


def test_least_price_is_the_exact_radius_of_the_smoother_plus_one():
    rng = np.random.default_rng(0)
    weights = rng.random((50, 40))
    y = rng.integers(0, 3, 40)
    winner, prices = turning_prices(weights, y, 3)
    expected = linear_smoother_radius(weights, y, 3)
    np.testing.assert_array_equal(winner, expected[0])
    prices[np.arange(50), winner] = NEVER
    np.testing.assert_array_equal(prices.min(axis=1), expected[1] + 1)


def test_a_class_without_rows_never_wins_and_has_a_price():
    # All weights are negative: a class without rows would score more than any other.
    winner, prices = turning_prices(-np.ones((1, 3)), [1, 1, 2], n_classes=4)
    assert winner[0] == 2
    assert prices[0].tolist() == [1, 1, 0, 1]


def test_copies_of_a_row_are_bought_together():
    weights, y = np.ones((1, 6)), np.array([0, 0, 0, 0, 0, 1])
    alone = turning_prices(weights, y, 2)[1]
    pairs = turning_prices(weights, y, 2, groups=[0, 0, 1, 1, 2, 3])[1]
    assert alone.tolist() == [[0, 3]]
    assert pairs.tolist() == [[0, 2]]
