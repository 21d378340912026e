"""All training targets, each with a weight that follows from features alone."""

import numpy as np

from ..certificates import linear_smoother_interval, linear_smoother_interval_radius
from ..certificates.linear_interval import weighted_sums


class WeighedTargets:
    """One linear smoother on all rows: a prediction is a weighted sum of targets.

    Parameters
    ----------
    smoother : LinearSmoother
        Fitted on the training rows.
    """

    def __init__(self, smoother):
        self.smoother = smoother

    def fit(self, y, groups=None):
        """Put the targets in the order of the weights.

        Parameters
        ----------
        y : ndarray of shape (n_train,), float64
        groups : ndarray of shape (n_train,), int, default=None
            Numbers of the annotators, from 0 on. If given, certificates count these.

        Returns
        -------
        self : WeighedTargets
        """
        # Copies of a row have one weight: what tells them apart is arranged as one number.
        known, codes = np.unique(y, return_inverse=True)
        n_groups = 1 if groups is None else groups.max() + 1
        own = codes * n_groups + (0 if groups is None else groups)
        codes, numbers = np.divmod(self.smoother.arrange(own), n_groups)
        self.y, self.groups = known[codes], None if groups is None else numbers
        return self

    def values(self, X):
        """Return the predictions; NaN where no training row has any weight."""
        (values,) = self.smoother.map(lambda weights: (self._values(self._scaled(weights)),), X)
        return values

    def intervals(self, X, n_changed, bounds):
        """Return predictions, and what they stay between while some targets move in bounds."""

        def certify_weights(weights):
            weights = self._scaled(weights)
            lower, upper = linear_smoother_interval(
                weights, self.y, n_changed, bounds, groups=self.groups
            )
            values = self._values(weights)
            unknown = np.isnan(values)
            return values, np.where(unknown, -np.inf, lower), np.where(unknown, np.inf, upper)

        return self.smoother.map(certify_weights, X)

    def certify(self, X, bounds, allowed):
        """Return predictions, and the targets that may move while each stays where allowed.

        Parameters
        ----------
        X : test rows
        bounds : tuple of float
            Of the targets.
        allowed : callable
            ``allowed(values, rows)`` returns the smallest and the largest prediction allowed at a
            slice of the rows.
        """

        def certify_weights(weights, rows):
            weights = self._scaled(weights)
            values = self._values(weights)
            radius = linear_smoother_interval_radius(
                weights, self.y, *allowed(values, rows), bounds, groups=self.groups
            )
            return values, np.where(np.isnan(values), -1, radius)

        return self.smoother.map(certify_weights, X, tell_rows=True)

    def _scaled(self, weights):
        """Return votes as shares, and other weights as they are."""
        if not self.smoother.casts_votes:
            return weights
        total = np.add.reduce(weights, axis=1, keepdims=True)
        return np.divide(weights, total, out=np.zeros_like(weights), where=total > 0)

    def _values(self, weights):
        values = weighted_sums(weights, self.y)
        if self.smoother.casts_votes:
            values[~weights.any(axis=1)] = np.nan
        return values
