"""What to expect of medians of regressors: plans for `planning.plan_partitions`."""

from time import perf_counter
from typing import NamedTuple

import numpy as np
from sklearn.base import is_regressor

from ._data.targets import as_targets, refuse_odd_targets
from ._data.training_rows import TrainingRows
from ._extras import import_pyplot
from ._members import MedianMembers
from ._units import NO_UNIT

# Medians and intervals imagined for every row.
_N_DRAWS = 32


def best_of(plan, scores, budget):
    """Return the smallest number of partitions that scores best at one budget of a plan."""
    column = np.flatnonzero(plan.budgets == budget)
    if not len(column):
        raise ValueError(
            f"budget={budget!r} is not among the budgets of this plan: pass it to "
            "plan_partitions, as one of `budgets`."
        )
    score = scores[:, column[0]]
    return int(plan.n_partitions[score == score.max()].min())


def draw_foreseen(plan, shares, words, ax, unit, curve_kwargs):
    """Draw the shares of a plan against its budgets; return the axes."""
    plt = import_pyplot("plot of a plan")
    if ax is None:
        _, ax = plt.subplots()
    style = {"linewidth": 2.0, **(curve_kwargs or {})}
    for k, share in zip(plan.n_partitions.tolist(), shares, strict=True):
        ax.plot(plan.budgets, share, label=f"{k:,} partitions", **style)
    ax.set_xlabel(f"Attacker's budget ({unit or NO_UNIT})")
    ax.set_ylabel(f"{words}\n(an estimate, no certificate)")
    ax.set_ylim(0, 1.03)
    ax.set_xlim(left=0)
    ax.yaxis.set_major_formatter(lambda share, _: f"{100 * share:g} %")
    ax.spines[["top", "right"]].set_visible(False)
    ax.legend(frameon=False)
    return ax


class MedianPlan(NamedTuple):
    """What to expect of each number of partitions of a regressor: estimates, not certificates.

    Attributes
    ----------
    n_partitions : ndarray of shape (n_plans,), int64
    n_sampled : ndarray of shape (n_plans,), int64
        Members that were trained for the estimate.
    member_error : ndarray of shape (n_plans,), float64
        Their mean absolute error.
    error : ndarray of shape (n_plans,), float64
        Mean absolute error of the median.
    budgets : ndarray of shape (n_budgets,), int64
    interval_width : ndarray of shape (n_plans, n_budgets), float64
        Median width of certified intervals at each budget.
    certified_within : ndarray of shape (n_plans, n_budgets), float64
        Share of rows whose error provably stays within the tolerance, at each budget.
    fit_seconds : ndarray of shape (n_plans,), float64
        Time to train all members, with the `n_jobs` of the plan.
    ask_seconds : ndarray of shape (n_plans,), float64
        Time to ask all members about 1000 rows.
    """

    n_partitions: np.ndarray
    n_sampled: np.ndarray
    member_error: np.ndarray
    error: np.ndarray
    budgets: np.ndarray
    interval_width: np.ndarray
    certified_within: np.ndarray
    fit_seconds: np.ndarray
    ask_seconds: np.ndarray

    def best(self, budget):
        """Return the number of partitions with the largest share within the tolerance.

        Parameters
        ----------
        budget : int
            Number of operations, one of ``budgets``.

        Returns
        -------
        n_partitions : int
            The smallest of the best.
        """
        return best_of(self, self.certified_within, budget)

    def plot(self, ax=None, *, unit=None, curve_kwargs=None):
        """Draw what is foreseen at each budget, one curve for each number of partitions.

        Parameters
        ----------
        ax : matplotlib Axes or None, default=None
            Where to draw; None makes a figure.
        unit : str or None, default=None
            What one operation is, such as "hostile senders".
        curve_kwargs : dict or None, default=None
            Keywords of the curves' ``Line2D``, such as ``linewidth``.

        Returns
        -------
        ax : matplotlib Axes

        Raises
        ------
        ImportError
            If matplotlib is not installed.
        """
        words = "Foreseen share within the tolerance"
        return draw_foreseen(self, self.certified_within, words, ax, unit, curve_kwargs)


