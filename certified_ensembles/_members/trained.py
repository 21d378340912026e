"""Members that are clones, trained on the rows of their partition, and how they are asked."""

from dataclasses import replace

import numpy as np

from .._spec import FixedSteps, MemberSpec, bare
from .asking import stateless_steps, take_device_rows
from .base import BaseMembers
from .shapes import fewest_rows, leaves_rows_alone
from .stored import stored
from .training import fit_members, refuse_if_none_works


class TrainedMembers(BaseMembers):
    """Members that see their own partition, one or several seeds each.

    A subclass says what their answers amount to.

    Parameters
    ----------
    estimator : estimator
        Unfitted; cloned for each member.
    n_seeds : int, default=1
        Members of one partition, which answer together.
    memory : str, object with the joblib.Memory interface or None
    categorical : ndarray of shape (n_columns,), bool, or None
        The columns that reach members as categories.
    on_error : {"raise", "abstain"} or None, default=None
        Whether a member that cannot be trained, or cannot answer for a row, ends the fit or the
        prediction, or abstains. None: as "raise", where users have no such parameter.

    Attributes
    ----------
    estimators : list or StoredMembers
        The members of a partition side by side; None where it is empty, and for those that
        failed.
    errors : dict of int to Exception
        By their place, why members failed.
    notes : list of Note
        The warnings of the members.
    views : list of View
        The form in which each of them gets rows.
    """

    # The seed of what members share when they answer; None: that of the first of them.
    steps_seed = None
    # Whether targets are numbers, and not labels.
    is_regression = False

    def __init__(self, estimator, *, n_seeds=1, memory=None, categorical=None, on_error=None):
        self.n_seeds, self.on_error = n_seeds, on_error
        self.fixed, estimator = FixedSteps.split(estimator)
        if self.fixed.steps and categorical is not None:
            raise ValueError(
                "categorical_features names columns of rows, but members get features: "
                f"{self.fixed.steps[0][1]!r} comes first. Leave categorical_features=None."
            )
        self._estimator = estimator
        if self.fixed.steps:
            estimator = bare(estimator)  # bare heads are trained and asked side by side
        self.spec = MemberSpec.of(estimator, memory, categorical, self.is_regression)
        self.fewest = fewest_rows(estimator)
        self.shared_rows = self.fewest is not None and leaves_rows_alone(estimator)

    def __getstate__(self):
        # Most members have one view: it is written once, whatever the format.
        state = vars(self).copy()
        if "views" in state:
            different = {id(view): view for view in state["views"]}
            places = {view: place for place, view in enumerate(different)}
            which = np.array([places[id(view)] for view in state["views"]], dtype=np.int64)
            state["views"] = list(different.values()), which
        return state

    def __setstate__(self, state):
        vars(self).update(state)
        if isinstance(state.get("views"), tuple):  # else it is of an older version
            different, which = state["views"]
            self.views = [different[place] for place in which]

    @property
    def abstains(self):
        """Whether a failure is an abstention."""
        return self.on_error == "abstain"

    # ------------------------------------------------------------ training

    def fit(self, rows, y, partitions, seeds, params, *, n_jobs, verbose):
        """Train the members of every partition.

        Parameters
        ----------
        rows : TrainingRows
        y : ndarray of shape (n_train,)
            Labels, or targets.
        partitions : list of ndarray of int
            The training rows of every partition.
        seeds : list of int
            One for each member.
        params : dict
            Further arguments of the estimator's ``fit``.
        n_jobs, verbose
            As in the estimators.

        Returns
        -------
        self : TrainedMembers
        """
        self.name_arguments(params)
        how = {"n_jobs": n_jobs, "verbose": verbose}
        trained, views = self.train(rows, y, partitions, seeds, params, **how)
        self.take_over(trained, views, seeds)
        return self

    def train(self, rows, y, partitions, seeds, params, *, n_jobs, verbose, first=0):
        """Return members of some partitions, trained, and the view of each, and keep nothing.

        Parameters
        ----------
        rows, y, partitions, seeds, params, n_jobs, verbose
            As for :meth:`fit`.
        first : int, default=0
            How many members of the ensemble come before these.

        Returns
        -------
        trained : Trained
        views : list of View
        """
        return fit_members(
            self.spec,
            self.fixed.features(rows).as_given(),
            y,
            self._once_a_seed(partitions),
            seeds,
            params,
            n_jobs=n_jobs,
            verbose=verbose,
            abstain=self.abstains,
            numbers=rows.numbers,
            first=first,
        )

    def take_over(self, trained, views, seeds):
        """Keep the members of all partitions, as :meth:`train` returns them."""
        self._keep(trained)
        self.views, self.seeds = views, seeds
        self.steps = stateless_steps(self.spec.estimator)

    def name_arguments(self, params):
        """Keep a pipeline where arguments of ``fit`` are given by the names of its steps."""
        if params and self.fixed.steps:
            self.spec = replace(self.spec, estimator=self._estimator)

    def seen_by_users(self):
        """Return the members as users get them, on rows."""
        if not self.fixed.steps:
            return self.estimators
        return [self.fixed.before(member) for member in self.estimators]

    def _keep(self, trained):
        members, self.errors, self.notes = refuse_if_none_works(trained)
        self.estimators = stored(members, self.spec.store)

    def _once_a_seed(self, partitions):
        """Return the rows of every member: those of a partition once for each seed."""
        return [own for own in partitions for _ in range(self.n_seeds)]

    # ------------------------------------------------------------ answers

    def take_device_rows(self):
        """Say whether members answer where test rows on a GPU are: linear ones do."""
        if self.fixed.steps:
            return False
        return take_device_rows(self.estimators, self.steps)

    def _voters(self):
        """Return the members to ask."""
        return self.estimators

    def _asked(self):
        """Return the members to ask, and the views of each."""
        return self._voters(), self.views

    def _ask(self, ask, X, *given, **how):
        """Return what ``ask(members, *given, X, **how)`` yields about test rows."""
        members, views = self._asked()
        X = self.fixed.features_of_table(X)
        how |= {"steps": self.steps, "views": views, "fewest": self.fewest}
        how |= {"on_error": self.on_error, "steps_seed": self.steps_seed}
        how["shared_rows"] = self.shared_rows
        # Members whose answers are the same bits in any company draw nothing.
        draws = self.spec.seeds_global_rng and self.fewest is None
        how["seeds"] = self.seeds if draws else None
        return ask(members, *given, X, **how)
