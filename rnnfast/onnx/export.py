"""Modules as model files that onnxruntime and others run."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto

from rnnfast import checks
from rnnfast.config import __version__
from rnnfast.files import written_whole
from rnnfast.nn import Dropout, Embedding, Last, Linear, Module, Sequential
from rnnfast.onnx.node import INPUTS, QUANTIZED
from rnnfast.onnx.quantized import quantized
from rnnfast.onnx.weights import Weights, to_onnx
from rnnfast.recurrent import GRU, LSTM, RNN, Recurrent

__all__ = ["export"]

Array = np.ndarray

OPSET = 17
_IR_VERSION = 8  # what came with this opset
_PRECISIONS = ("float32", "int8")
_ACTIVATIONS = {"tanh": "Tanh", "relu": "Relu", "sigmoid": "Sigmoid", "identity": "Affine"}


def export(
    model: Module,
    path: str | os.PathLike[str],
    *,
    states: bool = False,
    lengths: bool = False,
    matmul_precision: str = "float32",
) -> None:
    """Write a module as an ONNX file that computes what calling it does.

    The graph has the input ``x`` and the output ``y``, and for each recurrent layer an output ``h_n`` (and
    ``c_n``), its final state. The state of a layer inside of a Sequential has its place in front, ``0.h_n``,
    as parameters have. Shapes are the module's own, ``batch_first`` included; T and B may differ from run to
    run.

    Parameters
    ----------
    model : Module
        RNN, LSTM, GRU, Linear, Embedding, Dropout (which does nothing in evaluation), Last, or a Sequential
        of them.
    path : str or path-like
        The file, by convention ``*.onnx``; taken as it is. It is written whole or not at all.
    states : bool
        Whether the graph has inputs for the initial states, ``h_0`` (and ``c_0``), which each run must then
        bring. Without them they are zero.
    lengths : bool
        Whether the graph has an input ``lengths``, int32 ``[B]``: how many steps, 1..T, each sequence has.
    matmul_precision : {"float32", "int8"}
        "int8" writes each LSTM as onnxruntime's DynamicQuantizeLSTM, with the integers and scales of a layer
        in int8. Such a file is for onnxruntime and `prepare`. Linear and Embedding stay float32.

    Raises
    ------
    TypeError
        `model`, or a module in it, is none of these.
    ValueError
        ONNX cannot say it: proj_size, cell_clip, layer_norm, zoneout, a recurrent layer behind `Last`. Or in
        int8: an RNN or GRU, float64, a weight that is not finite, no LSTM at all.
    OSError
        The file cannot be written.

    Notes
    -----
    The file is of opset 17. Numbers are those of the module to within rounding. onnxruntime has no float64
    kernels for recurrent nodes; `rnnfast.onnx.prepare` runs such files too.

    Examples
    --------
    >>> import os, tempfile, numpy as np, rnnfast as rf, rnnfast.onnx
    >>> model = rf.Sequential(rf.LSTM(3, 8, rng=0), rf.Last(), rf.Linear(8, 2, rng=1))
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = os.path.join(folder, "model.onnx")
    ...     rnnfast.onnx.export(model, path)
    ...     prepared = rnnfast.onnx.prepare(path)
    >>> prepared.inputs, prepared.outputs
    (['x'], ['y', '0.h_n', '0.c_n'])
    >>> x = np.ones((5, 4, 3), np.float32)
    >>> result = prepared.run([x])
    >>> bool(np.allclose(result["y"], model(x)[0], atol=1e-6))
    True
    """
    graph = _Graph(states, lengths, checks.one_of("matmul_precision", matmul_precision, _PRECISIONS))
    graph.add_model(model)
    data = graph.model().SerializeToString()
    with written_whole(path) as file:
        file.write(data)


class _Graph:
    """A graph in the making: nodes are added at its end, values go by their names."""

    def __init__(self, states: bool, lengths: bool, precision: str) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.inputs: list[onnx.ValueInfoProto] = []
        self.outputs: list[onnx.ValueInfoProto] = []
        self.constants: dict[str, Array] = {}
        self.states = states
        self.lengths = "lengths" if lengths else ""
        self.in_int8 = precision == "int8"
        # Of the value at the end: whether it still has an axis of time, and the size of its last axis.
        self.sequence = True
        self.width: int | str = "N"

    def add_model(self, model: Module) -> None:
        """All of the graph: `model`, from x to y."""
        parts = _parts(model, "")
        modules = [part for _, part in parts]
        dtypes = {part.dtype for part in modules if part.dtype is not None}
        if len(dtypes) > 1:
            raise ValueError(f"model: expected one dtype, got {' and '.join(sorted(map(str, dtypes)))}")
        dtype = dtypes.pop() if dtypes else np.dtype(np.float32)
        if self.in_int8 and not any(isinstance(part, Recurrent) for part in modules):
            raise ValueError("model: expected an LSTM with matmul_precision='int8', got none")
        if any(isinstance(part, Embedding) for part in modules[1:]):
            raise ValueError("model: expected an Embedding at its beginning alone, got one behind")
        ordered = [part for part in modules if isinstance(part, (Recurrent, Last))]
        axes = ["B", "T"] if ordered and ordered[0].batch_first else ["T", "B"]
        if isinstance(modules[0], Embedding):
            self.inputs.append(_value("x", np.dtype(np.int64), axes))
        else:
            sizes = [getattr(part, _SIZES[type(part)]) for part in modules if type(part) in _SIZES]
            self.width = sizes[0] if sizes else "N"
            self.inputs.append(_value("x", dtype, [*axes, self.width]))
        if self.lengths:
            self.inputs.append(_value("lengths", np.dtype(np.int32), ["B"]))
        y = "x"
        for prefix, part in parts:
            try:
                y = _ADD[type(part)](self, y, part, prefix)
            except ValueError as error:
                raise ValueError(f"model: {type(part).__name__} {prefix.rstrip('.')}: {error}") from error
        self.add("Identity", [y], "y")
        self.outputs.insert(0, _value("y", dtype, [*(axes if self.sequence else ["B"]), self.width]))

    def add(self, operator: str, inputs: list[str], *outputs: str, name: str = "", **attributes: Any) -> str:
        """Add a node, called as its first output if it has no name of its own; that output is returned."""
        node = onnx.helper.make_node(operator, inputs, outputs, name=name or outputs[0], **attributes)
        self.nodes.append(node)
        return outputs[0]

    def constant(self, name: str, value: Any, dtype: Any = np.int64) -> str:
        """Add an array that the file holds; its name is returned."""
        self.constants[name] = np.array(value, dtype, order="C")
        return name

    def model(self) -> onnx.ModelProto:
        """The whole of it, as ONNX's checker accepts it."""
        constants = [onnx.numpy_helper.from_array(array, name) for name, array in self.constants.items()]
        opsets = {"": OPSET} | ({QUANTIZED[0]: 1} if self.in_int8 else {})
        graph = onnx.helper.make_graph(self.nodes, "rnnfast", self.inputs, self.outputs, constants)
        model = onnx.helper.make_model(
            graph,
            opset_imports=[onnx.helper.make_opsetid(*opset) for opset in opsets.items()],
            ir_version=_IR_VERSION,
            producer_name="rnnfast",
            producer_version=__version__,
        )
        onnx.checker.check_model(model)
        return model

    # One method for each kind of module, from the name of x to that of y.

    def add_dropout(self, x: str, module: Dropout, prefix: str) -> str:
        return x

    def add_embedding(self, x: str, module: Embedding, prefix: str) -> str:
        self.width = module.embedding_dim
        weight = self.constant(prefix + "weight", module.weight.data, module.dtype)
        return self.add("Gather", [weight, x], prefix + "Gather")

    def add_linear(self, x: str, module: Linear, prefix: str) -> str:
        self.width = module.out_features
        weight = self.constant(prefix + "weight", module.weight.data.T, module.dtype)
        y = self.add("MatMul", [x, weight], prefix + "MatMul")
        if module.bias is None:
            return y
        bias = self.constant(prefix + "bias", module.bias.data, module.dtype)
        return self.add("Add", [y, bias], prefix + "Add")

    def add_last(self, x: str, module: Last, prefix: str) -> str:
        self._need_sequence()
        self.sequence = False
        axis = int(module.batch_first)
        if not module.bidirectional:
            return self._last(x, axis, prefix)
        forward, reverse = prefix + "forward", prefix + "reverse"
        self.add("Split", [x], forward, reverse, axis=-1)
        zero = self.constant(prefix + "zero", 0)
        parts = [
            self._last(forward, axis, prefix),
            self.add("Gather", [reverse, zero], prefix + "first", axis=axis),
        ]
        return self.add("Concat", parts, prefix + "Concat", axis=-1)

    def _last(self, x: str, axis: int, prefix: str) -> str:
        """x at the last step of each sequence."""
        if not self.lengths:
            end = self.constant(prefix + "end", -1)
            return self.add("Gather", [x, end], prefix + "last", axis=axis)
        one = self.constant(prefix + "minus_one", [-1])
        by_sequence = x if axis else self.add("Transpose", [x], prefix + "by_sequence", perm=[1, 0, 2])
        lengths = self.add("Cast", [self.lengths], prefix + "int64", to=TensorProto.INT64)
        ends = self.add("Add", [lengths, one], prefix + "ends")
        places = self.add("Unsqueeze", [ends, one], prefix + "places")
        return self.add("GatherND", [by_sequence, places], prefix + "last", batch_dims=1)

    def add_recurrent(self, x: str, module: Recurrent, prefix: str) -> str:
        self._need_sequence()
        operator = type(module).__name__
        kind = self._kind(module)
        attributes = _attributes(module) | ({"domain": QUANTIZED[0]} if self.in_int8 else {})
        D, H, L = 2 if module.bidirectional else 1, module.hidden_size, module.num_layers
        self.width = D * H
        if module.batch_first:
            x = self.add("Transpose", [x], prefix + "time_first", perm=[1, 0, 2])
        initial = [self._initial(f"{prefix}{part}_0", module) for part in module.parts]
        finals: list[list[str]] = [[] for _ in module.parts]
        state_dict = module.state_dict()
        for layer in range(L):
            name = f"{prefix}{operator}" + (f"_{layer}" if layer else "")
            weights = _weights(module, state_dict, layer)
            arrays = quantized(weights) if self.in_int8 else weights._asdict()
            named = {
                key: self.constant(f"{name}.{key}", array, array.dtype)
                for key, array in arrays.items()
                if array is not None
            }
            named |= {"X": x, "sequence_lens": self.lengths}
            named |= {f"initial_{key}": part[layer] for key, part in zip(module.parts, initial, strict=True)}
            inputs = [named.get(key, "") for key in INPUTS[kind]]
            outputs = [f"{name}.{key}" for key in ("Y", "Y_h", "Y_c")[: 1 + len(module.parts)]]
            for final, output in zip(finals, outputs[1:], strict=True):
                final.append(output)
            self.add(kind, inputs, *outputs, name=name, **attributes)
            if D == 1:
                x = self.add("Squeeze", [outputs[0], self.constant("one", [1])], f"{name}.squeezed")
            else:  # [T, D, B, H] to [T, B, D*H]
                x = self.add("Transpose", [outputs[0]], f"{name}.transposed", perm=[0, 2, 1, 3])
                shape = self.constant(f"{name}.shape", [0, 0, D * H])
                x = self.add("Reshape", [x, shape], f"{name}.reshaped")
        for part, final in zip(module.parts, finals, strict=True):
            self.add("Concat", final, f"{prefix}{part}_n", axis=0)
            self.outputs.append(_value(f"{prefix}{part}_n", module.dtype, [L * D, "B", H]))
        return self.add("Transpose", [x], prefix + "batch_first", perm=[1, 0, 2]) if module.batch_first else x

    def _kind(self, module: Any) -> str:
        """The operator of a layer's nodes."""
        operator = type(module).__name__
        if not self.in_int8:
            return operator
        if operator != "LSTM":
            raise ValueError(
                f"matmul_precision: expected 'float32', as onnxruntime has no {operator} of int8, got 'int8'"
            )
        checks.precision("matmul_precision", "int8", module.dtype)
        return QUANTIZED[1]

    def _initial(self, name: str, module: Recurrent) -> list[str]:
        """Of a part of the state each layer's [D, B, H]; the whole is an input, if states are asked for."""
        L, H = module.num_layers, module.hidden_size
        D = 2 if module.bidirectional else 1
        if not self.states:
            return [""] * L
        self.inputs.append(_value(name, module.dtype, [L * D, "B", H]))
        if L == 1:
            return [name]
        names = [f"{name}.l{layer}" for layer in range(L)]
        sizes = self.constant(name + ".sizes", [D] * L)
        self.add("Split", [name, sizes], *names, axis=0)
        return names

    def _need_sequence(self) -> None:
        if not self.sequence:
            raise ValueError("expected a sequence, but a Last is before it")


