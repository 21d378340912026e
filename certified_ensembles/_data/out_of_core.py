"""Rows that do not fit in memory: they stay in a file and are read block by block.

A `numpy.memmap` stays where it is, a Dask array goes into a scratch file that one pass over its
blocks writes.
"""

import mmap
import numbers
import tempfile

import numpy as np

from .blocks import row_blocks

# Rows gathered from a file at once, as each drags its surroundings into memory.
_GATHERED = 256


def is_dask(X):
    """Say whether X is a Dask array, or raise if it is another collection of Dask."""
    if not hasattr(X, "__dask_graph__"):
        return False
    if not hasattr(X, "chunks") or X.ndim < 2 or X.dtype.kind not in "biuf":
        raise TypeError(
            f"X={X!r} is a Dask collection other than an array of numbers with two axes or more: "
            "pass an array, such as frame.to_dask_array(lengths=True), or compute it first. (With "
            "a cluster DeepPartitionAggregation and DeepPartitionRegressor take a dataframe as it "
            "is: make a distributed.Client.)"
        )
    if not all(isinstance(length, numbers.Integral) for length in X.shape):
        raise ValueError("X is a Dask array of unknown shape: call X.compute_chunk_sizes().")
    if not isinstance(X._meta, np.ndarray):
        raise TypeError(
            f"X is a Dask array with blocks of type {type(X._meta).__name__}: only blocks of "
            "numpy arrays are taken; compute X to pass it as a sparse matrix."
        )
    return True


def is_stored(X):
    """Say whether the rows of X lie in a file or are yet to be computed, as plain numbers."""
    return is_dask(X) or (isinstance(X, np.memmap) and X.ndim > 1 and X.dtype.kind in "biuf")


class _Scratch(mmap.mmap):
    """The map of a scratch file."""


def scratch_for(X):
    """Return an array like X, filled with zeros, over a file without a name.

    The file goes when the array does, and also when the process is killed. (Not a
    `numpy.memmap`: processes that are given one open its file again, by name.)
    """
    if 0 in X.shape:
        return np.empty(X.shape, X.dtype)  # nothing can be mapped
    with tempfile.TemporaryFile(prefix="certified_ensembles_") as file:
        file.truncate(X.dtype.itemsize * int(np.prod(X.shape)))
        return np.frombuffer(_Scratch(file.fileno(), 0), X.dtype).reshape(X.shape)


def stored_blocks(X):
    """Yield ``(rows, block)`` over a stored X; every chunk of a Dask array is computed once."""
    if not is_dask(X):
        for rows in row_blocks(X):
            yield rows, np.asarray(X[rows])
            forget_pages(X)
        return
    start = 0
    for length in X.chunks[0]:
        chunk = np.asarray(X[start : start + length].compute())
        if chunk.dtype != X.dtype:
            raise TypeError(
                f"X is a Dask array of dtype {X.dtype}, but a block of it came out as "
                f"{chunk.dtype}: give map_blocks and its like the dtype that they return."
            )
        if chunk.shape != (length, *X.shape[1:]):
            raise ValueError(
                f"A block of the Dask array X came out with the shape {chunk.shape} instead of "
                f"{(length, *X.shape[1:])}: give map_blocks and its like the chunks that they "
                "return."
            )
        for rows in row_blocks(chunk):
            yield slice(start + rows.start, start + rows.stop), chunk[rows]
        start += length


def forget_pages(X):
    """Take pages of a file that have been read out of this process's memory.

    They stay in the cache of the operating system as long as that has room. Without this a
    process that has once gone through a file counts as large as the file.
    """
    file_map = _file_map(X)
    if file_map is not None and hasattr(mmap, "MADV_DONTNEED"):
        file_map.madvise(mmap.MADV_DONTNEED)


def _file_map(X):
    """Return the map under an array if all that is in its pages is in the file too, else None.

    Not so under mode "c", where what the user has written is in the pages alone.
    """
    shared = False
    while isinstance(X, np.ndarray):
        shared = X.mode != "c" if isinstance(X, np.memmap) else shared
        X = X.base
    X = X.obj if isinstance(X, memoryview) else X  # what some versions of numpy put in between
    return X if isinstance(X, _Scratch) or (shared and isinstance(X, mmap.mmap)) else None


def rows_at(X, index):
    """Return rows of an array; from a file a few at a time, as each drags its surroundings in."""
    if _file_map(X) is None:
        return np.asarray(X)[np.asarray(index)]
    index = np.asarray(index)
    part = np.empty((len(index), *X.shape[1:]), X.dtype)
    for start in range(0, len(index), _GATHERED):
        some = slice(start, start + _GATHERED)
        part[some] = np.asarray(X)[index[some]]
        forget_pages(X)
    return part
