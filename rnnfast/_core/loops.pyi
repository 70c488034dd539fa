"""What the compiled module exports, for type checkers. Arrays are checked by the callers, not here."""

from collections.abc import Mapping
from typing import Any, Literal, SupportsIndex, TypeVar

import numpy as np
from numpy.typing import DTypeLike, NDArray

Array = NDArray[Any]
Float = TypeVar("Float", bound=np.floating[Any])

def compiled_isas() -> list[str]: ...
def available_isas() -> list[str]: ...
def force_isa(name: str | None) -> None: ...
def get_isa() -> str: ...
def force_split(split: Literal["rows", "units"] | None) -> None: ...
def set_num_threads(n: SupportsIndex) -> None: ...
def get_num_threads() -> int: ...
def configure(environment: Mapping[str, str]) -> None: ...
def forward(
    cell: int,
    nonlinearity: int,
    x: Array,
    weight_ih: Array,
    weight_hh: Array,
    bias_ih: Array | None,
    bias_hh: Array | None,
    h0: Array | None,
    c0: Array | None,
    y: Array,
    h: Array,
    c: Array | None,
    gates: Array | None,
    c_steps: Array | None,
) -> None: ...
def backward(
    cell: int,
    nonlinearity: int,
    x: Array,
    weight_ih: Array,
    weight_hh: Array,
    h0: Array | None,
    c0: Array | None,
    y: Array,
    gates: Array,
    c_steps: Array | None,
    dy: Array | None,
    dh_final: Array | None,
    dc_final: Array | None,
    dx: Array | None,
    dh: Array,
    dc: Array | None,
    dweight_ih: Array,
    dweight_hh: Array,
    dbias_ih: Array | None,
    dbias_hh: Array | None,
) -> None: ...
def linear_forward(x: Array, weight: Array, bias: Array | None, y: Array) -> None: ...
def linear_backward(
    x: Array, weight: Array, dy: Array, dx: Array | None, dweight: Array, dbias: Array | None
) -> None: ...
def dropout_mask(
    seed: int, call: int, layer: int, shape: tuple[int, int, int], p: float, dtype: DTypeLike
) -> Array: ...
def vmath(name: Literal["exp", "tanh", "sigmoid"], x: NDArray[Float]) -> NDArray[Float]: ...
