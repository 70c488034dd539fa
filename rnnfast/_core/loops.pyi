"""What the compiled module exports, for type checkers. Arrays are checked by the callers, not here."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, Protocol, SupportsIndex, TypeVar

import numpy as np
from numpy.typing import DTypeLike, NDArray

_Array = NDArray[Any]
_Float = TypeVar("_Float", bound=np.floating[Any])

_C_API: object  # the capsule that rnnfast.h loads

def compiled_isas() -> list[str]: ...
def available_isas() -> list[str]: ...
def force_isa(name: str | None, instructions: bool | None = None) -> None: ...
def get_isa() -> str: ...
def force_split(split: Literal["rows", "units"] | None) -> None: ...
def borrow_threads(functions: tuple[int, int, int, int] | None) -> None: ...
def set_num_threads(n: SupportsIndex) -> None: ...
def get_num_threads() -> int: ...
def runs_so_far() -> int: ...
def configure(environment: Mapping[str, str]) -> None: ...

class Arithmetic:
    def __enter__(self) -> None: ...
    def __exit__(self, *exception: object) -> None: ...

def first_unfit(arrays: list[_Array | None], likes: list[_Array]) -> int: ...
def add_arrays(sums: list[_Array], arrays: list[_Array]) -> None: ...

NONLINEARITIES: dict[str, int]
CANDIDATES: dict[str, int]
PRECISIONS: dict[str, int]
TRAINABLE: tuple[str, ...]

def product_instructions() -> list[str]: ...
def cell_rows() -> list[tuple[Any, ...]]: ...
def find_row(layer: str, options: dict[str, Any]) -> int: ...

class Cell:
    name: str
    weights: dict[str, _Array]
    def __init__(
        self,
        layer: str,
        weights: Mapping[str, _Array | None],
        *,
        reverse: bool = False,
        nonlinearity: str = "tanh",
        candidate: str | None = None,
        cell_clip: float | None = None,
        matmul_precision: str = "float32",
        scales: Mapping[str, _Array] | None = None,
        zoneout: Sequence[float] = (),
        constant: bool = False,
        **options: bool,
    ) -> None: ...
    @property
    def kind(self) -> str: ...
    @property
    def reverse(self) -> bool: ...
    @property
    def input_size(self) -> int: ...
    @property
    def hidden_size(self) -> int: ...
    @property
    def widths(self) -> tuple[int, ...]: ...
    @property
    def slots(self) -> int: ...
    def new_gradients(self) -> dict[str, _Array]: ...

class Noise:
    zone: tuple[_Array | None, ...] | None
    drop: _Array | None
    fed_initial: _Array | None
    fed: _Array | None
    def __init__(
        self,
        zone: tuple[_Array | None, ...] | None = None,
        drop: _Array | None = None,
        fed_initial: _Array | None = None,
        fed: _Array | None = None,
    ) -> None: ...

class Packs: ...

class Tape:
    cell: Cell
    number: int
    sequences: Sequences | None
    x: _Array | Embedded
    initial: tuple[_Array | None, ...] | None
    y: _Array
    gates: _Array
    steps: tuple[_Array, ...] | None
    spare: list[_Array] | None
    noise: Noise | None
    dh_steps: _Array | None
    def __init__(
        self,
        cell: Cell,
        number: int,
        sequences: Sequences | None,
        x: _Array | Embedded,
        initial: tuple[_Array | None, ...] | None,
        y: _Array,
        gates: _Array | None = None,
        steps: tuple[_Array, ...] | None = None,
        spare: list[_Array] | None = None,
        noise: Noise | None = None,
    ) -> None: ...
    def use_up(self) -> bool: ...

class _Recorder(Protocol):
    def run(
        self,
        cell: Cell,
        number: int,
        sequences: Sequences | None,
        x: _Array | Embedded,
        initial: tuple[_Array | None, ...] | None,
        y: _Array,
        final: tuple[_Array, ...],
    ) -> None: ...
    def above(self, layer: int, y: _Array) -> _Array: ...

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
def forward(tape: Tape, final: tuple[_Array, ...]) -> None: ...
def run_stack(
    cells: list[Cell],
    directions: int,
    sequences: Sequences | None,
    x: _Array | Embedded,
    initial: tuple[_Array | None, ...] | None,
    batch_first: bool,
    recorder: _Recorder | None = None,
) -> tuple[_Array, tuple[_Array, ...]]: ...
def backward(
    tape: Tape,
    gates: _Array,
    dy: _Array | None,
    d_final: tuple[_Array | None, ...] | None,
    d_steps: tuple[_Array | None, ...] | None,
    dx: _Array | None,
    d_initial: tuple[_Array, ...],
    grads: dict[str, _Array],
) -> None: ...
def linear_forward(
    x: _Array,
    weight: _Array,
    bias: _Array | None,
    y: _Array,
    matmul_precision: str = "float32",
    packs: Packs | None = None,
) -> None: ...
def linear_backward(
    x: _Array,
    weight: _Array,
    dy: _Array,
    dx: _Array | None,
    dweight: _Array,
    dbias: _Array | None,
    matmul_precision: str = "float32",
) -> None: ...
def layer_norm_forward(
    x: _Array, weight: _Array, bias: _Array | None, eps: float, y: _Array, moments: _Array
) -> None: ...
def layer_norm_backward(
    x: _Array,
    weight: _Array,
    moments: _Array,
    dy: _Array,
    dx: _Array | None,
    dweight: _Array,
    dbias: _Array,
) -> None: ...
def ctc(
    y: _Array,
    mask: _Array | None,
    labels: _Array,
    start: _Array,
    blank: int,
    scale: float,
    impossible: float,
    losses: _Array,
    dy: _Array,
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
def zoneout_mask(
    seed: int,
    call: int,
    layer: int,
    shape: tuple[int, int, int],
    p: float,
    dtype: DTypeLike,
    t0: int = 0,
    split: int | None = None,
    q: float = 0,
) -> _Array: ...
def fma_chains(dtype: DTypeLike, turns: int) -> float: ...
def vmath(name: Literal["exp", "tanh", "sigmoid", "log_sigmoid"], x: NDArray[_Float]) -> NDArray[_Float]: ...

class _HasCells(Protocol):
    @property
    def cells(self) -> list[Cell]: ...

class Turn:
    def __init__(self, name: str) -> None: ...
    def __enter__(self) -> None: ...
    def __exit__(self, *exception: object) -> None: ...

class Stepper:
    def __init__(self, layer: _HasCells, B: int) -> None: ...
    def refresh(self) -> None: ...
    def read_state(self) -> tuple[_Array, ...]: ...
    def write_state(self, parts: list[_Array | None]) -> None: ...
    def clear_state(self, mask: _Array | None) -> None: ...
    def _check(self, x: Any) -> _Array: ...
    def __call__(self, x: Any) -> _Array: ...

def xla_handlers(minor: int) -> dict[str, object]: ...

class TensorReader:
    def __init__(self, capsule: object, kinds: frozenset[type], others: Callable[[Any], _Array]) -> None: ...
    def array(self, tensor: object) -> Any: ...
    def forms(self, tensors: Sequence[object | None]) -> bytes | None: ...
    def shapes(self, tensors: Sequence[object | None]) -> bytes | None: ...
