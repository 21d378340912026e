"""Numbers that members answer for test rows, a block of rows at a time."""

import numpy as np

from .._linear.scoring import linear_values
from .answers import numbers_in_a_row
from .asking import Silent, ask_all, by_member, iter_spans


def iter_values(members, X, **how):
    """Yield the answers of regressors for spans of test rows.

    Parameters
    ----------
    members : list
        As :func:`fit_members` returns them.
    X : Table, or an array on a device
        Test rows.
    **how
        As in :func:`~certified_ensembles._members.voting.iter_ballots`.

    Yields
    ------
    values : ndarray of shape (n_rows, n_members), float64
        NaN where a member abstains, or answers no number.
    """
    silent = Silent(np.nan, np.float64)

    def ask(voters, places, linear, blocks, n_asked, n_jobs, **how):
        if linear:
            return linear_values(voters, blocks, n_asked, n_jobs)
        known = np.empty((len(places), 0), dtype=bool), None, places  # there are no classes
        return ask_all(_valued, voters, known, blocks, silent, n_jobs, **how)

    spans = iter_spans(ask, members, X, 8 * len(members), np.nan, **how)
    yield from (by_member(parts, len(members), np.nan) for parts in spans)


def _valued(voter, block, classes, seen, scores=None):
    return numbers_in_a_row(voter, block)
