"""onnxruntime on the CPU: float32, and the int8 of its dynamic quantization."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

from rnnfast.benchmark.peers.graph import onnx_model, step_inputs
from rnnfast.benchmark.problems import Arrays, Contender, NotOffered, Problem

__all__ = ["OnnxRuntime"]


class OnnxRuntime(Contender):
    """onnxruntime's CPU provider, on a graph of one node."""

    name = "onnxruntime"
    needs = ("onnx", "onnxruntime")
    precisions = ("float32", "int8")
    trains_in = ()
    per_channel = False  # whether int8 weights have a scale for each row, and not one for the whole tensor

    def __init__(self, problem: Problem, threads: int) -> None:
        super().__init__(problem, threads)
        self.ort = import_module("onnxruntime")
        self.options = self.ort.SessionOptions()
        self.options.intra_op_num_threads = threads
        self.options.inter_op_num_threads = 1
        self.session = self._session(carries_state=False)

    def _session(self, carries_state: bool) -> Any:
        model = onnx_model(self.problem, carries_state)
        if self.problem.precision == "int8":
            model = quantized(model, self.problem.cell.upper(), per_channel=self.per_channel)
        return self.ort.InferenceSession(model, self.options, providers=["CPUExecutionProvider"])

    def evaluate(self) -> Any:
        return self.session.run(None, {"X": self.problem.x})

    def stepper(self) -> Callable[[], Any]:
        session = self._session(carries_state=True)
        feed = step_inputs(self.problem)

        def step() -> Any:
            y, *state = session.run(None, feed)
            feed.update(zip(("initial_h", "initial_c"), state, strict=False))
            return y

        return step

    def arrays(self, result: Any) -> Arrays:
        y, *state = result
        return super().arrays((y[:, 0], state))


def quantized(model: bytes, operator: str, **options: Any) -> bytes:
    """The model after onnxruntime's dynamic quantization, which skips operators that it does not know.

    `options` are keywords of `quantize_dynamic`.
    """
    onnx, quantization = import_module("onnx"), import_module("onnxruntime.quantization")
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)  # advice to fuse operators first, of which this model has one
    try:
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "quantized.onnx"
            quantization.quantize_dynamic(onnx.load_model_from_string(model), file, **options)
            found = file.read_bytes()
    finally:
        logging.disable(before)
    if any(node.op_type == operator for node in onnx.load_model_from_string(found).graph.node):
        raise NotOffered(f"quantize_dynamic leaves {operator} in float32")
    return found
