"""Pairwise elections against an adversary that tries every subset of members and every ranking."""

import itertools

import numpy as np
import pytest
from sklearn.datasets import load_digits
from sklearn.naive_bayes import GaussianNB

from certified_ensembles import FeaturePartitionAggregation
from certified_ensembles.attacks import trigger_columns
from certified_ensembles.certificates import condorcet_radius, run_off_radius
from elections import random_scores


def beats(scores):
    """Say which classes win all their pairs, by counting one pair after the other."""
    n_classes = scores.shape[2]
    wins = np.ones((len(scores), n_classes), dtype=bool)
    votes = scores.max(axis=2) > -np.inf
    for c, t in itertools.permutations(range(n_classes), 2):
        a, b = scores[:, :, c], scores[:, :, t]
        for_c = ((a > b) | ((a == b) & (c < t))) & votes
        for_t = ~for_c & votes
        n_c, n_t = for_c.sum(axis=1), for_t.sum(axis=1)
        wins[:, c] &= (n_c > n_t) | ((n_c == n_t) & (c < t))
    return wins


def attacked(scores, size):
    """Yield `scores` of one row with every choice of `size` members replaced by every ranking."""
    n_members, n_classes = scores.shape
    ranks = [*itertools.permutations(range(n_classes)), (-np.inf,) * n_classes]
    new = np.array(list(itertools.product(ranks, repeat=size)), dtype=float)
    for members in itertools.combinations(range(n_members), size):
        changed = np.repeat(scores[None], len(new), axis=0).astype(float)
        if size:
            changed[:, list(members)] = new
        yield changed


@pytest.mark.parametrize(
    ("n_classes", "max_members", "n_instances", "open_set"),
    [
        (2, 7, 250, False),
        (3, 5, 200, False),
        (4, 3, 50, False),
        (1, 5, 50, True),
        (2, 4, 100, True),
    ],
)
def test_nothing_within_the_radius_elects_another_class(
    n_classes, max_members, n_instances, open_set
):
    rng = np.random.default_rng(n_classes + 10 * open_set)
    radii = []
    for _ in range(n_instances):
        scores = random_scores(rng, rng.integers(1, max_members + 1), n_classes)
        (winner,), (radius,) = condorcet_radius(scores[None], open_set=open_set)
        radii.append(radius)
        if open_set:
            scores = np.hstack([np.full((len(scores), 1), -np.inf), scores])
            winner += 1
        if not beats(scores[None])[0, winner]:
            assert radius == 0  # nobody wins all pairs, or a new label would: nothing is promised
            continue
        for size in range(min(radius, 3) + 1):
            for changed in attacked(scores, size):
                assert beats(changed)[:, winner].all()
                assert (condorcet_radius(changed)[0] == winner).all()
        if radius < min(3, len(scores)):  # and one change more turns a pair
            assert any(not beats(c)[:, winner].all() for c in attacked(scores, radius + 1))
    assert len(set(radii)) > 1


def test_without_a_condorcet_winner_the_best_worst_pair_wins_with_radius_zero():
    # 0 beats 1 by 5 to 3, 1 beats 2 by 6 to 2, 2 beats 0 by 5 to 3: 0 and 1 lose by two at worst.
    rankings = [[3, 2, 1]] * 3 + [[1, 3, 2]] * 3 + [[2, 1, 3]] * 2
    winner, radius = condorcet_radius(np.array([rankings]))
    assert not beats(np.array([rankings]))[0].any()
    assert (winner.tolist(), radius.tolist()) == ([0], [0])


def test_two_classes_are_a_run_off():
    scores = np.random.default_rng(0).normal(size=(50, 9, 2)).round(1)
    for open_set in (False, True):
        for ours, theirs in zip(
            condorcet_radius(scores, open_set=open_set),
            run_off_radius(scores, open_set=open_set),
            strict=True,
        ):
            np.testing.assert_array_equal(ours, theirs)


def test_more_rows_than_a_block_and_members_that_abstain():
    scores = np.random.default_rng(1).normal(size=(3000, 12, 10))
    scores[:, 7] = -np.inf
    winner, radius = condorcet_radius(scores)
    alone = [condorcet_radius(row[None]) for row in scores[::300]]
    assert winner[::300].tolist() == [int(w[0]) for w, _ in alone]
    assert radius[::300].tolist() == [int(r[0]) for _, r in alone]


def test_a_single_class_survives_everything():
    assert condorcet_radius(np.zeros((2, 4, 1)))[1].tolist() == [4, 4]


def pairs_of_blocks(X, y, asked):
    """Train members on blocks of pixels, and let them elect in pairs."""
    clf = FeaturePartitionAggregation(GaussianNB(), n_blocks=16, classes=range(10)).fit(X, y)
    scores = [
        member.predict_proba(asked[:, clf.block_of_feature_ == j])
        for j, member in enumerate(clf.estimators_)
    ]
    return condorcet_radius(np.stack(scores, axis=1))


def test_hostile_columns_within_the_radius_elect_nobody_else():
    X, y = load_digits(return_X_y=True)
    X, y, asked = X[:600], y[:600], X[600:800]
    winner, radius = pairs_of_blocks(X, y, asked)
    n_changed = 0
    for target, columns in enumerate([[20], [20, 43], [27, 36, 43], [10, 21, 28, 35]]):
        rows, shown = trigger_columns(X, y, asked, columns, target=target, on=16, off=0)
        after = pairs_of_blocks(rows, y, shown)[0]
        assert (after == winner)[radius >= len(columns)].all()
        n_changed += (after != winner).sum()
    assert n_changed > 0  # the attack is one
    assert (radius >= 4).any()


@pytest.mark.parametrize(
    ("scores", "error", "message"),
    [
        (np.zeros((3, 4)), ValueError, "shape"),
        (np.full((1, 2, 3), np.nan), ValueError, "NaN"),
        (np.zeros((1, 2, 3), dtype=complex), TypeError, "real"),
    ],
)
def test_unusable_scores_are_refused(scores, error, message):
    with pytest.raises(error, match=message):
        condorcet_radius(scores)
