"""Affine steps before a linear head: fitted without ceremony, and folded into its weights.

Behind steps that map a row x to ``A x + b`` a linear score ``w.z + c`` is ``(A'w).x + w.b + c``,
so such a pipeline is asked like a bare head. Products are in double precision, whatever the test
rows came in: what the steps take away from a row may be much larger than what is left. Rounding
is then worth a change of the row in its last bits. A row that overflows in the steps, which the
pipeline would refuse, gets the ballot that the product gives: one of this row and member alone.
Where a step stretches rounding, as a scaler does behind a component without variance, the two may
differ: the pipeline's own answer is rounding, too.
"""

import functools

import numpy as np
from scipy.special import ndtri
from sklearn import get_config
from sklearn.decomposition import PCA, TruncatedSVD
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import MaxAbsScaler, MinMaxScaler, RobustScaler, StandardScaler

# ---------------------------------------------------------------- asking


def split(member):
    """Return the affine steps of a member and its head; no steps and None if others are there.

    By exact types and parameters alone: what the rows of one member hold must not choose the way
    in which all are asked.
    """
    if type(member) is not Pipeline:
        return [], member
    steps = [step for _, step in member.steps[:-1] if step is not None and step != "passthrough"]
    if not all(map(_is_affine, steps)):
        return [], None
    return steps, member.steps[-1][1]


def _is_affine(step):
    return type(step) in _MAPS and not getattr(step, "clip", False)


def fold(steps, coef, intercept):
    """Return the weights, on rows before the steps, of scores of rows behind them.

    Parameters
    ----------
    steps : list of transformer
        Fitted, as :func:`split` returns them.
    coef : ndarray of shape (n_classes, n_features behind the steps)
    intercept : ndarray of shape (n_classes,)

    Returns
    -------
    coef : ndarray of shape (n_classes, n_features)
    intercept : ndarray of shape (n_classes,)
    """
    coef = np.ascontiguousarray(coef, dtype=np.float64)
    for step in reversed(steps):
        matrix, shift = _MAPS[type(step)](step)
        if shift is not None:
            intercept = intercept + coef @ shift
        if matrix is not None:
            coef = coef * matrix if matrix.ndim == 1 else coef @ np.ascontiguousarray(matrix)
    return coef, intercept


# What a step does to a row, as a matrix (a vector is its diagonal) and a shift; None: nothing.


def _standardised(step):
    inverse = None if not step.with_std else 1 / step.scale_
    if not step.with_mean:
        return inverse, None
    return inverse, -step.mean_ if inverse is None else -step.mean_ * inverse


def _robustly_scaled(step):
    inverse = None if not step.with_scaling else 1 / step.scale_
    if not step.with_centering:
        return inverse, None
    return inverse, -step.center_ if inverse is None else -step.center_ * inverse


def _min_max_scaled(step):
    return step.scale_.astype(np.float64), step.min_.astype(np.float64)


def _max_abs_scaled(step):
    return 1 / step.scale_.astype(np.float64), None


def _principal_components(step):
    matrix = step.components_.astype(np.float64)
    if step.whiten:
        deviations = np.sqrt(step.explained_variance_)
        matrix /= np.maximum(deviations, np.finfo(deviations.dtype).eps)[:, None]
    return matrix, -(matrix @ step.mean_)


def _singular_vectors(step):
    return step.components_.astype(np.float64), None


_MAPS = {
    StandardScaler: _standardised,
    RobustScaler: _robustly_scaled,
    MinMaxScaler: _min_max_scaled,
    MaxAbsScaler: _max_abs_scaled,
    PCA: _principal_components,
    TruncatedSVD: _singular_vectors,
}


# ---------------------------------------------------------------- training


def fit_steps(pipeline, X, y):
    """Fit all steps but the last; return what they make of the rows.

    Scalers of small partitions spend most of their time on checks of what is known here: numbers
    in double precision go to a few lines of numpy, anything else to the steps' own ``fit``.

    Parameters
    ----------
    pipeline : Pipeline
        Its steps are fitted in place.
    X : rows
        They belong to this pipeline, which may overwrite them.
    y : ndarray of shape (n_rows,)

    Returns
    -------
    X : rows
    """
    steps, head = split(pipeline)
    if head is None:
        before = pipeline[:-1]
        X = before.fit_transform(X, y)
        pipeline.steps[:-1] = before.steps
        return X
    for step in steps:
        if not _fit_directly(step, X):
            X = step.fit_transform(X, y)
    return X


