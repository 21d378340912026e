"""The weights of each kind of linear smoother: label-free, from features alone.

A rule is built from the distinct training rows and how often each occurs, and returns the weight
of *one* copy of each row at a block of test rows. It registers the estimators that it is for with
:func:`label_free_weights_of`. Copies of a row get equal weights, also
where scikit-learn would keep only some of them as neighbours: anything else would have to choose
between rows that differ in nothing but their labels.
"""

import numpy as np
import scipy.sparse as sp
from scipy.linalg import LinAlgError, cho_factor, cho_solve, eigh, svd
from sklearn.base import clone
from sklearn.cluster import KMeans
from sklearn.kernel_ridge import KernelRidge
from sklearn.linear_model import LinearRegression, Ridge, RidgeClassifier
from sklearn.metrics import pairwise_distances
from sklearn.metrics.pairwise import euclidean_distances, pairwise_kernels
from sklearn.neighbors import (
    KNeighborsClassifier,
    KNeighborsRegressor,
    RadiusNeighborsClassifier,
    RadiusNeighborsRegressor,
)
from sklearn.utils import get_tags

from .._data.nearest import smallest
from .._deterministic import draws_globally, may_draw, one_job, one_thread, seeded
from .._spec import fit_seeded

# From the exact type of an estimator to its rule: a subclass may predict in its own way.
_RULES = {}


def label_free_weights_of(*estimator_types):
    """Register a class as what computes the weights of estimators, by their exact types."""

    def register(rule):
        _RULES.update(dict.fromkeys(estimator_types, rule))
        return rule

    return register


def weights_rule(estimator):
    """Return the registered class that computes the weights of an estimator, or None."""
    return _RULES.get(type(estimator))


def known_smoothers(base=object):
    """Return the sorted names of the registered estimators that derive from a class."""
    return sorted(cls.__name__ for cls in _RULES if issubclass(cls, base))


class WeightsRule:
    """The weights of a fitted smoother.

    Parameters
    ----------
    estimator : estimator
        Holds the parameters; it is not fitted.
    rows : ndarray or CSR matrix of shape (n_distinct, n_features), float64
        The distinct training rows.
    counts : ndarray of shape (n_distinct,)
        How often each of them occurs.
    """

    # Whether scores are votes, to be compared with the total weight, or estimates of [y = c].
    votes = True

    def __init__(self, estimator, rows, counts):
        self.estimator, self.rows, self.counts = estimator, rows, counts

    @staticmethod
    def refusal(estimator):
        """Say why these parameters have no label-free weights and what to do, or None."""

    def weights(self, X):
        """Return (n_samples, n_distinct) weights at a block of test rows."""
        raise AssertionError("abstract")  # pragma: no cover

    def keys(self, X):
        """Return integers such that rows with one key have the same weights, or None."""


def _is_number(value):
    return np.ndim(value) == 0


@label_free_weights_of(Ridge, RidgeClassifier, LinearRegression)
class RidgeWeights(WeightsRule):
    """Rows of the hat matrix of a least-squares fit, centred if it has an intercept."""

    votes = False

    def __init__(self, estimator, rows, counts):
        super().__init__(estimator, rows, counts)
        alpha = float(getattr(estimator, "alpha", 0.0))
        self.n_train = counts.sum()
        self.mean = np.zeros(rows.shape[1])
        if estimator.fit_intercept:
            self.mean = rows.T @ counts / self.n_train
        if not sp.issparse(rows):
            self.rows = rows - self.mean
        self.primal = rows.shape[1] <= rows.shape[0]
        try:
            if alpha == 0:
                raise LinAlgError
            self.factor = cho_factor(self._matrix(alpha), lower=True, overwrite_a=True)
        except LinAlgError:
            self.factor = None
            self._map = self._pseudo_inverse(alpha)

    @staticmethod
    def refusal(estimator):
        if getattr(estimator, "positive", False):
            return (
                "positive=True makes the coefficients a nonlinear function of the labels. Set "
                "positive=False"
            )
        if getattr(estimator, "class_weight", None) is not None:
            return (
                f"class_weight={estimator.class_weight!r} weighs a row by its label. Set "
                "class_weight=None"
            )
        if not _is_number(getattr(estimator, "alpha", 0.0)):
            return "alpha is an array, one value a class. Set alpha to one number"
        return None

    def _matrix(self, alpha):
        """Return what is inverted: features by features if these are fewer, else rows by rows."""
        if self.primal:
            weighted = (
                self.rows.T.multiply(self.counts).T
                if sp.issparse(self.rows)
                else self.rows * self.counts[:, None]
            )
            gram = self.rows.T @ weighted
            if sp.issparse(gram):
                gram = gram.toarray() - self.n_train * np.outer(self.mean, self.mean)
            gram[np.diag_indices_from(gram)] += alpha
            return gram
        gram = self.rows @ self.rows.T
        if sp.issparse(gram):
            gram = gram.toarray()
            offset = self.rows @ self.mean
            gram += self.mean @ self.mean - offset - offset[:, None]
        gram[np.diag_indices_from(gram)] += alpha / self.counts
        return gram

    def _pseudo_inverse(self, alpha):
        rows = self.rows - self.mean[None] if sp.issparse(self.rows) else self.rows
        root = np.sqrt(self.counts)
        left, s, right = svd(np.asarray(rows) * root[:, None], full_matrices=False)
        cut = float(getattr(self.estimator, "tol", 0.0)) if alpha == 0 else 0.0
        cut = max(cut, max(rows.shape) * np.finfo(float).eps) * s.max(initial=0.0)
        s = np.where(s > cut, s / np.maximum(s**2 + alpha, np.finfo(float).tiny), 0.0)
        return ((right.T * s) @ left.T) / root

    def weights(self, X):
        if self.factor is None:
            out = np.asarray(X - self.mean) @ self._map
        elif self.primal:
            beta = cho_solve(self.factor, np.asarray(X - self.mean).T)
            out = np.asarray(self.rows @ beta).T
            if sp.issparse(self.rows):
                out = out - (self.mean @ beta)[:, None]
        else:
            out = cho_solve(self.factor, self._kernel(X)).T / self.counts
        return out + 1 / self.n_train if self.estimator.fit_intercept else out

    def _kernel(self, X):
        """Return the products of all training rows with a block of test rows, both centred."""
        if not sp.issparse(self.rows):
            return self.rows @ np.asarray(X - self.mean).T
        product = (self.rows @ X.T).toarray() if sp.issparse(X) else self.rows @ X.T
        product -= (self.rows @ self.mean)[:, None]
        return product - (X @ self.mean) + self.mean @ self.mean


