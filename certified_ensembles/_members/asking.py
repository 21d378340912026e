"""Ask members about test rows, of whatever kind their answers are, a block of rows at a time."""

import itertools
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from joblib import effective_n_jobs, parallel_config
from sklearn.base import clone
from sklearn.pipeline import Pipeline
from sklearn.utils import get_tags

from .._data.array_api import is_on_device
from .._data.block_map import padded_blocks
from .._data.blocks import BLOCK_ROWS
from .._data.containers import own_copy
from .._deterministic import global_seed, one_thread, reseed, seeded
from .._jobs import in_turn, progress, run_here, workers_may_stop
from .._linear.device import SPAN_BYTES, block_rows, device_blocks
from .._linear.scoring import is_folded, is_linear
from .failures import answers_or_missing, mended_blocks, noting_failures, shaped_parts
from .panels import all_in_panels
from .stored import StoredMembers, without_steps
from .trees import never_writes, with_checked_rows
from .words import with_shared_words

# Bytes of answers and rows at once, and of a row of whose size little is known: a text, say.
_SPAN_BYTES, _OTHER_ROW_BYTES = 1 << 27, 1 << 10


class Silent(NamedTuple):
    """What a member answers to a row that it cannot answer: the form of all answers.

    Attributes
    ----------
    missing : number
    dtype : dtype
    shape : tuple of int
    """

    missing: float
    dtype: Any
    shape: tuple = ()

    def of(self, *shape):
        """Return the answers of members that have not been asked yet."""
        return np.full((*shape, *self.shape), self.missing, dtype=self.dtype)


def by_member(parts, n_members, missing):
    """Return the answers of all members side by side; `missing` for those that nobody asked."""
    (places, first), *_ = parts
    if len(places) == n_members:
        return first
    dtype = np.result_type(*(part.dtype for _, part in parts))  # no member's scores are rounded
    out = np.full((len(first), n_members, *first.shape[2:]), missing, dtype=dtype)
    for own, part in parts:
        out[:, own] = part if part.shape[1] == len(own) else part[:, own]
    return out


