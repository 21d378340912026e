"""Linear heads trained side by side are those of a loop."""

import pickle
import warnings

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from sklearn.base import clone
from sklearn.datasets import load_digits
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression, RidgeClassifier, SGDClassifier
from sklearn.neighbors import NearestCentroid
from sklearn.svm import LinearSVC
from sklearn.tree import DecisionTreeClassifier

from certified_ensembles import DeepPartitionAggregation
from certified_ensembles._linear.problems import LinearProblem
from certified_ensembles._linear.trainer import linear_trainer

EXACT = {"tol": 1e-10, "max_iter": 20_000}
HEADS = [
    RidgeClassifier(),
    RidgeClassifier(alpha=0.01, fit_intercept=False),
    LogisticRegression(**EXACT),
    LogisticRegression(C=0.05, fit_intercept=False, **EXACT),
    LogisticRegression(C=30.0, **EXACT),
    NearestCentroid(),
    LinearDiscriminantAnalysis(),
]
KINDS = [RidgeClassifier(), LogisticRegression(), NearestCentroid(), LinearDiscriminantAnalysis()]


def train(estimator, rows, labels):
    """Return clones of an estimator, trained together."""
    heads = [clone(estimator) for _ in rows]
    return linear_trainer(estimator)(heads, rows, labels)


