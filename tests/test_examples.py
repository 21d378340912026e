"""Every example runs as a script, from any folder, with its data and without."""

import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
SCRIPTS = sorted((ROOT / "examples").glob("plot_*.py"))
if find_spec("torch") is None:  # without the extra [torch]
    SCRIPTS = [s for s in SCRIPTS if "from torch" not in s.read_text(encoding="utf-8")]
NEED_DATA = [script for script in SCRIPTS if "fetch_" in script.read_text(encoding="utf-8")]


def run(script, folder, *arguments, **variables):
    """Run a script in a folder, warnings as errors; return what it prints."""
    environment = {
        **os.environ,
        "CERTIFIED_ENSEMBLES_FAST": "1",
        "MPLBACKEND": "Agg",
        "OMP_NUM_THREADS": "1",
        "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]),
        **variables,
    }
    environment.pop("DISPLAY", None)  # with one, plt.show() warns that Agg shows nothing
    command = [sys.executable, "-W", "error", str(script), *arguments]
    done = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_there_are_examples():
    assert len(SCRIPTS) >= 4


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.stem)
def test_example_prints_a_result_and_leaves_no_file(script, tmp_path):
    printed = run(script, tmp_path)
    assert any("%" in line or line.startswith("Skipped: ") for line in printed.splitlines())
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("script", NEED_DATA, ids=lambda script: script.stem)
def test_example_without_its_data_says_so(script, tmp_path):
    nowhere = str(tmp_path / "nowhere")
    printed = run(script, tmp_path, CERTIFIED_ENSEMBLES_DATA=nowhere, SCIKIT_LEARN_DATA=nowhere)
    assert printed.startswith("Skipped: ")
    assert "CERTIFIED_ENSEMBLES_DATA" in printed


def test_digits_example_saves_its_figure_where_it_is_told(tmp_path):
    run(ROOT / "examples" / "plot_digits.py", tmp_path, "certificate.png")
    assert (tmp_path / "certificate.png").read_bytes().startswith(b"\x89PNG")
