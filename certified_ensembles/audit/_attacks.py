"""What an attacker may do to training data: the operations that the audit tries."""

from collections import Counter
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from sklearn.dummy import DummyClassifier, DummyRegressor

from .._data.containers import is_text, n_rows
from .._data.forms import blank_rows, change_numbers, rows_at, stack_rows
from .._data.hostile import hostile_rows
from ._words import as_list

# A hostile source adds this many rows.
_FLOOD = 20
_NONE = np.empty(0, dtype=np.int64)


@dataclass
class Attack:
    """Training data after an attack, and how it came about.

    Attributes
    ----------
    kind, words : str
        Name in the table of attacks; what was done to which rows.
    X, y, groups
        The attacked training data, ready for ``fit``.
    n_operations : dict of str to int
        What the attack costs under each threat to which it belongs.
    kept, origin : ndarray of int
        Positions in X of rows that were not touched, and where they stood before.
    X_test
        Test rows that were asked about, where these are not the given ones as they are.
    """

    kind: str
    words: str
    X: object
    y: object
    groups: object = None
    n_operations: dict = field(default_factory=dict)
    kept: np.ndarray = field(default_factory=lambda: _NONE, repr=False)
    origin: np.ndarray = field(default_factory=lambda: _NONE, repr=False)
    X_test: object = field(default=None, repr=False)


class _Edit(NamedTuple):
    """Operations on the training data: delete rows, then change labels, then add rows.

    ``words`` say what rows are added.
    """

    delete: np.ndarray = _NONE
    flip: np.ndarray = _NONE
    flip_to: object = ()
    rows: object = None
    labels: object = ()
    words: str = ""
    sources: object = None
    in_front: bool = False


def apply_edit(audit, kind, edit):
    """Return the attacked data, what was done in words, and what it costs."""
    n = n_rows(audit.X)
    stay = np.setdiff1d(np.arange(n), edit.delete)
    labels = np.array(edit.labels)
    words, y = [], audit.y.copy()
    if len(edit.delete):
        words.append(f"delete rows {as_list(edit.delete)}")
    if len(edit.flip):
        words.append(f"set the labels of rows {as_list(edit.flip)} to {as_list(edit.flip_to)}")
        y = y.astype(np.result_type(y, np.asarray(edit.flip_to)), copy=False)
        y[edit.flip] = edit.flip_to
    X, y, added = rows_at(audit.X, stay), y[stay], len(labels)
    groups = sources = None
    if audit.groups is not None:
        sources = np.array([] if edit.sources is None else edit.sources)
        if added and edit.sources is None:
            sources = np.repeat(audit.rng.choice(audit.groups), added)
        groups = audit.groups[stay]
    if added:
        place = "in front" if edit.in_front else "at the end"
        given = "" if sources is None else f" and sources {as_list(sources)}"
        words.append(f"insert {place} {edit.words}, with labels {as_list(labels)}{given}")
        pair = (lambda A, B: (B, A)) if edit.in_front else (lambda A, B: (A, B))
        X, y = stack_rows(*pair(X, edit.rows)), np.concatenate(pair(y, labels))
        groups = None if groups is None else np.concatenate(pair(groups, sources))
    shift = added if edit.in_front else 0
    calm = ~np.isin(stay, edit.flip)
    cost = {"insertion_deletion": len(edit.delete) + added + 2 * len(edit.flip)}
    if added == len(edit.delete):
        cost["replacement"] = added + len(edit.flip)
    if added == len(edit.delete) == 0:
        cost["label_flip"] = len(edit.flip)
    if audit.groups is not None:
        touched = [audit.groups[edit.delete], audit.groups[edit.flip]]
        touched += [sources] if added else []
        cost = dict.fromkeys(cost, len(np.unique(np.concatenate(touched))))
    return Attack(
        kind,
        "; then ".join(words),
        X,
        y,
        groups,
        cost,
        kept=np.flatnonzero(calm) + shift,
        origin=stay[calm],
    )


def _wrong(audit, labels):
    """Return for each label another one that the training rows have."""
    known = np.unique(audit.y)
    if len(known) == 1:
        return np.asarray(labels)
    codes = np.searchsorted(known, labels) % len(known)
    return known[(codes + audit.rng.integers(1, len(known), size=len(codes))) % len(known)]


def _some_rows(audit, budget, size=None):
    return audit.rng.choice(n_rows(audit.X) if size is None else size, size=budget)


def _insert(audit, rows, labels, words):
    """Insert rows at one end; nothing if there is no such row for this container."""
    if rows is None:
        return None
    return _Edit(rows=rows, labels=labels, words=words, in_front=bool(audit.rng.integers(2)))


