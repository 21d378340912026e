"""The README renders where roles are unknown; pages have figures, and code that fits."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
PAGES = {page.stem: page.read_text(encoding="utf-8") for page in (ROOT / "docs").glob("*.rst")}
WITHOUT_FIGURE = {"api", "changelog", "contributing", "sg_execution_times"}
PICTURE = re.compile(r"^ *\.\. (?:figure|image):: (\S+)$", flags=re.MULTILINE)


def test_readme_names_files_that_exist():
    links = re.findall(r"\]\(([^)#\s]+)", README)
    links += re.findall(r'(?:src|srcset)="([^"]+)"', README)
    local = [link for link in links if not link.startswith("https://")]
    assert len(local) > 10
    assert [link for link in local if not (ROOT / link).exists()] == []


def test_readme_has_no_role_and_no_double_backtick():
    text = re.sub(r"```.*?```", "", README, flags=re.DOTALL)
    assert re.findall(r":\w+:`|``", text) == []


@pytest.mark.parametrize("page", sorted(set(PAGES) - WITHOUT_FIGURE))
def test_page_has_a_figure_that_is_there(page):
    pictures = PICTURE.findall(PAGES[page])
    assert pictures
    assert [picture for picture in pictures if not (ROOT / "docs" / picture).is_file()] == []


@pytest.mark.parametrize("page", sorted(PAGES))
def test_code_fits_beside_the_lists_of_links(page):
    code = re.findall(r"^ *(?:>>>|\.\.\.) .*$", PAGES[page], flags=re.MULTILINE)
    assert [line for line in code if len(line.strip()) > 103] == []


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("shape", ["wide", "tall"])
def test_idea_is_drawn_for_every_page_that_shows_it(shape, theme):
    name = f"docs/_static/idea_{shape}_{theme}.svg"
    assert name in README
    assert name.removeprefix("docs/") in PAGES["index"]
