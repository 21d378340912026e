"""Every attack against every certificate that applies: never beaten, and met where it is tight."""

import itertools

import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.base import clone
from sklearn.cluster import KMeans
from sklearn.datasets import load_digits, load_iris, make_classification
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression, Ridge, RidgeClassifier
from sklearn.naive_bayes import GaussianNB
from sklearn.neighbors import KNeighborsClassifier
from sklearn.tree import DecisionTreeClassifier

from certified_ensembles import DeepPartitionAggregation
from certified_ensembles.attacks import (
    empirical_robust_accuracy,
    flip_labels_in_order,
    flip_labels_of_smoother,
    insert_rows,
    label_flip_influence,
    poison_ballots,
    poison_members,
    smallest_flip_attack,
    smallest_ordered_flip_attack,
)
from certified_ensembles.certificates.collective import collective_survivors
from certified_ensembles.certificates.finite import finite_aggregation_radius
from certified_ensembles.certificates.linear import linear_smoother_radius, linear_smoother_winner
from certified_ensembles.certificates.plurality import plurality_radius
from certified_ensembles.hashers import ContentHasher
from certified_ensembles.label_flip import LabelFlipSmoothingClassifier
from certified_ensembles.metrics import certified_accuracy_curve
from certified_ensembles.smoothers import ClusterVote, LinearSmoother
from certified_ensembles.ssdpa import SemiSupervisedDPA

# ---------------------------------------------------------------- linear smoothers

WEIGHTS = {
    "normal": lambda rng, shape: rng.normal(size=shape),
    "votes": lambda rng, shape: rng.integers(0, 3, shape).astype(float),
    "tenths of both signs": lambda rng, shape: rng.integers(-4, 5, shape) * 0.1,
    "plus and minus one": lambda rng, shape: rng.choice([1.0, -1.0], shape),
    "negative": lambda rng, shape: -rng.integers(1, 4, shape) * 0.1,
    "zero": lambda rng, shape: np.zeros(shape),
    "of very different size": lambda rng, shape: 10.0 ** rng.integers(-25, 5, shape),
}


def smoother_instances(kind, n_instances=40, n_rows=3):
    rng = np.random.default_rng(list(WEIGHTS).index(kind))
    for _ in range(n_instances):
        n_classes = int(rng.integers(2, 5))
        n_train = int(rng.integers(n_classes, 13))
        y = np.append(np.arange(n_classes), rng.integers(0, n_classes, n_train - n_classes))
        yield WEIGHTS[kind](rng, (n_rows, n_train)), rng.permutation(y), n_classes


def open_winner(weights, labels, n_classes):
    """The winner among the labels that occur; n_classes is the new one, and sorts first."""
    seen, codes = np.unique((labels + 1) % (n_classes + 1), return_inverse=True)
    return (seen[linear_smoother_winner(weights[None], codes, len(seen))[0]] - 1) % (n_classes + 1)


def winners(weights, poisoned, n_classes, open_set):
    if open_set:
        pairs = zip(weights, poisoned, strict=True)
        return np.array([open_winner(a, labels, n_classes) for a, labels in pairs])
    pairs = zip(weights, poisoned, strict=True)
    return np.array([linear_smoother_winner(a[None], b, n_classes)[0] for a, b in pairs])


@pytest.mark.parametrize("kind", WEIGHTS)
def test_flips_meet_the_exact_radius(kind):
    n_beaten_by_one_more = 0
    for weights, y, n_classes in smoother_instances(kind):
        winner, radius = linear_smoother_radius(weights, y, n_classes)
        n_flips = smallest_flip_attack(weights, y, n_classes)
        np.testing.assert_array_equal(n_flips, radius + 1)
        for row, r, c in zip(weights, radius, winner, strict=True):
            for budget in (r, r + 1):
                poisoned = flip_labels_of_smoother(row[None], y, n_classes, budget)
                assert (poisoned != y).sum() <= budget
                changed = winners(row[None], poisoned, n_classes, False)[0] != c
                assert changed == (r < budget <= len(y))
                n_beaten_by_one_more += changed
    assert n_beaten_by_one_more or kind == "zero"


@pytest.mark.parametrize("kind", WEIGHTS)
def test_flips_to_a_new_label_meet_the_radius_of_an_open_set(kind):
    met = []
    for weights, y, n_classes in smoother_instances(kind):
        winner, radius = linear_smoother_radius(weights, y, n_classes, open_set=True)
        n_flips = smallest_flip_attack(weights, y, n_classes, open_set=True)
        # The new label may have to be put on one more row before it is a class that can win.
        assert ((n_flips == radius + 1) | (n_flips == radius + 2)).all()
        met += (n_flips == radius + 1).tolist()
        for row, r, m, c in zip(weights, radius, n_flips, winner, strict=True):
            within, beyond = (
                flip_labels_of_smoother(row[None], y, n_classes, b, open_set=True) for b in (r, m)
            )
            assert winners(row[None], within, n_classes, True)[0] == c
            assert winners(row[None], beyond, n_classes, True)[0] != c
            assert (beyond != y).sum() <= m
    assert np.mean(met) > 0.9


def fewest_flips(weights, y, n_classes, open_set):
    """Try every label vector."""
    winner = winners(weights[None], y[None], n_classes, open_set)[0]
    every = np.array(list(itertools.product(range(n_classes + open_set), repeat=len(y))))
    changed = winners(np.tile(weights, (len(every), 1)), every, n_classes, open_set) != winner
    return (every[changed] != y).sum(axis=1).min(initial=len(y) + 1)


