"""Certified accuracy: how many predictions are right and provably stay so under an attack.

Of numbers: how many provably stay within a tolerance of the truth, and between what bounds.
"""

from ._accuracy import (
    certified_accuracy_curve,
    certified_accuracy_frontier,
    certified_accuracy_score,
    median_certified_radius,
)
from ._intervals import (
    certified_tolerance_curve,
    certified_tolerance_score,
    interval_width_curve,
)
from ._scorers import make_certified_accuracy_scorer, make_certified_tolerance_scorer

__all__ = [
    "certified_accuracy_curve",
    "certified_accuracy_frontier",
    "certified_accuracy_score",
    "certified_tolerance_curve",
    "certified_tolerance_score",
    "interval_width_curve",
    "make_certified_accuracy_scorer",
    "make_certified_tolerance_scorer",
    "median_certified_radius",
]
