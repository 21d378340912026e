"""Run-off radii against an adversary that tries every subset of members and every ranking."""

import itertools

import numpy as np
import pytest

from certified_ensembles.certificates import finite, runoff
from certified_ensembles.certificates.finite import (
    finite_aggregation_radius,
    finite_run_off_radius,
)
from certified_ensembles.certificates.plurality import plurality_radius
from certified_ensembles.certificates.runoff import run_off_radius
from elections import hold_elections, poll, polls_of_groups, random_scores, ranking_of


def brute_force(scores, open_set=False, spread=None):
    """Return the winner and the exact radius of one test row, by trying everything.

    The radius counts members, or partitions whose members (the rows of `spread`) all change.
    """
    n_members, n_known = scores.shape
    reach = np.arange(n_members)[:, None] if spread is None else spread
    known = [poll(ranking_of(member), n_known) for member in scores]
    winner = int(hold_elections(np.sum(known, axis=0)[None], n_known)[0])
    if open_set:
        scores = np.hstack([np.full((n_members, 2), -np.inf), scores])
    n_classes = scores.shape[1]
    target = winner + 2 * open_set
    polls = np.array([poll(ranking_of(member), n_classes) for member in scores])
    total = polls.sum(axis=0, dtype=np.int8)
    for size in range(1, len(reach) + 1):
        for chosen in itertools.combinations(reach.tolist(), size):
            members = sorted(set(itertools.chain.from_iterable(chosen)))
            kept = total - polls[members].sum(axis=0, dtype=np.int8)
            added = polls_of_groups(len(members), n_classes)
            if (hold_elections(kept + added, n_classes) != target).any():
                return winner, size - 1
    return winner, len(reach)


def check_against_brute_force(seed, n_instances, n_classes, max_members, open_set):
    rng = np.random.default_rng(seed)
    radii = []
    for _ in range(n_instances):
        scores = random_scores(rng, rng.integers(1, max_members + 1), n_classes)
        winner, radius = run_off_radius(scores[None], open_set=open_set)
        assert (winner[0], radius[0]) == brute_force(scores, open_set), scores.tolist()
        radii.append(radius[0])
    return radii


@pytest.mark.parametrize(
    ("n_classes", "max_members", "n_instances"),
    [(1, 4, 20), (2, 9, 300), (3, 9, 1500), (4, 7, 600), (5, 5, 80)],
)
def test_radius_is_exact_over_all_subsets_and_rankings(n_classes, max_members, n_instances):
    radii = check_against_brute_force(n_classes, n_instances, n_classes, max_members, False)
    assert len(set(radii)) > 2  # the draw reaches beyond trivial radii


@pytest.mark.parametrize(
    ("n_classes", "max_members", "n_instances"),
    [(1, 7, 200), (2, 7, 800), (3, 5, 300), (4, 3, 40)],
)
def test_radius_is_exact_where_new_labels_may_come(n_classes, max_members, n_instances):
    radii = check_against_brute_force(10 + n_classes, n_instances, n_classes, max_members, True)
    assert len(set(radii)) > 1


def test_new_label_wins_the_tie_that_the_smallest_class_would_win():
    scores = np.tile([1.0, 0.0], (1, 6, 1))
    assert run_off_radius(scores)[1].tolist() == [3]
    assert run_off_radius(scores, open_set=True)[1].tolist() == [2]


def test_new_label_is_preferred_by_members_that_have_not_seen_the_winner():
    # Three members know class 0 alone, one class 1 alone, one class 2 alone. The last two
    # prefer 0 to each other's class, but a new label that sorts first to 0.
    scores = np.where(np.eye(3)[[0, 0, 0, 1, 2]] > 0, 1, -np.inf)
    assert run_off_radius(scores[None])[1].tolist() == [1]
    assert run_off_radius(scores[None], open_set=True)[1].tolist() == [0]
    assert brute_force(scores) == (0, 1)
    assert brute_force(scores, open_set=True) == (0, 0)


def test_push_out_counts_shared_changes():
    # 0 would carry round two by nine to three, so a push out is cheaper. Its
    # changed members serve 1 and 2 alike: three do, where each rival alone would need two.
    votes = [0] * 6 + [1] * 3 + [2] * 3
    rank = {0: [3.0, 2.0, 1.0], 1: [2.0, 3.0, 1.0], 2: [2.0, 1.0, 3.0]}
    scores = np.array([[rank[v] for v in votes]])
    assert run_off_radius(scores)[1].tolist() == [2]
    assert brute_force(scores[0]) == (0, 2)


