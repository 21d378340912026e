"""Warnings of members, noted while they train, so that a fit can sum them up.

Fifty members that do not converge are one thing to say, not fifty.
"""

import contextlib
import threading
import warnings
from typing import Any, NamedTuple

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


class _Listener:
    """Context in which the warnings of threads that take notes go into these.

    Filters stay the caller's: what is ignored is not noted, and what is an error is raised. Only
    what would be shown once for several members is noted for each of them. Filters belong to the
    process, so the first of several threads sets them and the last one restores them.
    """

    def __init__(self):
        self._lock, self._depth = threading.Lock(), 0

    def __enter__(self):
        with self._lock:
            if self._depth == 0:
                self._caught = warnings.catch_warnings()
                self._caught.__enter__()
                self._show = warnings.showwarning
                warnings.showwarning = self._hear
                once = ("default", "module", "once")
                warnings.filters[:] = [
                    ("always", *rest) if action in once else (action, *rest)
                    for action, *rest in warnings.filters
                ]
                warnings.simplefilter("always", append=True)
            self._depth += 1

    def __exit__(self, *exception):
        with self._lock:
            self._depth -= 1
            if self._depth == 0:
                self._caught.__exit__(*exception)

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
        with listening:
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
