"""Members that go row by row answer a row alike, to the bit, in any company."""

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from sklearn.base import clone
from sklearn.calibration import CalibratedClassifierCV
from sklearn.compose import ColumnTransformer, make_column_transformer
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis, QuadraticDiscriminantAnalysis
from sklearn.dummy import DummyClassifier
from sklearn.ensemble import (
    AdaBoostClassifier,
    BaggingClassifier,
    ExtraTreesClassifier,
    ExtraTreesRegressor,
    GradientBoostingClassifier,
    GradientBoostingRegressor,
    HistGradientBoostingClassifier,
    HistGradientBoostingRegressor,
    RandomForestClassifier,
    RandomForestRegressor,
    StackingClassifier,
    VotingClassifier,
)
from sklearn.feature_extraction.text import (
    CountVectorizer,
    HashingVectorizer,
    TfidfTransformer,
    TfidfVectorizer,
)
from sklearn.feature_selection import SelectKBest, SelectPercentile, VarianceThreshold
from sklearn.gaussian_process import GaussianProcessClassifier
from sklearn.gaussian_process.kernels import DotProduct
from sklearn.impute import SimpleImputer
from sklearn.linear_model import (
    ElasticNet,
    Lasso,
    LinearRegression,
    LogisticRegression,
    LogisticRegressionCV,
    PassiveAggressiveClassifier,
    Perceptron,
    Ridge,
    RidgeClassifier,
    RidgeClassifierCV,
    SGDClassifier,
    SGDRegressor,
)
from sklearn.model_selection import (
    FixedThresholdClassifier,
    GridSearchCV,
    RandomizedSearchCV,
    TunedThresholdClassifierCV,
)
from sklearn.multiclass import OneVsOneClassifier, OneVsRestClassifier, OutputCodeClassifier
from sklearn.naive_bayes import (
    BernoulliNB,
    CategoricalNB,
    ComplementNB,
    GaussianNB,
    MultinomialNB,
)
from sklearn.neighbors import (
    KNeighborsClassifier,
    KNeighborsRegressor,
    RadiusNeighborsClassifier,
    RadiusNeighborsRegressor,
)
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import (
    FunctionTransformer,
    MaxAbsScaler,
    MinMaxScaler,
    OneHotEncoder,
    OrdinalEncoder,
    RobustScaler,
    StandardScaler,
)
from sklearn.semi_supervised import LabelPropagation, LabelSpreading, SelfTrainingClassifier
from sklearn.svm import SVC, LinearSVC, LinearSVR, NuSVC
from sklearn.tree import (
    DecisionTreeClassifier,
    DecisionTreeRegressor,
    ExtraTreeClassifier,
    ExtraTreeRegressor,
)

from certified_ensembles import DeepPartitionAggregation
from certified_ensembles._data import block_map
from certified_ensembles._data.containers import as_table
from certified_ensembles._members import asking, panels, shapes
from certified_ensembles._members.answers import codes_of
from certified_ensembles._members.panels import Panels, are_checked, in_panels, panel_product
from certified_ensembles._members.shapes import fewest_rows, leaves_rows_alone

RNG = np.random.default_rng(0)
X = RNG.integers(0, 4, (700, 9)) * RNG.choice([1.0, 0.1, 1 / 3], 9)
Y = RNG.integers(0, 3, 700)
WORDS = np.array([f"w{j}" for j in range(60)])
TEXTS = np.array([" ".join(RNG.choice(WORDS, 15)) for _ in range(700)], dtype=object)
COUNTS = CountVectorizer().fit_transform(TEXTS).astype(float)
FRAME = pd.DataFrame(X, columns=list("abcdefghi")).assign(who=RNG.choice(list("xyz"), 700))

