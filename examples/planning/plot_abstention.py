"""
Answer only where the answer is certified
=========================================

A certified radius says of *each* answer how much poisoning it survives. Where it survives little,
one may prefer no answer. :class:`~certified_ensembles.abstention.CertifiedAbstention` answers only
where at least so many poisoned rows are survived. What does that cost in answers, and what does
it buy?

MNIST (11 MB) is looked for on disk only; one call of
:func:`~certified_ensembles.datasets.fetch_mnist` downloads it.
"""

import matplotlib.pyplot as plt
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import RidgeClassifier
from sklearn.pipeline import make_pipeline

from certified_ensembles import DeepPartitionAggregation
from certified_ensembles.abstention import CertifiedAbstention, coverage_accuracy_curve
from certified_ensembles.datasets import fetch_mnist
from certified_ensembles.features import Deskew, HOGFeatures
from certified_ensembles.neighbors import CertifiedKNeighborsClassifier

N_TRAIN, N_TEST, N_PARTITIONS = 60000, 2000, 1200

features = make_pipeline(Deskew(), HOGFeatures())


def load(subset, n):
    images, digits = fetch_mnist(subset=subset, return_X_y=True, download_if_missing=False)
    return features.transform(images[:n]), digits[:n]


# %%
# Two voters. In the ensemble each of 1200 members has one vote; among nearest neighbours each of
# the 1200 training images closest to the test image has one, and nothing is trained. Neither can
# reach a radius beyond 600.


def train(X, y):
    return {
        f"{N_PARTITIONS} partitions": DeepPartitionAggregation(
            RidgeClassifier(), N_PARTITIONS, classes=range(10)
        ).fit(X, y),
        f"{N_PARTITIONS} neighbours": CertifiedKNeighborsClassifier(
            N_PARTITIONS, classes=range(10)
        ).fit(X, y),
    }


# %%
# The curve needs no further fit: one call of ``certify`` gives it for all thresholds. Its left end
# answers only what is hardest to shake.


def compare(X_train, y_train, X_test, y_test):
    _, ax = plt.subplots(figsize=(7, 4.2), layout="constrained")
    marks = [int(share * N_PARTITIONS / 2) for share in (0, 0.25, 0.5, 0.75, 0.9)]
    for name, clf in train(X_train, y_train).items():
        curve = coverage_accuracy_curve(y_test, *clf.certify(X_test))
        reached = [r for r in marks if r < len(curve.min_radius)]
        curve.plot(ax=ax, name=name, marks=reached)
        print(f"{name}:")
        for r in reached:
            print(
                f"  radius >= {r:3}: {curve.coverage[r]:6.1%} answered, "
                f"{curve.accuracy[r]:.2%} of the answers right"
            )
    ax.legend(frameon=False, loc="lower left")

    # Whoever has settled on a threshold wraps the fitted classifier.
    careful = CertifiedAbstention(FrozenEstimator(clf), min_radius=marks[2])
    y_pred, kept = careful.certify(X_test)
    print(
        f"The first test image is a {y_pred[0]}, and is still answered so after "
        f"any {kept[0]} insertions and deletions"
    )


try:
    data = *load("train", N_TRAIN), *load("test", N_TEST)
except OSError as error:
    print(f"Skipped: {error}")
else:
    compare(*data)
plt.show()

# %%
# There are two promises. Within the radius of an answer no poisoning leads to *another* answer.
# But an attacker needs fewer operations to silence it: the radius only has to fall below the
# threshold. So the answer itself is sure up to the radius minus the threshold.
#
# **What this does not show:** that the threshold may be read off this figure. Whoever chooses it
# on rows that an attacker can touch lets the attacker choose.
