"""
Certify MNIST with fixed features
=================================

The paper that introduced Deep Partition Aggregation [1]_ trains one deep network on each of 1200
or 3000 partitions of MNIST: on 50 images, or on 20. Little can be learned from so few. So what if
the members need not learn to see, but get good features for free?

MNIST (11 MB) is looked for on disk only; one call of
:func:`~certified_ensembles.datasets.fetch_mnist` downloads it.
"""

import matplotlib.pyplot as plt
from sklearn.linear_model import RidgeClassifier
from sklearn.pipeline import make_pipeline

from certified_ensembles import DeepPartitionAggregation
from certified_ensembles.datasets import fetch_mnist
from certified_ensembles.display import CertifiedAccuracyDisplay
from certified_ensembles.features import Deskew, HOGFeatures
from certified_ensembles.metrics import median_certified_radius

N_TRAIN, N_TEST, N_PARTITIONS = 60000, 10000, (1200, 3000)
PAPER = {1200: ("95.85%", 448), 3000: ("93.36%", 509)}  # clean accuracy, median radius: Table 1

# %%
# Straightening the digits and taking histograms of their gradients *learns nothing*: the features
# of an image depend on that image alone, to the last bit. An inserted image cannot touch the
# features of another, so the guarantee holds with this pipeline inside each member and before the
# ensemble alike. Before it, both ensembles share one pass over the images. (A scaler or a PCA
# learns from all rows and would have to stay inside.)

features = make_pipeline(Deskew(), HOGFeatures())


def load(subset, n):
    images, digits = fetch_mnist(subset=subset, return_X_y=True, download_if_missing=False)
    return features.transform(images[:n]), digits[:n]


# %%
# The members are ridge classifiers. On all 60000 images, circles mark the medians of the paper:
# the budget at which half of the test images are still right and certified. (A short run takes a
# twentieth of the images and of the partitions, so that each member still sees 50 or 20.)


def compare(X_train, y_train, X_test, y_test):
    _, ax = plt.subplots(figsize=(7, 4.2), layout="constrained")
    print("partitions   clean accuracy (paper)   median radius (paper)")
    for k in N_PARTITIONS:
        clf = DeepPartitionAggregation(RidgeClassifier(), n_partitions=k, classes=range(10))
        y_pred, radius = clf.fit(X_train, y_train).certify(X_test)
        clean, median = (y_pred == y_test).mean(), median_certified_radius(y_test, y_pred, radius)
        display = CertifiedAccuracyDisplay.from_predictions(
            y_test, y_pred, radius, threat="insertion_deletion", name=f"{k} partitions", ax=ax
        )
        paper_clean, paper_median = PAPER.get(k, ("not run", "not run"))
        print(f"{k:10}   {clean:14.2%} ({paper_clean})   {median:13} ({paper_median})")
        if k in PAPER:
            color = display.line_.get_color()
            ax.plot(paper_median, 0.5, "o", color=color, mfc="white", mew=2, ms=8, zorder=3)
    if k in PAPER:
        ax.annotate(
            "the paper's medians:\n448 and 509",
            (448, 0.5),
            (-9, 0),
            va="center",
            ha="right",
            textcoords="offset points",
            fontsize=9.5,
        )
    ax.set_title(f"MNIST, {N_TRAIN:,} training images")


try:
    data = *load("train", N_TRAIN), *load("test", N_TEST)
except OSError as error:
    print(f"Skipped: {error}")
else:
    compare(*data)
plt.show()

# %%
# **What this does not show:** that deep networks are a poor choice. People who had seen many
# digits designed these features, while the paper's members learn theirs from a few dozen images
# each; and nothing here says that such features exist for photographs.
#
# .. [1] A. Levine and S. Feizi. Deep Partition Aggregation: Provable Defenses against General
#    Poisoning Attacks. ICLR 2021.
