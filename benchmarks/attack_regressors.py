"""Random attacks on medians of regressors: those of scikit-learn, pipelines and searches.

    python benchmarks/attack_regressors.py [--n-predictions 100000] [--seed 0] [--only NAME ...]

As `attack_estimators`, for numbers. Rows are inserted, deleted and given new targets; among them
are rows and targets of hostile size and type. No other row may change its partition, no member of
another partition an answer; no prediction may move farther than its radius allows, nor leave its
interval. The status is 1 if any promise is broken.
"""

import argparse
import sys
import time
import warnings
from collections import Counter
from typing import NamedTuple
from zlib import crc32

import numpy as np
from attack_estimators import MAGNITUDES, N_ATTACKS, SECONDS_A_TABLE, Workers
from sklearn.base import clone
from sklearn.compose import TransformedTargetRegressor
from sklearn.datasets import load_diabetes, load_iris
from sklearn.ensemble import RandomForestRegressor
from sklearn.linear_model import LinearRegression, Ridge
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import QuantileTransformer, StandardScaler
from sklearn.tree import DecisionTreeRegressor
from sklearn.utils import all_estimators

from certified_ensembles import DeepPartitionRegressor

IMPOSSIBLE = {
    "CCA": "answers several numbers a row",
    "IsotonicRegression": "takes one feature",
    "MultiOutputRegressor": "answers several numbers a row",
    "MultiTaskElasticNet": "wants several targets",
    "MultiTaskElasticNetCV": "wants several targets",
    "MultiTaskLasso": "wants several targets",
    "MultiTaskLassoCV": "wants several targets",
    "PLSCanonical": "answers several numbers a row",
    "RegressorChain": "answers several numbers a row",
}
_TWO = [("ridge", Ridge()), ("tree", DecisionTreeRegressor())]
SETTINGS = {
    "AdaBoostRegressor": {"n_estimators": 4},
    "BaggingRegressor": {"n_estimators": 4},
    "ElasticNetCV": {"cv": 2},
    "ExtraTreesRegressor": {"n_estimators": 4},
    "GradientBoostingRegressor": {"n_estimators": 4},
    "HistGradientBoostingRegressor": {"max_iter": 4, "min_samples_leaf": 2},
    "KNeighborsRegressor": {"n_neighbors": 3},
    "LarsCV": {"cv": 2},
    "LassoCV": {"cv": 2},
    "LassoLarsCV": {"cv": 2},
    "MLPRegressor": {"max_iter": 10, "hidden_layer_sizes": (8,)},
    "OrthogonalMatchingPursuitCV": {"cv": 2},
    "PLSRegression": {"n_components": 1},
    "RadiusNeighborsRegressor": {"radius": 3.0},
    "RandomForestRegressor": {"n_estimators": 4},
    "StackingRegressor": {"estimators": _TWO, "final_estimator": Ridge(), "cv": 2},
    "TheilSenRegressor": {"max_subpopulation": 20, "max_iter": 10},
    "VotingRegressor": {"estimators": _TWO},
}
# Training may never end on numbers beyond 1e39, so that these are left out.
ENDLESS = ("LinearSVR", "NuSVR", "SVR")
TARGETS = (0.0, -0.0, 1e39, 1e300, -1e300, np.inf, np.nan, None, "7", True, 2**80, 1j)
N_ROWS, N_TRAIN, N_TEST = 150, 110, 120
BROKEN = ("rows moved", "foreign members", "beaten", "not repeatable", "other process")


def regressors():
    """Return regressors by name, each ready to be cloned."""
    found = {}
    for name, kind in all_estimators("regressor"):
        if name not in IMPOSSIBLE:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", FutureWarning)
                found[name] = kind(**SETTINGS.get(name, {}))
    return found | {
        "scaler, ridge": make_pipeline(StandardScaler(), Ridge()),
        "quantiles, least squares": make_pipeline(
            QuantileTransformer(n_quantiles=5), LinearRegression()
        ),
        "targets scaled": TransformedTargetRegressor(Ridge(), transformer=StandardScaler()),
        "targets by a function": TransformedTargetRegressor(
            DecisionTreeRegressor(), func=np.cbrt, inverse_func=np.exp, check_inverse=False
        ),
        "forest on two threads": RandomForestRegressor(4, n_jobs=2),
        "grid search": GridSearchCV(DecisionTreeRegressor(), {"max_depth": [1, 3]}, cv=2),
    }


