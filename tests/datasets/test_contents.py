"""Loaders: every form of every data set, every way a file can be wrong, and the real files."""

import builtins
import hashlib
import io
import json
import lzma
import os
import tarfile
import urllib.error
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from certified_ensembles import datasets
from certified_ensembles.datasets import _files, _gtsrb, _images, _tables, _text

Image = pytest.importorskip("PIL.Image", reason="Pillow reads the images")

FETCHERS = {name: getattr(datasets, name) for name in datasets.__all__ if name[:5] == "fetch"}
WITH_SUBSET = ["fetch_mnist", "fetch_cifar10", "fetch_gtsrb", "fetch_imdb", "fetch_dogfish"]


# Small files of every form ---------------------------------------------------------------------


def _digits(n, seed):
    rng = np.random.default_rng(seed)
    return rng.integers(0, 256, (n, 28, 28), dtype=np.uint8), np.arange(n, dtype=np.uint8)


def _photos(n, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (n, 32, 32, 3), dtype=np.uint8)


def write_mnist(folder):
    (X, y), (X_test, y_test) = _digits(6, 0), _digits(4, 1)
    np.savez(folder / "mnist.npz", x_train=X, y_train=y, x_test=X_test, y_test=y_test)
    return X, y, X_test, y_test


def write_cifar10_jpeg(folder):
    jpegs = []
    for i, photo in enumerate(_photos(5)):
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
    )
    return [np.asarray(Image.open(io.BytesIO(jpeg))) for jpeg in jpegs]


def _tar(path, members):
    with tarfile.open(path, "w:gz") as archive:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return hashlib.sha256(path.read_bytes()).hexdigest()


def write_cifar10_binary(folder):
    X, y = _photos(12), np.arange(12, dtype=np.uint8) % 10
    flat = X.transpose(0, 3, 1, 2).reshape(12, -1)
    records = np.concatenate([y[:, None], flat], axis=1)
    members = {
        f"cifar-10-batches-bin/data_batch_{i + 1}.bin": records[2 * i : 2 * i + 2].tobytes()
        for i in reversed(range(5))
    }
    members["cifar-10-batches-bin/test_batch.bin"] = records[10:].tobytes()
    members["cifar-10-batches-bin/readme.html"] = b"not a record"
    return X, y, _tar(folder / "cifar-10-binary.tar.gz", members)


def write_gtsrb_strips(folder, part):
    n_per_strip = [3, 2, 1]
    X, n = _photos(6), 6
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


def write_imdb_lines(folder):
    with lzma.open(folder / "imdb_acl_v1.tsv.xz", "wt", encoding="utf-8", newline="\n") as file:
        for row in REVIEWS:
            file.write("\t".join(map(str, row)) + "\n")


def write_imdb_archive(folder):
    members = {
        f"aclImdb/{split}/{['neg', 'pos'][label]}/{number}_{rating}.txt": text.encode()
        for split, label, rating, number, text in reversed(REVIEWS)
    }
    members |= {"aclImdb/train/unsup/0_0.txt": b"unlabelled", "aclImdb/README": b"read me"}
    return _tar(folder / "aclImdb_v1.tar.gz", members)


SMS = "ham\tsee you at 5\nspam\tWIN\ta\x0bprize\u2028now\nham\tok\n"
MAILS = [
    ["enron1", 0, "0001.1999-12-10.farmer.ham", "Subject: gas\r\nhello \xe9"],
    ["enron1", 1, "0002.2003-12-18.GP.spam", "Subject: pills"],
    ["enron2", 0, "0001.1999-12-10.kaminski.ham", "Subject: model"],
]


def write_enron_lines(folder):
    with lzma.open(folder / "enron_spam.jsonl.xz", "wt", encoding="utf-8", newline="\n") as file:
        for mail in MAILS:
            file.write(json.dumps(mail) + "\n")


def write_enron_archives(folder):
    for mailbox in ("enron1", "enron2"):
        members = {f"{mailbox}/Summary.txt": b"about"}
        for box, label, name, text in reversed(MAILS):
            if box == mailbox:
                path = f"{mailbox}/{['ham', 'spam'][label]}/{name}.txt"
                members[path] = text.encode("latin-1")
        _tar(folder / f"{mailbox}.tar.gz", members)


