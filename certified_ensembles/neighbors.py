"""Nearest neighbours: the baseline without training, certified against poisoned rows."""

from numbers import Integral

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin, _fit_context
from sklearn.utils._param_validation import Interval
from sklearn.utils.validation import check_is_fitted, validate_data

from ._data.array_api import on_host
from ._data.containers import as_table
from ._data.labels import number_groups, validate_groups
from ._data.nearest import NearestRows
from ._data.validation import validate_labels
from ._deterministic import one_thread
from ._fits import OneFitMixin, built_aside
from ._jobs import in_turn
from ._results import certificate_of
from .certificates.neighbors import nearest_neighbor_radius
from .hashers import canonical_order

__all__ = ["CertifiedKNeighborsClassifier"]

# The number of test rows whose distances to all training rows are in memory at once.
_BLOCK_ROWS = 256


class CertifiedKNeighborsClassifier(OneFitMixin, ClassifierMixin, BaseEstimator):
    """Vote of the k nearest training rows, with the poisoning that it provably survives.

    One training row is one voter, so nothing is trained: whoever inserts a row next to
    a test row gains one vote and pushes another out. It is the baseline that an ensemble of
    trained members has to beat, and hard to beat where distances between rows mean something.

    Parameters
    ----------
    n_neighbors : int, default=5
        Number of training rows that vote. No radius exceeds ``n_neighbors // 2``.
    classes : array-like or set of shape (n_classes,), default=None
        The closed set of labels, in any order; a row with another label is refused by
        :meth:`fit`. None means the labels seen, an open set: an attacker may then bring a new
        label, and the radius accounts for it.
    n_jobs : int, default=None
        Threads for blocks of test rows. It never changes a result.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
        Sorted labels.
    n_samples_fit_ : int
        Number of training rows.
    n_features_in_ : int
        Number of features seen in :meth:`fit`.
    feature_names_in_ : ndarray of shape (n_features_in_,)
        Names of features seen in :meth:`fit`. Set only where all are strings.

    See Also
    --------
    certified_ensembles.certificates.neighbors.nearest_neighbor_radius : The theorem, on arrays.
    certified_ensembles.LabelFlipSmoothingClassifier : Weighted neighbours, against label flips.
    DeepPartitionAggregation : A vote of trained members.

    Notes
    -----
    Distances are Euclidean. The squared distance of two rows is *defined* as the sum, feature by
    feature in double precision, of the rounded squares of their rounded differences: a number
    that depends on these two rows and on nothing else. Equal distances are ordered by the
    values of the training rows (lexicographic), then by label, so that neither the order of
    the rows nor what stands beside them counts. Matrix products find the candidates;
    wherever their rounding could change the order of two rows, the definition decides.

    The radius speaks of training sets with `n_neighbors` rows or more: if deletions leave
    fewer, :meth:`fit` refuses them.

    *Annotators.* After ``fit(X, y, groups=annotators)`` a radius counts annotators, whose labels
    among the k nearest change together. Equal distances are then ordered by the values of the
    training rows, then by annotator, then by label, so that no label decides whose vote counts.
    Who labelled what must be fixed before the labels are.

    Everything before the neighbours must be a function of each row alone (fixed features,
    :mod:`certified_ensembles.features`); a scaler or a PCA fitted on the training rows voids
    the certificate against insertions and deletions.

    References
    ----------
    .. [1] J. Jia, Y. Liu, X. Cao and N. Z. Gong, "Certified Robustness of Nearest Neighbors
       against Data Poisoning and Backdoor Attacks", AAAI 2022.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from certified_ensembles.neighbors import CertifiedKNeighborsClassifier
    >>> X, y = load_digits(return_X_y=True)
    >>> clf = CertifiedKNeighborsClassifier(30, classes=range(10)).fit(X[:1000], y[:1000])
    >>> y_pred, radius = clf.certify(X[1000:])
    >>> bool(((y_pred == y[1000:]) & (radius >= 5)).mean() > 0.8)
    True
    """

    _parameter_constraints: dict = {
        "n_neighbors": [Interval(Integral, 1, None, closed="left")],
        "classes": ["array-like", None],
        "n_jobs": [Integral, None],
    }

    _groups = None
    # One operation is known to lower a radius by one at most.
    _radius_falls_by_one = True

    def __init__(self, n_neighbors=5, *, classes=None, n_jobs=None):
        self.n_neighbors = n_neighbors
        self.classes = classes
        self.n_jobs = n_jobs

    @property
    def _counts_annotators(self):
        """Whether a radius counts annotators, and not rows."""
        return self._groups is not None

    @property
    def _default_threat(self):
        # Whoever adds rows fills a neighbourhood alone: annotators answer for labels.
        return "label_flip" if self._counts_annotators else "insertion_deletion"

    def _validate_rows(self, X, reset):
        return validate_data(self, on_host(X), reset=reset, dtype=[np.float64, np.float32])

    @_fit_context(prefer_skip_nested_validation=False)
    def fit(self, X, y, groups=None):
        """Keep the rows, in the one order that depends on their values alone.

        Parameters
        ----------
        X : array-like of shape (n_train, n_features)
            Training rows, finite numbers.
        y : array-like of shape (n_train,)
            Labels: strings, integers or booleans.
        groups : array-like of shape (n_train,) or (n_train, n_keys), default=None
            Who wrote each label, if that can be trusted. A radius then counts annotators, each
            of whom may rewrite all of his labels; features and rows are trusted.

        Returns
        -------
        self : CertifiedKNeighborsClassifier
            The fitted classifier.

        Raises
        ------
        ValueError
            If X, y, groups or a parameter is unusable, or there are fewer rows than `n_neighbors`.
        """
        with built_aside(self) as new:
            X = new._validate_rows(X, reset=True)
            y, new.classes_, new._open_set = validate_labels(new, X, y)
            if new.n_neighbors > len(X):
                raise ValueError(
                    f"n_neighbors={new.n_neighbors} is more than n_samples={len(X)}, the number "
                    "of training rows; make it smaller."
                )
            codes = np.searchsorted(new.classes_, y)
            if groups is None:
                new._groups, order = None, canonical_order(X, codes)
            else:
                groups = number_groups(validate_groups(as_table(X), groups))
                # A label must not decide which of several copies is among the nearest.
                order = canonical_order(X, groups, codes)
                new._groups = groups[order]
            new.n_samples_fit_ = len(X)
            new._nearest, new._codes = NearestRows(X[order]), codes[order]
        return self

    def _neighbors(self, X, n_nearest):
        """Return the places of the nearest training rows, the nearest first."""
        X = self._validate_rows(X, reset=False)

        @one_thread()
        def nearest(start):
            return self._nearest.find(X[start : start + _BLOCK_ROWS], n_nearest)

        starts = [(start,) for start in range(0, len(X), _BLOCK_ROWS)]
        blocks = in_turn(nearest, starts, self.n_jobs, require="sharedmem")
        return np.concatenate(list(blocks))

    def vote_counts(self, X):
        """Return how many of the nearest training rows have each label.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows.

        Returns
        -------
        vote_counts : ndarray of shape (n_samples, n_classes), int64
            In the order of ``classes_``; rows sum to `n_neighbors`.
        """
        check_is_fitted(self)
        codes = self._codes[self._neighbors(X, self.n_neighbors)]
        return np.stack([(codes == c).sum(axis=1) for c in range(len(self.classes_))], axis=1)

    def predict(self, X):
        """Return the label that most of the nearest rows have; ties go to the smaller label.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows.

        Returns
        -------
        y_pred : ndarray of shape (n_samples,)
            Predicted labels.
        """
        check_is_fitted(self)
        return self.classes_[self.vote_counts(X).argmax(axis=1)]

    def predict_proba(self, X):
        """Return the share of the nearest rows that have each label.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows.

        Returns
        -------
        proba : ndarray of shape (n_samples, n_classes)
            Rows sum to one; not calibrated.
        """
        return self.vote_counts(X) / self.n_neighbors

    def certify(self, X, threat=None):
        """Return predictions and the poisoning that each of them provably survives.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows.
        threat : {"insertion_deletion", "label_flip", "replacement"}, default=None
            What the radius counts: inserted plus deleted training rows (the default), rows
            whose label was changed, or rows replaced by others. After
            ``fit(..., groups=...)`` "label_flip", the default then, counts annotators, and the
            others are refused.

        Returns
        -------
        certificate : Certificate
            ``y_pred, radius``: the labels that :meth:`predict` returns, and for each the
            largest certified number of operations, int64 of shape (n_samples,), that cannot
            change it.

        Raises
        ------
        ValueError
            If the threat is unknown, or not that of labels after a fit with groups.

        Examples
        --------
        >>> from sklearn.datasets import load_iris
        >>> from certified_ensembles.neighbors import CertifiedKNeighborsClassifier
        >>> X, y = load_iris(return_X_y=True)
        >>> clf = CertifiedKNeighborsClassifier(9, classes=[0, 1, 2]).fit(X, y)
        >>> clf.certify(X[:2]).radius.tolist(), clf.certify(X[:2], "label_flip").radius.tolist()
        ([4, 4], [4, 4])
        """
        check_is_fitted(self)
        threat = self._default_threat if threat is None else threat
        # An attack that has not won by n_neighbors // 2 + 1 operations reaches no further.
        n_nearest = min(self.n_neighbors + self.n_neighbors // 2 + 1, self.n_samples_fit_)
        nearest = self._neighbors(X, n_nearest)
        winner, radius = nearest_neighbor_radius(
            self._codes[nearest],
            self.n_neighbors,
            len(self.classes_),
            threat=threat,
            complete=n_nearest == self.n_samples_fit_,
            groups=None if self._groups is None else self._groups[nearest],
            open_set=self._open_set,
        )
        return certificate_of(self, self.classes_[winner], radius, threat)
