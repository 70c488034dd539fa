"""NumPy's arithmetic beside the kernels: always rounded to nearest, whatever the caller's thread has set."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import ParamSpec, TypeVar

import numpy as np

from rnnfast import _core

__all__ = ["LARGEST", "SMALLEST", "add", "quantize_rows", "to_bfloat16", "to_nearest"]

LARGEST = 127  # of the integers of int8
SMALLEST = 2.0**-100  # a row of int8 has a number of at least this magnitude, or is zero

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


@to_nearest
def quantize_rows(weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The integers of -127..127 and the largest magnitudes of rows of float32, as products in int8 have them.

    Examples
    --------
    >>> import numpy as np
    >>> from rnnfast.arithmetic import quantize_rows
    >>> integers, maxima = quantize_rows(np.float32([[0.5, -1.0, 0.004], [2.0, 0.0, 0.3]]))
    >>> integers.tolist(), maxima.tolist()
    ([[64, -127, 1], [127, 0, 19]], [1.0, 2.0])
    """
    maxima = np.abs(weights).max(axis=-1, initial=0)
    maxima[maxima < SMALLEST] = 0
    factors = np.divide(np.float32(LARGEST), maxima, out=np.zeros_like(maxima), where=maxima > 0)
    return np.rint(weights * factors[..., np.newaxis]).astype(np.int8), maxima


def to_bfloat16(weights: np.ndarray) -> np.ndarray:
    """The upper halves of float32, rounded to nearest even, as uint16; subnormal floats are zero.

    Examples
    --------
    >>> import numpy as np
    >>> from rnnfast.arithmetic import to_bfloat16
    >>> [hex(bits) for bits in to_bfloat16(np.float32([1.0, -1.001, 1.01]))]
    ['0x3f80', '0xbf80', '0x3f81']
    """
    bits = weights.view(np.uint32)
    magnitude = bits & 0x7FFFFFFF
    rounded = (bits + 0x7FFF + (bits >> 16 & 1)) >> 16
    rounded = np.where(magnitude < 0x00800000, bits >> 16 & 0x8000, rounded)  # zero and subnormal floats
    rounded = np.where(magnitude > 0x7F800000, 0x7FC0, rounded)  # NaN
    return rounded.astype(np.uint16)
