"""Sums in one order."""


def add_up(terms):
    """Add arrays one by one: numpy's own sums choose their order by shape and strides."""
    terms = iter(terms)
    total = next(terms).copy()
    for term in terms:
        total += term
    return total
