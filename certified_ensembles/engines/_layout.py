"""Where labels, sources and weights stand: in columns of the rows, or by themselves."""

from typing import Any, NamedTuple

import numpy as np

from .._data.table import Container, Table
from ._plan import Rows


class Layout(NamedTuple):
    """The columns of a frame that are not features, by what they are for.

    Attributes
    ----------
    y, groups, params : str, list of str, dict of str to str
        Names of columns; None, or absent, where it is no column.
    """

    y: Any = None
    groups: Any = None
    params: Any = {}

    @classmethod
    def of(cls, columns, y, groups, params):
        """Return the layout of a frame, given the arguments of ``fit``.

        Parameters
        ----------
        columns : sequence of str
        y, groups, params
            As in :class:`Rows`; a name stands for a column, and is refused if there is none.

        Returns
        -------
        layout : Layout
        rest : Rows
            What is no column.
        """
        columns = list(columns)
        names = {"y": y if isinstance(y, str) else None}
        several = isinstance(groups, list) and all(isinstance(name, str) for name in groups)
        names["groups"] = groups if isinstance(groups, str) or several else None
        for what, value in names.items():
            for name in [value] if isinstance(value, str) else value or []:
                if name not in columns:
                    raise ValueError(
                        f"{what}={value!r} names a column that X does not have: its columns are "
                        f"{columns[:10]}."
                    )
        own = {k: v for k, v in params.items() if isinstance(v, str) and v in columns}
        rest = Rows(
            None,
            y if names["y"] is None else None,
            groups if names["groups"] is None else None,
            {k: v for k, v in params.items() if k not in own},
        )
        return cls(names["y"], names["groups"], own), rest

    @property
    def names(self):
        """The names of all of these columns."""
        groups = [self.groups] if isinstance(self.groups, str) else self.groups or []
        own = [*([] if self.y is None else [self.y]), *groups, *self.params.values()]
        return list(dict.fromkeys(own))

    def cut(self, frame, rest=None):
        """Return the rows of a frame, each thing by itself.

        Parameters
        ----------
        frame : dataframe, or other rows where no column is named
        rest : Rows, default=None
            What is no column.
        """
        rest = Rows(None, None) if rest is None else rest
        names = self.names
        if not names:
            return rest._replace(X=frame)
        lacking = [name for name in names if name not in frame.columns]
        if lacking:
            raise ValueError(f"it lacks the columns {lacking}, which fit was told of.")
        return Rows(
            frame.drop(columns=names),
            rest.y if self.y is None else frame[self.y],
            rest.groups if self.groups is None else frame[self.groups],
            rest.params | {name: frame[column] for name, column in self.params.items()},
        )


def declared_frame(meta):
    """Return the table without rows that stands for blocks like an empty frame of pandas."""
    if meta.ndim == 1:
        return Table(np.empty((0, 1)), Container("series", meta.name))
    categories = np.array([hasattr(dtype, "categories") for dtype in meta.dtypes], dtype=bool)
    return Table(
        np.empty((0, meta.shape[1])), Container("pandas", meta.columns), categories=categories
    )


def check_common(params):
    """Refuse arguments of ``fit`` that have one entry a row, but come by themselves."""
    for name, value in params.items():
        if hasattr(value, "__len__") and not isinstance(value, str | bytes | dict):
            raise TypeError(
                f"{name} is a {type(value).__name__} in memory, and rows never meet: pass the "
                "name of a column of X, or, with Dask, a collection with the blocks of X."
            )
