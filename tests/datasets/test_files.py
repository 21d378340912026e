"""Where files are looked for, and what is downloaded."""

import hashlib
import urllib.error
from pathlib import Path

import numpy as np
import pytest

from certified_ensembles import datasets
from certified_ensembles.datasets import _files, _gtsrb, _images, _tables, _text
from data_files import FETCHERS, pin, write_cifar10_binary, write_imdb_archive, write_mnist

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


def _address(file):
    return file.as_uri().replace("file://", "file://localhost")


def test_mnist_is_downloaded_once_and_kept(cache, server, monkeypatch):
    X = write_mnist(server)[0]
    file = server / "mnist.npz"
    pin(
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
    pin(monkeypatch, _text, "_IMDB", sha256, url)
    monkeypatch.setenv(_files.ENVIRONMENT_VARIABLE, str(tmp_path / "read-only"))
    given = tmp_path / "new" / "folder"
    assert len(datasets.fetch_imdb(given).data) == 3
    assert [path.name for path in given.iterdir()] == ["aclImdb_v1.tar.gz"]
    assert not cache.exists()
    assert not (tmp_path / "read-only").exists()


def test_cifar10_is_downloaded_in_its_exact_form(cache, server, monkeypatch):
    X, _, sha256 = write_cifar10_binary(server)
    pin(monkeypatch, _images, "_CIFAR10", sha256, _address(server / "cifar-10-binary.tar.gz"))
    np.testing.assert_array_equal(datasets.fetch_cifar10().data, X[:10])


def test_a_download_with_another_checksum_is_not_kept(cache, server, monkeypatch):
    write_mnist(server)
    file = server / "mnist.npz"
    found = hashlib.sha256(file.read_bytes()).hexdigest()
    pin(monkeypatch, _images, "_MNIST", "0" * 64, _address(file))
    with pytest.raises(OSError, match="Could not download MNIST") as caught:
        datasets.fetch_mnist()
    for part in ("mnist.npz", found, "0" * 64, str(cache), "by other means"):
        assert part in str(caught.value)
    assert list(cache.iterdir()) == []


def test_no_network_is_said_plainly(cache, server, monkeypatch):
    url = _address(server / "mnist.npz")  # nothing is there
    pin(monkeypatch, _images, "_MNIST", "0" * 64, url)
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
