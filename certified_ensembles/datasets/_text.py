"""Texts: film reviews, text messages, mail."""

import re
import tarfile

import numpy as np
from sklearn.utils import Bunch

from ._files import Source, checked_subset, load, require

_IMDB_DESCR = """IMDb: film reviews
25000 training and 25000 test reviews, half of them negative (0) and half positive (1); negative
ones first, in the order of their numbers. 123 test reviews also stand in the training set.

Maas, Daly, Pham, Huang, Ng and Potts, "Learning word vectors for sentiment analysis", ACL 2011.
"""

_SMS_DESCR = """SMS Spam Collection: text messages
5574 messages, 4827 ham (0) and 747 spam (1), in their original order; no fixed test set.

Almeida, Hidalgo and Yamakami, "Contributions to the study of SMS spam filtering", DocEng 2011.
Licence: CC BY 4.0.
"""

_ENRON_DESCR = """Enron-Spam: mail
33716 mails, 16545 ham (0) and 17171 spam (1), in their preprocessed form; no fixed test set.
Six mailboxes (enron1 to enron6) join the legitimate mail of one person with spam of one source.
The preprocessed mails name no senders: the mailbox is the finest trusted source there is.
3222 mails have the text of an earlier one. These are mails of real people.

Metsis, Androutsopoulos and Paliouras, "Spam filtering with naive Bayes - which naive Bayes?",
CEAS 2006.
"""

_MAILBOXES = tuple(f"enron{i}" for i in range(1, 7))


def fetch_imdb(data_home=None, *, subset="train", return_X_y=False, download_if_missing=True):
    """Load the IMDb film reviews.

    Parameters
    ----------
    data_home : path-like or None, default=None
        A folder to look in first, and to download to. None: the folder that the environment
        variable ``CERTIFIED_ENSEMBLES_DATA`` names, then scikit-learn's data folder.
    subset : {"train", "test", "all"}, default="train"
        Which reviews; "all" are the training reviews followed by the test reviews.
    return_X_y : bool, default=False
        Return ``(data, target)`` instead of a Bunch.
    download_if_missing : bool, default=True
        Whether a missing file may be downloaded (84 MB).

    Returns
    -------
    imdb : :class:`~sklearn.utils.Bunch`
        With the fields

        data : ndarray of shape (n,), str objects
            The reviews.
        target : ndarray of shape (n,), int64
            0 negative, 1 positive.
        target_names : ndarray of shape (2,), str
        rating : ndarray of shape (n,), int64
            The number of stars, 1 to 4 or 7 to 10.
        ids : ndarray of shape (n,), int64
            The number of the review among those of its subset and class.
        DESCR : str
        filenames : list of str
            The files that were read.
    (data, target) : tuple if `return_X_y` is True

    Raises
    ------
    OSError
        If the data is not found and cannot be downloaded, or a file is damaged. The message
        says what was expected and what to do.
    ValueError
        If `subset` is not known.

    Examples
    --------
    >>> from certified_ensembles.datasets import fetch_imdb
    >>> imdb = fetch_imdb()  # doctest: +SKIP
    >>> len(imdb.data)  # doctest: +SKIP
    25000
    """
    checked_subset(subset)
    fields = load("IMDb", _IMDB, data_home, download_if_missing, subset)
    return _bunch(fields, ["negative", "positive"], _IMDB_DESCR, return_X_y)


def fetch_sms_spam(data_home=None, *, return_X_y=False, download_if_missing=True):
    """Load the SMS Spam Collection.

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
    sms_spam : :class:`~sklearn.utils.Bunch`
        With the fields

        data : ndarray of shape (5574,), str objects
            The messages.
        target : ndarray of shape (5574,), int64
            0 ham, 1 spam.
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

    Examples
    --------
    >>> from certified_ensembles.datasets import fetch_sms_spam
    >>> X, y = fetch_sms_spam(return_X_y=True)  # doctest: +SKIP
    >>> len(X), y.sum()  # doctest: +SKIP
    (5574, 747)
    """
    fields = load("SMS Spam Collection", _SMS, data_home, download_if_missing)
    return _bunch(fields, ["ham", "spam"], _SMS_DESCR, return_X_y)


def fetch_enron_spam(
    data_home=None, *, mailboxes=None, return_X_y=False, download_if_missing=True
):
    """Load the Enron-Spam mails.

    Parameters
    ----------
    data_home : path-like or None, default=None
        A folder to look in first. None: the folder that the environment variable
        ``CERTIFIED_ENSEMBLES_DATA`` names, then scikit-learn's data folder.
    mailboxes : sequence of str or None, default=None
        Which of "enron1" to "enron6"; None: all of them. Much work on poisoning uses "enron1".
    return_X_y : bool, default=False
        Return ``(data, target)`` instead of a Bunch.
    download_if_missing : bool, default=True
        For the common interface: no checksum of the originals is published, so they are never
        downloaded, and the error says where to get them.

    Returns
    -------
    enron_spam : :class:`~sklearn.utils.Bunch`
        With the fields

        data : ndarray of shape (n,), str objects
            The mails. Their bytes are read as latin-1.
        target : ndarray of shape (n,), int64
            0 ham, 1 spam.
        target_names : ndarray of shape (2,), str
        folder : ndarray of shape (n,), str
            The mailbox of each mail. Senders are not part of the data.
        names : ndarray of shape (n,), str
            File names, without ".txt": number, date, and the owner or collector.
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
        If a mailbox is not known.

    Examples
    --------
    >>> from certified_ensembles.datasets import fetch_enron_spam
    >>> enron = fetch_enron_spam(mailboxes=["enron1"])  # doctest: +SKIP
    >>> len(enron.data), enron.target.sum()  # doctest: +SKIP
    (5172, 1500)
    """
    chosen = _MAILBOXES if mailboxes is None else mailboxes
    if isinstance(chosen, str) or not chosen or not set(chosen) <= set(_MAILBOXES):
        raise ValueError(
            f"mailboxes={mailboxes!r} must be None or a list of one or more of {list(_MAILBOXES)}."
        )
    chosen = tuple(sorted(set(chosen)))
    source = Source(
        files=tuple(f"{mailbox}.tar.gz" for mailbox in chosen),
        read=_read_enron_archives,
        origin="http://www.aueb.gr/users/ion/data/enron-spam/preprocessed/",
    )
    fields = load("Enron-Spam", (source,), data_home, download_if_missing, chosen)
    return _bunch(fields, ["ham", "spam"], _ENRON_DESCR, return_X_y)


