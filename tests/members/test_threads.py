"""Threads of BLAS and OpenMP round otherwise: there is one where members are trained and asked.

Workers of pytest-xdist have one thread to begin with, so each test here asks for more.
"""

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.datasets import load_digits
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression
from sklearn.naive_bayes import GaussianNB
from sklearn.pipeline import make_pipeline
from threadpoolctl import threadpool_info, threadpool_limits

from certified_ensembles import (
    DeepPartitionAggregation,
    LabelFlipSmoothingClassifier,
    SemiSupervisedDPA,
)

X, Y = load_digits(return_X_y=True)
X, X_TEST, Y = X[:300], X[300:340], Y[:300]


def n_threads():
    return max(pool["num_threads"] for pool in threadpool_info())


def limits():
    return {pool["filepath"]: pool["num_threads"] for pool in threadpool_info()}


SEEN = set()


class Member(GaussianNB):
    """Notes how many threads it could use."""

    def fit(self, X, y):
        SEEN.add(("fit", n_threads()))
        return super().fit(X, y)

    def predict(self, X):
        SEEN.add(("ask", n_threads()))
        return super().predict(X)

    def predict_proba(self, X):
        SEEN.add(("ask", n_threads()))
        return super().predict_proba(X)


class Representation(PCA):
    """Notes how many threads it could use."""

    def fit_transform(self, X, y=None):
        SEEN.add(("fit", n_threads()))
        return super().fit_transform(X)

    def fit(self, X, y=None):
        SEEN.add(("fit", n_threads()))
        return super().fit(X)

    def transform(self, X):
        SEEN.add(("ask", n_threads()))
        return super().transform(X)


CLASSIFIERS = {
    "members": DeepPartitionAggregation(Member(), 7),
    "members in a pipeline": DeepPartitionAggregation(make_pipeline(PCA(9), Member()), 7),
    "members that are ranked": DeepPartitionAggregation(Member(), 7, aggregation="run_off"),
    "members with several seeds": DeepPartitionAggregation(Member(), 7, n_seeds=2),
    "half-labelled members": SemiSupervisedDPA(Member(), 7),
    "a representation": SemiSupervisedDPA(n_partitions=7, representation=Representation(9)),
    "noisy members": LabelFlipSmoothingClassifier(
        Member(), certificate="monte_carlo", n_draws=5, classes=range(10)
    ),
    "a representation before a smoother": LabelFlipSmoothingClassifier(
        representation=Representation(9)
    ),
}


@pytest.mark.parametrize("clf", CLASSIFIERS.values(), ids=CLASSIFIERS)
def test_users_classes_run_on_one_thread_and_the_others_come_back(clf):
    SEEN.clear()
    with threadpool_limits(3):
        before = limits()
        clone(clf).fit(X, Y).certify(X_TEST)
        after = limits()  # other threads may load a library meanwhile
        assert {path: after.get(path, n) for path, n in before.items()} == before
        assert n_threads() == 3
    assert SEEN == {("fit", 1), ("ask", 1)}


@pytest.mark.parametrize("n_jobs", [None, 2])
def test_heads_and_smoothers_do_not_depend_on_the_threads(n_jobs):
    rng = np.random.default_rng(0)
    rows, tests = rng.normal(size=(1200, 400)), rng.normal(size=(300, 400))
    y = rng.integers(0, 5, 1200)
    for clf in (
        DeepPartitionAggregation(n_partitions=3, n_jobs=n_jobs),
        DeepPartitionAggregation(LogisticRegression(tol=1e-2), 3, n_jobs=n_jobs),
        LabelFlipSmoothingClassifier(n_jobs=n_jobs),
    ):
        answers = []
        for limit in (1, 3):
            with threadpool_limits(limit):
                fitted = clone(clf).fit(rows, y)
                weights = [
                    vars(member).get("coef_") for member in getattr(fitted, "estimators_", [])
                ]
                answers.append((fitted.certify(tests), weights))
        for one, other in zip(*(certificate for certificate, _ in answers), strict=True):
            np.testing.assert_array_equal(one, other)
        for one, other in zip(*(weights for _, weights in answers), strict=True):
            np.testing.assert_array_equal(one, other)
