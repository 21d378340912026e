"""Images: handwritten digits, small photographs, traffic signs."""

import tarfile

import numpy as np
from sklearn.utils import Bunch

from . import _gtsrb
from ._files import Source, checked_subset, load, read_arrays, require, saved_images

_MNIST_DESCR = """MNIST: handwritten digits
60000 training and 10000 test images of 28 x 28 grey pixels, 10 classes, in their original order.

LeCun, Cortes and Burges, "The MNIST database of handwritten digits". Licence: CC BY-SA 3.0.
"""

_CIFAR10_DESCR = """CIFAR-10: small photographs
50000 training and 10000 test images of 32 x 32 pixels in red, green and blue, 10 classes.

Krizhevsky, "Learning multiple layers of features from tiny images", 2009.
"""

_CIFAR10_EXACT = """
Form: the original pixels, in the original order.
"""

_CIFAR10_SAVED = """
Form: arrays that somebody saved. Compare them with the original before you trust that the pixels
are the original ones: otherwise partitions by their sum (hasher="pixel_sum") differ from the
paper's.
"""

_CIFAR10_NAMES = (
    "airplane",
    "automobile",
    "bird",
    "cat",
    "deer",
    "dog",
    "frog",
    "horse",
    "ship",
    "truck",
)

_GTSRB_DESCR = """GTSRB: German traffic signs
39209 training and 12630 test photographs of traffic signs, 43 classes, resized to 32 x 32 pixels
(Pillow, bilinear) in red, green and blue. The training images come in tracks: about 30 pictures
of one physical sign, as a car drives by. Training images are sorted by class, track and frame,
test images by their number.

Stallkamp, Schlipsing, Salmen and Igel, "Man vs. computer: benchmarking machine learning
algorithms for traffic sign recognition", Neural Networks 2012. Free for research with citation.
"""


def fetch_mnist(data_home=None, *, subset="train", return_X_y=False, download_if_missing=True):
    """Load MNIST, the handwritten digits.

    Parameters
    ----------
    data_home : path-like or None, default=None
        A folder to look in first, and to download to. None: the folder that the environment
        variable ``CERTIFIED_ENSEMBLES_DATA`` names, then scikit-learn's data folder.
    subset : {"train", "test", "all"}, default="train"
        Which images; "all" are the training images followed by the test images.
    return_X_y : bool, default=False
        Return ``(data, target)`` instead of a Bunch.
    download_if_missing : bool, default=True
        Whether a missing file may be downloaded.

    Returns
    -------
    mnist : :class:`~sklearn.utils.Bunch`
        With the fields

        data : ndarray of shape (n, 28, 28), uint8
            The images, 0 (paper) to 255 (ink); `images` is the same array.
        target : ndarray of shape (n,), int64
            The digits.
        target_names : ndarray of shape (10,), str
        DESCR : str
        filenames : list of str
            The files that were read.
    (data, target) : tuple if `return_X_y` is True

    Raises
    ------
    OSError
        If the data is not found and cannot be downloaded, or a file is damaged. The message
        says what was expected and what to do.
    ValueError
        If `subset` is not known.

    Examples
    --------
    >>> from certified_ensembles.datasets import fetch_mnist
    >>> X, y = fetch_mnist(return_X_y=True)  # doctest: +SKIP
    >>> X.shape  # doctest: +SKIP
    (60000, 28, 28)
    """
    checked_subset(subset)
    fields = load("MNIST", _MNIST, data_home, download_if_missing, subset)
    names = np.array([str(digit) for digit in range(10)])
    return _bunch(fields, names, _MNIST_DESCR, return_X_y)


def fetch_cifar10(data_home=None, *, subset="train", return_X_y=False, download_if_missing=True):
    """Load CIFAR-10, the small photographs.

    Parameters
    ----------
    data_home : path-like or None, default=None
        A folder to look in first, and to download to. None: the folder that the environment
        variable ``CERTIFIED_ENSEMBLES_DATA`` names, then scikit-learn's data folder.
    subset : {"train", "test", "all"}, default="train"
        Which images; "all" are the training images followed by the test images.
    return_X_y : bool, default=False
        Return ``(data, target)`` instead of a Bunch.
    download_if_missing : bool, default=True
        Whether a missing file may be downloaded (170 MB).

    Returns
    -------
    cifar10 : :class:`~sklearn.utils.Bunch`
        With the fields

        data : ndarray of shape (n, 32, 32, 3), uint8
            The images; `images` is the same array.
        target : ndarray of shape (n,), int64
            The classes, 0 to 9.
        target_names : ndarray of shape (10,), str
        DESCR : str
            Says whether the pixels are known to be the original ones.
        filenames : list of str
            The files that were read.
    (data, target) : tuple if `return_X_y` is True

    Raises
    ------
    OSError
        If the data is not found and cannot be downloaded, or a file is damaged. The message
        says what was expected and what to do.
    ValueError
        If `subset` is not known.

    Notes
    -----
    A folder may hold the original ``cifar-10-binary.tar.gz``, or arrays ``data`` and ``target``
    in ``cifar10_train.npz`` and ``cifar10_test.npz``; the first is preferred. The original archive
    of pickles is not read: opening it would run whatever code it holds.

    Examples
    --------
    >>> from certified_ensembles.datasets import fetch_cifar10
    >>> cifar10 = fetch_cifar10(subset="test")  # doctest: +SKIP
    >>> cifar10.data.shape  # doctest: +SKIP
    (10000, 32, 32, 3)
    """
    checked_subset(subset)
    parts = ("train", "test") if subset == "all" else (subset,)
    sources = (*_CIFAR10, saved_images("cifar10", parts))
    fields = load("CIFAR-10", sources, data_home, download_if_missing, subset)
    form = fields.pop("form", _CIFAR10_SAVED)
    return _bunch(fields, np.array(_CIFAR10_NAMES), _CIFAR10_DESCR + form, return_X_y)


