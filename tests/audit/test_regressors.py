"""The audit holds regressors to their tolerances and intervals, and finds what voids them.

Each audit is some dozens of refits, which takes a second.
"""

import numpy as np
import pytest
from joblib import parallel_config
from sklearn.datasets import load_diabetes
from sklearn.linear_model import Ridge
from sklearn.neighbors import KNeighborsRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from certified_ensembles import DeepPartitionRegressor, LabelNoiseRegressor
from certified_ensembles._members import medians
from certified_ensembles.audit import BrokenCertificateError, check_certificate

X, Y = load_diabetes(return_X_y=True)
X, Y, TESTS = X[:90], np.round(Y[:90]), X[90:105]


@pytest.fixture(autouse=True)
def _no_processes():
    with parallel_config("threading"):
        yield


def check(estimator, **how):
    return check_certificate(estimator, X, Y, TESTS, **({"n_attacks": 26} | how))


@pytest.mark.parametrize(
    "estimator",
    [
        DeepPartitionRegressor(n_partitions=9, on_error="abstain"),
        DeepPartitionRegressor(KNeighborsRegressor(1), 9, n_seeds=2),
        make_pipeline("passthrough", DeepPartitionRegressor(n_partitions=9)),
        LabelNoiseRegressor(KNeighborsRegressor(9), bounds=(0, 400)),
    ],
    ids=lambda estimator: type(estimator).__name__,
)
def test_sound_regressors_pass(estimator):
    report = check(estimator)
    assert sum(report.n_attacks.values()) > 20
    assert report.smallest_slack is None or report.smallest_slack >= 1


def test_sources_are_counted_and_bite_beyond_the_radius():
    report = check(DeepPartitionRegressor(n_partitions=9), groups=np.arange(90) % 20, n_attacks=60)
    assert report.n_attacks["hostile sources"] > 0
    assert report.smallest_slack == 1


def test_odd_targets_are_tried_and_refused_or_left_out():
    report = check(DeepPartitionRegressor(n_partitions=9), n_attacks=90)
    assert "no finite numbers" in report.refused["rows inserted: odd targets"]
    report = check(DeepPartitionRegressor(n_partitions=9, on_error="abstain"))
    assert report.n_attacks["rows inserted: odd targets"] > 0


class Remembers(Ridge):
    """Lets later members know what earlier ones saw."""

    seen = 0.0

    def fit(self, X, y):
        Remembers.seen = max(Remembers.seen, float(np.max(y)))
        super().fit(X, y)
        self.intercept_ += Remembers.seen
        return self


@pytest.mark.parametrize(
    "estimator",
    [
        DeepPartitionRegressor(Remembers(), 9),
        make_pipeline(StandardScaler(), DeepPartitionRegressor(n_partitions=9)),
        DeepPartitionRegressor(n_partitions=9, hasher=lambda A: np.arange(len(A))),
    ],
    ids=["shared state", "a scaler outside", "a hasher of places"],
)
def test_what_voids_a_certificate_is_found(estimator):
    Remembers.seen = 0.0
    with pytest.raises(BrokenCertificateError):
        check(estimator)


def test_radii_that_promise_too_much_are_found(monkeypatch):
    certify = medians.medians_and_radii

    def boast(answers, bounds):
        median, radius = certify(answers, bounds)
        return median, radius + 3

    monkeypatch.setattr(medians, "medians_and_radii", boast)
    with pytest.raises(BrokenCertificateError, match="within its certified radius"):
        check(DeepPartitionRegressor(n_partitions=9), n_attacks=80)


def test_intervals_that_are_too_narrow_are_found(monkeypatch):
    ask = DeepPartitionRegressor.certify_interval

    def narrow(self, X, budget, *, threat=None):
        return ask(self, X, max(budget - 3, 0), threat=threat)

    monkeypatch.setattr(DeepPartitionRegressor, "certify_interval", narrow)
    with pytest.raises(BrokenCertificateError, match="out of its certified interval"):
        check(DeepPartitionRegressor(n_partitions=9), n_attacks=80)
