"""Targets and first places of finite aggregation, against every set of partitions."""

import itertools

import numpy as np
import pytest

from all_votes import all_votes, places, random_ballots
from certified_ensembles.certificates import (
    finite_aggregation_radius,
    finite_target_radius,
    finite_top_k_radius,
    target_radius,
    top_k_radius,
)


def count(ballots, n_classes):
    return np.stack([(ballots == c).sum(axis=-1) for c in range(n_classes)], axis=-1)


def exact_radius(ballots, spread, n_classes, succeeds, n_new=0):
    """Return the partitions survived, over every set of them and every vote of their members."""
    for size in range(1, len(spread) + 1):
        for chosen in itertools.combinations(spread.tolist(), size):
            members = sorted(set(itertools.chain.from_iterable(chosen)))
            kept = np.pad(count(np.delete(ballots, members), n_classes), (n_new, 0))
            if succeeds(kept + all_votes(len(members), 1 + len(kept))[:, 1:]).any():
                return size - 1
    return len(spread)


def instances(seed, number=500):
    rng = np.random.default_rng(seed)
    for _ in range(number):
        n_partitions, degree = [(5, 1), (7, 1), (6, 2), (8, 2), (6, 3)][rng.integers(5)]
        shifts = rng.choice(n_partitions, degree, replace=False)
        spread = (np.arange(n_partitions)[:, None] + shifts) % n_partitions
        n_classes = int(rng.integers(1, 5))
        yield rng, random_ballots(rng, n_partitions, n_classes), spread, n_classes


def test_no_attack_within_the_radius_makes_the_target_win():
    equal = asked = 0
    seen = set()
    for rng, ballots, spread, n_classes in instances(0):
        t = int(rng.integers(n_classes))
        (radius,) = finite_target_radius(ballots[None], spread, n_classes, t)
        winner, steady = finite_aggregation_radius(ballots[None], spread, n_classes)
        if winner[0] == t:
            assert radius == -1
            continue
        attack = exact_radius(ballots, spread, n_classes, lambda v, t=t: v.argmax(axis=1) == t)
        assert steady[0] <= radius <= attack, (ballots, spread, t)
        if spread.shape[1] == 1:
            assert radius == attack
        asked += 1
        equal += radius == attack
        seen.add(radius)
    assert equal > 0.8 * asked  # sound always, and seldom loose
    assert len(seen) > 3


@pytest.mark.parametrize("open_set", [False, True])
def test_no_attack_within_the_radius_pushes_a_label_out(open_set):
    equal = asked = 0
    for rng, ballots, spread, n_classes in instances(1):
        votes, y, k = (
            count(ballots, n_classes),
            int(rng.integers(n_classes)),
            int(rng.integers(1, 4)),
        )
        if rng.random() < 0.5:
            y = int(votes.argmax())
        (radius,) = finite_top_k_radius(ballots[None], spread, n_classes, y, k, open_set=open_set)
        if places(votes[None], y)[0] >= k:
            assert radius == -1
            continue
        n_new = k * open_set
        attack = exact_radius(
            ballots, spread, n_classes, lambda v, y=y + n_new, k=k: places(v, y) >= k, n_new
        )
        assert 0 <= radius <= attack, (ballots, spread, y, k)
        winner, steady = finite_aggregation_radius(
            ballots[None], spread, n_classes, open_set=open_set
        )
        assert radius >= steady[0] or winner[0] != y
        asked += 1
        equal += radius == attack
        if k == 1 and winner[0] == y:
            assert radius == steady[0]
    assert equal > 0.8 * asked


@pytest.mark.parametrize("open_set", [False, True])
def test_one_member_a_partition_is_plurality(open_set):
    rng = np.random.default_rng(2)
    ballots = np.where(
        rng.random((300, 41)) < rng.random((300, 1)), 3, rng.integers(-1, 5, (300, 41))
    )
    votes, own = count(ballots, 5), rng.permutation(41)[:, None]
    t, y = rng.integers(5, size=(2, 300))
    for target in (t, [0, 4], 2):
        found = finite_target_radius(ballots, own, 5, target, open_set=open_set)
        assert found.tolist() == target_radius(votes, target, open_set=open_set).tolist()
    for k in (1, 2, 4, 9)[: 4 if open_set else 3]:
        found = finite_top_k_radius(ballots, own, 5, y, k, open_set=open_set)
        assert found.tolist() == top_k_radius(votes, y, k, open_set=open_set).tolist()


def test_joint_gaps_prove_more_than_any_single_one():
    # Against either leader alone two partitions would do; both together take three.
    ballots = np.repeat([0, 1], 12)[None]
    spread = np.arange(24).reshape(8, 3)
    assert finite_target_radius(ballots, spread, 3, 2).tolist() == [2]


def test_unusable_input_is_refused():
    with pytest.raises(ValueError, match="target"):
        finite_target_radius([[0, 1]], [[0], [1]], 2, 2)
    with pytest.raises(ValueError, match="spread"):
        finite_target_radius([[0, 1]], [[0], [2]], 2, 1)
    with pytest.raises(ValueError, match="label"):
        finite_top_k_radius([[0, 1]], [[0], [1]], 2, 2, 1)
    with pytest.raises(ValueError, match="k must be"):
        finite_top_k_radius([[0, 1]], [[0], [1]], 2, 1, 0)
