"""Nets so small that training them takes a moment, of every kind that is stacked."""

import numpy as np
import pytest
from sklearn.datasets import load_digits

torch = pytest.importorskip("torch", reason="needs the extra [torch]")
skorch = pytest.importorskip("skorch", reason="needs the extra [torch]")

import torch.nn.functional as F  # noqa: E402
from torch import nn  # noqa: E402

from certified_ensembles.nets import (  # noqa: E402
    ConvHead,
    LinearHead,
    NetworkInNetwork,
    ResNet18,
    SeededNetClassifier,
)

DIGITS, Y = load_digits(return_X_y=True)
IMAGES = DIGITS.astype(np.uint8).reshape(-1, 1, 8, 8)


class SmallConv(nn.Module):
    """Odd numbers of channels, biases, both kinds of pooling and of sums."""

    def __init__(self, in_channels, n_classes, channels=5):
        super().__init__()
        self.first = nn.Conv2d(in_channels, channels, 3, padding=1)
        self.norm = nn.BatchNorm2d(channels)
        self.pool = nn.MaxPool2d(2)
        self.second = nn.Conv2d(channels, channels, 3, padding=1, stride=1)
        self.out = nn.Linear(channels * 4, n_classes)

    def forward(self, x):
        x = self.pool(F.relu(self.norm(self.first(x))))
        x = F.relu(self.second(x)) + x
        return self.out(torch.flatten(nn.functional.relu(self.pool(x)), 1))


class Perceptron(nn.Module):
    """A hidden layer of odd width, normalised."""

    def __init__(self, n_features, n_classes, width=13):
        super().__init__()
        self.layers = nn.Sequential(
            nn.Flatten(),
            nn.Linear(n_features, width),
            nn.BatchNorm1d(width),
            nn.Tanh(),
            nn.Linear(width, n_classes, bias=False),
        )

    def forward(self, x):
        return self.layers(x)


NETS = {
    "conv": (SmallConv, {}),
    "perceptron": (Perceptron, {}),
    "nin": (NetworkInNetwork, {"module__width": 0.06}),
    "resnet": (ResNet18, {"module__width": 3}),
    "conv_head": (ConvHead, {"module__channels": 7, "module__in_channels": 1}),
    "linear": (LinearHead, {}),
}


def net_of(name, **params):
    module, own = NETS[name]
    usual = {
        "classes": range(10),
        "max_epochs": 2,
        "lr": 0.05,
        "batch_size": 8,
        "optimizer__momentum": 0.9,
        "optimizer__nesterov": True,
        "optimizer__weight_decay": 5e-4,
    }
    return SeededNetClassifier(module, **(usual | own | params))


def weights_of(member):
    return torch.cat([v.double().flatten() for v in member.module_.state_dict().values()])


def assert_same_bits(one, other, X=IMAGES[:50]):
    for a, b in zip(
        one.module_.state_dict().values(), other.module_.state_dict().values(), strict=True
    ):
        np.testing.assert_array_equal(a.numpy(), b.numpy())  # NaN equals NaN
    np.testing.assert_array_equal(one.decision_function(X), other.decision_function(X))
