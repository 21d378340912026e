"""Where the time of ``fit`` and ``certify`` goes: shares of one process, from a profile.

    python benchmarks/bench_profile.py [--fast] [--only ridge logistic ...] [--k 1200]
        [--output docs/_static]

The rows, test rows and members of ``bench_peers.py``. The work of the estimator itself is what its
own ``fit`` and ``predict`` would do: training, and for linear members the products of test rows
with all weights. The rest is what an ensemble adds. ``cProfile`` slows many small calls down, so
that shares of trees and nets are a little too small.
"""

import argparse
import cProfile
import pstats
import warnings

from _machine import machine_line, save, table, write_table
from bench_peers import LABELS, NAMES, member, rows
from threadpoolctl import threadpool_limits

from certified_ensembles import DeepPartitionAggregation

# What is called, by the ends of file and function.
CALLS = {
    "training": [
        ("_linear/trainer.py", "__call__"),
        ("tree/_classes.py", "fit"),
        ("nets/_classifier.py", "fit_together"),
    ],
    "products": [("_linear/scoring.py", "__iter__")],
    "predictions": [
        ("_members/trees.py", "predict"),
        ("nets/_classifier.py", "scores_together"),
    ],
    "BLAKE2b": [("~", "'update' of '_blake2.blake2b'"), ("~", "'digest' of '_blake2.blake2b'")],
    "bytes to hash": [("_rows.py", "_dense_parts"), ("hashers.py", "_digests")],
    "rows of members": [("_training.py", "_in_order"), ("_training.py", "job")],
    "weights in stacks": [("_linear/scoring.py", "_fill")],
    "best class": [("_linear/scoring.py", "choices"), ("_linear/scoring.py", "counts")],
}
# What runs inside another part does not count there.
INSIDE = {
    "bytes to hash": "BLAKE2b",
    "products": "weights in stacks",
    "best class": "products",
}
OWN = ["training", "products", "predictions"]


def cumulative(stats, names):
    """Return the seconds below some functions, calls within each other counted once."""
    total = 0.0
    for (file, _, function), (_, _, _, below, callers) in stats.items():
        for end, name in names:
            if file.endswith(end) and (name in function if file == "~" else name == function):
                ours = sum(
                    callers[c][3]
                    for c in callers
                    if any(c[0].endswith(e) and c[2] == n for e, n in names)
                )
                total += below - ours
    return total


def shares(clf, X, y, X_test):
    """Fit and certify under a profiler; return seconds in all, and of each part."""
    profile = cProfile.Profile()
    with threadpool_limits(1), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        profile.runcall(lambda: clf.fit(X, y).certify(X_test))
    stats = pstats.Stats(profile)
    whole = {part: cumulative(stats.stats, names) for part, names in CALLS.items()}
    seconds = {part: s - whole.get(INSIDE.get(part), 0.0) for part, s in whole.items()}
    return stats.total_tt, seconds


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--fast", action="store_true", help="few rows and members")
    choices = [name for name in NAMES if name != "hashing"]
    parser.add_argument("--only", nargs="+", choices=choices)
    parser.add_argument("--k", type=int, default=1200)
    parser.add_argument("--output", help="folder for bench_profile.json and .txt")
    args = parser.parse_args()
    n, n_test, k = (3000, 500, 60) if args.fast else (60_000, 10_000, args.k)
    about = machine_line()
    print(about)
    results = []
    for name in args.only or choices:
        X, y, X_test = rows(n, n_test, None)
        clf = DeepPartitionAggregation(member(name), k, classes=range(10))
        total, seconds = shares(clf, X, y, X_test)
        result = {part: s / total for part, s in seconds.items()}
        result["everything else"] = 1 - sum(result.values())
        results.append({"member": name, "seconds": total, "shares": result})
        own = sum(result[part] for part in OWN)
        print(
            f"{LABELS[name]:20s} {total:6.1f} s, of the estimator {own:.0%}: "
            + ", ".join(f"{part} {share:.1%}" for part, share in result.items()),
            flush=True,
        )
    parts = list(results[0]["shares"])
    text = table(
        ["Members", "seconds", "estimator's own", *parts],
        [
            [
                LABELS[r["member"]],
                f"{r['seconds']:.1f}",
                f"{sum(r['shares'][part] for part in OWN):.0%}",
                *(f"{r['shares'][part]:.1%}" for part in parts),
            ]
            for r in results
        ],
    )
    print("\n" + text)
    if args.output:
        print("written:", save("bench_profile", {"k": k, "n": n, "runs": results}, args.output))
        write_table("bench_profile", about, text, args.output)


if __name__ == "__main__":
    main()
