"""Undo the slant of an image."""

from numbers import Real
from typing import ClassVar

import numpy as np
from sklearn.base import OneToOneFeatureMixin
from sklearn.utils._param_validation import Interval

from .._deterministic import add_up
from ._base import ImageTransformer


class Deskew(OneToOneFeatureMixin, ImageTransformer):
    """Straighten slanted grey images, such as handwritten digits.

    The slant of an image is read off its second moments and undone by a horizontal shear; the
    centre of mass moves to the centre of the image. Pixels are interpolated bilinearly. Nothing
    is learned: `fit` only checks, `transform` works without it, and each image is treated alone.

    Parameters
    ----------
    center : bool, default=True
        Move the centre of mass to the centre of the image. With False it stays where it is.
    max_shear : float, default=1.0
        Largest shear, in columns per row; steeper slants are undone up to there. Not negative.
    image_shape : tuple (height, width) or None, default=None
        Shape of one image, for flat rows of shape (n_samples, height * width). The result is
        then flat too.

    Attributes
    ----------
    image_shape_ : tuple of two int
        Height and width of the images shown to `fit`. `transform` does not use it.
    n_features_in_ : int
        Number of pixels; only after `fit` on flat rows.

    See Also
    --------
    HOGFeatures : Histograms of oriented gradients.

    Notes
    -----
    The ink of a pixel is its value less the smallest value of the image, which is also what
    fills the pixels that come from outside. With variance v of the rows and covariance c of
    rows and columns under the ink, the shear is c / v.

    Each output image is a function of its own input image alone, bit for bit, whatever the
    batch, the memory layout and (for equal values) the dtype. The certificate of an ensemble
    is the same with this step before it or inside its members.

    Examples
    --------
    >>> import numpy as np
    >>> from certified_ensembles.features import Deskew
    >>> slanted = np.zeros((1, 7, 7), dtype=np.uint8)
    >>> slanted[0, [1, 2, 3, 4, 5], [5, 4, 3, 2, 1]] = 9
    >>> Deskew().transform(slanted)[0].astype(int)
    array([[0, 0, 0, 0, 0, 0, 0],
           [0, 0, 0, 9, 0, 0, 0],
           [0, 0, 0, 9, 0, 0, 0],
           [0, 0, 0, 9, 0, 0, 0],
           [0, 0, 0, 9, 0, 0, 0],
           [0, 0, 0, 9, 0, 0, 0],
           [0, 0, 0, 0, 0, 0, 0]])
    """

    _parameter_constraints: ClassVar[dict] = {
        "center": ["boolean"],
        "max_shear": [Interval(Real, 0, None, closed="left")],
        "image_shape": ["array-like", None],
    }

    def __init__(self, *, center=True, max_shear=1.0, image_shape=None):
        self.center = center
        self.max_shear = max_shear
        self.image_shape = image_shape

    def transform(self, X):
        """Straighten images.

        Parameters
        ----------
        X : array-like of shape (n_samples, height, width), or flat with `image_shape`
            Grey images, of integers or finite floats.

        Returns
        -------
        X_out : ndarray of the shape of X, float32
            The straightened images, in the units of X.

        Raises
        ------
        ValueError
            If X does not hold grey images, or holds values beyond the range of float32.
        """
        X, height, width, axis = self._read(X)
        X_out = np.empty(X.shape, dtype=np.float32)
        for rows, block in self._blocks(X, height, width, axis):
            upright = self._straighten(block[0])
            X_out[rows] = upright.transpose(2, 0, 1).reshape(X_out[rows].shape)
        return X_out

    def _straighten(self, images):
        """Shift and shear a float32 block of shape (height, width, images)."""
        height, width, n_images = images.shape
        background = images.min(axis=(0, 1))  # a minimum is exact in any order
        mean_y, mean_x, shear = _slant(images, background)
        shear = np.clip(shear, -self.max_shear, self.max_shear)
        middle_y, middle_x = (height - 1) / 2, (width - 1) / 2
        if self.center:
            shift_y, shift_x, pivot = mean_y - middle_y, mean_x - middle_x, middle_y
        else:
            shift_y, shift_x, pivot = np.zeros(n_images), np.zeros(n_images), mean_y
        # Pixel (y, x) of the result is read at
        # (y + shift_y, x + shift_x + shear * (y - pivot)): first along y, then along x.
        by_column = np.broadcast_to(shift_y, (width, n_images))
        images = _shift_lines(images.transpose(1, 0, 2), by_column, background).transpose(1, 0, 2)
        by_row = shift_x + shear * (np.arange(height)[:, None] - pivot)
        return _shift_lines(images, by_row, background)


def _slant(images, background):
    """Centre of mass (rows, columns) and shear of each image of a (height, width, images) block.

    Moments are taken in float64, where neither a difference nor a sum of float32 values can
    overflow, of the ink scaled to a largest value of 1.
    """
    height, width, _ = images.shape
    ink = images.astype(np.float64) - background
    darkest = ink.max(axis=(0, 1))
    ink /= np.where(darkest > 0, darkest, 1.0)
    by_row = add_up(ink[:, x] for x in range(width))
    by_column = add_up(ink[y] for y in range(height))
    mass = add_up(by_row)
    blank = mass == 0
    mass = np.where(blank, 1.0, mass)
    mean_y = add_up(by_row[y] * float(y) for y in range(height)) / mass
    mean_x = add_up(by_column[x] * float(x) for x in range(width)) / mass
    lean = add_up(ink[:, x] * (x - mean_x) for x in range(width))
    offsets = [y - mean_y for y in range(height)]
    variance = add_up(by_row[y] * (offset * offset) for y, offset in enumerate(offsets))
    covariance = add_up(lean[y] * offset for y, offset in enumerate(offsets))
    shear = covariance / np.where(variance > 0, variance, 1.0)
    # A blank image stays as it is.
    mean_y = np.where(blank, (height - 1) / 2, mean_y)
    mean_x = np.where(blank, (width - 1) / 2, mean_x)
    return mean_y, mean_x, np.where(variance > 0, shear, 0.0)


def _shift_lines(images, offsets, background):
    """Read pixel p of line i of each image at p + offsets[i], linearly between pixels.

    images has the shape (lines, length, images), offsets (lines, images); what lies outside is
    background.
    """
    n_lines, length, n_images = images.shape
    padded = np.empty((n_lines, length + 2, n_images), dtype=np.float32)
    padded[:, 1:-1] = images
    padded[:, [0, -1]] = background
    whole = np.floor(offsets)
    fraction = (offsets - whole).astype(np.float32)[:, None]
    left_of = whole.astype(np.intp)[:, None] + np.arange(1, length + 1)[:, None]
    left = np.take_along_axis(padded, np.clip(left_of, 0, length + 1), axis=1)
    right = np.take_along_axis(padded, np.clip(left_of + 1, 0, length + 1), axis=1)
    left *= 1 - fraction
    right *= fraction
    left += right
    return left
