"""Abstention: an answer is given, kept, or withheld under attack, and never exchanged."""

import itertools

import numpy as np
import pytest
from joblib import parallel_config
from sklearn import config_context
from sklearn.base import clone
from sklearn.datasets import load_iris
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression, RidgeClassifier
from sklearn.metrics import accuracy_score
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

from certified_ensembles import (
    DeepPartitionAggregation,
    LabelFlipSmoothingClassifier,
    SemiSupervisedDPA,
)
from certified_ensembles.abstention import CertifiedAbstention, coverage_accuracy_curve
from certified_ensembles.audit import check_certificate
from certified_ensembles.certificates import (
    linear_smoother_radius,
    plurality_radius,
    run_off_radius,
    run_off_target_radius,
    target_radius,
    top_k_radius,
)
from certified_ensembles.metrics import certified_accuracy_score
from certified_ensembles.neighbors import CertifiedKNeighborsClassifier

X, Y = load_iris(return_X_y=True)
X_TRAIN, Y_TRAIN, X_TEST, Y_TEST = X[::2], Y[::2], X[1::4], Y[1::4]


def dpa(n_partitions=15, **params):
    return DeepPartitionAggregation(RidgeClassifier(), n_partitions, **params)


# ---------------------------------------------------------------- the theorem
# A radius that falls by one at most with each operation is what keeps answers in place.


def votes_of(ballots, n_classes):
    return np.stack([(ballots == c).sum(axis=1) for c in range(n_classes)], axis=1)


@pytest.mark.parametrize("open_set", [False, True])
@pytest.mark.parametrize("n_classes", [1, 2, 3])
def test_one_changed_ballot_lowers_a_plurality_radius_by_one_at_most(n_classes, open_set):
    members = 5
    # The first two classes stand for labels that nobody has seen yet.
    new = 2 if open_set else 0
    for ballots in itertools.product(range(-1, n_classes), repeat=members):
        ballots = np.array(ballots)
        winner, radius = plurality_radius(votes_of(ballots[None], n_classes), open_set=open_set)
        if radius[0] == 0:
            continue
        shifted = np.where(ballots < 0, -1, ballots + new)
        others = []
        for i in range(members):
            for vote in range(-1, n_classes + new):
                other = shifted.copy()
                other[i] = vote
                others.append(other)
        after, left = plurality_radius(
            votes_of(np.array(others), n_classes + new), open_set=open_set
        )
        assert (after == winner[0] + new).all()
        assert left.min() >= radius[0] - 1


@pytest.mark.parametrize("open_set", [False, True])
def test_one_changed_ballot_lowers_the_radius_of_another_question_by_one_at_most(open_set):
    n_classes, new = 3, 2 if open_set else 0
    rng = np.random.default_rng(0)
    for ballots in rng.integers(-1, n_classes, (300, 6)):
        votes, shifted = votes_of(ballots[None], n_classes), ballots + new * (ballots >= 0)
        others = np.repeat(shifted[None], 6 * (n_classes + new), axis=0)
        for j, vote in itertools.product(range(6), range(n_classes + new)):
            others[j * (n_classes + new) + vote, j] = vote
        after = votes_of(others, n_classes + new)
        for y, k in itertools.product(range(n_classes), (1, 2)):
            radius = target_radius(votes, y, open_set=open_set)
            assert (target_radius(after, y + new, open_set=open_set) >= radius - 1).all()
            radius = top_k_radius(votes, y, k, open_set=open_set)
            left = top_k_radius(after, y + new, k, open_set=open_set)
            assert (left >= radius - 1).all()


@pytest.mark.parametrize("open_set", [False, True])
def test_one_changed_member_lowers_the_radius_of_a_run_off_target_by_one_at_most(open_set):
    rng = np.random.default_rng(1)
    for _ in range(100):
        scores = rng.integers(0, 4, (5, 3)).astype(float)
        scores[rng.random(scores.shape) < 0.2] = -np.inf
        t = int(rng.integers(3))
        (radius,) = run_off_target_radius(scores[None], t, open_set=open_set)
        others = np.repeat(scores[None], 60, axis=0)
        others[np.arange(60), rng.integers(5, size=60)] = rng.integers(0, 4, (60, 3))
        assert (run_off_target_radius(others, t, open_set=open_set) >= radius - 1).all()


