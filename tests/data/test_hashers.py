"""The partition of a row depends on that row alone; the order of rows on their set."""

import datetime
import hashlib
import os
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import polars as pl
import pytest
import scipy.sparse as sp
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from certified_ensembles import CertificateWarning, hashers
from certified_ensembles._data.canonical import canonical_bytes
from certified_ensembles._data.containers import as_table
from certified_ensembles._data.views import view_of
from certified_ensembles.hashers import (
    ContentHasher,
    PixelSumHasher,
    assign_partitions,
    canonical_order,
    resolve_hasher,
)

RNG = np.random.default_rng(0)
INTEGERS = RNG.integers(-3, 300, size=(40, 9)) * (RNG.random((40, 9)) < 0.5)
BYTES = np.abs(INTEGERS) % 256
FRACTIONS = (INTEGERS + 0.1).astype(np.float32) * (RNG.random((40, 9)) < 0.7)
WIDE = np.where(RNG.random((40, 100)) < 0.06, RNG.normal(size=(40, 100)).astype(np.float32), 0)


def _unsorted_csr(X):
    """Return X as CSR with each row's entries in reverse order and an explicit zero added."""
    dense = sp.csr_matrix(X)
    rows = []
    for i in range(X.shape[0]):
        part = slice(dense.indptr[i], dense.indptr[i + 1])
        zero = np.setdiff1d(np.arange(X.shape[1]), dense.indices[part])[:1]
        index = np.concatenate([dense.indices[part], zero])[::-1]
        data = np.concatenate([dense.data[part], np.zeros(len(zero), X.dtype)])[::-1]
        rows.append((index, data))
    indptr = np.cumsum([0, *(len(index) for index, _ in rows)])
    index, data = (np.concatenate(column) for column in zip(*rows, strict=True))
    return sp.csr_matrix((data, index.astype(np.int64), indptr), shape=X.shape)


# Everything that may carry the same values. A new container adds a row here.
CARRIERS = {
    "float64": lambda X: X.astype(np.float64),
    "fortran": np.asfortranarray,
    "strided": lambda X: np.repeat(X, 2, axis=1)[:, ::2],
    "big endian": lambda X: X.astype(np.float64).astype(">f8"),
    "three axes": lambda X: X.reshape(len(X), 1, -1),
    "list of lists": lambda X: X.tolist(),
    "objects": lambda X: X.astype(object),
    "csr": sp.csr_matrix,
    "csr array": sp.csr_array,
    "csc": sp.csc_matrix,
    "unsorted csr with explicit zeros": _unsorted_csr,
    "pandas": lambda X: pd.DataFrame(X, index=np.arange(len(X))[::-1]),
    "pandas by columns": lambda X: pd.DataFrame({str(j): X[:, j] for j in range(X.shape[1])}),
    "polars": lambda X: pl.DataFrame(X),
    "read only": lambda X: np.frombuffer(X.tobytes(), X.dtype).reshape(X.shape),
}


@pytest.mark.parametrize("carrier", CARRIERS)
@pytest.mark.parametrize("X", [INTEGERS, BYTES, FRACTIONS, WIDE], ids=["i", "u8", "f4", "wide"])
def test_equal_rows_hash_equally_in_every_container(X, carrier):
    carried = CARRIERS[carrier](X)
    np.testing.assert_array_equal(ContentHasher()(carried), ContentHasher()(X))
    np.testing.assert_array_equal(canonical_order(carried), canonical_order(X))


@pytest.mark.parametrize("dtype", ["u1", "i2", "u4", "i8", "u8", "f4", "f8", "g", "f2", ">i4"])
def test_integers_hash_equally_in_every_dtype_that_holds_them(dtype):
    X = np.array([[0, 1, 100], [3, 0, 0]])
    np.testing.assert_array_equal(ContentHasher()(X.astype(dtype)), ContentHasher()(X))


def test_booleans_hash_like_zero_and_one():
    X = np.array([[True, False], [False, True]])
    np.testing.assert_array_equal(ContentHasher()(X), ContentHasher()(X.astype(int)))


@pytest.mark.parametrize("values", [[2**53 + 1, 1], [2**63 - 1, 0], [-(2**62) - 1, 5]])
def test_integers_beyond_double_precision_stay_distinct(values):
    X = np.array([values])
    assert ContentHasher()(X) == ContentHasher()(X.astype(object))
    assert ContentHasher()(X) != ContentHasher()(X.astype(float))
    frame = pd.DataFrame({"big": X[:, 0], "fraction": [0.5]})
    assert ContentHasher()(frame) != ContentHasher()(frame.astype(float))


