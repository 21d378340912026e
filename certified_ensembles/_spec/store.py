"""Where trained members are kept: each in a file of its own, with a digest, whole or not at all.

A member that comes back with other bytes than it was stored with would vote in the name of rows
that it never saw. So each file ends with a digest of what it holds and of the name under which it
is kept, and nothing is unpickled before the digest is found right. (A pickle says itself where it
ends, so that other readers of pickles do not see the digest.)
"""

import contextlib
import gzip
import hashlib
import io
import os
import pickle
import shutil
import uuid
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import joblib
from joblib import wrap_non_picklable_objects
from sklearn.utils.validation import check_memory

_DIGEST_BYTES, _N_WRITERS = 32, 16
_GZIP = b"\x1f\x8b"  # how what is compressed begins; a pickle begins with b"\x80"


class AbsentError(LookupError):
    """Nothing is kept under a name."""


class DamagedError(ValueError):
    """What is kept under a name is not what was stored there."""


class Shelved(NamedTuple):
    """What stands for an item that stays in its store."""

    name: str


class Outcome(NamedTuple):
    """An item, and what a store had to do with it.

    Attributes
    ----------
    value : object
        The item, or a `Shelved` in its place; None if it is to be trained.
    was_kept : bool
        Whether it came out of the store.
    damaged_in : str or None
        The folder in which it was found damaged.
    not_stored : str or None
        Where and why it could not be stored.
    """

    value: Any
    was_kept: bool = False
    damaged_in: str | None = None
    not_stored: str | None = None


class ByValue:
    """Pickles what it holds together with its code, and opens as what it holds."""

    def __init__(self, value):
        self.value = value

    def __reduce__(self):
        return wrap_non_picklable_objects(self.value, keep_wrapper=False).__reduce__()


def store_of(memory):
    """Return the store that users name by `memory`, or None if there is none.

    Parameters
    ----------
    memory : str, object with the joblib.Memory interface or None
    """
    try:
        memory = check_memory(memory)
    except OSError as error:
        raise ValueError(
            f"memory={memory!r} cannot be made a folder ({error}). Name a folder that can be "
            "created and written, or None."
        ) from error
    location = getattr(memory, "location", memory)
    if location is None:
        return None
    on_disk = type(memory) is joblib.Memory and memory.backend == "local"
    if on_disk and isinstance(location, str | Path):
        return FolderStore(memory.store_backend.location, memory.compress)
    return ForeignStore(memory)


class BaseStore:
    """Items by their names.

    A name is the function that made the item, a slash, and a key that says from what. The
    attribute `folder` says to users where items are.
    """

    def recall(self, name, make, *, by_value=False):
        """Return an item, made and stored if it is not there.

        Parameters
        ----------
        name : str
        make : callable
            Returns the item.
        by_value : bool, default=False
            Whether another process may not know the item's code, so that it is kept as well.

        Returns
        -------
        outcome : Outcome
        """
        found = self.find(name)
        if found.value is not None:
            return found
        return self.put(name, make(), found, by_value=by_value)

    def find(self, name, *, shelved=False):
        """Return the outcome of looking for an item, which may stay in the store."""
        try:
            return Outcome(self.load(name, shelved=shelved), was_kept=True)
        except AbsentError:
            return Outcome(None)
        except DamagedError:
            return Outcome(None, damaged_in=self.folder)

    def put(self, name, value, found, *, by_value=False, shelved=False):
        """Store an item that was not found.

        Returns
        -------
        outcome : Outcome
            What cannot be stored (the disk may be full) is in its `value`.
        """
        try:
            self._write(name, ByValue(value) if by_value else value)
        except Exception as error:
            reason = getattr(error, "strerror", None) or " ".join(str(error).split())
            reason = f"in {self.folder} ({type(error).__name__}: {reason})"
            return found._replace(value=value, not_stored=reason)
        return found._replace(value=Shelved(name) if shelved else value)

    def put_all(self, names, values, found, **how):
        """Return the outcomes of :meth:`put` for several items."""
        if len(names) < 2:
            return [self.put(*item, **how) for item in zip(names, values, found, strict=True)]
        # A disk brings many files to rest in about the time of one, if they come together.
        with ThreadPoolExecutor(_N_WRITERS) as pool:
            return list(pool.map(partial(self.put, **how), names, values, found))


