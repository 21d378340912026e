"""Flips of the training labels of fitted classifiers: never beaten, and met where tight."""

import itertools

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression, RidgeClassifier

from certified_ensembles import DeepPartitionAggregation
from certified_ensembles.attacks import (
    flip_labels_in_order,
    flip_labels_of_smoother,
    smallest_flip_attack,
)
from certified_ensembles.hashers import ContentHasher
from certified_ensembles.label_flip import LabelFlipSmoothingClassifier
from certified_ensembles.smoothers import LinearSmoother
from certified_ensembles.ssdpa import SemiSupervisedDPA
from flipped_classifiers import SMOOTHERS, blobs


@pytest.mark.parametrize("n_classes", [2, 3])
@pytest.mark.parametrize("closed", [True, False], ids=["closed", "open"])
@pytest.mark.parametrize("estimator", SMOOTHERS.values(), ids=SMOOTHERS)
def test_a_fit_on_the_flipped_labels_confirms_radius_and_attack(estimator, closed, n_classes):
    X, y, X_test = blobs(n_classes=n_classes)
    smoother = LinearSmoother(estimator).fit(X)
    weights = np.concatenate([weights for _, weights in smoother.iter_weights(X_test)])
    clf = LabelFlipSmoothingClassifier(estimator, classes=range(n_classes) if closed else None)
    y_pred, radius = clone(clf).fit(X, y).certify(X_test)
    n_flips = smallest_flip_attack(weights, y, n_classes, open_set=not closed)
    for i, budget in itertools.chain(enumerate(radius), enumerate(n_flips)):
        poisoned = flip_labels_of_smoother(
            weights[[i]], y, n_classes, budget, open_set=not closed
        )[0]
        # Code n_classes is a label that sorts before all others.
        poisoned = np.where(poisoned == n_classes, -1, poisoned)
        now = clone(clf).fit(X, poisoned).predict(X_test[[i]])[0]
        assert (now == y_pred[i]) == (budget <= radius[i])


@pytest.mark.parametrize("certificate", ["tight", "kl"])
def test_smoothed_radii_survive_the_optimal_flips(certificate):
    X, y, X_test = blobs(300, flip_y=0)
    clf = LabelFlipSmoothingClassifier(
        RidgeClassifier(10.0, fit_intercept=False),
        certificate=certificate,
        classes=[0, 1],
        noise=0.2,
    )
    y_pred, radius = clone(clf).fit(X, y).certify(X_test)
    assert (radius > 0).any()
    smoother = LinearSmoother(clf.estimator).fit(X)
    weights = np.concatenate([weights for _, weights in smoother.iter_weights(X_test)])
    for i in np.flatnonzero(radius > 0):
        poisoned = flip_labels_of_smoother(weights[[i]], y, 2, radius[i])[0]
        now, left = clone(clf).fit(X, poisoned).certify(X_test[[i]])
        assert now[0] == y_pred[i]
        assert left[0] <= radius[i]
    assert (smallest_flip_attack(weights, y, 2) > radius).all()


def test_monte_carlo_radius_survives_flips_in_order_of_influence():
    X, y, X_test = blobs(150, flip_y=0)
    clf = LabelFlipSmoothingClassifier(
        LogisticRegression(),
        certificate="monte_carlo",
        noise=0.3,
        n_draws=60,
        confidence=0.9,
        classes=[0, 1],
    )
    y_pred, radius = clone(clf).fit(X, y).certify(X_test)
    assert (radius > 0).any()
    for i in np.flatnonzero(radius > 0)[:3]:
        poisoned = flip_labels_in_order(LogisticRegression(), X, y, X_test[[i]], radius[i])[0]
        assert clone(clf).fit(X, poisoned).predict(X_test[[i]])[0] == y_pred[i]


PARTITIONED = {
    "DPA": DeepPartitionAggregation(RidgeClassifier(), 9, classes=[0, 1]),
    "DPA, labels hashed": DeepPartitionAggregation(
        RidgeClassifier(), 9, hasher=ContentHasher(include_labels=True), classes=[0, 1]
    ),
    "finite aggregation": DeepPartitionAggregation(
        RidgeClassifier(), 9, spread_degree=2, classes=[0, 1]
    ),
    "run-off": DeepPartitionAggregation(
        RidgeClassifier(), 9, aggregation="run_off", classes=[0, 1]
    ),
    "SS-DPA": SemiSupervisedDPA(RidgeClassifier(), 9, classes=[0, 1]),
}


@pytest.mark.parametrize("order", ["influence", "distance"])
@pytest.mark.parametrize("ensemble", PARTITIONED.values(), ids=PARTITIONED)
def test_partition_ensembles_survive_ordered_flips_within_the_radius(ensemble, order):
    X, y, X_test = blobs(160)
    y_pred, radius = clone(ensemble).fit(X, y).certify(X_test, threat="label_flip")
    within = np.flatnonzero(radius > 0)[:4]
    assert len(within)
    changed = 0
    for i in within:
        flip = flip_labels_in_order(RidgeClassifier(), X, y, X_test[[i]], radius[i], order=order)
        assert (flip[0] != y).sum() == radius[i]
        assert clone(ensemble).fit(X, flip[0]).predict(X_test[[i]])[0] == y_pred[i]
        flip = flip_labels_in_order(RidgeClassifier(), X, y, X_test[[i]], 100, order=order)
        changed += clone(ensemble).fit(X, flip[0]).predict(X_test[[i]])[0] != y_pred[i]
    assert changed  # the same attack with more flips does bite
