"""Attacks on SemiSupervisedDPA: no flip of labels within the radius changes a prediction."""

import itertools

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from sklearn.base import clone
from sklearn.cluster import KMeans
from sklearn.datasets import load_digits, load_iris
from sklearn.decomposition import PCA
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression, RidgeClassifier
from sklearn.naive_bayes import GaussianNB
from sklearn.neighbors import KNeighborsClassifier, NearestCentroid, NearestNeighbors
from sklearn.semi_supervised import LabelSpreading, SelfTrainingClassifier
from sklearn.tree import DecisionTreeClassifier

from certified_ensembles.smoothers import ClusterVote, label_free_weights
from certified_ensembles.ssdpa import SemiSupervisedDPA

NB = GaussianNB(var_smoothing=1e-2)

# ---------------------------------------------------------------- every relabelling of tiny sets


# Two clusters; the last two rows are copies.
ROWS = np.array([[0, 0, 1], [0, 1, 0], [1, 0, 0], [7, 7, 6], [8, 6, 7], [8, 6, 7]], dtype=float)
TEST = np.array([[0, 0, 0], [2, 2, 2], [3, 4, 4], [7, 7, 7], [9, 9, 9]], dtype=float)

TINY = {
    "plain": SemiSupervisedDPA(RidgeClassifier(), 5),
    "tree": SemiSupervisedDPA(DecisionTreeClassifier(), 3),
    "represented": SemiSupervisedDPA(NB, 3, representation=PCA(1)),
    "run-off": SemiSupervisedDPA(RidgeClassifier(), 5, aggregation="run_off"),
    "hashed": SemiSupervisedDPA(RidgeClassifier(), 3, partitioner=lambda X: X[:, 0].astype(int)),
    "masked": SemiSupervisedDPA(
        SelfTrainingClassifier(DecisionTreeClassifier()), 3, unlabeled="mask"
    ),
    "members": SemiSupervisedDPA(RidgeClassifier(5.0), 1, certificate="members"),
    "constant members": SemiSupervisedDPA(RidgeClassifier(), 5, certificate="members"),
    "members without intercept": SemiSupervisedDPA(
        RidgeClassifier(5.0, fit_intercept=False), 2, certificate="members"
    ),
    "neighbours": SemiSupervisedDPA(KNeighborsClassifier(2), 3, certificate="members"),
    "one label": SemiSupervisedDPA(KMeans(2, n_init=2), "n_samples"),
    "near labels": SemiSupervisedDPA(NearestNeighbors(n_neighbors=4), "n_samples"),
    "swapped": SemiSupervisedDPA(
        ClusterVote(KMeans(2, n_init=2), votes="swap"), "n_samples", classes=[0, 1]
    ),
}


def operations(labels):
    """Count different rows whose labels have changed, copies together."""
    different = np.unique(ROWS, axis=0, return_inverse=True)[1].ravel()
    return lambda changed: len(np.unique(different[changed != labels]))


@pytest.mark.parametrize("name", TINY)
@pytest.mark.parametrize("open_set", [True, False])
@pytest.mark.parametrize("labels", [[0, 0, 0, 1, 1, 1], [1, 1, 0, 0, 1, 0]], ids=str)
def test_no_relabelling_within_the_radius_changes_a_prediction(name, open_set, labels):
    clf, labels = clone(TINY[name]), np.array(labels)
    if name == "swapped" and open_set:
        return
    clf.set_params(classes=None if open_set else [0, 1])
    y_pred, radius = clf.fit(ROWS, labels).certify(TEST)
    count = operations(labels)
    if open_set:  # labels never seen, before, between and after the known ones
        rng = np.random.default_rng(0)
        relabellings = rng.choice([-1, 0, 1, 2], (40, len(ROWS)))
        some = rng.random(relabellings.shape) < rng.choice([0.1, 0.3, 0.6], (40, 1))
        relabellings = np.where(some, relabellings, labels)
    else:
        relabellings = itertools.product([0, 1], repeat=len(ROWS))
    tight = np.zeros(len(TEST), dtype=bool)
    for changed in map(np.array, relabellings):
        cost = count(changed)
        moved = clone(clf).fit(ROWS, changed).predict(TEST) != y_pred
        assert not (moved & (cost <= radius)).any(), (changed, radius)
        tight |= moved & (cost == radius + 1)
    assert tight.any() or open_set or radius.max() == 0


# ---------------------------------------------------------------- held-out data


X, Y = load_iris(return_X_y=True)
TRAIN = np.arange(150) % 5 > 0
X_TRAIN, Y_TRAIN, X_TEST = X[TRAIN], Y[TRAIN], X[~TRAIN]

