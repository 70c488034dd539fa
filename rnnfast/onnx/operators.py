"""Operators that exporters put around recurrent nodes, in NumPy and without detours.

ONNX's evaluator has them all; a call of one takes it ten times as long as the work on the arrays of a single
step. Here are those that only move data, and sums and products. Source: the operators' text in ONNX.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx

__all__ = ["quick"]

Array = np.ndarray
Operator = Callable[..., tuple[Any, ...]]  # of the inputs, None for those left out


def quick(node: onnx.NodeProto, version: int) -> Operator | None:
    """The operator of a node of ONNX's own domain, at this opset; None where this file has none.

    Examples
    --------
    >>> import numpy as np, onnx
    >>> from rnnfast.onnx.operators import quick
    >>> turn = quick(onnx.helper.make_node("Transpose", ["x"], ["y"], perm=[1, 0]), 17)
    >>> turn(np.array([[1, 2], [3, 4]]))[0].tolist()
    [[1, 3], [2, 4]]
    """
    make = _MAKERS.get(node.op_type)
    if make is None or node.domain:
        return None
    return make({a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}, version)


def _transpose(attributes: dict[str, Any], version: int) -> Operator:
    axes = attributes.get("perm")
    return lambda x: (x.transpose(axes),)


def _reshape(attributes: dict[str, Any], version: int) -> Operator:
    zero_is_zero = attributes.get("allowzero", 0) == 1

    def run(x: Array, shape: Array) -> tuple[Array]:
        sizes = shape.tolist()
        if 0 in sizes and not zero_is_zero:
            sizes = [x.shape[axis] if size == 0 else size for axis, size in enumerate(sizes)]
        return (x.reshape(sizes),)

    return run


def _squeeze(attributes: dict[str, Any], version: int) -> Operator:
    fixed = attributes.get("axes")

    def run(x: Array, axes: Array | None = None) -> tuple[Array]:
        chosen = fixed if axes is None else axes.tolist()
        return (x.squeeze() if chosen is None else x.squeeze(tuple(chosen)),)

    return run


def _unsqueeze(attributes: dict[str, Any], version: int) -> Operator:
    fixed = attributes.get("axes")

    def run(x: Array, axes: Array | None = None) -> tuple[Array]:
        chosen: Any = fixed if axes is None else axes.ravel().tolist()
        return (np.expand_dims(x, tuple(chosen)),)

    return run


def _shape(attributes: dict[str, Any], version: int) -> Operator:
    part = slice(attributes.get("start", 0), attributes.get("end"))
    return lambda x: (np.array(x.shape[part], np.int64),)


def _concat(attributes: dict[str, Any], version: int) -> Operator:
    axis = attributes["axis"]
    return lambda *arrays: (np.concatenate(arrays, axis),)


def _slice(attributes: dict[str, Any], version: int) -> Operator | None:
    if version < 10:  # attributes, until then
        return None

    def run(
        x: Array, starts: Array, ends: Array, axes: Array | None = None, steps: Array | None = None
    ) -> tuple[Array]:
        cut = [slice(None)] * x.ndim
        places = range(len(starts)) if axes is None else axes.tolist()
        strides = [1] * len(starts) if steps is None else steps.tolist()
        for axis, start, end, step in zip(places, starts.tolist(), ends.tolist(), strides, strict=True):
            cut[axis] = slice(start, end, step)
        return (x[tuple(cut)],)

    return run


def _gather(attributes: dict[str, Any], version: int) -> Operator:
    axis = attributes.get("axis", 0)
    return lambda x, indices: (np.asarray(np.take(x, indices, axis)),)


def _expand(attributes: dict[str, Any], version: int) -> Operator:
    def run(x: Array, shape: Array) -> tuple[Array]:
        return (np.array(np.broadcast_to(x, np.broadcast_shapes(x.shape, tuple(shape.tolist())))),)

    return run


def _identity(attributes: dict[str, Any], version: int) -> Operator:
    return lambda x: (x,)


def _of_two(function: Callable[[Array, Array], Any]) -> Callable[[dict[str, Any], int], Operator]:
    def make(attributes: dict[str, Any], version: int) -> Operator:
        return lambda a, b: (np.asarray(function(a, b)),)  # of two scalars NumPy makes no array

    return make


def _gemm(attributes: dict[str, Any], version: int) -> Operator | None:
    if any(attributes.get(name, 1.0) != 1.0 for name in ("alpha", "beta")):
        return None
    turned = [attributes.get(name, 0) for name in ("transA", "transB")]

    def run(a: Array, b: Array, c: Array | None = None) -> tuple[Array]:
        y = (a.T if turned[0] else a) @ (b.T if turned[1] else b)
        return (y if c is None else y + c,)

    return run


_MAKERS: dict[str, Callable[[dict[str, Any], int], Operator | None]] = {
    "Add": _of_two(np.add),
    "Concat": _concat,
    "Expand": _expand,
    "Gather": _gather,
    "Gemm": _gemm,
    "Identity": _identity,
    "MatMul": _of_two(np.matmul),
    "Mul": _of_two(np.multiply),
    "Reshape": _reshape,
    "Shape": _shape,
    "Slice": _slice,
    "Squeeze": _squeeze,
    "Sub": _of_two(np.subtract),
    "Transpose": _transpose,
    "Unsqueeze": _unsqueeze,
}
