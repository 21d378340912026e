"""What an ensemble certifies on test rows: the numbers, and what can be said about them."""

import numpy as np

from .._certificate import effective_threat, find_ensemble, question_arguments, seen_once
from .._extras import import_pandas
from .._results import Certificate
from .._units import UNITS, predicts_numbers, round_budgets, row_unit_of
from ..certificates._inputs import check_budget
from ..display import RadiusHistogramDisplay
from ..display._asking import are_right
from ..metrics._accuracy import _check_radius
from ._asking import ask_all, noting, texts, with_unit
from ._document import as_html, as_text
from ._facts import EnsembleFacts
from ._parts import parts_of_report
from ._sentences import budget_of, sentences_of
from ._tables import tables_of


class CertificationReport:
    """What an ensemble certifies on test rows, as sentences, text, HTML and tables.

    Make one by `from_estimator` or `from_predictions`. ``print(report)`` writes it as text, a
    notebook shows it as HTML, `to_frame` gives its tables, and `plot` draws the radii.

    Parameters
    ----------
    right : ndarray of shape (n_samples,), bool
        Which predictions are right.
    certificates : dict of str to Certificate
        What was certified, by threat, the most important threat first.
    name : str, default="Ensemble"
        Stands in the title, and in comparisons.
    rows : str, default="test rows"
        What the rows are, in the plural, such as "mails".
    budgets : sequence of int or None, default=None
        Budgets of the tables; None: 0, 1, 2, 5, 10, ... up to the largest radius.
    facts : EnsembleFacts or None, default=None
        What is known of the ensemble.
    raised : sequence of str, default=()
        Warnings that were raised while it was asked.
    voids : sequence of str, default=()
        Threats against which these say that the guarantee is void.
    answered : ndarray of shape (n_samples,), bool, or None, default=None
        Which rows are answered, where the estimator may abstain; None: all.
    tolerance : float or None, default=None
        Of numbers: the largest error that counts as right.
    frontier : ndarray of shape (n_samples, n_budgets), int64, or None, default=None
        The columns survived beside 0, 1, 2, ... poisoned rows, -1 where none.
    row_unit : str or None, default=None
        What one of these rows is.

    Attributes
    ----------
    right, certificates, name, rows, budgets, facts, raised, voids, answered, tolerance, frontier
        As the parameters.
    y_pred : ndarray of shape (n_samples,)
        Predictions.
    accuracy : float
        Share of rows that are predicted right without an attack.
    threats : list of str
        The threats that were certified.

    See Also
    --------
    CertificationComparison : Several ensembles in one table.
    certified_ensembles.metrics.certified_accuracy_curve : Certified accuracy at all budgets.

    Notes
    -----
    Of threats whose operations are the same (a hostile source may insert, delete and rewrite) one
    is asked. Shares are rounded down, so that no text says more than was counted.

    What the numbers say: each row faces an attacker of its own, who spends the whole budget on
    it; after any one attack within a budget at least the share at this budget is still right.
    They are shares of these rows. Radii are proven, and hold as far as the assumptions do that
    the report lists.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from sklearn.model_selection import train_test_split
    >>> from certified_ensembles import DeepPartitionAggregation
    >>> from certified_ensembles.report import CertificationReport
    >>> X, y = load_digits(return_X_y=True)
    >>> X_train, X_test, y_train, y_test = train_test_split(X, y, random_state=0)
    >>> clf = DeepPartitionAggregation(n_partitions=60, classes=range(10)).fit(X_train, y_train)
    >>> report = CertificationReport.from_estimator(clf, X_test, y_test, rows="images")
    >>> for sentence in report.sentences()[:2]:
    ...     print(sentence)
    As it stands, 91.7 % of 450 images are predicted right.
    At least half of the images are predicted right and keep that prediction against any 12 \
inserted or deleted training rows.

    Tables are pandas' own, for a spreadsheet (``to_csv``) or for a paper (``to_latex``):

    >>> frame = report.to_frame("certified_accuracy")
    >>> print(frame.loc[:5].round(3).to_csv())
    budget,insertion_deletion,label_flip,replacement
    0,0.918,0.918,0.918
    1,0.893,0.893,0.869
    2,0.869,0.869,0.82
    5,0.771,0.771,0.611
    <BLANKLINE>
    >>> latex = frame.to_latex(float_format="%.3f")  # doctest: +SKIP
    """

    def __init__(
        self,
        *,
        right,
        certificates,
        name="Ensemble",
        rows="test rows",
        budgets=None,
        facts=None,
        raised=(),
        voids=(),
        answered=None,
        tolerance=None,
        frontier=None,
        row_unit=None,
    ):
        self.right = right
        self.certificates = certificates
        self.name = name
        self.rows = rows
        self.facts = facts
        self.raised = list(raised)
        self.voids = [threat for threat in certificates if threat in voids]
        self.answered = np.ones(len(right), dtype=bool) if answered is None else answered
        self.tolerance = tolerance
        self.frontier = frontier
        self.row_unit = row_unit
        if budgets is None:
            budgets = round_budgets(max(c.radius.max() for c in certificates.values()))
        self.budgets = [check_budget(budget) for budget in budgets]

    @classmethod
    def from_estimator(
        cls,
        estimator,
        X,
        y,
        *,
        threat=None,
        target=None,
        top_k=None,
        tolerance=None,
        budgets=None,
        name=None,
        rows="test rows",
        unit=None,
    ):
        """Certify test rows and report.

        Parameters
        ----------
        estimator : fitted estimator
            An ensemble with ``certify``, also as the last step of a pipeline or inside a search.
        X : array-like of shape (n_samples, ...)
            Test rows.
        y : array-like of shape (n_samples,)
            True labels, or numbers.
        threat : str, sequence of str or None, default=None
            What the attacker does. None: every threat that the ensemble covers, its default one
            first. Each is asked anew.
        target, top_k
            Another question, as in :meth:`.CertifiedAccuracyDisplay.from_estimator`.
        tolerance : float, default=None
            For regressors: the largest error that counts as right.
        budgets : sequence of int or None, default=None
            Budgets of the tables.
        name : str or None, default=None
            Stands in the title; None is the class name of the ensemble.
        rows : str, default="test rows"
            What the rows are, in the plural, such as "mails".
        unit : str or None, default=None
            What one operation is, in the plural and in your words, such as "hostile senders",
            whatever the threat: name one threat with it. None takes the words of the certificate.

        Returns
        -------
        report : CertificationReport

        Raises
        ------
        TypeError
            If there is no ensemble with ``certify``.
        ValueError
            If a regressor is asked without a tolerance, or `unit` goes with several threats.

        Warns
        -----
        CertificateWarning
            Where a pipeline step or a search around the ensemble voids the guarantee. The report
            says so as well, and then no sentence of it promises anything.
        """
        estimator = seen_once(estimator)
        ensemble = find_ensemble(estimator)
        if tolerance is None and predicts_numbers(ensemble):
            raise ValueError(
                "tolerance=None: numbers are hardly ever exactly right. Pass the largest error "
                "that counts as right, such as tolerance=5.0."
            )
        asked = {"tolerance": tolerance, **question_arguments(target, top_k)}
        with noting() as caught:
            answers, void = ask_all(estimator, X, y, threat, asked, caught)
            alone = ensemble is estimator and hasattr(ensemble, "frontier")
            frontier = ensemble.frontier(X) if alone and set(asked.values()) == {None} else None
        certificates = {name: certificate for name, (_, certificate) in answers.items()}
        if unit is not None:
            certificates = with_unit(certificates, unit)
        right, certificate = next(iter(answers.values()))
        label = getattr(ensemble, "abstain_label_", None)
        return cls(
            right=right,
            certificates=certificates,
            name=type(ensemble).__name__ if name is None else name,
            rows=rows,
            budgets=budgets,
            facts=EnsembleFacts.of(estimator),
            raised=texts(caught),
            voids=void,
            answered=None if label is None else certificate.y_pred != np.asarray(label),
            tolerance=tolerance,
            frontier=frontier,
            row_unit=row_unit_of(ensemble, effective_threat(ensemble)),
        )

    @classmethod
    def from_predictions(
        cls,
        y_true,
        y_pred,
        radius,
        *,
        threat=None,
        unit=None,
        question=None,
        budgets=None,
        name="Ensemble",
        rows="test rows",
    ):
        """Report on predictions and radii at hand.

        Parameters
        ----------
        y_true : array-like of shape (n_samples,)
            True labels.
        y_pred : array-like of shape (n_samples,)
            Predicted labels, as from ``certify``.
        radius : array-like of shape (n_samples,), int
            Certified radii, as from ``certify``.
        threat : str or None, default=None
            The threat that the radii are for.
        unit : str or None, default=None
            What one operation is, in the plural, such as "hostile senders"; None takes the words
            of the threat.
        question : str or None, default=None
            What the radii promise, such as "never becomes spam"; None: that the prediction stays.
        budgets : sequence of int or None, default=None
            Budgets of the tables.
        name : str, default="Ensemble"
            Stands in the title.
        rows : str, default="test rows"
            What the rows are, in the plural.

        Returns
        -------
        report : CertificationReport
            Of an ensemble of which nothing else is known: it lists no assumptions.

        Examples
        --------
        >>> from certified_ensembles.report import CertificationReport
        >>> report = CertificationReport.from_predictions(
        ...     ["ham", "spam", "ham", "ham"], ["ham", "spam", "ham", "spam"], [40, 25, 20, 3],
        ...     unit="hostile senders", rows="mails",
        ... )
        >>> print(report.sentences()[1])
        At least half of the mails are predicted right and keep that prediction against any 25 \
hostile senders.
        """
        right, radius = are_right(y_true, y_pred), _check_radius(radius)
        unit = UNITS.get(threat) if unit is None else unit
        words = {"threat": threat, "unit": unit, "question": question}
        certificate = Certificate(np.asarray(y_pred), radius, **words)
        key = "attack" if threat is None else threat
        own = {"name": name, "rows": rows, "budgets": budgets}
        return cls(right=right, certificates={key: certificate}, **own)

    # ------------------------------------------------------------ numbers

    @property
    def threats(self):
        """The threats that were certified, the most important one first."""
        return list(self.certificates)

    @property
    def main(self):
        """The certificate of the first threat."""
        return next(iter(self.certificates.values()))

    @property
    def y_pred(self):
        """Predictions."""
        return self.main.y_pred

    @property
    def accuracy(self):
        """Share of rows that are predicted right without an attack."""
        return int(np.count_nonzero(self.right)) / len(self.right)

    def certificate(self, threat=None):
        """Return the certificate of one threat.

        Parameters
        ----------
        threat : str or None, default=None
            None is the first one.

        Returns
        -------
        certificate : Certificate

        Raises
        ------
        ValueError
            If it was not certified.
        """
        if threat is None:
            return self.main
        if threat not in self.certificates:
            raise ValueError(f"threat={threat!r} is not in this report, but {self.threats} are.")
        return self.certificates[threat]

    def is_void(self, threat=None):
        """Say whether the guarantee is void against a threat.

        Parameters
        ----------
        threat : str or None, default=None
            None is the first one.

        Returns
        -------
        void : bool
        """
        return (self.threats[0] if threat is None else threat) in self.voids

    def certified_accuracy(self, budget, threat=None):
        """Return the share of rows that are right and certified against a budget.

        Parameters
        ----------
        budget : int
            Number of operations.
        threat : str or None, default=None
            None is the first one.

        Returns
        -------
        share : float
            As :func:`certified_ensembles.metrics.certified_accuracy_score`; 0 where the guarantee
            is void.
        """
        radius, budget = self.certificate(threat).radius, check_budget(budget)
        survives = self.right & (radius >= budget)
        void = self.is_void(threat)
        return 0.0 if void else int(np.count_nonzero(survives)) / len(survives)

    def median_radius(self, threat=None):
        """Return the largest budget at which half of the rows are right and certified.

        Parameters
        ----------
        threat : str or None, default=None
            None is the first one.

        Returns
        -------
        median : int
            As :func:`certified_ensembles.metrics.median_certified_radius`; -1 where the guarantee
            is void.
        """
        radius = self.certificate(threat).radius
        return -1 if self.is_void(threat) else budget_of(self.right, radius, 5)

    # ------------------------------------------------------------ words, tables, a figure

    def sentences(self):
        """Return what the report says in sentences, the most important ones first.

        Returns
        -------
        sentences : list of str
        """
        return sentences_of(self)

    def __str__(self):
        return as_text(f"Certification report: {self.name}", parts_of_report(self))

    def __repr__(self):
        return (
            f"CertificationReport(name={self.name!r}, threats={self.threats}, "
            f"accuracy={self.accuracy:.3f}, median_radius={self.median_radius()})"
        )

    def _repr_html_(self):
        return as_html(f"Certification report: {self.name}", parts_of_report(self))

    def to_frame(self, what="summary"):
        """Return one of the tables of the report.

        Parameters
        ----------
        what : {"summary", "certified_accuracy", "histogram", "rows", "frontier"}, \
                default="summary"
            "summary": one row a threat. "certified_accuracy": one row a budget. "histogram": how
            many rows have which radii against the first threat. "rows": one row a test row.
            "frontier", of blocks of columns: certified accuracy, one row for each number of
            poisoned rows, one column for each number of hostile columns.

        Returns
        -------
        frame : pandas DataFrame
            Shares are between 0 and 1, exact. ``to_csv`` and ``to_latex`` write it out.

        Raises
        ------
        ImportError
            If pandas is not installed.
        ValueError
            If there is no such table.
        """
        tables = tables_of(self)
        if what not in tables:
            raise ValueError(f"what={what!r} is no table of this report: pass one of {[*tables]}.")
        return tables[what](self, import_pandas("CertificationReport.to_frame"))

    def frontier_accuracies(self):
        """Return certified accuracy beside r poisoned rows and s columns, at ``[r, s]``.

        Returns
        -------
        accuracies : ndarray of shape (n_row_budgets, n_column_budgets), float64
            Up to the largest entry of the frontier; 0 where the guarantee is void.
        """
        columns = np.arange(max(int(self.frontier.max()), 0) + 1)
        survives = self.right[:, None, None] & (self.frontier[:, :, None] >= columns)
        return survives.mean(axis=0) * (not self.is_void())

    def plot(self, threat=None, *, ax=None, bar_kwargs=None):
        """Draw the radii as a histogram.

        Parameters
        ----------
        threat : str or None, default=None
            None is the first one.
        ax : matplotlib Axes or None, default=None
            Where to draw; None makes a figure.
        bar_kwargs : dict or None, default=None
            Keywords of all bars.

        Returns
        -------
        display : RadiusHistogramDisplay
        """
        certificate = self.certificate(threat)
        name = f"{self.name} (void)" if self.is_void(threat) else self.name
        words = {"name": name, "unit": certificate.unit, "question": certificate.question}
        return RadiusHistogramDisplay.from_predictions(
            np.ones(len(self.right)),
            self.right.astype(float),
            certificate.radius,
            ax=ax,
            bar_kwargs=bar_kwargs,
            **words,
        )