def plain_radius(scores):
    """The same theorem for one test row, as loops over classes and budgets."""
    n_members, n_classes = scores.shape
    rankings = [r for r in map(ranking_of, scores) if r is not None]
    place = [{m: i for i, m in enumerate(r)} for r in rankings]
    n = [sum(r[0] == m for r in rankings) for m in range(n_classes)]

    def prefer(a, b, first=None):
        return sum(
            p[a] < p[b] and (first is None or r[0] == first)
            for r, p in zip(rankings, place, strict=True)
        )

    a, b = sorted(sorted(range(n_classes), key=lambda m: (-n[m], m))[:2])
    c = a if prefer(a, b) >= prefer(b, a) else b
    least = n_members + 1
    gaps = sorted(max(n[c] - n[m] + (c < m), 0) for m in range(n_classes) if m != c)[:2]
    for r in range(n_members + 1):
        if n_classes > 2 and sum(max(g - min(r, n[c]), 0) for g in gaps) <= r:
            least = r
            break
    for t in set(range(n_classes)) - {c}:
        others = set(range(n_classes)) - {c, t}
        need = -(-max(prefer(c, t) - prefer(t, c) + (c < t), 0) // 2)
        shared = {m: prefer(c, t, first=m) for m in others}
        for r in range(least):
            y = {m: max(n[m] - n[t] + (m < t) - r, 0) for m in others}
            spare = r - sum(y.values())
            useful = sum(min(y[m], shared[m]) for m in others)
            if spare < 0 or any(y[m] > n[m] for m in others):
                continue
            if useful + min(spare, prefer(c, t) - useful) >= need:
                least = r
                break
    return c, least - 1


@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.float16, np.int8])
def test_many_members_and_classes_agree_with_plain_loops(dtype):
    rng = np.random.default_rng(1)
    favourite = rng.integers(0, 7, (40, 1, 7)) + rng.integers(0, 9, (40, 300, 7))
    scores = favourite.astype(dtype)
    winner, radius = run_off_radius(scores)
    expected = [plain_radius(row.astype(float)) for row in scores]
    assert list(zip(winner.tolist(), radius.tolist(), strict=True)) == expected
    assert radius.max() > 30


def test_two_classes_are_plurality():
    rng = np.random.default_rng(2)
    scores = rng.integers(0, 4, (300, 31, 2)).astype(float)
    scores[rng.random(scores.shape[:2]) < 0.1] = -np.inf
    ballot = np.where(scores.max(axis=2) > -np.inf, scores.argmax(axis=2), 2)
    votes = np.stack([(ballot == m).sum(axis=1) for m in range(2)], axis=1)
    for from_scores, from_votes in zip(
        run_off_radius(scores), plurality_radius(votes), strict=True
    ):
        np.testing.assert_array_equal(from_scores, from_votes)


def test_only_the_order_of_scores_matters():
    rng = np.random.default_rng(3)
    scores = rng.integers(-3, 4, (50, 21, 4)).astype(float)
    other = np.exp(scores) * rng.integers(1, 9, (50, 21, 1))
    for expected, found in zip(run_off_radius(scores), run_off_radius(other), strict=True):
        np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("open_set", [False, True])
