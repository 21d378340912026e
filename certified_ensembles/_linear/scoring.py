"""Ask linear members by matrix products of a fixed shape."""

import bisect
import itertools
import math
import threading
from typing import Any, NamedTuple

import numpy as np
import scipy.sparse as sp
from joblib import effective_n_jobs
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.linear_model import (
    LogisticRegression,
    LogisticRegressionCV,
    PassiveAggressiveClassifier,
    Perceptron,
    RidgeClassifier,
    RidgeClassifierCV,
    SGDClassifier,
)
from sklearn.neighbors import NearestCentroid
from sklearn.pipeline import Pipeline
from sklearn.svm import LinearSVC
from sklearn.utils import check_array

from .._data.array_api import is_on_device
from .._data.containers import n_rows
from .._deterministic import one_thread
from .._jobs import in_turn
from .affine import fold, split
from .device import DeviceRows, DeviceScores, members_per_product, product_dtype

# Each predicts the class with the largest X @ coef_.T + intercept_ (two classes: by its sign).
# Exact types only: a subclass may predict in its own way.
_LINEAR = (
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

# Members that share one product, at most. A column of a product can round differently when the
# shape of the product changes, and at an exact tie rounding decides. So the shape is fixed by
# the numbers of members and of features: one product a class, for every stack of members,
# weights that are missing zero. A row with a new label then adds a product for that class and
# leaves every other as it was. The second number is for tables of more than _WIDE features.
_STACKED, _STACKED_WIDE, _WIDE = 240, 16, 2**14
# The weights of a stack of members are built up for as many classes at a time as fit into this
# many bytes, and for one class at least.
_WEIGHT_BYTES = 1 << 24


def _stacks(n_members, most):
    """Return the members of every product, and its width, to which the last is filled up."""
    width = -(-n_members // (8 * -(-n_members // most))) * 8
    return [slice(s, min(s + width, n_members)) for s in range(0, n_members, width)], width


def is_linear(members):
    """Say whether every member is linear, also behind affine steps, or constant, or missing."""
    trained = [m for m in members if m is not None and not is_constant(m)]
    return bool(trained) and all(_has_linear_scores(split(member)[1]) for member in trained)


def is_folded(members):
    """Say whether members have steps to fold: for those for which :func:`is_linear` holds."""
    return any(type(member) is Pipeline and len(member) > 1 for member in members)


def is_constant(member):
    """Say whether a member gives every row the one label of its own rows."""
    return getattr(type(member), "is_constant", False) is True


def _has_linear_scores(member):
    # By type and parameters alone: what the rows of one member do must not choose the way in
    # which all are asked.
    if type(member) is NearestCentroid:
        return member.metric == "euclidean" and member.priors == "uniform"
    return type(member) in _LINEAR


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


def linear_ballots(members, classes, blocks, dtype, n_jobs):
    """Return the ballots of linear members on blocks of test rows, all of one size.

    Parameters
    ----------
    members : list
        Members for which :func:`is_linear` holds.
    classes : ndarray of shape (n_classes,)
        Sorted labels.
    blocks : list of array-like or sparse matrix, or from `device_blocks`
        Test rows; float32 rows are multiplied in single precision, but for members with steps.
    dtype : numpy dtype
        Of the ballots.
    n_jobs : int or None

    Returns
    -------
    ballots : ndarray of shape (n_rows, n_members)
    """
    ballots = np.empty((len(blocks), n_rows(blocks[0]), len(members)), dtype=dtype)

    def fill(block_slice, stack, scores):
        for i, chosen in enumerate(scores.choices(), block_slice.start):
            choices = chosen[: stack.stop - stack.start].T.astype(dtype)
            np.subtract(choices, 1, out=ballots[i, :, stack])

    _over_stacks(fill, members, classes, blocks, n_jobs)
    return ballots.reshape(-1, len(members))


def linear_votes(members, classes, blocks, n_jobs):
    """Return how many of the ballots of :func:`linear_ballots` each class gets.

    Returns
    -------
    vote_counts : ndarray of shape (n_rows, n_classes), int64
    """
    votes = np.zeros((len(blocks), len(classes), n_rows(blocks[0])), dtype=np.int64)
    lock = threading.Lock()

    def add(block_slice, stack, scores):
        for i, c, counts in scores.counts():
            with lock:
                votes[block_slice.start + i, c] += counts

    _over_stacks(add, members, classes, blocks, n_jobs)
    return votes.transpose(0, 2, 1).reshape(-1, len(classes))


def linear_scores(members, classes, blocks, n_jobs):
    """Return the scores of linear members, as :func:`linear_ballots` compares them.

    Returns
    -------
    scores : ndarray of shape (n_rows, n_members, n_classes)
        Up to a summand that is the same for all classes of a member; -inf for a class that it
        has not seen, and throughout for a missing member.
    """
    shape = len(blocks), n_rows(blocks[0]), len(members), len(classes)
    out = np.full(shape, -np.inf, dtype=_precision(members, blocks))

    def fill(block_slice, stack, scores):
        for c, i, score in scores:
            known = score[: stack.stop - stack.start].T
            out[block_slice.start + i, :, stack, c] = np.where(np.isnan(known), -np.inf, known)

    _over_stacks(fill, members, classes, blocks, n_jobs)
    return out.reshape(-1, len(members), len(classes))


def _precision(members, blocks):
    if is_folded(members):
        return np.float64
    if is_on_device(blocks[0]):
        return product_dtype(blocks[0])
    return np.float32 if getattr(blocks[0], "dtype", None) == np.float32 else np.float64


def _over_stacks(consume, members, classes, blocks, n_jobs):
    """Call ``consume(block_slice, stack, scores)`` for all stacks of members, in threads.

    Both are slices: those blocks and those members whose scores are given.
    """
    if is_on_device(blocks[0]):
        _over_stacks_on_device(consume, members, classes, blocks)
        return
    dtype = _precision(members, blocks)
    blocks = [
        _with_intercept_column(check_array(b, accept_sparse="csr", dtype=dtype)) for b in blocks
    ]
    n_features = blocks[0].shape[1] - 1
    stacks, width = _stacks(len(members), _STACKED if n_features <= _WIDE else _STACKED_WIDE)
    n_whole, n_parts = _divide_among_threads(len(stacks), effective_n_jobs(n_jobs))
    bounds = np.linspace(0, len(blocks), min(len(blocks), n_parts) + 1).astype(int).tolist()
    parts = [(stack, 0, len(blocks)) for stack in stacks[:n_whole]]
    parts += [(stack, *part) for stack in stacks[n_whole:] for part in itertools.pairwise(bounds)]

    @one_thread()
    def work(stack, a, b):
        with np.errstate(all="ignore"):  # weights beyond single precision
            tables = [_score_table(member, classes) for member in members[stack]]
            weights = _StackWeights(tables, width, n_features, dtype)
            consume(slice(a, b), stack, _StackScores(weights, len(classes), blocks[a:b]))

    for _ in in_turn(work, parts, n_jobs, require="sharedmem"):
        pass  # each fills its own part


def _divide_among_threads(n_stacks, n_jobs):
    """Return how many stacks one thread does each, and into how many parts the others are cut.

    All threads then have as much to do. A stack that is cut fills its weights once a part.
    """
    rest = n_stacks % n_jobs
    return n_stacks - rest, n_jobs // math.gcd(rest, n_jobs)


def _over_stacks_on_device(consume, members, classes, blocks):
    """Do the same on the device of the blocks, on one stream, where products repeat themselves."""
    rows = DeviceRows(blocks)
    stacks, width = _stacks(len(members), members_per_product(rows.n_features))
    for stack in stacks:
        tables = [_score_table(member, classes) for member in members[stack]]
        with np.errstate(all="ignore"):  # weights beyond single precision
            weights = _StackWeights(tables, width, rows.n_features, rows.dtype)
            consume(slice(0, len(blocks)), stack, DeviceScores(weights, len(classes), rows))


def _with_intercept_column(block):
    """Append a feature that is one, so that a product includes the intercepts."""
    if not isinstance(block, np.ndarray):
        return sp.hstack([block, np.ones((block.shape[0], 1), block.dtype)], format="csr")
    wider = np.ones((len(block), block.shape[1] + 1), block.dtype)
    wider[:, :-1] = block
    return wider


class _ScoreTable(NamedTuple):
    """The weights of one member, by class.

    A class scores ``x @ (coef - base) + intercept``, one class zero throughout. A member without
    any class is missing.
    """

    codes: Any  # ndarray of shape (n_weighted,): class indices, in order
    coef: Any  # ndarray of shape (n_weighted, n_features)
    base: Any  # ndarray of shape (n_features,), or None for zeros
    intercept: Any  # ndarray of shape (n_weighted,)
    zero: Any  # the class that scores zero, or None


def _score_table(member, classes):
    if member is None or is_constant(member):
        zero = None if member is None else np.searchsorted(classes, member.classes_)[0]
        return _ScoreTable(np.empty(0, dtype=np.intp), None, None, None, zero)
    steps, head = split(member)
    table = _head_table(head, classes)
    if not steps:
        return table
    coef = table.coef if table.base is None else table.coef - table.base
    coef, intercept = fold(steps, coef, table.intercept)
    return table._replace(coef=coef, base=None, intercept=intercept)


def _head_table(member, classes):
    codes = classes.searchsorted(member.classes_)
    if type(member) is NearestCentroid:  # |x - c|^2 is least where x.c - |c|^2 / 2 is largest
        coef = member.centroids_
        with np.errstate(over="ignore", invalid="ignore"):  # such a class never wins
            intercept = -np.vecdot(coef, coef) / 2
    else:
        coef, intercept = member.coef_, member.intercept_
        coef = coef if coef.ndim == 2 else coef[None]
        if np.shape(intercept) != (len(coef),):  # without intercepts it may be a number
            intercept = np.broadcast_to(intercept, len(coef))
    if len(coef) < len(codes):  # the sign decides, and zero goes to the smaller class
        return _ScoreTable(codes[1:], coef[:1], None, intercept[:1], codes[0])
    if np.isfinite(coef[0]).all() and np.isfinite(intercept[0]):
        # By how much a score is above that of the first class: one product less.
        return _ScoreTable(codes[1:], coef[1:], coef[0], intercept[1:] - intercept[0], codes[0])
    return _ScoreTable(codes, coef, None, intercept, None)


class _StackWeights:
    """The weights of one stack of members, some classes at a time.

    Parameters
    ----------
    tables : list of _ScoreTable
    width : int
        Members in a product: beyond the tables there are members without classes.
    n_features : int
    dtype : dtype

    Attributes
    ----------
    present : list of int
        The classes that a member knows, in order.
    """

    def __init__(self, tables, width, n_features, dtype):
        self.shape, self.dtype = (width, n_features + 1), dtype
        known = [table.codes for table in tables]
        known.append([table.zero for table in tables if table.zero is not None])
        present = np.unique(np.concatenate(known).astype(np.intp))
        self.present = present.tolist()
        # Where each member's classes stand among those present, and its class of score zero.
        self._placed = [
            (
                table,
                present.searchsorted(table.codes),
                -1 if table.zero is None else bisect.bisect_left(self.present, table.zero),
            )
            for table in tables
        ]

    def __iter__(self):
        """Yield ``(classes, weights, whether any member has weights for each of them)``.

        Weights are of shape (n_classes, width, n_features + 1), the intercepts last, and are
        overwritten each time. A member without the class gets the score -inf.
        """
        class_bytes = np.dtype(self.dtype).itemsize * self.shape[0] * self.shape[1]
        step = max(1, min(_WEIGHT_BYTES // class_bytes, len(self.present)))
        weights = np.empty((step, *self.shape), self.dtype)
        for start in range(0, len(self.present), step):
            classes = self.present[start : start + step]
            some = weights[: len(classes)]
            yield classes, some, self._fill(start, len(classes), some)

    def _fill(self, start, n_classes, weights):
        weights[:, :, :-1], weights[:, :, -1] = 0.0, -np.inf
        weighted = np.zeros(n_classes, dtype=bool)
        for i, ((_, coef, base, intercept, _), place, zero) in enumerate(self._placed):
            if start <= zero < start + n_classes:
                weights[zero - start, i, -1] = 0.0
            first, last = 0, len(place)
            if n_classes < len(self.present):
                first, last = place.searchsorted((start, start + n_classes)).tolist()
            if first == last:
                continue
            if last - first < len(place):
                coef, intercept = coef[first:last], intercept[first:last]
            place = place[first:last] - start
            weights[place, i, :-1] = coef if base is None else coef - base
            weights[place, i, -1] = intercept
            weighted[place] = True
        return weighted


class _StackScores:
    """The scores of one stack of members on some blocks of test rows."""

    def __init__(self, weights, n_classes, blocks):
        self.weights, self.n_classes, self.blocks = weights, n_classes, blocks

    def __iter__(self):
        """Yield ``(class, block, scores of shape (width, n_rows))``, overwritten each time.

        A block comes with all of its classes in order, as far as these fit in memory at once.
        """
        score = np.empty((self.weights.shape[0], self.blocks[0].shape[0]), self.weights.dtype)
        dense = isinstance(self.blocks[0], np.ndarray)
        for classes, weights, weighted in self.weights:
            turned = weights.transpose(0, 2, 1)
            if not dense:
                turned = [np.ascontiguousarray(columns) for columns in turned]
            for i, block in enumerate(self.blocks):
                for j, c in enumerate(classes):
                    if not weighted[j]:  # nothing but zeros to multiply
                        score[...] = weights[j, :, -1:]
                    elif dense:
                        np.matmul(weights[j], block.T, out=score)
                    else:
                        score[...] = (block @ turned[j]).T
                    yield c, i, score

    def choices(self):
        """Return for each block the index of the best class plus one, zero without any.

        A score that is not a number never wins, and ties go to the smaller class.
        """
        shape = len(self.blocks), self.weights.shape[0], self.blocks[0].shape[0]
        best = np.full(shape, -np.inf, self.weights.dtype)
        chosen = np.zeros(shape, np.min_scalar_type(self.n_classes))
        better, mark = np.empty(shape[1:], bool), np.empty(shape[1:], chosen.dtype)
        for c, i, score in self:
            # Classes come in order: the last that beats all before it is marked highest.
            np.greater(score, best[i], out=better)
            np.multiply(better.view(np.uint8), chosen.dtype.type(c + 1), out=mark)
            np.maximum(chosen[i], mark, out=chosen[i])
            np.fmax(best[i], score, out=best[i])
        return chosen

    def counts(self):
        """Yield ``(block, class, how many members choose it on each row)``."""
        for i, chosen in enumerate(self.choices()):
            for c in self.weights.present:
                yield i, c, _column_sums(np.equal(chosen, c + 1).view(np.uint8))


def _column_sums(indicator):
    """Sum zeros and ones of shape (width, n_rows) over the members, overwriting them."""
    while len(indicator) % 2 == 0:  # halves: fewer and longer sums than row by row
        half = len(indicator) // 2
        indicator = np.add(indicator[:half], indicator[half:], out=indicator[:half])
    return np.add.reduce(indicator, axis=0, dtype=np.uint8)  # stacks are narrower than 255
