"""SemiSupervisedDPA as users meet it, and against adversaries that flip labels."""

import os
import pickle
import warnings
from pathlib import Path

import joblib
import numpy as np
import pandas as pd
import polars as pl
import pytest
import scipy.sparse as sp
import sklearn
from sklearn.base import BaseEstimator, ClassifierMixin, TransformerMixin, clone
from sklearn.cluster import DBSCAN, KMeans
from sklearn.compose import make_column_transformer
from sklearn.datasets import load_digits, load_iris
from sklearn.decomposition import PCA, TruncatedSVD
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.dummy import DummyClassifier
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.feature_selection import SelectFromModel, SelectKBest, VarianceThreshold, chi2
from sklearn.frozen import FrozenEstimator
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression, Ridge, RidgeClassifier
from sklearn.mixture import GaussianMixture
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.naive_bayes import GaussianNB
from sklearn.neighbors import KNeighborsClassifier, NearestNeighbors, RadiusNeighborsClassifier
from sklearn.pipeline import make_pipeline, make_union
from sklearn.preprocessing import StandardScaler
from sklearn.random_projection import GaussianRandomProjection
from sklearn.semi_supervised import LabelPropagation, LabelSpreading, SelfTrainingClassifier
from sklearn.tree import DecisionTreeClassifier
from sklearn.utils.estimator_checks import parametrize_with_checks

from certified_ensembles import CertificateWarning, DeepPartitionAggregation
from certified_ensembles._members import masked
from certified_ensembles.audit import check_certificate
from certified_ensembles.certificates import plurality_radius
from certified_ensembles.datasets import fetch_mnist
from certified_ensembles.display import CertifiedAccuracyDisplay
from certified_ensembles.hashers import ContentHasher, canonical_order
from certified_ensembles.smoothers import ClusterVote
from certified_ensembles.ssdpa import SemiSupervisedDPA

DATA = os.environ.get("CERTIFIED_ENSEMBLES_DATA")
X_DIGITS, Y_DIGITS = load_digits(return_X_y=True)
X, Y = X_DIGITS[:300], Y_DIGITS[:300]
X_TEST = X_DIGITS[300:400]
NB = GaussianNB(var_smoothing=1e-2)


def ssdpa(estimator=NB, n_partitions=10, **kwargs):
    return SemiSupervisedDPA(estimator, n_partitions, **kwargs)


def assert_same(one, other, X=X_TEST, X_other=None):
    X_other = X if X_other is None else X_other
    np.testing.assert_array_equal(one.ballots(X), other.ballots(X_other))
    for a, b in zip(one.certify(X), other.certify(X_other), strict=True):
        np.testing.assert_array_equal(a, b)


# The default 50 partitions are more than the rows of many of these checks: the warning is right.
@pytest.mark.filterwarnings("ignore:The certificate is weaker")
@pytest.mark.filterwarnings("ignore:.*SCIPY_ARRAY_API:sklearn.exceptions.SkipTestWarning")
@parametrize_with_checks(
    [
        SemiSupervisedDPA(),
        SemiSupervisedDPA(n_partitions=3, representation=StandardScaler()),
        SemiSupervisedDPA(DecisionTreeClassifier(), n_partitions=5, partitioner="content"),
        SemiSupervisedDPA(n_partitions=4, certificate="members"),
        SemiSupervisedDPA(SelfTrainingClassifier(GaussianNB()), 3, unlabeled="mask"),
        SemiSupervisedDPA(KMeans(8, n_init=1), "n_samples"),
    ]
)
def test_scikit_learn_checks(estimator, check):
    check(estimator)


# ---------------------------------------------------------------- partitions


def test_sorted_partitions_are_the_lexicographic_index_of_the_different_rows():
    rng = np.random.default_rng(0)
    rows = rng.integers(0, 3, (40, 4))
    clf = ssdpa(n_partitions=7).fit(rows, rng.integers(0, 2, 40))
    different = sorted(set(map(tuple, rows.tolist())))
    expected = [different.index(tuple(row)) % 7 for row in rows.tolist()]
    assert len(different) < 40
    assert clf.partition_.tolist() == expected


def test_sizes_differ_by_at_most_one_different_row():
    clf = ssdpa(n_partitions=7).fit(np.vstack([X, X[:50]]), np.append(Y, Y[:50]))
    sizes = np.bincount(clf.partition_[: len(X)])
    assert sizes.max() - sizes.min() == 1
    np.testing.assert_array_equal(clf.partition_[len(X) :], clf.partition_[:50])


def test_partitions_follow_the_rows_whatever_their_order_and_labels():
    clf = ssdpa().fit(X, Y)
    shuffle = np.random.default_rng(0).permutation(len(X))
    other = ssdpa().fit(X[shuffle], (Y + 1)[shuffle] % 10)
    np.testing.assert_array_equal(other.partition_, clf.partition_[shuffle])


