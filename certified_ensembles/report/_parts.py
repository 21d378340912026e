"""The parts of a report, in the order in which they are read."""

import numpy as np

from .._units import NO_UNIT, round_budgets
from ..display._histogram import histograms
from ._document import Bars, Table, Words
from ._sentences import sentences_of, share

_MOST_BARS = 12
# Frontiers have at most so many rows and columns in a text.
_MOST_CELLS = 7


def parts_of_report(report):
    """Return the parts of a report.

    Parameters
    ----------
    report : CertificationReport

    Returns
    -------
    parts : list of Words, Table and Bars
    """
    loud = bool(report.voids)
    parts = [Words("", sentences_of(report), loud=loud)]
    if report.voids != report.threats:
        parts.append(_curve(report))
    if not report.is_void():
        if report.frontier is not None and report.frontier.shape[1] > 1:
            parts.append(_frontier(report))
        parts.append(_radii(report))
    if report.facts is not None:
        parts.append(Table("The ensemble", ("", ""), report.facts.in_words()))
        parts.append(Words("How to read it, and what is assumed", _assumptions(report)))
    if report.raised or report.facts is not None:
        raised = report.raised or ["None while it was asked."]
        parts.append(Words("Warnings", raised, loud=loud))
    return parts


def _assumptions(report):
    asked = report.main.question is not None
    return [
        "Radii count from the training data as they are: if these hold no more poison than the "
        "radius of a row today, "
        + ("the same is true of" if asked else "the prediction is that of")
        + " an ensemble of clean ones.",
        *report.facts.assumptions,
        f"Shares are those of these {len(report.right):,} {report.rows}, whose labels are taken "
        "for the truth. Other rows may fare otherwise.",
    ]


def _curve(report):
    certificates, n = report.certificates, len(report.right)
    rows = [[f"{budget:,}"] for budget in report.budgets]
    median, largest, notes = ["median"], ["largest"], []
    for threat, own in certificates.items():
        counts = [np.count_nonzero(report.right & (own.radius >= b)) for b in report.budgets]
        cells = [share(count, n) for count in counts]
        cells += [f"{report.median_radius(threat):,}", f"{max(int(own.radius.max()), -1):,}"]
        if report.is_void(threat):
            cells = ["void"] * len(cells)
        for row, cell in zip([*rows, median, largest], cells, strict=True):
            row.append(cell)
        notes.append(f"{threat} counts {own.unit or NO_UNIT}.")
    question = report.main.question
    stays = "proven to stay so" if question is None else question
    notes.append("Each row faces an attacker of its own.")
    if question is None or report.tolerance is not None:
        notes[-1] += " After any one attack of a size, at least this share is still right."
    if report.tolerance is not None:
        stays = f"proven to stay {question}"
    return Table(
        f"Certified accuracy: right, and {stays}, against any ... operations",
        ("operations", *certificates),
        [*rows, median, largest],
        tuple(notes),
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
