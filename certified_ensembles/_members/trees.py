"""Rows checked once for all trees and forests, where each tree would check them anew."""

import numpy as np
import scipy.sparse as sp
from sklearn.ensemble import (
    ExtraTreesClassifier,
    ExtraTreesRegressor,
    RandomForestClassifier,
    RandomForestRegressor,
)
from sklearn.tree import (
    DecisionTreeClassifier,
    DecisionTreeRegressor,
    ExtraTreeClassifier,
    ExtraTreeRegressor,
)

from .constant import ConstantMember


def never_writes(member):
    """Say whether a member is so fast to predict that a copy shows, and never writes into rows."""
    kind = type(member).__module__
    return isinstance(member, ConstantMember | _Trusting | None) or kind.startswith(
        ("sklearn.tree.", "sklearn.dummy", "sklearn.naive_bayes")
    )


def with_checked_rows(members, blocks):
    """Check test rows and bring them into the type of scikit-learn's trees once for all of them.

    Each would do both anew, which takes several times as long as its answer. A forest would
    moreover set the filters of warnings, which all threads share, anew for each of its trees. Rows
    that trees might refuse are left to them, as are all rows where other members are among them.
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
        Of the same lengths, with the same answers; the very ones that were given where nothing
        is checked. What stands in the place of a tree or a forest draws nothing.
    """
    trees = [member for member in members if type(member) in _TRUSTING]
    others = {type(member) for member in members if type(member) not in _TRUSTING}
    if not trees or not others <= {ConstantMember, type(None)}:
        return members, blocks
    width = {tree.n_features_in_ for tree in trees}
    if not all(_is_plain(block, width) for block in blocks):
        return members, blocks
    with np.errstate(over="ignore"):
        checked = [
            rows.astype(np.float32)
            if sp.issparse(rows)
            else np.ascontiguousarray(rows, dtype=np.float32)
            for ((_, rows),) in blocks
        ]
    if not all(map(is_finite, checked)):
        return members, blocks
    checked = [[(None, rows)] for rows in checked]
    return [_TRUSTING[type(m)](m) if type(m) in _TRUSTING else m for m in members], checked


def _is_plain(block, width):
    """Say whether a block is one array of numbers, or CSR matrix, as wide as the trees want it."""
    if len(block) != 1:
        return False
    rows = block[0][1]
    if type(rows) in CSR and {rows.indices.dtype, rows.indptr.dtype} != {np.dtype(np.int32)}:
        return False
    return isinstance(rows, (np.ndarray, *CSR)) and {*rows.shape[1:]} == width


CSR = (sp.csr_array, sp.csr_matrix)


def is_finite(rows):
    """Say whether all numbers of an array or of a CSR matrix are finite."""
    return bool(np.isfinite(rows.data if sp.issparse(rows) else rows).all())


class _Trusting:
    """What is asked, in the place of a tree or a forest, about rows that have been checked."""

    def __init__(self, member):
        self._trees = [tree.tree_ for tree in getattr(member, "estimators_", [member])]


class _TrustingClassifier(_Trusting):
    """A classifier: it answers with the class of the largest share."""

    def __init__(self, member):
        super().__init__(member)
        self.classes_ = member.classes_

    def predict(self, rows):
        return self.classes_.take(self.predict_proba(rows).argmax(axis=1), axis=0)


class _TrustingTree(_TrustingClassifier):
    """A tree: its answers are the shares of the classes in its leaves."""

    def predict_proba(self, rows):
        return self._trees[0].predict(rows)


class _TrustingForest(_TrustingClassifier):
    """A forest: its trees are added up one after the other, in order, as it does on one job."""

    def predict_proba(self, rows):
        shares = np.zeros((rows.shape[0], len(self.classes_)))
        for tree in self._trees:
            shares += tree.predict(rows)
        shares /= len(self._trees)
        return shares


class _TrustingRegressor(_Trusting):
    """A tree or a forest of numbers: the mean of its trees, added up in order."""

    def predict(self, rows):
        numbers = np.zeros(rows.shape[0])
        for tree in self._trees:
            numbers += tree.predict(rows)[:, 0]
        return numbers / len(self._trees)


# By exact type: a subclass may look at its rows in its own way.
_TRUSTING = {
    DecisionTreeClassifier: _TrustingTree,
    DecisionTreeRegressor: _TrustingRegressor,
    ExtraTreeClassifier: _TrustingTree,
    ExtraTreeRegressor: _TrustingRegressor,
    ExtraTreesClassifier: _TrustingForest,
    ExtraTreesRegressor: _TrustingRegressor,
    RandomForestClassifier: _TrustingForest,
    RandomForestRegressor: _TrustingRegressor,
}
