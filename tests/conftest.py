"""One thread for each worker, and data in forms that the package reads."""

import os
import sys
from pathlib import Path

if "PYTEST_XDIST_WORKER" in os.environ:  # before numpy, scikit-learn and torch are imported
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # workers share the cores

sys.path.append(str(Path(__file__).parent))

import data_forms

data_forms.publish()