def _bunch(fields, target_names, descr, return_X_y):
    if return_X_y:
        return fields["data"], fields["target"]
    return Bunch(**fields, target_names=np.array(target_names), DESCR=descr)


def _texts(texts):
    """Return an array of objects: in one of fixed width the longest text would size them all."""
    texts = list(texts)
    data = np.empty(len(texts), dtype=object)
    data[:] = texts
    return data


_IMDB_FILE = re.compile(r"(?:.*/)?(train|test)/(neg|pos)/(\d+)_(\d+)\.txt")


def _read_imdb_archive(path, subset):
    """Read ``aclImdb/train/pos/number_rating.txt``."""
    with tarfile.open(path, "r:gz") as archive:
        files = (
            (match, archive.extractfile(member).read())
            for member in archive
            if (match := _IMDB_FILE.fullmatch(member.name))
        )
        return _imdb_fields(files, subset)


def _read_imdb_folder(path, subset):
    """Read the same files, unpacked."""
    files = (
        (match, file.read_bytes())
        for file in path.glob("*/*/*.txt")
        if (match := _IMDB_FILE.fullmatch(file.as_posix()))
    )
    return _imdb_fields(files, subset)


def _imdb_fields(files, subset):
    """Return the fields from pairs of a match of `_IMDB_FILE` and the bytes of the text."""
    rows = []
    for match, text in files:
        split, label, number, rating = match.groups()
        if subset in ("all", split):
            rows.append((split, int(label == "pos"), int(number), int(rating), text.decode()))
    require(rows, f"{subset} reviews", "none")
    rows.sort(key=lambda row: (row[0] == "test", *row[1:3]))
    _, labels, numbers, ratings, texts = zip(*rows, strict=True)
    return {
        "data": _texts(texts),
        "target": np.array(labels, dtype=np.int64),
        "rating": np.array(ratings, dtype=np.int64),
        "ids": np.array(numbers, dtype=np.int64),
    }


def _read_sms(path, _):
    """Read lines, cut at line feeds alone: messages hold other line separators."""
    with open(path, encoding="utf-8", newline="\n") as file:
        rows = [line.removesuffix("\n").split("\t", 1) for line in file]
    found = {row[0] for row in rows if len(row) == 2}
    require(
        rows and all(len(row) == 2 for row in rows) and found <= {"ham", "spam"},
        "lines of ham or spam, a tab and the message",
        f"{len(rows)} lines that begin with {sorted(found)}",
    )
    labels, texts = zip(*rows, strict=True)
    return {
        "data": _texts(text.removesuffix("\r") for text in texts),
        "target": np.array([label == "spam" for label in labels], dtype=np.int64),
    }


def _read_enron_archives(*paths_and_mailboxes):
    """Read ``enron1/spam/name.txt`` from one archive for each mailbox."""
    *paths, mailboxes = paths_and_mailboxes
    pattern = re.compile(r"(?:.*/)?(enron\d)/(ham|spam)/([^/]+)\.txt")
    rows = []
    for path in paths:
        with tarfile.open(path, "r:gz") as archive:
            for member in archive:
                if match := pattern.fullmatch(member.name):
                    folder, label, name = match.groups()
                    text = archive.extractfile(member).read().decode("latin-1")
                    rows.append((folder, int(label == "spam"), name, text))
    return _enron_fields(rows, mailboxes)


def _enron_fields(rows, mailboxes):
    """Return the fields from rows of (mailbox, label, name, text)."""
    rows = sorted(row for row in rows if row[0] in mailboxes)
    missing = set(mailboxes) - {row[0] for row in rows}
    require(not missing, f"mails of {', '.join(mailboxes)}", f"none of {sorted(missing)}")
    folders, labels, names, texts = zip(*rows, strict=True)
    return {
        "data": _texts(texts),
        "target": np.array(labels, dtype=np.int64),
        "folder": np.array(folders),
        "names": np.array(names),
    }


_IMDB = (
    Source(
        files=("aclImdb_v1.tar.gz",),
        read=_read_imdb_archive,
        origin="https://ai.stanford.edu/~amaas/data/sentiment/aclImdb_v1.tar.gz",
        url="https://ai.stanford.edu/~amaas/data/sentiment/aclImdb_v1.tar.gz",
        sha256="c40f74a18d3b61f90feba1e17730e0d38e8b97c05fde7008942e91923d1658fe",
    ),
    Source(
        files=("aclImdb",),
        read=_read_imdb_folder,
        origin="the folder that the archive unpacks to",
    ),
)
_SMS = (
    Source(
        files=("SMSSpamCollection",),
        read=_read_sms,
        origin="unpacked from https://archive.ics.uci.edu/dataset/228/sms+spam+collection",
    ),
)
