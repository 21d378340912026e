"""Training on rows that stay in a file: peak memory and time beside the same rows in memory.

    python benchmarks/bench_out_of_core.py [--fast] [--n-rows 1000000] [--n-features 500]
        [--n-partitions 1200] [--folder /tmp] [--output results/]

Writes a float32 file (2 GB by default) of Gaussian classes into a scratch folder, fits and
certifies in fresh processes from

- the file, as a numpy memmap;
- a Dask array over the file (one pass writes its own scratch file);
- memory, the whole file loaded first,

and prints the peak memory of each process, those pages of the file included that it held, and
whether the certificates are identical. Both files are removed at the end.
"""

import argparse
import hashlib
import tempfile
import time
from pathlib import Path

import numpy as np
from _machine import in_own_process, machine_line, peak_memory, save, table, write_table
from sklearn.linear_model import RidgeClassifier
from sklearn.naive_bayes import GaussianNB
from sklearn.neighbors import NearestCentroid
from sklearn.tree import DecisionTreeClassifier

from certified_ensembles import DeepPartitionAggregation

ESTIMATORS = {
    "ridge": RidgeClassifier(),
    "nearest centroid": NearestCentroid(),
    "naive Bayes": GaussianNB(),
    "decision tree": DecisionTreeClassifier(max_depth=6, max_features="sqrt"),
}
N_CLASSES = 10


def write_rows(path, n_rows, n_features, block=20000):
    """Write Gaussian classes to a .npy file block by block; return labels."""
    rng = np.random.default_rng(0)
    means = rng.normal(scale=0.3, size=(N_CLASSES, n_features)).astype(np.float32)
    X = np.lib.format.open_memmap(path, "w+", np.float32, (n_rows, n_features))
    y = rng.integers(0, N_CLASSES, n_rows)
    for start in range(0, n_rows, block):
        rows = slice(start, min(start + block, n_rows))
        X[rows] = means[y[rows]] + rng.standard_normal(
            (rows.stop - start, n_features), dtype=np.float32
        )
    X.flush()
    return y


def dask_rows(path, n_rows, n_features, dtype, step=20000):
    """Return a Dask array whose blocks are read when they are computed.

    (`dask.array.from_array` holds a whole memmap at once.)
    """
    import dask.array as da

    def read(block_info=None):
        rows, columns = block_info[None]["array-location"]
        return np.array(np.load(path, mmap_mode="r")[slice(*rows), slice(*columns)])

    lengths = tuple(min(step, n_rows - start) for start in range(0, n_rows, step))
    return da.map_blocks(
        read, chunks=(lengths, (n_features,)), dtype=dtype, meta=np.empty((0, 0), dtype)
    )


def run(path, y, source, estimator, k, n_test, n_jobs):
    """Fit and certify; return seconds, a digest of the certificates, and memory before."""
    X = np.load(path, mmap_mode=None if source == "memory" else "r")
    if source == "Dask":
        X = dask_rows(path, *X.shape, X.dtype)
    before = peak_memory()
    clf = DeepPartitionAggregation(
        ESTIMATORS[estimator], k, classes=range(N_CLASSES), n_jobs=n_jobs
    )
    start = time.perf_counter()
    clf.fit(X, y)
    middle = time.perf_counter()
    after_fit = peak_memory()
    y_pred, radius = clf.certify(X[:n_test])
    end = time.perf_counter()
    digest = hashlib.blake2b(y_pred.tobytes() + radius.tobytes()).hexdigest()
    return {
        "fit": middle - start,
        "certify": end - middle,
        "digest": digest,
        "before": before,
        "fit_peak": after_fit,
        "radius": float(np.median(radius)),
    }


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--fast", action="store_true", help="40 MB instead of 2 GB")
    parser.add_argument("--n-rows", type=int)
    parser.add_argument("--n-features", type=int, default=500)
    parser.add_argument("--n-partitions", type=int)
    parser.add_argument("--n-test", type=int)
    parser.add_argument("--n-jobs", type=int, default=1)
    parser.add_argument("--only", nargs="+", choices=list(ESTIMATORS))
    parser.add_argument("--folder", default=None, help="where the file goes: a disk, not memory")
    parser.add_argument(
        "--output", default=None, help="folder for bench_out_of_core.json and .txt"
    )
    return parser.parse_args()


def main():
    args = arguments()
    n = args.n_rows or (20000 if args.fast else 1_000_000)
    k = args.n_partitions or (50 if args.fast else 1200)
    n_test = args.n_test or n
    names = args.only or (["ridge"] if args.fast else ["ridge", "nearest centroid"])
    about = machine_line()
    print(about)
    results = []
    with tempfile.TemporaryDirectory(prefix="bench_", dir=args.folder) as folder:
        path = Path(folder) / "rows.npy"
        y = write_rows(path, n, args.n_features)
        size = path.stat().st_size / 1e9
        print(
            f"{n} rows x {args.n_features} float32 features, {size:.2f} GB; "
            f"{k} partitions, {n_test} rows certified, n_jobs={args.n_jobs}"
        )
        for estimator in names:
            digests = set()
            for source in ("memmap", "Dask", "memory"):
                result, peak = in_own_process(
                    run, path, y, source, estimator, k, n_test, args.n_jobs
                )
                digests.add(result["digest"])
                results.append({"estimator": estimator, "source": source, "peak": peak} | result)
                print(
                    f"  {estimator:18s} {source:7s} fit {result['fit']:7.1f} s, certify "
                    f"{result['certify']:7.1f} s, peak {peak:5.2f} GB (after fit "
                    f"{result['fit_peak']:.2f}, before it {result['before']:.2f})",
                    flush=True,
                )
            print(
                f"  {estimator:18s} certificates of the three are "
                + ("identical" if len(digests) == 1 else "DIFFERENT")
            )
    text = table(
        ["Members", "k", "Rows in", "fit (s)", "certify (s)", "peak memory (GB)"],
        [
            [
                r["estimator"],
                k,
                r["source"],
                f"{r['fit']:.1f}",
                f"{r['certify']:.1f}",
                f"{r['peak']:.2f}",
            ]
            for r in results
        ],
    )
    print("\n" + text)
    if args.output:
        runs = {"gigabytes": size, "k": k, "n_test": n_test, "runs": results}
        print("written:", save("bench_out_of_core", runs, args.output))
        write_table("bench_out_of_core", about, text, args.output)


if __name__ == "__main__":
    main()
