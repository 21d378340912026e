"""What the audit knows of regressors: how far a prediction may move, and what answers are."""

import numpy as np
from sklearn.base import is_regressor


def differs(one, other):
    """Say elementwise whether predictions differ; two that are both NaN do not."""
    both_missing = (one != one) & (other != other)
    return (one != other) & ~both_missing


def answers_as_ballots(answers):
    """Return answers as objects, None where a member abstains."""
    ballots = answers.astype(object)
    ballots[np.isnan(answers)] = None
    return ballots


def question_about(ensemble, fitted, X_test, y):
    """Return what a regressor is asked: a tolerance that some predictions keep for a while.

    Empty for classifiers, which are asked whether a prediction stays as it is.
    """
    if not is_regressor(ensemble):
        return {}
    tolerance = float(np.std(np.asarray(y, dtype=float))) / 4
    budget = max(1, len(getattr(ensemble, "estimators_", ())) // 5)
    _, lower, upper = fitted.certify_interval(X_test, budget)
    widths = (upper - lower)[np.isfinite(upper - lower)]
    return {"tolerance": float(np.median(widths)) / 2 if len(widths) else tolerance}


class Promise:
    """How far attacks may move predictions.

    Parameters
    ----------
    ensemble : fitted estimator
        It is asked about the rows as they come to it.
    rows : its test rows
    y_pred : ndarray
        What it predicts for them.
    question : dict
        As :func:`question_about` returns it.
    """

    def __init__(self, ensemble, rows, y_pred, question):
        self.ensemble, self.rows, self.y_pred = ensemble, rows, y_pred
        self.tolerance = question.get("tolerance")
        self._intervals = {}

    def left(self, y_pred):
        """Say which predictions have changed, or moved farther than the tolerance."""
        if self.tolerance is None:
            return y_pred != self.y_pred
        with np.errstate(invalid="ignore"):
            near = np.abs(y_pred - self.y_pred) <= self.tolerance
        return ~near & differs(y_pred, self.y_pred)

    def outside(self, y_pred, threat, n_operations):
        """Say which predictions left the interval of so many operations: of classes, none."""
        if self.tolerance is None:
            return np.zeros(len(y_pred), dtype=bool)
        key = threat, n_operations
        if key not in self._intervals:
            answer = self.ensemble.certify_interval(self.rows, n_operations, threat=threat)
            self._intervals[key] = answer[1:]
        lower, upper = self._intervals[key]
        bounded = (lower > -np.inf) | (upper < np.inf)
        return bounded & ~((lower <= y_pred) & (y_pred <= upper))
