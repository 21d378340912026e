"""What is asked of a vote: does the winner stay, can a label win, does one stay among the first.

A question answers for the votes, ballots, scores or prices of some test rows, and returns the
winner and the radius of each. Radii count changed partitions, or operations where members have
prices.
"""

import numpy as np

from .._certificate import question_arguments
from .._data.array_api import on_host
from .._data.containers import n_rows
from .._data.labels import check_labels, check_same_kind
from ..certificates import (
    finite_aggregation_radius,
    finite_run_off_radius,
    finite_target_radius,
    finite_top_k_radius,
    plurality_radius,
    priced_plurality_radius,
    priced_target_radius,
    priced_top_k_radius,
    run_off_radius,
    run_off_target_radius,
    target_radius,
    top_k_radius,
)
from .voting import count_votes, first_choices


class WinnerStays:
    """Within the radius the winner stays."""

    def of_votes(self, votes, rows, *, open_set):
        """Answer for the votes of some test rows, a slice of all that are asked about."""
        return plurality_radius(votes, open_set=open_set)

    def of_ballots(self, ballots, rows, *, spread, n_classes, open_set):
        """Answer for ballots, where a partition reaches several members."""
        return finite_aggregation_radius(ballots, spread, n_classes, open_set=open_set)

    def of_scores(self, scores, rows, *, spread, open_set):
        """Answer for scores, by which members hold a run-off."""
        if spread is None:
            return run_off_radius(scores, open_set=open_set)
        return finite_run_off_radius(scores, spread, open_set=open_set)

    def of_prices(self, ballots, prices, n_classes, *, open_set):
        """Answer for ballots and prices: the winner, and what `of_all_prices` takes."""
        return priced_plurality_radius(ballots, prices, n_classes, open_set=open_set)

    def of_all_prices(self, winner, radius):
        """Return winner and radius, given what `of_prices` said of all test rows."""
        return winner, radius


WINNER_STAYS = WinnerStays()


class AmongTheFirst(WinnerStays):
    """Within the radius the winner stays among the k labels with most votes.

    Parameters
    ----------
    k : int
    """

    def __init__(self, k):
        self.k = k

    def of_votes(self, votes, rows, *, open_set):
        winner = votes.argmax(axis=1)
        return winner, top_k_radius(votes, winner, self.k, open_set=open_set)

    def of_ballots(self, ballots, rows, *, spread, n_classes, open_set):
        winner = count_votes(ballots, n_classes).argmax(axis=1)
        return winner, self._of_ballots(ballots, winner, spread, n_classes, open_set)

    def _of_ballots(self, ballots, label, spread, n_classes, open_set):
        if spread is None:
            return top_k_radius(count_votes(ballots, n_classes), label, self.k, open_set=open_set)
        return finite_top_k_radius(ballots, spread, n_classes, label, self.k, open_set=open_set)

    def of_scores(self, scores, rows, *, spread, open_set):
        winner, steady = super().of_scores(scores, rows, spread=spread, open_set=open_set)
        # The votes are those of the first round, of which the winner is among the first two.
        ballots = first_choices(scores)
        radius = self._of_ballots(ballots, winner, spread, scores.shape[2], open_set)
        return winner, np.maximum(radius, steady) if self.k > 1 else radius

    def of_prices(self, ballots, prices, n_classes, *, open_set):
        winner = count_votes(ballots, n_classes).argmax(axis=1)
        return winner, priced_top_k_radius(
            ballots, prices, n_classes, winner, self.k, open_set=open_set
        )


