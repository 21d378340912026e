"""Sphinx configuration. Nothing here needs the network.

Every name in single backticks is a link, or an error. Names of this package are found by their
last part. Names of others are imported, to see that they exist, and link to their own pages.
"""

import builtins
import contextlib
import functools
import importlib
import inspect
import itertools
import re
import runpy
import sys
from pathlib import Path

DOCS = Path(__file__).resolve().parent
ROOT = DOCS.parent
sys.path.insert(0, str(ROOT))

from docutils import nodes  # noqa: E402
from sklearn.utils.discovery import all_estimators, all_functions  # noqa: E402

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
nitpicky = True
MODULES = re.findall(r"^\.\. module:: (\S+)", (DOCS / "api.rst").read_text(), flags=re.MULTILINE)

# ---- API pages ---------------------------------------------------------------------------

autosummary_generate = True
autodoc_typehints = "none"
toc_object_entries_show_parents = "hide"
numpydoc_show_class_members = False
numpydoc_xref_param_type = False

# ---- gallery -----------------------------------------------------------------------------

SECTIONS = ("threats", "text", "images", "planning", "nets")
# Data in the compact forms of the tests are read, too, if an environment variable names them.
runpy.run_path(str(ROOT / "tests" / "data_forms.py"))["publish"]()
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
    "subsection_order": [f"../examples/{name}" for name in SECTIONS],
    "within_subsection_order": "FileNameSortKey",
}

# ---- links from names --------------------------------------------------------------------

FOREIGN = {
    "joblib": "https://joblib.readthedocs.io/en/stable/generated/{name}.html",
    "numpy": "https://numpy.org/doc/stable/reference/generated/{name}.html",
    "scipy": "https://docs.scipy.org/doc/scipy/reference/generated/{name}.html",
    "skorch": "https://skorch.readthedocs.io/en/stable/classifier.html",
    "sklearn": "https://scikit-learn.org/stable/modules/generated/{name}.html",
    "torch": "https://docs.pytorch.org/docs/stable/generated/{name}.html",
}
PYTHON = "https://docs.python.org/3/library/{page}.html#{name}"


def sklearn_names():
    """Return the full names of scikit-learn's estimators and functions by their last part."""
    names = {"BaseEstimator": "sklearn.base.BaseEstimator"}
    for name, thing in [*all_functions(), *all_estimators()]:
        parts = itertools.takewhile(
            lambda part: not part.startswith("_"), thing.__module__.split(".")
        )
        names[name] = ".".join([*parts, name])
    return names


SKLEARN = sklearn_names()


def parameters(thing):
    """Return the names of what a function or the methods of a class take."""
    members = inspect.getmembers(thing, callable) if inspect.isclass(thing) else []
    names = set()
    for one in [thing, *(member for name, member in members if not name.startswith("__"))]:
        with contextlib.suppress(TypeError, ValueError):
            names |= set(inspect.signature(one).parameters)
    return names


def find(name):
    """Return the object of a full name, or None."""
    parts = name.split(".")
    for i in range(len(parts), 0, -1):
        try:
            thing = importlib.import_module(".".join(parts[:i]))
            for part in parts[i:]:
                thing = getattr(thing, part)
        except (ImportError, AttributeError):
            continue
        return thing
    return None


@functools.cache
def words_of_page(document):
    """Return what is a parameter, and no link, on the page of a public name."""
    thing = find(document.removeprefix("generated/"))
    return set() if thing is None else parameters(thing)


@functools.cache
def words_of_package():
    """Return the parameters of all public names: docstrings speak of those of others, too."""
    names = {"fit_params", "how", "set_params"}
    for module in map(importlib.import_module, MODULES):
        for name in getattr(module, "__all__", dir(module)):
            names |= parameters(getattr(module, name))
    return names


MEMBERS = ("method", "attribute", "property")


