"""The worst that changed members can do to a vote, for one test row or for many at once."""

from typing import NamedTuple

import numpy as np
from tqdm.auto import tqdm

from ..certificates._inputs import check_budget, count_votes
from ..certificates.finite import check_ballots, check_spread

# The greedy attack is run once for each of these: how much rows that are about to fall outweigh
# others.
_SHARPNESS = (1, 2, 4)


class JointAttack(NamedTuple):
    """One attack on a whole test set.

    Attributes
    ----------
    taken : ndarray of shape (n_taken,), int64
        The members, or the partitions if a spread was given, in the attacker's hands.
    ballots : ndarray of shape (n_samples, n_members), int64
        The ballots after the attack.
    """

    taken: np.ndarray
    ballots: np.ndarray


def poison_ballots(ballots, n_classes, budget, *, open_set=False):
    """Change the ballots that hurt each row most, the members chosen row by row.

    Parameters
    ----------
    ballots : array-like of shape (n_samples, n_members), int
        Class index of every member's vote, -1 where it abstains.
    n_classes : int
        Number of known classes.
    budget : int
        Number of members that the attacker may change, at least 0.
    open_set : bool, default=False
        If True, the attacker may also bring a label never seen, which sorts before all others
        and has the code `n_classes` here.

    Returns
    -------
    poisoned : ndarray of shape (n_samples, n_members), int64
        The ballots of each row after the attack on that row. At most `budget` of a row differ.

    Raises
    ------
    ValueError
        If `ballots` has the wrong shape or values, or `budget` is negative.
    TypeError
        If ballots or budget are not integers.

    See Also
    --------
    poison_members : The same members for all rows.
    certified_ensembles.certificates.plurality_radius : What no attack can do.

    Notes
    -----
    Members that vote for the winner come first, for each of them closes two votes; all change to
    the rival that ends furthest ahead. No attack on as many ballots does better, so it succeeds
    exactly if the radius of ``plurality_radius`` is below the budget (and the winner has more
    members than the radius).

    Whether an attacker can make members vote like that is another question: a member need not
    follow one poisoned row. See :func:`insert_rows` for one who has to act on the data.

    Examples
    --------
    >>> from certified_ensembles.attacks import poison_ballots
    >>> poison_ballots([[0, 0, 1, 2, 0]], n_classes=3, budget=1)
    array([[1, 0, 1, 2, 0]])
    """
    budget = check_budget(budget)
    ballots = check_ballots(ballots, n_classes).astype(np.int64)
    if budget == 0 or not len(ballots):
        return ballots
    winner, need, votes = _needs(ballots, n_classes, open_set)
    most = np.take_along_axis(votes, winner[:, None], axis=1)
    others = ballots.shape[1] - most - votes
    won = 2 * np.minimum(budget, most) + np.minimum(np.maximum(budget - most, 0), others)
    rival = (need - won).argmin(axis=1)[:, None]
    if n_classes + bool(open_set) == 1:
        return ballots
    use = np.where(ballots == winner[:, None], 0, np.where(ballots == rival, 2, 1))
    order = np.argsort(use, axis=1, kind="stable")[:, :budget]
    # Members that vote for the rival already stay with it.
    np.put_along_axis(ballots, order, rival, axis=1)
    return ballots


