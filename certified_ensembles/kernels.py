"""A classifier for few rows with many features: kernel ridge on blocks of features."""

import itertools
from numbers import Integral, Real
from typing import ClassVar

import numpy as np
import scipy.linalg
from sklearn.base import BaseEstimator, ClassifierMixin, _fit_context
from sklearn.utils._param_validation import Interval
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_array, check_is_fitted, check_X_y, validate_data

from ._data.block_map import map_blocks
from ._deterministic import add_up, one_thread
from ._fits import OneFitMixin, built_aside

_WIDEST = 1e30  # larger widths overflow


class KernelRidgeClassifier(OneFitMixin, ClassifierMixin, BaseEstimator):
    """Kernel ridge regression on the classes, with one RBF kernel for each block of features.

    Made for members of ensembles that hold a thousand rows or fewer: fitted in closed form,
    deterministic, and everything that it learns (scales, principal components, weights) comes
    from its own rows. A row may come in several views, such as an image and its mirror image.

    *Experimental.* It may leave the package: a pretrained network that can be trusted
    (:class:`~certified_ensembles.nets.FrozenFeatures`) does far better on photographs.

    Parameters
    ----------
    alpha : float, default=0.1
        Penalty, added to the diagonal of the kernel matrix (whose own entries are 1).
    width : float or sequence of float, default=1.0
        How fast similarity falls with distance: rows at the mean distance among the training rows
        have similarity ``exp(-width)``. One number for all blocks, or one for each. Near 0 the
        kernel is almost linear (then `alpha` must be small too).
    blocks : sequence of int, default=None
        Numbers of neighbouring features that belong together, adding up to all features:
        each block has a kernel of its own, and their mean counts. None: one block.
    n_components : int, default=None
        Keep so many principal components of each block, those of the training rows. Distances
        in them take less time and memory. None: all features.
    whitening : float, default=0.0
        Only with `n_components`: each component is divided by this power of its standard
        deviation; 1 gives all the same say.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
        Sorted labels.
    dual_coef_ : ndarray of shape (n_samples * n_views, n_classes)
        Weights of the training rows, view after view.
    intercept_ : ndarray of shape (n_classes,)
        Shares of the classes among the training rows: the score of a row that resembles none.
    n_features_in_ : int
        Number of features of a view.

    See Also
    --------
    sklearn.kernel_ridge.KernelRidge : Regression with one kernel.
    certified_ensembles.features.ImageViews : Features of an image and of its mirror image.

    Notes
    -----
    Features are brought to mean 0 and variance 1 over the training rows; those that are constant
    there are left out. With views, every view of a training row is a training row, and the
    scores of a row are the mean over its views.

    The scores are ``mean over blocks of k(x, X) @ dual_coef_ + intercept_``, where the weights
    solve ``(K + alpha I) dual_coef_ = Y - intercept_`` for indicators Y of the classes. The kernel
    matrix of the training rows is computed in single precision, all else in double: products in
    single precision may round a row otherwise in another place of a batch. Training never fails
    on finite values and scores are finite: where rounding makes the matrix indefinite, alpha
    grows tenfold until it is not.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from certified_ensembles import DeepPartitionAggregation
    >>> from certified_ensembles.kernels import KernelRidgeClassifier
    >>> X, y = load_digits(return_X_y=True)
    >>> member = KernelRidgeClassifier(alpha=0.01)
    >>> clf = DeepPartitionAggregation(member, n_partitions=20, classes=range(10))
    >>> y_pred, radius = clf.fit(X[:1500], y[:1500]).certify(X[1500:])
    >>> bool(((y_pred == y[1500:]) & (radius >= 3)).mean() > 0.8)
    True
    """

    _parameter_constraints: ClassVar[dict] = {
        "alpha": [Interval(Real, 1e-10, None, closed="left")],
        "width": [Interval(Real, 0, _WIDEST, closed="right"), "array-like"],
        "blocks": ["array-like", None],
        "n_components": [Interval(Integral, 1, None, closed="left"), None],
        "whitening": [Interval(Real, 0, 1, closed="both")],
    }

    def __init__(self, alpha=0.1, *, width=1.0, blocks=None, n_components=None, whitening=0.0):
        self.alpha = alpha
        self.width = width
        self.blocks = blocks
        self.n_components = n_components
        self.whitening = whitening

    @_fit_context(prefer_skip_nested_validation=True)
    def fit(self, X, y):
        """Fit the classifier.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features) or (n_samples, n_views, n_features)
            Training rows, of finite numbers.
        y : array-like of shape (n_samples,)
            Labels.

        Returns
        -------
        self : KernelRidgeClassifier
            The fitted classifier.

        Raises
        ------
        ValueError
            If X, y, `blocks` or `width` is unusable.
        """
        with built_aside(self) as new:
            with np.errstate(invalid="ignore"):  # it adds up huge values of both signs
                if _has_views(X):
                    X, y = check_X_y(X, y, allow_nd=True, dtype=np.float64, estimator=new)
                    vars(new).pop("feature_names_in_", None)
                    new.n_features_in_ = X.shape[2]
                else:
                    X, y = validate_data(new, X, y, dtype=np.float64)
            check_classification_targets(y)
            new._blocks, widths = new._read_blocks()
            new.classes_, codes = np.unique(y, return_inverse=True)
            n_views = X.shape[1] if X.ndim == 3 else 1
            rows = _stack_views(X)
            targets = (codes[:, None] == np.arange(len(new.classes_))).astype(np.float64)
            targets = np.tile(targets, (n_views, 1))
            new.intercept_ = targets.mean(axis=0)
            with one_thread():
                new._maps = [
                    _BlockKernel(rows[:, block], width, new.n_components, new.whitening)
                    for block, width in zip(new._blocks, widths, strict=True)
                ]
                gram = new._kernel([kernel.rows for kernel in new._maps]).astype(np.float64)
                new.dual_coef_ = _solve(gram, targets - new.intercept_, new.alpha)
        return self

    def decision_function(self, X):
        """Return the scores of the classes.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features) or (n_samples, n_views, n_features)
            Rows; they may have another number of views than the training rows.

        Returns
        -------
        scores : ndarray of shape (n_samples, n_classes) or (n_samples,)
            About the share of the class among rows like this one; with two classes the
            difference, positive for the second.
        """
        check_is_fitted(self)
        with np.errstate(invalid="ignore"):
            if _has_views(X):
                X = check_array(X, allow_nd=True, dtype=np.float64, estimator=self)
                if X.shape[2] != self.n_features_in_:
                    raise ValueError(
                        f"X has {X.shape[2]} features in a view, but {type(self).__name__} was "
                        f"fitted on {self.n_features_in_}."
                    )
            else:
                X = validate_data(self, X, dtype=np.float64, reset=False)

        def mean_score(block):
            # One shape for all products: a row's score must not hang on its neighbours.
            rows = _stack_views(block)
            kernel = self._kernel(
                [k.coordinates(rows[:, b]) for k, b in zip(self._maps, self._blocks, strict=True)]
            )
            answers = kernel @ self.dual_coef_ + self.intercept_
            answers = answers.reshape(-1, len(block), len(self.classes_))
            return add_up(answers) / len(answers)

        scores = np.concatenate(list(map_blocks(mean_score, X, n_jobs=1)))
        return scores[:, 1] - scores[:, 0] if scores.shape[1] == 2 else scores

    def predict(self, X):
        """Return the class with the best score; ties go to the smaller label.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features) or (n_samples, n_views, n_features)
            Rows.

        Returns
        -------
        y_pred : ndarray of shape (n_samples,)
            Labels.
        """
        scores = self.decision_function(X)
        codes = (scores > 0).astype(int) if scores.ndim == 1 else scores.argmax(axis=1)
        return self.classes_[codes]

    def _read_blocks(self):
        """Return the columns and the width of each block."""
        p = self.n_features_in_
        sizes = [p] if self.blocks is None else list(self.blocks)
        whole = all(isinstance(size, Integral) and size > 0 for size in sizes)
        if not whole or sum(sizes) != p:
            raise ValueError(
                f"blocks={self.blocks!r} must hold positive integers that add up to the "
                f"{p} features of X."
            )
        widths = [self.width] * len(sizes) if isinstance(self.width, Real) else list(self.width)
        if len(widths) != len(sizes) or not all(0 < width <= _WIDEST for width in widths):
            raise ValueError(
                f"width={self.width!r} must be one positive number up to 1e30, or one for each of "
                f"the {len(sizes)} blocks."
            )
        bounds = np.cumsum([0, *sizes])
        return list(itertools.starmap(slice, itertools.pairwise(bounds))), widths

    def _kernel(self, coordinates):
        """Return the mean of the blocks' kernels between these rows and the training rows."""
        total = 0
        for kernel, block in zip(self._maps, coordinates, strict=True):
            total = total + kernel.similarity(block)
        return total / len(self._maps)