CONTAINERS = {
    "float32": lambda X: X.astype(np.float32),
    "uint8": lambda X: X.astype(np.uint8),
    "list": lambda X: X.tolist(),
    "pandas": pd.DataFrame,
    "polars": lambda X: pl.DataFrame(X, schema=[f"c{i}" for i in range(X.shape[1])]),
    "images": lambda X: X.reshape(len(X), 8, 8),
}


class Flatten(TransformerMixin, BaseEstimator):
    """Takes images; learns nothing."""

    def fit(self, X, y=None):
        return self

    def transform(self, X):
        X = np.asarray(X, dtype=float)
        return X.reshape(len(X), -1)


@pytest.mark.parametrize("container", CONTAINERS)
def test_the_ensemble_does_not_depend_on_the_container(container):
    carry = CONTAINERS[container]
    clf = ssdpa(representation=Flatten()).fit(X, Y)
    assert_same(clf, ssdpa(representation=Flatten()).fit(carry(X), Y), X_TEST, carry(X_TEST))


def test_sparse_rows_and_texts_are_taken():
    clf = ssdpa(RidgeClassifier()).fit(X, Y)
    sparse = ssdpa(RidgeClassifier()).fit(sp.csr_matrix(X), Y)
    np.testing.assert_array_equal(sparse.partition_, clf.partition_)
    svd = TruncatedSVD(10)
    assert ssdpa(representation=svd).fit(sp.csr_matrix(X), Y).predict(sp.csr_matrix(X)).shape
    texts = [f"{['spam', 'ham'][i % 2]} word{i} word{i // 7}" for i in range(60)]
    labels = ["spam" if t.startswith("spam") else "ham" for t in texts]
    clf = ssdpa(RidgeClassifier(), 5, representation=TfidfVectorizer()).fit(texts, labels)
    assert (clf.predict(texts) == labels).mean() > 0.9


def test_hashes_of_features_partition_as_in_dpa():
    clf = ssdpa(partitioner="content").fit(X, Y)
    dpa = DeepPartitionAggregation(NB, 10).fit(X, Y)
    assert_same(clf, dpa)
    by_sum = ssdpa(partitioner=lambda X: X.sum(axis=1).astype(int)).fit(X, Y)
    np.testing.assert_array_equal(by_sum.partition_, X.sum(axis=1) % 10)


def test_a_partitioner_sees_each_different_row_once_and_in_order():
    seen = []

    def rank(X):
        seen.append(np.asarray(X))
        return np.arange(len(X))

    doubled, labels = np.vstack([X[::-1], X]), np.append(Y[::-1], Y)
    clf = ssdpa(partitioner=rank).fit(doubled, labels)
    np.testing.assert_array_equal(seen[0], X[canonical_order(X)])
    np.testing.assert_array_equal(clf.partition_, ssdpa().fit(doubled, labels).partition_)


@pytest.mark.parametrize(
    ("partitioner", "match"),
    [
        (ContentHasher(include_labels=True), "looks at labels"),
        ("alphabetic", "partitioner='alphabetic' is unknown"),
        (lambda X: X.sum(axis=1), "dtype float64"),
        (lambda X: np.arange(3), r"shape \(3,\)"),
    ],
)
def test_partitioners_without_a_certificate_are_refused(partitioner, match):
    with pytest.raises(ValueError, match=match):
        ssdpa(partitioner=partitioner).fit(X, Y)


def test_partitions_without_rows_are_announced():
    with pytest.warns(CertificateWarning, match="5 partitions have no rows"):
        clf = ssdpa(RidgeClassifier(), 10).fit(X[:5], [0, 0, 1, 1, 1])
    assert clf.estimators_[5:] == [None] * 5
    assert (clf.ballots(X_TEST)[:, 5:] == -1).all()


@pytest.mark.parametrize("threat", ["insertion_deletion", "replacement", "backdoor"])
def test_only_label_flips_are_certified(threat):
    clf = ssdpa().fit(X, Y)
    with pytest.raises(ValueError, match=f"threat='{threat}'.*label_flip"):
        clf.certify(X_TEST, threat=threat)
    np.testing.assert_array_equal(clf.certify(X_TEST)[1], clf.certify(X_TEST, "label_flip")[1])


def test_radius_is_that_of_the_vote_in_closed_and_open_sets():
    for classes in (None, range(10)):
        clf = ssdpa(classes=classes).fit(X, Y)
        expected = plurality_radius(clf.vote_counts(X_TEST), open_set=classes is None)
        y_pred, radius = clf.certify(X_TEST)
        np.testing.assert_array_equal(y_pred, expected[0])
        np.testing.assert_array_equal(radius, expected[1])
        np.testing.assert_array_equal(y_pred, clf.predict(X_TEST))
    with pytest.raises(ValueError, match="not among classes"):
        ssdpa(classes=range(9)).fit(X, Y)


