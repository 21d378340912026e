"""Linear members: trained in batches, asked by matrix products of a fixed shape."""

import functools
import itertools
import threading

import numpy as np
import scipy.sparse as sp
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
from ._device import DeviceRows, DeviceScores, is_on_device, precision, stacked
from ._heads import heads_trainer

__all__ = ["heads_trainer", "is_linear", "linear_ballots", "linear_scores", "linear_votes"]

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

# Members that share one product, at most. A column of a product can round differently when the
# shape of the product changes, and at an exact tie rounding decides. So the shape is fixed by
# the numbers of members and of features: one product a class, for every stack of members,
# weights that are missing zero. A row with a new label then adds a product for that class and
# leaves every other as it was.
_STACKED, _STACKED_WIDE, _WIDE = 240, 16, 2**14


def _stacks(n_members, most):
    """Return the members of every product, and its width, up to which the last is filled."""
    width = -(-n_members // (8 * -(-n_members // most))) * 8
    return [slice(s, min(s + width, n_members)) for s in range(0, n_members, width)], width


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
    blocks : list of array-like or sparse matrix, or from `device_blocks`
        Test rows; float32 rows are multiplied in single precision.
    dtype : numpy dtype
        Of the ballots.
    n_jobs : int or None

    Returns
    -------
    ballots : ndarray of shape (n_rows, n_members)
    """
    ballots = np.empty((len(blocks), n_rows(blocks[0]), len(voters)), dtype=dtype)

    def note(part, members, scores):
        for i, chosen in enumerate(scores.choices(), part.start):
            own = chosen[: members.stop - members.start].T.astype(dtype)
            np.subtract(own, 1, out=ballots[i, :, members])

    _over_stacks(note, voters, classes, blocks, n_jobs)
    return ballots.reshape(-1, len(voters))


def linear_votes(voters, classes, blocks, n_jobs):
    """Return how many of the ballots of :func:`linear_ballots` each class gets.

    Returns
    -------
    vote_counts : ndarray of shape (n_rows, n_classes), int64
    """
    votes = np.zeros((len(blocks), len(classes), n_rows(blocks[0])), dtype=np.int64)
    lock = threading.Lock()

    def count(part, members, scores):
        for i, c, own in scores.counts():
            with lock:
                votes[part.start + i, c] += own

    _over_stacks(count, voters, classes, blocks, n_jobs)
    return votes.transpose(0, 2, 1).reshape(-1, len(classes))


def linear_scores(voters, classes, blocks, n_jobs):
    """Return the scores of linear members, as :func:`linear_ballots` compares them.

    Returns
    -------
    scores : ndarray of shape (n_rows, n_members, n_classes)
        Up to a summand that is the same for all classes of a member; -inf for a class that it
        has not seen, and throughout for a missing member.
    """
    shape = len(blocks), n_rows(blocks[0]), len(voters), len(classes)
    out = np.full(shape, -np.inf, dtype=_precision(blocks))

    def note(part, members, scores):
        for c, i, score in scores:
            own = score[: members.stop - members.start].T
            out[part.start + i, :, members, c] = np.where(np.isnan(own), -np.inf, own)

    _over_stacks(note, voters, classes, blocks, n_jobs)
    return out.reshape(-1, len(voters), len(classes))


def _precision(blocks):
    if is_on_device(blocks[0]):
        return precision(blocks[0])
    return np.float32 if getattr(blocks[0], "dtype", None) == np.float32 else np.float64


def _over_stacks(consume, voters, classes, blocks, n_jobs):
    """Call ``consume(part of the blocks, members, scores)`` for all stacks, in threads."""
    if is_on_device(blocks[0]):
        _over_stacks_there(consume, voters, classes, blocks)
        return
    dtype = _precision(blocks)
    blocks = [_with_ones(check_array(b, accept_sparse="csr", dtype=dtype)) for b in blocks]
    tables = [_as_table(voter, classes) for voter in voters]
    n_features = blocks[0].shape[1] - 1
    stacks, width = _stacks(len(voters), _STACKED if n_features <= _WIDE else _STACKED_WIDE)
    n_parts = min(len(blocks), -(-2 * effective_n_jobs(n_jobs) // len(stacks)))
    bounds = np.linspace(0, len(blocks), n_parts + 1).astype(int)

    def work(stack, a, b):
        with np.errstate(all="ignore"):  # weights beyond single precision
            scores = _StackScores(tables[stack], width, len(classes), blocks[a:b])
            consume(slice(a, b), stack, scores)

    Parallel(n_jobs=n_jobs, require="sharedmem")(
        delayed(work)(stack, a, b) for stack in stacks for a, b in itertools.pairwise(bounds)
    )


def _over_stacks_there(consume, voters, classes, blocks):
    """Do the same on the device of the blocks, on one stream, where products repeat themselves."""
    rows = DeviceRows(blocks)
    stacks, width = _stacks(len(voters), stacked(rows.n_features))
    for stack in stacks:
        tables = [_as_table(voter, classes) for voter in voters[stack]]
        fill = functools.partial(_stack_class, tables)
        with np.errstate(all="ignore"):  # weights beyond single precision
            scores = DeviceScores(fill, _present(tables), width, len(classes), rows)
            consume(slice(0, len(blocks)), stack, scores)


def _present(tables):
    return sorted(set().union(*tables))


def _with_ones(block):
    """Append a feature that is one, so that a product includes the intercepts."""
    if not isinstance(block, np.ndarray):
        return sp.hstack([block, np.ones((block.shape[0], 1), block.dtype)], format="csr")
    wider = np.ones((len(block), block.shape[1] + 1), block.dtype)
    wider[:, :-1] = block
    return wider


def _as_table(voter, classes):
    """Return ``{class index: (weights, what to subtract from them, intercept)}`` of one member.

    Weights that are None are zeros, and so is what to subtract.
    """
    if voter is None:
        return {}
    codes = np.searchsorted(classes, voter.classes_).tolist()
    first = {codes[0]: (None, None, 0.0)}
    if type(voter) is DummyClassifier:
        return first
    if type(voter) is NearestCentroid:  # |x - c|^2 is least where x.c - |c|^2 / 2 is largest
        coef = voter.centroids_
        intercept = -np.vecdot(coef, coef) / 2
    else:
        coef = np.atleast_2d(voter.coef_)
        intercept = np.broadcast_to(voter.intercept_, len(coef))
    if len(coef) < len(codes):  # the sign decides, and zero goes to the smaller class
        return first | {codes[1]: (coef[0], None, intercept[0])}
    if np.isfinite(coef[0]).all() and np.isfinite(intercept[0]):
        # By how much a score is above that of the first class: one product less.
        pairs = zip(codes[1:], coef[1:], intercept[1:], strict=True)
        return first | {c: (w, coef[0], b - intercept[0]) for c, w, b in pairs}
    pairs = zip(codes, coef, intercept, strict=True)
    return {c: (w, None, b) for c, w, b in pairs}


class _StackScores:
    """The scores of one stack of members on some blocks of test rows."""

    def __init__(self, tables, width, n_classes, blocks):
        self.tables, self.width, self.blocks = tables, width, blocks
        self.dtype, self.n_classes = blocks[0].dtype, n_classes
        self.present = _present(tables)

    def __iter__(self):
        """Yield ``(class, block, scores of shape (width, n_rows))``, overwritten each time."""
        size, n_features = self.blocks[0].shape
        score = np.empty((self.width, size), self.dtype)
        dense = isinstance(self.blocks[0], np.ndarray)
        weights = np.empty((self.width, n_features), self.dtype)
        for c in self.present:
            weighted = _stack_class(self.tables, c, weights)
            turned = None if dense else np.ascontiguousarray(weights.T)
            for i, block in enumerate(self.blocks):
                if not weighted:  # nothing but zeros to multiply
                    score[...] = weights[:, -1:]
                elif dense:
                    np.matmul(weights, block.T, out=score)
                else:
                    score[...] = (block @ turned).T
                yield c, i, score

    def choices(self):
        """Return for each block the index of the best class plus one, zero without any.

        A score that is not a number never wins, and ties go to the smaller class.
        """
        shape = len(self.blocks), self.width, self.blocks[0].shape[0]
        best = np.full(shape, -np.inf, self.dtype)
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
            for c in self.present:
                mine = np.equal(chosen, c + 1).view(np.uint8)
                # Stacks are narrower than 255.
                yield i, c, np.add.reduce(mine, axis=0, dtype=np.uint8)


def _stack_class(tables, c, weights):
    """Stack weights and intercepts of one class, and say whether there are any weights.

    A member without the class gets the score -inf.
    """
    weights[len(tables) :, :-1], weights[len(tables) :, -1] = 0.0, -np.inf
    weighted = False
    for own, table in zip(weights, tables, strict=False):
        w, base, own[-1] = table.get(c, (None, None, -np.inf))
        weighted |= w is not None
        if base is not None:
            np.subtract(w, base, out=own[:-1], casting="same_kind")
        else:
            own[:-1] = 0.0 if w is None else w
    return weighted