class _BlockKernel:
    """Scales, coordinates and kernel of one block of features."""

    def __init__(self, rows, width, n_components, whitening):
        # A power of two brings the largest value near 1, so that no square overflows.
        largest = np.abs(rows).max(axis=0)
        self.unit = np.ldexp(1.0, -np.clip(np.frexp(largest)[1], -1000, 1000))
        scaled = rows * self.unit
        self.mean = scaled.mean(axis=0)
        spread = scaled.std(axis=0)
        varies = spread > 1e-7  # smaller spreads are rounding
        self.scale = np.divide(1.0, spread, out=np.zeros_like(spread), where=varies)
        self.axes = None
        self.rows = self.coordinates(rows).astype(np.float32)
        if n_components is not None and n_components < min(rows.shape):
            self.axes = _principal_axes(self.rows, n_components, whitening)
            self.rows = self.coordinates(rows).astype(np.float32)
        self.length = np.einsum("ij,ij->i", self.rows, self.rows)
        # The mean squared distance among centred rows is twice their mean squared length.
        typical = 2 * float(self.length.mean(dtype=np.float64))
        self.fall = -width / typical if typical > 0 else 0.0

    def coordinates(self, rows):
        """Return standardised rows, in the principal components if these are wanted."""
        with np.errstate(over="ignore"):
            rows = np.clip(rows * self.unit, -1e30, 1e30)  # squares stay finite
        rows = (rows - self.mean) * self.scale
        return rows if self.axes is None else rows @ self.axes.astype(np.float64)

    def similarity(self, rows):
        """Return the kernel between coordinates of some rows and the training rows."""
        distance = rows @ self.rows.astype(rows.dtype, copy=False).T
        distance *= -2
        distance += np.einsum("ij,ij->i", rows, rows)[:, None]
        distance += self.length
        np.maximum(distance, 0, out=distance)
        distance *= self.fall
        return np.exp(distance, out=distance)


