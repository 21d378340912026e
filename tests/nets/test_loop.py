"""Schedules, batches and devices of the training loop."""

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("skorch")

from certified_ensembles.nets._self_supervised.loop import (  # noqa: E402
    Checkpoint,
    cosine,
    resolve_device,
    steps,
    train,
)


def test_steps_fall_after_the_epochs_named():
    schedule = steps(0.1, (60, 120, 160), 0.2)
    rates = [schedule(epoch) for epoch in (0, 59.9, 60, 119.9, 120, 160, 199)]
    assert np.allclose(rates, [0.1, 0.1, 0.02, 0.02, 0.004, 0.0008, 0.0008])


def test_cosine_falls_to_a_thousandth_and_rises_before():
    schedule = cosine(0.5, 1000, 10)
    assert np.isclose(schedule(0), 0.01)
    assert np.isclose(schedule(5), (0.01 + schedule(10)) / 2)
    assert np.isclose(schedule(500), 0.5005 / 2)
    assert np.isclose(schedule(1000), 0.0005)
    fall = [schedule(epoch) for epoch in range(10, 1001)]
    assert (np.diff(fall) < 0).all()
    assert np.isclose(cosine(0.5, 1000, 0)(0), 0.5)


def run(n_rows=10, batch_size=4, epochs=2, **params):
    seen = []
    module = torch.nn.Linear(1, 1)

    def batch_loss(rows, generator):
        seen.append(rows)
        loss = module(torch.ones(1, 1)).sum() ** 2
        return loss, rows.double().mean()

    losses = train(
        module,
        batch_loss,
        n_rows,
        torch.Generator().manual_seed(0),
        epochs=epochs,
        batch_size=batch_size,
        schedule=steps(0.1, (), 1),
        momentum=0.9,
        nesterov=True,
        weight_decay=0,
        checkpoint=Checkpoint(None, "test", None),
        name="test",
        verbose=0,
    )
    return losses, seen


def test_every_epoch_shows_every_row_once_in_batches_of_almost_one_size():
    losses, seen = run()
    assert [len(rows) for rows in seen] == [4, 3, 3] * 2
    for epoch in (seen[:3], seen[3:]):
        assert sorted(torch.cat(epoch).tolist()) == list(range(10))
    assert not torch.equal(torch.cat(seen[:3]), torch.cat(seen[3:]))
    # The mean over rows, whatever the sizes of batches.
    assert np.allclose(losses, [4.5, 4.5])


def test_no_batch_has_a_single_row_if_there_are_more():
    for n_rows in range(2, 40):
        assert min(len(rows) for rows in run(n_rows, 8, 1)[1]) > 1


def test_devices_are_resolved_or_refused():
    assert resolve_device("cpu").type == "cpu"
    assert resolve_device("auto").type == ("cuda" if torch.cuda.is_available() else "cpu")
    with pytest.raises(ValueError, match=r"device='tpu9' is unknown: pass 'auto'"):
        resolve_device("tpu9")
