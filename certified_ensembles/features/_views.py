"""Several maps side by side, of an image and of its mirror image."""

from typing import ClassVar

import numpy as np
from sklearn.base import clone
from sklearn.utils import get_tags
from sklearn.utils._param_validation import StrOptions
from sklearn.utils.validation import check_is_fitted

from ._base import ImageTransformer


class ImageViews(ImageTransformer):
    """Features of several maps side by side, of an image and of its mirror image.

    *Experimental.* It may leave the package: a pretrained network that can be trusted
    (:class:`~certified_ensembles.nets.FrozenFeatures`) does far better on photographs.

    Parameters
    ----------
    maps : list of transformers
        Maps that take images and return a table, such as :class:`HOGFeatures` and
        :class:`PatchFeatures`.
    mirror : bool, default=True
        Whether an image becomes two views: its features, and those of the image with left and
        right exchanged, as :class:`~certified_ensembles.kernels.KernelRidgeClassifier` takes
        them. Else it becomes one row of a table.
    image_shape : tuple or None, default=None
        Shape of one image, for flat rows: (height, width), (height, width, 3) or
        (3, height, width).
    channels : {"auto", "first", "last"}, default="auto"
        Where the three colours of a colour image are; "auto" takes the one axis of length 3.

    Attributes
    ----------
    maps_ : list of transformers
        The fitted copies of maps that learn, and those that do not.
    image_shape_ : tuple of two int
        Height and width of the images shown to `fit`.
    n_features_in_ : int
        Number of values in a row; only after `fit` on flat rows.

    See Also
    --------
    sklearn.pipeline.FeatureUnion : Maps side by side, without views.

    Notes
    -----
    If all maps are fixed, so is this one, and it may stand before an ensemble or inside its
    members. Maps that learn are fitted on the images as they are, not on mirrored ones, and
    belong inside the members.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from certified_ensembles.features import HOGFeatures, ImageViews
    >>> images = load_digits().images[:10]
    >>> ImageViews([HOGFeatures((4,)), HOGFeatures((2,))]).transform(images).shape
    (10, 2, 360)
    """

    _takes_colour = True
    _parameter_constraints: ClassVar[dict] = {
        "maps": [list, tuple],
        "mirror": ["boolean"],
        "image_shape": ["array-like", None],
        "channels": [StrOptions({"auto", "first", "last"})],
    }

    def __init__(self, maps, *, mirror=True, image_shape=None, channels="auto"):
        self.maps = maps
        self.mirror = mirror
        self.image_shape = image_shape
        self.channels = channels

    def fit(self, X, y=None):
        """Fit the maps that learn.

        Parameters
        ----------
        X : array-like of shape (n_samples, height, width), (n_samples, height, width, 3) or \
                (n_samples, 3, height, width), or flat with `image_shape`
            Images.
        y : None
            Ignored: no map sees labels.

        Returns
        -------
        self : ImageViews
            The transformer.
        """
        return super().fit(X)

    def _learn_from(self, X, height, width, axis):
        images = X.reshape(-1, *_shape_of_images(height, width, axis))
        self.maps_ = [clone(step).fit(images) if _learns(step) else step for step in self.maps]

    def transform(self, X):
        """Compute the features of images.

        Parameters
        ----------
        X : array-like of shape (n_samples, height, width), (n_samples, height, width, 3) or \
                (n_samples, 3, height, width), or flat with `image_shape`
            Images.

        Returns
        -------
        X_out : ndarray of shape (n_samples, 2, n_features_out), or (n_samples, n_features_out) \
                without `mirror`, float32
            Map after map; of the image, then of its mirror image.

        Raises
        ------
        ValueError
            If X does not hold images that the maps take.
        """
        if any(map(_learns, self.maps)):
            check_is_fitted(self, "maps_")
        images, width_axis = self._images(X)
        views = [images, np.flip(images, width_axis)] if self.mirror else [images]
        steps = getattr(self, "maps_", self.maps)
        tables = [np.hstack([step.transform(view) for step in steps]) for view in views]
        X_out = np.stack(tables, axis=1) if self.mirror else tables[0]
        return X_out.astype(np.float32, copy=False)

    def _images(self, X):
        """Return X as images, and the axis of their width."""
        X, height, width, axis = self._read(X)
        return X.reshape(-1, *_shape_of_images(height, width, axis)), 2 if axis == 2 else -1

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.requires_fit = any(map(_learns, self.maps))
        return tags


def _shape_of_images(height, width, axis):
    return {None: (height, width), 0: (3, height, width), 2: (height, width, 3)}[axis]


def _learns(step):
    return get_tags(step).requires_fit
