"""What FeaturePartitionAggregation promises beside its radius: blocks, arguments, refusals."""

import re

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from joblib import parallel_config
from sklearn.datasets import load_digits
from sklearn.decomposition import PCA
from sklearn.feature_extraction.text import CountVectorizer, HashingVectorizer, TfidfVectorizer
from sklearn.linear_model import LogisticRegression, RidgeClassifier
from sklearn.naive_bayes import GaussianNB, MultinomialNB
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import Normalizer
from sklearn.tree import DecisionTreeClassifier

from certified_ensembles import CertificateWarning, FeaturePartitionAggregation, certify
from certified_ensembles.certificates import block_frontier, grid_frontier, plurality_radius
from certified_ensembles.hashers import ContentHasher


@pytest.fixture
def digits():
    X, y = load_digits(return_X_y=True)
    return X[:80], y[:80], X[300:340]


# ---------------------------------------------------------------- blocks


def test_places_are_dealt_out_evenly(digits):
    X, y, _ = digits
    clf = FeaturePartitionAggregation(n_blocks=6).fit(X, y)
    assert clf.block_of_feature_.shape == (64,)
    assert set(np.bincount(clf.block_of_feature_)) == {10, 11}


def test_the_block_of_a_name_depends_on_no_other_column(digits):
    X, y, _ = digits
    frame = pd.DataFrame(X, columns=[f"pixel {j}" for j in range(64)])
    blocks = {}
    for own in (frame, frame.iloc[:, ::-1], frame.iloc[:, 10:40]):
        clf = FeaturePartitionAggregation(n_blocks=4).fit(own, y)
        for name, block in zip(own.columns, clf.block_of_feature_, strict=True):
            assert blocks.setdefault(name, block) == block


def test_members_see_the_columns_of_their_block_alone(digits):
    X, y, X_test = digits
    clf = FeaturePartitionAggregation(DecisionTreeClassifier(), 4).fit(X, y)
    for j, member in enumerate(clf.estimators_):
        own = np.flatnonzero(clf.block_of_feature_ == j)
        alone = DecisionTreeClassifier(random_state=j)
        order = np.lexsort((y, *X[:, own[::-1]].T))
        alone.fit(X[order][:, own], y[order])
        assert member.n_features_in_ == len(own)
        expected = np.searchsorted(clf.classes_, alone.predict(X_test[:, own]))
        assert (clf.ballots(X_test)[:, j] == expected).all()


def test_blocks_of_the_user_are_kept(digits):
    X, y, _ = digits
    rows = np.repeat(np.arange(8), 8)
    clf = FeaturePartitionAggregation(n_blocks=8, blocks=rows).fit(X, y)
    assert clf.block_of_feature_.tolist() == rows.tolist()
    images = FeaturePartitionAggregation(n_blocks=8, blocks=rows.reshape(8, 8))
    assert (
        images.fit(X.reshape(-1, 8, 8), y).ballots(X.reshape(-1, 8, 8)) == clf.ballots(X)
    ).all()
    frame = pd.DataFrame(X, columns=[f"{j}" for j in range(64)])
    named = FeaturePartitionAggregation(
        n_blocks=8, blocks={f"{j}": int(rows[j]) for j in range(64)}
    )
    assert (named.fit(frame, y).ballots(frame) == clf.ballots(X)).all()


def test_all_channels_of_a_pixel_are_in_one_block(digits):
    X, y, _ = digits
    images = X.reshape(-1, 8, 4, 2)
    clf = FeaturePartitionAggregation(n_blocks=4).fit(images, y)
    assert clf.block_of_feature_.shape == (8, 4)
    assert [member.n_features_in_ for member in clf.estimators_] == [16] * 4
    with pytest.raises(ValueError, match="fitted on"):
        clf.predict(X.reshape(-1, 8, 8))


@pytest.mark.parametrize(
    ("blocks", "message"),
    [
        ([0, 1], "shape (64,)"),
        (np.full(64, 0.5), "dtype float64"),
        (np.full(64, 3), "n_blocks=3"),
        (np.full(64, -1), "from -1"),
        ({"a": 0}, "X has no names"),
    ],
)
def test_unusable_blocks_are_refused(blocks, message, digits):
    X, y, _ = digits
    with pytest.raises(ValueError, match=re.escape(message)):
        FeaturePartitionAggregation(n_blocks=3, blocks=blocks).fit(X, y)


def test_empty_blocks_are_said(digits):
    X, y, X_test = digits
    with pytest.warns(CertificateWarning, match="4 of 6 members have no columns"):
        clf = FeaturePartitionAggregation(n_blocks=6).fit(X[:, 20:22], y)
    assert sum(member is None for member in clf.estimators_) == 4
    assert ((clf.ballots(X_test[:, 20:22]) == -1).sum(axis=1) == 4).all()


