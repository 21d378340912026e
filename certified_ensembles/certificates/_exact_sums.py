"""Sums of doubles whose sign, or whose every digit, is certain.

A sum of doubles in floating point depends on the order of its terms. Two facts remove that
dependence. A sum of multiples of one number is exact, in any order, as long as the multiples
stay below 2**53 (votes, counts, weights 1/k). And `math.fsum` rounds the true sum once, so its
sign is the sign of the true sum: it settles whatever a bound on the rounding error leaves open.
"""

import math
from itertools import chain

import numpy as np

UNIT_ROUNDOFF = 2.0**-53
_SMALLEST = np.finfo(np.float64).smallest_subnormal


def sign_of_sum(*terms: np.ndarray) -> int:
    """Return the sign (-1, 0 or 1) of the exact sum of all numbers in `terms`."""
    total = math.fsum(chain.from_iterable(term.tolist() for term in terms))
    return (total > 0) - (total < 0)


def sum_error_bound(n_terms: int, largest: np.ndarray) -> np.ndarray:
    """Bound the error of every comparison of two sums of drops with magnitudes up to `largest`.

    Summing n doubles in any order, with or without fused multiply-adds by 0 and 1, errs by at
    most n u / (1 - n u) times the sum of magnitudes, u = 2**-53 (Higham, "Accuracy and Stability
    of Numerical Algorithms", section 4.2). With m = `largest`, a score and a sum of drops (each
    at most 2 m) have magnitudes summing to at most 2 n m. A comparison here involves at most
    two scores, one sum of drops, one product and four more additions: less than 8 n (n + 8) m u
    in all, and the factor 16 pays for the rounding of the bound itself. Subnormal numbers add
    exactly, so nothing is lost where the bound underflows.
    """
    return 16.0 * UNIT_ROUNDOFF * n_terms * (n_terms + 8.0) * largest


def to_exact_grid(block, largest) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Find the rows whose sums are exact in double precision, rescaling them where that helps.

    Parameters
    ----------
    block : ndarray of shape (n, m)
        Finite doubles.
    largest : ndarray of shape (n,)
        Largest magnitude of every row.

    Returns
    -------
    exact : ndarray of shape (n,), bool
        True where every number of the row is an integer multiple of one number, and the sum of
        the doubled magnitudes of the row is at most 2**53 multiples: all sums of such a row, and
        of differences and doubles of its numbers, are exact in any order.
    block : ndarray of shape (n, m)
        The block itself, or a copy in which some of these rows are divided by their common
        number (1/k becomes 1). That changes no comparison of sums within a row.
    largest : ndarray of shape (n,)
        Largest magnitude of every row returned.
    """
    n_columns = block.shape[1]
    spread = 4.0 * (n_columns + 1) * largest
    # Adding 1.5 * 2**52 units rounds to the unit: a number that survives is a multiple of it.
    unit = np.maximum(np.ldexp(1.0, np.frexp(spread)[1] - 53), _SMALLEST)
    shifter = 1.5 * 2.0**52 * unit
    # A few columns rule out nearly every row without an exact grid, at no cost.
    few = block[:, :: max(1, n_columns // 32)]
    exact = _survives(few, shifter)
    multiple = ~exact & _are_multiples(few, n_columns)
    rows = np.flatnonzero(exact)
    if rows.size:
        exact[rows] = _survives(block[rows], shifter[rows])
        multiple[rows] = ~exact[rows]
    rows = np.flatnonzero(multiple)
    rows = rows[_are_multiples(block[rows], n_columns)] if rows.size else rows
    if rows.size:
        block, largest = block.copy(), largest.copy()
        smallest = _smallest(block[rows])
        block[rows] /= smallest
        largest[rows] /= smallest[:, 0]
        exact[rows] = True
    return exact, block, largest


def _survives(numbers, shifter) -> np.ndarray:
    shifter = shifter[:, None]
    return (((numbers + shifter) - shifter) == numbers).all(axis=1)


def _smallest(numbers) -> np.ndarray:
    """Return the smallest non-zero magnitude of every row (infinite where all are zero)."""
    magnitudes = np.abs(numbers)
    magnitudes[magnitudes == 0] = np.inf
    return magnitudes.min(axis=1, initial=np.inf, keepdims=True)


def _are_multiples(numbers, n_columns) -> np.ndarray:
    """Say where all numbers of a row are multiples of the smallest, and few enough of it."""
    smallest = _smallest(numbers)
    with np.errstate(over="ignore"):
        quotients = numbers / smallest
    small = np.abs(quotients) <= 2.0**50 / (n_columns + 1)
    found = (small & (quotients == np.rint(quotients))).all(axis=1)
    if found.any():
        # A quotient may round to an integer; a remainder is exact.
        found[found] = (np.fmod(numbers[found], smallest[found]) == 0).all(axis=1)
    return found
