"""Periods of time: what whoever owns whole days can do, and what new days cost."""

import itertools
import warnings

import joblib
import numpy as np
import pandas as pd
import pytest
from sklearn.base import BaseEstimator, ClassifierMixin, clone
from sklearn.datasets import load_digits
from sklearn.linear_model import RidgeClassifier
from sklearn.naive_bayes import GaussianNB
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer
from sklearn.tree import DecisionTreeClassifier

from certified_ensembles import CertificateWarning, DeepPartitionAggregation
from certified_ensembles._data.periods import CYCLE
from certified_ensembles._linear import scoring
from certified_ensembles.abstention import CertifiedAbstention
from certified_ensembles.certificates import window_radius
from certified_ensembles.display import CertifiedAccuracyDisplay
from certified_ensembles.metrics import certified_accuracy_score, make_certified_accuracy_scorer

X_DIGITS, Y_DIGITS = load_digits(return_X_y=True)
X, Y = X_DIGITS[:400], Y_DIGITS[:400]
X_TEST, Y_TEST = X_DIGITS[400:500], Y_DIGITS[400:500]
DAYS = 12_000 + np.arange(400) // 20


def dpa(estimator=None, **kwargs):
    return DeepPartitionAggregation(GaussianNB() if estimator is None else estimator, **kwargs)


# ---------------------------------------------------------------- attacks on the promise

# A few days of few rows, so that many hostile training sets can be tried; day 3 has none.
SMALL_DAYS = np.repeat([0, 1, 2, 4, 5, 6, 7, 8, 9, 10], 3)


def small_rows(seed=0):
    """Return rows of three classes in the plane, and rows to ask about."""
    rng = np.random.default_rng(seed)
    y = rng.integers(0, 3, len(SMALL_DAYS))
    X = rng.normal(size=(len(y), 2)) + 3 * y[:, None]
    asked = rng.integers(0, 3, 40)
    return X, y, rng.normal(size=(40, 2)) + 3 * asked[:, None]


def owned_windows(size, newest):
    """Yield windows of days, also such as reach beyond the ends."""
    first = SMALL_DAYS.max() - size + 1 if newest else SMALL_DAYS.min() - size
    for start in range(first, SMALL_DAYS.max() + 2):
        yield np.arange(start, start + size)


def with_hostile_days(X, y, owned, rows, labels):
    """Replace all rows of some days by the given ones, on each of these days."""
    kept = ~np.isin(SMALL_DAYS, owned)
    days = np.repeat(owned, len(rows))
    return (
        np.concatenate([X[kept], np.tile(rows, (len(owned), 1))]),
        np.concatenate([y[kept], np.tile(labels, len(owned))]),
        np.concatenate([SMALL_DAYS[kept], days]),
    )


@pytest.mark.parametrize("threat", ["duration", "earliness"])
@pytest.mark.parametrize("width", [1, 2])
@pytest.mark.parametrize("classes", [[0, 1, 2], None], ids=["closed", "open"])
def test_no_hostile_days_within_the_radius_change_a_prediction(threat, width, classes):
    # A hundred refits of some milliseconds each. The nearest neighbour obeys at once.
    X, y, X_test = small_rows()
    clf = dpa(KNeighborsClassifier(1), spread_degree=width, classes=classes)
    clf.fit(X, y, periods=SMALL_DAYS)
    y_pred, radius = clf.certify(X_test, threat)
    assert len(set(radius)) > 1
    votes = clf.vote_counts(X_test)
    votes[np.arange(len(votes)), y_pred] = -1
    hostile = [(X_test, votes.argmax(axis=1)), (X_test[:0], y_pred[:0])]  # or nothing is left
    if classes is None:
        hostile[1] = X_test, np.full(len(X_test), -1)
    fallen = np.full(len(X_test), 99)
    for size in range(1, radius.max() + 2):
        for owned in owned_windows(size, threat == "earliness"):
            for rows, labels in hostile:
                attacked = with_hostile_days(X, y, owned, rows, labels)
                found = clone(clf).fit(*attacked[:2], periods=attacked[2]).predict(X_test)
                fallen[found != y_pred] = np.minimum(fallen[found != y_pred], size)
    assert (fallen > radius).all()
    # One day more is enough, but where a day without rows is counted as if it could vote, or
    # another rival is nearer.
    assert (fallen == radius + 1).mean() > 0.7


