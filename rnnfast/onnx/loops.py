"""ONNX's Loop and Scan for its evaluator, whose own leave parts of them out.

Their bodies run in the evaluator too, so that recurrent nodes inside of them run where all others do.
Source: the operators' text in ONNX, Loop of opset 1 to 25 and Scan of 9 to 25.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import count
from typing import Any, NamedTuple

import numpy as np
import onnx
from onnx.reference.op_run import OpRun

from rnnfast.onnx.graphs import NodeError
from rnnfast.onnx.node import name_of

__all__ = ["Loop", "Operator", "Scan", "Way"]

Array = np.ndarray


class Operator(OpRun):
    """An operator of ours in ONNX's evaluator."""

    op_domain = ""

    @property
    def output(self) -> list[str]:
        """The outputs' names, none of them empty: under that one the evaluator has inputs left out."""
        return [name or f"output {n} left out" for n, name in enumerate(self.onnx_node.output)]

    def error(self, message: object) -> NodeError:
        """An error that names the node."""
        return NodeError(f"node {name_of(self.onnx_node)}: {message}")


class Way(NamedTuple):
    """How an array is cut into the slices of steps, or put together from them."""

    axis: int = 0
    backwards: bool = False


class _Repeated(Operator):
    """A node whose body runs again and again: some outputs go into the next run, the scans are stacked."""

    def need_context(self) -> bool:
        """The body may use all values around it."""
        return True

    def read_body(self, inputs: int, outputs: int, unstacked: int) -> None:
        """The body's scans, its outputs after the first `unstacked`; a ValueError if it has other counts."""
        got = len(self.body.input_names), len(self.body.output_names)
        outputs = max(outputs, unstacked)
        if got[0] != inputs or got[1] < outputs:
            raise self.error(
                f"body: expected {inputs} inputs and {outputs} outputs or more, got {got[0]} and {got[1]}"
            )
        self.scans = list(zip(self.body.output_names, self.body.output_types, strict=True))[unstacked:]

    def run_body(self, given: Sequence[Any], context: Mapping[str, Any], attributes: Any) -> list[Any]:
        """The body's outputs; `context` has the values around it."""
        named = dict(zip(self.body.input_names, given, strict=True))
        outputs: list[Any] = self.body.run(None, {**context, **named}, attributes=attributes)
        return outputs

    def stacked(self, steps: Sequence[Sequence[Array]], ways: Sequence[Way]) -> list[Array]:
        """The scans of all steps, each on a new axis; of no step, empty arrays as the body declares them."""
        columns: Sequence[Any] = list(zip(*steps, strict=True)) if steps else [()] * len(self.scans)
        arrays = []
        for (name, declared), column, way in zip(self.scans, columns, ways, strict=True):
            try:
                if steps:
                    array = np.stack(column[::-1] if way.backwards else column)
                else:
                    array = _empty(declared.tensor_type)
                arrays.append(np.moveaxis(array, 0, way.axis))
            except ValueError as error:
                raise self.error(f"{name}: {error}") from error
        return arrays


def _empty(declared: onnx.TypeProto.Tensor) -> Array:
    """No arrays of this type, stacked; of a dim that is not declared, 0."""
    if not declared.elem_type:
        raise ValueError("expected a declared type, as the body has not run")
    dtype = onnx.helper.tensor_dtype_to_np_dtype(declared.elem_type)
    return np.empty((0, *(dim.dim_value for dim in declared.shape.dim)), dtype)


class Loop(_Repeated):
    """A body that runs at most M times, and as long as a condition holds; either may be left out."""

    def __init__(self, onnx_node: onnx.NodeProto, run_params: dict[str, Any]) -> None:
        super().__init__(onnx_node, run_params)
        if not any(onnx_node.input[:2]):
            raise self.error("expected a trip count or a condition, as a Loop without either never ends")
        carried = max(len(onnx_node.input) - 2, 0)
        self.read_body(2 + carried, 1 + len(onnx_node.output), 1 + carried)

    def _run(
        self,
        M: Array | None = None,
        cond: Array | None = None,
        *carried: Any,
        context: Mapping[str, Any],
        attributes: Any = None,
        **_: Any,
    ) -> tuple[Any, ...]:
        going = cond is None or self._one("cond", cond)
        steps: list[Sequence[Array]] = []
        for trip in count() if M is None else range(self._one("M", M)):
            if not going:
                break
            given = (np.array(trip, np.int64), np.array(True), *carried)
            after, *values = self.run_body(given, context, attributes)
            if cond is not None:  # without one, what the body says of it is ignored
                going = self._one("the body's condition", after)
            steps.append(values[len(carried) :])
            carried = tuple(values[: len(carried)])
        return (*carried, *self.stacked(steps, [Way()] * len(self.scans)))

    def _one(self, name: str, value: Array) -> Any:
        """The only element of an array."""
        if value.size != 1:
            raise self.error(f"{name}: expected one element, got shape {value.shape}")
        return value.item()


class Scan(_Repeated):
    """A body that runs over the slices of arrays; each array has an axis and a direction of its own."""

    def __init__(self, onnx_node: onnx.NodeProto, run_params: dict[str, Any]) -> None:
        super().__init__(onnx_node, run_params)
        inputs, number = len(onnx_node.input), self.num_scan_inputs
        if run_params["opsets"][""] < 9:
            raise self.error("expected a Scan of opset 9 or newer")
        if not 1 <= number <= inputs:
            raise self.error(f"num_scan_inputs: expected 1 to {inputs}, got {number}")
        self.read_body(inputs, len(onnx_node.output), inputs - number)
        self.ways_in = self._ways("input", number)
        self.ways_out = self._ways("output", len(self.scans))

    def _ways(self, side: str, number: int) -> list[Way]:
        axes = self._each(f"scan_{side}_axes", number)
        directions = self._each(f"scan_{side}_directions", number)
        if not set(directions) <= {0, 1}:
            raise self.error(f"scan_{side}_directions: expected 0 or 1, got {directions}")
        return [Way(axis, direction == 1) for axis, direction in zip(axes, directions, strict=True)]

    def _each(self, name: str, number: int) -> list[int]:
        """An attribute with a number for each array; zeros where the node has none."""
        values = list(getattr(self, name) or [0] * number)
        if len(values) != number:
            raise self.error(f"{name}: expected {number} of them, got {len(values)}")
        return values

    def _run(
        self, *inputs: Any, context: Mapping[str, Any], attributes: Any = None, **_: Any
    ) -> tuple[Any, ...]:
        first = len(inputs) - len(self.ways_in)
        carried, arrays = inputs[:first], []
        names = self.body.input_names[first:]
        for name, array, way in zip(names, inputs[first:], self.ways_in, strict=True):
            if not -array.ndim <= way.axis < array.ndim:
                raise self.error(f"{name}: expected an axis {way.axis}, got shape {array.shape}")
            slices = np.moveaxis(array, way.axis, 0)
            arrays.append(slices[::-1] if way.backwards else slices)
        lengths = [len(slices) for slices in arrays]
        if len(set(lengths)) > 1:
            raise self.error(f"expected scan inputs of one length, got {lengths}")
        steps: list[Sequence[Array]] = []
        for step in range(lengths[0]):
            given = (*carried, *(slices[step, ...] for slices in arrays))
            outputs = self.run_body(given, context, attributes)
            steps.append(outputs[first:])
            carried = tuple(outputs[:first])
        return (*carried, *self.stacked(steps, self.ways_out))