@pytest.mark.parametrize("open_set", [False, True], ids=["closed", "open"])
def test_no_label_vector_needs_fewer_flips(open_set):
    rng = np.random.default_rng(0)
    for i in range(12):
        y = np.append([0, 1], rng.integers(0, 2, 3))
        weights = rng.normal(size=5) if i % 2 else rng.integers(-3, 3, 5) * 0.1
        n_flips = smallest_flip_attack(weights[None], y, 2, open_set=open_set)[0]
        assert n_flips == fewest_flips(weights, y, 2, open_set)


def test_a_new_label_needs_a_row_of_its_own():
    """Flips of others bring the winner's score below zero, but nobody is there to win."""
    y, weights = np.repeat([0, 1], [6, 3]), np.repeat([0.5, -4.0], [6, 3])[None]
    assert linear_smoother_radius(weights, y, 2, open_set=True)[1] == 0
    assert smallest_flip_attack(weights, y, 2, open_set=True) == 2
    poisoned = flip_labels_of_smoother(weights, y, 2, 2, open_set=True)
    assert (poisoned == 2).any()


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_flip_attacks_keep_shapes_and_budgets(data):
    n_samples = data.draw(st.integers(0, 4))
    y = np.array(data.draw(st.lists(st.integers(0, 2), max_size=8)), dtype=int)
    numbers = st.sampled_from([-0.3, -0.1, 0.0, 0.1, 0.2, 0.3])
    weights = data.draw(
        st.lists(numbers, min_size=n_samples * len(y), max_size=n_samples * len(y))
    )
    weights = np.reshape(weights, (n_samples, len(y)))
    budget = data.draw(st.integers(0, 10))
    poisoned = flip_labels_of_smoother(weights, y, 3, budget)
    assert poisoned.shape == weights.shape
    assert poisoned.dtype == np.int64
    assert ((poisoned != y).sum(axis=1) <= budget).all()
    winner, radius = linear_smoother_radius(weights, y, 3)
    changed = winners(weights, poisoned, 3, False) != winner
    np.testing.assert_array_equal(changed, (radius < budget) & (radius < len(y)))


def test_whole_budget_is_spent_on_what_still_helps():
    poisoned = flip_labels_of_smoother([[3.0, 2.0, 1.0, -1.0]], [0, 0, 0, 1], 2, budget=3)
    np.testing.assert_array_equal(poisoned, [[1, 1, 1, 1]])  # the first three of 6, 4, 2 and 2
    poisoned = flip_labels_of_smoother([[3.0, 2.0, -1.0, 1.0]], [0, 0, 0, 1], 2, budget=4)
    np.testing.assert_array_equal(poisoned, [[1, 1, 0, 1]])  # the last two help the winner


def test_max_flips_stops_the_search_and_admits_it():
    weights, y = np.ones((2, 9)), [0] * 7 + [1] * 2
    for most, expected in ((0, 10), (2, 10), (3, 3), (99, 3)):
        np.testing.assert_array_equal(
            smallest_flip_attack(weights, y, 2, max_flips=most), [expected] * 2
        )


def test_flips_do_not_depend_on_the_rows_beside():
    rng = np.random.default_rng(0)
    weights, y = rng.normal(size=(5, 40)), rng.integers(0, 3, 40)
    together = flip_labels_of_smoother(weights, y, 3, 4)
    alone = [flip_labels_of_smoother(row[None], y, 3, 4)[0] for row in weights]
    np.testing.assert_array_equal(together, alone)


def test_progress_is_shown_on_request_only(capsys):
    smallest_flip_attack(np.ones((2, 3)), [0, 0, 1], 2)
    assert capsys.readouterr().err == ""
    smallest_flip_attack(np.ones((2, 3)), [0, 0, 1], 2, verbose=1)
    assert "row" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("kwargs", "error", "message"),
    [
        ({"weights": np.ones((2, 3))}, ValueError, "weights must have shape"),
        ({"weights": np.full((1, 4), np.nan)}, ValueError, "finite"),
        ({"y": [0, 1, 2, 0]}, ValueError, "y must hold codes"),
        ({"y": [0.0, 1.0, 1.0, 0.0]}, ValueError, "integer codes"),
        ({"n_classes": 0}, ValueError, "n_classes"),
        ({"y": [0, 0, 0, 0], "open_set": True}, ValueError, "no row of the classes"),
    ],
)
def test_flip_attacks_refuse_unusable_arrays(kwargs, error, message):
    good = {"weights": np.ones((1, 4)), "y": [0, 1, 1, 0], "n_classes": 2}
    with pytest.raises(error, match=message):
        smallest_flip_attack(**good | kwargs)
    with pytest.raises(error, match=message):
        flip_labels_of_smoother(**good | kwargs, budget=1)


@pytest.mark.parametrize(("budget", "error"), [(-1, ValueError), (1.5, TypeError)])
def test_attacks_refuse_unusable_budgets(budget, error):
    with pytest.raises(error, match="budget"):
        flip_labels_of_smoother(np.ones((1, 3)), [0, 1, 0], 2, budget)
    with pytest.raises(error, match="budget"):
        smallest_flip_attack(np.ones((1, 3)), [0, 1, 0], 2, max_flips=budget)
    with pytest.raises(error, match="budget"):
        poison_ballots([[0, 1]], 2, budget)
    with pytest.raises(error, match="budget"):
        poison_members([[0, 1]], 2, budget)
    with pytest.raises(error, match="budget"):
        flip_labels_in_order(RidgeClassifier(), [[0.0], [1.0]], [0, 1], [[0.5]], budget)


