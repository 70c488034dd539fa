#!/usr/bin/env bash
# onnx 1.23.2, numpy 2.4.6: the reference evaluator runs LSTM, GRU and RNN as if sequence_lens, clip, activations
# and input_forget were not there.
#
# Behaviour: each feature is set on a valid model. The outputs have the same bits as those of the model without it,
# and no warning is raised. Only RNN reads its activations: there an unknown one raises an error.
# Seen: every line below says "same bits: True".
# A good engineer guesses that a reference evaluator is the judge: slow, but complete, or at least loud where it is not
# (it does raise for some things it lacks). An engine that is right about lengths then looks wrong against it by 0.5.
# Mechanism: the loop over the steps takes X, W, R, B, initial states and P, and no other input or attribute; sequence_lens
# is an argument of the function that nothing reads.
set -euo pipefail
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
python3.11 -m venv "$tmp/venv"
"$tmp/venv/bin/pip" install -qq --no-compile numpy==2.4.6 onnx==1.23.2
"$tmp/venv/bin/python" -W error - <<'PY'
import numpy as np
from onnx import TensorProto, checker, helper
from onnx.reference import ReferenceEvaluator

T, B, I, H = 4, 2, 2, 3
rng = np.random.default_rng(0)


def run(op, feed, **attributes):
    kind = {np.dtype(np.float32): TensorProto.FLOAT, np.dtype(np.int32): TensorProto.INT32}
    graph = helper.make_graph(
        [helper.make_node(op, list(feed), ["Y", "Y_h"], hidden_size=H, **attributes)],
        "g",
        [helper.make_tensor_value_info(name, kind[a.dtype], a.shape) for name, a in feed.items()],
        [helper.make_tensor_value_info("Y", TensorProto.FLOAT, list("abcd")),
         helper.make_tensor_value_info("Y_h", TensorProto.FLOAT, list("bcd"))],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 14)], ir_version=9)
    checker.check_model(model, full_check=True)
    return ReferenceEvaluator(model).run(None, feed)


same = {}
for op, gates in (("LSTM", 4), ("GRU", 3), ("RNN", 1)):
    shapes = {"X": (T, B, I), "W": (1, gates * H, I), "R": (1, gates * H, H), "B": (1, 2 * gates * H)}
    feed = {name: rng.standard_normal(shape).astype(np.float32) for name, shape in shapes.items()}
    plain = run(op, feed)
    cases = {
        "sequence_lens [4, 2]": run(op, feed | {"lengths": np.array([4, 2], np.int32)}),
        "clip 0.1": run(op, feed, clip=0.1),
    }
    if op != "RNN":
        relus = ["Relu"] * (2 if op == "LSTM" else 1)
        cases["activations"] = run(op, feed, activations=["Sigmoid", *relus])
    if op == "LSTM":
        cases["input_forget"] = run(op, feed, input_forget=1)
    for case, got in cases.items():
        same[op, case] = all(np.array_equal(a, b) for a, b in zip(plain, got))
        print(f"{op}, {case}: same bits: {same[op, case]}")
assert len(same) == 9 and all(same.values()), "the behaviour has changed"
PY
