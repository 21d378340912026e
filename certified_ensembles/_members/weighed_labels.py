"""All training labels as voters, each with a weight that follows from features alone."""

import numpy as np

from ..certificates.flips import flips_from_margin
from ..certificates.linear import linear_smoother_radius, linear_smoother_winner
from ..certificates.smoothing import chernoff_log_error
from ..smoothers._classifiers import class_scores
from .base import BaseMembers


class WeighedLabels(BaseMembers):
    """One linear smoother on all rows: a label is a voter, and no model is trained on it.

    Parameters
    ----------
    smoother : LinearSmoother
        Fitted on the training rows.
    classes : ndarray of shape (n_classes,)
        Sorted labels.
    open_set : bool
        Whether labels may come that nobody has seen.
    """

    def __init__(self, smoother, classes, *, open_set):
        self.smoother, self.classes, self.open_set = smoother, classes, open_set

    def fit(self, codes):
        """Put the labels, as class indices, in the order of the weights."""
        self.codes = self.smoother.arrange(codes)
        return self

    def winners(self, X, **how):
        """Return the class index with the largest score for each test row."""
        n_classes = len(self.classes)
        (winner,) = self.smoother.map(
            lambda weights: (linear_smoother_winner(weights, self.codes, n_classes),), X
        )
        return winner

    def shares(self, X, **how):
        """Return the shares of the scores, of shape (n_samples, n_classes)."""
        return class_scores(self.smoother, X, self.codes, len(self.classes))[1]

    def certify(self, X, *, noise, certificate, **how):
        """Return winners, and the flips that each survives: exactly, or by label noise."""
        n_classes = len(self.classes)

        def certify_weights(weights):
            winner, radius = linear_smoother_radius(
                weights, self.codes, n_classes, open_set=self.open_set
            )
            if certificate == "exact":
                return winner, radius
            smoothed, log_error = chernoff_log_error(weights, self.codes, noise, n_classes)
            flips = flips_from_margin(
                log_error, noise, n_classes, certificate, max_radius=len(self.codes)
            )
            # What predict returns is the plain winner, so its own radius bounds the promise.
            return winner, np.where(smoothed == winner, np.minimum(flips, radius), -1)

        return self.smoother.map(certify_weights, X)
