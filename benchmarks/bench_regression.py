"""Certified regression: time beside the classifier's, and film stars from reviews.

    python benchmarks/bench_regression.py [--rounds 5] [--stars]

Ridge members on 60000 x 100 numbers, 1200 partitions, 10000 test rows: fit and certify of
`DeepPartitionRegressor`, in turn with those of `DeepPartitionAggregation` on the signs of the
targets. With ``--stars`` (it needs the IMDb reviews on disk) the error of medians on all 25000
test reviews, and the share that provably stays within 3 stars.
"""

import argparse
import time
from contextlib import suppress

import numpy as np
from sklearn.compose import TransformedTargetRegressor
from sklearn.feature_extraction.text import HashingVectorizer, TfidfTransformer
from sklearn.linear_model import Ridge
from sklearn.pipeline import make_pipeline

from certified_ensembles import DeepPartitionAggregation, DeepPartitionRegressor
from certified_ensembles.datasets import fetch_imdb

with suppress(ImportError):
    import _checkout  # noqa: F401 - forms of the data that the tests of a checkout know


def seconds(call):
    start = time.perf_counter()
    result = call()
    return time.perf_counter() - start, result


def time_beside_classes(rounds):
    rng = np.random.default_rng(0)
    X, weights = rng.normal(size=(60_000, 100)), rng.normal(size=100)
    y, X_test = X @ weights + 5 * rng.normal(size=60_000), rng.normal(size=(10_000, 100))
    models = {
        "classifier, 2 classes": (DeepPartitionAggregation(n_partitions=1200, classes=[0, 1]), ()),
        "regressor": (DeepPartitionRegressor(n_partitions=1200), (5.0,)),
    }
    times = {name: [] for name in models}
    for _ in range(rounds):
        for name, (model, question) in models.items():
            target = y if question else (y > 0).astype(int)
            fit, model = seconds(lambda m=model, t=target: m.fit(X, t))
            certify, _ = seconds(lambda m=model, q=question: m.certify(X_test, *q))
            times[name].append((fit, certify, fit + certify))
    for name, rows in times.items():
        fit, certify, both = np.min(rows, axis=0)
        print(f"{name:<24} fit {fit:.2f} s, certify {certify:.2f} s, both {both:.2f} s")


def stretched(stars):
    return 5.5 + 2.5 * (stars - 5.5)


def within_1_and_10(stars):
    return np.clip(stars, 1, 10)


def stars():
    train = fetch_imdb(download_if_missing=False)
    test = fetch_imdb(subset="test", download_if_missing=False)
    features = make_pipeline(
        HashingVectorizer(ngram_range=(1, 2), alternate_sign=False, norm=None),
        TfidfTransformer(use_idf=False, sublinear_tf=True),
    )
    X_train, X_test = features.fit_transform(train.data), features.transform(test.data)
    members = {
        "ridge": Ridge(alpha=0.02),
        "ridge on stretched stars": TransformedTargetRegressor(
            Ridge(alpha=0.02),
            func=stretched,
            inverse_func=within_1_and_10,
            check_inverse=False,
        ),
    }
    y = test.rating.astype(float)
    for name, member in members.items():
        for k, budget in ((25, 10), (101, 25)):
            fit, reg = seconds(
                lambda m=member, k=k: DeepPartitionRegressor(m, k).fit(X_train, train.rating)
            )
            ask, (y_pred, radius) = seconds(
                lambda r=reg: r.certify(X_test, lower=y - 3, upper=y + 3)
            )
            print(
                f"{name}, k = {k}: mean error {np.abs(y_pred - y).mean():.3f}, within 3 stars "
                f"{(radius >= 0).mean():.1%}, certified at {budget}: "
                f"{(radius >= budget).mean():.1%} ({fit:.0f} s + {ask:.0f} s)"
            )


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--stars", action="store_true")
    args = parser.parse_args()
    time_beside_classes(args.rounds)
    if args.stars:
        stars()


if __name__ == "__main__":
    main()