@pytest.mark.parametrize("dtype", [np.int64, np.uint64])
def test_sparse_integers_beyond_double_precision_have_one_order(dtype):
    X = np.array([[2**53 + 1, 0], [2**53, 5], [2**53 + 2, 0], [2**53, 0], [3, 1]], dtype=dtype)
    expected = X[canonical_order(X)]
    for order in ([0, 1, 2, 3, 4], [4, 3, 2, 1, 0], [2, 0, 4, 3, 1]):
        rows = sp.csr_array(X[order])
        np.testing.assert_array_equal(rows.toarray()[canonical_order(rows)], expected)


def test_largest_unsigned_integer_differs_from_the_double_next_to_it():
    X = np.array([[2**64 - 1]], dtype=np.uint64)
    assert ContentHasher()(X) != ContentHasher()(np.array([[2.0**64]]))
    assert ContentHasher()(X) == ContentHasher()(np.array([[2**64 - 1]], dtype=object))


def test_long_doubles_differ_where_doubles_would_not():
    X = np.array([[1, 2]], dtype=np.longdouble)
    near = X + np.finfo(np.longdouble).eps
    assert ContentHasher()(X) == ContentHasher()(X.astype(float))
    if np.finfo(np.longdouble).eps < np.finfo(float).eps:
        assert ContentHasher()(X) != ContentHasher()(near)
        assert canonical_order(np.concatenate([near, X])).tolist() == [1, 0]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_one_zero_and_one_nan(dtype):
    plain = np.array([[0.0, np.nan, 1.5] * 4], dtype=dtype)
    odd = plain.copy()
    odd[0, ::3] = -0.0
    bits = odd.view(f"u{odd.dtype.itemsize}")
    bits[0, 1::3] |= 5  # another payload
    bits[0, 1] |= np.array(1 << (8 * odd.dtype.itemsize - 1), bits.dtype)  # and another sign
    assert np.isnan(odd[0, 1])
    assert ContentHasher()(plain) == ContentHasher()(odd)
    assert ContentHasher()(sp.csr_matrix(plain)) == ContentHasher()(odd)
    assert list(canonical_bytes(plain)) == list(canonical_bytes(odd.astype(object)))


def test_missing_values_of_every_kind_are_one():
    rows = [[np.nan, "a"], [None, "a"], [pd.NA, "a"], [pd.NaT, "a"]]
    assert len(set(ContentHasher()(np.array(rows, dtype=object)).tolist())) == 1


TEXTS = ["spam", "", "ham", "naïve ☕", "spam\x00", "1", "\ud800"]


@pytest.mark.parametrize(
    "carry",
    [
        list,
        tuple,
        lambda t: np.array(t, dtype=object),
        pd.Series,
        lambda t: pd.DataFrame({"t": t}),
    ],
)
def test_texts_hash_equally_in_every_sequence(carry):
    texts = TEXTS[:-1]
    hashes = ContentHasher()(texts)
    np.testing.assert_array_equal(ContentHasher()(carry(texts)), hashes)
    assert len(set(hashes.tolist())) == len(texts)


def test_texts_hash_equally_in_arrays_of_any_width_and_in_polars():
    texts = [t for t in TEXTS[:-1] if not t.endswith("\x00")]
    hashes = ContentHasher()(texts)
    np.testing.assert_array_equal(ContentHasher()(np.array(texts)), hashes)
    np.testing.assert_array_equal(ContentHasher()(np.array(texts, dtype="U99")), hashes)
    np.testing.assert_array_equal(ContentHasher()(pl.Series(texts)), hashes)


def test_lone_surrogates_are_hashed_too():
    assert ContentHasher()([TEXTS[-1]]) != ContentHasher()(["?"])


def test_text_never_equals_the_number_it_spells():
    assert ContentHasher()(["1"]) != ContentHasher()([[1]])
    assert len(set(ContentHasher()([[1, "1"], ["1", 1], [1, 1], ["1", "1"]]).tolist())) == 4
    assert ContentHasher()([b"a"]) != ContentHasher()(["a"])


def test_a_number_row_does_not_notice_a_text_row_beside_it():
    alone = ContentHasher()(np.array([[1.5, 2.0]]))[0]
    assert ContentHasher()(np.array([[1.5, 2.0], ["x", 2.0]], dtype=object))[0] == alone


