"""SeededNetClassifier: training is a function of rows and seed, and it is a skorch estimator."""

# ruff: noqa: NPY002 - the global generators are what must stay as they were

import pickle
import random
import threading

import numpy as np
import pytest
from sklearn.base import clone, is_classifier
from sklearn.datasets import load_digits
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

torch = pytest.importorskip("torch", reason="needs the extra [torch]")
skorch = pytest.importorskip("skorch", reason="needs the extra [torch]")

from torch import nn  # noqa: E402

from certified_ensembles.nets import (  # noqa: E402
    LinearHead,
    NetworkInNetwork,
    SeededNetClassifier,
)
from certified_ensembles.nets._training import Draws, constants_of, reproducible  # noqa: E402

DIGITS, Y = load_digits(return_X_y=True)
IMAGES = DIGITS.astype(np.uint8).reshape(-1, 1, 8, 8)


class Global(nn.Module):
    """Draws its weights, and drops units, from the global generators."""

    def __init__(self, n_features, n_classes):
        super().__init__()
        self.layer = nn.Linear(n_features, n_classes)
        self.offset = float(np.random.rand() + random.random())

    def forward(self, x):
        return self.layer(nn.functional.dropout(x.flatten(1), training=self.training))


def net_of(module=NetworkInNetwork, **params):
    usual = {"max_epochs": 2, "lr": 0.05, "batch_size": 16, "optimizer__momentum": 0.9}
    if module is NetworkInNetwork:
        usual["module__width"] = 0.06
    return SeededNetClassifier(module, **(usual | params))


def same_weights(one, other):
    pairs = zip(
        one.module_.state_dict().values(), other.module_.state_dict().values(), strict=True
    )
    return all(torch.equal(a, b) for a, b in pairs)


def process_state():
    return (
        torch.get_rng_state().tolist(),
        np.random.get_state()[1].tolist(),
        random.getstate(),
        torch.get_num_threads(),
        torch.are_deterministic_algorithms_enabled(),
        torch.backends.cudnn.deterministic,
        torch.backends.cudnn.allow_tf32,
        torch.utils.deterministic.fill_uninitialized_memory,
    )


# ---------------------------------------------------------------- rows and seed


@pytest.mark.parametrize("module", [NetworkInNetwork, LinearHead, Global])
def test_training_is_a_function_of_rows_and_seed(module):
    net = net_of(module, crop_padding=1, flip=True)
    one = clone(net).fit(IMAGES[:40], Y[:40])
    torch.manual_seed(99)
    np.random.seed(99)
    before = process_state()
    again = clone(net).fit(IMAGES[:40], Y[:40])
    assert process_state() == before
    assert same_weights(one, again)
    assert getattr(one.module_, "offset", 0) == getattr(again.module_, "offset", 0)
    assert not same_weights(one, clone(net).set_params(random_state=1).fit(IMAGES[:40], Y[:40]))
    assert same_weights(one, again.fit(IMAGES[:40], Y[:40]))  # a second fit forgets the first


@pytest.mark.parametrize("module", [NetworkInNetwork, Global])
def test_threads_train_the_same_nets(module):
    nets = [net_of(module, random_state=i) for i in range(4)]
    alone = [clone(net).fit(IMAGES[:40], Y[:40]) for net in nets]
    before = process_state()
    threads = [threading.Thread(target=net.fit, args=(IMAGES[:40], Y[:40])) for net in nets]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert process_state() == before
    assert all(map(same_weights, alone, nets))


def test_one_thread_and_restored_after():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        with reproducible():
            assert torch.get_num_threads() == 1
            assert torch.are_deterministic_algorithms_enabled()
            with reproducible():
                assert torch.get_num_threads() == 1
            assert torch.get_num_threads() == 1 or torch.are_deterministic_algorithms_enabled()
        assert torch.get_num_threads() == 2
        assert not torch.are_deterministic_algorithms_enabled()
    finally:
        torch.set_num_threads(before)


def test_the_number_of_threads_does_not_change_the_net():
    one = net_of().fit(IMAGES[:100], Y[:100])
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        assert same_weights(one, net_of().fit(IMAGES[:100], Y[:100]))
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int64, ">f8"])
def test_the_type_of_the_rows_does_not_change_the_net(dtype):
    net = net_of(crop_padding=1)
    one = clone(net).fit(IMAGES[:40], Y[:40])
    other = clone(net).fit(IMAGES[:40].astype(dtype), Y[:40])
    assert same_weights(one, other)
    np.testing.assert_array_equal(
        one.decision_function(IMAGES[:9]), other.decision_function(IMAGES[:9].astype(dtype))
    )


