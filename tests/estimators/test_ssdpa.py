"""SemiSupervisedDPA as users meet it: partitions, certificates, errors."""

import pickle

import joblib
import numpy as np
import pandas as pd
import polars as pl
import pytest
import scipy.sparse as sp
from sklearn.base import BaseEstimator, TransformerMixin, clone
from sklearn.cluster import KMeans
from sklearn.datasets import load_digits
from sklearn.decomposition import PCA, TruncatedSVD
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.impute import SimpleImputer
from sklearn.linear_model import Ridge, RidgeClassifier
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.naive_bayes import GaussianNB
from sklearn.neighbors import NearestNeighbors
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.semi_supervised import SelfTrainingClassifier

from certified_ensembles import CertificateWarning, DeepPartitionAggregation
from certified_ensembles.audit import check_certificate
from certified_ensembles.certificates import plurality_radius
from certified_ensembles.display import CertifiedAccuracyDisplay
from certified_ensembles.hashers import ContentHasher, canonical_order
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
    with pytest.warns(CertificateWarning, match="5 of 10 partitions have no rows"):
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
        (
            {"estimator": RidgeClassifier(class_weight="balanced"), "certificate": "members"},
            "class_weight='balanced'",
        ),
        ({"certificate": "members", "unlabeled": "mask"}, "needs unlabeled='ignore'"),
        ({"certificate": "members", "aggregation": "run_off"}, "needs aggregation='plurality'"),
    ],
)
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
