"""A cached member is recalled for the code, the versions and the rows that it was trained by."""

import functools
import importlib
import importlib.metadata
import os
import subprocess
import sys
import threading

import numpy as np
import pytest
import threadpoolctl
from sklearn.datasets import load_iris
from sklearn.decomposition import PCA
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import RidgeClassifier
from sklearn.naive_bayes import GaussianNB
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

from certified_ensembles import DeepPartitionAggregation, LabelFlipSmoothingClassifier
from certified_ensembles._spec import content_key, recipe_of

X, Y = load_iris(return_X_y=True)


def key_of(source, **space):
    """Return the key of what a piece of source defines, as a script would."""
    space["__name__"] = "__main__"
    exec(source, space)
    return content_key(space["features"])


SAME = "def features(X): return X[:, :2]"


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("def features(X): return X[:, :2]", "def features(X): return X[:, :3]"),
        ("features = lambda X: X + 1", "features = lambda X: X - 1"),
        ("features = lambda X: X.min()", "features = lambda X: X.max()"),
        ("def features(X, n=2): return X[:, :n]", "def features(X, n=3): return X[:, :n]"),
        ("def features(X, *, n=2): return X[:, :n]", "def features(X, *, n=3): return X[:, :n]"),
        (
            "features = lambda x: x in {'a', 'b'}",
            "features = lambda x: x in {'a', 'c'}",
        ),
        ("def features(X): return lambda: X + 1", "def features(X): return lambda: X + 2"),
    ],
)
def test_an_edited_function_has_another_key(before, after):
    assert key_of(before) == key_of(before)
    assert key_of(before) != key_of(after)


INDIRECT = """
SCALE = {scale}
def inner(X): return X * {factor}
def helper(X): return inner(X)
class Step:
    def by(self, X): return helper(X) * SCALE
def features(X): return Step().by(X)
"""


@pytest.mark.parametrize("changed", [{"scale": 2}, {"factor": 2}])
def test_what_a_function_calls_indirectly_is_in_its_key(changed):
    same = {"scale": 1, "factor": 1}
    assert key_of(INDIRECT.format(**same)) == key_of(INDIRECT.format(**same))
    assert key_of(INDIRECT.format(**same)) != key_of(INDIRECT.format(**same | changed))


CLASS = """
class Base:
    limit = {limit}
    def scale(self, X): return X
class features(Base):
    @property
    def width(self): return {width}
    @staticmethod
    def shift(X): return X + {shift}
    @classmethod
    def made(cls): return cls({made})
"""


@pytest.mark.parametrize("changed", ["limit", "width", "shift", "made"])
def test_all_that_a_class_holds_is_in_its_key(changed):
    same = dict.fromkeys(["limit", "width", "shift", "made"], 1)
    assert key_of(CLASS.format(**same)) == key_of(CLASS.format(**same))
    assert key_of(CLASS.format(**same)) != key_of(CLASS.format(**same | {changed: 2}))


def test_comments_places_and_unused_neighbours_are_not_in_a_key():
    moved = "import numpy as np\n\n\nunused = 3\n# Two columns.\n" + SAME
    assert key_of(SAME) == key_of(moved)


def column(n):
    def features(X):
        return X[:, :n]

    return features


def scaled(X, by=1.0):
    return X * by


def test_values_of_closures_and_of_partials_are_in_a_key():
    assert content_key(column(2)) == content_key(column(2)) != content_key(column(3))
    one, two = (functools.partial(scaled, by=by) for by in (1.0, 2.0))
    assert content_key(one) == content_key(functools.partial(scaled, by=1.0)) != content_key(two)
    other = functools.partial(column(2), by=1.0)
    assert content_key(one) != content_key(other)


def test_functions_that_call_each_other_have_a_key():
    source = """
def even(n): return n == 0 or odd(n - 1)
def odd(n): return n != {stop} and even(n - 1)
features = even
"""
    assert key_of(source.format(stop=0)) == key_of(source.format(stop=0))
    assert key_of(source.format(stop=0)) != key_of(source.format(stop=1))


def test_wrapped_functions_have_the_key_of_what_they_wrap():
    source = "import functools\n@functools.lru_cache\ndef features(n): return n + {}"
    assert key_of(source.format(1)) == key_of(source.format(1)) != key_of(source.format(2))


class Bound:
    def __init__(self, by):
        self.by = by

    def scaled(self, X):
        return X * self.by


