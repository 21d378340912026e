"""Empirical accuracy under attack lies above the certified one."""

import numpy as np
import pytest
from sklearn.datasets import load_iris
from sklearn.linear_model import RidgeClassifier

from certified_ensembles.attacks import (
    empirical_robust_accuracy,
    smallest_flip_attack,
    smallest_ordered_flip_attack,
)
from certified_ensembles.certificates.linear import linear_smoother_radius
from certified_ensembles.metrics import certified_accuracy_curve
from certified_ensembles.smoothers import LinearSmoother


def test_empirical_accuracy_lies_above_the_certified_one_and_meets_it_for_the_optimal_attack():
    X, y = load_iris(return_X_y=True)
    X, y = X[50:], y[50:] - 1
    smoother = LinearSmoother(RidgeClassifier()).fit(X[::2])
    weights = np.concatenate([weights for _, weights in smoother.iter_weights(X[1::2])])
    y_pred, radius = linear_smoother_radius(weights, y[::2], 2)
    budgets, certified = certified_accuracy_curve(y[1::2], y_pred, radius)
    optimal = smallest_flip_attack(weights, y[::2], 2)
    distance = smallest_ordered_flip_attack(
        RidgeClassifier(), X[::2], y[::2], X[1::2], orders="distance"
    )
    curves = [
        empirical_robust_accuracy(y[1::2], y_pred, n_flips, budgets)
        for n_flips in (optimal, distance)
    ]
    np.testing.assert_allclose(curves[0], certified)
    assert (curves[1] >= certified).all()
    assert (curves[1] > certified).any()
    assert empirical_robust_accuracy(y[1::2], y_pred, optimal, 0) == (y_pred == y[1::2]).mean()


def test_empirical_accuracy_refuses_attacks_without_an_operation():
    with pytest.raises(ValueError, match="at least 1"):
        empirical_robust_accuracy([0], [0], [0], 1)
    with pytest.raises(TypeError, match="integers"):
        empirical_robust_accuracy([0], [0], [1.5], 1)
    with pytest.raises(ValueError, match="budget"):
        empirical_robust_accuracy([0], [0], [1], [0, -1])
