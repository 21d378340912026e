"""Annotators who rewrite all of their labels: within the radius they change no prediction."""

import itertools

import numpy as np
import pandas as pd
import pytest
from sklearn import config_context
from sklearn.base import clone
from sklearn.cluster import KMeans
from sklearn.datasets import load_digits
from sklearn.decomposition import PCA
from sklearn.linear_model import RidgeClassifier
from sklearn.model_selection import GroupKFold, cross_validate
from sklearn.naive_bayes import GaussianNB
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import Normalizer
from sklearn.semi_supervised import SelfTrainingClassifier
from sklearn.tree import DecisionTreeClassifier

from certified_ensembles import certify
from certified_ensembles.abstention import CertifiedAbstention
from certified_ensembles.certificates.flips import groups_within_flips
from certified_ensembles.display import CertifiedAccuracyDisplay
from certified_ensembles.hashers import ContentHasher, PixelSumHasher
from certified_ensembles.label_flip import LabelFlipSmoothingClassifier
from certified_ensembles.metrics import certified_accuracy_score, make_certified_accuracy_scorer
from certified_ensembles.neighbors import CertifiedKNeighborsClassifier
from certified_ensembles.smoothers import ClusterVote, NadarayaWatson
from certified_ensembles.ssdpa import SemiSupervisedDPA

NB = GaussianNB(var_smoothing=1e-2)

# ---------------------------------------------------------------- everything that they can write


# Two clusters. Three rows are copies, which three annotators have labelled.
ROWS = np.array(
    [[0, 0, 1], [0, 1, 0], [1, 0, 0], [7, 7, 6], [6, 7, 7], [8, 6, 7], [8, 6, 7], [8, 6, 7]]
).astype(float)
TEST = np.array([[0, 0, 0], [2, 2, 2], [3, 4, 4], [7, 7, 7], [9, 9, 9]], dtype=float)
LABELS = [[0, 0, 0, 1, 1, 1, 1, 1], [1, 1, 0, 0, 0, 1, 0, 0], [0, 0, 0, 0, 0, 0, 0, 1]]
ANNOTATORS = np.array(["bo", "cy", "ann", "dee", "ann", "cy", "bo", "cy"])
ORDER = [3, 0, 7, 5, 1, 6, 4, 2]  # not the canonical one
ROWS, ANNOTATORS, LABELS = ROWS[ORDER], ANNOTATORS[ORDER], np.array(LABELS)[:, ORDER]

EXACT = {
    "ridge": LabelFlipSmoothingClassifier(RidgeClassifier(0.5)),
    "ridge without intercept": LabelFlipSmoothingClassifier(
        RidgeClassifier(5.0, fit_intercept=False)
    ),
    "neighbours": LabelFlipSmoothingClassifier(KNeighborsClassifier(5)),
    "near neighbours": LabelFlipSmoothingClassifier(KNeighborsClassifier(6, weights="distance")),
    "kernel": LabelFlipSmoothingClassifier(NadarayaWatson(gamma=0.1)),
    "clusters": LabelFlipSmoothingClassifier(ClusterVote(KMeans(2, n_init=2), votes="swap")),
    "counted neighbours": CertifiedKNeighborsClassifier(5),
    "tied neighbours": CertifiedKNeighborsClassifier(7),
}
SOUND = {
    "plain": SemiSupervisedDPA(RidgeClassifier(), 4),
    "hashed": SemiSupervisedDPA(RidgeClassifier(), 3, partitioner=ContentHasher(key="c")),
    "tree": SemiSupervisedDPA(DecisionTreeClassifier(), 3),
    "represented": SemiSupervisedDPA(NB, 3, representation=PCA(1)),
    "run-off": SemiSupervisedDPA(RidgeClassifier(), 4, aggregation="run_off"),
    "masked": SemiSupervisedDPA(SelfTrainingClassifier(NB), 3, unlabeled="mask"),
    "one member": SemiSupervisedDPA(RidgeClassifier(5.0), 1, certificate="members"),
    "members": SemiSupervisedDPA(RidgeClassifier(5.0), 2, certificate="members"),
    "near members": SemiSupervisedDPA(KNeighborsClassifier(3), 2, certificate="members"),
}


