"""Training rows on their way to members: the one place that cuts them and puts them in order.

A member is a function of the *set* of its rows: neither where they stood nor what stood beside
them may reach it.
"""

from typing import Any, NamedTuple

import numpy as np

from .canonical import canonical_order
from .containers import take


class TrainingRows(NamedTuple):
    """All training rows, from which members get theirs.

    Attributes
    ----------
    X : Table or None
        Rows in the order given, or None for those that `different` and `index` describe.
    different : Table or None
        The different rows in canonical order, or None where nobody shares rows.
    index : ndarray of shape (n_train,), int, or None
        The place of every training row among them.
    numbers : ndarray of shape (n_train,), int, or None
        How an error calls the rows; None: by their place.
    """

    X: Any
    different: Any = None
    index: Any = None
    numbers: Any = None

    def as_given(self):
        """Return all rows in the order given."""
        return self.different.take(self.index) if self.X is None else self.X

    def in_canonical_order(self):
        """Return all rows, with their copies, in canonical order, and that order.

        The order of copies of one row is the one given: what follows must not hang on it.
        """
        order = np.argsort(self.index, kind="stable")
        return self.different.take(self.index[order]), order


def rows_of_member(X, y, params, by_row, rows):
    """Cut out what one member is trained on.

    Parameters
    ----------
    X : Table
    y : all labels
    params : dict
        Further arguments of ``fit``.
    by_row : collection of str
        The names of those that have one entry a row.
    rows : ndarray of int
        Where the member's rows stand.

    Returns
    -------
    X, y, params : the same, of the member's rows
    """
    return X.take(rows), take(y, rows), take_params(params, by_row, rows)


def take_params(params, by_row, rows):
    """Return the arguments of ``fit`` with those that have one entry a row cut, or arranged."""
    return {name: take(v, rows) if name in by_row else v for name, v in params.items()}


def member_order(X, y, params, by_row):
    """Return the canonical order of a member's rows, labels and arguments."""
    return canonical_order(X, y, *(params[name] for name in sorted(by_row)))
