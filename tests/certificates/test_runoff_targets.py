"""Named targets of a run-off, against every set of members and every ranking."""

import itertools

import numpy as np
import pytest

from certified_ensembles.certificates import (
    finite_run_off_radius,
    run_off_radius,
    run_off_target_radius,
)
from elections import hold_elections, poll, polls_of_groups, random_scores, ranking_of


def exact_radius(scores, t, n_new=0, spread=None):
    """Return the members (partitions) survived before t can win, by trying everything."""
    scores = np.hstack([np.full((len(scores), n_new), -np.inf), scores])
    n_members, n_classes = scores.shape
    reach = np.arange(n_members)[:, None] if spread is None else spread
    polls = np.array([poll(ranking_of(member), n_classes) for member in scores])
    for size in range(1, len(reach) + 1):
        for chosen in itertools.combinations(reach.tolist(), size):
            members = sorted(set(itertools.chain.from_iterable(chosen)))
            kept = np.delete(polls, members, axis=0).sum(axis=0, dtype=np.int8)
            states = kept + polls_of_groups(len(members), n_classes)
            if (hold_elections(states, n_classes) == t + n_new).any():
                return size - 1
    return len(reach)


@pytest.mark.parametrize(
    ("n_classes", "max_members", "open_set", "n_instances"),
    [
        (2, 7, False, 100),
        (3, 7, False, 300),
        (4, 5, False, 150),
        (2, 4, True, 60),
        (3, 3, True, 30),
    ],
)
def test_no_attack_within_the_radius_makes_the_target_win(
    n_classes, max_members, open_set, n_instances
):
    rng = np.random.default_rng([n_classes, open_set])
    equal = asked = 0
    for _ in range(n_instances):
        scores = random_scores(rng, int(rng.integers(1, max_members + 1)), n_classes)
        t = int(rng.integers(n_classes))
        (radius,) = run_off_target_radius(scores[None], t, open_set=open_set)
        winner, steady = run_off_radius(scores[None], open_set=open_set)
        if winner[0] == t:
            assert radius == -1
            continue
        exact = exact_radius(scores, t, 2 * open_set)
        assert steady[0] <= radius <= exact, (scores.tolist(), t)
        asked += 1
        equal += radius == exact
    assert equal > 0.8 * asked


def test_no_attack_on_partitions_within_the_radius_makes_the_target_win():
    rng = np.random.default_rng(1)
    for _ in range(120):
        scores = random_scores(rng, 6, 3)
        spread = (np.arange(6)[:, None] + rng.choice(6, 2, replace=False)) % 6
        t = int(rng.integers(3))
        (radius,) = run_off_target_radius(scores[None], t, spread=spread)
        winner, steady = finite_run_off_radius(scores[None], spread)
        if winner[0] == t:
            assert radius == -1
        else:
            assert steady[0] <= radius <= exact_radius(scores, t, spread=spread)


def definition(scores, t, steady, n_new):
    """Return the radius of the docstring, by counting."""
    scores = np.hstack([np.full((len(scores), n_new), -np.inf), scores])
    rankings = [r for r in map(ranking_of, scores) if r is not None]
    n_classes, t = scores.shape[1], t + n_new
    votes = [sum(r[0] == c for r in rankings) for c in range(n_classes)]
    ways = []
    for a in set(range(n_classes)) - {t}:
        # A new label in the final beside t takes nobody's place in round one.
        passed = [c for c in range(n_new, n_classes) if c not in (a, t)]
        lead = sum(1 if r.index(a) < r.index(t) else -1 for r in rankings) + (a < t)
        m = 0
        while 2 * m < lead or m < sum(max(0, votes[c] - (votes[t] + m - (c < t))) for c in passed):
            m += 1
        ways.append(m)
    return max(steady, min(min(ways, default=len(scores) + 1) - 1, len(scores)))


@pytest.mark.parametrize("open_set", [False, True])
def test_radius_is_the_bound_of_the_docstring(open_set):
    rng = np.random.default_rng(4)
    for _ in range(300):
        n_classes = int(rng.integers(1, 5))
        scores = random_scores(rng, int(rng.integers(1, 10)), n_classes)
        t = int(rng.integers(n_classes))
        winner, steady = run_off_radius(scores[None], open_set=open_set)
        if winner[0] != t:
            (radius,) = run_off_target_radius(scores[None], t, open_set=open_set)
            assert radius == definition(scores, t, steady[0], int(open_set)), (scores.tolist(), t)


def test_targets_far_behind_are_farther_than_another_winner():
    rng = np.random.default_rng(2)
    scores = rng.normal([2.0, 1.6, 0, -2], size=(50, 30, 4))
    steady = run_off_radius(scores)[1]
    far = run_off_target_radius(scores, 3)
    assert (far >= steady).all()
    assert (far > steady).mean() > 0.9


def test_rows_and_several_targets(monkeypatch):
    rng = np.random.default_rng(3)
    scores = rng.normal(size=(40, 9, 4))
    each = np.stack([run_off_target_radius(scores, t, open_set=True) for t in range(4)])
    own = rng.integers(4, size=40)
    found = run_off_target_radius(scores, own, open_set=True)
    assert found.tolist() == each[own, np.arange(40)].tolist()
    either = run_off_target_radius(scores, [1, 3], open_set=True)
    assert either.tolist() == each[[1, 3]].min(axis=0).tolist()
    monkeypatch.setattr("certified_ensembles.certificates.runoff_targets._BLOCK_SCORES", 100)
    assert run_off_target_radius(scores, 1, open_set=True).tolist() == each[1].tolist()
