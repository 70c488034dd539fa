#!/usr/bin/env bash
# safetensors 0.8.0, numpy 2.4.6: a transposed weight is saved scrambled, with the right shape and no error.
#
# Behaviour: safetensors.numpy.save of w.T or of an array in Fortran order, then load: the shape is right, the elements
# are in another order. A C-ordered copy of the same values comes back equal.
# Seen: saved [[0, 3], [1, 4], [2, 5]], loaded [[0, 1], [2, 3], [4, 5]].
# A good engineer guesses that NumPy's memory order is invisible here, as it is for np.save, or that the call raises, as
# safetensors.torch does for a tensor that is not contiguous. Wrong: this is the usual way to write a Keras kernel in the
# layout of torch (kernel.T), and a square recurrent weight keeps its shape and even its norm.
# Mechanism: the writer takes the shape of the array and the bytes of its buffer as they lie in memory.
set -euo pipefail
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
python3.11 -m venv "$tmp/venv"
"$tmp/venv/bin/pip" install -qq --no-compile numpy==2.4.6 safetensors==0.8.0
"$tmp/venv/bin/python" -W error - <<'PY'
import numpy as np
from safetensors.numpy import load, save

kernel = np.arange(6, dtype=np.float32).reshape(2, 3)
cases = {
    "kernel.T": kernel.T,
    "Fortran order": np.asfortranarray(kernel),
    "C-ordered copy of kernel.T": np.ascontiguousarray(kernel.T),
}
equal = {}
for name, w in cases.items():
    back = load(save({"w": w}))["w"]
    assert back.shape == w.shape
    equal[name] = np.array_equal(back, w)
    print(f"{name}: saved {w.tolist()}, loaded {back.tolist()}")
assert list(equal.values()) == [False, False, True], "the behaviour has changed"
PY
