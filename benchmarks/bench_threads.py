"""Requests a second when several threads ask one ensemble, beside a loop over the same members.

    python benchmarks/bench_threads.py [--fast] [--only ridge forest run_off text]
        [--threads 1 8 32] [--seconds 1] [--repeats 5] [--output docs/_static]

Each request asks one ensemble about one row, by ``predict``. Beside it a loop asks each of the
same fitted members about the same row by its own ``predict`` and counts nothing: what it loses
with more threads is lost to the members and to Python, which runs one thread at a time. Numbers of
threads, and ours and the loop, take turns. Printed are medians of requests a second, in brackets
over those of the fewest threads, and of the processor time of a request. That counts what waiting
costs, and hangs less on who else uses the machine. BLAS and OpenMP have one thread.
"""

import argparse
import threading
import time

import numpy as np
from _machine import interleaved, machine_line, median, save, table, write_table
from _services import lines_of_text
from sklearn.datasets import load_digits
from sklearn.ensemble import RandomForestClassifier
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.naive_bayes import MultinomialNB
from sklearn.pipeline import make_pipeline
from sklearn.tree import DecisionTreeClassifier
from threadpoolctl import threadpool_limits

from certified_ensembles import DeepPartitionAggregation

LABELS = {
    "ridge": "ridge, k = 200",
    "forest": "forests of 10 trees, k = 20",
    "run_off": "run-off of trees, k = 50",
    "text": "TF-IDF, naive Bayes, k = 20",
}


def fitted(name):
    """Return an ensemble, and rows to ask it about."""
    if name == "text":
        texts, y = lines_of_text()
        estimator = make_pipeline(TfidfVectorizer(), MultinomialNB())
        return DeepPartitionAggregation(estimator, 20).fit(texts, y), texts
    X, y = load_digits(return_X_y=True)
    if name == "ridge":
        X = np.concatenate([X] + [X + i for i in (1, 2)])  # most members see most classes
        clf = DeepPartitionAggregation(n_partitions=200, classes=range(10)).fit(X, np.tile(y, 3))
    elif name == "forest":
        clf = DeepPartitionAggregation(RandomForestClassifier(10), 20, classes=range(10)).fit(X, y)
    else:
        clf = DeepPartitionAggregation(
            DecisionTreeClassifier(), 50, aggregation="run_off", classes=range(10)
        ).fit(X, y)
    return clf, X


def serve(ask, rows, n_threads, seconds):
    """Let threads ask for some seconds; return requests a second and processor time of each."""
    start = threading.Barrier(n_threads + 1)
    counts = [0] * n_threads

    def work(number):
        start.wait()
        until = time.perf_counter() + seconds
        place = number
        while time.perf_counter() < until:
            ask(rows[place % len(rows) : place % len(rows) + 1])
            counts[number] += 1
            place += n_threads

    threads = [threading.Thread(target=work, args=(number,)) for number in range(n_threads)]
    for thread in threads:
        thread.start()
    start.wait()
    begun, processor = time.perf_counter(), time.process_time()
    for thread in threads:
        thread.join()
    n_requests = sum(counts)
    rate = n_requests / (time.perf_counter() - begun)
    return rate, (time.process_time() - processor) / n_requests


def measure(name, threads, seconds, repeats):
    """Return, by contender and number of threads, requests a second and seconds of each."""
    clf, rows = fitted(name)
    members = [member for member in clf.estimators_ if member is not None]

    def loop(row):
        for member in members:
            member.predict(row)

    asks = {"ours": clf.predict, "loop": loop}
    contenders = {
        (who, n): lambda ask=ask, n=n: serve(ask, rows, n, seconds)
        for n in threads
        for who, ask in asks.items()
    }
    for ask in asks.values():
        ask(rows[:1])
    runs = interleaved(contenders, repeats)
    return {
        who: {n: [median(part) for part in zip(*runs[who, n], strict=True)] for n in threads}
        for who in asks
    }


def cells_of(name, who, by_threads):
    """Return a line of the table."""
    first = by_threads[min(by_threads)][0]
    cells = [LABELS[name], who]
    for rate, seconds in by_threads.values():
        cells.append(f"{rate:.0f} ({rate / first:.2f}), {1e3 * seconds:.2f} ms")
    return cells


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--fast", action="store_true", help="a fifth of a second each, once")
    parser.add_argument("--only", nargs="+", choices=list(LABELS), default=list(LABELS))
    parser.add_argument("--threads", nargs="+", type=int, default=[1, 8, 32])
    parser.add_argument("--seconds", type=float, default=1.0)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--output", help="folder for bench_threads.json and .txt")
    args = parser.parse_args()
    seconds, repeats = (0.2, 1) if args.fast else (args.seconds, args.repeats)
    about = machine_line() + f"\nmedians of {repeats} interleaved runs of {seconds:g} s each"
    print(about, flush=True)
    header = ["Members", "who", *(f"{n} thread{'s' * (n > 1)}" for n in args.threads)]
    lines, results = [], {}
    for name in args.only:
        with threadpool_limits(1):
            results[name] = measure(name, args.threads, seconds, repeats)
        for who, by_threads in results[name].items():
            lines.append(cells_of(name, who, by_threads))
            print("  ".join(f"{cell:28s}" for cell in lines[-1]), flush=True)
    text = table(header, lines)
    if args.output:
        print("written:", save("bench_threads", results, args.output))
        write_table("bench_threads", about, text, args.output)


if __name__ == "__main__":
    main()
