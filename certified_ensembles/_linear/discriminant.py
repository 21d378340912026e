"""Nearest centroids and linear discriminants in closed form, member by member.

Most of scikit-learn's time on a few dozen rows goes into checks that the ensemble has made
once for all members; and a discriminant needs the singular values of a wide matrix, which the
products of its few rows give ten times faster.
"""

import numpy as np

# Singular values from products of rows: true down to a share of the largest, noise below one.
_EXACT, _NOISE = 1e-5, 1e-6
# Squares of larger numbers overflow.
_HUGE = 1e150


def _class_means(task):
    """Return the mean of each class, and the number of its rows."""
    counts = np.bincount(task.codes).astype(np.float64)
    own = (task.codes == np.arange(len(counts))[:, None]).astype(np.float64)
    return own @ task.X / counts[:, None], counts


# ---------------------------------------------------------------- nearest centroids


def is_plain_centroid(estimator):
    """Say whether `fit_centroids` gives what the estimator's own fit would."""
    return (
        estimator.metric == "euclidean"
        and estimator.priors == "uniform"
        and estimator.shrink_threshold is None
    )


def fit_centroids(tasks):
    """Fit nearest centroids; unlike scikit-learn, also where all rows are the same."""
    for task in tasks:
        head, X, n, k = task.head, task.X, len(task.X), len(task.classes)
        head.classes_, head.n_features_in_ = task.classes, X.shape[1]
        head.class_prior_ = np.full(k, 1 / k)
        head.centroids_, counts = _class_means(task)
        apart = X - head.centroids_[task.codes]
        apart *= apart
        spread = np.sqrt(np.add.reduce(apart, axis=0) / (n - k))
        head.within_class_std_dev_ = spread
        centre = np.add.reduce(X, axis=0) / n
        scale = np.sqrt(1 / counts - 1 / n)[:, None] * (spread + np.median(spread))
        head.deviations_ = (head.centroids_ - centre) / scale


# ---------------------------------------------------------------- linear discriminants


def is_plain_lda(estimator):
    """Say whether `fit_ldas` gives what the estimator's own fit would."""
    return (
        estimator.solver == "svd"
        and estimator.shrinkage is None
        and estimator.priors is None
        and estimator.n_components is None
        and estimator.store_covariance is False
        and estimator.covariance_estimator is None
    )


def fit_ldas(tasks):
    """Fit linear discriminants; scikit-learn takes those that products cannot resolve."""
    for task in tasks:
        if _fit_lda(task):
            continue
        try:
            task.fit_alone()
        except (ValueError, IndexError, np.linalg.LinAlgError):
            # One hostile row must not stop the training of all members: this one ranks the
            # classes by their shares.
            if len(task.X) <= len(task.classes) or task.largest < _HUGE:
                raise
            task.X = np.zeros_like(task.X)
            _fit_lda(task)


def _fit_lda(task):
    """Fit one discriminant, and say whether that could be done."""
    head, X, n, k = task.head, task.X, len(task.X), len(task.classes)
    if n <= k:
        return False  # scikit-learn says why
    means, counts = _class_means(task)
    priors = counts / n
    overall = priors @ means
    apart = means - overall
    # Within-class scatter with features in units of their deviation: to unit covariance.
    Z = X - means[task.codes]
    deviation = Z.std(axis=0)
    deviation[deviation == 0] = 1.0
    Z *= 1 / (np.sqrt(n) * deviation)
    lift, mix = _whitening(Z, deviation, head.tol)
    if lift is None:
        return False
    # Between-class scatter in these units: to its main directions.
    between = np.sqrt(counts / (k - 1))[:, None] * (apart @ lift) @ mix
    _, s, Vt = np.linalg.svd(between, full_matrices=False)
    rank = np.count_nonzero(s > head.tol * s.max(initial=0.0))
    scalings = lift @ (mix @ Vt[:rank].T)
    scores = apart @ scalings
    coef = scores @ scalings.T
    intercept = -0.5 * np.add.reduce(scores**2, axis=1) + np.log(priors) - overall @ coef.T
    if not (np.isfinite(coef).all() and np.isfinite(intercept).all()):
        return False
    if k == 2:
        coef, intercept = coef[1:] - coef[:1], intercept[1:] - intercept[:1]
    head.classes_, head.n_features_in_, head.priors_ = task.classes, X.shape[1], priors
    head.means_, head.xbar_, head.scalings_ = means, overall, scalings
    head._max_components = head._n_features_out = min(k - 1, X.shape[1])
    head.explained_variance_ratio_ = (s**2 / np.sum(s**2))[: head._max_components]
    head.coef_, head.intercept_ = coef, intercept
    return True


def _whitening(Z, deviation, tol):
    """Return factors of the map to coordinates in which the scatter is the identity.

    Returns
    -------
    lift : ndarray of shape (n_features, m), or None if products cannot resolve Z
    mix : ndarray of shape (m, rank)
    """
    wide = Z.shape[0] < Z.shape[1]
    products = Z @ Z.T if wide else Z.T @ Z
    if not np.isfinite(products).all():
        return None, None
    squares, vectors = np.linalg.eigh(products)
    values = np.sqrt(np.maximum(squares, 0))
    largest = values[-1]
    sure = (values > _EXACT * largest) | (values <= _NOISE * largest)
    if not (sure.all() and tol >= _NOISE * largest):
        return None, None
    kept = values > max(tol, _NOISE * largest)
    values, vectors = values[kept], vectors[:, kept]
    if wide:
        return (Z / deviation).T, vectors / values**2
    return vectors / deviation[:, None] / values, np.eye(len(values))
