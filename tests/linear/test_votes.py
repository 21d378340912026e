"""Ballots, votes and scores of many linear members at once are those of each alone."""

import numpy as np
import pytest
import scipy.sparse as sp
from sklearn.linear_model import RidgeClassifier

from certified_ensembles import DeepPartitionAggregation
from certified_ensembles._linear import weights
from certified_ensembles._linear.scoring import linear_ballots, linear_scores, linear_votes
from certified_ensembles._members.constant import ConstantMember


def random_voters(rng, n_voters, n_features, n_classes):
    """Return voters of all kinds whose scores are often equal but for rounding."""
    voters = []
    for _ in range(n_voters):
        kind, k = rng.choice(["none", "one", "many"], p=[0.1, 0.1, 0.8]), 0
        classes = np.sort(rng.choice(n_classes, rng.integers(2, n_classes + 1), replace=False))
        if kind == "none":
            voters.append(None)
        elif kind == "one":
            voters.append(ConstantMember.of(classes[:1]))
        else:
            k = 1 if len(classes) == 2 else len(classes)
            head = RidgeClassifier()
            base = rng.normal(size=n_features)
            # Permuted within pairs of features that every test row has twice.
            head.coef_ = np.stack(
                [base.reshape(-1, 2)[:, :: rng.choice([1, -1])].ravel() for _ in range(k)]
            )
            head.intercept_, head.classes_ = np.zeros(k), classes
            head.intercept_[k // 3 :: 100] = rng.choice([0.0, 1.0])
            voters.append(head)
    return voters


def twins(rng, n, n_features, dtype):
    return np.repeat(rng.normal(size=(n, n_features // 2)), 2, axis=1).astype(dtype)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("n_voters", [1, 7, 50, 130, 300])
def test_votes_are_the_ballots_counted(dtype, n_voters):
    rng = np.random.default_rng(n_voters)
    voters = random_voters(rng, n_voters, 20, 6)
    blocks = [twins(rng, 32, 20, dtype) for _ in range(3)]
    for carry in (np.asarray, sp.csr_array):
        own = [carry(block) for block in blocks]
        ballots = linear_ballots(voters, np.arange(6), own, 90, np.int16, None)
        scores = linear_scores(voters, np.arange(6), own, 90, None)
        first = np.where(scores.max(axis=2) > -np.inf, scores.argmax(axis=2), -1)
        np.testing.assert_array_equal(ballots, first)
        votes = linear_votes(voters, np.arange(6), own, 90, None)
        counted = np.stack([(ballots == c).sum(axis=1) for c in range(6)], axis=1)
        np.testing.assert_array_equal(votes, counted)
        for n_jobs in (2, 3):
            np.testing.assert_array_equal(
                votes, linear_votes(voters, np.arange(6), own, 90, n_jobs)
            )
    assert (ballots == -1).any() == any(voter is None for voter in voters)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_classes_that_do_not_fit_in_memory_at_once_change_nothing(dtype, monkeypatch):
    rng = np.random.default_rng(5)
    voters = random_voters(rng, 60, 20, 9)
    blocks = [twins(rng, 32, 20, dtype) for _ in range(3)]
    asked = voters, np.arange(9), blocks, 96
    before = linear_scores(*asked, None), linear_votes(*asked, None)
    class_bytes = 64 * 21 * np.dtype(dtype).itemsize
    for most_bytes in (1, 2 * class_bytes, 4 * class_bytes):
        monkeypatch.setattr(weights, "_WEIGHT_BYTES", most_bytes)
        monkeypatch.setattr(weights, "_KEPT_BYTES", 0)
        np.testing.assert_array_equal(linear_scores(*asked, None), before[0])
        np.testing.assert_array_equal(linear_votes(*asked, None), before[1])


def test_stacks_of_missing_members_alone_abstain():
    rng = np.random.default_rng(6)
    voters = [v for v in random_voters(rng, 9, 8, 4) if v is not None] + [None] * 500
    blocks = [twins(rng, 16, 8, np.float64) for _ in range(2)]
    few = len(voters) - 500
    for n_jobs in (None, 2):
        ballots = linear_ballots(voters, np.arange(4), blocks, 32, np.int16, n_jobs)
        assert (ballots[:, :few] >= 0).all()
        assert (ballots[:, few:] == -1).all()
        votes = linear_votes(voters, np.arange(4), blocks, 32, n_jobs)
        assert (votes.sum(axis=1) == few).all()


def test_many_classes_are_counted_in_full():
    rng = np.random.default_rng(0)
    classes = np.arange(700)
    voters = random_voters(rng, 20, 8, 700)
    blocks = [twins(rng, 16, 8, np.float64)]
    ballots = linear_ballots(voters, classes, blocks, 16, np.int16, None)
    assert ballots.max() > 255
    votes = linear_votes(voters, classes, blocks, 16, None)
    np.testing.assert_array_equal(votes, np.stack([(ballots == c).sum(1) for c in classes], 1))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_scores_at_exact_ties_do_not_depend_on_the_other_voters(dtype):
    rng = np.random.default_rng(11)
    voters = random_voters(rng, 100, 40, 6)
    blocks = [twins(rng, 64, 40, dtype)]
    classes = 2 * np.arange(6)
    for voter in voters:
        if voter is not None:
            voter.classes_ = 2 * voter.classes_
    before = linear_scores(voters, classes, blocks, 64, None)
    known = np.isfinite(before)
    ranked = np.sort(np.where(known, before, -1e9), axis=2)
    assert (
        np.diff(ranked, axis=2) < 1e-5
    ).any()  # ties but for rounding, which company might change
    for hostile in (0, 57, 99):
        others = list(voters)
        bad = RidgeClassifier()
        bad.classes_ = np.arange(11)
        bad.coef_ = rng.choice([np.inf, -np.inf, np.nan, 1e300], (11, 40))
        bad.intercept_ = np.full(11, np.inf)
        others[hostile] = bad
        others[(hostile + 1) % 100] = None
        kept = np.setdiff1d(np.arange(100), [hostile, (hostile + 1) % 100])
        after = linear_scores(others, np.arange(11), blocks, 64, None)[:, :, ::2]
        assert after[:, kept].tobytes() == before[:, kept].tobytes()


def test_a_score_that_is_not_a_number_never_wins():
    head = RidgeClassifier()
    head.classes_, head.intercept_ = np.arange(3), np.array([0.0, np.nan, -5.0])
    head.coef_ = np.zeros((3, 2))
    asked = [head], np.arange(3), [np.ones((4, 2))], 4
    assert set(linear_ballots(*asked, np.int16, None).ravel()) == {0}
    for intercept in ([np.nan, 0.0, 5.0], [0.0, np.nan, 5.0]):
        head.intercept_ = np.array(intercept)
        assert set(linear_ballots(*asked, np.int16, None).ravel()) == {2}
    head.intercept_ = np.full(3, np.nan)
    assert set(linear_ballots(*asked, np.int16, None).ravel()) == {-1}
    assert linear_votes(*asked, None).sum() == 0


def test_test_rows_in_single_precision_are_multiplied_in_it():
    rng = np.random.default_rng(0)
    X, y = rng.random((60, 5)).astype(np.float32), rng.integers(0, 3, 60)
    clf = DeepPartitionAggregation(n_partitions=4, classes=range(3)).fit(X, y)
    for dtype in (np.float32, np.float64):
        for form in (np.asarray, sp.csr_array):
            scores = next(iter(clf._ask(clf._members.scores, form(X.astype(dtype)))))
            assert scores.dtype == dtype


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("carry", [np.asarray, sp.csr_array])
def test_rows_that_fill_up_a_block_are_not_answered_and_change_nothing(dtype, carry):
    rng = np.random.default_rng(7)
    voters, classes = random_voters(rng, 60, 20, 6), np.arange(6)
    blocks = [carry(twins(rng, 256, 20, dtype)) for _ in range(2)]

    def asked(n, n_jobs):
        own = voters, classes, blocks[: -(-n // 256)], n
        ballots = linear_ballots(*own, np.int16, n_jobs)
        return linear_scores(*own, n_jobs), linear_votes(*own, n_jobs), ballots

    whole = asked(512, None)
    for n, n_jobs in [(1, None), (63, 2), (64, None), (65, 2), (300, 3)]:
        for some, every in zip(asked(n, n_jobs), whole, strict=True):
            assert some.tobytes() == every[:n].tobytes()
    # Another row, and others beside it: the same bits wherever a row stands.
    rows = np.vstack([block.toarray() if carry is sp.csr_array else block for block in blocks])
    order = rng.permutation(512)
    blocks = [carry(rows[order[:256]]), carry(rows[order[256:]])]
    assert asked(512, None)[0].tobytes() == whole[0][order].tobytes()


def test_weights_are_kept_while_the_members_are_what_they_were():
    rng = np.random.default_rng(8)
    X, y = rng.normal(size=(90, 4)), rng.integers(0, 3, 90)
    clf = DeepPartitionAggregation(n_partitions=6).fit(X, y)
    before = len(weights._KEPT)
    first = clf.ballots(X)
    assert len(weights._KEPT) == before + 1
    put_together = weights._KEPT[clf.estimators_[0]][1]
    np.testing.assert_array_equal(clf.ballots(X[::-1])[::-1], first)
    assert weights._KEPT[clf.estimators_[0]][1] is put_together
    # Who writes into a member, or exchanges one, is answered from what he wrote.
    clf.estimators_[0].coef_ *= -1
    clf.estimators_[1].intercept_[:] = [9, 0, 0]
    clf.estimators_[2] = clf.estimators_[3]
    changed = np.column_stack([member.predict(X) for member in clf.estimators_])
    assert (changed != first)[:, :3].any(axis=0).all()
    np.testing.assert_array_equal(clf.ballots(X), changed)
    del clf
    assert len(weights._KEPT) == before
