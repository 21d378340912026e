"""Training rows that make members tie."""

import numpy as np


def coarse_set(n=24, seed=0):
    """Return rows on a coarse grid, so that members often tie exactly, and three labels."""
    rng = np.random.default_rng(seed)
    X = rng.integers(0, 3, (n, 2)).astype(float)
    y = np.where(X[:, 0] + rng.integers(0, 2, n) > 1.5, 2, 1)
    y[X[:, 1] > 1.5] = 3
    return X, y
