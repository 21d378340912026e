"""A plan foresees what ensembles do, from a few members and rows that they do not share."""

import numpy as np
import pytest
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.datasets import load_digits
from sklearn.dummy import DummyClassifier
from sklearn.feature_extraction.text import HashingVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.naive_bayes import GaussianNB
from sklearn.pipeline import make_pipeline

from certified_ensembles import DeepPartitionAggregation, planning
from certified_ensembles.certificates import plurality_radius
from certified_ensembles.metrics import certified_accuracy_score, median_certified_radius
from certified_ensembles.planning import PartitionPlan, plan_partitions

X, Y = load_digits(return_X_y=True)
X_TRAIN, Y_TRAIN, X_TEST, Y_TEST = X[:1200], Y[:1200], X[1200:], Y[1200:]


# ---------------------------------------------------------------- foreseen against measured


@pytest.mark.parametrize("estimator", [None, GaussianNB()], ids=["ridge", "naive Bayes"])
def test_plan_foresees_what_ensembles_do(estimator):
    sizes, budgets = [15, 40, 100], [0, 2, 5, 10]
    plan = plan_partitions(
        estimator,
        X_TRAIN,
        Y_TRAIN,
        sizes,
        X_val=X_TEST,
        y_val=Y_TEST,
        budgets=budgets,
        classes=range(10),
    )
    for i, k in enumerate(sizes):
        clf = DeepPartitionAggregation(estimator, k, classes=range(10)).fit(X_TRAIN, Y_TRAIN)
        y_pred, radius = clf.certify(X_TEST)
        measured = [certified_accuracy_score(Y_TEST, y_pred, radius, b) for b in budgets]
        assert plan.accuracy[i] == pytest.approx(measured[0], abs=3 * plan.accuracy_error[i])
        median = median_certified_radius(Y_TEST, y_pred, radius)
        assert plan.median_radius[i] == pytest.approx(median, abs=1 + 3 * plan.median_error[i])
        np.testing.assert_allclose(plan.certified_accuracy[i], measured, atol=0.08)


def votes_of_members(rng, n_rows, n_members, n_classes=5):
    """Return true labels and ballots of members that are alike, of which the rest is known."""
    codes = rng.integers(0, n_classes, n_rows)
    p = rng.dirichlet(np.full(n_classes, 0.3), n_rows)
    p = 0.6 * p + 0.4 * np.eye(n_classes)[codes]
    cut = np.cumsum(p, axis=1)
    ballots = (rng.random((n_rows, n_members, 1)) > cut[:, None, :-1]).sum(axis=2)
    return codes, ballots


def curve(radius):
    return (np.ravel(radius)[:, None] >= np.arange(500)).mean(axis=0)


def test_imagined_ensembles_are_closer_to_the_truth_than_raw_shares():
    rng = np.random.default_rng(0)
    k, m = 1000, 12
    codes, ballots = votes_of_members(rng, 1500, k)

    def count(ballots, times=1):
        votes = np.stack([(ballots == c).sum(axis=1) for c in range(5)], axis=1) * times
        winner, radius = plurality_radius(np.floor(votes).astype(int))
        return np.where(winner == codes, radius, -1)

    truth = count(ballots)
    raw = count(ballots[:, :m], k / m)
    vote = planning._Vote(ballots[:, :m], codes, 5, k, 1, False)
    imagined = vote.imagine(ballots[:, :m], 32, rng)
    errors = [np.abs(curve(r) - curve(truth)) for r in (raw, imagined)]
    assert errors[0][0] > 0.03  # too few votes: the clean accuracy looks too low
    assert errors[1][0] < 0.02
    assert errors[1].max() < errors[0].max() / 1.5


def test_stated_errors_are_of_the_size_of_the_errors_made():
    rng = np.random.default_rng(1)
    k, m = 600, 30
    made, stated = [], []
    for _ in range(12):
        codes, ballots = votes_of_members(rng, 400, k)
        vote = planning._Vote(ballots[:, :m], codes, 5, k, 1, False)
        guess = planning._accuracy(vote.imagine(vote.ballots, 16, rng))
        votes = np.stack([(ballots == c).sum(axis=1) for c in range(5)], axis=1)
        made.append(guess - (votes.argmax(axis=1) == codes).mean())
        stated.append(vote.error(planning._accuracy, rng))
    size = np.sqrt(np.mean(np.square(made)))
    assert 0.4 * size < np.mean(stated) < 4 * size


