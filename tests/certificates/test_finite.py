"""Finite aggregation against an attacker that tries every set of partitions and every vote."""

import itertools
from functools import cache

import numpy as np
import pytest

from certified_ensembles.certificates import finite
from certified_ensembles.certificates.finite import finite_aggregation_radius
from certified_ensembles.certificates.plurality import plurality_radius


@cache
def splits(n_votes, n_classes):
    """All ways in which `n_votes` members can vote for `n_classes` classes or abstain."""
    bars = itertools.combinations(range(n_votes + n_classes), n_classes)
    return np.diff(np.array([(-1, *bar) for bar in bars]), axis=1) - 1


def brute_force(ballot, spread, n_classes, open_set):
    """Return the winner and the exact radius of one test row, by trying everything."""
    votes = np.array([np.sum(ballot == m) for m in range(n_classes)])
    winner = int(votes.argmax())
    target = winner
    if open_set:  # a label that sorts before all others
        ballot, target = ballot + (ballot >= 0), winner + 1
    for size in range(1, len(spread) + 1):
        for chosen in itertools.combinations(spread.tolist(), size):
            members = sorted(set(itertools.chain.from_iterable(chosen)))
            kept = np.delete(ballot, members)
            votes = np.array([np.sum(kept == m) for m in range(n_classes + open_set)])
            elected = (votes + splits(len(members), len(votes))).argmax(axis=1)
            if (elected != target).any():
                return winner, size - 1
    return winner, len(spread)


def definition(ballot, spread, n_classes, open_set):
    """Return the radius of the theorem, and whether it has a witness without overlap.

    It sums powers over every set of partitions, in place of the largest ones.
    """
    votes = [np.sum(ballot == m) for m in range(n_classes)]
    c = int(np.argmax(votes))
    rivals = [(b, votes[c] - votes[b] - (b < c)) for b in range(n_classes) if b != c]
    if open_set:
        rivals.append((-2, votes[c] - 1))
    for size in range(1, len(spread) + 1):
        broken = disjoint = False
        for b, gap in rivals:
            for chosen in itertools.combinations(spread.tolist(), size):
                power = sum(
                    1 + int(ballot[j] == c) - int(ballot[j] == b) for p in chosen for j in p
                )
                if power > gap:
                    broken = True
                    disjoint |= (
                        len(set(itertools.chain.from_iterable(chosen))) == spread[0].size * size
                    )
        if broken:
            return size - 1, disjoint
    return len(spread), False


def shifted(rng, n_partitions, degree):
    """The spread of finite aggregation."""
    shifts = rng.choice(n_partitions, degree, replace=False)
    return (np.arange(n_partitions)[:, None] + shifts) % n_partitions


def random_ballot(rng, n_members, n_classes):
    ballot = rng.integers(-1, n_classes, n_members)
    ballot[rng.random(n_members) < rng.random()] = rng.integers(n_classes)
    return ballot


@pytest.mark.parametrize("open_set", [False, True])
@pytest.mark.parametrize("n_classes", [1, 2, 3, 4])
def test_radius_is_the_theorem_and_survives_every_attack(n_classes, open_set):
    rng = np.random.default_rng(n_classes)
    witnessed = equal = 0
    n_instances = 20 if n_classes == 1 else 160
    for _ in range(n_instances):
        k, degree = [(3, 1), (7, 1), (3, 2), (5, 2), (6, 2), (3, 3), (4, 3), (2, 4)][
            rng.integers(8)
        ]
        spread = shifted(rng, k * degree, degree)
        ballot = random_ballot(rng, k * degree, n_classes)
        winner, radius = finite_aggregation_radius(
            ballot[None], spread, n_classes, open_set=open_set
        )
        case = (ballot.tolist(), spread.tolist())
        theorem, disjoint = definition(ballot, spread, n_classes, open_set)
        assert radius[0] == theorem, case
        true_winner, true_radius = brute_force(ballot, spread, n_classes, open_set)
        assert winner[0] == true_winner
        assert radius[0] <= true_radius, case
        if disjoint or degree == 1:
            assert radius[0] == true_radius, case
        witnessed += disjoint
        equal += radius[0] == true_radius
    assert equal > 0.95 * n_instances  # sound always, and seldom loose
    assert witnessed > 20 or n_classes == 1


def test_shared_members_make_the_bound_loose():
    # All three partitions reach the same member, whose one vote cannot turn five.
    ballot, spread = np.zeros(5, dtype=int), np.zeros((3, 1), dtype=int)
    assert brute_force(ballot, spread, 2, False) == (0, 3)
    assert finite_aggregation_radius(ballot[None], spread, 2)[1].tolist() == [2]


