#!/usr/bin/env bash
# keras 3.15.1 on jax 0.10.2: unroll=True changes the outputs of a masked layer, though not its states.
#
# Behaviour: an LSTM with return_sequences, an initial state of 0.5 and a mask whose first two steps are off. With
# unroll=False the outputs of these steps are the initial h, 0.5. With unroll=True they are 0. The valid steps and the
# final states agree. GRU and SimpleRNN do the same.
# Seen: first outputs 0.5 and 0.5 rolled, 0 and 0 unrolled; last outputs equal to 1e-6.
# A good engineer guesses that unroll only trades memory for speed, which is all that its description says, and that a
# masked step repeats the previous output, which is the initial state. Wrong for left padding and a carried state.
# Mechanism: the rolled loop masks the states, and the output of a masked step is the previous state. The unrolled loop
# keeps a list of outputs, and starts it from zeros of the output's shape.
set -euo pipefail
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
python3.11 -m venv "$tmp/venv"
"$tmp/venv/bin/pip" install -qq --no-compile numpy==2.4.6 jax==0.10.2 jaxlib==0.10.2 keras==3.15.1
export KERAS_HOME="$tmp" KERAS_BACKEND=jax JAX_PLATFORMS=cpu
"$tmp/venv/bin/python" - <<'PY'
import keras
import numpy as np

keras.utils.set_random_seed(0)
B, T, I, H = 1, 5, 2, 3
x = np.random.default_rng(0).standard_normal((B, T, I)).astype(np.float32)
mask = np.array([[False, False, True, True, True]])
for layer in (keras.layers.LSTM, keras.layers.GRU, keras.layers.SimpleRNN):
    start = [np.full((B, H), 0.5, np.float32)] * (2 if layer is keras.layers.LSTM else 1)
    outputs, states = {}, {}
    weights = None
    for unroll in (False, True):
        net = layer(H, return_sequences=True, return_state=True, unroll=unroll)
        net.build(x.shape)
        if weights:
            net.set_weights(weights)
        weights = net.get_weights()
        y, *state = net(x, mask=mask, initial_state=start)
        outputs[unroll], states[unroll] = np.asarray(y)[0], np.concatenate([np.asarray(s)[0] for s in state])
    first = [outputs[unroll][:2, 0].tolist() for unroll in (False, True)]
    rest = np.abs(outputs[False][2:] - outputs[True][2:]).max()
    print(f"{layer.__name__}: masked outputs rolled {first[0]}, unrolled {first[1]}; valid steps differ by {rest:.0e}")
    assert rest < 1e-6 and np.allclose(states[False], states[True], atol=1e-6)
    assert first == [[0.5, 0.5], [0.0, 0.0]], "the behaviour has changed"
PY
