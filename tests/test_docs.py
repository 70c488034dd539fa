"""The pages of docs/: their Python runs and prints what they say, and the API's leave no public name out.

A page's ```python blocks run one after the other, in one namespace and an empty folder. A block of ``>>>``
shows its own output; behind any other, a ```text block that follows at once is what it prints. A page ends
where it needs an optional package that is not installed.
"""

from __future__ import annotations

import doctest
import re
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

import rnnfast as rf
from rnnfast import training
from rnnfast.series import tables

DOCS = Path(__file__).parents[1] / "docs"
OPTIONAL = {
    "jax",
    "joblib",
    "keras",
    "matplotlib",
    "mpi4py",
    "onnx",
    "onnxruntime",
    "pandas",
    "safetensors",
    "sklearn",
    "statsmodels",
    "threadpoolctl",
    "torch",
}
BLOCK = re.compile(r"^```python\n(.*?)^```\n(?:\n?^```text\n(.*?)^```$)?", re.DOTALL | re.MULTILINE)


def pages() -> list[str]:
    found = [path for path in DOCS.rglob("*.md") if "_build" not in path.parts]
    return sorted(str(path.relative_to(DOCS)) for path in found if BLOCK.search(path.read_text("utf-8")))


def run_block(code: str, page: str, line: int, namespace: dict[str, Any]) -> None:
    """Run a block that begins at a line of its page."""
    if not code.startswith(">>>"):
        exec(compile("\n" * line + code, page, "exec"), namespace)
        return
    session = doctest.DocTestParser().get_doctest(code, {}, page, page, line)
    session.globs = namespace
    try:
        doctest.DebugRunner(optionflags=doctest.ELLIPSIS).run(session, clear_globs=False)
    except doctest.UnexpectedException as error:
        raise error.exc_info[1] from None
    except doctest.DocTestFailure as failure:
        pytest.fail(f"{page}: {failure.example.source}{failure.example.want}came as\n{failure.got}")


@pytest.mark.parametrize("page", pages())
def test_it_runs(page, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    text = (DOCS / page).read_text(encoding="utf-8")
    namespace: dict[str, Any] = {}
    for block in BLOCK.finditer(text):
        code, printed = block.groups()
        try:
            run_block(code, page, text.count("\n", 0, block.start()) + 1, namespace)
        except ImportError as error:
            if getattr(error.__cause__ or error, "name", None) not in OPTIONAL:
                raise
            pytest.skip(f"from here on: {error}")
        shown = capsys.readouterr().out
        assert printed is None or shown == printed


def public_names() -> set[str]:
    """What is public in rnnfast, in its public modules, in rnnfast.training and in rnnfast.series.tables."""
    names = {f"training.{name}" for name in training.__all__ if name not in rf.__all__}
    names |= {f"series.tables.{name}" for name in tables.__all__ if name not in rf.series.__all__}
    for name in set(rf.__all__) - {"baselines"}:  # whose names are those of `series` and `text`
        inside = getattr(getattr(rf, name), "__all__", None)
        names |= {name} if inside is None else {f"{name}.{each}" for each in inside}
    return {f"rnnfast.{name}" for name in names}


def undocumented(names: set[str]) -> set[str]:
    """Those of the names that no page of the API has."""
    text = "\n".join(page.read_text(encoding="utf-8") for page in (DOCS / "api").glob("*.md"))
    documented = set(re.findall(r"^\.\. (?:autoclass|autofunction|py:data):: (\S+)$", text, re.MULTILINE))
    modules = set(re.findall(r"^\.\. automodule:: (\S+)\n   :members:", text, re.MULTILINE))  # all of them
    return {name for name in names - documented if name.rpartition(".")[0] not in modules}


def test_the_api_has_every_public_name():
    assert not undocumented(public_names())


def test_baselines_gathers_names_of_series_and_text():
    assert set(rf.baselines.__all__) <= {*rf.series.__all__, *rf.text.__all__}


@pytest.mark.parametrize("bridge", ["distributed", "jax", "keras", "onnx", "safetensors", "sklearn", "torch"])
def test_the_api_has_every_public_name_of_a_bridge(bridge):
    if bridge not in ("distributed", "keras"):  # whose import needs no package
        pytest.importorskip(bridge)
    module = import_module(f"rnnfast.{bridge}")
    assert not undocumented({f"{module.__name__}.{name}" for name in module.__all__})
