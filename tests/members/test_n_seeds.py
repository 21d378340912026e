"""`n_seeds`: members of one partition sum their scores, and the partition stays one voter."""

import re

import numpy as np
import pytest
from joblib import parallel_config
from sklearn.base import BaseEstimator, ClassifierMixin, clone
from sklearn.datasets import load_digits, load_iris
from sklearn.ensemble import RandomForestClassifier
from sklearn.kernel_approximation import RBFSampler
from sklearn.linear_model import LogisticRegression, RidgeClassifier, SGDClassifier
from sklearn.naive_bayes import GaussianNB
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.semi_supervised import SelfTrainingClassifier
from sklearn.tree import DecisionTreeClassifier, ExtraTreeClassifier

from certified_ensembles import DeepPartitionAggregation, SemiSupervisedDPA
from certified_ensembles._deterministic import seeded_clones
from certified_ensembles._members.partition import sum_over_seeds
from certified_ensembles.audit import check_certificate
from certified_ensembles.certificates import (
    finite_aggregation_radius,
    finite_run_off_radius,
    plurality_radius,
    run_off_radius,
)
from certified_ensembles.hashers import canonical_order

X, Y = load_iris(return_X_y=True)
X_TRAIN, Y_TRAIN, X_TEST = X[::2], Y[::2], X[1::4]

TREE = DecisionTreeClassifier(max_features=1, splitter="random")
FEATURES = make_pipeline(RBFSampler(n_components=8), RidgeClassifier())
SCORED = {
    "shares of trees": TREE,
    "decision function on random features": FEATURES,
    "order of rows": SGDClassifier(max_iter=3, tol=None),
    "forest": RandomForestClassifier(n_estimators=2, max_depth=2),
}


def dpa(estimator=TREE, n_partitions=7, n_seeds=3, **params):
    return DeepPartitionAggregation(estimator, n_partitions, n_seeds=n_seeds, **params)


def scores_of(member, X, classes):
    """One member's score for every class, -inf for those that it does not know."""
    method = "decision_function" if hasattr(member, "decision_function") else "predict_proba"
    given = getattr(member, method)(X)
    if given.ndim == 1:
        given = np.column_stack([np.zeros_like(given), given])
    out = np.full((len(X), len(classes)), -np.inf)
    out[:, np.searchsorted(classes, member.classes_)] = given
    return out


def trained_by_hand(clf, X, y, rows_of_voter):
    """Return the summed scores of every voter, from plain scikit-learn fits."""
    total, d = [], clf.n_seeds
    for i, rows in enumerate(rows_of_voter):
        rows = rows[canonical_order(X[rows], y[rows])]
        first = clf.random_state + (i * d if clf.distinct_seeds else 0)
        members = seeded_clones(clf.estimator, range(first, first + d))
        total.append(
            sum(scores_of(m.fit(X[rows], y[rows]), X_TEST, np.unique(y)) for m in members)
        )
    return np.stack(total, axis=1)


def rows_of_partitions(clf):
    return [np.flatnonzero(clf.partition_ == i) for i in range(clf.partition_.max() + 1)]


# ---------------------------------------------------------------- what is computed


@pytest.mark.parametrize("distinct", [True, False])
@pytest.mark.parametrize("name", SCORED)
@pytest.mark.parametrize("n_classes", [2, 3])
def test_ballots_are_those_of_summed_scores(name, n_classes, distinct):
    X_own, y = X_TRAIN[Y_TRAIN < n_classes], Y_TRAIN[Y_TRAIN < n_classes]
    clf = dpa(SCORED[name], 3, random_state=5, distinct_seeds=distinct).fit(X_own, y)
    scores = trained_by_hand(clf, X_own, y, rows_of_partitions(clf))
    ordered = np.sort(scores, axis=2)
    clear = (ordered[:, :, -1] - ordered[:, :, -2] > 1e-9).all(axis=1)  # ridge is solved anew
    assert clear.mean() > 0.4
    np.testing.assert_array_equal(clf.ballots(X_TEST)[clear], scores.argmax(axis=2)[clear])
    winner, radius = plurality_radius(clf.vote_counts(X_TEST), open_set=True)
    y_pred, certified = clf.certify(X_TEST)
    np.testing.assert_array_equal(y_pred, clf.classes_[winner])
    np.testing.assert_array_equal(certified, radius)