# ---------------------------------------------------------------- representation


class Recorder(TransformerMixin, BaseEstimator):
    """A transformer that keeps what it was given."""

    fits, transforms = [], []

    def __init__(self, random_state=None):
        self.random_state = random_state

    def fit(self, X, y=None):
        Recorder.fits.append((np.array(X), y, self.random_state))
        self.mean_ = X.mean(axis=0)
        return self

    def transform(self, X):
        Recorder.transforms.append(len(X))
        return X - self.mean_


@pytest.fixture
def recorder():
    Recorder.fits, Recorder.transforms = [], []
    return Recorder()


def test_representation_is_fitted_once_on_rows_in_order_and_never_sees_labels(recorder):
    shuffle = np.random.default_rng(0).permutation(len(X))
    clf = ssdpa(representation=recorder, random_state=7).fit(X[shuffle], Y[shuffle])
    ((rows, labels, seed),) = Recorder.fits
    np.testing.assert_array_equal(rows, X[canonical_order(X)])
    assert labels is None
    assert seed == 7
    assert recorder.random_state is None
    assert clf.representation_.random_state == 7


def test_prediction_transforms_each_row_once_in_blocks_of_one_shape(recorder):
    clf = ssdpa(representation=recorder).fit(X, Y)
    Recorder.transforms.clear()
    clf.predict(X_DIGITS[:600])
    assert Recorder.transforms == [256, 256, 256]


def test_members_train_on_the_output_of_the_representation():
    clf = ssdpa(representation=PCA(8)).fit(X, Y)
    features = PCA(8, random_state=0).fit(X[canonical_order(X)]).transform(X)
    for i, member in enumerate(clf.estimators_):
        rows = clf.partition_ == i
        reference = clone(NB).fit(features[rows], Y[rows])
        np.testing.assert_allclose(member.theta_, reference.theta_, atol=1e-9)


@pytest.mark.parametrize(
    "representation",
    [None, PCA(8), make_pipeline(StandardScaler(), GaussianRandomProjection(12)), KMeans(20)],
    ids=str,
)
def test_order_of_rows_changes_nothing_bit_for_bit(representation):
    rows, labels = np.vstack([X, X[:40]]), np.append(Y, (Y[:40] + 1) % 10)
    clf = ssdpa(RidgeClassifier(), representation=representation).fit(rows, labels)
    for seed in range(2):
        shuffle = np.random.default_rng(seed).permutation(len(rows))
        other = clone(clf).fit(rows[shuffle], labels[shuffle])
        for one, two in zip(clf.estimators_, other.estimators_, strict=True):
            np.testing.assert_array_equal(one.coef_, two.coef_)
        assert_same(clf, other)


class NeedsLabels(TransformerMixin, BaseEstimator):
    """Needs y, and does not say so in its tags."""

    def fit(self, X, y):
        return self

    def transform(self, X):
        return X


@pytest.mark.parametrize(
    "representation",
    [
        SelectKBest(k=5),
        LinearDiscriminantAnalysis(),
        make_pipeline(StandardScaler(), SelectKBest(k=5)),
        make_union(PCA(2), SelectKBest(k=5)),
        make_column_transformer((SelectKBest(k=1), [0, 1]), remainder="drop"),
    ],
    ids=str,
)
def test_representations_that_learn_from_labels_are_refused(representation):
    with pytest.raises(ValueError, match="learns from labels"):
        ssdpa(representation=representation).fit(X, Y)


@pytest.mark.parametrize(
    "representation", [NeedsLabels(), SelectFromModel(LogisticRegression())], ids=str
)
def test_representations_that_fail_without_labels_say_where_they_belong(representation):
    with pytest.raises((ValueError, TypeError)) as caught:
        ssdpa(representation=representation).fit(X, Y)
    assert "belongs inside `estimator`" in caught.value.__notes__[0]


@pytest.mark.parametrize(
    "frozen",
    [PCA(8), make_pipeline(StandardScaler(), PCA(8)), VarianceThreshold(1.0), KMeans(5, n_init=1)],
    ids=str,
)
def test_frozen_representations_that_learn_no_labels_are_taken_in_silence(frozen):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        clf = ssdpa(representation=FrozenEstimator(frozen.fit(X))).fit(X, Y)
    assert clf.ballots(X_TEST).shape == (100, 10)


