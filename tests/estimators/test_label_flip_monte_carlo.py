"""Smoothing by members that are trained on noisy labels."""

import numpy as np
import pytest
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.cluster import KMeans
from sklearn.datasets import load_iris
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.naive_bayes import GaussianNB
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.tree import DecisionTreeClassifier

from certified_ensembles._members.noisy import noisy_codes
from certified_ensembles.certificates.flips import flips_from_margin
from certified_ensembles.label_flip import LabelFlipSmoothingClassifier


def test_monte_carlo_members_see_noisy_labels_and_their_share_decides():
    X, y = load_iris(return_X_y=True)
    clf = LabelFlipSmoothingClassifier(
        GaussianNB(), certificate="monte_carlo", noise=0.4, n_draws=60, classes=[0, 1, 2]
    ).fit(X, y)
    assert len(clf.estimators_) == 60
    counts = np.stack([member.predict(X) for member in clf.estimators_])
    votes = np.stack([(counts == c).sum(axis=0) for c in range(3)], axis=1)
    np.testing.assert_allclose(clf.predict_proba(X), votes / 60)
    y_pred, radius = clf.certify(X)
    np.testing.assert_array_equal(y_pred, votes.argmax(axis=1))
    unanimous = votes.max(axis=1) == 60
    assert unanimous.any()
    # Clopper-Pearson where nobody disagrees: p >= (delta / 2)^(1 / n).
    log_error = np.log(1 - 0.0005 ** (1 / 60))
    expected = flips_from_margin(np.array([log_error]), 0.4, 3)[0]
    assert expected > 0
    np.testing.assert_array_equal(radius[unanimous], expected)
    assert (radius[votes.max(axis=1) < 36] == -1).all()


def test_monte_carlo_abstains_where_members_disagree():
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(60, 2)), rng.integers(0, 2, 60)
    clf = LabelFlipSmoothingClassifier(
        KNeighborsClassifier(3), certificate="monte_carlo", noise=0.45, n_draws=20
    ).fit(X, y)
    assert (clf.certify(X).radius == -1).any()


def test_monte_carlo_takes_text_and_supervised_pipelines():
    texts = ["good film", "bad film", "good book", "bad book"] * 5
    y = ["pos", "neg"] * 10
    clf = LabelFlipSmoothingClassifier(
        make_pipeline(TfidfVectorizer(), LogisticRegression()),
        certificate="monte_carlo",
        n_draws=20,
        noise=0.05,
    ).fit(texts, y)
    assert clf.certify(["good", "bad"]).y_pred.tolist() == ["pos", "neg"]


def test_monte_carlo_resumes_from_memory(tmp_path):
    X, y = load_iris(return_X_y=True)
    params = {"certificate": "monte_carlo", "memory": str(tmp_path), "noise": 0.1}
    estimator = DecisionTreeClassifier(max_depth=2)
    few = LabelFlipSmoothingClassifier(estimator, n_draws=3, **params).fit(X, y)
    stored = len(list(tmp_path.rglob("output.pkl")))
    more = LabelFlipSmoothingClassifier(estimator, n_draws=5, **params).fit(X[::-1], y[::-1])
    assert len(list(tmp_path.rglob("output.pkl"))) == stored + 2
    for a, b in zip(few.estimators_, more.estimators_, strict=False):
        np.testing.assert_array_equal(a.predict(X), b.predict(X))


def test_monte_carlo_members_have_different_seeds():
    X, y = load_iris(return_X_y=True)
    clf = LabelFlipSmoothingClassifier(
        DecisionTreeClassifier(), certificate="monte_carlo", n_draws=4, random_state=7
    ).fit(X, y)
    assert [member.random_state for member in clf.estimators_] == [7, 8, 9, 10]


def test_monte_carlo_refuses_what_does_not_classify():
    X, y = load_iris(return_X_y=True)
    for estimator in (Ridge(), KMeans(3)):
        clf = LabelFlipSmoothingClassifier(estimator, certificate="monte_carlo")
        with pytest.raises(ValueError, match="pass a classifier"):
            clf.fit(X, y)


class _Witness(ClassifierMixin, BaseEstimator):
    """Remember the labels that fit was given."""

    def fit(self, X, y):
        self.classes_, self.given_ = np.unique(y), y
        return self

    def predict(self, X):
        return np.full(len(X), self.classes_[0])


def test_monte_carlo_members_do_not_know_which_copy_has_which_label():
    X, y = np.repeat([[0.0], [1.0]], 20, axis=0), np.tile([0, 1], 20)
    clf = LabelFlipSmoothingClassifier(_Witness(), certificate="monte_carlo", n_draws=5, noise=0.2)
    for member in clf.fit(X, y).estimators_:
        assert (np.diff(member.given_[:20]) >= 0).all()
        assert (np.diff(member.given_[20:]) >= 0).all()
    assert len({tuple(member.given_) for member in clf.estimators_}) > 1


def test_noise_replaces_labels_at_its_rate_by_all_others_alike():
    codes = np.tile([0, 1, 2, 3], 25_000)
    noisy = noisy_codes(codes, 4, 0.3, [0, 1])
    assert np.mean(noisy != codes) == pytest.approx(0.3, abs=0.01)
    for shift in (1, 2, 3):
        assert np.mean((noisy - codes) % 4 == shift) == pytest.approx(0.1, abs=0.01)
    np.testing.assert_array_equal(noisy, noisy_codes(codes, 4, 0.3, [0, 1]))
    assert (noisy != noisy_codes(codes, 4, 0.3, [0, 2])).any()
    # The places of the noise do not depend on the labels.
    np.testing.assert_array_equal(
        noisy != codes, noisy_codes((codes + 1) % 4, 4, 0.3, [0, 1]) != (codes + 1) % 4
    )
