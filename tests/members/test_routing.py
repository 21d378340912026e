"""Fit parameters and metadata reach the members, cut like the rows."""

import numpy as np
import pytest
import sklearn
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, GroupKFold, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.tree import DecisionTreeClassifier

from certified_ensembles import DeepPartitionAggregation
from certified_ensembles.hashers import ContentHasher
from certified_ensembles.metrics import make_certified_accuracy_scorer

X_DIGITS, Y_DIGITS = load_digits(return_X_y=True)
X, Y = X_DIGITS[:400], Y_DIGITS[:400]
X_TEST = X_DIGITS[400:500]


def dpa(estimator=None, n_partitions=10, **kwargs):
    return DeepPartitionAggregation(estimator, n_partitions, **kwargs)


class Weighted(ClassifierMixin, BaseEstimator):
    """Remembers the weights that it was given."""

    def fit(self, X, y, sample_weight=None, colour=None):
        self.weight_, self.colour_ = sample_weight, colour
        self.tree_ = DecisionTreeClassifier(random_state=0).fit(X, y, sample_weight)
        self.classes_ = self.tree_.classes_
        return self

    def predict(self, X):
        return self.tree_.predict(X)


def test_fit_parameters_are_cut_like_rows():
    weight = X.sum(axis=1)
    clf = dpa(Weighted()).fit(X, Y, sample_weight=weight, colour="red")
    for i, member in enumerate(clf.estimators_):
        assert member.colour_ == "red"
        np.testing.assert_array_equal(
            np.sort(member.weight_), np.sort(weight[clf.partition_ == i])
        )
    plain = dpa(Weighted()).fit(X, Y, sample_weight=None)
    assert plain.estimators_[0].weight_ is None


def test_weights_of_equal_rows_are_put_in_order_too():
    X2, y2 = np.repeat(X, 2, axis=0), np.repeat(Y, 2)
    weight = np.random.default_rng(0).random(len(X2))
    order = np.random.default_rng(1).permutation(len(X2))
    estimator = LogisticRegression(max_iter=300)
    one = dpa(estimator, 4).fit(X2, y2, sample_weight=weight)
    other = dpa(estimator, 4).fit(X2[order], y2[order], sample_weight=weight[order])
    np.testing.assert_array_equal(one.estimators_[0].coef_, other.estimators_[0].coef_)


def test_metadata_routing_reaches_members_and_groups():
    weight, groups = X.sum(axis=1), np.arange(len(X)) % 30
    with sklearn.config_context(enable_metadata_routing=True):
        base = Weighted().set_fit_request(sample_weight=True)
        clf = dpa(base).set_fit_request(groups=True).set_score_request(sample_weight=False)
        clf.fit(X, Y, sample_weight=weight, groups=groups)
        assert clf.partitioned_by_ == "source"
        np.testing.assert_array_equal(
            np.sort(clf.estimators_[2].weight_), np.sort(weight[clf.partition_ == 2])
        )
        with pytest.raises(sklearn.exceptions.UnsetMetadataPassedError, match="colour"):
            clf.fit(X, Y, colour="red")
        search = GridSearchCV(clf, {"n_partitions": [3, 4]}, cv=GroupKFold(3))
        search.fit(X, Y, groups=groups, sample_weight=weight)
        assert search.best_estimator_.partitioned_by_ == "source"
        assert search.best_estimator_.estimators_[0].weight_ is not None


def test_grid_search_over_hasher_estimator_and_certified_accuracy():
    search = GridSearchCV(
        dpa(
            make_pipeline(StandardScaler(), LogisticRegression(max_iter=200)),
            classes=range(10),
            hasher=ContentHasher(),
        ),
        {"hasher__key": ["a", "b"], "estimator__logisticregression__C": [1e-4, 1.0]},
        scoring=make_certified_accuracy_scorer(2),
        cv=3,
    )
    search.fit(X, Y)
    assert search.best_params_["estimator__logisticregression__C"] == 1.0
    y_pred, _ = search.best_estimator_.certify(X_TEST)
    assert 0.5 < search.best_score_ < (y_pred == Y_DIGITS[400:500]).mean() + 0.1
    scores = cross_val_score(dpa(), X, Y, scoring=make_certified_accuracy_scorer(1))
    assert scores.shape == (5,)
