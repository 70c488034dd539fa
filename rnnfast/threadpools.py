"""Limits that others set on rnnfast's threads: OMP_NUM_THREADS, read at import, and those of threadpoolctl.

joblib, Dask, Ray and torchrun give OMP_NUM_THREADS to the processes that they start. threadpoolctl is not
imported here: rnnfast registers with it at once if it is loaded, else as soon as another module imports it.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from importlib import import_module
from typing import Any

from rnnfast import _core
from rnnfast.config import __version__
from rnnfast.imports import after_import

__all__ = ["follow_environment", "follow_threadpoolctl"]

_MOST = 256  # threads that `set_num_threads` takes
_DIGITS = 640  # of a number that Python reads under any of its limits


def follow_environment(environment: Mapping[str, str]) -> None:
    """Use at most OMP_NUM_THREADS threads, unless RNNFAST_NUM_THREADS says how many."""
    first = environment.get("OMP_NUM_THREADS", "").partition(",")[0].strip()  # "4,2": of nested levels
    if len(first) > _DIGITS:  # it limits nothing
        return
    if first.isdecimal() and int(first) > 0 and not environment.get("RNNFAST_NUM_THREADS"):
        _core.set_num_threads(min(int(first), _core.get_num_threads()))


def follow_threadpoolctl() -> None:
    """Register with threadpoolctl, now or when it is imported."""
    after_import("threadpoolctl", _register)


def _register(threadpoolctl: Any) -> None:
    """Tell threadpoolctl of rnnfast's pool; versions before 3.2 can be told of none."""
    if not hasattr(threadpoolctl, "register"):
        return
    compiled = os.path.realpath(str(import_module("rnnfast._core.loops").__file__))

    class RnnfastController(threadpoolctl.LibController):
        """The pool of the compiled module, which threadpoolctl finds by the name of its file."""

        user_api = internal_api = "rnnfast"
        filename_prefixes = (os.path.basename(compiled).lower(),)
        check_symbols = ("PyInit_loops",)

        def set_additional_attributes(self) -> None:
            if os.path.realpath(self.filepath) != compiled:  # another package's file of this name
                self.dynlib = None  # has no symbol, so threadpoolctl drops it

        def get_version(self) -> str:
            return __version__

        def get_num_threads(self) -> int:
            return _core.get_num_threads()

        def set_num_threads(self, num_threads: int) -> None:
            _core.set_num_threads(min(num_threads, _MOST))

    threadpoolctl.register(RnnfastController)