def annotators_needed(clf, labels, relabellings):
    """Refit on every relabelling: the fewest annotators that change each prediction."""
    before = clone(clf).fit(ROWS, labels, groups=ANNOTATORS).predict(TEST)
    fewest = np.full(len(TEST), 5)
    for changed in map(np.array, relabellings):
        cost = len(np.unique(ANNOTATORS[changed != labels]))
        if 0 < cost < fewest.max():
            moved = clone(clf).fit(ROWS, changed, groups=ANNOTATORS).predict(TEST) != before
            fewest[moved] = np.minimum(fewest[moved], cost)
    return fewest


@pytest.mark.parametrize("name", EXACT)
def test_radius_is_the_largest_number_of_annotators_that_change_nothing(name):
    # 255 refits for each set of labels: all that can be written.
    positive = 0
    for labels in LABELS[1:]:
        clf = clone(EXACT[name]).set_params(classes=[0, 1])
        _, radius = clf.fit(ROWS, labels, groups=ANNOTATORS).certify(TEST)
        fewest = annotators_needed(clf, labels, itertools.product([0, 1], repeat=len(ROWS)))
        np.testing.assert_array_equal(radius, fewest - 1)
        positive += (radius > 0).sum()
    assert positive


@pytest.mark.parametrize("name", SOUND)
def test_no_annotators_within_the_radius_change_a_prediction(name):
    positive = 0
    for labels in LABELS:
        clf = clone(SOUND[name]).set_params(classes=[0, 1])
        _, radius = clf.fit(ROWS, labels, groups=ANNOTATORS).certify(TEST)
        # A fifth of all relabellings: 51 refits of an ensemble.
        relabellings = itertools.islice(itertools.product([0, 1], repeat=len(ROWS)), 1, None, 5)
        assert (radius < annotators_needed(clf, labels, relabellings)).all()
        positive += (radius > 0).sum()
    assert positive


@pytest.mark.parametrize("name", [*EXACT, *SOUND])
def test_radius_holds_against_annotators_who_invent_labels(name):
    clf = {**EXACT, **SOUND}[name]
    rng, labels = np.random.default_rng(0), np.array(LABELS[0])
    relabellings = []
    for who in itertools.combinations(np.unique(ANNOTATORS), 2):
        for _ in range(8):
            drawn = rng.choice([-1, 0, 1, 2], len(ROWS))
            relabellings.append(np.where(np.isin(ANNOTATORS, who), drawn, labels))
    _, radius = clone(clf).fit(ROWS, labels, groups=ANNOTATORS).certify(TEST)
    assert (radius < annotators_needed(clf, labels, relabellings)).all()


# ---------------------------------------------------------------- digits


X, Y = load_digits(return_X_y=True)
X_TRAIN, Y_TRAIN, X_TEST, Y_TEST = X[:900], Y[:900], X[900:1000], Y[900:1000]
WHO = np.random.default_rng(0).integers(0, 45, 900)


