"""Ours, and everything a user could pick instead, each timed on the same rows and members.

A contender is called with a :class:`Case` and returns seconds: ``{"hash": ..., "fit": ...,
"ballots": ...}``; certificates count as ballots. Slow ones train and ask the first ``subset``
members alone, and what they spent on members is multiplied by what is missing.
"""

import time
import warnings
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from joblib import Parallel, delayed
from sklearn.base import clone
from sklearn.ensemble import BaggingClassifier
from threadpoolctl import threadpool_limits

from certified_ensembles import DeepPartitionAggregation
from certified_ensembles.certificates import plurality_radius
from certified_ensembles.hashers import ContentHasher, canonical_order


@dataclass
class Case:
    """One row of the table: data, members, and how many of them the slow contenders run."""

    X: Any
    y: np.ndarray
    X_test: Any
    estimator: Any
    k: int
    n_jobs: int = 1
    subset: int | None = None
    n_classes: int = 10
    partition: np.ndarray = field(init=False)

    def __post_init__(self):
        self.partition = ContentHasher()(self.X) % self.k

    @property
    def n_members(self):
        """Members that slow contenders train."""
        return self.k if self.subset is None else min(self.k, self.subset)

    def rows(self):
        """Return the rows of each member of the subset."""
        order = np.argsort(self.partition, kind="stable")
        bounds = np.cumsum(np.bincount(self.partition, minlength=self.k))
        return np.split(order, bounds[:-1])[: self.n_members]

    def scaled(self, hashed, fit, ballots, n_members=None):
        """Return seconds for all members from those for the subset."""
        share = self.k / (n_members or self.n_members)
        return {"hash": hashed, "fit": fit * share, "ballots": ballots * share}


def ours(case):
    """Fit and certify; hashing is inside the fit."""
    clf = DeepPartitionAggregation(
        case.estimator, case.k, classes=range(case.n_classes), n_jobs=case.n_jobs
    )
    start = time.perf_counter()
    clf.fit(case.X, case.y)
    middle = time.perf_counter()
    clf.certify(case.X_test)
    return {"hash": 0.0, "fit": middle - start, "ballots": time.perf_counter() - middle}


def _hash(case):
    start = time.perf_counter()
    ContentHasher()(case.X)
    return time.perf_counter() - start


def loop(case):
    """Clone, fit and ask one estimator a partition, in as many jobs; count votes, certify."""
    hashed = _hash(case)
    parallel = Parallel(n_jobs=case.n_jobs)
    start = time.perf_counter()
    members = parallel(
        delayed(_fit_clone)(case.estimator, np.asarray(case.X[rows]), case.y[rows])
        for rows in case.rows()
        if len(rows)
    )
    middle = time.perf_counter()
    ballots = np.stack(parallel(delayed(m.predict)(case.X_test) for m in members), axis=1)
    votes = np.stack([(ballots == c).sum(axis=1) for c in range(case.n_classes)], axis=1)
    plurality_radius(votes)
    return case.scaled(hashed, middle - start, time.perf_counter() - middle)


