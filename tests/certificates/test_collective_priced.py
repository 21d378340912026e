"""Collective certificates of members with prices, against every way to spend the budget."""

import itertools

import numpy as np
import pytest

from certified_ensembles.certificates import (
    collective,
    collective_survivors,
    priced_plurality_radius,
)
from certified_ensembles.certificates._attacker import Attacker
from certified_ensembles.certificates.knapsack import NEVER


def spendings(n_members, budget):
    """All ways to share out a budget among members, or to leave a part of it."""
    for bars in itertools.combinations(range(budget + n_members), n_members):
        yield np.diff([-1, *bars]) - 1


def survives(ballots, prices, spent, n_classes, open_set):
    """Whether one row's winner stays whatever the members answer at what is spent on them."""
    shift = int(open_set)  # the class never seen sorts first
    options = []
    for ballot, price, most in zip(ballots, prices, spent, strict=True):
        own = ballot + shift if ballot >= 0 else -1
        column = [n_classes] * shift + list(range(n_classes))
        answers = range(n_classes + shift)
        options.append(
            [own, *(t for t in answers if t != own and max(1, price[column[t]]) <= most)]
        )
    first = np.bincount(ballots[ballots >= 0], minlength=n_classes).argmax() + shift
    own, *others = itertools.product(*options)
    votes = [
        np.bincount([t for t in answers if t >= 0], minlength=n_classes + shift)
        for answers in others
    ]
    return all(n.argmax() == first for n in votes)


def draw(rng, n_classes, open_set):
    """Return a small instance: ballots, prices, budget, winners and true classes."""
    n_members, n_rows = int(rng.integers(1, 6)), int(rng.integers(2, 7))
    ballots = rng.integers(-1, n_classes, (n_rows, n_members))
    favourite = rng.integers(0, n_classes, (n_rows, 1))
    ballots = np.where(rng.random(ballots.shape) < 0.5, favourite, ballots)
    prices = rng.integers(1, rng.choice([2, 4, 12]), (*ballots.shape, n_classes + open_set))
    prices[rng.random(prices.shape) < rng.choice([0, 0.2])] = NEVER
    winner, radius = priced_plurality_radius(ballots, prices, n_classes, open_set=open_set)
    budget = min(int(np.median(radius)) + int(rng.choice([0, 1, 1, 2])), 8)
    return ballots, prices, budget, winner, np.where(rng.random(n_rows) < 0.8, winner, -1)


@pytest.mark.parametrize("helped", [False, True])
@pytest.mark.parametrize("open_set", [False, True])
@pytest.mark.parametrize("n_classes", [1, 2, 3])
def test_certified_count_equals_brute_force(monkeypatch, n_classes, open_set, helped):
    if not helped:  # small programs, their cuts, and no attack that could mend a bound
        monkeypatch.setattr(collective, "_GROUP_ROWS", 3)
        nothing = (np.empty(0, dtype=int), 0)
        monkeypatch.setattr(Attacker, "strongest", lambda attacker: nothing)
    rng = np.random.default_rng([n_classes, open_set, helped])
    gains = beyond = 0
    for _ in range(60):
        ballots, prices, budget, winner, y_true = draw(rng, n_classes, open_set)
        how = {"y_true": y_true, "open_set": open_set}
        result = collective_survivors(ballots, n_classes, budget, prices=prices, **how)
        rows = np.flatnonzero(winner == y_true)
        exact = min(
            sum(survives(ballots[x], prices[x], spent, n_classes, open_set) for x in rows)
            for spent in spendings(ballots.shape[1], budget)
        )
        assert result.certified == result.upper == exact, (ballots.tolist(), prices.tolist())
        assert result.pointwise <= result.certified
        # The attack reported costs no more than the budget, and leaves as many as it says.
        spent = np.bincount(result.attack, minlength=ballots.shape[1])
        assert spent.sum() <= budget
        left = sum(survives(ballots[x], prices[x], spent, n_classes, open_set) for x in rows)
        assert left == result.upper
        gains += result.certified > result.pointwise
        plain = collective_survivors(ballots, n_classes, budget, **how).certified
        assert plain <= result.certified
        beyond += plain < result.certified
    assert n_classes == 1 or (gains >= 5 and beyond >= 5)


def test_members_that_all_cost_one_are_members_without_prices():
    rng = np.random.default_rng(0)
    ballots = rng.integers(0, 3, (15, 7))
    prices = np.ones((15, 7, 3), dtype=int)
    for budget in range(1, 5):
        priced = collective_survivors(ballots, 3, budget, prices=prices)
        assert priced[:4] == collective_survivors(ballots, 3, budget)[:4]


def test_budget_is_spent_once_for_all_rows():
    # Each row hangs on one member that costs four operations: eight turn two of the three rows.
    ballots = np.full((3, 3), -1)
    np.fill_diagonal(ballots, 0)
    prices = np.full((3, 3, 2), 4)
    prices[~np.eye(3, dtype=bool)] = NEVER
    result = collective_survivors(ballots, 2, 8, prices=prices)
    assert (result.pointwise, result.certified, result.optimal) == (0, 1, True)
    assert sorted(np.bincount(result.attack, minlength=3)) == [0, 4, 4]


def test_solver_is_not_asked_about_prices_beside_which_its_tolerances_matter():
    ballots = np.full((3, 3), -1)
    np.fill_diagonal(ballots, 0)
    prices = np.full((3, 3, 2), NEVER)
    for price, certified in ((2**20, 1), (2**20 + 1, 0)):
        prices[np.eye(3, dtype=bool)] = price
        result = collective_survivors(ballots, 2, 2 * price, prices=prices)
        assert (result.pointwise, result.certified, result.upper) == (0, certified, 1)


def test_what_nothing_can_turn_survives_any_budget():
    prices = np.full((2, 3, 2), NEVER)
    result = collective_survivors([[0, 0, 0], [1, 1, 0]], 2, 10**6, prices=prices)
    assert result.certified == 2


def test_no_time_leaves_the_pointwise_count():
    rng = np.random.default_rng(1)
    ballots, prices = rng.integers(0, 3, (20, 6)), rng.integers(1, 5, (20, 6, 3))
    radius = priced_plurality_radius(ballots, prices, 3)[1]
    for budget in range(1, 6):
        result = collective_survivors(ballots, 3, budget, prices=prices, time_limit=0)
        assert result.certified == result.pointwise == (radius >= budget).sum()


def test_prices_beside_a_spread_are_refused():
    with pytest.raises(ValueError, match="prices go with members of one partition each"):
        collective_survivors([[0, 1]], 2, 1, prices=np.ones((1, 2, 2), int), spread=[[0], [1]])


def test_prices_of_another_shape_are_refused():
    with pytest.raises(ValueError, match="prices must be an array of integers of shape"):
        collective_survivors([[0, 1]], 2, 1, prices=np.ones((1, 2, 3), int))
