"""Sphinx configuration. Nothing here needs the network.

``DOCS_INTERSPHINX=1`` adds links into the documentation of scikit-learn, numpy and scipy, whose
inventories are then downloaded.
"""

import os
import re
import sys
from pathlib import Path

DOCS = Path(__file__).resolve().parent
ROOT = DOCS.parent
sys.path.insert(0, str(ROOT))

import certified_ensembles  # noqa: E402

project = "certified_ensembles"
author = "The certified_ensembles developers"
copyright = "the certified_ensembles developers"
version = release = certified_ensembles.__version__

extensions = [
    "numpydoc",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx_copybutton",
    "sphinx_design",
    "sphinx_gallery.gen_gallery",
]
templates_path = ["_templates"]
exclude_patterns = ["_build", "_templates", "**/GALLERY_HEADER.rst"]
default_role = "py:obj"

# ---- API pages ---------------------------------------------------------------------------

autosummary_generate = True
autodoc_typehints = "none"
numpydoc_show_class_members = False
numpydoc_xref_param_type = False

# ---- gallery -----------------------------------------------------------------------------

sphinx_gallery_conf = {
    "examples_dirs": str(ROOT / "examples"),
    "gallery_dirs": "auto_examples",
    "filename_pattern": r"plot_",
    "ignore_pattern": r"(^|/)_\w+\.py",
    "abort_on_example_error": True,
    "backreferences_dir": "generated/backreferences",
    "doc_module": ("certified_ensembles",),
    "download_all_examples": False,
    "show_signature": False,
    "within_subsection_order": "FileNameSortKey",
}

# ---- links into other projects -----------------------------------------------------------

if os.environ.get("DOCS_INTERSPHINX") == "1":
    extensions.append("sphinx.ext.intersphinx")
    intersphinx_mapping = {
        "python": ("https://docs.python.org/3", None),
        "numpy": ("https://numpy.org/doc/stable", None),
        "scipy": ("https://docs.scipy.org/doc/scipy", None),
        "sklearn": ("https://scikit-learn.org/stable", None),
    }

# ---- pages -------------------------------------------------------------------------------

html_theme = "pydata_sphinx_theme"
html_title = project
html_show_sourcelink = False
html_static_path = ["_static"]
html_css_files = ["wide.css"]
html_theme_options = {
    "navigation_with_keys": False,
    "show_toc_level": 2,
    "secondary_sidebar_items": ["page-toc"],
    "footer_start": ["copyright"],
    "footer_end": [],
}
# Prompts are not part of the code.
copybutton_prompt_text = r">>> |\.\.\. |\$ "
copybutton_prompt_is_regexp = True

# ---- docstrings --------------------------------------------------------------------------

_FIELD = re.compile(r"^(\s*)\w+ : .+$")
_TRAILING_UNDERSCORE = re.compile(r"(?<![`\w])(\w+)_(?=[,)])")
_LABEL = re.compile(r":ref:`([^`<]+?)(?: <[^>]+>)?`")


def complete_fields(app, what, name, obj, options, lines):
    """Make plain text of numpydoc fields safe for docutils, before numpydoc sees it.

    A field without a description gets an empty one, as numpydoc does for parameters but not for
    the fields of a Bunch; ``shape (n_features_in_,)`` is a shape, not a link.
    """
    for i in range(len(lines) - 1, -1, -1):
        field = _FIELD.match(lines[i])
        if field is None:
            continue
        lines[i] = _TRAILING_UNDERSCORE.sub(r"\1\\_", lines[i])
        following = lines[i + 1] if i + 1 < len(lines) else ""
        indent = len(field[1])
        if len(following) - len(following.lstrip()) <= indent:
            lines.insert(i + 1, " " * (indent + 4) + "..")


def without_foreign_labels(app, what, name, obj, options, lines):
    """Write labels of scikit-learn's own pages, in docstrings inherited from it, as plain text."""
    if getattr(obj, "__module__", "").startswith("sklearn."):
        lines[:] = [_LABEL.sub(r"``\1``", line) for line in lines]


def setup(app):
    app.connect("autodoc-process-docstring", without_foreign_labels, priority=50)
    app.connect("autodoc-process-docstring", complete_fields, priority=100)
