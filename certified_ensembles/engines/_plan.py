"""A fit whose rows never meet: what is done with a block of rows, and with some partitions.

Nothing here knows an engine. A `FitPlan` travels to whoever holds rows. It cuts a block of them
into pieces, by the very functions with which a fit of one process checks, hashes and labels all
rows. Whoever has all pieces of some partitions gets their members trained, again by the functions
of one process. A piece is bytes, so that no engine can change a cell on the way: what was hashed
is what is trained on.

The types of a whole table are unknown here, and nobody needs them: a row is its values, and a
member looks at its own rows. What every row must agree on (the columns, the types of an array and
of labels) is declared before, and a block that disagrees is refused.
"""

import pickle
from typing import Any, NamedTuple

import numpy as np

from .._data.containers import n_rows
from .._data.joined import join_tables
from .._data.table import Table
from .._data.training_rows import TrainingRows
from .._fits import as_of_now
from .._member_warnings import taking_notes
from ._blocks import check_block, join_labels, named_block


class Rows(NamedTuple):
    """Rows and what belongs to each of them, of one block or, as collections, of all.

    Attributes
    ----------
    X : rows
    y : labels or targets
    groups : sources, or None
    params : dict
        Arguments of the estimator's ``fit`` with one entry a row.
    """

    X: Any
    y: Any
    groups: Any = None
    params: Any = {}


class Summary(NamedTuple):
    """What is to be known of one block, or of several, where nobody sees their rows.

    Attributes
    ----------
    n_rows, n_left_out, n_sent : int
        Rows that were given; those without a canonical form; and copies that were sent off.
    first_left_out : str or None
        How a message calls the first row that was left out.
    mixed : bool
        Whether some cells are no numbers.
    notes : tuple of (type of Warning, str)
    """

    n_rows: int = 0
    n_left_out: int = 0
    n_sent: int = 0
    first_left_out: Any = None
    mixed: bool = False
    notes: tuple = ()

    def __add__(self, other):
        return Summary(
            self.n_rows + other.n_rows,
            self.n_left_out + other.n_left_out,
            self.n_sent + other.n_sent,
            self.first_left_out or other.first_left_out,
            self.mixed or other.mixed,
            tuple(dict.fromkeys(self.notes + other.notes)),
        )


class TrainedPart(NamedTuple):
    """The members of a bucket.

    Attributes
    ----------
    bucket : int
    trained : Trained
        Errors by the members' places in the bucket.
    views : list of View
    labels : list of ndarray, or None
        The labels that each partition has; None for targets.
    sizes : dict of int to int
        Rows of every partition that came.
    n_rows : int
        Rows that came.
    notes : tuple of (type of Warning, str)
        What was said that is no member's.
    """

    bucket: int
    trained: Any
    views: list
    labels: Any
    sizes: dict
    n_rows: int
    notes: tuple = ()


class RowNames:
    """How errors call the rows of several blocks, in words where somebody asks.

    Parameters
    ----------
    block, row : ndarrays of shape (n_rows,), int
    name_of_block : callable
        Returns a block in words.
    """

    def __init__(self, block, row, name_of_block):
        self.block, self.row, self.name_of_block = block, row, name_of_block

    def __len__(self):
        return len(self.row)

    def __getitem__(self, index):
        if np.ndim(index):
            return RowNames(self.block[index], self.row[index], self.name_of_block)
        return f"{self.row[index]} of {self.name_of_block(int(self.block[index]))}"

    def first(self, n):
        """Return the names of the first rows."""
        return [self[i] for i in np.lexsort((self.row, self.block))[:n]]


