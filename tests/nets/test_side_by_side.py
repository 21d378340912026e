"""Nets that train as one: each ends as it would in any other company, or alone."""

import random

import numpy as np
import pytest
from sklearn.base import clone

torch = pytest.importorskip("torch", reason="needs the extra [torch]")
skorch = pytest.importorskip("skorch", reason="needs the extra [torch]")

from torch import nn  # noqa: E402

from certified_ensembles.nets import (  # noqa: E402
    LinearHead,
    SeededNetClassifier,
)
from certified_ensembles.nets._batched import training  # noqa: E402
from certified_ensembles.nets._batched.ops import Product  # noqa: E402
from certified_ensembles.nets._batched.stack import BatchedModule  # noqa: E402
from certified_ensembles.nets._batched.tracing import operations_of  # noqa: E402
from small_nets import (  # noqa: E402
    IMAGES,
    NETS,
    SmallConv,
    Y,
    assert_same_bits,
    net_of,
    weights_of,
)

# Without ties, at which maxima and rectifiers jump.
NOISE = np.random.default_rng(0).random(IMAGES.shape)


class Dropping(nn.Module):
    """Cannot be stacked: dropout draws from the global generator."""

    def __init__(self, n_features, n_classes):
        super().__init__()
        self.layers = nn.Sequential(
            nn.Flatten(), nn.Dropout(0.5), nn.Linear(n_features, n_classes)
        )

    def forward(self, x):
        return self.layers(x)


SIZES = (15, 17, 3, 24, 16, 15, 40, 35)


def members_of(net, sizes, X=IMAGES, y=Y, seed=0):
    rng = np.random.default_rng(seed)
    rows = [rng.choice(len(y), size, replace=False) for size in sizes]
    members = [clone(net).set_params(random_state=i) for i in range(len(sizes))]
    return members, [X[r] for r in rows], [y[r] for r in rows]


def together(members, rows, labels):
    return SeededNetClassifier.fit_together(members, rows, labels)


@pytest.fixture(params=["groups", "patches"])
def convolutions(request, monkeypatch):
    """Both ways to convolve, whatever the device would choose."""
    monkeypatch.setattr(training, "over_patches", lambda device: request.param == "patches")


# ---------------------------------------------------------------- agreement with one by one


@pytest.mark.parametrize("name", NETS)
@pytest.mark.usefixtures("convolutions")
def test_members_agree_with_plain_skorch_in_double_precision(name):
    net = net_of(name, precision="float64", iterator_train__shuffle=False)
    fitted = together(*members_of(net, (15, 20, 16)))
    for i, (member, X, y) in enumerate(zip(*members_of(net, (15, 20, 16)), strict=True)):
        start = member.set_params(max_epochs=0).fit(X, y).module_.double()
        alone = skorch.NeuralNetClassifier(
            start,
            criterion=nn.CrossEntropyLoss,
            train_split=None,
            max_epochs=2,
            lr=0.05,
            batch_size=8,
            optimizer__momentum=0.9,
            optimizer__nesterov=True,
            optimizer__weight_decay=5e-4,
            verbose=0,
        )
        alone.fit((X - X.mean(dtype=np.float64)) / X.std(dtype=np.float64), y)
        difference = weights_of(alone) - weights_of(fitted[i])
        # A deep normalised net multiplies what rounding differs by (more threads, other rounding).
        assert difference.abs().max() < (1e-10 if name != "resnet" else 1e-7)


@pytest.mark.parametrize("augment", [{}, {"crop_padding": 2, "flip": True}])
@pytest.mark.parametrize("name", ["conv", "perceptron", "nin"])
@pytest.mark.usefixtures("convolutions")
def test_members_agree_with_fit_in_double_precision(name, augment):
    net = net_of(name, precision="float64", lr_milestones=(1,), normalize="feature", **augment)
    fitted = together(*members_of(net, SIZES, NOISE))
    for one, member, X, y in zip(fitted, *members_of(net, SIZES, NOISE), strict=True):
        assert (weights_of(one) - weights_of(member.fit(X, y))).abs().max() < 1e-10


