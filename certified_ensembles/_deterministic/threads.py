"""One thread of BLAS and OpenMP where members are trained or asked, and a check that it is so."""

import contextlib
import ctypes
import sys
import warnings
from pathlib import Path

from threadpoolctl import ThreadpoolController

from .._certificate import CertificateWarning
from .shared import ProcessWide


class _Pool:
    """The threads of a library that threadpoolctl knows.

    Since version 3.8 threadpoolctl lets one Python thread at a time set the limit of a pool that
    belongs to the process, and ignores the others in silence. Members are trained in whichever
    thread the user has, so the library is asked itself.
    """

    def __init__(self, control):
        # Calls that keep Python's lock: each takes no time, and threads that ask about single rows
        # would wait for one another at each.
        control.dynlib = ctypes.PyDLL(control.filepath)
        self.name, self.n_threads = control.filepath, control.get_num_threads
        self.restore = getattr(control, "_real_set_num_threads", control.set_num_threads)
        layer = getattr(control, "threading_layer", None)
        # Whether each Python thread has its own limit. (That of Visual C++ has one for all.)
        self.is_per_thread = (control.user_api == "openmp" and control.prefix != "vcomp") or (
            layer == "openmp" and self.restore != control.set_num_threads
        )

    def limit(self):
        """Limit it to one thread; return what :meth:`restore` needs."""
        before = self.n_threads()
        self.restore(1)
        return before


class _LocalMKL:
    """The threads that MKL has in this Python thread.

    This limit goes before that of the process, and torch sets it. So it is ours to set as well,
    also where MKL is a part of torch and threadpoolctl does not see it.
    """

    is_per_thread = True

    def __init__(self, library):
        self.name = f"MKL in {library._name}"
        self.n_threads = library.MKL_Get_Max_Threads
        self.restore = library.MKL_Set_Num_Threads_Local

    def limit(self):
        """Limit it to one thread; return what :meth:`restore` needs, 0 for no own limit."""
        return self.restore(1)


def _libraries():
    """Return a `_Pool` or `_LocalMKL` for each library in this process that has threads."""
    controls = ThreadpoolController().lib_controllers
    pools = [_Pool(control) for control in controls if control.num_threads is not None]
    holders = [control.dynlib for control in controls if control.internal_api == "mkl"]
    torch = _torch()
    if torch is not None:
        for path in Path(torch.__file__).parent.glob("lib/*torch_cpu*"):
            with contextlib.suppress(OSError):
                holders.append(ctypes.CDLL(str(path)))
    return pools + [_LocalMKL(one) for one in holders if hasattr(one, "MKL_Set_Num_Threads_Local")]


def _torch():
    """Return torch if its functions are there: another thread may have begun to import it."""
    torch = sys.modules.get("torch")
    return torch if hasattr(torch, "get_num_threads") else None


class _OneThread(ProcessWide):
    """Context in which BLAS and OpenMP use one thread, in whichever Python thread that is.

    Rounding depends on the number of threads, so that without this a certificate would hold for
    one number of them. Limits that belong to a Python thread are restored as it leaves, those of
    the process as the last thread leaves. Where a limit cannot be had, a warning says so.
    """

    def __init__(self):
        super().__init__()
        self._pools, self._n_modules, self._refused = [], -1, set()
        self._before = {}  # of pools that belong to the process, by name

    def _arrive(self):
        self._here.before = {}
        self._look_for_libraries()
        for pool in self._pools:
            self._limit(pool)
        self._meet_torch()

    def _again(self):
        if self._n_modules != len(sys.modules) or any(p.n_threads() != 1 for p in self._pools):
            with self._lock:
                self.look_again()

    def _meet_torch(self):
        """Let torch set its limit for a Python thread that is new to it, and limit it again.

        At its first use in a thread it would undo our limit: it takes the number that the host
        has given to torch, for all threads, or that of the cores.
        """
        torch = _torch()
        if torch is None or hasattr(self._here, "of_torch"):
            return
        before = self._here.before
        mkl = [pool for pool in self._pools if isinstance(pool, _LocalMKL)]
        for pool in mkl:
            pool.restore(before[pool.name])
        n_threads = torch.get_num_threads()
        # In MKL torch sets a thread's own limit only where the host has given it a number.
        given = any(pool.limit() != before[pool.name] for pool in mkl)
        self._here.of_torch = n_threads if given else None
        for pool in self._pools:
            pool.limit()

    def look_again(self, *, said=True):
        """Limit libraries that have arrived since this thread came in, or were set free."""
        self._look_for_libraries()
        for pool in self._pools:
            n_threads = pool.n_threads()
            free = n_threads != 1 and pool.name not in self._refused
            if free or (pool.is_per_thread and pool.name not in self._here.before):
                self._limit(pool)
                if free and said:
                    self._say(
                        f"{pool.name} had {n_threads} threads while members were trained or "
                        "asked, since it was imported or another thread set its limit meanwhile. "
                        "Results may differ from those of one thread by rounding, and then "
                        "certificates do not hold. Import it, or set its limit, before."
                    )
        self._meet_torch()

    def _limit(self, pool):
        before = self._here.before if pool.is_per_thread else self._before
        found = pool.limit()
        # The first of several threads finds what the host has set, the others find our limit.
        if pool.name not in before or found != 1:
            before[pool.name] = found
        if pool.n_threads() != 1 and pool.name not in self._refused:
            self._refused.add(pool.name)
            self._say(
                f"{pool.name} keeps {pool.n_threads()} threads where members have one. Results "
                "may differ by rounding with the number of threads, so certificates hold for "
                "this number alone. Start Python with OMP_NUM_THREADS=1."
            )

    def _look_for_libraries(self):
        if self._n_modules != len(sys.modules):  # a new module may bring a library
            n_modules = len(sys.modules)
            self._pools = _libraries()
            self._n_modules = n_modules

    def _part(self):
        try:
            self._again()
        finally:
            self._restore(self._here.before, per_thread=True)
            if getattr(self._here, "of_torch", None) is not None:
                _torch().set_num_threads(self._here.of_torch)
                self._here.of_torch = None

    def _end(self):
        self._restore(self._before, per_thread=False)

    def _restore(self, before, *, per_thread):
        for pool in self._pools:
            if pool.is_per_thread == per_thread and pool.name in before:
                pool.restore(before.pop(pool.name))

    @staticmethod
    def _say(what):
        warnings.warn(what, CertificateWarning, stacklevel=5)


one_thread = _OneThread()
