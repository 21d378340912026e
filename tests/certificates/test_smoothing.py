"""Chernoff margins against every noisy label vector, every attack, and fifty digits."""

import itertools
import tracemalloc
from decimal import Decimal, localcontext

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import brentq, minimize_scalar

from certified_ensembles.certificates import (
    _chernoff,
    chernoff_log_error,
    flips_from_margin,
    linear_smoother_winner,
)
from certified_ensembles.certificates._label_noise import (
    exponent_error,
    minimise_convex,
    noise_terms,
)
from certified_ensembles.certificates._scored_blocks import LabelSortedWeights


def label_vectors(n_train, n_classes):
    return np.array(list(itertools.product(range(n_classes), repeat=n_train)))


def noisy_chances(noise, n_classes, n_train):
    """P(noisy labels | clean labels) for all pairs of label vectors: exact for dyadic noise."""
    one = np.full((n_classes, n_classes), noise / (n_classes - 1))
    np.fill_diagonal(one, 1 - noise)
    chances = np.ones((1, 1))
    for _ in range(n_train):
        chances = np.kron(chances, one)
    return chances


def exponent(t, a, y, c, b, noise, n_classes):
    """The sum of THEORY's three cases, as written there, for one t."""
    p = noise / (n_classes - 1)
    up = np.where(y == c, 1 - noise, p)
    down = np.where(y == b, 1 - noise, p)
    return np.log(up * np.exp(-t * a) + (1 - up - down) + down * np.exp(t * a)).sum()


def reference_log_error(a, y, noise, n_classes):
    """Worst pair of the class with the largest score, by a grid and a bounded search."""
    c = np.bincount(y, a, minlength=n_classes).argmax()
    longest = 30 / max(np.abs(a).max(), 1e-300)
    worst = -np.inf
    for b in set(range(n_classes)) - {c}:
        arguments = (a, y, c, b, noise, n_classes)
        grid = np.linspace(0, longest, 201)  # convex: the least is beside the lowest
        values = [exponent(t, *arguments) for t in grid]
        at = int(np.argmin(values))
        around = (grid[max(at - 1, 0)], grid[min(at + 1, 200)])
        found = minimize_scalar(exponent, bounds=around, args=arguments, method="bounded")
        worst = max(worst, min(found.fun, values[at]))
    return c, worst


@pytest.mark.parametrize(
    ("n_classes", "noise"),
    [(2, 0.25), (2, 0.0625), (2, 0.4375), (3, 0.25), (3, 0.5), (3, 0.03125)],
)
@pytest.mark.parametrize("seed", range(6))
def test_margin_and_certificate_hold_over_all_label_vectors(n_classes, noise, seed):
    """Dyadic noise and integer weights: every probability and every score here is exact."""
    rng = np.random.default_rng(seed)
    n_train = 7 if n_classes == 2 else 5
    weights = [
        np.ones(n_train),
        rng.integers(0, 2, n_train),
        rng.integers(1, 4, n_train),
        rng.integers(-3, 4, n_train),
    ][seed % 4].astype(float)
    vectors = label_vectors(n_train, n_classes)
    scores = np.stack([(vectors == c) @ weights for c in range(n_classes)], axis=1)
    # wins[y, c, b] = P(S_c > S_b) where the clean labels are y.
    chances = noisy_chances(noise, n_classes, n_train)
    ahead = (scores[:, :, None] > scores[:, None, :]).reshape(len(vectors), -1)
    wins = (chances @ ahead).reshape(-1, n_classes, n_classes)
    wins[:, range(n_classes), range(n_classes)] = 1

    certified = np.full(len(vectors), -1)
    radius = np.full(len(vectors), -1)
    for k, y in enumerate(vectors):
        (certified[k],), log_error = chernoff_log_error(weights[None], y, noise, n_classes)
        assert 1 - wins[k, certified[k]].min() <= np.exp(log_error[0])
        radius[k] = flips_from_margin(log_error[0], noise, n_classes, max_radius=n_train)
    for k in np.flatnonzero(radius >= 0):
        near = (vectors != vectors[k]).sum(axis=1) <= radius[k]
        assert (wins[near, certified[k]] > 0.5).all()
        assert (certified[near & (radius >= 0)] == certified[k]).all()
    if seed % 4 == 0 and noise < 0.1:
        assert radius.max() >= 1  # not vacuous


