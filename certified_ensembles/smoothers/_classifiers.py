"""Smoothers that scikit-learn lacks: votes of clusters and votes by a kernel."""

from numbers import Integral, Real
from typing import ClassVar

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin, _fit_context, clone
from sklearn.metrics.pairwise import PAIRWISE_KERNEL_FUNCTIONS
from sklearn.utils import get_tags
from sklearn.utils._param_validation import HasMethods, Interval, StrOptions
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, validate_data

from .._fits import OneFitMixin, built_aside
from ..certificates.linear import linear_smoother_winner
from ._linear_smoother import LinearSmoother
from ._weights import ClusterWeights, KernelVoteWeights, label_free_weights_of


def label_free_weights(estimator, X_train, X_test, *, representation=None):
    """Yield the weights of a linear smoother, for blocks of test rows.

    Parameters
    ----------
    estimator : estimator
        As in :class:`LinearSmoother`.
    X_train, X_test : array-like, sparse matrix, dataframe or sequence of str
        Training and test rows.
    representation : transformer, default=None
        An unsupervised step before the estimator.

    Yields
    ------
    rows : slice
        Test rows of the block.
    weights : ndarray of shape (n_block, n_train), float64
        Weight of every training row, in the order of `X_train`.

    Raises
    ------
    ValueError
        If the weights would depend on labels.

    Examples
    --------
    >>> from sklearn.linear_model import LinearRegression
    >>> from certified_ensembles.smoothers import label_free_weights
    >>> for rows, weights in label_free_weights(LinearRegression(), [[0.0], [2.0]], [[1.5]]):
    ...     print(weights.round(6))
    [[0.25 0.75]]
    """
    smoother = LinearSmoother(estimator, representation=representation).fit(X_train)
    yield from smoother.iter_weights(X_test)


def class_scores(smoother, X, codes, n_classes):
    """Return winners and, as estimates of the class probabilities, shares of each class.

    Parameters
    ----------
    smoother : LinearSmoother
    X : test rows
    codes : ndarray of shape (n_train,), int
        Labels as :meth:`LinearSmoother.arrange` returns them.
    n_classes : int

    Returns
    -------
    winner : ndarray of shape (n_samples,), int64
        In exact arithmetic, ties to the smaller class.
    shares : ndarray of shape (n_samples, n_classes)
        The nearest point to the scores among those that are non-negative and sum to 1. Votes are
        divided by the total weight first. The winner has the first of the largest shares.
    """
    indicator = np.eye(n_classes)[codes]

    def score(weights):
        scores = weights @ indicator
        if smoother.casts_votes:
            total = np.abs(weights).sum(axis=1, keepdims=True)
            scores = np.divide(scores, total, out=np.zeros_like(scores), where=total > 0)
        return linear_smoother_winner(weights, codes, n_classes), scores

    winner, scores = smoother.map(score, X)
    shares = _on_simplex(scores)
    # Rounding may have put the winner behind another class, or level with a smaller one.
    behind = np.flatnonzero(shares.argmax(axis=1) != winner)
    shares[behind, winner[behind]] = np.nextafter(shares[behind].max(axis=1), 2)
    return winner, shares


def _on_simplex(scores):
    """Return the Euclidean projection of each row on the probability simplex."""
    scores = scores - scores.max(axis=1, keepdims=True)  # the same projection, without overflow
    down = -np.sort(-scores, axis=1)
    excess = np.cumsum(down, axis=1) - 1
    size = np.arange(1, scores.shape[1] + 1)
    kept = (down * size > excess).sum(axis=1)
    return np.maximum(scores - (excess[np.arange(len(scores)), kept - 1] / kept)[:, None], 0)


class _Voter(OneFitMixin, ClassifierMixin, BaseEstimator):
    """A classifier that predicts by a linear smoother built from its own parameters."""

    @_fit_context(prefer_skip_nested_validation=False)
    def fit(self, X, y):
        """Learn the votes of all training rows.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Training rows.
        y : array-like of shape (n_samples,)
            Labels.

        Returns
        -------
        self : object
        """
        with built_aside(self) as new:
            X, y = validate_data(new, X, y, accept_sparse="csr", dtype=np.float64)
            check_classification_targets(y)
            new.classes_, codes = np.unique(y, return_inverse=True)
            new._smoother = LinearSmoother(clone(new), n_jobs=new.n_jobs).fit(X)
            new._codes = new._smoother.arrange(codes)
        return self

    def _winners_and_shares(self, X):
        check_is_fitted(self)
        X = validate_data(self, X, accept_sparse="csr", dtype=np.float64, reset=False)
        return class_scores(self._smoother, X, self._codes, len(self.classes_))

    def predict(self, X):
        """Return the label with the largest vote; ties go to the smaller label.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Rows.

        Returns
        -------
        y_pred : ndarray of shape (n_samples,)
        """
        winner, _ = self._winners_and_shares(X)
        return self.classes_[winner]

    def predict_proba(self, X):
        """Return the share of the votes for every class, negative shares cut off.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Rows.

        Returns
        -------
        proba : ndarray of shape (n_samples, n_classes)
            Rows sum to one; not calibrated.
        """
        return self._winners_and_shares(X)[1]

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        return tags


