#!/usr/bin/env bash
# onnxruntime 1.32.0 (CPU), onnx 1.23.2, numpy 2.4.6: the hidden state of a GRU leaves [-1, 1], and so does Tanh.
#
# Behaviour: the state of a GRU with initial state 0 is a weighted mean of values of tanh, so |h| <= 1. For large inputs
# onnxruntime returns 1.0000005, four units in the last place beyond 1.
# Seen: GRU: largest |h| 1.0000005; Tanh operator: 1.0000002; Sigmoid operator: 1.0000001; numpy's tanh: 1.0.
# A good engineer guesses that an approximation of tanh has an error of a few units, but saturates at exactly 1: then
# arctanh(h), sqrt(1 - h * h) and log(1 - h) of a state are safe. Wrong: they give NaN, which the check below shows.
# Mechanism: the approximations are rational functions of a clamped argument. Their value at the clamp is the rounded
# quotient of two polynomials, and no last step clamps the result. The GRU kernel has a tanh of its own, hence another value.
set -euo pipefail
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
python3.11 -m venv "$tmp/venv"
"$tmp/venv/bin/pip" install -qq --no-compile numpy==2.4.6 onnx==1.23.2 onnxruntime==1.32.0
"$tmp/venv/bin/python" - <<'PY'
import numpy as np
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

x = np.linspace(-20, 20, 200001, dtype=np.float32)


def run(node, x, weights=()):
    graph = helper.make_graph(
        [node],
        "g",
        [helper.make_tensor_value_info("X", TensorProto.FLOAT, x.shape)],
        [helper.make_tensor_value_info("Y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(w, name) for name, w in weights],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 14)], ir_version=9)
    return onnxruntime.InferenceSession(model.SerializeToString()).run(None, {"X": x})[0]


# One unit. The gates see 0, so z = 1/2, and the candidate is tanh(x): h = (h + tanh(x)) / 2.
gru = helper.make_node("GRU", ["X", "W", "R"], ["Y"], hidden_size=1)
weights = [("W", np.array([[[0.0], [0.0], [1.0]]], np.float32)), ("R", np.zeros((1, 3, 1), np.float32))]
steps = np.full((40, 1, 1), 20, np.float32)  # h converges to tanh(20) from below
h = run(gru, steps, weights).ravel()
tanh = run(helper.make_node("Tanh", ["X"], ["Y"]), x)
sigmoid = run(helper.make_node("Sigmoid", ["X"], ["Y"]), x)
print("GRU: largest |h|", h.max(), "; numpy's tanh(20):", np.tanh(np.float32(20)))
print("Tanh:", np.abs(tanh).max(), "; Sigmoid:", sigmoid.max())
with np.errstate(invalid="ignore"):
    broken = np.isnan(np.sqrt(1 - h * h)).sum()
print("sqrt(1 - h * h) is NaN at", broken, "of", h.size, "steps")
assert h.max() > 1 and np.abs(tanh).max() > 1 and sigmoid.max() > 1, "the values now stay in range"
assert broken > 0 and np.abs(np.tanh(x)).max() == 1
PY