FAMILIES = {
    "gaussian": lambda rng, m: rng.normal(size=m),
    "heavy tails": lambda rng, m: rng.normal(size=m) ** 5,
    "one outlier": lambda rng, m: np.append(rng.normal(size=m - 1), 300.0),
    "votes": lambda rng, m: rng.integers(0, 2, m).astype(float),
    "few neighbours": lambda rng, m: (rng.random(m) < 0.05) / 7,
    "small float32": lambda rng, m: (1e-6 * rng.normal(size=m)).astype(np.float32),
}


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("n_classes", [2, 3, 5])
def test_margin_is_the_minimum_over_t_for_the_worst_rival(family, n_classes):
    rng = np.random.default_rng(n_classes)
    for n_train in (6, 90, 1300):
        noise = rng.uniform(0.02, 0.9 * (n_classes - 1) / n_classes)
        y = rng.integers(0, n_classes, n_train)
        weights = np.stack([FAMILIES[family](rng, n_train) for _ in range(4)])
        favourite = rng.integers(n_classes)
        weights[1:] += rng.uniform(0, 1) * np.abs(weights).mean() * (y == favourite)
        winner, log_error = chernoff_log_error(weights, y, noise, n_classes)
        np.testing.assert_array_equal(winner, linear_smoother_winner(weights, y, n_classes))
        for a, c, value in zip(weights.astype(float), winner, log_error, strict=True):
            best, expected = reference_log_error(a, y, noise, n_classes)
            if best == c:
                assert value == pytest.approx(min(expected, 0), rel=1e-5, abs=1e-6)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("n_classes", [2, 4])
def test_histograms_of_long_rows_lose_next_to_nothing_and_gain_nothing(family, n_classes):
    rng = np.random.default_rng(n_classes)
    n_train = 6000
    y = rng.integers(0, n_classes, n_train)
    weights = np.stack([FAMILIES[family](rng, n_train) for _ in range(3)]).astype(float)
    weights[1:] += 0.4 * np.abs(weights).mean() * (y == 1)
    winner, log_error = chernoff_log_error(weights, y, 0.15, n_classes)
    assert (log_error < -1).any()
    for a, c, value in zip(weights, winner, log_error, strict=True):
        # A root of the slope gives more digits than a search on values.
        exponents = []
        for b in set(range(n_classes)) - {c}:
            up, down = (np.where(y == k, 0.85, 0.15 / (n_classes - 1)) for k in (c, b))

            def slope(t, up=up, down=down, a=a):
                gain, loss = up * np.exp(-t * a), down * np.exp(t * a)
                return (a * (loss - gain) / (gain + loss + 1 - up - down)).sum()

            far = 600 / np.abs(a).max()
            t = brentq(slope, 0, far, xtol=1e-14, rtol=1e-12) if slope(0) * slope(far) < 0 else 0
            exponents.append(exponent(t, a, y, c, b, 0.15, n_classes))
        worst = min(max(exponents), 0.0)
        assert worst - 1e-9 * abs(worst) <= value <= worst * (1 - 5e-5) + 1e-6


