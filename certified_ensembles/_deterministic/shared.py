"""Settings that belong to the process: threads share them, forked children put them right."""

import contextlib
import os
import threading


class ProcessWide:
    """What the first of several threads begins and the last one ends, by contexts that may nest.

    A call returns a context, which is a decorator as well. It is a generator, since Python ends a
    generator that is given up: a ``with`` of another kind is left for good without its exit where
    an interrupt comes just before.

    A subclass says what happens. Each of its steps runs under one lock, and each may be taken
    twice: where an interrupt comes on the way in, what has begun is ended.

    In a forked child there is one thread left. What the others had begun is ended there, so that
    no setting of theirs stays for good, and no lock that one of them held.
    """

    def __init__(self):
        self._lock, self._here = threading.RLock(), threading.local()
        self._n_inside = 0
        _shared.append(self)

    @contextlib.contextmanager
    def __call__(self):
        self._come_in()
        try:
            yield
        finally:
            self._go_out()

    def _come_in(self):
        if self.depth:
            self._again()
            self._here.depth += 1
            return
        with self._lock:
            try:
                if self._n_inside == 0:
                    self._begin()
                self._arrive()
                self._n_inside, self._here.depth = self._n_inside + 1, 1
            except BaseException:
                self._leave()
                raise

    def _go_out(self):
        self._here.depth -= 1
        if self._here.depth == 0:
            with self._lock:
                self._n_inside -= 1
                self._leave()

    def _leave(self):
        try:
            self._part()
        finally:
            if self._n_inside == 0:
                self._end()

    @property
    def depth(self):
        """How many times this thread has come in."""
        return getattr(self._here, "depth", 0)

    def forget_other_threads(self):
        """End what threads had begun that are not in this forked child."""
        inside = int(self.depth > 0)
        if self._n_inside > inside:
            self._n_inside = inside
            if not inside:
                self._end()

    def _begin(self):
        """Set what belongs to the process."""

    def _arrive(self):
        """Set what belongs to this thread."""

    def _again(self):
        """See that all is set, where this thread comes in once more."""

    def _part(self):
        """Restore what belongs to this thread."""

    def _end(self):
        """Restore what belongs to the process."""


_shared = []


def _acquire_all():
    for shared in _shared:
        shared._lock.acquire()


def _release_all():
    for shared in reversed(_shared):
        shared._lock.release()


def _begin_child():
    try:
        for shared in reversed(_shared):
            shared.forget_other_threads()
    finally:
        _release_all()


if hasattr(os, "register_at_fork"):  # Windows has no forks
    # Nobody is halfway in or out while the process is copied.
    os.register_at_fork(
        before=_acquire_all, after_in_parent=_release_all, after_in_child=_begin_child
    )