def test_the_default_type_of_torch_does_not_change_the_net():
    one = net_of().fit(IMAGES[:40], Y[:40])
    torch.set_default_dtype(torch.float64)
    try:
        other = net_of().fit(IMAGES[:40], Y[:40])
    finally:
        torch.set_default_dtype(torch.float32)
    assert next(other.module_.parameters()).dtype == torch.float32
    assert same_weights(one, other)


def test_rows_are_left_as_they_were():
    X = IMAGES[:40].astype(np.float32)
    before = X.copy()
    net_of(crop_padding=2, flip=True).fit(X, Y[:40]).predict(X)
    np.testing.assert_array_equal(X, before)


# ---------------------------------------------------------------- draws and constants


def test_draws_are_permutations_windows_and_flips():
    draws = Draws(3, 50, 2, True, True)
    order, offsets, flips = draws.epoch()
    assert order.sort().values.tolist() == list(range(50))
    assert (offsets.min(), offsets.max()) == (0, 4)
    assert 5 < flips.sum() < 45
    second = draws.epoch()
    assert not torch.equal(order, second[0])
    assert Draws(3, 50, 0, False, False).epoch()[1:] == (None, None)


def test_the_net_sees_shuffled_shifted_and_flipped_rows():
    seen = []

    class Spy(LinearHead):
        def forward(self, x):
            if self.training and type(x) is torch.Tensor:  # not while its operations are listed
                seen.append(x.detach().clone())
            return super().forward(x)

    X = np.zeros((6, 1, 8, 8), np.uint8)
    X[:, 0, 3:5, 2] = np.arange(6)[:, None] + 1  # an upright bar, left of the middle
    net_of(Spy, normalize=None, batch_size=4, max_epochs=30, crop_padding=1, flip=True).fit(
        X, np.arange(6) % 2
    )
    assert [len(x) for x in seen[:2]] == [4, 2]
    rows = torch.cat(seen)
    values = rows.amax(dim=(1, 2, 3)).reshape(30, 6)
    assert all(sorted(v.tolist()) == [1, 2, 3, 4, 5, 6] for v in values)
    assert len({tuple(v.tolist()) for v in values}) > 20
    places = {tuple(x.nonzero()[0].tolist()) for x in rows[:, 0]}
    assert places == {(top, left) for top in (2, 3, 4) for left in (1, 2, 3, 4, 5, 6)}


@pytest.mark.parametrize("shape", [(7, 3, 4, 4), (7, 5)])
def test_constants_are_those_of_the_own_rows(shape):
    X = (
        np.random.default_rng(0).random(shape) * [[3.0]]
        if len(shape) == 2
        else (np.random.default_rng(0).integers(0, 256, shape).astype(np.uint8))
    )
    axes = (0, 2, 3) if len(shape) == 4 else (0, 1)
    mean, scale = constants_of(X, "channel")
    np.testing.assert_allclose(mean.ravel(), np.mean(X, axis=axes), rtol=1e-12)
    np.testing.assert_allclose(scale.ravel(), np.std(X, axis=axes), rtol=1e-12)
    mean, scale = constants_of(X, "feature")
    np.testing.assert_allclose(mean, X.mean(axis=0), rtol=1e-12)
    np.testing.assert_allclose(scale, X.std(axis=0), rtol=1e-12)
    assert constants_of(X, None)[0] == 0
    assert constants_of(X, None)[1] == 1
    assert (constants_of(np.full(shape, 3), "channel")[1] == 1).all()  # nothing varies


def test_the_rate_falls_after_its_milestones():
    rates = []

    class Spy(skorch.callbacks.Callback):
        def on_batch_end(self, net, **kwargs):
            rates.append(net.optimizer_.param_groups[0]["lr"])

    net_of(
        LinearHead,
        lr=1.0,
        lr_milestones=(2, 4),
        lr_factor=0.1,
        max_epochs=5,
        batch_size=64,
        callbacks=[Spy()],
    ).fit(IMAGES[:40], Y[:40])
    np.testing.assert_allclose(rates, [1, 1, 0.1, 0.1, 0.01])


# ---------------------------------------------------------------- labels


@pytest.mark.parametrize(
    "labels", [Y, Y.astype(float), np.array([f"digit {d}" for d in Y]), Y > 4, Y.astype(object)]
)
def test_any_labels_come_back(labels):
    net = net_of(LinearHead, max_epochs=30).fit(IMAGES[:500], labels[:500])
    predicted = net.predict(IMAGES[500:600])
    np.testing.assert_array_equal(net.classes_, np.unique(labels))
    assert (predicted == labels[500:600]).mean() > 0.7
    scores = net.decision_function(IMAGES[500:600])
    assert scores.shape == (100, len(net.classes_))
    np.testing.assert_array_equal(net.classes_[scores.argmax(axis=1)], predicted)
    proba = net.predict_proba(IMAGES[500:600])
    np.testing.assert_allclose(proba.sum(axis=1), 1)
    np.testing.assert_array_equal(proba.argmax(axis=1), scores.argmax(axis=1))


