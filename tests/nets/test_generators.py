"""Torch's generators are seeded and restored by themselves, without what torch has around them."""

import pytest

from certified_ensembles._deterministic import OwnGenerators, global_seed

torch = pytest.importorskip("torch")


def test_seeds_mean_the_same_without_the_locks_of_devices_that_are_not_there(monkeypatch):
    with global_seed(3):
        torch.manual_seed(3)
        wanted = torch.rand(5)
    monkeypatch.setattr(torch, "manual_seed", lambda seed: pytest.fail("all devices are seeded"))
    before = torch.get_rng_state()
    for _ in range(2):
        with global_seed(3):
            assert torch.equal(torch.rand(5), wanted)
    assert torch.equal(torch.get_rng_state(), before)


def test_a_child_forked_half_way_in_has_nothing_of_torch_to_restore(monkeypatch):
    generators, found = OwnGenerators(), []
    monkeypatch.setattr(
        torch.cuda, "is_initialized", lambda: found.append(generators._torch) or False
    )
    with generators:
        assert found == [None]
        assert generators._torch is torch
