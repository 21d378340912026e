"""Members trained on noisy copies of the labels: randomized smoothing of any classifier."""

import numpy as np
from sklearn.utils.parallel import Parallel, delayed
from sklearn.utils.validation import check_memory

from .._deterministic import draws_globally, is_net, one_thread, plain_floats, seeded_clones
from .training import Job, progress, train


def noisy_codes(codes, n_classes, noise, seed):
    """Replace each label, with probability `noise`, by one of the others, all alike.

    Parameters
    ----------
    codes : ndarray of shape (n_train,), int
        Labels in 0..n_classes - 1.
    n_classes : int
        At least 2.
    noise : float
        Between 0 and 1.
    seed : sequence of int
        The same seed and length give the same replacements, place by place.

    Returns
    -------
    codes : ndarray of shape (n_train,), int
    """
    rng = np.random.default_rng(seed)
    replaced = rng.random(len(codes)) < noise
    shift = rng.integers(1, n_classes, len(codes))
    return np.where(replaced, (codes + shift) % n_classes, codes)


def fit_noisy_members(
    estimator, X, row_of_copy, codes, classes, noise, n_draws, *,
    random_state, n_jobs, memory, verbose,
):  # fmt: skip
    """Train one member on each of many noisy label vectors.

    Parameters
    ----------
    estimator : classifier
        Unfitted; cloned and seeded for each draw.
    X : training rows in canonical order
    row_of_copy : ndarray of shape (n_train,)
        Non-decreasing; rows with one number are copies of each other.
    codes : ndarray of shape (n_train,), int
        Labels, sorted among copies.
    classes : ndarray of shape (n_classes,)
        Sorted labels.
    noise : float
    n_draws : int
    random_state : int
        Draw i has the seed ``random_state + i``.
    n_jobs, memory, verbose
        As in the estimators.

    Returns
    -------
    members : list of classifier
    """
    memory = check_memory(memory)
    single, needed = is_net(estimator), draws_globally(estimator)
    X = plain_floats(X, single)
    seeds = [random_state + i for i in range(n_draws)]

    def tasks():
        for seed, member in zip(seeds, seeded_clones(estimator, seeds), strict=True):
            noisy = noisy_codes(codes, len(classes), noise, [random_state, seed - random_state])
            # A member must not know which of two copies has which label.
            noisy = noisy[np.lexsort((noisy, row_of_copy))]
            yield delayed(_fit_draw)(member, X, classes[noisy], seed, needed, memory)

    with one_thread:
        results = Parallel(n_jobs=n_jobs, return_as="generator")(tasks())
        return list(progress(results, n_draws, "fit", verbose))


def _fit_draw(estimator, X, y, seed, needed, memory):
    with one_thread:
        return train([Job(estimator, X, y, {}, seed, needed)], memory)[0]
