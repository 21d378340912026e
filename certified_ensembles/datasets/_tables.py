"""Tables: word frequencies of mail, network features of photographs."""

import io
import re
import zipfile

import numpy as np
from sklearn.utils import Bunch

from ._files import Source, checked_subset, load, read_arrays, require

_SPAMBASE_DESCR = """Spambase: word and character frequencies of mail
4601 mails, 2788 ham (0) and 1813 spam (1), 57 features; sorted by class, no fixed test set.

Hopkins, Reeber, Forman and Suermondt, "Spambase", UCI Machine Learning Repository, 1999.
Licence: CC BY 4.0.
"""

_DOGFISH_DESCR = """Dogfish: network features of dogs and fish
900 + 900 training and 300 + 300 test photographs from ImageNet, each as the 2048 features of an
Inception v3 network trained on ImageNet.

Koh and Liang, "Understanding black-box predictions via influence functions", ICML 2017.
"""


def fetch_spambase(data_home=None, *, return_X_y=False, download_if_missing=True):
    """Load Spambase, word and character frequencies of mail.

    Parameters
    ----------
    data_home : path-like or None, default=None
        A folder to look in first. None: the folder that the environment variable
        ``CERTIFIED_ENSEMBLES_DATA`` names, then scikit-learn's data folder.
    return_X_y : bool, default=False
        Return ``(data, target)`` instead of a Bunch.
    download_if_missing : bool, default=True
        For the common interface: no checksum of the original is published, so it is never
        downloaded, and the error says where to get it.

    Returns
    -------
    spambase : :class:`~sklearn.utils.Bunch`
        With the fields

        data : ndarray of shape (4601, 57), float64
            Percentages of words and characters, and lengths of runs of capital letters.
        target : ndarray of shape (4601,), int64
            0 ham, 1 spam.
        target_names : ndarray of shape (2,), str
        feature_names : list of str
        DESCR : str
        filenames : list of str
            The files that were read.
    (data, target) : tuple if `return_X_y` is True

    Raises
    ------
    OSError
        If the data is not found, or a file is damaged. The message says what was expected and
        what to do.

    Examples
    --------
    >>> from certified_ensembles.datasets import fetch_spambase
    >>> X, y = fetch_spambase(return_X_y=True)  # doctest: +SKIP
    >>> X.shape  # doctest: +SKIP
    (4601, 57)
    """
    fields = load("Spambase", _SPAMBASE, data_home, download_if_missing)
    if return_X_y:
        return fields["data"], fields["target"]
    return Bunch(**fields, target_names=np.array(["ham", "spam"]), DESCR=_SPAMBASE_DESCR)


def fetch_dogfish(data_home=None, *, subset="train", return_X_y=False, download_if_missing=True):
    """Load Dogfish, Inception features of dogs and fish.

    Parameters
    ----------
    data_home : path-like or None, default=None
        A folder to look in first. None: the folder that the environment variable
        ``CERTIFIED_ENSEMBLES_DATA`` names, then scikit-learn's data folder.
    subset : {"train", "test", "all"}, default="train"
        Which rows; "all" are the training rows followed by the test rows.
    return_X_y : bool, default=False
        Return ``(data, target)`` instead of a Bunch.
    download_if_missing : bool, default=True
        For the common interface: no checksum of the originals is published, so they are never
        downloaded, and the error says where to get them.

    Returns
    -------
    dogfish : :class:`~sklearn.utils.Bunch`
        With the fields

        data : ndarray of shape (n, 2048), float32
            The features.
        target : ndarray of shape (n,), int64
            0 dog, 1 fish.
        target_names : ndarray of shape (2,), str
        DESCR : str
        filenames : list of str
            The files that were read.
    (data, target) : tuple if `return_X_y` is True

    Raises
    ------
    OSError
        If the data is not found, or a file is damaged. The message says what was expected and
        what to do.
    ValueError
        If `subset` is not known.

    Examples
    --------
    >>> from certified_ensembles.datasets import fetch_dogfish
    >>> X, y = fetch_dogfish(return_X_y=True)  # doctest: +SKIP
    >>> X.shape  # doctest: +SKIP
    (1800, 2048)
    """
    chosen = ("train", "test") if checked_subset(subset) == "all" else (subset,)
    source = Source(
        files=tuple(f"dogfish_900_300_inception_features_{part}.npz" for part in chosen),
        read=_read_dogfish,
        origin="from http://mitra.stanford.edu/kundaje/pangwei/, published with Koh, Steinhardt "
        'and Liang, "Stronger data poisoning attacks break data sanitization defenses"',
    )
    fields = load("Dogfish", (source,), data_home, download_if_missing)
    if return_X_y:
        return fields["data"], fields["target"]
    return Bunch(**fields, target_names=np.array(["dog", "fish"]), DESCR=_DOGFISH_DESCR)


def _checked_table(X, y, dtype):
    require(
        X.ndim == 2 and np.issubdtype(X.dtype, np.floating),
        "a table of floats",
        f"{X.dtype} of shape {X.shape}",
    )
    require(y.shape == X.shape[:1], f"labels of shape {X.shape[:1]}", y.shape)
    require(set(np.unique(y)) <= {0, 1}, "labels 0 and 1", np.unique(y))
    return {"data": X.astype(dtype, copy=False), "target": y.astype(np.int64)}


def _read_spambase_archive(path, _):
    """Read the table ``spambase.data``, label last, and the names of its columns."""
    with zipfile.ZipFile(path) as archive:
        table = np.loadtxt(io.BytesIO(archive.read("spambase.data")), delimiter=",", ndmin=2)
        names = archive.read("spambase.names").decode("latin-1")
    names = re.findall(r"^((?:word_freq|char_freq|capital_run)_\S+):", names, flags=re.MULTILINE)
    fields = _checked_table(table[:, :-1], table[:, -1], np.float64)
    require(len(names) == fields["data"].shape[1], f"{fields['data'].shape[1]} names", len(names))
    return {**fields, "feature_names": names}


def _read_dogfish(*paths_and_subset):
    *paths, _ = paths_and_subset
    parts = []
    for path in paths:
        arrays = read_arrays(path)
        X, y = arrays["inception_features_val"], arrays["labels"].reshape(-1)
        parts.append(_checked_table(X.reshape(len(X), -1), y, np.float32))
    return {name: np.concatenate([part[name] for part in parts]) for name in ("data", "target")}


_SPAMBASE = (
    Source(
        files=("spambase.zip",),
        read=_read_spambase_archive,
        origin="from https://archive.ics.uci.edu/dataset/94/spambase",
    ),
)