def test_mixed_frames_hash_cell_by_cell():
    frame = pd.DataFrame({
        "n": [1, 2, 2], "s": pd.Categorical(["a", "b", "c"]),
        "t": pd.to_datetime(["2020-01-01", "2020-01-02", "2020-01-02"]),
    })  # fmt: skip
    hashes = ContentHasher()(frame)
    assert len(set(hashes.tolist())) == 3
    np.testing.assert_array_equal(ContentHasher()(frame.astype({"s": object, "n": float})), hashes)
    day = np.array([[1, "a", datetime.datetime(2020, 1, 1)]], dtype=object)
    assert ContentHasher()(day)[0] == hashes[0]


def test_cells_without_canonical_bytes_are_refused():
    with pytest.raises(TypeError, match="has no canonical form"):
        ContentHasher()(np.array([[{}, 1]], dtype=object))
    with pytest.raises(TypeError, match="dtype complex128"):
        ContentHasher()(np.array([[1j]]))
    with pytest.raises(ValueError, match="scalar"):
        ContentHasher()(np.float64(3))


@settings(max_examples=60, deadline=None)
@given(
    hnp.arrays(
        st.sampled_from([np.int64, np.float32, np.float64, np.uint8]),
        st.tuples(st.integers(1, 6), st.integers(0, 20)),
        elements={"min_value": 0, "max_value": 3},
    )
)
def test_rows_have_equal_bytes_exactly_when_they_are_equal(X):
    rows = list(map(bytes, canonical_bytes(X)))
    sparse = list(map(bytes, canonical_bytes(sp.csr_array(X))))
    assert rows == sparse
    for i in range(len(X)):
        for j in range(i):
            assert (rows[i] == rows[j]) == np.array_equal(X[i], X[j])


@pytest.mark.parametrize("dtype", [np.float64, np.int64])
def test_sparse_rows_of_every_exactness_have_the_bytes_that_they_have_alone(dtype):
    levels = [[7, 0, 0], [300, -1, 0], [2**30 + 1, 2, 3], [0, 0, 0], [2**62 + 1, 0, 2], [5, 6, 7]]
    if dtype is np.float64:
        levels[1], levels[4] = [0.5, np.nan, 0], [0.1, np.inf, 0]
    for width in (3, 40):  # rows with many nonzeros, and with few
        X = np.zeros((2 * len(levels), width), dtype=dtype)
        X[::2, -3:] = levels
        X[7, 1::2] = 300  # among rows with few one that has many
        together = list(map(bytes, canonical_bytes(sp.csr_array(X))))
        assert together == [bytes(row) for one in X for row in canonical_bytes(one[None, :])]
        assert together == list(map(bytes, canonical_bytes(X)))
    index, end = (37).to_bytes(8, "little"), b"\x07"
    assert together[0] == b"s" + (40).to_bytes(8, "little") + index + b"1" + end  # pinned


def test_no_collision_among_a_hundred_thousand_near_rows():
    X = np.zeros((100_000, 3))
    X[:, 0], X[:, 1] = np.divmod(np.arange(100_000), 317)
    assert len(np.unique(ContentHasher()(X))) == len(X)


