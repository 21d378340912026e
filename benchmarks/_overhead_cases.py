"""The estimators and rows of `bench_overhead.py`, and the loop that one would write."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.sparse as sp
from sklearn.base import clone
from sklearn.datasets import load_digits
from sklearn.decomposition import PCA
from sklearn.feature_extraction.text import CountVectorizer, TfidfVectorizer
from sklearn.linear_model import LogisticRegression, RidgeClassifier
from sklearn.naive_bayes import GaussianNB, MultinomialNB
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC
from sklearn.tree import DecisionTreeClassifier
from sklearn.utils import all_estimators

from certified_ensembles.certificates import plurality_radius
from certified_ensembles.hashers import ContentHasher

# They answer several labels a row, so that no loop of them can vote.
IMPOSSIBLE = ("ClassifierChain", "MultiOutputClassifier")
# What an estimator needs to be built, or to learn from few rows. All else is as it comes.
SETTINGS = {
    "CategoricalNB": {"min_categories": 20},
    "FixedThresholdClassifier": {"estimator": LogisticRegression()},
    "NuSVC": {"nu": 0.1},
    "OneVsOneClassifier": {"estimator": LogisticRegression()},
    "OneVsRestClassifier": {"estimator": LogisticRegression()},
    "OutputCodeClassifier": {"estimator": LogisticRegression()},
    "QuadraticDiscriminantAnalysis": {"solver": "eigen", "shrinkage": 0.5},
    "RadiusNeighborsClassifier": {"radius": 40.0, "outlier_label": "most_frequent"},
    "SelfTrainingClassifier": {"estimator": GaussianNB()},
    "StackingClassifier": {
        "estimators": [("tree", DecisionTreeClassifier()), ("bayes", GaussianNB())],
        "final_estimator": LogisticRegression(),
    },
    "TunedThresholdClassifierCV": {"estimator": LogisticRegression()},
    "VotingClassifier": {
        "estimators": [("tree", DecisionTreeClassifier()), ("bayes", GaussianNB())]
    },
}
PIPELINES = {
    "scaler, ridge": make_pipeline(StandardScaler(), RidgeClassifier()),
    "scaler, logistic regression": make_pipeline(StandardScaler(), LogisticRegression()),
    "scaler, PCA, logistic regression": make_pipeline(
        StandardScaler(), PCA(10), LogisticRegression()
    ),
    "scaler, SVC": make_pipeline(StandardScaler(), SVC()),
    "scaler, naive Bayes": make_pipeline(StandardScaler(), GaussianNB()),
}
TEXTS = {
    "counts, naive Bayes": make_pipeline(CountVectorizer(), MultinomialNB()),
    "TF-IDF, naive Bayes": make_pipeline(TfidfVectorizer(), MultinomialNB()),
    "TF-IDF, logistic regression": make_pipeline(TfidfVectorizer(), LogisticRegression()),
    "TF-IDF, ridge": make_pipeline(TfidfVectorizer(), RidgeClassifier()),
}


@dataclass
class Case:
    """One estimator on rows of one container."""

    name: str
    container: str
    estimator: Any
    X: Any
    y: np.ndarray
    X_test: Any
    k: int


def estimators():
    """Return by name every classifier of scikit-learn that a loop can ask, and some pipelines."""
    found = {}
    for name, kind in all_estimators("classifier"):
        if name not in IMPOSSIBLE:
            found[name] = kind(**SETTINGS.get(name, {}))
    return found | PIPELINES


def cases(names, containers, n_test):
    """Yield the cases that were asked for."""
    known = estimators()
    X, y, X_test = digits(n_test)
    for container in containers:
        for name in names:
            if name in known and container != "text":
                rows = (in_container(A, container) for A in (X, X_test))
                yield Case(name, container, known[name], next(rows), y, next(rows), 50)
            elif name in TEXTS and container == "text":
                texts, labels = mails()
                rows = [texts[i] for i in np.arange(min(n_test, 10000)) % len(texts)]
                yield Case(name, container, TEXTS[name], texts, labels, rows, 100)


def digits(n_test):
    """Return 4500 noisy images of digits, whether each is above 4, and test rows."""
    images, labels = load_digits(return_X_y=True)
    rng = np.random.default_rng(0)
    index = rng.integers(0, len(images), 4500 + n_test)
    X = np.clip(images[index] + rng.integers(-1, 2, (len(index), 64)), 0, 16)
    return X[:4500], (labels[index] > 4)[:4500].astype(int), X[4500:]


def mails():
    """Return 3000 texts of 100 words, of frequencies as in a language, and labels."""
    rng = np.random.default_rng(0)
    words = np.array([f"word{i}" for i in range(20000)])
    y = rng.integers(0, 2, 3000)
    places = (len(words) ** rng.random((len(y), 100))).astype(int) - 1
    places[:, :20] = (places[:, :20] + 10 * y[:, None]) % len(words)
    return [" ".join(row) for row in words[places]], y


def in_container(X, container):
    """Return rows as an array, a frame or a CSR matrix."""
    if container == "frame":
        import pandas

        return pandas.DataFrame(X, columns=[f"c{j}" for j in range(X.shape[1])])
    return sp.csr_array(X) if container == "csr" else X


def first(X, n):
    """Return the first rows of a container."""
    return X.iloc[:n] if hasattr(X, "iloc") else X[:n]


def loop_fit(case):
    """Hash, and train one clone a partition."""
    partition = ContentHasher()(case.X) % case.k
    members = []
    for j in range(case.k):
        own = np.flatnonzero(partition == j)
        if isinstance(case.X, list):
            rows = [case.X[i] for i in own]
        else:
            rows = case.X.iloc[own] if hasattr(case.X, "iloc") else case.X[own]
        members.append(clone(case.estimator).fit(rows, case.y[own]))
    return members


def loop_certify(members, X, classes):
    """Ask every clone, count votes, and certify."""
    ballots = np.stack([member.predict(X) for member in members], axis=1)
    votes = np.stack([(ballots == label).sum(axis=1) for label in classes], axis=1)
    return plurality_radius(votes)
