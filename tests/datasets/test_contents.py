"""Loaders read every form of every data set, from small files of that form."""

import numpy as np
import pytest

from certified_ensembles import datasets
from certified_ensembles.datasets import _images, _text
from data_files import (
    FETCHERS,
    MAILS,
    REVIEWS,
    SMS,
    WITH_SUBSET,
    pin,
    write_cifar10_binary,
    write_dogfish,
    write_enron_archives,
    write_gtsrb_archives,
    write_imdb_archive,
    write_imdb_folder,
    write_mnist,
    write_saved_images,
    write_spambase,
)

Image = pytest.importorskip("PIL.Image", reason="Pillow reads the images")


def test_mnist_subsets(home):
    X, y, X_test, y_test = write_mnist(home)
    train, test = datasets.fetch_mnist(home), datasets.fetch_mnist(home, subset="test")
    np.testing.assert_array_equal(train.data, X)
    np.testing.assert_array_equal(train.target, y)
    assert train.data.dtype == np.uint8
    assert train.target.dtype == np.int64
    assert train.images is train.data
    assert list(train.target_names) == list("0123456789")
    assert train.filenames == [str(home / "mnist.npz")]
    np.testing.assert_array_equal(test.data, X_test)
    np.testing.assert_array_equal(test.target, y_test)
    X_all, y_all = datasets.fetch_mnist(home, subset="all", return_X_y=True)
    np.testing.assert_array_equal(X_all, np.concatenate([X, X_test]))
    np.testing.assert_array_equal(y_all, np.concatenate([y, y_test]))


def test_cifar10_may_be_saved_as_arrays(home):
    X = write_saved_images(home, "cifar10_train")
    train = datasets.fetch_cifar10(home)
    np.testing.assert_array_equal(train.data, X)
    assert train.target.tolist() == [0, 0, 0, 0, 0, 7]
    assert train.target.dtype == np.int64
    assert train.target_names[3] == "cat"
    with pytest.raises(OSError, match=r"cifar10_train\.npz and cifar10_test\.npz"):
        datasets.fetch_cifar10(home, subset="all", download_if_missing=False)
    write_saved_images(home, "cifar10_test")
    both = datasets.fetch_cifar10(home, subset="all").data
    np.testing.assert_array_equal(both, np.concatenate([X, X]))


def test_cifar10_says_whether_its_pixels_are_the_original_ones(home, monkeypatch):
    write_saved_images(home, "cifar10_train")
    assert "Compare them with the original" in datasets.fetch_cifar10(home).DESCR
    sha256 = write_cifar10_binary(home)[2]
    pin(monkeypatch, _images, "_CIFAR10", sha256)
    exact = datasets.fetch_cifar10(home)  # preferred to the arrays beside it
    assert "Compare" not in exact.DESCR
    assert "the original pixels" in exact.DESCR


@pytest.mark.parametrize(
    ("subset", "rows"),
    [("train", slice(0, 10)), ("test", slice(10, 12)), ("all", slice(0, 12))],
)
def test_cifar10_binary_archive_keeps_order_and_colours(home, monkeypatch, subset, rows):
    X, y, sha256 = write_cifar10_binary(home)
    pin(monkeypatch, _images, "_CIFAR10", sha256)
    cifar10 = datasets.fetch_cifar10(home, subset=subset)
    np.testing.assert_array_equal(cifar10.data, X[rows])
    np.testing.assert_array_equal(cifar10.target, y[rows])
    assert cifar10.data.flags.c_contiguous


def test_gtsrb_may_be_saved_as_arrays(home):
    track = np.array([0, 0, 0, 1, 1, 0], dtype=np.int16)
    X = write_saved_images(home, "gtsrb_train", track=track, sizes=np.ones((6, 2), np.int16))
    train = datasets.fetch_gtsrb(home)
    np.testing.assert_array_equal(train.data, X)
    assert train.target.tolist() == [0, 0, 0, 0, 0, 7]
    assert train.track.tolist() == [0, 0, 0, 1, 1, 0]
    assert train.sizes.shape == (6, 2)
    assert train.groups is train.frame is train.orig_pixel_sum is train.orig_lex_rank is None
    assert train.target_names[14] == "stop"
    assert len(set(train.target_names)) == 43
    write_saved_images(home, "gtsrb_test")
    assert "groups" not in datasets.fetch_gtsrb(home, subset="test")


def test_gtsrb_archives_are_resized_and_summed(home):
    originals = write_gtsrb_archives(home)
    train = datasets.fetch_gtsrb(home)
    resized = [
        np.asarray(Image.fromarray(image).resize((32, 32), Image.Resampling.BILINEAR))
        for image in originals
    ]
    np.testing.assert_array_equal(train.data, resized)
    assert train.target.tolist() == [0, 0, 0, 12]
    assert train.track.tolist() == [0, 0, 1, 0]
    assert train.frame.tolist() == [0, 1, 0, 0]
    assert train.groups.tolist() == [0, 0, 1, 2]
    assert train.sizes.tolist() == [[41, 30], [42, 31], [43, 32], [44, 33]]
    assert train.orig_pixel_sum.tolist() == [int(image.sum()) for image in originals]
    assert train.orig_lex_rank is None
    test = datasets.fetch_gtsrb(home, subset="test")
    np.testing.assert_array_equal(test.data, resized[:2])
    assert test.target.tolist() == [16, 9]


