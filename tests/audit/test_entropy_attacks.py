"""The audit catches what draws, counts or depends on thread, process, hashes and huge numbers."""

import numpy as np
import pytest
from joblib import parallel_config
from sklearn.base import clone

from certified_ensembles import DeepPartitionAggregation
from certified_ensembles.audit import BrokenCertificateError, _audit, _elsewhere, check_certificate
from entropy_villains import (
    Counting,
    FallsBack,
    GivesUp,
    Hanging,
    Moderate,
    OwnEntropy,
    Parallel,
    SeesThreads,
    SetOrder,
    Shifting,
    ThreadAtFit,
    ThreadAtPredict,
)

RNG = np.random.default_rng(0)
X, Y = RNG.integers(0, 9, (90, 3)).astype(float), np.arange(90) % 3
X_TEST = X[:12]


def check(model, n_attacks=0):
    return check_certificate(model, X, Y, X_TEST, n_attacks=n_attacks)


def dpa(member, kind=DeepPartitionAggregation):
    return kind(member, 5, classes=[0, 1, 2])


def find(model, reason, n_attacks=0):
    with pytest.raises(BrokenCertificateError, match=f"(?s)is void: '{reason}'") as caught:
        check(model, n_attacks)
    return caught.value


# ---------------------------------------------------------------- without another process


@pytest.mark.parametrize(
    ("member", "reason"),
    [
        (OwnEntropy(), "refit as is"),
        (Counting(), "test rows asked again"),
        (ThreadAtPredict(), "test rows asked again"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_hidden_state_is_caught(member, reason):
    find(dpa(member), reason)


def test_another_thread_is_tried_at_fit(monkeypatch):
    monkeypatch.setattr(_audit, "SAME_DATA", {})  # n_jobs=2 would find it first
    find(dpa(ThreadAtFit()), "fit in another thread")


def test_threads_inside_are_caught_by_whatever_name():
    found = find(dpa(Parallel(), SeesThreads), "other threads inside")
    assert "estimator__thread_count = 2" in str(found)


def test_one_lonely_label_may_not_choose_for_all(monkeypatch):
    kind = "rows inserted: a label new to its member"
    monkeypatch.setattr(_audit, "ATTACKS", {kind: _audit.ATTACKS[kind]})
    found = find(FallsBack(Shifting(), 5), kind, n_attacks=1)
    attack = found.attack
    assert attack.n_operations == {"insertion_deletion": 1}
    before, after = (clone(FallsBack(Shifting(), 5)) for _ in range(2))
    before, after = before.fit(X, Y), after.fit(attack.X, attack.y)
    assert (before.ballots(X_TEST) != after.ballots(X_TEST)).any(axis=0).sum() > 1


def test_no_process_is_started_under_a_backend_of_threads(monkeypatch):
    monkeypatch.setattr(_elsewhere, "ProcessPoolExecutor", None)
    report = check(dpa(Shifting()))
    assert report.n_attacks["fit in another thread"] == 1
    assert "fit in another process" not in report.n_attacks


# ---------------------------------------------------------------- in another process: seconds


@pytest.fixture
def _processes(monkeypatch):
    monkeypatch.setattr(_elsewhere, "_SECONDS", 1)
    monkeypatch.setattr(_elsewhere, "_TIMES", 0)
    monkeypatch.setattr(_audit, "SAME_DATA", {})  # workers for n_jobs=2 take time, too
    with parallel_config("loky"):
        yield


@pytest.mark.usefixtures("_processes")
def test_honest_member_is_the_same_in_another_process():
    report = check(dpa(Shifting()))
    assert report.n_attacks["fit in another process"] == 1
    assert report.n_attacks["hostile magnitudes"] == 3  # and NaN is refused
    assert "NaN" in report.refused["hostile magnitudes"]


@pytest.mark.usefixtures("_processes")
def test_order_of_a_set_is_caught():
    find(dpa(SetOrder()), "fit in another process")


@pytest.mark.usefixtures("_processes")
def test_fit_that_never_ends_is_ended_and_reported():
    report = check(dpa(Hanging()))
    assert report.n_attacks["hostile magnitudes"] == 2
    assert "no end after 1 seconds" in report.refused["hostile magnitudes"]


@pytest.mark.usefixtures("_processes")
def test_huge_number_may_not_choose_for_all():
    found = find(dpa(Shifting(), GivesUp), "hostile magnitudes")
    assert np.max(found.attack.X) >= 1e200
    assert found.attack.n_operations == {"insertion_deletion": 1}


@pytest.mark.usefixtures("_processes")
def test_what_no_process_can_be_sent_is_reported():
    class Local(Shifting):
        def __getstate__(self):
            raise TypeError("stays here")

    report = check(dpa(Local()))
    assert "Could not pickle" in report.refused["fit in another process"]


@pytest.mark.parametrize("on_error", ["raise", "abstain"])
@pytest.mark.usefixtures("_processes")
def test_remedy_is_named_and_helps(on_error):
    report = check(dpa(Moderate()).set_params(on_error=on_error))
    if on_error == "raise":
        assert 'on_error="abstain"' in report.refused["hostile magnitudes"]
    else:
        assert "on_error" not in str(report.refused)
        assert report.n_attacks["hostile magnitudes"] >= 3
