"""Small files of every form in which a data set comes."""

import hashlib
import io
import tarfile
import zipfile
from dataclasses import replace

import numpy as np
import pytest

from certified_ensembles import datasets

Image = pytest.importorskip("PIL.Image", reason="Pillow reads the images")

FETCHERS = {name: getattr(datasets, name) for name in datasets.__all__ if name[:5] == "fetch"}
WITH_SUBSET = ["fetch_mnist", "fetch_cifar10", "fetch_gtsrb", "fetch_imdb", "fetch_dogfish"]


def _digits(n, seed):
    rng = np.random.default_rng(seed)
    return rng.integers(0, 256, (n, 28, 28), dtype=np.uint8), np.arange(n, dtype=np.uint8)


def photos(n, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (n, 32, 32, 3), dtype=np.uint8)


def write_mnist(folder):
    (X, y), (X_test, y_test) = _digits(6, 0), _digits(4, 1)
    np.savez(folder / "mnist.npz", x_train=X, y_train=y, x_test=X_test, y_test=y_test)
    return X, y, X_test, y_test


def write_tar(path, members):
    with tarfile.open(path, "w:gz") as archive:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return hashlib.sha256(path.read_bytes()).hexdigest()


def write_cifar10_binary(folder):
    X, y = photos(12), np.arange(12, dtype=np.uint8) % 10
    flat = X.transpose(0, 3, 1, 2).reshape(12, -1)
    records = np.concatenate([y[:, None], flat], axis=1)
    members = {
        f"cifar-10-batches-bin/data_batch_{i + 1}.bin": records[2 * i : 2 * i + 2].tobytes()
        for i in reversed(range(5))
    }
    members["cifar-10-batches-bin/test_batch.bin"] = records[10:].tobytes()
    members["cifar-10-batches-bin/readme.html"] = b"not a record"
    return X, y, write_tar(folder / "cifar-10-binary.tar.gz", members)


def write_saved_images(folder, name, **more):
    """Save images and labels, as anyone may; return the images."""
    X, y = photos(6), np.array([0, 0, 0, 0, 0, 7])
    np.savez(folder / f"{name}.npz", data=X, target=y, **more)
    return X


def _ppm(pixels):
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "ppm")
    return file.getvalue()


def write_gtsrb_archives(folder):
    rng = np.random.default_rng(8)
    originals = [rng.integers(0, 256, (30 + i, 41 + i, 3), dtype=np.uint8) for i in range(4)]
    base = "GTSRB/Final_Training/Images"
    with zipfile.ZipFile(folder / "GTSRB_Final_Training_Images.zip", "w") as archive:
        archive.writestr(f"{base}/00012/GT-00012.csv", "Filename;Width\n")
        archive.writestr(f"{base}/00012/00000_00000.ppm", _ppm(originals[3]))
        archive.writestr(f"{base}/00000/00001_00000.ppm", _ppm(originals[2]))
        archive.writestr(f"{base}/00000/00000_00001.ppm", _ppm(originals[1]))
        archive.writestr(f"{base}/00000/00000_00000.ppm", _ppm(originals[0]))
    with zipfile.ZipFile(folder / "GTSRB_Final_Test_Images.zip", "w") as archive:
        for i in (1, 0):
            archive.writestr(f"GTSRB/Final_Test/Images/0000{i}.ppm", _ppm(originals[i]))
    with zipfile.ZipFile(folder / "GTSRB_Final_Test_GT.zip", "w") as archive:
        table = "Filename;Width;ClassId\n00001.ppm;42;9\n00000.ppm;41;16\n"
        archive.writestr("GT-final_test.csv", table)
    return originals


# A tab, a carriage return, a Unicode line separator and a form feed belong to their review.
REVIEWS = [
    ("train", 0, 2, 7, "dull\tand\u2028lo\rng"),
    ("train", 0, 4, 10, "boring \x0c indeed"),
    ("train", 1, 9, 0, "lovely"),
    ("test", 0, 1, 3, "bad"),
    ("test", 1, 8, 5, "great, caf\u00e9"),
]  # subset, label, rating, number, text


def _imdb_files():
    members = {
        f"aclImdb/{split}/{['neg', 'pos'][label]}/{number}_{rating}.txt": text.encode()
        for split, label, rating, number, text in reversed(REVIEWS)
    }
    members |= {"aclImdb/train/unsup/0_0.txt": b"unlabelled", "aclImdb/README": b"read me"}
    return members


def write_imdb_archive(folder):
    return write_tar(folder / "aclImdb_v1.tar.gz", _imdb_files())


def write_imdb_folder(folder):
    for name, content in _imdb_files().items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)


SMS = "ham\tsee you at 5\nspam\tWIN\ta\x0bprize\u2028now\nham\tok\n"
MAILS = [
    ["enron1", 0, "0001.1999-12-10.farmer.ham", "Subject: gas\r\nhello \xe9"],
    ["enron1", 1, "0002.2003-12-18.GP.spam", "Subject: pills"],
    ["enron2", 0, "0001.1999-12-10.kaminski.ham", "Subject: model"],
]


def write_enron_archives(folder):
    for mailbox in ("enron1", "enron2"):
        members = {f"{mailbox}/Summary.txt": b"about"}
        for box, label, name, text in reversed(MAILS):
            if box == mailbox:
                path = f"{mailbox}/{['ham', 'spam'][label]}/{name}.txt"
                members[path] = text.encode("latin-1")
        write_tar(folder / f"{mailbox}.tar.gz", members)


def write_spambase(folder):
    X, y = np.array([[0.0, 0.64, 3.5], [0.21, 0.0, 1.0]]), np.array([1, 0], dtype=np.uint8)
    names = ["word_freq_make", "char_freq_;", "capital_run_length_average"]
    with zipfile.ZipFile(folder / "spambase.zip", "w") as archive:
        table = io.StringIO()
        np.savetxt(table, np.column_stack([X, y]), delimiter=",", fmt="%g")
        archive.writestr("spambase.data", table.getvalue())
        listed = "| word_freq_WORD: a comment\n1, 0.    | spam\n\n"
        archive.writestr("spambase.names", listed + "".join(f"{n}: continuous.\n" for n in names))


def write_dogfish(folder, parts=("train", "test")):
    rng = np.random.default_rng(7)
    X, y = rng.standard_normal((6, 2048)), np.array([0, 0, 1, 1, 0, 1])
    rows = {"train": slice(0, 4), "test": slice(4, 6)}
    for part in parts:
        np.savez(
            folder / f"dogfish_900_300_inception_features_{part}.npz",
            inception_features_val=X[rows[part]],
            labels=y[rows[part]].astype(float),
        )
    return X.astype(np.float32), y


def pin(monkeypatch, module, constant, sha256, url=None):
    """Replace the published checksum of a data set by that of a small stand-in."""
    sources = [
        source if source.sha256 is None else replace(source, sha256=sha256, url=url or source.url)
        for source in getattr(module, constant)
    ]
    monkeypatch.setattr(module, constant, sources)
