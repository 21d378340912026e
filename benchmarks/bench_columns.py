"""How many words may be hostile, beside poisoned rows? And what does it cost?

Enron mails (each body once) by the words in them, MNIST by its pixels, and the
seconds that it takes to cut rows into blocks, to train and to certify.
"""

import argparse
import time

import numpy as np
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.feature_extraction.text import CountVectorizer, TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.svm import LinearSVC

from certified_ensembles import FeaturePartitionAggregation
from certified_ensembles.certificates import condorcet_radius, run_off_radius
from certified_ensembles.datasets import fetch_enron_spam, fetch_mnist
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


def lattice(down, across, shift=2):
    """Return the block of each pixel, by its place alone, and the number of blocks.

    Pixels of a block lie `down` rows and `across` columns apart, and from one of their rows to
    the next they move by `shift` columns. So each block crosses the whole image, and neighbours,
    which say nearly the same, are in different ones.
    """
    i, j = np.indices((28, 28))
    return (i % down) * across + (j + shift * (i // down)) % across, down * across


def pixels(args):
    X_train, y_train = fetch_mnist(return_X_y=True)
    X_test, y_test = fetch_mnist(subset="test", return_X_y=True)
    n, n_asked = (1500, 200) if args.fast else (None, None)
    X_train, X_test = X_train[:n].reshape(-1, 28, 28), X_test[:n_asked].reshape(-1, 28, 28)
    y_train, y_test = y_train[:n], y_test[:n_asked]
    blocks, n_blocks = lattice(*args.pixel_blocks)
    clf = FeaturePartitionAggregation(
        HistGradientBoostingClassifier(
            max_iter=5 if args.fast else 50, learning_rate=0.15, early_stopping=False
        ),
        n_blocks,
        blocks=blocks,
        classes=range(10),
        n_jobs=args.n_jobs,
    )
    start = time.perf_counter()
    clf.fit(X_train, y_train)
    print(
        f"MNIST, {len(X_train)} to train, {n_blocks} blocks: {time.perf_counter() - start:.0f} s"
    )
    # The same members hold three elections.
    scores = np.stack(
        [m.predict_proba(X_test[:, blocks == j]) for j, m in enumerate(clf.estimators_)], axis=1
    )
    elections = {
        "plurality": clf.certify(X_test),
        "run-off": run_off_radius(scores),
        "pairs": condorcet_radius(scores),
    }
    for name, (y_pred, radius) in elections.items():
        held = np.where(y_pred == y_test, radius, -1)
        shares = " ".join(f"{s}: {100 * (held >= s).mean():.1f}" for s in (0, 5, 10, 12, 15))
        print(f"  {name}: median {np.median(held):.0f} pixels; certified % at pixels {shares}")


def _shape(text):
    return tuple(map(int, text.split("x")))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--fast", action="store_true")
    parser.add_argument("--n-jobs", type=int, default=2)
    parser.add_argument("--C", type=float, default=1.0)
    parser.add_argument("--only", nargs="+", default=["words", "grid", "pixels"])
    parser.add_argument("--grids", nargs="+", type=_shape, default=[(15, 5)], help="15x5: rows")
    parser.add_argument(
        "--pixel-blocks", type=_shape, default=(5, 12), help="rows x columns apart"
    )
    args = parser.parse_args()
    if {"words", "grid"} & set(args.only):
        words(args)
    if "pixels" in args.only:
        pixels(args)
