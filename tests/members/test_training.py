"""Members are trained on their partition alone, seeded by its number, and recalled from memory."""

import joblib
import numpy as np
import pytest
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.datasets import load_digits
from sklearn.dummy import DummyClassifier
from sklearn.linear_model import LogisticRegression, SGDClassifier
from sklearn.model_selection import GridSearchCV, ShuffleSplit
from sklearn.naive_bayes import GaussianNB
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer
from sklearn.tree import DecisionTreeClassifier

from certified_ensembles import CertificateWarning, DeepPartitionAggregation
from certified_ensembles._deterministic import global_seed
from certified_ensembles.hashers import ContentHasher

X_DIGITS, Y_DIGITS = load_digits(return_X_y=True)
X, Y = X_DIGITS[:400], Y_DIGITS[:400]
X_TEST = X_DIGITS[400:500]


def dpa(estimator=None, n_partitions=10, **kwargs):
    return DeepPartitionAggregation(estimator, n_partitions, **kwargs)


def assert_same(one, other, X=X_TEST):
    np.testing.assert_array_equal(one.ballots(X), other.ballots(X))
    for a, b in zip(one.certify(X), other.certify(X), strict=True):
        np.testing.assert_array_equal(a, b)


# ---------------------------------------------------------------- members


def test_members_are_clones_trained_on_their_partitions():
    clf = dpa(DecisionTreeClassifier()).fit(X, Y)
    for i, member in enumerate(clf.estimators_):
        rows = clf.partition_ == i
        assert member.tree_.n_node_samples[0] == rows.sum()
        assert member.score(X[rows], Y[rows]) == 1
    np.testing.assert_array_equal(clf.partition_, ContentHasher()(X) % 10)


@pytest.mark.parametrize("distinct", [True, False])
def test_seeds_are_functions_of_the_partition_in_every_nested_parameter(distinct):
    base = make_pipeline(
        FunctionTransformer(),
        GridSearchCV(SGDClassifier(), {"alpha": [1e-3]}, cv=ShuffleSplit(2, random_state=None)),
    )
    clf = dpa(base, 3, random_state=5, distinct_seeds=distinct).fit(X, Y)
    for i, member in enumerate(clf.estimators_):
        seed = 5 + i if distinct else 5
        search = member[-1]
        assert search.estimator.random_state == seed
        assert search.best_estimator_.random_state == seed
        assert search.cv.random_state == seed
    assert base[-1].cv.random_state is None


class GlobalDraw(ClassifierMixin, BaseEstimator):
    """Learns a constant drawn from a global generator: np.random or torch's."""

    def __init__(self, source="numpy"):
        self.source = source

    def fit(self, X, y):
        self.classes_ = np.unique(y)
        if self.source == "numpy":
            draw = np.random.randint(2**31)  # noqa: NPY002
        else:
            draw = int(__import__("random").random() * 2**31)
        self.label_ = self.classes_[draw % len(self.classes_)]
        return self

    def predict(self, X):
        return np.full(len(X), self.label_)


@pytest.mark.parametrize("source", ["numpy", "python"])
@pytest.mark.parametrize("backend", ["loky", "threading"])
def test_global_generators_are_seeded_for_members_and_left_as_they_were(source, backend):
    one = dpa(GlobalDraw(source), 12).fit(X, Y)
    before = np.random.get_state()[1].tolist()  # noqa: NPY002
    with joblib.parallel_config(backend, n_jobs=2):
        other = dpa(GlobalDraw(source), 12).fit(X, Y)
    assert np.random.get_state()[1].tolist() == before  # noqa: NPY002
    assert_same(one, other)
    assert len(np.unique(one.ballots(X_TEST)[0])) > 1


def test_a_seed_that_torch_keeps_until_cuda_begins_is_put_back(monkeypatch):
    torch = pytest.importorskip("torch", reason="needs the extra [torch]")
    kept = []
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: False)
    monkeypatch.setattr(torch.cuda, "manual_seed_all", kept.append)
    torch.manual_seed(7)
    with global_seed(3):
        assert kept == [7, 3]
    assert kept == [7, 3, 7]


def test_one_class_partitions_vote_for_it_and_empty_ones_abstain():
    X = np.arange(6.0)[:, None]
    y = np.array(["a", "a", "b", "b", "c", "c"])
    with pytest.warns(CertificateWarning, match="2 of 5 partitions have no rows"):
        clf = dpa(LogisticRegression(), 5, hasher=lambda X: X[:, 0].astype(int) // 2).fit(X, y)
    assert clf.estimators_[3] is clf.estimators_[4] is None
    assert all(isinstance(member, DummyClassifier) for member in clf.estimators_[:3])
    assert clf.ballots(X)[0].tolist() == [0, 1, 2, -1, -1]
    assert clf.predict_proba(X)[0].tolist() == [1 / 3] * 3
    assert clf.certify(X[:1]).radius[0] == 0


def test_a_failing_member_is_named_with_a_remedy():
    with pytest.raises(ValueError, match="n_splits") as caught:
        dpa(GridSearchCV(GaussianNB(), {}, cv=30)).fit(X, Y)
    assert "training member 0" in caught.value.__notes__[0]
    assert "n_partitions" in caught.value.__notes__[0]


# ---------------------------------------------------------------- memory, progress, imports


def test_memory_trains_only_the_partition_that_changed(tmp_path):
    memory = joblib.Memory(str(tmp_path), verbose=0)
    n_cached = lambda: len(list(tmp_path.rglob("output.pkl")))  # noqa: E731
    first = dpa(LogisticRegression(max_iter=300), memory=memory).fit(X, Y)
    assert n_cached() == 10
    again = dpa(LogisticRegression(max_iter=300), memory=str(tmp_path)).fit(X[::-1], Y[::-1])
    assert n_cached() == 10
    assert_same(first, again)
    dpa(LogisticRegression(max_iter=300), memory=memory).fit(X[1:], Y[1:])
    assert n_cached() == 11
    dpa(LogisticRegression(max_iter=300), memory=memory, random_state=1).fit(X, Y)
    assert n_cached() == 21


def test_progress_bar_counts_members(capsys):
    dpa(verbose=2).fit(X, Y).predict(X_TEST)
    assert "10/10" in capsys.readouterr().err
    dpa(GaussianNB(), verbose=2).fit(X, Y).predict(X_TEST)
    err = capsys.readouterr().err
    assert "fit" in err
    assert "ask" in err
    dpa().fit(X, Y).predict(X_TEST)
    assert capsys.readouterr().err == ""
