"""Seed, train, cache and ask members: the one place that runs clones."""

import copy
import itertools

import numpy as np
from joblib import effective_n_jobs
from sklearn.base import clone
from sklearn.dummy import DummyClassifier
from sklearn.linear_model import RidgeClassifier
from sklearn.pipeline import Pipeline
from sklearn.utils import get_tags
from sklearn.utils.parallel import Parallel, delayed
from sklearn.utils.validation import _num_samples, check_memory
from tqdm.auto import tqdm

from ._containers import n_rows, own_copy, take
from ._deterministic import (
    draws_globally,
    global_seed,
    is_net,
    one_thread,
    plain_floats,
    seeded_clones,
)
from ._linear import fit_ridge, is_linear, is_plain_ridge, linear_ballots, linear_scores
from ._rows import canonical_order

# Members are asked about test rows in blocks of this many, the last one filled up: a row's
# ballot must not depend on how many rows stand beside it, at exact ties either.
BLOCK_ROWS = 256
_SPAN_BYTES = 1 << 27


def progress(results, total, what, verbose):
    """Show a bar over results as they arrive if verbose."""
    return tqdm(results, total=total, desc=what, unit="member", disable=not verbose)


# ---------------------------------------------------------------- training


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
    members : list
        Fitted estimators; None for a member without rows.
    """
    memory = check_memory(memory)
    single, needed = is_net(estimator), draws_globally(estimator)
    n = n_rows(X)
    by_row = {name for name, value in params.items() if _is_per_row(value, n)}

    def tasks():
        clones = seeded_clones(estimator, seeds)
        for i, (rows, member) in enumerate(zip(rows_of_member, clones, strict=True)):
            if len(rows):
                own = {k: take(v, rows) if k in by_row else copy.deepcopy(v)
                       for k, v in params.items()}  # fmt: skip
                yield delayed(_fit_member)(
                    member, take(X, rows), take(y, rows), own, sorted(by_row),
                    seeds[i], single, needed, memory, i,
                )  # fmt: skip

    return train_members(tasks(), rows_of_member, n_jobs, verbose)


def train_members(tasks, rows_of_member, n_jobs, verbose):
    """Run one task for each member that has rows; None stands for the others."""
    filled = [i for i, rows in enumerate(rows_of_member) if len(rows)]
    members = [None] * len(rows_of_member)
    with one_thread:
        results = Parallel(n_jobs=n_jobs, return_as="generator")(tasks)
        for i, member in zip(filled, progress(results, len(filled), "fit", verbose), strict=True):
            members[i] = member
    return members


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


def _fit_member(estimator, X, y, params, by_row, seed, single, needed, memory, index):
    """Put the rows in canonical order and train on them, or recall the result."""
    order = canonical_order(X, y, *(params[name] for name in by_row))
    X, y = plain_floats(take(X, order), single), take(y, order)
    params = {k: take(v, order) if k in by_row else v for k, v in params.items()}
    with one_thread:
        try:
            train = _train if memory.location is None else memory.cache(_train)
            return train(estimator, X, y, params, seed, needed)
        except Exception as error:
            error.add_note(
                f"Raised while training member {index} on its {len(y)} rows, with "
                f"{len(np.unique(y))} different labels. Where these are too few for the "
                "estimator, use a smaller n_partitions or an estimator that takes small sets."
            )
            raise


def _train(estimator, X, y, params, seed, needed):
    """Train one member: a function of its rows and its seed. What `memory` caches."""
    if len(np.unique(y)) == 1:
        # Many classifiers refuse a single class; such a member has only one thing to say.
        return DummyClassifier(strategy="prior").fit(np.zeros((1, 1)), y[:1])
    with global_seed(seed, needed):
        if params:
            return estimator.fit(X, y, **params)
        head = estimator
        if isinstance(estimator, Pipeline) and len(estimator) > 1 and estimator.memory is None:
            if type(estimator[-1]) is not RidgeClassifier:
                return estimator.fit(X, y)
            steps = estimator[:-1]
            X, head = steps.fit_transform(X, y), estimator[-1]
            estimator.steps[:-1] = steps.steps
        if is_plain_ridge(head, X):
            fit_ridge(head, X, y)
        else:
            head.fit(X, y)
        return estimator


# ---------------------------------------------------------------- ballots


def iter_ballots(members, seen, classes, X, **how):
    """Yield ``(rows, ballots)`` for spans of test rows.

    Parameters
    ----------
    members : list
        As :func:`fit_members` returns them.
    seen : ndarray of shape (n_members, n_classes), bool
        The classes that a member may vote for; other answers are abstentions.
    classes : ndarray of shape (n_classes,)
        Sorted labels.
    X : test rows
    **how
        `steps` (of :func:`stateless_steps`), `single` (whether members take single precision,
        see `plain_floats`), `n_jobs` and `verbose`.

    Yields
    ------
    rows : slice
    ballots : ndarray of shape (n_rows, n_members), int16 or int32
        Class index, or -1 for an abstention.
    """
    dtype = np.dtype(np.int16 if len(classes) < 2**15 else np.int32)

    def ask(voters, blocks, n_jobs, verbose):
        if is_linear(voters):
            return linear_ballots(voters, classes, blocks, dtype, n_jobs)
        return _ask_all(_predicted, voters, seen, classes, blocks, (), dtype, n_jobs, verbose)

    yield from _iter_spans(ask, members, X, dtype.itemsize * len(members), **how)


def iter_scores(members, seen, classes, X, **how):
    """Yield ``(rows, scores)`` for spans of test rows, parameters as in :func:`iter_ballots`.

    Yields
    ------
    rows : slice
    scores : ndarray of shape (n_rows, n_members, n_classes), float
        By decision_function, else predict_proba; -inf for a class that a member may not
        vote for, and throughout for a missing member.
    """

    def ask(voters, blocks, n_jobs, verbose):
        if is_linear(voters):
            return linear_scores(voters, classes, blocks, n_jobs)
        return _ask_all(
            _scored, voters, seen, classes, blocks, (len(classes),), np.float64, n_jobs, verbose
        )

    yield from _iter_spans(ask, members, X, 8 * len(members) * len(classes), **how)


def _iter_spans(ask, members, X, row_bytes, *, steps, single, n_jobs, verbose=0):
    """Yield what members answer, some blocks of test rows at a time."""
    n = n_rows(X)
    span = BLOCK_ROWS * max(1, _SPAN_BYTES // (row_bytes * BLOCK_ROWS))
    voters = [_without_steps(member, len(steps)) for member in members]
    linear = is_linear(voters)
    with one_thread:
        for start in range(0, n, span):
            stop = min(start + span, n)
            blocks = [
                take(X, np.minimum(np.arange(s, s + BLOCK_ROWS), stop - 1))
                for s in range(start, stop, BLOCK_ROWS)
            ]
            if steps:
                blocks = Parallel(n_jobs=n_jobs, require="sharedmem")(
                    delayed(_transform)(steps, plain_floats(block, single)) for block in blocks
                )
            if not linear:
                blocks = [plain_floats(block, single) for block in blocks]
            yield slice(start, stop), ask(voters, blocks, n_jobs, verbose)[: stop - start]


def stateless_steps(estimator):
    """Return fresh copies of the steps at the start of a pipeline that learn nothing.

    Every member would give the same features, so these run once a block of test rows instead
    of once a member. The copies are unfitted: no member's rows can speak through them.
    (In training each member runs them on its own rows: a function given as a step may look at
    more than one row.)
    """
    steps = []
    if isinstance(estimator, Pipeline):
        for _, step in estimator.steps[:-1]:
            if step == "passthrough":
                steps.append(step)
                continue
            if step is None or get_tags(step).requires_fit or "random_state" in step.get_params():
                break
            steps.append(clone(step))
    return steps


def _transform(steps, X):
    for step in steps:
        X = X if step == "passthrough" else step.transform(X)
    return X


def _without_steps(member, n_steps):
    """Return what is left of a fitted pipeline, the bare estimator if that is one step."""
    if not isinstance(member, Pipeline):
        return member
    rest = member[n_steps:]
    return rest.steps[0][1] if len(rest) == 1 else rest


def _ask_all(answer, voters, seen, classes, blocks, shape, dtype, n_jobs, verbose):
    """Ask every member, some members a task."""
    n_tasks = min(len(voters), 4 * effective_n_jobs(n_jobs))
    bounds = np.linspace(0, len(voters), n_tasks + 1).astype(int)
    answers = np.empty((len(blocks) * BLOCK_ROWS, len(voters), *shape), dtype=dtype)
    parallel = Parallel(n_jobs=n_jobs, return_as="generator")
    results = parallel(
        delayed(_ask)(answer, voters[a:b], seen[a:b], classes, blocks, shape, dtype)
        for a, b in itertools.pairwise(bounds)
    )
    with progress(None, len(voters), "ask", verbose) as bar:
        for a, b, result in zip(bounds[:-1], bounds[1:], results, strict=True):
            answers[:, a:b] = result
            bar.update(b - a)
    return answers


def _ask(answer, voters, seen, classes, blocks, shape, dtype):
    missing = -np.inf if shape else -1
    out = np.full((len(blocks), BLOCK_ROWS, len(voters), *shape), missing, dtype=dtype)
    with one_thread:
        for j, voter in enumerate(voters):
            if voter is not None:
                for b, block in enumerate(blocks):
                    # A copy each: a step with copy=False hands its numbers to the next member.
                    out[b, :, j] = answer(voter, own_copy(block), classes, seen[j])
    return out.reshape(-1, len(voters), *shape)


def _predicted(voter, block, classes, seen):
    """Return class indices; -1 for a label that the member may not vote for."""
    labels = voter.predict(block)
    codes = np.minimum(np.searchsorted(classes, labels), len(classes) - 1)
    return np.where((classes[codes] == labels) & seen[codes], codes, -1)


def _scored(voter, block, classes, seen):
    """Return one score a class; -inf for a class that the member may not vote for."""
    # A constant member has no decision_function; its shares rank its one class first.
    method = "decision_function" if hasattr(voter, "decision_function") else "predict_proba"
    if not hasattr(voter, method):
        raise ValueError(
            "aggregation='run_off' ranks classes by scores, but the estimator has neither "
            "decision_function nor predict_proba; use aggregation='plurality'."
        )
    given = np.asarray(getattr(voter, method)(block), dtype=np.float64)
    if given.ndim == 1:  # the sign decides between two classes
        given = np.column_stack([np.zeros_like(given), given])
    own = voter.classes_
    if given.shape[1] != len(own):
        raise ValueError(
            f"aggregation='run_off' needs one score a class, but {method} returned "
            f"{given.shape[1]} columns for {len(own)} classes; choose one-vs-rest scores."
        )
    codes = np.minimum(np.searchsorted(classes, own), len(classes) - 1)
    known = (classes[codes] == own) & seen[codes]
    scores = np.full((len(given), len(classes)), -np.inf)
    scores[:, codes[known]] = np.where(np.isnan(given), -np.inf, given)[:, known]
    return scores


def first_choices(scores):
    """Return the ballots that scores amount to; -1 for a member without any score.

    Parameters
    ----------
    scores : ndarray of shape (n_samples, n_members, n_classes)

    Returns
    -------
    ballots : ndarray of shape (n_samples, n_members), int
        The class with the best score, ties to the smaller index.
    """
    best = scores.argmax(axis=2)
    return np.where(scores.max(axis=2) > -np.inf, best, -1)


def count_votes(ballots, n_classes):
    """Return the number of ballots for each class.

    Parameters
    ----------
    ballots : ndarray of shape (n_samples, n_members), int
        Class indices, -1 for an abstention.
    n_classes : int

    Returns
    -------
    vote_counts : ndarray of shape (n_samples, n_classes), int64
    """
    counts = np.empty((len(ballots), n_classes), dtype=np.int64)
    for c in range(n_classes):
        counts[:, c] = np.count_nonzero(ballots == c, axis=1)
    return counts
