"""Random attacks on members of every kind: scikit-learn's classifiers, and those of others.

    python benchmarks/attack_estimators.py [--n-predictions 100000] [--seed 0] [--only NAME ...]

A small training set is drawn (iris, wine, digits, or whole numbers with many ties) and an
ensemble of few partitions is fitted to it. Then rows are inserted, deleted and relabelled; among
them are rows of hostile size (1e39, 1e200, 1e308, NaN) and labels that nobody has seen. No other
row may change its partition, no member of another partition a ballot, and no certified prediction
may be beaten. The same data fitted twice, and in a process in which strings have other hashes,
must give the same ballots. Attacks that ``fit`` or an answer refuses are counted apart: they break
no promise, but stop everybody. The status is 1 if any promise is broken.
"""

import argparse
import inspect
import sys
import time
import warnings
from collections import Counter
from functools import partial
from importlib.util import find_spec
from typing import NamedTuple
from zlib import crc32

import numpy as np
from joblib.externals.loky import ProcessPoolExecutor
from sklearn.base import clone
from sklearn.calibration import CalibratedClassifierCV
from sklearn.datasets import load_digits, load_iris, load_wine
from sklearn.decomposition import PCA
from sklearn.ensemble import AdaBoostClassifier, BaggingClassifier, RandomForestClassifier
from sklearn.feature_selection import SelectKBest, f_classif, mutual_info_classif
from sklearn.kernel_approximation import Nystroem, RBFSampler
from sklearn.linear_model import LogisticRegression, RidgeClassifier, SGDClassifier
from sklearn.manifold import Isomap
from sklearn.model_selection import GridSearchCV, RandomizedSearchCV
from sklearn.naive_bayes import GaussianNB
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import KBinsDiscretizer, QuantileTransformer, StandardScaler
from sklearn.tree import DecisionTreeClassifier
from sklearn.utils import all_estimators

from certified_ensembles import DeepPartitionAggregation
from certified_ensembles.encoding import LabelEncodingClassifier

PARAMETERS = inspect.signature(DeepPartitionAggregation).parameters
MAGNITUDES = (1e39, 1e200, 1e308, -1e308, np.nan)
N_ROWS, N_TRAIN, N_TEST, N_ATTACKS = 150, 110, 120, 8
SECONDS_A_TABLE = 120


# ---------------------------------------------------------------- estimators

# Why some of scikit-learn's classifiers cannot be members.
IMPOSSIBLE = {
    "ClassifierChain": "answers several labels a row",
    "MultiOutputClassifier": "answers several labels a row",
}
# What makes the others fast, or able to learn from a dozen rows.
SETTINGS = {
    "AdaBoostClassifier": {"n_estimators": 5},
    "BaggingClassifier": {"n_estimators": 5},
    "CalibratedClassifierCV": {"cv": 2, "estimator": GaussianNB()},
    "ExtraTreesClassifier": {"n_estimators": 5},
    "FixedThresholdClassifier": {"estimator": GaussianNB()},
    "GradientBoostingClassifier": {"n_estimators": 4},
    "HistGradientBoostingClassifier": {"max_iter": 4, "min_samples_leaf": 2},
    "KNeighborsClassifier": {"n_neighbors": 3},
    "LogisticRegressionCV": {"cv": 2, "Cs": [0.1, 10], "max_iter": 20},
    "MLPClassifier": {"max_iter": 10, "hidden_layer_sizes": (8,)},
    "NuSVC": {"nu": 0.1},
    "OneVsOneClassifier": {"estimator": LogisticRegression()},
    "OneVsRestClassifier": {"estimator": LogisticRegression()},
    "OutputCodeClassifier": {"estimator": LogisticRegression()},
    "QuadraticDiscriminantAnalysis": {"solver": "eigen", "shrinkage": 0.5},
    "RadiusNeighborsClassifier": {"radius": 3.0, "outlier_label": "most_frequent"},
    "RandomForestClassifier": {"n_estimators": 5},
    "SelfTrainingClassifier": {"estimator": GaussianNB()},
    "StackingClassifier": {
        "estimators": [("bayes", GaussianNB()), ("tree", DecisionTreeClassifier())],
        "final_estimator": LogisticRegression(),
        "cv": 2,
    },
    "TunedThresholdClassifierCV": {"estimator": GaussianNB(), "cv": 2, "thresholds": 5},
    "VotingClassifier": {
        "estimators": [("bayes", GaussianNB()), ("tree", DecisionTreeClassifier())]
    },
}
# Training that never ends on numbers beyond 1e39, so that these are left out.
ENDLESS = {"LinearSVC": "liblinear may never end on 1e200: not tried"}
TWO_CLASSES = ("FixedThresholdClassifier", "TunedThresholdClassifierCV")