# ---------------------------------------------------------------- fitted classifiers


def blobs(n=60, n_classes=2, flip_y=0.2):
    X, y = make_classification(
        n, n_features=5, n_informative=3, n_classes=n_classes, flip_y=flip_y, random_state=0
    )
    return X[:-10], y[:-10], X[-10:]


SMOOTHERS = {
    "ridge": RidgeClassifier(10.0),
    "ridge without intercept": RidgeClassifier(10.0, fit_intercept=False),
    "neighbours": KNeighborsClassifier(9),
    "clusters": ClusterVote(KMeans(2, n_init=3, random_state=0)),
    "clusters, swap": ClusterVote(KMeans(2, n_init=3, random_state=0), votes="swap"),
}


@pytest.mark.parametrize("n_classes", [2, 3])
@pytest.mark.parametrize("closed", [True, False], ids=["closed", "open"])
@pytest.mark.parametrize("estimator", SMOOTHERS.values(), ids=SMOOTHERS)
def test_a_fit_on_the_flipped_labels_confirms_radius_and_attack(estimator, closed, n_classes):
    X, y, X_test = blobs(n_classes=n_classes)
    smoother = LinearSmoother(estimator).fit(X)
    weights = np.concatenate([weights for _, weights in smoother.iter_weights(X_test)])
    clf = LabelFlipSmoothingClassifier(estimator, classes=range(n_classes) if closed else None)
    y_pred, radius = clone(clf).fit(X, y).certify(X_test)
    n_flips = smallest_flip_attack(weights, y, n_classes, open_set=not closed)
    for i, budget in itertools.chain(enumerate(radius), enumerate(n_flips)):
        poisoned = flip_labels_of_smoother(
            weights[[i]], y, n_classes, budget, open_set=not closed
        )[0]
        # Code n_classes is a label that sorts before all others.
        poisoned = np.where(poisoned == n_classes, -1, poisoned)
        now = clone(clf).fit(X, poisoned).predict(X_test[[i]])[0]
        assert (now == y_pred[i]) == (budget <= radius[i])


@pytest.mark.parametrize("certificate", ["tight", "kl"])
def test_smoothed_radii_survive_the_optimal_flips(certificate):
    X, y, X_test = blobs(300, flip_y=0)
    clf = LabelFlipSmoothingClassifier(
        RidgeClassifier(10.0, fit_intercept=False), certificate=certificate, classes=[0, 1],
        noise=0.2,
    )  # fmt: skip
    y_pred, radius = clone(clf).fit(X, y).certify(X_test)
    assert (radius > 0).any()
    smoother = LinearSmoother(clf.estimator).fit(X)
    weights = np.concatenate([weights for _, weights in smoother.iter_weights(X_test)])
    for i in np.flatnonzero(radius > 0):
        poisoned = flip_labels_of_smoother(weights[[i]], y, 2, radius[i])[0]
        now, left = clone(clf).fit(X, poisoned).certify(X_test[[i]])
        assert now[0] == y_pred[i]
        assert left[0] <= radius[i]
    assert (smallest_flip_attack(weights, y, 2) > radius).all()


def test_monte_carlo_radius_survives_flips_in_order_of_influence():
    X, y, X_test = blobs(150, flip_y=0)
    clf = LabelFlipSmoothingClassifier(
        LogisticRegression(), certificate="monte_carlo", noise=0.3, n_draws=60, confidence=0.9,
        classes=[0, 1],
    )  # fmt: skip
    y_pred, radius = clone(clf).fit(X, y).certify(X_test)
    assert (radius > 0).any()
    for i in np.flatnonzero(radius > 0)[:3]:
        poisoned = flip_labels_in_order(LogisticRegression(), X, y, X_test[[i]], radius[i])[0]
        assert clone(clf).fit(X, poisoned).predict(X_test[[i]])[0] == y_pred[i]


PARTITIONED = {
    "DPA": DeepPartitionAggregation(RidgeClassifier(), 9, classes=[0, 1]),
    "DPA, labels hashed": DeepPartitionAggregation(
        RidgeClassifier(), 9, hasher=ContentHasher(include_labels=True), classes=[0, 1]
    ),
    "finite aggregation": DeepPartitionAggregation(
        RidgeClassifier(), 9, spread_degree=2, classes=[0, 1]
    ),
    "run-off": DeepPartitionAggregation(
        RidgeClassifier(), 9, aggregation="run_off", classes=[0, 1]
    ),
    "SS-DPA": SemiSupervisedDPA(RidgeClassifier(), 9, classes=[0, 1]),
}


@pytest.mark.parametrize("order", ["influence", "distance"])
@pytest.mark.parametrize("ensemble", PARTITIONED.values(), ids=PARTITIONED)
def test_partition_ensembles_survive_ordered_flips_within_the_radius(ensemble, order):
    X, y, X_test = blobs(160)
    y_pred, radius = clone(ensemble).fit(X, y).certify(X_test, threat="label_flip")
    within = np.flatnonzero(radius > 0)[:4]
    assert len(within)
    changed = 0
    for i in within:
        flip = flip_labels_in_order(RidgeClassifier(), X, y, X_test[[i]], radius[i], order=order)
        assert (flip[0] != y).sum() == radius[i]
        assert clone(ensemble).fit(X, flip[0]).predict(X_test[[i]])[0] == y_pred[i]
        flip = flip_labels_in_order(RidgeClassifier(), X, y, X_test[[i]], 100, order=order)
        changed += clone(ensemble).fit(X, flip[0]).predict(X_test[[i]])[0] != y_pred[i]
    assert changed  # the same attack with more flips does bite


