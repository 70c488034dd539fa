"""The pages of docs/: their Python runs and prints what they say, and the API's leave no public name out.

A page's ```python blocks run one after the other, in one namespace and an empty folder. A ```text block that
follows one at once is what it prints. Where a block imports a package that is not installed, the page ends.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import rnnfast as rf
from rnnfast import training

DOCS = Path(__file__).parents[1] / "docs"
EXTRAS = {"matplotlib", "torch"}
BLOCK = re.compile(r"^```python\n(.*?)^```\n(?:\n?^```text\n(.*?)^```$)?", re.DOTALL | re.MULTILINE)


def pages() -> list[str]:
    found = (path.relative_to(DOCS) for path in DOCS.rglob("*.md") if "_build" not in path.parts)
    return sorted(str(page) for page in found if BLOCK.search((DOCS / page).read_text(encoding="utf-8")))


@pytest.mark.parametrize("page", pages())
def test_it_runs(page, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    text = (DOCS / page).read_text(encoding="utf-8")
    namespace: dict[str, object] = {}
    for block in BLOCK.finditer(text):
        code, printed = block.groups()
        for name in EXTRAS & set(re.findall(r"^\s*(?:import|from) (\w+)", code, re.MULTILINE)):
            pytest.importorskip(name)
        line = text.count("\n", 0, block.start()) + 1
        exec(compile("\n" * line + code, page, "exec"), namespace)  # a traceback has the page's lines
        shown = capsys.readouterr().out
        assert printed is None or shown == printed


def public_names() -> set[str]:
    """What is public in rnnfast, in its public modules and in rnnfast.training."""
    names = {f"training.{name}" for name in training.__all__ if name not in rf.__all__}
    for name in rf.__all__:
        inside = getattr(getattr(rf, name), "__all__", None)
        names |= {name} if inside is None else {f"{name}.{each}" for each in inside}
    return {f"rnnfast.{name}" for name in names}


def test_the_api_has_every_public_name():
    text = "\n".join(page.read_text(encoding="utf-8") for page in (DOCS / "api").glob("*.md"))
    documented = set(re.findall(r"^\.\. (?:autoclass|autofunction|py:data):: (\S+)$", text, re.MULTILINE))
    assert not public_names() - documented
