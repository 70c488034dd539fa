#!/usr/bin/env bash
# torch 2.13.0: torch.compile of a module that holds one nn.LSTM compiles nothing of that forward,
# and reports no graph break.
#
# Behaviour: forward is Linear, LSTM, relu, Linear. With the LSTM replaced by a Linear the backend gets one graph with all
# operations. With the LSTM it gets no graph at all: not the two Linears, not the relu. No warning, no graph break counted.
# Seen: Linear: graphs [4 calls], frames {'total': 1, 'ok': 1}. LSTM: graphs [], frames {'total': 1}, graph breaks {}.
# A good engineer guesses that an unsupported layer costs a graph break: the code before and after it is still compiled,
# and the counters show the break. Wrong: the whole frame runs as plain Python, and a profile of breaks says "none".
# Mechanism: at a call of nn.LSTM, nn.GRU or nn.RNN the tracer decides to skip the frame, not to break the graph (a switch,
# torch._dynamo.config.allow_rnn, is off by default), and a skipped frame is not counted as a break.
set -euo pipefail
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
python3.11 -m venv "$tmp/venv"
"$tmp/venv/bin/pip" install -qq --no-compile numpy==2.4.6 torch==2.13.0
"$tmp/venv/bin/python" -W error::UserWarning - <<'PY'
import torch
from torch._dynamo.utils import counters


class Model(torch.nn.Module):
    def __init__(self, middle):
        super().__init__()
        self.first, self.middle, self.last = torch.nn.Linear(4, 4), middle, torch.nn.Linear(4, 2)

    def forward(self, x):
        y = self.middle(self.first(x))
        return self.last(torch.relu(y[0] if isinstance(y, tuple) else y))


def graphs(middle):
    """The number of calls in each graph that the backend gets, and the counters."""
    torch._dynamo.reset()
    counters.clear()
    sizes = []

    def backend(graph, example_inputs):
        sizes.append(sum(node.op == "call_function" for node in graph.graph.nodes))
        return graph.forward

    model = Model(middle)
    x = torch.randn(5, 2, 4)
    assert torch.equal(torch.compile(model, backend=backend)(x), model(x))
    return sizes, dict(counters["frames"]), dict(counters["graph_break"])


linear = graphs(torch.nn.Linear(4, 4))
lstm = graphs(torch.nn.LSTM(4, 4))
for name, (sizes, frames, breaks) in (("Linear", linear), ("LSTM", lstm)):
    print(f"{name} in the middle: calls per graph {sizes}, frames {frames}, graph breaks {breaks}")
assert len(linear[0]) == 1 and linear[0][0] >= 4
assert lstm[0] == [] and lstm[2] == {}, "the behaviour has changed"
PY
