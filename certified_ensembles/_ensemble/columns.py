"""Which columns, pixels or words belong to which block, and how rows are cut into blocks."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from sklearn.base import clone
from sklearn.feature_extraction.text import CountVectorizer, HashingVectorizer, TfidfVectorizer
from sklearn.pipeline import Pipeline

from .._data.columns import block_table, column_names, n_features
from .._data.words import SEPARATOR, word_tables
from ..hashers import ContentHasher, residues

_VECTORIZERS = (CountVectorizer, TfidfVectorizer, HashingVectorizer)
# What a member's vectoriser does with the words of its block: it takes them as they are.
_WORDS_AS_THEY_ARE = {
    "input": "content",
    "strip_accents": None,
    "lowercase": False,
    "preprocessor": None,
    "tokenizer": None,
    "stop_words": None,
    "token_pattern": f"[^{SEPARATOR}]+",
}


class ColumnBlocks(NamedTuple):
    """Blocks of the columns of a table, or of the pixels of images.

    Attributes
    ----------
    block_of : ndarray of shape (n_features,) or (height, width), int64
    n_blocks : int
    """

    block_of: Any
    n_blocks: int

    @classmethod
    def of(cls, table, n_blocks, blocks=None):
        """Return the blocks of training rows, by hash or as the user gives them."""
        shape, names = n_features(table), column_names(table)
        if blocks is not None:
            return cls(_given_blocks(blocks, shape, names, n_blocks), n_blocks)
        if names is not None:
            return cls(residues(ContentHasher()(names), n_blocks), n_blocks)
        # Nobody adds a place: so places are dealt out in turn, in the order of their hashes.
        order = np.argsort(ContentHasher()(np.arange(int(np.prod(shape)))[:, None]))
        block_of = np.empty(len(order), dtype=np.int64)
        block_of[order] = np.arange(len(order)) % n_blocks
        return cls(block_of.reshape(shape), n_blocks)

    @property
    def filled(self):
        """Which blocks have columns, as an array of bool."""
        return np.bincount(self.block_of.ravel(), minlength=self.n_blocks) > 0

    def split(self, table):
        """Return a table for each block."""
        if n_features(table) != self.block_of.shape:
            raise ValueError(
                f"X has features of shape {n_features(table)}, but the ensemble was fitted on "
                f"features of shape {self.block_of.shape}: pass rows as in fit."
            )
        block_of = self.block_of.ravel()
        return [block_table(table, np.flatnonzero(block_of == j)) for j in range(self.n_blocks)]


def _given_blocks(blocks, shape, names, n_blocks):
    if isinstance(blocks, Mapping):
        if names is None:
            raise ValueError(
                f"blocks={blocks!r} names columns, but X has no names: pass one block number a "
                "column, in their order."
            )
        missing = [name for name in names if name not in blocks]
        if missing:
            raise ValueError(
                f"blocks names no block for the columns {missing[:5]}: give every column one."
            )
        blocks = [blocks[name] for name in names]
    block_of = np.asarray(blocks)
    if block_of.shape != shape or block_of.dtype.kind not in "iu":
        raise ValueError(
            f"blocks must have one integer for each of the features of X, shape {shape}, got "
            f"dtype {block_of.dtype} and shape {block_of.shape}."
        )
    if block_of.min() < 0 or block_of.max() >= n_blocks:
        raise ValueError(
            f"blocks has numbers from {block_of.min()} to {block_of.max()}, but n_blocks="
            f"{n_blocks}: number blocks from 0 to n_blocks - 1, or pass another n_blocks."
        )
    return block_of.astype(np.int64)


class WordBlocks(NamedTuple):
    """Blocks of the words of texts.

    Attributes
    ----------
    vectorizer : CountVectorizer, TfidfVectorizer or HashingVectorizer
        Unfitted; it says what a word is.
    n_blocks : int
    on_error : {"raise", "abstain"}
    """

    vectorizer: Any
    n_blocks: int
    on_error: str
    block_of = None

    @classmethod
    def of(cls, estimator, n_blocks, blocks, on_error):
        """Return the blocks of the words that the first step of a pipeline finds."""
        return cls(clone(_vectorizer_of(estimator, blocks)), n_blocks, on_error)

    @property
    def filled(self):
        """Which blocks have words: all may."""
        return np.ones(self.n_blocks, dtype=bool)

    def split(self, table):
        """Return a table of texts for each block."""
        analyze = self.vectorizer.build_analyzer()
        return word_tables(table, analyze, self.n_blocks, self.blocks_of, self.on_error)

    def blocks_of(self, words):
        """Return the block of every word: its hash modulo the number of blocks."""
        return residues(ContentHasher()(list(words)), self.n_blocks)

    @staticmethod
    def member_estimator(estimator):
        """Return the pipeline of a member, which counts the words of its block as they come."""
        estimator = clone(estimator)
        estimator.steps[0][1].set_params(**_WORDS_AS_THEY_ARE)
        return estimator


def _vectorizer_of(estimator, blocks):
    step = estimator.steps[0][1] if type(estimator) is Pipeline and estimator.steps else None
    if type(step) not in _VECTORIZERS:
        raise ValueError(
            f"X holds texts, and estimator={estimator!r} does not begin with a vectoriser, whose "
            "words could be dealt out to blocks: pass make_pipeline(CountVectorizer(), "
            "classifier), or a TfidfVectorizer or HashingVectorizer in its place."
        )
    if blocks is not None:
        raise ValueError("blocks=... is for columns: a hash decides the block of a word.")
    name = type(step).__name__
    if step.analyzer != "word":
        raise ValueError(
            f"analyzer={step.analyzer!r} of {name} takes more than words: one word of an attacker "
            "would be in features of several blocks. Use analyzer='word'."
        )
    if tuple(step.ngram_range) != (1, 1):
        raise ValueError(
            f"ngram_range={step.ngram_range!r} of {name} joins words of several blocks: whoever "
            "owns a word is in all of its n-grams. Use ngram_range=(1, 1)."
        )
    if step.input != "content":
        raise ValueError(
            f"input={step.input!r} of {name} reads files, and rows must be the texts themselves. "
            "Use input='content'."
        )
    return step


def reasons_of_steps(steps, n_rows):
    """Return what voids a certificate of columns behind some steps of a pipeline.

    Parameters
    ----------
    steps : list of (str, transformer)
    n_rows : int
        The poisoned rows that are asked about as well.

    Returns
    -------
    reasons : list of str
    """
    unknown = [f"{name!r} ({type(step).__name__})" for name, step in steps if _may_mix(step)]
    if not unknown:
        return []
    rows = "" if not n_rows else ", and learns from no training row"
    return [
        f"The certificate is void unless each of {', '.join(unknown)}, which the pipeline runs "
        f"before the ensemble, makes every column of one column alone{rows}: else one hostile "
        "column reaches members of several blocks. Put the step inside the base estimator, "
        "FeaturePartitionAggregation(make_pipeline(step, clf)), where it sees one block."
    ]


def _may_mix(step):
    """Say whether a step may bring values of several columns, or words, into one."""
    # Its columns are hashes of words; what a row's norm divides by is made of all of them.
    words = type(step) is HashingVectorizer and step.norm is None
    return not (words and step.analyzer == "word" and tuple(step.ngram_range) == (1, 1))
