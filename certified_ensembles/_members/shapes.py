"""Which members may be asked about any number of rows at once, without blocks of a fixed shape.

A matrix product may round a row otherwise when another number of rows is multiplied, and at an
exact tie the last bit decides. Members that multiply are therefore asked in blocks of one shape.
Members that handle row after row (trees, counts, look-ups, sums along a row, products with
sparse rows) answer a row alike in any company: they are asked once, about all rows.
"""

from sklearn.compose import ColumnTransformer
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
from sklearn.linear_model import (
    LogisticRegression,
    Perceptron,
    RidgeClassifier,
    SGDClassifier,
)
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
from sklearn.svm import LinearSVC
from sklearn.tree import DecisionTreeClassifier, ExtraTreeClassifier

# By exact type: a subclass may answer in its own way.
_ANY_ROWS = {
    CategoricalNB,
    DecisionTreeClassifier,
    ExtraTreeClassifier,
    ExtraTreesClassifier,
    GradientBoostingClassifier,
    HistGradientBoostingClassifier,
    RandomForestClassifier,
}
# These are asked about several rows at least: numpy adds up the columns of a single row in another
# order than those of several rows that lie column by column.
_SEVERAL_ROWS = {GaussianNB: 8}
# Products with sparse rows go through one row after the other.
_SPARSE_ROWS = {
    BernoulliNB,
    ComplementNB,
    LinearSVC,
    LogisticRegression,
    MultinomialNB,
    Perceptron,
    RidgeClassifier,
    SGDClassifier,
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
    """Return from how many rows on an answer about a row is the same bits in any company.

    None if nothing is known of the estimator. By types and parameters alone, from a list of
    which the tests prove every entry.
    """
    steps = [step for _, step in estimator.steps] if type(estimator) is Pipeline else [estimator]
    sparse = False
    for step in steps[:-1]:
        if step is None or step == "passthrough":
            continue
        if type(step) in _TO_SPARSE and _own_words_alone(step):
            sparse = True
        elif not _keeps_rows_apart(step) or (sparse and type(step) not in _KEEP):
            return None
    head = type(steps[-1])
    if head in _ANY_ROWS or (sparse and head in _SPARSE_ROWS):
        return 1
    return _SEVERAL_ROWS.get(head)


def _own_words_alone(vectorizer):
    """Say whether no function of the caller's takes part, which might look at several texts."""
    names = ("analyzer", "tokenizer", "preprocessor")
    return not any(callable(getattr(vectorizer, name)) for name in names)


def _keeps_rows_apart(step):
    if type(step) is ColumnTransformer:
        parts = [part[1] for part in step.transformers] + [step.remainder]
        return all(isinstance(part, str) or _keeps_rows_apart(part) for part in parts)
    return type(step) in _CELL_BY_CELL
