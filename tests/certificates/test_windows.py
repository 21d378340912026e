"""Known sets and windows of members, against an attacker that tries everything."""

import itertools

import numpy as np
import pytest
from helpers.owned_members import stands

from certified_ensembles.certificates import (
    plurality_radius,
    survives_members,
    window_radius,
    windows,
)


def windows_of(n_members, width, size, newest, open_ends):
    """Yield the members that each window of `size` periods reaches, and how many new ones vote.

    Member j sees the periods j, ..., j + width - 1. A member beyond the ends votes if the attacker
    owns the last of its periods.
    """
    n_periods = n_members + width - 1
    beyond = size if open_ends else 0
    first = n_periods - size if newest else -beyond
    for start in range(max(first, -beyond), n_periods - size + beyond + 1):
        owned = set(range(start, start + size))
        reached = [j for j in range(n_members) if owned & set(range(j, j + width))]
        last = {period - width + 1 for period in owned}
        yield reached, len(last - set(range(n_members))) if open_ends else 0


def longest_window(ballot, n_classes, width, newest, open_set, open_ends):
    n_periods = len(ballot) + width - 1
    for size in range(1, n_periods + 1):
        for reached, n_new in windows_of(len(ballot), width, size, newest, open_ends):
            if not stands(ballot, reached, n_classes, open_set, n_new):
                return size - 1
    return n_periods


def random_ballot(rng, n_members, n_classes):
    ballot = rng.integers(-1, n_classes, n_members)
    ballot[rng.random(n_members) < rng.random()] = rng.integers(n_classes)
    if rng.random() < 0.3:  # the past and the present disagree
        ballot.sort()
    elif rng.random() < 0.3:  # every week is like the one before
        ballot = np.tile(ballot[: rng.integers(2, 5)], 4)[:12]
    return ballot


@pytest.mark.parametrize("open_set", [False, True])
@pytest.mark.parametrize("n_classes", [1, 2, 3, 4])
def test_known_sets_equal_brute_force(n_classes, open_set):
    rng = np.random.default_rng(n_classes)
    found = set()
    for _ in range(160):
        ballot = random_ballot(rng, int(rng.integers(1, 8)), n_classes)
        members = rng.random((6, len(ballot))) < rng.random((6, 1))
        survives = survives_members(ballot[None], members, n_classes, open_set=open_set)
        assert (survives.shape, survives.dtype) == ((1, 6), bool)
        for owned, said in zip(members, survives[0], strict=True):
            truth = stands(ballot, np.flatnonzero(owned), n_classes, open_set)
            assert said == truth, (ballot.tolist(), owned.tolist())
            found.add(truth)
    assert found == {True, False} or (n_classes == 1 and not open_set)


@pytest.mark.parametrize("open_ends", [False, True])
@pytest.mark.parametrize("newest", [False, True])
@pytest.mark.parametrize("open_set", [False, True])
@pytest.mark.parametrize("n_classes", [1, 2, 3, 4])
def test_windows_equal_brute_force(n_classes, open_set, newest, open_ends):
    rng = np.random.default_rng([n_classes, open_set, newest, open_ends])
    found = set()
    for _ in range(40 if n_classes == 1 else 130):
        ballot = random_ballot(rng, int(rng.integers(1, 10)), n_classes)
        width = int(rng.integers(1, 5))
        how = {"width": width, "newest": newest, "open_set": open_set, "open_ends": open_ends}
        radius = window_radius(ballot[None], n_classes, **how)
        case = (ballot.tolist(), how)
        assert radius.dtype == np.int64
        assert radius[0] == longest_window(ballot, n_classes, **how), case
        found.add(int(radius[0]))
    assert len(found) > 2


def test_windows_are_known_sets():
    rng = np.random.default_rng(0)
    ballots = np.where(rng.random((40, 12)) < 0.5, 1, rng.integers(-1, 4, (40, 12)))
    for width, newest in itertools.product((1, 3), (False, True)):
        for open_set in (False, True):
            radius = window_radius(ballots, 4, width=width, newest=newest, open_set=open_set)
            survived = np.ones(40, dtype=bool)
            for size in range(1, 8):
                reached = windows_of(12, width, size, newest, False)
                sets = np.array([np.isin(np.arange(12), own) for own, _ in reached])
                survived &= survives_members(ballots, sets, 4, open_set=open_set).all(axis=1)
                np.testing.assert_array_equal(radius >= size, survived)


def test_a_window_is_no_worse_than_any_members_and_the_newest_no_worse_than_any_window():
    rng = np.random.default_rng(1)
    ballots = np.where(rng.random((200, 60)) < 0.5, 2, rng.integers(-1, 5, (200, 60)))
    votes = np.stack([(ballots == m).sum(axis=1) for m in range(5)], axis=1)
    any_members = plurality_radius(votes)[1]
    duration = window_radius(ballots, 5, open_ends=True)
    assert (duration >= any_members).all()
    assert (duration > any_members).mean() > 0.3
    for width in (1, 4):
        duration = window_radius(ballots, 5, width=width, open_ends=True)
        earliness = window_radius(ballots, 5, width=width, newest=True, open_ends=True)
        assert (earliness >= duration).all()
        assert (earliness <= window_radius(ballots, 5, width=width, newest=True)).all()