@pytest.mark.parametrize("width", [1, 3])
def test_days_far_apart_are_counted_by_the_other_threats(width):
    # Some dozen refits of some milliseconds.
    X, y, X_test = small_rows(1)
    clf = dpa(KNeighborsClassifier(1), spread_degree=width, classes=range(3))
    clf.fit(X, y, periods=SMALL_DAYS)
    y_pred, radius = clf.certify(X_test)
    np.testing.assert_array_equal(clf.certify(X_test, "replacement").radius, radius)
    assert radius.max() >= 1
    rng = np.random.default_rng(0)
    changed = 0
    for size, shift in itertools.product((radius.max(), 5), (1, 2) * 8):
        owned = rng.choice(np.arange(-2, 13), size, replace=False)
        attacked = with_hostile_days(X, y, owned, X_test, (y_pred + shift) % 3)
        found = clone(clf).fit(*attacked[:2], periods=attacked[2]).predict(X_test)
        assert (found == y_pred)[radius >= size].all()
        changed += np.count_nonzero(found != y_pred)
    assert changed > 0


@pytest.mark.parametrize("width", [1, 4])
@pytest.mark.parametrize("estimator", [GaussianNB(), RidgeClassifier()], ids=str)
@pytest.mark.parametrize("new_day", [3, 12_005, 12_030, 9_999_999])
def test_one_day_reaches_the_members_trained_on_it_and_no_others(width, estimator, new_day):
    clf = dpa(estimator, spread_degree=width, classes=range(10)).fit(X, Y, periods=DAYS)
    attacked = clone(clf)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", CertificateWarning)  # days without rows
        attacked.fit(
            np.concatenate([X[DAYS != new_day], X_TEST]),
            np.concatenate([Y[DAYS != new_day], np.roll(Y_TEST, 1)]),
            periods=np.concatenate([DAYS[DAYS != new_day], np.full(100, new_day)]),
        )
    ballots, others = by_day(clf, clf.ballots(X_TEST)), by_day(attacked, attacked.ballots(X_TEST))
    reached = {day for day in others if new_day <= day < new_day + width}
    assert {day for day in set(ballots) - reached if ballots[day] != others.get(day)} == set()
    assert any(others[day] != ballots.get(day) for day in reached)
    assert set(others) - set(ballots) <= {new_day}


def by_day(clf, ballots):
    """Return the ballots of every day that votes."""
    votes = ballots.T.tolist()
    return {d: v for d, v in zip(clf.periods_.tolist(), votes, strict=True) if set(v) != {-1}}


# ---------------------------------------------------------------- what decides a member


@pytest.mark.parametrize("n_seeds", [1, 2])
@pytest.mark.parametrize("first", [0, 11_999, 12_001, CYCLE - 1, -5])
def test_scores_of_linear_members_do_not_depend_on_which_day_is_the_oldest(first, n_seeds):
    # To the last bit: the place of a member in a product follows from its day alone.
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(300, 37)), rng.integers(0, 3, 300)
    days = first + np.arange(300) // 10
    clf = dpa(RidgeClassifier(), n_seeds=n_seeds, classes=range(3)).fit(X, y, periods=days)
    for some in (days > first, days < first + 20, days > first + 12):
        fewer = clone(clf).fit(X[some], y[some], periods=days[some])
        shared = np.flatnonzero(np.isin(clf.periods_, fewer.periods_))
        (found,), (expected,) = (
            fewer._ask(fewer._members.scores, X),
            clf._ask(clf._members.scores, X),
        )
        np.testing.assert_array_equal(found, expected[:, shared])
        np.testing.assert_array_equal(fewer.ballots(X), clf.ballots(X)[:, shared])


