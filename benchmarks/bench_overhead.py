"""What the care of an ensemble costs, beside the loop of clones that one would write.

    python benchmarks/bench_overhead.py [--fast] [--only GaussianNB "scaler, SVC" ...]
        [--containers array frame csr text] [--rows 1 10 1000 100000] [--repeats 5]
        [--seconds 60] [--cpu] [--output docs/_static]

Every classifier of scikit-learn that a loop can ask, pipelines with scalers, and vectorizers in
front of heads are fitted and asked in an array, a frame, a CSR matrix or a list of texts. The loop
hashes, fits one clone a partition, asks each clone, counts votes and certifies them. Both take
turns, on one thread. Digits in two classes are members of 90 rows (k = 50), texts of 30 (k = 100).

Printed are medians of ours over the loop's time for fit and for certify by rows asked, with
the least and the greatest, and "over" where a limit is missed: certify 1.1 from 1000 rows on,
below 1.3, or 1.5 where the loop takes under 5 ms; fit 1.1 where a member takes over 5 ms, else
1.5. What would take the loop longer than ``--seconds`` is left out.
"""

import argparse
import itertools
import time
import warnings

import numpy as np
from _machine import (
    interleaved,
    machine_line,
    median,
    save,
    show_ratio,
    spread_of_ratio,
    table,
    write_table,
)
from _overhead_cases import TEXTS, cases, estimators, first, loop_certify, loop_fit
from sklearn.base import clone
from threadpoolctl import threadpool_limits

from certified_ensembles import DeepPartitionAggregation

CONTAINERS = ("array", "text", "csr", "frame")
# Calls that take less are repeated until they take as long together.
SHORTEST = 0.02


COUNT_CPU = False  # on a machine that others use, time of the processor is the fairer measure


def now():
    """Return seconds: of the clock, or with ``--cpu`` of the processor."""
    return time.process_time() if COUNT_CPU else time.perf_counter()


def timed(function):
    """Return the seconds of a call, and what it returns."""
    start = now()
    result = function()
    return now() - start, result


def per_call(function, n_calls):
    """Return the seconds of a call, the mean of several."""
    start = now()
    for _ in range(n_calls):
        function()
    return (now() - start) / n_calls


def turns(ours, loop, seconds_of_loop, repeats, budget):
    """Return median times and the spread of their ratio; fewer turns where they take long."""
    n_calls = max(1, round(SHORTEST / max(seconds_of_loop, 1e-6)))
    repeats = int(np.clip(budget / (2.5 * seconds_of_loop * n_calls), 1, repeats))
    runs = interleaved(
        {"ours": lambda: per_call(ours, n_calls), "loop": lambda: per_call(loop, n_calls)}, repeats
    )
    return {
        "ours": median(runs["ours"]),
        "loop": median(runs["loop"]),
        "ratio": spread_of_ratio(runs["ours"], runs["loop"]),
        "turns": repeats,
    }


def measure(case, sizes, repeats, budget):
    """Return what the table says of one case: fit, and certify by rows asked."""
    clf = DeepPartitionAggregation(case.estimator, case.k, classes=np.unique(case.y))
    seconds, members = timed(lambda: loop_fit(case))
    result = {"name": case.name, "container": case.container, "k": case.k, "certify": {}}
    result["fit"] = turns(
        lambda: clone(clf).fit(case.X, case.y), lambda: loop_fit(case), seconds, repeats, budget
    )
    clf.fit(case.X, case.y)
    expected, n_rows = 0.0, len(case.X_test) if case.container == "text" else case.X_test.shape[0]
    for n, following in itertools.zip_longest(sizes, sizes[1:]):
        if n > n_rows or expected > budget:
            break
        rows = first(case.X_test, n)
        clf.certify(rows)
        loop_certify(members, rows, clf.classes_)
        seconds, _ = timed(lambda rows=rows: loop_certify(members, rows, clf.classes_))
        expected = seconds * (following or n) / n
        result["certify"][n] = turns(
            lambda rows=rows: clf.certify(rows),
            lambda rows=rows: loop_certify(members, rows, clf.classes_),
            seconds,
            repeats,
            budget,
        )
    return result


def limit_of_fit(k, seconds):
    """Return the ratio that fit shall stay below."""
    return 1.1 if seconds["loop"] / k > 5e-3 else 1.5


def limit_of_certify(n, seconds):
    """Return the ratio that certify shall stay below."""
    if n >= 1000:
        return 1.1
    return 1.3 if seconds["loop"] > 5e-3 else 1.5


