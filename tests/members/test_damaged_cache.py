"""What a cache does not give back whole is trained anew; what it does not take is not lost."""

import errno
import os
import pickle
import shutil
import threading
import warnings

import joblib
import numpy as np
import pytest
from sklearn.datasets import load_iris
from sklearn.decomposition import PCA
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import RidgeClassifier
from sklearn.naive_bayes import GaussianNB
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.semi_supervised import SelfTrainingClassifier

from centroids import NearestMeans
from certified_ensembles import (
    DeepPartitionAggregation,
    LabelFlipSmoothingClassifier,
    SemiSupervisedDPA,
)
from certified_ensembles._members import training
from certified_ensembles._members.stored import StoredMembers
from certified_ensembles._spec import AbsentError, DamagedError, store_of

X, Y = load_iris(return_X_y=True)


class Net(NearestMeans):
    """Trained in company as nets are: with a cache, members stay on disk."""

    members_per_batch = 2

    def __init__(self, random_state=0):
        self.random_state = random_state

    @classmethod
    def fit_together(cls, members, rows, labels):
        return [m.fit(X, y) for m, X, y in zip(members, rows, labels, strict=True)]


SCRIPT = {"__name__": "__main__", "GaussianNB": GaussianNB}
exec("class OfScript(GaussianNB): pass", SCRIPT)


def dpa(base, **params):
    return lambda memory: DeepPartitionAggregation(
        base, 5, classes=range(3), memory=memory, **params
    )


MAKE = {
    "ridge": dpa(RidgeClassifier()),
    "forest": dpa(RandomForestClassifier(2)),
    "net": dpa(Net(), on_error="abstain"),
    "pipeline": dpa(make_pipeline(StandardScaler(), RidgeClassifier())),
    "class of a script": dpa(SCRIPT["OfScript"]()),
    "representation": lambda memory: SemiSupervisedDPA(
        GaussianNB(), 5, representation=PCA(2), classes=range(3), memory=memory
    ),
    "masked": lambda memory: SemiSupervisedDPA(
        SelfTrainingClassifier(GaussianNB()), 5, unlabeled="mask", memory=memory
    ),
    "noisy": lambda memory: LabelFlipSmoothingClassifier(
        GaussianNB(), certificate="monte_carlo", representation=PCA(2), n_draws=4, memory=memory
    ),
    "noisy nets": lambda memory: LabelFlipSmoothingClassifier(
        Net(), certificate="monte_carlo", n_draws=4, memory=memory
    ),
}


def answers(clf):
    return clf.ballots(X) if hasattr(clf, "ballots") else clf.predict_proba(X)


def files_in(folder):
    return sorted(folder.glob("**/output.pkl"))