def test_a_bound_method_has_the_key_of_its_function_and_its_object():
    assert content_key(Bound(1).scaled) == content_key(Bound(1).scaled)
    assert content_key(Bound(1).scaled) != content_key(Bound(2).scaled)


def test_what_cannot_be_pickled_is_never_recalled():
    source = "def features(X):\n    with lock:\n        return X"
    assert key_of(source, lock=threading.Lock()) != key_of(source, lock=threading.Lock())


# ---------------------------------------------------------------- modules and versions


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Return a folder from which modules are imported, as from that of a script."""
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    yield tmp_path
    for name in ("beside_a", "beside_b"):
        sys.modules.pop(name, None)


def imported(folder, name, source):
    (folder / f"{name}.py").write_text(source)
    importlib.invalidate_caches()
    sys.modules.pop(name, None)
    return importlib.import_module(name)


def test_a_module_beside_the_script_counts_by_what_is_used_of_it(folder):
    script = "import beside_a\ndef features(X): return beside_a.used(X)"
    helper = "def used(X): return X + {}\ndef unused(X): return X + {}"
    keys = []
    for numbers in [(1, 1), (1, 1), (1, 2), (2, 1)]:
        imported(folder, "beside_a", helper.format(*numbers))
        keys.append(key_of(script))
    assert keys[0] == keys[1] == keys[2] != keys[3]


@pytest.mark.parametrize("statement", ["import beside_a", "from beside_a import used"])
def test_modules_that_a_function_imports_as_it_runs_count_by_their_source(folder, statement):
    script = f"def features(X):\n    {statement}\n    return used(X)"
    keys = []
    for number in (1, 1, 2):
        (folder / "beside_b.py").write_text(f"STEP = {number}")
        source = "from beside_b import STEP\ndef used(X): return X + STEP"
        (folder / "beside_a.py").write_text(source)
        importlib.invalidate_caches()
        keys.append(key_of(script))
    assert keys[0] == keys[1] != keys[2]
    assert "beside_a" not in sys.modules


def test_a_class_of_a_module_beside_the_script_is_in_the_key(folder):
    source = "class Step:\n    def run(self, X): return X + {}"
    keys = []
    for number in (1, 1, 2):
        keys.append(content_key(imported(folder, "beside_a", source.format(number)).Step()))
    assert keys[0] == keys[1] != keys[2]


def bump(monkeypatch, package):
    old = importlib.metadata.version
    monkeypatch.setattr(
        importlib.metadata, "version", lambda name: "99" if name == package else old(name)
    )


@pytest.mark.parametrize(
    "package", ["scikit-learn", "numpy", "scipy", "certified-ensembles", "threadpoolctl"]
)
def test_versions_of_what_trains_a_member_are_in_its_key(monkeypatch, package):
    step = FunctionTransformer(kw_args={"of": threadpoolctl.threadpool_limits})
    before = recipe_of(step)[0]
    bump(monkeypatch, package)
    assert recipe_of(step)[0] != before


def test_versions_of_other_packages_are_not_in_a_key(monkeypatch):
    before = recipe_of(GaussianNB())
    bump(monkeypatch, "pytest")
    assert recipe_of(GaussianNB()) == before
    assert not before[1]


def test_keys_are_the_same_in_every_process():
    code = (
        "from certified_ensembles._spec import recipe_of\n"
        "from sklearn.preprocessing import FunctionTransformer\n"
        "names = {'a', 'b', 'c', 'd'}\n"
        "def features(X): return X if X in {'p', 'q', 'r', 's'} else names\n"
        "print(recipe_of(FunctionTransformer(features)))"
    )
    said = {
        subprocess.run(
            [sys.executable, "-c", code],
            capture_output=True,
            text=True,
            check=True,
            env={**os.environ, "PYTHONHASHSEED": str(seed)},
        ).stdout
        for seed in (1, 2)  # which walk through these sets in other orders
    }
    assert len(said) == 1


# ---------------------------------------------------------------- ensembles


def first_two(X):
    return X[:, :2]


def last_two(X):
    return X[:, 2:]


def shown(X):
    return np.array(X)


def n_kept(folder):
    return len(list(folder.glob("**/output.pkl")))


def cached(folder, function, **params):
    base = make_pipeline(FunctionTransformer(function), GaussianNB())
    return DeepPartitionAggregation(base, 5, memory=str(folder), **params).fit(X, Y)


def test_members_of_an_edited_helper_are_trained_anew(tmp_path, monkeypatch):
    monkeypatch.setitem(globals(), "shown", first_two)

    def features(X):
        return shown(X)

    before = cached(tmp_path, features)
    assert n_kept(tmp_path) == 5
    cached(tmp_path, features)
    assert n_kept(tmp_path) == 5
    monkeypatch.setitem(globals(), "shown", last_two)
    after = cached(tmp_path, features)
    assert n_kept(tmp_path) == 10
    assert (before.ballots(X) != after.ballots(X)).any()


def test_members_of_another_version_are_trained_anew(tmp_path, monkeypatch):
    cached(tmp_path, first_two)
    bump(monkeypatch, "scikit-learn")
    cached(tmp_path, first_two)
    assert n_kept(tmp_path) == 10


def test_members_with_lambdas_are_kept_and_opened_again(tmp_path):
    features = lambda X: X[:, :2]  # noqa: E731
    before = cached(tmp_path, features)
    after = cached(tmp_path, features)
    assert n_kept(tmp_path) == 5
    np.testing.assert_array_equal(before.ballots(X), after.ballots(X))


def test_a_representation_with_an_edited_step_is_learned_anew(tmp_path):
    def fitted(function):
        steps = make_pipeline(FunctionTransformer(function), PCA(2))
        clf = LabelFlipSmoothingClassifier(
            RidgeClassifier(), representation=steps, memory=str(tmp_path)
        )
        return clf.fit(X, Y == 0).predict(X)

    fitted(first_two)
    assert n_kept(tmp_path) == 1
    fitted(first_two)
    assert n_kept(tmp_path) == 1
    fitted(last_two)
    assert n_kept(tmp_path) == 2


def test_seeds_and_jobs_that_the_estimator_names_are_not_in_the_key(tmp_path):
    for params in ({"random_state": 3, "n_jobs": 3}, {"random_state": 4, "n_jobs": 2}):
        base = RandomForestClassifier(2, **params)
        DeepPartitionAggregation(base, 5, memory=str(tmp_path)).fit(X, Y)
        assert base.get_params()["n_jobs"] == params["n_jobs"]
    assert n_kept(tmp_path) == 5


def test_the_bar_says_how_many_members_came_from_the_cache(tmp_path, capsys):
    kept = DeepPartitionAggregation(
        GaussianNB(), 5, memory=str(tmp_path), verbose=1, hasher=by_value
    )
    kept.fit(X, Y)
    assert "from the cache" not in capsys.readouterr().err
    changed = Y.copy()
    changed[0] = 2
    kept.fit(X, changed)
    assert "4 from the cache" in capsys.readouterr().err


def by_value(X):
    return (X[:, 0] * 10).astype(int)


SCRIPT = """
import sys
import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.datasets import load_iris
from sklearn.naive_bayes import GaussianNB
from certified_ensembles import DeepPartitionAggregation
import beside
X, Y = load_iris(return_X_y=True)

