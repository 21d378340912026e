"""Labels, label sets, sources and rows that cannot be meant: one clear error each, or one rule."""

import numpy as np
import pandas as pd
import polars as pl
import pytest
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.naive_bayes import MultinomialNB
from sklearn.pipeline import make_pipeline

from certified_ensembles import (
    DeepPartitionAggregation,
    LabelFlipSmoothingClassifier,
    SemiSupervisedDPA,
)
from certified_ensembles.metrics import certified_accuracy_score
from certified_ensembles.neighbors import CertifiedKNeighborsClassifier

N = 12
X = np.arange(2.0 * N).reshape(N, 2)
NUMBERS, TEXTS, BOOLS = [0, 1] * 6, ["a", "b"] * 6, [True, False] * 6
ESTIMATORS = [
    DeepPartitionAggregation(n_partitions=2),
    SemiSupervisedDPA(n_partitions=2),
    LabelFlipSmoothingClassifier(),
    CertifiedKNeighborsClassifier(1),
]


def dpa(**params):
    return DeepPartitionAggregation(n_partitions=2, **params)


def lacking(values, missing, place=3):
    values = list(values)
    values[place] = missing
    return values


def masked(values):
    return np.ma.masked_array(values, np.arange(len(values)) == 3)


MISSING_LABELS = {
    "None among numbers": lacking(NUMBERS, None),
    "None among texts": lacking(TEXTS, None),
    "NaN among numbers": lacking(NUMBERS, np.nan),
    "NaN in an array": np.array(lacking(NUMBERS, np.nan)),
    "NaN among texts": lacking(TEXTS, float("nan")),
    "NA among numbers": lacking(NUMBERS, pd.NA),
    "NA among texts": lacking(TEXTS, pd.NA),
    "objects": np.array(lacking(TEXTS, None), dtype=object),
    "objects of numbers": np.array(lacking(NUMBERS, np.nan), dtype=object),
    "masked": masked(NUMBERS),
    "masked texts": masked(TEXTS),
    "pandas Int64": pd.Series(lacking(NUMBERS, pd.NA), dtype="Int64"),
    "pandas string": pd.Series(lacking(TEXTS, pd.NA), dtype="string"),
    "pandas category": pd.Series(lacking(TEXTS, None), dtype="category"),
    "pandas boolean": pd.Series(lacking(BOOLS, None), dtype="boolean"),
    "polars numbers": pl.Series(lacking(NUMBERS, None)),
    "polars texts": pl.Series(lacking(TEXTS, None)),
    "times": np.array(lacking(["2020-01-01"] * N, "NaT"), dtype="M8[D]"),
}


@pytest.mark.parametrize("estimator", ESTIMATORS, ids=lambda clf: type(clf).__name__)
@pytest.mark.parametrize("y", MISSING_LABELS.values(), ids=MISSING_LABELS)
def test_missing_label_is_an_error_that_names_its_place(estimator, y):
    with pytest.raises(ValueError, match=r"y lacks 1 of 12 labels, .* index 3\. Drop the row"):
        estimator.fit(X, y)


@pytest.mark.parametrize("y", [lacking(TEXTS, 7), np.array(lacking(TEXTS, 7), dtype=object)])
def test_strings_among_other_labels_are_an_error(y):
    with pytest.raises(ValueError, match=r"y mixes strings with other labels.*to one type"):
        dpa().fit(X, y)


# ---- the closed label set ---------------------------------------------------------------------


@pytest.mark.parametrize(
    "classes",
    [{1, 0}, frozenset([1, 0]), {1: "one", 0: "zero"}.keys(), [1, 0, 1], pd.Index([1, 0]), (1, 0)],
    ids=lambda classes: type(classes).__name__,
)
def test_label_set_has_no_order_and_holds_each_label_once(classes):
    for estimator in (dpa(classes=classes), LabelFlipSmoothingClassifier(classes=classes)):
        fitted = estimator.fit(X, NUMBERS)
        assert fitted.classes_.tolist() == [0, 1]
        expected = type(estimator)(**estimator.get_params() | {"classes": [0, 1]}).fit(X, NUMBERS)
        np.testing.assert_array_equal(fitted.certify(X), expected.certify(X))


@pytest.mark.parametrize(
    ("classes", "message"),
    [
        ([0, 1, None], r"classes lacks 1 of 3 labels, the first at index 2\. Name the labels"),
        ([0, 1, np.nan], "classes lacks 1 of 3 labels"),
        ({0, 1, None}, "classes lacks 1 of 3 labels"),
        ([0, "a"], "classes mixes strings with other labels"),
        ([], r"classes=\[\] must be .*one at least"),
        (set(), r"classes=set\(\) must be .*one at least"),
        ([[0, 1]], r"classes=\[\[0, 1\]\] must be a sequence or a set of labels"),
        ({0: "ham", 1: "spam"}, "classes={0: 'ham', 1: 'spam'} must be a sequence or a set"),
        ("01", "'classes' parameter .* must be an array-like or None. Got '01'"),
        (["0", "1"], r"y holds labels that are not among classes=\['0', '1'\]"),
    ],
    ids=str,
)
def test_label_set_that_cannot_be_meant_is_an_error(classes, message):
    with pytest.raises(ValueError, match=message):
        dpa(classes=classes).fit(X, NUMBERS)


