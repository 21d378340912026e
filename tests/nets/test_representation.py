"""What every unsupervised network promises: one table, one contract."""

import copy
import pickle
import random

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.linear_model import RidgeClassifier
from sklearn.utils import get_tags

torch = pytest.importorskip("torch")
pytest.importorskip("skorch")
from certified_ensembles import LabelFlipSmoothingClassifier, SemiSupervisedDPA  # noqa: E402
from certified_ensembles.audit import check_certificate  # noqa: E402
from tiny_representations import _DIGITS, X_COPIES, X, Y, every, same, steps_of_fit, tiny  # noqa: E402

# ---------------------------------------------------------------- a function of rows and seed


@every
def test_any_order_of_the_rows_gives_the_same_bits(name):
    first = tiny(name).fit(X_COPIES)
    order = np.random.default_rng(0).permutation(len(X_COPIES))
    second = tiny(name).fit(X_COPIES[order])
    assert same(first, second)
    assert np.array_equal(first.losses_, second.losses_)
    assert np.array_equal(first.transform(X), second.transform(X))


@every
def test_labels_are_not_looked_at(name):
    assert same(tiny(name).fit(X), tiny(name).fit(X, Y))
    assert not get_tags(tiny(name)).target_tags.required


@every
def test_the_container_of_the_numbers_does_not_matter(name):
    first = tiny(name).fit(X)
    for other in (
        X.astype(np.int64),
        X.astype(np.float64),
        X.astype(">f4"),
        np.asfortranarray(X),
        X[:, None],
        X.tolist(),
    ):
        assert same(first, tiny(name).fit(other))
        assert np.array_equal(first.transform(X), first.transform(other))
    flat = tiny(name, image_shape=(8, 8)).fit(X.reshape(len(X), -1))
    assert same(first, flat)
    assert flat.n_features_in_ == 64
    assert flat.image_shape_ == (1, 8, 8)


@every
def test_zero_has_one_sign(name, tmp_path):
    floats = X.astype(float)
    first = tiny(name, checkpoint=tmp_path).fit(floats)
    negative = np.where(X == 0, -0.0, floats)
    assert same(first, tiny(name).fit(negative))
    # Not even a checkpoint tells them apart.
    assert steps_of_fit(tiny(name, checkpoint=tmp_path), negative) == 0


@every
def test_seeds_differ_and_none_is_refused(name):
    assert not same(tiny(name).fit(X), tiny(name, random_state=1).fit(X))
    with pytest.raises(ValueError, match=r"random_state=None .* pass an int"):
        tiny(name, random_state=None).fit(X)


@every
def test_every_row_counts(name):
    changed = X.copy()
    changed[7, 3, 3] += 1
    assert not same(tiny(name).fit(X), tiny(name).fit(changed))
    assert not same(tiny(name).fit(X), tiny(name).fit(X_COPIES))


