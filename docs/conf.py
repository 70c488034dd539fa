"""How Sphinx makes the pages of this folder: `make docs`, with rnnfast installed. Nothing is fetched."""

from __future__ import annotations

from sphinx.application import Sphinx

import rnnfast

project = "rnnfast"
author = "the rnnfast authors"
copyright = author
version = release = rnnfast.__version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.mathjax", "sphinx.ext.viewcode", "numpydoc"]
exclude_patterns = ["_build"]

# Markdown: formulas between dollars and in ```math blocks, links to headings of any page
myst_enable_extensions = ["dollarmath"]
myst_fence_as_directive = ["math"]
myst_heading_anchors = 3

# Docstrings: numpydoc; what stands in single backticks is a name, and a link where it is a documented one
highlight_language = "none"
default_role = "py:obj"
autodoc_member_order = "bysource"
autodoc_typehints = "none"  # the docstrings say types, with shapes
autodoc_mock_imports = ["google", "onnx", "safetensors", "torch"]  # the bridges' pages are made without
numpydoc_show_class_members = False

html_theme = "furo"
html_title = "rnnfast"
html_static_path = ["_static"]
html_css_files = ["style.css"]
html_show_sphinx = False
html_copy_source = False


def to_pages(app: Sphinx, name: str, source: list[str]) -> None:
    """Point links that leave this folder at the pages that show those files."""
    for file in ("CONTRIBUTING", "CHANGELOG"):
        source[0] = source[0].replace(f"](../{file}.md", f"]({file.lower()}.md")


def setup(app: Sphinx) -> None:
    app.connect("source-read", to_pages)
