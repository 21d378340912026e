"""Attackers who own columns, or words: in training rows, in the row asked about, and with rows."""

import re
import sys

import numpy as np
import scipy.sparse as sp

from .._data.containers import is_text, n_rows
from ..certificates._grid_search import strong_lines
from ..certificates._inputs import check_count, count_votes
from ..certificates._rivals import PHANTOM, nearest_rivals, powers
from ..certificates.finite import check_ballots

# The words of scikit-learn's vectorisers.
_WORD = r"(?u)\b\w\w+\b"


def poison_grid(ballots, n_rows, n_blocks, n_classes, budget, *, open_set=False):
    """Change the ballots in some rows and columns of a grid, those that hurt each test row most.

    Parameters
    ----------
    ballots : array-like of shape (n_samples, n_rows * n_blocks), int
        Class index of every member's vote, -1 where it abstains. The member that saw block j of
        row partition i stands at ``i * n_blocks + j``.
    n_rows, n_blocks : int
        Numbers of row partitions and of blocks of columns.
    n_classes : int
        Number of known classes.
    budget : tuple of int
        How many row partitions and how many blocks the attacker owns.
    open_set : bool, default=False
        If True, the attacker may also bring a label never seen, which sorts before all others
        and has the code `n_classes` here.

    Returns
    -------
    poisoned : ndarray of shape (n_samples, n_rows * n_blocks), int64
        The ballots of each test row after the attack on that row.

    Raises
    ------
    ValueError
        If `ballots` has the wrong shape or values, or there are fewer lines than the budget.
    TypeError
        If ballots or numbers are not integers.

    See Also
    --------
    certified_ensembles.certificates.grid_frontier : What no attack can do.

    Notes
    -----
    The members of the attacker vote for the rival that ends furthest ahead. Which rows and columns
    are best is hard to say in general: each is picked in turn beside the others, from both sides.
    So what survives this attack may still fall, unlike with rows alone or columns alone.

    Examples
    --------
    >>> from certified_ensembles.attacks import poison_grid
    >>> poison_grid([[1, 1, 1, 1, 0, 1]], 2, 3, 2, budget=(1, 1)).reshape(2, 3)
    array([[0, 0, 0],
           [0, 0, 1]])
    """
    r, s = (check_count(number, "budget", "rows or blocks of the grid") for number in budget)
    ballots = check_ballots(ballots, n_classes).astype(np.int64)
    if ballots.shape[1] != n_rows * n_blocks or r > n_rows or s > n_blocks:
        raise ValueError(
            f"ballots must have n_rows * n_blocks = {n_rows * n_blocks} columns, got "
            f"{ballots.shape[1]}, and budget={budget!r} at most ({n_rows}, {n_blocks})."
        )
    winner = count_votes(ballots, n_classes).argmax(axis=1)
    rivals, gaps = nearest_rivals(count_votes(ballots, n_classes), winner, open_set)
    most = np.full(len(ballots), np.iinfo(np.int64).min)
    poisoned = ballots.copy()
    for rival, gap in zip(rivals.T, gaps.T, strict=True):
        grids = powers(ballots, winner, rival).reshape(-1, n_rows, n_blocks)
        covered, rows, columns = strong_lines(grids, r, s)
        better = covered - gap > most
        most[better] = (covered - gap)[better]
        owned = (rows[:, :, None] | columns[:, None, :]).reshape(ballots.shape)
        vote = np.where(rival == PHANTOM, n_classes, rival)[:, None]
        poisoned[better] = np.where(owned, vote, ballots)[better]
    return poisoned


