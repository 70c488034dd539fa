"""The tests of Keras layers in a second backend: Keras has one in a process, chosen when it is imported."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

OTHER = "torch" if os.environ.get("KERAS_BACKEND") == "jax" else "jax"
FOLDER = Path(__file__).parent


def test_they_pass_there_too() -> None:
    for package in ("keras", OTHER):
        if find_spec(package) is None:
            pytest.skip(f"{package} is not installed")
    files = [str(FOLDER / f"test_keras_{subject}.py") for subject in ("fallback", "layers", "models")]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *files],
        cwd=FOLDER.parents[1],
        env={
            **os.environ,
            "KERAS_BACKEND": OTHER,
            "JAX_ENABLE_X64": "1",
            "JAX_DISABLE_MOST_OPTIMIZATIONS": "1",
        },
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    assert re.search(r"\d{2,} passed", done.stdout), done.stdout
