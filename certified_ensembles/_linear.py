"""Linear members: ridge solved directly, ballots by matrix products of a fixed shape."""

import functools
import itertools
import pickle
from numbers import Real

import numpy as np
from joblib import effective_n_jobs
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.dummy import DummyClassifier
from sklearn.linear_model import (
    LogisticRegression,
    LogisticRegressionCV,
    Perceptron,
    RidgeClassifier,
    RidgeClassifierCV,
    SGDClassifier,
)
from sklearn.neighbors import NearestCentroid
from sklearn.svm import LinearSVC
from sklearn.utils import check_array
from sklearn.utils.parallel import Parallel, delayed

from ._containers import n_rows

# Each predicts the class with the largest X @ coef_.T + intercept_ (two classes: by its sign).
# Exact types only: a subclass may predict in its own way.
_LINEAR = (
    LinearDiscriminantAnalysis,
    LinearSVC,
    LogisticRegression,
    LogisticRegressionCV,
    Perceptron,
    RidgeClassifier,
    RidgeClassifierCV,
    SGDClassifier,
)

# Members that share one product. A column of a product can round differently when the
# shape of the product changes, and at an exact tie rounding decides. So the shape is fixed:
# one product a class, always this many members wide, the missing ones zero. A row with a
# new label then adds a product for that class and leaves every other as it was.
_STACKED, _STACKED_WIDE, _WIDE = 128, 16, 2**14


def _stack_width(n_features):
    """Return the fixed number of members in a product; fewer for wide (text) features."""
    return _STACKED if n_features <= _WIDE else _STACKED_WIDE


def is_plain_ridge(estimator, X):
    """Say whether :func:`fit_ridge` gives what ``estimator.fit(X, y)`` would."""
    return (
        type(estimator) is RidgeClassifier
        and estimator.solver in ("auto", "cholesky")
        and estimator.class_weight is None
        and not estimator.positive
        and isinstance(estimator.alpha, Real)
        and estimator.alpha > 0
        and isinstance(X, np.ndarray)
        and X.ndim == 2
        and X.dtype.kind in "biuf"  # a fraction in some other row must not choose the solver
    )


def fit_ridge(estimator, X, y):
    """Fit a ridge classifier by its closed form, as scikit-learn does, in a tenth of the time.

    On a few dozen rows scikit-learn spends nine tenths of the time on checks that the
    ensemble has made once for all members.
    """
    X = X.astype(np.float64, copy=False)
    classes, codes = np.unique(y, return_inverse=True)
    Y = np.where(codes[:, None] == np.arange(len(classes)), 1.0, -1.0)
    Y = Y[:, 1:] if len(classes) == 2 else Y
    X_mean, Y_mean = np.zeros(X.shape[1]), np.zeros(Y.shape[1])
    with np.errstate(all="ignore"):
        if estimator.fit_intercept:
            X_mean, Y_mean = X.mean(axis=0), Y.mean(axis=0)
            X, Y = X - X_mean, Y - Y_mean
        wide = len(X) < X.shape[1]
        gram = X @ X.T if wide else X.T @ X
        gram.flat[:: len(gram) + 1] += estimator.alpha
        try:
            coef = np.linalg.solve(gram, Y).T @ X if wide else np.linalg.solve(gram, X.T @ Y).T
        except np.linalg.LinAlgError:
            coef = np.array(np.nan)
        if not np.isfinite(coef).all():
            # Values so large that alpha drowns or squares overflow: one hostile row must not
            # stop the training of all members.
            try:
                U, s, Vt = np.linalg.svd(X, full_matrices=False)
                coef = (
                    U.T @ Y * np.where(s > 0, 1 / (s + estimator.alpha / s), 0)[:, None]
                ).T @ Vt
            except np.linalg.LinAlgError:
                X_mean, coef = np.zeros(X.shape[1]), np.zeros((Y.shape[1], X.shape[1]))
    fitted = _fitted_on(pickle.dumps(classes))
    vars(estimator).update(fitted)
    # Whether two classes give one row of coefficients or a vector differs among versions.
    estimator.coef_ = coef.reshape(*fitted["coef_"].shape[:-1], -1)
    estimator.n_features_in_ = X.shape[1]
    if estimator.fit_intercept:
        estimator.intercept_ = (Y_mean - coef @ X_mean).reshape(np.shape(fitted["intercept_"]))
    else:
        estimator.intercept_ = 0.0
    return estimator


@functools.lru_cache(maxsize=256)
def _fitted_on(pickled_classes):
    """Return the attributes that scikit-learn's own fit sets for these classes."""
    classes = pickle.loads(pickled_classes)
    template = RidgeClassifier().fit(np.zeros((len(classes), 1)), classes)
    return {
        name: value for name, value in vars(template).items() if name[0] == "_" or name[-1] == "_"
    }


def is_linear(voters):
    """Say whether every member is linear, or constant, or missing."""
    trained = [v for v in voters if v is not None and type(v) is not DummyClassifier]
    return bool(trained) and all(map(_has_linear_scores, trained))


def _has_linear_scores(voter):
    # By type and parameters alone: what the rows of one member do must not choose the way in
    # which all are asked.
    if type(voter) is NearestCentroid:
        return voter.metric == "euclidean" and voter.priors == "uniform"
    return type(voter) in _LINEAR


