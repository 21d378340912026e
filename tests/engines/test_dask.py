"""Rows of Dask collections stay on the workers, and give the certificates of one process.

The workers are threads here, which start at once; those of test_dask_workers are processes.
"""

import contextlib
import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.datasets import load_digits
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.linear_model import LogisticRegression, RidgeClassifier
from sklearn.naive_bayes import GaussianNB, MultinomialNB
from sklearn.pipeline import make_pipeline
from sklearn.tree import DecisionTreeClassifier

from certified_ensembles import (
    CertificateWarning,
    DeepPartitionAggregation,
    DeepPartitionRegressor,
    SemiSupervisedDPA,
)
from certified_ensembles.engines._dask import _output_keys, _wire

distributed = pytest.importorskip("distributed")
dask = pytest.importorskip("dask")
da = pytest.importorskip("dask.array")
dd = pytest.importorskip("dask.dataframe")
# What a cluster says while it starts, stops and loses workers is not ours to mend.
pytestmark = pytest.mark.filterwarnings("default")

X, Y = load_digits(return_X_y=True)
NAMES = [f"pixel {j}" for j in range(64)]
FRAME, TEST = (pd.DataFrame(part / 7, columns=NAMES) for part in (X[:400], X[600:680]))
ROWS = FRAME.assign(label=Y[:400], who=[f"s{i % 90}" for i in range(400)])
ROWS["w"] = np.arange(400) % 3 + 1
LABELLED = ROWS[[*NAMES, "label"]]


@contextlib.contextmanager
def cluster_of(n_workers, folder):
    how = {"processes": False, "dashboard_address": ":0", "local_directory": str(folder)}
    with (
        distributed.LocalCluster(n_workers=n_workers, threads_per_worker=1, **how) as cluster,
        distributed.Client(cluster) as client,
    ):
        yield client


@pytest.fixture(scope="module")
def client(tmp_path_factory):
    with cluster_of(2, tmp_path_factory.mktemp("dask")) as client:
        yield client


def dpa(estimator=None, n_partitions=12, **how):
    return DeepPartitionAggregation(estimator or RidgeClassifier(), n_partitions, **how)


def in_blocks(frame, n_blocks=5, seed=0):
    order = np.random.default_rng(seed).permutation(len(frame))
    return dd.from_pandas(frame.iloc[order], npartitions=n_blocks, sort=False)


def assert_same(mine, other, X_test=TEST):
    assert mine.partition_ is None
    np.testing.assert_array_equal(mine.partition_sizes_, other.partition_sizes_)
    np.testing.assert_array_equal(mine.classes_, other.classes_)
    np.testing.assert_array_equal(mine.ballots(X_test), other.ballots(X_test))
    for own, given in zip(mine.certify(X_test), other.certify(X_test), strict=True):
        np.testing.assert_array_equal(own, given)


# ---------------------------------------------------------------- fit


@pytest.mark.parametrize("n_blocks", [1, 3, 20])
@pytest.mark.parametrize("how", [{}, {"spread_degree": 3}, {"n_partitions": 100}], ids=str)
def test_a_frame_gives_the_certificates_of_one_process(client, n_blocks, how):
    mine = dpa(**how).fit(in_blocks(LABELLED, n_blocks, seed=n_blocks), "label")
    assert_same(mine, dpa(**how).fit(FRAME, Y[:400]))
    assert list(mine.feature_names_in_) == NAMES


def test_labels_sources_and_weights_are_columns_or_series(client):
    other = dpa(DecisionTreeClassifier(max_depth=4), n_seeds=2)
    other.fit(FRAME, Y[:400], groups=ROWS["who"], sample_weight=ROWS["w"])
    rows, clf = in_blocks(ROWS), dpa(DecisionTreeClassifier(max_depth=4), n_seeds=2)
    mine = clf.fit(rows, "label", groups="who", sample_weight="w")
    assert_same(mine, other)
    assert mine.partitioned_by_ == "source"
    mine = clf.fit(rows[NAMES], rows["label"], groups=rows["who"], sample_weight=rows["w"])
    assert_same(mine, other)


@pytest.mark.parametrize("n", [1, 2, 7, 100])
def test_every_output_of_the_shuffle_gets_one_bucket(client, n):
    keys = _output_keys(n)
    pieces = [(bucket, b"piece") for bucket in range(n) for _ in range(2)]
    wire = dd.from_delayed([dask.delayed(_wire)(pieces, keys)], meta=_wire((), keys))
    outputs = wire.shuffle("output", npartitions=n, shuffle_method="p2p").to_delayed()
    came = dask.compute(*outputs)
    assert sorted(output["bucket"].tolist() for output in came) == [[b, b] for b in range(n)]


