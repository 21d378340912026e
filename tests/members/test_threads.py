"""Threads of BLAS and OpenMP round otherwise: there is one where members are trained and asked.

Workers of pytest-xdist have one thread to begin with, so each test here asks for more.
"""

import os
import subprocess
import sys
import threading
import warnings
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from joblib import parallel_config
from sklearn.base import clone
from sklearn.datasets import load_digits
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression
from sklearn.naive_bayes import GaussianNB
from sklearn.pipeline import make_pipeline
from threadpoolctl import threadpool_info, threadpool_limits

from certified_ensembles import (
    CertificateWarning,
    DeepPartitionAggregation,
    LabelFlipSmoothingClassifier,
    SemiSupervisedDPA,
)
from certified_ensembles._deterministic import global_seed, one_thread, threads

X, Y = load_digits(return_X_y=True)
X, X_TEST, Y = X[:300], X[300:340], Y[:300]


def n_threads():
    return max(pool["num_threads"] for pool in threadpool_info())


def limits():
    return {pool["filepath"]: pool["num_threads"] for pool in threadpool_info()}


SEEN = set()


class Member(GaussianNB):
    """Notes how many threads it could use."""

    def fit(self, X, y):
        SEEN.add(("fit", n_threads()))
        return super().fit(X, y)

    def predict(self, X):
        SEEN.add(("ask", n_threads()))
        return super().predict(X)

    def predict_proba(self, X):
        SEEN.add(("ask", n_threads()))
        return super().predict_proba(X)


class Representation(PCA):
    """Notes how many threads it could use."""

    def fit_transform(self, X, y=None):
        SEEN.add(("fit", n_threads()))
        return super().fit_transform(X)

    def fit(self, X, y=None):
        SEEN.add(("fit", n_threads()))
        return super().fit(X)

    def transform(self, X):
        SEEN.add(("ask", n_threads()))
        return super().transform(X)


CLASSIFIERS = {
    "members": DeepPartitionAggregation(Member(), 7),
    "members in a pipeline": DeepPartitionAggregation(make_pipeline(PCA(9), Member()), 7),
    "members that are ranked": DeepPartitionAggregation(Member(), 7, aggregation="run_off"),
    "members with several seeds": DeepPartitionAggregation(Member(), 7, n_seeds=2),
    "half-labelled members": SemiSupervisedDPA(Member(), 7),
    "a representation": SemiSupervisedDPA(n_partitions=7, representation=Representation(9)),
    "noisy members": LabelFlipSmoothingClassifier(
        Member(), certificate="monte_carlo", n_draws=5, classes=range(10)
    ),
    "a representation before a smoother": LabelFlipSmoothingClassifier(
        representation=Representation(9)
    ),
}


@pytest.mark.parametrize("clf", CLASSIFIERS.values(), ids=CLASSIFIERS)
def test_users_classes_run_on_one_thread_and_the_others_come_back(clf):
    SEEN.clear()
    with threadpool_limits(3):
        before = limits()
        clone(clf).fit(X, Y).certify(X_TEST)
        after = limits()  # other threads may load a library meanwhile
        assert {path: after.get(path, n) for path, n in before.items()} == before
        assert n_threads() == 3
    assert SEEN == {("fit", 1), ("ask", 1)}


@pytest.mark.parametrize("n_jobs", [None, 2])
def test_heads_and_smoothers_do_not_depend_on_the_threads(n_jobs):
    rng = np.random.default_rng(0)
    rows, tests = rng.normal(size=(1200, 400)), rng.normal(size=(300, 400))
    y = rng.integers(0, 5, 1200)
    for clf in (
        DeepPartitionAggregation(n_partitions=3, n_jobs=n_jobs),
        DeepPartitionAggregation(LogisticRegression(tol=1e-2), 3, n_jobs=n_jobs),
        LabelFlipSmoothingClassifier(n_jobs=n_jobs),
    ):
        answers = []
        for limit in (1, 3):
            with threadpool_limits(limit):
                fitted = clone(clf).fit(rows, y)
                weights = [
                    vars(member).get("coef_") for member in getattr(fitted, "estimators_", [])
                ]
                answers.append((fitted.certify(tests), weights))
        for one, other in zip(*(certificate for certificate, _ in answers), strict=True):
            np.testing.assert_array_equal(one, other)
        for one, other in zip(*(weights for _, weights in answers), strict=True):
            np.testing.assert_array_equal(one, other)


# ---------------------------------------------------------------- other threads