def test_any_reach_is_sound():
    rng = np.random.default_rng(5)
    for _ in range(300):
        n_members, n_classes = int(rng.integers(2, 9)), int(rng.integers(2, 5))
        spread = rng.integers(0, n_members, (int(rng.integers(1, 7)), int(rng.integers(1, 4))))
        ballot = random_ballot(rng, n_members, n_classes)
        winner, radius = finite_aggregation_radius(ballot[None], spread, n_classes)
        true_winner, true_radius = brute_force(ballot, spread, n_classes, False)
        assert winner[0] == true_winner
        assert radius[0] <= true_radius, (ballot.tolist(), spread.tolist())


def test_degree_one_is_plurality():
    rng = np.random.default_rng(6)
    ballots = rng.integers(-1, 5, (200, 41))
    votes = np.stack([(ballots == m).sum(axis=1) for m in range(5)], axis=1)
    own = rng.permutation(41)[:, None]
    for open_set in (False, True):
        expected = plurality_radius(votes, open_set=open_set)
        found = finite_aggregation_radius(ballots, own, 5, open_set=open_set)
        for one, other in zip(expected, found, strict=True):
            np.testing.assert_array_equal(one, other)


def sorted_powers(ballot, spread, n_classes):
    """The theorem for one closed test row: sort the powers against each rival."""
    votes = np.bincount(ballot[ballot >= 0], minlength=n_classes)
    c = int(votes.argmax())
    survived = []
    for b in set(range(n_classes)) - {c}:
        power = 1 + (ballot == c).astype(int) - (ballot == b).astype(int)
        total = np.cumsum(np.sort(power[spread].sum(axis=1))[::-1])
        survived.append(int(np.count_nonzero(total <= votes[c] - votes[b] - (b < c))))
    return c, min(survived)


@pytest.mark.parametrize("dtype", [np.int64, np.int8, np.uint8])
@pytest.mark.parametrize(("n_members", "degree"), [(240, 4), (4000, 200)])
def test_many_members_agree_with_sorting(n_members, degree, dtype):
    rng = np.random.default_rng(7)
    lowest = -1 if np.issubdtype(dtype, np.signedinteger) else 0
    ballots = rng.integers(lowest, 6, (50, n_members))
    ballots = np.where(rng.random(ballots.shape) < rng.random((50, 1)), 2, ballots)
    spread = shifted(rng, n_members, degree)
    if degree == 200:  # powers beyond a byte, and a radius beyond zero
        spread = rng.permutation(n_members).reshape(-1, degree)
    winner, radius = finite_aggregation_radius(ballots.astype(dtype), spread, 6)
    expected = [sorted_powers(ballot, spread, 6) for ballot in ballots]
    assert list(zip(winner.tolist(), radius.tolist(), strict=True)) == expected
    assert len(set(radius.tolist())) > 1


@pytest.mark.parametrize("open_set", [False, True])
def test_blocks_do_not_change_the_answer(monkeypatch, open_set):
    rng = np.random.default_rng(8)
    ballots = np.where(rng.random((90, 60)) < 0.4, 1, rng.integers(-1, 4, (90, 60)))
    spread = shifted(rng, 60, 3)
    expected = finite_aggregation_radius(ballots, spread, 4, open_set=open_set)
    monkeypatch.setattr(finite, "_BLOCK_POWERS", 7 * 512)
    found = finite_aggregation_radius(ballots, spread, 4, open_set=open_set)
    for one, other in zip(expected, found, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("open_set", [False, True])
def test_where_all_abstain_one_member_decides(open_set):
    winner, radius = finite_aggregation_radius([[-1, -1]], [[0], [1]], 3, open_set=open_set)
    assert (winner[0], radius[0]) == (0, 0)


def test_no_test_rows_give_no_radii():
    winner, radius = finite_aggregation_radius(np.empty((0, 3), dtype=int), [[0], [1], [2]], 2)
    assert winner.shape == radius.shape == (0,)


@pytest.mark.parametrize(
    ("change", "error", "match"),
    [
        ({"ballots": [0, 1]}, ValueError, "ballots must have the shape"),
        ({"ballots": [[0.0, 1.0]]}, TypeError, "ballots must hold integers"),
        ({"ballots": [[0, 2]]}, ValueError, "ballots must lie between"),
        ({"ballots": [[0, -2]]}, ValueError, "ballots must lie between"),
        ({"spread": [0, 1]}, ValueError, "spread must have the shape"),
        ({"spread": np.empty((2, 0), dtype=int)}, ValueError, "spread must have the shape"),
        ({"spread": [[0.0], [1.0]]}, TypeError, "spread must hold integers"),
        ({"spread": [[0], [2]]}, ValueError, "member indices between 0 and 1"),
        ({"spread": [[0], [-1]]}, ValueError, "member indices between 0 and 1"),
        ({"n_classes": 0}, ValueError, "n_classes must be at least 1"),
    ],
)
def test_unusable_input_is_refused(change, error, match):
    given = {"ballots": [[0, 1]], "spread": [[0], [1]], "n_classes": 2, **change}
    with pytest.raises(error, match=match):
        finite_aggregation_radius(**given)