def of_scikit_learn():
    """Return the classifiers of scikit-learn by name, each ready to be cloned."""
    found = {}
    for name, kind in all_estimators("classifier"):
        if name not in IMPOSSIBLE:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", FutureWarning)  # some are on their way out
                found[name] = kind(**SETTINGS.get(name, {}))
    return found


def combined():
    """Return pipelines and searches, among them those that draw where no seed is asked for."""
    forest = RandomForestClassifier(4, n_jobs=2)
    grid = {"max_depth": [1, 3]}
    return {
        "scaler, ridge": make_pipeline(StandardScaler(), RidgeClassifier()),
        "PCA, logistic": make_pipeline(PCA(2), LogisticRegression()),
        "mutual information, ridge": make_pipeline(
            SelectKBest(mutual_info_classif, k=2), RidgeClassifier()
        ),
        "F test, bayes": make_pipeline(SelectKBest(f_classif, k=2), GaussianNB()),
        "quantiles, neighbours": make_pipeline(
            QuantileTransformer(n_quantiles=5), KNeighborsClassifier(1)
        ),
        "bins, tree": make_pipeline(KBinsDiscretizer(3), DecisionTreeClassifier()),
        "random features, SGD": make_pipeline(RBFSampler(n_components=8), SGDClassifier()),
        "Nystroem, ridge": make_pipeline(Nystroem(n_components=4), RidgeClassifier()),
        "Isomap, bayes": make_pipeline(Isomap(n_neighbors=3), GaussianNB()),
        "forest on two threads": forest,
        "grid search": GridSearchCV(DecisionTreeClassifier(), grid, cv=2),
        "random search": RandomizedSearchCV(DecisionTreeClassifier(), grid, n_iter=1, cv=2),
        "bagged SGD": BaggingClassifier(SGDClassifier(max_iter=5), 3),
        "calibrated tree": CalibratedClassifierCV(DecisionTreeClassifier(), cv=2),
    }


def of_others():
    """Return estimators of the libraries that are installed, and why others are left out."""
    found, missing = {}, {}
    if find_spec("imblearn"):
        found |= _imbalanced()
    else:
        missing["imbalanced-learn"] = "not installed"
    if find_spec("lightgbm"):
        from lightgbm import LGBMClassifier

        exact = {"deterministic": True, "force_row_wise": True, "n_jobs": 1, "verbose": -1}
        small = {"n_estimators": 4, "min_child_samples": 2, "min_data_in_bin": 1}
        found["LightGBM"] = LGBMClassifier(**exact, **small)
        found["LightGBM, bagged"] = LGBMClassifier(
            **exact, **small, subsample=0.5, subsample_freq=1, colsample_bytree=0.5
        )
    else:
        missing["LightGBM"] = "not installed"
    if find_spec("xgboost"):
        from xgboost import XGBClassifier

        found["XGBoost, labels encoded"] = LabelEncodingClassifier(
            XGBClassifier(n_estimators=4, n_jobs=1, subsample=0.5)
        )
    else:
        missing["XGBoost"] = "not installed"
    if find_spec("catboost"):
        from catboost import CatBoostClassifier

        found["CatBoost"] = CatBoostClassifier(
            iterations=4, depth=2, thread_count=1, verbose=0, allow_writing_files=False
        )
    else:
        missing["CatBoost"] = "not installed"
    return found, missing


def _imbalanced():
    from imblearn.combine import SMOTEENN
    from imblearn.ensemble import (
        BalancedBaggingClassifier,
        BalancedRandomForestClassifier,
        EasyEnsembleClassifier,
        RUSBoostClassifier,
    )
    from imblearn.over_sampling import SMOTE, RandomOverSampler
    from imblearn.pipeline import make_pipeline as with_sampler
    from imblearn.under_sampling import EditedNearestNeighbours, RandomUnderSampler

    return {
        "RandomUnderSampler, ridge": with_sampler(RandomUnderSampler(), RidgeClassifier()),
        "RandomOverSampler, tree": with_sampler(RandomOverSampler(), DecisionTreeClassifier()),
        "scaler, SMOTE, bayes": with_sampler(StandardScaler(), SMOTE(k_neighbors=1), GaussianNB()),
        "EditedNearestNeighbours, ridge": with_sampler(
            EditedNearestNeighbours(n_neighbors=2), RidgeClassifier()
        ),
        "SMOTEENN, bayes": with_sampler(SMOTEENN(smote=SMOTE(k_neighbors=1)), GaussianNB()),
        "BalancedRandomForestClassifier": BalancedRandomForestClassifier(4),
        "BalancedBaggingClassifier": BalancedBaggingClassifier(n_estimators=3),
        "EasyEnsembleClassifier": EasyEnsembleClassifier(2, AdaBoostClassifier(n_estimators=3)),
        "RUSBoostClassifier": RUSBoostClassifier(n_estimators=3),
    }


