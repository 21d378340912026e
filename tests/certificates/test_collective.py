"""Collective certificates against an attacker that tries every set of members or partitions."""

import itertools
from types import SimpleNamespace

import numpy as np
import pytest

from certified_ensembles.certificates import _attacker, collective
from certified_ensembles.certificates._attacker import Attacker
from certified_ensembles.certificates.collective import collective_survivors
from certified_ensembles.certificates.finite import finite_aggregation_radius


def random_ballots(rng, n_samples, n_members, n_classes):
    ballots = rng.integers(-1, n_classes, (n_samples, n_members))
    favourite = rng.integers(0, n_classes, (n_samples, 1))
    return np.where(rng.random(ballots.shape) < rng.choice([0.3, 0.6, 0.75]), favourite, ballots)


def elect(votes):
    """Most votes; the smaller class among equals."""
    return max(range(len(votes)), key=lambda c: (votes[c], -c))


def splits(n_votes, n_classes):
    """All ways in which `n_votes` members can vote for `n_classes` classes or abstain."""
    for bars in itertools.combinations(range(n_votes + n_classes), n_classes):
        yield np.diff([-1, *bars]) - 1


def survives(ballot, members, n_classes, open_set):
    """Whether one row's winner stays whatever the given members vote."""
    winner = elect([np.sum(ballot == m) for m in range(n_classes)])
    kept = np.delete(ballot, list(members))
    votes = np.array([np.sum(kept == m) for m in range(n_classes)])
    if open_set:  # a label that sorts before all others
        votes, winner = np.insert(votes, 0, 0), winner + 1
    # With no changed member there is no new label either.
    if not members:
        return True
    return all(elect(votes + new) == winner for new in splits(len(members), len(votes)))


def brute_force(ballots, n_classes, budget, spread, counted, open_set):
    """Return the least number of counted rows that survive any set of `budget` partitions."""
    least = np.inf
    for taken in itertools.combinations(range(len(spread)), min(budget, len(spread))):
        members = {j for p in taken for j in spread[p]}
        row = [survives(b, members, n_classes, open_set) for b in ballots[counted]]
        least = min(least, sum(row))
    return least


@pytest.fixture
def by_solver(monkeypatch):
    """Leave small instances to the solver, too."""
    monkeypatch.setattr(collective, "_ADDITIONS_PER_SECOND", 0)


def draw(rng, n_classes, shared=False):
    """Return a small instance: ballots, spread, budget and true classes."""
    n_members = int(rng.integers(3, 9))
    ballots = random_ballots(rng, int(rng.integers(3, 13)), n_members, n_classes)
    spread = np.arange(n_members)[:, None]
    if shared:  # as finite aggregation has it, or any reach
        degree = int(rng.integers(2, 4))
        spread = (spread + rng.choice(n_members, degree, replace=False)) % n_members
        if rng.random() < 0.3:
            spread = rng.integers(0, n_members, (int(rng.integers(2, 8)), degree))
    winner, radius = finite_aggregation_radius(ballots, spread, n_classes)
    # Just beyond the median radius: there the rows compete for the budget.
    budget = int(np.median(radius)) + int(rng.choice([0, 1, 1, 1, 2]))
    winner = np.array([elect([np.sum(b == m) for m in range(n_classes)]) for b in ballots])
    y_true = np.where(rng.random(len(winner)) < 0.8, winner, -1)
    return ballots, spread, budget, winner, y_true


def compare_with_brute_force(seed, n_instances, n_classes, open_set, shared):
    """Assert equality on random instances; return how often the pointwise count was lower."""
    rng = np.random.default_rng(seed)
    gains = 0
    for _ in range(n_instances):
        ballots, spread, budget, winner, y_true = draw(rng, n_classes, shared)
        result = collective_survivors(
            ballots,
            n_classes,
            budget,
            spread=spread if shared else None,
            y_true=y_true,
            open_set=open_set,
        )
        exact = brute_force(ballots, n_classes, budget, spread, winner == y_true, open_set)
        assert result.certified == result.upper == exact, (ballots.tolist(), spread.tolist())
        assert result.optimal
        assert result.pointwise <= result.certified
        gains += result.certified > result.pointwise
    return gains


@pytest.mark.parametrize("shared", [False, True])
@pytest.mark.parametrize("open_set", [False, True])
@pytest.mark.parametrize("n_classes", [2, 3, 4])
@pytest.mark.usefixtures("by_solver")
def test_certified_count_equals_brute_force(n_classes, open_set, shared):
    # Some instances must be such that the collective count is larger, or this shows little.
    assert compare_with_brute_force(n_classes, 45, n_classes, open_set, shared) >= 3


@pytest.mark.parametrize("open_set", [False, True])
@pytest.mark.parametrize("shared", [False, True])
def test_trying_all_attacks_equals_brute_force(open_set, shared):
    assert compare_with_brute_force(8, 60, 3, open_set, shared) >= 3


@pytest.mark.usefixtures("by_solver")
@pytest.mark.parametrize("shared", [False, True])
def test_small_programs_and_their_cuts_do_not_change_the_count(monkeypatch, shared):
    monkeypatch.setattr(collective, "_GROUP_ROWS", 3)
    # Nothing that is found without a solver may hide a cut that goes too far.
    nothing = (np.empty(0, dtype=int), 0)
    monkeypatch.setattr(Attacker, "strongest", lambda attacker: nothing)
    assert compare_with_brute_force(7, 40, 3, False, shared) >= 3


