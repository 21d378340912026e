"""Brute force over every adversary of a plurality vote."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from certified_ensembles.certificates import plurality_radius, threat_cost


def _winner(ballots, n_classes):
    votes = np.bincount([b for b in ballots if b >= 0], minlength=n_classes)
    return int(votes.argmax())


def _smallest_attack(ballots, n_classes, n_phantoms):
    """Return the fewest changed ballots that turn the winner, over all sets and all answers.

    Phantoms are classes that nobody votes for yet and that sort before all others.
    """
    ballots = [b + n_phantoms if b >= 0 else b for b in ballots]
    total = n_classes + n_phantoms
    # Phantoms without votes never win: an attacker has to use them to make them exist.
    votes = np.bincount([b for b in ballots if b >= 0], minlength=total)
    start = n_phantoms + int(votes[n_phantoms:].argmax())
    for size in range(1, len(ballots) + 1):
        for members in itertools.combinations(range(len(ballots)), size):
            for answers in itertools.product(range(-1, total), repeat=size):
                changed = list(ballots)
                for i, answer in zip(members, answers, strict=True):
                    changed[i] = answer
                if _winner(changed, total) != start:
                    return size
    return len(ballots) + 1


CASES = list(itertools.chain(
    ((k, 2) for k in (1, 2, 3, 4, 5)), ((k, 3) for k in (1, 2, 3, 4, 5)), [(4, 4), (3, 1)]
))  # fmt: skip


@pytest.mark.parametrize(("n_members", "n_classes"), CASES)
@pytest.mark.parametrize("n_phantoms", [0, 1])
def test_radius_equals_brute_force_over_all_changed_ballots(n_members, n_classes, n_phantoms):
    compositions = itertools.combinations_with_replacement(range(-1, n_classes), n_members)
    for ballots in compositions:
        votes = np.bincount([b for b in ballots if b >= 0], minlength=n_classes)
        if votes.sum() == 0:
            continue
        winner, radius = plurality_radius(votes[None], open_set=n_phantoms > 0)
        attack = _smallest_attack(ballots, n_classes, n_phantoms)
        assert winner[0] == votes.argmax()
        if n_classes == 1 and n_phantoms == 0:
            assert attack == n_members + 1  # nothing turns it
            assert radius[0] == votes.sum()
        else:
            assert radius[0] == attack - 1, (ballots, n_phantoms)


@settings(max_examples=200, deadline=None)
@given(st.lists(st.integers(0, 40), min_size=2, max_size=6))
def test_radius_is_the_formula_of_the_theorem(votes):
    winner, radius = plurality_radius([votes])
    c = max(range(len(votes)), key=lambda i: (votes[i], -i))
    rivals = [(votes[c] - votes[b] - (b < c)) // 2 for b in range(len(votes)) if b != c]
    assert (winner[0], radius[0]) == (c, min(rivals))
    _, open_radius = plurality_radius([votes], open_set=True)
    assert open_radius[0] == max(min([*rivals, (votes[c] - 1) // 2]), 0)


def test_phantom_rival_bites_only_the_smallest_class_with_an_even_lead():
    assert plurality_radius([[6, 0]])[1] == 3
    assert plurality_radius([[6, 0]], open_set=True)[1] == 2
    assert plurality_radius([[5, 0]], open_set=True)[1] == plurality_radius([[5, 0]])[1] == 2
    assert plurality_radius([[0, 6]], open_set=True)[1] == plurality_radius([[0, 6]])[1] == 2


def test_nobody_votes_then_nothing_is_certified_beyond_no_attack():
    winner, radius = plurality_radius([[0, 0]], open_set=True)
    assert (winner[0], radius[0]) == (0, 0)


def test_small_integer_types_do_not_overflow():
    _, radius = plurality_radius(np.array([[255, 0]], dtype=np.uint8))
    assert radius[0] == 127


def test_no_rows_give_no_radii():
    winner, radius = plurality_radius(np.zeros((0, 3), dtype=int))
    assert winner.shape == radius.shape == (0,)
    assert radius.dtype == np.int64


@pytest.mark.parametrize("votes", [[1, 2], [[0.5, 1.0]], np.zeros((2, 0), int), [[-1, 2]]])
def test_unusable_votes_are_refused(votes):
    with pytest.raises(ValueError, match="vote_counts"):
        plurality_radius(votes)


@pytest.mark.parametrize(
    ("decided_by", "costs"),
    [("features and label", (1, 2, 2)), ("features", (1, 1, 2)), ("source", (1, 1, 1))],
)
def test_costs_of_operations(decided_by, costs):
    threats = ("insertion_deletion", "label_flip", "replacement")
    assert tuple(threat_cost(threat, decided_by) for threat in threats) == costs


def test_unknown_threats_are_refused():
    with pytest.raises(ValueError, match=r"threat='backdoor' is unknown.*label_flip"):
        threat_cost("backdoor", "features")
