"""Members that could not be trained, and rows that a member could not answer for.

A failure is a function of the member's own rows and seed, or of the member and one test row. So it
may be an abstention, like that of a member without rows, and must not reach anybody else.
"""

import contextlib
import pickle
from typing import Any, NamedTuple

import numpy as np
import scipy.sparse as sp
from sklearn.utils import check_array

from .._data.blocks import whole_blocks
from .._data.cells import MISSING
from .._data.containers import n_rows, take
from .._linear.scoring import is_constant

_REMEDY = 'Set on_error="abstain" to let {} abstain instead, and the others vote.'
_N_NAMED = 5


class Failure(NamedTuple):
    """What stands in the place of a member that could not be trained.

    Attributes
    ----------
    error : Exception
        Without its traceback, which would hold the member's rows.
    """

    error: Any

    @classmethod
    def of(cls, error):
        """Return the failure that an exception means, in a form that any worker can send."""
        notes = getattr(error, "__notes__", [])
        error.__traceback__ = error.__cause__ = error.__context__ = None
        try:
            pickle.loads(pickle.dumps(error))
        except Exception:
            error = RuntimeError(f"{type(error).__name__}: {error}")
            for note in notes:
                error.add_note(note)
        return cls(error)


def remedy(who):
    """Say how a failure is made an abstention."""
    return _REMEDY.format(who)


def failures_in_words(errors, n_members):
    """Return a sentence about the errors of members, by their types.

    Parameters
    ----------
    errors : dict of int to Exception
        By the members' places.
    n_members : int
    """
    kinds = {}
    for index, error in errors.items():
        kinds.setdefault(type(error).__name__, []).append((index, error))
    words = [
        f"{len(own)} {name}, first member {own[0][0]}: {' '.join(str(own[0][1]).split())[:120]}"
        for name, own in kinds.items()
    ]
    return (
        f"{len(errors)} of {n_members} members could not be trained and abstain "
        f"({'; '.join(words)}). errors_ holds the errors."
    )


def training_note(index, estimator, table, y, numbers, is_regression=False):
    """Say which member failed on which rows, and what of these is known to be odd.

    Parameters
    ----------
    index : int
        The member's place.
    estimator : estimator
    table : Table
        Its rows.
    y : ndarray
        Their labels, or targets.
    numbers : ndarray of int, or RowNames
        Where its rows stand in X.
    is_regression : bool, default=False
        Whether y holds targets.
    """
    apart = hasattr(numbers, "first")  # rows of several blocks have names of their own
    some = numbers.first(_N_NAMED) if apart else np.sort(numbers)[:_N_NAMED]
    named = ", ".join(map(str, some))
    named += ", ..." if len(numbers) > _N_NAMED else ""
    note = (
        f"Raised while training member {index}, estimator={estimator!r}, on its {len(y)} rows "
        f"({named}{'' if apart else ' of X'}), "
    )
    labels, counts = np.unique(y, return_counts=True)
    if is_regression:
        note += f"with targets from {labels[0]:.6g} to {labels[-1]:.6g}. "
    else:
        note += f"with {len(labels)} different labels. "
    odd = _odd_value(table, numbers)
    if odd is not None:
        note += f"{odd} Where the estimator refuses that, correct or drop such rows. "
    elif is_regression:
        note += "Where these are too few for the estimator, use a smaller n_partitions. "
    else:
        rare = labels.tolist()[counts.argmin()]
        note += (
            f"The rarest label, {rare!r}, stands on {counts.min()} of them. Where these are too "
            "few for the estimator, use a smaller n_partitions. "
        )
    return note + remedy("such members")


def _odd_value(table, numbers):
    """Return a sentence about a value that many estimators refuse, or None."""
    missing = table.any_kind(MISSING)
    if missing.any():
        return f"Row {_named(numbers, missing.argmax())} holds a missing cell."
    dense = table.dense
    values = dense if isinstance(dense, np.ndarray) else dense.data
    with np.errstate(invalid="ignore"):
        odd = ~(np.abs(values.astype(np.float64)) <= np.finfo(np.float32).max)
    if not odd.any():
        return None
    place = np.argwhere(odd)[0]
    row = place[0] if values is dense else np.searchsorted(dense.indptr, place[0], "right") - 1
    value = float(values[tuple(place)])
    why = "" if not np.isfinite(value) else ", which single precision does not hold"
    return f"Row {_named(numbers, row)} holds {value!r}{why}."


def _named(numbers, row):
    return numbers[row] if hasattr(numbers, "first") else f"{numbers[row]} of X"


@contextlib.contextmanager
def noting_failures(index, on_error):
    """Add to an error which member could not answer, and the remedy where there is one."""
    try:
        yield
    except Exception as error:
        note = f"Raised while asking member {index} about test rows."
        if on_error is not None:
            note += f" {remedy('a member')}"
        error.add_note(note)
        raise


