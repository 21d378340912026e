"""From the margin of a smoothed classifier to the number of label flips it survives."""

import functools
import math
import numbers
import threading

import numpy as np

from ._inputs import check_n_classes, check_noise

_UNIT_ROUNDOFF = 2.0**-53
_LOG_HALF = -math.log(2.0)
# Tails of the walk with less mass than this are cut off from time to time.
_LOST_MASS = 2.0**-90


def flips_from_margin(log_error, noise, n_classes=2, bound="tight", *, max_radius=100_000):
    """Largest number of label flips that a margin under label noise survives.

    Each training label is replaced, with probability `noise` and independently, by one of the
    other classes, all alike. If an event (class c beats a rival, or the base classifier answers
    c) has probability at least p > 1/2 under that noise, it keeps a probability above 1/2 after
    any change of the returned number of training labels.

    Parameters
    ----------
    log_error : float or array-like of floats, at most 0
        Upper bound on log(1 - p), natural logarithm. Margins beyond the range of doubles, such
        as -5000, are as good as any other; minus infinity stands for p = 1.
    noise : float
        Probability q that a label is replaced, in the open interval (0, (K - 1) / K).
    n_classes : int, default=2
        Number of classes K, at least 2.
    bound : {"tight", "kl"}, default="tight"
        "tight": the best radius possible from p alone (Neyman-Pearson). "kl": the closed form
        from the Kullback-Leibler divergence, about half as large.
    max_radius : int, default=100_000
        Larger radii are returned as this one; pass the number of training labels. "tight" walks
        up to the largest radius once per (noise, n_classes) and remembers the walk.

    Returns
    -------
    radius : ndarray of int64, of the shape of `log_error`
        Number of flips in 0..max_radius; -1 where p <= 1/2, and nothing is promised.

    Raises
    ------
    ValueError
        If `log_error` is positive or not a number, `noise` or `n_classes` is out of range,
        `bound` is unknown, or `max_radius` is negative.

    See Also
    --------
    chernoff_log_error : The margin of a linear smoother.
    monte_carlo_radius : The margin of any classifier, from votes.

    Notes
    -----
    *Tight.* Each attacked label multiplies the likelihood ratio of clean to attacked noise by
    w = (1 - q)(K - 1) / q, by 1, or by 1 / w: with probabilities 1 - q, q (K - 2) / (K - 1) and
    q / (K - 1) under the clean noise, and with the first and last exchanged under the attacked
    noise. By the lemma of Neyman and Pearson the event most spoiled by the attack consists of
    the outcomes with the smallest ratio. So r flips are survived if and only if 1 - p is below
    E_r, the clean probability of those outcomes that hold half of the attacked probability:

        E_r = sum over s of w^s times the mass at s,

    where the sum of r independent steps +1, 0, -1 with the attacked probabilities is walked,
    and only its lower half is kept (with a part of the mass at the median). E_r decreases, and
    the radius is the number of r >= 1 with log(1 - p) < log E_r.

    *KL.* r <= log(4 p (1 - p)) / (2 (1 - K q / (K - 1)) log(1 / w)).

    *Rounding.* It can only lower a radius. All sums for E_r have positive terms near the median,
    so nothing underflows; their relative error after r steps is at most ``(8 r + 4 m + 512) u``
    (u = 2**-53, m terms), to which the mass cut from the far tails (2**-90 at a time) and the
    error of log w are added; all of it is subtracted.

    References
    ----------
    .. [1] E. Rosenfeld, E. Winston, P. Ravikumar and J. Z. Kolter, "Certified Robustness to
       Label-Flipping Attacks via Randomized Smoothing", ICML 2020, equations 2 and 5, B.3.

    Examples
    --------
    >>> from certified_ensembles.certificates import flips_from_margin
    >>> flips_from_margin([-0.5, -1.0, -30.0, -5000.0], noise=0.3).tolist()
    [-1, 0, 80, 14736]
    >>> flips_from_margin([-0.5, -1.0, -30.0, -5000.0], noise=0.3, bound="kl").tolist()
    [-1, 0, 42, 7374]
    """
    n_classes = check_n_classes(n_classes, minimum=2)
    noise = check_noise(noise, n_classes)
    log_error = np.asarray(log_error, dtype=np.float64)
    if not (log_error <= 0).all():
        raise ValueError(
            "log_error must hold logarithms of probabilities, at most 0, got "
            f"{log_error[~(log_error <= 0)].flat[0]}; pass log(1 - p), for instance log1p(-p)."
        )
    if not isinstance(max_radius, numbers.Integral) or max_radius < 0:
        raise ValueError(
            f"max_radius must be an integer of at least 0, got {max_radius!r}; pass the number of "
            "training labels."
        )
    if bound not in ("tight", "kl"):
        raise ValueError(f"bound must be 'tight' or 'kl', got {bound!r}.")
    radius_from = _tight_radius if bound == "tight" else _kl_radius
    radius = np.full(log_error.shape, -1, dtype=np.int64)
    promised = log_error < np.nextafter(_LOG_HALF, -np.inf)
    radius[promised] = radius_from(log_error[promised], noise, n_classes, int(max_radius))
    return radius


