"""Members that are trained on the rows of one partition."""

import numpy as np

from .._spec import MemberSpec
from .base import BaseMembers
from .shapes import fewest_rows, leaves_rows_alone
from .training import fit_members
from .voting import (
    count_votes,
    first_choices,
    iter_ballots,
    iter_scores,
    iter_votes,
    stateless_steps,
    take_device_rows,
)


class PartitionMembers(BaseMembers):
    """Members that see their own partition, one or several seeds each.

    Parameters
    ----------
    estimator : classifier
        Unfitted; cloned for each member.
    classes : ndarray of shape (n_classes,)
        Sorted labels of the ensemble.
    open_set : bool
        Whether labels may come that nobody has seen.
    n_seeds : int, default=1
        Members of one partition, which cast one ballot together, by the sum of their scores.
    memory : str, object with the joblib.Memory interface or None
    categorical : ndarray of shape (n_columns,), bool, or None
        The columns that reach members as categories.
    on_error : {"raise", "abstain"} or None, default=None
        Whether a member that cannot be trained, or cannot answer for a row, ends the fit or the
        prediction, or abstains. None: as "raise", where users have no such parameter.

    Attributes
    ----------
    estimators : list or StoredMembers
        The members of a partition side by side; None where it is empty, and for those that
        failed.
    errors : dict of int to Exception
        By their place, why members failed.
    notes : list of Note
        The warnings of the members.
    views : list of View
        The form in which each of them gets rows.
    """

    score_methods = ("decision_function", "predict_proba")
    # The seed of what members share when they answer; None: that of the first of them.
    steps_seed = None

    def __init__(
        self,
        estimator,
        classes,
        *,
        open_set,
        n_seeds=1,
        memory=None,
        categorical=None,
        on_error=None,
    ):
        if n_seeds > 1 and not any(hasattr(estimator, name) for name in self.score_methods):
            raise ValueError(
                f"n_seeds={n_seeds} sums the scores of the members of a partition, but "
                f"estimator={estimator!r} has no {' or '.join(self.score_methods)}. Use "
                "n_seeds=1, or an estimator that scores classes."
            )
        self.classes, self.open_set, self.n_seeds = classes, open_set, n_seeds
        self.spec, self.on_error = MemberSpec.of(estimator, memory, categorical), on_error
        self.fewest = fewest_rows(estimator)
        self.shared_rows = self.fewest is not None and leaves_rows_alone(estimator)

    @property
    def abstains(self):
        """Whether a failure is an abstention."""
        return self.on_error == "abstain"

    # ------------------------------------------------------------ training

    def fit(self, rows, y, partitions, seeds, params, *, n_jobs, verbose):
        """Train the members of every partition.

        Parameters
        ----------
        rows : TrainingRows
        y : ndarray of shape (n_train,)
            Labels.
        partitions : list of ndarray of int
            The training rows of every partition.
        seeds : list of int
            One for each member.
        params : dict
            Further arguments of the estimator's ``fit``.
        n_jobs, verbose
            As in the estimators.

        Returns
        -------
        self : PartitionMembers
        """
        trained, self.views = fit_members(
            self.spec,
            rows.as_given(),
            y,
            self._once_a_seed(partitions),
            seeds,
            params,
            n_jobs=n_jobs,
            verbose=verbose,
            abstain=self.abstains,
            numbers=rows.numbers,
        )
        self._keep(trained)
        self.steps, self.seeds = stateless_steps(self.spec.estimator), seeds
        self.seen = np.ones((len(partitions), len(self.classes)), dtype=bool)
        if self.open_set:
            # In an open set a member may vote only for labels of its own rows: else a label
            # that it makes up would begin to count when some other partition gets it.
            codes = np.searchsorted(self.classes, y)
            for seen, own in zip(self.seen, partitions, strict=True):
                seen[:] = False
                seen[codes[own]] = True
        return self

    def _keep(self, trained):
        self.estimators, self.errors, self.notes = trained

    def _once_a_seed(self, partitions):
        """Return the rows of every member: those of a partition once for each seed."""
        return [own for own in partitions for _ in range(self.n_seeds)]

    # ------------------------------------------------------------ answers

    def take_device_rows(self):
        """Say whether members answer where test rows on a GPU are: linear ones do."""
        return take_device_rows(self.estimators, self.steps)

    def _voters(self):
        """Return the members to ask, and the sorted labels that they answer with."""
        return self.estimators, self.classes

    def _asked(self):
        """Return the members to ask, the views of each, and the labels that they answer with."""
        voters, labels = self._voters()
        return voters, self.views, labels

    def _ask(self, ask, X, **how):
        voters, views, labels = self._asked()
        seen = np.repeat(self.seen, self.n_seeds, axis=0)
        how |= {"steps": self.steps, "views": views, "fewest": self.fewest}
        how["shared_rows"] = self.shared_rows
        how |= {"on_error": self.on_error, "steps_seed": self.steps_seed}
        how["seeds"] = self.seeds if self.spec.seeds_global_rng else None
        return ask(voters, seen, labels, X, **how)

    def scores(self, X, **how):
        """Yield the scores of the partitions, of shape (n_rows, n_partitions, n_classes)."""
        for scores in self._ask(iter_scores, X, **how):
            yield scores if self.n_seeds == 1 else sum_over_seeds(scores, self.n_seeds)

    def ballots(self, X, **how):
        """Yield the ballots of the partitions, of shape (n_rows, n_partitions)."""
        if self.n_seeds == 1:
            return self._ask(iter_ballots, X, **how)
        return map(first_choices, self.scores(X, **how))

    def votes(self, X, **how):
        """Yield the votes for every class, of shape (n_rows, n_classes)."""
        if self.n_seeds == 1:
            return self._ask(iter_votes, X, **how)
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
