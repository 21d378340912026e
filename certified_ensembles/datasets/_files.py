"""Find, download, verify and open the files of a data set."""

import hashlib
import http.client
import lzma
import os
import tarfile
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from sklearn.datasets import fetch_file, get_data_home

ENVIRONMENT_VARIABLE = "CERTIFIED_ENSEMBLES_DATA"

# The errors that readers raise on damaged or foreign files.
_UNREADABLE = (
    OSError,
    EOFError,
    ValueError,
    KeyError,
    IndexError,
    lzma.LZMAError,
    tarfile.TarError,
    zipfile.BadZipFile,
    zlib.error,
)


@dataclass(frozen=True)
class Source:
    """One form in which a data set may lie in a folder.

    Attributes
    ----------
    files : tuple of str
        Names of the files, or folders of files, that make up this form.
    read : callable
        ``read(*paths, subset)`` returns a dict of the fields of the Bunch.
    origin : str
        Where a person gets the files, for error messages.
    url, sha256 : str or None
        Where the (one) file is downloaded from, and its checksum. No checksum, no download.
    pinned : bool
        Whether a file of this name found in a folder must have the checksum as well.
    """

    files: tuple[str, ...]
    read: Callable
    origin: str
    url: str | None = None
    sha256: str | None = None
    pinned: bool = True


def load(name, sources, data_home, download_if_missing, subset=None):
    """Read the first form of a data set that a folder holds, or download one.

    Parameters
    ----------
    name : str
        Name of the data set, for messages.
    sources : sequence of Source
        Its forms, the preferred one first.
    data_home : path-like or None
        A folder to look in before the others, and to download to.
    download_if_missing : bool
        Whether a missing file may be downloaded.
    subset : object
        Handed on to the reader.

    Returns
    -------
    dict
        The fields that the reader returns, and ``filenames``.

    Raises
    ------
    OSError
        If no folder holds the data and it cannot be downloaded, or if a file is damaged.
    """
    looked = []
    for folder in _folders(data_home):
        looked.append(folder)
        for source in sources:
            paths = [folder / file for file in source.files]
            if all(path.exists() for path in paths):
                return _read(name, source, paths, subset)
    for source in sources:
        if source.url is not None and download_if_missing:
            target = looked[-1] if data_home is None else looked[0]
            return _read(name, source, [_download(name, source, target)], subset)
    raise OSError(_missing(name, sources, looked, download_if_missing))


def require(condition, expected, found):
    """Raise ValueError unless a file holds what its reader expects."""
    if not condition:
        raise ValueError(f"expected {expected}, found {found}")


def read_arrays(path):
    """Read all arrays of an ``.npz`` file; never unpickle."""
    # np.load leaves the file open where it is damaged, so it does not open it.
    with open(path, "rb") as file:
        arrays = np.load(file, allow_pickle=False)
        require(isinstance(arrays, np.lib.npyio.NpzFile), "an archive of arrays", "one array")
        with arrays:
            return {name: arrays[name] for name in arrays.files}


def saved_images(name, parts, optional=()):
    """Return the form that anyone can save: arrays of images and labels in ``NAME_PART.npz``.

    Parameters
    ----------
    name : str
        NAME.
    parts : sequence of str
        Every PART; their rows are joined.
    optional : sequence of str, default=()
        More fields of the Bunch, one value for each row; None where a file does not hold them.

    Returns
    -------
    Source
    """

    def read(*paths_and_subset):
        *paths, _ = paths_and_subset
        loaded = [_read_images(path, optional) for path in paths]
        if len(loaded) == 1:
            return loaded[0]
        return {field: np.concatenate([part[field] for part in loaded]) for field in loaded[0]}

    return Source(
        files=tuple(f"{name}_{part}.npz" for part in parts),
        read=read,
        origin="saved by you: arrays data, uint8 of shape (n, 32, 32, 3), and target",
    )


def _read_images(path, optional):
    arrays = read_arrays(path)
    X, y = arrays["data"], arrays["target"]
    require(
        X.dtype == np.uint8 and X.shape[1:] == (32, 32, 3),
        "data: uint8 of shape (n, 32, 32, 3)",
        f"{X.dtype} of shape {X.shape}",
    )
    require(
        y.shape == X.shape[:1] and y.dtype.kind in "iu",
        f"target: integers of shape {X.shape[:1]}",
        f"{y.dtype} of shape {y.shape}",
    )
    fields = {"data": X, "target": y.astype(np.int64)}
    for name in optional:
        values = arrays.get(name)
        found = len(y) if values is None else len(np.atleast_1d(values))
        require(found == len(y), f"{name} of {len(y)} rows", found)
        fields[name] = None if values is None else values.astype(np.int64)
    return fields


def checked_subset(subset, choices=("train", "test", "all")):
    """Return subset, or refuse it."""
    if subset not in choices:
        named = ", ".join(repr(choice) for choice in choices)
        raise ValueError(f"subset={subset!r} is not known. Use one of {named}.")
    return subset


def _folders(data_home):
    """Yield the folders to look in; the last one is only created when the others fail."""
    for folder in (data_home, os.environ.get(ENVIRONMENT_VARIABLE) or None):
        if folder is not None:
            yield Path(folder).expanduser()
    yield Path(get_data_home()) / "certified_ensembles"


def _download(name, source, folder):
    (file,) = source.files
    try:
        folder.mkdir(parents=True, exist_ok=True)
        return fetch_file(source.url, folder, file, sha256=source.sha256)
    except (OSError, http.client.HTTPException) as error:
        raise OSError(
            f"Could not download {name}: {error}. Get {file} from {source.url} by other means "
            f"(expected sha256: {source.sha256}) and put it into {folder}, or into a folder that "
            f"data_home or the environment variable {ENVIRONMENT_VARIABLE} names."
        ) from error


def _read(name, source, paths, subset):
    shown = ", ".join(str(path) for path in paths)
    if source.sha256 is not None and source.pinned:
        with open(paths[0], "rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
        if found != source.sha256:
            raise OSError(
                f"{shown} is not the published file of {name}: expected sha256 {source.sha256}, "
                f"found {found}. Remove it, to have it downloaded again, or replace it by the "
                f"file from {source.url}."
            )
    try:
        fields = source.read(*paths, subset)
    except _UNREADABLE as error:
        reason = f"{type(error).__name__}: {error}".rstrip(": ")
        raise OSError(
            f"{shown} cannot be read as {name} ({reason}). The file is damaged, truncated or "
            f"another one than expected. Remove it, or replace it: {source.origin}."
        ) from error
    return {**fields, "filenames": [str(path) for path in paths]}


def _missing(name, sources, folders, download_if_missing):
    looked = ", ".join(
        f"{folder}{'' if folder.is_dir() else ' (does not exist)'}" for folder in folders
    )
    forms = "; or ".join(f"{' and '.join(source.files)} ({source.origin})" for source in sources)
    if download_if_missing:
        why = "is not downloaded, because no published checksum of it is known"
    else:
        why = "may not be downloaded (download_if_missing=False)"
    return (
        f"{name} was not found, and {why}. Looked in: {looked}. Put there, or into a folder that "
        f"data_home or the environment variable {ENVIRONMENT_VARIABLE} names: {forms}."
    )
