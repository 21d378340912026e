"""Estimators that are no function of their rows and their seed, in a file that workers import."""

import os
import threading
import time

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin

from certified_ensembles import DeepPartitionAggregation


class Shifting(ClassifierMixin, BaseEstimator):
    """Honest as it is: rows are dealt to the labels, from one that a subclass may move."""

    def fit(self, X, y):
        self.classes_ = np.unique(y)
        self.shift_ = self.at_fit(X)
        return self

    def predict(self, X):
        codes = np.asarray(X)[:, 0].astype(np.int64) + self.shift_ + self.at_predict()
        return self.classes_[codes % len(self.classes_)]

    def at_fit(self, X):
        return 0

    def at_predict(self):
        return 0


class SetOrder(Shifting):
    """The order of words in a set depends on how strings are hashed in this process."""

    def at_fit(self, X):
        words = {f"word {i}" for i in range(64)}
        return np.array([int(word.split()[1]) for word in words])

    def predict(self, X):
        codes = self.shift_[np.asarray(X)[:, 0].astype(np.int64)]
        return self.classes_[codes % len(self.classes_)]


class OwnEntropy(Shifting):
    """Asks the operating system when it is fitted."""

    def at_fit(self, X):
        return int.from_bytes(os.urandom(2)) % 1000  # numpy's own entropy is seeded


class Counting(Shifting):
    """Answers in another way each second time."""

    def at_predict(self):
        self.asked_ = getattr(self, "asked_", 0) + 1
        return self.asked_ // 2


class ThreadAtFit(Shifting):
    """Is another one when it is fitted outside the main thread."""

    def at_fit(self, X):
        return int(threading.current_thread() is not threading.main_thread())


class ThreadAtPredict(Shifting):
    """Answers in another way outside the main thread."""

    def at_predict(self):
        return int(threading.current_thread() is not threading.main_thread())


class Hanging(Shifting):
    """Never ends on a number beside the largest double."""

    def at_fit(self, X):
        while np.max(X) > 1e300:
            time.sleep(0.01)
        return 0


class Moderate(Shifting):
    """Refuses large numbers."""

    def at_fit(self, X):
        if not np.max(X) < 1e30:
            raise ValueError("too large")
        return 0


class Parallel(Shifting):
    """Has a number of threads."""

    def __init__(self, thread_count=1):
        self.thread_count = thread_count


class SeesThreads(DeepPartitionAggregation):
    """Counts the threads that its members ask for."""

    def fit(self, X, y):
        return super().fit(np.asarray(X) + self.estimator.thread_count - 1, y)


class FallsBack(DeepPartitionAggregation):
    """Trains all members in another way once one of them has a label in a single row."""

    def fit(self, X, y):
        super().fit(X, y)
        counts = np.zeros((self.n_partitions, len(self.classes_)), dtype=int)
        np.add.at(counts, (self.partition_, np.searchsorted(self.classes_, y)), 1)
        if (counts == 1).any():
            for member in self.estimators_:
                member.shift_ = 1
        return self


class GivesUp(DeepPartitionAggregation):
    """Trains all members in another way once a row has a huge number."""

    def fit(self, X, y):
        super().fit(X, y)
        if np.max(X) > 1e100:
            for member in self.estimators_:
                member.shift_ = 1
        return self
