"""The kernels' bits are those of tests/bits/bits.txt, on every instruction set that this machine runs.

Builds the C program of tests/bits, which needs no Python; the same program is cross-compiled there for NEON.
"""

from __future__ import annotations

import difflib
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from rnnfast import _core

HERE = Path(__file__).parents[1] / "bits"
CSRC = HERE.parents[1] / "csrc"


@pytest.fixture(scope="module")
def program(tmp_path_factory) -> Path:
    """The compiled tests/bits/bits.c."""
    compiler = next(filter(None, map(shutil.which, ("cc", "gcc", "clang"))), None)
    if compiler is None or sys.platform == "win32":
        pytest.skip("there is no C compiler (cc, gcc or clang) to build tests/bits/bits.c with")
    if not CSRC.is_dir():
        pytest.skip(f"the C sources are not beside the tests: {CSRC} is missing")
    out = tmp_path_factory.mktemp("bits") / "bits"
    sources = [HERE / "bits.c", CSRC / "clock.c", CSRC / "dispatch.c", CSRC / "cells" / "table.c"]
    sources += sorted((CSRC / "isa").glob("*.c"))
    # Without optimization it compiles in seconds. The Python module has the same kernels optimized.
    flags = ["-std=c11", "-O0", "-ffp-contract=off", "-DRNNFAST_DEBUG", f"-I{CSRC}"]
    subprocess.run([compiler, *flags, *map(str, sources), "-o", str(out), "-lm"], check=True)
    return out


@pytest.mark.parametrize("isa", _core.available_isas())
def test_kernels_give_the_stored_bits(program, isa):
    done = subprocess.run([str(program), isa], check=True, capture_output=True, text=True)
    stored = (HERE / "bits.txt").read_text().splitlines()
    differences = difflib.unified_diff(stored, done.stdout.splitlines(), "stored", isa, n=0, lineterm="")
    assert not list(differences)
