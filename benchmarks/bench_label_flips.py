"""Label flips on real data: certified accuracy, seconds and memory, beside the papers' figures.

    python benchmarks/bench_label_flips.py [--fast] [--only 1v7 tight clusters imdb ten neighbours]

Needs CERTIFIED_ENSEMBLES_DATA, a folder with MNIST and IMDB. Everything is exact unless it says
"tight"; label sets are closed. Each task runs in a process of its own, so that peak memory is its.
"""

import argparse
import multiprocessing
import os
import resource
import time
from contextlib import suppress

from sklearn.cluster import KMeans
from sklearn.decomposition import PCA, TruncatedSVD
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import Ridge, RidgeClassifier
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import Normalizer

from certified_ensembles import LabelFlipSmoothingClassifier
from certified_ensembles.datasets import fetch_imdb, fetch_mnist
from certified_ensembles.features import Deskew, HOGFeatures
from certified_ensembles.metrics import certified_accuracy_score, median_certified_radius
from certified_ensembles.representations import LaplacianEigenmap
from certified_ensembles.smoothers import ClusterVote

with suppress(ImportError):  # in a checkout, forms of the data that its tests know are read, too
    import _checkout  # noqa: F401

TABLE_1 = {
    1: 0.9399,
    10: 0.9320,
    100: 0.8918,
    500: 0.7470,
    1000: 0.6674,
    1500: 0.6503,
    2000: 0.6378,
}
TABLE_5 = {1: 0.7585, 10: 0.7034, 25: 0.6469, 50: 0.5806, 100: 0.5392, 200: 0.4804, 300: 0.4412}
TEN = {0: 0.9390, 645: 0.50, 2500: 0.0, 5400: 0.0}  # SS-DPA, k = 3000: its median is 645


def mnist(fast, digits=range(10)):
    step = 10 if fast else 1
    for subset in ("train", "test"):
        X, y = fetch_mnist(subset=subset, return_X_y=True)
        rows = [i for i in range(0, len(y), step) if y[i] in digits]
        yield X[rows], y[rows]


def report(title, clf, train, test, papers):
    start = time.perf_counter()
    clf.fit(*train)
    fitted = time.perf_counter()
    y_pred, radius = clf.certify(test[0])
    seconds = fitted - start, time.perf_counter() - fitted
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    print(
        f"\n{title}\n  {len(train[1])} labels, {len(test[1])} test rows: fit {seconds[0]:.1f} s,"
        f" certify {seconds[1]:.1f} s, peak memory {peak:.2f} GB"
    )
    print(
        f"  clean {(y_pred == test[1]).mean():.2%}, median radius "
        f"{median_certified_radius(test[1], y_pred, radius)}, smallest radius of a correct row "
        f"{radius[y_pred == test[1]].min()}"
    )
    for budget, paper in papers.items():
        ours = certified_accuracy_score(test[1], y_pred, radius, budget)
        print(f"  {budget:5d} flips: {ours:7.2%}   papers {paper:.2%}")


def pixels(X):
    return X.reshape(len(X), -1) / 255


def one_against_seven(fast, certificate="exact"):
    (X, y), (X_test, y_test) = mnist(fast, (1, 7))
    clf = LabelFlipSmoothingClassifier(
        Ridge(10 * len(y), fit_intercept=False),
        representation=PCA(50, random_state=0),
        certificate=certificate,
        noise=0.3,
        classes=[1, 7],
    )
    title = f"MNIST 1/7, ridge on 50 principal components, {certificate}"
    report(title, clf, (pixels(X), y), (pixels(X_test), y_test), TABLE_1)


def tight(fast):
    one_against_seven(fast, "tight")


def eigenmap(n_components):
    # For the threat of flipped labels any label-free step may be learned from all rows.
    return make_pipeline(
        Deskew(),
        HOGFeatures(signed=False),
        PCA(100, svd_solver="covariance_eigh"),
        LaplacianEigenmap(n_components, n_jobs=2),
    )


def clusters_of_two(fast):
    (X, y), test = mnist(fast, (1, 7))
    clf = LabelFlipSmoothingClassifier(
        ClusterVote(KMeans(2, n_init=10), votes="swap"), representation=eigenmap(1), classes=[1, 7]
    )
    papers = TABLE_1 | {5952: 0.955}
    report("MNIST 1/7, +1 / -1 votes of two clusters of an eigenmap", clf, (X, y), test, papers)


def ten_classes(fast):
    train, test = mnist(fast)
    for votes in ("own", "swap"):
        clf = LabelFlipSmoothingClassifier(
            ClusterVote(KMeans(10, n_init=10), votes=votes),
            representation=eigenmap(9),
            classes=range(10),
            n_jobs=2,
        )
        report(f"MNIST, ten classes from raw pixels, votes={votes!r}", clf, train, test, TEN)


def neighbours(fast):
    (X, y), (X_test, y_test) = mnist(fast)
    steps = make_pipeline(Deskew(), HOGFeatures(), PCA(50, svd_solver="covariance_eigh"))
    X, X_test = steps.fit_transform(X), steps.transform(X_test)
    for smoother in (KNeighborsClassifier(len(y) // 20), Ridge(float(len(y)))):
        clf = LabelFlipSmoothingClassifier(smoother, classes=range(10), n_jobs=2)
        title = f"MNIST, ten classes, ready features, {type(smoother).__name__}"
        report(title, clf, (X, y), (X_test, y_test), TEN)


def imdb(fast):
    step = 10 if fast else 1
    train, test = (
        (X[::step], y[::step])
        for X, y in (fetch_imdb(subset=subset, return_X_y=True) for subset in ("train", "test"))
    )
    text = make_pipeline(
        TfidfVectorizer(sublinear_tf=True, ngram_range=(1, 2), min_df=20),
        TruncatedSVD(20),
        Normalizer(),
    )
    clf = LabelFlipSmoothingClassifier(
        RidgeClassifier(alpha=300), representation=text, classes=[0, 1]
    )
    report("IMDB, ridge on 20 components of TF-IDF", clf, train, test, TABLE_5)


TASKS = {
    "1v7": one_against_seven,
    "tight": tight,
    "clusters": clusters_of_two,
    "imdb": imdb,
    "ten": ten_classes,
    "neighbours": neighbours,
}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--fast", action="store_true", help="every tenth row")
    parser.add_argument("--only", nargs="+", choices=TASKS, default=list(TASKS))
    args = parser.parse_args()
    if "CERTIFIED_ENSEMBLES_DATA" not in os.environ:
        print("CERTIFIED_ENSEMBLES_DATA is not set: nothing to measure on.")
        return
    for name in args.only:
        process = multiprocessing.get_context("spawn").Process(
            target=TASKS[name], args=[args.fast]
        )
        process.start()
        process.join()


if __name__ == "__main__":
    main()
