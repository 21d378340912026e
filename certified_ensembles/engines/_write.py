"""What engines of any kind call: the partitions of a batch of rows, and files by partition."""

import importlib
import os
import shutil

import numpy as np

from .._data.containers import as_table
from .._data.labels import validate_groups
from ..hashers import ContentHasher, assign_partitions, resolve_hasher
from ._blocks import named_block
from ._folder import PARTITION, frame_of
from ._layout import Layout

# Rows that wait for being written, in bytes; and rows read at once.
_MOST_BYTES, _BATCH_ROWS = 1 << 28, 1 << 16


def partition_numbers(X, n_partitions, *, y=None, groups=None, hasher="content", spread_degree=1):
    """Return the partition of every row of a batch, as an ensemble assigns it.

    The partition of a row follows from that row alone, so any engine may compute it where the row
    is, in batches of any size and in any order.

    Parameters
    ----------
    X : array-like, sparse matrix, dataframe or sequence of str
        Features of the rows, n_rows of them, in the order of columns in which they are trained
        on, without labels, sources and weights.
    n_partitions : int
        As of the ensemble.
    y : array-like of shape (n_rows,), default=None
        Labels, which only a hasher that looks at labels needs.
    groups : array-like of shape (n_rows,) or dataframe, default=None
        The sources of the rows, which then decide in place of `X`.
    hasher : {"content", "pixel_sum"} or callable, default="content"
        As of the ensemble.
    spread_degree : int, default=1
        As of the ensemble.

    Returns
    -------
    partition : ndarray of shape (n_rows,), int64
        Values in 0..n_partitions * spread_degree - 1.

    See Also
    --------
    write_partitions : Writes files by partition, in one process.
    certified_ensembles.DeepPartitionAggregation.fit_partitions : Trains on such files.

    Examples
    --------
    >>> from certified_ensembles import DeepPartitionAggregation
    >>> from certified_ensembles.engines import partition_numbers
    >>> X, y = [[0, 1], [2, 3], [4, 5]], [0, 1, 0]
    >>> clf = DeepPartitionAggregation(n_partitions=2).fit(X, y)
    >>> bool((partition_numbers(X, n_partitions=2) == clf.partition_).all())
    True
    """
    n_partitions, hasher = n_partitions * spread_degree, resolve_hasher(hasher)
    if groups is None:
        return assign_partitions(hasher, X, y, n_partitions)
    key = hasher.key if isinstance(hasher, ContentHasher) else None
    groups = validate_groups(as_table(X), groups)
    return assign_partitions(ContentHasher(key=key), groups, y, n_partitions)


def write_partitions(
    rows,
    folder,
    n_partitions,
    *,
    y,
    groups=None,
    besides=(),
    hasher="content",
    spread_degree=1,
    most_bytes=_MOST_BYTES,
):
    """Write rows into Parquet files by partition, without ever holding all of them.

    Parameters
    ----------
    rows : str, path, or iterable of dataframes or record batches
        A Parquet file, or a folder of Parquet files, all with the same columns; or batches of
        rows: frames of pandas, tables or batches of Arrow, such as a reader of Arrow yields.
    folder : str or path
        Where to write: ``partition=0/part-0.parquet`` and so on. It must not exist, and does only
        once all rows are written.
    n_partitions : int
        As of the ensemble that is to be trained.
    y : str
        The column of labels.
    groups : str or list of str, default=None
        The column, or columns, that name the source of a row. Sources then decide partitions.
    besides : list of str, default=()
        Other columns that are no features, such as weights.
    hasher : {"content", "pixel_sum"} or callable, default="content"
        As of the ensemble.
    spread_degree : int, default=1
        As of the ensemble.
    most_bytes : int, default=2**28
        Bytes of rows that wait in memory before they are written. Less means more files.

    Returns
    -------
    sizes : ndarray of shape (n_partitions * spread_degree,), int64
        Rows of every partition.

    Raises
    ------
    ValueError
        If the folder exists, or columns are not the same everywhere; the message names the file,
        or the batch, and the column.

    See Also
    --------
    partition_numbers : For engines that write by themselves.
    certified_ensembles.DeepPartitionAggregation.fit_partitions : Trains on such files.

    Notes
    -----
    Columns keep the types that they have in each file or batch. Texts such as CSV have none:
    declare them (``pyarrow.csv.open_csv`` takes ``column_types``). Guessed from rows, the type of
    a column, and with it the values of all of them, would be the choice of whoever writes one.

    Examples
    --------
    >>> import tempfile
    >>> import pandas as pd
    >>> from certified_ensembles import DeepPartitionAggregation
    >>> from certified_ensembles.engines import write_partitions
    >>> frame = pd.DataFrame({"a": range(100), "b": 0.5, "label": [0, 1] * 50})
    >>> with tempfile.TemporaryDirectory() as scratch:
    ...     sizes = write_partitions([frame], f"{scratch}/rows", 5, y="label")
    ...     clf = DeepPartitionAggregation(n_partitions=5)
    ...     clf = clf.fit_partitions(f"{scratch}/rows", y="label")
    >>> bool((clf.partition_sizes_ == sizes).all())
    True
    """
    folder = os.fspath(folder)
    if os.path.lexists(folder):
        raise ValueError(f"folder={folder!r} exists: name one that does not, or remove it.")
    unfinished, names = f"{folder}.unfinished", None
    shutil.rmtree(unfinished, ignore_errors=True)
    how = {"hasher": hasher, "spread_degree": spread_degree}
    writer = _Writer(unfinished, n_partitions * spread_degree, most_bytes)
    try:
        for words, table in _batches(rows):
            names = _checked_names(words, table, names, besides)
            layout, _ = Layout.of(names, y, groups, {name: name for name in besides})
            with named_block(words):
                own = layout.cut(frame_of(table))
                numbers = partition_numbers(own.X, n_partitions, y=own.y, groups=own.groups, **how)
            writer.add(table, numbers)
        writer.flush()
    except BaseException:
        shutil.rmtree(unfinished, ignore_errors=True)
        raise
    os.replace(unfinished, folder)
    return writer.sizes


