"""One cell as a value: a number, a text, a time, or missing.

What the container called the column does not count: ``True``, ``1``, ``numpy.float32(1)`` and
``Decimal(1)`` are one number; ``None``, NaN, ``pandas.NA`` and NaT are one missing cell; a time
is its instant, whatever its unit and zone.
"""

import datetime
import decimal
import fractions
import functools
import numbers

import numpy as np

# Kinds of cells. LONG: a number that no double holds. ODD_TIME: a time beyond nanoseconds.
MISSING, NUMBER, LONG, TEXT, BYTES, TIME, SPAN, ODD_TIME = range(8)

# Types whose equal values are equal cells, so that one look-up serves all of them.
_PLAIN = {str, bytes, int, float, bool, type(None)}
# Units of time in the order in which they are tried; the first that is exact is the cell's.
_UNITS = ("ns", "us", "s", "ps", "fs", "as")


class CellError(TypeError):
    """A cell has no canonical form; the message names the value and the remedy."""


def _refuse(value, why="has no canonical form", remedy="encode the column first"):
    raise CellError(
        f"A cell of type {type(value).__name__} ({value!r:.80}) {why}: the argument must be a "
        f"string or a number (or a date, or missing); {remedy}, or drop the row."
    )


def _long_integer(value):
    """Return an exact integer as a double where that holds it, else as it is."""
    try:
        high = float(value)
        low = int(value) - int(high)
        exact = float(low) == low
    except OverflowError:
        exact = False
    if not exact:
        _refuse(int(value), "is too large to be told from its neighbours", "pass it as text")
    return high if not low else int(value)


def _real(value):
    if value != value:  # only NaN differs from itself
        return None
    high = float(value)
    return high if high == value else value  # a long double


def _rational(value):
    if value != value:
        return None
    try:
        high = float(value)
    except OverflowError:
        high = np.inf
    if high == value:
        return high
    if value == int(value):
        return _long_integer(int(value))
    return _refuse(value, "is no double", "convert the column to float")


def _instant(value):
    """Return a datetime64 or timedelta64 in the first unit that holds it exactly."""
    if np.isnat(value):
        return None
    kind = value.dtype.kind
    if np.datetime_data(value.dtype)[0] == "generic":
        _refuse(value, "has no unit", "give it one, such as numpy.timedelta64(1, 'D')")
    for unit in _UNITS:
        other = value.astype(f"{kind}8[{unit}]")
        # Out of range it wraps around, and does not come back as the same instant.
        if other.astype(value.dtype) == value and (other > type(other)(0, unit)) == (
            value > value.dtype.type(0, np.datetime_data(value.dtype)[0])
        ):
            return other
    return _refuse(value, "is beyond the times that numpy knows", "pass it as text")


def _datetime(value):
    if value.tzinfo is not None:
        value = value.astimezone(datetime.UTC).replace(tzinfo=None)
    if hasattr(value, "to_datetime64"):  # a Timestamp of pandas keeps its nanoseconds
        return _instant(value.to_datetime64())
    return _instant(np.datetime64(value))


def _timedelta(value):
    if hasattr(value, "to_timedelta64"):
        return _instant(value.to_timedelta64())
    return _instant(np.timedelta64(value))


# The first class that a type is a subclass of decides.
_CONVERTERS = (
    (str, TEXT, lambda v: str.__getitem__(v, slice(None))),
    (bytes, BYTES, lambda v: bytes.__getitem__(v, slice(None))),
    (bool | np.bool_, NUMBER, float),
    (np.datetime64 | np.timedelta64, None, _instant),
    (numbers.Integral, None, _long_integer),
    (float | np.floating, None, _real),
    (decimal.Decimal | fractions.Fraction, None, _rational),
    (datetime.datetime, None, _datetime),
    (datetime.date, None, lambda v: _instant(np.datetime64(v, "D"))),
    (datetime.timedelta, None, _timedelta),
)


@functools.lru_cache(maxsize=1024)
def _converter(type_):
    if type_ is type(None) or type_.__name__ in ("NAType", "NaTType"):
        return lambda value: None
    for base, _, convert in _CONVERTERS:
        if issubclass(type_, base):
            return convert
    return _refuse


def canonical_cell(value):
    """Return a cell as None (missing), a float, an exact long number, a text or a time.

    Parameters
    ----------
    value : object
        Any scalar that a container may hold.

    Returns
    -------
    cell : None, float, int, numpy.longdouble, str, bytes, datetime64 or timedelta64
        Doubles wherever they are exact; times in nanoseconds wherever these are.

    Raises
    ------
    CellError
        If the value has no canonical form; the message names it and the remedy.
    """
    return _converter(type(value))(value)


def has_form(value):
    """Say whether a cell has a canonical form."""
    try:
        hash(value)
        canonical_cell(value)
    except Exception:
        return False
    return True


