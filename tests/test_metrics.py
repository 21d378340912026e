"""Certified accuracy, its curve, its median, and the scorer inside scikit-learn's tools."""

import pickle

import numpy as np
import pandas as pd
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import config_context
from sklearn.base import clone
from sklearn.datasets import load_digits
from sklearn.model_selection import (
    GridSearchCV,
    GroupKFold,
    KFold,
    cross_val_score,
    cross_validate,
)
from sklearn.naive_bayes import MultinomialNB
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import Normalizer

from certified_ensembles.dpa import DeepPartitionAggregation
from certified_ensembles.hashers import ContentHasher
from certified_ensembles.metrics import (
    certified_accuracy_curve,
    certified_accuracy_score,
    make_certified_accuracy_scorer,
    median_certified_radius,
)
from oracle import X_FOLDS, X_ORACLE, Y_FOLDS, Y_ORACLE, Oracle

RAW_TYPES = {
    "list": list,
    "array": np.asarray,
    "pandas": lambda values: pd.Series(values, index=np.arange(len(values))[::-1]),
    "polars": pl.Series,
    "column": lambda values: np.asarray(values).reshape(-1, 1),
}


def brute_force_score(y_true, y_pred, radius, budget):
    counted = [t == p and r >= budget for t, p, r in zip(y_true, y_pred, radius, strict=True)]
    return sum(counted) / len(counted)


rows = st.lists(
    st.tuples(st.integers(0, 2), st.integers(0, 2), st.integers(-1, 6)), min_size=1, max_size=12
)


@given(rows=rows, budget=st.integers(0, 8))
@settings(deadline=None)
def test_score_counts_rows_that_are_right_and_certified(rows, budget):
    y_true, y_pred, radius = map(list, zip(*rows, strict=True))
    score = certified_accuracy_score(y_true, y_pred, radius, budget)
    assert score == brute_force_score(y_true, y_pred, radius, budget)
    assert isinstance(score, float)


@given(rows=rows)
@settings(deadline=None)
def test_curve_is_the_score_at_every_budget_and_ends_at_its_last_drop(rows):
    y_true, y_pred, radius = map(list, zip(*rows, strict=True))
    budgets, accuracies = certified_accuracy_curve(y_true, y_pred, radius)
    assert budgets.dtype == np.int64
    assert budgets.tolist() == list(range(len(budgets)))
    expected = [brute_force_score(y_true, y_pred, radius, b) for b in range(len(budgets))]
    assert accuracies.tolist() == expected
    assert accuracies[-1] == 0
    assert len(accuracies) == 1 or accuracies[-2] > 0


@given(rows=rows)
@settings(deadline=None)
def test_median_is_the_largest_budget_at_which_half_the_rows_survive(rows):
    y_true, y_pred, radius = map(list, zip(*rows, strict=True))
    enough = [
        budget
        for budget in range(8)
        if 2 * sum(t == p and r >= budget for t, p, r in rows) >= len(rows)
    ]
    assert median_certified_radius(y_true, y_pred, radius) == max(enough, default=-1)


def test_exactly_half_of_the_rows_is_enough_for_the_median():
    y_true, radius = np.zeros(6), np.array([7, 7, 7, 1, 1, 1])
    assert median_certified_radius(y_true, [0, 0, 0, 1, 1, 1], radius) == 7
    assert median_certified_radius(y_true, [0, 0, 1, 1, 1, 1], radius) == -1


def test_an_abstention_counts_at_no_budget():
    assert certified_accuracy_score([1, 1], [1, 1], [-1, 0], 0) == 0.5
    budgets, accuracies = certified_accuracy_curve([1, 1], [1, 1], [-1, -1])
    assert (budgets.tolist(), accuracies.tolist()) == ([0], [0.0])
    assert median_certified_radius([1, 1], [1, 1], [-1, -1]) == -1


def test_a_wrong_row_counts_at_no_budget_however_large_its_radius():
    assert certified_accuracy_score([1, 0], [0, 0], [100, 3], 0) == 0.5
    assert len(certified_accuracy_curve([1, 0], [0, 0], [100, 3])[0]) == 5


@given(rows=rows, data=st.data())
@settings(deadline=None)
def test_integer_weights_are_repeated_rows(rows, data):
    weights = data.draw(st.lists(st.integers(0, 3), min_size=len(rows), max_size=len(rows)))
    if sum(weights) == 0:
        weights[0] = 1
    columns = [np.asarray(column) for column in zip(*rows, strict=True)]
    repeated = [np.repeat(column, weights) for column in columns]
    for budget in range(4):
        weighted = certified_accuracy_score(*columns, budget, sample_weight=weights)
        assert weighted == pytest.approx(certified_accuracy_score(*repeated, budget))
    budgets, accuracies = certified_accuracy_curve(*columns, sample_weight=weights)
    expected = [certified_accuracy_score(*repeated, b) for b in budgets]
    np.testing.assert_allclose(accuracies, expected, rtol=1e-12)
    assert accuracies[-1] == 0
    assert accuracies.max() <= 1


