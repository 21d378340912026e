"""DeepPartitionAggregation as users meet it: containers, labels, seeds, routing, errors."""

import subprocess
import sys
import warnings

import joblib
import numpy as np
import pandas as pd
import polars as pl
import pytest
import scipy.sparse as sp
import sklearn
from sklearn.base import BaseEstimator, ClassifierMixin, clone
from sklearn.compose import make_column_transformer
from sklearn.datasets import load_digits, load_iris
from sklearn.decomposition import PCA
from sklearn.dummy import DummyClassifier
from sklearn.ensemble import RandomForestClassifier
from sklearn.feature_extraction.text import HashingVectorizer, TfidfVectorizer
from sklearn.frozen import FrozenEstimator
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression, Ridge, RidgeClassifier, SGDClassifier
from sklearn.model_selection import GridSearchCV, GroupKFold, ShuffleSplit, cross_val_score
from sklearn.naive_bayes import GaussianNB, MultinomialNB
from sklearn.neighbors import NearestCentroid
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import FunctionTransformer, Normalizer, OneHotEncoder, StandardScaler
from sklearn.svm import SVC
from sklearn.tree import DecisionTreeClassifier, ExtraTreeClassifier

from certified_ensembles import CertificateWarning, DeepPartitionAggregation
from certified_ensembles._data.containers import take
from certified_ensembles._deterministic import global_seed
from certified_ensembles.certificates import finite_aggregation_radius, run_off_radius
from certified_ensembles.hashers import ContentHasher
from certified_ensembles.metrics import make_certified_accuracy_scorer

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


# ---------------------------------------------------------------- linear members


LINEAR = [
    RidgeClassifier(),
    RidgeClassifier(alpha=3.0, fit_intercept=False),
    RidgeClassifier(solver="lsqr", tol=1e-10),
    RidgeClassifier(class_weight="balanced"),
    LogisticRegression(max_iter=500),
    SGDClassifier(max_iter=5000),
    NearestCentroid(),
    NearestCentroid(shrink_threshold=0.1),
    NearestCentroid(metric="manhattan"),
    NearestCentroid(priors="empirical"),
    make_pipeline(Normalizer(), RidgeClassifier()),
    make_pipeline(Normalizer(), "passthrough", RidgeClassifier()),
]


@pytest.mark.filterwarnings("ignore:self.within_class_std_dev_:UserWarning")  # blank pixels
@pytest.mark.parametrize("estimator", LINEAR, ids=str)
@pytest.mark.parametrize("n_classes", [2, 10])
@pytest.mark.parametrize("carry", [np.asarray, sp.csr_matrix], ids=["dense", "csr"])
def test_stacked_ballots_are_those_of_the_members(estimator, n_classes, carry):
    if carry is sp.csr_matrix and getattr(estimator, "shrink_threshold", None):
        carry = np.asarray  # scikit-learn does not shrink sparse centroids
    if carry is sp.csr_matrix and getattr(estimator, "metric", None) == "manhattan":
        carry = np.asarray
    rows = n_classes > Y
    clf = dpa(estimator, 9).fit(carry(X[rows]), Y[rows])
    members = np.stack([m.predict(carry(X_TEST)) for m in clf.estimators_], axis=1)
    np.testing.assert_array_equal(clf.classes_[clf.ballots(carry(X_TEST))], members)


@pytest.mark.parametrize("estimator", LINEAR[:2], ids=str)
@pytest.mark.parametrize(
    "labels", [np.arange(10), np.array(list("abcdefghij")), np.arange(10) > 4]
)
@pytest.mark.parametrize("n_partitions", [3, 50])
def test_closed_form_ridge_is_scikit_learns(estimator, labels, n_partitions):
    y = labels[Y]
    clf = dpa(estimator, n_partitions).fit(X, y)
    for i, member in enumerate(clf.estimators_):
        rows = clf.partition_ == i
        if len(np.unique(y[rows])) == 1:
            continue
        reference = clone(estimator).fit(X[rows], y[rows])
        np.testing.assert_allclose(member.coef_, reference.coef_, atol=1e-10)
        np.testing.assert_allclose(member.intercept_, reference.intercept_, atol=1e-9)
        np.testing.assert_array_equal(member.classes_, reference.classes_)
        np.testing.assert_array_equal(member.predict(X_TEST), reference.predict(X_TEST))
        assert set(vars(reference)) == set(vars(member))