@pytest.mark.parametrize(
    "frozen",
    [
        LinearDiscriminantAnalysis(),
        SelectKBest(chi2, k=20),
        SelectFromModel(RidgeClassifier()),
        make_pipeline(StandardScaler(), LinearDiscriminantAnalysis()),
        make_pipeline(SelectKBest(chi2, k=20), PCA(8)),
        make_union(PCA(8), LinearDiscriminantAnalysis()),
    ],
    ids=["discriminants", "selector", "by a model", "last step", "first step", "union"],
)
def test_frozen_representations_that_hold_a_learner_of_labels_are_suspected(frozen):
    frozen = FrozenEstimator(frozen.fit(X, Y))
    for representation in (frozen, make_pipeline(frozen, StandardScaler())):
        with pytest.warns(CertificateWarning, match="frozen in the representation"):
            ssdpa(representation=representation).fit(X, Y)


def test_memory_keeps_the_representation_and_the_members_that_did_not_change(tmp_path, recorder):
    clf = ssdpa(representation=recorder, memory=str(tmp_path)).fit(X, Y)
    flipped = Y.copy()
    flipped[0] = 9 - flipped[0]
    before = set(tmp_path.glob("**/_train/*/output.pkl"))
    again = clone(clf).fit(X, flipped)
    assert len(Recorder.fits) == 1
    assert len(before) == 10
    assert len(set(tmp_path.glob("**/_train/*/output.pkl")) - before) == 1
    assert_same(again, ssdpa(representation=Recorder()).fit(X, flipped))


# ---------------------------------------------------------------- semi-supervised members


SEMI = [
    SelfTrainingClassifier(NB),
    LabelSpreading(kernel="knn", n_neighbors=7),
    LabelPropagation(gamma=1e-3),
]
LABELS = {
    "int": np.arange(10),
    "from -1": np.arange(-1, 9),
    "str": np.array(list("abcdefghij")),
    "object": np.array(list("abcdefghij"), dtype=object),
}


@pytest.mark.parametrize("labels", LABELS)
@pytest.mark.parametrize("estimator", SEMI, ids=lambda e: type(e).__name__)
def test_masked_members_are_trained_on_all_rows_and_their_own_labels(estimator, labels):
    y = LABELS[labels][Y]
    clf = ssdpa(estimator, 3, unlabeled="mask").fit(X, y)
    order = canonical_order(X)
    for i, member in enumerate(clf.estimators_):
        own = (clf.partition_ == i)[order]
        masked = np.where(own, Y[order], -1)
        reference = clone(estimator).fit(X[order], masked)
        expected = LABELS[labels][reference.predict(X_TEST)]
        np.testing.assert_array_equal(member.predict(X_TEST), expected)
        np.testing.assert_array_equal(clf.classes_[clf.ballots(X_TEST)[:, i]], expected)
    assert (clf.predict(X_TEST) == LABELS[labels][Y_DIGITS[300:400]]).mean() > 0.7


def test_masked_booleans_and_one_class_members():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        base = SelfTrainingClassifier(LogisticRegression(max_iter=1000))
        clf = ssdpa(base, 10, unlabeled="mask").fit(X[:20] / 16, Y[:20] > 5)
    assert any(isinstance(member, DummyClassifier) for member in clf.estimators_)
    for i, member in enumerate(clf.estimators_):
        ballots = clf.classes_[clf.ballots(X_TEST)[:, i]]
        np.testing.assert_array_equal(ballots, member.predict(X_TEST))
    assert clf.predict(X_TEST).dtype == bool


def test_masked_members_may_be_asked_for_a_run_off():
    clf = ssdpa(SEMI[0], 5, unlabeled="mask", aggregation="run_off").fit(X, Y)
    assert (clf.predict(X_TEST) == Y_DIGITS[300:400]).mean() > 0.7
    assert clf.certify(X_TEST).radius.max() <= 2


def test_estimators_that_take_minus_one_for_a_class_are_refused():
    with pytest.raises(ValueError, match="learned -1 as a class"):
        ssdpa(NB, 3, unlabeled="mask").fit(X, Y)


def test_masking_many_rows_warns_of_the_cost(monkeypatch):
    monkeypatch.setattr(masked, "_MANY_ROWS", 3 * len(X) - 1)
    with pytest.warns(UserWarning, match="900 in all"):
        ssdpa(SEMI[0], 3, unlabeled="mask").fit(X, Y)


def test_the_default_masked_member_trains_itself():
    clf = SemiSupervisedDPA(
        n_partitions=3, unlabeled="mask", representation=make_pipeline(StandardScaler(), PCA(5))
    ).fit(X, Y)
    assert isinstance(clf.estimators_[0].estimator_, SelfTrainingClassifier)


def test_memory_retrains_only_the_masked_member_whose_labels_changed(tmp_path):
    clf = ssdpa(SEMI[0], 5, unlabeled="mask", memory=str(tmp_path)).fit(X, Y)
    before = set(tmp_path.glob("**/_train_masked/*/output.pkl"))
    flipped = Y.copy()
    flipped[3] = (Y[3] + 1) % 10
    again = clone(clf).fit(X, flipped)
    assert len(before) == 5
    assert len(set(tmp_path.glob("**/_train_masked/*/output.pkl")) - before) == 1
    assert_same(again, ssdpa(SEMI[0], 5, unlabeled="mask").fit(X, flipped))