HELD_OUT = {
    "ridge": SemiSupervisedDPA(RidgeClassifier(), 15),
    "centroids": SemiSupervisedDPA(NearestCentroid(), 8, representation=PCA(2)),
    "represented": SemiSupervisedDPA(DecisionTreeClassifier(), 8, representation=KMeans(10)),
    "run-off": SemiSupervisedDPA(RidgeClassifier(), 15, aggregation="run_off"),
    "hashed": SemiSupervisedDPA(NB, 8, partitioner="content"),
    "self-training": SemiSupervisedDPA(SelfTrainingClassifier(NB), 6, unlabeled="mask"),
    "spreading": SemiSupervisedDPA(
        LabelSpreading(kernel="knn", n_neighbors=15), 6, unlabeled="mask"
    ),
    "members": SemiSupervisedDPA(RidgeClassifier(1.0), 4, certificate="members"),
    "near members": SemiSupervisedDPA(KNeighborsClassifier(9), 4, certificate="members"),
    "one label": SemiSupervisedDPA(KMeans(3, n_init=3), "n_samples"),
}


def flipped(labels, rows, rng, names):
    """Give rows other labels, drawn from names."""
    out = labels.copy()
    for row in rows:
        out[row] = rng.choice([name for name in names if name != labels[row]])
    return out


@pytest.mark.parametrize("name", HELD_OUT)
@pytest.mark.parametrize("open_set", [True, False])
@pytest.mark.filterwarnings("ignore:.*zero variance.*", "ignore:.*invalid value.*")
@pytest.mark.filterwarnings("ignore:.*divide by zero.*")
def test_flips_on_held_out_data_change_nothing_within_the_radius(name, open_set):
    rng = np.random.default_rng(len(name))
    clf = clone(HELD_OUT[name]).set_params(classes=None if open_set else [0, 1, 2])
    y_pred, radius = clf.fit(X_TRAIN, Y_TRAIN).certify(X_TEST)
    assert radius.max() > 0
    names = [-1, 0, 1, 2, 7] if open_set else [0, 1, 2]
    ballots = clf.ballots(X_TEST)
    for _ in range(25):
        budget = rng.integers(1, radius.max() + 1)
        rows = rng.choice(len(Y_TRAIN), budget, replace=False)
        if rng.random() < 0.5:  # all against the class of one test row
            victim = rng.choice(np.flatnonzero(radius > 0))
            mine = np.flatnonzero(Y_TRAIN == y_pred[victim])
            rows = rng.choice(mine, min(budget, len(mine)), replace=False)
        changed = flipped(Y_TRAIN, rows, rng, names)
        other = clone(clf).fit(X_TRAIN, changed)
        moved = other.predict(X_TEST) != y_pred
        assert not (moved & (budget <= radius)).any()
        np.testing.assert_array_equal(other.partition_, clf.partition_)
        if name != "one label":
            untouched = np.setdiff1d(np.arange(ballots.shape[1]), clf.partition_[rows])
            as_labels = [c.classes_[c.ballots(X_TEST)[:, untouched]] for c in (clf, other)]
            np.testing.assert_array_equal(*as_labels)


@pytest.mark.parametrize("name", ["ridge", "centroids", "self-training", "hashed", "represented"])
@pytest.mark.parametrize("open_set", [True, False])
@pytest.mark.filterwarnings("ignore:.*zero variance.*", "ignore:.*invalid value.*")
@pytest.mark.filterwarnings("ignore:.*divide by zero.*")
def test_whole_partitions_may_be_relabelled_for_one_operation_each(name, open_set):
    # A radius of ballots counts members, so that it survives much more than as many flips.
    rng = np.random.default_rng(1)
    clf = clone(HELD_OUT[name]).set_params(classes=None if open_set else [0, 1, 2])
    y_pred, radius = clf.fit(X_TRAIN, Y_TRAIN).certify(X_TEST)
    beaten = False
    for i in np.flatnonzero(radius > 0)[::6]:
        names = [-5, 0, 1, 2] if open_set else [0, 1, 2]
        rival = rng.choice([name for name in names if name != y_pred[i]])
        own = np.flatnonzero(clf.classes_[clf.ballots(X_TEST[[i]])[0]] == y_pred[i])
        for size in (radius[i], len(own)):
            changed = Y_TRAIN.copy()
            changed[np.isin(clf.partition_, rng.choice(own, size, replace=False))] = rival
            same = clone(clf).fit(X_TRAIN, changed).predict(X_TEST[[i]])[0] == y_pred[i]
            assert same or size > radius[i]
            beaten |= not same
    assert beaten


