"""Checks of arguments: sizes, dtypes, seeds, arrays.

Every refusal names the argument, what came and what was expected.
"""

from __future__ import annotations

import math
import operator
import os
import sys
from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import Any, TypeAlias, TypeVar

import numpy as np

from rnnfast import _core, exchange

__all__ = [
    "BeyondMemory",
    "Rng",
    "above_zero",
    "any_floats",
    "as_array",
    "at_least_zero",
    "below_one",
    "block",
    "cell_clip",
    "check_rng",
    "checked_lengths",
    "checked_reset",
    "checkpoint",
    "fits",
    "fitting",
    "flag",
    "float_dtype",
    "floats",
    "fraction",
    "full_mask",
    "function",
    "generator",
    "instance",
    "integer",
    "iterated",
    "limit",
    "limit_above_zero",
    "number",
    "one_of",
    "positive",
    "precision",
    "probability",
    "real",
    "refuse_masked",
    "row_mask",
    "rows",
    "seed",
    "shaped",
    "share",
    "shown",
    "string",
    "tuple_of",
    "with_bfloat16",
    "zoneout",
]

Rng: TypeAlias = "int | np.random.Generator | None"
Kind = TypeVar("Kind")
Entry = TypeVar("Entry")

_SHOWN = 120  # characters of a value that an error shows
_FLOATS = (np.dtype(np.float32), np.dtype(np.float64))


def _memory() -> int:
    """The bytes of this machine's memory, or of an address space where the system does not say."""
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, OSError, ValueError):
        return 2**47


_MEMORY = _memory()


def shown(value: Any) -> str:
    """`value` as errors show it: on one short line."""
    if isinstance(value, np.ndarray) and value.size > 1:
        return f"an array of shape {value.shape}"
    text = " ".join(repr(value).split())
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."


def positive(name: str, value: Any) -> int:
    """`value` as an int of at least 1."""
    return integer(name, value, 1)


def integer(name: str, value: Any, least: int | None = None) -> int:
    """`value` as an int, of at least `least` if that is given."""
    if not _is_integer(value):
        raise TypeError(f"{name}: expected an integer, got {shown(value)}")
    number = operator.index(value)
    if abs(number) > sys.maxsize:
        raise ValueError(
            f"{name}: expected an integer up to {sys.maxsize}, got one of {number.bit_length()} bits"
        )
    if least is not None and number < least:
        raise ValueError(f"{name}: expected at least {least}, got {number}")
    return number


class BeyondMemory(ValueError, MemoryError):
    """Sizes that ask for more memory than the machine has."""


def fits(sizes: dict[str, int], numbers: int, dtype: np.dtype) -> None:
    """Refuse sizes that ask for more `numbers` than all memory of this machine holds."""
    asked = numbers * dtype.itemsize
    if asked > _MEMORY:
        came = ", ".join(f"{name}={size}" for name, size in sizes.items())
        raise BeyondMemory(
            f"{came}: expected sizes that fit in this machine's memory of {_MEMORY >> 30} GiB, got "
            f"{asked >> 30} GiB"
        )


def probability(name: str, value: Any) -> float:
    """`value` as a float p with 0 <= p < 1."""
    number = real(name, value)
    if not 0.0 <= number < 1.0:
        raise ValueError(f"{name}: expected a probability p with 0 <= p < 1, got {shown(value)}")
    return number


def zoneout(value: Any, parts: Sequence[str]) -> tuple[float, ...]:
    """A probability p with 0 <= p < 1 for each part of a state, from one for all or a pair."""
    if not isinstance(value, (tuple, list)):
        return (probability("zoneout", value),) * len(parts)
    if len(parts) == 1:
        raise ValueError(f"zoneout: expected one probability, as the state has no c, got {shown(value)}")
    if len(value) != len(parts):
        raise ValueError(f"zoneout: expected one probability or ({', '.join(parts)}), got {shown(value)}")
    return tuple(probability(f"zoneout {part}", p) for part, p in zip(parts, value, strict=True))


def real(name: str, value: Any) -> float:
    """`value` as a finite float."""
    number = _float(name, value)
    if not math.isfinite(number):
        raise ValueError(f"{name}: expected a finite number, got {shown(value)}")
    return number


def number(name: str, value: Any) -> float:
    """`value` as a float, which may be infinite."""
    number = _float(name, value)
    if math.isnan(number):
        raise ValueError(f"{name}: expected a number, got {shown(value)}")
    return number


def at_least_zero(name: str, value: Any) -> float:
    """`value` as a finite float of at least 0."""
    number = real(name, value)
    if number < 0:
        raise ValueError(f"{name}: expected a number of at least 0, got {shown(value)}")
    return number


def above_zero(name: str, value: Any) -> float:
    """`value` as a finite float above 0."""
    number = real(name, value)
    if number <= 0:
        raise ValueError(f"{name}: expected a number above 0, got {shown(value)}")
    return number


def below_one(name: str, value: Any) -> float:
    """`value` as a float in 0..1, 1 excluded."""
    number = real(name, value)
    if not 0.0 <= number < 1.0:
        raise ValueError(f"{name}: expected a number in 0..1, 1 excluded, got {shown(value)}")
    return number


