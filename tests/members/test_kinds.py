"""What holds for members of a kind, and what an ensemble may take for granted of them."""

import threading

import numpy as np
import pytest
import scipy.sparse as sp
from sklearn.base import clone
from sklearn.dummy import DummyClassifier
from sklearn.ensemble import ExtraTreesClassifier, RandomForestClassifier
from sklearn.linear_model import RidgeClassifier
from sklearn.tree import DecisionTreeClassifier, ExtraTreeClassifier

from certified_ensembles import DeepPartitionAggregation
from certified_ensembles._deterministic import OwnGenerators
from certified_ensembles._linear.weights import is_constant
from certified_ensembles._members import trees
from certified_ensembles._members.constant import ConstantMember

RNG = np.random.default_rng(0)
X = RNG.random((120, 3))
Y = RNG.integers(0, 3, 120)


@pytest.mark.parametrize("labels", [[7], ["spam"], [True]])
def test_a_constant_member_says_its_label_of_every_row(labels):
    member = ConstantMember.of(np.array(labels))
    assert member.predict(X).tolist() == labels * len(X)
    assert member.predict_proba(X).tolist() == [[1.0]] * len(X)
    assert member.label == labels[0]
    assert isinstance(member, DummyClassifier)


def test_a_dummy_classifier_of_the_user_is_no_constant_member():
    clf = DeepPartitionAggregation(DummyClassifier(strategy="stratified"), 4).fit(X, Y)
    assert not any(map(is_constant, clf.estimators_))
    (only,) = DeepPartitionAggregation(DummyClassifier(), 1).fit(X, [4] * len(X)).estimators_
    assert is_constant(only)


TREES = [
    DecisionTreeClassifier(),
    ExtraTreeClassifier(),
    RandomForestClassifier(3),
    ExtraTreesClassifier(3, bootstrap=True),
]


FORMS = pytest.mark.parametrize("form", [np.asarray, sp.csr_array, sp.csr_matrix])


@FORMS
@pytest.mark.parametrize("tree", TREES)
@pytest.mark.parametrize("value", [1e300, -1e39, np.float64(np.finfo(np.float32).max) * 2])
def test_trees_refuse_in_an_ensemble_what_they_refuse_alone(tree, value, form):
    clf = DeepPartitionAggregation(tree, 4).fit(form(X), Y)
    rows = X[:5].copy()
    rows[2, 1] = value
    rows = form(rows)
    member = clf.estimators_[0]
    for ask in (member.predict, clf.predict, clf.ballots, clf.certify):
        with pytest.raises(ValueError, match="too large for dtype"), np.errstate(over="ignore"):
            ask(rows)


def test_rows_are_checked_once_for_trees_and_left_to_any_other_members():
    tree = DecisionTreeClassifier(random_state=0).fit(X, Y)
    constant, other = ConstantMember.of(Y[:1]), RidgeClassifier().fit(X, Y)
    asked, checked = trees.with_checked_rows([tree, constant, None], [[(None, X)]])
    assert asked[0] is not tree
    ((index, rows),) = checked[0]
    assert index is None
    assert rows.dtype == np.float32
    np.testing.assert_array_equal(asked[0].predict(rows), tree.predict(X))
    long = sp.csr_array(X)
    long.indices = long.indices.astype(np.int64)  # which trees refuse
    assert trees.with_checked_rows([tree], [[(None, long)]])[0] == [tree]
    for members in ([tree, other], [constant, None]):
        blocks = [[(None, X)]]
        assert trees.with_checked_rows(members, blocks) == (members, blocks)


@FORMS
@pytest.mark.parametrize("tree", [*TREES, RandomForestClassifier(7, class_weight="balanced")])
@pytest.mark.parametrize("labels", [Y, np.array(["a", "b", "c"])[Y], Y > 0])
def test_checked_rows_get_the_answers_of_trees_and_forests_to_the_bit(tree, labels, form):
    tree = clone(tree).set_params(random_state=1, max_depth=2).fit(X, labels)
    (asked,), (((_, rows),),) = trees.with_checked_rows([tree], [[(None, form(X))]])
    assert asked is not tree
    np.testing.assert_array_equal(asked.predict_proba(rows), tree.predict_proba(X))
    np.testing.assert_array_equal(asked.predict(rows), tree.predict(X))


def test_a_forest_is_asked_while_another_thread_has_the_generators():
    clf = DeepPartitionAggregation(RandomForestClassifier(2), 4).fit(X, Y)
    answers = []
    thread = threading.Thread(target=lambda: answers.append(clf.predict(X)), daemon=True)
    with OwnGenerators():
        thread.start()
        thread.join(30)
        assert len(answers) == 1
    np.testing.assert_array_equal(answers[0], clf.predict(X))
