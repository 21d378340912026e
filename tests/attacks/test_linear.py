"""Flips of the labels of linear smoothers meet the radius, and never beat it."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import RidgeClassifier

from certified_ensembles.attacks import (
    flip_labels_in_order,
    flip_labels_of_smoother,
    poison_ballots,
    poison_members,
    smallest_flip_attack,
)
from certified_ensembles.certificates.linear import linear_smoother_radius, linear_smoother_winner

WEIGHTS = {
    "normal": lambda rng, shape: rng.normal(size=shape),
    "votes": lambda rng, shape: rng.integers(0, 3, shape).astype(float),
    "tenths of both signs": lambda rng, shape: rng.integers(-4, 5, shape) * 0.1,
    "plus and minus one": lambda rng, shape: rng.choice([1.0, -1.0], shape),
    "negative": lambda rng, shape: -rng.integers(1, 4, shape) * 0.1,
    "zero": lambda rng, shape: np.zeros(shape),
    "of very different size": lambda rng, shape: 10.0 ** rng.integers(-25, 5, shape),
}


def smoother_instances(kind, n_instances=40, n_rows=3):
    rng = np.random.default_rng(list(WEIGHTS).index(kind))
    for _ in range(n_instances):
        n_classes = int(rng.integers(2, 5))
        n_train = int(rng.integers(n_classes, 13))
        y = np.append(np.arange(n_classes), rng.integers(0, n_classes, n_train - n_classes))
        yield WEIGHTS[kind](rng, (n_rows, n_train)), rng.permutation(y), n_classes


def open_winner(weights, labels, n_classes):
    """The winner among the labels that occur; n_classes is the new one, and sorts first."""
    seen, codes = np.unique((labels + 1) % (n_classes + 1), return_inverse=True)
    return (seen[linear_smoother_winner(weights[None], codes, len(seen))[0]] - 1) % (n_classes + 1)


def winners(weights, poisoned, n_classes, open_set):
    if open_set:
        pairs = zip(weights, poisoned, strict=True)
        return np.array([open_winner(a, labels, n_classes) for a, labels in pairs])
    pairs = zip(weights, poisoned, strict=True)
    return np.array([linear_smoother_winner(a[None], b, n_classes)[0] for a, b in pairs])


@pytest.mark.parametrize("kind", WEIGHTS)
def test_flips_meet_the_exact_radius(kind):
    n_beaten_by_one_more = 0
    for weights, y, n_classes in smoother_instances(kind):
        winner, radius = linear_smoother_radius(weights, y, n_classes)
        n_flips = smallest_flip_attack(weights, y, n_classes)
        np.testing.assert_array_equal(n_flips, radius + 1)
        for row, r, c in zip(weights, radius, winner, strict=True):
            for budget in (r, r + 1):
                poisoned = flip_labels_of_smoother(row[None], y, n_classes, budget)
                assert (poisoned != y).sum() <= budget
                changed = winners(row[None], poisoned, n_classes, False)[0] != c
                assert changed == (r < budget <= len(y))
                n_beaten_by_one_more += changed
    assert n_beaten_by_one_more or kind == "zero"


@pytest.mark.parametrize("kind", WEIGHTS)
def test_flips_to_a_new_label_meet_the_radius_of_an_open_set(kind):
    met = []
    for weights, y, n_classes in smoother_instances(kind):
        winner, radius = linear_smoother_radius(weights, y, n_classes, open_set=True)
        n_flips = smallest_flip_attack(weights, y, n_classes, open_set=True)
        # The new label may have to be put on one more row before it is a class that can win.
        assert ((n_flips == radius + 1) | (n_flips == radius + 2)).all()
        met += (n_flips == radius + 1).tolist()
        for row, r, m, c in zip(weights, radius, n_flips, winner, strict=True):
            within, beyond = (
                flip_labels_of_smoother(row[None], y, n_classes, b, open_set=True) for b in (r, m)
            )
            assert winners(row[None], within, n_classes, True)[0] == c
            assert winners(row[None], beyond, n_classes, True)[0] != c
            assert (beyond != y).sum() <= m
    assert np.mean(met) > 0.9


def fewest_flips(weights, y, n_classes, open_set):
    """Try every label vector."""
    winner = winners(weights[None], y[None], n_classes, open_set)[0]
    every = np.array(list(itertools.product(range(n_classes + open_set), repeat=len(y))))
    changed = winners(np.tile(weights, (len(every), 1)), every, n_classes, open_set) != winner
    return (every[changed] != y).sum(axis=1).min(initial=len(y) + 1)


@pytest.mark.parametrize("open_set", [False, True], ids=["closed", "open"])
def test_no_label_vector_needs_fewer_flips(open_set):
    rng = np.random.default_rng(0)
    for i in range(12):
        y = np.append([0, 1], rng.integers(0, 2, 3))
        weights = rng.normal(size=5) if i % 2 else rng.integers(-3, 3, 5) * 0.1
        n_flips = smallest_flip_attack(weights[None], y, 2, open_set=open_set)[0]
        assert n_flips == fewest_flips(weights, y, 2, open_set)


def test_a_new_label_needs_a_row_of_its_own():
    """Flips of others bring the winner's score below zero, but nobody is there to win."""
    y, weights = np.repeat([0, 1], [6, 3]), np.repeat([0.5, -4.0], [6, 3])[None]
    assert linear_smoother_radius(weights, y, 2, open_set=True)[1] == 0
    assert smallest_flip_attack(weights, y, 2, open_set=True) == 2
    poisoned = flip_labels_of_smoother(weights, y, 2, 2, open_set=True)
    assert (poisoned == 2).any()


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_flip_attacks_keep_shapes_and_budgets(data):
    n_samples = data.draw(st.integers(0, 4))
    y = np.array(data.draw(st.lists(st.integers(0, 2), max_size=8)), dtype=int)
    numbers = st.sampled_from([-0.3, -0.1, 0.0, 0.1, 0.2, 0.3])
    weights = data.draw(
        st.lists(numbers, min_size=n_samples * len(y), max_size=n_samples * len(y))
    )
    weights = np.reshape(weights, (n_samples, len(y)))
    budget = data.draw(st.integers(0, 10))
    poisoned = flip_labels_of_smoother(weights, y, 3, budget)
    assert poisoned.shape == weights.shape
    assert poisoned.dtype == np.int64
    assert ((poisoned != y).sum(axis=1) <= budget).all()
    winner, radius = linear_smoother_radius(weights, y, 3)
    changed = winners(weights, poisoned, 3, False) != winner
    np.testing.assert_array_equal(changed, (radius < budget) & (radius < len(y)))