def _principal_axes(rows, n_components, whitening):
    """Return (n_features, n_components) axes, each scaled for whitening, or None."""
    n, p = rows.shape
    gram = rows @ rows.T if n < p else rows.T @ rows
    last = [len(gram) - n_components, len(gram) - 1]
    try:
        powers, axes = scipy.linalg.eigh(gram, subset_by_index=last)
    except np.linalg.LinAlgError:  # hostile rows must not stop the training of all members
        return None
    powers = np.maximum(powers, 1e-6 * max(powers[-1], np.finfo(np.float32).tiny))
    if n < p:
        axes = rows.T @ (axes / np.sqrt(powers))
    return (axes * (powers / powers[-1]) ** (-whitening / 2)).astype(np.float32)


def _solve(gram, targets, alpha):
    """Solve (gram + alpha I) weights = targets; alpha grows until that is positive definite."""
    while True:
        shifted = gram.copy()
        shifted.flat[:: len(gram) + 1] += alpha
        try:
            factor = scipy.linalg.cho_factor(shifted, lower=True, overwrite_a=True)
        except np.linalg.LinAlgError:
            alpha *= 10
            continue
        return scipy.linalg.cho_solve(factor, targets)


def _has_views(X):
    return np.asarray(X).ndim == 3


def _stack_views(X):
    """Return (n_views * n_samples, n_features): view after view.

    In one memory layout, since products and sums round otherwise in another.
    """
    rows = X if X.ndim == 2 else X.transpose(1, 0, 2).reshape(-1, X.shape[2])
    return np.ascontiguousarray(rows)
