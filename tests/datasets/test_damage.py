"""Every way in which a file can be wrong is named."""

import builtins
import hashlib
import shutil
import zipfile

import numpy as np
import pytest

from certified_ensembles import datasets
from certified_ensembles.datasets import _images
from data_files import (
    pin,
    write_dogfish,
    write_enron_archives,
    write_gtsrb_archives,
    write_imdb_folder,
    write_mnist,
    write_saved_images,
    write_spambase,
    write_tar,
)


@pytest.mark.parametrize("name", ["cifar-10-binary.tar.gz", "aclImdb_v1.tar.gz"])
def test_an_original_archive_must_have_its_published_checksum(home, name):
    (home / name).write_bytes(b"something else")
    fetch = datasets.fetch_cifar10 if name.startswith("cifar") else datasets.fetch_imdb
    with pytest.raises(OSError, match="not the published file") as caught:
        fetch(home)
    message = str(caught.value)
    assert str(home / name) in message
    assert hashlib.sha256(b"something else").hexdigest() in message
    assert "expected sha256" in message
    assert "Remove it" in message


def _fetch_enron1(home):
    return datasets.fetch_enron_spam(home, mailboxes=["enron1"])


WRITERS = {
    "mnist.npz": (write_mnist, datasets.fetch_mnist),
    "cifar10_train.npz": (
        lambda f: write_saved_images(f, "cifar10_train"),
        datasets.fetch_cifar10,
    ),
    "gtsrb_train.npz": (lambda f: write_saved_images(f, "gtsrb_train"), datasets.fetch_gtsrb),
    "GTSRB_Final_Training_Images.zip": (write_gtsrb_archives, datasets.fetch_gtsrb),
    "enron1.tar.gz": (write_enron_archives, _fetch_enron1),
    "spambase.zip": (write_spambase, datasets.fetch_spambase),
    "dogfish_900_300_inception_features_train.npz": (write_dogfish, datasets.fetch_dogfish),
}


@pytest.mark.parametrize("name", WRITERS)
@pytest.mark.parametrize("damage", ["truncated", "empty", "foreign"])
def test_a_damaged_file_is_named(home, name, damage):
    write, fetch = WRITERS[name]
    write(home)
    fetch(home)  # it was whole
    content = (home / name).read_bytes()
    kept = {"truncated": content[: len(content) // 2], "empty": b"", "foreign": b"<html>404"}
    (home / name).write_bytes(kept[damage])
    with pytest.raises(OSError, match="cannot be read as") as caught:
        fetch(home)
    assert str(home / name) in str(caught.value)
    assert "Remove it, or replace it" in str(caught.value)


def _resave(path, **changes):
    with np.load(path) as arrays:
        fields = {name: arrays[name] for name in arrays.files}
    fields |= changes
    np.savez(path, **{name: value for name, value in fields.items() if value is not None})


@pytest.mark.parametrize(
    ("name", "changes", "message"),
    [
        ("mnist.npz", {"x_train": np.zeros((6, 784), np.uint8)}, r"\(n, 28, 28\).*found uint8"),
        ("mnist.npz", {"x_train": np.zeros((6, 28, 28))}, "expected x_train: uint8.*float64"),
        ("mnist.npz", {"y_test": np.zeros(3)}, r"y_test of shape \(4,\), found \(3,\)"),
        ("mnist.npz", {"x_test": None}, "KeyError.*x_test"),
        ("mnist.npz", {"x_test": np.array([{}])}, "allow_pickle"),
        (
            "cifar10_train.npz",
            {"data": np.zeros((6, 3, 32, 32), np.uint8)},
            "data: uint8 of shape",
        ),
        ("cifar10_train.npz", {"data": np.zeros((6, 32, 32, 3))}, "found float64 of shape"),
        ("cifar10_train.npz", {"target": np.zeros(6)}, "expected target: integers.*float64"),
        (
            "gtsrb_train.npz",
            {"target": np.zeros(5, int)},
            r"of shape \(6,\), found int64 of shape \(5",
        ),
        ("gtsrb_train.npz", {"track": np.zeros(5, int)}, "expected track of 6 rows, found 5"),
        ("gtsrb_train.npz", {"data": None}, "KeyError.*data"),
        (
            "dogfish_900_300_inception_features_train.npz",
            {"labels": None},
            "KeyError.*labels",
        ),
        (
            "dogfish_900_300_inception_features_train.npz",
            {"labels": np.array([0, 1, 2, 1])},
            r"labels 0 and 1, found \[0 1 2\]",
        ),
        (
            "dogfish_900_300_inception_features_train.npz",
            {"labels": np.zeros(3)},
            r"labels of shape \(4,\), found \(3,\)",
        ),
        (
            "dogfish_900_300_inception_features_train.npz",
            {"inception_features_val": np.zeros((4, 2048), int)},
            "expected a table of floats, found int64",
        ),
    ],
)
def test_arrays_of_another_form_are_refused(home, name, changes, message):
    write, fetch = WRITERS[name]
    write(home)
    _resave(home / name, **changes)
    with pytest.raises(OSError, match=message):
        fetch(home)


def test_a_lone_array_is_no_archive(home):
    with open(home / "mnist.npz", "wb") as file:
        np.save(file, np.zeros((3, 28, 28), np.uint8))
    with pytest.raises(OSError, match="expected an archive of arrays, found one array"):
        datasets.fetch_mnist(home)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("ham\thi\neggs\tno\n", r"found 2 .* \['eggs', 'ham'\]"),
        ("ham\thi\nspam\n", "expected lines of ham or spam"),
        ("", "expected lines of ham or spam"),
    ],
)
def test_messages_of_another_form_are_refused(home, text, message):
    (home / "SMSSpamCollection").write_text(text)
    with pytest.raises(OSError, match=message):
        datasets.fetch_sms_spam(home)


