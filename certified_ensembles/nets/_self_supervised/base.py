"""What RotNet and SimCLR share: reading images, fitting to the bit, transforming in blocks."""

import copy
import hashlib
import math
import os
import threading
from abc import ABCMeta, abstractmethod
from numbers import Integral

import numpy as np
import torch
from sklearn.base import (
    BaseEstimator,
    ClassNamePrefixFeaturesOutMixin,
    TransformerMixin,
    _fit_context,
)
from sklearn.utils import check_array
from sklearn.utils._param_validation import Interval, StrOptions
from sklearn.utils.validation import check_is_fitted

from ..._data.blocks import fixed_blocks
from ..._data.canonical import canonical_order
from ..._fits import OneFitMixin, built_aside
from ...features._base import checked_shape
from .._training import products_in, reproducible
from .loop import Checkpoint, environment, resolve_device

# The number of rows whose statistics are added up at once.
_STATISTICS_ROWS = 4096
# With more channels than this, and a short last axis, the channels seem to be last.
_MOST_CHANNELS = 16
# Held while a network moves to another device: several threads may transform at once.
_moving = threading.Lock()

# Parameters without which the weights are the same.
_NOT_OF_THE_WEIGHTS = {"checkpoint", "device", "verbose", "image_shape"}


def _tensor(images):
    """Return an array as a tensor with the strides of its shape.

    Those of an axis of length one are arbitrary in numpy, and torch takes them as a hint at the
    layout of memory, which decides the order of summation.
    """
    return torch.from_numpy(np.ascontiguousarray(images).reshape(-1)).view(images.shape)


