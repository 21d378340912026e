"""Training that is a function of rows and seed: one thread, seeded generators, plain floats."""

# ruff: noqa: NPY002 - the legacy generator is global, so it is the one to seed and restore

import contextlib
import random
import sys
import threading
import types

import numpy as np
from sklearn.base import clone
from sklearn.frozen import FrozenEstimator
from threadpoolctl import ThreadpoolController


def parts_of(estimator, frozen=True):
    """Return the estimator and everything nested in its parameters, lists and dicts of them too.

    A search holds whole estimators in its grid. With ``frozen=False`` without what is inside a
    `FrozenEstimator`, which clones share with their original.
    """
    parts, seen = [], set()

    def visit(value):
        if id(value) in seen or isinstance(value, str | bytes | int | float | np.ndarray):
            return
        seen.add(id(value))
        if isinstance(value, dict | list | tuple):
            for inner in value.values() if isinstance(value, dict) else value:
                visit(inner)
            if not isinstance(value, dict):
                return
        parts.append(value)
        if isinstance(value, FrozenEstimator) and not frozen:
            return
        if hasattr(value, "get_params") and not isinstance(value, type):
            for inner in value.get_params(deep=False).values():
                visit(inner)

    visit(estimator)
    return parts


_CONSTANT = (bool, int, float, str, bytes, type(None), np.generic)


def seeded_clones(estimator, seeds):
    """Yield clones of an estimator, every nested random_state set to one seed each."""
    first = clone(estimator)
    if type(first).__module__.startswith("sklearn.") and all(
        isinstance(value, _CONSTANT) for value in vars(first).values()
    ):  # copies do, in a tenth of the time
        for seed in seeds:
            member = object.__new__(type(first))
            vars(member).update(vars(first))
            if hasattr(member, "random_state"):
                member.random_state = seed
            yield member
        return
    for seed in seeds:
        member = clone(estimator)
        for part in parts_of(member, frozen=False):
            if isinstance(part, dict):  # a grid that sets seeds itself may say None
                for name, values in part.items():
                    if str(name).endswith("random_state") and isinstance(values, list | tuple):
                        part[name] = [v if isinstance(v, int) else seed for v in values]
            elif hasattr(part, "get_params") and not isinstance(part, type):
                if "random_state" in part.get_params(deep=False):
                    part.set_params(random_state=seed)
            elif _is_splitter(part):
                part.random_state = seed
        yield member


def _is_splitter(part):
    return hasattr(part, "random_state") and not hasattr(part, "get_params")


def is_net(estimator):
    """Say whether a torch module is trained somewhere inside the estimator."""
    return any(
        base.__module__.partition(".")[0] in ("skorch", "torch")
        for part in parts_of(estimator)
        for base in getattr(type(part), "__mro__", ())
    )


# ---------------------------------------------------------------- threads


class _OneThread:
    """Context in which BLAS and OpenMP use one thread, whatever joblib does around it.

    Rounding depends on the number of threads. The limit holds for the whole process, so
    the last of several threads to leave restores it.
    """

    def __init__(self):
        self._lock = threading.Lock()
        self._depth = 0
        self._known_modules = 0

    def __enter__(self):
        with self._lock:
            if self._known_modules != len(sys.modules):  # a new library may bring its own pool
                self._controller = ThreadpoolController()
                self._known_modules = len(sys.modules)
            limiter = self._controller.limit(limits=1)
            if self._depth == 0:
                self._original = limiter
            self._depth += 1

    def __exit__(self, *exception):
        with self._lock:
            self._depth -= 1
            if self._depth == 0:
                self._original.restore_original_limits()


one_thread = _OneThread()


# ---------------------------------------------------------------- global generators

_GLOBAL_GENERATORS = threading.RLock()
# Values of parameters that draw nothing.
_PLAIN = (dict, set, frozenset, range, slice, complex, type, np.generic, np.ufunc, np.dtype)


def draws_globally(estimator):
    """Say whether an estimator may draw from global generators, for lack of a random_state.

    scikit-learn's own estimators never do once every random_state is an integer.
    """
    for part in parts_of(estimator):
        if part is None or isinstance(part, _PLAIN):
            continue
        owner = part if isinstance(part, types.FunctionType) else type(part)
        if (getattr(owner, "__module__", None) or "").partition(".")[0] != "sklearn":
            return True
    return False


@contextlib.contextmanager
def global_seed(seed, needed=True):
    """Seed the generators of random, numpy and torch (if loaded), and restore them after.

    They belong to the process, so that threads take turns.
    """
    if not needed:
        yield
        return
    with _GLOBAL_GENERATORS:
        torch = sys.modules.get("torch")
        python_state, numpy_state = random.getstate(), np.random.get_state()
        random.seed(seed)
        np.random.seed(seed)
        queued = False
        if torch is not None:
            begun = torch.cuda.is_initialized()
            queued = torch.cuda.is_available() and not begun
            devices = range(torch.cuda.device_count()) if begun else []
            fork = torch.random.fork_rng(devices=list(devices))
        else:
            fork = contextlib.nullcontext()
        try:
            with fork:
                if torch is not None:
                    torch.manual_seed(seed)
                yield
        finally:
            random.setstate(python_state)
            np.random.set_state(numpy_state)
            if queued:  # torch keeps a seed for CUDA until that begins, and has just kept ours
                torch.cuda.manual_seed_all(torch.initial_seed())


def add_up(terms):
    """Add arrays one by one: numpy's own sums choose their order by shape and strides."""
    terms = iter(terms)
    total = next(terms).copy()
    for term in terms:
        total += term
    return total
