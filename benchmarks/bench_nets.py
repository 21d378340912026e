"""Nets of all partitions trained as one, beside the same nets trained one after the other.

    python benchmarks/bench_nets.py [--fast] [--n-partitions 100] [--epochs 100] [--repeats 3]

One run interleaves, on the same partitions of scikit-learn's digits, for three small nets:

- stacked: ``DeepPartitionAggregation.fit`` with a `SeededNetClassifier`, on one job and on two;
- alone: ``SeededNetClassifier.fit``, one clone a partition;
- skorch: plain ``skorch.NeuralNetClassifier``, one clone a partition.

The last two train the first tenth of the partitions, and their times count tenfold. Everything
uses one thread a job. Then one training step of a stack in three ways (what was measured
before one was chosen), and the floor of the paper's experiment on MNIST: the arithmetic of 1200
nets, and the time of the machine at hand at the speed of its matrix products.
"""

import argparse
import statistics
import time

import numpy as np
import skorch
import torch
from sklearn.base import clone
from sklearn.datasets import load_digits
from torch import nn
from torch.func import functional_call, stack_module_state, vmap
from torch.utils.flop_counter import FlopCounterMode

from certified_ensembles import DeepPartitionAggregation
from certified_ensembles.hashers import ContentHasher
from certified_ensembles.nets import LinearHead, NetworkInNetwork, SeededNetClassifier
from certified_ensembles.nets._batched.stack import BatchedModule
from certified_ensembles.nets._batched.tracing import operations_of

SGD = {"optimizer": torch.optim.SGD, "optimizer__momentum": 0.9, "optimizer__nesterov": True}


class Perceptron(nn.Module):
    def __init__(self, n_features=64, n_classes=10):
        super().__init__()
        self.layers = nn.Sequential(
            nn.Flatten(), nn.Linear(n_features, 64), nn.ReLU(), nn.Linear(64, n_classes)
        )

    def forward(self, x):
        return self.layers(x)


class SmallConv(nn.Module):
    def __init__(self, in_channels=1, n_classes=10):
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(in_channels, 16, 3, padding=1),
            nn.BatchNorm2d(16),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(16, 32, 3, padding=1),
            nn.BatchNorm2d(32),
            nn.ReLU(),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            nn.Linear(32, n_classes),
        )

    def forward(self, x):
        return self.layers(x)


NETS = {
    "linear": (LinearHead, {"n_features": 64, "n_classes": 10}),
    "perceptron 64-64-10": (Perceptron, {}),
    "convolutions 16-32": (SmallConv, {}),
}


def stacked(net, X, y, k, n_jobs):
    clf = DeepPartitionAggregation(net, k, classes=range(10), n_jobs=n_jobs)
    start = time.perf_counter()
    clf.fit(X, y)
    return time.perf_counter() - start


