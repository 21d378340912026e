"""Members that fail, and rows that make them: what the tests of on_error share."""

import warnings

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin

from certified_ensembles import DeepPartitionAggregation

RNG = np.random.default_rng(0)
X = RNG.integers(0, 4, (240, 3)) + RNG.random((240, 3))
Y = (X.sum(axis=1) > 6).astype(int)
T = RNG.integers(0, 4, (60, 3)) + RNG.random((60, 3))
HOSTILE = [1e39, 1e200, 1e308, -1e308, np.nan, np.inf]


def dpa(estimator, n_partitions=8, **how):
    how = {"classes": [0, 1, 2], "on_error": "abstain"} | how
    return DeepPartitionAggregation(estimator, n_partitions, **how)


def quietly(method, *args):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return method(*args)


class Fussy(ClassifierMixin, BaseEstimator):
    """Refuses the label 2 in training, and rows above a threshold when it is asked.

    A little of its answer hangs on whom it was trained on.
    """

    def __init__(self, refuses_label=2, refuses_above=np.inf):
        self.refuses_label, self.refuses_above = refuses_label, refuses_above

    def fit(self, X, y):
        if self.refuses_label in y:
            raise LookupError("no such label")
        self.classes_, self.n_features_in_ = np.unique(y), X.shape[1]
        self.cut_ = np.median(X.sum(axis=1))
        return self

    def predict_proba(self, X):
        if (X[:, 0] > self.refuses_above).any():
            raise ArithmeticError("too large")
        above = (X.sum(axis=1) > self.cut_).astype(float)
        return np.column_stack([1 - above, above])

    def predict(self, X):
        return self.classes_[self.predict_proba(X).argmax(axis=1)]


def hostile_training_set():
    return np.vstack([X, np.full(3, 1e39)]), np.append(Y, 0)
