"""Tensors in, numpy out: linear members answer where the test rows are, and mean the same.

Where no GPU is at hand, tensors of the host are declared to be out of its reach.
"""

import functools
import os
import pickle
import subprocess
import sys

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.datasets import load_digits
from sklearn.decomposition import PCA
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.linear_model import LogisticRegression, RidgeClassifier
from sklearn.naive_bayes import GaussianNB
from sklearn.neighbors import NearestCentroid
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import Normalizer, StandardScaler
from sklearn.tree import DecisionTreeClassifier

from certified_ensembles import (
    DeepPartitionAggregation,
    LabelFlipSmoothingClassifier,
    SemiSupervisedDPA,
)
from certified_ensembles._data import array_api
from certified_ensembles._linear import device
from certified_ensembles._linear.scoring import linear_ballots, linear_scores, linear_votes
from certified_ensembles._members import asking, voting
from certified_ensembles.neighbors import CertifiedKNeighborsClassifier

torch = pytest.importorskip("torch", reason="needs the extra [torch]")

KINDS = [
    RidgeClassifier(),
    LogisticRegression(C=0.01, tol=1e-2),
    NearestCentroid(),
    LinearDiscriminantAnalysis(),
]
DIGITS, LABELS = load_digits(return_X_y=True)
X, Y, TESTS = DIGITS[:900], LABELS[:900], DIGITS[900:]


@pytest.fixture(params=["cpu", "cuda"])
def there(request, monkeypatch):
    """Return what puts an array on a device, as a tensor."""
    if request.param == "cuda" and not torch.cuda.is_available():
        pytest.skip("torch finds no CUDA device here")
    if request.param == "cpu":
        monkeypatch.setattr(array_api, "_HOST", ())
    return functools.partial(torch.asarray, device=request.param)


@pytest.fixture
def products(monkeypatch):
    """Return a list of the products that are made on the device."""
    made, check = [], device._refuse_half_precision

    def note(score, weights):
        made.append((score.device.type, score.dtype, tuple(score.shape), tuple(weights.shape)))
        check(score, weights)

    monkeypatch.setattr(device, "_refuse_half_precision", note)
    return made


def assert_agree(clf, tensor, array):
    """Compare answers where no member is at a tie; there rounding decides."""
    scores = np.concatenate(list(clf._ask(clf._members.scores, array)))
    best = np.sort(scores, axis=2)
    with np.errstate(invalid="ignore"):
        gap = best[..., -1] - best[..., -2]
    clear = ~(gap <= 1e-3 * np.nanmax(np.abs(scores[np.isfinite(scores)])))
    assert clear.mean() > 0.9
    ballots = clf.ballots(tensor)
    assert isinstance(ballots, np.ndarray)
    np.testing.assert_array_equal(ballots[clear], clf.ballots(array)[clear])
    sure = clear.all(axis=1)
    np.testing.assert_array_equal(clf.vote_counts(tensor)[sure], clf.vote_counts(array)[sure])
    for one, other in zip(clf.certify(tensor), clf.certify(array), strict=True):
        assert type(one) is type(other) is np.ndarray
        assert one.dtype == other.dtype
        np.testing.assert_array_equal(one[sure], other[sure])
    np.testing.assert_array_equal(clf.predict(tensor), clf.certify(tensor).y_pred)


def assert_same(one, other, tensor, array):
    np.testing.assert_array_equal(one.predict(tensor), other.predict(array))
    for own, others in zip(one.certify(tensor), other.certify(array), strict=True):
        np.testing.assert_array_equal(own, others)


