"""Products that round a row alike in any company, put in the place of those of known members.

A library picks another way to cut a matrix product up when its shape changes. So rows are
multiplied in panels of one shape, by one call of numpy for all of them. A known member is asked
through a copy of itself, whose weights multiply in panels; all else that it does, checks of rows
included, is its own code.
"""

import functools

import numpy as np
from sklearn.calibration import CalibratedClassifierCV
from sklearn.discriminant_analysis import (
    LinearDiscriminantAnalysis,
    QuadraticDiscriminantAnalysis,
)
from sklearn.dummy import DummyClassifier
from sklearn.ensemble import (
    AdaBoostClassifier,
    BaggingClassifier,
    StackingClassifier,
    VotingClassifier,
)
from sklearn.gaussian_process import GaussianProcessClassifier
from sklearn.linear_model import (
    LogisticRegression,
    LogisticRegressionCV,
    PassiveAggressiveClassifier,
    Perceptron,
    RidgeClassifier,
    RidgeClassifierCV,
    SGDClassifier,
)
from sklearn.model_selection import (
    FixedThresholdClassifier,
    GridSearchCV,
    RandomizedSearchCV,
    TunedThresholdClassifierCV,
)
from sklearn.multiclass import OneVsOneClassifier, OneVsRestClassifier, OutputCodeClassifier
from sklearn.naive_bayes import BernoulliNB, ComplementNB, GaussianNB, MultinomialNB
from sklearn.neighbors import (
    KNeighborsClassifier,
    KNeighborsRegressor,
    RadiusNeighborsClassifier,
    RadiusNeighborsRegressor,
)
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import Pipeline
from sklearn.semi_supervised import (
    LabelPropagation,
    LabelSpreading,
    SelfTrainingClassifier,
)
from sklearn.svm import SVC, LinearSVC, NuSVC

from .._data.blocks import BLOCK_ROWS
from .constant import ConstantMember
from .trees import CSR, is_finite

# Few enough that the innermost loop of a product takes all rows of a panel at once. In larger
# ones, of 256 rows as well, a row's place can decide its last bit where weights have 300 columns.
_PANEL_ROWS = 8


