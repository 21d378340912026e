"""The label flips that are worst for a linear smoother: they meet its exact radius.

A flipped label moves one known weight, so the best attack against a rival is to flip the labels
that move most. Whether it succeeds is not computed from these moves: the poisoned labels are
scored again, as a fit on them would.
"""

from typing import NamedTuple

import numpy as np
from tqdm.auto import tqdm

from ..certificates._exact_sums import sum_error_bound
from ..certificates._inputs import (
    check_budget,
    check_codes,
    check_n_classes,
    check_weights,
    float_block,
)
from ..certificates.linear import linear_smoother_winner


def flip_labels_of_smoother(weights, y, n_classes, budget, *, open_set=False, verbose=0):
    """Flip the labels that hurt each prediction of a linear smoother most.

    Parameters
    ----------
    weights : array-like of shape (n_samples, n_train)
        Weight of every training label at every test row, label-free.
    y : array-like of shape (n_train,)
        Training labels as integer codes in 0..n_classes - 1.
    n_classes : int
        Number of classes.
    budget : int
        Largest number of labels to change, at least 0.
    open_set : bool, default=False
        If True, the attacker may also write a label never seen, which sorts before all others
        and has the code `n_classes` here. Then each known class needs a row.
    verbose : int, default=0
        1 shows a progress bar over test rows.

    Returns
    -------
    y_poisoned : ndarray of shape (n_samples, n_train), int64
        For each test row the labels after the attack on it. They differ from `y` in `budget`
        places, or in fewer where no other change helps the attacker.

    Raises
    ------
    ValueError
        If an array has the wrong shape or values, or `budget` is negative.
    TypeError
        If `budget` is not an integer.

    See Also
    --------
    smallest_flip_attack : The least budget that changes each prediction.
    certified_ensembles.certificates.linear_smoother_radius : What no attack can do.

    Notes
    -----
    Against a rival b of the winner c the attack makes the changes that lower ``S_c - S_b``
    most: c to b at positive weights, b to c at negative ones, any other label to b or c by the
    sign of its weight. Of all rivals it takes the one that ends furthest ahead. No attack with
    the same number of flips does better, so it succeeds exactly if the radius of
    ``linear_smoother_radius`` is below the budget. It is the attack of appendix C.2 of [1]_,
    for any number of classes.

    Where the label set is open, the attack puts the new label on at least one row, because a
    class without rows is no class. The certificate does not count on that, and so its radius may
    be one less than what this attack shows.

    The result needs ``8 * n_samples * n_train`` bytes; pass test rows in blocks where that is
    too much.

    References
    ----------
    .. [1] E. Rosenfeld, E. Winston, P. Ravikumar and J. Z. Kolter, "Certified Robustness to
       Label-Flipping Attacks via Randomized Smoothing", ICML 2020.

    Examples
    --------
    Five neighbours vote 4 to 1: two flips turn them.

    >>> import numpy as np
    >>> from certified_ensembles.attacks import flip_labels_of_smoother
    >>> flip_labels_of_smoother(np.ones((1, 5)), [1, 1, 1, 0, 1], n_classes=2, budget=2)
    array([[0, 0, 1, 0, 1]])
    """
    budget = check_budget(budget)
    weights, y, n_classes = _check(weights, y, n_classes, open_set)
    poisoned = np.tile(y, (len(weights), 1))
    if budget:
        for i, row in enumerate(_rows(weights, y, n_classes, open_set, verbose)):
            poisoned[i] = row.worst_labels(budget)
    return poisoned


def smallest_flip_attack(weights, y, n_classes, *, open_set=False, max_flips=None, verbose=0):
    """Return the least number of label flips that changes each prediction of a smoother.

    Parameters
    ----------
    weights : array-like of shape (n_samples, n_train)
        Weight of every training label at every test row, label-free.
    y : array-like of shape (n_train,)
        Training labels as integer codes in 0..n_classes - 1.
    n_classes : int
        Number of classes.
    open_set : bool, default=False
        If True, the attacker may also write a label never seen, which sorts before all others.
        Then each known class needs a row.
    max_flips : int, default=None
        Largest number of flips to try. None means all labels.
    verbose : int, default=0
        1 shows a progress bar over test rows.

    Returns
    -------
    n_flips : ndarray of shape (n_samples,), int64
        Number of flips of the smallest attack, at least 1; ``n_train + 1`` where no attack
        within `max_flips` changes the prediction.

    Raises
    ------
    ValueError
        If an array has the wrong shape or values, or `max_flips` is negative.
    TypeError
        If `max_flips` is not an integer.

    See Also
    --------
    flip_labels_of_smoother : The poisoned labels of such an attack.
    empirical_robust_accuracy : From these numbers to a curve.

    Notes
    -----
    Every number was confirmed by scoring the smoother on the poisoned labels in exact
    arithmetic, with the classes that they still hold if `open_set`. With a closed label set it
    is one more than the radius of ``linear_smoother_radius``; with an open one, one or two more:
    the new label must stand on a row before it wins.

    Examples
    --------
    >>> import numpy as np
    >>> from certified_ensembles.attacks import smallest_flip_attack
    >>> smallest_flip_attack(np.ones((1, 5)), [1, 1, 1, 0, 1], n_classes=2)
    array([2])
    """
    weights, y, n_classes = _check(weights, y, n_classes, open_set)
    max_flips = len(y) if max_flips is None else min(check_budget(max_flips), len(y))
    n_flips = [
        row.least_flips(max_flips) for row in _rows(weights, y, n_classes, open_set, verbose)
    ]
    return np.array(n_flips, dtype=np.int64)


