"""Run-off radii against an adversary that tries every subset of members and every ranking."""

import itertools
from functools import cache

import numpy as np
import pytest

from certified_ensembles.certificates import runoff
from certified_ensembles.certificates.runoff import run_off_radius


def random_scores(rng, n_members, n_classes):
    """Few distinct scores, so that ties abound; unseen classes; abstaining members."""
    scores = rng.integers(0, rng.integers(1, 5), (n_members, n_classes)).astype(float)
    scores[rng.random(scores.shape) < rng.choice([0, 0.2, 0.5])] = -np.inf
    scores[rng.random(n_members) < rng.choice([0, 0.1, 0.4])] = -np.inf
    if rng.random() < 0.5:  # a favourite makes larger radii
        favourite = rng.integers(n_classes)
        scores[rng.random(n_members) < 0.6, favourite] = 9
    return scores


def ranking_of(scores):
    """One member's ranking by the rule of the docstring; None where it abstains."""
    if max(scores) == -np.inf:
        return None
    return tuple(sorted(range(len(scores)), key=lambda c: (-scores[c], c)))


@cache
def poll(ranking, n_classes):
    """What one member adds: its first-round vote, then a count for every ordered pair."""
    votes = np.zeros(n_classes, dtype=np.int8)
    pairs = np.zeros((n_classes, n_classes), dtype=np.int8)
    if ranking is not None:
        votes[ranking[0]] = 1
        for a, b in itertools.combinations(ranking, 2):
            pairs[a, b] = 1
    return np.concatenate([votes, pairs.ravel()])


@cache
def polls_of_groups(size, n_classes):
    """What any `size` members together can add, each with any ranking or abstaining."""
    single = [poll(order, n_classes) for order in itertools.permutations(range(n_classes))]
    single = np.unique(np.array([poll(None, n_classes), *single]), axis=0)
    picks = np.array(list(itertools.combinations_with_replacement(range(len(single)), size)))
    total = np.zeros((len(picks), single.shape[1]), dtype=np.int8)
    for column in picks.T:
        total += single[column]
    return total


def hold_elections(states, n_classes):
    """Return the winner of each poll, one after another as the definition says."""
    votes = states[:, :n_classes].astype(int)
    pairs = states[:, n_classes:].reshape(-1, n_classes, n_classes)
    if n_classes == 1:
        return np.zeros(len(states), dtype=int)
    a, b = np.argsort(-votes, axis=1, kind="stable")[:, :2].T
    each = np.arange(len(states))
    for_a, for_b = pairs[each, a, b], pairs[each, b, a]
    return np.where(for_a > for_b, a, np.where(for_b > for_a, b, np.minimum(a, b)))


def brute_force(scores, open_set=False):
    """Return the winner and the exact radius of one test row, by trying everything."""
    n_members, n_known = scores.shape
    known = [poll(ranking_of(member), n_known) for member in scores]
    winner = int(hold_elections(np.sum(known, axis=0)[None], n_known)[0])
    if open_set:
        scores = np.hstack([np.full((n_members, 2), -np.inf), scores])
    n_classes = scores.shape[1]
    target = winner + 2 * open_set
    polls = np.array([poll(ranking_of(member), n_classes) for member in scores])
    total = polls.sum(axis=0, dtype=np.int8)
    for size in range(1, n_members + 1):
        added = polls_of_groups(size, n_classes)
        for chosen in itertools.combinations(range(n_members), size):
            kept = total - polls[list(chosen)].sum(axis=0, dtype=np.int8)
            if (hold_elections(kept + added, n_classes) != target).any():
                return winner, size - 1
    return winner, n_members


def check_against_brute_force(seed, n_instances, n_classes, max_members, open_set):
    rng = np.random.default_rng(seed)
    radii = []
    for _ in range(n_instances):
        scores = random_scores(rng, rng.integers(1, max_members + 1), n_classes)
        winner, radius = run_off_radius(scores[None], open_set=open_set)
        expected = brute_force(scores, open_set)
        assert (winner[0], radius[0]) == expected, scores.tolist()
        radii.append(radius[0])
    return radii


@pytest.mark.parametrize(
    ("n_classes", "max_members", "n_instances"),
    [(1, 4, 20), (2, 9, 150), (3, 8, 400), (4, 6, 250)],
)
def test_radius_is_exact_over_all_subsets_and_rankings(n_classes, max_members, n_instances):
    radii = check_against_brute_force(n_classes, n_instances, n_classes, max_members, False)
    assert len(set(radii)) > 2  # the draw reaches beyond trivial radii


@pytest.mark.parametrize(
    ("n_classes", "max_members", "n_instances"), [(1, 6, 60), (2, 6, 300), (3, 4, 150), (4, 3, 15)]
)
def test_radius_is_exact_where_new_labels_may_come(n_classes, max_members, n_instances):
    check_against_brute_force(10 + n_classes, n_instances, n_classes, max_members, True)