def test_classes_fix_the_outputs_whatever_labels_are_seen():
    few = Y < 3
    net = net_of(LinearHead, classes=[2, 9, 0, 1]).fit(IMAGES[few][:30], Y[few][:30])
    assert net.classes_.tolist() == [0, 1, 2, 9]
    assert net.module_.classifier.out_features == 4
    with pytest.raises(ValueError, match=r"not among classes=\[0, 1\].*\[2\]"):
        net_of(LinearHead, classes=[0, 1]).fit(IMAGES[few][:30], Y[few][:30])


def test_too_few_outputs_are_named():
    for train in (
        lambda net: net.fit(IMAGES[:40], Y[:40]),
        lambda net: net.fit_together([net], [IMAGES[:40]], [Y[:40]]),
    ):
        with pytest.raises(ValueError, match="3 logits for 10 classes"):
            train(net_of(LinearHead, module__n_classes=3))


# ---------------------------------------------------------------- small partitions


@pytest.mark.parametrize("together", [True, False])
@pytest.mark.parametrize("n", [1, 2, 3, 17, 33])
def test_small_partitions_and_last_rows_are_trained_on(n, together):
    net = net_of(classes=range(10))
    if together:
        (net,) = SeededNetClassifier.fit_together([net], [IMAGES[:n]], [Y[:n]])
    else:
        net.fit(IMAGES[:n], Y[:n])
    assert np.isfinite(net.decision_function(IMAGES[:20])).all()
    moved = clone(net).set_params(max_epochs=0).fit(IMAGES[:n], Y[:n])
    assert not same_weights(net, moved)


# ---------------------------------------------------------------- prediction


def test_scores_of_a_row_do_not_depend_on_the_rows_beside_it():
    net = net_of().fit(IMAGES[:60], Y[:60])
    together = net.decision_function(IMAGES[:600])
    np.testing.assert_array_equal(together[::-1], net.decision_function(IMAGES[:600][::-1]))
    for i in (0, 255, 256, 599):
        np.testing.assert_array_equal(together[[i]], net.decision_function(IMAGES[[i]]))
    spoiled = IMAGES[:600].astype(np.float32)
    spoiled[1] = np.nan
    spoiled = net.decision_function(spoiled)
    np.testing.assert_array_equal(np.delete(together, 1, 0), np.delete(spoiled, 1, 0))
    assert (spoiled[1] == -np.inf).all()
    assert net.decision_function(IMAGES[:0]).shape == (0, 10)


def test_scores_that_are_no_numbers_never_win():
    net = net_of(LinearHead).fit(IMAGES[:60], Y[:60])
    with torch.no_grad():
        net.module_.classifier.bias[3] = np.nan
    assert 3 not in net.predict(IMAGES[:300])
    assert (net.predict_proba(IMAGES[:5])[:, 3] == 0).all()


def test_rows_of_another_shape_are_refused():
    net = net_of().fit(IMAGES[:40], Y[:40])
    with pytest.raises(ValueError, match=r"shape \(64,\).*trained on rows of shape \(1, 8, 8\)"):
        net.predict(DIGITS[:5])
    with pytest.raises((NotFittedError, skorch.exceptions.NotInitializedError)):
        net_of().predict(IMAGES[:5])


# ---------------------------------------------------------------- an estimator of skorch


def test_it_is_a_classifier_for_scikit_learn():
    net = net_of(LinearHead)
    assert is_classifier(net)
    params = net.get_params(deep=False)
    assert all(
        clone(net).get_params(deep=False)[k] is v
        for k, v in params.items()
        if k in ("module", "criterion", "optimizer", "lr")
    )
    table = make_pipeline(StandardScaler(), net_of(LinearHead, max_epochs=20))
    assert table.fit(DIGITS[:500], Y[:500]).score(DIGITS[500:700], Y[500:700]) > 0.8


def test_grid_search_over_its_parameters():
    grid = {"lr": [1e-9, 0.05], "optimizer__momentum": [0.0, 0.9], "flip": [False]}
    search = GridSearchCV(net_of(LinearHead, max_epochs=10), grid, cv=2, error_score="raise")
    search.fit(IMAGES[:200], Y[:200])
    assert search.best_params_["lr"] == 0.05
    assert search.best_score_ > 0.6


@pytest.mark.parametrize("together", [True, False])
def test_a_fitted_net_survives_pickling(together):
    net = net_of(crop_padding=1)
    if together:
        (net,) = SeededNetClassifier.fit_together([net], [IMAGES[:40]], [Y[:40]])
    else:
        net.fit(IMAGES[:40], Y[:40])
    stored = pickle.dumps(net)
    again = pickle.loads(stored)
    np.testing.assert_array_equal(
        again.decision_function(IMAGES[:50]), net.decision_function(IMAGES[:50])
    )
    n_bytes = sum(v.numel() * v.element_size() for v in net.module_.state_dict().values())
    assert len(stored) < n_bytes + 40_000  # no optimizer, no gradients
    assert same_weights(net, again.fit(IMAGES[:40], Y[:40])) or together


