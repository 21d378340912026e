"""Draw one figure for each page that has none of its own, from data that ships with scikit-learn.

    python docs/_pictures/pages.py [docs/_static]

Every number is measured here, but for the speed of nets and the memory out of core, which are
those of the tables on their pages. Only the mails of docs/strangers.rst must be on disk; without
them that figure stays as it is. Lines and words are neither light nor dark, so that one file
serves both kinds of page.
"""

import re
import sys
from pathlib import Path

import numpy as np
from questions import COLORS, INK, STYLE, curves, plt
from sklearn.datasets import load_diabetes, load_digits
from sklearn.feature_extraction.text import HashingVectorizer, TfidfTransformer
from sklearn.linear_model import Ridge, RidgeClassifier
from sklearn.model_selection import train_test_split
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import LinearSVC
from sklearn.tree import DecisionTreeClassifier

from certified_ensembles import (
    DeepPartitionAggregation,
    DeepPartitionRegressor,
    FeaturePartitionAggregation,
    LabelFlipSmoothingClassifier,
)
from certified_ensembles.datasets import fetch_enron_spam
from certified_ensembles.features import HOGFeatures, ImageViews, PatchFeatures

ROWS = "Insertions + deletions of training rows"
RIGHT = "Share right and certified"


def digits():
    """Return training and test rows of the digits, split as on the pages."""
    X, y = load_digits(return_X_y=True)
    return train_test_split(X, y, random_state=0)


def certified(clf, X_train, X_test, y_train, y_test, **how):
    """Fit, certify, and return radii, -1 where the prediction is wrong."""
    y_pred, radius = clf.fit(X_train, y_train, **how).certify(X_test)
    return np.where(y_pred == y_test, radius, -1)


def partitions(k, member=None, **parameters):
    """Return an ensemble for digits."""
    return DeepPartitionAggregation(member, n_partitions=k, classes=range(10), **parameters)


def save(fig, path):
    """Save a figure without a date, so that the same numbers are the same file."""
    fig.savefig(path, transparent=True, metadata={"Date": None})
    plt.close(fig)


def start(path):
    """Draw some digits, what they are taken for, and their radii."""
    X_train, X_test, y_train, _ = digits()
    y_pred, radius = partitions(50).fit(X_train, y_train).certify(X_test)
    fig, axes = plt.subplots(1, 8, figsize=(8, 1.7), layout="constrained")
    for ax, row, label, r in zip(axes, X_test, y_pred, radius, strict=False):
        ax.imshow(row.reshape(8, 8), cmap="gray_r")
        ax.set_title(f"a {label}\nradius {r}", fontsize=10)
        ax.set_axis_off()
    save(fig, path)


def guide(path):
    """Draw what the number of partitions does to the curve."""
    rows = digits()
    sizes = (20, 60, 150)
    curves(path, {f"{k} partitions": certified(partitions(k), *rows) for k in sizes}, ROWS, RIGHT)


def tasks(path):
    """Draw three attackers of the same digits."""
    rows = digits()
    labels = LabelFlipSmoothingClassifier(KNeighborsClassifier(50), classes=range(10))
    columns = FeaturePartitionAggregation(DecisionTreeClassifier(), n_blocks=16, classes=range(10))
    found = {
        "flips labels": certified(labels, *rows),
        "inserts and deletes rows": certified(partitions(100), *rows),
        "owns pixels, in the test row, too": certified(columns, *rows),
    }
    curves(path, found, "Labels, rows, or pixels in hostile hands", RIGHT)


def columns(path):
    """Draw what hostile pixels leave, in training and in the test row, by two votes."""
    found = {}
    for vote in ("plurality", "run_off"):
        clf = FeaturePartitionAggregation(
            DecisionTreeClassifier(min_samples_leaf=10),
            n_blocks=16,
            classes=range(10),
            aggregation=vote,
        )
        found[f'aggregation="{vote}"'] = certified(clf, *digits())
    curves(path, found, "Hostile pixels of 64, in training and in the test row", RIGHT)