# ---- sources ----------------------------------------------------------------------------------

SOURCES = [f"sender {i}" for i in range(N)]
MISSING_SOURCES = {
    "None": lacking(SOURCES, None),
    "NaN": lacking(SOURCES, np.nan),
    "NA": lacking(SOURCES, pd.NA),
    "numbers": lacking(range(N), np.nan),
    "masked": masked(range(N)),
    "pandas": pd.Series(lacking(SOURCES, None)),
    "pandas Int64": pd.Series(lacking(range(N), None), dtype="Int64"),
    "polars": pl.Series(lacking(SOURCES, None)),
    "times": np.array(lacking(["2020-01-01"] * N, "NaT"), dtype="M8[D]"),
    "one of two keys": pd.DataFrame({"vendor": SOURCES, "day": lacking(range(N), None)}),
}


@pytest.mark.parametrize("groups", MISSING_SOURCES.values(), ids=MISSING_SOURCES)
def test_missing_source_is_an_error_that_names_its_place(groups):
    with pytest.raises(ValueError, match=r"groups lacks 1 of 12 sources, .* index 3: .*Give each"):
        dpa().fit(X, NUMBERS, groups=groups)


@pytest.mark.parametrize(
    ("groups", "error", "message"),
    [
        (SOURCES[:5], ValueError, "groups is inconsistent with X: it has 5 entries for 12 rows"),
        ([*SOURCES, "one more"], ValueError, "it has 13 entries for 12 rows.*one source a row"),
        ("sender", TypeError, "groups='sender' is a str: pass one source for each of the 12"),
        (set(SOURCES), TypeError, "is a set: pass one source"),
        (dict.fromkeys(SOURCES), TypeError, "is a dict: pass one source"),
        (iter(SOURCES), TypeError, "iterator: pass one source"),
        (7, TypeError, "groups=7 is a int: pass one source"),
    ],
)
def test_sources_that_are_not_one_a_row_are_an_error(groups, error, message):
    with pytest.raises(error, match=message):
        dpa().fit(X, NUMBERS, groups=groups)


def test_a_source_may_have_several_keys():
    keys = [(name, i % 2) for i, name in enumerate(SOURCES)]
    frame = pd.DataFrame(keys)
    np.testing.assert_array_equal(
        dpa().fit(X, NUMBERS, groups=keys).partition_,
        dpa().fit(X, NUMBERS, groups=frame).partition_,
    )


# ---- rows and true labels ---------------------------------------------------------------------

FILTER = make_pipeline(CountVectorizer(), MultinomialNB())


@pytest.mark.parametrize("text", ["cheap pills", b"cheap pills", np.str_("cheap pills")])
def test_a_single_string_is_no_sequence_of_rows(text):
    clf = DeepPartitionAggregation(FILTER, 2, classes=["a", "b"])
    with pytest.raises(TypeError, match=r"X is a (str|bytes).*of a single one: \[X\]"):
        clf.fit(text, ["a"])
    clf.fit([f"{label} {i}" for i, label in enumerate(["ham mail", "cheap pills"] * 6)], TEXTS)
    for ask in (clf.predict, clf.certify, clf.ballots):
        with pytest.raises(TypeError, match=r"of a single one: \[X\]"):
            ask(text)
    assert clf.predict([text]).tolist() == ["b"]


@pytest.mark.parametrize(
    ("y_fit", "y_true", "message"),
    [
        (TEXTS, NUMBERS, "y has dtype int64 and classes_ <U1: text never equals a number"),
        (NUMBERS, TEXTS, "y has dtype <U1 and classes_ int64: text never equals a number"),
        (NUMBERS, np.array(TEXTS, dtype=object), "y has dtype object and classes_ int64"),
        (NUMBERS, lacking(NUMBERS, np.nan), "y lacks 1 of 12 labels.*Leave these rows out"),
        (TEXTS, np.array(lacking(TEXTS, None), dtype=object), "y lacks 1 of 12 labels"),
    ],
)
def test_true_labels_that_nothing_can_equal_are_an_error(y_fit, y_true, message):
    clf = dpa().fit(X, y_fit)
    with pytest.raises(ValueError, match=message):
        clf.collective_certify(X, 1, y=y_true)
    y_pred, radius = clf.certify(X)
    with pytest.raises(
        ValueError, match=message.replace("y ", "y_true ").replace("classes_", "y_pred")
    ):
        certified_accuracy_score(y_true, y_pred, radius, 1)


def test_true_label_that_nobody_knows_still_counts_as_wrong():
    clf = dpa().fit(X, NUMBERS)
    count = clf.collective_certify(X, 0, y=NUMBERS).certified
    right = clf.predict(X) == np.array(NUMBERS)
    assert count == right.sum() > 0
    assert clf.collective_certify(X, 0, y=np.where(right, 9, NUMBERS)).certified == 0
