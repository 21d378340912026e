"""Nearest neighbours: an order that depends on values alone, and promises that attacks keep."""

import numpy as np
import pytest
from joblib import parallel_config
from sklearn.base import clone
from sklearn.datasets import load_digits, load_iris
from sklearn.neighbors import KNeighborsClassifier

from certified_ensembles import Certificate
from certified_ensembles._data import nearest as nearest_file
from certified_ensembles._data.nearest import NearestRows
from certified_ensembles.audit import check_certificate
from certified_ensembles.neighbors import CertifiedKNeighborsClassifier

X, Y = load_iris(return_X_y=True)
X_TRAIN, Y_TRAIN, X_TEST = X[::2], Y[::2], X[1::4]


# ---------------------------------------------------------------- the order of rows


def by_definition(rows, X):
    """Order training rows by the definition: feature after feature, in plain Python floats."""
    order = []
    for x in X.tolist():
        distance = []
        for t in rows.tolist():
            total = 0.0
            for a, b in zip(x, t, strict=True):
                total += (a - b) * (a - b)
            distance.append(total)
        order.append(np.argsort(distance, kind="stable"))
    return np.array(order)


def clouds(rng, n_train):
    """Rows of all kinds: with ties, near ties, copies, far from zero, beyond all bounds."""
    p = int(rng.integers(1, 9))
    kind = rng.integers(6)
    rows = rng.normal(size=(n_train, p))
    if kind == 0:  # sums of tenths: equal in theory, apart in the last bit
        rows = rng.integers(-3, 4, (n_train, p)) * 0.1
    elif kind == 1:
        rows = rng.integers(0, 4, (n_train, p)).astype(float)
    elif kind == 2:  # a product of matrices cancels here
        rows = 1e6 + rng.integers(0, 3, (n_train, p)) * 1e-7
    elif kind == 3:
        rows[rng.random(n_train) < 0.5] = rows[0]
    elif kind == 4:
        rows *= 10.0 ** rng.integers(-170, 200, (n_train, 1))
    elif kind == 5:  # a row beside its mirror image: a perfect tie seen from the middle
        rows[1::2] = -rows[::2][: len(rows[1::2])]
    return rows


