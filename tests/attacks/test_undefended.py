"""Ordered flips work on undefended models, and never beat a certificate."""

import itertools

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.cluster import KMeans
from sklearn.datasets import load_digits
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression, Ridge, RidgeClassifier
from sklearn.naive_bayes import GaussianNB
from sklearn.neighbors import KNeighborsClassifier
from sklearn.tree import DecisionTreeClassifier

from certified_ensembles.attacks import (
    flip_labels_in_order,
    smallest_ordered_flip_attack,
)
from certified_ensembles.certificates.linear import linear_smoother_radius
from certified_ensembles.smoothers import LinearSmoother
from flipped_classifiers import SMOOTHERS, blobs

VICTIMS = {
    "logistic": (LogisticRegression(C=0.1), {}),
    # A fit that stops this early depends on where it started.
    "logistic, hasty": (LogisticRegression(C=10.0, tol=0.1), {}),
    "logistic, renewed": (LogisticRegression(C=0.1), {"recompute": "schedule"}),
    "ridge": (RidgeClassifier(), {}),
    "neighbours": (KNeighborsClassifier(7), {}),
    "naive Bayes": (GaussianNB(), {"orders": "distance"}),
    "forest": (RandomForestClassifier(3, random_state=0), {"orders": ["distance"]}),
}


def fresh_prediction(estimator, X, y, x_test):
    """A fit from scratch; a logistic regression refuses labels of one class."""
    return y[0] if len(np.unique(y)) == 1 else clone(estimator).fit(X, y).predict(x_test)[0]


@pytest.mark.parametrize("n_classes", [2, 3])
@pytest.mark.parametrize(("estimator", "options"), VICTIMS.values(), ids=VICTIMS)
def test_every_attack_found_works_on_a_fresh_fit(estimator, options, n_classes):
    X, y, X_test = blobs(100, n_classes)
    y = np.array(["a", "b", "c"])[y]
    X_test = X_test[:4]
    n_flips, poisoned = smallest_ordered_flip_attack(
        estimator, X, y, X_test, return_labels=True, **options
    )
    assert poisoned.shape == (4, 90)
    assert poisoned.dtype == y.dtype
    assert (n_flips >= 1).all()
    assert (n_flips <= 90).all()
    clean = clone(estimator).fit(X, y).predict(X_test)
    for i in range(4):
        assert (poisoned[i] != y).sum() == n_flips[i]
        assert fresh_prediction(estimator, X, poisoned[i], X_test[[i]]) != clean[i]


@pytest.mark.parametrize("estimator", [LogisticRegression(), DecisionTreeClassifier()])
def test_a_class_may_lose_its_last_row(estimator):
    n_flips, poisoned = smallest_ordered_flip_attack(
        estimator,
        [[0.0], [0.5], [1.0], [9.0]],
        [0, 0, 0, 1],
        [[9.2]],
        orders="distance",
        reverse=False,
        return_labels=True,
    )
    assert n_flips == 1
    assert not poisoned.any()
    # With three classes the two others are fitted again, from scratch.
    X, y = [[0.0], [0.5], [4.0], [4.5], [9.0]], [0, 0, 1, 1, 2]
    n_flips = smallest_ordered_flip_attack(estimator, X, y, [[9.2]], orders="distance")
    assert n_flips == 1


def test_fewer_flips_of_the_same_order_do_not_suffice():
    X, y, X_test = blobs(100)
    model = LogisticRegression(C=0.1)
    n_flips = smallest_ordered_flip_attack(model, X, y, X_test, orders="influence", reverse=False)
    clean = clone(model).fit(X, y).predict(X_test)
    assert (n_flips > 1).sum() > 5
    for i in np.flatnonzero(n_flips > 1):
        for budget, works in ((n_flips[i] - 1, False), (n_flips[i], True)):
            labels = flip_labels_in_order(model, X, y, X_test[[i]], budget)[0]
            assert (clone(model).fit(X, labels).predict(X_test[[i]])[0] != clean[i]) == works


def test_the_best_of_all_orders_is_kept():
    X, y, X_test = blobs(100, 3)
    single = [
        smallest_ordered_flip_attack(RidgeClassifier(), X, y, X_test, orders=order, reverse=end)
        for order, end in itertools.product(["influence", "distance"], [False, True])
    ]
    every = smallest_ordered_flip_attack(RidgeClassifier(), X, y, X_test)
    np.testing.assert_array_equal(every, np.minimum(single[1], single[3]))
    for forward, both_ends in (single[:2], single[2:]):
        assert (both_ends <= forward).all()
    assert (single[0] < single[2]).any()


