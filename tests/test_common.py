"""scikit-learn's own checks on every public estimator, and contracts that all of them keep.

Maps of images are no part of it, since scikit-learn checks with tables alone; nor are nets, which
keep the conventions of skorch.
"""

import pickle

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.cluster import KMeans
from sklearn.datasets import load_iris
from sklearn.linear_model import LinearRegression, LogisticRegression, Ridge, RidgeClassifier
from sklearn.naive_bayes import GaussianNB
from sklearn.neighbors import KNeighborsClassifier, KNeighborsRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.semi_supervised import SelfTrainingClassifier
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor
from sklearn.utils.estimator_checks import parametrize_with_checks

from certified_ensembles import (
    Certificate,
    DeepPartitionAggregation,
    DeepPartitionRegressor,
    FeaturePartitionAggregation,
    LabelFlipSmoothingClassifier,
    LabelNoiseRegressor,
    SemiSupervisedDPA,
)
from certified_ensembles.abstention import CertifiedAbstention
from certified_ensembles.encoding import LabelEncodingClassifier
from certified_ensembles.kernels import KernelRidgeClassifier
from certified_ensembles.neighbors import CertifiedKNeighborsClassifier
from certified_ensembles.representations import LaplacianEigenmap
from certified_ensembles.smoothers import ClusterVote, LinearSmoother, NadarayaWatson

# One row a configuration: a new estimator adds its own and inherits every check below.
PARTITIONED = [
    DeepPartitionAggregation(),
    DeepPartitionAggregation(n_partitions=3),
    DeepPartitionAggregation(DecisionTreeClassifier(), n_partitions=5),
    DeepPartitionAggregation(n_partitions=3, aggregation="run_off"),
    DeepPartitionAggregation(n_partitions=3, spread_degree=2),
]
REGRESSORS = [
    DeepPartitionRegressor(),
    DeepPartitionRegressor(LinearRegression(), 5),
    DeepPartitionRegressor(DecisionTreeRegressor(), 4, n_seeds=2, n_jobs=2),
    # The bounds of targets in these checks are not known, but any are wide enough.
    LabelNoiseRegressor(bounds=(-1e6, 1e6)),
    LabelNoiseRegressor(KNeighborsRegressor(3), bounds=(-1e6, 1e6), n_jobs=2),
]
CERTIFYING = [
    *PARTITIONED,
    *REGRESSORS,
    FeaturePartitionAggregation(),
    FeaturePartitionAggregation(DecisionTreeClassifier(), 3),
    FeaturePartitionAggregation(n_blocks=2, n_partitions=2),
    SemiSupervisedDPA(),
    SemiSupervisedDPA(n_partitions=3, representation=StandardScaler()),
    SemiSupervisedDPA(DecisionTreeClassifier(), n_partitions=5, partitioner="content"),
    SemiSupervisedDPA(n_partitions=4, certificate="members"),
    SemiSupervisedDPA(SelfTrainingClassifier(GaussianNB()), 3, unlabeled="mask"),
    SemiSupervisedDPA(KMeans(8, n_init=1), "n_samples"),
    LabelFlipSmoothingClassifier(),
    LabelFlipSmoothingClassifier(KNeighborsClassifier(3), n_jobs=2),
    LabelFlipSmoothingClassifier(ClusterVote(), representation=StandardScaler()),
    LabelFlipSmoothingClassifier(make_pipeline(StandardScaler(), Ridge())),
    LabelFlipSmoothingClassifier(certificate="tight"),
    LabelFlipSmoothingClassifier(certificate="kl"),
    # Its noise is drawn anew by each fit, and these checks compare fits: hardly a label is noisy.
    LabelFlipSmoothingClassifier(certificate="monte_carlo", n_draws=7, noise=1e-9),
    CertifiedKNeighborsClassifier(3),
    CertifiedKNeighborsClassifier(1, n_jobs=2),
    CertifiedAbstention(DeepPartitionAggregation(RidgeClassifier(), 3), 0),
    CertifiedAbstention(CertifiedKNeighborsClassifier(3), 0),
]
ESTIMATORS = [
    *CERTIFYING,
    ClusterVote(),
    ClusterVote(KMeans(3, n_init=2, random_state=0), votes="swap", n_jobs=2),
    NadarayaWatson(),
    LinearSmoother(),
    LabelEncodingClassifier(LogisticRegression()),
    LabelEncodingClassifier(RidgeClassifier()),
    KernelRidgeClassifier(),
    LaplacianEigenmap(),
    LaplacianEigenmap(2, n_neighbors=3, n_jobs=2),
]

