"""Texts cut into the words of each block: tokenised once, every different word looked at once."""

import numpy as np

from .containers import as_table
from .frames import objects

# What parts the words of a block. No pattern of scikit-learn's finds it inside a word.
SEPARATOR = "\x00"


def word_tables(table, analyze, n_blocks, block_of, on_error="raise"):
    """Return the texts of each block: the words that belong to it, sorted, each as often as it is.

    Sorted, so that neither places nor the words of other blocks show.

    Parameters
    ----------
    table : Table
        Texts.
    analyze : callable
        From a text to the list of its words.
    n_blocks : int
    block_of : callable
        From a list of different words to the block of each.
    on_error : {"raise", "abstain"}, default="raise"
        With "abstain" a text that is missing, or cannot be read, holds no words.

    Returns
    -------
    tables : list of Table

    Raises
    ------
    ValueError
        If a text is missing or cannot be read.
    """
    number, flat, lengths = {}, [], []
    for place, text in enumerate(objects(table, 0)):
        words = _words_of(text, place, analyze, on_error)
        lengths.append(len(words))
        flat.extend([number.setdefault(word, len(number)) for word in words])
    vocabulary = sorted(number)
    rank = np.empty(len(number), dtype=np.int64)
    rank[[number[word] for word in vocabulary]] = np.arange(len(number))
    blocks = np.asarray(block_of(vocabulary), dtype=np.int64) if vocabulary else rank
    n_texts, n_words = len(lengths), max(len(vocabulary), 1)
    ranks = rank[np.array(flat, dtype=np.int64)]
    text_of = np.repeat(np.arange(n_texts), lengths)
    keys = np.sort((blocks[ranks] * n_texts + text_of) * n_words + ranks)
    starts = np.searchsorted(keys, np.arange(n_blocks * n_texts + 1) * n_words)
    words = np.array(vocabulary, dtype=object)[keys % n_words].tolist()
    bounds = starts.tolist()
    tables = []
    for b in range(n_blocks):
        own = range(b * n_texts, (b + 1) * n_texts)
        texts = [SEPARATOR.join(words[bounds[i] : bounds[i + 1]]) for i in own]
        tables.append(as_table(np.array(texts, dtype=object), text=True))
    return tables


def _words_of(text, place, analyze, on_error):
    try:
        if not isinstance(text, str | bytes):
            raise ValueError("The text is missing.")
        return analyze(text)
    except Exception as error:
        if on_error == "abstain":
            return []
        error.add_note(
            f"Raised while row {place} of X was cut into words. Drop or correct it, or set "
            'on_error="abstain": then it holds no words.'
        )
        raise
