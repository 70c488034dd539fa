#!/usr/bin/env bash
# torch 2.13.0, onnx 1.23.2, onnxscript 0.7.2: whether an exported LSTM has its weights ready depends on the hidden size.
#
# Behaviour: torch orders the gates i, f, g, o and ONNX i, o, f, c, so the exporter slices and joins the weights. With
# hidden size 45 the file holds the joined weight and three nodes. With 46 (R has 8464 numbers) the file holds the
# original weight and the Slice, Concat and Unsqueeze nodes, to be run by each engine that loads it.
# Seen: H = 45: LSTM, Reshape, Transpose. H = 46: these and Concat, Slice x 4, Unsqueeze.
# A good engineer guesses that the export folds constants or does not, whatever the size: a test with a small layer then
# stands for the real one. Wrong: readers that need W and R as initializers work in the test and fail on the real model.
# Mechanism: the optimizer behind the exporter folds a node only if its output has at most 8192 elements.
set -euo pipefail
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
python3.11 -m venv "$tmp/venv"
"$tmp/venv/bin/pip" install -qq --no-compile numpy==2.4.6 torch==2.13.0 onnx==1.23.2 onnxscript==0.7.2
"$tmp/venv/bin/python" - 2>/dev/null <<'PY'
import collections

import torch


def exported(H):
    """The node types of an exported LSTM, and which of W, R and B are initializers."""
    options = {"dynamo": True, "verbose": False}
    graph = torch.onnx.export(torch.nn.LSTM(4, H).eval(), (torch.randn(3, 2, 4),), **options).model_proto.graph
    (lstm,) = (node for node in graph.node if node.op_type == "LSTM")
    names = {tensor.name for tensor in graph.initializer}
    stored = {letter for letter, name in zip("WRB", lstm.input[1:4]) if name in names}
    return collections.Counter(node.op_type for node in graph.node), stored


seen = {H: exported(H) for H in (8, 45, 46, 128)}
for H, (nodes, stored) in seen.items():
    print(f"H = {H}: R has {4 * H * H} numbers; nodes {dict(sorted(nodes.items()))}; initializers {sorted(stored)}")
for H in (8, 45):
    assert seen[H][1] == set("WRB") and not seen[H][0]["Slice"]
for H in (46, 128):
    assert seen[H][1] == set("WB") and seen[H][0]["Slice"] == 4, "the behaviour has changed"
PY
