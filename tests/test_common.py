"""scikit-learn's own checks on every public estimator, and contracts that all of them keep."""

import pickle

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.datasets import load_iris
from sklearn.naive_bayes import GaussianNB
from sklearn.tree import DecisionTreeClassifier
from sklearn.utils.estimator_checks import parametrize_with_checks

from certified_ensembles import Certificate, DeepPartitionAggregation

# One row a configuration: a new estimator adds its own and inherits every check below.
ESTIMATORS = [
    DeepPartitionAggregation(),
    DeepPartitionAggregation(n_partitions=3),
    DeepPartitionAggregation(DecisionTreeClassifier(), n_partitions=5),
    DeepPartitionAggregation(n_partitions=3, aggregation="run_off"),
    DeepPartitionAggregation(n_partitions=3, spread_degree=2),
]


# The default 50 partitions are more than the rows of many of these checks: the warning is right.
@pytest.mark.filterwarnings("ignore:The certificate is weaker")
@pytest.mark.filterwarnings("ignore:.*SCIPY_ARRAY_API:sklearn.exceptions.SkipTestWarning")
@parametrize_with_checks(ESTIMATORS)
def test_scikit_learn_checks(estimator, check):
    check(estimator)


FITTED = [
    pytest.param(clone(estimator).set_params(n_partitions=7), id=str(i))
    for i, estimator in enumerate(ESTIMATORS)
]


@pytest.fixture(params=FITTED, scope="module")
def fitted(request):
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


def test_radius_never_exceeds_half_of_the_members(fitted):
    clf, X = fitted
    assert clf.certify(X).radius.max() <= len(clf.estimators_) // 2


def test_votes_shares_and_ballots_agree(fitted):
    clf, X = fitted
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
    assert "DeepPartitionAggregation" in fitted[0]._repr_html_()


def test_unknown_threat_is_named(fitted):
    with pytest.raises(ValueError, match="threat='backdoor'"):
        fitted[0].certify(fitted[1], threat="backdoor")


def test_clone_keeps_parameters_and_drops_the_fit(fitted):
    again = clone(fitted[0])
    assert not hasattr(again, "estimators_")
    assert str(again.get_params()) == str(fitted[0].get_params())


def test_set_params_reaches_the_base_estimator():
    clf = DeepPartitionAggregation(GaussianNB()).set_params(estimator__var_smoothing=0.1)
    assert clf.estimator.var_smoothing == 0.1
