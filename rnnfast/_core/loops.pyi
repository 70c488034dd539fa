"""What the compiled module exports, for type checkers. Arrays are checked by the callers, not here."""

from collections.abc import Mapping
from typing import Any, Literal, SupportsIndex, TypeVar

import numpy as np
from numpy.typing import DTypeLike, NDArray

_Array = NDArray[Any]
_Float = TypeVar("_Float", bound=np.floating[Any])

_C_API: object  # the capsule that rnnfast.h loads

def compiled_isas() -> list[str]: ...
def available_isas() -> list[str]: ...
def force_isa(name: str | None) -> None: ...
def get_isa() -> str: ...
def force_split(split: Literal["rows", "units"] | None) -> None: ...
def set_num_threads(n: SupportsIndex) -> None: ...
def get_num_threads() -> int: ...
def runs_so_far() -> int: ...
def configure(environment: Mapping[str, str]) -> None: ...

class Cell:
    name: str
    reverse: bool
    input_size: int
    hidden_size: int
    output_size: int
    weight_ih: _Array
    weight_hh: _Array
    weight_hr: _Array | None
    def __init__(
        self,
        name: str,
        weight_ih: _Array,
        weight_hh: _Array,
        bias_ih: _Array | None,
        bias_hh: _Array | None,
        reverse: bool = False,
        nonlinearity: str = "tanh",
        *,
        weight_hr: _Array | None = None,
        weight_ci: _Array | None = None,
        weight_cf: _Array | None = None,
        weight_co: _Array | None = None,
        coupled_gates: bool = False,
        cell_clip: float | None = None,
        reset_after: bool = True,
    ) -> None: ...
    @property
    def slots(self) -> int: ...
    def pack(self) -> None: ...
    def new_gradients(self) -> dict[str, _Array]: ...

class Embedded:
    table: _Array
    tokens: NDArray[np.intp]
    def __init__(self, table: _Array, tokens: NDArray[np.intp]) -> None: ...
    @property
    def shape(self) -> tuple[int, ...]: ...

class Sequences:
    T: int
    B: int
    lengths: _Array | None
    reset: _Array | None
    def __init__(
        self,
        T: int,
        B: int,
        lengths: _Array | None = None,
        reset: _Array | None = None,
        behind: _Array | None = None,
    ) -> None: ...
    def part(self, s0: int, s1: int) -> Sequences: ...

def blank(T: int, B: int, N: int, dtype: np.dtype[Any], batch_first: bool = False) -> _Array: ...
def forward(
    cell: Cell,
    number: int,
    sequences: Sequences | None,
    x: _Array | Embedded,
    h0: _Array | None,
    c0: _Array | None,
    y: _Array,
    h: _Array,
    c: _Array | None,
    gates: _Array | None,
    c_steps: _Array | None,
) -> None: ...
def evaluate(
    cells: list[Cell],
    directions: int,
    sequences: Sequences | None,
    x: _Array | Embedded,
    h0: _Array | None,
    c0: _Array | None,
    batch_first: bool,
) -> tuple[_Array, _Array, _Array | None]: ...
def backward(
    cell: Cell,
    number: int,
    sequences: Sequences | None,
    x: _Array | Embedded,
    h0: _Array | None,
    c0: _Array | None,
    y: _Array,
    gates: _Array,
    c_steps: _Array | None,
    dy: _Array | None,
    dc_steps: _Array | None,
    dh_steps: _Array | None,
    dh_final: _Array | None,
    dc_final: _Array | None,
    dx: _Array | None,
    dh: _Array,
    dc: _Array | None,
    grads: dict[str, _Array],
) -> None: ...
def linear_forward(x: _Array, weight: _Array, bias: _Array | None, y: _Array) -> None: ...
def linear_backward(
    x: _Array, weight: _Array, dy: _Array, dx: _Array | None, dweight: _Array, dbias: _Array | None
) -> None: ...
def dropout_mask(
    seed: int,
    call: int,
    layer: int,
    shape: tuple[int, int, int],
    p: float,
    dtype: DTypeLike,
    t0: int = 0,
) -> _Array: ...
def fma_chains(dtype: DTypeLike, turns: int) -> float: ...
def vmath(name: Literal["exp", "tanh", "sigmoid"], x: NDArray[_Float]) -> NDArray[_Float]: ...

class Stepper:
    c: _Array | None
    def __init__(self, cells: list[Cell], B: int) -> None: ...
    @property
    def h(self) -> _Array: ...
    def refresh(self) -> None: ...
    def _check(self, x: Any) -> _Array: ...
    def __call__(self, x: Any) -> _Array: ...
