"""Every way in which a file can be wrong is named."""

import builtins
import hashlib
import lzma
import zipfile

import numpy as np
import pytest

from certified_ensembles import datasets
from certified_ensembles.datasets import _images
from data_files import (
    SMS,
    pin,
    write_cifar10_jpeg,
    write_dogfish,
    write_enron_archives,
    write_enron_lines,
    write_gtsrb_archives,
    write_gtsrb_strips,
    write_imdb_lines,
    write_mnist,
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
    "cifar10_jpeg.npz": (write_cifar10_jpeg, datasets.fetch_cifar10),
    "gtsrb32_train.npz": (lambda f: write_gtsrb_strips(f, "train"), datasets.fetch_gtsrb),
    "GTSRB_Final_Training_Images.zip": (write_gtsrb_archives, datasets.fetch_gtsrb),
    "imdb_acl_v1.tsv.xz": (write_imdb_lines, datasets.fetch_imdb),
    "sms_spam_collection.tsv.xz": (
        lambda f: (f / "sms_spam_collection.tsv.xz").write_bytes(lzma.compress(SMS.encode())),
        datasets.fetch_sms_spam,
    ),
    "enron_spam.jsonl.xz": (write_enron_lines, _fetch_enron1),
    "enron1.tar.gz": (write_enron_archives, _fetch_enron1),
    "spambase.npz": (write_spambase, datasets.fetch_spambase),
    "spambase.zip": (lambda f: write_spambase(f, "spambase.zip"), datasets.fetch_spambase),
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
        ("cifar10_jpeg.npz", {"offsets": np.array([0, 5])}, "expected 6 offsets"),
        ("cifar10_jpeg.npz", {"header": np.zeros(9, np.uint8)}, "cannot identify image"),
        ("gtsrb32_train.npz", {"y": np.zeros(5)}, "of 5 images .* found .* of 6 images"),
        ("gtsrb32_train.npz", {"start": np.array([0, 2, 5, 6])}, "could not broadcast"),
        ("gtsrb32_train.npz", {"frame": None}, "KeyError.*frame"),
        ("spambase.npz", {"feature_names": np.array(["a"])}, "expected 3 names, found 1"),
        ("spambase.npz", {"X": np.array([[1, 2]])}, "expected a table of floats, found int64"),
        ("spambase.npz", {"y": np.zeros(3)}, r"labels of shape \(2,\), found \(3,\)"),
        ("spambase.npz", {"y": np.array([0, 2])}, r"labels 0 and 1, found \[0 2\]"),
        (
            "dogfish_900_300_inception_features_train.npz",
            {"labels": None},
            "KeyError.*labels",
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
    ("name", "text", "message"),
    [
        ("imdb_acl_v1.tsv.xz", "train\t1\t8\tfine\n", "expected 5 columns"),
        ("imdb_acl_v1.tsv.xz", "test\t1\t8\t0\tfine\n", "expected train reviews, found none"),
        ("imdb_acl_v1.tsv.xz", "train\tgood\t8\t0\tfine\n", "invalid literal"),
        ("sms_spam_collection.tsv.xz", "ham\thi\neggs\tno\n", r"found 2 .* \['eggs', 'ham'\]"),
        ("sms_spam_collection.tsv.xz", "ham\thi\nspam\n", "expected lines of ham or spam"),
        ("enron_spam.jsonl.xz", '["enron1", 0, "name"]\n', "expected 4 columns"),
        ("enron_spam.jsonl.xz", '["enron1", 0, "na\n', "JSONDecodeError"),
    ],
)
def test_lines_of_another_form_are_refused(home, name, text, message):
    (home / name).write_bytes(lzma.compress(text.encode()))
    with pytest.raises(OSError, match=message):
        WRITERS[name][1](home)


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
    write_spambase(home, "spambase.zip")
    with zipfile.ZipFile(home / "spambase.zip", "w") as archive:
        archive.writestr("spambase.data", "0.5,1,0\n")
        archive.writestr("spambase.names", "word_freq_make: continuous.\n")
    with pytest.raises(OSError, match="expected 2 names, found 1"):
        datasets.fetch_spambase(home)


@pytest.mark.parametrize(
    ("write", "fetch"),
    [
        (write_cifar10_jpeg, datasets.fetch_cifar10),
        (lambda f: write_gtsrb_strips(f, "train"), datasets.fetch_gtsrb),
        (write_gtsrb_archives, datasets.fetch_gtsrb),
    ],
)
def test_without_pillow_the_remedy_is_named(home, monkeypatch, write, fetch):
    write(home)
    original = builtins.__import__

    def without_pillow(name, *args, **kwargs):
        if name.startswith("PIL"):
            raise ModuleNotFoundError("No module named 'PIL'", name="PIL")
        return original(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without_pillow)
    with pytest.raises(ImportError, match="pip install pillow"):
        fetch(home)
