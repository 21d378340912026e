"""What flipping one training label does to a logistic regression, to first order."""

import numpy as np
from scipy.linalg import cho_factor, cho_solve
from sklearn.linear_model import LogisticRegression
from sklearn.utils import check_array
from sklearn.utils.validation import check_consistent_length, check_is_fitted, column_or_1d


def label_flip_influence(model, X, y, X_test):
    """Return by how much each flipped label lowers the margin of each prediction.

    Parameters
    ----------
    model : LogisticRegression
        Fitted on X and y with a squared penalty, without weights of classes or rows.
    X : array-like of shape (n_train, n_features)
        Training rows, dense. Deep models count from their last layer: pass its input.
    y : array-like of shape (n_train,)
        Training labels.
    X_test : array-like of shape (n_samples, n_features)
        Test rows.

    Returns
    -------
    drop : ndarray of shape (n_samples, n_train), float64
        First-order estimate of the drop in the difference of decision values between the
        predicted class c and the runner-up b, if the label of one training row becomes b
        (where it is b already: becomes c). Negative where that flip helps the prediction.

    Raises
    ------
    ValueError
        If the model is not one whose influence has this form, or arrays do not fit.

    See Also
    --------
    smallest_ordered_flip_attack : Flips labels in this order and fits again.

    Notes
    -----
    Moving a small weight from ``(x_j, y_j)`` to ``(x_j, b)`` moves the minimum by
    ``-H^-1 (grad l(x_j, b) - grad l(x_j, y_j))``, with the Hessian H of the penalised loss
    (appendix C.1 of [1]_, after [2]_). The gradients differ by a multiple of ``x_j`` that does
    not depend on the model, so one solve a test row gives the influence of all labels. The
    margin stands for the loss: its gradient is a positive multiple of that of the loss, which
    orders labels in the same way if there are two classes.

    It takes memory for the Hessian, ``(n_classes * n_features) ** 2`` numbers (without
    ``n_classes`` if there are two), and for the result.

    References
    ----------
    .. [1] E. Rosenfeld, E. Winston, P. Ravikumar and J. Z. Kolter, "Certified Robustness to
       Label-Flipping Attacks via Randomized Smoothing", ICML 2020.
    .. [2] P. W. Koh and P. Liang, "Understanding Black-box Predictions via Influence
       Functions", ICML 2017.

    Examples
    --------
    A row of the predicted class that loses its label hurts, one that gains it helps.

    >>> import numpy as np
    >>> from sklearn.linear_model import LogisticRegression
    >>> from certified_ensembles.attacks import label_flip_influence
    >>> X, y = np.array([[-2.0], [-1.0], [1.0], [2.0]]), [0, 0, 1, 1]
    >>> model = LogisticRegression().fit(X, y)
    >>> (label_flip_influence(model, X, y, [[1.5]]) > 0).tolist()
    [[False, False, True, True]]
    """
    check_model(model)
    check_is_fitted(model)
    X, X_test = check_array(X, dtype=np.float64), check_array(X_test, dtype=np.float64)
    y = column_or_1d(y)
    check_consistent_length(X, y)
    codes = np.searchsorted(model.classes_, y)
    if not np.array_equal(model.classes_[np.minimum(codes, len(model.classes_) - 1)], y):
        raise ValueError(
            f"y holds labels that the model has not seen (it knows {model.classes_.tolist()}); "
            "pass the labels that it was fitted on."
        )
    values = decision_values(model, X_test)
    c = values.argmax(axis=1)
    return Influence(model, X).drops(codes, X_test, c, runner_up(values, c))