def fraction(name: str, value: Any) -> float:
    """`value` as a float in 0..1."""
    number = real(name, value)
    if not 0.0 <= number <= 1.0:
        raise ValueError(f"{name}: expected a number in 0..1, got {shown(value)}")
    return number


def share(name: str, value: Any) -> float:
    """`value` as a float strictly between 0 and 1."""
    number = real(name, value)
    if not 0.0 < number < 1.0:
        raise ValueError(f"{name}: expected a share between 0 and 1, got {shown(value)}")
    return number


def limit(name: str, value: Any) -> float:
    """`value` as a float of at least 0, which may be infinite."""
    number = _float(name, value)
    if not number >= 0:
        raise ValueError(f"{name}: expected a number of at least 0, got {shown(value)}")
    return number


def limit_above_zero(name: str, value: Any) -> float:
    """`value` as a float above 0, which may be infinite."""
    number = _float(name, value)
    if not number > 0:
        raise ValueError(f"{name}: expected a number above 0, got {shown(value)}")
    return number


def one_of(name: str, value: Any, known: Collection[str]) -> str:
    """`value`, which is one of the known names."""
    if not isinstance(value, str) or value not in known:
        raise ValueError(f"{name}: expected one of {', '.join(known)}, got {shown(value)}")
    return value


def string(name: str, value: Any) -> str:
    """`value` itself, which is a str."""
    if not isinstance(value, str):
        raise TypeError(f"{name}: expected a str, got {shown(value)}")
    return value


def instance(name: str, value: Any, kind: type[Kind]) -> Kind:
    """`value` itself, which is of this class."""
    if not isinstance(value, kind):
        article = "an" if kind.__name__[0] in "AEIOU" else "a"
        raise TypeError(f"{name}: expected {article} {kind.__name__}, got {shown(value)}")
    return value


def iterated(name: str, value: Iterable[Entry], expected: str) -> Iterator[Entry]:
    """An iterator over `value`, which is described by `expected`."""
    try:
        return iter(value)
    except TypeError:
        raise TypeError(f"{name}: expected {expected}, got {shown(value)}") from None


def function(name: str, value: Any) -> Any:
    """`value` itself, which can be called."""
    if not callable(value):
        raise TypeError(f"{name}: expected a function, got {shown(value)}")
    return value


def _is_integer(value: Any) -> bool:
    """Whether `value` is one integer of any kind, and no bool."""
    if isinstance(value, (bool, np.bool_)) or not hasattr(value, "__index__"):
        return False
    return not isinstance(value, np.ndarray) or (value.ndim == 0 and value.dtype.kind in "iu")


def _float(name: str, value: Any) -> float:
    """`value`, one real number of any kind, as a float."""
    unfit = isinstance(value, (bool, np.bool_, str, complex, np.complexfloating)) or (
        isinstance(value, np.ndarray) and (value.ndim > 0 or value.dtype.kind not in "iuf")
    )
    if unfit or not hasattr(value, "__float__"):
        raise TypeError(f"{name}: expected a number, got {shown(value)}")
    try:
        return float(value)
    except OverflowError:
        return math.inf if value > 0 else -math.inf


def float_dtype(value: Any) -> np.dtype:
    """`value` as one of the two dtypes there are kernels for."""
    try:
        dtype = np.dtype(object if value is None else value)
    except TypeError:
        dtype = np.dtype(object)
    if dtype not in _FLOATS:
        raise TypeError(f"dtype: expected float32 or float64, got {shown(value)}")
    return dtype


def check_rng(value: Any) -> None:
    """Refuse an `rng` that is neither None nor a generator nor an integer that can seed one."""
    if value is None or isinstance(value, np.random.Generator):
        return
    if not _is_integer(value):
        raise TypeError(f"rng: expected an integer, a numpy.random.Generator or None, got {shown(value)}")
    if not 0 <= operator.index(value) < 2**64:
        raise ValueError(f"rng: expected an integer in 0..2**64-1, got {value}")


def fitting(name: str, value: Any, dtype: np.dtype) -> float:
    """`value` as a float that is finite in `dtype` too."""
    number = real(name, value)
    if abs(number) > float(np.finfo(dtype).max):
        raise ValueError(f"{name}: expected a finite number of {dtype}, got {shown(value)}")
    return number


def checkpoint(value: Any) -> bool | int | None:
    """`value`, which says in what segments a pass is checkpointed: a bool, a number of steps, or None."""
    if value is None or isinstance(value, (bool, np.bool_)):
        return None if value is None else bool(value)
    if not _is_integer(value):
        raise TypeError(f"checkpoint: expected True, False, an integer or None, got {shown(value)}")
    return positive("checkpoint", value)


def cell_clip(bound: Any) -> float | None:
    """The bound of c as a float, or None; an error where it is no positive number."""
    if bound is None:
        return None
    if isinstance(bound, (bool, np.bool_, str)) or not hasattr(bound, "__float__") or np.ndim(bound):
        raise TypeError(f"cell_clip: expected a positive number, got {bound!r}")
    if not bound > 0:
        raise ValueError(f"cell_clip: expected a positive number, got {bound!r}")
    try:
        return float(bound)
    except OverflowError:  # of an integer: larger than any c
        return float("inf")