def linear_ballots(voters, classes, blocks, dtype, n_jobs):
    """Return the ballots of linear members on blocks of test rows, all of one size.

    Parameters
    ----------
    voters : list
        Members for which :func:`is_linear` holds.
    classes : ndarray of shape (n_classes,)
        Sorted labels.
    blocks : list of array-like or sparse matrix
        Test rows; float32 rows are multiplied in single precision.
    dtype : numpy dtype
        Of the ballots.
    n_jobs : int or None

    Returns
    -------
    ballots : ndarray of shape (n_rows, n_members)
    """
    size = n_rows(blocks[0])
    ballots = np.empty((len(blocks), size, len(voters)), dtype=dtype)

    def vote(part, members, scores):  # a score that is not a number never wins
        shape = (len(scores.blocks), size, scores.width)
        best, ballot = np.full(shape, -np.inf, scores.dtype), np.full(shape, -1, dtype)
        better = np.empty(shape[1:], bool)
        for c, i, score in scores:
            np.greater(score, best[i], out=better)  # strictly: ties stay with the smaller class
            np.copyto(best[i], score, where=better)
            np.copyto(ballot[i], c, where=better)
        ballots[part, :, members] = ballot[:, :, : members.stop - members.start]

    _over_stacks(vote, voters, classes, blocks, n_jobs)
    return ballots.reshape(-1, len(voters))


def linear_scores(voters, classes, blocks, n_jobs):
    """Return the scores of linear members, as :func:`linear_ballots` compares them.

    Returns
    -------
    scores : ndarray of shape (n_rows, n_members, n_classes)
        -inf for a class that a member has not seen, and throughout for a missing member.
    """
    size = n_rows(blocks[0])
    out = np.empty((len(blocks), size, len(voters), len(classes)), dtype=_precision(blocks))
    out.fill(-np.inf)

    def note(part, members, scores):
        for c, i, score in scores:
            own = score[:, : members.stop - members.start]
            out[part.start + i, :, members, c] = np.where(np.isnan(own), -np.inf, own)

    _over_stacks(note, voters, classes, blocks, n_jobs)
    return out.reshape(-1, len(voters), len(classes))


def _precision(blocks):
    return np.float32 if getattr(blocks[0], "dtype", None) == np.float32 else np.float64


def _over_stacks(consume, voters, classes, blocks, n_jobs):
    """Call consume on the scores of every stack of members, in threads."""
    dtype = _precision(blocks)
    blocks = [check_array(block, accept_sparse="csr", dtype=dtype) for block in blocks]
    tables = [_as_table(voter, classes) for voter in voters]
    width = _stack_width(blocks[0].shape[1])
    stacks = [slice(s, min(s + width, len(voters))) for s in range(0, len(voters), width)]
    n_parts = min(len(blocks), -(-2 * effective_n_jobs(n_jobs) // len(stacks)))
    bounds = np.linspace(0, len(blocks), n_parts + 1).astype(int)

    def work(stack, a, b):
        with np.errstate(all="ignore"):  # weights beyond single precision
            scores = _StackScores(tables[stack], len(classes), blocks[a:b], dtype)
            consume(slice(a, b), stack, scores)

    Parallel(n_jobs=n_jobs, require="sharedmem")(
        delayed(work)(stack, a, b) for stack in stacks for a, b in itertools.pairwise(bounds)
    )


def _as_table(voter, classes):
    """Return {class index: (weights or None, intercept)} of one member."""
    if voter is None:
        return {}
    codes = np.searchsorted(classes, voter.classes_)
    if type(voter) is DummyClassifier:
        return {int(codes[0]): (None, 0.0)}
    if type(voter) is NearestCentroid:  # |x - c|^2 is least where 2 x.c - |c|^2 is largest
        return {
            int(code): (2 * centroid, -(centroid @ centroid))
            for code, centroid in zip(codes, voter.centroids_, strict=True)
        }
    coef = np.atleast_2d(voter.coef_)
    intercept = np.broadcast_to(voter.intercept_, len(coef))
    if len(codes) == 2:  # the sign decides, and zero goes to the smaller class
        codes, first = codes[1:], {int(codes[0]): (None, 0.0)}
    else:
        first = {}
    return first | {int(c): (w, b) for c, w, b in zip(codes, coef, intercept, strict=True)}


class _StackScores:
    """Iterate over ``(class, block, scores)`` of one stack of members; scores are overwritten."""

    def __init__(self, tables, n_classes, blocks, dtype):
        self.tables, self.n_classes, self.blocks, self.dtype = tables, n_classes, blocks, dtype
        self.width = _stack_width(blocks[0].shape[1])

    def __iter__(self):
        size, n_features = self.blocks[0].shape
        score = np.empty((size, self.width), self.dtype)
        dense = isinstance(self.blocks[0], np.ndarray)
        for c in range(self.n_classes):
            if not any(c in table for table in self.tables):
                continue
            weights, bias = self._of_class(c, n_features)
            if weights is not None:
                weights = weights.T if dense else np.ascontiguousarray(weights.T)
            for i, block in enumerate(self.blocks):
                if weights is None:
                    score[...] = 0.0
                elif dense:
                    np.matmul(block, weights, out=score)
                else:
                    score[...] = block @ weights
                np.add(score, bias, out=score)
                yield c, i, score

    def _of_class(self, c, n_features):
        """Stack the weights of one class; a member without it gets the score -inf."""
        weights, bias = None, np.full(self.width, -np.inf, self.dtype)
        for j, table in enumerate(self.tables):
            if c in table:
                w, bias[j] = table[c]
                if w is not None:
                    if weights is None:
                        weights = np.zeros((self.width, n_features), self.dtype)
                    weights[j] = w
        return weights, bias
