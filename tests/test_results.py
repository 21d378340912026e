"""A certificate unpacks into two and knows its threat, its unit and its question."""

import copy
import pickle

import numpy as np
import pytest
from sklearn.datasets import load_iris
from sklearn.model_selection import FixedThresholdClassifier, GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import Normalizer

from certified_ensembles import (
    Certificate,
    CertificateWarning,
    DeepPartitionAggregation,
    DeepPartitionRegressor,
    FeaturePartitionAggregation,
    LabelFlipSmoothingClassifier,
    LabelNoiseRegressor,
    SemiSupervisedDPA,
    certify,
)
from certified_ensembles._units import any_of, round_budgets
from certified_ensembles.abstention import CertifiedAbstention
from certified_ensembles.neighbors import CertifiedKNeighborsClassifier
from oracle import X_ORACLE, Y_ORACLE, Oracle

X, Y = load_iris(return_X_y=True)
GROUPS = np.arange(150) // 5


def dpa(**params):
    return DeepPartitionAggregation(n_partitions=7, classes=[0, 1, 2], **params)


def words(certificate):
    return certificate.threat, certificate.unit, certificate.question


ROWS = "insertions + deletions of training rows"
ASKED = {
    "default": (dpa().fit(X, Y), {}, ("insertion_deletion", ROWS, None)),
    "flips": (dpa().fit(X, Y), {"threat": "label_flip"}, ("label_flip", "label flips", None)),
    "sources": (
        dpa().fit(X, Y, groups=GROUPS),
        {"threat": "replacement"},
        ("replacement", "hostile sources", None),
    ),
    "periods": (
        dpa().fit(X, Y, periods=GROUPS),
        {},
        ("insertion_deletion", "hostile periods", None),
    ),
    "duration": (
        dpa().fit(X, Y, periods=GROUPS),
        {"threat": "duration"},
        ("duration", "consecutive hostile periods", None),
    ),
    "target": (
        dpa().fit(X, Y),
        {"target": 1},
        ("insertion_deletion", ROWS, "never becomes 1"),
    ),
    "top k": (
        SemiSupervisedDPA(n_partitions=7).fit(X, Y),
        {"top_k": 2},
        ("label_flip", "label flips", "stays among the first 2"),
    ),
    "annotators": (
        LabelFlipSmoothingClassifier().fit(X, Y, groups=GROUPS),
        {},
        ("label_flip", "hostile annotators", None),
    ),
    "neighbours": (
        CertifiedKNeighborsClassifier(5).fit(X, Y),
        {"threat": "replacement"},
        ("replacement", "replaced training rows", None),
    ),
    "columns": (
        FeaturePartitionAggregation(n_blocks=3).fit(X, Y),
        {},
        ("insertion_deletion", "hostile columns", None),
    ),
    "columns beside rows": (
        FeaturePartitionAggregation(n_blocks=3, n_partitions=4).fit(X, Y, groups=GROUPS),
        {"n_rows": 2},
        ("insertion_deletion", "hostile columns beside any 2 hostile sources", None),
    ),
    "medians": (
        DeepPartitionRegressor(n_partitions=7).fit(X, Y),
        {"tolerance": 0.5},
        ("insertion_deletion", ROWS, "moves by no more than 0.5"),
    ),
    "targets": (
        LabelNoiseRegressor(bounds=(0, 2)).fit(X, Y),
        {"lower": 1},
        ("label_flip", "changed targets", "stays within its bounds"),
    ),
    "abstention": (
        CertifiedAbstention(dpa(), 2).fit(X, Y, groups=GROUPS),
        {},
        ("insertion_deletion", "hostile sources", None),
    ),
}


@pytest.mark.parametrize(("fitted", "how", "expected"), ASKED.values(), ids=ASKED)
def test_certificate_says_what_it_counts_and_promises(fitted, how, expected):
    own = fitted.certify(X, **how)
    assert words(own) == expected
    assert words(certify(fitted, X, **how)) == expected
    y_pred, radius = own
    assert y_pred is own.y_pred
    assert radius is own.radius
    assert (len(own), own[0] is y_pred, isinstance(own, tuple)) == (2, True, True)


