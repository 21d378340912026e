"""Linear regressors trained side by side, and asked together, are those of a loop."""

import numpy as np
import pytest
import scipy.sparse as sp
from sklearn.base import clone
from sklearn.ensemble import ExtraTreesRegressor, RandomForestRegressor
from sklearn.linear_model import (
    BayesianRidge,
    ElasticNet,
    HuberRegressor,
    Lasso,
    LassoLars,
    LinearRegression,
    OrthogonalMatchingPursuit,
    QuantileRegressor,
    Ridge,
    RidgeCV,
    SGDRegressor,
    TheilSenRegressor,
)
from sklearn.svm import LinearSVR
from sklearn.tree import DecisionTreeRegressor, ExtraTreeRegressor

from certified_ensembles import DeepPartitionRegressor
from certified_ensembles._data import array_api
from certified_ensembles._linear.scoring import is_linear, linear_values
from certified_ensembles._linear.trainer import linear_trainer
from certified_ensembles._members import trees
from certified_ensembles.certificates import lower_median, median_radius

HEADS = [
    Ridge(),
    Ridge(0.01, fit_intercept=False),
    LinearRegression(),
    LinearRegression(fit_intercept=False),
]
RNG = np.random.default_rng(0)


def problem(rng, n=None, d=None):
    """Rows and targets of one member: few and many of them, copies, dependent columns."""
    n, d = n or rng.integers(1, 60), d or rng.integers(1, 80)
    X = rng.normal(size=(n, d)) * rng.choice([0.1, 1.0, 30.0]) + rng.choice([0.0, 3.0])
    if d > 2 and rng.random() < 0.3:
        X[:, 2] = X[:, 0]
    return X, rng.normal(size=n) * 10


def train(estimator, problems):
    heads = [clone(estimator) for _ in problems]
    return linear_trainer(estimator)(heads, *zip(*problems, strict=True))


def bits(head):
    return {k: np.asarray(v).tobytes() for k, v in vars(head).items() if k != "solver_"}


@pytest.mark.parametrize("estimator", HEADS, ids=str)
def test_heads_are_those_of_a_loop_of_clones(estimator):
    problems = [problem(RNG) for _ in range(30)]
    for head, (X, y) in zip(train(estimator, problems), problems, strict=True):
        reference = clone(estimator).fit(X, y)
        assert set(vars(head)) == set(vars(reference))
        for name, value in vars(reference).items():
            assert np.shape(getattr(head, name)) == np.shape(value), name
        tests = RNG.normal(size=(20, X.shape[1]))
        expected = reference.predict(tests)
        scale = np.abs(expected).max() + 1
        np.testing.assert_allclose(head.predict(tests), expected, 1e-6, 1e-6 * scale)


@pytest.mark.parametrize("estimator", HEADS, ids=str)
def test_a_head_does_not_depend_on_who_is_trained_beside_it(estimator):
    own = problem(RNG, 23, 9)
    alone = bits(train(estimator, [own])[0])
    hostile = own[0].copy()
    hostile[0] = 1e300
    targets = own[1].copy()
    targets[1] = 1e307
    near = [problem(RNG, n, 9) for n in range(18, 30)] + [problem(RNG, 60, 30)]
    for others in (near, [(hostile, own[1]), (own[0], targets), *near[:4]]):
        for place in (0, 3, len(others)):
            heads = train(estimator, [*others[:place], own, *others[place:]])
            assert bits(heads[place]) == alone


@pytest.mark.parametrize(
    "estimator",
    [
        *HEADS,
        RidgeCV(),
        Lasso(0.1),
        ElasticNet(0.1),
        LassoLars(0.1),
        BayesianRidge(),
        HuberRegressor(max_iter=500),
        OrthogonalMatchingPursuit(n_nonzero_coefs=2),
        QuantileRegressor(alpha=0.01),
        SGDRegressor(max_iter=50, tol=None, random_state=0),
        TheilSenRegressor(max_subpopulation=30, random_state=0),
        LinearSVR(max_iter=10_000, random_state=0),
    ],
    ids=str,
)
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_products_answer_what_members_predict(estimator):
    members = [clone(estimator).fit(RNG.normal(size=(30, 5)), RNG.normal(size=30)) for _ in "abc"]
    members.insert(1, None)
    assert is_linear(members)
    blocks = [RNG.normal(size=(256, 5)) for _ in range(2)]
    values = linear_values(members, blocks, 512, None)
    assert np.isnan(values[:, 1]).all()
    for j in (0, 2, 3):
        expected = members[j].predict(np.vstack(blocks))
        np.testing.assert_allclose(values[:, j], expected, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(
        linear_values(members, [sp.csr_matrix(block) for block in blocks], 512, 2),
        values,
        atol=1e-12,
    )
    single = linear_values(members, [block.astype(np.float32) for block in blocks], 512, None)
    np.testing.assert_allclose(single, values, atol=1e-3)


def test_infinite_weights_are_no_numbers_or_infinite_and_reach_nobody_else():
    members = [Ridge().fit(RNG.normal(size=(9, 3)), RNG.normal(size=9)) for _ in range(300)]
    block = [RNG.normal(size=(256, 3))]
    clean = linear_values(members, block, 256, None)
    members[7].coef_ = np.array([np.inf, -np.inf, np.nan])
    spoilt = linear_values(members, block, 256, None)
    assert np.isnan(spoilt[:, 7]).all()
    np.testing.assert_array_equal(np.delete(spoilt, 7, axis=1), np.delete(clean, 7, axis=1))


@pytest.mark.parametrize(
    "tree",
    [
        DecisionTreeRegressor(max_depth=3),
        ExtraTreeRegressor(),
        RandomForestRegressor(5),
        ExtraTreesRegressor(5, bootstrap=True),
    ],
    ids=str,
)
def test_checked_rows_get_the_answers_of_trees_and_forests_to_the_bit(tree):
    X, y = RNG.random((120, 3)), RNG.normal(size=120)
    tree = clone(tree).set_params(random_state=1).fit(X, y)
    (asked,), (((_, rows),),) = trees.with_checked_rows([tree], [[(None, X)]])
    assert asked is not tree
    np.testing.assert_array_equal(asked.predict(rows), tree.predict(X))


@pytest.mark.filterwarnings("ignore:The certificate is weaker")
@pytest.mark.parametrize("device", ["cpu", "cuda"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_tensors_are_answered_where_they_are(monkeypatch, device, dtype):
    torch = pytest.importorskip("torch", reason="needs the extra [torch]")
    if device == "cuda" and not torch.cuda.is_available():
        pytest.skip("torch finds no CUDA device here")
    monkeypatch.setattr(array_api, "_HOST", ())
    X, y = RNG.normal(size=(300, 5)), RNG.normal(size=300)
    reg = DeepPartitionRegressor(n_partitions=250).fit(X, y)
    rows = RNG.normal(size=(70, 5)).astype(dtype)
    tensor = torch.asarray(rows, device=device)
    near = 1e-3 if dtype == np.float32 else 1e-10
    answers = reg.answers(tensor)
    np.testing.assert_allclose(answers, reg.answers(rows), atol=near)
    np.testing.assert_array_equal(reg.predict(tensor), lower_median(answers))
    radius = reg.certify(tensor, lower=np.linspace(-1, 0, 70)).radius
    np.testing.assert_array_equal(radius, median_radius(answers, np.linspace(-1, 0, 70), np.inf))
