"""The feature maps learn nothing and treat each row alone, bit for bit."""

import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from sklearn.base import clone
from sklearn.exceptions import NotFittedError, SkipTestWarning
from sklearn.linear_model import RidgeClassifier
from sklearn.pipeline import make_pipeline
from sklearn.utils.estimator_checks import check_estimator
from sklearn.utils.validation import check_is_fitted

from certified_ensembles.features import Deskew, HOGFeatures
from certified_ensembles.features import _base as base
from certified_ensembles.features._deskew import _slant

MAPS = [
    pytest.param(Deskew(), id="deskew"),
    pytest.param(Deskew(center=False, max_shear=0.3), id="deskew-in-place"),
    pytest.param(HOGFeatures(), id="hog"),
    pytest.param(
        HOGFeatures((3, 5), signed=False, n_orientations=4, block_size=1, square_root=False),
        id="hog-unsigned",
    ),
    pytest.param(make_pipeline(Deskew(), HOGFeatures()), id="both"),
]
LAYOUTS = {
    "fortran": np.asfortranarray,
    "reversed": lambda X: np.ascontiguousarray(X[::-1, ::-1])[::-1, ::-1],
    "strided": lambda X: np.repeat(np.repeat(X, 2, axis=0), 3, axis=2)[::2, :, ::3],
    "width-major": lambda X: np.ascontiguousarray(X.transpose(0, 2, 1)).transpose(0, 2, 1),
    "sample-last": lambda X: np.ascontiguousarray(X.transpose(1, 2, 0)).transpose(2, 0, 1),
    "big-endian": lambda X: X.astype(X.dtype.newbyteorder(">")),
    "unaligned": lambda X: _unaligned(X),
    "read-only": lambda X: _read_only(X),
}


def _unaligned(X):
    buffer = np.empty(X.nbytes + 1, dtype=np.uint8)[1:].view(X.dtype).reshape(X.shape)
    buffer[...] = X
    return buffer


def _read_only(X):
    X = X.copy()
    X.flags.writeable = False
    return X


