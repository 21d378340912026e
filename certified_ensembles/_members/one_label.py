"""As many members as rows, one label each: their ballots by counting instead of by clones.

A member owns the label of one row and knows all rows without labels. It votes where the test row
lies in the same cluster as its own row, or near it, and abstains elsewhere; or, of two classes,
it votes for the other one there (Appendix B of the DPA paper).
"""

from collections.abc import Sequence
from functools import partial

import numpy as np
from sklearn.base import is_classifier, is_regressor
from sklearn.cluster import KMeans
from sklearn.neighbors import KNeighborsClassifier, NearestNeighbors, RadiusNeighborsClassifier
from sklearn.utils import check_array, get_tags

from .._data.block_map import map_blocks
from .._data.containers import as_table, n_rows
from .._deterministic import one_thread, seeded
from .._spec import MemberSpec, cache_report
from ..smoothers import ClusterVote
from .base import BaseMembers
from .failures import filled, working_parts

_REMEDY = (
    "Pass a clusterer with a predict (KMeans, GaussianMixture, or a pipeline that ends in one), "
    'ClusterVote(clusterer, votes="swap") for two classes, or NearestNeighbors'
)


class OneLabelMembers(BaseMembers):
    """Members that own one label each, whose votes are counted.

    Parameters
    ----------
    estimator : clusterer, ClusterVote or neighbour search
        What says which members vote at a row.
    classes : ndarray of shape (n_classes,)
        Sorted labels of the ensemble.
    open_set : bool
        Whether labels may come that nobody has seen.
    memory : str, object with the joblib.Memory interface or None
    categorical : ndarray of shape (n_columns,), bool, or None
        The columns that reach the estimator as categories.
    on_error : {"raise", "abstain"}, default="raise"
        Whether all members abstain at a row for which the estimator raises.

    Attributes
    ----------
    labels : ndarray of shape (n_members,), int
        The class index that each member owns.
    estimators : OneLabelEstimators
        The members, made when they are asked for.
    """

    def __init__(
        self, estimator, classes, *, open_set, memory, categorical=None, on_error="raise"
    ):
        self._rule = _rule_of(estimator, len(classes), open_set)
        self.spec = MemberSpec.of(self._rule.estimator, memory, categorical)
        self.classes, self.open_set, self.on_error = classes, open_set, on_error

    def fit(self, rows, y, partitions, seeds, params, *, n_jobs, verbose):
        """Find clusters or neighbours without labels, and give each member its label.

        Parameters
        ----------
        rows : TrainingRows
            With their different rows, each of which is a member.
        y : ndarray of shape (n_train,)
            Labels. A member with several takes the most frequent one, ties to the smaller.
        partitions, params, n_jobs, verbose
            Not used: nothing is trained for a member alone.
        seeds : list of int
            The first one is used.

        Returns
        -------
        self : OneLabelMembers
        """
        (estimator,) = self.spec.clones(seeds[:1])
        given = self._rule.rows_to_fit(rows)
        self.view = self.spec.view(given)
        given = self._rule.checked(self.view.hand_out(given))
        with cache_report() as report, one_thread():
            fitted = self.spec.fit(estimator, given, seed=seeds[0])
            report.note(fitted, "estimator")
        n_classes, codes = len(self.classes), np.searchsorted(self.classes, y)
        # As small a type as holds them: the ballots of all members take as many bytes a row.
        self.labels = _own_labels(rows.index, codes).astype(np.min_scalar_type(-n_classes))
        self._rule.seeded = partial(seeded, seed=seeds[0], needed=self.spec.seeds_global_rng)
        self._rule.prepare(fitted.value, rows.different, self.view, self.labels, n_classes)
        self.estimators = OneLabelEstimators(self)
        return self

    def votes(self, X, *, n_jobs=None, verbose=0):
        """Yield the votes for every class, for blocks of test rows."""
        return self._answers(self._rule.votes, len(self.classes), 0, X, n_jobs)

    def ballots(self, X, *, n_jobs=None, verbose=0):
        """Yield the ballots of all members, for blocks of test rows."""
        return self._answers(self._rule.ballots, len(self.labels), -1, X, n_jobs)

    def _answers(self, ask, width, missing, X, n_jobs):
        def answers_or_missing(rows):
            shape = n_rows(rows), width
            parts = working_parts(ask, rows, shape[0])
            return filled(parts, shape, np.int64, missing)

        abstains = self.on_error == "abstain"
        return map_blocks(answers_or_missing if abstains else ask, X, self.view, n_jobs=n_jobs)


class OneLabelEstimators(Sequence):
    """The members as estimators, each made when it is asked for.

    Parameters
    ----------
    members : OneLabelMembers
    """

    def __init__(self, members):
        self._members = members

    def __len__(self):
        return len(self._members.labels)

    def __getitem__(self, i):
        if isinstance(i, slice):
            return [self[j] for j in range(*i.indices(len(self)))]
        return OneLabelMember(self._members, range(len(self))[i])


class OneLabelMember:
    """A member that owns the label of one row.

    Parameters
    ----------
    members : OneLabelMembers
    index : int
        Its place among the members.

    Attributes
    ----------
    classes_ : ndarray of shape (1,)
        The label that it owns.
    """

    def __init__(self, members, index):
        self._members, self.index = members, index
        self.classes_ = members.classes[members.labels[[index]]]

    def predict(self, X):
        """Return labels; None where the member abstains."""
        blocks = self._members.ballots(as_table(X))
        codes = np.concatenate([ballots[:, self.index] for ballots in blocks])
        labels = self._members.classes[codes]
        if (codes < 0).any():
            labels = labels.astype(object)
            labels[codes < 0] = None
        return labels