def test_one_annotator_more_than_the_radius_turns_a_smoother():
    clf = LabelFlipSmoothingClassifier(RidgeClassifier(1e4), classes=range(10))
    y_pred, radius = clf.fit(X_TRAIN, Y_TRAIN, groups=WHO).certify(X_TEST)
    (_, weights), *_ = clf.smoother_.iter_weights(X_TEST)
    turned = 0
    for i in np.argsort(-radius)[:3]:
        reached = False
        for rival in np.setdiff1d(range(10), [y_pred[i]]):
            # The best that an annotator can do for this rival, label by label.
            bad = np.where(weights[i] > 0, rival, y_pred[i])
            gain = weights[i] * (
                (bad == rival).astype(int)
                - (bad == y_pred[i])
                - (Y_TRAIN == rival)
                + (Y_TRAIN == y_pred[i])
            )
            by_damage = np.argsort(-np.bincount(WHO, gain))
            for budget in (radius[i], radius[i] + 1):
                hostile = np.isin(WHO, by_damage[:budget])
                attacked = clone(clf).fit(X_TRAIN, np.where(hostile, bad, Y_TRAIN), groups=WHO)
                changed = attacked.predict(X_TEST[[i]]) != y_pred[i]
                assert not (changed and budget == radius[i])
                reached |= bool(changed)
        turned += reached
    assert turned == 3
    assert radius.max() > 4


@pytest.mark.parametrize(
    "clf",
    [
        LabelFlipSmoothingClassifier(KNeighborsClassifier(60)),
        CertifiedKNeighborsClassifier(60),
        SemiSupervisedDPA(RidgeClassifier(), 15),
        SemiSupervisedDPA(KNeighborsClassifier(20), 3, certificate="members"),
    ],
    ids=["smoother", "neighbours", "SS-DPA", "members"],
)
def test_hostile_annotators_change_nothing_within_the_radius(clf):
    clf = clone(clf).set_params(classes=range(10))
    y_pred, radius = clf.fit(X_TRAIN, Y_TRAIN, groups=WHO).certify(X_TEST)
    rng, changes = np.random.default_rng(1), 0
    for n_hostile in (1, 2, 4, 8, 20):
        hostile = np.isin(WHO, rng.choice(45, n_hostile, replace=False))
        for written in (np.full(900, 3), (Y_TRAIN + 1) % 10):
            labels = np.where(hostile, written, Y_TRAIN)
            moved = clone(clf).fit(X_TRAIN, labels, groups=WHO).predict(X_TEST) != y_pred
            assert not (moved & (radius >= n_hostile)).any()
            changes += moved.sum()
    assert changes
    assert (radius > 0).mean() > 0.2


def test_annotators_are_harder_to_turn_than_their_largest_shares_of_flips():
    clf = LabelFlipSmoothingClassifier(KNeighborsClassifier(80), classes=range(10))
    flips = clf.fit(X_TRAIN, Y_TRAIN).certify(X_TEST).radius
    assert not clf._counts_annotators
    y_pred, radius = clf.fit(X_TRAIN, Y_TRAIN, groups=WHO).certify(X_TEST)
    assert (radius >= groups_within_flips(flips, WHO)).all()
    assert np.median(radius) >= 3 * max(1, np.median(groups_within_flips(flips, WHO)))
    np.testing.assert_array_equal(y_pred, clf.predict(X_TEST))
    # The other certificates bound numbers of labels: the busiest annotators come first.
    clf.set_params(certificate="tight", noise=0.05)
    tight = clf.fit(X_TRAIN, Y_TRAIN).certify(X_TEST).radius
    by_who = clf.fit(X_TRAIN, Y_TRAIN, groups=WHO).certify(X_TEST).radius
    np.testing.assert_array_equal(by_who, groups_within_flips(tight, WHO))


