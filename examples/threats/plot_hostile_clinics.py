"""
Bound how far hostile records push a forecast
=============================================

A model that forecasts a number (a price, a dose, a delay) is poisoned like any classifier. Here
442 diabetes patients come with ten measurements and a score of how far the disease has gone a
year later, from 25 to 346. We forecast the score, and ask of every forecast: *between which
numbers does it stay*, whatever somebody has inserted into the records or deleted from them?

The answer is a median. A hash of each record decides which of 25 members is trained on it, and
the forecast is the median of their answers. Whoever adds a record changes one answer, and that
moves the median by one place among the sorted answers at most.
"""

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_diabetes
from sklearn.linear_model import Ridge
from sklearn.model_selection import train_test_split

from certified_ensembles import DeepPartitionRegressor, LabelNoiseRegressor
from certified_ensembles.display import CertifiedAccuracyDisplay, CertifiedIntervalDisplay

X, y = load_diabetes(return_X_y=True)
X_train, X_test, y_train, y_test = train_test_split(X, y, test_size=100, random_state=0)
MEMBER = Ridge(alpha=0.05)

reg = DeepPartitionRegressor(MEMBER, n_partitions=25).fit(X_train, y_train)
y_pred, lower, upper = reg.certify_interval(X_test, budget=3)
plain = np.abs(MEMBER.fit(X_train, y_train).predict(X_test) - y_test).mean()
print(f"Mean error: {np.abs(y_pred - y_test).mean():.1f} points, of one ridge {plain:.1f}")
print(f"Median width of the interval at 3 records: {np.median(upper - lower):.0f} points")

# %%
# Each vertical line is a patient, from the lowest forecast to the highest. The dark band is where
# 2 hostile records can move the forecast, the light one belongs to 5. The dots are what happened.
# No band says that the truth is inside it: it says that the *forecast* stays.

order = np.argsort(y_pred)
fig, ax = plt.subplots(figsize=(8, 4.5))
for budget, shade in ((5, 0.2), (2, 0.45)):
    _, low, high = reg.certify_interval(X_test, budget)
    ax.fill_between(
        range(100), low[order], high[order], alpha=shade, color="tab:blue", linewidth=0
    )
    ax.annotate(f"{budget} records", (99, high[order][-1]), color="tab:blue", va="bottom")
ax.plot(y_pred[order], color="tab:blue", linewidth=2)
ax.plot(y_test[order], ".", color="0.4", markersize=4)
ax.set(xlabel="Patients, by forecast", ylabel="Disease score", ylim=(0, 360), xlim=(0, 112))
ax.spines[["top", "right"]].set_visible(False)
fig.tight_layout()

# %%
# Records come from clinics, and a hostile clinic sends many. So deal the patients out to 60
# clinics (this is **simulated**: the data name none) and say who sent what: ``groups=`` puts all
# records of a clinic into one partition, and a radius counts clinics, each of which may add,
# delete and rewrite any number of its records. How many forecasts stay within 60 points of the
# truth?

clinic = np.random.default_rng(0).integers(60, size=len(y_train))
by_clinic = DeepPartitionRegressor(MEMBER, n_partitions=25).fit(X_train, y_train, groups=clinic)
fig, ax = plt.subplots(figsize=(8, 4.5))
for fitted, name in ((reg, "records"), (by_clinic, "whole clinics")):
    CertifiedAccuracyDisplay.from_estimator(fitted, X_test, y_test, tolerance=60, name=name, ax=ax)
fig.tight_layout()
radius = by_clinic.certify(X_test, lower=y_test - 60, upper=y_test + 60).radius
print(f"Within 60 points whatever 3 of 60 clinics send: {(radius >= 3).mean():.0%} of patients")

# %%
# If the measurements can be trusted and only *scores* are wrong (somebody mistyped them, or was
# paid to), no partition is needed. A ridge regression on all records is a weighted sum of their
# scores, with weights that follow from the measurements alone. A wrong score lies between 25 and
# 346 all the same, so each of them has a largest effect that is known beforehand, and the r
# largest add up. This model errs less than the median does. A few wrong scores move it about as
# far; many of them less, and its bounds never end, while half of the members suffice to move a
# median anywhere.

noise = LabelNoiseRegressor(Ridge(alpha=1.0), bounds=(25, 346)).fit(X_train, y_train)
fig, ax = plt.subplots(figsize=(8, 4.5))
for fitted, name in ((reg, "any records"), (noise, "scores alone")):
    CertifiedIntervalDisplay.from_estimator(
        fitted, X_test, range(16), name=name, unit="records", ax=ax
    )
ax.set_xlim(0, 18)
fig.tight_layout()
width = np.diff(noise.certify_interval(X_test, 10)[1:], axis=0)
print(
    f"{np.abs(noise.predict(X_test) - y_test).mean():.1f} points of error on all records, and 10 "
    f"wrong scores move a forecast within {np.median(width):.0f} points"
)

plt.show()
