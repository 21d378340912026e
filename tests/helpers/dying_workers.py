"""A member that ends the process in which it is asked."""

import os
import signal
from pathlib import Path

from sklearn.naive_bayes import GaussianNB


def kills_the_worker_that_asks(folder):
    """Return a classifier that kills the first other process in which it is asked."""

    class Kills(GaussianNB):
        def __init__(self, folder=None, caller=None):
            super().__init__()
            self.folder = folder
            self.caller = caller

        def predict(self, X):
            if os.getpid() != self.caller:
                try:
                    (Path(self.folder) / "killed").touch(exist_ok=False)
                except FileExistsError:
                    pass
                else:
                    os.kill(os.getpid(), signal.SIGKILL)
            return super().predict(X)

    return Kills(str(folder), os.getpid())