def check_model(model):
    """Raise unless the influence of labels on a model has the form computed here."""
    if type(model) is not LogisticRegression:
        raise ValueError(
            f"{model!r} has no influence in closed form here: pass a LogisticRegression, or "
            "order labels by distance."
        )
    penalty = model.penalty if model.penalty != "deprecated" else "l2"
    reasons = {
        f"l1_ratio={model.l1_ratio!r}": bool(model.l1_ratio) or penalty in ("l1", "elasticnet"),
        "C=inf or penalty=None": penalty is None or not np.isfinite(model.C),
        f"class_weight={model.class_weight!r}": model.class_weight is not None,
    }
    for reason, holds in reasons.items():
        if holds:
            raise ValueError(
                f"{model!r} has no influence in closed form here because of {reason}: use a "
                "squared penalty, a finite C and no class weights, or order labels by distance."
            )


class Influence:
    """The factorised Hessian of a fitted logistic regression, and what follows from it."""

    def __init__(self, model, X):
        self.model = model
        self.rows = self._augmented(X)
        n_features = self.rows.shape[1]
        penalty = np.ones(n_features)
        if model.fit_intercept:
            # Only liblinear penalises the intercept.
            penalty[-1] = 0.0
            if model.solver == "liblinear":
                penalty[-1] = 1 / model.intercept_scaling**2
        proba = model.predict_proba(X)
        self.binary = len(model.coef_) == 1
        if self.binary:
            hessian = self._block(proba[:, 0] * proba[:, 1])
            hessian[np.diag_indices(n_features)] += penalty
        else:
            hessian = self._softmax_hessian(proba, penalty)
        self.factor = cho_factor(hessian, lower=True)

    def _augmented(self, X):
        return np.column_stack([X, np.ones(len(X))]) if self.model.fit_intercept else X

    def _block(self, weight):
        return self.model.C * (self.rows.T * weight) @ self.rows

    def _softmax_hessian(self, proba, penalty):
        n_classes, n_features = proba.shape[1], self.rows.shape[1]
        hessian = np.zeros((n_classes, n_features, n_classes, n_features))
        for a in range(n_classes):
            for b in range(a + 1):
                block = self._block(proba[:, a] * ((a == b) - proba[:, b]))
                hessian[a, :, b] = hessian[b, :, a] = block
            hessian[a, :, a] += np.diag(penalty)
        if self.model.fit_intercept:
            # All intercepts may move together; no margin sees that, so any curvature will do.
            hessian[:, -1, :, -1] += self.model.C * len(self.rows)
        return hessian.reshape(n_classes * n_features, -1)

    def drops(self, codes, X_test, c, b):
        """Return what `label_flip_influence` returns, for given codes, classes and rivals."""
        test_rows = self._augmented(X_test)
        if self.binary:
            influence = self.model.C * cho_solve(self.factor, test_rows.T).T @ self.rows.T
            return np.where(codes == c[:, None], influence, -influence)
        drops = np.empty((len(X_test), len(codes)))
        n_classes = len(self.model.classes_)
        index = np.arange(len(codes))
        for i, row in enumerate(test_rows):
            gradient = np.zeros((n_classes, len(row)))
            gradient[c[i]], gradient[b[i]] = row, -row
            moved = cho_solve(self.factor, gradient.ravel()).reshape(gradient.shape)
            effect = self.model.C * self.rows @ moved.T
            drops[i] = effect[index, codes] - effect[index, np.where(codes == b[i], c[i], b[i])]
        return drops


def decision_values(model, X):
    """Return one value a class, of shape (n_samples, n_classes), whatever the classifier has."""
    if hasattr(model, "decision_function"):
        values = np.asarray(model.decision_function(X), dtype=np.float64)
        return np.column_stack([-values, values]) / 2 if values.ndim == 1 else values
    if hasattr(model, "predict_proba"):
        return np.asarray(model.predict_proba(X), dtype=np.float64)
    return (np.asarray(model.predict(X))[:, None] == model.classes_).astype(np.float64)


def runner_up(values, c):
    """Return the class with the largest value in each row, other than class c of the row."""
    rest = np.array(values, dtype=np.float64)
    rest[np.arange(len(c)), c] = -np.inf
    return rest.argmax(axis=1)
