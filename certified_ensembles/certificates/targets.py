"""Other questions to a plurality vote: a named target, and a label among the first k."""

import numbers

import numpy as np

from ._inputs import check_vote_counts


def target_radius(vote_counts, target, *, open_set=False):
    """Return how many members may change before a named class can win the vote.

    Parameters
    ----------
    vote_counts : array-like of shape (n_samples, n_classes), int
        Non-negative numbers of members that vote for each class. Members that abstain are
        simply not counted.
    target : int, ndarray of shape (n_samples,), or sequence or set of int
        The class that must not win: the index of one class; an array with one index a test row;
        or a list, tuple, range or set of classes, of which none may win.
    open_set : bool, default=False
        Whether an attacker may bring classes that nobody has voted for. It changes nothing: a
        vote for another class than the target never helps the target.

    Returns
    -------
    radius : ndarray of shape (n_samples,), int64
        Largest number of members that may change their ballots, each to any class or to an
        abstention, such that no target wins; -1 where one wins already. It is never smaller
        than the radius of `plurality_radius`, and exact: one more can make a target win.

    Raises
    ------
    ValueError
        If `vote_counts` is not a two-dimensional array of non-negative integers, or `target`
        names no class or has the wrong length.

    See Also
    --------
    top_k_radius : How long a label stays among those with most votes.

    Notes
    -----
    With m changed members the target t has ``n_t + m`` votes at most, and another class c has to
    lose ``max(0, n_c - (n_t + m - [c < t]))`` of its own before t wins against it. Each lost vote
    is one of the m members. So t can win if and only if these numbers sum to at most m; the
    radius is the least such m, less one. Written for sets of classes, it is the largest of
    ``ceil((sum over c in S of n_c - n_t + [c < t]) / (|S| + 1))``, where the worst set S of each
    size are the classes furthest ahead. For several targets it is the minimum. It assumes, as
    Theorem 1 of [1]_, that every member depends on its own partition only.

    References
    ----------
    .. [1] Levine and Feizi, "Deep Partition Aggregation: Provable Defenses against General
       Poisoning Attacks", ICLR 2021.

    Examples
    --------
    One changed member turns this vote from class 1 to class 0, but it takes five to turn it to 2.

    >>> from certified_ensembles.certificates import target_radius
    >>> votes = [[7, 8, 2]]
    >>> [target_radius(votes, t).tolist() for t in (0, 1, 2)]
    [[0], [-1], [4]]
    >>> target_radius(votes, [0, 2]).tolist()
    [0]
    """
    votes = check_vote_counts(vote_counts)
    each = [
        least_to_close(gaps_of_target(votes, t)) - 1 for t in check_target(target, *votes.shape)
    ]
    return np.min(each, axis=0)


def top_k_radius(vote_counts, label, k, *, open_set=False):
    """Return how many members may change before a label can leave the k with most votes.

    Parameters
    ----------
    vote_counts : array-like of shape (n_samples, n_classes), int
        Non-negative numbers of members that vote for each class. Members that abstain are
        simply not counted.
    label : int or array-like of shape (n_samples,), int
        Index of the class that is to stay, one for all test rows or one for each.
    k : int
        How many places there are, at least 1. Equal votes are ranked by index, the smaller first.
    open_set : bool, default=False
        If True, an attacker may bring any number of classes that nobody has voted for and that
        sort before all others.

    Returns
    -------
    radius : ndarray of shape (n_samples,), int64
        Largest number of members that may change their ballots, each to any class or to an
        abstention, such that the label is certain to stay among the k; -1 where it is not among
        them now. For the winner and k = 1 it is the radius of `plurality_radius`, and it never
        falls with k. It is exact: one more can push the label out, as long as there are so many
        members with a vote to spare, abstaining ones among them. Where k places are enough for
        all classes of a closed set nothing can, and the radius is the number of votes (or
        ``n_classes - 1``, if that is more).

    Raises
    ------
    ValueError
        If `vote_counts` is not a two-dimensional array of non-negative integers, `label` names no
        class or has the wrong length, or `k` is no integer of at least 1.

    See Also
    --------
    target_radius : How long a named class stays out of the first place.

    Notes
    -----
    An attacker takes r votes from the label y and hands them to the k rivals that are easiest
    to bring before it. Rival b then lacks ``max(0, n_y - r + [b > y] - n_b)`` votes (n_y - r is
    at least 0), so y can fall out if and only if the k smallest of these numbers sum to at most
    r. It assumes, as Theorem 1 of [1]_, that every member depends on its own partition only.

    References
    ----------
    .. [1] Levine and Feizi, "Deep Partition Aggregation: Provable Defenses against General
       Poisoning Attacks", ICLR 2021.

    Examples
    --------
    One changed member takes the first place from class 1. Three cannot push it out of the
    first two, and all together not out of the first three.

    >>> from certified_ensembles.certificates import top_k_radius
    >>> votes = [[7, 8, 2]]
    >>> [top_k_radius(votes, 1, k).tolist() for k in (1, 2, 3)]
    [[0], [3], [17]]
    """
    votes = check_vote_counts(vote_counts)
    label = check_label(label, *votes.shape)
    k, n_classes = check_k(k), votes.shape[1]
    gaps, n_new, inside = gaps_of_rivals(votes, label, k, open_set=open_set)
    if k >= n_classes and not open_set:
        return np.maximum(votes.sum(axis=1), n_classes - 1)
    own = np.take_along_axis(votes, label[:, None], axis=1)
    # A label without votes cannot lose any more: what is still missing others have to give.
    missing = np.maximum(gaps - own, 0).sum(axis=1)
    least = np.maximum(least_to_close(gaps, n_new, own[:, 0]), missing)
    # A new label without votes counts once the attacker has brought it, and not before.
    return np.where(inside, np.maximum(least - 1, 0), -1)


