"""Members that are trained side by side, by a stand-in for nets that says who was with whom."""

import joblib
import numpy as np
import pytest
from sklearn.base import clone
from sklearn.datasets import load_iris
from sklearn.decomposition import PCA
from sklearn.dummy import DummyClassifier
from sklearn.ensemble import BaggingClassifier, VotingClassifier
from sklearn.linear_model import LogisticRegression, RidgeClassifier, SGDClassifier
from sklearn.multiclass import OneVsRestClassifier
from sklearn.naive_bayes import GaussianNB
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MinMaxScaler, StandardScaler
from sklearn.svm import SVC
from sklearn.tree import DecisionTreeClassifier

from centroids import NearestMeans
from certified_ensembles import CertificateWarning, DeepPartitionAggregation
from certified_ensembles._deterministic import seeded_clones
from certified_ensembles._members.stored import StoredMembers
from certified_ensembles._members.training import batch_trainer

X, Y = load_iris(return_X_y=True)


class Calls(list):
    """Notes calls, and is the same to the key of a cache whatever it holds."""

    def __reduce__(self):
        return Calls, ()


class Centroids(NearestMeans):
    """Trained and asked in company; counts the calls."""

    trained, asked = Calls(), Calls()

    def __init__(self, random_state=0, members_per_batch=3, refuses=None):
        self.random_state = random_state
        self.members_per_batch = members_per_batch
        self.refuses = refuses

    @classmethod
    def fit_together(cls, members, rows, labels):
        cls.trained.append(len(members))
        return [m.fit(X, y) for m, X, y in zip(members, rows, labels, strict=True)]

    @classmethod
    def scores_together(cls, voters, block):
        cls.asked.append(len(voters))
        return [voter.decision_function(block) for voter in voters]

    def fit(self, X, y):
        if self.random_state == self.refuses:
            raise ValueError("no")
        return super().fit(X, y)


@pytest.fixture(autouse=True)
def fresh():
    Centroids.trained.clear()
    Centroids.asked.clear()


def ensemble(estimator=None, **params):
    estimator = Centroids() if estimator is None else estimator
    return DeepPartitionAggregation(estimator, 10, classes=[0, 1, 2], **params)


def alone(clf):
    """Return the ballots of the members asked one by one."""
    answers = [np.searchsorted(clf.classes_, m.predict(X)) for m in clf.estimators_]
    return np.stack(answers, axis=1)


def test_members_are_trained_and_asked_some_at_a_time():
    clf = ensemble().fit(X, Y)
    assert Centroids.trained == [3, 3, 3, 1]
    np.testing.assert_array_equal(clf.ballots(X), alone(clf))
    assert Centroids.asked == [3, 3, 3, 1]


def test_run_off_takes_the_scores_of_members_in_company():
    clf = ensemble(aggregation="run_off").fit(X, Y)
    np.testing.assert_array_equal(clf.ballots(X), alone(clf))
    assert len(Centroids.asked) == 4


def test_a_head_in_a_pipeline_is_trained_in_company_on_its_own_steps():
    clf = ensemble(make_pipeline(StandardScaler(), Centroids())).fit(X, Y)
    assert Centroids.trained == [3, 3, 3, 1]
    for i, member in enumerate(clf.estimators_):
        np.testing.assert_allclose(member[0].mean_, X[clf.partition_ == i].mean(axis=0))
    np.testing.assert_array_equal(clf.ballots(X), alone(clf))


def test_an_estimator_with_its_own_cache_is_left_alone(tmp_path):
    pipeline = make_pipeline(StandardScaler(), Centroids(), memory=str(tmp_path))
    assert batch_trainer(pipeline) is None
    ensemble(pipeline).fit(X, Y)
    assert Centroids.trained == []


def test_fit_parameters_train_members_alone():
    head = RidgeClassifier()
    clf = ensemble(head).fit(X, Y, sample_weight=np.linspace(1, 2, len(X)))
    plain = ensemble(head).fit(X, Y)
    assert not np.array_equal(clf.estimators_[0].coef_, plain.estimators_[0].coef_)


def test_members_that_the_cache_keeps_are_not_trained_again(tmp_path):
    first = ensemble(memory=str(tmp_path)).fit(X, Y)
    assert sum(Centroids.trained) == 10
    Centroids.trained.clear()
    again = ensemble(memory=str(tmp_path)).fit(X, Y)
    assert Centroids.trained == []
    np.testing.assert_array_equal(first.ballots(X), again.ballots(X))
    smaller = ensemble(memory=str(tmp_path)).fit(X[1:], Y[1:])
    assert Centroids.trained == [1]
    changed = first.partition_[0]
    for i, (one, other) in enumerate(zip(first.estimators_, smaller.estimators_, strict=True)):
        assert np.array_equal(one.means_, other.means_) == (i != changed)


def test_members_with_a_cache_stay_on_disk(tmp_path):
    clf = ensemble(memory=str(tmp_path)).fit(X, Y)
    assert isinstance(clf.estimators_, StoredMembers)
    assert len(clf.estimators_) == len(list(clf.estimators_)) == 10
    assert clf.estimators_[0] is not clf.estimators_[0]
    in_memory = ensemble().fit(X, Y)
    np.testing.assert_array_equal(clf.ballots(X), in_memory.ballots(X))
    loaded = joblib.load(joblib.dump(clf, tmp_path / "clf.joblib")[0])
    np.testing.assert_array_equal(loaded.ballots(X), in_memory.ballots(X))