@pytest.mark.parametrize("bits", [1, 4, 40])
@pytest.mark.parametrize("n_classes", [2, 3])
def test_a_histogram_is_never_below_the_exponent_however_coarse_its_places(
    n_classes, bits, monkeypatch
):
    monkeypatch.setattr(_chernoff, "_SHARE_BITS", bits)
    rng = np.random.default_rng(bits)
    y = rng.integers(0, n_classes, 90)
    weights = np.abs(rng.normal(size=(4, 90))) + 2.0 * (y == 1)
    smoother = LabelSortedWeights(weights, y, n_classes)
    (block,) = smoother.blocks()
    assert (block.winner == 1).all()
    pairs = _chernoff._Pairs(_chernoff.ChernoffExponent(smoother, 0.2), block)
    row = np.arange(4)
    for t in (0.03, 0.3, 3.0, 30.0):
        bounds = pairs._bounds(row, np.full(4, t))
        for b in set(range(n_classes)) - {1}:
            exact = np.array([exponent(t, a, y, 1, b, 0.2, n_classes) for a in weights])
            assert (bounds[:, b] >= exact).all()
            if bits == 40:
                assert bounds[:, b] == pytest.approx(exact, rel=1e-2, abs=0.1)


@pytest.mark.parametrize("n_classes", [2, 3])
def test_rows_in_pieces_give_the_same_margin(n_classes, monkeypatch):
    rng = np.random.default_rng(12)
    y = rng.integers(0, n_classes, 5000)
    weights = rng.normal(size=(3, 5000)) + 0.3 * (y == 1)
    weights[2] = np.round(weights[2])  # many in one place
    whole = chernoff_log_error(weights, y, 0.2, n_classes)
    assert (whole[1] < -1).all()
    for size in (50, 700, 2500):
        monkeypatch.setattr(_chernoff, "_PIECE", size)
        pieces = chernoff_log_error(weights, y, 0.2, n_classes)
        np.testing.assert_array_equal(whole[0], pieces[0])
        np.testing.assert_allclose(whole[1], pieces[1], 1e-7)


def fifty_digit_minimum(a, y, c, b, noise, n_classes):
    """Minimum of the exponent over t >= 0, by bisection on its slope."""
    q, p = Decimal(noise), Decimal(noise) / (n_classes - 1)
    columns = [
        (Decimal(weight), 1 - q if label == c else p, 1 - q if label == b else p)
        for weight, label in zip(a.tolist(), y, strict=True)
    ]

    def slope_and_value(t):
        slope = value = Decimal(0)
        for weight, up, down in columns:
            e = (t * weight).exp()
            whole = up / e + (1 - up - down) + down * e
            slope += weight * (down * e - up / e) / whole
            value += whole.ln()
        return slope, value

    if slope_and_value(Decimal(0))[0] >= 0:
        return Decimal(0)
    low, high = Decimal(0), Decimal(1)
    while slope_and_value(high)[0] < 0:
        high *= 2
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if slope_and_value(middle)[0] < 0 else (low, middle)
    return slope_and_value(low)[1]


@pytest.mark.parametrize(("n_classes", "noise"), [(2, 0.3), (2, 0.499), (3, 0.1), (4, 1e-9)])
def test_rounding_only_raises_the_margin(n_classes, noise):
    rng = np.random.default_rng(5)
    y = rng.integers(0, n_classes, 25)
    weights = rng.normal(size=(3, 25)) + (y == 1)
    winner, log_error = chernoff_log_error(weights, y, noise, n_classes)
    assert (log_error < -1e-6).any()
    with localcontext(prec=50):
        for a, c, value in zip(weights, winner, log_error, strict=True):
            rivals = set(range(n_classes)) - {c}
            exact = max(fifty_digit_minimum(a, y, c, b, noise, n_classes) for b in rivals)
            assert Decimal(float(value)) >= exact
            assert float(value) == pytest.approx(float(exact), rel=2e-6, abs=1e-9)


@pytest.mark.parametrize("scale", [2.0**-1000, 1e-290, 1e-3, 1e200, 2.0**900])
def test_margin_does_not_depend_on_the_scale_of_weights(scale):
    rng = np.random.default_rng(6)
    y = rng.integers(0, 3, 400)
    weights = rng.normal(size=(5, 400)) + (y == 2)
    winner, log_error = chernoff_log_error(weights, y, 0.2, 3)
    scaled_winner, scaled = chernoff_log_error(weights * scale, y, 0.2, 3)
    np.testing.assert_array_equal(scaled_winner, winner)
    np.testing.assert_allclose(scaled, log_error, rtol=1e-5)
    assert (log_error < -1).all()


