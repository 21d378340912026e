"""Rows are forgotten: what is left is a fit that never saw them, and most answers stand."""

import numpy as np
import pytest
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.naive_bayes import GaussianNB
from sklearn.tree import DecisionTreeClassifier

from certified_ensembles import DeepPartitionAggregation, SemiSupervisedDPA

X, Y = load_digits(return_X_y=True)
X_TRAIN, Y_TRAIN, X_TEST = X[:600], Y[:600], X[600:800]
MEMBERS = {
    "naive Bayes": GaussianNB(),
    "trees": DecisionTreeClassifier(),
    "linear": LogisticRegression(max_iter=200),
    "None": None,
}


def without(rows, *arrays):
    return tuple(np.delete(array, rows, axis=0) for array in arrays)


def bits_of(clf):
    """Return everything that a fit answers: ballots, predictions and radii."""
    certificate = clf.certify(X_TEST)
    return [clf.ballots(X_TEST), certificate.y_pred, certificate.radius]


@pytest.mark.parametrize("name", MEMBERS)
def test_forgetting_through_memory_is_a_fit_without_the_rows_bit_for_bit(name, tmp_path):
    def dpa(**how):
        return DeepPartitionAggregation(MEMBERS[name], 12, classes=range(10), **how)

    kept = dpa(memory=str(tmp_path)).fit(X_TRAIN, Y_TRAIN)
    before, partition = kept.ballots(X_TEST), kept.partition_
    rows = np.array([3, 77, 78, 400])
    kept.fit(*without(rows, X_TRAIN, Y_TRAIN))
    fresh = dpa().fit(*without(rows, X_TRAIN, Y_TRAIN))
    for one, other in zip(bits_of(kept), bits_of(fresh), strict=True):
        np.testing.assert_array_equal(one, other)
    assert one.dtype == other.dtype
    # What is forgotten was of use to its own members alone.
    others = np.setdiff1d(np.arange(12), partition[rows])
    np.testing.assert_array_equal(kept.ballots(X_TEST)[:, others], before[:, others])
    assert (kept.ballots(X_TEST) != before).any()


def test_parameters_of_members_that_are_recalled_are_those_of_a_fit_without(tmp_path):
    how = {"n_partitions": 12, "classes": range(10)}
    kept = DeepPartitionAggregation(GaussianNB(), memory=str(tmp_path), **how)
    kept.fit(X_TRAIN, Y_TRAIN)
    X_left, y_left = without([5], X_TRAIN, Y_TRAIN)
    kept.fit(X_left, y_left)
    fresh = DeepPartitionAggregation(GaussianNB(), **how).fit(X_left, y_left)
    for one, other in zip(kept.estimators_, fresh.estimators_, strict=True):
        for attribute in ("theta_", "var_", "class_prior_"):
            assert getattr(one, attribute).tobytes() == getattr(other, attribute).tobytes()


@pytest.mark.parametrize("name", MEMBERS)
def test_rows_with_a_radius_of_at_least_r_need_no_new_answer_when_r_rows_are_forgotten(name):
    clf = DeepPartitionAggregation(MEMBERS[name], 12, classes=range(10)).fit(X_TRAIN, Y_TRAIN)
    y_pred, radius = clf.certify(X_TEST)
    rng, changed = np.random.default_rng(0), 0
    for r in (1, 2, 3):
        stand = radius >= r
        assert 0 < stand.mean() < 1
        for _ in range(3):
            # Of one partition each, so that as many members as can be are trained anew.
            members = rng.choice(12, r, replace=False)
            rows = [rng.choice(np.flatnonzero(clf.partition_ == m)) for m in members]
            left = DeepPartitionAggregation(MEMBERS[name], 12, classes=range(10))
            now = left.fit(*without(rows, X_TRAIN, Y_TRAIN)).certify(X_TEST)
            np.testing.assert_array_equal(now.y_pred[stand], y_pred[stand])
            assert (now.radius[stand] >= radius[stand] - r).all()
            changed += (now.y_pred != y_pred).sum()
    assert changed > 0  # those with smaller radii do need one


def test_forgotten_sources_count_as_one_operation_each(tmp_path):
    groups = np.arange(600) // 10
    how = {"n_partitions": 15, "classes": range(10), "memory": str(tmp_path)}
    clf = DeepPartitionAggregation(GaussianNB(), **how).fit(X_TRAIN, Y_TRAIN, groups=groups)
    y_pred, radius = clf.certify(X_TEST)
    gone = np.isin(groups, [4, 31])
    clf.fit(X_TRAIN[~gone], Y_TRAIN[~gone], groups=groups[~gone])
    stand = radius >= 2
    assert stand.any()
    np.testing.assert_array_equal(clf.predict(X_TEST)[stand], y_pred[stand])


def test_labels_that_are_taken_back_are_forgotten_by_a_fit_of_the_same_rows(tmp_path):
    # Here rows are ranked, so that a row that is gone moves others; a label that is new does not.
    def ssdpa(**how):
        return SemiSupervisedDPA(GaussianNB(), 12, classes=range(10), **how)

    kept = ssdpa(memory=str(tmp_path)).fit(X_TRAIN, Y_TRAIN)
    y_pred, radius = kept.certify(X_TEST)
    y = Y_TRAIN.copy()
    y[[9, 200]] = (y[[9, 200]] + 1) % 10
    kept.fit(X_TRAIN, y)
    for one, other in zip(bits_of(kept), bits_of(ssdpa().fit(X_TRAIN, y)), strict=True):
        np.testing.assert_array_equal(one, other)
    stand = radius >= 2
    np.testing.assert_array_equal(kept.predict(X_TEST)[stand], y_pred[stand])
