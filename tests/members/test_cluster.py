"""On a cluster of processes: the members of one process, rows sent once, dead workers survived."""

import os
import signal
from pathlib import Path

import cloudpickle
import joblib
import numpy as np
import pytest
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.datasets import load_digits
from sklearn.linear_model import RidgeClassifier
from sklearn.naive_bayes import GaussianNB
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.tree import DecisionTreeClassifier

from certified_ensembles import DeepPartitionAggregation, SemiSupervisedDPA
from dying_workers import kills_the_worker_that_asks

distributed = pytest.importorskip("distributed")
# What a cluster says while it starts and stops is not ours to mend.
pytestmark = pytest.mark.filterwarnings("default")

X, Y = load_digits(return_X_y=True)
X, X_TEST, Y = X[:600], X[600:900], Y[:600]


def dpa(estimator, n_partitions=20, **kwargs):
    return DeepPartitionAggregation(estimator, n_partitions, classes=range(10), **kwargs)


@pytest.fixture(scope="module")
def client(tmp_path_factory):
    """Two worker processes that are started again when they die."""
    config = {"distributed.worker.daemon": False, "distributed.admin.log-length": 0}
    import dask

    with (
        dask.config.set(config),
        distributed.LocalCluster(
            n_workers=2,
            threads_per_worker=1,
            processes=True,
            dashboard_address=None,
            local_directory=str(tmp_path_factory.mktemp("dask")),
        ) as cluster,
        distributed.Client(cluster) as client,
    ):
        yield client


@pytest.fixture
def sent(client, monkeypatch):
    """Return the sizes in bytes of what goes to the cluster: tasks, and data ahead of tasks."""
    sizes = {"tasks": [], "scattered": []}
    submit, scatter = client.submit, client.scatter

    def counting_submit(function, *args, tasks=(), **kwargs):
        sizes["tasks"].append(len(cloudpickle.dumps(tasks)))
        return submit(function, *args, tasks=tasks, **kwargs)

    def counting_scatter(data, *args, **kwargs):
        sizes["scattered"].append(len(cloudpickle.dumps(data)))
        return scatter(data, *args, **kwargs)

    monkeypatch.setattr(client, "submit", counting_submit)
    monkeypatch.setattr(client, "scatter", counting_scatter)
    return sizes


@pytest.mark.parametrize("ensemble", [DeepPartitionAggregation, SemiSupervisedDPA])
@pytest.mark.parametrize(
    "base",
    [
        RidgeClassifier(),
        DecisionTreeClassifier(max_depth=4),
        make_pipeline(StandardScaler(), DecisionTreeClassifier(max_features=2)),
    ],
    ids=["ridge", "tree", "pipeline that draws"],
)
def test_a_cluster_gives_the_certificates_of_one_process(client, ensemble, base):
    clf = ensemble(base, 20, classes=range(10))
    expected = clf.fit(X, Y)
    ballots, certificate = expected.ballots(X_TEST), expected.certify(X_TEST)
    with joblib.parallel_config("dask"):
        clf = ensemble(base, 20, classes=range(10)).fit(X, Y)
        np.testing.assert_array_equal(clf.ballots(X_TEST), ballots)
        for mine, other in zip(clf.certify(X_TEST), certificate, strict=True):
            np.testing.assert_array_equal(mine, other)
    np.testing.assert_array_equal(clf.ballots(X_TEST), ballots)


@pytest.mark.parametrize("spread_degree", [1, 3])
def test_a_task_carries_its_rows_and_nothing_else_of_the_table(client, sent, spread_degree):
    rng = np.random.default_rng(0)
    rows, labels = rng.standard_normal((4000, 50)), rng.integers(0, 2, 4000)
    clf = DeepPartitionAggregation(
        DecisionTreeClassifier(max_depth=3), 20, classes=[0, 1], spread_degree=spread_degree
    )
    with joblib.parallel_config("dask"):
        clf.fit(rows, labels)
    n_members = 20 * spread_degree
    travelled = sum(sent["tasks"]) + sum(sent["scattered"])
    overhead = 4000 * n_members  # estimator, code and frame of each task
    assert rows.nbytes * spread_degree <= travelled
    assert travelled <= (rows.nbytes + labels.nbytes) * spread_degree + overhead


