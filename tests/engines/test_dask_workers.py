"""Processes of Dask hold the rows: what travels pickles, and a worker that dies costs a retry.

A process takes seconds to start, and so does each that takes the place of a dead one.
"""

import os
import signal
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.datasets import load_digits
from sklearn.tree import DecisionTreeClassifier

from certified_ensembles import DeepPartitionAggregation
from dying_workers import kills_the_worker_that_asks

distributed = pytest.importorskip("distributed")
dask = pytest.importorskip("dask")
dd = pytest.importorskip("dask.dataframe")
# What a cluster says while it starts, stops and loses workers is not ours to mend.
pytestmark = pytest.mark.filterwarnings("default")

X, Y = load_digits(return_X_y=True)
NAMES = [f"pixel {j}" for j in range(64)]
FRAME, TEST = (pd.DataFrame(part / 7, columns=NAMES) for part in (X[:400], X[600:680]))
LABELLED = FRAME.assign(label=Y[:400])


@pytest.fixture(scope="module")
def client(tmp_path_factory):
    """Two worker processes that are started again when they die."""
    config = {"distributed.worker.daemon": False, "distributed.admin.log-length": 0}
    folder = str(tmp_path_factory.mktemp("dask"))
    how = {"processes": True, "dashboard_address": None, "local_directory": folder}
    with (
        dask.config.set(config),
        distributed.LocalCluster(n_workers=2, threads_per_worker=1, **how) as cluster,
        distributed.Client(cluster) as client,
    ):
        yield client


def dpa(estimator, **how):
    return DeepPartitionAggregation(estimator, 12, distinct_seeds=False, **how)


def kills_when_trained(folder):
    class Kills(ClassifierMixin, BaseEstimator):  # inside: workers cannot import this module
        def __init__(self, folder=None, caller=None):
            self.folder = folder
            self.caller = caller

        def fit(self, X, y):
            if os.getpid() != self.caller and len(list(Path(self.folder).iterdir())) >= 3:
                try:
                    (Path(self.folder) / "killed").touch(exist_ok=False)
                except FileExistsError:
                    pass
                else:
                    os.kill(os.getpid(), signal.SIGKILL)
            (Path(self.folder) / f"member-{os.urandom(8).hex()}").touch()
            self.tree_ = DecisionTreeClassifier(max_depth=4, random_state=0).fit(X, y)
            self.classes_ = self.tree_.classes_
            return self

        def predict(self, X):
            return self.tree_.predict(X)

    return Kills(str(folder), os.getpid())


killable = pytest.mark.skipif(
    not hasattr(signal, "SIGKILL"), reason="no process can be killed at once"
)


@killable
@pytest.mark.parametrize("stage", ["block", "training"])
def test_a_worker_killed_at_any_stage_costs_a_retry(client, tmp_path, stage):
    # Seconds: the engine notices that the rows of the dead worker are lost, and shuffles anew.
    client.wait_for_workers(2, timeout=60)
    base, caller = DecisionTreeClassifier(max_depth=4), os.getpid()
    other = dpa(base).fit(FRAME, Y[:400])

    def read(i, folder, caller, kill):
        if kill and i == 3 and os.getpid() != caller:
            try:
                (Path(folder) / "killed").touch(exist_ok=False)
            except FileExistsError:
                pass
            else:
                os.kill(os.getpid(), signal.SIGKILL)
        return LABELLED.iloc[50 * i : 50 * i + 50]

    how = {"folder": str(tmp_path), "caller": caller, "kill": stage == "block"}
    rows = dd.from_map(read, range(8), meta=LABELLED.iloc[:0], **how)
    if stage == "training":
        base = kills_when_trained(tmp_path)
    mine = dpa(base).fit(rows, "label")
    assert (tmp_path / "killed").exists()
    np.testing.assert_array_equal(mine.ballots(TEST), other.ballots(TEST))
    np.testing.assert_array_equal(mine.partition_sizes_, other.partition_sizes_)


@killable
def test_a_worker_killed_while_it_is_asked_costs_a_retry(client, tmp_path):
    client.wait_for_workers(2, timeout=60)

    clf = dpa(kills_the_worker_that_asks(tmp_path)).fit(FRAME, Y[:400])
    expected = clf.predict(TEST)
    answers = clf.predict(dd.from_pandas(TEST, npartitions=6)).compute()
    assert (tmp_path / "killed").exists()
    np.testing.assert_array_equal(answers, expected)
