"""Labels as estimators want them that know no others than 0, 1, 2, ..."""

from dataclasses import replace

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin, MetaEstimatorMixin, clone
from sklearn.utils import get_tags
from sklearn.utils._param_validation import HasMethods
from sklearn.utils.metadata_routing import (
    MetadataRouter,
    MethodMapping,
    _routing_enabled,
    process_routing,
)
from sklearn.utils.metaestimators import available_if
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import _check_y, check_is_fitted

from ._data.containers import n_rows
from ._fits import OneFitMixin, built_aside, of_one_fit


def _inner_has(name):
    def check(self):
        # Raises an AttributeError of the inner estimator's own.
        getattr(getattr(self, "estimator_", self.estimator), name)
        return True

    return check


class LabelEncodingClassifier(OneFitMixin, MetaEstimatorMixin, ClassifierMixin, BaseEstimator):
    """Number the labels of the training rows 0, 1, 2, ..., and answer with the labels themselves.

    Some classifiers take no other labels than 0 to k - 1, each of which must occur: XGBoost's
    ``XGBClassifier`` and nets of skorch are among them. Encoding all labels in front of an
    ensemble does not help: the rows of a single member need not hold all of them. Inside the
    ensemble each member numbers the labels of its own rows, and nothing is shared.

    Parameters
    ----------
    estimator : classifier
        Cloned and fitted on numbers in place of labels. Its predictions are such numbers, of
        shape (n_samples,) or (n_samples, 1).

    Attributes
    ----------
    estimator_ : classifier
        The fitted clone.
    classes_ : ndarray of shape (n_classes,)
        Sorted labels of the training rows; label ``classes_[i]`` is number i.

    See Also
    --------
    DeepPartitionAggregation : Clones and trains it once for each partition.

    Notes
    -----
    Further arguments of ``fit`` reach the inner estimator as they are. Those that hold labels,
    such as the ``eval_set`` of XGBoost, must hold numbers.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from sklearn.naive_bayes import GaussianNB
    >>> from certified_ensembles.encoding import LabelEncodingClassifier
    >>> X, y = load_iris(return_X_y=True)
    >>> clf = LabelEncodingClassifier(GaussianNB()).fit(X[50:], y[50:])
    >>> clf.classes_.tolist(), clf.estimator_.classes_.tolist()
    ([1, 2], [0, 1])
    >>> clf.predict(X[-2:]).tolist()
    [2, 2]
    """

    _parameter_constraints: dict = {"estimator": [HasMethods(["fit", "predict"])]}

    def __init__(self, estimator):
        self.estimator = estimator

    def fit(self, X, y, **fit_params):
        """Fit a clone of the estimator on numbers in place of labels.

        Parameters
        ----------
        X : rows, as the estimator takes them
        y : array-like of shape (n_samples,)
            Labels.
        **fit_params : dict
            Further arguments of the estimator's `fit`, by metadata routing if that is enabled.

        Returns
        -------
        self : LabelEncodingClassifier
            The fitted classifier.

        Raises
        ------
        ValueError
            If y does not hold labels; and whatever the estimator raises.
        """
        with built_aside(self) as new:
            new._validate_params()
            if y is None:
                raise ValueError(
                    f"This {type(new).__name__} estimator requires y to be passed, but the target "
                    "y is None."
                )
            y = _check_y(y)
            check_classification_targets(y)
            if _routing_enabled():
                fit_params = process_routing(new, "fit", **fit_params).estimator.fit
            new.classes_, codes = np.unique(y, return_inverse=True)
            new.estimator_ = clone(new.estimator).fit(X, codes, **fit_params)
            for name in ("n_features_in_", "feature_names_in_"):
                vars(new).pop(name, None)
                if hasattr(new.estimator_, name):
                    setattr(new, name, getattr(new.estimator_, name))
        return self

    def predict(self, X):
        """Return the labels whose numbers the estimator predicts.

        Parameters
        ----------
        X : rows, as in :meth:`fit`

        Returns
        -------
        y_pred : ndarray of shape (n_samples,)
            Labels.

        Raises
        ------
        ValueError
            If the estimator's answer is not one number of a label a row.
        """
        check_is_fitted(self)
        given = np.asarray(self.estimator_.predict(X))
        n = n_rows(X)
        known = np.isin(given, np.arange(len(self.classes_)))
        if given.shape not in ((n,), (n, 1)) or not known.all():
            other = np.unique(given[~known])[:3].tolist()
            raise ValueError(
                f"{type(self.estimator_).__name__}.predict answered {n} rows by an array of shape "
                f"{given.shape}{f' that holds {other}' if other else ''}; it must return a whole "
                f"number below {len(self.classes_)} for each row, since it was fitted on these."
            )
        return self.classes_[given.reshape(n).astype(np.intp)]

    @available_if(_inner_has("predict_proba"))
    @of_one_fit
    def predict_proba(self, X):
        """Return the estimator's probabilities.

        Parameters
        ----------
        X : rows, as in :meth:`fit`

        Returns
        -------
        shares : ndarray of shape (n_samples, n_classes)
            In the order of ``classes_``.
        """
        check_is_fitted(self)
        return self._of_own_labels(self.estimator_.predict_proba(X))

    @available_if(_inner_has("decision_function"))
    @of_one_fit
    def decision_function(self, X):
        """Return the estimator's scores.

        Parameters
        ----------
        X : rows, as in :meth:`fit`

        Returns
        -------
        scores : ndarray of shape (n_samples, n_classes) or (n_samples,)
            In the order of ``classes_``; of two classes the score of the second.
        """
        check_is_fitted(self)
        return self._of_own_labels(self.estimator_.decision_function(X))

    def _of_own_labels(self, scores):
        """Return scores without the columns of a net that has more outputs than labels."""
        scores = np.asarray(scores)
        return scores if scores.ndim < 2 else scores[:, : len(self.classes_)]

    def get_metadata_routing(self):
        """Return the router of further arguments of `fit`.

        Returns
        -------
        routing : MetadataRouter
        """
        mapping = MethodMapping().add(caller="fit", callee="fit")
        router = MetadataRouter(owner=type(self).__name__)
        return router.add(estimator=self.estimator, method_mapping=mapping)

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        inner = get_tags(self.estimator)
        tags.input_tags = inner.input_tags
        tags.non_deterministic, tags.no_validation = inner.non_deterministic, inner.no_validation
        if inner.classifier_tags is not None:
            tags.classifier_tags = replace(inner.classifier_tags, multi_label=False)
        return tags