@pytest.mark.parametrize(
    ("name", "message"),
    [("train/pos/9_9.html", "expected test reviews, found none"), ("test/pos/1_9.txt", "utf-8")],
)
def test_folders_of_other_reviews_are_refused(home, name, message):
    write_imdb_folder(home)
    shutil.rmtree(home / "aclImdb" / "test")
    (home / "aclImdb" / name).parent.mkdir(parents=True, exist_ok=True)
    (home / "aclImdb" / name).write_bytes(b"\xff")
    with pytest.raises(OSError, match=message):
        datasets.fetch_imdb(home, subset="test")


def test_cifar10_records_must_be_whole(home, monkeypatch):
    members = {"data_batch_1.bin": bytes(3073), "test_batch.bin": bytes(3072)}
    sha256 = write_tar(home / "cifar-10-binary.tar.gz", members)
    pin(monkeypatch, _images, "_CIFAR10", sha256)
    with pytest.raises(OSError, match="testing records of 3073 bytes, found 3072"):
        datasets.fetch_cifar10(home)


def test_gtsrb_archives_must_be_complete(home):
    write_gtsrb_archives(home)
    with zipfile.ZipFile(home / "GTSRB_Final_Test_Images.zip", "w") as archive:
        archive.writestr("00000.ppm", b"")
    with pytest.raises(OSError, match=r"expected 2 images \*\.ppm, found 1"):
        datasets.fetch_gtsrb(home, subset="test")
    with zipfile.ZipFile(home / "GTSRB_Final_Training_Images.zip", "w") as archive:
        archive.writestr("readme.txt", b"")
    with pytest.raises(OSError, match=r"expected images \*\.ppm, found none"):
        datasets.fetch_gtsrb(home)


def test_spambase_names_must_match_the_table(home):
    write_spambase(home)
    with zipfile.ZipFile(home / "spambase.zip", "w") as archive:
        archive.writestr("spambase.data", "0.5,1,0\n")
        archive.writestr("spambase.names", "word_freq_make: continuous.\n")
    with pytest.raises(OSError, match="expected 2 names, found 1"):
        datasets.fetch_spambase(home)


def test_without_pillow_the_remedy_is_named(home, monkeypatch):
    write_gtsrb_archives(home)
    original = builtins.__import__

    def without_pillow(name, *args, **kwargs):
        if name.startswith("PIL"):
            raise ModuleNotFoundError("No module named 'PIL'", name="PIL")
        return original(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without_pillow)
    with pytest.raises(ImportError, match="pip install pillow"):
        datasets.fetch_gtsrb(home)
