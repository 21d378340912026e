"""What is known of a fitted ensemble before it is asked: members, partitions, assumptions."""

from typing import NamedTuple

import numpy as np
from sklearn.frozen import FrozenEstimator
from sklearn.pipeline import Pipeline

from .._certificate import find_ensemble
from .._deterministic import parts_of

_DECIDED_BY = {
    "features": "a hash of the features of a row",
    "features and label": "a hash of the features and the label of a row",
    "source": "the source of a row",
    "period": "the period of a row",
}


class EnsembleFacts(NamedTuple):
    """What a report says of an ensemble itself.

    Attributes
    ----------
    kind : str
        Its class.
    member : str or None
        What each member is.
    n_members : int or None
        Number of members; None where the estimator has none.
    n_abstaining : int
        Members that answer for no row: they have no rows or could not be trained.
    n_train : int or None
        Number of training rows.
    decided_by : str or None
        What decides the partition of a training row.
    partition_sizes : ndarray of shape (n_partitions,), int64, or None
        Training rows of each partition.
    block_sizes : ndarray of shape (n_blocks,), int64, or None
        Columns of each block.
    assumptions : tuple of str
        What radii rest on.
    """

    kind: str
    member: str | None = None
    n_members: int | None = None
    n_abstaining: int = 0
    n_train: int | None = None
    decided_by: str | None = None
    partition_sizes: np.ndarray | None = None
    block_sizes: np.ndarray | None = None
    assumptions: tuple = ()

    @classmethod
    def of(cls, estimator):
        """Return the facts of a fitted ensemble, also behind pipelines, searches and the like.

        Parameters
        ----------
        estimator : fitted estimator
            As :func:`certified_ensembles.certify` takes it.

        Returns
        -------
        facts : EnsembleFacts
        """
        outermost = find_ensemble(estimator)
        ensemble = outermost
        while hasattr(ensemble, "_that_certifies"):
            ensemble = ensemble._that_certifies
        members = getattr(ensemble, "estimators_", None)
        partition = getattr(ensemble, "partition_", None)
        blocks = getattr(ensemble, "block_of_feature_", None)
        return cls(
            kind=type(outermost).__name__,
            member=_member_in_words(ensemble),
            n_members=None if members is None else len(members),
            n_abstaining=sum(member is None for member in _unloaded(members)),
            n_train=getattr(ensemble, "n_samples_fit_", None)
            if partition is None
            else len(partition),
            decided_by=_DECIDED_BY.get(getattr(ensemble, "partitioned_by_", None)),
            partition_sizes=None if partition is None else _sizes(ensemble, partition),
            block_sizes=None
            if blocks is None
            else np.bincount(np.ravel(blocks), minlength=ensemble.n_blocks),
            assumptions=tuple(_assumptions(estimator, ensemble)),
        )

    def in_words(self):
        """Return what is known as pairs of a name and a text."""
        words = [("kind", self.kind), ("each member", self.member)]
        if self.n_members is not None:
            silent = f", of which {self.n_abstaining:,} can answer for no row"
            words.append(("members", f"{self.n_members:,}{silent * bool(self.n_abstaining)}"))
        words.append(("training rows", None if self.n_train is None else f"{self.n_train:,}"))
        for name, own, sizes in (
            ("partitions", "rows", self.partition_sizes),
            ("blocks", "columns", self.block_sizes),
        ):
            if sizes is not None:
                words.append((name, f"{len(sizes):,}, with {_range_of(sizes, own)}"))
        words.append(("decided by", self.decided_by))
        return [(name, text) for name, text in words if text is not None]


def _unloaded(members):
    """Return members without loading what stays in the folder of a cache."""
    return getattr(members, "members", members) or ()


def _range_of(sizes, own):
    least, most = int(sizes.min()), int(sizes.max())
    if least == most:
        return f"{least:,} {own if least != 1 else own[:-1]} each"
    return f"{least:,} to {most:,} {own}; half of them have {int(np.median(sizes)):,} or more"


def _member_in_words(ensemble):
    """Return what each member is, shortly."""
    base = getattr(ensemble, "_member_estimator", None) or getattr(
        ensemble, "_last_estimator", None
    )
    if base is None:
        return None
    base = base()
    if isinstance(base, Pipeline):
        return " -> ".join(type(step).__name__ for _, step in base.steps)
    return type(base).__name__


def _sizes(ensemble, partition):
    """Return the training rows of each partition, without those that were left out."""
    if partition.ndim == 2:  # one partition in each block of columns
        own = [np.bincount(column, minlength=ensemble.n_partitions) for column in partition.T]
        return np.concatenate(own)
    by_columns = hasattr(ensemble, "n_blocks")
    n_partitions = ensemble.n_partitions if by_columns else ensemble._n_partitions
    return np.bincount(partition[partition >= 0], minlength=n_partitions)


def _assumptions(estimator, ensemble):
    """Yield what the radii rest on, each as a sentence."""
    yield (
        "Nothing outside the ensemble (a step before it, a parameter, the choice of this model) "
        "was learned or chosen on rows that an attacker can touch."
    )
    by = getattr(ensemble, "partitioned_by_", None)
    if by in ("source", "period"):
        yield f"The {by} of every training row is known for certain."
    if getattr(ensemble, "_counts_annotators", False):
        yield "Who wrote each label is known for certain, and was settled before the labels were."
    if getattr(ensemble, "_default_threat", None) == "label_flip":
        yield "Training rows and their features are trusted: labels alone may be hostile."
    if getattr(ensemble, "bounds", None) is not None and hasattr(ensemble, "smoother_"):
        yield f"Hostile targets, like all others, stay within bounds={ensemble.bounds!r}."
    if getattr(ensemble, "certificate", None) == "monte_carlo":
        yield (
            f"Each radius holds with probability {ensemble.confidence:g}, over noise that was "
            "drawn when the labels were final and known to nobody before."
        )
    if hasattr(ensemble, "n_blocks"):
        words = getattr(ensemble, "_column_unit", None) == "words"
        yield (
            "The counted words may be added and struck in the test row as well, and nothing else "
            "of it may. One word leaves all others of a text as they are."
            if words
            else "The number, names and order of columns are trusted. The counted columns may be "
            "rewritten in the test row as well, and nothing else of it may."
        )
    else:
        yield "A test row reaches the ensemble as it is: radii say nothing of altered test rows."
    frozen = [
        type(part.estimator).__name__
        for part in parts_of(estimator)
        if isinstance(part, FrozenEstimator) and not hasattr(find_or_none(part), "certify")
    ]
    if frozen:
        yield (
            f"What is frozen ({', '.join(dict.fromkeys(frozen))}) was fitted on rows out of the "
            "attacker's reach."
        )


def find_or_none(estimator):
    """Return the ensemble inside an estimator, or None if there is none."""
    try:
        return find_ensemble(estimator)
    except (AttributeError, TypeError):
        return None
