"""What is saved holds every member once, in any format, and answers as before."""

import copy
import pickle
import zipfile

import numpy as np
import pytest
from sklearn.datasets import load_iris
from sklearn.feature_extraction.text import HashingVectorizer
from sklearn.linear_model import RidgeClassifier
from sklearn.naive_bayes import GaussianNB
from sklearn.pipeline import make_pipeline

from certified_ensembles import (
    DeepPartitionAggregation,
    DeepPartitionRegressor,
    FeaturePartitionAggregation,
    SemiSupervisedDPA,
)

X, Y = load_iris(return_X_y=True)
TEXTS = np.array([f"{' '.join(map(str, row))} of flower" for row in X])
SAVED = {
    "linear": (DeepPartitionAggregation(n_partitions=7), X),
    "naive Bayes": (DeepPartitionAggregation(GaussianNB(), 7), X),
    "texts": (
        DeepPartitionAggregation(
            make_pipeline(HashingVectorizer(n_features=64), RidgeClassifier()), 7
        ),
        TEXTS,
    ),
    "blocks": (FeaturePartitionAggregation(n_blocks=3), X),
    "labels": (SemiSupervisedDPA(n_partitions=7), X),
    "medians": (DeepPartitionRegressor(n_partitions=7), X),
}
SAVES = {
    "pickle": lambda fitted: pickle.loads(pickle.dumps(fitted)),
    "deepcopy": copy.deepcopy,
    "copy": copy.copy,
}


@pytest.mark.parametrize("save", SAVES.values(), ids=SAVES)
@pytest.mark.parametrize(("ensemble", "rows"), SAVED.values(), ids=SAVED)
def test_saved_ensemble_answers_as_before(ensemble, rows, save):
    fitted = ensemble.fit(rows, Y)
    again = save(fitted)
    for one, other in zip(again.certify(rows), fitted.certify(rows), strict=True):
        np.testing.assert_array_equal(one, other)
    assert [type(m) for m in again.estimators_] == [type(m) for m in fitted.estimators_]
    assert sorted(vars(again)) == sorted(vars(fitted))


def nodes(value, kind):
    """Count what is written of a kind where nothing is recognised as written before."""
    if isinstance(value, kind):
        return 1
    if isinstance(value, dict):
        return sum(nodes(inner, kind) for inner in value.values())
    if isinstance(value, list | tuple):
        return sum(nodes(inner, kind) for inner in value)
    if type(value).__module__.startswith("certified_ensembles"):
        return nodes(value.__getstate__(), kind)
    return 0


@pytest.mark.parametrize("name", ["linear", "naive Bayes", "texts", "labels", "medians"])
def test_members_and_their_views_are_written_once(name):
    ensemble, rows = SAVED[name]
    fitted = copy.deepcopy(ensemble.fit(rows, Y)).set_params(estimator=None)
    fitted._members.spec = fitted._members._estimator = None  # what members are cloned from
    assert nodes(fitted.__getstate__(), type(fitted.estimators_[0])) == 7
    views = fitted._members.__getstate__()["views"]
    assert len(views[0]) == 1
    assert views[1].tolist() == [0] * 7


def test_state_of_an_older_version_is_taken():
    fitted = DeepPartitionAggregation(n_partitions=7).fit(X, Y)
    again, members = copy.copy(fitted), copy.copy(fitted._members)
    members.__setstate__(vars(fitted._members))
    again.__setstate__({**vars(fitted), "_members": members})
    np.testing.assert_array_equal(again.certify(X).radius, fitted.certify(X).radius)
    assert again.estimators_ is fitted.estimators_


def test_members_that_a_user_exchanged_are_kept():
    fitted = DeepPartitionAggregation(n_partitions=7).fit(X, Y)
    fitted.estimators_ = fitted.estimators_[:2]
    assert len(pickle.loads(pickle.dumps(fitted)).estimators_) == 2


def test_file_of_skops_is_no_larger_than_a_few_pickles(tmp_path):
    io = pytest.importorskip("skops.io")
    fitted = DeepPartitionAggregation(n_partitions=20).fit(X, Y)
    io.dump(fitted, tmp_path / "model.skops", compression=zipfile.ZIP_DEFLATED)
    trusted = io.get_untrusted_types(file=tmp_path / "model.skops")
    again = io.load(tmp_path / "model.skops", trusted=trusted)
    np.testing.assert_array_equal(again.certify(X).radius, fitted.certify(X).radius)
    assert (tmp_path / "model.skops").stat().st_size < 4 * len(pickle.dumps(fitted))