def groups_within_flips(flips, groups) -> np.ndarray:
    """Return how many groups a radius in labels covers, whichever groups these are.

    Parameters
    ----------
    flips : ndarray of shape (n_samples,), int
        Numbers of labels that may be changed, in any way; -1 where nothing is promised.
    groups : ndarray of shape (n_train,), int
        The group of every label.

    Returns
    -------
    n_groups : ndarray of shape (n_samples,), int64
        The largest number of groups of which even the largest hold no more labels; -1 for -1.
    """
    sizes = np.sort(np.unique(groups, return_counts=True)[1])[::-1]
    fitting = np.searchsorted(np.cumsum(sizes), flips, side="right")
    return np.where(np.asarray(flips) < 0, -1, fitting)


def _log_ratio(noise, n_classes) -> tuple[float, float]:
    """Return log w, w the likelihood ratio of a label kept to one replaced, and its error."""
    parts = math.log1p(-noise), math.log(n_classes - 1), -math.log(noise)
    return sum(parts), 8 * _UNIT_ROUNDOFF * sum(map(abs, parts))


def _kl_radius(log_error, noise, n_classes, max_radius) -> np.ndarray:
    # The margin may cancel near p = 1/2, so errors count in ulps of the parts, not of the whole.
    log_error = np.maximum(log_error, -1e300)
    log_margin = math.log(4.0) + log_error + np.log1p(-np.exp(log_error))
    log_margin = np.minimum(log_margin + 16 * _UNIT_ROUNDOFF * (2 - log_error), 0.0)
    log_ratio, error = _log_ratio(noise, n_classes)
    kept = 1 - n_classes * noise / (n_classes - 1)
    per_flip = 2 * (kept + 8 * _UNIT_ROUNDOFF) * (log_ratio + error)
    flips = np.floor(-log_margin / per_flip * (1 - 8 * _UNIT_ROUNDOFF))
    return np.minimum(flips, max_radius).astype(np.int64)


def _tight_radius(log_error, noise, n_classes, max_radius) -> np.ndarray:
    finite = np.isfinite(log_error)
    allowed = _walk(noise, n_classes).log_allowed(log_error[finite].min(initial=0.0), max_radius)
    radius = np.full(log_error.shape, max_radius, dtype=np.int64)
    radius[finite] = np.searchsorted(-allowed, -log_error[finite], side="left")
    return radius


@functools.lru_cache(maxsize=64)
def _walk(noise, n_classes) -> "_AttackedWalk":
    return _AttackedWalk(noise, n_classes)


class _AttackedWalk:
    """Lower bounds on log E_r for r = 1, 2, ..., computed as far as they have been asked for.

    The state is the distribution of the sum of r attacked steps around its median: `mass[i]` is
    the probability of the sum ``start + i``.
    """

    def __init__(self, noise, n_classes):
        moved = noise / (n_classes - 1)
        self._step = np.array([1 - noise, moved * (n_classes - 2), moved])  # -1, 0, +1
        self._log_ratio, self._log_ratio_error = _log_ratio(noise, n_classes)
        # Powers w^-j, to the first one that is nothing beside a sum of order 1e-8 or more.
        length = min(
            1 << 16, math.ceil(100 / self._log_ratio) if self._log_ratio > 1e-3 else 1 << 16
        )
        self._decay = np.exp(-self._log_ratio * np.arange(length, 0, -1))
        self._mass = np.ones(1)
        self._start = 0
        self._median = 0  # index of the median in `mass`
        self._lost = 0.0
        self._log_allowed = []
        self._lock = threading.Lock()

    def log_allowed(self, lowest, max_radius) -> np.ndarray:
        """Return log E_1, ..., log E_R, up to one at or below `lowest` or to R = max_radius."""
        with self._lock:
            found = self._log_allowed
            while len(found) < max_radius and not (found and found[-1] <= lowest):
                self._advance()
                found.append(min(self._current(), found[-1] if found else 0.0))
            return np.array(found[:max_radius])

    def _advance(self):
        self._mass = np.convolve(self._mass, self._step)
        self._start -= 1
        self._median += 1
        if len(self._log_allowed) % 64 == 63:
            self._cut_tails()

    def _cut_tails(self):
        """Drop both tails while they hold next to nothing, and remember how much that was."""
        mass = self._mass
        first = np.searchsorted(np.cumsum(mass), _LOST_MASS)
        last = len(mass) - np.searchsorted(np.cumsum(mass[::-1]), _LOST_MASS)
        self._lost += 2.5 * _LOST_MASS
        self._mass = mass[first:last].copy()
        self._start += int(first)
        self._median -= int(first)

    def _current(self) -> float:
        """Return a lower bound on log E_r for the current number of steps r."""
        mass, middle = self._mass, self._median
        below = mass[:middle].sum()
        while below > 0.5:
            middle -= 1
            below -= mass[middle]
        while below + mass[middle] < 0.5:
            below += mass[middle]
            middle += 1
        self._median = middle
        n_terms = min(middle, len(self._decay))
        tail = mass[middle - n_terms : middle] @ self._decay[len(self._decay) - n_terms :]
        # Relative to w^median: part of the mass at the median, and what lies below it.
        allowed = (0.5 - below) + tail
        n_steps = len(self._log_allowed) + 1
        error = (8 * n_steps + 4 * len(mass) + 512) * _UNIT_ROUNDOFF + self._lost
        error += n_terms * self._log_ratio_error * tail
        if allowed <= 2 * error:
            return -math.inf
        median = self._start + middle
        log_allowed = median * self._log_ratio + math.log(allowed - error)
        return (
            log_allowed
            - abs(median) * self._log_ratio_error
            - 16
            * _UNIT_ROUNDOFF
            * (1 + abs(median * self._log_ratio) + abs(math.log(allowed - error)))
        )
