"""DeepPartitionAggregation as users meet it: aggregation, labels, threats, groups, errors."""

import warnings

import numpy as np
import pandas as pd
import pytest
import sklearn
from sklearn.base import BaseEstimator, ClassifierMixin, clone
from sklearn.datasets import load_digits, load_iris
from sklearn.decomposition import PCA
from sklearn.ensemble import RandomForestClassifier
from sklearn.frozen import FrozenEstimator
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression, Ridge, RidgeClassifier
from sklearn.naive_bayes import GaussianNB, MultinomialNB
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import Normalizer, StandardScaler
from sklearn.svm import SVC

from certified_ensembles import CertificateWarning, DeepPartitionAggregation
from certified_ensembles.certificates import finite_aggregation_radius, run_off_radius
from certified_ensembles.hashers import ContentHasher

X_DIGITS, Y_DIGITS = load_digits(return_X_y=True)
X, Y = X_DIGITS[:400], Y_DIGITS[:400]
X_TEST = X_DIGITS[400:500]


def dpa(estimator=None, n_partitions=10, **kwargs):
    return DeepPartitionAggregation(estimator, n_partitions, **kwargs)


# ---------------------------------------------------------------- aggregation


SCORED = [
    RidgeClassifier(),
    LogisticRegression(max_iter=500),
    GaussianNB(),
    make_pipeline(Normalizer(), RidgeClassifier()),
    make_pipeline(StandardScaler(), LogisticRegression(max_iter=500)),
]


@pytest.mark.parametrize("estimator", SCORED, ids=str)
@pytest.mark.parametrize("n_classes", [2, 10])
@pytest.mark.parametrize("classes", [None, range(10)], ids=["open", "closed"])
def test_run_off_ranks_by_the_members_own_scores(estimator, n_classes, classes):
    rows = n_classes > Y
    clf = dpa(estimator, 30, aggregation="run_off", classes=classes).fit(X[rows], Y[rows])
    scores = np.full((len(X_TEST), 30, len(clf.classes_)), -np.inf)
    for i, member in enumerate(clf.estimators_):
        if member is None:
            continue
        method = "decision_function" if hasattr(member, "decision_function") else "predict_proba"
        own = getattr(member, method)(X_TEST)
        own = np.column_stack([0 * own, own]) if own.ndim == 1 else own
        scores[:, i, np.searchsorted(clf.classes_, member.classes_)] = own
    winner, radius = run_off_radius(scores, open_set=classes is None)
    np.testing.assert_array_equal(clf.predict(X_TEST), clf.classes_[winner])
    np.testing.assert_array_equal(clf.certify(X_TEST).radius, radius)
    first = np.where(np.isfinite(scores).any(axis=2), scores.argmax(axis=2), -1)
    np.testing.assert_array_equal(clf.ballots(X_TEST), first)
    plain = clone(clf).set_params(aggregation="plurality").fit(X[rows], Y[rows])
    np.testing.assert_array_equal(plain.ballots(X_TEST), clf.ballots(X_TEST))


def test_run_off_needs_scores_and_says_so():
    clf = dpa(Inventive(), 2, aggregation="run_off").fit(X, Y)
    with pytest.raises(ValueError, match=r"run_off.*decision_function nor predict_proba"):
        clf.predict(X_TEST)
    pairs = dpa(SVC(decision_function_shape="ovo"), 2, aggregation="run_off").fit(X, Y)
    with pytest.raises(ValueError, match="one score a class"):
        pairs.predict(X_TEST)


def test_empty_members_abstain_in_a_run_off_and_in_finite_aggregation():
    hasher = lambda X: X[:, 0].astype(int)  # noqa: E731
    rows, labels = np.arange(6.0)[:, None], np.array([0, 1] * 3)
    with pytest.warns(CertificateWarning, match="weaker"):
        clf = dpa(GaussianNB(), 12, hasher=hasher, aggregation="run_off").fit(rows, labels)
    assert (clf.ballots(rows)[:, 6:] == -1).all()
    with pytest.warns(CertificateWarning, match="weaker"):
        clf = dpa(GaussianNB(), 6, hasher=hasher, spread_degree=2).fit(rows, labels)
    assert any(member is None for member in clf.estimators_)
    assert clf.certify(rows).radius.min() >= 0


