"""What all cells compute with: nonlinearities, their slopes, and the rounding of operands."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

__all__ = ["CANDIDATES", "NONLINEARITIES", "factor", "quantize", "round_to_bfloat16", "sigmoid"]


def sigmoid(a: np.ndarray) -> np.ndarray:
    with np.errstate(over="ignore"):  # far below zero exp gives inf, and 1 / inf is the right answer
        return 1 / (1 + np.exp(-a))


# Each nonlinearity as (f of the pre-activation, its derivative written with h = f of the pre-activation).
NONLINEARITIES: dict[str, tuple[Callable, Callable]] = {
    "tanh": (np.tanh, lambda h: 1 - h * h),
    "relu": (lambda a: np.maximum(a, 0), np.sign),
    "sigmoid": (sigmoid, lambda h: h * (1 - h)),
    "identity": (lambda a: a, np.ones_like),
}


# The same of each function on the candidate of a MinGRU or MinLSTM.
CANDIDATES: dict[str, tuple[Callable, Callable]] = {
    "identity": NONLINEARITIES["identity"],
    "positive": (
        lambda a: np.where(a < 0, sigmoid(a), a + 0.5),
        lambda n: np.where(n < 0.5, n * (1 - n), 1),
    ),
    "tanh": NONLINEARITIES["tanh"],
}


def round_to_bfloat16(array: np.ndarray) -> np.ndarray:
    """The numbers of a float array, rounded to bfloat16: to nearest, ties to even; subnormal floats to zero.

    Examples
    --------
    >>> import numpy as np
    >>> from rnnfast import reference
    >>> reference.round_to_bfloat16(np.array([1 + 2.0**-8, 1 + 3 * 2.0**-8, 0.1]))
    array([1.        , 1.015625  , 0.10009766])
    """
    bits = array.astype(np.float32).view(np.uint32)
    rounded = (bits + 0x7FFF + (bits >> 16 & 1)) & 0xFFFF0000
    rounded = np.where((bits & 0x7FFFFFFF) < 0x00800000, bits & 0x80000000, rounded)
    rounded = np.where((bits & 0x7FFFFFFF) > 0x7F800000, 0x7FC00000, rounded)  # NaN
    return rounded.astype(np.uint32).view(np.float32).astype(array.dtype)


def quantize(array: np.ndarray, bounded: bool = False) -> tuple[np.ndarray, np.ndarray]:
    """The rows of a float array in int8: integers from -127 to 127, and the scale of each row.

    Of a row with the largest magnitude m, an integer is ``x * (127/m)`` rounded to nearest, ties to even, and
    the scale is ``m/127``; each operation is rounded to float32. Rows below 2**-100 are zero. The scale of a
    row with NaN or infinity is NaN.

    Parameters
    ----------
    array : ndarray [.., K]
    bounded : bool
        Take 1 for m where it is less, as for the state of a cell whose h stays within 1.

    Returns
    -------
    integers : ndarray [.., K] of float64
    scales : ndarray [.., 1] of float64

    Examples
    --------
    >>> import numpy as np
    >>> from rnnfast import reference
    >>> integers, scales = reference.quantize(np.array([[0.5, -1.0, 0.004], [2.0, 0.0, 0.3]]))
    >>> integers.astype(int).tolist(), scales.round(4).tolist()
    ([[64, -127, 1], [127, 0, 19]], [[0.0079], [0.0157]])
    """
    x = array.astype(np.float32)
    most = np.abs(x).max(axis=-1, keepdims=True, initial=0)
    finite = np.isfinite(most)
    most = np.where(finite, np.maximum(most, 1) if bounded else most, np.float32(1))
    used = most >= np.float32(2.0**-100)
    inverse = np.where(used, np.float32(127) / np.where(used, most, 1), np.float32(0))
    with np.errstate(invalid="ignore"):
        integers = np.where(finite, np.rint(x * inverse), 0)
    scales = np.where(finite, np.where(used, most / np.float32(127), 0), np.nan)
    return integers.astype(np.float64), scales.astype(np.float64)


def factor(d: np.ndarray, array: np.ndarray) -> np.ndarray:
    """What a gradient `d` is multiplied with; 1 where `d` is zero, so that zero times NaN is zero."""
    return np.where(d == 0, 1, array)