# ---------------------------------------------------------------- influence


def with_weight_moved(model, X, y, row, label, share):
    """Fit with a share of the weight of one row moved to a copy with another label."""
    weight = np.append(np.ones(len(y)), share)
    weight[row] -= share
    return clone(model).fit(np.vstack([X, X[row]]), np.append(y, label), sample_weight=weight)


def margin(model, x, c, b):
    value = model.decision_function(x[None])[0]
    if np.ndim(value) == 0:
        return value * (1 if c == model.classes_[1] else -1)
    return value[c] - value[b]


@pytest.mark.parametrize("fit_intercept", [True, False])
@pytest.mark.parametrize(("n_classes", "solver"), [(2, "lbfgs"), (2, "liblinear"), (3, "lbfgs")])
def test_influence_is_the_derivative_of_the_margin(n_classes, solver, fit_intercept):
    X, y, X_test = blobs(90, n_classes)
    model = LogisticRegression(
        C=0.3, tol=1e-10, max_iter=10_000, solver=solver, fit_intercept=fit_intercept,
        intercept_scaling=2.0 if solver == "liblinear" else 1.0,
    ).fit(X, y)  # fmt: skip
    drop = label_flip_influence(model, X, y, X_test)
    assert drop.shape == (10, 80)
    share = 1e-2
    for i, row in itertools.product(range(3), range(0, 80, 13)):
        values = model.decision_function(X_test)
        values = np.column_stack([-values, values]) if n_classes == 2 else values
        b, c = np.argsort(values[i])[-2:]
        label = c if y[row] == b else b
        moved = with_weight_moved(model, X, y, row, label, share)
        slope = (margin(model, X_test[i], c, b) - margin(moved, X_test[i], c, b)) / share
        assert drop[i, row] == pytest.approx(slope, rel=1e-2, abs=5e-4)


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (LogisticRegression(l1_ratio=0.5, solver="saga"), "l1_ratio"),
        (LogisticRegression(C=np.inf), "C=inf"),
        (LogisticRegression(class_weight="balanced"), "class_weight"),
        (GaussianNB(), "pass a LogisticRegression"),
    ],
)
def test_influence_is_refused_where_it_has_another_form(model, message):
    X, y, X_test = blobs()
    with pytest.raises(ValueError, match=message):
        smallest_ordered_flip_attack(model, X, y, X_test)
    with pytest.raises(ValueError, match=message):
        label_flip_influence(model, X, y, X_test)


def test_influence_refuses_labels_that_the_model_has_not_seen():
    X, y, X_test = blobs()
    model = LogisticRegression().fit(X, y)
    with pytest.raises(ValueError, match="has not seen"):
        label_flip_influence(model, X, y + 1, X_test)


# ---------------------------------------------------------------- undefended models

VICTIMS = {
    "logistic": (LogisticRegression(C=0.1), {}),
    # A fit that stops this early depends on where it started.
    "logistic, hasty": (LogisticRegression(C=10.0, tol=0.1), {}),
    "logistic, renewed": (LogisticRegression(C=0.1), {"recompute": "schedule"}),
    "ridge": (RidgeClassifier(), {}),
    "neighbours": (KNeighborsClassifier(7), {}),
    "naive Bayes": (GaussianNB(), {"orders": "distance"}),
    "forest": (RandomForestClassifier(3, random_state=0), {"orders": ["distance"]}),
}


def fresh_prediction(estimator, X, y, x_test):
    """A fit from scratch; a logistic regression refuses labels of one class."""
    return y[0] if len(np.unique(y)) == 1 else clone(estimator).fit(X, y).predict(x_test)[0]


@pytest.mark.parametrize("n_classes", [2, 3])
@pytest.mark.parametrize(("estimator", "options"), VICTIMS.values(), ids=VICTIMS)
def test_every_attack_found_works_on_a_fresh_fit(estimator, options, n_classes):
    X, y, X_test = blobs(100, n_classes)
    y = np.array(["a", "b", "c"])[y]
    X_test = X_test[:4]
    n_flips, poisoned = smallest_ordered_flip_attack(
        estimator, X, y, X_test, return_labels=True, **options
    )
    assert poisoned.shape == (4, 90)
    assert poisoned.dtype == y.dtype
    assert (n_flips >= 1).all()
    assert (n_flips <= 90).all()
    clean = clone(estimator).fit(X, y).predict(X_test)
    for i in range(4):
        assert (poisoned[i] != y).sum() == n_flips[i]
        assert fresh_prediction(estimator, X, poisoned[i], X_test[[i]]) != clean[i]


@pytest.mark.parametrize("estimator", [LogisticRegression(), DecisionTreeClassifier()])
def test_a_class_may_lose_its_last_row(estimator):
    n_flips, poisoned = smallest_ordered_flip_attack(
        estimator, [[0.0], [0.5], [1.0], [9.0]], [0, 0, 0, 1], [[9.2]],
        orders="distance", reverse=False, return_labels=True,
    )  # fmt: skip
    assert n_flips == 1
    assert not poisoned.any()
    # With three classes the two others are fitted again, from scratch.
    X, y = [[0.0], [0.5], [4.0], [4.5], [9.0]], [0, 0, 1, 1, 2]
    n_flips = smallest_ordered_flip_attack(estimator, X, y, [[9.2]], orders="distance")
    assert n_flips == 1