def past_one_machine(path):
    """Draw peak memory beside the size of the rows, of the table of docs/past_one_machine.rst."""
    table = (path.parent / "bench_out_of_core.txt").read_text(encoding="utf-8")
    cells = re.findall(r"^   (?:\* -|  -) (.*)$", table, flags=re.MULTILINE)
    rows = [cells[i : i + 6] for i in range(6, len(cells), 6)]
    names = ["the rows themselves", *(f"{row[0]}, {row[2]}" for row in rows)]
    fig, ax = plt.subplots(figsize=(6.2, 2.1), layout="constrained")
    sizes = [2.0, *(float(row[5]) for row in rows)]
    bars = ax.barh(names, sizes, color=[INK, *COLORS[:1] * len(rows)], height=0.6)
    ax.bar_label(bars, fmt="%.2f", padding=3, color=INK)
    ax.invert_yaxis()
    ax.set(xlabel="GB", xlim=(0, 2.3))
    save(fig, path)


def label_flips(path):
    """Draw the three certificates of one classifier."""
    found = {}
    for certificate in ("exact", "tight", "kl"):
        clf = LabelFlipSmoothingClassifier(
            KNeighborsClassifier(50), certificate=certificate, noise=0.1, classes=range(10)
        )
        found[f'certificate="{certificate}"'] = certified(clf, *digits())
    curves(path, found, "Flipped labels", RIGHT)


def aggregators(path):
    """Draw better members beside a better use of the same members."""
    rows = digits()
    views = ImageViews([HOGFeatures((2, 4)), PatchFeatures(64, patch_size=3)], image_shape=(8, 8))
    views.set_params(mirror=False)
    found = {
        "ridge on fixed features": make_pipeline(views, RidgeClassifier()),
        "ridge on pixels": RidgeClassifier(),
    }
    found = {name: certified(partitions(60, member), *rows) for name, member in found.items()}
    run_off = partitions(60, aggregation="run_off")
    curves(path, {**found, "ridge on pixels, run-off": certified(run_off, *rows)}, ROWS, RIGHT)


def regression(path):
    """Draw forecasts of diabetes, and where 2 and 5 hostile rows can push them."""
    X, y = load_diabetes(return_X_y=True)
    reg = DeepPartitionRegressor(Ridge(alpha=0.05), n_partitions=25).fit(X[:342], y[:342])
    fig, ax = plt.subplots(figsize=(6.2, 3.1), layout="constrained")
    order = np.argsort(reg.predict(X[342:]))
    for budget, color in ((5, COLORS[1]), (2, COLORS[0])):
        y_pred, lower, upper = reg.certify_interval(X[342:][order], budget=budget)
        name = f"whatever {budget} rows do"
        place = np.arange(len(order))
        ax.fill_between(place, lower, upper, color=color, alpha=0.55, linewidth=0, label=name)
    ax.plot(place, y_pred, color=INK, linewidth=1.5, label="forecast")
    ax.set(xlabel="Patients, by forecast", ylabel="Score a year later")
    ax.legend(frameon=False, labelcolor=INK, loc="upper left")
    save(fig, path)


def nets(path):
    """Draw the table of docs/nets.rst: time of a loop over the time of the stack."""
    speeds = {"linear": 22.7, "perceptron 64-64-10": 16.4, "two convolutions": 2.2}
    fig, ax = plt.subplots(figsize=(6.2, 1.7), layout="constrained")
    bars = ax.barh(list(speeds), list(speeds.values()), color=COLORS[0], height=0.6)
    ax.bar_label(bars, fmt="%.1f", padding=3, color=INK)
    ax.invert_yaxis()
    ax.set(xlabel="Time of skorch's loop over partitions / time of the stack", xlim=(0, 26))
    save(fig, path)


