"""Nets that answer with numbers: targets reach them as columns of single precision."""

import numpy as np
import pytest
from sklearn.datasets import load_diabetes

from certified_ensembles import DeepPartitionRegressor

torch = pytest.importorskip("torch")
skorch = pytest.importorskip("skorch")


class Net(torch.nn.Module):
    """One hidden layer."""

    def __init__(self):
        super().__init__()
        self.layers = torch.nn.Sequential(
            torch.nn.Linear(10, 8), torch.nn.ReLU(), torch.nn.Linear(8, 1)
        )

    def forward(self, X):
        return self.layers(X)


def test_nets_are_members_that_depend_on_their_own_rows_alone():
    X, y = load_diabetes(return_X_y=True)
    X, y = X[:120], y[:120] / 100
    net = skorch.NeuralNetRegressor(Net, max_epochs=3, lr=0.05, verbose=0, train_split=None)
    reg = DeepPartitionRegressor(net, 4, on_error="abstain").fit(X, y)
    answers = reg.answers(X[:9])
    order = np.random.default_rng(0).permutation(120)
    again = DeepPartitionRegressor(net, 4, on_error="abstain").fit(X[order], y[order])
    np.testing.assert_array_equal(again.answers(X[:9]), answers)
    np.testing.assert_array_equal(reg.answers(X[3:4]), answers[3:4])
    # A target beyond single precision is one member's affair.
    attacked = DeepPartitionRegressor(net, 4, on_error="abstain")
    attacked.fit(np.vstack([X, X[:1]]), np.append(y, 1e300))
    changed = (attacked.answers(X[:9]) != answers).any(axis=0)
    assert changed.tolist() == [i == attacked.partition_[-1] for i in range(4)]
