"""What SemiSupervisedDPA reaches: every target beside what is measured, seconds and memory.

    python benchmarks/bench_ssdpa.py [--fast] [--repeats 3]
        [--only mnist one_label heads members attack gtsrb cifar10]

Needs CERTIFIED_ENSEMBLES_DATA, a folder with MNIST (and GTSRB and CIFAR-10, whose examples it
runs). Label sets are closed. Each task runs in a process of its own, so that peak memory is its;
`heads` uses one BLAS thread a job. All features are learned without labels, the settings were
chosen on training rows held out.
"""

import argparse
import itertools
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from joblib import Memory
from sklearn.base import clone
from sklearn.cluster import KMeans
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression, RidgeClassifier
from sklearn.neighbors import NearestCentroid
from sklearn.pipeline import make_pipeline
from threadpoolctl import threadpool_limits

from certified_ensembles import SemiSupervisedDPA
from certified_ensembles.certificates import plurality_radius
from certified_ensembles.datasets import fetch_mnist
from certified_ensembles.features import Deskew, HOGFeatures
from certified_ensembles.hashers import ContentHasher, canonical_order
from certified_ensembles.metrics import median_certified_radius
from certified_ensembles.representations import LaplacianEigenmap
from certified_ensembles.smoothers import ClusterVote

# Of a loop of clones one member in so many is run: the others take as long.
LOOP_STEP = 4
EXAMPLES = Path(__file__).resolve().parent.parent / "examples"


def mnist(fast, digits=range(10)):
    """Return training images and labels, test images and labels."""
    parts = []
    for subset in ("train", "test"):
        X, y = fetch_mnist(subset=subset, return_X_y=True, download_if_missing=False)
        rows = np.flatnonzero(np.isin(y, digits))[:: 10 if fast else 1]
        parts += [X[rows], y[rows]]
    return parts


def gradients():
    return [Deskew(), HOGFeatures(signed=False), PCA(100, svd_solver="covariance_eigh")]


def beside(name, measured, target, paper=None):
    """Print a measured figure beside its target and the paper's."""
    line = f"  {name:42} {measured:>19}   target {target}"
    print(line + (f"   paper {paper}" if paper is not None else ""), flush=True)


def quiet(function, *args):
    with np.errstate(invalid="ignore"):  # a member that holds each label once has no variance
        return function(*args)


# ---------------------------------------------------------------- accuracy


def eigenmap_of_mnist(args):
    X, y, X_test, y_test = mnist(args.fast)
    wanted = {1200: (594, (485, "95.62%")), 3000: (1270, (645, "93.90%")), 6000: (1690, None)}
    with tempfile.TemporaryDirectory() as folder:
        for k, (target, paper) in wanted.items():
            clf = SemiSupervisedDPA(
                NearestCentroid(),
                k // 10 if args.fast else k,
                representation=make_pipeline(*gradients(), LaplacianEigenmap(9, n_jobs=2)),
                classes=range(10),
                n_jobs=2,
            )
            start = time.perf_counter()
            # The representation is the same for all k. Fitted once, then taken from disk.
            quiet(clf.set_params(memory=Memory(folder, verbose=0)).fit, X, y)
            fitted = time.perf_counter()
            y_pred, radius = clf.certify(X_test)
            seconds = f"fit {fitted - start:.1f} s, certify {time.perf_counter() - fitted:.1f} s"
            print(f"\nMNIST, nearest centroids on an eigenmap, k = {clf.n_partitions}: {seconds}")
            median = median_certified_radius(y_test, y_pred, radius)
            beside("median radius", median, f">= {target}", paper and paper[0])
            clean = f"{(y_pred == y_test).mean():.2%}"
            beside("clean accuracy", clean, ">= 98.5%", paper and paper[1])


def one_label(args):
    X, y, X_test, y_test = mnist(args.fast, (1, 7))
    clf = SemiSupervisedDPA(
        ClusterVote(KMeans(2, n_init=10), votes="swap"),
        "n_samples",
        representation=make_pipeline(*gradients(), LaplacianEigenmap(1, n_jobs=2)),
        classes=[1, 7],
        n_jobs=2,
    )
    start = time.perf_counter()
    y_pred, radius = clf.fit(X, y).certify(X_test)
    correct = y_pred == y_test
    print(f"\nMNIST 1/7, {len(y)} members of one label: {time.perf_counter() - start:.1f} s")
    beside("clean accuracy", f"{correct.mean():.2%}", ">= 99.5%", "95.5%")
    beside("smallest radius of a correct image", radius[correct].min(), "> 6400", 5952)


