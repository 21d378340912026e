"""Rows and labels of every container reach the members as they are."""

import numpy as np
import pandas as pd
import polars as pl
import pytest
from sklearn.compose import make_column_transformer
from sklearn.datasets import load_digits
from sklearn.feature_extraction.text import HashingVectorizer, TfidfVectorizer
from sklearn.linear_model import LogisticRegression, RidgeClassifier
from sklearn.naive_bayes import GaussianNB, MultinomialNB
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, OneHotEncoder
from sklearn.tree import DecisionTreeClassifier

from certified_ensembles import DeepPartitionAggregation

X_DIGITS, Y_DIGITS = load_digits(return_X_y=True)
X, Y = X_DIGITS[:400], Y_DIGITS[:400]
X_TEST = X_DIGITS[400:500]


def dpa(estimator=None, n_partitions=10, **kwargs):
    return DeepPartitionAggregation(estimator, n_partitions, **kwargs)


def assert_same(one, other, X=X_TEST):
    np.testing.assert_array_equal(one.ballots(X), other.ballots(X))
    for a, b in zip(one.certify(X), other.certify(X), strict=True):
        np.testing.assert_array_equal(a, b)


CONTAINERS = {
    "fortran": np.asfortranarray,
    "float32": lambda X: X.astype(np.float32),
    "uint8": lambda X: X.astype(np.uint8),
    "big endian": lambda X: X.astype(">f8"),
    "list": lambda X: X.tolist(),
    "frame": lambda X: pd.DataFrame(X, index=np.arange(len(X))[::-1]),
}


@pytest.mark.parametrize("container", CONTAINERS)
@pytest.mark.parametrize("estimator", [RidgeClassifier(), DecisionTreeClassifier(), GaussianNB()])
def test_the_ensemble_does_not_depend_on_the_container(container, estimator):
    carry = CONTAINERS[container]
    reference, clf = dpa(estimator).fit(X, Y), dpa(estimator).fit(carry(X), Y)
    np.testing.assert_array_equal(clf.partition_, reference.partition_)
    assert_same(clf, reference) if container != "frame" else np.testing.assert_array_equal(
        clf.ballots(carry(X_TEST)), reference.ballots(X_TEST)
    )


def test_images_reach_members_in_their_shape_and_type():
    seen = []

    def flatten(images):
        seen.append((images.shape[1:], images.dtype))
        return images.reshape(len(images), -1)

    images = X.astype(np.uint8).reshape(-1, 1, 8, 8)
    clf = dpa(make_pipeline(FunctionTransformer(flatten), RidgeClassifier())).fit(images, Y)
    np.testing.assert_array_equal(
        clf.ballots(X_TEST.astype(np.uint8).reshape(-1, 1, 8, 8)), dpa().fit(X, Y).ballots(X_TEST)
    )
    assert set(seen) == {((1, 8, 8), np.dtype(np.uint8))}


TEXTS = np.array(
    [f"{'buy cheap' if i % 3 else 'see you'} number {i % 17} {i}" for i in range(120)]
)
SPAM = np.array(["ham", "spam", "spam"] * 40)


@pytest.mark.parametrize(
    "head",
    [
        make_pipeline(TfidfVectorizer(), RidgeClassifier()),
        make_pipeline(HashingVectorizer(n_features=256), LogisticRegression()),
        make_pipeline(HashingVectorizer(alternate_sign=False), MultinomialNB()),
    ],
)
@pytest.mark.parametrize("carry", [list, np.asarray, lambda t: t.astype(object), pd.Series])
def test_texts_go_straight_to_members(head, carry):
    clf = dpa(head, 5).fit(carry(TEXTS), SPAM)
    assert clf.score(carry(TEXTS), SPAM) == 1
    assert not hasattr(clf, "n_features_in_")
    members = np.stack([member.predict(TEXTS) for member in clf.estimators_], axis=1)
    np.testing.assert_array_equal(clf.classes_[clf.ballots(carry(TEXTS))], members)


@pytest.mark.parametrize("library", [pd, pl])
def test_frames_keep_their_columns(library):
    frame = library.DataFrame(
        {
            "size": np.arange(99.0),
            "colour": ["red", "blue", "green"] * 33,
        }
    )
    y = (np.arange(99) % 3 == 1).astype(int)
    encode = make_column_transformer(
        (OneHotEncoder(handle_unknown="ignore"), ["colour"]), remainder="passthrough"
    )
    clf = dpa(make_pipeline(encode, DecisionTreeClassifier()), 4).fit(frame, y)
    assert clf.score(frame, y) == 1
    assert clf.feature_names_in_.tolist() == ["size", "colour"]
    with pytest.raises(ValueError, match="feature names"):
        clf.predict(frame[["colour", "size"]])


def test_single_precision_frames_train_the_members_of_double_ones():
    single = pd.DataFrame(X.astype(np.float32))
    one = dpa(GaussianNB()).fit(single, Y)
    other = dpa(GaussianNB()).fit(single.astype(np.float64), Y)
    np.testing.assert_array_equal(one.estimators_[0].var_, other.estimators_[0].var_)
    polars = pl.DataFrame(X.astype(np.float32), schema=[str(c) for c in single.columns])
    third = dpa(GaussianNB()).fit(polars, Y)
    fourth = dpa(GaussianNB()).fit(polars.cast(pl.Float64), Y)
    np.testing.assert_array_equal(third.estimators_[0].var_, fourth.estimators_[0].var_)


@pytest.mark.parametrize(
    "labels",
    [
        np.array(list("zyxwvutsrq")),
        np.arange(10) - 4,
        np.arange(10) % 2 == 0,
        np.array(list("abcdefghij"), dtype=object),
    ],
)
def test_labels_pass_through_raw(labels):
    y = labels[Y]
    clf = dpa(DecisionTreeClassifier()).fit(X, y)
    assert clf.predict(X_TEST).dtype == labels.dtype
    np.testing.assert_array_equal(clf.classes_, np.unique(y))
    np.testing.assert_array_equal(clf.estimators_[0].classes_, np.unique(y[clf.partition_ == 0]))
    np.testing.assert_array_equal(
        clf.predict_proba(X_TEST).argmax(1), clf.vote_counts(X_TEST).argmax(1)
    )