@pytest.mark.parametrize("aggregation", ["plurality", "run_off"])
@pytest.mark.parametrize("spread", [1, 2])
def test_radius_counts_partitions_whatever_the_aggregation(aggregation, spread):
    clf = dpa(n_partitions=4, aggregation=aggregation, spread_degree=spread, classes=[0, 1, 2])
    clf.fit(X_TRAIN, Y_TRAIN)
    scores = trained_by_hand(clf, X_TRAIN, Y_TRAIN, clf._rows_of_member())
    ballots = scores.argmax(axis=2)
    if spread == 1:
        expected = (
            run_off_radius(scores)
            if aggregation == "run_off"
            else plurality_radius(np.stack([(ballots == c).sum(axis=1) for c in range(3)], axis=1))
        )
    elif aggregation == "run_off":
        expected = finite_run_off_radius(scores, clf.spread_)
    else:
        expected = finite_aggregation_radius(ballots, clf.spread_, 3)
    y_pred, radius = clf.certify(X_TEST)
    np.testing.assert_array_equal(clf.ballots(X_TEST), ballots)
    np.testing.assert_array_equal(y_pred, expected[0])
    np.testing.assert_array_equal(radius, expected[1])


def test_members_lie_partition_by_partition_with_seeds_in_a_row():
    clf = dpa(n_partitions=4, n_seeds=3, random_state=10).fit(X_TRAIN, Y_TRAIN)
    seeds = [member.random_state for member in clf.estimators_]
    assert seeds == list(range(10, 22))
    assert clf.ballots(X_TEST).shape == (len(X_TEST), 4)
    same = dpa(n_partitions=4, n_seeds=3, random_state=10, distinct_seeds=False)
    seeds = [member.random_state for member in same.fit(X_TRAIN, Y_TRAIN).estimators_]
    assert seeds == [10, 11, 12] * 4


def test_one_seed_is_the_ensemble_without_seeds():
    for aggregation in ("plurality", "run_off"):
        plain = DeepPartitionAggregation(TREE, 7, aggregation=aggregation).fit(X_TRAIN, Y_TRAIN)
        one = dpa(n_seeds=1, aggregation=aggregation).fit(X_TRAIN, Y_TRAIN)
        np.testing.assert_array_equal(plain.ballots(X_TEST), one.ballots(X_TEST))
        seeds = [member.random_state for member in one.estimators_]
        assert seeds == [member.random_state for member in plain.estimators_] == list(range(7))


def test_members_that_draw_nothing_vote_as_one_of_them():
    for estimator in (GaussianNB(), RidgeClassifier()):
        one = dpa(estimator, n_seeds=1).fit(X_TRAIN, Y_TRAIN)
        four = dpa(estimator, n_seeds=4).fit(X_TRAIN, Y_TRAIN)
        np.testing.assert_array_equal(one.ballots(X_TEST), four.ballots(X_TEST))


def test_partitions_without_rows_abstain():
    with pytest.warns(UserWarning, match="certificate is weaker"):
        clf = dpa(n_partitions=40).fit(X_TRAIN[:20], Y_TRAIN[:20])
    empty = np.bincount(clf.partition_, minlength=40) == 0
    assert empty.any()
    ballots = clf.ballots(X_TEST)
    assert (ballots[:, empty] == -1).all()
    assert (ballots[:, ~empty] >= 0).all()
    assert [m is None for m in clf.estimators_] == np.repeat(empty, 3).tolist()


def test_partitions_of_one_label_vote_for_it():
    clf = dpa(n_partitions=30, n_seeds=2, classes=[0, 1, 2]).fit(X_TRAIN, Y_TRAIN)
    ballots, single = clf.ballots(X_TEST), 0
    for i in range(30):
        own = np.unique(Y_TRAIN[clf.partition_ == i])
        if len(own) == 1:
            single += 1
            assert (ballots[:, i] == own[0]).all()
    assert single


def test_more_seeds_steady_random_members():
    digits, y = load_digits(return_X_y=True)
    clean = []
    for d in (1, 8):
        clf = dpa(ExtraTreeClassifier(), 15, d, classes=range(10)).fit(digits[:1000], y[:1000])
        y_pred, radius = clf.certify(digits[1000:])
        clean.append(((y_pred == y[1000:]) & (radius >= 2)).mean())
    assert clean[1] > clean[0] + 0.1


# ---------------------------------------------------------------- the sum


def test_sum_is_in_double_precision_and_in_the_order_of_the_seeds():
    scores = np.array([[[2.0**24], [1.0], [-(2.0**24)]]], dtype=np.float32)
    assert sum_over_seeds(scores, 3).tolist() == [[[1.0]]]
    large = np.array([[[1.0], [2.0**60], [-(2.0**60)]]])
    assert sum_over_seeds(large, 3).tolist() == [[[0.0]]]
    assert sum_over_seeds(large[:, [1, 2, 0]], 3).tolist() == [[[1.0]]]


