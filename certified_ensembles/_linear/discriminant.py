"""Linear discriminants of many members in closed form, one by one.

A discriminant needs the singular values of a wide matrix, which the products of its few rows give
ten times faster than scikit-learn's decomposition.
"""

import numpy as np
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

from .trainer import batched_fit

# Singular values from products of rows: true down to a share of the largest, noise below one.
_EXACT, _NOISE = 1e-5, 1e-6
# Squares of larger numbers overflow.
_HUGE = 1e150


def supports(estimator):
    """Say whether :func:`fit_discriminants` gives what the estimator's own fit would."""
    return (
        estimator.solver == "svd"
        and estimator.shrinkage is None
        and estimator.priors is None
        and estimator.n_components is None
        and estimator.store_covariance is False
        and estimator.covariance_estimator is None
    )


@batched_fit(LinearDiscriminantAnalysis, supports)
def fit_discriminants(problems):
    """Fit linear discriminants; scikit-learn takes those that products cannot resolve."""
    for problem in problems:
        if _fit_discriminant(problem):
            continue
        try:
            problem.fit_alone()
        except (ValueError, IndexError, np.linalg.LinAlgError):
            # One hostile row must not stop the training of all members: this one ranks the
            # classes by their shares.
            if len(problem.X) <= len(problem.classes) or problem.largest < _HUGE:
                raise
            problem.X = np.zeros_like(problem.X)
            _fit_discriminant(problem)


def _fit_discriminant(problem):
    """Fit one discriminant, and say whether that could be done."""
    member, X, n, k = problem.member, problem.X, len(problem.X), len(problem.classes)
    if n <= k:
        return False  # scikit-learn says why
    means, counts = problem.class_means()
    priors = counts / n
    overall = priors @ means
    centred_means = means - overall
    # Within-class scatter with features in units of their deviation: to unit covariance.
    Z = X - means[problem.codes]
    deviation = Z.std(axis=0)
    deviation[deviation == 0] = 1.0
    Z *= 1 / (np.sqrt(n) * deviation)
    to_features, whitening = _whitening(Z, deviation, member.tol)
    if to_features is None:
        return False
    # Between-class scatter in these units: to its main directions.
    between = np.sqrt(counts / (k - 1))[:, None] * (centred_means @ to_features) @ whitening
    _, s, Vt = np.linalg.svd(between, full_matrices=False)
    rank = np.count_nonzero(s > member.tol * s.max(initial=0.0))
    scalings = to_features @ (whitening @ Vt[:rank].T)
    scores = centred_means @ scalings
    coef = scores @ scalings.T
    intercept = -0.5 * np.add.reduce(scores**2, axis=1) + np.log(priors) - overall @ coef.T
    if not (np.isfinite(coef).all() and np.isfinite(intercept).all()):
        return False
    if k == 2:
        coef, intercept = coef[1:] - coef[:1], intercept[1:] - intercept[:1]
    member.classes_, member.n_features_in_, member.priors_ = problem.classes, X.shape[1], priors
    member.means_, member.xbar_, member.scalings_ = means, overall, scalings
    member._max_components = member._n_features_out = min(k - 1, X.shape[1])
    member.explained_variance_ratio_ = (s**2 / np.sum(s**2))[: member._max_components]
    member.coef_, member.intercept_ = coef, intercept
    return True


def _whitening(Z, deviation, tol):
    """Return factors of the map to coordinates in which the scatter is the identity.

    Returns
    -------
    to_features : ndarray of shape (n_features, m), or None if products cannot resolve Z
        The map from `m` coordinates, of rows or of features, to weights of features.
    whitening : ndarray of shape (m, rank)
    """
    wide = Z.shape[0] < Z.shape[1]
    products = Z @ Z.T if wide else Z.T @ Z
    if not np.isfinite(products).all():
        return None, None
    squares, vectors = np.linalg.eigh(products)
    values = np.sqrt(np.maximum(squares, 0))
    largest = values[-1]
    is_clear = (values > _EXACT * largest) | (values <= _NOISE * largest)
    if not (is_clear.all() and tol >= _NOISE * largest):
        return None, None
    kept = values > max(tol, _NOISE * largest)
    values, vectors = values[kept], vectors[:, kept]
    if wide:
        return (Z / deviation).T, vectors / values**2
    return vectors / deviation[:, None] / values, np.eye(len(values))
