"""Linear smoothers: classifiers whose weights do not depend on labels.

A linear smoother scores class c at x by the sum of a weight a_j(x) over the training rows j with
label c. Where the weights are a function of features alone, a flipped label moves one known
weight, and the number of flips that a prediction survives can be computed exactly
(:func:`~certified_ensembles.certificates.linear_smoother_radius`). This room recognises such
smoothers among scikit-learn's estimators, refuses what merely looks like one, and adds two:
votes of clusters and votes by a kernel.
"""

from ._classifiers import ClusterVote, NadarayaWatson, label_free_weights
from ._linear_smoother import LinearSmoother

__all__ = ["ClusterVote", "LinearSmoother", "NadarayaWatson", "label_free_weights"]
