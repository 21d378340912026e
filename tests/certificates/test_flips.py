"""From margin to flips: against rational convolution, and against every event on few labels."""

import itertools
import math
from concurrent.futures import ThreadPoolExecutor
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from certified_ensembles.certificates import flips_from_margin
from certified_ensembles.certificates.flips import _AttackedWalk

SETTINGS = [(0.3, 2), (0.45, 2), (0.01, 2), (0.1, 10), (0.6, 3), (0.25, 4), (0.0125, 10)]


def log_of(fraction):
    """Logarithm of a positive rational, also far outside the range of doubles."""
    return math.log(fraction.numerator) - math.log(fraction.denominator)


def error_allowed(noise, n_classes, n_flips):
    """Yield E_1, E_2, ...: clean mass of the likeliest half under attack, by convolution."""
    noise = Fraction(noise)
    moved = noise / (n_classes - 1)
    ratio = (1 - noise) / moved
    steps = {-1: 1 - noise, 0: moved * (n_classes - 2), 1: moved}
    mass = {0: Fraction(1)}
    for _ in range(n_flips):
        convolved = dict.fromkeys(range(min(mass) - 1, max(mass) + 2), Fraction(0))
        for place, probability in mass.items():
            for step, chance in steps.items():
                convolved[place + step] += probability * chance
        mass = convolved
        left, allowed = Fraction(1, 2), Fraction(0)
        for place in sorted(mass):
            taken = min(left, mass[place])
            allowed += taken * ratio**place
            left -= taken
        yield allowed


@pytest.mark.parametrize(("noise", "n_classes"), SETTINGS)
def test_tight_radius_agrees_with_rational_convolution(noise, n_classes):
    for r, allowed in enumerate(error_allowed(noise, n_classes, 40), start=1):
        threshold = log_of(allowed)
        inside, outside = flips_from_margin([threshold - 1e-9, threshold + 1e-9], noise, n_classes)
        assert (inside, outside) == (r, r - 1)


@pytest.mark.parametrize(("noise", "n_classes"), SETTINGS)
def test_rounding_only_lowers_what_is_allowed(noise, n_classes):
    walk = _AttackedWalk(noise, n_classes)
    computed = walk.log_allowed(-math.inf, 40)
    for value, allowed in zip(computed, error_allowed(noise, n_classes, 40), strict=True):
        # exp of the computed logarithm, bracketed by doubles: E_r is the larger one.
        scaled = Fraction(math.exp(value - log_of(allowed)))
        assert 1 - Fraction(1, 10**10) < scaled < 1


def test_binary_margins_far_below_the_range_of_doubles_agree_with_binomials():
    # Noise 1/4: E_r is a sum of integers over a power of two.
    for r in (1000, 4001, 12_000):
        half, allowed, ways = Fraction(4**r, 2), 0, 1
        for kept in range(r + 1):  # attacked labels that still show their clean class
            under_attack = ways * 3 ** (r - kept)
            taken = min(half, under_attack)
            allowed += Fraction(taken, 3 ** (r - kept)) * 3**kept
            half -= taken
            if half == 0:
                break
            ways = ways * (r - kept) // (kept + 1)
        threshold = log_of(allowed / 4**r)
        assert threshold < -500
        radius = flips_from_margin([threshold - 1e-7, threshold + 1e-7], 0.25)
        assert radius.tolist() == [r, r - 1]


@pytest.mark.parametrize(
    ("n_labels", "n_classes", "noise"), [(3, 2, 0.25), (3, 2, 0.125), (2, 3, 0.25)]
)
def test_no_event_falls_to_one_half_within_its_radius(n_labels, n_classes, noise):
    """Every event over the noisy labels, and every attack: all probabilities are dyadic."""
    outcomes = np.array(list(itertools.product(range(n_classes), repeat=n_labels)))
    events = np.array(list(itertools.product([0.0, 1.0], repeat=len(outcomes)))).T

    def probability(clean):
        kept = (outcomes == clean).sum(axis=1)
        moved = noise / (n_classes - 1)
        return (1 - noise) ** kept * moved ** (n_labels - kept)

    clean = probability(outcomes[0]) @ events
    with np.errstate(divide="ignore"):
        radius = flips_from_margin(np.log1p(-clean), noise, n_classes, max_radius=n_labels)
    kl = flips_from_margin(
        np.log1p(-np.minimum(clean, 1 - 1e-16)), noise, n_classes, "kl", max_radius=n_labels
    )
    assert (kl <= radius).all()
    assert ((radius == -1) == (clean <= 0.5)).all()
    worst = np.full((n_labels + 1, events.shape[1]), np.inf)
    for attacked in outcomes:
        distance = np.count_nonzero(attacked)
        worst[distance] = np.minimum(worst[distance], probability(attacked) @ events)
    for r in range(n_labels + 1):
        assert (worst[r, radius >= r] > 0.5).all()
    assert (np.bincount(radius + 1)[1:] > 0).all()  # every radius occurs


