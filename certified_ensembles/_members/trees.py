"""Rows checked once for all trees, where each tree would check them anew."""

import functools

import numpy as np
from sklearn.tree import DecisionTreeClassifier, ExtraTreeClassifier

from .constant import ConstantMember

# By exact type: a subclass may look at its rows in its own way.
_TREES = (DecisionTreeClassifier, ExtraTreeClassifier)


def never_writes(member):
    """Say whether a member is so fast to predict that a copy shows, and never writes into rows."""
    kind = type(member).__module__
    return isinstance(member, ConstantMember) or kind.startswith(
        ("sklearn.tree.", "sklearn.dummy", "sklearn.naive_bayes")
    )


def with_checked_rows(members, blocks):
    """Check test rows and bring them into the type of scikit-learn's trees once for all of them.

    Each would do both anew, which takes several times as long as its answer. Rows that trees
    might refuse are left to them, as are all rows where other members are among the trees.
    (``config_context(assume_finite=True)`` would save less, and would let a value beyond single
    precision, or what a step of a pipeline makes of a row, pass where members refuse it.)

    Parameters
    ----------
    members : list
        Fitted estimators; None where one is missing.
    blocks : list
        Test rows, as `View.shaped` yields them.

    Returns
    -------
    members, blocks : lists
        Of the same lengths, with the same answers.
    """
    trees = [member for member in members if type(member) in _TREES]
    others = {type(member) for member in members if type(member) not in _TREES}
    if not trees or not others <= {ConstantMember, type(None)}:
        return members, blocks
    width = {tree.n_features_in_ for tree in trees}
    if not all(_is_plain(block, width) for block in blocks):
        return members, blocks
    with np.errstate(over="ignore"):
        checked = [np.ascontiguousarray(rows, dtype=np.float32) for ((_, rows),) in blocks]
    if not all(np.isfinite(rows).all() for rows in checked):
        return members, blocks
    checked = [[(None, rows)] for rows in checked]
    return [_TrustingTree(m) if type(m) in _TREES else m for m in members], checked


def _is_plain(block, width):
    """Say whether a block is one array of numbers as wide as the trees want it."""
    if len(block) != 1:
        return False
    rows = block[0][1]
    return isinstance(rows, np.ndarray) and {*rows.shape[1:]} == width


class _TrustingTree:
    """A tree that is asked about rows which have been checked."""

    def __init__(self, tree):
        self.predict = functools.partial(tree.predict, check_input=False)
        self.predict_proba = functools.partial(tree.predict_proba, check_input=False)
        self.classes_ = tree.classes_
