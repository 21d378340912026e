"""
Count hostile senders of a spam filter
======================================

A spam filter learns from mails that its users report. Some users are spammers, and report whatever
helps them: thousands of mails, if need be. A certificate that counts *mails* is then worth little.
One that counts *users* is what we want, and it takes one argument: ``fit(X, y, groups=users)``.

The mails are those of Enron-Spam, which are looked for on disk only (see
:func:`~certified_ensembles.datasets.fetch_enron_spam`). They name no senders, only six mailboxes,
and six are too few to vote. So the **contributors here are simulated**: we deal the mails out at
random, 14 to a contributor on average.
"""

import matplotlib.pyplot as plt
import numpy as np
from sklearn.feature_extraction.text import HashingVectorizer, TfidfTransformer
from sklearn.pipeline import make_pipeline
from sklearn.svm import LinearSVC

from certified_ensembles import DeepPartitionAggregation
from certified_ensembles.datasets import fetch_enron_spam
from certified_ensembles.display import CertifiedAccuracyDisplay
from certified_ensembles.metrics import median_certified_radius

N_TRAIN, N_CONTRIBUTORS, N_PARTITIONS = 28000, 2000, 300
N_TEST = 1000

# %%
# Each member is a whole spam filter. How common a word is, it learns from its own mails. Hashing
# words needs no vocabulary, and what learns nothing is computed once for all members.

spam_filter = DeepPartitionAggregation(
    make_pipeline(
        HashingVectorizer(n_features=2**16, alternate_sign=False, norm=None),
        TfidfTransformer(sublinear_tf=True),
        LinearSVC(),
    ),
    n_partitions=N_PARTITIONS,
    classes=[0, 1],
)

# %%
# We train it twice. Without ``groups`` a radius counts inserted and deleted mails. To draw both on
# one axis we assume that a hostile contributor adds as many mails as the average one has sent:
# then a radius of 140 mails is one of 10 contributors. With ``groups`` nothing need be assumed. A
# radius counts contributors, each of whom may add, delete and relabel any number of their mails.


def load():
    mails = fetch_enron_spam(download_if_missing=False)
    _, unique = np.unique(mails.data, return_index=True)  # a copy must not be its own test
    shuffled = np.random.default_rng(0).permutation(unique)[: N_TRAIN + N_TEST]
    return mails.data[shuffled], mails.target[shuffled]


def compare(X, y):
    X_train, X_test, y_train, y_test = X[N_TEST:], X[:N_TEST], y[N_TEST:], y[:N_TEST]
    contributors = np.random.default_rng(1).integers(N_CONTRIBUTORS, size=N_TRAIN)
    each = N_TRAIN // N_CONTRIBUTORS

    y_mails, r_mails = spam_filter.fit(X_train, y_train).certify(X_test)
    y_users, r_users = spam_filter.fit(X_train, y_train, groups=contributors).certify(X_test)
    for unit, y_pred, r in (("mails", y_mails, r_mails), ("contributors", y_users, r_users)):
        print(
            f"Counted in {unit}: {(y_pred == y_test).mean():.1%} right, half of all test mails "
            f"also certified against {median_certified_radius(y_test, y_pred, r)} hostile {unit}"
        )

    _, ax = plt.subplots(figsize=(7, 4.2), layout="constrained")
    for name, y_pred, r in (
        (f"fit(X, y)\nif they add {each} mails each", y_mails, r_mails // each),
        ("fit(X, y, groups=contributors)\nwhatever they add or delete", y_users, r_users),
    ):
        CertifiedAccuracyDisplay.from_predictions(
            y_test,
            y_pred,
            r,
            name=name,
            unit=f"hostile contributors, of {N_CONTRIBUTORS:,}",
            ax=ax,
        )
    ax.set_title("A spam filter and its contributors")


try:
    mails = load()
except OSError as error:
    print(f"Skipped: {error}")
else:
    compare(*mails)
plt.show()

# %%
# **What this does not show:** a real crowd. Dealt at random, everybody's mails look alike; real
# people write about their own affairs, and the members that learn from them will agree less. And
# the names must be trusted: someone who can open a hundred accounts is a hundred contributors.
