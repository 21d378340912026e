"""The integer program of one attacker: which moves to make, and which rows they fell.

Two things make it tighter than the bare definition. Where attacks spend the whole budget, the
least that any of them closes of a gap is known, and holds for rows that stand as well. And for
each row one constraint weighs every move by the way in which it does most: without it, half an
attack would go half of each of two ways.
"""

from typing import NamedTuple

import numpy as np
from scipy import sparse

# Coefficients that are no whole numbers are rounded to the sound side, to multiples of 1 / this:
# double precision adds such numbers up without an error.
_PARTS = 2**10


class Program(NamedTuple):
    """Constraints ``low <= table @ variables <= high``.

    The variables, all between 0 and 1, are the moves; the effects, if several moves can set one
    off; and for each way whether its row goes it.

    Attributes
    ----------
    table : sparse array of shape (n_constraints, n_variables)
    low, high : ndarrays of shape (n_constraints,)
    n_moves, n_ways : int
        How many of the variables, the first and the last ones, are moves and ways.
    """

    table: sparse.csc_array
    low: np.ndarray
    high: np.ndarray
    n_moves: int
    n_ways: int

    def with_limits(self, group, most):
        """Return the program with a limit to how many rows of each group fall.

        Parameters
        ----------
        group : ndarray of shape (n_ways,), int
            The group of each way's row.
        most : ndarray of shape (n_groups,), int
            How many rows of the group can fall.
        """
        place = (group, self.table.shape[1] - self.n_ways + np.arange(self.n_ways))
        shape = len(most), self.table.shape[1]
        limit = sparse.coo_array((np.ones(self.n_ways), place), shape)
        return self._replace(
            table=sparse.vstack([self.table, limit], format="csc"),
            low=np.append(self.low, np.full(len(most), -np.inf)),
            high=np.append(self.high, most),
        )


def program_of(ways, moves):
    """Return the integer program of one attacker.

    Parameters
    ----------
    ways : Ways
    moves : Partitions or Payments

    Returns
    -------
    Program
    """
    n_effects, n_moves = moves.reach.shape
    n_gaps, n_ways = len(ways.need), len(ways.row)
    # Powers act on moves, or on effects where these have variables of their own. A power beyond
    # the need is of no more use; without the excess the program is tighter.
    power = ways.power if moves.shared else moves.whole(ways.power)
    power = np.minimum(power, ways.need[:, None])
    acting = "effects" if moves.shared else "moves"
    least = moves.least(power)
    stakes = (least - ways.need, (np.arange(n_gaps), ways.way))
    of_row = (np.ones(n_ways), (ways.row, np.arange(n_ways)))
    chains = moves.chains()
    signs = np.tile([1.0, -1.0], len(chains))
    follows = (signs, (np.repeat(np.arange(len(chains)), 2), chains.ravel()))
    any_power, any_need, any_least = _any_way(ways, power, moves)
    any_stakes = (any_least - any_need)[ways.row], (ways.row, np.arange(n_ways))
    # One block row after the other: what stands with moves, effects, ways; low; high.
    spend = _row(moves=moves.cost[None], low=moves.spent, high=moves.budget)
    order = _row(moves=sparse.csr_array(follows, (len(chains), n_moves)), low=0)
    once = _row(ways=sparse.csr_array(of_row, (ways.n_rows, n_ways)), high=1)
    gaps = _row(**{acting: power}, ways=sparse.csr_array(stakes, (n_gaps, n_ways)), low=least)
    rows = sparse.csr_array(any_stakes, (ways.n_rows, n_ways))
    tight = _row(**{acting: any_power}, ways=rows, low=any_least)
    parts = [part for part in (spend, order, once, gaps, tight) if len(part[1])]
    if moves.shared:  # an effect is set off only by a move that reaches it
        parts.append(_row(moves=moves.reach, effects=-sparse.eye_array(n_effects), low=0))
    kept = [0, 1, 2] if moves.shared else [0, 2]
    table = sparse.block_array([[part[0][i] for i in kept] for part in parts], format="csc")
    low, high = (np.concatenate([part[i] for part in parts]) for i in (1, 2))
    return Program(table, low, high, n_moves, n_ways)


def _row(*, moves=None, effects=None, ways=None, low=-np.inf, high=np.inf):
    """Return the blocks of some constraints, and a bound below and above for each."""
    blocks = [
        None if block is None else sparse.csr_array(block, dtype=np.float64)
        for block in (moves, effects, ways)
    ]
    height = next(block.shape[0] for block in blocks if block is not None)
    bounds = (np.broadcast_to(np.asarray(bound, np.float64), height) for bound in (low, high))
    return blocks, *bounds


def _any_way(ways, power, moves):
    """Return, for each row, powers and a need that hold whichever way it goes, and their least.

    Of each way one gap counts, the one that leaves least room. Needs are made equal by what the
    budget adds up to: a need that is higher by d is one with each operation's power less by
    d / budget.
    """
    n_rows, width = ways.n_rows, power.shape[1]
    room = (moves.most(power) - ways.need) / np.maximum(ways.need, 1)
    order = np.lexsort((room, ways.way))
    tightest = order[np.searchsorted(ways.way[order], np.arange(len(ways.row)))]
    table = np.zeros((n_rows, width))
    needs = np.zeros(n_rows)
    first = np.searchsorted(ways.row, np.arange(n_rows + 1))
    for x in range(n_rows):
        gaps = tightest[first[x] : first[x + 1]]
        need = ways.need[gaps]
        needs[x] = need.min()
        own = power[gaps].astype(np.float64)
        if not moves.shared:
            own -= (need - need.min())[:, None] / max(moves.budget, 1) * moves.cost
        table[x] = np.ceil(own.max(axis=0) * _PARTS) / _PARTS
    table = np.minimum(table, needs[:, None])
    return table, needs, moves.least(table)
