"""Rows to insert into the training set of a partition ensemble, against one test row."""

from numbers import Integral

import numpy as np
import scipy.sparse as sp
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted

from .._data.containers import is_text, n_rows, take
from .._fits import as_of_now
from ..certificates._inputs import check_budget
from ..dpa import DeepPartitionAggregation
from ..hashers import assign_partitions, resolve_hasher

# The number of variants of the test row that are hashed together.
_BATCH = 256


def insert_rows(
    ensemble,
    X,
    y,
    x_test,
    budget,
    *,
    rows_per_partition=1,
    max_tries=100_000,
    random_state=0,
):
    """Insert rows that aim at the partitions whose members decide one prediction.

    Parameters
    ----------
    ensemble : DeepPartitionAggregation
        Fitted on X and y, without groups. The attacker knows all of it, a secret key of its
        hasher included.
    X : array-like or sparse matrix of numbers, or sequence of str, of n_train rows
        Training rows.
    y : array-like of shape (n_train,)
        Training labels.
    x_test : container like X, of one row
        The test row to attack, ``X_test[i : i + 1]``.
    budget : int
        Number of rows to insert, at least 0.
    rows_per_partition : int, default=1
        Rows that each chosen partition gets before the next is chosen. One row seldom turns a
        member that has seen many; more of them turn fewer members with more certainty.
    max_tries : int, default=100000
        Variants of the test row to hash at most.
    random_state : int, RandomState instance or None, default=0
        Decides how the test row is varied.

    Returns
    -------
    X_poisoned : ndarray, CSR matrix or list of str, of n_train + n_inserted rows
        X with the new rows at its end. There are `budget` of them, or fewer where `max_tries`
        was not enough to reach as many partitions.
    y_poisoned : ndarray of shape (n_train + n_inserted,)
        y, then the rival's label for every new row.

    Raises
    ------
    ValueError
        If the ensemble is no DPA or was fitted with groups, `x_test` is not one row, rows are
        neither numbers nor strings, or a count is too small.
    TypeError
        If `budget` is not an integer.

    See Also
    --------
    poison_ballots : The worst case, in which each member obeys at once.

    Notes
    -----
    Partitions are taken in the order of the votes that their members can close between the
    winner and its strongest rival, small partitions first. Each new row is the test row with
    small changes that make the ensemble's own hasher put it into one of them: numbers change by
    about one in a thousand; where `X` holds integers only, some of them change by one, within
    the range of `X`; strings get blanks at their end.

    Fit the ensemble on the result to see what came of it; a prediction that stands is no proof
    of anything, and stronger attacks exist. The radius of ``certify`` is never beaten.

    Examples
    --------
    >>> from sklearn.base import clone
    >>> from sklearn.datasets import load_digits
    >>> from sklearn.neighbors import KNeighborsClassifier
    >>> from certified_ensembles import DeepPartitionAggregation
    >>> from certified_ensembles.attacks import insert_rows
    >>> X, y = load_digits(return_X_y=True)
    >>> member = KNeighborsClassifier(1)
    >>> clf = DeepPartitionAggregation(member, 20, classes=range(10)).fit(X[1:], y[1:])
    >>> y_pred, radius = clf.certify(X[:1])
    >>> X_bad, y_bad = insert_rows(clf, X[1:], y[1:], X[:1], budget=radius[0] + 1)
    >>> bool(clone(clf).fit(X_bad, y_bad).predict(X[:1]) != y_pred)
    True
    """
    if not isinstance(ensemble, DeepPartitionAggregation):
        raise ValueError(
            f"ensemble={ensemble!r} does not partition rows by a hash of their own: pass a "
            "DeepPartitionAggregation."
        )
    ensemble = as_of_now(ensemble)
    check_is_fitted(ensemble)
    budget = check_budget(budget)
    for name, value in {"rows_per_partition": rows_per_partition, "max_tries": max_tries}.items():
        if not isinstance(value, Integral) or value < 1:
            raise ValueError(f"{name} must be an integer of at least 1, got {value!r}.")
    trusted = {"source": "groups", "period": "periods"}.get(ensemble.partitioned_by_)
    if trusted is not None:
        raise ValueError(
            f"The ensemble was fitted with {trusted}: they decide the partition of a row, not its "
            "content. This attack needs one that was fitted without."
        )
    if n_rows(x_test) != 1:
        raise ValueError(f"x_test must be one row, got {n_rows(x_test)}: pass X_test[i : i + 1].")
    X, x_test, y = _check_container(X), _check_container(x_test), np.asarray(y)
    rival, targets = _targets(ensemble, x_test)
    wanted = np.repeat(targets, rows_per_partition)
    wanted = np.resize(wanted, budget if len(wanted) else 0).tolist()
    label = ensemble.classes_[[rival]]
    rng = check_random_state(random_state)
    parts = [(X, y)]
    for variants in _variants(_variation(X), x_test, max_tries if wanted else 0, rng):
        labels = np.repeat(label, n_rows(variants))
        kept = _first_wanted(_partitions(ensemble, variants, labels), wanted)
        if kept:
            parts.append((take(variants, kept), labels[kept]))
        if not wanted:
            break
    rows, labels = zip(*parts, strict=True)
    return _stack(rows), np.concatenate(labels)


