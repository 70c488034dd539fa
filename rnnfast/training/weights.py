"""The forms in which files hold weights: as they are, in bfloat16, or in int8 with the maximum of each row.

Only matrices that products multiply have fewer bits. They have those bits to which a product rounds them in
the `matmul_precision` of the same name:

- bfloat16: rounded to nearest, ties to even, subnormal floats to zero. Stored are the 16 bits, as uint16.
- int8: for each row r (the last axis is the inner one of products) m = max |w_r| and
  q = rint(w * (127 / m)) in float32, half to even. Rows with m < 2**-100 are zero, m too. Stored are q and m,
  which are read as w = q * (m / 127), with ±m where q = ±127. Then the same q and m come out again.

In a checkpoint, a name ends with the form: ``weight.bfloat16``, or ``weight.int8`` and ``weight.max``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from rnnfast import checks
from rnnfast.arithmetic import LARGEST, SMALLEST, quantize_rows, to_bfloat16, to_nearest
from rnnfast.nn.module import Module

__all__ = ["FORMS", "HasForm", "Stored", "entries_of", "expected_entries", "stored", "weights_of", "widened"]

FORMS = ("float32", "bfloat16", "int8")
ENDINGS = {"float32": ("",), "bfloat16": (".bfloat16",), "int8": (".int8", ".max")}
DTYPES: dict[str, tuple[np.dtype, ...]] = {
    "bfloat16": (np.dtype(np.uint16),),
    "int8": (np.dtype(np.int8), np.dtype(np.float32)),
}


class HasForm(Protocol):
    """An array, or what a file declares of one."""

    @property
    def dtype(self) -> np.dtype: ...

    @property
    def shape(self) -> tuple[int, ...]: ...


class Stored(NamedTuple):
    """A parameter as a file holds it: the array itself, or bits of bfloat16, or int8 and the rows' maxima."""

    form: str
    arrays: tuple[NDArray, ...]


def stored(model: Module, values: Mapping[str, NDArray], weights: str) -> dict[str, Stored]:
    """Each parameter's values as a file holds them.

    Parameters
    ----------
    model : Module
    values : mapping of str to ndarray
        Of its parameters, by name.
    weights : {"float32", "bfloat16", "int8"}
        The form of the matrices that products multiply; "float32" is as they are, float64 included.

    Raises
    ------
    ValueError
        If `weights` is none of the forms, or not "float32" for a matrix that is float64, or for int8 not
        finite.
    """
    checks.one_of("weights", weights, FORMS)
    held = {name: Stored("float32", (array,)) for name, array in values.items()}
    for name in model.multiplied() if weights != "float32" else ():
        array = values[name]
        if array.dtype != np.float32:
            raise ValueError(f"weights: expected 'float32' (its default) with {array.dtype}, got {weights!r}")
        if weights == "int8" and not np.isfinite(array).all():
            raise ValueError(f"weights: expected finite numbers for 'int8', got others in {name}")
        held[name] = Stored(weights, (to_bfloat16(array),) if weights == "bfloat16" else quantize_rows(array))
    return held


def widened(name: str, held: Stored) -> NDArray:
    """The values of a parameter; a ValueError that opens with `name` where int8 holds what none has."""
    if held.form == "float32":
        return held.arrays[0]
    if held.form == "bfloat16":
        return (held.arrays[0].astype(np.uint32) << 16).view(np.float32)
    return _from_int8(name, *held.arrays)


def entries_of(held: Mapping[str, Stored]) -> dict[str, NDArray]:
    """The entries of a checkpoint that hold these parameters."""
    return {
        name + ending: array
        for name, (form, arrays) in held.items()
        for ending, array in zip(ENDINGS[form], arrays, strict=True)
    }


def weights_of(entries: Mapping[str, NDArray]) -> dict[str, NDArray]:
    """The parameters' values that these entries hold, by name.

    Raises
    ------
    ValueError
        Naming an entry that is there twice, or int8 without fitting maxima.
    """
    held = {name: Stored("float32", (array,)) for name, array in entries.items()}
    for entry, array in entries.items():
        name, dot, form = entry.rpartition(".")
        if not dot or form not in DTYPES or array.dtype != DTYPES[form][0]:  # a parameter itself: floats
            continue
        if name in held:
            raise ValueError(f"{entry}: expected one form of {name}, got several")
        arrays = tuple(entries[name + ending] for ending in ENDINGS[form] if name + ending in entries)
        maxima = [(other.dtype, other.shape) for other in arrays[1:]]
        if form == "int8" and maxima != [(np.dtype(np.float32), array.shape[:-1])]:
            raise ValueError(f"{name}.max: expected the maxima of the rows of {entry}, float32")
        for ending in ENDINGS[form]:
            del held[name + ending]
        held[name] = Stored(form, arrays)
    return {name: widened(name, one) for name, one in held.items()}


def expected_entries(
    model: Module, given: Mapping[str, HasForm]
) -> dict[str, tuple[np.dtype, tuple[int, ...]]]:
    """Dtypes and shapes of the entries that hold a model's parameters, in the forms of the `given` ones."""
    expected = {}
    for name, parameter in model.named_parameters():
        form: str = "float32"
        dtypes: tuple[np.dtype, ...] = (parameter.dtype,)
        for narrow in DTYPES if parameter.dtype == np.float32 else ():
            if name + ENDINGS[narrow][0] in given:
                form, dtypes = narrow, DTYPES[narrow]
        shapes = (parameter.shape, parameter.shape[:-1])
        for ending, dtype, shape in zip(ENDINGS[form], dtypes, shapes, strict=False):
            expected[name + ending] = dtype, shape
    return expected


@to_nearest
def _from_int8(name: str, integers: NDArray, maxima: NDArray) -> NDArray:
    if not ((maxima == 0) | (maxima >= SMALLEST)).all() or not np.isfinite(maxima).all():
        raise ValueError(f"{name}: expected finite maxima of rows, 0 or from 2**-100 on")
    if (integers < -LARGEST).any():
        raise ValueError(f"{name}: expected integers from -127 to 127, got -128")
    rows, outermost = maxima[..., np.newaxis], np.abs(integers) == LARGEST
    inner = np.where(outermost, np.int8(0), integers) * (rows / LARGEST)
    return np.where(outermost, np.sign(integers) * rows, inner)
