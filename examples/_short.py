"""Run an example with few rows and members, in seconds: python examples/_short.py plot_grid

The scripts show the settings of a full run. Here are those of a short one, for the tests and for
whoever is in a hurry. In a checkout, data are read in the compact forms of the tests as well.
"""

import re
import runpy
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
SETTINGS = {
    "plot_abstention": {
        "N_TRAIN, N_TEST, N_PARTITIONS": "6000, 1000, 120",
    },
    "plot_aggregators": {
        "SCALE": "40",
        "n_partitions, n_asked": "20, 20",
        "MNIST_PARTITIONS, CIFAR10_PARTITIONS": "(1200,), ()",
        "N_BUDGETS, SECONDS": "3, 1",
    },
    "plot_cifar10_pretrained": {
        "N_TRAIN, N_TEST, N_PARTITIONS": "600, 100, (6, 12)",
        "SIZE, MIRRORED": "96, False",
    },
    "plot_cifar10_ssdpa": {
        "N_TRAIN, N_TEST, N_PARTITIONS": "900, 300, (20, 40)",
        "N_FILTERS, N_VIEWED, N_COMPONENTS": "40, 300, 15",
        "EPOCHS": "1",
        "N_DIRECTIONS": "120",
    },
    "plot_grid": {
        "SHAPES": "((9, 9),)",
        "N_TRAIN, N_TEST": "2400, 400",
    },
    "plot_gtsrb_ssdpa": {
        "STEP, N_PARTITIONS": "12, (20, 40)",
        "N_COMPONENTS": "30",
        "N_DIRECTIONS": "100",
    },
    "plot_mail_by_date": {
        "FIRST, LAST": '"2001-09-20", "2002-01-08"',
    },
    "plot_mnist_1_vs_7": {
        "N_TRAIN, N_TEST, N_ATTACKED": "1000, 200, 8",
    },
    "plot_mnist_dpa": {
        "N_TRAIN, N_TEST, N_PARTITIONS": "3000, 500, (60, 150)",
    },
    "plot_mnist_label_flips": {
        "N_TRAIN, N_TEST": "4000, 500",
    },
    "plot_mnist_ssdpa": {
        "N_TRAIN, N_TEST, N_PARTITIONS": "1000, 200, (20, 50)",
        "N_JOBS": "1",
    },
    "plot_movie_stars": {
        "N_TRAIN, N_TEST, SIZES": "2500, 500, (5, 25)",
    },
    "plot_noisy_annotators": {
        "N_TRAIN, N_TEST": "2000, 500",
    },
    "plot_planning": {
        "N_TRAIN, N_TEST": "6000, 1000",
        "N_PARTITIONS": "(30, 120, 300)",
    },
    "plot_rows_in_files": {
        "N_BATCHES, N_ROWS, N_PARTITIONS": "10, 2000, 50",
    },
    "plot_skorch_mnist": {
        "N_TRAIN, EPOCHS": "600, 4",
    },
    "plot_spam_filter": {
        "N_TRAIN, N_CONTRIBUTORS, N_PARTITIONS": "2800, 200, 30",
        "N_TEST": "300",
    },
    "plot_text_embeddings": {
        "N_TRAIN, N_TEST, N_PARTITIONS": "120, 60, 12",
        "LENGTH, N_SENDERS": "32, 60",
    },
    "plot_word_trigger": {
        "N_TRAIN, N_TEST": "500, 150",
        "N_WORDS": "(0, 3)",
    },
}


def short(script):
    """Return the text of a script with the settings of a short run."""
    text = script.read_text(encoding="utf-8")
    for names, values in SETTINGS.get(script.stem, {}).items():
        line = re.compile(rf"^{re.escape(names)} = .*$", flags=re.MULTILINE)
        text, n_found = line.subn(f"{names} = {values}", text)
        if n_found != 1:
            raise ValueError(f"{script.name} sets {names!r} {n_found} times; expected once.")
    return text


def main(name):
    data_forms = HERE.parent / "tests" / "data_forms.py"
    if data_forms.is_file():
        runpy.run_path(str(data_forms))["publish"]()
    (script,) = HERE.rglob(f"{name.removesuffix('.py')}.py")
    sys.path[0] = str(script.parent)
    exec(compile(short(script), str(script), "exec"), {"__name__": "__main__"})


if __name__ == "__main__":
    main(sys.argv[1])