@pytest.mark.parametrize("open_set", [False, True])
def test_one_changed_member_lowers_a_run_off_radius_by_one_at_most(open_set):
    rng = np.random.default_rng(0)
    rankings = [list(map(float, p)) for p in itertools.permutations(range(3))]
    rankings += [[-np.inf] * 3, [0.0, -np.inf, -np.inf], [-np.inf, 1.0, 1.0]]
    tried = 0
    for _ in range(400):
        scores = rng.integers(0, 3, (int(rng.integers(3, 7)), 3)).astype(float)
        scores[rng.random(len(scores)) < 0.6, rng.integers(3)] = 9
        scores[rng.random(scores.shape) < 0.1] = -np.inf
        winner, radius = run_off_radius(scores[None], open_set=open_set)
        if radius[0] == 0:
            continue
        tried += 1
        others = np.repeat(scores[None], len(scores) * len(rankings), axis=0)
        for j, (i, ranking) in enumerate(itertools.product(range(len(scores)), rankings)):
            others[j, i] = ranking
        after, left = run_off_radius(others, open_set=open_set)
        assert (after == winner[0]).all()
        assert left.min() >= radius[0] - 1
    assert tried > 100


@pytest.mark.parametrize("open_set", [False, True])
def test_one_flipped_label_lowers_a_linear_radius_by_one_at_most(open_set):
    rng = np.random.default_rng(1)
    tried = 0
    for _ in range(300):
        n, n_classes = int(rng.integers(4, 9)), int(rng.integers(2, 4))
        weights = rng.integers(-1, 4, (1, n)).astype(float)
        y = rng.choice(n_classes, n, p=rng.dirichlet(np.full(n_classes, 0.7)))
        winner, radius = linear_smoother_radius(weights, y, n_classes, open_set=open_set)
        if radius[0] == 0:
            continue
        tried += 1
        for j, label in itertools.product(range(n), range(n_classes)):
            other = y.copy()
            other[j] = label
            after, left = linear_smoother_radius(weights, other, n_classes, open_set=open_set)
            assert after[0] == winner[0]
            assert left[0] >= radius[0] - 1
    assert tried > 50


def attacked_sets(rng, y_pred, budget):
    """Return training sets with so many operations: rows removed, test rows with wrong labels."""
    gone = rng.choice(len(X_TRAIN), rng.integers(0, budget + 1), replace=False)
    new = rng.integers(0, len(X_TEST), budget - len(gone))
    wrong = (y_pred[new] + rng.integers(1, 3)) % 3
    rows = np.concatenate([np.delete(X_TRAIN, gone, axis=0), X_TEST[new]])
    return rows, np.concatenate([np.delete(Y_TRAIN, gone), wrong])


CERTIFYING = {
    "plurality": dpa(classes=[0, 1, 2]),
    "run-off": dpa(aggregation="run_off", classes=[0, 1, 2]),
    "finite aggregation": dpa(7, spread_degree=2),
    "neighbours": CertifiedKNeighborsClassifier(15),
}


@pytest.mark.parametrize("name", CERTIFYING)
def test_answers_are_kept_within_one_radius_and_never_exchanged_within_the_other(name):
    clf = CertifiedAbstention(CERTIFYING[name], 2).fit(X_TRAIN, Y_TRAIN)
    label, outer = clf.estimator_.certify(X_TEST)
    y_pred, inner = clf.certify(X_TEST)
    answered = y_pred != -1
    np.testing.assert_array_equal(answered, outer >= 2)
    np.testing.assert_array_equal(inner == -1, ~answered)
    rng = np.random.default_rng(0)
    kept = steered = silenced = 0
    for _ in range(40):
        budget = int(rng.integers(1, outer.max() + 1))
        after = clone(clf).fit(*attacked_sets(rng, label, budget)).predict(X_TEST)
        within = inner >= budget
        np.testing.assert_array_equal(after[within], y_pred[within])
        within = outer >= budget
        assert np.isin(after[within], (-1,)).sum() + (after == label)[within].sum() == within.sum()
        kept += (inner >= budget).sum()
        steered += (outer >= budget).sum()
        silenced += ((after == -1) & answered & (outer >= budget)).sum()
    assert steered > 50
    assert silenced > 0  # the difference between the two promises is real
    assert (kept > 50) == (name != "finite aggregation")


