"""Train linear members side by side: in batches where a solver can, each from its own rows."""

import numpy as np

from .._member_warnings import in_name_of
from .problems import LinearProblem

# From the exact type of an estimator to its solver: a subclass may train in its own way.
_SOLVERS = {}


def batched_fit(estimator_type, supports, problem=LinearProblem):
    """Register a function as what fits many clones of an estimator at once.

    Parameters
    ----------
    estimator_type : type
        The estimator's exact type.
    supports : callable
        ``supports(estimator)`` says, from the parameters alone, whether the function gives what
        the estimator's own fit would, up to the tolerance of that.
    problem : type, default=LinearProblem
        What a member is trained on: labels, or with `RegressionProblem` targets.

    Returns
    -------
    decorator : callable
        For a function ``fit(problems)`` that fits the member of each :class:`LinearProblem`.
    """

    def register(fit):
        _SOLVERS[estimator_type] = supports, fit, problem
        return fit

    return register


def linear_trainer(estimator):
    """Return what trains many clones of an estimator at once, or None.

    Decided by the type and the parameters alone: what the rows of one member hold must not
    choose the way in which all are trained.

    Parameters
    ----------
    estimator : estimator
        The last step of what is cloned for each member.

    Returns
    -------
    trainer : LinearTrainer or None
        ``trainer(members, rows, labels)`` returns the fitted members, and ``trainer.width`` is
        the number of members to pass at once. None where clones have to be fitted one by one.

    Notes
    -----
    The members agree with scikit-learn's own fit: closed forms up to rounding, the others up to
    the estimator's tolerance.
    """
    if type(estimator) not in _SOLVERS or not _is_valid(estimator):
        return None
    supports, fit, problem = _SOLVERS[type(estimator)]
    return LinearTrainer(fit, problem) if supports(estimator) else None


def _is_valid(estimator):
    try:
        estimator._validate_params()
    except (TypeError, ValueError):
        return False  # clones say what is wrong
    return True


class LinearTrainer:
    """Callable that fits members together where their rows allow it, and else one by one.

    Parameters
    ----------
    fit : callable
        ``fit(problems)`` fits the member of each :class:`LinearProblem`.
    problem : type
        Which kind of problem.
    """

    # Members a call: results do not depend on it, and the rows of this many are held at once.
    width = 256

    def __init__(self, fit, problem=LinearProblem):
        self._fit, self._problem = fit, problem

    def __call__(self, members, rows, labels):
        """Fit each member on its rows.

        Parameters
        ----------
        members : list of estimator
            Unfitted clones of one estimator.
        rows : list of ndarray of shape (n_rows of the member, n_features)
            Numbers; anything else (sparse matrices, dataframes) is fitted by scikit-learn.
        labels : list of ndarray of shape (n_rows of the member,)
            Or targets.

        Returns
        -------
        members : list of estimator
            The same objects, fitted.
        """
        problems = []
        for member, X, y in zip(members, rows, labels, strict=True):
            problem = self._problem.of(member, X, y)
            if problem is None:
                with in_name_of(id(member)):
                    member.fit(X, y)
            else:
                problems.append(problem)
        with np.errstate(all="ignore"):
            self._fit(problems)
        return members
