"""Members that are trained on the rows of one partition, and vote for classes."""

import numpy as np

from .trained import TrainedMembers
from .voting import count_votes, first_choices, iter_ballots, iter_scores, iter_votes


class PartitionMembers(TrainedMembers):
    """Members that see their own partition, which casts one ballot, by the sum of their scores.

    Parameters
    ----------
    estimator : classifier
        Unfitted; cloned for each member.
    classes : ndarray of shape (n_classes,)
        Sorted labels of the ensemble.
    open_set : bool
        Whether labels may come that nobody has seen.
    n_seeds : int, default=1
        Members of one partition.
    **how
        As in `TrainedMembers`.
    """

    score_methods = ("decision_function", "predict_proba")

    def __init__(self, estimator, classes, *, open_set, n_seeds=1, **how):
        if n_seeds > 1 and not any(hasattr(estimator, name) for name in self.score_methods):
            raise ValueError(
                f"n_seeds={n_seeds} sums the scores of the members of a partition, but "
                f"estimator={estimator!r} has no {' or '.join(self.score_methods)}. Use "
                "n_seeds=1, or an estimator that scores classes."
            )
        super().__init__(estimator, n_seeds=n_seeds, **how)
        self.classes, self.open_set = classes, open_set

    def fit(self, rows, y, partitions, seeds, params, **how):
        """Train the members: as in `TrainedMembers`; y holds labels."""
        super().fit(rows, y, partitions, seeds, params, **how)
        self.note_labels((y[own] for own in partitions), len(partitions))
        return self

    def note_labels(self, labels, n_partitions):
        """Keep which labels each member may vote for, given those of every partition."""
        self.seen = np.ones((n_partitions, len(self.classes)), dtype=bool)
        if self.open_set:
            # In an open set a member may vote only for labels of its own rows: else a label
            # that it makes up would begin to count when some other partition gets it.
            for seen, own in zip(self.seen, labels, strict=True):
                seen[:] = False
                seen[np.searchsorted(self.classes, own)] = True

    def _labels(self):
        """Return the sorted labels that members answer with."""
        return self.classes

    def _ask_classes(self, ask, X, **how):
        seen = np.repeat(self.seen, self.n_seeds, axis=0)
        return self._ask(ask, X, seen, self._labels(), **how)

    def scores(self, X, **how):
        """Yield the scores of the partitions, of shape (n_rows, n_partitions, n_classes)."""
        for scores in self._ask_classes(iter_scores, X, **how):
            yield scores if self.n_seeds == 1 else sum_over_seeds(scores, self.n_seeds)

    def ballots(self, X, **how):
        """Yield the ballots of the partitions, of shape (n_rows, n_partitions)."""
        if self.n_seeds == 1:
            return self._ask_classes(iter_ballots, X, **how)
        return map(first_choices, self.scores(X, **how))

    def votes(self, X, **how):
        """Yield the votes for every class, of shape (n_rows, n_classes)."""
        if self.n_seeds == 1:
            return self._ask_classes(iter_votes, X, **how)
        return (count_votes(ballots, len(self.classes)) for ballots in self.ballots(X, **how))


class LabelMembers(PartitionMembers):
    """Members that see the labels of their own partition, where labels alone may change."""

    def fit(self, rows, y, partitions, seeds, params, **how):
        """Train the members: as in `PartitionMembers`, without the rows that weigh nothing."""
        if "sample_weight" in params:
            # A row of weight zero is no row: a member that has no other abstains.
            weighted = np.asarray(params["sample_weight"]) != 0
            partitions = [own[weighted[own]] for own in partitions]
        return super().fit(rows, y, partitions, seeds, params, **how)


def sum_over_seeds(scores, n_seeds):
    """Return the scores of partitions: the sums over the members of each of them.

    Parameters
    ----------
    scores : ndarray of shape (n_samples, n_partitions * n_seeds, n_classes), float
        Scores of members, those of one partition side by side; -inf for a class that a member
        has not seen.
    n_seeds : int

    Returns
    -------
    sums : ndarray of shape (n_samples, n_partitions, n_classes), float64
        In double precision, in the order of the seeds: a sum depends on its own terms alone.
        -inf for a class that any of the members has not seen, or that has no sum.
    """
    scores = scores.reshape(len(scores), -1, n_seeds, scores.shape[2])
    sums = scores[:, :, 0].astype(np.float64)
    with np.errstate(invalid="ignore", over="ignore"):
        for j in range(1, n_seeds):  # a reduction of numpy's may take another order
            sums += scores[:, :, j]
    sums[np.isnan(sums)] = -np.inf
    return sums
