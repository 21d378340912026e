"""On workers of Ray: the members of one process, dead workers survived where Ray is told to."""

import os
import signal
from pathlib import Path

import joblib
import numpy as np
import pytest
from sklearn.base import BaseEstimator, ClassifierMixin, clone
from sklearn.datasets import load_digits
from sklearn.tree import DecisionTreeClassifier

from certified_ensembles import DeepPartitionAggregation, SemiSupervisedDPA

ray = pytest.importorskip("ray", reason="Ray is not installed (extra `cluster`)")
# What a cluster says while it starts and stops is not ours to mend.
pytestmark = pytest.mark.filterwarnings("default")

X, Y = load_digits(return_X_y=True)
X, X_TEST, Y = X[:600], X[600:900], Y[:600]
# As the documentation has it: by default a dead worker ends the fit.
AGAIN = {"max_restarts": -1, "max_task_retries": -1}


@pytest.fixture(scope="module", autouse=True)
def workers():
    from ray.util.joblib import register_ray

    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level="error")
    register_ray()
    yield
    ray.shutdown()


def test_ray_gives_the_ballots_of_one_process():
    # Certificates follow from them. (Actors are started for each call, which takes seconds.)
    clf = SemiSupervisedDPA(DecisionTreeClassifier(max_depth=4), 20, classes=range(10))
    ballots = clf.fit(X, Y).ballots(X_TEST)
    with joblib.parallel_config("ray", n_jobs=2):
        clf = clone(clf).fit(X, Y)
        np.testing.assert_array_equal(clf.ballots(X_TEST), ballots)


def kills_its_worker(folder):
    """Return a classifier that kills the first other process in which it is trained."""

    class Kills(ClassifierMixin, BaseEstimator):  # inside: workers cannot import this module
        def __init__(self, folder=None, caller=None):
            self.folder = folder
            self.caller = caller

        def fit(self, X, y):
            if os.getpid() != self.caller:
                try:
                    (Path(self.folder) / "killed").touch(exist_ok=False)
                except FileExistsError:
                    pass
                else:
                    os.kill(os.getpid(), signal.SIGKILL)
            self.tree_ = DecisionTreeClassifier(max_depth=4, random_state=0).fit(X, y)
            self.classes_ = self.tree_.classes_
            return self

        def predict(self, X):
            return self.tree_.predict(X)

    return Kills(str(folder), os.getpid())


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="no process can be killed at once")
def test_a_worker_killed_in_mid_fit_costs_a_retry_and_not_the_fit(tmp_path):
    how = {"n_partitions": 20, "classes": range(10)}
    expected = DeepPartitionAggregation(
        DecisionTreeClassifier(max_depth=4), distinct_seeds=False, **how
    ).fit(X, Y)
    with joblib.parallel_config("ray", n_jobs=2, ray_remote_args=AGAIN):
        clf = DeepPartitionAggregation(kills_its_worker(tmp_path), **how).fit(X, Y)
    assert (tmp_path / "killed").exists()
    np.testing.assert_array_equal(clf.ballots(X_TEST), expected.ballots(X_TEST))
