"""Ask members about test rows: ballots and scores, a block of rows at a time."""

import itertools
from dataclasses import replace
from functools import partial

import numpy as np
from joblib import effective_n_jobs, parallel_config
from sklearn.base import clone
from sklearn.pipeline import Pipeline
from sklearn.utils import get_tags

from .._data.array_api import is_on_device
from .._data.block_map import padded_blocks
from .._data.blocks import BLOCK_ROWS
from .._data.containers import n_rows, own_copy
from .._deterministic import global_seed, one_thread, reseed, seeded
from .._jobs import in_turn, progress, run_here, workers_may_stop
from .._linear.device import SPAN_BYTES, block_rows, device_blocks
from .._linear.scoring import is_folded, is_linear, linear_ballots, linear_scores, linear_votes
from ..certificates._inputs import count_votes
from .answers import check_scores, labels_in_a_row
from .failures import answers_or_missing, mended_blocks, noting_failures, shaped_parts
from .panels import are_checked, in_panels
from .stored import StoredMembers, without_steps
from .trees import never_writes, with_checked_rows

_SPAN_BYTES = 1 << 27


def iter_ballots(members, seen, classes, X, **how):
    """Yield ballots for spans of test rows.

    Parameters
    ----------
    members : list
        As :func:`fit_members` returns them.
    seen : ndarray of shape (n_members, n_classes), bool
        The classes that a member may vote for; other answers are abstentions.
    classes : ndarray of shape (n_classes,)
        Sorted labels.
    X : Table, or an array on a device
        Test rows.
    **how
        `steps` (of :func:`stateless_steps`), `views` (of :func:`fit_members`), `fewest` (of
        :func:`fewest_rows`), `shared_rows` (whether no member writes into rows), `seeds` (of the
        members, if they may draw), `steps_seed` (of the steps, then), `n_jobs` and `verbose`.

    Yields
    ------
    ballots : ndarray of shape (n_rows, n_members), int16 or int32
        Class index, or -1 for an abstention.
    """
    dtype = _ballot_type(classes)

    def ask(voters, places, linear, blocks, n_asked, n_jobs, **how):
        if linear:
            return linear_ballots(voters, classes, blocks, n_asked, dtype, n_jobs)
        known = seen[places], classes, places
        return _ask_all(_predicted, voters, known, blocks, (), dtype, n_jobs, **how)

    spans = _iter_spans(ask, members, X, dtype.itemsize * len(members), -1, **how)
    yield from (_by_member(parts, len(members), -1) for parts in spans)


def _ballot_type(classes):
    return np.dtype(np.int16 if len(classes) < 2**15 else np.int32)


def iter_scores(members, seen, classes, X, **how):
    """Yield scores for spans of test rows, parameters as in :func:`iter_ballots`.

    Yields
    ------
    scores : ndarray of shape (n_rows, n_members, n_classes), float
        By decision_function, else predict_proba; -inf for a class that a member may not
        vote for, and throughout for a missing member.
    """

    def ask(voters, places, linear, blocks, n_asked, n_jobs, **how):
        if linear:
            return linear_scores(voters, classes, blocks, n_asked, n_jobs)
        known, shape = (seen[places], classes, places), (len(classes),)
        return _ask_all(_scored, voters, known, blocks, shape, np.float64, n_jobs, **how)

    spans = _iter_spans(ask, members, X, 8 * len(members) * len(classes), -np.inf, **how)
    yield from (_by_member(parts, len(members), -np.inf) for parts in spans)


def iter_votes(members, seen, classes, X, **how):
    """Yield vote counts for spans of test rows, parameters as in :func:`iter_ballots`.

    The votes of linear members are counted stack by stack: their ballots are never held at once.

    Yields
    ------
    vote_counts : ndarray of shape (n_rows, n_classes), int64
    """
    dtype = _ballot_type(classes)

    def ask(voters, places, linear, blocks, n_asked, n_jobs, **how):
        if linear:
            return linear_votes(voters, classes, blocks, n_asked, n_jobs)
        known = seen[places], classes, places
        ballots = _ask_all(_predicted, voters, known, blocks, (), dtype, n_jobs, **how)
        return count_votes(ballots, len(classes))

    for parts in _iter_spans(ask, members, X, dtype.itemsize * len(members), 0, **how):
        votes = 0
        for _, part in parts:
            votes = votes + part
        yield votes