@pytest.mark.parametrize("container", RAW_TYPES.values(), ids=RAW_TYPES)
def test_metrics_do_not_depend_on_the_container(container):
    y_true, y_pred, radius = ["a", "b", "b", "a"], ["a", "b", "a", "a"], [4, -1, 3, 2]
    columns = container(y_true), container(y_pred), container(radius)
    assert certified_accuracy_score(*columns, 3, sample_weight=container([1, 1, 1, 1])) == 0.25
    assert certified_accuracy_curve(*columns)[1].tolist() == [0.5, 0.5, 0.5, 0.25, 0.25, 0]
    assert median_certified_radius(*columns) == 2


@pytest.mark.parametrize(
    ("y_true", "y_pred"),
    [
        (np.array([True, False]), np.array([1, 0])),
        (np.array(["x", "yy"], dtype=object), np.array(["x", "yy"])),
        (np.array([1.0, 2.0]), np.array([1, 2], dtype=np.uint8)),
    ],
)
def test_equal_labels_of_different_dtype_are_equal(y_true, y_pred):
    assert certified_accuracy_score(y_true, y_pred, [1, 1], 1) == 1


def test_radius_may_be_of_any_integer_dtype():
    for dtype in (np.int8, np.uint16, np.int64, np.uint64):
        assert median_certified_radius([0, 0], [0, 0], np.array([3, 9], dtype=dtype)) == 9
    beyond = np.array([2**64 - 1], dtype=np.uint64)
    assert certified_accuracy_score([0], [0], beyond, 2**62) == 1


def test_an_unbounded_radius_has_a_score_and_a_median_but_no_dense_curve():
    endless = np.full(3, np.iinfo(np.int64).max)
    assert certified_accuracy_score([0] * 3, [0] * 3, endless, 10**12) == 1
    assert median_certified_radius([0] * 3, [0] * 3, endless) == np.iinfo(np.int64).max
    with pytest.raises(ValueError, match=r"radius goes up to .*np\.minimum"):
        certified_accuracy_curve([0] * 3, [0] * 3, endless)
    # A wrong row counts nowhere, so its radius costs no memory.
    assert len(certified_accuracy_curve([1] * 3, [0] * 3, endless)[0]) == 1


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        (([0, 1], [0], [1, 1], 1), ValueError, "y_true has 2, y_pred has 1, radius has 2"),
        (([0, 1], [0, 1], [1], 1), ValueError, "radius has 1"),
        (([], [], [], 1), ValueError, "empty"),
        (([0], [0], [1.0], 1), TypeError, "radius has dtype float64"),
        (([0], [0], [True], 1), TypeError, "radius has dtype bool"),
        (([0], [0], [-2], 1), ValueError, r"radius has the value -2 .*-1"),
        (([0], [0], [1], -3), ValueError, r"budget=-3 must be at least 0"),
        (([0], [0], [1], 2.0), TypeError, r"budget=2\.0 must be an integer.*int"),
        (([0], [0], [1], True), TypeError, "budget=True"),
        (([0], [0], [1], None), TypeError, "budget=None"),
        ((["0"], [0], [1], 1), ValueError, "text never equals a number"),
    ],
)
def test_bad_arguments_are_named_with_a_remedy(arguments, error, message):
    with pytest.raises(error, match=message):
        certified_accuracy_score(*arguments)


@pytest.mark.parametrize(
    ("weight", "message"),
    [([1.0], "1 entries for 2"), ([1, -1], "non-negative"), ([0, 0], "all zero")],
)
def test_bad_weights_are_refused(weight, message):
    with pytest.raises(ValueError, match=message):
        certified_accuracy_score([0, 1], [0, 1], [1, 1], 1, sample_weight=weight)
    with pytest.raises(ValueError, match=message):
        certified_accuracy_curve([0, 1], [0, 1], [1, 1], sample_weight=weight)


# ---- the scorer ------------------------------------------------------------------------------


def test_scorer_scores_what_certify_returns():
    oracle = Oracle().fit(X_ORACLE, Y_ORACLE)
    for budget, expected in {0: 0.75, 1: 0.5, 2: 0.5, 3: 0.25, 5: 0.25, 6: 0}.items():
        assert make_certified_accuracy_scorer(budget)(oracle, X_ORACLE, Y_ORACLE) == expected


@pytest.mark.parametrize("threat", [None, "insertion_deletion", "label_flip"])
def test_scorer_passes_its_threat_to_certify(threat):
    oracle = Oracle().fit(X_ORACLE, Y_ORACLE)
    make_certified_accuracy_scorer(1, threat)(oracle, X_ORACLE, Y_ORACLE)
    assert oracle.asked_ == threat


