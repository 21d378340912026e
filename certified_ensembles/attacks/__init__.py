"""Attacks on training data: upper bounds to stand beside the certified lower ones.

Each attack is a function of arrays. Some are the worst case that a theorem speaks of and meet its
radius; the others are heuristics, and a prediction that survives them may still fall.

Codes of labels are those of the certificates: 0..n_classes - 1 in sorted order. Where the label
set is open, the code `n_classes` stands for a label never seen that sorts before all others;
``(codes + 1) % (n_classes + 1)`` brings all of them into sorted order.
"""

from .accuracy import empirical_robust_accuracy
from .ballots import JointAttack, poison_ballots, poison_members
from .columns import poison_grid, trigger_columns, trigger_words
from .influence import label_flip_influence
from .insertions import insert_rows
from .linear import flip_labels_of_smoother, smallest_flip_attack
from .undefended import flip_labels_in_order, smallest_ordered_flip_attack

__all__ = [
    "JointAttack",
    "empirical_robust_accuracy",
    "flip_labels_in_order",
    "flip_labels_of_smoother",
    "insert_rows",
    "label_flip_influence",
    "poison_ballots",
    "poison_grid",
    "poison_members",
    "smallest_flip_attack",
    "smallest_ordered_flip_attack",
    "trigger_columns",
    "trigger_words",
]
