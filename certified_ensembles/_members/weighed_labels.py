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

    def fit(self, codes, groups=None):
        """Put the labels, as class indices, in the order of the weights.

        Parameters
        ----------
        codes : ndarray of shape (n_train,), int
        groups : ndarray of shape (n_train,), int, default=None
            Numbers of the annotators, from 0 on. If given, exact radii count these.

        Returns
        -------
        self : WeighedLabels
        """
        # Copies of a row have one weight: what tells them apart is arranged as one number.
        n_groups = 1 if groups is None else groups.max() + 1
        own = codes * n_groups + (0 if groups is None else groups)
        self.codes, numbers = np.divmod(self.smoother.arrange(own), n_groups)
        self.groups = None if groups is None else numbers
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
        """Return winners, and the flips that each survives: exactly, or by label noise.

        Of annotators, the exact certificate counts those; the others count labels.
        """
        n_classes = len(self.classes)

        def certify_weights(weights):
            exact = certificate == "exact"
            winner, radius = linear_smoother_radius(
                weights,
                self.codes,
                n_classes,
                groups=self.groups if exact else None,
                open_set=self.open_set,
            )
            if exact:
                return winner, radius
            smoothed, log_error = chernoff_log_error(weights, self.codes, noise, n_classes)
            flips = flips_from_margin(
                log_error, noise, n_classes, certificate, max_radius=len(self.codes)
            )
            # What predict returns is the plain winner, so its own radius bounds the promise.
            return winner, np.where(smoothed == winner, np.minimum(flips, radius), -1)

        return self.smoother.map(certify_weights, X)