def test_one_operation_beyond_the_kept_radius_can_silence_an_answer():
    clf = CertifiedAbstention(CertifiedKNeighborsClassifier(9, classes=[0, 1, 2]), 2)
    clf.fit(X_TRAIN, Y_TRAIN)
    y_pred, radius = clf.certify(X_TEST)
    silenced = []
    for x, label, r in zip(X_TEST, y_pred, radius, strict=True):
        if label == -1:
            continue
        outcomes = set()
        for b in {0, 1, 2} - {label}:
            rows = np.concatenate([X_TRAIN, np.tile(x, (r + 1, 1))])
            attacked = clone(clf).fit(rows, np.append(Y_TRAIN, [b] * (r + 1)))
            outcomes.add(attacked.predict([x])[0])
        assert outcomes <= {label, -1}
        silenced.append(-1 in outcomes)
    assert np.mean(silenced) > 0.8


def test_kept_radius_is_what_is_left_above_the_threshold():
    for r in (0, 1, 3):
        clf = CertifiedAbstention(dpa(), r).fit(X_TRAIN, Y_TRAIN)
        y_pred, radius = clf.certify(X_TEST)
        label, outer = clf.estimator_.certify(X_TEST)
        np.testing.assert_array_equal(radius, np.where(outer >= r, outer - r, -1))
        np.testing.assert_array_equal(y_pred, np.where(outer >= r, label, -1))


WITHOUT_PROMISE = {
    "finite aggregation": dpa(5, spread_degree=2),
    "priced members": SemiSupervisedDPA(n_partitions=5, certificate="members"),
    "noise": LabelFlipSmoothingClassifier(certificate="tight", noise=0.2),
}


@pytest.mark.parametrize("name", WITHOUT_PROMISE)
def test_nothing_is_promised_of_answers_where_the_radius_is_no_distance(name):
    clf = CertifiedAbstention(WITHOUT_PROMISE[name], 1).fit(X_TRAIN, Y_TRAIN)
    y_pred, radius = clf.certify(X_TEST)
    answered = y_pred != -1
    assert answered.any()
    np.testing.assert_array_equal(radius, np.where(answered, 0, -1))


def test_subclass_that_may_certify_otherwise_gets_no_promise():
    class Bold(DeepPartitionAggregation):
        pass

    clf = CertifiedAbstention(Bold(n_partitions=15), 1).fit(X_TRAIN, Y_TRAIN)
    assert clf.certify(X_TEST).radius.max() == 0


@pytest.mark.parametrize("how", [{"target": 1}, {"target": [0, 1]}, {"top_k": 2}], ids=str)
@pytest.mark.parametrize("name", ["plurality", "run-off", "finite aggregation"])
def test_another_question_may_decide_where_to_answer(name, how):
    clf = CertifiedAbstention(CERTIFYING[name], 2, **how).fit(X_TRAIN, Y_TRAIN)
    label, outer = clf.estimator_.certify(X_TEST, **how)
    own = clf.estimator_.certify(X_TEST).radius
    y_pred, inner = clf.certify(X_TEST)
    answered = outer >= 2
    np.testing.assert_array_equal(y_pred, np.where(answered, label, -1))
    np.testing.assert_array_equal(inner == -1, ~answered)
    np.testing.assert_array_equal(clf.certify(X_TEST, **how).y_pred, y_pred)
    asked = clf.certify(X_TEST, **how).radius
    targets = np.atleast_1d(how.get("target", []))
    np.testing.assert_array_equal(
        asked, outer if "target" in how else np.where(answered, outer, -1)
    )
    assert not np.isin(y_pred, targets).any()
    assert (inner <= np.where(answered, own, -1)).all()
    if name != "finite aggregation":
        assert (inner == np.where(answered, np.minimum(own, outer - 2), -1)).all()
    rng = np.random.default_rng(0)
    for _ in range(12):
        budget = int(rng.integers(1, outer.max() + 1))
        after = clone(clf).fit(*attacked_sets(rng, label, budget))
        now = after.predict(X_TEST)
        within = inner >= budget
        np.testing.assert_array_equal(now[within], y_pred[within])
        assert not np.isin(now[asked >= budget], targets).any()
        votes = after.estimator_.vote_counts(X_TEST)
        before = (votes > np.take_along_axis(votes, label[:, None], axis=1)).sum(axis=1)
        assert not ((before >= how.get("top_k", 3)) & (asked >= budget)).any()