def test_fewer_flips_of_the_same_order_do_not_suffice():
    X, y, X_test = blobs(100)
    model = LogisticRegression(C=0.1)
    n_flips = smallest_ordered_flip_attack(model, X, y, X_test, orders="influence", reverse=False)
    clean = clone(model).fit(X, y).predict(X_test)
    assert (n_flips > 1).sum() > 5
    for i in np.flatnonzero(n_flips > 1):
        for budget, works in ((n_flips[i] - 1, False), (n_flips[i], True)):
            labels = flip_labels_in_order(model, X, y, X_test[[i]], budget)[0]
            assert (clone(model).fit(X, labels).predict(X_test[[i]])[0] != clean[i]) == works


def test_the_best_of_all_orders_is_kept():
    X, y, X_test = blobs(100, 3)
    single = [
        smallest_ordered_flip_attack(RidgeClassifier(), X, y, X_test, orders=order, reverse=end)
        for order, end in itertools.product(["influence", "distance"], [False, True])
    ]
    every = smallest_ordered_flip_attack(RidgeClassifier(), X, y, X_test)
    np.testing.assert_array_equal(every, np.minimum(single[1], single[3]))
    for forward, both_ends in (single[:2], single[2:]):
        assert (both_ends <= forward).all()
    assert (single[0] < single[2]).any()


def test_the_furthest_rows_come_first_in_reverse():
    """Without an intercept a weight grows with the row, and one flip far away suffices."""
    X, y = [[1.0], [1.2], [1.4], [8.0], [-1.0], [-2.0]], [1, 1, 1, 1, 0, 0]
    for reverse, expected in ((False, 4), (True, 1)):
        n_flips = smallest_ordered_flip_attack(
            RidgeClassifier(fit_intercept=False), X, y, [[1.0]], orders="distance", reverse=reverse
        )
        assert n_flips == expected


@pytest.mark.parametrize("estimator", SMOOTHERS.values(), ids=SMOOTHERS)
def test_ordered_flips_of_a_smoother_never_beat_its_radius(estimator):
    for n_classes in (2, 3):
        X, y, X_test = blobs(80, n_classes)
        smoother = LinearSmoother(estimator).fit(X)
        weights = np.concatenate([weights for _, weights in smoother.iter_weights(X_test)])
        _, radius = linear_smoother_radius(weights, y, n_classes)
        n_flips = smallest_ordered_flip_attack(estimator, X, y, X_test)
        assert (n_flips > radius).all()
        if n_classes == 2:  # then influence is the optimal order
            np.testing.assert_array_equal(n_flips, radius + 1)


def test_renewed_influence_finds_smaller_attacks():
    X, y = load_digits(return_X_y=True)
    few = np.isin(y, [1, 7])
    X, y = X[few] / 16, y[few]
    model, options = LogisticRegression(), {"orders": "influence", "reverse": False}
    never = smallest_ordered_flip_attack(model, X[10:], y[10:], X[:10], **options)
    renewed = smallest_ordered_flip_attack(
        model, X[10:], y[10:], X[:10], recompute="schedule", **options
    )
    assert renewed.sum() < never.sum()


def test_ordered_attack_admits_where_nothing_was_found():
    X, y, X_test = blobs(100)
    n_flips = smallest_ordered_flip_attack(LogisticRegression(), X, y, X_test)
    for estimator in (LogisticRegression(), RidgeClassifier()):
        n_flips = smallest_ordered_flip_attack(estimator, X, y, X_test)
        cut = int(np.sort(n_flips)[5])
        capped, labels = smallest_ordered_flip_attack(
            estimator, X, y, X_test, max_flips=cut, return_labels=True
        )
        np.testing.assert_array_equal(capped, np.where(n_flips <= cut, n_flips, len(y) + 1))
        np.testing.assert_array_equal(labels[n_flips > cut], [y] * (n_flips > cut).sum())
    none = smallest_ordered_flip_attack(LogisticRegression(), X, y, X_test, max_flips=0)
    assert (none == len(y) + 1).all()


def test_ordered_attack_does_not_depend_on_n_jobs_or_the_rows_beside():
    X, y, X_test = blobs(60)
    alone = [
        smallest_ordered_flip_attack(LogisticRegression(), X, y, row[None])[0] for row in X_test
    ]
    for n_jobs in (1, 2):
        together = smallest_ordered_flip_attack(LogisticRegression(), X, y, X_test, n_jobs=n_jobs)
        np.testing.assert_array_equal(together, alone)


def test_ordered_flips_spend_the_budget_on_rows_of_other_labels_by_distance():
    X, y = [[0.0], [1.0], [2.0], [5.0], [6.0]], np.array(["no", "no", "no", "yes", "yes"])
    flipped = flip_labels_in_order(RidgeClassifier(), X, y, [[1.2]], 2, order="distance")
    np.testing.assert_array_equal(flipped, [["no", "yes", "yes", "yes", "yes"]])
    flipped = flip_labels_in_order(
        RidgeClassifier(), X, y, [[1.2]], 9, order="distance", reverse=True
    )
    np.testing.assert_array_equal(flipped, [["yes"] * 5])


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"orders": "random"}, "orders"),
        ({"orders": ()}, "orders"),
        ({"recompute": "always"}, "recompute"),
        ({"y": np.zeros(50, dtype=int)}, "1 class only"),
        ({"y": np.zeros(49, dtype=int)}, "inconsistent"),
        ({"X_test": np.ones((2, 3))}, "features"),
        ({"estimator": Ridge(positive=True)}, "no classifier"),
        ({"estimator": RidgeClassifier(class_weight="balanced")}, "no influence in closed form"),
        ({"estimator": KMeans(2), "orders": "distance"}, "no classifier"),
    ],
)
def test_ordered_attack_refuses_unusable_arguments(kwargs, message):
    X, y, X_test = blobs()
    good = {"estimator": RidgeClassifier(), "X": X, "y": y, "X_test": X_test}
    with pytest.raises(ValueError, match=message):
        smallest_ordered_flip_attack(**good | kwargs)