# ---------------------------------------------------------------- certificates


@pytest.mark.parametrize("with_groups", [False, True])
def test_the_frontier_is_that_of_the_ballots(with_groups, digits):
    X, y, X_test = digits
    groups = np.arange(len(X)) if with_groups else None
    clf = FeaturePartitionAggregation(n_blocks=4, n_partitions=3, classes=range(10))
    clf.fit(X, y, groups=groups)
    survived = grid_frontier if with_groups else block_frontier
    frontier = clf.frontier(X_test)
    assert (frontier == survived(clf.ballots(X_test), 3, 4, 10)).all()
    for r in range(6):
        expected = frontier[:, min(r, 3)]
        assert (clf.certify(X_test, n_rows=r).radius == expected).all()
    replaced = clf.frontier(X_test, threat="replacement")
    assert (replaced == (frontier if with_groups else frontier[:, ::2])).all()


def test_columns_alone_bring_no_label(digits):
    X, y, X_test = digits
    clf = FeaturePartitionAggregation(n_blocks=4).fit(X, y)
    _, expected = plurality_radius(clf.vote_counts(X_test), open_set=False)
    assert (clf.certify(X_test).radius == expected).all()


@pytest.mark.parametrize("question", [{"target": 3}, {"top_k": 1}])
def test_other_questions_are_answered_in_columns(question, digits):
    X, y, X_test = digits
    plain = FeaturePartitionAggregation(n_blocks=4, classes=range(10)).fit(X, y)
    radius = plain.certify(X_test).radius
    own = plain.certify(X_test, **question).radius
    assert ((own >= radius) | (own == -1)).all()
    grid = FeaturePartitionAggregation(n_blocks=4, n_partitions=2, classes=range(10)).fit(X, y)
    beside = grid.certify(X_test, n_rows=1, **question).radius
    assert (beside <= grid.certify(X_test, **question).radius).all()


@pytest.mark.parametrize("n_partitions", [1, 2])
def test_one_attacker_on_all_rows_owns_columns(n_partitions, digits):
    X, y, X_test = digits
    how = {"n_partitions": n_partitions, "classes": range(10)}
    clf = FeaturePartitionAggregation(GaussianNB(), 6, on_error="abstain", **how).fit(X, y)
    together = clf.collective_certify(X_test, 1)
    assert together.certified >= together.pointwise
    if n_partitions == 1:
        assert together.pointwise == (clf.certify(X_test).radius >= 1).sum()
    with pytest.raises(ValueError, match="counts columns"):
        clf.collective_certify(X_test, 1, threat="label_flip")


@pytest.mark.parametrize("aggregation", ["plurality", "run_off"])
def test_poisoned_rows_may_bring_a_label_where_all_members_see_all_rows(aggregation, digits):
    X, y, X_test = digits
    clf = FeaturePartitionAggregation(GaussianNB(), 4, aggregation=aggregation)
    clf.fit(X, np.zeros(len(y), dtype=int))
    assert (clf.frontier(X_test) == [4, -1]).all()
    assert (clf.certify(X_test, n_rows=1).radius == -1).all()
    for question in ({"target": 0}, {"top_k": 1}):
        assert (clf.certify(X_test, n_rows=1, **question).radius == -1).all()


@pytest.mark.parametrize("n_rows", [-1, 0.5, None, True])
def test_unusable_numbers_of_rows_are_refused(n_rows, digits):
    X, y, X_test = digits
    clf = FeaturePartitionAggregation(n_blocks=2).fit(X, y)
    with pytest.raises((TypeError, ValueError), match="counts poisoned rows"):
        clf.certify(X_test, n_rows=n_rows)


def test_consecutive_periods_are_refused(digits):
    X, y, X_test = digits
    with pytest.raises(ValueError, match="consecutive periods"):
        FeaturePartitionAggregation(n_blocks=2).fit(X, y).certify(X_test, threat="duration")


# ---------------------------------------------------------------- the same fit


@pytest.mark.parametrize(
    "member", [RidgeClassifier(), GaussianNB(), DecisionTreeClassifier()], ids=type
)
def test_order_jobs_and_memory_change_nothing(member, digits, tmp_path):
    X, y, X_test = digits
    how = {"n_blocks": 3, "n_partitions": 2}
    ballots = FeaturePartitionAggregation(member, **how).fit(X, y).ballots(X_test)
    order = np.random.default_rng(0).permutation(len(X))
    for other in (
        FeaturePartitionAggregation(member, **how).fit(X[order], y[order]),
        FeaturePartitionAggregation(member, **how, memory=str(tmp_path)).fit(X, y),
        FeaturePartitionAggregation(member, **how, memory=str(tmp_path)).fit(X, y),
    ):
        assert (other.ballots(X_test) == ballots).all()
    with parallel_config("threading"):
        other = FeaturePartitionAggregation(member, **how, n_jobs=2).fit(X, y)
        assert (other.ballots(X_test) == ballots).all()