def write_spambase(folder, name="spambase.npz"):
    X, y = np.array([[0.0, 0.64, 3.5], [0.21, 0.0, 1.0]]), np.array([1, 0], dtype=np.uint8)
    names = ["word_freq_make", "char_freq_;", "capital_run_length_average"]
    if name.endswith(".npz"):
        np.savez(folder / name, X=X, y=y, feature_names=np.array(names))
        return
    with zipfile.ZipFile(folder / name, "w") as archive:
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


# The folders of a test -------------------------------------------------------------------------


@pytest.fixture(autouse=True)
def no_network(monkeypatch, request):
    """Fail on any download that a test did not ask for."""

    def refuse(url, *args, **kwargs):
        raise AssertionError(f"tried to download {url}")

    monkeypatch.setattr(_files, "fetch_file", refuse)


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """Point scikit-learn's data folder to an empty folder, and name no other one."""
    monkeypatch.delenv(_files.ENVIRONMENT_VARIABLE, raising=False)
    monkeypatch.setenv("SCIKIT_LEARN_DATA", str(tmp_path / "sklearn"))
    return tmp_path / "sklearn" / "certified_ensembles"


@pytest.fixture
def home(cache, tmp_path):
    folder = tmp_path / "home"
    folder.mkdir()
    return folder


def _pin(monkeypatch, module, constant, sha256, url=None):
    """Replace the published checksum of a data set by that of a small stand-in."""
    sources = [
        source if source.sha256 is None else replace(source, sha256=sha256, url=url or source.url)
        for source in getattr(module, constant)
    ]
    monkeypatch.setattr(module, constant, sources)


# Contents --------------------------------------------------------------------------------------


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


@pytest.mark.parametrize(
    ("subset", "rows"), [("train", [0, 1, 2]), ("test", [3, 4]), ("all", [0, 1, 2, 3, 4])]
)
def test_cifar10_jpegs_get_their_header_back(home, subset, rows):
    photos = write_cifar10_jpeg(home)
    cifar10 = datasets.fetch_cifar10(home, subset=subset)
    np.testing.assert_array_equal(cifar10.data, [photos[i] for i in rows])
    np.testing.assert_array_equal(cifar10.target, np.array([3, 1, 4, 1, 5])[rows])
    assert cifar10.data.dtype == np.uint8
    assert cifar10.target_names[3] == "cat"


def test_cifar10_says_whether_its_pixels_are_the_original_ones(home, monkeypatch):
    write_cifar10_jpeg(home)
    assert "LOSSY" in datasets.fetch_cifar10(home).DESCR
    sha256 = write_cifar10_binary(home)[2]
    _pin(monkeypatch, _images, "_CIFAR10", sha256)
    exact = datasets.fetch_cifar10(home)  # preferred to the lossy copy beside it
    assert "LOSSY" not in exact.DESCR
    assert "the original pixels" in exact.DESCR


@pytest.mark.parametrize(
    ("subset", "rows"),
    [("train", slice(0, 10)), ("test", slice(10, 12)), ("all", slice(0, 12))],
)
def test_cifar10_binary_archive_keeps_order_and_colours(home, monkeypatch, subset, rows):
    X, y, sha256 = write_cifar10_binary(home)
    _pin(monkeypatch, _images, "_CIFAR10", sha256)
    cifar10 = datasets.fetch_cifar10(home, subset=subset)
    np.testing.assert_array_equal(cifar10.data, X[rows])
    np.testing.assert_array_equal(cifar10.target, y[rows])
    assert cifar10.data.flags.c_contiguous


def test_gtsrb_strips(home):
    X = write_gtsrb_strips(home, "train")
    train = datasets.fetch_gtsrb(home)
    np.testing.assert_array_equal(train.data, X)
    assert train.target.tolist() == [0, 0, 0, 0, 0, 7]
    assert train.track.tolist() == [0, 0, 0, 1, 1, 0]
    assert train.groups.tolist() == [0, 0, 0, 1, 1, 2]
    assert train.frame.tolist() == [0, 1, 2, 0, 1, 0]
    assert train.orig_pixel_sum.tolist() == [0, 1000, 2000, 3000, 4000, 5000]
    assert train.orig_lex_rank.tolist() == [5, 4, 3, 2, 1, 0]
    assert train.sizes[2].tolist() == [32, 42]
    assert train.target_names[14] == "stop"
    assert len(set(train.target_names)) == 43
    write_gtsrb_strips(home, "test")
    test = datasets.fetch_gtsrb(home, subset="test")
    np.testing.assert_array_equal(test.data, X)
    assert "groups" not in test


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


