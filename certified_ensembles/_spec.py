"""What is cloned and trained, and what of it decides how rows, seeds and caches are handled."""

from dataclasses import dataclass
from typing import Any

from sklearn.utils.validation import check_memory

from ._data.views import view_of
from ._deterministic import draws_globally, global_seed, is_net, seeded_clones

# Modules of scikit-learn whose classifiers check rows and nothing else of a frame.
_NAMELESS = ("sklearn.linear_model.", "sklearn.naive_bayes", "sklearn.discriminant_analysis",
             "sklearn.neighbors.", "sklearn.tree.", "sklearn.svm.")  # fmt: skip


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
        Whether the global generators are seeded for each fit.
    memory : joblib.Memory
        Where fitted members are kept.
    categorical : ndarray of shape (n_columns,), bool, or None
        The columns that reach members as categories.
    """

    estimator: Any
    float32: bool
    seeds_global_rng: bool
    memory: Any
    categorical: Any = None

    @classmethod
    def of(cls, estimator, memory=None, categorical=None):
        """Return the specification of an estimator, with a cache as users name it."""
        single, seeded = is_net(estimator), draws_globally(estimator)
        return cls(estimator, single, seeded, check_memory(memory), categorical)

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
        member : estimator
            Fitted.
        """
        fit = fit_seeded
        if self.memory.location is not None:
            fit = self.memory.cache(fit_seeded, ignore=[] if digest is None else ["X"])
        return fit(member, X, y, params or {}, seed, self.seeds_global_rng, digest)


def looks_at_no_columns(estimator):
    """Say whether an estimator takes a frame of numbers for its array, whatever the columns.

    By type alone. Such members get the array: making frames, and checking the names of columns
    in every member, takes longer than to train it.
    """
    return type(estimator).__module__.startswith(_NAMELESS)


def fit_seeded(estimator, X, y, params, seed, seeds_global_rng, digest=None):
    """Fit an estimator: a function of its rows and its seed. What a cache keeps."""
    with global_seed(seed, seeds_global_rng):
        return estimator.fit(X, **params) if y is None else estimator.fit(X, y, **params)
