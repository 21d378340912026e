"""Members that are trained on consecutive periods of time."""

import numpy as np

from .._data.periods import CYCLE
from ..certificates import window_radius
from .asking import are_linear
from .partition import PartitionMembers
from .voting import count_votes, iter_votes


class InTime:
    """Mixin of members in the order of time, of which there are more with every new period.

    Partitions are as many as an attacker cannot change. Periods are not: whoever owns one may
    bring rows where there were none, or take away the oldest ones. So nothing may follow from how
    many members there are, nor from which of them is the first: linear members share products of
    `CYCLE` members, in which the place of a member follows from its period.

    Parameters
    ----------
    *args, **how
        As in the kind that it is mixed into.
    first : int
        The period of the first member.
    width : int
        The number of periods that a member is trained on.
    steps_seed : int
        The seed of what members share when they answer.
    """

    def __init__(self, *args, first, width, steps_seed, **how):
        super().__init__(*args, **how)
        self.width, self.steps_seed = width, steps_seed
        self.n_before = first % CYCLE * self.n_seeds

    def fit(self, *args, **how):
        """Train the members, and see whether they are asked by products."""
        super().fit(*args, **how)
        self.by_products = are_linear(self.estimators, self.steps)
        return self

    def take_device_rows(self):
        """Say whether members answer where test rows on a GPU are: products there are wider."""
        return False

    def _asked(self):
        voters, views = super()._asked()
        if not self.by_products:
            return voters, views
        n_after = -(self.n_before + len(voters)) % CYCLE
        before, after = [None] * self.n_before, [None] * n_after
        any_view = views[0] if all(view is views[0] for view in views) else None
        views = [any_view] * len(before) + list(views) + [any_view] * len(after)
        return before + list(voters) + after, views

    def _ask(self, ask, X, *given, **how):
        answers = super()._ask(ask, X, *given, **how)
        if not self.by_products or ask is iter_votes:
            return answers
        own = slice(self.n_before, self.n_before + len(self.estimators))
        return (answer[:, own] for answer in answers)


class PeriodMembers(InTime, PartitionMembers):
    """Members in the order of time that vote for classes."""

    def windows(self, X, *, newest, **how):
        """Return class indices, and the longest windows of time that each survives.

        Parameters
        ----------
        X : test rows, as the members take them
        newest : bool
            Whether windows end with the newest period, or later; else they may be anywhere.
        **how
            `n_jobs` and `verbose`.

        Returns
        -------
        winner, radius : ndarrays of shape (n_samples,), int64
        """
        n_classes, winners, radii = len(self.classes), [], []
        for ballots in self.ballots(X, **how):
            winners.append(count_votes(ballots, n_classes).argmax(axis=1))
            radii.append(
                window_radius(
                    ballots,
                    n_classes,
                    width=self.width,
                    newest=newest,
                    open_set=self.open_set,
                    open_ends=True,
                )
            )
        return np.concatenate(winners), np.concatenate(radii)
