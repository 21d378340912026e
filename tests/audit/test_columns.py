"""The audit attacks columns and words, and finds what lets one of them reach several members."""

import numpy as np
import pytest
from sklearn.datasets import load_iris
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.linear_model import RidgeClassifier
from sklearn.naive_bayes import BernoulliNB, GaussianNB
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import Normalizer

from certified_ensembles import FeaturePartitionAggregation
from certified_ensembles.audit import BrokenCertificateError, check_certificate
from certified_ensembles.hashers import ContentHasher, assign_partitions

X, Y = load_iris(return_X_y=True)
X = np.hstack([X, X * [[1, 2, 1, 3]] + 1, X[:, ::-1] + 2])  # twelve columns
TRAIN, TEST = slice(None, None, 2), slice(1, None, 5)
MAILS = [f"{'buy pills' if i % 2 else 'meet notes'} word{i % 7} more{i % 5}" for i in range(40)]


def check(clf, X=X, y=Y, **how):
    return check_certificate(clf, X[TRAIN], y[TRAIN], X[TEST], **how)


@pytest.mark.parametrize(
    ("n_partitions", "groups"), [(1, None), (3, None), (3, np.arange(75) % 20)]
)
def test_blocks_of_columns_survive_the_audit(n_partitions, groups):
    # Seconds: an audit refits, among others in other processes.
    clf = FeaturePartitionAggregation(
        GaussianNB(), n_blocks=5, n_partitions=n_partitions, on_error="abstain"
    )
    report = check(clf, n_attacks=24, groups=groups)
    assert report.n_attacks["columns rewritten"] >= 5
    assert report.n_attacks["columns rewritten, and rows poisoned"] >= 3


def test_blocks_of_words_survive_the_audit():
    clf = FeaturePartitionAggregation(
        make_pipeline(CountVectorizer(), BernoulliNB()), n_blocks=4, on_error="abstain"
    )
    report = check(clf, np.array(MAILS, dtype=object), np.arange(40) % 2, n_attacks=12)
    assert report.n_attacks["words added and struck"] >= 3


class OnePartitionOfAllCells(FeaturePartitionAggregation):
    """Decides the partition of a row by all of its cells: a column then moves rows everywhere."""

    def _deal_out_rows(self, tables, X, y, groups):
        super()._deal_out_rows(tables, X, y, groups)
        own = assign_partitions(ContentHasher(), X.numbers(), y, self.n_partitions)
        self.partition_ = np.repeat(own[:, None], self.n_blocks, axis=1)


class Peeping(FeaturePartitionAggregation):
    """Trains each member on the next block's columns as well."""

    def _deal_out_columns(self, X):
        estimator = super()._deal_out_columns(X)
        split = self._blocks.split

        class Blocks:
            filled = self._blocks.filled

            @staticmethod
            def split(table):
                tables = split(table)
                return [*tables[1:], tables[0]]

        self._blocks = Blocks
        return estimator


@pytest.mark.parametrize(
    "clf",
    [
        make_pipeline(Normalizer(), FeaturePartitionAggregation(RidgeClassifier(), n_blocks=5)),
        OnePartitionOfAllCells(RidgeClassifier(), n_blocks=4, n_partitions=3),
        Peeping(RidgeClassifier(), n_blocks=4),
    ],
    ids=lambda clf: type(clf).__name__,
)
def test_what_mixes_columns_is_found(clf):
    with pytest.raises(BrokenCertificateError, match=r"'columns rewritten.*|moves") as caught:
        check(clf, n_attacks=30)
    assert caught.value.attack.X_test is not None
    assert "rewrite the columns" in caught.value.attack.words