@given(data=st.data(), n_classes=st.integers(2, 4), n_train=st.integers(0, 20))
@settings(max_examples=80, deadline=None)
def test_shapes_signs_and_ties(data, n_classes, n_train):
    y = np.array(
        data.draw(st.lists(st.integers(0, n_classes - 1), min_size=n_train, max_size=n_train)),
        dtype=int,
    )
    number = st.sampled_from([-1.0, -0.1, 0.0, 0.1, 0.3, 1.0, 1e-200, 1e200])
    weights = np.array(data.draw(st.lists(number, min_size=n_train, max_size=n_train)))
    noise = data.draw(st.floats(1e-6, 0.99)) * (n_classes - 1) / n_classes
    winner, log_error = chernoff_log_error(weights[None], y, noise, n_classes)
    assert winner.shape == log_error.shape == (1,)
    assert winner[0] == linear_smoother_winner(weights[None], y, n_classes)[0]
    assert log_error[0] <= 0
    if np.abs(weights).max(initial=0) <= 1:
        scores = np.bincount(y, weights, minlength=n_classes)
        if scores.max() <= np.delete(scores, winner[0]).max():
            assert log_error[0] > -1e-9
        # Against the bound at a few values of t, each of them valid.
        for t in (0.1, 1.0, 5.0):
            bounds = [
                exponent(t, weights, y, winner[0], b, noise, n_classes)
                for b in set(range(n_classes)) - {winner[0]}
            ]
            assert log_error[0] <= min(0.0, max(bounds)) * (1 - 1e-5) + 1e-6


def test_order_and_company_of_rows_do_not_matter():
    rng = np.random.default_rng(7)
    y = rng.integers(0, 4, 700)
    weights = rng.normal(size=(300, 700)) + 0.5 * (y == rng.integers(0, 4, (300, 1)))
    winner, log_error = chernoff_log_error(weights, y, 0.15, 4)
    order = rng.permutation(700)
    for same in (
        chernoff_log_error(weights[:, order], y[order], 0.15, 4),
        chernoff_log_error(np.asfortranarray(weights), y, 0.15, 4),
    ):
        np.testing.assert_array_equal(same[0], winner)
        np.testing.assert_allclose(same[1], log_error, rtol=1e-6)
    part = chernoff_log_error(weights[40:43], y, 0.15, 4)
    np.testing.assert_array_equal(part[0], winner[40:43])
    np.testing.assert_allclose(part[1], log_error[40:43], rtol=1e-6)


def test_no_lead_gives_no_margin():
    _, log_error = chernoff_log_error([[1, 1, 1, 1], [0, 0, 0, 0]], [0, 1, 0, 1], 0.2, 2)
    assert log_error.tolist() == [0, 0]
    assert flips_from_margin(log_error, 0.2).tolist() == [-1, -1]
    winner, log_error = chernoff_log_error(np.zeros((3, 0)), np.zeros(0, int), 0.2, 2)
    assert winner.tolist() == [0, 0, 0]
    assert log_error.tolist() == [0, 0, 0]


def test_a_class_without_rows_is_a_rival_too():
    # Five labels say 1 and none says 2: the noise may still write 2.
    y = np.array([1, 1, 1, 1, 1, 0])
    _, (log_error,) = chernoff_log_error(np.ones((1, 6)), y, 0.3, 3)
    assert -1.5 < log_error < 0
    _, expected = reference_log_error(np.ones(6), y, 0.3, 3)
    assert log_error == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize(("noise", "n_classes"), [(0.3, 2), (0.1, 10), (0.6, 3), (1e-12, 4)])
