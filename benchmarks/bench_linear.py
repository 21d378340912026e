"""Linear members, trained and asked together, beside a loop of clones and beside the floor.

    python benchmarks/bench_linear.py [--fast] [--n-partitions 1200 3000] [--repeats 3]

For ridge and logistic regression, alone and behind a scaler fitted per member, for linear
discriminants and nearest centroids, on HOG features of MNIST (where the environment variable
CERTIFIED_ENSEMBLES_DATA names a folder with it, else random numbers of the same shape) and on
100 features, one run interleaves:

- ours: ``fit`` and ``certify`` of the ensemble;
- loop: hash, one clone fitted a partition, one ``predict`` a clone, the radius of the votes.
  Of the clones only some are fitted and asked, and their time is scaled to all: a loop of 3000
  logistic regressions takes many minutes;
- floor: what cannot be left out: hash, one float32 product with all coefficients, argmax.

One thread each. The last column is the share of test rows on which the clones that were fitted
and our members of the same partitions cast the same ballot: exact ties round differently, and
L-BFGS stops short of the optimum by its tolerance, which Newton's method does not.
"""

import argparse
import os
import time
import warnings

import numpy as np
from _machine import interleaved, machine_line, median, show_ratio, spread_of_ratio
from sklearn.base import clone
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.linear_model import LogisticRegression, RidgeClassifier
from sklearn.neighbors import NearestCentroid
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits

from certified_ensembles import DeepPartitionAggregation
from certified_ensembles.certificates import plurality_radius
from certified_ensembles.datasets import fetch_mnist
from certified_ensembles.features import Deskew, HOGFeatures
from certified_ensembles.hashers import ContentHasher

COUNT_CPU = False  # on a machine that others use, time of the processor is the fairer measure
ESTIMATORS = {
    "ridge": RidgeClassifier(),
    "logistic": LogisticRegression(),
    "discriminant": LinearDiscriminantAnalysis(),
    "centroid": NearestCentroid(),
    "scaler, ridge": make_pipeline(StandardScaler(), RidgeClassifier()),
    "scaler, logistic": make_pipeline(StandardScaler(), LogisticRegression()),
}


def hog_features(n_train, n_test):
    """Return name, training features and labels, and test features."""
    if "CERTIFIED_ENSEMBLES_DATA" in os.environ:
        hog = make_pipeline(Deskew(), HOGFeatures())
        X, y = fetch_mnist(subset="train", return_X_y=True)
        X_test, _ = fetch_mnist(subset="test", return_X_y=True)
        return (
            "MNIST, HOG",
            hog.transform(X[:n_train]),
            y[:n_train],
            hog.transform(X_test[:n_test]),
        )
    return "random", *clusters(n_train, n_test, 1620)


def clusters(n_train, n_test, n_features):
    """Return rows around ten centres, and their labels."""
    rng = np.random.default_rng(0)
    y = rng.integers(0, 10, n_train + n_test)
    X = rng.normal(size=(10, n_features))[y] + 1.5 * rng.normal(size=(len(y), n_features))
    X = X.astype(np.float32)
    return X[:n_train], y[:n_train], X[n_train:]


def now():
    """Return seconds: of the clock, or with ``--cpu`` of the processor."""
    return time.process_time() if COUNT_CPU else time.perf_counter()


