"""Ask, refit, fork and damage ensembles at once, for minutes, and count what goes wrong.

    python benchmarks/soak.py [--minutes 10] [--services 8] [--threads 32] [--seed 0]
        [--faults refits damages forks] [--output docs/_static]

A service is a fitted ensemble (`_services.py`). All services live in one process, as in a server:

- threads ask random rows, one or many, by ``predict``, ``certify``, ``ballots`` or
  ``predict_proba``. An answer is right if, in all its rows and fields, it is the answer of one of
  the two fits between which the service goes to and fro. These are computed before anything
  else runs, alone and without a cache. Some rows stand on the border between two classes of a
  member, where the last bit decides;
- a thread refits services; one time in three the members of the new fit raise half way, an
  error or an interrupt, and the old answers have to stay;
- a thread forks. The child asks, compares, looks at the limits of its threads, and ends. One
  that has not ended in time is killed, and counted as hung;
- a thread damages cached members (cuts, empties, zeroes, flips a bit, puts another member in
  their place) and fits the service anew from what is left: the answers have to be the same.

Printed are answers, and how many were wrong, hung (still without an answer at the end) or lost
(an exception); the limits of the process's threads before and after; and its memory. Where members
stay on disk, as nets do, one that is damaged while it is asked may raise an error that names the
folder; the same rows are asked again after the repair, and lost if that fails. The script ends
with status 1 if anything is wrong, hung or lost, if limits changed, or memory grew by a tenth.
"""

import os

# The host has two threads, so that a limit which is not restored shows.
os.environ.update(OMP_NUM_THREADS="2", OPENBLAS_NUM_THREADS="2")

import argparse
import collections
import faulthandler
import itertools
import shutil
import signal
import statistics
import sys
import tempfile
import threading
import time
import traceback
import warnings
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from _machine import give_back_memory, machine_line, save, table, write_table
from _services import ask, make_services, take
from sklearn.base import BaseEstimator, ClassifierMixin, clone
from threadpoolctl import threadpool_info

PATIENCE = 60.0  # seconds after which whoever has not answered is hung
FAULTS = ("refits", "damages", "forks")
_CHILD_ENDS = {0: "right", 3: "wrong", 4: "limits", 5: "raised"}


def thread_limits():
    """Return the number of threads of every library that has a pool, by its file."""
    limits = {pool["filepath"]: pool["num_threads"] for pool in threadpool_info()}
    if "torch" in sys.modules:
        limits["torch"] = sys.modules["torch"].get_num_threads()
    return limits


