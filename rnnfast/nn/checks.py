"""What modules ask of their arguments: sizes, dtypes, seeds, arrays.

Every refusal names the argument, what came and what was expected.
"""

from __future__ import annotations

import math
import operator
import os
import sys
from typing import Any, TypeAlias

import numpy as np

from rnnfast import _core

Rng: TypeAlias = "int | np.random.Generator | None"

_FLOATS = (np.dtype(np.float32), np.dtype(np.float64))


def _memory() -> int:
    """The bytes of this machine's memory, or of an address space where the system does not say."""
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, OSError, ValueError):
        return 2**47


_MEMORY = _memory()


def positive(name: str, value: Any) -> int:
    """`value` as an int of at least 1."""
    return integer(name, value, 1)


def integer(name: str, value: Any, least: int) -> int:
    """`value` as an int of at least `least`."""
    if isinstance(value, (bool, np.bool_)) or not hasattr(value, "__index__") or np.ndim(value):
        raise TypeError(f"{name}: expected an integer, got {value!r}")
    number = operator.index(value)
    if abs(number) > sys.maxsize:
        raise ValueError(
            f"{name}: expected an integer up to {sys.maxsize}, got one of {number.bit_length()} bits"
        )
    if number < least:
        raise ValueError(f"{name}: expected at least {least}, got {number}")
    return number


def fits(sizes: dict[str, int], numbers: int, dtype: np.dtype) -> None:
    """Refuse sizes that ask for more `numbers` than all memory of this machine holds."""
    asked = numbers * dtype.itemsize
    if asked > _MEMORY:
        came = ", ".join(f"{name}={size}" for name, size in sizes.items())
        raise ValueError(
            f"{came}: expected sizes that fit in this machine's memory of {_MEMORY >> 30} GiB, got "
            f"{asked >> 30} GiB"
        )


def probability(name: str, value: Any) -> float:
    """`value` as a float p with 0 <= p < 1."""
    number = real(name, value)
    if not 0.0 <= number < 1.0:
        raise ValueError(f"{name}: expected a probability p with 0 <= p < 1, got {value!r}")
    return number


def real(name: str, value: Any) -> float:
    """`value` as a finite float."""
    if isinstance(value, (bool, np.bool_, str)) or not hasattr(value, "__float__") or np.ndim(value):
        raise TypeError(f"{name}: expected a number, got {value!r}")
    try:
        number = float(value)
    except OverflowError:  # of an integer
        number = math.inf
    if not math.isfinite(number):
        raise ValueError(f"{name}: expected a finite number, got {value!r}")
    return number


def float_dtype(value: Any) -> np.dtype:
    """`value` as one of the two dtypes there are kernels for."""
    try:
        dtype = np.dtype(object if value is None else value)
    except TypeError:
        dtype = np.dtype(object)
    if dtype not in _FLOATS:
        raise TypeError(f"dtype: expected float32 or float64, got {value!r}")
    return dtype


def check_rng(value: Any) -> None:
    """Refuse an `rng` that is neither None nor a generator nor an integer that can seed one."""
    if value is None or isinstance(value, np.random.Generator):
        return
    if isinstance(value, (bool, np.bool_)) or not hasattr(value, "__index__") or np.ndim(value):
        raise TypeError(f"rng: expected an integer, a numpy.random.Generator or None, got {value!r}")
    if not 0 <= operator.index(value) < 2**64:
        raise ValueError(f"rng: expected an integer in 0..2**64-1, got {value}")


def checkpoint(value: Any) -> bool | int | None:
    """`value`, which says in what segments a pass is checkpointed: a bool, a number of steps, or None."""
    if value is None or isinstance(value, (bool, np.bool_)):
        return None if value is None else bool(value)
    if not hasattr(value, "__index__") or np.ndim(value):
        raise TypeError(f"checkpoint: expected True, False, an integer or None, got {value!r}")
    return positive("checkpoint", value)


def row_mask(name: str, value: Any, rows: int) -> np.ndarray | slice:
    """What a bool mask [rows] chooses of an axis; None chooses all."""
    if value is None:
        return slice(None)
    mask = as_array(name, value)
    if mask.dtype != np.bool_:
        raise TypeError(f"{name}: expected dtype bool, got {mask.dtype}")
    if mask.shape != (rows,):
        raise ValueError(f"{name}: expected shape [{rows}], got {mask.shape}")
    return mask


def generator(rng: Any) -> np.random.Generator:
    """The generator that `rng` (an integer seed, a generator, or None for a fresh seed) stands for."""
    check_rng(rng)
    return np.random.default_rng(rng)


def seed(rng: Any) -> int:
    """The seed that a checked `rng` stands for: the integer itself, or the generator's next draw."""
    return int(rng.integers(2**63)) if isinstance(rng, np.random.Generator) else operator.index(rng)


def floats(name: str, value: Any, dtype: np.dtype) -> np.ndarray:
    """`value` as an array of `dtype`: itself where it is one, a cast copy of any other floats."""
    if type(value) is not np.ndarray:
        value = as_array(name, value)
    if value.dtype is not dtype and value.dtype != dtype:
        if value.dtype.kind != "f":
            raise TypeError(f"{name}: expected {dtype} (other floats are cast), got {value.dtype}")
        with _core.Arithmetic():
            value = value.astype(dtype, order="C")
    return value


def any_floats(name: str, value: Any) -> np.ndarray:
    """`value` as an array of float32 or float64: other floats go to one of the two."""
    array = as_array(name, value)
    return floats(name, array, _FLOATS[array.dtype.itemsize > 4] if array.dtype.kind == "f" else _FLOATS[0])


def as_array(name: str, value: Any) -> np.ndarray:
    """`value` as a plain array; a ragged list is refused by name."""
    try:
        return np.asarray(value)
    except ValueError as error:
        raise ValueError(f"{name}: expected an array, got {type(value).__name__} ({error})") from error


def rows(array: np.ndarray) -> np.ndarray:
    """`array` itself where it is aligned and its last axis contiguous (the kernels' need), else a copy."""
    if array.strides[-1] == array.itemsize and array.flags.aligned:
        return array
    return array.copy(order="C")


def block(array: np.ndarray) -> np.ndarray:
    """`array` itself where all of it is C-contiguous and it is aligned, else a copy."""
    flags = array.flags
    return array if flags.c_contiguous and flags.aligned else array.copy(order="C")


def shaped(name: str, value: Any, dtype: np.dtype, shape: tuple[int, ...]) -> np.ndarray:
    """`value` as floats of `dtype` and of exactly `shape`."""
    array = floats(name, value, dtype)
    if array.shape != shape:
        raise ValueError(f"{name}: expected shape {shape}, got {array.shape}")
    return array
