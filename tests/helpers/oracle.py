"""An estimator whose predictions and radii are its input."""

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin

from certified_ensembles._certificate import Certificate


class Oracle(ClassifierMixin, BaseEstimator):
    """Predicts the first column; the radius is the second one, and notes the threat asked."""

    def __init__(self, shift=0):
        self.shift = shift

    def fit(self, X, y):
        self.classes_ = np.unique(y)
        return self

    def predict(self, X):
        return np.asarray(X)[:, 0].astype(int)

    def certify(self, X, threat=None):
        self.asked_ = threat
        radius = np.asarray(X)[:, 1].astype(np.int64) + self.shift
        return Certificate(self.predict(X), radius)


# Three of four rows are right, with radii 5, 2 and 0.
X_ORACLE = np.array([[0.0, 5.0], [1.0, 2.0], [1.0, 0.0], [0.0, 9.0]])
Y_ORACLE = np.array([0, 1, 1, 1])
# KFold(5) puts one copy of the four into every fold.
X_FOLDS, Y_FOLDS = np.tile(X_ORACLE, (5, 1)), np.tile(Y_ORACLE, 5)