@pytest.mark.parametrize("aggregation", ["plurality", "run_off"])
def test_finite_aggregation_trains_members_on_unions(aggregation):
    clf = dpa(GaussianNB(), 5, spread_degree=3, aggregation=aggregation).fit(X, Y)
    assert clf.spread_.shape == (15, 3)
    assert len(clf.estimators_) == 15
    assert set(clf.partition_) == set(range(15))
    for j, member in enumerate(clf.estimators_):
        rows = np.isin(clf.partition_, np.flatnonzero((clf.spread_ == j).any(axis=1)))
        np.testing.assert_array_equal(member.class_count_, np.bincount(Y[rows])[member.classes_])
    certificate = clf.certify(X_TEST)
    if aggregation == "plurality":
        expected = finite_aggregation_radius(clf.ballots(X_TEST), clf.spread_, 10, open_set=True)
        np.testing.assert_array_equal(certificate.radius, expected[1])
    np.testing.assert_array_equal(clf.predict(X_TEST), certificate.y_pred)
    np.testing.assert_array_equal(
        clf.certify(X_TEST, "replacement").radius, certificate.radius // 2
    )


def test_shifts_of_finite_aggregation_do_not_depend_on_data():
    one = dpa(GaussianNB(), 5, spread_degree=3).fit(X, Y)
    other = dpa(GaussianNB(), 5, spread_degree=3).fit(X[::2], Y[::2])
    np.testing.assert_array_equal(one.spread_, other.spread_)
    third = dpa(GaussianNB(), 5, spread_degree=3, random_state=1).fit(X, Y)
    assert (one.spread_ != third.spread_).any()


@pytest.mark.parametrize("spread_degree", [1, 2])
def test_collective_certificate_survives_a_joint_attack_and_beats_the_pointwise_count(
    spread_degree,
):
    clf = dpa(GaussianNB(), 12, spread_degree=spread_degree, classes=range(10)).fit(X, Y)
    rows, labels = X_TEST[:40], Y_DIGITS[400:440]
    result = clf.collective_certify(rows, 3, y=labels, time_limit=5)
    y_pred, radius = clf.certify(rows)
    assert result.pointwise == ((y_pred == labels) & (radius >= 3)).sum()
    assert result.pointwise <= result.certified <= result.upper <= (y_pred == labels).sum()
    if spread_degree == 1:
        assert result.certified > result.pointwise
    # Empty the partitions that the strongest attack found would take: no more fall than said.
    rest = ~np.isin(clf.partition_, result.attack[:3])
    fallen = clone(clf).fit(X[rest], Y[rest]).predict(rows)
    assert (fallen == labels).sum() >= result.certified
    replaced = clf.collective_certify(rows, 1, threat="replacement", time_limit=5)
    assert replaced.certified == clf.collective_certify(rows, 2, time_limit=5).certified


def test_collective_certificate_ignores_rows_whose_label_no_member_knows():
    clf = dpa(n_partitions=12).fit(X, Y)
    labels = Y_DIGITS[400:420].copy()
    labels[:5] = 77
    counted = clf.collective_certify(X_TEST[5:20], 1, y=labels[5:], time_limit=5)
    assert clf.collective_certify(X_TEST[:20], 1, y=labels, time_limit=5)[:3] == counted[:3]


TEXTS = np.array(
    [f"{'buy cheap' if i % 3 else 'see you'} number {i % 17} {i}" for i in range(120)]
)
SPAM = np.array(["ham", "spam", "spam"] * 40)


# ---------------------------------------------------------------- containers and labels


def test_closed_label_set_is_kept_sorted_and_refuses_foreign_labels():
    clf = dpa(classes=[11, *range(9, -1, -1)]).fit(X, Y)
    assert clf.classes_.tolist() == [*range(10), 11]
    assert clf.vote_counts(X_TEST)[:, -1].sum() == 0
    with pytest.raises(ValueError, match=r"not among classes=\[0, 1\].*\[2, 3, 4, 5, 6\]"):
        dpa(classes=[0, 1]).fit(X, Y)


