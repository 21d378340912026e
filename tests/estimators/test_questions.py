"""Named targets and first places: refits on attacked data that push as hard as they can."""

import itertools

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone
from sklearn.cluster import KMeans
from sklearn.linear_model import LogisticRegression, RidgeClassifier
from sklearn.naive_bayes import GaussianNB
from sklearn.neighbors import KNeighborsClassifier, NearestNeighbors
from sklearn.semi_supervised import SelfTrainingClassifier

from all_votes import places
from certified_ensembles import DeepPartitionAggregation, SemiSupervisedDPA
from coarse import coarse_set

pytestmark = [
    pytest.mark.filterwarnings("ignore:The certificate is weaker:UserWarning"),
    pytest.mark.filterwarnings("ignore:.*(zero variance|invalid value).*"),
]

NEAREST = KNeighborsClassifier(1)
NB = GaussianNB(var_smoothing=1e-2)


def places_of(clf, X, wanted):
    """Return how many labels are before the wanted one of every row, which may have vanished."""
    labels = np.union1d(clf.classes_, wanted)
    votes = np.zeros((len(X), len(labels)), dtype=int)
    votes[:, np.searchsorted(labels, clf.classes_)] = clf.vote_counts(X)
    codes = np.searchsorted(labels, wanted)
    return np.array([places(votes[[i]], c)[0] for i, c in enumerate(codes)])


def answers(clf, X, labels, ks, **how):
    """Return the predictions, and radii by target and by number of places."""
    y_pred = clf.predict(X)
    targets = {t: clf.certify(X, target=t, **how) for t in labels}
    first = {k: clf.certify(X, top_k=k, **how) for k in ks}
    for certificate in [*targets.values(), *first.values()]:
        np.testing.assert_array_equal(certificate.y_pred, y_pred)
        assert certificate.radius.dtype == np.int64
    return (
        y_pred,
        {t: certificate.radius for t, certificate in targets.items()},
        {k: certificate.radius for k, certificate in first.items()},
    )


def check(certified, attacked, X, cost):
    """Nothing that a radius of at least `cost` promises is broken; return what else is."""
    y_pred, targets, first = certified
    now, broken = attacked.predict(X), 0
    for t, radius in targets.items():
        assert not ((now == t) & (radius >= cost)).any(), f"target {t}"
        broken += ((now == t) & (radius >= 0)).sum()
    out = places_of(attacked, X, y_pred)
    for k, radius in first.items():
        assert not ((out >= k) & (radius >= cost)).any(), f"first {k}"
        broken += ((out >= k) & (radius >= 0)).sum()
    return broken


# ---------------------------------------------------------------- members that one row turns


def near(x, homes):
    """Return rows beside x, each of the partition that its last column names."""
    rows = np.repeat(x[None], len(homes), axis=0)
    rows[:, -1] = homes
    return rows


def home_of(X):
    return np.rint(X[:, -1]).astype(int)


def without_home(X, Y):
    return np.linalg.norm(X[:-1] - Y[:-1])


def one_row_a_partition(classes, seed=0, n_members=15):
    """An ensemble of nearest neighbours with one row each; the last column is its partition."""
    rng = np.random.default_rng(seed)
    X = np.column_stack([rng.normal(size=(n_members, 2)), np.arange(n_members)])
    y = rng.choice([1, 2, 3, 5], n_members, p=[0.45, 0.3, 0.2, 0.05])
    nearest = KNeighborsClassifier(1, metric=without_home, algorithm="brute")
    clf = DeepPartitionAggregation(nearest, n_members, hasher=home_of, classes=classes)
    return clf.fit(X, y), X, y


def turned(clf, X, y, x, plan):
    """Fit again with a row beside x for each member that is to vote for another label."""
    homes = list(plan)
    attacked = clone(clf).fit(np.vstack([X, near(x, homes)]), np.append(y, list(plan.values())))
    assert len(homes) == len(attacked.partition_) - len(y)
    return attacked