def test_subclasses_are_asked_with_their_own_predict():
    class Contrary(RidgeClassifier):
        def predict(self, X):
            return np.full(len(X), self.classes_[0])

    clf = dpa(Contrary()).fit(X, Y)
    assert set(clf.predict(X_TEST)) == {0}


@pytest.mark.parametrize("tree", [DecisionTreeClassifier(), ExtraTreeClassifier()], ids=str)
@pytest.mark.parametrize("rows", [X_TEST, X_TEST + 0.1, X_TEST.astype(np.float32), "missing"])
def test_trees_vote_as_they_answer_alone(tree, rows):
    if isinstance(rows, str):  # the trees themselves say what they make of it
        rows = np.where(np.arange(64) == 36, np.nan, X_TEST)
    clf = dpa(tree, 30).fit(X, Y)
    alone = np.column_stack([member.predict(rows) for member in clf.estimators_])
    np.testing.assert_array_equal(clf.ballots(rows), alone)
    ranked = dpa(tree, 30, aggregation="run_off").fit(X, Y)
    np.testing.assert_array_equal(ranked.ballots(rows), alone)


@pytest.mark.filterwarnings("ignore:overflow encountered in cast:RuntimeWarning")
@pytest.mark.parametrize("huge", [1e39, np.inf])
def test_trees_refuse_what_single_precision_cannot_hold(huge):
    clf = dpa(DecisionTreeClassifier(), 3).fit(X, Y)
    with pytest.raises(ValueError, match=r"too large|infinity"):
        clf.predict(np.full((2, 64), huge))


def test_float32_rows_are_multiplied_in_float32_and_agree_up_to_ties():
    clf = dpa(RidgeClassifier(), 40).fit(X.astype(np.float32), Y)
    wide = dpa(RidgeClassifier(), 40).fit(X, Y)
    assert clf.estimators_[0].coef_.dtype == np.float64
    np.testing.assert_array_equal(clf.estimators_[0].coef_, wide.estimators_[0].coef_)
    assert (clf.ballots(X_TEST.astype(np.float32)) == wide.ballots(X_TEST)).mean() > 0.999


# ---------------------------------------------------------------- aggregation


SCORED = [RidgeClassifier(), LogisticRegression(max_iter=500), GaussianNB(),
          make_pipeline(Normalizer(), RidgeClassifier()),
          make_pipeline(StandardScaler(), LogisticRegression(max_iter=500))]  # fmt: skip


@pytest.mark.parametrize("estimator", SCORED, ids=str)
@pytest.mark.parametrize("n_classes", [2, 10])
@pytest.mark.parametrize("classes", [None, range(10)], ids=["open", "closed"])
def test_run_off_ranks_by_the_members_own_scores(estimator, n_classes, classes):
    rows = n_classes > Y
    clf = dpa(estimator, 30, aggregation="run_off", classes=classes).fit(X[rows], Y[rows])
    scores = np.full((len(X_TEST), 30, len(clf.classes_)), -np.inf)
    for i, member in enumerate(clf.estimators_):
        if member is None:
            continue
        method = "decision_function" if hasattr(member, "decision_function") else "predict_proba"
        own = getattr(member, method)(X_TEST)
        own = np.column_stack([0 * own, own]) if own.ndim == 1 else own
        scores[:, i, np.searchsorted(clf.classes_, member.classes_)] = own
    winner, radius = run_off_radius(scores, open_set=classes is None)
    np.testing.assert_array_equal(clf.predict(X_TEST), clf.classes_[winner])
    np.testing.assert_array_equal(clf.certify(X_TEST).radius, radius)
    first = np.where(np.isfinite(scores).any(axis=2), scores.argmax(axis=2), -1)
    np.testing.assert_array_equal(clf.ballots(X_TEST), first)
    plain = clone(clf).set_params(aggregation="plurality").fit(X[rows], Y[rows])
    np.testing.assert_array_equal(plain.ballots(X_TEST), clf.ballots(X_TEST))


