"""Rows of a Dataset of Ray: the same as with Dask, by its ``map_batches`` and ``groupby``."""

import importlib
import pickle

import numpy as np
from sklearn.utils.validation import check_is_fitted

from .._fits import as_of_now
from ._blocks import types_of
from ._folder import frame_of
from ._layout import Layout, check_common, declared_frame
from ._plan import Summary

# Buckets for every processor where there are as many partitions: so that all end at one time.
_BUCKETS_A_PROCESSOR, _MOST_OUTPUTS = 8, 200
# Its blocks have no numbers.
_SOME_BLOCK = -1


def is_dataset(X):
    """Say whether X is a Dataset of Ray."""
    return type(X).__module__.startswith("ray.data") and hasattr(X, "map_batches")


class RayRows:
    """Training rows of a Dataset.

    Parameters
    ----------
    X : ray.data.Dataset
    y, groups, params
        As ``fit`` gets them: names of columns.

    Attributes
    ----------
    declared, features, dtypes, label_type, common_params, has_groups, names
        As of `DaskRows`, by the first block.
    """

    names = None

    def __init__(self, X, y, groups, params):
        self._X, self.has_groups = X, groups is not None
        table = X.take_batch(1, batch_format="pyarrow")
        meta = frame_of(table.schema.empty_table())
        if not isinstance(y, str):
            raise TypeError(f"y is a {type(y).__name__}: of a Dataset name a column of labels.")
        self._layout, rest = Layout.of(meta.columns, y, groups, params)
        if rest.groups is not None:
            raise TypeError(
                f"groups is a {type(groups).__name__}: of a Dataset name the columns of sources."
            )
        self.common_params = rest.params
        check_common(self.common_params)
        own = self._layout.cut(meta)
        columns = {"X": own.X, "groups": own.groups, **own.params}
        self.dtypes = {name: types_of(values) for name, values in columns.items()}
        self.features, self.declared = own.X, declared_frame(own.X)
        self.label_type = own.y.dtype if isinstance(own.y.dtype, np.dtype) else None

    def width(self, n_partitions, spread_degree):
        """Return how many adjacent partitions travel together."""
        n_threads = int(importlib.import_module("ray").cluster_resources().get("CPU", 1))
        n_wanted = _BUCKETS_A_PROCESSOR * n_threads * spread_degree
        return -(-n_partitions // min(n_partitions, n_wanted))

    def train(self, plan):
        """Yield a `TrainedPart` for every bucket with rows, and the `Summary` of all blocks."""
        n_buckets, plan = plan.n_buckets, importlib.import_module("ray").put(plan)
        how = {"batch_format": "pyarrow", "fn_kwargs": {"plan": plan, "layout": self._layout}}
        pieces = self._X.map_batches(_cut_batch, batch_size=None, **how)
        # By itself it makes some hundreds of partitions, most of them empty.
        groups = pieces.groupby("bucket", num_partitions=min(n_buckets + 1, _MOST_OUTPUTS))
        how["fn_kwargs"] = {"plan": plan}
        for row in groups.map_groups(_train_group, **how).iter_rows():
            found = pickle.loads(row["found"])
            if isinstance(found, Exception):
                raise found
            yield found


def _cut_batch(batch, plan, layout):
    """Return the pieces of a batch, and what is to be known of it, or why there is none."""
    plan = importlib.import_module("ray").get(plan)
    try:
        pieces, summary = plan.pieces_of(_SOME_BLOCK, layout, frame_of(batch))
    except Exception as error:  # Ray would bring it back as one of its own
        pieces, summary = [], error
    pieces = [*pieces, (plan.n_buckets, pickle.dumps(summary))]
    arrow = importlib.import_module("pyarrow")
    buckets, pieces = zip(*pieces, strict=True)
    return arrow.table(
        {"bucket": np.array(buckets), "piece": arrow.array(pieces, arrow.large_binary())}
    )


def _train_group(group, plan):
    """Return what was trained of a bucket, or is known of all blocks, or why there is none."""
    plan = importlib.import_module("ray").get(plan)
    bucket, pieces = group["bucket"][0].as_py(), group["piece"].to_pylist()
    try:
        if bucket == plan.n_buckets:
            found = list(map(pickle.loads, pieces))
            errors = [one for one in found if isinstance(one, Exception)]
            found = errors[0] if errors else sum(found, Summary())
        else:
            found = plan.train(bucket, pieces)
    except Exception as error:
        found = error
    arrow = importlib.import_module("pyarrow")
    return arrow.table({"found": arrow.array([pickle.dumps(found)], arrow.large_binary())})


def answers_of_dataset(ensemble, method, X, args, how):
    """Return a Dataset with the answers of a method beside the rows, in columns of their own.

    Parameters
    ----------
    ensemble : estimator
        Fitted on rows with names of columns; other columns of X are left as they are.
    method : str
    X : ray.data.Dataset
    args, how
        Further arguments of the method, the same for all rows.
    """
    check_is_fitted(ensemble, "feature_names_in_")
    shell = as_of_now(ensemble)
    shell.n_jobs, shell.memory, shell.verbose = 1, None, 0
    ref = importlib.import_module("ray").put(shell)
    asked = {"ensemble": ref, "method": method, "args": args, "how": how}
    return X.map_batches(_ask_batch, batch_format="pyarrow", fn_kwargs=asked)


def _ask_batch(batch, ensemble, method, args, how):
    ensemble = _of_this_process(ensemble)
    frame = frame_of(batch)[list(ensemble.feature_names_in_)]
    kind, dtype, shape = ensemble._form_of(method)
    answers = getattr(ensemble, method)(frame, *args, **how) if len(frame) else None
    columns = dtype.names or (method,)
    for name in columns:
        own = np.empty((0, *shape), dtype[name] if dtype.names else dtype)
        if answers is not None:
            own = np.asarray(getattr(answers, name) if kind else answers)
        values = list(own) if shape else own
        batch = batch.append_column("y_pred" if name == "predict" else name, [values])
    return batch


_HERE = {}


def _of_this_process(ref):
    """Return an ensemble that is unpickled once a process, and not once a batch."""
    if ref not in _HERE:
        _HERE.clear()
        _HERE[ref] = importlib.import_module("ray").get(ref)
    return _HERE[ref]
