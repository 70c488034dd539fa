"""One pass as custom calls of XLA: what describes it, the shapes of its results, the calls.

The handlers (`_core/xla.pxi`) run in XLA's threads, without Python.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from rnnfast import _core
from rnnfast.jax.meshes import array_type, varying_alike

__all__ = [
    "Pass",
    "Results",
    "Wanted",
    "backward",
    "forward",
    "forward_and_tape",
    "forward_results",
    "minor_version",
    "one_by_one",
]


def minor_version() -> int:
    """The minor version of the interface for custom calls of the installed jaxlib, by its own header."""
    header = Path(jax.ffi.include_dir(), "xla", "ffi", "api", "c_api.h")
    found = re.search(r"#define XLA_FFI_API_MINOR (\d+)", header.read_text()) if header.exists() else None
    return int(found[1]) if found else 1


for _name, _handler in _core.xla_handlers(minor_version()).items():
    jax.ffi.register_ffi_target(f"rnnfast_{_name}", _handler, platform="cpu")

Results = tuple[jax.Array, ...]


class Pass(NamedTuple):
    """A layer in one direction: all but its arrays.

    The arrays of a pass come in one order, its *operands*: x, the weights, the parts of the initial state,
    lengths, reset; those that are not given are left out.

    Attributes
    ----------
    layer : {"rnn", "lstm", "gru"}
    options : tuple of (str, bool)
        Which of the layer's cells: pairs of an option of `_core.cell_info` and its value.
    weights : tuple of str
        The names of the given weights, in the order of the table of cells.
    state, lengths, reset : bool
        Whether they are given.
    nonlinearity, cell_clip, reverse, precision, batch_first
        As `rnnfast.jax`'s functions have them; cell_clip is infinite where c is not clipped.
    """

    layer: str
    options: tuple[tuple[str, bool], ...]
    weights: tuple[str, ...]
    state: bool
    lengths: bool
    reset: bool
    nonlinearity: str
    cell_clip: float
    reverse: bool
    precision: str
    batch_first: bool

    @property
    def info(self) -> _core.CellInfo:
        """The row of the table of cells."""
        return _core.cell_info(self.layer, **dict(self.options))

    def split(self, operands: Sequence[Any]) -> tuple[Any, Sequence[Any], Sequence[Any], Sequence[Any]]:
        """Operands, or what belongs to them: of x, the weights, the state's parts, lengths and reset."""
        end = 1 + len(self.weights)
        after = end + len(self.info.parts) * self.state
        return operands[0], operands[1:end], operands[end:after], operands[after:]

    def sizes(self, operands: Sequence[Any]) -> tuple[int, int]:
        """H and P."""
        H = operands[1].shape[0] // len(self.info.slots)
        P = operands[1 + self.weights.index("weight_hr")].shape[0] if "weight_hr" in self.weights else H
        return H, P

    def attributes(self, operands: Sequence[Any]) -> dict[str, Any]:
        """What both handlers read beside buffers."""
        info, (H, P) = self.info, self.sizes(operands)
        order = list(info.axes)
        integers = {
            "cell": info.number,
            "hidden_size": H,
            "output_size": P,
            "weights": sum(1 << order.index(name) for name in self.weights),
            "state": self.state,
            "lengths": self.lengths,
            "reset": self.reset,
            "nonlinearity": _core.NONLINEARITIES[self.nonlinearity],
            "reverse": self.reverse,
            "precision": _core.PRECISIONS[self.precision],
            "batch_first": self.batch_first,
        }
        return {**_attributes(integers), "cell_clip": np.float64(self.cell_clip)}


class Wanted(NamedTuple):
    """What a backward pass gets and gives, beside the gradient of the initial state.

    Attributes
    ----------
    dy, dstate : bool
        Whether the gradients of y and of the final state are given; else they are zero.
    input_grad, weight_grads : bool
        Whether those of x and of the weights are wanted.
    """

    dy: bool
    dstate: bool
    input_grad: bool
    weight_grads: bool


def _attributes(integers: dict[str, int]) -> dict[str, np.int64]:
    return {name: np.int64(value) for name, value in integers.items()}