# ---------------------------------------------------------------- data


def _whole_numbers(rng):
    X = rng.integers(0, 4, (400, 4)).astype(float)
    return X, (X[:, 0] + X[:, 1] + rng.integers(0, 3, 400)).astype(int) // 3


def _digits(rng):
    X, y = load_digits(return_X_y=True)
    rows = y < 4
    return X[rows][:, 18:46:5], y[rows]


DATA = (
    _whole_numbers,
    _digits,
    lambda rng: load_iris(return_X_y=True),
    lambda rng: load_wine(return_X_y=True),
)


class Table(NamedTuple):
    """Training and test rows, and the ensemble to attack."""

    X: np.ndarray
    y: np.ndarray
    X_test: np.ndarray
    clf: DeepPartitionAggregation


def draw_table(name, estimator, rng):
    """Return random data, and an ensemble with random settings."""
    X, y = DATA[rng.integers(len(DATA))](rng)
    if name in TWO_CLASSES:
        y = np.minimum(y, 1)
    order = rng.permutation(len(y))[:N_ROWS]
    X, y = X[order], y[order]
    if rng.integers(3) == 0:
        y = np.array(["alpha", "beta", "gamma", "delta"])[y]
    # Beside unseen rows there are points between two rows, where classes are often close.
    pairs = rng.integers(0, N_ROWS, (2, N_TEST - (N_ROWS - N_TRAIN)))
    X_test = np.vstack([X[N_TRAIN:], X[pairs].mean(axis=0)])
    options = {"on_error": "abstain"} if "on_error" in PARAMETERS else {}
    if rng.integers(2):
        options["classes"] = np.unique(y)
    scored = hasattr(estimator, "decision_function") or hasattr(estimator, "predict_proba")
    if scored and rng.integers(4) == 0:
        options["aggregation"] = "run_off"
    clf = DeepPartitionAggregation(estimator, int(rng.integers(3, 7)), **options)
    return Table(X[:N_TRAIN], y[:N_TRAIN], X_test, clf)


# ---------------------------------------------------------------- attacks


def draw_attack(table, magnitudes, rng):
    """Return attacked data, positions of untouched rows after and before, and the operations."""
    n, n_features = table.X.shape
    delete, flip, rows, labels = [], [], [], []
    new = "~ new" if table.y.dtype.kind == "U" else int(table.y.max()) + 5
    known = np.unique(table.y).tolist() + ([] if table.clf.classes is not None else [new])
    for _ in range(rng.integers(1, 4)):
        i, label = int(rng.integers(n)), known[rng.integers(len(known))]
        kind = rng.integers(5)
        if kind == 0:
            delete.append(i)
        elif kind == 1:
            flip.append((i, label))
        else:
            row = table.X[i].copy()
            if kind == 2:
                row[:] = magnitudes[rng.integers(len(magnitudes))]
            elif kind == 3:
                row[rng.integers(n_features)] = magnitudes[rng.integers(len(magnitudes))]
            rows.append(row)
            labels.append(label)
    y = table.y.astype("U8") if table.y.dtype.kind == "U" else table.y.copy()
    for i, label in flip:
        y[i] = label
    stay = np.setdiff1d(np.arange(n), delete)
    kept = ~np.isin(stay, [i for i, _ in flip])
    X = np.vstack([table.X[stay], *rows])
    y = np.concatenate([y[stay], np.array(labels, dtype=y.dtype)])
    cost = len(set(delete)) + 2 * len({i for i, _ in flip}) + len(labels)
    return X, y, np.flatnonzero(kept), stay[kept], cost


class Outcome(NamedTuple):
    """What a fitted ensemble says; ballots are labels, or None."""

    ballots: np.ndarray
    partition: np.ndarray
    y_pred: np.ndarray
    radius: np.ndarray


def outcome(clf, X, y, X_test):
    """Fit a clone and ask it everything."""
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        clf = clone(clf).fit(X, y)
        labels = np.append(np.asarray(clf.classes_, dtype=object), None)
        return Outcome(labels[clf.ballots(X_test)], clf.partition_, *clf.certify(X_test))


def compare(before, after, kept, origin, cost):
    """Return what an attack broke."""
    found = Counter()
    found["rows moved"] = int((after.partition[kept] != before.partition[origin]).sum())
    touched = {*np.delete(before.partition, origin), *np.delete(after.partition, kept)}
    changed = np.flatnonzero((after.ballots != before.ballots).any(axis=0)).tolist()
    found["foreign members"] = len(set(changed) - touched)
    found["members changed"] = len(changed)
    beaten = (after.y_pred != before.y_pred) & (before.radius >= cost)
    found["beaten"] = int(beaten.sum())
    return found


