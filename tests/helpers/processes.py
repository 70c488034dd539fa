"""Python programs in a process of their own."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

FOLDER = Path(__file__).parents[1] / "data"  # not the root, where the sources would hide an installed rnnfast


def run_python(
    program: str, *options: str, environment: Mapping[str, str] | None = None, timeout: float = 120
) -> subprocess.CompletedProcess[str]:
    """The exit code and the output of a program; `options` are Python's, such as "-W", "ignore"."""
    return subprocess.run(
        [sys.executable, *options, "-c", program],
        cwd=FOLDER,
        env=os.environ if environment is None else environment,
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )
