"""Influence is the derivative of the margin."""

import itertools

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression
from sklearn.naive_bayes import GaussianNB

from certified_ensembles.attacks import (
    label_flip_influence,
    smallest_ordered_flip_attack,
)
from flipped_classifiers import blobs


def with_weight_moved(model, X, y, row, label, share):
    """Fit with a share of the weight of one row moved to a copy with another label."""
    weight = np.append(np.ones(len(y)), share)
    weight[row] -= share
    return clone(model).fit(np.vstack([X, X[row]]), np.append(y, label), sample_weight=weight)


def margin(model, x, c, b):
    value = model.decision_function(x[None])[0]
    if np.ndim(value) == 0:
        return value * (1 if c == model.classes_[1] else -1)
    return value[c] - value[b]


@pytest.mark.parametrize("fit_intercept", [True, False])
@pytest.mark.parametrize(("n_classes", "solver"), [(2, "lbfgs"), (2, "liblinear"), (3, "lbfgs")])
def test_influence_is_the_derivative_of_the_margin(n_classes, solver, fit_intercept):
    X, y, X_test = blobs(90, n_classes)
    model = LogisticRegression(
        C=0.3,
        tol=1e-10,
        max_iter=10_000,
        solver=solver,
        fit_intercept=fit_intercept,
        intercept_scaling=2.0 if solver == "liblinear" else 1.0,
    ).fit(X, y)
    drop = label_flip_influence(model, X, y, X_test)
    assert drop.shape == (10, 80)
    share = 1e-2
    for i, row in itertools.product(range(3), range(0, 80, 13)):
        values = model.decision_function(X_test)
        values = np.column_stack([-values, values]) if n_classes == 2 else values
        b, c = np.argsort(values[i])[-2:]
        label = c if y[row] == b else b
        moved = with_weight_moved(model, X, y, row, label, share)
        slope = (margin(model, X_test[i], c, b) - margin(moved, X_test[i], c, b)) / share
        assert drop[i, row] == pytest.approx(slope, rel=1e-2, abs=5e-4)


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (LogisticRegression(l1_ratio=0.5, solver="saga"), "l1_ratio"),
        (LogisticRegression(C=np.inf), "C=inf"),
        (LogisticRegression(class_weight="balanced"), "class_weight"),
        (GaussianNB(), "pass a LogisticRegression"),
    ],
)
def test_influence_is_refused_where_it_has_another_form(model, message):
    X, y, X_test = blobs()
    with pytest.raises(ValueError, match=message):
        smallest_ordered_flip_attack(model, X, y, X_test)
    with pytest.raises(ValueError, match=message):
        label_flip_influence(model, X, y, X_test)


def test_influence_refuses_labels_that_the_model_has_not_seen():
    X, y, X_test = blobs()
    model = LogisticRegression().fit(X, y)
    with pytest.raises(ValueError, match="has not seen"):
        label_flip_influence(model, X, y + 1, X_test)
