"""Run-off election: members rank the classes, two finalists meet, and the radius is exact."""

from typing import NamedTuple

import numpy as np

# The number of scores in one block: few enough for the caches, enough to hide the interpreter.
_BLOCK_SCORES = 2**18
# The number of entries of class-by-class tables in memory at once while radii are searched.
_BLOCK_TABLE = 2**20


class RunOffTally(NamedTuple):
    """All that a run-off certificate needs to know of the members, per test row.

    Attributes
    ----------
    winner : ndarray of shape (n_samples,), int64
        The elected class.
    votes : ndarray of shape (n_samples, n_classes), int64
        First-round votes.
    prefers : ndarray of shape (n_samples, n_classes, n_classes), int64
        ``prefers[x, m, t]`` members vote for ``m`` and prefer the winner to ``t``.
    """

    winner: np.ndarray
    votes: np.ndarray
    prefers: np.ndarray


def run_off_radius(scores, *, open_set=False):
    """Elect a class by run-off and count the members that an attacker must change to unseat it.

    Round one picks the two classes with most first places. Round two elects the finalist that
    more members prefer to the other. All ties go to the smaller class.

    Parameters
    ----------
    scores : array-like of shape (n_samples, n_members, n_classes), float
        Score of each class by each member; a member ranks classes by falling score, equal
        scores by rising class. The scale does not matter and may differ between members. A
        class that a member has not seen has the score ``-inf``, and so ranks last. A member
        whose scores are all ``-inf`` abstains: it has no vote and prefers nobody. Scores are
        compared in their own precision, and read in blocks of rows.
    open_set : bool, default=False
        Whether the attacker may bring labels that nobody has seen. Two such labels, smaller
        than every known one, then take part; members rank them as unseen classes.

    Returns
    -------
    winner : ndarray of shape (n_samples,), int64
        The elected class.
    radius : ndarray of shape (n_samples,), int64
        Largest number of members, between 0 and ``n_members``, that may be replaced by any
        others (of any ranking, or abstaining) without another winner.

    Raises
    ------
    ValueError
        If `scores` is not three-dimensional, has no member or no class, or holds NaN.
    TypeError
        If `scores` is not real.

    Notes
    -----
    The radius is exact: some choice of ``radius + 1`` members and of their new rankings elects
    another class (but for a single known class and ``open_set=False``, where no choice does).

    An attacker can unseat the winner `c` in two ways. Either two classes overtake it in round
    one: members that voted for `c` are changed, since each such change serves both. With the
    two smallest gaps ``g1 <= g2`` between `c` and another class, that takes
    ``max(ceil((g1 + g2) / 3), ceil(g2 / 2))`` members. Or one class `t` overtakes every class
    but `c` in round one, and `c` in round two: all changed members then rank `t` first; as many
    as needed are taken from each class that is too far ahead, those who prefer `c` to `t`
    first, and the others from those who prefer `c` to `t` anywhere. Whether a number of
    changed members is enough is monotone in it, so bisection finds the least. The bound of
    [1]_ for the second way is sound and sometimes one short.

    The result holds for members that are functions of disjoint parts of the training set: one
    poisoned row then changes one member.

    References
    ----------
    .. [1] K. Rezaei, K. Banihashem, A. Chegini and S. Feizi, "Run-off election: improved
       provable defense against data poisoning attacks", ICML 2023.

    Examples
    --------
    Plurality elects class 0 here. Of the finalists 0 and 1, more members prefer 1.

    >>> import numpy as np
    >>> from certified_ensembles.certificates.runoff import run_off_radius
    >>> member = {0: [3.0, 2.0, 1.0], 1: [1.0, 3.0, 2.0], 2: [1.0, 2.0, 3.0]}
    >>> scores = np.array([[member[v] for v in [0, 0, 0, 0, 1, 1, 1, 2, 2]]])
    >>> winner, radius = run_off_radius(scores)
    >>> winner.tolist(), radius.tolist()
    ([1], [0])
    """
    scores = check_scores(scores)
    n_samples, n_members, n_classes = scores.shape
    winner = np.zeros(n_samples, dtype=np.int64)
    radius = np.full(n_samples, n_members, dtype=np.int64)
    step = max(1, _BLOCK_TABLE // (n_classes + 2) ** 2)
    for start in range(0, n_samples, step):
        rows = slice(start, start + step)
        tally = run_off_tally(scores[rows], open_set=open_set)
        winner[rows] = tally.winner
        if n_classes > 1 or open_set:
            radius[rows] = radius_from_tally(tally, n_members, n_phantoms=2 if open_set else 0)
    return winner, radius


def check_scores(scores):
    """Return `scores` as an array of floats that compare as the given numbers do."""
    scores = np.asarray(scores)
    if scores.ndim != 3:
        raise ValueError(
            "scores must have the shape (n_samples, n_members, n_classes), got "
            f"{scores.shape}. Stack the members' scores along axis 1."
        )
    if 0 in scores.shape[1:]:
        raise ValueError(
            f"scores must hold at least one member and one class, got the shape {scores.shape}."
        )
    if scores.dtype.kind not in "fiub":
        raise TypeError(
            f"scores must be real numbers, got dtype {scores.dtype}. Pass decision_function, "
            "predict_proba or logits, with -inf for classes that a member has not seen."
        )
    if scores.dtype.kind in "iu" and scores.dtype.itemsize > 4 and scores.size:
        # Neighbouring integers beyond this become equal floats, and so another ranking.
        if max(int(scores.max()), -int(scores.min())) > 2**53:
            raise ValueError(
                "scores must be at most 2**53 in size where they are integers, got "
                f"{int(scores.max())} as the largest. Pass floats."
            )
        return scores.astype(np.float64)
    return scores


def run_off_tally(scores, *, open_set=False):
    """Count what a run-off certificate needs, in blocks of test rows.

    Parameters
    ----------
    scores : ndarray of shape (n_samples, n_members, n_classes)
        As for `run_off_radius`.
    open_set : bool, default=False
        As for `run_off_radius`; the two new labels take the first two places of `votes` and
        of both class axes of `prefers`, and `winner` does not count them.

    Returns
    -------
    RunOffTally
        Winner, votes and preferences.
    """
    n_samples, n_members, n_classes = scores.shape
    n_all = n_classes + 2 * bool(open_set)
    winner = np.empty(n_samples, dtype=np.int64)
    votes = np.zeros((n_samples, n_all), dtype=np.int64)
    prefers = np.zeros((n_samples, n_all, n_all), dtype=np.int64)
    step = max(1, _BLOCK_SCORES // (n_members * n_classes))
    for start in range(0, n_samples, step):
        rows = slice(start, start + step)
        ranking = class_major(scores[rows])
        voters, active = first_places(ranking)
        voters = _pack(voters).transpose(1, 0, 2)
        known = np.bitwise_count(voters).sum(axis=-1, dtype=np.int64)
        winner[rows] = c = elect(ranking, active, known)[0]
        score = ranking[c, np.arange(len(c))]
        # A new label stands at -inf everywhere and before c, so it loses to any other score.
        prefer = [_pack(score > -np.inf)] * (n_all - n_classes)
        for t in range(n_classes):
            prefer.append(_pack(prefers_first(score, ranking[t], c < t)))
        # Abstaining members fall out here: they are nobody's voters.
        joint = np.bitwise_count(voters[:, :, None] & np.stack(prefer, axis=1)[:, None])
        votes[rows, n_all - n_classes :] = known
        prefers[rows, n_all - n_classes :] = joint.sum(axis=-1, dtype=np.int64)
    return RunOffTally(winner, votes, prefers)


def class_major(scores, n_phantoms=0):
    """Copy a block of scores to the shape (n_classes, n_samples, n_members), as floats.

    The first `n_phantoms` classes are labels that nobody has seen.
    """
    n_samples, n_members, n_classes = scores.shape
    kept = scores.dtype.kind == "f" and scores.dtype.itemsize >= 4
    small = np.float32 if scores.dtype.itemsize <= 2 else np.float64
    shape = (n_phantoms + n_classes, n_samples, n_members)
    ranking = np.empty(shape, dtype=scores.dtype if kept else small)
    ranking[:n_phantoms] = -np.inf
    ranking[n_phantoms:] = scores.transpose(2, 0, 1)
    return ranking


def first_places(ranking):
    """Say which members vote for which class, and which vote at all.

    Parameters
    ----------
    ranking : ndarray of shape (n_classes, n_samples, n_members)
        Scores, class by class.

    Returns
    -------
    voters : ndarray of shape (n_classes, n_samples, n_members), bool
        True where the member puts the class first.
    active : ndarray of shape (n_samples, n_members), bool
        False where the member abstains.
    """
    best = ranking.max(axis=0)
    if np.isnan(best).any():
        raise ValueError(
            "scores must not hold NaN: a ranking with it is none. Use -inf for a class that a "
            "member has not seen, and -inf for all classes where a member abstains."
        )
    active = best > -np.inf
    waiting = active.copy()
    voters = np.empty(ranking.shape, dtype=bool)
    for m in range(len(ranking)):
        np.logical_and(ranking[m] == best, waiting, out=voters[m])
        waiting ^= voters[m]
    return voters, active


def elect(ranking, active, votes):
    """Return winner and loser of the final of each test row."""
    n_classes, n_samples, _ = ranking.shape
    if n_classes == 1:
        return np.zeros((2, n_samples), dtype=np.int64)
    # The key falls with the class, so equal votes go to the smaller one.
    key = votes * n_classes + np.arange(n_classes)[::-1]
    finalists = np.sort(np.argpartition(key, n_classes - 2, axis=1)[:, -2:], axis=1)
    first, second = finalists.T
    rows = np.arange(n_samples)
    for_first = (ranking[first, rows] >= ranking[second, rows]) & active
    n_first = np.count_nonzero(for_first, axis=1)
    first_wins = 2 * n_first >= votes.sum(axis=1)
    return np.where(first_wins, finalists.T, finalists.T[::-1])


def prefers_first(first, second, smaller):
    """Say which members prefer the class of `first`; `smaller` rows have its class smaller."""
    return (first > second) | ((first == second) & smaller[:, None])


def _pack(flags):
    """Pack booleans along the last axis into 64-bit words, so that counting them is cheap."""
    n_flags = flags.shape[-1]
    padded = np.zeros((*flags.shape[:-1], -(-n_flags // 64) * 64), dtype=bool)
    padded[..., :n_flags] = flags
    return np.packbits(padded, axis=-1).view(np.uint64)


def radius_from_tally(tally, n_members, *, n_phantoms=0):
    """Return the exact run-off radius from a tally of at least two classes.

    Parameters
    ----------
    tally : RunOffTally
        Counts with `n_phantoms` unseen labels in front.
    n_members : int
        Number of members, abstaining ones included.
    n_phantoms : int, default=0
        Number of unseen labels in front, which `tally.winner` does not count.

    Returns
    -------
    ndarray of shape (n_samples,), int64
        Largest number of changed members that the winner survives.
    """
    c = tally.winner + n_phantoms
    out = _least_push_out(tally.votes, c, n_members)
    beat = _least_beaten(tally.votes, c, tally.prefers, n_members)
    # Where all abstain a new label would win at once, but no new label has come yet.
    return np.maximum(np.minimum(out, beat) - 1, 0)


def _least_push_out(votes, c, n_members):
    """Return the least number of changed members that puts two classes before `c`."""
    n_samples, n_classes = votes.shape
    if n_classes < 3:
        return np.full(n_samples, n_members + 1)
    n_c = np.take_along_axis(votes, c[:, None], axis=1)
    gap = np.maximum(n_c - votes + (c[:, None] < np.arange(n_classes)), 0)
    gap[np.arange(n_samples), c] = np.iinfo(np.int64).max
    near, far = np.partition(gap, 1, axis=1)[:, :2].T
    # A voter of c that changes brings one rival closer by two and the other by one; no gap
    # exceeds n_c by more than one, so there are enough of these voters.
    return np.maximum((near + far + 2) // 3, (far + 1) // 2)


def _least_beaten(votes, c, prefers, n_members):
    """Return the least number of changed members that lets one class beat `c` in round two."""
    n_samples, n_classes = votes.shape
    rows = np.arange(n_samples)
    classes = np.arange(n_classes)
    for_c = prefers.sum(axis=1)
    margin = 2 * for_c - votes.sum(axis=1, keepdims=True) + (c[:, None] < classes)
    # Never more than prefer c, unless all abstain: then the first change decides.
    need = np.maximum(margin + 1, 0) // 2
    # gap[x, m, t]: how far m is before t.
    gap = votes[:, :, None] - votes[:, None, :] + (classes[:, None] < classes)
    gap[rows, c] = 0
    gap[:, classes, classes] = 0

    def enough(r):
        # r members come to t, and of them y leave each m that would still be before t.
        y = np.maximum(gap - r[:, None, :], 0)
        spare = r - y.sum(axis=1)
        switched = np.minimum(y, prefers).sum(axis=1) + spare
        return (spare >= 0) & (switched >= need)

    # No class needs all members and one more; the winner itself keeps this.
    least = _bisect(enough, np.full((n_samples, n_classes), n_members + 1))
    least[rows, c] = n_members + 1
    return least.min(axis=1)


def _bisect(enough, high):
    """Return the least count below `high` that is enough, else `high`, entry by entry."""
    low = np.zeros_like(high)
    while (low < high).any():
        middle = (low + high) // 2
        reached = enough(middle)
        high = np.where(reached, middle, high)
        low = np.where(reached | (low == high), low, middle + 1)
    return high
