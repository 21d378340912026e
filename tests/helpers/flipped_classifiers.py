"""Data sets and smoothers that more than one file of attacks flips labels of."""

from sklearn.cluster import KMeans
from sklearn.datasets import make_classification
from sklearn.linear_model import RidgeClassifier
from sklearn.neighbors import KNeighborsClassifier

from certified_ensembles.smoothers import ClusterVote


def blobs(n=60, n_classes=2, flip_y=0.2):
    X, y = make_classification(
        n, n_features=5, n_informative=3, n_classes=n_classes, flip_y=flip_y, random_state=0
    )
    return X[:-10], y[:-10], X[-10:]


SMOOTHERS = {
    "ridge": RidgeClassifier(10.0),
    "ridge without intercept": RidgeClassifier(10.0, fit_intercept=False),
    "neighbours": KNeighborsClassifier(9),
    "clusters": ClusterVote(KMeans(2, n_init=3, random_state=0)),
    "clusters, swap": ClusterVote(KMeans(2, n_init=3, random_state=0), votes="swap"),
}
