"""Members that see every row and the labels of one partition; partitions without labels."""

import copy
import warnings

import joblib
import numpy as np
from sklearn.dummy import DummyClassifier
from sklearn.utils.metaestimators import available_if
from sklearn.utils.parallel import delayed
from sklearn.utils.validation import check_memory

from .._data.canonical import canonical_order
from .._data.containers import n_rows, own_copy, take
from .._deterministic import (
    draws_globally,
    global_seed,
    is_net,
    one_thread,
    plain_floats,
    seeded_clones,
)
from .training import _is_per_row, train_members

# Rows trained on, over all members, from which a user should hear about the cost.
_MANY_ROWS = 1_000_000


# ---------------------------------------------------------------- partitions


# ---------------------------------------------------------------- members that take -1


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
    return type(view.member) is DummyClassifier or hasattr(view.member.estimator_, "predict_proba")


class InCodes:
    """A view of a member that answers with indices into the labels of the ensemble.

    So an abstention needs no label to stand for it.

    Parameters
    ----------
    member : MaskedMember or DummyClassifier
    classes : ndarray of shape (n_classes,)
        Sorted labels of the ensemble.
    """

    def __init__(self, member, classes):
        self.member = member
        self.lookup = np.searchsorted(classes, member.classes_)

    @property
    def classes_(self):
        """The class index of each column of `predict_proba`."""
        if type(self.member) is DummyClassifier:
            return self.lookup
        return self.lookup[self.member.estimator_.classes_]

    def predict(self, X):
        """Return class indices, -1 for an abstention."""
        if type(self.member) is DummyClassifier:
            return np.full(n_rows(X), self.lookup[0])
        codes = self.member.codes(X)
        return np.where(codes < 0, -1, self.lookup[codes])

    @available_if(_has_shares)
    def predict_proba(self, X):
        """Return the shares of the classes that the member knows."""
        if type(self.member) is DummyClassifier:
            return np.ones((n_rows(X), 1))
        return self.member.estimator_.predict_proba(X)


def fit_masked(
    estimator,
    different,
    index,
    y,
    rows_of_member,
    seeds,
    params,
    *,
    classes,
    n_jobs,
    memory,
    verbose,
):
    """Train one member on all rows for each set of rows that keep their labels.

    Parameters
    ----------
    estimator : estimator
        Takes -1 for an unlabelled row. Unfitted; cloned for each member.
    different : features of the different rows, in canonical order
    index : ndarray of shape (n_train,), int
        The place of every training row among them.
    y : ndarray of shape (n_train,)
        Labels.
    rows_of_member : list of ndarray of int
        Training rows whose labels the member sees.
    seeds : sequence of int
        The seed of each member.
    params : dict
        Further arguments of ``estimator.fit``; those of length n_train go with the rows.
    classes : ndarray of shape (n_classes,) or None
        A closed set of labels, whose indices are the codes; None: each member codes its own.
    n_jobs, memory, verbose
        As in the estimators.

    Returns
    -------
    members : list
        :class:`MaskedMember`; a constant classifier where there is a single label and the
        estimator refuses that, None where there is none.
    """
    memory, n = check_memory(memory), len(index)
    warn_of_cost(len(rows_of_member), n)
    single, needed = is_net(estimator), draws_globally(estimator)
    order = np.argsort(index, kind="stable")
    place = np.argsort(order)
    X, copies, y = plain_floats(take(different, index[order]), single), index[order], y[order]
    by_row = {name for name, value in params.items() if _is_per_row(value, n)}
    params = {k: take(v, order) if k in by_row else v for k, v in params.items()}
    ties = np.zeros(n, dtype=np.int64)
    if by_row:
        ties[canonical_order(*(params[name] for name in sorted(by_row)))] = np.arange(n)
    digest = None if memory.location is None else joblib.hash(X)

    def tasks():
        clones = seeded_clones(estimator, seeds)
        for i, (rows, member) in enumerate(zip(rows_of_member, clones, strict=True)):
            if not len(rows):
                continue
            own = place[rows]
            known = np.unique(y[own]) if classes is None else classes
            masked = np.full(n, -1, dtype=np.int64)
            masked[own] = np.searchsorted(known, y[own])
            # Copies of a row differ in label and weight alone: what this member may know of them
            # decides their order, and the labels of others are not part of it.
            arranged = np.lexsort((ties, masked, copies))
            own_params = {k: take(v, arranged) if k in by_row else copy.deepcopy(v)
                          for k, v in params.items()}  # fmt: skip
            yield delayed(_fit_masked_member)(
                member, X, masked[arranged], known, own_params, seeds[i], needed, memory,
                digest, i,
            )  # fmt: skip

    filled = [i for i, rows in enumerate(rows_of_member) if len(rows)]
    return train_members(tasks(), filled, len(rows_of_member), n_jobs, verbose)


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


def _fit_masked_member(estimator, X, masked, classes, params, seed, needed, memory, digest, index):
    own = np.unique(masked[masked >= 0])
    with one_thread:
        try:
            train = _train_masked
            if memory.location is not None:  # the digest stands for the rows, which are many
                train = memory.cache(_train_masked, ignore=["X"])
            fitted = train(estimator, own_copy(X), masked, params, seed, needed, digest)
        except Exception as error:
            if len(own) == 1 and isinstance(error, ValueError):
                # Many classifiers refuse a single class; such a member has one thing to say.
                return [DummyClassifier(strategy="prior").fit(np.zeros((1, 1)), classes[own])]
            error.add_note(
                f"Raised while training semi-supervised member {index} on {len(masked)} rows: "
                f"{np.count_nonzero(masked >= 0)} carry one of {len(own)} labels, the others "
                "-1. Where these are too few for the estimator, use a smaller n_partitions."
            )
            raise
    if (np.asarray(getattr(fitted, "classes_", 0)) == -1).any():
        raise ValueError(
            f"unlabeled='mask' needs an estimator for which the label -1 means unlabelled, got "
            f"estimator={estimator!r}, which has learned -1 as a class. Wrap it in "
            "SelfTrainingClassifier, or set unlabeled='ignore'."
        )
    return [MaskedMember(fitted, classes)]


def _train_masked(estimator, X, masked, params, seed, needed, digest):
    """Train one member: a function of all rows, its own labels and its seed."""
    with global_seed(seed, needed):
        return estimator.fit(X, masked, **params)