def test_hashers_of_the_user_see_one_block(digits):
    X, y, _ = digits
    widths = []

    def hasher(X):
        widths.append(X.shape[1])
        return X.astype(int).sum(axis=1)

    clf = FeaturePartitionAggregation(n_blocks=2, n_partitions=2, hasher=hasher).fit(X, y)
    own = X[:, clf.block_of_feature_ == 1].astype(int).sum(axis=1) % 2
    assert (clf.partition_[:, 1] == own).all()
    assert set(widths) == {32}
    by_label = ContentHasher(include_labels=True)
    clf = FeaturePartitionAggregation(n_blocks=2, n_partitions=2, hasher=by_label).fit(X, y)
    assert clf.partitioned_by_ == "features and label"


@pytest.mark.parametrize("kind", [sp.csr_matrix, sp.csr_array])
def test_a_sparse_table_is_cut_without_being_filled_in(kind, digits):
    X, y, X_test = digits
    plain = FeaturePartitionAggregation(MultinomialNB(), 3).fit(X, y)
    clf = FeaturePartitionAggregation(MultinomialNB(), 3).fit(kind(X), y)
    assert (clf.ballots(kind(X_test)) == plain.ballots(X_test)).all()
    blocks = clf._features_of(kind(X_test))
    assert [type(block.dense) for block in blocks] == [kind] * 3
    assert sum(block.dense.nnz for block in blocks) == np.count_nonzero(X_test)


# ---------------------------------------------------------------- texts

MAILS = ["cheap pills now", "see the report", "pills pills cheap", "the report now"] * 3
SPAM = [1, 0, 1, 0] * 3


@pytest.mark.parametrize(
    "vectorizer", [CountVectorizer(), TfidfVectorizer(), HashingVectorizer(n_features=64)]
)
def test_members_count_the_words_of_their_block(vectorizer):
    member = make_pipeline(vectorizer, LogisticRegression())
    clf = FeaturePartitionAggregation(member, 2).fit(MAILS, SPAM)
    own = clf._blocks.blocks_of(["cheap", "pills", "now", "see", "the", "report"])
    words = np.array(["cheap", "pills", "now", "see", "the", "report"])
    for j, fitted in enumerate(clf.estimators_):
        if hasattr(fitted[0], "vocabulary_"):
            assert sorted(fitted[0].vocabulary_) == sorted(words[own == j])
    assert (clf.predict(MAILS) == SPAM).all()
    assert member[0].lowercase  # the user's own stays as it is


@pytest.mark.parametrize(
    ("estimator", "message"),
    [
        (make_pipeline(CountVectorizer(analyzer="char"), MultinomialNB()), "analyzer='char'"),
        (make_pipeline(TfidfVectorizer(analyzer=str.split), MultinomialNB()), "analyzer="),
        (
            make_pipeline(CountVectorizer(ngram_range=(1, 2)), MultinomialNB()),
            "ngram_range=(1, 2)",
        ),
        (make_pipeline(CountVectorizer(input="file"), MultinomialNB()), "input='file'"),
        (MultinomialNB(), "does not begin with a vectoriser"),
    ],
)
def test_what_looks_at_more_than_one_word_is_refused(estimator, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        FeaturePartitionAggregation(estimator, 2).fit(MAILS, SPAM)


# ---------------------------------------------------------------- what stands before


@pytest.mark.parametrize("step", [Normalizer(), PCA(4)])
def test_steps_that_mix_columns_are_said(step, digits):
    X, y, X_test = digits
    pipeline = make_pipeline(step, FeaturePartitionAggregation(n_blocks=2)).fit(X, y)
    with pytest.warns(CertificateWarning, match=f"void unless each of .*{type(step).__name__}"):
        certify(pipeline, X_test)


def test_hashed_words_without_a_norm_are_columns():
    words = HashingVectorizer(n_features=64, norm=None)
    pipeline = make_pipeline(words, FeaturePartitionAggregation(LogisticRegression(), 2))
    certify(pipeline.fit(MAILS, SPAM), MAILS)
    pipeline.set_params(hashingvectorizer__norm="l2")
    with pytest.warns(CertificateWarning, match="HashingVectorizer"):
        certify(pipeline.fit(MAILS, SPAM), MAILS)
