"""One attacker against a whole test set, and a bound on the predictions that survive."""

import time
from numbers import Integral
from typing import NamedTuple

import numpy as np

from ._attacker import Attacker
from ._moves import Partitions
from ._ways import plurality_ways, priced_ways, run_off_ways
from .finite import check_ballots, finite_aggregation_radius, finite_run_off_radius
from .knapsack import _check, priced_plurality_radius
from .runoff import check_scores, run_off_radius

# The number of rows in a small program. Programs of this size are mostly solved to the end.
_GROUP_ROWS = 16
# Share of the time for the small programs, and what is left of it where the program for all
# rows is so large that it needs most of the time for its first relaxation.
_GROUP_SHARE, _GROUP_SHARE_OF_LARGE, _LARGE = 0.5, 0.2, 500_000
# Beyond this the program for all rows would not fit into the memory of most machines.
_TOO_LARGE = 50_000_000
# All attacks are tried, and no solver is called, where that takes fewer additions than this
# for each second of the time limit. A slow core does more.
_ADDITIONS_PER_SECOND = 1e9


class CollectiveCertificate(NamedTuple):
    """What survives one attacker who has one budget for all test rows.

    Attributes
    ----------
    certified : int
        Predictions that survive any attack within the budget.
    pointwise : int
        Predictions whose own radius is at least the budget; never more than `certified`.
    upper : int
        Predictions that survive the strongest attack found; never less than `certified`.
    optimal : bool
        Whether `certified` equals `upper`, so that no other method can certify more.
    attack : ndarray of shape (n_changed,), int64
        The members, or the partitions if a spread is given, that this attack takes; a member
        with prices as often as operations are spent on it.
    """

    certified: int
    pointwise: int
    upper: int
    optimal: bool
    attack: np.ndarray


def collective_survivors(
    ballots,
    n_classes,
    budget,
    *,
    spread=None,
    prices=None,
    y_true=None,
    open_set=False,
    time_limit=60.0,
    progress=None,
):
    """Bound from below how many predictions survive one attacker with one budget.

    The pointwise radius lets the attacker choose other members for every test row. A poisoned
    training set is one: it changes the same members for all rows, so more rows survive.

    Parameters
    ----------
    ballots : array-like of shape (n_samples, n_members), int
        Class index of every member's vote, -1 where it abstains.
    n_classes : int
        Number of known classes.
    budget : int
        Number of members that the attacker may change, each as it likes for every test row;
        with `spread`, number of partitions, all of whose members it may change; with `prices`,
        number of operations, shared out among members once for all test rows.
    spread : array-like of shape (n_partitions, degree), int, default=None
        ``spread[p]`` are the members that partition ``p`` reaches (finite aggregation). None:
        each member has a partition of its own.
    prices : array-like of shape (n_samples, n_members, n_classes) or, with `open_set`, \
(n_samples, n_members, n_classes + 1), int, default=None
        Least number of operations, or a lower bound of it, that makes a member vote for each
        class at each row, as for `priced_plurality_radius`. Not beside `spread`.
    y_true : array-like of shape (n_samples,), int, default=None
        True class indices. If given, only correct predictions are counted.
    open_set : bool, default=False
        Whether the attacker may bring a label that nobody has seen, smaller than all others.
    time_limit : float, default=60.0
        Seconds for the solver, in total. The answer is sound at any limit, and the count can
        only grow with more time. Zero gives the pointwise count.
    progress : callable, default=None
        Called as ``progress(n_done, n_programs, certified)`` after each program, with the
        count that is certain by then.

    Returns
    -------
    CollectiveCertificate
        ``certified``, ``pointwise``, ``upper``, ``optimal`` and ``attack``.

    Raises
    ------
    ValueError
        If an array has the wrong shape or an entry outside its range, if `budget` or
        `time_limit` is negative, or if both `spread` and `prices` are given.
    TypeError
        If an array does not hold integers, or `budget` is not one.

    See Also
    --------
    collective_run_off_survivors : The same for a run-off.

    Notes
    -----
    An attack takes a set of members. Row `x` with winner `c` falls if, for one rival `b`, the
    taken members' powers ``1 + [f_j = c] - [f_j = b]`` sum to more than
    ``n_c - n_b - [b < c]``. The largest number of rows that fall together is an integer
    program [1]_, here with every rival of every row that the budget can reach, not only the
    runner-up. Where the attacks are few they are all tried, without a solver. Otherwise HiGHS
    is stopped at the time limit, and its *dual* bound, rounded to the sound side, is what is
    reported. With `spread` the program holds both the
    partitions and the members, so that a member that two partitions reach counts once, unlike
    in the pointwise radius.

    With `prices` an attack says how many operations are spent on each member. At a row a member
    may then give any answer whose price there is no more than that. Members' training labels
    can be changed in one way only, which need not reach the prices at all rows at once: the
    true number of survivors may be larger, and is never smaller. `upper` and `optimal` speak
    of the prices alone.

    Small programs over rows that fall about as easily come first, and what they prove becomes
    constraints of the program over all rows. Where the time runs out the result depends on the
    speed of the machine.

    The solver works in floating point with small integer coefficients; its bound is trusted to
    0.001. (Where a price within the budget exceeds 2**20 it is not asked.) The attack that is
    returned is counted in integers.

    References
    ----------
    .. [1] R. Chen, Z. Li, J. Li, J. Yan and C. Wu, "On collective robustness of bagging
       against data poisoning", ICML 2022.

    Examples
    --------
    One member can turn each of these rows, but none can turn all three.

    >>> from certified_ensembles.certificates.collective import collective_survivors
    >>> result = collective_survivors([[0, 0, 1], [0, 1, 0], [1, 0, 0]], 2, budget=1)
    >>> result.pointwise, result.certified, result.optimal
    (0, 1, True)
    """
    _check_limits(budget, time_limit)
    deadline = time.monotonic() + time_limit
    ballots = check_ballots(ballots, n_classes)
    if prices is not None:
        if spread is not None:
            raise ValueError(
                "prices go with members of one partition each, got a spread beside them. Pass "
                "spread=None, or leave out the prices: then any change of a member costs one."
            )
        winner, radius = priced_plurality_radius(ballots, prices, n_classes, open_set=open_set)
    else:
        spread = _own_partitions(ballots) if spread is None else spread
        winner, radius = finite_aggregation_radius(ballots, spread, n_classes, open_set=open_set)
    counted = _counted(winner, y_true)
    at_risk = np.flatnonzero(counted & (radius < budget))
    own, won = ballots[at_risk], winner[at_risk]
    if prices is not None:
        prices = np.asarray(prices)[at_risk]
        prices = _check(own, prices, n_classes, n_classes + bool(open_set))[1]
        ways, moves = priced_ways(own, won, prices, n_classes, open_set, budget)
    else:
        moves = Partitions(spread, ballots.shape[1], budget)
        ways = plurality_ways(own, won, n_classes, open_set, moves)
    attacker = Attacker(ways, moves)
    return _certificate(attacker, counted, len(at_risk), deadline, time_limit, progress)


