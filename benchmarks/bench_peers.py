"""Ours beside all that a user could pick instead, and beside the limit of the machine.

    python benchmarks/bench_peers.py [--fast] [--only ridge tree hashing ...] [--k 1200]
        [--n 60000] [--subset 100] [--repeats 3] [--n-jobs 1] [--memory] [--without plain ...]
        [--output docs/_static]
    python benchmarks/bench_peers.py --add --output FOLDER ...    # one more part of the table
    python benchmarks/bench_peers.py --only ridge --n 60000 --k 1200 3000 --subset 0 --memory
        --without plain bagging toolbox                           # ridge alone, nothing scaled

Each row of the table trains and asks the same members on the same rows:

- ours: ``fit`` and ``certify``, hash included;
- loop: one clone a partition in as many jobs, hash, votes and radius;
- plain: the same loop as one types it, with as many threads as the libraries choose;
- bagging: scikit-learn's ``BaggingClassifier(bootstrap=False, max_samples=1/k)``;
- toolbox: ``DeepPartitionEnsemble`` of the Adversarial Robustness Toolbox, if installed (it has no
  certificate: fit and votes);
- floor: for linear members the hash, one float32 product with all weights, and argmax; for the
  others the bare sum of the members' own fits and predicts.

They take turns; printed are medians, and medians of the ratios within a turn with their spread.
Contenders marked * ran the first ``--subset`` members and were scaled to all (``--subset 0`` runs
all). All but the plain loop use one BLAS thread a job; the toolbox, which has no jobs, as many
threads as the others have jobs. `--memory` gives the peak of processes of their own, in which all
members are trained (but by bagging, which takes a day); with `--add` to rows that are there.
`--without plain` leaves a contender out. Features: HOG of MNIST where the environment variable
CERTIFIED_ENSEMBLES_DATA names a folder with it, else random numbers of the same shape; from
10^6 rows on, Gaussian classes with 500 features in a memory-mapped file.
"""

import argparse
import functools
import importlib.util
import json
import os
import tempfile
import time
from pathlib import Path

import numpy as np
from _contenders import Case, hash_by_row, hash_floor, hash_of_toolbox, run
from _machine import (
    bandwidth,
    gemm_rate,
    in_own_process,
    interleaved,
    machine_line,
    median,
    save,
    show_ratio,
    spread_of_ratio,
    table,
    write_table,
)
from bench_out_of_core import write_rows
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.linear_model import LogisticRegression, RidgeClassifier
from sklearn.neighbors import NearestCentroid
from sklearn.pipeline import make_pipeline
from sklearn.tree import DecisionTreeClassifier

from certified_ensembles.datasets import fetch_mnist
from certified_ensembles.features import Deskew, HOGFeatures
from certified_ensembles.hashers import ContentHasher

LINEAR = {
    "ridge": RidgeClassifier(),
    "logistic": LogisticRegression(),
    "lda": LinearDiscriminantAnalysis(),
    "centroid": NearestCentroid(),
}
OTHERS = {"tree": DecisionTreeClassifier()}
HAS_NETS = all(importlib.util.find_spec(name) for name in ("torch", "skorch"))
NAMES = [*LINEAR, *OTHERS, *(["net"] if HAS_NETS else []), "hashing"]
LABELS = {
    "ridge": "ridge",
    "logistic": "logistic regression",
    "lda": "LDA",
    "centroid": "nearest centroid",
    "tree": "decision tree",
    "net": "small net",
    "hashing": "hashing",
}


def small_net():
    """Return a net of one hidden layer, 20 epochs."""
    from torch import nn, optim

    from certified_ensembles.nets import SeededNetClassifier

    def perceptron(n_features, n_classes):
        return nn.Sequential(nn.Linear(n_features, 64), nn.ReLU(), nn.Linear(64, n_classes))

    return SeededNetClassifier(
        perceptron,
        classes=range(10),
        optimizer=optim.SGD,
        optimizer__momentum=0.9,
        lr=0.05,
        max_epochs=20,
        batch_size=32,
    )


def member(name):
    return small_net() if name == "net" else (LINEAR | OTHERS)[name]


