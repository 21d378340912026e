"""A named target, and a label among the first k, where every turn of a member has its price."""

import numpy as np

from ._inputs import check_n_classes
from .knapsack import NEVER, _check, _least_cost
from .targets import check_k, check_label, check_target, target_radius, top_k_radius


def priced_target_radius(ballots, prices, n_classes, target, *, open_set=False):
    """Return the budget of operations that keeps a named class from winning the vote.

    Parameters
    ----------
    ballots, prices, n_classes, open_set
        As for `priced_plurality_radius`.
    target : int, ndarray of shape (n_samples,), or sequence or set of int
        As for `target_radius`.

    Returns
    -------
    radius : ndarray of shape (n_samples,), int64
        A number of operations, shared out among members in any way, with which no target wins;
        -1 where one wins already. It is a lower bound, never smaller than the radii of
        `target_radius` and `priced_plurality_radius`. Where no budget makes a target win, it is
        the radius of `target_radius`.

    Raises
    ------
    ValueError
        If a shape does not fit, a ballot is not -1 or an index below `n_classes`, or `target`
        names no class.

    Notes
    -----
    The target has to pass every other class, and the least total price that closes the gap to
    one class is found exactly, as in `priced_plurality_radius`. The dearest class bounds the
    price of all. That one budget has to close all gaps together is left out, which can only
    lower the radius; with every price 1 it is not, by `target_radius`.

    Examples
    --------
    Class 2 cannot pass class 0 for less than 1 + 1 + 1 + 5 operations: three members leave
    class 0 for any other, and one turns to class 2.

    >>> import numpy as np
    >>> from certified_ensembles.certificates import priced_target_radius
    >>> ballots = np.array([[0, 0, 0, 0, 1]])
    >>> prices = np.array([[[0, 1, 5], [0, 1, 5], [0, 1, 9], [0, 1, 9], [3, 0, 7]]])
    >>> [priced_target_radius(ballots, prices, 3, t).tolist() for t in (0, 1, 2)]
    [[-1], [1], [7]]
    """
    vote = _PricedVote(ballots, prices, n_classes, open_set)
    targets = check_target(target, len(vote.ballots), vote.n_classes)
    radii = []
    for t in targets:
        cost = np.max([vote.cost_to_pass(c, t) for c in range(vote.n_classes)], axis=0)
        plain = target_radius(vote.votes, t)
        radii.append(_radius(cost, plain))
    return np.min(radii, axis=0)


def priced_top_k_radius(ballots, prices, n_classes, label, k, *, open_set=False):
    """Return the budget of operations that keeps a label among the k with most votes.

    Parameters
    ----------
    ballots, prices, n_classes, open_set
        As for `priced_plurality_radius`. With `open_set` an attacker may bring any number of
        new classes.
    label : int or array-like of shape (n_samples,), int
        Index of the class that is to stay.
    k : int
        How many places there are, at least 1.

    Returns
    -------
    radius : ndarray of shape (n_samples,), int64
        A number of operations, shared out among members in any way, with which the label stays
        among the k; -1 where it is not among them now. For the winner and k = 1 it is the radius
        of `priced_plurality_radius`; else it is a lower bound, and never smaller than the radius
        of `top_k_radius`, which it is where no budget pushes the label out.

    Raises
    ------
    ValueError
        If a shape does not fit, a ballot is not -1 or an index below `n_classes`, `label` names
        no class, or `k` is no integer of at least 1.

    Notes
    -----
    The least total price with which one rival passes the label is found exactly, as in
    `priced_plurality_radius`. Of any k rivals that pass it, the dearest alone costs at least
    the k-th smallest of these prices. That one budget has to carry all k is left out, which can
    only lower the radius.

    Examples
    --------
    Class 1 passes class 0 for 1 + 1 operations, class 2 for no less than 1 + 1 + 1 + 5.

    >>> import numpy as np
    >>> from certified_ensembles.certificates import priced_top_k_radius
    >>> ballots = np.array([[0, 0, 0, 0, 1]])
    >>> prices = np.array([[[0, 1, 5], [0, 1, 5], [0, 1, 9], [0, 1, 9], [3, 0, 7]]])
    >>> [priced_top_k_radius(ballots, prices, 3, 0, k).tolist() for k in (1, 2)]
    [[1], [7]]
    """
    vote = _PricedVote(ballots, prices, n_classes, open_set)
    k, n_classes = check_k(k), vote.n_classes
    label = check_label(label, len(vote.ballots), n_classes)
    plain = top_k_radius(vote.votes, label, k, open_set=open_set)
    costs = np.full((len(label), n_classes), NEVER)
    for b in range(n_classes):
        costs[:, b] = np.where(label == b, NEVER, vote.cost_to_pass(label, b))
    cost = np.sort(costs, axis=1)[:, k - 1] if k <= n_classes else np.full(len(label), NEVER)
    if open_set:
        # New labels are many, and all cost the same.
        cost = np.minimum(cost, vote.cost_to_pass(label, n_classes))
    return _radius(cost, plain)


def _radius(cost, plain):
    """Return what a price proves, or members that change for 1 each."""
    return np.where(cost < NEVER, np.maximum(cost - 1, plain), plain)


class _PricedVote:
    """Ballots and prices, checked, and what it costs that one class passes another."""

    def __init__(self, ballots, prices, n_classes, open_set):
        self.n_classes = check_n_classes(n_classes)
        n_targets = self.n_classes + bool(open_set)
        self.ballots, self.prices = _check(
            np.asarray(ballots), np.asarray(prices), self.n_classes, n_targets
        )
        counts = [np.count_nonzero(self.ballots == c, axis=1) for c in range(self.n_classes)]
        self.votes = np.stack(counts, axis=1).astype(np.int64)
        self.leave = self.prices.min(axis=2)

    def cost_to_pass(self, passed, t):
        """Return the least total price with which class `t` wins against class `passed`.

        Parameters
        ----------
        passed, t : int or ndarray of shape (n_samples,), int64
            `t` may be a class never seen, ``n_classes``.

        Returns
        -------
        cost : ndarray of shape (n_samples,), int64
            0 where it wins against it already, and where both are the same.
        """
        passed, t = (np.broadcast_to(codes, len(self.ballots))[:, None] for codes in (passed, t))
        votes = np.pad(self.votes, ((0, 0), (0, 1)))  # of a class never seen: none
        gap = np.take_along_axis(votes, passed, 1) - np.take_along_axis(votes, t, 1)
        gap += (passed < t) & (t < self.n_classes)
        turn = np.take_along_axis(self.prices, t[:, :, None], axis=2)[:, :, 0]
        mine = self.ballots == passed
        one, two = np.where(mine, self.leave, turn), np.where(mine, turn, NEVER)
        return np.where(passed == t, 0, _least_cost(gap[:, 0], one, two)[:, None])[:, 0]
