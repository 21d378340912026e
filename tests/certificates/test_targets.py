"""Named targets and first places of a plurality vote, against every adversary."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from all_votes import fewest_changes, places, random_ballots
from certified_ensembles.certificates import plurality_radius, target_radius, top_k_radius


def count(ballots, n_classes):
    return np.bincount(ballots[ballots >= 0], minlength=n_classes)[None]


def instances(seed, number=500):
    rng = np.random.default_rng(seed)
    for _ in range(number):
        n_classes = int(rng.integers(1, 5))
        yield rng, random_ballots(rng, int(rng.integers(1, 8)), n_classes), n_classes


# ---------------------------------------------------------------- brute force


@pytest.mark.parametrize("open_set", [False, True])
def test_target_radius_equals_brute_force_over_all_changed_ballots(open_set):
    for rng, ballots, n_classes in instances(0):
        votes, t = count(ballots, n_classes), int(rng.integers(n_classes))
        (radius,) = target_radius(votes, t, open_set=open_set)
        if votes.argmax() == t:
            assert radius == -1
            continue
        for n_new in {0, 2 * open_set}:
            attack = fewest_changes(
                ballots, n_classes, lambda v, t=t + n_new: v.argmax(axis=1) == t, n_new
            )
            assert radius == attack - 1, (ballots, t)


@pytest.mark.parametrize("open_set", [False, True])
def test_top_k_radius_equals_brute_force_over_all_changed_ballots(open_set):
    never = 0
    for rng, ballots, n_classes in instances(1):
        votes, y, k = (
            count(ballots, n_classes),
            int(rng.integers(n_classes)),
            int(rng.integers(1, 4)),
        )
        (radius,) = top_k_radius(votes, y, k, open_set=open_set)
        if places(votes, y)[0] >= k:
            assert radius == -1
            continue
        n_new = k * open_set
        attack = fewest_changes(
            ballots, n_classes, lambda v, y=y + n_new, k=k: places(v, y) >= k, n_new
        )
        if attack <= len(ballots):
            assert radius == attack - 1, (ballots, y, k)
        else:  # nothing pushes it out: too many places, or no member to spare
            assert not open_set
            assert k >= n_classes or radius >= votes[0, y]
            never += k < n_classes
        assert radius >= 0
    assert never or open_set


def test_several_targets_are_as_near_as_the_nearest():
    for rng, ballots, n_classes in instances(2):
        votes = count(ballots, n_classes)
        targets = rng.choice(n_classes, int(rng.integers(1, n_classes + 1)), replace=False)
        (radius,) = target_radius(votes, targets.tolist())
        assert radius == target_radius(votes, set(targets.tolist()))[0]
        if votes.argmax() in targets:
            assert radius == -1
            continue
        attack = fewest_changes(
            ballots, n_classes, lambda v, t=targets: np.isin(v.argmax(axis=1), t)
        )
        assert radius == attack - 1


# ---------------------------------------------------------------- formulas, beside the radius


def by_the_formula_of_a_target(votes, t):
    for m in range(sum(votes) + 2):
        lost = [max(0, n - (votes[t] + m - (c < t))) for c, n in enumerate(votes) if c != t]
        if sum(lost) <= m:
            return m - 1
    return None


def by_the_formula_of_the_first(votes, y, k, n_new):
    rivals = [(b > y, n) for b, n in enumerate(votes) if b != y] + [(False, 0)] * n_new
    for r in range(sum(votes) + len(votes) + 2):
        lacking = sorted(max(0, max(votes[y] - r, 0) + after - n) for after, n in rivals)
        if len(lacking) >= k and sum(lacking[:k]) <= r:
            return r - 1
    return None


VOTES = st.lists(st.integers(0, 40), min_size=2, max_size=6)


@settings(max_examples=200, deadline=None)
@given(VOTES, st.data())
def test_radii_are_the_formulas_of_larger_votes(votes, data):
    label = data.draw(st.integers(0, len(votes) - 1))
    assert target_radius([votes], label)[0] == by_the_formula_of_a_target(votes, label)
    k, open_set = data.draw(st.integers(1, len(votes) + 2)), data.draw(st.booleans())
    (radius,) = top_k_radius([votes], label, k, open_set=open_set)
    expected = by_the_formula_of_the_first(votes, label, k, k * open_set)
    if expected is None:
        assert k >= len(votes)
        assert radius == max(sum(votes), len(votes) - 1)
    elif expected == -1 and places(np.array([votes]), label)[0] < k:
        assert radius == 0  # new labels count once they are brought
        assert open_set
    else:
        assert radius == expected


@settings(max_examples=100, deadline=None)
@given(VOTES)
def test_the_first_place_of_the_winner_is_the_plurality_radius(votes):
    for open_set in (False, True):
        winner, radius = plurality_radius([votes], open_set=open_set)
        assert top_k_radius([votes], winner, 1, open_set=open_set) == radius
        wider = [
            top_k_radius([votes], winner, k, open_set=open_set)[0]
            for k in range(1, len(votes) + 2)
        ]
        assert wider == sorted(wider)
        others = [t for t in range(len(votes)) if t != winner]
        nearest = target_radius([votes], others, open_set=open_set)
        assert nearest >= radius
        if not open_set and max(votes):  # somebody else wins if and only if one of the others does
            assert nearest == radius


# ---------------------------------------------------------------- one question a row


def test_every_row_may_have_its_own_label():
    votes = np.random.default_rng(3).integers(0, 9, (40, 4))
    own = np.arange(40) % 4
    radii = [target_radius(votes[[i]], int(t))[0] for i, t in enumerate(own)]
    assert target_radius(votes, own).tolist() == radii
    kept = [top_k_radius(votes[[i]], int(y), 2)[0] for i, y in enumerate(own)]
    assert top_k_radius(votes, own, 2).tolist() == top_k_radius(votes, own.tolist(), 2).tolist()
    assert top_k_radius(votes, own, 2).tolist() == kept


def test_an_array_is_one_class_a_row_and_a_list_is_any_of_them():
    votes = [[3, 8, 2], [5, 1, 0]]
    assert target_radius(votes, np.array([0, 2])).tolist() == [2, 2]
    assert target_radius(votes, [0, 2]).tolist() == [2, -1]
    assert target_radius(votes, range(1, 3)).tolist() == [-1, 2]


def test_no_rows_give_no_radii():
    none = np.zeros((0, 3), dtype=int)
    for target in (1, [0, 1], np.zeros(0, int)):
        radius = target_radius(none, target)
        assert (radius.shape, radius.dtype) == ((0,), np.int64)
    assert top_k_radius(none, 1, 2, open_set=True).shape == (0,)


def test_small_integer_types_and_many_places_do_not_overflow():
    votes = np.array([[255, 200, 0]], dtype=np.uint8)
    assert target_radius(votes, 2).tolist() == [152]
    assert top_k_radius(votes, 0, 10**30, open_set=True).tolist() == [254]


@pytest.mark.parametrize(
    ("target", "match"),
    [
        (3, "between 0 and n_classes - 1 = 2"),
        (-1, "between 0 and"),
        ([], "names no class"),
        (1.0, "index of a class"),
        ("a", "index of a class"),
        (True, "index of a class"),
        (np.array([0, 1, 2]), "3 entries for 2 rows.*Pass a list"),
        (np.zeros((2, 1), int), "index of a class"),
    ],
)
def test_unusable_targets_are_refused(target, match):
    with pytest.raises(ValueError, match=match):
        target_radius([[1, 2, 3], [3, 2, 1]], target)


@pytest.mark.parametrize(
    ("label", "k", "match"),
    [
        (3, 1, "label must lie between"),
        (0.5, 1, "label=0.5"),
        ([0, 1, 2], 1, r"label has the shape \(3,\) for 2 rows"),
        (0, 0, "k must be an integer"),
        (0, 1.0, "k must be an integer"),
        (0, True, "k must be an integer"),
    ],
)
def test_unusable_labels_and_places_are_refused(label, k, match):
    with pytest.raises(ValueError, match=match):
        top_k_radius([[1, 2, 3], [3, 2, 1]], label, k)


def test_votes_are_checked():
    for ask in (lambda v: target_radius(v, 0), lambda v: top_k_radius(v, 0, 1)):
        with pytest.raises(ValueError, match="vote_counts"):
            ask([1, 2])