@pytest.mark.parametrize("form", ["folder", "archive"])
def test_imdb_reviews_keep_every_character(home, monkeypatch, form):
    if form == "folder":
        write_imdb_folder(home)
    else:
        pin(monkeypatch, _text, "_IMDB", write_imdb_archive(home))
    train = datasets.fetch_imdb(home)
    assert train.data.tolist() == [row[4] for row in REVIEWS[:3]]
    assert train.data.dtype == object
    assert train.target.tolist() == [0, 0, 1]
    assert train.rating.tolist() == [2, 4, 9]
    assert train.ids.tolist() == [7, 10, 0]
    assert list(train.target_names) == ["negative", "positive"]
    assert datasets.fetch_imdb(home, subset="test").data.tolist() == ["bad", "great, caf\u00e9"]
    X, y = datasets.fetch_imdb(home, subset="all", return_X_y=True)
    assert X.tolist() == [row[4] for row in REVIEWS]
    assert y.tolist() == [0, 0, 1, 0, 1]


@pytest.mark.parametrize("form", ["plain", "crlf"])
def test_sms_messages_keep_every_character(home, form):
    text = SMS if form == "plain" else SMS.replace("\n", "\r\n")
    (home / "SMSSpamCollection").write_bytes(text.encode())
    sms = datasets.fetch_sms_spam(home)
    assert sms.data.tolist() == ["see you at 5", "WIN\ta\x0bprize\u2028now", "ok"]
    assert sms.target.tolist() == [0, 1, 0]
    X, _ = datasets.fetch_sms_spam(home, return_X_y=True)
    assert X.tolist() == sms.data.tolist()


def test_enron_mails_keep_every_character(home):
    write_enron_archives(home)
    enron = datasets.fetch_enron_spam(home, mailboxes=["enron2", "enron1"])
    assert enron.data.tolist() == [mail[3] for mail in MAILS]
    assert enron.target.tolist() == [0, 1, 0]
    assert enron.folder.tolist() == ["enron1", "enron1", "enron2"]
    assert enron.names.tolist() == [mail[2] for mail in MAILS]
    X, y = datasets.fetch_enron_spam(home, mailboxes=["enron1"], return_X_y=True)
    assert X.tolist() == [mail[3] for mail in MAILS[:2]]
    assert y.tolist() == [0, 1]


@pytest.mark.parametrize("mailboxes", [[], "enron1", ["enron7"], ["enron1", "inbox"]])
def test_unknown_mailboxes_are_refused(home, mailboxes):
    with pytest.raises(ValueError, match=r"mailboxes=.*enron1.*enron6"):
        datasets.fetch_enron_spam(home, mailboxes=mailboxes)


def test_all_mailboxes_are_wanted_by_default(home):
    write_enron_archives(home)
    with pytest.raises(OSError, match=r"enron2\.tar\.gz and enron3\.tar\.gz .* enron6\.tar\.gz"):
        datasets.fetch_enron_spam(home)


def test_an_archive_of_another_mailbox_is_refused(home):
    write_enron_archives(home)
    (home / "enron2.tar.gz").replace(home / "enron3.tar.gz")
    with pytest.raises(OSError, match=r"none of \['enron3'\]"):
        datasets.fetch_enron_spam(home, mailboxes=["enron1", "enron3"])


def test_spambase_table(home):
    write_spambase(home)
    spambase = datasets.fetch_spambase(home)
    assert spambase.data.tolist() == [[0.0, 0.64, 3.5], [0.21, 0.0, 1.0]]
    assert spambase.target.tolist() == [1, 0]
    assert spambase.feature_names[1] == "char_freq_;"
    assert len(spambase.feature_names) == 3
    X, y = datasets.fetch_spambase(home, return_X_y=True)
    assert X.shape == (2, 3)
    assert y.dtype == np.int64


def test_dogfish_features(home):
    X, y = write_dogfish(home)
    train = datasets.fetch_dogfish(home)
    np.testing.assert_array_equal(train.data, X[:4])
    assert train.data.dtype == np.float32
    assert train.target.tolist() == [0, 0, 1, 1]
    assert list(train.target_names) == ["dog", "fish"]
    X_all, y_all = datasets.fetch_dogfish(home, subset="all", return_X_y=True)
    np.testing.assert_array_equal(X_all, X)
    np.testing.assert_array_equal(y_all, y)
    assert datasets.fetch_dogfish(home, subset="test").target.tolist() == [0, 1]


def test_dogfish_needs_only_the_files_of_its_subset(home):
    write_dogfish(home, ["train"])
    assert datasets.fetch_dogfish(home).data.shape == (4, 2048)
    with pytest.raises(OSError, match=r"features_train\.npz and dogfish_\w+_test\.npz"):
        datasets.fetch_dogfish(home, subset="all")


@pytest.mark.parametrize("name", WITH_SUBSET)
def test_an_unknown_subset_is_refused(home, name):
    with pytest.raises(ValueError, match=r"subset='validation' is not known.*'train'"):
        FETCHERS[name](home, subset="validation")


def test_gtsrb_has_no_joint_subset(home):
    with pytest.raises(ValueError, match=r"subset='all' is not known"):
        datasets.fetch_gtsrb(home, subset="all")