def blocks(n_blocks, n_rows):
    """Rows that hang on three members each: two changed members fell the rows of one block."""
    ballots = np.full((n_blocks * n_rows, 3 * n_blocks), -1)
    for g in range(n_blocks):
        ballots[g * n_rows : (g + 1) * n_rows, 3 * g : 3 * g + 3] = 0
    return ballots


@pytest.mark.usefixtures("by_solver")
def test_attacker_cannot_be_everywhere_at_once():
    result = collective_survivors(blocks(4, 30), 2, 2)
    assert (result.pointwise, result.certified, result.upper) == (0, 90, 90)
    assert len(set(result.attack // 3)) == 1  # both members are of one block


@pytest.mark.parametrize("additions", [0, 1e9])
def test_member_that_partitions_share_counts_once(monkeypatch, additions):
    monkeypatch.setattr(collective, "_ADDITIONS_PER_SECOND", additions)
    # All three partitions reach the same member, whose one vote cannot turn five.
    result = collective_survivors([[0] * 5], 2, 3, spread=[[0], [0], [0]])
    assert (result.pointwise, result.certified, result.upper) == (0, 1, 1)


@pytest.mark.usefixtures("by_solver")
def test_cuts_bind_the_rows_that_they_were_proved_for(monkeypatch):
    monkeypatch.setattr(collective, "_GROUP_ROWS", 3)
    # No attack is counted, so that none can mend a bound that is too low.
    monkeypatch.setattr(
        Attacker, "felled", lambda attacker, taken: np.zeros(attacker.n_rows, bool)
    )
    # Three rows that any change fells, and three of which two changes fell one.
    ballots = np.vstack([np.full((3, 9), -1), blocks(3, 1)])
    assert collective_survivors(ballots, 2, 2).certified == 2


def test_no_time_leaves_the_pointwise_count():
    result = collective_survivors(blocks(4, 30), 2, 2, time_limit=0)
    assert result.certified == result.pointwise == 0
    assert result.upper == 90
    assert not result.optimal


@pytest.mark.usefixtures("by_solver")
@pytest.mark.parametrize(
    ("dual_bound", "certified"),
    [
        (-30.0, 90),
        (-29.9999999, 90),
        (-30.4, 90),
        (-31.0, 89),
        (-np.inf, 0),
        (None, 0),
        (-1.0, 90),
    ],
)
def test_dual_bound_is_rounded_to_the_sound_side(monkeypatch, dual_bound, certified):
    def stopped(*args, **kwargs):
        return SimpleNamespace(x=None, mip_dual_bound=dual_bound)

    monkeypatch.setattr(collective, "_GROUP_ROWS", 1000)
    monkeypatch.setattr(_attacker, "milp", stopped)
    # -1 contradicts an attack that was counted: the count stands.
    assert collective_survivors(blocks(4, 30), 2, 2).certified == certified


@pytest.mark.usefixtures("by_solver")
def test_only_correct_predictions_count():
    y_true = np.zeros(120, dtype=int)
    y_true[:15] = 1
    result = collective_survivors(blocks(4, 30), 2, 2, y_true=y_true)
    assert (result.certified, result.upper) == (75, 75)


def test_reported_attack_leaves_the_upper_count():
    rng = np.random.default_rng(0)
    for _ in range(20):
        ballots = random_ballots(rng, 12, 9, 3)
        result = collective_survivors(ballots, 3, 3, time_limit=0)
        left = sum(survives(b, set(result.attack.tolist()), 3, False) for b in ballots)
        assert len(result.attack) <= 3
        assert left == result.upper


def test_budget_zero_changes_nothing():
    result = collective_survivors([[0, 1], [1, -1], [-1, -1]], 2, 0, open_set=True)
    assert result[:4] == (3, 3, 3, True)


def test_one_known_class_always_survives():
    assert collective_survivors([[0, 0], [0, -1]], 1, 5).certified == 2
    assert collective_survivors([[0, 0], [0, -1]], 1, 5, open_set=True).certified == 0


@pytest.mark.usefixtures("by_solver")
def test_progress_reports_a_count_that_only_grows():
    seen = []
    result = collective_survivors(blocks(4, 30), 2, 2, progress=lambda *step: seen.append(step))
    done, total, certified = zip(*seen, strict=True)
    assert done == tuple(range(1, total[0] + 1))
    assert list(certified) == sorted(certified)
    assert certified[-1] == result.certified


@pytest.mark.parametrize(
    ("change", "error", "match"),
    [
        ({"budget": -1}, ValueError, "budget must not be negative, got -1"),
        ({"budget": 1.5}, TypeError, "budget must be an integer"),
        ({"time_limit": -1}, ValueError, "time_limit"),
        ({"time_limit": np.inf}, ValueError, "time_limit"),
        ({"y_true": [0]}, ValueError, "y_true"),
        ({"ballots": [[0, 2]]}, ValueError, "ballots must lie between"),
        ({"spread": [[0], [2]]}, ValueError, "spread must hold member indices"),
    ],
)
def test_unusable_input_is_refused(change, error, match):
    given = {"ballots": [[0, 1], [1, 1]], "n_classes": 2, "budget": 1, **change}
    with pytest.raises(error, match=match):
        collective_survivors(**given)
