"""Smoothing by members that are trained on noisy labels."""

import numpy as np
import pytest
from scipy.stats import binom
from sklearn.base import BaseEstimator, ClassifierMixin, clone
from sklearn.cluster import KMeans
from sklearn.datasets import load_iris
from sklearn.dummy import DummyClassifier
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.naive_bayes import GaussianNB
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.random_projection import GaussianRandomProjection
from sklearn.tree import DecisionTreeClassifier

from certified_ensembles import CertificateWarning
from certified_ensembles._members.noisy import noisy_codes
from certified_ensembles.certificates.flips import flips_from_margin
from certified_ensembles.label_flip import LabelFlipSmoothingClassifier

KNOWN_SEED = "ignore:The certificate is void against who knew"


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


@pytest.mark.filterwarnings(KNOWN_SEED)
@pytest.mark.parametrize("scaler", [StandardScaler(), StandardScaler(copy=False)])
def test_steps_that_write_on_their_rows_leave_those_of_the_next_draw_alone(scaler):
    X, y = load_iris(return_X_y=True)
    for head in (DecisionTreeClassifier(), LogisticRegression()):
        clf = LabelFlipSmoothingClassifier(
            make_pipeline(scaler, head), certificate="monte_carlo", n_draws=3
        )
        for member in clf.fit(X, y).estimators_:
            np.testing.assert_allclose(member[0].mean_, X.mean(axis=0))


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


@pytest.mark.filterwarnings(KNOWN_SEED)
def test_monte_carlo_resumes_from_memory(tmp_path):
    X, y = load_iris(return_X_y=True)
    params = {
        "certificate": "monte_carlo",
        "memory": str(tmp_path),
        "noise": 0.1,
        "random_state": 3,
    }
    estimator = DecisionTreeClassifier(max_depth=2)
    few = LabelFlipSmoothingClassifier(estimator, n_draws=3, **params).fit(X, y)
    stored = len(list(tmp_path.rglob("output.pkl")))
    more = LabelFlipSmoothingClassifier(estimator, n_draws=5, **params).fit(X[::-1], y[::-1])
    assert len(list(tmp_path.rglob("output.pkl"))) == stored + 2
    for a, b in zip(few.estimators_, more.estimators_, strict=False):
        np.testing.assert_array_equal(a.predict(X), b.predict(X))


@pytest.mark.filterwarnings(KNOWN_SEED)
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


# ---- the seed ---------------------------------------------------------------------------------


def noisy_trees(**params):
    return LabelFlipSmoothingClassifier(
        DecisionTreeClassifier(max_features=1),
        certificate="monte_carlo",
        n_draws=8,
        representation=GaussianRandomProjection(3),
        **params,
    )


@pytest.mark.parametrize("random_state", [0, None])
def test_seed_is_drawn_by_every_fit_and_repeats_it(random_state):
    X, y = load_iris(return_X_y=True)
    clf = noisy_trees(random_state=random_state).fit(X, y)
    seed, shares = clf.seed_, clf.predict_proba(X)
    assert isinstance(seed, int)
    assert 1 <= seed <= 2**32 - 8
    assert clf.fit(X, y).seed_ != seed
    assert (clf.predict_proba(X) != shares).any()
    with pytest.warns(CertificateWarning, match="void against who knew random_state"):
        again = clone(clf).set_params(random_state=seed).fit(X, y)
    assert again.seed_ == seed
    np.testing.assert_array_equal(again.predict_proba(X), shares)


def test_fixed_seed_warns_and_says_what_to_do():
    X, y = load_iris(return_X_y=True)
    message = r"random_state=5 .*labels can be chosen for known noise.*kept in seed_"
    with pytest.warns(CertificateWarning, match=message) as caught:
        assert noisy_trees(random_state=5).fit(X, y).seed_ == 5
    assert caught[0].filename == __file__


def test_other_certificates_have_no_seed_to_keep():
    X, y = load_iris(return_X_y=True)
    clf = noisy_trees().fit(X, y)
    clf.set_params(certificate="exact", estimator=None, random_state=5).fit(X, y)
    assert not hasattr(clf, "seed_")  # and a fixed seed is no warning


N_LABELS, N_ONES, N_DRAWS, NOISE = 201, 101, 100, 0.3


def labels_for_known_noise(seed):
    """Arrange 101 ones among 201 labels so that no draw of a known seed has fewer of them."""
    clean = np.zeros(N_LABELS, dtype=int)
    flips = np.stack([noisy_codes(clean, 2, NOISE, [seed, i]) for i in range(N_DRAWS)])
    y = clean.copy()
    y[np.argsort(flips.sum(axis=0), kind="stable")[:N_ONES]] = 1
    for _ in range(100):
        lost = flips @ (2 * y - 1)  # ones that a draw turns into zeros, less those it gains
        if lost.max() <= 0:
            break
        harm = np.exp(lost / 2) @ flips
        ones, zeros = np.flatnonzero(y == 1), np.flatnonzero(y == 0)
        y[ones[harm[ones].argmax()]] = 0
        y[zeros[harm[zeros].argmin()]] = 1
    return y


def probability_of_label_one(n_ones):
    """Of the majority of noisy labels, exactly."""
    zeros = N_LABELS - n_ones
    kept = binom.pmf(np.arange(n_ones + 1), n_ones, 1 - NOISE)
    gained = binom.pmf(np.arange(zeros + 1), zeros, NOISE)
    return np.convolve(kept, gained)[N_LABELS // 2 + 1 :].sum()


def test_known_seed_certifies_what_three_flips_beat_and_a_drawn_one_does_not():
    X = np.arange(float(N_LABELS))[:, None]
    y = labels_for_known_noise(7)
    majority = LabelFlipSmoothingClassifier(
        DummyClassifier(),
        certificate="monte_carlo",
        noise=NOISE,
        n_draws=N_DRAWS,
        classes=[0, 1],
    )
    assert y.sum() == N_ONES
    assert probability_of_label_one(N_ONES) > 0.5 > probability_of_label_one(N_ONES - 3)
    with pytest.warns(CertificateWarning, match="random_state=7"):
        known = clone(majority).set_params(random_state=7).fit(X, y)
    assert known.certify(X[:1]).radius.tolist() == [3]  # a lie, that is
    # About half of the drawn votes are for either label. The odds of a radius are 1 to 500 a fit.
    drawn = [majority.fit(X, y).certify(X[:1]).radius[0] for _ in range(3)]
    assert drawn.count(-1) >= 2


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