class Pessimist(ClassifierMixin, BaseEstimator):
    """Copies the label of the nearest labelled row if it is near, else leaves a row unlabelled."""

    def __init__(self, radius=20.0):
        self.radius = radius

    def fit(self, X, y, sample_weight=None):
        self.X_, self.y_ = X[y >= 0], y[y >= 0]
        self.order_ = None if sample_weight is None else np.append(y, sample_weight)
        return self

    def predict(self, X):
        distance = np.linalg.norm(X[:, None] - self.X_, axis=2)
        return np.where(distance.min(axis=1) < self.radius, self.y_[distance.argmin(axis=1)], -1)


def test_masked_members_that_leave_a_row_unlabelled_abstain():
    clf = ssdpa(Pessimist(), 10, unlabeled="mask").fit(X, Y)
    ballots = clf.ballots(X_TEST)
    assert 0.1 < (ballots == -1).mean() < 0.9
    for i, member in enumerate(clf.estimators_):
        abstains = ballots[:, i] == -1
        answers = member.predict(X_TEST)
        assert all(label is None for label in answers[abstains])
        np.testing.assert_array_equal(answers[~abstains], ballots[~abstains, i])


def test_order_of_weighted_copies_with_masked_labels_tells_a_member_nothing():
    # Copies of a row differ in label and weight. A member that does not see the labels must
    # not see them in the order of the weights either.
    rows = np.repeat(X[:30], 2, axis=0)
    labels, weights = np.repeat(Y[:30], 2), np.tile([1.0, 2.0], 30)
    clf = ssdpa(Pessimist(), 3, unlabeled="mask").fit(rows, labels, sample_weight=weights)
    mixed = labels.copy()
    victims = np.flatnonzero(clf.partition_ == 0)
    mixed[victims[::2]] = (mixed[victims[::2]] + 5) % 10
    for shuffle in (np.arange(60), np.random.default_rng(0).permutation(60)):
        other = clone(clf).fit(rows[shuffle], mixed[shuffle], sample_weight=weights[shuffle])
        for i in (1, 2):
            np.testing.assert_array_equal(
                other.estimators_[i].estimator_.order_, clf.estimators_[i].estimator_.order_
            )


def test_a_new_label_elsewhere_changes_no_code_that_a_member_learns():
    labels = 10 * Y[:60]
    clf = ssdpa(Pessimist(), 3, unlabeled="mask").fit(X[:60], labels)
    changed = labels.copy()
    changed[np.flatnonzero(clf.partition_ == 0)[0]] = -7
    other = clone(clf).fit(X[:60], changed)
    assert other.classes_[0] == -7
    for i in (1, 2):
        one, two = clf.estimators_[i], other.estimators_[i]
        np.testing.assert_array_equal(one.estimator_.y_, two.estimator_.y_)
        np.testing.assert_array_equal(one.predict(X_TEST), two.predict(X_TEST))


def test_sample_weights_are_routed_to_the_members():
    weights = np.random.default_rng(0).random(len(X))
    with sklearn.config_context(enable_metadata_routing=True):
        base = GaussianNB(var_smoothing=1e-2).set_fit_request(sample_weight=True)
        clf = ssdpa(base).fit(X, Y, sample_weight=weights)
    for i, member in enumerate(clf.estimators_):
        rows = np.flatnonzero(clf.partition_ == i)
        rows = rows[canonical_order(X[rows], Y[rows])]
        reference = clone(NB).fit(X[rows], Y[rows], sample_weight=weights[rows])
        np.testing.assert_array_equal(member.theta_, reference.theta_)


# ---------------------------------------------------------------- one label a member


class Transductive(ClassifierMixin, BaseEstimator):
    """Appendix B as a semi-supervised estimator: all rows, one label, an unsupervised rule."""

    def __init__(self, rule, votes="own"):
        self.rule = rule
        self.votes = votes

    def fit(self, X, y):
        self.X_, self.own_ = X, np.flatnonzero(y >= 0)
        self.label_ = np.bincount(y[self.own_]).argmax()
        if self._searches():
            self.different_ = np.unique(X, axis=0)
            n_neighbors = self.rule.n_neighbors
            self.rule_ = NearestNeighbors(n_neighbors=n_neighbors).fit(self.different_)
        else:
            self.rule_ = clone(self.rule).fit(X)
        return self

    def _searches(self):
        return hasattr(self.rule, "n_neighbors")

    def _near(self, X):
        mine = self.X_[self.own_[:1]]
        if not self._searches():
            return self.rule_.predict(X) == self.rule_.predict(mine)
        found = self.different_[self.rule_.kneighbors(X, return_distance=False)]
        return (found == mine).all(axis=2).any(axis=1)

    def predict(self, X):
        elsewhere = 1 - self.label_ if self.votes == "swap" else -1
        return np.where(self._near(X), self.label_, elsewhere)


