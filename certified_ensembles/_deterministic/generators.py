"""The generators of the process, seeded for members that draw from them, and restored after."""

# ruff: noqa: NPY002 - the legacy generator is global, so it is the one to seed and restore

import contextlib
import importlib.abc
import os
import random
import sys
import threading
import warnings

import numpy as np
from numpy.random import bit_generator

from .._certificate import CertificateWarning
from .threads import one_thread

_GLOBAL_GENERATORS = threading.RLock()
_own_generators = []  # those that hold the lock, the outermost first


class _WatchedLock:
    """A lock of a generator that knows whether other threads than its owner's have drawn."""

    def __init__(self, lock):
        self._lock, self.owner, self.met_others = lock, None, False

    def __enter__(self):
        self.met_others |= threading.get_ident() != self.owner
        return self._lock.__enter__()

    def __exit__(self, *exception):
        return self._lock.__exit__(*exception)


class _MT19937(np.random.MT19937):
    """The generator behind numpy's global functions while they are ours."""

    def __init__(self):
        super().__init__(0)
        self._watched = _WatchedLock(super().lock)

    @property
    def lock(self):
        """What every draw of numpy's global functions holds."""
        return self._watched


_MT19937.__name__ = "MT19937"  # the name is part of the state, which members may get and set
_ours = _MT19937()


class OwnGenerators:
    """Context in which the process's generators are ours to seed; they are restored after.

    These are the generators of random, numpy and torch, also where torch is imported within, and
    the entropy that numpy takes for generators without a seed: what ARPACK restarts from, for
    instance. They belong to the process, so that threads take turns.
    """

    def __enter__(self):
        _GLOBAL_GENERATORS.acquire()
        self._seed, self._bits, self._torch = 0, None, None
        self._python, self._numpy = random.getstate(), np.random.get_state(legacy=False)
        self._bit_generator = np.random.get_bit_generator()
        if self._bit_generator is not _ours:
            _ours.lock.owner, _ours.lock.met_others = threading.get_ident(), False
            with self._bit_generator.lock:
                np.random.set_bit_generator(_ours)
        self._entropy, self.thread = bit_generator.randbits, threading.get_ident()

        def randbits(k):
            if threading.get_ident() != self.thread:
                return self._entropy(k)
            if self._bits is None:
                self._bits = random.Random(self._seed)
            return self._bits.getrandbits(k)

        bit_generator.randbits = randbits
        _own_generators.append(self)
        torch = sys.modules.get("torch")
        # Another thread may be about to import it.
        if torch is not None and not getattr(torch.__spec__, "_initializing", False):
            self._keep_torch()
        elif len(_own_generators) == 1:
            sys.meta_path.insert(0, _torch_finder)
        return self

    def seed(self, seed):
        """Seed all of them."""
        self._seed, self._bits = seed, None
        random.seed(seed)
        np.random.seed(seed)
        if self._torch is not None:
            self._seed_torch()

    def _seed_torch(self):
        """Seed what :meth:`__exit__` restores.

        ``torch.manual_seed`` also goes to devices that are not there, through locks that stay
        locked in a child that is forked meanwhile.
        """
        self._torch.default_generator.manual_seed(self._seed)
        if self._devices or self._queued:
            self._torch.cuda.manual_seed_all(self._seed)

    def _keep_torch(self):
        torch = sys.modules["torch"]
        begun = torch.cuda.is_initialized()
        self._queued = torch.cuda.is_available() and not begun
        self._devices = torch.cuda.get_rng_state_all() if begun else []
        self._cpu = torch.get_rng_state()
        self._torch = torch  # last: a child forked before has nothing to restore

    def torch_arrived(self):
        """Seed torch, which has just been imported, as if it had been there before."""
        self._keep_torch()
        self._seed_torch()
        if one_thread.depth:
            one_thread.look_again(said=False)

    def __exit__(self, *exception):
        _own_generators.pop()
        if _torch_finder in sys.meta_path and not _own_generators:
            sys.meta_path.remove(_torch_finder)
        bit_generator.randbits = self._entropy
        random.setstate(self._python)
        np.random.set_bit_generator(self._bit_generator)
        np.random.set_state(self._numpy)
        met_others = _ours.lock.met_others and not _own_generators
        if self._torch is not None:
            self._torch.set_rng_state(self._cpu)
            for device, state in enumerate(self._devices):
                self._torch.cuda.set_rng_state(state, device)
            if self._queued:  # torch keeps a seed for CUDA until that begins, and has kept ours
                self._torch.cuda.manual_seed_all(self._torch.initial_seed())
        _GLOBAL_GENERATORS.release()
        if met_others:
            warnings.warn(
                "Another thread drew from the global generator of numpy.random while members "
                "that may draw from it were trained or asked. They got other numbers than their "
                "seeds give, so certificates do not hold. Let that thread draw from a generator "
                "of its own, numpy.random.default_rng(), or fit in a process of its own.",
                CertificateWarning,
                stacklevel=2,
            )

    def restore_in_child(self):
        """Restore what a thread had seeded that is not in this forked child.

        Python seeds `random` in every child itself, and devices are the parent's. The lock of
        numpy's generator may have been held, so there is a new one.
        """
        bit_generator.randbits = self._entropy
        np.random.set_bit_generator(type(self._bit_generator)())
        np.random.set_state(self._numpy)
        if self._torch is not None:
            self._torch.set_rng_state(self._cpu)


class _TorchFinder(importlib.abc.MetaPathFinder):
    """Tells `OwnGenerators` as soon as torch has been imported."""

    def find_spec(self, name, path=None, target=None):
        if name != "torch":
            return None
        for finder in sys.meta_path:
            find = None if finder is self else getattr(finder, "find_spec", None)
            spec = None if find is None else find(name, path, target)
            if spec is not None:
                spec.loader = _TorchLoader(spec.loader)
                return spec
        return None


class _TorchLoader(importlib.abc.Loader):
    def __init__(self, loader):
        self._loader = loader

    def __getattr__(self, name):
        return getattr(self._loader, name)

    def create_module(self, spec):
        return self._loader.create_module(spec)

    def exec_module(self, module):
        module.__spec__.loader = module.__loader__ = self._loader
        self._loader.exec_module(module)
        for generators in list(_own_generators):
            generators.torch_arrived()


_torch_finder = _TorchFinder()


def _begin_child():
    """Undo what threads had seeded that are not in this forked child, and free their lock."""
    global _GLOBAL_GENERATORS, _ours
    if _own_generators and _own_generators[0].thread == threading.get_ident():
        return
    _GLOBAL_GENERATORS = threading.RLock()
    while _own_generators:
        _own_generators.pop().restore_in_child()
    _ours = _MT19937()
    if _torch_finder in sys.meta_path:
        sys.meta_path.remove(_torch_finder)


if hasattr(os, "register_at_fork"):  # Windows has no forks
    os.register_at_fork(after_in_child=_begin_child)


def reseed(seed):
    """Seed the generators once more, where this thread is in a context in which they are ours."""
    if _own_generators and _own_generators[-1].thread == threading.get_ident():
        _own_generators[-1].seed(seed)


@contextlib.contextmanager
def global_seed(seed, needed=True):
    """Seed the generators of random, numpy and torch, and restore them after."""
    if not needed:
        yield
        return
    with OwnGenerators() as generators:
        generators.seed(seed)
        yield


def seeded(function, seed, needed=True):
    """Return a function that runs with seeded generators each time."""
    if not needed:
        return function

    def call(*args, **kwargs):
        with global_seed(seed):
            return function(*args, **kwargs)

    return call
