"""Rows that stay in a file give the same certificates as in memory, and are never held whole."""

import tempfile
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import scipy.sparse as sp
from sklearn.datasets import load_digits
from sklearn.linear_model import RidgeClassifier
from sklearn.naive_bayes import GaussianNB, MultinomialNB
from sklearn.tree import DecisionTreeClassifier

from certified_ensembles import (
    DeepPartitionAggregation,
    LabelFlipSmoothingClassifier,
    SemiSupervisedDPA,
)
from certified_ensembles._data.blocks import _BLOCK_BYTES
from certified_ensembles._data.containers import take
from certified_ensembles._data.out_of_core import forget_pages, scratch_for
from certified_ensembles.hashers import ContentHasher, PixelSumHasher

da = pytest.importorskip("dask.array")

X, Y = load_digits(return_X_y=True)
X, X_TEST, Y = X[:600].astype(np.float32), X[600:900].astype(np.float32), Y[:600]
CLASSES = range(10)


def stored(tmp_path, array, mode="r", name="rows"):
    """Return an array in a file, with whatever layout and type it has."""
    np.save(tmp_path / f"{name}.npy", array)
    return np.load(tmp_path / f"{name}.npy", mmap_mode=mode)


@pytest.fixture
def scratch(tmp_path, monkeypatch):
    """Return the folder in which temporary files are made."""
    folder = tmp_path / "scratch"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


def in_file(tmp_path, array):
    return stored(tmp_path, array)


def in_file_by_columns(tmp_path, array):
    return stored(tmp_path, np.asfortranarray(array))


def in_part_of_a_file(tmp_path, array):
    wide = np.concatenate([array[:, ::-1], array, array], axis=1)
    width = array.shape[1]
    return stored(tmp_path, np.repeat(wide, 2, axis=0))[::2, width : 2 * width]


def in_foreign_bytes(tmp_path, array):
    return stored(tmp_path, array.astype(array.dtype.newbyteorder(">")))


def in_dask_blocks(tmp_path, array):
    return da.from_array(array, chunks=(37, *array.shape[1:]))


