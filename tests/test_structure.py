"""The structure of the sources: imports in one direction, private names, `__all__`, the length of files."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator
from functools import cache
from graphlib import TopologicalSorter
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "rnnfast"
LONGEST = 500  # lines
PRIVATE_IMPORTS = {
    ("rnnfast._core", "rnnfast._core.loops", "_C_API"),  # C modules look the capsule up under this name
}
PRIVATE_ATTRIBUTES = {
    # torch.compile reads these marks on any function.
    ("rnnfast.torch.autocast", "_dynamo_marked_constant"),
    ("rnnfast.torch.fallback", "_dynamo_marked_constant"),
    ("rnnfast.torch.fallback", "_torchdynamo_disable"),
    ("rnnfast.torch.fallback", "_torchdynamo_disable_msg"),
}
NAMED_TUPLE = {"_asdict", "_fields", "_make", "_replace"}  # public methods, in spite of the underscore

pytestmark = pytest.mark.skipif(not PACKAGE.is_dir(), reason="the sources are not beside the tests")


class Source(NamedTuple):
    """A module of the package."""

    name: str  # rnnfast.nn.module
    tree: ast.Module

    def top_level(self) -> Iterator[ast.stmt]:
        """What runs when the module is imported."""
        return statements(self.tree.body)

    def all_names(self) -> list[str] | None:
        """The module's `__all__`; None without one."""
        for statement in self.tree.body:
            if isinstance(statement, ast.Assign) and ast.unparse(statement.targets[0]) == "__all__":
                return ast.literal_eval(statement.value)
        return None


@cache
def sources() -> dict[str, Source]:
    """All Python modules of the package by name."""
    found = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(ROOT).with_suffix("").parts
        name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        found[name] = Source(name, ast.parse(path.read_text(encoding="utf-8")))
    return found


def statements(body: list[ast.stmt]) -> Iterator[ast.stmt]:
    """What runs on import: not the bodies of functions, nor what is for type checkers."""
    for statement in body:
        if isinstance(statement, ast.If) and "TYPE_CHECKING" in ast.dump(statement.test):
            continue
        yield statement
        for block in ("body", "orelse", "handlers", "finalbody"):
            if not isinstance(statement, (ast.FunctionDef, ast.ClassDef)):
                yield from statements(getattr(statement, block, []))


def imported(statements: Iterable[ast.AST]) -> set[str]:
    """The modules of the package that these statements import."""
    found = set()
    for statement in statements:
        if isinstance(statement, ast.Import):
            found |= {alias.name for alias in statement.names}
        elif isinstance(statement, ast.ImportFrom):
            for alias in statement.names:
                inner = f"{statement.module}.{alias.name}"
                found.add(inner if inner in sources() else str(statement.module))
    return found & set(sources())


def is_private(name: str) -> bool:
    return name.startswith("_") and not name.startswith("__")


