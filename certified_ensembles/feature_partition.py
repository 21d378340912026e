"""Feature partition aggregation: a vote of members that never saw each other's columns."""

import copy
import warnings
from functools import partial
from numbers import Integral

import numpy as np
from sklearn.base import _fit_context
from sklearn.utils._param_validation import HasMethods, Interval, StrOptions
from sklearn.utils.validation import check_is_fitted

from ._certificate import CertificateWarning
from ._data.array_api import on_host
from ._data.columns import array_of, blank_formless
from ._data.containers import is_text
from ._data.labels import validate_groups
from ._data.training_rows import TrainingRows
from ._data.validation import COMMON_CONSTRAINTS, validate_labels, validate_rows
from ._ensemble import BaseVotingEnsemble
from ._ensemble.columns import ColumnBlocks, WordBlocks, reasons_of_steps
from ._fits import built_aside
from ._members import question_of
from ._members.columns import ColumnMembers
from ._results import certificate_of
from ._units import any_of, row_unit_of
from .certificates import threat_cost
from .certificates._inputs import check_count
from .certificates.grid import block_frontier, grid_frontier
from .hashers import (
    ContentHasher,
    PixelSumHasher,
    assign_partitions,
    resolve_hasher,
    uses_labels,
)


class FeaturePartitionAggregation(BaseVotingEnsemble):
    """Classifier whose predictions provably survive columns, or words, that are rewritten.

    Columns are dealt out to blocks; a clone of `estimator` is trained on each block; the members
    vote. Whoever owns one column may rewrite it in every training row *and* in the row that is
    asked about, and changes the members of one block: one radius against poisoning, backdoors and
    evasion. With ``n_partitions > 1`` rows are dealt out as well, each member sees one block of
    one partition, and the certificate counts hostile columns beside poisoned rows.

    Parameters
    ----------
    estimator : classifier, default=None
        Any scikit-learn classifier or pipeline, cloned for each member. None means
        :class:`~sklearn.linear_model.RidgeClassifier`. Everything that learns from rows, or looks
        at several columns (a scaler, PCA, a norm), belongs inside it, where it sees one block.
        For texts: a `Pipeline` that begins with a `CountVectorizer`, `TfidfVectorizer` or
        `HashingVectorizer` of words.
    n_blocks : int, default=10
        Number of blocks of columns. More of them raise the largest possible radius,
        ``n_blocks // 2``, and leave each member fewer columns.
    n_partitions : int, default=1
        Number of partitions of the rows. With 1 all members see all rows: labels, and which rows
        there are, are then trusted. There are ``n_partitions * n_blocks`` members.
    blocks : array-like of shape (n_features,), dict or None, default=None
        The block of each column, from 0 to ``n_blocks - 1``: an array in the order of the
        columns (for images of shape (height, width)), or a dict by the names of a frame. Name
        blocks by who could own them: all columns of one sensor, or feed, in one block count
        once. None: a hash decides, of the column's name in a frame, of its place in an array, of
        the word in texts. Pixels of images (arrays of more than two axes, channels last) are
        columns, each with all of its channels.
    hasher : {"content", "pixel_sum"} or callable, default="content"
        What decides the partition of a row without ``fit(..., groups=...)``, as in
        :class:`DeepPartitionAggregation`. It sees the columns of one block at a time.
    aggregation : {"plurality", "run_off"}, default="plurality"
        How members decide, as in :class:`DeepPartitionAggregation`.
    classes : array-like or set of shape (n_classes,), default=None
        The closed set of labels. None means the labels seen; where rows may be poisoned, that is
        an open set.
    on_error : {"raise", "abstain"}, default="raise"
        What happens where a member cannot be trained, or cannot answer for a row. "raise" stops
        with the error. "abstain": the member abstains, and `errors_` says why; so nobody can
        stop the fit by what he writes into a column. Cells without a canonical form are then
        missing values (of texts such rows are left out), and texts that are missing or cannot be
        read hold no words.
    random_state : int, default=0
        Member i is trained with ``random_state + i`` in every nested `random_state`.
    distinct_seeds : bool, default=True
        If False, all members use `random_state` itself.
    n_jobs : int, default=None
        Members trained in parallel, by the active joblib backend. It never changes a result.
    memory : str or object with the joblib.Memory interface, default=None
        Where to keep trained members, by estimator, rows and seed.
    verbose : int, default=0
        1 shows a bar in :meth:`fit`, 2 also when members answer.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
        Sorted labels.
    estimators_ : list of length n_partitions * n_blocks
        Fitted members; that of row partition i and block j stands at ``i * n_blocks + j``. None
        where it has no rows or no columns, or could not be trained. Members of texts take the
        words of their block, parted by zero characters.
    errors_ : dict of int to Exception
        Why members could not be trained, by their place in `estimators_`.
    block_of_feature_ : ndarray of shape (n_features_in_,) or (height, width), int64
        The block of every column, or pixel. Not set for texts.
    partition_ : ndarray of shape (n_train,) or (n_train, n_blocks), int64
        The partition of every training row; without `groups` one for each block.
    partitioned_by_ : {"features", "features and label", "source"} or None
        What decided the partitions of the rows; None for ``n_partitions=1``.
    n_features_in_ : int
        Number of features seen in :meth:`fit`. Not set for texts.
    feature_names_in_ : ndarray of shape (n_features_in_,)
        Names of features seen in :meth:`fit`. Set only where all are strings.

    See Also
    --------
    certified_ensembles.certificates.grid_frontier : Rows and columns, on arrays.
    certified_ensembles.certificates.block_frontier : The same without groups.
    certified_ensembles.certificates.condorcet_radius : Election by pairs, of the members' scores.
    DeepPartitionAggregation : Poisoned rows alone.

    Notes
    -----
    A member is a function of the cells of its block in the rows of its partition, of their labels,
    and of its seed; it answers by the cells of its block in the row asked about. So s columns
    reach the members of s blocks. It assumes that

    - nothing that looks at several columns stands before the ensemble: no norm of a row, no PCA,
      no vocabulary whose places move with it;
    - the names, the number and the order of columns are trusted, as are `blocks` and arguments
      of the fit such as `sample_weight`;
    - with texts, that a word added or struck leaves all other words as they are: words stand
      between blanks, and `token_pattern`, ``tokenizer`` and ``preprocessor`` of the vectoriser
      look at one word at a time. What counts, idf, ``min_df`` and norms are the member's own.

    *Poisoned rows.* With ``fit(..., groups=...)`` the source of a row decides its partition, the
    same in all blocks, and r sources beside s columns reach r rows and s columns of the grid of
    members (:func:`~certified_ensembles.certificates.grid_frontier`). A group must not follow from
    columns that may be hostile: a row number, or the server that received the mail. Without
    groups a hash of what a row holds *in a block* decides its partition in that block: a hash of
    the whole row would let one rewritten column move every row. Then r rows reach any r members of
    each block (:func:`~certified_ensembles.certificates.block_frontier`), and rows that
    are equal in a block share a partition there.

    *Run-off, and other questions.* They are answered by the number of members that r rows and s
    columns reach, ``r n_blocks + s (n_partitions - r)``, which is sound and may be less.

    References
    ----------
    .. [1] Hammoudeh and Lowd, "Provable Robustness against a Union of L_0 Adversarial Attacks",
       AAAI 2024.
    .. [2] Pei, Jia, Guo, Li and Song, "TextGuard: Provable Defense against Backdoor Attacks on
       Text Classification", NDSS 2024.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from sklearn.model_selection import train_test_split
    >>> from certified_ensembles import FeaturePartitionAggregation
    >>> X, y = load_digits(return_X_y=True)
    >>> X_train, X_test, y_train, y_test = train_test_split(X, y, random_state=0)
    >>> clf = FeaturePartitionAggregation(n_blocks=5).fit(X_train, y_train)
    >>> y_pred, radius = clf.certify(X_test)
    >>> bool(((y_pred == y_test) & (radius >= 1)).mean() > 0.5)
    True
    """

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
        """Deal out columns, and rows, and train a member on each block of each partition.

        Parameters
        ----------
        X : array-like, sparse matrix, dataframe or sequence of str
            Training rows, n_train of them.
        y : array-like of shape (n_train,)
            Labels: strings, integers or booleans.
        groups : array-like of shape (n_train,), default=None
            The source of every row, if it can be trusted and no hostile column decides it: all
            rows of a source go to one partition, and poisoned rows are counted in sources. Not
            looked at with ``n_partitions=1``.
        **fit_params : dict
            Further arguments of the estimator's `fit`, such as `sample_weight`; those of length
            n_train are cut like X.

        Returns
        -------
        self : object
            The fitted ensemble.

        Raises
        ------
        ValueError
            If X, y, groups or a parameter is unusable. If the estimator of texts does not begin
            with a vectoriser of words, or that one takes n-grams or letters.

        Warns
        -----
        CertificateWarning
            If more than a quarter of the members have no columns or no rows, or if some could
            not be trained.
        """
        with built_aside(self) as new:
            params = new._member_params(fit_params)
            X, y, params, groups, known = new._rows_to_fit(X, y, params, groups)
            y, new.classes_, open_set = validate_labels(new, X, y)
            new._open_set = open_set
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
            # Columns alone bring no label that nobody has seen; poisoned rows do, if asked about.
            new._members.open_set = False
            new._warn_if_empty()
            new._sum_up(known)
        return self

    def _rows_to_fit(self, X, y, params, groups=None):
        if self.on_error == "raise" or is_text(on_host(X)):
            return super()._rows_to_fit(X, y, params, groups)
        return self._readable_rows(X, reset=True), y, params, groups, None

    def _readable_rows(self, X, reset):
        """Return rows, for "abstain" with missing cells in the place of those without a form."""
        try:
            return validate_rows(self, X, reset=reset)
        except (TypeError, ValueError):
            if self.on_error == "raise" or is_text(on_host(X)):
                raise
        return validate_rows(self, blank_formless(on_host(X)), reset=reset)

    def _deal_out_columns(self, X):
        """Decide the block of every feature; return what is cloned for each member."""
        estimator = self._validate_estimator()
        self._column_unit = "words" if X.is_text else "columns"
        vars(self).pop("block_of_feature_", None)
        if X.is_text:
            self._blocks = WordBlocks.of(estimator, self.n_blocks, self.blocks, self.on_error)
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
            ours = isinstance(hasher, ContentHasher | PixelSumHasher)
            rows = tables if ours or X.is_text else map(array_of, tables)
            own = [assign_partitions(hasher, block, y, self.n_partitions) for block in rows]
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

    def _reasons_of_steps(self, steps, n_rows=0, **how):
        return reasons_of_steps(steps, n_rows)

    # ------------------------------------------------------------ answers

    def _features_of(self, X):
        return self._blocks.split(self._readable_rows(X, reset=False))

    def _row_cost(self, threat):
        """Return how many row partitions one operation reaches, in each block."""
        by = self.partitioned_by_
        return threat_cost(threat or self._default_threat, "source" if by is None else by)

    def _operation_cost(self, threat):
        """Return how many members one column reaches, for `collective_certify`."""
        if threat is not None:
            raise ValueError(
                f"threat={threat!r} is about rows, and collective_certify of blocks of columns "
                "counts columns: leave threat out."
            )
        return self.n_partitions

    def certify(self, X, threat=None, *, n_rows=0, target=None, top_k=None):
        """Return predictions and the columns, or words, that each provably survives.

        Parameters
        ----------
        X : array-like, sparse matrix, dataframe or sequence of str
            Rows as in :meth:`fit`, n_samples of them.
        threat : {"insertion_deletion", "label_flip", "replacement"}, default=None
            What `n_rows` counts: inserted plus deleted training rows (the default), rows whose
            label was changed, rows replaced by others; after ``fit(..., groups=...)`` sources,
            each of which may do any of this to any number of its rows.
        n_rows : int, default=0
            Number of poisoned rows beside the hostile columns.
        target : label, array-like of shape (n_samples,), or list or set of labels, default=None
            Asks another question: until a named label is predicted.
        top_k : int, default=None
            Asks another question: until ``y_pred`` is not among the k labels with most votes.

        Returns
        -------
        certificate : Certificate
            ``y_pred, radius``: the labels that :meth:`predict` returns, and for each the
            largest certified number of columns (of texts: words; more exactly: blocks) that may
            be rewritten in all training rows and in the row itself without changing it, int64 of
            shape (n_samples,); -1 where `n_rows` poisoned rows alone may change it, or the
            question is lost as it is.

        Raises
        ------
        ValueError
            If the threat is unknown or counts consecutive periods, `n_rows` is negative, or
            `target` or `top_k` is unusable.

        Examples
        --------
        >>> from sklearn.datasets import load_iris
        >>> from certified_ensembles import FeaturePartitionAggregation
        >>> X, y = load_iris(return_X_y=True)
        >>> clf = FeaturePartitionAggregation(n_blocks=3, n_partitions=4, blocks=[0, 1, 2, 2])
        >>> clf = clf.fit(X, y, groups=range(150))
        >>> bool((clf.certify(X, n_rows=1).radius <= clf.certify(X).radius).all())
        True
        """
        check_is_fitted(self)
        n_rows = check_count(n_rows, "n_rows", "poisoned rows")
        reach = n_rows * self._row_cost(threat)
        if target is None and top_k is None and self.aggregation == "plurality":
            winner, frontier = self._plurality_frontier(X)
            label, radius = self.classes_[winner], frontier[:, min(reach, self.n_partitions)]
            return self._certificate_beside(n_rows, threat, label, radius)
        members = self._members_facing(n_rows)
        question = question_of(X, self.classes_, members.open_set, target=target, top_k=top_k)
        winner, changed = self._elect(partial(members.certify, question=question), X)
        label, radius = self.classes_[winner], self._columns_within(changed, reach)
        return self._certificate_beside(n_rows, threat, label, radius, target=target, top_k=top_k)

    def _certificate_beside(self, n_rows, threat, label, radius, **asked):
        """Return a certificate whose unit says beside how many poisoned rows it counts columns."""
        certificate = certificate_of(self, label, radius, threat, **asked)
        if n_rows:
            rows = any_of(n_rows, row_unit_of(self, certificate.threat))
            certificate.unit = f"{certificate.unit} beside {rows}"
        return certificate

    def frontier(self, X, threat=None):
        """Return the columns that each prediction survives beside 0, 1, 2, ... poisoned rows.

        Parameters
        ----------
        X : array-like, sparse matrix, dataframe or sequence of str
            Rows as in :meth:`fit`, n_samples of them.
        threat : str, default=None
            What an operation on rows is, as in :meth:`certify`.

        Returns
        -------
        frontier : ndarray of shape (n_samples, n_budgets), int64
            Entry r is the radius of ``certify(X, threat, n_rows=r)``, up to the largest r that
            leaves a partition of the rows, or none, untouched; -1 where nothing is certified.
        """
        check_is_fitted(self)
        reaches = range(0, self.n_partitions + 1, self._row_cost(threat))
        if self.aggregation == "plurality":
            return self._plurality_frontier(X)[1][:, reaches]
        changed = [self._elect(self._members_facing(r).certify, X)[1] for r in (0, 1)]
        return np.stack([self._columns_within(changed[r > 0], r) for r in reaches], axis=1)

    def _members_facing(self, n_rows):
        """Return the members as they vote against so many poisoned rows, and hostile columns."""
        members = copy.copy(self._members)
        members.open_set = self._open_set and n_rows > 0
        return members

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

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        # Of a table of two columns each member sees one or none.
        tags.classifier_tags.poor_score = True
        return tags