def working_parts(function, rows, size, n_wanted=None, fewest=None):
    """Return ``(index, answers)``: what a function answers about those rows that it takes.

    It is asked about all rows at once. Where it raises, about halves of them, and so on down to
    single rows, always in a block of the same shape filled up with copies. So whether it answers
    for a row, and what, follows from that row alone.

    Parameters
    ----------
    function : callable
    rows : container of rows
    size : int
        The number of rows, and of those of every block that the function gets.
    n_wanted : int, default=None
        How many of the rows count; those behind them fill the block up. None: all.
    fewest : int, default=None
        Of how many rows a block is a multiple where nothing else hangs on its shape; None:
        `size`.

    Returns
    -------
    parts : list of (index, answers)
        The index is None where the function answers for all rows; else the answers are about
        the rows that it names, and about copies of them.
    """
    try:
        return [(None, function(rows))]
    except Exception:
        waiting, parts = [np.arange(size if n_wanted is None else n_wanted)], []
    while waiting:
        for half in np.array_split(waiting.pop(), 2):
            if not len(half):
                continue
            try:
                n = size if fewest is None else whole_blocks(len(half), fewest)
                parts.append((half, function(take(rows, np.resize(half, n)))))
            except Exception:
                if len(half) > 1:
                    waiting.append(half)
    return parts


def answers_or_missing(ask, block, index, like, missing, fewest):
    """Return what one member answers about a block of test rows, `missing` where it cannot.

    Parameters
    ----------
    ask : callable
    block : container of rows
    index : ndarray of int, or None
        As `View.shaped` yields it: how many of the rows count.
    like : ndarray of shape (n_rows, ...)
        Of the shape and type of the answers.
    missing : number
    fewest : int or None
        As in :func:`working_parts`.

    Returns
    -------
    answers : ndarray
    """

    def usable(rows):
        answers = np.asarray(ask(rows))
        wanted = (n_rows(rows), *like.shape[1:])
        if answers.shape != wanted:
            raise ValueError(f"Answers of shape {answers.shape}, not {wanted}.")
        return answers

    n_wanted = None if index is None else len(index)
    parts = working_parts(usable, block, len(like), n_wanted, fewest)
    return filled(parts, like.shape, like.dtype, missing)


def filled(parts, shape, dtype, missing):
    """Return the answers of :func:`working_parts` as one array, `missing` for rows left out."""
    if len(parts) == 1 and parts[0][0] is None:
        return parts[0][1]
    out = np.full(shape, missing, dtype=dtype)
    for own, answers in parts:
        out[own] = answers[: len(own)]
    return out


def shaped_parts(function, view, table, fewest=None):
    """Return ``(index, rows)``: what a function makes of a block, as a view hands it out.

    Rows that the function refuses are left out, without a change to any other.
    """
    out = []
    for index, rows in view.shaped(table):
        n_wanted = None if index is None else len(index)
        for own, part in working_parts(function, rows, len(table), n_wanted, fewest):
            if own is None:
                out.append((index, part))
            else:
                out.append((own if index is None else index[own], part))
    return out


def mended_blocks(blocks, view, function, members):
    """Return blocks of numbers for products, with zeros for rows that no member can be asked.

    Parameters
    ----------
    blocks : list of Table
        Of one length.
    view : View
    function : callable
        What comes before the members.
    members : list
        Linear members, of which one is trained.

    Returns
    -------
    blocks : list of ndarray or CSR matrix
    known : ndarray of bool
        For each row of each block whether it is as given.
    """

    def numbers(rows):
        rows = function(rows)
        single = getattr(rows, "dtype", None) == np.float32
        return check_array(rows, accept_sparse="csr", dtype=np.float32 if single else np.float64)

    size = len(blocks[0])
    parts = [shaped_parts(numbers, view, block) for block in blocks]
    own = [rows for part in parts for _, rows in part]
    width = own[0].shape[1] if own else _n_features(members)
    zeros = np.zeros((1, width), dtype=own[0].dtype if own else np.float64)
    stack, mended, known = np.vstack, [], np.zeros((len(blocks), size), dtype=bool)
    if any(map(sp.issparse, own)):
        zeros, stack = sp.csr_matrix(zeros), sp.vstack
    for part, good in zip(parts, known, strict=True):
        place, start, rows = np.zeros(size, dtype=np.int64), 1, [zeros]
        for index, answers in part:
            index = np.arange(size) if index is None else index
            place[index] = start + np.arange(len(index))
            good[index] = True
            rows.append(answers[: len(index)])
            start += len(index)
        block = stack(rows) if stack is np.vstack else stack(rows, format="csr")
        mended.append(block[place])
    return mended, known.ravel()


def _n_features(members):
    return next(m.n_features_in_ for m in members if m is not None and not is_constant(m))
