"""Changes of images: against plain loops, and each image by itself."""

import colorsys

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("skorch")

from certified_ensembles.nets import _augment as augment  # noqa: E402


def images(n=6, channels=3, height=7, width=7, seed=0):
    return torch.rand((n, channels, height, width), generator=seeded(seed))


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


# Each change with its draws, as a function of (images, generator).
CHANGES = {
    "crop": lambda x, g: augment.crop(x, augment.draw_crops(len(x), 2, g), 2),
    "flip": lambda x, g: augment.flip(x, augment.draw_flips(len(x), g)),
    "resized_crop": lambda x, g: augment.resized_crop(
        x, augment.draw_boxes(len(x), *x.shape[2:], g)
    ),
    "jitter": lambda x, g: augment.jitter(x, *augment.draw_jitter(len(x), g)),
}
DRAWS = {
    "crop": lambda n, g: augment.draw_crops(n, 2, g),
    "flip": augment.draw_flips,
    "resized_crop": lambda n, g: augment.draw_boxes(n, 7, 7, g),
    "jitter": lambda n, g: torch.cat(
        [part.double().view(n, -1) for part in augment.draw_jitter(n, g)], dim=1
    ),
}


@pytest.mark.parametrize("name", CHANGES)
@pytest.mark.parametrize("channels", [1, 2, 3])
def test_shape_type_and_input_are_kept(name, channels):
    X = images(channels=channels, height=6)
    before = X.clone()
    changed = CHANGES[name](X, seeded())
    assert changed.shape == X.shape
    assert changed.dtype == X.dtype
    assert torch.equal(X, before)


@pytest.mark.parametrize("name", CHANGES)
def test_a_change_is_a_function_of_image_and_generator(name):
    X = images()
    state = torch.get_rng_state()
    first, second = (CHANGES[name](X, seeded(3)) for _ in range(2))
    assert torch.equal(first, second)
    assert not torch.equal(first, CHANGES[name](X, seeded(4)))
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("name", DRAWS)
def test_images_have_their_own_draws(name):
    drawn = DRAWS[name](64, seeded())
    assert len(drawn) == 64
    assert len(torch.unique(drawn, dim=0)) > 1


@pytest.mark.parametrize("name", ["crop", "flip", "resized_crop", "jitter"])
def test_an_image_is_changed_alike_in_any_company(name):
    X, n = images(), 6
    draws = {
        "crop": (augment.draw_crops(n, 2, seeded()),),
        "flip": (augment.draw_flips(n, seeded()),),
        "resized_crop": (augment.draw_boxes(n, 7, 7, seeded()),),
        "jitter": augment.draw_jitter(n, seeded(1), grey_probability=0.5),
    }[name]
    extra = (2,) if name == "crop" else ()
    change = getattr(augment, name)
    together = change(X, *draws, *extra)
    alone = [change(X[[i]], *(d[[i]] for d in draws), *extra) for i in range(n)]
    assert torch.equal(together, torch.cat(alone))


# ---------------------------------------------------------------- crop, flip, turn


def test_crop_is_a_window_of_the_padded_image():
    X, padding = images(n=25, channels=2, height=5, width=6), 2
    offsets = torch.cartesian_prod(torch.arange(5), torch.arange(5))
    cropped = augment.crop(X, offsets, padding, fill=9.0)
    for image, (top, left), out in zip(X.numpy(), offsets.tolist(), cropped.numpy(), strict=True):
        padded = np.pad(image, ((0, 0), (2, 2), (2, 2)), constant_values=9.0)
        assert np.array_equal(out, padded[:, top : top + 5, left : left + 6])


def test_crop_draws_every_offset():
    drawn = augment.draw_crops(400, 1, seeded())
    assert len(torch.unique(drawn, dim=0)) == 9
    assert drawn.min() == 0
    assert drawn.max() == 2


def test_flip_mirrors_the_chosen_images_only():
    X = images(n=3)
    flipped = augment.flip(X, torch.tensor([True, False, True]))
    assert np.array_equal(flipped[0], X[0].numpy()[:, :, ::-1])
    assert torch.equal(flipped[1], X[1])
    assert np.array_equal(flipped[2], X[2].numpy()[:, :, ::-1])