def fitted(make, folder):
    """Fit, and return the ensemble with what was said of the cache."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        clf = make(str(folder)).set_params(random_state=7).fit(X, Y)
    return clf, [w for w in caught if "cache" in str(w.message) or "stored" in str(w.message)]


@pytest.fixture(scope="module")
def caches(tmp_path_factory):
    """Return a function of a kind and a place: the cache after a fit, copied there."""
    made = {}

    def cache(kind, place):
        if kind not in made:
            folder = tmp_path_factory.mktemp("cache")
            made[kind] = folder, answers(fitted(MAKE[kind], folder)[0])
        shutil.copytree(made[kind][0], place, dirs_exist_ok=True)
        return made[kind][1]

    return cache


def rewrite(change):
    def damage(path):
        data = bytearray(path.read_bytes())
        path.write_bytes(change(data) or data)

    return damage


def zero(data):
    data[len(data) // 2 : len(data) // 2 + 64] = bytes(64)


def flip(place):
    def change(data):
        data[place] ^= 1

    return change


def take_place_of(path, put):
    path.unlink()
    put(path)


DAMAGE = {
    "cut": rewrite(lambda data: data[: len(data) // 2]),
    "cut in the digest": rewrite(lambda data: data[:-7]),
    "shorter than a digest": rewrite(lambda data: data[:7]),
    "longer": rewrite(lambda data: data + b"."),
    "empty": lambda path: path.write_bytes(b""),
    "zeroed": rewrite(zero),
    "all zero": rewrite(lambda data: bytes(len(data))),
    "first bit": rewrite(flip(0)),
    "last bit": rewrite(flip(-1)),
    "old format": lambda path: joblib.dump(GaussianNB(), path),
    "folder": lambda path: take_place_of(path, lambda p: (p / "inside").mkdir(parents=True)),
    "unreadable": lambda path: take_place_of(path, lambda p: p.symlink_to(p)),
    "no folder": lambda path: (shutil.rmtree(path.parent), path.parent.write_text("")),
}


def assert_noticed_and_repaired(kind, folder, want, n_damaged):
    clf, (said,) = fitted(MAKE[kind], folder)
    text = str(said.message)
    assert said.category is UserWarning
    assert said.filename == __file__
    assert "\n" not in text
    assert "trained anew" in text
    assert str(folder) in text
    assert f" {n_damaged} " in text
    np.testing.assert_array_equal(answers(clf), want)
    again, said = fitted(MAKE[kind], folder)
    assert not said
    np.testing.assert_array_equal(answers(again), want)


@pytest.mark.parametrize("damage", DAMAGE)
@pytest.mark.parametrize("kind", MAKE)
def test_damage_is_said_once_and_repaired(caches, tmp_path, kind, damage):
    want = caches(kind, tmp_path)
    members = [p for p in files_in(tmp_path) if p.parent.parent.name != "_learn"]
    for path in members[:2]:
        DAMAGE[damage](path)
    assert_noticed_and_repaired(kind, tmp_path, want, 2)


@pytest.mark.parametrize("kind", MAKE)
def test_the_file_of_another_member_is_damage(caches, tmp_path, kind):
    want = caches(kind, tmp_path)
    *_, one, other = [p for p in files_in(tmp_path) if p.parent.parent.name != "_learn"]
    shutil.copy(one, other)
    assert_noticed_and_repaired(kind, tmp_path, want, 1)


@pytest.mark.parametrize("kind", ["representation", "noisy"])
def test_a_damaged_step_and_damaged_members_are_said_in_one_line(caches, tmp_path, kind):
    want = caches(kind, tmp_path)
    (step,) = tmp_path.glob("**/_learn/*/output.pkl")
    member = next(tmp_path.glob("**/_train/*/output.pkl"))
    for path in (step, member):
        rewrite(zero)(path)
    _, (said,) = fitted(MAKE[kind], tmp_path)
    assert "1 representation step, 1 member in" in str(said.message)
    np.testing.assert_array_equal(answers(fitted(MAKE[kind], tmp_path)[0]), want)


def test_exactly_what_is_damaged_is_trained_anew(caches, tmp_path, monkeypatch):
    want = caches("net", tmp_path)
    trained = []
    train_all = training._train_all
    monkeypatch.setattr(
        training, "_train_all", lambda jobs: trained.extend(jobs) or train_all(jobs)
    )
    files = files_in(tmp_path)
    rewrite(zero)(files[0])
    files[3].unlink()  # a file that is gone was pruned: nothing to speak of
    untouched = files[1].stat().st_mtime_ns
    assert_noticed_and_repaired("net", tmp_path, want, 1)
    assert len(trained) == 2
    assert files[1].stat().st_mtime_ns == untouched


# ---------------------------------------------------------------- ensembles that hold references


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_net_that_is_damaged_is_an_error_and_no_abstention(caches, tmp_path, damage):
    want = caches("net", tmp_path)
    clf, _ = fitted(MAKE["net"], tmp_path)
    number, name = 2, clf.estimators_.members[2].name
    (path,) = tmp_path.glob(f"**/{name.split('/')[1][:32]}/output.pkl")
    DAMAGE[damage](path)
    for ask in (clf.predict, clf.ballots, clf.certify, clf.vote_counts):
        with pytest.raises(
            RuntimeError, match=rf"Member {number} is damaged .*Fit again"
        ) as error:
            ask(X)
        assert str(tmp_path) in str(error.value)
    with pytest.raises(RuntimeError, match="Member 2 is damaged"):
        list(clf.estimators_)
    assert len(clf.estimators_[:2]) == len(list(clf.estimators_[:2])) == 2
    with pytest.raises(RuntimeError, match="Member 2 is damaged"):
        clf.estimators_[1:][1]
    fitted(MAKE["net"], tmp_path)
    np.testing.assert_array_equal(clf.ballots(X), want)  # the same file serves the old ensemble


def test_joblib_prunes_the_folder_and_nets_that_are_gone_are_named(caches, tmp_path):
    want = caches("net", tmp_path)
    clf, _ = fitted(MAKE["net"], tmp_path)
    memory = joblib.Memory(str(tmp_path), verbose=0)
    memory.reduce_size(items_limit=3)
    assert len(files_in(tmp_path)) == 3
    memory.reduce_size(bytes_limit=0)
    assert files_in(tmp_path) == []
    with pytest.raises(RuntimeError, match=r"Member 0 is no longer in the folder .*Fit again"):
        clf.predict(X)
    again, said = fitted(MAKE["net"], tmp_path)
    assert not said
    np.testing.assert_array_equal(again.ballots(X), want)


def test_pickles_of_nets_hold_references_and_other_pickles_hold_members(caches, tmp_path):
    for kind in ("net", "ridge"):
        want = caches(kind, tmp_path / "here")
        clf = pickle.loads(pickle.dumps(fitted(MAKE[kind], tmp_path / "here")[0]))
        shutil.move(tmp_path / "here", tmp_path / "there")
        if kind == "net":
            with pytest.raises(RuntimeError, match="holds a reference") as error:
                clf.predict(X)
            assert str(tmp_path / "here") in str(error.value)
            shutil.move(tmp_path / "there", tmp_path / "here")
        np.testing.assert_array_equal(clf.ballots(X), want)


def test_a_folder_that_was_moved_serves_a_fit(caches, tmp_path, monkeypatch):
    want = caches("net", tmp_path / "there")
    monkeypatch.setattr(training, "_train_all", None)  # nothing is trained
    clf, _ = fitted(MAKE["net"], tmp_path / "there")
    np.testing.assert_array_equal(clf.ballots(X), want)


def test_references_hold_when_the_working_directory_changes(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    clf, _ = fitted(MAKE["net"], "cache")
    before = clf.ballots(X)
    monkeypatch.chdir("/")
    np.testing.assert_array_equal(clf.ballots(X), before)


# ---------------------------------------------------------------- disks that do not take more


@pytest.fixture
def full_disk(monkeypatch):
    """Return what makes the disk full after some files, and empty again."""
    fsync = os.fsync

    def fill(n_more):
        left = list(range(n_more))

        def full(file):
            try:
                left.pop()  # threads write side by side
            except IndexError:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)) from None
            fsync(file)

        monkeypatch.setattr(os, "fsync", full)

    return fill


@pytest.mark.parametrize("n_more", [0, 2])
@pytest.mark.parametrize("kind", MAKE)
def test_a_full_disk_loses_nothing(caches, tmp_path, full_disk, monkeypatch, kind, n_more):
    want = caches(kind, tmp_path / "whole")
    n_files = len(files_in(tmp_path / "whole"))
    full_disk(n_more)
    clf, (said,) = fitted(MAKE[kind], tmp_path / "full")
    text = str(said.message)
    assert "kept in memory" in text
    assert "No space left on device" in text
    assert str(tmp_path / "full") in text
    assert "\n" not in text
    np.testing.assert_array_equal(answers(clf), want)
    stored = [path for path in (tmp_path / "full").glob("**/*") if path.name.startswith("output")]
    assert len(stored) == n_more
    full_disk(n_files)
    again, said = fitted(MAKE[kind], tmp_path / "full")
    assert not said
    assert len(files_in(tmp_path / "full")) == n_files
    np.testing.assert_array_equal(answers(again), want)
    np.testing.assert_array_equal(answers(clf), want)


def test_nets_on_a_full_disk_stay_beside_references(tmp_path, full_disk):
    full_disk(2)
    clf, _ = fitted(MAKE["net"], tmp_path)
    assert isinstance(clf.estimators_, StoredMembers)
    assert sum(isinstance(member, Net) for member in clf.estimators_.members) == 3
    assert all(isinstance(member, Net) for member in clf.estimators_)


def test_files_that_may_not_grow_are_a_full_disk(caches, tmp_path):
    resource = pytest.importorskip("resource")
    want = caches("forest", tmp_path / "whole")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (500, before[1]))
    try:
        clf, (said,) = fitted(MAKE["forest"], tmp_path / "small")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert "5 members" in str(said.message)
    np.testing.assert_array_equal(clf.ballots(X), want)
    assert not list((tmp_path / "small").glob("**/output*"))


def test_a_member_that_no_file_can_hold_stays_in_memory(tmp_path):
    class Local(GaussianNB):
        def fit(self, X, y):
            self.lock_ = threading.Lock()
            return super().fit(X, y)

    clf, (said,) = fitted(dpa(Local()), tmp_path)
    assert "TypeError" in str(said.message)
    assert clf.ballots(X).min() >= 0


def test_a_folder_that_cannot_be_made_is_an_error_before_anything_is_trained(tmp_path):
    (tmp_path / "file").write_text("")
    for make in (MAKE["ridge"], MAKE["representation"]):
        with pytest.raises(ValueError, match=r"memory=.*file' cannot be made a folder"):
            make(str(tmp_path / "file")).fit(X, Y)
    with pytest.raises(ValueError, match="memory="):
        make(str(tmp_path / "file" / "below")).fit(X, Y)


# ---------------------------------------------------------------- the store


class InTables:
    """A cache of somebody else's, with no more than `cache`: results by function and argument."""

    def __init__(self):
        self.kept = {}

    def cache(self, function, ignore):
        def call(name, *ignored):
            if name not in self.kept:
                self.kept[name] = function(name, *ignored)
            return self.kept[name]

        return call


