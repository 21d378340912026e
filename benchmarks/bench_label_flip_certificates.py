"""Label-flip certificates beside what one would write first with numpy, in one run.

    python benchmarks/bench_label_flip_certificates.py [--fast] [--repeat N]
        [--output docs/_static]

Two rivals, both vectorised numpy: for the exact radius, one sort of the drops per test point and
rival; for the Chernoff margin, Newton's method on the whole matrix of weights, one pair of
classes after another. Each pair of competitors alternates; printed are medians of the processor
time per test point, and the spread of the ratios. The weights are those of ridge regression: on
Gaussian classes, or, where the environment variable CERTIFIED_ENSEMBLES_DATA names a folder that
holds mnist.npz, on 50 principal components of MNIST. Run with OMP_NUM_THREADS=1 to compare single
threads.
"""

import argparse
import os
import resource
import statistics
import time
from pathlib import Path

import numpy as np
from _machine import machine_line, show_ratio, table, write_table

from certified_ensembles.certificates import (
    chernoff_log_error,
    flips_from_margin,
    linear_smoother_radius,
)


def sort_per_point(weights, y, n_classes):
    """Exact winner and radius by the definition."""
    winners, radii = [], []
    for a in weights:
        scores = np.array([a[y == k].sum() for k in range(n_classes)])
        c = int(scores.argmax())
        radius = len(y)
        for b in range(n_classes):
            if b == c:
                continue
            drops = np.where(
                y == c,
                2 * np.maximum(a, 0),
                np.where(y == b, 2 * np.maximum(-a, 0), np.abs(a)),
            )
            sums = np.cumsum(np.sort(drops)[::-1])
            side = "right" if c < b else "left"
            radius = min(radius, int(np.searchsorted(sums, scores[c] - scores[b], side)))
        winners.append(c)
        radii.append(radius)
    return np.array(winners), np.array(radii)


def newton_on_the_matrix(weights, y, noise, n_classes, tolerance=1e-6):
    """Winner and worst Chernoff exponent, all points of a pair of classes at once."""
    p = noise / (n_classes - 1)
    winner = (weights @ np.eye(n_classes)[y]).argmax(axis=1)
    log_error = np.full(len(weights), -np.inf)
    for c in range(n_classes):
        rows = np.flatnonzero(winner == c)
        for b in set(range(n_classes)) - {c}:
            if not rows.size:
                continue
            a = weights[rows]
            up = np.where(y == c, 1 - noise, p)
            down = np.where(y == b, 1 - noise, p)
            t = np.zeros(len(rows))
            lowest = np.zeros(len(rows))
            for _ in range(30):
                e = np.exp(t[:, None] * a)
                whole = up / e + (1 - up - down) + down * e
                lowest = np.minimum(lowest, np.log(whole).sum(axis=1))
                ratio = (down * e - up / e) / whole
                slope = (a * ratio).sum(axis=1)
                curvature = (a**2 * ((down * e + up / e) / whole - ratio**2)).sum(axis=1)
                step = slope / curvature
                t = np.maximum(t - step, 0)
                if (np.abs(step) <= tolerance * t).all():
                    break
            log_error[rows] = np.maximum(log_error[rows], lowest)
    return winner, log_error


class RidgeWeights:
    """Label-free weights of ridge regression on given features, in blocks of test points."""

    def __init__(self, train, test, penalty):
        gram = train.T @ train + penalty * np.eye(train.shape[1])
        self._right = np.linalg.solve(gram, train.T)
        self._test = test

    def __len__(self):
        return len(self._test)

    def __getitem__(self, rows):
        return self._test[rows] @ self._right


def gaussian_task(n_train, n_test, n_classes, seed=0):
    rng = np.random.default_rng(seed)
    means = 0.6 * rng.normal(size=(n_classes, 50))
    y, y_test = rng.integers(0, n_classes, n_train), rng.integers(0, n_classes, n_test)
    train = means[y] + rng.normal(size=(n_train, 50))
    test = means[y_test] + rng.normal(size=(n_test, 50))
    return RidgeWeights(train, test, 1.0 * n_train), y, y_test


def mnist_task(folder, digits):
    with np.load(Path(folder) / "mnist.npz") as file:
        data = {name: file[name] for name in ("x_train", "y_train", "x_test", "y_test")}
    keep, keep_test = (np.isin(data[name], digits) for name in ("y_train", "y_test"))
    train = data["x_train"][keep].reshape(keep.sum(), -1) / 255.0
    test = data["x_test"][keep_test].reshape(keep_test.sum(), -1) / 255.0
    mean = train.mean(axis=0)
    train, test = train - mean, test - mean
    _, vectors = np.linalg.eigh(train.T @ train)
    top = vectors[:, -50:]
    y, y_test = (
        np.searchsorted(digits, data[name][rows])
        for name, rows in (("y_train", keep), ("y_test", keep_test))
    )
    return RidgeWeights(train @ top, test @ top, 10.0 * len(y)), y, y_test


def compare(name, rival, ours, repeat):
    """Alternate two (function, number of points) pairs; return times and their ratio per point."""
    seconds = {"rival": [], "ours": []}
    for _ in range(repeat):
        for key, (function, n_points) in (("rival", rival), ("ours", ours)):
            start = time.process_time()
            function()
            seconds[key].append((time.process_time() - start) / n_points)
    ratios = [a / b for a, b in zip(seconds["rival"], seconds["ours"], strict=True)]
    micro = [statistics.median(seconds[key]) * 1e6 for key in ("rival", "ours")]
    ratio = show_ratio((statistics.median(ratios), min(ratios), max(ratios)))
    print(f"  {name:44s} {micro[0]:9.0f} us {micro[1]:9.0f} us   {ratio}", flush=True)
    return [name, *(f"{value:,.0f}" for value in micro), ratio]


