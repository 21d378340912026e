"""One attacker against a whole test set, and a bound on the predictions that survive."""

import itertools
import math
import time
from numbers import Integral
from typing import NamedTuple

import numpy as np
from scipy import sparse
from scipy.optimize import Bounds, LinearConstraint, milp

from ._inputs import count_votes
from .finite import (
    check_ballots,
    check_spread,
    finite_aggregation_radius,
)

# The number of rows in a small program. Programs of this size are mostly solved to the end.
_GROUP_ROWS = 16
# Share of the time for the small programs, and what is left of it where the program for all
# rows is so large that it needs most of the time for its first relaxation.
_GROUP_SHARE, _GROUP_SHARE_OF_LARGE, _LARGE = 0.5, 0.2, 500_000
# Beyond this the program for all rows would not fit into the memory of most machines.
_TOO_LARGE = 50_000_000
# A solver's bound is a float: what lies this little below a whole number counts as that number.
_SLACK = 1e-3
# The number of rounds of the attack that looks for rows to break without a solver.
_ATTACK_ROUNDS = 40
# All attacks are tried, and no solver is called, where that takes fewer additions than this
# for each second of the time limit. A slow core does more.
_ADDITIONS_PER_SECOND = 1e9
# The number of entries of the table of powers that are in memory at once while rivals are sifted.
_BLOCK_POWERS = 2**22


class CollectiveCertificate(NamedTuple):
    """What survives one attacker who has one budget for all test rows.

    Attributes
    ----------
    certified : int
        Predictions that survive any attack within the budget.
    pointwise : int
        Predictions whose own radius is at least the budget; never more than `certified`.
    upper : int
        Predictions that survive the strongest attack found; never less than `certified`.
    optimal : bool
        Whether `certified` equals `upper`, so that no other method can certify more.
    attack : ndarray of shape (n_changed,), int64
        The members, or the partitions if a spread is given, that this attack takes.
    """

    certified: int
    pointwise: int
    upper: int
    optimal: bool
    attack: np.ndarray


def collective_survivors(
    ballots,
    n_classes,
    budget,
    *,
    spread=None,
    y_true=None,
    open_set=False,
    time_limit=60.0,
    progress=None,
):
    """Bound from below how many predictions survive one attacker with one budget.

    The pointwise radius lets the attacker choose other members for every test row. A poisoned
    training set is one: it changes the same members for all rows, so more rows survive.

    Parameters
    ----------
    ballots : array-like of shape (n_samples, n_members), int
        Class index of every member's vote, -1 where it abstains.
    n_classes : int
        Number of known classes.
    budget : int
        Number of members that the attacker may change, each as it likes for every test row;
        with `spread`, number of partitions, all of whose members it may change.
    spread : array-like of shape (n_partitions, degree), int, default=None
        ``spread[p]`` are the members that partition ``p`` reaches (finite aggregation). None:
        each member has a partition of its own.
    y_true : array-like of shape (n_samples,), int, default=None
        True class indices. If given, only correct predictions are counted.
    open_set : bool, default=False
        Whether the attacker may bring a label that nobody has seen, smaller than all others.
    time_limit : float, default=60.0
        Seconds for the solver, in total. The answer is sound at any limit, and the count can
        only grow with more time. Zero gives the pointwise count.
    progress : callable, default=None
        Called as ``progress(n_done, n_programs, certified)`` after each program, with the
        count that is certain by then.

    Returns
    -------
    CollectiveCertificate
        ``certified``, ``pointwise``, ``upper``, ``optimal`` and ``attack``.

    Raises
    ------
    ValueError
        If an array has the wrong shape or an entry outside its range, or if `budget` or
        `time_limit` is negative.
    TypeError
        If an array does not hold integers, or `budget` is not one.

    Notes
    -----
    An attack takes a set of members. Row `x` with winner `c` falls if, for one rival `b`, the
    taken members' powers ``1 + [f_j = c] - [f_j = b]`` sum to more than
    ``n_c - n_b - [b < c]``. The largest number of rows that fall together is an integer
    program [1]_, here with every rival of every row that the budget can reach, not only the
    runner-up. Where the attacks are few they are all tried, without a solver. Otherwise HiGHS
    is stopped at the time limit, and its *dual* bound, rounded to the sound side, is what is
    reported. With `spread` the program holds both the
    partitions and the members, so that a member that two partitions reach counts once, unlike
    in the pointwise radius.

    Small programs over rows that fall about as easily come first, and what they prove becomes
    constraints of the program over all rows. Where the time runs out the result depends on the
    speed of the machine.

    The solver works in floating point with small integer coefficients; its bound is trusted to
    0.001. The attack that is returned is counted in integers.

    References
    ----------
    .. [1] R. Chen, Z. Li, J. Li, J. Yan and C. Wu, "On collective robustness of bagging
       against data poisoning", ICML 2022.

    Examples
    --------
    One member can turn each of these rows, but none can turn all three.

    >>> from certified_ensembles.certificates.collective import collective_survivors
    >>> result = collective_survivors([[0, 0, 1], [0, 1, 0], [1, 0, 0]], 2, budget=1)
    >>> result.pointwise, result.certified, result.optimal
    (0, 1, True)
    """
    _check_limits(budget, time_limit)
    deadline = time.monotonic() + time_limit
    ballots = check_ballots(ballots, n_classes)
    if spread is None:
        spread = np.arange(ballots.shape[1])[:, None]
    winner, radius = finite_aggregation_radius(ballots, spread, n_classes, open_set=open_set)
    counted = _counted(winner, y_true)
    n_counted = int(np.count_nonzero(counted))
    at_risk = np.flatnonzero(counted & (radius < budget))
    attacker = _Attacker.against(
        ballots[at_risk],
        winner[at_risk],
        n_classes,
        open_set,
        budget,
        _reach(spread, ballots.shape[1]),
    )
    pointwise = n_counted - len(at_risk)

    def report(n_done, n_programs, n_felled):
        if progress is not None:
            progress(n_done, n_programs, n_counted - n_felled)

    most, attack, felled = _most_felled(attacker, deadline, time_limit, report)
    certified, upper = n_counted - most, n_counted - felled
    return CollectiveCertificate(certified, pointwise, upper, certified == upper, np.sort(attack))