# ---------------------------------------------------------------- the same answers


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("estimator", KINDS, ids=str)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("seed", range(2))
def test_tensors_and_arrays_get_the_same_answers_up_to_ties(
    there, products, estimator, dtype, seed
):
    rng = np.random.default_rng(seed)
    y = rng.integers(0, rng.integers(2, 8), 500)
    centres = rng.normal(size=(8, 30))
    rows = (centres[y] + rng.normal(size=(500, 30))).astype(dtype)
    tests = (centres[rng.integers(0, 8, 300)] + rng.normal(size=(300, 30))).astype(dtype)
    clf = DeepPartitionAggregation(estimator, 7).fit(there(rows), there(y))
    like = clone(clf).fit(rows, y)
    np.testing.assert_array_equal(clf.partition_, like.partition_)
    for one, other in zip(clf.estimators_, like.estimators_, strict=True):
        assert pickle.dumps(one) == pickle.dumps(other)
    assert not products
    assert_agree(clf, there(tests), tests)
    assert {made[0] for made in products} == {there(tests).device.type}


@pytest.mark.parametrize(
    "params", [{"aggregation": "run_off"}, {"n_seeds": 2}, {"spread_degree": 2}], ids=str
)
def test_every_way_to_count_takes_tensors(there, products, params):
    clf = DeepPartitionAggregation(n_partitions=9, **params).fit(X, Y)
    assert_same(clf, clf, there(TESTS), TESTS)
    assert products


@pytest.mark.parametrize("dtype", [np.uint8, np.int64, np.float32, np.float64])
@pytest.mark.parametrize("sources", [False, True])
def test_partitions_do_not_see_what_rows_came_in(there, dtype, sources):
    rows, groups = X.astype(dtype), np.arange(len(X)) // 3 if sources else None
    clf = DeepPartitionAggregation(n_partitions=20).fit(rows, Y, groups=groups)
    own = None if groups is None else there(groups)
    tensors = clone(clf).fit(there(rows), there(Y), groups=own)
    assert type(tensors.partition_) is np.ndarray
    np.testing.assert_array_equal(tensors.partition_, clf.partition_)
    np.testing.assert_array_equal(tensors.classes_, clf.classes_)


def test_weights_of_rows_may_be_a_tensor(there):
    weights = np.arange(len(X)) % 4
    clf = DeepPartitionAggregation(n_partitions=9).fit(X, Y, sample_weight=weights)
    other = clone(clf).fit(there(X), there(Y), sample_weight=there(weights))
    assert_same(other, clf, TESTS, TESTS)


@pytest.mark.parametrize(
    "estimator",
    [
        GaussianNB(),
        DecisionTreeClassifier(max_depth=3),
        make_pipeline(StandardScaler(), RidgeClassifier()),
        make_pipeline(Normalizer(), RidgeClassifier()),
    ],
    ids=str,
)
def test_members_that_are_not_linear_get_numpy(there, products, estimator):
    clf = DeepPartitionAggregation(estimator, 9).fit(there(X), there(Y))
    assert_same(clf, clone(clf).fit(X, Y), there(TESTS), TESTS)
    assert not products


def test_nets_take_tensors_as_they_take_arrays(there):
    pytest.importorskip("skorch", reason="needs the extra [torch]")
    from certified_ensembles.nets import SeededNetClassifier

    net = SeededNetClassifier(
        torch.nn.Linear, module__in_features=64, module__out_features=10, max_epochs=1
    )
    rows, tests = X[:200].astype(np.float32), TESTS[:50].astype(np.float32)
    clf = DeepPartitionAggregation(net, 3, classes=range(10))
    own = clone(clf).fit(there(rows), there(Y[:200]))
    assert_same(own, clf.fit(rows, Y[:200]), there(tests), tests)


@pytest.mark.filterwarnings("ignore:The certificate is void against who knew")
@pytest.mark.parametrize(
    "clf",
    [
        SemiSupervisedDPA(n_partitions=9, representation=PCA(10)),
        SemiSupervisedDPA(n_partitions=9, certificate="members"),
        LabelFlipSmoothingClassifier(),
        LabelFlipSmoothingClassifier(certificate="monte_carlo", n_draws=20, random_state=1),
        CertifiedKNeighborsClassifier(),
    ],
    ids=str,
)
def test_certificates_without_partitions_take_tensors_to_the_host(there, products, clf):
    own = clone(clf).fit(there(X[:200]), there(Y[:200]))
    assert_same(own, clf.fit(X[:200], Y[:200]), there(TESTS[:80]), TESTS[:80])
    assert not products