def attack_table(name, estimator, seed, n_attacks=N_ATTACKS):
    """Attack one random table; return counts, a digest of all answers, and an error if any."""
    rng = np.random.default_rng([seed, crc32(name.encode())])
    table = draw_table(name, estimator, rng)
    found, digest = Counter(), 0
    try:
        before = outcome(table.clf, table.X, table.y, table.X_test)
    except Exception as error:
        return found, digest, f"{type(error).__name__}: {str(error).splitlines()[0]}"
    if np.equal(before.ballots, None).mean() > 0.5:  # nothing to attack: drawn anew
        return found, digest, "more than half of the ballots are abstentions"
    again = outcome(table.clf, table.X, table.y, table.X_test)
    found["not repeatable"] = int((again.ballots != before.ballots).any(axis=0).sum())
    error, magnitudes = "", MAGNITUDES[:1] if name in ENDLESS else MAGNITUDES
    for _ in range(n_attacks):
        X, y, kept, origin, cost = draw_attack(table, magnitudes, rng)
        try:
            after = outcome(table.clf, X, y, table.X_test)
        except Exception as caught:
            found["refused"] += 1
            error = f"{type(caught).__name__}: {str(caught).splitlines()[0]}"
            continue
        found += compare(before, after, kept, origin, cost)
        found["predictions"] += len(table.X_test)
        digest = crc32(repr(after.ballots.tolist()).encode(), digest)
    return found, digest, error


# ---------------------------------------------------------------- run


class Workers:
    """A process for attacks, which is ended when one takes too long."""

    def __init__(self, hash_seed):
        self.hash_seed, self.pool = hash_seed, None

    def call(self, function, *args):
        if self.pool is None:
            env = {"PYTHONHASHSEED": self.hash_seed, "PYTHONWARNINGS": "ignore"}
            self.pool = ProcessPoolExecutor(max_workers=1, env=env)
        try:
            return self.pool.submit(function, *args).result(SECONDS_A_TABLE)
        except Exception:
            self.close()
            raise

    def close(self):
        if self.pool is not None:
            self.pool.shutdown(wait=True, kill_workers=True)
            self.pool = None


BROKEN = ("rows moved", "foreign members", "beaten", "not repeatable", "other process")


def attack_estimator(name, estimator, seed, n_predictions, here, there):
    """Attack tables until so many predictions were attacked; return counts and a remark."""
    total, remark, number = Counter(), ENDLESS.get(name, ""), 0
    attack = partial(attack_table, name, estimator)
    most = 3 * -(-n_predictions // (N_TEST * N_ATTACKS)) + 3
    while total["predictions"] < n_predictions and number < most:
        try:
            found, digest, error = here.call(attack, seed + number)
            if number == 0:
                other = there.call(attack, seed)
                total["other process"] += (found, digest) != other[:2]
        except TimeoutError:
            found, error = Counter(endless=1), f"no end after {SECONDS_A_TABLE} s"
        total += found
        remark = error or remark
        number += 1
        if total["endless"] > 1:
            break
    return total, remark


def print_header():
    upper = ["attacked", "members", "rows", "foreign", "radii", "not-re-", "other", "attacks"]
    lower = ["labels", "changed", "moved", "members", "beaten", "peatable", "process", "refused"]
    for name, words in (("", upper), ("estimator", lower)):
        print(f"{name:<32}" + "".join(f"{word:>10}" for word in words))


def print_line(name, total, remark):
    columns = ("predictions", "members changed", *BROKEN, "refused")
    numbers = "".join(f"{total[column]:>10}" for column in columns)
    print(f"{name[:32]:<32}{numbers}  {remark[:90]}", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--n-predictions", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", nargs="+", default=None)
    args = parser.parse_args()
    others, missing = of_others()
    estimators = of_scikit_learn() | combined() | others
    if args.only:
        estimators = {k: v for k, v in estimators.items() if any(o in k for o in args.only)}
    print_header()
    start, grand, certified = time.perf_counter(), Counter(), 0
    here, there = Workers("1"), Workers("2")
    share = -(-args.n_predictions // len(estimators))
    try:
        for name, estimator in estimators.items():
            total, remark = attack_estimator(name, estimator, args.seed, share, here, there)
            print_line(name, total, remark)
            grand += total
            certified += total["predictions"] > 0
    finally:
        here.close()
        there.close()
    for name, reason in (IMPOSSIBLE | missing).items() if not args.only else ():
        print(f"{name[:32]:<32}  not certified: {reason}")
    print_line("all", grand, "")
    broken = sum(grand[kind] for kind in BROKEN)
    print(
        f"{grand['predictions']} attacked predictions of {certified} estimators in "
        f"{time.perf_counter() - start:.0f} s, {broken} promises broken"
    )
    return int(broken > 0)


if __name__ == "__main__":
    sys.exit(main())
