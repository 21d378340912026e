"""Seed, train and cache members: the one place that fits clones."""

import contextlib
import copy
import itertools
import warnings
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from joblib import effective_n_jobs
from joblib.parallel import get_active_backend
from sklearn.base import clone
from sklearn.dummy import DummyClassifier
from sklearn.pipeline import Pipeline
from sklearn.utils.parallel import Parallel, delayed
from sklearn.utils.validation import _num_samples, check_memory
from tqdm.auto import tqdm

from .._data.canonical import canonical_order
from .._data.containers import dense_width, n_rows, own_copy, take
from .._deterministic import (
    draws_globally,
    global_seed,
    is_net,
    one_thread,
    plain_floats,
    seeded_clones,
)
from .._linear import LinearTrainer, linear_trainer

# Rows that are in memory at once for members trained side by side: of linear heads in double
# precision, of nets as they are.
_CHUNK_BYTES, _NET_CHUNK_BYTES = 1 << 26, 1 << 30


def progress(results, total, what, verbose):
    """Show a bar over results as they arrive if verbose."""
    return tqdm(results, total=total, desc=what, unit="member", disable=not verbose)


def fit_members(estimator, X, y, rows_of_member, seeds, params, *, n_jobs, memory, verbose):
    """Train one member on each set of rows.

    Parameters
    ----------
    estimator : estimator
        Unfitted; cloned for each member.
    X, y : rows and labels
    rows_of_member : list of ndarray of int
        Indices of each member's rows, in any order.
    seeds : sequence of int
        The seed of each member.
    params : dict
        Further arguments of ``estimator.fit``; those as long as X are cut like X.
    n_jobs, memory, verbose
        As in the estimators.

    Returns
    -------
    members : list or StoredMembers
        Fitted estimators; None for a member without rows. Nets stay on disk where `memory`
        keeps them.
    """
    memory = check_memory(memory)
    single, needed = is_net(estimator), draws_globally(estimator)
    n = n_rows(X)
    by_row = sorted(name for name, value in params.items() if _is_per_row(value, n))
    sizes = [len(rows) for rows in rows_of_member]
    filled = [i for i, size in enumerate(sizes) if size]
    trainer = None if params else batch_trainer(estimator)
    width, row_bytes, most_bytes = 1, dense_width(X), _CHUNK_BYTES
    if trainer is not None:
        n_workers = effective_n_jobs(n_jobs)
        # Heads are cheap to cut: several chunks a worker, so that all end at about one time.
        n_chunks = 4 * n_workers if isinstance(trainer, LinearTrainer) else n_workers
        width = min(trainer.width, max(1, -(-len(filled) // n_chunks)))
        filled.sort(key=sizes.__getitem__)  # members with as many rows fill a stack
    if isinstance(trainer, _NetTrainer):
        row_bytes = row_bytes * getattr(X, "itemsize", 8) // 8
        most_bytes = _NET_CHUNK_BYTES

    def job(i, member):
        rows = rows_of_member[i]
        own = {k: take(v, rows) if k in by_row else copy.deepcopy(v) for k, v in params.items()}
        return Job(member, take(X, rows), take(y, rows), own, seeds[i], needed)

    def tasks():
        clones = seeded_clones(estimator, [seeds[i] for i in filled])
        for chunk in _chunks(filled, [sizes[i] * row_bytes for i in filled], width, most_bytes):
            jobs = [job(i, next(clones)) for i in chunk]
            yield delayed(_fit_chunk)(jobs, by_row, single, memory, chunk)

    # Heads train in less time than it takes to send their rows to another process.
    bare_heads = isinstance(trainer, LinearTrainer) and not isinstance(estimator, Pipeline)
    prefer = "threads" if bare_heads else None
    members = train_members(tasks(), filled, len(sizes), n_jobs, verbose, prefer)
    stored = memory.location is not None and isinstance(trainer, _NetTrainer)
    return StoredMembers(members) if stored else members


def _chunks(members, sizes, width, most_bytes):
    """Yield up to width members in a row, fewer where their rows are large."""
    chunk, total = [], 0
    for member, size in zip(members, sizes, strict=True):
        if chunk and (len(chunk) == width or total + size > most_bytes):
            yield chunk
            chunk, total = [], 0
        chunk.append(member)
        total += size
    if chunk:
        yield chunk


def in_turn(tasks, n_jobs, prefer=None):
    """Run tasks in parallel; results in order, each as it arrives if the backend can do that.

    Processes or threads, as `prefer` has it, unless the caller has chosen a backend.
    """
    backend, _ = get_active_backend(prefer=prefer)  # Ray's cannot
    how = "generator" if backend.supports_return_generator else "list"
    return Parallel(n_jobs=n_jobs, return_as=how, prefer=prefer)(tasks)


def train_members(tasks, filled, n_members, n_jobs, verbose, prefer=None):
    """Run tasks that return lists of members, those at the places in filled; None elsewhere."""
    members = [None] * n_members
    with one_thread, workers_may_stop():
        chunks = in_turn(tasks, n_jobs, prefer)
        results = progress(itertools.chain.from_iterable(chunks), len(filled), "fit", verbose)
        for i, member in zip(filled, results, strict=True):
            members[i] = member
    return members


@contextlib.contextmanager
def workers_may_stop():
    """Silence joblib's warning that it has replaced a worker whose memory grew.

    Importing torch is enough for that. Raised as an error, the warning ends the thread that
    waits for results, and the fit waits for ever.
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="A worker stopped while some jobs")
        yield


def _is_per_row(value, n):
    if not hasattr(value, "__len__") or isinstance(value, str | bytes | dict):
        return False
    if _num_samples(value) != n:
        # Passed on as it is, it would be cut as soon as an attacker makes n equal its length.
        raise ValueError(
            f"Fit parameters that are sequences need one entry a row, {n}, but one has "
            f"{_num_samples(value)}: make it a parameter of the estimator."
        )
    return True


class Job(NamedTuple):
    """What decides a member, and so the key of the cache."""

    estimator: Any  # unfitted, seeded
    X: Any  # in canonical order, as are y and the parameters that have an entry a row
    y: np.ndarray
    params: dict
    seed: int
    needed: bool  # whether the global generators are seeded


def _fit_chunk(jobs, by_row, single, memory, indices):
    """Put each member's rows in canonical order and train, or recall, the members."""
    with one_thread:
        if len(jobs) > 1:
            try:
                return train([_in_order(job, by_row, single) for job in jobs], memory)
            except Exception:  # one by one: what can be trained is kept, the error gets a name
                jobs = [job._replace(estimator=clone(job.estimator)) for job in jobs]
        return [
            _train_named(_in_order(job, by_row, single), memory, i)
            for job, i in zip(jobs, indices, strict=True)
        ]


def _in_order(job, by_row, single):
    order = canonical_order(job.X, job.y, *(job.params[name] for name in by_row))
    params = {k: take(v, order) if k in by_row else v for k, v in job.params.items()}
    X = plain_floats(take(job.X, order), single)
    return job._replace(X=X, y=take(job.y, order), params=params)


def _train_named(job, memory, index):
    try:
        return train([job], memory)[0]
    except Exception as error:
        error.add_note(
            f"Raised while training member {index} on its {len(job.y)} rows, with "
            f"{len(np.unique(job.y))} different labels. Where these are too few for the "
            "estimator, use a smaller n_partitions or an estimator that takes small sets."
        )
        raise


def train(jobs, memory):
    """Train members, side by side where the estimator can, or recall them from the cache.

    Parameters
    ----------
    jobs : list of Job
        Of one kind: all with parameters, or all without.
    memory : joblib.Memory

    Returns
    -------
    members : list
        Fitted estimators; for nets with a cache, references into it.
    """
    if memory.location is None:
        return _train_all(jobs)
    recall = memory.cache(_train, ignore=["ready"])
    missing = [i for i, job in enumerate(jobs) if not recall.check_call_in_cache(*job)]
    fresh = [_copied(jobs[i]) for i in missing]
    ready = dict(zip(missing, _train_all(fresh) if fresh else [], strict=True))
    nets = not jobs[0].params and isinstance(batch_trainer(jobs[0].estimator), _NetTrainer)
    recall = recall.call_and_shelve if nets else recall
    return [recall(*job, ready=ready.get(i)) for i, job in enumerate(jobs)]


def _copied(job):
    """Return a job to train, as the key of the cache is the untouched one."""
    return job._replace(
        estimator=clone(job.estimator), X=own_copy(job.X), params=copy.deepcopy(job.params)
    )


def _train(estimator, X, y, params, seed, needed, ready=None):
    """Train one member: a function of its rows and its seed. What `memory` caches."""
    return _train_all([Job(estimator, X, y, params, seed, needed)])[0] if ready is None else ready


def _train_all(jobs):
    trainer = None if jobs[0].params else batch_trainer(jobs[0].estimator)
    members, waiting = [], []
    for job in jobs:
        estimator, X, y = job.estimator, job.X, job.y
        if (y == y[0]).all():
            # Many classifiers refuse a single class; such a member has only one thing to say.
            members.append(DummyClassifier(strategy="prior").fit(np.zeros((1, 1)), y[:1]))
            continue
        members.append(estimator)
        if trainer is None:
            with global_seed(job.seed, job.needed):
                members[-1] = estimator.fit(X, y, **job.params)
            continue
        head = estimator
        if isinstance(estimator, Pipeline):
            head = estimator.steps[-1][1]
            if len(estimator) > 1:
                steps = estimator[:-1]
                with global_seed(job.seed, job.needed):
                    X = steps.fit_transform(X, y)
                estimator.steps[:-1] = steps.steps
        waiting.append((len(members) - 1, head, X, y))
    if waiting:
        places, heads, rows, labels = zip(*waiting, strict=True)
        for i, head in zip(places, trainer(heads, rows, labels), strict=True):
            if isinstance(members[i], Pipeline):
                members[i].steps[-1] = (members[i].steps[-1][0], head)
            else:
                members[i] = head
    return members


class _NetTrainer(NamedTuple):
    """Trains nets side by side, by their class's own ``fit_together``."""

    fit_together: Any
    width: int

    def __call__(self, heads, rows, labels):
        return self.fit_together(list(heads), list(rows), list(labels))


def batch_trainer(estimator):
    """Return what trains several members at once, or None where each is trained alone.

    By types and parameters alone: no row of an attacker chooses the way in which members are
    trained. A trainer gives every member, to the bit, what it gives to that member alone.
    """
    head = estimator
    if isinstance(estimator, Pipeline):
        if len(estimator) == 0 or estimator.memory is not None:
            return None
        head = estimator.steps[-1][1]
    if hasattr(type(head), "fit_together"):
        return _NetTrainer(type(head).fit_together, head.members_per_batch)
    return linear_trainer(head)


class StoredMembers(Sequence):
    """Members on disk, each loaded when it is asked for: thousands of nets exceed the memory.

    Parameters
    ----------
    results : list
        References into the cache; None for a member without rows.
    n_steps : int, default=None
        How many steps at the start of each pipeline are left out; None: the member as trained.
    """

    def __init__(self, results, n_steps=None):
        self.results, self.n_steps = results, n_steps

    def __len__(self):
        return len(self.results)

    def __getitem__(self, index):
        if isinstance(index, slice):
            return StoredMembers(self.results[index], self.n_steps)
        result = self.results[index]
        if result is None:
            return None
        try:
            member = result.get()
        except (KeyError, OSError) as error:
            raise RuntimeError(
                f"Member {index} is no longer in the folder that memory= names. Fit again: only "
                "the members that are missing there are trained."
            ) from error
        return member if self.n_steps is None else without_steps(member, self.n_steps)

    def without_steps(self, n_steps):
        """Return the same members without the first steps of their pipelines."""
        return StoredMembers(self.results, n_steps)


def without_steps(member, n_steps):
    """Return what is left of a fitted pipeline, the bare estimator if that is one step."""
    if not isinstance(member, Pipeline):
        return member
    rest = member[n_steps:]
    return rest.steps[0][1] if len(rest) == 1 else rest
