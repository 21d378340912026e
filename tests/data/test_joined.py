"""Tables on top of each other hold the cells that they held apart."""

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp

from certified_ensembles._data.canonical import canonical_bytes, canonical_order
from certified_ensembles._data.containers import as_table
from certified_ensembles._data.joined import join_tables
from certified_ensembles._data.views import view_of

RNG = np.random.default_rng(0)
NUMBERS = RNG.standard_normal((6, 3)).round(2)


def frame(*columns):
    return pd.DataFrame(dict(zip("abc", columns, strict=False)))


WORDS = frame([1.5, 2.5], pd.Series(["x", None], dtype=object), [1, 2])
TIMES = frame([0, 7], pd.to_datetime(["2024-01-01", None]), [1, 2])
LARGE = frame([0.5, -0.0], [1, 2], [2**53 + 1, 2**60])
CASES = {
    "one": [NUMBERS],
    "arrays": [NUMBERS, NUMBERS[:2]],
    "single and double": [frame(*NUMBERS.T.astype(np.float32)), frame(*NUMBERS.T)],
    "integers and fractions": [frame([1, 2], [3, 4], [5, 6]), frame(*NUMBERS.T)],
    "large integers and fractions": [LARGE, frame(*NUMBERS.T)],
    "all integers": [frame(*(2**62 + np.arange(6).reshape(3, 2))), frame([1], [2], [3])],
    "signed and unsigned": [
        frame(*np.full((3, 2), 2**63 + 5, dtype=np.uint64)),
        frame([-1], [-2], [-3]),
    ],
    "words and numbers": [frame(*NUMBERS.T), WORDS, WORDS.iloc[::-1]],
    "words and times": [WORDS, TIMES, LARGE],
    "missing throughout": [frame([1.0], pd.Series([None], dtype=object), [np.nan]), WORDS],
    "levels": [
        frame(pd.Categorical(["u", "v"]), [1, 2], [0, 0]),
        frame(pd.Categorical([3, 3]), [1, 2], [0, 0]),
    ],
    "sparse": [sp.csr_array(NUMBERS > 0.5), sp.csr_array(NUMBERS.astype(np.float32))],
    "large sparse": [sp.csr_array([[2**60 + 1, 0]]), sp.csr_array([[0.5, 0]])],
    "images": [np.arange(24, dtype=np.uint8).reshape(2, 3, 4)] * 2,
}


@pytest.mark.parametrize("parts", CASES.values(), ids=CASES.keys())
def test_no_cell_changes_its_value(parts):
    tables = [as_table(part) for part in parts]
    joined = join_tables(tables)
    apart = [row for table in tables for row in canonical_bytes(table)]
    assert list(canonical_bytes(joined)) == apart
    assert len(joined) == sum(map(len, tables))
    assert joined.container.kind == tables[0].container.kind
    order = canonical_order(joined)
    assert sorted(order.tolist()) == list(range(len(joined)))


@pytest.mark.parametrize("name", ["words and numbers", "words and times", "levels", "sparse"])
def test_a_member_gets_what_it_gets_of_one_table(name):
    parts = CASES[name]
    joined = join_tables([as_table(part) for part in parts])
    if sp.issparse(parts[0]):
        whole = as_table(sp.vstack(parts, format="csr"))
    else:
        whole = as_table(pd.concat([part.astype(object) for part in parts], ignore_index=True))
    mine, other = view_of(joined), view_of(whole)
    assert mine == other
    given, expected = mine.hand_out(joined), other.hand_out(whole)
    if sp.issparse(given):
        assert (given != expected).nnz == 0
    else:
        pd.testing.assert_frame_equal(given, expected)