@pytest.mark.parametrize("kind", MAKE)
def test_a_cache_of_any_kind_serves_and_its_damage_is_noticed(kind):
    memory = InTables()
    make = lambda _: MAKE[kind](memory)  # noqa: E731
    want = answers(fitted(make, "")[0])
    kept = dict(memory.kept)
    np.testing.assert_array_equal(answers(fitted(make, "")[0]), want)
    assert memory.kept == kept
    name = next(name for name in kept if not name.startswith("_learn"))
    memory.kept[name] = memory.kept[name][:-1] + bytes([memory.kept[name][-1] ^ 1])
    clf, (said,) = fitted(make, "")
    assert "trained anew: 1 member in" in str(said.message)
    np.testing.assert_array_equal(answers(clf), want)


@pytest.mark.parametrize("compress", [True, 1, ("zlib", 9)])
def test_compressed_items_come_back_and_serve_stores_that_do_not_compress(tmp_path, compress):
    items = np.zeros(10000), {"of": np.arange(5.0)}
    plain, small = (
        store_of(joblib.Memory(tmp_path, compress=how, verbose=0)) for how in (False, compress)
    )
    small.recall("f/0", lambda: items)
    assert files_in(tmp_path)[0].stat().st_size < 2000
    for store in (plain, small):
        np.testing.assert_equal(store.load("f/0"), items)


