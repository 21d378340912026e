"""Which columns reach members as categories: the parameter `categorical_features`."""

import numpy as np


def categorical_mask(categorical_features, table):
    """Return which columns of a table are categories.

    Parameters
    ----------
    categorical_features : array-like of names, places or bool, "from_dtype" or None
        As in the estimators.
    table : Table

    Returns
    -------
    mask : ndarray of shape (n_columns,), bool, or None
        None if there is no such column.

    Raises
    ------
    ValueError
        If a name or place is not among the columns, or rows have no columns to choose from.
    """
    if categorical_features is None:
        return None
    if table.is_text or table.dense.ndim > 2:
        raise ValueError(
            f"categorical_features={categorical_features!r} names columns of a table, and X has "
            "none (it holds texts or images): set categorical_features=None."
        )
    mask = np.zeros(table.n_columns, dtype=bool)
    if isinstance(categorical_features, str):
        if categorical_features != "from_dtype":
            raise ValueError(
                f"categorical_features={categorical_features!r} is unknown: pass names, places or "
                "a mask of columns, 'from_dtype', or None."
            )
        if table.categories is not None:
            mask |= table.categories
    else:
        wanted = np.asarray(categorical_features)
        if wanted.dtype.kind == "b":
            if wanted.shape != mask.shape:
                raise ValueError(
                    f"categorical_features is a mask of shape {wanted.shape}, but X has "
                    f"{table.n_columns} columns: pass one entry a column."
                )
            mask |= wanted
        else:
            mask[[_place(value, table) for value in wanted.ravel().tolist()]] = True
    return mask if mask.any() else None


def _place(value, table):
    names = list(table.container.names) if table.container.kind in ("pandas", "polars") else []
    if isinstance(value, int) and value not in names:  # a place, unless a column is called so
        names = range(table.n_columns)
    if value not in names:
        raise ValueError(
            f"categorical_features names the column {value!r}, which X does not have: its columns "
            f"are {list(names)[:10]}."
        )
    return list(names).index(value)