def test_run_off_needs_scores_and_says_so():
    clf = dpa(Inventive(), 2, aggregation="run_off").fit(X, Y)
    with pytest.raises(ValueError, match=r"run_off.*decision_function nor predict_proba"):
        clf.predict(X_TEST)
    pairs = dpa(SVC(decision_function_shape="ovo"), 2, aggregation="run_off").fit(X, Y)
    with pytest.raises(ValueError, match="one score a class"):
        pairs.predict(X_TEST)


def test_empty_members_abstain_in_a_run_off_and_in_finite_aggregation():
    hasher = lambda X: X[:, 0].astype(int)  # noqa: E731
    rows, labels = np.arange(6.0)[:, None], np.array([0, 1] * 3)
    with pytest.warns(CertificateWarning, match="weaker"):
        clf = dpa(GaussianNB(), 12, hasher=hasher, aggregation="run_off").fit(rows, labels)
    assert (clf.ballots(rows)[:, 6:] == -1).all()
    with pytest.warns(CertificateWarning, match="weaker"):
        clf = dpa(GaussianNB(), 6, hasher=hasher, spread_degree=2).fit(rows, labels)
    assert any(member is None for member in clf.estimators_)
    assert clf.certify(rows).radius.min() >= 0


@pytest.mark.parametrize("aggregation", ["plurality", "run_off"])
def test_finite_aggregation_trains_members_on_unions(aggregation):
    clf = dpa(GaussianNB(), 5, spread_degree=3, aggregation=aggregation).fit(X, Y)
    assert clf.spread_.shape == (15, 3)
    assert len(clf.estimators_) == 15
    assert set(clf.partition_) == set(range(15))
    for j, member in enumerate(clf.estimators_):
        rows = np.isin(clf.partition_, np.flatnonzero((clf.spread_ == j).any(axis=1)))
        np.testing.assert_array_equal(member.class_count_, np.bincount(Y[rows])[member.classes_])
    certificate = clf.certify(X_TEST)
    if aggregation == "plurality":
        expected = finite_aggregation_radius(clf.ballots(X_TEST), clf.spread_, 10, open_set=True)
        np.testing.assert_array_equal(certificate.radius, expected[1])
    np.testing.assert_array_equal(clf.predict(X_TEST), certificate.y_pred)
    np.testing.assert_array_equal(clf.certify(X_TEST, "replacement").radius,
                                  certificate.radius // 2)  # fmt: skip


def test_shifts_of_finite_aggregation_do_not_depend_on_data():
    one = dpa(GaussianNB(), 5, spread_degree=3).fit(X, Y)
    other = dpa(GaussianNB(), 5, spread_degree=3).fit(X[::2], Y[::2])
    np.testing.assert_array_equal(one.spread_, other.spread_)
    third = dpa(GaussianNB(), 5, spread_degree=3, random_state=1).fit(X, Y)
    assert (one.spread_ != third.spread_).any()


@pytest.mark.parametrize("spread_degree", [1, 2])
def test_collective_certificate_survives_a_joint_attack_and_beats_the_pointwise_count(
    spread_degree,
):
    clf = dpa(GaussianNB(), 12, spread_degree=spread_degree, classes=range(10)).fit(X, Y)
    rows, labels = X_TEST[:40], Y_DIGITS[400:440]
    result = clf.collective_certify(rows, 3, y=labels, time_limit=5)
    y_pred, radius = clf.certify(rows)
    assert result.pointwise == ((y_pred == labels) & (radius >= 3)).sum()
    assert result.pointwise <= result.certified <= result.upper <= (y_pred == labels).sum()
    if spread_degree == 1:
        assert result.certified > result.pointwise
    # Empty the partitions that the strongest attack found would take: no more fall than said.
    rest = ~np.isin(clf.partition_, result.attack[:3])
    fallen = clone(clf).fit(X[rest], Y[rest]).predict(rows)
    assert (fallen == labels).sum() >= result.certified
    replaced = clf.collective_certify(rows, 1, threat="replacement", time_limit=5)
    assert replaced.certified == clf.collective_certify(rows, 2, time_limit=5).certified


def test_collective_certificate_ignores_rows_whose_label_no_member_knows():
    clf = dpa(n_partitions=12).fit(X, Y)
    labels = Y_DIGITS[400:420].copy()
    labels[:5] = 77
    counted = clf.collective_certify(X_TEST[5:20], 1, y=labels[5:], time_limit=5)
    assert clf.collective_certify(X_TEST[:20], 1, y=labels, time_limit=5)[:3] == counted[:3]
    with pytest.raises(ValueError, match="aggregation='run_off'"):
        dpa(n_partitions=3, aggregation="run_off").fit(X, Y).collective_certify(X_TEST, 1)


# ---------------------------------------------------------------- containers and labels


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
    "head", [make_pipeline(TfidfVectorizer(), RidgeClassifier()),
             make_pipeline(HashingVectorizer(n_features=256), LogisticRegression()),
             make_pipeline(HashingVectorizer(alternate_sign=False), MultinomialNB())],
)  # fmt: skip
@pytest.mark.parametrize("carry", [list, np.asarray, lambda t: t.astype(object), pd.Series])
def test_texts_go_straight_to_members(head, carry):
    clf = dpa(head, 5).fit(carry(TEXTS), SPAM)
    assert clf.score(carry(TEXTS), SPAM) == 1
    assert not hasattr(clf, "n_features_in_")
    members = np.stack([member.predict(TEXTS) for member in clf.estimators_], axis=1)
    np.testing.assert_array_equal(clf.classes_[clf.ballots(carry(TEXTS))], members)