def test_periods_to_come_can_be_worse_than_those_that_are_there():
    # The newest three say 0 already: whoever owns these has gained nothing, but three days more
    # would be three votes more.
    ballots = [[1] * 5 + [0] * 3]
    assert window_radius(ballots, 2, newest=True).tolist() == [3]
    assert window_radius(ballots, 2, newest=True, open_ends=True).tolist() == [1]


def test_windows_that_begin_before_the_first_period_can_be_the_worst():
    weeks = [[0, 0, 1] * 4]  # two of each week for 0
    assert window_radius(weeks, 2).tolist() == [3]
    assert window_radius(weeks, 2, open_ends=True).tolist() == [2]
    assert longest_window(np.array(weeks[0]), 2, 1, False, False, True) == 2


def definition(ballot, n_classes, width, newest):
    """The theorem for one closed test row and many members."""
    votes = np.bincount(ballot[ballot >= 0], minlength=n_classes)
    c, radii = int(votes.argmax()), []
    for b in set(range(n_classes)) - {c}:
        power = 1 + (ballot == c).astype(int) - (ballot == b)
        taken = np.concatenate([[0], np.cumsum(power)])
        gap = votes[c] - votes[b] - (b < c)
        for size in range(1, len(power) + 1):
            reach = size if newest else min(size + width - 1, len(power))
            worst = taken[-1] - taken[-1 - reach] if newest else 0
            if not newest:
                worst = (taken[reach:] - taken[: len(taken) - reach]).max()
            if worst > gap:
                radii.append(size - 1)
                break
    return min(radii)


@pytest.mark.parametrize("dtype", [np.int64, np.int8])
@pytest.mark.parametrize("newest", [False, True])
def test_many_members_agree_with_sliding(dtype, newest):
    rng = np.random.default_rng(2)
    ballots = rng.integers(-1, 6, (30, 400))
    ballots = np.where(rng.random(ballots.shape) < rng.random((30, 1)), 2, ballots)
    for width in (1, 9):
        radius = window_radius(ballots.astype(dtype), 6, width=width, newest=newest)
        assert radius.tolist() == [definition(b, 6, width, newest) for b in ballots]
        assert len(set(radius.tolist())) > 5


@pytest.mark.parametrize("open_ends", [False, True])
def test_blocks_do_not_change_the_answer(monkeypatch, open_ends):
    rng = np.random.default_rng(3)
    ballots = np.where(rng.random((50, 40)) < 0.4, 1, rng.integers(-1, 4, (50, 40)))
    members = rng.random((9, 40)) < 0.2
    radius = window_radius(ballots, 4, width=2, open_ends=open_ends)
    survives = survives_members(ballots, members, 4)
    cut = windows.row_blocks
    monkeypatch.setattr(windows, "row_blocks", lambda n, *_: cut(n, 1, 7))
    np.testing.assert_array_equal(window_radius(ballots, 4, width=2, open_ends=open_ends), radius)
    np.testing.assert_array_equal(survives_members(ballots, members, 4), survives)


@pytest.mark.parametrize("open_set", [False, True])
def test_where_all_abstain_one_period_decides(open_set):
    assert window_radius([[-1, -1]], 3, open_set=open_set).tolist() == [0]
    assert survives_members([[-1, -1]], [[True, False], [False, False]], 3, open_set=open_set)[
        0
    ].tolist() == [False, True]


def test_nothing_asked_nothing_answered():
    none = np.empty((0, 3), dtype=int)
    assert window_radius(none, 2).shape == (0,)
    assert survives_members(none, np.ones((4, 3), bool), 2).shape == (0, 4)
    assert survives_members([[0, 1, 1]], np.ones((0, 3), bool), 2).shape == (1, 0)


@pytest.mark.parametrize(
    ("change", "error", "match"),
    [
        ({"ballots": [0, 1]}, ValueError, "ballots must have the shape"),
        ({"ballots": [[0.0, 1.0]]}, TypeError, "ballots must hold integers"),
        ({"ballots": [[0, 2]]}, ValueError, "ballots must lie between"),
        ({"members": [True, False]}, ValueError, r"members must have the shape \(n_sets, 2\)"),
        ({"members": [[True]]}, ValueError, "members must have the shape"),
        ({"members": [[0, 1]]}, TypeError, "members must hold booleans, got dtype int"),
        ({"n_classes": 0}, ValueError, "n_classes must be at least 1"),
    ],
)
def test_unusable_sets_are_refused(change, error, match):
    with pytest.raises(error, match=match):
        survives_members(
            **{"ballots": [[0, 1]], "members": [[True, False]], "n_classes": 2, **change}
        )


@pytest.mark.parametrize("width", [0, 1.0, "1"])
def test_unusable_widths_are_refused(width):
    with pytest.raises(ValueError, match=r"width=.* must be an integer of at least 1"):
        window_radius([[0, 1]], 2, width=width)
