"""Affine steps fitted per member fold into linear heads, and nothing but speed shows it."""

import tracemalloc

import numpy as np
import pytest
import scipy.sparse as sp
from sklearn import config_context
from sklearn.base import clone
from sklearn.datasets import load_digits
from sklearn.decomposition import PCA, TruncatedSVD
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.linear_model import LogisticRegression, RidgeClassifier, SGDClassifier
from sklearn.neighbors import NearestCentroid
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import (
    FunctionTransformer,
    MaxAbsScaler,
    MinMaxScaler,
    RobustScaler,
    StandardScaler,
)

from certified_ensembles import DeepPartitionAggregation
from certified_ensembles._linear.affine import _fit_directly, fit_steps
from certified_ensembles._linear.scoring import is_linear, linear_scores
from certified_ensembles._members.asking import by_member
from certified_ensembles._members.training import batch_trainer

X_DIGITS, Y_DIGITS = load_digits(return_X_y=True)
X, Y = X_DIGITS[:240] / 3, Y_DIGITS[:240]
X_TEST, Y_TEST = X_DIGITS[400:440] / 3, Y_DIGITS[400:440]

SCALERS = [
    StandardScaler(),
    StandardScaler(with_mean=False),
    StandardScaler(with_std=False),
    StandardScaler(with_mean=False, with_std=False),
    MinMaxScaler(),
    MinMaxScaler(feature_range=(-2, 0.5)),
    MaxAbsScaler(),
    RobustScaler(),
    RobustScaler(with_centering=False, quantile_range=(10.0, 80)),
    RobustScaler(with_scaling=False),
    RobustScaler(unit_variance=True),
]
STEPS = [
    *([scaler] for scaler in SCALERS),
    [PCA(5)],
    [PCA(7, whiten=True)],
    [TruncatedSVD(6)],
    [MaxAbsScaler(), TruncatedSVD(6)],
    [StandardScaler(), "passthrough", PCA(9, whiten=True), MinMaxScaler()],
]
KEEPS_SPARSE = [steps for steps in STEPS if type(steps[0]) in (MaxAbsScaler, TruncatedSVD)] + [
    [StandardScaler(with_mean=False)],
    [RobustScaler(with_centering=False, quantile_range=(10.0, 80))],
    [StandardScaler(with_mean=False), PCA(4)],
]
HEADS = [
    RidgeClassifier(),
    LogisticRegression(max_iter=300),
    SGDClassifier(),
    LinearDiscriminantAnalysis(solver="lsqr", shrinkage=0.2),
    NearestCentroid(),
]
SKIP_WARNINGS = [
    "ignore:self.within_class_std_dev_:UserWarning",  # blank pixels
    "ignore:lbfgs failed:sklearn.exceptions.ConvergenceWarning",
    "ignore:Maximum number:sklearn.exceptions.ConvergenceWarning",
    "ignore:.*in log10:RuntimeWarning",
]
pytestmark = [pytest.mark.filterwarnings(line) for line in SKIP_WARNINGS]


def dpa(estimator, n_partitions=3, **kwargs):
    return DeepPartitionAggregation(estimator, n_partitions, random_state=0, **kwargs)


def scores_of(clf, rows):
    return np.concatenate(list(clf._ask(clf._members.scores, rows)))


def differences(member, rows, classes):
    """Return by how much each class scores above the member's first, and -inf for unknown ones."""
    scores = member.decision_function(rows)
    if scores.ndim == 1:
        scores = np.column_stack([np.zeros_like(scores), scores])
    out = np.full((len(scores), len(classes)), -np.inf)
    out[:, np.searchsorted(classes, member.classes_)] = scores - scores[:, :1]
    return out


