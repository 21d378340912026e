"""The margin of any classifier under label noise, from the votes of noisy clones."""

import numbers

import numpy as np
from scipy.special import betainc, betaincinv

from ._inputs import check_noise
from .flips import flips_from_margin


def monte_carlo_radius(
    vote_counts,
    noise,
    confidence,
    *,
    n_draws=None,
    selection_counts=None,
    bound="tight",
    max_radius=100_000,
):
    """Majority class of clones trained on noisy labels, and the label flips it likely survives.

    Every clone is trained on labels drawn anew: each training label replaced, with probability
    `noise` and independently, by one of the other classes, all alike. A clone is one draw of the
    answer of the smoothed classifier's base.

    Parameters
    ----------
    vote_counts : array-like of shape (n_samples, n_classes), non-negative integers
        Clones that answer each class, for every test point.
    noise : float
        Probability q that a label is replaced, in the open interval (0, (K - 1) / K), where K is
        the number of columns of `vote_counts`.
    confidence : float
        Probability, in the open interval (0, 1), with which the result for one test point is
        right. Results for several points hold together with less: confidence
        ``1 - (1 - confidence) / n`` for each makes n of them hold together.
    n_draws : int, optional
        Number of clones; clones that answer no class then count against every class. None: the
        votes of each row, all of them.
    selection_counts : array-like of shape (n_samples, n_classes), optional
        Votes of other clones, independent of those in `vote_counts`. Then the class is chosen by
        these, and `vote_counts` only measure it: the whole error probability goes to one bound.
    bound : {"tight", "kl"}, default="tight"
        As in `flips_from_margin`.
    max_radius : int, default=100_000
        As in `flips_from_margin`; pass the number of training labels.

    Returns
    -------
    winner : ndarray of shape (n_samples,), int64
        Code of the class with most votes (in `selection_counts` where given); ties go to the
        smaller code.
    radius : ndarray of shape (n_samples,), int64
        Number of label flips; -1 where the lower bound on the share of the winner does not
        exceed 1/2, and the classifier abstains.

    Raises
    ------
    ValueError
        If counts are not matrices of non-negative integers with at least two columns, exceed
        `n_draws`, or differ in shape, or if `noise` or `confidence` is out of range.

    Notes
    -----
    *Theorem.* Let p_c be the probability that a clone answers c. With probability at least
    `confidence` over the draws: either the radius is -1, or p_winner > 1/2 and this still holds,
    for labels drawn around them, after any change of `radius` or fewer training labels.

    *Level.* The bound on the share is that of Clopper and Pearson. Where the winner is chosen by
    the votes that also measure it, its level is (1 - confidence) / 2, for any number of classes.
    If p_1 > 1/2, two things can go wrong: class 1 wins with a bound above p_1; or another class
    gets a bound above 1/2, and then those who do not answer 1, a share below 1/2, have got one
    too. If no share exceeds 1/2, some class must get a bound above 1/2; at most one does, the
    chance of each is convex in its share below 1/2, and so the sum is largest for two classes of
    share 1/2.

    *Rounding.* The inverse of the beta distribution is widened until the distribution itself
    confirms it.

    References
    ----------
    .. [1] E. Rosenfeld, E. Winston, P. Ravikumar and J. Z. Kolter, "Certified Robustness to
       Label-Flipping Attacks via Randomized Smoothing", ICML 2020, algorithm 2.
    .. [2] C. J. Clopper and E. S. Pearson, "The Use of Confidence or Fiducial Limits Illustrated
       in the Case of the Binomial", Biometrika 26, 1934.

    Examples
    --------
    >>> from certified_ensembles.certificates import monte_carlo_radius
    >>> winner, radius = monte_carlo_radius([[1000, 0], [900, 100], [520, 480]], 0.3, 0.999)
    >>> winner.tolist(), radius.tolist()
    ([0, 0, 0], [8, 1, -1])
    """
    votes = _check_counts(vote_counts, "vote_counts")
    noise = check_noise(noise, votes.shape[1])
    if not (isinstance(confidence, numbers.Real) and 0 < confidence < 1):
        raise ValueError(
            f"confidence must lie strictly between 0 and 1, got {confidence!r}; a finite number "
            "of draws never gives certainty: try 0.999."
        )
    level = 1.0 - confidence
    deciding = votes
    if selection_counts is None:
        level /= 2
    else:
        deciding = _check_counts(selection_counts, "selection_counts")
        if deciding.shape != votes.shape:
            raise ValueError(
                f"selection_counts must have the shape of vote_counts, {votes.shape}, got "
                f"{deciding.shape}; count the votes of both sets of clones on the same points."
            )
    drawn = votes.sum(axis=1)
    if n_draws is not None:
        if drawn.max(initial=0) > n_draws:
            raise ValueError(
                f"n_draws must be at least the votes of every row, got {n_draws} and "
                f"{drawn.max()} votes; pass the number of clones that were trained."
            )
        drawn = np.full(len(votes), n_draws)
    winner = deciding.argmax(axis=1)
    hits = votes[np.arange(len(votes)), winner]
    log_error = np.log(np.minimum(_largest_miss_rate(drawn - hits, drawn, level), 1.0))
    # The logarithm rounds too.
    log_error = np.minimum(log_error + 2.0**-50 * (1 - log_error), 0.0)
    radius = flips_from_margin(log_error, noise, votes.shape[1], bound, max_radius=max_radius)
    return winner.astype(np.int64), radius


def _largest_miss_rate(misses, drawn, level) -> np.ndarray:
    """Return an upper Clopper-Pearson bound on the probability of a miss.

    It is the rate at which so few misses have probability `level`.
    """
    rate = np.ones(len(drawn))
    has_hits = misses < drawn
    a, b = misses[has_hits] + 1.0, (drawn - misses)[has_hits].astype(np.float64)
    # betainc(a, b, rate) is the probability of more misses than were seen.
    found = betaincinv(a, b, 1.0 - level)
    for widening in 2.0 ** np.arange(-40, 0):
        short = betainc(b, a, 1.0 - found) > level * (1 - 2.0**-36)
        if not short.any():
            break
        found = np.where(short, np.minimum(found * (1 + widening) + 2.0**-1000, 1.0), found)
    rate[has_hits] = found
    return rate


def _check_counts(counts, name) -> np.ndarray:
    counts = np.asarray(counts)
    if counts.ndim != 2 or counts.shape[1] < 2 or (counts.dtype.kind not in "iu" and counts.size):
        raise ValueError(
            f"{name} must be an integer array of shape (n_samples, n_classes) with at least two "
            f"classes, got shape {counts.shape} and dtype {counts.dtype}; count the votes of "
            "every class."
        )
    if counts.size and counts.min() < 0:
        raise ValueError(f"{name} must not be negative, got {counts.min()}; pass counts of votes.")
    return counts.astype(np.int64)
