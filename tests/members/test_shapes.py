"""Members that go row by row answer a row alike, to the bit, in any company."""

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone
from sklearn.compose import ColumnTransformer, make_column_transformer
from sklearn.ensemble import (
    ExtraTreesClassifier,
    GradientBoostingClassifier,
    HistGradientBoostingClassifier,
    RandomForestClassifier,
)
from sklearn.feature_extraction.text import (
    CountVectorizer,
    HashingVectorizer,
    TfidfTransformer,
    TfidfVectorizer,
)
from sklearn.feature_selection import SelectKBest, SelectPercentile, VarianceThreshold
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression, Perceptron, RidgeClassifier, SGDClassifier
from sklearn.naive_bayes import (
    BernoulliNB,
    CategoricalNB,
    ComplementNB,
    GaussianNB,
    MultinomialNB,
)
from sklearn.neighbors import KNeighborsClassifier
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
from sklearn.svm import LinearSVC
from sklearn.tree import DecisionTreeClassifier, ExtraTreeClassifier

from certified_ensembles import DeepPartitionAggregation
from certified_ensembles._members import shapes
from certified_ensembles._members.shapes import fewest_rows

RNG = np.random.default_rng(0)
X = RNG.integers(0, 4, (700, 9)) * RNG.choice([1.0, 0.1, 1 / 3], 9)
Y = RNG.integers(0, 3, 700)
WORDS = np.array([f"w{j}" for j in range(60)])
TEXTS = np.array([" ".join(RNG.choice(WORDS, 15)) for _ in range(700)], dtype=object)
FRAME = pd.DataFrame(X, columns=list("abcdefghi")).assign(who=RNG.choice(list("xyz"), 700))

TREES = [
    DecisionTreeClassifier(),
    ExtraTreeClassifier(),
    RandomForestClassifier(5),
    ExtraTreesClassifier(5),
    GradientBoostingClassifier(n_estimators=4),
    HistGradientBoostingClassifier(max_iter=4, min_samples_leaf=3),
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
ROWS = [
    *[(clf, X) for clf in TREES],
    (CategoricalNB(min_categories=10), np.round(X)),
    (GaussianNB(), X),
    *[(make_pipeline(step, clf), X) for step in STEPS for clf in (GaussianNB(), TREES[0])],
    (make_pipeline(OrdinalEncoder(), TREES[0]), X),
    *[(make_pipeline(CountVectorizer(), clf), TEXTS) for clf in SPARSE],
    *[
        (make_pipeline(TfidfVectorizer(), step, clf), TEXTS)
        for step in (MaxAbsScaler(), SelectKBest(k=30))
        for clf in (LogisticRegression(), RidgeClassifier())
    ],
    (make_pipeline(HashingVectorizer(n_features=64), LinearSVC()), TEXTS),
    (make_pipeline(CountVectorizer(), TfidfTransformer(), RidgeClassifier()), TEXTS),
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
    forms = [np.ascontiguousarray, np.asfortranarray] if data is X else [lambda rows: rows]
    for form in forms:  # members get rows in one layout, but a step may turn it
        together = answers(member, form(data))
        for n in (1, 2, 3, 5, 8, 9, 63, 64, 257, 600):
            start = int(RNG.integers(0, 701 - n))
            index = np.minimum(np.arange(start, start + max(n, fewest)), start + n - 1)
            alone = answers(member, form(rows_of(data, index)))
            for one, whole in zip(alone, together, strict=True):
                assert one[:n].tobytes() == whole[start : start + n].tobytes()


def test_every_entry_of_the_list_is_tried():
    known = shapes._ANY_ROWS | shapes._SPARSE_ROWS | shapes._TO_SPARSE | shapes._CELL_BY_CELL
    known |= set(shapes._SEVERAL_ROWS)
    tried = set()
    for estimator, _ in ROWS:
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
        KNeighborsClassifier(),
        LogisticRegression(),
        make_pipeline(StandardScaler(), RidgeClassifier()),
        make_pipeline(FunctionTransformer(), DecisionTreeClassifier()),
        make_pipeline(CountVectorizer(tokenizer=str.split), MultinomialNB()),
        make_pipeline(CountVectorizer(), StandardScaler(with_mean=False), MultinomialNB()),
        make_pipeline(CountVectorizer(), KNeighborsClassifier()),
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