def assert_asked_like_the_members(clf, rows, own_rows):
    assert is_linear(clf.estimators_)
    scores, ballots = scores_of(clf, rows), clf.ballots(rows)
    assert scores.dtype == np.float64
    for i, member in enumerate(clf.estimators_):
        if type(member[-1]) is not NearestCentroid:
            first = np.searchsorted(clf.classes_, member.classes_[0])
            got, expected = scores[:, i], differences(member, own_rows, clf.classes_)
            size = np.abs(expected[np.isfinite(expected)]).max()
            np.testing.assert_allclose(got - got[:, [first]], expected, rtol=0, atol=1e-9 * size)
        top = np.sort(scores[:, i], axis=1)[:, -2:]
        clear = top[:, 1] - top[:, 0] > 1e-9 * np.abs(top[:, 1])
        labels = clf.classes_[ballots[:, i]]
        np.testing.assert_array_equal(labels[clear], member.predict(own_rows)[clear])
        assert clear.mean() > 0.9


# ---------------------------------------------------------------- asking


@pytest.mark.parametrize("head", HEADS, ids=str)
@pytest.mark.parametrize("steps", STEPS, ids=str)
def test_ballots_and_scores_are_those_of_the_pipelines(steps, head):
    clf = dpa(make_pipeline(*steps, head)).fit(X, Y)
    assert_asked_like_the_members(clf, X_TEST, X_TEST)
    single = X_TEST.astype(np.float32)
    assert_asked_like_the_members(clf, single, single.astype(np.float64))


@pytest.mark.parametrize("head", HEADS[:3], ids=str)
@pytest.mark.parametrize("steps", KEEPS_SPARSE, ids=str)
def test_sparse_rows_are_asked_like_the_pipelines(steps, head):
    clf = dpa(make_pipeline(*steps, head)).fit(sp.csr_array(X), Y)
    rows = sp.csr_array(X_TEST)
    assert_asked_like_the_members(clf, rows, rows)


@pytest.mark.parametrize("head", HEADS[:2], ids=str)
def test_two_classes_are_asked_like_the_pipelines(head):
    clf = dpa(make_pipeline(StandardScaler(), PCA(3), head)).fit(X, Y > 4)
    assert_asked_like_the_members(clf, X_TEST, X_TEST)


def test_steps_that_all_share_run_first_and_their_single_precision_stays_outside():
    shared = FunctionTransformer(np.float32)
    clf = dpa(make_pipeline(shared, StandardScaler(), RidgeClassifier())).fit(X + 1e4, Y)
    rows = (X_TEST + 1e4).astype(np.float32).astype(np.float64)
    scores = scores_of(clf, rows)
    assert scores.dtype == np.float64
    for i, member in enumerate(clf.estimators_):
        expected = differences(member[1:], rows, clf.classes_)
        np.testing.assert_allclose(
            scores[:, i] - scores[:, i, [np.searchsorted(clf.classes_, member.classes_[0])]],
            expected,
            atol=1e-6,
        )


def test_sparse_rows_stay_sparse():
    rng = np.random.default_rng(0)
    rows = sp.random_array((512, 2**16), density=1e-4, rng=rng, format="csr")  # 256 MiB if dense
    clf = dpa(make_pipeline(TruncatedSVD(2), StandardScaler(), RidgeClassifier()), 3)
    clf.fit(rows[:60], np.arange(60) % 2)
    tracemalloc.start()
    clf.predict(rows)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2**26


@pytest.mark.filterwarnings("ignore:.*have no rows:UserWarning")
def test_members_without_steps_or_rows_stand_beside_folded_ones():
    clf = dpa(make_pipeline(StandardScaler(), RidgeClassifier()), 200).fit(X, Y)
    kinds = {type(member).__name__ for member in clf.estimators_}
    assert kinds == {"NoneType", "ConstantMember", "Pipeline"}
    ballots = clf.ballots(X_TEST)
    for i, member in enumerate(clf.estimators_):
        if member is None:
            assert (ballots[:, i] == -1).all()
        else:
            same = clf.classes_[ballots[:, i]] == member.predict(X_TEST)
            assert same.mean() > 0.95  # exact ties: some members have two rows


