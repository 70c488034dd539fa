"""Every header of csrc/ compiles on its own, after the vector vocabulary that the kernels are written in."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

CSRC = Path(__file__).parents[2] / "csrc"
VOCABULARIES = ("avx2", "avx512", "neon", "scalar", "x86", "x86_int8")
WITHOUT = {f"simd/{name}.h" for name in VOCABULARIES} | {"threads_windows.h"}
KINDS = {"simd/bfloat16.h": "OPERANDS_BFLOAT16", "simd/int8.h": "OPERANDS_INT8"}  # parts of simd/operand.h
HEADERS = sorted(path.relative_to(CSRC).as_posix() for path in CSRC.rglob("*.h"))


@pytest.mark.parametrize("header", [name for name in HEADERS if name not in WITHOUT])
def test_a_header_needs_no_other_include(header, tmp_path):
    compiler = next(filter(None, map(shutil.which, ("cc", "gcc", "clang"))), None)
    if compiler is None:
        pytest.skip("there is no C compiler (cc, gcc or clang)")
    source = tmp_path / "header.c"
    vocabulary = "" if "/" not in header else '#define REAL_BITS 32\n#include "simd/scalar.h"\n'
    if header in KINDS:
        vocabulary = f'#define {KINDS[header]}\n{vocabulary}#include "simd/operand.h"\n'
    source.write_text(f'{vocabulary}#include "{header}"\n#include "{header}"\n')
    flags = ["-std=c11", "-fsyntax-only", "-Wall", "-Wno-unused-function", "-Werror", f"-I{CSRC}"]
    done = subprocess.run([compiler, *flags, str(source)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
