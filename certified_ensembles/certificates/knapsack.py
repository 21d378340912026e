"""From what it costs to turn each member of a vote to what it costs to turn the vote.

The radius of a plurality vote charges one operation for every member that an attacker changes.
Where members are label-free linear smoothers the true price of each is known, and larger. The
attacker then solves a multiple-choice knapsack: one answer a member, the least total price that
makes a rival win.
"""

import numpy as np

from ._inputs import check_codes, check_n_classes, check_weights, count_votes
from ._scored_blocks import LabelSortedWeights
from .plurality import plurality_radius

# A price that nobody can pay; sums of it stay far below 2**63.
NEVER = 1 << 40


def priced_plurality_radius(ballots, prices, n_classes, *, open_set=False):
    """Return the winner of each vote and the budget of operations that it survives.

    Parameters
    ----------
    ballots : array-like of shape (n_samples, n_members), int
        Class index voted for by each member, -1 for an abstention.
    prices : array-like of shape (n_samples, n_members, n_classes) or, with `open_set`, \
(n_samples, n_members, n_classes + 1), int
        Least number of operations, or a lower bound of it, that makes a member vote for each
        class; the last of n_classes + 1 stands for a class never seen. The price of a member's
        own ballot is ignored, prices below 1 count as 1, and numbers from 2**40 on mean that
        nothing turns the member. Every operation acts on one member, and none makes a member
        abstain.
    n_classes : int
        Number of classes, at least 1.
    open_set : bool, default=False
        If True, an attacker may bring a class that nobody has voted for and that sorts
        before all others, so that it wins ties.

    Returns
    -------
    winner : ndarray of shape (n_samples,), int64
        Index of the class with most votes; ties go to the smaller index.
    radius : ndarray of shape (n_samples,), int64
        Largest number of operations, shared out among members in any way, that surely leaves
        the winner. It is at least the radius of `plurality_radius`, and exact if the prices
        are: one operation more turns the winner. Where no budget does, it is the radius of
        `plurality_radius`.

    Raises
    ------
    ValueError
        If a shape does not fit or a ballot is not -1 or an index below `n_classes`.

    See Also
    --------
    turning_prices : The prices of a linear smoother.

    Notes
    -----
    Let c be the winner and t a rival, with a gap of ``g = n_c - n_t + [c < t]`` votes to close.
    A member that votes for c closes two if it turns to t and one if it turns to any other class;
    a member that votes for neither closes one if it turns to t. The least total price that closes
    g, minimised over t, is one more than the radius.

    It is found exactly. Where the second vote that a member of c can close costs at least as much
    as the first, both are bought like votes of two members. Where it costs less, the two are
    bought together; and at most one such member sells a single vote, since of two it would be
    cheaper to buy the cheaper pair. So the answer is the minimum over the number of pairs of
    a sum of prefixes of sorted prices, with one exception to be placed.

    Members of different costs are due to [1]_. Exact prices of label flips, and the knapsack of
    all answers, are studied in [2]_.

    References
    ----------
    .. [1] Z. Hammoudeh and D. Lowd, "Reducing certified regression to certified classification
       for general poisoning attacks", SaTML 2023.
    .. [2] A. Mohgaonkar, L. Gosch, M. Sabanayagam, D. Ghoshdastidar and S. Günnemann, "Exact
       certification of neural networks and partition aggregation ensembles against label
       poisoning", ICLR 2026, arXiv:2604.11416 (EnsembleCert).

    Examples
    --------
    Four members vote for class 0, one for class 1. Two of the four must change; the cheapest
    two cost 1 + 3.

    >>> import numpy as np
    >>> from certified_ensembles.certificates.knapsack import priced_plurality_radius
    >>> ballots = np.array([[0, 0, 0, 0, 1]])
    >>> prices = np.array([[[0, 3], [0, 5], [0, 1], [0, 9], [2, 0]]])
    >>> priced_plurality_radius(ballots, prices, n_classes=2)
    (array([0]), array([3]))
    """
    n_classes = check_n_classes(n_classes)
    n_targets = n_classes + bool(open_set)
    ballots, prices = _check(np.asarray(ballots), np.asarray(prices), n_classes, n_targets)
    votes = count_votes(ballots, n_targets)
    winner, radius = plurality_radius(votes[:, :n_classes], open_set=open_set)
    # What it costs to turn each member at all.
    leave = prices.min(axis=2)
    for_winner = ballots == winner[:, None]
    cost = np.full(len(ballots), NEVER)
    for t in range(n_targets):
        gap = votes.max(axis=1) - votes[:, t] + ((winner < t) & (t < n_classes))
        attack = _least_cost(gap, *closing_prices(for_winner, leave, prices[:, :, t]))
        cost = np.where(winner == t, cost, np.minimum(cost, attack))
    return winner, np.where(cost < NEVER, np.maximum(cost - 1, radius), radius)


