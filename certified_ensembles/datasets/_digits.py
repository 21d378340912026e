"""Handwritten digits that ship with scikit-learn, as the integers that they are."""

import numpy as np
from sklearn import datasets
from sklearn.utils import Bunch

from ._files import checked_subset

_N_TRAIN = 1347  # three quarters; the rows come writer by writer, so the test writers are new


def load_digits(*, subset="train", return_X_y=False, **others):
    """Load scikit-learn's handwritten digits, which need no download.

    Unlike :func:`sklearn.datasets.load_digits` it returns images of integers, so that every
    hasher takes them, and a fixed split.

    Parameters
    ----------
    subset : {"train", "test", "all"}, default="train"
        The first 1347 rows, the last 450, or all of them. Rows are in the order of writers, so
        that most test rows were written by other hands.
    return_X_y : bool, default=False
        Return ``(data, target)`` instead of a Bunch.
    **others : dict
        Nothing: arguments of scikit-learn's function, such as ``n_class``, are refused.

    Returns
    -------
    digits : :class:`~sklearn.utils.Bunch`
        With the fields

        data : ndarray of shape (n, 64), uint8
            The images as flat rows.
        images : ndarray of shape (n, 8, 8), uint8
            Ink from 0 to 16.
        target : ndarray of shape (n,), int64
            The digit.
        target_names : ndarray of shape (10,), int64
        DESCR : str
    (data, target) : tuple if `return_X_y` is True

    Raises
    ------
    TypeError
        If there are other arguments.
    ValueError
        If `subset` is unknown.

    Examples
    --------
    >>> from certified_ensembles.datasets import load_digits
    >>> X, y = load_digits(subset="test", return_X_y=True)
    >>> X.shape, X.dtype.name
    ((450, 64), 'uint8')
    """
    if others:
        raise TypeError(
            f"load_digits of certified_ensembles.datasets takes subset and return_X_y, not "
            f"{', '.join(others)}. Import sklearn.datasets.load_digits for scikit-learn's, whose "
            "images are floats and not split."
        )
    checked_subset(subset)
    rows = {"train": slice(_N_TRAIN), "test": slice(_N_TRAIN, None), "all": slice(None)}[subset]
    digits = datasets.load_digits()
    images = digits.images[rows].astype(np.uint8)
    data, target = images.reshape(len(images), -1), digits.target[rows].astype(np.int64)
    if return_X_y:
        return data, target
    names = np.arange(10)
    return Bunch(data=data, images=images, target=target, target_names=names, DESCR=digits.DESCR)
