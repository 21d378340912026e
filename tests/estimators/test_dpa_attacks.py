"""Attacks on fitted ensembles: small sets exhaustively, exact ties, backends."""

import itertools
import warnings

import numpy as np
import pytest
import scipy.sparse as sp
from joblib import parallel_config
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.linear_model import LogisticRegression, RidgeClassifier, SGDClassifier
from sklearn.naive_bayes import GaussianNB
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler
from sklearn.tree import DecisionTreeClassifier

from certified_ensembles import CertificateWarning, DeepPartitionAggregation
from coarse import coarse_set

pytestmark = [
    # Partitions without rows are the point of some of these tests.
    pytest.mark.filterwarnings("ignore:The certificate is weaker:UserWarning"),
]


GRID = np.array(list(itertools.product([0.0, 0.5, 1.0, 1.5, 2.0], repeat=2)))
MEMBERS = {
    "ridge": RidgeClassifier(),
    "ridge by another solver": RidgeClassifier(solver="svd"),
    "logistic regression": LogisticRegression(),
    "nearest neighbour": KNeighborsClassifier(1),
    "tree": DecisionTreeClassifier(max_features=1),
}


def labelled_ballots(model, X):
    """Return ballots as labels, None for an abstention, so that sets of classes may differ."""
    return np.append(np.asarray(model.classes_, dtype=object), None)[model.ballots(X)]


def check_attack(clean, attacked, X_test, n_operations=1, certificate=None):
    """Within the radius no prediction changes; no more members change than operations."""
    y_pred, radius = certificate or clean.certify(X_test)
    changed = y_pred != attacked.predict(X_test)
    assert not (changed & (radius >= n_operations)).any()
    other = (labelled_ballots(clean, X_test) != labelled_ballots(attacked, X_test)).any(axis=0)
    assert other.sum() <= n_operations
    return changed.any(), other.any()


# ---------------------------------------------------------------- every single operation


@pytest.mark.parametrize("classes", [None, [1, 2, 3]], ids=["open", "closed"])
@pytest.mark.parametrize("estimator", MEMBERS.values(), ids=MEMBERS.keys())
def test_radius_survives_every_single_insertion(estimator, classes):
    X, y = coarse_set()
    clean = DeepPartitionAggregation(estimator, 6, classes=classes).fit(X, y)
    certificate = clean.certify(GRID)
    assert (certificate.radius >= 1).any()
    flipped = False
    # 0 sorts before every known label and wins ties; 9 comes after them.
    for row, label in itertools.product(np.unique(X, axis=0), [0, 1, 2, 3, 9]):
        if classes is None or label in classes:
            attacked = DeepPartitionAggregation(estimator, 6, classes=classes)
            attacked.fit(np.vstack([X, row]), np.append(y, label))
            flipped |= check_attack(clean, attacked, GRID, 1, certificate)[0]
    assert flipped  # the attacks do bite where nothing is promised


@pytest.mark.parametrize("estimator", MEMBERS.values(), ids=MEMBERS.keys())
def test_radius_survives_every_single_deletion(estimator):
    X, y = coarse_set()
    clean = DeepPartitionAggregation(estimator, 6).fit(X, y)
    certificate = clean.certify(GRID)
    changes = [
        check_attack(
            clean,
            DeepPartitionAggregation(estimator, 6).fit(X[rest], y[rest]),
            GRID,
            1,
            certificate,
        )[1]
        for rest in (np.delete(np.arange(len(y)), i) for i in range(len(y)))
    ]
    assert any(changes)


def test_radius_survives_every_single_flip_and_replacement():
    X, y = coarse_set(12)
    clean = DeepPartitionAggregation(KNeighborsClassifier(1), 8).fit(X, y)
    flips, replacements = (clean.certify(GRID, threat=t) for t in ("label_flip", "replacement"))
    for i, label in itertools.product(range(len(y)), [0, 1, 2, 3]):
        other = y.copy()
        other[i] = label
        attacked = DeepPartitionAggregation(KNeighborsClassifier(1), 8).fit(X, other)
        check_attack(clean, attacked, GRID, 1, flips)
        rows = X.copy()
        rows[i] = X[(i * 7 + label) % len(X)]
        attacked = DeepPartitionAggregation(KNeighborsClassifier(1), 8).fit(rows, other)
        assert not (
            (attacked.predict(GRID) != replacements.y_pred) & (replacements.radius >= 1)
        ).any()


