"""
Train on a table that memory does not hold
==========================================

Partitions need not meet. A table that lies in Parquet files is read once, batch by batch, and
written once, one folder for each partition. Then members are trained one partition at a time. All
that is ever in memory is a batch, or a partition. The certificates are those of one whole table.

Here a stream of sensor readings of two kinds stands for the table. It needs pyarrow and pandas.
"""

import tempfile
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from sklearn.linear_model import RidgeClassifier

from certified_ensembles import DeepPartitionAggregation
from certified_ensembles.display import CertifiedAccuracyDisplay
from certified_ensembles.engines import write_partitions
from certified_ensembles.metrics import median_certified_radius

N_BATCHES, N_ROWS, N_PARTITIONS = 50, 20_000, 400

# %%
# A generator yields the rows: nobody holds more than one batch of them.


def readings(n_batches, n_rows, seed=0):
    """Yield frames of 20 sensors and a column that says whether the machine failed."""
    import pandas as pd

    weights = np.random.default_rng(0).standard_normal(20)
    for i in range(n_batches):
        rng = np.random.default_rng([seed, i])
        X = rng.standard_normal((n_rows, 20)).astype(np.float32)
        failed = X @ weights + 3 * rng.standard_normal(n_rows) > 0
        yield pd.DataFrame(X, columns=[f"sensor {j}" for j in range(20)]).assign(failed=failed)


# %%
# Two calls: ``write_partitions`` hashes and sorts, ``fit_partitions`` trains. Each row is hashed
# again when it is read: a row in a wrong folder is an error, and never a broken certificate.


def fit_from_files(scratch):
    """Return an ensemble that was trained on rows in files, and the bytes of each partition."""
    folder = Path(scratch) / "by_partition"
    write_partitions(readings(N_BATCHES, N_ROWS), folder, N_PARTITIONS, y="failed")
    n_bytes = [
        sum(file.stat().st_size for file in own.iterdir()) for own in sorted(folder.iterdir())
    ]
    clf = DeepPartitionAggregation(RidgeClassifier(), N_PARTITIONS, classes=[False, True])
    return clf.fit_partitions(folder, y="failed"), n_bytes


def compare(clf, n_bytes):
    """Show certified accuracy, and how little of the table a member is."""
    (asked,) = readings(1, 5_000, seed=1)
    y_test = asked.pop("failed")
    y_pred, radius = clf.certify(asked)
    print(
        f"{clf.partition_sizes_.sum()} rows, {sum(n_bytes) / 1e6:.0f} MB in files; the largest "
        f"partition has {max(n_bytes) / 1e6:.2f} MB"
    )
    print(
        f"{np.mean(y_pred == y_test):.1%} right, median radius "
        f"{median_certified_radius(y_test, y_pred, radius)} inserted or deleted rows"
    )
    _, (left, right) = plt.subplots(1, 2, figsize=(9, 3.8), layout="constrained")
    CertifiedAccuracyDisplay.from_predictions(
        y_test, y_pred, radius, ax=left, name=f"{N_PARTITIONS} partitions"
    )
    left.set_xlabel("rows inserted or deleted")
    right.hist(clf.partition_sizes_, bins=20, color="tab:gray")
    right.set(xlabel="rows of a partition", ylabel="partitions", xlim=(0, None))
    right.set_title("What is in memory at a time")


try:
    with tempfile.TemporaryDirectory() as scratch:
        found = fit_from_files(scratch)
except ImportError as error:
    print(f"Skipped: {error}. pip install pandas pyarrow")
else:
    compare(*found)
plt.show()

# %%
# Rows that lie with Spark, Polars or DuckDB are written by these engines, which call
# ``partition_numbers`` for the number of the folder. With Dask or Ray there is nothing to write:
# ``fit(rows, "failed")`` of a collection leaves its rows on the workers.
