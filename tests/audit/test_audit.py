"""The audit passes honest estimators and catches every way we know to void a certificate."""

import secrets

import numpy as np
import pytest
import scipy.sparse as sp
from sklearn.base import BaseEstimator, ClassifierMixin, clone
from sklearn.datasets import load_digits, load_iris
from sklearn.feature_extraction.text import CountVectorizer, HashingVectorizer
from sklearn.linear_model import LogisticRegression, RidgeClassifier, SGDClassifier
from sklearn.naive_bayes import GaussianNB, MultinomialNB
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler
from sklearn.tree import DecisionTreeClassifier

from certified_ensembles import (
    Certificate,
    DeepPartitionAggregation,
    LabelFlipSmoothingClassifier,
    SemiSupervisedDPA,
)
from certified_ensembles.audit import BrokenCertificateError, check_certificate
from certified_ensembles.hashers import ContentHasher

X, Y = load_iris(return_X_y=True)
X_TRAIN, Y_TRAIN, X_TEST = X[::2], Y[::2], X[1::10]
NAMES = np.array(["setosa", "versicolor", "virginica"])
WORDS = ["free", "money", "meeting", "lunch", "offer", "report", "click", "team"]


def texts(n, seed):
    rng = np.random.default_rng(seed)
    y = rng.integers(0, 2, n)
    spam = np.array([1, 6, 1, 1, 6, 1, 6, 1]) / 23
    ham = np.array([1, 1, 6, 6, 1, 6, 1, 6]) / 28
    rows = [" ".join(rng.choice(WORDS, size=6, p=spam if c else ham)) for c in y]
    return rows, np.where(y, "spam", "ham")


def dpa(estimator=None, n_partitions=9, **params):
    return DeepPartitionAggregation(estimator, n_partitions, **params)


# ---------------------------------------------------------------- honest estimators


def iris_case(estimator, y=Y_TRAIN, **kwargs):
    return lambda: (estimator, X_TRAIN, y, X_TEST, kwargs)


def sparse_case():
    rows, y = texts(60, 0)
    counts = CountVectorizer(vocabulary=WORDS)
    return dpa(MultinomialNB()), counts.transform(rows), y, counts.transform(texts(12, 1)[0]), {}


def tfidf_like_case():
    rng = np.random.default_rng(0)

    def rows(n):  # short of nonzeros, of which the last needs more bits than the others
        A = np.zeros((n, 40))
        for row in A:
            place = np.sort(rng.choice(40, size=3, replace=False))
            row[place] = [1, 2, 1 / 3]
        return sp.csr_array(A)

    return dpa(), rows(60), rng.integers(0, 2, 60), rows(10), {}


def text_case():
    rows, y = texts(60, 0)
    model = make_pipeline(HashingVectorizer(n_features=64), LogisticRegression())
    return dpa(model), rows, y, texts(12, 1)[0], {}


def frame_case():
    pd = pytest.importorskip("pandas")
    frame = pd.DataFrame(X_TRAIN, columns=["a", "b", "c", "d"])
    return dpa(), frame, Y_TRAIN, pd.DataFrame(X_TEST, columns=["a", "b", "c", "d"]), {}


def image_case():
    flat = FunctionTransformer(lambda A: A.reshape(len(A), -1))
    images, test = X_TRAIN.reshape(-1, 2, 2), X_TEST.reshape(-1, 2, 2)
    return dpa(make_pipeline(flat, RidgeClassifier())), images, Y_TRAIN, test, {}


HONEST = {
    "ridge": iris_case(dpa()),
    "closed label set": iris_case(dpa(classes=[0, 1, 2])),
    "tree": iris_case(dpa(DecisionTreeClassifier(max_features=1))),
    "order matters": iris_case(dpa(SGDClassifier(max_iter=5, tol=None))),
    "scaler inside": iris_case(dpa(make_pipeline(StandardScaler(), LogisticRegression()))),
    "labels are strings": iris_case(dpa(), NAMES[Y_TRAIN]),
    "sources": iris_case(dpa(n_partitions=7), groups=np.arange(len(Y_TRAIN)) % 23),
    "named sources": iris_case(dpa(n_partitions=7), groups=NAMES[Y_TRAIN - Y_TRAIN % 2]),
    "features and label hashed": iris_case(dpa(hasher=ContentHasher(include_labels=True))),
    "own hasher": iris_case(dpa(hasher=lambda A: np.rint(A * 10).astype(int).sum(axis=1))),
    "stateless step outside": iris_case(make_pipeline(FunctionTransformer(np.sqrt), dpa())),
    "counts and naive Bayes": sparse_case,
    "sparse floats": tfidf_like_case,
    "strings": text_case,
    "dataframe": frame_case,
    "images": image_case,
}