def by_clones(rule, n_members, votes="own", **kwargs):
    """The generic path: a clone for every row, trained on all rows with one label each."""
    return SemiSupervisedDPA(
        Transductive(rule, votes), n_members, unlabeled="mask", distinct_seeds=False, **kwargs
    )


IRIS, SPECIES = load_iris(return_X_y=True)
FLOWERS = IRIS[::7]


@pytest.mark.parametrize(
    "rule",
    [KMeans(3, n_init=3), GaussianMixture(3), NearestNeighbors(n_neighbors=9),
     KNeighborsClassifier(20)],
    ids=lambda rule: type(rule).__name__,
)  # fmt: skip
def test_counting_gives_the_ballots_of_clones(rule):
    counted = ssdpa(rule, "n_samples").fit(IRIS, SPECIES)
    assert len(counted.estimators_) == 149  # one flower occurs twice
    clones = by_clones(rule, 149).fit(IRIS, SPECIES)
    assert_same(counted, clones, FLOWERS)
    np.testing.assert_array_equal(counted.vote_counts(FLOWERS), clones.vote_counts(FLOWERS))
    assert (counted.ballots(FLOWERS) == -1).any()
    np.testing.assert_array_equal(counted.partition_, clones.partition_)


@pytest.mark.parametrize("labels", [[0, 1], ["no", "yes"], [False, True]], ids=str)
def test_counting_gives_the_ballots_of_clones_for_two_swapped_classes(labels):
    y = np.array(labels)[(SPECIES > 0).astype(int)]
    rule = KMeans(2, n_init=3)
    counted = ssdpa(ClusterVote(rule, votes="swap"), "n_samples", classes=labels).fit(IRIS, y)
    clones = by_clones(rule, 149, "swap", classes=labels).fit(IRIS, y)
    assert_same(counted, clones, FLOWERS)
    assert (counted.vote_counts(FLOWERS).sum(axis=1) == 149).all()
    own = ssdpa(rule, "n_samples", classes=labels).fit(IRIS, y)
    assert (counted.certify(FLOWERS).radius > own.certify(FLOWERS).radius).mean() > 0.8


def test_swapped_votes_are_counted_as_in_appendix_b():
    X = np.array([[0.0], [0.1], [0.2], [9.0], [9.1], [9.2], [9.3]])
    y = np.array([0, 0, 1, 1, 1, 1, 0])
    rule = ClusterVote(KMeans(2, n_init=3), votes="swap")
    clf = ssdpa(rule, "n_samples", classes=[0, 1]).fit(X, y)
    # Near 0: labels 0, 0, 1 as they are, and 1, 1, 1, 0 exchanged.
    assert clf.vote_counts([[0.3], [8.0]]).tolist() == [[5, 2], [2, 5]]
    assert clf.certify([[0.3], [8.0]]).radius.tolist() == [1, 1]


@pytest.mark.skipif(
    not (DATA and (Path(DATA) / "mnist.npz").exists()),
    reason="set CERTIFIED_ENSEMBLES_DATA to a folder with mnist.npz",
)
def test_two_clusters_of_mnist_pixels_reach_the_figures_of_appendix_b():
    (rows, digits), (test, answers) = (
        fetch_mnist(subset=subset, return_X_y=True, download_if_missing=False)
        for subset in ("train", "test")
    )
    ours, theirs = np.isin(digits, [1, 7]), np.isin(answers, [1, 7])
    clf = ssdpa(
        ClusterVote(KMeans(2, n_init=10), votes="swap"), "n_samples",
        representation=Flatten(), classes=[1, 7],
    ).fit(rows[ours] / 255, digits[ours])  # fmt: skip
    y_pred, radius = clf.certify(test[theirs] / 255)
    correct = y_pred == answers[theirs]
    assert round(100 * correct.mean(), 1) == 95.5
    assert set(radius[correct]) == {5952}


def test_neighbours_within_a_radius_vote_and_far_rows_get_no_vote():
    X = np.arange(10.0)[:, None]
    y = np.repeat(["a", "b"], 5)
    clf = ssdpa(RadiusNeighborsClassifier(radius=1.5), "n_samples").fit(X, y)
    assert clf.vote_counts([[2.0], [4.9], [99.0]]).tolist() == [[3, 0], [1, 2], [0, 0]]
    assert clf.predict_proba([[99.0]]).tolist() == [[0.5, 0.5]]
    assert clf.certify([[99.0]]).radius.tolist() == [0]