# ---------------------------------------------------------------- ballots


def ballot_instances(n_instances=60, max_members=11):
    rng = np.random.default_rng(0)
    for _ in range(n_instances):
        n_classes = int(rng.integers(1, 5))
        shape = (4, int(rng.integers(1, max_members)))
        # Most ballots agree, some abstain.
        ballots = np.where(
            rng.random(shape) < 0.6, rng.integers(0, n_classes, (4, 1)),
            rng.integers(-1, n_classes, shape),
        )  # fmt: skip
        yield ballots, n_classes


def vote(ballots, n_classes):
    """Winners among all labels, the new one (n_classes) included; it sorts first."""
    codes = np.where(ballots < 0, -1, (ballots + 1) % (n_classes + 1))
    votes = np.stack([(codes == c).sum(axis=1) for c in range(n_classes + 1)], axis=1)
    # Nobody has heard of the new label where it has no vote.
    votes[:, 0] = np.where(votes[:, 0] == 0, -1, votes[:, 0])
    return (votes.argmax(axis=1) - 1) % (n_classes + 1)


@pytest.mark.parametrize("open_set", [False, True], ids=["closed", "open"])
def test_changed_ballots_meet_the_plurality_radius(open_set):
    n_changed = 0
    for ballots, n_classes in ballot_instances():
        votes = np.stack([(ballots == c).sum(axis=1) for c in range(n_classes)], axis=1)
        winner, radius = plurality_radius(votes, open_set=open_set)
        for i, (row, c, r) in enumerate(zip(ballots, winner, radius, strict=True)):
            within, beyond = (
                poison_ballots(row[None], n_classes, budget, open_set=open_set)
                for budget in (r, r + 1)
            )
            assert (within != row).sum() <= r
            assert (beyond != row).sum() <= r + 1
            assert vote(within, n_classes) == c
            changed = vote(beyond, n_classes)[0] != c
            # One more turns the winner if it has that many members and there is a rival at all.
            if votes[i, c] > r and (n_classes > 1 or open_set):
                assert changed
            n_changed += changed
    assert n_changed > 100


def test_no_change_of_as_many_ballots_does_better():
    rng = np.random.default_rng(1)
    for _ in range(10):
        ballots = rng.integers(-1, 3, 4)
        every = np.array(list(itertools.product(range(-1, 3), repeat=4)))
        changed = vote(every, 3) != vote(ballots[None], 3)
        for budget in range(5):
            possible = changed[(every != ballots).sum(axis=1) <= budget].any()
            poisoned = poison_ballots(ballots[None], 3, budget)
            assert (vote(poisoned, 3) != vote(ballots[None], 3))[0] == possible


@pytest.mark.parametrize("open_set", [False, True], ids=["closed", "open"])
def test_joint_attack_leaves_at_least_the_certified_survivors(open_set):
    rng = np.random.default_rng(0)
    felled = 0
    for trial in range(8):
        truth = rng.integers(0, 3, 25)
        ballots = np.where(
            rng.random((25, 12)) < 0.6, truth[:, None], rng.integers(-1, 3, (25, 12))
        )
        budget = 1 + trial % 4
        lower = collective_survivors(
            ballots, 3, budget, y_true=truth, open_set=open_set, time_limit=0.5
        )
        attack = poison_members(ballots, 3, budget, y_true=truth, open_set=open_set)
        assert len(attack.taken) <= budget
        others = np.setdiff1d(np.arange(12), attack.taken)
        np.testing.assert_array_equal(attack.ballots[:, others], ballots[:, others])
        survivors = (vote(attack.ballots, 3) == truth).sum()
        assert survivors >= lower.certified
        felled += (vote(ballots, 3) == truth).sum() - survivors
        assert survivors <= lower.upper + 1  # all but one of the rows that a solver fells
    assert felled > 30


def test_joint_attack_on_finite_aggregation_takes_whole_partitions():
    rng = np.random.default_rng(0)
    spread = (np.arange(12)[:, None] + [0, 5]) % 12
    for budget in (0, 1, 2, 3):
        ballots = np.where(rng.random((20, 12)) < 0.7, 1, rng.integers(-1, 3, (20, 12)))
        winner, radius = finite_aggregation_radius(ballots, spread, 3)
        attack = poison_members(ballots, 3, budget, spread=spread)
        assert len(attack.taken) == budget
        reached = np.unique(spread[attack.taken])
        others = np.setdiff1d(np.arange(12), reached)
        np.testing.assert_array_equal(attack.ballots[:, others], ballots[:, others])
        changed = vote(attack.ballots, 3) != winner
        assert not (changed & (radius >= budget)).any()
        assert changed.any() == (budget > 0)