def test_radius_is_reached_by_worst_case_members():
    """Members that one row turns: an attack of radius + 1 partitions succeeds, radius fails."""
    X, y = np.arange(21.0)[:, None], np.repeat([1, 2], [13, 8])
    hasher = lambda A: np.rint(A[:, 0]).astype(int)  # noqa: E731 - row i to partition i % 21
    estimator = FollowsTheLargestLabel()
    clean = DeepPartitionAggregation(estimator, 21, hasher=hasher).fit(X, y)
    (winner,), (radius,) = clean.certify([[0.0]])
    assert (winner, radius) == (1, 2)
    for n_poisoned in (radius, radius + 1):
        poison = X[:n_poisoned] + 21  # other rows of the same partitions
        attacked = DeepPartitionAggregation(estimator, 21, hasher=hasher)
        attacked.fit(np.vstack([X, poison]), np.append(y, [2] * n_poisoned))
        assert attacked.predict([[0.0]])[0] == (1 if n_poisoned <= radius else 2)


class FollowsTheLargestLabel(ClassifierMixin, BaseEstimator):
    def fit(self, X, y):
        self.classes_ = np.unique(y)
        return self

    def predict(self, X):
        return np.full(len(X), self.classes_[-1])


# ---------------------------------------------------------------- exact ties


def tied_set(n_members=40, dtype=np.float64):
    """Each partition holds one row of each class, mirror images of each other, and copies."""
    X, y, home = [], [], []
    for i in range(n_members):
        scale = 1 + i % 7
        X += [[scale, 5.0, i], [-scale, 5.0, i], [-scale, 5.0, i], [scale, 5.0, i]]
        y += ["a", "b", "b", "a"]
        home += [i] * 4
    return np.array(X, dtype=dtype), np.array(y), np.array(home)


def by_last_column(A):
    return np.rint(np.asarray(A)[:, -1]).astype(int)


TIED_TEST = np.array(
    [[0.0, 5, 3], [0, 0, 0], [0, 5, 39], [0, 1 / 3, 0.1], [0, -7, 1e6], [1, 5, 2]]
)
TIED_MEMBERS = {
    "ridge": RidgeClassifier(),
    "ridge without intercept": RidgeClassifier(fit_intercept=False),
    "ridge by another solver": RidgeClassifier(solver="svd"),
    "logistic regression": LogisticRegression(max_iter=20),
    "perceptron-like": SGDClassifier(max_iter=5, tol=None),
    "scaled ridge": make_pipeline(StandardScaler(), RidgeClassifier()),
    "shared step and ridge": make_pipeline(
        FunctionTransformer(lambda A: A * 3), RidgeClassifier()
    ),
    "naive Bayes": GaussianNB(),
    "nearest neighbours": KNeighborsClassifier(2),
    "tree": DecisionTreeClassifier(max_features=1),
}


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("estimator", TIED_MEMBERS.values(), ids=TIED_MEMBERS.keys())
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_one_row_changes_one_member_at_exact_ties(estimator, dtype):
    X, y, home = tied_set(dtype=dtype)
    X_test = TIED_TEST.astype(dtype)
    model = DeepPartitionAggregation(estimator, 40, hasher=by_last_column)
    before = labelled_ballots(model.fit(X, y), X_test)
    np.testing.assert_array_equal(model.partition_, home)
    for label, row in [
        ("A", [0, 5, 17]), ("0 sorts first, and is longer", [1, 5, 17]), ("z", [0, 0, 17]),
        ("a", [1e4, -1e4, 17]), ("b", [0, 5, 17 + 40]),
    ]:  # fmt: skip
        model.fit(np.vstack([X, np.array([row], dtype=dtype)]), np.append(y, label))
        other = (labelled_ballots(model, X_test) != before).any(axis=0)
        assert set(np.flatnonzero(other)) <= {17}, label


@pytest.mark.parametrize("n_classes", [2, 3])
@pytest.mark.parametrize("n_members", [127, 128, 129, 300])
def test_stacked_members_stay_apart_at_ties(n_members, n_classes):
    rng = np.random.default_rng(n_members)
    X = rng.integers(-2, 3, (4 * n_members, 9)).astype(float)
    X[:, 0] = np.arange(len(X)) % n_members
    y = np.repeat(np.arange(4) % n_classes, n_members)
    X_test = rng.integers(-2, 3, (40, 9)) / 2
    model = DeepPartitionAggregation(n_partitions=n_members, hasher=lambda A: A[:, 0].astype(int))
    before = labelled_ballots(model.fit(X, y), X_test)
    poisoned = n_members - 1
    for label in (-1, 0, n_classes):
        row = np.zeros((1, 9))
        row[0, 0] = poisoned
        model.fit(np.vstack([row, X]), np.append(label, y))
        other = (labelled_ballots(model, X_test) != before).any(axis=0)
        assert set(np.flatnonzero(other)) <= {poisoned}


