"""Rows that never meet beside rows that go through the caller: memory, bytes, seconds by stage.

    python benchmarks/bench_apart.py [--fast] [--n-rows 10000000] [--n-features 50]
        [--n-partitions 2000] [--n-files 100] [--workers 2] [--memory 2GB] [--folder FOLDER]
        [--only apart caller bridge] [--output docs/_static]

Gaussian classes are written as Parquet. Each way runs in a process of its own, the caller:

- apart: a Dask cluster of worker processes reads, hashes, shuffles and trains (``fit`` of a Dask
  DataFrame), and answers a collection of test rows. Its stages are timed one after the other in
  the same run: reading alone, reading and hashing, the shuffle on top, the whole fit; beside them
  the engine's own shuffle of the same frame by a column of integers.
- caller: the same Dask DataFrame as an array without a cluster, two jobs: every row goes through
  the caller's scratch file.
- bridge: files by partition are written, and members trained from them, without any cluster.

Memory is the largest that was resident; bytes moved are those of the loopback device. All ways
give the same ballots, which is checked. From the rates follows a model of 10^9 and 10^10 rows on
100 workers. It is held against a simulation of every task: blocks and buckets of uneven sizes,
slow workers, a scheduler that hands out one task after the other, a network card for each worker.
"""

import argparse
import heapq
import shutil
import tempfile
import threading
import time
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
from _machine import in_own_process, machine_line, save, table, write_table
from sklearn.linear_model import RidgeClassifier

from certified_ensembles import DeepPartitionAggregation

WAYS = ("apart", "caller", "bridge")
N_TEST = 2000
# The cluster that the model speaks of: its workers and their network, in bytes a second.
N_WORKERS, NETWORK = 100, 1.25e9
BLOCK = 128e6


def columns(d):
    """Return the names of the features."""
    return [f"c{j}" for j in range(d)]


def write_rows(folder, n, d, n_files):
    """Write rows of two Gaussian classes, their labels, and a column of random integers."""
    weights = np.random.default_rng(0).standard_normal(d).astype(np.float32)
    bounds = np.linspace(0, n, n_files + 1).astype(int)
    for i, n_own in enumerate(np.diff(bounds)):
        rng = np.random.default_rng([1, i])
        X = rng.standard_normal((n_own, d), dtype=np.float32)
        frame = pd.DataFrame(X, columns=columns(d))
        frame["label"] = (X @ weights + 2 * rng.standard_normal(n_own) > 0).astype(np.int64)
        frame["number"] = rng.integers(0, 1 << 40, n_own)
        frame.to_parquet(folder / f"part-{i:05d}.parquet", index=False)


def test_rows(d):
    """Return the rows that all ways are asked about."""
    rng = np.random.default_rng(2)
    return pd.DataFrame(rng.standard_normal((N_TEST, d), dtype=np.float32), columns=columns(d))


def ensemble(k, n_jobs=None):
    """Return the ensemble that all ways fit."""
    return DeepPartitionAggregation(RidgeClassifier(), k, classes=[0, 1], n_jobs=n_jobs)


class Watch(threading.Thread):
    """Notes the largest memory of some processes, in GB, until it is asked."""

    def __init__(self, pids):
        super().__init__(daemon=True)
        self.peaks, self._ended = dict.fromkeys(pids, 0.0), threading.Event()
        self.start()

    def run(self):
        while not self._ended.wait(0.05):
            for pid in self.peaks:
                self.peaks[pid] = max(self.peaks[pid], resident(pid))

    def end(self):
        """Return the largest memory of each process."""
        self._ended.set()
        self.join()
        return list(self.peaks.values())


def resident(pid):
    """Return the memory of a process in GB; 0 where it is gone or nobody says."""
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * 4096 / 1e9
    except (OSError, IndexError):
        return 0.0


def loopback():
    """Return the bytes that this machine has sent to itself."""
    try:
        lines = Path("/proc/net/dev").read_text().splitlines()
    except OSError:
        return 0
    return sum(int(line.split()[9]) for line in lines if line.strip().startswith("lo:"))


def seconds_of(function):
    """Return the seconds of a call, and what it returned."""
    start = time.perf_counter()
    result = function()
    return time.perf_counter() - start, result


# ---------------------------------------------------------------- ways


