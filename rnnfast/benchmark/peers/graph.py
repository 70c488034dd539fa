"""The layer as an ONNX graph of one node."""

from __future__ import annotations

from importlib import import_module

import numpy as np

from rnnfast.benchmark.problems import Arrays, Problem

__all__ = ["onnx_model", "step_inputs"]

# ONNX's gates z r n and i o f g, as places among ours.
ONNX_ORDER = {"rnn": [0], "gru": [1, 0, 2], "lstm": [0, 3, 1, 2]}


def onnx_model(problem: Problem, carries_state: bool) -> bytes:
    """A graph of one node that reads X; or one step of it, that reads `step_inputs`."""
    onnx = import_module("onnx")
    H = problem.dy.shape[2]
    order = ONNX_ORDER[problem.cell]

    def gates(array: np.ndarray) -> np.ndarray:
        return array.reshape(len(order), H, -1)[order].reshape(array.shape)

    w = {name: gates(array) for name, array in problem.weights.items()}
    constants = {
        "W": w["weight_ih"][None],
        "R": w["weight_hh"][None],
        "B": np.concatenate([w["bias_ih"], w["bias_hh"]])[None],
    }
    given = step_inputs(problem) if carries_state else {"X": problem.x}
    outputs = ["Y", "Y_h", *(["Y_c"] if problem.cell == "lstm" else [])]
    node = onnx.helper.make_node(
        problem.cell.upper(),
        ["X", "W", "R", "B", "", *([name for name in given if name != "X"])],
        outputs,
        hidden_size=H,
        **({"linear_before_reset": 1} if problem.cell == "gru" else {}),
    )
    kind = onnx.TensorProto.FLOAT
    graph = onnx.helper.make_graph(
        [node],
        problem.cell,
        [onnx.helper.make_tensor_value_info(name, kind, array.shape) for name, array in given.items()],
        [onnx.helper.make_tensor_value_info(name, kind, None) for name in outputs],
        [onnx.numpy_helper.from_array(array, name) for name, array in constants.items()],
    )
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 14)], ir_version=8)
    serialized: bytes = model.SerializeToString()
    return serialized


def step_inputs(problem: Problem) -> Arrays:
    """X of the first step, initial_h (and initial_c) of zeros."""
    names = ("initial_h", "initial_c") if problem.cell == "lstm" else ("initial_h",)
    return {"X": problem.x[:1], **{name: np.zeros(problem.state_shape, problem.x.dtype) for name in names}}