@pytest.mark.parametrize(("noise", "n_classes"), SETTINGS)
def test_tight_bound_is_attained(noise, n_classes):
    # Some event with error just above E_r has probability 1/2 or less after r flips: what the
    # definition of E_r says, checked on the outcomes themselves.
    outcomes = list(itertools.product(range(n_classes), repeat=2))
    moved = Fraction(noise) / (n_classes - 1)
    kept = 1 - Fraction(noise)

    def probability(outcome, labels):
        return math.prod(kept if a == b else moved for a, b in zip(outcome, labels, strict=True))

    for r, labels in ((1, (0, 1)), (2, (1, 1))):
        pairs = [(probability(o, (0, 0)), probability(o, labels)) for o in outcomes]
        left, error = Fraction(1, 2), Fraction(0)
        for clean, attacked in sorted(pairs, key=lambda pair: pair[0] / pair[1]):
            share = min(Fraction(1), left / attacked)
            left -= share * attacked
            error += share * clean
        assert flips_from_margin(log_of(error) + 1e-12, noise, n_classes) == r - 1
        assert flips_from_margin(log_of(error) - 1e-9, noise, n_classes) >= r


@pytest.mark.parametrize(("noise", "n_classes"), SETTINGS)
def test_kl_radius_is_the_closed_form_and_below_the_tight_one(noise, n_classes):
    log_error = -np.concatenate([np.linspace(0.7, 5, 200), np.geomspace(5, 800, 200)])
    p = -np.expm1(log_error)
    rate = 1 - n_classes * noise / (n_classes - 1)
    denominator = 2 * rate * math.log(noise / ((1 - noise) * (n_classes - 1)))
    expected = (math.log(4) + np.log(p) + log_error) / denominator
    radius = flips_from_margin(log_error, noise, n_classes, bound="kl")
    safe = np.abs(expected - np.rint(expected)) > 1e-6
    np.testing.assert_array_equal(radius[safe], np.floor(expected)[safe])
    tight = flips_from_margin(log_error, noise, n_classes)
    assert (radius <= tight).all()
    # Figure E.3: about twice the flips.
    assert 1.5 < tight[-1] / radius[-1] < 2.5


@given(
    log_errors=st.lists(st.floats(-1e4, 0), min_size=2, max_size=6),
    setting=st.sampled_from(SETTINGS),
    bound=st.sampled_from(["tight", "kl"]),
)
@settings(max_examples=60, deadline=None)
def test_a_smaller_error_never_has_a_smaller_radius(log_errors, setting, bound):
    radius = flips_from_margin(np.sort(log_errors), *setting, bound)
    assert (np.diff(radius) <= 0).all()
    for log_error, r in zip(np.sort(log_errors), radius, strict=True):
        alone = flips_from_margin(log_error, *setting, bound)
        assert alone.shape == ()
        assert alone == r


def test_nothing_is_promised_at_one_half():
    half = math.log(0.5)
    radius = flips_from_margin([0.0, -0.69, half, np.nextafter(half, -1), half - 1e-12], 0.3)
    assert radius.tolist() == [-1, -1, -1, -1, 0]


def test_certainty_and_large_radii_stop_at_the_number_of_labels():
    log_error = [-np.inf, -1e6, -40.0]
    assert flips_from_margin(log_error, 0.3, max_radius=60).tolist() == [60, 60, 60]
    assert flips_from_margin(log_error, 0.3, bound="kl", max_radius=60).tolist() == [60, 60, 56]
    assert flips_from_margin([-np.inf, -0.5], 0.3, max_radius=0).tolist() == [0, -1]
    # A walk that has gone further still stops where it is told to.
    assert flips_from_margin([-2000.0], 0.3)[0] > 5000
    assert flips_from_margin([-2000.0], 0.3, max_radius=50).tolist() == [50]


def test_noise_close_to_its_limit_gives_finite_radii():
    for n_classes in (2, 3, 10):
        noise = np.nextafter((n_classes - 1) / n_classes, 0)
        for bound in ("tight", "kl"):
            radius = flips_from_margin([-1.0, -0.6], noise, n_classes, bound, max_radius=200)
            assert radius[1] == -1
            assert 0 <= radius[0] <= 200


def test_threads_share_one_walk():
    log_errors = np.linspace(-900, -1, 40)
    alone = [int(flips_from_margin(e, 0.2875)) for e in log_errors]
    with ThreadPoolExecutor(8) as pool:
        together = list(pool.map(lambda e: int(flips_from_margin(e, 0.2876)), log_errors))
        again = list(pool.map(lambda e: int(flips_from_margin(e, 0.2875)), log_errors))
    assert again == alone
    assert together == [int(flips_from_margin(e, 0.2876)) for e in log_errors]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((0.1, 0.3), "log_error must hold logarithms.*log1p"),
        (([-1.0, np.nan], 0.3), "log_error must hold logarithms"),
        ((-1.0, 0.5), "noise must lie strictly between 0 and .* = 0.5, got 0.5"),
        ((-1.0, 0.0), "noise must lie"),
        ((-1.0, 0.7, 3), "noise must lie .* = 0.666667"),
        ((-1.0, "high"), "noise must lie"),
        ((-1.0, 0.3, 1), "n_classes must be an integer of at least 2"),
        ((-1.0, 0.3, 2, "loose"), "bound must be 'tight' or 'kl', got 'loose'"),
    ],
)
def test_wrong_arguments_are_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        flips_from_margin(*arguments)
    with pytest.raises(ValueError, match="max_radius must be an integer of at least 0"):
        flips_from_margin(-1.0, 0.3, max_radius=-1)
