"""Tests and benchmarks of a clone run on the installed rnnfast where the sources here are not compiled.

`python -m pytest` looks in this folder first.
"""

import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent

if not list(HERE.glob("rnnfast/_core/loops.*.so")) + list(HERE.glob("rnnfast/_core/loops.*.pyd")):
    sys.path[:] = [path for path in sys.path if Path(path).resolve() != HERE]
