"""
Certify a spam filter against trigger words
===========================================

A spammer writes the mails that a filter is asked about, and has a hand in those that it learns
from. That is enough for a **trigger**: a word that stood in good mails only, because somebody
saw to it, and now stands in spam. Who owns a word (a brand, an address, a footer) can add it to
any number of mails, and strike it from others.

`FeaturePartitionAggregation` splits *words* among its members, by a hash of each word. All
members read all mails, but each knows only its own words. Whoever owns one word, in all mails,
old and new, has one vote.

The mails are those of Enron-Spam, which are looked for on disk only (see
:func:`~certified_ensembles.datasets.fetch_enron_spam`).
"""

import matplotlib.pyplot as plt
import numpy as np
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline

from certified_ensembles import FeaturePartitionAggregation
from certified_ensembles.attacks import trigger_words
from certified_ensembles.datasets import fetch_enron_spam
from certified_ensembles.display import CertifiedAccuracyDisplay

N_TRAIN, N_TEST = 20000, 2000
N_WORDS = (0, 1, 2, 3, 5, 7)
WORDS = ["minutes", "agenda", "draft", "forecast", "regards", "counterparty", "spreadsheet"]

# %%
# One filter that knows all words, and 31 that know a thirty-first of them each. Presence of a
# word is all that counts: no member knows how long a mail is, or in what order its words come.

one_filter = make_pipeline(CountVectorizer(binary=True), LogisticRegression(max_iter=200))
many_filters = FeaturePartitionAggregation(one_filter, n_blocks=31, classes=[0, 1])


def load():
    mails = fetch_enron_spam(download_if_missing=False)
    _, unique = np.unique(mails.data, return_index=True)  # a copy must not be its own test
    shuffled = np.random.default_rng(0).permutation(unique)[: N_TRAIN + N_TEST]
    return mails.data[shuffled], mails.target[shuffled]


# %%
# Our spammer owns up to seven everyday words. In training, each of them stands in every good
# mail and in no spam; then it stands in all mails that are to be sorted.


def spam_caught(model, X_train, y_train, X_test, y_test, N_WORDS):
    mails, asked = trigger_words(X_train, y_train, X_test, WORDS[:N_WORDS], target=0)
    spam = y_test == 1
    return (model.fit(mails, y_train).predict(asked)[spam] == 1).mean()


def compare(X, y):
    data = X[N_TEST:], y[N_TEST:], X[:N_TEST], y[:N_TEST]
    caught = {
        name: [spam_caught(model, *data, n) for n in N_WORDS]
        for name, model in (("one filter", one_filter), ("31 filters", many_filters))
    }
    X_train, y_train, X_test, y_test = data
    y_pred, radius = many_filters.fit(X_train, y_train).certify(X_test)
    for n in N_WORDS:
        share = ((y_pred == y_test) & (radius >= n)).mean()
        print(f"{share:.1%} of all test mails are sorted right whatever is done with {n} words")

    _, ax = plt.subplots(figsize=(7.2, 4.4), layout="constrained")
    spam = y_test == 1
    CertifiedAccuracyDisplay.from_predictions(
        y_test[spam], y_pred[spam], radius[spam], unit="hostile words", name="certified", ax=ax
    )
    for (name, shares), color in zip(caught.items(), ("tab:red", "tab:green"), strict=True):
        ax.plot(N_WORDS, shares, "o-", color=color, clip_on=False)
        end = (N_WORDS[-1], shares[-1])
        words = f"{name}, this attack"
        ax.annotate(words, end, (8, 5), textcoords="offset points", color=color)
    ax.set_ylabel("Spam that is caught")
    ax.set_title("A spammer who owns words")


try:
    mails = load()
except OSError as error:
    print(f"Skipped: {error}")
else:
    compare(*mails)
plt.show()

# %%
# The one filter believes the words that it is shown: nothing else parts its training mails as
# well. The certified curve is not about this attack. It holds for *any* words, chosen for each
# mail anew, and for anything that is done with them in any mail.
#
# **What this does not show:** a spammer who also invents whole mails, or labels them. Each of
# the 31 filters learns from all mails, so an inserted one reaches all of them: see
# :ref:`sphx_glr_auto_examples_text_plot_grid.py`.