@every
@pytest.mark.parametrize("fails", [False, True])
def test_the_process_is_left_as_it_was(name, fails, monkeypatch, request):
    random.seed(3)
    np.random.seed(3)  # noqa: NPY002
    torch.manual_seed(3)
    threads = torch.get_num_threads()
    request.addfinalizer(lambda: torch.set_num_threads(threads))
    torch.set_num_threads(2)

    def state():
        return (
            random.getstate(),
            np.random.get_state()[1].tolist(),  # noqa: NPY002
            torch.get_rng_state().tolist(),
            torch.are_deterministic_algorithms_enabled(),
            torch.backends.cudnn.benchmark,
            torch.get_num_threads(),
            torch.is_grad_enabled(),
        )

    before = state()
    if fails:
        monkeypatch.setattr(torch.optim.SGD, "step", lambda self: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            tiny(name).fit(X)
    else:
        tiny(name).fit(X).transform(X)
    assert state() == before


@every
def test_global_state_has_no_influence(name):
    first = tiny(name).fit(X)
    torch.manual_seed(99)
    threads = torch.get_num_threads()
    torch.set_num_threads(2 if threads == 1 else 1)
    try:
        second = tiny(name).fit(X)
        assert same(first, second)
        assert np.array_equal(first.transform(X), second.transform(X))
    finally:
        torch.set_num_threads(threads)


# ---------------------------------------------------------------- features


@every
def test_features_of_a_row_do_not_depend_on_its_neighbours(name):
    fitted = tiny(name).fit(X)
    many = _DIGITS.images[:600]
    features = fitted.transform(many)
    order = np.random.default_rng(0).permutation(600)
    assert np.array_equal(fitted.transform(many[order]), features[order])
    assert np.array_equal(fitted.transform(many[:1]), features[:1])
    assert np.array_equal(fitted.transform(many[300:]), features[300:])


@every
def test_features_are_float32_columns_with_names(name):
    fitted = tiny(name).fit(X)
    features = fitted.transform(X)
    assert features.dtype == np.float32
    assert features.ndim == 2
    assert np.isfinite(features).all()
    assert features.std() > 0
    names = fitted.get_feature_names_out()
    assert len(names) == features.shape[1]
    assert names[0] == f"{name}0"
    assert np.array_equal(tiny(name).fit_transform(X), features)


@every
def test_each_channel_is_normalised_by_its_loop_rows(name):
    colours = np.random.default_rng(0).integers(0, 256, (30, 3, 6, 6)).astype(np.uint8)
    colours[:, 1] = 77
    fitted = tiny(name, epochs=1).fit if name == "rotnet" else tiny(name, value_range=None).fit
    fitted = fitted(colours)
    assert np.allclose(fitted.mean_, colours.mean(axis=(0, 2, 3)))
    assert np.allclose(fitted.std_[[0, 2]], colours.std(axis=(0, 2, 3))[[0, 2]])
    assert fitted.std_[1] == 1
    assert fitted.transform(colours).shape[0] == 30


@every
def test_pickles_copies_and_clones(name):
    fitted = tiny(name).fit(X)
    for copied in (pickle.loads(pickle.dumps(fitted)), copy.deepcopy(fitted)):
        assert np.array_equal(copied.transform(X), fitted.transform(X))
        assert next(copied.module_.parameters()).device.type == "cpu"
    fresh = clone(fitted)
    assert fresh.get_params() == fitted.get_params()
    assert not hasattr(fresh, "module_")


@every
def test_a_model_moves_to_the_device_named(name):
    fitted = tiny(name).fit(X)
    features = fitted.transform(X)
    assert np.array_equal(fitted.set_params(device="cpu").transform(X), features)
    if not torch.cuda.is_available():
        with pytest.raises(ValueError, match=r"device='cuda' needs a GPU"):
            fitted.set_params(device="cuda").transform(X)
        return
    moved = fitted.set_params(device="cuda").transform(X)
    assert np.allclose(moved, features, rtol=1e-2, atol=1e-2)
    assert next(pickle.loads(pickle.dumps(fitted)).module_.parameters()).device.type == "cpu"


@every
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_two_fits_on_a_gpu_give_the_same_bits(name):
    first, second = (tiny(name, device="cuda").fit(X) for _ in range(2))
    assert np.array_equal(first.transform(X), second.transform(X))


@every
def test_a_progress_bar_shows_the_loss(name, capsys):
    tiny(name, verbose=1).fit(X)
    shown = capsys.readouterr().err
    assert type(tiny(name)).__name__ in shown
    assert "loss=" in shown
    assert "3/3" in shown
    tiny(name).fit(X)
    assert capsys.readouterr().err == ""


# ---------------------------------------------------------------- refusals


@every
@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (X.reshape(40, -1), r"needs images.*image_shape=\(channels, height, width\)"),
        (X[:0], "0 sample"),
        (X[0, 0], "needs images"),
        (np.zeros((3, 32, 32, 3)), r"X.transpose\(0, 3, 1, 2\)"),
        (X + np.nan, "NaN"),
        (X * 1e300, "float32"),
        (np.full((3, 8, 8), "a"), "dtype|convert"),
    ],
)
def test_what_are_no_images_is_refused(name, bad, message):
    with pytest.raises(ValueError, match=message):
        tiny(name).fit(bad)


