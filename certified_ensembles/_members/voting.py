"""Ballots, votes and scores of members for test rows, a block of rows at a time."""

import numpy as np

from .._data.containers import n_rows
from .._linear.scoring import linear_ballots, linear_scores, linear_votes
from ..certificates._inputs import count_votes
from .answers import check_scores, codes_of, labels_in_a_row
from .asking import Silent, ask_all, by_member, iter_spans


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
    silent = Silent(-1, dtype)

    def ask(voters, places, linear, blocks, n_asked, n_jobs, **how):
        if linear:
            return linear_ballots(voters, classes, blocks, n_asked, dtype, n_jobs)
        known = seen[places], classes, places
        return ask_all(_predicted, voters, known, blocks, silent, n_jobs, **how)

    spans = iter_spans(ask, members, X, dtype.itemsize * len(members), -1, **how)
    yield from (by_member(parts, len(members), -1) for parts in spans)


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
    silent = Silent(-np.inf, np.float64, (len(classes),))

    def ask(voters, places, linear, blocks, n_asked, n_jobs, **how):
        if linear:
            return linear_scores(voters, classes, blocks, n_asked, n_jobs)
        known = seen[places], classes, places
        return ask_all(_scored, voters, known, blocks, silent, n_jobs, **how)

    spans = iter_spans(ask, members, X, 8 * len(members) * len(classes), -np.inf, **how)
    yield from (by_member(parts, len(members), -np.inf) for parts in spans)


def iter_votes(members, seen, classes, X, **how):
    """Yield vote counts for spans of test rows, parameters as in :func:`iter_ballots`.

    The votes of linear members are counted stack by stack: their ballots are never held at once.

    Yields
    ------
    vote_counts : ndarray of shape (n_rows, n_classes), int64
    """
    dtype = _ballot_type(classes)
    silent = Silent(-1, dtype)

    def ask(voters, places, linear, blocks, n_asked, n_jobs, **how):
        if linear:
            return linear_votes(voters, classes, blocks, n_asked, n_jobs)
        known = seen[places], classes, places
        ballots = ask_all(_predicted, voters, known, blocks, silent, n_jobs, **how)
        return count_votes(ballots, len(classes))

    for parts in iter_spans(ask, members, X, dtype.itemsize * len(members), 0, **how):
        votes = 0
        for _, part in parts:
            votes = votes + part
        yield votes


def _predicted(voter, block, classes, seen, scores=None):
    """Return class indices; -1 for a label that the member may not vote for."""
    if scores is None:
        return codes_of(labels_in_a_row(voter, block), classes, seen)
    labels = voter.classes_[np.where(np.isnan(scores), -np.inf, scores).argmax(axis=1)]
    # Without one score that is a number there is no vote.
    return np.where((scores > -np.inf).any(axis=1), codes_of(labels, classes, seen), -1)


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
