"""Changed ballots and members meet the radius of the vote, and never beat it."""

import itertools

import numpy as np
import pytest

from certified_ensembles.attacks import (
    poison_ballots,
    poison_members,
)
from certified_ensembles.certificates.collective import collective_survivors
from certified_ensembles.certificates.finite import finite_aggregation_radius
from certified_ensembles.certificates.plurality import plurality_radius


def ballot_instances(n_instances=60, max_members=11):
    rng = np.random.default_rng(0)
    for _ in range(n_instances):
        n_classes = int(rng.integers(1, 5))
        shape = (4, int(rng.integers(1, max_members)))
        # Most ballots agree, some abstain.
        ballots = np.where(
            rng.random(shape) < 0.6,
            rng.integers(0, n_classes, (4, 1)),
            rng.integers(-1, n_classes, shape),
        )
        yield ballots, n_classes


def vote(ballots, n_classes):
    """Winners among all labels, the new one (n_classes) included; it sorts first."""
    codes = np.where(ballots < 0, -1, (ballots + 1) % (n_classes + 1))
    votes = np.stack([(codes == c).sum(axis=1) for c in range(n_classes + 1)], axis=1)
    # Nobody has heard of the new label where it has no vote.
    votes[:, 0] = np.where(votes[:, 0] == 0, -1, votes[:, 0])
    return (votes.argmax(axis=1) - 1) % (n_classes + 1)


@pytest.mark.parametrize("open_set", [False, True], ids=["closed", "open"])
def test_changed_ballots_meet_the_plurality_radius(open_set):
    n_changed = 0
    for ballots, n_classes in ballot_instances():
        votes = np.stack([(ballots == c).sum(axis=1) for c in range(n_classes)], axis=1)
        winner, radius = plurality_radius(votes, open_set=open_set)
        for i, (row, c, r) in enumerate(zip(ballots, winner, radius, strict=True)):
            within, beyond = (
                poison_ballots(row[None], n_classes, budget, open_set=open_set)
                for budget in (r, r + 1)
            )
            assert (within != row).sum() <= r
            assert (beyond != row).sum() <= r + 1
            assert vote(within, n_classes) == c
            changed = vote(beyond, n_classes)[0] != c
            # One more turns the winner if it has that many members and there is a rival at all.
            if votes[i, c] > r and (n_classes > 1 or open_set):
                assert changed
            n_changed += changed
    assert n_changed > 100


def test_no_change_of_as_many_ballots_does_better():
    rng = np.random.default_rng(1)
    for _ in range(10):
        ballots = rng.integers(-1, 3, 4)
        every = np.array(list(itertools.product(range(-1, 3), repeat=4)))
        changed = vote(every, 3) != vote(ballots[None], 3)
        for budget in range(5):
            possible = changed[(every != ballots).sum(axis=1) <= budget].any()
            poisoned = poison_ballots(ballots[None], 3, budget)
            assert (vote(poisoned, 3) != vote(ballots[None], 3))[0] == possible


@pytest.mark.parametrize("open_set", [False, True], ids=["closed", "open"])
def test_joint_attack_leaves_at_least_the_certified_survivors(open_set):
    rng = np.random.default_rng(0)
    felled = 0
    for trial in range(8):
        truth = rng.integers(0, 3, 25)
        ballots = np.where(
            rng.random((25, 12)) < 0.6, truth[:, None], rng.integers(-1, 3, (25, 12))
        )
        budget = 1 + trial % 4
        lower = collective_survivors(
            ballots, 3, budget, y_true=truth, open_set=open_set, time_limit=0.5
        )
        attack = poison_members(ballots, 3, budget, y_true=truth, open_set=open_set)
        assert len(attack.taken) <= budget
        others = np.setdiff1d(np.arange(12), attack.taken)
        np.testing.assert_array_equal(attack.ballots[:, others], ballots[:, others])
        survivors = (vote(attack.ballots, 3) == truth).sum()
        assert survivors >= lower.certified
        felled += (vote(ballots, 3) == truth).sum() - survivors
        assert survivors <= lower.upper + 1  # all but one of the rows that a solver fells
    assert felled > 30


def test_joint_attack_on_finite_aggregation_takes_whole_partitions():
    rng = np.random.default_rng(0)
    spread = (np.arange(12)[:, None] + [0, 5]) % 12
    for budget in (0, 1, 2, 3):
        ballots = np.where(rng.random((20, 12)) < 0.7, 1, rng.integers(-1, 3, (20, 12)))
        winner, radius = finite_aggregation_radius(ballots, spread, 3)
        attack = poison_members(ballots, 3, budget, spread=spread)
        assert len(attack.taken) == budget
        reached = np.unique(spread[attack.taken])
        others = np.setdiff1d(np.arange(12), reached)
        np.testing.assert_array_equal(attack.ballots[:, others], ballots[:, others])
        changed = vote(attack.ballots, 3) != winner
        assert not (changed & (radius >= budget)).any()
        assert changed.any() == (budget > 0)


def test_a_member_that_two_partitions_reach_counts_once():
    spread = [[6, 7, 8], [0, 1, 2], [2, 3, 4], [4, 5, 0]]
    ballots = np.zeros((1, 17), dtype=int)
    ballots[0, 6:9] = 1
    # Fourteen votes to three: all six members within reach have to turn.
    attack = poison_members(ballots, 2, 3, spread=spread)
    np.testing.assert_array_equal(attack.taken, [1, 2, 3])
    assert vote(attack.ballots, 2) == 1


def test_joint_attack_on_one_row_meets_its_radius():
    for ballots, n_classes in ballot_instances(30):
        if n_classes < 2:
            continue
        votes = np.stack([(ballots == c).sum(axis=1) for c in range(n_classes)], axis=1)
        winner, radius = plurality_radius(votes)
        for row, c, r, n in zip(ballots, winner, radius, votes.max(axis=1), strict=True):
            for budget in (r, r + 1):
                attack = poison_members(row[None], n_classes, budget)
                changed = vote(attack.ballots, n_classes)[0] != c
                assert not (changed and budget <= r)
                assert changed or budget <= r or n <= r


def test_joint_attack_is_the_same_each_time():
    ballots = np.random.default_rng(0).integers(0, 3, (30, 9))
    first, second = (poison_members(ballots, 3, 3) for _ in range(2))
    np.testing.assert_array_equal(first.taken, second.taken)
    np.testing.assert_array_equal(first.ballots, second.ballots)


@pytest.mark.parametrize("attack", [poison_ballots, poison_members])
def test_ballot_attacks_refuse_unusable_ballots(attack):
    with pytest.raises(TypeError, match="integers"):
        attack([[0.5, 1.0]], 2, 1)
    with pytest.raises(ValueError, match="shape"):
        attack([0, 1], 2, 1)
    with pytest.raises(ValueError, match="ballots must lie"):
        attack([[0, 2]], 2, 1)
    with pytest.raises(ValueError, match="y_true"):
        poison_members([[0, 1]], 2, 1, y_true=[0, 1])


def test_ballot_attacks_take_no_rows_and_do_not_write_to_their_input():
    assert poison_ballots(np.empty((0, 3), dtype=int), 2, 1).shape == (0, 3)
    assert poison_members(np.empty((0, 3), dtype=int), 2, 1).ballots.shape == (0, 3)
    ballots = np.zeros((2, 3), dtype=np.int64)
    poison_ballots(ballots, 2, 2)
    poison_members(ballots, 2, 2)
    assert not ballots.any()
