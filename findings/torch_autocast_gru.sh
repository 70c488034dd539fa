#!/usr/bin/env bash
# torch 2.13.0 (CPU): under autocast to bfloat16 an LSTM and an RNN return bfloat16, a GRU returns float32.
#
# Behaviour: the same input, sizes and context. nn.LSTM: output, h and c are bfloat16. nn.RNN: bfloat16. nn.GRU: float32,
# but its values carry the error of bfloat16 products (about 0.004), not that of float32 (1e-7).
# Seen: LSTM bfloat16, RNN bfloat16, GRU float32; largest error of the GRU 0.004.
# A good engineer guesses that autocast treats the three layers alike, and reads a float32 result as "this layer was left
# in float32". Wrong twice: a model that swaps LSTM for GRU changes the type of everything behind it, and the type says
# nothing of the precision inside.
# Mechanism: autocast casts the matrix products. The RNN state is the tanh of a product, so it is bfloat16 from step 1 on.
# The GRU state is z * h + (1 - z) * n with the float32 initial state, and promotion keeps float32 for ever. The LSTM goes
# to one oneDNN layer, which autocast casts as a whole.
set -euo pipefail
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
python3.11 -m venv "$tmp/venv"
"$tmp/venv/bin/pip" install -qq --no-compile numpy==2.4.6 torch==2.13.0
"$tmp/venv/bin/python" - <<'PY'
import torch

torch.manual_seed(0)
x = torch.randn(20, 8, 64)
seen = {}
for layer in (torch.nn.LSTM, torch.nn.RNN, torch.nn.GRU):
    net = layer(64, 64)
    with torch.no_grad():
        full = net(x)[0]
        exact = layer(64, 64).double()
        exact.load_state_dict(net.state_dict())
        exact = exact(x.double())[0]
        with torch.autocast("cpu", torch.bfloat16):
            y, state = net(x)
    types = {y.dtype, *(s.dtype for s in (state if isinstance(state, tuple) else (state,)))}
    error = [(a.double() - exact).abs().max().item() for a in (full, y)]
    print(f"{layer.__name__}: {types}, error in float32 {error[0]:.0e}, under autocast {error[1]:.4f}")
    seen[layer.__name__] = types
    assert error[0] < 1e-5 and error[1] > 1e-3
low = {torch.bfloat16}
assert seen == {"LSTM": low, "RNN": low, "GRU": {torch.float32}}, "the behaviour has changed"
PY
