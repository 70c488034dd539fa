"""The modules of the package import each other in one direction."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "rnnfast"


def name_of(path: Path) -> str:
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def statements(body: list[ast.stmt]) -> Iterator[ast.stmt]:
    """What runs when a module is imported: not the bodies of functions, nor what is for type checkers."""
    for statement in body:
        if isinstance(statement, ast.If) and "TYPE_CHECKING" in ast.dump(statement.test):
            continue
        yield statement
        for block in ("body", "orelse", "handlers", "finalbody"):
            if not isinstance(statement, (ast.FunctionDef, ast.ClassDef)):
                yield from statements(getattr(statement, block, []))


def imported(path: Path, modules: set[str]) -> set[str]:
    """The modules of the package that `path` imports when it is imported itself."""
    found = set()
    for statement in statements(ast.parse(path.read_text()).body):
        if isinstance(statement, ast.Import):
            found |= {alias.name for alias in statement.names}
        elif isinstance(statement, ast.ImportFrom):
            for alias in statement.names:
                inner = f"{statement.module}.{alias.name}"
                found.add(inner if inner in modules else str(statement.module))
    return found & modules


def test_imports_form_no_circle():
    if not PACKAGE.is_dir():
        pytest.skip("the sources are not beside the tests")
    paths = {name_of(path): path for path in PACKAGE.rglob("*.py")}
    graph = {name: imported(path, set(paths)) - {name} for name, path in paths.items()}
    assert {"rnnfast.functional", "rnnfast._core"} <= graph["rnnfast"]
    TopologicalSorter(graph).prepare()  # a CycleError names the modules of a circle


def test_the_library_does_not_import_the_command():
    if not PACKAGE.is_dir():
        pytest.skip("the sources are not beside the tests")
    paths = {name_of(path): path for path in PACKAGE.rglob("*.py")}
    library = {name: path for name, path in paths.items() if name.startswith("rnnfast.series")}
    assert len(library) > 20
    for name, path in library.items():
        assert not [m for m in imported(path, set(paths)) if m.startswith("rnnfast.cli")], name