def resident_memory():
    """Return the memory that this process holds, in MB."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


class Raises(ClassifierMixin, BaseEstimator):
    """A member whose fit raises, once some others have been trained."""

    _n_fits = itertools.count(1)

    def __init__(self, error=OSError):
        self.error = error

    def fit(self, X, y):
        self.classes_ = np.unique(y)
        if next(self._n_fits) % 4 == 0:
            raise self.error("in the middle of a fit")
        return self

    def predict(self, X):
        return np.full(len(X), self.classes_[0])


class Soak:
    """Counts of one run, and the threads that make them."""

    def __init__(self, services, limits, seed):
        self.services, self.limits, self.seed = services, limits, seed
        self.until = np.inf
        self.counts, self.lock = collections.Counter(), threading.Lock()
        self.now = {}  # by thread, what it has been doing since when
        self.said = collections.Counter()

    def count(self, *what):
        """Add one to a figure."""
        with self.lock:
            self.counts[what] += 1

    def complain(self, what, service, why):
        """Count what went wrong, and print the first few cases."""
        self.count(what, service.name)
        with self.lock:
            self.said[what] += 1
            if self.said[what] <= 5:
                print(f"{what}: {service.name}: {why}", flush=True)

    def changed_limits(self):
        """Return, by library, the limit that the host had at the start and another one now."""
        now = thread_limits()
        return {pool: (n, now[pool]) for pool, n in self.limits.items() if now[pool] != n}

    def worker(self, work, number):
        """Return a thread that does something over and over, each time with the same generator."""
        rng = np.random.default_rng([self.seed, number])

        def run():
            while time.monotonic() < self.until:
                service = self.services[rng.integers(len(self.services))]
                try:
                    work(service, rng)
                except BaseException:
                    self.complain("broken", service, traceback.format_exc())
                    return
                self.now.pop(threading.get_ident(), None)

        return threading.Thread(target=run, daemon=True, name=f"{work.__name__} {number}")

    def starts(self, what, service):
        """Note what this thread is doing, for whoever looks for threads that hang."""
        self.now[threading.get_ident()] = what, service, time.monotonic()

    # ------------------------------------------------------------ asking

    def question(self, service, rng):
        """Return a random question about random rows."""
        question = service.questions[rng.integers(len(service.questions))]
        n = len(service.rows)
        size = int(rng.choice([1, 1, 1, 2, 17, n]))
        return question, rng.choice(n, size, replace=False)

    def asks(self, service, rng):
        """Ask once, and compare."""
        question, index = self.question(service, rng)
        rows, before = take(service.rows, index), service.n_repairs
        self.starts("ask", service)
        try:
            answer = ask(service.ensemble, *question, rows)
        except Exception as error:
            answer = self._again(service, question, rows, before, error)
            if answer is None:
                return
        if service.is_right(question, index, answer):
            self.count("right", service.name)
        else:
            self.complain("wrong", service, f"{question[0]} about {len(index)} rows")

    def _again(self, service, question, rows, before, error):
        """Ask once more after a repair, if there was one; else the answer is lost."""
        with service.lock:
            if service.n_repairs > before and "memory=" in str(error):
                self.count("asked again", service.name)
                try:
                    return ask(service.ensemble, *question, rows)
                except Exception as second:
                    error = second
        self.complain("lost", service, f"{question[0]}: {type(error).__name__}: {error}")
        return None

    # ------------------------------------------------------------ faults

    def refits(self, service, rng):
        """Refit a service while it is asked; one time in three the members raise."""
        which = int(rng.integers(len(service.fits)))
        fails = hasattr(service.ensemble, "n_partitions") and rng.random() < 1 / 3
        with service.lock:
            self.starts("refit", service)
            if not fails:
                service.ensemble.fit(**service.fits[which])
                self.count("refits", service.name)
                self._compare(service, which, rng, "wrong after a refit")
                return
            good = service.ensemble.estimator
            error = OSError if rng.random() < 0.5 else KeyboardInterrupt
            service.ensemble.set_params(estimator=Raises(error))
            try:
                service.ensemble.fit(**service.fits[which])
            except error:
                self.count("failed refits", service.name)
            else:
                self.complain("broken", service, "a fit whose members raise has returned")
            finally:
                service.ensemble.set_params(estimator=good)

    def _compare(self, service, which, rng, what):
        """Ask about all rows, where the fit to be answered for is known."""
        question, _ = self.question(service, rng)
        index = np.arange(len(service.rows))
        answer = ask(service.ensemble, *question, service.rows)
        if not service.is_fit(which, question, index, answer):
            self.complain(what, service, question[0])

    def damages(self, service, rng):
        """Damage some cached members, and fit the service from what is left."""
        if service.folder is None:
            return
        which = int(rng.integers(len(service.fits)))
        with service.lock:
            self.starts("damage", service)
            files = [path for path in sorted(service.folder.rglob("*.pkl")) if path.is_file()]
            for path in rng.choice(files, min(len(files), 3), replace=False):
                damage(path, files[rng.integers(len(files))], rng)
            # Children may hold either fit, and references to its members.
            clone(service.ensemble).fit(**service.fits[1 - which])
            service.ensemble.fit(**service.fits[which])
            self.count("damaged caches", service.name)
            self._compare(service, which, rng, "wrong after damage")
            service.n_repairs += 1

    def forks(self, service, rng):
        """Fork; the child asks, looks at its limits and ends."""
        question, index = self.question(service, rng)
        self.starts("fork", service)
        reader, writer = os.pipe()
        child = os.fork()
        if child == 0:
            os.close(reader)
            os._exit(self._in_child(service, question, index, writer))
        os.close(writer)
        end = self._wait_for(child)
        why = os.read(reader, 4000).decode() if end != "hung" else ""
        os.close(reader)
        if end == "right":
            self.count("children", service.name)
        else:
            self.complain(f"children {end}", service, why or question[0])

    def _in_child(self, service, question, index, writer):
        try:
            before = self.changed_limits()
            answer = ask_until_repaired(service, question, take(service.rows, index))
            if not service.is_right(question, index, answer):
                return 3
            changed = before or self.changed_limits()
            if changed:
                os.write(writer, f"(of the host, now): {changed}".encode())
            return 4 if changed else 0
        except BaseException:
            os.write(writer, traceback.format_exc().encode()[-3000:])
            return 5

    @staticmethod
    def _wait_for(child):
        """Return how a child ended; one that does not is killed.

        It has twice the time: it may have to wait until the parent has repaired a cache.
        """
        patience = time.monotonic() + 2 * PATIENCE
        while time.monotonic() < patience:
            ended, status = os.waitpid(child, os.WNOHANG)
            if ended:
                return _CHILD_ENDS.get(os.waitstatus_to_exitcode(status), "died")
            time.sleep(0.005)
        os.kill(child, signal.SIGUSR1)  # says where it hangs
        time.sleep(0.5)
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        return "hung"

    # ------------------------------------------------------------ the run

    def run(self, n_threads, faults, minutes):
        """Let all threads work for some minutes; return samples of the memory."""
        self.until = time.monotonic() + 60 * minutes
        # Also where a library hangs and lets no other thread of Python run.
        faulthandler.dump_traceback_later(60 * minutes + 4 * PATIENCE, exit=True)
        faulthandler.register(signal.SIGUSR1, all_threads=True)
        works = [self.asks] * n_threads + [getattr(self, fault) for fault in faults]
        threads = [self.worker(work, number) for number, work in enumerate(works)]
        memory = []
        for thread in threads:
            thread.start()
        while time.monotonic() < self.until:
            time.sleep(min(1.0, 60 * minutes / 50))
            memory.append(resident_memory())
        patience = time.monotonic() + PATIENCE
        for thread in threads:
            more = 2 * PATIENCE if thread.name.startswith("forks") else 0
            thread.join(max(0.0, patience + more - time.monotonic()))
        for thread in threads:
            if thread.is_alive():
                what, service, since = self.now.get(thread.ident, (thread.name, None, 0))
                name = getattr(service, "name", "nobody")
                self.count("hung", name)
                print(f"hung: {name}: {what} for {time.monotonic() - since:.0f} s", flush=True)
        if any(thread.is_alive() for thread in threads):
            faulthandler.dump_traceback()
        return memory


def ask_until_repaired(service, question, rows):
    """Ask in a child; while the parent repairs a damaged cache, ask again."""
    patience = time.monotonic() + PATIENCE
    while True:
        try:
            return ask(service.ensemble, *question, rows)
        except RuntimeError as error:
            if "memory=" not in str(error) or time.monotonic() > patience:
                raise
            time.sleep(0.2)


def damage(path, other, rng):
    """Damage a file in one of the ways in which disks, and those who share them, do it."""
    data = bytearray(path.read_bytes())
    middle = len(data) // 2
    kind = rng.integers(5)
    if kind == 0:
        data = data[:middle]
    elif kind == 1:
        data = b""
    elif kind == 2:
        data[middle : middle + 256] = bytes(len(data[middle : middle + 256]))
    elif kind == 3 and data:
        data[rng.integers(len(data))] ^= 1 << int(rng.integers(8))
    elif kind == 4:
        shutil.copyfile(other, path) if other != path else None
        return
    path.write_bytes(data)


# ---------------------------------------------------------------- figures

BAD = ("wrong", "hung", "lost", "broken", "wrong after a refit", "wrong after damage")
BAD += tuple(f"children {end}" for end in ("hung", "wrong", "limits", "raised", "died"))
GOOD = ("right", "asked again", "refits", "failed refits", "damaged caches", "children")


def figures_of(soak, memory, start):
    """Return all figures of a run, and what in them is bad."""
    total = collections.Counter()
    for (what, _), n in soak.counts.items():
        total[what] += n
    parts = max(1, len(memory) // 5)
    warm, end = statistics.median(memory[parts : 2 * parts]), statistics.median(memory[-parts:])
    figures = {
        **{what: total[what] for what in (*GOOD, *BAD)},
        "limits changed": len(soak.changed_limits()),
        "memory at the start (MB)": round(start),
        "memory after a fifth of the time (MB)": round(warm),
        "memory at the end (MB)": round(end),
    }
    bad = [what for what in (*BAD, "limits changed") if figures[what]]
    if end > 1.1 * warm:
        bad.append("memory")
    return figures, bad


def by_service(soak):
    """Return a header and a line for each service: what was asked of it and done to it."""
    header = ["service", "right", "wrong", "lost", "hung"]
    header += ["refits", "failed refits", "damaged caches", "children"]
    names = dict.fromkeys(service.name for service in soak.services)
    return header, [[name, *(soak.counts[key, name] for key in header[1:])] for name in names]


def show(header, rows):
    """Print lines in columns."""
    print()
    for first, *rest in [header, *rows]:
        print(f"{first:20s}" + "".join(f"{cell:>16}" for cell in rest))
    print()


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--services", type=int, default=8)
    parser.add_argument("--threads", type=int, default=32)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--faults", nargs="*", choices=FAULTS, default=FAULTS)
    parser.add_argument("--output", help="folder for soak.json and .txt")
    args = parser.parse_args()
    about = machine_line() + (
        f"\n{args.minutes:g} minutes, {args.services} services, {args.threads} threads that ask"
    )
    print(about, flush=True)
    warnings.simplefilter("ignore")  # of classes that members lack, and of damage
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        if find_spec("torch"):
            import torch  # noqa: F401 - so that its threads are among the host's
        limits = thread_limits()
        soak = Soak(make_services(args.services, Path(folder)), limits, args.seed)
        give_back_memory()
        start = resident_memory()
        memory = soak.run(args.threads, args.faults, args.minutes)
        figures, bad = figures_of(soak, memory, start)
    header, lines = by_service(soak)
    show(header, lines)
    for what, figure in figures.items():
        print(f"{what:40s} {figure}")
    print("\n" + (f"NOT as it should be: {', '.join(bad)}" if bad else "All as it should be."))
    if args.output:
        rows = [[what, figure] for what, figure in figures.items()]
        text = table(["Figure", "number"], rows) + "\n" + table(header, lines)
        tenths = [round(float(part.mean())) for part in np.array_split(memory, 10)]
        save("soak", figures | {"memory in each tenth (MB)": tenths}, args.output)
        write_table("soak", about, text, args.output)
    sys.stdout.flush()
    os._exit(1 if bad else 0)  # a thread that hangs would not let the process end


if __name__ == "__main__":
    main()
