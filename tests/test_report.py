"""A report says what was certified: exactly, in words, and nothing where the guarantee is void."""

import html.parser
import re
import warnings

import numpy as np
import pytest
from sklearn.datasets import load_diabetes, load_digits
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.model_selection import GridSearchCV
from sklearn.naive_bayes import GaussianNB, MultinomialNB
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import Normalizer, StandardScaler

from certified_ensembles import (
    CertificateWarning,
    DeepPartitionAggregation,
    DeepPartitionRegressor,
    FeaturePartitionAggregation,
    LabelFlipSmoothingClassifier,
    LabelNoiseRegressor,
    SemiSupervisedDPA,
)
from certified_ensembles.abstention import CertifiedAbstention
from certified_ensembles.metrics import (
    certified_accuracy_frontier,
    certified_accuracy_score,
    certified_tolerance_score,
    median_certified_radius,
)
from certified_ensembles.neighbors import CertifiedKNeighborsClassifier
from certified_ensembles.report import CertificationComparison, CertificationReport, EnsembleFacts

pandas = pytest.importorskip("pandas")

X, Y = load_digits(return_X_y=True)
X_TRAIN, Y_TRAIN, X_TEST, Y_TEST = X[:500], Y[:500], X[500:650], Y[500:650]
GROUPS = np.arange(500) // 5
TEXTS = [" ".join(f"ink{place}" for place in np.flatnonzero(row > 8)) for row in X_TRAIN]


def dpa(n_partitions=20, **params):
    return DeepPartitionAggregation(n_partitions=n_partitions, classes=range(10), **params)


@pytest.fixture(scope="module")
def fitted():
    return dpa().fit(X_TRAIN, Y_TRAIN)


def of(estimator, **how):
    return CertificationReport.from_estimator(estimator, X_TEST, Y_TEST, **how)


# ---------------------------------------------------------------- numbers


def test_numbers_are_those_of_the_metrics(fitted):
    report = of(fitted, budgets=[0, 1, 3, 8])
    assert report.threats == ["insertion_deletion", "label_flip", "replacement"]
    curve, summary = report.to_frame("certified_accuracy"), report.to_frame()
    for threat in report.threats:
        y_pred, radius = fitted.certify(X_TEST, threat)
        for budget in (0, 1, 3, 8):
            expected = certified_accuracy_score(Y_TEST, y_pred, radius, budget)
            assert report.certified_accuracy(budget, threat) == expected
            assert curve.loc[budget, threat] == expected
        median = median_certified_radius(Y_TEST, y_pred, radius)
        assert report.median_radius(threat) == summary.loc[threat, "median_radius"] == median
        assert summary.loc[threat, "largest_radius"] == radius.max()
        np.testing.assert_array_equal(report.certificate(threat).radius, radius)
    assert report.accuracy == np.mean(fitted.predict(X_TEST) == Y_TEST)
    rows = report.to_frame("rows")
    np.testing.assert_array_equal(rows["y_pred"], fitted.predict(X_TEST))
    np.testing.assert_array_equal(rows["right"], rows["y_pred"] == Y_TEST)


def test_histogram_counts_every_row_once(fitted):
    report = of(CertifiedAbstention(dpa(), 3).fit(X_TRAIN, Y_TRAIN))
    frame = report.to_frame("histogram")
    radius = report.main.radius
    assert frame[["right", "wrong"]].to_numpy().sum() == len(radius)
    for low, high, right, wrong in frame.to_numpy():
        inside = (radius >= low) & (radius <= high)
        assert (inside & report.right).sum() == right
        assert (inside & ~report.right).sum() == wrong
    assert frame["from"][0] == frame["to"][0] == -1


def test_one_threat_may_be_asked_alone(fitted):
    assert of(fitted, threat="replacement").threats == ["replacement"]
    assert of(fitted, threat=["label_flip", "replacement"]).threats == [
        "label_flip",
        "replacement",
    ]
    with pytest.raises(ValueError, match="threat='backdoor' is unknown"):
        of(fitted, threat="backdoor")
    with pytest.raises(ValueError, match="threat='duration' is not in this report"):
        of(fitted).median_radius("duration")
    with pytest.raises(ValueError, match="what='odd' is no table"):
        of(fitted).to_frame("odd")


