"""Every way in which members can vote, and how many of them have to change for it."""

import itertools
from functools import cache

import numpy as np


@cache
def all_votes(n_members, n_answers):
    """Return all numbers of members for each answer, of shape (n_ways, n_answers)."""
    bars = itertools.combinations(range(n_members + n_answers - 1), n_answers - 1)
    ends = np.array([(-1, *bar, n_members + n_answers - 1) for bar in bars])
    return np.diff(ends, axis=1) - 1


def fewest_changes(ballots, n_classes, succeeds, n_new=0):
    """Return the least number of changed members with which an attack succeeds.

    Parameters
    ----------
    ballots : ndarray of shape (n_members,), int
        -1 where a member abstains.
    n_classes, n_new : int
        Known classes, and new ones, which sort before them.
    succeeds : callable
        Takes votes of shape (n_ways, n_new + n_classes); returns a flag for each way.
    n_new : int, default=0

    Returns
    -------
    least : int
        At least 1: nothing is asked of what stands now. n_members + 1 where nothing succeeds.
    """
    now = np.bincount(ballots + 1, minlength=n_classes + 1)
    now = np.concatenate([now[:1], np.zeros(n_new, dtype=int), now[1:]])
    ways = all_votes(len(ballots), len(now))
    # Members that vote alike are exchangeable: those that are too many have to change.
    changed = np.maximum(now - ways, 0).sum(axis=1)
    reached = changed[succeeds(ways[:, 1:]) & (changed > 0)]
    return int(reached.min(initial=len(ballots) + 1))


def random_ballots(rng, n_members, n_classes):
    """Return ballots of a small vote, often with a favourite, sometimes with abstentions."""
    ballots = rng.integers(-1 if rng.random() < 0.5 else 0, n_classes, n_members)
    if rng.random() < 0.5:
        ballots[rng.random(n_members) < rng.random()] = rng.integers(n_classes)
    return ballots


def places(votes, label):
    """Return how many classes are before a label, among equals the smaller ones."""
    own = votes[:, [label]]
    return ((votes > own) | ((votes == own) & (np.arange(votes.shape[1]) < label))).sum(axis=1)