@label_free_weights_of(KernelRidge)
class KernelRidgeWeights(WeightsRule):
    """Rows of ``k(x, X) (K + alpha I)^-1``."""

    votes = False

    def __init__(self, estimator, rows, counts):
        super().__init__(estimator, rows, counts)
        alpha = float(estimator.alpha)
        kernel = kernel_matrix(estimator, rows, rows)
        kernel[np.diag_indices_from(kernel)] += alpha / counts
        try:
            if alpha == 0:
                raise LinAlgError  # often singular, and rounding may hide it
            self.factor = cho_factor(kernel, lower=True)
        except LinAlgError:
            self.factor = None
            values, vectors = eigh(kernel)
            cut = len(values) * np.finfo(float).eps * np.abs(values).max(initial=0.0)
            inverse = np.where(np.abs(values) > cut, values, np.inf) ** -1.0
            self.inverse = (vectors * inverse) @ vectors.T

    @staticmethod
    def refusal(estimator):
        if not _is_number(estimator.alpha):
            return "alpha is an array, one value a class. Set alpha to one number"
        return _kernel_refusal(estimator)

    def weights(self, X):
        kernel = kernel_matrix(self.estimator, self.rows, X)
        if self.factor is None:
            return (self.inverse @ kernel).T / self.counts
        return cho_solve(self.factor, kernel).T / self.counts


class KernelVoteWeights(WeightsRule):
    """One vote of size ``k(x, x_j)`` a row."""

    refusal = staticmethod(lambda estimator: _kernel_refusal(estimator))

    def weights(self, X):
        return kernel_matrix(self.estimator, X, self.rows)


def _kernel_refusal(estimator):
    if isinstance(estimator.kernel, str) and estimator.kernel == "precomputed":
        return 'kernel="precomputed" hides the rows. Pass the rows and the kernel itself'
    return None


def kernel_matrix(estimator, X, Y):
    """Return the kernel between rows as the parameters of the estimator say."""
    if callable(estimator.kernel):
        params = estimator.kernel_params or {}
    else:
        params = {name: getattr(estimator, name) for name in ("gamma", "degree", "coef0")}
    return pairwise_kernels(X, Y, metric=estimator.kernel, filter_params=True, **params)


