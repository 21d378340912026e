"""Chernoff exponents of a linear smoother, for all pairs of classes of a block of rows.

Almost all of the search happens on histograms of the weights. Both terms of the exponent are
convex in the weight, so moving each weight to the two edges of its bin, mean kept, can only raise
the sum: what a histogram says is an upper bound. Its excess is about ``(t width)^2 / 12`` times
the sum of the second derivatives; where that is not small enough, the pair that decides is
evaluated on the weights themselves.
"""

from functools import cached_property

import numpy as np

from ._exact_sums import UNIT_ROUNDOFF
from ._label_noise import exponent_error, minimise_convex, noise_terms
from ._scored_blocks import LabelSortedWeights, ScoredBlock, leads

# The number of bins on each side of zero, and how many times more there are where rows are long.
_SEARCH_BINS = 64
_REFINEMENT = 8
_LONG_ROWS = 4096
# Bits of a fraction of a bin, fewer where rows are long; columns that are added up together.
_SHARE_BITS, _PIECE = 40, 1 << 16
# A histogram's bound that exceeds the true one by no more than this share of it is good enough:
# the weights themselves need not be evaluated.
_ACCEPTED_EXCESS = 3e-5


class ChernoffExponent:
    """Upper bounds on log P(the winner does not beat its worst rival) under label noise.

    Parameters
    ----------
    smoother : LabelSortedWeights
        The weights.
    noise : float
        Probability that a label is replaced.

    Attributes
    ----------
    half : int
        Number of bins on each side of zero.
    fold : int
        Bins per bin of the search for t.
    edges : ndarray of shape (n_edges,)
        Edges of the bins, in units of the largest magnitude of a row.
    n_groups : int
        Groups of labels with a histogram of their own.
    pieces : list of slice
        Columns that are added up as one.
    share_bits, sum_bits : int
        A place is counted in units of ``2**-share_bits`` bins; the sum of the fractions of a bin
        of all weights of a piece takes less than ``sum_bits`` bits.
    offset : ndarray of shape (n_train,)
        Place of zero, in those units, in the histograms of each label's group.
    working_width : int
        Numbers of working space per row of weights.
    """

    def __init__(self, smoother: LabelSortedWeights, noise: float):
        self.smoother = smoother
        self.n_train = len(smoother.label)
        self.n_classes = smoother.n_classes
        self.terms = noise_terms(noise, self.n_classes)
        # Zero is an edge, so weights of zero (most, for neighbours) stay where they are. One
        # search bin more at each end takes what rounding moves past it.
        self.fold = _REFINEMENT if self.n_train >= _LONG_ROWS else 1
        self.half = _SEARCH_BINS * self.fold
        self.edges = np.arange(-self.half - self.fold, self.half + 2 * self.fold) / self.half
        # With two classes every label belongs to the pair: one histogram per row will do.
        self.n_groups = self.n_classes if self.n_classes > 2 else 1
        group = smoother.label if self.n_classes > 2 else np.zeros(self.n_train)
        # The places of weights are integers, in units of a share of a bin that is so small that
        # 64 bits hold the number of a piece's weights beside the sum of their shares.
        self.pieces = [slice(a, a + _PIECE) for a in range(0, self.n_train, _PIECE)]
        count_bits = min(self.n_train, _PIECE).bit_length()
        self.share_bits = min(_SHARE_BITS, 62 - 2 * count_bits)
        self.sum_bits = count_bits + self.share_bits
        self.offset = np.ldexp(group * len(self.edges) + (self.half + self.fold), self.share_bits)
        self.working_width = self.n_groups * len(self.edges)

    def worst_rival(self, block: ScoredBlock) -> np.ndarray:
        """Return the largest bound over all rivals, for every row of the block."""
        lead = leads(block, self.n_classes)
        nearest = lead.argmin(axis=1)
        log_error = np.zeros(len(lead))
        # Without a lead the minimum is at t = 0, and nothing can be shown.
        rows = np.flatnonzero(lead[np.arange(len(lead)), nearest] > 0)
        if rows.size:
            if rows.size < len(lead):
                by_row = (values[rows] for values in block[1:-1])  # and no parts
                block = ScoredBlock(block.rows, *by_row, None)
            log_error[rows] = _Pairs(self, _rescaled(block)).worst(nearest[rows])
        return log_error


