"""collective_certify for every aggregation and kind of member, against refits on attacked data."""

import itertools

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.datasets import load_digits, load_iris
from sklearn.linear_model import RidgeClassifier
from sklearn.neighbors import KNeighborsClassifier
from sklearn.tree import DecisionTreeClassifier

from certified_ensembles import DeepPartitionAggregation, SemiSupervisedDPA

X_DIGITS, Y_DIGITS = load_digits(return_X_y=True)
X, Y = X_DIGITS[:400], Y_DIGITS[:400]
ROWS, LABELS = X_DIGITS[400:440], Y_DIGITS[400:440]

WAYS = {
    "run-off": {"aggregation": "run_off"},
    "finite run-off": {"aggregation": "run_off", "spread_degree": 2},
    "run-off of several seeds": {"aggregation": "run_off", "n_seeds": 2},
    "several seeds": {"n_seeds": 2, "estimator": DecisionTreeClassifier(max_features=8)},
}


def dpa(n_partitions=12, **how):
    how = {"estimator": RidgeClassifier(), "classes": range(10), **how}
    return DeepPartitionAggregation(n_partitions=n_partitions, **how)


@pytest.mark.parametrize("way", WAYS)
def test_joint_attacks_leave_as_many_as_are_certified(way):
    clf = dpa(**WAYS[way]).fit(X, Y)
    budget = 2
    result = clf.collective_certify(ROWS, budget, y=LABELS, time_limit=5)
    y_pred, radius = clf.certify(ROWS)
    assert result.pointwise == ((y_pred == LABELS) & (radius >= budget)).sum()
    assert result.pointwise <= result.certified <= result.upper <= (y_pred == LABELS).sum()
    assert result.pointwise < result.certified or way == "several seeds"
    # Take the strongest attack found, and others: their partitions lose all rows.
    rng = np.random.default_rng(0)
    n_partitions = clf.partition_.max() + 1
    others = [rng.choice(n_partitions, budget, replace=False) for _ in range(4)]
    for taken in [result.attack, *others]:
        rest = ~np.isin(clf.partition_, taken)
        fallen = clone(clf).fit(X[rest], Y[rest]).predict(ROWS)
        assert (fallen == LABELS).sum() >= result.certified


@pytest.mark.parametrize(
    ("estimator", "classes"), [(KNeighborsClassifier(1), None), (RidgeClassifier(), [0, 1])]
)
def test_all_flips_within_the_budget_leave_as_many_as_are_certified(estimator, classes):
    # Each of 210 pairs of flips is a fit, hence more than milliseconds.
    rng = np.random.default_rng(3)
    rows = rng.normal(size=(21, 2))
    labels = (rows[:, 0] + 0.3 * rng.normal(size=21) > 0).astype(int)
    tests = rng.normal(size=(30, 2))
    clf = SemiSupervisedDPA(estimator, 7, classes=classes, certificate="members")
    y_pred, radius = clf.fit(rows, labels).certify(tests)
    result = clf.collective_certify(tests, 2)
    assert result.pointwise == (radius >= 2).sum()
    assert result.pointwise < result.certified
    for pair in itertools.combinations(range(21), 2):
        flipped = labels.copy()
        flipped[list(pair)] = 1 - flipped[list(pair)]
        left = (clone(clf).fit(rows, flipped).predict(tests) == y_pred).sum()
        assert left >= result.certified


def test_members_with_prices_certify_at_least_what_their_ballots_do():
    rows, labels = load_iris(return_X_y=True)
    how = {"n_partitions": 9, "classes": [0, 1, 2]}
    ballots = SemiSupervisedDPA(**how).fit(rows, labels)
    members = SemiSupervisedDPA(certificate="members", **how).fit(rows, labels)
    more = 0
    for budget in (2, 3):
        low = ballots.collective_certify(rows[::3], budget, y=labels[::3])
        high = members.collective_certify(rows[::3], budget, y=labels[::3])
        assert low.certified <= high.certified
        more += low.certified < high.certified
    assert more


def test_annotators_are_paid_once_for_all_rows():
    rng = np.random.default_rng(4)
    rows = rng.normal(size=(60, 3))
    labels = (rows[:, 0] > 0).astype(int)
    annotators = rng.integers(0, 12, 60)
    tests = rng.normal(size=(40, 3))
    clf = SemiSupervisedDPA(
        RidgeClassifier(), 5, partitioner="sorted", certificate="members", classes=[0, 1]
    ).fit(rows, labels, groups=annotators)
    y_pred, radius = clf.certify(tests)
    result = clf.collective_certify(tests, 2)
    assert result.pointwise == (radius >= 2).sum()
    for pair in itertools.combinations(range(12), 2):
        theirs = np.isin(annotators, pair)
        liars = np.where(theirs, 1 - labels, labels)
        left = (clone(clf).fit(rows, liars, groups=annotators).predict(tests) == y_pred).sum()
        assert left >= result.certified


@pytest.mark.parametrize("aggregation", ["plurality", "run_off"])
def test_bar_counts_programs_and_says_what_is_certified(capfd, aggregation):
    clf = dpa(aggregation=aggregation).fit(X, Y).set_params(verbose=1)
    result = clf.collective_certify(ROWS, 1)
    shown = capfd.readouterr().err
    assert "1/1" in shown
    assert f"{result.certified} certified" in shown
    clf.set_params(verbose=0).collective_certify(ROWS, 1)
    assert capfd.readouterr().err == ""


def test_one_operation_of_a_replacement_changes_two_members_of_a_run_off():
    clf = dpa(aggregation="run_off").fit(X, Y)
    one = clf.collective_certify(ROWS, 1, threat="replacement")
    assert one.certified == clf.collective_certify(ROWS, 2).certified
