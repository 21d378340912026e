"""The parts of a report, in the order in which they are read."""

import numpy as np

from .._units import NO_UNIT
from ..display._histogram import histograms
from ._document import Bars, Table, Words
from ._sentences import sentences_of, share

_MOST_BUDGETS = 10
_MOST_BARS = 12
# Frontiers have at most so many rows and columns in a text.
_MOST_CELLS = 7


def round_budgets(largest, most=_MOST_BUDGETS):
    """Return 0, 1, 2, 5, 10, ... up to the largest radius; every so many, where these are many."""
    budgets, scale = [0], 1
    while scale <= largest:
        budgets += [b for b in (scale, 2 * scale, 5 * scale) if b <= largest]
        scale *= 10
    if len(budgets) <= most:
        return budgets
    return [budgets[i] for i in np.linspace(0, len(budgets) - 1, most).round().astype(int)]


def parts_of_report(report):
    """Return the parts of a report.

    Parameters
    ----------
    report : CertificationReport

    Returns
    -------
    parts : list of Words, Table and Bars
    """
    parts = [Words("", sentences_of(report), loud=report.voids)]
    if not report.voids:
        parts.append(_curve(report))
        if report.frontier is not None and report.frontier.shape[1] > 1:
            parts.append(_frontier(report))
        parts.append(_radii(report))
    if report.facts is not None:
        parts.append(Table("The ensemble", ("", ""), report.facts.in_words()))
        parts.append(Words("How to read it, and what is assumed", _assumptions(report)))
    raised = report.raised or ["None while it was asked."]
    parts.append(Words("Warnings", raised, loud=report.voids))
    return parts


def _assumptions(report):
    return [
        "Radii count from the training data as they are: if these hold no more poison than the "
        "radius of a prediction today, clean ones would give the same prediction.",
        *report.facts.assumptions,
        f"Shares are those of these {len(report.right):,} {report.rows}, whose labels are taken "
        "for the truth. Other rows may fare otherwise.",
    ]


def _curve(report):
    threats, n = report.threats, len(report.right)
    rows = [
        [
            f"{budget:,}",
            *(
                share(np.count_nonzero(report.right & (own.radius >= budget)), n)
                for own in report.certificates.values()
            ),
        ]
        for budget in report.budgets
    ]
    largest = [f"{max(int(own.radius.max()), -1):,}" for own in report.certificates.values()]
    rows.append(["median", *(f"{report.median_radius(threat):,}" for threat in threats)])
    rows.append(["largest", *largest])
    notes = [
        f"{threat} counts {own.unit or NO_UNIT}"
        + ("." if own.question is None else f"; the prediction {own.question}.")
        for threat, own in report.certificates.items()
    ]
    return Table(
        "Certified accuracy: right, and proven to stay so against any ... operations",
        ("operations", *threats),
        rows,
        (
            *notes,
            "Each row faces an attacker of its own. After any one attack of a size, at least "
            "this share is still right.",
        ),
    )


def _frontier(report):
    accuracies = report.frontier_accuracies()
    n_rows, n_columns = accuracies.shape
    at_rows, at_columns = (round_budgets(n - 1, _MOST_CELLS) for n in (n_rows, n_columns))
    n = len(report.right)
    rows = []
    for r in at_rows:
        counts = [
            np.count_nonzero(report.right & (report.frontier[:, r] >= s)) for s in at_columns
        ]
        rows.append([f"{r:,}", *(share(count, n) for count in counts)])
    return Table(
        f"Certified accuracy: {report.main.unit} (across) beside {report.row_unit} (down)",
        ("", *(f"{s:,}" for s in at_columns)),
        rows,
    )


def _radii(report):
    radius = report.main.radius
    edges, (right, wrong) = histograms(radius, [report.right, ~report.right], _MOST_BARS)
    labels = []
    for low, high in zip(edges[:-1].tolist(), (edges[1:] - 1).tolist(), strict=True):
        if low < 0:
            labels.append("none")
        else:
            labels.append(f"{low:,}" if low == high else f"{low:,} to {high:,}")
    unit = report.main.unit or NO_UNIT
    return Bars(
        f"Radii: {unit} that a prediction survives", labels, right.tolist(), wrong.tolist()
    )
