"""Members that stay in the folder of a cache, and members without their shared first steps."""

from collections.abc import Sequence

from sklearn.pipeline import Pipeline


class StoredMembers(Sequence):
    """Members on disk, each loaded when it is asked for: thousands of nets exceed the memory.

    Parameters
    ----------
    results : list
        References into the cache; None for a member without rows.
    n_steps : int, default=None
        How many steps at the start of each pipeline are left out; None: the member as trained.
    """

    def __init__(self, results, n_steps=None):
        self.results, self.n_steps = results, n_steps

    def __len__(self):
        return len(self.results)

    def __getitem__(self, index):
        if isinstance(index, slice):
            return StoredMembers(self.results[index], self.n_steps)
        result = self.results[index]
        if result is None:
            return None
        try:
            member = result.get()
        except (KeyError, OSError) as error:
            raise RuntimeError(
                f"Member {index} is no longer in the folder that memory= names. Fit again: only "
                "the members that are missing there are trained."
            ) from error
        return member if self.n_steps is None else without_steps(member, self.n_steps)

    def without_steps(self, n_steps):
        """Return the same members without the first steps of their pipelines."""
        return StoredMembers(self.results, n_steps)


def without_steps(member, n_steps):
    """Return what is left of a fitted pipeline, the bare estimator if that is one step."""
    if type(member) is not Pipeline:
        return member
    rest = member[n_steps:]
    return rest.steps[0][1] if len(rest) == 1 else rest