@pytest.mark.parametrize(
    "optimizer", [torch.optim.Adam, torch.optim.AdamW, torch.optim.RMSprop, torch.optim.Adagrad]
)
def test_other_optimizers_agree_with_fit(optimizer):
    net = SeededNetClassifier(
        SmallConv,
        optimizer=optimizer,
        lr=0.01,
        max_epochs=3,
        classes=range(10),
        precision="float64",
        criterion__label_smoothing=0.1,
    )
    fitted = together(*members_of(net, SIZES, NOISE))
    for one, member, X, y in zip(fitted, *members_of(net, SIZES, NOISE), strict=True):
        # Adaptive rates divide by the size of gradients, also of those that are mere rounding.
        assert (weights_of(one) - weights_of(member.fit(X, y))).abs().max() < 1e-6


def test_ballots_agree_with_fit_in_single_precision():
    net = net_of("conv", max_epochs=15)
    fitted = together(*members_of(net, [20] * 12))
    same = [
        (one.predict(IMAGES) == member.fit(X, y).predict(IMAGES)).mean()
        for one, member, X, y in zip(fitted, *members_of(net, [20] * 12), strict=True)
    ]
    assert np.mean(same) > 0.99


# ---------------------------------------------------------------- company


def company(net, sizes, spoil=None):
    members, rows, labels = members_of(net, sizes, seed=sum(sizes))
    if spoil is not None:
        rows = [X.astype(np.float32) * np.float32(spoil) for X in rows]
    return [m.set_params(random_state=50 + m.random_state) for m in members], rows, labels


@pytest.mark.parametrize(
    ("name", "patches"),
    [*((name, False) for name in NETS), ("conv", True), ("conv_head", True)],
)
def test_a_member_is_the_same_to_the_bit_in_any_company(name, patches, monkeypatch):
    monkeypatch.setattr(training, "over_patches", lambda device: patches)
    net = net_of(name, stack_size=8, crop_padding=1)
    (member,), (X,), (y,) = members_of(net, (13,))
    X = X.astype(np.float32)  # as the rows of the spoiled companions are
    (alone,) = together([clone(member)], [X], [y])
    for sizes, slot, spoil in (
        ([13] * 7, 7, 1), ([13] * 9, 3, 1), ([3, 14, 16, 40, 1], 2, 1), ([13] * 5, 4, np.nan),
        ([13] * 7, 5, 1e30),
    ):  # fmt: skip
        members, rows, labels = company(net, sizes, spoil)
        members.insert(slot, clone(member))
        rows.insert(slot, X)
        labels.insert(slot, y)
        fitted = together(members, rows, labels)
        assert_same_bits(alone, fitted[slot])
        scores = SeededNetClassifier.scores_together(fitted, IMAGES[:50])
        np.testing.assert_array_equal(scores[slot], alone.decision_function(IMAGES[:50]))


@pytest.mark.parametrize(
    "params",
    [
        {"precision": "bfloat16"},
        {"precision": "float64"},
        {"optimizer": torch.optim.AdamW},
        {"optimizer": torch.optim.RMSprop},
        {"optimizer__foreach": True},
    ],
    ids=str,
)
@pytest.mark.parametrize("name", ["conv", "perceptron"])
@pytest.mark.usefixtures("convolutions")
def test_neither_precision_nor_optimizer_mixes_members(name, params):
    net = net_of(name, stack_size=8, max_epochs=3)
    if "optimizer" in params:
        net = SeededNetClassifier(NETS[name][0], classes=range(10), max_epochs=3, batch_size=8)
    net.set_params(**params)
    (member,), (X,), (y,) = members_of(net, (13,))
    (alone,) = together([clone(member)], [X], [y])
    for sizes, slot in (([13] * 7, 7), ([16] * 9, 3)):
        members, rows, labels = company(net, sizes)
        members.insert(slot, clone(member))
        rows.insert(slot, X)
        labels.insert(slot, y)
        assert_same_bits(alone, together(members, rows, labels)[slot])


