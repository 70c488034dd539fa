"""ONNX's weights of a direction in rnnfast's names and order of gates, and back.

ONNX stacks the gates of an LSTM as i, o, f, c, those of a GRU as z, r, h, and peepholes as i, o, f; W's and
R's biases are concatenated in B. rnnfast has PyTorch's order: i, f, g, o (i, g, o where f is 1 - i)
and r, z, n.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from rnnfast import _core
from rnnfast.onnx.node import Node

__all__ = ["Weights", "from_onnx", "to_onnx"]

Array = np.ndarray

# ONNX's order of the gates, in the letters of our table of cells.
_ONNX_GATES = {"RNN": "a", "LSTM": "iofg", "GRU": "zrn"}
_ONNX_PEEPHOLES = "iof"
_FLOATS = ("float16", "bfloat16", "float32", "float64")


def _our_gates(operator: str, input_forget: bool) -> str:
    return _core.cell_info(operator.lower(), coupled_gates=input_forget).gates


class Weights(NamedTuple):
    """A node's weights, with ONNX's names and shapes: D directions, G gates.

    Attributes
    ----------
    W, R : ndarray [D, G*H, I], [D, G*H, H]
    B : ndarray [D, 2*G*H] or None
    P : ndarray [D, 3*H] or None
        The LSTM's peepholes.
    """

    W: Array
    R: Array
    B: Array | None = None
    P: Array | None = None

    def check(self, node: Node) -> None:
        """Raise a ValueError or TypeError where a shape or dtype does not fit `node`."""
        G, D = len(_ONNX_GATES[node.operator]), len(node.reverse)
        H = node.hidden_size or (0, *self.R.shape)[-1]
        shapes = {
            "W": (D, G * H, (0, *self.W.shape)[-1]),
            "R": (D, G * H, H),
            "B": (D, 2 * G * H),
            "P": (D, 3 * H),
        }
        for name, array in self._asdict().items():
            if array is None:
                continue
            if array.dtype.name not in _FLOATS or array.dtype != self.W.dtype:
                expected = f"one dtype, of {', '.join(_FLOATS)}"
                raise TypeError(f"{name}: expected {expected}, got {array.dtype} beside W's {self.W.dtype}")
            if array.shape != shapes[name] or array.size == 0:
                raise ValueError(f"{name}: expected shape {list(shapes[name])}, got {array.shape}")

    @property
    def nbytes(self) -> int:
        """The bytes of all of them."""
        return sum(array.nbytes for array in self if array is not None)

    @property
    def computed(self) -> np.dtype:
        """The dtype in which they are computed with: float64 theirs, else float32."""
        return np.dtype(np.float64 if self.W.dtype == np.float64 else np.float32)

    def cast(self) -> Weights:
        """The same in the dtype in which they are computed with."""
        given = {name: array for name, array in self._asdict().items() if array is not None}
        return Weights(**{name: array.astype(self.computed, copy=False) for name, array in given.items()})


def from_onnx(node: Node, weights: Weights, direction: int) -> dict[str, Array]:
    """One direction's weights by rnnfast's names, in C-contiguous arrays of their own.

    Examples
    --------
    >>> import numpy as np, onnx
    >>> from rnnfast.onnx.node import read_node
    >>> from rnnfast.onnx.weights import Weights, from_onnx
    >>> node = read_node(onnx.helper.make_node("LSTM", ["x", "w", "r"], ["y"], hidden_size=1))
    >>> blocks = np.array([[["i"], ["o"], ["f"], ["c"]]])
    >>> from_onnx(node, Weights(blocks, blocks), 0)["weight_ih"].ravel().tolist()
    ['i', 'f', 'c', 'o']
    """
    theirs = _ONNX_GATES[node.operator]
    ours = _our_gates(node.operator, node.input_forget)

    def ordered(array: Array) -> Array:
        blocks = dict(zip(theirs, np.split(array, len(theirs)), strict=True))
        return np.ascontiguousarray(np.concatenate([blocks[gate] for gate in ours]))

    W, R, B, P = weights
    found = {"weight_ih": ordered(W[direction]), "weight_hh": ordered(R[direction])}
    if B is not None:
        found["bias_ih"], found["bias_hh"] = map(ordered, np.split(B[direction], 2))
    if P is not None:
        peepholes = zip(_ONNX_PEEPHOLES, np.split(P[direction], 3), strict=True)
        found |= {f"weight_c{gate}": block.copy() for gate, block in peepholes if gate in ours}
    return found


def to_onnx(operator: str, directions: list[dict[str, Array]], input_forget: bool = False) -> Weights:
    """A node's weights from those of its directions by rnnfast's names.

    Coupled gates leave ONNX's blocks of the forget gate zero: they are there, and nothing reads them.

    Examples
    --------
    >>> import numpy as np
    >>> from rnnfast.onnx.weights import to_onnx
    >>> blocks = np.array([[1.0], [2.0], [3.0]])  # r, z, n
    >>> to_onnx("GRU", [{"weight_ih": blocks, "weight_hh": blocks}]).W.ravel().tolist()
    [2.0, 1.0, 3.0]
    """
    ours = _our_gates(operator, input_forget)

    def ordered(array: Array) -> Array:
        blocks = dict(zip(ours, np.split(array, len(ours)), strict=True))
        zero = np.zeros_like(array[: len(array) // len(ours)])
        return np.concatenate([blocks.get(gate, zero) for gate in _ONNX_GATES[operator]])

    def peepholes(given: dict[str, Array]) -> Array:
        zero = np.zeros_like(given["weight_ci"])
        return np.concatenate([given.get(f"weight_c{gate}", zero) for gate in _ONNX_PEEPHOLES])

    def biases(given: dict[str, Array]) -> Array:
        return np.concatenate([ordered(given["bias_ih"]), ordered(given["bias_hh"])])

    first = directions[0]
    return Weights(
        np.stack([ordered(given["weight_ih"]) for given in directions]),
        np.stack([ordered(given["weight_hh"]) for given in directions]),
        np.stack([biases(given) for given in directions]) if "bias_ih" in first else None,
        np.stack([peepholes(given) for given in directions]) if "weight_ci" in first else None,
    )
