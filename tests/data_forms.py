"""Turn the compact forms in which this project keeps its data into forms that anyone can get.

The package reads archives, folders and arrays as their publishers or users make them. A folder
for the tests holds smaller files instead (images as WebP strips, texts as compressed lines). They
are converted once, into a folder of the user's cache, and ``CERTIFIED_ENSEMBLES_DATA`` is pointed
to it. What is public already is linked into it. The cache may be deleted at any time.

`publish` does it for this process and its children. From a shell::

    export CERTIFIED_ENSEMBLES_DATA=$(python tests/data_forms.py FOLDER)
"""

import hashlib
import io
import json
import lzma
import os
import shutil
import sys
import tarfile
import tempfile
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

VARIABLE = "CERTIFIED_ENSEMBLES_DATA"


def publish():
    """Let the environment variable name a folder of public forms, if it names any folder."""
    if os.environ.get(VARIABLE):
        os.environ[VARIABLE] = str(public_folder(os.environ[VARIABLE]))


def public_folder(folder, cache=None):
    """Return a folder with the data of another one in public forms; make what it lacks.

    Parameters
    ----------
    folder : path-like
        Where the data lie. One without compact forms is returned as it is.
    cache : path-like or None, default=None
        Where the public forms are kept, in a folder for each state of `folder`. None: in the
        cache of the user.

    Returns
    -------
    Path
    """
    folder = Path(folder).expanduser()
    if not any((folder / name).is_file() for name in FORMS):
        return folder
    files = sorted(path for path in folder.iterdir() if not path.name.startswith("."))
    state = [(str(path), path.stat().st_size, path.stat().st_mtime_ns) for path in files]
    code = Path(__file__).read_bytes()
    key = hashlib.sha256(repr(state).encode() + code).hexdigest()[:16]
    public = Path(cache or _user_cache()) / key
    public.mkdir(parents=True, exist_ok=True)
    with ThreadPoolExecutor(os.cpu_count()) as pool:  # decoders release the interpreter's lock
        for done in [pool.submit(_publish_file, path, public) for path in files]:
            done.result()
    return public


def _user_cache():
    cache = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(cache).expanduser() / "certified_ensembles" / "data_forms"


def _publish_file(path, public):
    """Convert a file, or link it; each public file appears whole, whoever else is at work."""
    names, convert = FORMS.get(path.name, ((path.name,), _link))
    if all((public / name).exists() for name in names):
        return
    with tempfile.TemporaryDirectory(dir=public, prefix=".") as scratch:
        try:
            convert(path, Path(scratch))
        except Exception as error:
            error.add_note(f"{path} could not be turned into {', '.join(names)}.")
            raise
        for name in names:
            try:
                os.replace(Path(scratch) / name, public / name)
            except OSError:
                if not (public / name).exists():  # else another process was first
                    raise


def _link(path, folder):
    try:
        (folder / path.name).symlink_to(path.resolve())
    except OSError:  # not every system lets its users make links
        shutil.copy(path, folder)


def _arrays(path):
    with np.load(path, allow_pickle=False) as arrays:
        return {name: arrays[name] for name in arrays.files}


def _decode(encoded, offsets):
    """Yield images from the bytes of all, and where each begins and ends."""
    from PIL import Image

    for begin, end in zip(offsets[:-1].tolist(), offsets[1:].tolist(), strict=True):
        yield np.asarray(Image.open(io.BytesIO(encoded(begin, end))).convert("RGB"))


def _cifar10(path, folder):
    """JPEG images that share one header, which is stored once."""
    arrays = _arrays(path)
    header, scan = arrays["header"].tobytes(), arrays["scan"].tobytes()
    images = _decode(lambda begin, end: header + scan[begin:end] + b"\xff\xd9", arrays["offsets"])
    X, y = np.stack(list(images)), arrays["y"].astype(np.int64)
    train, test = slice(int(arrays["n_train"])), slice(int(arrays["n_train"]), None)
    for part, rows in (("train", train), ("test", test)):
        np.savez(folder / f"cifar10_{part}.npz", data=X[rows], target=y[rows])


