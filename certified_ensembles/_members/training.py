"""Seed, train and cache members: the one place that fits clones."""

import copy
import itertools
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from joblib import effective_n_jobs, parallel_config
from sklearn.base import clone
from sklearn.pipeline import Pipeline
from sklearn.utils.validation import _num_samples

from .._data.containers import own_copy
from .._data.training_rows import member_order, rows_of_member
from .._deterministic import global_seed, one_thread
from .._jobs import in_turn, progress, workers_may_stop
from .._linear import LinearTrainer, linear_trainer
from .._linear.affine import fit_steps
from .._linear.scoring import has_finite_weights
from .._member_warnings import in_name_of, listening, taking_notes
from .._spec import Outcome, cache_report, content_key, fit_seeded
from .constant import ConstantMember
from .dead_workers import UnderWay
from .failures import Failure, training_note

# Rows that are in memory at once for members trained side by side: of linear heads in double
# precision, of nets as they are.
_CHUNK_BYTES, _NET_CHUNK_BYTES = 1 << 26, 1 << 30


class Trained(NamedTuple):
    """What comes out of a fit.

    Attributes
    ----------
    members : list
        Fitted estimators; None for a member without rows, and for one that failed. A `Shelved`
        stands for a net that stays in the cache.
    errors : dict of int to Exception
        By place, why members failed.
    notes : list of Note
        The warnings of the members.
    """

    members: Any
    errors: dict
    notes: list


