"""Symmetric positive definite systems of many members, each solved by itself.

Small ones go through numpy's loops over a stack. For large ones Cholesky's factors are half the
work, one call for each.
"""

import numpy as np
from scipy.linalg import lapack

# Rows from which on one call for each matrix is the faster way.
_LARGE = 200


def solutions(systems, right):
    """Solve one system a member; what rounding leaves no solution is not a number.

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
    found = np.empty_like(right)
    for system, own, into in zip(systems, right, found, strict=True):
        _, solution, failed = lapack.dposv(system, own, lower=1)
        into[:] = np.nan if failed else solution
    return found


def inverses(systems):
    """Return the inverse of each matrix; not a number where rounding leaves it none.

    Parameters
    ----------
    systems : ndarray of shape (n_members, n, n)

    Returns
    -------
    inverses : ndarray of shape (n_members, n, n)
    """
    if systems.shape[1] < _LARGE:
        return _one_by_one_if_singular(np.linalg.inv, systems)
    found = np.empty_like(systems)
    for system, into in zip(systems, found, strict=True):
        factor, failed = lapack.dpotrf(system, lower=1)
        if not failed:
            factor, failed = lapack.dpotri(factor, lower=1, overwrite_c=1)
        into[:] = np.nan if failed else np.tril(factor) + np.tril(factor, -1).T
    return found


def _one_by_one_if_singular(function, *stacks):
    try:
        return function(*stacks)
    except np.linalg.LinAlgError:  # one of them: find out which
        if len(stacks[-1]) == 1:
            return np.full_like(stacks[-1], np.nan)
        members = zip(*([part[None] for part in stack] for stack in stacks), strict=True)
        return np.concatenate([_one_by_one_if_singular(function, *member) for member in members])
