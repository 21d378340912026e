"""Notes of members' warnings leave the warnings of the process as they were, in any overlap."""

import warnings

import pytest

from certified_ensembles._member_warnings import in_name_of, listening, taking_notes


@pytest.fixture
def host():
    """Set filters and a hook as a host has them; yield both and the texts that were shown."""
    with warnings.catch_warnings():
        shown = []
        warnings.filters[:] = [("default", None, UserWarning, None, 0)]
        warnings.showwarning = lambda message, *rest: shown.append(str(message))
        yield list(warnings.filters), warnings.showwarning, shown


def warn_as_members(n):
    with taking_notes() as notes:
        for i in range(n):
            with in_name_of(i):
                warnings.warn("does not converge", UserWarning, stacklevel=1)
    return [(note.text, note.member) for note in notes]


def test_filters_and_hook_come_back(host):
    filters, hook, shown = host
    assert warn_as_members(3) == [("does not converge", i) for i in range(3)]
    assert warnings.filters == filters
    assert warnings.showwarning is hook
    assert shown == []


@pytest.mark.parametrize("ours_ends_first", [True, False])
@pytest.mark.parametrize("ours_begins_first", [True, False])
def test_another_thread_that_catches_warnings_meanwhile_leaves_nothing_of_ours(
    host, ours_begins_first, ours_ends_first
):
    filters, _, shown = host
    other = warnings.catch_warnings()  # which contexts end first is up to two threads
    ours = listening()
    begin = [ours, other] if ours_begins_first else [other, ours]
    for context in begin:
        context.__enter__()
    for context in [ours, other] if ours_ends_first else [other, ours]:
        context.__exit__(None, None, None)
    assert warnings.filters == filters
    assert warn_as_members(2) == [("does not converge", i) for i in range(2)]
    for _ in range(2):
        warnings.warn("of the host", UserWarning, stacklevel=1)
    assert shown == ["of the host"]


def test_what_the_caller_ignores_or_raises_stays_so(host):
    warnings.simplefilter("ignore")
    assert warn_as_members(2) == []
    warnings.simplefilter("error")
    with pytest.raises(UserWarning, match="does not converge"):
        warn_as_members(2)
    assert warnings.filters[0][0] == "error"