def test_copies_of_a_row_are_one_member_with_the_commonest_label():
    X = np.array([[0.0], [0.0], [0.0], [1.0], [9.0]])
    clf = ssdpa(KMeans(2, n_init=3), "n_samples").fit(X, [2, 1, 1, 0, 0])
    assert clf.partition_.tolist() == [0, 0, 0, 1, 2]
    assert clf.ballots([[0.4]]).tolist() == [[1, 0, -1]]


def test_members_with_one_label_answer_when_asked():
    clf = ssdpa(KMeans(3, n_init=3), "n_samples").fit(IRIS, SPECIES)
    ballots = clf.ballots(FLOWERS)
    for member, column in zip(clf.estimators_[-3:], ballots[:, -3:].T, strict=True):
        answers = member.predict(FLOWERS)
        assert [(-1 if a is None else a) for a in answers] == column.tolist()
    with pytest.raises(IndexError):
        clf.estimators_[149]


def test_clusters_behind_a_representation_and_without_training_rows():
    pipeline = make_pipeline(StandardScaler(), KMeans(3, n_init=3))
    inside = ssdpa(pipeline, "n_samples").fit(IRIS, SPECIES)
    before = ssdpa(pipeline[1], "n_samples", representation=pipeline[0]).fit(IRIS, SPECIES)
    assert_same(inside, before, FLOWERS)

    class Parity(BaseEstimator):
        def fit(self, X, y=None):
            return self

        def predict(self, X):
            return X[:, 0].astype(int) % 3

    clf = ssdpa(Parity(), "n_samples").fit([[0], [3], [1]], [0, 1, 1])
    assert clf.vote_counts([[2.0], [6.0]]).tolist() == [[0, 0], [1, 1]]


@pytest.mark.parametrize(
    ("params", "match"),
    [
        ({"estimator": None}, "estimator=None cannot learn"),
        ({"estimator": RidgeClassifier()}, "gives each member one label"),
        ({"estimator": DBSCAN()}, "in which cluster a new row is"),
        ({"estimator": KNeighborsClassifier(weights="distance")}, 'weights="uniform"'),
        ({"estimator": NearestNeighbors(n_neighbors=999)}, "n_neighbors=999"),
        ({"partitioner": "content"}, "needs partitioner='sorted'"),
        ({"aggregation": "run_off"}, "needs aggregation='plurality'"),
        ({"estimator": ClusterVote(votes="swap"), "classes": range(10)}, "there are 10"),
    ],
)
def test_what_one_label_cannot_do_is_said(params, match):
    clf = ssdpa(KMeans(3), "n_samples").set_params(**params)
    with pytest.raises(ValueError, match=match):
        clf.fit(X, Y)


def test_swapped_votes_need_a_closed_set_of_labels():
    with pytest.raises(ValueError, match="any label may come"):
        ssdpa(ClusterVote(KMeans(2), votes="swap"), "n_samples").fit(X, Y > 4)


def test_one_label_memory_seeds_and_arguments(tmp_path):
    one = ssdpa(KMeans(12, n_init=1), "n_samples", memory=str(tmp_path), random_state=3)
    clf = one.fit(X, Y)
    (cached,) = tmp_path.glob("**/_fit/*/output.pkl")
    assert joblib.load(cached).random_state == 3
    flipped = clone(one).fit(X, (Y + 1) % 10)
    assert len(list(tmp_path.glob("**/_fit/*/output.pkl"))) == 1
    np.testing.assert_array_equal(flipped.predict(X_TEST), (clf.predict(X_TEST) + 1) % 10)
    with pytest.raises(ValueError, match=r"no further arguments of fit, got \['sample_weight'\]"):
        one.fit(X, Y, sample_weight=np.ones(len(X)))


# ---------------------------------------------------------------- as an estimator


KINDS = {
    "plain": SemiSupervisedDPA(RidgeClassifier(), 7),
    "represented": SemiSupervisedDPA(NB, 7, representation=PCA(8)),
    "run-off": SemiSupervisedDPA(RidgeClassifier(), 7, aggregation="run_off"),
    "masked": SemiSupervisedDPA(SelfTrainingClassifier(NB), 3, unlabeled="mask"),
    "members": SemiSupervisedDPA(RidgeClassifier(100.0), 5, certificate="members"),
    "one label": SemiSupervisedDPA(KMeans(15, n_init=1), "n_samples"),
}


@pytest.fixture(params=KINDS)
def kind(request):
    return clone(KINDS[request.param])


def test_pickle_and_clone_keep_what_they_should(kind):
    clf = kind.fit(X, Y)
    assert_same(clf, pickle.loads(pickle.dumps(clf)))
    fresh = clone(clf)
    assert not hasattr(fresh, "estimators_")
    assert str(fresh.get_params()) == str(clf.get_params())


@pytest.mark.parametrize("backend", ["loky", "threading"])
def test_workers_change_nothing(kind, backend):
    clf = kind.fit(X, Y)
    with joblib.parallel_config(backend, n_jobs=2):
        assert_same(clf, clone(clf).fit(X, Y))


