"""Ridge classifiers, and ridge regressions, of many members by their closed form, in batches."""

import copy
import functools
from numbers import Real

import numpy as np
from sklearn.linear_model import Ridge, RidgeClassifier

from .cholesky import solutions
from .problems import RegressionProblem, groups_of, row_stacks
from .trainer import batched_fit


def supports(estimator):
    """Say whether :func:`fit_ridges` gives what the estimator's own fit would."""
    return (
        estimator.solver in ("auto", "cholesky")
        and getattr(estimator, "class_weight", None) is None
        and not estimator.positive
        and isinstance(estimator.alpha, Real)
        and 0 < estimator.alpha < np.inf
    )


@batched_fit(RidgeClassifier, supports)
def fit_ridges(problems):
    """Fit ridge classifiers, in row or feature space by each one's own shape."""
    _fit_all(problems, _set_fitted_attributes)


@batched_fit(Ridge, supports, RegressionProblem)
def fit_ridge_regressions(problems):
    """Fit ridge regressions, in row or feature space by each one's own shape."""
    _fit_all(problems, _set_fitted_regression)


def _fit_all(problems, finish):
    for _, group in groups_of(problems, _shape):
        for stack in row_stacks(group, group[0].member.fit_intercept):
            _fit_stack(*stack, finish)


def _shape(problem):
    return problem.wide, problem.n_padded, problem.X.shape[1], problem.n_outputs


def _fit_stack(group, X, X_mean, finish):
    alpha, centre = group[0].member.alpha, group[0].member.fit_intercept
    Y = np.zeros((*X.shape[:2], group[0].n_outputs))
    Y_mean = np.zeros((len(group), group[0].n_outputs))
    for problem, targets, mean in zip(group, Y, Y_mean, strict=True):
        own = problem.targets
        if centre:
            mean[:] = own.mean(axis=0)
            own -= mean
        targets[: len(own)] = own
    coef = _solve(X, Y, alpha, group[0].wide)
    finite = np.isfinite(coef).all(axis=(1, 2))
    for i in np.flatnonzero(~finite):
        n = len(group[i].X)
        coef[i] = _solve_hostile(X[i, :n], Y[i, :n], alpha, X_mean[i])
    intercept = Y_mean - (coef @ X_mean[:, :, None])[:, :, 0]
    for i, problem in enumerate(group):
        finish(problem, coef[i].copy(), intercept[i].copy() if centre else None)


def _solve(X, Y, alpha, wide):
    """Return the coefficients of a stack; not finite where double precision does not do."""
    Xt = X.transpose(0, 2, 1)
    system = X @ Xt if wide else Xt @ X
    diagonal = np.arange(system.shape[1])
    system[:, diagonal, diagonal] += alpha
    solution = solutions(system, Y if wide else Xt @ Y).transpose(0, 2, 1)
    return solution @ X if wide else np.ascontiguousarray(solution)


def _solve_hostile(X, Y, alpha, X_mean):
    """Return the coefficients of a member for whom alpha drowns or squares overflow.

    One hostile row must not stop the training of all members.
    """
    try:
        if not np.isfinite(X).all():  # sums overflow: LAPACK might never come back
            raise np.linalg.LinAlgError
        U, s, Vt = np.linalg.svd(X, full_matrices=False)
        return (U.T @ Y * np.where(s > 0, 1 / (s + alpha / s), 0)[:, None]).T @ Vt
    except np.linalg.LinAlgError:
        X_mean[:] = 0.0
        return np.zeros((Y.shape[1], X.shape[1]))


def _set_fitted_attributes(problem, coef, intercept):
    """Make the member what scikit-learn's own fit would, with these coefficients."""
    member, fitted = problem.member, _attributes_for(len(problem.classes))
    vars(member).update(fitted)
    classes = problem.classes
    if classes.dtype == object:
        classes = np.array(classes.tolist())
    member._label_binarizer = copy.copy(fitted["_label_binarizer"])
    member._label_binarizer.classes_ = classes
    if "classes_" in fitted:  # in some versions a property
        member.classes_ = classes
    # Whether two classes give one row of coefficients or a vector differs among versions.
    member.coef_ = coef.reshape(*fitted["coef_"].shape[:-1], -1)
    member.n_features_in_ = coef.shape[1]
    member.intercept_ = 0.0 if intercept is None else intercept.reshape(fitted["intercept_"].shape)


@functools.lru_cache(maxsize=256)
def _attributes_for(n_classes):
    """Return the attributes that scikit-learn's own fit sets for so many classes."""
    template = RidgeClassifier().fit(np.zeros((n_classes, 1)), np.arange(n_classes))
    return {
        name: value for name, value in vars(template).items() if name[0] == "_" or name[-1] == "_"
    }


def _set_fitted_regression(problem, coef, intercept):
    """Make the member what scikit-learn's own fit would, with these coefficients."""
    member = problem.member
    vars(member).update(_regression_attributes())
    member.coef_, member.n_features_in_ = coef[0], coef.shape[1]
    member.intercept_ = 0.0 if intercept is None else intercept[0]


@functools.lru_cache(maxsize=1)
def _regression_attributes():
    template = Ridge().fit(np.zeros((2, 1)), [0.0, 1.0])
    return {name: value for name, value in vars(template).items() if name[-1] == "_"}
