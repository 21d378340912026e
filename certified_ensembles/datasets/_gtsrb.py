"""German traffic signs in two forms: the original archives, and images resized already."""

import csv
import io
import zipfile

import numpy as np

from ._files import Source, require, saved_images

NAMES = (
    "speed limit 20",
    "speed limit 30",
    "speed limit 50",
    "speed limit 60",
    "speed limit 70",
    "speed limit 80",
    "end of speed limit 80",
    "speed limit 100",
    "speed limit 120",
    "no overtaking",
    "no overtaking by trucks",
    "priority at the next crossing",
    "priority road",
    "give way",
    "stop",
    "no vehicles",
    "no trucks",
    "no entry",
    "danger",
    "curve to the left",
    "curve to the right",
    "double curve",
    "uneven road",
    "slippery road",
    "road narrows",
    "road works",
    "traffic lights",
    "pedestrians",
    "children",
    "bicycles",
    "snow",
    "wild animals",
    "end of restrictions",
    "turn right",
    "turn left",
    "ahead only",
    "ahead or right",
    "ahead or left",
    "keep right",
    "keep left",
    "roundabout",
    "end of no overtaking",
    "end of no overtaking by trucks",
)
_SIDE = 32
_ORIGIN = (
    "from https://sid.erda.dk/public/archives/daaeac0d7ce1152aea9b61d9f1e19370/, see "
    "https://benchmark.ini.rub.de/"
)


def _pillow():
    """Return the module PIL.Image, which is not a dependency of the package."""
    try:
        from PIL import Image
    except ImportError as error:
        raise ImportError(
            "Reading these images needs Pillow. Install it: pip install pillow"
        ) from error
    return Image


def _groups(y, track):
    """Return numbers of tracks over all classes: track 3 of class 0 is not track 3 of class 1."""
    return np.unique(np.stack([y, track]), axis=1, return_inverse=True)[1].reshape(-1)


def _resized(archive, names):
    """Return images of an open archive at 32 x 32, their sizes and the sums of their values."""
    Image = _pillow()
    X = np.empty((len(names), _SIDE, _SIDE, 3), dtype=np.uint8)
    sizes = np.empty((len(names), 2), dtype=np.int64)
    sums = np.empty(len(names), dtype=np.int64)
    for i, name in enumerate(names):
        with archive.open(name) as file:
            image = Image.open(file).convert("RGB")
        sizes[i] = image.size
        sums[i] = np.asarray(image).sum(dtype=np.int64)
        X[i] = image.resize((_SIDE, _SIDE), Image.Resampling.BILINEAR)
    return X, sizes, sums


def _read_train_archive(path, _):
    """Read ``GTSRB/Final_Training/Images/ccccc/ttttt_fffff.ppm``: class, track, frame."""
    with zipfile.ZipFile(path) as archive:
        names = sorted(name for name in archive.namelist() if name.endswith(".ppm"))
        require(names, "images *.ppm", "none")
        X, sizes, sums = _resized(archive, names)
    parts = [name.removesuffix(".ppm").split("/")[-2:] for name in names]
    y = np.array([int(folder) for folder, _ in parts])
    track, frame = np.array([stem.split("_") for _, stem in parts], dtype=np.int64).T
    return {
        "data": X,
        "target": y,
        "sizes": sizes,
        "track": track,
        "frame": frame,
        "groups": _groups(y, track),
        "orig_pixel_sum": sums,
        "orig_lex_rank": None,
    }


def _read_test_archives(images, labels, _):
    """Read ``GTSRB/Final_Test/Images/nnnnn.ppm`` and a table of the classes."""
    with zipfile.ZipFile(labels) as archive:
        (table,) = [name for name in archive.namelist() if name.endswith("GT-final_test.csv")]
        rows = csv.DictReader(io.StringIO(archive.read(table).decode("ascii")), delimiter=";")
        classes = {row["Filename"]: int(row["ClassId"]) for row in rows}
    with zipfile.ZipFile(images) as archive:
        names = sorted(name for name in archive.namelist() if name.endswith(".ppm"))
        require(len(names) == len(classes), f"{len(classes)} images *.ppm", len(names))
        X, sizes, _ = _resized(archive, names)
    y = np.array([classes[name.split("/")[-1]] for name in names])
    return {"data": X, "target": y, "sizes": sizes}


SOURCES = {
    "train": (
        saved_images(
            "gtsrb",
            ["train"],
            ("sizes", "track", "frame", "groups", "orig_pixel_sum", "orig_lex_rank"),
        ),
        Source(
            files=("GTSRB_Final_Training_Images.zip",),
            read=_read_train_archive,
            origin=_ORIGIN,
        ),
    ),
    "test": (
        saved_images("gtsrb", ["test"], ("sizes",)),
        Source(
            files=("GTSRB_Final_Test_Images.zip", "GTSRB_Final_Test_GT.zip"),
            read=_read_test_archives,
            origin=_ORIGIN,
        ),
    ),
}