@pytest.mark.parametrize("library", [pd, pl])
def test_frames_keep_their_columns(library):
    frame = library.DataFrame({
        "size": np.arange(99.0), "colour": ["red", "blue", "green"] * 33,
    })  # fmt: skip
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
    "labels", [np.array(list("zyxwvutsrq")), np.arange(10) - 4, np.arange(10) % 2 == 0,
               np.array(list("abcdefghij"), dtype=object)],
)  # fmt: skip
def test_labels_pass_through_raw(labels):
    y = labels[Y]
    clf = dpa(DecisionTreeClassifier()).fit(X, y)
    assert clf.predict(X_TEST).dtype == labels.dtype
    np.testing.assert_array_equal(clf.classes_, np.unique(y))
    np.testing.assert_array_equal(clf.estimators_[0].classes_, np.unique(y[clf.partition_ == 0]))
    np.testing.assert_array_equal(clf.predict_proba(X_TEST).argmax(1),
                                  clf.vote_counts(X_TEST).argmax(1))  # fmt: skip


def test_closed_label_set_is_kept_sorted_and_refuses_foreign_labels():
    clf = dpa(classes=[11, *range(9, -1, -1)]).fit(X, Y)
    assert clf.classes_.tolist() == [*range(10), 11]
    assert clf.vote_counts(X_TEST)[:, -1].sum() == 0
    with pytest.raises(ValueError, match=r"not among classes=\[0, 1\].*\[2, 3, 4, 5, 6\]"):
        dpa(classes=[0, 1]).fit(X, Y)


def test_open_set_costs_at_most_one_and_only_where_the_phantom_wins_ties():
    opened, closed = dpa(n_partitions=40).fit(X, Y), dpa(n_partitions=40, classes=range(10))
    votes, closed = opened.vote_counts(X_TEST), closed.fit(X, Y)
    loss = closed.certify(X_TEST).radius - opened.certify(X_TEST).radius
    assert set(loss) <= {0, 1}
    top, rest = votes[:, 0], votes[:, 1:].sum(axis=1)
    np.testing.assert_array_equal(loss > 0, (rest == 0) & (top % 2 == 0))


class Inventive(ClassifierMixin, BaseEstimator):
    """Predicts a label that it has never seen."""

    def fit(self, X, y):
        self.classes_ = np.unique(y)
        return self

    def predict(self, X):
        return np.full(len(X), 9)


def test_a_member_may_not_vote_for_a_label_that_it_has_not_seen():
    X, y = np.arange(8.0)[:, None], np.array([0, 1, 0, 1, 0, 9, 0, 9])
    hasher = lambda X: X[:, 0].astype(int) // 4  # noqa: E731
    clf = dpa(Inventive(), 2, hasher=hasher).fit(X, y)
    assert clf.ballots(X)[0].tolist() == [-1, 2]
    closed = dpa(Inventive(), 2, hasher=hasher, classes=[0, 1, 9]).fit(X, y)
    assert closed.ballots(X)[0].tolist() == [2, 2]


