"""Linear members are asked together, and answer as each of them does alone."""

import numpy as np
import pytest
import scipy.sparse as sp
from sklearn.base import clone
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression, RidgeClassifier, SGDClassifier
from sklearn.neighbors import NearestCentroid
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import Normalizer
from sklearn.tree import DecisionTreeClassifier, ExtraTreeClassifier

from certified_ensembles import DeepPartitionAggregation

X_DIGITS, Y_DIGITS = load_digits(return_X_y=True)
X, Y = X_DIGITS[:400], Y_DIGITS[:400]
X_TEST = X_DIGITS[400:500]


def dpa(estimator=None, n_partitions=10, **kwargs):
    return DeepPartitionAggregation(estimator, n_partitions, **kwargs)


LINEAR = [
    RidgeClassifier(),
    RidgeClassifier(alpha=3.0, fit_intercept=False),
    RidgeClassifier(solver="lsqr", tol=1e-10),
    RidgeClassifier(class_weight="balanced"),
    LogisticRegression(max_iter=500),
    SGDClassifier(max_iter=5000),
    NearestCentroid(),
    NearestCentroid(shrink_threshold=0.1),
    NearestCentroid(metric="manhattan"),
    NearestCentroid(priors="empirical"),
    make_pipeline(Normalizer(), RidgeClassifier()),
    make_pipeline(Normalizer(), "passthrough", RidgeClassifier()),
]


@pytest.mark.filterwarnings("ignore:self.within_class_std_dev_:UserWarning")  # blank pixels
@pytest.mark.parametrize("estimator", LINEAR, ids=str)
@pytest.mark.parametrize("n_classes", [2, 10])
@pytest.mark.parametrize("carry", [np.asarray, sp.csr_matrix], ids=["dense", "csr"])
def test_stacked_ballots_are_those_of_the_members(estimator, n_classes, carry):
    if carry is sp.csr_matrix and getattr(estimator, "shrink_threshold", None):
        carry = np.asarray  # scikit-learn does not shrink sparse centroids
    if carry is sp.csr_matrix and getattr(estimator, "metric", None) == "manhattan":
        carry = np.asarray
    rows = n_classes > Y
    clf = dpa(estimator, 9).fit(carry(X[rows]), Y[rows])
    members = np.stack([m.predict(carry(X_TEST)) for m in clf.estimators_], axis=1)
    np.testing.assert_array_equal(clf.classes_[clf.ballots(carry(X_TEST))], members)


@pytest.mark.parametrize("estimator", LINEAR[:2], ids=str)
@pytest.mark.parametrize(
    "labels", [np.arange(10), np.array(list("abcdefghij")), np.arange(10) > 4]
)
@pytest.mark.parametrize("n_partitions", [3, 50])
def test_closed_form_ridge_is_scikit_learns(estimator, labels, n_partitions):
    y = labels[Y]
    clf = dpa(estimator, n_partitions).fit(X, y)
    for i, member in enumerate(clf.estimators_):
        rows = clf.partition_ == i
        if len(np.unique(y[rows])) == 1:
            continue
        reference = clone(estimator).fit(X[rows], y[rows])
        np.testing.assert_allclose(member.coef_, reference.coef_, atol=1e-10)
        np.testing.assert_allclose(member.intercept_, reference.intercept_, atol=1e-9)
        np.testing.assert_array_equal(member.classes_, reference.classes_)
        np.testing.assert_array_equal(member.predict(X_TEST), reference.predict(X_TEST))
        assert set(vars(reference)) == set(vars(member))


def test_subclasses_are_asked_with_their_own_predict():
    class Contrary(RidgeClassifier):
        def predict(self, X):
            return np.full(len(X), self.classes_[0])

    clf = dpa(Contrary()).fit(X, Y)
    assert set(clf.predict(X_TEST)) == {0}


@pytest.mark.parametrize("tree", [DecisionTreeClassifier(), ExtraTreeClassifier()], ids=str)
@pytest.mark.parametrize("rows", [X_TEST, X_TEST + 0.1, X_TEST.astype(np.float32), "missing"])
def test_trees_vote_as_they_answer_alone(tree, rows):
    if isinstance(rows, str):  # the trees themselves say what they make of it
        rows = np.where(np.arange(64) == 36, np.nan, X_TEST)
    clf = dpa(tree, 30).fit(X, Y)
    alone = np.column_stack([member.predict(rows) for member in clf.estimators_])
    np.testing.assert_array_equal(clf.ballots(rows), alone)
    ranked = dpa(tree, 30, aggregation="run_off").fit(X, Y)
    np.testing.assert_array_equal(ranked.ballots(rows), alone)


@pytest.mark.filterwarnings("ignore:overflow encountered in cast:RuntimeWarning")
@pytest.mark.parametrize("huge", [1e39, np.inf])
def test_trees_refuse_what_single_precision_cannot_hold(huge):
    clf = dpa(DecisionTreeClassifier(), 3).fit(X, Y)
    with pytest.raises(ValueError, match=r"too large|infinity"):
        clf.predict(np.full((2, 64), huge))


def test_float32_rows_are_multiplied_in_float32_and_agree_up_to_ties():
    clf = dpa(RidgeClassifier(), 40).fit(X.astype(np.float32), Y)
    wide = dpa(RidgeClassifier(), 40).fit(X, Y)
    assert clf.estimators_[0].coef_.dtype == np.float64
    np.testing.assert_array_equal(clf.estimators_[0].coef_, wide.estimators_[0].coef_)
    assert (clf.ballots(X_TEST.astype(np.float32)) == wide.ballots(X_TEST)).mean() > 0.999
