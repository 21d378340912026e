"""Members with one label each: counted, and the same as clones that are asked."""

import os
from pathlib import Path

import joblib
import numpy as np
import pytest
from sklearn.base import BaseEstimator, ClassifierMixin, TransformerMixin, clone
from sklearn.cluster import DBSCAN, KMeans
from sklearn.datasets import load_digits, load_iris
from sklearn.linear_model import RidgeClassifier
from sklearn.mixture import GaussianMixture
from sklearn.naive_bayes import GaussianNB
from sklearn.neighbors import KNeighborsClassifier, NearestNeighbors, RadiusNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from certified_ensembles.datasets import fetch_mnist
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


class Flatten(TransformerMixin, BaseEstimator):
    """Takes images; learns nothing."""

    def fit(self, X, y=None):
        return self

    def transform(self, X):
        X = np.asarray(X, dtype=float)
        return X.reshape(len(X), -1)


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
# A clone is trained for each row. Rows 101 and 142 are the same flower.
SOME = np.append(np.arange(1, 150, 4), 142)


@pytest.mark.parametrize(
    "rule",
    [
        KMeans(3, n_init=3),
        GaussianMixture(3),
        NearestNeighbors(n_neighbors=9),
        KNeighborsClassifier(20),
    ],
    ids=lambda rule: type(rule).__name__,
)
def test_counting_gives_the_ballots_of_clones(rule):
    counted = ssdpa(rule, "n_samples").fit(IRIS[SOME], SPECIES[SOME])
    assert len(counted.estimators_) == 38  # one flower occurs twice
    clones = by_clones(rule, 38).fit(IRIS[SOME], SPECIES[SOME])
    assert_same(counted, clones, FLOWERS)
    np.testing.assert_array_equal(counted.vote_counts(FLOWERS), clones.vote_counts(FLOWERS))
    assert (counted.ballots(FLOWERS) == -1).any()
    np.testing.assert_array_equal(counted.partition_, clones.partition_)


@pytest.mark.parametrize("labels", [[0, 1], ["no", "yes"], [False, True]], ids=str)
def test_counting_gives_the_ballots_of_clones_for_two_swapped_classes(labels):
    rows, y = IRIS[SOME], np.array(labels)[(SPECIES[SOME] > 0).astype(int)]
    rule = KMeans(2, n_init=3)
    counted = ssdpa(ClusterVote(rule, votes="swap"), "n_samples", classes=labels).fit(rows, y)
    clones = by_clones(rule, 38, "swap", classes=labels).fit(rows, y)
    assert_same(counted, clones, FLOWERS)
    assert (counted.vote_counts(FLOWERS).sum(axis=1) == 38).all()
    own = ssdpa(rule, "n_samples", classes=labels).fit(rows, y)
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
        ClusterVote(KMeans(2, n_init=2), votes="swap"),
        "n_samples",
        representation=Flatten(),
        classes=[1, 7],
    ).fit(rows[ours] / 255, digits[ours])
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
    (cached,) = tmp_path.glob("**/fit_seeded/*/output.pkl")
    assert joblib.load(cached).random_state == 3
    flipped = clone(one).fit(X, (Y + 1) % 10)
    assert len(list(tmp_path.glob("**/fit_seeded/*/output.pkl"))) == 1
    np.testing.assert_array_equal(flipped.predict(X_TEST), (clf.predict(X_TEST) + 1) % 10)
    with pytest.raises(ValueError, match=r"no further arguments of fit, got \['sample_weight'\]"):
        one.fit(X, Y, sample_weight=np.ones(len(X)))
