"""What rows and labels an estimator takes, and the form in which it keeps them."""

from numbers import Integral

import numpy as np
import scipy.sparse as sp
from sklearn.pipeline import Pipeline
from sklearn.utils import assert_all_finite, check_array, get_tags
from sklearn.utils._param_validation import HasMethods, Interval
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_consistent_length, column_or_1d, validate_data

from .array_api import on_host
from .containers import (
    as_table,
    exact_array,
    is_flat,
    is_frame,
    is_text,
    rows_with_form,
    take,
)
from .labels import check_labels, closed_set
from .out_of_core import forget_pages, is_dask, is_stored, scratch_for, stored_blocks

MAX_SEED = 2**32 - 1

# What estimators of ensembles have in common; and those of classifiers.
ENSEMBLE_CONSTRAINTS = {
    "random_state": [Interval(Integral, 0, MAX_SEED, closed="both"), None],
    "n_jobs": [Integral, None],
    "memory": [str, HasMethods(["cache"]), None],
    "verbose": ["verbose"],
}
COMMON_CONSTRAINTS = {"classes": ["array-like", None], **ENSEMBLE_CONSTRAINTS}


def check_seed(random_state, n_seeds=1, what="{} distinct"):
    """Refuse fits that cannot be repeated.

    Parameters
    ----------
    random_state : int or None
    n_seeds : int, default=1
        Number of seeds wanted, from `random_state` on.
    what : str, default="{} distinct"
        How the message calls the number of seeds where there is no room for them.

    Raises
    ------
    ValueError
        If `random_state` is None, or too large for so many seeds.
    """
    if random_state is None:
        raise ValueError(
            "random_state=None is refused: a member that is trained with another seed each "
            "time has no certificate. Pass an integer, such as random_state=0."
        )
    if random_state + n_seeds - 1 > MAX_SEED:
        raise ValueError(
            f"random_state={random_state} leaves no room for {what.format(n_seeds)} seeds up to "
            f"{MAX_SEED}; pass a smaller one."
        )


def validate_rows(estimator, X, reset):
    """Check the container of rows; what a row may hold is for the members to decide.

    Parameters
    ----------
    estimator : estimator
        Its ``_base_estimator()`` is what sees rows first, which decides what is taken.
    X : rows in any container
    reset : bool
        Whether the estimator's ``n_features_in_`` is set, or compared with.

    Returns
    -------
    X : Table
    """
    X = on_host(X)
    base = input_tags_of(estimator._base_estimator())
    if getattr(estimator, "_members_judge_values", False):
        # A value that a member refuses is that member's failure, and not everybody's.
        base.allow_nan, base.positive_only = True, False
    rules = {"accept_sparse": "csr", "dtype": None, "allow_nd": True}
    rules["ensure_all_finite"] = not base.allow_nan
    if reset:
        estimator._mixed_rows = False
    if is_stored(X):
        return as_table(_validate_stored(estimator, X, reset, rules, base))
    if _is_text(estimator, X, reset):
        if reset:
            for name in ("n_features_in_", "feature_names_in_"):
                vars(estimator).pop(name, None)
        return as_table(X, text=True)
    if not (is_frame(X) or sp.issparse(X) or isinstance(X, dict | set | str | bytes)):
        X = exact_array(X)
        if X.ndim < 2 or not X.size or X.dtype.kind == "c":
            validate_data(estimator, X, reset=reset, **rules)  # says what is wrong
    table = as_table(X)
    if len(table) == 0:
        check_array(table.given, dtype=None)
    if reset:
        estimator._mixed_rows = bool(table.coded)
    elif estimator._mixed_rows:
        # A row that is missing all of its texts is no row of numbers: alone it is taken, too.
        rules["ensure_all_finite"] = False
    if table.coded or is_frame(table.given):
        validate_data(estimator, table.given, reset=reset, skip_check_array=True)
        return table
    validate_data(estimator, table.dense, reset=reset, **rules)
    _check_positive(table.dense, base)
    return table