def collective_run_off_survivors(
    scores,
    budget,
    *,
    spread=None,
    y_true=None,
    open_set=False,
    time_limit=60.0,
    progress=None,
):
    """Bound from below how many winners of a run-off survive one attacker with one budget.

    Parameters
    ----------
    scores : array-like of shape (n_samples, n_members, n_classes), float
        As for `run_off_radius`.
    budget : int
        Number of members that the attacker may change, each to any ranking at every test row;
        with `spread`, number of partitions, all of whose members it may change.
    spread : array-like of shape (n_partitions, degree), int, default=None
        As for `collective_survivors`.
    y_true : array-like of shape (n_samples,), int, default=None
        True class indices. If given, only correct predictions are counted.
    open_set : bool, default=False
        As for `run_off_radius`.
    time_limit, progress
        As for `collective_survivors`.

    Returns
    -------
    CollectiveCertificate
        ``certified``, ``pointwise``, ``upper``, ``optimal`` and ``attack``. `pointwise` counts
        the radii of `run_off_radius`, or with `spread` those of `finite_run_off_radius`.

    Raises
    ------
    ValueError
        If an array has the wrong shape or an entry outside its range, or if `budget` or
        `time_limit` is negative.
    TypeError
        If an array has the wrong kind of numbers, or `budget` is not an integer.

    See Also
    --------
    collective_survivors : The same for a plurality.

    Notes
    -----
    A row falls in one of two ways, and in each a changed member has one best ranking, so that
    what the taken members add up to decides. Let ``gap(a, b)`` be how far class `a` is before
    `b` in round one, ``n_a - n_b + [a < b]``.

    - Two classes `a` and `b` overtake the winner `c` in round one. Changed members vote for
      one of the two. That takes ``1 + [f_j = c] - [f_j = a]`` from ``gap(c, a)`` for each of
      them, the same for `b`, and ``1 + 2 [f_j = c] - [f_j = a] - [f_j = b]`` from the sum of
      both gaps. All three must be closed.
    - One class `t` beats `c` in the final. Changed members put `t` first and `c` last. That
      takes ``1 + [f_j = m] - [f_j = t]`` from ``gap(m, t)`` for every other class `m`, and from
      the gap of the final two if the member preferred `c` and one if it abstained. All must
      be closed; if `t` and another class have overtaken `c`, it is the first way.

    With these gaps as constraints the integer program is exact: what falls in it falls to some
    change of the taken members. It is solved, or bounded, as in `collective_survivors`.

    Examples
    --------
    Six members, who at each row have changed places. One changed member can turn any of the six
    elections, but no more than three of them.

    >>> import numpy as np
    >>> from certified_ensembles.certificates import collective_run_off_survivors
    >>> scores = np.array([[3, 2, 1], [1, 3, 2], [1, 2, 3]])[[0, 0, 0, 1, 1, 2]]
    >>> rows = [np.roll(scores, shift, axis=0) for shift in range(6)]
    >>> result = collective_run_off_survivors(rows, budget=1)
    >>> result.pointwise, result.certified, result.optimal
    (0, 3, True)
    """
    _check_limits(budget, time_limit)
    deadline = time.monotonic() + time_limit
    scores = check_scores(scores)
    if spread is None:
        winner, radius = run_off_radius(scores, open_set=open_set)
        spread = _own_partitions(scores)
    else:
        winner, radius = finite_run_off_radius(scores, spread, open_set=open_set)
    counted = _counted(winner, y_true)
    at_risk = np.flatnonzero(counted & (radius < budget))
    moves = Partitions(spread, scores.shape[1], budget)
    attacker = Attacker(run_off_ways(scores[at_risk], open_set, moves), moves)
    return _certificate(attacker, counted, len(at_risk), deadline, time_limit, progress)