@pytest.mark.filterwarnings("ignore:The certificate is void against who knew")
def test_monte_carlo_counts_the_labels_of_the_busiest_annotators():
    who = np.minimum(np.arange(900) // 2, 440)
    clf = LabelFlipSmoothingClassifier(
        NB, certificate="monte_carlo", noise=0.6, n_draws=60, classes=range(10), random_state=3
    )
    flips = clf.fit(X_TRAIN, Y_TRAIN).certify(X_TEST[:20]).radius
    radius = clf.fit(X_TRAIN, Y_TRAIN, groups=who).certify(X_TEST[:20]).radius
    assert flips.max() > 0
    np.testing.assert_array_equal(radius, groups_within_flips(flips, who))


def test_neighbours_agree_with_the_smoother_of_their_votes():
    smoother = LabelFlipSmoothingClassifier(KNeighborsClassifier(25), classes=range(10))
    counted = CertifiedKNeighborsClassifier(25, classes=range(10))
    answers = [
        clf.fit(X_TRAIN, Y_TRAIN, groups=WHO).certify(X_TEST) for clf in (smoother, counted)
    ]
    for one, other in zip(*answers, strict=True):
        np.testing.assert_array_equal(one, other)


def test_no_label_decides_which_copies_of_a_row_are_among_the_nearest():
    rows, who = np.zeros((6, 1)), np.array(["ann", "bo", "cy", "dee", "dee", "dee"])
    clf = CertifiedKNeighborsClassifier(3, classes=[0, 1])
    assert clf.fit(rows, np.ones(6, int), groups=who).certify(rows[:1]).radius.tolist() == [1]
    # Ordered by label, the three copies of one annotator would come first when he writes 0.
    for hostile in np.unique(who):
        assert clf.fit(rows, np.where(who == hostile, 0, 1), groups=who).predict(rows[:1]) == [1]


# ---------------------------------------------------------------- partitions of annotators


@pytest.mark.parametrize("partitioner", ["sorted", "content", ContentHasher(key="b")])
def test_all_labels_of_an_annotator_are_in_one_partition(partitioner):
    clf = SemiSupervisedDPA(n_partitions=9, partitioner=partitioner).fit(
        X_TRAIN, Y_TRAIN, groups=WHO
    )
    partition_of = pd.Series(clf.partition_).groupby(WHO)
    assert (partition_of.nunique() == 1).all()
    if partitioner == "sorted":
        assert (np.bincount(partition_of.first(), minlength=9) == 5).all()


def test_members_are_priced_in_annotators():
    ballots, members = (
        SemiSupervisedDPA(KNeighborsClassifier(20), 3, certificate=how, classes=range(10))
        .fit(X_TRAIN, Y_TRAIN, groups=WHO)
        .certify(X_TEST)
        for how in ("ballots", "members")
    )
    assert (members.radius >= ballots.radius)[members.y_pred == ballots.y_pred].all()
    assert (members.radius > ballots.radius).mean() > 0.5


@pytest.mark.parametrize(
    "clf",
    [
        LabelFlipSmoothingClassifier(RidgeClassifier(1e3), classes=range(10)),
        CertifiedKNeighborsClassifier(9, classes=range(10)),
        SemiSupervisedDPA(n_partitions=9, classes=range(10)),
    ],
    ids=["smoother", "neighbours", "SS-DPA"],
)
def test_neither_order_nor_container_of_annotators_counts(clf):
    expected = clf.fit(X_TRAIN, Y_TRAIN, groups=WHO).certify(X_TEST)
    order = np.random.default_rng(2).permutation(900)
    for groups in (
        WHO.astype(float),
        WHO.tolist(),
        pd.Series(WHO),
        WHO[:, None],
        WHO.astype("u1"),
    ):
        shuffled = np.asarray(groups)[order]
        found = clone(clf).fit(X_TRAIN[order], Y_TRAIN[order], groups=shuffled).certify(X_TEST)
        np.testing.assert_array_equal(found, expected)
        found = clone(clf).fit(X_TRAIN, Y_TRAIN, groups=groups).certify(X_TEST)
        np.testing.assert_array_equal(found, expected)


# ---------------------------------------------------------------- the way in


def test_front_door_scorer_abstention_and_display_count_annotators():
    for inner in (
        LabelFlipSmoothingClassifier(KNeighborsClassifier(40), classes=range(10)),
        SemiSupervisedDPA(n_partitions=9, classes=range(10)),
        CertifiedKNeighborsClassifier(40, classes=range(10)),
    ):
        name = type(inner).__name__.lower()
        pipeline = make_pipeline(Normalizer(), inner)
        pipeline.fit(X_TRAIN, Y_TRAIN, **{f"{name}__groups": WHO})
        y_pred, radius = certify(pipeline, X_TEST)
        alone = clone(inner).fit(Normalizer().transform(X_TRAIN), Y_TRAIN, groups=WHO)
        np.testing.assert_array_equal(
            radius, alone.certify(Normalizer().transform(X_TEST), threat="label_flip").radius
        )
        expected = certified_accuracy_score(Y_TEST, y_pred, radius, 2)
        assert make_certified_accuracy_scorer(2)(pipeline, X_TEST, Y_TEST) == expected
        display = CertifiedAccuracyDisplay.from_estimator(pipeline, X_TEST, Y_TEST)
        assert display.unit == "hostile annotators"
        cautious = CertifiedAbstention(clone(inner)).fit(X_TRAIN, Y_TRAIN, groups=WHO)
        assert cautious.certify(X_TEST).radius.max() > 0


def test_groups_are_routed_to_annotators_in_cross_validation():
    clf = LabelFlipSmoothingClassifier(KNeighborsClassifier(40), classes=range(10))
    with config_context(enable_metadata_routing=True):
        pipeline = make_pipeline(Normalizer(), clf.set_fit_request(groups=True))
        scores = cross_validate(
            pipeline,
            X_TRAIN,
            Y_TRAIN,
            cv=GroupKFold(2),
            scoring=make_certified_accuracy_scorer(2),
            params={"groups": WHO},
            return_estimator=True,
        )
    assert all(fitted[-1]._counts_annotators for fitted in scores["estimator"])
    assert scores["test_score"].min() > 0.3


def test_refit_without_groups_counts_labels_again():
    for clf in (
        LabelFlipSmoothingClassifier(KNeighborsClassifier(40), classes=range(10)),
        CertifiedKNeighborsClassifier(40, classes=range(10)),
        SemiSupervisedDPA(n_partitions=9, classes=range(10)),
    ):
        expected = clone(clf).fit(X_TRAIN, Y_TRAIN).certify(X_TEST)
        clf.fit(X_TRAIN, Y_TRAIN, groups=WHO)
        assert clf._counts_annotators
        np.testing.assert_array_equal(clf.fit(X_TRAIN, Y_TRAIN).certify(X_TEST), expected)
        assert not clf._counts_annotators


# ---------------------------------------------------------------- refusals


@pytest.mark.parametrize(
    ("clf", "groups", "message"),
    [
        (SemiSupervisedDPA(KMeans(3), "n_samples"), WHO, "LabelFlipSmoothingClassifier"),
        (SemiSupervisedDPA(partitioner="pixel_sum"), WHO, "partitioner='pixel_sum'.*'content'"),
        (SemiSupervisedDPA(partitioner=PixelSumHasher()), WHO, "PixelSumHasher.*'sorted'"),
        (SemiSupervisedDPA(), WHO[1:], "groups is inconsistent"),
        (LabelFlipSmoothingClassifier(), WHO[1:], "groups is inconsistent"),
        (LabelFlipSmoothingClassifier(), [*WHO[1:], None], "groups lacks 1 of 900"),
        (CertifiedKNeighborsClassifier(), [np.nan, *WHO[1:]], "groups lacks 1 of 900"),
    ],
)
def test_unusable_groups_are_refused_with_a_remedy(clf, groups, message):
    with pytest.raises(ValueError, match=message):
        clf.fit(X_TRAIN, Y_TRAIN, groups=groups)


@pytest.mark.parametrize("threat", ["insertion_deletion", "replacement"])
def test_neighbours_promise_nothing_about_annotators_who_bring_rows(threat):
    clf = CertifiedKNeighborsClassifier().fit(X_TRAIN, Y_TRAIN, groups=WHO)
    with pytest.raises(ValueError, match=f"threat='{threat}' does not go with groups"):
        clf.certify(X_TEST, threat=threat)
