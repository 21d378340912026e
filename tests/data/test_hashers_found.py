"""Rows whose hash once depended on their company or on what carried them."""

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from certified_ensembles._data.canonical import canonical_bytes
from certified_ensembles.hashers import (
    ContentHasher,
    canonical_order,
)


def test_a_blank_row_behind_a_sparse_one_changes_nothing():
    row = np.zeros((1, 20))
    row[0, [3, 7]] = 1, 0.3
    for blank in (np.zeros((1, 20)), np.zeros((3, 20))):
        for carry in (np.asarray, sp.csr_matrix):
            both = ContentHasher()(carry(np.vstack([blank, row, blank])))
            assert both[len(blank)] == ContentHasher()(row)[0]


@settings(max_examples=100, deadline=None)
@given(
    hnp.arrays(
        np.float64,
        st.tuples(st.integers(1, 7), st.just(24)),
        fill=st.just(0.0),
        elements=st.sampled_from([0.0, 0.0, 1.0, 300.0, 0.5, 0.1, 1e300, np.nan]),
    ),
    st.integers(0, 6),
    st.booleans(),
)
def test_the_bytes_of_a_row_do_not_depend_on_the_rows_around_it(X, i, sparse):
    i = i % len(X)
    rows = list(map(bytes, canonical_bytes(sp.csr_array(X) if sparse else X)))
    assert rows[i] == bytes(next(iter(canonical_bytes(X[[i]]))))


@pytest.mark.parametrize("value", [2**62, 2**63, 2**63 - 2**10, -(2**63), 2**53 + 2, 2**24 + 1])
def test_large_integers_hash_like_the_floats_that_equal_them(value):
    dtype = np.int64 if value < 2**63 else np.uint64
    X = np.array([[value, 1]], dtype=dtype)
    for other in (X.astype(float), X.astype(np.longdouble), X.astype(object)):
        assert ContentHasher()(other) == ContentHasher()(X)


def test_half_precision_of_any_byte_order():
    X = np.zeros((2, 20))
    X[0, 3] = 0.5
    np.testing.assert_array_equal(ContentHasher()(X.astype(">f2")), ContentHasher()(X))
    np.testing.assert_array_equal(canonical_order(X.astype(">f2")), [1, 0])


def test_times_hash_equally_in_every_unit():
    days = ["2020-01-01", "2021-05-06", "NaT"]
    hashes = [
        ContentHasher()(pd.DataFrame({"t": np.array(days, dtype=f"M8[{unit}]"), "n": 1}))
        for unit in ("s", "ms", "us", "ns")
    ]
    for other in hashes[1:]:
        np.testing.assert_array_equal(other, hashes[0])
    aware = pd.to_datetime(pd.Series(days)).dt.tz_localize("UTC")
    frame = pd.DataFrame({"t": aware.dt.tz_convert("Asia/Tokyo"), "n": 1})
    np.testing.assert_array_equal(ContentHasher()(frame), hashes[0])
    spans = [
        ContentHasher()(np.array([[60], [61]], dtype="m8[s]").astype(f"m8[{unit}]"))
        for unit in ("s", "ns")
    ]
    np.testing.assert_array_equal(*spans)
    assert len(set(spans[0])) == 2