def parts_of(result):
    """Yield ``(what, seconds, limit)`` of all that was measured of a case."""
    yield "fit", result["fit"], limit_of_fit(result["k"], result["fit"])
    for n, seconds in result["certify"].items():
        yield int(n), seconds, limit_of_certify(int(n), seconds)


def cells_of(result, sizes):
    """Return a line of the table."""
    cells = {
        what: f"{show_ratio(seconds['ratio'])}{' over' if seconds['ratio'][0] > limit else ''}, "
        f"{1e3 * seconds['loop']:.3g} ms"
        for what, seconds, limit in parts_of(result)
    }
    return [result["name"], result["container"], *(cells.get(w, "") for w in ("fit", *sizes))]


def draw(results, sizes, path):
    """Save a strip of dots: the ratio of every case, by what was asked."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    fig, ax = plt.subplots(figsize=(8, 4), layout="constrained")
    names = ["fit", *sizes]
    rng = np.random.default_rng(0)
    for color, container in enumerate(CONTAINERS):
        dots = [
            (names.index(what), seconds["ratio"][0])
            for result in results
            if result["container"] == container
            for what, seconds, _ in parts_of(result)
        ]
        if dots:
            x, ratio = np.array(dots).T
            x = x + 0.18 * (color - 1.5) + rng.uniform(-0.06, 0.06, len(x))
            ax.plot(x, ratio, "o", ms=3.5, color=f"C{color}", label=container, alpha=0.7)
    for place, limits in enumerate(
        [(1.1, 1.5), *((1.3, 1.5) if n < 1000 else (1.1,) for n in sizes)]
    ):
        ax.hlines(limits, place - 0.4, place + 0.4, color="0.4", lw=0.8, ls="--")
    ax.set_yscale("log")
    ticks = [0.01, 0.03, 0.1, 0.3, 0.5, 1, 1.5, 2, 3]
    low, high = ax.get_ylim()
    ax.set_yticks([t for t in ticks if low <= t <= high], minor=False)
    ax.yaxis.set_major_formatter("{x:g}")
    ax.yaxis.set_minor_formatter("")
    ax.set_xticks(
        range(len(names)), ["fit", *(f"certify\n{n:,} row{'s' * (n > 1)}" for n in sizes)]
    )
    ax.set_ylabel("time of ours over the loop's")
    ax.legend(frameon=False)
    fig.savefig(path, dpi=120)
    plt.close(fig)


def main():
    names = [*estimators(), *TEXTS]
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--fast", action="store_true", help="two estimators, once")
    parser.add_argument("--only", nargs="+", choices=names, default=names, metavar="NAME")
    parser.add_argument("--containers", nargs="+", choices=CONTAINERS, default=list(CONTAINERS))
    parser.add_argument("--rows", nargs="+", type=int, default=[1, 10, 1000, 100000])
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--output", help="folder for bench_overhead.json, .txt and .png")
    parser.add_argument("--cpu", action="store_true", help="count processor time")
    args = parser.parse_args()
    global COUNT_CPU
    COUNT_CPU = args.cpu
    if args.fast:
        args.only, args.rows, args.repeats = (
            ["GaussianNB", "counts, naive Bayes"],
            [1, 10, 1000],
            1,
        )
    about = machine_line() + f"\nmedians of at most {args.repeats} interleaved runs, one thread, "
    about += "processor time" if args.cpu else "time of the clock"
    print(about, flush=True)
    lines, results = [], []
    header = ["Members", "rows in", "fit", *(f"certify {n:,}" for n in args.rows)]
    for case in cases(args.only, args.containers, max(args.rows)):
        with threadpool_limits(1), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                results.append(measure(case, args.rows, args.repeats, args.seconds))
            except (TypeError, ValueError) as error:  # of the loop: it takes no sparse rows, say
                print(f"{case.name:28s} {case.container:6s} {str(error).splitlines()[0][:90]}")
                continue
        lines.append(cells_of(results[-1], args.rows))
        print("  ".join(f"{cell:32s}" for cell in lines[-1]), flush=True)
        if args.output:
            save("bench_overhead", results, args.output)
            write_table("bench_overhead", about, table(header, lines), args.output)
    if args.output:
        draw(results, args.rows, f"{args.output}/bench_overhead.png")
        print("written: bench_overhead.json, .txt and .png in", args.output)


if __name__ == "__main__":
    main()
