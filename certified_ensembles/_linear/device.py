"""Test rows on a GPU: the products of linear members run where the rows are.

Any library with the array API will do (torch, CuPy); none is imported here. Members are trained
on the host, wherever their rows come from: batched solvers of a GPU choose their algorithm by
the number of systems in a batch and do not promise that a system's solution is the same in any
company, which a certificate needs. Products of one shape, one after the other on one stream, do
have that property.
"""

import itertools

import numpy as np
from array_api_compat import array_namespace, device

from .._data.array_api import on_host, without_gradients

# Rows of a product, and members that share it at most, each for tables of up to _WIDE features
# and for wider ones: enough of both to fill a GPU. Neither may depend on anything but the numbers
# of members and of features (see `scoring`).
_ROWS, _ROWS_WIDE, _STACKED, _STACKED_WIDE, _WIDE = 2048, 256, 1024, 128, 2**14
# The bytes of rows and ballots together that are asked at once.
SPAN_BYTES = 1 << 29


# ---------------------------------------------------------------- blocks of rows


def block_rows(X):
    """Return the number of rows in a block of X."""
    return _ROWS if X.shape[1] <= _WIDE else _ROWS_WIDE


def members_per_product(n_features):
    """Return how many members may share a product on a device."""
    return _STACKED if n_features <= _WIDE else _STACKED_WIDE


def device_blocks(X, start, stop):
    """Return rows of X in blocks of :func:`block_rows`, the last one filled up with zeros."""
    xp, size = array_namespace(X), block_rows(X)
    X = without_gradients(X)
    blocks = [X[first : min(first + size, stop), :] for first in range(start, stop, size)]
    missing = len(blocks) * size - (stop - start)
    if missing:
        zeros = xp.zeros((missing, X.shape[1]), dtype=X.dtype, device=device(X))
        blocks[-1] = xp.concat([blocks[-1], zeros], axis=0)
    return blocks


def product_dtype(block):
    """Return the type in which a block is multiplied: single if that is its own, else double."""
    return np.float32 if block.dtype == array_namespace(block).float32 else np.float64


def _with_intercept_column(block):
    """Return a block with a feature that is one, for the intercepts, and filled up with zeros.

    The copy has its own memory: the layout of the caller's array must not choose the way in
    which it is multiplied. The zeros fill up the features to a multiple of 8, because products of
    odd widths are slow.
    """
    xp, (n_rows, n_features) = array_namespace(block), block.shape
    dtype = xp.float32 if product_dtype(block) is np.float32 else xp.float64
    options = {"dtype": dtype, "device": device(block)}
    zeros = xp.zeros((n_rows, -(n_features + 1) % 8), **options)
    return xp.concat([xp.astype(block, dtype), xp.ones((n_rows, 1), **options), zeros], axis=1)


# ---------------------------------------------------------------- scores


class DeviceRows:
    """Test rows as they are multiplied on their device.

    Parameters
    ----------
    blocks : list of array
        As from :func:`device_blocks`.
    n_asked : int
        Rows to answer: others fill up the last block.
    """

    def __init__(self, blocks, n_asked):
        size = blocks[0].shape[0]
        starts = range(0, n_asked, size)
        self.asked = [slice(start, min(start + size, n_asked)) for start in starts]
        self.n_features, self.dtype = blocks[0].shape[1], product_dtype(blocks[0])
        self.blocks = [_with_intercept_column(block) for block in blocks]


class DeviceScores:
    """The scores of one stack of members on blocks of test rows, computed where these are.

    Parameters
    ----------
    weights : iterable
        Yields ``(classes, weights, weighted)``: arrays of numpy of shape (n_classes, width,
        n_features + 1), overwritten each time, and which classes have any weights. Has a
        `shape`, that of one class, and lists the classes that a member knows as `present`.
    n_classes : int
    rows : DeviceRows
    """

    def __init__(self, weights, n_classes, rows):
        self.weights, self.rows = weights, rows
        self.xp, self.device = array_namespace(rows.blocks[0]), device(rows.blocks[0])
        self.code_dtype = self.xp.int16 if n_classes < 2**15 - 1 else self.xp.int32

    def __iter__(self):
        """Yield ``(class, rows, scores of shape (width, n_rows))``, as arrays of numpy."""
        for c, i, score in self._scores():
            rows = self.rows.asked[i]
            yield c, rows, on_host(score)[:, : rows.stop - rows.start]

    def choices(self):
        """Yield rows with the index of the best class plus one, zero without any.

        A score that is not a number never wins, and ties go to the smaller class.
        """
        for rows, chosen in zip(self.rows.asked, self._choices(), strict=True):
            yield rows, on_host(chosen)[:, : rows.stop - rows.start]

    def counts(self):
        """Yield ``(rows, class, how many members choose it on each row)``."""
        xp = self.xp
        for rows, chosen in zip(self.rows.asked, self._choices(), strict=True):
            each = [
                xp.sum(xp.astype(chosen == c + 1, xp.int64), axis=0, dtype=xp.int64)
                for c in self.weights.present
            ]
            if each:
                counts = on_host(xp.stack(each))[:, : rows.stop - rows.start]
                yield from zip(itertools.repeat(rows), self.weights.present, counts)

    def _choices(self):
        xp, blocks = self.xp, self.rows.blocks
        shape, where = (self.weights.shape[0], blocks[0].shape[0]), {"device": self.device}
        chosen = [xp.zeros(shape, dtype=self.code_dtype, **where) for _ in blocks]
        best = [xp.full(shape, -xp.inf, dtype=block.dtype, **where) for block in blocks]
        for c, i, score in self._scores():
            better = score > best[i]
            chosen[i] = xp.where(
                better, xp.full((), c + 1, dtype=self.code_dtype, **where), chosen[i]
            )
            best[i] = xp.where(better, score, best[i])
        return chosen

    def _scores(self):
        xp, blocks, n_features = self.xp, self.rows.blocks, self.rows.n_features
        width = self.weights.shape[0]
        padded = np.zeros((width, blocks[0].shape[1]), self.rows.dtype)
        for classes, stack, weighted in self.weights:
            for c, class_weights, has_weights in zip(classes, stack, weighted, strict=True):
                padded[:, : n_features + 1] = class_weights
                weights = xp.asarray(padded, device=self.device, copy=True)
                for i, block in enumerate(blocks):
                    if has_weights:
                        score = xp.matmul(weights, block.T)
                        _refuse_half_precision(score, weights)
                    else:  # nothing but zeros to multiply
                        column = weights[:, n_features : n_features + 1]
                        score = xp.broadcast_to(column, (width, block.shape[0]))
                    yield c, i, score


def _refuse_half_precision(score, weights):
    if score.dtype != weights.dtype:
        raise RuntimeError(
            f"A product of {weights.dtype} came out as {score.dtype}: torch.autocast, or its "
            "like, is switched on. Ask the ensemble outside of it: few scores bear such rounding."
        )
