"""What is certified against the attacker's budget, drawn in scikit-learn's display style.

Displays store arrays; matplotlib is imported when something is drawn. Curves carry their names
beside them, in their own colour, so that several models on one axes need no legend.
"""

from ._accuracy import CertifiedAccuracyDisplay
from ._frontier import FrontierDisplay
from ._histogram import RadiusHistogramDisplay
from ._intervals import CertifiedIntervalDisplay

__all__ = [
    "CertifiedAccuracyDisplay",
    "CertifiedIntervalDisplay",
    "FrontierDisplay",
    "RadiusHistogramDisplay",
]
