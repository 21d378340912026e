"""What a member's answer may look like."""

import numpy as np

from .._data.containers import n_rows


def labels_in_a_row(member, rows):
    """Ask a member for labels, one a row.

    Parameters
    ----------
    member : estimator
        Fitted.
    rows : rows, as the member gets them

    Returns
    -------
    labels : ndarray of shape (n_rows,)
        A column of labels, of shape (n_rows, 1), is taken for what it means.

    Raises
    ------
    ValueError
        If the answer has another shape. numpy would repeat a single label for all rows.
    """
    labels, n = np.asarray(member.predict(rows)), n_rows(rows)
    if labels.shape not in ((n,), (n, 1)):
        raise ValueError(
            f"{type(member).__name__}.predict answered {n} rows by an array of shape "
            f"{labels.shape}; it must return one answer a row, of shape (n_rows,) or (n_rows, 1)."
        )
    return labels.reshape(n)


def numbers_in_a_row(member, rows):
    """Ask a member for numbers, one a row.

    Parameters
    ----------
    member : estimator
        Fitted.
    rows : rows, as the member gets them

    Returns
    -------
    numbers : ndarray of shape (n_rows,), float64
        Infinite ones are numbers as well.

    Raises
    ------
    ValueError
        If the answer has another shape, or does not consist of real numbers.
    """
    answers = labels_in_a_row(member, rows)
    if answers.dtype.kind == "O":
        answers = np.array([float(answer) for answer in answers])
    if answers.dtype.kind not in "biuf":
        raise ValueError(
            f"{type(member).__name__}.predict answered by an array of dtype {answers.dtype}; a "
            "median is taken of real numbers. Pass a regressor."
        )
    return answers.astype(np.float64)


def codes_of(labels, classes, seen):
    """Return class indices of labels; -1 for a label that a member may not vote for.

    Parameters
    ----------
    labels : ndarray of shape (n_rows,)
    classes : ndarray of shape (n_classes,)
        Sorted.
    seen : ndarray of shape (n_classes,), bool
        The labels that count.
    """
    if (
        len(classes) <= _FEW_CLASSES
        and labels.dtype == classes.dtype
        and classes.dtype.kind in "iu"
    ):
        codes = np.full(len(labels), -1, dtype=np.int8)
        for code in np.flatnonzero(seen).tolist():  # a label equals one class at most
            codes += (labels == classes[code]).view(np.int8) * np.int8(code + 1)
        return codes
    codes = np.minimum(np.searchsorted(classes, labels), len(classes) - 1)
    return np.where((classes[codes] == labels) & seen[codes], codes, -1)


# So few that it takes less time to compare integers with each of them than to search.
_FEW_CLASSES = 16


def check_scores(member, method, scores, n):
    """Refuse scores that are not one number for each row and each class of the member.

    Parameters
    ----------
    member : estimator
        Fitted.
    method : str
        Which method gave the scores.
    scores : ndarray
    n : int
        Number of rows.

    Raises
    ------
    ValueError
        If the shape is another one.
    """
    n_classes = len(member.classes_)
    if scores.shape != (n, n_classes):
        raise ValueError(
            f"aggregation='run_off' needs one score a class, but {type(member).__name__}.{method} "
            f"answered {n} rows by an array of shape {scores.shape} for {n_classes} classes; "
            "choose one-vs-rest scores."
        )
