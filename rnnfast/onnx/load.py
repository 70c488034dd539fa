"""Layers from the recurrent nodes of a model file."""

from __future__ import annotations

import math
import os
from collections import defaultdict
from typing import Any, NamedTuple

import numpy as np
import onnx

from rnnfast import layers
from rnnfast.onnx.files import LARGEST, nodes_of, read_model
from rnnfast.onnx.node import OPERATORS, Node, names_of, read_node
from rnnfast.onnx.weights import Weights, from_onnx
from rnnfast.recurrent import Recurrent

Array = np.ndarray

_AXES = 8  # more than any array between two layers has


def load_layers(path: str | os.PathLike[str]) -> dict[str, Recurrent]:
    """The recurrent nodes of a model file as layers, their weights copied.

    Nodes that are the layers of one stack become one layer with ``num_layers``: where all of a node's output
    Y goes to the next as its X, over the operators that exporters put in between (Squeeze of one direction;
    Transpose and Reshape, which lay two side by side), and the two agree in all but I, their sequence_lens
    included.

    Parameters
    ----------
    path : str or path-like
        A model of opset 7 or newer.

    Returns
    -------
    dict of str to RNN, LSTM or GRU
        By the name of the node (of the first of a stack; of one without a name, its first output's), in the
        graph's order. The layers are float32 (float64 for nodes that are), ``batch_first`` only for nodes of
        layout 1: exporters transpose instead, outside of the node.

    Raises
    ------
    OSError
        The file cannot be read.
    ValueError
        It is no valid model, or a node has no layer: other activations than the layer's, a clip, only the
        reverse direction, weights that are not stored in the file, a place inside of another node. One line
        that opens with the path and names the node.

    Notes
    -----
    Initial states and sequence lengths are not the layer's: it is given them at each call.

    Examples
    --------
    >>> import os, tempfile, numpy as np, rnnfast as rf, rnnfast.onnx
    >>> model = rf.Sequential(rf.GRU(3, 8, num_layers=2, rng=0), rf.Linear(8, 2, rng=1))
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = os.path.join(folder, "model.onnx")
    ...     rnnfast.onnx.export(model, path)
    ...     layers = rnnfast.onnx.load_layers(path)
    >>> layers
    {'0.GRU': GRU(3, 8, num_layers=2, dtype='float32')}
    >>> x = np.ones((5, 4, 3), np.float32)
    >>> np.array_equal(layers["0.GRU"](x)[0], model[0](x)[0])
    True
    """
    model = read_model(path)
    try:
        graph = _Graph(model.graph)
        size = sum(found.weights.nbytes for found in graph.nodes.values())
        if size > LARGEST:  # nodes may share an array; layers do not
            raise ValueError(f"graph: expected at most {LARGEST} bytes of weights, got {size}")
        return {stack[0].name: _layer(stack) for stack in graph.stacks()}
    except ValueError as error:
        raise ValueError(f"{os.fspath(path)}: {error}") from error


class _Found(NamedTuple):
    """A recurrent node of the graph."""

    name: str
    proto: onnx.NodeProto
    node: Node
    weights: Weights
    lengths: Any

    @property
    def kind(self) -> tuple[Any, ...]:
        """What the layers of a stack have in common."""
        return (
            *(self.node._replace(hidden_size=None)),
            self.weights.R.shape[2],
            self.weights.B is None,
            self.weights.P is None,
            self.weights.W.dtype,
            self.lengths,
        )


