"""Partition aggregation: the radius of a plurality vote, and what an operation costs."""

import numpy as np

from ._inputs import check_vote_counts


def plurality_radius(vote_counts, *, open_set=False):
    """Return the winner of each vote and how many changed members it survives.

    Parameters
    ----------
    vote_counts : array-like of shape (n_samples, n_classes), int
        Non-negative numbers of members that vote for each class. Members that abstain are
        simply not counted.
    open_set : bool, default=False
        If True, an attacker may bring a class that nobody has voted for and that sorts
        before all others, so that it wins ties.

    Returns
    -------
    winner : ndarray of shape (n_samples,), int64
        Index of the class with most votes; ties go to the smaller index.
    radius : ndarray of shape (n_samples,), int64
        Largest number of members that may change their ballots, each to any class or to
        an abstention, such that the winner is certain to stay. It is exact: one more can
        turn the winner, as long as the winner has that many members. With a single class in
        a closed set nothing can turn the winner, and the radius is the number of votes.

    Raises
    ------
    ValueError
        If `vote_counts` is not a two-dimensional array of non-negative integers.

    Notes
    -----
    A changed member takes at most one vote from the winner c and gives it to a rival b, so
    a gap shrinks by at most two:
    ``radius = min over b != c of floor((n_c - n_b - [b < c]) / 2)`` (Theorem 1 of [1]_). It
    assumes that every member depends on its own partition only.

    References
    ----------
    .. [1] Levine and Feizi, "Deep Partition Aggregation: Provable Defenses against General
       Poisoning Attacks", ICLR 2021.

    Examples
    --------
    >>> from certified_ensembles.certificates import plurality_radius
    >>> winner, radius = plurality_radius([[3, 8, 2], [5, 5, 0]])
    >>> winner.tolist(), radius.tolist()
    ([1, 0], [2, 0])
    """
    votes = check_vote_counts(vote_counts)
    winner = votes.argmax(axis=1)
    top = votes.max(axis=1)
    # Ties go to the smaller index, so a smaller rival needs one vote less.
    gap = top[:, None] - votes - (np.arange(votes.shape[1]) < winner[:, None])
    np.put_along_axis(gap, winner[:, None], 2 * votes.sum(axis=1, keepdims=True), axis=1)
    radius = gap.min(axis=1) // 2
    if open_set:
        radius = np.minimum(radius, (top - 1) // 2)
    return winner, np.maximum(radius, 0)
