"""
Certify mail against hostile senders and words at once
======================================================

A backdoor has two halves. Rows with a trigger are slipped into training, and the trigger stands
in the row that is asked about. Against the first half one trains members on different *rows*;
against the second, members that see different *words*
(:ref:`sphx_glr_auto_examples_text_plot_word_trigger.py`). A grid does both: member (i, j) reads
the j-th block of words of the i-th part of the mails.

How much of each does a prediction survive? That is no number but a *frontier*: so many words
beside no hostile sender, so many beside one, beside two, ...

The mails are those of Enron-Spam, which are looked for on disk only (see
:func:`~certified_ensembles.datasets.fetch_enron_spam`). They name no senders, so the **senders
here are simulated**: we deal the mails out at random, eight to a sender on average.
"""

import matplotlib.pyplot as plt
import numpy as np
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline

from certified_ensembles import FeaturePartitionAggregation
from certified_ensembles.datasets import fetch_enron_spam
from certified_ensembles.display import FrontierDisplay

SHAPES = ((15, 5), (9, 9))
N_TRAIN, N_TEST = 24000, 2000

spam_filter = make_pipeline(CountVectorizer(binary=True), LogisticRegression(max_iter=200))


def load():
    mails = fetch_enron_spam(download_if_missing=False)
    _, unique = np.unique(mails.data, return_index=True)  # a copy must not be its own test
    shuffled = np.random.default_rng(0).permutation(unique)[: N_TRAIN + N_TEST]
    return mails.data[shuffled], mails.target[shuffled]


# %%
# The sender decides which part a mail belongs to. So a hostile sender reaches one row of the
# grid, whatever he sends; and a hostile word one column, in whatever mail it stands.


def compare(X, y):
    X_train, X_test, y_train, y_test = X[N_TEST:], X[:N_TEST], y[N_TEST:], y[:N_TEST]
    sender = np.random.default_rng(1).integers(N_TRAIN // 8, size=N_TRAIN)
    _, axes = plt.subplots(
        1, len(SHAPES), figsize=(5.4 * len(SHAPES), 4.2), layout="constrained", squeeze=False
    )
    for (n_partitions, n_blocks), ax in zip(SHAPES, axes[0], strict=True):
        clf = FeaturePartitionAggregation(
            spam_filter, n_blocks=n_blocks, n_partitions=n_partitions, classes=[0, 1]
        )
        clf.fit(X_train, y_train, groups=sender)
        name = f"{n_partitions} parts of senders, {n_blocks} blocks of words"
        display = FrontierDisplay.from_estimator(
            clf, X_test, y_test, name=name, column_unit="Hostile words", ax=ax
        )
        ax.set_ylabel("Hostile senders")
        certified = display.accuracies
        print(
            f"{name}: {certified[0, 0]:.1%} right, {certified[2, 0]:.1%} beside 2 senders, "
            f"{certified[2, 1]:.1%} beside 2 senders and a word"
        )


try:
    mails = load()
except OSError as error:
    print(f"Skipped: {error}")
else:
    compare(*mails)
plt.show()

# %%
# Each cell is the share of mails that are sorted right and provably stay so, whatever so many
# senders send and whatever is done with so many words in all mails, those in training and the
# one that is asked about. More parts buy senders, more blocks buy words, and each costs the
# members some of what they know.
#
# **What this does not show:** real senders, whose mails are alike, so that members that learn
# from them agree less. And names must be trusted: someone with ten addresses is ten senders.
