"""Scorers of what is certified at one budget, with scikit-learn's protocol."""

import numbers

import numpy as np
from sklearn import get_config
from sklearn.utils.metadata_routing import MetadataRequest, get_routing_for_object
from sklearn.utils.validation import column_or_1d

from .._certificate import certify, question_arguments
from ..certificates._bounds import within_tolerance
from ..certificates._inputs import check_budget
from ._accuracy import certified_accuracy_score
from ._intervals import certified_tolerance_score


def make_certified_accuracy_scorer(budget, threat=None, *, target=None, top_k=None):
    """Make a scorer of certified accuracy, for `GridSearchCV`, `cross_val_score` and the like.

    Parameters
    ----------
    budget : int
        Number of operations that the attacker may spend, at least 0.
    threat : str or None, default=None
        What the attacker does, as ``certify`` takes it; None is the ensemble's default.
    target : label, or list or set of labels, default=None
        Counts the predictions that are right and do not become this label. A row that is
        predicted to be the target never counts: leave out the rows whose label it is.
    top_k : int, default=None
        Counts the predictions that are right and stay among the k labels with most votes.

    Returns
    -------
    scorer : callable
        ``scorer(estimator, X, y, *, sample_weight=None)`` returns
        `certified_accuracy_score` of ``estimator.certify(X, threat=threat)``, with `target` or
        `top_k` if given. The ensemble may also be the last step of a pipeline, or the best
        estimator of a search. With metadata routing, ask for weights by
        ``scorer.set_score_request(sample_weight=True)``.

    Raises
    ------
    TypeError
        If `budget` is not integer, or `threat` neither a string nor None.
    ValueError
        If `budget` is negative, `top_k` is no integer of at least 1, or `target` is given too.

    Warns
    -----
    CertificateWarning
        From the scorer, where a pipeline step or a search around the ensemble voids the guarantee.

    Notes
    -----
    A search that tunes on rows an attacker may have touched weakens the promise: the choice
    itself may then depend on poisoned rows. Choose on rows that you trust.

    Examples
    --------
    >>> from certified_ensembles.metrics import make_certified_accuracy_scorer
    >>> make_certified_accuracy_scorer(budget=10)
    make_certified_accuracy_scorer(budget=10)
    >>> make_certified_accuracy_scorer(budget=10, threat="label_flip")
    make_certified_accuracy_scorer(budget=10, threat='label_flip')
    >>> make_certified_accuracy_scorer(budget=10, top_k=3)
    make_certified_accuracy_scorer(budget=10, top_k=3)
    """
    return _CertifiedAccuracyScorer(budget, threat, target, top_k)


def make_certified_tolerance_scorer(budget, tolerance, threat=None):
    """Make a scorer of how many numbers provably stay near the truth, for searches and the like.

    Parameters
    ----------
    budget : int
        Number of operations that the attacker may spend, at least 0.
    tolerance : float
        The largest error that counts as right, at least 0.
    threat : str or None, default=None
        What the attacker does, as ``certify`` takes it; None is the ensemble's default.

    Returns
    -------
    scorer : callable
        ``scorer(estimator, X, y, *, sample_weight=None)`` returns `certified_tolerance_score` of
        ``estimator.certify(X, lower=y - tolerance, upper=y + tolerance, threat=threat)``. The
        ensemble may also be the last step of a pipeline, or the best estimator of a search.

    Raises
    ------
    TypeError
        If `budget` is not integer, or `threat` neither a string nor None.
    ValueError
        If `budget` or `tolerance` is negative.

    Notes
    -----
    As with :func:`make_certified_accuracy_scorer`: choose on rows that you trust.

    Examples
    --------
    >>> from certified_ensembles.metrics import make_certified_tolerance_scorer
    >>> make_certified_tolerance_scorer(budget=10, tolerance=3)
    make_certified_tolerance_scorer(budget=10, tolerance=3.0)
    """
    return _CertifiedToleranceScorer(budget, tolerance, threat)


class _Scorer:
    """Scorer with scikit-learn's protocol: callable, routable, picklable."""

    def __init__(self, budget, threat):
        if threat is not None and not isinstance(threat, str):
            raise TypeError(
                f"threat={threat!r} must be the name of a threat, such as 'insertion_deletion' "
                "or 'label_flip', or None for the ensemble's default."
            )
        self.budget = check_budget(budget)
        self.threat = threat
        self._metadata_request = MetadataRequest(owner=self)
        self._metadata_request.score.add_request(param="sample_weight", alias=None)

    def __repr__(self):
        threat = {} if self.threat is None else {"threat": self.threat}
        given = {"budget": self.budget, **threat, **self.question}
        words = ", ".join(f"{name}={value!r}" for name, value in given.items())
        return f"{self.maker}({words})"

    def set_score_request(self, *, sample_weight):
        """Request `sample_weight`: True, False, None (an error where it is passed) or an alias."""
        if not get_config()["enable_metadata_routing"]:
            raise RuntimeError(
                "set_score_request needs metadata routing. Enable it by "
                "sklearn.set_config(enable_metadata_routing=True)."
            )
        self._metadata_request.score.add_request(param="sample_weight", alias=sample_weight)
        return self

    def get_metadata_routing(self):
        """Return the metadata that this scorer asks for."""
        return get_routing_for_object(self._metadata_request)

    def _routing_repr(self):
        return repr(self)

    def _accept_sample_weight(self):
        # scikit-learn asks this where metadata routing is off.
        return True


class _CertifiedAccuracyScorer(_Scorer):
    """Certified accuracy at one budget."""

    maker = "make_certified_accuracy_scorer"

    def __init__(self, budget, threat=None, target=None, top_k=None):
        super().__init__(budget, threat)
        self.question = question_arguments(target, top_k)

    def __call__(self, estimator, X, y, *, sample_weight=None):
        y_pred, radius = certify(estimator, X, self.threat, **self.question)
        return certified_accuracy_score(
            y, y_pred, radius, self.budget, sample_weight=sample_weight
        )


class _CertifiedToleranceScorer(_Scorer):
    """The share of predictions that provably stay within a tolerance of the truth."""

    maker = "make_certified_tolerance_scorer"

    def __init__(self, budget, tolerance, threat=None):
        super().__init__(budget, threat)
        self.question = {"tolerance": check_tolerance(tolerance)}

    def __call__(self, estimator, X, y, *, sample_weight=None):
        lower, upper = within_tolerance(check_truth(y), self.question["tolerance"])
        radius = certify(estimator, X, self.threat, lower=lower, upper=upper).radius
        return certified_tolerance_score(radius, self.budget, sample_weight=sample_weight)


def check_tolerance(tolerance):
    """Return a tolerance as a float, or say what is wrong with it."""
    if not isinstance(tolerance, numbers.Real) or not tolerance >= 0:
        raise ValueError(
            f"tolerance={tolerance!r} must be a number of at least 0: the largest error that "
            "counts as right."
        )
    return float(tolerance)


def check_truth(y):
    """Return true numbers as doubles, or say which one is missing."""
    y = column_or_1d(y).astype(np.float64)
    if np.isnan(y).any():
        raise ValueError(
            f"y is missing at index {np.isnan(y).argmax()}: leave such rows out, nothing is right "
            "or wrong there."
        )
    return y
