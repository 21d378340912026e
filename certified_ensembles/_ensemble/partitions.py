"""Ensembles whose rows are dealt out by a hash of each row, by its source or by its period."""

import warnings
from functools import partial

import numpy as np
from sklearn.base import _fit_context

from .._certificate import CertificateWarning
from .._data.categories import categorical_mask
from .._data.labels import validate_groups
from .._data.periods import Timeline, validate_periods
from .._data.training_rows import TrainingRows
from .._data.validation import MAX_SEED, check_seed
from .._fits import built_aside
from ..certificates import threat_cost
from ..engines import FolderRows, source_of
from ..hashers import ContentHasher, assign_partitions, resolve_hasher, uses_labels
from .apart import fit_apart
from .base import BasePartitionEnsemble


class BaseRowPartitionEnsemble(BasePartitionEnsemble):
    """Members trained on the rows that a hash, a trusted source or a trusted period gives them.

    A subclass names the kinds of members that it trains, ``_kind`` and ``_kind_in_time``, checks
    what they learn in ``_take_targets(X, y)``, and says by ``_members_know()`` what these kinds
    are told beside what all are.
    """

    _parameter_constraints: dict = {
        **BasePartitionEnsemble._parameter_constraints,
        "hasher": [str, callable],
    }

    _default_threat, _answers_apart = "insertion_deletion", True
    _empty_remedy = "Use fewer partitions, or a hasher that spreads rows (or sources) more evenly."
    # Consecutive periods on which a member is trained, and fine partitions for each member.
    spread_degree = 1
    periods_ = None

    @_fit_context(prefer_skip_nested_validation=False)
    def fit(self, X, y, *, groups=None, periods=None, **fit_params):
        """Partition the rows and train a member on each partition.

        Parameters
        ----------
        X : array-like, sparse matrix, dataframe or sequence of str
            Training rows, n_train of them: an array of any rank (images keep their shape and
            type), a CSR matrix, a pandas or polars dataframe, or a sequence of strings. Under a
            `distributed.Client` also a Dask DataFrame, Series of texts or Array, and a Dataset of
            Ray Data: their rows stay on the workers (see Notes).
        y : array-like of shape (n_train,), or str
            Labels: strings, integers or booleans. Of a regressor: finite numbers. Of a Dask
            DataFrame or a Dataset the name of a column, or with Dask a Series with the same
            blocks; so are `groups` and arguments of the estimator's `fit` with an entry a row.
        groups : array-like of shape (n_train,), default=None
            The source of every row (its sender, annotator, vendor, day), if it can be trusted:
            all rows of a source go to one partition, and a radius counts sources.
        periods : array-like of shape (n_train,), default=None
            The period of every row, if it can be trusted: whole numbers in the order of time,
            one for each day, hour or version (dates are numbered by
            ``dates.astype("datetime64[D]").astype(int)``). There is one member a period, and
            :meth:`certify` counts hostile periods. Not together with `groups`.
        **fit_params : dict
            Further arguments of the estimator's `fit`, by metadata routing if that is
            enabled. Those of length n_train, such as `sample_weight`, are cut like X; other
            sequences are refused, and of anything else each member gets a copy.

        Returns
        -------
        self : object
            The fitted ensemble.

        Raises
        ------
        ValueError
            If X, y, groups, periods or a parameter is unusable; the message names it, the value
            and the remedy.

        Warns
        -----
        CertificateWarning
            If the guarantee is void (a hasher that looks at other rows, a frozen estimator)
            or weaker than it looks (partitions without rows, members that abstain).
        UserWarning
            If rows were left out. Warnings of members come once for each category.

        Notes
        -----
        Rows of a Dask collection, or of a Dataset, are checked and hashed in their own blocks,
        shuffled by partition, and trained on where they arrive. What comes back is the members,
        the labels seen and the sizes of the partitions; ``partition_`` is None, however many rows
        there are (``X.map_partitions(partition_numbers, n_partitions)`` is it, lazily). Members,
        votes and radii are those of one process, to the bit. A block with other columns, or with
        a type in which one cell has changed others, is refused by its number (Ray's blocks have
        none). `periods` are refused.

        Methods that answer take such test rows, too: predictions, votes and certificates come as
        Arrays of Dask, or as further columns of the Dataset. Members are sent once a worker.
        """
        with built_aside(self) as new:
            params = new._member_params(fit_params)
            trusted = _one_of(groups, periods)
            source = source_of(X, y, trusted, params)
            if source is not None:
                _refuse_periods(periods)
                fit_apart(new, source)
                return self
            X, y, params, trusted, known = new._rows_to_fit(X, y, params, trusted)
            y = new._take_targets(X, y)
            if periods is None:
                kind, seeds = new._partition_by_hash(X, y, trusted)
                new._warn_if_empty()
            else:
                kind, seeds = new._partition_by_period(X, trusted)
                new._warn_if_periods_are_sparse()
            estimator = new._validate_estimator()
            rows = TrainingRows(X, numbers=None if known is None else np.flatnonzero(known))
            new.partition_sizes_ = new._sizes_of_partitions()
            members = new._new_members(estimator, X, kind)
            new._fit_members(members, rows, y, seeds, params)
            new._sum_up(known)
        return self

    def _new_members(self, estimator, X, kind):
        """Return members that are yet to be trained on rows like those of a Table."""
        return kind(
            estimator,
            **self._members_know(),
            n_seeds=self.n_seeds,
            memory=self.memory,
            categorical=categorical_mask(self.categorical_features, X),
            on_error=self.on_error,
        )

    # ------------------------------------------------------------ rows that never meet

    @_fit_context(prefer_skip_nested_validation=False)
    def fit_partitions(self, folder, y, *, groups=None, **fit_params):
        """Train a member on each partition of rows that lie in files by partition.

        No process ever holds more than the rows of some partitions: about 16 MB of files, or
        one partition if that is more. The fit is that of :meth:`fit` on all rows.

        Parameters
        ----------
        folder : str or path
            Holds Parquet files in folders ``partition=0``, ``partition=1`` and so on, by
            :func:`~certified_ensembles.engines.partition_numbers`, as
            :func:`~certified_ensembles.engines.write_partitions` or any engine writes them. All
            files have the same columns. With ``n_jobs`` every process reads its own partitions.
        y : str
            The column of labels, or of targets.
        groups : str or list of str, default=None
            The column, or columns, that name the source of a row, by which the files were
            written.
        **fit_params : dict
            Further arguments of the estimator's `fit`: what has an entry a row, such as
            ``sample_weight``, is named by its column. All other columns are features.

        Returns
        -------
        self : object
            The fitted ensemble. ``partition_`` is None.

        Raises
        ------
        ValueError
            If a row stands in a partition that is not its own (every row is hashed again: in a
            wrong partition it voids the certificate), or a file is damaged or has other columns.
            The message names the file, and the row or the column.

        Warns
        -----
        CertificateWarning, UserWarning
            As in :meth:`fit`.
        """
        with built_aside(self) as new:
            params = new._member_params(fit_params)
            fit_apart(new, FolderRows(folder, y, groups, params, new.n_jobs))
        return self

    def _declare_partitions(self, has_groups):
        """Set what decides partitions, before any row is seen."""
        self.periods_, self.spread_ = None, self._draw_spread()
        self.partitioned_by_ = self._decided_by(resolve_hasher(self.hasher), has_groups)

    def _declare_labels(self):
        """Set what is known of labels before any is seen; nothing is of targets."""

    def _gather_labels(self, members, whole):
        """Set the labels that all rows have; targets are not gathered."""

    # ------------------------------------------------------------ partitions

    def _partition_by_hash(self, X, y, groups):
        """Assign rows to partitions; return the kind of members and their seeds."""
        self.periods_, self.spread_ = None, self._draw_spread()
        self.partition_ = self._assign_partitions(X, y, groups)
        return self._kind, self._validate_seeds(self._n_partitions)

    def _partition_by_period(self, X, periods):
        """Assign rows to their periods; return the kind of members and their seeds."""
        check_seed(self.random_state)
        self.partitioned_by_, self.spread_ = "period", None
        timeline = Timeline.of(validate_periods(X, periods), self.spread_degree)
        self.periods_, self.partition_ = timeline
        self._n_partitions = len(self.periods_)
        # The seed of a member follows from its period: which one is the oldest, or how many there
        # are, may be the attacker's choice.
        firsts = self.periods_ * self.distinct_seeds % (MAX_SEED + 1)
        seeds = firsts[:, None] * self.n_seeds + np.arange(self.n_seeds)
        seeds = (seeds + self.random_state) % (MAX_SEED + 1)
        kind = partial(
            self._kind_in_time,
            first=int(self.periods_[0]),
            width=self.spread_degree,
            steps_seed=int(self.random_state),
        )
        return kind, seeds.ravel().tolist()

    def _warn_if_periods_are_sparse(self):
        n_filled = len(np.unique(self.partition_))
        if 2 * n_filled < len(self.periods_):
            warnings.warn(
                f"The certificate is weaker than {len(self.periods_)} periods suggest: only "
                f"{n_filled} of those from {self.periods_[0]} to {self.periods_[-1]} have rows, "
                "and members of the others abstain. Number periods one by one: days from some "
                "day on, not as 20051231, or weeks in place of days.",
                CertificateWarning,
                stacklevel=4,
            )

    @property
    def _size_in_words(self):
        own = super()._size_in_words
        return own if self.periods_ is None else f"its {len(self.periods_)} periods suggest"

    def _rows_of_member(self):
        rows = super()._rows_of_member()
        if self.periods_ is None or self.spread_degree == 1:
            return rows
        return [
            np.concatenate(rows[max(0, j + 1 - self.spread_degree) : j + 1]) if len(own) else own
            for j, own in enumerate(rows)
        ]

    def _draw_spread(self):
        """Return which members each fine partition takes part in, whatever the data are."""
        self._n_partitions = self.n_partitions * self.spread_degree
        if self.spread_degree == 1:
            return None
        self._validate_seeds(self._n_partitions)
        rng = np.random.default_rng(self.random_state)
        shifts = np.sort(rng.choice(self._n_partitions, self.spread_degree, replace=False))
        return (np.arange(self._n_partitions)[:, None] + shifts) % self._n_partitions

    def _assign_partitions(self, X, y, groups):
        hasher = resolve_hasher(self.hasher)
        self.partitioned_by_ = self._decided_by(hasher, groups is not None)
        if groups is None:
            return assign_partitions(hasher, X, y, self._n_partitions, self.n_jobs)
        groups = validate_groups(X, groups)
        key = hasher.key if isinstance(hasher, ContentHasher) else None
        return assign_partitions(ContentHasher(key=key), groups, y, self._n_partitions)

    @staticmethod
    def _decided_by(hasher, has_groups):
        if has_groups:
            return "source"
        return "features and label" if uses_labels(hasher) else "features"

    def _operation_cost(self, threat):
        cost = threat_cost(threat or self._default_threat, self.partitioned_by_)
        # A period reaches as many members as are trained on it.
        return cost if self.periods_ is None else cost * self._members.width


def _refuse_periods(periods):
    if periods is not None:
        raise ValueError(
            "periods are not taken where rows stay with an engine: which members there are "
            "follows from the oldest and the newest period of all rows. Fit on an array, or on a "
            "file that is read block by block."
        )


def _one_of(groups, periods):
    """Return whatever of the two is given."""
    if groups is not None and periods is not None:
        raise ValueError(
            "groups and periods were both passed: either the source or the period of a row "
            "decides its partition. Pass what an attacker is meant to own."
        )
    return groups if periods is None else periods
