"""One thread for each worker, Ctrl-C that is heard, and data in forms that the package reads."""

import os
import signal
import sys
from pathlib import Path

if "PYTEST_XDIST_WORKER" in os.environ:  # before numpy, scikit-learn and torch are imported
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # workers share the cores

sys.path.append(str(Path(__file__).parent))

import data_forms

data_forms.publish()

# Ray would put a print of its own in the place of Python's, which breaks pickles of what holds it.
os.environ.setdefault("RAY_TQDM_PATCH_PRINT", "0")
# A shell that starts the tests in the background has Python ignore Ctrl-C, which tests press.
signal.signal(signal.SIGINT, signal.default_int_handler)