def test_imagined_ensembles_of_certain_members_are_certain():
    codes = np.array([0, 1, 2, 2])
    ballots = np.tile(codes[:, None], (1, 20))
    rng = np.random.default_rng(0)
    for open_set in (False, True):
        radius = planning._Vote(ballots, codes, 3, 101, 1, open_set).imagine(ballots, 8, rng)
        assert radius.shape == (8, 4)
        assert radius.min() >= 45


def test_empty_partitions_cast_no_votes_in_imagined_ensembles():
    codes = np.array([0, 1, 1])
    ballots = np.tile(codes[:, None], (1, 20))
    ballots[:, ::2] = -1
    rng = np.random.default_rng(0)
    radius = planning._Vote(ballots, codes, 2, 200, 1, False).imagine(ballots, 8, rng)
    assert radius.max() <= 50


@pytest.mark.parametrize("n_classes", [1, 2])
def test_few_classes_are_no_exception(n_classes):
    codes = np.arange(30) % n_classes
    ballots = np.tile(codes[:, None], (1, 10))
    ballots[:5, :3] = (ballots[:5, :3] + 1) % n_classes
    rng = np.random.default_rng(0)
    radius = planning._Vote(ballots, codes, n_classes, 50, 1, True).imagine(ballots, 8, rng)
    assert (radius >= -1).all()
    assert (radius[:, 10:] > 10).mean() > 0.9


# ---------------------------------------------------------------- what members see

SEEN = []


class Spy(ClassifierMixin, BaseEstimator):
    """Notes the rows that it is trained on: their first feature is their number."""

    def fit(self, X, y):
        SEEN.append(set(X[:, 0].astype(int).tolist()))
        self.classes_ = np.unique(y)
        return self

    def predict(self, X):
        assert not SEEN[-1] & set(X[:, 0].astype(int).tolist())
        return np.full(len(X), self.classes_[0])


def test_members_share_no_rows_with_each_other_or_with_validation():
    SEEN.clear()
    rows = np.column_stack([np.arange(1000), np.ones(1000)])
    plan = plan_partitions(Spy(), rows, np.arange(1000) % 2, [50], n_sampled=25)
    assert plan.n_sampled.tolist() == [25] == [len(SEEN)]
    together = set().union(*SEEN)
    assert len(together) == sum(map(len, SEEN))
    assert np.mean([len(s) for s in SEEN]) == pytest.approx(20, abs=3)
    assert len({len(s) for s in SEEN}) > 3  # sizes differ as those of hashed partitions do


def test_members_are_as_large_as_in_the_ensemble_to_come():
    SEEN.clear()
    rows = np.column_stack([np.arange(1000), np.ones(1000)])
    plan_partitions(Spy(), rows, np.arange(1000) % 2, [500], n_train=50_000, n_sampled=6)
    assert len(SEEN) == 6
    assert np.mean([len(s) for s in SEEN]) == pytest.approx(100, abs=15)


def test_rows_limit_how_many_members_are_sampled():
    plan = plan_partitions(None, X_TRAIN, Y_TRAIN, [5, 10, 200])
    assert 3 <= plan.n_sampled[0] <= 4
    assert 6 <= plan.n_sampled[1] <= 9
    assert plan.n_sampled[2] == 24
    with pytest.raises(ValueError, match="n_partitions=2: a member has about 600 rows"):
        plan_partitions(None, X_TRAIN, Y_TRAIN, [2, 10])


# ---------------------------------------------------------------- the table


def test_plan_is_a_table_in_rising_order():
    plan = plan_partitions(None, X_TRAIN, Y_TRAIN, (60, 20, 60), classes=range(10), n_sampled=10)
    assert isinstance(plan, PartitionPlan)
    assert plan.n_partitions.tolist() == [20, 60]
    assert plan.certified_accuracy.shape == (2, len(plan.budgets))
    assert plan.budgets[0] == 0
    assert plan.budgets[-1] == 30
    assert (np.diff(plan.certified_accuracy, axis=1) <= 0).all()
    np.testing.assert_array_equal(plan.certified_accuracy[:, 0], plan.accuracy)
    assert (plan.member_accuracy < plan.accuracy).all()
    assert (plan.fit_seconds > 0).all()
    assert (plan.ask_seconds > 0).all()
    for field in plan[:1] + plan[1:7] + plan[9:]:
        assert field.shape == (2,)


