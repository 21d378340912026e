"""Every example runs as a script, from any folder, with its data and without; its figures draw."""

import json
import os
import re
import runpy
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
SCRIPTS = sorted((ROOT / "examples").rglob("plot_*.py"))
SHORT = runpy.run_path(str(ROOT / "examples" / "_short.py"))
if find_spec("torch") is None:  # without the extra [torch]
    SCRIPTS = [s for s in SCRIPTS if "from torch" not in s.read_text(encoding="utf-8")]
NEED_DATA = [script for script in SCRIPTS if "fetch_" in script.read_text(encoding="utf-8")]
# plt.show() draws all figures, as the gallery of the documentation does.
BACKEND = "drawn_on_show"
# Short forms stand in a folder of their own, away from the module that two of them import.
FOLDERS = [ROOT, ROOT / "tests" / "backend", ROOT / "examples" / "nets"]
PATH = [*map(str, FOLDERS), os.environ.get("PYTHONPATH", "")]


# Warnings are errors.
PYTHON = [sys.executable, "-W", "error"]
ENVIRONMENT = {
    **os.environ,
    "MPLBACKEND": f"module://{BACKEND}",
    "OMP_NUM_THREADS": "1",
    "PYTHONPATH": os.pathsep.join(PATH),
}
ENVIRONMENT.pop("DISPLAY", None)  # with one, plt.show() warns that Agg shows nothing


def run_alone(script, folder, *arguments, **variables):
    """Run a script in a folder and in a new process; return what it prints."""
    done = subprocess.run(
        [*PYTHON, str(script), *arguments],
        cwd=folder,
        env={**ENVIRONMENT, **variables},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Return `run_alone`, or what does the same by forks of a process with all imports done."""
    if not sys.platform.startswith("linux"):  # elsewhere a fork is not always safe
        yield run_alone
        return
    streams = [tmp_path_factory.mktemp("said") / name for name in ("out", "err")]
    warm = subprocess.Popen(
        [*PYTHON, str(ROOT / "tests" / "backend" / "warm.py")],
        env=ENVIRONMENT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )

    def run_warm(script, folder, *arguments, **variables):
        request = {
            "script": str(script),
            "folder": str(folder),
            "arguments": arguments,
            "variables": variables,
            "streams": list(map(str, streams)),
        }
        print(json.dumps(request), file=warm.stdin, flush=True)
        status = warm.stdout.readline().strip()
        printed, errors = (stream.read_text(encoding="utf-8") for stream in streams)
        assert status == "0", errors
        return printed

    with warm:
        yield run_warm


@pytest.fixture(scope="module")
def short_form(tmp_path_factory):
    """Return where the short form of a script is."""
    folder = tmp_path_factory.mktemp("short")
    for script in SCRIPTS:
        (folder / script.name).write_text(SHORT["short"](script), encoding="utf-8")
    return lambda script: folder / script.name


def test_there_are_examples():
    assert len(SCRIPTS) >= 4


def test_every_short_setting_belongs_to_a_script():
    stems = {script.stem for script in (ROOT / "examples").rglob("plot_*.py")}
    assert set(SHORT["SETTINGS"]) <= stems


def test_short_form_refuses_a_setting_that_its_script_lacks(tmp_path):
    script = tmp_path / "plot_grid.py"
    script.write_text("N_ROWS = 5\n", encoding="utf-8")
    with pytest.raises(ValueError, match="sets 'SHAPES' 0 times"):
        SHORT["short"](script)


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.stem)
def test_every_part_between_texts_is_code_of_its_own(script):
    # The gallery runs part by part.
    for part in re.split(r"^# %%.*\n", script.read_text(encoding="utf-8"), flags=re.MULTILINE):
        compile(part, script.name, "exec")


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.stem)
def test_example_prints_a_result_draws_its_figures_and_leaves_no_file(
    script, short_form, run, tmp_path
):
    printed = run(short_form(script), tmp_path).splitlines()
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


def test_examples_without_their_data_say_so(short_form, run, tmp_path):
    (tmp_path / "all.py").write_text(ALL_WITHOUT_DATA, encoding="utf-8")
    nowhere = str(tmp_path / "nowhere")
    printed = run(
        tmp_path / "all.py",
        tmp_path,
        *(str(short_form(script)) for script in NEED_DATA),
        CERTIFIED_ENSEMBLES_DATA=nowhere,
        SCIKIT_LEARN_DATA=nowhere,
    )
    printed = json.loads(printed)
    assert list(printed) == [str(short_form(script)) for script in NEED_DATA]
    for script, text in printed.items():
        assert text.startswith("Skipped: "), script
        assert "CERTIFIED_ENSEMBLES_DATA" in text, script


def test_digits_example_saves_its_figure_where_it_is_told(tmp_path):
    run_alone(ROOT / "examples" / "plot_digits.py", tmp_path, "certificate.png")
    assert (tmp_path / "certificate.png").read_bytes().startswith(b"\x89PNG")
