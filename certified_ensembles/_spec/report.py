"""What a fit says of its cache: once, in one line, however many members it is about."""

import contextlib
import sys
import threading
import warnings

# The report of the fit that is under way in this thread.
_HERE = threading.local()
# Frames that stand between a fit and who called it.
_NOT_CALLERS = (__package__.partition(".")[0], "contextlib", "sklearn", "joblib")


class CacheReport:
    """Counts what was damaged in a cache and what could not be stored there."""

    def __init__(self):
        self._damaged, self._not_stored = {}, {}

    def note(self, outcome, what):
        """Count an outcome.

        Parameters
        ----------
        outcome : Outcome
        what : str
            What it is about: "member", say.
        """
        for where, counts in (
            (outcome.damaged_in, self._damaged),
            (outcome.not_stored, self._not_stored),
        ):
            if where is not None:
                own = counts.setdefault(where, {})
                own[what] = own.get(what, 0) + 1

    def warn(self):
        """Say in one line what was counted, if anything."""
        words = [
            f"Damaged in the cache, hence trained anew: {_counted(own)} in {folder}."
            for folder, own in self._damaged.items()
        ]
        words += [
            f"Not stored, hence kept in memory: {_counted(own)} {reason}. To keep them, make "
            "room there or name another folder as memory=, and fit again."
            for reason, own in self._not_stored.items()
        ]
        if words:
            warnings.warn(" ".join(words), UserWarning, stacklevel=_depth_of_caller())


def _counted(own):
    return ", ".join(f"{count} {what}{'s' * (count > 1)}" for what, count in own.items())


def _depth_of_caller():
    """Return the stack level, as seen by who asks, of the first frame that is not a fit's own."""
    frame, depth = sys._getframe(1), 1
    while frame.f_back is not None:
        if frame.f_globals.get("__name__", "").partition(".")[0] not in _NOT_CALLERS:
            break
        frame, depth = frame.f_back, depth + 1
    return depth


@contextlib.contextmanager
def cache_report():
    """Yield the report of the fit under way; the outermost of nested ones speaks, at its end."""
    outer = getattr(_HERE, "report", None)
    report = _HERE.report = CacheReport() if outer is None else outer
    try:
        yield report
    finally:
        _HERE.report = outer
    if outer is None:
        report.warn()
