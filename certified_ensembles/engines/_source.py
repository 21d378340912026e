"""Which engine holds the rows that an ensemble is given."""

from ._dask import DaskRows, cluster_of
from ._ray import RayRows, is_dataset


def source_of(X, y, groups, params):
    """Return the rows as they lie with an engine; None where they come to the caller.

    Parameters
    ----------
    X, y, groups, params
        As ``fit`` gets them.

    Returns
    -------
    source : DaskRows, RayRows or None
    """
    if is_dataset(X):
        return RayRows(X, y, groups, params)
    client = cluster_of(X)
    return None if client is None else DaskRows(client, X, y, groups, params)