def _whole_numbers(rng):
    X = rng.integers(0, 4, (400, 4)).astype(float)
    return X, X @ [1.0, 2.0, -1.0, 0.0] + rng.integers(0, 3, 400)


def _iris(rng):
    X, _ = load_iris(return_X_y=True)
    return X[:, :3], X[:, 3]


DATA = (_whole_numbers, _iris, lambda rng: load_diabetes(return_X_y=True))


class Table(NamedTuple):
    """Training and test rows, and the ensemble to attack."""

    X: np.ndarray
    y: np.ndarray
    X_test: np.ndarray
    reg: DeepPartitionRegressor


def draw_table(estimator, rng):
    """Return random data, and an ensemble with random settings."""
    X, y = DATA[rng.integers(len(DATA))](rng)
    order = rng.permutation(len(y))[:N_ROWS]
    X, y = X[order], y[order]
    pairs = rng.integers(0, N_ROWS, (2, N_TEST - (N_ROWS - N_TRAIN)))
    X_test = np.vstack([X[N_TRAIN:], X[pairs].mean(axis=0)])
    n_seeds = 1 + int(rng.integers(4) == 0)
    reg = DeepPartitionRegressor(
        estimator, int(rng.integers(3, 8)), n_seeds=n_seeds, on_error="abstain"
    )
    return Table(X[:N_TRAIN], y[:N_TRAIN], X_test, reg)


def draw_attack(table, magnitudes, targets, rng):
    """Return attacked data, positions of untouched rows after and before, and the operations."""
    n, n_features = table.X.shape
    delete, change, rows, new = set(), {}, [], []
    for _ in range(rng.integers(1, 4)):
        i, target = int(rng.integers(n)), targets[rng.integers(len(targets))]
        kind = rng.integers(5)
        if kind == 0:
            delete.add(i)
        elif kind == 1:
            change[i] = target
        else:
            row = table.X[i].copy()
            if kind == 3:
                row[rng.integers(n_features)] = magnitudes[rng.integers(len(magnitudes))]
            if kind == 4:
                target = float(table.y.max()) * 10 + 1
            rows.append(row)
            new.append(target)
    y = table.y.astype(object)
    for i, target in change.items():
        y[i] = target
    stay = np.setdiff1d(np.arange(n), list(delete))
    kept = ~np.isin(stay, list(change))
    X = np.vstack([table.X[stay], *rows])
    cost = len(delete) + len(change) + len(new)
    order = rng.permutation(len(X))
    place = np.argsort(order)[: len(stay)][kept]
    y = [*y[stay], *new]
    return X[order], [y[i] for i in order], place, stay[kept], cost


class Outcome(NamedTuple):
    """What a fitted ensemble says."""

    answers: np.ndarray
    partition: np.ndarray
    y_pred: np.ndarray


def ask(reg, X, y, X_test):
    """Fit a clone; return it, and what it says."""
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        reg = clone(reg).fit(X, y)
        return reg, Outcome(reg.answers(X_test), reg.partition_, reg.predict(X_test))


def differ(one, other):
    """Say which members differ in an answer."""
    return ~((one == other) | (np.isnan(one) & np.isnan(other))).all(axis=0)


def beaten(reg, X_test, after, cost, tolerance):
    """Count predictions that moved farther than they may."""
    y_pred, radius = reg.certify(X_test, tolerance)
    moved = ~(np.abs(after - y_pred) <= tolerance) & (radius >= cost)
    _, low, high = reg.certify_interval(X_test, cost)
    inside = (low <= after) & (after <= high) | np.isneginf(low) & np.isposinf(high)
    return int((moved | ~inside).sum())


