"""How often a random subset of the labels holds a poisoned one (randomized ablation)."""

import numbers

import numpy as np


def ablation_poisoned_probability(n_train, n_kept, n_flips):
    """Probability that a random subset of training labels holds a flipped one.

    Parameters
    ----------
    n_train : int
        Number of training labels m.
    n_kept : int
        Number of labels s that each base classifier sees, drawn without replacement; at most
        `n_train`.
    n_flips : int or array-like of ints
        Number of labels r that the attacker flips, each at most `n_train`.

    Returns
    -------
    probability : float or ndarray of the shape of `n_flips`
        1 - C(m - r, s) / C(m, s), rounded up: never below the exact value, and above it by less
        than a share of ``n_train * 2**-49``.

    Raises
    ------
    ValueError
        If a number is negative or exceeds `n_train`.

    Notes
    -----
    Randomized ablation with infinitely many base classifiers certifies r flips where the two
    largest class probabilities differ by more than twice this number. Partitions of s labels each
    (`SemiSupervisedDPA` with k = m / s) poison at most a share r s / m of the members, which is
    little more while r s is small beside m, and certify without any randomness.

    References
    ----------
    .. [1] A. Levine and S. Feizi, "Deep Partition Aggregation: Provable Defenses against General
       Poisoning Attacks", ICLR 2021, appendix C, equation 21.

    Examples
    --------
    >>> from certified_ensembles.certificates import ablation_poisoned_probability
    >>> print(round(ablation_poisoned_probability(60000, 50, 200), 3), round(200 * 50 / 60000, 3))
    0.154 0.167
    """
    for name, value in (("n_train", n_train), ("n_kept", n_kept)):
        if not isinstance(value, numbers.Integral) or not 0 <= value <= n_train:
            raise ValueError(
                f"{name} must be an integer from 0 to n_train, got {value!r}; pass numbers of "
                "training labels."
            )
    flips = np.asarray(n_flips)
    if flips.dtype.kind not in "iu" or (flips < 0).any() or (flips > n_train).any():
        raise ValueError(
            f"n_flips must hold integers from 0 to n_train = {n_train}, got {n_flips!r}; no more "
            "labels than there are can be flipped."
        )
    # The subset avoids flipped label i + 1, given that it avoided i of them, with probability
    # (m - i - s) / (m - i). Logarithms keep probabilities near 0 and near 1.
    taken = np.arange(min(flips.max(initial=0), n_train - n_kept))
    log_avoid = np.append(0.0, np.cumsum(np.log1p(-n_kept / (n_train - taken))))
    possible = flips < len(log_avoid)
    probability = np.where(possible, -np.expm1(log_avoid[np.where(possible, flips, 0)]), 1.0)
    # Relative error of the sum: at most n_train 2**-52 and a few ulps.
    probability = np.minimum(probability * (1 + 2.0**-51 * (n_train + 64)), 1.0)
    return probability[()] if flips.ndim == 0 else probability