def fit_members(
    spec, X, y, rows, seeds, params, *, n_jobs, verbose, abstain=False, numbers=None, first=0
):
    """Train one member on each set of rows.

    Parameters
    ----------
    spec : MemberSpec
        Says what is cloned for each member.
    X : Table, or list of Table
        A list holds the columns of blocks: member ``i * n_blocks + j`` sees those of block j.
    y : ndarray of shape (n_train,)
        Labels.
    rows : list of ndarray of int
        Indices of each member's rows, in any order.
    seeds : sequence of int
        The seed of each member.
    params : dict
        Further arguments of ``estimator.fit``; those as long as X are cut like X.
    n_jobs, verbose
        As in the estimators.
    abstain : bool, default=False
        Whether a member that cannot be trained is left out; else its error is raised.
    numbers : ndarray of shape (n_train,), int, default=None
        How an error calls the rows; None: by their place.
    first : int, default=0
        How many members of the ensemble come before these: errors and warnings call them by their
        place among all.

    Returns
    -------
    trained : Trained
    views : list of View
        The form in which each member got its rows, and is to get test rows.
    """
    tables = X if isinstance(X, list) else [X]
    by_row = names_by_row(params, len(y))
    common = [spec.common_view(table) for table in tables]
    views = common * (len(rows) // len(tables))
    sizes = [len(own) for own in rows]
    filled = [i for i, size in enumerate(sizes) if size]
    trainer = None if params else batch_trainer(spec.estimator)
    width, most_bytes = 1, _CHUNK_BYTES
    row_bytes = [table.row_bytes for table in tables]
    if trainer is not None:
        n_workers = effective_n_jobs(n_jobs)
        # Heads are cheap to cut: several chunks a worker, so that all end at about one time.
        n_chunks = 4 * n_workers if isinstance(trainer, LinearTrainer) else n_workers
        width = min(trainer.width, max(1, -(-len(filled) // n_chunks)))
        filled.sort(key=sizes.__getitem__)  # members with as many rows fill a stack
    filled.sort(key=lambda i: i % len(tables))  # and those of one table are trained together
    if isinstance(trainer, _NetTrainer):
        row_bytes = [t.row_bytes * t.dense.dtype.itemsize // 8 for t in tables]
        most_bytes = _NET_CHUNK_BYTES

    def job(i, member):
        table = tables[i % len(tables)]
        own = rows_of_member(table, y, own_params(params, by_row), by_row, rows[i])
        if views[i] is None:
            views[i] = spec.view(own[0])
        names = rows[i] if numbers is None else numbers[rows[i]]
        return Job.of(spec, member, *own, seeds[i]), views[i], names

    def calls():
        clones = spec.clones([seeds[i] for i in filled])
        for j, own in itertools.groupby(filled, lambda i: i % len(tables)):
            own = list(own)
            bounds = [sizes[i] * row_bytes[j] for i in own]
            for chunk in _chunks(own, bounds, width, most_bytes):
                jobs = [job(i, next(clones)) for i in chunk]
                yield chunk, (jobs, by_row, spec, [first + i for i in chunk], abstain)

    # Heads train in less time than it takes to send their rows to another process.
    bare_heads = isinstance(trainer, LinearTrainer) and type(spec.estimator) is not Pipeline
    prefer = "threads" if bare_heads else None
    trained = train_members(_fit_chunk, calls(), filled, len(sizes), n_jobs, verbose, prefer)
    if tables is X or common == [
        None
    ]:  # nobody is asked in the view of a member that is not there
        for i, size in enumerate(sizes):
            if size == 0 or i in trained.errors:
                views[i] = None
    return trained, views


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


def train_members(train_some, calls, filled, n_members, n_jobs, verbose, prefer=None):
    """Train the members at the places in filled.

    Parameters
    ----------
    train_some : callable
        Returns a list of the outcomes of some members, and their warnings.
    calls : iterable of (list of int, tuple)
        The places of some members, and the arguments with which they are trained.
    filled : list of int
        The places of the members, in the order of the calls.
    n_members : int
    n_jobs, verbose
        As in the estimators.
    prefer : {"threads"} or None, default=None
        As in :func:`~certified_ensembles._jobs.in_turn`.

    Returns
    -------
    trained : Trained
    """
    members, errors, notes, under_way = [None] * n_members, {}, [], UnderWay()

    def one_by_one(chunks):
        for chunk, own in chunks:
            notes.extend(own)
            yield from chunk

    with cache_report() as report, one_thread(), workers_may_stop(n_jobs), listening():
        sent = under_way.sending(calls)
        chunks = one_by_one(in_turn(train_some, sent, n_jobs, prefer=prefer))
        results = progress(under_way.coming_back(chunks), len(filled), "fit", verbose)
        with under_way.named_in_errors():
            for i, result in zip(filled, counting_kept(results, report), strict=True):
                if isinstance(result, Failure):
                    errors[i] = result.error
                else:
                    members[i] = result
    return Trained(members, dict(sorted(errors.items())), notes)


def refuse_if_none_works(trained):
    """Return what was trained, or raise the first error if no member could be."""
    members, errors, _ = trained
    if errors and all(member is None for member in members):
        error = errors[min(errors)]
        error.add_note(f"None of the {len(errors)} members could be trained.")
        raise error
    return trained


def counting_kept(bar, report):
    """Yield the members of outcomes; the bar says how many came out of the cache."""
    n_kept = 0
    for outcome in bar:
        report.note(outcome, "member")
        if outcome.was_kept:
            n_kept += 1
            bar.set_postfix_str(f"{n_kept} from the cache", refresh=False)
        yield outcome.value


def names_by_row(params, n):
    """Return the names of those arguments of ``fit`` that have one entry for each of n rows."""
    return {name for name, value in params.items() if _is_per_row(value, n)}


def own_params(params, by_row):
    """Return the arguments of ``fit`` for one member: a copy of what is not cut like rows."""
    return {k: v if k in by_row else copy.deepcopy(v) for k, v in params.items()}


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
    # A Table, and from `_in_order` on what the member gets: in canonical order, as are y and the
    # parameters that have an entry a row.
    X: Any
    y: np.ndarray
    params: dict
    seed: int
    seeds_global_rng: bool
    recipe: Any  # a `Recipe`, which stands for the estimator in the key; None without a cache
    is_regression: bool = False

    @classmethod
    def of(cls, spec, member, X, y, params, seed):
        """Return the job to train a clone of a specification."""
        draws, is_regression = spec.seeds_global_rng, spec.is_regression
        if is_regression and spec.float32:  # nets take columns of single precision
            with np.errstate(over="ignore"):
                y = y.astype(np.float32)[:, None]
        return cls(member, X, y, params, seed, draws, spec.recipe, is_regression)

    @property
    def key(self):
        """What the cache looks at."""
        kind = "_train_regressor" if self.is_regression else "_train"
        return f"{kind}/{content_key(self.recipe.key, *self[1:6])}"


def _fit_chunk(jobs, by_row, spec, indices, abstain):
    """Put each member's rows in canonical order and train, or recall, the members.

    Returns
    -------
    members : list of Outcome
        With `abstain` a `Failure` in the place of a member that cannot be trained.
    notes : list of Note
        Their warnings.
    """
    with one_thread(), taking_notes() as notes:
        if len(jobs) > 1:
            try:
                members = train([_in_order(*job[:2], by_row) for job in jobs], spec.store)
                notes = [note.among(indices) for note in notes]
                return _judged(members) if abstain else members, notes
            except Exception:  # one by one: what can be trained is kept, the error gets a name
                jobs = [(j._replace(estimator=clone(j.estimator)), *how) for j, *how in jobs]
                notes.clear()
        members = []
        for (job, view, numbers), i in zip(jobs, indices, strict=True):
            with in_name_of(i):
                members += attempt(
                    partial(_train_alone, job, view, by_row, spec.store),
                    partial(
                        training_note, i, job.estimator, job.X, job.y, numbers, job.is_regression
                    ),
                    abstain,
                )
        return members, notes


def _train_alone(job, view, by_row, store):
    return train([_in_order(job, view, by_row)], store)


def _in_order(job, view, by_row):
    """Return a job with its rows in canonical order, in the form in which the member gets them."""
    order = member_order(job.X, job.y, job.params, by_row)
    X, y, params = rows_of_member(job.X, job.y, job.params, by_row, order)
    return job._replace(X=view.hand_out(X), y=y, params=params)


def attempt(train_one, note, abstain):
    """Return a list of the outcome of training one member, or of its `Failure`.

    Parameters
    ----------
    train_one : callable
        Returns the outcome in a list.
    note : callable
        Returns what is added to an error.
    abstain : bool
        Whether an error is returned, as a `Failure`; else it is raised.
    """
    try:
        members = train_one()
    except Exception as error:
        error.add_note(note())
        # How much memory there is depends on the machine, and not on the member's rows alone.
        if not abstain or isinstance(error, MemoryError):
            raise
        return [Outcome(Failure.of(error))]
    return _judged(members) if abstain else members


def _judged(outcomes):
    """Return outcomes, without members that are spoilt."""
    members = _without_spoilt([outcome.value for outcome in outcomes])
    return [old._replace(value=new) for old, new in zip(outcomes, members, strict=True)]


def _without_spoilt(members):
    """Return members, with a `Failure` for those whose coefficients are no numbers."""
    spoilt = "Training ended with coefficients that are not finite numbers."
    return [m if has_finite_weights(m) else Failure(ValueError(spoilt)) for m in members]


def train(jobs, store):
    """Train members, side by side where the estimator can, or recall them from the cache.

    Parameters
    ----------
    jobs : list of Job
        Of one kind: all with parameters, or all without.
    store : FolderStore, ForeignStore or None
        The cache.

    Returns
    -------
    members : list of Outcome
        With fitted estimators; nets with a cache stay there.
    """
    if store is None:
        return [Outcome(member) for member in _train_all(jobs)]
    names = [job.key for job in jobs]
    nets = not jobs[0].params and isinstance(batch_trainer(jobs[0].estimator), _NetTrainer)
    members = [store.find(name, shelved=nets) for name in names]
    missing = [i for i, member in enumerate(members) if member.value is None]
    fresh = _train_all([_copied(jobs[i]) for i in missing]) if missing else []
    how = {"by_value": jobs[0].recipe.has_own_code, "shelved": nets}
    own = store.put_all([names[i] for i in missing], fresh, [members[i] for i in missing], **how)
    for i, member in zip(missing, own, strict=True):
        members[i] = member
    return members


def _copied(job):
    """Return a job to train, which leaves alone what the caller may want again."""
    return job._replace(
        estimator=clone(job.estimator), X=own_copy(job.X), params=copy.deepcopy(job.params)
    )


def _train_all(jobs):
    trainer = None if jobs[0].params else batch_trainer(jobs[0].estimator)
    members, waiting = [], []
    for job in jobs:
        estimator, X, y = job.estimator, job.X, job.y
        if not job.is_regression and (y == y[0]).all():
            # Many classifiers refuse a single class; such a member has only one thing to say.
            members.append(ConstantMember.of(y[:1]))
            continue
        members.append(estimator)
        if trainer is None:
            members[-1] = fit_seeded(*job[:6])
            continue
        head = estimator
        if type(estimator) is Pipeline:
            head = estimator.steps[-1][1]
            if len(estimator) > 1:
                with global_seed(job.seed, job.seeds_global_rng), parallel_config(n_jobs=1):
                    X = fit_steps(estimator, X, y)
        waiting.append((len(members) - 1, head, X, y))
    if waiting:
        places, heads, rows, labels = zip(*waiting, strict=True)
        for i, head in zip(places, trainer(heads, rows, labels), strict=True):
            if type(members[i]) is Pipeline:
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
    trained. A trainer gives every member, to the bit, what it gives to that member alone. A
    subclass of `Pipeline` (those of resamplers are) has a ``fit`` of its own, and runs it.
    """
    head = estimator
    if type(estimator) is Pipeline:
        if len(estimator) == 0 or estimator.memory is not None:
            return None
        head = estimator.steps[-1][1]
    if hasattr(type(head), "fit_together"):
        return _NetTrainer(type(head).fit_together, head.members_per_batch)
    return linear_trainer(head)
