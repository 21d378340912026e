"""Members that answer numbers, of which a median is taken."""

import numpy as np

from ..certificates import (
    lower_median,
    median_interval,
    median_window_interval,
    median_window_radius,
)
from ..certificates.medians import medians_and_radii
from ..certificates.threats import TIME_THREATS
from .periods import InTime
from .trained import TrainedMembers
from .values import iter_values


class MedianMembers(TrainedMembers):
    """Regressors on their own partition, which answers with the mean over its seeds.

    Parameters
    ----------
    As in `TrainedMembers`, with an estimator that predicts numbers.
    """

    is_regression = True

    def answers(self, X, **how):
        """Yield the answers of the partitions, of shape (n_rows, n_partitions), NaN for none."""
        for values in self._ask(iter_values, X, **how):
            yield values if self.n_seeds == 1 else mean_over_seeds(values, self.n_seeds)

    def medians(self, X, **how):
        """Yield the medians of the partitions."""
        return map(lower_median, self.answers(X, **how))

    def certify(self, X, *, bounds, threat, **how):
        """Yield medians, and the changed members that keep each of them within bounds.

        Parameters
        ----------
        X : test rows, as the members take them
        bounds : callable
            ``bounds(medians, rows)`` returns the smallest and the largest value allowed at a slice
            of the rows.
        threat : str
            Of one of time the radii count consecutive periods.
        **how
            `n_jobs` and `verbose`.
        """
        start = 0
        for answers in self.answers(X, **how):

            def own_bounds(medians, rows, start=start):
                return bounds(medians, slice(start + rows.start, start + rows.stop))

            if threat in TIME_THREATS:
                medians = lower_median(answers)
                low, high = own_bounds(medians, slice(0, len(answers)))
                yield medians, median_window_radius(answers, low, high, **self.window(threat))
            else:
                yield medians_and_radii(answers, own_bounds)
            start += len(answers)

    def intervals(self, X, *, n_changed, threat, **how):
        """Yield medians, and the bounds that they keep beside changed members, or periods."""
        for answers in self.answers(X, **how):
            if threat in TIME_THREATS:
                bounds = median_window_interval(answers, n_changed, **self.window(threat))
            else:
                bounds = median_interval(answers, n_changed)
            yield lower_median(answers), *bounds


class MedianPeriodMembers(InTime, MedianMembers):
    """Regressors in the order of time."""

    def window(self, threat):
        """Return how windows of time reach members."""
        return {"width": self.width, "newest": threat == "earliness", "open_ends": True}


def mean_over_seeds(values, n_seeds):
    """Return the answers of partitions: the means over the members of each of them.

    Parameters
    ----------
    values : ndarray of shape (n_samples, n_partitions * n_seeds), float64
        Answers of members, those of one partition side by side; NaN for an abstention.
    n_seeds : int

    Returns
    -------
    means : ndarray of shape (n_samples, n_partitions), float64
        Added up in the order of the seeds: a mean depends on its own terms alone. NaN where any of
        the members abstains.
    """
    values = values.reshape(len(values), -1, n_seeds)
    sums = values[:, :, 0].copy()
    with np.errstate(invalid="ignore", over="ignore"):
        for j in range(1, n_seeds):  # a reduction of numpy's may take another order
            sums += values[:, :, j]
        return sums / n_seeds
