"""Table 1 of the DPA paper, from training to the last digit, beside the paper's own numbers.

    python benchmarks/reproduce_table1.py --fast                       # all rows in a minute, tiny
    python benchmarks/reproduce_table1.py --dataset mnist --method dpa --k 1200 --device cuda \\
        --memory cache --checkpoint checkpoints

Levine and Feizi, "Deep Partition Aggregation", ICLR 2021: DPA with Networks in Networks, SS-DPA
with RotNet (MNIST) or SimCLR (CIFAR-10, GTSRB) and heads on their features. Without --fast the
settings are the paper's and want a GPU; where there is none, the script says so and stops. Data
comes from the folder that CERTIFIED_ENSEMBLES_DATA names.
--memory keeps trained members and --checkpoint the state of a representation in training:
the same command goes on where it was killed, and ends with the same numbers.

Where this differs from the paper: heads see each image as it is, not cropped or jittered anew in
every epoch; GTSRB is 32 x 32 instead of 48 x 48, with partitions by the sums and ranks of the
original images; the copy of CIFAR-10 may be lossy, and then its partitions are not the paper's.
--equalize is the paper's Table 4: GTSRB with equalised histograms.
"""

import argparse
import time
import warnings
from contextlib import suppress

import numpy as np
import torch
from sklearn.frozen import FrozenEstimator

from certified_ensembles import (
    CertificateWarning,
    DeepPartitionAggregation,
    SemiSupervisedDPA,
)
from certified_ensembles.certificates import plurality_radius
from certified_ensembles.datasets import fetch_cifar10, fetch_gtsrb, fetch_mnist, load_digits
from certified_ensembles.hashers import ContentHasher
from certified_ensembles.metrics import median_certified_radius
from certified_ensembles.nets import (
    ConvHead,
    LinearHead,
    NetworkInNetwork,
    RotNet,
    SeededNetClassifier,
    SimCLR,
    paper_settings,
)

with suppress(ImportError):  # in a checkout, forms of the data that its tests know are read, too
    import _checkout  # noqa: F401

# k: median radius (None: clean accuracy is below 50 %), clean and base accuracy in percent.
PAPER = {
    ("mnist", "dpa"): {1200: (448, 95.85, 76.97), 3000: (509, 93.36, 49.54)},
    ("mnist", "ss-dpa"): {1200: (485, 95.62, 80.77), 3000: (645, 93.90, 57.65)},
    ("cifar10", "dpa"): {
        50: (9, 70.16, 56.39),
        250: (5, 55.65, 35.17),
        1000: (None, 44.52, 23.20),
    },
    ("cifar10", "ss-dpa"): {
        50: (25, 90.89, 89.06),
        250: (124, 90.33, 86.25),
        1000: (392, 89.02, 75.83),
    },
    ("gtsrb", "dpa"): {50: (20, 89.20, 73.94), 100: (4, 55.90, 35.64)},
    ("gtsrb", "ss-dpa"): {
        50: (25, 97.09, 96.35),
        100: (50, 96.76, 94.96),
        200: (99, 96.34, 91.54),
        400: (176, 95.80, 83.60),
    },
}
EQUALIZED = {50: (23, 91.84, 80.98), 100: (21, 77.81, 54.83)}  # Table 4, DPA
N_CLASSES = {"mnist": 10, "cifar10": 10, "gtsrb": 43}
N_FAST = 400, 150  # training and test images
FAST_WIDTH = 0.1


# ---------------------------------------------------------------- images


class Lookup:
    """Hasher by numbers known beforehand: those of the original images, found by content."""

    def __init__(self, images, values):
        self.values = dict(zip(ContentHasher()(images).tolist(), values.tolist(), strict=True))
        self.ambiguous = len(images) - len(self.values)

    def __call__(self, X):
        return np.array([self.values[digest] for digest in ContentHasher()(X).tolist()])


def equalize(images):
    """Spread the values of every channel of every image over 0..255, in their order."""
    levels = np.empty_like(images)
    for image, out in zip(images, levels, strict=True):
        for channel, flat in zip(image, out, strict=True):
            counts = np.bincount(channel.ravel(), minlength=256)
            below = np.cumsum(counts) - counts
            largest = channel.size - counts[channel.max()]
            flat[...] = np.rint(below * 255 / max(largest, 1)).astype(np.uint8)[channel]
    return levels