def test_sum_of_a_partition_depends_on_its_own_scores_alone():
    rng = np.random.default_rng(0)
    scores = rng.normal(size=(33, 5 * 16, 3)) * 10.0 ** rng.integers(-8, 9, size=(33, 80, 3))
    sums = sum_over_seeds(scores, 16)
    for x, i in [(0, 0), (32, 4), (7, 2)]:
        alone = sum_over_seeds(scores[x : x + 1, 16 * i : 16 * i + 16], 16)
        np.testing.assert_array_equal(alone[0, 0], sums[x, i])
    np.testing.assert_array_equal(sum_over_seeds(np.asfortranarray(scores), 16), sums)


def test_class_that_one_member_has_not_seen_ranks_last():
    inf = np.inf
    scores = np.array([[[1.0, -inf, 3.0], [0.0, 9.0, -1.0]]])
    assert sum_over_seeds(scores, 2).tolist() == [[[1.0, -inf, 2.0]]]
    # What has no sum ranks last as well, and no warning is raised on the way.
    scores = np.array([[[inf, -inf, 1e308], [-inf, -inf, 1e308]]])
    assert sum_over_seeds(scores, 2).tolist() == [[[-inf, -inf, inf]]]


def test_members_may_know_fewer_classes_than_their_partition():
    clf = dpa(Forgetful(), 3, 4, classes=[0, 1, 2]).fit(X_TRAIN, Y_TRAIN)
    known = [set(m.classes_) for m in clf.estimators_]
    common = [set.intersection(*known[4 * i : 4 * i + 4]) for i in range(3)]
    ballots = clf.ballots(X_TEST)
    for i, classes in enumerate(common):
        assert set(np.unique(ballots[:, i])) <= (classes or {-1})


class Forgetful(ClassifierMixin, BaseEstimator):
    """Leaves one class out, by its seed."""

    def __init__(self, random_state=None):
        self.random_state = random_state

    def fit(self, X, y):
        kept = y != np.unique(y)[self.random_state % len(np.unique(y))]
        self.model_ = GaussianNB().fit(X[kept], y[kept])
        self.classes_ = self.model_.classes_
        return self

    def predict(self, X):
        return self.model_.predict(X)

    def predict_proba(self, X):
        return self.model_.predict_proba(X)


# ---------------------------------------------------------------- attacks

PROMISES = {
    "trees": dpa(),
    "trees, closed set": dpa(classes=[0, 1, 2]),
    "random features, run-off": dpa(FEATURES, aggregation="run_off"),
    "trees, finite aggregation": dpa(n_partitions=5, n_seeds=2, spread_degree=2),
    "order of rows, run-off, finite": dpa(
        SCORED["order of rows"], 5, 2, spread_degree=2, aggregation="run_off", classes=[0, 1, 2]
    ),
    "one seed for all": dpa(distinct_seeds=False),
    "flips": SemiSupervisedDPA(TREE, 7, n_seeds=3),
    "flips, run-off": SemiSupervisedDPA(FEATURES, 7, n_seeds=2, aggregation="run_off"),
    "flips, masked": SemiSupervisedDPA(
        SelfTrainingClassifier(TREE), 5, n_seeds=2, unlabeled="mask", classes=[0, 1, 2]
    ),
}


@pytest.mark.parametrize("name", PROMISES)
def test_audit_finds_no_attack(name):
    with parallel_config("threading"):  # other processes are tried below
        report = check_certificate(PROMISES[name], X_TRAIN, Y_TRAIN, X_TEST[:12], n_attacks=18)
    assert {"labels flipped", "targeted flips"} <= set(report.n_attacks)


