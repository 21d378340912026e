"""Compact forms of the data sets become public ones, whole and once."""

import io
import json
import lzma
import os
import subprocess
import sys

import data_forms
import numpy as np
import pytest

from certified_ensembles import datasets
from data_files import REVIEWS, SMS, photos

Image = pytest.importorskip("PIL.Image", reason="Pillow reads the images")

MAILS = [
    [f"enron{i}", label, f"000{label}.1999-12-10.somebody", f"Subject: {i}\r\ncaf\xe9 {label}"]
    for i in range(1, 7)
    for label in (0, 1)
]


def write_cifar10_jpeg(folder):
    jpegs = []
    for i, photo in enumerate(photos(5)):
        file = io.BytesIO()
        Image.fromarray(photo // 8 + 25 * i).save(file, "jpeg", quality=75)
        jpegs.append(file.getvalue())
    # Pictures of one size and quality share all bytes up to their entropy-coded data.
    header = jpegs[0][: jpegs[0].index(b"\xff\xda") + 14]
    assert all(jpeg.startswith(header) for jpeg in jpegs)
    scans = [jpeg[len(header) : -2] for jpeg in jpegs]
    np.savez(
        folder / "cifar10_jpeg.npz",
        header=np.frombuffer(header, np.uint8),
        scan=np.frombuffer(b"".join(scans), np.uint8),
        offsets=np.cumsum([0, *map(len, scans)]).astype(np.uint32),
        y=np.array([3, 1, 4, 1, 5], dtype=np.uint8),
        n_train=3,
        class_names=np.array(datasets._images._CIFAR10_NAMES),
    )
    return [np.asarray(Image.open(io.BytesIO(jpeg))) for jpeg in jpegs]


def write_gtsrb_strips(folder, part):
    n_per_strip = [3, 2, 1]
    X, n = photos(6), 6
    strips = []
    for strip in np.split(X, np.cumsum(n_per_strip)[:-1]):
        file = io.BytesIO()
        Image.fromarray(strip.reshape(-1, 32, 3)).save(file, "webp", lossless=True)
        strips.append(file.getvalue())
    fields = {
        "webp": np.frombuffer(b"".join(strips), np.uint8),
        "offsets": np.cumsum([0, *map(len, strips)]).astype(np.uint32),
        "start": np.cumsum([0, *n_per_strip]).astype(np.int32),
        "y": np.array([0, 0, 0, 0, 0, 7], dtype=np.uint8),
        "width": np.arange(30, 30 + n, dtype=np.int16),
        "height": np.arange(40, 40 + n, dtype=np.int16),
        "roi": np.zeros((n, 4), np.int16),
    }
    if part == "train":
        fields |= {
            "track": np.array([0, 0, 0, 1, 1, 0], dtype=np.int16),
            "frame": np.array([0, 1, 2, 0, 1, 0], dtype=np.int8),
            "orig_pixel_sum": np.arange(n, dtype=np.int32) * 1000,
            "orig_lex_rank": np.arange(n, dtype=np.int32)[::-1],
        }
    np.savez(folder / f"gtsrb32_{part}.npz", **fields)
    return X


def write_lines(path, lines):
    with lzma.open(path, "wt", encoding="utf-8", newline="\n") as file:
        file.writelines(line + "\n" for line in lines)


@pytest.fixture
def compact(tmp_path):
    folder = tmp_path / "compact"
    folder.mkdir()
    return folder


@pytest.fixture
def published(compact, tmp_path):
    """Return what makes the public forms of the folder `compact` in a cache of the test."""
    return lambda: data_forms.public_folder(compact, tmp_path / "cache")


@pytest.mark.parametrize(
    ("subset", "rows"), [("train", [0, 1, 2]), ("test", [3, 4]), ("all", [0, 1, 2, 3, 4])]
)
def test_cifar10_jpegs_get_their_header_back(compact, published, subset, rows):
    images = write_cifar10_jpeg(compact)
    cifar10 = datasets.fetch_cifar10(published(), subset=subset)
    np.testing.assert_array_equal(cifar10.data, [images[i] for i in rows])
    np.testing.assert_array_equal(cifar10.target, np.array([3, 1, 4, 1, 5])[rows])


def test_gtsrb_strips_become_images_with_tracks(compact, published):
    X = write_gtsrb_strips(compact, "train")
    write_gtsrb_strips(compact, "test")
    train, test = (datasets.fetch_gtsrb(published(), subset=part) for part in ("train", "test"))
    np.testing.assert_array_equal(train.data, X)
    assert train.target.tolist() == [0, 0, 0, 0, 0, 7]
    assert train.track.tolist() == [0, 0, 0, 1, 1, 0]
    assert train.groups.tolist() == [0, 0, 0, 1, 1, 2]
    assert train.frame.tolist() == [0, 1, 2, 0, 1, 0]
    assert train.orig_pixel_sum.tolist() == [0, 1000, 2000, 3000, 4000, 5000]
    assert train.orig_lex_rank.tolist() == [5, 4, 3, 2, 1, 0]
    assert train.sizes[2].tolist() == [32, 42]
    np.testing.assert_array_equal(test.data, X)
    assert test.sizes[2].tolist() == [32, 42]


def test_texts_keep_every_character(compact, published):
    write_lines(compact / "imdb_acl_v1.tsv.xz", ["\t".join(map(str, row)) for row in REVIEWS])
    write_lines(compact / "enron_spam.jsonl.xz", map(json.dumps, MAILS))
    (compact / "sms_spam_collection.tsv.xz").write_bytes(lzma.compress(SMS.encode()))
    imdb = datasets.fetch_imdb(published(), subset="all")
    assert imdb.data.tolist() == [row[4] for row in REVIEWS]
    assert imdb.rating.tolist() == [row[2] for row in REVIEWS]
    assert imdb.ids.tolist() == [row[3] for row in REVIEWS]
    enron = datasets.fetch_enron_spam(published())
    assert enron.data.tolist() == [mail[3] for mail in MAILS]
    assert enron.target.tolist() == [mail[1] for mail in MAILS]
    assert enron.folder.tolist() == [mail[0] for mail in MAILS]
    assert enron.names.tolist() == [mail[2] for mail in MAILS]
    sms = datasets.fetch_sms_spam(published())
    assert sms.data.tolist() == ["see you at 5", "WIN\ta\x0bprize\u2028now", "ok"]


def test_spambase_keeps_every_digit(compact, published):
    X, y = np.array([[0.1 + 0.2, 1 / 3], [1e-300, 7.0]]), np.array([1, 0], dtype=np.uint8)
    names = np.array(["word_freq_make", "char_freq_;"])
    np.savez(compact / "spambase.npz", X=X, y=y, feature_names=names)
    spambase = datasets.fetch_spambase(published())
    np.testing.assert_array_equal(spambase.data, X)
    assert spambase.target.tolist() == [1, 0]
    assert spambase.feature_names == names.tolist()


def test_public_files_are_handed_on(compact, published):
    (compact / "sms_spam_collection.tsv.xz").write_bytes(lzma.compress(SMS.encode()))
    (compact / "mnist.npz").write_bytes(b"digits")
    assert (published() / "mnist.npz").read_bytes() == b"digits"


def test_a_folder_of_public_forms_is_left_alone(compact, published):
    (compact / "mnist.npz").write_bytes(b"digits")
    assert published() == compact


def test_forms_are_made_once_and_again_when_the_data_change(compact, published):
    file = compact / "sms_spam_collection.tsv.xz"
    file.write_bytes(lzma.compress(SMS.encode()))
    made = published() / "SMSSpamCollection"
    before = made.stat().st_mtime_ns
    assert published() == made.parent
    assert made.stat().st_mtime_ns == before
    file.write_bytes(lzma.compress(b"ham\tanother message\n"))
    assert (published() / "SMSSpamCollection").read_text() == "ham\tanother message\n"


def test_a_damaged_file_is_named_and_leaves_nothing_behind(compact, published, tmp_path):
    (compact / "sms_spam_collection.tsv.xz").write_bytes(lzma.compress(SMS.encode())[:-20])
    with pytest.raises(lzma.LZMAError) as caught:
        published()
    assert "sms_spam_collection.tsv.xz could not be turned into SMSS" in caught.value.__notes__[0]
    assert [path.name for path in (tmp_path / "cache").glob("*/*")] == []


def test_processes_at_once_find_whole_files(compact, tmp_path):
    write_gtsrb_strips(compact, "train")
    write_lines(compact / "imdb_acl_v1.tsv.xz", ["\t".join(map(str, row)) for row in REVIEWS])
    environment = os.environ | {"XDG_CACHE_HOME": str(tmp_path / "cache")}
    command = [sys.executable, data_forms.__file__, str(compact)]
    running = [
        subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)
        for _ in range(4)
    ]
    printed = {process.communicate()[0] for process in running}
    assert [process.returncode for process in running] == [0] * 4
    (folder,) = printed
    assert len(datasets.fetch_gtsrb(folder.strip()).data) == 6
    assert len(datasets.fetch_imdb(folder.strip()).data) == 3


def test_the_environment_variable_is_pointed_to_the_public_forms(compact, tmp_path, monkeypatch):
    (compact / "sms_spam_collection.tsv.xz").write_bytes(lzma.compress(SMS.encode()))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv(data_forms.VARIABLE, str(compact))
    data_forms.publish()
    assert len(datasets.fetch_sms_spam().data) == 3
    named = os.environ[data_forms.VARIABLE]
    data_forms.publish()
    assert os.environ[data_forms.VARIABLE] == named
    monkeypatch.setenv(data_forms.VARIABLE, "")
    data_forms.publish()
    assert os.environ[data_forms.VARIABLE] == ""
