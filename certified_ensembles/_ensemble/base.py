"""What estimators of members on partitions share: validation, training, asking."""

import warnings
from numbers import Integral

import numpy as np
from sklearn.base import BaseEstimator, MetaEstimatorMixin
from sklearn.frozen import FrozenEstimator
from sklearn.utils._param_validation import HasMethods, Interval, StrOptions
from sklearn.utils.metadata_routing import (
    MetadataRouter,
    MethodMapping,
    _routing_enabled,
    process_routing,
)
from sklearn.utils.validation import validate_data

from .._certificate import CertificateWarning
from .._data.array_api import is_finite_table, is_on_device, on_host
from .._data.containers import n_rows, rows_with_form
from .._data.validation import (
    ENSEMBLE_CONSTRAINTS,
    check_seed,
    input_tags_of,
    rows_to_fit,
    validate_rows,
)
from .._deterministic import parts_of
from .._fits import OneFitMixin
from .._member_warnings import summed_up
from .._members import failures_in_words, names_by_row


class BasePartitionEnsemble(OneFitMixin, MetaEstimatorMixin, BaseEstimator):
    """Members trained on disjoint partitions.

    A subclass partitions the rows, says what their answers amount to, and which threats its
    certificate covers. It has a ``_default_estimator()``, which stands for ``estimator=None``, and
    ``_refuse_kind(estimator)``, which raises where an estimator does not answer as it should.
    """

    _parameter_constraints: dict = {
        "estimator": [HasMethods(["fit", "predict"]), None],
        "n_partitions": [Interval(Integral, 1, None, closed="left")],
        "categorical_features": ["array-like", StrOptions({"from_dtype"}), None],
        "on_error": [StrOptions({"raise", "abstain"})],
        "n_seeds": [Interval(Integral, 1, None, closed="left")],
        "distinct_seeds": ["boolean"],
        **ENSEMBLE_CONSTRAINTS,
    }

    # Which members each partition takes part in; None: one each.
    spread_ = None
    # Whether answers about a Dask collection are computed on its cluster.
    _answers_apart = False
    _empty_remedy = "Use fewer partitions."

    # ------------------------------------------------------------ validation

    def _member_estimator(self):
        """Return what is cloned for each member."""
        return self._default_estimator() if self.estimator is None else self.estimator

    def _base_estimator(self):
        """Return what sees X first: it decides which containers are taken."""
        return self._member_estimator()

    def _validate_seeds(self, n_partitions):
        """Return the seeds of all members, `n_seeds` of them for each partition."""
        n_distinct = self.n_seeds * (n_partitions if self.distinct_seeds else 1)
        check_seed(self.random_state, n_distinct)
        seeds = range(self.random_state, self.random_state + n_distinct)
        return list(seeds) * (1 if self.distinct_seeds else n_partitions)

    def _validate_estimator(self, depth=4):
        estimator = self._member_estimator()
        self._refuse_kind(estimator)
        if any(isinstance(part, FrozenEstimator) for part in parts_of(estimator)):
            warnings.warn(
                "The certificate holds only if the FrozenEstimator inside the estimator was "
                "fitted on rows that an attacker does not touch: it is the same in all members. "
                "If it has seen training rows, put the unfitted estimator in its place.",
                CertificateWarning,
                stacklevel=depth,
            )
        return estimator

    @property
    def _members_judge_values(self):
        """Whether a value that the estimator refuses passes the door, to be a member's failure."""
        return self.on_error == "abstain"

    # ------------------------------------------------------------ training

    def _rows_to_fit(self, X, y, params, groups=None):
        """Return what :meth:`fit` was given, without rows that have no canonical form.

        Returns
        -------
        X, y, params, groups : the same, X as a Table
        known : ndarray of shape (n_train,), bool, or None
            Which of the rows given these are; None: all.
        """
        if self.on_error == "raise":
            return validate_rows(self, X, reset=True), y, params, groups, None
        by_row = sorted(names_by_row(params, n_rows(X)))
        own = [params[name] for name in by_row]
        X, known, (y, groups, *own) = rows_to_fit(self, X, y, groups, *own)
        return X, y, params | dict(zip(by_row, own, strict=True)), groups, known

    def _takes_any(self, X, y):
        """Say whether any of some rows has a form; also where that is not about single rows."""
        known = rows_with_form(X)
        return known is None or bool(known.any())

    @property
    def _size_in_words(self):
        return f"n_partitions={self.n_partitions} suggests"

    def _sum_up(self, known):
        """Say once what members warned of, which of them failed, and what was left out."""
        left_out = None
        if known is not None:
            partition = self.partition_
            self.partition_ = np.full((len(known), *partition.shape[1:]), -1)
            self.partition_[known] = partition
            left_out = (
                f"{np.count_nonzero(~known)} of {len(known)} rows of X have no canonical form "
                f"and were left out, the first of them row {known.argmin()}; their partition_ "
                "is -1."
            )
        self._say(left_out)

    def _say(self, left_out, depth=5):
        """Say once what members warned of, which of them failed, and which rows were left out."""
        for text, category in summed_up(self._members.notes, len(self.estimators_)):
            warnings.warn(text, category, stacklevel=depth)
        words = [] if left_out is None else [left_out]
        if self.errors_:
            failed = failures_in_words(self.errors_, len(self.estimators_))
            words.insert(0, f"The certificate is weaker than {self._size_in_words}: {failed}")
        if words:
            category = CertificateWarning if self.errors_ else UserWarning
            warnings.warn(" ".join(words), category, stacklevel=depth)

    def _rows_of_member(self):
        """Return the indices of the rows of every member, before it is cloned for its seeds."""
        order = np.argsort(self.partition_, kind="stable")
        sizes = self._sizes_of_partitions()
        rows = np.split(order, np.cumsum(sizes)[:-1])
        if self.spread_ is None:
            return rows
        degree = self.spread_.shape[1]
        partitions = np.argsort(self.spread_.ravel(), kind="stable") // degree
        return [np.concatenate([rows[p] for p in own]) for own in partitions.reshape(-1, degree)]

    def _sizes_of_partitions(self):
        return np.bincount(self.partition_, minlength=self._n_partitions)

    def _warn_if_empty(self, sizes=None, depth=4):
        sizes = self._sizes_of_partitions() if sizes is None else sizes
        n_empty = np.count_nonzero(sizes == 0)
        if n_empty > self._n_partitions / 4:
            warnings.warn(
                f"The certificate is weaker than n_partitions={self.n_partitions} suggests: "
                f"{n_empty} of {self._n_partitions} partitions have no rows, and members without "
                f"rows abstain. {self._empty_remedy}",
                CertificateWarning,
                stacklevel=depth,
            )

    def _member_params(self, params):
        """Return what goes to the members' fit, by routing where that is enabled."""
        params = {name: on_host(value) for name, value in params.items()}
        if _routing_enabled():
            return dict(process_routing(self, "fit", **params).estimator.fit)
        return {name: value for name, value in params.items() if value is not None}

    def _fit_members(self, members, rows, y, seeds, params):
        """Train the members, of whatever kind; set what prediction needs."""
        partitions = self._rows_of_member()
        self._members = members.fit(
            rows, y, partitions, seeds, params, n_jobs=self.n_jobs, verbose=self.verbose
        )
        self._keep_members(self._members)

    def _keep_members(self, members):
        self._members = members
        self.estimators_ = self._members.seen_by_users()
        self.errors_ = dict(self._members.errors)

    # ------------------------------------------------------------ answers

    def _features_of(self, X):
        """Return what the members see of test rows."""
        if is_on_device(X) and self._take_device_rows() and is_finite_table(X):
            return validate_data(self, X, reset=False, skip_check_array=True)
        return validate_rows(self, X, reset=False)

    def _take_device_rows(self):
        """Say whether test rows on a GPU stay there."""
        return self._members.take_device_rows()

    def _ask(self, ask, X, **how):
        """Return what one of the members' methods answers about test rows."""
        verbose = max(self.verbose - 1, 0)
        return ask(self._features_of(X), n_jobs=self.n_jobs, verbose=verbose, **how)

    # ------------------------------------------------------------ scikit-learn

    def __getstate__(self):
        # Members are written once, also in formats that write what two attributes share twice.
        state = dict(super().__getstate__())
        shown, members = state.get("estimators_"), state.get("_members")
        if shown is not None and shown is getattr(members, "estimators", None):
            del state["estimators_"]
        return state

    def __setstate__(self, state):
        super().__setstate__(state)
        if "_members" in state and "estimators_" not in state:
            self.estimators_ = self._members.estimators

    def get_metadata_routing(self):
        """Return how metadata such as ``groups`` and ``sample_weight`` are routed.

        Returns
        -------
        routing : MetadataRouter
            ``groups`` is for the ensemble; the members' fit gets what it requests.
        """
        return (
            MetadataRouter(owner=self)
            .add_self_request(self)
            .add(
                estimator=self._member_estimator(),
                method_mapping=MethodMapping().add(caller="fit", callee="fit"),
            )
        )

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags = input_tags_of(self._base_estimator())
        return tags