def plan_of_target(votes_for, labels, t, m):
    """Return ballots that make t win, if any m can: those of the leaders turn to t."""
    votes = [np.count_nonzero(votes_for == c) for c in labels]
    lost = [
        max(0, n - (np.count_nonzero(votes_for == t) + m - (c < t)))
        for c, n in zip(labels, votes, strict=True)
    ]
    members = [
        j
        for c, n in zip(labels, lost, strict=True)
        if c != t
        for j in np.flatnonzero(votes_for == c)[:n]
    ]
    rest = [j for j in np.flatnonzero(votes_for != t) if j not in members]
    return dict.fromkeys((members + rest)[:m], t)


def plan_of_first(votes_for, labels, y, k, r):
    """Return ballots that push y out of the first k, if any r can: those of y turn to rivals."""
    members = np.flatnonzero(votes_for == y)[:r]
    left = np.count_nonzero(votes_for == y) - len(members)
    lacks = {
        b: max(0, left + (b > y) - np.count_nonzero(votes_for == b)) for b in labels if b != y
    }
    easiest = sorted(lacks, key=lacks.get)[:k]
    turns = [b for b in easiest for _ in range(lacks[b])]
    return dict(zip(members, [*turns, *[easiest[0]] * len(members)], strict=False))


@pytest.mark.parametrize("classes", [None, [1, 2, 3, 5]], ids=["open", "closed"])
@pytest.mark.parametrize("seed", range(3))
def test_target_wins_by_one_member_more_than_the_radius_and_not_before(classes, seed):
    clf, X, y = one_row_a_partition(classes, seed)
    x, asked = np.zeros((1, 3)), 0
    new = [0, 4, 9] if classes is None else []  # labels that nobody has seen
    for t in [*clf.classes_, *new]:
        (radius,) = clf.certify(x, target=t).radius
        assert (radius == -1) == (clf.predict(x)[0] == t)
        for m in range(1, radius + 2) if radius >= 0 else []:
            attacked = turned(clf, X, y, x[0], plan_of_target(y, clf.classes_, t, m))
            assert (attacked.predict(x)[0] == t) == (m > radius), (t, m)
            asked += 1
        assert clf.certify(x, "replacement", target=t).radius[0] == radius // 2
    assert asked > 2
    if new:  # the first one wins ties, the last one does not
        assert clf.certify(x, target=0).radius[0] <= clf.certify(x, target=9).radius[0]


@pytest.mark.parametrize("classes", [None, [1, 2, 3, 5]], ids=["open", "closed"])
@pytest.mark.parametrize("seed", range(3))
def test_label_leaves_the_first_k_by_one_member_more_than_the_radius(classes, seed):
    clf, X, y = one_row_a_partition(classes, seed)
    x = np.zeros((1, 3))
    (label,) = clf.predict(x)
    for k in (1, 2, 3):
        (radius,) = clf.certify(x, top_k=k).radius
        # In an open set also labels that come before all others.
        labels = [*range(-k * (classes is None), 0), *clf.classes_]
        for r in range(1, radius + 2):
            plan = plan_of_first(y, labels, label, k, r)
            out = places_of(turned(clf, X, y, x[0], plan), x, [label])[0] >= k
            assert out == (r > radius), (k, r)


# ---------------------------------------------------------------- every kind of vote


GRID = np.array(list(itertools.product([0.0, 1.0, 2.0], repeat=2)))
VOTES = {
    "plurality": DeepPartitionAggregation(NEAREST, 8),
    "run-off": DeepPartitionAggregation(LogisticRegression(), 6, aggregation="run_off"),
    "finite": DeepPartitionAggregation(RidgeClassifier(), 5, spread_degree=2),
    "finite run-off": DeepPartitionAggregation(
        LogisticRegression(), 4, spread_degree=2, aggregation="run_off"
    ),
    "seeds": DeepPartitionAggregation(LogisticRegression(), 6, n_seeds=2),
}