def load(dataset, fast):
    """Return training and test images, n x c x h x w, with labels, and the two partitions."""
    fetch = {"mnist": fetch_mnist, "cifar10": fetch_cifar10, "gtsrb": fetch_gtsrb}[dataset]
    try:
        train, test = (fetch(subset=s, download_if_missing=not fast) for s in ("train", "test"))
    except OSError:
        if not fast:
            raise
        print(f"{dataset} is not there: scikit-learn's 8 x 8 digits stand in for it")
        train, test = (load_digits(subset=s) for s in ("train", "test"))
    X, y, X_test, y_test = train.images, train.target, test.images, test.target
    hasher, partitioner = "pixel_sum", "sorted"
    sums, ranks = train.get("orig_pixel_sum"), train.get("orig_lex_rank")
    if fast:
        rng = np.random.default_rng(0)
        rows, rows_test = (
            np.sort(rng.permutation(len(labels))[:n])
            for labels, n in zip((y, y_test), N_FAST, strict=True)
        )
        X, y, X_test, y_test = X[rows], y[rows], X_test[rows_test], y_test[rows_test]
        sums, ranks = (v if v is None else v[rows] for v in (sums, ranks))
    X, X_test = (a[:, None] if a.ndim == 3 else a.transpose(0, 3, 1, 2) for a in (X, X_test))
    X, X_test = np.ascontiguousarray(X), np.ascontiguousarray(X_test)
    if sums is not None:
        hasher = Lookup(X, sums)
        assert hasher.ambiguous == 0, "two images became equal by resizing"
    if ranks is not None:
        partitioner = Lookup(X, ranks)
    return X, y, X_test, y_test, hasher, partitioner


# ---------------------------------------------------------------- ensembles


def classifier(module, settings, n_classes, args, **params):
    if args.fast:
        # Heads are cheap; their partitions hold so few images that an epoch is one step.
        epochs = 3 if module is NetworkInNetwork else 30
        settings = settings | {"max_epochs": epochs, "lr_milestones": (), "lr": 0.05}
    return SeededNetClassifier(
        module,
        classes=list(range(n_classes)),
        device=args.device,
        precision=args.precision,
        **settings | params,
    )


