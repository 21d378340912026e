"""A row -> an integer, and from there its partition; the canonical order of rows.

The partition of a row may depend on that row alone. Two hashers ship with the package;
any callable ``hasher(X) -> (n_samples,) integers`` serves as well.
"""

import itertools
import warnings
from hashlib import blake2b

import numpy as np
import scipy.sparse as sp
from joblib import effective_n_jobs
from sklearn.base import BaseEstimator

from ._certificate import CertificateWarning
from ._data.blocks import _TABLE_BYTES, row_blocks
from ._data.canonical import canonical_bytes, canonical_order, canonical_parts
from ._data.containers import as_table, take
from ._data.labels import number_groups
from ._data.out_of_core import forget_pages, is_stored
from ._data.table import Table
from ._jobs import in_turn

__all__ = [
    "ContentHasher",
    "PixelSumHasher",
    "assign_partitions",
    "canonical_order",
    "resolve_hasher",
]

_N_PROBED = 8
# Bytes from which hashlib lets other threads run.
_LONG_ROW = 2048


class ContentHasher(BaseEstimator):
    """BLAKE2b digest of the canonical bytes of a row.

    Equal rows get equal integers whatever their dtype (float32 values held as float64,
    integers held as floats), memory layout, byte order or container (array of any rank,
    CSR matrix, dataframe, sequence of strings); -0.0 equals 0.0 and every NaN equals every
    other. Different rows collide with a probability of about 2**-63 a pair.

    Parameters
    ----------
    key : str or bytes, default=None
        Secret of at most 64 bytes. An attacker who does not know it cannot choose the
        partition of a row. No certificate needs it.
    include_labels : bool, default=False
        Hash the label with the features. Then a flipped label may move its row, and counts
        as two operations instead of one.

    Attributes
    ----------
    uses_labels : bool
        Whether the label takes part, which decides what a label flip costs.

    Examples
    --------
    >>> import numpy as np
    >>> from certified_ensembles.hashers import ContentHasher
    >>> X = np.array([[0, 1], [2, 3]], dtype=np.uint8)
    >>> bool((ContentHasher()(X) == ContentHasher()(np.asfortranarray(X, dtype=float))).all())
    True
    """

    def __init__(self, key=None, include_labels=False):
        self.key = key
        self.include_labels = include_labels

    @property
    def uses_labels(self):
        """Whether the label of a row takes part in its hash."""
        return bool(self.include_labels)

    def __call__(self, X, y=None):
        """Hash every row.

        Parameters
        ----------
        X : array-like, sparse matrix, dataframe or sequence of str
            Rows, n_samples of them.
        y : array-like of shape (n_samples,), default=None
            Labels; needed only with ``include_labels=True``.

        Returns
        -------
        hashes : ndarray of shape (n_samples,), int64
            Non-negative 63-bit integers.
        """
        key = self.key.encode() if isinstance(self.key, str) else (self.key or b"")
        if not isinstance(key, bytes) or len(key) > 64:
            raise ValueError(
                f"key={self.key!r} must be a string or bytes of at most 64 bytes, or None."
            )
        parts = canonical_parts(X)
        if self.include_labels:
            if y is None:
                raise ValueError("include_labels=True needs y: call hasher(X, y).")
            rows = (
                len(row).to_bytes(8, "little") + row + label
                for row, label in zip(canonical_bytes(X), canonical_bytes(y), strict=True)
            )
            parts = [(b"", rows)]
        digests = b"".join(
            itertools.chain.from_iterable(_digests(tag, rows, key) for tag, rows in parts)
        )
        return (np.frombuffer(digests, dtype="<u8") >> np.uint64(1)).astype(np.int64)


def _digests(tag, rows, key):
    """Return the digest of every row behind a tag, which begins all of them alike."""
    begun = blake2b(tag, digest_size=8, key=key).copy
    digests = []
    for row in rows:
        own = begun()
        own.update(row)
        digests.append(own.digest())
    return digests


