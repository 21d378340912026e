"""Certificates through pipelines, searches and freezes, and where they are void."""

import warnings

import numpy as np
import pytest
from sklearn.base import BaseEstimator, TransformerMixin, clone
from sklearn.compose import make_column_transformer
from sklearn.datasets import load_digits
from sklearn.exceptions import NotFittedError
from sklearn.experimental import enable_halving_search_cv  # noqa: F401
from sklearn.feature_selection import SelectFromModel, SelectKBest, VarianceThreshold
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, HalvingGridSearchCV, RandomizedSearchCV
from sklearn.pipeline import Pipeline, make_pipeline, make_union
from sklearn.preprocessing import FunctionTransformer, Normalizer, StandardScaler, TargetEncoder

from certified_ensembles._certificate import (
    CertificateWarning,
    certify,
    effective_threat,
    find_ensemble,
)
from certified_ensembles.dpa import DeepPartitionAggregation
from certified_ensembles.metrics import make_certified_accuracy_scorer
from oracle import X_FOLDS, X_ORACLE, Y_FOLDS, Y_ORACLE, Oracle


class FlipOracle(Oracle):
    _default_threat = "label_flip"


class Untagged:
    """A duck-typed transformer that scikit-learn's tags know nothing of."""

    def fit(self, X, y=None):
        return self

    def transform(self, X):
        return X


class ByClassifier(TransformerMixin, BaseEstimator):
    """A transformer whose tags do not say that the classifier inside it sees the labels."""

    def __init__(self, estimator):
        self.estimator = estimator

    def fit(self, X, y=None):
        self.estimator.fit(X, y)
        return self

    def transform(self, X):
        return X


# ---- through pipelines, searches and freezes --------------------------------------------------


def stateless():
    return FunctionTransformer(lambda X: X + 0.0)


@pytest.mark.parametrize(
    "wrap",
    [
        lambda oracle: make_pipeline(stateless(), oracle),
        lambda oracle: make_pipeline("passthrough", None, oracle),
        lambda oracle: make_pipeline(stateless(), make_pipeline(stateless(), oracle)),
        lambda oracle: GridSearchCV(oracle, {"shift": [0]}, cv=2),
        lambda oracle: make_pipeline(stateless(), GridSearchCV(oracle, {"shift": [0]}, cv=2)),
        lambda oracle: RandomizedSearchCV(
            make_pipeline(stateless(), oracle), {"oracle__shift": [0]}, n_iter=1, cv=2
        ),
    ],
)
@pytest.mark.parametrize("frozen", [False, True])
def test_wrapped_ensemble_certifies_as_the_bare_one_does(wrap, frozen):
    X, y = np.repeat(X_ORACLE, 3, axis=0), np.repeat(Y_ORACLE, 3)
    expected = Oracle().fit(X, y).certify(X)
    wrapped = wrap(Oracle()).fit(X, y)
    wrapped = FrozenEstimator(FrozenEstimator(wrapped)) if frozen else wrapped
    certificate = certify(wrapped, X, "label_flip")
    np.testing.assert_array_equal(certificate.y_pred, expected.y_pred)
    np.testing.assert_array_equal(certificate.radius, expected.radius)
    assert find_ensemble(wrapped).asked_ == "label_flip"


def test_pipeline_transforms_rows_before_they_are_certified():
    pipeline = make_pipeline(FunctionTransformer(lambda X: X[:, ::-1]), Oracle())
    pipeline.fit(X_ORACLE[:, ::-1], Y_ORACLE)
    certificate = certify(pipeline, X_ORACLE[:, ::-1])
    np.testing.assert_array_equal(certificate.radius, X_ORACLE[:, 1])


VOIDS_ROWS = {
    "scaler": StandardScaler(),
    "inside a pipeline": make_pipeline(Normalizer(), StandardScaler()),
    "inside a union": make_union(Normalizer(), StandardScaler()),
    "inside a column transformer": make_column_transformer((StandardScaler(), [0, 1])),
    "no tags": Untagged(),
}