def _relabelled_copies(audit, budget):
    index = _some_rows(audit, budget)
    words = f"copies of training rows {as_list(index)}"
    return _insert(audit, rows_at(audit.X, index), _wrong(audit, audit.y[index]), words)


def _duplicates(audit, budget):
    index = _some_rows(audit, budget)
    words = f"copies of training rows {as_list(index)}"
    return _insert(audit, rows_at(audit.X, index), audit.y[index], words)


def _test_copies(audit, budget):
    index = _some_rows(audit, budget, n_rows(audit.X_test))
    words = f"copies of test rows {as_list(index)}"
    return _insert(
        audit, rows_at(audit.X_test, index), _wrong(audit, audit.clean.y_pred[index]), words
    )


def _new_label(audit, smaller):
    """Return a label that sorts before, or after, all known ones; None if there is none."""
    first, last = min(audit.y.tolist()), max(audit.y.tolist())
    if not audit.open_set or isinstance(first, bool):
        return None
    if isinstance(first, str):
        label = " " + first if smaller else last + "~~"
        return label if (label < first if smaller else label > last) else None
    # The neighbour -1 may mean that a label is missing; of numbers, some are far off.
    far = 7 + (3 * (last - first) if audit.question else 0)
    return first - far if smaller else last + far


def _smaller_label(audit, budget):
    return _foreign(audit, budget, smaller=True)


def _larger_label(audit, budget):
    return _foreign(audit, budget, smaller=False)


def _foreign(audit, budget, smaller):
    label = _new_label(audit, smaller)
    index = _some_rows(audit, budget, n_rows(audit.X_test))
    words = f"copies of test rows {as_list(index)}"
    return (
        None
        if label is None
        else _insert(audit, rows_at(audit.X_test, index), np.array([label] * budget), words)
    )


def _outliers(audit, budget):
    def far(values):
        if values.dtype.kind == "f":
            return values * values.dtype.type(1000)
        top = np.iinfo(values.dtype).max if values.dtype.kind in "iu" else 1
        return np.where(values > 0, min(top, 10**6), 0).astype(values.dtype)

    index = _some_rows(audit, budget)
    rows = change_numbers(rows_at(audit.X, index), far)
    if is_text(audit.X):
        rows = [" ".join(map(str, [row] * 30)) for row in rows_at(audit.X, index)]
    words = f"training rows {as_list(index)}, their values far larger or repeated"
    return _insert(audit, rows, _wrong(audit, audit.y[index]), words)


def _blank(audit, budget):
    index = _some_rows(audit, budget)
    rows, labels = blank_rows(rows_at(audit.X, index)), _wrong(audit, audit.y[index])
    return None if rows is None else _Edit(rows=rows, labels=labels, words="blank rows")


def _wider_type(audit, budget):
    """One row with a fraction turns a table of integers into one of floats."""
    index = _some_rows(audit, budget)
    rows = change_numbers(rows_at(audit.X, index), lambda v: v + np.float64(1 / 3))
    words = f"training rows {as_list(index)}, plus one third, as float64"
    return _insert(audit, rows, _wrong(audit, audit.y[index]), words)


def _new_to_its_member(audit, budget):
    """Insert rows with a label that no row of their partition has: folds inside may lack it."""
    partition, index = audit.clean.partition, _some_rows(audit, budget)
    labels, new = _wrong(audit, audit.y[index]).tolist(), _new_label(audit, smaller=False)
    for place, i in enumerate(index.tolist()):
        own = audit.y if partition is None else audit.y[partition == partition[i]]
        lacking = np.setdiff1d(audit.y, own).tolist() + [new] * (new is not None)
        labels[place] = lacking[0] if lacking else labels[place]
    words = f"copies of training rows {as_list(index)}"
    return _insert(audit, rows_at(audit.X, index), np.array(labels), words)


def _odd_targets(audit, budget):
    """Insert rows whose targets overflow, or are no numbers."""
    if not audit.question:
        return None
    index = _some_rows(audit, budget)
    odd = np.array([1e300, np.inf, -1e300, np.nan, 1e39, -0.0])
    words = f"copies of training rows {as_list(index)}"
    return _insert(audit, rows_at(audit.X, index), audit.rng.choice(odd, size=budget), words)


def _deletions(audit, budget):
    index = audit.rng.permutation(n_rows(audit.X))[: min(budget, n_rows(audit.X) - 2)]
    return _Edit(delete=np.sort(index))


def _class_deletion(audit, budget):
    rows = np.flatnonzero(audit.y == audit.rng.choice(audit.y))
    return _Edit(delete=rows) if 0 < len(rows) < n_rows(audit.X) else None


