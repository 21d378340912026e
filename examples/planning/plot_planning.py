"""
Foresee accuracy and radius before training
===========================================

More partitions raise the limit of every radius and starve the members. The number that suits you
depends on your data, and trying out each one takes a fit of all members. But members are alike:
a few dozen of them, trained on as many rows as they would have, tell what a thousand will do. So
we *plan*: from a fifth of MNIST, how good will ensembles on all of it be, and what will they take?
Then we train them and look.

MNIST (11 MB) is looked for on disk only; one call of
:func:`~certified_ensembles.datasets.fetch_mnist` downloads it.
"""

from time import perf_counter

import matplotlib.pyplot as plt
from sklearn.linear_model import RidgeClassifier
from sklearn.pipeline import make_pipeline

from certified_ensembles import DeepPartitionAggregation
from certified_ensembles.datasets import fetch_mnist
from certified_ensembles.features import Deskew, HOGFeatures
from certified_ensembles.metrics import certified_accuracy_curve, median_certified_radius
from certified_ensembles.planning import plan_partitions

N_TRAIN, N_TEST = 60000, 10000
N_PARTITIONS = (150, 300, 600, 1200, 3000)

# %%
# Each image becomes a histogram of its gradients, by a rule that learns nothing. The plan gets
# one training image in five, and the number of images on which the ensemble will be trained. It
# compares members on every second test image, and on the others we measure what has become true:
# the test digits are by other writers and a little harder, and a plan holds for rows like those
# that it has seen.

features = make_pipeline(Deskew(), HOGFeatures())


def load(subset, n):
    images, digits = fetch_mnist(subset=subset, return_X_y=True, download_if_missing=False)
    return features.transform(images[:n]), digits[:n]


def plan_and_train(X_train, y_train, X_test, y_test):
    known = len(X_train) // 5
    start = perf_counter()
    plan = plan_partitions(
        RidgeClassifier(),
        X_train[:known],
        y_train[:known],
        N_PARTITIONS,
        X_val=X_test[::2],
        y_val=y_test[::2],
        n_train=len(X_train),
        budgets=range(N_PARTITIONS[-1] // 2 + 1),
        classes=range(10),
    )
    X_test, y_test = X_test[1::2], y_test[1::2]
    print(f"The plan took {perf_counter() - start:.0f} s")
    print("partitions   clean: foreseen, measured   median radius: foreseen, measured   fit in s")
    measured = []
    for i, k in enumerate(N_PARTITIONS):
        start = perf_counter()
        clf = DeepPartitionAggregation(RidgeClassifier(), n_partitions=k, classes=range(10))
        clf.fit(X_train, y_train)
        seconds = perf_counter() - start
        y_pred, radius = clf.certify(X_test)
        budgets, accuracies = certified_accuracy_curve(y_test, y_pred, radius)
        median = median_certified_radius(y_test, y_pred, radius)
        measured.append((budgets, accuracies, median))
        print(
            f"{k:10}   {plan.accuracy[i]:7.2%} ± {plan.accuracy_error[i]:.2%}, "
            f"{accuracies[0]:.2%}   {plan.median_radius[i]:6} ± {plan.median_error[i]:3.0f}, "
            f"{median:4}   {plan.fit_seconds[i]:5.1f}, {seconds:.1f}"
        )
    draw(plan, measured)


# %%
# Lines are foreseen, dots are measured.


def draw(plan, measured):
    _, (left, right) = plt.subplots(1, 2, figsize=(10, 4.2), layout="constrained")
    for i, (budgets, accuracies, median) in enumerate(measured):
        color = f"C{i}"
        left.plot(plan.budgets, plan.certified_accuracy[i], color=color)
        step = max(1, len(budgets) // 14)
        left.plot(budgets[::step], accuracies[::step], "o", color=color, ms=4)
        level = 0.66 - 0.12 * i  # staggered, so that names of steep curves stay apart
        left.annotate(
            f"{plan.n_partitions[i]}",
            (budgets[accuracies >= level][-1], level),
            (7, 3),
            color=color,
            textcoords="offset points",
            fontsize=9.5,
        )
        foreseen = (plan.median_radius[i], plan.accuracy[i])
        right.errorbar(
            *foreseen,
            xerr=2 * plan.median_error[i],
            yerr=2 * plan.accuracy_error[i],
            color=color,
            capsize=3,
        )
        right.plot(median, accuracies[0], "o", color=color, ms=6)
        right.annotate(
            f"{plan.n_partitions[i]}",
            foreseen,
            (7, 7),
            color=color,
            textcoords="offset points",
            fontsize=9.5,
        )
    left.set(
        xlabel="Attacker's budget (insertions + deletions)",
        ylabel="Certified accuracy",
        title="Lines: foreseen. Dots: measured.",
        ylim=(0, 1),
        xlim=(0, None),
    )
    right.set(
        xlabel="Median certified radius",
        ylabel="Clean accuracy",
        title="Foreseen ± two standard errors, and measured",
    )
    for ax in (left, right):
        ax.spines[["top", "right"]].set_visible(False)
        ax.yaxis.set_major_formatter("{x:.0%}")
    right.yaxis.set_major_formatter(plt.matplotlib.ticker.PercentFormatter(1, decimals=1))


try:
    data = *load("train", N_TRAIN), *load("test", N_TEST)
except OSError as error:
    print(f"Skipped: {error}")
else:
    plan_and_train(*data)
plt.show()

# %%
# **What this does not show:** that a plan certifies anything. It is an estimate from rows that
# nobody has poisoned. Whoever plans on rows that an attacker can touch lets the attacker choose
# among the numbers of partitions; :doc:`the example on that choice <plot_choose_n_partitions>`
# says what is left to promise then.
