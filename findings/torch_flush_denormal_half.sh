#!/usr/bin/env bash
# torch 2.13.0 (CPU, x86-64): set_flush_denormal(True) after the first parallel operation flushes a part of a tensor.
#
# Behaviour: a tensor of 2^20 subnormal numbers is multiplied by 1 with two threads. After torch.set_flush_denormal(True),
# which returns True, the first half of the product is zero and the second half is still subnormal. If the switch is the
# first statement of the program, the whole product is zero; then switching it off brings back the first half alone.
# Seen: late: zero fraction by eighths [1, 1, 1, 1, 0, 0, 0, 0]. Early, then off: [0, 0, 0, 0, 1, 1, 1, 1].
# A good engineer guesses that the switch holds for the process, as its documentation suggests, and turns it on when
# decaying states of an LSTM make the loop slow. Wrong: the result depends on the place of an element in the tensor, on
# the number of threads and on what ran before.
# Mechanism: the switch sets two bits of MXCSR, a register of the calling thread. Threads of the pool inherit the register
# when the pool starts, at the first parallel operation, and nothing updates them later.
set -euo pipefail
[ "$(uname -m)" = x86_64 ] || { echo "SKIP: the check is about MXCSR, a register of x86-64"; exit 77; }
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
python3.11 -m venv "$tmp/venv"
"$tmp/venv/bin/pip" install -qq --no-compile numpy==2.4.6 torch==2.13.0
cat > "$tmp/check.py" <<'PY'
import sys

import torch

torch.set_num_threads(2)


def zeros():
    """The fraction of zeros of each eighth of x * 1, counted on the bits; x is 1000 times the least subnormal."""
    x = torch.full((1 << 20,), 1000, dtype=torch.int32).view(torch.float32)
    return (torch.mul(x, 1.0).view(torch.int32) == 0).float().reshape(8, -1).mean(1).int().tolist()


half = [1] * 4 + [0] * 4
if sys.argv[1] == "late":
    seen = {"before": zeros(), "returned": torch.set_flush_denormal(True), "on": zeros()}
    expected = {"before": [0] * 8, "returned": True, "on": half}
else:
    torch.set_flush_denormal(True)
    seen = {"on": zeros(), "returned": torch.set_flush_denormal(False), "off": zeros()}
    expected = {"on": [1] * 8, "returned": True, "off": half[::-1]}
print(sys.argv[1], seen)
assert seen == expected, "the behaviour has changed"
PY
"$tmp/venv/bin/python" "$tmp/check.py" late
"$tmp/venv/bin/python" "$tmp/check.py" early
