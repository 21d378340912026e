"""Clones that are seeded in all their parts, and which of these draw from nothing else."""

import numbers
import sys
import types

import numpy as np
from sklearn.base import clone
from sklearn.frozen import FrozenEstimator


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
    if _copies_do(first):  # in a tenth of the time
        yield from (_seeded_copy(first, seed) for seed in seeds)
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


def _copies_do(value):
    """Say whether an estimator consists of scikit-learn's own parts and of constants alone."""
    if isinstance(value, _CONSTANT):
        return True
    if type(value) in (list, tuple):
        return all(map(_copies_do, value))
    ours = type(value).__module__.startswith("sklearn.") and hasattr(value, "get_params")
    if not ours or isinstance(value, type | FrozenEstimator):
        return False
    return all(map(_copies_do, vars(value).values()))


def _seeded_copy(value, seed):
    """Return a copy of an estimator, with its seed in every part; of lists of parts as well."""
    if isinstance(value, _CONSTANT):
        return value
    if type(value) in (list, tuple):
        return type(value)([_seeded_copy(part, seed) for part in value])
    copy = object.__new__(type(value))
    own = vars(copy)
    own.update(vars(value))
    for name, part in vars(value).items():
        if not isinstance(part, _CONSTANT):
            own[name] = _seeded_copy(part, seed)
    if "random_state" in own:
        own["random_state"] = seed
    return copy


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