# ---------------------------------------------------------------- threats and groups


def test_costs_follow_what_decides_the_partition():
    groups = np.arange(len(X)) % 23
    labelled = ContentHasher(include_labels=True)
    cases = {
        "features": (dpa().fit(X, Y), (1, 1, 2)),
        "features and label": (dpa(hasher=labelled).fit(X, Y), (1, 2, 2)),
        "source": (dpa().fit(X, Y, groups=groups), (1, 1, 1)),
    }
    for decided_by, (clf, costs) in cases.items():
        assert clf.partitioned_by_ == decided_by
        radius = clf.certify(X_TEST).radius
        for threat, cost in zip(
            ("insertion_deletion", "label_flip", "replacement"), costs, strict=True
        ):
            np.testing.assert_array_equal(clf.certify(X_TEST, threat).radius, radius // cost)


@pytest.mark.parametrize("carry", [np.asarray, list, pd.Series, lambda g: np.array(g, dtype=str)])
def test_all_rows_of_a_source_share_a_partition(carry):
    groups = np.random.default_rng(0).integers(0, 40, len(X))
    clf = dpa().fit(X, Y, groups=carry(groups))
    for g in range(40):
        assert len(np.unique(clf.partition_[groups == g])) == 1
    assert len(np.unique(clf.partition_)) == 10


def test_groups_use_the_key_of_the_hasher():
    groups = np.arange(len(X))
    one = dpa(hasher=ContentHasher(key="secret")).fit(X, Y, groups=groups)
    assert (one.partition_ != dpa().fit(X, Y, groups=groups).partition_).mean() > 0.5
    with pytest.raises(ValueError, match="inconsistent"):
        dpa().fit(X, Y, groups=groups[:-1])


def test_pixel_sum_partitions_by_the_sum_of_integers():
    clf = dpa(hasher="pixel_sum").fit(X.astype(int), Y)
    np.testing.assert_array_equal(clf.partition_, X.sum(axis=1) % 10)
    with pytest.raises(ValueError, match="pixel_sum"):
        dpa(hasher="pixel_sum").fit(X / 3, Y)


# ---------------------------------------------------------------- fit parameters and routing


class Weighted(ClassifierMixin, BaseEstimator):
    """Remembers the weights that it was given."""

    def fit(self, X, y, sample_weight=None, colour=None):
        self.weight_, self.colour_ = sample_weight, colour
        self.tree_ = DecisionTreeClassifier(random_state=0).fit(X, y, sample_weight)
        self.classes_ = self.tree_.classes_
        return self

    def predict(self, X):
        return self.tree_.predict(X)


def test_fit_parameters_are_cut_like_rows():
    weight = X.sum(axis=1)
    clf = dpa(Weighted()).fit(X, Y, sample_weight=weight, colour="red")
    for i, member in enumerate(clf.estimators_):
        assert member.colour_ == "red"
        np.testing.assert_array_equal(
            np.sort(member.weight_), np.sort(weight[clf.partition_ == i])
        )
    plain = dpa(Weighted()).fit(X, Y, sample_weight=None)
    assert plain.estimators_[0].weight_ is None


def test_weights_of_equal_rows_are_put_in_order_too():
    X2, y2 = np.repeat(X, 2, axis=0), np.repeat(Y, 2)
    weight = np.random.default_rng(0).random(len(X2))
    order = np.random.default_rng(1).permutation(len(X2))
    estimator = LogisticRegression(max_iter=300)
    one = dpa(estimator, 4).fit(X2, y2, sample_weight=weight)
    other = dpa(estimator, 4).fit(X2[order], y2[order], sample_weight=weight[order])
    np.testing.assert_array_equal(one.estimators_[0].coef_, other.estimators_[0].coef_)


def test_metadata_routing_reaches_members_and_groups():
    weight, groups = X.sum(axis=1), np.arange(len(X)) % 30
    with sklearn.config_context(enable_metadata_routing=True):
        base = Weighted().set_fit_request(sample_weight=True)
        clf = dpa(base).set_fit_request(groups=True).set_score_request(sample_weight=False)
        clf.fit(X, Y, sample_weight=weight, groups=groups)
        assert clf.partitioned_by_ == "source"
        np.testing.assert_array_equal(
            np.sort(clf.estimators_[2].weight_), np.sort(weight[clf.partition_ == 2])
        )
        with pytest.raises(sklearn.exceptions.UnsetMetadataPassedError, match="colour"):
            clf.fit(X, Y, colour="red")
        search = GridSearchCV(clf, {"n_partitions": [3, 4]}, cv=GroupKFold(3))
        search.fit(X, Y, groups=groups, sample_weight=weight)
        assert search.best_estimator_.partitioned_by_ == "source"
        assert search.best_estimator_.estimators_[0].weight_ is not None


def test_grid_search_over_hasher_estimator_and_certified_accuracy():
    search = GridSearchCV(
        dpa(make_pipeline(StandardScaler(), LogisticRegression(max_iter=200)), classes=range(10),
            hasher=ContentHasher()),
        {"hasher__key": ["a", "b"], "estimator__logisticregression__C": [1e-4, 1.0]},
        scoring=make_certified_accuracy_scorer(2), cv=3,
    )  # fmt: skip
    search.fit(X, Y)
    assert search.best_params_["estimator__logisticregression__C"] == 1.0
    y_pred, _ = search.best_estimator_.certify(X_TEST)
    assert 0.5 < search.best_score_ < (y_pred == Y_DIGITS[400:500]).mean() + 0.1
    scores = cross_val_score(dpa(), X, Y, scoring=make_certified_accuracy_scorer(1))
    assert scores.shape == (5,)


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


def test_import_is_light():
    heavy = {"torch", "matplotlib"}
    code = f"import sys, certified_ensembles; print({heavy} & set(sys.modules))"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "set()"


# ---------------------------------------------------------------- errors and warnings


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"n_partitions": 0}, "'n_partitions'.*Got 0"),
        ({"n_partitions": 2.5}, "'n_partitions'.*Got 2.5"),
        ({"random_state": None}, "random_state=None is refused.*integer"),
        ({"random_state": -1}, "'random_state'.*Got -1"),
        ({"random_state": 2**32 - 3}, "leaves no room for 10 distinct"),
        ({"hasher": "md5"}, "hasher='md5' is unknown.*content"),
        ({"hasher": 3}, "'hasher'.*Got 3"),
        ({"hasher": lambda X: X.sum(axis=1) / 3}, "one integer a row"),
        ({"hasher": lambda X: np.zeros(3, int)}, "one integer a row"),
        ({"aggregation": "mean"}, "'aggregation'.*plurality"),
        ({"spread_degree": 0}, "'spread_degree'.*Got 0"),
        ({"estimator": Ridge()}, "is a regressor.*classifier"),
        ({"estimator": 3}, "'estimator'"),
    ],
)
def test_bad_parameters_are_named_with_value_and_remedy(params, message):
    with pytest.raises(ValueError, match=f"(?s){message}"):
        dpa().set_params(**params).fit(X, Y)


