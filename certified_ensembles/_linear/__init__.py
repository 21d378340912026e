"""Linear members of all partitions: trained in batches, asked by products of a fixed shape.

What enters: unfitted clones of one linear estimator with the rows and labels, or targets, of each;
later, the fitted members and blocks of test rows, on the host or on a device. What leaves:
ordinary fitted estimators of scikit-learn; later, ballots, votes, scores or values of all members.

The rule of this room: a member's bits depend on its own rows, parameters and seed, and never on
those beside it, for an attacker decides who stands there. So which solver trains a member follows
from types and parameters alone, every matrix goes through BLAS and LAPACK by itself, in a shape
that the member's own rows give it, and members are asked in products whose shape follows from
the numbers of members and of features. Importing a solver registers it (`batched_fit`).
"""

from . import centroid, discriminant, least_squares, logistic, ridge  # noqa: F401
from .device import SPAN_BYTES, block_rows, device_blocks
from .scoring import is_linear, linear_ballots, linear_scores, linear_values, linear_votes
from .trainer import LinearTrainer, linear_trainer

__all__ = [
    "SPAN_BYTES",
    "LinearTrainer",
    "block_rows",
    "device_blocks",
    "is_linear",
    "linear_ballots",
    "linear_scores",
    "linear_trainer",
    "linear_values",
    "linear_votes",
]
