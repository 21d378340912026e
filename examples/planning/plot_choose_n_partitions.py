"""
Choose the number of partitions on trusted rows
===============================================

More partitions raise the limit of every radius, and leave each member fewer rows to learn from.
The best number depends on the attacker you expect. There is a trap: if the number is tuned on data
that the attacker touches, the attacker has a hand in it, and the promise is not what it was.

So we set some digits aside that nobody else can touch, say because we drew them ourselves.
"""

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_digits
from sklearn.linear_model import RidgeClassifier
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline

from certified_ensembles import DeepPartitionAggregation
from certified_ensembles.display import CertifiedAccuracyDisplay
from certified_ensembles.features import HOGFeatures
from certified_ensembles.metrics import certified_accuracy_score

X, y = load_digits(return_X_y=True)
X_train, X_rest, y_train, y_rest = train_test_split(
    X, y, train_size=1000, stratify=y, random_state=0
)
X_trusted, X_test, y_trusted, y_test = train_test_split(
    X_rest, y_rest, train_size=300, stratify=y_rest, random_state=0
)

# %%
# One ensemble for each number of partitions, and its certified accuracy on the trusted digits.

GRID = [5, 10, 20, 40, 60, 80, 120, 160, 240]
BUDGETS = [0, 1, 2, 5, 10, 15, 20, 25]

base = make_pipeline(HOGFeatures(cell_sizes=(2, 4), image_shape=(8, 8)), RidgeClassifier())
ensembles = [
    DeepPartitionAggregation(base, n_partitions=k, classes=range(10)).fit(X_train, y_train)
    for k in GRID
]
trusted = [clf.certify(X_trusted) for clf in ensembles]
table = np.array(
    [[certified_accuracy_score(y_trusted, *pair, budget=b) for b in BUDGETS] for pair in trusted]
)

# %%
# We expect no more than 10 hostile rows, and take the best number of partitions for that budget.

budget = 10
column = table[:, BUDGETS.index(budget)]
best = int(column.argmax())
second = np.sort(column)[-2]
print(
    f"Best for {budget} hostile rows: {GRID[best]} partitions, "
    f"{column[best]:.1%} certified on {len(y_trusted)} trusted rows"
)

# %%
# Had these 300 rows been open to the attacker, one or a few more of them would have been enough:
# rows on which the runner-up is certified and the winner is not. Then the choice changes, and
# every member with it. The radius of either ensemble alone knows nothing of that.
#
# What is left to promise then? The attacker can at most make us choose *another number from the
# grid*. So a prediction stands where all ensembles of the grid agree, up to the smallest of their
# radii. With the whole grid, that is the radius of its weakest member. A short grid that was fixed
# beforehand costs much less.

gap = round((column[best] - second) * len(y_trusted))
print(f"At most {gap + 1} hostile validation row(s) would have changed the choice")


def certify_any(ensembles, X):
    """Predict with the first ensemble; certify what holds whichever of them is chosen."""
    y_pred, radius = zip(*(clf.certify(X) for clf in ensembles), strict=True)
    agree = (np.array(y_pred) == y_pred[0]).all(axis=0)
    return y_pred[0], np.where(agree, np.min(radius, axis=0), 0)


chosen = ensembles[best]
others = [clf for clf in ensembles if clf is not chosen]
near = [clf for clf in ensembles[best - 1 : best + 2] if clf is not chosen]
promises = {
    f"{GRID[best]} partitions,\nchosen on trusted rows": certify_any([chosen], X_test),
    f"one of {len(near) + 1}, tuned on\nuntrusted rows": certify_any([chosen, *near], X_test),
    f"one of {len(GRID)}, tuned on\nuntrusted rows": certify_any([chosen, *others], X_test),
}

# %%
# Left: a table to choose from, the best of each column framed. Right: what the choice is worth on
# the test digits.

fig, (left, right) = plt.subplots(
    1, 2, figsize=(10, 4.4), layout="constrained", width_ratios=[1.1, 1]
)
left.imshow(table, cmap="Blues", vmin=0, vmax=1.7, aspect="auto")
for i, j in np.ndindex(table.shape):
    is_best = table[i, j] == table[:, j].max()
    left.text(
        j,
        i,
        f"{100 * table[i, j]:.0f}",
        ha="center",
        va="center",
        weight="bold" if is_best else None,
    )
    if is_best:
        left.add_patch(plt.Rectangle((j - 0.47, i - 0.47), 0.94, 0.94, fill=False, lw=1.8))
left.set(
    xticks=range(len(BUDGETS)),
    xticklabels=BUDGETS,
    yticks=range(len(GRID)),
    yticklabels=GRID,
    xlabel="Attacker's budget (insertions + deletions)",
    ylabel="Partitions",
    title="Certified accuracy on trusted rows, %",
)
for name, (y_pred, radius) in promises.items():
    CertifiedAccuracyDisplay.from_predictions(
        y_test, y_pred, radius, threat="insertion_deletion", name=name, ax=right
    )
    score = certified_accuracy_score(y_test, y_pred, radius, budget=budget)
    print(f"Certified at {budget} on the test rows, {' '.join(name.split())}: {score:.1%}")
right.set_title("What the choice is worth on test rows")
plt.show()

# %%
# **What this does not show:** that the framed numbers are exact. On 300 rows two neighbours in a
# column are often within chance of each other, and on your data the table is another one.