@pytest.mark.parametrize("case", HONEST.values(), ids=HONEST.keys())
def test_honest_estimator_passes(case):
    estimator, X, y, X_test, kwargs = case()
    report = check_certificate(estimator, X, y, X_test, n_attacks=20, **kwargs)
    assert report.n_attacks["refit as is"] == 1
    assert sum(report.n_attacks.values()) > 20
    assert report.smallest_slack is None or report.smallest_slack >= 1


def test_audit_repeats_itself():
    one, two = (check_certificate(dpa(), X_TRAIN, Y_TRAIN, X_TEST, n_attacks=8) for _ in range(2))
    assert one == two


def test_audit_finds_attacks_that_beat_one_more_than_the_radius():
    # On a coarse table one operation beyond the radius often suffices, and the audit says so.
    A = np.round(X_TRAIN)
    report = check_certificate(dpa(n_partitions=5), A, Y_TRAIN, np.round(X_TEST), n_attacks=34)
    assert report.smallest_slack == 1


def test_data_that_fit_refuses_are_reported():
    model = dpa(MultinomialNB(), classes=[0, 1, 2])

    class Picky(DeepPartitionAggregation):
        def fit(self, X, y, **params):
            if np.abs(X).max() > 100:
                raise ValueError("too large")
            return super().fit(X, y, **params)

    picky = Picky(model.estimator, 9)
    report = check_certificate(picky, X_TRAIN, Y_TRAIN, X_TEST, n_attacks=20)
    assert report.refused["rows inserted: outliers"] == "ValueError: too large"
    assert "rows inserted: outliers" not in report.n_attacks


def test_estimator_is_left_unfitted_and_cache_unused(tmp_path):
    model = dpa(memory=str(tmp_path))
    check_certificate(model, X_TRAIN, Y_TRAIN, X_TEST, n_attacks=1)
    assert not hasattr(model, "classes_")
    assert not list(tmp_path.iterdir())


def test_estimator_without_certify_is_refused():
    with pytest.raises(TypeError, match="no method certify"):
        check_certificate(RidgeClassifier(), X_TRAIN, Y_TRAIN, X_TEST)


def test_progress_bar_is_shown_on_demand(capsys):
    check_certificate(dpa(), X_TRAIN, Y_TRAIN, X_TEST, n_attacks=1)
    assert capsys.readouterr().err == ""
    check_certificate(dpa(), X_TRAIN, Y_TRAIN, X_TEST, n_attacks=1, verbose=1)
    assert "audit" in capsys.readouterr().err


# ---------------------------------------------------------------- villains


class Unseeded(ClassifierMixin, BaseEstimator):
    """Draws its own entropy."""

    def fit(self, X, y):
        # numpy's own entropy is seeded, that of the operating system is not.
        w = np.random.default_rng(secrets.randbits(64)).random(len(y))
        self.model_ = DecisionTreeClassifier(random_state=0).fit(X, y, sample_weight=w)
        self.classes_ = self.model_.classes_
        return self

    def predict(self, X):
        return self.model_.predict(X)


class RemembersEverything(Unseeded):
    """Scales by statistics of all rows that any member has ever seen."""

    seen = []

    def fit(self, X, y):
        self.seen.append(np.array(X))
        self.scale_ = np.concatenate(self.seen).mean(axis=0)
        self.model_ = RidgeClassifier(alpha=10).fit(X / self.scale_, y)
        self.classes_ = self.model_.classes_
        return self

    def predict(self, X):
        return self.model_.predict(X / self.scale_)


