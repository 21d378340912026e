"""The cache of members recalls what did not change, and nothing else."""

import joblib
import numpy as np
import pytest
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.tree import DecisionTreeClassifier

from certified_ensembles import DeepPartitionAggregation

pytestmark = [
    # Partitions without rows are the point of some of these tests.
    pytest.mark.filterwarnings("ignore:The certificate is weaker:UserWarning"),
]


class Counted(ClassifierMixin, BaseEstimator):
    """Notes every training in a file, and may fail on its n-th."""

    def __init__(self, log="", random_state=None):
        self.log, self.random_state = log, random_state

    def fit(self, X, y):
        with open(self.log, "a") as file:
            file.write(f"{len(y)}\n")
        with open(self.log + ".limit") as file:
            if n_trained(self.log) > int(file.read()):
                raise KeyboardInterrupt
        self.model_ = DecisionTreeClassifier(random_state=0).fit(X, y)
        self.classes_ = self.model_.classes_
        return self

    def predict(self, X):
        return self.model_.predict(X)


def n_trained(log):
    with open(log) as file:
        return len(file.readlines())


@pytest.fixture
def counted(tmp_path):
    """Return an ensemble with a cache, and functions to count and to limit its trainings."""
    log = str(tmp_path / "log")
    open(log, "w").close()

    def limit(n):
        with open(log + ".limit", "w") as file:
            file.write(str(n))

    limit(10**6)
    model = DeepPartitionAggregation(
        Counted(log), 10, memory=joblib.Memory(tmp_path / "cache", verbose=0)
    )
    return model, lambda: n_trained(log), limit


def two_class_rows():
    X = np.arange(80.0)[:, None]
    return X, np.array(["ham", "spam"])[np.arange(80) // 10 % 2]


def by_value(A):
    return A[:, 0].astype(int)


def test_changed_row_retrains_its_partition_only(counted):
    model, n_trained, _ = counted
    model.set_params(hasher=by_value)
    X, y = two_class_rows()
    model.fit(X, y)
    assert n_trained() == 10
    expected = model.ballots(X)
    order = np.random.default_rng(0).permutation(80)
    model.fit(np.asfortranarray(X[order].astype(np.float32)), y[order])
    assert n_trained() == 10
    np.testing.assert_array_equal(model.ballots(X), expected)
    y_flipped = y.copy()
    y_flipped[13] = "ham"
    model.fit(X, y_flipped)
    assert n_trained() == 11
    model.fit(X[1:], y[1:])
    assert n_trained() == 12
    moved = X.copy()
    moved[5] = 86  # from partition 5 to partition 6
    model.fit(moved, y)
    assert n_trained() == 14


def test_longer_new_label_retrains_one_partition(counted):
    model, n_trained, _ = counted
    model.set_params(hasher=by_value)
    X, y = two_class_rows()
    model.fit(X, y)
    model.fit(np.vstack([X, [[83.0]]]), np.append(y, "a much longer label than the others"))
    assert n_trained() == 11


def test_row_in_double_precision_retrains_one_partition(counted):
    model, n_trained, _ = counted
    model.set_params(hasher=by_value)
    X, y = two_class_rows()
    model.fit(X.astype(np.float32), y)
    model.fit(np.vstack([X.astype(np.float32), [[83 + 1e-12]]]), np.append(y, "ham"))
    assert n_trained() == 11


def test_interrupted_fit_resumes(counted):
    model, n_trained, limit = counted
    model.set_params(hasher=by_value)
    X, y = two_class_rows()
    limit(6)
    with pytest.raises(KeyboardInterrupt):
        model.fit(X, y)
    assert n_trained() == 7  # the seventh was cut short
    limit(10**6)
    model.fit(X, y)
    assert n_trained() == 7 + 4
    fresh = DeepPartitionAggregation(DecisionTreeClassifier(), 10, hasher=by_value).fit(X, y)
    np.testing.assert_array_equal(model.ballots(X), fresh.ballots(X))


def test_other_seed_or_parameter_is_not_recalled(counted):
    model, n_trained, _ = counted
    X, y = two_class_rows()
    model.fit(X, y)
    model.set_params(random_state=100).fit(X, y)
    assert n_trained() == 20