def _most_felled(attacker, deadline, time_limit, report):
    """Return a bound on the rows that fall, the strongest attack found and what it fells."""
    if attacker.effort() < _ADDITIONS_PER_SECOND * time_limit:
        attack, felled = attacker.exhaust()
        report(1, 1, felled)
        return felled, attack, felled
    attack, felled = attacker.strongest()
    n_rows = attacker.n_rows
    sizes = np.array([n_rows])
    if n_rows > _GROUP_ROWS:
        sizes = np.diff(np.append(np.arange(0, n_rows, _GROUP_ROWS), n_rows))
    starts, most = np.cumsum(sizes) - sizes, sizes.copy()
    n_programs = len(sizes) + 1
    share = _GROUP_SHARE if attacker.power.size < _LARGE else _GROUP_SHARE_OF_LARGE
    if len(sizes) > 1:
        for g, start in enumerate(starts):
            group = attacker.only(start, start + sizes[g])
            left = deadline - (1 - share) * time_limit - time.monotonic()
            # No program is needed where one attack fells the whole group.
            if left > 0 and group.strongest()[1] < group.n_rows:
                most[g] = group.solve(left / (len(starts) - g))[0]
            report(g + 1, n_programs, int(most.sum()))
    total = int(most.sum())
    left = deadline - time.monotonic()
    if left > 0 and felled < total and attacker.power.size < _TOO_LARGE:
        bound, found = attacker.solve(left, sizes, most)
        total = min(total, bound)
        n_found = int(np.count_nonzero(attacker.felled(found)))
        if n_found > felled:
            attack, felled = found, n_found
    # What was counted in integers outweighs a solver's float.
    total = max(total, felled)
    report(n_programs, n_programs, total)
    return total, attack, felled


def _check_limits(budget, time_limit):
    """Raise where the budget or the time limit is of no use."""
    if not isinstance(budget, Integral):
        raise TypeError(f"budget must be an integer, got {budget!r}.")
    if budget < 0:
        raise ValueError(f"budget must not be negative, got {budget}.")
    if not 0 <= time_limit < np.inf:
        raise ValueError(f"time_limit must be finite and at least 0 seconds, got {time_limit!r}.")


def _counted(winner, y_true):
    """Say which predictions count."""
    if y_true is None:
        return np.ones(len(winner), dtype=bool)
    y_true = np.asarray(y_true)
    if y_true.shape != winner.shape:
        raise ValueError(
            f"y_true must hold one class index per test row, {winner.shape}, got {y_true.shape}."
        )
    return winner == y_true


