"""OpenVINO on the CPU, as its users run it."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import Any

from rnnfast.benchmark.peers.graph import onnx_model, step_inputs
from rnnfast.benchmark.problems import Arrays, Contender, Problem

__all__ = ["OpenVino"]


class OpenVino(Contender):
    """OpenVINO's CPU plugin, on the graph that onnxruntime gets."""

    name = "openvino"
    needs = ("onnx", "openvino")
    dtypes = ("float32",)
    trains = False

    def __init__(self, problem: Problem, threads: int) -> None:
        self.problem, self.threads = problem, threads
        self.request = self._request(carries_state=False)

    def _request(self, carries_state: bool) -> Any:
        core = import_module("openvino").Core()
        model = core.read_model(onnx_model(self.problem, carries_state))
        config = {
            "INFERENCE_NUM_THREADS": self.threads,
            "NUM_STREAMS": 1,
            "INFERENCE_PRECISION_HINT": "f32",  # it may choose bfloat16
        }
        return core.compile_model(model, "CPU", config).create_infer_request()

    def evaluate(self) -> Any:
        return self.request.infer({"X": self.problem.x}, share_inputs=True, share_outputs=True)

    def stepper(self) -> Callable[[], Any]:
        request = self._request(carries_state=True)
        feed = step_inputs(self.problem)

        def step() -> Any:
            y, *state = request.infer(feed, share_inputs=True).to_tuple()
            feed.update(zip(("initial_h", "initial_c"), state, strict=False))
            return y

        return step

    def arrays(self, result: Any) -> Arrays:
        y, *state = result.to_tuple()
        return super().arrays((y[:, 0], state))
