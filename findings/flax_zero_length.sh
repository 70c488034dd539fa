#!/usr/bin/env bash
# flax 0.12.8, jax 0.10.2 (CPU): a row of length 0 gets the state after all of its padding.
#
# Behaviour: flax.linen.RNN and flax.nnx.RNN with return_carry and seq_lengths [5, 2, 0]. The carry of row 1 is the state
# after 2 steps, as asked. The carry of row 2 is the state after 5 steps of padding, bit for bit the last output,
# and not the initial carry.
# Seen: row 2: carry equals the output of step 4: True; equals the initial carry: False. Both modules.
# A good engineer guesses the initial carry: no steps were taken. Or an error. Wrong: what the padding holds decides, so
# two paddings of the same empty row give two states.
# Mechanism: the carries of all steps are kept and the one at index seq_lengths - 1 is picked; -1 counts from the end.
set -euo pipefail
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
python3.11 -m venv "$tmp/venv"
"$tmp/venv/bin/pip" install -qq --no-compile numpy==2.4.6 jax==0.10.2 jaxlib==0.10.2 flax==0.12.8
JAX_PLATFORMS=cpu "$tmp/venv/bin/python" - <<'PY'
import jax
import jax.numpy as jnp
import numpy as np
from flax import linen, nnx

B, T, I, H = 3, 5, 2, 4
x = jnp.asarray(np.random.default_rng(0).standard_normal((B, T, I)), jnp.float32)
lengths = jnp.array([5, 2, 0])
start = (jnp.full((B, H), 0.5), jnp.full((B, H), 0.5))  # (c, h)

layer = linen.RNN(linen.LSTMCell(H), return_carry=True)
parameters = layer.init(jax.random.key(0), x)
other = nnx.RNN(nnx.LSTMCell(I, H, rngs=nnx.Rngs(0)), return_carry=True, rngs=nnx.Rngs(0))
answers = {
    "linen": layer.apply(parameters, x, seq_lengths=lengths, initial_carry=start),
    "nnx": other(x, seq_lengths=lengths, initial_carry=start),
}
for name, ((c, h), y) in answers.items():
    last = [bool(jnp.array_equal(h[row], y[row, step])) for row, step in ((0, 4), (1, 1), (2, 4))]
    initial = bool(jnp.array_equal(h[2], start[1][2]))
    print(f"{name}: carry of rows 0, 1, 2 equals the output of steps 4, 1, 4: {last}; row 2 keeps its start: {initial}")
    assert last == [True, True, True] and not initial, "the behaviour has changed"
PY
