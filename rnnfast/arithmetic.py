"""NumPy's arithmetic beside the kernels: always rounded to nearest, whatever the caller's thread has set."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import ParamSpec, TypeVar

import numpy as np

from rnnfast import _core

__all__ = ["add", "to_nearest"]

_Arguments = ParamSpec("_Arguments")
_Result = TypeVar("_Result")


def to_nearest(function: Callable[_Arguments, _Result]) -> Callable[_Arguments, _Result]:
    """`function`, run in a floating-point environment that is always the same."""

    @wraps(function)
    def inside(*args: _Arguments.args, **keywords: _Arguments.kwargs) -> _Result:
        with _core.Arithmetic():
            return function(*args, **keywords)

    return inside


@to_nearest
def add(a: np.ndarray, b: np.ndarray, out: np.ndarray | None = None) -> np.ndarray:
    """a + b."""
    return np.add(a, b, out=out)
