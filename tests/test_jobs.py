"""Tasks run in order, on one job as plain calls that leave the host's process alone."""

import threading
import warnings

import numpy as np
import pytest
from joblib import parallel_config
from joblib.parallel import BACKENDS, ThreadingBackend
from sklearn.datasets import load_iris
from sklearn.naive_bayes import GaussianNB
from tqdm.auto import tqdm

from certified_ensembles import DeepPartitionAggregation, LabelFlipSmoothingClassifier
from certified_ensembles._jobs import in_turn, progress, run_here, workers_may_stop

X, Y = load_iris(return_X_y=True)


class Looks(GaussianNB):
    """Notes the filters of warnings that it finds when it is asked."""

    found = ()

    def predict(self, X):
        type(self).found += (warnings.filters,)
        return super().predict(X)


@pytest.mark.parametrize("n_jobs", [None, 1, 2])
@pytest.mark.parametrize("require", [None, "sharedmem"])
def test_results_come_in_order_on_any_number_of_jobs(n_jobs, require):
    with parallel_config("threading"):
        results = in_turn(divmod, [(i, 3) for i in range(7)], n_jobs, require=require)
        assert next(results) == (0, 0)
        assert list(results) == [divmod(i, 3) for i in range(1, 7)]


@pytest.mark.parametrize("n_jobs", [1, 2])
def test_all_calls_get_the_common_arguments(n_jobs):
    results = in_turn(int, [("11",), ("21",)], n_jobs, require="sharedmem", base=3)
    assert list(results) == [4, 7]


def test_one_job_is_a_call_when_its_result_is_asked_for():
    done = []
    results = in_turn(done.append, [(1,), (2,)], None)
    assert done == []
    next(results)
    assert done == [1]


def test_jobs_are_those_that_joblib_would_have():
    assert run_here(None)
    assert run_here(1)
    assert not run_here(2)
    with parallel_config(n_jobs=3):
        assert not run_here(None)
        assert run_here(1)


def test_what_is_sent_away_stays_so_with_one_job(monkeypatch):
    class Elsewhere(ThreadingBackend):
        supports_sharedmem = False

    monkeypatch.setitem(BACKENDS, "elsewhere", Elsewhere)
    with parallel_config("elsewhere", n_jobs=1):
        assert not run_here(None)
        assert run_here(None, require="sharedmem")


def test_asking_leaves_the_filters_of_the_process_alone():
    clf = DeepPartitionAggregation(Looks(), 5).fit(X, Y)
    Looks.found = ()
    clf.certify(X[:3])
    assert len(Looks.found) == 5
    assert all(found is warnings.filters for found in Looks.found)


def test_warnings_of_workers_are_silenced_where_there_are_workers_alone():
    before = warnings.filters
    with workers_may_stop(1):
        assert warnings.filters is before
    with workers_may_stop(2), warnings.catch_warnings(record=True) as caught:
        warnings.warn("A worker stopped while some jobs were given", UserWarning, stacklevel=1)
    assert caught == []


@pytest.mark.parametrize(
    "clf", [DeepPartitionAggregation(GaussianNB(), 5), LabelFlipSmoothingClassifier()]
)
def test_nothing_touches_the_lock_of_bars_that_are_not_shown(clf):
    done = threading.Event()

    def work():
        clf.fit(X, Y % 2).predict(X[:3])
        done.set()

    with tqdm.get_lock():  # as another thread may hold it where a process forks
        thread = threading.Thread(target=work, daemon=True)
        thread.start()
        assert done.wait(30)
    thread.join()


def test_a_bar_that_is_not_shown_counts_nothing():
    bar = progress(iter("abc"), 3, "fit", verbose=0)
    with bar as same:
        same.update(1)
        same.set_postfix_str("2 from the cache")
    assert list(bar) == list("abc")


def test_a_bar_says_what_it_counts(capsys):
    assert list(progress(np.arange(3), 3, "ask", verbose=1, unit="block")) == [0, 1, 2]
    assert "ask: 100%" in capsys.readouterr().err