def test_open_set_costs_at_most_one_and_only_where_the_phantom_wins_ties():
    opened, closed = dpa(n_partitions=40).fit(X, Y), dpa(n_partitions=40, classes=range(10))
    votes, closed = opened.vote_counts(X_TEST), closed.fit(X, Y)
    loss = closed.certify(X_TEST).radius - opened.certify(X_TEST).radius
    assert set(loss) <= {0, 1}
    top, rest = votes[:, 0], votes[:, 1:].sum(axis=1)
    np.testing.assert_array_equal(loss > 0, (rest == 0) & (top % 2 == 0))


class Inventive(ClassifierMixin, BaseEstimator):
    """Predicts a label that it has never seen."""

    def fit(self, X, y):
        self.classes_ = np.unique(y)
        return self

    def predict(self, X):
        return np.full(len(X), 9)


def test_a_member_may_not_vote_for_a_label_that_it_has_not_seen():
    X, y = np.arange(8.0)[:, None], np.array([0, 1, 0, 1, 0, 9, 0, 9])
    hasher = lambda X: X[:, 0].astype(int) // 4  # noqa: E731
    clf = dpa(Inventive(), 2, hasher=hasher).fit(X, y)
    assert clf.ballots(X)[0].tolist() == [-1, 2]
    closed = dpa(Inventive(), 2, hasher=hasher, classes=[0, 1, 9]).fit(X, y)
    assert closed.ballots(X)[0].tolist() == [2, 2]


# ---------------------------------------------------------------- threats and groups


def test_costs_follow_what_decides_the_partition():
    groups = np.arange(len(X)) % 23
    labelled = ContentHasher(include_labels=True)
    cases = {
        "features": (dpa().fit(X, Y), (1, 1, 2)),
        "features and label": (dpa(hasher=labelled).fit(X, Y), (1, 2, 2)),
        "source": (dpa().fit(X, Y, groups=groups), (1, 1, 1)),
    }
    for decided_by, (clf, costs) in cases.items():
        assert clf.partitioned_by_ == decided_by
        radius = clf.certify(X_TEST).radius
        for threat, cost in zip(
            ("insertion_deletion", "label_flip", "replacement"), costs, strict=True
        ):
            np.testing.assert_array_equal(clf.certify(X_TEST, threat).radius, radius // cost)


@pytest.mark.parametrize("carry", [np.asarray, list, pd.Series, lambda g: np.array(g, dtype=str)])
def test_all_rows_of_a_source_share_a_partition(carry):
    groups = np.random.default_rng(0).integers(0, 40, len(X))
    clf = dpa().fit(X, Y, groups=carry(groups))
    for g in range(40):
        assert len(np.unique(clf.partition_[groups == g])) == 1
    assert len(np.unique(clf.partition_)) == 10


def test_groups_use_the_key_of_the_hasher():
    groups = np.arange(len(X))
    one = dpa(hasher=ContentHasher(key="secret")).fit(X, Y, groups=groups)
    assert (one.partition_ != dpa().fit(X, Y, groups=groups).partition_).mean() > 0.5
    with pytest.raises(ValueError, match="inconsistent"):
        dpa().fit(X, Y, groups=groups[:-1])


def test_pixel_sum_partitions_by_the_sum_of_integers():
    clf = dpa(hasher="pixel_sum").fit(X.astype(int), Y)
    np.testing.assert_array_equal(clf.partition_, X.sum(axis=1) % 10)
    with pytest.raises(ValueError, match="pixel_sum"):
        dpa(hasher="pixel_sum").fit(X / 3, Y)


# ---------------------------------------------------------------- errors and warnings


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"n_partitions": 0}, "'n_partitions'.*Got 0"),
        ({"n_partitions": 2.5}, "'n_partitions'.*Got 2.5"),
        ({"random_state": None}, "random_state=None is refused.*integer"),
        ({"random_state": -1}, "'random_state'.*Got -1"),
        ({"random_state": 2**32 - 3}, "leaves no room for 10 distinct"),
        ({"hasher": "md5"}, "hasher='md5' is unknown.*content"),
        ({"hasher": 3}, "'hasher'.*Got 3"),
        ({"hasher": lambda X: X.sum(axis=1) / 3}, "one integer a row"),
        ({"hasher": lambda X: np.zeros(3, int)}, "one integer a row"),
        ({"aggregation": "mean"}, "'aggregation'.*plurality"),
        ({"spread_degree": 0}, "'spread_degree'.*Got 0"),
        ({"estimator": Ridge()}, "is a regressor.*classifier"),
        ({"estimator": 3}, "'estimator'"),
    ],
)
def test_bad_parameters_are_named_with_value_and_remedy(params, message):
    with pytest.raises(ValueError, match=f"(?s){message}"):
        dpa().set_params(**params).fit(X, Y)