def fetch_gtsrb(data_home=None, *, subset="train", return_X_y=False, download_if_missing=True):
    """Load GTSRB, the German traffic signs, resized to 32 x 32 pixels.

    Parameters
    ----------
    data_home : path-like or None, default=None
        A folder to look in first. None: the folder that the environment variable
        ``CERTIFIED_ENSEMBLES_DATA`` names, then scikit-learn's data folder.
    subset : {"train", "test"}, default="train"
        Which images.
    return_X_y : bool, default=False
        Return ``(data, target)`` instead of a Bunch.
    download_if_missing : bool, default=True
        For the common interface: no checksum of the originals is published, so they are never
        downloaded, and the error says where to get them.

    Returns
    -------
    gtsrb : :class:`~sklearn.utils.Bunch`
        With the fields

        data : ndarray of shape (n, 32, 32, 3), uint8
            The images; `images` is the same array.
        target : ndarray of shape (n,), int64
            The classes, 0 to 42.
        target_names : ndarray of shape (43,), str
        sizes : ndarray of shape (n, 2), int64
            Width and height of the original images in pixels.
        groups : ndarray of shape (n,), int64
            Training only: the track, numbered over all classes; one for each physical sign.
        track, frame : ndarray of shape (n,), int64
            Training only: the number of the track in its class and of the image in its track.
        orig_pixel_sum : ndarray of shape (n,), int64
            Training only: the sum of all values of the image in its original size; modulo the
            number of partitions it is the partition in the DPA paper.
        orig_lex_rank : ndarray of shape (n,), int64, or None
            Training only: rank of the original image in the order of the SS-DPA paper; None
            where the original archives are read.
        DESCR : str
        filenames : list of str
            The files that were read.
    (data, target) : tuple if `return_X_y` is True

    Raises
    ------
    OSError
        If the data is not found, or a file is damaged. The message says what was expected and
        what to do.
    ValueError
        If `subset` is not known.
    ImportError
        If the archives are read and Pillow is not installed.

    Notes
    -----
    A folder may hold the original archives, which take about a minute to read and resize, or
    ``gtsrb_train.npz`` and ``gtsrb_test.npz`` with arrays ``data`` and ``target`` of images that
    are resized already. Save the other fields beside them; one that is not there is None.

    Examples
    --------
    >>> from certified_ensembles.datasets import fetch_gtsrb
    >>> gtsrb = fetch_gtsrb()  # doctest: +SKIP
    >>> gtsrb.data.shape, gtsrb.groups.max()  # doctest: +SKIP
    ((39209, 32, 32, 3), 1306)
    """
    checked_subset(subset, ("train", "test"))
    sources = _gtsrb.SOURCES[subset]
    fields = load(f"GTSRB ({subset})", sources, data_home, download_if_missing)
    return _bunch(fields, np.array(_gtsrb.NAMES), _GTSRB_DESCR, return_X_y)


def _bunch(fields, target_names, descr, return_X_y):
    if return_X_y:
        return fields["data"], fields["target"]
    return Bunch(**fields, images=fields["data"], target_names=target_names, DESCR=descr)


def _joined(parts, subset):
    """Pick or join {"train": (X, y), "test": (X, y)}."""
    if subset == "all":
        X, y = (np.concatenate(both) for both in zip(*parts.values(), strict=True))
    else:
        X, y = parts[subset]
    return {"data": X, "target": y.astype(np.int64)}


def _read_mnist(path, subset):
    parts, arrays = {}, read_arrays(path)
    for name in ("train", "test"):
        X, y = arrays[f"x_{name}"], arrays[f"y_{name}"]
        require(
            X.dtype == np.uint8 and X.shape[1:] == (28, 28),
            f"x_{name}: uint8 of shape (n, 28, 28)",
            f"{X.dtype} of shape {X.shape}",
        )
        require(y.shape == X.shape[:1], f"y_{name} of shape {X.shape[:1]}", y.shape)
        parts[name] = X, y
    return _joined(parts, subset)


def _read_cifar10_binary(path, subset):
    chunks = {"train": [], "test": []}
    with tarfile.open(path, "r:gz") as archive:
        for member in archive:
            stem = member.name.rsplit("/", 1)[-1]
            if stem.endswith(".bin"):
                part = "test" if stem == "test_batch.bin" else "train"
                chunks[part].append((stem, archive.extractfile(member).read()))
    parts = {}
    for part, batches in chunks.items():
        content = b"".join(batch for _, batch in sorted(batches))
        require(
            content and len(content) % 3073 == 0,
            f"{part}ing records of 3073 bytes",
            f"{len(content)} bytes",
        )
        records = np.frombuffer(content, dtype=np.uint8).reshape(-1, 3073)
        X = records[:, 1:].reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)
        parts[part] = np.ascontiguousarray(X), records[:, 0]
    return {**_joined(parts, subset), "form": _CIFAR10_EXACT}


_MNIST = (
    Source(
        files=("mnist.npz",),
        read=_read_mnist,
        origin="https://storage.googleapis.com/tensorflow/tf-keras-datasets/mnist.npz",
        url="https://storage.googleapis.com/tensorflow/tf-keras-datasets/mnist.npz",
        sha256="731c5ac602752760c8e48fbffcf8c3b850d9dc2a2aedcf2cc48468fc17b673d1",
        pinned=False,  # other archives of the same arrays are as good
    ),
)
_CIFAR10 = (
    Source(
        files=("cifar-10-binary.tar.gz",),
        read=_read_cifar10_binary,
        origin="https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz",
        url="https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz",
        sha256="c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd",
    ),
)
