"""Whether a winner stands, whatever certain members vote for."""

import itertools
from functools import cache

import numpy as np


@cache
def splits(n_votes, n_classes):
    """All ways in which `n_votes` members can vote for `n_classes` classes or abstain."""
    bars = itertools.combinations(range(n_votes + n_classes), n_classes)
    return np.diff(np.array([(-1, *bar) for bar in bars]), axis=1) - 1


def stands(ballot, owned, n_classes, open_set, n_new=0):
    """Say whether the winner stands, whatever the members owned, and new ones, vote for."""
    votes = np.array([np.sum(ballot == m) for m in range(n_classes)])
    target = int(votes.argmax())
    if open_set:  # a label that sorts before all others
        ballot, target = ballot + (ballot >= 0), target + 1
    kept = np.delete(ballot, owned)
    votes = np.array([np.sum(kept == m) for m in range(n_classes + open_set)])
    elected = (votes + splits(len(owned) + n_new, len(votes))).argmax(axis=1)
    # Without a vote of theirs a new label does not exist, and cannot win.
    return len(owned) + n_new == 0 or bool((elected == target).all())
