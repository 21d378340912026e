"""What stands for an abstention, whatever the labels; frozen ensembles that need no fit."""

import copy
import pickle

import numpy as np
import pytest
from sklearn.datasets import load_iris
from sklearn.exceptions import NotFittedError
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import RidgeClassifier

from certified_ensembles import CertificateWarning, DeepPartitionAggregation
from certified_ensembles.abstention import CertifiedAbstention

X, Y = load_iris(return_X_y=True)
X_TRAIN, Y_TRAIN, X_TEST, Y_TEST = X[::2], Y[::2], X[1::4], Y[1::4]


def dpa(n_partitions=15, **params):
    return DeepPartitionAggregation(RidgeClassifier(), n_partitions, **params)


def test_labels_of_each_kind_have_an_abstention():
    names = np.array(["a", "b", "virginica"])
    clf = CertifiedAbstention(dpa(), 3)
    y_pred = clf.fit(X_TRAIN, names[Y_TRAIN]).predict(X_TEST)
    assert set(y_pred) == {*names, "abstain"}
    y_pred = clf.fit(X_TRAIN, names[Y_TRAIN].astype(object)).predict(X_TEST)
    assert set(y_pred) == {*names, "abstain"}
    y_pred = clf.fit(X_TRAIN, Y_TRAIN.astype(np.uint8)).predict(X_TEST)
    assert set(y_pred.tolist()) == {-1, 0, 1, 2}
    assert y_pred.dtype.kind == "i"
    y_pred = CertifiedAbstention(dpa(), 6).fit(X_TRAIN, Y_TRAIN > 1).predict(X_TEST)
    assert set(y_pred.tolist()) == {-1, 0, 1}
    clf.set_params(abstain_label=99)
    assert set(clf.fit(X_TRAIN, Y_TRAIN).predict(X_TEST).tolist()) == {0, 1, 2, 99}


@pytest.mark.parametrize(
    ("label", "y", "message"),
    [
        (1, Y_TRAIN, "abstain_label=1 is one of the labels"),
        ("no", Y_TRAIN, "pass a number, such as -1"),
        (np.nan, Y_TRAIN, "pass a number, such as -1"),
        (-1, np.array(["a", "b", "c"])[Y_TRAIN], "pass a string, such as 'abstain'"),
        ("b", np.array(["a", "b", "c"])[Y_TRAIN], "abstain_label='b' is one of the labels"),
    ],
)
def test_abstention_that_could_be_mistaken_is_refused(label, y, message):
    with pytest.raises(ValueError, match=message):
        CertifiedAbstention(dpa(classes=np.unique(y)), abstain_label=label).fit(X_TRAIN, y)


@pytest.mark.parametrize("closed", [False, True])
@pytest.mark.parametrize(
    ("labels", "abstention"),
    [
        ([0, 1, 2], -1),
        ([-1, 1], -2),
        ([-5, -1], -6),
        (["a", "b"], "abstain"),
        (["abstain", "b"], "abstain_"),
        (["abstain", "abstain_"], "abstain__"),
    ],
    ids=str,
)
def test_default_abstention_is_none_of_the_labels(labels, abstention, closed):
    y = np.array(labels)[Y_TRAIN % len(labels)]
    ensemble = dpa(classes=labels if closed else None)
    clf = CertifiedAbstention(ensemble, 4).fit(X_TRAIN, y)
    assert clf.abstain_label_ == abstention
    y_pred = clf.predict(X_TEST)
    answered = clf.estimator_.certify(X_TEST).radius >= 4
    assert 0 < answered.mean() < 1
    np.testing.assert_array_equal(y_pred != abstention, answered)
    np.testing.assert_array_equal(y_pred[answered], clf.estimator_.predict(X_TEST)[answered])


def test_hostile_row_with_the_label_of_an_abstention_stops_and_exchanges_nothing():
    clean = CertifiedAbstention(dpa(), 2, abstain_label=-1).fit(X_TRAIN, Y_TRAIN)
    label, outer = clean.estimator_.certify(X_TEST)
    y_pred, inner = clean.certify(X_TEST)
    # As many hostile rows as bring the label -1 into every second partition, then into all.
    for n_rows in (1, 3, 60):
        X = np.concatenate([X_TRAIN, np.tile(X_TEST, (2, 1))[:n_rows]])
        y = np.append(Y_TRAIN, [-1] * n_rows)
        for how in ({}, {"abstain_label": -1}):
            attacked = CertifiedAbstention(dpa(), 2, **how)
            if how:
                with pytest.warns(CertificateWarning, match="abstain_label=-1 is one of the lab"):
                    attacked.fit(X, y)
            else:
                attacked.fit(X, y)
            after, radius = attacked.certify(X_TEST)
            kept, sure = inner >= n_rows, outer >= n_rows
            np.testing.assert_array_equal(after[kept], y_pred[kept])
            silent = after == attacked.abstain_label_
            assert (silent | (after == label))[sure].all()
            assert (radius[silent] == -1).all()
    won = attacked.estimator_.predict(X_TEST) == -1
    assert won.any()
    assert silent[won].all()


def test_frozen_ensemble_answers_without_a_fit():
    ensemble = dpa().fit(X_TRAIN, Y_TRAIN)
    clf = CertifiedAbstention(FrozenEstimator(ensemble), 3)
    fitted = CertifiedAbstention(FrozenEstimator(ensemble), 3).fit(X_TEST, Y_TEST)
    for one, other in zip(clf.certify(X_TEST), fitted.certify(X_TEST), strict=True):
        np.testing.assert_array_equal(one, other)
    np.testing.assert_array_equal(clf.predict(X_TEST), fitted.predict(X_TEST))
    assert clf.score(X_TEST, Y_TEST) == fitted.score(X_TEST, Y_TEST)
    assert clf.classes_.tolist() == [0, 1, 2]
    assert (clf.abstain_label_, clf.n_features_in_) == (-1, 4)
    assert not [name for name in vars(clf) if name.endswith("_")]
    again = pickle.loads(pickle.dumps(copy.deepcopy(clf)))
    np.testing.assert_array_equal(again.predict(X_TEST), fitted.predict(X_TEST))
    # What is asked is the ensemble as it is now, with its labels.
    ensemble.fit(X_TRAIN, np.array(["a", "b", "c"])[Y_TRAIN])
    assert set(clf.predict(X_TEST)) <= {"a", "b", "c", "abstain"}
    assert clf.abstain_label_ == "abstain"


@pytest.mark.parametrize("inner", [dpa(), FrozenEstimator(dpa())], ids=["bare", "frozen"])
def test_what_is_not_fitted_does_not_answer(inner):
    clf = CertifiedAbstention(inner)
    assert not hasattr(clf, "classes_")
    with pytest.raises(NotFittedError):
        clf.predict(X_TEST)


def test_frozen_estimator_without_a_certificate_is_refused_when_asked():
    frozen = FrozenEstimator(RidgeClassifier().fit(X_TRAIN, Y_TRAIN))
    with pytest.raises(TypeError, match="has no method certify"):
        CertifiedAbstention(frozen).predict(X_TEST)
    with pytest.raises(ValueError, match="'min_radius' parameter"):
        CertifiedAbstention(FrozenEstimator(dpa().fit(X_TRAIN, Y_TRAIN)), -1).predict(X_TEST)
