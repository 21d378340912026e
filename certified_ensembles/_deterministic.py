"""Training that is a function of rows and seed: one thread, seeded generators, plain floats."""

# ruff: noqa: NPY002 - the legacy generator is global, so it is the one to seed and restore

import contextlib
import random
import sys
import threading
import types

import numpy as np
import scipy.sparse as sp
from sklearn.base import clone
from threadpoolctl import ThreadpoolController


def parts_of(estimator):
    """Return the estimator and everything nested in its parameters."""
    return [estimator, *estimator.get_params(deep=True).values()]


def seeded_clones(estimator, seeds):
    """Yield clones of an estimator, every nested random_state set to one seed each."""
    names = [
        name
        for name in estimator.get_params(deep=True)
        if name == "random_state" or name.endswith("__random_state")
    ]
    # A splitter has no parameters to set; clone copies it.
    splits = any(map(_is_splitter, parts_of(estimator)))
    for seed in seeds:
        member = clone(estimator)
        if names:
            member.set_params(**dict.fromkeys(names, seed))
        if splits:
            for part in filter(_is_splitter, parts_of(member)):
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


def plain_floats(X, single):
    """Return X with all floats in one precision, single for nets, else double, and one zero.

    Widening is exact, so the same values train the same member whichever type held them:
    one row in double precision, brought by an attacker, widens the whole array.
    """
    target = np.dtype(np.float32 if single else np.float64)
    if sp.issparse(X):
        return X.astype(target, copy=False) if X.dtype.kind == "f" else X
    if isinstance(X, np.ndarray):
        return X.astype(target, copy=False) + target.type(0) if X.dtype.kind == "f" else X
    if hasattr(X, "iloc") and X.ndim == 2:
        floats = [name for name, dtype in X.dtypes.items() if dtype in ("float16", "float32")]
        return X.astype(dict.fromkeys(floats, target)) if floats and not single else X
    polars = sys.modules.get("polars")
    if polars is not None and isinstance(X, polars.DataFrame) and not single:
        return X.cast({polars.Float32: polars.Float64})
    return X


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


def draws_globally(estimator):
    """Say whether an estimator may draw from global generators, for lack of a random_state.

    scikit-learn's own estimators never do once every random_state is an integer.
    """
    for part in parts_of(estimator):
        own = getattr(type(part), "__module__", "").partition(".")[0]
        if hasattr(part, "fit") and own != "sklearn" and not hasattr(part, "random_state"):
            return True
        if isinstance(part, types.FunctionType) and part.__module__.split(".")[0] != "sklearn":
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
        if torch is not None:
            devices = range(torch.cuda.device_count()) if torch.cuda.is_initialized() else []
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
