#!/usr/bin/env bash
# OpenVINO 2026.4.1 (CPU, float32), onnx 1.23.2, onnxruntime 1.32.0: an ONNX LSTM loses its peepholes and its input_forget.
#
# Behaviour: the ONNX reader of OpenVINO accepts an LSTM with input P (peephole weights) or with input_forget = 1, and
# compiles the plain LSTM. The output has the same bits as without them; onnxruntime applies both.
# Seen: "P changes openvino by 0.0, onnxruntime by 0.4"; "input_forget changes openvino by 0.0, onnxruntime by 0.5".
# A good engineer guesses one of two things: the feature works, or the import fails, since this reader does refuse an
# activation that it does not know. Wrong: here it drops a trained weight of the file and says nothing.
# Mechanism: the graph format of OpenVINO has no LSTM with peepholes in its current operator sets, so the converter maps
# the inputs that its operator has, and P and input_forget are not among them.
set -euo pipefail
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
python3.11 -m venv "$tmp/venv"
"$tmp/venv/bin/pip" install -qq --no-compile numpy==2.4.6 onnx==1.23.2 onnxruntime==1.32.0 openvino==2026.4.1
"$tmp/venv/bin/python" - <<'PY'
import numpy as np
import onnxruntime
import openvino
from onnx import TensorProto, checker, helper, numpy_helper

T, B, I, H = 4, 2, 2, 3
rng = np.random.default_rng(0)
shapes = {"W": (1, 4 * H, I), "R": (1, 4 * H, H), "B": (1, 8 * H), "P": (1, 3 * H)}
weights = {name: rng.standard_normal(shape).astype(np.float32) for name, shape in shapes.items()}
x = rng.standard_normal((T, B, I)).astype(np.float32)


def run(peephole, **attributes):
    """Y of (openvino, onnxruntime)."""
    inputs = ["X", "W", "R", "B"] + (["", "", "", "P"] if peephole else [])
    graph = helper.make_graph(
        [helper.make_node("LSTM", inputs, ["Y"], hidden_size=H, **attributes)],
        "g",
        [helper.make_tensor_value_info("X", TensorProto.FLOAT, x.shape)],
        [helper.make_tensor_value_info("Y", TensorProto.FLOAT, (T, 1, B, H))],
        [numpy_helper.from_array(w, name) for name, w in weights.items() if name in inputs],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 14)], ir_version=9)
    checker.check_model(model, full_check=True)
    data = model.SerializeToString()
    core = openvino.Core()
    compiled = core.compile_model(core.read_model(data), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    return compiled([x])[0], onnxruntime.InferenceSession(data).run(None, {"X": x})[0]


plain = run(False)
print("plain LSTM, openvino against onnxruntime:", np.abs(plain[0] - plain[1]).max())
for name, got in (("P", run(True)), ("input_forget", run(False, input_forget=1))):
    change = [float(np.abs(g - p).max()) for g, p in zip(got, plain)]
    print(f"{name} changes openvino by {change[0]}, onnxruntime by {change[1]:.1f}")
    assert change[0] == 0 and change[1] > 0.1, "the behaviour has changed"
PY