class Case:
    """One estimator, one number of partitions, one set of rows."""

    def __init__(self, estimator, data, k, n_clones):
        self.estimator, self.k = estimator, k
        self.X, self.y, self.X_test = data
        self.n_clones, self.agreement = min(n_clones, k), []
        self.ballots = None

    def ours(self):
        clf = DeepPartitionAggregation(self.estimator, self.k, classes=range(10))
        start = now()
        clf.fit(self.X, self.y)
        middle = now()
        clf.certify(self.X_test)
        end = now()
        members = clf.estimators_[: self.n_clones]
        self.ballots = np.stack([member.predict(self.X_test) for member in members], axis=1)
        return {"fit": middle - start, "certify": end - middle}

    def loop(self):
        start = now()
        partition = ContentHasher()(self.X) % self.k
        order = np.argsort(partition, kind="stable")
        rows = np.split(order, np.cumsum(np.bincount(partition, minlength=self.k))[:-1])
        hashed = now()
        members = [clone(self.estimator).fit(self.X[r], self.y[r]) for r in rows[: self.n_clones]]
        fitted = now()
        ballots = np.stack([member.predict(self.X_test) for member in members], axis=1)
        votes = np.stack([(ballots == c).sum(axis=1) for c in range(10)], axis=1)
        plurality_radius(votes)
        counted = now()
        if self.ballots is not None:
            self.agreement.append((self.ballots == ballots).mean())
        scale = self.k / self.n_clones
        return {
            "fit": hashed - start + scale * (fitted - hashed),
            "certify": scale * (counted - fitted) if scale > 1 else counted - fitted,
        }

    def floor(self):
        start = now()
        ContentHasher()(self.X)
        hashed = now()
        width = 100  # members a product
        weights = np.random.default_rng(0).random((10 * width, self.X.shape[1]), np.float32)
        for block in np.array_split(self.X_test, max(1, len(self.X_test) // 500)):
            for _ in range(-(-self.k // width)):
                (block @ weights.T).reshape(len(block), 10, width).argmax(axis=1)
        return {"fit": hashed - start, "certify": now() - hashed}


def report(name, case, repeats):
    """Measure one case and print its line."""
    with threadpool_limits(1), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # blank pixels; L-BFGS that does not converge
        runs = interleaved({"ours": case.ours, "loop": case.loop, "floor": case.floor}, repeats)
    total = {who: [run["fit"] + run["certify"] for run in found] for who, found in runs.items()}
    cells = [
        f"{median(run[part] for run in runs[who]):7.2f}"
        for who in ("ours", "loop", "floor")
        for part in ("fit", "certify")
    ]
    print(f"{name:16}{case.k:5}  " + "".join(cells), end="   ")
    print(f"{show_ratio(spread_of_ratio(total['loop'], total['ours'])):26}", end="")
    print(f"{show_ratio(spread_of_ratio(total['ours'], total['floor'])):22}", end="")
    print(f"{np.mean(case.agreement):8.2%}", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--fast", action="store_true", help="a tenth of the rows and members")
    parser.add_argument("--n-partitions", type=int, nargs="+", default=None)
    parser.add_argument("--estimators", nargs="+", default=list(ESTIMATORS), choices=ESTIMATORS)
    parser.add_argument("--cpu", action="store_true", help="count processor time")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--n-clones", type=int, default=60, help="clones of the loop to fit")
    args = parser.parse_args()
    global COUNT_CPU
    COUNT_CPU = args.cpu
    n_train, n_test = (6000, 1000) if args.fast else (60000, 10000)
    members = [120, 300] if args.fast else [1200, 3000]
    print(machine_line())
    print(
        f"{args.repeats} interleaved repeats, medians in seconds"
        f"{' of the processor' if args.cpu else ''}, one thread; "
        f"the loop by {args.n_clones} of its clones, scaled"
    )
    wide, narrow = hog_features(n_train, n_test), ("random", *clusters(n_train, n_test, 100))
    for source, *data in (wide, narrow):
        X, _, X_test = data
        print(f"\n{source}: {len(X)} x {X.shape[1]}, {len(X_test)} test rows")
        print(
            f"{'':23}{'ours':>8}{'loop':>14}{'floor':>15}{'loop / ours':>21}{'ours / floor':>26}"
            f"{'same ballots':>21}"
        )
        print(f"{'':23}" + "    fit certify"[1:] + "    fit certify" * 2)
        for k in args.n_partitions or members:
            for name in args.estimators:
                case = Case(ESTIMATORS[name], data, k, args.n_clones)
                report(name, case, args.repeats)


if __name__ == "__main__":
    main()
