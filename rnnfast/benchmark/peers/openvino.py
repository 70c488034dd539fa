"""OpenVINO on the CPU: float32 by a hint, and what it chooses by itself."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import Any

from rnnfast.benchmark.peers.graph import onnx_model, step_inputs
from rnnfast.benchmark.problems import Arrays, Contender, NotOffered, Problem

__all__ = ["OpenVino"]


class OpenVino(Contender):
    """OpenVINO's CPU plugin, on the graph that onnxruntime gets.

    It runs in bfloat16 by itself on processors that have the instructions. So float32 needs a hint, and the
    contender in bfloat16 gives none, as most users do: it is one where the compiled model reports bfloat16.
    """

    name = "openvino"
    needs = ("onnx", "openvino")
    precisions = ("float32", "bfloat16")
    trains_in = ()

    def __init__(self, problem: Problem, threads: int) -> None:
        super().__init__(problem, threads)
        self.request = self._request(carries_state=False)

    def _request(self, carries_state: bool) -> Any:
        core = import_module("openvino").Core()
        model = core.read_model(onnx_model(self.problem, carries_state))
        config: dict[str, Any] = {"INFERENCE_NUM_THREADS": self.threads, "NUM_STREAMS": 1}
        if self.problem.precision == "float32":
            config["INFERENCE_PRECISION_HINT"] = "f32"
        compiled = core.compile_model(model, "CPU", config)
        if self.problem.precision == "bfloat16" and (reported := layer_precision(compiled)) != "bf16":
            raise NotOffered(f"without a hint its compiled model reports {reported}")
        return compiled.create_infer_request()

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


def layer_precision(compiled: Any) -> str:
    """The precision in which the recurrent node of a compiled model runs, in OpenVINO's words."""
    facts = [node.get_rt_info() for node in compiled.get_runtime_model().get_ops()]
    found = {fact["runtimePrecision"].astype(str) for fact in facts if is_recurrent(fact)}
    return " and ".join(sorted(found)) or "no recurrent node"


def is_recurrent(fact: Any) -> bool:
    """Whether these are the facts of a recurrent node: RNNSeq, or RNNCell."""
    return "layerType" in fact and str(fact["layerType"].astype(str)).startswith("RNN")
