"""Recognise a linear smoother, fit what comes before it without labels, compute its weights."""

import numpy as np
from sklearn.base import BaseEstimator, is_clusterer
from sklearn.linear_model import RidgeClassifier
from sklearn.pipeline import Pipeline
from sklearn.utils import check_array
from sklearn.utils.validation import check_is_fitted

from .._data.block_map import map_blocks
from .._data.containers import as_table, is_text
from .._data.views import view_of
from .._deterministic import one_thread
from .._fits import built_aside, of_one_fit
from ..representations._label_free import LabelFreeFeatures
from ._weights import ClusterWeights, WeightsRule, known_smoothers, weights_rule

# ---------------------------------------------------------------- recognising and refusing


def _refuse(estimator, reason):
    raise ValueError(
        f"estimator={estimator!r} is no label-free linear smoother: {reason}, or use "
        'certificate="monte_carlo", which takes any classifier.'
    )


def _rule_of(estimator):
    """Return what computes the weights of an estimator, or raise the reason why nothing can."""
    rule = weights_rule(estimator) or (ClusterWeights if is_clusterer(estimator) else None)
    if rule is not None:
        reason = rule.refusal(estimator)
        return rule if reason is None else _refuse(estimator, reason)
    if "cv" in estimator.get_params(deep=False):
        _refuse(
            estimator,
            "it chooses parameters by cross-validation, which looks at the labels, so that a "
            "flipped label may change every weight. Choose them on other data and pass the plain "
            "estimator, such as RidgeClassifier(alpha=...)",
        )
    names = ", ".join(known_smoothers())
    return _refuse(
        estimator,
        f"{type(estimator).__name__} is not known to have weights that depend on features alone. "
        f"Use one of {names}, any clusterer with a predict, or a pipeline of unsupervised steps "
        "that ends in one of these",
    )


def _split(estimator):
    """Return the unfitted steps of a pipeline, which must be unsupervised, and its last one."""
    steps = []
    while type(estimator) is Pipeline:  # a subclass may train in its own way
        steps += [step for _, step in estimator.steps[:-1] if step not in (None, "passthrough")]
        estimator = estimator.steps[-1][1]
    return steps, estimator


# ---------------------------------------------------------------- features


def numeric_features(X):
    """Return rows as a matrix of doubles, dense or CSR, or raise."""
    X = as_table(X)
    return check_array(view_of(X).hand_out(X), accept_sparse="csr", dtype=np.float64)


# ---------------------------------------------------------------- weights