class MedianPlanner:
    """Foresees medians from the answers of a few members of each size.

    Parameters
    ----------
    estimator : regressor
    rows, validation : tuples of (X, y)
    cost : int
        Members that one operation changes.
    tolerance : float or None
    n_jobs : int or None
    """

    def __init__(self, estimator, rows, validation, cost, tolerance, n_jobs):
        self.estimator, self.cost, self.n_jobs = estimator, cost, n_jobs
        (self.X, y), (self.X_val, y_val) = rows, validation
        self.y, self.y_val = (as_targets(estimator, *pair) for pair in (rows, validation))
        refuse_odd_targets(y, self.y, "Leave such rows out")
        refuse_odd_targets(y_val, self.y_val, "Leave such rows out")
        self.tolerance = float(np.std(self.y)) if tolerance is None else float(tolerance)

    @classmethod
    def of(cls, estimator, X, y, X_val, y_val, cost, tolerance, n_jobs):
        """Return the planner, or None for a classifier."""
        if not is_regressor(estimator):
            return None
        return cls(estimator, (X, y), (X_val, y_val), cost, tolerance, n_jobs)

    def foresee(self, k, rows, seeds, budgets, rng):
        """Return what a plan says of k members, of which those on the given rows are trained."""
        start = perf_counter()
        members = MedianMembers(self.estimator)
        how = {"n_jobs": self.n_jobs}
        members.fit(TrainingRows(self.X), self.y, rows, seeds, {}, verbose=0, **how)
        trained = perf_counter()
        answers = np.concatenate(list(members.answers(self.X_val, **how)))
        asked = perf_counter() - trained
        answers = np.sort(answers[:, ~np.isnan(answers).all(axis=0)], axis=1)
        medians = self._order_statistics(answers, k, 0, rng)
        return (
            float(np.nanmean(np.abs(answers - self.y_val[:, None]))),
            float(np.nanmean(np.abs(medians - self.y_val))),
            np.array([self._width(answers, k, budget, rng) for budget in budgets]),
            self._within(answers, k, budgets, rng),
            (trained - start) / len(rows) * k,
            asked / len(rows) * k / len(self.y_val) * 1000,
        )

    def _order_statistics(self, answers, k, shift, rng):
        """Draw the answer `shift` places from the median of k members, at all rows.

        The shape is (n_draws, n_rows). The j-th of k uniform numbers in order follows a beta
        distribution, and the sampled answers turn it into an answer.
        """
        place = (k - 1) // 2 + shift
        if not 0 <= place < k:
            return np.full((_N_DRAWS, len(answers)), np.copysign(np.inf, shift))
        n = answers.shape[1]
        u = rng.beta(place + 1, k - place, (_N_DRAWS, len(answers))) * n - 0.5
        below = np.clip(np.floor(u), 0, n - 1).astype(np.int64)
        above, weight = np.minimum(below + 1, n - 1), np.clip(u - below, 0, 1)
        each = np.arange(len(answers))
        return answers[each, below] * (1 - weight) + answers[each, above] * weight

    def _width(self, answers, k, budget, rng):
        r = int(budget) * self.cost
        if r == 0:
            return 0.0
        if (k - 1) // 2 < r:
            return np.inf
        high, low = (self._order_statistics(answers, k, shift, rng) for shift in (r, -r))
        return float(np.nanmedian(high - low))

    def _within(self, answers, k, budgets, rng):
        """Return the share of rows that stay within the tolerance of the truth at each budget."""
        n = answers.shape[1]
        low, high = self.y_val - self.tolerance, self.y_val + self.tolerance
        below = (answers < low[:, None]).sum(axis=1) / n
        above = (answers > high[:, None]).sum(axis=1) / n
        inside = np.maximum(1 - below - above, 0)
        shares = np.stack([below, inside, above], axis=1)
        shares /= shares.sum(axis=1, keepdims=True)
        counts = rng.multinomial(k, shares, (_N_DRAWS, len(shares)))
        middle = (k - 1) // 2
        radius = np.minimum(middle - counts[:, :, 0], k - counts[:, :, 2] - middle - 1)
        radius = np.where(radius < 0, -1, radius // self.cost)
        return (radius.ravel()[:, None] >= budgets).mean(axis=0)
