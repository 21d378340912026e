"""Members that have one thing to say, because their rows carry one label."""

import numpy as np
from sklearn.dummy import DummyClassifier


class ConstantMember(DummyClassifier):
    """A member that gives every row the one label of its own rows.

    Many classifiers refuse to be trained on a single class, so it takes their place. The class is
    its own, so that nobody mistakes a `DummyClassifier` of the user's, which may draw, for it.

    Attributes
    ----------
    is_constant : True
        Set for this class alone: rooms below that may not import it ask for the attribute.
    """

    is_constant = True

    @classmethod
    def of(cls, labels):
        """Return the member for an array that holds its label once."""
        return cls(strategy="prior").fit(np.zeros((1, 1)), labels)

    @property
    def label(self):
        """The label that it gives to every row."""
        return self.classes_[0]