def test_scorer_weighs_rows():
    oracle = Oracle().fit(X_ORACLE, Y_ORACLE)
    scorer = make_certified_accuracy_scorer(1)
    assert scorer(oracle, X_ORACLE, Y_ORACLE, sample_weight=[3, 1, 1, 3]) == 0.5
    assert scorer(oracle, X_ORACLE, Y_ORACLE, sample_weight=[5, 1, 1, 3]) == 0.6


def test_scorer_pickles_and_shows_its_parameters():
    scorer = make_certified_accuracy_scorer(budget=2, threat="insertion_deletion")
    again = pickle.loads(pickle.dumps(scorer))
    assert repr(again) == repr(scorer)
    assert repr(scorer) == (
        "make_certified_accuracy_scorer(budget=2, threat='insertion_deletion')"
    )
    oracle = Oracle().fit(X_ORACLE, Y_ORACLE)
    assert again(oracle, X_ORACLE, Y_ORACLE) == scorer(oracle, X_ORACLE, Y_ORACLE) == 0.5


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ((-1,), ValueError, "budget=-1"),
        ((0.5,), TypeError, "budget=0.5"),
        ((1, 2), TypeError, "threat=2 must be the name of a threat"),
        ({"budget": 1, "top_k": 0}, ValueError, "top_k must be an integer of at least 1"),
        ({"budget": 1, "top_k": 1, "target": 2}, ValueError, "two questions"),
    ],
)
def test_bad_scorer_arguments_are_refused_when_it_is_made(arguments, error, message):
    named = arguments if isinstance(arguments, dict) else {}
    with pytest.raises(error, match=message):
        make_certified_accuracy_scorer(*([] if named else arguments), **named)


def test_grid_search_picks_the_largest_certified_accuracy():
    X, y = X_FOLDS, Y_FOLDS
    search = GridSearchCV(
        Oracle(), {"shift": [-1, 0, 3]}, scoring=make_certified_accuracy_scorer(4), cv=KFold(5)
    )
    search.fit(X, y)
    assert search.best_params_ == {"shift": 3}
    assert search.best_score_ == pytest.approx(0.5)
    assert clone(search).fit(X, y).best_params_ == {"shift": 3}


def test_scorer_works_in_cross_validation_beside_other_metrics():
    X, y = X_FOLDS, Y_FOLDS
    scoring = {"certified": make_certified_accuracy_scorer(3), "accuracy": "accuracy"}
    scores = cross_validate(Oracle(), X, y, scoring=scoring, cv=KFold(5))
    np.testing.assert_allclose(scores["test_certified"], 0.25)
    np.testing.assert_allclose(scores["test_accuracy"], 0.75)


def test_scorer_gets_weights_without_metadata_routing():
    class Weighted(Oracle):
        def fit(self, X, y, sample_weight=None):
            return super().fit(X, y)

    X, y = X_FOLDS, Y_FOLDS
    weight = np.tile([6.0, 1.0, 1.0, 2.0], 5)
    for scoring in (make_certified_accuracy_scorer(3), {"c": make_certified_accuracy_scorer(3)}):
        refit = "c" if isinstance(scoring, dict) else True
        search = GridSearchCV(
            Weighted(), {"shift": [0]}, scoring=scoring, cv=KFold(5), refit=refit
        )
        search.fit(X, y, sample_weight=weight)
        assert search.best_score_ == pytest.approx(0.6)


def test_scorer_gets_weights_by_metadata_routing():
    X, y = X_FOLDS, Y_FOLDS
    weight = np.tile([6.0, 1.0, 1.0, 2.0], 5)
    scorer = make_certified_accuracy_scorer(3)
    with config_context(enable_metadata_routing=True):
        kept = {"scoring": scorer, "cv": KFold(5), "params": {"sample_weight": weight}}
        with pytest.raises(Exception, match=r"sample_weight.* not explicitly set as requested"):
            cross_val_score(Oracle(), X, y, **kept)
        assert scorer.set_score_request(sample_weight=True) is scorer
        np.testing.assert_allclose(cross_val_score(Oracle(), X, y, **kept), 0.6)
        plain = make_certified_accuracy_scorer(3).set_score_request(sample_weight=False)
        both = {"weighted": scorer, "plain": plain}
        search = GridSearchCV(Oracle(), {"shift": [0]}, scoring=both, refit="plain", cv=KFold(5))
        results = search.fit(X, y, sample_weight=weight).cv_results_
        assert results["mean_test_weighted"] == pytest.approx(0.6)
        assert results["mean_test_plain"] == pytest.approx(0.25)
        scorer.set_score_request(sample_weight="mass")
        kept["params"] = {"mass": weight}
        again = {**kept, "scoring": pickle.loads(pickle.dumps(scorer))}
        np.testing.assert_allclose(cross_val_score(Oracle(), X, y, **again), 0.6)


