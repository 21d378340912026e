"""The weights of linear members, put side by side for products that many of them share."""

import bisect
import weakref
from typing import Any, NamedTuple

import numpy as np
from sklearn.neighbors import NearestCentroid
from sklearn.pipeline import Pipeline

from .affine import fold, split

# The weights of a stack of members are built up for as many classes at a time as fit into this
# many bytes, and for one class at least.
_WEIGHT_BYTES = 1 << 24

# Services ask one model about a row at a time, and putting the weights of its members side by
# side takes longer than that row's products. So they are kept from one call to the next, by the
# first member and for as long as it lives, if all of them are no larger than this many bytes.
_KEPT = weakref.WeakKeyDictionary()
_KEPT_BYTES = 1 << 26


def is_constant(member):
    """Say whether a member gives every row the one label of its own rows."""
    return getattr(type(member), "is_constant", False) is True


def all_weights(members, classes, stacks, width, n_features, dtype):
    """Return the weights of every stack of members.

    Parameters
    ----------
    members : list
        Linear members, constant ones, and None for missing ones.
    classes : ndarray of shape (n_classes,), or None
        Sorted labels; None for regressors, which have one number in the place of classes.
    stacks : list of slice
        The members of every stack.
    width : int
        Members in a product: those that a stack lacks have no classes.
    n_features : int
    dtype : dtype

    Returns
    -------
    weights : iterable of StackWeights
        Those that are not kept are put together as one comes to them.
    """

    def put_together(stack, keep=False):
        with np.errstate(all="ignore"):  # steps may overflow
            tables = [_score_table(member, classes) for member in members[stack]]
        return StackWeights(tables, width, n_features, dtype, keep)

    n_classes, labels = (1, None) if classes is None else (len(classes), classes.tolist())
    n_bytes = np.dtype(dtype).itemsize * len(stacks) * width * n_classes * (n_features + 1)
    owner = next((m for m in members if m is not None and not is_constant(m)), None)
    if owner is None or n_bytes > _KEPT_BYTES:
        return map(put_together, stacks)
    # By value: whoever writes into a member is answered from what he wrote.
    made_of = labels, len(stacks), width, n_features, dtype, list(map(_parts, members))
    kept = _KEPT.get(owner)
    if kept is None or kept[0] != made_of:
        kept = _KEPT[owner] = made_of, [put_together(stack, keep=True) for stack in stacks]
    return kept[1]


def _parts(member):
    """Return what the weights of a member follow from, to be compared by value."""
    coef = getattr(member, "coef_", None)
    if coef is not None:  # nearly always
        intercept = np.asarray(member.intercept_).tobytes()
        classes = getattr(member, "classes_", None)
        return None if classes is None else classes.tolist(), coef.tobytes(), intercept
    if member is None:
        return None
    if type(member) is Pipeline:
        return [_values(step) for _, step in member.steps[:-1]], _parts(member.steps[-1][1])
    if type(member) is NearestCentroid:
        return member.classes_.tolist(), member.centroids_.tobytes()
    return member.classes_.tolist()  # a constant member


def _values(step):
    """Return what a step was fitted to, and its parameters, to be compared by value."""
    if not hasattr(step, "fit"):  # None or "passthrough"
        return step
    return type(step), [
        (name, value.tobytes() if isinstance(value, np.ndarray) else value)
        for name, value in vars(step).items()
    ]


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
    if member is None and classes is None:
        return _ScoreTable(np.empty(0, dtype=np.intp), None, None, None, 0)
    if member is None or is_constant(member):
        zero = None if member is None else np.searchsorted(classes, member.classes_)[0]
        return _ScoreTable(np.empty(0, dtype=np.intp), None, None, None, zero)
    steps, head = split(member)
    table = _value_table(head) if classes is None else _head_table(head, classes)
    if not steps:
        return table
    coef = table.coef if table.base is None else table.coef - table.base
    coef, intercept = fold(steps, coef, table.intercept)
    return table._replace(coef=coef, base=None, intercept=intercept)


def _value_table(member):
    """Return the weights of a regressor as those of one class."""
    coef, intercept = np.reshape(member.coef_, (1, -1)), np.reshape(member.intercept_, -1)
    return _ScoreTable(np.zeros(1, dtype=np.intp), coef, None, intercept, None)


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


class StackWeights:
    """The weights of one stack of members, some classes at a time.

    Parameters
    ----------
    tables : list of _ScoreTable
    width : int
        Members in a product: beyond the tables there are members without classes.
    n_features : int
    dtype : dtype
    keep : bool
        Whether the weights of all classes stay in memory once they have been asked for.

    Attributes
    ----------
    present : list of int
        The classes that a member knows, in order.
    """

    def __init__(self, tables, width, n_features, dtype, keep=False):
        self.shape, self.dtype, self._keep, self._filled = (width, n_features + 1), dtype, keep, ()
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

        Weights are of shape (n_classes, width, n_features + 1), the intercepts last; they are to
        be read only, and overwritten when the next ones are asked for. A member without the
        class gets the score -inf.
        """
        if not self._keep:
            yield from self._fill_in_turn(_WEIGHT_BYTES // self._class_bytes)
            return
        if not self._filled:  # two threads that come here at once fill the same twice
            self._filled = tuple(self._fill_in_turn(len(self.present)))
        yield from self._filled

    @property
    def _class_bytes(self):
        return np.dtype(self.dtype).itemsize * self.shape[0] * self.shape[1]

    def _fill_in_turn(self, most):
        """Yield the weights of `most` classes at a time."""
        step = max(1, min(most, len(self.present)))
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
