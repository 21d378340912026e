"""Ensembles of nets that are trained side by side."""

import joblib
import numpy as np
import pytest
from sklearn.base import clone

torch = pytest.importorskip("torch", reason="needs the extra [torch]")
skorch = pytest.importorskip("skorch", reason="needs the extra [torch]")


from certified_ensembles import DeepPartitionAggregation  # noqa: E402
from small_nets import (  # noqa: E402
    IMAGES,
    Y,
    assert_same_bits,
    net_of,
    weights_of,
)


def ensemble(**params):
    # A module of the package: other processes need not find this file.
    net = net_of("nin", classes=None, batch_size=16)
    return DeepPartitionAggregation(net, 12, **({"classes": range(10)} | params))


@pytest.mark.parametrize(
    ("backend", "aggregation"),
    # Two processes that import torch take seconds: the harder question goes through both.
    [("threading", "plurality"), ("threading", "run_off"), ("loky", "run_off")],
)
def test_an_ensemble_is_the_same_for_every_n_jobs(backend, aggregation):
    one = ensemble(aggregation=aggregation).fit(IMAGES[:300], Y[:300])
    before = torch.get_rng_state()
    with joblib.parallel_config(backend, n_jobs=2):
        two = ensemble(aggregation=aggregation).fit(IMAGES[:300][::-1], Y[:300][::-1])
        ballots = two.ballots(IMAGES[300:500])
    assert torch.equal(before, torch.get_rng_state())
    np.testing.assert_array_equal(one.ballots(IMAGES[300:500]), ballots)
    for a, b in zip(one.estimators_, two.estimators_, strict=True):
        assert torch.equal(weights_of(a), weights_of(b))


def test_a_resumed_ensemble_is_the_same(tmp_path):
    X, y = IMAGES[:300], Y[:300]
    ensemble(memory=str(tmp_path)).fit(X[:-1], y[:-1])
    resumed = ensemble(memory=str(tmp_path)).fit(X, y)  # one member trains, in no company
    fresh = ensemble().fit(X, y)
    for a, b in zip(resumed.estimators_, fresh.estimators_, strict=True):
        assert torch.equal(weights_of(a), weights_of(b))
    np.testing.assert_array_equal(resumed.ballots(IMAGES), fresh.ballots(IMAGES))


def test_one_inserted_image_changes_at_most_one_ballot():
    clf = ensemble(classes=None).fit(IMAGES[:300], Y[:300])
    rng = np.random.default_rng(0)
    for label in (3, 99):
        image = rng.integers(0, 256, (1, 1, 8, 8)).astype(np.uint8)
        hostile = clone(clf).fit(np.concatenate([IMAGES[:300], image]), np.append(Y[:300], label))
        for i in np.flatnonzero(np.arange(12) != hostile.partition_[-1]):
            assert_same_bits(clf.estimators_[i], hostile.estimators_[i])
