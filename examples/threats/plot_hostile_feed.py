"""
Certify a diagnosis against hostile feeds of columns
====================================================

Tables are rarely of one piece. Ten columns come from one vendor, three from a device, five from
another office, and they arrive by different ways. Who breaks into one of these ways owns all
columns of that feed: in the training rows of years, and in the row that is asked about today.

Here 569 tumours were measured: ten properties of their cell nuclei (radius, texture, smoothness,
...), each as the mean, its error and the worst value. We take every property for one **feed** of
three columns, as if each came from a laboratory of its own (this is **our reading**: in truth
one program measured them all). How many hostile laboratories does a diagnosis survive?
"""

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_breast_cancer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from certified_ensembles import FeaturePartitionAggregation
from certified_ensembles.attacks import trigger_columns
from certified_ensembles.display import CertifiedAccuracyDisplay

data = load_breast_cancer()
X_train, X_test, y_train, y_test = train_test_split(data.data, data.target, random_state=0)
feed = np.arange(30) % 10  # columns 3, 13 and 23 are the area: mean, error and worst value
one_model = make_pipeline(StandardScaler(), LogisticRegression())

# %%
# ``blocks`` says which columns belong together. Each of ten members then sees one feed, and
# whoever owns a feed has one vote. The scaler stands *inside* the member: before the ensemble it
# would do no harm to columns, but what mixes columns would.

by_feed = FeaturePartitionAggregation(one_model, n_blocks=10, blocks=feed, classes=[0, 1])
y_pred, radius = by_feed.fit(X_train, y_train).certify(X_test)

# %%
# Without ``blocks`` a hash deals out the columns. A member then sees columns of several feeds,
# which makes it better; but the radius counts columns, and a hostile feed owns three of them.

by_column = FeaturePartitionAggregation(one_model, n_blocks=10, classes=[0, 1])
y_mixed, columns = by_column.fit(X_train, y_train).certify(X_test)

fig, ax = plt.subplots(figsize=(7, 4.2), layout="constrained")
for name, labels, feeds in (
    ("blocks=feed", y_pred, radius),
    ("blocks by hash,\n3 columns a feed", y_mixed, columns // 3),
):
    CertifiedAccuracyDisplay.from_predictions(
        y_test, labels, feeds, name=name, unit="hostile feeds, of 10", ax=ax
    )
ax.set_title("Diagnoses and the laboratories that feed them")

# %%
# And one model of all columns? Let one to three feeds attack: in training they hold 1 where a
# tumour is benign and 0 where it is not, and today they say that it is benign. How many
# malignant tumours are still found?

malignant = y_test == 0
for n_hostile in range(4):
    own = np.flatnonzero(feed < n_hostile)
    rows, asked = trigger_columns(X_train, y_train, X_test, own, target=1)
    found = [
        (model.fit(rows, y_train).predict(asked)[malignant] == 0).mean()
        for model in (one_model, by_feed)
    ]
    certified = ((y_pred == 0) & (radius >= n_hostile))[malignant].mean()
    print(
        f"Hostile feeds: {n_hostile}. Malignant tumours found: {found[0]:.0%} by one model, "
        f"{found[1]:.0%} by members of one feed each ({certified:.0%} certified)"
    )

plt.show()

# %%
# **What this does not show:** hostile *patients*. Every member learns from all rows, so an
# inserted or relabelled one reaches all of them. ``n_partitions`` adds partitions of the rows
# (:ref:`sphx_glr_auto_examples_text_plot_grid.py`), for which 426 rows are few.