@functools.lru_cache(maxsize=1)
def hog():
    """Return training features, labels and test features: HOG of MNIST, or their like."""
    if "CERTIFIED_ENSEMBLES_DATA" in os.environ:
        steps = make_pipeline(Deskew(), HOGFeatures())
        X, y = fetch_mnist(subset="train", return_X_y=True)
        X_test, _ = fetch_mnist(subset="test", return_X_y=True)
        return steps.transform(X), y, steps.transform(X_test)
    rng = np.random.default_rng(0)
    X = rng.random((70000, 1620), dtype=np.float32)
    return X[:60000], rng.integers(0, 10, 60000), X[60000:]


def rows(n, n_test, folder):
    """Return n training rows, labels and test rows; from 10^6 rows on out of a file."""
    if n < 10**6:
        X, y, X_test = hog()
        return X[:n], y[:n], X_test[:n_test]
    path = Path(folder) / f"rows_{n}.npy"
    labels = path.with_name(f"labels_{n}.npy")
    if not path.exists():
        np.save(labels, write_rows(path, n + n_test, 500))
    X, y = np.load(path, mmap_mode="r"), np.load(labels)
    return X[:n], y[:n], np.array(X[n:])


def sensible(name, n, k):
    """Say whether a row of the table is worth its time."""
    if n // k < (16 if name in ("lda", "centroid") else 8):
        return False  # hardly more rows than classes, which some of scikit-learn's refuse
    if n < 10**6:
        return n // k <= 1200
    return k >= {"lda": 3000, "logistic": 3000, "tree": 1200, "net": np.inf}.get(name, 50)


def contenders_of(name):
    limit = "floor" if name in LINEAR else "bare"
    names = ["ours", "loop", "plain", "bagging", limit]
    if importlib.util.find_spec("art"):
        names.insert(4, "toolbox")
    return [one for one in names if one != "bagging" or name != "net"]


def one_case(name, data, k, args):
    case = Case(*data, member(name), k, args.n_jobs, args.subset or None)
    chosen = [one for one in contenders_of(name) if one not in args.without]
    timers = {one: functools.partial(run, one, case) for one in chosen}
    runs = interleaved(timers, args.repeats)
    totals = {one: [r["total"] for r in result] for one, result in runs.items()}
    result = {
        "member": name,
        "n": len(case.y),
        "n_test": len(case.X_test),
        "k": k,
        "n_jobs": case.n_jobs,
        "n_features": int(np.prod(case.X.shape[1:])),
        "n_members_run": case.n_members,
        "seconds": {o: {p: median([r[p] for r in rs]) for p in rs[0]} for o, rs in runs.items()},
        "ratio": {o: spread_of_ratio(t, totals["ours"]) for o, t in totals.items() if o != "ours"},
    }
    limit = "floor" if name in LINEAR else "bare"
    result["over_limit"] = spread_of_ratio(totals["ours"], totals[limit])
    return result


def hashing(data, args):
    X = data[0]
    few = X[: min(len(X), 20000)]
    share = len(X) / len(few)

    def timed(function, rows, factor=1.0):
        start = time.perf_counter()
        function(rows)
        return (time.perf_counter() - start) * factor

    runs = interleaved(
        {
            "ours": lambda: timed(ContentHasher(), X),
            "loop": lambda: timed(hash_by_row, few, share),
            "toolbox": lambda: timed(hash_of_toolbox, few, share),
            "floor": lambda: timed(hash_floor, few, share),
        },
        args.repeats,
    )
    return {
        "member": "hashing",
        "n": len(X),
        "n_test": 0,
        "k": 0,
        "n_members_run": 0,
        "n_jobs": 1,
        "n_features": int(np.prod(X.shape[1:])),
        "seconds": {o: {"total": median(r)} for o, r in runs.items()},
        "ratio": {o: spread_of_ratio(r, runs["ours"]) for o, r in runs.items() if o != "ours"},
        "over_limit": spread_of_ratio(runs["ours"], runs["floor"]),
    }


def store(data, folder):
    """Save rows, labels and test rows for processes of their own; return the paths."""
    paths = [Path(folder, f"memory_{len(data[1])}_{i}.npy") for i in range(3)]
    for path, part in zip(paths, data, strict=True):
        if not path.exists():
            np.save(path, part)
    return paths