@pytest.mark.parametrize("n_seeds", [1, 2])
@pytest.mark.parametrize("first", [0, 12_001, CYCLE - 1, -5])
def test_the_place_of_a_member_in_products_follows_from_its_day(first, n_seeds):
    days = first + np.arange(400) // 20
    clf = dpa(RidgeClassifier(), n_seeds=n_seeds).fit(X, Y, periods=days)
    voters, views = clf._members._asked()
    assert len(voters) == len(views)
    assert len(voters) % CYCLE == 0
    place = {id(voter): i for i, voter in enumerate(voters)}
    for i, member in enumerate(clf.estimators_):
        day, seed = clf.periods_[i // n_seeds], i % n_seeds
        assert place[id(member)] % CYCLE == (day * n_seeds + seed) % CYCLE


def test_places_in_products_repeat_with_the_cycle():
    for most in (scoring._STACKED, scoring._STACKED_WIDE):
        assert CYCLE % most == 0
        for n_members in (CYCLE, 3 * CYCLE):
            assert scoring._stacks(n_members, most)[1] == most


def test_votes_agree_with_ballots():
    for estimator in (RidgeClassifier(), GaussianNB()):
        clf = dpa(estimator, spread_degree=2).fit(X, Y, periods=DAYS)
        ballots, votes = clf.ballots(X_TEST), clf.vote_counts(X_TEST)
        assert ballots.shape == (100, 20)
        np.testing.assert_array_equal(votes, [np.bincount(b, minlength=10) for b in ballots])
        for threat in ("duration", "earliness"):
            y_pred, radius = clf.certify(X_TEST, threat)
            np.testing.assert_array_equal(y_pred, clf.predict(X_TEST))
            expected = window_radius(
                ballots,
                10,
                width=2,
                newest=threat == "earliness",
                open_set=True,
                open_ends=True,
            )
            np.testing.assert_array_equal(radius, expected)


@pytest.mark.parametrize("width", [1, 3])
def test_members_see_their_own_day_and_those_before_it(width):
    days = np.where(DAYS == 12_007, 12_006, DAYS)  # nothing came in on day 7
    clf = dpa(spread_degree=width).fit(X, Y, periods=days)
    assert clf.periods_.tolist() == list(range(12_000, 12_020))
    np.testing.assert_array_equal(clf.periods_[clf.partition_], days)
    assert clf.spread_ is None
    assert clf.partitioned_by_ == "period"
    for day, member in zip(clf.periods_, clf.estimators_, strict=True):
        rows = (days <= day) & (days > day - width)
        if day == 12_007:
            assert member is None
        else:
            np.testing.assert_array_equal(
                member.class_count_, np.bincount(Y[rows])[member.classes_]
            )
    assert (clf.ballots(X_TEST)[:, 7] == -1).all()


class Seeded(ClassifierMixin, BaseEstimator):
    """Notes its seed."""

    def __init__(self, random_state=None):
        self.random_state = random_state

    def fit(self, X, y):
        self.classes_ = np.unique(y)
        return self

    def predict_proba(self, X):
        return np.ones((len(X), len(self.classes_)))

    def predict(self, X):
        return np.full(len(X), self.classes_[0])


@pytest.mark.parametrize(
    ("first", "how", "seeds"),
    [
        (12_000, {}, range(12_000, 12_020)),
        (12_000, {"random_state": 7}, range(12_007, 12_027)),
        (-3, {}, [2**32 - 3, 2**32 - 2, 2**32 - 1, *range(17)]),
        (2**53 - 40, {}, range(2**32 - 40, 2**32 - 20)),
        (10, {"n_seeds": 3, "random_state": 1}, range(31, 91)),
        (10, {"n_seeds": 2, "distinct_seeds": False, "random_state": 5}, [5, 6] * 20),
    ],
)
def test_seeds_follow_from_the_period(first, how, seeds):
    clf = dpa(Seeded(), **how).fit(X, Y, periods=DAYS - 12_000 + first)
    assert [member.random_state for member in clf.estimators_] == list(seeds)


def draws(X):
    """Add noise of the process' own generator."""
    return X + np.random.normal(size=X.shape)  # noqa: NPY002


def test_shared_steps_that_draw_are_seeded_whatever_the_oldest_day_is():
    clf = dpa(make_pipeline(FunctionTransformer(draws), DecisionTreeClassifier()))
    full = clone(clf).fit(X, Y, periods=DAYS).ballots(X_TEST)
    later = DAYS > 12_000
    np.testing.assert_array_equal(
        clone(clf).fit(X[later], Y[later], periods=DAYS[later]).ballots(X_TEST), full[:, 1:]
    )


def test_a_new_day_trains_its_own_member_alone(tmp_path):
    log = tmp_path / "log"
    log.touch()
    clf = dpa(Counted(str(log)), spread_degree=3)
    clf.set_params(memory=joblib.Memory(tmp_path / "cache", verbose=0))
    seen = DAYS < 12_015
    before = clf.fit(X[seen], Y[seen], periods=DAYS[seen]).ballots(X_TEST)
    trained = []
    for day in (12_015, 12_016, 12_019):
        n_before = len(log.read_text().split())
        seen = DAYS <= day
        clf.fit(X[seen], Y[seen], periods=DAYS[seen])
        trained.append(len(log.read_text().split()) - n_before)
    assert trained == [1, 1, 3]
    np.testing.assert_array_equal(clf.ballots(X_TEST)[:, :15], before)
    n_before = len(log.read_text().split())
    late = DAYS > 12_004  # the oldest days are forgotten: two members saw some of them
    clf.fit(X[late], Y[late], periods=DAYS[late])
    assert len(log.read_text().split()) - n_before == 2


class Counted(GaussianNB):
    """Notes every training in a file."""

    def __init__(self, log=""):
        super().__init__()
        self.log = log

    def fit(self, X, y):
        with open(self.log, "a") as file:
            file.write(f"{len(y)}\n")
        return super().fit(X, y)


# ---------------------------------------------------------------- gaps


@pytest.mark.parametrize("gap", [30, 245, 1_000, 10**12])
@pytest.mark.parametrize("width", [1, 3])
def test_a_long_gap_is_cut_and_changes_no_radius(gap, width):
    apart = DAYS + gap * (DAYS >= 12_013)
    clf = dpa(spread_degree=width)
    with pytest.warns(CertificateWarning, match="only 20 of those from 12000 to"):
        clf.fit(X, Y, periods=apart)
    assert len(clf.periods_) <= 20 + 20 + width + CYCLE
    np.testing.assert_array_equal(clf.periods_[clf.partition_], apart)
    for threat in ("duration", "earliness"):
        radius = clf.certify(X_TEST, threat).radius
        long = np.full((100, 20 + min(gap, 1000)), -1)  # longer than any window, in full
        long[:, :13], long[:, -7:] = clf.ballots(X_TEST)[:, :13], clf.ballots(X_TEST)[:, -7:]
        how = {"width": width, "newest": threat == "earliness", "open_set": True}
        expected = window_radius(long, 10, open_ends=True, **how)
        np.testing.assert_array_equal(radius, expected)


def test_seconds_in_place_of_days_are_refused():
    seconds = 86_400 * np.arange(3000)
    with pytest.raises(ValueError, match=r"periods from 0 to \d+ are too many.*days in place"):
        dpa().fit(np.zeros((3000, 1)), np.arange(3000) % 2, periods=seconds)


# ---------------------------------------------------------------- forms and refusals

FORMS = {
    "list": list,
    "series": pd.Series,
    "nullable": lambda days: pd.Series(days, dtype="Int64"),
    "floats": lambda days: days.astype(float),
    "bytes": lambda days: (days - 12_000).astype(np.uint8),
    "objects": lambda days: days.astype(object),
    "numbered dates": lambda days: days.astype("datetime64[D]").astype(int),
}


@pytest.mark.parametrize("form", FORMS)
def test_whole_numbers_of_any_type_are_periods(form):
    clf = dpa().fit(X, Y, periods=FORMS[form](DAYS))
    np.testing.assert_array_equal(clf.partition_, DAYS - 12_000)


@pytest.mark.parametrize(
    ("periods", "error", "match"),
    [
        (DAYS[:-1], ValueError, r"periods is inconsistent with X.*\(399,\) for 400 rows"),
        (DAYS[:, None], ValueError, r"shape \(400, 1\)"),
        (DAYS + 0.5, ValueError, r"whole numbers up to 2\*\*53, got 12000.5 at index 0"),
        (np.where(DAYS == 12_003, np.nan, DAYS), ValueError, "got nan at index 60"),
        ([None, *DAYS[1:]], ValueError, "got nan at index 0"),
        (pd.Series(DAYS, dtype="Int64").mask(DAYS == 12_001), ValueError, "got nan at index 20"),
        (np.ma.masked_equal(DAYS, 12_001), ValueError, "got nan at index 20"),
        (DAYS * 2.0**60, ValueError, "got 1.38"),
        (DAYS > 12_003, TypeError, "whole numbers in the order of time, got dtype bool"),
        (DAYS.astype("datetime64[D]"), TypeError, r"Number them: for days, dates\.astype"),
        (DAYS.astype(str), TypeError, "must hold whole numbers"),
        ([*DAYS[1:], "today"], TypeError, "must hold whole numbers"),
        (pd.Series(pd.to_datetime(DAYS, unit="D")).astype(object), TypeError, "a Timestamp"),
    ],
)
def test_what_is_no_whole_number_is_refused(periods, error, match):
    with pytest.raises(error, match=match):
        dpa().fit(X, Y, periods=periods)


def test_what_is_not_certified_is_refused():
    with pytest.raises(ValueError, match="groups and periods were both passed"):
        dpa().fit(X, Y, groups=DAYS, periods=DAYS)
    with pytest.raises(ValueError, match="random_state=None is refused"):
        dpa(random_state=None).fit(X, Y, periods=DAYS)
    for groups in (None, DAYS):
        with pytest.raises(ValueError, match=r"counts consecutive periods.*fit\(X, y, periods"):
            dpa(n_partitions=5).fit(X, Y, groups=groups).certify(X_TEST, "duration")
    clf = dpa(aggregation="run_off", spread_degree=2).fit(X, Y, periods=DAYS)
    with pytest.raises(ValueError, match="'earliness' is certified for aggregation='plurality'"):
        clf.certify(X_TEST, "earliness")
    assert clf.certify(X_TEST).radius.max() > 0
    with pytest.raises(ValueError, match="collective_certify does not count periods"):
        clf.collective_certify(X_TEST, 1)


def test_a_fit_without_periods_forgets_them():
    clf = dpa(n_partitions=10).fit(X, Y, periods=DAYS).fit(X, Y)
    assert clf.periods_ is None
    assert len(clf.estimators_) == 10
    with pytest.raises(ValueError, match="counts consecutive periods"):
        clf.certify(X_TEST, "duration")


def test_the_width_of_the_fit_counts_not_one_that_was_set_since():
    clf = dpa(spread_degree=3).fit(X, Y, periods=DAYS)
    expected = [clf.certify(X_TEST, threat).radius for threat in ("duration", "replacement")]
    clf.set_params(spread_degree=1)
    for threat, radius in zip(("duration", "replacement"), expected, strict=True):
        np.testing.assert_array_equal(clf.certify(X_TEST, threat).radius, radius)


def test_rows_left_out_take_their_periods_along():
    rows = X.astype(object)
    rows[5, 0] = object()
    clf = dpa(on_error="abstain")
    with pytest.warns(UserWarning, match="1 of 400 rows of X have no canonical form"):
        clf.fit(rows, Y, periods=list(DAYS))
    np.testing.assert_array_equal(np.delete(clf.partition_, 5), np.delete(DAYS - 12_000, 5))


def test_members_that_fail_are_counted_among_periods():
    rows = X.copy()
    rows[DAYS == 12_003] = np.nan
    with pytest.warns(CertificateWarning, match="weaker than its 20 periods suggest"):
        clf = dpa(on_error="abstain").fit(rows, Y, periods=DAYS)
    assert list(clf.errors_) == [3]


# ---------------------------------------------------------------- what takes certificates


def test_scorer_display_and_abstention_take_threats_of_time():
    clf = dpa(classes=range(10)).fit(X, Y, periods=DAYS)
    y_pred, radius = clf.certify(X_TEST, "earliness")
    scorer = make_certified_accuracy_scorer(2, "earliness")
    assert scorer(clf, X_TEST, Y_TEST) == certified_accuracy_score(Y_TEST, y_pred, radius, 2)
    labels = {
        "duration": "(consecutive hostile periods)",
        "earliness": "(hostile newest periods)",
        None: "(hostile periods)",
    }
    for threat, label in labels.items():
        display = CertifiedAccuracyDisplay.from_estimator(clf, X_TEST, Y_TEST, threat=threat)
        assert display.ax_.get_xlabel().endswith(label)
    reject = CertifiedAbstention(dpa(classes=range(10)), 3, threat="duration")
    reject.fit(X, Y, periods=DAYS)
    radius = clf.certify(X_TEST, "duration").radius
    answered, left = reject.certify(X_TEST)
    np.testing.assert_array_equal(answered != -1, radius >= 3)
    # Two windows of days are no longer window: nothing is promised beyond the answer.
    assert set(left) == {-1, 0}