class PixelSumHasher(BaseEstimator):
    """The sum of a row's integers: the hash of the DPA paper, for images.

    Sums of integers do not depend on the order of summation; sums of floats do, and with
    them the partition of a row, so anything but integers is refused (integers held as
    floats are exact and pass).

    Notes
    -----
    An attacker steers it at will and it spreads rows less evenly than
    :class:`ContentHasher`; the certificate does not mind either.

    References
    ----------
    .. [1] Levine and Feizi, "Deep Partition Aggregation: Provable Defenses against General
       Poisoning Attacks", ICLR 2021, section 3.2.

    Examples
    --------
    >>> from certified_ensembles.hashers import PixelSumHasher
    >>> PixelSumHasher()([[0, 255], [3, 4]]).tolist()
    [255, 7]
    """

    uses_labels = False

    def __call__(self, X):
        """Sum every row.

        Parameters
        ----------
        X : array-like or sparse matrix of integers
            Rows, n_samples of them; further axes are summed as well.

        Returns
        -------
        hashes : ndarray of shape (n_samples,), int64
            Sums of the rows.

        Raises
        ------
        ValueError
            If a value is not an integer or a sum does not fit 64 bits.
        """
        table = as_table(X)
        if table.coded:
            raise ValueError(
                "hasher='pixel_sum' sums integers, got values of dtype object: cells that are no "
                "numbers; use hasher='content', which takes any row."
            )
        values, width = table.dense, int(np.prod(table.dense.shape[1:]))
        if sp.issparse(values):
            self._checked(values.data, width)
            return np.asarray(values.astype(np.int64).sum(axis=1)).ravel()
        sums = [np.empty(0, np.int64)]
        for rows in row_blocks(values, _TABLE_BYTES):
            block = self._checked(values[rows], width)
            sums.append(block.reshape(len(block), width).sum(axis=1, dtype=np.int64))
            forget_pages(values)
        return np.concatenate(sums)

    def _checked(self, values, width):
        """Return integers as integers, if the sum of so many of them fits."""
        if values.dtype.kind not in "biuf":
            raise ValueError(
                f"hasher='pixel_sum' sums integers, got values of dtype {values.dtype}; use "
                "hasher='content', which takes any row."
            )
        if values.dtype.kind == "f" and not np.array_equal(values, np.rint(values)):
            raise ValueError(
                "hasher='pixel_sum' sums integers, got fractional or missing values: the sum "
                "of floats depends on the order of summation, which voids the certificate. "
                "Use hasher='content' or pass the raw integer pixels."
            )
        largest = float(np.abs(values.astype(np.float64)).max()) if values.size else 0.0
        if largest * (width + 1) >= 2**62:
            raise ValueError(
                f"hasher='pixel_sum': values as large as {largest:.3g} may overflow 64 bits; "
                "use hasher='content'."
            )
        return values if values.dtype.kind != "f" else values.astype(np.int64)


_HASHERS = {"content": ContentHasher, "pixel_sum": PixelSumHasher}


def resolve_hasher(hasher):
    """Return the hasher that a ``hasher`` parameter names, or the callable itself.

    Parameters
    ----------
    hasher : {"content", "pixel_sum"} or callable
        A name or an object; an object may have a boolean ``uses_labels`` and is then called
        as ``hasher(X, y)`` where that is true, else as ``hasher(X)``.

    Returns
    -------
    hasher : callable

    Raises
    ------
    ValueError
        If it is neither.
    """
    if isinstance(hasher, str) and hasher in _HASHERS:
        return _HASHERS[hasher]()
    if callable(hasher):
        return hasher
    raise ValueError(
        f"hasher={hasher!r} is unknown: pass one of {sorted(_HASHERS)}, a callable "
        "hasher(X) -> (n_samples,) integers, or an object of certified_ensembles.hashers."
    )


def uses_labels(hasher):
    """Say whether a resolved hasher looks at labels."""
    return bool(getattr(hasher, "uses_labels", False))


def assign_partitions(hasher, X, y, n_partitions, n_jobs=None):
    """Return the partition of every row: its hash modulo the number of partitions.

    Parameters
    ----------
    hasher : callable
        As :func:`resolve_hasher` returns it.
    X : container of n_samples rows
    y : array-like of shape (n_samples,)
        Labels; given to the hasher only if it says that it looks at them.
    n_partitions : int
    n_jobs : int, default=None
        Threads for long rows of an array and a :class:`ContentHasher`. It changes no result.

    Returns
    -------
    partition : ndarray of shape (n_samples,), int64
        Values in 0..n_partitions - 1.

    Raises
    ------
    ValueError
        If the hasher returns anything but one integer a row.

    Warns
    -----
    CertificateWarning
        If a hasher of the caller's gives a row another value when the row stands alone or
        among others: then the partition depends on more than the row, and nothing is certified.
    """
    table = as_table(X)
    if isinstance(hasher, ContentHasher | PixelSumHasher):
        return residues(_hash_in_threads(hasher, table, y, n_jobs), n_partitions)
    rows = table.given if isinstance(X, Table) else X  # a hasher of the caller's knows no tables
    hashes = _hash(hasher, rows, y, len(table))
    _probe(hasher, rows, y, hashes)
    return residues(hashes, n_partitions)


def residues(hashes, n_partitions):
    """Return integers modulo the number of partitions, which may not fit their own type."""
    wide = np.uint64 if hashes.dtype.kind == "u" else np.int64
    return (hashes.astype(wide) % wide(n_partitions)).astype(np.int64)


def _hash_in_threads(hasher, table, y, n_jobs):
    """Hash rows, in threads where Python lets go of them: for long rows in memory."""
    n_jobs_at_once = effective_n_jobs(n_jobs)
    threaded = n_jobs_at_once > 1 and table.is_plain and isinstance(hasher, ContentHasher)
    rows = table.dense
    if not threaded or is_stored(rows) or rows.nbytes < _LONG_ROW * len(rows):
        return _hash(hasher, table, y, len(table))
    bounds = np.linspace(0, len(rows), 4 * n_jobs_at_once + 1).astype(int)
    y = np.asarray(y)
    calls = ((hasher, rows[a:b], y[a:b], b - a) for a, b in itertools.pairwise(bounds) if a < b)
    return np.concatenate(list(in_turn(_hash, calls, n_jobs, require="sharedmem")))


