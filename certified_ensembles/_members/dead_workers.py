"""Workers that die with a member in hand: the wait for it ends, and the error says for whom."""

import contextlib
import functools
from concurrent.futures import Future

_N_NAMED = 20


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


class UnderWay:
    """The members that were sent to workers and are not back yet."""

    def __init__(self):
        self._sent, self._n_back = [], 0

    def sending(self, tasks):
        """Yield tasks, given with the members that they train."""
        for members, task in tasks:
            self._sent.extend(members)
            yield task

    def coming_back(self, results):
        """Yield results, one a member."""
        for result in results:
            self._n_back += 1
            yield result

    @contextlib.contextmanager
    def named_in_errors(self):
        """Add to an error that is about no member in particular which ones it may be about."""
        try:
            yield
        except Exception as error:
            members = self._sent[self._n_back :]
            if members and not getattr(error, "__notes__", None):
                named = ", ".join(map(str, members[:_N_NAMED]))
                named += ", ..." if len(members) > _N_NAMED else ""
                error.add_note(
                    f"Raised while these members were being trained: {named}. If a worker died, "
                    "one of them ended it, by what its estimator does with its rows or by the "
                    "memory that it takes. Set n_jobs lower to narrow this down, or memory= so "
                    "that a fit after the repair trains only what is missing."
                )
            raise
