"""What an ensemble asks of its members, of whatever kind they are."""

from functools import partial
from types import MappingProxyType

import numpy as np

from ..certificates import collective_run_off_survivors, collective_survivors
from .questions import WINNER_STAYS


class BaseMembers:
    """One kind of members: how they are trained, and how they answer.

    A kind has ``fit``, and yields answers for spans of test rows: ``ballots`` (class indices, -1
    for an abstention), ``votes`` (counts for every class) and, where a second round may be
    asked for, ``scores``. All three take rows and ``n_jobs`` and ``verbose``.

    Attributes
    ----------
    classes : ndarray of shape (n_classes,)
        Sorted labels of the ensemble.
    open_set : bool
        Whether labels may come that nobody has seen.
    estimators : sequence
        The members that users see.
    errors : dict of int to Exception
        By their place among the estimators, why members could not be trained.
    notes : sequence of Note
        What the members warned of in training.
    """

    errors, notes = MappingProxyType({}), ()

    def take_device_rows(self):
        """Say whether members answer where test rows on a GPU are."""
        return False

    def seen_by_users(self):
        """Return the members as users get them."""
        return self.estimators

    def elect(self, X, *, aggregation="plurality", spread=None, question=WINNER_STAYS, **how):
        """Return class indices, and radii that count changed partitions.

        Parameters
        ----------
        X : test rows, as the members take them
        aggregation : {"plurality", "run_off"}
        spread : ndarray or None
            The members of every partition; None: one each.
        question : WinnerStays
            What the radii are about.
        **how
            `n_jobs` and `verbose`.

        Returns
        -------
        winner, radius : ndarrays of shape (n_samples,), int64
        """
        if aggregation == "run_off":
            answers, ask = self.scores(X, **how), partial(question.of_scores, spread=spread)
        elif spread is None:
            answers, ask = self.votes(X, **how), question.of_votes
        else:
            answers = self.ballots(X, **how)
            ask = partial(question.of_ballots, spread=spread, n_classes=len(self.classes))
        parts, start = [], 0
        for answer in answers:
            rows = slice(start, start + len(answer))
            parts.append(ask(answer, rows, open_set=self.open_set))
            start = rows.stop
        winners, radii = zip(*parts, strict=True)
        return np.concatenate(winners), np.concatenate(radii)

    def certify(self, X, **how):
        """Return what :meth:`elect` returns, with larger radii where the kind knows of them."""
        return self.elect(X, **how)

    def survivors(self, X, budget, *, aggregation, spread=None, n_jobs, verbose=0, **how):
        """Bound how many winners survive one attacker who has one budget for all rows.

        Parameters
        ----------
        X : test rows, as the members take them
        budget : int
            What the radii of :meth:`certify` count.
        aggregation, spread, n_jobs, verbose
            As for :meth:`elect`.
        **how
            What the certificate takes besides.

        Returns
        -------
        certificate : CollectiveCertificate
        """
        how |= {"open_set": self.open_set, "spread": spread}
        if aggregation == "run_off":
            scores = np.concatenate(list(self.scores(X, n_jobs=n_jobs, verbose=verbose)))
            return collective_run_off_survivors(scores, budget, **how)
        ballots = np.concatenate(list(self.ballots(X, n_jobs=n_jobs, verbose=verbose)))
        return collective_survivors(ballots, len(self.classes), budget, **how)
