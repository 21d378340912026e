"""Histograms of oriented gradients."""

import math
from numbers import Integral, Real
from typing import ClassVar

import numpy as np
from sklearn.utils._param_validation import Interval, StrOptions
from sklearn.utils.validation import check_is_fitted

from .._deterministic import add_up
from ._base import ImageTransformer, checked_shape


class HOGFeatures(ImageTransformer):
    """Histograms of oriented gradients at one or several scales.

    The gradients of an image are sorted by direction and added up in square cells; groups of
    neighbouring cells ("blocks") are brought to a common length, which removes contrast. Nothing
    is learned: `fit` only checks, `transform` works without it, and each image is treated alone.

    Parameters
    ----------
    cell_sizes : tuple of int, default=(4, 7)
        Side of a cell in pixels, one entry for each scale. The default suits images of 28 x 28:
        7 x 7 and 4 x 4 cells, 1296 + 324 = 1620 features.
    n_orientations : int, default=9
        Number of directions, at least 4 if `signed`, else at least 2.
    signed : bool, default=True
        Whether opposite directions (dark to bright, bright to dark) are two directions, spread
        over the full circle, or one, spread over the half circle.
    block_size : int, default=2
        Cells along the side of a block. Blocks overlap: they start at every cell.
    square_root : bool, default=True
        Take the square root of each feature (the Hellinger kernel for a linear model).
    epsilon : float, default=0.1
        Added in quadrature to the length of a block before dividing by it, in units of the
        largest absolute value of the image; keeps blank regions small. At least 1e-6.
    image_shape : tuple or None, default=None
        Shape of one image, for flat rows: (height, width), (height, width, 3) or
        (3, height, width).
    channels : {"auto", "first", "last"}, default="auto"
        Where the three colours of a colour image are; "auto" takes the one axis of length 3.

    Attributes
    ----------
    image_shape_ : tuple of two int
        Height and width of the images shown to `fit`. `transform` does not use it.
    n_features_in_ : int
        Number of values in a row; only after `fit` on flat rows.

    See Also
    --------
    Deskew : Straighten slanted images first.

    Notes
    -----
    A gradient is the central difference of its pixel, zero across the border. In a colour image
    each pixel takes the longest of the three gradients (the first of equals). A gradient is
    written as a sum of non-negative multiples of the two nearest directions, and each pixel
    counts for up to four cells with weights that fall linearly with the distance from their
    centres. Cells that do not fit the image are left out, evenly on both sides.

    Each image is first divided by its largest absolute value, so that 0..1 and 0..255 do not
    matter. Each output row is a function of its own input row alone, bit for bit, whatever
    the batch, the memory layout and (for equal values) the dtype. The certificate of an
    ensemble is the same with this step before it or inside its members.

    References
    ----------
    Dalal and Triggs, "Histograms of oriented gradients for human detection", CVPR 2005.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from sklearn.linear_model import RidgeClassifier
    >>> from sklearn.pipeline import make_pipeline
    >>> from certified_ensembles.features import HOGFeatures
    >>> X, y = load_digits(return_X_y=True)
    >>> hog = HOGFeatures(cell_sizes=(2, 4), image_shape=(8, 8))
    >>> hog.transform(X).shape
    (1797, 360)
    >>> model = make_pipeline(hog, RidgeClassifier()).fit(X[:900], y[:900])
    >>> bool(model.score(X[900:], y[900:]) > 0.93)
    True
    """

    _takes_colour = True
    _parameter_constraints: ClassVar[dict] = {
        "cell_sizes": ["array-like"],
        "n_orientations": [Interval(Integral, 2, None, closed="left")],
        "signed": ["boolean"],
        "block_size": [Interval(Integral, 1, None, closed="left")],
        "square_root": ["boolean"],
        "epsilon": [Interval(Real, 1e-6, 1e6, closed="both")],
        "image_shape": ["array-like", None],
        "channels": [StrOptions({"auto", "first", "last"})],
    }

    def __init__(
        self,
        cell_sizes=(4, 7),
        *,
        n_orientations=9,
        signed=True,
        block_size=2,
        square_root=True,
        epsilon=0.1,
        image_shape=None,
        channels="auto",
    ):
        self.cell_sizes = cell_sizes
        self.n_orientations = n_orientations
        self.signed = signed
        self.block_size = block_size
        self.square_root = square_root
        self.epsilon = epsilon
        self.image_shape = image_shape
        self.channels = channels

    def transform(self, X):
        """Compute the features of images.

        Parameters
        ----------
        X : array-like of shape (n_samples, height, width), (n_samples, height, width, 3) or \
                (n_samples, 3, height, width), or flat with `image_shape`
            Images, of integers or finite floats.

        Returns
        -------
        X_out : ndarray of shape (n_samples, n_features_out), float32
            The features, from 0 to 1; scale after scale, each in the order (row of blocks,
            column of blocks, row in the block, column in the block, direction).

        Raises
        ------
        ValueError
            If X does not hold images that `cell_sizes` and `block_size` fit, or holds values
            beyond the range of float32.
        """
        X, height, width, axis = self._read(X)
        grids = [self._grid(cell, height, width) for cell in self.cell_sizes]
        n_out = sum(math.prod(self._blocks_shape(*grid)) for grid in grids)
        X_out = np.empty((X.shape[0], n_out), dtype=np.float32)
        for rows, block in self._blocks(X, height, width, axis):
            largest = np.abs(block).max(axis=(0, 1, 2))  # a maximum is exact in any order
            block /= np.where(largest > 0, largest, np.float32(1))
            energy = self._by_direction(*_gradient(block))
            column = 0
            for cell, grid in zip(self.cell_sizes, grids, strict=True):
                features = self._normalised(_pool(energy, cell, *grid))
                features = features.reshape(-1, features.shape[-1])
                X_out[rows, column : column + len(features)] = features.T
                column += len(features)
        return X_out

    def get_feature_names_out(self, input_features=None):
        """Names of the features.

        Parameters
        ----------
        input_features : None
            Ignored, for the common interface.

        Returns
        -------
        names : ndarray of str objects
            ``hog_cell4_block0_3_part1_0_direction8`` is direction 8 of the cell in row 1,
            column 0 of the block in row 0, column 3, with cells of 4 x 4 pixels.

        Raises
        ------
        sklearn.exceptions.NotFittedError
            If the shape of the images is not known from `image_shape` or `fit`.
        """
        if self.image_shape is None:
            check_is_fitted(self, "image_shape_")
            height, width = self.image_shape_
        else:
            height, width, _ = self._axes(checked_shape(self.image_shape))
        names = [
            f"hog_cell{cell}_block{i}_{j}_part{k}_{m}_direction{o}"
            for cell in self.cell_sizes
            for i, j, k, m, o in np.ndindex(self._blocks_shape(*self._grid(cell, height, width)))
        ]
        return np.asarray(names, dtype=object)

    def _check_size(self, height, width):
        if self.signed and self.n_orientations < 4:
            raise ValueError(
                f"n_orientations={self.n_orientations} does not span the circle. Use at least 4 "
                "directions, or signed=False."
            )
        cells = list(self.cell_sizes)
        if not cells or any(not isinstance(cell, Integral) or cell < 1 for cell in cells):
            raise ValueError(
                f"cell_sizes={self.cell_sizes!r} must hold one or more positive integers, for "
                "instance (4, 7)."
            )
        for cell in cells:
            if min(self._grid(cell, height, width)) < self.block_size:
                raise ValueError(
                    f"cell_sizes={self.cell_sizes!r}: images of {height} x {width} hold too few "
                    f"cells of {cell} x {cell} for a block of block_size={self.block_size}. Use "
                    "smaller cells or blocks."
                )

    @staticmethod
    def _grid(cell, height, width):
        return height // cell, width // cell

    def _blocks_shape(self, cells_y, cells_x):
        side = self.block_size
        return cells_y - side + 1, cells_x - side + 1, side, side, self.n_orientations

    def _by_direction(self, grad_y, grad_x):
        """Split gradients between the two nearest directions u_o = (cos, sin)(o * step).

        With cross(o) = u_o x gradient / sin(step), the share of u_o is the smaller of
        cross(o - 1) and -cross(o + 1) where both are positive: linear in the gradient and free
        of angles, whose computation need not round alike everywhere.
        """
        n = self.n_orientations
        step = (2 if self.signed else 1) * math.pi / n

        def cross(o):
            along_y = np.float32(math.cos(o * step) / math.sin(step))
            along_x = np.float32(math.sin(o * step) / math.sin(step))
            return along_y * grad_y - along_x * grad_x

        shares = np.empty((n, *grad_y.shape), dtype=np.float32)
        previous, current = cross(-1), cross(0)
        for o, share in enumerate(shares):
            following = cross(o + 1)
            np.minimum(previous, -following, out=share)
            np.maximum(share, 0, out=share)
            if not self.signed:
                opposite = np.minimum(-previous, following)
                share += np.maximum(opposite, 0, out=opposite)
            previous, current = current, following
        return shares

    def _normalised(self, cells):
        """Features of shape (block rows, block columns, side, side, directions, images)."""
        rows, cols, side, _, n = shape = self._blocks_shape(*cells.shape[1:3])
        energy = add_up(direction * direction for direction in cells)
        parts = [(i, j) for i in range(side) for j in range(side)]
        length = add_up(energy[i : i + rows, j : j + cols] for i, j in parts)
        length += np.float32(self.epsilon**2)
        np.sqrt(length, out=length)
        features = np.empty((*shape, cells.shape[3]), dtype=np.float32)
        for i, j in parts:
            for o in range(n):
                part = cells[o, i : i + rows, j : j + cols]
                np.divide(part, length, out=features[:, :, i, j, o])
        if self.square_root:
            np.sqrt(features, out=features)
        features += 0.0  # -0.0, left by a maximum of equals, becomes 0.0
        return features


