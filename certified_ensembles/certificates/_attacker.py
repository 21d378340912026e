"""The search for the attack that fells most rows, and an integer program that bounds it."""

import itertools

import numpy as np
from scipy.optimize import Bounds, LinearConstraint, milp

from ._program import program_of

# A solver's bound is a float: what lies this little below a whole number counts as that number.
_SLACK = 1e-3
# Beside coefficients larger than this a solver's tolerances would matter.
_LARGEST_COST = 2**20
# The number of rounds of the attack that looks for rows to break without a solver.
_ATTACK_ROUNDS = 40
# The number of entries of the table of powers that are in memory at once while attacks are tried.
_BLOCK_POWERS = 2**22


class Attacker:
    """One attacker against all rows that its budget can fell.

    Parameters
    ----------
    ways : Ways
        In which the rows can fall.
    moves : Partitions or Payments
        What the attacker can do, and its budget.
    """

    def __init__(self, ways, moves):
        self.ways, self.moves = ways, moves
        self.n_rows = ways.n_rows

    @property
    def size(self):
        """The number of entries of the table of powers."""
        return self.ways.power.size

    def only(self, start, stop):
        """Return the attacker of rows `start` to `stop` alone, with the whole budget."""
        return Attacker(self.ways.only(start, stop), self.moves)

    def felled(self, taken):
        """Say which rows fall, exactly, if the given moves are made."""
        return self._fallen(self._closed(taken))

    def _closed(self, taken):
        """Say which gaps the given moves close."""
        effects = np.flatnonzero(self.moves.reach[:, taken].sum(axis=1))
        return self.ways.power[:, effects].sum(axis=1, dtype=np.int64) >= self.ways.need

    def _fallen(self, closed):
        open_gaps = np.bincount(self.ways.way[~closed], minlength=len(self.ways.row))
        felled = np.zeros(self.n_rows, dtype=bool)
        felled[self.ways.row[open_gaps == 0]] = True
        return felled

    def strongest(self):
        """Look for a strong attack without a solver; return it and how many rows it fells."""
        ways = self.ways
        power = ways.power.astype(np.float32)
        row = ways.row[ways.way]
        weight = 1 / np.maximum(ways.need, 1).astype(np.float32)
        attack, most = np.empty(0, dtype=np.int64), -1
        for _ in range(_ATTACK_ROUNDS):
            taken = self.moves.best((weight @ power) @ self.moves.reach)
            closed = self._closed(taken)
            felled = self._fallen(closed)
            n_felled = int(np.count_nonzero(felled))
            if n_felled > most:
                attack, most = taken, n_felled
            if n_felled == self.n_rows:
                break
            # Gaps that keep a row standing weigh more in the next round.
            weight = np.where(felled[row] | closed, weight, np.float32(1.2) * weight)
            weight /= weight.sum()
        return attack, most

    def effort(self):
        """Return about how many additions it takes to try every attack."""
        return self.moves.count() * (len(self.ways.need) + 50) * self.moves.reach.shape[0]

    def exhaust(self):
        """Try every attack; return the strongest and how many rows it fells."""
        n_moves, budget = self.moves.reach.shape[1], self.moves.budget
        power = self.ways.power.T.astype(np.float32)
        first_gap = np.searchsorted(self.ways.way, np.arange(len(self.ways.row)))
        first_way = np.searchsorted(self.ways.row, np.arange(self.n_rows))
        step = max(1, _BLOCK_POWERS // (max(power.shape) + n_moves))
        attacks = self.moves.attacks()
        best, most = np.arange(budget), 0
        while self.n_rows and (block := list(itertools.islice(attacks, step))):
            block = np.array(block, dtype=np.intp)
            taken = np.zeros((len(block), n_moves), dtype=np.float32)
            np.put_along_axis(taken, block, 1, axis=1)
            effects = ((taken @ self.moves.reach.T) > 0).astype(np.float32)
            closed = effects @ power >= self.ways.need
            gone = np.logical_and.reduceat(closed, first_gap, axis=1)
            felled = np.logical_or.reduceat(gone, first_way, axis=1).sum(axis=1)
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
            The moves of the best attack that the solver met.
        """
        nothing = np.empty(0, dtype=np.int64)
        if self.moves.cost.max(initial=0) > _LARGEST_COST:
            return self.n_rows, nothing
        program = program_of(self.ways, self.moves)
        if most is not None:
            group = np.repeat(np.arange(len(sizes)), sizes)
            program = program.with_limits(group[self.ways.row], most)
        variable = np.arange(program.table.shape[1])
        gone = variable >= len(variable) - program.n_ways
        result = milp(
            -gone.astype(float),
            # Effects follow from the moves, so they need not be held to be whole.
            integrality=(variable < program.n_moves) | gone,
            bounds=Bounds(0, 1),
            constraints=LinearConstraint(program.table, program.low, program.high),
            options={"time_limit": seconds},
        )
        bound = self.n_rows
        if result.mip_dual_bound is not None and np.isfinite(result.mip_dual_bound):
            bound = min(bound, int(np.floor(-result.mip_dual_bound + _SLACK)))
        if result.x is None:
            return bound, nothing
        return bound, self.moves.rounded(result.x[: program.n_moves])