# ---------------------------------------------------------------- what has to be gained


def gaps_of_target(votes, t):
    """Return the votes that each target has to gain on each class; none on itself.

    Parameters
    ----------
    votes : ndarray of shape (n_samples, n_classes), int64
    t : ndarray of shape (n_samples,), int64

    Returns
    -------
    gaps : ndarray of shape (n_samples, n_classes), int64
        0 or less where the target wins against the class already.
    """
    own = np.take_along_axis(votes, t[:, None], axis=1)
    return votes - own + (np.arange(votes.shape[1]) < t[:, None])


def gaps_of_rivals(votes, label, k, *, open_set):
    """Return the votes that the k easiest rivals have to gain on a label.

    Parameters
    ----------
    votes : ndarray of shape (n_samples, n_classes), int64
    label : ndarray of shape (n_samples,), int64
    k : int
    open_set : bool

    Returns
    -------
    gaps : ndarray of shape (n_samples, min(k, n_classes - 1)), int64
        Rising; 0 or less where a rival is before the label already.
    n_new : int
        How many new labels are needed beside these rivals. Each has to gain all votes of the
        label. More of them than the largest number of votes are as hard, so they are not counted.
    inside : ndarray of shape (n_samples,), bool
        Whether fewer than k known rivals are before the label.
    """
    n_others = votes.shape[1] - 1
    own = np.take_along_axis(votes, label[:, None], axis=1)
    gaps = own - votes + (np.arange(n_others + 1) > label[:, None])
    np.put_along_axis(gaps, label[:, None], np.iinfo(np.int64).max, axis=1)
    inside = np.count_nonzero(gaps <= 0, axis=1) < k
    gaps = np.sort(gaps, axis=1)[:, : min(k, n_others)]
    if not open_set:
        return gaps, 0, inside
    n_new = min(max(k - n_others, 0), int(own.max(initial=0)) + 1)
    # A new label that wins ties is as good as any that has no votes.
    return np.minimum(gaps, own), n_new, inside


def least_to_close(gaps, n_more=0, gap_of_more=0):
    """Return the least number of changed members that close all gaps of a row.

    A changed member closes one vote of every gap, and one vote more of one of them.

    Parameters
    ----------
    gaps : ndarray of shape (n_samples, n_gaps), int64
    n_more : int, default=0
        Number of further gaps.
    gap_of_more : ndarray of shape (n_samples,), int64
        Each of them, none smaller than any of `gaps`.

    Returns
    -------
    least : ndarray of shape (n_samples,), int64
        At least 0.
    """
    # The sum of max(0, gap - m) is at most m if the s largest gaps sum to (s + 1) m or less.
    first = np.broadcast_to(n_more * np.asarray(gap_of_more), len(gaps))
    sums = np.cumsum(np.column_stack([first, -np.sort(-gaps, axis=1)]), axis=1)
    shares = np.arange(n_more + 1, n_more + 1 + sums.shape[1])
    return np.maximum(-(-sums // shares), 0).max(axis=1)


# ---------------------------------------------------------------- checks


def check_target(target, n_samples, n_classes):
    """Return the targets as indices, of shape (n_alternatives, n_samples)."""
    several = isinstance(target, list | tuple | range | set | frozenset)
    codes = np.asarray(sorted(target) if isinstance(target, set | frozenset) else target)
    if not codes.size and n_samples | several:
        raise ValueError(f"target={target!r} names no class: pass one index at least.")
    if codes.ndim > 1 or (codes.dtype.kind not in "iu" and codes.size):
        raise ValueError(
            f"target={target!r} must be the index of a class, an array with one index a row, or "
            "a list of indices."
        )
    _check_range(codes, n_classes, "target")
    if several:
        return np.broadcast_to(codes.astype(np.int64)[:, None], (len(codes), n_samples))
    if codes.ndim == 1 and len(codes) != n_samples:
        raise ValueError(
            f"target has {len(codes)} entries for {n_samples} rows: an array names one class a "
            "row. Pass a list for several classes, of which none may win."
        )
    return np.broadcast_to(codes.astype(np.int64), (1, n_samples))


def check_label(label, n_samples, n_classes):
    """Return the label of every row, of shape (n_samples,)."""
    codes = np.asarray(label)
    if codes.dtype.kind not in "iu" and codes.size:
        raise ValueError(f"label={label!r} must hold indices of classes, integers.")
    if codes.shape not in ((), (n_samples,)):
        raise ValueError(
            f"label has the shape {codes.shape} for {n_samples} rows: pass one index for all "
            "rows, or one for each."
        )
    _check_range(codes, n_classes, "label")
    return np.broadcast_to(codes.astype(np.int64), n_samples)


def check_k(k, name="k"):
    """Return `k` as an int, or say why it cannot be one."""
    if isinstance(k, numbers.Integral) and not isinstance(k, bool) and k >= 1:
        return int(k)
    raise ValueError(f"{name} must be an integer of at least 1, got {k!r}: it counts places.")


def _check_range(codes, n_classes, name):
    if codes.size and (codes.min() < 0 or codes.max() >= n_classes):
        raise ValueError(
            f"{name} must lie between 0 and n_classes - 1 = {n_classes - 1}, got values between "
            f"{codes.min()} and {codes.max()}."
        )