def test_a_bar_counts_members(client, capfd):
    dpa(verbose=1).fit(in_blocks(LABELLED), "label")
    assert "12/12" in capfd.readouterr().err


def test_what_comes_of_one_source_is_read_once(client, tmp_path):
    def read(i, folder):
        (Path(folder) / f"{i}-{os.urandom(4).hex()}").touch()
        return LABELLED.iloc[100 * i : 100 * i + 100]

    rows = dd.from_map(read, range(4), folder=str(tmp_path), meta=LABELLED.iloc[:0])
    mine = dpa().fit(rows[NAMES], rows["label"])
    assert len(list(tmp_path.iterdir())) == 4
    assert_same(mine, dpa().fit(FRAME, Y[:400]))


@pytest.mark.parametrize("labels", [np.asarray, da.asarray], ids=["memory", "dask"])
def test_an_array_in_tiles_gives_the_certificates_of_one_process(client, labels):
    tiles = da.from_array(FRAME.to_numpy(), chunks=(90, 30))
    mine = dpa(LogisticRegression(max_iter=50)).fit(tiles, labels(Y[:400]))
    other = dpa(LogisticRegression(max_iter=50)).fit(FRAME.to_numpy(), Y[:400])
    assert_same(mine, other, TEST.to_numpy())


def test_arrays_that_were_frames_keep_their_columns(client):
    # Without lengths: the blocks of X and y are those of one frame.
    rows = in_blocks(ROWS)
    X, y = rows[NAMES].to_dask_array(), rows["label"].to_dask_array()
    mine = dpa().fit(X, y, groups=rows["who"])
    other = dpa().fit(FRAME.to_numpy(), Y[:400], groups=ROWS["who"])
    assert_same(mine, other, TEST.to_numpy())


def test_texts_are_a_series(client):
    rng = np.random.default_rng(0)
    texts = pd.Series([" ".join(rng.choice(list("abcdef"), 5)) for _ in range(200)])
    rows = pd.DataFrame({"text": texts, "label": ["ham", "spam"] * 100})
    base = make_pipeline(CountVectorizer(token_pattern=r"\w"), MultinomialNB())
    there = in_blocks(rows)
    mine = dpa(base).fit(there["text"], there["label"])
    other = dpa(base).fit(texts, rows["label"])
    assert_same(mine, other, texts[:50])
    asked = mine.predict(dd.from_pandas(texts[:50], npartitions=3))
    np.testing.assert_array_equal(asked.compute(), other.predict(texts[:50]))


def test_images_stay_images(client):
    class Flat(GaussianNB):
        def fit(self, X, y):
            assert X.dtype == np.uint8
            assert X.shape[1:] == (8, 8)
            return super().fit(X.reshape(len(X), -1), y)

        def predict(self, X):
            return super().predict(X.reshape(len(X), -1))

    images = X[:400].astype(np.uint8).reshape(-1, 8, 8)
    mine = dpa(Flat()).fit(da.from_array(images, chunks=(70, 8, 4)), Y[:400])
    assert_same(mine, dpa(Flat()).fit(images, Y[:400]), images[:50])


def test_a_regressor_is_fitted_and_asked_where_rows_are(client):
    rows = in_blocks(LABELLED)
    mine = DeepPartitionRegressor(n_partitions=12).fit(rows, "label")
    other = DeepPartitionRegressor(n_partitions=12).fit(FRAME, Y[:400])
    there = dd.from_pandas(TEST, npartitions=3)
    assert vars(mine.certify(there, 2.0)) == vars(other.certify(TEST, 2.0))
    for ask in (
        lambda reg, X: reg.certify(X, 2.0),
        lambda reg, X: reg.certify_interval(X, 2),
        lambda reg, X: [reg.predict(X)],
    ):
        for own, given in zip(dask.compute(*ask(mine, there)), ask(other, TEST), strict=True):
            np.testing.assert_array_equal(own, given)


def test_a_cache_is_that_of_a_fit_in_one_process(client, tmp_path):
    other = dpa(DecisionTreeClassifier(max_features=3), memory=str(tmp_path)).fit(FRAME, Y[:400])
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("output.pkl")}
    mine = dpa(DecisionTreeClassifier(max_features=3), memory=str(tmp_path))
    mine.fit(in_blocks(LABELLED), "label")
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("output.pkl")} == before
    assert len(before) == 12
    assert_same(mine, other)


