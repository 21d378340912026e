"""What one attacker can do once for all test rows: take partitions, or pay members' prices.

A *move* is one decision of the attacker. Moves set off *effects*: an effect is what test rows see
of the attack, a changed member say, and has a power over every gap that must be closed for a
row to fall.
"""

import itertools
import math

import numpy as np
from scipy import sparse

from .finite import check_spread


class Partitions:
    """The attacker takes whole partitions, and with each the members that it reaches.

    Parameters
    ----------
    spread : array-like of shape (n_partitions, degree), int
        The members that each partition reaches.
    n_members : int
        The effects.
    budget : int
        Number of partitions that may be taken.
    """

    def __init__(self, spread, n_members, budget):
        spread = check_spread(spread, n_members)
        degree, n_partitions = spread.shape
        partition = np.tile(np.arange(n_partitions), degree)
        reach = sparse.csr_array(
            (np.ones(spread.size), (spread.ravel(), partition)), shape=(n_members, n_partitions)
        )
        reach.sum_duplicates()
        reach.data[:] = 1
        self.reach = reach
        self.budget = min(budget, n_partitions)
        self.cost = np.ones(n_partitions)
        # More partitions never fell fewer rows, so that attacks may spend all.
        self.spent = self.budget
        # The most partitions that reach one member.
        self._overlap = max(1, int(reach.sum(axis=1).max()))
        self.n_reached = int(min(n_members, self.budget * reach.sum(axis=0).max()))

    @property
    def shared(self):
        """Whether an effect can have several moves, so that it needs a variable of its own."""
        return self._overlap > 1

    def whole(self, power):
        """Return what each partition takes, with all members that it reaches."""
        return (self.reach.T @ power.T.astype(np.float32)).T

    def least(self, power):
        """Return what any attack that spends the budget surely closes.

        Parameters
        ----------
        power : ndarray of shape (n, n_partitions) or, if `shared`, (n, n_members)
        """
        whole = self.whole(power) if self.shared else power
        total = np.sort(whole, axis=1)[:, : self.budget].sum(axis=1, dtype=np.float64)
        # A member is counted as often as partitions share it; what is closed is a whole number.
        return np.ceil(total / self._overlap) if self.shared else total

    def most(self, power):
        """Return what no attack exceeds: the strongest partitions, each counted in full.

        Parameters
        ----------
        power : as for :meth:`least`
        """
        whole = self.whole(power) if self.shared else power
        strong = np.sort(whole, axis=1)[:, whole.shape[1] - self.budget :]
        return strong.sum(axis=1, dtype=np.float64)

    def best(self, gain):
        """Return the moves of the largest total gain, each counted in full."""
        return np.argsort(-gain, kind="stable")[: self.budget]

    rounded = best

    def attack(self, taken):
        """Return the partitions that the moves take."""
        return np.sort(taken)

    def chains(self):
        """Return pairs of moves of which the second takes the first along; here none."""
        return np.empty((0, 2), dtype=np.intp)

    def count(self):
        """Return how many attacks spend the budget."""
        return math.comb(self.reach.shape[1], self.budget)

    def attacks(self):
        """Iterate over these attacks, as tuples of moves."""
        return itertools.combinations(range(self.reach.shape[1]), self.budget)


class Payments:
    """The attacker pays operations to members; each more that a row can see is a move.

    Parameters
    ----------
    member, level : ndarrays of shape (n_moves,), int
        A move raises what is spent on a member to a level, from the level of the move before
        if that is of the same member. Sorted by member, then level.
    budget : int
        Number of operations on all members together.
    """

    shared = False
    # A part of the budget may be of no use.
    spent = 0

    def __init__(self, member, level, budget):
        self.member, self.level, self.budget = member, level, budget
        self.reach = sparse.csr_array(sparse.eye_array(len(member)))
        self._follows = np.flatnonzero(member[1:] == member[:-1]) + 1
        cost = level.astype(np.float64)
        cost[self._follows] -= level[self._follows - 1]
        self.cost = cost

    def whole(self, power):
        """Return what each move takes: an effect is a move."""
        return power

    def least(self, power):
        """Return what any attack surely closes: nothing."""
        return np.zeros(len(power))

    def most(self, power):
        """Return what no attack exceeds."""
        return power.sum(axis=1, dtype=float)

    def best(self, gain):
        """Return moves of a large total gain: the best ratio of gain to operations comes next."""
        n_members = int(self.member.max(initial=-1)) + 1
        total = np.cumsum(gain, dtype=np.float64)
        first = np.searchsorted(self.member, np.arange(n_members))
        total -= np.insert(total, 0, 0.0)[first][self.member]
        gained, spent = np.zeros(n_members), np.zeros(n_members, dtype=np.int64)
        left = self.budget
        while True:
            price = self.level - spent[self.member]
            possible = (price > 0) & (price <= left)
            if not possible.any():
                return np.flatnonzero(self.level <= spent[self.member])
            ratio = np.where(possible, total - gained[self.member], -1.0) / np.maximum(price, 1)
            move = int(ratio.argmax())
            left -= int(price[move])
            j = self.member[move]
            gained[j], spent[j] = total[move], self.level[move]

    def rounded(self, solution):
        """Return the moves of a solver's solution; none where rounding leads past the budget."""
        taken = np.flatnonzero(solution > 0.5)
        spent = np.zeros(int(self.member.max(initial=-1)) + 1, dtype=np.int64)
        np.maximum.at(spent, self.member[taken], self.level[taken])
        if spent.sum() > self.budget:
            return taken[:0]
        return np.flatnonzero(self.level <= spent[self.member])

    def attack(self, taken):
        """Return the members, each as often as operations are spent on it."""
        return np.repeat(self.member[taken], self.cost[taken].astype(np.int64))

    def chains(self):
        """Return pairs of moves of which the second takes the first along."""
        return np.stack([self._follows - 1, self._follows], axis=1)

    def count(self):
        """Return how many attacks there are: too many to try them."""
        return np.inf