# What an estimator does not meet, and why: once it does, its line here fails.
UNMET = {
    LinearSmoother: {
        "check_n_features_in": "n_features_in_ is not set",
        "check_n_features_in_after_fitting": "n_features_in_ is not set",
        "check_complex_data": "complex rows are refused by TypeError, in other words",
        "check_estimator_sparse_tag": "sparse rows are taken, and the tag does not say so",
    }
}


# The default 50 partitions are more than the rows of many of these checks: the warning is right.
@pytest.mark.filterwarnings("ignore:The certificate is weaker")
@pytest.mark.filterwarnings("ignore:.*SCIPY_ARRAY_API:sklearn.exceptions.SkipTestWarning")
# Some of the checks fix every seed, which is no secret then.
@pytest.mark.filterwarnings("ignore:The certificate is void against who knew")
@parametrize_with_checks(
    ESTIMATORS, expected_failed_checks=lambda estimator: UNMET.get(type(estimator), {})
)
def test_scikit_learn_checks(estimator, check):
    check(estimator)


def small(estimator):
    """A clone with 7 partitions, and 4 blocks at most (as many as irises have columns)."""
    again = clone(estimator)
    if isinstance(again.get_params().get("n_partitions"), int):
        again.set_params(n_partitions=7)
    if "n_blocks" in again.get_params():
        again.set_params(n_blocks=min(again.n_blocks, 4))
    return again


def params(estimators):
    return [pytest.param(small(estimator), id=str(i)) for i, estimator in enumerate(estimators)]


@pytest.fixture(params=params(CERTIFYING), scope="module")
def fitted(request):
    X, y = load_iris(return_X_y=True)
    return clone(request.param).fit(X, y), X


@pytest.fixture(params=params(PARTITIONED), scope="module")
def partitioned(request):
    X, y = load_iris(return_X_y=True)
    return clone(request.param).fit(X, y), X


def test_certificate_unpacks_and_agrees_with_predict(fitted):
    clf, X = fitted
    certificate = clf.certify(X)
    y_pred, radius = certificate
    assert isinstance(certificate, Certificate)
    assert radius.dtype == np.int64
    assert radius.shape == (len(X),)
    np.testing.assert_array_equal(y_pred, clf.predict(X))


def test_radius_never_exceeds_half_of_the_members(partitioned):
    clf, X = partitioned
    assert clf.certify(X).radius.max() <= len(clf.estimators_) // 2


def test_votes_shares_and_ballots_agree(partitioned):
    clf, X = partitioned
    votes, ballots = clf.vote_counts(X), clf.ballots(X)
    assert ballots.shape == (len(X), len(clf.estimators_))
    for c in range(len(clf.classes_)):
        np.testing.assert_array_equal(votes[:, c], (ballots == c).sum(axis=1))
    shares = clf.predict_proba(X)
    np.testing.assert_allclose(shares.sum(axis=1), 1)
    if clf.aggregation == "plurality":
        np.testing.assert_array_equal(clf.classes_[shares.argmax(axis=1)], clf.predict(X))


def test_pickle_keeps_the_certificate(fitted):
    clf, X = fitted
    again = pickle.loads(pickle.dumps(clf)).certify(X)
    for one, other in zip(clf.certify(X), again, strict=True):
        np.testing.assert_array_equal(one, other)


def test_html_representation_shows_the_estimator(fitted):
    assert type(fitted[0]).__name__ in fitted[0]._repr_html_()


def test_unknown_threat_is_named(fitted):
    with pytest.raises(ValueError, match="threat='backdoor'"):
        fitted[0].certify(fitted[1], threat="backdoor")


def test_clone_keeps_parameters_and_drops_the_fit(fitted):
    again = clone(fitted[0])
    assert not [name for name in vars(again) if name.endswith("_")]
    assert str(again.get_params()) == str(fitted[0].get_params())


def test_set_params_reaches_the_base_estimator():
    clf = DeepPartitionAggregation(GaussianNB()).set_params(estimator__var_smoothing=0.1)
    assert clf.estimator.var_smoothing == 0.1