def test_a_member_that_two_partitions_reach_counts_once():
    spread = [[6, 7, 8], [0, 1, 2], [2, 3, 4], [4, 5, 0]]
    ballots = np.zeros((1, 17), dtype=int)
    ballots[0, 6:9] = 1
    # Fourteen votes to three: all six members within reach have to turn.
    attack = poison_members(ballots, 2, 3, spread=spread)
    np.testing.assert_array_equal(attack.taken, [1, 2, 3])
    assert vote(attack.ballots, 2) == 1


def test_joint_attack_on_one_row_meets_its_radius():
    for ballots, n_classes in ballot_instances(30):
        if n_classes < 2:
            continue
        votes = np.stack([(ballots == c).sum(axis=1) for c in range(n_classes)], axis=1)
        winner, radius = plurality_radius(votes)
        for row, c, r, n in zip(ballots, winner, radius, votes.max(axis=1), strict=True):
            for budget in (r, r + 1):
                attack = poison_members(row[None], n_classes, budget)
                changed = vote(attack.ballots, n_classes)[0] != c
                assert not (changed and budget <= r)
                assert changed or budget <= r or n <= r


def test_joint_attack_is_the_same_each_time():
    ballots = np.random.default_rng(0).integers(0, 3, (30, 9))
    first, second = (poison_members(ballots, 3, 3) for _ in range(2))
    np.testing.assert_array_equal(first.taken, second.taken)
    np.testing.assert_array_equal(first.ballots, second.ballots)


@pytest.mark.parametrize("attack", [poison_ballots, poison_members])
def test_ballot_attacks_refuse_unusable_ballots(attack):
    with pytest.raises(TypeError, match="integers"):
        attack([[0.5, 1.0]], 2, 1)
    with pytest.raises(ValueError, match="shape"):
        attack([0, 1], 2, 1)
    with pytest.raises(ValueError, match="ballots must lie"):
        attack([[0, 2]], 2, 1)
    with pytest.raises(ValueError, match="y_true"):
        poison_members([[0, 1]], 2, 1, y_true=[0, 1])


def test_ballot_attacks_take_no_rows_and_do_not_write_to_their_input():
    assert poison_ballots(np.empty((0, 3), dtype=int), 2, 1).shape == (0, 3)
    assert poison_members(np.empty((0, 3), dtype=int), 2, 1).ballots.shape == (0, 3)
    ballots = np.zeros((2, 3), dtype=np.int64)
    poison_ballots(ballots, 2, 2)
    poison_members(ballots, 2, 2)
    assert not ballots.any()


# ---------------------------------------------------------------- inserted rows


@pytest.fixture(scope="module")
def digits():
    X, y = load_digits(return_X_y=True)
    return X[:400].astype(np.uint8), y[:400], X[400:412].astype(np.uint8)


INSERTED = {
    "content": {},
    "pixel sum": {"hasher": "pixel_sum"},
    "labels hashed": {"hasher": ContentHasher(include_labels=True)},
    "secret key": {"hasher": ContentHasher(key="secret")},
    "own hasher": {
        "hasher": lambda A: np.asarray(A, dtype=int).reshape(len(A), -1)[:, ::3].sum(1)
    },
    "finite aggregation": {"spread_degree": 2},
    "run-off": {"aggregation": "run_off"},
    "open set": {"classes": None},
}


@pytest.mark.parametrize("params", INSERTED.values(), ids=INSERTED)
def test_inserted_rows_respect_the_radius_and_bite_beyond_it(digits, params):
    X, y, X_test = digits
    params = {"classes": range(10)} | params
    clf = DeepPartitionAggregation(KNeighborsClassifier(1), 15, **params)
    clean = clone(clf).fit(X, y)
    y_pred, radius = clean.certify(X_test)
    certified = np.flatnonzero(radius > 0)[:2]
    bites = 0
    for i in certified:
        for budget in (radius[i], radius[i] + 3):
            X_bad, y_bad = insert_rows(clean, X, y, X_test[[i]], budget)
            assert len(X_bad) == len(y_bad) == len(y) + budget
            assert X_bad.dtype == X.dtype
            np.testing.assert_array_equal(X_bad[: len(X)], X)
            assert X_bad.max() <= X.max()
            attacked = clone(clf).fit(X_bad, y_bad)
            changed = (attacked.ballots(X_test[[i]]) != clean.ballots(X_test[[i]])).sum()
            assert changed > 0  # the nearest neighbour is the inserted row
            if budget == radius[i]:
                assert attacked.predict(X_test[[i]])[0] == y_pred[i]
            else:
                bites += attacked.predict(X_test[[i]])[0] != y_pred[i]
    assert bites


