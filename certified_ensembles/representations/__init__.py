"""A label-free representation with clusters that follow the data: an inductive eigenmap.

scikit-learn's spectral tools place the rows they were fitted on and no others. The estimator
here also places new rows, which is what cluster votes need to become a classifier
(:class:`~certified_ensembles.smoothers.ClusterVote`).

Other label-free representations come from scikit-learn and need no code of ours: `PCA`,
`TruncatedSVD`, `Nystroem`, `RandomTreesEmbedding`, and the learned dictionaries that stand in for
RICA: ``make_pipeline(PCA(100, whiten=True), MiniBatchDictionaryLearning(256, random_state=0))``
or ``FastICA(100, random_state=0)``.
"""

from ._eigenmap import LaplacianEigenmap

__all__ = ["LaplacianEigenmap"]
