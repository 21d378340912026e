"""Members that see every row and the labels of one partition; partitions without labels."""

import warnings

import joblib
import numpy as np
from sklearn.utils.metaestimators import available_if

from .._data.canonical import canonical_order
from .._data.containers import n_rows, own_copy
from .._data.training_rows import take_params
from .._deterministic import one_thread
from .._member_warnings import in_name_of, taking_notes
from .._spec import Outcome
from .constant import ConstantMember
from .failures import remedy
from .partition import PartitionMembers
from .training import attempt, names_by_row, own_params, train_members

# Rows trained on, over all members, from which a user should hear about the cost.
_MANY_ROWS = 1_000_000


class MaskedMember:
    """A semi-supervised member that answers with labels instead of codes.

    Parameters
    ----------
    estimator : estimator
        Fitted on labels coded 0, 1, ... with -1 for rows of other partitions.
    classes : ndarray of shape (n_classes,)
        The sorted labels that the codes stand for: those of its partition, or a closed set.

    Attributes
    ----------
    estimator_, classes_
        The same.
    """

    def __init__(self, estimator, classes):
        self.estimator_ = estimator
        self.classes_ = classes

    def codes(self, X):
        """Return indices into ``classes_``; -1 where the estimator leaves a row unlabelled."""
        codes = np.asarray(self.estimator_.predict(X))
        return np.where((codes >= 0) & (codes < len(self.classes_)), codes, -1).astype(np.int64)

    def predict(self, X):
        """Return labels; None where the estimator leaves a row unlabelled."""
        codes = self.codes(X)
        labels = self.classes_[codes]
        if (codes < 0).any():
            labels = labels.astype(object)
            labels[codes < 0] = None
        return labels


def _has_shares(view):
    return isinstance(view.member, ConstantMember) or hasattr(
        view.member.estimator_, "predict_proba"
    )


class InCodes:
    """A view of a member that answers with indices into the labels of the ensemble.

    So an abstention needs no label to stand for it.

    Parameters
    ----------
    member : MaskedMember or ConstantMember
    classes : ndarray of shape (n_classes,)
        Sorted labels of the ensemble.
    """

    def __init__(self, member, classes):
        self.member = member
        self.lookup = np.searchsorted(classes, member.classes_)

    @property
    def classes_(self):
        """The class index of each column of `predict_proba`."""
        if isinstance(self.member, ConstantMember):
            return self.lookup
        return self.lookup[self.member.estimator_.classes_]

    def predict(self, X):
        """Return class indices, -1 for an abstention."""
        if isinstance(self.member, ConstantMember):
            return np.full(n_rows(X), self.lookup[0])
        codes = self.member.codes(X)
        return np.where(codes < 0, -1, self.lookup[codes])

    @available_if(_has_shares)
    def predict_proba(self, X):
        """Return the shares of the classes that the member knows."""
        if isinstance(self.member, ConstantMember):
            return np.ones((n_rows(X), 1))
        return self.member.estimator_.predict_proba(X)


