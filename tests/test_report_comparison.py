"""Several ensembles in one table: the numbers of their reports, in their units."""

import warnings

import pytest
from sklearn.datasets import load_digits
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from certified_ensembles import DeepPartitionAggregation
from certified_ensembles.report import CertificationComparison, CertificationReport

pytest.importorskip("pandas")

X, Y = load_digits(return_X_y=True)
X_TRAIN, Y_TRAIN, X_TEST, Y_TEST = X[:500], Y[:500], X[500:650], Y[500:650]
GROUPS = [i // 5 for i in range(500)]


def dpa(n_partitions=20, **params):
    return DeepPartitionAggregation(n_partitions=n_partitions, classes=range(10), **params)


@pytest.fixture(scope="module")
def fitted():
    return dpa().fit(X_TRAIN, Y_TRAIN)


def of(estimator, **how):
    return CertificationReport.from_estimator(estimator, X_TEST, Y_TEST, **how)


def quietly(estimator, **how):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return of(estimator, **how)


def test_comparison_sets_the_numbers_of_reports_side_by_side(fitted):
    fewer = dpa(10).fit(X_TRAIN, Y_TRAIN)
    both = {"20": fitted, "10": fewer}
    comparison = CertificationComparison.from_estimators(
        both, X_TEST, Y_TEST, threat="replacement", budgets=[0, 2]
    )
    frame = comparison.to_frame()
    for name, clf in both.items():
        report = of(clf, threat="replacement")
        assert frame.loc[name, "at_2"] == report.certified_accuracy(2)
        assert frame.loc[name, "median_radius"] == report.median_radius()
        assert frame.loc[name, "accuracy"] == report.accuracy
    assert "Operations are replaced training rows." in str(comparison)
    assert frame.to_csv().count("\n") == 3


def test_comparison_says_where_ensembles_count_different_things(fitted):
    sources = dpa().fit(X_TRAIN, Y_TRAIN, groups=GROUPS)
    comparison = CertificationComparison([of(fitted, name="rows"), of(sources, name="sources")])
    assert "sources counts hostile sources." in str(comparison)
    assert "rows counts insertions + deletions of training rows." in str(comparison)


def test_comparison_gives_no_numbers_of_void_guarantees(fitted):
    outside = make_pipeline(StandardScaler(), dpa()).fit(X_TRAIN, Y_TRAIN)
    comparison = CertificationComparison([of(fitted, name="a"), quietly(outside, name="b")])
    line = next(line for line in str(comparison).splitlines() if line.startswith("  b"))
    assert line.split()[3:] == ["void"] * (len(comparison.budgets) + 2)
    assert comparison.to_frame()["at_0"].tolist()[1] == 0
    assert "b: CertificateWarning" in str(comparison)


def test_comparison_needs_names_and_the_same_rows(fitted):
    with pytest.raises(ValueError, match="each with a name of its own"):
        CertificationComparison([of(fitted), of(fitted)])
    with pytest.raises(ValueError, match="pass one or more"):
        CertificationComparison([])
    short = CertificationReport.from_estimator(fitted, X_TEST[:9], Y_TEST[:9], name="short")
    with pytest.raises(ValueError, match=r"reports are of \[9, 150\] rows"):
        CertificationComparison([of(fitted), short])