def test_without_a_cluster_frames_are_refused_and_arrays_come_to_the_caller(monkeypatch):
    monkeypatch.setattr(distributed, "default_client", lambda: (_ for _ in ()).throw(ValueError))
    with pytest.raises(TypeError, match=r"make a distributed.Client"):
        dpa().fit(in_blocks(LABELLED), "label")
    clf = dpa().fit(da.from_array(FRAME.to_numpy(), chunks=(90, 64)), Y[:400])
    assert len(clf.partition_) == 400


# ---------------------------------------------------------------- answers


def test_test_rows_are_asked_where_they_are(client):
    clf = dpa(classes=range(10)).fit(FRAME, Y[:400])
    asked = {
        "frame": dd.from_pandas(TEST, npartitions=3),
        "array": da.from_array(TEST.to_numpy(), chunks=(33, 20)),
    }
    for name, rows in asked.items():
        given = clf if name == "frame" else dpa(classes=range(10)).fit(FRAME.to_numpy(), Y[:400])
        for method in ("predict", "predict_proba", "vote_counts"):
            answers = getattr(given, method)(rows)
            assert isinstance(answers, da.Array)
            expected = getattr(clf, method)(TEST)
            assert answers.dtype == expected.dtype
            np.testing.assert_array_equal(answers.compute(), expected)
        certificate = given.certify(rows, "replacement", target=3)
        assert vars(certificate) == vars(clf.certify(TEST, "replacement", target=3))
        for own, expected in zip(
            dask.compute(*certificate), clf.certify(TEST, "replacement", target=3), strict=True
        ):
            np.testing.assert_array_equal(own, expected)


def test_members_are_sent_once_to_every_worker(client, monkeypatch):
    sent, scatter = [], client.scatter

    def counting(data, **how):
        sent.append(how["broadcast"])
        return scatter(data, **how)

    monkeypatch.setattr(client, "scatter", counting)
    clf, rows = dpa().fit(FRAME, Y[:400]), dd.from_pandas(TEST, npartitions=8)
    dask.compute(*clf.certify(rows), clf.predict(rows))
    assert sent == [True]
    lazy, expected = clf.predict(rows), clf.predict(TEST)
    clf.fit(FRAME, (Y[:400] + 1) % 10)
    np.testing.assert_array_equal(lazy.compute(), expected)  # of the fit that was asked
    np.testing.assert_array_equal(clf.predict(rows).compute(), clf.predict(TEST))
    assert sent == [True, True]


def test_blocks_without_rows_are_answered_with_none(client):
    clf, rows = dpa().fit(FRAME, Y[:400]), dd.from_pandas(TEST, npartitions=4)
    kept = rows[rows["pixel 2"] > 1.5]
    np.testing.assert_array_equal(
        clf.predict(kept).compute(), clf.predict(TEST[TEST["pixel 2"] > 1.5])
    )


def test_a_hostile_test_row_changes_no_other(client):
    def block(i):
        own = TEST.iloc[20 * i : 20 * i + 20].copy()
        if i == 2:
            own["pixel 3"] = own["pixel 3"].astype(object)
            own.iloc[7, 3] = "a word"
        return own

    clf, how = dpa().fit(FRAME, Y[:400]), {"meta": TEST.iloc[:0], "enforce_metadata": False}
    with pytest.raises(TypeError, match="column 'pixel 3' has the type str"):
        clf.predict(dd.from_map(block, range(4), **how)).compute()
    clf = dpa(on_error="abstain").fit(FRAME, Y[:400])
    with dask.config.set({"dataframe.convert-string": False}):
        rows = dd.from_map(block, range(4), **how)
    answers, others = clf.predict(rows).compute(), np.arange(80) != 47
    np.testing.assert_array_equal(answers[others], clf.predict(TEST)[others])


def test_what_is_asked_once_a_row_is_refused(client):
    clf, rows = dpa().fit(FRAME, Y[:400]), dd.from_pandas(TEST, npartitions=4)
    with pytest.raises(TypeError, match="one value for all rows, got a ndarray"):
        clf.certify(rows, target=np.zeros(len(TEST)))


# ---------------------------------------------------------------- refused