def test_whole_budget_is_spent_on_what_still_helps():
    poisoned = flip_labels_of_smoother([[3.0, 2.0, 1.0, -1.0]], [0, 0, 0, 1], 2, budget=3)
    np.testing.assert_array_equal(poisoned, [[1, 1, 1, 1]])  # the first three of 6, 4, 2 and 2
    poisoned = flip_labels_of_smoother([[3.0, 2.0, -1.0, 1.0]], [0, 0, 0, 1], 2, budget=4)
    np.testing.assert_array_equal(poisoned, [[1, 1, 0, 1]])  # the last two help the winner


def test_max_flips_stops_the_search_and_admits_it():
    weights, y = np.ones((2, 9)), [0] * 7 + [1] * 2
    for most, expected in ((0, 10), (2, 10), (3, 3), (99, 3)):
        np.testing.assert_array_equal(
            smallest_flip_attack(weights, y, 2, max_flips=most), [expected] * 2
        )


def test_flips_do_not_depend_on_the_rows_beside():
    rng = np.random.default_rng(0)
    weights, y = rng.normal(size=(5, 40)), rng.integers(0, 3, 40)
    together = flip_labels_of_smoother(weights, y, 3, 4)
    alone = [flip_labels_of_smoother(row[None], y, 3, 4)[0] for row in weights]
    np.testing.assert_array_equal(together, alone)


def test_progress_is_shown_on_request_only(capsys):
    smallest_flip_attack(np.ones((2, 3)), [0, 0, 1], 2)
    assert capsys.readouterr().err == ""
    smallest_flip_attack(np.ones((2, 3)), [0, 0, 1], 2, verbose=1)
    assert "row" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("kwargs", "error", "message"),
    [
        ({"weights": np.ones((2, 3))}, ValueError, "weights must have shape"),
        ({"weights": np.full((1, 4), np.nan)}, ValueError, "finite"),
        ({"y": [0, 1, 2, 0]}, ValueError, "y must hold codes"),
        ({"y": [0.0, 1.0, 1.0, 0.0]}, ValueError, "integer codes"),
        ({"n_classes": 0}, ValueError, "n_classes"),
        ({"y": [0, 0, 0, 0], "open_set": True}, ValueError, "no row of the classes"),
    ],
)
def test_flip_attacks_refuse_unusable_arrays(kwargs, error, message):
    good = {"weights": np.ones((1, 4)), "y": [0, 1, 1, 0], "n_classes": 2}
    with pytest.raises(error, match=message):
        smallest_flip_attack(**good | kwargs)
    with pytest.raises(error, match=message):
        flip_labels_of_smoother(**good | kwargs, budget=1)


@pytest.mark.parametrize(("budget", "error"), [(-1, ValueError), (1.5, TypeError)])
def test_attacks_refuse_unusable_budgets(budget, error):
    with pytest.raises(error, match="budget"):
        flip_labels_of_smoother(np.ones((1, 3)), [0, 1, 0], 2, budget)
    with pytest.raises(error, match="budget"):
        smallest_flip_attack(np.ones((1, 3)), [0, 1, 0], 2, max_flips=budget)
    with pytest.raises(error, match="budget"):
        poison_ballots([[0, 1]], 2, budget)
    with pytest.raises(error, match="budget"):
        poison_members([[0, 1]], 2, budget)
    with pytest.raises(error, match="budget"):
        flip_labels_in_order(RidgeClassifier(), [[0.0], [1.0]], [0, 1], [[0.5]], budget)
