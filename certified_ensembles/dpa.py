"""Deep Partition Aggregation: a vote of members that never saw each other's rows."""

from numbers import Integral

import numpy as np
from sklearn.utils._param_validation import Interval
from sklearn.utils.validation import check_is_fitted

from ._data.labels import closed_set
from ._data.validation import validate_labels
from ._ensemble import BaseRowPartitionEnsemble, BaseVotingEnsemble
from ._members import PartitionMembers, PeriodMembers
from ._results import certificate_of
from .certificates.threats import TIME_THREATS
from .engines import asked_where_rows_are


class DeepPartitionAggregation(BaseVotingEnsemble, BaseRowPartitionEnsemble):
    """Vote of any classifiers, whose predictions provably survive inserted and deleted rows.

    A hash of each training row decides its partition; a clone of `estimator` is trained
    on each partition; the members vote. Whoever inserts or deletes one row changes one
    partition, hence one member, hence one ballot: the lead of the winner says how many such
    operations a prediction survives, whatever the rows contain.

    Parameters
    ----------
    estimator : classifier, default=None
        Any scikit-learn classifier or pipeline, cloned for each partition. None means
        :class:`~sklearn.linear_model.RidgeClassifier`. Everything that learns from rows (a
        scaler, a vocabulary, a search) belongs inside it.
    n_partitions : int, default=50
        Number of partitions. More of them raise the largest possible radius,
        ``n_partitions // 2``, and leave each member fewer rows. With ``fit(..., periods=...)`` it
        is not looked at, and neither is `hasher`: there is one partition a period.
    hasher : {"content", "pixel_sum"} or callable, default="content"
        What decides the partition of a row: the digest of its values
        (:class:`~certified_ensembles.hashers.ContentHasher`), the paper's sum of integers
        (:class:`~certified_ensembles.hashers.PixelSumHasher`), an object of
        :mod:`certified_ensembles.hashers`, or any callable
        ``hasher(X) -> (n_samples,) integers`` that is a function of each row alone.
    aggregation : {"plurality", "run_off"}, default="plurality"
        How members decide: the class with most votes; or a second round between the two
        classes with most votes, in which each member sides with the one that it scores
        higher [2]_ (it needs members with `decision_function` or `predict_proba`, and then
        vote shares need not agree with :meth:`predict`). Ties go to the smaller label.
    spread_degree : int, default=1
        d > 1 is finite aggregation [3]_: rows are hashed to ``n_partitions * d`` fine
        partitions, as many members are trained, and each of them on d partitions at
        distances drawn once from `random_state`. Members are as large as without it, there
        are d times as many, and one row changes d of them. With ``fit(..., periods=...)`` each
        member is trained on its own period and the d - 1 before it: there are no more members,
        but they are d times as large, and one row changes d of them.
    n_seeds : int, default=1
        d > 1 trains d members on the rows of each partition, with different seeds, and sums
        their scores (`decision_function`, else `predict_proba`, which one of them it needs)
        before the partition casts its one ballot [2]_. It steadies members that depend on
        their seed (networks, trees, random features); an estimator that draws nothing gives d
        equal members. It costs d times the training and the radius keeps its form.
    classes : array-like or set of shape (n_classes,), default=None
        The closed set of labels, in any order; a row with another label is refused by
        :meth:`fit`. None means the labels seen, an open set: an attacker may then bring a new
        label, and the radius accounts for it.
    categorical_features : array-like of names, places or bool, or "from_dtype", default=None
        Columns of a table that reach members as categories, whose levels are those of a member's
        own rows, in one order: as a categorical column of a dataframe, as the places of the
        levels in an array. A test row's unknown level is missing. Other columns reach members as
        values, numbers or texts, whatever their type in the container. "from_dtype" takes the
        container's word, which one added row with a new level can undo for a whole column.
    on_error : {"raise", "abstain"}, default="raise"
        What happens where a member cannot be trained, or cannot answer for a row (it raises an
        exception, or its answer is not usable). "raise" stops with the error. "abstain": the
        member abstains, as one without rows does, at that row or throughout; `errors_` says
        why. So no single row can stop the fit. Missing values and other values that the
        estimator refuses are then a matter of the members that get them, and rows that have no
        canonical form are left out.
    random_state : int, default=0
        Member i is trained with ``random_state + i`` in every nested `random_state`; after
        ``fit(..., periods=...)`` i is its period. None is refused: an unseeded member has no
        certificate.
    distinct_seeds : bool, default=True
        If False, all partitions use the same seeds: `random_state` itself, or for
        ``n_seeds=d`` the seeds ``random_state, ..., random_state + d - 1``.
    n_jobs : int, default=None
        Members trained, and asked, in parallel, by the active joblib backend. It never
        changes a result.
    memory : str or object with the joblib.Memory interface, default=None
        Where to keep trained members, by estimator, rows and seed: a fit that was killed
        resumes, and after a change of data only the partitions that changed are trained.
    verbose : int, default=0
        1 shows a bar in :meth:`fit` and :meth:`collective_certify`, 2 also when members answer.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
        Sorted labels.
    estimators_ : list of length n_partitions * spread_degree * n_seeds, or n_periods * n_seeds
        Fitted members, in partition order, the `n_seeds` members of a partition (for
        `spread_degree` > 1: of a union of them) side by side; None where a partition is
        empty or the member could not be trained. A member that saw a single class is a
        :class:`~sklearn.dummy.DummyClassifier` that votes for it.
    errors_ : dict of int to Exception
        Why members could not be trained, by their place in `estimators_`; without any but for
        ``on_error="abstain"``.
    partition_ : ndarray of shape (n_train,), int64, or None
        The (fine) partition of every training row, in the order given to :meth:`fit`;
        -1 for a row that was left out (see `on_error`). None where rows stayed with an engine
        (Dask, Ray Data, files by partition).
    partition_sizes_ : ndarray of shape (n_partitions * spread_degree,), int64
        The number of training rows of every (fine) partition, or period.
    periods_ : ndarray of shape (n_periods,), int64, or None
        After ``fit(..., periods=...)`` the period of each member, rising: all from the oldest to
        the newest one with rows. Members of periods without rows abstain. (A stretch without
        rows that is longer than there are periods with rows is kept that long, with as many
        members, which changes no radius.)
    spread_ : ndarray of shape (n_partitions * spread_degree, spread_degree) or None
        The members that each fine partition takes part in; None for ``spread_degree=1``, and
        with periods.
    partitioned_by_ : {"features", "features and label", "source", "period"}
        What decided the partitions, and with it what each operation costs.
    n_features_in_ : int
        Number of features seen in :meth:`fit`. Not set for sequences of strings.
    feature_names_in_ : ndarray of shape (n_features_in_,)
        Names of features seen in :meth:`fit`. Set only where all are strings.

    See Also
    --------
    certified_ensembles.certificates.plurality_radius : The theorem, on arrays.
    certified_ensembles.certificates.window_radius : That of hostile periods.
    certified_ensembles.audit.check_certificate : Attacks a base estimator of yours.

    Notes
    -----
    Theorem 1 of [1]_: with n_c votes for the winner c, nothing within
    ``min over b != c of floor((n_c - n_b - [b < c]) / 2)`` insertions plus deletions of
    training rows changes the prediction. It assumes that

    - the partition of a row is a function of that row alone;
    - a member is a function of the set of its rows and of its seed: the ensemble puts
      rows in canonical order, seeds every member by its index, trains it on one thread and
      gives it nothing of the others; an estimator that draws its own entropy, reads a clock or
      carries fitted state voids this;
    - nothing outside the ensemble was fitted on the training rows: no scaler before it in
      a pipeline, no hyperparameter chosen on poisoned data.

    *Periods* [4]_. The member of period p is trained on the rows of ``p - spread_degree + 1, ...,
    p``, seeded by p, and abstains where p itself has no rows: nothing else decides it, so that a
    new period adds one member and leaves the others as they are (with `memory` it is the only
    one trained). Whoever owns w consecutive periods reaches at most ``w + spread_degree - 1``
    members in a row. It assumes that the period of a row is the truth (the day on which it was
    received, not the one that it claims), so that nobody moves a row into a period that is not
    his own. What an attacker owns may be periods without rows, also before the oldest or after
    the newest one: he may fill them, and each counts as one of his.

    The type of a table is not part of a row: one fraction, brought by an attacker, would turn
    all its integers into floats. So members get the numbers of tables (arrays of two axes,
    sparse matrices, dataframes) in double precision. Arrays of more axes (images) keep their
    integers, and nets get single precision.

    References
    ----------
    .. [1] Levine and Feizi, "Deep Partition Aggregation: Provable Defenses against General
       Poisoning Attacks", ICLR 2021.
    .. [2] Rezaei et al., "Run-Off Election: Improved Provable Defense against Data Poisoning
       Attacks", ICML 2023.
    .. [3] Wang, Levine and Feizi, "Improved Certified Defenses against Data Poisoning with
       (Deterministic) Finite Aggregation", ICML 2022.
    .. [4] Wang and Feizi, "Temporal Robustness against Data Poisoning", NeurIPS 2023.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from sklearn.model_selection import train_test_split
    >>> from certified_ensembles import DeepPartitionAggregation
    >>> X, y = load_digits(return_X_y=True)
    >>> X_train, X_test, y_train, y_test = train_test_split(X, y, random_state=0)
    >>> clf = DeepPartitionAggregation(n_partitions=60, classes=range(10)).fit(X_train, y_train)
    >>> y_pred, radius = clf.certify(X_test)
    >>> bool(((y_pred == y_test) & (radius >= 5)).mean() > 0.7)
    True
    """

    _parameter_constraints: dict = {
        **BaseVotingEnsemble._parameter_constraints,
        **BaseRowPartitionEnsemble._parameter_constraints,
        "spread_degree": [Interval(Integral, 1, None, closed="left")],
    }

    _kind, _kind_in_time = PartitionMembers, PeriodMembers

    def __init__(
        self,
        estimator=None,
        n_partitions=50,
        *,
        hasher="content",
        aggregation="plurality",
        spread_degree=1,
        n_seeds=1,
        classes=None,
        categorical_features=None,
        on_error="raise",
        random_state=0,
        distinct_seeds=True,
        n_jobs=None,
        memory=None,
        verbose=0,
    ):
        self.estimator = estimator
        self.n_partitions = n_partitions
        self.hasher = hasher
        self.aggregation = aggregation
        self.spread_degree = spread_degree
        self.n_seeds = n_seeds
        self.classes = classes
        self.categorical_features = categorical_features
        self.on_error = on_error
        self.random_state = random_state
        self.distinct_seeds = distinct_seeds
        self.n_jobs = n_jobs
        self.memory = memory
        self.verbose = verbose

    def _take_targets(self, X, y):
        y, self.classes_, self._open_set = validate_labels(self, X, y)
        return y

    def _declare_labels(self):
        self._open_set = self.classes is None
        self.classes_ = np.empty(0) if self._open_set else closed_set(self.classes)

    def _gather_labels(self, members, whole):
        labels, seen = whole.labels()
        if self._open_set:
            self.classes_ = members.classes = seen
        members.note_labels(labels, len(labels))

    def _members_know(self):
        return {"classes": self.classes_, "open_set": self._open_set}

    @property
    def _radius_falls_by_one(self):
        """Whether one operation is known to lower a radius by one at most."""
        # Windows of time do not add up: two hostile days far apart are no window of two.
        return self.spread_ is None and self.periods_ is None

    @asked_where_rows_are
    def certify(self, X, threat=None, *, target=None, top_k=None):
        """Return predictions and the poisoning that each of them provably survives.

        Parameters
        ----------
        X : array-like, sparse matrix, dataframe or sequence of str
            Rows as in :meth:`fit`, n_samples of them.
        threat : {"insertion_deletion", "label_flip", "replacement", "duration", "earliness"}, \
                default=None
            What the radius counts: inserted plus deleted training rows (the default); rows
            whose label was changed; rows replaced by others. After ``fit(..., groups=...)``
            it counts sources, each of which may do any of this to any number of its rows; after
            ``fit(..., periods=...)`` it counts periods likewise, wherever they are in time.
            "duration" (with periods only) counts *consecutive* periods, anywhere in time;
            "earliness" consecutive ones up to the newest (or up to a later one, without rows
            as yet). Their owner may insert, delete and rewrite any number of rows in them.
        target : label, array-like of shape (n_samples,), or list or set of labels, default=None
            Asks another question: until a named label is predicted. An array names one label a
            row, and of a list none may be predicted. Without `classes` it may also be a label
            that nobody has seen.
        top_k : int, default=None
            Asks another question: until ``y_pred`` is not among the k labels with most votes
            (equal votes: the smaller label first); in a run-off, those of the first round.

        Returns
        -------
        certificate : Certificate
            ``y_pred, radius``: the labels that :meth:`predict` returns, and for each the
            largest certified number of operations, int64 of shape (n_samples,), that cannot
            change it. With `target`: that cannot make the target the prediction, -1 where it is
            the prediction. With `top_k`: that leave ``y_pred`` among the k labels, -1 where it
            is not among them (a run-off may elect the second label).

        Raises
        ------
        ValueError
            If the threat is unknown, or counts consecutive periods and the ensemble was fitted
            without periods, or decides by a run-off. If `target` is no label that can be
            predicted, `top_k` no integer of at least 1, both are given, or one of them together
            with a threat that counts consecutive periods.

        See Also
        --------
        certified_ensembles.certificates.target_radius : The theorem of `target`, on arrays.
        certified_ensembles.certificates.top_k_radius : The theorem of `top_k`, on arrays.

        Notes
        -----
        An operation costs one changed member, or two where it moves a row: a replacement, or a
        flip under a hasher that looks at labels. Budgets are not shared: an attacker may
        spend the radius of a row on that row alone.

        The radii of `target` and `top_k` are exact numbers of changed members for a plurality of
        members on partitions of their own, and lower bounds for ``spread_degree > 1`` and for the
        target of a run-off. None is smaller than the radius of ``y_pred`` itself, but for
        ``top_k=1`` of a run-off.

        Examples
        --------
        >>> from sklearn.datasets import load_iris
        >>> from certified_ensembles import DeepPartitionAggregation
        >>> X, y = load_iris(return_X_y=True)
        >>> clf = DeepPartitionAggregation(n_partitions=9, classes=[0, 1, 2]).fit(X, y)
        >>> y_pred, radius = clf.certify(X[:2])
        >>> radius_2 = clf.certify(X[:2], threat="replacement").radius
        >>> bool((radius_2 == radius // 2).all())
        True

        How much it takes until a flower of another species is taken for a setosa (0):

        >>> until_setosa = clf.certify(X[50:], target=0).radius
        >>> bool((until_setosa >= clf.certify(X[50:]).radius).all())
        True
        """
        check_is_fitted(self)
        if threat in TIME_THREATS and self.periods_ is not None:
            if target is not None or top_k is not None:
                raise ValueError(
                    f"target and top_k are not certified for threat={threat!r}. Leave them out, "
                    "or use a threat that counts periods wherever they are, such as "
                    "'insertion_deletion'."
                )
            return self._certify_in_time(X, threat)
        return self._certify(X, threat, target=target, top_k=top_k)

    def _certify_in_time(self, X, threat):
        """Return predictions, and the numbers of consecutive periods that they survive."""
        if self.aggregation != "plurality":
            raise ValueError(
                f"threat={threat!r} is certified for aggregation='plurality' alone, got "
                f"aggregation={self.aggregation!r}. Use it, or a threat that counts periods "
                "wherever they are, such as 'insertion_deletion'."
            )
        winner, radius = self._ask(self._members.windows, X, newest=threat == "earliness")
        return certificate_of(self, self.classes_[winner], radius, threat)