class _Graph:
    """The main graph of a model: its recurrent nodes, its constants, who reads the values of what."""

    def __init__(self, graph: onnx.GraphProto) -> None:
        self.readers: defaultdict[str, list[onnx.NodeProto]] = defaultdict(list)
        self.constants = {tensor.name: tensor for tensor in graph.initializer}
        self.shapes = {value.name: value.type.tensor_type.shape.dim for value in graph.value_info}
        self.outputs = {value.name for value in graph.output}
        nodes = list(graph.node)
        for node in nodes:
            for name in dict.fromkeys(node.input if node.op_type != "Shape" else ()):
                self.readers[name].append(node)
            if node.op_type == "Constant":
                values = [attribute.t for attribute in node.attribute if attribute.name == "value"]
                self.constants |= dict(zip(node.output, values, strict=False))
            elif node.op_type == "Identity" and node.input[0] in self.constants:
                self.constants[node.output[0]] = self.constants[node.input[0]]
        recurrent = [node for node in nodes if _is_recurrent(node)]
        inside = sum(map(_is_recurrent, nodes_of(graph))) - len(recurrent)
        if inside:
            raise ValueError(f"graph: {inside} recurrent nodes inside of other nodes, which have no layer")
        self.nodes: dict[str, _Found] = {}
        for name, proto in zip(names_of(recurrent), recurrent, strict=True):
            node = read_node(proto)
            self.nodes[name] = _Found(
                name, proto, node, self._weights(name, proto, node), self._lengths(proto)
            )
        self.by_proto = {id(found.proto): found for found in self.nodes.values()}

    def _weights(self, name: str, proto: onnx.NodeProto, node: Node) -> Weights:
        """The node's weights, checked."""
        found: dict[str, Any] = {}
        for key, place in (("W", 1), ("R", 2), ("B", 3), ("P", 7)):
            source = proto.input[place] if place < len(proto.input) else ""
            if source and source not in self.constants:
                raise ValueError(f"node {name}: {key}: expected an array that the file holds, got {source!r}")
            found[key] = onnx.numpy_helper.to_array(self.constants[source]) if source else None
        weights = Weights(**found)
        try:
            weights.check(node)
        except (TypeError, ValueError) as error:
            raise ValueError(f"node {name}: {error}") from error
        return weights

    def _lengths(self, proto: onnx.NodeProto) -> Any:
        """What tells the node's sequence_lens from others: a constant's numbers, else the value's name."""
        source = proto.input[4] if len(proto.input) > 4 else ""
        if source not in self.constants:
            return source
        return tuple(onnx.numpy_helper.to_array(self.constants[source]).ravel().tolist())

    def stacks(self) -> list[list[_Found]]:
        """The recurrent nodes, those of one stack together, in the order of their first ones."""
        after = {}
        for found in self.nodes.values():
            above = self._above(found)
            if above is not None and above.kind == found.kind:
                after[found.name] = above
        uppers = {found.name for found in after.values()}
        stacks = []
        for found in self.nodes.values():
            if found.name not in uppers:
                stack = [found]
                while stack[-1].name in after:
                    stack.append(after[stack[-1].name])
                stacks.append(stack)
        return stacks

    def _above(self, found: _Found) -> _Found | None:
        """The recurrent node whose X is all of this node's Y, the directions side by side."""
        Y, D, H = next(iter(found.proto.output), ""), len(found.node.reverse), found.weights.R.shape[2]
        reader = self._only_reader(Y)
        if reader is None:
            return None
        if reader.op_type == "Squeeze" and D == 1 and self._axes(reader) == [1]:
            x = reader.output[0]
        elif reader.op_type == "Transpose" and self._permutation(reader) == [0, 2, 1, 3]:
            reshape = self._only_reader(reader.output[0])
            if reshape is None or reshape.op_type != "Reshape":
                return None
            shape = self._integers(reshape.input[1])
            dims = [dim.dim_value for dim in self.shapes.get(reader.output[0], ())]
            kept = len(shape) == 3 and (shape[:2] == [0, 0] or (len(dims) == 4 and shape[:2] == dims[:2]))
            if not kept or shape[2] not in (-1, D * H):
                return None
            x = reshape.output[0]
        else:
            return None
        above = self._only_reader(x)
        if above is None or above.input[0] != x or x in above.input[1:]:
            return None
        return self.by_proto.get(id(above))

    def _only_reader(self, name: str) -> onnx.NodeProto | None:
        """The node that reads this value, if it is one, and the value no output of the graph."""
        readers = self.readers[name]
        return readers[0] if name and len(readers) == 1 and name not in self.outputs else None

    def _axes(self, squeeze: onnx.NodeProto) -> list[int]:
        """Its axes: an input from opset 13 on, an attribute before."""
        if len(squeeze.input) > 1:
            return self._integers(squeeze.input[1])
        return next((list(attribute.ints) for attribute in squeeze.attribute if attribute.name == "axes"), [])

    def _permutation(self, transpose: onnx.NodeProto) -> list[int]:
        return next((list(attribute.ints) for attribute in transpose.attribute), [])

    def _integers(self, name: str) -> list[int]:
        """The integers of a constant, axes or a shape; none where it is none."""
        tensor = self.constants.get(name)
        if tensor is None or math.prod(tensor.dims) > _AXES:
            return []
        values: list[int] = onnx.numpy_helper.to_array(tensor).ravel().tolist()
        return values


def _is_recurrent(node: onnx.NodeProto) -> bool:
    return node.op_type in OPERATORS and node.domain == ""


def _layer(stack: list[_Found]) -> Recurrent:
    """One layer with the weights of all the nodes of a stack."""
    name, node, weights = stack[0].name, stack[0].node, stack[0].weights
    D, H = len(node.reverse), weights.R.shape[2]
    missing = node.without_kernel
    if missing is None and node.reverse == (True,):
        missing = "direction reverse"
    options = [node.options(direction) for direction in range(D)] if missing is None else []
    if missing is None and options[0] != options[-1]:
        missing = "other activations in each direction"
    if missing is not None:
        raise ValueError(f"node {name}: expected what a layer can be, got {missing}")
    if node.operator == "LSTM":
        options[0]["peephole"] = weights.P is not None
    layer: Recurrent = getattr(layers, node.operator)(
        weights.W.shape[2],
        H,
        len(stack),
        bias=weights.B is not None,
        batch_first=node.batch_first,
        bidirectional=D == 2,
        dtype=weights.computed,
        **options[0],
    )
    arrays: dict[str, Array] = {}
    for place, found in enumerate(stack):
        if place and found.weights.W.shape[2] != D * H:
            raise ValueError(f"node {found.name}: W: expected I = {D * H}, got {found.weights.W.shape[2]}")
        for direction, suffix in enumerate(("", "_reverse")[:D]):
            own = from_onnx(found.node, found.weights.cast(), direction)
            arrays |= {f"{key}_l{place}{suffix}": array for key, array in own.items()}
    layer.load_state_dict(arrays)
    return layer
