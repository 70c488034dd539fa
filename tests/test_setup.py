"""Setting up: without what compiling needs, the first line says what to install."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

pytest.importorskip("Cython")
pytest.importorskip("setuptools")


def setup(*arguments, path, **variables):
    """`setup.py` with this PATH and these variables, CC not among them unless given."""
    environment = {name: value for name, value in os.environ.items() if name != "CC"}
    return subprocess.run(
        [sys.executable, "setup.py", *arguments],
        cwd=ROOT,
        env=environment | {"PATH": str(path)} | variables,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.mark.skipif(sys.platform == "win32", reason="finds Visual Studio without PATH")
@pytest.mark.parametrize("variables", [{}, {"CC": ""}, {"CC": "no-such-compiler"}], ids=str)
@pytest.mark.parametrize("command", ["build_ext", "bdist_wheel", "editable_wheel"])
def test_without_a_compiler_the_first_line_says_to_install_one(tmp_path, command, variables):
    done = setup(command, path=tmp_path, **variables)
    assert done.returncode == 1
    first = (done.stdout + done.stderr).splitlines()[0]
    for words in ("install a C compiler", "apt", "dnf", "xcode-select", "Visual Studio"):
        assert words in first


def test_what_compiles_nothing_needs_no_compiler(tmp_path):
    done = setup("--version", path=tmp_path, CC="")
    assert done.returncode == 0, done.stderr


SOURCES = set(".c .cpp .css .h .md .npz .png .pxd .pxi .py .pyi .pyx .txt .typed".split())
MADE_HERE = {"_build", "__pycache__", "build"}  # folders


def test_the_source_distribution_has_every_file_that_building_and_testing_read(tmp_path):
    if not (ROOT / "csrc").is_dir():
        pytest.skip("the sources are not beside the tests")
    done = setup("-q", "egg_info", "--egg-base", tmp_path, path=os.environ["PATH"])
    assert done.returncode == 0, done.stderr
    packed = set((tmp_path / "rnnfast.egg-info" / "SOURCES.txt").read_text().splitlines())
    here = {
        path.relative_to(ROOT).as_posix()
        for folder in ("bench", "csrc", "docs", "examples", "rnnfast", "tests")
        for path in (ROOT / folder).rglob("*")
        if (path.suffix in SOURCES or path.name == "Makefile") and not MADE_HERE & set(path.parts)
    } - {"rnnfast/_core/loops.c"}
    assert sorted(here - packed) == []
    assert {"pyproject.toml", "setup.py", "conftest.py", "Makefile", "README.md", "LICENSE"} <= packed
