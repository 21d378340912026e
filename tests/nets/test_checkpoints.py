"""A killed fit resumes to the same bits, and from its own checkpoints alone."""

import io
import os

import numpy as np
import pytest
from sklearn.base import clone

torch = pytest.importorskip("torch")
pytest.importorskip("skorch")
from certified_ensembles.nets._self_supervised import loop  # noqa: E402
from tiny_representations import X, every, same, steps_of_fit, tiny  # noqa: E402


class Killed(BaseException):
    """What nobody catches."""


def kill_at_step(monkeypatch, n):
    """Make the n-th step of the optimiser end the process, as far as a test can."""
    step, count = torch.optim.SGD.step, iter(range(1, 10_000))

    def counted(self, *args, **kwargs):
        if next(count) == n:
            raise Killed
        return step(self, *args, **kwargs)

    monkeypatch.setattr(torch.optim.SGD, "step", counted)


def kill_fit(estimator, rows, n):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop, "_SECONDS_BETWEEN_CHECKPOINTS", 0)
        kill_at_step(patch, n)
        with pytest.raises(Killed):
            estimator.fit(rows)


@every
@pytest.mark.parametrize("killed_at", [2, 5, 9])  # in each of three epochs of three batches
def test_a_killed_fit_resumes_to_the_same_bits(name, killed_at, tmp_path):
    whole = tiny(name).fit(X)
    kill_fit(tiny(name, checkpoint=tmp_path), X, killed_at)
    resumed = tiny(name, checkpoint=tmp_path)
    taken = steps_of_fit(resumed, X[::-1])
    assert taken == 9 - 3 * ((killed_at - 1) // 3)
    assert same(whole, resumed)
    assert np.array_equal(whole.losses_, resumed.losses_)
    assert np.array_equal(whole.transform(X), resumed.transform(X))


@every
def test_a_finished_fit_is_recalled_without_a_step(name, tmp_path):
    whole = tiny(name, checkpoint=str(tmp_path / "new" / "folder"))
    assert steps_of_fit(whole, X) == 9
    again = clone(whole).set_params(verbose=1)
    assert steps_of_fit(again, X) == 0
    assert same(whole, again)


@every
def test_checkpoints_of_other_rows_and_parameters_are_not_used(name, tmp_path):
    tiny(name, checkpoint=tmp_path).fit(X)
    for other, rows in (
        (tiny(name, random_state=1), X),
        (tiny(name, epochs=4), X),
        (tiny(name), X[1:]),
        (tiny(name), X[:, ::-1]),
    ):
        with pytest.warns(UserWarning, match=r"checkpoint.*none of them of these rows"):
            fitted = clone(other).set_params(checkpoint=tmp_path).fit(rows)
        assert same(fitted, other.fit(rows))
    # Neither has overwritten the first one.
    assert steps_of_fit(tiny(name, checkpoint=tmp_path), X) == 0


class Trap:
    """What makes a folder when it is unpickled."""

    def __init__(self, folder):
        self.folder = str(folder)

    def __reduce__(self):
        return os.mkdir, (self.folder,)


@every
def test_damaged_and_hostile_checkpoints_are_not_used(name, tmp_path):
    plain = tiny(name).fit(X)
    trap, folder = tmp_path / "trap", tmp_path / "state"
    hostile = io.BytesIO()
    torch.save({"identity": Trap(trap)}, hostile)
    tiny(name, checkpoint=folder).fit(X)
    (file,) = folder.glob("*.pt")
    for content in (b"", b"PK damaged", file.read_bytes()[:999], hostile.getvalue()):
        file.write_bytes(content)
        with pytest.warns(UserWarning, match="cannot be read"):
            assert same(plain, tiny(name, checkpoint=folder).fit(X))
        assert not trap.exists()


def test_a_checkpoint_of_another_training_under_its_name_is_not_used(tmp_path):
    tiny("rotnet", checkpoint=tmp_path).fit(X)
    (file,) = tmp_path.glob("*.pt")
    with pytest.warns(UserWarning, match="none of them"):
        other = tiny("rotnet", checkpoint=tmp_path, random_state=1).fit(X)
    (second,) = set(tmp_path.glob("*.pt")) - {file}
    second.write_bytes(file.read_bytes())
    with pytest.warns(UserWarning, match="belongs to another training"):
        assert same(other, tiny("rotnet", checkpoint=tmp_path, random_state=1).fit(X))


def test_whoever_is_killed_while_writing_leaves_the_last_checkpoint(tmp_path, monkeypatch):
    kill_fit(tiny("rotnet", checkpoint=tmp_path), X, 5)
    (file,) = tmp_path.glob("*.pt")
    before = file.read_bytes()

    def half(state, target):
        target.write(b"half a file")
        raise Killed

    monkeypatch.setattr(loop, "_SECONDS_BETWEEN_CHECKPOINTS", 0)
    with monkeypatch.context() as patch:
        patch.setattr(torch, "save", half)
        with pytest.raises(Killed):
            tiny("rotnet", checkpoint=tmp_path).fit(X)
    assert [path.name for path in tmp_path.iterdir()] == [file.name]
    assert file.read_bytes() == before
    assert same(tiny("rotnet").fit(X), tiny("rotnet", checkpoint=tmp_path).fit(X))


def test_an_epoch_within_a_minute_is_not_written(tmp_path, monkeypatch):
    written, replace = [], loop.os.replace
    monkeypatch.setattr(loop.os, "replace", lambda *names: (written.append(1), replace(*names)))
    tiny("rotnet", checkpoint=tmp_path).fit(X)
    assert len(written) == 1  # the end
    monkeypatch.setattr(loop, "_SECONDS_BETWEEN_CHECKPOINTS", 0)
    with pytest.warns(UserWarning, match="none of them"):
        tiny("rotnet", checkpoint=tmp_path, random_state=1).fit(X)
    assert len(written) == 4