def test_same_seed_gives_the_same_plan_whatever_the_workers():
    one, other, new = (
        plan_partitions(None, X_TRAIN, Y_TRAIN, [30], random_state=s, n_jobs=n, n_sampled=5)
        for s, n in [(0, None), (0, 2), (1, None)]
    )
    for a, b in zip(one[:8], other[:8], strict=True):
        np.testing.assert_array_equal(a, b)
    assert (one.certified_accuracy != new.certified_accuracy).any()


def test_best_is_the_smallest_of_the_best():
    table = np.array([[0.9, 0.5], [0.9, 0.7], [0.8, 0.7]])
    plan = PartitionPlan(
        np.array([10, 20, 40]),
        *[None] * 6,
        budgets=np.array([0, 5]),
        certified_accuracy=table,
        fit_seconds=None,
        ask_seconds=None,
    )
    assert plan.best(0) == 10
    assert plan.best(5) == 20
    with pytest.raises(ValueError, match="budget=3 is not among the budgets"):
        plan.best(3)


def test_cost_of_an_operation_divides_the_radius():
    one, two = (
        plan_partitions(None, X_TRAIN, Y_TRAIN, [60], cost=c, budgets=[0, 5, 10], n_sampled=20)
        for c in (1, 2)
    )
    assert two.median_radius[0] == pytest.approx(one.median_radius[0] / 2, abs=1)
    assert two.certified_accuracy[0, 1] == pytest.approx(one.certified_accuracy[0, 2], abs=0.03)


def test_texts_and_their_labels_can_be_planned():
    rng = np.random.default_rng(0)
    y = rng.choice(["ham", "spam"], 200)
    rows = [
        ("buy now " if label == "spam" else "lunch today ") + f"w{rng.integers(9)}" for label in y
    ]
    model = make_pipeline(HashingVectorizer(n_features=32), LogisticRegression())
    plan = plan_partitions(model, rows, y, [10], n_sampled=5)
    assert plan.accuracy[0] == 1


def test_useless_members_are_foreseen_as_useless():
    plan = plan_partitions(DummyClassifier(), X_TRAIN, Y_TRAIN, [20], n_sampled=10)
    assert plan.accuracy[0] < 0.3
    assert plan.median_radius[0] == -1


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"X_val": X_TEST}, "X_val and y_val go together"),
        ({"classes": range(9)}, r"labels that are not among classes=.*: \[9\]"),
        ({"n_partitions": []}, "sequence of positive integers"),
        ({"n_partitions": [0, 5]}, "sequence of positive integers"),
        ({"n_partitions": [5.5]}, "sequence of positive integers"),
        ({"y": Y_TRAIN[:-1]}, "inconsistent numbers of samples"),
    ],
)
def test_refusals_name_the_remedy(params, message):
    given = {"X": X_TRAIN, "y": Y_TRAIN, "n_partitions": [30], **params}
    with pytest.raises(ValueError, match=message):
        plan_partitions(None, **given)


def test_members_and_validation_get_whole_sources():
    rng = np.random.default_rng(0)
    groups = rng.integers(0, 300, 1000)
    rows = np.column_stack([np.arange(1000.0), groups])
    SEEN.clear()
    plan = plan_partitions(Spy(), rows, np.arange(1000) % 2, [20], groups=groups, n_sampled=12)
    assert plan.n_sampled.tolist() == [12] == [len(SEEN)]
    sources = [set(groups[list(own)].tolist()) for own in SEEN]
    assert sum(map(len, sources)) == len(set.union(*sources))
    for own, source in zip(SEEN, sources, strict=True):
        assert len(own) == np.isin(groups, list(source)).sum()
    assert 8 < np.mean([len(source) for source in sources]) < 22


def test_a_plan_says_how_far_it_is(capsys):
    plan_partitions(None, X_TRAIN, Y_TRAIN, [20, 60], n_sampled=5, verbose=1)
    said = capsys.readouterr().err
    assert "plan" in said
    assert "2/2" in said
    plan_partitions(None, X_TRAIN, Y_TRAIN, [60], n_sampled=5)
    assert capsys.readouterr().err == ""