TREES = [
    DecisionTreeClassifier(),
    ExtraTreeClassifier(),
    RandomForestClassifier(5),
    ExtraTreesClassifier(5),
    GradientBoostingClassifier(n_estimators=4),
    HistGradientBoostingClassifier(max_iter=4, min_samples_leaf=3),
    DecisionTreeRegressor(),
    ExtraTreeRegressor(),
    RandomForestRegressor(5),
    ExtraTreesRegressor(5),
    GradientBoostingRegressor(n_estimators=4),
    HistGradientBoostingRegressor(max_iter=4, min_samples_leaf=3),
]
STEPS = [
    MinMaxScaler(),
    MaxAbsScaler(),
    RobustScaler(),
    StandardScaler(),
    SimpleImputer(),
    VarianceThreshold(),
    SelectKBest(k=5),
    SelectPercentile(percentile=60),
]
SPARSE = [
    MultinomialNB(),
    ComplementNB(),
    BernoulliNB(),
    LogisticRegression(),
    RidgeClassifier(),
    SGDClassifier(max_iter=20, tol=None),
    Perceptron(),
    LinearSVC(),
]
SPARSE_REGRESSORS = [
    Ridge(),
    LinearRegression(),
    Lasso(alpha=0.01),
    ElasticNet(alpha=0.01),
    SGDRegressor(max_iter=20, tol=None),
    LinearSVR(),
]
ALONE = [
    DummyClassifier(),
    AdaBoostClassifier(n_estimators=4),
    *[SVC(kernel=kernel) for kernel in ("linear", "poly", "rbf", "sigmoid")],
    SVC(break_ties=True, decision_function_shape="ovr"),
    NuSVC(nu=0.1),
]
MULTIPLY = [
    *SPARSE,
    LinearDiscriminantAnalysis(),
    LogisticRegressionCV(Cs=2, cv=2, max_iter=20, l1_ratios=(0.0,), scoring="accuracy"),
    MLPClassifier((20, 30), max_iter=5),
    MLPClassifier((9,), activation="tanh", max_iter=5),
    QuadraticDiscriminantAnalysis(solver="eigen", shrinkage=0.1),
    RidgeClassifierCV(),
    GaussianProcessClassifier(max_iter_predict=5),
    LabelPropagation(),
    LabelSpreading(gamma=0.5),
]
AROUND = [
    AdaBoostClassifier(LogisticRegression(), n_estimators=3),
    BaggingClassifier(n_estimators=3),
    BaggingClassifier(LogisticRegression(), n_estimators=3, max_features=0.7),
    CalibratedClassifierCV(cv=2),
    CalibratedClassifierCV(GaussianNB(), method="isotonic", cv=2),
    GridSearchCV(make_pipeline(StandardScaler(), RidgeClassifier()), {}, cv=2),
    RandomizedSearchCV(RidgeClassifier(), {"alpha": [1.0]}, n_iter=1, cv=2),
    OneVsOneClassifier(LogisticRegression()),
    OneVsRestClassifier(LinearSVC()),
    OutputCodeClassifier(LogisticRegression(), random_state=0),
    SelfTrainingClassifier(GaussianNB()),
    StackingClassifier([("a", GaussianNB()), ("b", LogisticRegression())], cv=2),
    VotingClassifier([("a", GaussianNB()), ("b", LogisticRegression())]),
    VotingClassifier([("a", GaussianNB()), ("b", LogisticRegression())], voting="soft"),
]
NEIGHBORS = [
    KNeighborsClassifier(),
    KNeighborsClassifier(algorithm="brute"),
    KNeighborsClassifier(3, algorithm="kd_tree"),
    KNeighborsClassifier(algorithm="brute", weights="distance"),
    KNeighborsRegressor(algorithm="brute"),
    KNeighborsRegressor(3, weights="distance"),
    RadiusNeighborsRegressor(2.0, algorithm="brute", weights="distance"),
    RadiusNeighborsClassifier(2.0, algorithm="brute", outlier_label="most_frequent"),
    RadiusNeighborsClassifier(2.0, outlier_label="most_frequent"),
]
SPARSE_NEIGHBORS = [
    KNeighborsClassifier(),
    KNeighborsClassifier(6, weights="distance"),
    KNeighborsRegressor(3, weights="distance"),
    RadiusNeighborsRegressor(6.0, weights="distance"),
    RadiusNeighborsClassifier(6.0, outlier_label="most_frequent"),
]
BINARY = [
    FixedThresholdClassifier(LogisticRegression()),
    TunedThresholdClassifierCV(GaussianNB(), cv=2),
    *[clone(clf) for clf in (*SPARSE, *MULTIPLY[-4:], AROUND[3], AROUND[7])],
]
ROWS = [
    *[(clf, X) for clf in TREES],
    (CategoricalNB(min_categories=10), np.round(X)),
    (GaussianNB(), X),
    *[(make_pipeline(step, clf), X) for step in STEPS for clf in (GaussianNB(), TREES[0])],
    (make_pipeline(OrdinalEncoder(), TREES[0]), X),
    *[(make_pipeline(CountVectorizer(), clf), TEXTS) for clf in SPARSE + SPARSE_REGRESSORS],
    *[
        (make_pipeline(TfidfVectorizer(), step, clf), TEXTS)
        for step in (MaxAbsScaler(), SelectKBest(k=30))
        for clf in (LogisticRegression(), RidgeClassifier())
    ],
    (make_pipeline(HashingVectorizer(n_features=64), LinearSVC()), TEXTS),
    # Counts of words are whole numbers: many distances are equal.
    *[(make_pipeline(CountVectorizer(), clf), TEXTS) for clf in SPARSE_NEIGHBORS],
    *[(clf, COUNTS) for clf in [*SPARSE_NEIGHBORS, SVC(kernel="linear"), SVC(), *TREES[:5]]],
    (make_pipeline(CountVectorizer(), TfidfTransformer(), RidgeClassifier()), TEXTS),
    *[(clf, X) for clf in ALONE + MULTIPLY + AROUND + NEIGHBORS],
    *[(make_pipeline(StandardScaler(), clf), X) for clf in MULTIPLY[2:5]],
    (
        make_pipeline(
            make_column_transformer(
                (OneHotEncoder(handle_unknown="ignore", sparse_output=False), ["who"]),
                remainder="passthrough",
            ),
            GaussianNB(),
        ),
        FRAME,
    ),
]