def own_page(env, name):
    """Find an object of this package by the last parts of its name; return its entry, or None."""
    found = [
        (full, entry)
        for full, entry in env.domains["py"].objects.items()
        if full == name or full.endswith(f".{name}")
    ]
    # A class or function before a method of that name, and then the shortest name.
    found.sort(key=lambda one: (one[1].objtype in MEMBERS, len(one[0])))
    return found[0][1] if found else None


def foreign_page(name):
    """Return the address of the page of an object of another package, or None if there is none."""
    name = SKLEARN.get(name, name)
    if find(name) is None and not hasattr(builtins, name):
        return None
    top = name.partition(".")[0]
    if hasattr(builtins, top):
        page = "exceptions" if name.endswith(("Error", "Warning")) else "functions"
        return PYTHON.format(page=page, name=name)
    if top in FOREIGN:
        return FOREIGN[top].format(name=name)
    return PYTHON.format(page=name.rpartition(".")[0], name=name)


def is_word(name, document):
    """Is this a parameter, an attribute of a fit, or a letter of a formula, in a docstring?"""
    if not document.startswith(("api", "changelog", "generated/")):
        return False
    return len(name) == 1 or name.endswith("_") or name in words_of_package()


def is_of_another(entry, name, document):
    """Is this a method of members, say, in the docstring of a class: of no class in particular?"""
    bare = "." not in name and entry.objtype in MEMBERS
    return bare and document.startswith("generated/") and entry.docname != document


def link_name(app, env, node, contnode):
    """Link a name that the module at hand does not have."""
    if node.get("refdomain") != "py":
        return None
    name, document = node["reftarget"].lstrip(".~").removesuffix("()"), node["refdoc"]
    if document.startswith("generated/") and name in words_of_page(document):
        return contnode
    entry = own_page(env, name)
    if entry is not None and is_of_another(entry, name, document):
        return contnode
    if entry is not None:
        address = app.builder.get_relative_uri(document, entry.docname) + f"#{entry.node_id}"
        return nodes.reference("", "", contnode, refuri=address, internal=True)
    if is_word(name, document):
        return contnode
    address = foreign_page(name)
    if address is None:
        return None
    return nodes.reference("", "", contnode, refuri=address, internal=False)


# ---- pages -------------------------------------------------------------------------------

html_theme = "pydata_sphinx_theme"
html_title = project
html_show_sourcelink = False
html_static_path = ["_static"]
html_css_files = ["wide.css"]
# Pages without others beside them have no list of them.
ALONE = ["index", "api", "auto_examples/**", "generated/**", "search", "genindex", "changelog"]
html_sidebars = {page: [] for page in ALONE}
html_theme_options = {
    "navigation_with_keys": False,
    "header_links_before_dropdown": 6,
    "navbar_align": "left",
    "show_toc_level": 1,
    "secondary_sidebar_items": {
        "**": ["page-toc"],
        "index": [],
        "auto_examples/index": [],
        "search": [],
        "genindex": [],
    },
    "footer_start": ["copyright"],
    "footer_end": [],
}
# Prompts are not part of the code.
copybutton_prompt_text = r">>> |\.\.\. |\$ "
copybutton_prompt_is_regexp = True

# ---- docstrings --------------------------------------------------------------------------

_FIELD = re.compile(r"^(\s*)\w+ : .+$")
_TRAILING_UNDERSCORE = re.compile(r"(?<![`\w])(\w+)_(?=[,)])")
_NAME = re.compile(r"(?<![`:])`([^`<]+)`(?!`)")
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
    """Write names and labels of scikit-learn, in docstrings inherited from it, as plain text."""
    if (getattr(obj, "__module__", None) or "").startswith("sklearn."):
        lines[:] = [_LABEL.sub(r"``\1``", line) for line in lines]
        lines[:] = [_NAME.sub(r"``\1``", line) for line in lines]


def setup(app):
    app.connect("missing-reference", link_name)
    app.connect("autodoc-process-docstring", without_foreign_labels, priority=50)
    app.connect("autodoc-process-docstring", complete_fields, priority=100)
