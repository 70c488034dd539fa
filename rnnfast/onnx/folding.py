"""Values of a graph that no run changes, computed once when the model is read.

Exporters cut weights out of a module's arrays, reorder them and put them together inside of the graph. Only
operators that take memory in proportion to what they are given run here, and all of them together no more
than a bound that grows with the model: what would take more stays in the graph.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import onnx
from onnx.reference import ReferenceEvaluator

from rnnfast.onnx.files import LARGEST
from rnnfast.onnx.graphs import values_read

__all__ = ["fold"]

Array = np.ndarray

_VIEWS = frozenset({"Flatten", "Slice", "Split", "Squeeze", "Transpose", "Unsqueeze"})
_AS_LARGE = frozenset(
    {
        "Abs", "Cast", "CastLike", "Concat", "Constant", "DequantizeLinear", "Exp", "Identity", "Neg",
        "QuantizeLinear", "Reciprocal", "ReduceL2", "ReduceMax", "ReduceMean", "ReduceMin", "ReduceProd",
        "ReduceSum", "ReduceSumSquare", "Reshape", "Shape", "Size", "Sqrt",
    }
)  # fmt: skip
_BROADCAST = frozenset(
    {"Add", "And", "Div", "Equal", "Greater", "Less", "Max", "Min", "Mul", "Not", "Or", "Pow", "Sub", "Where"}
)
_LARGER = frozenset({"ConstantOfShape", "Expand", "Gather"})
_FOLDED = _VIEWS | _AS_LARGE | _BROADCAST | _LARGER
_ITEM = 8  # bytes of the largest element
_GROWTH = 32  # bytes per byte of the model: int4 to float32 is 8, and each is put together a few times
_LEAST = 2**20


def fold(
    graph: onnx.GraphProto, opsets: Mapping[str, int], known: Mapping[str, Array]
) -> tuple[list[onnx.NodeProto], dict[str, Array]]:
    """The nodes of a graph that are left to run, and the values that no run changes.

    Parameters
    ----------
    graph : onnx.GraphProto
        Checked, its nodes in order.
    opsets : dict of str to int
    known : mapping of str to ndarray
        Values that no run changes.

    Returns
    -------
    list of onnx.NodeProto
        In the graph's order.
    dict of str to ndarray
        What they, or the graph's outputs, read of `known` and of all that follows from it.

    Examples
    --------
    >>> import numpy as np, onnx
    >>> from rnnfast.onnx.folding import fold
    >>> make, value = onnx.helper.make_node, onnx.helper.make_tensor_value_info
    >>> nodes = [make("Neg", ["W"], ["V"]), make("Transpose", ["V"], ["U"])]
    >>> nodes.append(make("MatMul", ["x", "U"], ["y"]))
    >>> ends = [[value(name, onnx.TensorProto.FLOAT, None)] for name in "xy"]
    >>> left, folded = fold(onnx.helper.make_graph(nodes, "g", *ends), {"": 17}, {"W": np.ones((1, 2))})
    >>> [node.op_type for node in left]
    ['MatMul']
    >>> {name: array.ravel().tolist() for name, array in folded.items()}
    {'U': [-1.0, -1.0]}
    """
    candidates, names = {}, {"", *known}
    wanted = {value.name for value in graph.output}
    for place, node in enumerate(graph.node):
        if node.domain == "" and node.op_type in _FOLDED and names.issuperset(node.input):
            candidates[place] = node
            names.update(node.output)
        else:
            wanted |= values_read(node)
    uses = Counter(name for node in candidates.values() for name in node.input)
    held = _held(candidates.values()) + sum(array.nbytes for array in known.values())
    budget = min(4 * LARGEST, _LEAST + _GROWTH * held)
    values: dict[str, Any] = {"": None, **known}
    folded = set()
    for place, node in candidates.items():
        outputs, size = None, 0
        if values.keys() >= set(node.input):  # what makes one of them may have been left
            inputs = [values[name] for name in node.input]
            size = _bound(node.op_type, inputs)
            outputs = _outputs(node, opsets, inputs) if size <= budget else None
        if outputs is None:
            wanted |= set(node.input)
            continue
        folded.add(place)
        budget -= size
        values.update((name, array) for name, array in zip(node.output, outputs, strict=False) if name)
        for name in set(node.input):
            uses[name] -= node.input[:].count(name)
            if not uses[name] and name and name not in wanted:
                del values[name]
    left = [node for place, node in enumerate(graph.node) if place not in folded]
    return left, {name: values[name] for name in wanted & values.keys() if name}


def _held(nodes: Iterable[onnx.NodeProto]) -> int:
    """Bytes of the tensors in Constant nodes."""
    return sum(node.ByteSize() for node in nodes if node.op_type == "Constant")


def _outputs(
    node: onnx.NodeProto, opsets: Mapping[str, int], inputs: list[Array | None]
) -> tuple[Any, ...] | None:
    """What ONNX's evaluator makes of the node; None where it fails: a run will fail too."""
    imports = [onnx.helper.make_opsetid(domain, version) for domain, version in opsets.items()]
    model = onnx.ModelProto(graph=onnx.GraphProto(node=[node]), opset_import=imports)
    try:
        outputs: tuple[Any, ...] = ReferenceEvaluator(model).rt_nodes_[0].run(*inputs)
    except Exception:  # its operators raise anything
        return None
    return outputs


def _bound(operator: str, inputs: list[Array | None]) -> int:
    """No fewer bytes than the outputs take that are no views."""
    given = [array for array in inputs if array is not None]
    if operator in _VIEWS:
        return 0
    try:
        if operator == "ConstantOfShape":
            return _ITEM * math.prod(given[0].tolist())
        if operator == "Expand":
            return _ITEM * math.prod(np.broadcast_shapes(given[0].shape, tuple(given[1].tolist())))
        if operator == "Gather":
            return _ITEM * given[0].size * given[1].size
        if operator in _BROADCAST:
            return _ITEM * math.prod(np.broadcast_shapes(*(array.shape for array in given)))
    except (TypeError, ValueError):  # shapes that do not fit
        return 2 * 4 * LARGEST
    return _ITEM * sum(array.size for array in given)
