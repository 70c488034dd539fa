"""Layers from the recurrent nodes of a model file."""

from __future__ import annotations

import os
from collections import defaultdict
from typing import Any, NamedTuple

import numpy as np
import onnx

from rnnfast import checks
from rnnfast.files import file_name
from rnnfast.onnx.files import LARGEST, Model, read_model
from rnnfast.onnx.folding import fold
from rnnfast.onnx.graphs import nodes_of, values_read
from rnnfast.onnx.node import INPUTS, OPERATORS, QUANTIZED, Node, is_recurrent, names_of, read_node
from rnnfast.onnx.quantized import dequantized
from rnnfast.onnx.shapes import Groups, Shapes
from rnnfast.onnx.weights import Weights, from_onnx
from rnnfast.recurrent import Recurrent, layers

__all__ = ["load_layers"]

Array = np.ndarray

_X: Groups = (("T",), ("B",), ("D", "H"))
_X_BATCH_FIRST: Groups = (("B",), ("T",), ("D", "H"))


def load_layers(path: str | os.PathLike[str], *, matmul_precision: str = "float32") -> dict[str, Recurrent]:
    """The recurrent nodes of a model file as layers, their weights copied.

    Nodes that are the layers of one stack become one layer with ``num_layers``: where all of a node's output
    Y goes to the next as its X, the directions side by side (over Squeeze, Transpose and Reshape), and the
    two agree in all but I, their sequence_lens included. A DynamicQuantizeLSTM of onnxruntime becomes an LSTM
    with the dequantized weights.

    Parameters
    ----------
    path : str or path-like
        A model of opset 7 or newer.
    matmul_precision : {"float32", "bfloat16", "int8"}
        Of the layers; it may be set later, too.

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
        It is no valid model or has no recurrent node. Or a node has no layer: other activations than the
        layer's, a clip, only the reverse direction, weights that depend on the graph's inputs, a place inside
        of another node, float64 with another `matmul_precision` than "float32". One line that opens with the
        path and names the node.

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
    checks.precision("matmul_precision", matmul_precision, np.dtype(np.float32))
    path = file_name(path)
    model = read_model(path)
    try:
        graph = _Graph(model)
        size = sum(found.weights.nbytes for found in graph.nodes)
        if size > LARGEST:  # nodes may share an array; layers do not
            raise ValueError(f"graph: expected at most {LARGEST} bytes of weights, got {size}")
        return {stack[0].name: _layer(stack, matmul_precision) for stack in graph.stacks()}
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


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

    def __init__(self, model: Model) -> None:
        graph = model.graph
        _, self.constants = fold(graph, model.opsets, model.arrays)
        self.outputs = {value.name for value in graph.output}
        self.readers: defaultdict[str, list[onnx.NodeProto]] = defaultdict(list)
        self.makers: dict[str, onnx.NodeProto] = {}
        recurrent = [node for node in graph.node if is_recurrent(node)]
        inside = sum(map(is_recurrent, nodes_of(graph))) - len(recurrent)
        if inside:
            raise ValueError(f"graph: {inside} recurrent nodes inside of other nodes, which have no layer")
        if not recurrent:
            raise ValueError(f"graph: expected nodes of {', '.join(OPERATORS)}, got none")
        for node in graph.node:
            self.makers |= dict.fromkeys(node.output, node)
            for name in values_read(node) if node.op_type != "Shape" else ():
                self.readers[name].append(node)
        self.nodes = [
            self._found(name, node) for name, node in zip(names_of(recurrent), recurrent, strict=True)
        ]
        named = {found.name: found for found in self.nodes}
        by_output = {
            found.proto.output[0]: (found.name, found.node, found.weights.R.shape[2]) for found in self.nodes
        }
        shapes = Shapes(graph, self.constants, by_output)
        self.below: dict[str, _Found] = {}  # by a node's name the one that all of its X comes from
        for found in self.nodes:
            self._check_state(found, shapes)
            laid = shapes.laid.get(found.proto.input[0])
            axes = _X_BATCH_FIRST if found.node.batch_first else _X
            if laid is not None and laid.reads_as(axes) and self._alone(found, laid.name):
                self.below[found.name] = named[laid.name]

    def _found(self, name: str, proto: onnx.NodeProto) -> _Found:
        """A node with its weights, checked."""
        node = read_node(proto)
        arrays: dict[str, Any] = {}
        for key, source in zip(INPUTS[proto.op_type], proto.input, strict=False):
            if key in ("X", "sequence_lens", "initial_h", "initial_c") or not source:
                continue
            if source not in self.constants:
                raise ValueError(f"node {name}: {key}: expected an array that the file holds, got {source!r}")
            arrays[key] = self.constants[source]
        try:
            weights = dequantized(node, arrays) if proto.op_type == QUANTIZED[1] else Weights(**arrays)
            weights.check(node)
        except (TypeError, ValueError) as error:
            raise ValueError(f"node {name}: {error}") from error
        return _Found(name, proto, node, weights, self._lengths(proto))

    def _lengths(self, proto: onnx.NodeProto) -> Any:
        """What tells the node's sequence_lens from others: a constant's numbers, else the value's name."""
        source = proto.input[4] if len(proto.input) > 4 else ""
        return tuple(self.constants[source].ravel().tolist()) if source in self.constants else source

    def _check_state(self, found: _Found, shapes: Shapes) -> None:
        """A layer gets its initial states from calls; but a node whose own do not fit cannot run at all."""
        for key, name in zip(("initial_h", "initial_c"), found.proto.input[5:7], strict=False):
            sizes = shapes.of(name)
            if name and sizes is not None:
                numbers = [None if size.names else size.number for size in sizes]
                try:
                    found.node.check_state(key, numbers, found.weights.R.shape[2])
                except ValueError as error:
                    raise ValueError(f"node {found.name}: {error}") from error

    def _alone(self, found: _Found, lower: str) -> bool:
        """Whether nothing else reads what comes from the node `lower` to this one's X, on all of the way."""
        name = found.proto.input[0]
        if name in found.proto.input[1:]:
            return False
        while True:
            maker = self.makers[name]
            if len(self.readers[name]) != 1 or name in self.outputs:
                return False
            if is_recurrent(maker):
                return True
            name = maker.input[0]

    def stacks(self) -> list[list[_Found]]:
        """The recurrent nodes, those of one stack together, in the order of their first ones."""
        stacks: dict[str, list[_Found]] = {}  # by the name of their last node
        for found in self.nodes:
            below = self.below.get(found.name)
            joined = below is not None and below.kind == found.kind
            stack = stacks.pop(below.name) if below is not None and joined else []
            stacks[found.name] = [*stack, found]
        order = [found.name for found in self.nodes]
        return sorted(stacks.values(), key=lambda stack: order.index(stack[0].name))


def _layer(stack: list[_Found], matmul_precision: str) -> Recurrent:
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
    try:
        checks.precision("matmul_precision", matmul_precision, weights.computed)
    except ValueError as error:
        raise ValueError(f"node {name}: {error}") from error
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
        matmul_precision=matmul_precision,
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
