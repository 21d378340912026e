"""Medians of members: exact under every adversary of small ensembles, NaN and ties included."""

import itertools

import numpy as np
import pytest

from certified_ensembles.certificates import lower_median, median_interval, median_radius

NAN, INF = np.nan, np.inf


def plain_median(answers):
    """The lower median of those that answer, by sorting; None where nobody does."""
    known = sorted(a for a in answers if a == a)
    return known[(len(known) - 1) // 2] if known else None


def reachable(answers, r):
    """The medians that r or fewer changed members can bring about.

    What lies between two answers is never more extreme than one of these.
    """
    choices = [-INF, INF, NAN, *sorted({a for a in answers if a == a})[:2]]
    found = set()
    for changed in itertools.combinations(range(len(answers)), min(r, len(answers))):
        for new in itertools.product(choices, repeat=len(changed)):
            after = list(answers)
            for i, value in zip(changed, new, strict=True):
                after[i] = value
            found.add(plain_median(after))
    return found


def small_tables():
    """Every kind of row: ties, abstentions, infinite answers, nobody who answers."""
    rng = np.random.default_rng(0)
    for i in range(520):
        n = 1 + i % 5
        values = rng.choice([0.0, 1.0, 2.0, 3.0, 7.5], size=n)
        values[rng.random(n) < 0.25] = NAN
        values[rng.random(n) < 0.05] = rng.choice([-INF, INF])
        yield values, int(rng.integers(1, 3 if n > 3 else 4))


def test_interval_is_what_all_adversaries_reach_and_no_more():
    for answers, r in small_tables():
        lower, upper = median_interval(answers[None], r)
        found = reachable(answers, r)
        if None in found:  # all can be silenced
            assert (lower[0], upper[0]) == (-INF, INF)
            continue
        assert (lower[0], upper[0]) == (min(found), max(found))


def test_radius_is_the_last_number_of_changes_that_no_adversary_turns():
    rng = np.random.default_rng(1)
    n_survived = 0
    for answers, r in small_tables():
        low = rng.choice([-INF, -1.0, 0.0, 1.0, 2.0])
        high = rng.choice([1.0, 2.0, 3.0, 8.0, INF])
        radius = int(median_radius(answers[None], low, high)[0])
        for changes in range(r + 1):
            stays = all(m is not None and low <= m <= high for m in reachable(answers, changes))
            assert stays == (changes <= radius), (answers, low, high, changes)
        n_survived += radius > 0
    assert n_survived > 60


def test_rows_of_one_table_are_certified_as_alone():
    rng = np.random.default_rng(2)
    answers = rng.integers(6, size=(60, 9)).astype(float)
    answers[rng.random(answers.shape) < 0.2] = NAN
    answers[5] = NAN
    low, high = rng.normal(1, 1, 60), rng.normal(4, 1, 60)
    median, radius = lower_median(answers), median_radius(answers, low, high)
    bounds = median_interval(answers, 2)
    for i, row in enumerate(answers):
        np.testing.assert_array_equal(lower_median(row[None]), median[[i]])
        assert median_radius(row[None], low[i], high[i]) == radius[i]
        assert [b[0] for b in median_interval(row[None], 2)] == [bounds[0][i], bounds[1][i]]
        # The interval of a number of changes is inside exactly as long as the radius lasts.
        for r in range(10):
            (a,), (b,) = median_interval(row[None], r)
            if low[i] > -INF and high[i] < INF:
                assert (low[i] <= a and b <= high[i]) == (r <= radius[i])


def test_a_tie_counts_as_inside_and_all_alike_survive_almost_half():
    assert median_radius(np.full((1, 9), 4.0), 4, 4).tolist() == [4]
    assert median_radius(np.full((1, 8), 4.0), 4, 4).tolist() == [3]
    assert median_radius(np.full((1, 8), 4.0), -INF, 4).tolist() == [4]


def test_integers_and_an_empty_table():
    assert lower_median([[2, 1, 3]]).tolist() == [2.0]
    assert median_interval(np.empty((0, 4)), 1)[0].shape == (0,)
    assert np.isnan(lower_median(np.empty((2, 0)))).all()
    assert median_radius(np.full((1, 3), NAN), -INF, INF).tolist() == [-1]


@pytest.mark.parametrize(
    ("ask", "words"),
    [
        (lambda: lower_median([1.0, 2.0]), "n_samples, n_members"),
        (lambda: lower_median([["a"]]), "real numbers"),
        (lambda: lower_median([[1j]]), "real numbers"),
        (lambda: median_interval([[1.0]], -1), "n_changed=-1"),
        (lambda: median_radius([[1.0]], NAN, 2), "lower holds NaN"),
        (lambda: median_radius([[1.0]], 0, [1, 2]), "upper must be one number"),
    ],
)
def test_what_is_no_question_is_refused(ask, words):
    with pytest.raises(ValueError, match=words):
        ask()


def test_a_fraction_of_a_change_is_refused():
    with pytest.raises(TypeError, match=r"n_changed=1\.5"):
        median_interval([[1.0]], 1.5)