def test_all_copies_of_a_row_may_be_relabelled_for_one_operation():
    rng = np.random.default_rng(2)
    rows, labels = np.repeat(X_TRAIN, 3, axis=0), np.repeat(Y_TRAIN, 3)
    labels[rng.random(len(labels)) < 0.2] = 1
    for certificate in ("ballots", "members"):
        clf = SemiSupervisedDPA(
            RidgeClassifier(), 5, certificate=certificate, classes=[0, 1, 2]
        ).fit(rows, labels)
        y_pred, radius = clf.certify(X_TEST)
        copies = np.unique(rows, axis=0, return_inverse=True)[1].ravel()
        for _ in range(40):
            budget = rng.integers(1, radius.max() + 1)
            chosen = rng.choice(copies.max() + 1, budget, replace=False)
            changed = np.where(np.isin(copies, chosen), rng.integers(0, 3, len(rows)), labels)
            moved = clone(clf).fit(rows, changed).predict(X_TEST) != y_pred
            assert not (moved & (budget <= radius)).any()


DIGITS, NAMES = load_digits(return_X_y=True)
DIGITS, NAMES, DIGITS_TEST = DIGITS[:200], NAMES[:200], DIGITS[300:340]
LETTERS = np.array([chr(97 + i) * (i + 1) for i in range(10)])
# The labels before, and the type and the value of the label that an attacker brings.
RETYPED = {
    "wider integers": (NAMES.astype(np.uint8), np.int64, 300),
    "negative ones": (NAMES.astype(np.int8), np.int64, -(2**62)),
    "without a sign": (NAMES.astype(np.int64), np.uint64, 2**63 + 5),
    "longer text": (LETTERS[NAMES], "U60", "b" * 55),
    "empty text": (LETTERS[NAMES], object, ""),
    "integers among booleans": (NAMES > 4, int, 2),
    "wider floats": (NAMES.astype(np.float32), float, 2.0**40),
    "minus zero": (NAMES.astype(float), float, -0.0),
}
LEARNERS = {
    "ridge": SemiSupervisedDPA(RidgeClassifier(), 5),
    "logistic": SemiSupervisedDPA(LogisticRegression(), 5, aggregation="run_off"),
    "tree": SemiSupervisedDPA(DecisionTreeClassifier(), 5),
    "self-training": SemiSupervisedDPA(SelfTrainingClassifier(NB), 5, unlabeled="mask"),
    "members": SemiSupervisedDPA(RidgeClassifier(), 5, certificate="members"),
    "one label": SemiSupervisedDPA(KMeans(12, n_init=1), "n_samples"),
}


@pytest.mark.parametrize("name", LEARNERS)
@pytest.mark.parametrize("retyped", RETYPED)
def test_a_label_that_changes_the_type_of_all_labels_changes_one_member(name, retyped):
    labels, dtype, new = RETYPED[retyped]
    clf = clone(LEARNERS[name]).fit(DIGITS, labels)
    changed = labels.astype(dtype)
    changed[np.flatnonzero(clf.partition_ == 1)[:3]] = new
    other = clone(clf).fit(DIGITS, changed)
    answers = []
    for one in (clf, other):
        ballots = one.ballots(DIGITS_TEST)
        answers.append(np.where(ballots < 0, None, one.classes_.astype(object)[ballots]))
    moved = (answers[0] != answers[1]).any(axis=0)
    assert set(np.flatnonzero(moved)) <= {1}


ODD = np.array(
    [[0.0, 1], [-0.0, 1], [np.nan, 1], [-np.nan, 1], [0, -9], [1, np.nan], [0, 1], [2, 3]]
)


@pytest.mark.parametrize("container", [np.float64, np.float32, "frame", "sparse"])
def test_rows_with_missing_values_and_either_zero_are_copies_in_any_order(container):
    clf = SemiSupervisedDPA(RidgeClassifier(), 5, representation=SimpleImputer(), classes=[0, 1])
    labels, expected = np.arange(len(ODD)) % 2, np.array([1, 1, 4, 4, 0, 2, 1, 3])
    for seed in range(5):
        order = np.random.default_rng(seed).permutation(len(ODD))
        rows = {"frame": pd.DataFrame, "sparse": sp.csr_array}.get(container, np.array)(ODD[order])
        rows = rows.astype(container) if isinstance(container, type) else rows
        np.testing.assert_array_equal(clf.fit(rows, labels[order]).partition_, expected[order])


# ---------------------------------------------------------------- prices of members


