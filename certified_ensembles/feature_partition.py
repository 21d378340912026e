"""Feature partition aggregation: a vote of members that never saw each other's columns."""

import warnings
from functools import partial
from numbers import Integral

import numpy as np
from sklearn.base import _fit_context
from sklearn.utils._param_validation import HasMethods, Interval, StrOptions
from sklearn.utils.validation import check_is_fitted

from ._certificate import Certificate, CertificateWarning
from ._data.array_api import on_host
from ._data.columns import blank_formless
from ._data.containers import as_table, is_text
from ._data.labels import validate_groups
from ._data.training_rows import TrainingRows
from ._data.validation import COMMON_CONSTRAINTS, validate_labels, validate_rows
from ._ensemble import BaseVotingEnsemble
from ._ensemble.columns import ColumnBlocks, WordBlocks
from ._fits import built_aside
from ._members import question_of
from ._members.columns import ColumnMembers
from .certificates import threat_cost
from .certificates.grid import block_frontier, grid_frontier
from .hashers import ContentHasher, assign_partitions, resolve_hasher, uses_labels


class FeaturePartitionAggregation(BaseVotingEnsemble):
    """Classifier whose predictions provably survive columns, or words, that are rewritten."""

    _parameter_constraints: dict = {
        "estimator": [HasMethods(["fit", "predict"]), None],
        "n_blocks": [Interval(Integral, 1, None, closed="left")],
        "n_partitions": [Interval(Integral, 1, None, closed="left")],
        "blocks": ["array-like", dict, None],
        "hasher": [str, callable],
        "aggregation": [StrOptions({"plurality", "run_off"})],
        "on_error": [StrOptions({"raise", "abstain"})],
        "distinct_seeds": ["boolean"],
        **COMMON_CONSTRAINTS,
    }
    _default_threat = "insertion_deletion"
    n_seeds = 1

    def __init__(
        self,
        estimator=None,
        n_blocks=10,
        *,
        n_partitions=1,
        blocks=None,
        hasher="content",
        aggregation="plurality",
        classes=None,
        on_error="raise",
        random_state=0,
        distinct_seeds=True,
        n_jobs=None,
        memory=None,
        verbose=0,
    ):
        self.estimator = estimator
        self.n_blocks = n_blocks
        self.n_partitions = n_partitions
        self.blocks = blocks
        self.hasher = hasher
        self.aggregation = aggregation
        self.classes = classes
        self.on_error = on_error
        self.random_state = random_state
        self.distinct_seeds = distinct_seeds
        self.n_jobs = n_jobs
        self.memory = memory
        self.verbose = verbose

    # ------------------------------------------------------------ training

    @_fit_context(prefer_skip_nested_validation=False)
    def fit(self, X, y, *, groups=None, **fit_params):
        """Deal out columns (and rows), and train a member on each block (of each partition)."""
        with built_aside(self) as new:
            params = new._member_params(fit_params)
            X, y, params, groups, known = new._rows_to_fit(X, y, params, groups)
            y, new.classes_, open_set = validate_labels(new, X, y)
            # Without partitions of the rows labels are trusted, and nobody brings a new one.
            new._open_set = open_set and new.n_partitions > 1
            estimator = new._deal_out_columns(X)
            tables = new._blocks.split(X)
            new._deal_out_rows(tables, X, y, groups)
            members = ColumnMembers(
                estimator,
                new.classes_,
                open_set=new._open_set,
                n_blocks=new.n_blocks,
                memory=new.memory,
                on_error=new.on_error,
            )
            seeds = new._validate_seeds(new._n_partitions)
            rows = TrainingRows(tables, numbers=None if known is None else np.flatnonzero(known))
            new._fit_members(members, rows, y, seeds, params)
            new._warn_if_empty()
            new._sum_up(known)
        return self

    def _rows_to_fit(self, X, y, params, groups=None):
        return super()._rows_to_fit(self._readable(X), y, params, groups)

    def _readable(self, X):
        """Return rows with missing cells in the place of those that have no canonical form."""
        if self.on_error == "raise" or is_text(on_host(X)):
            return X
        X = on_host(X)
        try:
            as_table(X)
        except (TypeError, ValueError):
            return blank_formless(X)
        return X

    def _deal_out_columns(self, X):
        """Decide the block of every feature; return what is cloned for each member."""
        estimator = self._validate_estimator()
        self._column_unit = "words" if X.is_text else "columns"
        vars(self).pop("block_of_feature_", None)
        if X.is_text:
            self._blocks = WordBlocks.of(estimator, self.n_blocks, self.blocks)
            return self._blocks.member_estimator(estimator)
        self._blocks = ColumnBlocks.of(X, self.n_blocks, self.blocks)
        self.block_of_feature_ = self._blocks.block_of
        return estimator

    def _deal_out_rows(self, tables, X, y, groups):
        """Decide the partition of every row: one for all blocks, or one in each of them."""
        self._n_partitions = self.n_partitions * self.n_blocks
        hasher = resolve_hasher(self.hasher)
        self.partitioned_by_ = None
        if groups is not None:
            groups = validate_groups(X, groups)
        if self.n_partitions == 1:
            self.partition_ = np.zeros(len(X), dtype=np.int64)
        elif groups is not None:
            self.partitioned_by_ = "source"
            key = hasher.key if isinstance(hasher, ContentHasher) else None
            self.partition_ = assign_partitions(
                ContentHasher(key=key), groups, y, self.n_partitions
            )
        else:
            self.partitioned_by_ = "features and label" if uses_labels(hasher) else "features"
            own = [assign_partitions(hasher, t, y, self.n_partitions) for t in tables]
            self.partition_ = np.stack(own, axis=1)

    def _rows_of_member(self):
        """Return the rows of member ``i * n_blocks + j``; none where a block has no columns."""
        partition = self.partition_.reshape(len(self.partition_), -1)
        filled, rows = self._blocks.filled, []
        for i in range(self.n_partitions):
            for j in range(self.n_blocks):
                own = np.flatnonzero(partition[:, j % partition.shape[1]] == i)
                rows.append(own if filled[j] else own[:0])
        return rows

    def _warn_if_empty(self):
        missing = [i for i, member in enumerate(self.estimators_) if member is None]
        n_empty = len(set(missing) - set(self.errors_))
        if n_empty > self._n_partitions / 4:
            warnings.warn(
                f"The certificate is weaker than {self._size_in_words}: {n_empty} of "
                f"{self._n_partitions} members have no columns or no rows, and abstain. Use fewer "
                "blocks or partitions.",
                CertificateWarning,
                stacklevel=4,
            )

    @property
    def _size_in_words(self):
        rows = f", n_partitions={self.n_partitions} suggest"
        return f"n_blocks={self.n_blocks}" + (rows if self.n_partitions > 1 else " suggests")

    # ------------------------------------------------------------ answers

    def _features_of(self, X):
        return self._blocks.split(validate_rows(self, self._readable(X), reset=False))

    def _row_cost(self, threat):
        """Return how many row partitions one operation reaches, in each block."""
        by = self.partitioned_by_
        return threat_cost(threat or self._default_threat, "source" if by is None else by)

    def certify(self, X, threat=None, *, n_rows=0, target=None, top_k=None):
        """Return predictions and the columns, or words, that each provably survives."""
        check_is_fitted(self)
        reach = n_rows * self._row_cost(threat)
        if target is None and top_k is None and self.aggregation == "plurality":
            winner, frontier = self._plurality_frontier(X)
            return Certificate(self.classes_[winner], frontier[:, min(reach, self.n_partitions)])
        question = question_of(X, self.classes_, self._open_set, target=target, top_k=top_k)
        winner, changed = self._elect(partial(self._members.certify, question=question), X)
        return Certificate(self.classes_[winner], self._columns_within(changed, reach))

    def frontier(self, X, threat=None):
        """Return the columns that each prediction survives beside 0, 1, 2, ... poisoned rows."""
        check_is_fitted(self)
        reaches = range(0, self.n_partitions + 1, self._row_cost(threat))
        if self.aggregation == "plurality":
            return self._plurality_frontier(X)[1][:, reaches]
        _, changed = self._elect(self._members.certify, X)
        return np.stack([self._columns_within(changed, r) for r in reaches], axis=1)

    def _plurality_frontier(self, X):
        """Return the winners, and the blocks survived beside 0 to all of the row partitions."""
        own_rows = self.partition_.ndim == 2
        survived = block_frontier if own_rows else grid_frontier
        shape = self.n_partitions, self.n_blocks, len(self.classes_)
        winners, frontiers = [], []
        for ballots in self._iter_ballots(X):
            counts = np.stack([(ballots == c).sum(axis=1) for c in range(shape[2])], axis=1)
            winners.append(counts.argmax(axis=1))
            own = survived(ballots, *shape, open_set=self._open_set)
            if self._open_set:  # columns alone bring no label
                closed = survived(ballots, *shape, max_rows=1)
                own[:, 0] = closed[:, 0]
            frontiers.append(own)
        return np.concatenate(winners), np.concatenate(frontiers)

    def _columns_within(self, changed, reach):
        """Return how many columns reach no more than so many members beside some row partitions.

        r row partitions of B members each, and s columns of P members, are ``r B + s (P - r)``
        members, whether or not the rows are the same in all blocks.
        """
        reach = min(reach, self.n_partitions)
        left = changed - reach * self.n_blocks
        if reach < self.n_partitions:
            columns = np.minimum(left // (self.n_partitions - reach), self.n_blocks)
        else:
            columns = np.full(len(changed), self.n_blocks)
        return np.where((left >= 0) & (changed >= 0), columns, -1)