def test_blocks_do_not_change_the_answer(monkeypatch, open_set):
    rng = np.random.default_rng(4)
    scores = rng.standard_normal((37, 70, 4)).astype(np.float32)
    expected = run_off_radius(scores, open_set=open_set)
    monkeypatch.setattr(runoff, "_BLOCK_SCORES", 3 * 70 * 4)
    monkeypatch.setattr(runoff, "_BLOCK_TABLE", 5 * 36)
    found = run_off_radius(scores, open_set=open_set)
    for one, other in zip(expected, found, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("open_set", [False, True])
def test_where_all_abstain_one_member_decides(open_set):
    winner, radius = run_off_radius(np.full((1, 5, 3), -np.inf), open_set=open_set)
    assert (winner[0], radius[0]) == (0, 0)


def test_no_test_rows_give_no_radii():
    winner, radius = run_off_radius(np.empty((0, 3, 2)))
    assert winner.shape == radius.shape == (0,)


@pytest.mark.parametrize(
    ("scores", "error", "match"),
    [
        ([[1.0, 2.0]], ValueError, "shape"),
        (np.empty((1, 0, 2)), ValueError, "at least one member"),
        (np.empty((1, 2, 0)), ValueError, "at least one member"),
        ([[[1.0, np.nan]]], ValueError, "NaN"),
        ([[["a", "b"]]], TypeError, "real numbers"),
        ([[[1j, 2j]]], TypeError, "real numbers"),
        ([[[2**53, 2**53 + 1]]], ValueError, "2\\*\\*53"),
    ],
)
def test_scores_that_rank_nothing_are_refused(scores, error, match):
    with pytest.raises(error, match=match):
        run_off_radius(scores)


def random_spread(rng, n_partitions, degree):
    """The shifts of finite aggregation."""
    shifts = rng.choice(n_partitions, degree, replace=False)
    return (np.arange(n_partitions)[:, None] + shifts) % n_partitions


@pytest.mark.parametrize(
    ("n_classes", "sizes", "open_set", "n_instances"),
    [
        (2, [(3, 2), (5, 2), (4, 3), (2, 4)], False, 120),
        (3, [(3, 2), (6, 2), (4, 3), (2, 4), (4, 1)], False, 250),
        (4, [(2, 2), (3, 2), (2, 3)], False, 60),
        (1, [(3, 2), (6, 2), (4, 3)], True, 80),
        (2, [(2, 2), (2, 3), (3, 2)], True, 80),
    ],
)
def test_finite_run_off_survives_every_choice_of_partitions(
    n_classes, sizes, open_set, n_instances
):
    rng = np.random.default_rng(20 + n_classes)
    exact = 0
    for _ in range(n_instances):
        k, degree = sizes[rng.integers(len(sizes))]
        spread = random_spread(rng, k * degree, degree)
        scores = random_scores(rng, k * degree, n_classes)
        winner, radius = finite_run_off_radius(scores[None], spread, open_set=open_set)
        true_winner, true_radius = brute_force(scores, open_set, spread)
        assert winner[0] == true_winner
        assert radius[0] <= true_radius, (scores.tolist(), spread.tolist())
        assert degree > 1 or radius[0] == true_radius
        exact += radius[0] == true_radius
    assert exact > 0.95 * n_instances  # sound, and seldom loose


def overlapping_spread(rng, n_partitions, n_members, degree):
    """Partitions that share members more than shifts do."""
    return rng.integers(0, n_members, (n_partitions, degree))


def test_finite_run_off_is_sound_for_any_reach():
    rng = np.random.default_rng(30)
    for _ in range(250):
        n_members = int(rng.integers(3, 8))
        spread = overlapping_spread(rng, int(rng.integers(1, 7)), n_members, 2)
        scores = random_scores(rng, n_members, 3)
        winner, radius = finite_run_off_radius(scores[None], spread)
        true_winner, true_radius = brute_force(scores, False, spread)
        assert winner[0] == true_winner
        assert radius[0] <= true_radius, (scores.tolist(), spread.tolist())


@pytest.mark.parametrize("open_set", [False, True])
def test_finite_run_off_of_degree_one_is_run_off(open_set):
    rng = np.random.default_rng(31)
    scores = rng.integers(0, 5, (60, 25, 4)).astype(float)
    expected = run_off_radius(scores, open_set=open_set)
    found = finite_run_off_radius(scores, rng.permutation(25)[:, None], open_set=open_set)
    for one, other in zip(expected, found, strict=True):
        np.testing.assert_array_equal(one, other)


def test_finite_run_off_of_two_classes_is_finite_aggregation():
    rng = np.random.default_rng(32)
    scores = rng.standard_normal((60, 60, 2)) + np.array([0.4, 0])
    spread = random_spread(rng, 60, 4)
    expected = finite_aggregation_radius(scores.argmax(axis=2), spread, 2)
    for one, other in zip(expected, finite_run_off_radius(scores, spread), strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("open_set", [False, True])
def test_finite_run_off_beats_counting_members(monkeypatch, open_set):
    rng = np.random.default_rng(33)
    scores = (rng.standard_normal((40, 96, 5)) + np.array([0.8, 0, 0.3, 0, 0])).astype(np.float32)
    spread = random_spread(rng, 96, 8)
    members = run_off_radius(scores, open_set=open_set)[1]
    winner, radius = finite_run_off_radius(scores, spread, open_set=open_set)
    assert (radius >= members // 8).all()
    assert radius.sum() > (members // 8).sum()
    monkeypatch.setattr(finite, "_BLOCK_SCORES", 7 * 96 * 5)
    monkeypatch.setattr(finite, "_BLOCK_POWERS", 3 * 512)
    again = finite_run_off_radius(scores, spread, open_set=open_set)
    np.testing.assert_array_equal(again[0], winner)
    np.testing.assert_array_equal(again[1], radius)


def test_finite_run_off_of_one_class_or_no_votes():
    spread = [[0, 1], [1, 2], [2, 0]]
    silent = np.full((1, 3, 2), -np.inf)
    assert finite_run_off_radius(silent, spread)[1].tolist() == [0]
    assert finite_run_off_radius(silent, spread, open_set=True)[1].tolist() == [0]
    assert finite_run_off_radius(np.zeros((1, 3, 1)), spread)[1].tolist() == [3]
