#!/usr/bin/env bash
# onnxruntime 1.32.0 (CPU), onnx 1.23.2, numpy 2.4.6: a NaN in the input of an LSTM or GRU
# vanishes, if the node has a bias.
#
# Behaviour: x[1] is NaN. Without input B every later output is NaN, as in IEEE arithmetic. With B, even a B of zeros,
# every output of LSTM and GRU is a finite number in (-1, 1). The RNN operator keeps the NaN in both cases.
# Seen: LSTM: NaN steps without B [1, 2, 3], with B []. GRU: the same. RNN: [1, 2, 3] and [1, 2, 3].
# A good engineer guesses that a NaN reaches every later state: sigmoid and tanh of NaN are NaN, so one check of the
# final state is enough to catch a bad sample. Wrong: the output looks healthy, and it depends on the finite weights.
# Mechanism, as far as the outputs tell: the bias is added in the loop that also applies the attribute `clip`, whose
# default is the largest float. A clip by minimum and maximum turns NaN into a bound. Zeros for B are thus no neutral input.
set -euo pipefail
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
python3.11 -m venv "$tmp/venv"
"$tmp/venv/bin/pip" install -qq --no-compile numpy==2.4.6 onnx==1.23.2 onnxruntime==1.32.0
"$tmp/venv/bin/python" - <<'PY'
import numpy as np
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

T, B, I, H = 4, 1, 2, 8
gates = {"LSTM": 4, "GRU": 3, "RNN": 1}
rng = np.random.default_rng(0)
x = rng.standard_normal((T, B, I)).astype(np.float32)
x[1, 0, 0] = np.nan


def nan_steps(op, with_bias):
    """The steps whose output holds a NaN."""
    rows = gates[op] * H
    weights = {"W": rng.standard_normal((1, rows, I)), "R": rng.standard_normal((1, rows, H))}
    if with_bias:
        weights["B"] = np.zeros((1, 2 * rows))
    graph = helper.make_graph(
        [helper.make_node(op, ["X", *weights], ["Y"], hidden_size=H)],
        "g",
        [helper.make_tensor_value_info("X", TensorProto.FLOAT, [T, B, I])],
        [helper.make_tensor_value_info("Y", TensorProto.FLOAT, [T, 1, B, H])],
        [numpy_helper.from_array(w.astype(np.float32), name) for name, w in weights.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 14)], ir_version=9)
    (y,) = onnxruntime.InferenceSession(model.SerializeToString()).run(None, {"X": x})
    return [t for t in range(T) if np.isnan(y[t]).any()]


found = {op: (nan_steps(op, False), nan_steps(op, True)) for op in gates}
for op, (without, with_zeros) in found.items():
    print(f"{op}: steps with NaN, no B: {without}; B of zeros: {with_zeros}")
kept = [1, 2, 3]
assert found == {"LSTM": (kept, []), "GRU": (kept, []), "RNN": (kept, kept)}, "the behaviour has changed"
PY
