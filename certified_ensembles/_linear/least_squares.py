"""Least squares of many members, each by the solver that scikit-learn calls."""

import numpy as np
from scipy.linalg import lstsq
from sklearn.linear_model import LinearRegression

from .problems import RegressionProblem, centre_rows
from .trainer import batched_fit


def supports(estimator):
    """Say whether :func:`fit_least_squares` gives what the estimator's own fit would."""
    return not estimator.positive


@batched_fit(LinearRegression, supports, RegressionProblem)
def fit_least_squares(problems):
    """Fit linear regressions by singular values: rows may be few, and columns dependent.

    Nothing is shared by members but the time that scikit-learn takes to look at each of them.
    """
    for problem in problems:
        member, y = problem.member, problem.targets[:, 0]
        X = np.empty_like(problem.X, order="C")
        mean, y_mean = centre_rows(problem.X, X, member.fit_intercept), 0.0
        if member.fit_intercept:
            y_mean = y.mean()
            y = y - y_mean
        if not (np.isfinite(y).all() and np.isfinite(X).all()):
            problem.fit_alone()  # it says what is wrong
            continue
        solved = lstsq(X, y, cond=member.tol, check_finite=False)
        member.coef_, _, member.rank_, member.singular_ = solved
        member.n_features_in_ = X.shape[1]
        member.intercept_ = y_mean - mean @ member.coef_ if member.fit_intercept else 0.0