def kind_of(cell):
    """Return the kind of a canonical cell."""
    if cell is None:
        return MISSING
    if isinstance(cell, str | bytes):
        return TEXT if isinstance(cell, str) else BYTES
    if isinstance(cell, np.datetime64 | np.timedelta64):
        if np.datetime_data(cell.dtype)[0] != "ns":
            return ODD_TIME
        return TIME if isinstance(cell, np.datetime64) else SPAN
    return NUMBER if isinstance(cell, float) else LONG


# Types of numbers that numpy turns into doubles as they are; None becomes NaN.
PLAIN_NUMBERS = {int, float, bool, type(None)}


def as_doubles(values):
    """Return cells of the types of `PLAIN_NUMBERS` as doubles; None if one is too large."""
    try:
        doubles = np.array(values, dtype=np.float64)
    except OverflowError:
        return None
    with np.errstate(invalid="ignore"):
        return None if np.nanmax(np.abs(doubles), initial=0.0) >= 2.0**53 else doubles


def factorize(values):
    """Return the codes of cells, and the different canonical cells that these stand for.

    Parameters
    ----------
    values : sequence of objects

    Returns
    -------
    codes : ndarray of int32
    levels : list
        Canonical cells, in no particular order, each of them once.

    Raises
    ------
    CellError
        If a cell has no canonical form. ``error.place`` is its place in the sequence.
    """
    types = set(map(type, values))
    first = {}
    try:
        if types <= _PLAIN:
            codes = [first.setdefault(value, len(first)) for value in values]
            found = list(first)
        else:  # an integer and a span of as many nanoseconds are equal to Python
            codes = [first.setdefault((type(v), v), len(first)) for v in values]
            found = [value for _, value in first]
        levels = found if types == {str} else list(map(canonical_cell, found))
    except (TypeError, ValueError) as error:  # also where a cell cannot be hashed
        raise _placed(values, error) from error
    codes = np.array(codes, dtype=np.int32)
    if types == {str}:
        return codes, levels
    merged, unique = np.empty(len(levels), dtype=np.int32), {}
    for i, cell in enumerate(levels):
        merged[i] = unique.setdefault((kind_of(cell), cell), len(unique))
    return merged[codes] if len(codes) else codes, [cell for _, cell in unique]


def _placed(values, error):
    """Return the error of the first cell that has no canonical form, with its place."""
    for place, value in enumerate(values):
        try:
            canonical_cell(value)
        except CellError as own:
            own.place = place
            return own
    return error


def cell_key(cell, telling=False):
    """Return bytes that sort like a cell and end themselves: numbers, texts, bytes, missing.

    Parameters
    ----------
    cell : a canonical cell
    telling : bool, default=False
        Whether a time gets other bytes than the text that spells it. Hashes do not need it, an
        order does.
    """
    if cell is None:
        return b"\x04"
    if isinstance(cell, str):
        return b"\x02" + _ended(cell.encode("utf-8", "surrogatepass"))
    if isinstance(cell, bytes):
        return b"\x03" + _ended(cell)
    if isinstance(cell, np.datetime64 | np.timedelta64):
        mark = (b"\x05" if isinstance(cell, np.datetime64) else b"\x06") if telling else b""
        return b"\x02" + _ended(str(cell).encode()) + mark
    return b"\x01" + ordered(number_pairs([cell])[:, 0]).tobytes()


def _ended(raw):
    return raw.replace(b"\x00", b"\x00\xff") + b"\x00\x00"


# ---------------------------------------------------------------- numbers


def plain_floats(A):
    """Return floats with one zero and one NaN."""
    A = A + A.dtype.type(0)  # -0.0 + 0.0 is 0.0
    if A.size and np.isnan(A.min()):  # a NaN passes through
        A[np.isnan(A)] = np.nan
    return A


def number_pairs(row):
    """Return (2, n) float64: each number as the nearest double and the exact remainder."""
    high = [float(v) for v in row]
    low = [
        float(int(v) - int(h))
        if isinstance(v, numbers.Integral)
        else float(v - type(v)(h))
        if np.isfinite(h)
        else 0.0
        for v, h in zip(row, high, strict=True)
    ]
    return plain_floats(np.array([high, low]))


def ordered(A):
    """Return big-endian unsigned integers that sort like the numbers in A; NaN last."""
    kind, size = A.dtype.kind, A.dtype.itemsize
    if kind == "b" or A.dtype == np.uint8:
        return A.astype(np.uint8)
    if kind == "f":
        A = np.ascontiguousarray(plain_floats(A.astype(np.float32 if size <= 4 else np.float64)))
        bits = A.view(f"i{A.dtype.itemsize}")
        keys = bits >> (8 * A.dtype.itemsize - 1)  # all ones for negative numbers
        keys |= np.iinfo(keys.dtype).min
        keys ^= bits
        return keys.astype(keys.dtype.newbyteorder(">")).view(f">u{A.dtype.itemsize}")
    if kind == "u":
        return A.astype(f">u{size}")
    sign = np.array(1 << (8 * size - 1), dtype=f"u{size}")
    return (A.astype(f"i{size}").view(f"u{size}") ^ sign).astype(f">u{size}")
