"""The periods of rows: whole numbers in the order of time, and the line that they stand on."""

from numbers import Integral
from typing import Any, NamedTuple

import numpy as np

from .array_api import on_host

# Whole numbers up to here are the same as floats.
_LARGEST = 2**53
# More places in time than this are a mistake: seconds, where days were meant.
_MOST_PLACES = 2**20
# A gap is shortened by whole multiples of this, so that the places of periods keep their residues.
CYCLE = 240


class Timeline(NamedTuple):
    """Periods from the oldest to the newest, one a place, those without rows among them.

    Attributes
    ----------
    periods : ndarray of shape (n_places,), int64
        The period at every place.
    place : ndarray of shape (n_train,), int64
        The place of every row.
    """

    periods: Any
    place: Any

    @classmethod
    def of(cls, periods, width):
        """Return the line of some rows, for members that are trained on `width` periods.

        A gap is cut where it is longer than there are periods with rows, and `width` more. That
        changes no radius: n members cannot outvote an attacker who owns more than n periods, each
        of them a vote, so that no window within a radius reaches from one side of such a gap to
        the other, and neither does a member.

        Parameters
        ----------
        periods : ndarray of shape (n_train,), int64
        width : int

        Returns
        -------
        timeline : Timeline

        Raises
        ------
        ValueError
            If there are far more periods without rows than with some.
        """
        known, index = np.unique(periods, return_inverse=True)
        steps = np.diff(known)
        steps -= np.maximum(steps - len(known) - width, 0) // CYCLE * CYCLE
        at = np.append(0, np.cumsum(steps))
        n_places = int(at[-1]) + 1
        if n_places > _MOST_PLACES:
            raise ValueError(
                f"periods from {known[0]} to {known[-1]} are too many, and only {len(known)} of "
                "them have rows: number periods one by one, such as days in place of seconds "
                "(seconds // 86400)."
            )
        before = np.searchsorted(at, np.arange(n_places), side="right") - 1
        return cls(known[before] + np.arange(n_places) - at[before], at[index])


def validate_periods(X, periods):
    """Check the periods of rows.

    Parameters
    ----------
    X : Table
    periods : array-like of shape (n_train,)
        Whole numbers.

    Returns
    -------
    periods : ndarray of shape (n_train,), int64

    Raises
    ------
    ValueError
        If there is not one a row, or one is missing, no whole number or beyond 2**53.
    TypeError
        If they are not numbers.
    """
    given = periods
    if np.ma.is_masked(periods):
        periods = periods.astype(float).filled(np.nan)
    periods = np.asarray(on_host(periods))
    if periods.shape != (len(X),):
        raise ValueError(
            f"periods is inconsistent with X: it has the shape {periods.shape} for {len(X)} rows. "
            "Pass one whole number a row, in the order of the rows."
        )
    if periods.dtype.kind == "O":  # numbers of pandas, or of Python
        periods = np.array([_as_number(value, given) for value in periods])
    if periods.dtype.kind not in "iuf":
        raise TypeError(_not_numbers(given, f"dtype {periods.dtype}"))
    odd = np.flatnonzero(~(np.abs(periods) <= _LARGEST) | (periods % 1 != 0))
    if len(odd):
        raise ValueError(
            f"periods must be whole numbers up to 2**53, got {periods[odd[0]]} at index {odd[0]}: "
            "number the periods in the order of time, and give every row one."
        )
    return periods.astype(np.int64)


def _as_number(value, given):
    if value is None or value != value or type(value).__name__ in ("NAType", "NaTType"):
        return np.nan
    if isinstance(value, Integral | float) and not isinstance(value, bool):
        return value
    raise TypeError(_not_numbers(given, f"{value!r}, a {type(value).__name__}"))


def _not_numbers(given, found):
    return (
        f"periods, a {type(given).__name__}, must hold whole numbers in the order of time, got "
        f"{found}. Number them: for days, dates.astype('datetime64[D]').astype(int)."
    )
