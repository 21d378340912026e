"""The margin of a linear smoother under label noise, by the Chernoff bound."""

import numpy as np

from ._chernoff import ChernoffExponent
from ._inputs import check_n_classes, check_noise
from ._scored_blocks import LabelSortedWeights


def chernoff_log_error(weights, y, noise, n_classes):
    """Winner of a linear smoother, and a bound on its probability to lose under label noise.

    Each training label is replaced, with probability `noise` and independently, by one of the
    other classes, all alike; S_c is the sum of the weights of the labels that then say c.

    Parameters
    ----------
    weights : array-like of shape (n_samples, n_train)
        Weight of every training label at every test point. It must not depend on the labels.
    y : array-like of shape (n_train,)
        Training labels as integer codes in 0..n_classes - 1.
    noise : float
        Probability q that a label is replaced, in the open interval (0, (K - 1) / K).
    n_classes : int
        Number of classes K, at least 2. Noise and attacker write these classes only.

    Returns
    -------
    winner : ndarray of shape (n_samples,), int64
        Code of the class with the largest score without noise, in exact arithmetic; ties go to
        the smaller code. No other class can have a bound below 0.
    log_error : ndarray of shape (n_samples,)
        Upper bound, at most 0, on the largest log P(S_winner <= S_b) over the rivals b.

    Raises
    ------
    ValueError
        If an argument has a wrong shape, type or range; the message says which.

    See Also
    --------
    flips_from_margin : The number of label flips that this margin survives.
    linear_smoother_radius : The exact radius of the same classifier without noise.

    Notes
    -----
    *What is certified.* The smoothed classifier answers the class c with P(S_c > S_b) > 1/2
    against every other class b, over the noise; at most one class can have that. Where
    ``r = flips_from_margin(log_error, noise, n_classes)`` is not negative, it answers ``winner``,
    and still does after any change of r or fewer training labels: then no other class has
    P(S_b > S_c) > 1/2, and so no other class can be certified. The bound computed here from the
    changed labels may be too weak to show it; it can then lead to an abstention, and never to
    another certified class.

    *Bound.* For every t >= 0, P(S_c <= S_b) is at most the expectation of exp(-t (S_c - S_b)),
    a product over the labels. Its logarithm is convex in t. Any t is valid, so an inexact
    minimum is loose and never wrong. Rows of thousands of labels are summed by a histogram of
    their weights; the bound that it gives is valid, and used where it is within 3e-5 of the
    value that it replaces, relatively.

    *Rounding.* It can only raise `log_error`: a bound on the rounding error of the final sum is
    added to it.

    *Open label set.* The noise model is over the `n_classes` classes: a label outside them has no
    place in it. Refuse such labels, or use `linear_smoother_radius` with ``open_set=True``.

    References
    ----------
    .. [1] E. Rosenfeld, E. Winston, P. Ravikumar and J. Z. Kolter, "Certified Robustness to
       Label-Flipping Attacks via Randomized Smoothing", ICML 2020, section 4 and B.2.

    Examples
    --------
    Sixty neighbours, fifty of them of class 1.

    >>> import numpy as np
    >>> from certified_ensembles.certificates import chernoff_log_error, flips_from_margin
    >>> y = np.repeat([0, 1], [10, 50])
    >>> winner, log_error = chernoff_log_error(np.ones((1, 60)), y, noise=0.2, n_classes=2)
    >>> winner.tolist(), log_error.round(2).tolist()
    ([1], [-6.6])
    >>> flips_from_margin(log_error, noise=0.2).tolist()
    [5]
    """
    n_classes = check_n_classes(n_classes, minimum=2)
    noise = check_noise(noise, n_classes)
    smoother = LabelSortedWeights(weights, y, n_classes)
    exponent = ChernoffExponent(smoother, noise)
    winner = np.zeros(len(smoother), dtype=np.int64)
    log_error = np.zeros(len(smoother))
    for block in smoother.blocks(width=exponent.working_width):
        winner[block.rows] = block.winner
        log_error[block.rows] = exponent.worst_rival(block)
    return winner, np.minimum(log_error, 0.0)