def _check(ballots, prices, n_classes, n_targets):
    """Return the ballots, and the prices within 1..NEVER with NEVER for a member's own ballot."""
    if ballots.ndim != 2 or ballots.shape[1] == 0 or ballots.dtype.kind not in "iu":
        raise ValueError(
            "ballots must be an array of integers of shape (n_samples, n_members >= 1), got "
            f"dtype {ballots.dtype} and shape {ballots.shape}."
        )
    if ballots.size and not (-1 <= ballots.min() <= ballots.max() < n_classes):
        raise ValueError(
            f"ballots must lie in -1..{n_classes - 1}, got {ballots.min()} to {ballots.max()}; "
            "raise n_classes."
        )
    shape = (*ballots.shape, n_targets)
    if prices.shape != shape or prices.dtype.kind not in "iu":
        raise ValueError(
            f"prices must be an array of integers of shape {shape}, got dtype {prices.dtype} and "
            f"shape {prices.shape}."
        )
    prices = np.clip(prices, 1, NEVER).astype(np.int64)
    return ballots, np.where(np.arange(n_targets) == ballots[:, :, None], NEVER, prices)


def closing_prices(for_winner, leave, turn):
    """Return what it costs that a member closes one vote, and two, of the gap to a rival.

    Parameters
    ----------
    for_winner : ndarray of shape (n_samples, n_members), bool
        Who votes for the winner: such a member closes one vote by leaving it, and two if it
        turns to the rival. Any other closes one if it turns.
    leave, turn : ndarrays of shape (n_samples, n_members)
        The prices of any other answer, and of the rival.
    """
    return np.where(for_winner, leave, turn), np.where(for_winner, turn, NEVER)


def _least_cost(gap, one, two):
    """Return the least total price that closes a gap of votes, row by row.

    Parameters
    ----------
    gap : ndarray of shape (n,)
        Votes to close, at most one more than there are members.
    one, two : ndarrays of shape (n, n_members)
        Price of closing one vote by a member, and of closing two (at least that of one).
    """
    n_members = one.shape[1]
    # Where the second vote is dearer than the first, they are bought one by one.
    apart = two - one >= one
    single = np.concatenate([np.where(apart, one, NEVER), np.where(apart, two - one, NEVER)], 1)
    single = _prefix_sums(np.sort(single, axis=1))
    pair = np.where(apart, NEVER, two)
    order = np.argsort(pair, axis=1, kind="stable")
    pair = np.take_along_axis(pair, order, axis=1)
    # A pair of which one vote is bought alone: what that vote costs, and less the pair.
    half = np.take_along_axis(np.where(apart, NEVER, one), order, axis=1)
    pairs = _prefix_sums(pair)
    instead = np.minimum.accumulate(half - pair, axis=1)
    beside = np.minimum.accumulate(half[:, ::-1], axis=1)[:, ::-1]

    n_pairs = np.arange(n_members + 1)

    def singles(votes):
        index = np.clip(votes[:, None] - 2 * n_pairs, 0, 2 * n_members)
        return np.take_along_axis(single, index, axis=1)

    whole = (singles(gap) + pairs).min(axis=1)
    split = np.minimum(pairs[:, :-1] + beside, pairs[:, 1:] + instead)
    broken = (singles(gap - 1)[:, :-1] + split).min(axis=1)
    return np.minimum(whole, broken)


def _prefix_sums(prices):
    return np.pad(np.cumsum(prices, axis=1), ((0, 0), (1, 0)))


# ---------------------------------------------------------------- prices


