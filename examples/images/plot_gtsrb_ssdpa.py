"""
Certify traffic signs against wrong labels
==========================================

With 400 voters on the German traffic signs [2]_ a voter sees 98 labels, about two a class, and of
a rare sign often none. The semi-supervised variant of Deep Partition Aggregation [1]_ lets all
voters share what photographs alone can teach. Can that be enough for 43 classes?

GTSRB must be on disk (:func:`~certified_ensembles.datasets.fetch_gtsrb` says where to get it); it
comes resized to 32 x 32 pixels. On all images this takes about seven minutes on two cores.
"""

import matplotlib.pyplot as plt
import numpy as np
from sklearn.compose import ColumnTransformer
from sklearn.decomposition import PCA
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.linear_model import RidgeClassifier
from sklearn.preprocessing import normalize

from certified_ensembles import SemiSupervisedDPA
from certified_ensembles.datasets import fetch_gtsrb
from certified_ensembles.display import CertifiedAccuracyDisplay
from certified_ensembles.features import HOGFeatures
from certified_ensembles.metrics import median_certified_radius
from certified_ensembles.representations import LaplacianEigenmap

STEP, N_PARTITIONS = 1, (50, 100, 400)
N_DIRECTIONS = 800
N_COMPONENTS = 120
PAPER = {  # clean accuracy, median radius: Table 2
    (50, "content"): ("96.98%", 25),
    (50, "sorted"): ("97.09%", 25),
    (100, "content"): ("96.79%", 50),
    (100, "sorted"): ("96.76%", 50),
    (400, "content"): ("95.89%", 174),
    (400, "sorted"): ("95.80%", 176),
}

# %%
# A video shows the same sign many times while the car comes nearer. Which photographs belong to
# one video needs no label, and it tells what does *not* matter: size, blur, light. Linear
# discriminants of the videos keep those directions in which videos differ much and photographs of
# one video little. The signs' names play no part, but this is more than the paper's SimCLR knew,
# which learned from altered copies of single images; and the certificate assumes that nobody
# tampers with which photographs belong to one video.


def directions(images, videos, others):
    hog = HOGFeatures(cell_sizes=(4, 8))
    images, others = hog.transform(images), hog.transform(others)
    pca = PCA(N_DIRECTIONS, svd_solver="covariance_eigh").fit(images)
    images, others = pca.transform(images), pca.transform(others)
    lda = LinearDiscriminantAnalysis(solver="eigen", shrinkage=0.01, n_components=60)
    lda.fit(images, videos)
    return normalize(lda.transform(images)), normalize(lda.transform(others))


# %%
# Then each photograph is joined to the 50 most like it, more than there are in one video, and
# placed by the slowest modes of a random walk on that graph. Slow modes, which separate groups,
# get more weight than fast ones.


def eigenmap(images, others):
    walk = LaplacianEigenmap(N_COMPONENTS, n_neighbors=50, n_jobs=-1).fit(images)
    weight = np.sqrt(0.03 / (1.03 - walk.eigenvalues_))
    return normalize(walk.transform(images) * weight), normalize(walk.transform(others) * weight)


# %%
# The certificate shall speak of the photographs as they were taken, before they were resized. So
# the place of the original among all originals goes in front of each row. It decides the order,
# hence the partition; the representation drops it before any member looks.

drop_place = ColumnTransformer([("place", "drop", [0])], remainder="passthrough")


def by_first_column(rows):
    return rows[:, 0].astype(np.int64)


def vote(k, partitioner, place, train, Z, Z_test):
    unseen = np.column_stack([np.zeros(len(Z_test)), Z_test])  # a test row has no place
    clf = SemiSupervisedDPA(
        RidgeClassifier(0.1),
        n_partitions=k,
        partitioner=partitioner,
        representation=drop_place,
        classes=range(43),
    )
    return clf.fit(np.column_stack([place, Z]), train.target).certify(unseen)


def clean_and_median(y_test, y_pred, radius):
    clean = (y_pred == y_test).mean()
    return f"{clean:14.2%}", f"{median_certified_radius(y_test, y_pred, radius):13}"


def compare(train, test, Z, Z_test):
    ways = {"content": (by_first_column, train.orig_pixel_sum)}
    if train.orig_lex_rank is not None:
        ways["sorted"] = ("sorted", train.orig_lex_rank)
    _, ax = plt.subplots(figsize=(7, 4.2), layout="constrained")
    print("partitions   partitioner   clean accuracy (paper)   median radius (paper)")
    for k in N_PARTITIONS:
        for name, way in ways.items():
            y_pred, radius = vote(k, *way, train, Z, Z_test)
            clean, median = clean_and_median(test.target, y_pred, radius)
            paper = PAPER.get((k, name), ("-", "-"))
            print(f"{k:10}   {name:11}   {clean} ({paper[0]})   {median} ({paper[1]})")
        display = CertifiedAccuracyDisplay.from_predictions(
            test.target, y_pred, radius, threat="label_flip", name=f"{k} partitions", ax=ax
        )
        if (k, name) in PAPER:
            color = display.line_.get_color()
            ax.plot(paper[1], 0.5, "o", color=color, mfc="white", mew=2, ms=8, zorder=3)
    ax.set_title(f"German traffic signs, {len(train.target):,} labels")


# %%
# Some photographs are taken at night, some against the sun. The paper equalises histograms, which
# makes all of them as bright as each other, and gains up to 22 percentage points (Table 4, votes
# of networks that share nothing). Gradients are compared with those around them, which takes
# most of the light out already. What is left to gain? This is asked before the graph.


def equalised(images):
    grey = images.mean(axis=3).astype(np.uint8)
    ranks = [np.cumsum(np.bincount(image.ravel(), minlength=256))[image] for image in grey]
    return np.stack(ranks).astype(np.float32)


def compare_light(train, test, Z, Z_test):
    features = {
        "as they are": (Z, Z_test),
        "equalised": directions(equalised(train.data), train.groups, equalised(test.data)),
    }
    print("partitions   photographs   clean accuracy   median radius   (no graph)")
    for k in N_PARTITIONS[-2:]:
        for name, both in features.items():
            answer = vote(k, by_first_column, train.orig_pixel_sum, train, *both)
            clean, median = clean_and_median(test.target, *answer)
            print(f"{k:10}   {name:11}   {clean}   {median}")


def thinned(signs, step):
    n = len(signs.target)
    for name, values in signs.items():
        if isinstance(values, np.ndarray) and len(values) == n:
            signs[name] = values[::step]
    return signs


try:
    signs = [fetch_gtsrb(subset=subset, download_if_missing=False) for subset in ("train", "test")]
except OSError as error:
    print(f"Skipped: {error}")
else:
    train, test = (thinned(part, STEP) for part in signs)
    found = directions(train.data, train.groups, test.data)
    compare(train, test, *eigenmap(*found))
    compare_light(train, test, *found)
plt.show()

# %%
# Circles are the paper's medians. With all images, equalised photographs give the same radii and
# half a point less accuracy: most of the light was gone before, and now the colours are, too.
#
# **What this does not show:** that labels of *other* videos would do as well; frames of one video
# lie in training together, never in training and test. And whoever can add or alter *photographs*
# can turn the features: all radii here are about labels alone.
#
# .. [1] A. Levine and S. Feizi. Deep Partition Aggregation: Provable Defenses against General
#    Poisoning Attacks. ICLR 2021, appendices H and J.
# .. [2] J. Stallkamp, M. Schlipsing, J. Salmen and C. Igel. Man vs. computer: Benchmarking machine
#    learning algorithms for traffic sign recognition. Neural Networks 32, 2012.