pytestmark = [
    pytest.mark.filterwarnings("ignore:y contains no unlabeled samples:UserWarning"),
    pytest.mark.filterwarnings("ignore:The default value:FutureWarning"),
    pytest.mark.filterwarnings("ignore:.*use_legacy_attributes:FutureWarning"),
    # Radius neighbours put NaN, for rows without any, into the type of whole targets.
    pytest.mark.filterwarnings("ignore:invalid value encountered in cast:RuntimeWarning"),
    pytest.mark.filterwarnings("ignore:One or more samples have no neighbors:UserWarning"),
]


def answers(member, rows):
    names = ("predict", "predict_proba", "decision_function")
    return [getattr(member, name)(rows) for name in names if hasattr(member, name)]


def rows_of(data, index):
    return data.iloc[index] if hasattr(data, "iloc") else data[index]


@pytest.mark.parametrize(("estimator", "data"), ROWS, ids=[str(clf)[:60] for clf, _ in ROWS])
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_a_row_is_answered_by_the_same_bits_in_blocks_of_any_length(estimator, data):
    fewest = fewest_rows(estimator)
    assert fewest is not None
    member = clone(estimator).fit(rows_of(data, np.arange(300)), Y[:300])
    assert_same_bits_in_any_company(member, data, fewest)


@pytest.mark.parametrize("estimator", BINARY, ids=str)
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_a_row_is_answered_by_the_same_bits_where_the_sign_decides(estimator):
    member = clone(estimator).fit(X[:300], Y[:300] > 0)
    assert_same_bits_in_any_company(member, X, fewest_rows(estimator))