def peaks(name, data, k, args, folder):
    """Return the peak memory in GB of each contender that holds members, and of the rows alone."""
    how = (name, store(data, folder), k, args.n_jobs, isinstance(data[0], np.memmap))
    holders = [one for one in ("ours", "loop", "toolbox") if one in contenders_of(name)]
    return {
        one: in_own_process(memory_of, one, *how)[1]
        for one in ["nothing", *holders]
        if one not in args.without
    }


def memory_of(one, name, paths, k, n_jobs, in_file):
    """Fit and ask in a process of its own, whose memory is what counts."""
    case = Case(
        np.load(paths[0], mmap_mode="r" if in_file else None),
        np.load(paths[1]),
        np.load(paths[2]),
        member(name),
        k,
        n_jobs,
    )
    if one != "nothing":
        run(one, case)


def show(result):
    print(
        f"\n{name_of(result)}, {result['n']} rows x {result['n_features']}, "
        f"{result['n_test']} test rows, k = {result['k']}"
    )
    for one, parts in result["seconds"].items():
        scaled = one not in ("ours", "floor") and 0 < result["n_members_run"] < result["k"]
        ratio = result["ratio"].get(one)
        print(
            f"  {one + ('*' if scaled else ''):9s} "
            + "   ".join(f"{part} {seconds:8.2f}" for part, seconds in parts.items())
            + (f"   {show_ratio(ratio)} x ours" if ratio else "")
            + (f"   peak {result['peak'][one]:.2f} GB" if one in result.get("peak", {}) else "")
        )
    print(f"  ours / limit: {show_ratio(result['over_limit'])}", flush=True)


def as_table(results):
    """Return all results as one reStructuredText table."""
    lines = []
    for r in results:
        scaled = 0 < r["n_members_run"] < r["k"]

        def cell(one, r=r, scaled=scaled):
            ratio = r["ratio"].get(one)
            return (
                show_ratio(ratio) + (" \\*" if scaled and one != "floor" else "") if ratio else ""
            )

        peak = r.get("peak", {})
        rivals = [f"{one} {peak[one]:.2f}" for one in ("loop", "toolbox") if one in peak]
        lines.append(
            [
                name_of(r),
                f"{r['n']:,} x {r['n_features']}",
                r["k"] or "",
                f"{r['seconds']['ours']['total']:.2f}",
                cell("loop"),
                cell("plain"),
                cell("bagging"),
                cell("toolbox"),
                show_ratio(r["over_limit"]),
                f"{r['product_seconds'] / r['n_jobs']:.2f}" if r["member"] in LINEAR else "",
                f"{peak['ours']:.2f}; {', '.join(rivals)}" if peak else "",
            ]
        )
    return table(
        [
            "Members",
            "Rows",
            "k",
            "ours (s)",
            "loop / ours",
            "plain loop / ours",
            "bagging / ours",
            "toolbox / ours",
            "ours / limit",
            "products at that rate (s)",
            "peak memory (GB): ours; others",
        ],
        lines,
    )


