"""The real files hold what their authors published."""

import hashlib
import os
from pathlib import Path

import numpy as np
import pytest

from certified_ensembles import datasets
from certified_ensembles.datasets import _files, _text

Image = pytest.importorskip("PIL.Image", reason="Pillow reads the images")

DATA = Path(os.environ.get(_files.ENVIRONMENT_VARIABLE) or "no folder is named")


def _real(file):
    return pytest.mark.skipif(
        not (DATA / file).exists(),
        reason=f"set {_files.ENVIRONMENT_VARIABLE} to a folder with {file}",
    )


def _digest(array):
    return hashlib.sha256(np.ascontiguousarray(array).tobytes()).hexdigest()


@_real("mnist.npz")
def test_real_mnist():
    X, y = datasets.fetch_mnist(DATA, return_X_y=True)
    assert X.shape == (60000, 28, 28)
    counts = [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]
    assert np.bincount(y).tolist() == counts
    assert y[:10].tolist() == [5, 0, 4, 1, 9, 2, 1, 3, 1, 4]
    # The assignment to 1200 partitions that the authors of DPA published.
    partition = X.sum(axis=(1, 2), dtype=np.int64) % 1200
    published = "90da395c259da50c96fed76a48c4c70ea7764f654800f59c062cc70e46f4cdb0"
    assert _digest(partition.astype("<i2")) == published
    y_test = datasets.fetch_mnist(DATA, subset="test").target
    assert np.bincount(y_test).tolist() == [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]
    assert y_test[:10].tolist() == [7, 2, 1, 0, 4, 1, 4, 9, 5, 9]


@_real("cifar10_train.npz")
def test_real_cifar10():
    cifar10 = datasets.fetch_cifar10(DATA, subset="all")
    assert cifar10.data.shape == (60000, 32, 32, 3)
    assert np.bincount(cifar10.target[:50000]).tolist() == [5000] * 10
    assert cifar10.target[50000::1000].tolist() == list(range(10))
    # JPEG decoders may differ by one grey level; this one is libjpeg-turbo.
    decoded = "bd83a85c59ce38c04bb3af6fd64b80b7e73f1e241b39c50ebff9c7e37120139a"
    assert _digest(cifar10.data) == decoded


@_real("gtsrb_train.npz")
def test_real_gtsrb():
    train = datasets.fetch_gtsrb(DATA)
    decoded = "629905f1f1e60b6f0bdb6b137218f61af9186b0e43d0fcfcd79e1d45c5f9bb21"
    assert _digest(train.data) == decoded
    assert train.data.shape == (39209, 32, 32, 3)
    per_track = np.bincount(train.groups)
    assert len(per_track) == 1307
    assert set(per_track) == {29, 30}
    assert np.unique(train.target).tolist() == list(range(43))
    assert sorted(train.orig_lex_rank) == list(range(39209))
    area = train.sizes.prod(axis=1)
    assert ((train.orig_pixel_sum > 0) & (train.orig_pixel_sum <= 3 * 255 * area)).all()
    # Shrinking keeps the mean value, and the field is about the original images.
    mean = train.data.mean(axis=(1, 2, 3))
    np.testing.assert_allclose(train.orig_pixel_sum / (3 * area), mean, atol=6)
    test = datasets.fetch_gtsrb(DATA, subset="test")
    decoded = "089c15e28132ebb6ffbf3a933de852fffe8c466f6b195452d43bce99d2075322"
    assert _digest(test.data) == decoded


@_real("aclImdb")
def test_real_imdb():
    imdb = datasets.fetch_imdb(DATA, subset="all")
    assert imdb.target.tolist() == ([0] * 12500 + [1] * 12500) * 2
    assert ((imdb.rating >= 7) == imdb.target).all()
    duplicates = [len(part) - len(set(part)) for part in (imdb.data[:25000], imdb.data[25000:])]
    assert duplicates == [96, 199]


@_real("SMSSpamCollection")
def test_real_sms_spam():
    sms = datasets.fetch_sms_spam(DATA)
    assert np.bincount(sms.target).tolist() == [4827, 747]
    lines = zip(np.array(["ham", "spam"])[sms.target], sms.data, strict=True)
    content = "".join(f"{label}\t{text}\n" for label, text in lines).encode()
    published = "7d039a24a6083ed9ef0f806ebad56bbb976e3aeb8de05669173bfdc4996c239d"
    assert hashlib.sha256(content).hexdigest() == published


@_real("enron1.tar.gz")
def test_real_enron_spam():
    enron = datasets.fetch_enron_spam(DATA)
    assert np.bincount(enron.target).tolist() == [16545, 17171]
    ham = [3672, 4361, 4012, 1500, 1500, 1500]
    spam = [1500, 1496, 1500, 4500, 3675, 4500]
    for i, mailbox in enumerate(_text._MAILBOXES):
        here = enron.target[enron.folder == mailbox]
        assert np.bincount(here).tolist() == [ham[i], spam[i]]
    assert len(enron.data) - len(set(enron.data)) == 3222


@_real("spambase.zip")
def test_real_spambase():
    spambase = datasets.fetch_spambase(DATA)
    assert spambase.data.shape == (4601, 57)
    assert np.bincount(spambase.target).tolist() == [2788, 1813]
    assert spambase.feature_names[0] == "word_freq_make"