class KnowsTheUnion(Unseeded):
    """Draws one random direction for every label of the union, as a net's last layer would."""

    def __init__(self, labels=()):
        self.labels = labels

    def fit(self, X, y):
        rng = np.random.default_rng(0)
        self.directions_ = rng.normal(size=(len(self.labels), X.shape[1]))
        self.model_ = DecisionTreeClassifier(random_state=0).fit(X @ self.directions_.T, y)
        self.classes_ = self.model_.classes_
        return self

    def predict(self, X):
        return self.model_.predict(X @ self.directions_.T)


class EncodesTheUnion(DeepPartitionAggregation):
    def fit(self, X, y, **params):
        self.estimator = KnowsTheUnion(np.unique(y))
        return super().fit(X, y, **params)


class ScalesGlobally(DeepPartitionAggregation):
    """Fits a scaler on all rows, hidden in fit."""

    def fit(self, X, y, **params):
        self.scaler_ = StandardScaler().fit(X)
        return super().fit(self.scaler_.transform(X), y, **params)

    def _features_of(self, X):
        return super()._features_of(self.scaler_.transform(X))


class SeedsBySize(DeepPartitionAggregation):
    """Takes its seed from the number of all rows; promises too little to be caught by a radius."""

    def fit(self, X, y, **params):
        self.random_state = len(y)
        return super().fit(X, y, **params)

    def certify(self, X, threat=None):
        y_pred, radius = super().certify(X, threat)
        return Certificate(y_pred, radius * 0)


class Boaster(ClassifierMixin, BaseEstimator):
    """One model, no ballots, and an invented radius."""

    def __init__(self, promise=3, classes=None):
        self.promise, self.classes = promise, classes

    def fit(self, X, y):
        order = np.lexsort((y, *X.T[::-1]))
        self.model_ = DecisionTreeClassifier(random_state=0).fit(X[order], y[order])
        self.classes_ = self.model_.classes_
        return self

    def predict(self, X):
        return self.model_.predict(X)

    def certify(self, X, threat=None):
        if threat not in (None, "insertion_deletion"):
            raise ValueError("unknown threat")
        return Certificate(self.predict(X), np.full(len(X), self.promise))


class Contradicts(Boaster):
    def certify(self, X, threat=None):
        certificate = super().certify(X, threat)
        return certificate._replace(y_pred=(certificate.y_pred + 1) % 3)


class CoarseCost(DeepPartitionAggregation):
    """Counts a replacement, which moves a row from one partition to another, as one change."""

    def certify(self, X, threat=None):
        return super().certify(X, "insertion_deletion")


class LooksAtTheBatch(DeepPartitionAggregation):
    """Centres the test rows on one another."""

    def _features_of(self, X):
        return super()._features_of(X - X.mean(axis=0) + 4)


def rows_by_rank(A):
    return np.argsort(np.argsort(A[:, 0], kind="stable"), kind="stable")


def scaled_signs(A):
    return (A - A.mean(axis=0) > 0) @ 2 ** np.arange(A.shape[1])


def float_sum(A):
    return (A.sum(axis=1) * 1e6).astype(int)


VILLAINS = {
    "unseeded member": (dpa(Unseeded()), "without any operation"),
    "state shared by members": (dpa(RemembersEverything()), "without any operation"),
    "scaler inside a hasher": (dpa(hasher=scaled_signs), "changes the hash of a row"),
    "float sum as hasher": (dpa(hasher=float_sum), "changes the hash of a row"),
    "rank as hasher": (dpa(hasher=rows_by_rank), "changes the hash of a row"),
    "scaler before the ensemble": (
        make_pipeline(StandardScaler(), dpa()),
        "without any operation|not touch",
    ),
    "scaler hidden in fit": (ScalesGlobally(None, 9), "without any operation|not touch"),
    "labels of the union": (EncodesTheUnion(None, 9), "smaller new label"),
    "seed from the size of the set": (
        SeedsBySize(DecisionTreeClassifier(max_features=1), 9),
        "members whose partitions it does not touch",
    ),
    "invented radius": (Boaster(), "within its certified radius of 3"),
    "predict at odds with certify": (Contradicts(), "predicted for test row"),
    "test rows centred": (LooksAtTheBatch(None, 9), "without any operation"),
}