def test_half_of_the_images_are_flipped():
    share = augment.draw_flips(4000, seeded()).float().mean()
    assert abs(share - 0.5) < 0.05


def test_quarter_turns_are_those_of_numpy_and_say_so():
    X = images(n=2)
    turned, turns = augment.quarter_turns(X)
    assert turns.tolist() == [0, 1, 2, 3, 0, 1, 2, 3]
    for i, (image, turn) in enumerate(zip(turned, turns.tolist(), strict=True)):
        assert np.array_equal(image, np.rot90(X[i // 4].numpy(), turn, (1, 2)))


# ---------------------------------------------------------------- crop and resize


@pytest.mark.parametrize("size", [(32, 32), (28, 20), (5, 40)])
def test_boxes_lie_inside_the_image_and_have_the_area_asked_for(size):
    height, width = size
    boxes = augment.draw_boxes(2000, height, width, seeded())
    top, left, high, wide = boxes.unbind(1)
    assert (boxes[:, :2] >= 0).all()
    assert (boxes[:, 2:] >= 1).all()
    assert (top + high <= height).all()
    assert (left + wide <= width).all()
    if size == (32, 32):
        share = high * wide / (height * width)
        # Sides are rounded to pixels.
        assert share.min() > 0.17
        assert share.max() <= 1
        assert (wide / high).max() < 1.5
        assert share.std() > 0.15


def test_where_no_box_fits_the_largest_central_one_is_taken():
    # An image 16 times as wide as high: no box of at least half its area has an allowed ratio.
    boxes = augment.draw_boxes(10, 4, 64, seeded(), area=(0.5, 1.0))
    assert boxes.unique(dim=0).tolist() == [[0, 30, 4, 5]]


def test_resizing_the_whole_image_changes_nothing():
    X = images(n=2, height=6, width=9)
    whole = torch.tensor([[0, 0, 6, 9]] * 2)
    assert torch.allclose(augment.resized_crop(X, whole), X, atol=1e-6)


def slow_resize(image, box):
    """Bilinear interpolation of a box, one pixel at a time."""
    top, left, high, wide = box
    part = image[:, top : top + high, left : left + wide]
    _, height, width = image.shape
    out = np.empty_like(image)
    for i in range(height):
        for j in range(width):
            y = min(max((i + 0.5) * high / height - 0.5, 0), high - 1)
            x = min(max((j + 0.5) * wide / width - 0.5, 0), wide - 1)
            y0, x0 = int(y), int(x)
            y1, x1 = min(y0 + 1, high - 1), min(x0 + 1, wide - 1)
            upper = part[:, y0, x0] * (1 - (x - x0)) + part[:, y0, x1] * (x - x0)
            lower = part[:, y1, x0] * (1 - (x - x0)) + part[:, y1, x1] * (x - x0)
            out[:, i, j] = upper * (1 - (y - y0)) + lower * (y - y0)
    return out


def test_resized_crop_is_bilinear_interpolation_of_the_box():
    X = images(n=40, channels=2, height=8, width=6)
    boxes = augment.draw_boxes(40, 8, 6, seeded(), area=(0.05, 1.0))
    resized = augment.resized_crop(X, boxes)
    for image, box, out in zip(X.numpy(), boxes.tolist(), resized.numpy(), strict=True):
        assert np.allclose(out, slow_resize(image, box), atol=1e-5)


def test_pixels_outside_the_box_have_no_influence():
    X = images(n=20, channels=1, height=8, width=8)
    boxes = augment.draw_boxes(20, 8, 8, seeded(), area=(0.1, 0.6))
    changed = torch.full_like(X, 1e9)
    for i, (top, left, high, wide) in enumerate(boxes.tolist()):
        inside = (i, slice(None), slice(top, top + high), slice(left, left + wide))
        changed[inside] = X[inside]
    assert torch.equal(augment.resized_crop(X, boxes), augment.resized_crop(changed, boxes))


# ---------------------------------------------------------------- colours


def test_hue_turns_the_circle_of_colorsys():
    X = images(n=12, height=4, width=4)
    X[0] = 0.5  # grey has no hue
    X[1] = torch.eye(3)[torch.randint(3, (4, 4), generator=seeded())].permute(2, 0, 1)
    shifts = torch.linspace(-0.5, 0.5, 12)
    turned = augment.hue(X, shifts).permute(0, 2, 3, 1).numpy().reshape(12, -1, 3)
    pixels = X.permute(0, 2, 3, 1).numpy().reshape(12, -1, 3)
    for row, shift, out in zip(pixels, shifts.tolist(), turned, strict=True):
        for pixel, result in zip(row.astype(float), out, strict=True):
            h, s, v = colorsys.rgb_to_hsv(*pixel)
            assert np.allclose(result, colorsys.hsv_to_rgb((h + shift) % 1, s, v), atol=1e-5)


def test_no_turn_and_a_full_turn_of_the_hue_change_nothing():
    X = images()
    for turns in (0.0, 1.0, -1.0):
        assert torch.allclose(augment.hue(X, torch.full((6,), turns)), X, atol=1e-5)


def test_brightness_contrast_and_saturation_are_their_formulas():
    X, factors = images(), torch.linspace(0.2, 1.8, 6)
    f = factors.numpy()[:, None, None, None]
    grey = np.einsum("nchw,c->nhw", X.numpy(), [0.299, 0.587, 0.114])[:, None]
    mean = grey.mean(axis=(2, 3), keepdims=True)
    wanted = {
        "brightness": X.numpy() * f,
        "contrast": mean + f * (X.numpy() - mean),
        "saturation": grey + f * (X.numpy() - grey),
    }
    for name, values in wanted.items():
        out = getattr(augment, name)(X, factors).numpy()
        assert np.allclose(out, np.clip(values, 0, 1), atol=1e-5), name


def test_jitter_applies_the_four_steps_in_each_images_own_order():
    X = images(n=8)
    amounts, order, changed, grey = augment.draw_jitter(
        8, seeded(2), probability=0.7, grey_probability=0.3
    )
    assert 0 < changed.sum() < 8
    assert 0 < grey.sum() < 8
    assert len(order.unique(dim=0)) > 2
    out = augment.jitter(X, amounts, order, changed, grey)
    steps = [augment.brightness, augment.contrast, augment.saturation, augment.hue]
    for i in range(8):
        image = X[[i]]
        if changed[i]:
            for step in order[i].tolist():
                image = steps[step](image, amounts[[i], step])
        if grey[i]:
            image = augment.grey_of(image).expand_as(image)
        assert torch.equal(out[[i]], image)


def test_amounts_respect_their_strength():
    amounts, order, changed, grey = augment.draw_jitter(3000, seeded())
    assert (order.sort(dim=1).values == torch.arange(4)).all()
    assert (amounts[:, :3] - 1).abs().max() <= 0.4
    assert amounts[:, 3].abs().max() <= 0.1
    assert (amounts.std(dim=0) > 0.05).all()
    assert abs(changed.float().mean() - 0.8) < 0.04
    assert abs(grey.float().mean() - 0.2) < 0.04


def test_images_of_one_channel_change_in_brightness_and_contrast_only():
    X = images(channels=1)
    amounts, order, changed, grey = augment.draw_jitter(
        6, seeded(), probability=1.0, grey_probability=1.0
    )
    amounts[:, :2] = 1.0
    assert torch.allclose(augment.jitter(X, amounts, order, changed, grey), X, atol=1e-6)
    amounts[:, 0] = 0.5
    assert torch.allclose(augment.jitter(X, amounts, order, changed, grey), X / 2, atol=1e-6)


def test_colours_stay_between_black_and_white():
    X = images(n=200, height=4, width=4)
    drawn = augment.draw_jitter(200, seeded(), strength=(1.0, 1.0, 1.0, 0.5), probability=1.0)
    out = augment.jitter(X, *drawn)
    assert out.min() >= 0
    assert out.max() <= 1
