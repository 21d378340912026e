"""Which members may be asked about many rows at once, without blocks of a fixed shape.

A matrix product may round a row otherwise when another number of rows is multiplied, and at an
exact tie the last bit decides. Members of which nothing is known are therefore asked in blocks of
one shape. Members that handle row after row (trees, counts, look-ups, sums along a row, products
with sparse rows, support vectors) answer a row alike in any company, and so do members whose
products are known (`panels`): they are asked about all rows at once.
"""

from sklearn.compose import ColumnTransformer
from sklearn.dummy import DummyClassifier
from sklearn.ensemble import (
    ExtraTreesClassifier,
    ExtraTreesRegressor,
    GradientBoostingClassifier,
    GradientBoostingRegressor,
    HistGradientBoostingClassifier,
    HistGradientBoostingRegressor,
    RandomForestClassifier,
    RandomForestRegressor,
)
from sklearn.feature_extraction.text import (
    CountVectorizer,
    HashingVectorizer,
    TfidfTransformer,
    TfidfVectorizer,
)
from sklearn.feature_selection import SelectKBest, SelectPercentile, VarianceThreshold
from sklearn.impute import SimpleImputer
from sklearn.linear_model import (
    ElasticNet,
    Lasso,
    LinearRegression,
    LogisticRegression,
    Perceptron,
    Ridge,
    RidgeClassifier,
    SGDClassifier,
    SGDRegressor,
)
from sklearn.multiclass import OutputCodeClassifier
from sklearn.naive_bayes import (
    BernoulliNB,
    CategoricalNB,
    ComplementNB,
    GaussianNB,
    MultinomialNB,
)
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import (
    MaxAbsScaler,
    MinMaxScaler,
    OneHotEncoder,
    OrdinalEncoder,
    RobustScaler,
    StandardScaler,
)
from sklearn.svm import SVC, LinearSVC, LinearSVR, NuSVC
from sklearn.tree import (
    DecisionTreeClassifier,
    DecisionTreeRegressor,
    ExtraTreeClassifier,
    ExtraTreeRegressor,
)

from .._data.blocks import BLOCK_ROWS
from .panels import NEIGHBORS, inner_estimators, multiplies_in_panels

# By exact type: a subclass may answer in its own way.
_ANY_ROWS = {
    CategoricalNB,
    DecisionTreeClassifier,
    DecisionTreeRegressor,
    ExtraTreeClassifier,
    ExtraTreeRegressor,
    ExtraTreesClassifier,
    ExtraTreesRegressor,
    GradientBoostingClassifier,
    GradientBoostingRegressor,
    HistGradientBoostingClassifier,
    HistGradientBoostingRegressor,
    RandomForestClassifier,
    RandomForestRegressor,
}
# numpy adds up the columns of a single row in another order than those of several rows that lie
# column by column.
_SEVERAL_ROWS = 8
# Products with sparse rows go through one row after the other.
_SPARSE_ROWS = {
    BernoulliNB,
    ComplementNB,
    ElasticNet,
    Lasso,
    LinearRegression,
    LinearSVC,
    LinearSVR,
    LogisticRegression,
    MultinomialNB,
    Perceptron,
    Ridge,
    RidgeClassifier,
    SGDClassifier,
    SGDRegressor,
}
_TO_SPARSE = {CountVectorizer, HashingVectorizer, TfidfVectorizer}
_KEEP = {MaxAbsScaler, SelectKBest, SelectPercentile, TfidfTransformer, VarianceThreshold}
_CELL_BY_CELL = {
    MinMaxScaler,
    OneHotEncoder,
    OrdinalEncoder,
    RobustScaler,
    SimpleImputer,
    StandardScaler,
} | _KEEP


def fewest_rows(estimator):
    """Return n such that a row in a block of a multiple of n gets the same bits in any company.

    By types and parameters alone, from lists of which the tests prove every entry.

    Parameters
    ----------
    estimator : estimator

    Returns
    -------
    n : int or None
        None if nothing is known of the estimator.
    """
    steps = [step for _, step in estimator.steps] if type(estimator) is Pipeline else [estimator]
    sparse = False
    for step in steps[:-1]:
        if step is None or step == "passthrough":
            continue
        if type(step) in _TO_SPARSE and own_words_alone(step):
            sparse = True
        elif not _keeps_rows_apart(step) or (sparse and type(step) not in _KEEP):
            return None
    head = steps[-1]
    if sparse and not _looks_for_neighbors(head):
        return 1 if type(head) in _ANY_ROWS | _SPARSE_ROWS else None
    return _fewest_of_head(head)


def _fewest_of_head(head):
    if type(head) in _ANY_ROWS or _has_named_kernel(head) or _answers_alike(head):
        return 1
    if type(head) is GaussianNB or multiplies_in_panels(head) or _looks_for_neighbors(head):
        return _SEVERAL_ROWS
    inner = inner_estimators(head)
    if inner is None:
        return None
    # Codes of classes are looked up in scikit-learn's own blocks of rows.
    own = BLOCK_ROWS if type(head) is OutputCodeClassifier else _SEVERAL_ROWS
    fewest = [fewest_rows(part) for part in inner]
    return None if None in fewest else max([own, *fewest])


def _has_named_kernel(head):
    return type(head) in (SVC, NuSVC) and head.kernel in ("linear", "poly", "rbf", "sigmoid")


def _answers_alike(head):
    """Say whether an answer does not hang on the row at all, and is not drawn."""
    return type(head) is DummyClassifier and head.strategy in ("prior", "most_frequent")


def _looks_for_neighbors(head):
    """Say whether Euclidean distances to training rows decide.

    Those to dense rows are taken in panels; sparse rows are multiplied one by one.
    """
    return (
        type(head) in NEIGHBORS
        and head.weights in ("uniform", "distance")
        and head.metric in ("minkowski", "euclidean")
        and head.p == 2
        and head.metric_params is None
    )


def leaves_rows_alone(estimator):
    """Say whether no member of an estimator with :func:`fewest_rows` writes into test rows."""
    steps = [step for _, step in estimator.steps] if type(estimator) is Pipeline else [estimator]
    if any(type(step) is ColumnTransformer or not getattr(step, "copy", True) for step in steps):
        return False
    return all(map(leaves_rows_alone, inner_estimators(steps[-1]) or []))


def own_words_alone(vectorizer):
    """Say whether no function of the caller's takes part, which might look at several texts."""
    names = ("analyzer", "tokenizer", "preprocessor")
    return not any(callable(getattr(vectorizer, name)) for name in names)


def _keeps_rows_apart(step):
    if type(step) is ColumnTransformer:
        parts = [part[1] for part in step.transformers] + [step.remainder]
        return all(isinstance(part, str) or _keeps_rows_apart(part) for part in parts)
    return type(step) in _CELL_BY_CELL