# Rows of less than this length cannot overflow in a scaler. Larger ones, and what is no number,
# are the scaler's own to judge.
_LARGE = 1e100


def _fit_directly(step, X):
    """Fit a scaler and scale the rows in place; return False if only its own ``fit`` may."""
    params, fit = vars(step), _FITS.get(type(step))
    plain = type(X) is np.ndarray and X.dtype == np.float64 and X.ndim == 2 and X.size > 0
    if fit is None or not plain or not X.flags.writeable:
        return False
    if get_config()["transform_output"] != "default":
        return False
    if not all(_is_plain(name, value) for name, value in params.items()):
        return False
    if not np.vdot(X, X) < _LARGE**2:
        return False
    with np.errstate(all="ignore"):
        params.update(fit(step, X), n_features_in_=X.shape[1])
    return True


_RANGES = {"feature_range": (-_LARGE, _LARGE), "quantile_range": (0, 100)}


def _is_plain(name, value):
    """Say whether a parameter is known, and needs no check that a step's own ``fit`` makes."""
    if name not in _RANGES:
        return type(value) is bool
    least, most = _RANGES[name]
    pair = type(value) is tuple and len(value) == 2 and {int, float} >= set(map(type, value))
    return pair and least <= value[0] < value[1] <= most


# Each scales the rows in place and returns the attributes that scikit-learn's own fit sets.


def _fit_standard(step, X):
    n, count = len(X), _count_type(step.with_mean, step.with_std)
    fitted = {"n_samples_seen_": count(n), "mean_": None, "var_": None, "scale_": None}
    if not step.with_mean and not step.with_std:
        return fitted
    mean = fitted["mean_"] = np.add.reduce(X, axis=0) / n
    centred = np.subtract(X, mean, out=X if step.with_mean else None)
    if step.with_std:
        rest = np.add.reduce(centred, axis=0)
        var = fitted["var_"] = (np.einsum("ij,ij->j", centred, centred) - rest**2 / n) / n
        eps = np.finfo(np.float64).eps
        constant = var <= n * eps * var + (n * mean * eps) ** 2
        fitted["scale_"] = np.where(constant, 1.0, np.sqrt(var))
        X *= 1 / fitted["scale_"]  # a division takes longer, for the last bit
    return fitted


@functools.lru_cache
def _count_type(with_mean, with_std):
    """Return the type in which scikit-learn counts rows: versions differ."""
    scaler = StandardScaler(with_mean=with_mean, with_std=with_std)
    return type(scaler.fit(np.zeros((1, 1))).n_samples_seen_)


def _fit_min_max(step, X):
    low, high = map(float, step.feature_range)
    data_min, data_max = X.min(axis=0), X.max(axis=0)
    scale = (high - low) / _without_zeros(data_max - data_min)
    shift = low - data_min * scale
    X *= scale
    X += shift
    return {
        "n_samples_seen_": len(X),
        "scale_": scale,
        "min_": shift,
        "data_min_": data_min,
        "data_max_": data_max,
        "data_range_": data_max - data_min,
    }


def _fit_max_abs(step, X):
    largest = np.maximum(np.abs(X.max(axis=0)), np.abs(X.min(axis=0)))
    scale = _without_zeros(largest)
    X /= scale
    return {"n_samples_seen_": len(X), "max_abs_": largest, "scale_": scale}


def _fit_robust(step, X):
    fitted = {"center_": None, "scale_": None}
    if step.with_scaling:
        low, high = np.percentile(X, step.quantile_range, axis=0)
        fitted["scale_"] = _without_zeros(high - low)
        if step.unit_variance:
            low, high = step.quantile_range
            fitted["scale_"] /= ndtri(high / 100) - ndtri(low / 100)
    if step.with_centering:
        fitted["center_"] = np.median(X, axis=0)
        X -= fitted["center_"]
    if step.with_scaling:
        X /= fitted["scale_"]
    return fitted


def _without_zeros(scale):
    return np.where(scale < 10 * np.finfo(np.float64).eps, 1.0, scale)


_FITS = {
    StandardScaler: _fit_standard,
    RobustScaler: _fit_robust,
    MinMaxScaler: _fit_min_max,
    MaxAbsScaler: _fit_max_abs,
}