def one_by_one(net, X, y, k):
    """Return the time for all partitions, judged by a tenth of them."""
    partition = ContentHasher()(X) % k
    some = range(max(1, k // 10))
    parts = [np.flatnonzero(partition == i) for i in some]
    start = time.perf_counter()
    for rows in parts:
        clone(net).fit(X[rows], y[rows])
    return (time.perf_counter() - start) * k / len(parts)


def compare(k, epochs, repeats):
    X, y = load_digits(return_X_y=True)
    X = X.astype(np.uint8).reshape(-1, 1, 8, 8)
    floats = X.astype(np.float32) / 16
    print(f"digits, {len(X)} images, k = {k}, {epochs} epochs, medians of {repeats} in seconds")
    for name, (module, arguments) in NETS.items():
        ours = SeededNetClassifier(module, max_epochs=epochs, lr=0.05, classes=range(10), **SGD)
        plain = skorch.NeuralNetClassifier(
            module,
            criterion=nn.CrossEntropyLoss,
            train_split=None,
            max_epochs=epochs,
            lr=0.05,
            batch_size=128,
            iterator_train__shuffle=True,
            verbose=0,
            **SGD,
            **{f"module__{key}": value for key, value in arguments.items()},
        )
        contenders = {
            "stacked": lambda ours=ours: stacked(ours, X, y, k, None),
            "stacked, two jobs": lambda ours=ours: stacked(ours, X, y, k, 2),
            "alone": lambda ours=ours: one_by_one(ours, X, y, k),
            "skorch": lambda plain=plain: one_by_one(plain, floats, y, k),
        }
        times = {what: [] for what in contenders}
        for what, run in contenders.items():  # the first call of anything loads something
            run() if what != "stacked" else None
        for _ in range(repeats):
            for what, run in contenders.items():
                times[what].append(run())
        print(f"\n{name}")
        for what, measured in times.items():
            print(f"  {what:18s} {statistics.median(measured):8.2f}")
        for base in ("stacked", "stacked, two jobs"):
            for what in ("skorch", "alone"):
                ratios = [a / b for a, b in zip(times[what], times[base], strict=True)]
                print(
                    f"  {what} / {base}: {statistics.median(ratios):.1f} "
                    f"(from {min(ratios):.1f} to {max(ratios):.1f})"
                )


def median_time(step, repeats):
    times = []
    for _ in range(repeats + 2):
        start = time.perf_counter()
        step()
        times.append(time.perf_counter() - start)
    return statistics.median(times[2:])


def steps(n_slots=8, n_rows=16, repeats=20):
    """Time one forward and backward pass of a stack in three ways."""
    print(f"\none step of {n_slots} nets on {n_rows} images each, in milliseconds a net")
    wide = {"convolutions 16-32": (SmallConv(), (1, 8, 8)),
            "Network in Network": (NetworkInNetwork(1, 10), (1, 28, 28))}  # fmt: skip
    for name, (module, shape) in wide.items():
        repeats = repeats if name != "Network in Network" else 3
        generator = torch.Generator().manual_seed(0)
        X = torch.randn(n_slots, n_rows, *shape, generator=generator)
        share = torch.full((n_slots, n_rows), 1 / n_rows)

        def step(run):
            run().square().sum().backward()

        ways = {}
        for way, patches in (("groups of channels", False), ("products over patches", True)):
            stack = BatchedModule(
                module, operations_of(module), n_slots, "cpu", torch.float32, patches
            )
            for slot in range(n_slots):
                stack.load(slot, module)
            ways[way] = lambda stack=stack, X=X, share=share: stack(X, share)
        bare = without_running_statistics(module)
        weights, _ = stack_module_state([bare] * n_slots)

        def mapped(bare=bare, weights=weights, X=X):
            return vmap(lambda p, x: functional_call(bare, p, (x,)))(weights, X)

        ways["torch.func.vmap"] = mapped
        print(
            f"  {name}: "
            + ", ".join(
                f"{way} {1e3 * median_time(lambda run=run: step(run), repeats) / n_slots:.2f}"
                for way, run in ways.items()
            )
        )


def without_running_statistics(module):
    """Return a copy that vmap takes: running statistics are changed in place."""
    for layer in module.modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.track_running_stats, layer.running_mean, layer.running_var = False, None, None
            layer.num_batches_tracked = None
    return module


def floor(k=1200, n_train=60000, epochs=200):
    """Print the arithmetic of the paper's DPA on MNIST, and the time it takes at least here."""
    net = NetworkInNetwork(1, 10)
    n = n_train // k
    with FlopCounterMode(display=False) as counter:
        net(torch.zeros(n, 1, 28, 28)).sum().backward()
    total = counter.get_total_flops() * k * epochs
    a = torch.randn(2048, 2048)
    speed = 2 * 2048**3 / median_time(lambda: a @ a, 5)
    print(
        f"\nMNIST, k = {k}, {epochs} epochs of Network in Network: {total:.2e} floating-point "
        f"operations,\n  {counter.get_total_flops() / n / 1e9:.2f} GFLOP an image and epoch. "
        f"At {speed / 1e9:.0f} GFLOP/s (a matrix product on one thread here): "
        f"{total / speed / 3600:.0f} hours;\n  at 40 TFLOP/s (single precision on a large GPU): "
        f"{total / 40e12 / 60:.0f} minutes. The paper: 6.6 hours on a GPU."
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--fast", action="store_true", help="20 partitions, 10 epochs")
    parser.add_argument("--n-partitions", type=int, default=100)
    parser.add_argument("--epochs", type=int, default=100)
    parser.add_argument("--repeats", type=int, default=3)
    args = parser.parse_args()
    torch.set_num_threads(1)
    k, epochs = (20, 10) if args.fast else (args.n_partitions, args.epochs)
    compare(k, epochs, args.repeats)
    steps()
    floor()


if __name__ == "__main__":
    main()
