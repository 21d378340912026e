"""Targets of regressors at the door: finite doubles, each decided by itself.

A table of targets has one type, which one cell can change: a text among numbers makes texts of
all, a large integer objects. So cells are looked at one by one where the container does not hold
plain numbers, and what a target is worth follows from its own cell alone.
"""

import decimal
import numbers

import numpy as np
import scipy.sparse as sp
from sklearn.utils.validation import check_consistent_length, column_or_1d

from .array_api import on_host

_NUMBERS = {int, float, bool}
_REMEDY = (
    "Drop such rows or correct them; with on_error='abstain' they are left out, each by a look at "
    "itself"
)


def as_targets(estimator, X, y):
    """Return targets as doubles, NaN or infinite where one is no finite number.

    Parameters
    ----------
    estimator : estimator
        Named in messages.
    X : rows
    y : array-like of shape (n_train,)
        Numbers of any type: what a double does not hold is rounded to one.

    Returns
    -------
    y : ndarray of shape (n_train,), float64
        Without negative zeros.

    Raises
    ------
    ValueError
        If there is not one target a row.
    """
    name = type(estimator).__name__
    if y is None:
        raise ValueError(
            f"This {name} estimator requires y to be passed, but the target y is None."
        )
    if sp.issparse(y):
        raise TypeError("y is a sparse matrix: pass the targets as an array, y.toarray().")
    y = _one_column(_cells(on_host(y)), name)
    check_consistent_length(X, y)
    if y.dtype.kind == "O":
        y = np.fromiter(map(_number, y), dtype=np.float64, count=len(y))
    with np.errstate(over="ignore"):
        return y.astype(np.float64) + 0.0  # negative zero is zero


def _cells(y):
    """Return targets as an array of numbers, or of objects that are looked at one by one."""
    if np.ma.is_masked(y):
        y = np.ma.filled(y.astype(object), np.nan)
    if isinstance(y, np.ndarray) and y.dtype.kind in "biuf":
        return y
    if hasattr(y, "to_numpy") or isinstance(y, np.ndarray):
        y = np.asarray(y)
        return y if y.dtype.kind in "biuf" else y.astype(object)
    return np.array(y, dtype=object)


def _one_column(y, name):
    if y.ndim == 2 and y.shape[1] > 1:
        raise ValueError(
            f"y has {y.shape[1]} columns, and {name} certifies one target a row. Fit one for each "
            "column: every one of them has its own medians and radii."
        )
    return column_or_1d(y, warn=True)


def _number(cell):
    """Return the double that a cell means; NaN if it means none."""
    kind = type(cell)
    if kind not in _NUMBERS and not isinstance(
        cell, numbers.Real | decimal.Decimal | np.number | np.bool_
    ):
        return np.nan
    if isinstance(cell, np.complexfloating | np.timedelta64):
        return np.nan
    try:
        return float(cell)
    except OverflowError:
        return np.inf if cell > 0 else -np.inf
    except (TypeError, ValueError):  # a signalling NaN of decimals
        return np.nan


def refuse_odd_targets(y, values, remedy=_REMEDY):
    """Raise if a target is no finite number.

    Parameters
    ----------
    y : array-like of shape (n_train,)
        As given.
    values : ndarray of shape (n_train,), float64
        As :func:`as_targets` returns them.
    remedy : str, default=_REMEDY
        What to do about such targets.

    Raises
    ------
    ValueError
        Naming the first one.
    """
    odd = np.flatnonzero(~np.isfinite(values))
    if not len(odd):
        return
    first = odd[0]
    given = np.ravel(_cells(on_host(y)))[first]
    what = "infinity" if np.isinf(values[first]) else "NaN"
    if what == "NaN" and isinstance(given, str | bytes | complex | np.complexfloating):
        what = f"the {type(given).__name__} {given!r:.40}, which is no number,"
    raise ValueError(
        f"Input y contains {what} at index {first}, and {len(odd)} of {len(values)} targets are "
        f"no finite numbers. {remedy}."
    )
