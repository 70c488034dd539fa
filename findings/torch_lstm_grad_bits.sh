#!/usr/bin/env bash
# torch 2.13.0 (CPU, x86-64): nn.LSTM returns other bits under torch.no_grad() than with gradients on; GRU and RNN do not.
#
# Behaviour: one float32 layer, one input, one process, called twice. With gradients on and with torch.no_grad() about
# three quarters of the outputs of the LSTM differ in the last bits (1e-7). With one step they agree.
# Seen: LSTM, 20 steps: 77 % of the outputs differ; LSTM, 1 step: 0 %; GRU and RNN: 0 %.
# A good engineer guesses that the switch only stops the recording of the graph: the forward kernel, the threads and the
# order of sums are the same, so a golden file made while training also holds for inference. Wrong for this layer.
# Mechanism: the float32 LSTM goes to oneDNN, which is told whether it runs for training or for inference, and chooses
# another blocking and merging of the products over the steps for each. GRU and RNN are composed of torch's own operators.
set -euo pipefail
[ "$(uname -m)" = x86_64 ] || { echo "SKIP: other processors take another path"; exit 77; }
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
python3.11 -m venv "$tmp/venv"
"$tmp/venv/bin/pip" install -qq --no-compile numpy==2.4.6 torch==2.13.0
"$tmp/venv/bin/python" - <<'PY'
import torch

torch.manual_seed(0)
torch.set_num_threads(1)
seen = {}
for layer in (torch.nn.LSTM, torch.nn.GRU, torch.nn.RNN):
    for T in (1, 20):
        net = layer(64, 64)
        x = torch.randn(T, 8, 64)
        y = net(x)[0].detach()
        again = net(x)[0].detach()
        with torch.no_grad():
            z = net(x)[0]
        assert torch.equal(y, again)  # the same call twice agrees
        seen[layer.__name__, T] = (y != z).float().mean().item()
        print(f"{layer.__name__}, {T} steps: {seen[layer.__name__, T]:.0%} of the outputs differ, "
              f"by at most {(y - z).abs().max().item():.1e}")
assert seen.pop(("LSTM", 20)) > 0.1 and not any(seen.values()), "the behaviour has changed"
PY