def _check(weights, y, n_classes, open_set):
    n_classes = check_n_classes(n_classes)
    y = check_codes(y, n_classes)
    weights = check_weights(weights, len(y))
    if open_set:
        missing = np.setdiff1d(np.arange(n_classes), y)
        if len(missing):
            raise ValueError(
                f"y holds no row of the classes {missing[:5].tolist()}, and with open_set=True "
                "the classes are the labels seen: encode the labels again, or pass "
                "open_set=False."
            )
    return weights, y, n_classes


def _rows(weights, y, n_classes, open_set, verbose):
    for i in tqdm(range(len(weights)), desc="attack", unit="row", disable=not verbose):
        block, largest = float_block(weights, slice(i, i + 1))
        slack = float(sum_error_bound(len(y), largest)[0])
        yield _TestRow(block[0], y, n_classes, open_set, slack)


class _Plan(NamedTuple):
    """The flips for one rival, the best first: which labels, what each wins, what it becomes."""

    rival: int
    lead: float
    order: np.ndarray
    won: np.ndarray
    label: np.ndarray


class _TestRow:
    """One test row of a linear smoother, as its attacker sees it."""

    def __init__(self, weights, y, n_classes, open_set, slack):
        self.weights, self.y, self.n_classes, self.slack = weights, y, n_classes, slack
        self.open_set = open_set
        self.winner = self.predict(y)
        scores = np.append(np.bincount(y, weights, minlength=n_classes), 0.0)
        self.leads = scores[self.winner] - scores
        rivals = np.argsort(self.leads, kind="stable")
        last = n_classes + bool(open_set)
        self.rivals = [b for b in rivals.tolist() if b != self.winner and b < last]

    def predict(self, labels):
        """Return the winner on these labels, as a fit on them would predict."""
        n_classes = self.n_classes
        if not self.open_set:
            return int(linear_smoother_winner(self.weights[None], labels, n_classes)[0])
        # The new label sorts first, and a class that has lost its rows is no class any more.
        seen, codes = np.unique((labels + 1) % (n_classes + 1), return_inverse=True)
        winner = linear_smoother_winner(self.weights[None], codes, len(seen))[0]
        return int(seen[winner] - 1) % (n_classes + 1)

    def drops(self, rival):
        """Return by how much a change of each label lowers the lead over a rival at most."""
        signed = np.where(self.y == self.winner, self.weights, 0.0)
        signed[self.y == rival] = -self.weights[self.y == rival]
        return np.abs(self.weights) + signed

    def plan(self, rival):
        """Return all changes that help a rival, the largest first."""
        drop = self.drops(rival)
        helpful = np.flatnonzero(drop > 0)
        order = helpful[np.argsort(-drop[helpful], kind="stable")]
        to_rival = (self.y != rival) & (self.weights > 0)
        label = np.where(to_rival, rival, self.winner)
        return _Plan(rival, self.leads[rival], order, drop[order], label)

    def labels_after(self, plan, n_flips):
        """Return the labels after at most this many flips of a plan."""
        labels = self.y.copy()
        chosen = plan.order[:n_flips]
        labels[chosen] = plan.label[chosen]
        new = self.n_classes
        if plan.rival == new and n_flips and not (labels == new).any():
            # A label never seen competes only once a row carries it.
            if len(chosen) == n_flips:
                labels[chosen[-1]] = self.y[chosen[-1]]
            labels[self._first_carrier()] = new
        return labels

    def _first_carrier(self):
        """Return the row on which a label never seen gains most on the winner."""
        is_winners = self.y == self.winner
        gain = self.weights * (1 + is_winners)
        if gain.max() < 0:
            # All scores are negative: only the winner's own rows hold the new label back.
            gain[~is_winners] = -np.inf
        return gain.argmax()

    def changed(self, plan, n_flips):
        """Say whether the prediction changes after this many flips of a plan."""
        return self.predict(self.labels_after(plan, n_flips)) != self.winner

    def least_flips(self, max_flips):
        """Return the least number of flips that changes the prediction, n_train + 1 if none."""
        best = max_flips + 1
        for rival in self.rivals:
            if not self._within(rival, best - 1):
                continue
            plan = self.plan(rival)
            fewest = np.count_nonzero(np.cumsum(plan.won) < plan.lead - self.slack) + 1
            most = min(best - 1, len(plan.order) + self.open_set)
            best = _first(lambda m, plan=plan: self.changed(plan, m), fewest, most, best)
        return best if best <= max_flips else len(self.y) + 1

    def _within(self, rival, n_flips):
        """Say whether so many flips may win a rival its lead; much faster than a sort."""
        if not 0 < n_flips < len(self.y):
            return n_flips > 0
        drop = self.drops(rival)
        most = np.partition(drop, len(drop) - n_flips)[len(drop) - n_flips :].sum()
        return most >= self.leads[rival] - self.slack

    def worst_labels(self, budget):
        """Return the labels after the attack whose rival ends furthest ahead."""
        plans = [self.plan(rival) for rival in self.rivals]
        behind = np.array([plan.lead - plan.won[:budget].sum() for plan in plans])
        order = np.argsort(behind, kind="stable")
        # Sums decide nothing where they are closer to the lead than their own rounding.
        for i in order[behind[order] <= self.slack]:
            if self.changed(plans[i], budget):
                return self.labels_after(plans[i], budget)
        return self.labels_after(plans[order[0]], budget) if plans else self.y


def _first(test, low, high, otherwise):
    """Return the least number in low..high that passes a monotone test, tried near low first."""
    if low > high:
        return otherwise
    tried, step = low, 1
    while not test(tried):
        if tried == high:
            return otherwise
        low, tried, step = tried + 1, min(tried + step, high), 2 * step
    while low < tried:
        middle = (low + tried) // 2
        if test(middle):
            tried = middle
        else:
            low = middle + 1
    return tried