def poison_members(
    ballots, n_classes, budget, *, spread=None, y_true=None, open_set=False, verbose=0
):
    """Choose members whose corruption changes as many predictions as can be found.

    Parameters
    ----------
    ballots : array-like of shape (n_samples, n_members), int
        Class index of every member's vote, -1 where it abstains.
    n_classes : int
        Number of known classes.
    budget : int
        Number of members that the attacker may change, each as it likes for every row; with
        `spread`, number of partitions, all of whose members it may change.
    spread : array-like of shape (n_partitions, degree), int, default=None
        ``spread[p]`` are the members that partition ``p`` reaches (finite aggregation). None:
        each member has a partition of its own.
    y_true : array-like of shape (n_samples,), int, default=None
        True class indices. If given, only correct predictions are aimed at.
    open_set : bool, default=False
        If True, the attacker may also bring a label never seen, which sorts before all others
        and has the code `n_classes` here.
    verbose : int, default=0
        1 shows a progress bar over the members taken.

    Returns
    -------
    attack : JointAttack
        ``taken`` and ``ballots``.

    Raises
    ------
    ValueError
        If an array has the wrong shape or values, or `budget` is negative.
    TypeError
        If ballots, spread or budget are not integers.

    See Also
    --------
    poison_ballots : Other members for each row.
    certified_ensembles.certificates.collective_survivors : The lower bound beside it.

    Notes
    -----
    A poisoned training set changes the same members for all test rows. The best choice is
    NP-hard; this one is greedy. Each step takes the member that closes the largest share of
    what still separates rows from their runner-up, and rows beyond the reach of the rest of
    the budget do not count; then members are exchanged one by one as long as more rows fall. It
    is run with three weightings of rows, and the strongest run is kept. So the rows that survive
    are an upper bound on what survives the best attack; a collective certificate is a lower one.

    Examples
    --------
    One member can turn each of these rows, but none can turn all three.

    >>> from certified_ensembles.attacks import poison_members
    >>> attack = poison_members([[0, 0, 1], [0, 1, 0], [1, 0, 0]], n_classes=2, budget=1)
    >>> attack.taken
    array([0])
    >>> attack.ballots
    array([[1, 0, 1],
           [1, 1, 0],
           [1, 0, 0]])
    """
    budget = check_budget(budget)
    ballots = check_ballots(ballots, n_classes).astype(np.int64)
    reach = _reach(spread, ballots.shape[1])
    winner, need, _ = _needs(ballots, n_classes, open_set)
    aim = _aim(winner, y_true)
    if n_classes + bool(open_set) == 1:
        aim[:] = False
    rival = need.argmin(axis=1)
    rows = np.flatnonzero(aim)
    power = _powers(ballots[rows], winner[rows], rival[rows])
    search = _Search(power, need[rows, rival[rows]], reach, min(budget, len(reach)))
    most = -1
    total = search.budget * len(_SHARPNESS)
    with tqdm(total=total, desc="attack", unit="member", disable=not verbose) as bar:
        for sharpness in _SHARPNESS:
            taken = search.run(sharpness, bar)
            poisoned, felled = _vote_against(ballots, winner, need, reach[taken].any(axis=0))
            n_felled = np.count_nonzero(felled & aim)
            if n_felled > most:
                best, most, answer = taken, n_felled, poisoned
    return JointAttack(best, answer)


def _needs(ballots, n_classes, open_set):
    """Return winners, the votes that each rival lacks (at least 1) and all votes.

    The winner's own entry, and every entry that no attack can win, is as large as can be.
    """
    votes = count_votes(ballots, n_classes + bool(open_set))
    winner = votes[:, :n_classes].argmax(axis=1)
    most = votes.max(axis=1, keepdims=True)
    wins_ties = np.arange(votes.shape[1]) < winner[:, None]
    wins_ties[:, n_classes:] = True
    # A label never seen has to be cast once, even where no votes are cast at all.
    need = np.maximum(most - votes + ~wins_ties, 1)
    need[np.arange(len(need)), winner] = np.iinfo(np.int64).max // 2
    return winner, need, votes


def _powers(ballots, winner, rival):
    """Return how many votes each member can close between winner and rival."""
    for_winner, for_rival = ballots == winner[:, None], ballots == rival[:, None]
    return np.int8(1) + for_winner.astype(np.int8) - for_rival.astype(np.int8)


def _reach(spread, n_members):
    """Return which members (columns) each partition (row) reaches."""
    if spread is None:
        return np.eye(n_members, dtype=bool)
    spread = check_spread(spread, n_members).T
    reach = np.zeros((len(spread), n_members), dtype=bool)
    reach[np.arange(len(spread))[:, None], spread] = True
    return reach


