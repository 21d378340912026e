"""How large a stack is: by its net, by the rows of a batch, and by the device."""

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs the extra [torch]")
pytest.importorskip("skorch", reason="needs the extra [torch]")

from certified_ensembles.nets import (  # noqa: E402
    ConvHead,
    LinearHead,
    NetworkInNetwork,
    ResNet18,
    SeededNetClassifier,
)
from certified_ensembles.nets._batched import training  # noqa: E402
from certified_ensembles.nets._batched.stack import BatchedModule, bytes_of_slot  # noqa: E402
from certified_ensembles.nets._training import reproducible  # noqa: E402
from small_nets import IMAGES, Y  # noqa: E402

NETS = {
    "nin": (NetworkInNetwork, {"module__width": 0.06}),
    "resnet": (ResNet18, {"module__width": 3}),
    "conv_head": (ConvHead, {"module__channels": 7, "module__in_channels": 1}),
    "linear": (LinearHead, {}),
}


def net_of(name, **params):
    module, own = NETS[name]
    return SeededNetClassifier(module, **({"classes": range(10)} | own | params))


def job_of(net, X):
    job = training.SlotJob(net, X, Y[: len(X)])
    job.key()
    return job


@pytest.mark.parametrize("name", NETS)
def test_the_memory_of_a_slot_is_more_than_what_a_step_keeps(name):
    job = job_of(net_of(name), IMAGES[:50])
    module, operations = job.module, job.operations
    expected = bytes_of_slot(module, operations, job.shape, 56, True)
    stack = BatchedModule(module, operations, 8, "cpu", torch.float32, True)
    kept = {}

    def keep(value):
        kept[value.untyped_storage().data_ptr()] = value  # held, so that no place is used twice
        return value

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda value: value):
        stack(torch.zeros(8, 56, *job.shape), torch.full((8, 56), 1 / 56))
    used = sum(value.untyped_storage().nbytes() for value in kept.values()) / 8
    assert used < expected < 12 * used


def slots_on_a_gpu(size, bytes_of_device, monkeypatch):
    monkeypatch.setattr(training, "memory_of", lambda device: bytes_of_device)
    net = net_of("nin", device="cuda", module__width=1.0)
    return training._slots_of(job_of(net, IMAGES[:size].repeat(3, axis=2).repeat(3, axis=3)))


def test_a_stack_takes_half_of_the_memory_of_a_gpu(monkeypatch):
    def slots(size, gib):
        return slots_on_a_gpu(size, gib << 30, monkeypatch)

    many = [slots(50, gib) for gib in (1, 8, 16, 32, 64, 1024)]
    assert many == sorted(many)
    assert len(set(many)) >= 4
    assert all(n % 8 == 0 for n in many)
    assert (many[0], many[-1]) == (8, 128)
    assert slots(1000, 64) < slots(50, 64) < slots(20, 64)
    assert slots(49, 64) == slots(50, 64)  # batches that fill up to the same size


def test_a_cpu_stacks_fewer_nets_where_one_has_many_weights():
    def slots(size, n_rows=20):
        rows = np.zeros((n_rows, 1, size, size), np.uint8)
        return training._slots_of(job_of(net_of("linear"), rows))

    assert [slots(8), slots(50), slots(200)] == [32, 16, 8]
    assert slots(50, 30) == slots(50)
    assert training._slots_of(job_of(net_of("conv_head"), IMAGES[:20])) == 8


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_a_cpu_trains_large_members_alone_where_a_step_is_mostly_arithmetic(device, monkeypatch):
    monkeypatch.setattr(training, "memory_of", lambda device: 1 << 34)

    def slots(name, n_rows, size=8):
        rows = np.zeros((n_rows, 1, size, size), np.uint8)
        return training._slots_of(job_of(net_of(name, batch_size=2, device=device), rows))

    alone = {"cpu": 1}
    # Twelve batches of two rows, the last one of three; then thirteen.
    assert slots("linear", 25) == slots("linear", 26)
    for name, size in (("linear", 200), ("conv_head", 8)):
        assert slots(name, 25, size) >= 8
        assert slots(name, 26, size) == alone.get(device, slots(name, 25, size))


def test_large_members_are_what_they_are_alone_unless_a_stack_is_asked_for():
    rows, labels = [IMAGES[:40], IMAGES[40:50]], [Y[:40], Y[40:50]]

    def weights(members):
        return [torch.cat([p.flatten() for p in m.module_.parameters()]) for m in members]

    def fitted(**params):
        members = [net_of("conv_head", batch_size=3, max_epochs=2, **params) for _ in rows]
        return weights(SeededNetClassifier.fit_together(members, rows, labels))

    large, small = fitted()
    (alone,) = weights([net_of("conv_head", batch_size=3, max_epochs=2).fit(rows[0], labels[0])])
    assert torch.equal(large, alone)
    large_of_8, small_of_8 = fitted(stack_size=8)
    assert torch.equal(small, small_of_8)
    assert not torch.equal(large, large_of_8)
    torch.testing.assert_close(large, large_of_8, atol=1e-4, rtol=1e-4)


def test_members_that_differ_in_a_last_batch_of_many_share_a_stack():
    def key(n_rows):
        return training.SlotJob(
            net_of("conv_head", batch_size=8), IMAGES[:n_rows], Y[:n_rows]
        ).key()

    assert key(34) == key(35) == key(40)
    assert key(33) != key(34)  # the one joins the batch before it
    assert key(26) != key(32)  # four batches: filling up the last would cost more


def test_memory_is_rounded_so_that_drivers_do_not_decide(monkeypatch):
    class Card:
        total_memory = 85_017_624_576

    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: Card)
    assert training.memory_of(torch.device("cuda")) == 64 << 30
    Card.total_memory -= 1 << 30
    assert training.memory_of(torch.device("cuda")) == 64 << 30
    assert training.memory_of(torch.device("xpu")) == 16 << 30


def test_memory_is_filled_for_unknown_modules_only(monkeypatch):
    rows, labels = [IMAGES[:9], IMAGES[9:17]], [Y[:9], Y[9:17]]
    before, seen = torch.utils.deterministic.fill_uninitialized_memory, []

    class Spy(LinearHead):
        def __init__(self, n_features, n_classes):
            super().__init__(n_features, n_classes)
            seen.append(("built", torch.utils.deterministic.fill_uninitialized_memory))

    run = BatchedModule.__call__
    monkeypatch.setattr(
        BatchedModule,
        "__call__",
        lambda *args: (
            seen.append(("run", torch.utils.deterministic.fill_uninitialized_memory)),
            run(*args),
        )[1],
    )

    def members():
        return [SeededNetClassifier(Spy, classes=range(10), max_epochs=1) for _ in rows]

    SeededNetClassifier.fit_together(members(), rows, labels)
    assert set(seen) == {("built", True), ("run", False)}
    with reproducible():  # as another thread may be
        seen.clear()
        SeededNetClassifier.fit_together(members(), rows, labels)
    assert set(seen) == {("built", True), ("run", True)}
    assert torch.utils.deterministic.fill_uninitialized_memory is before