def names_taken(source: Source) -> Iterator[tuple[str, str]]:
    """(module, name) for each `from module import name` of the package, and each `module.name` after it."""
    modules = {}
    for node in ast.walk(source.tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("rnnfast"):
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                if inner in sources():
                    modules[alias.asname or alias.name] = inner
                else:
                    yield str(node.module), alias.name
    for node in ast.walk(source.tree):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id in modules:
            yield modules[node.value.id], node.attr


def outside_names(source: Source) -> set[str]:
    """The names under which a module knows other packages."""
    found = set()
    for node in ast.walk(source.tree):
        if isinstance(node, ast.Import):
            found |= {(alias.asname or alias.name).partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and not (node.module or "").startswith("rnnfast"):
            found |= {alias.asname or alias.name for alias in node.names}
    return found - {"rnnfast"}


def own_attributes(tree: ast.Module) -> set[str]:
    """The attributes that the classes of a module define or set on `self`."""
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef):
            found.add(node.name)
        elif isinstance(node, ast.Attribute) and ast.unparse(node.value) in ("self", "cls"):
            found.add(node.attr)
        elif isinstance(node, ast.ClassDef):
            assigned = [each for each in node.body if isinstance(each, (ast.Assign, ast.AnnAssign))]
            found |= {name.id for each in assigned for name in ast.walk(each) if isinstance(name, ast.Name)}
            slots = [each for each in assigned if "__slots__" in ast.unparse(each)]
            found |= {
                str(text.value) for each in slots for text in ast.walk(each) if isinstance(text, ast.Constant)
            }
    return found


def private_attributes(source: Source) -> Iterator[tuple[int, str]]:
    """Line and text of each `object._name` whose class another module has."""
    own, outside = own_attributes(source.tree), outside_names(source)
    for node in ast.walk(source.tree):
        if not isinstance(node, ast.Attribute) or not is_private(node.attr):
            continue
        text = ast.unparse(node)
        root = text.partition(".")[0]
        inherited = ast.unparse(node.value) in ("self", "cls", "super()")
        if inherited or node.attr in own | NAMED_TUPLE or root in outside:
            continue
        if (source.name, node.attr) not in PRIVATE_ATTRIBUTES:
            yield node.lineno, text


def test_imports_form_no_circle():
    graph = {name: imported(source.top_level()) - {name} for name, source in sources().items()}
    assert {"rnnfast.functional", "rnnfast._core"} <= graph["rnnfast"]
    TopologicalSorter(graph).prepare()  # a CycleError names the modules of a circle


def test_the_library_does_not_import_the_command():
    command = ("rnnfast.cli", "rnnfast.__main__")
    found = [
        f"{source.name}: {module}"
        for source in sources().values()
        for module in imported(ast.walk(source.tree))
        if module.startswith("rnnfast.cli") and not source.name.startswith(command)
    ]
    assert not found, "\n".join(found)


def test_no_fast_code_imports_the_reference():
    fast = {"_core", "functional", "recurrent", "nn", "training", "text", "series"}
    for name, source in sources().items():
        if fast.intersection(name.split(".")[1:2]):
            found = imported(ast.walk(source.tree))
            assert not any(module.startswith("rnnfast.reference") for module in found), name


def test_no_module_takes_a_private_name_of_another():
    found = [
        f"{source.name}: {module}.{name}"
        for source in sources().values()
        for module, name in names_taken(source)
        if is_private(name) and (source.name, module, name) not in PRIVATE_IMPORTS
    ]
    assert not found, "\n".join(found)


def test_no_module_reads_a_private_attribute_of_another_module_s_objects():
    found = [
        f"{source.name}, line {line}: {text}"
        for source in sources().values()
        for line, text in private_attributes(source)
    ]
    assert not found, "\n".join(found)


def test_every_module_lists_its_public_names():
    missing = []
    for source in sources().values():
        defined = [each for each in source.tree.body if isinstance(each, (ast.FunctionDef, ast.ClassDef))]
        if source.all_names() is None and any(not is_private(each.name) for each in defined):
            missing.append(source.name)
    assert not missing, "\n".join(missing)


def test_a_module_imports_only_what_another_lists():
    found = []
    for source in sources().values():
        for module, name in names_taken(source):
            listed = sources()[module].all_names() if module in sources() else None
            if listed is not None and name not in listed and not name.startswith("_"):
                found.append(f"{source.name}: {module}.{name}")
    assert not found, "\n".join(found)


def source_files() -> Iterator[Path]:
    """All files of Python, Cython and C that are written by hand."""
    for folder in ("rnnfast", "csrc", "tests", "bench", "examples", "docs"):
        for path in (ROOT / folder).rglob("*"):
            generated = path.suffix == ".c" and path.with_suffix(".pyx").exists()
            if path.suffix in (".py", ".pyx", ".pxi", ".pxd", ".c", ".h") and not generated:
                yield path


def test_no_file_is_too_long_to_read():
    lengths = {
        path.relative_to(ROOT).as_posix(): len(path.read_text(encoding="utf-8").splitlines())
        for path in source_files()
        if "_build" not in path.parts
    }
    too_long = {name: n for name, n in lengths.items() if n > LONGEST}
    assert not too_long, "\n".join(f"{name}: {lines} lines" for name, lines in too_long.items())
