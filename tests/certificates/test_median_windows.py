"""Medians in time: exact under every window of consecutive periods, those to come among them."""

import itertools

import numpy as np
import pytest

from certified_ensembles.certificates import (
    lower_median,
    median_radius,
    median_window_interval,
    median_window_radius,
)

NAN, INF = np.nan, np.inf


def extremes(answers, owned):
    """The extreme medians when the owned members answer anything, or nothing; None: silence."""
    rest = [a for j, a in enumerate(answers) if j not in owned and a == a]
    found = set()
    for n_low, n_high in itertools.product(range(len(owned) + 1), repeat=2):
        if n_low + n_high <= len(owned):
            known = sorted([-INF] * n_low + rest + [INF] * n_high)
            found.add(known[(len(known) - 1) // 2] if known else None)
    return found


def reachable(answers, n_periods, newest, open_ends):
    """All medians of windows, where each member is trained on one period."""
    n, found = len(answers), set()
    for start in range(-n_periods if open_ends and not newest else 0, n + 1):
        stop = start + n_periods
        if (open_ends or stop <= n) and (stop >= n or not newest):
            found |= extremes(answers, set(range(start, stop)))
    return found


def small_rows():
    rng = np.random.default_rng(0)
    for i in range(504):
        answers = rng.choice([0.0, 1.0, 2.0, 3.0], size=1 + i % 6)
        answers[rng.random(len(answers)) < 0.2] = NAN
        yield answers, int(rng.integers(1, 4)), bool(rng.integers(2)), bool(rng.integers(2))


def test_interval_and_radius_are_exact_against_every_window():
    rng = np.random.default_rng(1)
    n_turned = 0
    for answers, n_periods, newest, open_ends in small_rows():
        how = {"newest": newest, "open_ends": open_ends}
        low, high = rng.choice([0.0, 1.0, -INF]), rng.choice([1.0, 2.0, INF])
        (radius,) = median_window_radius(answers[None], low, high, **how)
        (median,) = lower_median(answers[None])
        if not low <= median <= high:
            assert radius == -1
            continue
        if n_periods > len(answers):
            continue
        found = reachable(answers, n_periods, newest, open_ends)
        stays = all(m is not None and low <= m <= high for m in found)
        assert stays == (radius >= n_periods), (answers, n_periods, how, low, high, radius)
        n_turned += not stays
        (a,), (b,) = median_window_interval(answers[None], n_periods, **how)
        if None in found:
            continue
        assert (a, b) == (min(found), max(found)), (answers, n_periods, how)
    assert n_turned > 100


@pytest.mark.parametrize("width", [1, 2, 3])
def test_windows_are_never_shorter_than_as_many_members_anywhere(width):
    rng = np.random.default_rng(width)
    answers = rng.integers(0, 9, (50, 21)).astype(float)
    answers[rng.random(answers.shape) < 0.1] = NAN
    anywhere = median_radius(answers, 2, 6)
    windows = median_window_radius(answers, 2, 6, width=width, open_ends=True)
    assert (windows >= np.maximum(anywhere - width + 1, -1)).all()
    newest = median_window_radius(answers, 2, 6, newest=True, open_ends=True)
    assert (newest >= windows).all()


def test_rows_where_nobody_answers_promise_nothing():
    answers = np.full((2, 5), NAN)
    assert median_window_radius(answers, -INF, INF).tolist() == [-1, -1]
    lower, upper = median_window_interval(answers, 1)
    assert np.isneginf(lower).all()
    assert np.isposinf(upper).all()
