"""Files by partition: any engine may write them, and a fit reads one partition at a time."""

import numpy as np
import pandas as pd
import pytest
from sklearn.datasets import load_digits
from sklearn.linear_model import RidgeClassifier
from sklearn.tree import DecisionTreeClassifier

from certified_ensembles import DeepPartitionAggregation, DeepPartitionRegressor
from certified_ensembles.engines import _folder, partition_numbers, write_partitions
from certified_ensembles.hashers import ContentHasher

pa = pytest.importorskip("pyarrow")
pq = pytest.importorskip("pyarrow.parquet")

X, Y = load_digits(return_X_y=True)
NAMES = [f"pixel {j}" for j in range(64)]
FRAME, TEST = (pd.DataFrame(part / 7, columns=NAMES) for part in (X[:400], X[600:660]))
ROWS = FRAME.assign(
    label=Y[:400], who=[f"s{i % 90}" for i in range(400)], w=np.arange(400) % 3 + 1
)


def dpa(estimator=None, n_partitions=12, **how):
    return DeepPartitionAggregation(estimator or RidgeClassifier(), n_partitions, **how)


def in_batches(frame, size=70):
    return [frame.iloc[i : i + size] for i in range(0, len(frame), size)]


@pytest.fixture
def folder(tmp_path):
    """Return files by partition of rows with labels."""
    write_partitions(in_batches(ROWS[[*NAMES, "label"]]), tmp_path / "rows", 12, y="label")
    return tmp_path / "rows"


def assert_same(mine, other):
    np.testing.assert_array_equal(mine.partition_sizes_, other.partition_sizes_)
    np.testing.assert_array_equal(mine.ballots(TEST), other.ballots(TEST))
    for own, given in zip(mine.certify(TEST), other.certify(TEST), strict=True):
        np.testing.assert_array_equal(own, given)


@pytest.mark.parametrize("n_jobs", [1, 2])
@pytest.mark.parametrize("bucket_bytes", [1, 1 << 30])
def test_files_by_partition_give_the_certificates_of_one_table(
    folder, monkeypatch, n_jobs, bucket_bytes
):
    monkeypatch.setattr(_folder, "_BUCKET_BYTES", bucket_bytes)
    mine = dpa(DecisionTreeClassifier(max_features=3), n_jobs=n_jobs)
    mine.fit_partitions(folder, "label")
    assert_same(mine, dpa(DecisionTreeClassifier(max_features=3)).fit(FRAME, Y[:400]))
    assert list(mine.feature_names_in_) == NAMES


@pytest.mark.parametrize(
    "how",
    [
        {"spread_degree": 3},
        {"hasher": ContentHasher(key="k", include_labels=True)},
        {"hasher": "pixel_sum"},
    ],
    ids=str,
)
@pytest.mark.parametrize("most_bytes", [1, 1 << 28])
def test_files_are_written_for_every_kind_of_partition(tmp_path, monkeypatch, how, most_bytes):
    monkeypatch.setattr(_folder, "_BUCKET_BYTES", 1)
    frame = (FRAME * 7).round().astype(int)
    rows = in_batches(frame.assign(label=Y[:400]))
    written = {k: v for k, v in how.items() if k in ("hasher", "spread_degree")}
    sizes = write_partitions(
        rows, tmp_path / "rows", 12, y="label", most_bytes=most_bytes, **written
    )
    other = dpa(**how).fit(frame, Y[:400])
    np.testing.assert_array_equal(sizes, other.partition_sizes_)
    assert_same(dpa(**how).fit_partitions(tmp_path / "rows", "label"), other)


def test_sources_and_weights_are_columns_of_the_files(tmp_path):
    how = {"y": "label", "groups": "who"}
    write_partitions(in_batches(ROWS), tmp_path / "rows", 12, besides=["w"], **how)
    mine = dpa(DecisionTreeClassifier(max_depth=4))
    mine.fit_partitions(tmp_path / "rows", sample_weight="w", **how)
    other = dpa(DecisionTreeClassifier(max_depth=4))
    other.fit(FRAME, Y[:400], groups=ROWS["who"], sample_weight=ROWS["w"])
    assert mine.partitioned_by_ == "source"
    assert_same(mine, other)


def test_a_regressor_is_fitted_too(folder):
    mine = DeepPartitionRegressor(n_partitions=12).fit_partitions(folder, "label")
    other = DeepPartitionRegressor(n_partitions=12).fit(FRAME, Y[:400])
    for own, given in zip(
        mine.certify_interval(TEST, 2), other.certify_interval(TEST, 2), strict=True
    ):
        np.testing.assert_array_equal(own, given)


