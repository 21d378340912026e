"""Members that stay in the folder of a cache, and members without their shared first steps."""

from collections.abc import Sequence

from sklearn.pipeline import Pipeline

from .._spec import AbsentError, DamagedError, Shelved


class StoredMembers(Sequence):
    """Members on disk, each loaded when it is asked for: thousands of nets exceed the memory.

    Its pickle holds no members either, but the name of their folder.

    Parameters
    ----------
    store : FolderStore or ForeignStore
    members : list
        A `Shelved` for what is in the store; what could not be stored is in the list itself.
        None for a member without rows.
    numbers : sequence of int, default=None
        How an error calls the members; None: by their place.
    n_steps : int, default=None
        How many steps at the start of each pipeline are left out; None: the member as trained.
    """

    def __init__(self, store, members, numbers=None, n_steps=None):
        self.store, self.members, self.n_steps = store, members, n_steps
        self.numbers = range(len(members)) if numbers is None else numbers

    def __len__(self):
        return len(self.members)

    def __getitem__(self, index):
        if isinstance(index, slice):
            return StoredMembers(
                self.store, self.members[index], self.numbers[index], self.n_steps
            )
        member = self.members[index]
        if isinstance(member, Shelved):
            member = self._load(member.name, self.numbers[index])
        return member if self.n_steps is None else without_steps(member, self.n_steps)

    def _load(self, name, number):
        try:
            return self.store.load(name)
        except (AbsentError, DamagedError) as error:
            what = "no longer" if isinstance(error, AbsentError) else "damaged"
            raise RuntimeError(
                f"Member {number} is {what} in the folder {self.store.folder}, where memory= had "
                "it stored; this ensemble holds a reference. Fit again: only the members that are "
                "missing or damaged there are trained. Or bring that folder back."
            ) from error

    def without_steps(self, n_steps):
        """Return the same members without the first steps of their pipelines."""
        return StoredMembers(self.store, self.members, self.numbers, n_steps)


def stored(members, store):
    """Return members as they are, or `StoredMembers` if some of them stay in a store."""
    if any(isinstance(member, Shelved) for member in members):
        return StoredMembers(store, members)
    return members


def without_steps(member, n_steps):
    """Return what is left of a fitted pipeline, the bare estimator if that is one step."""
    if type(member) is not Pipeline:
        return member
    rest = member[n_steps:]
    return rest.steps[0][1] if len(rest) == 1 else rest
