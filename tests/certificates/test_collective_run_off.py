"""Collective certificates of a run-off against every set of members with every ranking."""

import itertools

import numpy as np
import pytest

from certified_ensembles.certificates import (
    collective,
    collective_run_off_survivors,
    collective_survivors,
    finite_run_off_radius,
    run_off_radius,
)
from certified_ensembles.certificates._attacker import Attacker
from certified_ensembles.certificates._moves import Partitions
from certified_ensembles.certificates._ways import run_off_ways
from elections import hold_elections, poll, polls_of_groups, random_scores, ranking_of


@pytest.fixture
def by_solver(monkeypatch):
    """Leave small instances to the solver and its cuts: no attack may mend a bound."""
    monkeypatch.setattr(collective, "_ADDITIONS_PER_SECOND", 0)
    monkeypatch.setattr(collective, "_GROUP_ROWS", 3)
    nothing = (np.empty(0, dtype=int), 0)
    monkeypatch.setattr(Attacker, "strongest", lambda attacker: nothing)


def survives(scores, members, open_set):
    """Whether one row's winner stays whatever ranking the given members have."""
    if not members:
        return True
    n_known = scores.shape[1]
    known = np.sum([poll(ranking_of(member), n_known) for member in scores], axis=0)
    winner = hold_elections(known[None], n_known)[0] + 2 * open_set
    if open_set:
        scores = np.hstack([np.full((len(scores), 2), -np.inf), scores])
    n_classes = scores.shape[1]
    polls = np.array([poll(ranking_of(member), n_classes) for member in scores])
    kept = polls.sum(axis=0, dtype=np.int8) - polls[members].sum(axis=0, dtype=np.int8)
    changed = kept + polls_of_groups(len(members), n_classes)
    return bool((hold_elections(changed, n_classes) == winner).all())


def fewest_survivors(scores, budget, spread, open_set):
    """Return the least number of rows that survive any set of `budget` partitions."""
    least = len(scores)
    for taken in itertools.combinations(spread.tolist(), min(budget, len(spread))):
        members = sorted(set(itertools.chain.from_iterable(taken)))
        least = min(least, sum(survives(row, members, open_set) for row in scores))
    return least


def draw(rng, n_classes, shared):
    """Return a small instance: scores, spread, budget, winners and true classes."""
    n_members = int(rng.integers(2, 7))
    n_rows = int(rng.integers(2, 9))
    scores = np.stack([random_scores(rng, n_members, n_classes) for _ in range(n_rows)])
    favoured = np.eye(n_classes, dtype=bool)[rng.integers(0, n_classes, (n_rows, 1))]
    scores[favoured & (rng.random((n_rows, n_members, 1)) < rng.choice([0.2, 0.5]))] = 9
    spread = np.arange(n_members)[:, None]
    if shared:  # as finite aggregation has it, or any reach
        spread = (spread + rng.choice(n_members, 2, replace=False)) % n_members
        if rng.random() < 0.3:
            spread = rng.integers(0, n_members, (int(rng.integers(2, 7)), 2))
    winner, radius = finite_run_off_radius(scores, spread)
    budget = min(int(np.median(radius)) + int(rng.choice([0, 1, 1, 1, 2])), 2 if shared else 3)
    return scores, spread, budget, winner, np.where(rng.random(n_rows) < 0.8, winner, -1)


def compare_with_brute_force(seed, n_instances, n_classes, open_set, shared):
    """Assert equality on random instances; return how often the pointwise count was lower."""
    rng = np.random.default_rng(seed)
    gains = 0
    for _ in range(n_instances):
        scores, spread, budget, winner, y_true = draw(rng, n_classes, shared)
        result = collective_run_off_survivors(
            scores,
            budget,
            spread=spread if shared else None,
            y_true=y_true,
            open_set=open_set,
        )
        exact = fewest_survivors(scores[winner == y_true], budget, spread, open_set)
        assert result.certified == result.upper == exact, (scores.tolist(), spread.tolist())
        assert result.pointwise <= result.certified
        gains += result.certified > result.pointwise
    return gains


CASES = [(1, True, 20), (2, False, 60), (2, True, 60), (3, False, 80), (4, False, 50)]


@pytest.mark.parametrize("shared", [False, True])
@pytest.mark.parametrize(("n_classes", "open_set", "n_instances"), CASES)
@pytest.mark.usefixtures("by_solver")
def test_certified_count_equals_brute_force(n_classes, open_set, n_instances, shared):
    gains = compare_with_brute_force(n_classes, n_instances, n_classes, open_set, shared)
    assert gains >= 1 or n_classes == 1


@pytest.mark.parametrize("shared", [False, True])
@pytest.mark.parametrize("open_set", [False, True])
def test_trying_all_attacks_equals_brute_force(open_set, shared):
    assert compare_with_brute_force(9, 60, 2 if open_set else 3, open_set, shared) >= 1