def run_example(name, args):
    """Run an example, which prints the paper's figures beside its own."""
    env = os.environ | {"MPLBACKEND": "Agg"}
    print(f"\nexamples/{name}:", flush=True)
    start = time.perf_counter()
    script = (
        [str(EXAMPLES / "_short.py"), Path(name).stem] if args.fast else [str(EXAMPLES / name)]
    )
    subprocess.run([sys.executable, *script], env=env, check=True)
    print(f"  {time.perf_counter() - start:.1f} s")


def gtsrb(args):
    run_example("images/plot_gtsrb_ssdpa.py", args)


def cifar10(args):
    run_example("images/plot_cifar10_ssdpa.py", args)


# ---------------------------------------------------------------- seconds


def ours(head, k, X, y, X_test, n_jobs=1):
    clf = SemiSupervisedDPA(head, k, classes=range(10), n_jobs=n_jobs)
    start = time.perf_counter()
    quiet(clf.fit(X, y).certify, X_test)
    return time.perf_counter() - start


def two_jobs(*case):
    return ours(*case, n_jobs=2)


def loop(head, k, X, y, X_test):
    """One clone a partition, one `predict` a clone, the radius of the votes.

    One member in `LOOP_STEP` is trained and asked, and its seconds count as often.
    """
    start = time.perf_counter()
    index = np.unique(X, axis=0, return_inverse=True)[1].reshape(-1)
    votes = np.zeros((len(X_test), 10), dtype=np.int64)
    row = np.arange(len(X_test)) * 10
    members = range(0, k, LOOP_STEP)
    began = time.perf_counter()
    for i in members:
        own = index % k == i
        ballots = clone(head).fit(X[own], y[own]).predict(X_test)
        votes += np.bincount(row + ballots, minlength=votes.size).reshape(votes.shape)
    others = (time.perf_counter() - began) * (k / len(members) - 1)
    plurality_radius(votes)
    return time.perf_counter() - start + others


def floor(head, k, X, y, X_test):
    """What no training can undercut: rows in order and hashed, one product, the best scores."""
    weights = np.random.default_rng(0).normal(size=(X.shape[1], 10 * k)).astype(X.dtype)
    start = time.perf_counter()
    canonical_order(X)
    ContentHasher()(X)
    for at in range(0, len(X_test), 250):
        (X_test[at : at + 250] @ weights).reshape(-1, 10, k).max(axis=1)
    return time.perf_counter() - start


def heads(args):
    X, y, X_test, _ = mnist(args.fast)
    steps = make_pipeline(*gradients())
    data = steps.fit_transform(X), y, steps.transform(X_test)
    k = 120 if args.fast else 1200
    print(
        f"\n{len(y)} x {data[0].shape[1]} features ({data[0].dtype}), k = {k}, fit and certify "
        f"{len(X_test)} rows, one BLAS thread, medians of {args.repeats} interleaved. The loop "
        f"of clones is one process; every {LOOP_STEP}th member of it is run, and scaled. The "
        "workers of two jobs are up before the clock starts."
    )
    two_jobs(RidgeClassifier(), k, *data)
    for name, head in {
        "softmax, C = 1": LogisticRegression(),
        "softmax, C = 100": LogisticRegression(C=100),
        "ridge": RidgeClassifier(),
        "centroids": NearestCentroid(),
    }.items():
        times = {ours: [], two_jobs: [], loop: [], floor: []}
        with threadpool_limits(1):
            for _ in range(args.repeats):
                for run in times:
                    times[run].append(quiet(run, head, k, *data))
        print(f"\n{name}: {head!r}")
        for run, label in ((loop, "loop of clones: seconds"), (floor, "floor: seconds")):
            print(f"  {label:42} {_spread(times[run]):>19}")
        beside("ours, one job: seconds", _spread(times[ours]), "< 15")
        beside("ours, two jobs: seconds", _spread(times[two_jobs]), "< 15")
        for run, label, target in (
            (ours, "loop of clones / ours, one job", ">= 10"),
            (two_jobs, "loop of clones / ours, two jobs", ">= 10"),
            (floor, "loop of clones / floor", "none: what no training would reach"),
        ):
            ratios = [b / a for a, b in zip(times[run], times[loop], strict=True)]
            beside(label, _spread(ratios), target)


def _spread(values):
    """Return the median, the smallest and the largest value, as text."""
    return f"{statistics.median(values):.1f} ({min(values):.1f}-{max(values):.1f})"


# ---------------------------------------------------------------- certificates


def embedded(args):
    """Return MNIST on its eigenmap."""
    X, y, X_test, y_test = mnist(args.fast)
    steps = make_pipeline(*gradients(), LaplacianEigenmap(9, n_jobs=2))
    return steps.fit_transform(X), y, steps.transform(X_test), y_test