def apart(folder, d, k, n_workers, memory):
    """Fit and ask on a cluster: return figures and ballots."""
    import dask
    import dask.dataframe as dd
    from distributed import Client, LocalCluster

    scratch = tempfile.mkdtemp(dir=folder.parent)
    cluster = LocalCluster(
        n_workers=n_workers,
        threads_per_worker=1,
        memory_limit=memory,
        dashboard_address=None,
        local_directory=scratch,
    )
    with cluster, Client(cluster) as client:
        rows = dd.read_parquet(folder)
        X = rows.drop(columns="number")
        ensemble(k).fit(X.partitions[:1], "label")  # workers import the package
        out = stages(client, rows, X, k)
        pids = client.run(lambda: __import__("os").getpid())
        before, sent, watch = resident("self"), loopback(), Watch(["self", *pids.values()])
        out["fit"], clf = seconds_of(lambda: ensemble(k).fit(X, "label"))
        caller, *workers = watch.end()
        out |= {"caller_grew": caller - before, "workers": max(workers)}
        out["moved"] = loopback() - sent
        asked = dd.from_pandas(test_rows(d), npartitions=n_workers)
        out["certify"], _ = seconds_of(lambda: dask.compute(*clf.certify(asked)))
        return out, clf.ballots(test_rows(d)), clf.partition_sizes_


def stages(client, rows, X, k):
    """Return seconds of reading, hashing and shuffling, each with what comes before it."""
    plan, source, layout = what_is_done(X, k)

    def lengths(frame):
        meta = pd.Series(dtype=np.int64)
        return frame.map_partitions(len, meta=meta, enforce_metadata=False).compute()

    def engine():
        how = {"npartitions": rows.npartitions, "shuffle_method": "p2p", "ignore_index": True}
        return lengths(rows.shuffle("number", force=True, **how))

    def hashed(frame):
        return pd.Series([len(plan.pieces_of(0, layout, frame)[0])])

    def map_all(function):
        return X.map_partitions(function, meta=pd.Series(dtype=np.int64)).compute()

    out = rates_of_tasks(client, plan, layout, X)
    out["read"] = seconds_of(lambda: map_all(_touched))[0]
    out["hash"] = seconds_of(lambda: map_all(hashed))[0]
    runs = [
        (seconds_of(engine)[0], seconds_of(lambda: lengths(source.shuffled(plan)[1]))[0])
        for _ in range(3)
    ]
    out["engine"], out["shuffle"] = np.median(runs, axis=0).tolist()
    out["ratio"] = float(np.median([own / engine for engine, own in runs]))
    return out


def _touched(frame):
    return pd.Series([frame.to_numpy().nbytes])


def what_is_done(X, k):
    """Return what a fit of an ensemble on a frame of Dask does, by the parts of the package."""
    from certified_ensembles._ensemble.apart import plan_of
    from certified_ensembles.engines import source_of
    from certified_ensembles.engines._layout import Layout

    source = source_of(X, "label", None, {})
    return plan_of(ensemble(k), source)[1], source, Layout.of(X.columns, "label", None, {})[0]


def rates_of_tasks(client, plan, layout, X):
    """Return the seconds that a task costs the scheduler, and a piece whoever cuts a block."""
    n_tasks, width, frame = 2000, plan.width, X.partitions[0].compute()
    client.gather(client.map(_nothing, range(100), pure=False))
    task = seconds_of(lambda: client.gather(client.map(_nothing, range(n_tasks), pure=False)))[0]
    seconds, n_pieces = [], []
    for n_together in (1, plan.ensemble._n_partitions):
        plan.width = n_together
        pieces = plan.pieces_of(0, layout, frame)[0]
        n_pieces.append(len(pieces))
        runs = [seconds_of(lambda: plan.pieces_of(0, layout, frame))[0] for _ in "123"]
        seconds.append(np.median(runs))
    plan.width = width
    piece = max(seconds[0] - seconds[1], 0) / (n_pieces[0] - n_pieces[1])
    return {"task": task / n_tasks, "piece": float(piece)}


def _nothing(i):
    return i


