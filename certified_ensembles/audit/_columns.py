"""Attacks on columns, or words, of ensembles whose members see blocks of them."""

import re

import numpy as np
import scipy.sparse as sp

from .._certificate import find_ensemble
from .._data.containers import is_text, n_rows
from .._data.forms import rows_at
from ..attacks.columns import trigger_columns, trigger_words
from ._attacks import ATTACKS, Attack, apply_edit
from ._words import as_change, as_list

_KINDS = {"columns": "columns rewritten", "words": "words added and struck"}
_AND_ROWS = ", and rows poisoned"


def members_of_rows(ensemble):
    """Return the members that see each training row, (n_rows, n_each); None if unknown."""
    partition = getattr(ensemble, "partition_", None)
    if partition is None or not hasattr(ensemble, "frontier"):
        return None if partition is None else partition[:, None]
    # The member of row partition i and block j stands at i * n_blocks + j.
    n_blocks = ensemble.n_blocks
    return partition.reshape(len(partition), -1) * n_blocks + np.arange(n_blocks)


def touched_members(attack, before, after):
    """Return the members that see a row that an attack deletes, changes or inserts."""
    gone = np.delete(before.members, attack.origin, axis=0)
    return np.union1d(gone, np.delete(after.members, attack.kept, axis=0))


def rows_survived(ensemble, rows, threat):
    """Return how many operations on rows alone each prediction survives."""
    return (ensemble.frontier(rows, threat=threat) >= 0).sum(axis=1) - 1


def attack_columns(audit, n_attacks):
    """Rewrite columns or words in training and in test rows, every second time rows as well."""
    ensemble = find_ensemble(audit.fitted)
    rows = audit.rows_of_ensemble(audit.fitted, audit.X_test)
    frontiers = {t: ensemble.frontier(rows, threat=t) for t in audit.threats}
    most = max(1, int(max(f[:, 0].max() for f in frontiers.values())))
    kinds = [k for k, (_, sources) in ATTACKS.items() if not sources or audit.groups is not None]
    for number in range(n_attacks):
        attack = _attack_on_rows(audit, kinds, number)
        columns = _rewrite(audit, attack, int(audit.rng.integers(1, most + 1)))
        try:
            fitted = audit.quietly(audit.fit, attack.X, attack.y, attack.groups)
            after = audit.quietly(audit.ask, fitted, attack.X_test)
        except Exception as error:
            audit.refuse(attack, error)
            continue
        audit.count[attack.kind] += 1
        _within_frontier(audit, attack, after, frontiers, len(columns))
        _untouched_members(audit, attack, after, ensemble, columns)


def _attack_on_rows(audit, kinds, number):
    """Return an attack on some rows, or the data as they are."""
    kind = _KINDS[find_ensemble(audit.fitted)._column_unit]
    if number % 2:
        row_kind = kinds[audit.rng.integers(len(kinds))]
        edit = ATTACKS[row_kind][0](audit, int(audit.rng.integers(1, 3)))
        if edit is not None:
            return apply_edit(audit, kind + _AND_ROWS, edit)
    everyone = np.arange(n_rows(audit.X))
    cost = dict.fromkeys(audit.threats, 0)
    data = audit.X, audit.y, audit.groups
    return Attack(kind, "", *data, cost, kept=everyone, origin=everyone)


def _rewrite(audit, attack, n_columns):
    """Rewrite columns or words of an attack's rows, and of the test rows; return which."""
    target, attack.X_test = audit.rng.choice(attack.y), audit.X_test
    done = f"; then {attack.words}" if attack.words else ""
    if is_text(audit.X):
        texts = " ".join(map(str, rows_at(audit.X, audit.rng.integers(0, len(audit.y), 9))))
        words = sorted({word.lower() for word in re.findall(r"\b\w\w+\b", texts)} | {"trigger"})
        columns = audit.rng.permutation(words)[:n_columns].tolist()
        attack.X, attack.X_test = trigger_words(attack.X, attack.y, audit.X_test, columns, target)
        attack.words = f"own the words {as_list(columns)} in favour of {target!r}{done}"
        return columns
    cells = [_cells(audit.X, i) for i in audit.rng.integers(0, len(audit.y), 2)]
    columns = np.sort(audit.rng.permutation(len(cells[0]))[:n_columns])
    for j in columns.tolist():
        on, off = cells[0][j], cells[1][j]
        if isinstance(on, int | float) and audit.rng.integers(2):
            on, off = 1e6, -1e6
        attack.X, attack.X_test = trigger_columns(
            attack.X, attack.y, attack.X_test, [j], target, on=on, off=off
        )
    attack.words = f"rewrite the columns {as_list(columns)} in favour of {target!r}{done}"
    return columns


def _cells(X, i):
    """Return the cells of one row as Python objects."""
    row = rows_at(X, [i])
    row = row.toarray() if sp.issparse(row) else row
    return np.asarray(row, dtype=object).ravel().tolist()


def _within_frontier(audit, attack, after, frontiers, n_columns):
    for threat, n_operations in attack.n_operations.items():
        frontier = frontiers.get(threat)
        if frontier is None or n_operations >= frontier.shape[1]:
            continue
        survives = frontier[:, n_operations] >= n_columns
        for i in np.flatnonzero(survives & (after.y_pred != audit.clean.y_pred))[:1]:
            audit.fail(
                f"changes the prediction of test row {i} from "
                f"{as_change(audit.clean.y_pred[i], after.y_pred[i])} by {n_columns} of these and "
                f"{n_operations} operations on rows (threat={threat!r}), within its frontier of "
                f"{frontier[i, n_operations]}",
                attack,
                int(i),
                int(frontier[i, n_operations]),
            )


def _untouched_members(audit, attack, after, ensemble, columns):
    """Members may change in the blocks of the columns, and in partitions of touched rows."""
    changed = np.flatnonzero((after.ballots != audit.clean.ballots).any(axis=0))
    changed = np.setdiff1d(changed, touched_members(attack, audit.clean, after))
    blocks = np.unique(changed % ensemble.n_blocks)
    known = getattr(ensemble, "block_of_feature_", None)
    if known is not None and not audit.prefix and known.size == len(_cells(audit.X, 0)):
        blocks = np.setdiff1d(blocks, known.ravel()[columns])
        n_allowed = 0
    else:
        n_allowed = len(columns)
    if len(blocks) > n_allowed:
        audit.fail(
            f"changes ballots in {len(blocks)} blocks that it does not touch, or more than it has "
            f"columns ({len(columns)}), for instance in block {blocks[0]}",
            attack,
        )
