"""The exact radius of a vote of the k nearest training rows, whatever rows come or go."""

import numpy as np

from ._inputs import check_n_classes, row_blocks
from .plurality import plurality_radius


def nearest_neighbor_radius(
    neighbor_codes,
    n_neighbors,
    n_classes,
    *,
    threat="insertion_deletion",
    complete=False,
    groups=None,
    open_set=False,
):
    """Winner of a vote of the nearest training rows, and the operations that it survives.

    Parameters
    ----------
    neighbor_codes : array-like of shape (n_samples, n_nearest), int
        Labels, as codes in 0..n_classes - 1, of the nearest training rows of each test row, the
        nearest first, in an order that decides all ties.
    n_neighbors : int
        How many of them vote: the first k of each row.
    n_classes : int
        Number of classes, at least 1.
    threat : {"insertion_deletion", "label_flip", "replacement"}, default="insertion_deletion"
        What the radius counts: inserted plus deleted training rows, changed labels, or training
        rows replaced by others.
    complete : bool, default=False
        Whether `neighbor_codes` holds all training rows. If not, whatever lies behind the last
        one is taken to favour the attacker. With ``n_nearest >= k + k // 2 + 1`` that makes no
        difference.
    groups : array-like of shape (n_samples, n_nearest), int, default=None
        Who wrote the label of each of these rows, for ``threat="label_flip"`` alone: the radius
        then counts annotators, each of whom may rewrite all of his labels.
    open_set : bool, default=False
        Whether the attacker may bring a label never seen, which sorts before all others.

    Returns
    -------
    winner : ndarray of shape (n_samples,), int64
        The code with most votes, ties to the smaller one.
    radius : ndarray of shape (n_samples,), int64
        Largest number of operations that cannot change the winner, at most ``k // 2`` (`k` where
        there is a single class and ``open_set=False``).

    Raises
    ------
    ValueError
        If the codes are not integers of that range, or there are fewer of them than
        `n_neighbors` (unless `complete`), or the threat is unknown or does not go with groups.

    Notes
    -----
    *Insertions and deletions.* Let ``G_b(L)`` be the number of rows with the winner's label c
    minus those with label b among the L nearest. Whoever inserts i rows and deletes d does
    best by inserting rows b in front of all others and deleting rows c among the
    nearest ``k - i + d``: exactly these then meet the i new ones in the vote, so that the lead
    of c falls to ``G_b(k - i + d) - i - d``. Hence b beats c after r operations if and only if

        ``min over d = 0..r of G_b(k - r + 2 d)  <  r + [b < c]``

    and the radius is the largest r at which no b does. An operation moves ``G_b(L)`` by at most
    one and a window by at most one place, so that the radius at an attacked training set is at
    least the radius here minus the number of operations.

    The radius is exact if a new row can come before all others. It cannot only where rows
    equal to the test row come first by their label; then it may be too small, never too large.

    *Label flips and replacements.* Each exchanges one of the k voters at most, so the radius is
    that of a plurality of k members.

    *Annotators.* One who may rewrite all of his labels lowers the lead of c over b by the sum,
    over his rows among the k nearest, of ``1 + [label c] - [label b]``. The radius is the number
    of the largest such sums that the leads over all b bear, and exact: one annotator more turns
    the winner. Ties of distance must be decided without labels.

    It is sound for any distance and any rule for ties under which the order of two rows is a
    function of these two and the test row. [1]_ bounds the same vote by the worst case over all
    votes with the same counts; what lies just behind the k-th row raises that.

    References
    ----------
    .. [1] J. Jia, Y. Liu, X. Cao and N. Z. Gong, "Certified Robustness of Nearest Neighbors
       against Data Poisoning and Backdoor Attacks", AAAI 2022.

    Examples
    --------
    Three neighbours agree. Whether two insertions or deletions are needed to beat them
    depends on who stands behind.

    >>> from certified_ensembles.certificates.neighbors import nearest_neighbor_radius
    >>> winner, radius = nearest_neighbor_radius(
    ...     [[1, 1, 1, 1, 1, 1], [1, 1, 1, 0, 0, 0], [1, 0, 1, 0, 0, 0]], 3, n_classes=2
    ... )
    >>> winner.tolist(), radius.tolist()
    ([1, 1, 1], [1, 1, 0])
    """
    n_classes = check_n_classes(n_classes)
    codes = _check_neighbors(neighbor_codes, n_neighbors, n_classes, complete)
    k, n_nearest = int(n_neighbors), codes.shape[1]
    exchange = threat != "insertion_deletion"
    if exchange and threat not in ("label_flip", "replacement"):
        raise ValueError(
            f"threat={threat!r} is unknown: pass 'insertion_deletion', 'label_flip' or "
            "'replacement'."
        )
    if groups is not None:
        groups = _check_groups(groups, codes.shape, threat)
    winner = np.zeros(len(codes), dtype=np.int64)
    radius = np.full(len(codes), k, dtype=np.int64)
    for rows in row_blocks(len(codes), n_classes * max(n_nearest, k)):
        votes = _count(codes[rows, :k], n_classes)
        winner[rows], exchanged = plurality_radius(votes, open_set=open_set)
        if n_classes == 1 and not open_set:
            continue
        if groups is not None:
            nearest = codes[rows, :k], groups[rows, :k]
            radius[rows] = _annotator_radius(*nearest, winner[rows], votes, open_set)
            continue
        radius[rows] = (
            exchanged
            if exchange
            else _window_radius(codes[rows], winner[rows], k, n_classes, complete, open_set)
        )
    return winner, radius