def in_dask_tiles(tmp_path, array):
    return da.from_array(
        stored(tmp_path, array), chunks=(250, *(1 + n // 3 for n in array.shape[1:]))
    )


WAYS = [
    in_file,
    in_file_by_columns,
    in_part_of_a_file,
    in_foreign_bytes,
    in_dask_blocks,
    in_dask_tiles,
]


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("n_jobs", [1, 2])
@pytest.mark.parametrize(
    "base", [RidgeClassifier(), DecisionTreeClassifier(max_depth=4)], ids=["ridge", "tree"]
)
def test_certificates_from_a_file_are_those_from_memory(tmp_path, way, base, n_jobs):
    clf = DeepPartitionAggregation(base, 20, classes=CLASSES)
    expected = clf.fit(X, Y)
    ballots, certificate = expected.ballots(X_TEST), expected.certify(X_TEST)
    clf = DeepPartitionAggregation(base, 20, classes=CLASSES, n_jobs=n_jobs)
    clf.fit(way(tmp_path, X), Y)
    tests = way(tmp_path, X_TEST)
    np.testing.assert_array_equal(clf.partition_, expected.partition_)
    np.testing.assert_array_equal(clf.ballots(tests), ballots)
    for mine, other in zip(clf.certify(tests), certificate, strict=True):
        np.testing.assert_array_equal(mine, other)
    assert clf.n_features_in_ == 64


@pytest.mark.parametrize("way", [in_file, in_dask_blocks])
def test_images_in_a_file_stay_images(tmp_path, way):
    images = X.reshape(-1, 8, 8).astype(np.uint8)

    class Flat(GaussianNB):
        def fit(self, X, y):
            assert X.dtype == np.uint8
            assert X.shape[1:] == (8, 8)
            return super().fit(X.reshape(len(X), -1), y)

        def predict(self, X):
            return super().predict(X.reshape(len(X), -1))

    clf = DeepPartitionAggregation(Flat(), 10, classes=CLASSES)
    expected = clf.fit(images, Y).ballots(images)
    np.testing.assert_array_equal(clf.fit(way(tmp_path, images), Y).ballots(images), expected)


@pytest.mark.parametrize("way", [in_file, in_dask_blocks])
@pytest.mark.parametrize(
    "clf",
    [SemiSupervisedDPA(n_partitions=20, classes=CLASSES), LabelFlipSmoothingClassifier()],
    ids=["SemiSupervisedDPA", "LabelFlipSmoothingClassifier"],
)
def test_the_other_estimators_take_files_too(tmp_path, way, clf):
    expected = clf.fit(X, Y).certify(X_TEST)
    for mine, other in zip(clf.fit(way(tmp_path, X), Y).certify(X_TEST), expected, strict=True):
        np.testing.assert_array_equal(mine, other)


@pytest.mark.parametrize("dtype", [np.uint8, np.int32, np.float32, np.float64])
@pytest.mark.parametrize("hasher", [ContentHasher(), PixelSumHasher()])
def test_a_file_of_several_blocks_hashes_like_the_array(tmp_path, dtype, hasher):
    rng = np.random.default_rng(0)
    array = rng.integers(0, 200, (5 * _BLOCK_BYTES // (2 * 512 * np.dtype(dtype).itemsize), 512))
    array = array.astype(dtype)
    if isinstance(hasher, ContentHasher) and np.issubdtype(dtype, np.floating):
        array[::3] /= 7
    np.testing.assert_array_equal(hasher(stored(tmp_path, array)), hasher(array))
    np.testing.assert_array_equal(hasher(stored(tmp_path, array, "c")), hasher(array))


def test_pixel_sums_refuse_a_fraction_in_the_last_block(tmp_path):
    array = np.zeros((3 * _BLOCK_BYTES // 4096, 1024), np.float32)
    array[-1, -1] = 0.5
    with pytest.raises(ValueError, match="got fractional"):
        PixelSumHasher()(stored(tmp_path, array))


@pytest.mark.parametrize("way", [way for way in WAYS if "dask" not in way.__name__])
def test_rows_taken_from_a_file_are_those_of_the_array(tmp_path, way):
    index = np.random.default_rng(0).integers(0, len(X), 700)
    part = take(way(tmp_path, X), index)
    np.testing.assert_array_equal(part, X[index])
    assert type(part) is np.ndarray
    assert part.flags.c_contiguous
    assert part.dtype == np.float32


# ---------------------------------------------------------------- memory


def test_a_fit_and_a_certificate_hold_a_fraction_of_the_file(tmp_path):
    n = 40_000
    y = np.arange(n) % 2
    rows = np.lib.format.open_memmap(tmp_path / "big.npy", "w+", np.float32, (n, 400))
    rows[:] = np.random.default_rng(0).standard_normal((n, 400), dtype=np.float32)
    rows[:, 0] += y
    clf = DeepPartitionAggregation(GaussianNB(), 200, classes=[0, 1])
    tracemalloc.start()
    try:
        clf.fit(rows, y)
        fit_peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.reset_peak()
        ContentHasher()(rows)
        hash_peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert hash_peak < rows.nbytes / 1.5
    assert fit_peak < rows.nbytes / 1.5


def mapped():
    """Return the KiB of files that are in the memory of this process."""
    status = Path("/proc/self/status")
    if not status.exists():
        pytest.skip("the pages of a process are counted under Linux")
    lines = status.read_text().splitlines()
    return sum(int(line.split()[1]) for line in lines if line.startswith(("RssFile", "RssShmem")))


def test_pages_that_were_read_leave_the_memory_of_the_process(tmp_path):
    rows = stored(tmp_path, np.ones((1 << 14, 1 << 10), np.float32))
    before = mapped()
    assert rows.sum() == 1 << 24
    held = mapped() - before
    assert held > 32_000  # KiB of 65536
    forget_pages(rows[5:, ::2])
    assert mapped() - before < held / 4


def test_pages_of_a_scratch_file_leave_it_as_well():
    before = mapped()
    rows = scratch_for(np.empty((1 << 13, 1 << 10)))
    rows[:] = np.arange(1 << 10)
    held = mapped() - before
    assert held > 32_000  # KiB of 65536
    forget_pages(rows[5:, ::2])
    assert mapped() - before < held / 4
    np.testing.assert_array_equal(rows[7], np.arange(1 << 10))


def test_what_the_user_wrote_into_a_private_map_is_not_forgotten(tmp_path):
    rows = stored(tmp_path, np.zeros_like(X), "c")
    rows[:] = X
    clf = DeepPartitionAggregation(n_partitions=20, classes=CLASSES)
    expected = clf.fit(X, Y).ballots(X_TEST)
    np.testing.assert_array_equal(clf.fit(rows, Y).ballots(X_TEST), expected)
    np.testing.assert_array_equal(rows, X)


def test_what_the_user_wrote_into_a_shared_map_reaches_the_file(tmp_path):
    rows = stored(tmp_path, np.zeros_like(X), "r+")
    rows[:] = X
    DeepPartitionAggregation(n_partitions=20, classes=CLASSES).fit(rows, Y)
    np.testing.assert_array_equal(rows, X)
    np.testing.assert_array_equal(np.load(tmp_path / "rows.npy"), X)


# ---------------------------------------------------------------- Dask


def counting(array, calls, step=50):
    """Return a Dask array that notes which of its blocks are computed."""

    def read(block_info=None):
        rows, columns = block_info[None]["array-location"]
        calls.append(rows[0])
        return array[slice(*rows), slice(*columns)]

    lengths = tuple(min(step, len(array) - s) for s in range(0, len(array), step))
    meta = np.empty((0, 0), array.dtype)
    return da.map_blocks(read, chunks=(lengths, array.shape[1:]), dtype=array.dtype, meta=meta)


def test_every_block_is_computed_once_in_fit_and_once_when_certified(scratch):
    calls = []
    rows = counting(X, calls)
    clf = DeepPartitionAggregation(n_partitions=20, classes=CLASSES).fit(rows, Y)
    assert sorted(calls) == list(range(0, len(X), 50))
    calls.clear()
    clf.certify(rows)
    assert sorted(calls) == list(range(0, len(X), 50))


def test_the_scratch_file_has_no_name_and_goes_with_the_fit(scratch, monkeypatch):
    files, seen = [], []
    make = tempfile.TemporaryFile

    def watched(**kwargs):
        files.append(make(**kwargs))
        return files[-1]

    class Looks(GaussianNB):
        def fit(self, X, y):
            seen.extend(scratch.iterdir())
            return super().fit(X, y)

    monkeypatch.setattr(tempfile, "TemporaryFile", watched)
    clf = DeepPartitionAggregation(Looks(), 5, classes=CLASSES).fit(in_dask_blocks(None, X), Y)
    clf.certify(in_dask_blocks(None, X_TEST))
    assert len(files) == 2
    assert all(file.closed for file in files)
    assert seen == list(scratch.iterdir()) == []  # so a process that is killed leaves none


def test_a_dask_array_is_not_held_in_memory(scratch):
    n = 40_000
    y = np.arange(n) % 2
    one_block = np.random.default_rng(0).standard_normal((1000, 400), dtype=np.float32)
    rows = da.map_blocks(
        lambda block_info=None: one_block + np.float32(block_info[None]["chunk-location"][0]),
        chunks=((1000,) * 40, (400,)),
        dtype=np.float32,
        meta=np.empty((0, 0), np.float32),
    )
    tracemalloc.start()
    try:
        DeepPartitionAggregation(GaussianNB(), 200, classes=[0, 1]).fit(rows, y)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 4 * 400 * n / 1.5


@pytest.mark.parametrize("way", [in_file, in_dask_blocks])
@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_value_that_is_not_finite_is_refused_in_the_last_block(tmp_path, scratch, way, bad):
    array = np.zeros((2 * _BLOCK_BYTES // 4096 + 10, 1024), np.float32)
    array[-1, -1] = bad
    clf = DeepPartitionAggregation(n_partitions=2)
    with pytest.raises(ValueError, match=r"X contains (NaN|infinity)"):
        clf.fit(way(tmp_path, array), np.arange(len(array)) % 2)
    assert list(scratch.iterdir()) == []


@pytest.mark.parametrize("way", [in_file, in_dask_blocks])
def test_missing_values_pass_where_the_estimator_takes_them(tmp_path, way):
    array = X.copy()
    array[::5, 3] = np.nan
    clf = DeepPartitionAggregation(DecisionTreeClassifier(max_depth=4), 10, classes=CLASSES)
    expected = clf.fit(array, Y).ballots(array)
    np.testing.assert_array_equal(clf.fit(way(tmp_path, array), Y).ballots(array), expected)


@pytest.mark.parametrize("way", [in_file, in_dask_blocks])
def test_negative_values_are_refused_where_the_estimator_refuses_them(tmp_path, way):
    array = X.copy()
    array[-1, -1] = -1
    with pytest.raises(ValueError, match="Negative values"):
        DeepPartitionAggregation(MultinomialNB(), 10).fit(way(tmp_path, array), Y)


@pytest.mark.parametrize("way", [in_file, in_dask_blocks])
def test_test_rows_of_another_width_are_refused(tmp_path, way):
    clf = DeepPartitionAggregation(n_partitions=5, classes=CLASSES).fit(X, Y)
    with pytest.raises(ValueError, match="has 63 features"):
        clf.certify(way(tmp_path, X_TEST[:, 1:]))


def _sparse(array):
    return da.from_array(array, chunks=(100, -1)).map_blocks(sp.csr_matrix)


def _unknown_length(array):
    rows = da.from_array(array, chunks=(100, -1))
    return rows[rows[:, 10] > 3]


def _objects(array):
    return da.from_array(array.astype(object), chunks=100)


def _wrong_type(array):
    rows = da.from_array(array, chunks=(100, -1))
    return rows.map_blocks(lambda block: block + 0.5, dtype=np.int64, meta=np.empty((0, 0), int))


def _wrong_shape(array):
    rows = da.from_array(array, chunks=(100, -1))
    return rows.map_blocks(lambda block: block[:1], dtype=array.dtype, meta=array[:0])


@pytest.mark.parametrize(
    ("rows", "error", "message"),
    [
        (_wrong_shape, ValueError, "came out with the shape"),
        (_sparse, TypeError, "blocks of type csr_matrix"),
        (_unknown_length, ValueError, r"call X\.compute_chunk_sizes\(\)"),
        (_wrong_type, TypeError, "a block of it came out as float"),
        (lambda array: da.from_array(array[:, 0]), TypeError, r"to_dask_array\(lengths=True\)"),
        (_objects, TypeError, "array of numbers"),
        (lambda array: da.from_array(array).to_dask_dataframe(), TypeError, r"to_dask_array\("),
    ],
)
def test_dask_collections_that_cannot_be_read_by_rows_are_refused(scratch, rows, error, message):
    with pytest.raises(error, match=message):
        DeepPartitionAggregation(n_partitions=5).fit(rows(X), Y)


def test_an_empty_dask_array_is_refused_like_an_empty_array():
    with pytest.raises(ValueError, match="minimum of 1"):
        DeepPartitionAggregation(n_partitions=5).fit(da.from_array(X)[:0], Y[:0])