_ADD: dict[type, Callable[[_Graph, str, Any, str], str]] = {
    Dropout: _Graph.add_dropout,
    Embedding: _Graph.add_embedding,
    GRU: _Graph.add_recurrent,
    LSTM: _Graph.add_recurrent,
    Last: _Graph.add_last,
    Linear: _Graph.add_linear,
    RNN: _Graph.add_recurrent,
}
# What has the size of x's last axis; the others take any.
_SIZES = {GRU: "input_size", LSTM: "input_size", Linear: "in_features", RNN: "input_size"}


def _parts(model: Module, prefix: str) -> list[tuple[str, Any]]:
    """The modules inside of `model` that are no Sequential, each with the prefix of its names."""
    if type(model) is Sequential:
        return [part for place, inner in enumerate(model) for part in _parts(inner, f"{prefix}{place}.")]
    if type(model) not in _ADD:
        known = ", ".join(kind.__name__ for kind in _ADD)
        came = f"{type(model).__name__} at {prefix.rstrip('.')}" if prefix else type(model).__name__
        raise TypeError(f"model: expected {known} or a Sequential of them, got {came}")
    return [(prefix, model)]


def _attributes(module: Any) -> dict[str, Any]:
    """The attributes of a layer's nodes; a ValueError for what ONNX cannot say."""
    directions = 2 if module.bidirectional else 1
    if module.zoneout != 0.0:
        raise ValueError(
            f"zoneout: expected 0.0, as ONNX cannot say its expectation in evaluation, got {module.zoneout}"
        )
    attributes: dict[str, Any] = {
        "hidden_size": module.hidden_size,
        "direction": "bidirectional" if module.bidirectional else "forward",
    }
    if module.layer_norm:
        raise ValueError("layer_norm: expected False, as ONNX has none, got True")
    if isinstance(module, RNN):
        attributes["activations"] = [_ACTIVATIONS[module.nonlinearity]] * directions
        if module.nonlinearity == "identity":
            attributes |= {"activation_alpha": [1.0] * directions, "activation_beta": [0.0] * directions}
    elif isinstance(module, GRU):
        attributes["linear_before_reset"] = int(module.reset_after)
    else:
        for name, default in (("proj_size", 0), ("cell_clip", None)):
            if getattr(module, name) != default:
                raise ValueError(f"{name}: expected {default}, as ONNX has none, got {getattr(module, name)}")
        attributes["input_forget"] = int(module.coupled_gates)
    return attributes


def _weights(module: Any, state_dict: dict[str, Array], layer: int) -> Weights:
    """The weights of one layer of a stack, as its node takes them."""
    directions = []
    for suffix in (f"_l{layer}", f"_l{layer}_reverse")[: 2 if module.bidirectional else 1]:
        directions.append(
            {name.removesuffix(suffix): array for name, array in state_dict.items() if name.endswith(suffix)}
        )
    return to_onnx(type(module).__name__, directions, getattr(module, "coupled_gates", False))


def _value(name: str, dtype: Any, shape: list[Any]) -> onnx.ValueInfoProto:
    return onnx.helper.make_tensor_value_info(name, onnx.helper.np_dtype_to_tensor_dtype(dtype), shape)