def attack_table(name, estimator, seed):
    """Attack one random table; return counts, a digest of all answers, and an error if any."""
    rng = np.random.default_rng([seed, crc32(name.encode())])
    table, found, digest, error = draw_table(estimator, rng), Counter(), 0, ""
    try:
        reg, before = ask(table.reg, table.X, table.y, table.X_test)
        again = ask(table.reg, table.X, table.y, table.X_test)[1]
    except Exception as caught:
        return found, digest, f"{type(caught).__name__}: {str(caught).splitlines()[0]}"
    if np.isnan(before.answers).mean() > 0.5:
        return found, digest, "more than half of the answers are abstentions"
    found["not repeatable"] = int(differ(before.answers, again.answers).sum())
    small = name in ENDLESS
    magnitudes = MAGNITUDES[:1] if small else MAGNITUDES
    targets = [t for t in TARGETS if not (small and isinstance(t, float) and 1e39 <= abs(t))]
    for _ in range(N_ATTACKS):
        X, y, kept, origin, cost = draw_attack(table, magnitudes, targets, rng)
        try:
            after = ask(table.reg, X, y, table.X_test)[1]
        except Exception as caught:
            found["refused"] += 1
            error = f"{type(caught).__name__}: {str(caught).splitlines()[0]}"
            continue
        found["rows moved"] += int((after.partition[kept] != before.partition[origin]).sum())
        touched = {*np.delete(before.partition, origin), *np.delete(after.partition, kept)}
        changed = set(np.flatnonzero(differ(before.answers, after.answers)).tolist())
        found["foreign members"] += len(changed - touched)
        found["members changed"] += len(changed)
        tolerance = float(rng.choice([0.0, 0.1, 0.5])) * float(np.std(table.y))
        found["beaten"] += beaten(reg, table.X_test, after.y_pred, cost, tolerance)
        found["predictions"] += len(table.X_test)
        digest = crc32(after.answers.tobytes(), digest)
    return found, digest, error


def attack_regressor(name, estimator, seed, n_predictions, here, there):
    """Attack tables until so many predictions were attacked; return counts and a remark."""
    total, remark, number = Counter(), "", 0
    most = 3 * -(-n_predictions // (N_TEST * N_ATTACKS)) + 3
    while total["predictions"] < n_predictions and number < most and total["endless"] < 2:
        try:
            found, digest, error = here.call(attack_table, name, estimator, seed + number)
            if number == 0:
                other = there.call(attack_table, name, estimator, seed)
                total["other process"] += (found, digest) != other[:2]
        except TimeoutError:
            found, error = Counter(endless=1), f"no end after {SECONDS_A_TABLE} s"
        total += found
        remark = error or remark
        number += 1
    return total, remark


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--n-predictions", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", nargs="+", default=None)
    args = parser.parse_args()
    chosen = {
        name: estimator
        for name, estimator in regressors().items()
        if args.only is None or any(word in name for word in args.only)
    }
    start, grand = time.perf_counter(), Counter()
    here, there = Workers("1"), Workers("2")
    share = -(-args.n_predictions // len(chosen))
    columns = ("predictions", "members changed", *BROKEN, "refused")
    print(f"{'estimator':<30}" + "".join(f"{column:>17}" for column in columns))
    try:
        for name, estimator in chosen.items():
            total, remark = attack_regressor(name, estimator, args.seed, share, here, there)
            numbers = "".join(f"{total[column]:>17}" for column in columns)
            print(f"{name:<30}{numbers}  {remark[:80]}", flush=True)
            grand += total
    finally:
        here.close()
        there.close()
    broken = sum(grand[kind] for kind in BROKEN)
    print(
        f"{grand['predictions']} attacked predictions of {len(chosen)} regressors in "
        f"{time.perf_counter() - start:.0f} s, {broken} promises broken"
    )
    return int(broken > 0)


if __name__ == "__main__":
    sys.exit(main())