def _images(n=37, height=28, width=28, seed=0):
    """Smooth blobs on a black ground, a blank image, a full one and one lone pixel."""
    rng = np.random.default_rng(seed)
    X = rng.integers(0, 256, size=(n, height, width))
    X = X * (rng.random((n, height, width)) < 0.3)
    X[0], X[1:2], X[2:3] = 0, 255, 0
    X[2:3, height // 3, width // 2] = 7
    return X.astype(np.uint8)


def _bits(X):
    assert X.dtype == np.float32
    return np.ascontiguousarray(X).view(np.uint32)


@pytest.fixture
def small_blocks(monkeypatch):
    """Cut batches into blocks of 5 images, so that block borders fall inside the tests."""
    monkeypatch.setattr(base, "_BLOCK_PIXELS", 5 * 28 * 28)


@pytest.mark.parametrize("transformer", MAPS)
@pytest.mark.parametrize("kind", ["uint8", "float"])
def test_each_row_is_the_same_alone_and_in_any_batch(transformer, kind, small_blocks):
    X = _images()
    if kind == "float":
        X = X / np.float32(255) - np.random.default_rng(1).random(X.shape, dtype=np.float32) / 9
    whole = _bits(transformer.transform(X))
    for i in range(len(X)):
        np.testing.assert_array_equal(_bits(transformer.transform(X[i : i + 1]))[0], whole[i])
    for start, stop in [(0, 2), (3, 20), (1, 37)]:
        np.testing.assert_array_equal(
            _bits(transformer.transform(X[start:stop])), whole[start:stop]
        )
    order = np.random.default_rng(2).permutation(len(X))
    np.testing.assert_array_equal(_bits(transformer.transform(X[order])), whole[order])


def test_moments_do_not_depend_on_the_batch_in_the_last_bit():
    # The float32 result hides most differences of these float64 numbers.
    images = np.random.default_rng(9).random((28, 28, 40), dtype=np.float32)
    whole = np.array(_slant(images, images.min(axis=(0, 1))))
    for i in range(40):
        alone = np.ascontiguousarray(images[:, :, i : i + 1])
        np.testing.assert_array_equal(np.array(_slant(alone, alone.min()))[:, 0], whole[:, i])


@pytest.mark.parametrize("transformer", MAPS)
def test_large_blocks_give_the_same_bits_as_small_ones(transformer, monkeypatch):
    X = _images()
    whole = _bits(transformer.transform(X))
    monkeypatch.setattr(base, "_BLOCK_PIXELS", 1)
    np.testing.assert_array_equal(_bits(transformer.transform(X)), whole)


@pytest.mark.parametrize("transformer", MAPS)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_memory_layout_does_not_change_a_bit(transformer, layout):
    X = _images().astype(np.float64) / 3
    expected = _bits(transformer.transform(X))
    other = LAYOUTS[layout](X)
    np.testing.assert_array_equal(other, X)
    np.testing.assert_array_equal(_bits(transformer.transform(other)), expected)


@pytest.mark.parametrize("transformer", MAPS)
@pytest.mark.parametrize("dtype", ["uint16", "int64", "float16", "float32", "float64", object])
def test_equal_values_of_another_dtype_give_the_same_bits(transformer, dtype):
    X = _images(6)
    expected = _bits(transformer.transform(X))
    np.testing.assert_array_equal(_bits(transformer.transform(X.astype(dtype))), expected)


@pytest.mark.parametrize("transformer", MAPS)
def test_negative_zero_equals_zero(transformer):
    X = _images(6).astype(float)
    expected = _bits(transformer.transform(X))
    X[X == 0] = -0.0
    np.testing.assert_array_equal(_bits(transformer.transform(X)), expected)


@pytest.mark.parametrize("transformer", MAPS)
def test_transform_leaves_its_input_alone(transformer):
    X = _images(8).astype(np.float32)[4:]
    pixel_major = np.ascontiguousarray(X.transpose(1, 2, 0)).transpose(2, 0, 1)
    for images in (X, X[:1], pixel_major):  # the layouts that need no copy to be worked on
        before = images.copy()
        transformer.transform(images)
        np.testing.assert_array_equal(images, before)


@pytest.mark.parametrize("transformer", MAPS)
def test_fitting_on_other_images_changes_nothing(transformer):
    X = _images(8)
    expected = _bits(transformer.transform(X))
    fitted = clone(transformer).fit(_images(20, seed=5), np.arange(20))
    np.testing.assert_array_equal(_bits(fitted.transform(X)), expected)
    check_is_fitted(clone(transformer))  # ready without fit


@given(
    hnp.arrays(
        np.float32,
        st.tuples(st.integers(1, 9), st.integers(8, 12), st.integers(8, 12)),
        elements=st.floats(width=32, allow_nan=False, allow_infinity=False),
    ),
    st.randoms(use_true_random=False),
)
@settings(max_examples=50, deadline=None)
def test_any_finite_image_has_finite_features_of_its_own(X, random):
    i = random.randrange(len(X))
    hog = HOGFeatures((3, 4))
    for transformer in (Deskew(), hog, make_pipeline(Deskew(), hog)):
        features = transformer.transform(X)
        assert np.isfinite(features).all()
        np.testing.assert_array_equal(_bits(transformer.transform(X[[i]]))[0], _bits(features)[i])
    assert hog.transform(X).min() >= 0
    assert hog.transform(X).max() <= 1


def _reference_hog(image, cell, n, signed, side, square_root, epsilon):
    """The definition in the docstring of HOGFeatures, pixel by pixel and with angles."""
    image = image / max(np.abs(image).max(), 1e-300)
    height, width = image.shape[:2]
    image = image.reshape(height, width, -1)
    cells_y, cells_x = height // cell, width // cell
    top, left = (height - cells_y * cell) // 2, (width - cells_x * cell) // 2
    hist = np.zeros((cells_y, cells_x, n))
    step = (2 if signed else 1) * np.pi / n
    for y in range(height):
        for x in range(width):
            dy = image[y + 1, x] - image[y - 1, x] if 0 < y < height - 1 else 0 * image[y, x]
            dx = image[y, x + 1] - image[y, x - 1] if 0 < x < width - 1 else 0 * image[y, x]
            best = np.argmax(dy**2 + dx**2)
            angle = np.arctan2(dy[best], dx[best]) % (2 * np.pi if signed else np.pi)
            length = np.hypot(dy[best], dx[best])
            o, inside = int(angle // step), angle % step
            for cy in range(cells_y):
                for cx in range(cells_x):
                    far_y = abs(y - (top + cy * cell + (cell - 1) / 2)) / cell
                    far_x = abs(x - (left + cx * cell + (cell - 1) / 2)) / cell
                    weight = max(0, 1 - far_y) * max(0, 1 - far_x) * length / np.sin(step)
                    hist[cy, cx, o % n] += weight * np.sin(step - inside)
                    hist[cy, cx, (o + 1) % n] += weight * np.sin(inside)
    features = []
    for i in range(cells_y - side + 1):
        for j in range(cells_x - side + 1):
            block = hist[i : i + side, j : j + side].ravel()
            features.append(block / np.sqrt((block**2).sum() + epsilon**2))
    features = np.concatenate(features)
    return np.sqrt(features) if square_root else features


@pytest.mark.parametrize("signed", [True, False])
@pytest.mark.parametrize(
    ("cell", "n", "side", "square_root", "epsilon"),
    [(4, 9, 2, True, 0.1), (5, 4, 1, False, 0.5), (1, 5, 3, True, 1e-3), (3, 6, 2, False, 1.0)],
)
def test_features_follow_the_definition(signed, cell, n, side, square_root, epsilon):
    X = _images(4, 13, 11).astype(float)
    hog = HOGFeatures(
        (cell,),
        n_orientations=n,
        signed=signed,
        block_size=side,
        square_root=square_root,
        epsilon=epsilon,
    )
    expected = [_reference_hog(x, cell, n, signed, side, square_root, epsilon) for x in X]
    np.testing.assert_allclose(hog.transform(X), expected, atol=2e-3 if square_root else 2e-6)


def test_two_unsigned_directions_follow_the_definition():
    X = _images(4, 8, 8).astype(float)
    hog = HOGFeatures((4,), n_orientations=2, signed=False, square_root=False)
    expected = [_reference_hog(x, 4, 2, False, 2, False, 0.1) for x in X]
    np.testing.assert_allclose(hog.transform(X), expected, atol=2e-6)


def test_a_colour_pixel_takes_its_strongest_gradient():
    rng = np.random.default_rng(3)
    X = rng.integers(0, 256, size=(3, 9, 10, 3)).astype(float)
    hog = HOGFeatures((3,), square_root=False)
    expected = [_reference_hog(x, 3, 9, True, 2, False, 0.1) for x in X]
    np.testing.assert_allclose(hog.transform(X), expected, atol=2e-6)


def test_colour_axes_first_and_last_agree():
    X = np.random.default_rng(4).integers(0, 256, size=(5, 12, 13, 3), dtype=np.uint8)
    expected = HOGFeatures((3, 4)).transform(X)
    for channels in ("auto", "last"):
        hog = HOGFeatures((3, 4), channels=channels)
        np.testing.assert_array_equal(hog.transform(X), expected)
        flat = HOGFeatures((3, 4), channels=channels, image_shape=(12, 13, 3))
        np.testing.assert_array_equal(flat.transform(X.reshape(5, -1)), expected)
    first = X.transpose(0, 3, 1, 2)
    for channels in ("auto", "first"):
        hog = HOGFeatures((3, 4), channels=channels)
        np.testing.assert_array_equal(hog.transform(first), expected)
        flat = HOGFeatures((3, 4), channels=channels, image_shape=(3, 12, 13))
        np.testing.assert_array_equal(flat.transform(first.reshape(5, -1)), expected)


def test_three_equal_colours_are_grey():
    X = _images(5)
    np.testing.assert_array_equal(
        HOGFeatures().transform(np.stack([X, X, X], axis=-1)), HOGFeatures().transform(X)
    )


def test_colours_keep_their_rows_apart(small_blocks):
    X = np.random.default_rng(5).integers(0, 256, size=(9, 28, 28, 3), dtype=np.uint8)
    whole = _bits(HOGFeatures().transform(X))
    for i in range(9):
        np.testing.assert_array_equal(_bits(HOGFeatures().transform(X[[i]]))[0], whole[i])


def test_contrast_and_scale_hardly_matter():
    X = _images(5)
    np.testing.assert_array_equal(
        HOGFeatures().transform(X / 256), HOGFeatures().transform(X.astype(float))
    )
    np.testing.assert_allclose(
        HOGFeatures().transform(X / 255), HOGFeatures().transform(X), atol=2e-3
    )


def test_a_blank_image_has_zero_features():
    X = np.stack([np.zeros((28, 28)), np.full((28, 28), 9.0)])
    assert not HOGFeatures().transform(X).any()


def test_mnist_sized_images_have_1620_named_features():
    X = _images(2)
    hog = HOGFeatures().fit(X)
    names = hog.get_feature_names_out()
    assert hog.transform(X).shape == (2, 1620)
    assert len(set(names)) == len(names) == 1620
    assert names[0] == "hog_cell4_block0_0_part0_0_direction0"
    assert names[-1] == "hog_cell7_block2_2_part1_1_direction8"
    assert sum(name.startswith("hog_cell4_") for name in names) == 1296


def test_feature_names_point_at_their_cells():
    X = np.zeros((1, 12, 12))
    X[0, 2, 9] = 1  # top right
    hog = HOGFeatures((4,), square_root=False, image_shape=(12, 12))
    features = hog.set_output(transform="pandas").transform(X.reshape(1, -1))
    assert isinstance(features, pd.DataFrame)
    largest = features.iloc[0].groupby(lambda name: name.rsplit("_", 1)[0]).sum()
    far = largest[["hog_cell4_block0_0_part0_0", "hog_cell4_block1_0_part1_0"]]
    assert (far == 0).all()
    assert largest["hog_cell4_block0_1_part0_1"] > largest["hog_cell4_block0_1_part0_0"] > 0


def test_names_need_the_shape_of_an_image():
    with pytest.raises(NotFittedError):
        HOGFeatures().get_feature_names_out()
    assert len(HOGFeatures(image_shape=(28, 28)).get_feature_names_out()) == 1620
    with pytest.raises(NotFittedError):
        Deskew().fit(_images(2)).get_feature_names_out()
    deskew = Deskew(image_shape=(2, 3)).fit(np.ones((4, 6)))
    assert list(deskew.get_feature_names_out()) == [f"x{i}" for i in range(6)]


def test_fit_forgets_the_width_of_earlier_flat_rows():
    hog = HOGFeatures(image_shape=(28, 28)).fit(_images(2).reshape(2, -1))
    assert hog.n_features_in_ == 784
    assert not hasattr(hog.fit(_images(2)), "n_features_in_")


@pytest.mark.parametrize("transformer", [Deskew(), HOGFeatures()])
def test_flat_rows_are_the_same_images(transformer):
    X = _images(5)
    expected = transformer.transform(X).reshape(5, -1)
    flat = clone(transformer).set_params(image_shape=(28, 28))
    for rows in (X.reshape(5, -1), pd.DataFrame(X.reshape(5, -1)), X.reshape(5, -1).tolist()):
        np.testing.assert_array_equal(flat.transform(rows), expected)
    np.testing.assert_array_equal(flat.transform(X).reshape(5, -1), expected)


def test_deskew_keeps_the_shape_and_a_straight_centred_image():
    X = np.zeros((2, 9, 7), dtype=np.uint8)
    X[0, 2:7, 3] = 200
    X[1, 1:8, 2:5] = 90
    np.testing.assert_array_equal(Deskew().transform(X), X)
    assert Deskew(image_shape=(9, 7)).transform(X.reshape(2, -1)).shape == (2, 63)


def test_deskew_undoes_a_shear():
    upright = np.zeros((21, 21))
    upright[4:17, 9:12] = 1.0
    rows = np.arange(21)
    for slope in (-0.6, -0.25, 0.4, 0.9):
        slanted = np.stack(
            [np.interp(rows - slope * (y - 10), rows, upright[y]) for y in range(21)]
        )
        straight = Deskew().transform(slanted[None])[0]
        y, x = np.mgrid[:21, :21]
        mass = straight.sum()
        covariance = (straight * (y - 10) * (x - 10)).sum() / mass
        assert abs((slanted * (y - 10) * (x - 10)).sum() / mass) > 3
        assert abs(covariance) < 0.05
        np.testing.assert_allclose(straight[6:15, 7:14], upright[6:15, 7:14], atol=0.5)


def test_deskew_moves_the_centre_of_mass_only_when_asked():
    X = np.zeros((1, 15, 15))
    X[0, 2:5, 3:6] = 1.0
    moved = np.zeros_like(X)
    moved[0, 6:9, 6:9] = 1.0
    np.testing.assert_allclose(Deskew().transform(X), moved, atol=1e-6)
    np.testing.assert_allclose(Deskew(center=False).transform(X), X, atol=1e-6)


def test_max_shear_bounds_the_correction():
    X = np.zeros((1, 11, 11))
    X[0, np.arange(3, 8), np.arange(1, 11, 2)] = 1.0  # two columns per row
    steep = Deskew(max_shear=2.0).transform(X)[0]
    np.testing.assert_allclose(steep[3:8, 5], 1.0, atol=1e-6)
    np.testing.assert_allclose(Deskew(max_shear=0).transform(X), X, atol=1e-6)
    half = Deskew(max_shear=1.0).transform(X)[0]
    np.testing.assert_allclose(half[np.arange(3, 8), np.arange(3, 8)], 1.0, atol=1e-6)


def test_deskew_fills_with_the_background():
    X = np.full((1, 9, 9), 40.0)
    X[0, :3, :3] = 100.0
    straight = Deskew().transform(X)
    assert straight.min() == 40
    np.testing.assert_allclose(straight[0, 3:6, 3:6], 100.0, atol=1e-4)


@pytest.mark.parametrize("transformer", [Deskew(), HOGFeatures()])
def test_values_beyond_float32_are_refused(transformer):
    X = np.zeros((2, 28, 28))
    X[1, 3, 4] = 1e39
    with pytest.raises(ValueError, match=r"float32.*Rescale"):
        transformer.transform(X)


@pytest.mark.parametrize("scale", [3e38, 1e-38])
def test_the_whole_range_of_float32_is_usable(scale):
    X = (_images(6) / 127.5 - 1) * scale
    features = make_pipeline(Deskew(), HOGFeatures()).transform(X)
    expected = make_pipeline(Deskew(), HOGFeatures()).transform(X / scale)
    np.testing.assert_allclose(features, expected, atol=2e-3)


@pytest.mark.parametrize("transformer", [Deskew(), HOGFeatures()])
@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_missing_and_infinite_values_are_refused(transformer, bad):
    X = np.zeros((2, 28, 28))
    X[1, 3, 4] = bad
    with pytest.raises(ValueError, match="X contains"):
        transformer.transform(X)


BAD_INPUT = [
    (HOGFeatures(), np.zeros((4, 784)), "needs images.*image_shape"),
    (Deskew(), np.zeros((4, 784)), "needs images.*image_shape"),
    (HOGFeatures(), np.zeros(4), "needs images"),
    (HOGFeatures(image_shape=(28, 28)), np.zeros(4), "needs images"),
    (HOGFeatures(image_shape=(28, 28)), np.zeros((4, 700)), "784 values, but X has 700"),
    (HOGFeatures(image_shape=(8, 28)), np.zeros((4, 28, 28)), "holds images of shape"),
    (HOGFeatures(image_shape=(28,)), np.zeros((4, 28)), "two or three positive integers"),
    (HOGFeatures(image_shape=(28, 0)), np.zeros((4, 28)), "two or three positive integers"),
    (HOGFeatures(image_shape=(2.5, 4)), np.zeros((4, 10)), "two or three positive integers"),
    (HOGFeatures(), np.zeros((4, 28, 28, 2)), "channels='auto'"),
    (HOGFeatures((1,)), np.zeros((4, 3, 28, 3)), "channels='auto'"),
    (HOGFeatures(channels="last"), np.zeros((4, 3, 28, 28)), "channels='last'"),
    (HOGFeatures(channels="first"), np.zeros((4, 28, 28, 3)), "channels='first'"),
    (HOGFeatures(), np.zeros((4, 3, 28, 28, 1)), "n x 3 x height x width"),
    (Deskew(), np.zeros((4, 28, 28, 3)), "turn the images grey"),
    (Deskew(image_shape=(4, 4, 3)), np.zeros((4, 48)), "turn the images grey"),
    (HOGFeatures(), np.zeros((4, 12, 28)), "too few"),
    (HOGFeatures((4, 15)), np.zeros((4, 28, 28)), "cell_sizes.*too few"),
    (HOGFeatures(()), np.zeros((4, 28, 28)), "cell_sizes.*positive"),
    (HOGFeatures((0,)), np.zeros((4, 28, 28)), "cell_sizes.*positive"),
    (HOGFeatures((4.0,)), np.zeros((4, 28, 28)), "cell_sizes.*positive"),
    (HOGFeatures(n_orientations=3), np.zeros((4, 28, 28)), "n_orientations=3.*signed=False"),
    (HOGFeatures(n_orientations=1), np.zeros((4, 28, 28)), "'n_orientations' parameter"),
    (HOGFeatures(epsilon=0), np.zeros((4, 28, 28)), "'epsilon' parameter"),
    (HOGFeatures(channels="middle"), np.zeros((4, 28, 28)), "'channels' parameter"),
    (HOGFeatures(block_size=0), np.zeros((4, 28, 28)), "'block_size' parameter"),
    (Deskew(max_shear=-1), np.zeros((4, 28, 28)), "'max_shear' parameter"),
    (Deskew(), np.zeros((0, 28, 28)), "0 sample"),
]


@pytest.mark.parametrize(("transformer", "X", "message"), BAD_INPUT)
@pytest.mark.parametrize("method", ["fit", "transform"])
def test_bad_input_is_named(transformer, X, message, method):
    with pytest.raises(ValueError, match=message):
        getattr(transformer, method)(X)


def test_an_ambiguous_colour_axis_can_be_named():
    X = np.random.default_rng(6).random((2, 3, 5, 3))
    last = HOGFeatures((1,), channels="last").transform(X)
    first = HOGFeatures((1,), channels="first").transform(X.transpose(0, 3, 1, 2))
    np.testing.assert_array_equal(first, last)


@pytest.mark.parametrize("transformer", [Deskew(), HOGFeatures()])
def test_scikit_learn_knows_that_images_are_needed(transformer):
    tags = transformer.__sklearn_tags__()
    assert not tags.requires_fit
    assert tags.input_tags.three_d_array
    assert not tags.input_tags.two_d_array
    flat = clone(transformer).set_params(image_shape=(5, 5))
    assert flat.__sklearn_tags__().input_tags.two_d_array
    with pytest.warns(SkipTestWarning, match="which requires input"):
        check_estimator(transformer)


DATA = os.environ.get("CERTIFIED_ENSEMBLES_DATA")


@pytest.mark.skipif(
    not DATA or not (Path(DATA) / "mnist.npz").exists(),
    reason="set CERTIFIED_ENSEMBLES_DATA to a folder with mnist.npz",
)
def test_fifty_mnist_digits_teach_a_linear_model():
    # One member of an ensemble with 1200 partitions sees 50 digits: raw pixels reach 68 %.
    with np.load(Path(DATA) / "mnist.npz") as mnist:
        X, y = mnist["x_train"][:50], mnist["y_train"][:50]
        X_test, y_test = mnist["x_test"][:2000], mnist["y_test"][:2000]
    model = make_pipeline(Deskew(), HOGFeatures(), RidgeClassifier()).fit(X, y)
    raw = RidgeClassifier().fit(X.reshape(50, -1), y)
    assert model.score(X_test, y_test) > 0.75
    assert model.score(X_test, y_test) > raw.score(X_test.reshape(2000, -1), y_test) + 0.1
