"""The logarithmic moment generating function of noisy votes, and its minimum over t >= 0.

With weights t_j (positive where the label is the winner's, see `LabelSortedWeights.toward`) the
Chernoff exponent of a pair is

    F(s) = sum over labels of the pair of g(s t_j) + sum over other labels of h(s t_j),
    g(x) = log((1 - q) e^-x + q (K - 2) / (K - 1) + p e^x),         p = q / (K - 1),
    h(x) = log(p e^-x + 1 - 2 p + p e^x).

Both have the form ``log(m + 2 c cosh(x - x0))``, which is evaluated without overflow, and both
are convex in x as well as in s.
"""

import math
from typing import NamedTuple

import numpy as np

UNIT_ROUNDOFF = 2.0**-53


class Term(NamedTuple):
    """One term log(m + 2 c cosh(x - x0)) of the exponent."""

    x0: float
    c: float
    m: float

    def value(self, x):
        """Return the term at every x."""
        distance = np.abs(x - self.x0)
        return distance + np.log(self._scaled(np.exp(-distance)))

    def derivatives(self, x):
        """Return value, first and second derivative at every x."""
        distance = x - self.x0
        sign = np.sign(distance)
        np.abs(distance, out=distance)
        decay = np.exp(-distance)
        scaled = self._scaled(decay)
        decay *= decay
        decay *= self.c
        # c (1 - e^2) and c (1 + e^2) over the common denominator.
        slope = sign * (self.c - decay) / scaled
        curvature = (self.c + decay) / scaled - slope * slope
        return distance + np.log(scaled), slope, curvature

    def _scaled(self, decay):
        """Return exp(-abs(x - x0)) (m + 2 c cosh(x - x0))."""
        scaled = decay * decay
        scaled += 1.0
        scaled *= self.c
        if self.m:
            scaled += self.m * decay
        return scaled


def noise_terms(noise, n_classes) -> tuple[Term, Term]:
    """Return the terms g (labels of the pair) and h (other labels)."""
    moved = noise / (n_classes - 1)
    pair = Term(
        x0=0.5 * (math.log1p(-noise) - math.log(moved)),
        c=math.sqrt((1 - noise) * moved),
        m=moved * (n_classes - 2),
    )
    return pair, Term(x0=0.0, c=moved, m=1 - 2 * moved)


def exponent_error(n_terms, total_distance, terms) -> np.ndarray:
    """Bound the rounding error of a sum of `n_terms` terms whose distances sum to that total.

    With u = 2**-53 the distance d = abs(x - x0) errs by (2 abs(x) + 5 abs(x0)) u, exp and log by
    4 u relative, the scaled sum of positive numbers by thrice the error of d plus 30 u, and the
    outer sums by n u times the magnitudes added, d and abs(log) <= abs(log c) + 2. The numbers
    below cover the total with a factor of 2 to spare.
    """
    constant = max(abs(math.log(term.c)) + abs(term.x0) + 2 for term in terms)
    return 4 * UNIT_ROUNDOFF * (n_terms + 32) * (total_distance + n_terms * constant)


def minimise_convex(evaluate, start, *, decrease, max_steps):
    """Minimise convex functions of one variable t >= 0, one for every entry of `start`.

    Newton's method, kept inside the interval that the signs of the slopes have left.

    Parameters
    ----------
    evaluate : callable
        ``evaluate(t, which)`` returns values, slopes and curvatures of the functions `which`.
    start : ndarray of shape (n,)
        First t of every function.
    decrease : float
        Stop where Newton's model promises less than this share of the value.
    max_steps : int
        Most evaluations of one function.

    Returns
    -------
    t : ndarray of shape (n,)
        The last iterate, which may not have been evaluated.
    value : ndarray of shape (n,)
        The lowest value seen: an upper bound on the minimum.
    """
    t = np.array(start, dtype=np.float64)
    best = np.full(t.shape, np.inf)
    low, high = np.zeros_like(t), np.full(t.shape, np.inf)
    active = np.arange(len(t))
    for _ in range(max_steps):
        now = t[active]
        value, slope, curvature = evaluate(now, active)
        best[active] = np.minimum(best[active], value)
        rising = slope > 0
        high[active[rising]] = now[rising]
        low[active[~rising]] = now[~rising]
        with np.errstate(divide="ignore", invalid="ignore"):
            step = -slope / curvature
        # Where the curvature has died out a Newton step is wild: eight times as far is enough.
        follow = np.minimum(now + step, np.where(now > 0, 8 * now, np.inf))
        inside = np.isfinite(follow) & (follow > low[active]) & (follow < high[active])
        bisected = np.where(
            np.isfinite(high[active]), 0.5 * (low[active] + high[active]), 4 * now + 1
        )
        t[active] = np.where(inside, follow, bisected)
        worth = decrease * np.maximum(np.abs(value), 0.1)
        finished = (slope == 0) | (inside & (0.5 * np.abs(slope * step) <= worth))
        active = active[~finished]
        if not active.size:
            break
    return t, best
