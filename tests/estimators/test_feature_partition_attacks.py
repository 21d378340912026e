"""Whoever owns columns, words and rows changes no more members than the certificate counts."""

import datetime
import decimal
import warnings

import numpy as np
import pandas as pd
import polars as pl
import pytest
import scipy.sparse as sp
from sklearn.base import clone
from sklearn.datasets import load_digits
from sklearn.feature_extraction.text import CountVectorizer, HashingVectorizer, TfidfVectorizer
from sklearn.linear_model import LogisticRegression, RidgeClassifier
from sklearn.naive_bayes import GaussianNB, MultinomialNB
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.tree import DecisionTreeClassifier

from certified_ensembles import FeaturePartitionAggregation

N_BLOCKS = 5


def digits():
    """Return training rows, labels and test rows; columns that are constant are left out."""
    X, y = load_digits(return_X_y=True)
    X = X[:, 2:14]
    return X[:90], y[:90], X[300:360]


def answers(clf, X):
    """Return ballots and scores of the members, of shape (n_partitions, n_blocks, ...)."""
    grid = (-1, clf.n_blocks)
    ballots = clf.ballots(X).T.reshape(*grid, len(clf.ballots(X)))
    if not hasattr(clf._members.spec.estimator, "decision_function"):
        return [ballots]
    scores = np.concatenate(list(clf._ask(clf._members.scores, X)))
    return [ballots, np.moveaxis(scores, 1, 0).reshape(*grid, *scores[:, 0].shape)]


def changed_blocks(clf, X, other, X_other):
    """Return the blocks of which any member has changed, or gets other rows."""
    found = set()
    for a, b in zip(answers(clf, X), answers(other, X_other), strict=True):
        found |= {j for j in range(clf.n_blocks) if a[:, j].tobytes() != b[:, j].tobytes()}
    if clf.partition_.ndim == 2:
        same = (clf.partition_ == other.partition_).all(axis=0)
        found |= set(np.flatnonzero(~same).tolist())
    return found


HOSTILE = {
    "large": [1e300, -1e300],
    "fractions": [0.1, 2 / 3],
    "missing": [None, float("nan")],
    "infinite": [np.inf, -np.inf],
    "words": ["1", "x" * 100],
    "words and numbers": ["spam", 3],
    "bytes": [b"\x00", b""],
    "long integers": [2**60 + 1, 2**62 + 3],
    "beyond all integers": [2**2000, 1],
    "truths": [True, False],
    "times": [datetime.datetime(1970, 1, 1), np.datetime64("2262-01-01")],
    "decimals": [decimal.Decimal("1.1"), 0],
    "no cells": [object(), [1, 2]],
    "levels": list(map(str, range(50))),
}
MEMBERS = {
    "ridge": RidgeClassifier(),
    "tree": DecisionTreeClassifier(),
    "naive Bayes": GaussianNB(),
    "scaled": make_pipeline(StandardScaler(), LogisticRegression(tol=0.1, max_iter=500)),
    "neighbors": KNeighborsClassifier(1),
}
CONTAINERS = {
    "list": lambda X: X.tolist(),
    "objects": lambda X: X,
    "pandas": lambda X: with_types(named(X)),
    "polars": lambda X: pl.DataFrame(
        [pl.Series(f"c{j}", X[:, j].tolist(), strict=False) for j in range(X.shape[1])]
        if all(len(set(map(type, column))) == 1 for column in X.T)
        else [pl.Series(f"c{j}", X[:, j].tolist(), dtype=pl.Object) for j in range(X.shape[1])]
    ),
}


def with_types(frame):
    try:
        return frame.infer_objects()
    except OverflowError:  # of pandas before 3.1, for an integer beyond all doubles
        return frame


def named(X):
    return pd.DataFrame({f"c{j}": X[:, j] for j in range(X.shape[1])})


def rewritten(X, column, values, rng):
    """Return rows as objects, with one column rewritten by values drawn from some."""
    X = X.astype(object)
    cells = np.empty(len(values), dtype=object)
    cells[:] = values
    X[:, column] = cells[rng.integers(len(values), size=len(X))]
    return X


