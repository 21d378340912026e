"""
Certify photographs with features learned without labels
========================================================

The semi-supervised variant of Deep Partition Aggregation [1]_ is as good as its representation. On
CIFAR-10 the paper's comes from SimCLR, a network that looks at all images for a thousand epochs
to find out which two views show the same one. If PyTorch sees a GPU, this example does so,
too, for ``EPOCHS`` epochs. Without one it takes the idea alone: views of one image should look
alike, said in linear algebra. How far does that go? A network pretrained on other
images goes much further, and needs no GPU:
:ref:`sphx_glr_auto_examples_nets_plot_cifar10_pretrained.py`.

CIFAR-10 is looked for on disk only; one call of
:func:`~certified_ensembles.datasets.fetch_cifar10` downloads it. Without a GPU this takes ten to
twenty minutes on two cores, and 4.3 GB of memory.
"""

import matplotlib.pyplot as plt
import numpy as np
from sklearn.decomposition import PCA
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.linear_model import RidgeClassifier
from sklearn.preprocessing import normalize

from certified_ensembles import SemiSupervisedDPA
from certified_ensembles.datasets import fetch_cifar10
from certified_ensembles.display import CertifiedAccuracyDisplay
from certified_ensembles.features import PatchFeatures
from certified_ensembles.metrics import median_certified_radius
from certified_ensembles.representations import LaplacianEigenmap

N_TRAIN, N_TEST, N_PARTITIONS = 50000, 10000, (50, 250, 1000)
N_DIRECTIONS = 800
N_FILTERS, N_VIEWED, N_COMPONENTS = 1600, 7000, 150
EPOCHS = 1000
PAPER = {50: ("90.89%", 25), 250: ("90.33%", 124), 1000: ("89.02%", 392)}  # Table 2, sorted

# %%
# A view of an image is a part of it, perhaps mirrored, in other colours, or in none.


def view(image, rng):
    image = image.astype(np.float64)
    for axis in (0, 1):  # a part of each side, stretched to 32 pixels
        share = rng.uniform(0.55, 1)
        place = 31 * (rng.uniform(0, 1 - share) + share * np.linspace(0, 1, 32))
        left = np.minimum(place.astype(int), 30)
        rest = (place - left).reshape((-1, 1, 1) if axis == 0 else (1, -1, 1))
        image = (1 - rest) * image.take(left, axis) + rest * image.take(left + 1, axis)
    image = image[:, :: rng.choice([1, -1])] * rng.uniform(0.6, 1.4)
    image = image.mean() + (image - image.mean()) * rng.uniform(0.6, 1.4)
    grey = image.mean(axis=2, keepdims=True)
    vivid = rng.choice([0, 1], p=[0.2, 0.8]) * rng.uniform(0.6, 1.4)
    return np.clip(grey + (image - grey) * vivid, 0, 255).astype(np.uint8)


# %%
# Small patches of the images, clustered, are the filters of one convolutional layer [2]_. Linear
# discriminants of pairs of views then keep those directions in which images differ much and two
# views of one image little. Here "class" means "which image": labels play no part.


def classical(images, others):
    patches = PatchFeatures(N_FILTERS, filters="fit", activation="triangle", n_jobs=-1)
    patches.fit(images)
    rng = np.random.default_rng(0)
    chosen = rng.permutation(len(images))[:N_VIEWED]
    views = np.stack([view(images[i], rng) for i in np.repeat(chosen, 2)])
    images, others, views = (patches.transform(X) for X in (images, others, views))
    for table in (images, others, views):
        np.sqrt(table, out=table)
    pca = PCA(N_DIRECTIONS, svd_solver="covariance_eigh").fit(images[::5])
    images, others, views = (pca.transform(X) for X in (images, others, views))
    lda = LinearDiscriminantAnalysis(solver="eigen", shrinkage=0.03, n_components=100)
    lda.fit(views, np.repeat(chosen, 2))
    centre = lda.transform(images).mean(axis=0)
    return lda.transform(images) - centre, lda.transform(others) - centre


def simclr(images, others):
    """Return features of the paper's network, or None where there is no GPU to train it on."""
    try:
        import torch

        from certified_ensembles.nets import SimCLR
    except ImportError:
        return None
    if not torch.cuda.is_available():
        return None
    net = SimCLR(EPOCHS, verbose=1)
    images, others = (np.ascontiguousarray(X.transpose(0, 3, 1, 2)) for X in (images, others))
    return net.fit_transform(images), net.transform(others)


# %%
# Either way, directions alone count from here on, and beside them stands the place of an image
# on the graph of all images: slow modes of a random walk, which separate groups, weigh more.


def with_graph(images, others):
    images, others = normalize(images), normalize(others)
    walk = LaplacianEigenmap(N_COMPONENTS, n_neighbors=15, n_jobs=-1).fit(images)
    weight = np.sqrt(0.1 / (1.1 - walk.eigenvalues_))
    return [np.hstack([normalize(walk.transform(X) * weight), 0.7 * X]) for X in (images, others)]


def load(subset, n):
    images, kinds = fetch_cifar10(subset=subset, return_X_y=True, download_if_missing=False)
    step = len(kinds) // n  # test images come sorted by class
    return images[::step][:n], kinds[::step][:n]


def compare(X_train, y_train, X_test, y_test):
    found = simclr(X_train, X_test)
    print(
        "features:", "k-means patches and views" if found is None else f"SimCLR, {EPOCHS} epochs"
    )
    Z_train, Z_test = with_graph(*(found or classical(X_train, X_test)))
    _, ax = plt.subplots(figsize=(7, 4.2), layout="constrained")
    print("partitions   clean accuracy (paper)   median radius (paper)   one member")
    for k in N_PARTITIONS:
        clf = SemiSupervisedDPA(RidgeClassifier(0.3), n_partitions=k, classes=range(10))
        y_pred, radius = clf.fit(Z_train, y_train).certify(Z_test)
        clean = (y_pred == y_test).mean()
        median = median_certified_radius(y_test, y_pred, radius)
        member = np.mean(clf.ballots(Z_test) == y_test[:, None])
        paper = PAPER.get(k, ("-", "-"))
        print(f"{k:10}   {clean:14.2%} ({paper[0]})   {median:13} ({paper[1]})   {member:10.2%}")
        display = CertifiedAccuracyDisplay.from_predictions(
            y_test, y_pred, radius, threat="label_flip", name=f"{k} partitions", ax=ax
        )
        if k in PAPER:
            color = display.line_.get_color()
            ax.plot(paper[1], 0.5, "o", color=color, mfc="white", mew=2, ms=8, zorder=3)
    ax.set_title(f"CIFAR-10, {N_TRAIN:,} labels")


try:
    data = *load("train", N_TRAIN), *load("test", N_TEST)
except OSError as error:
    print(f"Skipped: {error}")
else:
    compare(*data)
plt.show()

# %%
# Circles are the paper's medians. One layer of patches is far from a trained network, and the
# vote shows it at once: a member with 50 labels is right on one image in three, and what most
# members do not know no vote can certify. The settings were chosen on 5000 training images held
# out, never on test images.
#
# **What this does not show:** a limit of the method. The certificate is the same for any features
# that have seen no label; those of a better network can be passed in as they are. And whoever can
# add or alter *images* can turn the features: all radii here are about labels alone.
#
# .. [1] A. Levine and S. Feizi. Deep Partition Aggregation: Provable Defenses against General
#    Poisoning Attacks. ICLR 2021.
# .. [2] A. Coates, H. Lee and A. Y. Ng. An analysis of single-layer networks in unsupervised
#    feature learning. AISTATS 2011.
