"""
Certify predictions on handwritten digits
=========================================

Suppose that some of the images you train on come from strangers. How many of them would have to
be hostile before they could change a prediction? The ensemble answers that for every single
prediction, with a proof. We ask it on scikit-learn's handwritten digits.
"""

import sys

import matplotlib.pyplot as plt
from sklearn.datasets import load_digits
from sklearn.linear_model import RidgeClassifier
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline

from certified_ensembles import DeepPartitionAggregation
from certified_ensembles.display import CertifiedAccuracyDisplay
from certified_ensembles.features import HOGFeatures
from certified_ensembles.metrics import median_certified_radius

X, y = load_digits(return_X_y=True)
X_train, X_test, y_train, y_test = train_test_split(
    X, y, test_size=0.3, stratify=y, random_state=0
)

# %%
# The base estimator is an ordinary pipeline. Whatever it learns, each member of the ensemble
# learns from its own rows alone, and each row reaches one member.

base = make_pipeline(HOGFeatures(cell_sizes=(2, 4), image_shape=(8, 8)), RidgeClassifier())
fewer, more = (
    DeepPartitionAggregation(base, n_partitions=k, classes=range(10)).fit(X_train, y_train)
    for k in (25, 75)
)

# %%
# ``certify`` returns what ``predict`` would, and the number of training rows that anyone may
# insert or delete, with any content, without changing it.

y_pred, radius = more.certify(X_test)
print(
    f"The first test image is a {y_pred[0]}, and stays one "
    f"after any {radius[0]} insertions and deletions."
)

# %%
# Certified accuracy at a budget is the share of test images that are classified right and have a
# radius of at least that budget. With 25 partitions no radius can exceed 12; with 75 the limit
# is 37, although each member has only 17 images to learn from.

alone = base.fit(X_train, y_train).score(X_test, y_test)
print(f"A single model: {alone:.1%} right, no promise")
fig, ax = plt.subplots(figsize=(7, 4.2), layout="constrained")
for clf in (fewer, more):
    y_pred, radius = clf.certify(X_test)
    median = median_certified_radius(y_test, y_pred, radius)
    print(
        f"{clf.n_partitions} partitions: {(y_pred == y_test).mean():.1%} right, "
        f"half of all test images right and certified against {median} poisoned rows"
    )
    CertifiedAccuracyDisplay.from_estimator(
        clf, X_test, y_test, name=f"{clf.n_partitions} partitions", ax=ax
    )
ax.set_title("Digits: what no attack on the training set can undo")
if len(sys.argv) > 1:
    fig.savefig(sys.argv[1], dpi=150)
plt.show()

# %%
# **What this does not show:** how strong real attacks are. The curve is a floor that holds for all
# of them, and the true loss may be far smaller; it also says nothing about altered *test* images.
