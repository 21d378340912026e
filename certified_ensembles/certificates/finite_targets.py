"""A named target, and a label among the first k, where a partition reaches several members."""

import numpy as np

from ._inputs import count_votes
from .finite import _Powers, check_ballots, check_spread, finite_aggregation_radius
from .targets import (
    check_k,
    check_label,
    check_target,
    gaps_of_rivals,
    gaps_of_target,
    target_radius,
    top_k_radius,
)

# The number of gaps that are added up at most. Every set of gaps proves a radius, and large sets
# seldom prove more.
_MOST_GAPS = 8


def finite_target_radius(ballots, spread, n_classes, target, *, open_set=False):
    """Return how many partitions may change before a named class can win the vote.

    Parameters
    ----------
    ballots : array-like of shape (n_samples, n_members), int
        Class index of every member's vote, -1 where it abstains.
    spread : array-like of shape (n_partitions, degree), int
        ``spread[p]`` are the members that partition ``p`` reaches.
    n_classes : int
        Number of known classes.
    target : int, ndarray of shape (n_samples,), or sequence or set of int
        As for `target_radius`.
    open_set : bool, default=False
        Changes nothing, as in `target_radius`.

    Returns
    -------
    radius : ndarray of shape (n_samples,), int64
        A number of partitions whose members may all change their votes, or abstain, without a
        win of a target; -1 where one wins already. It is never smaller than the radius of
        `finite_aggregation_radius`.

    Raises
    ------
    ValueError
        If an array has the wrong shape, or an entry outside its range.
    TypeError
        If an array is not of integers.

    Notes
    -----
    The target t has to pass every other class, so the gaps to any set S of them have to close
    together. A changed member takes at most ``|S|`` from their sum (a vote more for t), one more
    if its own vote was for a class of S, and nothing if it was for t. A partition's power is the
    sum over the members that it reaches; no attack succeeds before the strongest partitions
    close the sum [1]_. The sets tried are the s classes furthest ahead, s = 1, 2, ... The radius
    is also at least that of the winner, and that of `target_radius` divided by the degree, which
    makes it exact where each member has one partition of its own. Otherwise it is a lower bound.

    References
    ----------
    .. [1] W. Wang, A. Levine and S. Feizi, "Improved certified defenses against data poisoning
       with (deterministic) finite aggregation", ICML 2022.

    Examples
    --------
    >>> import numpy as np
    >>> from certified_ensembles.certificates import finite_target_radius
    >>> ballots = [[0, 0, 0, 0, 1, 1, 1, 2]]
    >>> spread = (np.arange(8)[:, None] + [0, 3]) % 8
    >>> [finite_target_radius(ballots, spread, 3, t).tolist() for t in (0, 1, 2)]
    [[-1], [0], [1]]
    """
    ballots = check_ballots(ballots, n_classes)
    reached = check_spread(spread, ballots.shape[1])
    votes = count_votes(ballots, n_classes)
    targets = check_target(target, *votes.shape)
    each = [_radius_of_target(ballots, votes, _Powers(reached), t) for t in targets]
    # A target that wins has passed the winner, new labels or not.
    winner, steady = finite_aggregation_radius(ballots, spread, n_classes)
    return np.where(winner == targets, -1, np.maximum(each, steady)).min(axis=0)