def test_constant_features_and_copies_tie_without_coupling():
    X = np.ones((60, 4))
    X[:, 3] = np.arange(60) % 12
    y = np.arange(60) // 12 % 2
    model = DeepPartitionAggregation(n_partitions=12, hasher=by_last_column)
    before = labelled_ballots(model.fit(X, y), X)
    for n_copies in (1, 3):
        poison = np.repeat(X[:1], n_copies, axis=0)
        model.fit(np.vstack([X, poison]), np.append(y, [-5] * n_copies))
        other = (labelled_ballots(model, X) != before).any(axis=0)
        assert set(np.flatnonzero(other)) <= {0}


# ---------------------------------------------------------------- a ballot is of one test row


def ballot_cases():
    rng = np.random.default_rng(0)
    X = rng.integers(0, 4, (200, 7)).astype(float)
    y = rng.integers(0, 3, 200)
    X_test = np.vstack([rng.integers(0, 8, (300, 7)) / 2, X[:10]])
    return X, y, X_test


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("estimator", MEMBERS.values(), ids=MEMBERS.keys())
def test_ballots_do_not_depend_on_the_batch(estimator, dtype):
    X, y, X_test = ballot_cases()
    X_test = X_test.astype(dtype)
    model = DeepPartitionAggregation(estimator, 15).fit(X, y)
    ballots = model.ballots(X_test)
    order = np.random.default_rng(1).permutation(len(X_test))
    np.testing.assert_array_equal(model.ballots(X_test[order]), ballots[order])
    for rows in ([0], [299], [255, 256], range(17), range(257), [5, 5, 5]):
        np.testing.assert_array_equal(model.ballots(X_test[rows]), ballots[list(rows)])
    np.testing.assert_array_equal(model.ballots(np.asfortranarray(X_test)), ballots)


def test_ballots_of_sparse_rows_do_not_depend_on_the_batch():
    X, y, X_test = ballot_cases()
    model = DeepPartitionAggregation(n_partitions=15).fit(sp.csr_array(X), y)
    ballots = model.ballots(sp.csr_array(X_test))
    for rows in ([0], [299], range(100, 120)):
        np.testing.assert_array_equal(model.ballots(sp.csr_array(X_test[rows])), ballots[rows])


# ---------------------------------------------------------------- partitions and dtypes


def test_blank_row_moves_no_other_row():
    # Rows of few nonzeros are encoded by these; the row before an empty one is not cut short.
    X = np.zeros((3, 20))
    X[:, 3], X[:, 7] = 1, [0.3, 0.5, 0.7]
    y = np.array([0, 1, 0])
    model = DeepPartitionAggregation(n_partitions=1000)
    for container in (np.asarray, sp.csr_array, sp.csc_array):
        before = model.fit(container(X), y).partition_.copy()
        model.fit(container(np.vstack([X, np.zeros((1, 20))])), np.append(y, 1))
        np.testing.assert_array_equal(model.partition_[:3], before)


def test_fraction_in_one_row_does_not_retrain_the_others():
    # The fraction makes a table of integers one of floats; the other members must not notice.
    rng = np.random.default_rng(125)
    X, y = rng.integers(0, 2, (60, 3)), rng.integers(0, 3, 60)
    X_test = np.array(list(itertools.product([0, 1, 2], repeat=3)))
    model = DeepPartitionAggregation(n_partitions=12, classes=[0, 1, 2]).fit(X, y)
    before, home = model.ballots(X_test), model.partition_.copy()
    model.fit(np.vstack([X, [[0.5, 0, 0]]]), np.append(y, 0))
    np.testing.assert_array_equal(model.partition_[:-1], home)
    other = np.flatnonzero((model.ballots(X_test) != before).any(axis=0))
    assert set(other) <= {model.partition_[-1]}


@pytest.mark.parametrize("dtype", [np.uint8, np.int32, np.int64, np.float32, ">f8", object])
def test_members_do_not_depend_on_the_type_of_the_table(dtype):
    X, y, X_test = ballot_cases()
    model = DeepPartitionAggregation(n_partitions=15)
    expected = model.fit(X, y).ballots(X_test)
    np.testing.assert_array_equal(model.fit(X.astype(dtype), y).ballots(X_test), expected)


@pytest.mark.parametrize("outlier", [1e10, 1e150, 1e160, 1e300])
def test_outlier_of_any_size_changes_one_member(outlier):
    # Squares of the outlier overflow; the fit must neither fail nor touch another member.
    X, y, X_test = ballot_cases()
    model = DeepPartitionAggregation(n_partitions=15)
    before = model.fit(X, y).ballots(X_test)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # overflow inside the poisoned member
        model.fit(np.vstack([X, np.full((1, 7), outlier)]), np.append(y, 0))
        other = np.flatnonzero((model.ballots(X_test) != before).any(axis=0))
    assert set(other) <= {model.partition_[-1]}


