"""Semi-supervised members learn from all rows and from the labels of their own."""

import warnings

import numpy as np
import pytest
import sklearn
from sklearn.base import BaseEstimator, ClassifierMixin, clone
from sklearn.datasets import load_digits
from sklearn.decomposition import PCA
from sklearn.dummy import DummyClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.naive_bayes import GaussianNB
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.semi_supervised import LabelPropagation, LabelSpreading, SelfTrainingClassifier

from certified_ensembles._members import masked
from certified_ensembles.hashers import canonical_order
from certified_ensembles.ssdpa import SemiSupervisedDPA

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
    before = set(tmp_path.glob("**/fit_seeded/*/output.pkl"))
    flipped = Y.copy()
    flipped[3] = (Y[3] + 1) % 10
    again = clone(clf).fit(X, flipped)
    assert len(before) == 5
    assert len(set(tmp_path.glob("**/fit_seeded/*/output.pkl")) - before) == 1
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