def test_an_item_is_known_by_what_made_it(tmp_path):
    store = store_of(str(tmp_path))
    store.recall("one/key", lambda: 1)
    os.rename(*(tmp_path / "joblib" / "certified_ensembles" / name for name in ("one", "other")))
    with pytest.raises(AbsentError):
        store.load("one/key")
    with pytest.raises(DamagedError):
        store.load("other/key")


def test_readers_and_writers_at_once_see_whole_items(tmp_path):
    store, stop, wrong = store_of(str(tmp_path)), threading.Event(), []
    items = [np.full(50_000, float(i)) for i in range(3)]
    store.recall("f/0", lambda: items[0])

    def write(item):
        for _ in range(30):
            if store.put("f/0", item, store.find("f/0")).not_stored:
                wrong.append("not stored")

    def read():
        while not stop.is_set():
            if len(np.unique(store.load("f/0"))) != 1:
                wrong.append("mixed")

    readers = [threading.Thread(target=read) for _ in range(2)]
    writers = [threading.Thread(target=write, args=[item]) for item in items]
    for thread in readers + writers:
        thread.start()
    for thread in writers:
        thread.join()
    stop.set()
    for thread in readers:
        thread.join()
    assert not wrong
    assert [path.name for path in files_in(tmp_path)[0].parent.iterdir()] == ["output.pkl"]


def test_no_cache_is_no_store(tmp_path):
    assert store_of(None) is store_of(joblib.Memory(None)) is None
    assert pickle.loads(pickle.dumps(store_of(str(tmp_path)))).folder == str(tmp_path / "joblib")
