"""RotNet: what it learns from, and which maps it returns."""

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("skorch")

from certified_ensembles.datasets import load_digits  # noqa: E402
from certified_ensembles.nets import ConvHead  # noqa: E402
from certified_ensembles.nets._self_supervised import rotnet as module  # noqa: E402
from certified_ensembles.nets._self_supervised.rotnet import RotNet  # noqa: E402

X = load_digits().images[:32]


def tiny(**params):
    return RotNet(**{"width": 0.05, "epochs": 1, "padding": 1, "learning_rate": 0.02, **params})


def test_defaults_are_those_of_the_paper():
    rotnet = RotNet()
    assert (rotnet.n_blocks, rotnet.feature_block, rotnet.epochs) == (4, 2, 200)
    assert (rotnet.batch_size, rotnet.learning_rate, rotnet.weight_decay) == (128, 0.1, 5e-4)
    assert (tuple(rotnet.drops), rotnet.drop_factor) == ((60, 120, 160), 0.2)
    assert (rotnet.momentum, rotnet.padding, rotnet.flip) == (0.9, 4, False)


def test_it_learns_which_way_up_digits_are():
    digits = load_digits().images[:160]
    losses = tiny(epochs=8, batch_size=16, learning_rate=0.1).fit(digits[:128]).losses_
    assert losses.shape == (8,)
    assert losses[-1] < 0.8 < np.log(4) - 0.5


def test_pooling_averages_the_maps_of_the_block():
    fitted = tiny().fit(X)
    mean, std = fitted.mean_[0], fitted.std_[0]
    for block, side in ((1, 4), (2, 2), (3, 2)):
        fitted.set_params(feature_block=block, pooling=None)
        with torch.no_grad():
            images = torch.from_numpy(((X - mean) / std).astype(np.float32))[:, None]
            maps = fitted.module_.forward_features(images, block).numpy()
        assert maps.shape[2:] == (side, side)
        assert np.allclose(fitted.transform(X), maps.reshape(len(X), -1), atol=1e-5)
        means = fitted.set_params(pooling=1).transform(X)
        assert np.allclose(means, maps.mean(axis=(2, 3)), atol=1e-5)
        halves = fitted.set_params(pooling=2).transform(X)
        assert halves.shape == (len(X), 4 * maps.shape[1])


def test_a_conv_head_takes_all_maps_flattened():
    fitted = tiny().fit(X)
    channels = fitted.module_.forward_features(torch.zeros(1, 1, 8, 8)).shape[1]
    logits = ConvHead(channels, 10)(torch.from_numpy(fitted.transform(X)))
    assert logits.shape == (len(X), 10)


def test_the_network_has_as_many_blocks_as_asked_for_and_tells_four_turns():
    assert len(tiny(n_blocks=3).fit(X).module_.blocks) == 3
    assert tiny().fit(X).module_(torch.zeros(2, 1, 8, 8)).shape == (2, 4)


def test_all_four_turns_of_every_image_are_shown(monkeypatch):
    shown = []
    turn = module.quarter_turns

    def spy(images):
        turned, turns = turn(images)
        shown.append((turned, turns))
        return turned, turns

    monkeypatch.setattr(module, "quarter_turns", spy)
    fitted = tiny(padding=0, batch_size=12).fit(X)
    assert [len(turns) for _, turns in shown] == [44, 44, 40]  # 32 images in three batches
    images = torch.cat([turned for turned, _ in shown]).reshape(32, 4, 8, 8)
    upright = images[:, 0].numpy() * fitted.std_[0] + fitted.mean_[0]
    seen = np.rint(upright).astype(np.uint8).reshape(32, -1)
    assert sorted(map(bytes, seen)) == sorted(map(bytes, X.reshape(32, -1)))


def test_crops_and_flips_can_be_switched():
    losses = {
        (padding, flip): tiny(padding=padding, flip=flip).fit(X).losses_[0]
        for padding in (0, 1)
        for flip in (False, True)
    }
    assert len(set(losses.values())) == 4


def test_a_flip_mirrors_images_before_they_are_turned(monkeypatch):
    monkeypatch.setattr(module, "draw_flips", lambda n, g: torch.ones(n, dtype=torch.bool))
    turned_by = []
    turn = module.quarter_turns
    monkeypatch.setattr(
        module, "quarter_turns", lambda images: (turned_by.append(images), turn(images))[1]
    )
    fitted = tiny(padding=0, flip=True, batch_size=32).fit(X)
    mirrored = turned_by[0][:, 0].numpy() * fitted.std_[0] + fitted.mean_[0]
    rows = {bytes(row) for row in np.rint(mirrored).astype(np.uint8).reshape(32, -1)}
    assert rows == {bytes(row) for row in np.ascontiguousarray(X[:, :, ::-1]).reshape(32, -1)}


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"feature_block": 5}, r"feature_block=5 is beyond n_blocks=4"),
        ({"pooling": 3}, r"pooling=3 is more than the 2 x 2 values"),
        ({"n_blocks": 1}, "n_blocks"),
        ({"padding": -1}, "padding"),
    ],
)
def test_parameters_that_do_not_go_together_are_refused(params, message):
    with pytest.raises(ValueError, match=message):
        tiny(**params).fit(X)


def test_images_that_are_not_square_are_refused():
    with pytest.raises(ValueError, match=r"square ones, got X with images of 8 x 6"):
        tiny().fit(X[:, :, 1:7])


def test_one_image_is_enough():
    assert tiny(pooling=1).fit(X[:1]).transform(X[:1]).shape[0] == 1
