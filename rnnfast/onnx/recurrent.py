"""The recurrent operators as ONNX's evaluator calls them."""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping
from typing import Any

import numpy as np
import onnx

from rnnfast import checks
from rnnfast.onnx.loops import Operator
from rnnfast.onnx.node import INPUTS, QUANTIZED, name_of, read_node
from rnnfast.onnx.quantized import dequantized, row_scales
from rnnfast.onnx.recurrence import Recurrence
from rnnfast.onnx.weights import Weights

__all__ = ["QuantizedLSTM", "Recurrent"]

Array = np.ndarray
_log = logging.getLogger("rnnfast.onnx")


class Recurrent(Operator):
    """A recurrent node in ONNX's evaluator; `made` collects those of one model."""

    made: list[Recurrent]
    precision: str  # of the model
    weight_inputs: tuple[str, ...] = Weights._fields  # its inputs that are made ready, by name

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
        named = dict(zip(INPUTS[self.op_type], self.onnx_node.input, strict=False))
        names = {key: named[key] for key in self.weight_inputs if named.get(key)}
        weights = None
        try:
            if fixed.keys() >= set(names.values()):
                weights, scales = self.weights({key: fixed[name] for key, name in names.items()})
                self.recurrence = Recurrence(self.recurrence.node, weights, self.precision, scales)
            H = None if weights is None else weights.R.shape[2]
            for key in ("initial_h", "initial_c"):
                if named.get(key) in fixed:
                    self.recurrence.node.check_state(key, fixed[named[key]].shape, H)
        except (TypeError, ValueError) as error:
            raise self.error(error) from error
        return 0 if weights is None else weights.nbytes

    def weights(self, arrays: Mapping[str, Array]) -> tuple[Weights, Weights | None]:
        """The weights in its inputs, which are given by name, and their scales if they are integers."""
        return Weights(**arrays), None

    def reads(self) -> list[str]:
        """The names of its inputs, none for weights that are ready."""
        named = zip(INPUTS[self.op_type], self.onnx_node.input, strict=False)
        ready = self.weight_inputs if self.recurrence.is_ready else ()
        return ["" if key in ready else name for key, name in named]

    def compute(self, *inputs: Any, scales: Weights | None = None) -> tuple[Array, ...]:
        """The node's outputs; `scales` are those of weights that are not ready."""
        try:
            return self.recurrence(*inputs, scales=scales)
        except (TypeError, ValueError) as error:
            raise self.error(error) from error

    def _run(self, *inputs: Array | None, **attributes: Any) -> tuple[Array, ...]:
        return self.compute(*inputs)


class QuantizedLSTM(Recurrent):
    """A DynamicQuantizeLSTM node: an LSTM node with its own integers on the kernels, else dequantized."""

    op_domain = QUANTIZED[0]
    in_int8: bool  # whether the model's precision is int8, or none is given
    weight_inputs = (*Weights._fields, "W_scale", "W_zero_point", "R_scale", "R_zero_point")

    def weights(self, arrays: Mapping[str, Array]) -> tuple[Weights, Weights | None]:
        """The weights in its inputs, which are given by name, and the scales of rows in int8."""
        node = self.recurrence.node
        weights = dequantized(node, arrays)
        return weights, row_scales(node, arrays) if self.in_int8 else None

    def compute(self, *inputs: Any, scales: Weights | None = None) -> tuple[Array, ...]:
        """The node's outputs."""
        X, W, R, *others = inputs[: len(INPUTS["LSTM"])]
        if not self.recurrence.is_ready:
            given = dict(zip(INPUTS[self.op_type], inputs, strict=False))
            arrays = {key: given[key] for key in self.weight_inputs if given.get(key) is not None}
            try:
                (W, R, _, _), scales = self.weights(arrays)
            except (TypeError, ValueError) as error:
                raise self.error(error) from error
        return super().compute(X, W, R, *others, scales=scales)