def _gradient(block):
    """Central differences (rows, columns) of a (channels, height, width, images) block."""
    grad_y, grad_x = np.zeros_like(block), np.zeros_like(block)
    np.subtract(block[:, 2:], block[:, :-2], out=grad_y[:, 1:-1])
    np.subtract(block[:, :, 2:], block[:, :, :-2], out=grad_x[:, :, 1:-1])
    best_y, best_x = grad_y[0], grad_x[0]
    for other_y, other_x in zip(grad_y[1:], grad_x[1:], strict=True):
        longer = other_y * other_y + other_x * other_x > best_y * best_y + best_x * best_x
        best_y = np.where(longer, other_y, best_y)
        best_x = np.where(longer, other_x, best_x)
    return best_y, best_x


def _pool(energy, cell, cells_y, cells_x):
    """Add (directions, height, width, images) up in cells, with linearly falling weights."""
    n, height, width, n_images = energy.shape
    top, left = (height - cells_y * cell) // 2, (width - cells_x * cell) // 2
    # A pixel this far from the first one of a cell counts for the cell with this weight.
    reach = [(d, 1 - abs(2 * d + 1 - cell) / (2 * cell)) for d in range(-cell, 2 * cell)]
    reach = [(d + cell, np.float32(weight)) for d, weight in reach if weight > 0]
    padded = np.zeros((n, height + 2 * cell, width, n_images), dtype=np.float32)
    padded[:, cell:-cell] = energy
    span_y, span_x = (cells_y - 1) * cell + 1, (cells_x - 1) * cell + 1
    rows = add_up(padded[:, top + d : top + d + span_y : cell] * weight for d, weight in reach)
    padded = np.zeros((n, cells_y, width + 2 * cell, n_images), dtype=np.float32)
    padded[:, :, cell:-cell] = rows
    return add_up(
        padded[:, :, left + d : left + d + span_x : cell] * weight for d, weight in reach
    )