@pytest.mark.parametrize("open_set", [True, False])
@pytest.mark.parametrize("estimator", [RidgeClassifier(1.0), KNeighborsClassifier(9)], ids=str)
@pytest.mark.parametrize("n_partitions", [1, 4, 40])
def test_prices_never_certify_less_than_ballots_and_never_change_them(
    estimator, n_partitions, open_set
):
    classes = None if open_set else [0, 1, 2]
    ballots = SemiSupervisedDPA(estimator, n_partitions, classes=classes)
    if n_partitions == 40 and isinstance(estimator, KNeighborsClassifier):
        estimator = KNeighborsClassifier(1)
        ballots.set_params(estimator=estimator)
    members = clone(ballots).set_params(certificate="members")
    ballots.fit(X_TRAIN, Y_TRAIN)
    members.fit(X_TRAIN, Y_TRAIN)
    np.testing.assert_array_equal(ballots.ballots(X_TEST), members.ballots(X_TEST))
    one, other = ballots.certify(X_TEST), members.certify(X_TEST)
    np.testing.assert_array_equal(one.y_pred, other.y_pred)
    assert (other.radius >= one.radius).all()
    if n_partitions < 40:
        assert (other.radius > one.radius).mean() > 0.5


def test_the_cheapest_attack_on_one_member_is_priced_exactly():
    # A single member of nearest neighbours: turning it is turning the vote.
    clf = SemiSupervisedDPA(
        KNeighborsClassifier(7), 1, certificate="members", classes=[0, 1, 2]
    ).fit(X_TRAIN, Y_TRAIN)
    y_pred, radius = clf.certify(X_TEST)
    search = NearestNeighbors(n_neighbors=7).fit(X_TRAIN)
    for i in range(0, len(X_TEST), 4):
        near = search.kneighbors(X_TEST[[i]], return_distance=False)[0]
        rival = (y_pred[i] + 1) % 3
        for budget, turned in ((radius[i], False), (7, True)):
            changed = Y_TRAIN.copy()
            changed[near[Y_TRAIN[near] == y_pred[i]][:budget]] = rival
            answer = clone(clf).fit(X_TRAIN, changed).predict(X_TEST[[i]])[0]
            assert (answer != y_pred[i]) == turned


def cheapest_turn(weights, labels, winner, rival):
    """Return the fewest labels (their places and new values) that put a rival ahead."""
    drop = np.where(labels == winner, 2 * np.maximum(weights, 0), np.abs(weights))
    drop = np.where(labels == rival, 2 * np.maximum(-weights, 0), drop)
    order = np.argsort(-drop)
    lead = weights[labels == winner].sum() - weights[labels == rival].sum()
    places = order[: np.searchsorted(np.cumsum(drop[order]), lead, side="right") + 1]
    return places, np.where(weights[places] > 0, rival, winner)


def test_the_priced_radius_plus_one_flips_beat_ridge_members_trained_by_clones():
    rows, labels = load_digits(return_X_y=True)
    rows, labels, test = rows[:600] / 16, labels[:600], rows[600:640:3] / 16
    clf = SemiSupervisedDPA(
        RidgeClassifier(10.0), 5, classes=range(10), certificate="members"
    ).fit(rows, labels)
    y_pred, radius = clf.certify(test)
    plain = clone(clf).set_params(certificate="ballots")
    np.testing.assert_array_equal(plain.fit(rows, labels).predict(test), y_pred)
    weights = np.zeros((5, len(test), len(rows)))
    for j in range(5):
        own = np.flatnonzero(clf.partition_ == j)
        for span, block in label_free_weights(RidgeClassifier(10.0), rows[own], test):
            weights[j, span, own] = block.T
    beaten = []
    for i, ballots in enumerate(clf.ballots(test)):
        plans = []
        for rival in set(range(10)) - {y_pred[i]}:
            gap = (ballots == y_pred[i]).sum() - (ballots == rival).sum() + (rival > y_pred[i])
            turns = []
            for j in np.flatnonzero(ballots == y_pred[i]):
                own = np.flatnonzero(clf.partition_ == j)
                places, new = cheapest_turn(weights[j, i, own], labels[own], y_pred[i], rival)
                turns.append((len(places), own[places], new))
            turns = sorted(turns, key=lambda turn: turn[0])[: -(-gap // 2)]
            plans.append((sum(turn[0] for turn in turns), turns))
        cost, turns = min(plans, key=lambda plan: plan[0])
        changed = labels.copy()
        for _, places, new in turns:
            changed[places] = new
        moved = clone(plain).fit(rows, changed).predict(test[[i]])[0] != y_pred[i]
        assert cost > radius[i]
        beaten.append(moved and cost == radius[i] + 1)
    # Elsewhere a third class comes first in some member.
    assert np.mean(beaten) > 0.7
