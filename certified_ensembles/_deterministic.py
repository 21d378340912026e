"""Training that is a function of rows and seed: one thread, seeded generators, plain floats."""

# ruff: noqa: NPY002 - the legacy generator is global, so it is the one to seed and restore

import contextlib
import importlib.abc
import numbers
import random
import sys
import threading
import types

import numpy as np
from numpy.random import bit_generator
from sklearn.base import clone
from sklearn.frozen import FrozenEstimator
from threadpoolctl import ThreadpoolController


def parts_of(estimator, frozen=True):
    """Return the estimator and everything nested in its parameters, lists and dicts of them too.

    A search holds whole estimators in its grid. With ``frozen=False`` without what is inside a
    `FrozenEstimator`, which clones share with their original.
    """
    parts, seen = [], set()

    def visit(value):
        if id(value) in seen or isinstance(value, str | bytes | int | float | np.ndarray):
            return
        seen.add(id(value))
        if isinstance(value, dict | list | tuple):
            for inner in value.values() if isinstance(value, dict) else value:
                visit(inner)
            if not isinstance(value, dict):
                return
        parts.append(value)
        if isinstance(value, FrozenEstimator) and not frozen:
            return
        if hasattr(value, "get_params") and not isinstance(value, type):
            for inner in value.get_params(deep=False).values():
                visit(inner)

    visit(estimator)
    return parts


_CONSTANT = (bool, int, float, str, bytes, type(None), np.generic)


def seeded_clones(estimator, seeds):
    """Yield clones of an estimator, every nested random_state set to one seed each.

    Every nested n_jobs becomes 1: a forest, for one, adds up its trees in the order in which its
    threads finish.
    """
    first = one_job(clone(estimator))
    if type(first).__module__.startswith("sklearn.") and all(
        isinstance(value, _CONSTANT) for value in vars(first).values()
    ):  # copies do, in a tenth of the time
        for seed in seeds:
            member = object.__new__(type(first))
            vars(member).update(vars(first))
            if hasattr(member, "random_state"):
                member.random_state = seed
            yield member
        return
    for seed in seeds:
        member = clone(first)
        for part in parts_of(member, frozen=False):
            if isinstance(part, dict):  # a grid that sets seeds itself may say None
                for name, values in part.items():
                    if str(name).endswith("random_state") and isinstance(values, list | tuple):
                        part[name] = [v if isinstance(v, int) else seed for v in values]
            elif hasattr(part, "get_params") and not isinstance(part, type):
                if "random_state" in part.get_params(deep=False):
                    part.set_params(random_state=seed)
            elif _is_splitter(part):
                part.random_state = seed
        yield member


def _is_splitter(part):
    return hasattr(part, "random_state") and not hasattr(part, "get_params")


def one_job(estimator):
    """Set every nested n_jobs to 1, but for those that change no result; return the estimator.

    What is frozen belongs to the user, and keeps its own.
    """
    for part in parts_of(estimator, frozen=False):
        if isinstance(part, dict):  # a grid may set it as well
            for name, values in part.items():
                if str(name).endswith("n_jobs") and isinstance(values, list | tuple):
                    part[name] = [1] * len(values)
        elif hasattr(part, "get_params") and not isinstance(part, type):
            given = part.get_params(deep=False).get("n_jobs")
            if given is not None and not _is_exact_in_threads(part):
                part.set_params(n_jobs=1)
    return estimator


def _is_exact_in_threads(part):
    return any(_is_public(type(part), module, names) for module, names in _EXACT_IN_THREADS)


def is_net(estimator):
    """Say whether a torch module is trained somewhere inside the estimator."""
    return any(
        base.__module__.partition(".")[0] in ("skorch", "torch")
        for part in parts_of(estimator)
        for base in getattr(type(part), "__mro__", ())
    )


# ---------------------------------------------------------------- threads


class _OneThread:
    """Context in which BLAS and OpenMP use one thread, whatever joblib does around it.

    Rounding depends on the number of threads. The limit holds for the whole process, so
    the last of several threads to leave restores it.
    """

    def __init__(self):
        self._lock = threading.Lock()
        self._depth = 0
        self._known_modules = 0

    def __enter__(self):
        with self._lock:
            if self._known_modules != len(sys.modules):  # a new library may bring its own pool
                self._controller = ThreadpoolController()
                self._known_modules = len(sys.modules)
            limiter = self._controller.limit(limits=1)
            if self._depth == 0:
                self._original = limiter
            self._depth += 1

    def __exit__(self, *exception):
        with self._lock:
            self._depth -= 1
            if self._depth == 0:
                self._original.restore_original_limits()


