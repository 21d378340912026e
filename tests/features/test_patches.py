"""Patch features and views treat each image alone, bit for bit, and follow their definition."""

import numpy as np
import pytest
from joblib import parallel_config
from sklearn.base import clone
from sklearn.exceptions import NotFittedError, SkipTestWarning
from sklearn.linear_model import RidgeClassifier
from sklearn.pipeline import make_pipeline
from sklearn.utils.estimator_checks import check_estimator
from sklearn.utils.validation import check_is_fitted

from certified_ensembles import DeepPartitionAggregation
from certified_ensembles._members.asking import stateless_steps
from certified_ensembles.audit import check_certificate
from certified_ensembles.features import HOGFeatures, ImageViews, PatchFeatures
from certified_ensembles.features import _base as base
from certified_ensembles.features import _patches as patches_module

SMALL = PatchFeatures(24, patch_size=4)
MAPS = [
    pytest.param(SMALL, id="soft"),
    pytest.param(SMALL.__class__(300, patch_size=3, square_root=False), id="several-products"),
    pytest.param(PatchFeatures(24, patch_size=4, activation="triangle", grid=3), id="triangle"),
    pytest.param(PatchFeatures(24, patch_size=4, equalize=True), id="equalized"),
    pytest.param(ImageViews([HOGFeatures((4,)), SMALL]), id="views"),
]


def _images(n=11, height=13, width=12, seed=0, colours=3):
    rng = np.random.default_rng(seed)
    shape = (n, height, width, colours) if colours else (n, height, width)
    X = rng.integers(0, 256, size=shape) * (rng.random(shape) < 0.7)
    X[1:2], X[2:3] = 0, 255
    return X.astype(np.uint8)


def _bits(X):
    assert X.dtype == np.float32
    return np.ascontiguousarray(X).view(np.uint32)


@pytest.mark.parametrize("colours", [0, 3])
@pytest.mark.parametrize("transformer", MAPS)
def test_each_row_is_the_same_alone_in_any_batch_and_with_threads(
    transformer, colours, monkeypatch
):
    monkeypatch.setattr(base, "_BLOCK_PIXELS", 3 * 13 * 12)  # borders fall inside the batch
    X = _images(colours=colours)
    whole = _bits(transformer.transform(X))
    for i in range(len(X)):
        np.testing.assert_array_equal(_bits(transformer.transform(X[[i]]))[0], whole[i])
    np.testing.assert_array_equal(_bits(transformer.transform(X[::-1])), whole[::-1])
    if "n_jobs" in transformer.get_params():
        threads = clone(transformer).set_params(n_jobs=2)
        np.testing.assert_array_equal(_bits(threads.transform(X)), whole)


@pytest.mark.parametrize("transformer", MAPS)
@pytest.mark.parametrize("dtype", ["int64", "float32", "float64", object])
def test_equal_values_of_another_dtype_or_layout_give_the_same_bits(transformer, dtype):
    X = _images(5)
    expected = _bits(transformer.transform(X))
    for other in (X.astype(dtype), np.asfortranarray(X.astype(dtype))):
        np.testing.assert_array_equal(_bits(transformer.transform(other)), expected)


@pytest.mark.parametrize("transformer", MAPS)
def test_colour_axes_first_and_last_agree(transformer):
    X = _images(5)
    expected = _bits(transformer.transform(X))
    first = np.ascontiguousarray(X.transpose(0, 3, 1, 2))
    np.testing.assert_array_equal(_bits(transformer.transform(first)), expected)
    flat = clone(transformer).set_params(image_shape=(13, 12, 3))
    np.testing.assert_array_equal(_bits(flat.transform(X.reshape(5, -1))), expected)


@pytest.mark.parametrize("transformer", MAPS)
def test_fitting_fixed_maps_on_other_images_changes_nothing(transformer):
    X = _images(5)
    fitted = clone(transformer).fit(_images(9, seed=3), np.arange(9))
    np.testing.assert_array_equal(_bits(fitted.transform(X)), _bits(transformer.transform(X)))
    check_is_fitted(clone(transformer))
    assert len(stateless_steps(make_pipeline(transformer, RidgeClassifier()))) == 1


@pytest.mark.parametrize("transformer", MAPS)
def test_hostile_images_have_finite_features_that_are_not_negative(transformer):
    X = np.zeros((6, 13, 12, 3), np.float32)
    X[1], X[2, 0, 0], X[3], X[4] = 3e38, -3e38, 1e-45, np.nextafter(np.float32(1), 2)
    X[5] = np.random.default_rng(0).normal(size=X.shape[1:]) * 3e37
    features = transformer.transform(X)
    assert np.isfinite(features).all()
    assert not np.signbit(features).any()


