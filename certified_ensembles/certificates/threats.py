"""The operations of an attacker, and how many members one of them can change."""

# Threats that own all of some consecutive periods: a window in time, not a number of members.
TIME_THREATS = ("duration", "earliness")
THREATS = ("insertion_deletion", "label_flip", "replacement", *TIME_THREATS)


# The number of members that one operation of each threat can change, by what decides a row's
# partition.
_COSTS = {
    "features and label": (1, 2, 2),
    "features": (1, 1, 2),
    "source": (1, 1, 1),
    "period": (1, 1, 1),
}


def threat_cost(threat, decided_by):
    """Return how many members one operation of a threat can change.

    Parameters
    ----------
    threat : {"insertion_deletion", "label_flip", "replacement"}
        Insert or delete one row; change the label of one row; replace one row by another.
    decided_by : {"features and label", "features", "source", "period"}
        What decides the partition of a row. For "source" and "period" an operation is anything
        done to any number of rows of one source, or of one period. Where each member is trained
        on several periods, it costs as many times more.

    Returns
    -------
    cost : int
        1 or 2. The radius against the threat is ``radius // cost``.

    Raises
    ------
    ValueError
        If the threat is unknown, or one of time, which :func:`window_radius` answers.

    Examples
    --------
    >>> from certified_ensembles.certificates import threat_cost
    >>> threat_cost("label_flip", "features"), threat_cost("replacement", "features")
    (1, 2)
    """
    if threat not in THREATS:
        raise ValueError(f"threat={threat!r} is unknown: pass one of {list(THREATS)}.")
    if threat in TIME_THREATS:
        raise ValueError(
            f"threat={threat!r} counts consecutive periods, not operations of a fixed cost. It is "
            "certified row by row, by certify of a DeepPartitionAggregation that was fitted with "
            "periods: fit(X, y, periods=...)."
        )
    return _COSTS[decided_by][THREATS.index(threat)]
