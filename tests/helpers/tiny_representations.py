"""Every unsupervised network, so small that a fit takes a moment."""

import numpy as np
import pytest
from sklearn.base import clone

torch = pytest.importorskip("torch")
pytest.importorskip("skorch")
from certified_ensembles.datasets import load_digits  # noqa: E402
from certified_ensembles.nets._self_supervised.rotnet import RotNet  # noqa: E402
from certified_ensembles.nets._self_supervised.simclr import SimCLR  # noqa: E402

_DIGITS = load_digits()
X, Y = _DIGITS.images[:40], _DIGITS.target[:40]
# A second row of each image that a fit must count, and none that it may tell apart.
X_COPIES = np.concatenate([X, X[:5]])

TINY = {
    "rotnet": RotNet(width=0.05, epochs=3, batch_size=16, padding=1, learning_rate=0.02),
    "simclr": SimCLR(
        width=2,
        epochs=3,
        batch_size=16,
        warmup=1,
        flip=False,
        value_range=(0, 16),
        learning_rate=0.02,
        n_projected=8,
    ),
}
every = pytest.mark.parametrize("name", TINY)


def tiny(name, **params):
    return clone(TINY[name]).set_params(**params)


def weights(fitted):
    return [value.numpy().copy() for value in fitted.module_.state_dict().values()]


def same(first, second):
    pairs = zip(weights(first), weights(second), strict=True)
    return all(np.array_equal(a, b) for a, b in pairs)


def steps_of_fit(estimator, rows):
    """Fit, and return how many steps the optimiser took."""
    with pytest.MonkeyPatch.context() as patch:
        taken, step = [], torch.optim.SGD.step
        patch.setattr(
            torch.optim.SGD, "step", lambda self, *a, **k: (taken.append(1), step(self, *a, **k))
        )
        estimator.fit(rows)
    return len(taken)