def _aim(winner, y_true):
    """Say which rows the attacker wants to change."""
    if y_true is None:
        return np.ones(len(winner), dtype=bool)
    y_true = np.asarray(y_true)
    if y_true.shape != winner.shape:
        raise ValueError(
            f"y_true must hold one class index per test row, shape {winner.shape}, got "
            f"{y_true.shape}."
        )
    return y_true == winner


class _Search:
    """Which partitions to take, by what their members can close between winner and runner-up."""

    def __init__(self, power, need, reach, budget):
        self.power, self.need, self.reach = power.astype(np.float32), need, reach
        self.budget = budget
        # The most votes that any one partition can close, in each row.
        self.most = 2 * int(reach.sum(axis=1).max(initial=0))
        alone = np.array_equal(reach, np.eye(len(reach), dtype=bool))
        self.partitions_of = None if alone else reach.T.astype(np.float32)
        self.clear()

    def clear(self):
        """Give all partitions back."""
        self.taken = np.zeros(len(self.reach), dtype=bool)
        self.n_reaching = np.zeros(self.reach.shape[1], dtype=np.int64)
        self.left = self.need.astype(np.float64)

    def take(self, p):
        """Take a partition: its members close votes, unless they are taken already."""
        new = self.reach[p] & (self.n_reaching == 0)
        self.left -= self.power[:, new].sum(axis=1)
        self.n_reaching += self.reach[p]
        self.taken[p] = True

    def give_back(self, p):
        """Undo `take`."""
        self.n_reaching -= self.reach[p]
        self.left += self.power[:, self.reach[p] & (self.n_reaching == 0)].sum(axis=1)
        self.taken[p] = False

    def gains(self, weighted):
        """Sum numbers of the members over those of each partition that are still free."""
        weighted = np.where(self.n_reaching == 0, weighted, np.float32(0))
        return weighted if self.partitions_of is None else weighted @ self.partitions_of

    def run(self, sharpness, bar):
        """Return the partitions of one greedy attack, improved by exchanges."""
        self.clear()
        for step in range(self.budget):
            within = (self.left > 0) & (self.left <= self.most * (self.budget - step))
            weight = np.zeros(len(self.left), dtype=np.float32)
            weight[within] = self.left[within] ** -float(sharpness)
            # What closes the largest share of what is left comes first.
            gain = self.gains(weight @ self.power)
            self.take(np.where(self.taken, -1.0, gain).argmax())
            bar.update()
        while sum(self.exchange(p) for p in np.flatnonzero(self.taken)):
            pass
        return np.flatnonzero(self.taken)

    def exchange(self, p):
        """Exchange a partition for the one with which most rows fall; say if it is another."""
        self.give_back(p)
        near = np.flatnonzero((self.left > 0) & (self.left <= self.most))
        falls = self.gains(self.power[near]) >= self.left[near, None]
        n_falls = np.where(self.taken, -1, np.count_nonzero(falls, axis=0))
        best = n_falls.argmax() if n_falls.max() > n_falls[p] else p
        self.take(best)
        return best != p


def _vote_against(ballots, winner, need, members):
    """Return ballots in which the taken members vote for the best rival, and who falls."""
    n_rows, n_rivals = need.shape
    behind = np.full(need.shape, np.iinfo(np.int64).max)
    if members.any():
        member_ballots = ballots[:, members]
        for b in range(n_rivals):
            rival = np.full(n_rows, b)
            behind[:, b] = need[:, b] - _powers(member_ballots, winner, rival).sum(
                axis=1, dtype=np.int64
            )
    rival = behind.argmin(axis=1)
    poisoned = ballots.copy()
    poisoned[:, members] = rival[:, None]
    return poisoned, behind[np.arange(n_rows), rival] <= 0
