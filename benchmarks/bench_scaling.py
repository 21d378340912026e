"""How time grows with rows, members and test rows: fitted exponents, 1 meaning linear.

    python benchmarks/bench_scaling.py [--fast] [--repeats 3] [--n-jobs 1] [--output docs/_static]

Gaussian classes with 200 float32 features. Four series, each for several kinds of members:

- fit against rows, with 50 rows a member (members grow in number, not in size);
- fit against rows, with 100 members (they grow in size; only those whose own training is linear);
- certify against members, on the same test rows;
- certify against test rows, with 400 members.

Sizes take turns within a repeat; the exponent is the slope of a straight line through the
logarithms of the medians.
"""

import argparse
import functools
import time
from pathlib import Path

import numpy as np
from _machine import fitted_exponent, interleaved, machine_line, median, save, table, write_table
from sklearn.linear_model import LogisticRegression, RidgeClassifier
from sklearn.neighbors import NearestCentroid
from sklearn.tree import DecisionTreeClassifier
from threadpoolctl import threadpool_limits

from certified_ensembles import DeepPartitionAggregation

N_FEATURES, N_CLASSES, MEMBER_ROWS = 200, 10, 50
MEMBERS = {
    "nearest centroid": NearestCentroid(),
    "ridge": RidgeClassifier(),
    "logistic regression": LogisticRegression(),
    "decision tree": DecisionTreeClassifier(),
}


def make_rows(n):
    rng = np.random.default_rng(0)
    means = rng.normal(scale=0.3, size=(N_CLASSES, N_FEATURES))
    y = rng.integers(0, N_CLASSES, n)
    return (means[y] + rng.standard_normal((n, N_FEATURES))).astype(np.float32), y


def ensemble(name, k, n_jobs):
    return DeepPartitionAggregation(MEMBERS[name], k, classes=range(N_CLASSES), n_jobs=n_jobs)


def seconds_to_fit(name, X, y, k, n_jobs):
    clf = ensemble(name, k, n_jobs)
    start = time.perf_counter()
    clf.fit(X, y)
    return time.perf_counter() - start


def seconds_to_certify(clf, X_test):
    start = time.perf_counter()
    clf.certify(X_test)
    return time.perf_counter() - start


def series_of(name, X, y, X_test, fast, n_jobs):
    """Return {(what, against what): {size: timer}}."""
    rows = [len(X) // 2**i for i in range(3 if fast else 5)][::-1]
    ks = [n // MEMBER_ROWS for n in rows]
    tests = [n // 4 for n in rows]
    fit = functools.partial(seconds_to_fit, name, n_jobs=n_jobs)
    out = {
        ("fit", f"rows, {MEMBER_ROWS} a member"): {
            n: functools.partial(fit, X[:n], y[:n], n // MEMBER_ROWS) for n in rows
        },
        ("certify", "members"): {
            k: functools.partial(
                seconds_to_certify,
                ensemble(name, k, n_jobs).fit(X[: k * MEMBER_ROWS], y[: k * MEMBER_ROWS]),
                X_test[:5000],
            )
            for k in ks
        },
    }
    few = 100 if fast else 400
    fitted = ensemble(name, few, n_jobs).fit(X[: few * MEMBER_ROWS], y[: few * MEMBER_ROWS])
    out["certify", "test rows"] = {
        m: functools.partial(seconds_to_certify, fitted, X_test[:m]) for m in tests
    }
    if name == "nearest centroid":
        out["fit", "rows, 100 members"] = {
            n: functools.partial(fit, X[:n], y[:n], 100) for n in rows
        }
    return out


def draw(results, path):
    """Save one panel a series, seconds against size, on logarithmic axes."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt
    from matplotlib.ticker import NullFormatter

    panels = list(dict.fromkeys((r["what"], r["against"]) for r in results))
    fig, axes = plt.subplots(
        1, len(panels), figsize=(3.4 * len(panels), 3.4), layout="constrained", squeeze=False
    )
    colors = {name: f"C{i}" for i, name in enumerate(MEMBERS)}
    for ax, (what, against) in zip(axes[0], panels, strict=True):
        shown = [r for r in results if (r["what"], r["against"]) == (what, against)]
        for r in shown:
            ax.loglog(
                r["sizes"],
                r["seconds"],
                "o-",
                ms=3,
                color=colors[r["member"]],
                label=f"{r['member']}: {r['exponent']:.2f}",
            )
        ends = [min(r["sizes"][0] for r in shown), max(r["sizes"][-1] for r in shown)]
        ax.set(xlabel=against, title=what)
        ax.set_xticks(ends, [f"{size:,}" for size in ends])
        ax.xaxis.set_minor_formatter(NullFormatter())
        ax.yaxis.set_minor_formatter(NullFormatter())
        low, high = ax.get_ylim()
        ax.set_ylim(low, high * 8)  # room for the legend
        ax.legend(title="exponent", fontsize=7, title_fontsize=7)
    axes[0, 0].set_ylabel("seconds")
    fig.savefig(path, dpi=150)
    plt.close(fig)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--fast", action="store_true", help="fewer and smaller sizes")
    parser.add_argument("--only", nargs="+", choices=list(MEMBERS))
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--n-jobs", type=int, default=1)
    parser.add_argument("--output", help="folder for bench_scaling.json, .txt and .png")
    args = parser.parse_args()
    n = 10_000 if args.fast else 160_000
    X, y = make_rows(n + n // 4)
    X, y, X_test = X[:n], y[:n], X[n:]
    about = machine_line()
    print(about)
    results = []
    for name in args.only or MEMBERS:
        with threadpool_limits(1):
            for (what, against), timers in series_of(
                name, X, y, X_test, args.fast, args.n_jobs
            ).items():
                runs = interleaved(timers, args.repeats)
                seconds = [median(times) for times in runs.values()]
                results.append(
                    {
                        "member": name,
                        "what": what,
                        "against": against,
                        "sizes": list(runs),
                        "seconds": seconds,
                        "exponent": fitted_exponent(list(runs), seconds),
                    }
                )
                r = results[-1]
                print(
                    f"{name:20s} {what} against {against:20s} exponent {r['exponent']:.2f}   "
                    + "  ".join(
                        f"{n}: {s:.2f} s" for n, s in zip(r["sizes"], seconds, strict=True)
                    ),
                    flush=True,
                )
    text = table(
        ["Members", "Time to", "against", "exponent", "largest size", "seconds there"],
        [
            [
                r["member"],
                r["what"],
                r["against"],
                f"{r['exponent']:.2f}",
                f"{r['sizes'][-1]:,}",
                f"{r['seconds'][-1]:.2f}",
            ]
            for r in results
        ],
    )
    print("\n" + text)
    if args.output:
        path = save("bench_scaling", results, args.output)
        write_table("bench_scaling", about, text, args.output)
        draw(results, Path(args.output, "bench_scaling.png"))
        print("written:", path, "and .txt, .png beside it")


if __name__ == "__main__":
    main()
