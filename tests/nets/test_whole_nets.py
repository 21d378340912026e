"""A fit of a net is whole or not at all, and an answer is that of one fit."""

import os
import signal

import numpy as np
import pytest
from sklearn.datasets import load_digits

torch = pytest.importorskip("torch", reason="needs the extra [torch]")
skorch = pytest.importorskip("skorch", reason="needs the extra [torch]")

from certified_ensembles.nets import LinearHead, RotNet, SeededNetClassifier, SimCLR  # noqa: E402
from refits import check_answers_of_one_fit, check_whole, outcome  # noqa: E402

DIGITS, Y = load_digits(return_X_y=True)
ROWS = DIGITS.astype(np.float32)
IMAGES = ROWS.reshape(-1, 8, 8)
ROTNET = {"pooling": 1, "width": 0.1, "epochs": 1, "padding": 1}
SIMCLR = {"epochs": 1, "width": 2, "value_range": (0, 16), "flip": False, "warmup": 0}


def net_of(**params):
    return SeededNetClassifier(LinearHead, **({"max_epochs": 1, "lr": 0.1} | params))


def fit_net(net, rows=ROWS[100:140], labels=Y[100:140] % 4 + 20):
    return net.fit(rows, labels)


@pytest.mark.parametrize("name", ["predict", "predict_proba", "decision_function", "forward"])
def test_a_refit_at_any_line_of_a_nets_answer_does_not_show_in_it(name):
    fitted = net_of().fit(ROWS[:50], Y[:50])
    others = [fit_net(net_of()), fit_net(net_of(), ROWS[:30, :32], Y[:30])]
    check_answers_of_one_fit(fitted, others, lambda net: getattr(net, name)(ROWS[:3]))


@pytest.mark.parametrize(("make", "params"), [(RotNet, ROTNET), (SimCLR, SIMCLR)])
def test_a_refit_at_any_line_of_a_representation_does_not_show_in_it(make, params):
    fitted, *others = (
        make(**params).fit(X) for X in (IMAGES[:8], IMAGES[8:16], IMAGES[:8, :6, :6])
    )
    check_answers_of_one_fit(fitted, others, lambda e: e.transform(IMAGES[:3]))


def test_a_refit_of_a_net_changes_nothing_until_it_changes_all():
    check_whole(net_of().fit(ROWS[:50], Y[:50]), fit_net, lambda net: net.predict_proba(ROWS[:9]))


@pytest.mark.parametrize(("make", "params"), [(RotNet, ROTNET), (SimCLR, SIMCLR)])
def test_a_refit_of_a_representation_changes_nothing_until_it_changes_all(make, params):
    fitted = make(**params).fit(IMAGES[:8])
    check_whole(fitted, lambda e: e.fit(IMAGES[8:16]), lambda e: e.transform(IMAGES[:3]))


@pytest.mark.parametrize("stack_size", [1, 8])
def test_nets_trained_together_change_together_or_not_at_all(stack_size):
    nets = [net_of(random_state=i, stack_size=stack_size).fit(ROWS[:50], Y[:50]) for i in (0, 1)]
    states = [vars(net).copy() for net in nets]
    with pytest.raises(ValueError, match="one label a row"):
        SeededNetClassifier.fit_together(nets, [ROWS[:20], ROWS[:20]], [Y[:20], Y[:19]])
    assert [vars(net) for net in nets] == states
    trained = SeededNetClassifier.fit_together(nets, [ROWS[:8]] * 2, [Y[:8]] * 2)
    assert all(one is other for one, other in zip(trained, nets, strict=True))
    assert all(net.row_shape_ == (64,) and len(net.classes_) < 10 for net in nets)


class CtrlC(skorch.callbacks.Callback):
    def on_epoch_end(self, net, **kwargs):
        os.kill(os.getpid(), signal.SIGINT)
        for _ in range(1000):  # the signal comes at one of the next operations
            pass


class Stops(skorch.callbacks.Callback):
    def on_epoch_end(self, net, **kwargs):
        raise KeyboardInterrupt


class InterruptedHead(LinearHead):
    interrupted = False

    def forward(self, x):
        if InterruptedHead.interrupted:
            raise KeyboardInterrupt
        return super().forward(x)


def test_an_interrupt_within_a_callback_leaves_the_net_as_it_was():
    net = net_of().fit(ROWS[:50], Y[:50])
    before = outcome(lambda: net.decision_function(ROWS[:5]))
    net.set_params(callbacks=[CtrlC()], max_epochs=5)
    with pytest.raises(KeyboardInterrupt):
        fit_net(net)
    assert outcome(lambda: net.decision_function(ROWS[:5])) == before


def test_an_interrupt_beside_a_callback_leaves_the_net_as_it_was(monkeypatch):
    net = SeededNetClassifier(InterruptedHead, max_epochs=1, callbacks=[Stops()])
    net.fit(ROWS[:50], Y[:50])
    before = outcome(lambda: net.decision_function(ROWS[:5]))
    monkeypatch.setattr(InterruptedHead, "interrupted", True)
    with pytest.raises(KeyboardInterrupt):
        fit_net(net)
    monkeypatch.undo()
    assert outcome(lambda: net.decision_function(ROWS[:5])) == before


def test_a_callback_may_still_end_the_training():
    net = fit_net(net_of(callbacks=[Stops()], max_epochs=5))
    assert len(net.history) == 1
    assert set(net.predict(ROWS[:50])) <= {20, 21, 22, 23}
