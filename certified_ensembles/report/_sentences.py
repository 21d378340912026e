"""Sentences about certificates that need no statistics to be read."""

import numpy as np

from .._units import NO_UNIT, any_of


def share(count, total):
    """Return a share as a text, rounded down: none says more than was counted."""
    thousandths = 1000 * int(count) // int(total)
    return f"{thousandths // 10}.{thousandths % 10} %"


def budget_of(right, radius, tenths):
    """Return the largest budget at which so many tenths of all rows are right and certified.

    Returns
    -------
    budget : int
        -1 where there is none.
    """
    proven = np.sort(np.where(right, radius, -1))[::-1]
    needed = -(-tenths * len(proven) // 10)
    return int(proven[needed - 1])


def sentences_of(report):
    """Return what a report says, the most important sentence first.

    Parameters
    ----------
    report : CertificationReport

    Returns
    -------
    sentences : list of str
    """
    out = [_as_it_stands(report)]
    for threat, certificate in report.certificates.items():
        if not report.is_void(threat):
            out += _under_attack(report, certificate)
    if report.voids:
        against = "" if report.voids == report.threats else f" against {', '.join(report.voids)}"
        out.append(f"Nothing is certified{against}: the guarantee is void, as the warnings say.")
    if report.is_void():
        return out
    out += _with_rows(report)
    n_bare = int(np.count_nonzero((report.main.radius < 0) & report.answered))
    if n_bare and report.main.question is None:
        out.append(f"For {n_bare:,} of the {report.rows} nothing is certified (radius -1).")
    return out


def _as_it_stands(report):
    n, right = len(report.right), np.count_nonzero(report.right)
    if report.answered.all() or report.tolerance is not None:
        return f"As it stands, {share(right, n)} of {n:,} {report.rows} {_are(report)}."
    answered = np.count_nonzero(report.answered)
    among = f"; of the answers {share(right, answered)} are right" if answered else ""
    return f"As it stands, {share(answered, n)} of {n:,} {report.rows} are answered{among}."


def _are(report):
    if report.tolerance is not None:
        return f"are predicted within {report.tolerance:g} of the truth"
    return "are predicted right"


def _and_stay(report, certificate):
    if report.tolerance is not None:
        return "and stay within it against"
    if certificate.question is None:
        return "and keep that prediction against"
    return f"by a prediction that {certificate.question} against"


def _under_attack(report, certificate):
    """Yield what half and nine tenths of the rows survive."""
    unit, radius = certificate.unit or NO_UNIT, certificate.radius
    what = f"{_are(report)} {_and_stay(report, certificate)}"
    half, most = (budget_of(report.right, radius, tenths) for tenths in (5, 9))
    if half < 1:
        count = np.count_nonzero(report.right & (radius >= 1))
        some = f"Only {share(count, len(radius))}" if count else "None"
        yield f"{some} of the {report.rows} {what} {any_of(1, unit)}."
        return
    yield f"At least half of the {report.rows} {what} {any_of(half, unit)}."
    if 1 <= most < half:
        yield f"At least nine in ten of the {report.rows} {what} {any_of(most, unit)}."


def _with_rows(report):
    """Yield what half of the rows survive beside poisoned training rows."""
    if report.frontier is None or report.frontier.shape[1] < 2:
        return
    what = f"{_are(report)} {_and_stay(report, report.main)}"
    survived = [budget_of(report.right, column, 5) for column in report.frontier.T]
    rows_unit = report.row_unit or NO_UNIT
    for fewest in (1, 0):
        r = max((r for r, s in enumerate(survived) if s >= fewest), default=0)
        if r < 1:
            continue
        rows = any_of(r, rows_unit)
        if fewest:
            rows = f"{any_of(survived[r], report.main.unit or NO_UNIT)} together with {rows}"
        yield f"At least half of the {report.rows} {what} {rows}."