def assert_same_bits_in_any_company(member, data, fewest):
    member = in_panels(member, checked=data is X)
    forms = [np.ascontiguousarray, np.asfortranarray] if data is X else [lambda rows: rows]
    for form in forms:  # members get rows in one layout, but a step may turn it
        whole = np.minimum(np.arange(-(-700 // fewest) * fewest), 699)
        together = answers(member, form(rows_of(data, whole)))
        for n in (1, 2, 3, 5, 8, 9, 63, 64, 257, 600):
            start = int(RNG.integers(0, 701 - n))
            size = -(-n // fewest) * fewest
            index = np.minimum(np.arange(start, start + size), start + n - 1)
            alone = answers(member, form(rows_of(data, index)))
            for one, whole in zip(alone, together, strict=True):
                assert one[:n].tobytes() == whole[start : start + n].tobytes()


def test_every_entry_of_the_list_is_tried():
    known = shapes._ANY_ROWS | shapes._SPARSE_ROWS | shapes._TO_SPARSE | shapes._CELL_BY_CELL
    known |= set(panels._WEIGHTS) | set(panels._INNER) | set(panels._PROPAGATE)
    tried = {PassiveAggressiveClassifier}  # it answers by what the others inherit, and warns
    for estimator in [estimator for estimator, _ in ROWS] + BINARY:
        steps = (
            [step for _, step in estimator.steps] if hasattr(estimator, "steps") else [estimator]
        )
        for step in steps:
            tried.add(type(step))
            if isinstance(step, ColumnTransformer):
                tried |= {type(part[1]) for part in step.transformers}
    assert known <= tried


@pytest.mark.parametrize(
    "estimator",
    [
        KNeighborsClassifier(weights=np.reciprocal),
        KNeighborsClassifier(metric="cosine"),
        SVC(kernel=lambda a, b: a @ b.T),
        BaggingClassifier(SVC(kernel=lambda a, b: a @ b.T)),
        GaussianProcessClassifier(DotProduct()),
        LabelPropagation(kernel="knn"),
        DummyClassifier(strategy="stratified"),
        make_pipeline(FunctionTransformer(), DecisionTreeClassifier()),
        make_pipeline(CountVectorizer(tokenizer=str.split), MultinomialNB()),
        make_pipeline(CountVectorizer(), StandardScaler(with_mean=False), MultinomialNB()),
        make_pipeline(CountVectorizer(), SVC()),
        type("Own", (DecisionTreeClassifier,), {})(),
    ],
)
def test_what_is_not_known_to_go_row_by_row_keeps_blocks_of_one_shape(estimator):
    assert fewest_rows(estimator) is None


def test_members_that_go_row_by_row_are_asked_once():
    asked = []

    class Tree(DecisionTreeClassifier):
        def predict(self, X, check_input=True):
            asked.append(len(X))
            return super().predict(X, check_input)

    clf = DeepPartitionAggregation(DecisionTreeClassifier(), 3, classes=range(3)).fit(X, Y)
    for member in clf.estimators_:
        member.__class__ = Tree
    whole = clf.ballots(X)
    assert asked == [700] * 3
    asked.clear()
    np.testing.assert_array_equal(clf.ballots(X[5:6]), whole[5:6])
    assert asked == [1] * 3


# ---------------------------------------------------------------- panels


@pytest.mark.parametrize("estimator", [*MULTIPLY, *AROUND], ids=str)
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_members_answer_in_panels_what_they_answer(estimator):
    member = clone(estimator).fit(X[:300], Y[:300])
    before = vars(member).copy()
    pairs = [
        *zip(answers(in_panels(member), X), answers(member, X), strict=True),
        *zip(answers(in_panels(member, checked=True), X), answers(member, X), strict=True),
    ]
    for own, expected in pairs:
        if expected.dtype.kind == "f":
            np.testing.assert_allclose(own, expected, rtol=1e-8, atol=1e-9)
        else:
            assert (own == expected).mean() > 0.99  # exact ties may go another way
    assert vars(member).keys() == before.keys()
    kept = ("coef_", "coefs_", "feature_log_prob_", "rotations_", "estimators_", "estimator_")
    assert all(vars(member)[name] is before[name] for name in kept if name in before)


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize(
    "shape", [(9,), (9, 1), (9, 2), (64, 10), (9, 100), (57, 300), (300, 300), (784, 17)]
)
def test_a_product_in_panels_does_not_depend_on_its_rows(shape, order):
    rows = RNG.normal(size=(300, shape[0]))
    weights = np.asarray(RNG.normal(size=shape), order=order)
    whole = panel_product(rows, weights)
    np.testing.assert_allclose(whole, rows @ weights, atol=1e-11)
    for n in (1, 7, 8, 9, 250):
        place = RNG.permutation(300)[:n]
        assert panel_product(rows[place], weights).tobytes() == whole[place].tobytes()


@pytest.mark.parametrize("form", [np.asarray, sp.csr_array, sp.csr_matrix])
@pytest.mark.parametrize("estimator", [*SPARSE, GaussianNB(), MLPClassifier(max_iter=3)], ids=str)
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_rows_that_members_refuse_are_not_taken_for_checked(estimator, form):
    if form is not np.asarray and isinstance(estimator, GaussianNB):
        return  # it refuses sparse rows
    pipeline = make_pipeline(FunctionTransformer(), estimator)  # not asked by stacked products
    for clf in (estimator, pipeline):
        dpa = DeepPartitionAggregation(clf, 2, classes=range(3)).fit(form(X[:200]), Y[:200])
        members = dpa.estimators_
        assert are_checked(members, [[(None, form(X))]])
        for hostile in (np.nan, np.inf):
            rows = X[:20].copy()
            rows[3, 4] = hostile
            assert not are_checked(members, [[(None, form(rows))]])
            with pytest.raises(ValueError, match=r"NaN|infinity"):
                dpa.predict(form(rows))
    assert not are_checked(members, [[(None, form(X[:, :5]))]])
    assert not are_checked(members, [[(None, form(X.astype(np.float32)))]])


def test_what_is_computed_of_weights_multiplies_in_panels_too():
    weights = RNG.normal(size=(9, 3)).view(Panels)
    for own in (weights, (1 + np.exp(weights.T)).T, weights * np.arange(3)):
        assert type(own) is Panels
        for product in (X @ own, np.dot(X, own), np.matmul(X, own)):
            assert type(product) is np.ndarray
            assert product.tobytes() == panel_product(X, own.view(np.ndarray)).tobytes()
    total = np.zeros((700, 3))
    total += weights[0]
    assert type(total) is np.ndarray


def test_rows_are_copied_where_a_step_may_write():
    assert leaves_rows_alone(make_pipeline(StandardScaler(), SVC()))
    assert not leaves_rows_alone(make_pipeline(StandardScaler(copy=False), SVC()))
    inner = make_pipeline(StandardScaler(copy=False), SVC())
    assert not leaves_rows_alone(VotingClassifier([("a", GaussianNB()), ("b", inner)]))


def test_blocks_of_many_rows_are_of_one_size_and_bounded(monkeypatch):
    monkeypatch.setattr(block_map, "MOST_ROWS", 100)
    clf = DeepPartitionAggregation(SVC(), 3, classes=range(3)).fit(X[:200], Y[:200])
    whole = clf.ballots(X)
    monkeypatch.undo()
    np.testing.assert_array_equal(clf.ballots(X), whole)
    sizes = [len(block) for block in block_map.padded_blocks(as_table(X), 0, 700, 8)]
    assert sizes == [704]
    monkeypatch.setattr(block_map, "MOST_ROWS", 100)
    sizes = [len(block) for block in block_map.padded_blocks(as_table(X), 3, 700, 8)]
    assert sizes == [104] * 7


@pytest.mark.parametrize("n_rows", [1, 700])
@pytest.mark.parametrize("estimator", [SVC(), RidgeClassifier()], ids=str)
def test_bars_count_members_or_spans(n_rows, estimator, monkeypatch, capsys):
    clf = DeepPartitionAggregation(estimator, 3, classes=range(3)).fit(X, Y)
    monkeypatch.setattr(asking, "_SPAN_BYTES", 256 * 100)
    clf.predict(X[:n_rows])
    assert capsys.readouterr().err == ""
    clf.set_params(verbose=2).predict(X[:n_rows])
    said = capsys.readouterr().err
    if n_rows == 700:
        assert "3/3" in said
        assert "span" in said
    else:  # linear members answer one row before a bar could be drawn
        assert ("member" in said) == isinstance(estimator, SVC)


@pytest.mark.parametrize(
    "classes", [np.arange(3), np.arange(16), np.arange(3, 40), np.array(["a", "b", "d"])]
)
def test_labels_that_a_member_may_not_vote_for_have_no_code(classes):
    labels = (
        np.append(classes, classes[:1]) if classes.dtype.kind == "U" else RNG.integers(-1, 50, 99)
    )
    if classes.dtype.kind == "U":
        labels = np.append(labels, "c")
    seen = np.ones(len(classes), dtype=bool)
    seen[1] = False
    place = {label: code for code, label in enumerate(classes.tolist()) if seen[code]}
    expected = [place.get(label, -1) for label in labels.tolist()]
    assert codes_of(labels, classes, seen).tolist() == expected


@pytest.mark.parametrize(
    "head",
    [
        KNeighborsClassifier(5),
        KNeighborsRegressor(5),
        KNeighborsClassifier(5, weights="distance"),
        RadiusNeighborsClassifier(30.0, outlier_label=2),
        RadiusNeighborsClassifier(99.0),  # all rows have as many neighbours
        RadiusNeighborsRegressor(40.0),
    ],
    ids=str,
)
def test_neighbors_in_panels_are_those_of_the_member(head):
    # Whole numbers have exact distances, so that ties are the same; far rows have none.
    rows = RNG.integers(-9, 10, (60, 20)).astype(np.float64)
    member = clone(head).set_params(algorithm="brute").fit(rows[:30], Y[:30])
    far = rows[:5].copy()
    far[2] = 1e300
    hostile = clone(member).fit(far, Y[:5])
    for checked in (False, True):
        for own, asked in ((member, rows), (hostile, far[:2])):
            for one, other in zip(
                answers(in_panels(own, checked), asked), answers(own, asked), strict=True
            ):
                np.testing.assert_allclose(one, other)


def test_more_neighbors_than_rows_stay_an_error():
    member = KNeighborsClassifier(9, algorithm="brute").fit(X[:5], Y[:5])
    for checked in (False, True):
        with pytest.raises(ValueError, match="n_neighbors"):
            in_panels(member, checked).predict(X[:8])