def problem(rng, n_rows=None, n_features=None, n_classes=None):
    """Return rows and labels of one member: copies, constant features and odd labels too."""
    k = n_classes or rng.integers(2, 11)
    n = n_rows or rng.integers(2, 61)
    d = n_features or rng.integers(1, 201)
    y = rng.integers(0, k, n)
    y[:2] = 0, 1
    X = rng.normal(size=(10, d))[y] + rng.uniform(0.5, 2) * rng.normal(size=(n, d))
    X = X * rng.choice([0.1, 1.0, 5.0]) + rng.choice([0.0, 3.0])
    if rng.random() < 0.3:
        X = np.round(X)
    X[:, 0] += rng.normal(size=n)  # scikit-learn's centroids need some variance
    if rng.random() < 0.3:
        copies = rng.integers(0, n, n // 3)
        X[rng.integers(0, n, len(copies))] = X[copies]
    if rng.random() < 0.3 and d > 1:
        X[:, rng.integers(1, d)] = 1.0
    names = rng.choice([None, "letters", "negative"])
    if names == "letters":
        return X, np.array(list("klmnopqrst"))[y]
    return (X, 3 * y - 7) if names == "negative" else (X, y)


def large_problem(rng, n_rows, n_features, noise=1):
    """Return rows and labels of a size at which matrices are solved one by one."""
    X = rng.normal(size=(n_rows, n_features)) * rng.uniform(0.2, 2, n_features)
    return X, (X[:, :4] + noise * rng.normal(size=(n_rows, 4))).argmax(axis=1)


def outputs(head, X):
    """Return one score a class."""
    if isinstance(head, NearestCentroid):
        return -((X[:, None] - head.centroids_) ** 2).sum(axis=2)
    scores = head.decision_function(X)
    return np.column_stack([0 * scores, scores]) if scores.ndim == 1 else scores


def bits(head):
    """Return all that was learned, to the last bit."""
    return {
        k: (v.shape, v.dtype, v.tobytes()) if isinstance(v, np.ndarray) else repr(v)
        for k, v in vars(head).items()
    }


# ---------------------------------------------------------------- as scikit-learn


@pytest.mark.filterwarnings("ignore::UserWarning", "ignore::RuntimeWarning")
@pytest.mark.parametrize("estimator", HEADS, ids=str)
@pytest.mark.parametrize("seed", range(4))
def test_heads_are_those_of_a_loop_of_clones(estimator, seed):
    rng = np.random.default_rng(seed)
    problems = [problem(rng) for _ in range(12)]
    if isinstance(estimator, LinearDiscriminantAnalysis):  # which scikit-learn refuses
        problems = [(X, y) for X, y in problems if len(y) > 2 * len(np.unique(y))]
    n_clear = 0
    heads = train(estimator, *zip(*problems, strict=True))
    for head, (X, y) in zip(heads, problems, strict=True):
        reference, near = clone(estimator), 1e-7
        if isinstance(estimator, LogisticRegression):
            # L-BFGS stops where the objective falls no more, some digits before the weights
            # stand; its sibling is exact, and slow where there are many.
            n_classes = len(np.unique(y))
            small = X.shape[1] * (n_classes if n_classes > 2 else 1) <= 400
            near = 1e-5 if small else 1e-2
            if small:
                reference.set_params(solver="newton-cholesky", tol=1e-12)
        reference.fit(X, y)
        assert set(vars(head)) == set(vars(reference))
        for name, value in vars(reference).items():
            own = getattr(head, name)
            assert type(own) is type(value), name
            if isinstance(value, np.ndarray):
                assert (own.shape, own.dtype) == (value.shape, value.dtype), name
        for name in ("coef_", "centroids_", "means_", "within_class_std_dev_", "priors_"):
            if hasattr(reference, name):
                value = getattr(reference, name)
                scale = np.abs(value).max(initial=1e-3)
                np.testing.assert_allclose(getattr(head, name), value, near, near * scale)
        np.testing.assert_array_equal(head.classes_, reference.classes_)
        tests = rng.normal(size=(40, X.shape[1])) * X.std() + X.mean()
        scores = outputs(reference, tests)
        size = np.abs(scores).max()
        np.testing.assert_allclose(outputs(head, tests), scores, near, near * size)
        best = np.sort(scores, axis=1)
        clear = best[:, -1] - best[:, -2] > 3 * near * size
        n_clear += clear.sum()
        np.testing.assert_array_equal(head.predict(tests)[clear], reference.predict(tests)[clear])
    assert n_clear > 30 * len(problems)


@pytest.mark.parametrize("estimator", KINDS, ids=str)
@pytest.mark.parametrize("dtype", [np.float32, np.int64, np.uint8, bool])
def test_heads_see_values_and_not_types(estimator, dtype):
    rng = np.random.default_rng(5)
    X, y = (rng.integers(0, 2, (50, 12)), rng.integers(0, 3, 50))
    narrow, wide = train(estimator, [X.astype(dtype), X.astype(np.float64)], [y, y])
    assert bits(narrow) == bits(wide)


@pytest.mark.parametrize("estimator", KINDS, ids=str)
def test_trained_heads_are_ordinary_estimators(estimator):
    X, y = problem(np.random.default_rng(1), 40, 15, 4)
    head = train(estimator, [X], [y])[0]
    copy = pickle.loads(pickle.dumps(head))
    assert bits(copy) == bits(head)
    np.testing.assert_array_equal(copy.predict(X), head.predict(X))
    assert head.n_features_in_ == 15
    assert not hasattr(clone(head), "classes_")
    with pytest.raises(ValueError, match="15 features"):
        head.predict(X[:, :3])
    if hasattr(head, "predict_proba"):
        np.testing.assert_allclose(head.predict_proba(X).sum(axis=1), 1.0)
    if hasattr(head, "transform"):
        reference = clone(estimator).fit(X, y)
        np.testing.assert_allclose(
            np.abs(head.transform(X)), np.abs(reference.transform(X)), atol=1e-8
        )
        np.testing.assert_allclose(
            head.explained_variance_ratio_, reference.explained_variance_ratio_, atol=1e-10
        )


UNUSUAL = [
    RidgeClassifier(solver="lsqr"),
    RidgeClassifier(class_weight="balanced"),
    RidgeClassifier(positive=True, solver="lbfgs"),
    RidgeClassifier(alpha=np.ones(3)),
    RidgeClassifier(alpha=0.0),
    LogisticRegression(class_weight="balanced"),
    LogisticRegression(solver="liblinear"),
    LogisticRegression(l1_ratio=0.5, solver="saga"),
    LogisticRegression(warm_start=True),
    LogisticRegression(C=np.inf),
    LogisticRegression(C=-1.0),
    LogisticRegression(tol="small"),
    LogisticRegression(verbose=1),
    NearestCentroid(metric="manhattan"),
    NearestCentroid(shrink_threshold=0.1),
    NearestCentroid(priors="empirical"),
    LinearDiscriminantAnalysis(solver="lsqr", shrinkage="auto"),
    LinearDiscriminantAnalysis(store_covariance=True),
    LinearDiscriminantAnalysis(priors=[0.5, 0.5]),
    LinearDiscriminantAnalysis(n_components=1),
    LinearSVC(),
    SGDClassifier(),
    DecisionTreeClassifier(),
    type("Own", (RidgeClassifier,), {})(),
    type("Own", (LogisticRegression,), {})(),
]


@pytest.mark.parametrize("estimator", UNUSUAL, ids=str)
def test_what_is_unusual_is_left_to_clones(estimator):
    assert linear_trainer(estimator) is None


@pytest.mark.filterwarnings("ignore:self.within_class_std_dev_:UserWarning")
@pytest.mark.parametrize("estimator", KINDS, ids=str)
def test_rows_that_only_scikit_learn_takes_are_fitted_by_it(estimator):
    X, y = problem(np.random.default_rng(2), 40, 15, 3)
    frame = pd.DataFrame(X, columns=[f"f{i}" for i in range(15)])
    rows = [X, frame]
    if not isinstance(estimator, LinearDiscriminantAnalysis):  # which takes no sparse rows
        rows.append(sp.csr_array(X))
    heads = train(estimator, rows, [y] * len(rows))
    assert list(heads[1].feature_names_in_) == list(frame.columns)
    for head, own in zip(heads[1:], rows[1:], strict=True):
        own = own if isinstance(own, pd.DataFrame) or not hasattr(head, "centroids_") else X
        np.testing.assert_array_equal(head.predict(own), heads[0].predict(X))


# ---------------------------------------------------------------- one member, whoever is beside it


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("estimator", KINDS, ids=str)
@pytest.mark.parametrize("shape", [(21, 60), (45, 9), (50, 150), (33, 1), (24, 24)])
@pytest.mark.parametrize("n_classes", [2, 7])
def test_a_head_does_not_depend_on_who_is_trained_beside_it(estimator, shape, n_classes):
    rng = np.random.default_rng(shape[0])
    own = problem(rng, *shape, n_classes)
    alone = bits(train(estimator, [own[0]], [own[1]])[0])
    near = [problem(rng, n, shape[1]) for n in range(shape[0] - 6, shape[0] + 7)]
    far = [problem(rng, 3 * shape[0], shape[1]), problem(rng, shape[0], 2 * shape[1])]
    hostile = own[0].copy()
    hostile[0], hostile[1] = 1e300, -1e300
    hostile = [(hostile, own[1]), (np.where(rng.random(shape) < 0.5, 1e20, own[0]), own[1])]
    for others in (near, near[::-1] + far, [*hostile, *near[3:6]], near * 6):
        others = [(X, y) for X, y in others if len(y) > 2 * len(np.unique(y))]
        for place in (0, len(others) // 2, len(others)):
            both = [*others[:place], own, *others[place:]]
            heads = train(estimator, *zip(*both, strict=True))
            assert bits(heads[place]) == alone


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("estimator", [*KINDS, LogisticRegression(C=100)], ids=str)
@pytest.mark.parametrize("n_features", [230, 150])
def test_a_large_head_does_not_depend_on_who_is_trained_beside_it(estimator, n_features):
    rng = np.random.default_rng(n_features)
    own, *others = (large_problem(rng, 212, n_features, noise=0) for _ in range(4))
    # Of these, directions take longer to find: each member must renew its inverse in its own time.
    noise = [large_problem(rng, 212, n_features, noise=3) for _ in range(3)]
    hostile = own[0].copy()
    hostile[0] = 1e300
    alone = bits(train(estimator, [own[0]], [own[1]])[0])
    for company in (others, noise, [(hostile, own[1]), *noise]):
        heads = train(estimator, *zip(*[*company, own], strict=True))
        assert bits(heads[-1]) == alone


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("estimator", KINDS, ids=str)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_inserted_rows_with_new_labels_change_no_other_member(estimator, dtype):
    X, y = load_digits(return_X_y=True)
    X, tests = X[:900].astype(dtype), X[900:1000].astype(dtype)
    names = np.array(list("bdfhjlnprt"))[y[:900]]
    clf = DeepPartitionAggregation(estimator, 12).fit(X, names)
    rng = np.random.default_rng(0)
    for n_new in (1, 3):
        rows = rng.integers(0, 17, (n_new, 64)).astype(dtype)
        rows[0] = 1e18
        labels = np.array(list("ace"))[:n_new]
        after = clone(clf).fit(np.concatenate([X, rows]), np.append(names, labels))
        touched = set(after.partition_[-n_new:])
        one, two = clf.classes_[clf.ballots(tests)], after.classes_[after.ballots(tests)]
        for i, members in enumerate(zip(clf.estimators_, after.estimators_, strict=True)):
            if i not in touched:
                assert bits(members[0]) == bits(members[1])
                np.testing.assert_array_equal(one[:, i], two[:, i])


def test_width_of_a_chunk_changes_no_head():
    rng = np.random.default_rng(3)
    rows, labels = zip(*(problem(rng, n, 30, 5) for n in rng.integers(20, 40, 40)), strict=True)
    for estimator in KINDS:
        whole = [bits(head) for head in train(estimator, rows, labels)]
        for width in (1, 7, 39):
            parts = [slice(s, s + width) for s in range(0, 40, width)]
            heads = [h for part in parts for h in train(estimator, rows[part], labels[part])]
            assert [bits(head) for head in heads] == whole


# ---------------------------------------------------------------- logistic regression


def gradient(head, X, y):
    """Return the gradient of scikit-learn's objective, by weights and by intercepts."""
    scores = outputs(head, X)
    probability = np.exp(scores - scores.max(axis=1, keepdims=True))
    probability /= probability.sum(axis=1, keepdims=True)
    error = probability - (y[:, None] == head.classes_)
    error = error[:, 1:] if len(head.classes_) == 2 else error
    weights = error.T @ X + head.coef_ / head.C
    return np.hstack([weights, error.sum(axis=0)[:, None] * head.fit_intercept]) / len(X)


@pytest.mark.parametrize("tol", [1e-2, 1e-4, 1e-9])
@pytest.mark.parametrize("C", [1e-3, 1.0, 1e4])
@pytest.mark.parametrize("fit_intercept", [True, False])
def test_logistic_heads_meet_scikit_learns_own_criterion(tol, C, fit_intercept):
    rng = np.random.default_rng(7)
    estimator = LogisticRegression(C=C, tol=tol, fit_intercept=fit_intercept)
    problems = [problem(rng) for _ in range(20)]
    for head, (X, y) in zip(train(estimator, *zip(*problems, strict=True)), problems, strict=True):
        assert head.n_iter_[0] < 40
        size = max(1.0, np.abs(X).max())
        assert np.abs(gradient(head, X, y)).max() <= tol + 1e-14 * size**2 * C


def test_separable_rows_converge_without_a_warning():
    X = np.repeat([[-1.0, 0.0], [1.0, 0.0], [0.0, 2.0]], 8, axis=0)
    for y in (np.repeat([0, 1, 2], 8), np.repeat([0, 1, 1], 8)):
        head = train(LogisticRegression(C=1e8), [X], [y])[0]
        assert head.score(X, y) == 1
        assert np.isfinite(head.coef_).all()


def test_raw_pixels_converge_where_scikit_learn_gives_up():
    X, y = load_digits(return_X_y=True)
    rows, labels = [X[:60], X[60:130]], [y[:60], y[60:130]]
    with pytest.warns(ConvergenceWarning):
        clone(LogisticRegression(tol=1e-8)).fit(rows[0], labels[0])
    for head, X_own, y_own in zip(
        train(LogisticRegression(tol=1e-8), rows, labels), rows, labels, strict=True
    ):
        assert np.abs(gradient(head, X_own, y_own)).max() <= 1e-8


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("n_rows", [30, 80])
def test_small_features_beside_huge_ones_are_not_lost(n_rows):
    rng = np.random.default_rng(9)
    X, y = rng.normal(size=(n_rows, 50)), rng.integers(0, 3, n_rows)
    X[:, :3] *= 1e9
    estimator = LogisticRegression(tol=1e-3, max_iter=500)
    head, reference = train(estimator, [X], [y])[0], clone(estimator).fit(X, y)
    good = np.abs(gradient(head, X, y)).max() <= 1e-3
    assert good or np.array_equal(head.coef_, reference.coef_)


def test_too_few_iterations_end_as_in_scikit_learn():
    X, y = problem(np.random.default_rng(4), 40, 60, 5)
    estimator = LogisticRegression(max_iter=2)
    with pytest.warns(ConvergenceWarning):
        reference = clone(estimator).fit(X, y)
    with pytest.warns(ConvergenceWarning):
        head = train(estimator, [X], [y])[0]
    np.testing.assert_array_equal(head.coef_, reference.coef_)
    np.testing.assert_array_equal(head.n_iter_, reference.n_iter_)


@pytest.mark.parametrize("n_rows", [30, 80])
@pytest.mark.parametrize("share", [1e-5, 1e-7])
def test_discriminants_of_almost_collinear_features_are_resolved(n_rows, share):
    rng = np.random.default_rng(2)
    X, y = rng.normal(size=(n_rows, 50)), rng.integers(0, 3, n_rows)
    X[:, 1] = X[:, 0] + share * X[:, 1]
    X[::2] = X[0] + share * (X[::2] - X[0])
    estimator = LinearDiscriminantAnalysis(tol=1e-10)
    head, reference = train(estimator, [X], [y])[0], clone(estimator).fit(X, y)
    np.testing.assert_allclose(head.decision_function(X), reference.decision_function(X), 1e-4)


@pytest.mark.parametrize("shape", [(40, 90), (90, 40), (260, 300)])
@pytest.mark.parametrize("smallest", [1e-3, 1e-4, 3e-5])
def test_discriminants_keep_directions_of_all_lengths(shape, smallest, monkeypatch):
    monkeypatch.setattr(LinearProblem, "fit_alone", None)  # products do
    rng = np.random.default_rng(3)
    n = min(shape)
    left, right = (np.linalg.qr(rng.normal(size=(m, n)))[0] for m in shape)
    X = left * np.geomspace(1, smallest, n) @ right.T
    y = rng.integers(0, 3, shape[0])
    X += 0.1 * rng.normal(size=(3, shape[1]))[y]
    head = train(LinearDiscriminantAnalysis(), [X], [y])[0]
    reference = LinearDiscriminantAnalysis().fit(X, y)
    tests = X + 1e-3 * rng.normal(size=shape)
    expected = reference.decision_function(tests)
    size = np.abs(expected).max()
    np.testing.assert_allclose(head.decision_function(tests), expected, 1e-6, 1e-6 * size)


@pytest.mark.parametrize("shape", [(450, 500), (500, 450), (203, 2000), (2000, 203)])
@pytest.mark.parametrize(
    "estimator", [RidgeClassifier(), LogisticRegression(tol=1e-6, C=0.1)], ids=str
)
def test_large_heads_are_those_of_scikit_learn(estimator, shape, monkeypatch):
    monkeypatch.setattr(LinearProblem, "fit_alone", None)  # ours to the end
    rng = np.random.default_rng(4)
    X, y = large_problem(rng, *shape)
    head = train(estimator, [X], [y])[0]
    reference = clone(estimator)
    if isinstance(estimator, LogisticRegression):
        reference.set_params(tol=1e-8, max_iter=10_000)
    reference.fit(X, y)
    near = 1e-4 if isinstance(estimator, LogisticRegression) else 1e-9
    for name in ("coef_", "intercept_"):
        value = getattr(reference, name)
        np.testing.assert_allclose(getattr(head, name), value, near, near * np.abs(value).max())


# ---------------------------------------------------------------- hostile rows


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("estimator", KINDS, ids=str)
@pytest.mark.parametrize("value", [1e30, 1e100, 1e160, 1.7e308])
@pytest.mark.parametrize("n_hostile", [1, 2])
@pytest.mark.parametrize("shape", [(40, 90), (60, 7), (210, 230)])
def test_hostile_rows_do_not_stop_the_training(estimator, value, n_hostile, shape):
    rng = np.random.default_rng(0)
    X, y = problem(rng, *shape, 3)
    own = bits(train(estimator, [X], [y])[0])
    bad = X.copy()
    bad[:n_hostile] = value
    heads = train(estimator, [bad, X, bad], [y, y, y % 2 if y.dtype.kind == "i" else y])
    assert bits(heads[1]) == own
    for head in heads[::2]:
        with np.errstate(all="ignore"):
            assert hasattr(head, "classes_")
            if hasattr(head, "coef_"):
                assert np.isfinite(head.coef_).all()


@pytest.mark.parametrize("seed", range(12))
def test_rows_whose_sums_overflow_do_not_hang_the_training(seed):
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(int(rng.integers(10, 70)), int(rng.integers(1, 12))))
    hostile = np.zeros((2, X.shape[1]))
    hostile[0], hostile[1, rng.integers(X.shape[1])] = 1.7e308, 1.7e308
    y = np.append(np.arange(len(X)) % 3, [0, 1])
    [head] = train(RidgeClassifier(), [np.vstack([X, hostile])], [y])
    assert np.isfinite(head.coef_).all()


@pytest.mark.parametrize("estimator", KINDS, ids=str)
def test_rows_that_are_all_the_same_can_be_learned(estimator):
    X, y = np.ones((12, 5)), np.array([3, 4, 4] * 4)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        head = train(estimator, [X], [y])[0]
    if not isinstance(estimator, NearestCentroid):
        assert set(head.predict(X)) == {4}