@pytest.mark.parametrize(
    ("rows", "labels", "message"),
    [
        (X, Y / 7, "continuous"),
        (X, Y[:-1], "inconsistent"),
        (X, None, "requires y"),
        (X[:, 0], Y, "Expected 2D array"),
        (X[:0], Y[:0], "minimum of 1 is required"),
        (np.where(X == 0, np.nan, X), Y, "NaN"),
        (X + 0j, Y, "[Cc]omplex"),
        (X, np.column_stack([Y, Y]), "1d array"),
        (pd.DataFrame(X[:0]), Y[:0], "minimum of 1 is required"),
        (TEXTS[:5], SPAM, "inconsistent"),
    ],
)
def test_bad_data_are_refused(rows, labels, message):
    with pytest.raises(ValueError, match=message):
        dpa().fit(rows, labels)


def test_prediction_checks_what_it_is_given():
    with pytest.raises(sklearn.exceptions.NotFittedError):
        dpa().certify(X)
    clf = dpa().fit(X, Y)
    for method in (clf.predict, clf.certify, clf.ballots, clf.vote_counts, clf.predict_proba):
        with pytest.raises(ValueError, match="features"):
            method(X[:, :-1])
    with pytest.raises(ValueError, match="NaN"):
        clf.predict(np.where(X == 0, np.nan, X))