class LinearSmoother(BaseEstimator):
    """The label-free weights of a scikit-learn estimator.

    Parameters
    ----------
    estimator : estimator, default=None
        `RidgeClassifier`, `Ridge`, `LinearRegression`, `KernelRidge`, `KNeighborsClassifier`,
        `KNeighborsRegressor`, `RadiusNeighborsClassifier`, `RadiusNeighborsRegressor`,
        :class:`NadarayaWatson`, :class:`ClusterVote` or a clusterer with a ``predict``, with
        fixed parameters; or a pipeline of unsupervised steps that ends in one of them. None
        means `RidgeClassifier`.
    representation : transformer, default=None
        An unsupervised step before all others.
    random_state : int, default=None
        If an int, every nested `random_state` is set to it.
    n_jobs : int, default=None
        Threads for blocks of test rows. It changes no result.
    memory : str or object with the joblib.Memory interface, default=None
        Where to keep fitted steps.
    verbose : int, default=0
        1 shows a progress bar over blocks of test rows.

    Attributes
    ----------
    order_ : ndarray of shape (n_train,), int64
        The canonical order of the training rows: ``X[order_]``.
    steps_ : list
        The fitted unsupervised steps.
    n_train_ : int
        Number of training rows.

    Notes
    -----
    The score of class c is the sum of the weights of the training rows with label c, and the
    largest score wins, ties to the smaller class. That is what the estimator itself predicts
    when it is trained on all labels, up to rounding and the order of exact ties: regressors are
    understood as regressions on the indicator of each class; `RidgeClassifier` regresses on
    targets of -1 and 1, which changes all scores by one affine map.

    Deviations from scikit-learn: of neighbours at one distance those that come first in
    canonical order count; copies of one row always have equal weights; a row without neighbours
    within the radius gets no vote at all, where scikit-learn may raise; iterative solvers of
    ridge regression are replaced by the solution that they approach.

    Weights are computed for blocks of test rows of a fixed shape, in double precision, on one
    thread each: those of a row do not depend on the rows beside it.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.neighbors import KNeighborsClassifier
    >>> from certified_ensembles.smoothers import LinearSmoother
    >>> X = np.array([[4.0], [0.0], [1.0], [9.0]])
    >>> smoother = LinearSmoother(KNeighborsClassifier(2)).fit(X)
    >>> for rows, weights in smoother.iter_weights([[1.5], [7.0]]):
    ...     print(weights)
    [[0. 1. 1. 0.]
     [1. 0. 0. 1.]]
    """

    def __init__(
        self,
        estimator=None,
        *,
        representation=None,
        random_state=None,
        n_jobs=None,
        memory=None,
        verbose=0,
    ):
        self.estimator = estimator
        self.representation = representation
        self.random_state = random_state
        self.n_jobs = n_jobs
        self.memory = memory
        self.verbose = verbose

    def fit(self, X, y=None):
        """Fit the unsupervised steps and what the weights need, on features alone.

        Parameters
        ----------
        X : array-like, sparse matrix, dataframe or sequence of str, of n_train rows
            Training rows.
        y : None
            Ignored.

        Returns
        -------
        self : object

        Raises
        ------
        ValueError
            If the estimator is no linear smoother, its parameters look at labels, or a step
            needs labels.
        """
        with built_aside(self) as new:
            steps, last = _split(RidgeClassifier() if new.estimator is None else new.estimator)
            if new.representation is not None:
                steps = [new.representation, *steps]
            rule = _rule_of(last)
            if not is_text(X) and np.ndim(X) == 1:
                check_array(X)  # says what is wrong
            new._features = LabelFreeFeatures(
                steps, random_state=new.random_state, n_jobs=new.n_jobs, memory=new.memory
            )
            rows = numeric_features(new._features.fit_transform(X))
            new.order_, new.steps_ = new._features.order, new._features.fitted
            new.n_train_ = len(new.order_)
            new._row_of_copy = new._features.row_of_copy
            with one_thread():
                new._rule = rule(new._features.clone(last), rows, np.bincount(new._row_of_copy))
        return self

    @property
    def casts_votes(self):
        """Whether scores are votes, rather than estimates of the indicator of each class."""
        return self._rule.votes

    @of_one_fit
    def arrange(self, codes):
        """Put the labels of the training rows in the order of the weights' columns.

        Parameters
        ----------
        codes : ndarray of shape (n_train,), int
            Labels as integers, in the order of the rows given to :meth:`fit`.

        Returns
        -------
        codes : ndarray of shape (n_train,), int
            In canonical order; those of copies of one row, whose weights are equal, sorted.
        """
        return self._features.arrange(codes)

    @of_one_fit
    def map(self, function, X, *, tell_rows=False):
        """Apply a function to the weights of all test rows, block by block.

        Parameters
        ----------
        function : callable
            Takes weights of shape (n_block, n_train), with columns in canonical order, and
            returns a tuple of arrays of length n_block.
        X : array-like, sparse matrix, dataframe or sequence of str, of n_samples rows
            Test rows.
        tell_rows : bool, default=False
            Whether the function is also told which test rows these are: it is called with the
            weights and a slice.

        Returns
        -------
        results : list of ndarray
            The arrays of all blocks, concatenated. Where few different weights occur, as with
            cluster votes, the function sees each of them once, if it is not told the rows.
        """
        features = numeric_features(self._features.transform(X))
        keys = None if tell_rows else self._keys(features)
        if keys is not None:
            _, rows_of, inverse = np.unique(keys, return_index=True, return_inverse=True)
            features = features[rows_of]

        def then(weights, rows):
            weights = self._with_copies(weights)
            return function(weights, rows) if tell_rows else function(weights)

        blocks = map_blocks(
            self._weights,
            features,
            n_jobs=self.n_jobs,
            n_columns=self.n_train_,
            then=then,
            verbose=self.verbose,
        )
        arrays = [np.concatenate(parts) for parts in zip(*blocks, strict=True)]
        return arrays if keys is None else [array[inverse] for array in arrays]

    def _keys(self, features):
        """Return the cluster of every row where that decides its weights, else None."""
        if type(self._rule).keys is WeightsRule.keys:  # it knows of none
            return None
        return np.concatenate(list(map_blocks(self._rule.keys, features, n_jobs=1)))

    def _weights(self, rows):
        return np.asarray(self._rule.weights(rows))

    def _with_copies(self, weights):
        """Return weights of the different rows as weights of all rows."""
        if len(self._row_of_copy) == weights.shape[1]:
            return weights
        return weights[:, self._row_of_copy]

    @of_one_fit
    def iter_weights(self, X):
        """Yield the weights of blocks of test rows.

        Parameters
        ----------
        X : array-like, sparse matrix, dataframe or sequence of str, of n_samples rows
            Test rows.

        Yields
        ------
        rows : slice
            The test rows of the block.
        weights : ndarray of shape (n_block, n_train), float64
            Weight of every training row, in the order given to :meth:`fit`.
        """
        check_is_fitted(self, "order_")
        features = numeric_features(self._features.transform(X))
        place, start = np.argsort(self.order_), 0
        blocks = map_blocks(self._weights, features, n_jobs=1, n_columns=self.n_train_)
        for weights in blocks:
            rows = slice(start, start + len(weights))
            yield rows, self._with_copies(weights)[:, place]
            start = rows.stop
