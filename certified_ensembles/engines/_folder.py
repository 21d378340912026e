"""Rows in files by partition, which any engine may write: trained one partition at a time."""

import importlib
import itertools
import os
import re

import numpy as np

from .._data.joined import join_tables
from .._jobs import in_turn, workers_may_stop
from ._blocks import join_labels, types_of
from ._layout import Layout, check_common, declared_frame
from ._plan import RowNames, Rows, Summary

PARTITION = "partition"
# Bytes in files of the partitions that are in memory at once, where a single one is smaller.
_BUCKET_BYTES = 1 << 24


class FolderRows:
    """Training rows in Parquet files, in one folder for each partition: ``partition=17/*``.

    Parameters
    ----------
    folder : str or path
    y, groups, params
        As ``fit_partitions`` gets them: names of columns.
    n_jobs : int or None
        As in the estimators.

    Attributes
    ----------
    declared, features, dtypes, label_type, common_params, has_groups
        As of `DaskRows`, by the first file.
    names : list of str
        What messages call the files.
    """

    def __init__(self, folder, y, groups, params, n_jobs):
        self._folder, self._n_jobs, self.has_groups = os.fspath(folder), n_jobs, groups is not None
        self._files = _files_by_partition(self._folder)
        self._number = {path: i for i, path in enumerate(itertools.chain(*self._files.values()))}
        self.names = [f"file {os.path.relpath(path, self._folder)}" for path in self._number]
        first = next(iter(self._number))
        meta = frame_of(_read(first, self.names[0], schema=True).empty_table())
        for what, value in {"y": y, "groups": groups}.items():
            if not isinstance(value, str | list | None):
                raise TypeError(
                    f"{what} is a {type(value).__name__}: name a column of the files in "
                    f"{self._folder!r}."
                )
        self._layout, rest = Layout.of(meta.columns, y, groups, params)
        if self._layout.y is None:
            raise ValueError(f"y={y!r} must name the column of labels in the files.")
        self.common_params = rest.params
        check_common(self.common_params)
        own = self._layout.cut(meta)
        columns = {"X": own.X, "groups": own.groups, **own.params}
        self.dtypes = {name: types_of(values) for name, values in columns.items()}
        self.features = own.X
        self.declared, labels = declared_frame(self.features), meta[y]
        self.label_type = labels.dtype if isinstance(labels.dtype, np.dtype) else None

    def width(self, n_partitions, spread_degree):
        """Return how many adjacent partitions are read, and train members, together."""
        if max(self._files) >= n_partitions:
            raise ValueError(
                f"{self._folder} holds partition {max(self._files)}, and the ensemble has "
                f"{n_partitions}, numbered from 0: set n_partitions (and spread_degree) to what "
                "the files were written with."
            )
        n_bytes = sum(map(os.path.getsize, self._number)) * spread_degree
        return int(np.clip(_BUCKET_BYTES * n_partitions // max(n_bytes, 1), 1, n_partitions))

    def train(self, plan):
        """Yield a `TrainedPart` for every bucket that has rows, and what is known of its files."""
        members = plan.ensemble.spread_
        if members is None:
            members = np.arange(plan.ensemble._n_partitions)[:, None]
        buckets = members // plan.width
        wanted = {}
        for partition, paths in sorted(self._files.items()):
            for bucket in np.unique(buckets[partition]).tolist():
                # Rows that several buckets read are counted once.
                counts = bucket == buckets[partition].min()
                own = wanted.setdefault(bucket, [])
                own += [(partition, self._number[path], path, counts) for path in paths]
        calls = ((plan, self._layout, bucket, own) for bucket, own in sorted(wanted.items()))
        with workers_may_stop(self._n_jobs):
            for found in in_turn(_train_bucket, calls, self._n_jobs):
                yield from found


def _files_by_partition(folder):
    """Return the paths of the files of every partition, in order."""
    if not os.path.isdir(folder):
        raise ValueError(f"{folder!r} is no folder: name one with folders partition=0, ... in it.")
    files = {}
    for name in sorted(os.listdir(folder)):
        if name.startswith(("_", ".")):  # marks and sums that engines leave behind
            continue
        number = re.fullmatch(rf"{PARTITION}=(\d+)", name)
        if number is None:
            raise ValueError(
                f"{name!r} in {folder!r} is no folder of a partition: all rows must stand in "
                f"{PARTITION}=0, {PARTITION}=1 and so on, by their partition_numbers."
            )
        paths = sorted(os.listdir(os.path.join(folder, name)))
        paths = [p for p in paths if not p.startswith(("_", "."))]
        own = files.setdefault(int(number[1]), [])
        own += [os.path.join(folder, name, path) for path in paths]
    if not any(files.values()):
        raise ValueError(f"{folder!r} holds no files in folders {PARTITION}=0, ...")
    return {number: files[number] for number in sorted(files) if files[number]}


def _train_bucket(plan, layout, bucket, files):
    """Return the members of a bucket, and the summary of its files."""
    parts, whole = [], Summary()
    for partition, number, path, counts in files:
        frame = frame_of(_read(path, plan.name_of(number)))
        rows, own, places, summary = plan.checked(number, layout, frame)
        odd = np.flatnonzero(own != partition)
        if len(odd):
            raise ValueError(
                f"Row {places[odd[0]]} of {plan.name_of(number)} belongs to partition "
                f"{own[odd[0]]} and not to {partition}: with rows in a partition that is not "
                "theirs nothing is certified. Write the files by partition_numbers, with the "
                "hasher, n_partitions and spread_degree of the ensemble, on the same columns."
            )
        summary = summary._replace(n_sent=len(own))
        if not counts:
            summary = summary._replace(n_rows=0, n_left_out=0)
        whole += summary
        if rows is not None:
            parts.append((number, rows, own, places))
    if not parts:
        return [whole]
    numbers, rows, own, places = zip(*parts, strict=True)
    blocks = np.repeat(numbers, list(map(len, own)))
    names = RowNames(blocks, np.concatenate(places), plan.name_of)
    params = [part.params for part in rows]
    joined = Rows(
        join_tables([part.X for part in rows]),
        join_labels([part.y for part in rows]),
        None,
        {name: np.concatenate([each[name] for each in params]) for name in params[0]},
    )
    return [plan.train_rows(bucket, joined, np.concatenate(own), names), whole]


def _read(path, name, schema=False):
    """Return the rows of a Parquet file as a table of Arrow, or its schema."""
    parquet = importlib.import_module("pyarrow.parquet")
    try:
        # Not by pyarrow's datasets, which make a column of the name of the folder.
        with parquet.ParquetFile(path) as file:
            return file.schema_arrow if schema else file.read()
    except Exception as error:
        raise ValueError(
            f"{name[0].upper()}{name[1:]} is no whole Parquet file ({type(error).__name__}: "
            f"{error}): write it anew, or take it out."
        ) from error


def frame_of(table):
    """Return a table of Arrow as a frame in which no cell's value hangs on the cells beside it."""
    if PARTITION in table.column_names:  # some engines write it into the files as well
        table = table.drop_columns(PARTITION)
    # An integer beyond 2**53 would be rounded where another cell of its column is missing.
    return table.to_pandas(integer_object_nulls=True)
