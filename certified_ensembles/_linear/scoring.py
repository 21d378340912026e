"""Ask linear members by matrix products of a fixed shape."""

import itertools
import math
import threading

import numpy as np
import scipy.sparse as sp
from joblib import effective_n_jobs
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.linear_model import (
    ARDRegression,
    BayesianRidge,
    ElasticNet,
    ElasticNetCV,
    HuberRegressor,
    Lars,
    LarsCV,
    Lasso,
    LassoCV,
    LassoLars,
    LassoLarsCV,
    LassoLarsIC,
    LinearRegression,
    LogisticRegression,
    LogisticRegressionCV,
    OrthogonalMatchingPursuit,
    OrthogonalMatchingPursuitCV,
    PassiveAggressiveClassifier,
    Perceptron,
    QuantileRegressor,
    Ridge,
    RidgeClassifier,
    RidgeClassifierCV,
    RidgeCV,
    SGDClassifier,
    SGDRegressor,
    TheilSenRegressor,
)
from sklearn.neighbors import NearestCentroid
from sklearn.pipeline import Pipeline
from sklearn.svm import LinearSVC, LinearSVR
from sklearn.utils import check_array

from .._data.array_api import is_on_device
from .._deterministic import one_thread
from .._jobs import in_turn
from .affine import split
from .device import DeviceRows, DeviceScores, members_per_product, product_dtype
from .weights import all_weights, is_constant

# Each predicts the class with the largest X @ coef_.T + intercept_ (two classes: by its sign).
# Exact types only: a subclass may predict in its own way.
_LINEAR = frozenset(
    (
        LinearDiscriminantAnalysis,
        LinearSVC,
        LogisticRegression,
        LogisticRegressionCV,
        PassiveAggressiveClassifier,
        Perceptron,
        RidgeClassifier,
        RidgeClassifierCV,
        SGDClassifier,
    )
)
# Each predicts the one number X @ coef_ + intercept_.
_LINEAR_REGRESSORS = frozenset(
    (
        ARDRegression,
        BayesianRidge,
        ElasticNet,
        ElasticNetCV,
        HuberRegressor,
        Lars,
        LarsCV,
        Lasso,
        LassoCV,
        LassoLars,
        LassoLarsCV,
        LassoLarsIC,
        LinearRegression,
        LinearSVR,
        OrthogonalMatchingPursuit,
        OrthogonalMatchingPursuitCV,
        QuantileRegressor,
        Ridge,
        RidgeCV,
        SGDRegressor,
        TheilSenRegressor,
    )
)

# Members that share one product, at most. A column of a product can round differently when the
# shape of the product changes, and at an exact tie rounding decides. So the shape is fixed by
# the numbers of members and of features: one product a class, for every stack of members,
# weights that are missing zero. A row with a new label then adds a product for that class and
# leaves every other as it was. The second number is for tables of more than _WIDE features.
_STACKED, _STACKED_WIDE, _WIDE = 240, 16, 2**14
# Rows of a product, if a block is a multiple of it: more would gain little, and whoever asks about
# one row waits for all.
_ROWS = 128
# Scores that are worked on at once, since they stay in a processor's cache. Threads that ask about
# single rows wait for one another at each call of numpy: several classes share one.
_SCORES = 1 << 17
# Classes whose votes are counted by one call: all that fit into a processor's cache, since threads
# that ask about single rows wait for one another at each call.
_COUNTED = 16


