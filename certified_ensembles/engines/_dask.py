"""Rows of a Dask collection: hashed in their blocks, shuffled, trained where they arrive."""

import functools
import importlib
import pickle
import sys
import uuid
import weakref

import numpy as np
from sklearn.utils.validation import check_is_fitted

from .._data.table import Container, Table
from .._fits import as_of_now
from ._blocks import check_types, types_of
from ._layout import Layout, check_common, declared_frame
from ._plan import Rows, Summary

# Buckets for every thread of the cluster where X has fewer blocks, so that all end at one time.
_BUCKETS_A_THREAD = 4


def cluster_of(X):
    """Return the client of the cluster on which a collection of Dask is to be worked on, or None.

    None where X is no such collection, or there is no cluster: then it goes through the caller.
    """
    if not hasattr(X, "__dask_graph__") or "distributed" not in sys.modules:
        return None
    try:
        return sys.modules["distributed"].default_client()
    except ValueError:
        return None


class DaskRows:
    """Training rows of a Dask DataFrame, of a Series of texts, or of an Array.

    Parameters
    ----------
    client : distributed.Client
    X, y, groups, params
        As ``fit`` gets them: collections with the same blocks, or names of columns of X.

    Attributes
    ----------
    declared : Table
        Without rows; what every block has to look like.
    label_type : dtype or None
        What all labels are; None where no numpy type says so.
    common_params : dict
        Arguments of the estimator's ``fit`` without an entry for each row.
    has_groups : bool
    dtypes : dict of str to list of dtype
        Of columns, by what they are for.
    names : None
        What messages call the blocks: by their numbers.
    """

    names = None

    def __init__(self, client, X, y, groups, params):
        if y is None:
            raise ValueError(
                "y is None, but labels are needed: pass a Dask Series or Array with the blocks of "
                "X, or the name of a column of X."
            )
        self._client, self.has_groups = client, groups is not None
        self._layout, rest = Layout.of(getattr(X, "columns", ()), y, groups, params)
        self._X = X if is_dask_frame(X) else whole_rows(X)
        own = {k: v for k, v in rest.params.items() if hasattr(v, "__dask_graph__")}
        self.common_params = {k: v for k, v in rest.params.items() if k not in own}
        check_common(self.common_params)
        others = {"y": rest.y, "groups": rest.groups}
        self._others = {k: self._aligned(k, v) for k, v in others.items() if v is not None}
        self._params = {k: self._aligned(k, v) for k, v in own.items()}
        if is_dask_frame(X):
            labels = self._others["y"] if self._layout.y is None else X[self._layout.y]
            features = self._layout.cut(X._meta).X
            self.declared, self.features = declared_frame(features), features
        else:
            labels, shape = self._others["y"], X.shape[1:]
            self.declared = Table(np.empty((0, *shape), X.dtype), Container("array"))
            self.features = np.zeros((1, *shape), X.dtype)
        self.label_type = labels.dtype if isinstance(labels.dtype, np.dtype) else None
        meta = self._layout.cut(X._meta) if is_dask_frame(X) else Rows(None, None)
        collections = {"X": meta.X, "groups": meta.groups, **meta.params, **self._params}
        if "groups" in self._others:
            collections["groups"] = self._others["groups"]
        self.dtypes = {name: types_of(values) for name, values in collections.items()}

    def _aligned(self, name, values):
        """Return what has an entry a row as a collection with the blocks of X."""
        if not hasattr(values, "__dask_graph__"):
            if is_dask_frame(self._X) or np.isnan(self._X.shape[0]):
                raise TypeError(
                    f"{name} is a {type(values).__name__} in memory, and the blocks of X have "
                    "unknown lengths: pass the name of a column of X, or a Dask Series with the "
                    "same blocks."
                )
            values = importlib.import_module("dask.array").from_array(
                np.asarray(values), chunks=(self._X.chunks[0], *np.shape(values)[1:])
            )
        if hasattr(values, "chunks") and not is_dask_frame(self._X):
            known = [not np.isnan(own.shape[0]) for own in (values, self._X)]
            if all(known) and values.chunks[0] != self._X.chunks[0]:
                values = values.rechunk({0: self._X.chunks[0]})
        if n_blocks(values) != n_blocks(self._X):
            raise ValueError(
                f"{name} has {n_blocks(values)} blocks and X has {n_blocks(self._X)}: take both "
                "from one collection, or name a column of X."
            )
        return values

    def width(self, n_partitions, spread_degree):
        """Return how many adjacent partitions travel together."""
        n_threads = sum(self._client.nthreads().values())
        n_wanted = max(n_blocks(self._X) * spread_degree, _BUCKETS_A_THREAD * n_threads)
        return -(-n_partitions // min(n_partitions, n_wanted))

    def shuffled(self, plan):
        """Return the plan, as tasks share it, and the pieces of all blocks, by bucket."""
        dask = importlib.import_module("dask")
        frames = importlib.import_module("dask.dataframe")
        # A name of its own for every fit: what another one has left behind is not taken for this.
        shared = dask.delayed(plan, name=f"fit-plan-{uuid.uuid4().hex}", traverse=False)
        names, keys = (list(self._others), list(self._params)), _output_keys(plan.n_buckets + 1)
        cut = dask.delayed(_cut_block, pure=False)
        blocks = _delayed_blocks([self._X, *self._others.values(), *self._params.values()])
        parts = [cut(shared, i, self._layout, names, keys, own) for i, own in enumerate(blocks)]
        wire = frames.from_delayed(parts, meta=_wire((), keys), verify_meta=False)
        how = {"npartitions": len(keys), "shuffle_method": "p2p", "ignore_index": True}
        return shared, wire.shuffle("output", **how)

    def train(self, plan):
        """Yield a `TrainedPart` for every bucket with rows, and the `Summary` of all blocks."""
        shared, wire = self.shuffled(plan)
        train = importlib.import_module("dask").delayed(_train_buckets, pure=False)
        futures = self._client.compute([train(shared, part) for part in wire.to_delayed()])
        as_completed = importlib.import_module("distributed").as_completed
        try:
            for _, found in as_completed(futures, with_results=True):
                yield from found
        finally:
            self._client.cancel(futures)


def _cut_block(plan, block, layout, names, keys, blocks):
    """Return the pieces of a block, and what is to be known of it, as rows of a frame."""
    others, params = names
    X, *own = _flat(blocks)
    rest = Rows(None, None)._replace(**dict(zip(others, own, strict=False)))
    rest = rest._replace(params=dict(zip(params, own[len(others) :], strict=True)))
    pieces, summary = plan.pieces_of(block, layout, X, rest)
    return _wire([*pieces, (plan.n_buckets, pickle.dumps(summary))], keys)


def _wire(pieces, keys):
    """Return pieces as the frame that travels: bytes, in which no engine changes a cell."""
    pandas, arrow = importlib.import_module("pandas"), importlib.import_module("pyarrow")
    buckets = np.array([bucket for bucket, _ in pieces], dtype=np.int64)
    binary = pandas.ArrowDtype(arrow.large_binary())
    return pandas.DataFrame(
        {
            "output": np.asarray(keys, dtype=np.float64)[buckets],
            "bucket": buckets,
            "piece": pandas.array([piece for _, piece in pieces], dtype=binary),
        }
    )


def _output_keys(n):
    """Return numbers of which the engine's shuffle sends each to an output of its own.

    It hashes what it shuffles by: buckets by their own numbers would come by twos and threes. All
    that hangs on this is how evenly work is shared: a bucket comes whole, wherever it comes.
    """
    pandas = importlib.import_module("pandas")
    partitioning_index = importlib.import_module("dask.dataframe.shuffle").partitioning_index
    keys, start = np.full(n, np.nan), 0
    for _ in range(64):
        numbers = np.arange(start, start + 16 * n, dtype=np.float64)
        outputs = np.asarray(partitioning_index(pandas.DataFrame({"output": numbers}), n))
        keys[outputs[::-1]] = numbers[::-1]
        start += len(numbers)
        if not np.isnan(keys).any():
            break
    missing = np.isnan(keys)
    keys[missing] = np.flatnonzero(missing)
    return keys


def _train_buckets(plan, wire):
    """Return what was trained of the buckets that came, and the summary if that is among them."""
    found = []
    pieces = wire["piece"].array
    for bucket, index in wire.groupby("bucket").indices.items():
        own = (pieces[int(i)] for i in index)
        if bucket == plan.n_buckets:
            found.append(sum(map(pickle.loads, own), Summary()))
        else:
            found.append(plan.train(int(bucket), own))
    return found


# ---------------------------------------------------------------- collections


def is_dask_frame(X):
    """Say whether a collection of Dask is a DataFrame or a Series."""
    return hasattr(X, "divisions")


def n_blocks(X):
    """Return the number of blocks, of rows, of a collection."""
    return X.npartitions if is_dask_frame(X) else X.numblocks[0]


def _delayed_blocks(collections):
    """Return the blocks of several collections, those that belong together in one object.

    What comes of one source is read once for all of them.
    """
    frames = [X for X in collections if is_dask_frame(X)]
    arrays = [X for X in collections if not is_dask_frame(X)]
    places = [is_dask_frame(X) for X in collections]
    sides = []
    if frames:
        together = importlib.import_module("dask.dataframe").map_partitions(
            _side_by_side,
            *frames,
            meta=frames[0]._meta,
            align_dataframes=False,
            enforce_metadata=False,
        )
        sides.append(together.to_delayed())
    for X in importlib.import_module("dask").optimize(*arrays):
        sides.append(X.to_delayed(optimize_graph=False).ravel().tolist())
    return [(places, *own) for own in zip(*sides, strict=True)]


def _side_by_side(*blocks):
    return blocks


def _flat(blocks):
    """Return blocks in the order of their collections: those of frames come in one tuple."""
    places, *own = blocks
    frames = iter(own.pop(0) if any(places) else ())
    arrays = iter(own)
    return [next(frames if is_frame else arrays) for is_frame in places]


def whole_rows(X):
    """Return an Array of Dask in blocks of whole rows, or raise if it holds no numbers."""
    if not hasattr(X, "chunks") or X.ndim < 2 or X.dtype.kind not in "biuf":
        raise TypeError(
            f"X={X!r} is a Dask collection other than a DataFrame, a Series of texts, or an Array "
            "of numbers with two axes or more: pass one of these."
        )
    if not isinstance(X._meta, np.ndarray):
        raise TypeError(
            f"X is a Dask array with blocks of type {type(X._meta).__name__}: only blocks of "
            "numpy arrays are taken; compute X to pass it as a sparse matrix."
        )
    return X.rechunk(dict.fromkeys(range(1, X.ndim), -1))


# ---------------------------------------------------------------- answers

# The members of an ensemble on the workers of clusters, as long as somebody has that ensemble.
_SENT = weakref.WeakKeyDictionary()


def answers_of_blocks(client, ensemble, method, X, args, how):
    """Return what a method answers about the blocks of a collection, as Arrays of Dask.

    Parameters
    ----------
    client : distributed.Client
    ensemble : estimator
        Fitted; what it is now is what will answer, whenever that is computed.
    method : str
    X : Dask DataFrame, Series or Array
    args, how
        Further arguments of the method, the same for all rows.

    Returns
    -------
    answers : Array, or a named tuple of them
    """
    check_is_fitted(ensemble)
    for value in (*args, *how.values()):
        if getattr(value, "ndim", 0):
            raise TypeError(
                f"{method} of a Dask collection takes one value for all rows, got a "
                f"{type(value).__name__}: ask block by block, with X.map_partitions or map_blocks."
            )
    kind, dtype, shape = ensemble._form_of(method, *args, **how)
    members = _on_workers(client, ensemble._members)
    shell = as_of_now(ensemble)
    for name in ("_members", "estimators_", "errors_"):
        vars(shell).pop(name, None)
    shell.n_jobs, shell.memory, shell.verbose = 1, None, 0
    # In one object, into which dask does not look.
    kept = _Kept((shell, method, args, how, types_of(X) if is_dask_frame(X) else []))
    task = functools.partial(_ask_block, kept, dtype, shape)
    token = f"{method}-{uuid.uuid4().hex}"
    if is_dask_frame(X):
        meta = np.empty((0, *shape), dtype)
        answers = X.map_partitions(task, members, meta=meta, token=token)
    else:
        X = whole_rows(X)
        axes = list(range(1, X.ndim))
        cut = {"drop_axis": axes} if not shape else {"drop_axis": axes[1:]}
        chunks = {"chunks": (X.chunks[0], *((n,) for n in shape))} if shape else {}
        answers = X.map_blocks(
            task,
            members,
            dtype=dtype,
            name=token,
            meta=np.empty((0, *shape), dtype),
            **cut,
            **chunks,
        )
    return answers if kind is None else kind(*(answers[name] for name in dtype.names))


class _Kept:
    """Holds what dask is not to look into."""

    def __init__(self, value):
        self.value = value


def _on_workers(client, members):
    """Return a future of members that every worker holds, and sends no further."""
    own = _SENT.setdefault(members, {})
    if client.id not in own or own[client.id].status != "finished":
        (own[client.id],) = client.scatter([members], broadcast=True, hash=False)
    return own[client.id]


def _ask_block(kept, dtype, shape, X, members):
    """Return the answers about one block, of one type whatever they are."""
    shell, method, args, how, types = kept.value
    answers = np.empty((len(X), *shape), dtype)
    check_types(types, X)
    if len(X):
        ensemble = as_of_now(shell)
        ensemble._members, ensemble.estimators_ = members, members.estimators
        ensemble.errors_ = dict(members.errors)
        own = getattr(ensemble, method)(X, *args, **how)
        if dtype.names is None:
            answers[...] = own
        for name in dtype.names or ():
            answers[name] = getattr(own, name)
    return answers
