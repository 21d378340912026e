"""A distance from a prediction is kept exactly, however doubles are rounded."""

from fractions import Fraction

import numpy as np
import pytest

from certified_ensembles.certificates._bounds import AllowedRange, within_tolerance


def test_bounds_are_the_outermost_doubles_within_a_tolerance():
    rng = np.random.default_rng(0)
    values = np.append(rng.normal(size=500), rng.choice([0.1, 0.3, 1e10, -7.0], 100))
    tolerance = np.append(rng.random(500), rng.choice([0.1, 0.2, 1e-9, 0.0], 100))
    lower, upper = within_tolerance(values, tolerance)
    n_rounded = 0
    for v, t, low, high in zip(values, tolerance, lower, upper, strict=True):
        v, t = Fraction(v), Fraction(t)
        assert v - t <= Fraction(low)
        assert v - t > Fraction(np.nextafter(low, -np.inf))
        assert Fraction(high) <= v + t
        assert Fraction(np.nextafter(high, np.inf)) > v + t
        n_rounded += Fraction(low) != v - t
    assert n_rounded > 100


def test_infinite_predictions_and_tolerances_have_bounds():
    lower, upper = within_tolerance(np.array([np.inf, -np.inf, 1.0]), np.array([1, 1, np.inf]))
    assert lower.tolist() == [np.inf, -np.inf, -np.inf]
    assert upper.tolist() == [np.inf, -np.inf, np.inf]


def test_ranges_are_given_by_bounds_or_around_predictions():
    medians, rows = np.array([2.0, np.nan]), slice(1, 3)
    around = AllowedRange(3, [9, 1, 1], None, None)(medians, rows)
    assert [bound.tolist() for bound in around] == [[1.0, -np.inf], [3.0, np.inf]]
    given = AllowedRange(3, None, [4, 5, 6], None)(medians, rows)
    assert [bound.tolist() for bound in given] == [[5.0, 6.0], [np.inf, np.inf]]
    with pytest.raises(ValueError, match="at least 0"):
        AllowedRange(3, -0.5, None, None)
