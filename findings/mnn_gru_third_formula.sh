#!/usr/bin/env bash
# MNN 3.6.1 (CPU), onnx 1.23.2, onnxruntime 1.32.0: a GRU with the ONNX default linear_before_reset = 0 is neither
# the ONNX GRU nor the cuDNN GRU, but a third one.
#
# Behaviour: with the same weights the candidate gate is
#   onnxruntime:                     tanh(W x + Wb + (r * h) R + Rb)      (the default of the operator)
#   with linear_before_reset = 1:    tanh(W x + Wb + r * (h R + Rb))      (right in MNN too)
#   MNN with the default:            tanh(W x + Wb + r * (h R) + Rb)
# Seen: MNN against these formulas: 0.1, 0.05 and 1e-7. The converter and the engine print no warning.
# A good engineer guesses that an engine either knows both variants, or computes one of the two whatever the attribute
# says; the test with Rb = 0 then looks like the second. Wrong: only the place of the bias tells the third from it.
# Mechanism: the attribute decides only where the recurrent bias is added; the reset gate always multiplies h R.
set -euo pipefail
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
python3.11 -m venv "$tmp/venv"
"$tmp/venv/bin/pip" install -qq --no-compile numpy==2.4.6 onnx==1.23.2 onnxruntime==1.32.0
"$tmp/venv/bin/pip" install -qq --no-compile --no-deps mnn==3.6.1
cd "$tmp"
PATH="$tmp/venv/bin:$PATH" python - <<'PY'
import subprocess

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

T, B, I, H = 4, 2, 2, 3
rng = np.random.default_rng(0)
W, R, bias = (rng.standard_normal(s).astype(np.float32) for s in ((1, 3 * H, I), (1, 3 * H, H), (1, 6 * H)))
x = rng.standard_normal((T, B, I)).astype(np.float32)
np.save("x.npy", x)
MNN_SCRIPT = """
import numpy, MNN.expr as F, MNN.nn as nn
x = numpy.load("x.npy")
v = F.placeholder(list(x.shape), F.NCHW, F.float)
v.write(x)
numpy.save("y.npy", numpy.array(nn.load_module_from_file("m.mnn", ["X"], ["Y"]).forward([v])[0].read()))
"""


def sigmoid(a):
    return 1 / (1 + np.exp(-a))


def gru(candidate):
    """The last state, in float64; candidate(h, r, R, Rb) is the recurrent half of the candidate gate."""
    wz, wr, wn = np.split(W[0].astype(float), 3)
    rz, rr, rn = np.split(R[0].astype(float), 3)
    bz, br, bn, cz, cr, cn = np.split(bias[0].astype(float), 6)
    h = np.zeros((B, H))
    for xt in x.astype(float):
        z = sigmoid(xt @ wz.T + bz + h @ rz.T + cz)
        r = sigmoid(xt @ wr.T + br + h @ rr.T + cr)
        h = (1 - z) * np.tanh(xt @ wn.T + bn + candidate(h, r, rn.T, cn)) + z * h
    return h


formulas = {
    "(r * h) R + Rb": gru(lambda h, r, R, b: (r * h) @ R + b),
    "r * (h R + Rb)": gru(lambda h, r, R, b: r * (h @ R + b)),
    "r * (h R) + Rb": gru(lambda h, r, R, b: r * (h @ R) + b),
}
nearest = {}
for flag in (0, 1):
    graph = helper.make_graph(
        [helper.make_node("GRU", ["X", "W", "R", "B"], ["Y"], hidden_size=H, linear_before_reset=flag)],
        "g",
        [helper.make_tensor_value_info("X", TensorProto.FLOAT, x.shape)],
        [helper.make_tensor_value_info("Y", TensorProto.FLOAT, (T, 1, B, H))],
        [numpy_helper.from_array(a, n) for a, n in ((W, "W"), (R, "R"), (bias, "B"))],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 14)], ir_version=9), "m.onnx")
    convert = ["mnnconvert", "-f", "ONNX", "--modelFile", "m.onnx", "--MNNModel", "m.mnn", "--bizCode", "x"]
    subprocess.run(convert, check=True, capture_output=True)
    subprocess.run(["python", "-c", MNN_SCRIPT], check=True, capture_output=True)
    answers = {"onnxruntime": onnxruntime.InferenceSession("m.onnx").run(None, {"X": x})[0], "MNN": np.load("y.npy")}
    for engine, y in answers.items():
        far = {name: float(np.abs(y[-1, 0] - h).max()) for name, h in formulas.items()}
        print(f"linear_before_reset={flag} {engine}:", {name: f"{d:.1e}" for name, d in far.items()})
        nearest[engine, flag] = min(far, key=far.get)
        assert far[nearest[engine, flag]] < 1e-5
assert nearest["onnxruntime", 0] == "(r * h) R + Rb" and nearest["onnxruntime", 1] == "r * (h R + Rb)"
assert nearest["MNN", 1] == "r * (h R + Rb)" and nearest["MNN", 0] == "r * (h R) + Rb", "the behaviour has changed"
PY