def iter_spans(
    ask,
    members,
    X,
    row_bytes,
    missing,
    *,
    steps,
    views,
    fewest,
    shared_rows,
    n_jobs,
    verbose=0,
    on_error=None,
    seeds=None,
    steps_seed=None,
):
    """Yield ``(places of members, their answers)`` of all views, some blocks at a time.

    With ``on_error="abstain"`` the answers are `missing` where there are none.
    """
    on_device = is_on_device(X)
    size, most_bytes = (block_rows(X), SPAN_BYTES) if on_device else (BLOCK_ROWS, _SPAN_BYTES)
    row_bytes += 8 * X.shape[1] if on_device else X.row_bytes or _OTHER_ROW_BYTES
    span = size * max(1, most_bytes // (row_bytes * size))
    voters, linear = _voters(members, steps)
    groups = _by_view(voters, views)
    transform = partial(_transform, steps)
    if steps and seeds is not None:
        transform = seeded(transform, seeds[0] if steps_seed is None else steps_seed)
    shared = (transform, n_jobs if steps else 1)
    n = X.shape[0] if on_device else len(X)

    @one_thread()  # never held across a yield: another thread may end a generator
    def answers_from(start):
        stop = min(start + span, n)
        if on_device:
            blocks = device_blocks(X, start, stop)
        else:
            blocks = padded_blocks(X, start, stop, None if linear else fewest)
        parts = []
        for view, places in groups:
            own = _own_voters(voters, places, linear)
            how = {"n_asked": stop - start, "n_jobs": n_jobs, "verbose": verbose and one}
            asked = partial(ask, own, places, linear, on_error=on_error, **how)
            if on_device:
                answers = asked(blocks)
            elif linear:
                view = view if steps else _in_own_precision(view, X)
                instead = missing if on_error == "abstain" else None
                answers = _by_products(asked, own, blocks, view, *shared, instead)
            else:
                abstain = on_error == "abstain" and bool(steps)
                shaped = _shaped(blocks, view, *shared, abstain, fewest)
                how = {"fewest": fewest, "shared_rows": shared_rows, "seeds": seeds}
                answers = asked(shaped, size=len(blocks[0]), **how)
            parts.append((places, answers[: stop - start]))
        return parts

    spans = range(0, n, span)
    one = len(spans) == 1  # then the bar counts members
    parts, bar = map(answers_from, spans), verbose and not one
    yield from progress(parts, len(spans), "ask", bar, unit="span")


def _by_view(voters, views):
    """Return ``(view, places of the members that share it)`` of every view."""
    first, places = views[0], np.arange(len(voters))
    if all(view is first for view in views):
        return [(first, places)]
    groups = {}
    for i, view in enumerate(views):
        if view is not None:  # a member without rows is not asked
            groups.setdefault(view, []).append(i)
    return [(view, np.array(own)) for view, own in groups.items()]


def _own_voters(voters, places, linear):
    """Return the members of one view to ask.

    Linear members share a product whose shape follows from the number of all members: those of
    another view are left out of it, as missing ones are, so that a view of one member's own
    does not change the shape in which the others answer.
    """
    if len(places) == len(voters):
        return voters
    if linear:
        own = set(places.tolist())
        return [voter if i in own else None for i, voter in enumerate(voters)]
    return [voters[i] for i in places]


def _in_own_precision(view, table):
    """Return a view that leaves single precision to test rows that came in it.

    Their products take half the time. The type of an array of test rows is declared: no
    training row has a part in it.
    """
    if table.coded or table.dense.dtype != np.float32 or view.kinds is not None:
        return view
    return replace(view, dtype=np.dtype(np.float32))


def _by_products(ask, voters, blocks, view, transform, n_jobs, missing):
    """Return what linear members of one view answer about blocks of test rows.

    Rows that cannot be multiplied get the answer `missing`; with None they are an error.
    """
    try:
        return ask(_joined(blocks, view, transform, n_jobs))
    except Exception:
        if missing is None:
            raise
    mended, known = mended_blocks(blocks, view, transform, voters)
    answers = ask(mended)
    answers[~known[: len(answers)]] = missing
    return answers


def _joined(blocks, view, transform, n_jobs):
    """Return blocks of test rows as linear members of one view get them, behind shared steps."""

    @one_thread()
    def shape(block):
        return view.answers(transform, block)

    return _mapped(shape, blocks, n_jobs)


def _shaped(blocks, view, transform, n_jobs, abstain, fewest):
    """Return blocks of test rows as members of one view get them, behind the steps they share.

    Of each block a list of ``(index, rows)``, as `View.shaped` yields them. With `abstain` rows
    that a step refuses are in none of them.
    """

    @one_thread()
    def shape(block):
        if not abstain:
            return [(index, transform(rows)) for index, rows in view.shaped(block)]
        return shaped_parts(transform, view, block, fewest)

    return _mapped(shape, blocks, n_jobs)


def _mapped(shape, blocks, n_jobs):
    return list(in_turn(shape, [(block,) for block in blocks], n_jobs, require="sharedmem"))


def _voters(members, steps):
    """Return members without the steps that all share, and whether all are linear."""
    if isinstance(members, StoredMembers):  # nets: loaded when they are asked, some at a time
        return members.without_steps(len(steps)), False
    if Pipeline in set(map(type, members)):
        members = [_behind(member, len(steps)) for member in members]
    return members, is_linear(members)


def _behind(member, n_steps):
    """Return a member without its first steps; none is left out of a pipeline of several."""
    if n_steps == 0 and isinstance(member, Pipeline) and len(member) > 1:
        return member  # a slice would be a new pipeline
    return without_steps(member, n_steps)


def are_linear(members, steps):
    """Say whether members answer by products, behind the steps that all share."""
    return _voters(members, steps)[1]


def take_device_rows(members, steps):
    """Say whether members answer where the test rows are: linear ones that get them as given."""
    return not steps and _voters(members, steps)[1] and not is_folded(members)


def stateless_steps(estimator):
    """Return fresh copies of the steps at the start of a pipeline that learn nothing.

    Every member would give the same features, so these run once a block of test rows instead
    of once a member. The copies are unfitted: no member's rows can speak through them.
    (In training each member runs them on its own rows: a function given as a step may look at
    more than one row.)
    """
    steps = []
    if type(estimator) is Pipeline:  # a subclass may transform in its own way
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


def ask_all(answer, voters, known, blocks, silent, n_jobs, *, verbose, seeds, **how):
    """Ask every member, some members a task, about blocks of `size` rows.

    Parameters
    ----------
    answer : callable
        ``answer(member, rows, classes, seen, scores)`` is what one member says.
    voters : sequence
        The members; None where one is missing.
    known : tuple
        The classes that each of them may vote for, all classes, and the members' places.
    blocks : list of list of (index, rows)
    silent : Silent
    n_jobs : int or None
    **how
        As in :func:`iter_spans`; `size` is the number of rows of a block.

    Returns
    -------
    answers : ndarray of shape (n_rows, n_members, ...)
    """
    seen, classes, places = known
    own_seeds = None if seeds is None else [seeds[i] for i in places]
    how["width"] = _asked_at_once(voters)
    if run_here(n_jobs) and not verbose:
        return _ask(answer, voters, known, own_seeds, blocks, silent, **how)
    n_groups = -(-len(voters) // how["width"])
    n_tasks = min(n_groups, 4 * effective_n_jobs(n_jobs))
    bounds = np.linspace(0, n_groups, n_tasks + 1).astype(int) * how["width"]
    bounds[-1] = len(voters)
    answers = silent.of(len(blocks) * how["size"], len(voters))
    # Labels in a tuple: Dask would send an array ahead of the task and lose it with a worker.
    calls = (
        (
            answer,
            voters[a:b],
            (seen[a:b], classes, places[a:b]),
            None if own_seeds is None else own_seeds[a:b],
            blocks,
            silent,
        )
        for a, b in itertools.pairwise(bounds)
    )
    results = in_turn(_ask, calls, n_jobs, **how)
    with workers_may_stop(n_jobs), progress(None, len(voters), "ask", verbose) as bar:
        for a, b, result in zip(bounds[:-1], bounds[1:], results, strict=True):
            answers[:, a:b] = result
            bar.update(b - a)
    return answers


def _asked_at_once(voters):
    """Return how many members answer in one call: nets that were trained side by side do."""
    for voter in voters:
        if hasattr(type(voter), "scores_together"):
            return voter.members_per_batch
    return 1


def _ask(
    answer,
    voters,
    known,
    seeds,
    blocks,
    silent,
    *,
    size,
    width,
    on_error,
    fewest,
    shared_rows,
):
    seen, classes, places = known
    missing, out = silent.missing, silent.of(len(blocks), size, len(voters))
    stored = isinstance(voters, StoredMembers)  # nets, each loaded when it is its turn
    if not stored:
        voters = with_shared_words(voters)
        given, (voters, blocks) = voters, with_checked_rows(voters, blocks)
        if voters is not given:  # trees, which draw nothing: other threads may have the generators
            seeds = None
        elif fewest is not None:
            voters = all_in_panels(voters, blocks)
    # A copy each: a step with copy=False hands its numbers to the next member.
    writes = stored or not (shared_rows or all(map(never_writes, voters)))
    parts = [(b, *part) for b, block in enumerate(blocks) for part in block]
    # Inside a member nothing runs in parallel, whatever the caller has set for all of joblib.
    with one_thread(), parallel_config(n_jobs=1), global_seed(0, seeds is not None):
        for start in range(0, len(voters), width):
            some = list(voters[start : start + width])
            for b, index, block in parts:
                together = _scores_together(some, block, on_error)
                for j, voter in enumerate(some, start):
                    if voter is None:
                        continue
                    seed = None if seeds is None else seeds[j]
                    ask = partial(_one_answer, answer, voter, classes, seen[j], writes, seed)
                    scores = together.get(j - start)
                    if on_error != "abstain":
                        with noting_failures(places[j], on_error):
                            own = ask(block, scores)
                    elif scores is not None:
                        own = ask(block, scores)
                    else:
                        own = answers_or_missing(ask, block, index, out[b, :, j], missing, fewest)
                    if index is None:
                        out[b, :, j] = own
                    else:
                        out[b, index, j] = own[: len(index)]
    return out.reshape(-1, len(voters), *silent.shape)


def _one_answer(answer, voter, classes, seen, writes, seed, block, scores=None):
    """Return what one member answers about a block of test rows."""
    if seed is not None:
        reseed(seed)
    if scores is None and hasattr(type(voter), "scores_together"):
        (scores,) = type(voter).scores_together([voter], own_copy(block))
    rows = own_copy(block) if writes and scores is None else block
    return answer(voter, rows, classes, seen, scores)


def _scores_together(voters, block, on_error):
    """Return the scores of nets on the same rows, by place; none where one of them raises."""
    nets = [j for j, voter in enumerate(voters) if hasattr(type(voter), "scores_together")]
    if not nets:
        return {}
    asked = [voters[j] for j in nets]
    try:
        scores = type(asked[0]).scores_together(asked, own_copy(block))
    except Exception:
        if on_error is None:
            raise
        return {}  # each by itself, to the bit as in company: the error gets a name
    return dict(zip(nets, scores, strict=True))