@pytest.mark.parametrize("n_partitions", [1, 3])
@pytest.mark.parametrize("container", CONTAINERS)
@pytest.mark.parametrize("hostile", HOSTILE)
def test_a_rewritten_column_reaches_its_own_block_alone(hostile, container, n_partitions):
    X, y, X_test = digits()
    rng = np.random.default_rng(0)
    into = CONTAINERS[container]
    member = list(MEMBERS.values())[len(hostile) % len(MEMBERS)]
    how = {"n_partitions": n_partitions, "on_error": "abstain", "classes": range(10)}
    clf = FeaturePartitionAggregation(member, N_BLOCKS, **how)
    clean = clf.fit(into(X.astype(object)), y)
    before, column = into(X_test.astype(object)), int(rng.integers(X.shape[1]))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        poisoned = FeaturePartitionAggregation(member, N_BLOCKS, **how)
        poisoned.fit(into(rewritten(X, column, HOSTILE[hostile], rng)), y)
        after = into(rewritten(X_test, column, HOSTILE[hostile], rng))
        assert changed_blocks(clean, before, poisoned, after) <= {
            int(clean.block_of_feature_[column])
        }


@pytest.mark.parametrize(
    ("member", "form"),
    [
        (member, form)
        for member in MEMBERS
        for form in ("sparse", "sparse frame", "images", "single precision")
        if form != "sparse" or member not in ("naive Bayes", "scaled")  # they take no sparse rows
    ],
)
def test_a_type_of_numbers_is_no_way_to_other_blocks(form, member):
    X, y, X_test = digits()
    forms = {
        "sparse": sp.csr_matrix,
        "sparse frame": lambda X: named(X).astype(pd.SparseDtype(X.dtype, 0)),
        "images": lambda X: X.reshape(len(X), 4, 3),
        "single precision": np.asarray,
    }
    into = forms[form]
    own = np.float32 if form == "single precision" else np.uint8
    clf = FeaturePartitionAggregation(MEMBERS[member], 4, n_partitions=2, on_error="abstain")
    clean = clf.fit(into(X.astype(own)), y)
    wide, wide_test = X.astype(np.float64), X_test.astype(np.float64)
    wide[:, 4], wide_test[:, 4] = np.random.default_rng(0).random(len(X)), 1e200
    poisoned = clone(clf).fit(into(wide), y)
    blocks = changed_blocks(clean, into(X_test.astype(own)), poisoned, into(wide_test))
    assert blocks <= {int(clean.block_of_feature_.ravel()[4])}


def test_long_integers_of_one_column_round_no_other():
    rng = np.random.default_rng(0)
    X, y = rng.integers(0, 9, (60, 6)), rng.integers(0, 2, 60)
    X[:, 0] += 2**53 + 1  # an array of integers holds them, one of doubles does not
    clf = FeaturePartitionAggregation(DecisionTreeClassifier(), 3, n_partitions=3)
    clean = clf.fit(X, y)
    other = X.astype(object)
    column = np.flatnonzero(clean.block_of_feature_ != clean.block_of_feature_[0])[0]
    other[:, column] = 0.5
    poisoned = clone(clf).fit(other.tolist(), y)
    blocks = changed_blocks(clean, X, poisoned, other.tolist())
    assert blocks <= {int(clean.block_of_feature_[column])}


def predictions_within(clf, X, n_columns, n_rows=0):
    return clf.frontier(X)[:, n_rows] >= n_columns


@pytest.mark.parametrize("with_groups", [True, False])
@pytest.mark.parametrize("aggregation", ["plurality", "run_off"])
@pytest.mark.parametrize("member", ["ridge", "naive Bayes", "scaled"])
def test_predictions_survive_columns_and_rows_at_once(member, aggregation, with_groups):
    X, y = load_digits(return_X_y=True)
    X, X_test, y = X[:300], X[300:500], y[:300] % 3
    how = {"n_partitions": 4, "aggregation": aggregation, "classes": range(3)}
    clf = FeaturePartitionAggregation(MEMBERS[member], 6, **how)
    groups = np.arange(len(X)) if with_groups else None
    clean = clf.fit(X, y, groups=groups)
    y_pred, frontier, block_of = (
        clean.predict(X_test),
        clean.frontier(X_test),
        clean.block_of_feature_,
    )
    assert (frontier[:, 0] >= 1).any()
    rng = np.random.default_rng(0)
    for trial in range(12):
        target, n_rows, n_columns = trial % 3, trial % 2, int(rng.integers(0, 3))
        bad, bad_test = X.copy(), X_test.copy()
        for block in rng.choice(6, n_columns, replace=False):  # all columns of a block at once
            own = rng.choice(np.flatnonzero(block_of == block), 1)
            bad[:, own] = 20.0 * (y == target)[:, None] + rng.random((len(X), 1))
            bad_test[:, own] = 20.0
        labels, sources, rows = y.copy(), groups, np.arange(len(X))
        if n_rows:  # a row is struck, and another one brought in the name of its source
            struck = int(rng.integers(len(X)))
            bad[struck] = 1e3 * rng.standard_normal(X.shape[1])
            labels[struck] = target
            if not with_groups:
                rows = np.delete(rows, struck) if trial % 4 < 2 else rows
                cost = 1 if trial % 4 < 2 else 2
                n_rows = cost
        sources = groups[rows] if with_groups else None
        again = FeaturePartitionAggregation(MEMBERS[member], 6, **how)
        again.fit(bad[rows], labels[rows], groups=sources)
        if n_rows < frontier.shape[1]:
            safe = frontier[:, n_rows] >= n_columns
            assert (again.predict(bad_test)[safe] == y_pred[safe]).all()