class NetRepresentation(
    OneFitMixin,
    ClassNamePrefixFeaturesOutMixin,
    TransformerMixin,
    BaseEstimator,
    metaclass=ABCMeta,
):
    """An unsupervised network as a transformer; subclasses say what it learns and returns.

    A subclass has the parameters `image_shape`, `precision`, `random_state`, `device`,
    `checkpoint` and `verbose`, and implements `_learn` and `_features`.
    """

    _min_rows = 1
    _not_of_the_weights = _NOT_OF_THE_WEIGHTS

    _parameter_constraints: dict = {
        "image_shape": ["array-like", None],
        "random_state": [Interval(Integral, 0, None, closed="left"), None],
        "precision": [StrOptions({"float32", "bfloat16"})],
        "device": [str],
        "checkpoint": [str, os.PathLike, None],
        "verbose": ["verbose"],
    }

    @abstractmethod
    def _learn(self, rows, generator, device, checkpoint):
        """Train on a uint8 or float32 tensor, n x c x h x w, and return (module, losses)."""

    @abstractmethod
    def _features(self, module, images):
        """Return the features of normalised images, a tensor of shape (n, n_features)."""

    @_fit_context(prefer_skip_nested_validation=True)
    def fit(self, X, y=None):
        """Train the network on images, without labels.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_channels, height, width)
            Images, integers or floats; (n_samples, height, width) if they have one channel, or
            flat rows if `image_shape` is given.
        y : None
            Ignored.

        Returns
        -------
        self : object
            The fitted transformer.

        Raises
        ------
        ValueError
            If X holds no such images or a parameter is unusable; the message says what to do.

        Warns
        -----
        UserWarning
            If `checkpoint` holds nothing of this training but something of others, or is damaged.
        """
        with built_aside(self) as new:
            if new.random_state is None:
                raise ValueError(
                    "random_state=None would train another network every time, and no certificate "
                    "holds for such members: pass an int."
                )
            device = resolve_device(new.device)
            images = new._read(X, reset=True)
            rows = images[canonical_order(images)]
            new._check_rows(rows)
            new.mean_, new.std_ = new._statistics(rows)
            generator = torch.Generator().manual_seed(int(new.random_state))
            checkpoint = Checkpoint(
                new.checkpoint, type(new).__name__, new._identity(rows, device)
            )
            with reproducible():
                tensor = _tensor(rows).to(device)
                module, new.losses_ = new._learn(tensor, generator, device, checkpoint)
                with torch.no_grad():
                    new._n_features_out = new._features(module.eval(), tensor[:1].float()).shape[1]
            new.module_ = module.requires_grad_(False)
        return self

    def transform(self, X):
        """Return the features of images.

        Parameters
        ----------
        X : array-like
            Images as in :meth:`fit`.

        Returns
        -------
        X_new : ndarray of shape (n_samples, n_features_out), float32
            Features; those of a row depend on that row alone.
        """
        check_is_fitted(self)
        device = resolve_device(self.device)
        images = self._read(X, reset=False)
        with _moving:  # several threads may ask at once
            self.module_.to(device)
        mean, std = self._constants(device)
        features = None
        blocks = fixed_blocks(len(images), 64 * math.prod(images.shape[2:]))
        with reproducible(), torch.no_grad():
            for rows, index in blocks:
                block = _tensor(images[index]).to(device, torch.float32)
                block = self._features(self.module_, (block - mean) / std).cpu().numpy()
                if features is None:
                    features = np.empty((len(images), block.shape[1]), dtype=np.float32)
                features[rows] = block[: rows.stop - rows.start]
        return features

    # ------------------------------------------------------------ images

    def _read(self, X, *, reset):
        """Return X as uint8 or float32 of shape (n, channels, height, width)."""
        X = check_array(
            X,
            ensure_2d=False,
            allow_nd=True,
            dtype="numeric",
            estimator=self,
            input_name="X",
            ensure_min_samples=self._min_rows if reset else 1,
        )
        if X.dtype.kind not in "biuf":
            raise ValueError(f"X has dtype {X.dtype}: pass images of integers or floats.")
        shape = self._image_shape(X)
        if reset:
            self.image_shape_ = shape
            vars(self).pop("n_features_in_", None)
            if X.ndim == 2:
                self.n_features_in_ = X.shape[1]
        elif shape != self.image_shape_:
            raise ValueError(
                f"X holds images of shape {shape}, but {type(self).__name__} was fitted on images "
                f"of shape {self.image_shape_} (channels, height, width). Resize them alike."
            )
        X = X.reshape(len(X), *shape)
        if X.dtype.kind in "biu" and X.min() >= 0 and X.max() <= 255:
            return np.ascontiguousarray(X, dtype=np.uint8)
        with np.errstate(over="ignore"):  # refused two lines below
            single = X.astype(np.float32)
        if not np.isfinite(single).all():
            raise ValueError(
                "X holds values beyond the range of float32 (about 3.4e38). Rescale the images, "
                "for instance to 0..1."
            )
        return np.ascontiguousarray(single + np.float32(0))  # one zero: -0.0 becomes 0.0

    def _image_shape(self, X):
        """Return (channels, height, width) of the images in X, or raise."""
        name, shape = type(self).__name__, X.shape[1:]
        if self.image_shape is not None:
            fixed = checked_shape(self.image_shape)
            if X.ndim == 2 and math.prod(fixed) == X.shape[1]:
                shape = fixed
            elif shape != fixed:
                raise ValueError(
                    f"image_shape={fixed}, but the rows of X have shape {shape}. Set image_shape "
                    "to the shape of one image, or leave it None for images that are not flat."
                )
        if len(shape) == 2:
            shape = (1, *shape)
        if len(shape) != 3:
            raise ValueError(
                f"{name} needs images, and got X of shape {X.shape}. Pass X as n x channels x "
                "height x width, or flat rows together with image_shape=(channels, height, width)."
            )
        if shape[0] > _MOST_CHANNELS and shape[2] <= 4:
            raise ValueError(
                f"{name} takes images as n x channels x height x width, and got X of shape "
                f"{X.shape}, whose channels seem to be last: pass X.transpose(0, 3, 1, 2)."
            )
        return tuple(int(side) for side in shape)

    def _check_rows(self, rows):
        """Refuse images that cannot be learnt from."""

    # ------------------------------------------------------------ arithmetic

    def _forward(self, module, images):
        """Run a network in training, in the precision asked for, and return single precision."""
        with products_in(self.precision, images.device):
            return module(images).float()

    @staticmethod
    def _statistics(rows):
        """Return mean and standard deviation of each channel; 1 where a channel is constant."""
        count = len(rows) * rows.shape[2] * rows.shape[3]
        blocks = [rows[i : i + _STATISTICS_ROWS] for i in range(0, len(rows), _STATISTICS_ROWS)]
        mean = sum(b.sum(axis=(0, 2, 3), dtype=np.float64) for b in blocks) / count
        centre = mean[:, None, None]
        square = sum(((b - centre) ** 2).sum(axis=(0, 2, 3)) for b in blocks) / count
        std = np.sqrt(square)
        return mean, np.where(std > 0, std, 1.0)

    def _constants(self, device):
        """Return mean and std as tensors that broadcast over images."""
        return (
            torch.tensor(values, dtype=torch.float32, device=device).view(1, -1, 1, 1)
            for values in (self.mean_, self.std_)
        )

    def _identity(self, rows, device):
        """Return all that the weights depend on as a string; None without a checkpoint."""
        if self.checkpoint is None:
            return None
        params = {
            name: value
            for name, value in sorted(self.get_params(deep=False).items())
            if name not in self._not_of_the_weights
        }
        digest = hashlib.blake2b(memoryview(rows).cast("B"), digest_size=16).hexdigest()
        return (
            f"{type(self).__name__}({params}) on {rows.dtype} {rows.shape} {digest}, "
            f"{environment(device)}"
        )

    # ------------------------------------------------------------ pickles, tags

    def __getstate__(self):
        state = dict(super().__getstate__())
        if "module_" in state:
            # A machine without a GPU must be able to open it.
            state["module_"] = copy.deepcopy(state["module_"]).cpu()
        return state

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.two_d_array = self.image_shape is not None
        tags.input_tags.three_d_array = True
        tags.transformer_tags.preserves_dtype = []
        return tags
