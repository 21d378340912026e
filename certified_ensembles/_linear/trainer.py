"""Train linear heads side by side: the plain ones in batches, each a function of its own rows."""

import numpy as np
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.linear_model import LogisticRegression, RidgeClassifier
from sklearn.neighbors import NearestCentroid

from .._data.containers import numbers_of
from .discriminant import fit_centroids, fit_ldas, is_plain_centroid, is_plain_lda
from .logistic import fit_logistics, is_plain_logistic
from .problems import Task
from .ridge import fit_ridges, is_plain_ridge

# Exact types only: a subclass may train in its own way.
_BATCHES = (
    (RidgeClassifier, is_plain_ridge, fit_ridges),
    (LogisticRegression, is_plain_logistic, fit_logistics),
    (NearestCentroid, is_plain_centroid, fit_centroids),
    (LinearDiscriminantAnalysis, is_plain_lda, fit_ldas),
)


def heads_trainer(estimator):
    """Return what trains many clones of an estimator at once, or None.

    Decided by the type and the parameters alone: what the rows of one member hold must not
    choose the way in which all are trained.

    Parameters
    ----------
    estimator : estimator
        A classifier, the last step of what is cloned for each member.

    Returns
    -------
    trainer : HeadsTrainer or None
        ``trainer(heads, rows, labels)`` returns the fitted heads, and ``trainer.width`` is the
        number of heads to pass at once. None where clones have to be fitted one by one.

    Notes
    -----
    The heads agree with scikit-learn's own fit: closed forms up to rounding, the others up to
    the estimator's tolerance.
    """
    for type_, is_plain, fit in _BATCHES:
        if type(estimator) is type_ and _is_valid(estimator) and is_plain(estimator):
            return HeadsTrainer(fit)
    return None


def _is_valid(estimator):
    try:
        estimator._validate_params()
    except (TypeError, ValueError):
        return False  # clones say what is wrong
    return True


class HeadsTrainer:
    """Callable that fits heads together where their rows allow it, and else one by one.

    Parameters
    ----------
    fit : callable
        ``fit(tasks)`` fits the heads of tasks.
    """

    # Members a call: results do not depend on it, and the rows of this many are held at once.
    width = 256

    def __init__(self, fit):
        self._fit = fit

    def __call__(self, heads, rows, labels):
        """Fit each head on its rows.

        Parameters
        ----------
        heads : list of estimator
            Unfitted clones of one estimator.
        rows : list of ndarray of shape (n_rows of the head, n_features)
            Numbers; anything else (sparse matrices, dataframes) is fitted by scikit-learn.
        labels : list of ndarray of shape (n_rows of the head,)

        Returns
        -------
        heads : list of estimator
            The same objects, fitted.
        """
        tasks, named = [], []
        for head, X, y in zip(heads, rows, labels, strict=True):
            array, names = numbers_of(X)
            task = Task.of(head, array, y)
            if task is None:
                head.fit(X, y)
            else:
                tasks.append(task)
                named.append(names)
        with np.errstate(all="ignore"):
            self._fit(tasks)
        for task, names in zip(tasks, named, strict=True):
            if names is not None:  # as scikit-learn's own fit does
                task.head.feature_names_in_ = names
        return heads