def test_callbacks_run_in_fit():
    stop = skorch.callbacks.EarlyStopping(
        "train_loss", patience=2, threshold=1e9, threshold_mode="abs"
    )
    net = net_of(LinearHead, max_epochs=50, callbacks=[stop]).fit(IMAGES[:40], Y[:40])
    assert len(net.history) == 3
    assert net.history[0, "train_loss"] > 0


def test_an_interrupt_is_not_taken_for_the_end_of_training():
    class Stop(LinearHead):
        def forward(self, x):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        net_of(Stop).fit(IMAGES[:40], Y[:40])
    assert not torch.are_deterministic_algorithms_enabled()


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_net_moves_between_devices():
    net = net_of(precision="float64", device="cuda").fit(IMAGES[:40], Y[:40])
    on_cuda = net.decision_function(IMAGES[:50])
    on_cpu = pickle.loads(pickle.dumps(net)).set_params(device="cpu")
    np.testing.assert_allclose(on_cuda, on_cpu.decision_function(IMAGES[:50]), rtol=1e-8)
    alone = net_of(precision="float64").fit(IMAGES[:40], Y[:40])  # the same draws
    np.testing.assert_allclose(on_cuda, alone.decision_function(IMAGES[:50]), rtol=1e-6)


def test_mixed_precision_learns():
    net = net_of(precision="bfloat16", max_epochs=15, batch_size=64)
    (net,) = SeededNetClassifier.fit_together([net], [IMAGES[:128]], [Y[:128]])
    assert next(net.module_.parameters()).dtype == torch.float32
    assert net.score(IMAGES[:128], Y[:128]) > 0.3


# ---------------------------------------------------------------- what is refused


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"random_state": None}, "random_state=None is refused.*integer"),
        ({"random_state": -1}, "random_state=-1"),
        ({"random_state": True}, "random_state=True"),
        ({"random_state": np.random.RandomState(0)}, "random_state=RandomState"),
        ({"module": LinearHead(64, 10)}, "module is an object, of LinearHead.*pass the class"),
        ({"train_split": skorch.dataset.ValidSplit(5)}, "train_split=.*is refused"),
        ({"warm_start": True}, "warm_start=True is refused"),
        ({"iterator_train": list}, "iterator_train=.*is refused"),
        ({"normalize": "rows"}, "normalize='rows'.*channel"),
        ({"precision": "half"}, "precision='half'.*float32"),
        ({"stack_size": 12}, "stack_size=12.*multiple of 8"),
        ({"stack_size": 0}, "stack_size=0.*multiple of 8"),
        ({"batch_sise": 3}, "batch_sise"),
        ({"crop_padding": -1}, "crop_padding=-1"),
        ({"max_epochs": -1}, "max_epochs=-1"),
        ({"batch_size": 0}, "batch_size=0"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
@pytest.mark.parametrize("together", [True, False])
def test_settings_are_named_with_value_and_remedy(params, message, together):
    net = SeededNetClassifier(**({"module": LinearHead} | params))
    with pytest.raises(ValueError, match=f"(?s){message}"):  # noqa: PT012
        if together:
            SeededNetClassifier.fit_together([net], [IMAGES[:40]], [Y[:40]])
        net.fit(IMAGES[:40], Y[:40])


@pytest.mark.parametrize(
    ("X", "y", "message"),
    [
        (IMAGES[:40], Y[:39], "40 rows and y has shape"),
        (IMAGES[:0], Y[:0], "at least one row"),
        (IMAGES[:40, 0, 0, 0], Y[:40], "X has 1 axes"),
        (IMAGES[:40].astype(str), Y[:40], "nets take numbers"),
        (DIGITS[:40], Y[:40], "crop_padding=1 and flip=False are for images"),
    ],
)
def test_rows_are_checked(X, y, message):
    with pytest.raises(ValueError, match=message):
        net_of(LinearHead, crop_padding=1).fit(X, y)


def test_sparse_rows_are_refused():
    sparse = pytest.importorskip("scipy.sparse")
    with pytest.raises(ValueError, match="toarray"):
        net_of(LinearHead).fit(sparse.csr_array(DIGITS[:40]), Y[:40])


def test_there_is_no_further_training():
    with pytest.raises(AttributeError, match="Use fit"):
        net_of(LinearHead).fit(IMAGES[:40], Y[:40]).partial_fit(IMAGES[:40], Y[:40])