class MaskedMembers(PartitionMembers):
    """Semi-supervised members: all rows, and the labels of one partition; -1 for the others.

    Parameters
    ----------
    As in `PartitionMembers`, with an estimator that takes -1 for an unlabelled row.

    Attributes
    ----------
    estimators : list
        :class:`MaskedMember`; a constant member where there is a single label and the
        estimator refuses that, None where there is none.
    """

    # A member is asked in codes, for shares only.
    score_methods = ("predict_proba",)

    def fit(self, rows, y, partitions, seeds, params, *, n_jobs, verbose):
        """Train one member on all rows for each set of rows that keep their labels.

        Parameters
        ----------
        rows : TrainingRows
            With their different rows.
        y, partitions, seeds, params, n_jobs, verbose
            As in `PartitionMembers`; params of length n_train go with the rows.

        Returns
        -------
        self : MaskedMembers
        """
        own_rows, n = self._once_a_seed(partitions), len(y)
        warn_of_cost(len(own_rows), n)
        self.name_arguments(params)
        X, order = self.fixed.features(rows).in_canonical_order()
        view, copies, y = self.spec.view(X), rows.index[order], y[order]
        X, self.views = view.hand_out(X), [view] * len(own_rows)
        place = np.argsort(order)
        by_row = names_by_row(params, n)
        params = take_params(params, by_row, order)
        ties = np.zeros(n, dtype=np.int64)
        if by_row:
            ties[canonical_order(*(params[name] for name in sorted(by_row)))] = np.arange(n)
        digest = None if self.spec.store is None else joblib.hash(X)

        def calls():
            clones = zip(own_rows, self.spec.clones(seeds), seeds, strict=True)
            for i, (own, member, seed) in enumerate(clones):
                if not len(own):
                    continue
                known, masked = self._mask(y, place[own])
                # Copies of a row differ in label and weight alone: what this member may know of
                # them decides their order, and the labels of others are not part of it.
                arranged = np.lexsort((ties, masked, copies))
                given = take_params(own_params(params, by_row), by_row, arranged)
                yield (
                    [i],
                    (
                        self.spec,
                        member,
                        X,
                        masked[arranged],
                        known,
                        given,
                        seed,
                        digest,
                        i,
                        abstain,
                    ),
                )

        filled, abstain = [i for i, own in enumerate(own_rows) if len(own)], self.abstains
        how = {"n_jobs": n_jobs, "verbose": verbose}
        self._keep(train_members(_fit_masked_member, calls(), filled, len(own_rows), **how))
        self.steps, self.seeds = [], seeds
        self.seen = np.ones((len(partitions), len(self.classes)), dtype=bool)
        return self

    def _mask(self, y, own):
        """Return the labels that a member codes, and the codes of all rows, -1 if not its own."""
        known = np.unique(y[own]) if self.open_set else self.classes
        masked = np.full(len(y), -1, dtype=np.int64)
        masked[own] = np.searchsorted(known, y[own])
        return known, masked

    def take_device_rows(self):
        """Say that test rows on a GPU are brought to the host."""
        return False

    def _voters(self):
        return [m if m is None else InCodes(m, self.classes) for m in self.estimators]

    def _labels(self):
        return np.arange(len(self.classes))


def warn_of_cost(n_members, n_rows):
    """Say so where semi-supervised members train on very many rows in all."""
    if n_members * n_rows > _MANY_ROWS:
        warnings.warn(
            f"unlabeled='mask' trains each of {n_members} members on all {n_rows} rows, "
            f"{n_members * n_rows:,} in all. An unsupervised `representation` uses the unlabelled "
            "rows once, and members then train on their own rows alone.",
            UserWarning,
            stacklevel=6,
        )


def _fit_masked_member(spec, estimator, X, masked, classes, params, seed, digest, index, abstain):
    own = np.unique(masked[masked >= 0])

    def train_one():
        try:
            # The digest stands for the rows, which are many.
            outcome = spec.fit(
                estimator, own_copy(X), masked, seed=seed, params=params, digest=digest
            )
        except ValueError:
            if len(own) > 1:
                raise
            # Many classifiers refuse a single class; such a member has one thing to say.
            return [Outcome(ConstantMember.of(classes[own]))]
        fitted = outcome.value
        if (np.asarray(getattr(fitted, "classes_", 0)) == -1).any():
            raise ValueError(
                "unlabeled='mask' needs an estimator for which the label -1 means unlabelled, got "
                f"estimator={estimator!r}, which has learned -1 as a class. Wrap it in "
                "SelfTrainingClassifier, or set unlabeled='ignore'."
            )
        return [outcome._replace(value=MaskedMember(fitted, classes))]

    def note():
        return (
            f"Raised while training semi-supervised member {index}, estimator={estimator!r}, on "
            f"{len(masked)} rows: {np.count_nonzero(masked >= 0)} carry one of {len(own)} labels, "
            "the others -1. Where these are too few for the estimator, use a smaller "
            f"n_partitions. {remedy('such members')}"
        )

    with one_thread(), taking_notes() as notes, in_name_of(index):
        return attempt(train_one, note, abstain), notes
