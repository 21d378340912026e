"""The tables of a report, as frames."""

import numpy as np

from ..display._histogram import histograms


def tables_of(report):
    """Return what makes each table of a report, by its name."""
    tables = {"summary": _summary, "certified_accuracy": _curve}
    tables |= {"histogram": _histogram, "rows": _by_row}
    return tables if report.frontier is None else {**tables, "frontier": _frontier}


def _summary(report, pandas):
    records = {
        threat: {
            "unit": own.unit,
            "question": own.question,
            "n_rows": len(report.right),
            "accuracy": report.accuracy,
            "median_radius": report.median_radius(threat),
            "largest_radius": -1 if report.is_void(threat) else int(own.radius.max()),
            "n_uncertified": int(np.count_nonzero(own.radius < 0)),
            "void": report.is_void(threat),
        }
        for threat, own in report.certificates.items()
    }
    return pandas.DataFrame.from_dict(records, orient="index").rename_axis("threat")


def _curve(report, pandas):
    columns = {
        threat: [report.certified_accuracy(budget, threat) for budget in report.budgets]
        for threat in report.threats
    }
    return pandas.DataFrame(columns, pandas.Index(report.budgets, name="budget"))


def _histogram(report, pandas):
    edges, (right, wrong) = histograms(report.main.radius, [report.right, ~report.right])
    columns = {"from": edges[:-1], "to": edges[1:] - 1, "right": right, "wrong": wrong}
    return pandas.DataFrame(columns)


def _by_row(report, pandas):
    radii = {f"radius_{threat}": own.radius for threat, own in report.certificates.items()}
    return pandas.DataFrame({"y_pred": report.y_pred, "right": report.right, **radii})


def _frontier(report, pandas):
    accuracies = report.frontier_accuracies()
    index = pandas.RangeIndex(len(accuracies), name=report.row_unit)
    columns = pandas.RangeIndex(accuracies.shape[1], name=report.main.unit)
    return pandas.DataFrame(accuracies, index, columns)
