"""Semi-supervised DPA: a vote of members that share all rows and no labels."""

from numbers import Integral

import numpy as np
from sklearn.base import _fit_context, is_clusterer
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.semi_supervised import SelfTrainingClassifier
from sklearn.utils import assert_all_finite, get_tags
from sklearn.utils._param_validation import HasMethods, Interval, StrOptions
from sklearn.utils.validation import check_is_fitted

from ._data.categories import categorical_mask
from ._data.labels import validate_groups
from ._data.validation import check_seed, validate_labels
from ._ensemble import BaseVotingEnsemble
from ._fits import built_aside
from ._members import LabelMembers, MaskedMembers, OneLabelMembers, SmootherMembers
from ._spec import cache_report
from .hashers import annotator_partition, label_free_partition
from .representations._label_free import LabelFreeFeatures


class SemiSupervisedDPA(BaseVotingEnsemble):
    """Vote of members with few labels each, whose predictions provably survive flipped labels.

    The features of the training rows are trusted, their labels are not. So all members may
    share what is learned from features alone, and each one sees the labels of one partition:
    whoever changes the label of one row changes one member, hence one ballot.

    Parameters
    ----------
    estimator : classifier, default=None
        Any scikit-learn classifier or pipeline, cloned for each partition. None means
        :class:`~sklearn.linear_model.RidgeClassifier`, with ``unlabeled="mask"`` self-training
        of a logistic regression. For ``n_partitions="n_samples"`` see there.
    n_partitions : int or "n_samples", default=50
        Number of partitions. More of them raise the largest possible radius,
        ``n_partitions // 2``, and leave each member fewer labels. "n_samples": as many as
        there are different rows, one label each, and ballots are counted instead of asked for.
        Then `estimator` is a clusterer with a ``predict`` or a
        :class:`~certified_ensembles.smoothers.ClusterVote` (a member votes for its label
        inside its cluster and abstains elsewhere; with ``votes="swap"`` and two `classes` it
        votes for the other one there), or
        :class:`~sklearn.neighbors.NearestNeighbors` or a classifier by neighbours (a member
        votes where its row is among the neighbours).
    representation : transformer, default=None
        An unsupervised transformer or pipeline (`PCA`,
        :class:`~certified_ensembles.representations.LaplacianEigenmap`), fitted once on all
        training rows, without labels; members train on its output.
    unlabeled : {"ignore", "mask"}, default="ignore"
        "ignore": a member is trained on the rows of its partition. "mask": it is trained on all
        rows, with the label -1 outside its partition, as semi-supervised estimators want it
        (`SelfTrainingClassifier`, `LabelSpreading`, `LabelPropagation`). That costs
        `n_partitions` times all rows. Labels are coded 0, 1, ... inside each member (places in
        `classes`, or among its own labels), so that any label, also -1, may be one. A member
        that itself answers -1 abstains.
    partitioner : {"sorted", "content", "pixel_sum"} or callable, default="sorted"
        "sorted": sort the different rows; the one at index j goes to partition j modulo
        `n_partitions`, so that sizes differ by at most one. Or a hasher without labels, as for
        :class:`DeepPartitionAggregation`. With ``fit(..., groups=...)`` annotators are sorted
        and dealt out instead of rows, or their names are hashed ("content").
    aggregation : {"plurality", "run_off"}, default="plurality"
        How ballots become a prediction: the class with most votes, ties to the smaller label; or
        a second round between the two best, for which members rank classes by their scores.
    n_seeds : int, default=1
        d > 1 trains d members on the labels of each partition, with different seeds, and sums
        their scores (`decision_function`, else `predict_proba`; with ``unlabeled="mask"``
        `predict_proba`) before the partition casts its one ballot. Not for "n_samples" or
        ``certificate="members"``, where members draw nothing.
    certificate : {"ballots", "members"}, default="ballots"
        "ballots": one flip may turn any member. "members": it is computed how many flips each
        member really takes ([2]_, [3]_), for label-free linear smoothers (`RidgeClassifier`,
        classifiers by neighbours) and a plurality. Larger, slower; the same with "n_samples".
    classes : array-like or set of shape (n_classes,), default=None
        The closed set of labels, in any order; a row with another label is refused by
        :meth:`fit`. None means the labels seen, an open set: an attacker may then write a new
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
        Member i is trained with ``random_state + i`` in every nested `random_state`, the
        representation with `random_state`. None is refused: an unseeded fit has no certificate.
    distinct_seeds : bool, default=True
        If False, all partitions use the same seeds: `random_state` itself, or for
        ``n_seeds=d`` the seeds ``random_state, ..., random_state + d - 1``.
    n_jobs : int, default=None
        Members trained, and asked, in parallel, by the active joblib backend. It never
        changes a result.
    memory : str or object with the joblib.Memory interface, default=None
        Where to keep the fitted representation and trained members: after a change of some
        labels only the partitions that changed are trained.
    verbose : int, default=0
        1 shows a bar in :meth:`fit` and :meth:`collective_certify`, 2 also when members answer.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
        Sorted labels.
    estimators_ : sequence of length n_partitions * n_seeds
        Fitted members, in partition order, those of a partition side by side; None where a
        partition is empty or the member could not be trained. They take the output of the
        representation. A partition with a single label has a
        :class:`~sklearn.dummy.DummyClassifier` that votes for it.
    errors_ : dict of int to Exception
        Why members could not be trained, by their place in `estimators_`; without any but for
        ``on_error="abstain"``.
    partition_ : ndarray of shape (n_train,), int64
        The partition of every training row, in the order given to :meth:`fit`; -1 for
        a row that was left out (see `on_error`).
    representation_ : transformer or None
        The fitted representation.
    n_features_in_ : int
        Number of features seen in :meth:`fit`. Not set for sequences of strings.
    feature_names_in_ : ndarray of shape (n_features_in_,)
        Names of features seen in :meth:`fit`. Set only where all are strings.

    See Also
    --------
    DeepPartitionAggregation : Also against inserted and deleted rows.
    LabelFlipSmoothingClassifier : One linear smoother on all labels, certified exactly.

    Notes
    -----
    Theorem 2 of [1]_: with n_c votes for the winner c, nothing within
    ``min over b != c of floor((n_c - n_b - [b < c]) / 2)`` label flips changes the prediction. An
    attacker may change labels and nothing else: whoever inserts or deletes a row shifts the sorted
    partitions and the representation, and voids the certificate. Copies of one row go to
    one partition; any change of their labels together is one flip (Appendix G of [1]_).

    *Annotators.* ``fit(X, y, groups=annotators)`` puts all labels of an annotator into one
    partition, so that whatever he writes changes one member, and a radius counts annotators;
    copies of one row may then stand in several partitions. With ``certificate="members"`` it is
    computed how many annotators it takes to turn each member. Who labelled what must be fixed
    before the labels are. A person with two names counts as two.

    The representation sees the rows with their copies in canonical order, in blocks
    of a fixed shape where it transforms, on one thread (nets excepted): it is a function of the
    set of rows, and neither their order nor a label can change it. What was fitted outside
    the ensemble may stay there as long as it has never seen a training label.

    References
    ----------
    .. [1] Levine and Feizi, "Deep Partition Aggregation: Provable Defenses against General
       Poisoning Attacks", ICLR 2021, section 3.3 and appendices B, E and G.
    .. [2] Hammoudeh and Lowd, SaTML 2023, arXiv:2208.13904: members of different costs.
    .. [3] Mohgaonkar et al., ICLR 2026, arXiv:2604.11416 (EnsembleCert): exact prices of members.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from sklearn.decomposition import PCA
    >>> from certified_ensembles.ssdpa import SemiSupervisedDPA
    >>> X, y = load_digits(return_X_y=True)
    >>> clf = SemiSupervisedDPA(n_partitions=30, representation=PCA(20), classes=range(10))
    >>> y_pred, radius = clf.fit(X[:1300], y[:1300]).certify(X[1300:])
    >>> bool(((y_pred == y[1300:]) & (radius >= 5)).mean() > 0.6)
    True
    """

    _parameter_constraints: dict = {
        **BaseVotingEnsemble._parameter_constraints,
        "estimator": [HasMethods("fit"), None],
        "n_partitions": [Interval(Integral, 1, None, closed="left"), StrOptions({"n_samples"})],
        "representation": [HasMethods(["fit", "transform"]), None],
        "unlabeled": [StrOptions({"ignore", "mask"})],
        "partitioner": [str, callable],
        "certificate": [StrOptions({"ballots", "members"})],
    }

    _default_threat = "label_flip"

    def __init__(
        self,
        estimator=None,
        n_partitions=50,
        *,
        representation=None,
        unlabeled="ignore",
        partitioner="sorted",
        aggregation="plurality",
        n_seeds=1,
        certificate="ballots",
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
        self.representation = representation
        self.unlabeled = unlabeled
        self.partitioner = partitioner
        self.aggregation = aggregation
        self.n_seeds = n_seeds
        self.certificate = certificate
        self.classes = classes
        self.categorical_features = categorical_features
        self.on_error = on_error
        self.random_state = random_state
        self.distinct_seeds = distinct_seeds
        self.n_jobs = n_jobs
        self.memory = memory
        self.verbose = verbose

    @_fit_context(prefer_skip_nested_validation=False)
    def fit(self, X, y, *, groups=None, **fit_params):
        """Learn the representation from all rows, and a member from the labels of each partition.

        Parameters
        ----------
        X : array-like, sparse matrix, dataframe or sequence of str
            Training rows, n_train of them: an array of any rank (images keep their shape and
            type), a CSR matrix, a pandas or polars dataframe, or a sequence of strings.
        y : array-like of shape (n_train,)
            Labels: strings, integers or booleans.
        groups : array-like of shape (n_train,) or (n_train, n_keys), default=None
            Who wrote each label, if that can be trusted. All labels of one annotator then go to
            one partition, and a radius counts annotators, each of whom may rewrite all of them.
        **fit_params : dict
            Further arguments of the estimator's `fit`, by metadata routing if that is
            enabled. Those of length n_train, such as `sample_weight`, go with the rows; they
            must not be chosen by looking at labels.

        Returns
        -------
        self : SemiSupervisedDPA
            The fitted ensemble.

        Raises
        ------
        ValueError
            If X, y, groups or a parameter is unusable, if the representation or the partitioner
            looks at labels, or if parameters do not go together; the message names them and the
            remedy.

        Warns
        -----
        CertificateWarning
            If the guarantee is weaker than it looks (partitions without rows, members that
            abstain), or hangs on what a frozen step has seen.
        UserWarning
            If ``unlabeled="mask"`` will train on very many rows, or rows were left out. Warnings
            of members come once for each category.
        """
        with built_aside(self) as new, cache_report():
            params = new._member_params(fit_params)
            X, y, params, groups, known = new._rows_to_fit(X, y, params, groups)
            y, new.classes_, new._open_set = validate_labels(new, X, y)
            check_seed(new.random_state)
            operations = new._partition_annotators(X, groups)
            members = new._choose_members(X, params)
            rows = new._fit_representation(X)
            one_label = new.n_partitions == "n_samples"
            new._n_partitions = rows.index.max() + 1 if one_label else new.n_partitions
            if operations is None:
                operations = rows.index
                new.partition_ = label_free_partition(
                    new.partitioner, X, operations, new._n_partitions
                )
            new._warn_if_empty()
            seeds = [new.random_state] if one_label else new._validate_seeds(new._n_partitions)
            if known is not None:
                rows = rows._replace(numbers=np.flatnonzero(known))
            if new.certificate == "members" and not one_label:
                params["operations"] = operations
            new._fit_members(members, rows, y, seeds, params)
            new._sum_up(known)
        return self

    def _partition_annotators(self, X, groups):
        """Set ``partition_`` by annotators, and return their numbers, if there are groups."""
        self._counts_annotators = groups is not None
        if groups is None:
            return None
        if self.n_partitions == "n_samples":
            raise ValueError(
                'groups=... needs partitions of annotators, and n_partitions="n_samples" makes a '
                "member of each label. Set a number of partitions, or use "
                "LabelFlipSmoothingClassifier with the same estimator and groups: there the "
                "votes of single labels are counted by annotators, exactly."
            )
        groups = validate_groups(X, groups)
        annotator, self.partition_ = annotator_partition(
            self.partitioner, groups, self.n_partitions
        )
        return annotator

    def _choose_members(self, X, params):
        """Return the untrained members of the kind that the parameters ask for."""
        how = {"open_set": self._open_set, "memory": self.memory, "on_error": self.on_error}
        how["categorical"] = self._categorical(X)
        if self.n_partitions == "n_samples":
            self._refuse('n_partitions="n_samples"', params, partitioner="sorted")
            return OneLabelMembers(self.estimator, self.classes_, **how)
        estimator = self._validate_estimator()
        if self.certificate == "members":
            self._refuse('certificate="members"', params, unlabeled="ignore")
            return SmootherMembers(estimator, self.classes_, **how)
        kind = MaskedMembers if self.unlabeled == "mask" else LabelMembers
        return kind(estimator, self.classes_, n_seeds=self.n_seeds, **how)

    def _categorical(self, X):
        """Return which columns reach members as categories."""
        mask = categorical_mask(self.categorical_features, X)
        if mask is not None and self.representation is not None:
            raise ValueError(
                f"categorical_features={self.categorical_features!r} names columns of X, and "
                "members are trained on the output of the representation: set one of the two to "
                "None."
            )
        return mask

    def _refuse(self, setting, params, **needed):
        """Refuse what does not go with a setting, under which members draw nothing."""
        for name, value in {**needed, "aggregation": "plurality", "n_seeds": 1}.items():
            if getattr(self, name) != value:
                raise ValueError(
                    f"{setting} needs {name}={value!r}, got {name}={getattr(self, name)!r}."
                )
        if params:
            raise ValueError(
                f"{setting} takes no further arguments of fit, got {sorted(params)}; leave them "
                "out."
            )

    def _member_estimator(self):
        if self.estimator is None and self.unlabeled == "mask":
            return SelfTrainingClassifier(LogisticRegression())
        return super()._member_estimator()

    def _base_estimator(self):
        # The representation, if there is one, sees X first.
        return self._member_estimator() if self.representation is None else self.representation

    def _validate_estimator(self):
        estimator = super()._validate_estimator()
        if is_clusterer(estimator) or not hasattr(estimator, "predict"):
            raise ValueError(
                f"estimator={estimator!r} predicts no labels, so that it casts no ballot: pass a "
                'classifier, or set n_partitions="n_samples", where clusters and neighbours vote.'
            )
        return estimator

    # ------------------------------------------------------------ training

    def _refusal(self, step):
        return (
            f"representation={self.representation!r} learns from labels (in {step!r}): one "
            "flipped label would reach every member. Use an unsupervised transformer, such as "
            "PCA, or make it a step of `estimator`: each member then learns it from its own "
            "labels."
        )

    def _fit_representation(self, X):
        """Return the training rows with their features, learned without labels."""
        steps = []
        if self.representation is not None:
            # A bare FrozenEstimator insists on a y, which pipelines pass on as None.
            frozen = isinstance(self.representation, FrozenEstimator)
            steps = [make_pipeline(self.representation) if frozen else self.representation]
        self._features = LabelFreeFeatures(
            steps,
            random_state=self.random_state,
            n_jobs=self.n_jobs,
            memory=self.memory,
            refuse=self._refusal,
        )
        try:
            rows = self._features.fit_rows(X)
        except Exception as error:
            if steps:
                error.add_note(
                    f"Raised while fitting representation={self.representation!r} on the training "
                    "rows, without labels. What needs labels belongs inside `estimator`."
                )
            raise
        self.representation_ = self._features.fitted[0] if steps else None
        self._check_features(rows.different)
        return rows

    @property
    def _members_judge_values(self):
        # The representation, if there is one, is everybody's.
        return self.representation is None and super()._members_judge_values

    def _check_features(self, features):
        """Refuse missing values that pass the representation and that members do not take."""
        if self.on_error == "abstain":
            return features
        allowed = get_tags(self._member_estimator()).input_tags.allow_nan
        if self.representation is not None and not allowed and not features.coded:
            assert_all_finite(features.dense, input_name="the output of the representation")
        return features

    # ------------------------------------------------------------ votes

    def _features_of(self, X):
        return self._check_features(self._features.transform(super()._features_of(X)))

    def _take_device_rows(self):
        return self.representation_ is None and super()._take_device_rows()

    @property
    def _radius_falls_by_one(self):
        """Whether one operation is known to lower a radius by one at most."""
        return not isinstance(self._members, SmootherMembers)

    def certify(self, X, threat=None, *, target=None, top_k=None):
        """Return predictions and the number of label flips that each of them provably survives.

        Parameters
        ----------
        X : array-like, sparse matrix, dataframe or sequence of str
            Rows as in :meth:`fit`, n_samples of them.
        threat : {"label_flip"}, default=None
            The only threat covered, and the default: any change of the labels of one row, or
            of all copies of one row together; after ``fit(..., groups=...)`` of all labels of
            one annotator.
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
            ``y_pred, radius``: the labels that :meth:`predict` returns, and for each the largest
            certified number of flips, int64 of shape (n_samples,), that cannot change it. With
            `target`: that cannot make the target the prediction, -1 where it is the prediction.
            With `top_k`: that leave ``y_pred`` among the k labels, -1 where it is not among them
            (a run-off may elect the second label).

        Raises
        ------
        ValueError
            If another threat is asked for, `target` is no label that can be predicted, `top_k`
            no integer of at least 1, or both are given.

        See Also
        --------
        certified_ensembles.certificates.target_radius : The theorem of `target`, on arrays.
        certified_ensembles.certificates.top_k_radius : The theorem of `top_k`, on arrays.

        Notes
        -----
        Budgets are not shared: an attacker may spend the radius of a row on that row alone.

        The radii of `target` and `top_k` are exact for a plurality of ballots, and lower bounds
        for ``certificate="members"`` and for the target of a run-off.

        Examples
        --------
        >>> from sklearn.datasets import load_iris
        >>> from certified_ensembles.ssdpa import SemiSupervisedDPA
        >>> X, y = load_iris(return_X_y=True)
        >>> ballots = SemiSupervisedDPA(n_partitions=9, classes=[0, 1, 2])
        >>> members = SemiSupervisedDPA(n_partitions=9, classes=[0, 1, 2], certificate="members")
        >>> radius = [clf.fit(X, y).certify(X).radius for clf in (ballots, members)]
        >>> bool((radius[0] <= radius[1]).all())
        True
        """
        check_is_fitted(self)
        return self._certify(X, threat, target=target, top_k=top_k)

    def _operation_cost(self, threat):
        if threat not in (None, self._default_threat):
            raise ValueError(
                f"threat={threat!r} is not covered: features are trusted here, only labels may "
                'change. Pass threat="label_flip" or None; for inserted, deleted or replaced rows '
                "use DeepPartitionAggregation."
            )
        return 1

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        # Missing values may pass the representation and then meet the members.
        members = get_tags(self._member_estimator()).input_tags
        tags.input_tags.allow_nan = tags.input_tags.allow_nan and members.allow_nan
        return tags
