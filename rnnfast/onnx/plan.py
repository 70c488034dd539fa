"""A model as the calls that a run makes, one after the other.

What no run changes is computed before, nodes whose values nobody reads are left out, and the kernels get
their weights packed.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping
from typing import Any, NamedTuple

import numpy as np
import onnx
from onnx.reference import ReferenceEvaluator
from onnx.reference.op_run import OpRun

from rnnfast import checks
from rnnfast.onnx.files import LARGEST, Model
from rnnfast.onnx.folding import fold
from rnnfast.onnx.graphs import declared_as, values_read
from rnnfast.onnx.loops import Loop, Operator, Scan
from rnnfast.onnx.node import OPERATORS, name_of, names_of, read_node
from rnnfast.onnx.operators import quick
from rnnfast.onnx.products import PRODUCTS, Product
from rnnfast.onnx.recurrence import Recurrence
from rnnfast.onnx.weights import Weights

__all__ = ["Plan", "Recurrent", "evaluator_of"]

Array = np.ndarray
_log = logging.getLogger("rnnfast.onnx")

_INPUTS = {
    "RNN": ("X", "W", "R", "B", "sequence_lens", "initial_h"),
    "GRU": ("X", "W", "R", "B", "sequence_lens", "initial_h"),
    "LSTM": ("X", "W", "R", "B", "sequence_lens", "initial_h", "initial_c", "P"),
}


class _Step(NamedTuple):
    """One call of a run."""

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
    matmul_precision : {"float32", "bfloat16"}
        Of the products of recurrent nodes, MatMul and Gemm.

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
        self, model: Model, constants: Mapping[str, Array], matmul_precision: str = "float32"
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
        for call, reads, writes, in_context in self._steps:
            inputs = [values[name] for name in reads]
            results = call(*inputs, context=values) if in_context else call(*inputs)
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
        return _Step(operator.compute, operator.reads(), writes, False)
    if operator.need_context():
        return _Step(operator.run, reads, writes, True)
    return _Step(quick(node, opsets.get("", 0)) or operator.run, reads, writes, False)


class Recurrent(Operator):
    """A recurrent node in ONNX's evaluator; `made` collects those of one model."""

    made: list[Recurrent]
    precision: str  # of the model

    def __init__(self, onnx_node: onnx.NodeProto, run_params: dict[str, Any]) -> None:
        node = read_node(onnx_node)  # first, as it names what is wrong
        self.recurrence = Recurrence(node, None, self.precision)
        super().__init__(onnx_node, run_params)
        self.made.append(self)
        missing = self.recurrence.node.without_kernel
        if missing is None:
            _log.info("node %s: on the kernels", name_of(onnx_node))
        else:
            _log.warning("node %s: in NumPy, as no kernel has %s", name_of(onnx_node), missing)

    def check_precision(self, doubles: Collection[str]) -> None:
        """Raise a ValueError if a float64 array (these are their names) is an input of a node that rounds."""
        if not set(self.onnx_node.input).isdisjoint(doubles):
            try:
                checks.precision("matmul_precision", self.precision, np.dtype(np.float64))
            except ValueError as error:
                raise self.error(error) from error

    def fix_weights(self, fixed: Mapping[str, Array]) -> int:
        """Make the weights ready if all of them are among arrays that no run changes; how many bytes."""
        named = dict(zip(_INPUTS[self.op_type], self.onnx_node.input, strict=False))
        names = {key: named[key] for key in Weights._fields if named.get(key)}
        weights = None
        try:
            if fixed.keys() >= set(names.values()):
                weights = Weights(**{key: fixed[name] for key, name in names.items()})
                self.recurrence = Recurrence(self.recurrence.node, weights, self.precision)
            H = None if weights is None else weights.R.shape[2]
            for key in ("initial_h", "initial_c"):
                if named.get(key) in fixed:
                    self.recurrence.node.check_state(key, fixed[named[key]].shape, H)
        except (TypeError, ValueError) as error:
            raise self.error(error) from error
        return 0 if weights is None else weights.nbytes

    def reads(self) -> list[str]:
        """The names of its inputs, none for weights that are ready."""
        named = zip(_INPUTS[self.op_type], self.onnx_node.input, strict=False)
        ready = Weights._fields if self.recurrence.is_ready else ()
        return ["" if key in ready else name for key, name in named]

    def compute(self, *inputs: Any) -> tuple[Array, ...]:
        """The node's outputs."""
        try:
            return self.recurrence(*inputs)
        except (TypeError, ValueError) as error:
            raise self.error(error) from error

    def _run(self, *inputs: Array | None, **attributes: Any) -> tuple[Array, ...]:
        return self.compute(*inputs)


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
    proto: onnx.ModelProto | onnx.NodeProto, made: list[Recurrent], matmul_precision: str = "float32"
) -> ReferenceEvaluator:
    """ONNX's evaluator of `proto`, with operators of ours; the recurrent ones are put into `made`."""
    own = {"made": made, "precision": matmul_precision}
    ours = [type(name, (Recurrent,), own) for name in OPERATORS]
    if matmul_precision != "float32":  # which NumPy computes
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