def _own_labels(index, codes):
    """Return the most frequent label of the copies of each row, ties to the smaller."""
    pairs, counts = np.unique(np.stack([index, codes]), axis=1, return_counts=True)
    order = np.lexsort((pairs[1], -counts, pairs[0]))
    first = np.unique(pairs[0][order], return_index=True)[1]
    return pairs[1][order][first]


# ---------------------------------------------------------------- who votes where


def _rule_of(estimator, n_classes, open_set):
    if type(estimator) in (NearestNeighbors, KNeighborsClassifier, RadiusNeighborsClassifier):
        return _Neighbours(estimator)
    if type(estimator) is ClusterVote:  # a subclass may count in its own way
        clusterer, swap = estimator.clusterer, estimator.votes == "swap"
    else:
        clusterer, swap = estimator, False
        if estimator is None or is_classifier(estimator) or is_regressor(estimator):
            raise ValueError(
                f'n_partitions="n_samples" gives each member one label, which estimator='
                f"{estimator!r} cannot learn from. {_REMEDY}, and fit what comes before it as "
                "`representation`."
            )
    if clusterer is None:
        clusterer = KMeans(10, n_init=10)
    if not hasattr(clusterer, "predict") or get_tags(clusterer).target_tags.required:
        raise ValueError(
            f"estimator={estimator!r} cannot say without labels in which cluster a new row is. "
            f"{_REMEDY}."
        )
    if swap and (n_classes != 2 or open_set):
        raise ValueError(
            f'votes="swap" needs a closed set of two labels: a member votes for the other one, '
            f"and here {'any label may come' if open_set else f'there are {n_classes}'}. Pass "
            'classes=[..., ...], or use votes="own".'
        )
    return _Clusters(clusterer, swap)


class _Clusters:
    """A member votes for its label in its own cluster; elsewhere not, or for the other label."""

    def __init__(self, clusterer, swap):
        self.estimator, self.swap = clusterer, swap

    def rows_to_fit(self, rows):
        return rows.in_canonical_order()[0]

    def checked(self, rows):
        return rows

    def prepare(self, clusterer, different, view, labels, n_classes):
        self.estimator, self.labels = clusterer, labels
        parts = map_blocks(self._keys, different, view, n_jobs=1)
        self.clusters, self.cluster = np.unique(np.concatenate(list(parts)), return_inverse=True)
        # One more cluster, without members, for rows that fall into none of theirs.
        cells = np.bincount(
            self.cluster * n_classes + labels, minlength=(len(self.clusters) + 1) * n_classes
        )
        self.table = cells.reshape(-1, n_classes).astype(np.int64)
        if self.swap:
            self.table += (self.table.sum(axis=0) - self.table)[:, ::-1]

    def _keys(self, X):
        return np.asarray(self.seeded(self.estimator.predict)(X))

    def _place(self, X):
        keys = self._keys(X)
        place = np.minimum(np.searchsorted(self.clusters, keys), len(self.clusters) - 1)
        return np.where(self.clusters[place] == keys, place, len(self.clusters))

    def votes(self, X):
        return self.table[self._place(X)]

    def ballots(self, X):
        abstain = np.full_like(self.labels, -1)
        elsewhere = 1 - self.labels if self.swap else abstain
        return np.where(self._place(X)[:, None] == self.cluster, self.labels, elsewhere)


class _Neighbours:
    """A member votes for its label near its own row, and abstains elsewhere."""

    def __init__(self, estimator):
        weights = getattr(estimator, "weights", "uniform")
        outlier = getattr(estimator, "outlier_label", None)
        if weights not in (None, "uniform") or outlier is not None:
            raise ValueError(
                f"estimator={estimator!r}: each member has one ballot and no label to fall back "
                'on. Set weights="uniform" and outlier_label=None.'
            )
        given = estimator.get_params(deep=False)
        names = NearestNeighbors().get_params(deep=False)
        self.estimator = NearestNeighbors(**{k: v for k, v in given.items() if k in names})
        self.within_radius = isinstance(estimator, RadiusNeighborsClassifier)

    def rows_to_fit(self, rows):
        return rows.different

    def checked(self, rows):
        rows = check_array(rows, accept_sparse="csr", dtype=np.float64)
        wanted = self.estimator.n_neighbors
        if not self.within_radius and wanted > rows.shape[0]:
            raise ValueError(
                f"n_neighbors={wanted} is more than the n_samples={rows.shape[0]} different "
                "training rows; make it smaller."
            )
        return rows

    def prepare(self, search, different, view, labels, n_classes):
        self.estimator, self.labels, self.n_classes = search, labels, n_classes

    def _near(self, X):
        """Return pairs of a test row and a member that is near it."""
        if not self.within_radius:
            found = self.seeded(self.estimator.kneighbors)(X, return_distance=False)
            return np.repeat(np.arange(len(found)), found.shape[1]), found.ravel()
        found = self.seeded(self.estimator.radius_neighbors)(X, return_distance=False)
        row = np.repeat(np.arange(len(found)), [len(members) for members in found])
        return row, np.concatenate([*found, []]).astype(np.intp)

    def votes(self, X):
        row, member = self._near(X)
        cells = row * self.n_classes + self.labels[member]
        return np.bincount(cells, minlength=n_rows(X) * self.n_classes).reshape(n_rows(X), -1)

    def ballots(self, X):
        row, member = self._near(X)
        ballots = np.full((n_rows(X), len(self.labels)), -1, dtype=self.labels.dtype)
        ballots[row, member] = self.labels[member]
        return ballots