@pytest.mark.usefixtures("by_solver")
@pytest.mark.parametrize("degree", [1, 2])
def test_solver_agrees_with_all_attacks_where_rankings_are_too_many_to_try(monkeypatch, degree):
    rng = np.random.default_rng(degree)
    for _ in range(4):
        n_members = int(rng.integers(8, 12))
        scores = rng.normal(size=(16, n_members, 4)) + 2 * rng.normal(size=(16, 1, 4))
        spread = (np.arange(n_members)[:, None] + np.arange(degree)) % n_members
        budget = int(rng.integers(2, 5))
        bound = collective_run_off_survivors(scores, budget, spread=spread, open_set=True)
        with monkeypatch.context() as patch:
            patch.setattr(collective, "_ADDITIONS_PER_SECOND", 1e9)
            exact = collective_run_off_survivors(scores, budget, spread=spread, open_set=True)
        assert bound.certified == exact.certified == exact.upper


@pytest.mark.parametrize("open_set", [False, True])
def test_row_falls_to_exactly_those_sets_of_members_that_can_unseat_its_winner(open_set):
    rng = np.random.default_rng(open_set)
    n_rows, n_members, n_classes, budget = 80, 11, 4 - open_set, 2
    # A winner that many like and few like best can be far behind another class in round one.
    scores = rng.normal(size=(n_rows, n_members, n_classes)) + rng.normal(size=(1, 1, n_classes))
    liked = rng.integers(0, n_classes, n_rows)
    scores[np.arange(n_rows), :, liked] = scores.max(axis=2) - 0.1
    scores[rng.random((n_rows, n_members)) < 0.1] = -np.inf
    moves = Partitions(np.arange(n_members)[:, None], n_members, budget)
    sets = [list(members) for members in itertools.combinations(range(n_members), budget)]
    fallen = 0
    for row in scores[run_off_radius(scores, open_set=open_set)[1] < budget]:
        attacker = Attacker(run_off_ways(row[None], open_set, moves), moves)
        falls = [attacker.felled(members).any() for members in sets]
        assert falls == [not survives(row, members, open_set) for members in sets]
        fallen += 0 < sum(falls) < len(sets)
    assert fallen > 10


def test_class_far_ahead_does_not_lend_its_lead_to_another():
    # Class 0 leads round one and loses any final. Two changed voters of 3 cannot bring 3 before
    # the winner 1, though what 0 is ahead and what 3 is behind add up to nothing.
    orders = [(0, 1, 2, 3)] * 5 + [(1, 2, 3, 0)] * 4 + [(2, 1, 3, 0)] * 2 + [(3, 1, 2, 0)] * 4
    scores = -np.argsort(orders, axis=1).astype(float)
    moves = Partitions(np.arange(15)[:, None], 15, 2)
    attacker = Attacker(run_off_ways(scores[None], False, moves), moves)
    assert survives(scores, [13, 14], False)
    assert not attacker.felled([13, 14]).any()
    assert not survives(scores, [7, 8], False)
    assert attacker.felled([7, 8]).all()


def test_no_time_leaves_the_pointwise_count():
    rng = np.random.default_rng(0)
    scores = rng.normal(size=(30, 9, 4)) + 2 * rng.normal(size=(30, 1, 4))
    for budget in range(5):
        result = collective_run_off_survivors(scores, budget, time_limit=0)
        assert result.certified == result.pointwise == (run_off_radius(scores)[1] >= budget).sum()


def test_reported_attack_leaves_the_upper_count():
    rng = np.random.default_rng(1)
    for _ in range(10):
        scores = rng.normal(size=(12, 6, 3)) + rng.normal(size=(12, 1, 3))
        result = collective_run_off_survivors(scores, 2, time_limit=0)
        assert len(result.attack) <= 2
        left = sum(survives(row, result.attack.tolist(), False) for row in scores)
        assert left == result.upper


def test_run_off_of_two_classes_is_a_plurality():
    ballots = np.random.default_rng(2).integers(0, 2, (40, 11))
    for budget in range(1, 5):
        run_off = collective_run_off_survivors(np.eye(2)[ballots], budget)
        assert run_off[:4] == collective_survivors(ballots, 2, budget)[:4]


def test_change_of_scores_alone_counts():
    # Two members vote for 0 and one for 1; of the two that vote for 2, each prefers 0 to 1. One
    # change leaves 0 ahead of 1 in round one, and may bring 2 into the final and up to 0.
    ranks = {0: [3, 2, 1], 1: [2, 3, 1], 2: [2, 1, 3]}
    scores = np.array([[ranks[v] for v in (0, 0, 1, 2, 2)]], dtype=float)
    result = collective_run_off_survivors(scores, 1)
    assert result.certified == survives(scores[0], [0], False) == 0


@pytest.mark.parametrize(
    ("change", "error", "match"),
    [
        ({"budget": -1}, ValueError, "budget must not be negative, got -1"),
        ({"budget": True}, TypeError, "budget must be an integer, got True"),
        ({"time_limit": -1}, ValueError, "time_limit"),
        ({"y_true": [0]}, ValueError, "y_true"),
        ({"scores": [[0.0, 1.0]]}, ValueError, "scores must have the shape"),
        ({"spread": [[0], [2]]}, ValueError, "spread must hold member indices"),
    ],
)
def test_unusable_input_is_refused(change, error, match):
    given = {"scores": np.ones((2, 2, 2)), "budget": 1, **change}
    with pytest.raises(error, match=match):
        collective_run_off_survivors(**given)