def _checked_names(words, table, names, besides):
    own = table.column_names
    if PARTITION in own:
        raise ValueError(
            f"{words} has a column {PARTITION!r}, which is what the folders are called: rename it."
        )
    lacking = [name for name in besides if name not in own]
    if names is not None:
        lacking += [name for name in names if name not in own]
    more = [] if names is None else [name for name in own if name not in names]
    if lacking or more or (names is not None and own != names):
        raise ValueError(
            f"{words} has other columns than the first: it lacks {lacking[:5]}, and has "
            f"{more[:5]} besides. Give all the same columns in one order."
        )
    return own


def _batches(rows):
    """Yield ``(words, table)``: where some rows are from, and these as a table of Arrow."""
    arrow = importlib.import_module("pyarrow")
    if isinstance(rows, str | os.PathLike):
        parquet = importlib.import_module("pyarrow.parquet")
        for path in _parquet_files(os.fspath(rows)):
            words = f"File {path}"
            try:
                with parquet.ParquetFile(path) as file:
                    for batch in file.iter_batches(_BATCH_ROWS):
                        yield words, arrow.Table.from_batches([batch])
            except arrow.ArrowException as error:
                raise ValueError(f"{words} is no whole Parquet file ({error}).") from error
        return
    for i, batch in enumerate(rows):
        if isinstance(batch, arrow.RecordBatch):
            batch = arrow.Table.from_batches([batch])
        elif hasattr(batch, "iloc"):
            batch = arrow.Table.from_pandas(batch, preserve_index=False)
        elif hasattr(batch, "to_arrow"):
            batch = batch.to_arrow()
        yield f"Batch {i}", batch


def _parquet_files(path):
    if not os.path.isdir(path):
        return [path]
    names = sorted(name for name in os.listdir(path) if not name.startswith(("_", ".")))
    if not names:
        raise ValueError(f"rows={path!r} is a folder without files.")
    return [os.path.join(path, name) for name in names]


class _Writer:
    """Collects rows by partition, and writes all that wait once they are many.

    Parameters
    ----------
    folder : str
    n_partitions, most_bytes : int
    """

    def __init__(self, folder, n_partitions, most_bytes):
        self.folder, self.most_bytes = folder, most_bytes
        self.sizes = np.zeros(n_partitions, dtype=np.int64)
        self._waiting, self._n_bytes, self._n_written = [], 0, 0
        os.makedirs(folder)

    def add(self, table, partition):
        """Add rows, given the partition of each."""
        counts = np.bincount(partition, minlength=len(self.sizes))
        stop = np.cumsum(counts)
        # They are cut when they are written: a cut of few rows takes more memory than these.
        self._waiting.append(
            (table.take(np.argsort(partition, kind="stable")), stop - counts, stop)
        )
        self.sizes += counts
        self._n_bytes += table.nbytes
        if self._n_bytes >= self.most_bytes:
            self.flush()

    def flush(self):
        """Write what waits, in one file for each partition and each set of types."""
        arrow = importlib.import_module("pyarrow")
        parquet = importlib.import_module("pyarrow.parquet")
        kinds = {}
        for own in self._waiting:  # those of one type together: none is cast
            kinds.setdefault(str(own[0].schema), []).append(own)
        for i, alike in enumerate(kinds.values()):
            for number in np.flatnonzero(sum(stop > start for _, start, stop in alike)).tolist():
                tables = [
                    table.slice(int(start[number]), int(stop[number] - start[number]))
                    for table, start, stop in alike
                ]
                own = os.path.join(self.folder, f"{PARTITION}={number}")
                os.makedirs(own, exist_ok=True)
                path = os.path.join(own, f"part-{self._n_written}-{i}.parquet")
                parquet.write_table(arrow.concat_tables(tables).combine_chunks(), path)
        self._waiting, self._n_bytes = [], 0
        self._n_written += 1
