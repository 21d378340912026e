"""What is cloned and trained, and what of it decides how rows, seeds and caches are handled."""

import functools
from dataclasses import dataclass
from typing import Any, NamedTuple

from joblib import parallel_config

from .._data.views import view_of
from .._deterministic import draws_globally, global_seed, is_net, seeded_clones
from .code_key import content_key, recipe_of
from .store import Outcome, store_of

# Modules of scikit-learn whose classifiers check rows and nothing else of a frame.
_NAMELESS = (
    "sklearn.linear_model.",
    "sklearn.naive_bayes",
    "sklearn.discriminant_analysis",
    "sklearn.neighbors.",
    "sklearn.tree.",
    "sklearn.svm.",
)


@dataclass(frozen=True)
class MemberSpec:
    """What all members have in common.

    Make it by :meth:`of`. It follows from types and parameters alone, never from rows.

    Parameters
    ----------
    estimator : estimator
        Unfitted; cloned for each member.
    float32 : bool
        Whether members take single precision (nets do), see `view_of`.
    seeds_global_rng : bool
        Whether the global generators are seeded for each fit and each answer.
    store : FolderStore, ForeignStore or None
        Where fitted members are kept.
    categorical : ndarray of shape (n_columns,), bool, or None
        The columns that reach members as categories.
    is_regression : bool
        Whether members learn numbers, and not labels.
    """

    estimator: Any
    float32: bool
    seeds_global_rng: bool
    store: Any
    categorical: Any = None
    is_regression: bool = False

    @classmethod
    def of(cls, estimator, memory=None, categorical=None, is_regression=False):
        """Return the specification of an estimator, with a cache as users name it."""
        single, seeded = is_net(estimator), draws_globally(estimator)
        return cls(estimator, single, seeded, store_of(memory), categorical, is_regression)

    def clones(self, seeds):
        """Yield a clone for each seed, with that seed in every nested `random_state`."""
        return seeded_clones(self.estimator, seeds)

    def view(self, table):
        """Return the form in which a member that is trained on these rows gets rows."""
        bare = looks_at_no_columns(self.estimator)
        how = {"categorical": self.categorical, "bare": bare}
        return view_of(table, float32=self.float32, **how)

    def common_view(self, table):
        """Return the view that all members have, whatever rows they get; None if they differ."""
        if (table.coded and not table.is_text) or self.categorical is not None:
            return None
        return self.view(table)

    @functools.cached_property
    def recipe(self):
        """What of a member's key is common to all of them, a `Recipe`; None without a cache."""
        if self.store is None:
            return None
        (member,) = self.clones([0])  # what seeds and n_jobs the user has set changes nothing
        return Recipe(*recipe_of(member))

    def fit(self, member, X, y=None, *, seed, params=None, digest=None):
        """Fit a clone, or recall it from the cache.

        Parameters
        ----------
        member : estimator
            One of :meth:`clones`.
        X, y : rows, as the member gets them, and labels
            Without labels y is None.
        seed : int
        params : dict, default=None
            Further arguments of the estimator's ``fit``.
        digest : str, default=None
            What stands for X in the key of the cache, where X is large and all members share it.

        Returns
        -------
        outcome : Outcome
            With the fitted member.
        """
        params, draws = params or {}, self.seeds_global_rng
        fit = functools.partial(fit_seeded, member, X, y, params, seed, draws)
        if self.store is None:
            return Outcome(fit())
        rows = X if digest is None else digest
        key = content_key(self.recipe.key, rows, y, params, seed, draws)
        return self.store.recall(f"fit_seeded/{key}", fit, by_value=self.recipe.has_own_code)


def looks_at_no_columns(estimator):
    """Say whether an estimator takes a frame of numbers for its array, whatever the columns.

    By type alone. Such members get the array: making frames, and checking the names of columns
    in every member, takes longer than to train it.
    """
    return type(estimator).__module__.startswith(_NAMELESS)


class Recipe(NamedTuple):
    """What decides a member beside its rows and its seed.

    Attributes
    ----------
    key : str
        A digest of parameters, code and versions.
    has_own_code : bool
        Whether some of the code may be unknown to another process.
    """

    key: str
    has_own_code: bool


def fit_seeded(estimator, X, y, params, seed, seeds_global_rng):
    """Fit an estimator: a function of its rows and its seed. What a cache keeps.

    Parameters
    ----------
    estimator : estimator
        Unfitted, seeded.
    X, y : rows and labels
        Without labels y is None.
    params : dict
        Further arguments of ``fit``.
    seed : int
    seeds_global_rng : bool

    Returns
    -------
    member : estimator
        Fitted.
    """
    # Inside a member nothing runs in parallel, whatever the caller has set for all of joblib.
    with global_seed(seed, seeds_global_rng), parallel_config(n_jobs=1):
        return estimator.fit(X, **params) if y is None else estimator.fit(X, y, **params)