def _targets(ensemble, x_test):
    """Return the strongest rival, and the partitions in the order in which to attack them."""
    ballots = ensemble.ballots(x_test)[0]
    n_classes = len(ensemble.classes_)
    if n_classes < 2:
        raise ValueError("The ensemble knows 1 class only: there is no rival to vote for.")
    spread = ensemble.spread_
    if spread is None:
        spread = np.arange(len(ballots))[:, None]
    votes = np.bincount(ballots[ballots >= 0], minlength=n_classes)
    winner = int(np.searchsorted(ensemble.classes_, ensemble.predict(x_test))[0])
    need = votes[winner] - votes - (np.arange(n_classes) < winner)
    need[winner] = len(ballots) + 1
    rival = int(need.argmin())
    power = (1 + (ballots == winner) - (ballots == rival).astype(np.int64))[spread].sum(axis=1)
    order = np.lexsort((ensemble.partition_sizes_, -power))
    return rival, order[power[order] > 0]


def _partitions(ensemble, rows, labels):
    n_fine = ensemble.n_partitions * ensemble.spread_degree
    return assign_partitions(resolve_hasher(ensemble.hasher), rows, labels, n_fine)


def _variants(vary, x_test, max_tries, rng):
    for tries in range(0, max_tries, _BATCH):
        yield vary(x_test, tries, min(_BATCH, max_tries - tries), rng)


def _first_wanted(partitions, wanted):
    """Return the places of partitions that are still wanted, and strike them off the list."""
    kept = []
    for place, partition in enumerate(partitions.tolist()):
        if partition in wanted:
            wanted.remove(partition)
            kept.append(place)
    return kept


def _check_container(X):
    """Return X with lists of rows as an array, or say why its rows cannot be varied."""
    if is_text(X):
        return list(X)
    if isinstance(X, list | tuple):
        X = np.asarray(X)
    values = X if sp.issparse(X) or isinstance(X, np.ndarray) else np.empty(0, dtype=object)
    if values.dtype.kind not in "iuf":
        raise ValueError(
            f"Rows in a container of type {type(X).__name__} cannot be varied here: pass an array "
            "or CSR matrix of numbers, or a sequence of strings."
        )
    return X.tocsr() if sp.issparse(X) else X


def _variation(X):
    """Return what makes variants of a row of X, further from it as the tries go on."""
    if is_text(X):
        return lambda row, tries, size, rng: [row[0] + " " * (tries + i) for i in range(size)]
    values = X.data if sp.issparse(X) else X
    whole = values.dtype.kind != "f" or np.array_equal(values, np.rint(values))
    low, high = (int(values.min()), int(values.max())) if whole and values.size else (0, 0)

    def change(values, share, rng):
        if not whole:
            return values * (1 + 1e-3 * rng.standard_normal(values.shape)).astype(values.dtype)
        up = (rng.random(values.shape) < 0.5) & (values < high) | (values <= low)
        moved = np.where(up, values + values.dtype.type(1), values - values.dtype.type(1))
        return np.where(rng.random(values.shape) < share, moved, values)

    def vary(row, tries, size, rng):
        rows = take(row, np.zeros(size, dtype=np.int64))
        share = 0.01 * 2.0 ** np.minimum(7.0, (tries + np.arange(size)) / _BATCH)
        if sp.issparse(rows):
            rows.data = change(rows.data, np.repeat(share, np.diff(rows.indptr)), rng)
            return rows
        return change(rows, share.reshape(-1, *[1] * (rows.ndim - 1)), rng)

    return vary


def _stack(parts):
    if isinstance(parts[0], list):
        return [row for part in parts for row in part]
    return sp.vstack(parts, format="csr") if sp.issparse(parts[0]) else np.concatenate(parts)