def test_collections_that_do_not_fit_together_are_refused(client):
    rows = in_blocks(LABELLED)
    with pytest.raises(ValueError, match="y='class' names a column"):
        dpa().fit(rows, "class")
    with pytest.raises(ValueError, match="y is None"):
        dpa().fit(rows, None)
    with pytest.raises(ValueError, match="y has 2 blocks and X has 5"):
        dpa().fit(rows[NAMES], in_blocks(LABELLED, 2)["label"])
    with pytest.raises(TypeError, match="y is a ndarray in memory"):
        dpa().fit(rows[NAMES], Y[:400])
    with pytest.raises(TypeError, match="sample_weight is a list in memory"):
        dpa(DecisionTreeClassifier()).fit(rows, "label", sample_weight=[1.0] * 400)
    with pytest.raises(TypeError, match="Dask collection other than a DataFrame"):
        dpa().fit(da.from_array(Y[:400]), Y[:400])
    with pytest.raises(ValueError, match="periods are not taken"):
        dpa().fit(rows, "label", periods=rows["pixel 0"])
    with pytest.raises(TypeError, match=r"Dask collection other than an array"):
        SemiSupervisedDPA(n_partitions=12).fit(rows[NAMES], rows["label"])


def test_a_hostile_block_is_named(client):
    def block(i):
        own = LABELLED.iloc[100 * i : 100 * i + 100]
        return own.drop(columns="pixel 3") if i == 2 else own

    rows = dd.from_map(block, range(4), meta=LABELLED.iloc[:0], enforce_metadata=False)
    with pytest.raises(ValueError, match=r"Block 2 of X: .*lacks \['pixel 3'\]"):
        dpa().fit(rows, "label")


def test_a_hostile_cell_stays_with_the_member_of_its_row(client):
    def block(i):
        own = LABELLED.iloc[100 * i : 100 * i + 100].copy()
        if i == 2:
            own["pixel 3"] = own["pixel 3"].astype(object)
            own.iloc[7, 3] = "a word"
        return own

    how = {"meta": LABELLED.iloc[:0], "enforce_metadata": False}
    for on_error in ("raise", "abstain"):  # dask has spelt out the numbers of all rows beside it
        rows = dd.from_map(block, range(4), **how)
        with pytest.raises(TypeError, match=r"Block 2 of X: column 'pixel 3' has the type str"):
            dpa(GaussianNB(), on_error=on_error).fit(rows, "label")
    with dask.config.set({"dataframe.convert-string": False}):
        rows = dd.from_map(block, range(4), **how)
    whole = pd.concat([block(i) for i in range(4)])
    with pytest.warns(CertificateWarning, match="1 of 12 members could not be trained"):
        mine = dpa(GaussianNB(), on_error="abstain").fit(rows, "label")
    with pytest.warns(CertificateWarning, match="1 of 12 members could not be trained"):
        other = dpa(GaussianNB(), on_error="abstain").fit(whole[NAMES], whole["label"])
    assert_same(mine, other)
    with pytest.raises(ValueError, match="could not convert") as error:
        dpa(GaussianNB()).fit(rows, "label")
    notes = "".join(error.value.__notes__)
    assert f"training member {other.partition_[207]}," in notes
    assert " of block 0 of X, " in notes


def test_an_error_in_one_bucket_ends_the_work_of_the_others(client):
    with pytest.raises(ValueError, match="max_iter"):
        dpa(LogisticRegression(max_iter=-1), 100).fit(in_blocks(LABELLED), "label")
    client.run(lambda: None)
    assert not any(client.processing().values())


def test_a_fit_that_was_killed_resumes_from_its_cache(client, tmp_path):
    class Stops(GaussianNB):
        def __init__(self, folder=None):
            super().__init__()
            self.folder = folder

        def fit(self, X, y):
            path = Path(self.folder)
            (path / os.urandom(8).hex()).touch()
            if not (path / "repaired").exists() and len(list(path.iterdir())) > 6:
                raise RuntimeError("as good as the end of the caller")
            return super().fit(X, y)

    (tmp_path / "calls").mkdir()
    base = Stops(str(tmp_path / "calls"))
    clf = dpa(base, memory=str(tmp_path / "members"))
    rows = in_blocks(LABELLED)
    with pytest.raises(RuntimeError, match="the end of the caller"):
        clf.fit(rows, "label")
    kept = len(list((tmp_path / "members").rglob("output.pkl")))
    assert 0 < kept < 12
    for path in (tmp_path / "calls").iterdir():
        path.unlink()
    (tmp_path / "calls" / "repaired").touch()
    clf.fit(rows, "label")
    # Members that were under way when the error came may have been kept since.
    assert 1 <= len(list((tmp_path / "calls").iterdir())) - 1 <= 12 - kept
    assert_same(clf, dpa(GaussianNB()).fit(FRAME, Y[:400]))


@pytest.mark.parametrize("n_workers", [1, 3])
def test_the_number_of_workers_changes_nothing(client, tmp_path, n_workers):
    with cluster_of(n_workers, tmp_path):
        mine = dpa().fit(in_blocks(LABELLED, 6, n_workers), "label")
    assert_same(mine, dpa().fit(FRAME, Y[:400]))
