"""Run-off elections held as the definition says, and all that members can bring to them."""

import itertools
from functools import cache

import numpy as np


def random_scores(rng, n_members, n_classes):
    """Few distinct scores, so that ties abound; unseen classes; abstaining members."""
    scores = rng.integers(0, rng.integers(1, 5), (n_members, n_classes)).astype(float)
    scores[rng.random(scores.shape) < rng.choice([0, 0.2, 0.5])] = -np.inf
    scores[rng.random(n_members) < rng.choice([0, 0.1, 0.4])] = -np.inf
    if rng.random() < 0.5:  # a favourite makes larger radii
        favourite = rng.integers(n_classes)
        scores[rng.random(n_members) < 0.6, favourite] = 9
    if rng.random() < 0.2:  # members that have seen one class only
        scores[scores < scores.max(axis=1, keepdims=True)] = -np.inf
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
