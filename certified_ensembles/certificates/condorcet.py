"""Pairwise election: the class that beats every other one wins, and keeps half its least lead."""

import numpy as np

from .runoff import _BLOCK_SCORES, check_scores, class_major, first_places


def condorcet_radius(scores, *, open_set=False):
    """Elect the class that beats all others in pairs; count the members that this survives.

    Every member sides, of any two classes, with the one that it scores higher. A class that wins
    all its pairs is the Condorcet winner and is elected. Where there is none, the class whose
    worst pair is best is elected, with the radius 0. All ties go to the smaller class.

    Parameters
    ----------
    scores : array-like of shape (n_samples, n_members, n_classes), float
        As for :func:`run_off_radius`: higher is better, ``-inf`` for a class that a member has
        not seen, and for all classes where it abstains.
    open_set : bool, default=False
        Whether the attacker may bring a label that nobody has seen. It is smaller than every known
        one, and members rank it as an unseen class.

    Returns
    -------
    winner : ndarray of shape (n_samples,), int64
        The elected class.
    radius : ndarray of shape (n_samples,), int64
        A number of members, between 0 and ``n_members``, that may be replaced by any others (of
        any ranking, or abstaining) without another winner.

    Raises
    ------
    ValueError
        If `scores` is not three-dimensional, has no member or no class, or holds NaN.
    TypeError
        If `scores` is not real.

    See Also
    --------
    run_off_radius : Two rounds; its winner must also reach the final.

    Notes
    -----
    A changed member moves the lead of one class over another by at most two. So a Condorcet
    winner whose least lead is g still beats all others after ``g // 2`` changes, where a lead over
    a smaller class counts one less: it loses ties. One change more can turn that pair. The
    radius is sound, and counts all that keeps the winner a Condorcet winner; how the election ends
    where there is none is not looked at.

    Nothing here asks which class a member puts first. In a run-off, two rivals can push the winner
    out of the final with votes that no single pair would lose; members that know little, and
    rank the right class second or third, lose most of their say that way.

    Examples
    --------
    Class 1 has the fewest first places, and is preferred to either of the others.

    >>> import numpy as np
    >>> from certified_ensembles.certificates import condorcet_radius, run_off_radius
    >>> scores = np.array([[[3, 2, 1]] * 5 + [[1, 2, 3]] * 5 + [[1, 3, 2]] * 4])
    >>> [part.tolist() for part in condorcet_radius(scores)]
    [[1], [1]]
    >>> [part.tolist() for part in run_off_radius(scores)]
    [[2], [0]]
    """
    scores = check_scores(scores)
    n_samples, n_members, n_classes = scores.shape
    winner = np.empty(n_samples, dtype=np.int64)
    radius = np.empty(n_samples, dtype=np.int64)
    step = max(1, _BLOCK_SCORES // (n_members * n_classes))
    for start in range(0, n_samples, step):
        rows = slice(start, start + step)
        least, new = _least_leads(class_major(scores[rows]))
        own = winner[rows] = least.argmax(axis=1)
        places = np.arange(len(own)), own
        lead = least[places] if n_classes > 1 else np.full(len(own), 2 * n_members)
        if open_set:
            lead = np.minimum(lead, new[places])
        radius[rows] = np.maximum(lead // 2, 0)
    return winner, radius


def _least_leads(ranking):
    """Return each class's least lead over known classes, and its lead over a label never seen.

    Both are of shape (n_samples, n_classes); a pair is won where the lead is not negative.
    """
    n_classes, n_samples, n_members = ranking.shape
    active = first_places(ranking)[1]
    n_active = np.count_nonzero(active, axis=1)
    least = np.full((n_samples, n_classes), 2 * n_members)
    for c in range(n_classes):
        for t in range(c):
            for_t = np.count_nonzero((ranking[t] >= ranking[c]) & active, axis=1)
            lead = 2 * for_t - n_active
            least[:, t] = np.minimum(least[:, t], lead)
            least[:, c] = np.minimum(least[:, c], -lead - 1)
    seen = np.count_nonzero(ranking > -np.inf, axis=2).T
    return least, 2 * seen - n_active[:, None] - 1