def caller(folder, d, k):
    """Fit on the same rows without a cluster: return figures, ballots and sizes of partitions."""
    import dask
    import dask.array as da
    from pyarrow.parquet import read_metadata

    files = sorted(folder.iterdir())
    read = dask.delayed(lambda file: pd.read_parquet(file, columns=columns(d)).to_numpy())
    shapes = [(read_metadata(file).num_rows, d) for file in files]
    blocks = [da.from_delayed(read(f), s, np.float32) for f, s in zip(files, shapes, strict=True)]
    y = pd.read_parquet(folder, columns=["label"])["label"].to_numpy()
    before, watch = resident("self"), Watch(["self"])
    seconds, clf = seconds_of(lambda: ensemble(k, n_jobs=2).fit(da.concatenate(blocks), y))
    figures = {"fit": seconds, "caller_grew": watch.end()[0] - before}
    return figures, clf.ballots(test_rows(d).to_numpy()), np.bincount(clf.partition_, minlength=k)


def bridge(folder, d, k):
    """Write files by partition and fit on them: return figures, ballots and sizes."""
    from certified_ensembles.engines import write_partitions

    by_partition = folder.parent / "by_partition"
    before, watch = resident("self"), Watch(["self"])
    batches = (pd.read_parquet(file).drop(columns="number") for file in sorted(folder.iterdir()))
    written, _ = seconds_of(lambda: write_partitions(batches, by_partition, k, y="label"))
    fitted, clf = seconds_of(lambda: ensemble(k, n_jobs=2).fit_partitions(by_partition, y="label"))
    figures = {"write": written, "fit": fitted, "caller_grew": watch.end()[0] - before}
    shutil.rmtree(by_partition)
    return figures, clf.ballots(test_rows(d)), clf.partition_sizes_


# ---------------------------------------------------------------- many rows


def rates(found, n, k, n_workers):
    """Return seconds a row and core, by stage, and what else the model needs."""
    a_row = n_workers / n
    return {
        "read": found["read"] * a_row,
        "hash": (found["hash"] - found["read"]) * a_row,
        "shuffle": max(found["shuffle"] - found["hash"], 0) * a_row,
        "train": max(found["fit"] - found["shuffle"], 0) * a_row,
        "task": found["task"],
        "piece": found["piece"],
        "rows_a_member": n / k,
    }


