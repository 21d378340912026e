"""
Certify the alarm of an outlier detector
========================================

A detector scores how unusual a row is, and rings where the score is below a threshold. It learns
what is usual from rows that arrive every day, and whoever sends some of them can teach it that
an intrusion is usual. A median of detectors cannot be taught so easily: each member sees one
partition of the rows, and r hostile rows move the median score by r places.

No new class is needed. A regressor whose ``predict`` is the detector's ``score_samples`` takes
the place of the member, and its targets are not looked at.
"""

import matplotlib.pyplot as plt
import numpy as np
from sklearn.base import BaseEstimator, RegressorMixin
from sklearn.datasets import load_breast_cancer
from sklearn.ensemble import IsolationForest

from certified_ensembles import DeepPartitionRegressor
from certified_ensembles.metrics import certified_tolerance_curve


class UnusualScore(RegressorMixin, BaseEstimator):
    """Predict how usual a row is, by an isolation forest; targets do not matter."""

    def __init__(self, n_estimators=20, random_state=None):
        self.n_estimators = n_estimators
        self.random_state = random_state

    def fit(self, X, y=None):
        self.forest_ = IsolationForest(
            n_estimators=self.n_estimators, random_state=self.random_state
        ).fit(X)
        self.n_features_in_ = X.shape[1]
        return self

    def predict(self, X):
        return self.forest_.score_samples(X)


# %%
# Benign tumours are what is usual here: 280 of them are learned from, and the alarm is meant for
# malignant ones. The threshold is set on 40 benign rows that nobody else has touched, so that one
# in ten of them rings.

X, benign = load_breast_cancer(return_X_y=True)
usual = np.random.default_rng(0).permutation(X[benign == 1])
X_train, X_trusted, X_usual = usual[:280], usual[280:320], usual[320:]
X_odd = X[benign == 0]

detector = DeepPartitionRegressor(UnusualScore(), n_partitions=15)
detector.fit(X_train, np.zeros(len(X_train)))
threshold = np.quantile(detector.predict(X_trusted), 0.1)
rings = detector.predict(X_odd) < threshold
print(f"Malignant rows that ring: {rings.mean():.1%}")
print(f"Benign ones: {(detector.predict(X_usual) < threshold).mean():.1%}")

# %%
# ``certify(X, upper=...)`` counts the inserted and deleted training rows within which the score
# stays below the threshold: within which the alarm cannot be switched off. With ``lower=`` it
# counts those within which a benign row cannot be made to ring.

still_rings = detector.certify(X_odd, upper=np.nextafter(threshold, -np.inf)).radius
still_silent = detector.certify(X_usual, lower=threshold).radius
fig, ax = plt.subplots(figsize=(8, 4.5))
for radius, name in ((still_rings, "malignant: still rings"), (still_silent, "benign: silent")):
    budgets, shares = certified_tolerance_curve(radius)
    ax.step(budgets, shares, where="post", linewidth=2, label=name)
ax.set(xlabel="Inserted and deleted training rows", ylabel="Share of rows", ylim=(0, 1.03))
ax.spines[["top", "right"]].set_visible(False)
ax.legend(frameon=False)
fig.tight_layout()
print(f"Alarms that 3 hostile rows cannot switch off: {(still_rings >= 3).mean():.1%}")

plt.show()
