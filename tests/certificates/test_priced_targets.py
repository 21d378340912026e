"""Targets and first places of a priced vote, against every answer of every member."""

import itertools

import numpy as np
import pytest

from all_votes import places, random_ballots
from certified_ensembles.certificates import (
    priced_plurality_radius,
    priced_target_radius,
    priced_top_k_radius,
    target_radius,
    top_k_radius,
)

NEVER = 1 << 40


def random_vote(rng, n_members, n_classes, open_set):
    ballots = random_ballots(rng, n_members, n_classes)
    prices = rng.integers(1, rng.choice([2, 4, 12]), (n_members, n_classes + open_set))
    prices[rng.random(prices.shape) < rng.choice([0, 0.2])] = NEVER
    return ballots, prices


def cheapest_attack(ballots, prices, n_classes, n_new, succeeds):
    """Return the least total price of answers with which an attack succeeds, over all answers.

    New classes sort first, and each costs what the last column says.
    """
    moved = np.where(ballots >= 0, ballots + n_new, -1)
    options = [[*[-1] * int(was < 0), *range(n_classes + n_new)] for was in ballots]
    answers = np.array(list(itertools.product(*options)))
    columns = np.where(answers < n_new, n_classes, answers - n_new)
    columns = np.minimum(columns, prices.shape[1] - 1)
    cost = prices[np.arange(len(ballots)), columns]
    cost = np.where(answers == moved, 0, np.minimum(cost, NEVER)).sum(axis=1)
    votes = (answers[:, :, None] == np.arange(n_classes + n_new)).sum(axis=1)
    return cost[succeeds(votes) & (answers != moved).any(axis=1)].min(initial=NEVER)


CASES = [(1, 2), (3, 2), (6, 2), (4, 3), (5, 3), (4, 4)]


@pytest.mark.parametrize("open_set", [False, True])
@pytest.mark.parametrize(("n_members", "n_classes"), CASES)
def test_no_budget_within_the_radius_makes_the_target_win(n_members, n_classes, open_set):
    rng = np.random.default_rng([n_members, n_classes, open_set])
    equal = asked = 0
    for _ in range(50):
        ballots, prices = random_vote(rng, n_members, n_classes, open_set)
        t, vote = int(rng.integers(n_classes)), (ballots[None], prices[None], n_classes)
        (radius,) = priced_target_radius(*vote, t, open_set=open_set)
        winner, steady = priced_plurality_radius(*vote, open_set=open_set)
        if winner[0] == t:
            assert radius == -1
            continue
        attack = cheapest_attack(
            ballots, prices, n_classes, open_set, lambda v, t=t + open_set: v.argmax(axis=1) == t
        )
        plain = target_radius((ballots[:, None] == np.arange(n_classes)).sum(axis=0)[None], t)[0]
        assert max(plain, 0) <= radius, (ballots, prices, t)
        assert radius < attack
        # Where nothing turns the winner, its radius is not that of a price.
        assert radius >= steady[0] or attack == NEVER
        asked += 1
        equal += radius == attack - 1 or attack == NEVER
    assert equal > 0.6 * asked


@pytest.mark.parametrize("open_set", [False, True])
@pytest.mark.parametrize(("n_members", "n_classes"), CASES)
def test_no_budget_within_the_radius_pushes_a_label_out(n_members, n_classes, open_set):
    rng = np.random.default_rng([n_members, n_classes, open_set, 1])
    equal = asked = 0
    for _ in range(50):
        ballots, prices = random_vote(rng, n_members, n_classes, open_set)
        votes = (ballots[:, None] == np.arange(n_classes)).sum(axis=0)[None]
        y, k = int(votes.argmax()), int(rng.integers(1, 4))
        if rng.random() < 0.3:
            y = int(rng.integers(n_classes))
        vote = ballots[None], prices[None], n_classes
        (radius,) = priced_top_k_radius(*vote, y, k, open_set=open_set)
        if places(votes, y)[0] >= k:
            assert radius == -1
            continue
        n_new = k * open_set
        attack = cheapest_attack(
            ballots, prices, n_classes, n_new, lambda v, y=y + n_new, k=k: places(v, y) >= k
        )
        assert top_k_radius(votes, y, k, open_set=open_set)[0] <= radius, (ballots, prices, y, k)
        assert radius < attack or attack == NEVER
        if k == 1 and y == votes.argmax():
            assert radius == priced_plurality_radius(*vote, open_set=open_set)[1][0]
        asked += 1
        equal += radius == attack - 1 or attack == NEVER
    assert equal > 0.5 * asked


def test_rows_do_not_depend_on_each_other():
    rng = np.random.default_rng(4)
    ballots, prices = rng.integers(-1, 3, (20, 9)), rng.integers(1, 9, (20, 9, 4))
    own = rng.integers(3, size=20)
    target = priced_target_radius(ballots, prices, 3, own, open_set=True)
    kept = priced_top_k_radius(ballots, prices, 3, own, 2, open_set=True)
    several = priced_target_radius(ballots, prices, 3, [0, 2], open_set=True)
    for i in range(20):
        row = ballots[[i]], prices[[i]], 3
        assert priced_target_radius(*row, int(own[i]), open_set=True)[0] == target[i]
        assert priced_top_k_radius(*row, own[i], 2, open_set=True)[0] == kept[i]
        both = [priced_target_radius(*row, t, open_set=True)[0] for t in (0, 2)]
        assert min(both) == several[i]


def test_unusable_input_is_refused():
    vote = np.zeros((1, 3), int), np.ones((1, 3, 2), int), 2
    with pytest.raises(ValueError, match="target"):
        priced_target_radius(*vote, 2)
    with pytest.raises(ValueError, match="k must be"):
        priced_top_k_radius(*vote, 0, 0)
    with pytest.raises(ValueError, match="prices must be"):
        priced_target_radius(vote[0], vote[1][:, :, :1], 2, 1)