def test_a_pipeline_on_disk_comes_back_whole(tmp_path):
    clf = ensemble(make_pipeline(StandardScaler(), Centroids()), memory=str(tmp_path)).fit(X, Y)
    assert len(clf.estimators_[0]) == 2
    np.testing.assert_array_equal(clf.ballots(X), alone(clf))


def test_a_cache_that_is_gone_is_named(tmp_path):
    clf = ensemble(memory=str(tmp_path)).fit(X, Y)
    joblib.Memory(tmp_path, verbose=0).clear(warn=False)
    with pytest.raises(RuntimeError, match="Member 0 is no longer in the folder"):
        clf.predict(X)


def test_a_member_that_fails_is_named_and_its_companions_are_kept(tmp_path):
    clf = ensemble(Centroids(refuses=4), memory=str(tmp_path))
    with pytest.raises(ValueError, match="no") as caught:
        clf.fit(X, Y)
    assert "member 4" in " ".join(caught.value.__notes__)
    Centroids.trained.clear()
    with pytest.raises(ValueError, match="no"):
        clf.fit(X, Y)
    assert sum(Centroids.trained) < 10 - 4  # the first four come from the cache


def test_a_step_that_overwrites_its_rows_does_not_spoil_the_second_attempt():
    fragile = make_pipeline(StandardScaler(copy=False), FailsInCompany())
    clf = ensemble(fragile).fit(X, Y)
    for i, member in enumerate(clf.estimators_):
        np.testing.assert_allclose(member[0].mean_, X[clf.partition_ == i].mean(axis=0))


class FailsInCompany(Centroids):
    """Cannot be trained with others."""

    @classmethod
    def fit_together(cls, members, rows, labels):
        if len(members) > 1:
            raise RuntimeError("too many")
        return super().fit_together(members, rows, labels)


def test_a_step_that_overwrites_its_rows_is_found_in_the_cache(tmp_path):
    fragile = make_pipeline(StandardScaler(copy=False), Centroids())
    one = ensemble(fragile, memory=str(tmp_path)).fit(X, Y)
    Centroids.trained.clear()
    two = ensemble(fragile, memory=str(tmp_path)).fit(X, Y)
    assert Centroids.trained == []
    np.testing.assert_array_equal(one.ballots(X), two.ballots(X))


def test_members_of_one_label_are_constant_in_company():
    y = np.where(np.arange(len(X)) < 60, 0, Y)
    groups = np.where(y == 0, 0, 1 + np.arange(len(X)) % 5)
    with pytest.warns(CertificateWarning, match="have no rows"):
        clf = ensemble().fit(X, y, groups=groups)
    constant = [m for m in clf.estimators_ if isinstance(m, DummyClassifier)]
    assert constant
    np.testing.assert_array_equal(
        clf.ballots(X),
        np.stack([np.full(len(X), -1) if m is None else m.predict(X) for m in clf.estimators_], 1),
    )


@pytest.mark.parametrize(
    ("estimator", "batched"),
    [
        (RidgeClassifier(), True),
        (make_pipeline(StandardScaler(), RidgeClassifier()), True),
        (LogisticRegression(), True),
        (LogisticRegression(n_jobs=2), True),
        (LogisticRegression(class_weight="balanced"), False),
        (DecisionTreeClassifier(), False),
    ],
)
def test_the_way_of_training_is_decided_by_the_estimator_alone(estimator, batched):
    assert (batch_trainer(estimator) is not None) == batched


# ---------------------------------------------------------------- clones


@pytest.mark.parametrize(
    "estimator",
    [
        DecisionTreeClassifier(max_depth=np.int64(3)),
        RidgeClassifier(alpha=2.0, solver="cholesky"),
        LogisticRegression(C=0.5),
        SGDClassifier(random_state=None),
        GaussianNB(),
        Centroids(),
        LogisticRegression(class_weight={0: 2.0}),
        SVC(random_state=np.random.RandomState(3)),
        make_pipeline(StandardScaler(), SGDClassifier()),
        make_pipeline(make_pipeline("passthrough", PCA(2)), MinMaxScaler((0, 2)), GaussianNB()),
        OneVsRestClassifier(SGDClassifier()),
        VotingClassifier([("a", SGDClassifier()), ("b", BaggingClassifier(SGDClassifier()))]),
    ],
    ids=lambda estimator: type(estimator).__name__,
)
def test_seeded_clones_are_clones_with_seeds(estimator):
    before = estimator.get_params()
    fitted = clone(estimator).fit(X, Y)
    for seed, copy in zip((7, 8), seeded_clones(fitted, (7, 8)), strict=True):
        expected = clone(estimator)
        seeds = [name for name in expected.get_params() if name.endswith("random_state")]
        expected.set_params(**dict.fromkeys(seeds, seed))
        assert type(copy) is type(estimator)
        assert repr(copy) == repr(expected)
        assert set(vars(copy)) == set(vars(expected))  # nothing of the fit
        copy.set_params(**dict.fromkeys(seeds, 1))  # each has its own
    assert estimator.get_params() == before
