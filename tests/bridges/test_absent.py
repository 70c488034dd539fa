"""Without what a bridge leads to: it says what to install, and nothing else asks for it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

BRIDGES = ("onnx", "safetensors", "torch")


def run(program: str) -> subprocess.CompletedProcess[str]:
    here = Path(__file__).parent  # not the root, where the sources would hide an installed rnnfast
    return subprocess.run(
        [sys.executable, "-c", program], cwd=here, capture_output=True, text=True, check=False
    )


@pytest.mark.parametrize("name", BRIDGES)
def test_the_import_says_what_to_install(name):
    done = run(f"import sys; sys.modules[{name!r}] = None; import rnnfast.{name}")
    assert done.returncode == 1
    assert f'rnnfast.{name} needs the package {name}: pip install "rnnfast[{name}]"' in done.stderr


def test_rnnfast_alone_imports_none_of_them():
    done = run("import sys, rnnfast; rnnfast.LSTM(2, 3); print([*sys.modules])")
    loaded = done.stdout
    assert "'rnnfast'" in loaded
    assert not [name for name in (*BRIDGES, "keras", "pandas") if f"'{name}'" in loaded]
