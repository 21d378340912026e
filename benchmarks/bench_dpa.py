"""DeepPartitionAggregation beside a plain loop of clones, and beside the floor of the machine.

    python benchmarks/bench_dpa.py [--fast] [--n-partitions 1200] [--repeats 3] [--n-jobs 1]

One run interleaves, on the same features and partitions:

- ours: ``fit`` and ``certify`` of the ensemble;
- loop: hash, one clone fitted a partition, one ``predict`` a clone, the radius of the votes;
- floor: what cannot be left out: hash, one float32 product with all coefficients, argmax.

Everything uses one BLAS thread a job. Features: HOG of MNIST where the environment variable
CERTIFIED_ENSEMBLES_DATA names a folder with it, else random numbers of the same shape.
"""

import argparse
import multiprocessing
import os
import resource
import statistics
import time

import numpy as np
from joblib import Parallel, delayed
from sklearn.base import clone
from sklearn.linear_model import RidgeClassifier
from sklearn.pipeline import make_pipeline
from threadpoolctl import threadpool_limits

from certified_ensembles import DeepPartitionAggregation
from certified_ensembles.certificates import plurality_radius
from certified_ensembles.datasets import fetch_mnist
from certified_ensembles.features import Deskew, HOGFeatures
from certified_ensembles.hashers import ContentHasher


def features(fast):
    """Return training features and labels, and test features."""
    n_train, n_test = (6000, 1000) if fast else (60000, 10000)
    if "CERTIFIED_ENSEMBLES_DATA" in os.environ:
        hog = make_pipeline(Deskew(), HOGFeatures())
        X, y = fetch_mnist(subset="train", return_X_y=True)
        X_test, _ = fetch_mnist(subset="test", return_X_y=True)
        return hog.transform(X[:n_train]), y[:n_train], hog.transform(X_test[:n_test])
    print("CERTIFIED_ENSEMBLES_DATA is not set: random features of the same shape")
    rng = np.random.default_rng(0)
    X = rng.random((n_train + n_test, 1620), dtype=np.float32)
    return X[:n_train], rng.integers(0, 10, n_train), X[n_train:]


def ours(X, y, X_test, k, n_jobs):
    clf = DeepPartitionAggregation(RidgeClassifier(), k, classes=range(10), n_jobs=n_jobs)
    start = time.perf_counter()
    clf.fit(X, y)
    middle = time.perf_counter()
    clf.certify(X_test)
    return {"fit": middle - start, "certify": time.perf_counter() - middle}


def loop(X, y, X_test, k, n_jobs):
    start = time.perf_counter()
    partition = ContentHasher()(X) % k
    rows = np.split(np.argsort(partition, kind="stable"), np.cumsum(np.bincount(partition))[:-1])
    parallel = Parallel(n_jobs=n_jobs)
    members = parallel(delayed(clone(RidgeClassifier()).fit)(X[r], y[r]) for r in rows)
    middle = time.perf_counter()
    ballots = np.stack(parallel(delayed(m.predict)(X_test) for m in members), axis=1)
    votes = np.stack([(ballots == c).sum(axis=1) for c in range(10)], axis=1)
    plurality_radius(votes)
    return {"fit": middle - start, "certify": time.perf_counter() - middle}


def floor(X, y, X_test, k, n_jobs):
    start = time.perf_counter()
    ContentHasher()(X)
    hashed = time.perf_counter()
    rng = np.random.default_rng(0)
    weights = rng.random((10, 100, X.shape[1]), dtype=np.float32)  # 100 members at a time

    def vote(block):
        for _ in range(k // 100):
            (block @ weights.reshape(1000, -1).T).reshape(len(block), 10, 100).argmax(axis=1)

    blocks = np.array_split(X_test, max(1, len(X_test) // 500))
    Parallel(n_jobs=n_jobs, require="sharedmem")(delayed(vote)(block) for block in blocks)
    return {"fit": hashed - start, "certify": time.perf_counter() - hashed}


def peak_memory(data, k):
    """Return the peak memory in GB of fit and certify, in a process of its own."""
    context = multiprocessing.get_context("fork")
    queue = context.Queue()

    def work():
        ours(*data, k, 1)
        queue.put(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6)

    process = context.Process(target=work)
    process.start()
    peak = queue.get()
    process.join()
    return peak


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--fast", action="store_true", help="a tenth of the rows, fewer members")
    parser.add_argument("--n-partitions", type=int, nargs="+", default=None)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--n-jobs", type=int, default=1)
    args = parser.parse_args()
    data = features(args.fast)
    print(
        f"{len(data[0])} rows x {data[0].shape[1]} features, {len(data[2])} test rows, "
        f"n_jobs={args.n_jobs}, {args.repeats} interleaved repeats, medians in seconds"
    )
    contenders = {"ours": ours, "loop": loop, "floor": floor}
    for k in args.n_partitions or ([200] if args.fast else [1200, 3000]):
        times = {name: [] for name in contenders}
        with threadpool_limits(1):
            for _ in range(args.repeats):
                for name, run in contenders.items():
                    times[name].append(run(*data, k, args.n_jobs))
        medians = {
            name: {part: statistics.median(t[part] for t in runs) for part in ("fit", "certify")}
            for name, runs in times.items()
        }
        totals = {name: [sum(t.values()) for t in runs] for name, runs in times.items()}
        print(f"\nn_partitions = {k}, peak memory of ours {peak_memory(data, k):.2f} GB")
        for name, parts in medians.items():
            print(f"  {name:6s} fit {parts['fit']:7.2f}   certify {parts['certify']:7.2f}   "
                  f"total {statistics.median(totals[name]):7.2f}")  # fmt: skip
        for name, base in (("loop", "ours"), ("ours", "floor"), ("loop", "floor")):
            ratios = [a / b for a, b in zip(totals[name], totals[base], strict=True)]
            print(f"  {name} / {base}: {statistics.median(ratios):.2f} "
                  f"(from {min(ratios):.2f} to {max(ratios):.2f})")  # fmt: skip


if __name__ == "__main__":
    main()
