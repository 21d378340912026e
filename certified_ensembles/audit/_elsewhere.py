"""Fit and ask in another thread, and in another process that is ended when it takes too long."""

import copy
import os
from concurrent.futures import BrokenExecutor, ThreadPoolExecutor

from joblib.externals.loky import ProcessPoolExecutor
from joblib.parallel import get_active_backend

from .._data.hostile import huge_rows
from ._attacks import Attack, apply_edit, insertion_of

# A fit elsewhere may take so many seconds, and so many times as long as it took here.
_SECONDS, _TIMES = 30, 20


class Elsewhere:
    """Another process, in which strings have other hashes.

    It is started by the first fit, and by the next one after a fit that took too long.

    Parameters
    ----------
    audit : _Audit
        What it sends is the audit without its fitted estimators.
    time_limit : float
        Seconds that a fit and its answers may take.
    """

    def __init__(self, audit, time_limit):
        self.audit = copy.copy(audit)
        self.audit.fitted = self.audit.clean = None
        self.time_limit, self._pool = time_limit, None

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        if self._pool is not None:
            self._pool.shutdown(wait=True, kill_workers=True)
            self._pool = None

    def fit_and_ask(self, attack, estimator=None):
        """Return what `_Audit.fit_and_ask` returns there; raise TimeoutError after the limit."""
        if self._pool is None:
            # Sets of strings are walked through in another order there than here.
            other = "1" if os.environ.get("PYTHONHASHSEED") == "2" else "2"
            self._pool = ProcessPoolExecutor(max_workers=1, env={"PYTHONHASHSEED": other})
            self._pool.submit(starts_processes).result()  # imports what takes long to import
        future = self._pool.submit(self.audit.fit_and_ask, attack, estimator)
        try:
            return future.result(self.time_limit)
        except BrokenExecutor:
            self.__exit__()
            raise
        except TimeoutError as error:
            self.__exit__()
            raise TimeoutError(
                f"no end after {self.time_limit:.0f} seconds. A row with this effect holds all "
                "members up, and on_error cannot help: bound the values in a first step of the "
                "estimator (a clipping FunctionTransformer, say), or use another solver."
            ) from error


def in_a_thread(function, *args):
    """Call a function in a new thread, in which no thread-local setting holds."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(function, *args).result()


def starts_processes():
    """Say whether joblib's active backend, as the caller has chosen it, runs processes."""
    return not getattr(get_active_backend()[0], "supports_sharedmem", False)


def refit_elsewhere(audit):
    """Fit in another thread and in another process, and there beside rows of hostile size."""
    data = audit.X, audit.y, audit.groups
    attack = Attack("fit in another thread", "fit again in another thread", *data)
    audit.refit(attack, run=lambda *args: in_a_thread(audit.fit_and_ask, *args))
    if not starts_processes():
        return
    with Elsewhere(audit, _SECONDS + _TIMES * audit.seconds) as process:
        words = "fit again in another process, in which strings have other hashes"
        audit.refit(Attack("fit in another process", words, *data), run=process.fit_and_ask)
        if not audit.promises("insertion_deletion"):
            return
        for words, row in huge_rows(audit.X, audit.rng):
            attack = apply_edit(audit, "hostile magnitudes", insertion_of(audit, row, words))
            audit.refit(attack, run=process.fit_and_ask)