def test_missing_values_pass_where_the_estimator_takes_them():
    X_missing = np.where(X == 7, np.nan, X)
    clf = dpa(RandomForestClassifier(5)).fit(X_missing, Y)
    assert clf.score(X_missing, Y) > 0.6


def test_missing_values_pass_where_the_first_step_of_a_pipeline_takes_them():
    X_missing = np.where(X == 7, np.nan, X)
    filled = make_pipeline(SimpleImputer(strategy="constant"), RidgeClassifier())
    clf = dpa(filled).fit(X_missing, Y)
    assert clf.score(X_missing, Y) > 0.8
    for member in clf.estimators_:
        assert isinstance(member, Pipeline)
    with pytest.raises(ValueError, match="NaN"):
        dpa(make_pipeline(Normalizer(), RidgeClassifier())).fit(X_missing, Y)


def test_a_users_frozen_step_keeps_its_own_seed():
    frozen = PCA(5, svd_solver="randomized", random_state=7).fit(X)
    with pytest.warns(CertificateWarning, match="FrozenEstimator"):
        dpa(make_pipeline(FrozenEstimator(frozen), RidgeClassifier()), 3).fit(X, Y)
    assert frozen.random_state == 7


def test_negative_values_are_refused_where_the_estimator_refuses_them():
    with pytest.raises(ValueError, match="Negative values"):
        dpa(MultinomialNB()).fit(X - 1, Y)


def test_frozen_estimators_are_warned_about():
    scaler = FrozenEstimator(StandardScaler().fit(X))
    with pytest.warns(CertificateWarning, match="FrozenEstimator"):
        dpa(make_pipeline(scaler, RidgeClassifier())).fit(X, Y)


def test_more_partitions_than_rows_are_warned_about():
    X_iris, y_iris = load_iris(return_X_y=True)
    with pytest.warns(CertificateWarning, match="weaker than n_partitions=200"):
        dpa(n_partitions=200).fit(X_iris, y_iris)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        dpa(n_partitions=20).fit(X_iris, y_iris)


# ---------------------------------------------------------------- what one row can do to others


def test_a_text_cell_does_not_change_the_numbers_of_other_members():
    hostile = [["poison", *X[0, 1:]]]
    objects = np.concatenate([X.astype(object), np.array(hostile, dtype=object)])
    columns = pd.DataFrame(X).convert_dtypes(dtype_backend="numpy_nullable").astype(object)
    for carried in (objects, X.astype(object), columns):
        part = carried.iloc[:9] if isinstance(carried, pd.DataFrame) else carried[:9]
        slice_ = take(part, np.arange(9))
        assert np.asarray(slice_).dtype.kind in "if"
        np.testing.assert_array_equal(ContentHasher()(part), ContentHasher()(X[:9]))


def test_a_list_with_one_text_keeps_the_partitions_of_the_others():
    rows, labels = X[:60].tolist(), Y[:60]
    base = make_pipeline(
        FunctionTransformer(lambda X: np.array([[str(v) for v in row] for row in X])),
        OneHotEncoder(handle_unknown="ignore"), LogisticRegression(),
    )  # fmt: skip
    clf = dpa(base, 4).fit(rows, labels)
    hostile = dpa(base, 4).fit([*rows, ["x", *rows[0][1:]]], [*labels, 3])
    np.testing.assert_array_equal(hostile.partition_[:-1], clf.partition_)


def test_labels_of_mixed_types_are_refused():
    with pytest.raises(ValueError, match="mixes strings"):
        dpa().fit(X[:3], [1, 2, "x"])


def test_parameters_changed_after_fit_do_not_change_the_promise():
    clf = dpa(n_partitions=40).fit(X, Y)
    before = clf.certify(X_TEST).radius
    clf.set_params(classes=range(10), estimator=GaussianNB())
    np.testing.assert_array_equal(clf.certify(X_TEST).radius, before)


class Forgetful(FunctionTransformer):
    """Says that it needs no fit, and learns a mean all the same."""

    def fit(self, X, y=None):
        self.mean_ = X.mean(axis=0)
        return self

    def transform(self, X):
        return X - getattr(self, "mean_", 0)


