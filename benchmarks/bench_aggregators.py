"""Certificates of the aggregators beside the plain Python that one would write first, in one run.

    python benchmarks/bench_aggregators.py [--fast] [--repeats 5]

The rivals take one test row at a time and do its members, rivals and partitions with numpy: sort
the scores or the powers, add up, compare. Each pair alternates on the same rows; printed are
medians of the processor time per test row and of the ratios. The rivals' answers are compared
with ours before anything is timed. After that the whole of what a user waits for: all radii of
10000 test rows, the scores made block by block so that they never lie in memory together, and
what the collective certificate proves in given time. Run with OMP_NUM_THREADS=1 for one thread.
"""

import argparse
import resource
import statistics
import time

import numpy as np

from certified_ensembles.certificates import (
    collective_survivors,
    finite_aggregation_radius,
    finite_run_off_radius,
    plurality_radius,
    run_off_radius,
)


def make_scores(rng, n_samples, n_members, n_classes):
    """Members that share each test row's logits, and add noise of their own."""
    row = rng.standard_normal((n_samples, 1, n_classes), dtype=np.float32)
    return row + rng.standard_normal((n_samples, n_members, n_classes), dtype=np.float32)


def make_spread(rng, n_partitions, degree):
    """The shifts of finite aggregation."""
    shifts = rng.choice(n_partitions, degree, replace=False)
    return (np.arange(n_partitions)[:, None] + shifts) % n_partitions


def count(ballots, n_classes):
    """Votes per class."""
    return np.stack([np.count_nonzero(ballots == m, axis=1) for m in range(n_classes)], axis=1)