def _edits(audit, budget):
    index = np.unique(_some_rows(audit, max(1, budget // 2)))
    words = f"the rows deleted, {as_list(index)}, in reverse order"
    rows = rows_at(audit.X, index[::-1])
    changed = change_numbers(
        rows, lambda v: -v if v.dtype.kind == "f" and v.min(initial=0) < 0 else v
    )
    rows = rows if changed is None else changed
    return _Edit(delete=index, rows=rows, labels=_wrong(audit, audit.y[index]), words=words)


def _flips(audit, budget):
    index = np.unique(_some_rows(audit, budget))
    return _Edit(flip=index, flip_to=_wrong(audit, audit.y[index]))


def _flips_to_new(audit, budget):
    label = _new_label(audit, smaller=True)
    index = np.unique(_some_rows(audit, budget))
    return None if label is None else _Edit(flip=index, flip_to=np.array([label] * len(index)))


# Targeted attacks spend exactly the radius of a test row on members that vote for its winner.


def _target(audit, threat, per_operation=1):
    """Return a test row of small positive radius, its winner, a rival, and partitions."""
    radius = audit.clean.radius.get(threat, _NONE)
    if audit.clean.ballots is None or audit.clean.partition is None or not (radius >= 1).any():
        return None
    least = radius[radius >= 1].min()
    i = audit.rng.choice(np.flatnonzero(radius == least))
    ballots, winner = audit.clean.ballots[i], audit.clean.y_pred[i]
    others = [b for b in ballots.tolist() if b is not None and b != winner]
    rival = Counter(others).most_common(1)[0][0] if others else _wrong(audit, [winner])[0]
    phantom = _new_label(audit, smaller=True)
    if phantom is not None and audit.rng.integers(3) == 0:
        rival = phantom
    sizes = np.bincount(audit.clean.partition, minlength=len(ballots))
    loyal = ballots == winner
    if audit.question:  # numbers: whoever answers less can be turned to answer more
        loyal = np.array([b is not None and b <= winner for b in ballots])
        rival = _new_label(audit, smaller=False) or max(audit.y.tolist())
    members = audit.rng.permutation(np.flatnonzero(loyal & (sizes > 0)))
    # Small members turn easily.
    members = members[np.argsort(sizes[members], kind="stable")]
    return i, winner, rival, members[: least * per_operation]


def _row_in(audit, partition, label):
    """Return a row of a partition, one with this label if there is one."""
    rows = np.flatnonzero(audit.clean.partition == partition)
    own = rows[audit.y[rows] == label]
    return audit.rng.choice(own if len(own) else rows)


def _poison(audit, i, partitions, winner, rival):
    """Return one row for each partition, as much like test row i as can be found, and words."""
    rows = rows_at(audit.X_test, np.full(40 * len(partitions), i))
    rows, home = change_numbers(rows, lambda v: _vary(audit, v)), _NONE
    if rows is not None and not audit.prefix:
        # The partition of a row is its own affair, so any fit tells it: one of no cost will do.
        dummy = DummyRegressor() if audit.question else DummyClassifier()
        finder = audit.with_params(audit.estimator, estimator=dummy)
        home = audit.quietly(finder.fit, rows, np.array([rival] * n_rows(rows))).partition_
    poison, words = None, []
    for p in partitions:
        if p in home:
            own, word = rows_at(rows, [np.flatnonzero(home == p)[-1]]), f"test row {i} varied"
        else:
            index = _row_in(audit, p, winner)
            own, word = rows_at(audit.X, [index]), f"a copy of training row {index}"
        poison = own if poison is None else stack_rows(poison, own)
        words.append(f"{word} (for partition {p})")
    return poison, as_list(words)


def _vary(audit, values):
    if values.dtype.kind == "f":
        return values * (1 + 0.01 * audit.rng.random(values.shape)).astype(values.dtype)
    lower = (values > 0) & (audit.rng.random(values.shape) < 0.2)
    return values - lower.astype(values.dtype)


def _targeted_insertions(audit, budget):
    found = None if audit.groups is not None else _target(audit, "insertion_deletion")
    if found is None or not len(found[3]):
        return None
    i, winner, rival, partitions = found
    rows, words = _poison(audit, i, partitions, winner, rival)
    return _insert(audit, rows, np.array([rival] * len(partitions)), words)


def _targeted_deletions(audit, budget):
    found = _target(audit, "insertion_deletion")
    if found is None:
        return None
    return _Edit(delete=np.array([_row_in(audit, p, found[1]) for p in found[3]], dtype=int))


def _targeted_flips(audit, budget):
    found = _target(audit, "label_flip")
    if found is None or not len(found[3]):
        return None
    index = np.array([_row_in(audit, p, found[1]) for p in found[3]])
    return _Edit(flip=index, flip_to=np.array([found[2]] * len(index)))


def _targeted_replacements(audit, budget):
    """Take a row from one partition that votes for the winner and poison another."""
    found = None if audit.groups is not None else _target(audit, "replacement", per_operation=2)
    if found is None or len(found[3]) < 2:
        return None
    i, winner, rival, partitions = found
    losing, gaining = np.array_split(partitions[: len(partitions) // 2 * 2], 2)
    rows, words = _poison(audit, i, gaining, winner, rival)
    delete = np.array([_row_in(audit, p, winner) for p in losing])
    return _Edit(delete=delete, rows=rows, labels=np.array([rival] * len(gaining)), words=words)


def _partition_deletion(audit, budget):
    """Delete whole partitions: many operations, few members."""
    if audit.clean.partition is None:
        return None
    parts = audit.rng.permutation(np.unique(audit.clean.partition))[:budget]
    rows = np.flatnonzero(np.isin(audit.clean.partition, parts))
    return _Edit(delete=rows) if len(rows) < n_rows(audit.X) else None


# A source may do anything to its own rows and add any number.


def _hostile_sources(audit, budget):
    sources = audit.rng.permutation(np.unique(audit.groups))[:budget]
    own = np.flatnonzero(np.isin(audit.groups, sources))
    gone, flipped = own[::3], np.setdiff1d(own, own[::3])
    return _flood(audit, sources, gone, flipped)


def _new_sources(audit, budget):
    known = np.unique(audit.groups)
    text = known.dtype.kind in "USO"
    sources = [f"new source {i}" if text else known.max() + 1 + i for i in range(budget)]
    return _flood(audit, np.array(sources), _NONE, _NONE)


def _flood(audit, sources, delete, flip):
    index = _some_rows(audit, _FLOOD * len(sources), n_rows(audit.X_test))
    return _Edit(
        delete=delete,
        flip=flip,
        flip_to=_wrong(audit, audit.y[flip]) if len(flip) else (),
        rows=rows_at(audit.X_test, index),
        labels=_wrong(audit, audit.clean.y_pred[index]),
        sources=np.repeat(sources, _FLOOD),
        words=f"copies of test rows {as_list(index)}",
    )


def _silent_sources(audit, budget):
    sources = audit.rng.permutation(np.unique(audit.groups))[:budget]
    rows = np.flatnonzero(np.isin(audit.groups, sources))
    return _Edit(delete=rows) if len(rows) < n_rows(audit.X) else None


# An attack is a function (audit, budget) -> _Edit or None; beside it, whether it needs sources.
ATTACKS = {
    "rows inserted: smaller new label": (_smaller_label, False),
    "rows inserted: wider type": (_wider_type, False),
    "targeted insertions": (_targeted_insertions, False),
    "hostile sources": (_hostile_sources, True),
    "rows inserted: relabelled copies": (_relabelled_copies, False),
    "rows deleted": (_deletions, False),
    "labels flipped": (_flips, False),
    "rows inserted: blank": (_blank, False),
    "new sources": (_new_sources, True),
    "targeted deletions": (_targeted_deletions, False),
    "targeted replacements": (_targeted_replacements, False),
    "rows inserted: outliers": (_outliers, False),
    "rows inserted: larger new label": (_larger_label, False),
    "targeted flips": (_targeted_flips, False),
    "rows inserted: copies of test rows": (_test_copies, False),
    "sources fall silent": (_silent_sources, True),
    "rows edited": (_edits, False),
    "rows inserted: duplicates": (_duplicates, False),
    "labels flipped to a new one": (_flips_to_new, False),
    "partitions deleted": (_partition_deletion, False),
    "a class deleted": (_class_deletion, False),
    "rows inserted: a label new to its member": (_new_to_its_member, False),
    "rows inserted: odd targets": (_odd_targets, False),
}


def hostile_edits(audit):
    """Yield an edit for each hostile cell: one row that changes the type of a column.

    Joining it to the table gives the whole column another type, or other levels, in the
    container; a certificate allows that to change the member of the row's own partition alone.
    """
    for words, row in hostile_rows(audit.X, audit.rng):
        yield insertion_of(audit, row, words)


def insertion_of(audit, row, words):
    """Return the edit that inserts one training row, described by words, with some label."""
    label = _wrong(audit, audit.y[_some_rows(audit, 1)])
    return _insert(audit, row, label, f"training {words}")
