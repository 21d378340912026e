"""docs/architecture.rst is true: its rooms exist, its files exist, and imports point down."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "certified_ensembles"
PAGE = ROOT / "docs" / "architecture.rst"


def rooms():
    """Return the place of every room in the page's list; 0 is the top."""
    section = PAGE.read_text(encoding="utf-8").split("\nThe life of a row\n")[0]
    lines = [line for line in section.splitlines() if line.startswith("   * - ``")]
    return {
        name: place
        for place, line in enumerate(lines)
        for name in re.findall(r"``(\w+)/?``", line)
    }


def imported_rooms(path):
    """Yield the rooms from which a file of the package imports, anywhere in it."""
    folder = list(path.relative_to(PACKAGE).parts[:-1])
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if not isinstance(node, ast.ImportFrom) or not node.level:
            continue
        base = folder[: len(folder) - node.level + 1]
        for alias in node.names:
            yield [*base, *(node.module or alias.name).split(".")][0]


def test_every_room_is_in_the_list():
    found = {path.stem for path in PACKAGE.iterdir() if path.name[:2] != "__"}
    assert found == set(rooms())


@pytest.mark.parametrize("room", rooms())
def test_rooms_import_from_rooms_below_alone(room):
    place = rooms()
    folder = PACKAGE / room
    for path in folder.rglob("*.py") if folder.is_dir() else [PACKAGE / f"{room}.py"]:
        for other in set(imported_rooms(path)) - {room}:
            assert place[other] >= place[room], f"{path.name} imports {other}"


def test_every_file_that_the_page_names_exists():
    text = PAGE.read_text(encoding="utf-8")
    named = set(re.findall(r"``([\w/]+\.py)``", text))
    assert len(named) > 15
    missing = [n for n in named if not (ROOT / n).exists() and not (PACKAGE / n).exists()]
    assert missing == []