def plain_plurality(votes):
    winners, radii = [], []
    for n in votes:
        c = int(n.argmax())
        rivals = [b for b in range(len(n)) if b != c]
        radii.append(min((n[c] - n[b] - (b < c)) // 2 for b in rivals))
        winners.append(c)
    return np.array(winners), np.array(radii)


def plain_finite(ballots, spread, n_classes):
    winners, radii = [], []
    for f in ballots:
        n = np.bincount(f, minlength=n_classes)
        c = int(n.argmax())
        least = len(spread)
        for b in set(range(n_classes)) - {c}:
            power = 1 + (f == c).astype(int) - (f == b)
            total = np.cumsum(np.sort(power[spread].sum(axis=1))[::-1])
            least = min(least, np.searchsorted(total, n[c] - n[b] - (b < c), side="right"))
        winners.append(c)
        radii.append(least)
    return np.array(winners), np.array(radii)


def plain_run_off(scores):
    winners, radii = zip(*map(plain_run_off_row, scores), strict=True)
    return np.array(winners), np.array(radii)


def plain_run_off_row(scores):
    n_members, n_classes = scores.shape
    order = np.argsort(-scores, axis=1, kind="stable")
    place = np.argsort(order, axis=1)
    ballot = order[:, 0]
    n = np.bincount(ballot, minlength=n_classes)
    a, b = sorted(np.argsort(-n, kind="stable")[:2])
    c = a if 2 * (place[:, a] < place[:, b]).sum() >= n_members else b
    gaps = sorted(max(n[c] - n[m] + (c < m), 0) for m in range(n_classes) if m != c)
    least = max(-(-(gaps[0] + gaps[1]) // 3), -(-gaps[1] // 2))
    for t in set(range(n_classes)) - {c}:
        prefers = place[:, c] < place[:, t]
        need = -(-max(2 * prefers.sum() - n_members + (c < t), 0) // 2)
        others = [m for m in range(n_classes) if m not in (c, t)]
        shared = [(prefers & (ballot == m)).sum() for m in others]
        for r in range(least):
            y = [max(n[m] - n[t] + (m < t) - r, 0) for m in others]
            spare = r - sum(y)
            if spare >= 0 and spare + sum(map(min, y, shared)) >= need:
                least = r
                break
    return c, least - 1


def compare(name, ours, plain, take, n_ours, n_plain, repeats):
    """Interleave both on the first rows, check that they agree, print medians."""
    few, many = take(n_plain), take(n_ours)
    for mine, other in zip(ours(*few), plain(*few), strict=True):
        np.testing.assert_array_equal(mine, other)
    times = {"ours": [], "plain": []}
    for _ in range(repeats):
        for who, run, given, n in (("ours", ours, many, n_ours), ("plain", plain, few, n_plain)):
            start = time.process_time()
            run(*given)
            times[who].append((time.process_time() - start) / n)
    ratios = [p / o for o, p in zip(times["ours"], times["plain"], strict=True)]
    print(
        f"{name:44s} ours {1e6 * statistics.median(times['ours']):9.1f} us/row   "
        f"plain {1e6 * statistics.median(times['plain']):9.1f} us/row   "
        f"ratio {statistics.median(ratios):6.1f} ({min(ratios):.1f} to {max(ratios):.1f})"
    )


def whole(name, certify, blocks, n_samples):
    """Time the certificate alone over blocks that are made in between."""
    taken, radii = 0.0, []
    for block in blocks:
        start = time.perf_counter()
        radii.append(certify(block)[1])
        taken += time.perf_counter() - start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(
        f"{name:44s} {taken:6.2f} s for {n_samples} rows, median radius "
        f"{np.median(np.concatenate(radii)):.0f}, peak memory so far {peak:.1f} GiB"
    )


def collective(n_members, budget, n_samples, time_limit):
    """Ballots with weak and strong members, easy and hard rows."""
    rng = np.random.default_rng(1)
    right = rng.random((n_samples, 1)) * 0.6 + rng.random((1, n_members)) * 0.4
    ballots = np.where(
        rng.random((n_samples, n_members)) < right, 0, rng.integers(0, 10, (n_samples, n_members))
    )
    start = time.perf_counter()
    result = collective_survivors(
        ballots, 10, budget, y_true=np.zeros(n_samples, int), time_limit=time_limit
    )
    print(
        f"collective, {n_members} members, {budget} changed, {n_samples} rows".ljust(44),
        f"{time.perf_counter() - start:6.1f} s: {result.pointwise} survive by their own radius, "
        f"{result.certified} are certain to survive, {result.upper} survive the best attack found",
    )


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--fast", action="store_true", help="smaller sizes, a few seconds")
    parser.add_argument("--repeats", type=int, default=5)
    return parser.parse_args()


def main():
    args = arguments()
    rng = np.random.default_rng(0)
    k, n_rows = (300, 1000) if args.fast else (3000, 10000)
    degree = 4 if args.fast else 16

    scores = make_scores(rng, 200, k, 10)
    ballots = scores.argmax(axis=2).astype(np.int8)
    votes = count(ballots, 10)
    many = np.tile(votes, (n_rows // len(votes), 1))
    fine = k // 3 * degree
    fine_ballots = make_scores(rng, 100, fine, 10).argmax(axis=2).astype(np.int8)
    spread = make_spread(rng, fine, degree)
    print("medians of interleaved runs")
    compare(
        f"plurality, k = {k}",
        plurality_radius,
        plain_plurality,
        lambda n: (many[:n],),
        len(many),
        200,
        args.repeats,
    )
    compare(
        f"run-off, k = {k}",
        run_off_radius,
        plain_run_off,
        lambda n: (scores[:n],),
        200,
        20,
        args.repeats,
    )
    compare(
        f"finite aggregation, {k // 3} x {degree}",
        finite_aggregation_radius,
        plain_finite,
        lambda n: (fine_ballots[:n], spread, 10),
        100,
        5,
        args.repeats,
    )

    print("all radii, 10 classes, float32 scores")
    all_radii(rng, k, degree, n_rows, fine_ballots, spread)

    print("one attacker against all rows")
    seconds = 3 if args.fast else 30
    for n_members, budget in ((20, 4), (50, 10), (250, 40)):
        collective(n_members, budget, 200 if args.fast else 1000, seconds)


def all_radii(rng, k, degree, n_rows, fine_ballots, spread):
    step, fine = 100, k // 3 * degree
    whole(
        f"plurality with its count, k = {k}",
        lambda block: plurality_radius(count(block, 10)),
        (rng.integers(0, 10, (step, k)).astype(np.int8) for _ in range(n_rows // step)),
        n_rows,
    )
    whole(
        f"run-off, k = {k}",
        run_off_radius,
        (make_scores(rng, step, k, 10) for _ in range(n_rows // step)),
        n_rows,
    )
    whole(
        f"run-off, open label set, k = {k}",
        lambda block: run_off_radius(block, open_set=True),
        (make_scores(rng, step, k, 10) for _ in range(n_rows // step)),
        n_rows,
    )
    whole(
        f"finite aggregation, {k // 3} x {degree}",
        lambda block: finite_aggregation_radius(block, spread, 10),
        (np.tile(fine_ballots, (10, 1)) for _ in range(n_rows // 1000)),
        n_rows,
    )
    whole(
        f"finite run-off, {k // 3} x {degree}",
        lambda block: finite_run_off_radius(block, spread),
        (make_scores(rng, 50, fine, 10) for _ in range(n_rows // 500)),
        n_rows // 10,
    )


if __name__ == "__main__":
    main()