one_thread = _OneThread()


# ---------------------------------------------------------------- what draws nothing

# Classes and functions that draw from no generator of the process once every `random_state` is an
# integer, by the module that makes them public; tests/members/test_entropy.py watches each of
# them. Whatever is not here is seeded, which takes a tenth of a millisecond: so these are the
# fast ones alone. The rest of scikit-learn is left out on purpose: some of it draws inside
# (`mutual_info_classif`, what restarts ARPACK), and a later version may.
_DRAWS_NOTHING = {
    "sklearn.cluster": ("KMeans", "MiniBatchKMeans"),
    "sklearn.compose": ("ColumnTransformer", "make_column_selector"),
    "sklearn.decomposition": ("PCA", "TruncatedSVD"),
    "sklearn.discriminant_analysis": (
        "LinearDiscriminantAnalysis",
        "QuadraticDiscriminantAnalysis",
    ),
    "sklearn.dummy": ("DummyClassifier",),
    "sklearn.feature_extraction": ("DictVectorizer", "FeatureHasher"),
    "sklearn.feature_extraction.text": (
        "CountVectorizer",
        "HashingVectorizer",
        "TfidfTransformer",
        "TfidfVectorizer",
    ),
    "sklearn.feature_selection": ("SelectKBest", "VarianceThreshold", "chi2", "f_classif"),
    "sklearn.frozen": ("FrozenEstimator",),
    "sklearn.impute": ("SimpleImputer",),
    "sklearn.kernel_approximation": ("Nystroem", "RBFSampler"),
    "sklearn.linear_model": ("LogisticRegression", "Ridge", "RidgeClassifier", "SGDClassifier"),
    "sklearn.naive_bayes": (
        "BernoulliNB",
        "CategoricalNB",
        "ComplementNB",
        "GaussianNB",
        "MultinomialNB",
    ),
    "sklearn.neighbors": (
        "KNeighborsClassifier",
        "NearestCentroid",
        "NearestNeighbors",
        "RadiusNeighborsClassifier",
    ),
    "sklearn.pipeline": ("FeatureUnion", "Pipeline"),
    "sklearn.preprocessing": (
        "Binarizer",
        "FunctionTransformer",
        "KBinsDiscretizer",
        "MaxAbsScaler",
        "MinMaxScaler",
        "Normalizer",
        "OneHotEncoder",
        "OrdinalEncoder",
        "PolynomialFeatures",
        "QuantileTransformer",
        "RobustScaler",
        "StandardScaler",
    ),
    "sklearn.svm": ("LinearSVC", "SVC"),
    "sklearn.tree": ("DecisionTreeClassifier", "ExtraTreeClassifier"),
    "certified_ensembles.features": ("Deskew", "HOGFeatures", "PatchFeatures"),
    "certified_ensembles.representations": ("LaplacianEigenmap",),
}
_MODULES_OF = {name: module for module, names in _DRAWS_NOTHING.items() for name in names}
# Their threads share no sum: a number of them changes no result, and may stay.
_EXACT_IN_THREADS = (
    ("certified_ensembles.features", ("PatchFeatures",)),
    ("certified_ensembles.representations", ("LaplacianEigenmap",)),
)
# Values of parameters that draw nothing.
_PLAIN = (bool, set, frozenset, range, slice, complex, dict, np.generic, np.ufunc, np.dtype)
_PLAIN_TYPES = (np.generic, int, float, str, bytes, complex, list, dict)


def draws_globally(estimator):
    """Say whether an estimator may draw from a generator that no `random_state` seeds.

    Only what is known by its exact class to draw nothing, in all its parts, does not.
    """
    return not all(map(_draws_nothing, parts_of(estimator)))


def may_draw(estimator):
    """Say whether an estimator may draw as it is, which has not got a seed from us."""
    return draws_globally(estimator) or any(
        not isinstance(getattr(part, "random_state", 0), numbers.Integral)
        for part in parts_of(estimator)
        if not isinstance(part, type)
    )


def seeded(function, seed, needed=True):
    """Return a function that runs with seeded generators each time."""
    if not needed:
        return function

    def call(*args, **kwargs):
        with global_seed(seed):
            return function(*args, **kwargs)

    return call


def _draws_nothing(part):
    if part is None or isinstance(part, _PLAIN):
        return True
    if isinstance(part, type):
        return issubclass(part, _PLAIN_TYPES) and part.__module__ in ("builtins", "numpy")
    owner = part if isinstance(part, types.FunctionType) else type(part)
    if not _is_public(owner, _MODULES_OF.get(owner.__name__), _MODULES_OF):
        return False
    # ARPACK draws a new start where the first one is used up.
    return "arpack" not in (getattr(part, "svd_solver", None), getattr(part, "algorithm", None))