def _stacks(n_members, most):
    """Return the members of every product, and its width, to which the last is filled up."""
    width = -(-n_members // (8 * -(-n_members // most))) * 8
    return [slice(s, min(s + width, n_members)) for s in range(0, n_members, width)], width


def is_linear(members):
    """Say whether every member is linear, also behind affine steps, or constant, or missing."""
    trained = [m for m in members if type(m) in _LINEAR or not (m is None or is_constant(m))]
    return bool(trained) and all(_has_linear_scores(split(member)[1]) for member in trained)


def is_folded(members):
    """Say whether members have steps to fold: for those for which :func:`is_linear` holds."""
    return Pipeline in set(map(type, members))


def _has_linear_scores(member):
    # By type and parameters alone: what the rows of one member do must not choose the way in
    # which all are asked.
    if type(member) is NearestCentroid:
        return member.metric == "euclidean" and member.priors == "uniform"
    return type(member) in _LINEAR or type(member) in _LINEAR_REGRESSORS


def has_finite_weights(member):
    """Say whether the weights of a linear member, or of a pipeline's last step, are numbers.

    Of other members nothing is known, and the answer is True.
    """
    last = member.steps[-1][1] if isinstance(member, Pipeline) and len(member) else member
    if not _has_linear_scores(last):
        return True
    if type(last) is NearestCentroid:
        return bool(np.isfinite(last.centroids_).all())
    return bool(np.isfinite(last.coef_).all() and np.isfinite(last.intercept_).all())


def linear_ballots(members, classes, blocks, n_asked, dtype, n_jobs):
    """Return the ballots of linear members on blocks of test rows, all of one size.

    Parameters
    ----------
    members : list
        Members for which :func:`is_linear` holds.
    classes : ndarray of shape (n_classes,)
        Sorted labels.
    blocks : list of array-like or sparse matrix, or from `device_blocks`
        Test rows; float32 rows are multiplied in single precision, but for members with steps.
    n_asked : int
        Rows to answer, from the first: others only fill up the last block, which must have the
        size of any.
    dtype : numpy dtype
        Of the ballots.
    n_jobs : int or None

    Returns
    -------
    ballots : ndarray of shape (n_asked, n_members)
    """
    ballots = np.empty((n_asked, len(members)), dtype=dtype)

    def fill(stack, scores):
        for rows, chosen in scores.choices():
            choices = chosen[: stack.stop - stack.start].T.astype(dtype)
            np.subtract(choices, 1, out=ballots[rows, stack])

    _over_stacks(fill, members, classes, blocks, n_asked, n_jobs)
    return ballots


def linear_votes(members, classes, blocks, n_asked, n_jobs):
    """Return how many of the ballots of :func:`linear_ballots` each class gets.

    Returns
    -------
    vote_counts : ndarray of shape (n_asked, n_classes), int64
    """
    votes = np.zeros((len(classes), n_asked), dtype=np.int64)
    lock = threading.Lock()

    def add(stack, scores):
        for rows, c, counts in scores.counts():
            with lock:
                votes[c, rows] += counts

    _over_stacks(add, members, classes, blocks, n_asked, n_jobs)
    return np.ascontiguousarray(votes.T)


def linear_scores(members, classes, blocks, n_asked, n_jobs):
    """Return the scores of linear members, as :func:`linear_ballots` compares them.

    Returns
    -------
    scores : ndarray of shape (n_asked, n_members, n_classes)
        Up to a summand that is the same for all classes of a member; -inf for a class that it
        has not seen, and throughout for a missing member.
    """
    shape = n_asked, len(members), len(classes)
    out = np.full(shape, -np.inf, dtype=_precision(members, blocks))

    def fill(stack, scores):
        for c, rows, score in scores:
            known = score[: stack.stop - stack.start].T
            out[rows, stack, c] = np.where(np.isnan(known), -np.inf, known)

    _over_stacks(fill, members, classes, blocks, n_asked, n_jobs)
    return out


def linear_values(members, blocks, n_asked, n_jobs):
    """Return the numbers that linear regressors answer.

    Parameters
    ----------
    members, blocks, n_asked, n_jobs
        As in :func:`linear_ballots`.

    Returns
    -------
    values : ndarray of shape (n_asked, n_members), float64
        NaN for a missing member, and where the answer is no number.
    """
    values = np.empty((n_asked, len(members)))

    def fill(stack, scores):
        for _, rows, score in scores:
            values[rows, stack] = score[: stack.stop - stack.start].T

    _over_stacks(fill, members, None, blocks, n_asked, n_jobs)
    values[:, [j for j, member in enumerate(members) if member is None]] = np.nan
    return values


def _precision(members, blocks):
    if is_folded(members):
        return np.float64
    if is_on_device(blocks[0]):
        return product_dtype(blocks[0])
    return np.float32 if getattr(blocks[0], "dtype", None) == np.float32 else np.float64


def _over_stacks(consume, members, classes, blocks, n_asked, n_jobs):
    """Call ``consume(stack, scores)`` for all stacks of members, in threads.

    A stack is a slice of the members; its scores may come in several calls, of other rows each.
    """
    if is_on_device(blocks[0]):
        _over_stacks_on_device(consume, members, classes, blocks, n_asked)
        return
    dtype = _precision(members, blocks)
    blocks = [_checked(block, dtype) for block in blocks]
    n_features = blocks[0].shape[1]
    products = list(_products(blocks, n_asked))
    stacks, width = _stacks(len(members), _STACKED if n_features <= _WIDE else _STACKED_WIDE)
    weights = all_weights(members, classes, stacks, width, n_features, dtype)
    n_whole, n_parts = _divide_among_threads(len(stacks), effective_n_jobs(n_jobs))
    bounds = np.linspace(0, len(products), min(len(products), n_parts) + 1).astype(int).tolist()

    def parts():
        for i, (stack, own) in enumerate(zip(stacks, weights, strict=True)):
            for a, b in [(0, len(products))] if i < n_whole else itertools.pairwise(bounds):
                yield stack, own, a, b

    @one_thread()
    def work(stack, weights, a, b):
        with np.errstate(all="ignore"):  # weights beyond single precision
            consume(stack, _StackScores(weights, _n_classes(classes), products[a:b]))

    for _ in in_turn(work, parts(), n_jobs, require="sharedmem"):
        pass  # each fills its own part


def _n_classes(classes):
    return 1 if classes is None else len(classes)


def _checked(block, dtype):
    """Return rows as scikit-learn checks them, which takes as long as the product of a few."""
    plain = type(block) is np.ndarray and block.dtype == dtype and block.ndim == 2 and block.size
    if plain and math.isfinite(np.vdot(block, block)):
        return block
    return check_array(block, accept_sparse="csr", dtype=dtype)


def _products(blocks, n_asked):
    """Yield ``(rows that are asked about, the factor that holds them)`` of blocks of one size.

    Dense factors are all of one shape, and those that nobody asks about are left out. A sparse
    product goes row by row: its factor has no other rows than those.
    """
    size, dense = blocks[0].shape[0], isinstance(blocks[0], np.ndarray)
    step = _ROWS if dense and size % _ROWS == 0 else size
    for start in range(0, n_asked, step):
        rows = slice(start, min(start + step, n_asked))
        i, first = divmod(start, size)
        last = first + (step if dense else rows.stop - start)
        yield rows, _with_intercept_column(blocks[i][first:last])


def _divide_among_threads(n_stacks, n_jobs):
    """Return how many stacks one thread does each, and into how many parts the others are cut.

    All threads then have as much to do. A stack that is cut fills its weights once a part.
    """
    rest = n_stacks % n_jobs
    return n_stacks - rest, n_jobs // math.gcd(rest, n_jobs)


def _over_stacks_on_device(consume, members, classes, blocks, n_asked):
    """Do the same on the device of the blocks, on one stream, where products repeat themselves."""
    rows = DeviceRows(blocks, n_asked)
    stacks, width = _stacks(len(members), members_per_product(rows.n_features))
    weights = all_weights(members, classes, stacks, width, rows.n_features, rows.dtype)
    for stack, own in zip(stacks, weights, strict=True):
        with np.errstate(all="ignore"):  # weights beyond single precision
            consume(stack, DeviceScores(own, _n_classes(classes), rows))


def _with_intercept_column(block):
    """Append a feature that is one, so that a product includes the intercepts."""
    if not isinstance(block, np.ndarray):
        return sp.hstack([block, np.ones((block.shape[0], 1), block.dtype)], format="csr")
    wider = np.ones((len(block), block.shape[1] + 1), block.dtype)
    wider[:, :-1] = block
    return wider


class _StackScores:
    """The scores of one stack of members on rows that :func:`_products` yields."""

    def __init__(self, weights, n_classes, products):
        self.weights, self.n_classes, self.products = weights, n_classes, products

    def __iter__(self):
        """Yield ``(class, rows, scores of shape (width, n_rows))``, overwritten each time."""
        for c, i, score in self._in_turn():
            yield c, self.products[i][0], score

    def _in_turn(self):
        """Yield the same with the place of the product for its rows.

        Each comes with all of its classes in order, as far as their weights fit in memory at
        once.
        """
        rows, factors = zip(*self.products, strict=True)
        shape = self.weights.shape[0], factors[0].shape[0]
        most = min(max(1, _SCORES // math.prod(shape)), len(self.weights.present))
        scores = np.empty((most, *shape), self.weights.dtype)
        known = [scores[:, :, : own.stop - own.start] for own in rows]
        dense = isinstance(factors[0], np.ndarray)
        for classes, weights, weighted in self.weights:
            runs = list(_runs(weighted.tolist(), most))
            turned = None if dense else np.ascontiguousarray(weights.transpose(0, 2, 1))
            for i, factor in enumerate(factors):
                for run, has_weights in runs:
                    own = known[i][: run.stop - run.start]
                    if not has_weights:  # nothing but zeros to multiply
                        own[...] = weights[run, :, -1:]
                    elif dense:  # one product a class, of the same shape for every row
                        np.matmul(weights[run], factor.T, out=scores[: len(own)])
                    else:
                        for score, columns in zip(own, turned[run], strict=True):
                            score[...] = (factor @ columns).T
                    yield from zip(classes[run], itertools.repeat(i), own)

    def choices(self):
        """Return rows with the index of the best class plus one, zero without any.

        A score that is not a number never wins, and ties go to the smaller class.
        """
        width, code = self.weights.shape[0], np.min_scalar_type(self.n_classes).type
        sizes = [rows.stop - rows.start for rows, _ in self.products]
        best = [np.full((width, n), -np.inf, self.weights.dtype) for n in sizes]
        chosen = [np.zeros((width, n), code) for n in sizes]
        for c, i, score in self._in_turn():
            # Classes come in order: the last that beats all before it is marked highest.
            mark = np.greater(score, best[i]).view(np.uint8) * code(c + 1)
            np.maximum(chosen[i], mark, out=chosen[i])
            np.fmax(best[i], score, out=best[i])
        return [(rows, own) for (rows, _), own in zip(self.products, chosen, strict=True)]

    def counts(self):
        """Yield ``(rows, class, how many members choose it on each row)``."""
        present = self.weights.present
        parts = [present[i : i + _COUNTED] for i in range(0, len(present), _COUNTED)]
        for rows, chosen in self.choices():
            for classes in parts:
                codes = np.array(classes, chosen.dtype)[:, None, None] + 1
                counts = _sums_over_members(np.equal(chosen, codes).view(np.uint8))
                yield from zip(itertools.repeat(rows), classes, counts)


def _runs(flags, most):
    """Yield ``(slice, flag)``: the same flag several times in a row, up to `most` times."""
    start = 0
    for flag, run in itertools.groupby(flags):
        stop = start + len(list(run))
        for first in range(start, stop, most):
            yield slice(first, min(first + most, stop)), flag
        start = stop


def _sums_over_members(indicator):
    """Sum zeros and ones of shape (n, width, n_rows) over the members, overwriting them."""
    while indicator.shape[1] % 2 == 0:  # halves: fewer and longer sums than row by row
        half = indicator.shape[1] // 2
        indicator = np.add(indicator[:, :half], indicator[:, half:], out=indicator[:, :half])
    return np.add.reduce(indicator, axis=1, dtype=np.uint8)  # stacks are narrower than 255
