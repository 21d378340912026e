"""SimCLR: its loss against loops, and its views."""

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("skorch")

from certified_ensembles.datasets import load_digits  # noqa: E402
from certified_ensembles.nets._self_supervised.simclr import SimCLR, nt_xent  # noqa: E402

X = load_digits().images[:32]
PLAIN = {
    "crop_area": (1.0, 1.0),
    "colour": (0, 0, 0, 0),
    "grey_probability": 0.0,
    "flip": False,
}


def tiny(**params):
    return SimCLR(
        **{
            "width": 2,
            "epochs": 1,
            "warmup": 0,
            "value_range": (0, 16),
            "learning_rate": 0.02,
            **params,
        }
    )


def views(images, **params):
    generator = torch.Generator().manual_seed(0)
    return tiny(**{**PLAIN, **params})._views(images, generator)


def colours(n=200):
    return torch.rand((n, 3, 8, 8), generator=torch.Generator().manual_seed(1))


def test_defaults_are_those_of_the_paper():
    simclr = SimCLR()
    assert (simclr.epochs, simclr.batch_size, simclr.learning_rate) == (1000, 512, 0.5)
    assert (simclr.temperature, simclr.weight_decay) == (0.5, 1e-4)


@pytest.mark.parametrize("temperature", [0.1, 0.5, 2.0])
def test_loss_is_the_mean_over_views_of_the_share_of_the_other_view(temperature):
    generator = torch.Generator().manual_seed(0)
    z = torch.randn((10, 4), generator=generator, dtype=torch.float64)
    z = torch.nn.functional.normalize(z, dim=1)
    rows = z.numpy()
    losses = []
    for i in range(10):
        other = (i + 5) % 10
        others = [np.exp(rows[i] @ rows[j] / temperature) for j in range(10) if j != i]
        losses.append(-np.log(np.exp(rows[i] @ rows[other] / temperature) / sum(others)))
    assert np.isclose(nt_xent(z, temperature).item(), np.mean(losses))


def test_loss_of_guessing_is_the_logarithm_of_the_other_views():
    z = torch.nn.functional.normalize(torch.ones(12, 3), dim=1)
    assert np.isclose(nt_xent(z, 0.5).item(), np.log(11))


def test_the_reported_loss_is_without_the_factor_of_the_descent():
    losses = tiny(learning_rate=1e-6, epochs=2).fit(X).losses_
    assert (abs(losses - np.log(2 * 32 - 1)) < 0.5).all()


def test_it_learns_to_tell_shades_apart():
    shades = np.zeros((32, 8, 8)) + np.linspace(0, 1, 32)[:, None, None]
    params = {"width": 4, "epochs": 8, "batch_size": 16, "learning_rate": 0.1, "warmup": 0}
    fitted = SimCLR(colour=(0, 0, 0, 0), flip=False, **params).fit(shades)
    assert fitted.losses_.shape == (8,)
    assert fitted.losses_[-1] < np.log(2 * 16 - 1) - 1
    assert fitted.losses_[-1] < fitted.losses_[0] - 0.3


def test_with_everything_switched_off_a_view_is_the_image():
    X = colours()
    assert torch.allclose(views(X), X, atol=1e-6)


def test_a_flip_mirrors_some_views_and_no_flip_none():
    X = colours()
    flipped = views(X, flip=True)
    same = torch.isclose(flipped, X, atol=1e-6).flatten(1).all(1)
    mirrored = torch.isclose(flipped, X.flip(-1), atol=1e-6).flatten(1).all(1)
    assert (same ^ mirrored).all()
    assert 60 < mirrored.sum() < 140


@pytest.mark.parametrize(
    "params",
    [{"crop_area": (0.2, 1.0)}, {"colour": (0.4, 0.4, 0.4, 0.1)}, {"grey_probability": 1.0}],
)
def test_each_change_changes_views_and_keeps_them_in_range(params):
    X = colours()
    changed = views(X, **params)
    assert (changed - X).abs().max() > 0.1
    assert changed.min() >= 0
    assert changed.max() <= 1
    if "grey_probability" in params:
        assert torch.allclose(changed[:, 0], changed[:, 2])


def test_the_two_views_of_an_image_differ():
    fitted = SimCLR()
    X = colours(5)
    two = fitted._views(torch.cat([X, X]), torch.Generator().manual_seed(0))
    assert ((two[:5] - two[5:]).abs().flatten(1).max(1).values > 0.01).all()


def test_range_decides_what_is_black_and_white():
    colours = np.random.default_rng(0).integers(0, 256, (16, 3, 8, 8)).astype(np.uint8)
    integers = tiny(value_range=None).fit(colours)
    floats = tiny(value_range=(0, 255)).fit(colours.astype(float))
    unit = tiny(value_range=None).fit(colours / 255)
    first, second = integers.transform(colours), floats.transform(colours.astype(float))
    assert np.array_equal(first, second)
    # Rounding differs, and training magnifies it.
    assert np.allclose(first, unit.transform(colours / 255), rtol=0.02, atol=0.02)


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"value_range": (0, 10)}, r"values from 0 to 16, outside .* 0.0 and 10.0"),
        ({"value_range": (16, 0)}, r"value_range=\(16, 0\) must be two numbers"),
        ({"crop_area": (0.5, 0.2)}, r"crop_area=\(0.5, 0.2\)"),
        ({"crop_area": (0, 1)}, r"crop_area=\(0, 1\)"),
        ({"colour": (0.4, 0.4, 0.4)}, r"colour=\(0.4, 0.4, 0.4\) must be four"),
        ({"colour": (0, 0, 0, 0.7)}, r"colour=.*hue from 0 to 0.5"),
        ({"batch_size": 1}, "batch_size"),
        ({"temperature": 0}, "temperature"),
    ],
)
def test_bad_parameters_are_refused(params, message):
    with pytest.raises(ValueError, match=message):
        tiny(**params).fit(X)


def test_values_above_one_in_floats_are_refused():
    with pytest.raises(ValueError, match=r"values from 0.0 to 16.0.*value_range=\(black, white\)"):
        tiny(value_range=None).fit(X.astype(float))


def test_one_image_is_no_contrast():
    with pytest.raises(ValueError, match="minimum of 2"):
        tiny().fit(X[:1])


def test_features_are_the_encoders_and_no_layer_behind_it_is_kept():
    fitted = tiny(width=3, n_projected=5).fit(X)
    assert fitted.transform(X).shape == (32, 24)
    with torch.no_grad():
        images = torch.from_numpy(((X - fitted.mean_[0]) / fitted.std_[0]).astype(np.float32))
        features = fitted.module_.features(images[:, None]).numpy()
    assert np.allclose(fitted.transform(X), features, atol=1e-4)
    assert not any(isinstance(layer, torch.nn.Linear) for layer in fitted.module_.modules())


def test_images_need_not_be_square():
    assert tiny().fit(X[:, :, 1:7]).transform(X[:, :, 1:7]).shape == (32, 16)