def net_of_dpa(dataset, X, n_classes, args):
    params = {"flip": dataset == "cifar10"}
    if args.fast:
        if dataset != "mnist":
            params["stack_size"] = 1  # fewer members than slots
        params |= {"module__width": FAST_WIDTH, "crop_padding": X.shape[2] // 8}
    return classifier(NetworkInNetwork, paper_settings("nin"), n_classes, args, **params)


def representation_of(dataset, X, args):
    """Return an unfitted representation, with the paper's settings but for --fast."""
    common = {
        "device": args.device,
        "precision": args.precision,
        "checkpoint": args.checkpoint,
        "verbose": 1 - args.fast,
    }
    if dataset == "mnist":
        if args.fast:
            common |= {"width": FAST_WIDTH, "epochs": 2, "padding": X.shape[2] // 8}
        return RotNet(**common)
    common["flip"] = dataset == "cifar10"
    if dataset == "gtsrb":
        common |= {"batch_size": 256, "warmup": 0}
    if args.fast:
        common |= {"width": 4, "epochs": 2, "batch_size": 128, "warmup": 0, "learning_rate": 0.05}
    return SimCLR(**common)


def head_on(representation, n_classes, args):
    if isinstance(representation, RotNet):
        channels = round(192 * representation.width)
        params = {"module__in_channels": channels, "module__channels": channels}
        return classifier(ConvHead, paper_settings("rotnet-head"), n_classes, args, **params)
    return classifier(LinearHead, paper_settings("simclr-head"), n_classes, args)


def ensemble(method, estimator, k, n_classes, representation, hasher, partitioner, args):
    common = {"classes": range(n_classes), "memory": args.memory, "verbose": 1 - args.fast}
    if method == "dpa":
        return DeepPartitionAggregation(estimator, k, hasher=hasher, **common)
    return SemiSupervisedDPA(
        estimator,
        k,
        representation=FrozenEstimator(representation),
        partitioner=partitioner,
        **common,
    )


def measure(clf, X, y, X_test, y_test):
    """Fit and ask every member once; return median, clean and base accuracy, and the seconds."""
    start = time.perf_counter()
    with warnings.catch_warnings():
        # Empty partitions are part of the paper's setting, and of small samples.
        warnings.simplefilter("ignore", CertificateWarning)
        clf.fit(X, y)
    fitted = time.perf_counter()
    ballots = clf.ballots(X_test)  # what certify asks for; here they also give the base accuracy
    votes = np.stack([(ballots == c).sum(axis=1) for c in range(len(clf.classes_))], axis=1)
    winner, radius = plurality_radius(votes)
    seconds = fitted - start, time.perf_counter() - fitted
    codes = np.searchsorted(clf.classes_, y_test)
    median = median_certified_radius(codes, winner, radius)
    clean, base = (winner == codes).mean(), (ballots == codes[:, None]).mean()
    return (None if median < 0 else median, 100 * clean, 100 * base), seconds


# ---------------------------------------------------------------- the table


def cells(numbers):
    median, clean, base = numbers
    return ("N/A" if median is None else str(median), f"{clean:.2f} %", f"{base:.2f} %")


def print_row(*columns):
    # Here and in the paper: median radius, clean and base accuracy.
    widths = (8, 7, 5, 7, 7, 8, 9, 8, 9, 8, 10, 9)
    print("  ".join(f"{c!s:>{w}}" for c, w in zip(columns, widths, strict=True)), flush=True)


def print_head(args, device):
    if args.fast:
        print(
            f"FAST: {N_FAST[0]} training images, nets {FAST_WIDTH} times as wide, a few epochs, "
            "k as much smaller: only the form of the table is the paper's."
        )
    print(f"Device: {device}. Radii in insertions and deletions (dpa) or label flips (ss-dpa).")
    print_row(
        "dataset",
        "method",
        "k",
        "median",
        "(paper)",
        "clean",
        "(paper)",
        "base",
        "(paper)",
        "fit",
        "s / member",
        "ask",
    )


def device_name(device):
    return torch.cuda.get_device_name(device) if device.startswith("cuda") else "CPU"


def parse_args():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--dataset", nargs="+", choices=list(N_CLASSES), default=list(N_CLASSES))
    parser.add_argument(
        "--method", nargs="+", choices=["dpa", "ss-dpa"], default=["dpa", "ss-dpa"]
    )
    parser.add_argument(
        "--k",
        nargs="+",
        type=int,
        default=None,
        help="numbers of partitions; all of the paper's by default",
    )
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:1, ...")
    parser.add_argument("--precision", default="float32", choices=["float32", "bfloat16"])
    parser.add_argument(
        "--equalize", action="store_true", help="equalise the histograms of GTSRB, as in Table 4"
    )
    parser.add_argument("--fast", action="store_true", help="all rows in a minute on two cores")
    parser.add_argument("--memory", default=None, help="folder for trained members")
    parser.add_argument("--checkpoint", default=None, help="folder for representations")
    args = parser.parse_args()
    cuda = torch.cuda.is_available()
    if args.device.startswith("cuda") and not cuda:
        parser.error(
            f"--device {args.device} needs a GPU, and torch finds none; --fast runs on a CPU"
        )
    if args.device == "auto":
        if not (cuda or args.fast):
            parser.error(
                "the paper's settings want a GPU, and torch finds none: pass --fast for a small "
                "run that shows the form of the table, or --device cpu if you have weeks"
            )
        args.device = "cuda" if cuda else "cpu"
    return args


def main():
    args = parse_args()
    started = time.perf_counter()
    print_head(args, device_name(args.device))
    for dataset in args.dataset:
        X, y, X_test, y_test, hasher, partitioner = load(dataset, args.fast)
        images, images_test = X, X_test
        if args.equalize and dataset == "gtsrb":
            X, X_test = equalize(X), equalize(X_test)
            hasher, partitioner = (
                Lookup(X, h(images)) if callable(h) else h for h in (hasher, partitioner)
            )
        for method in args.method:
            paper = PAPER[dataset, method]
            if X is not images:
                paper = EQUALIZED if method == "dpa" else {}
            representation = None
            if method == "ss-dpa":
                start = time.perf_counter()
                representation = representation_of(dataset, X, args).fit(X)
                print(
                    f"{type(representation).__name__} of {dataset}: "
                    f"{time.perf_counter() - start:.1f} s, last loss "
                    f"{representation.losses_[-1]:.3f}",
                    flush=True,
                )
            for k in args.k or PAPER[dataset, method]:
                used = max(5, round(k * len(X) / 60_000)) if args.fast else k
                estimator = (
                    net_of_dpa(dataset, X, N_CLASSES[dataset], args)
                    if method == "dpa"
                    else head_on(representation, N_CLASSES[dataset], args)
                )
                clf = ensemble(
                    method,
                    estimator,
                    used,
                    N_CLASSES[dataset],
                    representation,
                    hasher,
                    partitioner,
                    args,
                )
                result, (fit, ask) = measure(clf, X, y, X_test, y_test)
                theirs = cells(paper[k]) if k in paper else ("-", "-", "-")
                pairs = [cell for both in zip(cells(result), theirs, strict=True) for cell in both]
                print_row(
                    dataset,
                    method,
                    used,
                    *pairs,
                    f"{fit:.1f} s",
                    f"{fit / used:.3f}",
                    f"{ask:.1f} s",
                )
        del images, images_test
    print(f"{time.perf_counter() - started:.0f} s in all, on {device_name(args.device)}")
    if args.fast:
        print("FAST: none of these numbers is a result.")


if __name__ == "__main__":
    main()
