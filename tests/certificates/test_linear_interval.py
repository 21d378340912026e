"""Targets that move within bounds: exact under every adversary of small smoothers."""

import itertools
from fractions import Fraction

import numpy as np
import pytest

from certified_ensembles.certificates import (
    linear_smoother_interval,
    linear_smoother_interval_radius,
)


def reachable(weights, y, r, bounds, groups):
    """The smallest and the largest prediction over all adversaries.

    A linear function of the targets is extreme at the ends of their ranges.
    """
    owners, found = sorted(set(groups)), []
    for some in itertools.combinations(owners, min(r, len(owners))):
        own = [j for j, g in enumerate(groups) if g in some]
        for new in itertools.product((None, *bounds), repeat=len(own)):
            after = list(y)
            for j, value in zip(own, new, strict=True):
                after[j] = y[j] if value is None else value
            found.append(float(np.dot(weights, after)))
    return min(found), max(found)


def small_smoothers(seed, n_groups=None):
    """Integers, for which nothing is rounded; targets beyond the bounds among them."""
    rng = np.random.default_rng(seed)
    for i in range(520):
        n = 1 + i % 6
        weights, y = rng.integers(-3, 4, n), rng.integers(-4, 5, n)
        groups = np.arange(n) if n_groups is None else rng.integers(n_groups, size=n)
        low = int(rng.integers(-4, 3))
        yield weights, y, (low, low + int(rng.integers(6))), groups, int(rng.integers(4))


@pytest.mark.parametrize("n_groups", [None, 3])
def test_interval_is_what_all_adversaries_reach_and_no_more(n_groups):
    for weights, y, bounds, groups, r in small_smoothers(0, n_groups):
        given = None if n_groups is None else groups
        lower, upper = linear_smoother_interval(weights[None], y, r, bounds, groups=given)
        assert (lower[0], upper[0]) == reachable(weights, y, r, bounds, groups)


@pytest.mark.parametrize("n_groups", [None, 3])
def test_radius_is_the_last_number_that_no_adversary_turns(n_groups):
    rng = np.random.default_rng(1)
    radii = []
    for weights, y, bounds, groups, r in small_smoothers(2, n_groups):
        value = weights @ y
        low, high = value - rng.integers(-1, 20), value + rng.integers(20)
        given = None if n_groups is None else groups
        (radius,) = linear_smoother_interval_radius(
            weights[None], y, low, high, bounds, groups=given
        )
        smallest, largest = reachable(weights, y, r, bounds, groups)
        stays = low <= value <= high and low <= smallest and largest <= high
        assert stays == (radius >= min(r, len(set(groups))))
        radii.append(radius)
    assert {-1, 0, 1, 2} <= set(radii)


def test_bounds_hold_for_real_numbers_and_are_tight():
    rng = np.random.default_rng(3)
    weights, y = rng.normal(size=(40, 60)), rng.normal(size=60)
    lower, upper = linear_smoother_interval(weights, y, 5, (-2, 2))
    for a, low, high in zip(weights, lower, upper, strict=True):
        gains = np.maximum(a * (2 - y), a * (-2 - y))
        changed, worst = np.argsort(gains)[-5:], y.copy()
        worst[changed] = np.where(a[changed] > 0, 2, -2)
        assert low < a @ worst <= high < a @ worst + 1e-9
    inside = linear_smoother_interval_radius(weights, y, lower - 1e-9, upper + 1e-9, (-2, 2))
    assert (inside >= 5).all()
    beyond = linear_smoother_interval_radius(weights, y, lower + 1e-3, upper, (-2, 2))
    assert (beyond < 5).all()


def test_bounds_are_rounded_outwards():
    rng = np.random.default_rng(6)
    weights, y = rng.normal(size=(60, 7)), rng.normal(size=7)
    lower, upper = linear_smoother_interval(weights, y, 2, (-2, 2))
    for a, low, high in zip(weights, lower, upper, strict=True):
        a, targets = [Fraction(w) for w in a], [Fraction(t) for t in y]
        value = sum(w * t for w, t in zip(a, targets, strict=True))
        rises = sorted(max(w * (2 - t), w * (-2 - t)) for w, t in zip(a, targets, strict=True))
        falls = sorted(min(w * (2 - t), w * (-2 - t)) for w, t in zip(a, targets, strict=True))
        assert Fraction(low) <= value + sum(falls[:2])
        assert value + sum(rises[-2:]) <= Fraction(high)


def test_a_row_is_certified_alike_in_any_company():
    rng = np.random.default_rng(4)
    weights, y, groups = (
        rng.normal(size=(30, 200)),
        rng.normal(size=200),
        rng.integers(9, size=200),
    )
    together = linear_smoother_interval(weights, y, 2, (-3, 3), groups=groups)
    for i in range(30):
        alone = linear_smoother_interval(weights[[i]], y, 2, (-3, 3), groups=groups)
        assert [a[0] for a in alone] == [b[i] for b in together]


def test_without_a_change_the_prediction_is_its_own_interval():
    rng = np.random.default_rng(5)
    weights, y = rng.normal(size=(5, 30)), rng.normal(size=30)
    lower, upper = linear_smoother_interval(weights, y, 0, (-3, 3))
    np.testing.assert_array_equal(lower, upper)
    assert (linear_smoother_interval_radius(weights, y, lower, upper, (-3, 3)) == 0).all()


@pytest.mark.parametrize(
    ("y", "bounds", "words"),
    [
        ([1.0, np.nan], (0, 1), "finite number"),
        ([1.0, 2.0], (0, np.inf), "two finite numbers"),
        ([1.0, 2.0], (2, 1), "smallest and the largest"),
        ([1.0, 2.0], 3, "two finite numbers"),
        ([1.0], (0, 1), "one column per training label"),
        ([1e308, 1e308], (0, 1e308), "overflow"),
    ],
)
def test_what_is_no_question_is_refused(y, bounds, words):
    with pytest.raises(ValueError, match=words):
        linear_smoother_interval([[9.0, 9.0]], y, 1, bounds)
