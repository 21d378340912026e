"""Measure how long an answer takes, for docs/service.rst: a table and its figure.

    python docs/_pictures/service.py [docs/_static]

Processor time of ``certify``, one thread, medians: other work on the machine does not count.
"""

import sys
from pathlib import Path
from time import process_time

import numpy as np
from questions import COLORS, INK, STYLE, plt
from sklearn.datasets import load_digits
from sklearn.ensemble import ExtraTreesClassifier
from sklearn.linear_model import RidgeClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.tree import DecisionTreeClassifier

from certified_ensembles import DeepPartitionAggregation

MEMBERS = {
    "ridge": RidgeClassifier(),
    "scaler and ridge": make_pipeline(StandardScaler(), RidgeClassifier()),
    "decision tree": DecisionTreeClassifier(),
    "20 extra trees": ExtraTreesClassifier(20),
}
SIZES = (50, 500)
AT_ONCE = (1, 100, 10000)


def milliseconds(clf, X):
    """Return the median processor time of one call of certify."""
    clf.certify(X)
    times = []
    while len(times) < 3 or (len(times) < 25 and sum(times) < 0.7):
        start = process_time()
        clf.certify(X)
        times.append(process_time() - start)
    return 1000 * float(np.median(times))


def main(folder):
    X, y = load_digits(return_X_y=True)
    rows = np.tile(X, (6, 1))[: max(AT_ONCE)]
    heads = ["Members", *(f"{n:,} row{'s' * (n > 1)} (ms)" for n in AT_ONCE)]
    lines = [".. list-table::", "   :header-rows: 1", ""]
    lines += [f"   {'* -' if i == 0 else '  -'} {head}" for i, head in enumerate(heads)]
    fig, ax = plt.subplots(figsize=(6.2, 3.1), layout="constrained")
    for (name, member), color in zip(MEMBERS.items(), (*COLORS, "#8a63b8"), strict=True):
        for k, style in zip(SIZES, ("-", ":"), strict=True):
            clf = DeepPartitionAggregation(member, n_partitions=k, classes=range(10)).fit(X, y)
            times = [milliseconds(clf, rows[:n]) for n in AT_ONCE]
            cells = [f"{k} x {name}", *(f"{float(f'{time:.3g}'):,g}" for time in times)]
            lines += [f"   {'* -' if i == 0 else '  -'} {cell}" for i, cell in enumerate(cells)]
            each = np.divide(times, AT_ONCE)
            ax.plot(AT_ONCE, each, style, color=color, marker="o", label=cells[0])
    ax.set(xscale="log", yscale="log", xlabel="Rows in one call", ylabel="ms a row")
    fig.legend(frameon=False, labelcolor=INK, loc="outside right upper", fontsize=8.5)
    fig.savefig(folder / "service_latency.svg", transparent=True, metadata={"Date": None})
    (folder / "service_latency.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    with plt.rc_context({**STYLE, "svg.hashsalt": "service"}):
        main(Path(sys.argv[1] if len(sys.argv) > 1 else Path(__file__).parents[1] / "_static"))