def _hash(hasher, X, y, n):
    hashes = np.asarray(hasher(X, y) if uses_labels(hasher) else hasher(X))
    if hashes.dtype.kind not in "iub" or hashes.shape != (n,):
        raise ValueError(
            f"hasher={hasher!r} returned an array of dtype {hashes.dtype} and shape "
            f"{hashes.shape} for {n} rows; it must return one integer a row, shape "
            "(n_samples,), because only integers are the same on every machine."
        )
    return hashes


def _probe(hasher, X, y, hashes):
    """Warn if a few rows, hashed alone and in reverse, get other values than before."""
    index = np.unique(np.linspace(0, len(hashes) - 1, _N_PROBED).astype(int))
    y = np.asarray(y)
    try:
        alone = [_hash(hasher, take(X, [i]), y[[i]], 1)[0] for i in index]
        turned = _hash(hasher, take(X, index[::-1]), y[index[::-1]], len(index))[::-1]
    except Exception as error:
        reason = f"it fails on single rows ({type(error).__name__}: {error})"
    else:
        if np.array_equal(alone, hashes[index]) and np.array_equal(turned, hashes[index]):
            return
        reason = "it gives the same row another value in other company"
    warnings.warn(
        f"The certificate is void: hasher={hasher!r} is not a function of the row alone, "
        f"{reason}. Use hasher='content', or remove whatever looks at the other rows "
        "(a scaler, a rank, a sum of floats in changing order).",
        CertificateWarning,
        stacklevel=4,
    )


def label_free_partition(partitioner, X, index, n_partitions):
    """Return the partition of every row: the same for all copies, and whatever the labels.

    Parameters
    ----------
    partitioner : "sorted", or what `resolve_hasher` takes
    X : rows
    index : ndarray of shape (n_train,), int
        The place of every row among the different rows in canonical order.
    n_partitions : int

    Returns
    -------
    partition : ndarray of shape (n_train,), int64

    Raises
    ------
    ValueError
        If the partitioner is unknown, looks at labels, or returns anything but integers.
    """
    if isinstance(partitioner, str) and partitioner == "sorted":
        return index % n_partitions
    try:
        hasher = resolve_hasher(partitioner)
    except ValueError as error:
        raise ValueError(
            f"partitioner={partitioner!r} is unknown: pass 'sorted', 'content', 'pixel_sum', or a "
            "callable partitioner(X) -> (n_samples,) integers."
        ) from error
    if uses_labels(hasher):
        raise ValueError(
            f"partitioner={partitioner!r} looks at labels: a flipped label would move its row and "
            "change two members. Use partitioner='sorted' or a hasher of features, such as "
            "ContentHasher(include_labels=False)."
        )
    # Each different row once, in canonical order: no copy, label or order of arrival counts.
    first = np.unique(index, return_index=True)[1]
    table = as_table(X)
    ours = isinstance(hasher, ContentHasher | PixelSumHasher)
    rows = table if ours else table.given if isinstance(X, Table) else X
    hashes = np.asarray(hasher(take(rows, first)))
    if hashes.dtype.kind not in "iub" or hashes.shape != first.shape:
        raise ValueError(
            f"partitioner={partitioner!r} returned an array of dtype {hashes.dtype} and shape "
            f"{hashes.shape} for {len(first)} rows; it must return one integer a row."
        )
    return residues(hashes, n_partitions)[index]


def annotator_partition(partitioner, groups, n_partitions):
    """Return numbers of the annotators of all labels, and the partitions that they decide.

    Parameters
    ----------
    partitioner : "sorted", "content" or a ContentHasher
        Annotators are sorted and dealt out in turn, or their names are hashed.
    groups : Table
        The annotator of every label, as `validate_groups` returns it.
    n_partitions : int

    Returns
    -------
    annotator, partition : ndarrays of shape (n_train,), int64

    Raises
    ------
    ValueError
        If the partitioner asks for the features of rows.
    """
    annotator = number_groups(groups)
    if isinstance(partitioner, str) and partitioner == "sorted":
        return annotator, annotator % n_partitions
    by_name = isinstance(partitioner, str) and partitioner == "content"
    hasher = ContentHasher() if by_name else partitioner
    if not isinstance(hasher, ContentHasher):
        raise ValueError(
            "groups=... makes the annotator decide the partition, and partitioner="
            f"{partitioner!r} asks for the features to do so. Set partitioner='sorted' "
            "(annotators are dealt out in turn) or 'content' (by a hash of their names)."
        )
    names_alone = ContentHasher(key=hasher.key)
    return annotator, assign_partitions(names_alone, groups, annotator, n_partitions)
