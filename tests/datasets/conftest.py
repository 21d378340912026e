"""No network, no data set of this machine: the folders of a test."""

import pytest

from certified_ensembles.datasets import _files


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
