"""How many partitions? Accuracy, radius and cost foreseen from a few members of each size."""

import itertools
from time import perf_counter
from typing import NamedTuple

import numpy as np
from scipy.optimize import minimize_scalar
from scipy.special import gammaln
from scipy.stats import binom
from sklearn.linear_model import RidgeClassifier
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_consistent_length, column_or_1d

from ._data.containers import as_table
from ._data.training_rows import TrainingRows
from ._jobs import progress
from ._median_plans import MedianPlan, MedianPlanner, best_of, draw_foreseen
from ._members import PartitionMembers, count_votes
from ._spec import FixedSteps, bare
from .certificates.plurality import plurality_radius

__all__ = ["MedianPlan", "PartitionPlan", "plan_partitions"]

# Rows held out where none are given: a fifth of them, no more than this.
_MOST_HELD_OUT = 1000
# Fewer members than this say nothing of how members differ.
_FEWEST_MEMBERS = 3
# Ensembles imagined for every row.
_N_DRAWS = 32
# Splits into halves, from which errors are estimated.
_N_SPLITS = 6
# Few enough that the distribution of probabilities stays smooth.
_EM_STEPS = 30


class PartitionPlan(NamedTuple):
    """What to expect of each number of partitions: estimates, not certificates.

    Attributes
    ----------
    n_partitions : ndarray of shape (n_plans,), int64
    n_sampled : ndarray of shape (n_plans,), int64
        Members that were trained for the estimate.
    member_accuracy : ndarray of shape (n_plans,), float64
        Their mean accuracy.
    accuracy : ndarray of shape (n_plans,), float64
        Accuracy of the ensemble.
    accuracy_error : ndarray of shape (n_plans,), float64
        Its standard error, roughly.
    median_radius : ndarray of shape (n_plans,), int64
        Largest budget at which certified accuracy is at least one half, -1 if there is none.
    median_error : ndarray of shape (n_plans,), float64
        Its standard error, roughly.
    budgets : ndarray of shape (n_budgets,), int64
    certified_accuracy : ndarray of shape (n_plans, n_budgets), float64
        Certified accuracy at each budget.
    fit_seconds : ndarray of shape (n_plans,), float64
        Time to train all members, with the `n_jobs` of the plan.
    ask_seconds : ndarray of shape (n_plans,), float64
        Time to ask all members about 1000 rows.
    """

    n_partitions: np.ndarray
    n_sampled: np.ndarray
    member_accuracy: np.ndarray
    accuracy: np.ndarray
    accuracy_error: np.ndarray
    median_radius: np.ndarray
    median_error: np.ndarray
    budgets: np.ndarray
    certified_accuracy: np.ndarray
    fit_seconds: np.ndarray
    ask_seconds: np.ndarray

    def best(self, budget):
        """Return the number of partitions with the highest certified accuracy at a budget.

        Parameters
        ----------
        budget : int
            Number of operations, one of ``budgets``.

        Returns
        -------
        n_partitions : int
            The smallest of the best.
        """
        return best_of(self, self.certified_accuracy, budget)

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
        words = "Foreseen certified accuracy"
        return draw_foreseen(self, self.certified_accuracy, words, ax, unit, curve_kwargs)


