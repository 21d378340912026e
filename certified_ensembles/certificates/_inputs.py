"""What certificates share: checks of their arrays, votes counted, and the blocks they work in."""

import numbers
from collections.abc import Iterator

import numpy as np

# The number of entries in a block, 2 MiB of doubles: few enough for the caches, enough to hide the
# cost of a call.
BLOCK_ELEMENTS = 1 << 18


def check_n_classes(n_classes, minimum: int = 1) -> int:
    """Return `n_classes` as an int, or say why it cannot be one."""
    if isinstance(n_classes, numbers.Integral) and n_classes >= minimum:
        return int(n_classes)
    raise ValueError(
        f"n_classes must be an integer of at least {minimum}, got {n_classes!r}; "
        "pass the number of classes of the problem."
    )


def check_vote_counts(vote_counts) -> np.ndarray:
    """Return `vote_counts` as an int64 array of two axes, or say what is wrong with it."""
    votes = np.asarray(vote_counts)
    if votes.ndim != 2 or votes.shape[1] == 0 or votes.dtype.kind not in "iu":
        raise ValueError(
            "vote_counts must be an array of integers of shape (n_samples, n_classes >= 1), got "
            f"dtype {votes.dtype} and shape {votes.shape}."
        )
    votes = votes.astype(np.int64)
    if votes.size and votes.min() < 0:
        raise ValueError(f"vote_counts must not be negative, got {votes.min()}.")
    return votes


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


def check_noise(noise, n_classes: int) -> float:
    """Return `noise` as a float inside the open interval (0, (K - 1) / K)."""
    if isinstance(noise, numbers.Real) and 0 < noise < (1 - noise) * (n_classes - 1):
        return float(noise)
    limit = (n_classes - 1) / n_classes
    raise ValueError(
        f"noise must lie strictly between 0 and (n_classes - 1) / n_classes = {limit:.6g}, got "
        f"{noise!r}; above that a noisy label says nothing about the true one, so lower it."
    )


def check_codes(y, n_classes: int) -> np.ndarray:
    """Return the training labels as int64 codes, each one inside 0..n_classes - 1."""
    y = np.asarray(y)
    if y.ndim != 1 or (y.dtype.kind not in "iu" and y.size):
        raise ValueError(
            f"y must be a 1-d array of integer codes, got shape {y.shape} and dtype {y.dtype}; "
            "encode the labels first, for instance with sklearn.preprocessing.LabelEncoder."
        )
    if y.size and (y.min() < 0 or y.max() >= n_classes):
        raise ValueError(
            f"y must hold codes in 0..{n_classes - 1}, got codes from {y.min()} to {y.max()}; "
            "raise n_classes or encode the labels again."
        )
    return y.astype(np.int64)


def check_weights(weights, n_train: int) -> np.ndarray:
    """Return `weights` as a real 2-d array with one column per training row (no copy)."""
    weights = np.asarray(weights)
    if weights.dtype.kind not in "biuf":
        raise ValueError(
            f"weights must be an array of real numbers, got dtype {weights.dtype}; "
            "pass a dense float array (sparse weights block by block, as block.toarray())."
        )
    if weights.ndim != 2 or weights.shape[1] != n_train:
        raise ValueError(
            f"weights must have shape (n_samples, {n_train}), one column per training label in y, "
            f"got shape {weights.shape}; pass one row of weights per test point."
        )
    return weights


def float_block(weights: np.ndarray, rows, order=None) -> tuple[np.ndarray, np.ndarray]:
    """Return some rows of `weights` as doubles in C order, and the largest magnitude of each.

    The columns come in the given order. The numbers are finite, and no sum of doubled numbers
    of a row overflows.
    """
    block = weights[rows] if order is None else weights[rows].take(order, axis=1)
    block = np.ascontiguousarray(block, dtype=np.float64)
    # nan passes through min and max, so two reductions see every bad value.
    largest = np.maximum(block.max(axis=1, initial=0.0), -block.min(axis=1, initial=0.0))
    worst = largest.max(initial=0.0)
    if not worst < np.finfo(np.float64).max / (8 * (block.shape[1] + 1)):
        raise ValueError(
            f"weights must be finite and their sums must not overflow, got {worst} as the "
            "largest magnitude; rescale them, which changes no certificate."
        )
    if weights.dtype.kind in "iu" and worst >= 2**53:
        raise ValueError(
            f"weights of dtype {weights.dtype} must stay below 2**53, where doubles stop holding "
            f"every integer, got {worst:.0f}; divide them by a common factor."
        )
    return block, largest


def row_blocks(n_rows: int, n_columns: int, elements: int = BLOCK_ELEMENTS) -> Iterator[slice]:
    """Cut `n_rows` into slices that hold at most about `elements` numbers each."""
    step = max(1, elements // max(1, n_columns))
    for start in range(0, n_rows, step):
        yield slice(start, min(start + step, n_rows))


def check_budget(budget):
    """Return `budget` as a Python int, or say what is wrong with it."""
    return check_count(budget, "budget", "poisoning operations")


def check_count(number, name, what):
    """Return a number of what an attacker may do as a Python int, or say what is wrong."""
    if not isinstance(number, numbers.Integral) or isinstance(number, bool):
        raise TypeError(
            f"{name}={number!r} must be an integer: it counts {what}. {_remedy(number)}"
        )
    if number < 0:
        raise ValueError(
            f"{name}={number!r} must be at least 0: it counts {what}. "
            "Use 0 for what holds without any."
        )
    return int(number)


def _remedy(number):
    """Return what to pass in place of what is no integer."""
    if np.ndim(number) or isinstance(number, set | dict):
        return "Pass one integer, and ask once for each."
    try:
        return f"Pass an integer, such as {int(number)}."
    except (TypeError, ValueError, OverflowError):
        return "Pass an integer, such as 5."