def _is_public(owner, module, names):
    """Say whether a class or function is the very one that a module makes public by its name."""
    name = owner.__name__
    return name in names and getattr(sys.modules.get(module), name, None) is owner


# ---------------------------------------------------------------- global generators

_GLOBAL_GENERATORS = threading.RLock()
_own_generators = []  # those that hold the lock, the outermost first


class OwnGenerators:
    """Context in which the process's generators are ours to seed; they are restored after.

    These are the generators of random, numpy and torch, also where torch is imported within, and
    the entropy that numpy takes for generators without a seed: what ARPACK restarts from, for
    instance. They belong to the process, so that threads take turns.
    """

    def __enter__(self):
        _GLOBAL_GENERATORS.acquire()
        self._seed, self._bits, self._torch = 0, None, None
        self._python, self._numpy = random.getstate(), np.random.get_state()
        self._entropy, self.thread = bit_generator.randbits, threading.get_ident()

        def randbits(k):
            if threading.get_ident() != self.thread:
                return self._entropy(k)
            if self._bits is None:
                self._bits = random.Random(self._seed)
            return self._bits.getrandbits(k)

        bit_generator.randbits = randbits
        _own_generators.append(self)
        torch = sys.modules.get("torch")
        # Another thread may be about to import it.
        if torch is not None and not getattr(torch.__spec__, "_initializing", False):
            self._keep_torch()
        elif len(_own_generators) == 1:
            sys.meta_path.insert(0, _torch_finder)
        return self

    def seed(self, seed):
        """Seed all of them."""
        self._seed, self._bits = seed, None
        random.seed(seed)
        np.random.seed(seed)
        if self._torch is not None:
            self._torch.manual_seed(seed)

    def _keep_torch(self):
        self._torch = torch = sys.modules["torch"]
        begun = torch.cuda.is_initialized()
        self._queued = torch.cuda.is_available() and not begun
        self._devices = torch.cuda.get_rng_state_all() if begun else []
        self._cpu = torch.get_rng_state()

    def torch_arrived(self):
        """Seed torch, which has just been imported, as if it had been there before."""
        self._keep_torch()
        self._torch.manual_seed(self._seed)

    def __exit__(self, *exception):
        _own_generators.pop()
        if _torch_finder in sys.meta_path and not _own_generators:
            sys.meta_path.remove(_torch_finder)
        bit_generator.randbits = self._entropy
        random.setstate(self._python)
        np.random.set_state(self._numpy)
        if self._torch is not None:
            self._torch.set_rng_state(self._cpu)
            for device, state in enumerate(self._devices):
                self._torch.cuda.set_rng_state(state, device)
            if self._queued:  # torch keeps a seed for CUDA until that begins, and has kept ours
                self._torch.cuda.manual_seed_all(self._torch.initial_seed())
        _GLOBAL_GENERATORS.release()


class _TorchFinder(importlib.abc.MetaPathFinder):
    """Tells `OwnGenerators` as soon as torch has been imported."""

    def find_spec(self, name, path=None, target=None):
        if name != "torch":
            return None
        for finder in sys.meta_path:
            find = None if finder is self else getattr(finder, "find_spec", None)
            spec = None if find is None else find(name, path, target)
            if spec is not None:
                spec.loader = _TorchLoader(spec.loader)
                return spec
        return None


class _TorchLoader(importlib.abc.Loader):
    def __init__(self, loader):
        self._loader = loader

    def __getattr__(self, name):
        return getattr(self._loader, name)

    def create_module(self, spec):
        return self._loader.create_module(spec)

    def exec_module(self, module):
        module.__spec__.loader = module.__loader__ = self._loader
        self._loader.exec_module(module)
        for generators in list(_own_generators):
            generators.torch_arrived()


_torch_finder = _TorchFinder()


def reseed(seed):
    """Seed the generators once more, where this thread is in a context in which they are ours."""
    if _own_generators and _own_generators[-1].thread == threading.get_ident():
        _own_generators[-1].seed(seed)


@contextlib.contextmanager
def global_seed(seed, needed=True):
    """Seed the generators of random, numpy and torch, and restore them after."""
    if not needed:
        yield
        return
    with OwnGenerators() as generators:
        generators.seed(seed)
        yield


def add_up(terms):
    """Add arrays one by one: numpy's own sums choose their order by shape and strides."""
    terms = iter(terms)
    total = next(terms).copy()
    for term in terms:
        total += term
    return total
