"""Tests and benchmarks of a clone run on the installed rnnfast where no module is compiled for this Python.

`python -m pytest` looks in this folder first.
"""

import sys
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path

HERE = Path(__file__).resolve().parent

if not any((HERE / "rnnfast" / "_core" / f"loops{suffix}").exists() for suffix in EXTENSION_SUFFIXES):
    sys.path[:] = [path for path in sys.path if Path(path).resolve() != HERE]
