"""A cell is a value: equal values are one cell, whatever type carried them."""

import datetime
import decimal
import fractions

import numpy as np
import pandas as pd
import pytest

from certified_ensembles._data.cells import (
    CellError,
    canonical_cell,
    cell_key,
    factorize,
    kind_of,
)

UTC, BERLIN = datetime.UTC, datetime.timezone(datetime.timedelta(hours=1))
NOON = datetime.datetime(2020, 1, 1, 12, tzinfo=UTC)

EQUAL = {
    "numbers": [
        1,
        True,
        1.0,
        np.float32(1),
        np.int8(1),
        np.True_,
        np.longdouble(1),
        decimal.Decimal("1.00"),
        fractions.Fraction(2, 2),
    ],
    "zeros": [0.0, -0.0, 0, False],
    "long integers": [2**60 + 1, np.int64(2**60 + 1), decimal.Decimal(2**60 + 1)],
    "missing": [
        None,
        float("nan"),
        np.nan,
        pd.NA,
        pd.NaT,
        np.datetime64("NaT"),
        decimal.Decimal("NaN"),
        np.float32("nan"),
    ],
    "texts": ["a", np.str_("a")],
    "bytes": [b"a", np.bytes_(b"a")],
    "instants": [
        NOON,
        NOON.astimezone(BERLIN),
        pd.Timestamp(NOON),
        np.datetime64("2020-01-01T12"),
        pd.Timestamp(NOON).tz_convert("Asia/Tokyo"),
        NOON.replace(tzinfo=None),
        np.datetime64(1577880000000000000, "ns"),
    ],
    "days": [datetime.date(2020, 1, 1), np.datetime64("2020-01-01"), pd.Timestamp(2020, 1, 1)],
    "spans": [datetime.timedelta(days=1), np.timedelta64(24, "h"), pd.Timedelta("1D")],
    "old days": [datetime.date(1, 1, 1), datetime.datetime(1, 1, 1), np.datetime64("0001-01-01")],
}


@pytest.mark.parametrize("name", EQUAL)
def test_equal_values_are_one_cell(name):
    values = EQUAL[name]
    cells = {(kind_of(cell), cell, type(cell)) for cell in map(canonical_cell, values)}
    assert len(cells) == 1
    assert len({cell_key(canonical_cell(v), telling=True) for v in values}) == 1
    codes, levels = factorize(values)
    assert len(levels) == 1
    assert codes.tolist() == [0] * len(values)


def test_cells_of_different_values_have_different_keys_that_sort():
    cells = [-np.inf, -1.5, 0.0, 1.0, 2.0**53, 2**53 + 1, 2.0**53 + 2, np.inf, "", "a", "a\x00",
             "a\x00b", "aa", "b", b"", b"a", np.datetime64("2020-01-01", "ns")]  # fmt: skip
    keys = [cell_key(canonical_cell(cell), telling=True) for cell in cells]
    assert len(set(keys)) == len(keys)
    assert keys[:-1] == sorted(keys[:-1])


def test_a_time_is_not_the_text_that_spells_it():
    time = canonical_cell(np.datetime64("2020-01-01T00:00:00.000000000"))
    assert cell_key(time, telling=True) != cell_key(str(time), telling=True)
    _, levels = factorize([time, str(time)])
    assert len(levels) == 2


def test_a_span_is_not_its_number():
    _, levels = factorize([5, np.timedelta64(5, "ns"), True, np.timedelta64(1, "ns")])
    assert [kind_of(cell) for cell in levels] == [1, 6, 1, 6]


@pytest.mark.parametrize(
    "bad",
    [
        1 + 0j,
        object(),
        [1],
        {"a": 1},
        pd.Interval(0, 1),
        pd.Period("2020-01"),
        10**400,
        2**200 + 2**100 + 1,
        decimal.Decimal("0.1"),
        datetime.time(1),
        bytearray(b"a"),
        np.timedelta64(1),
    ],
)
def test_a_cell_without_a_canonical_form_is_refused_whatever_stands_beside_it(bad):
    for company in ([bad], [1, bad], ["a", bad, 1], [bad, 1, 1.0]):
        with pytest.raises(CellError, match="argument must be a string or a number") as caught:
            factorize(company)
        assert caught.value.place == next(i for i, v in enumerate(company) if v is bad)


def test_nanoseconds_and_finer_times_are_kept():
    cells = [
        pd.Timestamp(1_700_000_000_000_000_001),
        pd.Timestamp(1_700_000_000_000_000_002),
        np.datetime64(1, "ps"),
        np.datetime64(2, "ps"),
        np.datetime64("0001-01-01T00:00:01"),
    ]
    assert len({cell_key(canonical_cell(cell)) for cell in cells}) == len(cells)