def test_terms_and_their_derivatives_are_those_of_the_noisy_votes(noise, n_classes):
    p = noise / (n_classes - 1)
    x = np.linspace(-20, 20, 401)
    for term, up, down in zip(noise_terms(noise, n_classes), (1 - noise, p), (p, p), strict=True):
        expected = np.log(up * np.exp(-x) + (1 - up - down) + down * np.exp(x))
        value, slope, curvature = term.derivatives(x)
        np.testing.assert_allclose(value, expected, rtol=1e-9, atol=1e-9)
        np.testing.assert_allclose(term.value(x), value, rtol=1e-12, atol=1e-12)
        step = 1e-4
        np.testing.assert_allclose(
            slope, (term.value(x + step) - term.value(x - step)) / (2 * step), atol=1e-6
        )
        numeric = (term.derivatives(x + step)[1] - term.derivatives(x - step)[1]) / (2 * step)
        np.testing.assert_allclose(curvature, numeric, atol=1e-6)
        # Far out nothing overflows, and the term grows like abs(x).
        assert np.isfinite(term.value(np.array([-1e300, 1e300]))).all()


@pytest.mark.parametrize(("noise", "n_classes"), [(0.3, 2), (0.1, 10), (0.6, 3), (1e-9, 4)])
def test_stated_rounding_error_covers_the_terms(noise, n_classes):
    terms = noise_terms(noise, n_classes)
    rng = np.random.default_rng(0)
    t = 1.7
    a = np.concatenate([rng.normal(size=60), 40 * rng.normal(size=20), [0.0, 1e-300, 300.0]])
    q, p = Decimal(noise), Decimal(noise) / (n_classes - 1)
    errors = []
    with localcontext(prec=60):
        for term, up, down in zip(terms, (1 - q, p), (p, p), strict=True):
            for part in (a, *a[:, None]):
                exact = Decimal(0)
                for weight in part.tolist():
                    e = (Decimal(t) * Decimal(weight)).exp()
                    exact += (up / e + (1 - up - down) + down * e).ln()
                computed = float(term.value(t * part).sum())
                bound = exponent_error(len(part), t * np.abs(part).sum(), terms)
                errors.append(abs(float(Decimal(computed) - exact)))
                assert errors[-1] <= bound
                assert bound < 1e-9
    assert max(errors) > 0


def test_search_converges_where_newton_alone_would_not():
    # Slopes that saturate: Newton's step from 0 overshoots, and from afar it is infinite.
    centre = np.array([3.0, 40.0, 1e4])

    def evaluate(t, which):
        x = t - centre[which]
        return np.logaddexp(x, -x), np.tanh(x), 1 / np.cosh(np.minimum(np.abs(x), 300)) ** 2

    t, value = minimise_convex(evaluate, np.array([0.0, 100.0, 1.0]), decrease=1e-9, max_steps=200)
    np.testing.assert_allclose(t, centre, rtol=1e-4)
    np.testing.assert_allclose(value, np.log(2), rtol=1e-6)


def test_memory_stays_within_blocks():
    rng = np.random.default_rng(11)
    y = rng.integers(0, 10, 20_000)
    weights = rng.normal(size=(100, 20_000)) + 0.1 * (y == 3)  # 16 MB
    tracemalloc.start()
    chernoff_log_error(weights, y, 0.1, 10)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 16e6


@pytest.mark.parametrize(
    ("weights", "y", "noise", "n_classes", "message"),
    [
        (np.ones((1, 3)), [0, 1, 0], 0.5, 2, "noise must lie strictly between 0"),
        (np.ones((1, 3)), [0, 1, 0], 0.1, 1, "n_classes must be an integer of at least 2"),
        (np.ones((1, 3)), [0, 1, 2], 0.1, 2, "y must hold codes"),
        (np.ones((1, 2)), [0, 1, 1], 0.1, 2, "weights must have shape"),
        ([[1.0, np.inf, 0.0]], [0, 1, 1], 0.1, 2, "weights must be finite"),
    ],
)
def test_wrong_arguments_are_named(weights, y, noise, n_classes, message):
    with pytest.raises(ValueError, match=message):
        chernoff_log_error(weights, y, noise, n_classes)