def test_score_request_needs_metadata_routing():
    with pytest.raises(RuntimeError, match="enable_metadata_routing"):
        make_certified_accuracy_scorer(3).set_score_request(sample_weight=True)


# ---- with a real ensemble ---------------------------------------------------------------------


@pytest.fixture(scope="module")
def digits():
    X, y = load_digits(return_X_y=True)
    return X[:600], y[:600]


def test_search_tunes_the_ensemble_for_its_certified_accuracy(digits):
    search = GridSearchCV(
        DeepPartitionAggregation(MultinomialNB(), hasher=ContentHasher(), classes=range(10)),
        {"n_partitions": [4, 20], "estimator__alpha": [0.5], "hasher__key": ["a"]},
        scoring=make_certified_accuracy_scorer(budget=3),
        cv=2,
    )
    best = search.fit(*digits).best_params_
    assert best["n_partitions"] == 20  # four members can certify two operations at most
    assert search.cv_results_["mean_test_score"][0] == 0


def test_scorer_equals_the_score_of_certify_for_every_threat(digits):
    X, y = digits
    ensemble = DeepPartitionAggregation(MultinomialNB(), 12, classes=range(10)).fit(X, y)
    pipeline = make_pipeline(Normalizer(), ensemble.__class__(MultinomialNB(), 12)).fit(X, y)
    for threat in (None, "insertion_deletion", "label_flip", "replacement"):
        scorer = make_certified_accuracy_scorer(2, threat)
        expected = certified_accuracy_score(y, *ensemble.certify(X, threat=threat), 2)
        assert scorer(ensemble, X, y) == expected
        inner = pipeline[-1].certify(Normalizer().transform(X), threat=threat)
        assert scorer(pipeline, X, y) == certified_accuracy_score(y, *inner, 2)


@pytest.mark.parametrize("how", [{"target": 3}, {"target": [0, 3]}, {"top_k": 2}], ids=str)
def test_scorer_asks_other_questions(digits, how):
    X, y = digits
    ensemble = DeepPartitionAggregation(MultinomialNB(), 12, classes=range(10)).fit(X, y)
    for threat in (None, "replacement"):
        y_pred, radius = ensemble.certify(X, threat, **how)
        for budget in (0, 1, 3):
            scorer = make_certified_accuracy_scorer(budget, threat, **how)
            assert scorer(ensemble, X, y) == certified_accuracy_score(y, y_pred, radius, budget)
    again = pickle.loads(pickle.dumps(scorer))
    assert repr(again) == repr(scorer)
    assert repr(how).strip("{}").replace("'", "").replace(": ", "=") in repr(scorer)
    assert cross_val_score(ensemble, X, y, scoring=scorer, cv=2).shape == (2,)


def test_groups_and_weights_are_routed_in_one_cross_validation(digits):
    X, y = digits
    scorer = make_certified_accuracy_scorer(1)
    with config_context(enable_metadata_routing=True):
        base = MultinomialNB().set_fit_request(sample_weight=False)
        ensemble = DeepPartitionAggregation(base, 8, classes=range(10))
        scores = cross_validate(
            ensemble.set_fit_request(groups=True),
            X,
            y,
            cv=GroupKFold(2),
            scoring=scorer.set_score_request(sample_weight=True),
            params={"groups": np.arange(len(X)) // 5, "sample_weight": np.ones(len(X))},
            return_estimator=True,
        )
    assert [fitted.partitioned_by_ for fitted in scores["estimator"]] == ["source"] * 2
    assert scores["test_score"].min() > 0.3


def test_unknown_threat_is_refused_by_the_ensemble(digits):
    X, y = digits
    ensemble = DeepPartitionAggregation(MultinomialNB(), 4).fit(X, y)
    with pytest.raises(ValueError, match="threat='typo'"):
        make_certified_accuracy_scorer(1, "typo")(ensemble, X, y)


@pytest.mark.parametrize(
    ("budget", "remedy"),
    [
        ([0, 5, 10], "Pass one integer, and ask once for each."),
        (np.array([1, 2]), "Pass one integer, and ask once for each."),
        ({1, 2}, "Pass one integer, and ask once for each."),
        (2.5, "Pass an integer, such as 2."),
        ("7", "Pass an integer, such as 7."),
        (True, "Pass an integer, such as 1."),
        (np.nan, "Pass an integer, such as 5."),
        (None, "Pass an integer, such as 5."),
    ],
    ids=str,
)
def test_remedy_for_a_budget_that_is_no_integer_works(budget, remedy):
    with pytest.raises(TypeError, match="must be an integer") as raised:
        certified_accuracy_score([0], [0], [1], budget)
    assert str(raised.value).endswith(remedy)
