#!/usr/bin/env bash
# onnxruntime 1.32.0, onnx 1.23.2, torch 2.13.0 (all CPU): a dynamically quantized LSTM is not causal.
#
# Behaviour: the last step of one row is multiplied by 50. In the quantized LSTM the output of step 0 changes, in that row
# and in the other rows of the batch. In the float LSTM no bit of them changes.
# Seen: change of step 0, own row and another row: onnxruntime 0.05 and 0.08; torch 0.12 and 0.04; float 0 and 0.
# A good engineer guesses that "dynamic" means a scale for each step or each row, at run time: an error of rounding, but a
# forward LSTM stays a function of the past. Wrong: a stream fed in chunks and the same stream fed whole differ, and one
# loud row of a batch drowns its neighbours, so the accuracy measured alone does not hold in a batch.
# Mechanism: the product of the inputs with W is done once for all steps and rows, and its input gets one scale and one
# zero point, from the least and the largest element of the whole array.
set -euo pipefail
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
python3.11 -m venv "$tmp/venv"
"$tmp/venv/bin/pip" install -qq --no-compile numpy==2.4.6 torch==2.13.0 onnx==1.23.2 onnxruntime==1.32.0
cd "$tmp"
venv/bin/python - 2>/dev/null <<'PY'
import numpy as np
import onnx
import onnxruntime
import torch
from onnx import TensorProto, helper, numpy_helper
from onnxruntime.quantization import quantize_dynamic

I, H = 16, 32
rng = np.random.default_rng(0)
shapes = {"W": (1, 4 * H, I), "R": (1, 4 * H, H), "B": (1, 8 * H)}
weights = {name: (0.2 * rng.standard_normal(shape)).astype(np.float32) for name, shape in shapes.items()}
graph = helper.make_graph(
    [helper.make_node("LSTM", ["X", "W", "R", "B"], ["Y"], hidden_size=H)],
    "g",
    [helper.make_tensor_value_info("X", TensorProto.FLOAT, ["T", "B", I])],
    [helper.make_tensor_value_info("Y", TensorProto.FLOAT, ["T", 1, "B", H])],
    [numpy_helper.from_array(w, name) for name, w in weights.items()],
)
onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 14)], ir_version=9), "float.onnx")
quantize_dynamic("float.onnx", "int8.onnx")
assert [node.op_type for node in onnx.load("int8.onnx").graph.node] == ["DynamicQuantizeLSTM"]

torch.manual_seed(0)
net = torch.nn.Sequential(torch.nn.LSTM(I, H))
quantized = torch.ao.quantization.quantize_dynamic(net, {torch.nn.LSTM}, torch.qint8)


def ort(path):
    session = onnxruntime.InferenceSession(path)
    return lambda x: session.run(None, {"X": x})[0][:, 0]


def from_torch(module):
    return lambda x: module(torch.tensor(x))[0].detach().numpy()


x = rng.standard_normal((10, 2, I)).astype(np.float32)
loud = x.copy()
loud[-1, 0] *= 50
runners = {
    "onnxruntime float": ort("float.onnx"), "onnxruntime int8": ort("int8.onnx"),
    "torch float": from_torch(net), "torch int8": from_torch(quantized),
}
for name, run in runners.items():
    change = np.abs(run(loud)[0] - run(x)[0]).max(axis=1)
    print(f"{name}: step 0 changes by {change[0]:.3f} in the row whose step 9 is loud, by {change[1]:.3f} in the other")
    assert (change.min() > 0.02) if "int8" in name else (change.max() == 0), "the behaviour has changed"
PY
