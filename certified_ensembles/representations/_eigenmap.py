"""An inductive Laplacian eigenmap: clusters that follow the data, and places for new rows."""

from numbers import Integral
from typing import ClassVar

import numpy as np
import scipy.sparse as sp
from scipy.sparse.linalg import LinearOperator, eigsh
from sklearn.base import (
    BaseEstimator,
    ClassNamePrefixFeaturesOutMixin,
    TransformerMixin,
    _fit_context,
)
from sklearn.utils._param_validation import Interval
from sklearn.utils.validation import check_is_fitted, validate_data

from .._data.blocks import fixed_blocks
from .._data.canonical import canonical_order
from .._data.nearest import smallest
from .._deterministic import one_thread
from .._fits import OneFitMixin, built_aside
from .._jobs import in_turn

# Below this many nodes a dense solver is faster than a Lanczos iteration, and never fails.
_DENSE_NODES = 256


class LaplacianEigenmap(
    OneFitMixin, ClassNamePrefixFeaturesOutMixin, TransformerMixin, BaseEstimator
):
    """Leading eigenvectors of a neighbour graph, extended to new rows by their neighbours.

    Rows become nodes, every row is joined to its nearest neighbours, and the coordinates are
    the slowest modes of a random walk on that graph: within a cluster they hardly change,
    between clusters they do. A small `KMeans` on top of it finds clusters of any shape.

    Parameters
    ----------
    n_components : int, default=9
        Number of coordinates, not counting the constant one, which is left out. One less
        than the number of clusters wanted is a good choice. Smaller than the number of
        different rows.
    n_neighbors : int, default=10
        Number of neighbours that each row is joined to, and that a new row is placed by
        (Euclidean distance; at most the number of other rows).
    n_jobs : int, default=None
        Threads for the search for neighbours. It changes no result.

    Attributes
    ----------
    embedding_ : ndarray of shape (n_nodes, n_components)
        Coordinates of the different training rows, in canonical order. Each column has mean
        square 1.
    eigenvalues_ : ndarray of shape (n_components,)
        Eigenvalues of the normalised graph, decreasing, at most 1. A gap after the m-th says
        that the data have about m + 1 clusters; further values of 1 are separate components.
    nodes_ : ndarray of shape (n_nodes, n_features_in_)
        The different training rows, in canonical order.
    n_features_in_ : int
        Number of features seen in `fit`.
    feature_names_in_ : ndarray of shape (n_features_in_,)
        Names of the features, if `X` had names that are all strings.

    Notes
    -----
    With W the symmetric 0/1 neighbour graph (1/2 where only one of two rows counts the
    other as a neighbour), D its degrees and u an eigenvector of ``D^-1/2 W D^-1/2`` with
    eigenvalue e, the coordinates are ``D^-1/2 u`` [1]_. They obey ``e v_i = mean of v_j over
    the neighbours j of i``, and a new row is placed by the same equation [2]_: the mean
    over its neighbours, divided by e (by 0.1 where e is smaller, so that directions without
    structure are not blown up).

    No label is looked at, so the estimator may stand before any label-flip certificate. The
    result is a function of the set of rows: order and copies of rows change nothing, bit for
    bit, and a row is placed alike whatever rows are placed with it. Copies of a row are one
    node. A training row counts itself among its neighbours in `transform`, so `transform`
    smooths ``embedding_`` a little.

    References
    ----------
    .. [1] Belkin and Niyogi, "Laplacian Eigenmaps for Dimensionality Reduction and Data
       Representation", Neural Computation 15, 2003.
    .. [2] Bengio, Paiement, Vincent, Delalleau, Le Roux and Ouimet, "Out-of-Sample Extensions
       for LLE, Isomap, MDS, Eigenmaps, and Spectral Clustering", NIPS 2003.

    Examples
    --------
    >>> import numpy as np
    >>> from certified_ensembles.representations import LaplacianEigenmap
    >>> angle = np.linspace(0, 6.2, 60)
    >>> ring = np.column_stack([np.cos(angle), np.sin(angle)])
    >>> X = np.vstack([ring, 5 * ring])
    >>> eigenmap = LaplacianEigenmap(n_components=1, n_neighbors=4).fit(X)
    >>> bool(np.ptp(eigenmap.transform(ring)) < 0.1)
    True
    >>> bool(np.ptp(eigenmap.transform([[1, 0], [5, 0]])) > 1)
    True
    """

    _parameter_constraints: ClassVar[dict] = {
        "n_components": [Interval(Integral, 1, None, closed="left")],
        "n_neighbors": [Interval(Integral, 1, None, closed="left")],
        "n_jobs": [None, Integral],
    }

    def __init__(self, n_components=9, *, n_neighbors=10, n_jobs=None):
        self.n_components = n_components
        self.n_neighbors = n_neighbors
        self.n_jobs = n_jobs

    @_fit_context(prefer_skip_nested_validation=True)
    def fit(self, X, y=None):
        """Build the graph and compute its leading eigenvectors.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Training rows.
        y : None
            Ignored.

        Returns
        -------
        self : object
            The fitted transformer.

        Raises
        ------
        ValueError
            If there are not more different rows than `n_components`.
        """
        with built_aside(self) as new:
            X = validate_data(new, X, dtype=np.float64, ensure_min_samples=2)
            X = X[canonical_order(X)] + 0.0  # one zero: -0.0 becomes 0.0
            different = np.append(True, (X[1:] != X[:-1]).any(axis=1))
            new.nodes_ = X[different]
            n_nodes = len(new.nodes_)
            if n_nodes <= new.n_components:
                raise ValueError(
                    f"n_components={new.n_components} needs more than {new.n_components} "
                    f"different rows, and X has {n_nodes} in n_samples={len(X)}. Set n_components "
                    f"to at most {n_nodes - 1}."
                )
            # Distances come from a matrix product, which cancels less around the mean.
            new._mean = new.nodes_.mean(axis=0)
            new._set_search()
            new.eigenvalues_, new.embedding_ = _leading_modes(new._graph(), new.n_components)
            new._n_features_out = new.n_components
        return self

    def _set_search(self):
        self._centred = self.nodes_ - self._mean
        self._square = np.einsum("ij,ij->i", self._centred, self._centred)

    def _graph(self):
        n_nodes = len(self.nodes_)
        k = min(self.n_neighbors, n_nodes - 1)
        found = self._neighbours(self.nodes_, k + 1)
        # Rounding may put a row behind another: where it is not found, the last one goes.
        is_itself = found == np.arange(n_nodes)[:, None]
        is_itself[~is_itself.any(axis=1), -1] = True
        columns = found[~is_itself]
        start = np.arange(0, n_nodes * k + 1, k)
        graph = sp.csr_array((np.full(len(columns), 0.5), columns, start), (n_nodes, n_nodes))
        return (graph + graph.T).tocsr()

    def _neighbours(self, X, k):
        """Return the k nearest nodes of each row, ties by canonical order."""
        X = X - self._mean
        found = np.empty((len(X), k), dtype=np.intp)

        @one_thread()
        def search(rows, index):
            distance = X[index] @ self._centred.T
            distance *= -2
            distance += self._square
            found[rows] = smallest(distance, k)[: rows.stop - rows.start]

        with one_thread():
            blocks = fixed_blocks(len(X), len(self.nodes_))
            for _ in in_turn(search, blocks, self.n_jobs, require="sharedmem"):
                pass  # each fills its own part
        return found

    def transform(self, X):
        """Place rows by their nearest training rows.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows, seen in `fit` or not.

        Returns
        -------
        X_new : ndarray of shape (n_samples, n_components)
            Coordinates; those of a row depend on that row alone.
        """
        check_is_fitted(self)
        X = validate_data(self, X, dtype=np.float64, reset=False)
        found = self._neighbours(X, min(self.n_neighbors, len(self.nodes_)))
        total = np.zeros((len(X), self.embedding_.shape[1]))
        for j in range(found.shape[1]):  # one at a time, so that the order of summation is fixed
            total += self.embedding_[found[:, j]]
        return total / found.shape[1] / np.maximum(self.eigenvalues_, 0.1)