def test_run_off_ranks_by_folded_scores():
    pipeline = make_pipeline(StandardScaler(), RidgeClassifier())
    plain, ranked = dpa(pipeline).fit(X, Y), dpa(pipeline, aggregation="run_off").fit(X, Y)
    np.testing.assert_array_equal(plain.ballots(X_TEST), ranked.ballots(X_TEST))
    assert (ranked.predict(X_TEST) == Y_TEST).mean() > 0.5


class Doubled(StandardScaler):
    def transform(self, X, copy=None):
        return 2 * super().transform(X, copy)


@pytest.mark.parametrize("step", [MinMaxScaler(clip=True), MaxAbsScaler(clip=True), Doubled()])
def test_steps_that_are_not_affine_are_asked_one_by_one(step):
    clf = dpa(make_pipeline(step, RidgeClassifier())).fit(X, Y)
    assert not is_linear(clf.estimators_)
    members = np.stack([member.predict(3 * X_TEST) for member in clf.estimators_], axis=1)
    np.testing.assert_array_equal(clf.classes_[clf.ballots(3 * X_TEST)], members)


@pytest.mark.parametrize("hostile", [np.nan, np.inf])
def test_rows_without_numbers_are_errors_or_abstentions(hostile):
    rows = X_TEST.copy()
    rows[3, 5] = hostile
    pipeline = make_pipeline(StandardScaler(), RidgeClassifier())
    with pytest.raises(ValueError, match=r"NaN|infinity"):
        dpa(pipeline).fit(X, Y).predict(rows)
    clf = dpa(pipeline, on_error="abstain").fit(X, Y)
    ballots = clf.ballots(rows)
    assert (ballots[3] == -1).all()
    others = np.arange(len(rows)) != 3
    assert ballots[others].tobytes() == clf.ballots(X_TEST)[others].tobytes()
    assert (clf.ballots(rows[3:4]) == -1).all()


# ---------------------------------------------------------------- alone and together


@pytest.mark.parametrize("rows", [X_TEST, X_TEST.astype(np.float32), sp.csr_array(X_TEST)])
def test_a_member_scores_alone_as_in_company_to_the_bit(rows):
    pipeline = make_pipeline(StandardScaler(), PCA(4, whiten=True), RidgeClassifier())
    members = dpa(pipeline, 12).fit(X, Y).estimators_
    together = linear_scores(members, np.arange(10), [rows], len(X_TEST), None)
    for i in range(12):
        alone = [None] * 12
        alone[i] = members[i]
        own = linear_scores(alone, np.arange(10), [rows], len(X_TEST), None)
        assert own[:, i].tobytes() == together[:, i].tobytes()


def test_who_writes_into_a_step_is_answered_from_what_he_wrote():
    clf = dpa(make_pipeline(StandardScaler(), RidgeClassifier()), 6).fit(X, Y)
    before = clf.ballots(X_TEST)
    clf.estimators_[0][0].mean_ += 2 * clf.estimators_[0][0].scale_
    clf.estimators_[1][0].scale_ *= -1
    after = np.column_stack([member.predict(X_TEST) for member in clf.estimators_])
    assert (after != before).any(axis=0).tolist() == [True, True, *[False] * 4]
    np.testing.assert_array_equal(clf.ballots(X_TEST), after)


@pytest.mark.filterwarnings("ignore:.*could not be trained:UserWarning")
@pytest.mark.parametrize("steps", [[scaler] for scaler in SCALERS[:8:2]] + STEPS[-3:], ids=str)
@pytest.mark.parametrize("size", [1.0, 1e39, 1e155, 1e300, -1e308, np.nan])
def test_a_hostile_row_changes_no_bit_of_another_member(steps, size):
    head = HEADS[0] if len(steps) < 3 else HEADS[1]
    clf = dpa(make_pipeline(*steps, head), 6, classes=range(12), on_error="abstain")
    before = clf.fit(X, Y)
    scores, ballots = scores_of(before, X_TEST), before.ballots(X_TEST)
    after = clone(clf)
    row = np.where(np.arange(64) % 3 == 0, size, X[7])
    with np.errstate(all="ignore"):
        after.fit(np.vstack([X, row]), np.append(Y, 11))
    others = np.arange(6) != after.partition_[-1]
    assert after.ballots(X_TEST)[:, others].tobytes() == ballots[:, others].tobytes()
    assert scores_of(after, X_TEST)[:, others].tobytes() == scores[:, others].tobytes()


