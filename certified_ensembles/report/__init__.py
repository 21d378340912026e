"""What an ensemble certifies on test rows, for whoever has to decide: sentences and tables.

A report stores arrays and words. Its text and its HTML need no other package; tables need pandas,
and figures matplotlib.
"""

from ._comparison import CertificationComparison
from ._facts import EnsembleFacts
from ._report import CertificationReport

__all__ = ["CertificationComparison", "CertificationReport", "EnsembleFacts"]