def test_audit_finds_no_attack_where_another_question_decides():
    clf = CertifiedAbstention(dpa(8, classes=[0, 1, 2]), 1, target=1)
    check_certificate(clf, X_TRAIN, Y_TRAIN, X_TEST[:8], n_attacks=8)


def test_two_questions_at_once_are_refused():
    with pytest.raises(ValueError, match="two questions"):
        CertifiedAbstention(dpa(), 1, target=1, top_k=2).fit(X_TRAIN, Y_TRAIN)
    clf = CertifiedAbstention(dpa(), 1).fit(X_TRAIN, Y_TRAIN)
    with pytest.raises(ValueError, match="two questions"):
        clf.certify(X_TEST, target=1, top_k=2)


@pytest.mark.parametrize("threat", [None, "replacement", "label_flip"])
@pytest.mark.parametrize("name", CERTIFYING)
def test_audit_finds_no_attack(name, threat):
    estimator = clone(CERTIFYING[name]).set_params(classes=None)
    clf = CertifiedAbstention(estimator, 1, threat=threat)
    # Another process takes seconds to start, and what abstains there knows of no vote or threat.
    with parallel_config("loky" if (name, threat) == ("plurality", None) else "threading"):
        check_certificate(clf, X_TRAIN, Y_TRAIN, X_TEST[:15], n_attacks=24)


@pytest.mark.parametrize(
    "estimator",
    [
        SemiSupervisedDPA(n_partitions=15, classes=[0, 1, 2]),
        LabelFlipSmoothingClassifier(classes=[0, 1, 2]),
    ],
    ids=["partitions", "linear smoother"],
)
def test_audit_finds_no_attack_by_label_flips(estimator):
    clf = CertifiedAbstention(estimator, 2)
    report = check_certificate(clf, X_TRAIN, Y_TRAIN, X_TEST[:15], n_attacks=24)
    assert report.n_attacks["labels flipped"]


# ---------------------------------------------------------------- a scikit-learn estimator


def test_score_is_the_certified_accuracy_at_the_threshold():
    clf = CertifiedAbstention(dpa(), 3).fit(X_TRAIN, Y_TRAIN)
    certificate = clf.estimator_.certify(X_TEST)
    expected = certified_accuracy_score(Y_TEST, *certificate, budget=3)
    assert clf.score(X_TEST, Y_TEST) == pytest.approx(expected)
    assert accuracy_score(Y_TEST, clf.predict(X_TEST)) == pytest.approx(expected)


def test_threat_decides_where_to_answer():
    default = CertifiedAbstention(dpa(), 2).fit(X_TRAIN, Y_TRAIN)
    replaced = CertifiedAbstention(dpa(), 2, threat="replacement").fit(X_TRAIN, Y_TRAIN)
    assert (default.predict(X_TEST) != -1).sum() > (replaced.predict(X_TEST) != -1).sum()
    for threat in (None, "replacement"):
        assert replaced.certify(X_TEST, threat=threat).radius.max() >= 0
    with pytest.raises(ValueError, match=r"'label_flip' is not the one .* 'replacement'"):
        replaced.certify(X_TEST, threat="label_flip")
    with pytest.raises(ValueError, match=r"is not the one .* 'insertion_deletion'"):
        default.certify(X_TEST, threat="label_flip")


def test_estimator_without_a_certificate_is_refused():
    with pytest.raises(TypeError, match="has no method certify"):
        CertifiedAbstention(LogisticRegression()).fit(X_TRAIN, Y_TRAIN)
    with pytest.raises(ValueError, match="'min_radius' parameter"):
        CertifiedAbstention(dpa(), -1).fit(X_TRAIN, Y_TRAIN)