def test_hash_is_the_same_in_another_process():
    code = (
        "import numpy as np; from certified_ensembles.hashers import ContentHasher as H;"
        "print(H()(np.arange(6.).reshape(2, 3)).tolist(), H(key='k')(['a', 'b']).tolist())"
    )
    expected = f"{ContentHasher()(np.arange(6).reshape(2, 3)).tolist()} "
    expected += f"{ContentHasher(key='k')(['a', 'b']).tolist()}"
    for seed in ("0", "1"):
        out = subprocess.run(
            [sys.executable, "-c", code],
            env=os.environ | {"PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        )
        assert out.stdout.strip() == expected


def test_hash_values_are_pinned():
    # A release that changes these moves every row to another partition.
    assert ContentHasher()([[1, 2], [3, 4]]).tolist() == [
        int.from_bytes(hashlib.blake2b(b"1" + bytes(row), digest_size=8).digest(), "little") >> 1
        for row in ([1, 2], [3, 4])
    ]
    assert ContentHasher()(["spam"]).tolist() == [PINNED_SPAM]


PINNED_SPAM = (
    int.from_bytes(hashlib.blake2b(b"o\x02spam\x00\x00", digest_size=8).digest(), "little") >> 1
)


def test_key_changes_every_hash_and_may_be_text_or_bytes():
    X = np.arange(20).reshape(10, 2)
    assert not np.intersect1d(ContentHasher()(X), ContentHasher(key="secret")(X)).size
    np.testing.assert_array_equal(ContentHasher(key="a")(X), ContentHasher(key=b"a")(X))
    for key in ("x" * 65, 7):
        with pytest.raises(ValueError, match="key="):
            ContentHasher(key=key)(X)


def test_labels_take_part_only_when_asked():
    X, y = np.zeros((2, 2)), np.array(["a", "b"])
    hasher = ContentHasher(include_labels=True)
    assert hasher.uses_labels
    assert not ContentHasher().uses_labels
    assert len(set(hasher(X, y).tolist())) == 2
    np.testing.assert_array_equal(hasher(X, y), hasher(X, list(y)))
    with pytest.raises(ValueError, match="needs y"):
        hasher(X)


@pytest.mark.parametrize("carrier", ["fortran", "float64", "csr", "three axes", "list of lists"])
def test_pixel_sum_is_the_integer_sum_in_every_container(carrier):
    carried = CARRIERS[carrier](INTEGERS)
    np.testing.assert_array_equal(PixelSumHasher()(carried), INTEGERS.sum(axis=1))


def test_pixel_sum_is_exact_beyond_double_precision():
    X = np.array([[2**55, 1], [2**55, 2]])
    assert np.diff(PixelSumHasher()(X)) == 1


@pytest.mark.parametrize(
    "X",
    [
        np.array([[0.5, 1]]),
        np.array([[np.nan]]),
        np.array([["a"]]),
        np.array([[np.inf]]),
        np.array([[2**61, 2**61]]),
        sp.csr_matrix([[0.25]]),
    ],
)
def test_pixel_sum_refuses_what_it_cannot_sum_exactly(X):
    with pytest.raises(ValueError, match="pixel_sum"):
        PixelSumHasher()(X)


def test_unknown_hashers_are_refused():
    with pytest.raises(ValueError, match=r"hasher='md5' is unknown.*content"):
        resolve_hasher("md5")


@pytest.mark.parametrize("hasher", [ContentHasher("key"), ContentHasher(include_labels=True)])
@pytest.mark.parametrize("n_rows", [1, 5, 41])
def test_long_rows_hashed_in_threads_get_the_same_partitions(hasher, n_rows, monkeypatch):
    X = RNG.normal(size=(n_rows, 300)) * (RNG.random((n_rows, 1)) < 0.7)
    y = RNG.integers(0, 3, n_rows)
    alone = assign_partitions(hasher, X, y, 1000)
    pieces = []
    hash_piece = hashers._hash
    monkeypatch.setattr(hashers, "_hash", lambda *args: pieces.append(args) or hash_piece(*args))
    for n_jobs in (2, 3):
        pieces.clear()
        np.testing.assert_array_equal(assign_partitions(hasher, X, y, 1000, n_jobs), alone)
        assert len(pieces) > 1 or n_rows == 1


@pytest.mark.parametrize(
    "hasher", [lambda X: X.sum(axis=1) / 2, lambda X: np.arange(3), lambda X: X.astype(int)]
)
def test_hashers_must_return_one_integer_a_row(hasher):
    with pytest.raises(ValueError, match="one integer a row"):
        assign_partitions(hasher, np.ones((4, 2)), np.zeros(4), 3)


@pytest.mark.parametrize(
    "hasher",
    [
        lambda X: (X[:, 0] > X[:, 0].mean()).astype(int),
        lambda X: np.argsort(X[:, 0]),
        lambda X: X[:2].astype(int).sum() + np.zeros(len(X), dtype=int),
        lambda X: np.linalg.inv(np.cov(X.T))[0, 0].astype(int) + np.zeros(len(X), dtype=int),
    ],
)
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_a_hasher_that_looks_at_other_rows_is_warned_about(hasher):
    X = RNG.normal(size=(30, 2)) * 9
    with pytest.warns(CertificateWarning, match="not a function of the row alone"):
        assign_partitions(hasher, X, np.zeros(30), 7)


def test_an_honest_callable_passes_without_a_word():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        partition = assign_partitions(lambda X: X[:, 0].astype(int), INTEGERS, np.zeros(40), 5)
    np.testing.assert_array_equal(partition, INTEGERS[:, 0] % 5)
    assert partition.min() >= 0


# ---------------------------------------------------------------- canonical order


@pytest.mark.parametrize("X", [INTEGERS, BYTES, FRACTIONS, WIDE - 0.5 * (WIDE != 0)])
def test_order_is_lexicographic_by_value(X):
    X = X[RNG.integers(0, len(X), 80)]  # with duplicates
    ours, lexsort = X[canonical_order(X)], X[np.lexsort(X.T[::-1])]
    np.testing.assert_array_equal(ours, lexsort)
    np.testing.assert_array_equal(X[canonical_order(sp.csr_array(X))], lexsort)


@settings(max_examples=60, deadline=None)
@given(
    hnp.arrays(
        np.float64,
        st.tuples(st.integers(1, 8), st.integers(1, 3)),
        elements=st.sampled_from([0.0, -0.0, -1.5, 2.0, 1e-300, -np.inf, np.inf, np.nan]),
    ),
    st.randoms(use_true_random=False),
)
def test_order_makes_any_permutation_the_same_array(X, random):
    y = np.arange(len(X)) % 2
    shuffled = list(range(len(X)))
    random.shuffle(shuffled)
    for carry in (np.asarray, sp.csr_array):
        a, b = canonical_order(carry(X), y), canonical_order(carry(X[shuffled]), y[shuffled])
        np.testing.assert_array_equal(X[a] + 0.0, X[shuffled][b] + 0.0)
        np.testing.assert_array_equal(y[a], y[shuffled][b])


def test_ties_of_features_are_ordered_by_label_then_by_the_rest():
    X = np.zeros((4, 2))
    y = np.array(["b", "a", "b", "a"])
    weight = [2.0, 5.0, 1.0, 3.0]
    assert canonical_order(X, y, weight).tolist() == [3, 1, 2, 0]


def test_wide_rows_are_told_apart_by_their_last_column():
    X = np.zeros((3, 500))
    X[:, -1] = [2, 0, 1]
    assert canonical_order(X).tolist() == [1, 2, 0]
    assert canonical_order(np.zeros((3, 0)), [2, 1, 0]).tolist() == [2, 1, 0]


def test_rows_of_text_come_after_rows_of_numbers():
    X = np.array([["b", 1], [3, 2], ["a", None], [2, 9]], dtype=object)
    assert canonical_order(X).tolist() == [3, 1, 2, 0]


# ---------------------------------------------------------------- slices


def handed_out(X, rows):
    part = as_table(X).take(rows)
    return view_of(part).hand_out(part)


def test_slices_do_not_remember_the_array_they_came_from():
    big_endian = np.asfortranarray(INTEGERS.astype(">f8"))
    part = handed_out(big_endian, [3, 1])
    assert part.flags.c_contiguous
    assert part.dtype == np.float64
    assert handed_out(("a", "b", "c"), np.array([2, 0])).tolist() == ["c", "a"]
    sparse = handed_out(_unsorted_csr(INTEGERS), [5, 2])
    assert sparse.has_canonical_format
    assert sparse.indices.dtype == np.int32
    np.testing.assert_array_equal(sparse.toarray(), INTEGERS[[5, 2]])


def test_slices_of_frames_forget_index_and_foreign_categories():
    frame = pd.DataFrame({"c": pd.Categorical(["z", "b", "a"], categories=["z", "b", "a"])})
    part = handed_out(frame.set_index(pd.Index([7, 8, 9])), [1, 2])
    assert part.index.tolist() == [0, 1]
    assert part["c"].tolist() == ["b", "a"]
    assert part["c"].dtype == object
    assert handed_out(pd.Series(["x", "y"], index=[4, 5]), [1]).index.tolist() == [0]
    part = handed_out(pl.DataFrame({"a": [1, 2, 3]}), np.array([2, 0]))
    assert part["a"].to_list() == [3, 1]


# ---------------------------------------------------------------- the paper's own partitions


def _folder():
    folder = os.environ.get("CERTIFIED_ENSEMBLES_DATA")
    if folder is None or not (Path(folder) / "mnist.npz").exists():
        pytest.skip("CERTIFIED_ENSEMBLES_DATA names no folder with mnist.npz")
    return Path(folder)


def test_pixel_sum_gives_the_authors_partitions_of_mnist():
    with np.load(_folder() / "mnist.npz") as data:
        X, y = data["x_train"], data["y_train"]
    partition = assign_partitions(resolve_hasher("pixel_sum"), X, y, 1200)
    digest = hashlib.sha256(partition.astype("<i2").tobytes()).hexdigest()
    assert digest == "90da395c259da50c96fed76a48c4c70ea7764f654800f59c062cc70e46f4cdb0"


# ---------------------------------------------------------------- found by attack