# ---------------------------------------------------------------- who may vote for what


class VotesForTheMoon(ClassifierMixin, BaseEstimator):
    """Makes up a label."""

    def fit(self, X, y):
        self.classes_ = np.unique(y)
        return self

    def predict(self, X):
        return np.full(len(X), 7)


def test_member_may_not_vote_for_a_label_it_never_saw():
    X = np.arange(12.0)[:, None]
    y = np.array([1, 2] * 5 + [7, 2])  # 7 is known to one partition only
    hasher = lambda A: A[:, 0].astype(int) // 4  # noqa: E731
    model = DeepPartitionAggregation(VotesForTheMoon(), 3, hasher=hasher).fit(X, y)
    np.testing.assert_array_equal(model.ballots(X[:1]), [[-1, -1, 2]])
    closed = DeepPartitionAggregation(VotesForTheMoon(), 3, hasher=hasher, classes=[1, 2, 7])
    np.testing.assert_array_equal(closed.fit(X, y).ballots(X[:1]), [[2, 2, 2]])


def test_empty_partition_abstains_and_one_class_partition_votes_for_it():
    X = np.array([[0.0], [0], [1], [1], [3], [3]])
    y = np.array(["no", "yes", "no", "no", "yes", "yes"])
    model = DeepPartitionAggregation(n_partitions=4, hasher=lambda A: A[:, 0].astype(int))
    model.fit(X, y)
    assert model.estimators_[2] is None
    ballots = model.ballots([[0.0], [9.0]])
    np.testing.assert_array_equal(ballots[:, 1:], [[0, -1, 1]] * 2)
    assert (ballots[:, 0] >= 0).all()


def test_filling_an_empty_partition_costs_one_ballot():
    X = np.array([[0.0], [0], [1], [1], [3], [3]])
    y = np.array([1, 1, 1, 2, 1, 1])
    model = DeepPartitionAggregation(n_partitions=4, hasher=lambda A: A[:, 0].astype(int))
    before = labelled_ballots(model.fit(X, y), X)
    for label in (0, 1, 2, 3):
        model.fit(np.vstack([X, [[2.0]]]), np.append(y, label))
        after = labelled_ballots(model, X)
        assert (after[:, 2] == label).all()
        np.testing.assert_array_equal(np.delete(after, 2, axis=1), np.delete(before, 2, axis=1))


def test_losing_every_row_of_a_class_or_partition_costs_only_touched_members():
    X, y = coarse_set(40, seed=3)
    clean = DeepPartitionAggregation(n_partitions=8).fit(X, y)
    certificate = clean.certify(GRID)
    removals = [y == c for c in (1, 2, 3)] + [clean.partition_ == p for p in clean.partition_]
    for gone in removals:
        attacked = DeepPartitionAggregation(n_partitions=8).fit(X[~gone], y[~gone])
        touched = len(np.unique(clean.partition_[gone]))
        changed = attacked.predict(GRID) != certificate.y_pred
        # Budgets count rows, but what counts in the proof is the members that they reach.
        assert not (changed & (certificate.radius >= touched)).any()


# ---------------------------------------------------------------- backends


BACKENDS = [("threading", 1), ("threading", 2), ("loky", 2)]


@pytest.fixture(scope="module")
def backend_case():
    X, y, X_test = ballot_cases()
    model = DeepPartitionAggregation(
        make_pipeline(StandardScaler(), DecisionTreeClassifier(max_features=2)), 15
    )
    return model, X, y, X_test, model.fit(X, y).ballots(X_test)


@pytest.mark.parametrize(("backend", "n_jobs"), BACKENDS)
def test_ballots_do_not_depend_on_the_backend(backend_case, backend, n_jobs):
    model, X, y, X_test, expected = backend_case
    with parallel_config(backend, n_jobs=n_jobs):
        np.testing.assert_array_equal(model.fit(X, y).ballots(X_test), expected)
        ridge = DeepPartitionAggregation(n_partitions=15, n_jobs=n_jobs).fit(X, y)
    plain = DeepPartitionAggregation(n_partitions=15).fit(X, y)
    for one, two in zip(plain.estimators_, ridge.estimators_, strict=True):
        np.testing.assert_array_equal(one.coef_, two.coef_)
    np.testing.assert_array_equal(plain.ballots(X_test), ridge.ballots(X_test))


# ---------------------------------------------------------------- warnings


def test_void_hasher_warns_when_fitted():
    X, y = coarse_set()
    model = DeepPartitionAggregation(n_partitions=5, hasher=lambda A: (A > A.mean(0)) @ [1, 2])
    with pytest.warns(CertificateWarning, match="is not a function of the row alone"):
        model.fit(X, y)
