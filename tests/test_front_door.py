"""The public `certify`: what it returns through wrappers, and what it says of them."""

import warnings

import numpy as np
import pytest
from sklearn.base import BaseEstimator, ClassifierMixin, clone
from sklearn.datasets import load_breast_cancer
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression, RidgeClassifier
from sklearn.model_selection import (
    FixedThresholdClassifier,
    GridSearchCV,
    TunedThresholdClassifierCV,
)
from sklearn.naive_bayes import GaussianNB
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import Normalizer, StandardScaler

import certified_ensembles
from certified_ensembles import (
    Certificate,
    CertificateWarning,
    DeepPartitionAggregation,
    SemiSupervisedDPA,
    certify,
)
from certified_ensembles.abstention import CertifiedAbstention
from oracle import X_ORACLE, Y_ORACLE, Oracle

X, Y = load_breast_cancer(return_X_y=True)
X_TEST, Y_TEST = X[300:400], Y[300:400]
X, Y = X[:300], Y[:300]


def dpa(estimator=None, n_partitions=11, **params):
    estimator = GaussianNB() if estimator is None else estimator
    return DeepPartitionAggregation(estimator, n_partitions, classes=[0, 1], **params)


def quietly(function, *args, **how):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", CertificateWarning)
        return function(*args, **how)


GRID = {"n_partitions": [9, 11]}
WRAPPERS = {
    "alone": lambda: dpa(),
    "pipeline": lambda: make_pipeline(Normalizer(), dpa()),
    "scaler outside": lambda: make_pipeline(StandardScaler(), dpa()),
    "search": lambda: GridSearchCV(dpa(), GRID, cv=2),
    "fixed threshold": lambda: FixedThresholdClassifier(dpa(), threshold=0.8),
    "tuned threshold": lambda: TunedThresholdClassifierCV(dpa(), cv=2, thresholds=5),
    "threshold in a search in a pipeline": lambda: make_pipeline(
        Normalizer(),
        GridSearchCV(FixedThresholdClassifier(dpa()), {"threshold": [0.3, 0.7]}, cv=2),
    ),
    "threshold around a search": lambda: FixedThresholdClassifier(
        make_pipeline(Normalizer(), GridSearchCV(dpa(), GRID, cv=2))
    ),
    "two thresholds": lambda: FixedThresholdClassifier(
        FixedThresholdClassifier(dpa(), threshold=0.8), threshold=0.6
    ),
}


@pytest.mark.parametrize("frozen", [False, True])
@pytest.mark.parametrize("wrap", WRAPPERS.values(), ids=WRAPPERS)
def test_predictions_are_those_of_the_outermost_predict(wrap, frozen):
    fitted = wrap().fit(X, Y)
    fitted = FrozenEstimator(fitted) if frozen else fitted
    certificate = quietly(certify, fitted, X_TEST)
    assert isinstance(certificate, Certificate)
    np.testing.assert_array_equal(certificate.y_pred, fitted.predict(X_TEST))
    assert certificate.radius.dtype == np.int64
    assert (certificate.radius >= 0).any()


def test_warning_points_to_the_line_of_the_caller():
    outside = make_pipeline(StandardScaler(), dpa()).fit(X, Y)
    for ask in (certify, certified_ensembles.metrics.make_certified_accuracy_scorer(1)):
        args = (outside, X_TEST) if ask is certify else (outside, X_TEST, Y_TEST)
        with pytest.warns(CertificateWarning, match="standardscaler") as caught:
            ask(*args)
        assert [w.filename for w in caught] == [__file__]


def test_last_step_alone_cannot_warn_and_the_front_door_does():
    outside = make_pipeline(StandardScaler(), dpa()).fit(X, Y)
    rows = outside[:-1].transform(X_TEST)
    radius = outside[-1].certify(rows).radius  # warnings are errors here
    with pytest.warns(CertificateWarning, match="is void"):
        np.testing.assert_array_equal(certify(outside, X_TEST).radius, radius)


def test_threat_and_other_arguments_reach_the_ensemble():
    class Asked(Oracle):
        def certify(self, X, threat=None, *, target=None):
            self.how_ = threat, target
            return super().certify(X)

    fitted = make_pipeline(Normalizer(), Asked()).fit(X_ORACLE, Y_ORACLE)
    certify(fitted, X_ORACLE, "replacement", target=1)
    assert fitted[-1].how_ == ("replacement", 1)
    fixed = FixedThresholdClassifier(dpa()).fit(X, Y)
    with pytest.raises(ValueError, match="target cannot be certified through FixedThreshold"):
        certify(fixed, X_TEST, target=1)


@pytest.mark.parametrize(
    "estimator",
    [
        RidgeClassifier(),
        make_pipeline(StandardScaler(), LogisticRegression()),
        FixedThresholdClassifier(LogisticRegression()),
        FrozenEstimator(TunedThresholdClassifierCV(GaussianNB(), cv=2)),
    ],
    ids=str,
)
def test_nothing_inside_that_certifies_is_a_type_error(estimator):
    with pytest.raises(TypeError, match=r"has no method certify.*DeepPartitionAggregation"):
        certify(estimator, X_TEST)


@pytest.mark.parametrize("text", ["a single mail", b"raw"])
def test_a_single_text_is_refused(text):
    with pytest.raises(TypeError, match=r"is one text.*Pass a list, \[X\]"):
        certify(dpa(), text)


# ---- thresholds -------------------------------------------------------------------------------


class Majority(ClassifierMixin, BaseEstimator):
    """Votes for the most frequent label of its rows, whatever it is asked."""

    def fit(self, X, y):
        self.classes_, counts = np.unique(y, return_counts=True)
        self.winner_ = self.classes_[counts.argmax()]
        return self

    def predict(self, X):
        return np.full(len(X), self.winner_)