def test_inserted_rows_land_in_partitions_of_the_winner(digits):
    X, y, X_test = digits
    clean = DeepPartitionAggregation(KNeighborsClassifier(1), 15).fit(X, y)
    for n_each in (1, 3):
        X_bad, y_bad = insert_rows(clean, X, y, X_test[:1], 6, rows_per_partition=n_each)
        attacked = clone(clean).fit(X_bad, y_bad)
        partitions, counts = np.unique(attacked.partition_[len(y) :], return_counts=True)
        assert counts.tolist() == [n_each] * (6 // n_each)
        winner = clean.predict(X_test[:1])
        votes = clean.classes_[clean.ballots(X_test[:1])[0]]
        assert (votes[partitions] == winner).all()
        assert len(np.unique(y_bad[len(y) :])) == 1
        assert y_bad[-1] != winner


CONTAINERS = {
    "integers": lambda X: X.astype(np.int64),
    "images": lambda X: X.reshape(-1, 8, 8, 1),
    "floats": lambda X: (X / 7).astype(np.float32),
    "whole floats": lambda X: X.astype(float),
    "csr": lambda X: sp.csr_matrix(X / 7),
    "list": lambda X: X.tolist(),
    "text": lambda X: [" ".join(map(str, row)) for row in X],
}


class FirstLabel(KNeighborsClassifier):
    """Takes any container: it looks at labels only."""

    def fit(self, X, y):
        self.classes_ = np.unique(y)
        return self

    def predict(self, X):
        return np.full(X.shape[0] if hasattr(X, "shape") else len(X), self.classes_[0])


@pytest.mark.parametrize("convert", CONTAINERS.values(), ids=CONTAINERS)
def test_rows_of_any_container_are_varied_little(digits, convert):
    X, y, X_test = digits
    X, x_test = convert(X), convert(X_test[:1])
    clean = DeepPartitionAggregation(FirstLabel(), 7, classes=range(10)).fit(X, y)
    X_bad, y_bad = insert_rows(clean, X, y, x_test, 5)
    assert len(y_bad) == len(y) + 5
    clone(clean).fit(X_bad, y_bad)
    new = X_bad[len(y) :]
    if isinstance(new, list):
        assert {row.rstrip() for row in new} == {x_test[0]}
        return
    new = new.toarray() if sp.issparse(new) else new
    old = x_test.toarray() if sp.issparse(x_test) else np.asarray(x_test)
    whole = new.dtype.kind in "iu" or (new == np.rint(new)).all()
    assert np.abs(new.astype(float) - old).max() <= (1 if whole else 0.02)


def test_insertions_depend_on_the_random_state_only(digits):
    X, y, X_test = digits
    clean = DeepPartitionAggregation(KNeighborsClassifier(1), 15).fit(X, y)
    one, same, other = (
        insert_rows(clean, X, y, X_test[:1], 4, random_state=seed)[0] for seed in (0, 0, 1)
    )
    np.testing.assert_array_equal(one, same)
    assert (one != other).any()


def test_fewer_rows_are_inserted_where_tries_do_not_suffice(digits):
    X, y, X_test = digits
    clean = DeepPartitionAggregation(KNeighborsClassifier(1), 15).fit(X, y)
    X_bad, y_bad = insert_rows(clean, X, y, X_test[:1], 8, max_tries=2)
    assert len(X_bad) == len(y_bad) <= len(y) + 2
    X_bad, y_bad = insert_rows(clean, X, y, X_test[:1], 0)
    np.testing.assert_array_equal(X_bad, X)
    np.testing.assert_array_equal(y_bad, y)


def test_insertions_are_refused_where_they_make_no_sense(digits):
    X, y, X_test = digits
    clean = DeepPartitionAggregation(KNeighborsClassifier(1), 5).fit(X, y)
    with pytest.raises(ValueError, match="must be one row"):
        insert_rows(clean, X, y, X_test[:2], 1)
    with pytest.raises(ValueError, match="rows_per_partition"):
        insert_rows(clean, X, y, X_test[:1], 1, rows_per_partition=0)
    with pytest.raises(ValueError, match="max_tries"):
        insert_rows(clean, X, y, X_test[:1], 1, max_tries=0.5)
    with pytest.raises(ValueError, match="cannot be varied"):
        insert_rows(clean, X.astype(object), y, X_test[:1], 1)
    with pytest.raises(ValueError, match="DeepPartitionAggregation"):
        insert_rows(RidgeClassifier(), X, y, X_test[:1], 1)
    with pytest.raises(ValueError, match="1 class only"):
        insert_rows(clone(clean).fit(X, np.zeros(len(y), int)), X, y, X_test[:1], 1)
    with pytest.raises(ValueError, match="fitted with groups"):
        insert_rows(clone(clean).fit(X, y, groups=np.arange(400) % 20), X, y, X_test[:1], 1)


# ---------------------------------------------------------------- curves


def test_empirical_accuracy_lies_above_the_certified_one_and_meets_it_for_the_optimal_attack():
    X, y = load_iris(return_X_y=True)
    X, y = X[50:], y[50:] - 1
    smoother = LinearSmoother(RidgeClassifier()).fit(X[::2])
    weights = np.concatenate([weights for _, weights in smoother.iter_weights(X[1::2])])
    y_pred, radius = linear_smoother_radius(weights, y[::2], 2)
    budgets, certified = certified_accuracy_curve(y[1::2], y_pred, radius)
    optimal = smallest_flip_attack(weights, y[::2], 2)
    distance = smallest_ordered_flip_attack(
        RidgeClassifier(), X[::2], y[::2], X[1::2], orders="distance"
    )
    curves = [
        empirical_robust_accuracy(y[1::2], y_pred, n_flips, budgets)
        for n_flips in (optimal, distance)
    ]
    np.testing.assert_allclose(curves[0], certified)
    assert (curves[1] >= certified).all()
    assert (curves[1] > certified).any()
    assert empirical_robust_accuracy(y[1::2], y_pred, optimal, 0) == (y_pred == y[1::2]).mean()


def test_empirical_accuracy_refuses_attacks_without_an_operation():
    with pytest.raises(ValueError, match="at least 1"):
        empirical_robust_accuracy([0], [0], [0], 1)
    with pytest.raises(TypeError, match="integers"):
        empirical_robust_accuracy([0], [0], [1.5], 1)
    with pytest.raises(ValueError, match="budget"):
        empirical_robust_accuracy([0], [0], [1], [0, -1])