@pytest.mark.parametrize("name", VOTES)
@pytest.mark.parametrize("open_set", [True, False])
def test_no_insertions_or_deletions_within_the_radius_break_what_it_promises(name, open_set):
    X, y = coarse_set()
    clf = clone(VOTES[name]).set_params(classes=None if open_set else [1, 2, 3])
    labels = [0, 1, 2, 3, 9] if open_set else [1, 2, 3]
    certified = answers(clf.fit(X, y), GRID, labels, (1, 2, 3))
    rng, broken = np.random.default_rng(0), 0
    for trial in range(24):
        cost = 1 + trial % 3
        n_new = int(rng.integers(cost + 1))
        kept = np.sort(rng.choice(len(y), len(y) - cost + n_new, replace=False))
        # Rows beside the test rows, all of one label: a push.
        rows = GRID[rng.integers(len(GRID), size=n_new)] + rng.choice([0, 1e-3], (n_new, 2))
        new = np.full(n_new, rng.choice(labels))
        attacked = clone(clf).fit(np.vstack([X[kept], rows]), np.append(y[kept], new))
        broken += check(certified, attacked, GRID, cost)
    assert broken  # the attacks do bite where nothing is promised


# Two clusters; the last two rows are copies.
ROWS = np.array(
    [[0, 0, 1], [0, 1, 0], [1, 0, 0], [7, 7, 6], [6, 7, 7], [8, 6, 7], [8, 6, 7], [4, 4, 4]]
).astype(float)
LABELS = np.array([0, 0, 0, 1, 1, 2, 1, 2])
TEST = np.array([[0, 0, 0], [2, 2, 2], [4, 4, 4], [7, 7, 7], [9, 9, 9]], dtype=float)
KINDS = {
    "ridge": SemiSupervisedDPA(RidgeClassifier(), 5),
    "run-off": SemiSupervisedDPA(RidgeClassifier(), 5, aggregation="run_off"),
    "masked": SemiSupervisedDPA(SelfTrainingClassifier(NB), 3, unlabeled="mask"),
    "members": SemiSupervisedDPA(RidgeClassifier(5.0), 2, certificate="members"),
    "one member": SemiSupervisedDPA(RidgeClassifier(5.0), 1, certificate="members"),
    "neighbours": SemiSupervisedDPA(KNeighborsClassifier(2), 3, certificate="members"),
    "one label": SemiSupervisedDPA(KMeans(2, n_init=2), "n_samples"),
    "near labels": SemiSupervisedDPA(NearestNeighbors(n_neighbors=4), "n_samples"),
}


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize("open_set", [True, False])
def test_no_flips_within_the_radius_break_what_it_promises(name, open_set):
    clf = clone(KINDS[name]).set_params(classes=None if open_set else [0, 1, 2])
    labels = [-1, 0, 1, 2, 5] if open_set else [0, 1, 2]
    certified = answers(clf.fit(ROWS, LABELS), TEST, labels, (1, 2, 3))
    different = np.unique(ROWS, axis=0, return_inverse=True)[1].ravel()
    rng, broken = np.random.default_rng(0), 0
    for _ in range(40):
        changed = LABELS.copy()
        chosen = np.isin(different, rng.choice(7, int(rng.integers(1, 5)), replace=False))
        changed[chosen] = rng.choice(labels, 2)[rng.integers(2, size=chosen.sum())]
        cost = len(np.unique(different[changed != LABELS]))
        broken += check(certified, clone(clf).fit(ROWS, changed), TEST, cost)
    assert broken