def rows_to_fit(estimator, X, *by_row):
    """Return validated training rows, without those that have no canonical form.

    They are left out by a look at each row alone, so that whoever adds one changes nothing.

    Parameters
    ----------
    estimator : estimator
        As in :func:`validate_rows`.
    X : rows in any container
    *by_row : sequences with one entry a row, or None

    Returns
    -------
    X : Table
    known : ndarray of shape (n_train,), bool, or None
        Which of the rows given these are; None: all.
    by_row : list
        The same sequences, of these rows.
    """
    try:
        return validate_rows(estimator, X, reset=True), None, list(by_row)
    except (TypeError, ValueError):
        X = on_host(X)
        known = rows_with_form(X)
        if known is None or known.all() or not known.any():
            raise
    kept = np.flatnonzero(known)
    check_consistent_length(X, *by_row)
    cut = [value if value is None else take(on_host(value), kept) for value in by_row]
    return validate_rows(estimator, take(X, kept), reset=True), known, cut


def _is_text(estimator, X, reset):
    """Say whether rows are texts; those asked about may be missing throughout."""
    fitted_on_texts = not reset and not hasattr(estimator, "n_features_in_")
    return is_text(X) or (fitted_on_texts and is_flat(X))


def validate_labels(estimator, X, y):
    """Check labels, and find the set that they come from.

    Parameters
    ----------
    estimator : estimator
        Its parameter `classes` says whether that set is closed.
    X : rows
    y : array-like of shape (n_train,)
        Labels.

    Returns
    -------
    y : ndarray of shape (n_train,)
    classes : ndarray of shape (n_classes,)
        Sorted labels.
    open_set : bool
        Whether labels may come that nobody has seen.
    """
    if y is None:
        raise ValueError(
            f"This {type(estimator).__name__} estimator requires y to be passed, but the target "
            "y is None."
        )
    y = on_host(y)
    check_labels(y, "y", "Drop the row, or find out its label.")
    y = column_or_1d(y, warn=True)
    if y.dtype.kind == "f":
        check_array(y, ensure_2d=False, input_name="y")
    check_consistent_length(X, y)
    check_classification_targets(y)
    if estimator.classes is None:
        return y, np.unique(y), True
    classes = closed_set(estimator.classes)
    foreign = np.setdiff1d(np.unique(y), classes)
    if len(foreign):
        raise ValueError(
            f"y holds labels that are not among classes={classes.tolist()}: "
            f"{foreign[:5].tolist()}. Remove these rows (a closed label set refuses them), "
            "or pass classes=None for an open set."
        )
    return y, classes, False


def input_tags_of(estimator):
    """Return the input tags of an estimator; of a pipeline with what it does to missing values.

    Its own tags are silent on these. Its first step says whether it takes them, and what comes
    after may still refuse what that leaves.
    """
    tags = get_tags(estimator).input_tags
    while isinstance(estimator, Pipeline):
        steps = [step for _, step in estimator.steps if step not in (None, "passthrough")]
        if not steps:
            break
        estimator = steps[0]
        tags.allow_nan = get_tags(estimator).input_tags.allow_nan
    return tags


def _validate_stored(owner, X, reset, rules, base):
    """Check rows in a file block by block; compute those of a Dask array into one."""
    stored = scratch_for(X) if is_dask(X) else X
    validate_data(owner, stored, reset=reset, **(rules | {"ensure_all_finite": False}))
    for rows, block in stored_blocks(X):
        if rules["ensure_all_finite"]:
            assert_all_finite(block, input_name="X")
        _check_positive(block, base)
        if stored is not X:
            stored[rows] = block
            forget_pages(stored)
    return stored


def _check_positive(X, input_tags):
    if input_tags.positive_only and X.size and X.min() < 0:
        raise ValueError("Negative values in data passed to X: the estimator refuses them.")