def test_threats_of_the_same_operations_are_asked_once():
    sources = dpa().fit(X_TRAIN, Y_TRAIN, groups=GROUPS)
    assert of(sources).threats == ["insertion_deletion"]
    periods = dpa().fit(X_TRAIN, Y_TRAIN, periods=GROUPS // 5)
    assert of(periods).threats == ["insertion_deletion", "duration", "earliness"]
    assert of(SemiSupervisedDPA(n_partitions=5).fit(X_TRAIN, Y_TRAIN)).threats == ["label_flip"]


# ---------------------------------------------------------------- sentences


def test_sentences_are_true_to_the_row(fitted):
    """The budgets in the sentences are the largest of which they are true."""
    report = of(fitted, threat="insertion_deletion")
    for share, words in ((0.5, "half"), (0.9, "nine in ten")):
        found = [s for s in report.sentences() if f"At least {words}" in s]
        budgets = [b for b in range(1, 30) if report.certified_accuracy(b) >= share]
        assert len(found) == bool(budgets)
        if budgets:
            assert f"any {budgets[-1]} inserted or deleted training rows" in found[0]


EXACT = [
    # Radii of four rows, of which the last one is predicted wrong.
    (
        [40, 25, 20, 50],
        "At least half of the mails are predicted right and keep that prediction "
        "against any 25 hostile senders.",
    ),
    (
        [1, 1, 0, 50],
        "At least half of the mails are predicted right and keep that prediction "
        "against any single hostile sender.",
    ),
    (
        [1, 0, 0, 50],
        "Only 25.0 % of the mails are predicted right and keep that prediction "
        "against any single hostile sender.",
    ),
    (
        [0, 0, -1, 50],
        "None of the mails are predicted right and keep that prediction against any "
        "single hostile sender.",
    ),
]


@pytest.mark.parametrize(("radius", "sentence"), EXACT)
def test_sentences_say_any_number_with_the_unit(radius, sentence):
    report = CertificationReport.from_predictions(
        list("hshh"), list("hshs"), radius, unit="hostile senders", rows="mails"
    )
    assert report.sentences()[:2] == [
        "As it stands, 75.0 % of 4 mails are predicted right.",
        sentence,
    ]
    bare = [s for s in report.sentences() if "nothing is certified" in s]
    assert bare == ["For 1 of the mails nothing is certified (radius -1)."] * (-1 in radius)


def test_no_share_is_rounded_up():
    y_true = np.zeros(3)
    report = CertificationReport.from_predictions(y_true, [0, 0, 1], [1, 1, 1])
    assert "66.6 %" in report.sentences()[0]
    assert "66.7" not in str(report) + report._repr_html_()


def test_nine_in_ten_are_counted_without_rounding():
    y, radius = np.zeros(10), np.array([9] * 5 + [2] * 4 + [0])
    told = CertificationReport.from_predictions(y, y, radius).sentences()
    assert any("nine in ten" in s and "any 2 poisoning operations" in s for s in told)
    radius[5] = 0
    told = CertificationReport.from_predictions(y, y, radius).sentences()
    assert not any("nine in ten" in s for s in told)


def test_other_questions_promise_no_more_than_they_ask(fitted):
    asked = fitted.certify(X_TEST, target=3).radius
    report = of(fitted, threat="insertion_deletion", target=3)
    np.testing.assert_array_equal(report.main.radius, asked)
    text = " ".join(str(report).split())
    assert "by a prediction that never becomes 3 against any" in text
    assert "still right" not in text
    assert "keep that prediction" not in text
    assert "the prediction is that of" not in text
    assert "stays among the first 2 against" in " ".join(of(fitted, top_k=2).sentences())


def test_unit_in_the_users_words_needs_one_threat():
    sources = dpa().fit(X_TRAIN, Y_TRAIN, groups=GROUPS)
    report = of(sources, unit="hostile senders", rows="mails")
    told = " ".join(str(report).split())
    assert re.search(r"At least half of the mails .* any \d+ hostile senders", told)
    assert "insertion_deletion counts hostile senders." in told
    with pytest.raises(ValueError, match=r"unit='hostile senders' names one operation, and 3"):
        of(dpa().fit(X_TRAIN, Y_TRAIN), unit="hostile senders")


def test_abstentions_are_no_wrong_answers():
    report = of(CertifiedAbstention(dpa(), 3).fit(X_TRAIN, Y_TRAIN))
    answered = report.y_pred != -1
    first = report.sentences()[0]
    numbers = re.search(r"([\d.]+) % of 150 .* answers ([\d.]+) % are right", first)
    coverage, right = numbers.groups()
    assert float(coverage) == pytest.approx(100 * answered.mean(), abs=0.1)
    assert float(right) == pytest.approx(100 * report.right[answered].mean(), abs=0.1)
    assert not any("nothing is certified" in s for s in report.sentences())


# ---------------------------------------------------------------- kinds of ensembles


def test_regressor_counts_what_stays_within_a_tolerance():
    D, t = load_diabetes(return_X_y=True)
    reg = DeepPartitionRegressor(n_partitions=15).fit(D[:350], t[:350])
    report = CertificationReport.from_estimator(reg, D[350:], t[350:], tolerance=80)
    radius = reg.certify(D[350:], lower=t[350:] - 80, upper=t[350:] + 80).radius
    assert report.accuracy == certified_tolerance_score(radius, 0)
    assert report.certified_accuracy(2) == certified_tolerance_score(radius, 2)
    np.testing.assert_array_equal(report.y_pred, reg.predict(D[350:]))
    text = " ".join(str(report).split())
    assert "are predicted within 80 of the truth and stay within it against any" in text
    assert "label_flip counts changed targets." in text
    with pytest.raises(ValueError, match="tolerance=None: numbers are hardly ever exactly right"):
        CertificationReport.from_estimator(reg, D[350:], t[350:])
    noisy = LabelNoiseRegressor(bounds=(25, 346)).fit(D[:350], t[:350])
    text = str(CertificationReport.from_estimator(noisy, D[350:], t[350:], tolerance=80))
    assert "stay within bounds=(25, 346)" in text


def test_blocks_of_columns_come_with_their_frontier():
    clf = FeaturePartitionAggregation(n_blocks=5, n_partitions=4, classes=range(10))
    clf.fit(X_TRAIN, Y_TRAIN, groups=GROUPS)
    report = of(clf)
    assert report.threats == ["columns"]
    expected = certified_accuracy_frontier(Y_TEST, clf.predict(X_TEST), clf.frontier(X_TEST))
    frame = report.to_frame("frontier")
    assert (frame.index.name, frame.columns.name) == ("hostile sources", "hostile columns")
    shape = tuple(map(min, frame.shape, expected.shape))
    np.testing.assert_allclose(
        frame.to_numpy()[: shape[0], : shape[1]], expected[: shape[0], : shape[1]], atol=1e-12
    )
    assert "hostile columns (across) beside hostile sources (down)" in str(report)


def test_sentences_of_a_frontier_are_the_furthest_that_hold():
    y = np.zeros(4)
    frontier = np.array([[3, 2, 1, 0], [3, 2, 1, 0], [1, 0, -1, -1], [0, -1, -1, -1]])
    plain = CertificationReport.from_predictions(y, y, frontier[:, 0], unit="hostile words")
    report = CertificationReport(
        right=plain.right,
        certificates=plain.certificates,
        frontier=frontier,
        row_unit="hostile sources",
    )
    ends = [s.split("against ")[1] for s in report.sentences()[1:]]
    assert ends == [
        "any 3 hostile words.",
        "any single hostile word together with any 2 hostile sources.",
        "any 3 hostile sources.",
    ]
    np.testing.assert_array_equal(report.frontier_accuracies()[2], [0.5, 0.5, 0, 0])


FACTS = {
    "sources": (lambda: dpa().fit(X_TRAIN, Y_TRAIN, groups=GROUPS), "The source of every train"),
    "periods": (lambda: dpa().fit(X_TRAIN, Y_TRAIN, periods=GROUPS), "The period of every train"),
    "annotators": (
        lambda: SemiSupervisedDPA(n_partitions=9).fit(X_TRAIN, Y_TRAIN, groups=GROUPS),
        "Who wrote each label",
    ),
    "labels": (
        lambda: LabelFlipSmoothingClassifier().fit(X_TRAIN, Y_TRAIN),
        "labels alone may be hostile",
    ),
    "columns": (
        lambda: FeaturePartitionAggregation(n_blocks=3).fit(X_TRAIN, Y_TRAIN),
        "The number, names and order of columns",
    ),
    "words": (
        lambda: FeaturePartitionAggregation(
            make_pipeline(CountVectorizer(), MultinomialNB()), 3
        ).fit(TEXTS, Y_TRAIN),
        "counted words may be added and struck in the test row",
    ),
    "neighbours": (
        lambda: CertifiedKNeighborsClassifier(5).fit(X_TRAIN, Y_TRAIN),
        "nothing of altered test rows",
    ),
}


@pytest.mark.parametrize(("fit", "assumed"), FACTS.values(), ids=FACTS)
def test_what_is_assumed_is_said(fit, assumed):
    text = " ".join(str(EnsembleFacts.of(fit()).assumptions).split())
    assert assumed in text
    assert "Nothing outside the ensemble" in text


def into_the_first_half(X):
    return X.sum(axis=1).astype(int) % 45


def test_facts_count_members_partitions_and_those_that_cannot_answer():
    with pytest.warns(CertificateWarning, match="partitions have no rows"):
        clf = dpa(90, hasher=into_the_first_half).fit(X_TRAIN[:90], Y_TRAIN[:90])
    facts = EnsembleFacts.of(make_pipeline(Normalizer(), clf))
    sizes = np.bincount(clf.partition_, minlength=90)
    np.testing.assert_array_equal(facts.partition_sizes, sizes)
    n_empty = int((sizes == 0).sum())
    assert (facts.n_members, facts.n_abstaining, facts.n_train) == (90, n_empty, 90)
    words = dict(facts.in_words())
    assert words["members"] == f"90, of which {n_empty} can answer for no row"
    assert words["partitions"].startswith(f"90, with 0 to {sizes.max()} rows")
    blocks = FeaturePartitionAggregation(n_blocks=3, n_partitions=2).fit(X_TRAIN, Y_TRAIN)
    facts = EnsembleFacts.of(CertifiedAbstention(blocks).fit(X_TRAIN, Y_TRAIN))
    assert facts.block_sizes.tolist() == np.bincount(blocks.block_of_feature_).tolist()
    assert facts.partition_sizes.sum() == 3 * 500
    assert facts.kind == "CertifiedAbstention"


def test_members_that_stay_on_disk_are_counted_and_not_loaded():
    class OnDisk(list):
        members = (None, "kept", "kept")

        def __iter__(self):
            raise AssertionError("loaded")

    clf = dpa(3).fit(X_TRAIN, Y_TRAIN)
    clf.estimators_ = OnDisk([1, 2, 3])
    facts = EnsembleFacts.of(clf)
    assert (facts.n_members, facts.n_abstaining) == (3, 1)


def test_members_are_named_by_their_steps():
    clf = dpa(5, estimator=make_pipeline(StandardScaler(), GaussianNB())).fit(X_TRAIN, Y_TRAIN)
    assert EnsembleFacts.of(clf).member == "StandardScaler -> GaussianNB"


# ---------------------------------------------------------------- warnings and void guarantees


def quietly(estimator, **how):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return of(estimator, **how)


def test_void_guarantee_promises_nothing_and_the_others_stand():
    outside = make_pipeline(StandardScaler(), dpa()).fit(X_TRAIN, Y_TRAIN)
    with pytest.warns(CertificateWarning, match="is void") as caught:
        report = of(outside)
    assert {w.filename for w in caught} == {__file__}
    # A scaler never looks at labels.
    assert report.voids == ["insertion_deletion", "replacement"]
    assert [report.median_radius(t) for t in report.voids] == [-1, -1]
    assert report.certified_accuracy(0) == 0
    assert report.median_radius("label_flip") > 0
    ends = [s.split("against ")[-1] for s in report.sentences()[1:]]
    assert any("flipped label" in end for end in ends)
    assert not any("training row" in end for end in ends)
    assert "the guarantee is void" in report.sentences()[-1]
    frame = report.to_frame()
    assert frame["void"].tolist() == [True, False, True]
    assert frame["largest_radius"].tolist()[::2] == [-1, -1]
    assert sum("standardscaler" in text for text in report.raised) == 2
    assert "void" in report.plot().ax_.get_title()


def test_nothing_is_promised_where_all_is_void():
    search = GridSearchCV(dpa(), {"n_partitions": [10, 20]}, cv=2).fit(X_TRAIN, Y_TRAIN)
    report = quietly(search, threat="label_flip")
    assert report.sentences()[1:] == [
        "Nothing is certified: the guarantee is void, as the warnings say."
    ]
    for text in (str(report), report._repr_html_()):
        assert "GridSearchCV chose the" in " ".join(text.split())
        assert "Certified accuracy" not in text


def test_warnings_are_raised_again_and_errors_stay_errors():
    outside = make_pipeline(StandardScaler(), dpa()).fit(X_TRAIN, Y_TRAIN)
    with warnings.catch_warnings():
        warnings.simplefilter("error", CertificateWarning)
        with pytest.raises(CertificateWarning, match="is void"):
            of(outside)
    with pytest.raises(TypeError, match="has no method certify"):
        of(GaussianNB().fit(X_TRAIN, Y_TRAIN))


def test_rows_that_a_threshold_leaves_bare_void_nothing():
    from sklearn.model_selection import FixedThresholdClassifier

    y = (Y_TRAIN > 4).astype(int)
    clf = DeepPartitionAggregation(n_partitions=20, classes=[0, 1])
    fixed = FixedThresholdClassifier(clf, threshold=0.9).fit(X_TRAIN, y)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        report = CertificationReport.from_estimator(fixed, X_TEST, (Y_TEST > 4).astype(int))
    assert report.voids == []
    assert "nothing is certified (radius -1)" in report.sentences()[-1]
    assert report.raised[0].startswith("CertificateWarning: Nothing is certified for")


# ---------------------------------------------------------------- text and HTML


class Balanced(html.parser.HTMLParser):
    """Notes the tags that are open, and all text."""

    def __init__(self):
        super().__init__()
        self.open, self.text = [], ""

    def handle_starttag(self, tag, attrs):
        self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data


def test_html_is_escaped_and_balanced():
    hostile = "<script>alert('x')</script> & co"
    report = CertificationReport.from_predictions(
        ["a", "b"], ["a", "b"], [2, 3], threat=hostile, unit=hostile, rows=hostile, name=hostile
    )
    report.main.question = hostile
    report.raised.append(hostile)
    other = CertificationReport.from_predictions(["a", "b"], ["a", "b"], [2, 3])
    for shown in (report, CertificationComparison([report, other])):
        page = shown._repr_html_()
        assert "<script" not in page
        parser = Balanced()
        parser.feed(page)
        assert parser.open == []
        assert parser.text.count(hostile) >= 1


def test_text_fits_a_terminal(fitted):
    lines = str(of(fitted)).splitlines()
    assert max(map(len, lines)) <= 88
    assert str(of(fitted)) == "\n".join(line.rstrip() for line in lines)


def test_sentences_stand_in_text_and_html(fitted):
    report = of(fitted)
    parser = Balanced()
    parser.feed(report._repr_html_())
    for sentence in report.sentences():
        assert sentence in " ".join(str(report).split())
        assert sentence in parser.text


def test_repr_is_short(fitted):
    report = of(fitted, name="mine")
    assert repr(report) == (
        "CertificationReport(name='mine', threats=['insertion_deletion', 'label_flip', "
        f"'replacement'], accuracy={report.accuracy:.3f}, median_radius={report.median_radius()})"
    )


def test_plot_draws_the_radii_of_the_threat(fitted):
    report = of(fitted)
    display = report.plot("replacement")
    assert display.ax_.get_xlabel() == "Certified radius (replaced training rows)"
    assert display.right.sum() + display.wrong.sum() == len(X_TEST)
    assert display.edges[-1] > report.certificate("replacement").radius.max()