@pytest.mark.parametrize("name", KINDS)
def test_no_radius_is_below_that_of_the_prediction(name):
    clf = clone(KINDS[name]).fit(ROWS, LABELS)
    y_pred, radius = clf.certify(TEST)
    _, targets, first = answers(clf, TEST, [0, 1, 2], (1, 2, 3))
    for t, other in targets.items():
        assert (other[y_pred != t] >= radius[y_pred != t]).all()
        assert (other[y_pred == t] == -1).all()
    assert (first[2] >= radius).all()
    assert (first[3] >= first[2]).all()
    if name != "run-off":
        np.testing.assert_array_equal(first[1], radius)


# ---------------------------------------------------------------- how a question is asked


def test_targets_may_be_a_label_some_labels_or_one_a_row():
    X, y = coarse_set()
    names = np.array(["no", "yes", "maybe", "never"])
    for kind in (VOTES["plurality"], VOTES["finite"], VOTES["run-off"], KINDS["neighbours"]):
        clf = clone(kind).fit(X, names[y])
        each = {t: clf.certify(GRID, target=t).radius for t in clf.classes_}
        own = np.resize(clf.classes_, len(GRID))
        expected = [each[t][i] for i, t in enumerate(own)]
        for form in (own, own.astype(object), pd.Series(own, index=range(3, 12))):
            assert clf.certify(GRID, target=form).radius.tolist() == expected
        some = ["yes", "never"]
        either = np.minimum(each["yes"], each["never"])
        for form in (some, tuple(some), set(some)):
            assert clf.certify(GRID, target=form).radius.tolist() == either.tolist()


def test_more_rows_than_a_block_keep_their_own_targets(monkeypatch):
    monkeypatch.setattr("certified_ensembles._members.asking._SPAN_BYTES", 1)
    X, y = coarse_set()
    many = np.tile(GRID, (40, 1))
    own = np.random.default_rng(0).choice([1, 2, 3, 9], len(many))
    for kind in (VOTES["plurality"], VOTES["finite"], VOTES["run-off"], KINDS["neighbours"]):
        clf = clone(kind).fit(X, y)
        each = {t: clf.certify(GRID, target=t).radius for t in (1, 2, 3, 9)}
        expected = [each[t][i % len(GRID)] for i, t in enumerate(own)]
        assert clf.certify(many, target=own).radius.tolist() == expected


def test_where_nobody_votes_one_member_decides():
    X, y = coarse_set()
    silent = DeepPartitionAggregation(Silent(), 3, on_error="abstain").fit(X, y)
    assert not silent.vote_counts(X).any()
    for target, radius in [(1, -1), (2, 0), (0, 0), (9, 0)]:
        assert silent.certify(X[:1], target=target).radius.tolist() == [radius]
    assert silent.certify(X[:1], top_k=2).radius.tolist() == [0]


class Silent(GaussianNB):
    def predict(self, X):
        raise ValueError("no answer")


@pytest.mark.parametrize(
    ("how", "match"),
    [
        ({"target": 9}, r"target=.*9.* is not among classes_=\[1, 2, 3\].*closed set"),
        ({"target": "a"}, "text never equals a number"),
        ({"target": []}, "must be a label"),
        ({"target": np.zeros((2, 2), int)}, "must be a label"),
        ({"target": np.array([1, 2])}, r"2 labels for 9 rows.*Pass a list"),
        ({"target": [1, None]}, "target lacks 1 of 2 labels"),
        ({"target": float("nan")}, "target lacks 1 of 1"),
        ({"top_k": 0}, "top_k must be an integer of at least 1, got 0"),
        ({"top_k": 1.5}, "top_k must be an integer"),
        ({"target": 1, "top_k": 2}, "two questions.*once for each"),
    ],
)
@pytest.mark.parametrize(
    "clf",
    [DeepPartitionAggregation(n_partitions=3), SemiSupervisedDPA(n_partitions=3)],
    ids=["DPA", "SS-DPA"],
)
def test_unusable_questions_are_refused(clf, how, match):
    X, y = coarse_set()
    clf = clone(clf).set_params(classes=[1, 2, 3]).fit(X, y)
    with pytest.raises(ValueError, match=match):
        clf.certify(GRID, **how)
