"""What the feature maps share: images are read, cut into blocks and added up in one way."""

import math
from numbers import Integral

import numpy as np
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.utils import check_array

from .._fits import OneFitMixin, built_aside

# A block of 256 MNIST images takes 0.8 MB in float32: it stays in the processor's cache.
_BLOCK_PIXELS = 256 * 28 * 28


class ImageTransformer(OneFitMixin, TransformerMixin, BaseEstimator):
    """What the maps of this file share: they read images, cut them into blocks, learn nothing."""

    _takes_colour = False

    def fit(self, X, y=None):
        """Check the parameters and the shape of X, and learn nothing from its values.

        Parameters
        ----------
        X : array-like of shape (n_samples, height, width), or as the class says
            Images.
        y : None
            Ignored.

        Returns
        -------
        self : object
            The transformer. It stores the shape of one image, for the names of the features.
        """
        with built_aside(self) as new:
            X, height, width, axis = new._read(X)
            new.image_shape_ = (height, width)
            vars(new).pop("n_features_in_", None)
            if X.ndim == 2:
                new.n_features_in_ = X.shape[1]
            new._learn_from(X, height, width, axis)
        return self

    def _learn_from(self, X, height, width, axis):
        """Learn from validated images what the map learns."""

    def _check_size(self, height, width):
        """Refuse images that the map cannot work on."""

    def _read(self, X):
        """Validate everything; return X as an array, height, width and the axis of the colours."""
        self._validate_params()
        name = type(self).__name__
        fixed = None if self.image_shape is None else checked_shape(self.image_shape)
        with np.errstate(invalid="ignore"):  # it adds up huge values of both signs
            X = check_array(X, ensure_2d=False, allow_nd=True, estimator=self, input_name="X")
        shape = X.shape[1:]
        if len(shape) < 2:
            if fixed is None or X.ndim != 2:
                raise ValueError(
                    f"{name} needs images, and got X of shape {X.shape}. Pass X as n x height x "
                    "width, or flat rows together with image_shape=(height, width)."
                )
            if math.prod(fixed) != X.shape[1]:
                raise ValueError(
                    f"image_shape={fixed} has {math.prod(fixed)} values, but X has {X.shape[1]} "
                    "features per row. Set image_shape to the shape of one image."
                )
            shape = fixed
        elif fixed is not None and shape != fixed:
            raise ValueError(
                f"image_shape={fixed}, but X holds images of shape {shape}. Leave image_shape="
                "None for images that are not flat rows."
            )
        height, width, axis = self._axes(shape)
        self._check_size(height, width)
        return X, height, width, axis

    def _axes(self, shape):
        """Height and width of an image, and the axis of its colours (None: it is grey)."""
        if len(shape) == 2:
            return *shape, None
        if len(shape) != 3 or not self._takes_colour:
            wanted = "n x height x width"
            if self._takes_colour:
                wanted += ", n x height x width x 3 or n x 3 x height x width"
            raise ValueError(
                f"{type(self).__name__} takes images as {wanted}, and got images of shape "
                f"{shape}. Reshape X, or turn the images grey first."
            )
        first = shape[0] == 3 and self.channels != "last"
        last = shape[2] == 3 and self.channels != "first"
        if first == last:
            raise ValueError(
                f"channels={self.channels!r} does not tell where the 3 colours of images of "
                f'shape {shape} are. Say channels="first" for n x 3 x height x width or '
                'channels="last" for n x height x width x 3.'
            )
        return (shape[1], shape[2], 0) if first else (shape[0], shape[1], 2)

    @staticmethod
    def _blocks(X, height, width, axis):
        """Yield (rows, fresh float32 block of shape (channels, height, width, images))."""
        n_channels = 1 if axis is None else 3
        step = max(1, _BLOCK_PIXELS // (height * width * n_channels))
        for start in range(0, X.shape[0], step):
            rows = slice(start, min(start + step, X.shape[0]))
            if axis == 2:
                block = X[rows].reshape(-1, height, width, 3).transpose(3, 1, 2, 0)
            else:
                block = X[rows].reshape(-1, n_channels, height, width).transpose(1, 2, 3, 0)
            with np.errstate(over="ignore"):  # refused two lines below
                block = np.array(block, dtype=np.float32, order="C")
            if not np.isfinite(block).all():
                raise ValueError(
                    "X holds values beyond the range of float32 (about 3.4e38). Rescale the "
                    "images, for instance to 0..1."
                )
            block += 0.0  # -0.0 becomes 0.0: equal rows have equal features
            yield rows, block

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.requires_fit = False
        tags.input_tags.two_d_array = self.image_shape is not None
        tags.input_tags.three_d_array = True
        tags.transformer_tags.preserves_dtype = []
        return tags


def checked_shape(image_shape):
    """Return image_shape as a tuple of int, or refuse it."""
    shape = tuple(image_shape)
    if len(shape) < 2 or any(not isinstance(side, Integral) or side < 1 for side in shape):
        raise ValueError(
            f"image_shape={image_shape!r} must hold two or three positive integers, for instance "
            "(28, 28)."
        )
    return tuple(int(side) for side in shape)
