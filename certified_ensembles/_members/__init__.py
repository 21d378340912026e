"""Members: how clones are trained on their rows, and how they answer for test rows.

In come training rows (`_data.training_rows.TrainingRows`), labels, the rows of every partition
and a seed for each member; out come spans of ballots, votes, scores or numbers for test rows.

One class a kind of members: those that vote have ``fit``, ``ballots``, ``votes``, ``scores``,
``elect`` and ``certify`` (see `base.BaseMembers`); of `MedianMembers` a median is taken. The rule
of this room: a member is a function of the set of its own rows and of its seed, and its answer to
a row is a function of that member and that row. So rows are put in canonical order before a fit,
generators are seeded, rounding is on one thread, and test rows come in blocks whose shape no other
row can change.
"""

from .failures import failures_in_words
from .masked import MaskedMembers
from .medians import MedianMembers, MedianPeriodMembers
from .noisy import NoisyMembers
from .one_label import OneLabelMembers
from .partition import LabelMembers, PartitionMembers
from .periods import PeriodMembers
from .questions import question_of
from .smoothers import SmootherMembers
from .training import Trained, names_by_row
from .voting import count_votes, first_choices
from .weighed_labels import WeighedLabels
from .weighed_targets import WeighedTargets

__all__ = [
    "LabelMembers",
    "MaskedMembers",
    "MedianMembers",
    "MedianPeriodMembers",
    "NoisyMembers",
    "OneLabelMembers",
    "PartitionMembers",
    "PeriodMembers",
    "SmootherMembers",
    "Trained",
    "WeighedLabels",
    "WeighedTargets",
    "count_votes",
    "failures_in_words",
    "first_choices",
    "names_by_row",
    "question_of",
]
