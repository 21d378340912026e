"""Convolutional features without training by labels: whitened patches as filters."""

import functools
import math
from numbers import Integral, Real
from typing import ClassVar

import numpy as np
from sklearn.datasets import load_sample_images
from sklearn.utils._param_validation import Interval, StrOptions
from sklearn.utils.validation import check_is_fitted

from .._deterministic import add_up, one_thread
from .._jobs import in_turn
from ._base import ImageTransformer

# The number of filters in one product: 27 x 27 patches against 256 filters stay in the cache.
_FILTERS_AT_ONCE = 256
_N_PATCHES = 20_000  # filters and whitening are learned from this many patches
_N_ROUNDS = 10  # k-means takes this many rounds


class PatchFeatures(ImageTransformer):
    """How much an image resembles many small patches, in each cell of a coarse grid.

    Every patch of an image is brought to mean zero and a common contrast, whitened, and
    compared with a set of filters, which are whitened patches themselves. The answers pass
    a threshold and are averaged in the cells of a grid: one convolutional layer whose filters
    nobody trained by labels.

    *Experimental.* It may leave the package: a pretrained network that can be trusted
    (:class:`~certified_ensembles.nets.FrozenFeatures`) does far better on photographs.

    Parameters
    ----------
    n_filters : int, default=1024
        Number of filters.
    patch_size : int, default=6
        Side of a patch in pixels.
    filters : {"photographs", "fit"}, default="photographs"
        Where filters and whitening come from: patches of the two photographs that ship with
        scikit-learn, so that `fit` learns nothing; or k-means over patches of the rows shown to
        `fit`, which must then be a member's own rows or unlabelled ones.
    activation : {"soft_threshold", "triangle"}, default="soft_threshold"
        What becomes of the answers: what exceeds `threshold`, in either sign and kept apart (two
        features a filter and cell); or by how much a filter is nearer to the patch than
        filters are on average [1]_ (one feature).
    threshold : float, default=1.0
        Of the soft threshold; over typical patches an answer has a standard deviation of
        about 1.
    grid : int, default=2
        Cells along a side of the image.
    square_root : bool, default=True
        Take the square root of each feature (the Hellinger kernel for a linear model).
    equalize : bool, default=False
        Turn the image grey, and replace each value by the share of values of the same image
        that are darker: for signs and letters in any light.
    contrast : float, default=10
        Added in quadrature to the contrast (standard deviation) of a patch before dividing by
        it, on the scale on which the largest value of the image is 255.
    whitening : float, default=0.1
        Added to the variances of patches before whitening divides by their roots.
    seed : int, default=0
        Draws the patches. It is not called `random_state`, so that an ensemble leaves it alone:
        all members share their filters.
    image_shape : tuple or None, default=None
        Shape of one image, for flat rows: (height, width), (height, width, 3) or
        (3, height, width).
    channels : {"auto", "first", "last"}, default="auto"
        Where the three colours of a colour image are; "auto" takes the one axis of length 3.
    n_jobs : int, default=None
        Threads; they never change a result.

    Attributes
    ----------
    filters_ : ndarray of shape (n_filters, patch_size * patch_size * n_channels)
        Only with ``filters="fit"``: whitened, each of length 1.
    image_shape_ : tuple of two int
        Height and width of the images shown to `fit`.
    n_features_in_ : int
        Number of values in a row; only after `fit` on flat rows.

    See Also
    --------
    HOGFeatures : Histograms of gradients; the two complement each other.

    Notes
    -----
    With ``filters="photographs"`` the transformer is a fixed function of each image, and may
    stand before an ensemble or inside its members. Each image is multiplied with the filters in
    products of its own, on one thread, so that its features do not depend on the images beside
    it, bit for bit. Another processor or another build of the linear algebra may round
    otherwise: train and predict on one machine.

    With ``filters="fit"`` it learns from rows (never from labels) and must be fitted inside each
    member, as a pipeline in a partition ensemble is.

    Reading the photographs needs Pillow.

    References
    ----------
    .. [1] Coates, Lee and Ng, "An analysis of single-layer networks in unsupervised feature
       learning", AISTATS 2011.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from certified_ensembles.features import PatchFeatures
    >>> images = load_digits().images
    >>> patches = PatchFeatures(64, patch_size=3)
    >>> patches.transform(images[:100]).shape
    (100, 512)
    """

    _takes_colour = True
    _parameter_constraints: ClassVar[dict] = {
        "n_filters": [Interval(Integral, 1, _N_PATCHES, closed="both")],
        "patch_size": [Interval(Integral, 2, None, closed="left")],
        "filters": [StrOptions({"photographs", "fit"})],
        "activation": [StrOptions({"soft_threshold", "triangle"})],
        "threshold": [Interval(Real, 0, 1e6, closed="both")],
        "grid": [Interval(Integral, 1, None, closed="left")],
        "square_root": ["boolean"],
        "equalize": ["boolean"],
        "contrast": [Interval(Real, 1e-3, 1e6, closed="both")],
        "whitening": [Interval(Real, 1e-6, 1e6, closed="both")],
        "seed": [Interval(Integral, 0, 2**32 - 1, closed="both")],
        "image_shape": ["array-like", None],
        "channels": [StrOptions({"auto", "first", "last"})],
        "n_jobs": [Integral, None],
    }

    def __init__(
        self,
        n_filters=1024,
        *,
        patch_size=6,
        filters="photographs",
        activation="soft_threshold",
        threshold=1.0,
        grid=2,
        square_root=True,
        equalize=False,
        contrast=10.0,
        whitening=0.1,
        seed=0,
        image_shape=None,
        channels="auto",
        n_jobs=None,
    ):
        self.n_filters = n_filters
        self.patch_size = patch_size
        self.filters = filters
        self.activation = activation
        self.threshold = threshold
        self.grid = grid
        self.square_root = square_root
        self.equalize = equalize
        self.contrast = contrast
        self.whitening = whitening
        self.seed = seed
        self.image_shape = image_shape
        self.channels = channels
        self.n_jobs = n_jobs

    def fit(self, X, y=None):
        """Learn filters from patches of X, or with ``filters="photographs"`` learn nothing.

        Parameters
        ----------
        X : array-like of shape (n_samples, height, width), (n_samples, height, width, 3) or \
                (n_samples, 3, height, width), or flat with `image_shape`
            Images. Their order matters: an ensemble gives them in canonical order.
        y : None
            Ignored.

        Returns
        -------
        self : object
            The transformer.
        """
        return super().fit(X)

    def _learn_from(self, X, height, width, axis):
        if self.filters == "fit":
            with one_thread():
                patches = self._draw_from_rows(X, height, width, axis)
                learned = _learn(patches, self.n_filters, self.whitening, self.seed, clusters=True)
            self.filters_, self._projection, self._offset, self._whitener = learned

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
            The features, none negative, in the order (row of the grid, column of the grid, sign,
            filter).

        Raises
        ------
        ValueError
            If X does not hold images that `patch_size` and `grid` fit, or holds values beyond the
            range of float32.
        """
        X, height, width, axis = self._read(X)
        n_channels = 1 if axis is None or self.equalize else 3
        if self.filters == "fit":
            check_is_fitted(self, "filters_")
            bank = self._projection, self._offset, self._whitener
            if len(bank[0]) != n_channels * self.patch_size**2:
                raise ValueError(
                    f"The filters were fitted on images of {len(bank[0]) // self.patch_size**2} "
                    f"channels, but X has {n_channels}. Pass images of the same kind."
                )
        else:
            bank = _from_photographs(
                n_channels,
                self.patch_size,
                self.n_filters,
                float(self.whitening),
                float(self.contrast),
                self.seed,
            )[1:]
        pool = self._pool(height, width)
        X_out = np.empty((X.shape[0], self._n_out()), dtype=np.float32)

        @one_thread()
        def work(rows, block):
            scratch = _Scratch(self, n_channels, height, width)
            for i in range(block.shape[3]):
                scratch.describe(block[..., i], bank, pool, X_out[rows.start + i])

        blocks = self._blocks(X, height, width, axis)
        for _ in in_turn(work, blocks, self.n_jobs, require="sharedmem"):
            pass  # each fills its own part
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
            ``patch6_cell0_1_above_filter17`` is what exceeds the threshold for filter 17 in the
            top right cell of a grid of 2, with patches of 6 x 6 pixels.
        """
        signs = ("near",) if self.activation == "triangle" else ("above", "below")
        names = [
            f"patch{self.patch_size}_cell{i}_{j}_{sign}_filter{f}"
            for i in range(self.grid)
            for j in range(self.grid)
            for sign in signs
            for f in range(self.n_filters)
        ]
        return np.asarray(names, dtype=object)

    def _n_out(self):
        return self.grid**2 * self.n_filters * (1 if self.activation == "triangle" else 2)

    def _check_size(self, height, width):
        places = min(height, width) - self.patch_size + 1
        if places < self.grid:
            raise ValueError(
                f"patch_size={self.patch_size}, grid={self.grid}: images of {height} x {width} "
                f"have {max(places, 0)} places for a patch along a side, fewer than cells. Use "
                "smaller patches or a coarser grid."
            )

    def _pool(self, height, width):
        """Return the (cells, places) matrix that averages over each cell."""
        sides = []
        for n in (height - self.patch_size + 1, width - self.patch_size + 1):
            cell = np.arange(n) * self.grid // n
            side = (cell == np.arange(self.grid)[:, None]).astype(np.float64)
            sides.append(side / side.sum(axis=1, keepdims=True))
        return np.kron(*sides).astype(np.float32)

    def _draw_from_rows(self, X, height, width, axis):
        """Return patches at drawn places of drawn images, with a common contrast."""
        rng = np.random.default_rng(self.seed)
        size, n = self.patch_size, X.shape[0]
        each = -(-_N_PATCHES // n)
        rows = np.sort(rng.permutation(n)[:_N_PATCHES])
        tops = rng.integers(height - size + 1, size=(len(rows), each))
        lefts = rng.integers(width - size + 1, size=(len(rows), each))
        parts = []
        for i, row in enumerate(rows):
            ((_, block),) = self._blocks(X[row : row + 1], height, width, axis)
            image = _prepared(block[..., 0], self.equalize)
            parts += [
                image[:, a : a + size, b : b + size].ravel()
                for a, b in zip(tops[i], lefts[i], strict=True)
            ]
        patches = np.array(parts, dtype=np.float32).T.copy()
        _normalise(patches, self.contrast)
        return patches

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.requires_fit = self.filters == "fit"
        return tags


class _Scratch:
    """Memory for the work on one image after another; each sees the same shapes and strides."""

    def __init__(self, settings, n_channels, height, width):
        size = settings.patch_size
        self.settings = settings
        self.size = size
        self.places = (height - size + 1, width - size + 1)
        n_places = math.prod(self.places)
        self.image = np.empty((n_channels, height, width), np.float32)
        self.patches = np.empty((n_channels * size * size, n_places), np.float32)
        wide = settings.n_filters if settings.activation == "triangle" else _FILTERS_AT_ONCE
        self.answers = np.empty((n_places, min(wide, settings.n_filters)), np.float32)
        self.passed = np.empty_like(self.answers)

    def describe(self, image, bank, pool, out):
        """Write the features of one (channels, height, width) image to out."""
        np.copyto(self.image, _prepared(image, self.settings.equalize))
        shape = (-1, self.size, self.size, *self.places)
        views = np.lib.stride_tricks.sliding_window_view(self.image, self.places, axis=(1, 2))
        np.copyto(self.patches.reshape(shape), views)
        _normalise(self.patches, self.settings.contrast)
        if self.settings.activation == "triangle":
            self._triangle(bank, pool, out)
        else:
            self._soft_threshold(bank, pool, out)
        np.maximum(out, 0, out=out)
        out += 0.0  # -0.0 becomes 0.0
        if self.settings.square_root:
            np.sqrt(out, out=out)

    def _soft_threshold(self, bank, pool, out):
        projection, offset, _ = bank
        limit = np.float32(self.settings.threshold)
        out = out.reshape(len(pool), 2, -1)
        for start in range(0, projection.shape[1], _FILTERS_AT_ONCE):
            columns = slice(start, min(start + _FILTERS_AT_ONCE, projection.shape[1]))
            width = columns.stop - columns.start
            answers, passed = self.answers.ravel(), self.passed.ravel()
            answers = answers[: len(self.answers) * width].reshape(-1, width)
            passed = passed[: answers.size].reshape(-1, width)
            np.matmul(self.patches.T, projection[:, columns], out=answers)
            answers -= offset[columns]
            np.maximum(answers, limit, out=passed)
            passed -= limit
            out[:, 0, columns] = pool @ passed
            np.minimum(answers, -limit, out=passed)
            passed += limit
            out[:, 1, columns] = -(pool @ passed)

    def _triangle(self, bank, pool, out):
        projection, offset, (whiten, centre) = bank
        np.matmul(self.patches.T, projection, out=self.answers)
        self.answers -= offset
        white = whiten.T @ self.patches
        white -= centre[:, None]
        length = add_up(row * row for row in white)
        self.answers *= np.float32(-2)
        self.answers += (length + np.float32(1))[:, None]  # filters have length 1
        np.maximum(self.answers, 0, out=self.answers)
        np.sqrt(self.answers, out=self.answers)
        mean = self.answers @ np.full(self.answers.shape[1], 1 / self.answers.shape[1], np.float32)
        np.subtract(mean[:, None], self.answers, out=self.passed)
        np.maximum(self.passed, 0, out=self.passed)
        np.matmul(pool, self.passed, out=out.reshape(len(pool), -1))


def _prepared(image, equalize):
    """Return a (channels, height, width) image on a scale to 255."""
    image = image / np.float32(max(np.abs(image).max(), np.finfo(np.float32).tiny))
    if not equalize:
        return image * np.float32(255)
    if len(image) == 3:
        red, green, blue = image
        image = np.float32(0.299) * red + np.float32(0.587) * green
        image = (image + np.float32(0.114) * blue)[None]
    values, ordered = image.ravel(), np.sort(image, axis=None)
    # Equal values share the middle of their ranks.
    ranks = np.searchsorted(ordered, values) + np.searchsorted(ordered, values, side="right")
    return (ranks * (255 / (2 * len(values)))).astype(np.float32).reshape(image.shape)


def _normalise(patches, contrast):
    """Bring the columns of (values, patches) to mean 0 and length about sqrt(values)."""
    n = np.float32(len(patches))
    patches -= add_up(patches) / n
    spread = add_up(row * row for row in patches)
    spread /= n
    spread += np.float32(contrast**2)
    np.sqrt(spread, out=spread)
    patches /= spread


def _learn(patches, n_filters, whitening, seed, clusters):
    """Return filters, and the matrices that compare normalised patches with them.

    Parameters
    ----------
    patches : ndarray of shape (n_values, n_patches), float32
        Normalised.
    clusters : bool
        Whether filters are centres of clusters of the patches; else they are drawn from them.

    Returns
    -------
    filters : ndarray of shape (n_filters, n_values), float32
        Of length 1.
    projection, offset : ndarray of shape (n_values, n_filters) and (n_filters,), float32
        ``patch @ projection - offset`` are the products of whitened patch and filters.
    whitener : tuple of (n_values, n_values) and (n_values,) ndarray, float32
        Whitening matrix and whitened mean.
    """
    rng = np.random.default_rng(seed)
    patches = patches.astype(np.float64)
    mean = patches.mean(axis=1)
    patches -= mean[:, None]
    variances, axes = np.linalg.eigh(patches @ patches.T / patches.shape[1])
    whiten = axes / np.sqrt(np.maximum(variances, 0) + whitening) @ axes.T
    white = (whiten @ patches).T
    length = np.sqrt((white * white).sum(axis=1, keepdims=True))
    white /= np.where(length > 0, length, 1)
    drawn = rng.choice(len(white), n_filters, replace=len(white) < n_filters)
    filters = white[drawn]
    for _ in range(_N_ROUNDS if clusters else 0):
        filters = _k_means_round(white, filters)
    projection = whiten @ filters.T
    single = [a.astype(np.float32) for a in (filters, projection, mean @ projection)]
    return *single, (whiten.astype(np.float32), (mean @ whiten).astype(np.float32))


def _k_means_round(white, filters):
    """One round of spherical k-means; a centre that nothing is near to stays."""
    nearest = (white @ filters.T).argmax(axis=1)
    order = np.argsort(nearest, kind="stable")
    start = np.flatnonzero(np.diff(nearest[order], prepend=-1))
    centres = filters.copy()
    centres[nearest[order][start]] = np.add.reduceat(white[order], start, axis=0)
    length = np.sqrt((centres * centres).sum(axis=1, keepdims=True))
    return np.divide(centres, length, out=filters.copy(), where=length > 0)


@functools.lru_cache(maxsize=16)
def _from_photographs(n_channels, size, n_filters, whitening, contrast, seed):
    """Draw filters from scikit-learn's two photographs at a half and a quarter of their size."""
    rng = np.random.default_rng(seed)
    try:
        photographs = load_sample_images().images
    except ImportError as error:
        raise ImportError(
            "filters='photographs' reads two pictures, which needs Pillow. Install it (pip "
            "install pillow), or pass filters='fit'."
        ) from error
    images = []
    for photograph in photographs:
        image = photograph.astype(np.float32).transpose(2, 0, 1)
        if n_channels == 1:
            image = image.mean(axis=0, keepdims=True)
        for _ in range(2):
            _, height, width = image.shape
            image = image[:, : height // 2 * 2, : width // 2 * 2]
            image = image.reshape(n_channels, height // 2, 2, width // 2, 2).mean(axis=(2, 4))
            images.append(image)
    each = -(-_N_PATCHES // len(images))
    parts = []
    for image in images:
        tops = rng.integers(image.shape[1] - size + 1, size=each)
        lefts = rng.integers(image.shape[2] - size + 1, size=each)
        parts += [
            image[:, a : a + size, b : b + size].ravel() for a, b in zip(tops, lefts, strict=True)
        ]
    patches = np.array(parts, dtype=np.float32).T.copy()
    _normalise(patches, contrast)
    with one_thread():
        return _learn(patches, n_filters, whitening, seed, clusters=False)
