"""A named target of a run-off election: what it takes to reach the final, and to win it."""

import numpy as np

from .finite import finite_run_off_radius
from .runoff import check_scores, class_major, first_places, prefers_first, run_off_radius
from .targets import check_target, gaps_of_target, least_to_close

# The number of scores in memory at once.
_BLOCK_SCORES = 2**22


def run_off_target_radius(scores, target, *, spread=None, open_set=False):
    """Return how many members may change before a named class can win a run-off.

    Parameters
    ----------
    scores : array-like of shape (n_samples, n_members, n_classes), float
        As for `run_off_radius`.
    target : int, ndarray of shape (n_samples,), or sequence or set of int
        As for `target_radius`.
    spread : array-like of shape (n_partitions, degree), int, default=None
        ``spread[p]`` are the members that partition ``p`` reaches; the radius then counts
        partitions. None: it counts members.
    open_set : bool, default=False
        Whether the attacker may bring labels that nobody has seen, as in `run_off_radius`.

    Returns
    -------
    radius : ndarray of shape (n_samples,), int64
        A number of members (partitions) that may be replaced by any others without a win of a
        target; -1 where one wins already. It is a lower bound, and never smaller than the radius
        of `run_off_radius` (`finite_run_off_radius`).

    Raises
    ------
    ValueError
        If `scores`, `target` or `spread` has the wrong shape or values.
    TypeError
        If `scores` is not real.

    Notes
    -----
    A target t that wins has a rival in the final, some class a. So t has passed all classes but
    a in round one, which takes as many changed members as in `target_radius` without a. And
    among those who prefer one of the two, t has more than half: every changed member takes at
    most two from the lead of a in round two. The larger of both numbers, minimised over a, is
    needed for t to win. So is a change of the winner, for which `run_off_radius` is exact. With
    new labels, a may be one of them. That the same members must also carry a into the final is
    left out, which can only lower the radius. One partition changes ``degree`` members at most.

    References
    ----------
    .. [1] K. Rezaei, K. Banihashem, A. Chegini and S. Feizi, "Run-off election: improved
       provable defense against data poisoning attacks", ICML 2023.

    Examples
    --------
    >>> import numpy as np
    >>> from certified_ensembles.certificates import run_off_target_radius
    >>> member = {0: [3.0, 2.0, 1.0], 1: [1.0, 3.0, 2.0], 2: [1.0, 2.0, 3.0]}
    >>> scores = np.array([[member[v] for v in [0, 0, 0, 0, 1, 1, 1, 1, 1, 2]]])
    >>> [run_off_target_radius(scores, t).tolist() for t in (0, 1, 2)]
    [[0], [-1], [2]]
    """
    scores = check_scores(scores)
    n_samples, n_members, n_classes = scores.shape
    targets = check_target(target, n_samples, n_classes)
    if spread is None:
        degree = 1
        winner, steady = run_off_radius(scores, open_set=open_set)
    else:
        degree = np.shape(spread)[1]
        winner, steady = finite_run_off_radius(scores, spread, open_set=open_set)
    radius = np.empty(targets.shape, dtype=np.int64)
    step = max(1, _BLOCK_SCORES // (n_members * n_classes))
    for start in range(0, n_samples, step):
        rows = slice(start, start + step)
        ranking = class_major(scores[rows])
        voters, active = first_places(ranking)
        for bound, t in zip(radius[:, rows], targets[:, rows], strict=True):
            least = _least_to_win(ranking, voters, active, t, open_set)
            bound[:] = np.maximum(steady[rows], np.minimum(least - 1, n_members) // degree)
    return np.where(winner == targets, -1, radius).min(axis=0)


def _least_to_win(ranking, voters, active, t, open_set):
    """Return a number of changed members below which no target wins."""
    n_classes, n_samples, n_members = ranking.shape
    votes = np.count_nonzero(voters, axis=2).T
    score, gaps = ranking[t, np.arange(n_samples)], gaps_of_target(votes, t)
    least = np.full(n_samples, n_members + 1)

    def beaten(against, wins_ties, others):
        """One class is in the final beside t, which has passed all others."""
        lead = 2 * np.count_nonzero(against & active, axis=1) - votes.sum(axis=1) + wins_ties
        return np.maximum(least_to_close(others), np.maximum(lead + 1, 0) // 2)

    for a in range(n_classes):
        others = np.where(np.arange(n_classes) == a, 0, gaps)
        against = prefers_first(ranking[a], score, a < t)
        least = np.where(t == a, least, np.minimum(least, beaten(against, a < t, others)))
    if open_set:
        # A new label is before t where t has not been seen either.
        least = np.minimum(least, beaten(score == -np.inf, 1, gaps))
    return least
