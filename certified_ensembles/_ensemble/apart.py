"""A fit on rows that stay where they are: declared before, put together after."""

import warnings

from sklearn.utils.validation import validate_data

from .._fits import as_of_now
from .._jobs import progress
from ..engines import FitPlan, Whole


def fit_apart(ensemble, source):
    """Train an ensemble on rows that never meet.

    Parameters
    ----------
    ensemble : estimator
        To be fitted in place.
    source : DaskRows or FolderRows
        Where the rows are.
    """
    members, plan = plan_of(ensemble, source)
    whole = Whole(plan)
    with progress(None, whole.n_members, "fit", ensemble.verbose) as bar:
        for part in source.train(plan):
            bar.update(whole.add(part))
    whole.check()
    _put_together(ensemble, members, whole)


def plan_of(ensemble, source):
    """Return the members to be trained, and the plan that travels to the rows."""
    _declare_columns(ensemble, source)
    ensemble._declare_partitions(source.has_groups)
    ensemble._declare_labels()
    estimator = ensemble._validate_estimator(depth=6)
    members = ensemble._new_members(estimator, source.declared, ensemble._kind)
    by_row = [name for name in source.dtypes if name not in ("X", "groups")]
    members.name_arguments(source.common_params | dict.fromkeys(by_row))
    return members, FitPlan(_without_fit(ensemble), members, source)


def _declare_columns(ensemble, source):
    """Set the number and the names of columns, and what else a look at all rows would tell."""
    ensemble._mixed_rows = False
    if source.declared.is_text:
        for name in ("n_features_in_", "feature_names_in_"):
            vars(ensemble).pop(name, None)
    else:
        validate_data(ensemble, source.features, reset=True, skip_check_array=True)


def _without_fit(ensemble):
    """Return a copy that knows its parameters and its partitions, to be sent to where rows are."""
    new = as_of_now(ensemble)
    kept = {*ensemble._get_param_names(), "_n_partitions", "spread_", "_open_set", "classes_"}
    for name in set(vars(new)) - kept:
        delattr(new, name)
    new.n_jobs, new.memory, new.verbose = 1, None, 0  # what runs there is one task of many
    return new


def _put_together(ensemble, members, whole):
    """Set what a fit of one process sets, and say what it says."""
    ensemble._mixed_rows = whole.summary.mixed
    ensemble.partition_, ensemble.partition_sizes_ = None, whole.sizes
    for category, text in {**dict.fromkeys(whole.summary.notes), **whole.notes}:
        warnings.warn(text, category, stacklevel=5)
    ensemble._warn_if_empty(whole.sizes, depth=6)
    members.take_over(whole.trained(), whole.views(), whole.plan.seeds)
    ensemble._gather_labels(members, whole)
    ensemble._keep_members(members)
    summary, left_out = whole.summary, None
    if summary.n_left_out:
        left_out = (
            f"{summary.n_left_out} of {summary.n_rows} rows of X have no canonical form and were "
            f"left out, the first of them {summary.first_left_out}."
        )
    ensemble._say(left_out, depth=6)