@pytest.mark.parametrize(
    "wrap",
    [
        lambda clf: make_pipeline(Normalizer(), clf),
        lambda clf: GridSearchCV(clf, {"n_partitions": [7]}, cv=2),
    ],
    ids=["pipeline", "search"],
)
def test_words_come_through_wrappers(wrap):
    fitted = wrap(dpa()).fit(X, Y)
    expected = ("label_flip", "label flips", "stays among the first 2")
    assert words(certify(fitted, X, "label_flip", top_k=2)) == expected


def test_words_come_through_a_threshold():
    clf = DeepPartitionAggregation(n_partitions=7, classes=[0, 1])
    fixed = FixedThresholdClassifier(clf, threshold=0.4).fit(X, Y > 0)
    with pytest.warns(CertificateWarning, match="Nothing is certified for"):
        own = certify(fixed, X)
    assert words(own) == ("insertion_deletion", ROWS, None)


def test_certificates_of_foreign_estimators_get_their_words():
    fitted = Oracle().fit(X_ORACLE, Y_ORACLE)
    assert words(fitted.certify(X_ORACLE)) == (None, None, None)
    assert words(certify(fitted, X_ORACLE)) == ("insertion_deletion", ROWS, None)


@pytest.mark.parametrize(
    "copied",
    [lambda c: pickle.loads(pickle.dumps(c)), copy.copy, copy.deepcopy, lambda c: c._replace()],
    ids=["pickle", "copy", "deepcopy", "replace"],
)
def test_words_are_kept_by_copies(copied):
    own = dpa().fit(X, Y).certify(X, "label_flip", target=2)
    again = copied(own)
    assert type(again) is Certificate
    assert words(again) == words(own)
    for one, other in zip(again, own, strict=True):
        np.testing.assert_array_equal(one, other)


def test_replaced_fields_leave_the_others():
    own = Certificate([1], [3], threat="label_flip", unit="label flips")
    other = own._replace(radius=[0], unit="hostile senders")
    assert (*other, *words(other)) == ([1], [0], "label_flip", "hostile senders", None)
    assert repr(other) == (
        "Certificate(y_pred=[1], radius=[0], threat='label_flip', unit='hostile senders')"
    )
    assert own == ([1], [3])
    assert words(Certificate._make([[1], [3]])) == (None, None, None)


def test_frame_has_a_row_for_each_row():
    pandas = pytest.importorskip("pandas")
    own = dpa().fit(X, Y).certify(X[:3], "label_flip")
    frame = own.to_frame(index=["a", "b", "c"])
    expected = pandas.DataFrame({"y_pred": own.y_pred, "radius": own.radius}, ["a", "b", "c"])
    pandas.testing.assert_frame_equal(frame, expected)
    assert frame.attrs == {"threat": "label_flip", "unit": "label flips"}


@pytest.mark.parametrize(
    ("count", "unit", "expected"),
    [
        (1, "hostile sources", "any single hostile source"),
        (20, "hostile sources", "any 20 hostile sources"),
        (1, "label flips", "any single flipped label"),
        (1500, "label flips", "any 1,500 flipped labels"),
        (3, ROWS, "any 3 inserted or deleted training rows"),
        (1, "consecutive hostile periods", "a hostile owner of any single period"),
        (4, "hostile newest periods", "a hostile owner of the 4 newest periods"),
        (1, "hostile entries", "any single hostile entry"),
        (1, "{odd} #", "any single {odd} #"),
        (2, "{odd} #", "any 2 {odd} #"),
    ],
)
def test_sentences_end_in_what_is_survived(count, unit, expected):
    assert any_of(count, unit) == expected


def test_budgets_are_round_and_end_with_the_largest_radius():
    assert round_budgets(-1) == [0]
    assert round_budgets(0) == [0]
    assert round_budgets(24) == [0, 1, 2, 5, 10, 20]
    assert round_budgets(50) == [0, 1, 2, 5, 10, 20, 50]
    many = round_budgets(2**62)
    assert (len(many), many[0], many[-1]) == (10, 0, 2 * 10**18)
