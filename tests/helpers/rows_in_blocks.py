"""An engine of one process: blocks of rows that never meet, and pieces that come in any order."""

import numpy as np

from certified_ensembles._data.table import Container, Table
from certified_ensembles._ensemble.apart import fit_apart
from certified_ensembles._fits import built_aside
from certified_ensembles.engines._blocks import types_of
from certified_ensembles.engines._layout import Layout, declared_frame
from certified_ensembles.engines._plan import Rows


class InBlocks:
    """Rows of pandas or numpy, cut into blocks at random.

    Parameters
    ----------
    X : DataFrame, Series of texts or array
    y, groups, params
        Names of columns, or values.
    n_blocks, n_buckets, seed : int
    """

    names = None

    def __init__(self, X, y, groups=None, n_blocks=5, n_buckets=4, seed=0, **params):
        rng = np.random.default_rng(seed)
        self.n_buckets, self.rng = n_buckets, rng
        self.layout, rest = Layout.of(getattr(X, "columns", ()), y, groups, params)
        self.has_groups, self.common_params = groups is not None, {}
        order, owner = rng.permutation(len(X)), rng.integers(n_blocks, size=len(X))
        self.blocks = []
        for block in range(n_blocks):
            own = order[owner == block]
            others = Rows(None, *(v if v is None else np.asarray(v)[own] for v in rest[1:3]))
            others = others._replace(params={k: v[own] for k, v in rest.params.items()})
            self.blocks.append((X.iloc[own] if hasattr(X, "iloc") else X[own], others))
        if hasattr(X, "iloc"):
            self.features = self.layout.cut(X.iloc[:0]).X
            self.declared = declared_frame(self.features)
        else:
            self.features = np.zeros((1, *X.shape[1:]), X.dtype)
            self.declared = Table(self.features[:0], Container("array"))
        own = self.layout.cut(X.iloc[:0]) if hasattr(X, "iloc") else Rows(None, None)
        columns = {"X": own.X, "groups": own.groups, **own.params}
        self.dtypes = {name: types_of(values) for name, values in columns.items()}
        labels = np.asarray(X[y] if isinstance(y, str) else y)
        self.label_type = labels.dtype

    def width(self, n_partitions, spread_degree):
        return -(-n_partitions // self.n_buckets)

    def train(self, plan):
        sent = {}
        for number, (X, rest) in enumerate(self.blocks):
            pieces, summary = plan.pieces_of(number, self.layout, X, rest)
            yield summary
            for bucket, piece in pieces:
                sent.setdefault(bucket, []).append(piece)
        for bucket in self.rng.permutation(sorted(sent)):
            yield plan.train(
                int(bucket), [sent[bucket][i] for i in self.rng.permutation(len(sent[bucket]))]
            )


def fitted_in_blocks(ensemble, X, y, groups=None, **how):
    """Fit an ensemble on blocks that never meet."""
    with built_aside(ensemble) as new:
        fit_apart(new, InBlocks(X, y, groups, **how))
    return ensemble
