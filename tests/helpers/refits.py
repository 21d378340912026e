"""Refits that end, fail or are interrupted at any line of a fit or of an answer."""

import contextlib
import signal
import sys

import numpy as np
import pytest

from certified_ensembles._deterministic import shared


@contextlib.contextmanager
def at_lines(kind, act):
    """Call ``act(number)`` before each line of the package that runs on an estimator of a kind."""
    count = 0

    def trace(frame, event, arg):
        nonlocal count
        if event == "line":
            act(count)
            count += 1
        elif not _is_own(frame) or not any(isinstance(v, kind) for v in frame.f_locals.values()):
            return None
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        yield
    finally:
        sys.settrace(before)


def _is_own(frame):
    return frame.f_globals.get("__name__", "").startswith("certified_ensembles")


def lines_of(kind, call):
    """Return how many such lines run in a call."""
    numbers = []
    with at_lines(kind, numbers.append):
        call()
    return len(numbers)


def outcome(call):
    """Return what a call returns, as nested lists of plain values, or the error that it raises."""
    try:
        return _plain(call())
    except Exception as error:
        return type(error).__name__, str(error)


def _plain(answer):
    if hasattr(answer, "__next__"):
        answer = list(answer)
    if isinstance(answer, tuple | list):
        return [_plain(part) for part in answer]
    if hasattr(answer, "columns"):
        return [list(answer.columns), answer.to_numpy().tolist()]
    if isinstance(answer, np.ndarray | np.generic):
        return answer.tolist()
    return repr(answer)


def put_in_place(estimator, other):
    """Do what the end of a refit does: all attributes become those of another fit, at once."""
    object.__setattr__(estimator, "__dict__", vars(other).copy())


def check_answers_of_one_fit(fitted, others, ask, step=1):
    """Refit at each line of a call in turn: it must answer as before the refit, or as after it.

    Of several other fits one takes its turn at one line, the next at the next.

    Parameters
    ----------
    fitted : estimator
    others : list of estimator
        Fits of the same class on other data.
    ask : callable
        ``ask(estimator)`` is the call.
    step : int, default=1
        2 tries every second line, and so on, where there are many.
    """
    kind, began = type(fitted), vars(fitted)
    before = outcome(lambda: ask(fitted))
    n_lines = lines_of(kind, lambda: outcome(lambda: ask(fitted)))
    after = []
    for other in others:
        put_in_place(fitted, other)
        after.append(outcome(lambda: ask(fitted)))
    assert before not in after
    for chosen in range(0, n_lines, step):

        def refit(number, chosen=chosen):
            if number == chosen:
                put_in_place(fitted, others[chosen // step % len(others)])

        object.__setattr__(fitted, "__dict__", began)
        with at_lines(kind, refit):
            answer = outcome(lambda: ask(fitted))
        assert answer in (before, after[chosen // step % len(others)]), (
            f"line {chosen} of {n_lines}"
        )
    object.__setattr__(fitted, "__dict__", began)


def check_whole(fitted, refit, ask):
    """Let a refit end, and press Ctrl-C at lines all over it.

    Nothing of the estimator may change before all does, and what it answers afterwards is what
    it answered before the refit, or what it answers after it.
    """
    kind, began, content = type(fitted), vars(fitted), vars(fitted).copy()
    before, states = outcome(lambda: ask(fitted)), []

    def watch(number):
        now = vars(fitted)
        assert now is not began or _same(now, content), f"line {number} changed the estimator"
        if not states or states[-1] is not now:
            states.append(now)

    with at_lines(kind, watch):
        refit(fitted)
    after = outcome(lambda: ask(fitted))
    assert len(states) == 2
    assert after != before
    object.__setattr__(fitted, "__dict__", began)
    n_lines = lines_of(kind, lambda: refit(fitted))
    for chosen in range(0, n_lines, max(1, n_lines // 6)):
        object.__setattr__(fitted, "__dict__", began)

        def interrupt(number, chosen=chosen):
            if number == chosen:
                signal.raise_signal(signal.SIGINT)

        with pytest.raises(KeyboardInterrupt), at_lines(kind, interrupt):
            refit(fitted)
        assert not any(context.depth for context in shared._shared)
        assert outcome(lambda: ask(fitted)) == (before if vars(fitted) is began else after)
        assert vars(fitted) is not began or _same(began, content)
    object.__setattr__(fitted, "__dict__", began)


def _same(state, content):
    return state.keys() == content.keys() and all(state[k] is content[k] for k in state)
