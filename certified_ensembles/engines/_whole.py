"""The members of an ensemble, put together from buckets that were trained apart."""

from dataclasses import replace

import numpy as np

from .._members import Trained
from ._blocks import join_labels
from ._plan import Summary


class Whole:
    """What has come back of a plan.

    Parameters
    ----------
    plan : FitPlan

    Attributes
    ----------
    sizes : ndarray of shape (n_partitions,), int64
        Rows of every partition.
    summary : Summary
        Of all blocks.
    notes : dict
        Warnings that are no member's, as its keys, ``(category, text)``.
    """

    def __init__(self, plan):
        self.plan, self.summary, self.notes = plan, Summary(), {}
        self.n_seeds, self._n_partitions = plan.members.n_seeds, plan.ensemble._n_partitions
        self.sizes = np.zeros(self._n_partitions, dtype=np.int64)
        n_members = self._n_partitions * self.n_seeds
        self._members, self._views = [None] * n_members, [None] * n_members
        self._labels = [()] * self._n_partitions
        self._errors, self._member_notes, self._came, self._n_rows = {}, [], set(), 0

    @property
    def n_members(self):
        """Number of members, with those that have no rows."""
        return len(self._members)

    def add(self, part):
        """Add the members of a bucket, or a summary; return how many members came.

        Parameters
        ----------
        part : TrainedPart or Summary
        """
        if isinstance(part, Summary):
            self.summary += part
            return 0
        if part.bucket in self._came:
            raise RuntimeError(f"The rows of bucket {part.bucket} came in two halves.")
        self._came.add(part.bucket)
        first = part.bucket * self.plan.width * self.n_seeds
        members, errors, notes = part.trained
        self._members[first : first + len(members)] = members
        self._views[first : first + len(members)] = part.views
        self._errors |= {first + i: error for i, error in errors.items()}
        self._member_notes += notes
        self._n_rows += part.n_rows
        if part.labels is not None:
            first = part.bucket * self.plan.width
            self._labels[first : first + len(part.labels)] = part.labels
        for partition, size in part.sizes.items():
            self.sizes[partition] = size
        self.notes |= dict.fromkeys(part.notes)
        return len(members)

    def check(self):
        """Raise if rows were lost on the way, or there were none."""
        if self.summary.n_rows == 0:
            raise ValueError("X has no rows in any of its blocks: at least one is needed.")
        if self.summary.n_sent == 0:
            raise ValueError(
                f"None of the {self.summary.n_rows} rows of X has a canonical form, such as "
                f"{self.summary.first_left_out}."
            )
        if self.summary.n_sent != self._n_rows:
            raise RuntimeError(
                f"{self.summary.n_sent} rows were sent to members and {self._n_rows} came: the "
                "blocks of X gave other rows when they were computed again. Write them to files, "
                "and fit on these."
            )

    def trained(self):
        """Return all members as one `Trained`."""
        return Trained(self._members, dict(sorted(self._errors.items())), self._member_notes)

    def views(self):
        """Return the view of every member, those that a fit of one process gives them."""
        known = {}
        views = [v if v is None else known.setdefault(v, v) for v in self._views]
        some = next(iter(known), None)  # None: nobody could be trained, which is said elsewhere
        if self.plan.declared.is_text or all(view.kinds is None for view in known):
            return [some] * len(views)
        # Among rows of one table, some of which hold words, no view says that all are numbers.
        n_columns = self.plan.declared.n_columns
        for view in list(known):
            if view.kinds is None:
                named = replace(view, kinds="n" * n_columns)
                known[view] = known.setdefault(named, named)
        pairs = zip(views, self._members, strict=True)
        return [None if member is None else known[view] for view, member in pairs]

    def labels(self):
        """Return the labels of every partition, and all of them sorted."""
        return self._labels, np.unique(join_labels([own for own in self._labels if len(own)]))
