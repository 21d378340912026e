"""What every certifying estimator returns, and how it says that a promise is void."""

from typing import NamedTuple

import numpy as np


class CertificateWarning(UserWarning):
    """A guarantee is void, or weaker than it looks; the message says which one and the remedy."""


class Certificate(NamedTuple):
    """Predictions and the number of poisoning operations that each one provably survives.

    Unpacks as ``y_pred, radius = estimator.certify(X)``.

    Attributes
    ----------
    y_pred : ndarray of shape (n_samples,)
        Predicted labels, the same as ``predict`` returns.
    radius : ndarray of shape (n_samples,), int64
        The certified number of operations of the threat (for instance insertions plus
        deletions of training rows) that cannot change ``y_pred``; -1 where the estimator
        abstains and nothing is promised.
    """

    y_pred: np.ndarray
    radius: np.ndarray