class _Pairs:
    """The exponents of a block: histograms of its weights, and those themselves where needed."""

    def __init__(self, exponent, block):
        self.layout, self._block = exponent, block
        self.largest, self.winner = block.largest, block.winner
        self.histogram = self._mass_at_edges()

    @cached_property
    def toward(self):
        """As `LabelSortedWeights.toward`. The histograms are there, the weights are used up."""
        return self.layout.smoother.toward(self._block)

    def worst(self, nearest) -> np.ndarray:
        """Return the largest bound over all rivals, given the one that is likely to decide."""
        row = np.arange(len(nearest))
        t, excess = self._search(row, nearest)
        bounds = self._bounds(row, t)
        worst = bounds[row, nearest]
        unsettled = np.flatnonzero(excess > _ACCEPTED_EXCESS * np.abs(worst))
        if unsettled.size:
            t[unsettled], refined = self._refine(unsettled, nearest[unsettled], t[unsettled])
            worst[unsettled] = np.minimum(worst[unsettled], refined)
            bounds[unsettled] = self._bounds(unsettled, t[unsettled])
        if self.layout.n_classes == 2:
            return worst
        # Another rival matters where its bound is higher, at this t and at the best of its own.
        bounds[row, self.winner] = bounds[row, nearest] = -np.inf
        i, b = np.nonzero(bounds > worst[:, None])
        if not i.size:
            return worst
        t, excess = self._search(i, b)
        bound = np.minimum(bounds[i, b], self._bounds(i, t)[np.arange(len(i)), b])
        loose = excess > _ACCEPTED_EXCESS * np.abs(bound)
        close = np.flatnonzero(loose & (bound > worst[i]))
        if close.size:
            _, refined = self._refine(i[close], b[close], t[close])
            bound[close] = np.minimum(bound[close], refined)
        np.maximum.at(worst, i, bound)
        return worst

    def _mass_at_edges(self) -> np.ndarray:
        """Return the mass of each group of labels at the edges: (n, n_groups, n_edges)."""
        layout, bits = self.layout, self.layout.share_bits
        n = len(self.winner)
        both = np.zeros((n, len(layout.pieces), layout.working_width), dtype=np.int64)
        scales = np.ldexp(-layout.half / self.largest, bits)
        # One row after the other: all that a row needs stays in the cache.
        for row, scale, c, into in zip(
            self._block.weights, scales, self.winner.tolist(), both, strict=True
        ):
            place = row * scale
            class_places = place[layout.smoother.columns(c)]
            np.negative(class_places, out=class_places)
            place += layout.offset
            share = place.astype(np.int64)
            cell = share >> bits
            # A one for the count above the share of the upper edge: one sum for both, and exact.
            share &= (1 << bits) - 1
            share |= 1 << layout.sum_bits
            for piece, sums in zip(layout.pieces, into, strict=True):
                np.add.at(sums, cell[piece], share[piece])
        upper = (both & ((1 << layout.sum_bits) - 1)).sum(axis=1) * 2.0**-bits
        mass = (both >> layout.sum_bits).sum(axis=1) - upper
        mass[:, 1:] += upper[:, :-1]
        return mass.reshape(n, layout.n_groups, len(layout.edges))

    def _masses(self, row, rival):
        """Return the masses of the labels of the pair, and of the others (None if none exist)."""
        if self.layout.n_classes == 2:
            return self.histogram[row, 0], None
        pair = self.histogram[row, self.winner[row]] + self.histogram[row, rival]
        return pair, self.histogram[row].sum(axis=1) - pair

    def _search(self, row, rival) -> tuple[np.ndarray, np.ndarray]:
        """Return about the best t of one pair per entry of `row`, and the excess of its bound."""
        edges = self.layout.edges[:: self.layout.fold]
        masses = [
            (_folded(mass, self.layout.fold), term)
            for mass, term in zip(self._masses(row, rival), self.layout.terms, strict=True)
            if mass is not None
        ]
        last_curvature = np.zeros(len(row))  # sum of the second derivatives at the last t

        def evaluate(scale, which):
            total = np.zeros((4, len(which)))
            for mass, term in masses:
                value, slope, curvature = term.derivatives(scale[:, None] * edges)
                mass = mass[which]
                curvature *= mass
                total[0] += (mass * value).sum(axis=1)
                total[1] += (mass * slope) @ edges
                total[2] += curvature @ edges**2
                total[3] += curvature.sum(axis=1)
            last_curvature[which] = total[3]
            return total[:3]

        # At 0 every term has the same derivatives: Newton's first step is free.
        slope = curvature = 0.0
        for mass, term in masses:
            _, first, second = term.derivatives(np.zeros(1))
            slope = slope + first * (mass @ edges)
            curvature = curvature + second * (mass @ edges**2)
        start = np.maximum(-slope / curvature, 0.0)
        scale, _ = minimise_convex(evaluate, start, decrease=1e-3, max_steps=60)
        return scale / self.largest[row], last_curvature * (scale / self.layout.half) ** 2 / 12

    def _bounds(self, row, t) -> np.ndarray:
        """Return the histograms' bounds on the exponents at t, one column per rival."""
        scale = t * self.largest[row]
        histogram = self.histogram[row]
        total = histogram.sum(axis=1)
        pair, other = self.layout.terms
        x = scale[:, None] * self.layout.edges
        if self.layout.n_classes == 2:
            bound = np.repeat((total * pair.value(x)).sum(axis=1)[:, None], 2, axis=1)
        else:
            other = other.value(x)
            by_class = np.matmul(histogram, (pair.value(x) - other)[:, :, None])[:, :, 0]
            bound = by_class + by_class[np.arange(len(row)), self.winner[row]][:, None]
            bound += (total * other).sum(axis=1)[:, None]
        # A place errs by n_cells u bins and is then cut to share_bits; no term is steeper than 1.
        n_sums = self.layout.n_train + len(self.layout.edges) + self.layout.n_classes
        error = exponent_error(
            n_sums, scale * (total @ np.abs(self.layout.edges)), self.layout.terms
        )
        cut = 2.0**-self.layout.share_bits / self.layout.half
        error += (8 * UNIT_ROUNDOFF * self.layout.n_groups + cut) * self.layout.n_train * scale
        return bound + error[:, None]

    def _refine(self, row, rival, t) -> tuple[np.ndarray, np.ndarray]:
        """Minimise the exponents on the weights; the values include their rounding error."""
        winner = self.winner[row]
        key = np.minimum(winner, rival) * self.layout.n_classes + np.maximum(winner, rival)
        total = np.zeros(len(row))
        for k, i in enumerate(row):
            total[k] = np.abs(self.toward[i]).sum()

        def evaluate(t, which):
            result = np.zeros((3, len(which)))
            for k in np.unique(key[which]):
                group = np.flatnonzero(key[which] == k)
                for columns, term in self._pieces(*divmod(int(k), self.layout.n_classes)):
                    piece = self.toward[row[which[group]], columns]
                    value, slope, curvature = term.derivatives(piece * t[group, None])
                    result[0, group] += value.sum(axis=1)
                    slope *= piece
                    result[1, group] += slope.sum(axis=1)
                    curvature *= piece
                    curvature *= piece
                    result[2, group] += curvature.sum(axis=1)
            result[0] += exponent_error(self.layout.n_train, t * total[which], self.layout.terms)
            return result

        return minimise_convex(evaluate, t, decrease=1e-6, max_steps=20)

    def _pieces(self, a, b):
        """Yield runs of columns and the term that they take when a and b are the pair."""
        pair, other = self.layout.terms
        if self.layout.n_classes == 2:
            yield slice(0, self.layout.n_train), pair
            return
        mine, theirs = self.layout.smoother.columns(a), self.layout.smoother.columns(b)
        between = (0, mine.start), (mine.stop, theirs.start), (theirs.stop, self.layout.n_train)
        for start, stop in between:
            yield slice(start, stop), other
        yield mine, pair
        yield theirs, pair


def _folded(mass, fold) -> np.ndarray:
    """Move mass from the edges between every `fold`-th edge to those two, mean kept."""
    if fold == 1:
        return mass
    parts = mass.reshape(len(mass), mass.shape[1] // fold, fold)
    upper = parts @ (np.arange(fold) / fold)
    folded = parts.sum(axis=2) - upper
    folded[:, 1:] += upper[:, :-1]
    return folded


def _rescaled(block) -> ScoredBlock:
    """Bring rows with extreme magnitudes near 1, by powers of two, so that no t overflows."""
    extreme = (block.largest < 2.0**-500) | (block.largest > 2.0**500)
    if not extreme.any():
        return block
    weights, largest = block.weights.copy(), block.largest.copy()
    power = -np.frexp(largest[extreme])[1]
    weights[extreme] = np.ldexp(weights[extreme], power[:, None])
    largest[extreme] = np.ldexp(largest[extreme], power)
    return block._replace(weights=weights, largest=largest)