def _reference(image, transformer, bank):
    """The definition in the docstring, patch by patch, in double precision."""
    filters, whiten, centre = bank
    size, grid = transformer.patch_size, transformer.grid
    image = image / np.abs(image).max() * 255
    height, width = image.shape[1] - size + 1, image.shape[2] - size + 1
    cells = [[[] for _ in range(grid)] for _ in range(grid)]
    for i in range(height):
        for j in range(width):
            patch = image[:, i : i + size, j : j + size].ravel()
            patch = patch - patch.mean()
            patch /= np.sqrt((patch**2).mean() + transformer.contrast**2)
            white = whiten @ patch - centre
            if transformer.activation == "triangle":
                distance = np.sqrt(((white - filters) ** 2).sum(axis=1))
                passed = [np.maximum(distance.mean() - distance, 0)]
            else:
                answer = filters @ white
                limit = transformer.threshold
                passed = [np.maximum(answer - limit, 0), np.maximum(-answer - limit, 0)]
            cells[i * grid // height][j * grid // width].append(np.concatenate(passed))
    return np.concatenate([np.mean(cell, axis=0) for row in cells for cell in row])


@pytest.mark.parametrize("activation", ["soft_threshold", "triangle"])
def test_features_follow_the_definition(activation):
    X = _images(4)[[0, 3]].astype(float)
    patches = PatchFeatures(
        30, patch_size=4, activation=activation, grid=3, square_root=False, threshold=0.7
    )
    filters, _, _, (whiten, centre) = patches_module._from_photographs(
        3, 4, 30, patches.whitening, patches.contrast, 0
    )
    bank = filters.astype(float), whiten.astype(float), centre.astype(float)
    expected = [_reference(x.transpose(2, 0, 1), patches, bank) for x in X]
    np.testing.assert_allclose(patches.transform(X), expected, atol=2e-5)
    assert np.max(expected) > 0.1
    roots = clone(patches).set_params(square_root=True).transform(X)
    np.testing.assert_allclose(roots, np.sqrt(expected), atol=3e-3)


def test_whitened_photographs_answer_filters_with_unit_variance():
    rng = np.random.default_rng(4)
    patches = rng.normal(size=(48, 5000)) * np.linspace(1, 9, 48)[:, None] + 3
    filters, projection, offset, _ = patches_module._learn(
        patches.astype(np.float32), 40, 1e-6, 0, clusters=False
    )
    np.testing.assert_allclose((filters**2).sum(axis=1), 1, atol=1e-5)
    answers = patches.T @ projection - offset
    np.testing.assert_allclose(answers.mean(axis=0), 0, atol=1e-3)
    np.testing.assert_allclose(answers.std(axis=0), 1, atol=1e-2)


def test_equalized_features_ignore_any_change_of_light():
    X = _images(6, colours=0).astype(int)
    patches = PatchFeatures(24, patch_size=4, equalize=True)
    expected = _bits(patches.transform(X))
    np.testing.assert_array_equal(_bits(patches.transform(X**2 + 5)), expected)
    assert (_bits(patches.transform(255 - X)) != expected).any()
    grey = _bits(PatchFeatures(24, patch_size=4).transform(X))
    assert (_bits(PatchFeatures(24, patch_size=4).transform(X**2 + 5)) != grey).any()


def test_equal_values_share_the_middle_of_their_ranks():
    image = np.array([[[0, 0], [4, 8]]], dtype=np.float32)
    expected = 255 * np.array([[[1, 1], [2.5, 3.5]]]) / 4
    np.testing.assert_allclose(patches_module._prepared(image, True), expected, rtol=1e-6)


# ---------------------------------------------------------------- filters learned from rows


def test_learned_filters_are_a_function_of_the_rows_alone():
    X = _images(40)
    one = PatchFeatures(16, patch_size=3, filters="fit").fit(X)
    again = PatchFeatures(16, patch_size=3, filters="fit").fit(np.asfortranarray(X), range(40))
    other = PatchFeatures(16, patch_size=3, filters="fit").fit(X[1:])
    np.testing.assert_array_equal(one.transform(X), again.transform(X))
    assert (one.filters_ != other.filters_).any()


def test_learned_filters_find_the_patterns_of_the_rows():
    rng = np.random.default_rng(0)
    X = rng.normal(scale=2, size=(60, 9, 9))
    X += np.where(np.arange(60) % 2, 1, -1)[:, None, None] * 60 * (np.arange(9) % 2)
    drawn = PatchFeatures(2, patch_size=3, filters="fit", contrast=1.0).fit(X)
    pattern = drawn.filters_.reshape(2, 3, 3).mean(axis=1)  # vertical stripes
    spread = drawn.filters_.reshape(2, 3, 3).std(axis=1)
    assert np.abs(pattern).max() > 5 * spread.max()


def test_clusters_are_nearer_to_the_patches_than_drawn_ones():
    rng = np.random.default_rng(1)
    patches = (rng.normal(size=(27, 10)) @ np.eye(10)[rng.integers(10, size=3000)].T) * 3
    patches = (patches + rng.normal(size=(27, 3000))).astype(np.float32)
    nearest = []
    for clusters in (False, True):
        _, *bank = patches_module._learn(patches, 20, 0.1, 0, clusters)
        nearest.append((patches.T @ bank[0] - bank[1]).max(axis=1).mean())
    assert nearest[1] > 1.1 * nearest[0]


def test_learning_filters_needs_fit_and_is_not_shared_among_members():
    learned = PatchFeatures(8, patch_size=3, filters="fit")
    with pytest.raises(NotFittedError):
        learned.transform(_images(3))
    for step in (learned, ImageViews([HOGFeatures((4,)), learned])):
        assert stateless_steps(make_pipeline(step, RidgeClassifier())) == []
    with pytest.raises(NotFittedError):
        ImageViews([learned]).transform(_images(3))


def test_fitted_filters_refuse_images_of_other_channels():
    learned = PatchFeatures(8, patch_size=3, filters="fit").fit(_images(9))
    with pytest.raises(ValueError, match="3 channels"):
        learned.transform(_images(3, colours=0))


@pytest.mark.parametrize("filters", ["photographs", "fit"])
def test_certificate_survives_attacks_on_members_with_patches(filters, monkeypatch):
    n_partitions = 6
    if filters == "fit":  # drawn again for every member
        n_partitions = 3
        monkeypatch.setattr(patches_module, "_N_PATCHES", 200)
    X = _images(46, 8, 8, colours=0).astype(float)  # test rows cost most: all members see them
    y = np.arange(46) % 3
    X[y == 1, :4] *= 0.2
    X[y == 2, :, 4:] *= 0.2
    member = make_pipeline(PatchFeatures(8, patch_size=3, filters=filters), RidgeClassifier())
    clf = DeepPartitionAggregation(member, n_partitions, classes=range(3))
    with parallel_config("threading"):  # other processes take seconds to start
        check_certificate(clf, X[:40], y[:40], X[40:], n_attacks=3, random_state=0)


# ---------------------------------------------------------------- views


def test_second_view_is_the_mirror_image():
    X = _images(5)
    maps = [HOGFeatures((4,)), PatchFeatures(12, patch_size=3)]
    views = ImageViews(maps).transform(X)
    for view, images in ((0, X), (1, X[:, :, ::-1])):
        expected = np.hstack([step.transform(images) for step in maps])
        np.testing.assert_array_equal(views[:, view], expected)
    flat = ImageViews(maps, mirror=False).transform(X)
    np.testing.assert_array_equal(flat, views[:, 0])


# ---------------------------------------------------------------- the rest


@pytest.mark.parametrize(
    "transformer", [SMALL, PatchFeatures(8, filters="fit"), ImageViews([HOGFeatures((4,))])]
)
def test_scikit_learn_knows_that_images_are_needed(transformer):
    tags = transformer.__sklearn_tags__()
    assert tags.input_tags.three_d_array
    assert not tags.input_tags.two_d_array
    with pytest.warns(SkipTestWarning, match="which requires input"):
        check_estimator(transformer)


def test_maps_stand_side_by_side_in_their_order():
    X = _images(3)
    views = ImageViews([HOGFeatures((4,)), SMALL], mirror=False)
    n_first = HOGFeatures((4,)).transform(X).shape[1]
    np.testing.assert_array_equal(views.transform(X)[:, n_first:], SMALL.transform(X))


def test_names_point_at_cells_and_filters():
    X = np.zeros((1, 12, 12))
    X[0, :5, 8:] = np.random.default_rng(0).integers(1, 99, (5, 4))  # top right
    patches = PatchFeatures(9, patch_size=3, threshold=0.5)
    names, features = patches.get_feature_names_out(), patches.transform(X)[0]
    assert len(names) == len(set(names)) == len(features) == 72
    blank = patches.transform(np.zeros((1, 12, 12)))[0]
    changed = names[features != blank]
    assert len(changed) > 9
    assert all(name.startswith("patch3_cell0_1_") for name in changed)


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"patch_size": 13}, "0 places"),
        ({"patch_size": 8, "grid": 6}, "fewer than cells"),
        ({"n_filters": 0}, "n_filters"),
        ({"filters": "imagenet"}, "filters"),
        ({"threshold": -1}, "threshold"),
        ({"whitening": 0}, "whitening"),
    ],
)
def test_bad_parameters_are_named(parameters, message):
    with pytest.raises(ValueError, match=message):
        PatchFeatures(**{"n_filters": 8, **parameters}).transform(_images(2))


def test_missing_pillow_is_named(monkeypatch):
    def fail():
        raise ImportError("no PIL")

    monkeypatch.setattr(patches_module, "load_sample_images", fail)
    with pytest.raises(ImportError, match="pip install pillow"):
        PatchFeatures(7, patch_size=5, seed=123).transform(_images(2))