class FitPlan:
    """What is done with rows, wherever they are; it pickles.

    Parameters
    ----------
    ensemble : estimator
        Without a fit, but with its partitions drawn.
    members : members, not yet trained
    source : DaskRows or FolderRows
        What is to be known of the rows before they are read.

    Attributes
    ----------
    declared : Table
        Without rows: the container and the columns that every block has.
    dtypes : dict of str to list of dtype
        As :func:`check_block` takes them.
    label_type : dtype or None
        What labels are in every block; None where no numpy type says so.
    params : dict
        Arguments of the estimator's ``fit`` that are the same for all rows.
    width : int
        Partitions in a bucket: rows of adjacent partitions travel, and train members, together.
    names : sequence of str, or None
        What messages call the blocks; None: by their numbers.
    """

    def __init__(self, ensemble, members, source):
        self.ensemble, self.members = ensemble, members
        self.declared, self.label_type = source.declared, source.label_type
        self.params, self.names, self.dtypes = source.common_params, source.names, source.dtypes
        n_partitions, spread = ensemble._n_partitions, ensemble.spread_
        self.width = source.width(n_partitions, 1 if spread is None else spread.shape[1])
        self.seeds = ensemble._validate_seeds(n_partitions)

    @property
    def n_buckets(self):
        """Number of buckets."""
        return -(-self.ensemble._n_partitions // self.width)

    def name_of(self, block):
        """Return a block in words."""
        if self.names is not None:
            return self.names[block]
        return f"block {block} of X" if block >= 0 else "a block of X"

    # ------------------------------------------------------------ a block of rows

    def checked(self, block, layout, X, rest=None):
        """Check the rows of a block, and find their partitions.

        Parameters
        ----------
        block : int
        layout : Layout
        X : rows, with the columns that the layout names
        rest : Rows, default=None
            What is no column of X.

        Returns
        -------
        rows : Rows or None
            X as a Table; None where no row is left.
        partition : ndarray of int
        places : ndarray of int
            Which rows of the block these are.
        summary : Summary
        """
        n_given = n_rows(X)
        with named_block(self.name_of(block)), taking_notes() as notes:
            rows = layout.cut(X, rest)
            check_block(self.declared, self.dtypes, rows)
            ensemble, everything = as_of_now(self.ensemble), np.arange(n_given)
            rows, known = _rows_to_fit(ensemble, rows) if n_given else (None, everything > 0)
            places = everything if known is None else np.flatnonzero(known)
            partition = everything[:0]
            if rows is not None:
                y = ensemble._take_targets(rows.X, rows.y)
                self._check_label_type(y)
                partition = ensemble._assign_partitions(rows.X, y, rows.groups)
                rows = Rows(rows.X, y, None, rows.params)
        n_left_out, first = n_given - len(places), None
        if n_left_out:
            first = f"row {np.setdiff1d(everything, places)[0]} of {self.name_of(block)}"
        mixed = rows is not None and bool(rows.X.coded) and not rows.X.is_text
        summary = Summary(n_given, n_left_out, 0, first, mixed, _without_members(notes))
        return rows, partition, places, summary

    def _check_label_type(self, y):
        if self.label_type is None or self.members.is_regression:
            return
        own, declared = np.asarray(y).dtype, np.dtype(self.label_type)
        if own != declared and not (own.kind == declared.kind and own.kind in "USO"):
            raise TypeError(
                f"y holds labels of dtype {own}, and {declared} was declared: one type cannot be "
                "told from the other in what members learn. Convert the column before."
            )

    def pieces_of(self, block, layout, X, rest=None):
        """Cut a block into pieces, one for each bucket that gets rows of it.

        Parameters
        ----------
        block, layout, X, rest
            As for :meth:`checked`.

        Returns
        -------
        pieces : list of (int, bytes)
            Buckets, and what to send there.
        summary : Summary
        """
        rows, partition, places, summary = self.checked(block, layout, X, rest)
        if rows is None:
            return [], summary
        pieces = []
        for bucket, own in self._dealt(partition):
            table = rows.X.take(own)
            params = {name: np.asarray(v)[own] for name, v in rows.params.items()}
            what = (table.dense, table.coded, rows.y[own], params, partition[own], places[own])
            pieces.append((bucket, pickle.dumps((block, *what), pickle.HIGHEST_PROTOCOL)))
            summary = summary._replace(n_sent=summary.n_sent + len(own))
        return pieces, summary

    def _dealt(self, partition):
        """Yield every bucket that gets rows, and which of the rows these are."""
        spread = self.ensemble.spread_
        members = partition[:, None] if spread is None else spread[partition]
        buckets = np.sort(members // self.width, axis=1)
        new = np.ones(buckets.shape, dtype=bool)
        new[:, 1:] = buckets[:, 1:] != buckets[:, :-1]  # once to each bucket
        row, column = np.nonzero(new)
        buckets = buckets[row, column]
        order = np.argsort(buckets, kind="stable")
        row, buckets = row[order], buckets[order]
        starts = np.flatnonzero(np.append(True, buckets[1:] != buckets[:-1]))
        yield from zip(buckets[starts].tolist(), np.split(row, starts[1:]), strict=True)

    # ------------------------------------------------------------ rows of a bucket

    def train(self, bucket, pieces):
        """Train the members of a bucket on all of its pieces.

        Parameters
        ----------
        bucket : int
        pieces : iterable of bytes
            As :meth:`pieces_of` made them, in any order.

        Returns
        -------
        part : TrainedPart
        """
        parts = sorted(map(pickle.loads, pieces), key=lambda part: part[0])
        blocks, dense, coded, y, params, partition, places = zip(*parts, strict=True)
        container, categories = self.declared.container, self.declared.categories
        tables = [
            Table(own, container, columns, categories)
            for own, columns in zip(dense, coded, strict=True)
        ]
        names = RowNames(
            np.repeat(blocks, list(map(len, y))), np.concatenate(places), self.name_of
        )
        rows = Rows(
            join_tables(tables),
            join_labels(y),
            None,
            {name: np.concatenate([own[name] for own in params]) for name in params[0]},
        )
        return self.train_rows(bucket, rows, np.concatenate(partition), names)

    def train_rows(self, bucket, rows, partition, names):
        """Train the members of a bucket on its rows.

        Parameters
        ----------
        bucket : int
        rows : Rows
            X as a Table.
        partition : ndarray of int
            The partition of every row.
        names : RowNames

        Returns
        -------
        part : TrainedPart
        """
        ensemble, n_seeds = as_of_now(self.ensemble), self.members.n_seeds
        ensemble.partition_ = partition
        first = bucket * self.width
        partitions = ensemble._rows_of_member()[first : first + self.width]
        seeds = self.seeds[first * n_seeds : (first + len(partitions)) * n_seeds]
        with taking_notes() as notes:
            trained, views = self.members.train(
                TrainingRows(rows.X, numbers=names),
                rows.y,
                partitions,
                seeds,
                self.params | rows.params,
                n_jobs=1,
                verbose=0,
                first=first * n_seeds,
            )
        labels = None
        if not self.members.is_regression:
            labels = [np.unique(rows.y[own]) for own in partitions]
        came, counts = np.unique(partition, return_counts=True)
        sizes = dict(zip(came.tolist(), counts.tolist(), strict=True))
        notes = _without_members(notes)
        return TrainedPart(bucket, trained, views, labels, sizes, len(rows.y), notes)


def _rows_to_fit(ensemble, rows):
    """Return the rows of a block with a canonical form, None if none has one; and which have."""
    try:
        X, y, params, groups, known = ensemble._rows_to_fit(
            rows.X, rows.y, rows.params, rows.groups
        )
    except (TypeError, ValueError):
        if ensemble.on_error == "raise" or ensemble._takes_any(rows.X, rows.y):
            raise
        return None, np.zeros(n_rows(rows.X), dtype=bool)
    return Rows(X, y, groups, params), known


def _without_members(notes):
    """Return warnings as ``(category, text)``, each once."""
    return tuple(dict.fromkeys((note.category, note.text) for note in notes))