@pytest.mark.parametrize("step", VOIDS_ROWS.values(), ids=VOIDS_ROWS)
@pytest.mark.parametrize("threat", [None, "insertion_deletion", "replacement"])
def test_step_fitted_on_all_rows_voids_the_guarantee_with_a_warning(step, threat):
    pipeline = Pipeline([("before", step), ("ensemble", Oracle())]).fit(X_ORACLE, Y_ORACLE)
    effective = threat or "insertion_deletion"
    message = rf"threat='{effective}' is void.*'before.*(StandardScaler|Untagged).*inside the base"
    with pytest.warns(CertificateWarning, match=message):
        make_certified_accuracy_scorer(1, threat)(pipeline, X_ORACLE, Y_ORACLE)


@pytest.mark.parametrize(
    "step",
    [
        Normalizer(),
        FunctionTransformer(),
        make_pipeline(Normalizer(), "passthrough"),
        make_union(Normalizer(), FunctionTransformer()),
        make_column_transformer((Normalizer(), [0]), remainder="passthrough"),
        FrozenEstimator(StandardScaler().fit(X_ORACLE)),
    ],
)
def test_step_that_learns_nothing_raises_no_warning(step):
    pipeline = make_pipeline(step, Oracle()).fit(X_ORACLE, Y_ORACLE)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        certify(pipeline, X_ORACLE)


LABEL_FREE = [StandardScaler(), VarianceThreshold(), make_pipeline(StandardScaler(), Normalizer())]
SEES_LABELS = [
    SelectKBest(k=2),  # its tags call y optional
    SelectFromModel(LogisticRegression(), max_features=2, threshold=-np.inf),
    TargetEncoder(cv=2),
    make_union(SelectKBest(k=2)),
    ByClassifier(LogisticRegression()),
    Untagged(),
]


@pytest.mark.parametrize("step", LABEL_FREE, ids=repr)
@pytest.mark.parametrize(("oracle", "threat"), [(Oracle(), "label_flip"), (FlipOracle(), None)])
def test_label_free_step_may_stay_outside_for_label_flips(step, oracle, threat):
    X, y = np.repeat(X_ORACLE, 3, axis=0), np.repeat(Y_ORACLE, 3)
    pipeline = make_pipeline(step, oracle).fit(X, y)
    certify(pipeline, X, threat)  # warnings are errors here


@pytest.mark.parametrize("step", SEES_LABELS, ids=lambda step: type(step).__name__)
@pytest.mark.parametrize(("oracle", "threat"), [(Oracle(), "label_flip"), (FlipOracle(), None)])
def test_step_that_sees_labels_voids_the_guarantee_against_label_flips(step, oracle, threat):
    X, y = np.repeat(X_ORACLE, 3, axis=0), np.repeat(Y_ORACLE, 3)
    pipeline = make_pipeline(step, oracle).fit(X, y)
    with pytest.warns(CertificateWarning, match=r"'label_flip' is void.*labels of all training"):
        certify(pipeline, X, threat)


SEARCHES = {
    "grid": lambda oracle: GridSearchCV(oracle, {"shift": [0, 1]}, cv=2),
    "halving": lambda oracle: HalvingGridSearchCV(
        oracle, {"shift": [0, 1]}, cv=2, min_resources=4, random_state=0
    ),
}


@pytest.mark.parametrize("search", SEARCHES.values(), ids=SEARCHES)
@pytest.mark.parametrize("threat", ["insertion_deletion", "label_flip"])
def test_parameters_chosen_on_the_training_rows_void_the_guarantee(search, threat):
    X, y = np.repeat(X_ORACLE, 6, axis=0), np.repeat(Y_ORACLE, 6)
    fitted = search(Oracle()).fit(X, y)
    message = rf"{threat}' is void: .*SearchCV chose .*cannot touch"
    with pytest.warns(CertificateWarning, match=message):
        make_certified_accuracy_scorer(1, threat)(fitted, X, y)