def test_the_furthest_rows_come_first_in_reverse():
    """Without an intercept a weight grows with the row, and one flip far away suffices."""
    X, y = [[1.0], [1.2], [1.4], [8.0], [-1.0], [-2.0]], [1, 1, 1, 1, 0, 0]
    for reverse, expected in ((False, 4), (True, 1)):
        n_flips = smallest_ordered_flip_attack(
            RidgeClassifier(fit_intercept=False), X, y, [[1.0]], orders="distance", reverse=reverse
        )
        assert n_flips == expected


@pytest.mark.parametrize("estimator", SMOOTHERS.values(), ids=SMOOTHERS)
def test_ordered_flips_of_a_smoother_never_beat_its_radius(estimator):
    for n_classes in (2, 3):
        X, y, X_test = blobs(80, n_classes)
        smoother = LinearSmoother(estimator).fit(X)
        weights = np.concatenate([weights for _, weights in smoother.iter_weights(X_test)])
        _, radius = linear_smoother_radius(weights, y, n_classes)
        n_flips = smallest_ordered_flip_attack(estimator, X, y, X_test)
        assert (n_flips > radius).all()
        if n_classes == 2:  # then influence is the optimal order
            np.testing.assert_array_equal(n_flips, radius + 1)


def test_renewed_influence_finds_smaller_attacks():
    X, y = load_digits(return_X_y=True)
    few = np.isin(y, [1, 7])
    X, y = X[few] / 16, y[few]
    model, options = LogisticRegression(), {"orders": "influence", "reverse": False}
    never = smallest_ordered_flip_attack(model, X[10:], y[10:], X[:10], **options)
    renewed = smallest_ordered_flip_attack(
        model, X[10:], y[10:], X[:10], recompute="schedule", **options
    )
    assert renewed.sum() < never.sum()


def test_ordered_attack_admits_where_nothing_was_found():
    X, y, X_test = blobs(100)
    n_flips = smallest_ordered_flip_attack(LogisticRegression(), X, y, X_test)
    for estimator in (LogisticRegression(), RidgeClassifier()):
        n_flips = smallest_ordered_flip_attack(estimator, X, y, X_test)
        cut = int(np.sort(n_flips)[5])
        capped, labels = smallest_ordered_flip_attack(
            estimator, X, y, X_test, max_flips=cut, return_labels=True
        )
        np.testing.assert_array_equal(capped, np.where(n_flips <= cut, n_flips, len(y) + 1))
        np.testing.assert_array_equal(labels[n_flips > cut], [y] * (n_flips > cut).sum())
    none = smallest_ordered_flip_attack(LogisticRegression(), X, y, X_test, max_flips=0)
    assert (none == len(y) + 1).all()


def test_ordered_attack_does_not_depend_on_n_jobs_or_the_rows_beside():
    X, y, X_test = blobs(60)
    alone = [
        smallest_ordered_flip_attack(LogisticRegression(), X, y, row[None])[0] for row in X_test
    ]
    for n_jobs in (1, 2):
        together = smallest_ordered_flip_attack(LogisticRegression(), X, y, X_test, n_jobs=n_jobs)
        np.testing.assert_array_equal(together, alone)


def test_ordered_flips_spend_the_budget_on_rows_of_other_labels_by_distance():
    X, y = [[0.0], [1.0], [2.0], [5.0], [6.0]], np.array(["no", "no", "no", "yes", "yes"])
    flipped = flip_labels_in_order(RidgeClassifier(), X, y, [[1.2]], 2, order="distance")
    np.testing.assert_array_equal(flipped, [["no", "yes", "yes", "yes", "yes"]])
    flipped = flip_labels_in_order(
        RidgeClassifier(), X, y, [[1.2]], 9, order="distance", reverse=True
    )
    np.testing.assert_array_equal(flipped, [["yes"] * 5])


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"orders": "random"}, "orders"),
        ({"orders": ()}, "orders"),
        ({"recompute": "always"}, "recompute"),
        ({"y": np.zeros(50, dtype=int)}, "1 class only"),
        ({"y": np.zeros(49, dtype=int)}, "inconsistent"),
        ({"X_test": np.ones((2, 3))}, "features"),
        ({"estimator": Ridge(positive=True)}, "no classifier"),
        ({"estimator": RidgeClassifier(class_weight="balanced")}, "no influence in closed form"),
        ({"estimator": KMeans(2), "orders": "distance"}, "no classifier"),
    ],
)
def test_ordered_attack_refuses_unusable_arguments(kwargs, message):
    X, y, X_test = blobs()
    good = {"estimator": RidgeClassifier(), "X": X, "y": y, "X_test": X_test}
    with pytest.raises(ValueError, match=message):
        smallest_ordered_flip_attack(**good | kwargs)