class ClusterVote(_Voter):
    """Classifier by the votes of the training rows in the same cluster.

    Clusters are found without labels; the labels then vote. An attacker on the labels has to
    turn the vote of a whole cluster.

    Parameters
    ----------
    clusterer : clusterer, default=None
        Any with a ``predict`` for new rows: `KMeans`, `MiniBatchKMeans`, `GaussianMixture`,
        `Birch`. None means `KMeans` with 10 clusters (fewer, where there are fewer rows).
    votes : {"own", "swap"}, default="own"
        "own": a row votes for its label in its own cluster. "swap": it also votes against its
        label in all others. Then whoever wants class b to win in a cluster of class c must
        take labels c in this cluster and labels b elsewhere, about twice as many. It needs
        about one cluster a class.
    n_jobs : int, default=None
        Threads for blocks of rows.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
        Sorted labels.
    n_features_in_ : int
        Number of features seen in `fit`.

    Notes
    -----
    The weight of training row j at x is 1 if they share a cluster, else 0 ("own") or -1
    ("swap"). With two classes and two clusters the latter is the rule of Appendix B of [1]_,
    where each row votes for its label in its own cluster and for the other label in the
    other one; it generalises to any number of classes and clusters.

    References
    ----------
    .. [1] Levine and Feizi, "Deep Partition Aggregation: Provable Defenses against General
       Poisoning Attacks", ICLR 2021.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.cluster import KMeans
    >>> from certified_ensembles.smoothers import ClusterVote
    >>> X, y = np.array([[0.0], [0.1], [0.2], [5.0], [5.1]]), ["a", "a", "b", "b", "b"]
    >>> clf = ClusterVote(KMeans(2, n_init=10, random_state=0)).fit(X, y)
    >>> clf.predict([[0.2], [4.0]]).tolist()
    ['a', 'b']
    """

    _parameter_constraints: ClassVar[dict] = {
        "clusterer": [HasMethods("fit"), None],
        "votes": [StrOptions({"own", "swap"})],
        "n_jobs": [None, Integral],
    }

    def __init__(self, clusterer=None, *, votes="own", n_jobs=None):
        self.clusterer = clusterer
        self.votes = votes
        self.n_jobs = n_jobs

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        if self.clusterer is not None:
            tags.input_tags.sparse = get_tags(self.clusterer).input_tags.sparse
        return tags


class NadarayaWatson(_Voter):
    """Classifier by the votes of all training rows, weighted by a kernel.

    Parameters
    ----------
    kernel : str or callable, default="rbf"
        A name known to :func:`sklearn.metrics.pairwise.pairwise_kernels`, or a function of two
        rows. It should not be negative.
    gamma : float, default=None
        Parameter of the kernels "rbf", "laplacian", "poly", "sigmoid" and "chi2"; None means
        theirs.
    degree : float, default=3
        Degree of the kernel "poly".
    coef0 : float, default=1
        Constant of the kernels "poly" and "sigmoid".
    kernel_params : dict, default=None
        Parameters of a callable kernel.
    n_jobs : int, default=None
        Threads for blocks of rows.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
        Sorted labels.
    n_features_in_ : int
        Number of features seen in `fit`.

    Examples
    --------
    >>> from certified_ensembles.smoothers import NadarayaWatson
    >>> clf = NadarayaWatson(gamma=1.0).fit([[0.0], [1.0], [5.0]], [0, 0, 1])
    >>> clf.predict([[0.5], [4.0]]).tolist()
    [0, 1]
    """

    _parameter_constraints: ClassVar[dict] = {
        "kernel": [StrOptions(set(PAIRWISE_KERNEL_FUNCTIONS)), callable],
        "gamma": [Interval(Real, 0, None, closed="left"), None],
        "degree": [Interval(Real, 0, None, closed="left")],
        "coef0": [Interval(Real, None, None, closed="neither")],
        "kernel_params": [dict, None],
        "n_jobs": [None, Integral],
    }

    def __init__(
        self, kernel="rbf", *, gamma=None, degree=3, coef0=1, kernel_params=None, n_jobs=None
    ):
        self.kernel = kernel
        self.gamma = gamma
        self.degree = degree
        self.coef0 = coef0
        self.kernel_params = kernel_params
        self.n_jobs = n_jobs


label_free_weights_of(ClusterVote)(ClusterWeights)
label_free_weights_of(NadarayaWatson)(KernelVoteWeights)