@pytest.mark.parametrize("estimator", [TREE, FEATURES], ids=["tree", "random features"])
def test_refits_within_the_radius_change_nothing_and_touch_one_ballot_a_row(estimator):
    clf = dpa(estimator, 9, 3, classes=[0, 1, 2]).fit(X_TRAIN, Y_TRAIN)
    y_pred, radius = clf.certify(X_TEST)
    ballots = clf.ballots(X_TEST)
    rng = np.random.default_rng(0)
    reach = 0
    for _ in range(25):
        budget = int(rng.integers(1, radius.max() + 1))
        gone = rng.choice(len(X_TRAIN), budget // 2, replace=False)
        new = rng.integers(0, len(X_TEST), budget - len(gone))
        wrong = (y_pred[new] + rng.integers(1, 3)) % 3
        attacked = clone(clf).fit(
            np.concatenate([np.delete(X_TRAIN, gone, axis=0), X_TEST[new] + 1e-9]),
            np.concatenate([np.delete(Y_TRAIN, gone), wrong]),
        )
        held = radius >= budget
        reach += held.sum()
        np.testing.assert_array_equal(attacked.predict(X_TEST)[held], y_pred[held])
        changed = (attacked.ballots(X_TEST) != ballots).any(axis=0)
        assert changed.sum() <= budget
    assert reach > 100


# ---------------------------------------------------------------- with everything else


def test_workers_and_cache_change_nothing(tmp_path):
    reference = dpa(FEATURES, aggregation="run_off").fit(X_TRAIN, Y_TRAIN).certify(X_TEST)
    cached = {"memory": str(tmp_path)}
    for params in ({"n_jobs": 2}, cached, cached):
        clf = dpa(FEATURES, aggregation="run_off", **params).fit(X_TRAIN, Y_TRAIN)
        for one, other in zip(clf.certify(X_TEST), reference, strict=True):
            np.testing.assert_array_equal(one, other)


def test_cache_trains_the_members_of_changed_partitions_only(tmp_path, monkeypatch):
    clf = dpa(SGDClassifier(), memory=str(tmp_path)).fit(X_TRAIN, Y_TRAIN)
    trained = []
    fit = SGDClassifier.fit
    monkeypatch.setattr(
        SGDClassifier, "fit", lambda self, X, y: trained.append(self) or fit(self, X, y)
    )
    clone(clf).fit(X_TRAIN[1:], Y_TRAIN[1:])
    assert sorted(m.random_state for m in trained) == [clf.partition_[0] * 3 + j for j in range(3)]


def test_weights_of_rows_reach_every_member():
    weight = np.where(Y_TRAIN == 1, 0.01, 1.0)
    clf = dpa(LogisticRegression(), 5, 2)
    weighted = clone(clf).fit(X_TRAIN, Y_TRAIN, sample_weight=weight).vote_counts(X_TEST)
    assert weighted[:, 1].sum() < clf.fit(X_TRAIN, Y_TRAIN).vote_counts(X_TEST)[:, 1].sum()


def test_collective_certificate_counts_partitions():
    clf = dpa(classes=[0, 1, 2]).fit(X_TRAIN, Y_TRAIN)
    result = clf.collective_certify(X_TEST, budget=1)
    assert result.pointwise == (clf.certify(X_TEST).radius >= 1).sum()
    assert result.pointwise <= result.certified <= len(X_TEST)


def test_seeds_changed_after_the_fit_change_nothing():
    clf = dpa().fit(X_TRAIN, Y_TRAIN)
    before = clf.ballots(X_TEST)
    np.testing.assert_array_equal(clf.set_params(n_seeds=1).ballots(X_TEST), before)


@pytest.mark.parametrize("unlabeled", ["ignore", "mask"])
def test_label_flips_of_one_row_change_one_ballot(unlabeled):
    estimator = TREE if unlabeled == "ignore" else SelfTrainingClassifier(TREE)
    clf = SemiSupervisedDPA(estimator, 5, n_seeds=3, unlabeled=unlabeled, classes=[0, 1, 2]).fit(
        X_TRAIN, Y_TRAIN
    )
    assert len(clf.estimators_) == 15
    ballots = clf.ballots(X_TEST)
    flipped = Y_TRAIN.copy()
    flipped[7] = 2
    other = clone(clf).fit(X_TRAIN, flipped).ballots(X_TEST)
    changed = np.flatnonzero((ballots != other).any(axis=0))
    assert changed.tolist() in ([], [clf.partition_[7]])


# ---------------------------------------------------------------- refusals


class Silent(ClassifierMixin, BaseEstimator):
    """Predicts without scores."""

    def fit(self, X, y):
        raise AssertionError("trained in vain")

    def predict(self, X):
        raise AssertionError("asked in vain")


@pytest.mark.parametrize(
    ("clf", "message"),
    [
        (dpa(Silent()), "n_seeds=3 sums the scores .* no decision_function or predict_proba"),
        (SemiSupervisedDPA(Silent(), 5, n_seeds=2), "Use n_seeds=1"),
        (
            SemiSupervisedDPA(
                SelfTrainingClassifier(RidgeClassifier()), 5, n_seeds=2, unlabeled="mask"
            ),
            "no predict_proba",
        ),
        (
            SemiSupervisedDPA(n_partitions=5, n_seeds=2, certificate="members"),
            'certificate="members" needs n_seeds=1',
        ),
        (
            SemiSupervisedDPA(KNeighborsClassifier(3), "n_samples", n_seeds=2),
            'n_partitions="n_samples" needs n_seeds=1',
        ),
        (dpa(n_seeds=0), "'n_seeds' parameter"),
        (dpa(random_state=2**32 - 20), "no room for 21 distinct seeds"),
        (dpa(random_state=2**32 - 2, distinct_seeds=False), "no room for 3 distinct seeds"),
    ],
)
def test_refusals_name_the_remedy(clf, message):
    with pytest.raises(ValueError, match=re.compile(message, re.DOTALL)):
        clf.fit(X_TRAIN, Y_TRAIN)