class FolderStore(BaseStore):
    """Items in the folder of a `joblib.Memory`, where its ``reduce_size`` prunes them.

    Parameters
    ----------
    folder : str
    compress : bool, int or (str, int)
        As in `joblib.Memory`.
    """

    def __init__(self, folder, compress):
        self.folder = os.path.abspath(folder)  # the same wherever workers stand
        level = compress[1] if isinstance(compress, tuple) else compress
        self.compress = 3 if level is True else int(level)

    def _path(self, name):
        # joblib takes folders with names of 32 hexadecimal digits for its items.
        made_by, key = name.split("/")
        return os.path.join(self.folder, "certified_ensembles", made_by, key[:32], "output.pkl")

    def load(self, name, *, shelved=False):
        """Return an item, once its bytes are known to be those that were stored.

        Raises
        ------
        AbsentError, DamagedError
        """
        try:
            with open(self._path(name), "rb") as file:
                return _unsealed(file, name, shelved)
        except FileNotFoundError as error:
            raise AbsentError(name) from error
        except OSError as error:
            raise DamagedError(name) from error

    def _write(self, name, value):
        path = self._path(name)
        try:
            self._write_whole(path, name, value)
        except (FileNotFoundError, FileExistsError, NotADirectoryError, IsADirectoryError):
            # Something else stands in the place of the folder or of the file, or the folder was
            # pruned in between.
            folder = os.path.dirname(path)
            if os.path.isdir(path):
                shutil.rmtree(path)
            elif os.path.lexists(folder) and not os.path.isdir(folder):
                os.remove(folder)
            self._write_whole(path, name, value)

    def _write_whole(self, path, name, value):
        os.makedirs(os.path.dirname(path), exist_ok=True)
        temporary = f"{path}.{uuid.uuid4().hex}"
        try:
            with open(temporary, "xb") as file:
                _seal(file, name, value, self.compress)
                file.flush()
                # A disk may say only now that it is full.
                os.fsync(file.fileno())
            os.replace(temporary, path)
        except BaseException:
            with contextlib.suppress(OSError):
                os.remove(temporary)
            raise


class ForeignStore(BaseStore):
    """Items behind the ``cache`` of any object that has joblib's interface.

    Parameters
    ----------
    memory : object
    """

    def __init__(self, memory):
        self._memory = memory
        self.folder = str(getattr(memory, "location", memory))

    def _cached(self):
        return self._memory.cache(_sealed_bytes, ignore=["sealed"])

    def load(self, name, *, shelved=False):
        """Return an item, as a `FolderStore` does."""
        return _unsealed(io.BytesIO(self._cached()(name)), name, shelved)

    def _write(self, name, value):
        file, cached = io.BytesIO(), self._cached()
        _seal(file, name, value)
        # joblib's ``call`` writes over what is damaged.
        getattr(cached, "call", cached)(name, file.getvalue())
        if self.find(name, shelved=True).value is None:  # joblib hides that a disk is full
            raise OSError("it does not give back what it was given")


def _sealed_bytes(name, sealed=None):
    """Return what is to be kept under a name. What a foreign cache caches, by the name."""
    if sealed is None:
        raise AbsentError(name)
    return sealed


class _Digesting:
    """Writes into a file, and takes the digest of what is written."""

    def __init__(self, file, name):
        self._file, self._hasher = file, _hasher(name)

    def write(self, data):
        self._hasher.update(data)
        return self._file.write(data)

    def flush(self):
        self._file.flush()

    def digest(self):
        return self._hasher.digest()


def _hasher(name):
    # With the name: the file of another member, put in this place, is damage as well.
    return hashlib.blake2b(f"{name}\n".encode(), digest_size=_DIGEST_BYTES)


def _seal(file, name, value, compress=0):
    """Write an item and a digest into an empty file."""
    digesting = _Digesting(file, name)
    if compress:
        with gzip.GzipFile("", "wb", compress, digesting, mtime=0) as zipped:
            pickle.dump(value, zipped, pickle.HIGHEST_PROTOCOL)
    else:
        pickle.dump(value, digesting, pickle.HIGHEST_PROTOCOL)
    file.write(digesting.digest())


def _unsealed(file, name, shelved):
    """Return the item in a file, or what stands for it, if the digest is right."""
    data = memoryview(file.read())
    kept, digest = data[:-_DIGEST_BYTES], data[-_DIGEST_BYTES:]
    hasher = _hasher(name)
    hasher.update(kept)
    if digest != hasher.digest():
        raise DamagedError(name)
    if shelved:
        return Shelved(name)
    try:
        return pickle.loads(gzip.decompress(kept) if kept[: len(_GZIP)] == _GZIP else kept)
    except MemoryError:
        raise
    except Exception as error:  # its code is gone, say
        raise DamagedError(name) from error
