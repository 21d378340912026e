"""
Compare certificates with attacks
=================================

Somebody may flip labels of the training set. A certificate is a floor: no attack gets below it. An
attack is a ceiling: this one works. Between them lies what we do not know, and a good certificate
leaves little of it. The paper [1]_ draws both for the ones and sevens of MNIST (its Figures 1a,
C.1a and E.1). We add a certificate that leaves nothing.

MNIST (11 MB) is looked for on disk only; one call of
:func:`~certified_ensembles.datasets.fetch_mnist` downloads it. Without it, the much smaller digits
of scikit-learn stand in.
"""

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_digits
from sklearn.decomposition import PCA
from sklearn.linear_model import LinearRegression, LogisticRegression, Ridge
from sklearn.model_selection import train_test_split

from certified_ensembles import LabelFlipSmoothingClassifier
from certified_ensembles.attacks import (
    empirical_robust_accuracy,
    smallest_flip_attack,
    smallest_ordered_flip_attack,
)
from certified_ensembles.datasets import fetch_mnist
from certified_ensembles.metrics import certified_accuracy_curve, certified_accuracy_score

N_TRAIN, N_TEST, N_ATTACKED = 13007, 2163, 100
NOISE = {0.1: "tab:green", 0.3: "tab:orange", 0.45: "tab:red"}


def ones_and_sevens(X, y, n):
    kept = np.isin(y, (1, 7))
    return X[kept].reshape(kept.sum(), -1)[:n] / X.max(), y[kept][:n]


def load():
    try:
        data = [
            fetch_mnist(subset=subset, return_X_y=True, download_if_missing=False)
            for subset in ("train", "test")
        ]
    except OSError as error:
        print(f"Skipped: {error}\nThe digits of scikit-learn stand in for MNIST.")
        X_train, X_test, y_train, y_test = train_test_split(
            *load_digits(return_X_y=True), test_size=0.4, random_state=0
        )
        data = (X_train, y_train), (X_test, y_test)
        name = "digits of scikit-learn"
    else:
        name = "MNIST"
    train, test = (
        ones_and_sevens(*part, n) for part, n in zip(data, (N_TRAIN, N_TEST), strict=True)
    )
    return name, *train, *test


name, X_train, y_train, X_test, y_test = load()

# %%
# The features are 50 principal components. They look at no labels, so that nobody who flips labels
# can touch them, and they may be computed once for all that follows.

pca = PCA(50, random_state=0).fit(X_train)
X_train, X_test = pca.transform(X_train), pca.transform(X_test)
n_train = len(y_train)

# %%
# A linear classifier on top of them, with and without regularisation. The regularisation is strong
# on purpose: it lets many labels share in every prediction.

classifiers = {
    "With regularisation": Ridge(alpha=10 * n_train, fit_intercept=False),
    "Without": LinearRegression(fit_intercept=False),
}


def certify(estimator, certificate, noise=0.1):
    clf = LabelFlipSmoothingClassifier(
        estimator, certificate=certificate, noise=noise, classes=[1, 7]
    )
    clf.fit(X_train, y_train)
    return clf, *clf.certify(X_test)


# %%
# Two attacks. On the certified classifier it is the best there is: flip the labels that carry most
# weight, and count how many it takes. On a plain logistic regression, which promises nothing, it
# flips the labels of the most influential or of the nearest images first, and fits again. As that
# takes a while, it is done for some of the test images only.


def optimal_attack(clf):
    blocks = clf.smoother_.iter_weights(X_test)
    codes = (y_train == 7).astype(int)
    return np.concatenate([smallest_flip_attack(weights, codes, 2) for _, weights in blocks])


undefended = LogisticRegression(max_iter=1000).fit(X_train, y_train)
attacked = np.random.default_rng(0).permutation(len(y_test))[:N_ATTACKED]
n_flips = smallest_ordered_flip_attack(
    LogisticRegression(max_iter=1000), X_train, y_train, X_test[attacked]
)
budgets = np.unique(np.geomspace(1, n_train / 4, 60).astype(int))
ceiling = empirical_robust_accuracy(
    y_test[attacked], undefended.predict(X_test[attacked]), n_flips, budgets
)

# %%
# Curves that end further to the right are stronger promises.


def draw(ax, estimator):
    def curve(y_pred, radius, **line):
        budgets, accuracies = certified_accuracy_curve(y_test, y_pred, radius)
        ax.plot(budgets[1:], accuracies[1:], drawstyle="steps-pre", **line)
        shown = [certified_accuracy_score(y_test, y_pred, radius, budget) for budget in columns]
        print(f"  {line['label']:28}", *(f"{share:8.1%}" for share in shown))

    clf, *answers = certify(estimator, "exact")
    curve(*answers, color="tab:blue", lw=2.8, label="exact")
    for noise, color in NOISE.items():
        for certificate, style in (("tight", "-"), ("kl", "--")):
            _, *answers = certify(estimator, certificate, noise)
            curve(*answers, color=color, ls=style, lw=1.4, label=f"{certificate}, noise {noise}")
    optimal = empirical_robust_accuracy(y_test, clf.predict(X_test), optimal_attack(clf), budgets)
    ax.plot(
        budgets, optimal, "o", ms=4.5, mfc="none", mec="tab:blue", label="the optimal attack on it"
    )
    ax.plot(budgets, ceiling, color="0.3", lw=1.6, ls=":", label="attack on logistic regression")


columns = [max(1, int(n_train * share)) for share in (0.0001, 0.01, 0.04, 0.08, 0.15)]
fig, axes = plt.subplots(1, 2, figsize=(10, 4.6), sharey=True, layout="constrained")
for ax, (title, estimator) in zip(axes, classifiers.items(), strict=True):
    print(f"{title}, certified against", *(f"{budget}" for budget in columns), "flips:")
    draw(ax, estimator)
    ax.set(
        title=title,
        xscale="log",
        xlim=(1, budgets[-1]),
        ylim=(0, 1.02),
        xlabel=f"label flips, of {n_train:,}",
    )
    ax.grid(alpha=0.15)
    ax.spines[["top", "right"]].set_visible(False)
axes[0].set_ylabel("right, in spite of that many flips")
axes[0].yaxis.set_major_formatter("{x:.0%}")
axes[0].legend(loc="lower left", fontsize=8.5, frameon=False)
fig.suptitle(f"{name}, 1 against 7")
plt.show()

# %%
# The circles lie on the thick line: the exact certificate and the optimal attack meet, and nothing
# is left between them. The bounds that go through noise stay below, although all these curves are
# about one and the same classifier. Without regularisation it is a little better while nobody
# attacks, and gives way to an eighth of the flips.
#
# **What this does not show:** the best that can be done. With all images, the thick line on the
# left is at 93 % and 85 % at 500 and 1000 flips, where the best of the paper are 74.7 % and
# 66.7 %; but at 2000 it is at 57 %, and they are at 63.8 %. Other features may do better. And the
# dotted line is one attack, not the strongest one: the true curve of that model lies below it,
# nobody knows how far.
#
# .. [1] E. Rosenfeld, E. Winston, P. Ravikumar and J. Z. Kolter. Certified Robustness to
#    Label-Flipping Attacks via Randomized Smoothing. ICML 2020.
