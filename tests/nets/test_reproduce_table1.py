"""The reproduction of Table 1 runs, and prints the paper's numbers beside its own."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("skorch")

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "reproduce_table1.py"


@pytest.fixture(scope="module")
def script():
    spec = importlib.util.spec_from_file_location("reproduce_table1", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_fast_runs_on_digits_where_there_is_no_data(tmp_path):
    env = os.environ | {
        "CERTIFIED_ENSEMBLES_DATA": str(tmp_path / "empty"),
        "SCIKIT_LEARN_DATA": str(tmp_path),
    }
    (tmp_path / "empty").mkdir()
    command = [
        sys.executable,
        "-W",
        "error",
        str(SCRIPT),
        "--fast",
        "--dataset",
        "mnist",
        "--method",
        "ss-dpa",
        "--device",
        "cpu",
        "--checkpoint",
        str(tmp_path / "state"),
        "--memory",
        str(tmp_path / "members"),
    ]
    runs = [
        subprocess.run(command, env=env, capture_output=True, text=True, timeout=300)
        for _ in range(2)
    ]
    for run in runs:
        assert run.returncode == 0, run.stderr
        assert "FAST: none of these numbers is a result." in run.stdout
        assert "8 x 8 digits stand in for it" in run.stdout
        assert "95.62 %" in run.stdout
        assert "645" in run.stdout
    # Another process, with what the first one kept, ends with the same numbers.
    accuracies = [
        [line.split("%")[:4] for line in run.stdout.splitlines() if "ss-dpa  " in line]
        for run in runs
    ]
    assert len(accuracies[0]) == 2
    assert accuracies[0] == accuracies[1]


@pytest.mark.skipif(torch.cuda.is_available(), reason="says what happens without a GPU")
@pytest.mark.parametrize(
    ("argv", "message"),
    [
        ([], "want a GPU, and torch finds none: pass --fast"),
        (["--device", "cuda"], "--device cuda needs a GPU"),
        (["--fast", "--device", "cuda:1"], "--device cuda:1 needs a GPU"),
    ],
)
def test_without_a_gpu_it_says_so(script, argv, message, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["reproduce_table1.py", *argv])
    with pytest.raises(SystemExit) as stopped:
        script.parse_args()
    assert stopped.value.code == 2
    assert message in capsys.readouterr().err
    for allowed in (["--fast"], ["--device", "cpu"]):
        monkeypatch.setattr(sys, "argv", ["reproduce_table1.py", *allowed])
        assert script.parse_args().device == "cpu"


def test_numbers_of_the_paper_are_those_of_its_table(script):
    assert sum(len(rows) for rows in script.PAPER.values()) == 16
    for (dataset, method), rows in script.PAPER.items():
        assert dataset in script.N_CLASSES
        assert method in ("dpa", "ss-dpa")
        for k, (median, clean, base) in rows.items():
            assert (median is None) == (clean < 50)
            assert median is None or median <= k // 2
            assert base < clean


def test_measure_agrees_with_certify(script):
    from sklearn.linear_model import RidgeClassifier

    from certified_ensembles import DeepPartitionAggregation
    from certified_ensembles.datasets import load_digits
    from certified_ensembles.metrics import median_certified_radius

    train, test = (load_digits(subset=s, return_X_y=True) for s in ("train", "test"))
    clf = DeepPartitionAggregation(RidgeClassifier(), 20, classes=range(10))
    (median, clean, base), _ = script.measure(clf, *train, *test)
    y_pred, radius = clf.certify(test[0])
    assert median == median_certified_radius(test[1], y_pred, radius)
    assert np.isclose(clean, 100 * (y_pred == test[1]).mean())
    members = [100 * member.score(*test) for member in clf.estimators_]
    assert np.isclose(base, np.mean(members))


def test_partitions_of_originals_are_found_by_content(script):
    images = np.random.default_rng(0).integers(0, 256, (20, 3, 4, 4)).astype(np.uint8)
    lookup = script.Lookup(images, np.arange(20) * 7)
    assert lookup.ambiguous == 0
    assert lookup(images[[3, 1]]).tolist() == [21, 7]
    assert script.Lookup(images[[0, 0]], np.array([1, 2])).ambiguous == 1


def test_equalized_histograms_are_flat_and_keep_the_order(script):
    rng = np.random.default_rng(0)
    dark = (rng.random((2, 3, 32, 32)) ** 3 * 90).astype(np.uint8)
    out = script.equalize(dark)
    assert out.dtype == np.uint8
    assert out.min() == 0
    assert out.max() == 255
    assert abs(out.mean() - 127.5) < 10
    for before, after in zip(dark.reshape(6, -1), out.reshape(6, -1), strict=True):
        order = np.argsort(before, kind="stable")
        assert (np.diff(after[order].astype(int)) >= 0).all()
    assert script.equalize(np.full((1, 1, 4, 4), 9, np.uint8)).max() == 0