def benchmark(title, task, noise, *, n_exact, n_chernoff, repeat):
    """Compare on the first test points, rivals on fewer of them; return the rows of the table."""
    weights, y, _ = task
    n_classes = int(y.max()) + 1
    print(f"{title}: {len(y)} training labels, {n_classes} classes, noise {noise}")
    block = weights[: max(20 * n_exact, n_chernoff)]
    few, many = block[:n_exact], block[: 20 * n_exact]
    order = np.argsort(y, kind="stable")
    by_label = np.ascontiguousarray(many[:, order])

    np.testing.assert_array_equal(
        sort_per_point(few, y, n_classes), linear_smoother_radius(few, y, n_classes)
    )
    rival = (lambda: sort_per_point(few, y, n_classes), len(few))
    lines = []
    for name, ours in (
        ("exact radius", lambda: linear_smoother_radius(many, y, n_classes)),
        (
            "exact radius, training rows sorted by label",
            lambda: linear_smoother_radius(by_label, y[order], n_classes),
        ),
    ):
        lines.append(compare(name, rival, (ours, len(many)), repeat))

    points = block[:n_chernoff]
    lines.append(
        compare(
            f"Chernoff margin, {len(points)} points at once",
            (lambda: newton_on_the_matrix(points, y, noise, n_classes), len(points)),
            (lambda: chernoff_log_error(points, y, noise, n_classes), len(points)),
            max(1, repeat // 2),
        )
    )
    _, newton = newton_on_the_matrix(points[:20], y, noise, n_classes)
    _, ours = chernoff_log_error(points[:20], y, noise, n_classes)
    relative = (ours - newton) / np.maximum(np.abs(newton), 1)
    print(
        f"    exponent: ours minus numpy's at most {relative.max():.1e} of it; numpy's Newton ran"
        f" away on {100 * np.mean(relative < -1e-3):.0f} % of the points"
    )
    return [[f"{title}, {len(y):,} labels", *line] for line in lines]


def certify_all(title, task, noise, block_rows=500):
    """Certify every test point in blocks, weights included, and print accuracy at some flips."""
    weights, y, y_test = task
    n_classes = int(y.max()) + 1
    spent = {"weights": 0.0, "exact": 0.0, "tight": 0.0}
    radius = {"exact": [], "tight": []}
    winners = []

    def timed(key, function, *arguments, **options):
        start = time.process_time()
        result = function(*arguments, **options)
        spent[key] += time.process_time() - start
        return result

    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for start in range(0, len(weights), block_rows):
        block = timed("weights", weights.__getitem__, slice(start, start + block_rows))
        winner, exact = timed("exact", linear_smoother_radius, block, y, n_classes)
        _, log_error = timed("tight", chernoff_log_error, block, y, noise, n_classes)
        radius["tight"].append(
            timed("tight", flips_from_margin, log_error, noise, n_classes, max_radius=len(y))
        )
        radius["exact"].append(exact)
        winners.append(winner)
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    right = np.concatenate(winners) == y_test
    print(f"{title}: all {len(weights)} points, peak memory grew by {grown:.0f} MiB")
    print("  seconds: " + ", ".join(f"{key} {value:.2f}" for key, value in spent.items()))
    for key, parts in radius.items():
        flips = np.concatenate(parts)
        shares = [f"{100 * np.mean(right & (flips >= r)):.1f} %" for r in (0, 1, 500, 1000, 2000)]
        print(
            f"  {key:6s} right and certified at 0, 1, 500, 1000, 2000 flips: " + ", ".join(shares)
        )


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--fast", action="store_true", help="a fraction of the points, two rounds")
    parser.add_argument("--repeat", type=int, help="rounds of each comparison")
    parser.add_argument("--output", help="folder for bench_label_flip_certificates.txt")
    options = parser.parse_args()
    about = machine_line()
    print(about)
    repeat = options.repeat or (2 if options.fast else 7)
    folder = os.environ.get("CERTIFIED_ENSEMBLES_DATA")
    if folder:
        binary, ten = mnist_task(folder, [1, 7]), mnist_task(folder, list(range(10)))
        names = "MNIST 1/7", "MNIST"
    else:
        binary, ten = gaussian_task(13_007, 2_163, 2), gaussian_task(60_000, 10_000, 10)
        names = "Gaussian classes, binary", "Gaussian classes, ten"
    # First, while the peak of memory is still that of the certificates.
    if not options.fast:
        certify_all(names[1], ten, 0.1)
    certify_all(names[0], binary, 0.3)
    print(f"\n{'':46s} {'numpy':>12s} {'ours':>12s} {'ratio of medians':>18s}")
    n_binary = 100 if options.fast else len(binary[0])
    lines = benchmark(names[0], binary, 0.3, n_exact=25, n_chernoff=n_binary, repeat=repeat)
    n_ten = 8 if options.fast else 60
    lines += benchmark(names[1], ten, 0.1, n_exact=10, n_chernoff=n_ten, repeat=repeat)
    if options.output:
        text = table(["Labels", "certificate", "numpy (us)", "ours (us)", "numpy / ours"], lines)
        write_table("bench_label_flip_certificates", about, text, options.output)


if __name__ == "__main__":
    main()
