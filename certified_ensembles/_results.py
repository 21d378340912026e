"""What certifying estimators return: tuples that know what they are about."""

from typing import NamedTuple

import numpy as np

from ._extras import import_pandas
from ._units import question_in_words, unit_of


class _Answers(NamedTuple):
    y_pred: np.ndarray
    radius: np.ndarray


class Certificate(_Answers):
    """Predictions and the number of poisoning operations that each one provably survives.

    Unpacks as ``y_pred, radius = estimator.certify(X)``.

    Parameters
    ----------
    y_pred : ndarray of shape (n_samples,)
        Predicted labels, the same as ``predict`` returns.
    radius : ndarray of shape (n_samples,), int64
        The certified number of operations of the threat (for instance insertions plus
        deletions of training rows) that cannot change ``y_pred``; -1 where the estimator
        abstains and nothing is promised.
    threat : str or None, default=None
        What the attacker does, as ``certify`` takes it; None where it is not known.
    unit : str or None, default=None
        What one operation is, such as "label flips" or "hostile sources".
    question : str or None, default=None
        What a radius promises, such as "never becomes spam"; None: that ``y_pred`` stays.

    Attributes
    ----------
    y_pred, radius, threat, unit, question
        As the parameters. The last three are no part of the tuple.

    See Also
    --------
    certified_ensembles.report.CertificationReport : What it amounts to, with true labels.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from certified_ensembles import DeepPartitionAggregation
    >>> X, y = load_iris(return_X_y=True)
    >>> clf = DeepPartitionAggregation(n_partitions=9, classes=[0, 1, 2]).fit(X, y)
    >>> certificate = clf.certify(X[:3], threat="label_flip")
    >>> y_pred, radius = certificate
    >>> radius.tolist(), certificate.threat, certificate.unit
    ([4, 4, 4], 'label_flip', 'label flips')
    """

    threat = unit = question = None

    def __new__(cls, y_pred, radius, *, threat=None, unit=None, question=None):
        self = super().__new__(cls, y_pred, radius)
        self.threat, self.unit, self.question = threat, unit, question
        return self

    def _replace(self, **fields):
        """Return a copy with other predictions, radii or words."""
        return type(self)(**{**self._asdict(), **vars(self), **fields})

    def __repr__(self):
        words = "".join(f", {name}={value!r}" for name, value in vars(self).items() if value)
        return f"Certificate(y_pred={self.y_pred!r}, radius={self.radius!r}{words})"

    def to_frame(self, index=None):
        """Return a table with one row for each test row.

        Parameters
        ----------
        index : array-like of shape (n_samples,) or None, default=None
            Names of the rows, such as ``X.index``.

        Returns
        -------
        frame : pandas DataFrame
            With the columns ``y_pred`` and ``radius``. Threat, unit and question are in
            ``frame.attrs``.

        Raises
        ------
        ImportError
            If pandas is not installed.

        Examples
        --------
        >>> from certified_ensembles import Certificate
        >>> frame = Certificate(["ham", "spam"], [7, 3], threat="label_flip").to_frame()
        >>> print(frame.to_csv(index=False))
        y_pred,radius
        ham,7
        spam,3
        <BLANKLINE>
        """
        pandas = import_pandas("Certificate.to_frame")
        frame = pandas.DataFrame(self._asdict(), index=index)
        frame.attrs.update({name: value for name, value in vars(self).items() if value})
        return frame


def certificate_of(ensemble, y_pred, radius, threat=None, **asked):
    """Return what an ensemble certifies, with the words of its threat and of its question.

    Parameters
    ----------
    ensemble : fitted estimator
        With ``_default_threat``, which stands for None.
    y_pred, radius : ndarrays of shape (n_samples,)
    threat : str or None, default=None
    **asked : dict
        The question, as in the ensemble's ``certify``.

    Returns
    -------
    certificate : Certificate
    """
    threat = ensemble._default_threat if threat is None else threat
    words = {"threat": threat, "unit": unit_of(ensemble, threat)}
    return Certificate(y_pred, radius, **words, question=question_in_words(asked))


class CertifiedInterval(NamedTuple):
    """Predictions of numbers, and the bounds that each of them keeps under an attack.

    Attributes
    ----------
    y_pred : ndarray of shape (n_samples,), float64
        Predictions.
    lower, upper : ndarrays of shape (n_samples,), float64
        What the prediction provably stays between; infinite where nothing is promised.
    """

    y_pred: np.ndarray
    lower: np.ndarray
    upper: np.ndarray