def test_scores_in_single_precision_round_no_others():
    parts = [
        (np.array([0]), np.zeros((2, 1, 3), np.float32)),
        (np.array([1]), np.full((2, 1, 3), 1 + 1e-12)),
    ]
    np.testing.assert_array_equal(by_member(parts, 2, -np.inf)[:, 1], parts[1][1][:, 0])


# ---------------------------------------------------------------- training


@pytest.mark.parametrize("scaler", SCALERS, ids=str)
@pytest.mark.parametrize("shift", [0.0, 1e6])
def test_scalers_are_fitted_as_by_scikit_learn(scaler, shift):
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(23, 9)) * 10.0 ** np.arange(-4, 5) + shift
    rows[:, 2], rows[:, 4] = 0.1, 0.0  # constant, and constant but for rounding
    rows[::2, 5] = rows[0, 5] * (1 + 1e-16)
    scaled, own, reference = rows.copy(), clone(scaler), clone(scaler)
    assert _fit_directly(own, scaled)
    expected = reference.fit_transform(rows)
    atol = 1e-12 + 1e-13 * shift / 1e-4
    np.testing.assert_allclose(scaled, expected, rtol=1e-11, atol=atol)
    assert vars(own).keys() == vars(reference).keys()
    for name, value in vars(reference).items():
        assert type(getattr(own, name)) is type(value)
        if isinstance(value, np.ndarray):
            assert getattr(own, name).dtype == value.dtype
            np.testing.assert_allclose(getattr(own, name), value, rtol=1e-12, atol=1e-14)
        else:
            assert getattr(own, name) == value


UNUSUAL = {
    "NaN": (StandardScaler(), np.where(X[:9] == X[0, 5], np.nan, X[:9])),
    "overflow": (StandardScaler(), 1e200 * X[:9]),
    "read-only": (StandardScaler(), np.broadcast_to(1.0, (9, 4))),
    "single": (MinMaxScaler(), X[:9].astype(np.float32)),
    "sparse": (MaxAbsScaler(), sp.csr_array(X[:9])),
    "frames": (MaxAbsScaler().set_output(transform="pandas"), X[:9]),
    "numbers for bools": (StandardScaler(with_mean=1), X[:9]),
    "empty range": (MinMaxScaler(feature_range=(1, 1)), X[:9]),
    "words": (MinMaxScaler(feature_range="01"), X[:9]),
    "quantiles": (RobustScaler(quantile_range=(-5, 75)), X[:9]),
}


@pytest.mark.parametrize("name", UNUSUAL)
def test_unusual_rows_and_parameters_go_to_scikit_learn(name):
    scaler, rows = UNUSUAL[name]
    before = rows.copy()
    assert not _fit_directly(clone(scaler), rows)
    np.testing.assert_array_equal(*(getattr(r, "data", r) for r in (rows, before)))


def test_the_output_of_the_configuration_is_respected():
    with config_context(transform_output="pandas"):
        assert not _fit_directly(StandardScaler(), X.copy())


def test_what_scikit_learn_refuses_is_refused():
    for scaler in (MinMaxScaler(feature_range=(1, 0)), RobustScaler(quantile_range=(-5, 75))):
        pipeline = make_pipeline(scaler, RidgeClassifier())
        assert batch_trainer(pipeline) is not None
        with pytest.raises(ValueError, match="range"):
            dpa(pipeline).fit(X, Y)


def test_steps_that_are_unknown_are_fitted_by_the_pipeline():
    pipeline = make_pipeline(Doubled(), MinMaxScaler(clip=True), RidgeClassifier())
    expected = clone(pipeline[:-1]).fit_transform(X, Y)
    np.testing.assert_array_equal(fit_steps(pipeline, X.copy(), Y), expected)
    np.testing.assert_array_equal(pipeline[:-1].transform(X), expected)
