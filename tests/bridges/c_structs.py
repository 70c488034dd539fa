"""Structs that a header of ours declares anew, compared with those of the library that they belong to."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path

import pytest

CSRC = Path(__file__).parents[2] / "csrc"


def assertions(
    structs: Mapping[str, tuple[str, str]],
    constants: Mapping[str, str],
    grown: Collection[str] = (),
) -> list[str]:
    """What must hold of both headers, in C.

    `structs` has our names; for each the other's, and the pairs of fields that must be at the same place.
    Those in `grown` have further fields there, which are not used.
    """
    lines = []
    for ours, (theirs, fields) in structs.items():
        relation = "<=" if ours in grown else "=="
        lines.append(f"sizeof({ours}) {relation} sizeof({theirs})")
        for pair in fields.split(", "):
            own, other = pair.split()
            lines.append(f"offsetof({ours}, {own}) == offsetof({theirs}, {other})")
            lines.append(f"sizeof((({ours} *)0)->{own}) <= sizeof((({theirs} *)0)->{other})")
    return lines + [f"{ours} == (int){theirs}" for ours, theirs in constants.items()]


def check_assertions(folder: Path, headers: Iterable[str], lines: Iterable[str], *arguments: str) -> None:
    """Compile a program of these headers that holds only if the assertions do."""
    source = folder / "interface.c"
    text = [f'#include "{header}"' for header in headers]
    text += ["#include <stddef.h>", *(f'_Static_assert({line}, "{line}");' for line in lines)]
    source.write_text("\n".join(text) + "\n")
    compile_c(source, "-fsyntax-only", *arguments)


def compile_c(source: Path, *arguments: str) -> None:
    """Compile a C file that may include our headers."""
    compiler = next(filter(None, map(shutil.which, ("cc", "gcc", "clang"))), None)
    if compiler is None:
        pytest.skip("needs a C compiler")
    command = [compiler, "-std=c11", f"-I{CSRC}", *arguments, str(source)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def assert_all_compared(header: str, structs: Mapping[str, tuple[str, str]]) -> None:
    """Every field of every struct in a header of ours is among those that are compared."""
    found = 0
    for body, name in re.findall(r"typedef struct[^{]*\{([^}]*)\} (\w+);", (CSRC / header).read_text()):
        plain = re.sub(r"/\*.*?\*/", "", body, flags=re.DOTALL)
        names = re.findall(r"\(?\*?(\w+)\)?(?:\([^)]*\))?[,;]", plain)
        assert set(names) == {pair.split()[0] for pair in structs[name][1].split(", ")}, name
        found += 1
    assert found