def shift(X):
    return beside.shifted(X)

class Mine(ClassifierMixin, BaseEstimator):
    def fit(self, X, y):
        self.model_ = GaussianNB().fit(shift(X), y)
        self.classes_ = self.model_.classes_
        return self
    def predict(self, X):
        return self.model_.predict(shift(X))

how = dict(n_partitions=3, classes=range(3))
n_jobs = int(sys.argv[2])
kept = DeepPartitionAggregation(Mine(), memory=sys.argv[1], n_jobs=n_jobs, verbose=1, **how)
kept.fit(X, Y)
fresh = DeepPartitionAggregation(Mine(), **how).fit(X, Y)
print((kept.ballots(X) == fresh.ballots(X)).all())
"""


def test_a_script_with_a_module_beside_it_keeps_members_with_two_jobs(tmp_path):
    (tmp_path / "script.py").write_text(SCRIPT)
    counts = []
    # What other processes have kept, the script's own opens again: all agree on the keys. (More
    # of them take seconds to start.)
    for shift, n_jobs in (("X", "2"), ("X", "1"), ("X[:, ::-1]", "1")):
        (tmp_path / "beside.py").write_text(f"def shifted(X): return {shift}")
        done = subprocess.run(
            [sys.executable, "-B", tmp_path / "script.py", tmp_path / "cache", n_jobs],
            capture_output=True,
            text=True,
        )
        assert done.stdout.strip() == "True", done.stderr
        counts.append("3 from the cache" in done.stderr)
    assert counts == [False, True, False]