def _leading_modes(graph, n_components):
    """Return eigenvalues and coordinates of the slowest modes, the constant one left out."""
    n_nodes = graph.shape[0]
    degree = np.asarray(graph.sum(axis=1)).ravel()
    scale = sp.diags_array(1 / np.sqrt(degree))
    walk = (scale @ graph @ scale).tocsr()
    # The constant mode is known, with eigenvalue 1. Moved to -2, below all others, it can be
    # neither found nor mixed with those that are left.
    trivial = np.sqrt(3 * degree / degree.sum())
    with one_thread():
        if n_nodes <= max(_DENSE_NODES, 4 * n_components):
            values, vectors = np.linalg.eigh(walk.toarray() - np.outer(trivial, trivial))
        else:
            deflated = LinearOperator(
                walk.shape,
                matvec=lambda v: walk @ v.ravel() - trivial * (trivial @ v.ravel()),
                dtype=np.float64,
            )
            start = np.random.RandomState(0).uniform(-1, 1, n_nodes)
            n_basis = min(n_nodes, max(4 * n_components, 40))
            # A graph with few different eigenvalues uses its start up, and ARPACK draws another.
            rng = np.random.default_rng(0)  # of restarts
            values, vectors = eigsh(
                deflated, n_components, which="LA", v0=start, ncv=n_basis, rng=rng
            )
    largest = np.argsort(values)[::-1][:n_components]
    coordinates = vectors[:, largest] * scale.diagonal()[:, None]
    coordinates /= np.sqrt(np.mean(coordinates**2, axis=0))
    peak = np.abs(coordinates).argmax(axis=0)
    return values[largest], coordinates * np.sign(coordinates[peak, range(n_components)])
