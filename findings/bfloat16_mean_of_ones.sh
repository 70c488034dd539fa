#!/usr/bin/env bash
# numpy 2.4.6, ml_dtypes 0.6.0: the mean of 1000 ones in bfloat16 is 0.256; in float16 it is 1.
#
# Behaviour: np.ones(1000, bfloat16).sum() is 256 and .mean() 0.255859375. The dot product of the same array with itself
# is 1000. For float16 numpy's mean of 5000 ones is 1 and the sum over a contiguous axis 5000.
# Seen: bfloat16 sum 256, mean 0.2559, dot 1000; float16 sum 5000, mean 1, sum over axis 0 of a (5000, 2) array 2048.
# A good engineer guesses that a short float is summed in float32 and rounded once, as the mean and the dot product of
# float16 suggest, so an average loss in bfloat16 is off by 1 % at most. Wrong: it is off by a factor of 4.
# Mechanism: ml_dtypes adds in bfloat16, one element after the other: 256 + 1 is a tie and rounds to 256 for ever. numpy's
# pairwise sums and the float32 accumulator of its mean exist for its own types only, and pairwise only along a fast axis.
set -euo pipefail
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
python3.11 -m venv "$tmp/venv"
"$tmp/venv/bin/pip" install -qq --no-compile numpy==2.4.6 ml_dtypes==0.6.0
"$tmp/venv/bin/python" - <<'PY'
import ml_dtypes
import numpy as np

b = np.ones(1000, ml_dtypes.bfloat16)
h = np.ones(5000, np.float16)
seen = {
    "bfloat16 sum of 1000": b.sum(), "bfloat16 mean": b.mean(), "bfloat16 dot": b @ b,
    "bfloat16 mean by float32": b.mean(dtype=np.float32),
    "float16 sum of 5000": h.sum(), "float16 mean": h.mean(),
    "float16 sum over axis 0": np.ones((5000, 2), np.float16).sum(axis=0)[0],
}
seen = {name: float(value) for name, value in seen.items()}
for name, value in seen.items():
    print(f"{name}: {value}")
assert list(seen.values()) == [256, 0.255859375, 1000, 1, 5000, 1, 2048], "the behaviour has changed"
PY