def test_rows_do_not_go_ahead_of_the_task_that_needs_them(client, sent):
    # What is scattered lies on one worker and is lost with it; what a task carries is not.
    with joblib.parallel_config("dask"):
        dpa(RidgeClassifier()).fit(X, Y)
        dpa(DecisionTreeClassifier(max_depth=3)).fit(X, Y)
    assert sent["scattered"] == []


def kills_its_worker(folder):
    """Return a classifier that kills the process in which it is first trained."""

    class Kills(ClassifierMixin, BaseEstimator):  # inside: workers cannot import this module
        def __init__(self, folder=None, caller=None):
            self.folder = folder
            self.caller = caller

        def fit(self, X, y):
            marker = Path(self.folder) / "killed"
            if os.getpid() != self.caller and len(list(Path(self.folder).iterdir())) >= 5:
                try:
                    marker.touch(exist_ok=False)
                except FileExistsError:
                    pass
                else:
                    os.kill(os.getpid(), signal.SIGKILL)
            (Path(self.folder) / f"member-{hash(y.tobytes() + X.tobytes())}").touch()
            self.tree_ = DecisionTreeClassifier(max_depth=4, random_state=0).fit(X, y)
            self.classes_ = self.tree_.classes_
            return self

        def predict(self, X):
            return self.tree_.predict(X)

    return Kills(str(folder), os.getpid())


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="no process can be killed at once")
def test_a_worker_killed_in_mid_fit_costs_a_retry_and_not_the_fit(client, tmp_path):
    expected = dpa(DecisionTreeClassifier(max_depth=4), distinct_seeds=False).fit(X, Y)
    before = client.run(os.getpid)
    with joblib.parallel_config("dask"):
        clf = dpa(kills_its_worker(tmp_path)).fit(X, Y)
    assert (tmp_path / "killed").exists()
    np.testing.assert_array_equal(clf.ballots(X_TEST), expected.ballots(X_TEST))
    client.wait_for_workers(2, timeout=60)
    assert set(client.run(os.getpid).values()) != set(before.values())


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="no process can be killed at once")
def test_a_worker_killed_while_members_are_asked_costs_a_retry(client, sent, tmp_path):
    clf = dpa(kills_the_worker_that_asks(tmp_path), 60).fit(X, Y)
    expected = clf.ballots(X_TEST)
    client.wait_for_workers(2, timeout=60)
    with joblib.parallel_config("dask"):
        np.testing.assert_array_equal(clf.ballots(X_TEST), expected)
    assert (tmp_path / "killed").exists()
    assert sent["scattered"] == []


def always_kills_its_worker():
    class Kills(GaussianNB):
        def __init__(self, caller=None):
            super().__init__()
            self.caller = caller

        def fit(self, X, y):
            if os.getpid() != self.caller and 77.0 in X:
                os._exit(1)
            return super().fit(X, y)

    return Kills(os.getpid())


@pytest.mark.parametrize("backend", ["dask", "loky"])
def test_a_member_that_always_kills_its_worker_is_named(client, monkeypatch, backend):
    # Seconds: a worker starts anew after each death.
    if backend == "dask":
        monkeypatch.setattr(client.cluster.scheduler, "allowed_failures", 0)
        client.wait_for_workers(2, timeout=60)
    rows, kept = X.copy(), dpa(GaussianNB())
    rows[7, 0] = 77.0
    clf = dpa(always_kills_its_worker(), on_error="abstain")
    number = clf.fit(rows, Y).partition_[7]
    with joblib.parallel_config(backend, n_jobs=2):
        with pytest.raises(Exception, match=r"died|terminated") as error:
            clf.fit(rows, Y)
        kept.fit(X, Y)
    (note,) = error.value.__notes__
    named = note.partition("trained: ")[2].partition(". If")[0].split(", ")
    assert str(number) in named
    assert len(named) < 20
    np.testing.assert_array_equal(kept.ballots(X_TEST), kept.fit(X, Y).ballots(X_TEST))
