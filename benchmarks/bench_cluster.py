"""Dask workers beside one process and beside joblib's own: seconds, bytes sent, same members.

    python benchmarks/bench_cluster.py [--fast] [--n-rows 60000] [--n-features 500]
        [--n-partitions 600] [--workers 2 4] [--output docs/_static]

Trains decision trees (not stacked, so that workers have work) and ridge on Gaussian classes: in
this process, on joblib's loky with two jobs, and on a Dask LocalCluster (joblib makes no use of a
cluster of one worker).
Bytes are those of the pickled tasks: they hold the rows of their members and nothing else of the
table. Every way gives the same ballots, which is checked.
"""

import argparse
import time
import warnings

import cloudpickle
import joblib
import numpy as np
from _machine import machine_line, save, table, write_table
from sklearn.linear_model import RidgeClassifier
from sklearn.tree import DecisionTreeClassifier
from threadpoolctl import threadpool_limits

from certified_ensembles import DeepPartitionAggregation

MEMBERS = {
    "decision tree": DecisionTreeClassifier(max_features=50),
    "ridge": RidgeClassifier(),
}


def make_rows(n, n_features):
    rng = np.random.default_rng(0)
    means = rng.normal(scale=0.3, size=(10, n_features))
    y = rng.integers(0, 10, n)
    return (means[y] + rng.standard_normal((n, n_features))).astype(np.float32), y


def fit(name, X, y, k, X_test, n_jobs=None):
    """Return seconds to fit, and the ballots on a few rows."""
    clf = DeepPartitionAggregation(MEMBERS[name], k, classes=range(10), n_jobs=n_jobs)
    start = time.perf_counter()
    clf.fit(X, y)
    return time.perf_counter() - start, clf


def count_bytes(client):
    """Let a client note how many bytes its tasks hold; return the list."""
    sizes, submit = [], client.submit

    def counting(function, *args, tasks=(), **kwargs):
        sizes.append(len(cloudpickle.dumps(tasks)))
        return submit(function, *args, tasks=tasks, **kwargs)

    client.submit = counting
    return sizes


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--fast", action="store_true", help="a tenth of the rows and members")
    parser.add_argument("--n-rows", type=int, default=60_000)
    parser.add_argument("--n-features", type=int, default=500)
    parser.add_argument("--n-partitions", type=int, default=600)
    parser.add_argument("--workers", type=int, nargs="+", default=[2])
    parser.add_argument("--output", help="folder for bench_cluster.json and .txt")
    args = parser.parse_args()
    if args.fast:
        args.n_rows, args.n_partitions = args.n_rows // 10, args.n_partitions // 10
    return args


def main():
    args = arguments()
    import dask
    import distributed

    k = args.n_partitions
    X, y = make_rows(args.n_rows, args.n_features)
    X_test = X[:500]
    about = machine_line()
    print(about)
    print(f"{args.n_rows} rows x {args.n_features} float32 ({X.nbytes / 1e6:.0f} MB), k = {k}")
    results = []

    def note(name, way, seconds, clf, sent=None):
        same = bool((clf.ballots(X_test) == expected[name]).all())
        results.append(
            {"member": name, "way": way, "seconds": seconds, "sent": sent, "same": same}
        )
        traffic = (
            ""
            if sent is None
            else (
                f", {sent / 1e6:.1f} MB sent = {sent / X.nbytes:.2f} times the rows, "
                f"{(sent - X.nbytes) / k / 1e3:.1f} kB a member beside them"
            )
        )
        print(
            f"  {name:14s} {way:16s} {seconds:6.2f} s, {1e3 * seconds / k:6.2f} ms a member"
            f"{traffic}, {'same' if same else 'OTHER'} ballots",
            flush=True,
        )

    expected = {}
    with threadpool_limits(1), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Sending large graph")
        for name in MEMBERS:
            seconds, clf = fit(name, X, y, k, X_test)
            expected[name] = clf.ballots(X_test)
            note(name, "one process", seconds, clf)
            fit(name, X[:2000], y[:2000], 4, X_test, n_jobs=2)  # starts the processes
            note(name, "loky, 2 jobs", *fit(name, X, y, k, X_test, n_jobs=2))
        for n_workers in args.workers:
            with (
                dask.config.set({"distributed.admin.large-graph-warning-threshold": "1GB"}),
                distributed.LocalCluster(
                    n_workers=n_workers, threads_per_worker=1, dashboard_address=None
                ) as cluster,
                distributed.Client(cluster) as client,
            ):
                for name in MEMBERS:
                    with joblib.parallel_config("dask"):
                        fit(name, X[:2000], y[:2000], 4, X_test)  # workers import the package
                        sizes = count_bytes(client)
                        seconds, clf = fit(name, X, y, k, X_test)
                        note(name, f"Dask, {n_workers} workers", seconds, clf, sum(sizes))
                        del client.submit
    show(results, k, X.nbytes, about, args.output)


def show(results, k, n_bytes, about, output):
    text = table(
        ["Members", "On", "fit (s)", "ms a member", "MB sent", "sent / rows", "ballots"],
        [
            [
                r["member"],
                r["way"],
                f"{r['seconds']:.2f}",
                f"{1e3 * r['seconds'] / k:.2f}",
                "" if r["sent"] is None else f"{r['sent'] / 1e6:.1f}",
                "" if r["sent"] is None else f"{r['sent'] / n_bytes:.2f}",
                "same" if r["same"] else "OTHER",
            ]
            for r in results
        ],
    )
    print("\n" + text)
    if output:
        print(
            "written:",
            save(
                "bench_cluster",
                {"megabytes": n_bytes / 1e6, "k": k, "runs": results},
                output,
            ),
        )
        write_table("bench_cluster", about, text, output)


if __name__ == "__main__":
    main()