class NeverWins(WinnerStays):
    """Within the radius none of some labels becomes the winner; -1 where one is it.

    Parameters
    ----------
    labels : ndarray
        Of shape (n_samples,): one label a row. Of shape (1, n_labels): none of them may win, at
        any row.
    classes : ndarray of shape (n_classes,)
        The labels of the ensemble. Others may be among `labels` in an open set: an attacker can
        bring them, and where they sort decides ties.
    """

    def __init__(self, labels, classes):
        every = np.union1d(classes, labels)
        self.known, self.n_classes = np.searchsorted(every, classes), len(every)
        self.codes = np.searchsorted(every, labels)

    def of_votes(self, votes, rows, *, open_set):
        return self._answer(target_radius, self._all_classes(votes, 0), votes.argmax(axis=1), rows)

    def of_ballots(self, ballots, rows, *, spread, n_classes, open_set):
        winner = count_votes(ballots, n_classes).argmax(axis=1)
        ask = _given(finite_target_radius, spread, self.n_classes)
        return self._answer(ask, self._renumbered(ballots), winner, rows)

    def of_scores(self, scores, rows, *, spread, open_set):
        winner, _ = run_off_radius(scores, open_set=open_set)

        def ask(scores, codes):
            return run_off_target_radius(scores, codes, spread=spread, open_set=open_set)

        return self._answer(ask, self._all_classes(scores, -np.inf), winner, rows)

    def of_prices(self, ballots, prices, n_classes, *, open_set):
        winner = count_votes(ballots, n_classes).argmax(axis=1)
        # A label never seen has one price, whichever it is.
        new = prices[..., [-1]] if open_set else 0
        prices = np.concatenate(
            [self._all_classes(prices[..., :n_classes], new), prices[..., n_classes:]], axis=2
        )
        vote = self._renumbered(ballots), prices, self.n_classes
        radii = [
            priced_target_radius(*vote, int(t), open_set=open_set) for t in np.unique(self.codes)
        ]
        return winner, np.stack(radii, axis=1)

    def of_all_prices(self, winner, radius):
        column = np.searchsorted(np.unique(self.codes), self.codes)
        if self.codes.ndim == 1:
            radius = np.take_along_axis(radius, column[:, None], axis=1)
        return winner, self._standing(winner, radius.min(axis=1), slice(None))

    # ------------------------------------------------------------ labels never seen

    def _all_classes(self, counts, fill):
        """Return an array by class with entries for labels never seen, too."""
        if self.n_classes == len(self.known):
            return counts
        shape = (*counts.shape[:-1], self.n_classes)
        wide = np.empty(shape, dtype=np.result_type(counts, np.min_scalar_type(fill)))
        wide[...] = fill
        wide[..., self.known] = counts
        return wide

    def _renumbered(self, ballots):
        return np.append(self.known, -1)[ballots]

    # ------------------------------------------------------------ answers

    def _answer(self, ask, answers, winner, rows):
        codes = self.codes[rows] if self.codes.ndim == 1 else self.codes[0].tolist()
        return winner, self._standing(winner, ask(answers, codes), rows)

    def _standing(self, winner, radius, rows):
        """Return radii, -1 where a target is the winner today.

        Where nobody votes, a label never seen would win ties, and is not there yet.
        """
        codes = self.codes[rows, None] if self.codes.ndim == 1 else self.codes
        wins = (self.known[winner][:, None] == codes).any(axis=1)
        return np.where(wins, -1, np.maximum(radius, 0))


def _given(radius, spread, n_classes):
    def ask(ballots, codes):
        return radius(ballots, spread, n_classes, codes)

    return ask


def question_of(X, classes, open_set, *, target=None, top_k=None):
    """Return the question that a user asks about test rows.

    Parameters
    ----------
    X : test rows
    classes : ndarray of shape (n_classes,)
        Sorted labels of the ensemble.
    open_set : bool
        Whether labels may come that nobody has seen.
    target : label, array-like of shape (n_samples,), or list, tuple or set of labels, default=None
        The label that must not win; an array has one a row, and of a list none may win.
    top_k : int, default=None
        Among how many labels the winner has to stay.

    Returns
    -------
    question : WinnerStays

    Raises
    ------
    ValueError
        If both are asked, or one is unusable; the message names it, the value and the remedy.
    """
    asked = question_arguments(target, top_k)
    if not asked:
        return WINNER_STAYS
    if top_k is not None:
        return AmongTheFirst(asked["top_k"])
    return NeverWins(_check_labels_of(target, n_rows(X), classes, open_set), classes)


def _check_labels_of(target, n_samples, classes, open_set):
    """Return one label a row, of shape (n_samples,), or some for all, of shape (1, n_labels)."""
    target = on_host(target)
    if isinstance(target, list | tuple | range | set | frozenset):
        several = list(target)
    else:
        several = [target] if np.ndim(target) == 0 else None
    labels = np.asarray(target if several is None else several)
    if labels.ndim != 1 or several == []:
        raise ValueError(
            f"target={target!r} must be a label, an array with one label a row, or a list of "
            "labels, of which none may win."
        )
    if several is None and len(labels) != n_samples:
        raise ValueError(
            f"target has {len(labels)} labels for {n_samples} rows: an array names one a row. "
            "Pass a list for several labels, of which none may win."
        )
    check_labels(labels if several is None else several, "target", "Name the label.")
    check_same_kind(labels, classes, "target", "classes_")
    unknown = np.setdiff1d(labels, classes)
    if len(unknown) and not open_set:
        raise ValueError(
            f"target={unknown[0]!r} is not among classes_={classes.tolist()}: in a closed set it "
            "can never be predicted. Pass one of these labels."
        )
    return labels if several is None else labels[None]
