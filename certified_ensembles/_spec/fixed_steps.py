"""First steps that map rows one by one, by what no row has changed: they run once for all members.

A step says so of itself (`_maps_rows_apart`), as pretrained networks do. A function given as a
step may look at several rows, and a scaler learns from them: these run in every member.
"""

from sklearn.base import clone
from sklearn.pipeline import Pipeline

from .._data.containers import as_table
from .._data.views import view_of


def maps_rows_apart(step):
    """Say whether a step is fixed and maps each row by itself, to the last bit."""
    return vars(type(step)).get("_maps_rows_apart", False)  # a subclass may do it in its own way


def bare(estimator):
    """Return the one step of a pipeline that has no other, all else as it is."""
    is_one = type(estimator) is Pipeline and len(estimator.steps) == 1
    return estimator.steps[0][1] if is_one else estimator


class FixedSteps:
    """The fixed steps at the start of an estimator.

    Parameters
    ----------
    steps : list of (str, transformer)
    """

    def __init__(self, steps):
        self.steps = steps

    @classmethod
    def split(cls, estimator):
        """Return the fixed steps of an estimator, and the estimator behind them.

        Without any it is the estimator itself; else a pipeline of all other steps.
        """
        n = 0
        if type(estimator) is Pipeline:  # a subclass may transform in its own way
            while n < len(estimator.steps) - 1 and maps_rows_apart(estimator.steps[n][1]):
                n += 1
        if n == 0:
            return cls([]), estimator
        steps = [(name, clone(step)) for name, step in estimator.steps[:n]]
        return cls(steps), estimator[n:]

    def features(self, rows):
        """Return training rows with their features in place of rows.

        Of blocks of columns each gets features of its own: they see no other block.
        """
        if not self.steps:
            return rows
        if isinstance(rows.X, list):
            return rows._replace(X=[self.features_of_table(block, True) for block in rows.X])
        if rows.X is not None:
            return rows._replace(X=self.features_of_table(rows.X, True))
        return rows._replace(different=self.features_of_table(rows.different, True))

    def features_of_table(self, table, check=False):
        """Return the features of all rows, which are texts or numbers, as a Table.

        With `check` each step looks at itself and at the first rows, as in its own ``fit``.

        Raises
        ------
        ValueError
            If some columns of a table are not numbers: what these are would be seen by all rows.
        """
        for _, step in self.steps:
            if table.coded and not table.is_text:
                raise ValueError(
                    f"{step!r} runs once on the rows of all members, and X has columns that are "
                    "not numbers. Turn them into numbers first, or put a step before it that does."
                )
            X = view_of(table, float32=True).hand_out(table)
            if check:
                clone(step).fit(X)
            table = as_table(step.transform(X))
        return table

    def before(self, member):
        """Return a fitted member as users see it: on rows, and not on their features."""
        if member is None or not self.steps:
            return member
        own = member.steps if type(member) is Pipeline else [("member", member)]
        return Pipeline([*self.steps, *own])
