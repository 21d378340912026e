"""DeepPartitionAggregation beside a plain loop of clones, and beside the floor of the machine.

    python benchmarks/bench_dpa.py [--fast] [--n-partitions 1200] [--repeats 3] [--n-jobs 1]

The short form of bench_peers.py for ridge members: all members of every contender run, nothing
is scaled, and the peak memory of a fit and a certificate is measured in a process of its own.
One run interleaves, on the same features and partitions:

- ours: ``fit`` and ``certify`` of the ensemble;
- loop: hash, one clone fitted a partition, one ``predict`` a clone, the radius of the votes;
- floor: what cannot be left out: hash, one float32 product with all coefficients, argmax.

Everything uses one BLAS thread a job. Features: HOG of MNIST where the environment variable
CERTIFIED_ENSEMBLES_DATA names a folder with it, else random numbers of the same shape.
"""

import argparse
import functools
import tempfile

from _contenders import Case, run
from _machine import (
    in_own_process,
    interleaved,
    machine_line,
    median,
    show_ratio,
    spread_of_ratio,
)
from bench_peers import hog, memory_of, store
from sklearn.linear_model import RidgeClassifier


def case_of(fast, k, n_jobs):
    X, y, X_test = hog()
    n_train, n_test = (6000, 1000) if fast else (60000, 10000)
    return Case(X[:n_train], y[:n_train], X_test[:n_test], RidgeClassifier(), k, n_jobs)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--fast", action="store_true", help="a tenth of the rows, fewer members")
    parser.add_argument("--n-partitions", type=int, nargs="+", default=None)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--n-jobs", type=int, default=1)
    args = parser.parse_args()
    print(machine_line())
    print(f"n_jobs={args.n_jobs}, {args.repeats} interleaved repeats, medians in seconds")
    for k in args.n_partitions or ([200] if args.fast else [1200, 3000]):
        case = case_of(args.fast, k, args.n_jobs)
        runs = interleaved(
            {name: functools.partial(run, name, case) for name in ("ours", "loop", "floor")},
            args.repeats,
        )
        with tempfile.TemporaryDirectory() as folder:
            how = ("ridge", store((case.X, case.y, case.X_test), folder), k, args.n_jobs)
            peaks = [in_own_process(memory_of, one, *how, None, False)[1]
                     for one in ("nothing", "ours")]  # fmt: skip
        print(f"\n{len(case.X)} rows x {case.X.shape[1]} features, {len(case.X_test)} test rows, "
              f"k = {k}, peak memory {peaks[1]:.2f} GB, rows alone {peaks[0]:.2f}")  # fmt: skip
        for name, parts in runs.items():
            medians = {part: median([r[part] for r in parts]) for part in parts[0]}
            print(f"  {name:6s} " + "   ".join(f"{p} {t:7.2f}" for p, t in medians.items()))
        totals = {name: [r["total"] for r in parts] for name, parts in runs.items()}
        for name, base in (("loop", "ours"), ("ours", "floor"), ("loop", "floor")):
            print(f"  {name} / {base}: {show_ratio(spread_of_ratio(totals[name], totals[base]))}")


if __name__ == "__main__":
    main()
