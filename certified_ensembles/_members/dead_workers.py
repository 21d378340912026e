"""Workers that die with members in hand: the error says with which."""

import contextlib

_N_NAMED = 20


class UnderWay:
    """The members that were sent to workers and are not back yet."""

    def __init__(self):
        self._sent, self._n_back = [], 0

    def sending(self, calls):
        """Yield calls, given with the members that they train."""
        for members, call in calls:
            self._sent.extend(members)
            yield call

    def coming_back(self, results):
        """Yield results, one a member."""
        for result in results:
            self._n_back += 1
            yield result

    @contextlib.contextmanager
    def named_in_errors(self):
        """Add to an error that is about no member in particular which ones it may be about."""
        try:
            yield
        except Exception as error:
            members = self._sent[self._n_back :]
            if members and not getattr(error, "__notes__", None):
                named = ", ".join(map(str, members[:_N_NAMED]))
                named += ", ..." if len(members) > _N_NAMED else ""
                error.add_note(
                    f"Raised while these members were being trained: {named}. If a worker died, "
                    "one of them ended it, by what its estimator does with its rows or by the "
                    "memory that it takes. Set n_jobs lower to narrow this down, or memory= so "
                    "that a fit after the repair trains only what is missing."
                )
            raise
