"""Data sets of the papers on certified defences, in the style of `sklearn.datasets`.

Every ``fetch_*`` function looks for its files in the folder `data_home`, then in the folder that
the environment variable ``CERTIFIED_ENSEMBLES_DATA`` names, then in
``sklearn.datasets.get_data_home() / "certified_ensembles"``. What is in none of them is
downloaded where the original file has a published checksum, and verified against it; else the
error says which file to put where. Nothing is unpickled, and nothing but complete and verified
downloads is ever written.
"""

from ._digits import load_digits
from ._images import fetch_cifar10, fetch_gtsrb, fetch_mnist
from ._tables import fetch_dogfish, fetch_spambase
from ._text import fetch_enron_spam, fetch_imdb, fetch_sms_spam

__all__ = [
    "fetch_cifar10",
    "fetch_dogfish",
    "fetch_enron_spam",
    "fetch_gtsrb",
    "fetch_imdb",
    "fetch_mnist",
    "fetch_sms_spam",
    "fetch_spambase",
    "load_digits",
]