def _check_neighbors(neighbor_codes, n_neighbors, n_classes, complete):
    codes = np.asarray(neighbor_codes)
    if codes.ndim != 2 or (codes.dtype.kind not in "iu" and codes.size):
        raise ValueError(
            "neighbor_codes must be an array of integers of shape (n_samples, n_nearest), got "
            f"dtype {codes.dtype} and shape {codes.shape}."
        )
    if codes.size and (codes.min() < 0 or codes.max() >= n_classes):
        raise ValueError(
            f"neighbor_codes must hold codes in 0..{n_classes - 1}, got {codes.min()} to "
            f"{codes.max()}; raise n_classes or encode the labels again."
        )
    if not isinstance(n_neighbors, int | np.integer) or n_neighbors < 1:
        raise ValueError(f"n_neighbors must be a positive integer, got {n_neighbors!r}.")
    if codes.shape[1] < (1 if complete else n_neighbors):
        raise ValueError(
            f"neighbor_codes holds {codes.shape[1]} rows for each test row, fewer than "
            f"n_neighbors={n_neighbors}: pass more of them, or a smaller n_neighbors."
        )
    return codes


def _check_groups(groups, shape, threat):
    groups = np.asarray(groups)
    if threat != "label_flip":
        raise ValueError(
            f"threat={threat!r} does not go with groups: whoever may add rows fills the "
            "neighbourhood alone, however many there are. Pass threat='label_flip'."
        )
    if groups.shape != shape or groups.dtype.kind not in "iu":
        raise ValueError(
            f"groups must be an array of integers of shape {shape}, one for each code, got dtype "
            f"{groups.dtype} and shape {groups.shape}."
        )
    return groups


def _annotator_radius(codes, groups, winner, votes, open_set):
    """Return the exact radius in annotators of one block of test rows."""
    order = np.argsort(groups, axis=1, kind="stable")
    codes, groups = (np.take_along_axis(part, order, axis=1) for part in (codes, groups))
    # Places of annotators among those of one test row, as cells of one long vector.
    cell = np.cumsum(np.diff(groups, axis=1, prepend=groups[:, :1]) != 0, axis=1)
    cell += codes.shape[1] * np.arange(len(codes))[:, None]
    mine, row = codes == winner[:, None], np.arange(len(codes))
    radius = np.full(len(codes), codes.shape[1], dtype=np.int64)
    for b in range(-1 if open_set else 0, votes.shape[1]):
        drops = 1.0 + mine - (codes == b)
        drops = np.bincount(cell.ravel(), drops.ravel(), minlength=codes.size).reshape(codes.shape)
        lost = np.cumsum(-np.sort(-drops, axis=1), axis=1)
        lead = votes[row, winner] - (votes[:, b] if b >= 0 else 0) - (b < winner)
        fitting = np.count_nonzero(lost <= lead[:, None], axis=1)
        radius = np.where(b == winner, radius, np.minimum(radius, fitting))
    return radius


def _count(codes, n_classes):
    """Return how often each class occurs in each row."""
    place = codes.astype(np.int64) + n_classes * np.arange(len(codes))[:, None]
    return np.bincount(place.ravel(), minlength=codes.shape[0] * n_classes).reshape(-1, n_classes)


def _window_radius(codes, winner, k, n_classes, complete, open_set):
    """Return the exact radius against insertions and deletions of one block of test rows."""
    # With more insertions than half of the voters the new rows win by themselves.
    most = k // 2 + 1
    seen = codes[:, : k + most]
    unseen = k + most - seen.shape[1]
    held = _running_counts(seen == winner[:, None])
    least = np.full(len(codes), most, dtype=np.int64)
    for b in range(-1 if open_set else 0, n_classes):
        lead = held - _running_counts(seen == b)
        if unseen > 0:  # rows behind the last one: none, or all of them for b
            behind = np.zeros(unseen, int) if complete else np.arange(1, unseen + 1)
            lead = np.concatenate([lead, lead[:, -1:] - behind.astype(lead.dtype)], axis=1)
        # r operations reach the windows k - r, k - r + 2, ..., k + r.
        reach = np.minimum(lead[:, k - most : k + 1][:, ::-1], lead[:, k : k + most + 1])
        for parity in (0, 1):
            np.minimum.accumulate(reach[:, parity::2], axis=1, out=reach[:, parity::2])
        beaten = reach < np.arange(most + 1) + (b < winner)[:, None]
        # More operations do no less, so those that fail are counted.
        fails = np.count_nonzero(~beaten, axis=1)
        least = np.minimum(least, np.where(b == winner, most, fails))
    return least - 1


def _running_counts(flags):
    """Return (n, m + 1) counts of the flags among the first 0, 1, ..., m."""
    counts = np.zeros((len(flags), flags.shape[1] + 1), dtype=np.int32)
    np.cumsum(flags, axis=1, out=counts[:, 1:])
    return counts
