"""Services for `soak.py`: fitted ensembles, and what each of them has to answer.

A service has two training sets, and is refitted from one to the other while it is asked. The
second set differs in all that an answer could mix up: other rows, fewer classes, and, where the
ensemble takes them, sources of rows, which make a replacement cheaper.
"""

import threading
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.base import clone
from sklearn.datasets import load_breast_cancer, load_digits, load_iris, load_wine
from sklearn.ensemble import RandomForestClassifier
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression, RidgeClassifier
from sklearn.naive_bayes import GaussianNB, MultinomialNB
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.tree import DecisionTreeClassifier

from certified_ensembles import (
    DeepPartitionAggregation,
    LabelFlipSmoothingClassifier,
    SemiSupervisedDPA,
)

METHODS = ("predict", "certify", "ballots", "predict_proba")


@dataclass
class Service:
    """One ensemble that is asked, refitted and hurt at the same time.

    Attributes
    ----------
    name : str
    ensemble : estimator
        What all threads ask.
    fits : list of dict
        The arguments of ``fit`` for each training set.
    rows : ndarray or list of str
        Test rows.
    threats : list of dict
        Arguments with which ``certify`` is called.
    folder : Path or None
        The cache of its members.
    truths : list of dict
        For each training set the answers to all test rows, by method and threat.
    lock : Lock
        Held by whoever refits or damages it: two refits of one ensemble would leave open which
        of them counts.
    n_repairs : int
        How often its cache was damaged and it was fitted anew.
    """

    name: str
    ensemble: Any
    fits: list
    rows: Any
    threats: list = field(default_factory=lambda: [{}])
    folder: Path | None = None
    truths: list = field(default_factory=list)
    lock: Any = field(default_factory=threading.Lock)
    n_repairs: int = 0

    @property
    def questions(self):
        """Return pairs of a method and its arguments."""
        known = [method for method in METHODS if hasattr(self.ensemble, method)]
        return [
            (method, how)
            for method in known
            for how in (self.threats if method == "certify" else [{}])
        ]

    def learn_truth(self):
        """Fit on each training set, without a cache and alone; keep the answers."""
        for fit in self.fits:
            alone = clone(self.ensemble)
            if self.folder is not None:
                alone.set_params(memory=None)
            alone.fit(**fit)
            answers = {key(*q): ask(alone, *q, self.rows) for q in self.questions}
            self.truths.append(answers)
        self.ensemble.fit(**self.fits[0])

    def is_right(self, question, index, answer):
        """Say whether an answer is, in all its rows and fields, that of one of the fits."""
        wanted = [truth[key(*question)] for truth in self.truths]
        return any(_is_same(answer, tuple(part[index] for part in own)) for own in wanted)

    def is_fit(self, which, question, index, answer):
        """Say whether an answer is that of a certain fit."""
        own = self.truths[which][key(*question)]
        return _is_same(answer, tuple(part[index] for part in own))


def key(method, how):
    """Return what an answer is kept by."""
    return (method, *how.values())


def ask(ensemble, method, how, rows):
    """Return the answer of an ensemble as a tuple of arrays."""
    answer = getattr(ensemble, method)(rows, **how)
    return tuple(answer) if isinstance(answer, tuple) else (answer,)


def take(rows, index):
    """Return some rows in the container that they came in."""
    return [rows[i] for i in index] if isinstance(rows, list) else rows[index]


def _is_same(answer, wanted):
    return len(answer) == len(wanted) and all(
        got.shape == own.shape and got.dtype == own.dtype and (got == own).all()
        for got, own in zip(answer, wanted, strict=True)
    )


# ---------------------------------------------------------------- rows