def _by_member(parts, n_members, missing):
    """Return the answers of all members side by side; `missing` for those that nobody asked."""
    (places, first), *_ = parts
    if len(places) == n_members:
        return first
    dtype = np.result_type(*(part.dtype for _, part in parts))  # no member's scores are rounded
    out = np.full((len(first), n_members, *first.shape[2:]), missing, dtype=dtype)
    for own, part in parts:
        out[:, own] = part if part.shape[1] == len(own) else part[:, own]
    return out


def _iter_spans(
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
    row_bytes += 8 * X.shape[1] if on_device else X.row_bytes
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
            how = {"n_asked": stop - start, "n_jobs": n_jobs, "verbose": verbose}
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

    yield from map(answers_from, range(0, n, span))


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


def _ask_all(answer, voters, known, blocks, shape, dtype, n_jobs, *, verbose, seeds, **how):
    """Ask every member, some members a task, about blocks of `size` rows."""
    seen, classes, places = known
    own_seeds = None if seeds is None else [seeds[i] for i in places]
    how["width"] = _asked_at_once(voters)
    if run_here(n_jobs) and not verbose:
        return _ask(answer, voters, known, own_seeds, blocks, shape, dtype, **how)
    n_groups = -(-len(voters) // how["width"])
    n_tasks = min(n_groups, 4 * effective_n_jobs(n_jobs))
    bounds = np.linspace(0, n_groups, n_tasks + 1).astype(int) * how["width"]
    bounds[-1] = len(voters)
    answers = np.empty((len(blocks) * how["size"], len(voters), *shape), dtype=dtype)
    # Labels in a tuple: Dask would send an array ahead of the task and lose it with a worker.
    calls = (
        (
            answer,
            voters[a:b],
            (seen[a:b], classes, places[a:b]),
            None if own_seeds is None else own_seeds[a:b],
            blocks,
            shape,
            dtype,
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
    shape,
    dtype,
    *,
    size,
    width,
    on_error,
    fewest,
    shared_rows,
):
    seen, classes, places = known
    missing = -np.inf if shape else -1
    out = np.full((len(blocks), size, len(voters), *shape), missing, dtype=dtype)
    stored = isinstance(voters, StoredMembers)  # nets, each loaded when it is its turn
    if not stored:
        given, (voters, blocks) = voters, with_checked_rows(voters, blocks)
        if voters is not given:  # trees, which draw nothing: other threads may have the generators
            seeds = None
        elif fewest is not None:
            checked = are_checked(voters, blocks)
            voters = [in_panels(voter, checked) for voter in voters]
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
    return out.reshape(-1, len(voters), *shape)


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


def _predicted(voter, block, classes, seen, scores=None):
    """Return class indices; -1 for a label that the member may not vote for."""
    if scores is None:
        labels = labels_in_a_row(voter, block)
    else:
        labels = voter.classes_[np.where(np.isnan(scores), -np.inf, scores).argmax(axis=1)]
    codes = np.minimum(np.searchsorted(classes, labels), len(classes) - 1)
    counts = (classes[codes] == labels) & seen[codes]
    if scores is not None:  # without one score that is a number there is no vote
        counts &= (scores > -np.inf).any(axis=1)
    return np.where(counts, codes, -1)


def _scored(voter, block, classes, seen, scores=None):
    """Return one score a class; -inf for a class that the member may not vote for."""
    given = _scores_of(voter, block) if scores is None else np.asarray(scores, dtype=np.float64)
    own = voter.classes_
    codes = np.minimum(np.searchsorted(classes, own), len(classes) - 1)
    known = (classes[codes] == own) & seen[codes]
    out = np.full((len(given), len(classes)), -np.inf)
    out[:, codes[known]] = np.where(np.isnan(given), -np.inf, given)[:, known]
    return out


def _scores_of(voter, block):
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
    check_scores(voter, method, given, n_rows(block))
    return given


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
