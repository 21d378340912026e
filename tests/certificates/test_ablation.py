"""Probability of a poisoned subset, against binomial coefficients."""

import itertools
import math
from fractions import Fraction

import numpy as np
import pytest

from certified_ensembles.certificates import ablation_poisoned_probability


@pytest.mark.parametrize("n_train", [1, 2, 7, 60, 500])
def test_probability_is_the_exact_one_rounded_up(n_train):
    for n_kept in {0, 1, n_train // 7, n_train // 2, n_train - 1, n_train}:
        flips = np.arange(n_train + 1)
        probability = ablation_poisoned_probability(n_train, n_kept, flips)
        for r, value in zip(flips.tolist(), probability.tolist(), strict=True):
            exact = 1 - Fraction(math.comb(n_train - r, n_kept), math.comb(n_train, n_kept))
            assert exact <= Fraction(value) <= exact * (1 + Fraction(n_train + 64, 2**49))


def test_probability_counts_the_subsets_that_hold_a_flipped_label():
    subsets = list(itertools.combinations(range(6), 2))
    for r in range(7):
        poisoned = sum(min(subset) < r for subset in subsets)
        assert ablation_poisoned_probability(6, 2, r) == pytest.approx(poisoned / len(subsets))


def test_the_papers_example():
    probability = ablation_poisoned_probability(60_000, 50, 200)
    assert isinstance(probability, float)
    assert round(probability, 3) == 0.154
    # Eleven parts in a billion keep their digits.
    tiny = ablation_poisoned_probability(10**9, 11, 1)
    assert tiny == pytest.approx(11e-9, rel=1e-5)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((10, 11, 1), "n_kept must be an integer from 0 to n_train, got 11"),
        ((10, 2.5, 1), "n_kept must be an integer"),
        ((-1, 0, 0), "n_train must be an integer"),
        ((10, 2, 11), "n_flips must hold integers from 0 to n_train = 10"),
        ((10, 2, [1, -1]), "n_flips must hold integers"),
        ((10, 2, 1.0), "n_flips must hold integers"),
    ],
)
def test_wrong_arguments_are_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        ablation_poisoned_probability(*arguments)
