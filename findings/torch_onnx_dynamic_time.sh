#!/usr/bin/env bash
# torch 2.13.0, onnx 1.23.2, onnxscript 0.7.2, onnxruntime 1.32.0: an LSTM exported with a dynamic time axis runs only
# at the traced length.
#
# Behaviour: torch.onnx.export(lstm, (x,), dynamo=True, dynamic_shapes=({0: "time", 1: "batch"},)) succeeds. The input of
# the file is declared ["time", "batch", 4], but the output [5, "batch", 3], where 5 is the length of the example.
# onnxruntime runs lengths 5 and any batch, and fails in a Reshape at every other length.
# Seen: length 5: ok; lengths 3 and 9: an error of a Reshape node. GRU: the same.
# A good engineer guesses that an export that accepts the dynamic axis honours it, since the same call raises an error
# when an axis turns out static: with one more layer behind the LSTM (y[-1]) it does. Wrong for the bare layer.
# Mechanism: the LSTM's own operator is exported with its dynamic axis, but the output shape that the tracer recorded has
# the length as a number, since the tracer walked through the steps; the last Reshape of the layer is built from it.
set -euo pipefail
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
python3.11 -m venv "$tmp/venv"
"$tmp/venv/bin/pip" install -qq --no-compile numpy==2.4.6 torch==2.13.0 onnx==1.23.2 onnxscript==0.7.2 onnxruntime==1.32.0
"$tmp/venv/bin/python" - 2>/dev/null <<'PY'
import onnxruntime
import torch

onnxruntime.set_default_logger_severity(4)


class Last(torch.nn.Module):
    """The output of the last step."""

    def __init__(self, layer):
        super().__init__()
        self.layer = layer

    def forward(self, x):
        return self.layer(x)[0][-1]


def export(module):
    options = {"dynamo": True, "verbose": False, "dynamic_shapes": ({0: "time", 1: "batch"},)}
    return torch.onnx.export(module.eval(), (torch.randn(5, 2, 4),), **options).model_proto


def runs(session, T, B):
    feed = {session.get_inputs()[0].name: torch.randn(T, B, 4).numpy()}
    try:
        return session.run(None, feed)[0].shape == (T, B, 3)
    except onnxruntime.capi.onnxruntime_pybind11_state.Fail as error:
        assert "Reshape" in str(error)
        return False


for layer in (torch.nn.LSTM, torch.nn.GRU):
    session = onnxruntime.InferenceSession(export(layer(4, 3)).SerializeToString())
    shapes = session.get_inputs()[0].shape, session.get_outputs()[0].shape
    ran = {T: runs(session, T, 7) for T in (3, 5, 9)}
    print(f"{layer.__name__}: input {shapes[0]}, output {shapes[1]}, runs at length {ran}")
    try:
        export(Last(layer(4, 3)))
        refused = False
    except Exception as error:
        refused = "static shape of 5" in str(error)
    print(f"{layer.__name__} and y[-1]: the export is refused: {refused}")
    assert shapes == (["time", "batch", 4], [5, "batch", 3]) and refused
    assert ran == {3: False, 5: True, 9: False}, "the behaviour has changed"
PY
