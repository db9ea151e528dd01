"""How Sphinx makes the documentation: `make docs` writes it to build/docs."""

import re
from pathlib import Path
from typing import Any

import pymem

project = "pymem"
author = "The pymem authors"
copyright = "the pymem authors"  # noqa: A001  (Sphinx wants this name)
release = version = pymem.__version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx.ext.viewcode"]
exclude_patterns = ["figures"]
html_theme = "furo"
html_title = f"pymem {release}"
html_show_sphinx = False

# Docstrings are written for people who read the source: `name` is a name, not a reference that has to resolve.
default_role = "code"
napoleon_google_docstring = False
napoleon_use_rtype = False
autodoc_member_order = "bysource"
autodoc_typehints = "none"  # the types stand in the section Parameters
autodoc_default_options = {"members": True}

myst_heading_anchors = 3


def prepare(_app: Any, name: str, source: list[str]) -> None:
    """The README is the first page; documents that a text names become links, which editors do not need."""
    if name == "index":
        source[0] = (Path(__file__).parent.parent / "README.md").read_text(encoding="utf-8") + source[0]
    source[0] = re.sub(r"(?<![`\[])`docs/([\w/]+\.md)`", r"[`docs/\1`](/\1)", source[0])


def setup(app: Any) -> None:
    """What Sphinx calls at its start."""
    app.connect("source-read", prepare)