def plain(case):
    """The loop as one types it: a process, and as many threads as the libraries choose.

    A tenth of the subset is enough to know what a member takes.
    """
    hashed = _hash(case)
    some = [rows for rows in case.rows() if len(rows)][: max(5, case.n_members // 10)]
    start = time.perf_counter()
    members = [_fit_clone(case.estimator, case.X[rows], case.y[rows]) for rows in some]
    middle = time.perf_counter()
    for member in members:
        member.predict(case.X_test)
    return case.scaled(hashed, middle - start, time.perf_counter() - middle, len(some))


def _fit_clone(estimator, X, y):
    if len(np.unique(y)) == 1:  # what many classifiers refuse
        from sklearn.dummy import DummyClassifier

        return DummyClassifier().fit(X[:, :1], y)
    return clone(estimator).fit(X, y)


def bagging(case):
    """scikit-learn's BaggingClassifier with members of the same size; it certifies nothing.

    Where the estimator takes weights, each member goes through all rows, most with weight 0: so a
    twentieth of the subset is enough to know what a member takes.
    """
    n_members = case.k if case.subset is None else max(2, case.n_members // 20)
    clf = BaggingClassifier(
        clone(case.estimator),
        n_estimators=n_members,
        max_samples=1 / case.k,
        bootstrap=False,
        n_jobs=case.n_jobs,
        random_state=0,
    )
    start = time.perf_counter()
    clf.fit(case.X, case.y)
    middle = time.perf_counter()
    clf.predict(case.X_test)
    return case.scaled(0.0, middle - start, time.perf_counter() - middle, n_members)


def toolbox(case):
    """DeepPartitionEnsemble of the Adversarial Robustness Toolbox: fit and votes.

    It gets the partitions as a table (its own hash is a Python loop over sums), and members
    that drop the arguments for nets that it passes to all, and fill up classes not seen.
    """
    from art.estimators.classification import DeepPartitionEnsemble

    hashed = _hash(case)
    mine = np.flatnonzero(case.partition < case.n_members)
    X, y = np.asarray(case.X[mine]), np.eye(case.n_classes)[case.y[mine]]
    known = iter(case.partition[mine].tolist())
    start = time.perf_counter()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        members = [_toolbox_member(case) for _ in range(case.n_members)]
        clf = DeepPartitionEnsemble(
            members, hash_function=lambda row: next(known), ensemble_size=case.n_members
        )
        clf.can_fit = True
        clf.fit(X, y)
        middle = time.perf_counter()
        for block in np.array_split(case.X_test, max(1, len(case.X_test) // 2000)):
            clf.predict(block)  # in blocks: it holds the outputs of all members at once
    return case.scaled(hashed, middle - start, time.perf_counter() - middle)


def _toolbox_member(case):
    from art.estimators.classification.scikitlearn import ScikitlearnClassifier
    from art.estimators.estimator import NeuralNetworkMixin

    class Member(NeuralNetworkMixin, ScikitlearnClassifier):  # the ensemble insists on nets
        def fit(self, x, y, **kwargs):
            self._model = _fit_clone(self._model, x, y.argmax(axis=1))

        def predict(self, x, **kwargs):
            out = np.zeros((len(x), case.n_classes), np.float32)
            if hasattr(self._model, "predict_proba"):
                out[:, self._model.classes_] = self._model.predict_proba(x)
            else:
                out[np.arange(len(x)), self._model.predict(x)] = 1
            return out

        def get_activations(self, *args, **kwargs):
            raise TypeError("members of scikit-learn have no activations")

    member = Member(channels_first=False, model=clone(case.estimator))
    member.nb_classes, member._input_shape = case.n_classes, case.X.shape[1:]
    return member


def floor(case):
    """What linear members cannot leave out: hash, a float32 product with all weights, argmax."""
    hashed = _hash(case)
    X_test = np.asarray(case.X_test, np.float32)
    n_features, step = X_test.shape[1], 100
    weights = np.random.default_rng(0).random((case.n_classes, step, n_features), np.float32)
    weights = weights.reshape(-1, n_features).T

    def vote(block):
        for _ in range(-(-case.k // step)):
            (block @ weights).reshape(len(block), case.n_classes, step).argmax(axis=1)

    start = time.perf_counter()
    blocks = np.array_split(X_test, max(1, len(X_test) // 500))
    Parallel(n_jobs=case.n_jobs, require="sharedmem")(delayed(vote)(b) for b in blocks)
    spent = (time.perf_counter() - start) * case.k / (-(-case.k // step) * step)
    return {"hash": hashed, "fit": 0.0, "ballots": spent}


def bare(case):
    """What members that are asked one by one cannot leave out: their own fits and predicts.

    The rows are sliced and in order before the clock starts, in the type in which they are given.
    """
    slices = []
    for rows in case.rows():
        order = canonical_order(case.X[rows], case.y[rows])
        slices.append((np.array(case.X[rows][order]), case.y[rows][order]))
    X_test = np.array(case.X_test)
    start = time.perf_counter()
    members = [_fit_clone(case.estimator, X, y) for X, y in slices if len(y)]
    middle = time.perf_counter()
    for member in members:
        member.predict(X_test)
    return case.scaled(0.0, middle - start, time.perf_counter() - middle)


CONTENDERS = {
    "ours": ours,
    "loop": loop,
    "plain": plain,
    "bagging": bagging,
    "toolbox": toolbox,
    "floor": floor,
    "bare": bare,
}


def run(name, case):
    """Return the seconds of one contender on one BLAS thread a job (the toolbox has no jobs)."""
    threads = {"toolbox": case.n_jobs, "plain": None}.get(name, 1)
    with threadpool_limits(threads), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of scikit-learn: solvers that have not converged
        parts = CONTENDERS[name](case)
    parts["total"] = sum(parts.values())
    return parts


# ---------------------------------------------------------------- hashing


def hash_by_row(X):
    """One digest a row, as one would write it first; another bit pattern, another partition."""
    from hashlib import blake2b

    return [int.from_bytes(blake2b(row.tobytes(), digest_size=8).digest(), "little") for row in X]


def hash_of_toolbox(X, k=1200):
    """The toolbox's own hash: the sum of a row, row by row."""
    return [int(np.sum(row)) % k for row in X]


def hash_floor(X):
    """BLAKE2b of all bytes in one call: what hashing itself costs."""
    from hashlib import blake2b

    blake2b(np.ascontiguousarray(X)).digest()
