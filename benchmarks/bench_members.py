"""Data-efficient members on GTSRB and CIFAR-10, beside what the project set out to reach.

    python benchmarks/bench_members.py [--data gtsrb cifar10] [--partitions 50 100 250]
                                       [--aggregators plurality run_off] [--spread-degree 1]
                                       [--n-jobs 2] [--fast]

Every member sees the images of its own partition and nothing else; all features are fixed maps
(filters from scikit-learn's two photographs). Settings were chosen on training images held out
(for GTSRB whole tracks), never on test images. Printed are the accuracy on all test images, the
median certified radius (insertions plus deletions that half of the test images survive) and
seconds. The data are looked for on disk, see `certified_ensembles.datasets`.
"""

import argparse
import resource
import time
from contextlib import suppress

import joblib
import numpy as np
from sklearn.linear_model import RidgeClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

from certified_ensembles import DeepPartitionAggregation
from certified_ensembles.datasets import fetch_cifar10, fetch_gtsrb
from certified_ensembles.features import HOGFeatures, ImageViews, PatchFeatures
from certified_ensembles.kernels import KernelRidgeClassifier
from certified_ensembles.metrics import median_certified_radius

with suppress(ImportError):  # in a checkout, forms of the data that its tests know are read, too
    import _checkout  # noqa: F401

# (data, partitions): the median radius to exceed at this clean accuracy.
TARGETS = {
    ("gtsrb", 50): (20, 0.892),
    ("gtsrb", 100): (28, 0.824),
    ("cifar10", 50): (9, 0.702),
    ("cifar10", 250): (5, 0.557),
}
SLICE = 2560  # test images asked at a time: bounds the memory for their features


def colours(images):
    """Mean and spread of each colour in 8 x 8 pixels: a fixed map, one image at a time."""
    cells = images.astype(np.float64).reshape(-1, 4, 8, 4, 8, 3) / 255
    cells = np.stack([cells.mean(axis=(2, 4)), cells.std(axis=(2, 4))], axis=1)
    return cells.reshape(len(images), -1)


def gtsrb_member():
    """Ridge on gradients and on equalised grey patches: members are stacked, hence fast."""
    maps = [
        HOGFeatures((3, 6), n_orientations=12),
        PatchFeatures(256, patch_size=8, grid=4, equalize=True),
    ]
    return make_pipeline(ImageViews(maps, mirror=False), RidgeClassifier(alpha=0.1))


def cifar10_member():
    """Kernel ridge on two blocks of features, of each image and of its mirror image."""
    maps = [
        HOGFeatures((4, 8)),
        FunctionTransformer(colours),
        PatchFeatures(512, patch_size=6, whitening=0.01),
        PatchFeatures(512, patch_size=8, whitening=0.01),
    ]
    head = KernelRidgeClassifier(
        alpha=0.03,
        width=[2.0, 0.8],
        blocks=[2088 + 96, 4096 + 4096],
        n_components=300,
        whitening=0.3,
    )
    return make_pipeline(ImageViews(maps), head)


MEMBERS = {"gtsrb": (fetch_gtsrb, gtsrb_member), "cifar10": (fetch_cifar10, cifar10_member)}


def run(data, k, aggregators, spread_degree, n_jobs, fast):
    fetch, make_member = MEMBERS[data]
    X, y = fetch(subset="train", return_X_y=True, download_if_missing=False)
    X_test, y_test = fetch(subset="test", return_X_y=True, download_if_missing=False)
    rng = np.random.default_rng(0)
    if fast:  # a tenth of partitions and rows: members of the same size
        keep, asked = rng.permutation(len(X))[: len(X) // 10], rng.permutation(len(X_test))[:512]
        X, y, X_test, y_test, k = X[keep], y[keep], X_test[asked], y_test[asked], k // 10
    start = time.perf_counter()
    clf = DeepPartitionAggregation(
        make_member(), k, classes=np.unique(y_test), spread_degree=spread_degree, n_jobs=n_jobs
    ).fit(X, y)
    trained = time.perf_counter() - start
    for aggregation in aggregators:
        start = time.perf_counter()
        clf.set_params(aggregation=aggregation)
        parts = [clf.certify(X_test[a : a + SLICE]) for a in range(0, len(X_test), SLICE)]
        y_pred, radius = (np.concatenate(part) for part in zip(*parts, strict=True))
        asked = time.perf_counter() - start
        target, clean = TARGETS.get((data, k), (None, None))
        wanted = f"more than {target} at {clean:.1%}" if target is not None else "-"
        accuracy = (y_pred == y_test).mean()
        median = median_certified_radius(y_test, y_pred, radius)
        print(
            f"{data:8} {k:4} {aggregation:10} d = {spread_degree}   clean {accuracy:.2%}   "
            f"median {median:3}   (target: {wanted})   "
            f"fit {trained:.0f} s, certify {asked:.0f} s",
            flush=True,
        )


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data", nargs="+", default=list(MEMBERS), choices=list(MEMBERS))
    parser.add_argument("--partitions", nargs="+", type=int)
    parser.add_argument("--aggregators", nargs="+", default=["plurality"])
    parser.add_argument("--spread-degree", type=int, default=1)
    parser.add_argument("--n-jobs", type=int, default=2)
    parser.add_argument("--fast", action="store_true")
    args = parser.parse_args()
    with joblib.parallel_config(backend="threading"):  # members need not travel
        for data, k in TARGETS:
            if data in args.data and (args.partitions is None or k in args.partitions):
                run(data, k, args.aggregators, args.spread_degree, args.n_jobs, args.fast)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(f"peak memory {peak:.1f} GiB")


if __name__ == "__main__":
    main()