def forward_results(what: Pass, operands: Sequence[Any], save: bool) -> tuple[jax.core.ShapedArray, ...]:
    """The results of a forward pass: y, the parts of the final state, and with `save` the tape.

    The tape is gates and the further parts of the state after every step, in the order of the kernels.
    """
    x, info, (H, P) = operands[0], what.info, what.sizes(operands)
    B = x.shape[0 if what.batch_first else 1]
    rows = x.shape[0] * x.shape[1]
    widths = info.widths(H, P)
    shapes: list[tuple[int, ...]] = [(*x.shape[:2], P), *((B, width) for width in widths)]
    if save:
        shapes += [(rows * info.saved * H,), *((rows * width,) for width in widths[1:])]
    return tuple(array_type(shape, x) for shape in shapes)


def forward(what: Pass, *operands: jax.Array) -> Results:
    """Call a forward pass that saves nothing: y and the parts of the final state."""
    return _forward_call(what, operands, False)


def _forward_call(what: Pass, operands: Sequence[jax.Array], save: bool) -> Results:
    call = jax.ffi.ffi_call("rnnfast_forward", forward_results(what, operands, save))
    return call(*operands, **what.attributes(operands), save=np.int64(save))


@cache
def one_by_one(call, mapped: tuple[bool, ...]):
    """A function that runs `call` for one member of a batch after the other.

    It is compiled once. Outside of `jax.jit`, JAX would compile a loop of a new function at every call.

    Parameters
    ----------
    call : callable
        A function of arrays that is itself made once.
    mapped : tuple of bool
        Which of its arrays each member has of its own, along the first axis.
    """

    def members(*arrays: jax.Array) -> Results:
        def one(own: list[jax.Array]) -> Results:
            rest = iter(own)
            return call(
                *(next(rest) if of_member else a for a, of_member in zip(arrays, mapped, strict=True))
            )

        return jax.lax.map(one, [a for a, of_member in zip(arrays, mapped, strict=True) if of_member])

    return jax.jit(members)


def _first_order(run):
    """`run` of one member after the other, with a clear error where JAX wants a second derivative."""
    each = jax.custom_batching.custom_vmap(run)

    @each.def_vmap
    def batched(size, mapped, *arrays):
        results = one_by_one(each, tuple(mapped))(*arrays)
        return results, jax.tree.map(lambda _: True, results)

    call = jax.custom_jvp(each)

    @call.defjvp
    def refuse(operands, tangents):
        raise ValueError(
            "rnnfast.jax: expected first derivatives only, got a derivative of a gradient through a layer; "
            "jax.lax.scan of the same equations has them"
        )

    return call


@cache
def forward_and_tape(what: Pass):
    """The function of the operands that calls a forward pass which saves its tape.

    Under `jax.vmap` it runs one member of the batch after the other, as does `backward`: each has gradients
    of the weights of its own.
    """

    @_first_order
    def call(*operands: jax.Array) -> Results:
        return _forward_call(what, operands, True)

    return call


@cache
def backward(what: Pass, wanted: Wanted):
    """The function that calls a backward pass.

    Its arguments are the operands, the tape, y, and dy and the parts of dstate where they are given. It
    returns the gradients of the initial state's parts, of x and of the weights, the latter where wanted.
    """

    @_first_order
    def call(*given: jax.Array) -> Results:
        arrays = varying_alike(given)  # gradients of results may be zeros, which do not vary
        x, weights, _, _ = what.split(arrays)
        H, P = what.sizes(arrays)
        info = what.info
        gates = 1 + len(weights) + len(info.parts) * what.state + what.lengths + what.reset
        B = x.shape[0 if what.batch_first else 1]
        shapes = [arrays[gates].shape, *((B, width) for width in info.widths(H, P))]
        shapes += [x.shape] * wanted.input_grad + [array.shape for array in weights] * wanted.weight_grads
        results = tuple(array_type(shape, x) for shape in shapes)
        # Gradients overwrite the gates; XLA copies them before where they are needed again.
        call = jax.ffi.ffi_call("rnnfast_backward", results, input_output_aliases={gates: 0})
        return call(*arrays, **what.attributes(arrays), **_attributes(wanted._asdict()))[1:]

    return call