@pytest.mark.parametrize("seed", range(60))
def test_order_is_that_of_the_definition(seed):
    rng = np.random.default_rng(seed)
    n_train = int(rng.integers(2, 90))
    rows = clouds(rng, n_train)
    X = np.concatenate([rows[:3], rows[:1] * 0, rng.normal(size=(3, rows.shape[1]))])
    with np.errstate(over="ignore"):
        expected = by_definition(rows, X)
    for n_nearest in {1, n_train // 2 + 1, n_train}:
        found = NearestRows(rows).find(X, n_nearest)
        np.testing.assert_array_equal(found, expected[:, :n_nearest])


def test_rows_beyond_all_bounds_tie_in_their_order():
    rng = np.random.default_rng(0)
    rows = rng.choice([-1e200, 1e200, 3e170, 1e151], (90, 3))
    rows[::7] = rng.normal(size=(13, 3))
    X = np.concatenate([rows[1:9], rng.normal(size=(4, 3)), np.zeros((1, 3))])
    with np.errstate(over="ignore"):
        expected = by_definition(rows, X)
    for n_nearest in (10, 30, 60):
        found = NearestRows(rows).find(X, n_nearest)
        np.testing.assert_array_equal(found, expected[:, :n_nearest])


def test_small_blocks_give_the_same_order(monkeypatch):
    rng = np.random.default_rng(0)
    rows, X = clouds(rng, 80), None
    X = rows[::9] + 0.05
    expected = NearestRows(rows).find(X, 20)
    monkeypatch.setattr(nearest_file, "_CHUNK_ROWS", 7)
    monkeypatch.setattr(nearest_file, "_BLOCK_ELEMENTS", 3)
    monkeypatch.setattr(nearest_file, "_SPARE", 1)
    np.testing.assert_array_equal(NearestRows(rows).find(X, 20), expected)


def test_single_precision_rows_are_the_same_numbers():
    rng = np.random.default_rng(1)
    rows = rng.normal(size=(70, 5)).astype(np.float32)
    X = rng.normal(size=(9, 5)).astype(np.float32)
    wide = NearestRows(rows.astype(np.float64)).find(X.astype(np.float64), 30)
    np.testing.assert_array_equal(NearestRows(rows).find(X, 30), wide)


# ---------------------------------------------------------------- the classifier


def test_votes_are_those_of_scikit_learn_where_nothing_is_tied():
    digits, y = load_digits(return_X_y=True)
    rng = np.random.default_rng(0)
    digits = digits + rng.normal(size=digits.shape)
    clf = CertifiedKNeighborsClassifier(7).fit(digits[:900], y[:900])
    theirs = KNeighborsClassifier(7).fit(digits[:900], y[:900])
    np.testing.assert_array_equal(clf.predict(digits[900:]), theirs.predict(digits[900:]))
    np.testing.assert_allclose(clf.predict_proba(digits[900:]), theirs.predict_proba(digits[900:]))
    assert (clf.vote_counts(digits[900:]).sum(axis=1) == 7).all()


def test_certificate_agrees_with_predict():
    clf = CertifiedKNeighborsClassifier(9).fit(X_TRAIN, Y_TRAIN)
    for threat in (None, "insertion_deletion", "label_flip", "replacement"):
        certificate = clf.certify(X_TEST, threat=threat)
        assert isinstance(certificate, Certificate)
        assert certificate.radius.dtype == np.int64
        np.testing.assert_array_equal(certificate.y_pred, clf.predict(X_TEST))
        assert 0 <= certificate.radius.min() <= certificate.radius.max() <= 4


@pytest.mark.parametrize("k", [1, 4, 9])
def test_order_of_rows_and_their_container_change_nothing(k):
    rng = np.random.default_rng(k)
    y = rng.integers(0, 3, len(X_TRAIN))  # labels at random: every tie shows
    rounded = np.round(X_TRAIN).astype(np.float32)
    reference = CertifiedKNeighborsClassifier(k).fit(rounded, y).certify(X_TEST)
    order = rng.permutation(len(y))
    for rows in (rounded[order], np.asfortranarray(rounded[order], dtype=float)):
        for n_jobs in (None, 2):
            clf = CertifiedKNeighborsClassifier(k, n_jobs=n_jobs).fit(rows, y[order])
            for one, other in zip(clf.certify(X_TEST), reference, strict=True):
                np.testing.assert_array_equal(one, other)


def test_test_rows_in_other_company_get_the_same_answer():
    digits, y = load_digits(return_X_y=True)
    clf = CertifiedKNeighborsClassifier(20).fit(digits[:600] / 16.5, y[:600])
    y_pred, radius = clf.certify(digits[600:] / 16.5)
    for rows in ([0], [700], range(100, 300)):
        part = clf.certify(digits[600:][rows] / 16.5)
        np.testing.assert_array_equal(part.y_pred, y_pred[rows])
        np.testing.assert_array_equal(part.radius, radius[rows])


def test_rows_that_reach_no_vote_change_nothing():
    digits, y = load_digits(return_X_y=True)
    digits = digits / 3
    clf = CertifiedKNeighborsClassifier(15, classes=range(10)).fit(digits[:500], y[:500])
    reference = clf.certify(digits[500:700])
    far = np.array([[1e9] * 64, [-7.3] * 64, [1e200] * 64, [3e-200 - 9] * 64])
    for i in range(len(far)):
        more = clone(clf).fit(
            np.concatenate([far[: i + 1], digits[:500]]), np.append([3] * (i + 1), y[:500])
        )
        for one, other in zip(more.certify(digits[500:700]), reference, strict=True):
            np.testing.assert_array_equal(one, other)


AUDITED = {
    "measurements": (X_TRAIN, Y_TRAIN, X_TEST),
    "integers": (np.round(X_TRAIN), Y_TRAIN, np.round(X_TEST)),
    "names": (X_TRAIN, np.array(["a", "b", "c"])[Y_TRAIN], X_TEST),
    "training rows": (X_TRAIN, Y_TRAIN, X_TRAIN[::5]),
}


@pytest.mark.parametrize("k", [4, 9])
@pytest.mark.parametrize("name", AUDITED)
def test_audit_finds_no_attack(name, k):
    clf = CertifiedKNeighborsClassifier(k)
    # One case tries another process, which takes seconds to start.
    with parallel_config("loky" if (name, k) == ("names", 9) else "threading"):
        report = check_certificate(clf, *AUDITED[name], n_attacks=40)
    assert report.n_attacks["labels flipped"] > 1
    assert report.smallest_slack is None or report.smallest_slack >= 1


def test_attack_of_one_operation_more_succeeds():
    clf = CertifiedKNeighborsClassifier(9, classes=[0, 1, 2]).fit(X_TRAIN, Y_TRAIN)
    y_pred, radius = clf.certify(X_TEST)
    beaten = 0
    for x, label, r in zip(X_TEST, y_pred, radius, strict=True):
        # The better of all mixes of copies of x with another label and of deleted neighbours.
        nearest = np.argsort(((X_TRAIN - x) ** 2).sum(axis=1), kind="stable")
        own = nearest[Y_TRAIN[nearest] == label]
        outcomes = set()
        for d in range(r + 2):
            for b in {0, 1, 2} - {label}:
                rows = np.concatenate(
                    [np.delete(X_TRAIN, own[:d], axis=0), np.tile(x, (r + 1 - d, 1))]
                )
                labels = np.append(np.delete(Y_TRAIN, own[:d]), [b] * (r + 1 - d))
                outcomes.add(clone(clf).fit(rows, labels).predict([x])[0] != label)
        beaten += True in outcomes
    assert beaten > 0.9 * len(X_TEST)


def test_closed_label_set_refuses_other_labels_and_raises_radii():
    with pytest.raises(ValueError, match="labels that are not among classes"):
        CertifiedKNeighborsClassifier(classes=[0, 1]).fit(X_TRAIN, Y_TRAIN)
    closed = CertifiedKNeighborsClassifier(4, classes=[0, 1, 2]).fit(X_TRAIN, Y_TRAIN)
    opened = CertifiedKNeighborsClassifier(4).fit(X_TRAIN, Y_TRAIN)
    one, other = closed.certify(X_TEST), opened.certify(X_TEST)
    assert (one.radius >= other.radius).all()
    assert (one.radius > other.radius).any()


@pytest.mark.parametrize(
    ("k", "rows", "message"),
    [
        (76, X_TRAIN, "n_neighbors=76 is more than n_samples=75"),
        (0, X_TRAIN, "'n_neighbors' parameter"),
        (3, np.where(X_TRAIN > 5, np.nan, X_TRAIN), "NaN"),
    ],
)
def test_refusals_name_the_value(k, rows, message):
    with pytest.raises(ValueError, match=message):
        CertifiedKNeighborsClassifier(k).fit(rows, Y_TRAIN)


def test_unknown_threat_is_named():
    clf = CertifiedKNeighborsClassifier().fit(X_TRAIN, Y_TRAIN)
    with pytest.raises(ValueError, match="threat='backdoor' is unknown"):
        clf.certify(X_TEST, threat="backdoor")