def members(args):
    X, y, X_test, y_test = embedded(args)
    for k, target in ((30, ">= 2"), (100, ">= 1.33")):
        medians, radii = [], []
        for certificate in ("ballots", "members"):
            clf = SemiSupervisedDPA(
                RidgeClassifier(), k, certificate=certificate, classes=range(10), n_jobs=2
            )
            start = time.perf_counter()
            y_pred, radius = clf.fit(X, y).certify(X_test)
            seconds = time.perf_counter() - start
            medians.append(median_certified_radius(y_test, y_pred, radius))
            radii.append(radius)
            print(
                f"\nMNIST, ridge on an eigenmap, k = {k}, certificate={certificate!r}: "
                f"{seconds:.1f} s, clean {(y_pred == y_test).mean():.2%}, median "
                f"{medians[-1]}"
            )
        beside("median by members / by ballots", f"{medians[1] / medians[0]:.2f}", target)
        beside("rows below the certificate of the ballots", (radii[1] < radii[0]).sum(), 0)


def poisoned(rng, y, partition, flips, kind, X, target):
    """Return labels of which up to `flips` have changed, against target = (row, class, rival)."""
    y = y.copy()
    if kind == "random":
        rows = rng.choice(len(y), flips, replace=False)
        y[rows] = (y[rows] + rng.integers(1, 10, len(rows))) % 10
        return y
    near = np.argsort(((X - target[0]) ** 2).sum(axis=1), kind="stable")
    near = near[y[near] == target[1]]
    if kind == "one each":  # in as many partitions as possible, the row nearest to the target
        near = near[np.sort(np.unique(partition[near], return_index=True)[1])]
    elif kind == "half":  # a bare majority of the members
        near = near[partition[near] <= partition.max() // 2 + 1]
    y[near[:flips]] = target[2]
    return y


def attack(args):
    """Flip labels of training rows; look at held-out ones, of which no radius may be beaten."""
    X, y, X_test, _ = embedded(args)
    rng = np.random.default_rng(0)
    for k, certificate, head in (
        (120 if args.fast else 1200, "ballots", NearestCentroid()),
        (30, "members", RidgeClassifier()),
    ):
        if certificate == "members":
            X_test = X_test[::10]  # in exact arithmetic: slower
        clf = SemiSupervisedDPA(head, k, certificate=certificate, classes=range(10), n_jobs=2)
        y_pred, radius = quiet(clf.fit(X, y).certify, X_test)
        partition = clf.partition_.copy()
        votes = clf.vote_counts(X_test)
        n_within, n_beaten, n_beyond = 0, 0, 0
        weak = np.argsort(radius, kind="stable")
        kinds = ("random", "nearest", "one each", "half")
        places = (0, len(weak) // 100, len(weak) // 20, len(weak) // 2)
        for kind, place in itertools.product(kinds, places):
            i = weak[place]
            rival = np.argsort(-votes[i], kind="stable")[1]
            budget = max(1, int(radius[i]))
            for flips in (budget, 4 * budget + 2):
                labels = poisoned(rng, y, partition, flips, kind, X, (X_test[i], y_pred[i], rival))
                spent = np.count_nonzero(labels != y)
                after = quiet(clone(clf).fit(X, labels).predict, X_test)
                changed, within = after != y_pred, radius >= spent
                n_within += within.sum()
                n_beaten += (changed & within).sum()
                n_beyond += (changed & ~within).sum()
        print(
            f"\nattacks on k = {k}, certificate={certificate!r}: {2 * len(kinds) * len(places)} "
            f"poisoned fits, {n_within} predictions within their radius"
        )
        beside("predictions changed within the radius", n_beaten, 0)
        beside("predictions changed beyond it", n_beyond, "> 0, or the attacks are idle")


TASKS = {
    "mnist": eigenmap_of_mnist,
    "one_label": one_label,
    "heads": heads,
    "members": members,
    "attack": attack,
    "gtsrb": gtsrb,
    "cifar10": cifar10,
}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--fast", action="store_true", help="every tenth row, a tenth of members")
    parser.add_argument("--only", nargs="+", choices=TASKS, default=list(TASKS))
    parser.add_argument("--repeats", type=int, default=3)
    args = parser.parse_args()
    if "CERTIFIED_ENSEMBLES_DATA" not in os.environ:
        print("CERTIFIED_ENSEMBLES_DATA is not set: nothing to measure on.")
        return
    if len(args.only) > 1:
        options = ["--fast"] * args.fast + ["--repeats", str(args.repeats)]
        command = [sys.executable, __file__, *options, "--only"]
        failed = [name for name in args.only if subprocess.run([*command, name]).returncode]
        sys.exit(f"failed: {failed}" if failed else 0)
    TASKS[args.only[0]](args)
    who = [resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN]
    peak = max(resource.getrusage(usage).ru_maxrss for usage in who) / 1e6
    print(f"  peak memory of a process {peak:.2f} GB", flush=True)


if __name__ == "__main__":
    main()