def test_semi_supervised_votes_without_a_representation_stay_on_the_device(there, products):
    clf = SemiSupervisedDPA(n_partitions=9).fit(there(X), there(Y))
    assert_agree(clf, there(TESTS), TESTS)
    assert products


def test_a_fitted_ensemble_takes_tensors_one_day_and_arrays_another(there):
    clf = DeepPartitionAggregation(n_partitions=9).fit(there(X), there(Y))
    clf.predict(there(TESTS))
    stored = pickle.dumps(clf)
    assert b"torch" not in stored
    assert_same(pickle.loads(stored), clf, TESTS, there(TESTS))
    result = clf.collective_certify(there(TESTS[:50]), 1, y=there(LABELS[900:950]))
    assert result == clf.collective_certify(TESTS[:50], 1, y=LABELS[900:950])


def test_tensors_of_the_host_are_read_in_place(products):
    clf = DeepPartitionAggregation(n_partitions=9).fit(torch.asarray(X), torch.asarray(Y))
    np.testing.assert_array_equal(clf.ballots(torch.asarray(TESTS)), clf.ballots(TESTS))
    assert not products
    assert np.shares_memory(array_api.on_host(torch.from_numpy(TESTS)), TESTS)


def test_scikit_learns_own_dispatch_changes_nothing():
    code = """
import numpy as np, sklearn, torch
from sklearn.datasets import load_digits
from certified_ensembles import DeepPartitionAggregation
from certified_ensembles._data import array_api
X, y = load_digits(return_X_y=True)
plain = DeepPartitionAggregation(n_partitions=9).fit(X[:900], y[:900])
with sklearn.config_context(array_api_dispatch=True):
    rows, labels = torch.from_numpy(X), torch.from_numpy(y)
    clf = DeepPartitionAggregation(n_partitions=9).fit(rows[:900], labels[:900])
    for hosts in ((1,), ()):
        array_api._HOST = hosts
        assert np.array_equal(clf.certify(rows[900:]), plain.certify(X[900:]))
"""
    env = os.environ | {"SCIPY_ARRAY_API": "1"}
    subprocess.run([sys.executable, "-c", code], env=env, check=True)


# ---------------------------------------------------------------- precision


def test_single_precision_stays_and_all_else_is_double(there, products):
    clf = DeepPartitionAggregation(n_partitions=9).fit(X, Y)
    for dtype in (torch.float32, torch.float64, torch.float16, torch.uint8):
        products.clear()
        clf.predict(there(TESTS).to(dtype))
        single = dtype == torch.float32
        assert {made[1] for made in products} == {torch.float32 if single else torch.float64}
    scores = [
        next(iter(clf._ask(clf._members.scores, there(TESTS.astype(dtype))))).dtype
        for dtype in (np.float32, np.float64)
    ]
    assert scores == [np.float32, np.float64]


def test_half_precision_by_the_back_door_is_refused(there):
    clf = DeepPartitionAggregation(n_partitions=9).fit(X, Y)
    tests = there(TESTS.astype(np.float32))
    with (
        torch.autocast(tests.device.type, torch.bfloat16),
        pytest.raises(RuntimeError, match=r"came out as torch.bfloat16.*outside of it"),
    ):
        clf.predict(tests)


def test_rows_that_numpy_cannot_hold_are_refused_with_the_remedy(there):
    clf = DeepPartitionAggregation(n_partitions=9)
    for rows in (there(X).to(torch.bfloat16), there(X).to_sparse()):
        with pytest.raises((TypeError, RuntimeError)) as error:
            clf.fit(rows, Y)
        assert "pass a dense array of a type that numpy knows" in error.value.__notes__[0]