def _reach(spread, n_members):
    """Return the sparse matrix of shape (n_members, n_partitions): who reaches whom."""
    spread = check_spread(spread, n_members)
    degree, n_partitions = spread.shape
    partition = np.tile(np.arange(n_partitions), degree)
    reach = sparse.csr_array(
        (np.ones(spread.size), (spread.ravel(), partition)), shape=(n_members, n_partitions)
    )
    reach.sum_duplicates()
    reach.data[:] = 1
    return reach


class _Attacker:
    """The rows at risk, what each member can do to them, and the search for the worst.

    One entry of `power`, `need` and `row` belongs to a row and one of its rivals: the members
    that are taken fell the row if their powers sum to at least the need.
    """

    def __init__(self, power, need, row, n_rows, reach, budget):
        self.power = power
        self.need = need
        self.row = row
        self.n_rows = int(n_rows)
        self.reach = reach
        self.budget = min(budget, reach.shape[1])

    @classmethod
    def against(cls, ballots, winner, n_classes, open_set, budget, reach):
        """Collect all rivals that the budget can reach; rows that fall easily come first."""
        classes = np.arange(n_classes)
        votes = count_votes(ballots, n_classes)
        most = np.take_along_axis(votes, winner[:, None], axis=1)
        need = most - votes - (classes < winner[:, None]) + 1
        if open_set:  # the new label: smaller than the winner, and without votes
            need = np.hstack([need, most])
        possible = np.ones(need.shape, dtype=bool)
        possible[np.arange(len(need)), winner] = False
        row, rival = np.nonzero(possible)
        need = need[row, rival]
        kept, powers = [row[:0]], [np.empty((0, reach.shape[0]), dtype=np.int8)]
        step = max(1, _BLOCK_POWERS // max(reach.shape))
        budget = min(budget, reach.shape[1])
        for start in range(0, len(row), step):
            pair = np.arange(start, min(start + step, len(row)))
            f, c, b = ballots[row[pair]], winner[row[pair], None], rival[pair, None]
            power = (1 + (f == c) - (f == b).astype(np.int8)).astype(np.int8)
            whole = (reach.T @ power.T.astype(np.float32)).T
            # The strongest partitions, each counted in full, bound every attack.
            best = -np.partition(-whole, budget - 1, axis=1)[:, :budget].sum(axis=1)
            within = best >= need[pair]
            kept.append(pair[within])
            powers.append(power[within])
        kept, power = np.concatenate(kept), np.concatenate(powers)
        need = need[kept]
        rows, row = np.unique(row[kept], return_inverse=True)
        ease = np.full(len(rows), np.iinfo(np.int64).max)
        np.minimum.at(ease, row, need)
        place = np.argsort(np.argsort(ease, kind="stable"), kind="stable")
        order = np.argsort(place[row], kind="stable")
        return cls(power[order], need[order], place[row][order], len(rows), reach, budget)

    def only(self, start, stop):
        """Return the attacker of rows `start` to `stop` alone, with the whole budget."""
        a, b = np.searchsorted(self.row, [start, stop])
        row = self.row[a:b] - start
        return _Attacker(
            self.power[a:b], self.need[a:b], row, stop - start, self.reach, self.budget
        )

    def felled(self, taken):
        """Say which rows fall, exactly, if the given partitions are taken."""
        members = np.flatnonzero(self.reach[:, taken].sum(axis=1))
        reached = self.power[:, members].sum(axis=1, dtype=np.int64) >= self.need
        felled = np.zeros(self.n_rows, dtype=bool)
        felled[self.row[reached]] = True
        return felled

    def strongest(self):
        """Look for a strong attack without a solver; return it and how many rows it fells."""
        power = self.power.astype(np.float32)
        weight = 1 / np.maximum(self.need, 1).astype(np.float32)
        attack, most = np.empty(0, dtype=np.int64), -1
        for _ in range(_ATTACK_ROUNDS):
            gain = (weight @ power) @ self.reach
            taken = np.argsort(-gain, kind="stable")[: self.budget]
            felled = self.felled(taken)
            n_felled = int(np.count_nonzero(felled))
            if n_felled > most:
                attack, most = taken, n_felled
            if n_felled == self.n_rows:
                break
            # Rows that still stand weigh more in the next round.
            weight = np.where(felled[self.row], weight, np.float32(1.2) * weight)
            weight /= weight.sum()
        return attack, most

    def effort(self):
        """Return about how many additions it takes to try every attack."""
        each = (len(self.row) + 50) * self.reach.shape[0]
        return math.comb(self.reach.shape[1], self.budget) * each

    def exhaust(self):
        """Try every attack; return the strongest and how many rows it fells."""
        n_partitions = self.reach.shape[1]
        power = self.power.T.astype(np.float32)
        first_rival = np.searchsorted(self.row, np.arange(self.n_rows))
        step = max(1, _BLOCK_POWERS // (max(power.shape) + n_partitions))
        attacks = itertools.combinations(range(n_partitions), self.budget)
        best, most = np.arange(self.budget), 0
        while self.n_rows and (block := list(itertools.islice(attacks, step))):
            block = np.array(block)
            taken = np.zeros((len(block), n_partitions), dtype=np.float32)
            np.put_along_axis(taken, block, 1, axis=1)
            members = ((taken @ self.reach.T) > 0).astype(np.float32)
            reached = members @ power >= self.need
            felled = np.logical_or.reduceat(reached, first_rival, axis=1).sum(axis=1)
            if felled.max() > most:
                best, most = block[felled.argmax()], int(felled.max())
        return best, most

    def solve(self, seconds, sizes=None, most=None):
        """Bound the rows that fall by a mixed-integer program.

        Parameters
        ----------
        seconds : float
            Time limit of the solver.
        sizes, most : ndarray of shape (n_groups,), int, default=None
            Sizes of consecutive groups of rows and how many of each can fall.

        Returns
        -------
        bound : int
            No attack fells more rows, whether the solver was stopped or not.
        taken : ndarray, int64
            The partitions of the best attack that the solver met.
        """
        n_partitions = self.reach.shape[1]
        table, low, high = self._program()
        if most is not None:
            group = np.repeat(np.arange(len(sizes)), sizes)[self.row]
            first = table.shape[1] - len(self.row)
            place = (group, first + np.arange(len(self.row)))
            limit = sparse.coo_array((np.ones(len(group)), place), (len(sizes), table.shape[1]))
            table = sparse.vstack([table, limit], format="csc")
            low = np.append(low, np.full(len(sizes), -np.inf))
            high = np.append(high, most)
        variable = np.arange(table.shape[1])
        felled = variable >= len(variable) - len(self.row)
        result = milp(
            -felled.astype(float),
            # Members follow from the partitions, so they need not be held to be whole.
            integrality=(variable < n_partitions) | felled,
            bounds=Bounds(0, 1),
            constraints=LinearConstraint(table, low, high),
            options={"time_limit": seconds},
        )
        bound = self.n_rows
        if result.mip_dual_bound is not None and np.isfinite(result.mip_dual_bound):
            bound = min(bound, int(np.floor(-result.mip_dual_bound + _SLACK)))
        taken = np.empty(0, dtype=np.int64)
        if result.x is not None:
            taken = np.argsort(-result.x[:n_partitions], kind="stable")[: self.budget]
        return bound, taken

    def _program(self):
        """Return the constraints on partitions taken, members taken and rivals that win."""
        n_pairs = len(self.row)
        n_members, n_partitions = self.reach.shape
        power = sparse.csr_array(self.power).astype(np.float64)
        # Only members that two partitions reach need variables of their own.
        shared = self.reach.sum(axis=1).max() > 1
        if not shared:
            power = sparse.csr_array(power @ self.reach)
        # A power beyond the need is of no more use; without the excess the program is tighter.
        need = np.maximum(self.need, 0).astype(np.float64)
        power.data = np.minimum(power.data, np.repeat(need, np.diff(power.indptr)))
        place = (self.row, np.arange(n_pairs))
        of_row = sparse.csr_array((np.ones(n_pairs), place), (self.n_rows, n_pairs))
        need = sparse.diags_array(-need)
        budget = np.ones((1, n_partitions))
        low = [[-np.inf], np.full(self.n_rows, -np.inf), np.zeros(n_pairs)]
        high = [[self.budget], np.ones(self.n_rows), np.full(n_pairs, np.inf)]
        if not shared:
            table = [[budget, None], [None, of_row], [power, need]]
        else:  # a member is taken only if a partition that reaches it is
            table = [[budget, None, None], [None, None, of_row], [None, power, need]]
            table.append([self.reach, -sparse.eye_array(n_members), None])
            low.append(np.zeros(n_members))
            high.append(np.full(n_members, np.inf))
        return sparse.block_array(table, format="csc"), np.concatenate(low), np.concatenate(high)
