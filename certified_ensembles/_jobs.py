"""Tasks, one after the other or in parallel, and the bars that count them.

With one job a task is a plain call. scikit-learn's `Parallel` would set the filters of warnings
anew for every task. They belong to the process: in a server's threads that costs more than many a
task, and leaves the host without its filters where two threads overlap.
"""

import contextlib
import functools
import itertools
import warnings
from concurrent.futures import Future

from joblib.parallel import (
    LokyBackend,
    MultiprocessingBackend,
    SequentialBackend,
    ThreadingBackend,
    get_active_backend,
)
from sklearn.utils.parallel import Parallel, delayed
from tqdm.auto import tqdm

# On one job of these joblib itself runs tasks in the caller's thread; a cluster sends them away.
_ON_THIS_MACHINE = (LokyBackend, MultiprocessingBackend, SequentialBackend, ThreadingBackend)


def run_here(n_jobs, require=None):
    """Say whether tasks run in the thread that asks for them, one after the other.

    Parameters
    ----------
    n_jobs : int or None
        As in the estimators; None is what the active joblib backend has.
    require : {"sharedmem"} or None, default=None
        Whether tasks must be threads of this process.
    """
    backend, of_backend = get_active_backend(require=require)
    n_jobs = of_backend if n_jobs is None else n_jobs
    return type(backend) in _ON_THIS_MACHINE and backend.effective_n_jobs(n_jobs) == 1


def in_turn(function, calls, n_jobs, *, prefer=None, require=None, **common):
    """Return what a function returns for each call, in order, as it arrives if that can be had.

    Parameters
    ----------
    function : callable
    calls : iterable of tuple
        The positional arguments of each call.
    n_jobs, require
        As in :func:`run_here`.
    prefer : {"threads", "processes"} or None, default=None
        Which it shall be unless the caller has chosen a backend.
    **common : dict
        Keyword arguments of all calls.

    Returns
    -------
    results : iterator
        With one job a call is made when its result is asked for.
    """
    if run_here(n_jobs, require):
        return itertools.starmap(functools.partial(function, **common), calls)
    backend, _ = get_active_backend(prefer=prefer, require=require)
    # Ray's backend cannot yield results before all are there.
    how = "generator" if with_end_of_wait(backend).supports_return_generator else "list"
    parallel = Parallel(n_jobs=n_jobs, prefer=prefer, require=require, return_as=how)
    return iter(parallel(delayed(function)(*call, **common) for call in calls))


def with_end_of_wait(backend):
    """Return a backend of joblib that says of every task when it has ended.

    joblib waits for each task's callback, also where the task failed. Its backend for Dask calls
    it after results alone: where Dask gives a task up, because every worker that took it died,
    the wait would never end.
    """
    is_dask = type(backend).__name__ == "DaskDistributedBackend"
    if not is_dask or isinstance(vars(backend).get("retrieve_result_callback"), functools.partial):
        return backend
    name = "submit" if hasattr(type(backend), "submit") else "apply_async"  # joblib's older name
    setattr(backend, name, functools.partial(_submit, getattr(backend, name)))
    retrieve = backend.retrieve_result_callback
    backend.retrieve_result_callback = functools.partial(_retrieve, retrieve)
    return backend


def _submit(submit, func, callback=None):
    future = submit(func, callback)
    future.add_done_callback(functools.partial(_call_if_failed, callback))
    return future


def _call_if_failed(callback, future):
    if callback is not None and not future.cancelled() and future.exception() is not None:
        callback(future)


def _retrieve(retrieve, out):
    return out.result() if isinstance(out, Future) else retrieve(out)


@contextlib.contextmanager
def workers_may_stop(n_jobs):
    """Silence joblib's warning that it has replaced a worker whose memory grew.

    Importing torch is enough for that. Raised as an error, the warning ends the thread that
    waits for results, and the fit waits for ever.
    """
    if run_here(n_jobs):
        yield
        return
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="A worker stopped while some jobs")
        yield


def progress(results, total, what, verbose, unit="member"):
    """Show a bar over results as they arrive if verbose.

    Without it nothing of tqdm is touched: it would start a thread in the host's process, and a
    lock of it that another thread holds stays locked in a forked child.
    """
    if not verbose:
        return _NoBar(results)
    return tqdm(results, total=total, desc=what, unit=unit)


class _NoBar:
    """What stands in the place of a bar that nobody wants to see."""

    def __init__(self, results):
        self._results = results

    def __iter__(self):
        return iter(self._results)

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        pass

    def update(self, n):
        """Count nothing."""

    def set_postfix_str(self, text, refresh=True):
        """Say nothing."""