def turning_prices(weights, y, n_classes, *, groups=None, open_set=False):
    """Winner of a linear smoother, and what it costs to make each other class win.

    The smoother knows the classes of its own rows alone: a class without a row never wins.

    Parameters
    ----------
    weights : array-like of shape (n_samples, n_train)
        Weight of every training label at every test point. It must not depend on the labels.
    y : array-like of shape (n_train,), n_train >= 1
        Training labels as integer codes in 0..n_classes - 1.
    n_classes : int
        Number of classes.
    groups : array-like of shape (n_train,), int, default=None
        Labels of one group are changed by one operation (copies of one row). None means
        that each label is a group of its own.
    open_set : bool, default=False
        If True, a further class that has no row and sorts first is priced last.

    Returns
    -------
    winner : ndarray of shape (n_samples,), int64
        Class with the largest score in exact arithmetic; ties go to the smaller class.
    prices : ndarray of shape (n_samples, n_classes) or (n_samples, n_classes + 1), int64
        A lower bound of the least number of operations after which the class wins; 0 for the
        winner.

    Raises
    ------
    ValueError
        If weights or labels do not fit, as in `linear_smoother_radius`.

    Notes
    -----
    For t to win instead of f it must overtake f, which takes the least r such that the r
    largest drops of S_f - S_t exceed the lead (or reach it, where t wins ties); the drops of
    one group add up. Or else f must lose its last row, which takes as many operations as there
    are groups with a label f. The price is the smaller of the two. Overtaking others besides f
    may cost more, so that the price is a lower bound; the least price of all classes that have
    rows is exact for the first way.

    Rounding only lowers prices: a comparison within the error bound of floating-point sums
    counts for the attacker.

    Examples
    --------
    Five neighbours vote 4 to 1: two must change their minds.

    >>> import numpy as np
    >>> from certified_ensembles.certificates.knapsack import turning_prices
    >>> turning_prices(np.ones((1, 5)), [1, 1, 1, 0, 1], n_classes=2)
    (array([1]), array([[2, 0]]))
    """
    n_classes = check_n_classes(n_classes)
    y = check_codes(y, n_classes)
    weights = check_weights(weights, len(y))
    order = np.argsort(y, kind="stable")
    groups = np.arange(len(y)) if groups is None else np.asarray(groups)[order]
    present, codes = np.unique(y[order], return_inverse=True)
    smoother = LabelSortedWeights(weights[:, order], codes, len(present))
    n_groups = np.array([len(np.unique(groups[codes == c])) for c in range(len(present))])
    merge = _merger(groups)
    winner = np.zeros(len(weights), dtype=np.int64)
    prices = np.zeros((len(weights), n_classes + bool(open_set)), dtype=np.int64)
    for block in smoother.blocks():
        f, toward = block.winner[:, None], smoother.toward(block)
        score = np.take_along_axis(block.scores, f, axis=1)[:, 0]
        magnitude = np.abs(toward)
        most = n_groups[block.winner]
        winner[block.rows] = present[block.winner]
        # Classes without rows have score 0 and differ in nothing but who wins ties.
        absent = _largest(merge(magnitude + np.where(codes == f, toward, 0.0)), most)
        for t in range(prices.shape[1]):
            k = np.searchsorted(present, t)
            known = k < len(present) and present[k] == t
            drops, lead = absent, score
            if known:
                pair = (codes == f) | (codes == k)
                drops = _largest(merge(magnitude + np.where(pair, toward, 0.0)), most)
                lead = score - block.scores[:, k]
            wins_ties = (t < winner[block.rows]) | (t == n_classes)
            limit = np.where(wins_ties, np.nextafter(lead, -np.inf), lead) - block.slack
            fitting = np.count_nonzero(np.cumsum(drops, axis=1) <= limit[:, None], axis=1)
            prices[block.rows, t] = np.where(
                known & (block.winner == k), 0, np.minimum(fitting + 1, most)
            )
    return winner, prices


def _merger(groups):
    """Return a function that adds up the columns of each group."""
    _, index = np.unique(groups, return_inverse=True)
    if len(index) == 0 or index.max() + 1 == len(index):
        return lambda drops: drops
    order = np.argsort(index, kind="stable")
    starts = np.searchsorted(index[order], np.arange(index.max() + 1))
    return lambda drops: np.add.reduceat(drops[:, order], starts, axis=1)


def _largest(drops, most):
    """Return the largest drops of each row in decreasing order, as many as may be asked for."""
    width = int(most.max(initial=0))
    if width < drops.shape[1]:
        drops = -np.partition(-drops, width, axis=1)[:, :width]
    return -np.sort(-drops, axis=1)
