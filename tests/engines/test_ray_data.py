"""Rows of a Dataset of Ray stay with its workers, and give the certificates of one process.

Starting Ray takes many seconds, and so does each of its first tasks: hence two tests.
"""

import os
import signal
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.datasets import load_digits
from sklearn.tree import DecisionTreeClassifier

from certified_ensembles import DeepPartitionAggregation

ray = pytest.importorskip("ray", reason="Ray is not installed (extra `cluster`)")
# What a cluster says while it starts and stops is not ours to mend.
pytestmark = pytest.mark.filterwarnings("default")

X, Y = load_digits(return_X_y=True)
NAMES = [f"pixel {j}" for j in range(64)]
FRAME, TEST = (pd.DataFrame(part / 7, columns=NAMES) for part in (X[:400], X[600:680]))
ROWS = FRAME.assign(label=Y[:400], who=[f"s{i % 90}" for i in range(400)])


@pytest.fixture(scope="module", autouse=True)
def workers():
    data = pytest.importorskip("ray.data")
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level="error")
    data.DataContext.get_current().enable_progress_bars = False
    yield
    ray.shutdown()


def dataset(frame, n_blocks=3):
    parts = np.array_split(np.random.default_rng(0).permutation(len(frame)), n_blocks)
    return ray.data.from_pandas([frame.iloc[part] for part in parts])


def dpa(**how):
    return DeepPartitionAggregation(DecisionTreeClassifier(max_features=5), 4, **how)


def test_a_dataset_gives_the_certificates_of_one_process(tmp_path):
    def kills_once(batch, folder):
        try:
            (Path(folder) / "killed").touch(exist_ok=False)
        except FileExistsError:
            return batch
        os.kill(os.getpid(), signal.SIGKILL)

    other = dpa(spread_degree=2).fit(FRAME, Y[:400], groups=ROWS["who"])
    rows = dataset(ROWS)
    if hasattr(signal, "SIGKILL"):
        rows = rows.map_batches(kills_once, fn_kwargs={"folder": str(tmp_path)})
    mine = dpa(spread_degree=2).fit(rows, "label", groups="who")
    assert mine.partition_ is None
    np.testing.assert_array_equal(mine.partition_sizes_, other.partition_sizes_)
    np.testing.assert_array_equal(mine.ballots(TEST), other.ballots(TEST))
    asked = mine.certify(dataset(TEST.assign(row=range(80))), "label_flip").to_pandas()
    asked = asked.sort_values("row")
    for name, expected in other.certify(TEST, "label_flip")._asdict().items():
        np.testing.assert_array_equal(asked[name], expected)


def test_what_cannot_be_trained_on_is_refused_in_our_words():
    def without_a_column(batch):
        return batch.drop(columns="pixel 3") if (batch["label"] == 0).all() else batch

    parts = [ROWS[ROWS["label"] != 0], ROWS[ROWS["label"] == 0]]
    rows = ray.data.from_pandas([part.drop(columns="who") for part in parts])
    rows = rows.map_batches(without_a_column, batch_format="pandas", batch_size=None)
    with pytest.raises(ValueError, match=r"A block of X: .*it lacks \['pixel 3'\]"):
        dpa().fit(rows, "label")
    with pytest.raises(TypeError, match="y is a ndarray: of a Dataset name a column"):
        dpa().fit(rows, Y[:400])
    with pytest.raises(TypeError, match="groups is a ndarray"):
        dpa().fit(rows, "label", groups=Y[:400])