def test_a_step_that_lies_about_learning_cannot_carry_rows_from_member_to_member():
    clf = dpa(make_pipeline(Forgetful(), RidgeClassifier()), 10).fit(X, Y)
    far = np.full((1, X.shape[1]), 1e6)
    row = next(i for i in range(99) if ContentHasher()(far + i)[0] % 10 == 0)
    hostile = clone(clf).fit(np.concatenate([X, far + row]), np.append(Y, 0))
    changed = (hostile.ballots(X_TEST) != clf.ballots(X_TEST)).any(axis=0)
    assert changed.tolist() == [True] + [False] * 9


def test_members_of_wide_sparse_text_are_stacked_in_small_groups():
    head = make_pipeline(HashingVectorizer(n_features=2**15), LogisticRegression())
    clf = dpa(head, 20).fit(TEXTS, SPAM)
    members = np.stack([member.predict(TEXTS) for member in clf.estimators_], axis=1)
    np.testing.assert_array_equal(clf.classes_[clf.ballots(TEXTS)], members)


def test_negative_zero_trains_the_member_of_zero():
    class Sign(GaussianNB):
        def fit(self, X, y):
            self.sign_ = np.signbit(X).any()
            return super().fit(X, y)

    clf = dpa(Sign()).fit(np.where(X == 0, -0.0, X), Y)
    assert not any(member.sign_ for member in clf.estimators_)


@pytest.mark.parametrize("aggregation", ["plurality", "run_off"])
def test_nets_train_in_single_precision_and_reproduce(aggregation):
    torch = pytest.importorskip("torch", reason="needs the extra [torch]")
    skorch = pytest.importorskip("skorch", reason="needs the extra [torch]")
    net = skorch.NeuralNetClassifier(
        torch.nn.Linear, module__in_features=64, module__out_features=10, max_epochs=3, lr=0.1,
        criterion=torch.nn.CrossEntropyLoss, train_split=None, verbose=0, classes=list(range(10)),
    )  # fmt: skip
    scaled = X / 16
    clf = dpa(net, 4, classes=range(10), aggregation=aggregation).fit(scaled, Y)
    again = dpa(net, 4, classes=range(10), aggregation=aggregation, n_jobs=2)
    with joblib.parallel_config("threading"):
        again.fit(scaled[::-1].astype(np.float32), Y[::-1])
    for one, other in zip(clf.estimators_, again.estimators_, strict=True):
        assert one.module_.weight.dtype == torch.float32
        assert torch.equal(one.module_.weight, other.module_.weight)
    assert not torch.equal(clf.estimators_[0].module_.weight, clf.estimators_[1].module_.weight)
    np.testing.assert_array_equal(clf.ballots(X_TEST / 16), again.ballots(X_TEST / 16))


@pytest.mark.parametrize("aggregation", ["plurality", "run_off"])
@pytest.mark.parametrize("size", [1e10, 1e150, 1e300])
def test_one_huge_row_spoils_one_member_and_no_more(size, aggregation):
    estimator = RidgeClassifier()
    clf = dpa(estimator, 10, aggregation=aggregation).fit(X, Y)
    row = np.full((1, X.shape[1]), size)
    hostile = clone(clf).fit(np.concatenate([X, row]), np.append(Y, 0))
    for dtype in (np.float64, np.float32):
        rows = X_TEST.astype(dtype)
        changed = (hostile.ballots(rows) != clf.ballots(rows)).any(axis=0)
        assert set(np.flatnonzero(changed)) <= {hostile.partition_[-1]}
        kept = clf.certify(rows).radius >= 1
        np.testing.assert_array_equal(hostile.predict(rows)[kept], clf.predict(rows)[kept])


def test_a_fraction_in_one_row_does_not_change_the_members_of_integers():
    integers = (X > 7).astype(int)[:, 18:40]
    clf = dpa(RidgeClassifier(), 12, classes=range(10)).fit(integers, Y)
    floats = clone(clf).fit(np.concatenate([integers, np.full((1, 22), 0.5)]), np.append(Y, 0))
    tests = (X_TEST > 7).astype(int)[:, 18:40]
    changed = (floats.ballots(tests) != clf.ballots(tests)).any(axis=0)
    assert set(np.flatnonzero(changed)) <= {floats.partition_[-1]}
