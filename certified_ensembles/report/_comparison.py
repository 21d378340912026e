"""Several ensembles on the same test rows, in one table."""

import numpy as np

from .._certificate import effective_threat
from .._extras import import_pandas
from .._units import NO_UNIT, round_budgets
from ..certificates._inputs import check_budget
from ._document import Table, Words, as_html, as_text
from ._report import CertificationReport
from ._sentences import share

_MOST_BUDGETS = 6


class CertificationComparison:
    """Reports of several ensembles side by side.

    Parameters
    ----------
    reports : sequence of CertificationReport
        Of ensembles with different names.
    threat : str or None, default=None
        The threat to compare; None: the first one of each report.
    budgets : sequence of int or None, default=None
        Budgets of the table; None: 0, 1, 2, 5, 10, ... up to the largest radius.

    Attributes
    ----------
    reports, threat, budgets
        As the parameters.

    Raises
    ------
    ValueError
        If there is no report, two have one name, they are of different numbers of rows, or the
        threat is not in one of them.

    See Also
    --------
    CertificationReport : One of them, with all that is known.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from certified_ensembles import DeepPartitionAggregation
    >>> from certified_ensembles.report import CertificationComparison
    >>> X, y = load_digits(return_X_y=True)
    >>> ensembles = {
    ...     f"{k} partitions": DeepPartitionAggregation(n_partitions=k, classes=range(10))
    ...     for k in (20, 60)
    ... }
    >>> for clf in ensembles.values():
    ...     clf = clf.fit(X[:1300], y[:1300])
    >>> comparison = CertificationComparison.from_estimators(
    ...     ensembles, X[1300:], y[1300:], threat="insertion_deletion", budgets=[0, 5, 10]
    ... )
    >>> print(comparison)
    Certified accuracy on 497 test rows
    ===================================
    <BLANKLINE>
                     accuracy   any 0   any 5  any 10  median  largest
      20 partitions    86.1 %  86.1 %  47.4 %   1.2 %       4       10
      60 partitions    89.3 %  89.3 %  78.2 %  62.9 %      12       26
      Operations are insertions + deletions of training rows.
    >>> frame = comparison.to_frame()[["accuracy", "at_10", "median_radius"]]
    >>> print(frame.round(3).to_csv())
    name,accuracy,at_10,median_radius
    20 partitions,0.861,0.012,4
    60 partitions,0.893,0.63,12
    <BLANKLINE>
    """

    def __init__(self, reports, *, threat=None, budgets=None):
        self.reports = list(reports)
        self.threat = threat
        names = [report.name for report in self.reports]
        if not names or len(set(names)) < len(names):
            raise ValueError(
                f"reports are of {names}: pass one or more, each with a name of its own, as in "
                "CertificationReport.from_estimator(..., name='60 partitions')."
            )
        sizes = {len(report.right) for report in self.reports}
        if len(sizes) > 1:
            raise ValueError(
                f"reports are of {sorted(sizes)} rows: ask all ensembles about the same ones."
            )
        largest = max(int(own.radius.max()) for own in self.certificates)
        budgets = round_budgets(largest, _MOST_BUDGETS) if budgets is None else budgets
        self.budgets = [check_budget(budget) for budget in budgets]

    @classmethod
    def from_estimators(cls, estimators, X, y, *, threat=None, budgets=None, **how):
        """Certify the same test rows with several ensembles.

        Parameters
        ----------
        estimators : dict of str to fitted estimator
            By their names.
        X, y
            Test rows, and their true labels.
        threat : str or None, default=None
            The threat to compare; None: the default one of each ensemble.
        budgets : sequence of int or None, default=None
            Budgets of the table.
        **how : dict
            Further arguments of :meth:`CertificationReport.from_estimator`, the same for all.

        Returns
        -------
        comparison : CertificationComparison
        """
        reports = [
            CertificationReport.from_estimator(
                estimator, X, y, threat=effective_threat(estimator, threat), name=name, **how
            )
            for name, estimator in estimators.items()
        ]
        return cls(reports, threat=threat, budgets=budgets)

    @property
    def certificates(self):
        """The certificate of each report."""
        return [report.certificate(self.threat) for report in self.reports]

    def to_frame(self):
        """Return the comparison as a table, one row an ensemble.

        Returns
        -------
        frame : pandas DataFrame
            With the columns ``accuracy``, ``at_<budget>`` (certified accuracy), ``median_radius``,
            ``largest_radius``, ``unit`` and ``void``; shares are between 0 and 1.

        Raises
        ------
        ImportError
            If pandas is not installed.
        """
        pandas = import_pandas("CertificationComparison.to_frame")
        records = {
            report.name: {
                "accuracy": report.accuracy,
                **{f"at_{b}": report.certified_accuracy(b, self.threat) for b in self.budgets},
                "median_radius": report.median_radius(self.threat),
                "largest_radius": -1 if report.is_void(self.threat) else int(own.radius.max()),
                "unit": own.unit,
                "void": report.is_void(self.threat),
            }
            for report, own in zip(self.reports, self.certificates, strict=True)
        }
        return pandas.DataFrame.from_dict(records, orient="index").rename_axis("name")

    def _parts(self):
        header = ("", "accuracy", *(f"any {b:,}" for b in self.budgets), "median", "largest")
        rows, notes = [], []
        for report, own in zip(self.reports, self.certificates, strict=True):
            n = len(report.right)
            cells = [report.name, share(np.count_nonzero(report.right), n)]
            if report.is_void(self.threat):
                cells += ["void"] * (len(self.budgets) + 2)
                notes += [f"{report.name}: {text}" for text in report.raised]
            else:
                cells += [
                    share(np.count_nonzero(report.right & (own.radius >= b)), n)
                    for b in self.budgets
                ]
                median, largest = report.median_radius(self.threat), int(own.radius.max())
                cells += [f"{median:,}", f"{largest:,}"]
            rows.append(cells)
        return [
            Table("", header, rows, self._units()),
            *([Words("Void", notes, True)] * bool(notes)),
        ]

    def _units(self):
        """Return what is counted: one line, or one for each ensemble."""
        counted = [
            (own.unit or NO_UNIT) + ("" if own.question is None else f"; {own.question}")
            for own in self.certificates
        ]
        if len(set(counted)) == 1:
            return (f"Operations are {counted[0]}.",)
        own = zip(self.reports, counted, strict=True)
        return tuple(f"{report.name} counts {words}." for report, words in own)

    @property
    def _title(self):
        first = self.reports[0]
        return f"Certified accuracy on {len(first.right):,} {first.rows}"

    def __str__(self):
        return as_text(self._title, self._parts())

    def __repr__(self):
        return f"CertificationComparison({[report.name for report in self.reports]})"

    def _repr_html_(self):
        return as_html(self._title, self._parts())
