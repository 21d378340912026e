"""Families of weights of linear smoothers: of every scale, with ties and without."""

import numpy as np


def gaussian(rng, n, n_train):
    return rng.normal(size=(n, n_train)) + rng.uniform(0, 1) * (rng.random(n_train) < 0.4)


def misleading_sample(rng, n, n_train):
    """What a sample of every fourth column sees is nothing like the rest."""
    weights = rng.normal(size=(n, n_train))
    weights[:, ::4] *= rng.choice([0.0, 1e-3, 30.0])
    return weights


FAMILIES = {
    "gaussian": gaussian,
    "float32": lambda rng, n, m: gaussian(rng, n, m).astype(np.float32),
    "votes": lambda rng, n, m: rng.integers(0, 2, (n, m)).astype(float),
    "signed votes, int": lambda rng, n, m: rng.choice([-1, 1], (n, m)),
    "votes, bool": lambda rng, n, m: rng.random((n, m)) < 0.3,
    "neighbours, 1 / k": lambda rng, n, m: (
        (rng.random((n, m)) < 0.5) / rng.integers(3, 50, (n, 1))
    ),
    "multiples of a third": lambda rng, n, m: rng.integers(-2, 3, (n, m)) / 3,
    "tenths": lambda rng, n, m: rng.choice([0.1, 0.2, 0.3, -0.1], (n, m)),
    "hundreds of scales": lambda rng, n, m: (
        rng.normal(size=(n, m)) * 10.0 ** rng.integers(-300, 300, m)
    ),
    "subnormal": lambda rng, n, m: rng.integers(-5, 6, (n, m)) * 5e-324,
    "zeros": lambda rng, n, m: np.zeros((n, m)),
    "a misleading sample": misleading_sample,
}
