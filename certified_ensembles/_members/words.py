"""Texts that are cut into words once for all members, where each would cut them anew."""

import functools
from collections import Counter

import numpy as np
from sklearn.feature_extraction.text import CountVectorizer, TfidfVectorizer
from sklearn.pipeline import Pipeline

from .panels import copy_of
from .shapes import own_words_alone


def with_shared_words(members):
    """Return members that look up the words of a text in a count that they share.

    What the words of a text are follows from the parameters of a vectorizer, which all members
    have in common. Which of them count, and how much, is each member's own, and its own code.

    Parameters
    ----------
    members : list
        Fitted estimators; None where one is missing. Pipelines that begin with a vectorizer share
        words, in copies that answer as they do; all others are returned as they are.
    """
    first = next((m.steps[0][1] for m in members if _counts_words(m)), None)
    if first is None:
        return members
    _, empty = first._count_vocab((), fixed_vocab=True)  # in scikit-learn's own form
    words = _Words(first.build_analyzer(), type(empty))
    return [_sharing(m, words) if _counts_words(m) else m for m in members]


def _counts_words(member):
    step = member.steps[0][1] if type(member) is Pipeline else None
    if type(step) not in (CountVectorizer, TfidfVectorizer):
        return False
    return own_words_alone(step) and step.input == "content"


def _sharing(member, words):
    name, step = member.steps[0]
    step = copy_of(step, {}, _kind_of_sharing(type(step)))
    step.shared_words = words
    return copy_of(member, {"steps": lambda steps: [(name, step), *steps[1:]]})


@functools.cache
def _kind_of_sharing(kind):
    return type(kind)(kind.__name__, (_Sharing, kind), {})


class _Sharing:
    """A fitted vectorizer that does not cut texts itself."""

    def _count_vocab(self, texts, fixed_vocab):
        words, counts, which, starts = self.shared_words.of(texts)
        column = np.array([*map(self.vocabulary_.get, words, [-1] * len(words))], dtype=np.int32)
        column = column[which]
        own = column >= 0
        starts = np.concatenate([[0], own.cumsum()])[starts].astype(np.int32)
        shape = (len(texts), len(self.vocabulary_))
        form = self.shared_words.form
        X = form((counts[own].astype(self.dtype), column[own], starts), shape=shape)
        X.sort_indices()
        return self.vocabulary_, X


class _Words:
    """How often which words stand in texts, for sparse matrices of one form."""

    def __init__(self, analyze, form):
        self._analyze, self.form, self._known = analyze, form, {}

    def of(self, texts):
        """Return the words of a block of texts, counted when a member first asks for them.

        Parameters
        ----------
        texts : sequence of str
            Of which this object keeps hold: by the block itself it is known again.

        Returns
        -------
        words : list of str
            Different ones.
        counts, which : ndarray of shape (n_entries,), int
            How often which of the words stand in a text, text after text.
        starts : ndarray of shape (n_texts + 1,), int
            Where the entries of a text start.
        """
        if id(texts) not in self._known:
            self._known[id(texts)] = texts, self._count(texts)
        return self._known[id(texts)][1]

    def _count(self, texts):
        places, counts, which, starts = {}, [], [], [0]
        for text in texts:
            own = Counter(self._analyze(text))
            counts.extend(own.values())
            which.extend([places.setdefault(word, len(places)) for word in own])
            starts.append(len(which))
        return list(places), np.array(counts, np.intc), np.array(which, np.intp), np.array(starts)
