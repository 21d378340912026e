"""All ways in which a test row can fall, as gaps that must be closed together.

A row falls if, in one of its ways, the powers of the effects that an attacker sets off sum to at
least the need of *every* gap.
"""

import itertools
from typing import NamedTuple

import numpy as np

from ._inputs import count_votes
from ._moves import Payments
from .knapsack import NEVER, _least_cost, closing_prices
from .runoff import class_major, first_places, prefers_first, run_off_tally

# The number of powers, of small integers each, in memory at once while ways are sifted.
_BLOCK_POWERS = 2**22


class Ways(NamedTuple):
    """The ways of some rows; what belongs to one row or one way stands together.

    Attributes
    ----------
    power : ndarray of shape (n_gaps, n_effects), int8
        What each effect takes from each gap.
    need : ndarray of shape (n_gaps,), int64
        What must be taken.
    way : ndarray of shape (n_gaps,), int64
        The way to which each gap belongs, from 0 on; rising.
    row : ndarray of shape (n_ways,), int64
        The row of each way, from 0 on; rising.
    n_rows : int
        Number of rows that have a way.
    """

    power: np.ndarray
    need: np.ndarray
    way: np.ndarray
    row: np.ndarray
    n_rows: int

    def only(self, start, stop):
        """Return the ways of rows `start` to `stop`, numbered from 0 on."""
        a, b = np.searchsorted(self.row, [start, stop])
        gaps = slice(*np.searchsorted(self.way, [a, b]))
        return Ways(
            self.power[gaps],
            self.need[gaps],
            self.way[gaps] - a,
            self.row[a:b] - start,
            stop - start,
        )


class WaysBuilder:
    """Collects the ways that a budget can go, and leaves out gaps that any attack closes.

    Parameters
    ----------
    moves : Partitions or Payments
    """

    def __init__(self, moves):
        self._moves, n_effects = moves, moves.reach.shape[0]
        self._powers = [np.empty((0, n_effects), dtype=np.int8)]
        self._needs, self._ways = [np.empty(0, dtype=np.int64)], [np.empty(0, dtype=np.int64)]
        self._rows = [np.empty(0, dtype=np.int64)]
        self._n_ways = 0

    def add(self, rows, gaps):
        """Add one way for each of some rows.

        Parameters
        ----------
        rows : ndarray of shape (n,), int
        gaps : sequence of (power, need)
            Each of shape (n, n_effects) and (n,), for all rows.
        """
        possible, sure = np.ones(len(rows), dtype=bool), []
        for power, need in gaps:
            acting = power if self._moves.shared else self._moves.whole(power)
            possible &= need <= self._moves.most(acting)
            sure.append(need <= self._moves.least(acting))
        sure = np.array(sure)
        # A way needs a gap, even where any attack goes it.
        needless = sure.all(axis=0)
        sure[0] &= ~needless
        way = self._n_ways + np.cumsum(possible) - 1
        for (power, need), closed in zip(gaps, sure, strict=True):
            kept = possible & ~closed
            self._powers.append(power[kept].astype(np.int8))
            self._needs.append(np.where(needless, 0, np.maximum(need, 0))[kept])
            self._ways.append(way[kept])
        self._rows.append(rows[possible])
        self._n_ways += int(np.count_nonzero(possible))

    def build(self):
        """Return all ways; rows that fall easily come first."""
        power, need = np.concatenate(self._powers), np.concatenate(self._needs)
        way, row = np.concatenate(self._ways), np.concatenate(self._rows)
        rows, row = np.unique(row, return_inverse=True)
        worst = np.zeros(len(row), dtype=np.int64)
        np.maximum.at(worst, way, need)
        ease = np.full(len(rows), np.iinfo(np.int64).max)
        np.minimum.at(ease, row, worst)
        place = np.argsort(np.argsort(ease, kind="stable"), kind="stable")
        order = np.argsort(place[row], kind="stable")
        new = np.empty(len(order), dtype=np.int64)
        new[order] = np.arange(len(order))
        gaps = np.argsort(new[way], kind="stable")
        return Ways(power[gaps], need[gaps], new[way][gaps], place[row][order], len(rows))


