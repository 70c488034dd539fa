"""Without the package of a bridge: it says what it needs, and nothing else asks for it."""

from __future__ import annotations

import subprocess
import sys

import pytest

PACKAGES = ["onnx", "safetensors", "torch"]  # each the name of its bridge and of its extra, too


@pytest.mark.parametrize("name", PACKAGES)
def test_the_import_says_what_to_install(name: str) -> None:
    program = f"import sys; sys.modules[{name!r}] = None; import rnnfast.{name}"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    expected = f'ImportError: rnnfast.{name} needs the package {name}: pip install "rnnfast[{name}]"'
    assert done.stderr.splitlines()[-1] == expected


def test_rnnfast_alone_imports_none_of_them() -> None:
    program = f"import sys, rnnfast; rnnfast.LSTM(2, 3); assert not sys.modules.keys() & set({PACKAGES})"
    subprocess.run([sys.executable, "-c", program], check=True)