def _gtsrb(path, folder):
    """Images of 32 x 32 pixels, those of a track stacked to one WebP picture."""
    arrays = _arrays(path)
    strips, offsets = arrays.pop("webp").tobytes(), arrays.pop("offsets")
    images = [
        strip.reshape(-1, 32, 32, 3)
        for strip in _decode(lambda begin, end: strips[begin:end], offsets)
    ]
    assert [len(strip) for strip in images] == np.diff(arrays.pop("start")).tolist()
    sizes = np.stack([arrays.pop("width"), arrays.pop("height")], axis=1)
    fields = {"data": np.concatenate(images), "target": arrays.pop("y"), "sizes": sizes, **arrays}
    if "track" in fields:  # track 3 of class 0 is not track 3 of class 1
        signs = np.stack([fields["target"], fields["track"]])
        fields["groups"] = np.unique(signs, axis=1, return_inverse=True)[1].reshape(-1)
    np.savez(folder / f"{path.stem.replace('gtsrb32', 'gtsrb')}.npz", **fields)


def _lines(path):
    """Return lines, cut at line feeds alone: texts hold other line separators."""
    return lzma.decompress(path.read_bytes()).decode("utf-8").removesuffix("\n").split("\n")


def _imdb(path, folder):
    """Lines of subset, label, rating, number and text."""
    kinds = ["neg", "pos"]
    for split in ("train", "test"):
        for kind in kinds:
            (folder / "aclImdb" / split / kind).mkdir(parents=True)
    for line in _lines(path):
        split, label, rating, number, text = line.split("\t", 4)
        file = folder / "aclImdb" / split / kinds[int(label)] / f"{number}_{rating}.txt"
        file.write_bytes(text.encode("utf-8"))


def _enron(path, folder):
    """Lines of mailbox, whether it is spam, name and text, the text's bytes as latin-1."""
    archives = {}
    for mailbox, is_spam, name, text in map(json.loads, _lines(path)):
        if mailbox not in archives:  # not compressed: they are read often and never sent
            archives[mailbox] = tarfile.open(  # noqa: SIM115
                folder / f"{mailbox}.tar.gz", "w:gz", compresslevel=0
            )
        content = text.encode("latin-1")
        info = tarfile.TarInfo(f"{mailbox}/{'spam' if is_spam else 'ham'}/{name}.txt")
        info.size = len(content)
        archives[mailbox].addfile(info, io.BytesIO(content))
    for archive in archives.values():
        archive.close()


def _sms(path, folder):
    (folder / "SMSSpamCollection").write_bytes(lzma.decompress(path.read_bytes()))


def _spambase(path, folder):
    arrays = _arrays(path)
    rows = np.column_stack([arrays["X"], arrays["y"]]).tolist()
    with zipfile.ZipFile(folder / "spambase.zip", "w") as archive:
        table = "\n".join(",".join(map(repr, row)) for row in rows)  # repr keeps every digit
        archive.writestr("spambase.data", table + "\n")
        names = "".join(f"{name}: continuous.\n" for name in arrays["feature_names"])
        archive.writestr("spambase.names", names)


# Compact form: the public files that it becomes, and who writes them.
FORMS = {
    "cifar10_jpeg.npz": (("cifar10_train.npz", "cifar10_test.npz"), _cifar10),
    "gtsrb32_train.npz": (("gtsrb_train.npz",), _gtsrb),
    "gtsrb32_test.npz": (("gtsrb_test.npz",), _gtsrb),
    "imdb_acl_v1.tsv.xz": (("aclImdb",), _imdb),
    "enron_spam.jsonl.xz": (tuple(f"enron{i}.tar.gz" for i in range(1, 7)), _enron),
    "sms_spam_collection.tsv.xz": (("SMSSpamCollection",), _sms),
    "spambase.npz": (("spambase.zip",), _spambase),
}

if __name__ == "__main__":
    print(public_folder(sys.argv[1]))