def test_tensors_with_gradients_are_read_without_them(there):
    clf = DeepPartitionAggregation(n_partitions=9).fit(there(X).requires_grad_(), Y)
    assert_same(clf, clf, there(TESTS).requires_grad_(), TESTS)


@pytest.mark.parametrize(
    ("tests", "message"),
    [
        (TESTS[:5, :3], "X has 3 features"),
        (TESTS[:0], r"0 sample\(s\)"),
        (TESTS[0], "got 1D array"),
        (np.full((3, 64), np.nan), "Input X contains NaN"),
        (TESTS[:5].reshape(5, 8, 8), "X has 8 features"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_unusable_tensors_are_refused_like_arrays(there, tests, message):
    clf = DeepPartitionAggregation(n_partitions=9).fit(X, Y)
    with pytest.raises(ValueError, match=message) as plain:
        clf.predict(tests)
    with pytest.raises(ValueError, match=message) as error:
        clf.predict(there(tests))
    assert str(error.value) == str(plain.value)


# ---------------------------------------------------------------- one member, whoever is beside it


def twins(rng, n_rows, dtype):
    """Return rows that hold every number twice."""
    return np.repeat(rng.normal(size=(n_rows, 20)), 2, axis=1).astype(dtype)


def tied_voters(rng, n_voters, n_classes=6):
    """Return voters all of whose scores of twins are equal but for rounding."""
    voters = []
    for i in range(n_voters):
        head, base = RidgeClassifier(), rng.normal(size=(20, 2))
        head.classes_ = np.sort(rng.choice(n_classes, rng.integers(3, n_classes), replace=False))
        turns = rng.choice([1, -1], (len(head.classes_), 20))
        head.coef_ = np.stack(
            [
                np.concatenate([pair[::way] for pair, way in zip(base, own, strict=True)])
                for own in turns
            ]
        )
        head.intercept_ = np.zeros(len(head.classes_))
        voters.append(head if i % 11 else None)
    return voters


def hostile_voter(rng, n_classes):
    head = RidgeClassifier()
    head.classes_, head.intercept_ = np.arange(n_classes), np.full(n_classes, np.inf)
    head.coef_ = rng.choice([np.inf, -np.inf, np.nan, 1e300], (n_classes, 40))
    return head


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("stacked", [1024, 16])
def test_ballots_at_exact_ties_do_not_depend_on_the_other_members(
    there, dtype, stacked, monkeypatch
):
    monkeypatch.setattr(device, "_STACKED", stacked)
    rng = np.random.default_rng(3)
    voters, rows = tied_voters(rng, 100), there(twins(rng, 300, dtype))
    blocks = device.device_blocks(rows, 0, 300)
    for voter in voters:
        if voter is not None:
            voter.classes_ = 2 * voter.classes_
    even, every = 2 * np.arange(6), np.arange(11)
    before = linear_scores(voters, even, blocks, 300, None)
    ballots = linear_ballots(voters, even, blocks, 300, np.int16, None)
    ranked = np.sort(np.where(np.isfinite(before), before, -1e9), axis=2)
    gaps = np.diff(ranked, axis=2)
    assert (gaps[..., -1] < 1e-4).mean() > 0.9
    assert (gaps[..., -1] > 0).any()  # ties but for rounding
    for hostile in (0, 57, 99):
        others = list(voters)
        others[hostile], others[(hostile + 1) % 100] = hostile_voter(rng, 11), None
        kept = np.setdiff1d(np.arange(100), [hostile, (hostile + 1) % 100])
        after = linear_scores(others, every, blocks, 300, None)[:, :, ::2]
        assert after[:, kept].tobytes() == before[:, kept].tobytes()
        codes = linear_ballots(others, every, blocks, 300, np.int16, None)[:, kept]
        np.testing.assert_array_equal(
            np.where(codes < 0, -1, every[codes]),
            np.where(ballots[:, kept] < 0, -1, even[ballots[:, kept]]),
        )


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_ballots_at_exact_ties_do_not_depend_on_the_other_rows(there, dtype):
    rng = np.random.default_rng(4)
    voters, n = tied_voters(rng, 60), 2 * device._ROWS
    rows = twins(rng, n, dtype)

    def scores_of(tensor, stop):
        blocks = device.device_blocks(tensor, 0, stop)
        return linear_scores(voters, np.arange(6), blocks, stop, None).tobytes()

    first = scores_of(there(rows[:50]), 50)
    assert scores_of(there(rows), n)[: len(first)] == first
    hostile = rows.copy()
    hostile[50:] = rng.choice([1e30, -1e30], hostile[50:].shape)
    assert scores_of(there(hostile), n)[: len(first)] == first
    turned = there(np.ascontiguousarray(rows[:50].T)).T
    shifted = there(np.pad(rows[:50], ((1, 0), (3, 0))))[1:, 3:]
    assert not turned.is_contiguous()
    assert scores_of(turned, 50) == scores_of(shifted, 50) == first


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("estimator", KINDS, ids=str)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_inserted_rows_with_new_labels_change_no_other_ballots(there, products, estimator, dtype):
    rows, tests = X.astype(dtype), there(TESTS[:100].astype(dtype))
    names = np.array(list("bdfhjlnprt"))[Y]
    clf = DeepPartitionAggregation(estimator, 12).fit(there(rows), names)
    one = clf.classes_[clf.ballots(tests)]
    shapes = {made[2:] for made in products}
    rng = np.random.default_rng(0)
    for n_new in (1, 3):
        new = rng.integers(0, 17, (n_new, 64)).astype(dtype)
        new[0] = 1e18
        labels = np.append(names, np.array(list("ace"))[:n_new])
        after = clone(clf).fit(there(np.concatenate([rows, new])), labels)
        products.clear()
        two = after.classes_[after.ballots(tests)]
        assert {made[2:] for made in products} == shapes == {((16, 2048), (16, 72))}
        kept = np.setdiff1d(np.arange(12), after.partition_[-n_new:])
        assert len(kept) >= 12 - n_new
        np.testing.assert_array_equal(one[:, kept], two[:, kept])


@pytest.mark.parametrize("n_voters", [1, 50, 300])
def test_votes_are_the_ballots_counted(there, n_voters, monkeypatch):
    monkeypatch.setattr(device, "_STACKED", 128)
    monkeypatch.setattr(device, "_ROWS", 64)
    rng = np.random.default_rng(n_voters)
    voters = tied_voters(rng, n_voters)
    voters[n_voters // 2] = hostile_voter(rng, 6)
    blocks = device.device_blocks(there(twins(rng, 150, np.float64)), 0, 150)
    assert len(blocks) == 3
    ballots = linear_ballots(voters, np.arange(6), blocks, 150, np.int16, None)
    votes = linear_votes(voters, np.arange(6), blocks, 150, None)
    np.testing.assert_array_equal(votes, np.stack([(ballots == c).sum(1) for c in range(6)], 1))
    scores = linear_scores(voters, np.arange(6), blocks, 150, None)
    np.testing.assert_array_equal(ballots, voting.first_choices(scores))


def test_spans_of_test_rows_are_put_together_in_order(there, monkeypatch):
    clf = DeepPartitionAggregation(n_partitions=9).fit(X, Y)
    monkeypatch.setattr(device, "_ROWS", 64)
    monkeypatch.setattr(asking, "SPAN_BYTES", 1)
    assert_agree(clf, there(TESTS), TESTS)


def test_wide_rows_are_asked_in_smaller_blocks(there, products):
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(40, 2**14 + 1))
    y = np.arange(40) % 3
    clf = DeepPartitionAggregation(NearestCentroid(), 3, classes=range(3)).fit(rows, y)
    np.testing.assert_array_equal(clf.ballots(there(rows)), clf.ballots(rows))
    assert {made[2] for made in products} == {(8, 256)}