def _own_partitions(answers):
    """Return the spread under which each member has a partition of its own."""
    return np.arange(answers.shape[1])[:, None]


def _certificate(attacker, counted, n_at_risk, deadline, time_limit, progress):
    """Return what is counted, less what one attack fells at most."""
    n_counted = int(np.count_nonzero(counted))

    def report(n_done, n_programs, n_felled):
        if progress is not None:
            progress(n_done, n_programs, n_counted - n_felled)

    most, attack, felled = _most_felled(attacker, deadline, time_limit, report)
    certified, upper = n_counted - most, n_counted - felled
    attack = attacker.moves.attack(attack)
    return CollectiveCertificate(
        certified, n_counted - n_at_risk, upper, certified == upper, attack
    )


def _most_felled(attacker, deadline, time_limit, report):
    """Return a bound on the rows that fall, the strongest attack found and what it fells."""
    if attacker.effort() < _ADDITIONS_PER_SECOND * time_limit:
        attack, felled = attacker.exhaust()
        report(1, 1, felled)
        return felled, attack, felled
    attack, felled = attacker.strongest()
    n_rows = attacker.n_rows
    sizes = np.array([n_rows])
    if n_rows > _GROUP_ROWS:
        sizes = np.diff(np.append(np.arange(0, n_rows, _GROUP_ROWS), n_rows))
    starts, most = np.cumsum(sizes) - sizes, sizes.copy()
    n_programs = len(sizes) + 1
    share = _GROUP_SHARE if attacker.size < _LARGE else _GROUP_SHARE_OF_LARGE
    if len(sizes) > 1:
        for g, start in enumerate(starts):
            group = attacker.only(start, start + sizes[g])
            left = deadline - (1 - share) * time_limit - time.monotonic()
            # No program is needed where one attack fells the whole group.
            if left > 0 and group.strongest()[1] < group.n_rows:
                most[g] = group.solve(left / (len(starts) - g))[0]
            report(g + 1, n_programs, int(most.sum()))
    total = int(most.sum())
    left = deadline - time.monotonic()
    if left > 0 and felled < total and attacker.size < _TOO_LARGE:
        bound, found = attacker.solve(left, sizes, most)
        total = min(total, bound)
        n_found = int(np.count_nonzero(attacker.felled(found)))
        if n_found > felled:
            attack, felled = found, n_found
    # What was counted in integers outweighs a solver's float.
    total = max(total, felled)
    report(n_programs, n_programs, total)
    return total, attack, felled


def _check_limits(budget, time_limit):
    """Raise where the budget or the time limit is of no use."""
    if not isinstance(budget, Integral) or isinstance(budget, bool):
        raise TypeError(f"budget must be an integer, got {budget!r}.")
    if budget < 0:
        raise ValueError(f"budget must not be negative, got {budget}.")
    if not 0 <= time_limit < np.inf:
        raise ValueError(f"time_limit must be finite and at least 0 seconds, got {time_limit!r}.")


def _counted(winner, y_true):
    """Say which predictions count."""
    if y_true is None:
        return np.ones(len(winner), dtype=bool)
    y_true = np.asarray(y_true)
    if y_true.shape != winner.shape:
        raise ValueError(
            f"y_true must hold one class index per test row, {winner.shape}, got {y_true.shape}."
        )
    return winner == y_true