def test_rows_come_from_files_and_readers_of_arrow(tmp_path, folder):
    source = tmp_path / "source"
    source.mkdir()
    rows = ROWS[[*NAMES, "label"]]
    for i, part in enumerate(in_batches(rows)):
        part.to_parquet(source / f"{i}.parquet", index=False)
    (source / "_SUCCESS").touch()
    reader = pa.Table.from_pandas(rows, preserve_index=False).to_reader(max_chunksize=33)
    for name, given in {"from files": source, "from a reader": reader}.items():
        write_partitions(given, tmp_path / name, 12, y="label")
        mine = dpa().fit_partitions(tmp_path / name, "label")
        assert_same(mine, dpa().fit_partitions(folder, "label"))


def test_polars_may_write_the_files(tmp_path):
    polars = pytest.importorskip("polars")
    rows = polars.DataFrame({name: ROWS[name].to_numpy() for name in [*NAMES, "label"]})
    number = partition_numbers(rows.drop("label"), 12)
    rows = rows.with_columns(polars.Series("partition", number))
    rows.write_parquet(tmp_path / "rows", partition_by="partition")
    assert_same(dpa().fit_partitions(tmp_path / "rows", "label"), dpa().fit(FRAME, Y[:400]))


def test_an_engine_numbers_batches_as_the_ensemble_does():
    clf = dpa(spread_degree=2).fit(FRAME, Y[:400])
    numbers = [partition_numbers(part[NAMES], 12, spread_degree=2) for part in in_batches(ROWS)]
    np.testing.assert_array_equal(np.concatenate(numbers), clf.partition_)
    clf.fit(FRAME, Y[:400], groups=ROWS["who"])
    numbers = partition_numbers(FRAME, 12, groups=ROWS["who"], spread_degree=2)
    np.testing.assert_array_equal(numbers, clf.partition_)


def test_large_integers_stay_exact_beside_missing_ones(tmp_path):
    # An integer of 64 bits is rounded where pandas makes a column of floats for a missing cell.
    ids, label = (2**53 + np.arange(200)).tolist(), (np.arange(200) % 2).tolist()
    rows = pa.table({"id": ids, "label": label})
    clean = write_partitions([rows], tmp_path / "clean", 5, y="label")
    rows = pa.table({"id": [None, *ids[1:]], "label": label})
    missing = write_partitions([rows], tmp_path / "missing", 5, y="label")
    assert np.abs(clean - missing).sum() <= 2
    clf = dpa(DecisionTreeClassifier(), 5).fit_partitions(tmp_path / "missing", "label")
    np.testing.assert_array_equal(clf.partition_sizes_, missing)


# ---------------------------------------------------------------- refused


def some_file(folder, partition=None):
    name = "*" if partition is None else f"partition={partition}"
    return sorted(folder.glob(f"{name}/*.parquet"))[0]


def rewrite(path, change):
    frame = change(pd.read_parquet(path, partitioning=None))
    frame.to_parquet(path, index=False)


@pytest.mark.parametrize("on_error", ["raise", "abstain"])
def test_a_row_in_a_wrong_partition_is_named(folder, on_error):
    one, other = some_file(folder, 3), some_file(folder, 4)
    stray = pd.read_parquet(other, partitioning=None).iloc[[0]]
    n = len(pd.read_parquet(one, partitioning=None))
    rewrite(one, lambda frame: pd.concat([frame, stray]))
    message = rf"Row {n} of file partition=3.part-0-0.parquet belongs to partition 4 and not to 3"
    with pytest.raises(ValueError, match=message):
        dpa(on_error=on_error).fit_partitions(folder, "label")


def test_files_of_another_hasher_or_number_of_partitions_are_refused(folder):
    with pytest.raises(ValueError, match="holds partition 11, and the ensemble has 5"):
        dpa(n_partitions=5).fit_partitions(folder, "label")
    for clf in (dpa(n_partitions=24), dpa(hasher=ContentHasher(key="k"))):
        with pytest.raises(ValueError, match="belongs to partition"):
            clf.fit_partitions(folder, "label")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda f: f.drop(columns="pixel 3"), r"parquet: .*lacks \['pixel 3'\]"),
        (lambda f: f.assign(more=1), r"parquet: .*has \['more'\] besides"),
        (lambda f: f.drop(columns="label"), r"parquet: it lacks the columns \['label'\]"),
        (lambda f: f.assign(label=0.5), "parquet: .*continuous|parquet: y holds labels of dtype"),
        (lambda f: f.assign(label=None), r"parquet: y lacks \d+ of \d+ labels"),
    ],
    ids=["lacks", "more", "no labels", "fractions", "missing labels"],
)
def test_a_file_with_other_columns_is_named(folder, change, message):
    rewrite(some_file(folder, 7), change)
    with pytest.raises((TypeError, ValueError), match=r"File partition=7.part-0-0\." + message):
        dpa().fit_partitions(folder, "label")


