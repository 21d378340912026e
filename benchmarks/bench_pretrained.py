"""Heads on pretrained features: CIFAR-10, GTSRB and IMDb, beside what stands in the documentation.

    python benchmarks/bench_pretrained.py [--data cifar10 gtsrb imdb] [--features FOLDER]
                                          [--n-jobs 2] [--fast]

Networks come from the extras [pretrained] and [pretrained-text]. Their features take most of the
time: with PyTorch on one core about 40 ms an image and view, with OpenVINO (``pip install
openvino``), which is taken where it is installed, about 6. They are kept in the folder of
--features, which is asked first: NAME.npy, rows in the order train, test. Heads were chosen on
training rows held out, never on test rows. Printed are the accuracy on all test rows, the median
certified radius (insertions plus deletions; flipped labels) and the seconds to train and certify.
"""

import argparse
import sys
import time
from contextlib import suppress
from pathlib import Path

import numpy as np
from sklearn.decomposition import PCA
from sklearn.linear_model import Ridge, RidgeClassifier
from sklearn.preprocessing import normalize

from certified_ensembles import DeepPartitionAggregation, LabelFlipSmoothingClassifier
from certified_ensembles.datasets import fetch_cifar10, fetch_gtsrb, fetch_imdb
from certified_ensembles.metrics import median_certified_radius

with suppress(ImportError):  # in a checkout, forms of the data that its tests know are read, too
    import _checkout  # noqa: F401

sys.path.append(str(Path(__file__).parents[1] / "examples"))  # where the networks are
BATCH = 16
RUN_OFF, SPREAD = {"aggregation": "run_off"}, {"spread_degree": 4}
# Data: (partitions, alpha of the ridge, how votes are counted).
SETTINGS = {
    "cifar10": [
        *((50, 0.3, how) for how in ({}, RUN_OFF, SPREAD)),
        *((250, 0.1, how) for how in ({}, RUN_OFF, SPREAD)),
        *((1000, 0.05, how) for how in ({}, RUN_OFF, SPREAD)),
    ],
    "gtsrb": [(k, 0.05, how) for k in (50, 100) for how in ({}, RUN_OFF)],
    "imdb": [(k, 0.3, {}) for k in (50, 250, 1000)],
}
# Label flips: components of all training rows, which may be looked at, each of variance 1.
COMPONENTS = {
    "cifar10": [(20, 0.03), (40, 0.03), (60, 0.03), (100, 0.03)],
    "gtsrb": [],
    "imdb": [(40, 0.03)],
}


def images_of(fetch):
    """Return the images and labels of training and test set."""
    parts = [fetch(subset=subset) for subset in ("train", "test")]
    return [part.images for part in parts], [part.target for part in parts]


def reviews():
    """Return the reviews and labels of training and test set."""
    parts = [fetch_imdb(subset=subset) for subset in ("train", "test")]
    return [list(part.data) for part in parts], [part.target for part in parts]


def image_network(size, mirrored):
    """Return the module and what turns images into its input."""
    from _pretrained import ImageFeatures

    return ImageFeatures(size, mirrored), np.asarray


def text_network():
    """Return the module and what turns texts into its input: their ends, which sum them up."""
    from _pretrained import SentenceFeatures, Tokens

    tokens = Tokens(128, "tail")
    return SentenceFeatures(), lambda texts: tokens(texts).numpy()


DATA = {
    "cifar10": (lambda: images_of(fetch_cifar10), lambda: image_network(160, True)),
    "gtsrb": (lambda: images_of(fetch_gtsrb), lambda: image_network(96, False)),
    "imdb": (reviews, text_network),
}


def computed(rows, module, preprocess):
    """Return features in batches of one shape, by OpenVINO where it is, else by torch."""
    try:
        import openvino
    except ImportError:
        from certified_ensembles.nets import FrozenFeatures

        return FrozenFeatures(
            module, preprocess=preprocess, batch_size=BATCH, verbose=1
        ).transform(rows)
    example = preprocess(rows[:BATCH])
    model = openvino.convert_model(module, example_input=example)
    model.reshape(list(example.shape))
    request = openvino.Core().compile_model(model, "CPU").create_infer_request()
    index = np.resize(np.arange(len(rows)), -(-len(rows) // BATCH) * BATCH).reshape(-1, BATCH)
    parts = [request.infer([preprocess([rows[i] for i in own])])[0].copy() for own in index]
    return np.concatenate(parts)[: len(rows)]


def features_of(name, folder, n):
    """Return features and labels of training and test set, n rows at most of each."""
    load, network = DATA[name]
    rows, labels = load()
    file = folder / f"{name}.npy" if folder else None
    if file is not None and file.exists() and n is None:
        X = np.load(file)
    else:
        chosen = [np.random.default_rng(0).permutation(len(y))[:n] for y in labels]
        chosen = [np.sort(own) for own in chosen]
        rows = [part[i] for part, own in zip(rows, chosen, strict=True) for i in own]
        labels = [y[own] for y, own in zip(labels, chosen, strict=True)]
        X = computed(rows, *network())
        if file is not None and n is None:
            np.save(file, X)
    X = normalize(np.sign(X) * np.sqrt(np.abs(X))).astype(np.float32)
    return X[: len(labels[0])], X[len(labels[0]) :], *labels


def report(name, certificate, y_test, start):
    median = median_certified_radius(y_test, *certificate)
    right = (certificate.y_pred == y_test).mean()
    seconds = time.perf_counter() - start
    print(f"{name:<46} {right:7.2%} right, median {median:4d}, {seconds:6.1f} s", flush=True)


def run(name, folder, n_jobs, fast):
    X, X_test, y, y_test = features_of(name, folder, 600 if fast else None)
    print(f"{name}: {len(X)} + {len(X_test)} rows of {X.shape[1]} features")
    for k, alpha, how in SETTINGS[name]:
        start = time.perf_counter()
        head = RidgeClassifier(alpha=alpha)
        dpa = DeepPartitionAggregation(head, k // 10 if fast else k, n_jobs=n_jobs, **how)
        report(f"k = {k} {how or ''}", dpa.fit(X, y).certify(X_test), y_test, start)
    for m, alpha in COMPONENTS[name]:
        start = time.perf_counter()
        flips = LabelFlipSmoothingClassifier(
            Ridge(alpha=alpha * len(X)),
            representation=PCA(m, whiten=True, svd_solver="covariance_eigh"),
            certificate="exact",
            n_jobs=n_jobs,
        )
        report(f"label flips, {m} components", flips.fit(X, y).certify(X_test), y_test, start)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", nargs="+", choices=list(DATA), default=list(DATA))
    parser.add_argument("--features", type=Path)
    parser.add_argument("--n-jobs", type=int, default=2)
    parser.add_argument("--fast", action="store_true")
    given = parser.parse_args()
    for name in given.data:
        run(name, given.features, given.n_jobs, given.fast)


if __name__ == "__main__":
    main()