def voids(path):
    """Draw what a scaler in front of the ensemble does to a promise."""
    X_train, X_test, y_train, _ = digits()
    inside = partitions(50, make_pipeline(StandardScaler(), RidgeClassifier()))
    outside = make_pipeline(StandardScaler(), partitions(50))
    budgets = np.arange(11)
    fig, ax = plt.subplots(figsize=(6.2, 3.6), layout="constrained")
    for name, clf, color in (
        ("scaler inside", inside, COLORS[0]),
        ("in front", outside, COLORS[1]),
    ):
        y_pred = clf.fit(X_train, y_train).predict(X_test)
        if clf is inside:
            promised, name_of_promise = clf.certify(X_test).radius, "promised"
        else:
            scaled = clf[0].transform(X_test)
            promised, name_of_promise = clf[1].certify(scaled).radius, "promised, void"
        share = (promised >= budgets[:, None]).mean(axis=1)
        ax.plot(budgets, share, ":", color=color, linewidth=2, label=f"{name}, {name_of_promise}")
        kept = []
        for n in budgets:
            hostile = np.full((n, X_train.shape[1]), 1e9) * (1 + np.arange(n)[:, None])
            again = clf.fit(np.vstack([X_train, hostile]), np.append(y_train, np.zeros(n, int)))
            kept.append((again.predict(X_test) == y_pred).mean())
        ax.plot(budgets, kept, color=color, linewidth=2, label=f"{name}, what an attack leaves")
    ax.set(xlabel="Inserted rows", ylabel="Predictions unchanged", ylim=(0, 1.02), xlim=(0, 10))
    fig.legend(frameon=False, labelcolor=INK, loc="outside lower center", ncols=2, fontsize=9)
    save(fig, path)


def theory(path):
    """Draw how a lead melts: the votes of one digit, and the worst that rows can do to them."""
    X_train, X_test, y_train, _ = digits()
    clf = partitions(50).fit(X_train, y_train)
    counts, radius = clf.vote_counts(X_test[:1])[0], int(clf.certify(X_test[:1]).radius[0])
    first, second = np.sort(counts)[::-1][:2]
    rows = np.arange(radius + 4)
    fig, ax = plt.subplots(figsize=(6.2, 3.1), layout="constrained")
    ax.step(rows, first - rows, where="mid", color=COLORS[0], linewidth=2, label="the winner")
    ax.step(rows, second + rows, where="mid", color=COLORS[1], linewidth=2, label="the rival")
    ax.axvspan(-0.5, radius + 0.5, color=COLORS[2], alpha=0.18, linewidth=0)
    ax.text(radius / 2, first * 0.6, f"radius {radius}", ha="center", color=INK)
    ax.set(xlabel=ROWS, ylabel="Votes, at worst", ylim=(0, None), xlim=(-0.5, radius + 3))
    ax.legend(frameon=False, labelcolor=INK)
    save(fig, path)


def strangers(path):
    """Draw hostile senders of Enron's mails, counted as senders and as mails."""
    mails = fetch_enron_spam(download_if_missing=False)
    _, unique = np.unique(mails.data, return_index=True)  # a copy must not be its own test
    chosen = np.random.default_rng(0).permutation(unique)[:6600]
    X, y = mails.data[chosen], mails.target[chosen]
    member = make_pipeline(
        HashingVectorizer(n_features=2**16, alternate_sign=False, norm=None),
        TfidfTransformer(sublinear_tf=True),
        LinearSVC(),
    )
    clf = DeepPartitionAggregation(member, n_partitions=60, classes=[0, 1])
    rows = X[1000:], X[:1000], y[1000:], y[:1000]
    sender = np.random.default_rng(1).integers(400, size=5600)
    found = {
        "fit(X, y, groups=sender)": certified(clf, *rows, groups=sender),
        "fit(X, y), if a sender adds 14 mails": certified(clf, *rows) // 14,
    }
    for name, radius in found.items():
        median = np.sort(radius)[::-1][(len(radius) - 1) // 2]
        print(f"{name}: {(radius >= 0).mean():.1%} right, half beside {median} senders of 400")
    curves(path, found, "Hostile senders, of 400", RIGHT)


FIGURES = (start, guide, tasks, columns, label_flips, aggregators, regression, nets)
FIGURES += (past_one_machine, voids, theory)


def main(folder):
    for draw in FIGURES:
        draw(folder / f"pages_{draw.__name__}.svg")
    try:
        strangers(folder / "pages_strangers.svg")
    except OSError as error:
        print(f"Skipped: {error}")


if __name__ == "__main__":
    with plt.rc_context({**STYLE, "svg.hashsalt": "pages"}):
        main(Path(sys.argv[1] if len(sys.argv) > 1 else Path(__file__).parents[1] / "_static"))