def precision(name: str, value: Any, dtype: np.dtype) -> str:
    """`value` as a precision of products that arrays of this dtype may have."""
    one_of(name, value, _core.PRECISIONS)
    if dtype != np.float32 and value != "float32":
        raise ValueError(f"{name}: expected 'float32' (its default) with dtype {dtype}, got {value!r}")
    return value


def flag(name: str, value: Any) -> bool:
    """`value`, True or False, as a bool."""
    if value is True or value is False:
        return value
    if not isinstance(value, np.bool_):
        raise TypeError(f"{name}: expected True or False, got {shown(value)}")
    return bool(value)


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


def full_mask(mask: Any, shape: tuple[int, ...]) -> np.ndarray:
    """The bool `mask` spread to `shape`, of which it has all or some leading axes."""
    mask = as_array("mask", mask)
    if mask.dtype != np.bool_:
        raise TypeError(f"mask: expected bool, got {mask.dtype}")
    if mask.shape != shape[: mask.ndim]:
        raise ValueError(f"mask: expected shape {shape} or leading axes of it, got {mask.shape}")
    return np.broadcast_to(mask.reshape(mask.shape + (1,) * (len(shape) - mask.ndim)), shape)


def checked_lengths(lengths: Any, T: int, B: int) -> np.ndarray | None:
    """`lengths` as [B] of intp, each in 0..T; None for None."""
    if lengths is None:
        return None
    lengths = as_array("lengths", lengths)
    if lengths.dtype.kind not in "iu" and lengths.size:
        raise TypeError(f"lengths: expected an integer dtype, got {lengths.dtype}")
    if lengths.shape != (B,):
        raise ValueError(f"lengths: expected shape [{B}], got {lengths.shape}")
    outside = lengths[(lengths < 0) | (lengths > T)]
    if outside.size:
        raise ValueError(f"lengths: expected 0 to T = {T}, got {outside[0]}")
    return lengths.astype(np.intp)


def checked_reset(reset: Any, shape: tuple[int, ...]) -> np.ndarray | None:
    """`reset` as an array of bool of this shape; None for None."""
    if reset is None:
        return None
    reset = as_array("reset", reset)
    if reset.dtype != np.bool_:
        raise TypeError(f"reset: expected dtype bool, got {reset.dtype}")
    if reset.shape != shape:
        raise ValueError(f"reset: expected shape {list(shape)}, got {reset.shape}")
    return reset


def generator(rng: Any) -> np.random.Generator:
    """The generator of `rng`: an integer seed, a generator, or None for a fresh seed."""
    check_rng(rng)
    return np.random.default_rng(rng)


def seed(rng: Any) -> int:
    """The seed of a checked `rng`: the integer itself, or the generator's next draw."""
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
    """`value` as a plain array; a ragged list is refused by name, and masks that would be dropped."""
    if type(value) is np.ndarray:
        return value
    refuse_masked(name, value)
    try:
        return exchange.read(value)
    except (BufferError, RuntimeError, TypeError, ValueError) as error:
        kind = ValueError if isinstance(error, ValueError) else TypeError
        place = exchange.place(value)
        wanted = "an array in the CPU's memory" if place else "an array"
        came = f"{type(value).__name__} on {place}" if place else type(value).__name__
        raise kind(f"{name}: expected {wanted}, got {came} ({error})") from error


def with_bfloat16(name: str, value: Any) -> np.ndarray:
    """`value` as an array; one of the bfloat16 of ml_dtypes as float32, which holds the same numbers."""
    array = as_array(name, value)
    bfloat16 = getattr(sys.modules.get("ml_dtypes"), "bfloat16", None)  # without this module there is none
    return array if bfloat16 is None or array.dtype != bfloat16 else array.astype(np.float32)


def refuse_masked(name: str, value: Any) -> None:
    """Refuse a masked array, or a list of them: the mask would be dropped."""
    # Without this module there is none; NumPy loads it when it is asked for.
    kind: Any = getattr(sys.modules.get("numpy.ma"), "MaskedArray", ())
    if isinstance(value, kind) or (
        isinstance(value, (list, tuple)) and any(isinstance(entry, kind) for entry in value)
    ):
        raise TypeError(
            f"{name}: expected a plain array, got a masked one, whose mask would be dropped; fill it "
            "(numpy.ma.filled), and tell the loss or the layer what does not count by mask or lengths"
        )


def rows(array: np.ndarray) -> np.ndarray:
    """`array` itself where it is aligned and its last axis contiguous (the kernels' need), else a copy."""
    if array.strides[-1] == array.itemsize and array.flags.aligned:
        return array
    return array.copy(order="C")


def tuple_of(parts: Collection[str]) -> str:
    """The tuple of these parts of a state, for messages: "a pair (h, c)"."""
    return f"a {'pair' if len(parts) == 2 else 'tuple'} ({', '.join(parts)})"


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