def panel_product(X, weights):
    """Return ``X @ weights``; the bits of a row do not depend on how many rows there are.

    Parameters
    ----------
    X : ndarray of shape (n_rows, n_features)
    weights : ndarray of shape (n_features, n_columns) or (n_features,)
    """
    n, width = X.shape
    if n % _PANEL_ROWS:
        padded = np.zeros((-(-n // _PANEL_ROWS) * _PANEL_ROWS, width), X.dtype)
        padded[:n] = X
        X = padded
    panels = np.ascontiguousarray(X).reshape(-1, _PANEL_ROWS, width)
    return np.matmul(panels, weights).reshape(len(X), *weights.shape[1:])[:n]


class Panels(np.ndarray):
    """Weights that rows are multiplied with in panels: else an array like any other."""

    def __array_ufunc__(self, ufunc, method, *inputs, out=None, **kwargs):
        """Multiply in panels; whatever is computed of the weights alone is weights again."""
        plain = tuple(map(_plain, inputs))
        if ufunc is np.matmul and method == "__call__" and _is_product(*inputs):
            return panel_product(*plain)
        if out is not None:
            kwargs["out"] = tuple(map(_plain, out))
        result = getattr(ufunc, method)(*plain, **kwargs)
        weights = out is None and isinstance(result, np.ndarray) and result.ndim == 2
        return result.view(Panels) if weights else result

    def __array_function__(self, function, types, args, kwargs):
        """Do the same for ``np.dot``."""
        if function is np.dot and len(args) == 2 and _is_product(*args):
            return panel_product(*map(_plain, args))
        return super().__array_function__(function, types, args, kwargs)


def _plain(array):
    return array.view(np.ndarray) if isinstance(array, Panels) else array


def _is_product(rows, weights):
    """Say whether rows come first: an array of them, and weights behind."""
    return type(rows) is np.ndarray and rows.ndim == 2 and isinstance(weights, Panels)


# ---------------------------------------------------------------- members

# The attributes that rows are multiplied with. By exact type, as all tables here.
_WEIGHTS = {
    BernoulliNB: "feature_log_prob_",
    ComplementNB: "feature_log_prob_",
    LinearDiscriminantAnalysis: "coef_",
    LinearSVC: "coef_",
    LogisticRegression: "coef_",
    LogisticRegressionCV: "coef_",
    MLPClassifier: "coefs_",
    MultinomialNB: "feature_log_prob_",
    PassiveAggressiveClassifier: "coef_",
    Perceptron: "coef_",
    QuadraticDiscriminantAnalysis: "rotations_",
    RidgeClassifier: "coef_",
    RidgeClassifierCV: "coef_",
    SGDClassifier: "coef_",
}
# Estimators around others: where these stand before they are fitted, and behind.
_INNER = {
    AdaBoostClassifier: ("estimator", "estimators_"),
    BaggingClassifier: ("estimator", "estimators_"),
    CalibratedClassifierCV: ("estimator", "calibrated_classifiers_"),
    FixedThresholdClassifier: ("estimator", "estimator_"),
    GridSearchCV: ("estimator", "best_estimator_"),
    OneVsOneClassifier: ("estimator", "estimators_"),
    OneVsRestClassifier: ("estimator", "estimators_"),
    OutputCodeClassifier: ("estimator", "estimators_"),
    RandomizedSearchCV: ("estimator", "best_estimator_"),
    SelfTrainingClassifier: ("estimator", "estimator_"),
    StackingClassifier: ("estimators", "estimators_", "final_estimator_"),
    TunedThresholdClassifierCV: ("estimator", "estimator_"),
    VotingClassifier: ("estimators", "estimators_"),
}
NEIGHBORS = (
    KNeighborsClassifier,
    KNeighborsRegressor,
    RadiusNeighborsClassifier,
    RadiusNeighborsRegressor,
)
_PROPAGATE = (LabelPropagation, LabelSpreading)


def multiplies_in_panels(estimator):
    """Say whether :func:`in_panels` knows an estimator, which is not one around others."""
    if type(estimator) is GaussianProcessClassifier:
        return estimator.kernel is None
    if type(estimator) in _PROPAGATE:
        return estimator.kernel == "rbf"
    return type(estimator) in _WEIGHTS


def inner_estimators(estimator):
    """Return the unfitted estimators that one around others has; None for any other."""
    if type(estimator) not in _INNER:
        return None
    name = _INNER[type(estimator)][0]
    inner = getattr(estimator, name)
    if name == "estimators":
        inner = [part for _, part in inner if not isinstance(part, str)]
        if type(estimator) is StackingClassifier:
            inner.append(estimator.final_estimator or LogisticRegression())
        return inner
    if inner is None:
        return [LinearSVC()] if type(estimator) is CalibratedClassifierCV else []
    return [inner]


def in_panels(member, checked=False):
    """Return a member that answers like the one given, in products of one shape.

    Parameters
    ----------
    member : estimator
        Fitted, of a type that is known here, or any other: that is returned as it is.
    checked : bool, default=False
        Whether the rows it will get are known to be numbers in double precision, all finite,
        and as many as it wants: then it need not look.
    """
    kind = type(member)
    if kind in _WEIGHTS:
        return copy_of(member, {_WEIGHTS[kind]: _as_panels}, _unchecked(kind) if checked else kind)
    if kind in (GaussianNB, NuSVC, SVC):
        return copy_of(member, {}, _unchecked(kind)) if checked else member
    if kind is DummyClassifier:  # one that draws nothing: a generator takes longer than its answer
        return copy_of(member, {"random_state": lambda _: None})
    if kind is Pipeline:
        last = in_panels(member.steps[-1][1])
        return copy_of(member, {"steps": lambda steps: [*steps[:-1], (steps[-1][0], last)]})
    if kind in NEIGHBORS:
        return _neighbors(member, checked)
    if kind is GaussianProcessClassifier:
        kind = _unchecked(kind) if checked else kind
        return copy_of(member, {"base_estimator_": _gaussian_process}, kind)
    if kind in _PROPAGATE:
        return copy_of(member, {"label_distributions_": _as_panels}, _propagation(kind))
    if kind in _INNER:
        _, first, *behind = _INNER[kind]
        # These get the same rows, or some of their columns; what stands behind gets answers.
        changes = {first: functools.partial(_each, checked=checked)}
        return copy_of(member, changes | dict.fromkeys(behind, _each))
    return member


def all_in_panels(members, blocks):
    """Return members in panels, to be asked about blocks of test rows that are checked once."""
    checked = are_checked(members, blocks)
    return [in_panels(member, checked) for member in members]


def are_checked(members, blocks):
    """Say whether test rows are such that all members would take them as they are.

    Parameters
    ----------
    members : list
        Fitted estimators; None where one is missing.
    blocks : list
        Test rows, as `View.shaped` yields them.
    """
    width = {getattr(m, "n_features_in_", None) for m in members if not _is_constant(m)}
    rows = [rows for block in blocks for _, rows in block]
    return all(
        type(own) in (np.ndarray, *CSR)
        and own.dtype == np.float64
        and {*own.shape[1:]} == width
        and is_finite(own)
        for own in rows
    )


def _is_constant(member):
    return isinstance(member, ConstantMember | None)


def copy_of(member, changes, kind=None):
    """Return a copy of an estimator, some attributes put through functions, in another class."""
    copy = object.__new__(kind or type(member))
    own = vars(copy)
    own.update(vars(member))
    for name, change in changes.items():
        own[name] = change(own[name])
    return copy


class _LinearUnchecked:
    """A linear member that takes rows as they are."""

    def decision_function(self, X):
        scores = X @ (self.coef_.T if self.coef_.ndim == 2 else self.coef_) + self.intercept_
        return scores.reshape(-1) if scores.shape[1:] == (1,) else scores


class _BayesUnchecked:
    """A naive Bayes member that takes rows as they are."""

    def _check_X(self, X):
        threshold = getattr(self, "binarize", None)
        return X if threshold is None else (X > threshold).astype(np.float64)


class _NetUnchecked:
    """A net that takes rows as they are."""

    def _forward_pass_fast(self, X, check_input=True):
        return super()._forward_pass_fast(X, check_input=False)


class _DiscriminantUnchecked:
    """A quadratic discriminant that takes rows as they are."""

    def _decision_function(self, X):
        parts = zip(self.means_, self.rotations_, self.scalings_, strict=True)
        squares = [np.sum(((X - m) @ (R * S**-0.5)) ** 2, axis=1) for m, R, S in parts]
        logs = np.array([np.log(S).sum() for S in self.scalings_])
        return -0.5 * (np.stack(squares, axis=1) + logs) + np.log(self.priors_)


class _VectorsUnchecked:
    """Support vectors that take rows as they are."""

    def _validate_for_predict(self, X):
        if self._sparse:
            return super()._validate_for_predict(X)
        return np.ascontiguousarray(X)


class _ProcessUnchecked:
    """A Gaussian process that takes rows as they are."""

    def predict(self, X):
        return self.base_estimator_.predict(X)


class _NeighborsUnchecked:
    """Neighbours that are looked for in rows as they are."""

    def kneighbors(self, X, return_distance=True):
        return self._tree.query(X, self.n_neighbors, return_distance)

    def radius_neighbors(self, X):
        near, distances = self._tree.query_radius(X, self.radius, True, sort_results=False)
        return distances, near


class _VotingNeighborsUnchecked(_NeighborsUnchecked):
    """Neighbours that have a vote each: counted class by class, not sorted row by row."""

    def predict(self, X):
        if self.weights != "uniform" or self.outputs_2d_:
            return super().predict(X)
        return self.classes_[self.predict_proba(X).argmax(axis=1)]


_UNCHECKED = {
    "coef_": _LinearUnchecked,
    "coefs_": _NetUnchecked,
    "feature_log_prob_": _BayesUnchecked,
    "rotations_": _DiscriminantUnchecked,
    GaussianNB: _BayesUnchecked,
    GaussianProcessClassifier: _ProcessUnchecked,
    NuSVC: _VectorsUnchecked,
    SVC: _VectorsUnchecked,
    **dict.fromkeys(NEIGHBORS, _NeighborsUnchecked),
    KNeighborsClassifier: _VotingNeighborsUnchecked,
}


@functools.cache
def _unchecked(kind):
    """Return the class of a member that does not look at its rows."""
    return type(kind)(kind.__name__, (_UNCHECKED[_WEIGHTS.get(kind, kind)], kind), {})


def _neighbors(member, checked):
    """Return neighbours whose distances are taken in panels, where they do not stand in a tree."""
    kind, changes = type(member), {}
    if type(member._fit_X) is not np.ndarray:
        return member  # sparse rows are multiplied one by one
    if member._fit_method == "brute":
        tree = _Distances(member._fit_X)
        changes = {"_fit_method": lambda _: "kd_tree", "_tree": lambda _: tree}
    # Where more neighbours are wanted than there are, scikit-learn has an error to raise.
    if checked and (getattr(member, "n_neighbors", None) or 0) <= member.n_samples_fit_:
        kind = _unchecked(kind)
    return copy_of(member, changes, kind)


def _as_panels(weights):
    if isinstance(weights, list):
        return [array.view(Panels) for array in weights]
    return weights.view(Panels) if type(weights) is np.ndarray else weights


def _each(inner, checked=False):
    if isinstance(inner, list | tuple):
        return [_each(part, checked) for part in inner]
    if hasattr(inner, "calibrators"):
        return copy_of(inner, {"estimator": functools.partial(in_panels, checked=checked)})
    return in_panels(inner, checked)


def _smallest(values, k):
    """Return the places of the k smallest values of each row, earlier ones at ties."""
    last = np.partition(values, k - 1, axis=1)[:, k - 1 : k]
    chosen = values <= last
    tied = np.flatnonzero(np.count_nonzero(chosen, axis=1) > k)
    if len(tied):
        ties = values[tied] == last[tied]
        chosen[tied] ^= ties
        rest = k - np.count_nonzero(chosen[tied], axis=1)[:, None]
        chosen[tied] |= ties & (ties.cumsum(axis=1) <= rest)
    return (np.flatnonzero(chosen) % values.shape[1]).reshape(len(values), k)


class _Distances:
    """What stands in the place of a tree: Euclidean distances to training rows, in panels."""

    def __init__(self, X):
        X = X.astype(np.float64, copy=False)
        with np.errstate(over="ignore"):
            self._weights, self._squares = X.T, np.vecdot(X, X)

    def _squared(self, X):
        """Yield squared distances of some rows at a time, of shape (n_rows, n_train)."""
        for start in range(0, len(X), BLOCK_ROWS):
            rows = np.asarray(X[start : start + BLOCK_ROWS], dtype=np.float64)
            with np.errstate(over="ignore", invalid="ignore"):
                squares = panel_product(rows, self._weights)
                squares *= -2  # to the bit what it is to multiply by twice the weights
                squares += self._squares
                squares += np.vecdot(rows, rows)[:, None]
                np.maximum(squares, 0, out=squares)
            squares[np.isnan(squares)] = np.inf  # numbers whose squares are none are far
            yield squares

    def query(self, X, k, return_distance):
        """Return the distances of the k nearest rows, and these, in their own order."""
        parts = [(squares, _smallest(squares, k)) for squares in self._squared(X)]
        near = np.concatenate([index for _, index in parts])
        if not return_distance:
            return near
        squares = [np.take_along_axis(squares, index, axis=1) for squares, index in parts]
        return np.sqrt(np.concatenate(squares)), near

    def query_radius(self, X, radius, return_distance, sort_results):
        """Return the rows within a radius, and their distances."""
        found = np.empty((2, len(X)), dtype=object)
        start = 0
        for squares in self._squared(X):
            within = squares <= radius * radius
            near = within.nonzero()[1]
            ends = np.count_nonzero(within, axis=1).cumsum().tolist()
            parts = list(map(slice, [0, *ends], ends))
            rows = slice(start, start := start + len(squares))
            for kind, values in enumerate((near, np.sqrt(squares[within]))):
                own = map(values.__getitem__, parts)
                found[kind, rows] = np.fromiter(own, dtype=object, count=len(squares))
        return found[0], found[1]


def _gaussian_process(process):
    if type(process) is OneVsRestClassifier:
        return copy_of(process, {"estimators_": lambda own: list(map(_gaussian_process, own))})
    return copy_of(process, {}, _process_in_panels(type(process)))


@functools.cache
def _process_in_panels(kind):
    """Return the class of a binary process that multiplies in panels.

    The kernel looks at one pair of rows after the other. Probabilities take a triangular solve:
    that is one in blocks of a fixed shape.
    """

    class Process(kind):
        def predict(self, X):
            kernel = self.kernel_(self.X_train_, X)
            scores = panel_product(kernel.T, self.y_train_ - self.pi_)
            return np.where(scores > 0, self.classes_[1], self.classes_[0])

        def predict_proba(self, X):
            n = len(X)
            X = X[np.minimum(np.arange(-(-n // BLOCK_ROWS) * BLOCK_ROWS), n - 1)]
            blocks = range(0, len(X), BLOCK_ROWS)
            ask = super().predict_proba
            return np.concatenate([ask(X[i : i + BLOCK_ROWS]) for i in blocks])[:n]

    return Process


@functools.cache
def _propagation(kind):
    """Return the class of a label propagation that takes distances in panels."""

    class Propagation(kind):
        def _get_kernel(self, X, y=None):
            if type(X) is not np.ndarray or type(y) is not np.ndarray:
                return super()._get_kernel(X, y)  # sparse rows are multiplied one by one
            y = np.ascontiguousarray(y)
            kernel = panel_product(y, -2 * X.T)
            kernel += np.vecdot(X, X)
            kernel += np.vecdot(y, y)[:, None]
            np.maximum(kernel, 0, out=kernel)
            kernel *= -self.gamma
            return np.exp(kernel, out=kernel).T

    return Propagation
