"""Questions to one fitted estimator, and to its hasher, whose answers may not differ."""

import itertools
from functools import partial

import numpy as np

from .._certificate import find_ensemble
from .._data.containers import n_rows
from .._data.forms import as_array, as_cuttable, blank_rows, other_forms, rows_at, stack_rows
from .._data.hostile import hostile_rows, huge_rows
from ..hashers import ContentHasher, resolve_hasher, uses_labels
from ._attacks import Attack
from ._elsewhere import in_a_thread
from ._numbers import differs
from ._same_data import types_of
from ._words import as_list, plain

_N_PROBED = 64
_N_ALONE = 10


def ask_otherwise(audit):
    """Ask for test rows alone, in another order, in other types, and by predict."""
    order = audit.rng.permutation(n_rows(audit.X_test))
    asked = [(order, f"ask for test rows in the order {as_list(order)}")]
    asked += [([i], f"ask for test row {i} alone") for i in order[:_N_ALONE].tolist()]
    for rows, words in asked:
        _ask(audit, words, rows_at(audit.X_test, rows), rows)
    everyone = np.arange(n_rows(audit.X_test))
    for words, X_test in types_of(audit, audit.X_test):
        _ask(audit, f"ask for test rows {words}", X_test, everyone)
    y_pred = audit.quietly(audit.fitted.predict, audit.X_test)
    held = np.max(list(audit.clean.radius.values()), axis=0) >= 0
    for i in np.flatnonzero(differs(y_pred, audit.clean.y_pred) & held)[:1]:
        attack = Attack("predict against certify", "none", audit.X, audit.y, audit.groups)
        audit.fail(
            f"finds {plain(y_pred[i])!r} predicted for test row {i}, and "
            f"{plain(audit.clean.y_pred[i])!r} certified",
            attack,
            int(i),
        )


def _ask(audit, words, X_test, rows, kind="test rows in other company", ask=None):
    """Ask about X_test, whose first rows are the test rows at `rows`, and compare."""
    attack = Attack(kind, words, audit.X, audit.y, audit.groups, X_test=X_test)
    try:
        after = audit.quietly(ask or audit.ask, audit.fitted, X_test)
    except Exception as error:
        audit.fail_to("answer test rows that it answered before", attack, error)
    audit.same(attack, after.at(np.arange(len(rows))), np.asarray(rows))
    audit.count[attack.kind] += 1


def ask_again(audit):
    """Ask the same question again, and from another thread: answers may not differ."""
    everyone = np.arange(n_rows(audit.X_test))
    for times in ("a second", "a third", "a fourth"):
        words = f"ask for the same test rows {times} time"
        _ask(audit, words, audit.X_test, everyone, "test rows asked again")
    words = "ask for the same test rows in another thread"
    ask = partial(in_a_thread, audit.ask)
    _ask(audit, words, audit.X_test, everyone, "test rows asked again", ask)


def ask_in_company(audit):
    """Ask for test rows beside one with a hostile cell: the others are answered as before.

    A hostile row that is refused alone may be refused in company too.
    """
    rows = np.arange(n_rows(audit.X_test))
    tried = hostile_rows(audit.X_test, audit.rng), huge_rows(audit.X_test, audit.rng)
    for words, row in itertools.chain(*tried):
        X_test = stack_rows(audit.X_test, row)
        try:
            audit.quietly(audit.ask, audit.fitted, row)
        except Exception as error:
            attack = Attack("hostile test rows", words, audit.X, audit.y, audit.groups)
            audit.refuse(attack, error)
            continue
        _ask(audit, f"ask for test rows with {words} at the end", X_test, rows)


def probe_hasher(audit):
    """Hash rows alone, turned round, in other layouts and types: each must keep its value."""
    ensemble = find_ensemble(audit.fitted)
    if audit.groups is not None or not hasattr(ensemble, "hasher"):
        return
    hasher = resolve_hasher(ensemble.hasher)
    index = audit.rng.permutation(n_rows(audit.X))[:_N_PROBED]
    X, y = rows_at(audit.X, index), audit.y[index]
    if audit.prefix:
        X = as_cuttable(audit.fitted[:-1].transform(X))
    if not isinstance(hasher, ContentHasher):
        X = as_array(X)
    audit.quietly(_compare_hashes, audit, hasher, X, y, "training row", index)
    if isinstance(X, np.ndarray) and X.dtype.kind == "f":
        # The float sum of such rows depends on the order of summation and on the precision.
        values = np.array([2**25, -(2**25), 1, 0.1, 1 / 3, 2**-20], dtype=np.float32)
        hard = audit.rng.choice(values, size=X.shape).astype(X.dtype)
        try:
            audit.quietly(_hashes, hasher, hard, y)
        except ValueError:
            # Such rows are refused, so an attacker cannot insert them either.
            return
        words = "a made-up row for training row"
        audit.quietly(_compare_hashes, audit, hasher, hard, y, words, index)


def _hashes(hasher, rows, labels):
    return np.asarray(hasher(rows, labels) if uses_labels(hasher) else hasher(rows))


def _compare_hashes(audit, hasher, X, y, what, index):
    expected = _hashes(hasher, X, y)
    for words, rows, which in _tables_to_hash(audit, X):
        labels = y[np.resize(which, n_rows(rows))]
        attack = Attack("hasher probed", f"hash {what} {index[which[0]]} {words}", rows, labels)
        try:
            values = _hashes(hasher, rows, labels)[: len(which)]
        except Exception as error:
            audit.fail_to("hash rows that it hashed before", attack, error)
        for j in np.flatnonzero(values != expected[which])[:1]:
            i = which[j]
            attack.words = f"hash {what} {index[i]} {words}"
            audit.fail(
                f"changes the hash of a row from {expected[i]} (in a table of "
                f"{len(y)} rows) to {values[j]}",
                attack,
            )
    audit.count["hasher probed"] += 1


def _tables_to_hash(audit, X):
    """Yield (words, table, indices): tables that begin with the rows of X at the indices."""
    everyone = np.arange(n_rows(X))
    blank = blank_rows(rows_at(X, [0]))
    for i in everyone:
        yield "alone", rows_at(X, [i]), [i]
        if blank is not None:
            yield "before a blank row", stack_rows(rows_at(X, [i]), blank), [i]
    yield "in reverse order", rows_at(X, everyone[::-1]), everyone[::-1]
    for words, other in (*other_forms(X, audit.rng), *types_of(audit, X)):
        yield words, other, everyone