def modelled(n, d, rate):
    """Return seconds by stage, and sizes, of n rows on the cluster."""
    n_bytes = 4.0 * d * n
    n_blocks = int(-(-n_bytes // BLOCK))
    pieces = min(n_blocks * n_blocks, n)
    cut = n * (rate["read"] + rate["hash"]) + pieces * rate["piece"]
    return {
        "blocks": n_blocks,
        "cut": cut / N_WORKERS,
        "send": max(n * rate["shuffle"], n_bytes / NETWORK) / N_WORKERS,
        "train": n * rate["train"] / N_WORKERS,
        "scheduler": 3 * n_blocks * rate["task"],
        "sent_by_a_worker": n_bytes / N_WORKERS,
        "members": n / rate["rows_a_member"],
    }


def simulated(model, rng):
    """Return the seconds until the last task of a fit has ended.

    Blocks are cut as workers come free, the cards send what was cut, and when all have sent,
    buckets are trained as workers come free. Sizes vary by a tenth, and one worker in twenty is
    half as fast. The scheduler hands out one task after the other.
    """
    speed = np.where(rng.random(N_WORKERS) < 0.05, 0.5, 1.0)
    a_task = model["scheduler"] / (3 * model["blocks"])

    def run(total, start):
        sizes = np.clip(rng.normal(1, 0.1, model["blocks"]), 0.5, 2)
        work = sizes * total * N_WORKERS / sizes.sum()
        free = [(when, worker) for worker, when in enumerate(start)]
        heapq.heapify(free)
        handed_out, ends = min(start), [0.0] * N_WORKERS
        for own in work:
            when, worker = heapq.heappop(free)
            handed_out = max(handed_out, when) if when > handed_out else handed_out + a_task
            ends[worker] = max(when, handed_out) + own / speed[worker]
            heapq.heappush(free, (ends[worker], worker))
        return ends

    cut = run(model["cut"], [0.0] * N_WORKERS)
    sent = max(end + model["send"] / s for end, s in zip(cut, speed, strict=True))
    return max(run(model["train"], [sent] * N_WORKERS))


def many_rows(d, rate):
    """Return the model of a great number of rows beside its simulation, as rows of a table."""
    lines, rng = [], np.random.default_rng(0)
    for n in (10**9, 10**10):
        model = modelled(n, d, rate)
        stages = [model[stage] for stage in ("cut", "send", "train")]
        times = [simulated(model, rng) for _ in range(5)]
        lines.append(
            [
                f"{n:.0e}",
                f"{model['blocks']}",
                *(f"{seconds:.0f}" for seconds in stages),
                f"{model['scheduler']:.0f}",
                f"{sum(stages):.0f}",
                f"{np.median(times):.0f}",
                f"{model['sent_by_a_worker'] / 1e9:.0f}",
                f"{model['members']:.0f}",
            ]
        )
    return lines


# ---------------------------------------------------------------- report


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--fast", action="store_true", help="a hundredth of the rows")
    parser.add_argument("--n-rows", type=int, default=10_000_000)
    parser.add_argument("--n-features", type=int, default=50)
    parser.add_argument("--n-partitions", type=int, default=2000)
    parser.add_argument("--n-files", type=int, default=100)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--memory", default="2GB", help="of a worker")
    parser.add_argument("--folder", type=Path, help="where rows are written (2 GB) and removed")
    parser.add_argument("--only", nargs="+", choices=WAYS, default=WAYS)
    parser.add_argument("--output", help="folder for bench_apart.json and .txt")
    args = parser.parse_args()
    if args.fast:
        args.n_rows, args.n_partitions, args.n_files = 100_000, 20, 10
    return args


def main():
    args = arguments()
    about = machine_line()
    print(about)
    d, k = args.n_features, args.n_partitions
    found, ballots = {}, {}
    with tempfile.TemporaryDirectory(dir=args.folder) as scratch:
        folder = Path(scratch) / "rows"
        folder.mkdir()
        seconds, _ = seconds_of(lambda: write_rows(folder, args.n_rows, d, args.n_files))
        print(f"{args.n_rows} rows x {d} float32, k = {k}; written in {seconds:.0f} s", flush=True)
        calls = {
            "apart": (apart, folder, d, k, args.workers, args.memory),
            "caller": (caller, folder, d, k),
            "bridge": (bridge, folder, d, k),
        }
        for way in args.only:
            (figures, votes, sizes), peak = in_own_process(*calls[way], timeout=7200)
            found[way], ballots[way] = figures | {"caller_peak": peak}, (votes, sizes)
            print(
                way,
                {name: float(f"{value:.3g}") for name, value in found[way].items()},
                flush=True,
            )
    same = all(
        np.array_equal(one, other)
        for way in args.only
        for one, other in zip(ballots[way], ballots[args.only[0]], strict=True)
    )
    print("ballots and partitions:", "same" if same else "OTHER")
    show(args, about, found, same)


STAGES = {
    "read": "read",
    "hash": "read, hash, cut",
    "shuffle": "the same and shuffle",
    "engine": "the engine's own shuffle",
    "write": "write by partition",
    "fit": "whole fit",
    "certify": f"certify {N_TEST} rows",
}


def show(args, about, found, same):
    lines = [
        [text, *(f"{found[way][name]:.1f} s" if name in found[way] else "" for way in args.only)]
        for name, text in STAGES.items()
    ]
    for name, text in (
        ("caller_grew", "memory of the caller grows by"),
        ("workers", "of a worker"),
    ):
        lines.append(
            [text, *(f"{found[w][name]:.2f} GB" if name in found[w] else "" for w in args.only)]
        )
    if "apart" in found:
        moved = f"{found['apart']['moved'] / 1e9:.2f} GB"
        lines.append(["bytes moved", *(moved if way == "apart" else "" for way in args.only)])
    text = table([f"{args.n_rows:.0e} rows", *args.only], lines)
    print("\n" + text)
    if "apart" in found:
        print(f"hash and shuffle over the engine's shuffle: {found['apart']['ratio']:.2f}")
        rate = rates(found["apart"], args.n_rows, args.n_partitions, args.workers)
        header = ["rows", "blocks", "cut (s)", "send (s)", "train (s)", "scheduler (s)"]
        header += ["model (s)", "simulated (s)", "GB sent by a worker", "members"]
        many = table(header, many_rows(args.n_features, rate))
        print("\n" + many)
        found["rates"], text = rate, f"{text}\n\n{many}"
    if args.output:
        print("written:", save("bench_apart", {**found, "same": same}, args.output))
        write_table("bench_apart", about, text, args.output)


if __name__ == "__main__":
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Sending large graph")
        main()
