#!/usr/bin/env bash
# onnxruntime 1.32.0, onnx 1.23.2: quantize_dynamic drops layout=1 of an LSTM, and the quantized file takes the batch for time.
#
# Behaviour: with layout=1 an LSTM node reads X as [batch, steps, inputs]. onnxruntime refuses to load such a file in float32
# ("Batchwise recurrent operations are not supported"). quantize_dynamic turns the node into DynamicQuantizeLSTM, which has no
# attribute layout; it leaves the attribute out and transposes nothing. The new file loads and runs, and reads X as
# [steps, batch, inputs]. With as many steps as sequences, nothing but the numbers shows it.
# Seen: 3 sequences of 3 steps. The final h has the shape (1, 3, 5) instead of (3, 1, 5). It differs by 0.52 from the
# reference evaluator's result of the original file, and by 0.006 from that of the same file without layout.
# A good engineer guesses that quantization changes digits, or refuses what it cannot express. Wrong: it changes what the
# model computes, in a file that the same library refused before.
set -euo pipefail
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
python3.11 -m venv "$tmp/venv"
"$tmp/venv/bin/pip" install -qq --no-compile numpy==2.4.6 onnx==1.23.2 onnxruntime==1.32.0
cd "$tmp"
venv/bin/python - 2>/dev/null <<'PY'
import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator
from onnxruntime.quantization import quantize_dynamic

N, I, H = 3, 4, 5  # as many steps as sequences
rng = np.random.default_rng(0)
weights = {"W": (1, 4 * H, I), "R": (1, 4 * H, H)}
weights = [numpy_helper.from_array(rng.standard_normal(s).astype(np.float32), n) for n, s in weights.items()]
x = rng.standard_normal((N, N, I)).astype(np.float32)


def model(**layout):
    """One LSTM node that gives its final h."""
    graph = helper.make_graph(
        [helper.make_node("LSTM", ["X", "W", "R"], ["", "h"], hidden_size=H, **layout)],
        "g",
        [helper.make_tensor_value_info("X", TensorProto.FLOAT, [N, N, I])],
        [helper.make_tensor_value_info("h", TensorProto.FLOAT, None)],
        weights,
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)


onnx.save(model(layout=1), "float.onnx")
try:
    onnxruntime.InferenceSession("float.onnx")
    refused = False
except Exception as error:
    refused = "Batchwise" in str(error)
print("onnxruntime refuses the float32 file:", refused)
quantize_dynamic("float.onnx", "int8.onnx")
(node,) = onnx.load("int8.onnx").graph.node
print("quantized node:", node.op_type, [attribute.name for attribute in node.attribute])
h = onnxruntime.InferenceSession("int8.onnx").run(None, {"X": x})[0]
right = ReferenceEvaluator(model(layout=1)).run(None, {"X": x})[0]
without = ReferenceEvaluator(model()).run(None, {"X": x})[0]
far, near = (float(abs(h.reshape(N, H) - other.reshape(N, H)).max()) for other in (right, without))
print(f"shape {h.shape}, expected {right.shape}; differs by {far:.2f} from the original, by {near:.3f} from it without layout")
assert refused and node.op_type == "DynamicQuantizeLSTM" and h.shape == (1, N, H), "the behaviour has changed"
assert "layout" not in [attribute.name for attribute in node.attribute] and near < 0.02 < 0.3 < far, "it has changed"
PY
