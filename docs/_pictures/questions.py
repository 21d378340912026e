"""Draw the figures of docs/questions.rst: one question each, on scikit-learn's digits.

    python docs/_pictures/questions.py [docs/_static]

Lines and words are neither light nor dark, and there is no background: the pictures can be read on
a light page and on a dark one.
"""

import sys
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

from certified_ensembles import DeepPartitionAggregation, LabelFlipSmoothingClassifier

INK, COLORS = "#7a8490", ("#2f7fc1", "#d9822b", "#3a9a5b")
STYLE = {
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "svg.hashsalt": "questions",
    # Words stay words: files of half the size, and a reader can search for the words.
    "svg.fonttype": "none",
    **dict.fromkeys(("text.color", "axes.labelcolor", "xtick.color", "ytick.color"), INK),
    "axes.edgecolor": INK,
}


def curves(path, radii, xlabel, ylabel="Share of test rows"):
    """Draw how many test rows have at least each radius, one named curve for each question."""
    fig, ax = plt.subplots(figsize=(6.2, 3.1), layout="constrained")
    most = max(int(radius.max()) for radius in radii.values())
    at = np.arange(most + 2)
    for (name, radius), color in zip(radii.items(), COLORS, strict=False):
        share = (radius >= at[:, None]).mean(axis=1)
        ax.step(at, share, where="post", color=color, linewidth=2, label=name)
    ax.set(xlabel=xlabel, ylabel=ylabel, ylim=(0, 1.02), xlim=(0, most + 1))
    ax.legend(frameon=False, labelcolor=INK)
    fig.savefig(path, transparent=True, metadata={"Date": None})
    plt.close(fig)


def main(folder):
    """Fit the ensembles and draw the figures."""
    X, y = load_digits(return_X_y=True)
    X_train, X_test, y_train, y_test = train_test_split(X, y, random_state=0)
    clf = DeepPartitionAggregation(n_partitions=100, classes=range(10)).fit(X_train, y_train)
    y_pred, radius = clf.certify(X_test)

    other = ~np.isin(y_pred, (1, 7))
    named = {f"until it is {t}": clf.certify(X_test[other], target=t).radius for t in (1, 7)}
    curves(
        folder / "questions_target.svg",
        {"until anything changes": radius[other], **named},
        "Insertions + deletions of training rows",
    )
    first = {f"until it leaves the first {k}": clf.certify(X_test, top_k=k).radius for k in (2, 3)}
    curves(
        folder / "questions_top_k.svg",
        {"until anything changes": radius, **first},
        "Insertions + deletions of training rows",
    )

    who = np.random.default_rng(0).integers(0, len(X_train) // 20, len(X_train))
    flips = LabelFlipSmoothingClassifier(classes=range(10)).fit(X_train, y_train)
    people = LabelFlipSmoothingClassifier(classes=range(10)).fit(X_train, y_train, groups=who)
    curves(
        folder / "questions_annotators.svg",
        {
            "annotators, each with about 20 labels": people.certify(X_test).radius,
            "label flips, divided by 20": flips.certify(X_test).radius // 20,
        },
        "Hostile annotators",
    )

    day = np.arange(len(X_train)) * 100 // len(X_train)
    days = DeepPartitionAggregation(classes=range(10)).fit(X_train, y_train, periods=day)
    curves(
        folder / "questions_time.svg",
        {
            "newest days (earliness)": days.certify(X_test, threat="earliness").radius,
            "days in a row (duration)": days.certify(X_test, threat="duration").radius,
            "days anywhere": days.certify(X_test).radius,
        },
        "Hostile days of 100",
    )

    run_off = DeepPartitionAggregation(n_partitions=100, classes=range(10), aggregation="run_off")
    ensembles = {"plurality": clf, "run-off": run_off.fit(X_train, y_train)}
    together(folder / "questions_collective.svg", ensembles, X_test[:150], y_test[:150])


def together(path, ensembles, X, y):
    """Draw how many predictions survive one attacker, and of how many their own radius says so."""
    fig, ax = plt.subplots(figsize=(6.2, 3.1), layout="constrained")
    budgets = np.arange(5, 41, 5)
    kinds = {"certified": ("-", "together"), "pointwise": (":", "row by row")}
    for (name, clf), color in zip(ensembles.items(), COLORS, strict=False):
        found = [clf.collective_certify(X, int(budget), y=y, time_limit=20) for budget in budgets]
        for field, (line, how) in kinds.items():
            shares = [getattr(one, field) / len(y) for one in found]
            ax.plot(budgets, shares, line, color=color, linewidth=2, label=f"{name}, {how}")
    ax.set(xlabel="Insertions + deletions, one budget for all rows", ylabel="Share of test rows")
    ax.set_ylim(0, 1.02)
    ax.legend(frameon=False, labelcolor=INK)
    fig.savefig(path, transparent=True, metadata={"Date": None})
    plt.close(fig)


if __name__ == "__main__":
    with plt.rc_context(STYLE):
        main(Path(sys.argv[1] if len(sys.argv) > 1 else Path(__file__).parents[1] / "_static"))
