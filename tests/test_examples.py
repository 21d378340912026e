"""Every example runs as a script, from any folder, with its data and without; its figures draw."""

import json
import os
import re
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
# plt.show() draws all figures, as the gallery of the documentation does.
BACKEND = "drawn_on_show"
PATH = [str(ROOT), str(ROOT / "tests" / "backend"), os.environ.get("PYTHONPATH", "")]


def run(script, folder, *arguments, **variables):
    """Run a script in a folder, warnings as errors; return what it prints."""
    environment = {
        **os.environ,
        "CERTIFIED_ENSEMBLES_FAST": "1",
        "MPLBACKEND": f"module://{BACKEND}",
        "OMP_NUM_THREADS": "1",
        "PYTHONPATH": os.pathsep.join(PATH),
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
def test_every_part_between_texts_is_code_of_its_own(script):
    # The gallery runs part by part.
    for part in re.split(r"^# %%.*\n", script.read_text(encoding="utf-8"), flags=re.MULTILINE):
        compile(part, script.name, "exec")


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.stem)
def test_example_prints_a_result_draws_its_figures_and_leaves_no_file(script, tmp_path):
    printed = run(script, tmp_path).splitlines()
    skipped = any(line.startswith("Skipped: ") for line in printed)
    assert skipped or any("%" in line for line in printed)
    drawn = [int(line.removeprefix("Drawn: ")) for line in printed if line.startswith("Drawn: ")]
    assert drawn
    assert skipped or sum(drawn) >= 1
    assert list(tmp_path.iterdir()) == []


# One process runs them all, since imports take longer than what is left of a script without data.
ALL_WITHOUT_DATA = """
import contextlib, io, json, runpy, sys
import matplotlib.pyplot as plt
printed = {}
for script in sys.argv[1:]:
    with contextlib.redirect_stdout(io.StringIO()) as stream:
        runpy.run_path(script, run_name="__main__")
    printed[script] = stream.getvalue()
    plt.close("all")
print(json.dumps(printed))
"""


def test_examples_without_their_data_say_so(tmp_path):
    (tmp_path / "all.py").write_text(ALL_WITHOUT_DATA, encoding="utf-8")
    nowhere = str(tmp_path / "nowhere")
    printed = run(
        tmp_path / "all.py",
        tmp_path,
        *map(str, NEED_DATA),
        CERTIFIED_ENSEMBLES_DATA=nowhere,
        SCIKIT_LEARN_DATA=nowhere,
    )
    printed = json.loads(printed)
    assert list(printed) == [str(script) for script in NEED_DATA]
    for script, text in printed.items():
        assert text.startswith("Skipped: "), script
        assert "CERTIFIED_ENSEMBLES_DATA" in text, script


def test_digits_example_saves_its_figure_where_it_is_told(tmp_path):
    run(ROOT / "examples" / "plot_digits.py", tmp_path, "certificate.png")
    assert (tmp_path / "certificate.png").read_bytes().startswith(b"\x89PNG")
