"""A fit that fails leaves the estimator as it was: old members never answer under new rules."""

import numpy as np
import pytest
from sklearn.datasets import load_digits
from sklearn.exceptions import NotFittedError
from sklearn.naive_bayes import GaussianNB

from certified_ensembles import (
    DeepPartitionAggregation,
    LabelFlipSmoothingClassifier,
    SemiSupervisedDPA,
)
from certified_ensembles.abstention import CertifiedAbstention
from certified_ensembles.neighbors import CertifiedKNeighborsClassifier

X, Y = load_digits(return_X_y=True)
TESTS, X, Y = X[400:450], X[:400], Y[:400]


class Breaks(GaussianNB):
    """Ends every fit while it is told to, by an error or as Ctrl-C does."""

    error = None

    def fit(self, X, y):
        if Breaks.error is not None:
            raise Breaks.error
        return super().fit(X, y)


@pytest.mark.parametrize("error", [OSError("disk"), KeyboardInterrupt()])
@pytest.mark.parametrize("make", [DeepPartitionAggregation, SemiSupervisedDPA])
def test_a_refit_that_ends_early_certifies_nothing_new(make, error, monkeypatch):
    clf = make(Breaks(), 12, classes=range(10)).fit(X, Y)
    threat = "replacement" if make is DeepPartitionAggregation else "label_flip"
    before, state = clf.certify(TESTS, threat), vars(clf).copy()
    monkeypatch.setattr(Breaks, "error", error)
    # Sources would cost one member an operation, where a replaced row costs two.
    how = {"groups": np.arange(400) % 100} if make is DeepPartitionAggregation else {}
    with pytest.raises(type(error)):
        clf.fit(X[:300], Y[:300] * 2 % 10, **{k: v[:300] for k, v in how.items()})
    assert vars(clf) == state
    for one, other in zip(before, clf.certify(TESTS, threat), strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize(
    "clf",
    [
        DeepPartitionAggregation(n_partitions=5),
        SemiSupervisedDPA(n_partitions=5),
        LabelFlipSmoothingClassifier(),
        CertifiedKNeighborsClassifier(3),
        CertifiedAbstention(DeepPartitionAggregation(n_partitions=5)),
    ],
)
def test_a_first_fit_that_fails_leaves_nothing_fitted(clf):
    with pytest.raises(ValueError, match="inconsistent"):
        clf.fit(X, Y[:-1])
    assert not [name for name in vars(clf) if name.endswith("_") or name.startswith("_")]
    with pytest.raises(NotFittedError):
        clf.predict(TESTS)