def elsewhere(function):
    """Return what a function returns in a thread that has just begun."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(function).result()


@pytest.mark.parametrize("n_jobs", [None, 2])
def test_every_thread_has_one_thread_while_the_host_holds_its_own_limit(n_jobs):
    # threadpoolctl lets the thread that holds a limit alone change that of OpenBLAS.
    def work():
        before = limits()
        with parallel_config("threading"):
            DeepPartitionAggregation(Member(), 7, n_jobs=n_jobs).fit(X, Y).certify(X_TEST)
        return before, limits()

    SEEN.clear()
    with threadpool_limits(3):
        before, after = elsewhere(work)
        assert before == after
        assert n_threads() == 3
    assert SEEN == {("fit", 1), ("ask", 1)}


def test_members_of_another_thread_have_the_same_bits():
    rng = np.random.default_rng(0)
    rows, y = rng.normal(size=(1200, 400)), rng.integers(0, 5, 1200)

    def weights():
        clf = DeepPartitionAggregation(n_partitions=3).fit(rows, y)
        return [member.coef_ for member in clf.estimators_]

    with threadpool_limits(1):
        expected = weights()
    with threadpool_limits(3):
        for one, other in zip(expected, elsewhere(weights), strict=True):
            np.testing.assert_array_equal(one, other)


def test_the_last_of_several_threads_restores_what_the_host_had_set():
    came, leave = threading.Event(), threading.Event()

    def other():
        before = limits()
        with one_thread():
            came.set()
            leave.wait(9)
            seen = n_threads()
        return seen, limits() == before

    with threadpool_limits(3), ThreadPoolExecutor(1) as pool:
        before = limits()
        with one_thread():
            there = pool.submit(other)
            came.wait(9)
        process = {pool.n_threads() for pool in one_thread._pools if not pool.is_per_thread}
        leave.set()
        assert process == {1}  # the other thread is still inside
        seen, _ = there.result()
        assert (seen, limits()) == (1, before)


def test_an_interrupt_on_the_way_in_leaves_the_limits(monkeypatch):
    def interrupted(self):
        raise KeyboardInterrupt

    with threadpool_limits(3):
        before = limits()
        monkeypatch.setattr(type(one_thread), "_meet_torch", interrupted)
        with pytest.raises(KeyboardInterrupt):
            one_thread().__enter__()
        assert (limits(), one_thread.depth) == (before, 0)


def test_a_limit_that_is_changed_meanwhile_is_said_and_kept():
    def nested():
        with one_thread():
            elsewhere(lambda: [pool.restore(2) for pool in one_thread._pools])
            with one_thread():
                return n_threads()

    with threadpool_limits(3):
        with pytest.warns(CertificateWarning, match="had 2 threads while members"):
            assert nested() == 1
        # The host has the last word on a limit of the process.
        process = {pool.n_threads() for pool in one_thread._pools if not pool.is_per_thread}
        assert process == {2}


class Stubborn:
    """A library that keeps its threads."""

    name, is_per_thread = "libstubborn.so", False

    def n_threads(self):
        return 4

    def limit(self):
        return 4

    def restore(self, before):
        pass


def test_a_limit_that_cannot_be_had_is_said_once(monkeypatch):
    monkeypatch.setattr(threads, "_libraries", lambda: [Stubborn()])
    monkeypatch.setattr(one_thread, "_pools", [])
    monkeypatch.setattr(one_thread, "_n_modules", -1)
    monkeypatch.setattr(one_thread, "_refused", set())
    with pytest.warns(CertificateWarning, match=r"libstubborn.so keeps 4 .* this number alone"):
        DeepPartitionAggregation(n_partitions=3).fit(X, Y)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        DeepPartitionAggregation(n_partitions=3).fit(X, Y).predict(X_TEST)
        one_thread._refused.clear()
        with pytest.raises(CertificateWarning, match=r"libstubborn.so keeps 4"):
            DeepPartitionAggregation(n_partitions=3).fit(X, Y)
    assert one_thread.depth == 0


IMPORTS_TORCH = """
import threading
import numpy as np
from sklearn.datasets import load_digits
from sklearn.naive_bayes import GaussianNB
from certified_ensembles import DeepPartitionAggregation

class Member(GaussianNB):
    def fit(self, X, y):
        import torch
        seen.add(torch.get_num_threads())
        return super().fit(X, y)

seen, X, y = set(), *load_digits(return_X_y=True)
DeepPartitionAggregation(Member(), 3).fit(X, y)
import torch
here = torch.get_num_threads()
elsewhere = []
thread = threading.Thread(target=lambda: elsewhere.append(torch.get_num_threads()))
thread.start()
thread.join()
torch.set_num_threads(3)

def ask():
    DeepPartitionAggregation(Member(), 3).fit(X, y)
    later.append(torch.get_num_threads())

later = []
thread = threading.Thread(target=ask)
thread.start()
thread.join()
print(sorted(seen), here > 1, elsewhere[0] > 1, later, torch.get_num_threads())
"""


def test_a_library_that_a_member_imports_has_one_thread_and_then_its_own_again():
    # A process of its own, as torch is imported once. Three seconds.
    pytest.importorskip("torch")
    # Other tests' libraries may have set limits of their own in the environment.
    env = {k: v for k, v in os.environ.items() if not k.endswith("_NUM_THREADS")}
    how = {"env": env | {"OMP_NUM_THREADS": "2"}, "capture_output": True, "text": True}
    out = subprocess.run([sys.executable, "-W", "error", "-c", IMPORTS_TORCH], check=True, **how)
    assert out.stdout.split() == ["[1]", "True", "True", "[3]", "3"]


# ---------------------------------------------------------------- forks


def global_state():
    return np.random.get_state()[1].copy()  # noqa: NPY002 - the global one is what is asked about


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs forks")
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
@pytest.mark.parametrize("inside", [False, True])
def test_a_forked_child_has_the_limits_of_its_own_thread(inside):
    came, leave = threading.Event(), threading.Event()

    def other():
        with one_thread(), global_seed(3):
            came.set()
            leave.wait()

    def in_child():
        wanted = 1 if inside else 3
        if n_threads() != wanted or not (global_state() == state).all():
            return 1
        clf = DeepPartitionAggregation(Member(), 3).fit(X, Y)  # seeds the generators
        return 0 if n_threads() == wanted and len(clf.predict(X_TEST)) else 2

    with threadpool_limits(3):
        state = global_state()
        thread = threading.Thread(target=other)
        thread.start()
        came.wait()
        with one_thread() if inside else threadpool_limits(None):
            child = os.fork()
            if child == 0:
                status = 9
                try:
                    status = in_child()
                finally:
                    os._exit(status)
        leave.set()
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        thread.join()
        assert n_threads() == 3