def draw(results, path):
    """Save bars: how many times as long as ours each takes; with many rows those of k = 1200."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    results = [r for r in results if r["member"] != "hashing"]
    if len(results) > 20:
        results = [r for r in results if r["k"] == 1200]
    names = ["loop", "plain", "bagging", "toolbox", "limit"]
    colors = dict(zip(names, ["C0", "C2", "C1", "C3", "0.6"], strict=True))
    labels = dict(zip(names, names, strict=True)) | {"plain": "plain loop"}
    fig, ax = plt.subplots(figsize=(8, 1.2 + 0.5 * len(results)), layout="constrained")
    for i, r in enumerate(results):
        ratio = dict(r["ratio"])
        ratio["limit"] = ratio.pop("floor", ratio.pop("bare", None))
        for j, name in enumerate(names):
            if ratio.get(name):
                middle, low, high = ratio[name]
                ax.barh(
                    i + 0.16 * (j - 2),
                    middle,
                    0.16,
                    color=colors[name],
                    xerr=[[middle - low], [high - middle]],
                    error_kw={"lw": 0.8},
                    label=labels.pop(name, None),
                )
    ax.axvline(1, color="k", lw=1)
    ax.set(
        xscale="log",
        xlabel="time over ours (1 = as fast)",
        yticks=range(len(results)),
        yticklabels=[f"{name_of(r)}, n = {r['n']:,}, k = {r['k']}" for r in results],
    )
    ax.invert_yaxis()
    ax.margins(y=0.01)
    ax.legend(loc="lower right", fontsize=8)
    fig.savefig(path, dpi=150)
    plt.close(fig)


def place(result):
    """Return the place of a result in the table."""
    member, *rest = about_it(result)
    return ["hashing", *LINEAR, *OTHERS, "net"].index(member), *rest


def about_it(result):
    """Return what a row of the table is about."""
    return result["member"], result["n"], result["k"], result["n_jobs"]


def name_of(result):
    jobs = f", {result['n_jobs']} jobs" if result["n_jobs"] > 1 else ""
    return LABELS[result["member"]] + jobs


def earlier(folder):
    """Return the results of earlier runs, if there are any."""
    path = Path(folder, "bench_peers.json")
    return json.loads(path.read_text())["results"]["cases"] if path.exists() else []


def write(results, limits, about, folder):
    """Write JSON, table and figure."""
    save("bench_peers", {"limits": limits, "cases": results}, folder)
    write_table("bench_peers", about, as_table(results), folder)
    draw(results, Path(folder, "bench_peers.png"))


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--fast", action="store_true", help="few rows and members, under a minute")
    parser.add_argument("--only", nargs="+", choices=NAMES)
    parser.add_argument("--k", type=int, nargs="+", default=[50, 250, 1200, 3000])
    parser.add_argument("--n", type=int, nargs="+", default=[10_000, 60_000, 1_000_000])
    parser.add_argument("--n-test", type=int, default=None, help="default 10000, or 2000 for 10^4")
    parser.add_argument("--subset", type=int, default=100, help="0 for all members")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--n-jobs", type=int, default=1)
    parser.add_argument(
        "--memory", action="store_true", help="peak memory of each, in own processes"
    )
    parser.add_argument("--without", nargs="+", default=[], help="contenders not to run")
    parser.add_argument("--folder", help="where the large file goes")
    parser.add_argument("--output", help="folder for bench_peers.json, .txt and .png")
    parser.add_argument(
        "--add", action="store_true", help="keep what bench_peers.json holds and is not run anew"
    )
    args = parser.parse_args()
    if args.fast:
        args.n, args.k, args.repeats, args.subset = [3000], [60], 2, 20
        args.n_test = args.n_test or 500
    return args


def main():
    args = arguments()
    limits = {"gemm_float32": gemm_rate(), "bandwidth": bandwidth()}
    about = machine_line() + (
        f"\none thread: {limits['gemm_float32'] / 1e9:.1f} Gflop/s in float32 products, "
        f"{limits['bandwidth'] / 1e9:.1f} GB/s copied"
    )
    print(about)
    print(
        f"n_jobs={args.n_jobs}, {args.repeats} interleaved repeats, medians in seconds; "
        f"* = scaled from {args.subset} members"
    )
    names = args.only or NAMES
    results = earlier(args.output) if args.add else []

    def note(result):
        same = [r for r in results if place(r) == place(result)]
        results[:] = sorted([r for r in results if r not in same] + [result], key=place)
        show(result)
        if args.output:  # so that what is done is kept
            write(results, limits, about, args.output)

    with tempfile.TemporaryDirectory(prefix="bench_", dir=args.folder) as folder:
        for n in args.n:
            n_test = args.n_test or (2000 if n <= 10_000 else 10_000)
            data = rows(n, n_test, folder)
            if "hashing" in names:
                note(hashing(data, args))
            for name in names:
                for k in args.k:
                    if name == "hashing" or not sensible(name, n, k):
                        continue
                    before = [r for r in results if about_it(r) == (name, n, k, args.n_jobs)]
                    if args.memory and before:
                        result = before[0]
                    else:
                        result = one_case(name, data, k, args)
                        flops = 2 * n_test * result["n_features"] * k * 10
                        result["product_seconds"] = flops / limits["gemm_float32"]
                    if args.memory:
                        result["peak"] = peaks(name, data, k, args, folder)
                    note(result)
    print("\n" + as_table(results))
    if args.output:
        print("written: bench_peers.json, .txt and .png in", args.output)


if __name__ == "__main__":
    main()
