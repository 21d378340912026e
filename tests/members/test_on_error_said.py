"""What an ensemble says of members that failed, and of their warnings."""

import pickle
import warnings

import numpy as np
import pytest
import scipy.sparse as sp
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.tree import DecisionTreeClassifier

from certified_ensembles import CertificateWarning
from certified_ensembles._member_warnings import in_name_of, summed_up, taking_notes
from certified_ensembles._members.failures import Failure
from certified_ensembles._members.training import _without_spoilt
from failing import Fussy, T, X, Y, dpa, hostile_training_set

# Hostile values overflow on their way into members, which is not what is asked here.
pytestmark = pytest.mark.filterwarnings(
    "ignore:overflow encountered:RuntimeWarning",
    "ignore:.*RuntimeWarning in 1 of 8 members. overflow:RuntimeWarning",
)


def test_errors_and_one_warning_say_who_failed():
    rows, labels = hostile_training_set()
    with pytest.warns(CertificateWarning, match="1 of 8 members could not be trained") as caught:
        clf = dpa(DecisionTreeClassifier()).fit(rows, labels)
    (warning,) = (w for w in caught if w.category is CertificateWarning)
    assert "1 ValueError" in str(warning.message)
    (index,) = clf.errors_
    assert index == clf.partition_[-1]
    assert clf.estimators_[index] is None
    assert sum(member is None for member in clf.estimators_) == 1
    assert "Row 240 of X holds 1e+39" in clf.errors_[index].__notes__[0]
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(clf)).ballots(T), clf.ballots(T))
    clf.set_params(on_error="raise").fit(X, Y)
    assert clf.errors_ == {}


def test_the_error_names_member_rows_value_estimator_and_remedy():
    rows, labels = hostile_training_set()
    clf = dpa(DecisionTreeClassifier(), on_error="raise")
    with pytest.raises(ValueError, match="too large") as caught:
        clf.fit(rows, labels)
    (note,) = caught.value.__notes__
    for word in (
        "member ",
        "DecisionTreeClassifier(",
        "Row 240 of X holds 1e+39",
        'on_error="ab',
    ):
        assert word in note
    assert "too few" not in note


def test_the_error_of_a_member_that_is_asked_names_it_and_the_remedy():
    clf = dpa(Fussy(refuses_above=3.0), on_error="raise", classes=[0, 1]).fit(X, Y)
    with pytest.raises(ArithmeticError, match="too large") as caught:
        clf.predict(T)
    assert "member 0 about test rows" in caught.value.__notes__[0]
    assert "on_error" in caught.value.__notes__[0]


def test_where_no_member_can_be_trained_the_error_is_raised():
    with pytest.raises(LookupError, match="no such label") as caught:
        dpa(Fussy(refuses_label=0)).fit(X, Y)
    assert "None of the 8 members" in caught.value.__notes__[-1]


def test_coefficients_that_are_no_numbers_are_a_failure():
    good, bad = (LogisticRegression().fit(X, Y) for _ in range(2))
    bad.coef_ = bad.coef_ * np.nan
    assert _without_spoilt([good, Fussy()])[0] is good
    assert isinstance(_without_spoilt([bad])[0], Failure)
    assert isinstance(_without_spoilt([make_pipeline(StandardScaler(), bad)])[0], Failure)


def test_an_error_that_cannot_be_sent_is_told_in_words():
    class Local(Exception):
        pass

    error = Failure.of(Local("odd")).error
    assert type(error) is RuntimeError
    assert str(error) == "Local: odd"


class Warns(Fussy):
    """Warns in training, some members twice."""

    def fit(self, X, y):
        warnings.warn("does not converge", ConvergenceWarning, stacklevel=1)
        if X[0, 0] > 0.1:
            warnings.warn("does not converge", ConvergenceWarning, stacklevel=1)
        return super().fit(X, y)


@pytest.mark.parametrize("n_jobs", [None, 2])
@pytest.mark.parametrize("on_error", ["raise", "abstain"])
def test_warnings_of_members_are_summed_up(n_jobs, on_error):
    clf = dpa(Warns(), classes=[0, 1], n_jobs=n_jobs, on_error=on_error)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("default")
        clf.fit(X, Y)
    (warning,) = caught
    assert warning.category is ConvergenceWarning
    assert str(warning.message) == "ConvergenceWarning in 8 of 8 members. does not converge"
    assert warning.filename == __file__


@pytest.mark.parametrize("n_jobs", [None, 2])
def test_members_trained_together_are_counted_too(n_jobs, monkeypatch):
    own_fit = LogisticRegression.fit

    def fit_that_may_warn_twice(self, X, y):
        if y[0] == 0:
            warned.append(len(y))
            for word in ("slow", "very slow"):
                warnings.warn(word, ConvergenceWarning, stacklevel=1)
        return own_fit(self, X, y)

    warned = []
    monkeypatch.setattr(LogisticRegression, "fit", fit_that_may_warn_twice)
    count = counted(LogisticRegression(max_iter=1000), X[:200], Y[:200], n_jobs)
    assert 0 < count == len(warned) < 8
    rows, labels = np.vstack([X, np.full(3, np.nan)]), np.append(Y, 0)
    monkeypatch.setattr(LogisticRegression, "fit", own_fit)
    # The one that fails does not warn, and what it kept the others from ending does not count.
    assert counted(LogisticRegression(max_iter=1), rows, labels, n_jobs) == 7


def counted(estimator, rows, labels, n_jobs):
    """Return how many of eight members are said not to converge."""
    clf = dpa(estimator, classes=[0, 1], n_jobs=n_jobs)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("default")
        clf.fit(sp.csr_array(rows), labels)
    (text,) = (str(w.message) for w in caught if w.category is ConvergenceWarning)
    return int(text.split()[2])


def test_a_warning_that_is_shown_once_counts_for_every_member():
    with warnings.catch_warnings():
        warnings.simplefilter("default")
        with taking_notes() as notes:
            for i in range(3):
                with in_name_of(i):
                    warnings.warn("again", UserWarning, stacklevel=1)
    assert [text for text, _ in summed_up(notes, 5)] == ["UserWarning in 3 of 5 members. again"]


def test_what_the_caller_ignores_is_not_summed_up():
    with taking_notes() as notes, warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        warnings.warn("old", FutureWarning, stacklevel=1)
        warnings.simplefilter("always", UserWarning)
        warnings.warn("new", UserWarning, stacklevel=1)
    assert [text for text, _ in summed_up(notes, 5)] == ["UserWarning in 1 of 5 members. new"]
