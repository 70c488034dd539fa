"""Without what a bridge leads to: it says what to install, and nothing else asks for it."""

from __future__ import annotations

import pytest
from helpers.processes import run_python

BRIDGES = ("jax", "onnx", "safetensors", "sklearn", "torch")
PACKAGES = {"sklearn": "scikit-learn"}  # where it has another name


@pytest.mark.parametrize("name", BRIDGES)
def test_the_import_says_what_to_install(name):
    done = run_python(f"import sys; sys.modules[{name!r}] = None; import rnnfast.{name}")
    assert done.returncode == 1
    package = PACKAGES.get(name, name)
    assert f'rnnfast.{name} needs the package {package}: pip install "rnnfast[{name}]"' in done.stderr


def test_rnnfast_alone_imports_none_of_them():
    done = run_python("import sys, rnnfast; rnnfast.LSTM(2, 3); print([*sys.modules])")
    loaded = done.stdout
    assert "'rnnfast'" in loaded
    others = (*BRIDGES, "joblib", "keras", "pandas", "threadpoolctl")
    assert not [name for name in others if f"'{name}'" in loaded]
