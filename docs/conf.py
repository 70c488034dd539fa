"""How Sphinx makes the pages of this folder: `make docs`, with rnnfast installed. Nothing is fetched."""

from __future__ import annotations

from docutils import nodes
from math_core import LatexToMathML
from sphinx.application import Sphinx
from sphinx.writers.html5 import HTML5Translator

import rnnfast

project = "rnnfast"
author = "the rnnfast authors"
copyright = author
version = release = rnnfast.__version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.viewcode", "numpydoc"]
exclude_patterns = ["_build"]

# Markdown: formulas between dollars and in ```math blocks, links to headings of any page
myst_enable_extensions = ["dollarmath"]
myst_fence_as_directive = ["math"]
myst_heading_anchors = 3

# Docstrings: numpydoc; text in single backticks is a name, and a link where it is a documented one
highlight_language = "none"
default_role = "py:obj"
autodoc_member_order = "bysource"
autodoc_typehints = "none"  # the docstrings say types, with shapes
autodoc_mock_imports = [
    "google",
    "jax",
    "keras",
    "onnx",
    "rnnfast.jax.stack",  # whose import makes primitives of jax
    "safetensors",
    "sklearn",
    "torch",
]  # the bridges' pages are made without
numpydoc_show_class_members = False

html_theme = "furo"
html_math_renderer = "mathml"  # which browsers draw themselves: no script, no network
html_title = "rnnfast"
html_static_path = ["_static"]
html_css_files = ["style.css"]
html_show_sphinx = False
html_copy_source = False


def to_pages(app: Sphinx, name: str, source: list[str]) -> None:
    """Point links that leave this folder at the pages that show those files."""
    for file in ("CONTRIBUTING", "CHANGELOG"):
        source[0] = source[0].replace(f"](../{file}.md", f"]({file.lower()}.md")


mathml = LatexToMathML().convert_with_local_state


def inline_formula(page: HTML5Translator, node: nodes.math) -> None:
    """A formula within a line, as MathML."""
    page.body.append(mathml(node.astext(), displaystyle=False))
    raise nodes.SkipNode


def block_formula(page: HTML5Translator, node: nodes.math_block) -> None:
    """A formula on lines of its own, as MathML."""
    page.body.append(f'<div class="formula">{mathml(node.astext(), displaystyle=True)}</div>')
    raise nodes.SkipNode


def setup(app: Sphinx) -> None:
    app.connect("source-read", to_pages)
    app.add_html_math_renderer("mathml", (inline_formula, None), (block_formula, None))