def plan_partitions(
    estimator,
    X,
    y,
    n_partitions,
    *,
    X_val=None,
    y_val=None,
    n_train=None,
    n_sampled=24,
    budgets=None,
    cost=1,
    classes=None,
    tolerance=None,
    groups=None,
    random_state=0,
    n_jobs=None,
    verbose=0,
):
    """Foresee accuracy, radius and cost of ensembles without training them.

    For each number of partitions a few members are trained, on as many rows as they would have
    in the ensemble, and the vote of all members is extrapolated from theirs.

    Parameters
    ----------
    estimator : classifier, regressor or None
        What each member is, as in :class:`~certified_ensembles.DeepPartitionAggregation`, or as in
        :class:`~certified_ensembles.DeepPartitionRegressor`. None: the first one's default.
    X : array-like, sparse matrix, dataframe or sequence of str
        Rows, a sample of the training rows or all of them.
    y : array-like of shape (n_samples,)
        Labels, or targets.
    n_partitions : sequence of int
        The numbers to compare.
    X_val, y_val : as X and y, default=None
        Rows on which members are compared, apart from X. None: a fifth of X, at most 1000 rows,
        is held out; with `groups` whole sources, no more than these rows but one at least.
    n_train : int, default=None
        Number of rows on which the ensemble will be trained; None means all of X. A member then
        has about ``n_train / n_partitions`` rows.
    n_sampled : int, default=24
        Members to train for each number of partitions; fewer, where the rows are not enough.
    budgets : sequence of int, default=None
        Budgets at which certified accuracy is wanted; None: 100 of them from 0 to the largest
        possible radius.
    cost : int, default=1
        Members that one operation changes, as `certificates.threat_cost` returns it.
    classes : array-like of shape (n_classes,), default=None
        The closed set of labels, as in the ensemble; None for an open one.
    tolerance : float, default=None
        Of a regressor the largest error that counts as right. None: the standard deviation of y.
    groups : array-like of shape (n_samples,), default=None
        The source of each row, where the ensemble is fitted with ``groups``: members then get
        whole sources, as many as partitions come out with, and an operation is one source.
    random_state : int, RandomState instance or None, default=0
        Of the samples and of the members.
    n_jobs : int, default=None
        As in the ensemble.
    verbose : int, default=0
        Whether bars show the numbers of partitions that are done, and the members of each.

    Returns
    -------
    plan : PartitionPlan, or MedianPlan for a regressor
        A table of arrays, one entry (or row) for each number of partitions, in rising order.

    Raises
    ------
    ValueError
        If there are too few rows for three members of a size.

    Notes
    -----
    *Assumptions.* Partitions are random samples of the rows, so that members are alike; the
    rows on which they are compared are like those to come; nobody has poisoned either. A plan
    is an estimate, no certificate. A number of partitions that an attacker can choose is not
    covered by one either: where X is open to attack, plan on trusted rows.

    *Method.* A member votes for class c at row x with a probability p_c(x) over the partitions,
    and an ensemble of k members casts multinomial votes. The shares of a few members are noisy
    estimates of these probabilities: in their place they would make accuracies too low and
    leads too extreme. So they are shrunk (empirical Bayes). The probability of the right
    label has the distribution over rows that best explains all counts (a mixture of binomials,
    by EM stopped early); the wrong votes at a row are shared out by a symmetric Dirichlet
    distribution with the best-fitting concentration. From what these say of each row given its
    counts, whole ensembles are drawn and certified.

    A regressor's member answers with a number drawn from a distribution at row x, and the
    answers of a few members are a sample of it. Medians and intervals are order statistics of as
    many draws as there are members. The distribution is taken as it is sampled, not shrunk.

    Errors are estimated from differences between halves of the members on halves of the rows.
    The aggregation is a plurality with one seed a member. Times are extrapolated in proportion
    to the number of members; they leave out a pretrained network as first step, which runs once.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from certified_ensembles.planning import plan_partitions
    >>> X, y = load_digits(return_X_y=True)
    >>> plan = plan_partitions(None, X, y, [10, 80], budgets=[0, 5, 10], classes=range(10))
    >>> plan.n_partitions.tolist(), plan.median_radius[0] < 10 < plan.median_radius[1]
    ([10, 80], np.True_)
    >>> plan.best(10)
    80
    >>> ax = plan.plot()
    >>> [line.get_label() for line in ax.lines]
    ['10 partitions', '80 partitions']
    """
    rng = np.random.default_rng(check_random_state(random_state).randint(2**31))
    estimator = RidgeClassifier() if estimator is None else estimator
    y = column_or_1d(y)
    X = as_table(X)
    check_consistent_length(X, y, groups)
    if (X_val is None) != (y_val is None):
        raise ValueError("X_val and y_val go together: pass both, or neither.")
    n_train = len(X) if n_train is None else n_train
    sources = _shuffled_sources(len(X), groups, rng)
    n_sources = round(n_train * len(sources) / len(X))  # of the rows to come
    if X_val is None:
        n_out = _n_held_out(sources, min(max(1, len(X) // 5), _MOST_HELD_OUT))
        out, sources = np.concatenate(sources[:n_out]), sources[n_out:]
        X_val, y_val = X.take(out), y[out]
    X_val, y_val = as_table(X_val), column_or_1d(y_val)
    check_consistent_length(X_val, y_val)
    estimator, X, X_val = _behind_fixed_steps(estimator, X, X_val)
    planner = MedianPlanner.of(estimator, X, y, X_val, y_val, cost, tolerance, n_jobs)
    labels = None if planner else _labels(y, y_val, classes)
    sizes = _sizes(n_partitions)
    budgets = _budgets(budgets, sizes.max() // 2 // cost)
    seed = int(rng.integers(2**31))

    entries = []
    how = {"n_jobs": n_jobs, "verbose": verbose}
    for k in progress(sizes.tolist(), len(sizes), "plan", verbose, unit="plan"):
        rows = _rows_of_members(sources, k, n_sources, n_sampled, rng)
        seeds = list(range(seed, seed + len(rows)))
        if planner:
            entries.append((k, len(rows), *planner.foresee(k, rows, seeds, budgets, rng)))
            continue
        ballots, seconds = _ask_members(estimator, X, y, rows, X_val, labels, seeds, how)
        vote = _Vote(
            ballots, np.searchsorted(labels, y_val), len(labels), k, cost, classes is None
        )
        times = seconds[0] * k, seconds[1] * k / len(y_val) * 1000
        entries.append((k, len(rows), *_foreseen(vote, ballots, budgets, rng), *times))
    columns = [np.array(column) for column in zip(*entries, strict=True)]
    if planner:
        return MedianPlan(*columns[:4], budgets, *columns[4:])
    return PartitionPlan(*columns[:7], budgets, *columns[7:])


def _behind_fixed_steps(estimator, *tables):
    """Return what is behind fixed steps, which run once, not for each number of partitions."""
    fixed, rest = FixedSteps.split(estimator)
    if not fixed.steps:
        return estimator, *tables
    return bare(rest), *map(fixed.features_of_table, tables)


def _foreseen(vote, ballots, budgets, rng):
    """Return what a plan says of one number of partitions, but for its cost."""
    radius = vote.imagine(ballots, _N_DRAWS, rng)
    return (
        (ballots == vote.codes[:, None]).sum() / max((ballots >= 0).sum(), 1),
        _accuracy(radius),
        vote.error(_accuracy, rng),
        _median(radius),
        vote.error(_median, rng),
        (radius.ravel()[:, None] >= budgets).mean(axis=0),
    )


def _labels(y, y_val, classes):
    labels = np.unique(np.concatenate([y, y_val]))
    if classes is None:
        return labels
    foreign = np.setdiff1d(labels, np.asarray(classes))
    if len(foreign):
        raise ValueError(
            f"y or y_val holds labels that are not among classes={np.unique(classes).tolist()}: "
            f"{foreign[:5].tolist()}. Remove these rows, or pass classes=None."
        )
    return np.unique(classes)


def _sizes(n_partitions):
    sizes = np.unique(np.atleast_1d(np.asarray(n_partitions)))
    if sizes.ndim != 1 or sizes.dtype.kind not in "iu" or not len(sizes) or sizes[0] < 1:
        raise ValueError(
            f"n_partitions={n_partitions!r} must be a sequence of positive integers, the numbers "
            "of partitions to compare."
        )
    return sizes


def _budgets(budgets, most):
    budgets = np.linspace(0, most, 100) if budgets is None else np.asarray(budgets)
    return np.unique(budgets.astype(np.int64))


def _shuffled_sources(n_rows, groups, rng):
    """Return the rows of every source in random order; without groups each row is one."""
    if groups is None:
        return rng.permutation(n_rows)[:, None]
    _, code = np.unique(column_or_1d(groups), return_inverse=True)
    own = np.split(np.argsort(code, kind="stable"), np.cumsum(np.bincount(code))[:-1])
    return [own[i] for i in rng.permutation(len(own))]


def _n_held_out(sources, most_rows):
    """Return how many sources are held out: all that fit into some rows, and one at least."""
    return max(1, int((np.cumsum([len(own) for own in sources]) <= most_rows).sum()))


def _rows_of_members(sources, k, n_sources, n_sampled, rng):
    """Cut disjoint members out of the sources, as large as partitions come out."""
    ends = np.cumsum(rng.multinomial(n_sources, np.full(k, 1 / k))[:n_sampled])
    ends = ends[ends <= len(sources)]
    if len(ends) < _FEWEST_MEMBERS:
        raise ValueError(
            f"n_partitions={k}: a member has about {n_sources / k:.0f} rows, or sources with "
            f"groups, and {len(sources)} of them do not give {_FEWEST_MEMBERS} such members. "
            "Leave this number out, raise n_sampled, or pass more rows (with X_val and y_val none "
            "is held out)."
        )
    nothing = np.empty(0, dtype=np.intp)
    bounds = [0, *ends.tolist()]
    return [np.concatenate([nothing, *sources[a:b]]) for a, b in itertools.pairwise(bounds)]


def _ask_members(estimator, X, y, rows, X_val, labels, seeds, how):
    """Return ballots, and the seconds for one member: to train it, to ask it about all rows."""
    start = perf_counter()
    members = PartitionMembers(estimator, labels, open_set=False)
    members.fit(TrainingRows(X), y, rows, seeds, {}, **how)
    trained = perf_counter()
    ballots = np.concatenate(list(members.ballots(X_val, **how)))
    asked = perf_counter() - trained
    return ballots, ((trained - start) / len(rows), asked / len(rows))


def _accuracy(radius):
    return float((radius >= 0).mean())


def _median(radius):
    """Return the largest budget that at least half of the entries survive."""
    return int(np.sort(radius, axis=None)[radius.size // 2])


class _Vote:
    """Votes of a few members on rows with known labels, and of all members as imagined."""

    def __init__(self, ballots, codes, n_classes, k, cost, open_set):
        self.ballots, self.codes, self.n_classes = ballots, codes, n_classes
        self.k, self.cost, self.open_set = k, cost, open_set

    def error(self, statistic, rng):
        """Return the standard error of a statistic, from halves of the members and of the rows.

        Two halves differ by about twice the error of the whole.
        """
        squares = []
        for _ in range(_N_SPLITS):
            members = rng.permutation(self.ballots.shape[1])
            rows = rng.permutation(len(self.codes))
            half = [
                statistic(self.imagine(self.ballots[:, part], _N_DRAWS // 4, rng)[:, own])
                for part, own in zip(_halves(members), _halves(rows), strict=True)
            ]
            squares.append((half[0] - half[1]) ** 2)
        return float(np.sqrt(np.mean(squares)) / 2)

    def imagine(self, ballots, n_draws, rng):
        """Return radii of imagined ensembles at all rows, -1 where they are wrong.

        The shape is (n_draws, n_rows).
        """
        votes = count_votes(ballots, self.n_classes)
        n, n_classes = votes.shape
        each = np.arange(n)
        others = np.arange(n_classes) != self.codes[:, None]
        cast = int(votes.sum(axis=1).max())  # members without rows abstain everywhere
        p = _draw_right(votes[each, self.codes], cast, n_draws, rng)
        share = np.zeros((n_draws, n, n_classes))
        if n_classes > 1:
            wrong = votes[others].reshape(n, -1)
            drawn = rng.standard_gamma(wrong + _concentration(wrong), (n_draws, *wrong.shape))
            # Tiny parameters can make all draws vanish: then one class has all wrong votes.
            lost = np.nonzero(drawn.sum(axis=2) < 1e-200)
            drawn[(*lost, rng.integers(wrong.shape[1], size=len(lost[0])))] = 1
            drawn *= ((1 - p) / drawn.sum(axis=2))[:, :, None]
            share[:, others] = drawn.reshape(n_draws, -1)
        share[:, each, self.codes] = 1 - share.sum(axis=2)
        k = round(self.k * cast / ballots.shape[1])
        imagined = rng.multinomial(k, np.maximum(share, 0))
        winner, radius = plurality_radius(imagined.reshape(-1, n_classes), open_set=self.open_set)
        right = winner == np.tile(self.codes, n_draws)
        return np.where(right, radius // self.cost, -1).reshape(n_draws, n)


def _halves(order):
    return order[: len(order) // 2], order[len(order) // 2 :]


def _draw_right(right, m, n_draws, rng):
    """Draw, for every row, probabilities of the right label given its right votes out of m."""
    grid = np.sin(np.linspace(0, np.pi / 2, 201)[1:-1]) ** 2
    likelihood = binom.pmf(np.arange(m + 1)[:, None], m, grid)
    observed = np.bincount(right, minlength=m + 1) / len(right)
    prior = np.full(len(grid), 1 / len(grid))
    for _ in range(_EM_STEPS):
        prior *= likelihood.T @ (observed / (likelihood @ prior))
    posterior = np.cumsum(likelihood * prior, axis=1)
    draws = np.empty((n_draws, len(right)))
    for count in np.unique(right):
        rows = right == count
        u = rng.random((n_draws, rows.sum())) * posterior[count, -1]
        draws[:, rows] = grid[np.searchsorted(posterior[count, :-1], u)]
    return draws


def _concentration(wrong):
    """Return the symmetric Dirichlet parameter that best explains how wrong votes are shared."""
    wrong, n_wrong = wrong[wrong.sum(axis=1) > 1], wrong.shape[1]
    if not len(wrong) or n_wrong < 2:
        return 1.0
    total = wrong.sum(axis=1)

    def surprise(log_alpha):
        alpha = np.exp(log_alpha)
        return -(
            gammaln(n_wrong * alpha)
            - gammaln(n_wrong * alpha + total)
            + (gammaln(wrong + alpha) - gammaln(alpha)).sum(axis=1)
        ).sum()

    return float(np.exp(minimize_scalar(surprise, bounds=(-7, 5), method="bounded").x))