def test_a_row_is_judged_alike_in_any_company(kind):
    clf = kind.fit(X, Y)
    some = [3, 77, 20]
    np.testing.assert_array_equal(clf.ballots(X_TEST)[some], clf.ballots(X_TEST[some]))
    np.testing.assert_array_equal(clf.certify(X_TEST)[1][some], clf.certify(X_TEST[some])[1])


def test_votes_shares_ballots_and_predictions_agree(kind):
    clf = kind.fit(X, Y)
    votes, ballots = clf.vote_counts(X_TEST), clf.ballots(X_TEST)
    assert ballots.shape[1] == len(clf.estimators_)
    for c in range(10):
        np.testing.assert_array_equal(votes[:, c], (ballots == c).sum(axis=1))
    np.testing.assert_allclose(clf.predict_proba(X_TEST).sum(axis=1), 1)
    certificate = clf.certify(X_TEST)
    assert certificate.radius.dtype == np.int64
    np.testing.assert_array_equal(certificate.y_pred, clf.predict(X_TEST))


@pytest.mark.parametrize("name", ["masked", "one label"])
def test_kinds_of_its_own_pass_the_audit_and_are_drawn(name):
    clf = clone(KINDS[name])
    report = check_certificate(clf, X[:100] / 16, Y[:100], X_TEST[:10] / 16, n_attacks=15)
    assert report.n_attacks["labels flipped"] >= 1
    display = CertifiedAccuracyDisplay.from_estimator(clf.fit(X, Y), X_TEST, Y_DIGITS[300:400])
    assert "label flips" in display.ax_.get_xlabel()
    assert display.budgets.max() > 0


@pytest.mark.parametrize("labels", [np.arange(10) - 3, np.array(list("jihgfedcba"))], ids=str)
def test_labels_of_any_kind_give_the_same_votes(kind, labels):
    clf = kind.fit(X, Y)
    named = clone(clf).fit(X, labels[Y])
    columns = np.searchsorted(named.classes_, labels)
    if kind.aggregation == "plurality":
        np.testing.assert_array_equal(
            named.vote_counts(X_TEST)[:, columns], clf.vote_counts(X_TEST)
        )
    assert named.predict(X_TEST).dtype == labels.dtype


def test_searches_pipelines_and_verbose_fits_work(capsys):
    search = GridSearchCV(
        ssdpa(n_partitions=5, representation=PCA(5)),
        {"representation__n_components": [2, 10], "estimator__var_smoothing": [1e-2]},
        cv=2,
    ).fit(X, Y)
    assert search.best_params_["representation__n_components"] == 10
    pipe = make_pipeline(StandardScaler(), ssdpa(n_partitions=5, verbose=1))
    assert cross_val_score(pipe, X, Y, cv=2).mean() > 0.6
    assert "fit" in capsys.readouterr().err
    assert "SemiSupervisedDPA" in pipe._repr_html_()


@pytest.mark.parametrize(
    ("params", "match"),
    [
        ({"random_state": None}, "random_state=None is refused"),
        ({"estimator": Ridge()}, "is a regressor"),
        ({"estimator": KMeans(3)}, "predicts no labels"),
        ({"estimator": NearestNeighbors()}, "predicts no labels"),
        ({"estimator": NB, "certificate": "members"}, "label-free linear smoothers"),
        ({"estimator": RidgeClassifier(class_weight="balanced"), "certificate": "members"},
         "class_weight='balanced'"),
        ({"certificate": "members", "unlabeled": "mask"}, "needs unlabeled='ignore'"),
        ({"certificate": "members", "aggregation": "run_off"}, "needs aggregation='plurality'"),
    ],
)  # fmt: skip
def test_parameters_that_do_not_fit_are_named(params, match):
    clf = ssdpa(RidgeClassifier(), 5).set_params(**params)
    with pytest.raises(ValueError, match=match):
        clf.fit(X, Y)


def test_missing_values_that_pass_the_representation_are_refused():
    holed = X.copy()
    holed[5, 20] = np.nan
    with pytest.raises(ValueError, match="output of the representation contains NaN"):
        ssdpa(representation=StandardScaler()).fit(holed, Y)
    imputed = ssdpa(representation=SimpleImputer()).fit(holed, Y)
    assert imputed.predict(holed).shape == (300,)


def test_rows_of_weight_zero_are_no_rows():
    weights = (Y < 5).astype(float)
    clf = ssdpa(RidgeClassifier(), 100).fit(X, Y, sample_weight=weights)
    assert set(clf.predict(X_TEST)) <= set(range(5))
    rows = np.array([(Y[clf.partition_ == i] < 5).any() for i in range(100)])
    assert [member is not None for member in clf.estimators_] == rows.tolist()
