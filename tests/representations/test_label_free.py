"""Representations of SemiSupervisedDPA see all rows once, in order, and never a label."""

import warnings

import numpy as np
import pytest
from sklearn.base import BaseEstimator, TransformerMixin, clone
from sklearn.cluster import KMeans
from sklearn.compose import make_column_transformer
from sklearn.datasets import load_digits
from sklearn.decomposition import PCA
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.feature_selection import SelectFromModel, SelectKBest, VarianceThreshold, chi2
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression, RidgeClassifier
from sklearn.naive_bayes import GaussianNB
from sklearn.pipeline import make_pipeline, make_union
from sklearn.preprocessing import StandardScaler
from sklearn.random_projection import GaussianRandomProjection

from certified_ensembles import CertificateWarning
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


class Notes(list):
    """What a test notes down: the same to the key of a cache whatever it holds."""

    def __reduce__(self):
        return Notes, ()


class Recorder(TransformerMixin, BaseEstimator):
    """A transformer that keeps what it was given."""

    fits, transforms = Notes(), Notes()

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
    Recorder.fits, Recorder.transforms = Notes(), Notes()
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