@pytest.mark.parametrize("form", ["lines", "archive"])
def test_imdb_reviews_keep_every_character(home, monkeypatch, form):
    if form == "lines":
        write_imdb_lines(home)
    else:
        _pin(monkeypatch, _text, "_IMDB", write_imdb_archive(home))
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


@pytest.mark.parametrize("form", ["xz", "plain", "crlf"])
def test_sms_messages_keep_every_character(home, form):
    if form == "xz":
        (home / "sms_spam_collection.tsv.xz").write_bytes(lzma.compress(SMS.encode()))
    else:
        text = SMS if form == "plain" else SMS.replace("\n", "\r\n")
        (home / "SMSSpamCollection").write_bytes(text.encode())
    sms = datasets.fetch_sms_spam(home)
    assert sms.data.tolist() == ["see you at 5", "WIN\ta\x0bprize\u2028now", "ok"]
    assert sms.target.tolist() == [0, 1, 0]
    X, _ = datasets.fetch_sms_spam(home, return_X_y=True)
    assert X.tolist() == sms.data.tolist()


@pytest.mark.parametrize("write", [write_enron_lines, write_enron_archives])
def test_enron_mails_keep_every_character(home, write):
    write(home)
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
    write_enron_lines(home)
    with pytest.raises(OSError, match=r"none of \['enron3', 'enron4', 'enron5', 'enron6'\]"):
        datasets.fetch_enron_spam(home)


@pytest.mark.parametrize("name", ["spambase.npz", "spambase.zip"])
def test_spambase_table(home, name):
    write_spambase(home, name)
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


# Where files are looked for --------------------------------------------------------------------


def _write_labelled_mnist(folder, label):
    folder.mkdir(parents=True, exist_ok=True)
    X, y = np.zeros((1, 28, 28), np.uint8), np.array([label])
    np.savez(folder / "mnist.npz", x_train=X, y_train=y, x_test=X, y_test=y)


def test_folders_are_searched_in_order(cache, tmp_path, monkeypatch):
    _write_labelled_mnist(cache, 3)
    assert datasets.fetch_mnist().target == 3
    assert datasets.fetch_mnist(tmp_path / "nowhere").target == 3
    monkeypatch.setenv(_files.ENVIRONMENT_VARIABLE, "")
    assert datasets.fetch_mnist().target == 3
    _write_labelled_mnist(tmp_path / "named", 2)
    monkeypatch.setenv(_files.ENVIRONMENT_VARIABLE, str(tmp_path / "named"))
    assert datasets.fetch_mnist().target == 2
    _write_labelled_mnist(tmp_path / "given", 1)
    assert datasets.fetch_mnist(str(tmp_path / "given")).target == 1


