"""onnxruntime on the CPU, as its users run it."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import Any

from rnnfast.benchmark.peers.graph import onnx_model, step_inputs
from rnnfast.benchmark.problems import Arrays, Contender, Problem

__all__ = ["OnnxRuntime"]


class OnnxRuntime(Contender):
    """onnxruntime's CPU provider, on a graph of one node."""

    name = "onnxruntime"
    needs = ("onnx", "onnxruntime")
    dtypes = ("float32",)
    trains = False

    def __init__(self, problem: Problem, threads: int) -> None:
        self.problem = problem
        self.ort = import_module("onnxruntime")
        self.options = self.ort.SessionOptions()
        self.options.intra_op_num_threads = threads
        self.options.inter_op_num_threads = 1
        self.session = self._session(carries_state=False)

    def _session(self, carries_state: bool) -> Any:
        model = onnx_model(self.problem, carries_state)
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