ROWS = np.arange(120.0)[:, None]


def voting(n_positive, n_members):
    """Return an ensemble, and labels of ROWS that make so many of its members vote for 1."""
    clf = DeepPartitionAggregation(Majority(), n_members, classes=[0, 1])
    partition = clf.fit(ROWS, np.zeros(len(ROWS), dtype=int)).partition_
    assert len(np.unique(partition)) == n_members
    return clf, np.where(partition < n_positive, 1, 0)


@pytest.mark.parametrize("pos_label", [0, 1])
@pytest.mark.parametrize("threshold", [0.05, 0.3, 0.5, 0.51, 0.75, 0.95, "auto"])
def test_no_change_of_members_within_the_radius_crosses_a_threshold(threshold, pos_label):
    """In every election of 8 members, turn as many as the radius allows, either way."""
    kept = []
    for n_positive in range(9):
        clf, y = voting(n_positive, 8)
        fixed = FixedThresholdClassifier(clf, threshold=threshold, pos_label=pos_label)
        y_pred, radius = quietly(certify, fixed.fit(ROWS, y), ROWS[:1])
        kept.append(radius[0])
        for now in (max(n_positive - radius[0], 0), min(n_positive + radius[0], 8)):
            if radius[0] >= 0:
                fixed.fit(ROWS, voting(now, 8)[1])
                assert fixed.predict(ROWS[:1]) == y_pred
    assert max(kept) >= 3


def test_radius_of_the_vote_would_not_hold_where_a_threshold_agrees_today():
    """18 of 20 votes: the vote survives 7 changed members, the threshold of 0.9 none."""
    clf, y = voting(18, 20)
    fixed = FixedThresholdClassifier(clf, threshold=0.9).fit(ROWS, y)
    assert fixed.predict(ROWS[:1]) == fixed.estimator_.predict(ROWS[:1]) == 1
    assert fixed.estimator_.certify(ROWS[:1]).radius == 7
    attacked = clone(fixed).fit(ROWS, voting(17, 20)[1])
    assert attacked.predict(ROWS[:1]) == 0
    with pytest.warns(CertificateWarning, match=r"Nothing is certified for 1 of 1 .*radius -1"):
        assert certify(fixed, ROWS[:1]).radius == -1


def test_threshold_that_keeps_all_radii_raises_no_warning():
    clf, y = voting(18, 20)
    fixed = FixedThresholdClassifier(clf, threshold=0.4).fit(ROWS, y)
    assert certify(fixed, ROWS[:1]).radius == 7  # warnings are errors here


def test_tuned_threshold_voids_the_guarantee():
    tuned = TunedThresholdClassifierCV(dpa(), cv=2, thresholds=5).fit(X, Y)
    with pytest.warns(CertificateWarning) as caught:
        certify(tuned, X_TEST)
    assert any("chose its threshold by scores" in str(w.message) for w in caught)


@pytest.mark.parametrize(
    "inner",
    [
        dpa(aggregation="run_off"),
        Oracle(),
        type("Loud", (DeepPartitionAggregation,), {"predict_proba": lambda self, X: X})(),
    ],
    ids=["run-off", "unknown", "subclass"],
)
def test_shares_that_need_not_follow_the_winner_certify_no_threshold(inner):
    assert not getattr(inner, "_winner_has_half", False)
    assert SemiSupervisedDPA()._winner_has_half


def test_run_off_behind_a_threshold_has_no_radius():
    fixed = FixedThresholdClassifier(dpa(aggregation="run_off"), threshold=0.4).fit(X, Y)
    with pytest.warns(CertificateWarning, match="Nothing is certified for 100 of 100"):
        assert set(certify(fixed, X_TEST).radius) == {-1}


def test_abstention_around_a_threshold_answers_what_the_threshold_says():
    inner = FixedThresholdClassifier(dpa(), threshold=0.4)
    clf = CertifiedAbstention(inner, min_radius=2).fit(X, Y)
    y_pred, radius = quietly(clf.certify, X_TEST)
    answered = radius >= 0
    assert 0 < answered.mean() < 1
    np.testing.assert_array_equal(y_pred[answered], clf.estimator_.predict(X_TEST)[answered])


# ---- pipelines of others ----------------------------------------------------------------------


class Contrary(Pipeline):
    """A pipeline that predicts in its own way."""

    def predict(self, X):
        y_pred = super().predict(X)
        return np.where(np.arange(len(X)) < 3, 1 - y_pred, y_pred)


def test_subclass_of_pipeline_is_not_trusted():
    fitted = Contrary([("norm", Normalizer()), ("dpa", dpa())]).fit(X, Y)
    with pytest.warns(CertificateWarning, match="Contrary is a subclass of Pipeline"):
        y_pred, radius = certify(fitted, X_TEST)
    np.testing.assert_array_equal(y_pred, fitted.predict(X_TEST))
    assert radius[:3].tolist() == [-1, -1, -1]
    assert (radius[3:] >= 0).all()


@pytest.mark.parametrize("threat", ["insertion_deletion", "label_flip"])
def test_resampling_step_voids_the_guarantee(threat):
    sampler = pytest.importorskip("imblearn.under_sampling").RandomUnderSampler(random_state=0)
    pipeline = pytest.importorskip("imblearn.pipeline").make_pipeline(sampler, dpa()).fit(X, Y)
    with pytest.warns(CertificateWarning) as caught:
        y_pred, _ = certify(pipeline, X_TEST, threat)
    assert any("pipeline fits 'randomundersampler'" in str(w.message) for w in caught)
    np.testing.assert_array_equal(y_pred, pipeline.predict(X_TEST))
