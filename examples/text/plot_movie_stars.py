"""
Certify the stars of film reviews
=================================

A film site learns to read the number of stars, 1 to 10, out of the text of a review. Anybody may
write reviews. How many of the predicted stars stay within 3 of the truth, whatever so many
reviews say that somebody slipped into the training set, or had removed from it?

Each member is a ridge regression on words and pairs of words. Two things about it are worth a
look. The *features learn nothing*: words are hashed, so nothing is shared between members but a
fixed map. And a ridge that has seen a thousand reviews is shy: it stays near the middle. So its
targets are stretched before, and its answers cut off at 1 and 10 behind, by
:class:`~sklearn.compose.TransformedTargetRegressor`: both are fixed functions inside the member.

The reviews are looked for on disk only (see :func:`~certified_ensembles.datasets.fetch_imdb`).
"""

import matplotlib.pyplot as plt
import numpy as np
from sklearn.compose import TransformedTargetRegressor
from sklearn.feature_extraction.text import HashingVectorizer, TfidfTransformer
from sklearn.linear_model import Ridge
from sklearn.pipeline import make_pipeline

from certified_ensembles import DeepPartitionRegressor
from certified_ensembles.datasets import fetch_imdb
from certified_ensembles.display import CertifiedAccuracyDisplay

N_TRAIN, N_TEST, SIZES = 25000, 5000, (25, 101)


def stretched(stars):
    """Move stars away from the middle, 5.5."""
    return 5.5 + 2.5 * (stars - 5.5)


def within_1_and_10(stars):
    return np.clip(stars, 1, 10)


# %%
# The hash of a whole review decides its member, so a copy of a review goes where the review went.


def load():
    train = fetch_imdb(download_if_missing=False)
    test = fetch_imdb(subset="test", download_if_missing=False)
    rng = np.random.default_rng(0)
    some, others = rng.permutation(25000)[:N_TRAIN], rng.permutation(25000)[:N_TEST]
    words = HashingVectorizer(ngram_range=(1, 2), alternate_sign=False, norm=None)
    # Logarithms of counts, every review of length 1: what becomes of a review is its own affair.
    scale = TfidfTransformer(use_idf=False, sublinear_tf=True)
    features = make_pipeline(words, scale)
    X_train = features.fit_transform(train.data[some])
    X_test = features.transform(test.data[others])
    return X_train, train.rating[some], X_test, test.rating[others]


def main():
    try:
        X_train, y_train, X_test, y_test = load()
    except OSError as error:
        print(f"Skipped: {error}")
        return
    member = TransformedTargetRegressor(
        Ridge(alpha=0.02), func=stretched, inverse_func=within_1_and_10, check_inverse=False
    )
    fig, ax = plt.subplots(figsize=(8, 4.5))
    for k in SIZES:
        reg = DeepPartitionRegressor(member, n_partitions=k).fit(X_train, y_train)
        y_pred, radius = reg.certify(X_test, lower=y_test - 3, upper=y_test + 3)
        budget = 2 * k // 5 if k < 50 else k // 4
        print(
            f"{k} members: mean error {np.abs(y_pred - y_test).mean():.2f} stars; within 3 stars "
            f"{(radius >= 0).mean():.1%}, and {(radius >= budget).mean():.1%} whatever {budget} "
            "reviews say"
        )
        CertifiedAccuracyDisplay.from_estimator(
            reg, X_test, y_test, tolerance=3, name=f"{k} members", ax=ax
        )
    fig.tight_layout()


main()
plt.show()

# %%
# More members promise more and know less, as with classes. What is certified is not that the
# truth is near, but that no attack within the budget moves a prediction that is near now.