@pytest.mark.parametrize(("villain", "reason"), VILLAINS.values(), ids=VILLAINS.keys())
def test_villain_is_caught(villain, reason):
    RemembersEverything.seen.clear()
    with pytest.raises(BrokenCertificateError, match=f"(?s)is void.*({reason})"):
        check_certificate(villain, X_TRAIN, Y_TRAIN, X_TEST)


def test_float_sum_is_caught_whatever_the_rows():
    # Sums of random rows hardly ever sit at a border between integers.
    A = np.random.default_rng(0).random((60, 20))
    y = np.arange(60) % 2
    with pytest.raises(BrokenCertificateError, match="changes the hash of a row"):
        check_certificate(dpa(hasher=float_sum), A, y, A[:5])


def test_order_of_summation_alone_gives_a_float_sum_away():
    # In double precision throughout, so that only the order of summation is left.
    def double_sum(A):
        return (A.astype(np.float64, order="K").sum(axis=1) * 2.0**30).astype(np.int64)

    A = np.random.default_rng(0).random((60, 20)).astype(np.float32).astype(np.float64)
    with pytest.raises(BrokenCertificateError, match="changes the hash of a row"):
        check_certificate(dpa(hasher=double_sum), A, np.arange(60) % 2, A[:5])


def test_cost_of_a_replacement_is_checked():
    model = CoarseCost(KNeighborsClassifier(1), 40)
    with pytest.raises(BrokenCertificateError, match="threat='replacement'"):
        check_certificate(model, X_TRAIN, Y_TRAIN, X_TEST, n_attacks=100)


def test_counterexample_can_be_replayed():
    model = Boaster()
    with pytest.raises(BrokenCertificateError) as caught:
        check_certificate(model, X_TRAIN, Y_TRAIN, X_TEST)
    error, attack = caught.value, caught.value.attack
    before = clone(model).fit(X_TRAIN, Y_TRAIN).predict(X_TEST)[error.test_index]
    after = clone(model).fit(attack.X, attack.y).predict(X_TEST)[error.test_index]
    assert before != after
    assert attack.n_operations["insertion_deletion"] <= error.radius == 3
    assert f"test row {error.test_index} from {before.item()!r} to {after.item()!r}" in str(error)
    np.testing.assert_array_equal(attack.X[attack.kept], X_TRAIN[attack.origin])
    np.testing.assert_array_equal(attack.y[attack.kept], Y_TRAIN[attack.origin])


def test_message_quotes_certificate_warnings():
    with pytest.raises(BrokenCertificateError, match="A fit warned: The certificate"):
        check_certificate(make_pipeline(StandardScaler(), dpa()), X_TRAIN, Y_TRAIN, X_TEST)


def test_sources_must_be_counted_not_rows():
    class IgnoresSources(DeepPartitionAggregation):
        def fit(self, X, y, groups=None):
            return super().fit(X, y)

    with pytest.raises(BrokenCertificateError, match=r"(?s)within its certified radius.*source"):
        check_certificate(
            IgnoresSources(None, 9), X_TRAIN, Y_TRAIN, X_TEST, groups=np.arange(len(Y_TRAIN)) % 4
        )


SIBLINGS = [
    DeepPartitionAggregation(RidgeClassifier(), 12, aggregation="run_off"),
    DeepPartitionAggregation(GaussianNB(), 12, aggregation="run_off", classes=range(10)),
    DeepPartitionAggregation(DecisionTreeClassifier(), 6, spread_degree=3),
    DeepPartitionAggregation(GaussianNB(), 6, spread_degree=2, aggregation="run_off"),
    SemiSupervisedDPA(RidgeClassifier(), 12),
    SemiSupervisedDPA(RidgeClassifier(), 8, certificate="members"),
    LabelFlipSmoothingClassifier(classes=range(10)),
    LabelFlipSmoothingClassifier(certificate="tight"),
]


@pytest.mark.parametrize("estimator", SIBLINGS, ids=str)
def test_every_estimator_of_the_package_passes(estimator):
    X, y = load_digits(return_X_y=True)
    report = check_certificate(estimator, X[:200] / 7, y[:200], X[300:330], n_attacks=25)
    assert report.n_attacks["labels flipped"] >= 1
    assert report.smallest_slack is None or report.smallest_slack >= 1
