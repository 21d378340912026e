"""Labels and the sources of rows: none may be missing, and all are of one kind."""

from collections.abc import Mapping, Set

import numpy as np
import scipy.sparse as sp

from .array_api import on_host
from .canonical import canonical_bytes
from .cells import canonical_cell
from .containers import as_table

# Types of which no value stands for a missing label.
_NEVER_MISSING = {str, int, bool, bytes, np.str_, np.bool_, np.int64, np.int32}


def closed_set(classes):
    """Return the sorted labels of a closed set, each of them once.

    Parameters
    ----------
    classes : array-like or set
        In any order: what is sorted does not depend on how a set is walked through.

    Returns
    -------
    classes : ndarray of shape (n_classes,)

    Raises
    ------
    ValueError
        If there is no label, a missing one, labels of two kinds or of two axes, or a dict.
    """
    labels = list(classes) if isinstance(classes, Set) else on_host(classes)
    if not len(labels) or isinstance(labels, Mapping) or np.ndim(labels) != 1:
        raise ValueError(
            f"classes={classes!r} must be a sequence or a set of labels, one at least: for "
            "instance classes=[0, 1], or None for the labels seen."
        )
    check_labels(labels, "classes", "Name the labels that exist, and no others.")
    return np.unique(np.asarray(labels))


def check_labels(labels, name, remedy):
    """Refuse missing labels, and strings among other labels.

    Parameters
    ----------
    labels : array-like of shape (n_labels,)
    name : str
        What the messages call them.
    remedy : str
        What to do about a missing one.

    Raises
    ------
    ValueError
        Naming the place of the first one.
    """
    if not hasattr(labels, "__iter__"):  # what numpy alone can read
        labels = np.asarray(labels)
    if hasattr(labels, "iloc") and isinstance(labels.dtype, np.dtype):
        labels = labels.to_numpy()  # cell by cell a series takes long
    places = _missing_places(labels)
    if len(places):
        raise ValueError(
            f"{name} lacks {len(places)} of {len(labels)} labels, the first at index {places[0]}. "
            f"{remedy}"
        )
    if isinstance(labels, np.ndarray) and labels.dtype.kind != "O":
        return
    if len({isinstance(label, str) for label in labels}) > 1:
        raise ValueError(
            f"{name} mixes strings with other labels, which have no order among each other: "
            "convert all of them to one type."
        )


def _missing_places(labels):
    """Return the places of None, NaN, NaT, pandas' NA and masked labels."""
    masked = np.ma.getmaskarray(labels) if isinstance(labels, np.ma.MaskedArray) else False
    kind = labels.dtype.kind if isinstance(labels, np.ndarray) else "O"
    if kind in "fc":
        return np.flatnonzero(masked | np.isnan(np.ma.getdata(labels)))
    if kind in "mM":
        return np.flatnonzero(masked | np.isnat(np.ma.getdata(labels)))
    if kind != "O":
        return np.flatnonzero(masked)
    return np.flatnonzero([_is_missing(label) for label in labels] | np.asarray(masked))


def _is_missing(value):
    if type(value) in _NEVER_MISSING:
        return False
    try:
        return value is np.ma.masked or canonical_cell(value) is None
    except (TypeError, ValueError):  # a label of another kind is refused elsewhere
        return False


def check_same_kind(labels, known, name, known_name):
    """Refuse true labels that can equal none of the predicted ones, as texts and numbers.

    Parameters
    ----------
    labels, known : ndarrays of shape (n_labels,) and (n_known,)
        True labels, and those that they are held against.
    name, known_name : str
        What the message calls them.

    Raises
    ------
    ValueError
        If labels are missing, or of the other kind.
    """
    check_labels(labels, name, "Leave these rows out: nothing is right or wrong there.")
    if _is_text(labels) != _is_text(known):
        raise ValueError(
            f"{name} has dtype {labels.dtype} and {known_name} {known.dtype}: text never equals a "
            f"number, so every row would count as wrong. Pass {name} as it was coded for fit."
        )


def _is_text(labels):
    if labels.dtype.kind == "O":
        return all(isinstance(label, str) for label in labels)
    return labels.dtype.kind in "UST"


def validate_groups(X, groups):
    """Check the sources of rows.

    Parameters
    ----------
    X : Table
    groups : array-like of shape (n_train,) or (n_train, n_keys)
        A source may be named by several keys, such as a vendor and a day.

    Returns
    -------
    groups : Table

    Raises
    ------
    ValueError
        If there is not one source a row, or one is missing.
    TypeError
        If it is no sequence.
    """
    odd = isinstance(groups, str | bytes | Set | Mapping) or sp.issparse(groups)
    if odd or not hasattr(groups, "__len__"):
        raise TypeError(
            f"groups={groups!r} is a {type(groups).__name__}: pass one source for each of the "
            f"{len(X)} rows, as a list or an array in their order."
        )
    masked = np.ma.is_masked(groups)
    table = as_table(np.ma.filled(groups.astype(object), np.nan) if masked else on_host(groups))
    if len(table) != len(X):
        raise ValueError(
            f"groups is inconsistent with X: it has {len(table)} entries for {len(X)} rows. Pass "
            "one source a row, in the order of the rows."
        )
    missing = np.flatnonzero(_rows_with_missing(table))
    if len(missing):
        raise ValueError(
            f"groups lacks {len(missing)} of {len(X)} sources, the first at index {missing[0]}: "
            "rows of nobody would count as one source. Give each such row a name of its own, or "
            "all of them one name if they come from one hand."
        )
    return table


def number_groups(groups):
    """Return the sources of rows as numbers that depend on the set of sources alone.

    Parameters
    ----------
    groups : Table
        As :func:`validate_groups` returns it.

    Returns
    -------
    numbers : ndarray of shape (n_train,), int64
        Values in 0..n_groups - 1, each at least once; one number for equal values, whatever their
        type or container.
    """
    names = list(canonical_bytes(groups))
    number_of = {name: number for number, name in enumerate(sorted(set(names)))}
    return np.array([number_of[name] for name in names], dtype=np.int64)


def _rows_with_missing(table):
    dense = np.asarray(table.dense).reshape(len(table), -1)
    missing = (
        np.isnan(dense).any(axis=1) if dense.dtype.kind == "f" else np.zeros(len(table), bool)
    )
    for column in table.coded.values():
        missing |= np.array([level is None for level in column.levels])[column.codes]
    return missing