def test_a_damaged_file_is_named(folder):
    path = some_file(folder, 7)
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(ValueError, match=r"File partition=7.part-0-0.parquet is no whole Parquet"):
        dpa().fit_partitions(folder, "label")


@pytest.mark.parametrize("name", ["partition=x", "rest", "part-0.parquet"])
def test_a_folder_with_anything_beside_partitions_is_refused(folder, name):
    (folder / name).mkdir()
    with pytest.raises(ValueError, match=f"'{name}' in .* is no folder of a partition"):
        dpa().fit_partitions(folder, "label")


def test_a_folder_that_is_none_and_columns_that_are_none_are_refused(folder, tmp_path):
    with pytest.raises(ValueError, match="is no folder"):
        dpa().fit_partitions(tmp_path / "nowhere", "label")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="holds no files"):
        dpa().fit_partitions(tmp_path / "empty", "label")
    with pytest.raises(ValueError, match="y='class' names a column that X does not have"):
        dpa().fit_partitions(folder, "class")
    with pytest.raises(TypeError, match="y is a ndarray: name a column"):
        dpa().fit_partitions(folder, Y)
    with pytest.raises(TypeError, match="sample_weight is a list in memory"):
        dpa().fit_partitions(folder, "label", sample_weight=[1.0])


def test_what_cannot_be_written_leaves_no_folder(tmp_path):
    bad = in_batches(ROWS[[*NAMES, "label"]])
    bad[3] = bad[3].drop(columns="pixel 3")
    with pytest.raises(ValueError, match=r"Batch 3 has other columns .* lacks \['pixel 3'\]"):
        write_partitions(bad, tmp_path / "rows", 12, y="label")
    assert list(tmp_path.iterdir()) == []
    lists = pa.table({"a": [[1], [2]], "label": [0, 1]})
    with pytest.raises(TypeError, match=r"Batch 0: .*column 'a', row 0"):
        write_partitions([lists], tmp_path / "rows", 12, y="label")
    with pytest.raises(ValueError, match="has a column 'partition'"):
        write_partitions([ROWS.rename(columns={"who": "partition"})], tmp_path / "rows", 5, y="w")
    write_partitions([ROWS], tmp_path / "rows", 5, y="label")
    with pytest.raises(ValueError, match="exists: name one that does not"):
        write_partitions([ROWS], tmp_path / "rows", 5, y="label")
    (tmp_path / "torn.parquet").write_bytes(b"PAR1 torn")
    with pytest.raises(ValueError, match=r"torn.parquet is no whole Parquet file"):
        write_partitions(tmp_path / "torn.parquet", tmp_path / "other", 5, y="label")


@pytest.mark.parametrize("spread_degree", [1, 2])
def test_rows_without_a_canonical_form_are_counted_once_and_named(
    tmp_path, monkeypatch, spread_degree
):
    monkeypatch.setattr(_folder, "_BUCKET_BYTES", 1)
    folder, how = tmp_path / "rows", {"spread_degree": spread_degree}
    sizes = write_partitions([ROWS[[*NAMES, "label"]]], folder, 12, y="label", **how)
    rewrite(some_file(folder, 2), lambda f: f.assign(**{"pixel 3": [[1]] * len(f)}))
    with pytest.raises(TypeError, match=r"File partition=2.part-0-0.parquet: .*'pixel 3'"):
        dpa(**how).fit_partitions(folder, "label")
    clf = dpa(on_error="abstain", **how)
    words = rf"{sizes[2]} of 400 rows .* first of them row 0 of file partition=2.part-0-0.parquet"
    with pytest.warns(UserWarning, match=words):
        clf.fit_partitions(folder, "label")
    assert clf.partition_sizes_[2] == 0
    np.testing.assert_array_equal(np.delete(clf.partition_sizes_, 2), np.delete(sizes, 2))
