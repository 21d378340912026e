"""Inserted rows respect the radius, and bite beyond it."""

import numpy as np
import pytest
import scipy.sparse as sp
from sklearn.base import clone
from sklearn.datasets import load_digits
from sklearn.linear_model import RidgeClassifier
from sklearn.neighbors import KNeighborsClassifier

from certified_ensembles import DeepPartitionAggregation
from certified_ensembles.attacks import (
    insert_rows,
)
from certified_ensembles.hashers import ContentHasher


@pytest.fixture(scope="module")
def digits():
    X, y = load_digits(return_X_y=True)
    return X[:400].astype(np.uint8), y[:400], X[400:412].astype(np.uint8)


INSERTED = {
    "content": {},
    "pixel sum": {"hasher": "pixel_sum"},
    "labels hashed": {"hasher": ContentHasher(include_labels=True)},
    "secret key": {"hasher": ContentHasher(key="secret")},
    "own hasher": {
        "hasher": lambda A: np.asarray(A, dtype=int).reshape(len(A), -1)[:, ::3].sum(1)
    },
    "finite aggregation": {"spread_degree": 2},
    "run-off": {"aggregation": "run_off"},
    "open set": {"classes": None},
}


@pytest.mark.parametrize("params", INSERTED.values(), ids=INSERTED)
def test_inserted_rows_respect_the_radius_and_bite_beyond_it(digits, params):
    X, y, X_test = digits
    params = {"classes": range(10)} | params
    clf = DeepPartitionAggregation(KNeighborsClassifier(1), 15, **params)
    clean = clone(clf).fit(X, y)
    y_pred, radius = clean.certify(X_test)
    certified = np.flatnonzero(radius > 0)[:2]
    bites = 0
    for i in certified:
        for budget in (radius[i], radius[i] + 3):
            X_bad, y_bad = insert_rows(clean, X, y, X_test[[i]], budget)
            assert len(X_bad) == len(y_bad) == len(y) + budget
            assert X_bad.dtype == X.dtype
            np.testing.assert_array_equal(X_bad[: len(X)], X)
            assert X_bad.max() <= X.max()
            attacked = clone(clf).fit(X_bad, y_bad)
            changed = (attacked.ballots(X_test[[i]]) != clean.ballots(X_test[[i]])).sum()
            assert changed > 0  # the nearest neighbour is the inserted row
            if budget == radius[i]:
                assert attacked.predict(X_test[[i]])[0] == y_pred[i]
            else:
                bites += attacked.predict(X_test[[i]])[0] != y_pred[i]
    assert bites


def test_inserted_rows_land_in_partitions_of_the_winner(digits):
    X, y, X_test = digits
    clean = DeepPartitionAggregation(KNeighborsClassifier(1), 15).fit(X, y)
    for n_each in (1, 3):
        X_bad, y_bad = insert_rows(clean, X, y, X_test[:1], 6, rows_per_partition=n_each)
        attacked = clone(clean).fit(X_bad, y_bad)
        partitions, counts = np.unique(attacked.partition_[len(y) :], return_counts=True)
        assert counts.tolist() == [n_each] * (6 // n_each)
        winner = clean.predict(X_test[:1])
        votes = clean.classes_[clean.ballots(X_test[:1])[0]]
        assert (votes[partitions] == winner).all()
        assert len(np.unique(y_bad[len(y) :])) == 1
        assert y_bad[-1] != winner


CONTAINERS = {
    "integers": lambda X: X.astype(np.int64),
    "images": lambda X: X.reshape(-1, 8, 8, 1),
    "floats": lambda X: (X / 7).astype(np.float32),
    "whole floats": lambda X: X.astype(float),
    "csr": lambda X: sp.csr_matrix(X / 7),
    "list": lambda X: X.tolist(),
    "text": lambda X: [" ".join(map(str, row)) for row in X],
}


class FirstLabel(KNeighborsClassifier):
    """Takes any container: it looks at labels only."""

    def fit(self, X, y):
        self.classes_ = np.unique(y)
        return self

    def predict(self, X):
        return np.full(X.shape[0] if hasattr(X, "shape") else len(X), self.classes_[0])


@pytest.mark.parametrize("convert", CONTAINERS.values(), ids=CONTAINERS)
def test_rows_of_any_container_are_varied_little(digits, convert):
    X, y, X_test = digits
    X, x_test = convert(X), convert(X_test[:1])
    clean = DeepPartitionAggregation(FirstLabel(), 7, classes=range(10)).fit(X, y)
    X_bad, y_bad = insert_rows(clean, X, y, x_test, 5)
    assert len(y_bad) == len(y) + 5
    clone(clean).fit(X_bad, y_bad)
    new = X_bad[len(y) :]
    if isinstance(new, list):
        assert {row.rstrip() for row in new} == {x_test[0]}
        return
    new = new.toarray() if sp.issparse(new) else new
    old = x_test.toarray() if sp.issparse(x_test) else np.asarray(x_test)
    whole = new.dtype.kind in "iu" or (new == np.rint(new)).all()
    assert np.abs(new.astype(float) - old).max() <= (1 if whole else 0.02)


def test_insertions_depend_on_the_random_state_only(digits):
    X, y, X_test = digits
    clean = DeepPartitionAggregation(KNeighborsClassifier(1), 15).fit(X, y)
    one, same, other = (
        insert_rows(clean, X, y, X_test[:1], 4, random_state=seed)[0] for seed in (0, 0, 1)
    )
    np.testing.assert_array_equal(one, same)
    assert (one != other).any()


def test_fewer_rows_are_inserted_where_tries_do_not_suffice(digits):
    X, y, X_test = digits
    clean = DeepPartitionAggregation(KNeighborsClassifier(1), 15).fit(X, y)
    X_bad, y_bad = insert_rows(clean, X, y, X_test[:1], 8, max_tries=2)
    assert len(X_bad) == len(y_bad) <= len(y) + 2
    X_bad, y_bad = insert_rows(clean, X, y, X_test[:1], 0)
    np.testing.assert_array_equal(X_bad, X)
    np.testing.assert_array_equal(y_bad, y)


def test_insertions_are_refused_where_they_make_no_sense(digits):
    X, y, X_test = digits
    clean = DeepPartitionAggregation(KNeighborsClassifier(1), 5).fit(X, y)
    with pytest.raises(ValueError, match="must be one row"):
        insert_rows(clean, X, y, X_test[:2], 1)
    with pytest.raises(ValueError, match="rows_per_partition"):
        insert_rows(clean, X, y, X_test[:1], 1, rows_per_partition=0)
    with pytest.raises(ValueError, match="max_tries"):
        insert_rows(clean, X, y, X_test[:1], 1, max_tries=0.5)
    with pytest.raises(ValueError, match="cannot be varied"):
        insert_rows(clean, X.astype(object), y, X_test[:1], 1)
    with pytest.raises(ValueError, match="DeepPartitionAggregation"):
        insert_rows(RidgeClassifier(), X, y, X_test[:1], 1)
    with pytest.raises(ValueError, match="1 class only"):
        insert_rows(clone(clean).fit(X, np.zeros(len(y), int)), X, y, X_test[:1], 1)
    with pytest.raises(ValueError, match="fitted with groups"):
        insert_rows(clone(clean).fit(X, y, groups=np.arange(400) % 20), X, y, X_test[:1], 1)