def _two_fits(X, y, *, drop=None, groups=False):
    """Return the arguments of two fits: the first and the last two thirds of the rows.

    Parameters
    ----------
    X : ndarray or list of str
    y : ndarray
    drop : label, default=None
        What the second fit does not know: its classes stand at other indices.
    groups : bool, default=False
        Whether rows of the second fit come from sources.
    """
    n = len(y)
    first, last = np.arange(2 * n // 3), np.arange(n // 3, n)
    if drop is not None:
        last = last[y[last] != drop]
    fits = [{"X": take(X, own), "y": y[own]} for own in (first, last)]
    if groups:
        fits[1]["groups"] = np.arange(len(last)) % (len(last) // 2)
    return fits


def _shuffled(X, y, n_test):
    """Return training rows, their labels and test rows, in an order that is always the same."""
    order = np.random.default_rng(0).permutation(len(y))
    test, train = order[:n_test], order[n_test:]
    return take(X, train), y[train], take(X, test)


def on_the_edge(ensemble, rows):
    """Move rows onto the border between the two best classes of a linear member each.

    The last bit of a score decides there: one more thread, or another shape of a product, shows.
    """
    members = [
        m for m in ensemble.estimators_ if getattr(m, "coef_", np.empty((1, 0))).shape[0] > 2
    ]
    moved = np.array(rows, dtype=np.float64)
    for i, row in enumerate(moved):
        member = members[i % len(members)]
        best, second = np.argsort(row @ member.coef_.T + member.intercept_)[::-1][:2]
        across = member.coef_[best] - member.coef_[second]
        gap = row @ across + member.intercept_[best] - member.intercept_[second]
        moved[i] = row - gap / (across @ across) * across
    return moved


def lines_of_text():
    """Return lines of the descriptions of scikit-learn's data sets, and which set each is from."""
    sets = (load_breast_cancer, load_digits, load_iris, load_wine)
    lines = [(line.strip(), load.__name__) for load in sets for line in load().DESCR.split("\n")]
    lines = sorted({(line, name) for line, name in lines if len(line) > 12})
    return [line for line, _ in lines], np.array([name for _, name in lines])


# ---------------------------------------------------------------- kinds


def _digits(name, ensemble, folder=None, *, n_test=300, **how):
    X, y = load_digits(return_X_y=True)
    X, y, rows = _shuffled(X, y, n_test)
    threats = [{}, {"threat": "replacement"}] if how.get("groups") else [{}]
    return Service(name, ensemble, _two_fits(X, y, **how), rows, threats, folder)


def ridge(folder):
    service = _digits(
        "ridge", DeepPartitionAggregation(n_partitions=60), drop=0, groups=True, n_test=200
    )
    fitted = clone(service.ensemble).fit(**service.fits[0])
    service.rows = np.concatenate([service.rows, on_the_edge(fitted, service.rows)])
    return service


def scaled_ridge(folder):
    X, y = load_breast_cancer(return_X_y=True)
    X, y, rows = _shuffled(X, np.array(["malignant", "benign"])[y], 150)
    estimator = make_pipeline(StandardScaler(), RidgeClassifier())
    clf = DeepPartitionAggregation(
        estimator, 15, classes=["benign", "malignant"], memory=str(folder)
    )
    threats = [{}, {"threat": "replacement"}]
    return Service("scaler, ridge", clf, _two_fits(X, y, groups=True), rows, threats, folder)


def forest(folder):
    estimator = RandomForestClassifier(3, max_depth=6)
    return _digits("forest", DeepPartitionAggregation(estimator, 12), drop=3)


def naive_bayes(folder):
    clf = DeepPartitionAggregation(GaussianNB(var_smoothing=1e-3), 30, memory=str(folder))
    return _digits("naive Bayes", clf, folder, drop=5, groups=True)


def neighbors(folder):
    X, y = load_wine(return_X_y=True)
    X, y, rows = _shuffled(X, y, 60)
    clf = DeepPartitionAggregation(KNeighborsClassifier(3), 9)
    return Service("neighbours", clf, _two_fits(X, y, drop=0), rows)


def texts(folder):
    X, y, rows = _shuffled(*lines_of_text(), 80)
    estimator = make_pipeline(TfidfVectorizer(), MultinomialNB())
    clf = DeepPartitionAggregation(estimator, 9)
    return Service("texts", clf, _two_fits(X, y, drop="load_digits"), rows)


def run_off(folder):
    clf = DeepPartitionAggregation(
        DecisionTreeClassifier(max_depth=6), 20, aggregation="run_off", memory=str(folder)
    )
    return _digits("run-off of trees", clf, folder, drop=9)


def nets(folder):
    from torch import nn

    from certified_ensembles.nets import SeededNetClassifier

    X, y = load_digits(return_X_y=True)
    X, y, rows = _shuffled(X.astype(np.float32), y, 150)
    sizes = {"module__in_features": 64, "module__out_features": 10}
    net = SeededNetClassifier(nn.Linear, max_epochs=2, lr=0.1, **sizes)
    clf = DeepPartitionAggregation(net, 8, classes=range(10), memory=str(folder))
    return Service("nets", clf, _two_fits(X, y), rows, folder=folder)


def label_flips(folder):
    X, y = load_breast_cancer(return_X_y=True)
    X, y, rows = _shuffled(X, y, 100)
    return Service("label flips", LabelFlipSmoothingClassifier(), _two_fits(X, y), rows)


def semi_supervised(folder):
    clf = SemiSupervisedDPA(LogisticRegression(), 20, n_jobs=2)
    return _digits("semi-supervised", clf, drop=1)


# The first of them are taken; more services than kinds are further ensembles of the same kinds.
KINDS = (
    ridge,
    forest,
    naive_bayes,
    texts,
    nets,
    run_off,
    neighbors,
    scaled_ridge,
    label_flips,
    semi_supervised,
)


def make_services(n, folder):
    """Return fitted services that know the truth about themselves.

    Parameters
    ----------
    n : int
        How many; without torch there are none of nets.
    folder : Path
        Where those with a cache keep it, in a folder each.
    """
    kinds = [make for make in KINDS if make is not nets or find_spec("torch")]
    services = []
    for i in range(n):
        service = kinds[i % len(kinds)](folder / str(i))
        service.learn_truth()
        services.append(service)
    return services
