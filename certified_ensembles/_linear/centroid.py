"""Nearest centroids of many members, one by one.

Most of scikit-learn's time on a few dozen rows goes into checks that the ensemble has made once
for all members.
"""

import numpy as np
from sklearn.neighbors import NearestCentroid

from .trainer import batched_fit


def supports(estimator):
    """Say whether :func:`fit_centroids` gives what the estimator's own fit would."""
    return (
        estimator.metric == "euclidean"
        and estimator.priors == "uniform"
        and estimator.shrink_threshold is None
    )


@batched_fit(NearestCentroid, supports)
def fit_centroids(problems):
    """Fit nearest centroids; unlike scikit-learn, also where all rows are the same."""
    for problem in problems:
        member, X, n, k = problem.member, problem.X, len(problem.X), len(problem.classes)
        member.classes_, member.n_features_in_ = problem.classes, X.shape[1]
        member.class_prior_ = np.full(k, 1 / k)
        member.centroids_, counts = problem.class_means()
        squares = X - member.centroids_[problem.codes]
        squares *= squares
        deviation = np.sqrt(np.add.reduce(squares, axis=0) / (n - k))
        member.within_class_std_dev_ = deviation
        mean = np.add.reduce(X, axis=0) / n
        scale = np.sqrt(1 / counts - 1 / n)[:, None] * (deviation + np.median(deviation))
        member.deviations_ = (member.centroids_ - mean) / scale
