"""A model as the calls that a run makes, one after the other.

What no run changes is computed before, nodes whose values nobody reads are left out, and the kernels get
their weights packed.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import onnx
from onnx.reference import ReferenceEvaluator
from onnx.reference.op_run import OpRun

from rnnfast.onnx.files import LARGEST, Model
from rnnfast.onnx.folding import fold
from rnnfast.onnx.graphs import NodeError, declared_as, failure_of, values_read
from rnnfast.onnx.loops import Loop, Scan
from rnnfast.onnx.node import OPERATORS, QUANTIZED, names_of
from rnnfast.onnx.operators import quick
from rnnfast.onnx.products import PRODUCTS, Product
from rnnfast.onnx.recurrent import QuantizedLSTM, Recurrent

__all__ = ["Plan", "evaluator_of"]

Array = np.ndarray


class _Step(NamedTuple):
    """One call of a run."""

    node: onnx.NodeProto
    call: Any
    reads: list[str]
    writes: list[str | None]  # None: an output left out
    in_context: bool  # whether it is given all values, for the graphs inside of it


class Plan:
    """A model, ready to run.

    Parameters
    ----------
    model : Model
    constants : mapping of str to ndarray
        Those of its initializers that no run changes.
    matmul_precision : {"float32", "bfloat16", "int8"} or None
        Of the products of recurrent nodes, MatMul and Gemm. None is float32 for all but the nodes that hold
        int8.

    Attributes
    ----------
    paths : dict of str to str
        ``"kernels"`` or ``"numpy"`` for each recurrent node, by its name.

    Raises
    ------
    ValueError
        A node cannot be run; the message names it.
    """

    def __init__(
        self, model: Model, constants: Mapping[str, Array], matmul_precision: str | None = None
    ) -> None:
        graph = model.graph
        self._outputs = [value.name for value in graph.output]
        nodes, constants = fold(graph, model.opsets, constants)
        left = onnx.GraphProto(
            node=nodes, input=graph.input, output=graph.output, value_info=graph.value_info
        )
        imports = [onnx.helper.make_opsetid(*opset) for opset in model.opsets.items()]
        made: list[Recurrent] = []
        evaluator = evaluator_of(onnx.ModelProto(graph=left, opset_import=imports), made, matmul_precision)
        doubles = declared_as(graph, onnx.TensorProto.DOUBLE)
        size = _fix_weights(evaluator, constants, doubles, model.opsets)
        if size > LARGEST:  # nodes may share an array, but not what is made of it
            raise ValueError(f"model: expected at most {LARGEST} bytes of weights, got more")
        names = names_of([operator.onnx_node for operator in made])
        self.paths = {name: operator.recurrence.path for name, operator in zip(names, made, strict=True)}
        self._steps = []
        wanted = set(self._outputs)
        for node, operator in zip(reversed(nodes), reversed(evaluator.rt_nodes_), strict=True):
            if not wanted.isdisjoint(filter(None, node.output)):
                step = _step(node, operator, model.opsets)
                self._steps.append(step)
                wanted |= set(step.reads) | (values_read(node) if step.in_context else set())
        self._steps.reverse()
        self._constants = {name: array for name, array in constants.items() if name in wanted}
        for array in self._constants.values():
            array.flags.writeable = False  # a view of it may be an output

    def run(self, given: Mapping[str, Any]) -> list[Any]:
        """The graph's outputs; `given` has its inputs, checked, or other values in place of constants."""
        values: dict[Any, Any] = {"": None, **self._constants, **given}
        for node, call, reads, writes, in_context in self._steps:
            inputs = [values[name] for name in reads]
            try:
                results = call(*inputs, context=values) if in_context else call(*inputs)
            except (NodeError, MemoryError):
                raise
            except Exception as error:  # operators raise anything
                raise failure_of(node, inputs, error) from error
            values.update(zip(writes, results, strict=False))
        return [
            _own(values[name]) if name not in given and name not in self._constants else _copied(values[name])
            for name in self._outputs
        ]


def _own(value: Any) -> Any:
    """An output as it is handed out, an array in row order."""
    return value.copy() if isinstance(value, np.ndarray) and not value.flags.c_contiguous else value


def _copied(value: Any) -> Any:
    return value.copy() if isinstance(value, np.ndarray) else value


def _step(node: onnx.NodeProto, operator: OpRun, opsets: Mapping[str, int]) -> _Step:
    reads = list(node.input)
    writes: list[str | None] = [name or None for name in node.output]
    if isinstance(operator, (Recurrent, Product)):
        return _Step(node, operator.compute, operator.reads(), writes, False)
    if operator.need_context():
        return _Step(node, operator.run, reads, writes, True)
    return _Step(node, quick(node, opsets.get("", 0)) or operator.run, reads, writes, False)


def _fix_weights(
    evaluator: ReferenceEvaluator, around: Mapping[str, Array], doubles: set[str], opsets: Mapping[str, int]
) -> int:
    """Make the weights of recurrent nodes and products ready, those inside of others too; how many bytes.

    `around` has the arrays that no run changes, `doubles` the names of values that are declared as float64.
    """
    size = 0
    doubles = doubles | {name for name, array in around.items() if array.dtype == np.float64}
    for operator in evaluator.rt_nodes_:
        if isinstance(operator, Recurrent):
            operator.check_precision(doubles)
        if isinstance(operator, (Recurrent, Product)):
            size += operator.fix_weights(around)
        for inner in vars(operator).values():
            if isinstance(inner, ReferenceEvaluator):
                graph = inner.proto_
                hidden = {value.name for value in graph.input}.union(*(node.output for node in graph.node))
                known = {name: array for name, array in around.items() if name not in hidden}
                known |= {name: array for name, array in inner.rt_inits_.items() if name not in hidden}
                double = (doubles - hidden) | declared_as(graph, onnx.TensorProto.DOUBLE)
                size += _fix_weights(inner, known | fold(graph, opsets, known)[1], double, opsets)
    return size


def evaluator_of(
    proto: onnx.ModelProto | onnx.NodeProto, made: list[Recurrent], matmul_precision: str | None = None
) -> ReferenceEvaluator:
    """ONNX's evaluator of `proto`, with operators of ours; the recurrent ones are put into `made`."""
    own = {"made": made, "precision": matmul_precision or "float32"}
    ours: list[Any] = [type(name, (Recurrent,), own) for name in OPERATORS]
    ours.append(type(QUANTIZED[1], (QuantizedLSTM,), own | {"in_int8": matmul_precision in (None, "int8")}))
    if own["precision"] != "float32":  # which NumPy computes
        ours += [type(name, (Product,), own) for name in PRODUCTS]
    try:
        return ReferenceEvaluator(proto, new_ops=[*ours, Loop, Scan])
    except (
        AttributeError,
        KeyError,
        NotImplementedError,
        RuntimeError,
        TypeError,
        UnicodeDecodeError,
    ) as error:
        raise ValueError(f"model: {str(error).split(chr(10), 1)[0]}") from error
