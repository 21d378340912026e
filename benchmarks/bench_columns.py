"""How many words may be hostile, beside poisoned rows? And what does it cost?

Enron mails (each body once) by the words in them, and the seconds that it
takes to cut texts into blocks, to train and to certify.
"""

import argparse
import time

import numpy as np
from sklearn.feature_extraction.text import CountVectorizer, TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.svm import LinearSVC

from certified_ensembles import FeaturePartitionAggregation
from certified_ensembles.datasets import fetch_enron_spam
from certified_ensembles.metrics import certified_accuracy_frontier


def mails(n=None):
    """Return training and test mails, with every body in one of them alone."""
    texts, y = fetch_enron_spam(return_X_y=True)
    bodies = [text.split("\n", 1)[-1].strip() for text in texts]
    _, first = np.unique(np.array(bodies, dtype=object), return_index=True)
    first = np.sort(first)[:n] if n is None else np.random.default_rng(0).choice(first, n, False)
    parts = train_test_split(texts[first], y[first], test_size=0.2, random_state=0)
    return *parts, len(first)


def report(name, clf, data, groups=None, n_rows=1):
    """Fit, certify and print the share certified beside 0, 1, ... rows and columns."""
    X_train, X_test, y_train, y_test = data
    start = time.perf_counter()
    clf.fit(X_train, y_train, groups=groups)
    fitted = time.perf_counter()
    frontier = clf.frontier(X_test)
    y_pred = clf.predict(X_test)
    asked = time.perf_counter()
    shares = 100 * certified_accuracy_frontier(y_test, y_pred, frontier)
    print(f"{name}: fit {fitted - start:.1f} s, frontier and predict {asked - fitted:.1f} s")
    print(f"  clean {100 * (y_pred == y_test).mean():.1f} %")
    for r in range(min(n_rows, len(shares))):
        print(f"  beside {r} rows:", " ".join(f"{share:.1f}" for share in shares[r][:16]))
    return frontier


def words(args):
    X_train, X_test, y_train, y_test, n = mails(3000 if args.fast else None)
    print(f"Enron: {n} different bodies, {len(X_train)} to train")
    data = X_train, X_test, y_train, y_test
    common = {"n_jobs": args.n_jobs, "on_error": "abstain"}
    if "words" in args.only:
        member = make_pipeline(
            CountVectorizer(binary=True), LogisticRegression(C=args.C, max_iter=300)
        )
        report("31 blocks", FeaturePartitionAggregation(member, 31, **common), data)
    if "grid" in args.only:
        # Members of few rows: rare words weigh more, and a row's norm makes long and short mails
        # alike. Marks and letters are words as well.
        member = make_pipeline(
            TfidfVectorizer(binary=True, token_pattern=r"(?u)\w+|[^\w\s]"), LinearSVC()
        )
        for p, b in args.grids:
            clf = FeaturePartitionAggregation(member, b, n_partitions=p, **common)
            report(f"{p} x {b} (rows x blocks)", clf, data, np.arange(len(X_train)), 5)


def _shape(text):
    return tuple(map(int, text.split("x")))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--fast", action="store_true")
    parser.add_argument("--n-jobs", type=int, default=2)
    parser.add_argument("--C", type=float, default=1.0)
    parser.add_argument("--only", nargs="+", default=["words", "grid"])
    parser.add_argument("--grids", nargs="+", type=_shape, default=[(15, 5)], help="15x5: rows")
    words(parser.parse_args())
