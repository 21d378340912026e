"""Warnings of members, noted while they train, so that a fit can sum them up.

Fifty members that do not converge are one thing to say, not fifty.
"""

import contextlib
import threading
import warnings
from typing import Any, NamedTuple

from ._deterministic import ProcessWide

# What warns in this thread is noted here, in the name of this member.
_HERE = threading.local()


class Note(NamedTuple):
    """One warning of a member.

    Attributes
    ----------
    category : type of Warning
    text : str
    member : hashable
        What tells members apart; None where several trained together and one of them warned.
    """

    category: Any
    text: str
    member: Any

    def among(self, members):
        """Return the note of one of several members, told apart from those of any others."""
        if self.member is None:
            return self
        return self._replace(member=(members[0], self.member))


class _Listener(ProcessWide):
    """Context in which the warnings of threads that take notes go into these.

    Filters stay the caller's: what is ignored is not noted, and what is an error is raised. Only
    what would be shown once for several members is noted for each of them. Filters belong to the
    process, so the first of several threads sets them and the last one restores them.

    Any other thread may be within ``warnings.catch_warnings``, which puts back what it found,
    whatever has been set meanwhile. So what is ours is undone where it still stands, and where
    it comes back later it does what was there before.
    """

    def __init__(self):
        super().__init__()
        self._hook, self._ours, self._before, self._show = self._hear, None, None, None

    def _begin(self):
        self._before, once = warnings.filters, ("default", "module", "once")
        self._ours = [
            ("always", *rest) if action in once else (action, *rest)
            for action, *rest in self._before
        ]
        if warnings.showwarning is not self._hook:
            self._show = warnings.showwarning
        warnings.filters, warnings.showwarning = self._ours, self._hook
        warnings.simplefilter("always", append=True)  # forgets as well what was shown once

    def _end(self):
        if self._ours is None:
            return
        self._ours[:] = self._before
        if warnings.filters is self._ours:
            warnings.filters = self._before
        if warnings.showwarning is self._hook:
            warnings.showwarning = self._show

    def _hear(self, message, category, filename, lineno, file=None, line=None):
        notes = getattr(_HERE, "notes", None)
        if notes is None:
            self._show(message, category, filename, lineno, file, line)
        else:
            notes.append(Note(category, str(message), getattr(_HERE, "member", None)))


listening = _Listener()


@contextlib.contextmanager
def taking_notes():
    """Yield the list into which the warnings of this thread go."""
    before = getattr(_HERE, "notes", None)
    _HERE.notes = []
    try:
        with listening():
            yield _HERE.notes
    finally:
        _HERE.notes = before


@contextlib.contextmanager
def in_name_of(member):
    """Note what warns in the name of one member."""
    before = getattr(_HERE, "member", None)
    _HERE.member = member if before is None else before
    try:
        yield
    finally:
        _HERE.member = before


def summed_up(notes, n_members):
    """Return ``(text, category)`` for each category of warnings, in the order of the first ones.

    Parameters
    ----------
    notes : list of Note
    n_members : int
        How many members were trained.
    """
    kinds = {}
    for note in notes:
        kinds.setdefault(note.category, []).append(note)
    out = []
    for category, own in kinds.items():
        together = [note for note in own if note.member is None]
        count = min(len({n.member for n in own} - {None}) + len(together), n_members)
        text = f"{category.__name__} in {count} of {n_members} members. {own[0].text}"
        out.append((text, category))
    return out
