"""
Report what is certified
========================

Somebody has to decide whether an ensemble goes into service, and does not read curves. A
:class:`~certified_ensembles.report.CertificationReport` says in sentences what poisoning the
predictions survive, lists what that rests on, and gives its tables to a spreadsheet or a paper.
"""

import textwrap

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_digits
from sklearn.linear_model import RidgeClassifier
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline

from certified_ensembles import DeepPartitionAggregation
from certified_ensembles.features import HOGFeatures
from certified_ensembles.report import CertificationComparison, CertificationReport

X, y = load_digits(return_X_y=True)
X_train, X_test, y_train, y_test = train_test_split(
    X, y, test_size=0.3, stratify=y, random_state=0
)

# %%
# One call asks the ensemble about every threat that it covers.

base = make_pipeline(HOGFeatures(cell_sizes=(2, 4), image_shape=(8, 8)), RidgeClassifier())
clf = DeepPartitionAggregation(base, n_partitions=75, classes=range(10)).fit(X_train, y_train)
report = CertificationReport.from_estimator(clf, X_test, y_test, rows="images")
for sentence in report.sentences():
    print(textwrap.fill(sentence, 70))

# %%
# At the end of a notebook's cell the whole of it is shown; ``print(report)`` writes the same as
# text.

report

# %%
# Each table is a frame: ``to_csv`` writes it for a spreadsheet, ``to_latex`` for a paper.

print(report.to_frame("certified_accuracy").round(3).to_csv())

# %%
# The radii behind the sentences, and those of an ensemble with fewer partitions. Wrong predictions
# have a radius, too: so much poisoning cannot repair them.

fewer = DeepPartitionAggregation(base, n_partitions=25, classes=range(10)).fit(X_train, y_train)
other = CertificationReport.from_estimator(
    fewer, X_test, y_test, rows="images", name="25 partitions"
)
report.name = "75 partitions"
fig, axes = plt.subplots(1, 2, figsize=(9.5, 3.8), sharey=True, layout="constrained")
for own, ax in zip((other, report), axes, strict=True):
    own.plot(ax=ax)
plt.show()

# %%
# Side by side they are one table.

print(CertificationComparison([other, report], threat="insertion_deletion"))

# %%
# Where all rows of a source go to one partition, the report counts sources, in your words. Here
# each writer is said to have sent 20 images.

writer = np.arange(len(X_train)) // 20
sources = DeepPartitionAggregation(base, n_partitions=25, classes=range(10))
sources.fit(X_train, y_train, groups=writer)
report = CertificationReport.from_estimator(
    sources, X_test, y_test, rows="images", unit="hostile writers"
)
for sentence in report.sentences():
    print(textwrap.fill(sentence, 70))

# %%
# **What this does not show:** that the assumptions hold. The report lists them (see *How to read
# it, and what is assumed* above), and somebody has to check each of them.
