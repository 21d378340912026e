"""The margin from votes: the Clopper-Pearson bound in rational arithmetic, and its true risk."""

import itertools
import math
from fractions import Fraction

import numpy as np
import pytest

from certified_ensembles.certificates import flips_from_margin, monte_carlo_radius
from certified_ensembles.certificates.monte_carlo import _largest_miss_rate


@pytest.mark.parametrize("level", [0.0005, 0.05, 0.25])
def test_miss_rate_is_an_upper_bound_at_its_level_and_no_larger_than_needed(level):
    drawn = 40
    misses = np.arange(drawn + 1)
    rates = _largest_miss_rate(misses, np.full(drawn + 1, drawn), level)
    assert rates[drawn] == 1
    for k, rate in zip(misses[:-1].tolist(), rates[:-1].tolist(), strict=True):

        def few_misses(p, k=k):
            return sum(math.comb(drawn, i) * p**i * (1 - p) ** (drawn - i) for i in range(k + 1))

        assert few_misses(Fraction(rate)) <= Fraction(level)
        assert few_misses(Fraction(rate * (1 - 1e-7))) > Fraction(level)


def test_unanimous_votes_have_the_closed_form():
    for drawn in (1, 10, 1000, 10**6):
        (rate,) = _largest_miss_rate(np.array([0]), np.array([drawn]), 0.0005)
        assert rate == pytest.approx(-math.expm1(math.log(0.0005) / drawn), rel=1e-9)


@pytest.mark.parametrize("confidence", [0.55, 0.78, 0.8, 0.95])
@pytest.mark.parametrize("separate", [False, True])
@pytest.mark.parametrize(
    "shares", [(0.5, 0.5), (0.52, 0.48), (0.3, 0.7), (0.5, 0.25, 0.25), (0.4, 0.3, 0.3)]
)
def test_the_chance_of_a_false_promise_is_below_the_level(shares, separate, confidence):
    """Every vote of 14 clones: the share of the winner must reach what its radius assumes."""
    drawn, noise, n_classes = 14, 0.05, len(shares)
    votes = np.array(
        [v for v in itertools.product(range(drawn + 1), repeat=n_classes) if sum(v) == drawn]
    )
    chance = np.array(
        [
            math.factorial(drawn)
            * math.prod(p ** int(k) / math.factorial(k) for p, k in zip(shares, v, strict=True))
            for v in votes
        ]
    )
    assert chance.sum() == pytest.approx(1)
    honest = flips_from_margin(np.log1p(-np.array(shares)), noise, n_classes)
    risk = 0.0
    if separate:
        for c in range(n_classes):
            chosen = np.zeros_like(votes)
            chosen[:, c] = 1
            winner, radius = monte_carlo_radius(votes, noise, confidence, selection_counts=chosen)
            assert (winner == c).all()
            risk = max(risk, chance[radius > honest[c]].sum())
    else:
        winner, radius = monte_carlo_radius(votes, noise, confidence)
        assert (winner == votes.argmax(axis=1)).all()
        risk = chance[radius > honest[winner]].sum()
    assert risk <= 1 - confidence


def test_radius_is_that_of_the_lower_bound_on_the_share():
    votes = np.array([[1000, 0, 0], [10, 900, 90], [3, 3, 994], [505, 495, 0]])
    winner, radius = monte_carlo_radius(votes, 0.2, 0.999)
    assert winner.tolist() == [0, 1, 2, 0]
    misses = 1000 - votes.max(axis=1)
    rate = _largest_miss_rate(misses, np.full(4, 1000), (1 - 0.999) / 2)
    np.testing.assert_array_equal(radius, flips_from_margin(np.log(rate), 0.2, 3))
    assert radius[3] == -1
    assert radius[0] > radius[2] > radius[1] >= 0
    kl = monte_carlo_radius(votes, 0.2, 0.999, bound="kl")[1]
    assert (kl <= radius).all()
    assert kl[0] < radius[0]
    assert monte_carlo_radius(votes, 0.2, 0.999, max_radius=1)[1].tolist() == [1, 0, 1, -1]


def test_clones_that_answer_nothing_count_against_the_winner():
    all_answer = monte_carlo_radius([[60, 0]], 0.2, 0.99)[1]
    some_silent = monte_carlo_radius([[60, 0]], 0.2, 0.99, n_draws=70)[1]
    as_rivals = monte_carlo_radius([[60, 10]], 0.2, 0.99)[1]
    assert some_silent == as_rivals < all_answer
    assert monte_carlo_radius([[0, 0]], 0.2, 0.99)[1].tolist() == [-1]
    assert monte_carlo_radius(np.zeros((0, 2), int), 0.2, 0.99)[1].shape == (0,)


def test_a_separate_choice_of_the_class_is_worth_the_whole_level():
    votes = [[480, 20]]
    together = monte_carlo_radius(votes, 0.05, 0.999)[1]
    apart = monte_carlo_radius(votes, 0.05, 0.999, selection_counts=[[9, 1]])[1]
    lower = _largest_miss_rate(np.array([20]), np.array([500]), 1 - 0.999)
    assert apart == flips_from_margin(np.log(lower), 0.05)
    assert apart >= together
    winner, radius = monte_carlo_radius(votes, 0.05, 0.999, selection_counts=[[1, 9]])
    assert (winner.tolist(), radius.tolist()) == ([1], [-1])


@pytest.mark.parametrize(
    ("arguments", "options", "message"),
    [
        (([1, 2], 0.1, 0.9), {}, "vote_counts must be an integer array"),
        (([[1.5, 2]], 0.1, 0.9), {}, "vote_counts must be an integer array"),
        (([[3]], 0.1, 0.9), {}, "at least two classes"),
        (([[3, -1]], 0.1, 0.9), {}, "vote_counts must not be negative"),
        (([[3, 1]], 0.6, 0.9), {}, "noise must lie"),
        (([[3, 1]], 0.1, 1.0), {}, "confidence must lie strictly between 0 and 1, got 1.0"),
        (([[3, 1]], 0.1, 0.9), {"n_draws": 3}, "n_draws must be at least the votes"),
        (([[3, 1]], 0.1, 0.9), {"selection_counts": [[1, 2, 3]]}, "selection_counts must have"),
    ],
)
def test_wrong_arguments_are_named(arguments, options, message):
    with pytest.raises(ValueError, match=message):
        monte_carlo_radius(*arguments, **options)
