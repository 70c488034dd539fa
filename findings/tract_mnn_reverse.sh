#!/usr/bin/env bash
# tract 0.23.9 and MNN 3.6.1 (CPU), onnx 1.23.2, onnxruntime 1.32.0: direction="reverse" runs forward in two engines.
#
# Behaviour: an ONNX LSTM or RNN with direction="reverse" gives, in both engines, the output of the same node with
# direction="forward". "bidirectional" is right in both, its reverse half included. No warning.
# Seen: difference to the forward answer 1e-7, to the reverse answer 0.3 or more.
# A good engineer guesses that an engine that runs the reverse half of a bidirectional layer also runs that half alone,
# and that two engines with no code in common do not share a fault. Wrong on both counts.
# Mechanism, as far as the outputs tell: both test the attribute for "bidirectional" alone, to learn the number of
# directions; a single direction is then the forward loop.
set -euo pipefail
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
python3.11 -m venv "$tmp/venv"
"$tmp/venv/bin/pip" install -qq --no-compile numpy==2.4.6 onnx==1.23.2 onnxruntime==1.32.0 tract==0.23.9
"$tmp/venv/bin/pip" install -qq --no-compile --no-deps mnn==3.6.1
cd "$tmp"
PATH="$tmp/venv/bin:$PATH" python - <<'PY'
import subprocess

import numpy as np
import onnx
import onnxruntime
import tract
from onnx import TensorProto, helper, numpy_helper

T, B, I, H = 4, 2, 2, 3
rng = np.random.default_rng(0)
x = rng.standard_normal((T, B, I)).astype(np.float32)
MNN_SCRIPT = """
import numpy, MNN.expr as F, MNN.nn as nn
x = numpy.load("x.npy")
v = F.placeholder(list(x.shape), F.NCHW, F.float)
v.write(x)
numpy.save("y.npy", numpy.array(nn.load_module_from_file("m.mnn", ["X"], ["Y"]).forward([v])[0].read()))
"""


def run_mnn(path):
    convert = ["mnnconvert", "-f", "ONNX", "--modelFile", path, "--MNNModel", "m.mnn", "--bizCode", "x"]
    subprocess.run(convert, check=True, capture_output=True)
    np.save("x.npy", x)
    subprocess.run(["python", "-c", MNN_SCRIPT], check=True, capture_output=True)
    return np.load("y.npy")


for op, gates in (("LSTM", 4), ("RNN", 1)):
    truth, got = {}, {}
    shapes = {"W": (2, gates * H, I), "R": (2, gates * H, H), "B": (2, 2 * gates * H), "h": (2, B, H)}
    if op == "LSTM":
        shapes["c"] = (2, B, H)
    weights = {name: rng.standard_normal(shape).astype(np.float32) for name, shape in shapes.items()}
    inputs = ["X", "W", "R", "B", "", *list(weights)[3:], *([""] if op == "LSTM" else [])]
    outputs = ["Y", "Y_h"] + (["Y_c"] if op == "LSTM" else [])
    for direction in ("forward", "reverse", "bidirectional"):
        D = 2 if direction == "bidirectional" else 1
        graph = helper.make_graph(
            [helper.make_node(op, inputs, outputs, hidden_size=H, direction=direction)],
            "g",
            [helper.make_tensor_value_info("X", TensorProto.FLOAT, x.shape)],
            [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in outputs],
            [numpy_helper.from_array(w[:D], name) for name, w in weights.items()],
        )
        onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 14)], ir_version=9), "m.onnx")
        truth[direction] = onnxruntime.InferenceSession("m.onnx").run(None, {"X": x})[0]
        loaded = tract.onnx().load("m.onnx").into_model().into_runnable()
        got[direction] = {"tract": loaded.run([x])[0].to_numpy(), "MNN": run_mnn("m.onnx")}
    for engine in ("tract", "MNN"):
        def far(direction, asked):
            return float(np.abs(got[asked][engine] - truth[direction]).max())
        print(f"{op} {engine}: reverse differs from forward by {far('forward', 'reverse'):.1e}, "
              f"from reverse by {far('reverse', 'reverse'):.2f}; bidirectional is right to "
              f"{far('bidirectional', 'bidirectional'):.1e}")
        assert far("forward", "reverse") < 1e-5 and far("bidirectional", "bidirectional") < 1e-5
        assert far("reverse", "reverse") > 0.1, "the behaviour has changed"
PY
