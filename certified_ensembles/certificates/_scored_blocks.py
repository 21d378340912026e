"""Label-free weights, block by block: their class scores and the exact winner of every row."""

import itertools
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from ._exact_sums import sign_of_sum, sum_error_bound, to_exact_grid
from ._inputs import check_codes, check_n_classes, check_weights, float_block, row_blocks


class ScoredBlock(NamedTuple):
    """Some rows of weights, their columns in the order that a certificate works on.

    Attributes
    ----------
    rows : slice
        The rows of the whole matrix that this block holds.
    weights : ndarray of shape (n, n_train)
        Their weights; a row whose numbers are all multiples of one number may be rescaled.
    largest : ndarray of shape (n,)
        Largest magnitude of each row.
    scores : ndarray of shape (n, n_classes)
        Sum of the weights of every class.
    slack : ndarray of shape (n,)
        Bound on the rounding error of every later comparison of sums (see `sum_error_bound`);
        0 where they are exact.
    winner : ndarray of shape (n,), int64
        The class with the largest score in exact arithmetic; ties go to the smaller class.
    parts : tuple of ndarray or None
        Sums of parts of the classes, where the scores were added up from such.
    """

    rows: slice
    weights: np.ndarray
    largest: np.ndarray
    scores: np.ndarray
    slack: np.ndarray
    winner: np.ndarray
    parts: tuple | None


class AddedByClass:
    """Adds up columns that are sorted by class.

    Parameters
    ----------
    label : ndarray of shape (n_columns,)
        Class of every column, in ascending order.
    n_classes : int

    Attributes
    ----------
    slices : list of slice
        The columns of every class.
    """

    def __init__(self, label, n_classes):
        self._present, self._starts = np.unique(label, return_index=True)
        self._n_classes = n_classes
        ends = np.searchsorted(label, np.arange(n_classes + 1)).tolist()
        self.slices = [slice(start, end) for start, end in itertools.pairwise(ends)]

    def __call__(self, columns) -> np.ndarray:
        """Return the sums of all classes, of shape (n, n_classes)."""
        sums = np.zeros((len(columns), self._n_classes))
        if self._present.size:
            sums[:, self._present] = np.add.reduceat(columns, self._starts, axis=1)
        return sums


class WeightBlocks:
    """The checked arguments of a certificate, read in blocks with the winners of their rows.

    A subclass says how columns are arranged, and how they are added up to scores.

    Parameters
    ----------
    weights, y, n_classes
        As in `linear_smoother_radius`.

    Attributes
    ----------
    label : ndarray of shape (n_train,)
        Label codes in the order of the columns.
    n_classes : int
        Number of classes.
    """

    def __init__(self, weights, y, n_classes):
        self.n_classes = check_n_classes(n_classes)
        y = check_codes(y, self.n_classes)
        self._weights = check_weights(weights, len(y))
        self._order = self._arrange(y)
        self.label = y if self._order is None else y[self._order]

    def __len__(self):
        return len(self._weights)

    def columns(self, c):
        """Return the columns whose label is `c`, as a slice or as places."""
        return self._columns[c]

    def blocks(self, width=0) -> Iterator[ScoredBlock]:
        """Yield all rows, in blocks that suit `width` numbers of working space per row."""
        for rows in row_blocks(len(self), max(width, len(self.label))):
            block, largest = float_block(self._weights, rows, self._order)
            exact, block, largest = to_exact_grid(block, largest)
            slack = np.where(exact, 0.0, sum_error_bound(block.shape[1], largest))
            scores, parts = self._score(block)
            winner = self._winners(block, scores, slack)
            yield ScoredBlock(rows, block, largest, scores, slack, winner, parts)

    def _winners(self, block, scores, slack) -> np.ndarray:
        winner = scores.argmax(axis=1)
        close = scores >= (scores.max(axis=1) - slack)[:, None]
        for row in np.flatnonzero((close.sum(axis=1) > 1) & (slack > 0)):
            candidates = np.flatnonzero(close[row])
            winner[row] = candidates[0]
            for rival in candidates[1:]:
                ahead = block[row, self.columns(rival)]
                behind = block[row, self.columns(winner[row])]
                if sign_of_sum(ahead, -behind) > 0:
                    winner[row] = rival
        return winner


class LabelSortedWeights(WeightBlocks):
    """The checked arguments of a certificate, with the columns sorted by label.

    Parameters
    ----------
    weights, y, n_classes
        As in `linear_smoother_radius`.
    """

    def _arrange(self, y):
        order = None if (np.diff(y) >= 0).all() else np.argsort(y, kind="stable")
        self._add = AddedByClass(y if order is None else y[order], self.n_classes)
        self._columns = self._add.slices
        return order

    def _score(self, block):
        return self._add(block), None

    def toward(self, block: ScoredBlock) -> np.ndarray:
        """Return the weights with the sign changed where the label is not the winner's.

        A flip away from the winner moves a positive number of these against it. They may be
        written over ``block.weights``.
        """
        copied = self._order is not None  # else the weights may be the caller's
        toward = np.negative(block.weights, out=block.weights if copied else None)
        for row, c in zip(toward, block.winner.tolist(), strict=True):
            class_weights = row[self._columns[c]]
            np.negative(class_weights, out=class_weights)
        return toward


def leads(block: ScoredBlock, n_rivals) -> np.ndarray:
    """Return the winner's score minus each rival's, infinite for the winner itself.

    Rivals past the known classes have no rows, and so score 0.
    """
    won = np.arange(len(block.winner)), block.winner
    lead = np.repeat(block.scores[won][:, None], n_rivals, axis=1)
    lead[:, : block.scores.shape[1]] -= block.scores
    lead[won] = np.inf
    return lead