@label_free_weights_of(
    KNeighborsClassifier,
    KNeighborsRegressor,
    RadiusNeighborsClassifier,
    RadiusNeighborsRegressor,
)
class NeighborsWeights(WeightsRule):
    """Votes of the nearest rows, or of those within a radius; ties by canonical order."""

    def __init__(self, estimator, rows, counts):
        super().__init__(estimator, rows, counts)
        self.n_neighbors = getattr(estimator, "n_neighbors", None)
        n_train = int(counts.sum())
        if self.n_neighbors is not None and self.n_neighbors > n_train:
            raise ValueError(
                f"n_neighbors={self.n_neighbors} is more than n_samples={n_train}, the number of "
                "training rows; make it smaller."
            )
        self.first = np.append(0, np.cumsum(counts)[:-1]).astype(np.intp)
        self.row_of_copy = np.repeat(np.arange(len(counts)), counts)

    @staticmethod
    def refusal(estimator):
        params = estimator.metric_params or {}
        if isinstance(estimator.metric, str) and estimator.metric == "precomputed":
            return 'metric="precomputed" hides the rows. Pass the rows and the metric itself'
        if estimator.metric in ("seuclidean", "mahalanobis") and not {"V", "VI"} & set(params):
            return (
                f"metric={estimator.metric!r} is estimated from the test rows. Pass V (or VI) in "
                "metric_params"
            )
        if getattr(estimator, "outlier_label", None) is not None:
            return (
                f"outlier_label={estimator.outlier_label!r} gives votes to a label where there is "
                "no neighbour. Set outlier_label=None: such rows get no votes"
            )
        return None

    def distances(self, X):
        metric, params = self.estimator.metric, dict(self.estimator.metric_params or {})
        if metric == "minkowski":
            params.setdefault("p", self.estimator.p)
        euclidean = metric == "euclidean" or (metric == "minkowski" and params == {"p": 2})
        if not euclidean:
            return pairwise_distances(X, self.rows, metric=metric, **params)
        if self.estimator.weights == "uniform" or sp.issparse(X):
            return euclidean_distances(X, self.rows)
        # Small distances matter here, and a matrix product cancels there.
        return pairwise_distances(X, self.rows, metric="minkowski", p=2)

    def weights(self, X):
        distance = self.distances(X)
        if self.n_neighbors is None:
            return self._within_radius(distance)
        if len(self.counts) < len(self.row_of_copy):
            distance = distance[:, self.row_of_copy]
        found = smallest(distance, self.n_neighbors)
        votes = np.zeros(distance.shape)
        found_votes = self._votes(np.take_along_axis(distance, found, axis=1))
        np.put_along_axis(votes, found, found_votes, axis=1)
        if len(self.counts) < len(self.row_of_copy):
            votes = np.add.reduceat(votes, self.first, axis=1) / self.counts
        return votes

    def _within_radius(self, distance):
        votes = np.zeros(distance.shape)
        for i, row in enumerate(distance):
            found = np.flatnonzero(row <= self.estimator.radius)
            if len(found):
                votes[i, found] = self._votes(row[None, found])[0]
        return votes

    def _votes(self, distance):
        """Return the votes of neighbours at these distances, the largest of a row being 1."""
        rule = self.estimator.weights
        if rule is None or (isinstance(rule, str) and rule == "uniform"):
            return np.ones(distance.shape)
        if callable(rule):
            return np.asarray(rule(distance), dtype=float)
        nearest = distance.min(axis=1, keepdims=True)
        is_zero = distance == 0
        relative = np.divide(nearest, distance, out=np.ones_like(distance), where=~is_zero)
        return np.where((nearest == 0) & ~is_zero, 0.0, relative)


class ClusterWeights(WeightsRule):
    """One vote of every row of the same cluster, and one against of all others if wanted."""

    def __init__(self, estimator, rows, counts):
        super().__init__(estimator, rows, counts)
        clusterer = _clusterer_of(estimator)
        if clusterer is None:
            clusterer = KMeans(min(10, len(counts)), n_init=10, random_state=0)
        copies = np.repeat(np.arange(len(counts)), counts)
        own, self._draws = one_job(clone(clusterer)), draws_globally(clusterer)
        with one_thread():
            self.clusterer = fit_seeded(own, rows[copies], None, {}, 0, may_draw(own))
            self.cluster = self.keys(rows)

    @staticmethod
    def refusal(estimator):
        clusterer = _clusterer_of(estimator)
        if clusterer is None:
            return None
        if not hasattr(clusterer, "predict"):
            return (
                f"clusterer={clusterer!r} has no predict, to say in which cluster a new row is. "
                "Use an inductive one, such as KMeans, MiniBatchKMeans, GaussianMixture "
                "or Birch, if need be behind a LaplacianEigenmap"
            )
        if get_tags(clusterer).target_tags.required:
            return f"clusterer={clusterer!r} learns from labels. Use a clusterer such as KMeans"
        return None

    def keys(self, X):
        return np.asarray(seeded(self.clusterer.predict, 0, self._draws)(X))

    def weights(self, X):
        same = self.keys(X)[:, None] == self.cluster
        swap = getattr(self.estimator, "votes", "own") == "swap"
        return np.where(same, 1.0, -1.0 if swap else 0.0)


def _clusterer_of(estimator):
    """Return the clusterer that votes: a bare one, or that of a `ClusterVote` (maybe None)."""
    return getattr(estimator, "clusterer", None if hasattr(estimator, "votes") else estimator)
