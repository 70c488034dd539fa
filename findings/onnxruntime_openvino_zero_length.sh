#!/usr/bin/env bash
# onnxruntime 1.32.0, OpenVINO 2026.4.1 (both CPU), onnx 1.23.2: a row of length 0 forgets its initial state.
#
# Behaviour: sequence_lens has a 0 and initial_h and initial_c hold ones. Y_h and Y_c of that row are zeros, for LSTM,
# GRU and RNN. Row 0, of full length, does start from the ones.
# Seen: Y_h of the empty row: [0, 0, 0] in both engines and all three operators; Y_c too.
# A good engineer guesses that the final state of a row with no steps is its initial state: the state is a fold over the
# steps, and a stream that feeds chunks with lengths (0 for a silent client) carries Y_h to the next call. Wrong: one
# empty chunk resets that client to zero and no error says so. The operator's text names no rule for this case.
# Mechanism, as far as the outputs tell: Y is padded with zeros past the length, and Y_h is read at step length - 1 or
# set to the padding where there is none; the initial state is never copied.
set -euo pipefail
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
python3.11 -m venv "$tmp/venv"
"$tmp/venv/bin/pip" install -qq --no-compile numpy==2.4.6 onnx==1.23.2 onnxruntime==1.32.0 openvino==2026.4.1
"$tmp/venv/bin/python" - <<'PY'
import numpy as np
import onnxruntime
import openvino
from onnx import TensorProto, helper

T, B, I, H = 3, 2, 2, 3
rng = np.random.default_rng(0)
wrong = []
for op, gates in (("LSTM", 4), ("GRU", 3), ("RNN", 1)):
    feed = {
        "X": rng.standard_normal((T, B, I)).astype(np.float32),
        "W": rng.standard_normal((1, gates * H, I)).astype(np.float32),
        "R": rng.standard_normal((1, gates * H, H)).astype(np.float32),
        "B": np.zeros((1, 2 * gates * H), np.float32),
        "lengths": np.array([3, 0], np.int32),
        "initial_h": np.ones((1, B, H), np.float32),
    }
    outputs = ["Y", "Y_h"]
    if op == "LSTM":
        feed["initial_c"] = np.ones((1, B, H), np.float32)
        outputs.append("Y_c")
    kind = {np.dtype(np.float32): TensorProto.FLOAT, np.dtype(np.int32): TensorProto.INT32}
    graph = helper.make_graph(
        [helper.make_node(op, list(feed), outputs, hidden_size=H)],
        "g",
        [helper.make_tensor_value_info(name, kind[a.dtype], a.shape) for name, a in feed.items()],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in outputs],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 14)], ir_version=9)
    data = model.SerializeToString()
    core = openvino.Core()
    compiled = core.compile_model(core.read_model(data), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    answers = {
        "onnxruntime": onnxruntime.InferenceSession(data).run(None, feed),
        "openvino": [compiled(feed)[i] for i in range(len(outputs))],
    }
    for engine, (_, *states) in answers.items():
        for name, state in zip(outputs[1:], states):
            print(f"{op} {engine}: {name} of the row of length 0: {state[0, 1]}, of length 3: {state[0, 0]}")
            wrong.append(np.all(state[0, 1] == 0) and np.all(state[0, 0] != 0))
assert len(wrong) == 8 and all(wrong), "the behaviour has changed"
PY