def test_a_tilde_is_the_home_folder(cache, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    _write_labelled_mnist(tmp_path / "data", 5)
    assert datasets.fetch_mnist("~/data").target == 5


def test_the_cache_is_not_touched_when_a_folder_has_the_data(cache, home):
    write_mnist(home)
    datasets.fetch_mnist(home)
    assert not cache.parent.exists()


@pytest.mark.parametrize("name", FETCHERS)
def test_a_missing_file_is_named_with_its_source(home, cache, name):
    with pytest.raises(OSError, match="was not found") as caught:
        FETCHERS[name](home, download_if_missing=False)
    message = str(caught.value)
    assert "download_if_missing=False" in message
    assert _files.ENVIRONMENT_VARIABLE in message
    assert str(home) in message
    assert f"{cache} (does not exist)" in message
    assert "http" in message


@pytest.mark.parametrize(
    "name",
    ["fetch_gtsrb", "fetch_sms_spam", "fetch_enron_spam", "fetch_spambase", "fetch_dogfish"],
)
def test_nothing_is_downloaded_without_a_checksum(home, name):
    with pytest.raises(OSError, match="no published checksum of it is known"):
        FETCHERS[name](home)


def test_every_download_has_a_checksum():
    sources = [*_images._MNIST, *_images._CIFAR10, *_text._IMDB, *_text._SMS, *_tables._SPAMBASE]
    sources += [*_gtsrb.SOURCES["train"], *_gtsrb.SOURCES["test"]]
    with_url = [source for source in sources if source.url is not None]
    assert len(with_url) == 3
    for source in with_url:
        assert len(bytes.fromhex(source.sha256)) == 32
        assert source.url.startswith("https://")
        assert source.url.endswith(source.files[0])


# Downloads -------------------------------------------------------------------------------------


@pytest.fixture
def server(tmp_path, monkeypatch):
    """Allow downloads from file:// addresses in a folder, without waiting between attempts."""
    from sklearn.datasets import fetch_file

    def fetch(url, folder, file, sha256):
        return fetch_file(url, folder, file, sha256=sha256, n_retries=0, delay=0)

    monkeypatch.setattr(_files, "fetch_file", fetch)
    folder = tmp_path / "server"
    folder.mkdir()
    return folder


def _address(file):
    return file.as_uri().replace("file://", "file://localhost")


def test_mnist_is_downloaded_once_and_kept(cache, server, monkeypatch):
    X = write_mnist(server)[0]
    file = server / "mnist.npz"
    _pin(
        monkeypatch,
        _images,
        "_MNIST",
        hashlib.sha256(file.read_bytes()).hexdigest(),
        _address(file),
    )
    np.testing.assert_array_equal(datasets.fetch_mnist().data, X)
    assert [path.name for path in cache.iterdir()] == ["mnist.npz"]
    file.unlink()
    np.testing.assert_array_equal(datasets.fetch_mnist().data, X)


def test_a_download_goes_to_the_folder_given(cache, server, tmp_path, monkeypatch):
    sha256 = write_imdb_archive(server)
    url = _address(server / "aclImdb_v1.tar.gz")
    _pin(monkeypatch, _text, "_IMDB", sha256, url)
    monkeypatch.setenv(_files.ENVIRONMENT_VARIABLE, str(tmp_path / "read-only"))
    given = tmp_path / "new" / "folder"
    assert len(datasets.fetch_imdb(given).data) == 3
    assert [path.name for path in given.iterdir()] == ["aclImdb_v1.tar.gz"]
    assert not cache.exists()
    assert not (tmp_path / "read-only").exists()


def test_cifar10_is_downloaded_in_its_exact_form(cache, server, monkeypatch):
    X, _, sha256 = write_cifar10_binary(server)
    _pin(monkeypatch, _images, "_CIFAR10", sha256, _address(server / "cifar-10-binary.tar.gz"))
    np.testing.assert_array_equal(datasets.fetch_cifar10().data, X[:10])


def test_a_download_with_another_checksum_is_not_kept(cache, server, monkeypatch):
    write_mnist(server)
    file = server / "mnist.npz"
    found = hashlib.sha256(file.read_bytes()).hexdigest()
    _pin(monkeypatch, _images, "_MNIST", "0" * 64, _address(file))
    with pytest.raises(OSError, match="Could not download MNIST") as caught:
        datasets.fetch_mnist()
    for part in ("mnist.npz", found, "0" * 64, str(cache), "by other means"):
        assert part in str(caught.value)
    assert list(cache.iterdir()) == []


def test_no_network_is_said_plainly(cache, server, monkeypatch):
    url = _address(server / "mnist.npz")  # nothing is there
    _pin(monkeypatch, _images, "_MNIST", "0" * 64, url)
    with pytest.raises(OSError, match=r"Could not download MNIST.*mnist\.npz.*by other means"):
        datasets.fetch_mnist()
    assert list(cache.iterdir()) == []


def test_an_interrupted_download_is_not_kept(cache, server, monkeypatch):
    import sklearn.datasets._base as base

    def cut(url, path):
        Path(path).write_bytes(b"half of")
        raise urllib.error.ContentTooShortError("got only 7 of 11 bytes", b"")

    monkeypatch.setattr(base, "urlretrieve", cut)
    with pytest.raises(OSError, match="got only 7 of 11 bytes"):
        datasets.fetch_mnist()
    assert list(cache.iterdir()) == []


def test_an_unusable_cache_folder_is_said_plainly(home, server):
    (home / "file").write_text("in the way")
    with pytest.raises(OSError, match="Could not download MNIST"):
        datasets.fetch_mnist(home / "file" / "folder")


# Damaged files ---------------------------------------------------------------------------------


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
    sha256 = _tar(home / "cifar-10-binary.tar.gz", members)
    _pin(monkeypatch, _images, "_CIFAR10", sha256)
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


# The real files --------------------------------------------------------------------------------

DATA = Path(os.environ.get(_files.ENVIRONMENT_VARIABLE) or "no folder is named")


def _real(file):
    return pytest.mark.skipif(
        not (DATA / file).is_file(),
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


@_real("cifar10_jpeg.npz")
def test_real_cifar10():
    cifar10 = datasets.fetch_cifar10(DATA, subset="all")
    assert cifar10.data.shape == (60000, 32, 32, 3)
    assert np.bincount(cifar10.target[:50000]).tolist() == [5000] * 10
    assert cifar10.target[50000::1000].tolist() == list(range(10))
    # JPEG decoders may differ by one grey level; this one is libjpeg-turbo.
    decoded = "bd83a85c59ce38c04bb3af6fd64b80b7e73f1e241b39c50ebff9c7e37120139a"
    assert _digest(cifar10.data) == decoded


@_real("gtsrb32_train.npz")
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


@_real("imdb_acl_v1.tsv.xz")
def test_real_imdb():
    imdb = datasets.fetch_imdb(DATA, subset="all")
    assert imdb.target.tolist() == ([0] * 12500 + [1] * 12500) * 2
    assert ((imdb.rating >= 7) == imdb.target).all()
    duplicates = [len(part) - len(set(part)) for part in (imdb.data[:25000], imdb.data[25000:])]
    assert duplicates == [96, 199]


@_real("sms_spam_collection.tsv.xz")
def test_real_sms_spam():
    sms = datasets.fetch_sms_spam(DATA)
    assert np.bincount(sms.target).tolist() == [4827, 747]
    lines = zip(np.array(["ham", "spam"])[sms.target], sms.data, strict=True)
    content = "".join(f"{label}\t{text}\n" for label, text in lines).encode()
    published = "7d039a24a6083ed9ef0f806ebad56bbb976e3aeb8de05669173bfdc4996c239d"
    assert hashlib.sha256(content).hexdigest() == published


@_real("enron_spam.jsonl.xz")
def test_real_enron_spam():
    enron = datasets.fetch_enron_spam(DATA)
    assert np.bincount(enron.target).tolist() == [16545, 17171]
    ham = [3672, 4361, 4012, 1500, 1500, 1500]
    spam = [1500, 1496, 1500, 4500, 3675, 4500]
    for i, mailbox in enumerate(_text._MAILBOXES):
        here = enron.target[enron.folder == mailbox]
        assert np.bincount(here).tolist() == [ham[i], spam[i]]
    assert len(enron.data) - len(set(enron.data)) == 3222


@_real("spambase.npz")
def test_real_spambase():
    spambase = datasets.fetch_spambase(DATA)
    assert spambase.data.shape == (4601, 57)
    assert np.bincount(spambase.target).tolist() == [2788, 1813]
    assert spambase.feature_names[0] == "word_freq_make"


# ---------------------------------------------------------------- digits


def test_digits_are_integers_with_a_fixed_split():
    train, test = (datasets.load_digits(subset=subset) for subset in ("train", "test"))
    X, y = datasets.load_digits(subset="all", return_X_y=True)
    np.testing.assert_array_equal(np.concatenate([train.data, test.data]), X)
    np.testing.assert_array_equal(np.concatenate([train.target, test.target]), y)
    assert (len(train.data), len(test.data), X.dtype) == (1347, 450, np.uint8)
    np.testing.assert_array_equal(train.images.reshape(1347, 64), train.data)
    assert train.target_names.tolist() == list(range(10))


def test_digits_refuse_an_unknown_subset():
    with pytest.raises(ValueError, match="subset='dev'"):
        datasets.load_digits(subset="dev")