def _blocks(rows, width):
    step = max(1, _BLOCK_POWERS // width)
    for start in range(0, len(rows), step):
        yield rows[start : start + step]


def plurality_ways(ballots, winner, n_classes, open_set, moves):
    """Return the ways of a plurality: each rival that can catch up is one, with one gap.

    Parameters
    ----------
    ballots : ndarray of shape (n_samples, n_members), int
    winner : ndarray of shape (n_samples,), int
    n_classes : int
    open_set : bool
    moves : Partitions

    Returns
    -------
    Ways
    """
    need = _needs(ballots, winner, n_classes, open_set)
    every = np.arange(len(ballots))
    votes = np.count_nonzero(ballots == winner[:, None], axis=1)
    most = moves.n_reached + np.minimum(moves.n_reached, votes)
    builder = WaysBuilder(moves)
    for t in range(need.shape[1]):
        rival = np.flatnonzero((winner[every] != t) & (need[:, t] <= most))
        for rows in _blocks(rival, max(moves.reach.shape)):
            f = ballots[rows]
            power = 1 + (f == winner[rows, None]) - (f == t).astype(np.int8)
            builder.add(rows, [(power, need[rows, t])])
    return builder.build()


def _needs(ballots, winner, n_classes, open_set):
    """Return what must be taken from the gap to each rival; a new label comes last."""
    classes = np.arange(n_classes)
    votes = count_votes(ballots, n_classes)
    most = np.take_along_axis(votes, winner[:, None], axis=1)
    need = most - votes - (classes < winner[:, None]) + 1
    # The new label is smaller than the winner and without votes, and has to come first.
    return np.hstack([need, np.maximum(most, 1)]) if open_set else need


def priced_ways(ballots, winner, prices, n_classes, open_set, budget):
    """Return the ways of a plurality whose members have prices, and the attacker's moves.

    Parameters
    ----------
    ballots, n_classes, open_set
        As for `plurality_ways`.
    winner : ndarray of shape (n_samples,), int
    prices : ndarray of shape (n_samples, n_members, n_classes + open_set), int64
        Never below 1, and beyond the budget for a member's own ballot.
    budget : int

    Returns
    -------
    ways : Ways
    moves : Payments
    """
    need = _needs(ballots, winner, n_classes, open_set)
    for_winner, leave, found = ballots == winner[:, None], prices.min(axis=2), []
    most = min(budget, NEVER - 1)
    for t in range(need.shape[1]):
        one, two = closing_prices(for_winner, leave, prices[:, :, t])
        rows = np.flatnonzero((_least_cost(need[:, t], one, two) <= budget) & (winner != t))
        # What is dearer than the budget, and 0 then, closes nothing.
        found.append((rows, need[rows, t], [p[rows] * (p[rows] <= most) for p in (one, two)]))
    members = np.arange(ballots.shape[1]) * (most + 1)
    # One move for each price of each member that any row sees.
    seen = [np.unique((members + p)[p > 0]) for *_, steps in found for p in steps]
    seen = np.unique(np.concatenate(seen))
    moves = Payments(*np.divmod(seen, most + 1), budget)
    builder = WaysBuilder(moves)
    for rows, needed, steps in found:
        power = np.zeros((len(rows), len(seen)), dtype=np.int8)
        for price in steps:
            at, j = np.nonzero(price)
            np.add.at(power, (at, np.searchsorted(seen, members[j] + price[at, j])), 1)
        builder.add(rows, [(power, needed)])
    return builder.build(), moves


def run_off_ways(scores, open_set, moves):
    """Return the ways of a run-off: two classes push the winner out, or one beats it.

    Parameters
    ----------
    scores : ndarray of shape (n_samples, n_members, n_classes)
        As for `run_off_radius`.
    open_set : bool
    moves : Partitions

    Returns
    -------
    Ways
    """
    n_all = scores.shape[2] + 2 * open_set
    builder = WaysBuilder(moves)
    for rows in _blocks(np.arange(len(scores)), max(moves.reach.shape) * n_all):
        block = _RunOffRows(scores[rows], open_set, moves.n_reached)
        for a, b in itertools.combinations(block.near(), 2):
            at = block.may_be_pushed_out(a, b)
            if len(at):
                builder.add(rows[at], block.pushed_out(at, a, b))
        for t in range(n_all):
            # The second new label can do nothing that the first cannot.
            at = block.may_be_beaten(t) if t != 1 or not open_set else ()
            if len(at):
                builder.add(rows[at], block.beaten(at, t))
    return builder.build()


class _RunOffRows:
    """What the members say at some test rows, and what it takes to unseat the winners."""

    def __init__(self, scores, open_set, n_reached):
        tally = run_off_tally(scores, open_set=open_set)
        self.ranking = class_major(scores, 2 * open_set)
        self.voters, self.active = first_places(self.ranking)
        self.c = tally.winner + 2 * open_set
        self.votes, self.n_reached = tally.votes, n_reached
        every, classes = np.arange(len(self.c)), np.arange(len(self.ranking))
        smaller = self.c[:, None] < classes
        self.n_c = self.votes[every, self.c]
        self.gap = self.n_c[:, None] - self.votes + smaller
        self.for_c = tally.prefers.sum(axis=1)
        self.final = 2 * self.for_c - self.votes.sum(axis=1, keepdims=True) + smaller

    def near(self):
        """Return the classes that could overtake the winner at some row, from counts alone."""
        most = self.n_reached + np.minimum(self.n_reached, self.n_c)
        return np.flatnonzero((self.gap <= most[:, None]).any(axis=0))

    def may_be_pushed_out(self, a, b):
        """Return the rows at which two classes could overtake the winner, from counts alone."""
        own = np.minimum(self.n_reached, self.n_c)
        single = np.maximum(self.gap[:, a], self.gap[:, b])
        both = self.gap[:, a] + self.gap[:, b]
        near = (single <= self.n_reached + own) & (both <= self.n_reached + 2 * own)
        return np.flatnonzero(near & (self.c != a) & (self.c != b))

    def pushed_out(self, rows, a, b):
        """Return the gaps for two classes to overtake the winner in round one."""
        from_c = self.voters[self.c[rows], rows].astype(np.int8)
        to_a, to_b = self.voters[a, rows].astype(np.int8), self.voters[b, rows].astype(np.int8)
        gap_a, gap_b = self.gap[rows, a], self.gap[rows, b]
        return [
            # A changed member votes for one of the two, so the sum is a gap of its own.
            (1 + 2 * from_c - to_a - to_b, gap_a + gap_b),
            (1 + from_c - to_a, gap_a),
            (1 + from_c - to_b, gap_b),
        ]

    def may_be_beaten(self, t):
        """Return the rows at which a class could win the final, from counts alone."""
        most = self.n_reached + np.minimum(self.n_reached, self.for_c[:, t])
        return np.flatnonzero((self.final[:, t] <= most) & (self.c != t))

    def beaten(self, rows, t):
        """Return the gaps for one class to beat the winner, and all others in round one."""
        w = self.c[rows]
        active = self.active[rows]
        prefers = prefers_first(self.ranking[w, rows], self.ranking[t, rows], w < t) & active
        # A changed member prefers t: two for one that preferred the winner, one if it was silent.
        gaps = [(2 * prefers.astype(np.int8) + ~active, self.final[rows, t])]
        to_t = self.voters[t, rows].astype(np.int8)
        for m in range(len(self.ranking)):
            ahead = self.votes[rows, m] - self.votes[rows, t] + (m < t)
            ahead = np.where(w == m, 0, ahead)
            if m != t and (ahead > 0).any():
                gaps.append((1 + self.voters[m, rows] - to_t, ahead))
        return gaps