def test_fitted_ensemble_can_be_wrapped_without_another_fit():
    ensemble = dpa().fit(X_TRAIN, Y_TRAIN)
    clf = CertifiedAbstention(FrozenEstimator(ensemble), 3).fit(X_TEST, Y_TEST)
    expected = CertifiedAbstention(dpa(), 3).fit(X_TRAIN, Y_TRAIN)
    for one, other in zip(clf.certify(X_TEST), expected.certify(X_TEST), strict=True):
        np.testing.assert_array_equal(one, other)


def test_an_abstention_counts_what_its_ensemble_counts():
    groups = np.arange(len(X_TRAIN)) // 3
    clf = CertifiedAbstention(dpa(7), threat="label_flip").fit(X_TRAIN, Y_TRAIN, groups=groups)
    certificate = clf.certify(X_TEST)
    assert (certificate.threat, certificate.unit) == ("label_flip", "hostile sources")


def test_pipelines_inside_and_outside_certify():
    step = FunctionTransformer(np.sqrt)
    inside = CertifiedAbstention(make_pipeline(step, dpa()), 3).fit(X_TRAIN, Y_TRAIN)
    outside = make_pipeline(step, CertifiedAbstention(dpa(), 3)).fit(X_TRAIN, Y_TRAIN)
    np.testing.assert_array_equal(inside.predict(X_TEST), outside.predict(X_TEST))
    np.testing.assert_array_equal(
        inside.certify(X_TEST).radius, outside[-1].certify(np.sqrt(X_TEST)).radius
    )


def test_search_over_thresholds_runs():
    search = GridSearchCV(CertifiedAbstention(dpa(5)), {"min_radius": [0, 2]}, cv=2)
    assert search.fit(X_TRAIN, Y_TRAIN).best_params_ == {"min_radius": 0}


@pytest.mark.parametrize("routing", [False, True])
def test_sources_reach_the_ensemble(routing):
    groups = np.arange(len(X_TRAIN)) // 3
    with config_context(enable_metadata_routing=routing):
        inner = dpa(7).set_fit_request(groups=True) if routing else dpa(7)
        clf = CertifiedAbstention(inner).fit(X_TRAIN, Y_TRAIN, groups=groups)
    assert clf.estimator_.partitioned_by_ == "source"


# ---------------------------------------------------------------- coverage against accuracy


def test_curve_counts_answers_and_right_answers():
    rng = np.random.default_rng(0)
    y_true, y_pred = rng.integers(0, 3, (2, 200))
    radius = rng.integers(-1, 9, 200)
    for weight in (None, rng.random(200)):
        curve = coverage_accuracy_curve(y_true, y_pred, radius, sample_weight=weight)
        own = np.ones(200) if weight is None else weight
        assert curve.min_radius.tolist() == list(range(9))
        for r, coverage, accuracy in zip(*curve, strict=True):
            answered = radius >= r
            assert coverage == pytest.approx(own[answered].sum() / own.sum())
            right = own[answered & (y_true == y_pred)].sum()
            assert accuracy == pytest.approx(right / own[answered].sum())


def test_curve_agrees_with_the_classifier():
    label, radius = dpa().fit(X_TRAIN, Y_TRAIN).certify(X_TEST)
    for r, coverage, accuracy in zip(*coverage_accuracy_curve(Y_TEST, label, radius), strict=True):
        y_pred = CertifiedAbstention(dpa(), int(r)).fit(X_TRAIN, Y_TRAIN).predict(X_TEST)
        answered = y_pred != -1
        assert coverage == pytest.approx(answered.mean())
        assert accuracy == pytest.approx((y_pred == Y_TEST)[answered].mean())


def test_curve_ends_where_nothing_is_answered():
    curve = coverage_accuracy_curve([0, 1], [1, 0], [2, 2])
    assert curve.coverage.tolist() == [1, 1, 1]
    assert curve.accuracy.tolist() == [0, 0, 0]
    curve = coverage_accuracy_curve([0, 1], [0, 1], [-1, -1])
    assert [len(part) for part in curve] == [0, 0, 0]
    curve = coverage_accuracy_curve([0, 1, 1], [0, 1, 0], [0, 1, 5])
    assert curve.accuracy.tolist() == pytest.approx([2 / 3, 0.5, 0, 0, 0, 0])


def test_curve_refuses_radii_that_are_no_integers():
    with pytest.raises(TypeError, match="radius has dtype float64"):
        coverage_accuracy_curve([0], [0], [1.5])
