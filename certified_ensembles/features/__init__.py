"""Feature maps for images: no labels, and but for learned filters no training data, no state.

A statistic learned from all training rows (a scaler, principal components) lets one poisoned
row reach every member of an ensemble, and the certificate is void. The maps of this file are
chosen before any data is seen and treat each row alone, so they may stand anywhere: in front of
the ensemble or inside its base estimator.

Each row of the output is the same bit for bit whatever the batch around it, its memory layout,
its dtype (for equal values) and the number of threads. Therefore the code uses nothing but
operations that IEEE 754 rounds correctly, one element at a time (sums, products, quotients,
square roots, comparisons), and adds terms one by one in a fixed order. A matrix product, an
``arctan2`` or a ``sum`` along an axis can round differently in another batch. Blocks of images
are held pixel-major, ``(height, width, image)``, so that each of these operations still runs
over many images at once. :class:`PatchFeatures` cannot do without products: it makes those of
each image apart, always of one shape, in one layout and on one thread.
"""

from ._deskew import Deskew
from ._hog import HOGFeatures
from ._patches import PatchFeatures
from ._views import ImageViews

__all__ = ["Deskew", "HOGFeatures", "ImageViews", "PatchFeatures"]
