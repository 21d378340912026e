"""What the audit says about values and rows."""

import numpy as np


def plain(value):
    return value.item() if isinstance(value, np.generic) else value


def as_change(old, new):
    return f"{plain(old)!r} to {plain(new)!r}"


def as_list(values):
    values = [str(plain(value)) for value in values]
    return "[" + ", ".join(values[:12]) + (f", ... {len(values)} in all]" if values[12:] else "]")
