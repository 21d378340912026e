"""Symmetric positive definite systems of many members, each solved by itself.

Small systems go through numpy's loops over a stack. Large systems are factorised by Cholesky's
method, which is half the work, with one call for each.
"""

import numpy as np
from scipy.linalg import lapack

# From this number of rows on, one call for each matrix is faster than a loop of numpy.
_LARGE = 200


def solutions(systems, right):
    """Solve one system a member; NaN where rounding leaves it no solution.

    Parameters
    ----------
    systems : ndarray of shape (n_members, n, n)
    right : ndarray of shape (n_members, n, m)

    Returns
    -------
    solutions : ndarray of shape (n_members, n, m)
    """
    if systems.shape[1] < _LARGE:
        return _one_by_one_if_singular(np.linalg.solve, systems, right)
    out = np.empty_like(right)
    for system, right_side, member_out in zip(systems, right, out, strict=True):
        _, solution, failed = lapack.dposv(system, right_side, lower=1)
        member_out[:] = np.nan if failed else solution
    return out


def inverses(systems):
    """Return the inverse of each matrix; NaN where rounding leaves it none.

    Parameters
    ----------
    systems : ndarray of shape (n_members, n, n)

    Returns
    -------
    inverses : ndarray of shape (n_members, n, n)
    """
    if systems.shape[1] < _LARGE:
        return _one_by_one_if_singular(np.linalg.inv, systems)
    out = np.empty_like(systems)
    for system, inverse in zip(systems, out, strict=True):
        factor, failed = lapack.dpotrf(system, lower=1)
        if not failed:
            factor, failed = lapack.dpotri(factor, lower=1, overwrite_c=1)
        inverse[:] = np.nan if failed else np.tril(factor) + np.tril(factor, -1).T
    return out


def _one_by_one_if_singular(function, *stacks):
    try:
        return function(*stacks)
    except np.linalg.LinAlgError:  # one of them is singular: find out which
        if len(stacks[-1]) == 1:
            return np.full_like(stacks[-1], np.nan)
        members = zip(*([part[None] for part in stack] for stack in stacks), strict=True)
        return np.concatenate([_one_by_one_if_singular(function, *member) for member in members])
