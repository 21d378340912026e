"""What displays and reports ask of an estimator: which predictions are right, and their radii."""

import numpy as np

from .._certificate import certify, question_arguments
from ..certificates._bounds import within_tolerance
from ..metrics._accuracy import _proven_budgets
from ..metrics._scorers import check_tolerance, check_truth


def are_right(y_true, y_pred):
    """Return which predictions are right; refuse what cannot be compared."""
    return _proven_budgets(y_true, y_pred, np.zeros(len(y_pred), dtype=np.int64)) == 0


def ask(estimator, X, y, *, threat=None, tolerance=None, target=None, top_k=None):
    """Certify test rows whose truth is known.

    Parameters
    ----------
    estimator : fitted estimator
        As :func:`certified_ensembles.certify` takes it.
    X : array-like of shape (n_samples, ...)
    y : array-like of shape (n_samples,)
        True labels, or numbers.
    threat : str or None, default=None
    tolerance : float or None, default=None
        The largest error of a number that counts as right.
    target, top_k
        Another question.

    Returns
    -------
    right : ndarray of shape (n_samples,), bool
        Which predictions are right.
    certificate : Certificate
        With a tolerance the radius counts until the error exceeds it, -1 where it does already.
    """
    asked = question_arguments(target, top_k)
    if tolerance is None:
        certificate = certify(estimator, X, threat, **asked)
        return are_right(y, certificate.y_pred), certificate
    lower, upper = within_tolerance(check_truth(y), check_tolerance(tolerance))
    certificate = certify(estimator, X, threat, lower=lower, upper=upper, **asked)
    words = f"within {tolerance:g} of the truth"
    return certificate.radius >= 0, certificate._replace(question=words)