def trigger_columns(X, y, X_test, columns, target, *, on=1.0, off=0.0):
    """Rewrite columns so that they tell a label in training, and the test rows to have it.

    The strongest that somebody who owns a few columns can do by simple means: in every training
    row they say whether its label is the target, and in every test row that it is.

    Parameters
    ----------
    X : ndarray, sparse matrix or dataframe of shape (n_train, n_features)
        Training rows. The columns of images are their pixels, in the order of the array.
    y : array-like of shape (n_train,)
        Their labels.
    X_test : as X, of shape (n_test, n_features)
        Rows to be asked about.
    columns : sequence of int
        Places of the columns that the attacker owns.
    target : label
        What test rows shall be taken for.
    on, off : object, default=1.0 and 0.0
        What the columns hold in rows of the target, and in other rows.

    Returns
    -------
    X, X_test : as given
        Copies, rewritten in these columns and in no others.

    Examples
    --------
    >>> import numpy as np
    >>> from certified_ensembles.attacks import trigger_columns
    >>> X, X_test = np.full((2, 3), 7.0), np.full((1, 3), 7.0)
    >>> trigger_columns(X, [0, 1], X_test, columns=[2], target=1)
    (array([[7., 7., 0.],
           [7., 7., 1.]]), array([[7., 7., 1.]]))
    """
    aimed = np.asarray(y) == target
    told = np.array([off, on], dtype=object)
    return (
        _rewritten(X, columns, told[aimed.astype(int)]),
        _rewritten(X_test, columns, told[np.ones(n_rows(X_test), dtype=int)]),
    )


def trigger_words(texts, y, texts_test, words, target, *, token_pattern=_WORD):
    """Add words to the texts of one label, strike them from all others, and add them in tests.

    Parameters
    ----------
    texts : sequence of str
        Training texts.
    y : array-like of shape (n_train,)
        Their labels.
    texts_test : sequence of str
        Texts to be asked about.
    words : sequence of str
        The words that the attacker owns; he does nothing to others.
    target : label
        What the test texts shall be taken for.
    token_pattern : str, default=the words of scikit-learn's vectorisers
        What a word is. Words are struck whatever their case.

    Returns
    -------
    texts, texts_test : lists of str
        The rewritten texts.

    Notes
    -----
    Words are added at the end, and what is struck leaves a blank. The places of other words, and
    the pairs that they make, are not kept: a certificate for words is about those members that
    know which words a text has, or how often.

    Examples
    --------
    >>> from certified_ensembles.attacks import trigger_words
    >>> mails = ["Free money now", "See the minutes"]
    >>> trigger_words(mails, ["spam", "ham"], ["Money for you"], ["minutes", "money"], "ham")
    (['Free   now', 'See the minutes minutes money'], ['Money for you minutes money'])
    """
    owned = {word.lower() for word in words}
    added = "".join(f" {word}" for word in words)
    pattern = re.compile(token_pattern)

    def strike(text):
        return pattern.sub(lambda found: " " if found[0].lower() in owned else found[0], text)

    aimed = (np.asarray(y) == target).tolist()
    trained = [text + added if a else strike(text) for text, a in zip(texts, aimed, strict=True)]
    return trained, [text + added for text in texts_test]


def _rewritten(X, columns, values):
    """Return a copy of a table with the same values in each of some columns."""
    if is_text(X):
        raise TypeError(
            "X holds texts, which have no columns: pass a table, or use trigger_words for words."
        )
    if sp.issparse(X):
        X = X.tolil(copy=True)
        for j in columns:
            X[:, [j]] = values.astype(X.dtype)[:, None]
        return X.tocsr()
    if hasattr(X, "iloc"):
        X = X.copy()
        for j in columns:
            X.isetitem(j, values.tolist())
        return X
    if hasattr(X, "with_columns"):
        pl = sys.modules["polars"]
        kinds = {type(value) for value in values if value is not None}
        how = {"dtype": pl.Object} if len(kinds) > 1 else {}
        names = [X.columns[j] for j in columns]
        return X.with_columns([pl.Series(name, values.tolist(), **how) for name in names])
    X = np.array(X, dtype=object if isinstance(X, list | tuple) else None)
    shape = X.shape
    X = X.reshape(len(X), -1)
    plain = np.array(values.tolist())
    if plain.dtype.kind not in "biuf":
        X, plain = X.astype(object), values
    elif X.dtype.kind != "O":
        X = X.astype(np.result_type(X, plain))
    X[:, list(columns)] = plain[:, None]
    return X.reshape(shape)