def test_scoring_inside_a_search_raises_no_warning():
    X, y = X_FOLDS, Y_FOLDS
    search = GridSearchCV(
        make_pipeline(Normalizer(), Oracle()),
        {"oracle__shift": [0, 1]},
        scoring=make_certified_accuracy_scorer(1),
        cv=2,
    )
    search.fit(X, y)  # warnings are errors here


@pytest.mark.parametrize(
    ("estimator", "message"),
    [
        (LogisticRegression(), r"LogisticRegression has no method certify.*DeepPartitionAggreg"),
        (make_pipeline(StandardScaler(), LogisticRegression()), "LogisticRegression has no"),
        (make_pipeline(Oracle(), "passthrough"), "Pipeline has no method certify"),
        (GridSearchCV(Oracle(), {"shift": [0]}, refit=False), r"refit=False.*Pass refit=True"),
        (None, "NoneType has no method certify"),
    ],
)
def test_estimator_without_certify_is_refused(estimator, message):
    with pytest.raises(TypeError, match=message):
        find_ensemble(estimator)
    with pytest.raises(TypeError, match=message):
        make_certified_accuracy_scorer(1)(estimator, X_ORACLE, Y_ORACLE)


def test_unfitted_search_is_not_fitted():
    with pytest.raises(NotFittedError):
        certify(GridSearchCV(Oracle(), {"shift": [0]}), X_ORACLE)


def test_default_threat_is_the_ensembles_own():
    fitted = make_pipeline(Normalizer(), FlipOracle()).fit(X_ORACLE, Y_ORACLE)
    assert effective_threat(fitted) == "label_flip"
    assert effective_threat(Oracle()) == "insertion_deletion"
    assert effective_threat(fitted, "replacement") == "replacement"


@pytest.fixture(scope="module")
def digits():
    X, y = load_digits(return_X_y=True)
    return X[:600], y[:600]


# ---- with a real ensemble ---------------------------------------------------------------------


def test_real_guarantee_breaks_where_the_warning_says_so(digits):
    """One inserted row, behind a scaler fitted outside, beats radii of two and more."""
    X, y = digits
    outside = make_pipeline(StandardScaler(), DeepPartitionAggregation(n_partitions=10))
    with pytest.warns(CertificateWarning, match="standardscaler"):
        y_pred, radius = certify(outside.fit(X, y), X[:100])
    hostile = np.vstack([X, np.full((1, X.shape[1]), 1e12)])
    attacked = clone(outside).fit(hostile, np.append(y, 0)).predict(X[:100])
    assert np.any((radius >= 2) & (attacked != y_pred))


# ---- other questions ---------------------------------------------------------------------------


@pytest.mark.parametrize("how", [{"target": 2}, {"target": [0, 2]}, {"top_k": 2}], ids=str)
def test_other_questions_reach_the_ensemble_through_wrappers(how):
    X, y = load_digits(n_class=3, return_X_y=True)
    ensemble = DeepPartitionAggregation(n_partitions=6, classes=range(3))
    pipeline = make_pipeline(Normalizer(), ensemble).fit(X[60:], y[60:])
    expected = pipeline[-1].certify(Normalizer().transform(X[:60]), "replacement", **how)
    for wrapped in (pipeline, FrozenEstimator(pipeline)):
        found = certify(wrapped, X[:60], "replacement", **how)
        np.testing.assert_array_equal(found.y_pred, expected.y_pred)
        np.testing.assert_array_equal(found.radius, expected.radius)


def test_question_that_an_ensemble_does_not_answer_names_what_it_does():
    oracle = Oracle().fit(X_ORACLE, Y_ORACLE)
    with pytest.raises(TypeError, match=r"target=2 is a question that Oracle.*takes X, threat"):
        certify(oracle, X_ORACLE, target=2)