def finite_top_k_radius(ballots, spread, n_classes, label, k, *, open_set=False):
    """Return how many partitions may change before a label can leave the k with most votes.

    Parameters
    ----------
    ballots : array-like of shape (n_samples, n_members), int
        Class index of every member's vote, -1 where it abstains.
    spread : array-like of shape (n_partitions, degree), int
        ``spread[p]`` are the members that partition ``p`` reaches.
    n_classes : int
        Number of known classes.
    label : int or array-like of shape (n_samples,), int
        Index of the class that is to stay.
    k : int
        How many places there are, at least 1.
    open_set : bool, default=False
        As for `top_k_radius`.

    Returns
    -------
    radius : ndarray of shape (n_samples,), int64
        A number of partitions, up to ``n_partitions``, whose members may all change their votes,
        or abstain, while the label stays among the k; -1 where it is not among them now. For the
        winner it is never smaller than the radius of `finite_aggregation_radius`.

    Raises
    ------
    ValueError
        If an array has the wrong shape, or an entry outside its range.
    TypeError
        If an array is not of integers.

    Notes
    -----
    Of any k rivals that pass the label y, the s with the largest gaps have at least the sum of
    the gaps that are s largest among the k smallest of all. A changed member takes at most s + 1
    from such a sum if it voted for y, and 1 if not. A partition's power is the sum over the
    members that it reaches; no attack succeeds before the strongest partitions close the sum,
    whatever s is [1]_. The radius is also at least that of `top_k_radius` divided by the degree,
    which makes it exact where that is and each member has one partition of its own. Otherwise
    it is a lower bound.

    References
    ----------
    .. [1] W. Wang, A. Levine and S. Feizi, "Improved certified defenses against data poisoning
       with (deterministic) finite aggregation", ICML 2022.

    Examples
    --------
    >>> import numpy as np
    >>> from certified_ensembles.certificates import finite_top_k_radius
    >>> ballots = [[0, 0, 0, 0, 0, 1, 1, 1, 2, 2, 2, 2]]
    >>> spread = (np.arange(12)[:, None] + [0, 3]) % 12
    >>> [finite_top_k_radius(ballots, spread, 3, 0, k).tolist() for k in (1, 2, 3)]
    [[0], [0], [12]]
    """
    ballots = check_ballots(ballots, n_classes)
    reached = check_spread(spread, ballots.shape[1])
    degree, n_partitions = reached.shape
    votes, k = count_votes(ballots, n_classes), check_k(k)
    label = check_label(label, *votes.shape)
    gaps, n_new, inside = gaps_of_rivals(votes, label, k, open_set=open_set)
    if k >= n_classes and not open_set:
        return np.full(len(ballots), n_partitions, dtype=np.int64)
    # The largest gaps first: those of new labels, then those of known ones.
    own = np.take_along_axis(votes, label[:, None], axis=1)
    gaps = np.hstack([np.repeat(own, min(n_new, _MOST_GAPS), axis=1), gaps[:, ::-1]])
    sums = np.cumsum(gaps, axis=1)[:, :_MOST_GAPS]
    powers, least = _Powers(reached), np.zeros(len(ballots), dtype=np.int64)
    for part in powers.blocks(len(ballots)):
        for_label = ballots[part] == label[part, None]
        for s, total in enumerate(sums[part].T, start=1):
            needed = powers.needed(1 + s * for_label, s + 1, total)
            least[part] = np.maximum(least[part], needed)
    radius = np.maximum(least - 1, top_k_radius(votes, label, k, open_set=open_set) // degree)
    winner, steady = finite_aggregation_radius(ballots, spread, n_classes, open_set=open_set)
    radius = np.where(winner == label, np.maximum(radius, steady), radius)
    return np.where(inside, np.clip(radius, 0, n_partitions), -1)


def _radius_of_target(ballots, votes, powers, t):
    """Return the radius of one target a row."""
    degree, n_partitions = powers.spread.shape
    n_samples, n_classes = votes.shape
    gaps = gaps_of_target(votes, t)
    order = np.argsort(-gaps, axis=1, kind="stable")[:, : n_classes - 1]
    sums = np.cumsum(np.take_along_axis(gaps, order, axis=1), axis=1)
    least = np.zeros(n_samples, dtype=np.int64)
    for part in powers.blocks(n_samples):
        f, others = ballots[part], ballots[part] != t[part, None]
        # One place more, for abstentions (-1).
        ahead = np.zeros((len(f), n_classes + 1), dtype=bool)
        for s in range(1, min(n_classes - 1, _MOST_GAPS) + 1):
            np.put_along_axis(ahead, order[part, s - 1 : s], True, axis=1)
            power = s * others + np.take_along_axis(ahead, f.astype(np.intp), axis=1)
            needed = powers.needed(power, s + 1, sums[part, s - 1])
            least[part] = np.maximum(least[part], needed)
    floor = target_radius(votes, t) // degree
    return np.minimum(np.maximum(least - 1, floor), n_partitions)