@pytest.mark.parametrize(
    ("rows", "labels", "message"),
    [
        (X, Y / 7, "continuous"),
        (X, Y[:-1], "inconsistent"),
        (X, None, "requires y"),
        (X[:, 0], Y, "Expected 2D array"),
        (X[:0], Y[:0], "minimum of 1 is required"),
        (np.where(X == 0, np.nan, X), Y, "NaN"),
        (X + 0j, Y, "[Cc]omplex"),
        (X, np.column_stack([Y, Y]), "1d array"),
        (pd.DataFrame(X[:0]), Y[:0], "minimum of 1 is required"),
        (TEXTS[:5], SPAM, "inconsistent"),
    ],
)
def test_bad_data_are_refused(rows, labels, message):
    with pytest.raises(ValueError, match=message):
        dpa().fit(rows, labels)


def test_prediction_checks_what_it_is_given():
    with pytest.raises(sklearn.exceptions.NotFittedError):
        dpa().certify(X)
    clf = dpa().fit(X, Y)
    for method in (clf.predict, clf.certify, clf.ballots, clf.vote_counts, clf.predict_proba):
        with pytest.raises(ValueError, match="features"):
            method(X[:, :-1])
    with pytest.raises(ValueError, match="NaN"):
        clf.predict(np.where(X == 0, np.nan, X))


def test_missing_values_pass_where_the_estimator_takes_them():
    X_missing = np.where(X == 7, np.nan, X)
    clf = dpa(RandomForestClassifier(5)).fit(X_missing, Y)
    assert clf.score(X_missing, Y) > 0.6


def test_missing_values_pass_where_the_first_step_of_a_pipeline_takes_them():
    X_missing = np.where(X == 7, np.nan, X)
    filled = make_pipeline(SimpleImputer(strategy="constant"), RidgeClassifier())
    clf = dpa(filled).fit(X_missing, Y)
    assert clf.score(X_missing, Y) > 0.8
    for member in clf.estimators_:
        assert isinstance(member, Pipeline)
    with pytest.raises(ValueError, match="NaN"):
        dpa(make_pipeline(Normalizer(), RidgeClassifier())).fit(X_missing, Y)


def test_a_users_frozen_step_keeps_its_own_seed():
    frozen = PCA(5, svd_solver="randomized", random_state=7).fit(X)
    with pytest.warns(CertificateWarning, match="FrozenEstimator"):
        dpa(make_pipeline(FrozenEstimator(frozen), RidgeClassifier()), 3).fit(X, Y)
    assert frozen.random_state == 7


def test_negative_values_are_refused_where_the_estimator_refuses_them():
    with pytest.raises(ValueError, match="Negative values"):
        dpa(MultinomialNB()).fit(X - 1, Y)


def test_frozen_estimators_are_warned_about():
    scaler = FrozenEstimator(StandardScaler().fit(X))
    with pytest.warns(CertificateWarning, match="FrozenEstimator"):
        dpa(make_pipeline(scaler, RidgeClassifier())).fit(X, Y)


def test_more_partitions_than_rows_are_warned_about():
    X_iris, y_iris = load_iris(return_X_y=True)
    with pytest.warns(CertificateWarning, match="weaker than n_partitions=200"):
        dpa(n_partitions=200).fit(X_iris, y_iris)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        dpa(n_partitions=20).fit(X_iris, y_iris)