MAILS = [
    "cheap pills buy now money winner",
    "winner money prize claim now cheap",
    "meeting monday agenda report budget",
    "report budget attached see agenda",
] * 12
VECTORIZERS = {
    "counts": CountVectorizer(),
    "presence, common words": CountVectorizer(binary=True, min_df=2, max_df=0.9),
    "tf-idf": TfidfVectorizer(),
    "hashes": HashingVectorizer(n_features=32),
    "first words": CountVectorizer(max_features=2),
}


def mails():
    rng = np.random.default_rng(0)
    texts = [" ".join(rng.permutation(text.split())[: rng.integers(3, 7)]) for text in MAILS]
    return texts, np.array([1, 1, 0, 0] * 12)


@pytest.mark.parametrize("n_partitions", [1, 2])
@pytest.mark.parametrize("vectorizer", VECTORIZERS)
@pytest.mark.parametrize("word", ["money", "zebra", "aaa", "MONEY"])
def test_a_word_reaches_its_own_block_alone(word, vectorizer, n_partitions):
    texts, y = mails()
    rng = np.random.default_rng(1)
    member = make_pipeline(VECTORIZERS[vectorizer], LogisticRegression(tol=0.1, max_iter=500))
    how = {"n_partitions": n_partitions, "on_error": "abstain"}
    clf = FeaturePartitionAggregation(member, 4, **how)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a member of few rows may have no word
        clean = clf.fit(texts, y)

    def rewrite(text):
        words = [w for w in text.split() if w != word.lower()]
        for _ in range(rng.integers(0, 40)):
            words.insert(rng.integers(len(words) + 1), word)
        return " ".join(words)

    bad = [rewrite(text) for text in texts]
    asked = texts[:8]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        poisoned = FeaturePartitionAggregation(member, 4, **how).fit(bad, y)
    blocks = changed_blocks(clean, asked, poisoned, [rewrite(text) for text in asked])
    assert clean.n_blocks - len(clean.errors_) >= 2
    assert blocks <= {int(clean._blocks.blocks_of([word.lower()])[0])}


def test_the_whole_row_decides_no_partition():
    X, y, _ = digits()
    clf = FeaturePartitionAggregation(n_blocks=4, n_partitions=5).fit(X, y)
    other = X.copy()
    other[:, 0] += 1
    again = FeaturePartitionAggregation(n_blocks=4, n_partitions=5).fit(other, y)
    moved = (clf.partition_ != again.partition_).any(axis=0)
    assert moved.sum() == 1
    assert moved[clf.block_of_feature_[0]]


def test_texts_that_no_member_could_read_reach_nobody_else():
    texts, y = mails()
    member = make_pipeline(MultinomialNB())
    member.steps.insert(0, ("words", CountVectorizer()))
    clf = FeaturePartitionAggregation(member, 3, n_partitions=2, on_error="abstain")
    groups = np.arange(len(texts))
    clean = clf.fit(texts, y, groups=groups)
    with pytest.warns(UserWarning, match="no canonical form"):
        other = clone(clf).fit([*texts, {"no": "text"}], [*y, 1], groups=[*groups, 99])
    assert changed_blocks(clean, texts, other, texts) == set()


@pytest.mark.parametrize("unreadable", [b"\xff\xfe money", None])
def test_texts_that_cannot_be_read_hold_no_words(unreadable):
    texts, y = mails()
    member = make_pipeline(CountVectorizer(), MultinomialNB())
    clf = FeaturePartitionAggregation(member, 3, n_partitions=2, on_error="abstain")
    clean = clf.fit([*texts, ""], [*y, 1])
    other = clone(clf).fit([*texts, unreadable], [*y, 1])
    assert changed_blocks(clean, [*texts, ""], other, [*texts, unreadable]) == set()
    with pytest.raises(ValueError, match=r"missing|decode") as error:
        clone(clf).set_params(on_error="raise").fit([*texts, unreadable], [*y, 1])
    assert f"row {len(texts)} of X" in error.value.__notes__[0]