@pytest.mark.parametrize("seed", range(3))
def test_rounding_does_not_depend_on_the_slot_of_random_nets(seed):
    draw = random.Random(seed)
    for _ in range(3):
        side, channels = (draw.randint(5, 11), draw.randint(5, 11)), draw.randint(1, 3)
        width, n_classes = draw.randint(2, 40), draw.randint(2, 43)
        size, batch, kernel = draw.randint(2, 40), draw.choice([4, 7, 16]), draw.choice([1, 3, 5])

        def build(channels=channels, width=width, n_classes=n_classes, k=kernel):
            return nn.Sequential(
                nn.Conv2d(channels, width, k, padding=k // 2),
                nn.BatchNorm2d(width),
                nn.GELU(),
                nn.AvgPool2d(2),
                nn.Conv2d(width, width + 1, 3, 2, 1),
                nn.ReLU(),
                nn.AdaptiveAvgPool2d(1),
                nn.Flatten(),
                nn.Linear(width + 1, n_classes),
            )

        rng = np.random.default_rng(seed)
        X = rng.integers(0, 256, (size, channels, *side)).astype(np.uint8)
        y = rng.integers(0, n_classes, size)
        net = SeededNetClassifier(
            build,
            classes=range(n_classes),
            max_epochs=2,
            batch_size=batch,
            stack_size=8,
            lr=0.1,
            optimizer__momentum=0.9,
        )
        # Eight times the same member: each slot must give the same bits.
        fitted = together([clone(net) for _ in range(8)], [X] * 8, [y] * 8)
        for other in fitted[1:]:
            assert_same_bits(fitted[0], other, X)


@pytest.mark.parametrize("seed", range(2))
def test_a_product_rounds_alike_in_every_slot(seed):
    draw, generator = random.Random(seed), torch.Generator().manual_seed(seed)
    for _ in range(300):
        m, k, n = draw.choice([1, 4, 12, 20, 56]), draw.randint(1, 70), draw.randint(1, 70)
        a = torch.randn(1, m, k, generator=generator).expand(8, m, k).contiguous()
        if draw.random() < 0.5:  # slots between each other's rows
            a = a.transpose(0, 1).contiguous().transpose(0, 1)
        b = torch.randn(1, n, k, generator=generator).expand(8, n, k).contiguous()
        a.requires_grad_()
        b.requires_grad_()
        y = Product.apply(a, b.transpose(1, 2))
        y.backward(torch.randn(1, m, n, generator=generator).expand(8, m, n))
        for result in (y.detach(), a.grad, b.grad):
            assert (result == result[:1]).all()


@pytest.mark.parametrize("name", ["conv", "perceptron"])
def test_an_inserted_row_changes_one_member(name):
    net = net_of(name)
    sizes = [16] * 6 + [15, 8, 1, 7]
    before = together(*members_of(net, sizes))
    for victim in (0, 6, 7, 8):  # their batches grow, fill up more, or become two
        members, rows, labels = members_of(net, sizes)
        rows[victim] = np.concatenate([rows[victim], np.full((1, 1, 8, 8), 255, np.uint8)])
        labels[victim] = np.append(labels[victim], 3)
        after = together(members, rows, labels)
        for i, (one, other) in enumerate(zip(before, after, strict=True)):
            if i != victim:
                assert_same_bits(one, other)
        assert not torch.equal(weights_of(before[victim]), weights_of(after[victim]))


class Fickle(nn.Module):
    """Draws its layers and running statistics, not only its weights."""

    def __init__(self, n_features, n_classes):
        super().__init__()
        self.tanh = bool(torch.rand(()) < 0.5)  # which no description of the module shows
        width = 8 if torch.rand(()) < 0.5 else 12
        act = nn.ReLU() if torch.rand(()) < 0.5 else nn.GELU()
        norm = nn.BatchNorm1d(width)
        norm.running_mean.normal_()
        self.layers = nn.Sequential(nn.Flatten(), nn.Linear(n_features, width), norm, act)
        self.out = nn.Linear(width, n_classes)

    def forward(self, x):
        x = self.layers(x)
        return self.out(torch.tanh(x) if self.tanh else x)


def test_layers_and_statistics_that_one_member_draws_are_its_own():
    net = SeededNetClassifier(Fickle, classes=range(10), max_epochs=2, batch_size=8)
    fitted = together(*members_of(net, [13] * 16))
    assert len({(m.module_.tanh, str(m.module_)) for m in fitted}) > 3
    for one, member, X, y in zip(fitted, *members_of(net, [13] * 16), strict=True):
        assert_same_bits(one, *together([member], [X], [y]))


def test_labels_of_others_do_not_reach_a_member_of_an_open_set():
    net = net_of("conv", classes=None)
    members, rows, labels = members_of(net, [20] * 5)
    before = together(*members_of(net, [20] * 5))
    labels[2] = labels[2].copy()
    labels[2][0] = 77  # one output more, for that member alone
    after = together(members, rows, labels)
    for i in (0, 1, 3, 4):
        assert_same_bits(before[i], after[i])
    assert 77 in after[2].classes_
    assert after[2].module_.out.out_features == len(after[2].classes_)


@pytest.mark.parametrize(
    ("name", "size", "slots"),
    [
        ("conv", None, 8),
        ("linear", None, 32),
        ("conv", 16, 16),
        ("linear", 8, 8),
    ],
)
@pytest.mark.parametrize("n_members", [1, 9, 33])
def test_a_stack_always_has_all_its_slots(name, size, slots, n_members, monkeypatch):
    sizes = []

    class Spy(BatchedModule):
        def __init__(self, module, operations, n_slots, *where):
            sizes.append(n_slots)
            super().__init__(module, operations, n_slots, *where)

    monkeypatch.setattr(training, "BatchedModule", Spy)
    together(*members_of(net_of(name, stack_size=size, max_epochs=1), [9] * n_members))
    assert sizes == [slots] * -(-n_members // slots)


# ---------------------------------------------------------------- what cannot be stacked


def tied():
    net = nn.Sequential(nn.Flatten(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 64))
    net[3].weight = net[1].weight
    return net


class Looks(nn.Module):
    """Its forward looks at its data."""

    def __init__(self, n_features, n_classes):
        super().__init__()
        self.layer = nn.Linear(n_features, n_classes)

    def forward(self, x):
        x = x.flatten(1)
        return self.layer(x if x.sum() > 0 else -x)


class Softens(LinearHead):
    """Its forward has an operation that nothing here knows."""

    def forward(self, x):
        return torch.cumsum(super().forward(x), 1)


ALONE = {
    "dropout": {"module": Dropping},
    "tied weights": {"module": tied},
    "looks": {"module": Looks},
    "unknown operation": {"module": Softens},
    "criterion": {"criterion": nn.MultiMarginLoss},
    "class weights": {"criterion__weight": torch.arange(1.0, 11.0)},
    "optimizer": {"optimizer": torch.optim.LBFGS, "lr": 0.01},
    "callbacks": {"callbacks": [("stop", skorch.callbacks.EarlyStopping("train_loss"))]},
    "stack_size=1": {"stack_size": 1},
}


@pytest.mark.parametrize("params", ALONE.values(), ids=ALONE)
def test_what_cannot_be_stacked_is_fitted_alone(params):
    net = SeededNetClassifier(**({"module": LinearHead} | params), classes=range(10), max_epochs=2)
    fitted = together(*members_of(net, SIZES[:3]))
    for one, member, X, y in zip(fitted, *members_of(net, SIZES[:3]), strict=True):
        assert_same_bits(one, member.fit(X, y))


def test_notes_are_taken_without_touching_what_other_threads_run():
    seen = []

    class Spy(LinearHead):
        def forward(self, x):
            seen.append(nn.Linear(2, 1, device="cpu")(torch.ones(1, 2)))  # some other network
            return super().forward(x)

    assert len(operations_of(Spy(64, 10))) == 2
    assert seen[0].shape == (1, 1)


@pytest.mark.parametrize("name", NETS)
def test_the_usual_nets_are_stacked(name, monkeypatch):
    monkeypatch.setattr(SeededNetClassifier, "fit_prepared", None)  # nobody is fitted alone
    together(*members_of(net_of(name), (5, 9)))


@pytest.mark.parametrize(
    "layer",
    [
        nn.Conv2d(2, 2, 3, groups=2),
        nn.Conv2d(2, 2, 3, padding="same"),
        nn.Conv2d(2, 2, 3, padding=1, padding_mode="reflect"),
        nn.Dropout2d(),
        nn.BatchNorm2d(2, momentum=None),
        nn.Flatten(0),
        nn.AdaptiveAvgPool2d(2),
        nn.InstanceNorm2d(2),
        nn.LogSoftmax(dim=0),
    ],
    ids=lambda layer: type(layer).__name__,
)
def test_layers_in_other_forms_are_not_stacked(layer):
    assert operations_of(nn.Sequential(layer)) is None


def test_no_members_are_none():
    assert SeededNetClassifier.fit_together([], [], []) == []
    assert SeededNetClassifier.scores_together([], IMAGES) == []


# ---------------------------------------------------------------- through the ensemble