@every
def test_images_of_another_shape_are_refused(name):
    fitted = tiny(name).fit(X)
    with pytest.raises(ValueError, match=r"\(1, 6, 6\).*fitted on.*\(1, 8, 8\)"):
        fitted.transform(X[:, :6, :6])
    with pytest.raises(ValueError, match=r"image_shape=\(7, 8\)"):
        tiny(name, image_shape=(7, 8)).fit(X)


@every
@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"device": "abacus"}, "device='abacus' is unknown"),
        ({"epochs": 0}, "epochs"),
        ({"batch_size": 0}, "batch_size"),
        ({"learning_rate": 0}, "learning_rate"),
        ({"width": 0}, "width"),
        ({"random_state": "one"}, "random_state"),
    ],
)
def test_bad_parameters_are_refused(name, params, message):
    with pytest.raises(ValueError, match=message):
        tiny(name, **params).fit(X)


@every
def test_divergence_is_said_and_not_returned(name):
    with pytest.raises(ValueError, match=r"diverged in epoch \d.*Lower learning_rate"):
        tiny(name, learning_rate=1e30).fit(X)


# ---------------------------------------------------------------- in the ensembles


@every
def test_semi_supervised_dpa_from_fit_to_certificate(name, tmp_path):
    images, labels = _DIGITS.images[:200], _DIGITS.target[:200]
    test = _DIGITS.images[300:400]
    representation = tiny(name, epochs=2)

    def ensemble(n_jobs=None):
        return SemiSupervisedDPA(
            RidgeClassifier(),
            10,
            representation=representation,
            classes=range(10),
            memory=str(tmp_path),
            n_jobs=n_jobs,
        )

    first = ensemble().fit(images, labels)
    y_pred, radius = first.certify(test)
    assert y_pred.shape == radius.shape == (100,)
    assert radius.max() >= 1
    # The representation has learnt from rows alone: with other labels it comes from the memory,
    # and in another order of the rows and with other threads nothing changes.
    again = ensemble()
    assert steps_of_fit(_Fit(again, labels[::-1]), images) == 0
    assert same(first.representation_, again.representation_)
    order = np.random.default_rng(0).permutation(200)
    parallel = ensemble(n_jobs=2).set_params(memory=None).fit(images[order], labels[order])
    assert np.array_equal(parallel.ballots(test), first.ballots(test))


class _Fit:
    """A fit whose labels are fixed."""

    def __init__(self, estimator, y):
        self.estimator, self.y = estimator, y

    def fit(self, rows):
        return self.estimator.fit(rows, self.y)


@every
def test_no_flip_within_the_radius_changes_a_prediction(name):
    images, labels = _DIGITS.images[:120], _DIGITS.target[:120]
    clf = SemiSupervisedDPA(
        RidgeClassifier(), 6, representation=tiny(name, epochs=1), classes=range(10)
    )
    check_certificate(clf, images, labels, _DIGITS.images[200:230], n_attacks=3, random_state=0)


@every
def test_label_flip_smoothing_is_certified_exactly(name):
    images, labels = _DIGITS.images[:200], _DIGITS.target[:200]
    clf = LabelFlipSmoothingClassifier(
        RidgeClassifier(), representation=tiny(name), classes=range(10)
    )
    y_pred, radius = clf.fit(images, labels).certify(_DIGITS.images[300:330])
    assert radius.min() >= 0
    assert radius.max() >= 2
    # One and the same flip for all: far within the larger radii, it changes none of them.
    flipped = labels.copy()
    flipped[0] = (flipped[0] + 1) % 10
    after = clf.fit(images, flipped).predict(_DIGITS.images[300:330])
    assert np.array_equal(after[radius >= 1], y_pred[radius >= 1])
